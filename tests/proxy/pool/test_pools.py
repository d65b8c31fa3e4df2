"""When connections are opened, and that the shared limit is right whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups.relay import RelayFull
from _speedups.stats import StatsPage
from config.settings import ShardLimits
from proxy.pool import pools
from proxy.pool.pools import Pool, Pools, Source

ROW, LIMIT, WORKER, OTHER = 2, 3, 0, 1


@dataclass
class Counts:
    waiting: int = 0
    idle: int = 0
    busy: int = 0


@dataclass
class FakeRelay:
    """The relay's side of the bargain: counts, no sockets."""

    counts: list[Counts] = field(default_factory=list)
    full: bool = False
    reached: dict[int, bool] = field(default_factory=dict)

    def pool_reach(self, pool: int, reached: bool) -> None:
        self.reached[pool] = reached

    def pool_new(self, shard: int, capclass: int, *, server: int, remote: bool = False) -> int:
        self.counts.append(Counts())
        return len(self.counts) - 1

    def pool_limits(self, pool: int, **limits: float) -> None: ...

    def pool_base(self, pool: int, base: int) -> None: ...

    def pool_up(self, pool: int, up: bool) -> None: ...

    def pool_state(self, pool: int) -> tuple[int, int, int, int]:
        one = self.counts[pool]
        return one.waiting, one.idle, 0, one.idle + one.busy

    def backend_add(self, pool: int, fd: int, *, state: int, thread_id: int, attributes: bool) -> None:
        if self.full:
            raise RelayFull
        os.close(fd)
        one = self.counts[pool]
        if one.waiting:
            one.waiting -= 1
            one.busy += 1
        else:
            one.idle += 1

    def close_one_idle(self, pool: int) -> bool:
        if not self.counts[pool].idle:
            return False
        self.counts[pool].idle -= 1
        return True


@dataclass
class Opened:
    fd: int
    thread_id: int = 1
    base: None = None
    attributes: bool = False


