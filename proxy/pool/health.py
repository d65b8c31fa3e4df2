"""Which servers answer, and what they say of themselves, looked at again and again.

One task and one long-lived connection per server of the own region (other regions' servers are never
connected to; their Fairleads are asked by a peer connection that the caller makes). Every look is bounded
by a deadline, every result is a value handed to a callback, and nothing here decides who is the primary:
that is `proxy.pool.roles`.

What counts as what:
- a server that answers "too many connections" lives; its state stays, its facts grow old;
- a look that failed because this process itself was stalled (its deadline was noticed late) says nothing;
- replication and load are extras: when SHOW REPLICA STATUS hangs or is not allowed, the last known is
  kept and the question asked less often;
- a server without replicas that says the same again is handed on only from time to time: its positions are
  the age of nobody's data.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from config.settings import Health
from proxy.pool import probe
from proxy.pool.probe import Channel, Vitals
from proxy.pool.probe_connection import ProbeConnection, connect
from proxy.pool.server_health import (
    Facts,
    Failure,
    Hysteresis,
    PeerHealth,
    ServerHealth,
    State,
    Target,
    applied_position,
    targets_of,
)
from proxy.pool.service_connection import FailureKind, ServerUnavailable
from router.topology import Region

__all__ = [
    "Facts",
    "Failure",
    "Monitor",
    "PeerHealth",
    "PeerLink",
    "PeerTarget",
    "ServerHealth",
    "State",
    "Target",
    "targets_of",
]

T = TypeVar("T")
Clock: TypeAlias = Callable[[], float]
"""Seconds that only grow, with the same origin in all processes of the machine: time.monotonic."""

log = logging.getLogger(__name__)

POSITION_INTERVAL = 0.2
"""Seconds between looks when replicas are read from: the age of a position is the least lag that can be
proven.
"""
RETRY_INTERVAL = 0.2
"""Seconds to the next look after a failed one."""
HURRY_INTERVAL = 0.05
"""Least seconds between two looks, however often the data path asks for one."""
LOAD_INTERVAL = 15.0
"""Seconds between two SHOW GLOBAL STATUS, which walks over every connection of the server."""
SAME_NEWS_INTERVAL = 4.0
"""Longest time that a lone server's unchanged health is kept to ourselves; readiness doubts older news."""
NO_CHANNELS_FACTOR = 5
"""How many times as long the next SHOW REPLICA STATUS may wait on a server that replicates from nobody: it
is the dearest of the questions, and a change of role, which shows in read_only, makes it due at once."""
LONGEST_EXTRA_PAUSE = 30.0
JITTER = 0.1
STALL_FACTOR = 1.5
"""A deadline noticed later than this many times itself was missed by us, not by the server."""
RESTART_TOLERANCE = 1.5
"""Seconds by which the start of a server may seem to move: Uptime counts whole seconds."""


class PeerLink(Protocol):
    """A logged-in connection to a peer."""

    async def ping(self) -> None:
        """Raises on any failure."""

    def close(self) -> None:
        """At once."""


@dataclass(frozen=True)
class PeerTarget:
    """Another region's Fairlead, and how to connect to it."""

    region: Region
    connect: Callable[[], Awaitable[PeerLink]]

    @property
    def name(self) -> str:
        return f"peer {self.region.name}"


# --- looking ------------------------------------------------------------------------------------------------


class Stalled(Exception):
    """This process, not the server, was late."""


