"""200 clients, random pipelines over the shards, connections cut and servers killed at random.

No reply goes to another client or out of order, and no acknowledged write is lost. `FAIRLEAD_FAULT_SECONDS` (default
8) says for how long; `make storm` takes 60.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from _speedups.resp import ReplyScanner
from loadtest.world.redis import Redis
from loadtest.world.world import World
from router.redis.resp import Error, Simple, decode, request

CLIENTS = 200
SECONDS = float(os.environ.get("FAIRLEAD_FAULT_SECONDS", "8"))
KEYS = 8
KILL_EVERY = 1.5
LARGE = 80_000
"""Spaces behind a number that make it a value which goes on a connection of its own."""
MOST_GROWTH = 128 << 20
"""Bytes of resident memory: 200 clients with pipelines of 60 need a few."""


@dataclass
class Book:
    """What one client knows of its keys: per key the last value it sent, and the last one acknowledged."""

    number: int
    sent: list[int] = field(default_factory=lambda: [0] * KEYS)
    acknowledged: list[int] = field(default_factory=lambda: [0] * KEYS)
    replies: int = 0
    errors: int = 0
    wrong: list[str] = field(default_factory=list)

    def key(self, place: int) -> str:
        return f"c{self.number}k{place}"


class Runner:
    """One client: connects, sends pipelines of random length, checks every reply, is cut off now and then."""

    def __init__(self, book: Book, port: int, dice: random.Random) -> None:
        self.book = book
        self._port = port
        self._dice = dice

    async def run(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until and not self.book.wrong:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await self._connection(until)

    async def _connection(self, until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        scanner = ReplyScanner()
        try:
            await self._exchange(reader, writer, scanner, [(("AUTH", "demo", "demo"), lambda one: one == Simple("OK"))])
            while asyncio.get_running_loop().time() < until:
                steps = [self._step() for _ in range(self._dice.choice((1, 2, 5, 20, 60)))]
                if self._dice.random() < 0.03:  # cut in the middle of a pipeline
                    writer.write(b"".join(request(*words) for words, _ in steps))
                    await asyncio.sleep(0)
                    return
                await self._exchange(reader, writer, scanner, steps)
        finally:
            writer.transport.abort()

    def _step(self) -> tuple[tuple[Any, ...], Any]:
        """A command, and what a good reply to it is."""
        book, place = self.book, self._dice.randrange(KEYS)
        kind = self._dice.random()
        if kind < 0.4:
            book.sent[place] += 1
            value = book.sent[place]
            shown = str(value) + " " * LARGE if kind < 0.004 else value
            return ("SET", book.key(place), shown), lambda one: self._saw_write(place, value, one)
        if kind < 0.7:
            return ("GET", book.key(place)), lambda one: self._is_mine(place, one)
        if kind < 0.9:
            keys = [book.key(one) for one in range(KEYS)]
            return ("MGET", *keys), lambda one: all(self._is_mine(at, value) for at, value in enumerate(one))
        mark = f"{book.number}-{self._dice.random()}"
        return ("PING", mark), lambda one: one == mark.encode()

    def _saw_write(self, place: int, value: int, reply: Any) -> bool:
        if reply == Simple("OK"):
            self.book.acknowledged[place] = value
        return reply == Simple("OK")

    def _is_mine(self, place: int, reply: Any) -> bool:
        """At least what was acknowledged before it in this pipeline, at most what was sent."""
        return self.book.acknowledged[place] <= int(reply or 0) <= self.book.sent[place]

    async def _exchange(self, reader: Any, writer: Any, scanner: ReplyScanner, steps: list[Any]) -> None:
        writer.write(b"".join(request(*words) for words, _ in steps))
        waiting = list(steps)
        while waiting:
            async with asyncio.timeout(15):
                data = await reader.read(65536)
            if not data:
                raise EOFError
            for reply in scanner.feed(data):
                words, is_right = waiting.pop(0)
                self._judge(words, is_right, decode(reply))

    def _judge(self, words: tuple[Any, ...], is_right: Any, value: Any) -> None:
        self.book.replies += 1
        if isinstance(value, Error):
            self.book.errors += 1
            if not value.text.startswith(("MASTERDOWN", "LOADING", "ERR the connection to the shard's Redis was lost")):
                self.book.wrong.append(f"{words[:2]}: {value.text}")
        elif not is_right(value):
            self.book.wrong.append(f"{words[:2]}: {value}")


async def trouble(servers: list[Redis], until: float, dice: random.Random) -> int:
    """Kills a server now and then, and starts it again; the last ones are all up."""
    kills = 0
    loop = asyncio.get_running_loop()
    while loop.time() < until - KILL_EVERY:
        await asyncio.sleep(KILL_EVERY * dice.random())
        server = dice.choice(servers)
        await asyncio.to_thread(server.kill)
        kills += 1
        await asyncio.sleep(0.3 * dice.random())
        await asyncio.to_thread(server.launch)
        await asyncio.to_thread(server.wait_ready)
    return kills


async def storm(port: int, servers: list[Redis], seed: int) -> tuple[list[Book], int]:
    dice = random.Random(seed)
    books = [Book(number) for number in range(CLIENTS)]
    until = asyncio.get_running_loop().time() + SECONDS
    runners = [Runner(book, port, random.Random(dice.random())).run(until) for book in books]
    *_, kills = await asyncio.gather(*runners, trouble(servers, until, dice))
    return books, int(kills or 0)


@pytest.mark.world(shards=4, durable=True, redis=True)
def test_no_reply_is_another_s_and_no_acknowledged_write_is_lost(world: World):
    fairlead = world.fairlead()
    servers = list(world.redis.values())
    before = fairlead.rss()
    books, kills = asyncio.run(storm(fairlead.redis_port, servers, seed=20261121))
    assert not [line for book in books for line in book.wrong]
    assert kills and sum(book.replies for book in books) > CLIENTS * 20
    found = asyncio.run(stored(fairlead.redis_port, books))
    for book in books:
        for place in range(KEYS):
            value = found[book.key(place)]
            assert book.acknowledged[place] <= value <= book.sent[place], book.key(place)
    assert fairlead.alive
    assert fairlead.rss() - before < MOST_GROWTH


async def stored(port: int, books: list[Book]) -> dict[str, int]:
    """Every key's value, once all shards answer again."""
    keys = [book.key(place) for book in books for place in range(KEYS)]
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("AUTH", "demo", "demo") + request("MGET", *keys))
        scanner, replies = ReplyScanner(), []
        while len(replies) < 2:
            replies += scanner.feed(await reader.read(65536))
        writer.close()
        values = decode(replies[1])
        if not isinstance(values, Error):
            return {key: int(value or 0) for key, value in zip(keys, values, strict=True)}
        await asyncio.sleep(0.1)
