"""On which shard a row of the world lies."""

import xxhash

from loadtest.world.layout import REGION_CODES, REGION_SHIFT, Shape

BUCKET_BITS = 12


def shard_of_id(shape: Shape, identifier: int) -> str:
    """The shard of a region_bits id: its region's shards split the 4,096 buckets evenly."""
    regions = {code: region for region, code in REGION_CODES.items()}
    shards = shape.shard_names(regions[identifier >> REGION_SHIFT])
    bucket = xxhash.xxh64_intdigest(identifier.to_bytes(8, "little")) >> (64 - BUCKET_BITS)
    return shards[bucket * len(shards) >> BUCKET_BITS]
