"""A shard that is a whole Redis Cluster: slots that move, nodes that die, commands over several slots."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from loadtest.world.configuration import merge
from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.redis_cluster import RedisCluster, slot_of
from loadtest.world.world import World
from router.redis.resp import Error, Push, Simple, decode
from tests.proxy.redis.raw import Raw, raw
from tests.proxy.redis.test_behaviour import eventually, text
from tests.proxy.redis.test_clients import CALLS

pytestmark = pytest.mark.world(redis=True, shards=1)
KEYS = [f"k{number}" for number in range(60)]


@pytest.fixture(scope="module")
def running() -> Iterator[list[tuple[RedisCluster, Fairlead]]]:
    """Made by the first test, as it needs the world."""
    made: list[tuple[RedisCluster, Fairlead]] = []
    yield made
    for cluster, _ in made:
        cluster.stop()


@pytest.fixture
def cluster(world: World, running: list[tuple[RedisCluster, Fairlead]]) -> Iterator[RedisCluster]:
    if not running:
        found = RedisCluster(world.directory, world.reserve_ports(8), replicas=1)
        found.start()
        running.append((found, world.kept({"shards": {"eu-0": {"redis": redis_of(found)}}})))
    yield running[0][0]
    running[0][0].empty()


def redis_of(cluster: RedisCluster) -> dict[str, Any]:
    """Only one of the nodes is named."""
    return {"primary": None, "cluster": [f"127.0.0.1:{cluster.primaries[1].port}"], "deadline": "1s"}


@pytest.fixture
def fairlead(cluster: RedisCluster, running: list[tuple[RedisCluster, Fairlead]]) -> Fairlead:
    return running[0][1]


@pytest.fixture
def client(fairlead: Fairlead) -> Iterator[Raw]:
    found = raw(fairlead)
    yield found
    found.close()


def sizes(cluster: RedisCluster) -> list[int]:
    return [int(node.ask("DBSIZE")[1:-2]) for node in cluster.primaries]


# --- commands -----------------------------------------------------------------------------------------------


def test_keys_are_spread_and_found_again(cluster: RedisCluster, client: Raw):
    assert client.many(*[("SET", key, key) for key in KEYS]) == [Simple("OK")] * len(KEYS)
    assert sum(sizes(cluster)) == len(KEYS) and min(sizes(cluster)) > 5
    assert client.many(*[("GET", key) for key in KEYS]) == [key.encode() for key in KEYS]
    assert client.ask("MGET", *KEYS, "none", "k5") == [key.encode() for key in KEYS] + [None, b"k5"]
    assert client.ask("MSET", *(word for key in KEYS for word in (key, key + "!"))) == Simple("OK")
    assert client.ask("MGET", *reversed(KEYS)) == [key.encode() + b"!" for key in reversed(KEYS)]
    assert client.ask("EXISTS", *KEYS, "k1", "none") == len(KEYS) + 1
    assert client.ask("DEL", *KEYS[:50], "none") == 50
    assert client.ask("DBSIZE") == 10 == len(client.ask("KEYS", "*"))
    assert client.ask("RANDOMKEY").decode() in KEYS
    assert client.ask("FLUSHDB") == Simple("OK")
    assert sizes(cluster) == [0, 0, 0]


def test_large_values(client: Raw):
    big = b"x" * 300_000
    for key in KEYS[:8]:
        assert client.many(("SET", key, big), ("STRLEN", key), ("GET", key)) == [Simple("OK"), len(big), big]


def test_keys_that_only_python_places(client: Raw):
    """By a regular expression."""
    keys = [f"order-{region_id('eu', number)}-x" for number in range(1, 9)]
    assert client.ask("MSET", *(word for key in keys for word in (key, key))) == Simple("OK")
    assert client.ask("MGET", *keys, "none") == [*(key.encode() for key in keys), None]
    assert client.many(*[("GET", key) for key in keys]) == [key.encode() for key in keys]
    assert client.ask("DEL", *keys) == len(keys)


def test_what_needs_one_slot_is_refused_in_redis_s_words(client: Raw):
    for command in (
        ("RENAME", "a", "b"), ("SINTER", "a", "b"), ("MSETNX", "a", 1, "b", 2), ("EVAL", "return 1", 2, "a", "b"),
        ("WATCH", "a", "b"), ("BLPOP", "a", "b", 1),
    ):  # fmt: skip
        assert text(client.ask(*command)) == "CROSSSLOT Keys in request don't hash to the same slot", command
    assert client.ask("MSETNX", "{t}a", 1, "{t}b", 2) == 1
    assert client.ask("RENAME", "{t}a", "{t}c") == Simple("OK")


def test_scan_finds_every_key_once(cluster: RedisCluster, client: Raw):
    client.ask("MSET", *(word for number in range(500) for word in (f"k{number}", 1)))
    found, cursor = [], b"0"
    while True:
        cursor, keys = client.ask("SCAN", cursor, "COUNT", 50)
        found += keys
        if cursor == b"0":
            break
    assert sorted(found) == sorted(b"k%d" % number for number in range(500))
    cursor, _ = client.ask("SCAN", "0", "COUNT", 10)
    slot = slot_of("k1")
    home = cluster.owner(slot)
    cluster.move(slot, next(one for one in cluster.primaries if one is not home))
    eventually(lambda: isinstance(client.ask("SCAN", cursor), Error))
    cluster.move(slot, home)


def test_transactions_and_scripts(client: Raw):
    assert client.many(("MULTI",), ("SET", "{t}a", 1), ("INCR", "{t}a"), ("EXEC",))[-1] == [Simple("OK"), 2]
    reply = client.many(("MULTI",), ("SET", "{t}a", 1), ("SET", "b", 1), ("EXEC",))
    assert text(reply[2]).startswith("CROSSSLOT") and text(reply[3]).startswith("EXECABORT")
    assert client.ask("WATCH", "{t}a") == Simple("OK")
    assert text(client.ask("WATCH", "b")).startswith("CROSSSLOT")
    assert client.many(("MULTI",), ("SET", "{t}a", 5), ("EXEC",))[-1] == [Simple("OK")]
    digest = client.ask("SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])")
    assert client.ask("SET", "b", "x") == Simple("OK")
    assert client.many(("EVALSHA", digest, 1, "{t}a"), ("EVALSHA", digest, 1, "b")) == [b"5", b"x"]
    assert client.ask("SCRIPT", "EXISTS", digest) == [1]
    assert client.ask("EVAL", "return 7", 0) == 7


def test_publish_and_subscribe(fairlead: Fairlead, client: Raw):
    listener = raw(fairlead)
    listener.ask("HELLO", 3)
    channels = [f"c{number}" for number in range(6)]
    for verb, names in (("SUBSCRIBE", channels), ("SSUBSCRIBE", channels), ("PSUBSCRIBE", ["c*"])):
        for name in names:
            assert listener.ask(verb, name).items[:2] == (verb.lower().encode(), name.encode())
    for name in channels:
        assert client.ask("SPUBLISH", name, "s") == 1
        assert listener_gets(listener, 1) == {(b"smessage", name.encode(), b"s")}
        client.ask("PUBLISH", name, "p")
        assert listener_gets(listener, 2) == {
            (b"message", name.encode(), b"p"), (b"pmessage", b"c*", name.encode(), b"p")
        }  # fmt: skip
    listener.close()


def listener_gets(listener: Raw, count: int) -> set[Any]:
    found = [decode(listener.read()) for _ in range(count)]
    assert all(isinstance(one, Push) for one in found)
    return {one.items for one in found}


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_works_unmodified(world: World, fairlead: Fairlead, protocol: int):
    """As beside one server."""
    options: dict[str, Any] = {"protocol": protocol, "decode_responses": True}
    ours = redis.Redis(port=fairlead.redis_port, username="demo", password="demo", **options)
    theirs = redis.Redis(port=world.redis["eu-0"].port, **options)
    for call in CALLS:
        assert _outcome(call, ours) == _outcome(call, theirs)


def _outcome(call: Any, client: Any) -> Any:
    try:
        return call(client)
    except redis.RedisError as error:
        return type(error).__name__, str(error)


# --- slots that move ----------------------------------------------------------------------------------------


def test_moved_and_ask_are_followed_in_order(cluster: RedisCluster, client: Raw):
    keys = [f"{{t}}{number}" for number in range(20)]
    client.ask("MSET", *(word for key in keys for word in (key, 0)))
    slot = slot_of("t")
    home = cluster.owner(slot)
    target = next(one for one in cluster.primaries if one is not home)
    source = cluster.begin_move(slot, target)
    cluster.move_keys(source, slot, target, 10)  # a half asks for ASK
    commands = [(verb, key) for _ in range(3) for key in keys for verb in ("INCR", "GET")]
    replies = client.many(*commands)
    assert replies[::2] == [number for number in (1, 2, 3) for _ in keys]
    assert replies[1::2] == [b"%d" % number for number in (1, 2, 3) for _ in keys]
    assert client.ask("SET", "{t}new", 1) == Simple("OK")  # a new key is made there
    assert client.many(("MULTI",), ("INCR", "{t}new"), ("EXEC",))[-1] == [2]
    assert client.ask("MGET", "{t}new") == [b"2"]
    half = [key for key in keys if source.ask("EXISTS", key) == b":1\r\n"]
    away = [key for key in keys if key not in half]
    assert len(half) == len(away) == 10
    assert text(client.ask("MGET", half[0], away[0])).startswith("TRYAGAIN")
    later = threading.Timer(0.4, lambda: cluster.move_keys(source, slot, target))
    later.start()
    assert client.ask("MGET", half[0], away[0]) == [b"3", b"3"]  # it waited
    later.join()
    cluster.end_move(source, slot, target)
    assert client.many(*commands)[-1] == b"6"  # MOVED
    waiting = threading.Timer(0.2, lambda: cluster.move(slot, home))
    waiting.start()
    pushed = threading.Timer(0.6, lambda: cluster.owner(slot).ask("RPUSH", "{t}list", "x"))
    pushed.start()
    assert client.ask("BLPOP", "{t}list", 10) == [b"{t}list", b"x"]  # unblocked by the move, and waiting again
    for one in (waiting, pushed):
        one.join()


# --- nodes that die, shards that change ---------------------------------------------------------------------


def test_a_killed_node_is_replaced_and_the_shard_becomes_one_server(
    world: World, cluster: RedisCluster, fairlead: Fairlead, client: Raw
):
    """And a cluster again, without a client's losing its connection. The last test, as the node stays away."""
    first = cluster.primaries[0]
    mine = next(key for key in KEYS if cluster.owner(slot_of(key)) is first)
    other = next(key for key in KEYS if cluster.owner(slot_of(key)) is not first)
    client.ask("SET", mine, 1)
    eventually(lambda: cluster.replicas[0].ask("DBSIZE") == b":1\r\n")
    first.kill()
    replies = [client.ask("GET", mine)]
    eventually(lambda: replies.append(client.ask("GET", mine)) or replies[-1] == b"1", 20)
    errors = {text(one)[:10] for one in replies if isinstance(one, Error)}
    assert errors <= {"MASTERDOWN", "CLUSTERDOW", "ERR the co"}
    assert client.ask("SET", mine, 2) == Simple("OK")
    alone = {"primary": f"127.0.0.1:{world.redis['eu-0'].port}", "cluster": None}
    changed = merge(fairlead.configuration, {"shards": {"eu-0": {"redis": alone}}})
    for configuration, found in ((changed, None), (fairlead.configuration, b"2")):
        fairlead.write(configuration)
        fairlead.reload()
        eventually(lambda value=found: client.many(("GET", mine), ("GET", other)) == [value, None])
    assert client.ask("MGET", mine, other) == [b"2", None]