class Servers:
    """Connecting: every attempt waits until the test says how it ends."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[None]] = []

    async def __call__(self, capability_class: int, want_base: bool) -> Opened:
        attempt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.attempts.append(attempt)
        await attempt
        return Opened(os.open(os.devnull, os.O_RDONLY))

    def end(self, error: Exception | None = None) -> None:
        while self.attempts and self.attempts[0].done():
            self.attempts.pop(0)
        if self.attempts:
            attempt = self.attempts.pop(0)
            attempt.set_exception(error) if error else attempt.set_result(None)


class Bench:
    """Two pools of different sources under one limit, and the page that two workers share."""

    def __init__(self) -> None:
        self.relay, self.servers = FakeRelay(), Servers()
        self.page = StatsPage.create(workers=2, shards=3, backends=4, digests=8, slow=8, users=4)
        self.pools = Pools(cast(Any, self.relay), self.page, WORKER)
        self.ids = [
            self.pools.add(Source(name, ROW, LIMIT, self.servers), 0, 0, server=1) for name in ("one", "other")
        ]

    def of(self, number: int) -> Pool:
        return self.pools._pools[number]

    def tell(self, number: int) -> None:
        waiting, _, _, total = self.relay.pool_state(number)
        self.pools.on_event(number, waiting, total)

    def wait(self, number: int) -> None:
        self.relay.counts[number].waiting += 1
        self.tell(number)

    @property
    def reserved(self) -> int:
        """Of the limit, by this worker: what the other one cannot take."""
        taken = 0
        while self.page.limit_take(ROW, OTHER, 64):
            taken += 1
        for _ in range(taken):
            self.page.limit_give(ROW, OTHER)
        return 64 - taken

    def check(self) -> None:
        totals = [self.of(number).total for number in self.ids]
        open_or_opening = [
            self.relay.pool_state(number)[3] + self.of(number).connecting for number in self.ids
        ]
        assert totals == open_or_opening and self.reserved == sum(totals) <= LIMIT


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(work: Callable[[Bench], Awaitable[None]]) -> None:
    async def inside() -> None:
        bench = Bench()
        try:
            await work(bench)
        finally:
            await bench.pools.close()

    asyncio.run(inside())


ACTIONS = ["wait", "answer", "done", "lose", "trim", "leave", "fail", "break", "full", "retry", "share"]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 1)), max_size=60))
def test_the_limit_is_accounted_for_whatever_happens(actions: list[tuple[str, int]]) -> None:
    async def work(bench: Bench) -> None:
        for action, number in actions:
            await act(bench, action, number)
            bench.check()
        await bench.pools.close()
        bench.check()

    run(work)


async def act(bench: Bench, action: str, number: int) -> None:
    counts = bench.relay.counts[number]
    match action:
        case "wait":
            bench.wait(number)
        case "answer" | "full":
            bench.relay.full = action == "full"
            bench.servers.end()
            await turns()
        case "fail":
            bench.servers.end(ConnectionRefusedError("refused"))
            await turns()
        case "break":
            bench.servers.end(IndexError("ours"))
            await turns()
        case "done" if counts.busy:
            counts.busy -= 1
            counts.idle += 1
        case "lose" if counts.busy:
            counts.busy -= 1
            bench.tell(number)
        case "trim" if counts.idle:
            counts.idle -= 1
            bench.tell(number)
        case "leave" if counts.waiting:
            counts.waiting -= 1
        case "retry":
            pool = bench.of(number)
            if pool.retry is not None:
                pool.retry.cancel()
                bench.pools._retry(pool)
        case "share":
            bench.pools.share()


def test_as_many_are_opened_as_wait_and_the_limit_allows() -> None:
    async def work(bench: Bench) -> None:
        for _ in range(LIMIT + 2):
            bench.wait(0)
        await turns()
        assert len(bench.servers.attempts) == LIMIT == bench.reserved

    run(work)


def test_another_pool_of_the_same_limit_gives_up_what_it_does_not_use() -> None:
    async def work(bench: Bench) -> None:
        for _ in range(LIMIT):
            bench.wait(0)
        await turns()
        for _ in range(LIMIT):
            bench.servers.end()
        await turns()
        bench.relay.counts[0] = Counts(idle=LIMIT)
        bench.wait(1)
        await turns()
        assert bench.relay.counts[0].idle == LIMIT - 1 and bench.of(1).connecting == 1
        bench.check()

    run(work)


def test_room_is_used_at_once_though_a_retry_is_due_later() -> None:
    async def work(bench: Bench) -> None:
        for _ in range(LIMIT):
            bench.wait(0)
        await turns()
        for _ in range(LIMIT):
            bench.servers.end()
        await turns()
        bench.wait(1)
        assert bench.of(1).connecting == 0 and bench.of(1).retry is not None
        bench.relay.counts[0].busy -= 1  # lost
        bench.tell(0)
        assert bench.of(1).connecting == 1

    run(work)


def test_a_server_that_cannot_be_reached_is_asked_less_and_less_often() -> None:
    pauses: list[float] = []

    async def work(bench: Bench) -> None:
        reported: list[str] = []
        bench.pools.on_failure = reported.append
        later = bench.pools._later
        bench.pools._later = lambda pool, pause: (pauses.append(pause), later(pool, pause))[1]  # type: ignore[method-assign, func-returns-value]
        bench.wait(0)
        for _ in range(7):
            await turns()
            bench.servers.end(TimeoutError())
            await turns()
            bench.tell(0)
            assert bench.of(0).connecting == 0, "the pause is kept, however many come to wait"
            await act(bench, "retry", 0)
        assert reported == ["one"] * 7 and bench.of(0).source.failure == "TimeoutError"
        assert bench.relay.reached == {0: False}
        await turns()
        bench.servers.end()
        await turns()
        assert bench.of(0).source.failure == "" and bench.relay.reached == {0: True}

    run(work)
    assert pauses[0] == pools.FIRST_PAUSE and max(pauses) == pauses[-1] == pools.LONGEST_PAUSE


def test_a_want_that_was_served_is_taken_back() -> None:
    async def work(bench: Bench) -> None:
        full = [bench.page.limit_take(ROW, OTHER, LIMIT) for _ in range(LIMIT)]
        assert all(full)
        bench.wait(0)
        assert bench.page.limit_yields(ROW, OTHER, LIMIT)
        bench.relay.counts[0].waiting = 0  # served by one that came back, or gave up: the relay says nothing
        bench.pools.share()
        assert not bench.page.limit_yields(ROW, OTHER, LIMIT)
        for _ in full:
            bench.page.limit_give(ROW, OTHER)

    run(work)


def test_idle_connections_go_to_a_worker_that_wants_one() -> None:
    async def work(bench: Bench) -> None:
        for _ in range(LIMIT):
            bench.wait(0)
        await turns()
        for _ in range(LIMIT):
            bench.servers.end()
        await turns()
        bench.relay.counts[0] = Counts(idle=LIMIT)
        bench.pools.share()
        assert bench.relay.counts[0].idle == LIMIT, "nobody wants one"
        bench.page.limit_want(ROW, OTHER, 1)
        bench.pools.share()
        assert bench.relay.counts[0].idle == LIMIT - 1 and bench.page.limit_take(ROW, OTHER, LIMIT)
        bench.pools.share()
        assert bench.relay.counts[0].idle == LIMIT - 2, "an even share of three is one or two"
        bench.page.limit_give(ROW, OTHER)

    run(work)


def test_a_connection_that_the_relay_does_not_take_is_closed() -> None:
    async def work(bench: Bench) -> None:
        bench.relay.full = True
        before = len(os.listdir("/proc/self/fd"))
        bench.wait(0)
        await turns()
        bench.servers.end()
        await turns()
        assert len(os.listdir("/proc/self/fd")) == before and bench.reserved == 0

    run(work)


def test_after_a_failure_the_servers_variables_are_asked_again() -> None:
    async def work(bench: Bench) -> None:
        source = bench.of(0).source
        source.base = 7
        bench.wait(0)
        await turns()
        bench.servers.end(ConnectionRefusedError())
        await turns()
        assert source.base == 0

    run(work)


@pytest.mark.parametrize("connections", [None, 2])
def test_a_peers_limit_is_its_own(connections: int | None) -> None:
    async def work(bench: Bench) -> None:
        bench.pools.set_limits(0, ShardLimits(connections=9), connections)
        assert bench.of(0).source.limit == (connections or 9)

    run(work)
