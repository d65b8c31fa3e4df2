"""UPDATE and DELETE with LIMIT over several shards, within one transaction."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from _speedups.packet import split_packets
from _speedups.rows import Shape
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.packets.replies import OkPacket
from proxy.mysql.wire import HEADER_SIZE
from proxy.result_set import Head
from proxy.scatter.computing import Ask, Original
from proxy.scatter.cursors import LeaseCursor, ShardError
from proxy.scatter.derived import Collected, Statement, derived
from proxy.scatter.executor import WRITES, Execution, Write, branches_of, first_error
from proxy.scatter.merging import bounds_of, merge_rows, rows_of
from proxy.scatter.scopes import Parts, Scope
from proxy.sessions.params import bigint, rearranged
from proxy.sessions.session import Session
from proxy.xa.transaction import ServerSaid
from router import plan as plans
from router.engine.assemble import assemble
from router.engine.budget import Budget, Pool
from router.engine.columns import Column
from router.engine.computing import written
from router.engine.recipe import Recipe
from router.errors import refusal

if TYPE_CHECKING:
    from proxy.worker import Worker

BAD_FIELD = 1054
"""ER_BAD_FIELD_ERROR, which says in which clause."""
MARK = b"SELECT 0 AS fairlead_shard"
"""How the statement begins that asks for the rows in order; 0 becomes the shard's number."""
_MATCHED = re.compile(rb"([0-9]+)")


def count_of(plan: plans.Chosen, given: Statement, mode: int) -> int:
    """The client's LIMIT. Raises Refusal for what is no number."""
    return rows_of(given.text, given.found, plan.limit, mode, given.params)


class Tally(Collected):
    """How many rows of each shard there are among those that would go to the client."""

    def __init__(self, worker: Worker, handle: int, session: Session, *, binary: bool) -> None:
        super().__init__(worker, handle, session, 0)
        self.found: Counter[int] = Counter()
        self._binary = binary
        self._column: Column | None = None

    async def send(self, packets: bytearray) -> bool:
        """The head comes first."""
        if self._column is None:
            (self._column,) = Head(bytes(packets), deprecate=self.deprecate).columns()
            return True
        shape = Shape([self._column.type], self._binary, 1)
        for _, payload in split_packets(bytes(packets)):
            self.found[self._number(shape.cells(payload)[0] or b"")] += 1
        return True

    def _number(self, cell: bytes) -> int:
        assert self._column is not None
        return int(written(cell, self._column) if self._binary else cell)