class _Pause:
    """The time between two looks: one timer, and at most one more when a look is wanted sooner."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self._earliest = 0.0
        self._wanted = False

    async def wait(self, seconds: float) -> None:
        """At least HURRY_INTERVAL; no longer than that when it is, or was since the last one, cut short."""
        loop = asyncio.get_running_loop()
        self._earliest = loop.time() + HURRY_INTERVAL
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(max(HURRY_INTERVAL, 0.0 if self._wanted else seconds), _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter, self._wanted = None, False

    def cut_short(self) -> None:
        if self._waiter is not None and not self._wanted:
            asyncio.get_running_loop().call_at(self._earliest, _wake, self._waiter)
        self._wanted = True


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class _Watch(ABC):
    """One task that looks at one thing until it is cancelled."""

    def __init__(self, name: str, health: Health, interval: float, clock: Clock) -> None:
        self.name = name
        self.settings = health
        self.interval = interval
        self.clock = clock
        self.hysteresis = Hysteresis(health.failures, health.recoveries, health.timeout)
        self.seen_at: float | None = None
        self.round_trip: float | None = None
        self.failure: Failure | None = None
        self._pausing = _Pause()

    @abstractmethod
    def adopt(self, target: Target | PeerTarget) -> bool:
        """Goes on with this target when only a reload's numbers differ; False when it is another."""

    @abstractmethod
    async def look(self) -> None:
        """Raises ServerUnavailable, Stalled."""

    @abstractmethod
    def publish(self) -> None:
        """Hands the result on."""

    @abstractmethod
    def close(self) -> None:
        """Ends the connection, if there is one."""

    async def run(self) -> None:
        try:
            await asyncio.sleep(random.random() * min(self.interval, RETRY_INTERVAL))
            while True:
                await self._round()
                await self._rest()
        finally:
            self.close()

    async def _round(self) -> None:
        began = self.clock()
        try:
            await self.look()
            self._good(began)
        except Stalled:
            return
        except ServerUnavailable as error:
            self._failed(Failure(error.kind, error.text), began)
        except Exception:
            log.exception("looking at %s", self.name)
            self.close()
            self._failed(Failure(FailureKind.PROTOCOL, "an error of Fairlead's own, see the log"), began)
        self._hand_on()

    def _good(self, began: float) -> None:
        self.hysteresis.good()
        self.seen_at, self.round_trip, self.failure = began, self.clock() - began, None

    def _failed(self, failure: Failure, began: float) -> None:
        self.failure = failure
        if failure.kind is FailureKind.BUSY:
            self.hysteresis.alive()
        else:
            self.hysteresis.failed(began, self.clock())

    def _hand_on(self) -> None:
        try:
            self.publish()
        except Exception:
            # The callback's fault is not the server's, and the next look must take place.
            log.exception("handing on the health of %s", self.name)

    async def _rest(self) -> None:
        known = self.failure is None or self.hysteresis.state is State.DOWN
        pause = self.interval if known else min(self.interval, RETRY_INTERVAL)
        await self._pausing.wait(pause * random.uniform(1 - JITTER, 1 + JITTER))

    def hurry(self) -> None:
        """The next look is wanted soon. Cheap."""
        self._pausing.cut_short()

    async def in_time(self, work: Awaitable[T]) -> T:
        """The work's result; Stalled when its deadline passed while this process was not running."""
        began = self.clock()
        try:
            return await work
        except ServerUnavailable as error:
            late = self.clock() - began > STALL_FACTOR * self.settings.timeout
            if error.kind is FailureKind.TIMEOUT and late:
                raise Stalled from error
            raise


