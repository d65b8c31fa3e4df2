"""A steady load whose every answer is timed: an open loop, so that a stall counts for all who meet it."""

import asyncio
import time
from dataclasses import dataclass

from loadtest.bench.sysbench import Endpoint
from loadtest.bench.wire import Connection

Window = tuple[float, float]
"""(start, end) by time.monotonic()."""


@dataclass(frozen=True)
class Pace:
    """`clients` connections, each due every `interval` seconds; ids run through 1..rows."""

    clients: int = 8
    interval: float = 0.01
    rows: int = 10_000


class Steady:
    """`async with Steady(to, pace) as steady` asks until the block ends.

    `samples` holds (when it was due, seconds from then to the answer), both by time.monotonic().
    """

    def __init__(self, to: Endpoint, pace: Pace) -> None:
        self._to, self._pace = to, pace
        self.samples: list[tuple[float, float]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def __aenter__(self) -> "Steady":
        to = self._to
        connections = [
            await Connection.open(to.host, to.port, to.user, to.password, to.database)
            for _ in range(self._pace.clients)
        ]
        self._tasks = [asyncio.create_task(self._ask(each, at)) for at, each in enumerate(connections)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def between(self, start: float, end: float) -> list[float]:
        """Sorted latencies, in seconds, of what was due in [start, end)."""
        return sorted(latency for due, latency in self.samples if start <= due < end)

    async def _ask(self, connection: Connection, at: int) -> None:
        pace = self._pace
        due = time.monotonic() + pace.interval * at / pace.clients
        number = at
        while not self._stopping:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await connection.query(f"SELECT c FROM sbtest1 WHERE id={number % pace.rows + 1}")
            self.samples.append((due, time.monotonic() - due))
            number += pace.clients
            due += pace.interval
        connection.quit()
