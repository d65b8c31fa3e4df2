"""`python -m loadtest.bench`: what Fairlead costs, next to the alternatives."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import click

from loadtest.bench import (
    coldplans,
    encoded,
    groups,
    idle,
    instructions,
    latency,
    policy,
    ratio,
    results,
    rounds,
    sysbench,
)
from loadtest.bench.cells import TARGETS, full_cells, short_cells
from loadtest.bench.errors import CannotMeasure
from loadtest.bench.progress import Progress
from loadtest.bench.redis import cells as redis_cells
from loadtest.bench.redis import instructions as redis_instructions
from loadtest.bench.redis import load as redis_load
from loadtest.bench.redis import ratio as redis_ratio
from loadtest.bench.rounds import C
from loadtest.world.process import ServerFailed
from loadtest.world.sqlserver import ServerMissing

FINDINGS, BROKEN = 1, 2

output_format = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Of stdout.",
)
check_option = click.option("--check", is_flag=True, help="Exit 1 when a promise is broken.")
out_option = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=results.LOCAL,
    show_default="loadtest/results/local",
    help="Where the JSON and the picture go.",
)


def reports_failures(command: Callable[..., None]) -> Callable[..., None]:
    """Turns what can go wrong around a measurement into one line and exit code 2."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (CannotMeasure, ServerFailed, ServerMissing) as error:
            click.echo("\n".join([f"bench: {error}", *getattr(error, "__notes__", [])]), err=True)
            sys.exit(BROKEN)

    return guarded


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """What Fairlead costs: CPU per query, instructions, memory, latency.

    \b
    Examples:
      python -m loadtest.bench ratio                       the promised cells, ~10 minutes
      python -m loadtest.bench ratio --full                every script, protocol and number of threads
      python -m loadtest.bench ratio --cell 'point_select text 16' --rounds 15
      python -m loadtest.bench ratio --format json > ratio.json
      python -m loadtest.bench redis                       Redis: against twemproxy, ~8 minutes
      python -m loadtest.bench instructions --check        what CI asks
    """


@main.command("ratio")
@click.option("--full", is_flag=True, help="All scripts, text and prepared, 1, 16 and 64 threads.")
@click.option("--cell", "patterns", multiple=True, metavar="TEXT", help="Only cells whose name holds TEXT.")
@click.option("--target", "names", multiple=True, type=click.Choice(TARGETS), help="Only these; haproxy is the unit.")
@click.option("--rounds", "count", type=click.IntRange(1, 999), default=9, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 600), default=4, show_default=True, help="Of one run.")
@click.option("--cpu", type=int, default=None, help="The CPU for proxy, servers and load.  [default: the last]")
@click.option("--unpinned", is_flag=True, help="Let the kernel place everything: for latency, not for ratios.")
@click.option("--fresh", is_flag=True, help="Start the proxies anew for every round.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the keys asked for and the order of runs.")
@check_option
@out_option
@output_format
@reports_failures
def ratio_command(
    full: bool,
    patterns: tuple[str, ...],
    names: tuple[str, ...],
    count: int,
    seconds: int,
    cpu: int | None,
    unpinned: bool,
    fresh: bool,
    seed: int,
    check: bool,
    out: Path,
    style: str,
) -> None:
    """CPU per query of direct, haproxy, ProxySQL (when installed) and Fairlead, and their ratios.

    Everything runs on one CPU, which makes the rounds agree within about 2 %: it measures CPU, not latency.
    Exit codes: 0 measured, 1 a promise is broken (with --check), 2 could not measure.
    """
    sysbench.require()
    cells = _chosen(full_cells() if full else short_cells(), patterns)
    wanted = [name for name in TARGETS if name in (names or TARGETS) and any(name in cell.targets for cell in cells)]
    pinned = None if unpinned else rounds.default_cpu() if cpu is None else cpu
    plan = rounds.Plan(cells, count, seconds, pinned, seed=seed, fresh=fresh)
    _show(ratio.run(plan, wanted, Progress()), ratio.keep, out, style, check)


