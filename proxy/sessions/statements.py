"""Prepared statements: one store for the whole worker, bounded in bytes, and each client's ids into it.

COM_STMT_PREPARE is answered from metadata that a server of the statement's shard gave once per text, context,
session state, capability class and configuration; the relay prepares it on whichever backend executes it. While a
session holds a backend of its own (transaction, temporary table), that one is asked, and its answer is not kept.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from _speedups import lexer
from _speedups.relay import StatementRef, VerdictRef
from proxy.compile import AUDIT, OP_KEY, OP_PARK, PREPARE, Compiled, one_row
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.prepared import StmtPrepareOk, prepare_response
from proxy.mysql.packets.replies import ErrPacket
from proxy.mysql.packets.resultset import ColumnDefinition41
from proxy.mysql.wire import HEADER_SIZE, frame
from proxy.scatter.executor import Execution
from proxy.sessions.params import decode_params, with_types
from proxy.sessions.session import Origin, Session
from proxy.text import SessionGone
from router import plan as plans
from router.errors import refusal
from router.plan import ByKey, Planned
from router.policy.enforce import Part

if TYPE_CHECKING:
    from proxy.worker import Worker

PENDING = 1
"""The relay's Trx: BEGIN was answered, and has not reached a shard."""
ACTIVE = 2
"""The relay's Trx of a session whose backend has a transaction open."""
STORE_BYTES = 32 << 20
OVERHEAD = 1024
"""What an entry costs besides its text and metadata, roughly."""

FORMS_MAX, FORMS_BYTES = 64, 1 << 20
"""Other texts kept of one statement; who executes one that is gone by then still holds it."""

PARAMETER = ColumnDefinition41.string("?", 0)

Key = tuple[int, int, bytes, int]
"""(context number, state number, text, capability class): sql_mode and character sets decide how a server reads the
text when it prepares it, and how it describes the columns."""


@dataclass(slots=True)
class Entry:
    """A statement as prepared: its relay struct, plan, and the answer to PREPARE with a hole for the id. `origin`: how
    it was read at PREPARE, which holds for good."""

    ref: StatementRef
    epoch: int
    text: bytes
    found: Any
    planned: Planned
    compiled: Compiled
    answer: bytes
    nparams: int
    forms: Forms
    origin: Origin

    @property
    def size(self) -> int:
        return 2 * len(self.text) + len(self.answer) + OVERHEAD


class Forms:
    """A statement's other texts, which some shards get, as prepared statements of their own. Their executions are
    never looked up: whoever sends one has been told to."""

    def __init__(
        self, worker: Worker, session: Session, found: Any, compiled: Compiled, head: StmtPrepareOk, epoch: int
    ) -> None:
        self._worker = worker
        self._found = found
        self._head = head
        self._fixed = Compiled(flags=compiled.flags, pins=compiled.pins, park_reason=PREPARE).arguments()
        self._fixed |= {"ctx": worker.contexts.number(session.context()), "epoch": epoch}
        self._made: OrderedDict[bytes, StatementRef] = OrderedDict()
        self._bytes = 0

    def of(self, text: bytes, nparams: int | None = None) -> StatementRef:
        """`nparams`: of this text, when it has other parameters than the client's."""
        if text in self._made:
            self._made.move_to_end(text)
        else:
            self._made[text] = self._worker.relay.statement_new(
                text=frame(b"\x16" + text, 0),
                nparams=self._head.params if nparams is None else nparams,
                ncolumns=self._head.columns,
                fingerprint=self._found.fingerprint,
                **self._fixed,
            )
            self._bytes += len(text)
        while len(self._made) > 1 and (len(self._made) > FORMS_MAX or self._bytes > FORMS_BYTES):
            self._bytes -= len(self._made.popitem(last=False)[0])
        return self._made[text]


def _check_read_only(info: dict[str, Any], planned: Planned) -> None:
    """As a server does when it prepares a write; it is not asked on the transaction's connection, which has none yet.
    Raises Refusal."""
    if info["trx"] == PENDING and info["status"] & Status.IN_TRANS_READONLY and planned.facts.writes:
        raise refusal("READ_ONLY_TRANSACTION", planned.facts.verb.upper())


