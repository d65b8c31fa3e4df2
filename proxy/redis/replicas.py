"""The servers of the region's shards that have replicas: how fresh each is, and who is the primary.

Where sentinels watch over a shard, they say who its servers are; else the servers are asked themselves.
Every look asks the primary first and the replicas then, so that a replica which is as far as the primary was has
every write that was answered before the look began. Nothing else counts as freshness.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.checks.redis import MAX_REPLICAS
from config.settings import RedisAddress, RedisServer
from config.words import Consistency
from proxy.redis.links import Backing
from proxy.redis.sentinels import Sentinels
from proxy.redis.wire import Private
from router.redis.replication import Positions, Role, primary_of
from router.redis.resp import NotResp, decode, request
from router.topology import Shard

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

log = logging.getLogger(__name__)

INTERVAL = 0.2
"""Seconds between looks where replicas are read."""
SLOWLY = 1.0
"""Where they are only there to be promoted."""
INFO = request("INFO", "replication")


@dataclass(slots=True)
class Group:
    """A shard's servers, `addresses`. `primary`: who is it now; None until a sentinel says so. `places`: the relay's
    numbers, of every server but of it read. `asked`: when the sentinels were."""

    shard: str
    server: RedisServer
    primary: RedisAddress | None
    addresses: tuple[RedisAddress, ...]
    sentinels: Sentinels | None = None
    asked: float = 0.0
    places: dict[RedisAddress, int] = field(default_factory=dict)
    positions: Positions = field(default_factory=Positions)
    wires: dict[RedisAddress, Private] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    doubtful: bool = False

    @property
    def others(self) -> list[RedisAddress]:
        return [one for one in self.addresses if one != self.primary]

    def at(self, address: RedisAddress) -> RedisServer:
        """The settings for this one of the servers."""
        return dataclasses.replace(self.server, primary=address, replicas=(), sentinel=None)


class Replicas:
    """One worker's watch over them."""

    def __init__(self, service: RedisService) -> None:
        self._service = service
        self._groups: dict[str, Group] = {}
        self._interval = SLOWLY

    # --- configuration ----------------------------------------------------------------------------------------

    def prepare(self, shards: dict[int, Shard]) -> None:
        """Which servers there are. A primary that was followed stays it while its shard's servers are the same."""
        wanted = {one.name: one.settings.redis for one in shards.values()}
        for name in [name for name, group in self._groups.items() if group.server != wanted.get(name)]:
            self._drop(self._groups.pop(name))
        for name, server in wanted.items():
            if server is not None and (server.replicas or server.sentinel) and name not in self._groups:
                self._groups[name] = self._group(name, server)
        self._interval = INTERVAL if self._are_read() else SLOWLY

    def _group(self, name: str, server: RedisServer) -> Group:
        own = (server.primary,) if server.primary is not None else ()
        group = Group(name, server, server.primary, (*own, *server.replicas))
        if server.sentinel is not None:
            timeout = self._service.generation.settings.health.timeout
            group.sentinels = Sentinels(server, server.sentinel, timeout, group.wake.set)
        return group

    def _are_read(self) -> bool:
        settings = self._service.generation.settings
        levels = [user.consistency for user in settings.users.values()]
        levels += [getattr(listener, "consistency", None) for listener in settings.listeners.values()]
        return any(level not in (None, Consistency.PRIMARY) for level in levels)

    def backings(self, shards: dict[int, Shard]) -> dict[int, Backing]:
        """Every place that is to be connected to: the shards' primaries, and the replicas."""
        found: dict[int, Backing] = {}
        for index, shard in shards.items():
            group = self._groups.get(shard.name)
            if group is not None:
                if group.primary is not None:
                    found[index] = Backing(shard.name, group.at(group.primary), group.sentinels is not None)
                for address, place in group.places.items():
                    found[place] = Backing(f"{shard.name}, at {address}", group.at(address))
            elif shard.settings.redis is not None and shard.settings.redis.primary is not None:
                found[index] = Backing(shard.name, shard.settings.redis)
        return found

    def tell(self, shards: dict[int, Shard]) -> None:
        """The relay gets the replicas' places, and watching begins."""
        for index, shard in shards.items():
            group = self._groups.get(shard.name)
            if group is None:
                continue
            self._give_places(group)
            self._service.relay.replicas(index, list(group.places.values()))
            if group.task is None:
                group.task = asyncio.ensure_future(self._watch(group))

    def _give_places(self, group: Group) -> None:
        """A place for each server that is not the primary. Raises RelayFull."""
        relay = self._service.relay
        for address in [one for one in group.places if one not in group.others]:
            relay.way_drop(group.places.pop(address))
        for address in [one for one in group.wires if one not in group.addresses]:
            group.wires.pop(address).close()
        for address in group.others:
            if address not in group.places:
                line = f"-MASTERDOWN a replica of shard {group.shard} cannot be reached; nothing was sent to it\r\n"
                group.places[address] = relay.way_add(line.encode(), group.server.deadline, False)

    def _drop(self, group: Group) -> None:
        if group.task is not None:
            group.task.cancel()
        if group.sentinels is not None:
            group.sentinels.close()
        for wire in group.wires.values():
            wire.close()
        for place in group.places.values():
            self._service.relay.way_drop(place)

    async def close(self) -> None:
        for group in self._groups.values():
            self._drop(group)
        tasks = [group.task for group in self._groups.values() if group.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- watching ---------------------------------------------------------------------------------------------

    async def _watch(self, group: Group) -> None:
        while True:
            woken = group.wake.is_set()
            group.wake.clear()
            try:
                await self._look(group, woken)
            except Exception:
                log.exception("looking at the redis servers of shard %s", group.shard)
            try:
                async with asyncio.timeout(self._interval):
                    await group.wake.wait()
            except TimeoutError:
                pass

    async def _look(self, group: Group, woken: bool) -> None:
        if group.sentinels is not None and (woken or time.monotonic() - group.asked > SLOWLY):
            group.asked = time.monotonic()
            await self._ask_sentinels(group, group.sentinels)
        if group.primary is None:
            return
        began = time.monotonic()
        own = await self._role(group, group.primary)
        others = group.others
        found = await asyncio.gather(*(self._role(group, one) for one in others))
        roles: dict[str, Role | None] = {str(group.primary): own}
        roles |= {str(one): role for one, role in zip(others, found, strict=True)}
        if own is not None and own.primary:
            group.positions.add(began, own)
        for address, role in zip(others, found, strict=True):
            fresh = group.positions.fresh(role) if role is not None else 0.0
            self._service.relay.fresh(group.places[address], fresh)
        self._doubt(group, roles)
        if group.sentinels is not None:
            return
        name = primary_of(str(group.primary), roles, [str(one) for one in group.addresses])
        if name != str(group.primary):
            self._follow(group, next(one for one in group.addresses if str(one) == name))

    async def _ask_sentinels(self, group: Group, sentinels: Sentinels) -> None:
        word = await sentinels.ask()
        if word is None:
            return
        primary = RedisAddress(*word.primary)
        others = [one for one in (RedisAddress(*host) for host in word.replicas) if one != primary]
        before, group.addresses = group.addresses, (primary, *others[:MAX_REPLICAS])
        if primary != group.primary:
            self._follow(group, primary)
        elif before != group.addresses:
            self._service.connect()

    def _doubt(self, group: Group, roles: dict[str, Role | None]) -> None:
        """Told once: writes that others send to the second one are not seen here."""
        primaries = [name for name, role in roles.items() if role is not None and role.primary]
        if len(primaries) > 1 and not group.doubtful:
            log.warning("redis of shard %s: %s all take writes", group.shard, " and ".join(primaries))
        group.doubtful = len(primaries) > 1

    def look_again(self) -> None:
        """Whose primary has refused a write as a replica does, or is lost, is looked at now."""
        relay = self._service.relay
        for index, shard in enumerate(self._service.places.shards):
            group = self._groups.get(shard.name)
            if group is None:
                continue
            lost = group.sentinels is not None and not relay.connected(index, 2)
            if relay.refused_writes(index) or lost:
                group.wake.set()

    def _follow(self, group: Group, address: RedisAddress) -> None:
        if group.primary is not None:
            log.warning("redis of shard %s: the primary is %s now, no longer %s", group.shard, address, group.primary)
        group.primary, group.positions = address, Positions()
        for place in group.places.values():
            self._service.relay.fresh(place, 0.0)
        self._service.connect()

    async def _role(self, group: Group, address: RedisAddress) -> Role | None:
        """What the server says; None without an answer."""
        health = self._service.generation.settings.health
        try:
            async with asyncio.timeout(health.timeout):
                wire = group.wires.get(address)
                if wire is None or not wire.alive:
                    wire = group.wires[address] = await Private.open(group.at(address), 2, health.timeout)
                (reply,) = await wire.ask(INFO)
            return Role.of(decode(reply).decode())
        except (OSError, TimeoutError, NotResp, KeyError, ValueError, AttributeError) as error:
            log.debug("redis %s of shard %s: %r", address, group.shard, error)
            return None
