"""What every sharding function is: keys in, shard out, and its tables as plain data for the relay.

A vindex (Vitess's word) is unique: it gives one shard for a complete key. It knows shards by their index in
the topology. It is immutable, needs no socket and no clock, and leaves types alone: keys come canonical.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import xxhash

from router.keys import Key, KeyColumn, KeyRefused, KeyType, is_integer

BUCKET_SHIFT = 52
"""A bucket is the top 12 bits of the 64-bit hash."""

BUCKET_COUNT = 4096
NO_SHARD = -1
"""In tables: no shard holds such keys, refuse."""


class VindexKind(IntEnum):
    """The functions, numbered as the relay's tables number them."""

    HASH = 1
    RANGE = 2
    LIST = 3
    REGION_BITS = 4
    REGION_HASH = 5


class RegionKind(IntEnum):
    """How a function finds the region of a key."""

    NONE = 0
    BITS = 1
    LIST = 2


class Unmapped(KeyRefused):
    """The key is well formed, but no shard is declared to hold it."""


class VindexMismatch(ValueError):
    """A function is used on columns that it cannot take."""


@dataclass(frozen=True, slots=True)
class VindexTables:
    """A function as plain data; what the relay copies into C arrays.

    `key_types`: KeyType of each column, in order. `limits`: what each column can store, (low, high,
    ascii_only) as in `KeyColumn`; an INSERT whose key lies beyond must be parked. `regions`: region value
    (number, or canonical text bytes) -> index into `maps`. `maps`: 4,096 little-endian u16 shard indexes
    each. `bounds`: rising exclusive upper ends within the key type's range; `bound_shards` has one entry
    more, -1 where no shard holds the range. `items`: canonical key -> shard.
    """

    kind: int
    key_types: tuple[int, ...]
    limits: tuple[tuple[int, int, bool], ...]
    region_kind: int = RegionKind.NONE
    shift: int = 0
    mask: int = 0
    regions: tuple[tuple[bytes | int, int], ...] = ()
    maps: tuple[bytes, ...] = ()
    bounds: tuple[int, ...] = ()
    bound_shards: tuple[int, ...] = ()
    items: tuple[tuple[bytes, int], ...] = ()


class Vindex(ABC):
    """One sharding function with its configuration."""

    kind: VindexKind
    function: str
    """The name in the configuration."""

    arity: int = 1
    """How many columns it takes."""

    cost: int = 1
    """Relative cost of computing a shard; a planner with a choice takes the cheapest."""

    unique: bool = True
    """A complete key means one shard. All of today's functions are unique."""

    ordered: bool = False
    """Neighbouring keys lie together, so that BETWEEN can leave shards out."""

    integers_only: bool = False
    """It computes with the key's number."""

    name: str
    """Its name in the keyspace; tables with the same vindex have their rows together."""

    shards: tuple[int, ...]
    """Every shard that a key may lead to, ascending."""

    def __init__(self, name: str, shards: Sequence[int]) -> None:
        self.name = name
        self.shards = tuple(sorted(set(shards)))

    @abstractmethod
    def shard_of(self, keys: Sequence[Key]) -> int:
        """The shard of a complete key. Raises Unmapped when none is declared to hold it."""

    def shards_of(self, keys: Sequence[Key | None]) -> frozenset[int]:
        """The shards that rows may be on when some of the columns are known (None: unknown).

        Unmapped keys give the empty set: no row can have them.
        """
        known = [key for key in keys if key is not None]
        if len(known) < self.arity:
            return self._shards_of_some(keys)
        try:
            return frozenset((self.shard_of(known),))
        except Unmapped:
            return frozenset()

    def shards_of_range(self, low: int | None, high: int | None) -> frozenset[int]:
        """The shards of the whole numbers low..high, inclusive; None is no limit. Widened where unordered."""
        if low is not None and high is not None and low > high:
            return frozenset()
        return frozenset(self.shards)

    def bucket_maps(self) -> Mapping[str, tuple[int, ...]]:
        """Region ('' where regions play no part) -> the shard of each bucket; empty without buckets."""
        return {}

    def rules(self) -> Mapping[Hashable, int | str]:
        """Listed value -> shard, or region's name; empty where nothing is listed."""
        return {}

    def check(self, columns: Sequence[KeyColumn]) -> None:
        """Raises VindexMismatch when the function cannot take columns of these types."""
        if len(columns) != self.arity:
            raise VindexMismatch(f"{self.function} takes {self.arity} column(s), not {len(columns)}")
        self._check_types([column.type for column in columns])

    @abstractmethod
    def tables(self, columns: Sequence[KeyColumn]) -> VindexTables:
        """The function over columns of these types, as plain data. Raises VindexMismatch."""

    @abstractmethod
    def describe(self, keys: Sequence[Key]) -> str:
        """How the key led to its shard, in a few words and without its value: 'bucket 2841'."""

    def _shards_of_some(self, keys: Sequence[Key | None]) -> frozenset[int]:
        return frozenset(self.shards)

    def _check_types(self, types: Sequence[KeyType]) -> None:
        if self.integers_only and not all(is_integer(key_type) for key_type in types):
            raise VindexMismatch(f"{self.function} takes whole-number columns only")

    def __repr__(self) -> str:
        return f"<{self.function} {self.name} over {len(self.shards)} shards>"

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self.__dict__ == other.__dict__)

    def __hash__(self) -> int:
        return hash((type(self), self.name, self.shards))


def hash_of(key: bytes) -> int:
    """xxh64 of the canonical key, seed 0."""
    return xxhash.xxh64_intdigest(key, 0)


def bucket_of(key: bytes) -> int:
    """The bucket, 0 to 4,095, of a canonical key."""
    return hash_of(key) >> BUCKET_SHIFT


def even_buckets(shards: Sequence[int]) -> tuple[int, ...]:
    """All buckets in equal runs, in the order given: bucket i is on the shard at i * len(shards) // 4096."""
    return tuple(shards[bucket * len(shards) // BUCKET_COUNT] for bucket in range(BUCKET_COUNT))


def explicit_buckets(ranges: Mapping[int, Sequence[tuple[int, int]]]) -> tuple[int, ...]:
    """Shard -> inclusive ranges of buckets. Raises ValueError unless every bucket is given exactly once."""
    buckets = [NO_SHARD] * BUCKET_COUNT
    for shard, runs in ranges.items():
        for low, high in runs:
            for bucket in range(low, high + 1):
                if buckets[bucket] != NO_SHARD:
                    raise ValueError(f"bucket {bucket} is given twice")
                buckets[bucket] = shard
    if NO_SHARD in buckets:
        raise ValueError(f"bucket {buckets.index(NO_SHARD)} has no shard")
    return tuple(buckets)


def packed(buckets: Sequence[int]) -> bytes:
    """A bucket map as the relay holds it: 4,096 little-endian u16."""
    data = array("H", buckets)
    if data.itemsize != 2 or len(data) != BUCKET_COUNT:
        raise ValueError("a bucket map holds 4,096 shard indexes below 65,536")
    if array("H", [1]).tobytes() != b"\x01\x00":
        data.byteswap()
    return data.tobytes()


def limits_of(columns: Sequence[KeyColumn]) -> tuple[tuple[int, int, bool], ...]:
    return tuple((column.low, column.high, column.ascii_only) for column in columns)


def types_of(columns: Sequence[KeyColumn]) -> tuple[int, ...]:
    return tuple(int(column.type) for column in columns)
