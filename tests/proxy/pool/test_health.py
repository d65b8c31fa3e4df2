"""The monitor and the roles on real servers that are stopped, killed, hung and promoted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.connections import Connection
from pymysql.err import OperationalError

from config.settings import Health
from config.words import Flavour
from proxy.pool import health as monitoring
from proxy.pool import probe
from proxy.pool.health import Monitor, PeerHealth, PeerTarget, ServerHealth, State
from proxy.pool.probe import mariadb_vitals
from proxy.pool.probe_connection import ProbeConnection
from proxy.pool.roles import Roster, ShardRoles, Standing, Warn
from proxy.pool.service_connection import FailureKind, ServerUnavailable
from router.topology import Region
from tests.proxy.pool.shards import account, targets, topology_of
from tests.servers import BOTH_SERVERS

if TYPE_CHECKING:
    from loadtest.world.shard import Shard
    from loadtest.world.sqlserver import SqlServer
    from loadtest.world.world import World

QUICK = Health(interval=0.1, timeout=0.4, failures=3, recoveries=2)
PATIENCE = 15.0
"""Seconds that a change may take to be seen on a machine that others use, too. Far above what it takes
alone.
"""

ONE_SHARD = pytest.mark.world(shards=1, replicas=1)


class Observer:
    """A monitor with a roster, and a way to wait for what they say."""

    def __init__(self, shard: Shard, flavour: str, health: Health = QUICK) -> None:
        topology = topology_of(
            [server.port for server in shard.servers],
            Flavour(flavour),
            account("fairlead", "fairlead-secret"),
        )
        self.targets = targets(topology)
        self.roster = Roster(topology.shards[0])
        self.roster.expect(self.targets)
        self.seen: dict[int, ServerHealth] = {}
        self.changed = asyncio.Event()
        self.monitor = Monitor(self._on_server, health=health, positions=True)

    def _on_server(self, health: ServerHealth) -> None:
        self.seen[health.target.server.port] = health
        self.roster.observe(health)
        self.changed.set()

    @property
    def roles(self) -> ShardRoles:
        return self.roster.roles

    @property
    def primary(self) -> int | None:
        return self.roles.primary.server.port if self.roles.primary else None

    def health(self, server: SqlServer) -> ServerHealth:
        return self.seen[server.port]

    def lag(self, server: SqlServer) -> float:
        (replica,) = (one for one in self.roles.replicas if one.target.server.port == server.port)
        return replica.lag(time.monotonic())

    async def until(self, condition: Callable[[], bool]) -> float:
        """Waits for looks until the condition holds. Returns how long it took."""
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()
        return time.monotonic() - began


@asynccontextmanager
async def watching(shard: Shard, flavour: str, health: Health = QUICK) -> AsyncIterator[Observer]:
    observer = Observer(shard, flavour, health)
    await observer.monitor.watch(observer.targets)
    try:
        yield observer
    finally:
        await observer.monitor.stop()


def write(shard: Shard) -> None:
    shard.primary.run("CREATE TABLE IF NOT EXISTS beat (n INT PRIMARY KEY AUTO_INCREMENT)", database="shop")
    shard.primary.run("INSERT INTO beat VALUES ()", database="shop")


@BOTH_SERVERS
@ONE_SHARD
def test_a_healthy_shard_is_described_truthfully(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()
    write(shard)
    shard.wait_replicas()

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            (replica,) = shard.replicas
            await observer.until(lambda: observer.primary == shard.primary.port and observer.lag(replica) < 1)
            primary, follower = observer.health(shard.primary), observer.health(replica)
            assert primary.writable and not follower.writable
            assert primary.facts is not None and follower.facts is not None
            assert primary.facts.server_id == shard.primary.server_id
            assert primary.facts.problems == follower.facts.problems == ()
            assert primary.facts.max_connections == 1200
            assert primary.facts.connections is not None and primary.facts.connections >= 1
            assert primary.facts.channels == ()
            (channel,) = follower.facts.channels or ()
            assert channel.running and channel.source_port == shard.primary.port
            assert follower.facts.position == primary.facts.position
            assert observer.roles.standing is Standing.OK and observer.roles.epoch == 1
            assert observer.roles.warnings == frozenset()
            assert observer.roles.replicas[0].reached > 0

    asyncio.run(body())


@BOTH_SERVERS
@ONE_SHARD
def test_lag_is_that_of_a_replica_that_stopped_applying(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()
    write(shard)
    shard.wait_replicas()
    (replica,) = shard.replicas
    word = "SLAVE" if flavour == "mariadb" else "REPLICA"

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            await observer.until(lambda: observer.primary is not None and observer.lag(replica) < 1)
            replica.run(f"STOP {word} SQL_THREAD")
            stopped = time.monotonic()
            write(shard)
            acknowledged = time.monotonic()
            await observer.until(lambda: observer.lag(replica) > 1.0)
            missing_for = time.monotonic() - acknowledged
            assert missing_for <= observer.lag(replica) <= time.monotonic() - stopped + 2.0
            # The thread that fetches dies, too: Seconds_Behind becomes NULL, the bound goes on growing.
            replica.run(f"STOP {word} IO_THREAD")
            await observer.until(lambda: observer.lag(replica) > 1.6)
            assert not observer.roles.readable(1.5, time.monotonic())
            replica.run(f"START {word}")
            await observer.until(lambda: observer.lag(replica) < 1)

    asyncio.run(body())


@BOTH_SERVERS
@ONE_SHARD
def test_a_killed_primary_is_noticed_and_its_successor_followed(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()
    write(shard)
    shard.wait_replicas()
    (replica,) = shard.replicas
    old = shard.primary

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            await observer.until(lambda: observer.primary == old.port)
            old.kill()
            await observer.until(lambda: observer.primary is None)
            assert observer.health(old).state is State.DOWN
            assert observer.roles.epoch == 2
            failure = observer.health(old).failure
            assert failure is not None and failure.kind is FailureKind.UNREACHABLE
            shard.promote()
            assert await observer.until(lambda: observer.primary == replica.port) < 5
            assert observer.roles.epoch == 3
            # The old primary comes back as it was configured, writable, and has nothing that the new one
            # lacks.
            write(shard)
            old.start()
            await observer.until(lambda: observer.health(old).state is State.UP)
            assert observer.primary == replica.port and observer.roles.epoch == 3
            assert Warn.SECOND_WRITABLE in observer.roles.warnings
            assert observer.health(old).incarnation == 1

    asyncio.run(body())


@BOTH_SERVERS
@ONE_SHARD
def test_a_switchover_is_followed(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()
    (replica,) = shard.replicas
    old = shard.primary

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            await observer.until(lambda: observer.primary == old.port)
            await asyncio.to_thread(shard.promote)
            assert await observer.until(lambda: observer.primary == replica.port) < 5
            assert observer.roles.epoch in (2, 3), "with or without a look between the two switches"
            write(shard)
            await observer.until(lambda: observer.lag(old) < 1)

    asyncio.run(body())


@ONE_SHARD
def test_flipping_read_only_alone_is_followed(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()
    (replica,) = shard.replicas

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            await observer.until(lambda: observer.primary == shard.primary.port)
            shard.primary.set_read_only(True)
            await observer.until(lambda: observer.roles.standing is Standing.NONE_WRITABLE)
            replica.set_read_only(False)
            assert await observer.until(lambda: observer.primary == replica.port) < 5

    asyncio.run(body())


@BOTH_SERVERS
@ONE_SHARD
def test_a_hanging_server_is_found_by_the_deadline(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            await observer.until(lambda: observer.primary == shard.primary.port)
            shard.primary.pause()
            try:
                took = await observer.until(lambda: observer.primary is None)
                failure = observer.health(shard.primary).failure
                assert failure is not None and failure.kind is FailureKind.TIMEOUT
                assert took >= QUICK.timeout, "one missed deadline is not enough"
            finally:
                shard.primary.resume()
            await observer.until(lambda: observer.primary == shard.primary.port)
            assert observer.health(shard.primary).incarnation == 0

    asyncio.run(body())


@ONE_SHARD
def test_a_replica_that_is_written_to_is_reported(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()
    (replica,) = shard.replicas

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            await observer.until(lambda: observer.primary == shard.primary.port)
            replica.run("CREATE DATABASE by_accident")  # root may write in spite of read_only
            await observer.until(lambda: Warn.DIVERGED in observer.roles.warnings)
            assert observer.primary == shard.primary.port

    try:
        asyncio.run(body())
    finally:
        replica.wipe()  # no later test can use it


@ONE_SHARD
def test_replication_status_that_hangs_kills_nobody(
    world: World, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when SHOW SLAVE STATUS waits for a STOP SLAVE that waits for a statement."""
    (shard,) = world.shards.values()
    (replica,) = shard.replicas
    real = probe.read_channels

    async def hanging(connection: ProbeConnection, timeout: float) -> tuple[probe.Channel, ...]:
        await connection.query("SELECT SLEEP(2)", timeout)
        return ()

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            await observer.until(lambda: observer.primary == shard.primary.port)
            monkeypatch.setattr(probe, "read_channels", hanging)
            await observer.until(lambda: any("SHOW REPLICA" in text for text in _problems(observer, replica)))
            write(shard)
            await observer.until(lambda: observer.lag(replica) < 1)
            assert observer.health(replica).state is State.UP
            assert observer.roles.epoch == 1
            monkeypatch.setattr(probe, "read_channels", real)
            await observer.until(lambda: not _problems(observer, replica))

    asyncio.run(body())


