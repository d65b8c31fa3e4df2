"""`fairlead lookup`: make, fill and check the tables of lookups."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import click

from cli.output import (
    EXIT_FINDINGS,
    EXIT_REFUSED,
    config_option,
    exit_with_mistakes,
    format_option,
    print_json,
    region_option,
)
from config.errors import ConfigError
from config.load import load
from proxy.lookups.tasks import Pace, Report, Task, TaskFailed
from proxy.pool.service_connection import ServerUnavailable

EPILOG = """\b
Examples:
  fairlead lookup create -c fairlead.yaml shop.customers_by_email
  fairlead lookup backfill -c fairlead.yaml shop.customers_by_email --batch 1000 --pause 0.05
  fairlead lookup verify -c fairlead.yaml shop.customers_by_email --format json

A new lookup: put it into the configuration (state: building), `create`, `backfill` when every Fairlead has that
configuration, `verify`, then set state: ready.

Exit codes: 0 well, 1 differences or conflicts, 2 usage, 3 it cannot be done.
"""


@click.group("lookup", epilog=EPILOG)
def lookup() -> None:
    """Make, fill and check the tables of lookups."""


def _shared(function: Callable[..., None]) -> Callable[..., None]:
    named = click.argument("name", metavar="KEYSPACE.LOOKUP")
    return config_option(region_option(format_option(named(function))))


def _paced(function: Callable[..., None]) -> Callable[..., None]:
    batch = click.option(
        "--batch", default=500, show_default=True, type=click.IntRange(1, 1000), help="Rows looked at together."
    )
    pause = click.option(
        "--pause", default=0.0, show_default=True, type=click.FloatRange(0), help="Seconds between two batches."
    )
    return batch(pause(function))


@lookup.command("create", epilog=EPILOG)
@_shared
def create(path: Path, region: str | None, style: str, name: str) -> None:
    """Make the lookup's table on every shard of its keyspace."""
    _run(path, region, style, name, Pace(), lambda task: task.create())


@lookup.command("backfill", epilog=EPILOG)
@_shared
@_paced
@click.option("--anew", is_flag=True, help="Begin with the first row, not where an earlier run was stopped.")
def backfill(path: Path, region: str | None, style: str, name: str, batch: int, pause: float, anew: bool) -> None:
    """Make an entry for every row. Writes may go on; a run that was stopped goes on where it was."""
    _run(path, region, style, name, Pace(batch, pause), lambda task: task.backfill(anew=anew))


@lookup.command("verify", epilog=EPILOG)
@_shared
@_paced
@click.option("--repair", is_flag=True, help="Mend what differs: make missing entries, remove stale ones.")
def verify(path: Path, region: str | None, style: str, name: str, batch: int, pause: float, repair: bool) -> None:
    """Compare rows and entries in both directions. Writes may go on."""
    _run(path, region, style, name, Pace(batch, pause), lambda task: task.verify(repair=repair))


def _run(
    path: Path, region: str | None, style: str, name: str, pace: Pace, work: Callable[[Task], Awaitable[Report]]
) -> None:
    keyspace, dot, lookup_name = name.partition(".")
    if not dot:
        raise click.UsageError(f"{name} is not KEYSPACE.LOOKUP")

    def told(shard: str, rows: int) -> None:
        if style == "table":
            click.echo(f"{shard}: {rows} rows", err=True)

    async def whole() -> Report:
        async with Task(load(path, region=region), keyspace, lookup_name, pace, told) as task:
            return await work(task)

    try:
        report = asyncio.run(whole())
    except ConfigError as error:
        exit_with_mistakes(error, style)
    except (TaskFailed, ServerUnavailable) as error:
        if style == "json":
            print_json({"ok": False, "error": str(error)})
        else:
            click.echo(str(error), err=True)
        raise SystemExit(EXIT_REFUSED) from None
    _print(report, style)
    if not report.well:
        raise SystemExit(EXIT_FINDINGS)


def _print(report: Report, style: str) -> None:
    if style == "json":
        print_json({"ok": report.well, **asdict(report)})
        return
    counts = {name: count for name, count in asdict(report).items() if isinstance(count, int) and count}
    click.echo(f"{report.lookup}: " + (", ".join(f"{count} {name}" for name, count in counts.items()) or "done"))
    for problem in report.problems:
        click.echo(f"  {problem}")
