"""SCAN over the servers of the region, one behind the other, with a cursor that says which one it is at.

A cursor is ((the server's own cursor * shards + place) << 8) | mark, decimal; the mark is of the list of shards, so
that a cursor of another topology is refused instead of skipping keys.
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
    spread = service.places.spread
    mark = zlib.crc32(b"\0".join(service.places.shards[one].name.encode() for one in spread)) & (1 << MARK_BITS) - 1
    try:
        raw, place = parted(arguments[1], len(spread), mark)
    except Refused as refused:
        return encode(Error(refused.text), client.protocol)
    frame = request(arguments[0], raw, *arguments[2:])
    reply = (await service.call(spread[place], client.protocol, frame))[0]
    if reply[:1] == b"-":
        return reply
    cursor, keys = elements(reply)
    keys = shown(service, client, keys)
    following = joined(int(decode(cursor)), place, len(spread), mark)
    return b"*2\r\n" + encode(following, client.protocol) + keys


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
