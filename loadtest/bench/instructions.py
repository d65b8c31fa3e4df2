"""User instructions and system calls of the worker per point select, counted, not timed.

The worker runs under callgrind with 16 connections. Two runs of different length, in the same process: the
difference of their counts divided by that of their queries. Logging in, preparing and everything else that
happens once cancels out. What happens by the clock does not, and valgrind stretches time some fifty times; so
under it health checks are set to a minute, and what the worker does when idle is measured apart, with its own
settings and outside valgrind.
System calls are counted the same way by strace on a Fairlead of its own, outside callgrind.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtest.bench import callgrind, cells, procfs, proof, strace, sysbench
from loadtest.bench.arena import Arena
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
IDLE_SECONDS = 3.0
FUNCTIONS = 60
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
        worker = busiest_under_callgrind(target, arena.directory)
        found = {name: count_instructions(target, arena.directory, worker, name, short, long) for name in PROTOCOLS}
    counts = {name: Count(found[name][0], calls[name]) for name in PROTOCOLS}
    functions = {name: found[name][1] for name in PROTOCOLS}
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


def busiest_under_callgrind(target: Target, folder: Path) -> int:
    """The worker's pid; warms it up, both protocols."""
    pids = target.proxy_pids()
    for pid in pids:
        callgrind.instructions_since_last(folder, pid)
    for protocol in PROTOCOLS:
        load(target, protocol, WARM)
    used = {pid: callgrind.instructions_since_last(folder, pid) for pid in pids}
    return max(used, key=lambda pid: used[pid])


def count_instructions(
    target: Target, folder: Path, worker: int, protocol: str, short: int, long: int
) -> tuple[int, list[tuple[str, str, float]]]:
    """(user instructions of the worker per query, the same by function)."""
    load(target, protocol, WARM)
    queries: list[int] = []
    counted: list[int] = []
    costs: list[Counter[callgrind.Function]] = []
    for wanted in (short, long):
        callgrind.instructions_since_last(folder, worker)
        queries.append(load(target, protocol, wanted).queries)
        counted.append(callgrind.instructions_since_last(folder, worker))
        costs.append(callgrind.last_costs(folder, worker))
    more = queries[1] - queries[0]
    costs[1].subtract(costs[0])
    dearest = [(place, name, cost / more) for (place, name), cost in costs[1].most_common(FUNCTIONS)]
    return round((counted[1] - counted[0]) / more), dearest


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
