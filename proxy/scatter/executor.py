"""Statements of several shards: reads whose rows are relayed shard by shard or merged by the engine, and writes.

Everything runs on leases, so back-pressure, transactions and the proof of idleness are the relay's. While one shard's
rows go to the client the others wait at their credit. A write is begun on all shards, executed on all, then
committed on all, by two-phase commit (`proxy/xa/`) unless its keyspace says that best effort will do; what fails before
that is rolled back everywhere.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from _speedups.relay import StatementRef, VerdictRef
from config.words import MultiShardWrites
from proxy.audit.exposure import Toll
from proxy.audit.recorder import Outcome, Work
from proxy.compile import PLAIN_END
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import ERR_HEAD, OkPacket
from proxy.mysql.wire import HEADER_SIZE, frame
from proxy.result_set import FIRST_SEQUENCE, Head, ResultSet, alike
from proxy.scatter.clock import set_one_time, set_own_times
from proxy.scatter.computing import Original
from proxy.scatter.cursors import LeaseCursor, ShardError
from proxy.scatter.leases import Lease
from proxy.scatter.merging import Bounds, merge_rows
from proxy.scatter.rollout import Rollout
from proxy.sessions.params import rearranged
from proxy.sessions.session import Session, keeps_zero
from proxy.xa import faults
from proxy.xa.transaction import Part, ServerSaid, errno_of
from router import plan as plans
from router.engine.assemble import Outgoing
from router.engine.budget import Budget, Pool
from router.engine.recipe import Recipe
from router.errors import Refusal, refusal
from router.explicit import last_id
from router.literals import Params
from router.plan import Planned
from router.route import Execution as Given
from router.route import split
from router.text import Text

if TYPE_CHECKING:
    from proxy.scatter.scopes import Scope
    from proxy.worker import Worker

_WORDS_AND_NUMBERS = re.compile(rb"([^0-9]+)([0-9]+)")
_IGNORE = re.compile(rb"(?is)insert(?:\s|/\*.*?\*/|low_priority|high_priority|delayed)*\signore\b")
WRITES = 2
"""The relay's plan flag: a lost answer means an unknown outcome."""
HIDING = ("temporary_table", "lock_tables", "prepared_in_sql", "unknown_state", "other")
"""Pins of connections on which a table's name may mean something else, or be out of reach."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A COM_STMT_EXECUTE: what is executed, the payload with its types in it, the client's number for it, and the
    parameters."""

    statement: StatementRef
    payload: bytes
    number: int = 0
    params: Params = ()


@dataclass(frozen=True, slots=True)
class Reduced:
    """What the policy makes of a statement, by shard: other texts' payloads, or other prepared statements; what the
    answers' columns are compared with; `flags` of the relay. Shards that are not named get the client's own. `unlike`:
    columns of some shards may be masked, so they need not be described alike beyond name, type and character set.
    `toll`: persons in the answers that have to be counted."""

    payloads: Mapping[str, bytes] = field(default_factory=dict)
    statements: Mapping[str, StatementRef] = field(default_factory=dict)
    verdicts: Mapping[str, VerdictRef] = field(default_factory=dict)
    flags: int = 0
    unlike: bool = False
    toll: Toll | None = None


NOT_REDUCED = Reduced()


@dataclass(frozen=True, slots=True)
class Asked:
    """What the shards of a merged read are asked, `payload`, by which command of the client, and what of their rows it
    gets."""

    shards: tuple[str, ...]
    payload: bytes
    bounds: Bounds
    command: Original

    @property
    def binary(self) -> bool:
        return self.command.payload is not None


@dataclass(frozen=True, slots=True)
class Write:
    """What each shard is sent, as text or to execute, and what their answers add up to: the sum of the rows, or those
    of one copy. `clock`: at one time on all of them. `made`: the first id that was made here for rows of one shard."""

    payloads: Mapping[str, bytes]
    executions: Mapping[str, Execution] = field(default_factory=dict)
    sum_rows: bool = True
    inserted: Inserted | None = None
    flags: int = WRITES
    clock: bool = False
    made: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """A read of several shards, or of one: merged by `recipe` as `asked`, or `payload` to each. `scope`: the
    transaction in which it is done; `aside`: outside of any."""

    shards: tuple[str, ...]
    payload: bytes
    execution: Execution | None
    reduced: Reduced
    recipe: Recipe | None = None
    asked: Asked | None = None
    scope: Scope | None = None
    aside: bool = False


