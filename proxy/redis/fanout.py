"""Commands that concern every server of the region, and how their answers become one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.redis.client import RedisClient
from router.redis.resp import OK, decode, elements, encode, request
from router.redis.table import Command, Level

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

Merge = Callable[[list[bytes], int], bytes]
"""(whole replies, protocol) -> one."""
Servers = list[tuple[int, int]]
"""As `RedisService.servers`."""


async def run(service: RedisService, client: RedisClient, command: Command, arguments: list[bytes]) -> bytes:
    """A shard's error is the answer, with the shard's name behind it unless all say the same. Of keys only what the
    policy shows."""
    if service.guard is not None and command.name in ("dbsize", "randomkey"):
        service.guard.check_counting(client)
    if command.merge == "one":
        return await _random_key(service, client)
    frame = request(*arguments)
    servers = service.servers.all()
    replies = await ask(service, client, servers, frame, writes=command.level >= Level.WRITE)
    if command.merge == "killed":
        return next((one for one in replies if one[:1] == b"+"), replies[0])
    bad = first_error(service, servers, replies)
    if bad is not None:
        return bad
    merged = _MERGES[command.merge](replies, client.protocol)
    return merged if command.name != "keys" else shown(service, client, merged)


def shown(service: RedisService, client: RedisClient, names: bytes) -> bytes:
    """An array or set of keys (or channels) without those that the policy hides from the client."""
    guard = service.guard
    if guard is None:
        return names
    found = [one for one in elements(names) if guard.shows(client, decode(one))]
    return names[:1] + b"%d\r\n" % len(found) + b"".join(found)


async def ask(
    service: RedisService, client: RedisClient, servers: Servers, frame: bytes, *, writes: bool = False
) -> list[bytes]:
    """The reply of each of the servers."""
    calls = [service.servers.call(place, client.protocol, frame, writes=writes) for _, place in servers]
    return [one[0] for one in await asyncio.gather(*calls)]


def first_error(service: RedisService, servers: Servers, replies: list[bytes]) -> bytes | None:
    if len(set(replies)) == 1 and replies[0][:1] == b"-":
        return replies[0]
    for (shard, _), reply in zip(servers, replies, strict=True):
        if reply[:1] == b"-":
            name = service.places.shards[shard].name
            return reply[:-2] + f" (shard {name})".encode() + b"\r\n"
    return None


def _sum(replies: list[bytes], protocol: int) -> bytes:
    return encode(sum(decode(one) for one in replies), protocol)


def _ok(replies: list[bytes], protocol: int) -> bytes:
    return replies[0]


def _concat(replies: list[bytes], protocol: int) -> bytes:
    parts = [item for one in replies for item in elements(one)]
    return replies[0][:1] + b"%d\r\n" % len(parts) + b"".join(parts)


def _and(replies: list[bytes], protocol: int) -> bytes:
    """SCRIPT EXISTS: on every server."""
    return encode([min(column) for column in zip(*(decode(one) for one in replies), strict=True)], protocol)


_MERGES: dict[str, Merge] = {"sum": _sum, "ok": _ok, "concat": _concat, "and": _and}


async def _random_key(service: RedisService, client: RedisClient) -> bytes:
    """Each key of the region is as likely as any other."""
    servers = service.servers.all()
    sizes = await ask(service, client, servers, request("DBSIZE"))
    bad = first_error(service, servers, sizes)
    if bad is not None:
        return bad
    weights = [decode(one) for one in sizes]
    if not any(weights):
        return encode(None, client.protocol)
    _, place = random.choices(servers, weights)[0]
    return (await service.servers.call(place, client.protocol, request("RANDOMKEY")))[0]


async def split(
    service: RedisService, client: RedisClient, command: Command, arguments: list[bytes], homes: list[tuple[int, int]]
) -> bytes:
    """MGET, MSET, DEL … over several shards, where the relay could not place the keys. `homes`: of each key."""
    step = command.keys[0]["find"]["keystep"]
    mine: dict[tuple[int, int], list[bytes]] = {}
    for at, home in enumerate(homes):
        mine.setdefault(home, []).extend(arguments[1 + at * step : 1 + at * step + step])
    for shard, slot in mine:
        place = await service.servers.way(client, service.relay.node(shard, slot))
        if not service.relay.connected(place, client.protocol):
            return service.servers.away(place)
    writes = command.level >= Level.WRITE
    calls = [
        service.servers.call_slot(client, *home, request(arguments[0], *words), writes=writes)
        for home, words in mine.items()
    ]
    replies = dict(zip(mine, [one[0] for one in await asyncio.gather(*calls)], strict=True))
    bad = next((one for one in replies.values() if one[:1] == b"-"), None)
    if bad is not None:
        return bad
    if command.merge == "array":
        items = {home: iter(elements(reply)) for home, reply in replies.items()}
        return b"*%d\r\n" % len(homes) + b"".join(next(items[home]) for home in homes)
    return encode(OK, 2) if command.merge == "ok" else _sum(list(replies.values()), client.protocol)