def _problems(observer: Observer, server: SqlServer) -> tuple[str, ...]:
    facts = observer.health(server).facts
    return facts.problems if facts else ()


@ONE_SHARD
def test_a_server_without_a_free_connection_lives(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()
    (replica,) = shard.replicas

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            await observer.until(lambda: observer.primary == shard.primary.port)
            replica.run("SET GLOBAL max_connections = 10")
            held = _every_connection(replica)
            try:
                with held[0].cursor() as cursor:
                    cursor.execute("SELECT id FROM information_schema.PROCESSLIST WHERE user = 'fairlead'")
                    for (number,) in cursor.fetchall():
                        cursor.execute(f"KILL {number}")
                held += _every_connection(replica)
                await observer.until(lambda: _failure_kind(observer, replica) is FailureKind.BUSY)
                for _ in range(2 * QUICK.failures):
                    observer.changed.clear()
                    await observer.changed.wait()
                assert observer.health(replica).state is State.UP
            finally:
                for one in held:
                    one.close()
            await observer.until(lambda: observer.health(replica).failure is None)
            replica.run("SET GLOBAL max_connections = 1200")

    asyncio.run(body())


def _every_connection(server: SqlServer) -> list[Connection[Any]]:
    held: list[Connection[Any]] = []
    try:
        while True:
            held.append(server.connect())
    except OperationalError:
        return held


def _failure_kind(observer: Observer, server: SqlServer) -> FailureKind | None:
    failure = observer.health(server).failure
    return failure.kind if failure else None


@ONE_SHARD
def test_one_connection_per_server_and_none_after_stop(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()
    count = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE user = 'fairlead' AND info IS NULL"

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            looks: list[float] = []
            await observer.until(lambda: observer.primary is not None)
            while len(looks) < 10:
                await observer.until(lambda: observer.changed.is_set())
                observer.changed.clear()
                looks.append(time.monotonic())
            assert [server.value(count) for server in shard.servers] == [1, 1]
        for server in shard.servers:
            deadline = time.monotonic() + PATIENCE
            while server.value(count) and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            assert server.value(count) == 0

    asyncio.run(body())


@ONE_SHARD
def test_a_reload_disturbs_only_what_changed(world: World, flavour: str) -> None:
    (shard,) = world.shards.values()
    identify = "SELECT id FROM information_schema.PROCESSLIST WHERE user = 'fairlead' AND info IS NULL"

    async def body() -> None:
        async with watching(shard, flavour) as observer:
            await observer.until(lambda: len(observer.seen) == 2)
            before = shard.primary.value(identify)
            await observer.monitor.watch(observer.targets[:1])
            observer.seen.clear()
            await observer.until(lambda: len(observer.seen) == 1)
            assert shard.primary.value(identify) == before
            observer.monitor.look_now(observer.targets[0].name)
            observer.monitor.look_now("nobody")

    asyncio.run(body())


# --- faults of our own --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "state"), [(0.0, State.DOWN), (5.0, State.UNKNOWN)])
def test_a_deadline_that_this_process_slept_through_says_nothing(
    late: float, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline passes; the clock says whether it was noticed in time or long after."""
    now = 1000.0

    async def connect(*_: object) -> ProbeConnection:
        nonlocal now
        now += QUICK.timeout + late
        raise ServerUnavailable(FailureKind.TIMEOUT, "no answer in time")

    async def body() -> State:
        monkeypatch.setattr(monitoring, "connect", connect)
        watch = monitoring._ServerWatch(targets(topology_of([1]))[0], QUICK, 0.1, lambda _: None, lambda: now)
        for _ in range(QUICK.failures):
            await watch._round()
        return watch.hysteresis.state

    assert asyncio.run(body()) is state


def test_a_callback_that_fails_does_not_end_the_looking(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        called = 0
        enough = asyncio.Event()

        def on_server(_: ServerHealth) -> None:
            nonlocal called
            called += 1
            if called == 3:
                enough.set()
            raise RuntimeError("the callback's own fault")

        monitor = Monitor(on_server, health=QUICK)
        await monitor.watch(targets(topology_of([1])))
        async with asyncio.timeout(PATIENCE):
            await enough.wait()
        await monitor.stop()

    asyncio.run(body())
    assert "handing on the health of s0 127.0.0.1:1" in caplog.text


@pytest.mark.parametrize(("servers", "told"), [([1], 3), ([1, 2], 6)])
def test_a_lone_server_that_says_the_same_is_handed_on_from_time_to_time(
    servers: list[int], told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a replica beside it every look counts, because lag is measured against it."""
    now = 1000.0
    vitals = mariadb_vitals("10.11.19-MariaDB", (0, 0, 11, 151, 1, 1, 7, "7-11-9", "", "7-11-9"))
    seen: list[ServerHealth] = []

    async def connect(*_: object) -> Any:
        return SimpleNamespace(closed=False, id=1, close=lambda: None)

    async def read_vitals(*_: object) -> probe.Vitals:
        return vitals

    async def read_channels(*_: object) -> tuple[probe.Channel, ...]:
        return ()

    async def read_load(*_: object) -> probe.Load:
        return probe.Load(1, 100)

    async def body() -> None:
        nonlocal now, vitals
        target = targets(topology_of(servers))[0]
        watch = monitoring._ServerWatch(target, Health(), 2.0, seen.append, lambda: now)
        for _ in range(3):  # new, the same, the same and old enough
            await watch._round()
            now += monitoring.SAME_NEWS_INTERVAL / 2
        await watch._round()
        vitals = replace(vitals, read_only=True)
        await watch._round()
        await watch._round()

    monkeypatch.setattr(monitoring, "connect", connect)
    for name, answer in (("read_vitals", read_vitals), ("read_channels", read_channels), ("read_load", read_load)):
        monkeypatch.setattr(probe, name, answer)
    asyncio.run(body())
    assert len(seen) == told
    assert seen[-1].facts is not None and seen[-1].facts.read_only


def test_a_pause_is_cut_short_once_and_never_below_its_least() -> None:
    async def body() -> tuple[float, float]:
        pause = monitoring._Pause()
        loop = asyncio.get_running_loop()
        pause.cut_short()  # before it began
        began = loop.time()
        await pause.wait(60)
        first = loop.time() - began
        loop.call_soon(pause.cut_short)
        loop.call_soon(pause.cut_short)
        await pause.wait(60)
        return first, loop.time() - began - first

    async def in_time() -> tuple[float, float]:
        async with asyncio.timeout(PATIENCE):
            return await body()

    assert min(asyncio.run(in_time())) >= 0.9 * monitoring.HURRY_INTERVAL


# --- peers --------------------------------------------------------------------------------------------------


class Link:
    """A peer connection that answers as it is told."""

    def __init__(self) -> None:
        self.works = True
        self.closed = 0

    async def connect(self) -> Link:
        if not self.works:
            raise ConnectionRefusedError("no peer")
        return self

    async def ping(self) -> None:
        if not self.works:
            raise ConnectionResetError("peer gone")

    def close(self) -> None:
        self.closed += 1


def test_peers_are_looked_at_by_the_connection_given() -> None:
    async def body() -> None:
        link = Link()
        seen: list[PeerHealth] = []
        changed = asyncio.Event()

        def on_peer(health: PeerHealth) -> None:
            seen.append(health)
            changed.set()

        async def until(state: State) -> None:
            async with asyncio.timeout(PATIENCE):
                while not seen or seen[-1].state is not state:
                    changed.clear()
                    await changed.wait()

        region = Region(1, "us", False, None, ("us",))
        monitor = Monitor(lambda _: None, on_peer, health=QUICK)
        await monitor.watch([], [PeerTarget(region, link.connect)])
        await until(State.UP)
        link.works = False
        await until(State.DOWN)
        assert seen[-1].failure is not None and link.closed >= 1
        link.works = True
        await until(State.UP)
        await monitor.stop()
        count = len(seen)
        await asyncio.sleep(0)
        assert len(seen) == count and link.closed >= 2

    asyncio.run(body())