class Branches:
    """One lease per shard, by the shard's name, with the relay's numbers as they were when the statement began."""

    def __init__(self, numbers: dict[str, int], leases: dict[str, Lease]) -> None:
        self._numbers = numbers
        self.leases = leases

    def send(self, name: str, payload: bytes, statement: StatementRef | None, reduced: Reduced) -> None:
        self.leases[name].submit(self._numbers[name], payload, reduced.flags, statement, reduced.verdicts.get(name))

    def submit(self, name: str, payload: bytes, execution: Execution | None = None, flags: int = 0) -> None:
        if execution is None:
            self.leases[name].submit(self._numbers[name], payload, flags)
        else:
            self.leases[name].submit(self._numbers[name], execution.payload, flags, execution.statement)

    async def write(self, write: Write) -> dict[str, bytes]:
        """Each shard's answer. A transaction is open on all of them."""
        if write.clock and (failed := await set_one_time(self._numbers, self.leases)) is not None:
            return failed
        for name, payload in write.payloads.items():
            self.submit(name, payload, write.executions.get(name), write.flags)
        answers = await self.collect()
        if write.clock:
            await set_own_times(self._numbers, self.leases)
        return answers

    async def collect(self) -> dict[str, bytes]:
        """The running commands' responses."""
        answers = await asyncio.gather(*(lease.collect() for lease in self.leases.values()))
        return dict(zip(self.leases, answers, strict=True))

    async def one_by_one(self, payload: bytes) -> bytes | None:
        """The same command on each in turn, so that two statements that want the last connections of the same shards
        do not wait for each other; the first error's packet ends it."""
        for name, lease in self.leases.items():
            self.submit(name, payload)
            answer = await lease.collect()
            if answer[HEADER_SIZE] == ERR_HEAD:
                return answer
        return None


def branches_of(parts: Mapping[str, Part]) -> Branches:
    numbers = {name: part.number for name, part in parts.items()}
    return Branches(numbers, {name: part.lease for name, part in parts.items()})


