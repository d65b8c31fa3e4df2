"""Clients under load while sentinels replace a killed primary, twice.

Replication is asynchronous, so a failover may lose what was acknowledged; that no reply is another's or out of order
has to hold all the same. `make storm` runs it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.world.sentinel import Watched, until
from loadtest.world.world import World
from router.redis.resp import Simple
from tests.fault.test_redis import Book, Runner
from tests.proxy.redis.raw import Raw
from tests.proxy.redis.test_behaviour import eventually
from tests.proxy.redis.test_replicas import reads
from tests.proxy.redis.test_sentinel import KEY, fairlead_of

CLIENTS = 50
pytestmark = [pytest.mark.slow, pytest.mark.world(redis=True)]


class Forgiving(Runner):
    """What was acknowledged may be gone; what was never sent may not be there."""

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


async def load(port: int, trouble: Any) -> list[Book]:
    """Until the trouble is over, and a while longer."""
    books = [Book(number) for number in range(CLIENTS)]
    over = asyncio.get_running_loop().time() + 3600
    runners = [
        asyncio.ensure_future(Forgiving(book, port, random.Random(book.number)).run(over)) for book in books
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
