"""Answers to what the relay parks: one handler per command, one answer per park.

A parked session is not read from, so a handler may take its time; it must end in exactly one of the relay's
answers (resume, run_on, reply, reply_ok, close). `Dispatcher.on_events` is the loop's callback on the relay's
event descriptor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from _speedups.lexer import LexedStatement, lex
from _speedups.stats import PARK_REASONS, PIN_REASONS
from proxy.compile import (
    OP_PARK,
    Compiled,
    error_payload,
)
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.commands import Command
from proxy.mysql.wire import frame
from proxy.scatter.derived import Statement
from proxy.scatter.executor import Execution
from proxy.sessions import commands
from proxy.sessions.kills import number_of
from proxy.sessions.local import ID_HERE, ID_LOST, LOCAL
from proxy.sessions.session import Session
from proxy.sessions.transactions import ACTIVE, is_begin
from proxy.text import ParkedText, SessionGone
from proxy.xa.sessions import Spread
from proxy.xa.transaction import ServerSaid
from router import plan as plans
from router.errors import CATALOGUE, Refusal, refusal
from router.gate import Family, gate
from router.literals import Params
from router.plan import Planned
from router.text import Text
from router.tokens import decode, tokenize

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

PARKED, CLOSED, DRAINED, DATA, DONE, LEAVES = 1, 2, 4, 8, 16, 64
CONNECT, TRANSACTION, SESSION, OTHER, AUDIT = map(
    PARK_REASONS.index, ("connect", "transaction", "session", "other", "audit")
)
SEVERAL = PARK_REASONS.index("multi_statement")
LACKING = frozenset({PARK_REASONS.index("plan_miss"), PARK_REASONS.index("plan_stale")})
"""What a plan in the relay's cache helps against."""
SPREADS_NOT = CATALOGUE["MULTI_SHARD_IN_TRANSACTION"].id
RETRIES = 3
"""How often one command may come back as a miss before it is carried out from here."""