class Choice:
    """One statement's."""

    def __init__(
        self, worker: Worker, handle: int, session: Session, given: Statement, plan: plans.Chosen, flags: int
    ) -> None:
        self._worker = worker
        self._handle = handle
        self._session = session
        self._given = given
        self._plan = plan
        self._flags = flags

    # --- in order ---------------------------------------------------------------------------------------------

    async def ordered(self, scope: Scope, shards: Sequence[str], count: int) -> dict[str, bytes]:
        """Raises Refusal, ServerSaid, ShardError."""
        try:
            found = await self._tally(scope, shards)
        except ShardError as error:
            if int.from_bytes(error.payload[1:3], "little") == BAD_FIELD:
                await self._own_error(scope, shards[0])
            raise
        counts = {name: found[at] for at, name in enumerate(shards) if found[at]} or {shards[0]: count}
        parts = await scope.to_write(counts)
        answers = await branches_of(parts).write(self._write(counts))
        if (failed := first_error(answers)) is not None:
            raise ServerSaid(failed)
        return answers

    async def _own_error(self, scope: Scope, shard: str) -> None:
        """Raises ServerSaid for what a server says of the client's own text."""
        parts = await scope.to_read([shard])
        scope.dress(parts)
        answers = await branches_of(parts).write(self._write({shard: 0}))
        if (failed := first_error(answers)) is not None:
            raise ServerSaid(failed)

    async def _tally(self, scope: Scope, shards: Sequence[str]) -> Counter[int]:
        """By the number of the shard, how many of its first rows are among the first of all; they are locked."""
        session, plan = self._session, self._plan
        pieces = (MARK.decode(), "FROM", *plan.read, "FOR UPDATE")
        asked = derived(self._worker, session, self._given, pieces, plan.text.tokens, timed=plan.clock)
        recipe = self._recipe(asked)
        bounds = bounds_of(recipe, asked.text, asked.found, session.mode, asked.params)
        outgoing = assemble(
            recipe, asked.text, asked.found, session.mode, bounds.of_shard(whole=recipe.whole),
            prepared=asked.execution is not None,
        )  # fmt: skip
        texts = {name: _marked(outgoing.text, at) for at, name in enumerate(shards)}
        parts = await scope.to_read(shards)
        self._ask(parts, texts, asked, outgoing.params, bounds.of_shard(whole=recipe.whole))
        binary = asked.execution is not None
        tally = Tally(self._worker, self._handle, session, binary=binary)
        cursors = [_cursor(name, parts, session) for name in shards]
        command = Original(asked.text, asked.found, session.mode, b"" if binary else None)
        limits = self._worker.generation.settings.limits
        with Budget(limits.merge_memory, Pool(limits.merge_memory)) as budget:
            await merge_rows(tally, cursors, recipe, bounds, budget, command, _never, unlike=False)
        return tally.found

    def _recipe(self, asked: Statement) -> Recipe:
        plan = asked.planned.plan
        plan = plan.otherwise if isinstance(plan, plans.ByKey) else plan
        policy = asked.planned.policy
        if isinstance(plan, plans.Refuse):
            raise plans.refusal_of(plan, asked.planned.facts)
        if policy is not None and not all(part.as_it_is for part in policy.parts.values()):
            raise refusal("POLICY_FORM", "a write that carries rows from shard to shard")
        if not isinstance(plan, plans.Scatter) or plan.merge is None:
            raise refusal("WRITE_LIMIT", "UPDATE or DELETE", "LIMIT and an order of this kind")
        return plan.merge

    def _ask(
        self, parts: Parts, texts: Mapping[str, bytes], asked: Statement, order: Sequence[int], limit: int
    ) -> None:  # fmt: skip
        execution = asked.execution
        if execution is None:
            for name, part in parts.items():
                part.lease.submit(part.number, b"\x03" + texts[name])
            return
        payload = rearranged(execution.payload, len(asked.params), order, bigint(limit))
        for name, part in parts.items():
            statement = self._worker.statements.form(self._session, execution.number, texts[name], len(order))
            part.lease.submit(part.number, payload, statement=statement)

    # --- in any order -----------------------------------------------------------------------------------------

    async def in_any_order(self, scope: Scope, shards: Sequence[str], count: int) -> dict[str, bytes]:
        """One shard after the other, until so many rows are found. Raises Refusal, ServerSaid."""
        answers: dict[str, bytes] = {}
        for name in shards:
            parts = await scope.to_write([name])
            answers |= await branches_of(parts).write(self._write({name: count}))
            if (failed := first_error(answers)) is not None:
                raise ServerSaid(failed)
            count -= self._matched(answers[name])
            if count <= 0:
                break
        return answers

    def _matched(self, answer: bytes) -> int:
        """How many rows LIMIT has counted: an UPDATE's are those that are as they should be already, too."""
        found = OkPacket.parse(answer[HEADER_SIZE:], self._session.capabilities)
        matched = _MATCHED.search(found.info) if self._plan.updates else None
        return int(matched[1]) if matched is not None else found.affected_rows

    def _write(self, counts: Mapping[str, int]) -> Write:
        """The client's text for each shard, with so many rows as its LIMIT. Raises Refusal."""
        given, prepared = self._given, self._given.execution is not None
        payloads: dict[str, bytes] = {}
        executions: dict[str, Execution] = {}
        for name, count in counts.items():
            text = assemble(self._plan.text, given.text, given.found, self._session.mode, count, prepared=prepared)
            payloads[name] = b"\x03" + text.text
            if (execution := given.execution) is not None:
                form = self._worker.statements.form(self._session, execution.number, text.text, len(text.params))
                payload = rearranged(execution.payload, len(given.params), text.params, bigint(count))
                executions[name] = replace(execution, statement=form, payload=payload)
        return Write(payloads, executions, flags=WRITES | self._flags)


def _marked(text: bytes, number: int) -> bytes:
    return MARK.replace(b"0", b"%d" % number, 1) + text[len(MARK) :]


def _cursor(name: str, parts: Parts, session: Session) -> LeaseCursor:
    deprecate = bool(session.capabilities & Capability.DEPRECATE_EOF)
    return LeaseCursor(name, parts[name].lease, deprecate=deprecate)


def _no_ask(*_: object) -> LeaseCursor:
    raise refusal("INTERNAL", "a choice of rows that computes")


_never: Ask = _no_ask
