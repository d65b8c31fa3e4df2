"""information_schema as one server would have it: views' rows are asked for keyspace by keyspace, and the client's
statement is asked of one server with these rows in place of the views.

They stand in its text as JSON_TABLE(…), with the types and collations of the view's own columns. The answer's columns
are called what that server says of the client's own text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from _speedups import lexer
from _speedups.packet import split_packets
from _speedups.rows import Shape
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.prepared import StmtPrepareOk
from proxy.mysql.wire import HEADER_SIZE, frame
from proxy.result_set import Head, ResultSet
from proxy.scatter.cursors import LeaseCursor, ShardError, pass_on
from proxy.scatter.derived import Collected, Statement, derived
from proxy.scatter.leases import Lease, is_error
from proxy.sessions.params import rearranged
from proxy.sessions.session import Session
from router import plan as plans
from router.engine.assemble import spelled
from router.engine.columns import Column
from router.engine.computing import written
from router.engine.recipe import Piece, Span
from router.errors import refusal
from router.literals import value
from router.planner.merging import Edit, edited
from router.relations import SYSTEM
from router.tokens import Token, decode, quoted, tokenize

if TYPE_CHECKING:
    from proxy.worker import Worker

MOST = 4 << 20
"""Bytes of all views' rows: written as hexadecimal digits, they have to fit into a packet."""
COLUMNS = (
    "SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS "
    "WHERE TABLE_SCHEMA = 'information_schema' AND TABLE_NAME = '{}' ORDER BY ORDINAL_POSITION"
)
_UTF8 = frozenset({33, 45, 46, 83, *range(192, 216), *range(224, 248), *range(255, 324), *range(2304, 3072)})
"""Collations whose texts arrive as UTF-8."""

Rows = list[list[str | None]]


class Surveying:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(self, handle: int, session: Session, given: Statement, plan: plans.Survey) -> None:
        """Carry out a parked statement. Raises Refusal."""
        info = self._worker.executor.aside(handle, session, given.planned)
        if info is not None:
            self._worker.dispatcher.count(handle, session, given.found, ())
            self._worker.dispatcher.spawn(handle, self._run(handle, session, given, plan, info))

    async def _run(
        self, handle: int, session: Session, given: Statement, plan: plans.Survey, info: dict[str, Any]
    ) -> None:
        tokens = tokenize(decode(given.found.norm))
        number = self._worker.compiler.nearest(plan.shards)
        try:
            async with self._worker.lease(session, number) as lease:
                head = await _described(lease, number, given)
                edits, size = [Edit((first, end), ()) for first, end in plan.dropped], 0
                for view in plan.views:
                    columns = await self._columns(lease, number, view)
                    rows = await self._rows(handle, session, given, tokens, view, columns)
                    document = json.dumps(rows, separators=(",", ":")).encode("ascii")
                    size += len(document)
                    if size > MOST:
                        raise refusal("SYSTEM_SCHEMA", SYSTEM, f"its rows are more than {MOST >> 20} MB")
                    edits.append(Edit((view.first, view.last + 1), (_table(view, columns, document),)))
                text, order = spelled(edited(tokens, edits), tokens, given.text, given.found, session.mode)
                answer = ResultSet(self._worker, handle, session, Status(info["status"]))
                self._submit(session, lease, number, given, text, order)
                await _answer(answer, LeaseCursor(plan.shards[0], lease, deprecate=answer.deprecate), head)
        except ShardError as error:
            self._worker.relay.reply(handle, frame(error.payload, 1), error=True)

    def _submit(
        self, session: Session, lease: Lease, number: int, given: Statement, text: bytes, order: Sequence[int]
    ) -> None:
        if given.execution is None:
            lease.submit(number, b"\x03" + text)
            return
        payload = rearranged(given.execution.payload, len(given.params), order)
        statement = self._worker.statements.form(session, given.execution.number, text, len(order))
        lease.submit(number, payload, 0, statement)

    async def _columns(self, lease: Lease, number: int, view: plans.View) -> list[tuple[str, str]]:
        """The view's columns: their names, and their types as in a definition. Raises ShardError."""
        cursor = LeaseCursor("", lease, deprecate=_deprecates(lease))
        lease.submit(number, b"\x03" + COLUMNS.format(view.name).encode())
        found = []
        for name, kind, charset, collation in await _texts(cursor, binary=False):
            assert name is not None and kind is not None
            text = f" CHARACTER SET {charset} COLLATE {collation}" if collation is not None else ""
            found.append((name, kind + text))
        return found

    # --- one view's rows --------------------------------------------------------------------------------------

    async def _rows(
        self, handle: int, session: Session, given: Statement, tokens: Sequence[Token], view: plans.View,
        columns: Sequence[tuple[str, str]],
    ) -> Rows:  # fmt: skip
        """Of all its keyspaces. Raises Refusal and ShardError."""
        found: Rows = []
        limit = self._worker.generation.settings.limits.merge_memory
        for keyspace in self._keyspaces(session, given, view):
            inner = derived(self._worker, session, given, list(_pieces(view, keyspace)), tokens)
            answer = Collected(self._worker, handle, session, limit)
            await self._worker.placing.collect(handle, session, inner, answer, aside=True)
            described = Head(answer.head, deprecate=answer.deprecate).columns()
            if [one.name.upper() for one in described] != [name.upper() for name, _ in columns]:
                raise refusal("SHARDS_DISAGREE", f"of {keyspace}")
            found += _cells(described, bytes(answer.rows), binary=inner.execution is not None)
        return found

    def _keyspaces(self, session: Session, given: Statement, view: plans.View) -> Sequence[str]:
        """Raises Refusal for one that the user may not see."""
        if view.slots is None:
            return view.keyspaces
        named = set(_names(session, given, view.slots))
        topology = self._worker.generation.topology
        for name in named.difference(view.keyspaces):
            if topology.keyspace(name) is not None:
                raise refusal("DENIED_DATABASE", session.user, name)
        return [name for name in view.keyspaces if name in named]


