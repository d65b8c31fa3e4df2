"""Keys of another region: through that region's Fairlead, and how far its troubles reach."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.world import configuration
from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import RegionPorts, region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.sqlserver import Passwords
from loadtest.world.world import World
from router.redis.resp import Error, Simple, decode, request
from tests.proxy.redis.raw import Raw, raw
from tests.proxy.redis.test_behaviour import eventually, text
from tests.proxy.redis.test_observation import metric

pytestmark = pytest.mark.world(regions=2, redis=True)
HOME = f"customer:{region_id('eu', 7)}:name"
DEADLINE = 1.0


@pytest.fixture
def members(world: World) -> dict[str, Fairlead]:
    return {region: world.fairlead(region) for region in ("us", "eu")}


@pytest.fixture
def client(members: dict[str, Fairlead]) -> Iterator[Raw]:
    one = raw(members["eu"])
    yield one
    one.close()


def keys_by_shard(world: World, region: str = "us") -> dict[str, str]:
    """A customer's key on each shard of a region."""
    found: dict[str, str] = {}
    for number in range(1, 200):
        customer = region_id(region, number)
        found.setdefault(shard_of_id(world.shape, customer), f"customer:{customer}:name")
    return found


def both(world: World, changes: dict[str, Any]) -> Fairlead:
    """eu's Fairlead with changed settings, and us's beside it."""
    world.kept(changes, region="us")
    return world.kept(changes, region="eu")


def held(world: World, key: str) -> str:
    """The only shard whose server has the key."""
    (shard,) = [name for name, server in world.redis.items() if b":1" in server.ask("EXISTS", key)]
    return shard


@pytest.fixture
def near(world: World, members: dict[str, Fairlead]) -> Raw:
    """A client of eu that waits for other regions for a second, and names keys of one at a time."""
    changes = {"remote_deadline": f"{DEADLINE:g}s", "remote_requests": 4, "other_regions": "single"}
    return raw(both(world, {"redis": changes}))


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_key_is_read_and_written_in_its_own_region(world: World, members: dict[str, Fairlead], protocol: int):
    with_home = keys_by_shard(world)
    client = raw(members["eu"])
    client.ask("HELLO", protocol)
    for shard, key in with_home.items():
        assert client.ask("SET", key, shard) == Simple("OK")
        assert held(world, key) == shard
        assert client.ask("GET", key) == shard.encode()
        assert raw(members["us"]).ask("GET", key) == shard.encode()
        client.ask("DEL", key)
        assert client.ask("HSET", key, "a", 1, "b", 2) == 2
        fields = client.ask("HGETALL", key)
        assert fields == ({b"a": b"1", b"b": b"2"} if protocol == 3 else [b"a", b"1", b"b", b"2"])
        assert "WRONGTYPE" in text(client.ask("GET", key))


def test_large_values_go_there_in_parts(world: World, members: dict[str, Fairlead], client: Raw):
    big = b"x" * (3 << 20)
    for key in keys_by_shard(world).values():
        assert client.ask("GET", key) is None  # from here on the relay knows the way
        replies = client.many(("SET", key, big), ("STRLEN", key), ("GET", key))
        assert replies == [Simple("OK"), len(big), big]
    for member in members.values():
        assert metric(member, "redis_parks_total")['fairlead_redis_parks_total{reason="large"}'] >= 2


def test_pipelines_over_regions_keep_their_order(world: World, client: Raw):
    keys = [*keys_by_shard(world).values(), *keys_by_shard(world, "eu").values(), "page"]
    commands: list[tuple[Any, ...]] = []
    expected: list[Any] = []
    for number in range(200):
        for key in keys:
            commands += [("SET", key, number), ("GET", key), ("PING", number)]
            expected += [Simple("OK"), b"%d" % number, b"%d" % number]
        commands += [("MGET", *keys), ("EXISTS", *keys, "none"), ("MSET", *(word for key in keys for word in (key, 0)))]
        expected += [[b"%d" % number] * len(keys), len(keys), Simple("OK")]
    assert client.many(*commands) == expected


def test_transactions_watches_and_waits(world: World, members: dict[str, Fairlead], client: Raw):
    one, two = keys_by_shard(world).values()
    other = raw(members["us"])
    found = client.many(("MULTI",), ("SET", one, 1), ("INCR", one), ("EXEC",), ("GET", one))
    assert found[3:] == [[Simple("OK"), 2], b"2"]
    found = client.many(("MULTI",), ("INCR", one), ("INCR", two), ("EXEC",))
    assert text(found[2]).startswith("CROSSSLOT") and text(found[3]).startswith("EXECABORT")
    client.ask("WATCH", one)
    other.ask("SET", one, "changed")
    assert client.many(("MULTI",), ("SET", one, 5), ("EXEC",))[-1] is None
    client.ask("WATCH", one)
    assert client.many(("MULTI",), ("SET", one, 5), ("EXEC",))[-1] == [Simple("OK")]
    client.send(request("BLPOP", two, 0))
    eventually(lambda: any(b"blocked_clients:1" in server.ask("INFO", "clients") for server in world.redis.values()))
    other.ask("RPUSH", two, "x")
    assert decode(client.read()) == [two.encode(), b"x"]


