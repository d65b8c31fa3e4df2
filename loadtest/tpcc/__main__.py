"""`python -m loadtest.tpcc`: TPC-C over shards, and whether its rows are consistent behind it."""

import json
import sys
from typing import Any, cast

import click

from loadtest.tpcc.run import Outcome, Plan, Target, run
from loadtest.tpcc.scale import Scale
from loadtest.tpcc.terminal import MIX
from loadtest.world.process import ServerFailed
from loadtest.world.sqlserver import ServerMissing

FINDINGS, BROKEN = 1, 2
DEFAULT = Plan()
PERCENTILES = ("median", "p95")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--warehouses", type=click.IntRange(1, 1000), default=DEFAULT.scale.warehouses, show_default=True)
@click.option("--shards", type=click.IntRange(2, 16), default=DEFAULT.shards, show_default=True)
@click.option("--terminals", type=click.IntRange(1, 500), default=DEFAULT.terminals, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 86_400), default=DEFAULT.seconds, show_default=True)
@click.option(
    "--remote",
    type=click.FloatRange(0, 6),
    default=DEFAULT.remote,
    show_default=True,
    help="How often other warehouses take part, as a multiple of the specification's 15 % and 1 %.",
)
@click.option("--target", type=click.Choice(["fairlead", "one-server"]), default=DEFAULT.target, show_default=True)
@click.option(
    "--server", "flavour", type=click.Choice(["mariadb", "mysql"]), default=DEFAULT.flavour, show_default=True
)
@click.option("--seed", type=int, default=DEFAULT.seed, show_default=True)
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
def main(
    warehouses: int, shards: int, terminals: int, seconds: float, remote: float, target: str, flavour: str, seed: int,
    style: str,
) -> None:  # fmt: skip
    """The five transactions of TPC-C, without its waiting times, on warehouses that are spread over shards.

    Then its consistency conditions, asked of the target as an application would. Not an audited result: the tables are
    small, so that they load within seconds.

    \b
    Examples:
      python -m loadtest.tpcc
      python -m loadtest.tpcc --target one-server
      python -m loadtest.tpcc --warehouses 16 --terminals 32 --seconds 300 --format json > tpcc.json

    Exit codes: 0 consistent and without errors, 1 not, 2 could not run.
    """
    plan = Plan(Scale(warehouses), shards, terminals, seconds, remote, cast("Target", target), flavour, seed)
    try:
        outcome = run(plan, lambda line: click.echo(line, err=True))
    except (ServerFailed, ServerMissing) as error:
        click.echo("\n".join([f"tpcc: {error}", *getattr(error, "__notes__", [])]), err=True)
        sys.exit(BROKEN)
    click.echo(json.dumps(as_dict(outcome)) if style == "json" else "\n".join(lines(outcome)))
    sys.exit(0 if outcome.ok else FINDINGS)


def lines(outcome: Outcome) -> list[str]:
    table = [f"{'transaction':14} {'done':>8} {'median ms':>10} {'95 % ms':>10}"]
    for name in MIX:
        middle, high = outcome.latency(name)
        table.append(f"{name:14} {outcome.done[name]:>8} {middle:>10.1f} {high:>10.1f}")
    table += [
        f"new orders a minute: {outcome.per_minute:.0f}; of several warehouses: {outcome.remote}; "
        f"rolled back on purpose: {outcome.rolled_back}; tried again: {outcome.retries}",
        *(f"error, {count} times: {text}" for text, count in outcome.errors.most_common(10)),
        *(f"NOT CONSISTENT {name}: {rows}" for name, rows in outcome.broken.items()),
        *(f"not answered {name}: {why}" for name, why in outcome.unasked.items()),
    ]
    return [*table, "consistent" if outcome.ok else "NOT as it should be"]


def as_dict(outcome: Outcome) -> dict[str, Any]:
    done, latency = outcome.done, outcome.latency
    return {
        "ok": outcome.ok,
        "seconds": outcome.seconds,
        "new_orders_per_minute": outcome.per_minute,
        "transactions": {
            name: {"done": done[name], "ms": dict(zip(PERCENTILES, latency(name), strict=True))} for name in MIX
        },
        "of_several_warehouses": outcome.remote,
        "rolled_back": outcome.rolled_back,
        "tried_again": outcome.retries,
        "errors": dict(outcome.errors),
        "broken": outcome.broken,
        "not_answered": outcome.unasked,
    }


if __name__ == "__main__":
    main()
