"""`region_hash`: a first column names the region, a second is hashed over that region's shards."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from config.settings import RegionHashVindex
from router.keys import Key, KeyColumn, KeyType
from router.vindexes.region import RegionMaps, region_maps
from router.vindexes.registry import Place
from router.vindexes.vindex import (
    RegionKind,
    Unmapped,
    Vindex,
    VindexKind,
    VindexTables,
    bucket_of,
    limits_of,
    packed,
    types_of,
)
from router.vindexes.words import canonical_words


class RegionHash(Vindex):
    """Takes two columns. With the region alone known, only that region's shards are asked."""

    kind = VindexKind.REGION_HASH
    function = "region_hash"
    arity = 2
    cost = 2

    def __init__(self, name: str, words: Mapping[str, int], regions: RegionMaps) -> None:
        """`words`: value of the first column as written in the configuration -> index in `regions`."""
        super().__init__(name, regions.shards())
        self.words = tuple(words.items())
        self.regions = regions

    def shard_of(self, keys: Sequence[Key]) -> int:
        region, key = keys
        return self.regions.maps[self._region(region)][bucket_of(key.data)]

    def tables(self, columns: Sequence[KeyColumn]) -> VindexTables:
        self.check(columns)
        return VindexTables(
            self.kind,
            types_of(columns),
            limits_of(columns),
            region_kind=RegionKind.LIST,
            regions=tuple(canonical_words(self.words, columns[0].type).items()),
            maps=tuple(packed(buckets) for buckets in self.regions.maps),
        )

    def bucket_maps(self) -> Mapping[str, tuple[int, ...]]:
        return dict(zip(self.regions.names, self.regions.maps, strict=True))

    def rules(self) -> Mapping[Hashable, int | str]:
        return {value: self.regions.names[region] for value, region in dict(self.words).items()}

    def describe(self, keys: Sequence[Key]) -> str:
        region, key = keys
        return f"region {self.regions.names[self._region(region)]}, bucket {bucket_of(key.data)}"

    def _shards_of_some(self, keys: Sequence[Key | None]) -> frozenset[int]:
        if keys[0] is None:
            return frozenset(self.shards)
        try:
            return frozenset(self.regions.maps[self._region(keys[0])])
        except Unmapped:
            return frozenset()

    def _region(self, key: Key) -> int:
        region = canonical_words(self.words, key.type).get(key.data)
        if region is None:
            raise Unmapped("the first column's value names no region")
        return region

    def _check_types(self, types: Sequence[KeyType]) -> None:
        canonical_words(self.words, types[0])


def build(name: str, settings: RegionHashVindex, place: Place) -> RegionHash:
    regions = list(settings.regions)
    words = {word: index for index, region in enumerate(regions) for word in settings.regions[region]}
    return RegionHash(name, words, region_maps(regions, settings.buckets, place))
