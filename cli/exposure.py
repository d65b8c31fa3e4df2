"""`fairlead exposure`: how many persons were shown across borders, and what is left of the budgets."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import EXIT_FINDINGS, config_option, exit_with_mistakes, format_option, print_json, region_option
from config.errors import ConfigError
from config.load import load
from ops.exposure import Level
from ops.ledger import LedgerError, Reading, readings_of
from ops.table import render

EPILOG = """\b
Examples:
  fairlead exposure -c fairlead.yaml
  fairlead exposure -c fairlead.yaml --region eu --format json

Exit codes: 0 well, 1 a budget is past its warning or spent, 2 usage.
"""

HEADS = ("budget", "class", "from", "to", "counterparty", "window", "persons", "at most", "budgeted", "left", "level")


@click.command("exposure", epilog=EPILOG)
@config_option
@region_option
@format_option
def exposure(path: Path, region: str | None, style: str) -> None:
    """Show the exposure meters of the region's legal domain, from the ledger in the audit folder."""
    try:
        found = readings_of(load(path, region=region, secrets=False))
    except ConfigError as error:
        exit_with_mistakes(error, style)
    except LedgerError as error:
        raise click.UsageError(str(error)) from None
    if style == "json":
        print_json([as_dict(one) for one in found])
    else:
        click.echo(_table([as_dict(one) for one in found]), nl=False)
    if any(one.level is not Level.UNDER for one in found):
        raise SystemExit(EXIT_FINDINGS)


def _table(rows: list[dict[str, object]]) -> str:
    """Without the counterparties where there are none."""
    without = {"counterparty"} if all(row["counterparty"] == "-" for row in rows) else set()
    heads = [head for head in HEADS if head not in without]
    cells = ([value for name, value in row.items() if name not in without] for row in rows)
    return render(heads, cells, frozenset(HEADS[:6]))


def as_dict(one: Reading) -> dict[str, object]:
    """`persons` is the estimate; `at_most` its upper end, which the budget is compared with."""
    return {
        "budget": one.flow.budget,
        "class": one.flow.data_class,
        "from": one.flow.origin,
        "to": one.flow.to,
        "counterparty": one.flow.counterparty,
        "window": one.window,
        "persons": one.exposure.estimate,
        "at_most": one.exposure.high,
        "budgeted": one.persons,
        "left": one.left,
        "level": one.level.value,
    }
