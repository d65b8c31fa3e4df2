"""Which server of a shard takes writes, and how far behind the others are: decided from what was seen,
without I/O.

Fairlead follows failovers, it makes none. The server that says it takes writes (read_only off) is the
primary, and where that is not plain, nobody is: writes then wait and are refused, which costs time, while a
wrong guess costs data.

Choosing, in order: 1.  Before every server was looked at once there is no primary (PENDING). 2.  A writable
server that replicates from another writable one, and not the other way round, is a replica that somebody
forgot to set read-only. It is no candidate (warning WRITABLE_REPLICA). 3.  No candidate: no primary
(NONE_WRITABLE). 4.  One candidate is the primary, unless
    - it still replicates from a server of the shard and has not applied all of it yet (CATCHING_UP), or
    - it still replicates, its source is gone, and nobody was seen to switch it to writable: a replica
    without read_only whose primary has died was promoted by nobody (UNPROMOTED). 5.  Several candidates:
    the last known primary stays as long as it is provably the one. The proof: no read-only server follows
    one of the others, and either one follows it, or it has every transaction that the others have (warning
    SECOND_WRITABLE). Otherwise no primary (SPLIT_BRAIN).

A primary that does not answer stays the primary until its state is DOWN. Each change of the primary, to
none as well, makes the epoch one larger.

Lag is a bound, not an estimate. At the look that began at time t the primary had applied P; a replica that
has P therefore has every write acknowledged before t, and is at most `now - t` behind, now and until it is
looked at again. The history of (t, P) is kept per shard. Seconds_Behind is not used: it is 0 or NULL when
the thread that fetches is dead. The price is that a replica is never proven fresher than the time since the
last look at the primary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from proxy.pool.gtid import Position, contains, covers
from proxy.pool.probe import Channel
from proxy.pool.server_health import ServerHealth, State, Target
from router.topology import ServerRole, Shard

HISTORY = 1024
"""How many positions of a primary are kept. When full, every second one of the older half goes: the newest
stay exact, and with each halving the whole reaches further back (at five a second: minutes, soon hours)."""


class Standing(StrEnum):
    """Why there is, or is no, primary; see the rules above."""

    OK = "ok"
    PENDING = "pending"
    NONE_WRITABLE = "none-writable"
    CATCHING_UP = "catching-up"
    UNPROMOTED = "unpromoted"
    SPLIT_BRAIN = "split-brain"


class Warn(StrEnum):
    """What an operator should look at."""

    WRITABLE_REPLICA = "writable-replica"
    SECOND_WRITABLE = "second-writable"
    DIVERGED = "diverged"
    """A server has transactions that the primary lacks: written there by accident, or lost at a failover."""


class Unreadable(StrEnum):
    """Why a replica may not be read."""

    DOWN = "down"
    SPLIT_BRAIN = "split-brain"
    NO_PRIMARY = "no-primary"
    NOT_FOLLOWING = "not-following"
    WRITABLE = "writable"
    LAG_UNKNOWN = "lag-unknown"


@dataclass(frozen=True, slots=True)
class Replica:
    """A server of the shard that is not the primary.

    `fresh_at`: it has every write that was acknowledged before this time of the monitor's clock.
    `reached`: the sequence number of `ShardRoles.write_source` up to which it has everything; 0: nothing
    proven.
    """

    target: Target
    unreadable: Unreadable | None
    fresh_at: float | None = None
    reached: int = 0

    def lag(self, now: float) -> float:
        """How many seconds it can be behind at most; infinite when nothing is proven, or it may not be
        read.
        """
        if self.unreadable is not None or self.fresh_at is None:
            return float("inf")
        return max(0.0, now - self.fresh_at)


@dataclass(frozen=True, slots=True)
class ShardRoles:
    """Who is what, in one shard.

    `write_source`: the source (see `proxy.pool.gtid`) that the primary's writes get; '' without a primary.
    """

    shard: Shard
    epoch: int
    primary: Target | None
    standing: Standing
    write_source: str = ""
    warnings: frozenset[Warn] = frozenset()
    replicas: tuple[Replica, ...] = ()

    def readable(self, max_lag: float, now: float) -> list[Replica]:
        """The replicas that are at most `max_lag` seconds behind, the freshest first."""
        fresh = [replica for replica in self.replicas if replica.lag(now) <= max_lag]
        return sorted(fresh, key=lambda replica: replica.lag(now))


# --- who follows whom ---------------------------------------------------------------------------------------


class Links:
    """The replication channels between the servers of one shard."""

    def __init__(self, servers: Mapping[str, ServerHealth]) -> None:
        self._servers = servers
        self._by_id = _unique_ids(servers)

    def source(self, channel: Channel) -> str | None:
        """The name of the server that the channel replicates from; None when it is none of the shard's."""
        if channel.source_id and channel.source_id in self._by_id:
            return self._by_id[channel.source_id]
        for name, health in self._servers.items():
            server = health.target.server
            if (server.host, server.port) == (channel.source_host, channel.source_port):
                return name
        return None

    def running(self, name: str, source: str) -> bool:
        """Does the server replicate from that one now?"""
        return any(channel.running and self.source(channel) == source for channel in self.channels(name))

    def attached(self, name: str, source: str) -> bool:
        """Is the server set up to replicate from that one, without anybody having stopped it?"""
        return any(channel.attached and self.source(channel) == source for channel in self.channels(name))

    def follows(self, name: str, leader: str) -> bool:
        """Is the server set up, running or not, to replicate from that one, directly or by way of others?"""
        seen: set[str] = set()
        todo = [name]
        while todo:
            sources = {self.source(channel) for channel in self.channels(todo.pop())}
            if leader in sources:
                return True
            new = {source for source in sources if source is not None} - seen
            seen |= new
            todo += new
        return False

    def channels(self, name: str) -> tuple[Channel, ...]:
        facts = self._servers[name].facts if name in self._servers else None
        return facts.channels or () if facts else ()