@main.command("redis")
@click.option("--cell", "patterns", multiple=True, metavar="TEXT", help="Only cells whose name holds TEXT.")
@click.option("--target", "names", multiple=True, type=click.Choice(redis_cells.TARGETS), help="Only these.")
@click.option("--rounds", "count", type=click.IntRange(1, 999), default=9, show_default=True)
@click.option("--cpu", type=int, default=None, help="The CPU for proxy, servers and load.  [default: the last]")
@click.option("--unpinned", is_flag=True, help="Let the kernel place everything.")
@check_option
@out_option
@output_format
@reports_failures
def redis_command(
    patterns: tuple[str, ...],
    names: tuple[str, ...],
    count: int,
    cpu: int | None,
    unpinned: bool,
    check: bool,
    out: Path,
    style: str,
) -> None:
    """CPU per Redis request of direct, twemproxy and Fairlead before one and four shards, by redis-benchmark.

    Exit codes: 0 measured, 1 a promise is broken (with --check), 2 could not measure.
    """
    redis_load.require()
    pinned = None if unpinned else rounds.default_cpu() if cpu is None else cpu
    plan = rounds.Plan(_chosen(redis_cells.cells(), patterns), count, 4, pinned)
    _show(redis_ratio.run(plan, names or redis_cells.TARGETS, Progress()), redis_ratio.keep, out, style, check)


@main.command("instructions")
@click.option("--check", is_flag=True, help="Exit 1 when over a limit, or 5 % over the checked-in reference.")
@click.option("--update", is_flag=True, help="Announce: make this count the reference.")
@click.option("--profile", is_flag=True, help="Show the instructions by function.")
@output_format
@reports_failures
def instructions_command(check: bool, update: bool, profile: bool, style: str) -> None:
    """User instructions and system calls of the worker per point select, at 16 connections.

    Deterministic where CPU time is not; needs valgrind and strace. The last two lines have a fixed form.
    Exit codes: 0 counted, 1 findings (with --check), 2 could not count.
    """
    sysbench.require()
    reference = instructions.read_reference()
    counts = instructions.measure(Progress())
    if update:
        instructions.write_reference(counts)
        reference = instructions.read_reference()
    if style == "json":
        click.echo(json.dumps({**counts.as_dict(), "reference": reference}))
    else:
        shown = instructions.profile_lines(counts) if profile else []
        click.echo("\n".join([*shown, *instructions.lines(counts, reference)]))
    if check and (reference is None or instructions.findings(counts, reference)):
        if reference is None:
            click.echo(f"bench: no reference {instructions.REFERENCE_FILE}: make one with --update", err=True)
        sys.exit(FINDINGS)


@main.command("policy-instructions")
@click.option("--check", is_flag=True, help="Exit 1 when a policy costs more than 3 % where it has nothing to do.")
@output_format
@reports_failures
def policy_instructions_command(check: bool, style: str) -> None:
    """User instructions of the worker per point select, without a policy and under one of 200 columns and 50 rules.

    Exit codes: 0 counted, 1 findings (with --check), 2 could not count.
    """
    found = policy.measure(Progress())
    click.echo(json.dumps(asdict(found)) if style == "json" else "\n".join(policy.lines(found)))
    if check and policy.findings(found):
        sys.exit(FINDINGS)


@main.command("encoded-instructions")
@output_format
@reports_failures
def encoded_instructions_command(style: str) -> None:
    """User instructions of the worker per point select: plaintext clients, TLS, and compression by zlib and zstd.

    Exit codes: 0 counted, 2 could not count.
    """
    counts = encoded.measure(Progress())
    click.echo(json.dumps(counts) if style == "json" else "\n".join(encoded.lines(counts)))


@main.command("redis-instructions")
@click.option("--check", is_flag=True, help="Exit 1 when 5 % over the checked-in reference.")
@click.option("--update", is_flag=True, help="Announce: make this count the reference.")
@click.option("--profile", is_flag=True, help="Show the instructions by function.")
@output_format
@reports_failures
def redis_instructions_command(check: bool, update: bool, profile: bool, style: str) -> None:
    """User instructions of the worker per Redis request over four shards: GET, SET and MGET in pipelines.

    Exit codes: 0 counted, 1 findings (with --check), 2 could not count.
    """
    counts = redis_instructions.measure(Progress())
    found = counts.instructions
    if update:
        redis_instructions.write_reference(found)
    reference = redis_instructions.read_reference()
    if style == "json":
        click.echo(json.dumps({"instructions": found, "reference": reference}))
    else:
        shown = redis_instructions.profile_lines(counts) if profile else []
        click.echo("\n".join([*shown, *redis_instructions.lines(found, reference)]))
    if check and (reference is None or redis_instructions.findings(found, reference)):
        sys.exit(FINDINGS)


