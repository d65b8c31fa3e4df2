"""Routing from the tables of a vindex alone, in plain Python, as the relay does it in C."""

from __future__ import annotations

import struct

import xxhash

HASH, RANGE, LIST, REGION_BITS, REGION_HASH = range(1, 6)
NO_BITS, BITS, LISTED = 0, 1, 2
NO_SHARD = -1
WORD = 2**64 - 1


def shard_of(tables, keys: list[bytes]) -> int:
    """The shard index of canonical keys, or -1 where the tables name none."""
    if tables.kind == HASH:
        return bucket(tables.maps[0], keys[0])
    if tables.kind == RANGE:
        number = int.from_bytes(keys[0], "little", signed=tables.key_types[0] == 1)
        return tables.bound_shards[sum(bound <= number for bound in tables.bounds)]
    if tables.kind == LIST:
        return dict(tables.items).get(keys[0], NO_SHARD)
    region = region_of(tables, keys[0])
    return NO_SHARD if region is None else bucket(tables.maps[region], keys[-1])


def region_of(tables, key: bytes) -> int | None:
    value = (
        key if tables.region_kind == LISTED else int.from_bytes(key, "little") >> tables.shift & tables.mask
    )
    return dict(tables.regions).get(value)


def bucket(buckets: bytes, key: bytes) -> int:
    number = xxhash.xxh64_intdigest(key, 0) >> 52
    return struct.unpack_from("<H", buckets, 2 * number)[0]