class Executor:
    """One worker's statements of several shards."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._pool = Pool(0)

    def begin(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, plan: plans.Plan,
        shards: Sequence[str], execution: Execution | None, reduced: Reduced = NOT_REDUCED, insert_id: int = 0,
    ) -> None:  # fmt: skip
        """Carry out a parked statement on `shards`; some get another form of it. `insert_id`: the first one, where it
        was made here. Raises Refusal."""
        info = self.enter(handle, session, planned, shards, reduced.toll)
        if info is None:
            return
        outcome = Outcome()
        match plan:
            case _ if reduced.toll is not None and reduced.toll.persons is None:
                payload = execution.payload if execution is not None else b"\x03" + bytes(sql)
                payloads = {name: reduced.payloads.get(name, payload) for name in shards}
                work = partial(self._scatter, handle, session, payloads, execution, reduced, info, outcome)
            case plans.Scatter():
                payload = execution.payload if execution is not None else b"\x03" + bytes(sql)
                payloads = {name: reduced.payloads.get(name, payload) for name in shards}
                work = partial(self._scatter, handle, session, payloads, execution, reduced, info, outcome)
            case plans.MultiWrite() | plans.SplitInsert():
                write = self.write_of(session, sql, found, planned, plan, shards, execution, reduced, insert_id)
                work = partial(self._writes(session, plan.keyspace), handle, session, write, info, outcome)
            case plans.SchemaChange():
                work = partial(self._change_schema, handle, session, plan, sql, found, info, outcome)
            case _:
                raise refusal("INTERNAL", f"{type(plan).__name__} over several shards")
        self.spawn(handle, session, planned, found.fingerprint, tuple(shards), outcome, work, reduced.toll)

    def write_of(
        self, session: Session, sql: Text, found: Any, planned: Planned, plan: plans.MultiWrite | plans.SplitInsert,
        shards: Sequence[str], execution: Execution | None, reduced: Reduced = NOT_REDUCED, insert_id: int = 0,
    ) -> Write:  # fmt: skip
        """What each of several shards is sent. Raises Refusal."""
        flags = WRITES | reduced.flags
        if isinstance(plan, plans.MultiWrite):
            self._last_id(session, sql, found, planned, plan, execution)
            payloads = dict.fromkeys(shards, b"\x03" + bytes(sql))
            executions = dict.fromkeys(shards, execution) if execution is not None else {}
            return Write(payloads, executions, plan.sum_rows, flags=flags, clock=plan.clock)
        params = execution.params if execution is not None else ()
        parts = split(planned, found, sql, params, mode=session.mode, charset=session.charset)
        payloads = {shard: b"\x03" + part.text for shard, part in parts.items()}
        executions = self._executions(session, execution, parts) if execution is not None else {}
        inserted = _inserted(session, planned, plan, found, insert_id)
        if not insert_id:
            last = self._last_id(session, sql, found, planned, plan, execution)
            ends = next(name for name, part in parts.items() if part.ends)
            inserted = replace(inserted, last=last, last_shard=ends)
        return Write(payloads, executions, inserted=inserted, flags=flags, clock=plan.clock)

    def _last_id(
        self, session: Session, sql: Text, found: Any, planned: Planned, plan: plans.MultiWrite | plans.SplitInsert,
        execution: Execution | None,
    ) -> int:  # fmt: skip
        """Of the ids that an INSERT gives itself. Raises Refusal where it leaves one to the servers."""
        if plan.ids is None or planned.topology is None:
            return 0
        params = execution.params if execution is not None else ()
        given = Given(bytes(sql), found, planned.topology, session.mode, params, session.charset)
        return last_id(plan.ids, given, zero_is_kept=keeps_zero(session))

    def _executions(
        self, session: Session, execution: Execution, parts: Mapping[str, Outgoing]
    ) -> dict[str, Execution]:
        """Of each shard's rows, with the parameters that stand in them."""
        found: dict[str, Execution] = {}
        for shard, part in parts.items():
            statement = self._worker.statements.form(session, execution.number, part.text, len(part.params))
            payload = rearranged(execution.payload, len(execution.params), part.params)
            found[shard] = Execution(statement, payload, execution.number)
        return found

    def spawn(
        self, handle: int, session: Session, planned: Planned, fingerprint: int, shards: tuple[str, ...],
        outcome: Outcome, work: Work, toll: Toll | None,
    ) -> None:  # fmt: skip
        """With its decision record, if it has to leave one, and behind its toll."""
        want = self._worker.auditor.want(session, planned, shards)
        if toll is not None:
            work = partial(_behind, toll, work)
        if want is not None:
            self._worker.dispatcher.spawn(
                handle, self._worker.auditor.around(want, fingerprint, shards, outcome, work)
            )
        else:
            self._worker.dispatcher.spawn(handle, work())

    def merge(
        self, handle: int, session: Session, found: Any, planned: Planned, recipe: Recipe, asked: Asked,
        reduced: Reduced,
    ) -> None:  # fmt: skip
        """Carry out a parked read whose rows have to be merged. Raises Refusal."""
        if recipe.aside:
            info = self.aside(handle, session, planned)
        else:
            info = self.enter(handle, session, planned, asked.shards, reduced.toll)
        if info is not None:
            outcome = Outcome()
            work = partial(self._merge, handle, session, recipe, asked, reduced, info, outcome)
            self.spawn(handle, session, planned, found.fingerprint, asked.shards, outcome, work, reduced.toll)

    async def collect(
        self, handle: int, session: Session, found: Any, planned: Planned, read: Read, answer: ResultSet
    ) -> None:
        """Carry out a read whose answer is not the client's. Raises Refusal, and what `answer` raises."""
        if read.aside:
            info = self.aside(handle, session, planned)
        else:
            info = self.free(handle, planned) if read.scope is None else self._worker.relay.info(handle)
        if info is None:
            return
        outcome, reduced, scope = Outcome(), read.reduced, read.scope
        if isinstance(read.asked, Asked):
            assert read.recipe is not None
            work = partial(
                self._merge, handle, session, read.recipe, read.asked, reduced, info, outcome, answer, scope
            )
        else:
            payloads = {name: reduced.payloads.get(name, read.payload) for name in read.shards}
            work = partial(
                self._scatter, handle, session, payloads, read.execution, reduced, info, outcome, answer, scope,
                aside=read.aside,
            )  # fmt: skip
        want = self._worker.auditor.want(session, planned, read.shards)
        if want is not None:
            await self._worker.auditor.around(want, found.fingerprint, read.shards, outcome, work)
        else:
            await work()

    def free(self, handle: int, planned: Planned) -> dict[str, Any] | None:
        """What the relay knows of a session that may use several shards outside of transactions only; None when it is
        gone. Raises Refusal."""
        info = self._worker.relay.info(handle)
        if info is None:
            return None
        if info["trx"] or not info["autocommit"]:
            raise refusal("MULTI_SHARD_IN_TRANSACTION")
        self._check_free(info, planned)
        return info

    def enter(
        self, handle: int, session: Session, planned: Planned, shards: Iterable[str], toll: Toll | None
    ) -> dict[str, Any] | None:  # fmt: skip
        """What the relay knows of a session that may use several shards; None when it is gone. Raises Refusal."""
        info = self._worker.relay.info(handle)
        if info is None:
            return None
        if info["trx"] or not info["autocommit"]:
            if planned.facts.implicit_commit:
                raise refusal("MULTI_SHARD_IN_TRANSACTION")
            if toll is not None and toll.persons is None:
                raise toll.bound_to_its_connection()
            self._worker.spreads.allow(session, info, planned, shards)
            spread = self._worker.spreads.enter(handle, session, info, shards)
            info["status"] |= Status.IN_TRANS | (Status.IN_TRANS_READONLY if spread.transaction.read_only else 0)
            info["pins"] = 0  # they stay on the shard where the transaction began
        self._check_free(info, planned)
        return info

    def aside(self, handle: int, session: Session, planned: Planned) -> dict[str, Any] | None:
        """What the relay knows of a session whose statement asks servers about tables, not for their rows, and so has
        connections beside the session's own; None when it is gone. Raises Refusal where something else may go by the
        tables' names on that one."""
        info = self._worker.relay.info(handle)
        if info is None:
            return None
        if hiding := [name for name in HIDING if info["pins"] & self._worker.pin_bits(name)]:
            bound = self._worker.shard_of_number(info["shard"]).name
            raise refusal("PINNED_SESSION", bound, ", ".join(hiding).replace("_", " "), "several shards")
        if session.spread is not None:
            read_only = session.spread.transaction.read_only
            info["status"] |= Status.IN_TRANS | (Status.IN_TRANS_READONLY if read_only else 0)
        self._check_statement(planned)
        return info

    def _check_free(self, info: dict[str, Any], planned: Planned) -> None:
        """Is neither the session nor the statement bound to a connection? Raises Refusal."""
        if info["pins"]:
            bound = self._worker.shard_of_number(info["shard"]).name
            raise refusal("PINNED_SESSION", bound, "its state", "several shards")
        self._check_statement(planned)

    def _check_statement(self, planned: Planned) -> None:
        """Raises Refusal."""
        if planned.facts.pins or planned.facts.needs_last_insert_id or planned.facts.needs_connection:
            # The planner refuses these; on leases they would answer for whoever had the backend before.
            raise refusal("INTERNAL", "a statement about one connection over several shards")

    # --- reads ----------------------------------------------------------------------------------------------

    async def _merge(
        self, handle: int, session: Session, recipe: Recipe, asked: Asked, reduced: Reduced, info: dict[str, Any],
        outcome: Outcome, answer: ResultSet | None = None, scope: Scope | None = None,
    ) -> None:  # fmt: skip
        async with AsyncExitStack() as stack:
            branches = await self._branches(stack, session, asked.shards, scope=scope, aside=recipe.aside)
            for name in asked.shards:
                payload = reduced.payloads.get(name, asked.payload)
                branches.send(name, payload, reduced.statements.get(name), reduced)
            answer = answer or ResultSet(self._worker, handle, session, Status(info["status"]))
            cursors = [
                _cursor(reduced.toll, name, lease, deprecate=answer.deprecate, binary=asked.binary)
                for name, lease in branches.leases.items()
            ]
            outcome.of(answer, [one for one in cursors if self._worker.is_local(one.name)])
            limits = self._worker.generation.settings.limits
            self._pool.limit = limits.merge_memory_worker
            with Budget(limits.merge_memory, self._pool) as budget:
                ask = partial(self._ask, branches, asked.shards, reduced, answer.deprecate)
                await merge_rows(
                    answer, cursors, recipe, asked.bounds, budget, asked.command, ask, unlike=reduced.unlike
                )

    def _ask(
        self, branches: Branches, shards: Sequence[str], reduced: Reduced, deprecate: bool, payload: bytes,
        statement: StatementRef | None,
    ) -> LeaseCursor:  # fmt: skip
        """Send what is computed over whole groups to a shard whose part has been read: one of this region, if any."""
        name = next((one for one in shards if self._worker.is_local(one)), shards[0])
        branches.send(name, payload, statement, Reduced(flags=reduced.flags))
        return LeaseCursor(name, branches.leases[name], deprecate=deprecate)

    async def _scatter(
        self, handle: int, session: Session, payloads: dict[str, bytes], execution: Execution | None,
        reduced: Reduced, info: dict[str, Any], outcome: Outcome, answer: ResultSet | None = None,
        scope: Scope | None = None, *, aside: bool = False,
    ) -> None:  # fmt: skip
        statement = execution.statement if execution is not None else None
        async with AsyncExitStack() as stack:
            branches = await self._branches(stack, session, payloads, scope=scope, aside=aside)
            for name, payload in payloads.items():
                branches.send(name, payload, reduced.statements.get(name, statement), reduced)
            answer = answer or ResultSet(self._worker, handle, session, Status(info["status"]))
            first: tuple[str, Head] | None = None
            for name, lease in branches.leases.items():
                cursor = _cursor(
                    reduced.toll, name, lease, deprecate=answer.deprecate, binary=execution is not None
                )
                outcome.of(answer, [cursor] if self._worker.is_local(name) else [])
                first = await self._append(answer, cursor, first, unlike=reduced.unlike)
                if first is None:
                    return
            answer.finish()

    async def _append(
        self, answer: ResultSet, cursor: LeaseCursor, first: tuple[str, Head] | None, *, unlike: bool
    ) -> tuple[str, Head] | None:
        """Relay one shard's rows behind the `first` one's. None when the answer has ended, by an error or because the
        client is gone."""
        try:
            head = await cursor.head()
            if first is None:
                first = cursor.name, head
                if not await answer.send(bytearray(head.packets)):
                    return None
            elif not alike([first[1], head], unlike=unlike):
                raise refusal("SHARDS_DISAGREE", f"{first[0]} and {cursor.name}")
            while (rows := await cursor.rows()) is not None:
                if not await answer.send(rows):
                    return None
        except Refusal as reason:
            answer.fail(reason)
            return None
        except ShardError as error:
            answer.ended(error.payload)
            return None
        assert cursor.end is not None
        return first if answer.ended(cursor.end) else None

    async def _branches(
        self, stack: AsyncExitStack, session: Session, shards: Iterable[str], *, writes: bool = False,
        scope: Scope | None = None, aside: bool = False,
    ) -> Branches:  # fmt: skip
        """Leases of this statement's own, or those of the session's transaction if it is not `aside`, or of the
        scope."""
        if scope is not None:
            return branches_of(await scope.to_read(shards))
        numbers = {name: self._worker.compiler.shard(name) for name in shards}
        if session.spread is not None and not aside:
            parts = await stack.enter_async_context(session.spread.using(numbers, writes=writes))
            return branches_of(parts)
        leases = {
            name: await stack.enter_async_context(self._worker.lease(session, number))
            for name, number in numbers.items()
        }
        return Branches(numbers, leases)

    # --- writes ---------------------------------------------------------------------------------------------

    def _writes(self, session: Session, keyspace: str) -> Callable[..., Coroutine[Any, Any, None]]:
        """How the keyspace writes to several shards."""
        if session.spread is not None:
            return self._within
        found = self._worker.generation.topology.keyspace(keyspace)
        assert found is not None
        return self._atomic if found.multi_shard_writes is MultiShardWrites.ATOMIC else self._best_effort

    async def _atomic(
        self, handle: int, session: Session, write: Write, info: dict[str, Any], outcome: Outcome
    ) -> None:  # fmt: skip
        """As a transaction of its own, by two-phase commit."""
        async with await self._worker.atomics.begin(session, write.payloads) as transaction:
            try:
                await transaction.start_all()
                answers = await branches_of(transaction.parts).write(write)
                if (failed := first_error(answers)) is not None:
                    await transaction.roll_back()
                    raise ServerSaid(failed)
                faults.reach("executed")
                self._worker.dispatcher.see_through(handle)
                await transaction.commit()
            except ServerSaid as error:
                outcome.error = error.errno
                self._worker.relay.reply(handle, error.packet, error=True)
                return
        self.answer(handle, session, answers, write, Status(info["status"]))

    async def _within(
        self, handle: int, session: Session, write: Write, info: dict[str, Any], outcome: Outcome
    ) -> None:  # fmt: skip
        """As part of the session's transaction; undone on all shards when one says no."""
        try:
            async with AsyncExitStack() as stack:
                branches = await self._branches(stack, session, write.payloads, writes=True)
                answers = await branches.write(write)
                if (failed := first_error(answers)) is not None:
                    raise ServerSaid(failed)
                self.answer(handle, session, answers, write, Status(info["status"]))
        except ServerSaid as error:
            outcome.error = error.errno
            self._worker.relay.reply(handle, error.packet, error=True)

    async def _best_effort(
        self, handle: int, session: Session, write: Write, info: dict[str, Any], outcome: Outcome
    ) -> None:  # fmt: skip
        async with AsyncExitStack() as stack:
            branches = await self._branches(stack, session, write.payloads)
            # What is open when it fails here ends with its lease, if need be by the connection.
            failed = await branches.one_by_one(b"\x03BEGIN")
            if failed is not None:
                outcome.error = errno_of(failed)
                self._worker.relay.reply(handle, failed, error=True)
                return
            answers = await branches.write(write)
            if (failed := first_error(answers)) is not None:
                outcome.error = errno_of(failed)
                await self._roll_back(branches)
                self._worker.relay.reply(handle, failed, error=True)
                return
            self._worker.dispatcher.see_through(handle)
            await self._commit(branches)
            self.answer(handle, session, answers, write, Status(info["status"]))

    async def _change_schema(
        self, handle: int, session: Session, plan: plans.SchemaChange, sql: Text, found: Any, info: dict[str, Any],
        outcome: Outcome,
    ) -> None:  # fmt: skip
        answers = await Rollout(self._worker, session, plan, sql, found).run(handle)
        failed = first_error(answers)
        if failed is not None:
            outcome.error = int.from_bytes(failed[HEADER_SIZE + 1 : HEADER_SIZE + 3], "little")
            self._worker.relay.reply(handle, failed, error=True)
        else:
            self.answer(handle, session, answers, Write({}, {}), Status(info["status"]))

    async def _roll_back(self, branches: Branches) -> None:
        for name in branches.leases:
            branches.submit(name, b"\x03ROLLBACK" + PLAIN_END)
        await branches.collect()

    async def _commit(self, branches: Branches) -> None:
        """Raises Refusal that says which shards committed, which did not, and of which it is not known."""
        for name in branches.leases:
            branches.submit(name, b"\x03COMMIT" + PLAIN_END, flags=WRITES)
        answers = await branches.collect()
        bad = [name for name, answer in answers.items() if answer[HEADER_SIZE] == ERR_HEAD]
        if not bad:
            return
        good = [name for name in answers if name not in bad]
        unknown = [name for name in bad if branches.leases[name].lost]
        if unknown and not good and len(unknown) == len(bad):
            raise refusal("COMMIT_UNKNOWN", ", ".join(unknown))
        failed = [f"{name} (outcome unknown)" if name in unknown else name for name in bad]
        raise refusal("PARTIAL_COMMIT", ", ".join(good) or "no shard", ", ".join(failed))

    def answer(
        self, handle: int, session: Session, answers: dict[str, bytes], write: Write, status: Status
    ) -> None:  # fmt: skip
        """One OK packet for all shards': counts added, the first insert id."""
        oks = [OkPacket.parse(answer[HEADER_SIZE:], session.capabilities) for answer in answers.values()]
        counted, inserted = oks if write.sum_rows else oks[:1], write.inserted
        affected, warnings = sum(ok.affected_rows for ok in counted), sum(ok.warnings for ok in counted)
        given = inserted.first if inserted is not None else write.made
        told = {name: ok.last_insert_id for name, ok in zip(answers, oks, strict=True)}
        tells = inserted.insert_id(told) if inserted is not None else given or next(filter(None, told.values()), 0)
        total = OkPacket(
            affected_rows=affected,
            last_insert_id=tells,
            status=status,
            warnings=min(warnings, 0xFFFF),
            info=inserted.info(oks, warnings) if inserted is not None else sum_infos([ok.info for ok in counted]),
        )
        packet = frame(total.build(session.capabilities), FIRST_SEQUENCE)
        self._worker.relay.reply(
            handle, packet, affected=affected, insert_id=given, warnings=total.warnings
        )