@main.command("idle")
@click.option("--clients", type=click.IntRange(1, 60_000), default=idle.CLIENTS, show_default=True)
@click.option("--target", "names", multiple=True, type=click.Choice(TARGETS), default=idle.DEFAULT_TARGETS)
@check_option
@output_format
@reports_failures
def idle_command(clients: int, names: tuple[str, ...], check: bool, style: str) -> None:
    """Memory per idle, authenticated client."""
    found = idle.measure(names, clients, Progress())
    if style == "json":
        click.echo(json.dumps([memory.as_dict() for memory in found]))
    else:
        click.echo("\n".join(idle.lines(found)))
    if check and not all(idle.kept(memory) for memory in found):
        sys.exit(FINDINGS)


@main.command("latency")
@click.option("--rate", type=click.IntRange(1), default=2000, show_default=True, help="Queries a second.")
@click.option("--rounds", "count", type=click.IntRange(1, 999), default=7, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 600), default=4, show_default=True, help="Of one run.")
@click.option("--prepared", is_flag=True, help="Prepared statements instead of text.")
@click.option("--target", "names", multiple=True, type=click.Choice(TARGETS), default=latency.DEFAULT_TARGETS)
@out_option
@output_format
@reports_failures
def latency_command(
    rate: int, count: int, seconds: int, prepared: bool, names: tuple[str, ...], out: Path, style: str
) -> None:
    """Added p50 and p99 at a fixed rate, against direct."""
    sysbench.require()
    plan = latency.Plan(rate, count, seconds, prepared=prepared)
    facts, samples = latency.measure(plan, names, Progress())
    content = latency.as_dict(plan, facts, samples)
    files = results.save(out, "latency", content)
    if style == "json":
        click.echo(json.dumps(content))
    else:
        click.echo("\n".join([*latency.lines(plan, facts, samples), *(f"written: {path}" for path in files)]))


@main.command("coldplans")
@click.option("--rounds", "count", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--shapes", type=click.IntRange(8, 20_000), default=coldplans.SHAPES, show_default=True)
@click.option("--target", "names", multiple=True, type=click.Choice(TARGETS), default=coldplans.DEFAULT_TARGETS)
@check_option
@output_format
@reports_failures
def coldplans_command(count: int, shapes: int, names: tuple[str, ...], check: bool, style: str) -> None:
    """What new statement shapes cost everybody else, and what long lists cost."""
    delays, costs = coldplans.measure(names, count, shapes, Progress())
    if style == "json":
        found = {"delays": [delay.as_dict() for delay in delays], "lists": [cost.as_dict() for cost in costs]}
        click.echo(json.dumps(found))
    else:
        click.echo("\n".join(coldplans.lines(delays, costs)))
    if check and not coldplans.kept(delays, costs):
        sys.exit(FINDINGS)


@main.command("groups")
@click.option("--rounds", "count", type=click.IntRange(1, 100), default=7, show_default=True)
@click.option("--rows", type=click.IntRange(1000), default=groups.ROWS, show_default=True)
@click.option("--groups", "many", type=click.IntRange(10), default=groups.GROUPS, show_default=True)
@check_option
@output_format
@reports_failures
def groups_command(count: int, rows: int, many: int, check: bool, style: str) -> None:
    """GROUP BY a column that is no key, over four shards, beside four clients that read a shard each."""
    cost = groups.measure(count, Progress(), rows, many)
    click.echo(json.dumps(cost.as_dict()) if style == "json" else "\n".join(groups.lines(cost)))
    if check and not cost.kept:
        sys.exit(FINDINGS)


def _show(
    content: dict[str, Any], keep: Callable[[dict[str, Any], Path], list[Path]], out: Path, style: str, check: bool
) -> None:
    """Saves and prints the figures; exits where a promise is broken and `check` asks for it."""
    files = keep(content, out)
    if style == "json":
        click.echo(json.dumps({key: value for key, value in content.items() if key not in ("text", "picture")}))
    else:
        click.echo("\n".join([*content["text"], "", *(f"written: {path}" for path in files)]))
    if check and any(verdict["kept"] is False for verdict in content["verdicts"]):
        sys.exit(FINDINGS)


def _chosen(cells: list[C], patterns: tuple[str, ...]) -> list[C]:
    chosen = [cell for cell in cells if not patterns or any(pattern in cell.name for pattern in patterns)]
    if not chosen:
        raise click.UsageError(f"no cell has {' or '.join(patterns)} in its name: {[cell.name for cell in cells]}")
    return chosen


if __name__ == "__main__":
    main()
