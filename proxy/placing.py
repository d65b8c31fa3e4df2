"""Where an execution of a plan goes: to one shard by the relay, to several by the executor."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.audit.exposure import Toll
from proxy.compile import Compiled, error_payload
from proxy.numbering import Form
from proxy.one_shard import file_flags
from proxy.result_set import ResultSet
from proxy.scatter.computing import Original
from proxy.scatter.derived import Statement
from proxy.scatter.executor import Asked, Execution, Read, Reduced
from proxy.scatter.merging import Bounds, bounds_of
from proxy.scatter.scopes import Scope
from proxy.scatter.steps import STEPPED
from proxy.sessions.params import bigint, rearranged
from proxy.sessions.session import Session
from router import plan as plans
from router.engine.assemble import assemble
from router.engine.recipe import Recipe
from router.errors import refusal
from router.literals import Params
from router.plan import Planned, refusal_of
from router.route import route, warning
from router.text import Text

if TYPE_CHECKING:
    from proxy.worker import Worker

CARRIED_OUT = plans.MultiWrite | plans.SplitInsert | plans.Scatter | plans.SchemaChange
"""Plans that the executor carries out on several shards."""


class Placing:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, compiled: Compiled,
        params: Params, execution: Execution | None, form: Form | None = None, told: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Where this execution goes: one shard by the relay, several by the executor. `form`: the statement is not the
        client's own; `told`: the shards, where a lookup has told them. Raises Refusal."""
        plan = planned.plan
        if isinstance(plan, plans.ByLookup) and not told:
            self._worker.lookups.find(handle, session, sql, found, planned, compiled, params, execution, form)
            return
        shards = told or self._shards_of(session, Statement(sql, found, planned, params, execution))
        if session.bound in shards:
            # A peer's statement for several shards comes once for each of them.
            shards = (session.bound,)
        warned = warning(planned, len(shards))
        session.note = error_payload(warned) if warned is not None else None
        toll = self._worker.exposures.toll(session, planned, found, sql, params, shards)
        if toll is not None and toll.persons is None and session.spread is not None:
            raise toll.bound_to_its_connection()
        if isinstance(plan, plans.Keep):
            keep = self._worker.lookups.write
            keep(handle, session, sql, found, planned, plan, shards, params, execution, form, toll)
            return
        if isinstance(plan, plans.ByKey | plans.ByLookup) and len(shards) > 1:
            plan = plan.otherwise
        if isinstance(plan, plans.Refuse):
            raise refusal_of(plan, planned.facts)
        if isinstance(plan, plans.Residual):
            if toll is not None:
                raise refusal("SCRATCH_POLICY", "the persons in it are counted")
            self._worker.scratch.begin(handle, session, sql, found, planned, plan, params, execution)
            return
        statement = Statement(sql, found, planned, params, execution)
        if len(shards) > 1 and isinstance(plan, plans.Scatter) and plan.merge is not None:
            bounds = bounds_of(plan.merge, sql, found, session.mode, params)
            if bounds.count != 0:
                self._merged(handle, session, statement, plan.merge, bounds, shards, toll)
                return
            # LIMIT 0: there is nothing to merge, and servers describe its columns in their own way.
            shards = shards[:1]
        info = self._worker.relay.info(handle)
        if info is None:
            return
        if toll is not None and toll.persons is None and len(shards) == 1:
            self._by_row(handle, session, statement, shards, toll, info)
        elif len(shards) > 1 and isinstance(plan, STEPPED | CARRIED_OUT):
            self._at_several(handle, session, statement, plan, shards, toll, form)
        else:
            self._at_one(handle, session, statement, compiled, shards, info, toll, form)

    def _shards_of(self, session: Session, statement: Statement) -> tuple[str, ...]:
        """Raises Refusal."""
        planned = statement.planned
        shards = route(
            planned, statement.found, statement.text, statement.params, mode=session.mode, charset=session.charset
        )
        if isinstance(shards, plans.Refuse):
            raise refusal_of(shards, planned.facts)
        return shards

    def _at_several(
        self, handle: int, session: Session, statement: Statement, plan: plans.Plan, shards: tuple[str, ...],
        toll: Toll | None, form: Form | None,
    ) -> None:  # fmt: skip
        """A write, or a read whose rows are not merged. Raises Refusal."""
        sql, found, planned, execution = statement.text, statement.found, statement.planned, statement.execution
        reduced = self._worker.reducing.of_several(session, sql, found, planned, shards, execution)
        self._worker.dispatcher.count(handle, session, found if form is None else form.client, shards)
        if isinstance(plan, STEPPED):
            self._worker.stepping.begin(handle, session, statement, plan, shards, reduced.flags)
            return
        first = form.insert_id if form is not None else 0
        reduced = replace(reduced, toll=toll)
        self._worker.executor.begin(handle, session, sql, found, planned, plan, shards, execution, reduced, first)

    def _at_one(
        self, handle: int, session: Session, statement: Statement, compiled: Compiled, shards: tuple[str, ...],
        info: dict[str, Any], toll: Toll | None, form: Form | None,
    ) -> None:  # fmt: skip
        """Raises Refusal."""
        sql, found, planned, execution = statement.text, statement.found, statement.planned, statement.execution
        one, reducing, spread = self._worker.one_shard, self._worker.reducing, session.spread
        if planned.facts.implicit_commit and "opaque" not in planned.facts.pins:
            # A transaction that has reached no shard yet ends here; an open one is committed by its server, as is one
            # that begins there for what is not understood: that may be no more than a slip of the pen.
            self._worker.relay.drop_pending(handle)
        if spread is not None and planned.facts.pins and spread.home in shards:
            shards = (spread.home,)
        shard = one.one_of(shards, planned, info)
        client, payload = found, b""
        if form is None:
            verdict = reducing.of_one(session, sql, found, planned, shard, execution)
        else:
            self._worker.ensure_way(session, shard, session.capabilities)
            verdict = reducing.of_form(planned, shard, form)
            client, payload = form.client, form.payload
        about = (client, planned, compiled, shard, info, verdict, toll, payload, form)
        start = partial(one.start, handle, session, *about)
        if spread is not None:
            self._worker.dispatcher.spawn(handle, one.held(handle, session, spread, planned, compiled, shard, start))
        elif (rest := start()) is not None:
            self._worker.dispatcher.spawn(handle, rest)

    def split_file(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, plan: plans.SplitLoad
    ) -> None:
        """LOAD DATA LOCAL of a sharded table. Raises Refusal."""
        info = self._worker.relay.info(handle)
        if info is None:
            return
        file_flags(session, info)
        shards = self._shards_of(session, Statement(sql, found, planned, (), None))
        self._worker.dispatcher.count(handle, session, found, shards)
        self._worker.loading.begin(handle, session, sql, found, planned, plan)

    def _by_row(
        self, handle: int, session: Session, statement: Statement, shards: tuple[str, ...], toll: Toll,
        info: dict[str, Any],
    ) -> None:  # fmt: skip
        """One shard's answer, whose rows have to be counted: as those of several. Raises Refusal."""
        if info["trx"] or info["pins"] or not info["autocommit"]:
            raise toll.bound_to_its_connection()
        sql, found, planned, execution = statement.text, statement.found, statement.planned, statement.execution
        reduced = self._worker.reducing.of_several(session, sql, found, planned, shards, execution)
        self._worker.dispatcher.count(handle, session, found, shards)
        begin, reduced = self._worker.executor.begin, replace(reduced, toll=toll)
        begin(handle, session, sql, found, planned, planned.plan, shards, execution, reduced)

    def _merged(
        self, handle: int, session: Session, statement: Statement, recipe: Recipe, bounds: Bounds,
        shards: tuple[str, ...], toll: Toll | None,
    ) -> None:  # fmt: skip
        """A read whose rows the engine merges: shards get it with helper columns. Raises Refusal."""
        found, planned = statement.found, statement.planned
        if recipe.explained is not None and statement.execution is not None:
            raise refusal("NOT_PREPARABLE", "EXPLAIN of what goes to several shards")
        self._worker.dispatcher.count(handle, session, found, shards)
        asked, reduced = self._asked(session, statement, recipe, bounds, shards)
        self._worker.executor.merge(handle, session, found, planned, recipe, asked, replace(reduced, toll=toll))

    def _asked(
        self, session: Session, statement: Statement, recipe: Recipe, bounds: Bounds, shards: tuple[str, ...]
    ) -> tuple[Asked, Reduced]:
        """What shards are asked for a merged read. Raises Refusal."""
        sql, found, execution = statement.text, statement.found, statement.execution
        limit = bounds.of_shard(whole=recipe.whole)
        outgoing = assemble(recipe, sql, found, session.mode, limit, prepared=execution is not None)
        texts, reduced = self._worker.reducing.of_ours(session, outgoing.text, statement.planned, shards)
        if execution is None:
            payloads = {name: b"\x03" + text for name, text in texts.items()}
            return Asked(shards, b"", bounds, Original(sql, found, session.mode)), replace(reduced, payloads=payloads)
        statements, count = self._worker.statements, len(statement.params)
        refs = statements.forms(session, execution.number, texts, len(outgoing.params))
        payload = rearranged(execution.payload, count, outgoing.params, bigint(limit))
        prepare = partial(statements.form, session, execution.number)
        command = Original(sql, found, session.mode, execution.payload, count, prepare)
        return Asked(shards, payload, bounds, command), replace(reduced, statements=refs)

    async def collect(
        self, handle: int, session: Session, statement: Statement, answer: ResultSet, scope: Scope | None = None, *,
        aside: bool = False,
    ) -> None:  # fmt: skip
        """Carry out a read whose answer is not the client's, in a transaction if one is given. `aside`: it is about
        tables, whatever the session does to their rows. Raises Refusal, and what `answer` raises."""
        sql, found, planned, params = statement.text, statement.found, statement.planned, statement.params
        shards = self._shards_of(session, statement)
        if self._worker.exposures.toll(session, planned, found, sql, params, shards) is not None:
            raise refusal("POLICY_FORM", "a subquery whose rows are counted")
        plan, execution = planned.plan, statement.execution
        if isinstance(plan, plans.ByLookup) or (isinstance(plan, plans.ByKey) and len(shards) > 1):
            plan = plan.otherwise
        if len(shards) > 1 and isinstance(plan, plans.Scatter) and plan.merge is not None:
            bounds = bounds_of(plan.merge, sql, found, session.mode, params)
            asked, reduced = self._asked(session, statement, plan.merge, bounds, shards)
            read = Read(shards, b"", execution, reduced, plan.merge, asked, scope, aside)
        else:
            shards = shards if isinstance(plan, plans.Scatter) else self._one_of(shards)
            reduced = self._worker.reducing.of_several(session, sql, found, planned, shards, execution)
            payload = execution.payload if execution is not None else b"\x03" + bytes(sql)
            read = Read(shards, payload, execution, reduced, scope=scope, aside=aside)
        await self._worker.executor.collect(handle, session, found, planned, read, answer)

    def _one_of(self, shards: tuple[str, ...]) -> tuple[str, ...]:
        """One of this region, if there is any."""
        return (next((name for name in shards if self._worker.is_local(name)), shards[0]),)