def test_keys_of_one_region_only(world: World, near: Raw):
    one, two = keys_by_shard(world).values()
    for _ in range(2):  # the second time the relay knows the way
        assert near.ask("MSET", one, 1, two, 2) == Simple("OK")
        assert text(near.ask("MSET", one, 1, "page", 2)).startswith("CROSSSLOT")


def test_keys_of_this_region_only(world: World):
    client = raw(world.kept({"redis": {"other_regions": "refuse"}}))
    one, two = keys_by_shard(world).values()
    for command in (("GET", one), ("MGET", one, two), ("BLPOP", one, 0), ("WATCH", one)):
        assert "lives in region us" in text(client.ask(*command))
    assert text(client.ask("MSET", one, 1, "page", 2)).startswith("CROSSSLOT")


def test_nothing_is_passed_on_twice(world: World, members: dict[str, Fairlead]):
    """A Fairlead that takes its own keys for the other region's gets them back with an error."""
    own = RegionPorts(*world.reserve_ports(4))
    peer = RegionPorts(0, members["us"].configuration["listeners"]["peer"]["port"], 0)
    swapped = {"keyspaces": {"shop": {"vindexes": {"by_home": {"regions": {"eu": 2, "us": 1}}}}}}
    confused = Fairlead(
        "confused",
        world.directory,
        configuration.merge(world.config("eu", {"eu": own, "us": peer}), swapped),
        environment={configuration.PASSWORD_VARIABLE: Passwords().service},
    )
    confused.launch()
    try:
        confused.wait_ready()
        assert "not passed on" in text(raw(confused).ask("GET", HOME))
    finally:
        confused.kill()


# --- troubles -----------------------------------------------------------------------------------------------


def refused_at_once(near: Raw, key: str) -> bool:
    begun = time.monotonic()
    found = near.many(*[("GET", key)] * 5)
    return all(text(one).startswith("MASTERDOWN region us") for one in found) and time.monotonic() - begun < DEADLINE


def test_a_slow_shard_holds_up_its_own_requests_only_for_the_deadline(world: World, near: Raw):
    slow, fine = keys_by_shard(world).values()
    assert near.many(("SET", slow, 1), ("SET", fine, 2), ("SET", HOME, 3)) == [Simple("OK")] * 3
    server = world.redis[shard_of_id(world.shape, int(slow.split(":")[1]))]
    server.pause()
    try:
        begun = time.monotonic()
        lost, other, home = near.many(("GET", slow), ("GET", fine), ("GET", HOME))
        assert "was lost" in text(lost) and (other, home) == (b"2", b"3")
        assert time.monotonic() - begun < DEADLINE + 3
        written = near.many(("SET", slow, 9), ("GET", HOME))
        assert written[1] == b"3" and isinstance(written[0], Error)
        # Now the way is known to be of no use: refused at once, and clients may try again. A request that comes just
        # when it is tried anew waits for that.
        assert eventually(lambda: refused_at_once(near, slow), 20)
        assert near.ask("GET", fine) == b"2"
    finally:
        server.resume()
    assert eventually(lambda: near.ask("GET", slow) in (b"1", b"9"), 40)


def test_more_than_may_be_under_way_waits(world: World, near: Raw):
    """The bound is four; all are answered, in order."""
    (key, _) = keys_by_shard(world).values()
    found = near.many(*[("INCR", key) for _ in range(300)], ("GET", HOME))
    assert found == [*range(1, 301), None]


def test_a_region_that_is_gone_and_comes_back(world: World):
    fleet = world.fleet({"redis": {"remote_deadline": "1s"}})
    fleet.start()
    client = raw(fleet["eu"])
    keys = list(keys_by_shard(world).values())
    assert client.ask("MSET", *(word for key in keys for word in (key, 1))) == Simple("OK")
    fleet["us"].kill()
    eventually(lambda: isinstance(client.ask("GET", keys[0]), Error))
    assert eventually(lambda: text(client.ask("GET", keys[0])).startswith("MASTERDOWN region us"))
    assert eventually(lambda: text(client.ask("MGET", HOME, *keys)).startswith("MASTERDOWN region us"))
    assert client.ask("SET", HOME, 1) == Simple("OK")
    fleet["us"].launch()
    fleet["us"].wait_ready()
    assert eventually(lambda: client.ask("MGET", *keys) == [b"1"] * len(keys), 40)
