"""Which shard a row belongs to, for loading rows past the proxy, straight into the servers.

Written from the published definition (docs/sharding.md) and not with the router's code: rows placed by one
and read back through the other are a test of both.
"""

from collections.abc import Callable, Sequence

import xxhash

BUCKETS = 4096


def bucket_of(key: int) -> int:
    """xxh64 (seed 0) of the signed 64-bit little-endian key; its top 12 bits."""
    return xxhash.xxh64_intdigest(key.to_bytes(8, "little", signed=True)) >> 52


def shard_of(shards: Sequence[str]) -> Callable[[int], str]:
    """The default map: the buckets in even, contiguous runs over the shards in order."""
    names = list(shards)
    return lambda key: names[bucket_of(key) * len(names) // BUCKETS]
