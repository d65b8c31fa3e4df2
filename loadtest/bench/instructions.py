"""User instructions and system calls of the worker per point select, counted, not timed.

The worker runs under callgrind; 16 connections ask 10,000 and then 20,000 queries, and the difference of the
counts is divided by that of the queries; of three such pairs the median counts. What the worker does by the
clock (health checks, heartbeats) is taken off, because valgrind stretches time some fifty times: its rate is
measured with nobody asking. For the same reason health checks are set to seldom there. CPU when idle is measured
apart, outside valgrind, with default settings, and so are system calls, by strace and with sysbench as the load.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from loadtest.bench import callgrind, cells, procfs, proof, strace, sysbench
from loadtest.bench.arena import Arena
from loadtest.bench.callgrind import Costs
from loadtest.bench.crowd import Crowd
from loadtest.bench.progress import Progress
from loadtest.bench.targets import Target
from loadtest.world.fairlead import Fairlead

REFERENCE_FILE = Path(__file__).with_name("instructions.json")
GROWTH = 1.05
LIMITS: Mapping[str, float] = {"text": 2500, "prepared": 1500}
CALL_LIMITS: Mapping[str, float] = {"receives": 2.0, "sends": 2.0, "polls": 0.6}
# What belongs to no query (a timer's, another thread's wake-up) must not fail a limit of exactly 2.
CALL_TOLERANCE = 0.02
THREADS, SHORT, LONG, WARM = 16, 10_000, 20_000, 2_000
IDLE_SECONDS = 10.0     # the longest regular task comes every few seconds
FUNCTIONS = 60
PAIRS = 3
SELDOM = {"health": {"interval": "60s", "schema": "1h"}}
READY_TIMEOUT = 300.0
PROTOCOLS = {"text": False, "prepared": True}


@dataclass(frozen=True)
class Count:
    """Per query of one protocol; `calls` are those of the families in `strace.FAMILIES` and "others"."""

    instructions: int
    calls: dict[str, float]


@dataclass(frozen=True)
class Counts:
    """All that was counted. `idle_us` is CPU of all processes, in µs a second, with nobody asking.

    `functions` are instructions per query of one protocol by (object file, function), the dearest first.
    """

    text: Count
    prepared: Count
    idle_us: float
    functions: dict[str, list[tuple[str, str, float]]]

    def of(self, protocol: str) -> Count:
        return self.text if protocol == "text" else self.prepared

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class UnderCallgrind(Fairlead):
    """Fairlead with every process under callgrind."""

    def command(self) -> list[str]:
        return callgrind.command(self.directory, super().command())


def measure(progress: Progress, short: int = SHORT, long: int = LONG) -> Counts:
    """Counts both protocols. Raises CallgrindError, StraceError, SysbenchError, WrongAnswer, ServerFailed."""
    progress.say("system calls: starting")
    with Arena([cells.SHARDED]) as arena:
        target = arena.targets[cells.SHARDED]
        proof.check_all([target])
        calls = {name: count_calls(target, arena.directory, name, short, long) for name in PROTOCOLS}
        idle = idle_cpu(target)
    progress.say("instructions: starting everything under callgrind, which takes a minute")
    with Arena([cells.SHARDED], fairlead=UnderCallgrind, ready_timeout=READY_TIMEOUT, sections=SELDOM) as arena:
        target = arena.targets[cells.SHARDED]
        proof.check_all([target])
        found = asyncio.run(count_instructions(target, arena.directory, short, long))
    counts = {name: Count(found[name].instructions, calls[name]) for name in PROTOCOLS}
    functions = {name: found[name].functions for name in PROTOCOLS}
    return Counts(counts["text"], counts["prepared"], idle, functions)


def load(target: Target, protocol: str, queries: int) -> sysbench.Report:
    """Point selects from 16 connections, the same keys every time."""
    wanted = sysbench.Load(
        cells.POINT_SELECT, THREADS, PROTOCOLS[protocol], events=queries, seed=1, table_size=target.rows
    )
    return sysbench.run(wanted, target.endpoint)


def count_calls(target: Target, folder: Path, protocol: str, short: int, long: int) -> dict[str, float]:
    """System calls of the worker per query, by family."""
    load(target, protocol, WARM)
    before = procfs.read_cpu(target.proxy_pids())
    load(target, protocol, WARM)
    worker = busiest(before, procfs.read_cpu(target.proxy_pids()))
    counted: list[tuple[int, dict[str, int]]] = []
    for queries in (short, long):
        with strace.Counting(worker, folder / "strace.txt") as counting:
            done = load(target, protocol, queries).queries
        counted.append((done, counting.calls))
    (few, first), (many, second) = counted
    return strace.by_family(strace.per_query(first, second, many - few))


def busiest(before: procfs.CpuReading, after: procfs.CpuReading) -> int:
    """The process that used most CPU in between: with one worker and a load on it, the worker."""
    used = {pid: procfs.cpu_between(_only(before, pid), _only(after, pid)).nanoseconds for pid in after.pids()}
    return max(used, key=lambda pid: used[pid])


@dataclass(frozen=True)
class Tally:
    """User instructions of the worker per query, and the same by function."""

    instructions: int
    functions: list[tuple[str, str, float]]


class Asks(Protocol):
    """Connections that stay, and ask `count` times what `what` names."""

    async def ask(self, what: str, count: int, /) -> None: ...


class Counting:
    """Counts a crowd's queries in a worker under callgrind. `by_clock`: instructions a second when idle.

    What the worker does by the clock is taken off: it has nothing to do with queries, and how much of it falls
    into a run depends on how slow valgrind is on this machine.
    """

    def __init__(self, crowd: Asks, folder: Path, worker: int) -> None:
        self._crowd, self._folder, self._worker = crowd, folder, worker
        self.by_clock = 0.0

    async def idle(self) -> None:
        """Measures `by_clock`."""
        self._read()
        begun = time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        self.by_clock = self._read()[0] / (time.monotonic() - begun)

    async def count(self, protocol: str, short: int, long: int) -> Tally:
        """The median of several pairs: a collection of garbage in one of the runs is nobody's query."""
        await self._crowd.ask(protocol, WARM)
        self._read()
        pairs = [await self._pair(protocol, short, long) for _ in range(PAIRS)]
        instructions, costs = sorted(pairs, key=lambda pair: pair[0])[PAIRS // 2]
        dearest = [(place, name, cost / (long - short)) for (place, name), cost in costs.most_common(FUNCTIONS)]
        return Tally(round(instructions), dearest)

    async def _pair(self, protocol: str, short: int, long: int) -> tuple[float, Costs]:
        """(instructions per query, what more the functions cost) of a longer run over a shorter one."""
        first, few = await self._run(protocol, short)
        second, many = await self._run(protocol, long)
        many.subtract(few)
        return (second - first) / (long - short), many

    async def _run(self, protocol: str, queries: int) -> tuple[float, Costs]:
        begun = time.monotonic()
        await self._crowd.ask(protocol, queries)
        spent = time.monotonic() - begun
        found, costs = self._read()
        return found - self.by_clock * spent, costs

    def _read(self) -> tuple[int, Costs]:
        found = callgrind.instructions_since_last(self._folder, self._worker)
        return found, callgrind.last_costs(self._folder, self._worker)


async def count_instructions(target: Target, folder: Path, short: int, long: int) -> dict[str, Tally]:
    """{protocol: tally} of the worker of a Fairlead under callgrind."""
    async with Crowd(target.endpoint, THREADS, target.rows) as crowd:
        worker = await busiest_under_callgrind(crowd, PROTOCOLS, target.proxy_pids(), folder)
        counter = Counting(crowd, folder, worker)
        await counter.idle()
        return {name: await counter.count(name, short, long) for name in PROTOCOLS}


async def busiest_under_callgrind(crowd: Asks, names: Iterable[str], pids: Sequence[int], folder: Path) -> int:
    """The worker's pid: who works most for everything that is asked, which also warms it up."""
    for pid in pids:
        callgrind.instructions_since_last(folder, pid)
    for name in names:
        await crowd.ask(name, WARM)
    used = {pid: callgrind.instructions_since_last(folder, pid) for pid in pids}
    return max(used, key=lambda pid: used[pid])


def idle_cpu(target: Target) -> float:
    """CPU of the proxy's processes, microseconds a second, while nobody asks anything."""
    before, begun = procfs.read_cpu(target.proxy_pids()), time.monotonic()
    time.sleep(IDLE_SECONDS)
    used = procfs.cpu_between(before, procfs.read_cpu(target.proxy_pids()))
    return used.nanoseconds / 1000 / (time.monotonic() - begun)


# --- verdicts -----------------------------------------------------------------------------------------------


def findings(counts: Counts, reference: Mapping[str, int] | None) -> list[str]:
    """What is over a limit or has grown by more than 5 % over the reference; [] when all is well."""
    lines: list[str] = []
    for protocol in PROTOCOLS:
        count = counts.of(protocol)
        if count.instructions > LIMITS[protocol]:
            lines.append(f"{protocol}: {count.instructions} instructions, at most {LIMITS[protocol]:.0f}")
        if reference and count.instructions > reference[protocol] * GROWTH:
            grown = count.instructions / reference[protocol] - 1
            lines.append(f"{protocol}: {count.instructions} instructions, {grown:+.1%} over {reference[protocol]}")
        for family, limit in CALL_LIMITS.items():
            if count.calls[family] > limit + CALL_TOLERANCE:
                lines.append(f"{protocol}: {count.calls[family]:.2f} {family}, at most {limit}")
    return lines


def read_reference(path: Path = REFERENCE_FILE) -> dict[str, int] | None:
    """{"text": …, "prepared": …} as checked in, None when there is no file."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    return {protocol: int(content[protocol]) for protocol in PROTOCOLS}


def write_reference(counts: Counts, path: Path = REFERENCE_FILE) -> None:
    path.write_text(json.dumps({protocol: counts.of(protocol).instructions for protocol in PROTOCOLS}, indent=1) + "\n")


def lines(counts: Counts, reference: Mapping[str, int] | None) -> list[str]:
    """The report; its last two lines have a fixed form that scripts read."""
    head = [f"idle: {counts.idle_us:.0f} µs of CPU a second, all processes"]
    for protocol in PROTOCOLS:
        calls = ", ".join(f"{value:.2f} {family}" for family, value in counts.of(protocol).calls.items())
        head.append(f"{protocol}: {calls} per query")
    if reference is not None:
        head.append(f"reference: {reference['text']} text, {reference['prepared']} prepared")
    head += [f"over: {finding}" for finding in findings(counts, reference)]
    return [
        *head,
        f"{counts.text.instructions} user instructions per text query",
        f"{counts.prepared.instructions} user instructions per prepared query",
    ]


def profile_lines(counts: Counts) -> list[str]:
    """Where the instructions go: per query, by function."""
    lines: list[str] = []
    for protocol in PROTOCOLS:
        lines.append(f"{protocol}: instructions per query, by function")
        lines += [f"{cost:9.1f}  {place[:40]:<40}  {name}" for place, name, cost in counts.functions[protocol]]
    return lines


def _only(reading: procfs.CpuReading, pid: int) -> procfs.CpuReading:
    return procfs.CpuReading({task: ns for task, ns in reading.tasks.items() if task[0] == pid})
