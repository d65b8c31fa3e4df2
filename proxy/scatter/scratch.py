"""Reads that a scratch server finishes: shards' rows are loaded into temporary tables there, and the rest of the
statement runs on them.

The scratch server's connection is one lease's from its first temporary table on, and is closed with it, so that no
table outlives its statement. Rows are written out at the pace at which the server takes them, and no more than the
limits allow. Every value arrives as it was (router/engine/loading.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from _speedups.lexer import lex
from _speedups.packet import split_packets
from _speedups.relay import StatementRef, VerdictRef
from _speedups.rows import Shape
from _speedups.stats import PIN_REASONS
from proxy.audit.recorder import Outcome
from proxy.compile import GUARDED
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import ErrPacket
from proxy.mysql.wire import HEADER_SIZE, frame
from proxy.result_set import Head, ResultSet, renamed
from proxy.scatter.cursors import LeaseCursor, ShardError, pass_on
from proxy.scatter.executor import Execution
from proxy.scatter.leases import Lease, is_error
from proxy.sessions.params import rearranged
from proxy.sessions.session import Session
from router.engine.assemble import Outgoing, assemble
from router.engine.budget import Budget, Pool
from router.engine.loading import row, writers
from router.errors import Refusal, refusal
from router.literals import Params
from router.plan import Planned, Pull, Refuse, Residual, refusal_of
from router.policy.scratched import readable
from router.route import route, values_by_shard
from router.text import Text
from router.tokens import quoted
from router.topology import Topology

if TYPE_CHECKING:
    from proxy.worker import Worker

PIN = 1 << PIN_REASONS.index("temporary_table")
LOAD_BYTES = 256 << 10
"""Of one INSERT, roughly; servers take 16 MB by default, and every row of it is in this Fairlead's memory once."""
MOST_BYTES = 15 << 20
"""Of a row as a literal."""
LOOKED_UP, MOST_LOOKED_UP = 1000, 10_000
"""Numbers in one statement, and in all: for more, a table is loaded whole."""
DEFINITION = b"\x03def"
"""How a column's definition begins."""
NEUTRAL = (
    b"SET @fairlead_mode = @@sql_mode, @fairlead_zone = @@time_zone, @fairlead_client = @@character_set_client, "
    b"@fairlead_results = @@character_set_results, @fairlead_collation = @@collation_connection, "
    b"sql_mode = 'NO_BACKSLASH_ESCAPES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone = '+00:00', "
    b"character_set_client = binary, character_set_results = NULL, collation_connection = binary"
)
AS_BEFORE = (
    b"SET sql_mode = @fairlead_mode, time_zone = @fairlead_zone, character_set_client = @fairlead_client, "
    b"character_set_results = @fairlead_results, collation_connection = @fairlead_collation"
)
LOGGED = b"SELECT 1 FROM DUAL WHERE @@log_bin AND @@sql_log_bin AND @@binlog_format <> 'ROW'"


