"""Interleaved rounds: in every round every cell runs on every target, back to back, in an order drawn anew.

CPU is read when sysbench says that all its threads are connected and prepared, and again when it has ended:
logging in costs a proxy far more than a query and happens once, so it is kept apart (`login_us`).
"""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Generic, Protocol, TypeVar

from loadtest.bench import procfs, sysbench
from loadtest.bench.cells import Cell
from loadtest.bench.targets import Target


class AnyCell(Protocol):
    """What is run on several targets, whatever makes the load."""

    @property
    def name(self) -> str: ...
    @property
    def targets(self) -> tuple[str, ...]: ...


C = TypeVar("C", bound=AnyCell)


@dataclass(frozen=True)
class Plan(Generic[C]):
    """How the rounds are run.

    `cpu` None leaves scheduling alone, and then ratios mean little. `fresh` starts the proxies anew for every
    round, so that the luck of one process (where its memory lies) is not taken for its cost.
    """

    cells: Sequence[C]
    rounds: int
    seconds: int
    cpu: int | None
    warm_seconds: int = 1
    seed: int = 1
    fresh: bool = False

    def seconds_of(self, step: "Step[C]") -> int:
        return self.warm_seconds if step.warm else self.seconds


@dataclass(frozen=True)
class Run:
    """One cell on one target in one round. Times in microseconds of CPU, latency in milliseconds."""

    round: int
    warm: bool
    cell: str
    target: str
    queries: int
    seconds: float
    qps: float
    p95_ms: float
    avg_ms: float
    proxy_us: float | None
    server_us: float
    login_us: float | None
    ignored_errors: int
    vanished_tasks: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Step(Generic[C]):
    """One run to be made. What is `warm` fills plan caches, pools and buffer pools, and is thrown away."""

    round: int
    cell: C
    target: str
    warm: bool


def schedule(plan: Plan[C], available: Iterable[str]) -> list[Step[C]]:
    """All runs in their order: a warm-up before round 1 (and every round, of fresh processes), the rounds."""
    names, draw = set(available), random.Random(plan.seed)
    steps: list[Step[C]] = []
    for number in range(1, plan.rounds + 1):
        for warm in (True, False) if number == 1 or plan.fresh else (False,):
            for cell in plan.cells:
                targets = [name for name in cell.targets if name in names]
                draw.shuffle(targets)
                steps.extend(Step(number, cell, target, warm) for target in targets)
    return steps


def run_all(
    plan: Plan[C],
    targets: dict[str, Target],
    measure: Callable[[Plan[C], Step[C], Target], Run],
    report: Callable[[int, int, Run, float], None],
) -> list[Run]:
    """Runs the schedule and returns what was measured.

    `measure` makes one run; `report(done, total, run, seconds_left)` is called after each. What `measure` raises
    ends everything: a bench with a hole in it compares nothing.
    """
    steps = schedule(plan, targets)
    runs: list[Run] = []
    clock = Remaining(steps, plan)
    last = 0
    with _away_from(plan.cpu):
        for done, step in enumerate(steps, 1):
            begun = time.monotonic()
            if step.round != last:
                _prepare(plan, step.round, list(targets.values()))
                last = step.round
            run = measure(plan, step, targets[step.target])
            clock.spent(step, time.monotonic() - begun)
            report(done, len(steps), run, clock.left(done))
            if not step.warm:
                runs.append(run)
    return runs


class Remaining(Generic[C]):
    """The time left, from what the runs so far cost beyond their nominal seconds."""

    def __init__(self, steps: Sequence[Step[C]], plan: Plan[C]) -> None:
        self._plan, self._overhead = plan, [0.3]
        self._nominal = [plan.seconds_of(step) for step in steps]

    def spent(self, step: Step[C], seconds: float) -> None:
        self._overhead.append(max(0.0, seconds - self._plan.seconds_of(step)))

    def left(self, done: int) -> float:
        rest = self._nominal[done:]
        return sum(rest) + len(rest) * sum(self._overhead) / len(self._overhead)


def by_sysbench(plan: Plan[Cell], step: Step[Cell], target: Target) -> Run:
    """Makes one run. Raises SysbenchError."""
    cell = step.cell
    load = sysbench.Load(
        cell.script,
        cell.threads,
        cell.prepared,
        seconds=plan.seconds_of(step),
        seed=plan.seed + step.round,
        table_size=target.rows,
    )
    proxy, servers = target.proxy_pids(), target.server_pids()
    before = procfs.read_cpu(proxy)
    started: list[procfs.CpuReading] = []

    def on_started(_: int) -> None:
        started[:] = [procfs.read_cpu(proxy), procfs.read_cpu(servers)]

    prefix = ["taskset", "-c", str(plan.cpu)] if plan.cpu is not None else []
    report = sysbench.run(load, target.endpoint, prefix=prefix, on_started=on_started)
    proxy_used = procfs.cpu_between(started[0], procfs.read_cpu(target.proxy_pids()))
    server_used = procfs.cpu_between(started[1], procfs.read_cpu(servers))
    login = procfs.cpu_between(before, started[0])
    return Run(
        round=step.round,
        warm=step.warm,
        cell=cell.name,
        target=target.name,
        queries=report.queries,
        seconds=report.seconds,
        qps=report.qps,
        p95_ms=report.latency_p95,
        avg_ms=report.latency_avg,
        proxy_us=proxy_used.nanoseconds / 1000 / report.queries if proxy else None,
        server_us=server_used.nanoseconds / 1000 / report.queries,
        login_us=login.nanoseconds / 1000 / cell.threads if proxy else None,
        ignored_errors=report.ignored_errors,
        vanished_tasks=proxy_used.vanished,
    )


def _prepare(plan: Plan[C], number: int, targets: Sequence[Target]) -> None:
    """Before a round: fresh proxies where wanted, and everything on its CPU."""
    if plan.fresh and number > 1:
        for proxy in {id(target.proxy): target.proxy for target in targets if target.proxy}.values():
            proxy.restart()
    if plan.cpu is not None and (plan.fresh or number == 1):
        _pin_everything(plan.cpu, targets)


def _pin_everything(cpu: int, targets: Iterable[Target]) -> None:
    """Proxies and servers on one CPU."""
    for target in targets:
        procfs.pin([*target.proxy_pids(), *target.server_pids()], {cpu})


@contextmanager
def _away_from(cpu: int | None) -> Iterator[None]:
    """This process on the other CPUs, so that reading /proc disturbs nothing; as before when the block ends."""
    allowed = os.sched_getaffinity(0)
    others = allowed - {cpu}
    if cpu is None or not others:
        yield
        return
    procfs.pin([os.getpid()], others)
    try:
        yield
    finally:
        procfs.pin([os.getpid()], allowed)


def default_cpu() -> int:
    """The last CPU this process may use: interrupts and everybody else prefer the first."""
    return max(os.sched_getaffinity(0))
