"""SCAN over the servers of the region, one behind the other, with a cursor that says which one it is at.

A cursor is ((the server's own cursor * servers + place) << 8) | mark, decimal; the mark is of the list of shards and
of the clusters' maps, so that a cursor of another topology is refused instead of skipping keys.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from proxy.redis.client import RedisClient
from proxy.redis.fanout import shown
from router.redis import errors
from router.redis.plan import Refused
from router.redis.resp import Error, decode, elements, encode, request
from router.redis.table import Command

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

MARK_BITS = 8


async def run(service: RedisService, client: RedisClient, command: Command, arguments: list[bytes]) -> bytes:
    servers = service.servers.all()
    mark = _mark(service)
    try:
        raw, place = parted(arguments[1], len(servers), mark)
    except Refused as refused:
        return encode(Error(refused.text), client.protocol)
    frame = request(arguments[0], raw, *arguments[2:])
    reply = (await service.servers.call(servers[place][1], client.protocol, frame))[0]
    if reply[:1] == b"-":
        return reply
    cursor, keys = elements(reply)
    keys = shown(service, client, keys)
    following = joined(int(decode(cursor)), place, len(servers), mark)
    return b"*2\r\n" + encode(following, client.protocol) + keys


def _mark(service: RedisService) -> int:
    """Of the shards and, in clusters, of who has which slots."""
    words = [service.places.shards[one].name for one in service.places.spread]
    clusters = (service.clusters.of(one) for one in service.places.spread)
    words += [str(one.map.mark) for one in clusters if one is not None and one.map is not None]
    return zlib.crc32("\0".join(words).encode()) & (1 << MARK_BITS) - 1


def parted(cursor: bytes, shards: int, mark: int) -> tuple[int, int]:
    """-> (the server's cursor, which of the shards). Raises Refused."""
    if not cursor.isdigit() or len(cursor) > 20:
        raise Refused(errors.BAD_CURSOR)
    number = int(cursor)
    if number == 0:
        return 0, 0
    if number & (1 << MARK_BITS) - 1 != mark:
        raise Refused(errors.BAD_CURSOR)
    return divmod(number >> MARK_BITS, shards)


def joined(raw: int, place: int, shards: int, mark: int) -> bytes:
    """The cursor to go on with; 0 behind the last shard."""
    if raw == 0:
        place += 1
        if place == shards:
            return b"0"
    return b"%d" % ((raw * shards + place) << MARK_BITS | mark)