@dataclass(frozen=True, slots=True)
class Sent:
    """A text of ours as it goes out: the payload, and what it executes when it is prepared."""

    payload: bytes
    statement: StatementRef | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A pull of one execution, and what each shard is sent. Under a policy its answers are looked at (`verdicts`), with
    `flags` of the relay."""

    pull: Pull
    sent: Mapping[str, Sent]
    verdicts: Mapping[str, VerdictRef] = field(default_factory=dict)
    flags: int = 0

    @property
    def shards(self) -> tuple[str, ...]:
        return tuple(self.sent)


@dataclass(frozen=True, slots=True)
class Task:
    """One execution of a residual. `rest`: what the scratch server is asked at last."""

    session: Session
    plan: Residual
    asked: tuple[Asked, ...]
    rest: Sent
    fingerprint: int
    topology: Topology

    @property
    def flags(self) -> int:
        """Of the relay, for what is about all pulls: texts of errors are kept back."""
        return GUARDED if any(one.flags & GUARDED for one in self.asked) else 0


class Scratch:
    """One worker's residuals."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._pool = Pool(0)
        self._running = 0
        self._waiting: list[asyncio.Future[None]] = []

    def begin(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, plan: Residual, params: Params,
        execution: Execution | None,
    ) -> None:  # fmt: skip
        """Carry out a parked read. Raises Refusal."""
        executor = self._worker.executor
        info = executor.free(handle, planned)
        if info is None:
            return
        asked = tuple(self._asked(session, sql, found, planned, one, params, execution) for one in plan.pulls)
        rest = assemble(plan.text, sql, found, session.mode, prepared=execution is not None)
        sent = self._sent(session, rest, params, execution, binary=True)
        assert planned.topology is not None
        task = Task(session, plan, asked, sent, found.fingerprint, planned.topology)
        shards = tuple(dict.fromkeys((plan.scratch, *(name for one in asked for name in one.shards))))
        self._worker.dispatcher.count(handle, session, found, shards)
        outcome = Outcome()
        work = partial(self._run, handle, task, Status(info["status"]), outcome)
        executor.spawn(handle, session, planned, found.fingerprint, shards, outcome, work, None)

    def _asked(
        self, session: Session, sql: Text, found: Any, planned: Planned, pull: Pull, params: Params,
        execution: Execution | None,
    ) -> Asked:  # fmt: skip
        shards = route(
            replace(planned, plan=pull.route), found, sql, params, mode=session.mode, charset=session.charset
        )
        if isinstance(shards, Refuse):
            raise refusal_of(shards, planned.facts)
        outgoing = assemble(pull.text, sql, found, session.mode, prepared=execution is not None)
        policy = pull.planned.policy if pull.planned is not None else None
        if policy is None:
            return Asked(pull, dict.fromkeys(shards, self._sent(session, outgoing, params, execution, binary=False)))
        shards = readable(pull, policy, shards)
        lexed = lex(outgoing.text, session.mode)
        texts = {name: policy.text(name, outgoing.text, lexed, session.mode) for name in shards}
        sent = {
            text: self._sent(session, replace(outgoing, text=text or outgoing.text), params, execution, binary=False)
            for text in set(texts.values())
        }
        verdicts = {name: self._worker.verdicts.passes(policy.part(name)) for name in shards}
        flags = GUARDED if policy.guarded else 0
        return Asked(pull, {name: sent[text] for name, text in texts.items()}, verdicts, flags)

    def _sent(
        self, session: Session, outgoing: Outgoing, params: Params, execution: Execution | None, *, binary: bool
    ) -> Sent:
        """`binary`: the answer has to be in the protocol of the client's own statement."""
        if execution is None or not (binary or outgoing.params):
            return Sent(b"\x03" + outgoing.text)
        statement = self._worker.statements.form(session, execution.number, outgoing.text, len(outgoing.params))
        return Sent(rearranged(execution.payload, len(params), outgoing.params), statement)

    async def describe(self, session: Session, plan: Residual, text: bytes, found: Any) -> bytes:
        """The framed answer to COM_STMT_PREPARE, asked of the scratch server over empty tables. Raises Refusal."""
        rest = assemble(plan.text, text, found, session.mode, prepared=True).text
        async with self._turn(), self._bench(session, plan) as bench:
            await bench.ready()
            return bench.described(await bench.lease.command(bench.number, b"\x16" + rest, pins=PIN))

    # --- running ----------------------------------------------------------------------------------------------

    async def _run(self, handle: int, task: Task, status: Status, outcome: Outcome) -> None:
        limits = self._worker.generation.settings.limits
        answer = ResultSet(self._worker, handle, task.session, status)
        self._pool.limit = limits.scratch_bytes_worker
        load, ended = Load(limits.scratch_rows), "failed"
        try:
            with Budget(limits.scratch_bytes, self._pool, "SCRATCH_LIMIT") as load.budget:
                async with self._turn(), self._bench(task.session, task.plan, task.flags) as bench:
                    for one in task.asked:
                        await self._recorded(task, one, bench, load, answer)
                    await bench.ready()
                    await self._finish(task, bench, answer, outcome)
            ended = "answered"
        except ShardError as error:
            answer.ended(error.payload)
        except Refusal as reason:
            ended = "refused" if reason.entry.name in ("SCRATCH_LIMIT", "SCRATCH_BUSY") else "failed"
            answer.fail(reason)
        finally:
            self._worker.loop_block.scratch(ended, load.rows, load.bytes)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Only so many at once: each holds a connection of the scratch server. Raises Refusal."""
        limits = self._worker.generation.settings.limits
        if self._running < limits.scratch_statements:
            self._running += 1
        else:
            await self._wait(limits.queue_wait, limits.scratch_statements)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, seconds: float, most: int) -> None:
        """Until somebody passes their turn on. Raises Refusal when that takes too long."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():
                self._pass_on()
            if isinstance(error, TimeoutError):
                raise refusal("SCRATCH_BUSY", str(most)) from None
            raise

    def _pass_on(self) -> None:
        """The turn goes to who has waited longest, or back."""
        while self._waiting:
            turn = self._waiting.pop(0)
            if not turn.done():
                turn.set_result(None)
                return
        self._running -= 1

    @asynccontextmanager
    async def _bench(self, session: Session, plan: Residual, flags: int = 0) -> AsyncIterator[Bench]:
        """The scratch server with the temporary tables, empty. Raises Refusal."""
        number = self._worker.compiler.shard(plan.scratch)
        async with self._worker.lease(session, number) as lease:
            bench = Bench(lease, number, plan, flags)
            await bench.prepare(deprecate=bool(session.capabilities & Capability.DEPRECATE_EOF))
            yield bench

    async def _recorded(self, task: Task, asked: Asked, bench: Bench, load: Load, answer: ResultSet) -> None:
        """One mention's rows, with the decision record of a read by the user. Raises Refusal and ShardError."""
        outcome = Outcome()
        work = partial(self._pull, task, asked, bench, load, answer, outcome)
        planned, auditor = asked.pull.planned, self._worker.auditor
        want = auditor.want(task.session, planned, asked.shards) if planned is not None else None
        if want is None:
            await work()
        else:
            await auditor.around(want, task.fingerprint, asked.shards, outcome, work)

    async def _pull(
        self, task: Task, asked: Asked, bench: Bench, load: Load, answer: ResultSet, outcome: Outcome
    ) -> None:
        """One mention's rows, shard by shard. Raises Refusal and ShardError."""
        for name, sent in _wanted(task, asked, bench):
            number = self._worker.compiler.shard(name)
            async with self._worker.lease(task.session, number) as lease:
                lease.submit(number, sent.payload, asked.flags, sent.statement, asked.verdicts.get(name))
                cursor = LeaseCursor(name, lease, deprecate=answer.deprecate)
                outcome.of(answer, [cursor] if self._worker.is_local(name) else [])
                head = await cursor.head()
                binary = sent.statement is not None
                shape = Shape([column.type for column in head.columns()], binary, len(head))
                await bench.fill(asked.pull, cursor, shape, load)

    async def _finish(self, task: Task, bench: Bench, answer: ResultSet, outcome: Outcome) -> None:
        """The rest of the statement, its answer to the client. Raises Refusal and ShardError."""
        bench.lease.submit(bench.number, task.rest.payload, task.flags, task.rest.statement)
        cursor = LeaseCursor(task.plan.scratch, bench.lease, deprecate=answer.deprecate)
        outcome.of(answer, [cursor])
        if await answer.send(bench.head(await cursor.head())):
            await pass_on(cursor, answer)


