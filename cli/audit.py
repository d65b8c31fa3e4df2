"""`fairlead audit`: prove that the decision records are whole, and ask them."""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from cli.output import EXIT_FINDINGS, format_option, print_json
from metastore.sqlite import SqliteStore
from metastore.store import MetastoreError
from ops.audit import report as reports
from ops.audit.anchor import AnchorError, load_public_key
from ops.audit.hlc import stamp_of
from ops.audit.verify import Verified
from ops.audit.verify import verify as verify_logs
from proxy.audit.anchors import anchors_in

EPILOG = """\b
Examples:
  fairlead audit verify /var/lib/fairlead/audit --key audit.pub
  fairlead audit verify audit/ --anchors from-us/eea.eu.0.anchors --metastore metastore.db
  fairlead audit report audit/ --by subject,class,to --verdict mask,allow --since 2026-11-01
  fairlead audit report audit/ --from eea --to us --format json

Exit codes: 0 well, 1 findings, 2 usage.
"""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("audit", epilog=EPILOG)
def audit() -> None:
    """Decision records: verify them, or report from them."""


@audit.command("verify", epilog=EPILOG)
@click.argument("path", type=_FOLDER)
@click.option("--key", "keys", type=_FILE, multiple=True, help="A public key (PEM) that may sign anchors. Repeatable.")
@click.option(
    "--anchors", "elsewhere", type=_FILE, multiple=True, help="Anchors that were kept in another place. Repeatable."
)
@click.option(
    "--metastore", type=_FILE, help="An SQLite metastore: the anchors that were published there count as well."
)
@format_option
def verify(
    path: Path, keys: tuple[Path, ...], elsewhere: tuple[Path, ...], metastore: Path | None, style: str
) -> None:
    """Read all logs under PATH and name the first bad entry of each file."""
    try:
        published = _published(metastore) if metastore else []
        found = verify_logs(path, [load_public_key(key) for key in keys], elsewhere, published)
    except (OSError, AnchorError, MetastoreError) as error:
        raise click.UsageError(str(error)) from None
    if style == "json":
        print_json({"ok": not found.findings, **dataclasses.asdict(found)})
    else:
        _print_verified(path, found)
    if found.findings:
        raise SystemExit(EXIT_FINDINGS)


def _published(metastore: Path) -> list[bytes]:
    with contextlib.closing(SqliteStore(metastore)) as store:
        return anchors_in(store)


def _print_verified(path: Path, found: Verified) -> None:
    for finding in found.findings:
        click.echo(str(finding))
    for note in found.notes:
        click.echo(f"{note} (note)")
    outcome = f"{len(found.findings)} findings" if found.findings else "whole"
    click.echo(f"{path}: {outcome}")
    click.echo(f"  logs       {found.streams}, in {found.segments} segments")
    click.echo(f"  entries    {found.entries}, {found.unanchored} of them behind the last anchor")
    click.echo(f"  anchors    {found.anchors}")


def _filters(function: Any) -> Any:
    """`--subject a,b` and so on, one option per column."""
    for column in reversed(list(reports.COLUMNS)):
        function = click.option(f"--{column}", column, metavar="A,B", help=f"Only decisions with this {column}.")(
            function
        )
    return function


@audit.command("report", epilog=EPILOG)
@click.argument("path", type=_FOLDER)
@click.option("--by", default=",".join(reports.DEFAULT), show_default=True, help="The columns to count by.")
@click.option("--since", help="From this time on: 2026-11-01, 2026-11-01T08:00, UTC.")
@click.option("--until", help="Before this time.")
@_filters
@format_option
def report(path: Path, by: str, since: str | None, until: str | None, style: str, **filters: str | None) -> None:
    """Count decisions. One about several classes or homes counts in each of them."""
    query = reports.Query(
        by=_columns(by),
        where=MappingProxyType({name: frozenset(text.split(",")) for name, text in filters.items() if text}),
        since=_stamp(since, 0),
        until=_stamp(until, 2**64),
    )
    try:
        found = reports.report(path, query)
    except (OSError, reports.TooManyGroups) as error:
        raise click.UsageError(str(error)) from None
    if style == "json":
        print_json(reports.as_json(found))
    else:
        _print_report(found)
    if found.damaged or found.findings:
        raise SystemExit(EXIT_FINDINGS)


def _print_report(found: reports.Report) -> None:
    click.echo(reports.as_table(found), nl=False)
    click.echo(f"{found.decisions} decisions" + (f", {found.first} to {found.last}" if found.decisions else ""))
    if found.findings:
        click.echo(f"{found.findings} answers were kept back by the witness (FL2110): a fault, or a new schema")
    for file in found.damaged:
        click.echo(f"{file}: read up to a bad entry, see fairlead audit verify")


def _columns(by: str) -> tuple[str, ...]:
    columns = tuple(dict.fromkeys(part.strip() for part in by.split(",") if part.strip()))
    unknown = [one for one in columns if one not in reports.COLUMNS]
    if unknown or not columns:
        raise click.UsageError(f"--by takes some of {', '.join(reports.COLUMNS)}, not {', '.join(unknown) or 'none'}")
    return columns


def _stamp(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{text} is no time: write 2026-11-01 or 2026-11-01T08:00") from None
    return stamp_of((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
