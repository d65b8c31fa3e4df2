"""Every backend of one worker: pools per server and peer, who is primary now, and the relay's routes.

Decisions are `roles`' (who is what) and `pools`' (when to connect); this module writes them into the relay's
tables whenever something changed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from _speedups.relay import Relay, source_number
from _speedups.stats import StatsPage
from config.settings import Peer, Settings
from config.words import Consistency
from proxy.generation import Generation
from proxy.mysql.certificates import ClientFiles, TlsMode, client_context
from proxy.numbers import Numbers
from proxy.pool.connectors import PeerConnector, ServerConnector, tls_of
from proxy.pool.health import Monitor
from proxy.pool.pools import CLASSES, Pools, Source
from proxy.pool.roles import Roster, ShardRoles, Standing
from proxy.pool.server_health import ServerHealth, State, Target, targets_of
from proxy.pool.service_connection import ServerUnavailable, connect
from proxy.sessions.attested import IDENTITIES, NO_NUMBER, Attested
from proxy.versions import version_number
from router.errors import refusal
from router.topology import Shard, Topology

log = logging.getLogger(__name__)

NO_POOL = -1
KILLS_AT_ONCE = 16
VERDICT_POLL = 0.01


@dataclass(frozen=True, slots=True)
class Prepared:
    """A generation whose files have been read: nothing of it can fail any more."""

    generation: Generation
    numbers: Numbers
    targets: tuple[Target, ...]
    sources: dict[str, Source]
    peer_context: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class PeerWay:
    """An identity's pool of connections to a peer. `user`: its number, which outlives the user."""

    pool: int
    source: str
    user: int


