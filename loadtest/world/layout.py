"""How big a world is: regions, shards, replicas, and which server software."""

from dataclasses import dataclass, field

from loadtest.world.sqlserver import Tuning

REGION_CODES = {"eu": 1, "us": 2, "ap": 3}
"""The number in an id's region bits, by region (docs: the `region_bits` sharding function)."""
REGION_SHIFT = 40
REGION_BITS = 8
"""Ids are region << 40 | n: at most 48 bits, so that a JavaScript number (53 bits) holds them exactly."""


@dataclass(frozen=True)
class Shape:
    """Every region has `shards` shards, each with one primary and `replicas` read replicas.

    `redis`: a Redis server beside each shard too, and a Redis listener of each Fairlead.
    """

    regions: tuple[str, ...] = ("eu", "us")
    shards: int = 2
    replicas: int = 1
    flavour: str = "mariadb"
    tuning: Tuning = field(default_factory=Tuning)
    redis: bool = False

    def shard_names(self, region: str) -> list[str]:
        return [f"{region}-{number}" for number in range(self.shards)]

    def all_shards(self) -> list[str]:
        return [name for region in self.regions for name in self.shard_names(region)]


SMALL = Shape(regions=("eu",), replicas=0)
"""One region, two shards, no replicas: what most tests need, up in half a second."""
FULL = Shape()
"""Two regions of two shards with a replica each: the demo's world, eight servers."""


@dataclass(frozen=True)
class RegionPorts:
    """Where one region's Fairlead listens."""

    mysql: int
    peer: int
    http: int
    redis: int = 0
    admin: int = 0


def region_id(region: str, number: int) -> int:
    """The id of the `number`th row whose home is `region`."""
    return REGION_CODES[region] << REGION_SHIFT | number
