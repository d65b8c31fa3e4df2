"""Rows that change their shard: read where they were, inserted where they belong, deleted where they were.

It runs in the transaction of the UPDATE that has given them another shard's key; values travel bit by bit as they are
(router/engine/loading.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from _speedups.packet import split_packets
from _speedups.rows import Shape
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.packets.replies import OkPacket
from proxy.mysql.wire import HEADER_SIZE
from proxy.pool.varstate import SessionState
from proxy.scatter.cursors import LeaseCursor
from proxy.sessions.session import Session
from proxy.xa.transaction import Part, ServerSaid
from router.engine.budget import Budget
from router.engine.loading import row, writers
from router.errors import refusal
from router.keys import KeyType, Value, canonical_stored, is_integer
from router.plan import KeyRef, Move
from router.route import Moving
from router.tokens import quoted

AT_ONCE = 256 << 10
"""Of one INSERT, roughly; servers take 16 MB by default."""
MOST_BYTES = 15 << 20
"""Of a row as a literal."""
WRITES = 2
"""The relay's plan flag: a lost answer means an unknown outcome."""
MODE = "NO_BACKSLASH_ESCAPES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
_HINDRANCES = frozenset({"sql_safe_updates", "sql_big_selects", "max_join_size", "foreign_key_checks", "unique_checks"})


def exact(state: SessionState, keyspace: str) -> SessionState:
    """The state in which values travel as they are, beside what else the client has set."""
    kept = replace(state, settings=tuple(one for one in state.settings if one[0] not in _HINDRANCES))
    return kept.use(keyspace).set("names", "binary").set("sql_mode", MODE).set("time_zone", "+00:00")


class Carried:
    """What one statement has in memory of rows that go from shard to shard, against its limits."""

    def __init__(self, budget: Budget, most_rows: int) -> None:
        self._budget = budget
        self._most_rows = most_rows
        self._rows = 0
        self._bytes = 0

    def add(self, rows: int, size: int) -> None:
        """Raises Refusal."""
        self._rows += rows
        self._bytes += size
        if self._rows > self._most_rows:
            raise refusal("MOVED_LIMIT", f"{self._most_rows} rows", "one statement")
        self._budget.hold(self._bytes)


class Mover:
    """One statement's."""

    def __init__(self, session: Session, plan: Move, moved: Moving, carried: Carried) -> None:
        self._session = session
        self._plan = plan
        self._carried = carried
        self._table = f"{quoted(plan.keyspace)}.{quoted(plan.table)}"
        self._where = " AND ".join(self._is(*one) for one in zip(plan.names, plan.new, moved.values, strict=True))

    def _is(self, name: str, ref: KeyRef, value: Value) -> str:
        form = next(one.form for one in self._plan.columns if one.name.lower() == name.lower())
        return f"{quoted(name)} = {_literal(ref, value, text=form != 'plain')}"

    async def move(self, source: Part, target: Part) -> None:
        """All rows of the new key, which belong on the other shard. Raises Refusal, ShardError, ServerSaid."""
        rows = [one async for one in self._rows(source)]
        if not rows:
            return
        gone = await _written(source, f"DELETE FROM {self._table} WHERE {self._where}".encode())
        if OkPacket.parse(gone[HEADER_SIZE:], self._session.capabilities).affected_rows != len(rows):
            raise refusal("INTERNAL", "rows that change their shard were not the same a moment later")
        names = ", ".join(quoted(column.name) for column in self._plan.columns)
        await insert(target, f"INSERT INTO {self._table} ({names}) VALUES ".encode(), rows)

    async def _rows(self, source: Part) -> AsyncIterator[bytes]:
        """As literals."""
        asked = ", ".join(column.asked for column in self._plan.columns)
        text = f"SELECT {asked} FROM {self._table} WHERE {self._where} FOR UPDATE"
        source.lease.submit(source.number, b"\x03" + text.encode())
        deprecate = bool(source.lease.capabilities & Capability.DEPRECATE_EOF)
        cursor = LeaseCursor(source.name, source.lease, deprecate=deprecate)
        columns = (await cursor.head()).columns()
        shape = Shape([column.type for column in columns], False, len(columns))
        write = writers(self._plan.columns)
        while (packets := await cursor.rows()) is not None:
            found = [payload for _, payload in split_packets(bytes(packets))]
            self._carried.add(len(found), len(packets))
            for payload in found:
                if len(payload) > MOST_BYTES:
                    raise refusal("MERGE_ROW")
                yield row(shape.cells(payload), write)


def _literal(ref: KeyRef, value: Value, *, text: bool) -> str:
    """The stored key, which the row is found by."""
    data = canonical_stored(value, ref.column)
    if is_integer(ref.column.type):
        return str(int.from_bytes(data, "little", signed=ref.column.type is KeyType.INT_SIGNED))
    given = value.encode() if isinstance(value, str) else value
    assert isinstance(given, bytes)
    return f"_utf8mb4 x'{given.hex()}'" if text else f"x'{given.hex()}'"


async def insert(target: Part, head: bytes, rows: list[bytes]) -> list[bytes]:
    """Some rows at a time; the answers. Raises ServerSaid."""
    answers: list[bytes] = []
    first = size = 0
    for at, one in enumerate(rows):
        if at > first and size + len(one) > AT_ONCE:
            answers.append(await _written(target, head + b",".join(rows[first:at])))
            first, size = at, 0
        size += len(one)
    answers.append(await _written(target, head + b",".join(rows[first:])))
    return answers


async def _written(part: Part, text: bytes) -> bytes:
    answer = await part.say(text, WRITES)
    if answer[HEADER_SIZE] == 0xFF:
        raise ServerSaid(answer)
    return answer
