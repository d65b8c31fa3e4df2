"""Writes of several steps: what is read decides what is written, all of it in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.audit.recorder import Outcome
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import OkPacket
from proxy.mysql.wire import HEADER_SIZE, frame
from proxy.result_set import FIRST_SEQUENCE
from proxy.scatter import choosing
from proxy.scatter.cursors import ShardError
from proxy.scatter.derived import Statement
from proxy.scatter.executor import WRITES, Inserted, Write, branches_of, first_error
from proxy.scatter.moving import Carried, Mover, exact
from proxy.scatter.scopes import Scope, joined_scope, own_scope
from proxy.scatter.transferring import Transferring
from proxy.sessions.session import Session
from proxy.xa import faults
from proxy.xa.transaction import ServerSaid, errno_of
from router import plan as plans
from router.engine.budget import Budget, Pool
from router.errors import refusal
from router.route import moving, route

if TYPE_CHECKING:
    from proxy.worker import Worker

STEPPED = plans.Move | plans.Chosen | plans.Transfer
"""Plans that are carried out here, when they go to several shards."""
Answers = dict[str, bytes]
Steps = Callable[[Scope], Coroutine[Any, Any, tuple[Answers, Inserted | None]]]
"""What is done in the transaction, the answers that add up to the client's, and what they say of inserted rows."""


