"""What an idle client costs in memory: many clients log in and stay, and the proxy's resident memory is read.

Resident memory is that of the whole process tree (VmRSS of every process added up); the kernel's socket
structures are not in it. Logging in and having run one statement are told apart, because a client in a pool
has run statements before it falls idle.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

from loadtest.bench import cells, procfs, proof
from loadtest.bench.arena import Arena
from loadtest.bench.errors import CannotMeasure
from loadtest.bench.packets import ConnectionLost, ServerError
from loadtest.bench.progress import Progress
from loadtest.bench.sysbench import Endpoint
from loadtest.bench.targets import Target
from loadtest.bench.wire import Connection

CLIENTS, LIMIT_KIB = 10_000, 8.0
WARM_CLIENTS = 300
AT_ONCE = 32
SPARE_DESCRIPTORS = 200
STATEMENT = "SELECT c FROM sbtest1 WHERE id=1"
OPEN_TIMEOUT, ANSWER_TIMEOUT = 60.0, 60.0
SETTLE_SECONDS, SETTLE_KIB = 0.5, 64


@dataclass(frozen=True)
class Memory:
    """KiB of resident memory; `per_client_…` is the growth over `before`, divided by the clients."""

    target: str
    clients: int
    before: int
    logged_in: int
    after_statement: int
    after_leaving: int

    @property
    def per_client_logged_in(self) -> float:
        return (self.logged_in - self.before) / self.clients

    @property
    def per_client_after_statement(self) -> float:
        return (self.after_statement - self.before) / self.clients

    def as_dict(self) -> dict[str, object]:
        derived = (self.per_client_logged_in, self.per_client_after_statement)
        return {**asdict(self), "per_client_logged_in": derived[0], "per_client_after_statement": derived[1]}


def measure(names: Sequence[str], clients: int, progress: Progress) -> list[Memory]:
    """One figure per proxy. Raises CannotMeasure when descriptors run out or a client is thrown out."""
    _raise_descriptor_limit(clients)
    with Arena(names) as arena:
        proxies = [target for name, target in arena.targets.items() if name in names and target.proxy]
        return [asyncio.run(_measure(target, clients, progress)) for target in proxies]


async def _measure(target: Target, clients: int, progress: Progress) -> Memory:
    await proof.check(target)
    progress.say(f"{target.name}: warming up with {WARM_CLIENTS} clients")
    for connection in await _open(target.endpoint, WARM_CLIENTS, lambda _: None):
        await connection.query(STATEMENT, ANSWER_TIMEOUT)
        connection.quit()
    before = await _settled(target)

    def opened(count: int) -> None:
        progress.step(count, clients, f"{target.name}: clients logged in")

    crowd = await _open(target.endpoint, clients, opened)
    logged_in = await _settled(target)
    await _in_batches([_asker(connection) for connection in crowd])
    after_statement = await _settled(target)
    if lost := sum(not connection.alive for connection in crowd):
        raise CannotMeasure(f"{target.name} closed {lost} of {clients} idle clients")
    for connection in crowd:
        connection.quit()
    return Memory(target.name, clients, before, logged_in, after_statement, await _settled(target))


async def _open(to: Endpoint, count: int, opened: Callable[[int], None]) -> list[Connection]:
    connections: list[Connection] = []

    async def login() -> None:
        fresh = await Connection.open(to.host, to.port, to.user, to.password, to.database, OPEN_TIMEOUT)
        connections.append(fresh)
        if len(connections) % 500 == 0 or len(connections) == count:
            opened(len(connections))

    await _in_batches([login] * count)
    return connections


def _asker(connection: Connection) -> Callable[[], Awaitable[object]]:
    return lambda: connection.query(STATEMENT, ANSWER_TIMEOUT)


async def _in_batches(jobs: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Runs the jobs, AT_ONCE of them at a time."""
    queue = iter(jobs)

    async def work() -> None:
        for job in queue:
            await job()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except* (ConnectionLost, ServerError, TimeoutError) as failed:
        raise CannotMeasure(f"{len(failed.exceptions)} clients failed: {failed.exceptions[0]!r}") from failed


async def _settled(target: Target) -> int:
    """The resident KiB of the proxy once two readings, half a second apart, agree; at most ten readings."""
    last = _resident(target)
    for _ in range(10):
        await asyncio.sleep(SETTLE_SECONDS)
        now = _resident(target)
        if abs(now - last) <= SETTLE_KIB:
            return now
        last = now
    return last


def _resident(target: Target) -> int:
    return sum(procfs.rss_kib(pid) for pid in target.proxy_pids())


def _raise_descriptor_limit(clients: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise CannotMeasure(f"{clients} clients need {wanted} descriptors, the limit is {hard}: ulimit -n")
    if soft != resource.RLIM_INFINITY and soft < 2 * wanted:
        # The proxy inherits it, and needs a descriptor per client as well.
        enough = 2 * wanted if hard == resource.RLIM_INFINITY else min(2 * wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def lines(found: Sequence[Memory]) -> list[str]:
    report = []
    for memory in found:
        report.append(
            f"{memory.target}: {memory.clients} idle clients, "
            f"{memory.before / 1024:.1f} MiB before, {memory.logged_in / 1024:.1f} MiB logged in, "
            f"{memory.after_statement / 1024:.1f} MiB after a statement each, "
            f"{memory.after_leaving / 1024:.1f} MiB after they left"
        )
        word = "PASS" if kept(memory) else "FAIL"
        report.append(
            f"{word}  {memory.target}: {memory.per_client_logged_in:.2f} KiB per client logged in, "
            f"{memory.per_client_after_statement:.2f} KiB after a statement; at most {LIMIT_KIB:.0f}"
        )
    return report


def kept(memory: Memory) -> bool:
    """Whether a client costs no more than promised, before and after its first statement."""
    return max(memory.per_client_logged_in, memory.per_client_after_statement) <= LIMIT_KIB


DEFAULT_TARGETS = (cells.SHARDED,)
