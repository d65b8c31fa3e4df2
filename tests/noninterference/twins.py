"""Two worlds that differ in what a foreign subject may not see, and a client of both that asks everything twice."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import Shape
from loadtest.world.process import POLL_INTERVAL
from loadtest.world.sqlserver import SqlServer
from loadtest.world.world import World
from tests.differential.wire import (
    CLIENT_DEPRECATE_EOF,
    CLIENT_FOUND_ROWS,
    COM_QUERY,
    COM_RESET_CONNECTION,
    COM_STMT_PREPARE,
    Answer,
    Prepared,
    Raw,
    execute_payload,
)
from tests.noninterference.estate import AMOUNTS, CHANGES, KEYSPACES, MARKER, TABLES, WRITTEN, Estate, Side
from tests.noninterference.grammar import Statement

SIDES: tuple[Side, Side] = ("a", "b")
Members = Mapping[str, Mapping[Side, Fairlead]]
"""By region and side."""
SAVED = "saved"
MORE_RESULTS = 8
"""Status bit: another result follows."""


class Tape(Raw):
    """A client that keeps every packet as it came, and asks without waiting."""

    def __init__(self, connection: Any, *, deprecate_eof: bool = False) -> None:
        super().__init__(connection, deprecate_eof=deprecate_eof)
        self.packets: list[bytes] = []

    def _packet(self) -> bytes:
        data = super()._packet()
        self.packets.append(data)
        return data

    def ask(self, payload: bytes) -> None:
        """`listen` reads the answer."""
        self.packets = []
        try:
            self.send(payload)
        except OSError:
            self.lost = True

    def listen(self, prepared: Prepared | None = None, *, binary: bool = False) -> Answer:
        if self.lost:
            return Answer("lost")
        try:
            if prepared is None:
                return self._results(binary=binary)
            prepared.answer = self._prepared(prepared)
            return prepared.answer
        except (EOFError, OSError):
            self.lost = True
            return Answer("lost")

    def _results(self, *, binary: bool) -> Answer:
        """The first of the results: a procedure has several."""
        first = last = self._result(binary=binary)
        while last.status & MORE_RESULTS and last.kind != "error":
            last = self._result(binary=binary)
        return first


@dataclass(frozen=True, slots=True)
class Way:
    """How a client connects."""

    region: str = "eu"
    database: str = "cells"
    charset: str = "utf8mb4"
    sql_mode: str = ""
    user: str = "analyst"
    deprecate_eof: bool = False
    found_rows: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What one command was answered, as packets and as they read."""

    answer: Answer
    packets: Sequence[bytes] = field(repr=False)

    @property
    def data(self) -> bytes:
        return b"\n".join(self.packets)


@dataclass(frozen=True, slots=True)
class Pair:
    """The answers of both sides to one command."""

    a: Reply
    b: Reply

    @property
    def differs(self) -> bool:
        return self.a.packets != self.b.packets

    @property
    def answered(self) -> bool:
        return self.a.answer.kind in ("rows", "ok")

    def told(self) -> str:
        """The answers from where they differ on."""
        a, b = (reply.packets for reply in (self.a, self.b))
        unlike = (at for at, (one, other) in enumerate(zip(a, b, strict=False)) if one != other)
        start = next(unlike, min(len(a), len(b))) if self.differs else 0
        return f"a: {_short(self.a, start)}\nb: {_short(self.b, start)}"


def _short(reply: Reply, start: int) -> str:
    answer = reply.answer
    if answer.kind == "error":
        return f"{answer.errno} {answer.sqlstate} {answer.message}"
    return f"packets from {start} of {len(reply.packets)}: {reply.packets[start : start + 20]!r}"[:2000]


class Client:
    """One client of each side, in step."""

    def __init__(self, way: Way, members: Members) -> None:
        flags = (CLIENT_DEPRECATE_EOF if way.deprecate_eof else 0) | (CLIENT_FOUND_ROWS if way.found_rows else 0)
        options: dict[str, Any] = {"charset": way.charset, "client_flag": flags, "database": way.database}
        self.tapes = [
            Tape(members[way.region][side].connect(way.user, "x", **options), deprecate_eof=way.deprecate_eof)
            for side in SIDES
        ]
        if way.sql_mode:
            (pair,) = self.run(Statement(f"SET sql_mode = '{way.sql_mode}'".encode()))
            assert pair.answered, pair.told()

    @property
    def lost(self) -> bool:
        return any(tape.lost for tape in self.tapes)

    def close(self) -> None:
        for tape in self.tapes:
            tape.close()

    def run(self, statement: Statement) -> list[Pair]:
        """One pair for each command that the statement takes."""
        if statement.params is None:
            return [self._both(bytes((COM_QUERY,)) + statement.sql)]
        prepared = [Prepared(Answer("lost")) for _ in SIDES]
        first = self._both(bytes((COM_STMT_PREPARE,)) + statement.sql, prepared)
        if any(one.answer.kind != "ok" for one in prepared) or len({len(one.parameters) for one in prepared}) > 1:
            return [first]
        given = [*statement.params, *[None] * len(prepared[0].parameters)][: len(prepared[0].parameters)]
        for tape, one in zip(self.tapes, prepared, strict=True):
            tape.ask(execute_payload(one, given))
        second = self._heard(binary=True)
        for tape, one in zip(self.tapes, prepared, strict=True):
            if not tape.lost:
                tape.close_statement(one)
        return [first, second]

    def reset(self) -> Pair:
        """COM_RESET_CONNECTION: variables, transactions and temporary tables are gone."""
        return self._both(bytes((COM_RESET_CONNECTION,)))

    def _both(self, payload: bytes, prepared: Sequence[Prepared] | None = None) -> Pair:
        for tape in self.tapes:
            tape.ask(payload)
        return self._heard(prepared)

    def _heard(self, prepared: Sequence[Prepared] | None = None, *, binary: bool = False) -> Pair:
        replies = []
        for at, tape in enumerate(self.tapes):
            answer = tape.listen(prepared[at] if prepared is not None else None, binary=binary)
            replies.append(Reply(answer, tuple(tape.packets)))
        return Pair(*replies)


