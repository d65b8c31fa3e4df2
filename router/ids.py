"""The ids that Fairlead gives to an AUTO_INCREMENT column, as the topology has them.

A *sequence* is a row of the table `fairlead_sequences` in the keyspace's database on one shard. What is counted there
is below `room`; the id is `base` + the count. With `region_bits` the base is the region's number, shifted to where the
vindex looks for it, so that ids of two regions are never the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from config.settings import BlockIds, IdSettings, RegionBitsVindex, ShardSettings, VindexSettings
from config.words import ExplicitIds

LARGEST = 2**63 - 1
TABLE = "fairlead_sequences"
DEFINITION = (
    f"CREATE TABLE {TABLE} (name VARBINARY(255) NOT NULL PRIMARY KEY, next_id BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB"
)


@dataclass(frozen=True, slots=True)
class Sequence:
    """`shard`: where it is counted, by name. `base` is added to every count, which is 1 to `room` - 1."""

    shard: str
    base: int = 0
    room: int = LARGEST


@dataclass(frozen=True, slots=True)
class Ids:
    """`sequences`: region -> the one that its Fairlead counts on. `explicit`: values of the application's own pass."""

    column: str
    sequences: Mapping[str, Sequence]
    size: int
    explicit: bool


def ids_of(
    given: IdSettings | None, vindexes: Mapping[str, VindexSettings], shards: Mapping[str, ShardSettings]
) -> Ids | None:
    """Of settings that were checked."""
    if given is None:
        return None
    if isinstance(given, BlockIds):
        sequences = {shards[given.on].region: Sequence(given.on)}
    else:
        layout = vindexes[given.vindex]
        assert isinstance(layout, RegionBitsVindex)
        sequences = {
            region: Sequence(shard, layout.regions[region][0] << layout.shift, 1 << layout.shift)
            for region, shard in given.on.items()
        }
    explicit = given.explicit is ExplicitIds.ALLOW
    return Ids(given.column, MappingProxyType(sequences), given.size, explicit)
