"""On which shard a row of the world lies, by the project's own sharding function."""

import functools

from config.settings import RegionBitsVindex
from loadtest.world.layout import REGION_BITS, REGION_CODES, REGION_SHIFT, Shape
from router.keys import KeyType, key
from router.vindexes import registry
from router.vindexes.registry import Place
from router.vindexes.vindex import Vindex


def shard_of_id(shape: Shape, identifier: int) -> str:
    """The shard of a region_bits id."""
    return shape.all_shards()[_vindex(shape).shard_of([key(identifier, KeyType.INT_SIGNED)])]


@functools.lru_cache(maxsize=8)
def _vindex(shape: Shape) -> Vindex:
    settings = RegionBitsVindex(
        shift=REGION_SHIFT,
        bits=REGION_BITS,
        regions={region: (REGION_CODES[region],) for region in shape.regions},
    )
    homes = {name: region for region in shape.regions for name in shape.shard_names(region)}
    place = Place(shards={name: index for index, name in enumerate(homes)}, homes=homes)
    return registry.build("by_home", settings, place)
