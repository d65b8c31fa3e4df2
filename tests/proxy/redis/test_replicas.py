"""Reads from Redis replicas, and primaries that change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.redis import Redis
from loadtest.world.world import World
from router.redis.resp import Simple
from tests.proxy.redis.raw import Raw
from tests.proxy.redis.test_behaviour import eventually, text

pytestmark = pytest.mark.world(redis=True)
KEY = f"customer:{region_id('eu', 7)}:name"
LEVELS = {"near": {"consistency": "eventual", "max_lag": "30s"}, "own": {"consistency": "session"}, "plain": {}}


class Pair:
    """The key's shard with a primary of our own and a replica, and a Fairlead that knows both."""

    def __init__(self, world: World) -> None:
        self.shard = shard_of_id(world.shape, region_id("eu", 7))
        ports = world.reserve_ports(2)
        options = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5")
        self.primary = Redis("first", world.directory, port=ports[0], extra=options)
        self.replica = Redis(
            "second", world.directory, port=ports[1], extra=(*options, "--replicaof", f"127.0.0.1 {ports[0]}")
        )
        for server in (self.primary, self.replica):
            server.launch()
            server.wait_ready()
        eventually(lambda: b"master_link_status:up" in self.replica.ask("INFO", "replication"))
        users = {name: {"password": {"value": name}, "redis": "admin"} | given for name, given in LEVELS.items()}
        redis = {"primary": f"127.0.0.1:{ports[0]}", "replicas": [f"127.0.0.1:{ports[1]}"], "deadline": "1s"}
        fleet = world.fleet({"users": users, "shards": {self.shard: {"redis": redis}}})
        self.fairlead: Fairlead = fleet["eu"]

    def close(self) -> None:
        for server in (self.primary, self.replica):
            with contextlib.suppress(OSError):
                server.resume()
            server.kill()


@pytest.fixture
def pair(world: World) -> Iterator[Pair]:
    found = Pair(world)
    yield found
    found.close()


def as_user(pair: Pair, name: str) -> Raw:
    client = Raw(pair.fairlead.redis_port, login=False)
    assert client.ask("AUTH", name, name) == Simple("OK")
    return client


def reads(server: Redis) -> int:
    """How many GETs and MGETs the server has carried out."""
    found = server.ask("INFO", "commandstats").decode()
    lines = [line for line in found.splitlines() if line.startswith(("cmdstat_get:", "cmdstat_mget:"))]
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)


def test_reads_go_where_the_level_says(pair: Pair):
    near, own, plain = (as_user(pair, name) for name in LEVELS)
    assert plain.ask("SET", KEY, 1) == Simple("OK")
    eventually(lambda: near.ask("GET", KEY) == b"1" and reads(pair.replica) > 0)
    before = reads(pair.primary), reads(pair.replica)
    assert near.many(*[("GET", KEY)] * 50, ("MGET", KEY, KEY)) == [b"1"] * 50 + [[b"1", b"1"]]
    assert (reads(pair.primary), reads(pair.replica)) == (before[0], before[1] + 51)
    assert plain.many(*[("GET", KEY)] * 50) == [b"1"] * 50
    assert reads(pair.replica) == before[1] + 51
    eventually(lambda: own.ask("GET", KEY) == b"1" and reads(pair.replica) > before[1] + 51)
    for write in ([("SET", KEY)], [("MULTI",), ("SET", KEY), ("EXEC",)]):
        _sees_its_writes(pair, own, write)
    _stands_still(pair, near, own, plain)
    _dies(pair, near)


def _sees_its_writes(pair: Pair, own: Raw, write: list[tuple[Any, ...]]) -> None:
    """A session, and it reads the replica again when that has them."""
    begun = reads(pair.replica)
    for number in range(1000):
        commands = [(*one, number) if one[0] == "SET" else one for one in write]
        assert own.many(*commands, ("GET", KEY))[-1] == b"%d" % number
    eventually(lambda: own.ask("GET", KEY) == b"999" and reads(pair.replica) > begun)


def _stands_still(pair: Pair, near: Raw, own: Raw, plain: Raw) -> None:
    """A replica whose link is down is not read."""
    assert pair.replica.ask("REPLICAOF", "127.0.0.1", "1").startswith(b"+OK")
    eventually(lambda: b"master_link_status:down" in pair.replica.ask("INFO", "replication"))
    plain.ask("SET", KEY, "new")
    eventually(lambda: near.ask("GET", KEY) == b"new")
    assert own.many(*[("GET", KEY)] * 20) == near.many(*[("GET", KEY)] * 20) == [b"new"] * 20
    pair.replica.ask("REPLICAOF", "127.0.0.1", str(pair.primary.port))
    begun = reads(pair.replica)
    eventually(lambda: near.ask("GET", KEY) == b"new" and reads(pair.replica) > begun, 20)


def _dies(pair: Pair, near: Raw) -> None:
    """It takes no more than what was under way there."""
    pair.replica.kill()
    eventually(lambda: near.ask("GET", KEY) == b"new")
    assert near.many(*[("GET", KEY)] * 20) == [b"new"] * 20


def test_a_primary_that_changes_is_followed(pair: Pair):
    plain, near = as_user(pair, "plain"), as_user(pair, "near")
    first, second = pair.primary, pair.replica
    assert plain.ask("SET", KEY, 1) == Simple("OK")
    eventually(lambda: second.ask("GET", KEY).startswith(b"$1"))
    second.ask("REPLICAOF", "NO", "ONE")
    first.ask("REPLICAOF", "127.0.0.1", str(second.port))
    reply = plain.ask("SET", KEY, 2)  # READONLY makes Fairlead look at once
    assert reply == Simple("OK") or text(reply).startswith(("READONLY", "ERR the connection", "MASTERDOWN"))
    eventually(lambda: plain.ask("SET", KEY, 3) == Simple("OK"))
    assert second.ask("GET", KEY).startswith(b"$1\r\n3")
    begun = reads(first)
    eventually(lambda: near.ask("GET", KEY) == b"3" and reads(first) > begun, 20)
    # And back, as the second one is lost.
    second.kill()
    eventually(lambda: text(plain.ask("SET", KEY, 4)).startswith("MASTERDOWN"))
    assert first.ask("REPLICAOF", "NO", "ONE").startswith(b"+OK")
    eventually(lambda: plain.ask("SET", KEY, 5) == Simple("OK"))
    assert first.ask("GET", KEY).startswith(b"$1\r\n5")
