"""INSERTs whose ids Fairlead gives: the ids are taken, written into the statement, and that one is carried out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from _speedups.lexer import LexedStatement, lex
from _speedups.relay import StatementRef
from proxy.scatter.executor import Execution
from proxy.sessions.params import bigint, rearranged
from proxy.sessions.session import Session, keeps_zero
from router import route
from router.engine.assemble import Outgoing
from router.keys import Value
from router.literals import Params
from router.numbering import Survey, survey, table_of, written
from router.plan import Numbered, Planned
from router.text import Text
from router.topology import Table

if TYPE_CHECKING:
    from proxy.worker import Worker

PLANNED_MAX = 2048
"""Plans of statements with ids in them that are kept."""


@dataclass(frozen=True, slots=True)
class Form:
    """A statement in words of ours. `client`: the one it stands for, as lexed. `payload`: what one shard is sent, and
    `statement`: what that executes. `insert_id`: the first of its ids; `tells`: the server is made to say so."""

    client: LexedStatement
    payload: bytes
    statement: StatementRef | None = None
    insert_id: int = 0
    tells: bool = False


class Numbering:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._planned: OrderedDict[tuple[int, str, int, bytes], tuple[int, Planned]] = OrderedDict()

    def begin(
        self, handle: int, session: Session, sql: Text, found: LexedStatement, planned: Planned, params: Params,
        execution: Execution | None,
    ) -> None:  # fmt: skip
        """Carry out a parked INSERT. Raises Refusal."""
        plan = planned.plan
        assert isinstance(plan, Numbered) and planned.topology is not None
        given = route.Execution(bytes(sql), found, planned.topology, session.mode, params, session.charset)
        rows = survey(plan, given, zero_is_kept=keeps_zero(session))
        table, _ = table_of(plan, given)
        first = self._worker.sequences.take_now(table, len(rows.spots)) if rows.spots else 0
        if first is not None:
            self._carry_out(handle, session, given, rows, first, execution)
        else:
            self._worker.dispatcher.spawn(handle, self._wait(handle, session, given, rows, table, execution))

    async def _wait(
        self, handle: int, session: Session, given: route.Execution, rows: Survey, table: Table,
        execution: Execution | None,
    ) -> None:  # fmt: skip
        first = await self._worker.sequences.take(session, table, len(rows.spots))
        self._carry_out(handle, session, given, rows, first, execution)

    def _carry_out(
        self, handle: int, session: Session, given: route.Execution, rows: Survey, first: int,
        execution: Execution | None,
    ) -> None:  # fmt: skip
        prepared = execution is not None
        numbers = range(first, first + len(rows.spots))
        plain = written(given, rows, first, prepared=prepared)
        found = lex(plain.text, session.mode)
        planned = self._plan(session, found, plain.text, fresh=len(rows.spots) == rows.rows)
        # The server tells the id of a row that it was given one for, but of several rows the last one's.
        tells = len(rows.spots) > 0 and rows.rows > 1
        sent = written(given, rows, first, prepared=prepared, tells=True) if tells else plain
        form = replace(self._form(session, given, sent, numbers, execution), tells=tells)
        params = [_param(given.params, numbers, at) for at in plain.params]
        if execution is not None:
            payload = rearranged(execution.payload, len(given.params), plain.params, *map(bigint, numbers))
            execution = Execution(execution.statement, payload, execution.number, params)
        compiled = self._worker.compile(session, planned)
        self._worker.placing.begin(
            handle, session, plain.text, found, planned, compiled, params, execution, form
        )

    def _form(
        self, session: Session, given: route.Execution, sent: Outgoing, numbers: Sequence[int],
        execution: Execution | None,
    ) -> Form:  # fmt: skip
        first = numbers[0] if numbers else 0
        if execution is None:
            return Form(given.lexed, b"\x03" + sent.text, None, first)
        payload = rearranged(execution.payload, len(given.params), sent.params, *map(bigint, numbers))
        statement = self._worker.statements.form(session, execution.number, sent.text, len(sent.params))
        return Form(given.lexed, payload, statement, first)

    def _plan(self, session: Session, found: LexedStatement, text: bytes, *, fresh: bool) -> Planned:
        """Raises Refusal."""
        numbered: Literal["fresh", "given"] = "fresh" if fresh else "given"
        key = (self._worker.contexts.number(session.context()), numbered, found.fingerprint, found.norm)
        epoch, planned = self._planned.get(key, (-1, None))
        if planned is None or epoch != self._worker.epoch:
            context = replace(self._worker.context_of(session), numbered=numbered)
            planned = self._worker.plan_in_force(found, text, context)
            if planned.facts.cacheable:
                self._planned[key] = (self._worker.epoch, planned)
        if len(self._planned) > PLANNED_MAX:
            self._planned.popitem(last=False)
        if (refused := planned.refusal) is not None:
            raise refused
        return planned


def _param(params: Params, numbers: Sequence[int], at: int) -> Value:
    return params[at] if at >= 0 else numbers[-1 - at]
