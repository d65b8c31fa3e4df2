"""Every backend of one worker: pools per server and peer, who is primary now, and the relay's routes.

Decisions are `roles`' (who is what) and `pools`' (when to connect); this module writes them into the relay's
tables whenever something changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
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
from router.topology import Server, Shard

log = logging.getLogger(__name__)

NO_POOL = -1
KILLS_AT_ONCE = 16
VERDICT_POLL = 0.01


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
        self._peer_pools: dict[tuple[str, Peer | None, int, int], int] = {}
        self.generation: Generation
        self.shard_ids: list[int] = []
        self.server_ids: list[int] = []
        self.user_ids: dict[str, int] = {}
        self._peer_rows: dict[str, int] = {}
        self.roles: dict[int, ShardRoles] = {}
        self._kills: set[asyncio.Task[None]] = set()
        self.on_version: Callable[[str], None] = lambda _: None
        """Called with the lowest version of the own region's servers, whenever it is another one."""
        self._versions: dict[str, str] = {}

    # --- configuration --------------------------------------------------------------------------------------

    async def configure(self, generation: Generation, numbers: Numbers) -> None:
        """Puts a generation's servers in force. Servers that stay keep their connections."""
        self.generation = generation
        topology = generation.topology
        self.shard_ids, self.server_ids = numbers.shards, numbers.servers
        self.user_ids, self._peer_rows = numbers.users, numbers.peers
        if not self._rosters and not self._peer_pools:
            # Sized once for all that the page has room for: a reload changes entries, never the tables.
            shape = self._page.shape
            self._relay.configure(shards=shape.shards, users=shape.users, health=list(range(shape.backends)))
        self._forget_missing_shards(generation)
        targets = targets_of(topology, generation.settings.tls.minimum)
        for shard in topology.shards:
            if shard.is_local:
                self._expect(shard, [target for target in targets if target.shard is shard])
            else:
                self._mark_remote(shard)
        await self._watch(generation, targets)

    def _forget_missing_shards(self, generation: Generation) -> None:
        """No way leads to a shard that is not configured any more; its connections go when they fall idle."""
        names = {shard.name for shard in generation.topology.local_shards}
        for name in self._rosters.keys() - names:
            del self._rosters[name]
        kept = set(self.shard_ids)
        for (target, number), pools in list(self._server_pools.items()):
            if number not in kept:
                self.pools.mark_up(target, False)
                for capability_class in range(CLASSES):
                    self._relay.route(number, capability_class, NO_POOL, [])
                del self._server_pools[target, number], pools

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
                self.pools.renew(pool, self._source(shard, server, target.name), shard.settings.limits)
            return
        source = self._source(shard, server, target.name)
        number = self.server_ids[server.index]
        self._server_pools[key] = [
            self.pools.add(source, key[1], capability_class, server=number) for capability_class in range(CLASSES)
        ]
        for pool in self._server_pools[key]:
            self.pools.set_limits(pool, shard.settings.limits)

    def _source(self, shard: Shard, server: Server, name: str) -> Source:
        settings = shard.settings
        assert settings.account is not None
        connector = ServerConnector(
            server, shard.flavour, settings.account, tls_of(settings.tls), self.generation.settings.limits.connect
        )
        return Source(name, self.server_ids[server.index], settings.limits.connections, connector)

    async def _watch(self, generation: Generation, targets: tuple[Target, ...]) -> None:
        settings = generation.settings
        if self._monitor is None:
            self._monitor = Monitor(self._on_health, health=settings.health, positions=_reads_replicas(settings))
        await self._monitor.watch(targets)

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
        self.pools.mark_up(health.target.name, health.state is not State.DOWN)
        if roles.primary != before.primary:
            self._announce(before, roles)
        self._publish(health, roles)
        self._apply(roles)
        if health.facts is not None and self._versions.get(health.target.name) != health.facts.version:
            self._versions[health.target.name] = health.facts.version
            self.on_version(min(self._versions.values(), key=version_number))

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

    def peer_pool(self, user: str, shard: Shard, capability_class: int) -> None:
        """Makes the way for a user's statements to a shard of another region: one pool per user and class."""
        number = self.shard_ids[shard.index]
        key = (user, shard.region.peer, number, capability_class)
        if key in self._peer_pools:
            self._relay.peer_route(self.user_ids[user], number, capability_class, self._peer_pools[key])
            return
        settings = self.generation.settings
        assert settings.peer_tls is not None and shard.region.peer is not None
        tls = settings.peer_tls
        context = client_context(ClientFiles(TlsMode.VERIFY, tls.ca, tls.cert, tls.key))
        assert context is not None
        source = Source(
            f"peer {shard.region.name} for {shard.name} as {user}",
            self._peer_rows[shard.region.name],
            shard.region.peer.connections,
            PeerConnector(shard.region, user, shard.name, shard.flavour, context, settings.limits.connect),
        )
        pool = self.pools.add(source, number, capability_class, server=0xFFFFFFFF, remote=True)
        self._peer_pools[key] = pool
        self._relay.peer_route(self.user_ids[user], number, capability_class, pool)

    def kill_soon(self, server: int, thread: int) -> None:
        """KILL the connection of a statement that nobody waits for any more; best effort, never queued."""
        target = self._target_of(server)
        if target is not None and len(self._kills) < KILLS_AT_ONCE:
            task = asyncio.ensure_future(_kill(target, thread, self.generation.settings.health.timeout))
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


async def _kill(target: Target, thread: int, timeout: float) -> None:
    try:
        connection = await connect(target.endpoint, timeout)
        try:
            await connection.query(f"KILL {thread:d}", timeout)
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


def version_number(version: str) -> int:
    """'10.11.19-MariaDB' -> 101119, as the page keeps it."""
    parts = [int("".join(ch for ch in part if ch.isdigit()) or 0) for part in version.split("-")[0].split(".")[:3]]
    parts += [0] * (3 - len(parts))
    return parts[0] * 10000 + parts[1] * 100 + parts[2]


