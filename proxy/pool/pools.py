"""Backend connections: which pools there are, when one more connection is opened, and which server a pool means.

The relay lends connections and says when somebody waits; this module decides. A pool is one server (or one
peer and user) and one capability class. The limit is per server over all workers and classes: it is taken in
the shared page before a connection is opened and given back when the relay reports it closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from _speedups.relay import Relay, RelayFull
from _speedups.stats import StatsPage
from config.settings import ShardLimits
from proxy.mysql.constants.capabilities import BACKEND_CAPABILITIES, Capability
from proxy.mysql.errors import WireError
from proxy.pool.varstate import Base

log = logging.getLogger(__name__)

CLASSES = 8
_OF_CLASS = (Capability.DEPRECATE_EOF, Capability.FOUND_ROWS, Capability.QUERY_ATTRIBUTES)
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts to connect to a server that cannot be reached."""


def class_of(capabilities: Capability) -> int:
    """The relay's capability class: a bit for each of `_OF_CLASS`."""
    return sum(1 << bit for bit, one in enumerate(_OF_CLASS) if capabilities & one)


def capabilities_of(capability_class: int) -> Capability:
    """What a backend connection of this class asks for."""
    wanted = BACKEND_CAPABILITIES
    for bit, one in enumerate(_OF_CLASS):
        if capability_class >> bit & 1:
            wanted |= one
    return wanted


class Opened(Protocol):
    """A logged-in connection in the base state; `fd` is the relay's from now on. `base`: when it was asked for.
    `attributes`: it has negotiated query attributes."""

    @property
    def fd(self) -> int: ...

    @property
    def thread_id(self) -> int: ...

    @property
    def base(self) -> Base | None: ...

    @property
    def attributes(self) -> bool: ...


Connect = Callable[[int, bool], Awaitable[Opened]]
"""(capability class, is the base wanted?) -> a connection. Raises OSError, TimeoutError or WireError."""


class Bases:
    """The different sets of variables that fresh connections have, by small numbers; 0 is none yet."""

    def __init__(self) -> None:
        self._bases: list[Base | None] = [None]
        self._numbers: dict[tuple[str, tuple[tuple[str, str], ...], frozenset[str]], int] = {}

    def number(self, base: Base) -> int:
        key = (base.flavour.value, tuple(sorted(base.literals.items())), base.absent)
        if key not in self._numbers:
            self._numbers[key] = len(self._bases)
            self._bases.append(base)
        return self._numbers[key]

    def base(self, number: int) -> Base | None:
        return self._bases[number]


@dataclass(slots=True)
class Source:
    """Where connections come from: a server of the own region or a peer. `limit_row`: its row in the page. `absent`:
    keyspaces that are not there."""

    name: str
    limit_row: int
    limit: int
    connect: Connect
    absent: frozenset[str] = frozenset()
    base: int = 0
    pause: float = 0.0
    failure: str = ""


@dataclass(slots=True)
class Pool:
    """One pool of the relay. `total`: connections that were taken from the limit, open or being opened."""

    id: int
    source: Source
    capability_class: int
    total: int = 0
    connecting: int = 0
    waiting: int = 0
    retry: asyncio.TimerHandle | None = None


