"""What the two region functions share: one bucket map per region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config.settings import Buckets
from router.vindexes.registry import Place
from router.vindexes.vindex import even_buckets, explicit_buckets


class RegionMaps:
    """The regions of a function, in order, each with its 4,096 buckets."""

    def __init__(self, names: Sequence[str], maps: Sequence[Sequence[int]]) -> None:
        self.names = tuple(names)
        self.maps = tuple(tuple(buckets) for buckets in maps)

    def shards(self) -> list[int]:
        return [shard for buckets in self.maps for shard in set(buckets)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RegionMaps) and (self.names, self.maps) == (other.names, other.maps)

    def __hash__(self) -> int:
        return hash(self.names)


def region_maps(
    regions: Sequence[str], given: Mapping[str, Mapping[str, Buckets]], place: Place
) -> RegionMaps:
    """Explicit buckets where they are given, an even split over the region's shards elsewhere."""
    return RegionMaps(regions, [_map(region, given.get(region), place) for region in regions])


def _map(region: str, given: Mapping[str, Buckets] | None, place: Place) -> tuple[int, ...]:
    if given is None:
        return even_buckets(place.in_region(region))
    return explicit_buckets({place.shards[shard]: buckets.ranges for shard, buckets in given.items()})
