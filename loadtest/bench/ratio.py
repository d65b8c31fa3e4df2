"""The main bench: CPU per query of every proxy, in interleaved rounds on one CPU."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.bench import machine, picture, proof, results, tables
from loadtest.bench.arena import Arena
from loadtest.bench.cells import Cell, promises
from loadtest.bench.progress import Progress
from loadtest.bench.rounds import C, Plan, Run, by_sysbench, run_all
from loadtest.bench.summary import Figure, Verdict, judge, summarise, verdict_line


def run(plan: Plan[Cell], wanted: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Starts the arena, runs the plan, returns everything that is to be kept.

    Raises SysbenchError, WrongAnswer, or the world's ServerFailed and ServerMissing.
    """
    progress.say(f"starting servers and {', '.join(wanted)}")
    with Arena(wanted) as arena:
        facts = machine.describe(arena.versions())
        progress.say(f"checking answers of {', '.join(arena.targets)}")
        proof.check_all(arena.targets.values())
        runs = run_all(plan, arena.targets, by_sysbench, lambda *step: say(progress, *step))
    figures = summarise(runs)
    verdicts = judge(runs, promises())
    return {
        "machine": facts,
        "plan": {
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "cpu": plan.cpu,
            "seed": plan.seed,
            "fresh": plan.fresh,
        },
        "figures": [asdict(figure) for figure in figures],
        "verdicts": [{**asdict(verdict), "kept": verdict.kept} for verdict in verdicts],
        "runs": [run.as_dict() for run in runs],
        "text": text(facts, plan, figures, verdicts),
        "picture": picture.svg(figures, "CPU per query", _subtitle(facts, plan)),
    }


def text(
    facts: dict[str, str], plan: Plan[Cell], figures: Sequence[Figure], verdicts: Sequence[Verdict]
) -> list[str]:
    """What is printed at the end."""
    warnings = tables.warning_lines(figures)
    return [
        *tables.machine_lines(facts),
        f"{plan.rounds} interleaved rounds of {plan.seconds} s, {placement(plan)}; medians over the rounds,",
        "ratios within the round; login µs is CPU per connection made, not part of the query figures.",
        *tables.figure_lines(figures),
        *(["", *(f"warning: {line}" for line in warnings)] if warnings else []),
        "",
        *(verdict_line(verdict) for verdict in verdicts),
    ]


def keep(content: dict[str, Any], folder: Path) -> list[Path]:
    """Saves the JSON and the picture."""
    kept = {key: value for key, value in content.items() if key not in ("text", "picture")}
    return results.save(folder, "ratio", kept, content["picture"])


def placement(plan: Plan[C]) -> str:
    return "not pinned" if plan.cpu is None else f"proxy, servers and load on CPU {plan.cpu}"


def _subtitle(facts: dict[str, str], plan: Plan[Cell]) -> str:
    where = f"{facts['cpu']}, {facts['kernel']}"
    return f"{where}, Fairlead {facts['fairlead']}, {plan.rounds} rounds, {placement(plan)}"


def say(progress: Progress, done: int, total: int, run: Run, left: float) -> None:
    cpu = f"{run.proxy_us:6.2f} µs/query" if run.proxy_us is not None else " " * 15
    head = "warm-up" if run.warm else f"round {run.round}"
    progress.step(done, total, f"{head}  {run.cell:<29} {run.target:<16} {cpu} {run.qps:8.0f} qps", left)
