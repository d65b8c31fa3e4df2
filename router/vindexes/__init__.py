"""Sharding functions: one per file, registered here by the name that a configuration uses."""

from router.vindexes import hash, list, range, region_bits, region_hash
from router.vindexes.registry import register

register("hash", hash.build)
register("range", range.build)
register("list", list.build)
register("region_bits", region_bits.build)
register("region_hash", region_hash.build)
