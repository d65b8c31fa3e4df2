"""Keys live where their rows live, in Python and in the relay alike."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups.redis_relay import RedisRelay
from config.load import load
from proxy.redis import tables
from router.keys import Key, KeyType
from router.redis.where import Nowhere, Places, build, hash_tag, slot_of
from router.topology import Topology

FILE = Path(__file__).parents[2] / "cases" / "redis_places.yaml"
EU, US = 1 << 40, 2 << 40


@cache
def topology() -> Topology:
    return Topology.build(load(FILE, secrets=False))


@cache
def places() -> Places:
    return build(load(FILE, secrets=False), topology())


@cache
def relay() -> RedisRelay:
    found = RedisRelay(max_clients=4)
    found.patterns(*tables.pattern_rows(places()))
    return found


def expected(key: bytes) -> int:
    """-1: Python decides, or refuses."""
    if key.startswith(b"order-") and places().pattern_of(key) in ("legacy", None):
        return -1
    try:
        return places().shard_of(key)
    except Nowhere:
        return -1


def name_of(key: bytes) -> str:
    return places().shards[places().shard_of(key)].name


def test_a_key_lives_where_its_row_lives():
    customers = topology().keyspaces[0].tables["customers"]
    assert customers.vindex is not None
    for number in (EU + 1, EU + 42, US + 7, US + 99999):
        row = customers.vindex.shard_of([Key(KeyType.INT_UNSIGNED, number.to_bytes(8, "little"))])
        for key in (b"user:%d:profile" % number, b"user:%d" % number, b"user:%d:a:b:c" % number):
            assert places().shard_of(key) == row == relay().shard_of(key)


@pytest.mark.parametrize(
    ("key", "shard"),
    [
        (b"setting:motto", "eu-1"),
        (b"flag:x", "us-0"),
        (b"t:acme:x", "eu-0"),
        (b"t:ACME:x", "eu-0"),
        (b"t:initech", "us-0"),
        (b"e|5|x", "eu-0"),
        (b"e|1999", "us-0"),
        (b"order-eu-%d" % (US + 3), None),
    ],
)
def test_places(key: bytes, shard: str | None):
    assert shard is None or name_of(key) == shard


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (b"user:abc", "its value is none that the table's column holds"),
        (b"user:042", "its value is none"),
        (b"user:-1", "its value is none"),
        (b"user:", "its value is none"),
        (b"user:18446744073709551616", "its value is none"),
        (b"user:%d" % (9 << 40), "no shard holds such values"),
        (b"t:hooli", "no shard holds such values"),
        (b"t:caf\xc3\xa9", "its value is none"),
        (b"e|2000", "no shard holds such values"),
        (b"secret:x", "keys of pattern secret are refused"),
    ],
)
def test_nowhere(key: bytes, why: str):
    with pytest.raises(Nowhere, match=why):
        places().shard_of(key)
    assert relay().shard_of(key) == -1


def test_values_in_keys():
    patterns = {one.name: one for one in places().patterns}
    assert patterns["user"].values(b"user:42:x") == (b"42",)
    assert patterns["user"].values(b"users:42") is None
    assert patterns["address"].values(b"address/DE/5") == (b"DE", b"5")
    assert patterns["address"].values(b"address/DE") is None
    assert patterns["device"].values(b"dev:{a:b}:x") == (b"a:b",)
    assert patterns["device"].values(b"dev:a") is None
    assert patterns["legacy"].values(b"order-eu-12") == (b"12",)
    assert patterns["legacy"].values(b"order-eu-12x") is None


@pytest.mark.parametrize(
    ("key", "slot"),
    [(b"123456789", 12739), (b"foo", 12182), (b"{user1000}.a", 3443), (b"foo{}{bar}", 8363), (b"foo{{bar}}zap", 4015)],
)
def test_hash_slots_are_those_of_redis_cluster(key: bytes, slot: int):
    assert slot_of(key) == slot


def test_hash_tags():
    assert [hash_tag(one) for one in (b"a", b"{}", b"{a}", b"x{a}{b}", b"{{a}}", b"}{a", b"{a")] == [
        None, None, b"a", b"a", b"{a", None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "head"),
    [
        (b"order-[a-z]+", b"order-"),
        (b"ab?c", b"a"),
        (b"ab+c", b"ab"),
        (b"a|b", b""),
        (b"ab*", b"a"),
        (b"(a)", b""),
        (b"a.c", b"a"),
    ],
)
def test_what_an_expression_begins_with(expression: bytes, head: bytes):
    assert tables.literal_head(expression) == head


HEADS = st.sampled_from(
    [
        b"",
        b"order-",
        b"order-eu-",
        b"user:",
        b"address/",
        b"address/DE/",
        b"address/us/",
        b"dev",
        b"dev:{",
        b"e|",
        b"t:",
        b"t:acme",
        b"{",
    ]
)
TAILS = st.one_of(
    st.binary(max_size=20),
    st.integers(-5, 3 << 40).map(lambda one: b"%d" % one),
    st.integers(0, 2**65).map(lambda one: b"%d:x" % one),
    st.text("acmeGLOBX:|/{}0123456789 ", max_size=30).map(str.encode),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(HEADS, TAILS)
def test_the_relay_sends_a_key_where_python_does(head: bytes, tail: bytes):
    key = head + tail
    assert relay().shard_of(key) == expected(key), key