class Stepping:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._pool = Pool(0)

    def begin(
        self, handle: int, session: Session, statement: Statement, plan: plans.Plan, shards: Sequence[str] = (),
        flags: int = 0,
    ) -> None:  # fmt: skip
        """Carry out a parked write on these shards, or those that are found on the way. `flags`: of the relay. Raises
        Refusal."""
        executor, planned = self._worker.executor, statement.planned
        shards = shards or self._shards_of(plan)
        info = executor.enter(handle, session, planned, shards, None)
        if info is None:
            return
        steps: Steps
        match plan:
            case plans.Move():
                steps = partial(self._move, session, statement, plan, flags)
            case plans.Chosen():
                steps = partial(self._choose, handle, session, statement, plan, shards, flags)
            case plans.PullOut():
                steps = partial(self._pull, handle, session, statement)
            case plans.Transfer():
                steps = partial(self._transfer, handle, session, statement, plan)
            case _:
                raise refusal("INTERNAL", f"{type(plan).__name__} in steps")
        outcome = Outcome()
        work = partial(self._run, handle, session, steps, info, outcome)
        executor.spawn(handle, session, planned, statement.found.fingerprint, tuple(shards), outcome, work, None)

    async def _run(
        self, handle: int, session: Session, steps: Steps, info: dict[str, Any], outcome: Outcome
    ) -> None:  # fmt: skip
        try:
            if session.spread is not None:
                async with joined_scope(self._worker, session, session.spread) as joined:
                    answers, inserted = await steps(joined)
            else:
                async with own_scope(self._worker, session) as own:
                    answers, inserted = await steps(own)
                    faults.reach("executed")
                    self._worker.dispatcher.see_through(handle)
                    await own.commit()
        except ServerSaid as error:
            outcome.error = error.errno
            self._worker.relay.reply(handle, error.packet, error=True)
            return
        except ShardError as error:
            packet = frame(error.payload, FIRST_SEQUENCE)
            outcome.error = errno_of(packet)
            self._worker.relay.reply(handle, packet, error=True)
            return
        write = Write({}, inserted=inserted)
        self._worker.executor.answer(handle, session, answers, write, Status(info["status"]))

    def _shards_of(self, plan: plans.Plan) -> tuple[str, ...]:
        assert isinstance(plan, plans.PullOut)
        keyspace = self._worker.generation.topology.keyspace(plan.keyspace)
        assert keyspace is not None
        return tuple(shard.name for shard in keyspace.shards)

    # --- subqueries -------------------------------------------------------------------------------------------

    async def _pull(
        self, handle: int, session: Session, given: Statement, scope: Scope
    ) -> tuple[Answers, Inserted | None]:  # fmt: skip
        """Subqueries first, then the statement with their values in it. Raises Refusal, ServerSaid, ShardError."""
        whole = await self._worker.pulling.resolved(handle, session, given, scope=scope)
        shards = route(
            whole.planned, whole.found, whole.text, whole.params, mode=session.mode, charset=session.charset
        )
        if isinstance(shards, plans.Refuse):
            raise plans.refusal_of(shards, whole.planned.facts)
        plan = whole.planned.plan
        plan = plan.otherwise if isinstance(plan, plans.ByKey) and len(shards) > 1 else plan
        if len(shards) > 1 and isinstance(plan, plans.Move):
            return await self._move(session, whole, plan, 0, scope)
        if len(shards) > 1 and isinstance(plan, plans.Chosen):
            return await self._choose(handle, session, whole, plan, shards, 0, scope)
        parts = await scope.to_write(shards)
        clock = isinstance(plan, plans.MultiWrite) and plan.clock
        answers = await branches_of(parts).write(as_it_is(whole, shards, 0, clock=clock))
        check(answers)
        return answers, None

    # --- rows that change their shard -------------------------------------------------------------------------

    async def _move(
        self, session: Session, given: Statement, plan: plans.Move, flags: int, scope: Scope
    ) -> tuple[Answers, Inserted | None]:  # fmt: skip
        """UPDATE where the rows are, then what has another shard's key now is taken there. Raises Refusal, ServerSaid,
        ShardError."""
        moved = moving(
            given.planned, given.found, given.text, given.params, mode=session.mode, charset=session.charset
        )
        parts = await scope.to_write(moved.shards)
        sources = {name: parts[name] for name in moved.sources}
        answers = await branches_of(sources).write(as_it_is(given, sources, flags, clock=plan.clock))
        check(answers)
        limits = self._worker.generation.settings.limits
        self._pool.limit = limits.merge_memory_worker
        with Budget(limits.moved_bytes, self._pool, "MOVED_LIMIT") as budget:
            mover = Mover(session, plan, moved, Carried(budget, limits.moved_rows))
            scope.dress(parts, exact(scope.reading(), plan.keyspace))
            for name, part in sources.items():
                changed = OkPacket.parse(answers[name][HEADER_SIZE:], session.capabilities).affected_rows
                if changed and name != moved.target:
                    await mover.move(part, parts[moved.target])
            scope.dress(parts)
        return answers, None

    # --- LIMIT ------------------------------------------------------------------------------------------------

    async def _choose(
        self, handle: int, session: Session, given: Statement, plan: plans.Chosen, shards: Sequence[str], flags: int,
        scope: Scope,
    ) -> tuple[Answers, Inserted | None]:  # fmt: skip
        """Raises Refusal, ServerSaid, ShardError."""
        count = choosing.count_of(plan, given, session.mode)
        choice = choosing.Choice(self._worker, handle, session, given, plan, flags)
        async with scope.one_time(shards if plan.clock else ()):
            if plan.read and count:
                return await choice.ordered(scope, shards, count), None
            return await choice.in_any_order(scope, shards if count else shards[:1], count), None


    # --- INSERT … SELECT --------------------------------------------------------------------------------------

    async def _transfer(
        self, handle: int, session: Session, given: Statement, plan: plans.Transfer, scope: Scope
    ) -> tuple[Answers, Inserted | None]:
        """Raises Refusal, ServerSaid, ShardError."""
        limits = self._worker.generation.settings.limits
        self._pool.limit = limits.merge_memory_worker
        task = Transferring(self._worker, handle, session, given, plan)
        with Budget(limits.moved_bytes, self._pool, "MOVED_LIMIT") as budget:
            async with scope.one_time(plan.shards if plan.clock else ()):
                answers = await task.run(scope, Carried(budget, limits.moved_rows))
        return answers, Inserted(task.rows, ignores=plan.ignores, counts_found=False)


def check(answers: Mapping[str, bytes]) -> None:
    """Raises ServerSaid for the first error among them."""
    if (failed := first_error(answers)) is not None:
        raise ServerSaid(failed)


def as_it_is(given: Statement, shards: Iterable[str], flags: int, *, clock: bool = False) -> Write:
    """The client's own text, or its execution, for each of the shards."""
    names = tuple(shards)
    executions = dict.fromkeys(names, given.execution) if given.execution is not None else {}
    payloads = dict.fromkeys(names, b"\x03" + bytes(given.text))
    return Write(payloads, executions, flags=WRITES | flags, clock=clock)