class Dispatcher:
    """The uvloop side's half of the conversation with one relay."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.relay = worker.relay
        self._misses: dict[int, tuple[int, int]] = {}
        """Session -> (when its command was received, how often it came back): what was put in the relay's tables for
        a command does not hold when it comes back for the same thing."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._work: dict[int, asyncio.Task[None]] = {}
        """Session -> the task that carries out its command; it is cancelled when the session goes."""
        self._interrupted: set[int] = set()
        """Sessions whose command's task is cancelled for a KILL QUERY."""
        self._done: dict[int, Callable[[], None]] = {}
        self._drained: dict[int, asyncio.Event] = {}
        self._files: dict[int, asyncio.Event] = {}
        """Session -> told when there is some of the file that its client was asked for."""

    # --- events ---------------------------------------------------------------------------------------------

    def on_events(self) -> None:
        sessions, pools, lost = self.relay.events()
        self._shielded(self.worker.auditor.drain)
        for number, waiting, _, total, read_only in pools:
            self._shielded(self.worker.backends.pools.on_event, number, waiting, total)
            if read_only:
                self.worker.backends.pools.suspect(number)
        for handle, bits, reason, command, _, is_lease in sessions:
            if is_lease:
                self._shielded(self._on_lease, handle, bits, reason)
            else:
                self._shielded(self._on_session, handle, bits, reason, command)
        if lost:
            self._shielded(self.worker.kill_lost, lost)

    def _shielded(self, handler: Callable[..., None], *what: Any) -> None:
        """An event is told once: the failure of one must not lose the others."""
        try:
            handler(*what)
        except Exception:
            log.exception("an event of the relay")
            self.worker.loop_block.error("internal")

    def _on_lease(self, handle: int, bits: int, reason: int) -> None:
        """Leases park for what their backend lacks only: a way between states, or a way to the shard."""
        if bits & PARKED:
            try:
                if reason != SESSION or not self.worker.add_way_between_states(handle):
                    raise refusal("SHARD_FAILED", "of this statement", "there is no way to it")
                self.relay.resume(handle)
            except Refusal as error:
                self.refuse(handle, error)
        self.worker.leases.on_event(handle, bits)

    def _on_session(self, handle: int, bits: int, reason: int, command: int) -> None:
        if bits & CLOSED:
            self._forget(handle)
            return
        if bits & DRAINED and handle in self._drained:
            self._drained[handle].set()
        if bits & DATA and handle in self._files:
            self._files[handle].set()
        if bits & DONE and (done := self._done.pop(handle, None)) is not None:
            done()
        if bits & LEAVES:
            self.worker.moves.on_leaves(handle)
        if bits & PARKED:
            self._on_parked(handle, reason, command)

    def _forget(self, handle: int) -> None:
        self._misses.pop(handle, None)
        if (work := self._work.pop(handle, None)) is not None:
            work.cancel()
        if (done := self._done.pop(handle, None)) is not None:
            done()
        for events in (self._drained, self._files):
            if (event := events.pop(handle, None)) is not None:
                event.set()
        self.worker.forget(handle)

    def _on_parked(self, handle: int, reason: int, command: int) -> None:
        session = self.worker.sessions.get(handle)
        if session is None:
            self.relay.close(handle)
            return
        try:
            self._handle(handle, session, reason, command)
        except Refusal as error:
            self.refuse(handle, error)
        except SessionGone:
            pass
        except Exception:
            log.exception("answering a parked command")
            self.worker.loop_block.error("internal")
            self.refuse(handle, refusal("INTERNAL", "the statement could not be handled"), close=True)

    def _handle(self, handle: int, session: Session, reason: int, command: int) -> None:
        spread = session.spread
        if spread is not None and spread.turn.locked() and reason not in (AUDIT, CONNECT, SESSION):
            self.spawn(handle, self._in_turn(handle, spread))
        elif reason == AUDIT:
            self.worker.auditor.wait(handle)
        elif reason == CONNECT:
            self._no_pool(handle, session)
        elif self._is_provided(handle, session, reason):
            self.relay.resume(handle)
        elif command == Command.QUERY:
            self._on_query(handle, session, reason)
        elif command in _HANDLERS:
            _HANDLERS[command](self, handle, session)
        elif command in commands.ANSWERS:
            commands.ANSWERS[command](self.worker, handle, session)
        else:
            raise refusal("COMMAND", _command_name(command), "Use another command, or connect to the server itself")

    # --- plain answers --------------------------------------------------------------------------------------

    def refuse(self, handle: int, error: Refusal, *, close: bool = False) -> None:
        """The catalogue's error as the parked command's answer."""
        self.worker.loop_block.add("refusals")
        self.worker.loop_block.error("refused" if error.id.startswith("FL2") else "unsupported")
        self._record_refusal(handle, error)
        self.relay.reply(handle, frame(error_payload(error), 1), error=True, close=close)

    def _record_refusal(self, handle: int, error: Refusal) -> None:
        session = self.worker.sessions.get(handle)
        if error.is_verdict and session is not None:
            info = self.relay.info(handle)
            self.worker.auditor.refused(session, error, info["fingerprint"] if info is not None else 0)

    def spawn(self, handle: int, work: Awaitable[None]) -> None:
        """Carry out a parked command in a task; whatever it raises becomes the answer."""
        task = asyncio.ensure_future(self._guarded(handle, work))
        self._tasks.add(task)
        self._work[handle] = task

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if self._work.get(handle) is task:
                del self._work[handle]
            self._interrupted.discard(handle)

        task.add_done_callback(ended)

    def interrupt(self, handle: int) -> bool:
        """Stop the task that carries out the session's command, if there is one, and say so to the client."""
        work = self._work.pop(handle, None)
        if work is not None:
            self._interrupted.add(handle)
            work.cancel()
        return work is not None

    def see_through(self, handle: int) -> None:
        """The command's task has come to where it must not be cancelled, even if nobody waits for its answer."""
        self._work.pop(handle, None)

    async def _guarded(self, handle: int, work: Awaitable[None]) -> None:
        try:
            await work
        except Refusal as error:
            self.refuse(handle, error)
        except ServerSaid as error:
            self.relay.reply(handle, error.packet, error=True)
        except SessionGone:
            pass
        except asyncio.CancelledError:
            if handle in self._interrupted:
                self.refuse(handle, refusal("INTERRUPTED"))
            else:
                self.relay.close(handle)
            raise
        except Exception:
            log.exception("carrying out a statement")
            self.worker.loop_block.error("internal")
            self.refuse(handle, refusal("INTERNAL", "the statement could not be carried out"), close=True)

    def when_done(self, handle: int) -> asyncio.Future[None]:
        """Completes when the command that `run_on(notify=True)` sends is answered, or the session is gone."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done() -> None:
            if not future.done():
                future.set_result(None)

        self._done[handle] = done
        return future

    def never_done(self, handle: int) -> None:
        """The command that `when_done` waits for was not sent."""
        self._done.pop(handle, None)

    async def drained(self, handle: int, packets: bytes) -> bool:
        """Send part of an answer and wait until the client has taken it. False when it is gone."""
        event = self._drained.setdefault(handle, asyncio.Event())
        event.clear()
        waiting = self.relay.write(handle, packets)
        if waiting < 0:
            self.relay.close(handle)
            return False
        if waiting:
            await event.wait()
        return handle in self.worker.sessions

    async def ask_file(self, handle: int, request: bytes) -> None:
        """Ask the parked session's client for its file. Raises SessionGone."""
        self._files[handle] = asyncio.Event()
        if not self.relay.ask_file(handle, request):
            del self._files[handle]
            raise SessionGone

    async def file(self, handle: int) -> AsyncIterator[bytes]:
        """What the client sends of it, up to its end. Not taking it stops the client. Raises SessionGone."""
        while (event := self._files.get(handle)) is not None:
            event.clear()
            taken = self.relay.take_file(handle)
            if taken is None:
                raise SessionGone
            data, more = taken
            if data:
                yield data
            elif not more:
                del self._files[handle]
                return
            else:
                await event.wait()

    def is_interrupted(self, handle: int) -> bool:
        """Was the session's task cancelled for a KILL QUERY?"""
        return handle in self._interrupted

    def _is_provided(self, handle: int, session: Session, reason: int) -> bool:
        """Has the command what it lacked, and is to be looked at again? Raises Refusal."""
        if reason == TRANSACTION:
            return self._spreads(handle, session)
        return reason == SESSION and self.worker.add_way_between_states(handle)

    async def _in_turn(self, handle: int, spread: Spread) -> None:
        """What the session's last statement has left on several shards is being put in order."""
        async with spread.turn:
            pass
        self.relay.resume(handle)

    def _spreads(self, handle: int, session: Session) -> bool:
        """Does the statement need another shard than the one that the session is bound to? Then its transaction
        spreads, and it is to be looked at again. Raises Refusal."""
        info = self.relay.info(handle)
        if info is None or info["shard"] < 0 or info["shard"] == info["command_shard"]:
            return False
        bound = self.worker.shard_of_number(info["shard"]).name
        wanted = self.worker.shard_of_number(info["command_shard"]).name
        if info["trx"] == ACTIVE:
            try:
                self.worker.spreads.enter(handle, session, info)
            except Refusal as reason:
                raise refusal("SECOND_SHARD", bound, wanted) if reason.id == SPREADS_NOT else reason from None
            return True
        pins = [name.replace("_", " ") for bit, name in enumerate(PIN_REASONS) if info["pins"] >> bit & 1]
        raise refusal("PINNED_SESSION", bound, ", ".join(pins) or "its state", wanted)

    def _no_pool(self, handle: int, session: Session) -> None:
        """The relay found no way to a shard: a peer's pool is missing, or the shard has no primary."""
        info = self.relay.info(handle)
        if info is None:
            return
        shard = self.worker.shard_of_number(info["command_shard"])
        if shard.is_local:
            self.spawn(handle, self.worker.failover.hold(handle, shard, info))
            return
        if session.hop:
            raise refusal("PEER_LOOP", session.listener, shard.region.name)
        if shard.region.peer is None:
            raise refusal("PEER_DOWN", shard.region.name, "no peer is configured")
        if self._came_back(handle, info) > RETRIES:
            raise refusal("PEER_DOWN", shard.region.name, "there is no way to it")
        self.worker.backends.peer_pool(self.worker.attested(session), shard, info["capclass"])
        self.relay.resume(handle)

    def _came_back(self, handle: int, info: dict[str, Any]) -> int:
        """How often this very command has come back for something that is now put into the relay's tables."""
        received, count = self._misses.get(handle, (0, 0))
        count = count + 1 if received == info["received"] else 1
        self._misses[handle] = info["received"], count
        return count

    # --- COM_QUERY ------------------------------------------------------------------------------------------

    def _on_query(self, handle: int, session: Session, reason: int) -> None:
        sql, found = self.statement(handle)
        if reason == SEVERAL and session.capabilities & Capability.MULTI_STATEMENTS:
            self._on_several(handle, session, sql, found)
            return
        planned = self.worker.planning.known(session, found)
        if planned is None:
            self.worker.planning.later(handle, session, reason)
            return
        self.follow(handle, session, sql, found, planned, reason)

    def _on_several(self, handle: int, session: Session, sql: Text, first: LexedStatement) -> None:
        """The first of several is carried out, the others come behind its answer. A stored program is one statement,
        whatever semicolons it has: the relay stopped at the first. Raises Refusal."""
        if is_program(first):
            whole = lex(bytes(sql), session.mode)
            self.follow(handle, session, sql, whole, self.worker.planning.plan(session, sql, whole), SEVERAL)
        elif not first.norm:
            raise refusal("EMPTY_STATEMENT")
        elif not self.relay.split(handle, first.rest):
            raise refusal("MULTI_STATEMENT")

    def statement(self, handle: int) -> tuple[ParkedText, LexedStatement]:
        """A parked COM_QUERY as the relay has lexed it. Raises SessionGone."""
        parked = self.relay.statement(handle)
        if parked is None:
            raise SessionGone
        found, length = parked
        return ParkedText(self.relay, handle, length), found

    def follow(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, reason: int
    ) -> None:  # fmt: skip
        """Give the plan to the relay if that is what it lacks, else carry it out from here."""
        info = self.relay.info(handle)
        if info is None:
            return
        compiled = self.worker.compile(session, planned)
        cached = planned.facts.cacheable and not found.error and compiled.opcode != OP_PARK and session.spread is None
        if cached and reason in LACKING and self._came_back(handle, info) <= RETRIES:
            self._install(session, sql, found, planned, compiled)
            self.relay.resume(handle)
            return
        if cached and reason == OTHER:
            # The policy's places are those of a text with other spaces or comments: the last one wins.
            self._install(session, sql, found, planned, compiled)
        self.carry_out(handle, session, sql, found, planned, compiled)

    def _install(self, session: Session, sql: Text, found: Any, planned: Planned, compiled: Compiled) -> None:
        digest, generation = self.worker.claim_digest(session, found)
        policy, verdicts = planned.policy, None
        if policy is not None and not policy.free:
            verdicts = self.worker.verdicts.of_plan(self.worker.compiler, policy, sql, found, session.mode)
        self.relay.plan_put(
            fingerprint=found.fingerprint,
            norm=found.norm,
            ctx=self.worker.contexts.number(session.context()),
            epoch=self.worker.epoch,
            keys=compiled.keys,
            reply=compiled.reply,
            digest=digest,
            digest_generation=generation,
            verdicts=verdicts,
            **compiled.arguments(),
        )

    # --- carrying out ---------------------------------------------------------------------------------------

    def carry_out(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, compiled: Compiled,
        params: Params = (), execution: Execution | None = None,
    ) -> None:  # fmt: skip
        """One execution of a plan that the relay does not carry out by itself."""
        try:
            self._carry_out(handle, session, sql, found, planned, compiled, params, execution)
        except Refusal as error:
            self.count(handle, session, found)
            error.tables = tuple((use.keyspace, use.table) for use in planned.facts.tables)
            error.shadowed = planned.shadowed
            raise

    def count(self, handle: int, session: Session, found: Any, shards: Iterable[str] = ()) -> None:
        """The parked command's answer from here is to be counted among the digests."""
        digest, generation = self.worker.claim_digest(session, found)
        mask = 0
        for name in shards:
            mask |= 1 << min(self.worker.compiler.shard(name), 63)
        self.relay.count_as(handle, digest, generation, mask)

    def _carry_out(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, compiled: Compiled,
        params: Params, execution: Execution | None,
    ) -> None:  # fmt: skip
        plan = planned.plan
        if (refused := planned.refusal) is not None:
            raise refused
        spread = session.spread
        if spread is not None and (planned.facts.implicit_commit or is_begin(plan)):
            self.worker.transactions.commit_first(handle, session, spread)
        elif spread is not None and isinstance(plan, plans.Transaction):
            self.spawn(handle, self.worker.transactions.end(handle, session, spread, plan, bytes(sql)))
        elif spread is not None and isinstance(plan, plans.SetSession) and planned.facts.pins:
            self.spawn(handle, self.worker.transactions.set_at_home(handle, session, spread, plan, sql, found, params))
        elif planned.facts.uses_warnings:
            self.worker.local.show_warnings(handle, session, sql, execution is not None)
        elif isinstance(plan, plans.Transaction):
            self.worker.transactions.at_one(handle, session, plan, sql)
        elif isinstance(plan, plans.SetSession):
            self.worker.variables.set(handle, session, plan, sql, found, params)
        elif isinstance(plan, plans.UseDatabase):
            self.worker.use(handle, session, plan.keyspace)
        elif isinstance(plan, plans.Kill):
            number = session.connection_id if plan.slot is None else number_of(plan, sql, found, session.mode)
            self.worker.kills.begin(handle, session, number, statement=plan.statement)
        elif isinstance(plan, plans.SessionValue) and self._is_id_wanted(handle, plan):
            return
        elif isinstance(plan, LOCAL):
            self.worker.local.answer(handle, session, plan, execution is not None)
        elif isinstance(plan, plans.PullOut) and planned.facts.writes:
            self.worker.stepping.begin(handle, session, Statement(sql, found, planned, params, execution), plan)
        elif isinstance(plan, plans.PullOut):
            self.worker.pulling.begin(handle, session, Statement(sql, found, planned, params, execution))
        elif isinstance(plan, plans.Survey):
            self.worker.surveying.begin(handle, session, Statement(sql, found, planned, params, execution), plan)
        elif isinstance(plan, plans.SplitLoad):
            self.worker.placing.split_file(handle, session, sql, found, planned, plan)
        elif isinstance(plan, plans.Told):
            self.worker.telling.begin(handle, session, Statement(sql, found, planned, params, execution), plan)
        elif isinstance(plan, plans.Numbered):
            self.worker.numbering.begin(handle, session, sql, found, planned, params, execution)
        else:
            self.worker.placing.begin(handle, session, sql, found, planned, compiled, params, execution)

    def _is_id_wanted(self, handle: int, plan: plans.SessionValue) -> bool:
        info = self.relay.info(handle) if any(column.fact == "last_insert_id" for column in plan.columns) else None
        return info is not None and self.asks_for_id(handle, info)

    def asks_for_id(self, handle: int, info: dict[str, Any]) -> bool:
        """Is LAST_INSERT_ID() asked for first? Then the command comes again. Raises Refusal."""
        if info["id_state"] == ID_LOST:
            raise refusal("LAST_INSERT_ID_LOST")
        return info["id_state"] == ID_HERE and bool(self.relay.ask_id(handle))

    # --- prepared statements --------------------------------------------------------------------------------------

    def on_prepare(self, handle: int, session: Session) -> None:
        self.worker.statements.prepare(handle, session)

    def on_execute(self, handle: int, session: Session) -> None:
        self.worker.statements.execute(handle, session)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


_HANDLERS: dict[int, Callable[[Dispatcher, int, Session], None]] = {
    Command.STMT_PREPARE: Dispatcher.on_prepare,
    Command.STMT_EXECUTE: Dispatcher.on_execute,
}


def is_program(first: LexedStatement) -> bool:
    """Does the text, up to its first semicolon, begin a stored program, whose body has semicolons of its own?"""
    tokens = tokenize(decode(first.norm))
    return bool(tokens) and gate(tokens).family is Family.PROGRAM


def _command_name(command: int) -> str:
    try:
        return f"COM_{Command(command).name}"
    except ValueError:
        return f"command 0x{command:02x}"