def first_error(answers: Mapping[str, bytes]) -> bytes | None:
    return next((answer for answer in answers.values() if answer[HEADER_SIZE] == ERR_HEAD), None)


async def _behind(toll: Toll, work: Work) -> None:
    await toll.pay()
    await work()


def _cursor(toll: Toll | None, name: str, lease: Lease, *, deprecate: bool, binary: bool) -> LeaseCursor:
    if toll is None:
        return LeaseCursor(name, lease, deprecate=deprecate)
    return toll.cursor(name, lease, deprecate=deprecate, binary=binary)


@dataclass(frozen=True, slots=True)
class Inserted:
    """A split INSERT: how many rows the whole statement has, and what its verb makes of rows that are there. `first`:
    the insert id that was made here, if any; else `last`: that of the last row, which is on `last_shard`."""

    rows: int
    ignores: bool
    counts_found: bool
    first: int = 0
    last: int = 0
    last_shard: str = ""

    def insert_id(self, told: Mapping[str, int]) -> int:
        """The OK packet's, of what shards have told: a made one, else the last row's if any row was changed."""
        if self.first or not any(told.values()):
            return self.first
        return told.get(self.last_shard) or self.last

    def info(self, oks: Sequence[OkPacket], warnings: int) -> bytes:
        """`Records: 3  Duplicates: 0  Warnings: 0`, which servers leave out for the one row that a shard got.

        Empty where one shard's single row cannot be told to be new or found (CLIENT_FOUND_ROWS).
        """
        duplicates = [self._duplicates(ok) for ok in oks]
        if None in duplicates:
            return b""
        return b"Records: %d  Duplicates: %d  Warnings: %d" % (
            self.rows, sum(count for count in duplicates if count is not None), warnings
        )  # fmt: skip

    def _duplicates(self, ok: OkPacket) -> int | None:
        if ok.info:
            numbers = _WORDS_AND_NUMBERS.findall(ok.info)
            return int(numbers[1][1]) if len(numbers) == 3 else None
        if self.ignores:
            return 1 - ok.affected_rows
        if self.counts_found:
            return None
        return max(ok.affected_rows - 1, 0)


def _inserted(session: Session, planned: Planned, plan: plans.SplitInsert, found: Any, first: int) -> Inserted:
    upserts = planned.facts.verb == "insert" and b"on duplicate key" in found.norm.lower()
    return Inserted(
        rows=found.slots[plan.rows_slot].count,
        ignores=_IGNORE.match(found.norm) is not None,
        counts_found=upserts and bool(session.capabilities & Capability.FOUND_ROWS),
        first=first,
    )


def sum_infos(infos: Sequence[bytes]) -> bytes:
    """`Rows matched: 3  Changed: 2  Warnings: 0` of several shards: the numbers added, the words kept."""
    if not infos or not infos[0]:
        return b""
    parts = [_WORDS_AND_NUMBERS.findall(info) for info in infos]
    if any([word for word, _ in part] != [word for word, _ in parts[0]] for part in parts):
        return b""
    sums = [sum(int(part[at][1]) for part in parts) for at in range(len(parts[0]))]
    return b"".join(word + b"%d" % number for (word, _), number in zip(parts[0], sums, strict=True))
