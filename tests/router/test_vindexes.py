"""Sharding functions: the published vectors, each function's rules, and their tables for the relay."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import (
    VINDEX_ARITY,
    Buckets,
    HashVindex,
    ListVindex,
    RangeStep,
    RangeVindex,
    RegionBitsVindex,
    RegionHashVindex,
    VindexSettings,
)
from router.keys import KeyType, canonical, key, key_column_of
from router.vindexes import registry
from router.vindexes.registry import Place
from router.vindexes.vindex import (
    NO_SHARD,
    RegionKind,
    Unmapped,
    Vindex,
    VindexKind,
    VindexMismatch,
    bucket_of,
    even_buckets,
    explicit_buckets,
    hash_of,
    packed,
)

S, U, CP = KeyType.INT_SIGNED, KeyType.INT_UNSIGNED, KeyType.CI_PAD
BIGINT = key_column_of("bigint", None)
UNSIGNED = key_column_of("bigint unsigned", None)
COUNTRY = key_column_of("char(2)", "utf8mb4_general_ci")
VECTORS = json.loads((Path(__file__).parents[1] / "cases" / "vindex_vectors.json").read_text())
PLACE = Place(
    shards={"eu-0": 0, "eu-1": 1, "us-0": 2, "us-1": 3},
    homes={"eu-0": "eu", "eu-1": "eu", "us-0": "us", "us-1": "us"},
)


def value_of(vector):
    value = vector["value"]
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


def build(given: VindexSettings):
    return registry.build("v", given, PLACE)


def number(value: int, key_type: KeyType = S):
    return key(value, key_type)


# --- published vectors ---


def test_there_are_enough_vectors():
    assert len(VECTORS) >= 60
    assert {vector["type"] for vector in VECTORS} == {one.name for one in KeyType}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['type']}-{v['value']!r:.24}")
def test_vectors(vector):
    data = canonical(value_of(vector), KeyType[vector["type"]])
    assert data.hex() == vector["canonical"]
    assert f"{hash_of(data):016x}" == vector["xxh64"]
    assert bucket_of(data) == vector["bucket"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['type']}-{v['value']!r:.24}")
def test_vectors_in_the_compiled_module(vector):
    hashing = pytest.importorskip("_speedups.hashing")
    data = bytes.fromhex(vector["canonical"])
    assert f"{hashing.xxh64(data):016x}" == vector["xxh64"]
    assert hashing.bucket(data) == vector["bucket"]


@settings(max_examples=300, derandomize=True)
@given(st.binary(max_size=200))
def test_the_compiled_hash_is_the_same(data):
    hashing = pytest.importorskip("_speedups.hashing")
    assert hashing.xxh64(data) == hash_of(data)
    assert hashing.bucket(data) == bucket_of(data)


# --- bucket maps ---


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 64, 1000])
def test_an_even_split_is_even_and_in_runs(count):
    buckets = even_buckets(range(count))
    sizes = [buckets.count(shard) for shard in range(count)]
    assert sorted(buckets) == list(buckets)
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == 4096


def test_two_shards_split_in_the_middle():
    buckets = even_buckets([7, 3])
    assert (buckets[0], buckets[2047], buckets[2048], buckets[4095]) == (7, 7, 3, 3)


def test_explicit_buckets():
    buckets = explicit_buckets({0: [(0, 1023), (3072, 4095)], 1: [(1024, 3071)]})
    assert [buckets[i] for i in (0, 1023, 1024, 3071, 3072, 4095)] == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("ranges", [{0: [(0, 4094)]}, {0: [(0, 2048)], 1: [(2048, 4095)]}])
def test_explicit_buckets_are_complete_and_disjoint(ranges):
    with pytest.raises(ValueError):
        explicit_buckets(ranges)


def test_packed_maps_are_little_endian():
    data = packed([0x0102] * 4096)
    assert len(data) == 8192 and data[:2] == b"\x02\x01"


# --- hash ---


def test_hash_goes_by_bucket():
    vindex = build(HashVindex())
    for value in range(200):
        one = number(value)
        assert vindex.shard_of([one]) == bucket_of(one.data) * 4 // 4096


def test_hash_with_explicit_buckets_and_its_tables():
    vindex = build(HashVindex(buckets={"eu-0": Buckets(((0, 2047),)), "us-1": Buckets(((2048, 4095),))}))
    tables = vindex.tables([BIGINT])
    assert vindex.shards == (0, 3)
    assert (tables.kind, tables.key_types, tables.region_kind) == (VindexKind.HASH, (S,), RegionKind.NONE)
    shards = struct.unpack("<4096H", tables.maps[0])
    assert all(shards[bucket_of(number(v).data)] == vindex.shard_of([number(v)]) for v in range(100))


def test_hash_ranges_are_everywhere():
    vindex = build(HashVindex())
    assert vindex.shards_of_range(1, 2) == {0, 1, 2, 3}
    assert vindex.shards_of_range(2, 1) == frozenset()
    assert vindex.shards_of([None]) == {0, 1, 2, 3}


# --- range ---


def three_ranges(start=None, last=None):
    steps = (
        RangeStep(shard="eu-0", below=100),
        RangeStep(shard="us-0", below=200),
        RangeStep(shard="eu-1", below=last),
    )
    return build(RangeVindex(ranges=steps, start=start))


@pytest.mark.parametrize(("value", "shard"), [(-5, 0), (99, 0), (100, 2), (199, 2), (200, 1), (2**62, 1)])
def test_range(value, shard):
    assert three_ranges().shard_of([number(value)]) == shard


@pytest.mark.parametrize("value", [-1, 300, 2**62])
def test_range_outside_its_ends(value):
    vindex = three_ranges(start=0, last=300)
    with pytest.raises(Unmapped):
        vindex.shard_of([number(value)])
    assert vindex.shards_of([number(value)]) == frozenset()


@pytest.mark.parametrize(
    ("low", "high", "shards"),
    [
        (0, 99, {0}),
        (0, 100, {0, 2}),
        (150, 150, {2}),
        (150, 9999, {2, 1}),
        (None, None, {0, 1, 2}),
        (None, -7, {0}),
        (200, None, {1}),
        (5, 4, set()),
    ],
)
def test_between_leaves_shards_out(low, high, shards):
    assert three_ranges().shards_of_range(low, high) == shards


@settings(max_examples=200, derandomize=True)
@given(st.integers(-50, 350), st.integers(-50, 350))
def test_between_is_the_union_of_its_keys(low, high):
    vindex = three_ranges(start=0, last=300)
    each = [vindex.shards_of([number(value)]) for value in range(low, high + 1)]
    assert vindex.shards_of_range(low, high) == frozenset().union(*each)


def test_range_tables_keep_to_the_columns_type():
    vindex = build(
        RangeVindex(
            start=-10,
            ranges=(
                RangeStep(shard="eu-0", below=0),
                RangeStep(shard="eu-1", below=2**63),
                RangeStep(shard="us-0", below=2**64),
            ),
        )
    )
    signed, unsigned = vindex.tables([BIGINT]), vindex.tables([UNSIGNED])
    assert (signed.bounds, signed.bound_shards) == ((-10, 0), (NO_SHARD, 0, 1))
    assert (unsigned.bounds, unsigned.bound_shards) == ((2**63,), (1, 2))


def test_range_takes_numbers_only():
    with pytest.raises(VindexMismatch):
        three_ranges().check([COUNTRY])


# --- list ---


def test_list_compares_as_the_column_does():
    vindex = build(ListVindex(values={"eu-0": ("DE", "fr"), "us-1": ("US",)}))
    assert vindex.shard_of([key("de", CP)]) == 0
    assert vindex.shard_of([key("FR ", CP)]) == 0
    assert vindex.shard_of([key("us", CP)]) == 3
    with pytest.raises(Unmapped):
        vindex.shard_of([key("us", KeyType.BYTES)])
    assert dict(vindex.tables([COUNTRY]).items) == {b"de": 0, b"fr": 0, b"us": 3}


def test_list_of_numbers():
    vindex = build(ListVindex(values={"eu-0": ("1", "2"), "us-1": ("3",)}))
    assert vindex.shard_of([number(3)]) == 3
    assert dict(vindex.tables([BIGINT]).items)[struct.pack("<q", 1)] == 0


@pytest.mark.parametrize("values", [{"eu-0": ("de",), "us-1": ("DE",)}, {"eu-0": ("dé",)}])
def test_list_words_that_the_column_cannot_tell_apart_or_hold(values):
    with pytest.raises(VindexMismatch):
        build(ListVindex(values=values)).check([COUNTRY])


# --- region functions ---

BITS = RegionBitsVindex(shift=40, bits=8, regions={"eu": (1, 3), "us": (2,)})


@pytest.mark.parametrize(("region", "shards"), [(1, {0, 1}), (3, {0, 1}), (2, {2, 3})])
def test_region_bits(region, shards):
    vindex = build(BITS)
    found = {vindex.shard_of([number((region << 40) + low)]) for low in range(100)}
    assert found == shards


@pytest.mark.parametrize("value", [5, (7 << 40) + 1, -1])
def test_region_bits_of_no_region(value):
    with pytest.raises(Unmapped):
        build(BITS).shard_of([number(value)])


def test_region_bits_of_negative_ids_are_those_of_the_stored_word():
    vindex = build(RegionBitsVindex(shift=56, bits=8, regions={"eu": (255,), "us": (0,)}))
    assert vindex.shard_of([number(-1)]) in (0, 1)
    assert vindex.shard_of([number(2**64 - 1, U)]) == vindex.shard_of([number(-1)])


def test_region_bits_tables():
    tables = build(BITS).tables([UNSIGNED])
    assert (tables.region_kind, tables.shift, tables.mask) == (RegionKind.BITS, 40, 255)
    assert tables.regions == ((1, 0), (3, 0), (2, 1))
    assert set(struct.unpack("<4096H", tables.maps[1])) == {2, 3}


def test_region_bits_with_explicit_buckets():
    buckets = {"us": {"us-1": Buckets(((0, 4095),))}}
    vindex = build(RegionBitsVindex(shift=40, bits=8, regions={"eu": (1,), "us": (2,)}, buckets=buckets))
    assert {vindex.shard_of([number((2 << 40) + low)]) for low in range(50)} == {3}
    assert vindex.shards == (0, 1, 3)


REGION_HASH = RegionHashVindex(regions={"eu": ("DE", "FR"), "us": ("US",)})


def test_region_hash():
    vindex = build(REGION_HASH)
    assert {vindex.shard_of([key("de", CP), number(n)]) for n in range(100)} == {0, 1}
    assert {vindex.shard_of([key("US", CP), number(n)]) for n in range(100)} == {2, 3}
    with pytest.raises(Unmapped):
        vindex.shard_of([key("cn", CP), number(1)])


def test_region_hash_with_one_column_known():
    vindex = build(REGION_HASH)
    assert vindex.shards_of([key("us", CP), None]) == {2, 3}
    assert vindex.shards_of([key("cn", CP), None]) == frozenset()
    assert vindex.shards_of([None, number(1)]) == {0, 1, 2, 3}


def test_region_hash_tables_and_arity():
    vindex = build(REGION_HASH)
    tables = vindex.tables([COUNTRY, BIGINT])
    assert tables.key_types == (CP, S)
    assert dict(tables.regions) == {b"de": 0, b"fr": 0, b"us": 1}
    assert tables.limits == ((0, 2, False), (-(2**63), 2**63 - 1, False))
    with pytest.raises(VindexMismatch):
        vindex.check([COUNTRY])


# --- registry ---


def test_every_function_of_the_configuration_is_registered():
    assert set(registry.functions()) == set(VINDEX_ARITY)
    for one in (HashVindex(), three_ranges(), ListVindex(values={"eu-0": ("a",)}), BITS, REGION_HASH):
        vindex = one if isinstance(one, Vindex) else build(one)
        assert vindex.arity == VINDEX_ARITY[vindex.function]
        assert vindex.kind.name.lower() == vindex.function


def test_registering_twice_fails():
    with pytest.raises(ValueError, match="already registered"):
        registry.register("hash", lambda name, settings, place: build(HashVindex()))


def test_equal_settings_give_equal_functions():
    assert build(BITS) == build(BITS)
    assert build(BITS) != build(REGION_HASH)
    assert len({build(BITS), build(BITS)}) == 1


def test_how_a_key_was_routed_is_told_without_its_value():
    text = build(BITS).describe([number((2 << 40) + 77)])
    assert text.startswith("region us, bucket ") and "77" not in text.split("bucket")[0]


# --- the manual ---

MANUAL = (Path(__file__).parents[2] / "docs" / "sharding.md").read_text()


def test_the_manual_shows_vectors_of_the_file():
    rows = re.findall(r"^\| ([A-Z_]+) \| `(.*)` \| `(.*)` \| `(.*)` \| (\d+) \|$", MANUAL, re.MULTILINE)
    assert len(rows) >= 10
    for kind, value, data, digest, bucket in rows:
        expected = {
            "type": kind,
            "value": json.loads(value),
            "canonical": data,
            "xxh64": digest,
            "bucket": int(bucket),
        }
        assert expected in VECTORS


def test_the_manual_names_every_function():
    assert all(f"| `{function}` |" in MANUAL for function in registry.functions())