class Backends:
    """`shard_ids`, `server_ids`: topology index -> number in the page and in the relay."""

    def __init__(self, relay: Relay, page: StatsPage, worker: int) -> None:
        self._relay = relay
        self._page = page
        self.pools = Pools(relay, page, worker)
        self.pools.on_failure = self._look_now
        self._monitor: Monitor | None = None
        self._rosters: dict[str, Roster] = {}
        self._server_pools: dict[tuple[str, int], list[int]] = {}
        self._peer_pools: dict[tuple[Attested, Peer | None, int, int], PeerWay] = {}
        self._sources: dict[str, Source] = {}
        self._peer_context: ssl.SSLContext | None = None
        self._retired: set[str] = set()
        self._sized = False
        self._looked_at: tuple[Any, ...] = ()
        self.generation: Generation
        self.shard_ids: list[int] = []
        self.server_ids: list[int] = []
        self.user_ids: dict[str, int] = {}
        self._peer_rows: dict[str, int] = {}
        self.roles: dict[int, ShardRoles] = {}
        self._kills: set[asyncio.Task[None]] = set()
        self.on_versions: Callable[[Collection[str]], None] = lambda _: None
        self.on_primary: Callable[[str], None] = lambda _: None
        """Called with the name of a shard that has a primary."""
        """Called with the versions of the own region's servers, whenever one is another."""
        self._versions: dict[str, str] = {}

    # --- configuration --------------------------------------------------------------------------------------

    def prepare(self, generation: Generation, numbers: Numbers) -> Prepared:
        """What `configure` needs of a generation. Raises TlsFilesError, ValueError; nothing has changed."""
        targets = targets_of(generation.topology, generation.settings.tls.minimum)
        sources = {target.name: _source_of(target, generation, numbers) for target in targets}
        return Prepared(generation, numbers, targets, sources, _peer_context(generation.settings))

    def configure(self, prepared: Prepared) -> None:
        """Puts a generation's servers in force, in one step. Servers that stay keep their connections."""
        generation, numbers, targets = prepared.generation, prepared.numbers, prepared.targets
        self.generation, self._sources, self._peer_context = generation, prepared.sources, prepared.peer_context
        topology = generation.topology
        self.shard_ids, self.server_ids = numbers.shards, numbers.servers
        self.user_ids, self._peer_rows = numbers.users, numbers.peers
        if not self._sized:
            self._sized = True
            # Sized once for all that the page has room for: a reload changes entries, never the tables.
            shape = self._page.shape
            users = shape.users + IDENTITIES
            self._relay.configure(shards=shape.shards, users=users, health=list(range(shape.backends)))
        self._retire(generation, targets)
        for shard in topology.shards:
            if shard.is_local:
                self._expect(shard, [target for target in targets if target.shard is shard])
            else:
                self._mark_remote(shard)
        self._renew_peers(topology)

    def _retire(self, generation: Generation, targets: tuple[Target, ...]) -> None:
        """No way leads to a shard or server that is not configured any more; its connections go when they fall idle.

        Its pools stay, for the day it comes back.
        """
        names = {shard.name for shard in generation.topology.local_shards}
        for name in self._rosters.keys() - names:
            del self._rosters[name]
        wanted = {target.name for target in targets}
        self._versions = {name: version for name, version in self._versions.items() if name in wanted}
        shards = {self.shard_ids[shard.index] for shard in generation.topology.local_shards}
        for target, number in self._server_pools:
            if target not in wanted:
                self._retired.add(target)
                self.pools.mark_up(target, False)
            elif target in self._retired:
                self._retired.discard(target)
                self.pools.mark_up(target, True)
            if number not in shards:
                self.roles.pop(number, None)
                for capability_class in range(CLASSES):
                    self._relay.route(number, capability_class, NO_POOL, [])

    def _renew_peers(self, topology: Topology) -> None:
        """Ways through peers that stand elsewhere now, or for users that are gone, are closed; the others' next
        connections are made with the settings of now."""
        remote = {self.shard_ids[one.index]: one for one in topology.shards if not one.is_local}
        for key, way in self._peer_pools.items():
            who, peer, number, capability_class = key
            shard = remote.get(number)
            if shard is not None and shard.region.peer == peer and who.user in self.user_ids:
                source = self._peer_source(who, shard)
                self.pools.renew(way.pool, source, shard.settings.limits, source.limit)
            else:
                self.pools.mark_up(way.source, False)
                self._relay.peer_route(way.user, number, capability_class, NO_POOL)

    def _expect(self, shard: Shard, targets: list[Target]) -> None:
        for target in targets:
            self._make_pools(target)
        roster = self._rosters.setdefault(shard.name, Roster(shard))
        self._apply(roster.expect(targets, shard))

    def _mark_remote(self, shard: Shard) -> None:
        for capability_class in range(CLASSES):
            self._relay.route(self.shard_ids[shard.index], capability_class, NO_POOL, [], remote=True)

    def _make_pools(self, target: Target) -> None:
        shard, server = target.shard, target.server
        key = (target.name, self.shard_ids[shard.index])
        if key in self._server_pools:
            for pool in self._server_pools[key]:
                self.pools.renew(pool, self._sources[target.name], shard.settings.limits)
            return
        source = self._sources[target.name]
        number = self.server_ids[server.index]
        self._server_pools[key] = [
            self.pools.add(source, key[1], capability_class, server=number) for capability_class in range(CLASSES)
        ]
        for pool in self._server_pools[key]:
            self.pools.set_limits(pool, shard.settings.limits)

    async def watch(self, prepared: Prepared) -> None:
        """Look at this generation's servers from now on, as it says."""
        settings = prepared.generation.settings
        how = settings.health, _reads_replicas(settings)
        if self._monitor is not None and how != self._looked_at:
            await self._monitor.stop()
            self._monitor = None
        if self._monitor is None:
            self._looked_at = how
            self._monitor = Monitor(self._on_health, health=settings.health, positions=how[1])
        await self._monitor.watch(prepared.targets)

    async def first_verdicts(self, seconds: float) -> None:
        """Returns when every shard of the own region has been judged once, or after this time."""
        try:
            async with asyncio.timeout(seconds):
                while any(roster.roles.standing is Standing.PENDING for roster in self._rosters.values()):
                    await asyncio.sleep(VERDICT_POLL)
        except TimeoutError:
            log.warning("not all servers were looked at within %g s", seconds)

    # --- health ---------------------------------------------------------------------------------------------

    def _on_health(self, health: ServerHealth) -> None:
        roster = self._rosters.get(health.target.shard.name)
        if roster is None:
            return
        before = roster.roles
        roles = roster.observe(health)
        name, down = health.target.name, health.state is State.DOWN
        self.pools.mark_up(name, not down)
        if down:
            self.pools.lose(name)
        if roles.primary != before.primary:
            self._announce(before, roles)
        self._publish(health, roles)
        self._apply(roles)
        if health.facts is not None and self._versions.get(health.target.name) != health.facts.version:
            self._versions[health.target.name] = health.facts.version
            self.on_versions(self._versions.values())

    def _announce(self, before: ShardRoles, roles: ShardRoles) -> None:
        name = roles.primary.name if roles.primary else "none"
        log.warning("shard %s: primary is %s (%s), epoch %d", roles.shard.name, name, roles.standing, roles.epoch)
        if before.primary is not None:
            # Its idle connections would only prove that it is read-only now, one refused write each.
            self.pools.mark_up(before.primary.name, False)
            self.pools.mark_up(before.primary.name, True)

    def _apply(self, roles: ShardRoles) -> None:
        """Routes of a shard of the own region: the primary's pool and the readable replicas', per class."""
        shard = self.shard_ids[roles.shard.index]
        before = self.roles.get(shard)
        self.roles[shard] = roles
        for capability_class in range(CLASSES):
            primary = NO_POOL
            if roles.primary is not None:
                primary = self._server_pools[roles.primary.name, shard][capability_class]
            replicas = [
                self._server_pools[replica.target.name, shard][capability_class]
                for replica in roles.replicas
                if replica.unreadable is None
            ]
            self._relay.route(shard, capability_class, primary, replicas)
        if before is not None and before.primary is not None and before.primary != roles.primary:
            for pool in self._server_pools.get((before.primary.name, shard), ()):
                self._relay.pool_reroute(pool)
        if roles.primary is not None:
            self.on_primary(roles.shard.name)

    def _publish(self, health: ServerHealth, roles: ShardRoles) -> None:
        """Into the shared page: what the relay's choice of replicas, readiness and metrics read."""
        target, facts = health.target, health.facts
        replica = next((one for one in roles.replicas if one.target.name == target.name), None)
        lag, position = None, 0
        if replica is not None and replica.unreadable is None:
            seconds = replica.lag(time.monotonic())
            lag = int(seconds * 1000) if seconds != float("inf") else None
            if replica.reached:
                source = source_number(roles.write_source.encode())
                position = source << 48 | replica.reached & (1 << 48) - 1
        is_primary = roles.primary is not None and roles.primary.name == target.name
        self._page.publish_health(
            self.server_ids[target.server.index],
            _state_word(health),
            "primary" if is_primary else "replica",
            flavour=target.shard.flavour.value,
            server_version=version_number(facts.version) if facts else 0,
            server_id=facts.server_id if facts else 0,
            lag_ms=lag,
            position=position,
        )

    def _look_now(self, name: str) -> None:
        if self._monitor is not None:
            self._monitor.look_now(name)

    def has_primary(self, shard: int) -> bool:
        """May statements be sent to this shard of the own region?"""
        roles = self.roles.get(shard)
        return roles is not None and roles.primary is not None

    # --- peers ----------------------------------------------------------------------------------------------

    def peer_pool(self, who: Attested, shard: Shard, capability_class: int) -> None:
        """Makes the way for a user's statements to a shard of another region: one pool per identity and class.

        Raises Refusal for one of too many identities.
        """
        if who.number == NO_NUMBER:
            raise refusal("PEER_DOWN", shard.region.name, "the users have too many identities")
        number = self.shard_ids[shard.index]
        key = (who, shard.region.peer, number, capability_class)
        if key not in self._peer_pools:
            source = self._peer_source(who, shard)
            pool = self.pools.add(source, number, capability_class, server=0xFFFFFFFF, remote=True)
            self.pools.set_limits(pool, shard.settings.limits, source.limit)
            self._peer_pools[key] = PeerWay(pool, source.name, who.number)
        way = self._peer_pools[key]
        self.pools.mark_up(way.source, True)
        self._relay.peer_route(way.user, number, capability_class, way.pool)

    def _peer_source(self, who: Attested, shard: Shard) -> Source:
        region = shard.region
        assert region.peer is not None and self._peer_context is not None
        connect_limit = self.generation.settings.limits.connect
        return Source(
            f"peer {region.name} at {region.peer.host}:{region.peer.port} for {shard.name} as {who.told}",
            self._peer_rows[region.name],
            region.peer.connections,
            PeerConnector(region, who, shard.name, shard.flavour, self._peer_context, connect_limit),
        )

    @property
    def peer_context(self) -> ssl.SSLContext | None:
        """TLS towards peers; None where none is configured."""
        return self._peer_context

    def kill_soon(self, server: int, thread: int, *, statement: bool = False) -> None:
        """KILL a connection whose statement nobody waits for any more, or with `statement` what it does; best effort,
        never queued."""
        target = self._target_of(server)
        if target is not None and len(self._kills) < KILLS_AT_ONCE:
            task = asyncio.ensure_future(_kill(target, thread, statement, self.generation.settings.health.timeout))
            self._kills.add(task)
            task.add_done_callback(self._kills.discard)

    def _target_of(self, server: int) -> Target | None:
        targets = targets_of(self.generation.topology, self.generation.settings.tls.minimum)
        return next((one for one in targets if self.server_ids[one.server.index] == server), None)

    async def close(self) -> None:
        for task in self._kills:
            task.cancel()
        if self._monitor is not None:
            await self._monitor.stop()
        await self.pools.close()