def _wanted(task: Task, asked: Asked, bench: Bench) -> Iterator[tuple[str, Sent]]:
    """What is asked of each shard: the pull, or that of the rows which a pull before it has found, so many at once."""
    lookup = asked.pull.lookup
    values = bench.values.get((lookup.source, lookup.field)) if lookup is not None else None
    if lookup is None or values is None or any(sent.statement is not None for sent in asked.sent.values()):
        yield from asked.sent.items()
        return
    where = "AND" if asked.pull.conditions else "WHERE"
    column = f"{quoted(asked.pull.alias)}.{quoted(lookup.column)}"
    for name, found in values_by_shard(lookup, task.plan.keyspace, sorted(values), asked.shards, task.topology).items():
        for first in range(0, len(found), LOOKED_UP):
            listed = ", ".join(map(str, found[first : first + LOOKED_UP]))
            yield name, Sent(asked.sent[name].payload + f" {where} ({column} IN ({listed}))".encode())


class Load:
    """What one statement has loaded so far, against its limits."""

    def __init__(self, most_rows: int) -> None:
        self.budget: Budget | None = None
        self._most_rows = most_rows
        self.rows = 0
        self.bytes = 0

    def add(self, rows: int, size: int) -> None:
        """Raises Refusal."""
        self.rows += rows
        self.bytes += size
        if self.rows > self._most_rows:
            raise refusal("SCRATCH_LIMIT", f"{self._most_rows} rows", "one statement")
        if self.budget is not None:
            self.budget.hold(self.bytes)


