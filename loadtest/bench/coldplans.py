"""What statements without a plan cost everybody else, and what long lists cost.

A steady load is timed while another process sends 2,000 statement shapes that the proxy has never seen, as
fast as they are answered; then the same 2,000 again, which by now have plans: what is left over is load, not
planning. The same against a server directly shows what the machine itself does to a p99.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from statistics import median

from loadtest.bench import cells, metrics, procfs, shapes
from loadtest.bench.arena import Arena
from loadtest.bench.metrics import Metrics
from loadtest.bench.progress import Progress
from loadtest.bench.stats import quantile
from loadtest.bench.steady import Pace, Steady, Window
from loadtest.bench.sysbench import Endpoint
from loadtest.bench.targets import Target
from loadtest.bench.wire import Connection
from loadtest.world.fairlead import Fairlead

SHAPES, BURST_CONNECTIONS = 2_000, 8
QUIET_SECONDS = 1.5
DELAY_LIMIT_MS = 20.0
LIST_SHAPES, SHORT_LIST, LONG_LIST = 60, 2, 10_000
# It is read once whether it has a plan or not, so planning costs the same but for the noise of two differences.
LIST_LIMIT = 1.2
UNUSED_SEED = 999_999_999
DEFAULT_TARGETS = (cells.DIRECT, cells.SHARDED)


@dataclass(frozen=True)
class Delay:
    """Milliseconds of the steady load's p99: undisturbed, while shapes are new, while the same are known.

    All are medians over the rounds, `added` that of the differences within a round; `worst` is the longest
    delay of all. `burst_seconds` is the median time of a burst of new shapes, in which `samples` were taken.
    """

    target: str
    quiet_p99: float
    cold_p99: float
    warm_p99: float
    added: float
    worst: float
    burst_seconds: float
    samples: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class ListCost:
    """Proxy CPU, microseconds per statement, of planning a new shape (first time less second time).

    `misses` counts plans made for a long list whose shape was known from a short one: none are needed.
    """

    target: str
    short: float
    long: float
    misses: int = 0

    @property
    def ratio(self) -> float:
        return self.long / self.short if self.short > 0 else float("inf")

    @property
    def kept(self) -> bool:
        return self.ratio <= LIST_LIMIT and self.misses == 0

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "ratio": self.ratio}


def measure(names: Sequence[str], rounds: int, count: int, progress: Progress) -> tuple[list[Delay], list[ListCost]]:
    """Delays of every target, list costs of Fairlead's. Raises CannotMeasure and the world's errors."""
    with Arena(names) as arena, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as burster:
        delays, costs = [], []
        for name in (name for name in names if name in arena.targets):
            target = arena.targets[name]
            progress.say(f"{name}: {rounds} bursts of {count} new shapes beside a steady load")
            delays.append(asyncio.run(_delay(target, rounds, count, burster)))
            if name in (cells.UNSHARDED, cells.SHARDED):
                progress.say(f"{name}: lists of {SHORT_LIST} and of {LONG_LIST}")
                costs.append(asyncio.run(_list_cost(target, rounds, arena.fairlead)))
    return delays, costs


async def _delay(target: Target, rounds: int, count: int, burster: ProcessPoolExecutor) -> Delay:
    loop = asyncio.get_running_loop()
    quiet: list[Window] = []
    cold: list[Window] = []
    warm: list[Window] = []
    async with Steady(target.endpoint, Pace(rows=target.rows)) as steady:
        await loop.run_in_executor(burster, burst, target.endpoint, 0, 50, target.rows)
        for number in range(1, rounds + 1):
            start = time.monotonic()
            await asyncio.sleep(QUIET_SECONDS)
            quiet.append((start, time.monotonic()))
            for windows in (cold, warm):
                window = await loop.run_in_executor(burster, burst, target.endpoint, number, count, target.rows)
                windows.append(window)
    return _summary(target.name, steady, quiet, cold, warm)


def _summary(
    name: str, steady: Steady, quiet: Sequence[Window], cold: Sequence[Window], warm: Sequence[Window]
) -> Delay:
    def p99s(windows: Sequence[Window]) -> list[float]:
        return [quantile(steady.between(*window), 0.99) * 1000 for window in windows]

    undisturbed, new, known = p99s(quiet), p99s(cold), p99s(warm)
    disturbed = [latency for window in cold for latency in steady.between(*window)]
    return Delay(
        target=name,
        quiet_p99=median(undisturbed),
        cold_p99=median(new),
        warm_p99=median(known),
        added=median(burst - calm for burst, calm in zip(new, undisturbed, strict=True)),
        worst=max(disturbed) * 1000,
        burst_seconds=median(end - start for start, end in cold),
        samples=len(disturbed),
    )


def burst(to: Endpoint, seed: int, count: int, rows: int) -> Window:
    """Sends `count` distinct shapes over 8 connections; (start, end) by time.monotonic(), one clock for all.

    Runs in a process of its own, so that making statements does not delay the steady load's own clock.
    """
    return asyncio.run(_burst(to, list(shapes.distinct(seed, count, rows))))


async def _burst(to: Endpoint, statements: Sequence[str]) -> Window:
    connections = [
        await Connection.open(to.host, to.port, to.user, to.password, to.database) for _ in range(BURST_CONNECTIONS)
    ]
    queue = iter(statements)
    start = time.monotonic()
    await asyncio.gather(*(_send(connection, queue) for connection in connections))
    end = time.monotonic()
    for connection in connections:
        connection.quit()
    return start, end


async def _send(connection: Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        await connection.query(statement)


async def _list_cost(target: Target, rounds: int, fairlead: Fairlead) -> ListCost:
    to = target.endpoint
    connection = await Connection.open(to.host, to.port, to.user, to.password, to.database)
    planning: dict[int, list[float]] = {SHORT_LIST: [], LONG_LIST: []}
    # A server takes milliseconds for a long list, after which the planner meets cold caches, whatever it plans. So a
    # known long list goes before each statement of either kind.
    (known,) = shapes.with_list(UNUSED_SEED - 1, 1, LONG_LIST)
    for number in range(rounds + 1):
        for items in planning:
            fresh = shapes.with_list(number * 100_000 + items, LIST_SHAPES, items)
            statements = [one for each in fresh for one in (known, each)]
            first = await _cpu(target, connection, statements)
            second = await _cpu(target, connection, statements)
            planning[items].append((first - second) / LIST_SHAPES)
    misses = await _misses_of_longer_list(connection, fairlead)
    connection.quit()
    # The first pair pays for what happens once in a process's life.
    short, long = (median(planning[items][1:]) for items in (SHORT_LIST, LONG_LIST))
    return ListCost(target.name, short, long, misses)


async def _misses_of_longer_list(connection: Connection, fairlead: Fairlead) -> int:
    """Plans made for lists of 10,000 when the same statements with lists of 2 are known."""
    await _send(connection, list(shapes.with_list(UNUSED_SEED, LIST_SHAPES, SHORT_LIST)))
    before = _plan_misses(fairlead)
    await _send(connection, list(shapes.with_list(UNUSED_SEED, LIST_SHAPES, LONG_LIST)))
    return _plan_misses(fairlead) - before


def _plan_misses(fairlead: Fairlead) -> int:
    return int(Metrics.parse(fairlead.http("/metrics")).sum(metrics.PLAN_LOOKUPS, result="miss"))


async def _cpu(target: Target, connection: Connection, statements: Sequence[str]) -> float:
    """Microseconds of CPU of the proxy while these statements run."""
    before = procfs.read_cpu(target.proxy_pids())
    await _send(connection, statements)
    return procfs.cpu_between(before, procfs.read_cpu(target.proxy_pids())).nanoseconds / 1000


# --- verdicts -----------------------------------------------------------------------------------------------


def kept(delays: Sequence[Delay], costs: Sequence[ListCost]) -> bool:
    """Whether every proxy keeps both promises; the direct way makes none."""
    proxied = [delay for delay in delays if delay.target != cells.DIRECT]
    return all(delay.added <= DELAY_LIMIT_MS for delay in proxied) and all(cost.kept for cost in costs)


def lines(delays: Sequence[Delay], costs: Sequence[ListCost]) -> list[str]:
    return [*map(_delay_line, delays), *map(_cost_line, costs)]


def _delay_line(delay: Delay) -> str:
    word = "    " if delay.target == cells.DIRECT else _word(delay.added <= DELAY_LIMIT_MS)
    limit = f"{delay.added:+.2f}, at most +{DELAY_LIMIT_MS:.0f}; worst {delay.worst:.2f}"
    return (
        f"{word}  {delay.target}: p99 of others {delay.quiet_p99:.2f} ms quiet, "
        f"{delay.cold_p99:.2f} ms in a burst of new shapes ({limit}), "
        f"{delay.warm_p99:.2f} ms in a burst of known ones; "
        f"{delay.samples} samples, a burst took {delay.burst_seconds:.2f} s"
    )


def _cost_line(cost: ListCost) -> str:
    return (
        f"{_word(cost.kept)}  {cost.target}: planning a new shape costs "
        f"{cost.short:.0f} µs with a list of {SHORT_LIST}, {cost.long:.0f} µs with one of {LONG_LIST} "
        f"({cost.ratio:.2f} times, at most {LIST_LIMIT}); {cost.misses} plans made for lists that only grew"
    )


def _word(good: bool) -> str:
    return "PASS" if good else "FAIL"
