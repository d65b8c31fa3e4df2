"""`hash`: xxh64 of the key -> one of 4,096 buckets -> shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config.settings import HashVindex
from router.keys import Key, KeyColumn
from router.vindexes.registry import Place
from router.vindexes.vindex import (
    Vindex,
    VindexKind,
    VindexTables,
    bucket_of,
    even_buckets,
    explicit_buckets,
    limits_of,
    packed,
    types_of,
)


class Hash(Vindex):
    """Takes any key type. Ranges of keys are spread over all shards."""

    kind = VindexKind.HASH
    function = "hash"

    def __init__(self, name: str, buckets: Sequence[int]) -> None:
        """`buckets`: the shard index of each of the 4,096 buckets."""
        super().__init__(name, buckets)
        self.buckets = tuple(buckets)

    def shard_of(self, keys: Sequence[Key]) -> int:
        return self.buckets[bucket_of(keys[0].data)]

    def tables(self, columns: Sequence[KeyColumn]) -> VindexTables:
        self.check(columns)
        return VindexTables(self.kind, types_of(columns), limits_of(columns), maps=(packed(self.buckets),))

    def bucket_maps(self) -> Mapping[str, tuple[int, ...]]:
        return {"": self.buckets}

    def describe(self, keys: Sequence[Key]) -> str:
        return f"bucket {bucket_of(keys[0].data)}"


def build(name: str, settings: HashVindex, place: Place) -> Hash:
    if not settings.buckets:
        return Hash(name, even_buckets(list(place.shards.values())))
    return Hash(
        name,
        explicit_buckets({place.shards[shard]: given.ranges for shard, given in settings.buckets.items()}),
    )
