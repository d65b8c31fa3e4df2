"""`fairlead history`: the versions, and what is in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from cli.output import config_option, exit_with_mistakes, format_option, print_json, region_option
from cli.versions import followers, versions_of, when
from config.errors import ConfigError
from config.load import load
from metastore.versions import Active, Version, Versions
from ops import table

EPILOG = """\b
Examples:
  fairlead history -c fairlead.yaml
  fairlead history -c fairlead.yaml --show 7

Exit codes: 0 well, 1 there is no such version, 2 usage.
"""


@click.command("history", epilog=EPILOG)
@config_option
@region_option
@click.option("--show", type=click.IntRange(min=1), help="Print the files of this version.")
@format_option
def history(path: Path, region: str | None, show: int | None, style: str) -> None:
    """List the versions, the newest first, with who follows them."""
    try:
        settings = load(path, region=region, secrets=False)
    except ConfigError as error:
        exit_with_mistakes(error, style)
    with versions_of(settings) as (store, versions):
        if show is not None:
            _show(versions, show, style)
            return
        active, found = versions.active(), versions.history()
        running = [dataclasses.asdict(one) for one in followers(store)]
    if style == "json":
        print_json(
            {
                "active": active and dataclasses.asdict(active),
                "versions": [dataclasses.asdict(one) for one in found],
                "fairleads": running,
            }
        )
        return
    click.echo(_table(active, found), nl=False)
    for one in running:
        click.echo(f"{one['name']}: version {one['version']}, {one['state']} {one['error']}".rstrip())


def _show(versions: Versions, number: int, style: str) -> None:
    bundle = versions.bundle(number)
    if style == "json":
        print_json({"version": dataclasses.asdict(versions.version(number)), "files": dict(bundle.files)})
        return
    for name, text in bundle.files.items():
        click.echo(f"# {name}, version {number}")
        click.echo(text, nl=not text.endswith("\n"))


def _table(active: Active | None, found: list[Version]) -> str:
    heads = ["version", "", "content", "when", "who", "why"]
    rows = [
        [one.number, _state(active, one), one.content[:12], when(one.when), one.who, one.why or _origin(one)]
        for one in found
    ]
    return table.render(heads, rows, left=frozenset(heads[1:]))


def _state(active: Active | None, version: Version) -> str:
    if active is None or version.number not in (active.number, active.enforced):
        return ""
    if version.number == active.enforced and active.trial is not None:
        return "in force"
    if active.confirmed:
        return "in force"
    return f"{active.trial or 'in force'} until {when(active.confirm_by or 0)}"


def _origin(version: Version) -> str:
    return f"as version {version.of}" if version.of else ""
