"""`range`: whole numbers in rising ranges -> shard."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from config.settings import RangeVindex
from router.keys import INT64_HIGH, INT64_LOW, UINT64_HIGH, Key, KeyColumn, KeyType
from router.vindexes.registry import Place
from router.vindexes.vindex import (
    NO_SHARD,
    Unmapped,
    Vindex,
    VindexKind,
    VindexTables,
    limits_of,
    types_of,
)


class Range(Vindex):
    """Takes whole-number columns. The only function that lets BETWEEN leave shards out."""

    kind = VindexKind.RANGE
    function = "range"
    ordered = True
    integers_only = True

    def __init__(self, name: str, bounds: Sequence[int], bound_shards: Sequence[int]) -> None:
        """`bounds`: rising exclusive upper ends; `bound_shards`: one more, NO_SHARD where refused."""
        super().__init__(name, [shard for shard in bound_shards if shard != NO_SHARD])
        self.bounds = tuple(bounds)
        self.bound_shards = tuple(bound_shards)

    def shard_of(self, keys: Sequence[Key]) -> int:
        shard = self.bound_shards[bisect_right(self.bounds, keys[0].number)]
        if shard == NO_SHARD:
            raise Unmapped("no range of the vindex holds this key")
        return shard

    def shards_of_range(self, low: int | None, high: int | None) -> frozenset[int]:
        if low is not None and high is not None and low > high:
            return frozenset()
        first = 0 if low is None else bisect_right(self.bounds, low)
        last = len(self.bounds) if high is None else bisect_right(self.bounds, high)
        return frozenset(self.bound_shards[first : last + 1]) - {NO_SHARD}

    def tables(self, columns: Sequence[KeyColumn]) -> VindexTables:
        """Bounds that the column's type cannot reach are left out, so that C compares within one type."""
        self.check(columns)
        low, high = (INT64_LOW, INT64_HIGH) if columns[0].type is KeyType.INT_SIGNED else (0, UINT64_HIGH)
        first = bisect_right(self.bounds, low)
        last = bisect_right(self.bounds, high)
        return VindexTables(
            self.kind,
            types_of(columns),
            limits_of(columns),
            bounds=self.bounds[first:last],
            bound_shards=self.bound_shards[first : last + 1],
        )

    def describe(self, keys: Sequence[Key]) -> str:
        return f"range {bisect_right(self.bounds, keys[0].number)}"


def build(name: str, settings: RangeVindex, place: Place) -> Range:
    bounds = [] if settings.start is None else [settings.start]
    shards = [] if settings.start is None else [NO_SHARD]
    for step in settings.ranges:
        shards.append(place.shards[step.shard])
        if step.below is not None:
            bounds.append(step.below)
    if settings.ranges[-1].below is not None:
        shards.append(NO_SHARD)
    return Range(name, bounds, shards)