class _Extra:
    """When to ask a question that is not vital: at its interval, and after a failure at ever longer ones."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._pause = interval
        self._due = 0.0

    def is_due(self, now: float) -> bool:
        return now >= self._due

    def answered(self, now: float) -> None:
        self._pause = self._interval
        # Half a look early rather than a whole look late.
        self._due = now + self._interval - POSITION_INTERVAL / 2

    def postpone(self, now: float, factor: int) -> None:
        """The last answer will do for that many intervals."""
        self._due = now + factor * self._interval

    def failed(self, now: float) -> None:
        self._pause = min(2 * self._pause, LONGEST_EXTRA_PAUSE)
        self._due = now + self._pause

    def ask_now(self) -> None:
        self._due = 0.0


class _ServerWatch(_Watch):
    """Looks at one server."""

    def __init__(
        self,
        target: Target,
        health: Health,
        interval: float,
        publish: Callable[[ServerHealth], None],
        clock: Clock,
    ) -> None:
        super().__init__(target.name, health, interval, clock)
        self.target = target
        self._publish = publish
        self._connection: ProbeConnection | None = None
        self._vitals: Vitals | None = None
        self._channels: tuple[Channel, ...] | None = None
        self._connections: int | None = None
        self._complaints: dict[str, str] = {}
        self._ask_channels = _Extra(health.interval)
        self._ask_load = _Extra(max(health.interval, LOAD_INTERVAL))
        self._identity: tuple[int, str] | None = None
        self._started_at: float | None = None
        self._last_id = -1
        self._incarnation = 0
        self._told: tuple[Facts | None, int] = (None, 0)
        self._told_at = 0.0
        self._known_facts: Facts | None = None

    def adopt(self, target: Target | PeerTarget) -> bool:
        if not isinstance(target, Target) or target.endpoint != self.target.endpoint:
            return False
        self.target = target
        self._told = (None, 0)  # the numbers it was handed on under may be others now
        return True

    async def look(self) -> None:
        connection = await self._connected()
        vitals = await self.in_time(probe.read_vitals(connection, self.settings.timeout))
        if vitals is not self._vitals:
            self._adopt_vitals(vitals)
        if self.failure is not None and not self._complaints:
            self._ask_channels.ask_now()  # it answers again, and may be somebody else
        now = self.clock()
        if self._ask_channels.is_due(now) or self._ask_load.is_due(now):
            await self._look_further(vitals)

    def _adopt_vitals(self, vitals: Vitals) -> None:
        identity = (vitals.server_id, vitals.server_uuid)
        if self._vitals is not None and (self._vitals.read_only is not vitals.read_only or identity != self._identity):
            self._ask_channels.ask_now()  # a failover is under way: who follows whom is about to change
        self._vitals = vitals
        self._known_facts = None
        self._note_identity(identity)

    async def _look_further(self, vitals: Vitals) -> None:
        """The extras that are due. What they say, or that they fail, is among the facts."""
        self._known_facts = None
        channels = await self._extra("SHOW REPLICA STATUS", self._ask_channels, probe.read_channels)
        load = await self._extra("SHOW GLOBAL STATUS", self._ask_load, probe.read_load)
        if channels is not None:
            self._channels = channels
            if not channels and not vitals.read_only:
                self._ask_channels.postpone(self.clock(), NO_CHANNELS_FACTOR)
        if load is not None:
            self._connections = load.connections
            self._note_start(self.clock() - load.uptime)

    async def _connected(self) -> ProbeConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await self.in_time(connect(self.target.endpoint, self.settings.timeout))
            if self._connection.id <= self._last_id:
                self._new_incarnation()  # connections are counted from the server's start
            self._last_id = self._connection.id
            # A new connection often means a new server; but not when one of the extras broke the old one.
            if not self._complaints:
                self._ask_channels.ask_now()
                self._ask_load.ask_now()
        return self._connection

    async def _extra(
        self, question: str, extra: _Extra, ask: Callable[[ProbeConnection, float], Awaitable[T]]
    ) -> T | None:
        """The answer, when it is time to ask and the server gives one."""
        connection = self._connection
        if connection is None or connection.closed or not extra.is_due(self.clock()):
            return None
        try:
            answer = await ask(connection, self.settings.timeout)
        except ServerUnavailable as error:
            self._complaints[question] = f"{question}: {error}"
            extra.failed(self.clock())
            return None
        self._complaints.pop(question, None)
        extra.answered(self.clock())
        return answer

    def _note_identity(self, identity: tuple[int, str]) -> None:
        if self._identity is not None and identity != self._identity:
            self._new_incarnation()
        self._identity = identity

    def _note_start(self, started_at: float) -> None:
        if self._started_at is not None and started_at > self._started_at + RESTART_TOLERANCE:
            self._new_incarnation()
        self._started_at = started_at

    def _new_incarnation(self) -> None:
        self._incarnation += 1
        self._started_at = None  # so that Uptime does not tell the same news again
        log.warning("%s: the server was restarted or replaced", self.name)

    def publish(self) -> None:
        facts, now = self._facts(), self.clock()
        good = self.failure is None and self.hysteresis.state is State.UP
        told = (facts, self._incarnation) if good else (None, 0)
        if good and told == self._told and self._is_alone and now - self._told_at < SAME_NEWS_INTERVAL:
            return
        self._told, self._told_at = told, now
        self._publish(
            ServerHealth(
                target=self.target,
                state=self.hysteresis.state,
                checked_at=now,
                seen_at=self.seen_at,
                round_trip=self.round_trip,
                failure=self.failure,
                incarnation=self._incarnation,
                facts=facts,
            )
        )

    @property
    def _is_alone(self) -> bool:
        """Nobody's lag is measured against it."""
        return len(self.target.shard.servers) == 1

    def _facts(self) -> Facts | None:
        """The same object until a look brings something new."""
        if self._known_facts is None and self._vitals is not None:
            self._known_facts = self._facts_of(self._vitals)
        return self._known_facts

    def _facts_of(self, vitals: Vitals) -> Facts:
        return Facts(
            version=vitals.version,
            server_id=vitals.server_id,
            server_uuid=vitals.server_uuid,
            read_only=vitals.read_only,
            position=applied_position(vitals, self._channels),
            write_source=vitals.write_source,
            channels=self._channels,
            connections=self._connections,
            max_connections=vitals.max_connections,
            problems=(*vitals.problems, *self._complaints.values()),
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _PeerWatch(_Watch):
    """Looks at another region's Fairlead."""

    def __init__(self, target: PeerTarget, health: Health, publish: Callable[[PeerHealth], None], clock: Clock) -> None:
        super().__init__(target.name, health, health.interval, clock)
        self.target = target
        self._publish = publish
        self._link: PeerLink | None = None

    def adopt(self, target: Target | PeerTarget) -> bool:
        if not isinstance(target, PeerTarget) or target.region.peer != self.target.region.peer:
            return False
        self.target = target
        return True

    async def look(self) -> None:
        await self.in_time(self._ping())

    async def _ping(self) -> None:
        try:
            async with asyncio.timeout(self.settings.timeout):
                if self._link is None:
                    self._link = await self.target.connect()
                await self._link.ping()
        except TimeoutError:
            self.close()
            raise ServerUnavailable(FailureKind.TIMEOUT, "no answer in time") from None
        except Exception as error:
            self.close()
            raise ServerUnavailable(FailureKind.UNREACHABLE, str(error)) from error

    def publish(self) -> None:
        self._publish(
            PeerHealth(
                region=self.target.region,
                state=self.hysteresis.state,
                checked_at=self.clock(),
                seen_at=self.seen_at,
                round_trip=self.round_trip,
                failure=self.failure,
            )
        )

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


# --- all of them --------------------------------------------------------------------------------------------


def _ignore(_: object) -> None:
    """The callback of who does not care."""


class Monitor:
    """Looks at servers and peers until stopped, and hands every result to a callback, in the loop's thread.

    `positions`: replicas are read from (consistency session or eventual), so positions are taken five times
    a second. Cancelling: a look in progress is abandoned with its connection; callbacks never run after
    `stop` has returned.
    """

    def __init__(
        self,
        on_server: Callable[[ServerHealth], None],
        on_peer: Callable[[PeerHealth], None] = _ignore,
        *,
        health: Health | None = None,
        positions: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        self._on_server = on_server
        self._on_peer = on_peer
        self._health = health or Health()
        self._interval = min(self._health.interval, POSITION_INTERVAL) if positions else self._health.interval
        self._clock = clock
        self._watches: dict[str, tuple[_Watch, asyncio.Task[None]]] = {}

    async def watch(self, targets: Iterable[Target], peers: Iterable[PeerTarget] = ()) -> None:
        """Looks at these from now on, and at no others. What was looked at already goes on undisturbed."""
        wanted: dict[str, Target | PeerTarget] = {target.name: target for target in targets}
        wanted |= {peer.name: peer for peer in peers}
        gone = [
            name for name, (watch, _) in self._watches.items() if name not in wanted or not watch.adopt(wanted[name])
        ]
        await self._end(gone)
        for name, target in wanted.items():
            if name not in self._watches:
                self._begin(name, target)

    def _begin(self, name: str, target: Target | PeerTarget) -> None:
        watch = self._watch_of(target)
        task = asyncio.get_running_loop().create_task(watch.run(), name=f"health of {name}")
        self._watches[name] = (watch, task)

    def _watch_of(self, target: Target | PeerTarget) -> _Watch:
        if isinstance(target, PeerTarget):
            return _PeerWatch(target, self._health, self._on_peer, self._clock)
        return _ServerWatch(target, self._health, self._interval, self._on_server, self._clock)

    async def _end(self, names: Iterable[str]) -> None:
        tasks = [self._watches.pop(name)[1] for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def look_now(self, name: str) -> None:
        """Asks for a look soon, because the data path met an error. Cheap; a name that is not watched is
        ignored.
        """
        entry = self._watches.get(name)
        if entry is not None:
            entry[0].hurry()

    async def stop(self) -> None:
        """Ends all looking. Returns when every connection is closed."""
        await self._end(list(self._watches))