def reads_alike(text: bytes, before: Origin, now: Origin) -> bool:
    """Is the text, which a server reads once at PREPARE, read the same by what the session has set since?"""
    if before.reading == now.reading and before.mode == now.mode:
        return True
    one, other = lexer.lex(text, before.mode), lexer.lex(text, now.mode)
    if (one.norm, one.slots) != (other.norm, other.slots):
        return False
    if before.reading.words != now.reading.words and _BY_WORDS.search(text):
        return False
    return before.reading[:2] == now.reading[:2] or (text.isascii() and b"'" not in text and b'"' not in text)


_BY_WORDS = re.compile(rb"(?i)\|\||\bNOT\b|\bREAL\b|\w\s+\(")
"""What one of the words of sql_mode may make something else of."""


class Statements:
    """One worker's prepared statements."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._store: OrderedDict[Key, Entry] = OrderedDict()
        self._bytes = 0

    # --- COM_STMT_PREPARE -----------------------------------------------------------------------------------

    def prepare(self, handle: int, session: Session) -> None:
        command = self._worker.relay.command(handle)
        info = self._worker.relay.info(handle)
        if command is None or info is None:
            return
        text = command[1:]
        state = self._worker.variables.number(session.state)
        key = (self._worker.contexts.number(session.context()), state, text, info["capclass"])
        entry = self._store.get(key)
        # What only the session's own backend has, a temporary table, may go by the same name.
        shared = not info["pins"] & ~self._worker.pin_bits("cursor", "transaction")
        if shared and entry is not None and entry.epoch == self._worker.epoch:
            _check_read_only(info, entry.planned)
            self._store.move_to_end(key)
            self._give(handle, entry)
        else:
            self._worker.dispatcher.spawn(handle, self._prepare(handle, session, text, key, info))

    async def _prepare(self, handle: int, session: Session, text: bytes, key: Key, info: dict[str, Any]) -> None:
        epoch = self._worker.epoch
        found = lexer.lex(text, session.mode)
        planned = self._worker.planning.plan(session, text, found)
        if (refused := planned.refusal) is not None:
            self._worker.dispatcher.count(handle, session, found)
            raise refused
        _check_read_only(info, planned)
        compiled = self._worker.compile(session, planned)
        answer = await self._describe(handle, session, text, found, planned, info)
        if answer[HEADER_SIZE] == 0xFF:
            if planned.policy is not None and planned.policy.guarded:
                # It repeats the text, which is not the client's alone.
                answer = kept_back(answer)
            self._worker.relay.reply(handle, answer, error=True)
            return
        # Of the epoch that it was planned in: if that is over by now, the first execution plans it anew.
        entry = self._make(session, text, found, planned, compiled, answer, epoch, session.origin)
        if not info["pins"] and info["trx"] != 2 and self._worker.variables.names(session.state, key[1]):
            self._keep(key, entry)
        self._give(handle, entry)

    def _make(
        self,
        session: Session,
        text: bytes,
        found: Any,
        planned: Planned,
        compiled: Compiled,
        answer: bytes,
        epoch: int,
        origin: Origin,
    ) -> Entry:
        head = StmtPrepareOk.parse(answer[HEADER_SIZE : HEADER_SIZE + 12])
        sources: list[tuple[int, int, int]] = []
        constants, nkeys = b"", 0
        opcode = compiled.opcode if not found.error and planned.facts.cacheable else OP_PARK
        if opcode == OP_KEY:
            assert isinstance(planned.plan, ByKey)
            resolved = self._worker.compiler.sources(planned.plan, text, found, session.mode)
            if resolved is None:
                opcode = OP_PARK
            else:
                sources, constants, nkeys = resolved
        digest, generation = self._worker.claim_digest(session, found)
        arguments = compiled.arguments() | {"opcode": opcode, "flags": compiled.flags | one_row(found)}
        if opcode == OP_PARK:
            arguments |= {"park_reason": PREPARE, "flags": compiled.flags & ~AUDIT}
        forms = Forms(self._worker, session, found, compiled, head, epoch)
        policy = planned.policy
        if policy is not None and not policy.free and opcode != OP_PARK:

            def form(part: Part) -> StatementRef:
                return forms.of(policy.placed(part, text, found, session.mode).text)

            arguments["verdicts"] = self._worker.verdicts.of_statement(self._worker.compiler, policy, form)
        ref = self._worker.relay.statement_new(
            text=frame(b"\x16" + text, 0),
            ctx=self._worker.contexts.number(session.context()),
            epoch=epoch,
            nparams=head.params,
            ncolumns=head.columns,
            fingerprint=found.fingerprint,
            sources=sources,
            constants=constants,
            nkeys=nkeys,
            digest=digest,
            digest_generation=generation,
            **arguments,
        )
        return Entry(ref, epoch, text, found, planned, compiled, answer, head.params, forms, origin)

    async def _describe(
        self, handle: int, session: Session, text: bytes, found: Any, planned: Planned, info: dict[str, Any]
    ) -> bytes:
        """The answer to PREPARE: ours for what is answered here, else a server's."""
        plan = planned.plan
        if isinstance(plan, plans.SessionValue | plans.Names):
            return self._local_answer(session, found, self._worker.local.columns(session, plan))
        if isinstance(plan, plans.ShowRoute | plans.ShowFairlead):
            raise refusal("NOT_PREPARABLE", "EXPLAIN ROUTE" if isinstance(plan, plans.ShowRoute) else "SHOW FAIRLEAD")
        if isinstance(plan, plans.Scatter) and plan.merge is not None and plan.merge.explained is not None:
            raise refusal("NOT_PREPARABLE", "EXPLAIN of what goes to several shards")
        if isinstance(plan, plans.Kill):
            raise refusal("NOT_PREPARABLE", "KILL")
        if isinstance(plan, plans.Transaction | plans.SetSession | plans.UseDatabase | plans.Nothing):
            return self._local_answer(session, found, [])
        if isinstance(plan, plans.Residual):
            return await self._worker.scratch.describe(session, plan, text, found)
        shard = self._describing_shard(plan, planned)
        own = info["shard"] >= 0 and (info["trx"] == ACTIVE or bool(info["pins"]))
        shard = info["shard"] if own else shard
        if planned.policy is not None:
            name = self._worker.shard_of_number(shard).name
            text = planned.policy.text(name, text, found, session.mode) or text
        if own:
            return await self._ask_own(handle, session, shard, text, info)
        return await self._ask(session, shard, text)

    def _local_answer(self, session: Session, found: Any, columns: Any) -> bytes:
        params = [PARAMETER] * found.params
        return prepare_response(0, params, columns, session.capabilities, Status.AUTOCOMMIT)

    def _describing_shard(self, plan: plans.Plan, planned: Planned) -> int:
        """Any shard that has the tables and may be asked; one of the own region if there is one."""
        compiler = self._worker.compiler
        if planned.policy is not None:
            return compiler.nearest(planned.policy.allowed)
        match plan:
            case plans.Keep():
                return self._describing_shard(plan.write, planned)
            case plans.OneShard(shard):
                return compiler.shard(shard)
            case plans.Told():
                return compiler.nearest(tuple(shard.name for shard in self._worker.generation.topology.shards))
            case plans.ByLookup(shards=shards):
                return compiler.nearest(shards)
            case plans.PullOut(keyspace=name):
                pulled = self._worker.generation.topology.keyspace(name)
                assert pulled is not None
                return compiler.nearest(tuple(shard.name for shard in pulled.shards))
            case plans.AnyShard(_, shards) | plans.Scatter(shards=shards) | plans.Survey(shards=shards):
                return compiler.nearest(shards)
            case plans.MultiWrite(shards=shards) | plans.SplitInsert(shards=shards) | plans.Numbered(shards=shards):
                return compiler.nearest(shards)
            case plans.Move(shards=shards) | plans.Chosen(shards=shards) | plans.Transfer(shards=shards):
                return compiler.nearest(shards)
            case ByKey():
                keyspace = self._worker.generation.topology.keyspace(plan.keyspace)
                assert keyspace is not None
                return compiler.nearest(tuple(shard.name for shard in keyspace.shards))
        raise refusal("NOT_PREPARABLE", type(plan).__name__)

    async def _ask(self, session: Session, shard: int, text: bytes) -> bytes:
        """Prepare on a backend of the shard, for the metadata, and close it there."""
        async with self._worker.lease(session, shard) as lease:
            # The relay closes the statement on that backend as soon as the answer is complete.
            return await lease.command(shard, b"\x16" + text)

    async def _ask_own(self, handle: int, session: Session, shard: int, text: bytes, info: dict[str, Any]) -> bytes:
        """The same on the backend that the session holds, which a lease has meanwhile. Raises Refusal."""
        relay = self._worker.relay
        async with self._worker.lease(session, shard) as lease:
            # Whatever becomes of the command, the backend never goes to anybody else.
            relay.set_pins(lease.handle, add=self._worker.pin_bits("other"))
            if not relay.move_backend(handle, lease.handle, lent=True):
                raise SessionGone
            answer = await lease.command(shard, b"\x16" + text)
            if not relay.move_backend(lease.handle, handle, lent=True):
                self._worker.dispatcher.refuse(
                    handle, refusal("BACKEND_LOST_IDLE", self._worker.shard_of_number(shard).name), close=True
                )
                raise SessionGone
        if info["trx"] != ACTIVE:
            relay.end_transaction(handle)  # which there was none, and a backend that comes back stands for
        return answer

    def forget(self) -> None:
        """Drop the store: state numbers are given out anew. Clients keep what they have prepared."""
        self._store.clear()
        self._bytes = 0

    def _keep(self, key: Key, entry: Entry) -> None:
        old = self._store.pop(key, None)
        self._bytes += entry.size - (old.size if old is not None else 0)
        self._store[key] = entry
        while self._bytes > STORE_BYTES and len(self._store) > 1:
            _, oldest = self._store.popitem(last=False)
            self._bytes -= oldest.size

    def _give(self, handle: int, entry: Entry) -> None:
        """Hand the statement to the client under an id of its own."""
        limit = self._worker.generation.settings.limits.prepared_statements
        number = self._worker.relay.client_prepare(handle, entry.ref, limit)
        if number == 0:
            return
        if number < 0:
            raise refusal("STATEMENTS_LIMIT", str(limit))
        session = self._worker.sessions.get(handle)
        if session is None:
            return
        session.prepared[number] = entry
        answer = entry.answer
        at = HEADER_SIZE + 1
        self._worker.relay.reply(handle, answer[:at] + number.to_bytes(4, "little") + answer[at + 4 :])

    # --- COM_STMT_EXECUTE that parked ------------------------------------------------------------------------

    def execute(self, handle: int, session: Session) -> None:
        """The plan is stale, or the relay cannot carry it out by itself."""
        command = self._worker.relay.command(handle)
        if command is None:
            return
        number = int.from_bytes(command[1:5], "little")
        entry = session.prepared.get(number)
        if not isinstance(entry, Entry):
            self._renew(handle, session, number, *self._carried(handle, number), *session.carried_in)
            return
        context = self._worker.contexts.number(session.context())
        if entry.epoch != self._worker.epoch or self._worker.relay.statement_context(entry.ref) != context:
            self._renew(handle, session, number, entry.text, entry.answer, entry.origin)
            return
        self._carry_out(handle, session, command, number, entry)

    def _carried(self, handle: int, number: int) -> tuple[bytes, bytes]:
        """Text, and what the answer to PREPARE began with, of a statement that came with its client from the process
        before. Raises Refusal."""
        found = self._worker.relay.carried(handle, number)
        if found is None:
            raise refusal("UNKNOWN_PREPARED", str(number))
        command, params, columns = found
        return command[HEADER_SIZE + 1 :], frame(StmtPrepareOk(number, columns, params).build(), 1)

    def _renew(
        self, handle: int, session: Session, number: int, text: bytes, answer: bytes, origin: Origin
    ) -> None:
        """Plan it anew for the configuration and schema of now, and look at the command again; its metadata stays the
        client's. Raises Refusal."""
        if not reads_alike(text, origin, session.origin):
            raise refusal("PREPARED_OTHERWISE")
        found = lexer.lex(text, session.mode)
        planned = self._worker.planning.plan(session, text, found)
        if (refused := planned.refusal) is not None:
            self._worker.dispatcher.count(handle, session, found)
            raise refused
        database = origin.database
        if database != session.database and not self._means_the_same(session, text, found, planned, database):
            raise refusal("PREPARED_ELSEWHERE", database or "", session.database or "")
        compiled = self._worker.compile(session, planned)
        fresh = self._make(session, text, found, planned, compiled, answer, self._worker.epoch, origin)
        self._worker.relay.client_replace(handle, number, fresh.ref)
        session.prepared[number] = fresh
        self._worker.relay.resume(handle)

    def _means_the_same(
        self, session: Session, text: bytes, found: Any, planned: Planned, database: str | None
    ) -> bool:
        """Does the text, planned in the session's database, name what it named in the one where it was prepared?"""
        context = replace(self._worker.context_of(session), database=database)
        there = self._worker.plan_in_force(found, text, context)
        if there.refusal is not None or there.facts.tables != planned.facts.tables:
            return False
        if planned.facts.tables:
            return there.plan == planned.plan
        # It is left to a server what else it names, a procedure for one, unless the planner knows all of it.
        return not (isinstance(there.plan, plans.OneShard) and isinstance(planned.plan, plans.OneShard))

    def _carry_out(self, handle: int, session: Session, command: bytes, number: int, entry: Entry) -> None:
        types = self._worker.relay.statement_types(handle, number)
        if self._worker.relay.has_long_data(handle, number):
            raise refusal("KEY_TYPE", "of this statement", "it was sent by COM_STMT_SEND_LONG_DATA")
        params = decode_params(command, entry.nparams, types, session.charset)
        execution = Execution(entry.ref, with_types(command, entry.nparams, types), number, params)
        self._worker.dispatcher.carry_out(
            handle, session, entry.text, entry.found, entry.planned, entry.compiled, params, execution
        )

    def forms(
        self, session: Session, number: int, texts: Mapping[str, bytes | None], nparams: int | None = None
    ) -> dict[str, StatementRef]:
        """The prepared statement of each shard that gets another text. `nparams`: of these, when not the client's."""
        entry = session.prepared[number]
        assert isinstance(entry, Entry)
        return {name: entry.forms.of(text, nparams) for name, text in texts.items() if text is not None}

    def form(self, session: Session, number: int, text: bytes, nparams: int) -> StatementRef:
        """Another text than the client's, with so many parameters, as a prepared statement."""
        entry = session.prepared[number]
        assert isinstance(entry, Entry)
        return entry.forms.of(text, nparams)

    def verdict(self, session: Session, number: int, shard: str) -> VerdictRef:
        """What the policy makes of a prepared statement on one shard. Raises Refusal."""
        entry = session.prepared[number]
        assert isinstance(entry, Entry)
        policy = entry.planned.policy
        assert policy is not None
        part = policy.part(shard)
        if part.as_it_is:
            return self._worker.verdicts.passes(part)
        text = policy.placed(part, entry.text, entry.found, session.mode).text
        return self._worker.verdicts.prepared(part, entry.forms.of(text))


def kept_back(answer: bytes) -> bytes:
    """A server's framed error with its number and SQLSTATE, and a text of ours: the server's may hold values."""
    error = ErrPacket.parse(answer[HEADER_SIZE:])
    return frame(replace(error, message=refusal("POLICY_SERVER_ERROR").message).build(), 1)
