"""Where each row of the bazaar belongs, computed from docs/sharding.md alone, without a line of Fairlead's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from tests.differential import bazaar

EU, US = bazaar.SHARDS[:2], bazaar.SHARDS[2:]
HOMES = {1: EU, 2: US}
REGIONS = {"DE": EU, "SE": EU, "US": US}
BELOW = ((0, "eu-0"), (2000, "eu-1"), (2010, "us-0"))


def bucket_of(canonical: bytes) -> int:
    return xxhash.xxh64_intdigest(canonical, 0) >> 52


def by_bucket(canonical: bytes, shards: Sequence[str]) -> str:
    return shards[bucket_of(canonical) * len(shards) // 4096]


def home_of(table: str, row: Sequence[Any]) -> str | None:
    """The shard of a row as SELECT * gives it; None for a table that is not sharded."""
    match table:
        case "buyers" | "purchases":
            return by_bucket(row[0].to_bytes(8, "little", signed=True), HOMES[row[0] >> 40 & 0xFF])
        case "bills":
            return by_bucket(row[1].to_bytes(8, "little", signed=True), HOMES[row[1] >> 40 & 0xFF])
        case "items":
            return by_bucket(row[0].rstrip(" ").encode(), bazaar.SHARDS)
        case "codes":
            return by_bucket(row[0].rstrip(" ").lower().encode(), bazaar.SHARDS)
        case "years":
            return next((shard for below, shard in BELOW if row[0] < below), "us-1")
        case "visits":
            return by_bucket(row[1].to_bytes(8, "little"), REGIONS[row[0]])
    return None


def misplaced(table: str, shards: Mapping[str, Sequence[Sequence[Any]]]) -> list[str]:
    """What rows are on a shard that they do not belong to."""
    homes = [(name, row, home_of(table, row)) for name, rows in shards.items() for row in rows]
    return [f"{table} on {name} instead of {home}: {row!r}" for name, row, home in homes if home not in (None, name)]
