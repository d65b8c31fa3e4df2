"""Publish and subscribe within the region. A channel's messages pass through one shard, by the channel's hash slot.

A subscribed client has a connection of its own to each shard that it listens at; patterns listen at all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from proxy.redis import fanout
from proxy.redis.client import RedisClient
from proxy.redis.wire import Private
from router.redis.plan import Refused
from router.redis.resp import Error, Push, decode, elements, encode, request
from router.redis.table import Command
from router.redis.where import slot_of

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

MOST = 10_000
"""Channels and patterns of one client."""


def only(command: str) -> str:
    """Redis's text for what a subscribed RESP2 client may not do."""
    return (
        f"ERR Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed "
        "in this context"
    )


def run(
    service: RedisService, client: RedisClient, command: Command, arguments: list[bytes]
) -> bytes | Awaitable[bytes | None] | None:
    name = command.name
    if "subscribe" in name:
        kind = name[: name.index("subscribe")].removesuffix("un")
        if client.subscriptions is None:
            client.subscriptions = Subscriptions(service, client)
        if "un" in name.partition("subscribe")[0]:
            return client.subscriptions.leave(kind, arguments[1:])
        return client.subscriptions.join(kind, arguments[1:])
    if client.collects:
        raise Refused(only(name))
    if name.startswith("pubsub|"):
        return _ask(service, client, name, arguments)
    service.servers.forward(client, service.places.channel_shard(arguments[1]), slot_of(arguments[1]), True)
    return None


async def _ask(service: RedisService, client: RedisClient, name: str, arguments: list[bytes]) -> bytes:
    """PUBSUB CHANNELS, NUMSUB, NUMPAT over the region."""
    servers = service.servers.all()
    replies = await fanout.ask(service, client, servers, request(*arguments))
    bad = fanout.first_error(service, servers, replies)
    if bad is not None:
        return bad
    if name.endswith("channels"):
        found = dict.fromkeys(item for one in replies for item in elements(one))
        return fanout.shown(service, client, b"*%d\r\n" % len(found) + b"".join(found))
    if name.endswith("numpat"):
        return encode(max(decode(one) for one in replies), client.protocol)
    total: list[Any] = []
    columns = zip(*(_flat(decode(one)) for one in replies), strict=True)
    for place, column in enumerate(columns):
        total.append(sum(column) if place % 2 else column[0])
    return encode(total, client.protocol)


def _flat(found: Any) -> list[Any]:
    return [one for pair in found.items() for one in pair] if isinstance(found, dict) else list(found)


class Subscriptions:
    """What one client listens to. `kind`: '' channels, 'p' patterns, 's' sharded channels."""

    def __init__(self, service: RedisService, client: RedisClient) -> None:
        self._service = service
        self._client = client
        self._wires: dict[int, Private] = {}
        self._names: dict[str, dict[bytes, list[int]]] = {"": {}, "p": {}, "s": {}}
        """By kind and name the places where it is listened to."""
        self._confirmed: dict[int, asyncio.Future[bytes]] = {}

    def close(self) -> None:
        for wire in self._wires.values():
            wire.on_push = wire.on_lost = None
            wire.close()
        self._wires.clear()

    def _count(self, kind: str) -> int:
        return len(self._names["s"]) if kind == "s" else len(self._names[""]) + len(self._names["p"])

    def _shards(self, kind: str, name: bytes) -> tuple[int, ...]:
        places = self._service.places
        return places.spread if kind == "p" else (places.channel_shard(name),)

    # --- the client's requests ---------------------------------------------------------------------------------

    async def join(self, kind: str, names: list[bytes]) -> bytes:
        """Confirmations go out one by one, before any message of that channel."""
        relay, client = self._service.relay, self._client
        relay.set_client(client.handle, collect=client.collects)
        for name in names:
            if sum(map(len, self._names.values())) >= MOST:
                return encode(Error("ERR too many subscriptions"), client.protocol)
            if name not in self._names[kind]:
                shards = self._shards(kind, name)
                self._names[kind][name] = [await self._subscribe(shard, kind, name) for shard in shards]
            self._confirm(kind, "subscribe", name)
        return b""

    async def leave(self, kind: str, names: list[bytes]) -> bytes:
        leaving = names or list(self._names[kind])
        for name in leaving:
            if name in self._names[kind]:
                for place in self._names[kind].pop(name):
                    await self._tell(place, kind + "unsubscribe", name)
            self._confirm(kind, "unsubscribe", name)
        if not leaving:
            self._confirm(kind, "unsubscribe", None)
        if not any(self._names.values()):
            self.close()
            self._client.subscriptions = None
            self._service.relay.set_client(self._client.handle, collect=self._client.collects)
        return b""

    def _confirm(self, kind: str, verb: str, name: bytes | None) -> None:
        text = Push(((kind + verb).encode(), name, self._count(kind)))
        self._service.relay.push(self._client.handle, encode(text, self._client.protocol))

    # --- the shards --------------------------------------------------------------------------------------------

    async def _subscribe(self, shard: int, kind: str, name: bytes) -> int:
        """-> the place that listens now; in a cluster, where every node tells of all channels but sharded ones, the
        slot's node. Raises Refused, OSError, TimeoutError."""
        listens = shard

        async def ask(place: int, asking: bool) -> list[bytes]:
            nonlocal listens
            listens = place
            return [await self._tell(place, kind + "subscribe", name)]

        reply = (await self._service.clusters.settled(shard, slot_of(name), ask))[0]
        if reply[:1] == b"-":
            raise Refused(decode(reply).text)
        return listens

    async def _tell(self, place: int, verb: str, name: bytes) -> bytes:
        """What is answered. Raises OSError, TimeoutError."""
        wire = await self._wire(place)
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._confirmed[place] = done
        wire.send(request(verb, name))
        return await done

    async def _wire(self, place: int) -> Private:
        if place not in self._wires:
            wire = await self._service.links.borrow(place, self._client.protocol)
            wire.on_push = lambda reply: self._on_reply(place, reply)
            wire.on_lost = self._on_lost
            self._wires[place] = wire
        return self._wires[place]

    def _on_reply(self, place: int, reply: bytes) -> None:
        lines = reply.split(b"\r\n", 3)
        if reply[:1] == b"-" or (len(lines) > 2 and lines[2].endswith(b"subscribe")):
            waiting = self._confirmed.pop(place, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)
            elif waiting is None:  # the channel's slot has left the node
                self._on_lost()
            return
        self._service.relay.push(self._client.handle, reply)

    def _on_lost(self) -> None:
        """Messages may have been missed; the client learns it as it would from a server."""
        for waiting in self._confirmed.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the connection to a shard's Redis was lost"))
        self._service.relay.close(self._client.handle)