class Twins:
    """Both worlds, with a Fairlead in each region of each. Ends with `close`."""

    def __init__(self, flavour: str) -> None:
        self._stack = ExitStack()
        self.flavour = flavour
        self.shape = Shape(regions=("eu", "us"), shards=1, replicas=0, flavour=flavour)
        self.worlds: dict[Side, World] = {}
        for side in SIDES:
            self.worlds[side] = World(self.shape, datasets=[Estate(name, side) for name in KEYSPACES])
            self._stack.callback(self.worlds[side].stop)
        with ThreadPoolExecutor(max_workers=len(SIDES)) as pool:
            list(pool.map(self._start, self.worlds.values()))
        self.members: Members = {
            region: {side: world.kept(CHANGES, region=region) for side, world in self.worlds.items()}
            for region in self.shape.regions
        }

    def _start(self, world: World) -> None:
        """With copies for `reset`, and statistics as the servers make them of these rows, once."""
        world.start()
        for name, shard in world.shards.items():
            for dataset in world.datasets:
                if name not in dataset.shards(self.shape):
                    continue
                saved = f"{SAVED}_{dataset.database}"
                shard.primary.run(f"CREATE DATABASE {saved}")
                for table in WRITTEN:
                    shard.primary.run(f"CREATE TABLE {saved}.{table} AS SELECT * FROM {dataset.database}.{table}")
                shard.primary.run(*(f"ANALYZE TABLE {table}" for table in TABLES), database=dataset.database)

    def reset(self) -> None:
        """All rows as they were loaded."""
        for world in self.worlds.values():
            for name, shard in world.shards.items():
                for dataset in world.datasets:
                    if name in dataset.shards(self.shape):
                        self._restore(shard.primary, dataset.database)

    def _restore(self, server: SqlServer, database: str) -> None:
        server.run(
            "SET unique_checks = 0, foreign_key_checks = 0",
            *(f"DELETE FROM {table}" for table in WRITTEN),
            *(f"INSERT INTO {table} SELECT * FROM {SAVED}_{database}.{table}" for table in WRITTEN),
            database=database,
        )

    def settle(self) -> None:
        """Statistics as the servers make them of the rows that are there, without those that wait to be purged: from
        these, and so from what was there before, optimizers choose the order of rows that no ORDER BY tells apart."""
        for world in self.worlds.values():
            for name, shard in world.shards.items():
                _await_purge(shard.primary)
                for dataset in world.datasets:
                    if name in dataset.shards(self.shape):
                        shard.primary.run(*(f"ANALYZE TABLE {table}" for table in TABLES), database=dataset.database)

    def laundered(self) -> list[str]:
        """What of the tables without a protected column is not alike on both sides: a value got there."""
        found = []
        for shard in self.worlds["a"].shards:
            for database in KEYSPACES:
                if (shard, database) not in COMPARED:
                    continue
                for query in PUBLIC:
                    a, b = (self.worlds[side].shards[shard].primary.query(query, database) for side in SIDES)
                    if a != b:
                        found.append(f"{shard} {query}: {set(a) ^ set(b)}")
        return found

    def close(self) -> None:
        self._stack.close()


PURGED = "SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'"
PATIENCE = 5.0


def _await_purge(server: SqlServer) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.value(PURGED) > 0 and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL)


COMPARED = {("eu-0", "cells"), ("eu-0", "desk"), ("us-0", "cells"), ("us-0", "homes")}
PUBLIC = (
    "SELECT * FROM orders ORDER BY 1, 2",
    "SELECT * FROM notes ORDER BY 1, 2",
    "SELECT * FROM countries ORDER BY 1",
    "SELECT id, country, city, score FROM customers ORDER BY id",
)

# --- sentinels --------------------------------------------------------------------------------------------------


def _base64(word: bytes) -> list[bytes]:
    """The characters that every base64 text with the word in it has, by where the word begins."""
    found = []
    for phase in range(3):
        first, end = -(-8 * phase // 6), 8 * (phase + len(word)) // 6
        found.append(base64.b64encode(b"\0" * phase + word + b"\0\0")[first:end])
    return found


_WORD = MARKER.encode()
_PLAIN = [_WORD, _WORD[::-1], _WORD.hex().encode()]
_PLAIN += [form for amount in AMOUNTS.values() for form in (amount.encode(), amount.encode().hex().encode())]
_CODED = _base64(_WORD)


def sentinels_in(data: bytes) -> list[bytes]:
    """The protected cells that show: as they are, in upper case, reversed, in hex or base64."""
    lowered = data.lower()
    return [one for one in _PLAIN if one in lowered] + [one for one in _CODED if one in data]
