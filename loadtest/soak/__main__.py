"""`python -m loadtest.soak`: many clients over few connections, clients and a server killed meanwhile."""

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from loadtest.soak.run import Outcome, Plan, run
from loadtest.soak.verdicts import word
from loadtest.world.process import ServerFailed
from loadtest.world.sqlserver import ServerMissing

FINDINGS, BROKEN = 1, 2
DEFAULT = Plan()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--clients", type=click.IntRange(1, 10_000), default=DEFAULT.clients, show_default=True)
@click.option(
    "--connections",
    type=click.IntRange(2, 1000),
    default=DEFAULT.connections,
    show_default=True,
    help="To all servers.",
)
@click.option("--seconds", type=click.FloatRange(5, 86_400), default=DEFAULT.seconds, show_default=True)
@click.option(
    "--kill",
    "part",
    type=click.FloatRange(0, 1),
    default=DEFAULT.kill_part,
    show_default=True,
    help="Part of the clients.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=DEFAULT.workers, show_default=True)
@click.option("--seed", type=int, default=DEFAULT.seed, show_default=True)
@click.option(
    "--target",
    type=click.Choice(["fairlead", "haproxy"]),
    default="fairlead",
    help="haproxy: tests the soak itself.",
)
@click.option("--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
def main(
    clients: int,
    connections: int,
    seconds: float,
    part: float,
    workers: int,
    seed: int,
    target: str,
    style: str,
) -> None:
    """Mixed transactions of many clients over few backend connections, every answer checked.

    Clients are killed by RST and FIN, idle, mid-query and mid-transaction, and one server by `kill -9` in the
    middle. At the end every row on the servers is compared with what was acknowledged.

    \b
    Examples:
      python -m loadtest.soak
      python -m loadtest.soak --seconds 10 --clients 100
      python -m loadtest.soak --seconds 3600 --workers 2 --format json > soak.json

    Exit codes: 0 all promises kept, 1 not, 2 could not run.
    """
    plan = Plan(clients, connections, seconds, part, seed, workers, target)
    try:
        outcome = run(plan, lambda line: click.echo(line, err=True))
    except (ServerFailed, ServerMissing) as error:
        click.echo("\n".join([f"soak: {error}", *getattr(error, "__notes__", [])]), err=True)
        sys.exit(BROKEN)
    click.echo(json.dumps(as_dict(plan, outcome)) if style == "json" else "\n".join(lines(outcome)))
    sys.exit(0 if outcome.ok else FINDINGS)


def lines(outcome: Outcome) -> list[str]:
    """The verdicts as a table, what happened to the clients, and the first findings."""
    journal = outcome.evidence.journal
    rate = journal.statements / outcome.seconds
    return [
        f"{journal.statements} statements, {rate:.0f} a second, {journal.logins} logins",
        *(f"  {count:4} killed by {how}" for how, count in sorted(journal.kills.items())),
        "",
        *(f"{word(v)}  {v.promise}: {v.found}" for v in outcome.verdicts),
        *(["", "first findings:", *(f"  {line}" for line in journal.lines)] if journal.lines else []),
    ]


def as_dict(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    journal = outcome.evidence.journal
    return {
        "plan": asdict(plan),
        "ok": outcome.ok,
        "seconds": outcome.seconds,
        "verdicts": [asdict(verdict) for verdict in outcome.verdicts],
        "statements": journal.statements,
        "done": journal.done,
        "kills": journal.kills,
        "expected_errors": journal.expected_errors,
        "findings": journal.lines,
    }


if __name__ == "__main__":
    main()
