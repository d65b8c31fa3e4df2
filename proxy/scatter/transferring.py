"""INSERT … SELECT whose rows go to other shards than they come from: read and locked, then written, in one
transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from _speedups.packet import split_packets
from _speedups.rows import Shape
from proxy.result_set import Head
from proxy.scatter.derived import Collected, Statement, derived
from proxy.scatter.moving import Carried, insert
from proxy.scatter.scopes import Scope, locks_of
from proxy.sessions.session import Session
from router import plan as plans
from router.engine.columns import Column
from router.engine.computing import written
from router.engine.recipe import Piece
from router.engine.storing import goes_into, literal
from router.errors import Refusal, refusal
from router.keys import KeyColumn, Value, is_integer
from router.plan import KeyRef
from router.route import Undecided, shard_of

if TYPE_CHECKING:
    from proxy.worker import Worker

CARRIED_OUT = plans.Scatter | plans.ByKey | plans.OneShard | plans.AnyShard

Rows = dict[str, list[bytes]]
"""By the shard that they belong to, as literals."""


class Read(Collected):
    """The rows, within the limits."""

    def __init__(self, worker: Worker, handle: int, session: Session, carried: Carried) -> None:
        super().__init__(worker, handle, session, 0)
        self._carried = carried
        self.payloads: list[bytes] = []

    async def send(self, packets: bytearray) -> bool:
        """The head comes first. Raises Refusal beyond the limits."""
        if not self.head:
            self.head = bytes(packets)
            return True
        found = [payload for _, payload in split_packets(bytes(packets))]
        self._carried.add(len(found), len(packets))
        self.payloads += found
        return True

    @property
    def warnings(self) -> int:
        return self._warnings


class Transferring:
    """One statement's."""

    def __init__(self, worker: Worker, handle: int, session: Session, given: Statement, plan: plans.Transfer) -> None:
        self._worker = worker
        self._handle = handle
        self._session = session
        self._given = given
        self._plan = plan
        self.rows = 0

    async def run(self, scope: Scope, carried: Carried) -> dict[str, bytes]:
        """Raises Refusal, ServerSaid, ShardError."""
        rows = await self._read(scope, carried)
        self.rows = sum(map(len, rows.values()))
        answers: dict[str, bytes] = {}
        if rows:
            parts = await scope.to_write(rows)
            for name, part in parts.items():
                found = await insert(part, self._plan.head.encode(), rows[name])
                answers |= {f"{name} {number}": answer for number, answer in enumerate(found)}
        return answers

    async def _read(self, scope: Scope, carried: Carried) -> Rows:
        session, plan = self._session, self._plan
        if session.charset != "utf8mb4":
            raise self._refused("its rows are read as utf8mb4, which the session does not speak")
        pieces: list[Piece] = [plan.select, *locks_of(session)]
        asked = derived(self._worker, session, self._given, pieces, plan.tokens, timed=plan.clock)
        if not isinstance(asked.planned.plan, CARRIED_OUT):
            raise self._refused("its rows cannot be locked where they are read")
        answer = Read(self._worker, self._handle, session, carried)
        await self._worker.placing.collect(self._handle, session, asked, answer, scope)
        if answer.warnings:
            raise self._refused("reading its rows gives warnings, which may be errors when they are stored")
        return self._placed(answer, binary=asked.execution is not None)

    def _refused(self, why: str) -> Refusal:
        return refusal("INSERT_SELECT", self._plan.head.split()[0], self._plan.table, why)

    def _placed(self, answer: Read, *, binary: bool) -> Rows:
        """Raises Refusal."""
        columns = Head(answer.head, deprecate=answer.deprecate).columns()
        if len(columns) != len(self._plan.columns):
            raise refusal("COLUMN_COUNT", self._plan.table)
        for column, stored in zip(columns, self._plan.columns, strict=True):
            if not goes_into(column, stored):
                raise self._refused(f"values of its column {column.name} are converted when they are stored")
        shape = Shape([column.type for column in columns], binary, len(columns))
        rows: Rows = {}
        for payload in answer.payloads:
            cells = shape.cells(payload)
            home = self._home(cells, columns, binary=binary)
            rows.setdefault(home, []).append(b"(" + b",".join(self._literals(cells, columns, binary=binary)) + b")")
        return {shard: rows[shard] for shard in self._plan.shards if shard in rows}

    def _literals(
        self, cells: Sequence[bytes | None], columns: Sequence[Column], *, binary: bool
    ) -> Iterator[bytes]:  # fmt: skip
        for cell, column, stored in zip(cells, columns, self._plan.columns, strict=True):
            found = literal(cell, column, stored, binary=binary)
            if found is None:
                raise self._refused(f"of a value for column {stored.name} it is not certain how it is stored")
            yield found

    def _home(self, cells: Sequence[bytes | None], columns: Sequence[Column], *, binary: bool) -> str:
        """The shard of a row. Raises Refusal."""
        topology = self._worker.generation.topology
        keyspace = topology.keyspace(self._plan.keyspace)
        assert keyspace is not None
        values = [self._value(cells[at], columns[at], key, binary=binary)
                  for at, key in zip(self._plan.keys, self._plan.key_columns, strict=True)]  # fmt: skip
        key = tuple(KeyRef(0, column) for column in self._plan.key_columns)
        try:
            index = shard_of(keyspace.vindexes[self._plan.vindex], key, values, stored=True)
        except Undecided as reason:
            raise refusal("KEY_TYPE", self._plan.vindex, str(reason)) from None
        assert index is not None
        return topology.shards[index].name

    def _value(self, cell: bytes | None, column: Column, key: KeyColumn, *, binary: bool) -> Value:
        if cell is None:
            return None
        if is_integer(key.type):
            return int(written(cell, column) if binary else cell)
        return cell.decode("utf-8", "surrogateescape") if column.is_text else cell