def _unique_ids(servers: Mapping[str, ServerHealth]) -> dict[str, str]:
    """Server id or uuid -> name, without those that two servers claim: addresses must tell them apart."""
    names: dict[str, list[str]] = {}
    for name, health in servers.items():
        if health.facts:
            names.setdefault(health.facts.server_uuid or str(health.facts.server_id), []).append(name)
    return {key: found[0] for key, found in names.items() if len(found) == 1}


# --- choosing -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Memory:
    """What the rules remember. `last`: the last known primary. `read_only_seen`: (server, incarnation)."""

    last: str | None = None
    read_only_seen: frozenset[tuple[str, int]] = frozenset()

    def was_read_only(self, health: ServerHealth) -> bool:
        """Was this server, since its start, seen to be read-only? If it is writable now, somebody switched
        it.
        """
        return (health.target.name, health.incarnation) in self.read_only_seen

    def with_seen(self, health: ServerHealth) -> Memory:
        """This, and what the look says. A server's earlier incarnations are forgotten."""
        name = health.target.name
        seen = {entry for entry in self.read_only_seen if entry[0] != name or entry[1] == health.incarnation}
        if health.facts is not None and health.facts.read_only:
            seen.add((name, health.incarnation))
        return Memory(self.last, frozenset(seen))


@dataclass(frozen=True, slots=True)
class Choice:
    """The primary's name, or None, and why."""

    primary: str | None
    standing: Standing
    warnings: frozenset[Warn] = frozenset()


def choose(servers: Mapping[str, ServerHealth], configured: str | None, memory: Memory) -> Choice:
    """The rules at the head of this file. `configured`: the name of the primary that the settings declare.

    One that the settings forbid to be the primary is not followed, whoever has promoted it.
    """
    choice = _choice(servers, configured, memory)
    if choice.primary is not None and not servers[choice.primary].target.server.promotable:
        return Choice(None, Standing.UNPROMOTED, choice.warnings)
    return choice


def _choice(servers: Mapping[str, ServerHealth], configured: str | None, memory: Memory) -> Choice:
    if memory.last is None and any(health.state is State.UNKNOWN for health in servers.values()):
        return Choice(None, Standing.PENDING)
    links = Links(servers)
    writable = [name for name, health in servers.items() if health.writable]
    candidates = [name for name in writable if not _is_mere_replica(name, writable, links)]
    warnings = frozenset({Warn.WRITABLE_REPLICA} if len(candidates) < len(writable) else ())
    if not writable:
        return Choice(None, Standing.NONE_WRITABLE)
    if len(candidates) == 1:
        standing = _standing_of_single(candidates[0], servers, links, configured, memory)
        return Choice(candidates[0] if standing is Standing.OK else None, standing, warnings)
    if memory.last in writable and _is_proven(memory.last, writable, servers, links):
        return Choice(memory.last, Standing.OK, warnings | {Warn.SECOND_WRITABLE})
    return Choice(None, Standing.SPLIT_BRAIN, warnings)


