"""A shard whose primary sentinels name: failovers are followed, and a sentinel that is behind is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.sentinel import MASTER, Sentinel, Watched
from loadtest.world.world import World
from router.redis.resp import Simple
from tests.proxy.redis.raw import Raw
from tests.proxy.redis.test_behaviour import eventually, text
from tests.proxy.redis.test_replicas import reads

pytestmark = pytest.mark.world(redis=True)
KEY = f"customer:{region_id('eu', 7)}:name"


def fairlead_of(world: World, sentinels: list[Sentinel]) -> Fairlead:
    """Whose key's shard they watch over, launched."""
    addresses = [f"127.0.0.1:{one.port}" for one in sentinels]
    given = {"primary": None, "sentinel": {"master": MASTER, "addresses": addresses}, "deadline": "1s"}
    users = {"near": {"password": {"value": "near"}, "redis": "read", "consistency": "eventual", "max_lag": "30s"}}
    shard = shard_of_id(world.shape, region_id("eu", 7))
    return world.fleet({"shards": {shard: {"redis": given}}, "users": users}).launch("eu")


@pytest.fixture
def watched(world: World) -> Iterator[Watched]:
    found = Watched(world.directory, world.reserve_ports(5))
    try:
        found.start()
        yield found
    finally:
        found.stop()


def test_a_failover_is_followed_and_a_sentinel_that_is_behind_is_not(world: World, watched: Watched):
    (port,) = world.reserve_ports(1)
    # Its quorum is never met, so it goes on naming what is a replica.
    behind = Sentinel("behind", world.directory, port=port, watches=watched.servers[1].port, quorum=9)
    behind.launch()
    behind.wait_ready()
    try:
        fairlead, misled = fairlead_of(world, watched.sentinels), fairlead_of(world, [behind])
        for one in (fairlead, misled):
            one.wait_ready()
        _goes_to_no_replica(misled)
    finally:
        behind.kill()
    _follows(fairlead, watched)


def _goes_to_no_replica(misled: Fairlead) -> None:
    client = Raw(misled.redis_port)
    for _ in range(20):
        assert text(client.ask("SET", KEY, 1)).startswith("MASTERDOWN")
        assert text(client.ask("GET", KEY)).startswith("MASTERDOWN")
    assert "it is no primary" in misled.log.read_text()


def _follows(fairlead: Fairlead, watched: Watched) -> None:
    client, near = Raw(fairlead.redis_port), Raw(fairlead.redis_port, login=False)
    assert near.ask("AUTH", "near", "near") == Simple("OK")
    first, second = watched.servers
    assert client.ask("SET", KEY, 1) == Simple("OK")
    assert first.ask("GET", KEY) == b"$1\r\n1\r\n"
    eventually(lambda: near.ask("GET", KEY) == b"1" and reads(second) > 0)
    first.kill()
    errors = _until_written(client, 2)
    assert all(one.startswith(("MASTERDOWN", "ERR the connection")) for one in errors)
    assert second.ask("GET", KEY) == b"$1\r\n2\r\n"


def _until_written(client: Raw, value: int) -> list[str]:
    """The errors until the write is answered."""
    found: list[str] = []

    def written() -> bool:
        reply: Any = client.ask("SET", KEY, value)
        if reply != Simple("OK"):
            found.append(text(reply))
        return bool(reply == Simple("OK"))

    eventually(written, 30)
    return found
