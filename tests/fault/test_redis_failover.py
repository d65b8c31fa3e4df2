"""Clients under load while sentinels, or a cluster, replace killed primaries, and while slots move.

Replication is asynchronous, so a failover may lose what was acknowledged; that no reply is another's or out of order
has to hold all the same. While slots move nothing may be lost, and no request may fail. `make storm` runs it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.redis_cluster import RedisCluster, slot_of
from loadtest.world.sentinel import Watched, until
from loadtest.world.world import World
from router.redis.resp import Error, Simple
from tests.fault.test_redis import KEYS, Book, Runner, stored
from tests.proxy.redis.raw import Raw
from tests.proxy.redis.test_behaviour import eventually
from tests.proxy.redis.test_cluster import redis_of
from tests.proxy.redis.test_replicas import reads
from tests.proxy.redis.test_sentinel import KEY, fairlead_of

CLIENTS = 50
pytestmark = [pytest.mark.slow, pytest.mark.world(redis=True)]


class Forgiving(Runner):
    """What was acknowledged may be gone; what was never sent may not be there. A cluster may be down for a while."""

    def _judge(self, words: tuple[Any, ...], is_right: Any, value: Any) -> None:
        down = isinstance(value, Error) and value.text.startswith("CLUSTERDOWN")
        super()._judge(words, is_right, Error("MASTERDOWN") if down else value)

    def _is_mine(self, place: int, reply: Any) -> bool:
        return int(reply or 0) <= self.book.sent[place]


@pytest.fixture
def watched(world: World) -> Iterator[Watched]:
    found = Watched(world.directory, world.reserve_ports(6), replicas=2)
    try:
        found.start()
        yield found
    finally:
        found.stop()


async def load(port: int, trouble: Any, make: type[Runner] = Forgiving) -> list[Book]:
    """Until the trouble is over, and a while longer."""
    books = [Book(number) for number in range(CLIENTS)]
    over = asyncio.get_running_loop().time() + 3600
    runners = [
        asyncio.ensure_future(make(book, port, random.Random(book.number)).run(over)) for book in books
    ]
    await asyncio.to_thread(trouble)
    await asyncio.sleep(2)
    for runner in runners:
        runner.cancel()
    await asyncio.gather(*runners, return_exceptions=True)
    return books


def test_sentinels_under_load(world: World, watched: Watched):
    fairlead = fairlead_of(world, watched.sentinels)
    fairlead.wait_ready()

    def trouble() -> None:
        for _ in range(2):
            killed = watched.primary()
            killed.kill()
            until(lambda one=killed: watched.primary() is not one, 30)
            killed.launch()
            killed.wait_ready()
            until(lambda one=killed: b"role:slave" in one.ask("INFO", "replication"), 30)

    books = asyncio.run(load(fairlead.redis_port, trouble))
    assert not [line for book in books for line in book.wrong]
    assert all(book.replies > 100 for book in books)
    others = [one for one in watched.servers if one is not watched.primary()]
    for server in others:  # those that came back are read
        eventually(lambda one=server: _read(fairlead.redis_port) and reads(one) > 0, 30)


def _read(port: int) -> bool:
    """By several clients, as each has a favourite among replicas."""
    clients = [Raw(port, login=False) for _ in range(4)]
    for near in clients:
        assert near.ask("AUTH", "near", "near") == Simple("OK")
        near.ask("GET", KEY)
    for near in clients:
        near.close()
    return True


# --- Redis Cluster ------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(world: World) -> Iterator[RedisCluster]:
    found = RedisCluster(world.directory, world.reserve_ports(10), replicas=2)
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.mark.world(redis=True, shards=1)
def test_a_cluster_s_failovers_under_load(world: World, cluster: RedisCluster):
    fairlead = world.fleet({"shards": {"eu-0": {"redis": redis_of(cluster)}}})["eu"]
    def trouble() -> None:
        for _ in range(2):
            killed = cluster.owner(0)
            killed.kill()
            until(lambda one=killed: cluster.owner(0) is not one and cluster.is_whole(), 30)
            killed.launch()
            killed.wait_ready()
            until(lambda one=killed: b"master_link_status:up" in one.ask("INFO", "replication"), 30)

    books = asyncio.run(load(fairlead.redis_port, trouble))
    assert not [line for book in books for line in book.wrong]
    assert all(book.replies > 100 for book in books)
    client = Raw(fairlead.redis_port)
    eventually(lambda: client.many(*[("SET", f"k{one}", 1) for one in range(50)]) == [Simple("OK")] * 50)
    assert fairlead.alive


@pytest.mark.world(redis=True, shards=1)
def test_slots_move_under_load(world: World, cluster: RedisCluster):
    """Half of what the clients use, back and forth, the most of it while it is being written to."""
    fairlead = world.fleet({"shards": {"eu-0": {"redis": redis_of(cluster)}}})["eu"]
    slots = sorted({slot_of(f"c{client}k{place}") for client in range(CLIENTS) for place in range(KEYS)})
    dice = random.Random(7)

    def trouble() -> None:
        for slot in dice.sample(slots, len(slots) // 2):
            home = cluster.owner(slot)
            cluster.move(slot, dice.choice([one for one in cluster.primaries if one is not home]))

    books = asyncio.run(load(fairlead.redis_port, trouble, Unforgiving))
    assert not [line for book in books for line in book.wrong]
    assert all(book.replies > 100 for book in books)
    assert asyncio.run(_is_all_there(fairlead.redis_port, books))
    redirects = _redirects(fairlead)
    assert redirects > 100


class Unforgiving(Runner):
    """No error at all."""

    def _judge(self, words: tuple[Any, ...], is_right: Any, value: Any) -> None:
        super()._judge(words, is_right, value)
        if isinstance(value, Error):
            self.book.wrong.append(f"{words[:2]}: {value.text}")


async def _is_all_there(port: int, books: list[Book]) -> bool:
    found = await stored(port, books)
    return all(
        book.acknowledged[place] <= found[book.key(place)] <= book.sent[place]
        for book in books
        for place in range(KEYS)
    )


def _redirects(fairlead: Fairlead) -> int:
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in fairlead.http("/metrics").splitlines()
        if line.startswith("fairlead_redis_shard_redirects_total")
    )