def _deprecates(lease: Lease) -> bool:
    return bool(lease.capabilities & Capability.DEPRECATE_EOF)


def _names(session: Session, given: Statement, slots: Sequence[int]) -> Iterator[str]:
    for number in slots:
        slot = given.found.slots[number]
        items = [slot]
        if slot.kind == lexer.LIST:
            items = lexer.list_items(bytes(given.text), session.mode, slot)
        for item in items:
            found = value(given.text, item, session.mode, given.params, session.charset)
            if isinstance(found, str):
                yield found


def _pieces(view: plans.View, keyspace: str) -> Iterator[Piece]:
    """The view's rows of one keyspace, as a statement of its own."""
    name = keyspace.replace("'", "''")
    yield f"SELECT * FROM {SYSTEM}.{view.name} AS {quoted(view.alias)} WHERE {view.column} = '{name}'"
    for first, end in view.within:
        yield from ("AND (", Span(first, end - 1), ")")


def _table(view: plans.View, columns: Sequence[tuple[str, str]], document: bytes) -> str:
    """What stands for the view."""
    listed = ", ".join(
        f"{quoted(name)} {kind} PATH '$[{at}]' ERROR ON ERROR" for at, (name, kind) in enumerate(columns)
    )
    alias = f" AS {quoted(view.called)}" if view.called else ""
    return f"JSON_TABLE(CONVERT(0x{document.hex()} USING utf8mb4), '$[*]' COLUMNS ({listed})){alias}"


def _cells(columns: Sequence[Column], packets: bytes, *, binary: bool) -> Rows:
    """Rows as texts. Raises Refusal for a text that does not come as UTF-8."""
    if any(one.is_text and one.charset not in _UTF8 for one in columns):
        raise refusal("SYSTEM_SCHEMA", SYSTEM, "the session's results are not in UTF-8")
    shape = Shape([column.type for column in columns], binary, len(columns))
    return [
        [_text(column, cell, binary=binary) for column, cell in zip(columns, shape.cells(payload), strict=True)]
        for _, payload in split_packets(packets)
    ]


def _text(column: Column, cell: bytes | None, *, binary: bool) -> str | None:
    if cell is None:
        return None
    return written(cell, column) if binary and not column.is_text else cell.decode()


async def _texts(cursor: LeaseCursor, *, binary: bool) -> Rows:
    """Raises ShardError."""
    columns = (await cursor.head()).columns()
    found: Rows = []
    while (rows := await cursor.rows()) is not None:
        found += _cells(columns, bytes(rows), binary=binary)
    return found


async def _described(lease: Lease, number: int, given: Statement) -> list[bytes]:
    """The definitions of the columns that the client's own text has. Raises ShardError."""
    prepared = await lease.command(number, b"\x16" + bytes(given.text))
    if is_error(prepared):
        raise ShardError(prepared[HEADER_SIZE:])
    payloads = [payload for _, payload in split_packets(prepared)]
    head = StmtPrepareOk.parse(payloads[0])
    skipped = 1 + head.params + (head.params > 0 and not _deprecates(lease))
    return payloads[skipped : skipped + head.columns]


async def _answer(answer: ResultSet, cursor: LeaseCursor, described: Sequence[bytes]) -> None:
    """The rows, their columns called as in the client's own text. Raises ShardError and Refusal."""
    head = await cursor.head()
    if len(head) != len(described):
        raise refusal("INTERNAL", "an answer of another width than was described")
    if await answer.send(head.named_as(described)):
        await pass_on(cursor, answer)
