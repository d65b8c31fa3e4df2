"""What operators see of Redis: metrics, hot keys, slow commands; and what they do not see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.world import World
from router.redis.resp import Error, Simple
from tests.proxy.redis.raw import Raw, raw
from tests.proxy.redis.test_behaviour import eventually

pytestmark = pytest.mark.world(redis=True)
CUSTOMER = f"customer:{region_id('eu', 7)}:name"
EVERYTHING = {"redis": {"observe": {"slow": "0s", "sample": 1}}}
WITH_KEYS = {"redis": {"observe": {"slow": "0s", "sample": 1, "keys": True}}}


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.kept(EVERYTHING)


@pytest.fixture
def client(fairlead: Fairlead) -> Iterator[Raw]:
    one = raw(fairlead)
    eventually(lambda: isinstance(one.ask("DBSIZE"), int))  # a test before this one may have killed servers
    one.ask("SLOWLOG", "RESET")
    yield one
    one.close()


def page(fairlead: Fairlead, path: str) -> Any:
    return json.loads(fairlead.http(path))


def metric(fairlead: Fairlead, name: str) -> dict[str, float]:
    """{labels: value} of one series."""
    lines = [line for line in fairlead.http("/metrics").splitlines() if line.startswith(f"fairlead_{name}")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_commands_are_counted_by_family(fairlead: Fairlead, client: Raw):
    before = metric(fairlead, "redis_requests_total")
    client.many(("SET", "a", 1), ("GET", "a"), ("GET", "b"), ("MGET", *"abcdefgh"), ("NONSENSE",), ("MULTI",))
    client.many(("INCR", "a"), ("GET", "a"), ("EXEC",))
    client.ask("DBSIZE")

    def grown(family: str) -> float:
        name = f'fairlead_redis_requests_total{{family="{family}"}}'
        return metric(fairlead, "redis_requests_total")[name] - before[name]

    counted = {name: grown(name) for name in ("read", "write", "multi_read", "unknown", "transaction", "all_servers")}
    assert counted == {
        "read": 3, "write": 2, "multi_read": 1, "unknown": 1, "transaction": 2, "all_servers": 1
    }  # fmt: skip
    assert metric(fairlead, "redis_splits_total")["fairlead_redis_splits_total"] >= 1


def test_a_shard_s_figures(world: World, fairlead: Fairlead, client: Raw):
    def value(name: str) -> float:
        return sum(metric(fairlead, name).values())

    requests, errors, unsent = (value(f"redis_shard_{one}_total") for one in ("requests", "errors", "unsent"))
    assert client.ask("SET", "a", "x") == Simple("OK")
    assert isinstance(client.ask("INCR", "a"), Error)
    assert value("redis_shard_requests_total") - requests == 2
    assert value("redis_shard_errors_total") - errors == 1
    assert value("redis_shard_bytes_total") > 0 and value("redis_seconds_count") >= 2
    assert all(count == 2 for count in eventually(lambda: metric(fairlead, "redis_shard_connections")).values())
    for server in world.redis.values():
        server.kill()
    eventually(lambda: not any(metric(fairlead, "redis_shard_connections").values()))
    assert client.ask("GET", "a").text.startswith("MASTERDOWN")
    assert value("redis_shard_unsent_total") - unsent == 1
    assert sum(metric(fairlead, "redis_shard_lost_total").values()) >= 2


def test_hot_keys_are_found_and_shown_by_pattern_and_alias(fairlead: Fairlead, client: Raw):
    for _ in range(50):
        client.many(*[("GET", CUSTOMER)] * 20, *(("GET", f"cold{number}") for number in range(10)))
    shards = page(fairlead, "/redis/keys")["shards"]
    [hottest] = [keys[0] for keys in shards.values() if keys and keys[0]["pattern"] == "customer"]
    assert hottest["at_least"] >= 1000 and hottest["share"] > 0.5
    assert hottest["key"].startswith("<customer ") and "7" not in hottest["pattern"]
    assert CUSTOMER not in json.dumps(shards) and "cold1" not in json.dumps(shards)


def test_slow_commands_are_logged_without_keys_and_values(fairlead: Fairlead, client: Raw):
    client.ask("SET", CUSTOMER, "Ada Lovelace")
    client.ask("INCR", CUSTOMER)
    incr, set_ = client.ask("SLOWLOG", "GET", "2")
    assert set_[3][0] == b"SET" and incr[3][0] == b"INCR"
    assert set_[3][1] == incr[3][1] and set_[3][1].startswith(b"<customer ")
    assert set_[3][2] == b"... (1 more arguments)"
    assert incr[0] > set_[0] and set_[2] >= 0 and set_[4] == b"127.0.0.1"
    listed = page(fairlead, "/redis/slow")["commands"]
    assert [one["command"] for one in listed[:2]] == ["incr", "set"]
    assert listed[0]["failed"] and not listed[1]["failed"] and listed[1]["pattern"] == "customer"
    for text in (json.dumps(listed), str(client.ask("SLOWLOG", "GET", "-1"))):
        assert "Ada" not in text and CUSTOMER not in text
    keys = page(fairlead, "/redis/keys?limit=32")["shards"]
    assert listed[1]["key"] in {one["key"] for shard in keys.values() for one in shard}


def test_slowlog_is_bounded_reset_and_for_admins(fairlead: Fairlead, client: Raw):
    for number in range(300):
        client.ask("SET", f"k{number}", number)
    assert 64 <= client.ask("SLOWLOG", "LEN") <= 128
    assert len(client.ask("SLOWLOG", "GET")) == 10
    assert client.ask("SLOWLOG", "RESET") == Simple("OK")
    assert client.ask("SLOWLOG", "LEN") == 0 == len(client.ask("SLOWLOG", "GET"))
    assert "integer" in client.ask("SLOWLOG", "GET", "x").text
    assert "greater than" in client.ask("SLOWLOG", "GET", "-2").text


def test_keys_are_shown_where_that_is_permitted(world: World):
    fairlead = world.kept(WITH_KEYS)
    client = raw(fairlead)
    client.ask("SET", CUSTOMER, "Ada")
    assert client.ask("SLOWLOG", "GET", "1")[0][3][1] == CUSTOMER.encode()
    assert CUSTOMER in json.dumps(page(fairlead, "/redis/keys?limit=32"))
    client.close()