class Bench:
    """The scratch server's end of one statement."""

    def __init__(self, lease: Lease, number: int, plan: Residual, flags: int) -> None:
        self.lease = lease
        self.number = number
        self._plan = plan
        self._flags = flags
        lookups = [pull.lookup for pull in plan.pulls if pull.lookup is not None]
        self.values: dict[tuple[int, int], set[int] | None] = {(one.source, one.field): set() for one in lookups}
        """Of the columns by which others are looked up: (pull, column) -> the numbers loaded, None for too many."""

    async def prepare(self, *, deprecate: bool) -> None:
        """Raises Refusal."""
        self.lease.submit(self.number, b"\x03" + LOGGED, pins=PIN)
        cursor = LeaseCursor(self._plan.scratch, self.lease, deprecate=deprecate)
        try:
            logged = bool(await cursor.peek())
            while await cursor.rows() is not None:
                pass
        except ShardError as error:
            raise self._failed(error.payload) from None
        if logged:
            raise refusal("SCRATCH_BINLOG", self._plan.scratch)
        keyspace = quoted(self._plan.keyspace)
        for pull in self._plan.pulls:
            made = f"CREATE TEMPORARY TABLE {keyspace}.{quoted(pull.temporary)} LIKE {keyspace}.{quoted(pull.table)}"
            await self.command(made.encode())
            drop = ", ".join(
                "DROP PRIMARY KEY" if key == "PRIMARY" else f"DROP INDEX {quoted(key)}" for key in pull.dropped
            )
            if drop:
                await self.command(f"ALTER TABLE {keyspace}.{quoted(pull.temporary)} {drop}".encode())
        await self.command(NEUTRAL)

    async def ready(self) -> None:
        """The tables are full: those that shadow others take their names. Raises Refusal."""
        keyspace = quoted(self._plan.keyspace)
        for pull in self._plan.pulls:
            if pull.shadows:
                name = f"{keyspace}.{quoted(pull.temporary)}"
                await self.command(f"ALTER TABLE {name} RENAME TO {keyspace}.{quoted(pull.table)}".encode())
        await self.command(AS_BEFORE)

    async def command(self, text: bytes) -> None:
        """Raises Refusal."""
        answer = await self.lease.command(self.number, b"\x03" + text, pins=PIN)
        if is_error(answer):
            raise self._failed(answer[HEADER_SIZE:])

    def _failed(self, payload: bytes) -> Refusal:
        error = ErrPacket.parse(payload)
        told = f"error {error.errno}, whose text the policy keeps back" if self._flags & GUARDED else error.message
        return refusal("SCRATCH_FAILED", self._plan.scratch, told)

    async def fill(self, pull: Pull, cursor: LeaseCursor, shape: Shape, load: Load) -> None:
        """All rows of a shard into the pull's table. Raises Refusal and ShardError."""
        names = ", ".join(quoted(column.name) for column in pull.columns)
        table = f"{quoted(self._plan.keyspace)}.{quoted(pull.temporary)}"
        head = f"INSERT INTO {table} ({names}) VALUES ".encode()
        write = writers(pull.columns)
        required = [at for at, column in enumerate(pull.columns) if column.required and pull.planned is not None]
        waiting: list[bytes] = []
        size = 0
        while (packets := await cursor.rows()) is not None:
            cells = [shape.cells(payload) for payload in _payloads(packets)]
            for at in required:
                if any(one[at] is None for one in cells):
                    raise refusal("SCRATCH_POLICY", f"{pull.columns[at].name} of {pull.table} is NOT NULL, and masked")
            self._note(pull, cells)
            rows = [row(one, write) for one in cells]
            load.add(len(rows), len(packets))
            for one in rows:
                if waiting and size + len(one) > LOAD_BYTES:
                    await self.command(head + b",".join(waiting))
                    waiting, size = [], 0
                waiting.append(one)
                size += len(one)
        if waiting:
            await self.command(head + b",".join(waiting))

    def _note(self, pull: Pull, cells: Sequence[Sequence[bytes | None]]) -> None:
        for (source, column), known in self.values.items():
            if known is not None and self._plan.pulls[source] is pull:
                known.update(int(one[column] or b"") for one in cells if one[column] is not None)
                if len(known) > MOST_LOOKED_UP:
                    self.values[source, column] = None

    def head(self, head: Head) -> bytearray:
        """The answer's, with the tables' own names in place of the temporary ones."""
        return head.renamed(self._names())

    def described(self, answer: bytes) -> bytes:
        """The same for the framed answer to COM_STMT_PREPARE."""
        names = self._names()
        packets = ((number, payload) for number, payload in split_packets(answer))
        return b"".join(
            frame(renamed(payload, names) if payload.startswith(DEFINITION) else payload, number)
            for number, payload in packets
        )

    def _names(self) -> dict[bytes, bytes]:
        return {pull.temporary.encode(): pull.table.encode() for pull in self._plan.pulls}


def _payloads(packets: bytearray) -> Sequence[bytes]:
    """Whole rows. Raises Refusal for one that comes in several packets, or would not go into one statement."""
    found = [payload for _, payload in split_packets(bytes(packets))]
    if any(len(payload) > MOST_BYTES for payload in found):
        raise refusal("MERGE_ROW")
    return found