class Pools:
    """All pools of one worker."""

    def __init__(self, relay: Relay, page: StatsPage, worker: int) -> None:
        self._relay = relay
        self._page = page
        self._worker = worker
        self.bases = Bases()
        self._pools: dict[int, Pool] = {}
        self._of_source: dict[str, list[Pool]] = {}
        self._of_limit: dict[int, list[Pool]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_failure: Callable[[str], None] = lambda _: None
        """Called with the source's name when connecting failed: the monitor should look at it."""

    def add(self, source: Source, shard: int, capability_class: int, *, server: int, remote: bool = False) -> int:
        """A new pool; its id in the relay."""
        number = int(self._relay.pool_new(shard, capability_class, server=server, remote=remote))
        pool = Pool(number, source, capability_class)
        self._pools[number] = pool
        self._of_source.setdefault(source.name, []).append(pool)
        self._of_limit.setdefault(source.limit_row, []).append(pool)
        return number

    def renew(self, number: int, source: Source, limits: ShardLimits, connections: int | None = None) -> None:
        """After a reload: new connections are made with the new password, TLS and limits."""
        self._pools[number].source.connect = source.connect
        if self._pools[number].source.absent != source.absent:
            self._rebase(self._pools[number], source.absent)
        self.set_limits(number, limits, connections)

    def _rebase(self, pool: Pool, absent: frozenset[str]) -> None:
        """Other keyspaces are there now. What idle connections have for their database may be another thing."""
        known = self.bases.base(pool.source.base)
        pool.source.absent = absent
        if known is not None:
            pool.source.base = self.bases.number(replace(known, absent=absent))
        for sibling in self._of_source.get(pool.source.name, ()):
            self._relay.pool_base(sibling.id, pool.source.base)
            while self._relay.close_one_idle(sibling.id):
                pass

    def set_limits(self, number: int, limits: ShardLimits, connections: int | None = None) -> None:
        """What a shard's settings say of idle connections and of waiting. `connections`: a peer's own limit."""
        self._pools[number].source.limit = limits.connections if connections is None else connections
        self._relay.pool_limits(
            number, keep_idle=limits.idle, idle_time=limits.idle_time, age=limits.age, queue=limits.queue
        )

    def all(self) -> list[Pool]:
        return list(self._pools.values())

    def of_source(self, name: str) -> list[Pool]:
        return self._of_source.get(name, [])

    def on_event(self, number: int, waiting: int, total: int) -> None:
        """The relay's word: so many wait, so many connections are open."""
        pool = self._pools[number]
        for _ in range(pool.total - pool.connecting - total):
            pool.total -= 1
            self._page.limit_give(pool.source.limit_row, self._worker)
        self._say_want(pool, waiting)
        if waiting > pool.connecting and self._may_open(pool):
            self._open_more(pool, waiting - pool.connecting)
        if not waiting:
            self._serve_siblings(pool)

    def _may_open(self, pool: Pool) -> bool:
        """Is there no pause after a failure? One for want of room may end any time."""
        return pool.retry is None or not pool.source.failure

    def suspect(self, number: int) -> None:
        """A server refused a write as read-only: somebody else may be the primary now."""
        self.on_failure(self._pools[number].source.name)

    def _say_want(self, pool: Pool, waiting: int) -> None:
        """How many wait for the server, in whichever class; and a connection for another worker that wants one when
        this one has more than its share."""
        pool.waiting = waiting
        row, source = pool.source.limit_row, pool.source
        wanted = sum(one.waiting for one in self._of_limit[row])
        self._page.limit_want(row, self._worker, wanted)
        if not wanted:
            self._yield_one(row, source.limit)

    def _yield_one(self, row: int, limit: int) -> None:
        if self._page.limit_yields(row, self._worker, limit):
            any(self._close_idle(one) for one in self._of_limit[row])

    def share(self) -> None:
        """From time to time: take back wants that were served, and let go of what other workers wait for."""
        for pools in self._of_limit.values():
            for pool in pools:
                if pool.waiting:
                    self._say_want(pool, self._relay.pool_state(pool.id)[0])
            if not any(pool.waiting for pool in pools):
                self._yield_one(pools[0].source.limit_row, pools[0].source.limit)

    def _close_idle(self, pool: Pool) -> bool:
        if not self._relay.close_one_idle(pool.id):
            return False
        pool.total -= 1
        self._page.limit_give(pool.source.limit_row, self._worker)
        return True

    def _serve_siblings(self, pool: Pool) -> None:
        """Room that one pool gave up may be what another one under the same limit waits for."""
        for other in self._of_limit[pool.source.limit_row]:
            if other is not pool and self._may_open(other):
                waiting = self._relay.pool_state(other.id)[0]
                if waiting > other.connecting:
                    self._open_more(other, waiting - other.connecting)

    def _open_more(self, pool: Pool, wanted: int) -> None:
        for _ in range(wanted):
            if not self._take(pool):
                # Another worker or class may let go of one without our being told.
                self._later(pool, LONGEST_PAUSE / 4)
                return
            pool.total += 1
            pool.connecting += 1
            self._spawn(self._open(pool))

    def _take(self, pool: Pool) -> bool:
        source = pool.source
        if self._page.limit_take(source.limit_row, self._worker, source.limit):
            return True
        for other in self._of_limit[source.limit_row]:
            if other is not pool and self._close_idle(other):
                return self._page.limit_take(source.limit_row, self._worker, source.limit)
        return False

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, pool: Pool) -> None:
        """One attempt. Whatever happens, the count and the limit are right afterwards."""
        try:
            opened = await pool.source.connect(pool.capability_class, pool.source.base == 0)
            self._hand_over(pool, opened)
        except (OSError, TimeoutError, WireError, RelayFull) as error:
            self._failed(pool, error)
        except Exception as error:
            log.exception("connecting to %s", pool.source.name)
            self._failed(pool, error)
        except BaseException:
            self._give_up(pool)
            raise
        else:
            pool.connecting -= 1
            pool.source.pause, pool.source.failure = 0.0, ""
            self._relay.pool_reach(pool.id, True)
            self._say_want(pool, self._relay.pool_state(pool.id)[0])

    def _hand_over(self, pool: Pool, opened: Opened) -> None:
        try:
            if opened.base is not None:
                pool.source.base = self.bases.number(replace(opened.base, absent=pool.source.absent))
            self._relay.pool_base(pool.id, pool.source.base)
            self._relay.backend_add(
                pool.id, opened.fd, state=0, thread_id=opened.thread_id, attributes=opened.attributes
            )
        except BaseException:
            os.close(opened.fd)
            raise

    def _give_up(self, pool: Pool) -> None:
        pool.connecting -= 1
        pool.total -= 1
        self._page.limit_give(pool.source.limit_row, self._worker)

    def _failed(self, pool: Pool, error: Exception) -> None:
        self._give_up(pool)
        source = pool.source
        if not source.failure:
            log.warning("cannot connect to %s: %s", source.name, error or type(error).__name__)
        source.failure = str(error) or type(error).__name__
        self._relay.pool_reach(pool.id, False)
        source.base = 0  # a server that comes back may have other defaults
        if pool.retry is None:  # attempts that fail together count once
            source.pause = min(max(FIRST_PAUSE, source.pause * 2), LONGEST_PAUSE)
        self.on_failure(source.name)
        self._later(pool, source.pause)

    def _later(self, pool: Pool, pause: float) -> None:
        if pool.retry is None:
            pool.retry = asyncio.get_running_loop().call_later(pause, self._retry, pool)

    def _retry(self, pool: Pool) -> None:
        pool.retry = None
        waiting, _, _, total = self._relay.pool_state(pool.id)
        self.on_event(pool.id, waiting, total)

    def mark_up(self, name: str, up: bool) -> None:
        """A server's pools lend or do not lend; a down one's idle connections are closed."""
        for pool in self._of_source.get(name, ()):
            self._relay.pool_up(pool.id, up)

    def lose(self, name: str) -> None:
        """A server is down: whoever waits for an answer of it is told, for a server that hangs never says so."""
        lost = sum(self._relay.pool_lose(pool.id) for pool in self._of_source.get(name, ()))
        if lost:
            log.warning("%s does not answer: %d statements and transactions on it are given up", name, lost)

    async def close(self) -> None:
        for pool in self._pools.values():
            if pool.retry is not None:
                pool.retry.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
