"""`region_bits`: bits of a whole-number id name the region; the whole id is hashed over its shards."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from config.settings import RegionBitsVindex
from router.keys import UINT64_HIGH, Key, KeyColumn
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


class RegionBits(Vindex):
    """Takes one whole-number column; the id alone says where the row lives, in SQL as in a log line."""

    kind = VindexKind.REGION_BITS
    function = "region_bits"
    integers_only = True

    def __init__(
        self, name: str, shift: int, bits: int, numbers: Mapping[int, int], regions: RegionMaps
    ) -> None:
        """`numbers`: number in the bits -> index of the region in `regions`."""
        super().__init__(name, regions.shards())
        self.shift = shift
        self.mask = (1 << bits) - 1
        self.numbers = dict(numbers)
        self.regions = regions

    def shard_of(self, keys: Sequence[Key]) -> int:
        return self.regions.maps[self._region(keys[0])][bucket_of(keys[0].data)]

    def tables(self, columns: Sequence[KeyColumn]) -> VindexTables:
        self.check(columns)
        return VindexTables(
            self.kind,
            types_of(columns),
            limits_of(columns),
            region_kind=RegionKind.BITS,
            shift=self.shift,
            mask=self.mask,
            regions=tuple(self.numbers.items()),
            maps=tuple(packed(buckets) for buckets in self.regions.maps),
        )

    def bucket_maps(self) -> Mapping[str, tuple[int, ...]]:
        return dict(zip(self.regions.names, self.regions.maps, strict=True))

    def rules(self) -> Mapping[Hashable, int | str]:
        """The position of the bits is part of the rule."""
        return {
            (self.shift, self.mask, number): self.regions.names[region]
            for number, region in self.numbers.items()
        }

    def describe(self, keys: Sequence[Key]) -> str:
        return f"region {self.regions.names[self._region(keys[0])]}, bucket {bucket_of(keys[0].data)}"

    def _region(self, key: Key) -> int:
        region = self.numbers.get(((key.number & UINT64_HIGH) >> self.shift) & self.mask)
        if region is None:
            raise Unmapped("the region bits of this key name no region")
        return region


def build(name: str, settings: RegionBitsVindex, place: Place) -> RegionBits:
    regions = list(settings.regions)
    numbers = {number: index for index, region in enumerate(regions) for number in settings.regions[region]}
    maps = region_maps(regions, settings.buckets, place)
    return RegionBits(name, settings.shift, settings.bits, numbers, maps)
