"""The servers behind the shards: to which place of the relay a request goes, and requests of Fairlead's own."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from _speedups.redis_relay import FIRST_WAY
from proxy.redis import tables
from proxy.redis.client import RedisClient
from proxy.redis.clusters import ASKING
from proxy.redis.wire import Private
from router.redis.where import slot_of

if TYPE_CHECKING:
    from proxy.redis.service import RedisService


class Servers:
    """One worker's. A place is a shard's index, or from FIRST_WAY on a node, a replica, or a way."""

    def __init__(self, service: RedisService) -> None:
        self._service = service
        self._calls: dict[int, asyncio.Future[tuple[bytes, bool]]] = {}

    def away(self, place: int) -> bytes:
        """The error line of a place that no connection leads to."""
        shard = place if place < FIRST_WAY else self._service.clusters.shard_at(place)
        return self._service.ways.line(place) if shard is None else self._service.row_of(shard)[0]

    def all(self) -> list[tuple[int, int]]:
        """(shard, place) of every server of the region that takes writes; of a cluster without a map the shard's."""
        found = ((shard, self._service.clusters.of(shard)) for shard in self._service.places.spread)
        return [
            (shard, place) for shard, cluster in found for place in (cluster and cluster.nodes) or [shard]
        ]

    def home(self, shard: int, key: bytes) -> tuple[int, int]:
        """(shard, slot): keys with the same home may be used by one command. Without a cluster the slot is 0."""
        return shard, slot_of(key) if self._service.clusters.of(shard) is not None else 0

    def any(self, client: RedisClient, shard: int | None = None) -> int:
        """The place of a server of the region (or of its shard) that can be reached, if one can."""
        found = [place for one, place in self.all() if shard in (None, one)]
        return next((one for one in found if self._service.relay.connected(one, client.protocol)), found[0])

    def forward(self, client: RedisClient, shard: int, slot: int | None, writes: bool) -> None:
        """The parked frame to the shard; without a slot to any server of it."""
        if slot is None:
            self._service.relay.forward(client.handle, self.any(client, shard), writes)
        else:
            self._service.relay.forward(client.handle, shard, writes, slot)

    async def way(self, client: RedisClient, shard: int) -> int:
        """The relay's place for the client's requests to a shard of any region; a node's place is it already. Raises
        Refused."""
        if shard >= FIRST_WAY or self._service.places.shards[shard].is_local:
            return shard
        return await self._service.ways.place(client, self._service.places.shards[shard])

    async def borrow(self, client: RedisClient, place: int) -> Private:
        """A connection to the place for the client alone. Raises Refused, OSError, TimeoutError."""
        if place >= FIRST_WAY or self._service.places.shards[place].is_local:
            return await self._service.links.borrow(place, client.protocol)
        return await self._service.ways.private(client, self._service.places.shards[place])

    async def call_slot(
        self, client: RedisClient, shard: int, slot: int, data: bytes, *, writes: bool = False, replies: int = 1
    ) -> list[bytes]:
        """As `call`, of the server that has the slot, and on the client's way to a shard of another region."""

        async def ask(place: int, asking: bool) -> list[bytes]:
            where = await self.way(client, place)
            sent = ASKING + data if asking else data
            found = await self.call(where, client.protocol, sent, writes=writes, replies=replies + asking)
            return found[asking:]

        return await self._service.clusters.settled(shard, slot, ask)

    async def connect_to(self, client: RedisClient, place: int) -> socket.socket:
        """A connection of its own to a place of the relay. Raises Refused, OSError, TimeoutError."""
        shard = self._service.ways.shard_of(place)
        if shard is not None:
            return await self._service.ways.open(client, shard)
        return await self._service.links.open(place, client.protocol)

    async def call(
        self, shard: int, protocol: int, data: bytes, *, writes: bool = False, replies: int = 1
    ) -> list[bytes]:
        """Requests on the shared connection of a place, one behind the other; their replies, or error lines."""
        tokens = self._service.relay.call(shard, protocol, data, writes, replies)
        if tokens is None:
            return [self.away(shard)] * replies
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in tokens]
        self._calls.update(zip(tokens, futures, strict=True))
        found = []
        for future in futures:
            reply, failed = await future
            found.append(reply if reply or not failed else tables.line("ERR a shard's answer is too large"))
        return found

    def answered(self) -> None:
        """Calls may be complete."""
        for token, reply, failed in self._service.relay.answers():
            waiting = self._calls.pop(token, None)
            if waiting is not None and not waiting.done():
                waiting.set_result((reply, failed))
