"""User instructions of the worker per Redis request over four shards, counted as those per MySQL query are."""

import asyncio
import json
import random
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from loadtest.bench.cells import SHARDED
from loadtest.bench.instructions import (
    GROWTH,
    READY_TIMEOUT,
    SELDOM,
    THREADS,
    Counting,
    Tally,
    UnderCallgrind,
    busiest_under_callgrind,
)
from loadtest.bench.progress import Progress
from loadtest.bench.redis.arena import RedisArena
from loadtest.bench.redis.cells import MGET_KEYS, RedisCell
from loadtest.bench.redis.load import VALUE_SIZE
from loadtest.bench.redis.ratio import prove, request
from loadtest.bench.sysbench import Endpoint

REFERENCE_FILE = Path(__file__).with_name("instructions.json")
_CELLS = [RedisCell("GET", 1), *(RedisCell(command, 16) for command in ("GET", "SET", "MGET"))]
CELLS = {cell.name: cell for cell in _CELLS}
KEYS = 1000
SHORT, LONG = 2_048, 4_096
END = "end"


class RedisCrowd:
    """Connections that stay and take turns: each sends a pipeline when the last one's replies are all in."""

    def __init__(self, to: Endpoint, size: int) -> None:
        self._to, self._size = to, size
        self._members: list[tuple[StreamReader, StreamWriter]] = []
        self._draw = random.Random(1)

    async def __aenter__(self) -> Self:
        for _ in range(self._size):
            self._members.append(await asyncio.open_connection(self._to.host, self._to.port))
        _, writer = self._members[0]
        writer.write("".join(request("SET", f"key:{n}", "x" * VALUE_SIZE) for n in range(KEYS)).encode())
        await self._finish(*self._members[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        for _reader, writer in self._members:
            writer.close()

    async def ask(self, name: str, count: int) -> None:
        """`count` requests of this cell, rounded up to whole pipelines of all connections."""
        cell = CELLS[name]
        for _ in range(-(-count // (self._size * cell.pipeline))):
            for _reader, writer in self._members:
                writer.write("".join(self._one(cell) for _ in range(cell.pipeline)).encode())
            for reader, _writer in self._members:
                await self._replies(reader, cell)

    def _one(self, cell: RedisCell) -> str:
        keys = [f"key:{self._draw.randrange(KEYS)}" for _ in range(MGET_KEYS if cell.command == "MGET" else 1)]
        return request(cell.command, *keys, *(["x" * VALUE_SIZE] if cell.command == "SET" else []))

    async def _replies(self, reader: StreamReader, cell: RedisCell) -> None:
        """Every value has the same size, so a reply's length is known."""
        value = len(f"${VALUE_SIZE}\r\n\r\n") + VALUE_SIZE
        one = {"SET": len("+OK\r\n"), "GET": value, "MGET": MGET_KEYS * value + len(f"*{MGET_KEYS}\r\n")}
        await reader.readexactly(one[cell.command] * cell.pipeline)

    @staticmethod
    async def _finish(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(request("PING", END).encode())
        await reader.readuntil(f"${len(END)}\r\n{END}\r\n".encode())


@dataclass(frozen=True)
class RedisCounts:
    """{cell: tally}."""

    tallies: Mapping[str, Tally]

    @property
    def instructions(self) -> dict[str, int]:
        return {name: tally.instructions for name, tally in self.tallies.items()}


def measure(progress: Progress, short: int = SHORT, long: int = LONG) -> RedisCounts:
    """Raises CallgrindError, ServerFailed, CannotMeasure."""
    progress.say("redis: starting everything under callgrind")
    with RedisArena([SHARDED], fairlead=UnderCallgrind, ready_timeout=READY_TIMEOUT, sections=SELDOM) as arena:
        target = arena.targets[SHARDED]
        prove(target)
        return asyncio.run(_count(target.endpoint, target.proxy_pids(), arena.directory, short, long))


async def _count(to: Endpoint, pids: list[int], folder: Path, short: int, long: int) -> RedisCounts:
    async with RedisCrowd(to, THREADS) as crowd:
        counter = Counting(crowd, folder, await busiest_under_callgrind(crowd, CELLS, pids, folder))
        await counter.idle()
        return RedisCounts({name: await counter.count(name, short, long) for name in CELLS})


def findings(found: Mapping[str, int], reference: Mapping[str, int] | None) -> list[str]:
    """What has grown by more than 5 % over the reference."""
    return [
        f"{name}: {count} instructions, {count / reference[name] - 1:+.1%} over {reference[name]}"
        for name, count in found.items()
        if reference is not None and count > reference.get(name, count) * GROWTH
    ]


def read_reference(path: Path = REFERENCE_FILE) -> dict[str, int] | None:
    """{cell: instructions} as checked in, None when there is no file."""
    return {name: int(count) for name, count in json.loads(path.read_text()).items()} if path.exists() else None


def write_reference(found: Mapping[str, int], path: Path = REFERENCE_FILE) -> None:
    path.write_text(json.dumps(found, indent=1) + "\n")


def lines(found: Mapping[str, int], reference: Mapping[str, int] | None) -> list[str]:
    known = reference or {}
    counted = [
        f"redis {name}: {count} user instructions per request (reference {known.get(name, 'none')})"
        for name, count in found.items()
    ]
    return [*counted, *(f"over: {finding}" for finding in findings(found, reference))]


def profile_lines(counts: RedisCounts) -> list[str]:
    """Where the instructions go: per request, by function."""
    shown = []
    for cell, tally in counts.tallies.items():
        shown.append(f"redis {cell}: instructions per request, by function")
        shown += [f"{cost:9.1f}  {place[:40]:<40}  {name}" for place, name, cost in tally.functions]
    return shown