def _is_mere_replica(name: str, writable: Sequence[str], links: Links) -> bool:
    return any(
        links.attached(name, other) and not links.attached(other, name) for other in writable if other != name
    )


def _standing_of_single(
    name: str, servers: Mapping[str, ServerHealth], links: Links, configured: str | None, memory: Memory
) -> Standing:
    health = servers[name]
    if name == memory.last or health.facts is None:
        return Standing.OK
    trusted = name == configured or memory.was_read_only(health)
    if health.facts.channels is None:
        return Standing.OK if trusted else Standing.UNPROMOTED
    for channel in health.facts.channels:
        if not channel.attached:
            continue  # its replication was ended: whoever did so has promoted it as it is
        source = links.source(channel)
        if source is None and name == configured:
            continue  # a primary may replicate from outside of the shard
        alive = source is not None and servers[source].state is State.UP
        if not alive and not trusted:
            return Standing.UNPROMOTED
        if not _has_drained(health, channel, servers[source] if source is not None and alive else None):
            return Standing.CATCHING_UP
    return Standing.OK


def _has_drained(health: ServerHealth, channel: Channel, source: ServerHealth | None) -> bool:
    """Has the server applied what its source has, or what it has fetched of a source that is gone?"""
    if source is not None:
        return contains(_position(health), _position(source))
    return not channel.sql_running or contains(_position(health), channel.received)


def _is_proven(last: str, writable: Sequence[str], servers: Mapping[str, ServerHealth], links: Links) -> bool:
    others = [name for name in writable if name != last]
    standing_by = [
        name for name, health in servers.items() if health.state is State.UP and name not in writable
    ]
    if any(links.attached(name, other) for name in standing_by for other in others):
        return False
    if any(links.running(name, last) for name in standing_by):
        return True
    return all(_knows_all_of(servers[last], servers[other]) for other in others)


def _knows_all_of(health: ServerHealth, other: ServerHealth) -> bool:
    server_id = other.facts.server_id if other.facts else 0
    return covers(_position(health), _position(other), server_id)


def _position(health: ServerHealth) -> Position | None:
    return health.facts.position if health.facts else None


# --- how far behind -----------------------------------------------------------------------------------------


class PositionHistory:
    """What a primary had applied, and when: (time, position), both growing, at most `capacity` of them."""

    def __init__(self, capacity: int = HISTORY) -> None:
        self._capacity = max(4, capacity)
        self._times: list[float] = []
        self._positions: list[Position] = []

    def __len__(self) -> int:
        return len(self._times)

    def add(self, time: float, position: Position) -> None:
        """The primary had applied no more than `position` at `time`."""
        if self._positions and position == self._positions[-1]:
            self._times[-1] = time
            return
        if self._positions and not contains(position, self._positions[-1]):
            self.clear()  # it went back: another history begins (RESET MASTER, a restored server)
        if len(self._times) >= self._capacity:
            self._thin()
        self._times.append(time)
        self._positions.append(position)

    def _thin(self) -> None:
        # Leaving a point out makes the bound coarser there, never wrong.
        half = self._capacity // 2
        del self._times[0:half:2]
        del self._positions[0:half:2]

    def clear(self) -> None:
        self._times.clear()
        self._positions.clear()

    def fresh_at(self, position: Position | None) -> float | None:
        """The latest time up to which a server with this position has everything; None when there is none."""
        low, high = 0, len(self._times)
        if high and contains(position, self._positions[-1]):
            return self._times[-1]
        while low < high:
            middle = (low + high) // 2
            if contains(position, self._positions[middle]):
                low = middle + 1
            else:
                high = middle
        return self._times[low - 1] if low else None


# --- one shard over time ------------------------------------------------------------------------------------


