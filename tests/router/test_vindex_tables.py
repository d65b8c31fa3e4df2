"""The tables for the relay mean what the functions do: two readings of one declaration, on random keys."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import (
    Buckets,
    HashVindex,
    ListVindex,
    RangeStep,
    RangeVindex,
    RegionBitsVindex,
    RegionHashVindex,
)
from router.keys import INT64_HIGH, INT64_LOW, UINT64_HIGH, KeyRefused, key, key_column_of
from router.vindexes import registry
from router.vindexes.registry import Place
from router.vindexes.vindex import NO_SHARD, Unmapped
from tests.oracle import vindex_tables

PLACE = Place(
    shards={"eu-0": 5, "eu-1": 2, "us-0": 9, "us-1": 0},
    homes={"eu-0": "eu", "eu-1": "eu", "us-0": "us", "us-1": "us"},
)
SIGNED = key_column_of("bigint", None)
UNSIGNED = key_column_of("bigint unsigned", None)
TEXT = key_column_of("varchar(20)", "utf8mb4_general_ci")
BYTES = key_column_of("varbinary(20)", None)

INTEGERS = (
    st.integers(INT64_LOW, UINT64_HIGH)
    | st.integers(-20, 320)
    | st.builds(lambda region, low: (region << 40) + low, st.integers(0, 300), st.integers(0, 1000))
)
WORDS = st.sampled_from(["de", "DE ", "fr", "us", "US", "ca", "", "5", "17"]) | st.text(
    "abDEusfr ", max_size=6
)

RANGE = RangeVindex(
    start=-10,
    ranges=(
        RangeStep(below=0, shard="eu-0"),
        RangeStep(below=100, shard="us-0"),
        RangeStep(below=INT64_HIGH, shard="eu-1"),
        RangeStep(below=2**64, shard="us-1"),
    ),
)
OPEN_RANGE = RangeVindex(ranges=(RangeStep(below=50, shard="eu-0"), RangeStep(shard="us-1")))
BITS = RegionBitsVindex(shift=40, bits=8, regions={"eu": (1, 255), "us": (2,)})
TOP_BITS = RegionBitsVindex(
    shift=60, bits=4, regions={"eu": (0, 15)}, buckets={"eu": {"eu-1": Buckets(((0, 4095),))}}
)
COUNTRIES = RegionHashVindex(regions={"eu": ("DE", "FR"), "us": ("us", "5")})


def check(settings_, columns, values):
    vindex = registry.build("v", settings_, PLACE)
    try:
        keys = [key(value, column.type) for value, column in zip(values, columns, strict=True)]
        tables = vindex.tables(columns)
    except (KeyRefused, ValueError):
        return
    try:
        expected = vindex.shard_of(keys)
    except Unmapped:
        expected = NO_SHARD
    assert vindex_tables.shard_of(tables, [one.data for one in keys]) == expected
    assert expected == NO_SHARD or expected in vindex.shards


@pytest.mark.parametrize("column", [SIGNED, UNSIGNED], ids=["signed", "unsigned"])
@pytest.mark.parametrize(
    "function", [HashVindex(), RANGE, OPEN_RANGE, BITS, TOP_BITS], ids=lambda f: f.function
)
@settings(max_examples=150, derandomize=True)
@given(value=INTEGERS)
def test_whole_numbers(function, column, value):
    check(function, [column], [value])


@pytest.mark.parametrize("column", [TEXT, BYTES], ids=["text", "bytes"])
@settings(max_examples=150, derandomize=True)
@given(value=WORDS)
def test_words(column, value):
    check(HashVindex(), [column], [value])
    check(ListVindex(values={"eu-0": ("de", "fr"), "us-1": ("us",)}), [column], [value])


@pytest.mark.parametrize("column", [TEXT, BYTES], ids=["text", "bytes"])
@settings(max_examples=200, derandomize=True)
@given(word=WORDS, number=INTEGERS)
def test_two_columns(column, word, number):
    check(COUNTRIES, [column, SIGNED], [word, number])
    check(COUNTRIES, [column, UNSIGNED], [word, number])


@settings(max_examples=100, derandomize=True)
@given(value=st.integers(-5, 30))
def test_listed_numbers(value):
    check(ListVindex(values={"eu-0": ("1", "05"), "us-1": ("17",)}), [SIGNED], [value])
