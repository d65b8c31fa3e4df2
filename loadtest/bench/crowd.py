"""A fixed number of connections that ask an exact number of point selects: the load for counting.

sysbench logs in anew for every run, and logging in costs a thousand times a query; here the connections stay, so
that between two readings of a counter there is nothing but queries. The packets are those of sysbench: the same
text, and prepared statements whose parameter types are sent once.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Self

from loadtest.bench.layers import Layer
from loadtest.bench.packets import Statement
from loadtest.bench.sysbench import Endpoint
from loadtest.bench.wire import Connection

PREPARED = "SELECT c FROM sbtest1 WHERE id=?"
ANSWER_TIMEOUT = 120.0


class Crowd:
    """`async with Crowd(to, 16, rows) as crowd: await crowd.ask("text", 10_000)`.

    Each connection sends its next query when the last answer is in. The keys are the same in every process.
    `layer` makes what each connection's bytes travel in.
    """

    def __init__(self, to: Endpoint, size: int, rows: int, layer: Callable[[], Layer] | None = None) -> None:
        self._to, self._size, self._rows, self._layer = to, size, rows, layer
        self._members: list[tuple[Connection, Statement]] = []
        self._draw = random.Random(1)

    async def __aenter__(self) -> Self:
        to = self._to
        for _ in range(self._size):
            layer = self._layer() if self._layer else None
            login = (to.host, to.port, to.user, to.password, to.database)
            connection = await Connection.open(*login, ANSWER_TIMEOUT, layer)
            statement = await connection.prepare(PREPARED, ANSWER_TIMEOUT)
            await connection.execute(statement, [1], ANSWER_TIMEOUT)
            self._members.append((connection, statement))
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection, _statement in self._members:
            connection.quit()

    async def ask(self, protocol: str, queries: int) -> None:
        """`queries` point selects, "text" or "prepared"; ValueError when they do not divide evenly."""
        each, rest = divmod(queries, self._size)
        if rest:
            raise ValueError(f"{queries} queries cannot be shared by {self._size} connections")
        ask = self._ask_text if protocol == "text" else self._ask_prepared
        keys = [[self._draw.randint(1, self._rows) for _ in range(each)] for _ in self._members]
        parts = zip(self._members, keys, strict=True)
        await asyncio.gather(*(ask(connection, statement, mine) for (connection, statement), mine in parts))

    async def _ask_text(self, connection: Connection, _: Statement, keys: list[int]) -> None:
        for key in keys:
            await connection.query(f"SELECT c FROM sbtest1 WHERE id={key}", ANSWER_TIMEOUT)

    async def _ask_prepared(self, connection: Connection, statement: Statement, keys: list[int]) -> None:
        for key in keys:
            await connection.execute(statement, [key], ANSWER_TIMEOUT, types=False)