class Roster:
    """The roles of one shard's servers, brought up to date by every look. Not safe for threads.

    `capacity` bounds the history of positions.
    """

    def __init__(self, shard: Shard, capacity: int = HISTORY) -> None:
        self.shard = shard
        self.roles = ShardRoles(shard, 0, None, Standing.PENDING)
        self._servers: dict[str, ServerHealth] = {}
        self._memory = Memory()
        self._history = PositionHistory(capacity)
        self._diverged: set[str] = set()
        self._choice = Choice(None, Standing.PENDING)

    def expect(self, targets: Iterable[Target], shard: Shard | None = None) -> ShardRoles:
        """These are the shard's servers from now on; what is known of those that stay is kept.

        To be called first, and after a reload with the shard's new numbers.
        """
        self.shard = shard or self.shard
        known = self._servers
        self._servers = {}
        for target in targets:
            health = known.get(target.name) or ServerHealth(target, State.UNKNOWN, checked_at=0.0)
            self._servers[target.name] = replace(health, target=target)
        return self._decide()

    def observe(self, health: ServerHealth) -> ShardRoles:
        """The roles after this look. A server that is not expected changes nothing."""
        name = health.target.name
        if name not in self._servers:
            return self.roles
        self._servers[name] = health
        self._memory = self._memory.with_seen(health)
        return self._decide()

    def _decide(self) -> ShardRoles:
        self._choice = choose(self._servers, self._configured(), self._memory)
        primary = self._choice.primary
        if primary is not None and primary != self._memory.last:
            self._history.clear()
            self._diverged.clear()
            self._memory = Memory(primary, self._memory.read_only_seen)
        if primary is not None:
            self._note_position(self._servers[primary])
        before = self.roles.primary.name if self.roles.primary else None
        self.roles = self._roles(self.roles.epoch + (primary != before))
        return self.roles

    def _configured(self) -> str | None:
        declared = [str(server) for server in self.shard.servers if server.role is ServerRole.PRIMARY]
        return next((name for name, one in self._servers.items() if str(one.target.server) in declared), None)

    def _note_position(self, primary: ServerHealth) -> None:
        """The last look at the primary: a point of the history, and a chance to find what it lacks."""
        if primary.failure is not None or primary.seen_at is None or primary.facts is None:
            return
        if primary.facts.position is None:
            self._history.clear()
            return
        self._history.add(primary.seen_at, primary.facts.position)
        for name, other in self._servers.items():
            # The primary must know what was seen before its own look began, not what came after.
            if other is not primary and _position(other) is not None and other.checked_at < primary.seen_at:
                known = _knows_all_of(primary, other)
                (self._diverged.discard if known else self._diverged.add)(name)

    def _roles(self, epoch: int) -> ShardRoles:
        choice = self._choice
        primary = self._servers[choice.primary] if choice.primary else None
        write_source = primary.facts.write_source if primary and primary.facts else ""
        diverged = {Warn.DIVERGED} if self._diverged & self._servers.keys() else set()
        links = Links(self._servers)
        return ShardRoles(
            shard=self.shard,
            epoch=epoch,
            primary=primary.target if primary else None,
            standing=choice.standing,
            write_source=write_source,
            warnings=choice.warnings | diverged,
            replicas=tuple(
                self._replica(health, write_source, links)
                for name, health in self._servers.items()
                if name != choice.primary
            ),
        )

    def _replica(self, health: ServerHealth, write_source: str, links: Links) -> Replica:
        position = _position(health)
        fresh_at = self._history.fresh_at(position)
        return Replica(
            target=health.target,
            unreadable=self._unreadable(health, fresh_at, links),
            fresh_at=fresh_at,
            reached=position.bounds().get(write_source, 0) if position else 0,
        )

    def _unreadable(self, health: ServerHealth, fresh_at: float | None, links: Links) -> Unreadable | None:
        # Without a primary the last one counts: what its replicas have is still what was acknowledged.
        leader = self._choice.primary or self._memory.last
        name = health.target.name
        if health.state is not State.UP or health.facts is None:
            return Unreadable.DOWN
        if self._choice.standing is Standing.SPLIT_BRAIN:
            return Unreadable.SPLIT_BRAIN
        if leader is None:
            return Unreadable.NO_PRIMARY
        if not health.facts.read_only:
            return Unreadable.WRITABLE
        if name != leader and not links.follows(name, leader):
            return Unreadable.NOT_FOLLOWING
        return Unreadable.LAG_UNKNOWN if fresh_at is None else None
