"""Subqueries that go first: each is carried out as a statement of its own, what it gives is written into the client's
text, and that is planned and carried out as if the client had sent it so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from _speedups import lexer
from _speedups.packet import split_packets
from _speedups.rows import Shape
from proxy.mysql.wire import frame
from proxy.numbering import Form
from proxy.result_set import Head
from proxy.scatter.cursors import ShardError
from proxy.scatter.derived import Collected, Statement, derived
from proxy.scatter.scopes import Scope, locks_of
from proxy.sessions.session import Session
from router import plan as plans
from router.engine.columns import Column
from router.engine.recipe import Piece, Span
from router.engine.splicing import NO_ROW, literal
from router.errors import refusal
from router.plan import Pulled
from router.planner.merging import Edit, edited
from router.tokens import Token, decode, tokenize

if TYPE_CHECKING:
    from proxy.worker import Worker

ALL_DIGITS = "+ 0." + "0" * 30
TWO_ROWS = "JSON_TABLE('[1, 2]', '$[*]' COLUMNS (fairlead_row FOR ORDINALITY)) AS fairlead_rows"
DEPTH = 8
"""Subqueries within each other that go first."""


class Pulling:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(self, handle: int, session: Session, statement: Statement) -> None:
        """Carry out a parked statement. Raises Refusal."""
        if self._worker.executor.free(handle, statement.planned) is not None:
            self._worker.dispatcher.spawn(handle, self._run(handle, session, statement))

    async def _run(self, handle: int, session: Session, given: Statement) -> None:
        try:
            whole = await self.resolved(handle, session, given)
        except ShardError as error:
            self._worker.relay.reply(handle, frame(error.payload, 1), error=True)
            return
        payload = b"\x03" + bytes(whole.text) if whole.execution is None else whole.execution.payload
        form = Form(given.found, payload, whole.execution.statement if whole.execution is not None else None)
        compiled = self._worker.compile(session, whole.planned)
        self._worker.placing.begin(
            handle, session, whole.text, whole.found, whole.planned, compiled, whole.params, whole.execution, form
        )

    async def resolved(
        self, handle: int, session: Session, given: Statement, depth: int = 0, scope: Scope | None = None
    ) -> Statement:
        """The statement with its subqueries' values in it; in a transaction their rows are locked. Raises Refusal and
        ShardError."""
        plan = given.planned.plan
        if not isinstance(plan, plans.PullOut):
            return given
        if depth > DEPTH:
            raise refusal(plan.entry, *plan.args)
        tokens = tokenize(decode(given.found.norm))
        edits = [
            Edit((pull.first, pull.last + 1), (await self._value(handle, session, given, tokens, pull, depth, scope),))
            for pull in plan.pulls
        ]
        whole = derived(self._worker, session, given, edited(tokens, edits), tokens)
        return await self.resolved(handle, session, whole, depth + 1, scope)

    # --- one subquery ---------------------------------------------------------------------------------------

    async def _value(
        self, handle: int, session: Session, given: Statement, tokens: Sequence[Token], pull: Pulled, depth: int,
        scope: Scope | None,
    ) -> str:  # fmt: skip
        """What stands for it. Raises Refusal and ShardError."""
        inner = derived(self._worker, session, given, [*_pieces(pull), *_locks(session, scope)], tokens)
        inner = await self.resolved(handle, session, inner, depth + 1, scope)
        limits = self._worker.generation.settings.limits
        answer = Collected(self._worker, handle, session, limits.merge_memory)
        await self._worker.placing.collect(handle, session, inner, answer, scope)
        columns = Head(answer.head, deprecate=answer.deprecate).columns()
        rows = [payload for _, payload in split_packets(bytes(answer.rows))]
        if pull.kind == "exists":
            return "TRUE" if rows else "FALSE"
        if pull.kind == "scalar":
            rows = rows[:2]
        if len(rows) > limits.subquery_rows:
            raise refusal("SUBQUERY_ROWS", f"{limits.subquery_rows} rows")
        if not rows:
            return "NULL" if pull.kind == "scalar" else NO_ROW
        found = _literals(session, columns, rows, pull, binary=inner.execution is not None)
        if pull.kind == "in":
            return f"({', '.join(dict.fromkeys(found))})"
        # Whether the error of a second row is one is for those to say who come to compare with it.
        return found[0] if len(found) == 1 else f"(SELECT {found[0]} FROM {TWO_ROWS})"


def _locks(session: Session, scope: Scope | None) -> Sequence[Piece]:
    return locks_of(session) if scope is not None else ()


def _literals(
    session: Session, columns: Sequence[Column], rows: Sequence[bytes], pull: Pulled, *, binary: bool
) -> list[str]:
    shape = Shape([column.type for column in columns], binary, len(columns))
    text = pull.text and session.charset == "utf8mb4"
    backslashes = not session.mode & lexer.NO_BACKSLASH_ESCAPES
    return [
        literal(shape.cells(row)[0], columns[0], binary=binary, text=text, backslashes=backslashes) for row in rows
    ]


def _pieces(pull: Pulled) -> Iterator[Piece]:
    """The subquery as a statement of its own."""
    begin, last = pull.first + (2 if pull.kind == "exists" else 1), pull.last - 1
    if pull.item == plans.NO_TOKENS:
        yield Span(begin, last)
        if pull.kind == "exists" and not pull.limited:
            yield "LIMIT 1"
        return
    first, end = pull.item
    yield from (Span(begin, first - 1), "(", Span(first, end - 1), ")", ALL_DIGITS)
    if end <= last:
        yield Span(end, last)
