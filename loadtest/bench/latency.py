"""What a proxy adds to the latency of a point select at a fixed rate.

An open loop: sysbench draws arrivals at the given rate and counts from the arrival, so a stall is seen by all
that arrive during it. Proxies get a CPU of their own and servers and load the others, where there are two.
"""

import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from loadtest.bench import cells, machine, procfs, proof, sysbench, tables
from loadtest.bench.arena import Arena
from loadtest.bench.progress import Progress
from loadtest.bench.stats import Interval, histogram_quantile, median_interval
from loadtest.bench.targets import Target

QUANTILES = (("p50", 0.50), ("p99", 0.99))
# Below this part of the rate the load was not an open loop any more, and latencies mean nothing.
RATE_HELD = 0.9
DEFAULT_TARGETS = (cells.DIRECT, cells.HAPROXY, cells.PROXYSQL, cells.UNSHARDED, cells.SHARDED)


@dataclass(frozen=True)
class Sample:
    """One run: milliseconds at the quantiles, and the rate that was reached."""

    round: int
    target: str
    qps: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Added:
    """Milliseconds at a quantile: the median over the rounds, and what the same round adds to direct."""

    target: str
    quantile: str
    milliseconds: float
    added: Interval | None


@dataclass(frozen=True)
class Plan:
    rate: int
    rounds: int
    seconds: int
    threads: int = 16
    prepared: bool = False
    seed: int = 1


def measure(plan: Plan, names: Sequence[str], progress: Progress) -> tuple[dict[str, str], list[Sample]]:
    """(machine, samples). Raises CannotMeasure and the world's errors."""
    with Arena([*names, cells.DIRECT]) as arena:
        facts = machine.describe(arena.versions())
        proof.check_all(arena.targets.values())
        apart = _place(arena.targets.values())
        samples = []
        steps = _schedule(plan, list(arena.targets))
        for done, (number, name) in enumerate(steps, 1):
            sample = _run(plan, number, arena.targets[name], apart)
            if number:
                samples.append(sample)
            left = (len(steps) - done) * (plan.seconds + 0.3)
            text = f"round {number}  {name:<16} p50 {sample.p50:.3f} ms  p99 {sample.p99:.3f} ms"
            progress.step(done, len(steps), text, left)
    return facts, samples


def _schedule(plan: Plan, names: list[str]) -> list[tuple[int, str]]:
    """Interleaved rounds; round 0 warms up and is thrown away."""
    draw, steps = random.Random(plan.seed), []
    for number in range(plan.rounds + 1):
        draw.shuffle(names)
        steps += [(number, name) for name in names]
    return steps


def _place(targets: Iterable[Target]) -> list[str]:
    """Pins proxies to the last CPU, servers to the others; returns the prefix that does so with the load."""
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        return []
    proxies, others = {max(cpus)}, cpus - {max(cpus)}
    for target in targets:
        procfs.pin(target.proxy_pids(), proxies)
        procfs.pin(target.server_pids(), others)
    return ["taskset", "-c", ",".join(map(str, sorted(others)))]


def _run(plan: Plan, number: int, target: Target, prefix: list[str]) -> Sample:
    load = sysbench.Load(
        cells.POINT_SELECT,
        plan.threads,
        plan.prepared,
        seconds=plan.seconds,
        rate=plan.rate,
        seed=plan.seed + number,
        table_size=target.rows,
        histogram=True,
    )
    report = sysbench.run(load, target.endpoint, prefix=prefix)
    p50, p99 = (histogram_quantile(report.histogram, fraction) for _, fraction in QUANTILES)
    return Sample(number, target.name, report.qps, p50, p99)


def summarise(samples: Sequence[Sample]) -> list[Added]:
    """One line per target and quantile, targets in their usual order."""
    names = [name for name in cells.TARGETS if any(sample.target == name for sample in samples)]
    return [_added(samples, name, quantile) for quantile, _ in QUANTILES for name in names]


def _added(samples: Sequence[Sample], name: str, quantile: str) -> Added:
    mine = {s.round: float(getattr(s, quantile)) for s in samples if s.target == name}
    direct = {s.round: float(getattr(s, quantile)) for s in samples if s.target == cells.DIRECT}
    differences = [value - direct[number] for number, value in mine.items() if number in direct]
    added = median_interval(differences) if differences and name != cells.DIRECT else None
    return Added(name, quantile, median(mine.values()), added)


def slow(plan: Plan, samples: Sequence[Sample]) -> list[str]:
    """Runs that did not hold the rate."""
    return [
        f"warning: {s.target}, round {s.round}: {s.qps:.0f} of {plan.rate} queries a second"
        for s in samples
        if s.qps < plan.rate * RATE_HELD
    ]


def lines(plan: Plan, facts: dict[str, str], samples: Sequence[Sample]) -> list[str]:
    rows = [("target", "quantile", "ms", "added ms", "95 % interval")]
    for line in summarise(samples):
        gain = line.added
        added = f"{gain.median:+.3f}" if gain else ""
        span = f"{gain.low:+.3f} – {gain.high:+.3f} ({gain.coverage:.1%})" if gain else ""
        rows.append((line.target, line.quantile, f"{line.milliseconds:.3f}", added, span))
    load = f"{plan.rate} point selects a second, {plan.threads} connections"
    head = f"{load}, {plan.rounds} rounds of {plan.seconds} s"
    return [*tables.machine_lines(facts), "", head, *tables.grid(rows), *slow(plan, samples)]


def as_dict(plan: Plan, facts: dict[str, str], samples: Sequence[Sample]) -> dict[str, object]:
    return {
        "machine": facts,
        "plan": asdict(plan),
        "added": [asdict(line) for line in summarise(samples)],
        "runs": [asdict(sample) for sample in samples],
    }