def _source_of(target: Target, generation: Generation, numbers: Numbers) -> Source:
    """Raises TlsFilesError."""
    settings, server = target.shard.settings, target.server
    assert settings.account is not None
    connector = ServerConnector(
        server, target.shard.flavour, settings.account, tls_of(settings.tls), generation.settings.limits.connect,
        settings.proxy_protocol,
    )  # fmt: skip
    keyspaces = generation.topology.keyspaces
    absent = frozenset(one.name for one in keyspaces if all(it.name != target.shard.name for it in one.shards))
    return Source(target.name, numbers.servers[server.index], settings.limits.connections, connector, absent)


def _peer_context(settings: Settings) -> ssl.SSLContext | None:
    """Raises TlsFilesError."""
    tls = settings.peer_tls
    if tls is None:
        return None
    return client_context(ClientFiles(TlsMode.VERIFY, tls.ca, tls.cert, tls.key))


async def _kill(target: Target, thread: int, statement: bool, timeout: float) -> None:
    try:
        connection = await connect(target.endpoint, timeout)
        try:
            await connection.query(f"KILL {'QUERY ' if statement else ''}{thread:d}", timeout)
        finally:
            connection.close()
    except ServerUnavailable as error:
        log.debug("cannot stop statement %d on %s: %s", thread, target.name, error)


def _reads_replicas(settings: Settings) -> bool:
    levels: list[Any] = [user.consistency for user in settings.users.values()]
    levels += [getattr(listener, "consistency", None) for listener in settings.listeners.values()]
    return any(level not in (None, Consistency.PRIMARY) for level in levels)


def _state_word(health: ServerHealth) -> str:
    if health.state is State.UP:
        return "read_only" if health.facts is not None and health.facts.read_only else "up"
    return "down" if health.state is State.DOWN else "unknown"
