"""Answers to what the relay parks: one handler per command, one answer per park.

A parked session is not read from, so a handler may take its time; it must end in exactly one of the relay's
answers (resume, run_on, reply, reply_ok, close). `Dispatcher.on_events` is the loop's callback on the relay's
event descriptor. Cold plans are made one per loop turn, so that a burst of new shapes delays nobody's handshake or
answer by more than one plan; the relay itself runs in its own thread meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from _speedups.lexer import LexedStatement, lex
from _speedups.relay import VerdictRef
from _speedups.stats import PARK_REASONS, PIN_REASONS
from proxy import commands
from proxy.audit import Want
from proxy.compile import (
    FRESH_ID,
    GUARDED,
    LOAD,
    OP_PARK,
    OPAQUE,
    PRESET,
    WRITES,
    Compiled,
    error_payload,
    one_row,
)
from proxy.computing import Original
from proxy.derived import Statement
from proxy.executor import NOT_REDUCED, Asked, Execution, Read, Reduced
from proxy.exposure import Toll
from proxy.kills import number_of
from proxy.local import ID_HERE, ID_LOST, LOCAL
from proxy.merging import Bounds, bounds_of
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.commands import Command
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import OkPacket
from proxy.mysql.wire import frame
from proxy.numbering import Form
from proxy.params import bigint, rearranged
from proxy.result_set import FIRST_SEQUENCE, ResultSet
from proxy.scopes import Scope
from proxy.session import Session
from proxy.steps import STEPPED
from proxy.text import ParkedText, SessionGone
from proxy.variables import set_id
from proxy.xa.sessions import Spread
from proxy.xa.transaction import ServerSaid
from router import plan as plans
from router.engine.assemble import assemble
from router.engine.recipe import Recipe
from router.errors import CATALOGUE, Refusal, refusal
from router.gate import Family, gate
from router.literals import Params
from router.plan import CHAIN, RELEASE, Planned, refusal_of
from router.policy.enforce import Enforcement
from router.route import route, warning
from router.text import Text
from router.tokens import decode, tokenize

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

PARKED, CLOSED, DRAINED, DATA, DONE, LEAVES = 1, 2, 4, 8, 16, 64
PENDING, ACTIVE = 1, 2
"""The relay's Trx: a server has a transaction open."""
CONNECT, TRANSACTION, SESSION, OTHER, AUDIT = map(
    PARK_REASONS.index, ("connect", "transaction", "session", "other", "audit")
)
SEVERAL = PARK_REASONS.index("multi_statement")
LACKING = frozenset({PARK_REASONS.index("plan_miss"), PARK_REASONS.index("plan_stale")})
"""What a plan in the relay's cache helps against."""
PLANNED_MAX = 8192
"""Plans kept on this side, so that what fell out of the relay's cache need not be parsed again."""
LONG_TEXT = 16 << 10
"""Templates longer than this are planned in a thread."""
CARRIED_OUT = plans.MultiWrite | plans.SplitInsert | plans.Scatter | plans.SchemaChange
"""Plans that the executor carries out on several shards."""
SCHEMA_WAIT = 2.0
"""Seconds that a session waits at most, behind its DDL, for the schema to be read."""
SAVEPOINTS_MAX = 1024
"""Of one transaction, at a time."""
SPREADS_NOT = CATALOGUE["MULTI_SHARD_IN_TRANSACTION"].id
RETRIES = 3
"""How often one command may come back as a miss before it is carried out from here."""


class Dispatcher:
    """The uvloop side's half of the conversation with one relay."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.relay = worker.relay
        self._planned: OrderedDict[tuple[int, int, bytes], tuple[int, Planned]] = OrderedDict()
        self._cold: deque[tuple[int, Session, int]] = deque()
        self._thawing = False
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
        sql, found = self._statement(handle)
        if reason == SEVERAL and session.capabilities & Capability.MULTI_STATEMENTS:
            self._on_several(handle, session, sql, found)
            return
        planned = self._remembered(session, found)
        if planned is None:
            self._cold.append((handle, session, reason))
            self._thaw()
            return
        self.follow(handle, session, sql, found, planned, reason)

    def _on_several(self, handle: int, session: Session, sql: Text, first: LexedStatement) -> None:
        """The first of several is carried out, the others come behind its answer. A stored program is one statement,
        whatever semicolons it has: the relay stopped at the first. Raises Refusal."""
        if is_program(first):
            whole = lex(bytes(sql), session.mode)
            self.follow(handle, session, sql, whole, self.plan(session, sql, whole), SEVERAL)
        elif not self.relay.split(handle, first.rest):
            raise refusal("MULTI_STATEMENT")

    def _statement(self, handle: int) -> tuple[ParkedText, LexedStatement]:
        """A parked COM_QUERY as the relay has lexed it. Raises SessionGone."""
        parked = self.relay.statement(handle)
        if parked is None:
            raise SessionGone
        found, length = parked
        return ParkedText(self.relay, handle, length), found

    def _remembered(self, session: Session, found: Any) -> Planned | None:
        if found.error:
            return None
        key = (self.worker.contexts.number(session.context()), found.fingerprint, found.norm)
        entry = self._planned.get(key)
        if entry is None or entry[0] != self.worker.epoch:
            return None
        self._planned.move_to_end(key)
        return entry[1]

    def _thaw(self) -> None:
        if not self._thawing and self._cold:
            self._thawing = True
            asyncio.get_running_loop().call_soon(self._thaw_one)

    def _thaw_one(self) -> None:
        """Plan one cold statement; the next one has to wait for the loop's next turn."""
        self._thawing = False
        handle, session, reason = self._cold.popleft()
        if handle in self.worker.sessions:
            try:
                sql, found = self._statement(handle)
                planned = self._remembered(session, found)
                if planned is None and len(found.norm) > LONG_TEXT and not found.error:
                    self.spawn(handle, self._plan_aside(handle, session, sql, found, reason))
                else:
                    self.follow(handle, session, sql, found, planned or self.plan(session, sql, found), reason)
            except Refusal as error:
                self.refuse(handle, error)
            except SessionGone:
                pass
            except Exception:
                log.exception("planning a statement")
                self.worker.loop_block.error("internal")
                self.refuse(handle, refusal("INTERNAL", "the statement could not be planned"))
        self._thaw()

    async def _plan_aside(self, handle: int, session: Session, sql: Text, found: Any, reason: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(RETRIES):
            epoch, context = self.worker.epoch, self.worker.context_of(session)
            make = self.worker.make_plan
            planned = await loop.run_in_executor(self.worker.threads, make, session, found, sql, context)
            if epoch == self.worker.epoch:
                break
        else:
            # Another configuration or schema every time: planned where nothing can come between.
            planned = self.worker.make_plan(session, found, sql, self.worker.context_of(session))
        self._remember(session, found, planned)
        self.follow(handle, session, sql, found, planned, reason)

    def plan(self, session: Session, sql: Text, found: Any) -> Planned:
        """The router's plan, remembered when it holds for every statement of this template."""
        planned = self.worker.make_plan(session, found, sql, self.worker.context_of(session))
        self._remember(session, found, planned)
        return planned

    def _remember(self, session: Session, found: Any, planned: Planned) -> None:
        if not planned.facts.cacheable or found.error:
            return
        key = (self.worker.contexts.number(session.context()), found.fingerprint, found.norm)
        self._planned[key] = (self.worker.epoch, planned)
        if len(self._planned) > PLANNED_MAX:
            self._planned.popitem(last=False)

    def remembered(self) -> Iterator[tuple[int, int, bytes, int, Planned]]:
        """(context, fingerprint, norm, epoch, plan) of all that are remembered, the one used last at the end."""
        for (context, fingerprint, norm), (epoch, planned) in self._planned.items():
            yield context, fingerprint, norm, epoch, planned

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
            self.commit_first(handle, session, spread)
        elif spread is not None and isinstance(plan, plans.Transaction):
            self.spawn(handle, self._end(handle, session, spread, plan, bytes(sql)))
        elif spread is not None and isinstance(plan, plans.SetSession) and planned.facts.pins:
            self.spawn(handle, self._set_at_home(handle, session, spread, plan, sql, found, params))
        elif planned.facts.uses_warnings:
            self.worker.local.show_warnings(handle, session, sql, execution is not None)
        elif isinstance(plan, plans.Transaction):
            self._transaction(handle, session, plan, sql)
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
        elif isinstance(plan, plans.SplitLoad):
            self._split_file(handle, session, sql, found, planned, plan)
        elif isinstance(plan, plans.Told):
            self.worker.telling.begin(handle, session, Statement(sql, found, planned, params, execution), plan)
        elif isinstance(plan, plans.Numbered):
            self.worker.numbering.begin(handle, session, sql, found, planned, params, execution)
        else:
            self.on_shards(handle, session, sql, found, planned, compiled, params, execution)

    def _split_file(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, plan: plans.SplitLoad
    ) -> None:
        """LOAD DATA LOCAL of a sharded table. Raises Refusal."""
        info = self.relay.info(handle)
        if info is None:
            return
        self._loading(session, info)
        shards = route(planned, found, sql, mode=session.mode, charset=session.charset)
        if isinstance(shards, plans.Refuse):
            raise refusal_of(shards, planned.facts)
        self.count(handle, session, found, shards)
        self.worker.loading.begin(handle, session, sql, found, planned, plan)

    def _is_id_wanted(self, handle: int, plan: plans.SessionValue) -> bool:
        info = self.relay.info(handle) if any(column.fact == "last_insert_id" for column in plan.columns) else None
        return info is not None and self.asks_for_id(handle, info)

    def on_shards(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, compiled: Compiled,
        params: Params, execution: Execution | None, form: Form | None = None, told: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Where this execution goes: one shard by the relay, several by the executor. `form`: the statement is not the
        client's own; `told`: the shards, where a lookup has told them. Raises Refusal."""
        plan = planned.plan
        if isinstance(plan, plans.ByLookup) and not told:
            self.worker.lookups.find(handle, session, sql, found, planned, compiled, params, execution, form)
            return
        shards: tuple[str, ...] | plans.Refuse
        shards = told or route(planned, found, sql, params, mode=session.mode, charset=session.charset)
        if isinstance(shards, plans.Refuse):
            raise refusal_of(shards, planned.facts)
        if session.bound in shards:
            # A peer's statement for several shards comes once for each of them.
            shards = (session.bound,)
        warned = warning(planned, len(shards))
        session.note = error_payload(warned) if warned is not None else None
        toll = self.worker.exposures.toll(session, planned, found, sql, params, shards)
        if toll is not None and toll.persons is None and session.spread is not None:
            raise toll.bound_to_its_connection()
        if isinstance(plan, plans.Keep):
            self.worker.lookups.write(handle, session, sql, found, planned, plan, shards, params, execution, form, toll)
            return
        if isinstance(plan, plans.ByKey | plans.ByLookup) and len(shards) > 1:
            plan = plan.otherwise
        if isinstance(plan, plans.Refuse):
            raise refusal_of(plan, planned.facts)
        if isinstance(plan, plans.Residual):
            if toll is not None:
                raise refusal("SCRATCH_POLICY", "the persons in it are counted")
            self.worker.scratch.begin(handle, session, sql, found, planned, plan, params, execution)
            return
        if len(shards) > 1 and isinstance(plan, plans.Scatter) and plan.merge is not None:
            bounds = bounds_of(plan.merge, sql, found, session.mode, params)
            if bounds.count != 0:
                self.count(handle, session, found, shards)
                self._merged(handle, session, sql, found, planned, plan.merge, bounds, shards, params, execution, toll)
                return
            # LIMIT 0: there is nothing to merge, and servers describe its columns in their own way.
            shards = shards[:1]
        info = self.relay.info(handle)
        if info is None:
            return
        if toll is not None and toll.persons is None and len(shards) == 1:
            self._by_row(handle, session, sql, found, planned, shards, execution, toll, info)
            return
        if len(shards) > 1 and isinstance(plan, STEPPED):
            reduced = self._reduced(session, sql, found, planned, shards, execution)
            self.count(handle, session, found, shards)
            statement = Statement(sql, found, planned, params, execution)
            self.worker.stepping.begin(handle, session, statement, plan, shards, reduced.flags)
            return
        if len(shards) > 1 and isinstance(plan, CARRIED_OUT):
            reduced = replace(self._reduced(session, sql, found, planned, shards, execution), toll=toll)
            self.count(handle, session, found if form is None else form.client, shards)
            first = form.insert_id if form is not None else 0
            self.worker.executor.begin(handle, session, sql, found, planned, plan, shards, execution, reduced, first)
            return
        if planned.facts.implicit_commit and "opaque" not in planned.facts.pins:
            # A transaction that has reached no shard yet ends here; an open one is committed by its server, as is one
            # that begins there for what is not understood: that may be no more than a slip of the pen.
            self.relay.drop_pending(handle)
        if session.spread is not None and planned.facts.pins and session.spread.home in shards:
            shards = (session.spread.home,)
        shard = self._one_of(shards, planned, info)
        client, payload = found, b""
        if form is None:
            verdict = self._verdict(session, sql, found, planned, shard, execution)
        else:
            self.worker.ensure_way(session, shard, session.capabilities)
            verdict = self._ruled(planned, shard, form)
            client, payload = form.client, form.payload
        start = partial(
            self._on_one_shard, handle, session, client, planned, compiled, shard, info, verdict, toll, payload, form
        )
        if session.spread is not None:
            self.spawn(handle, self._held(handle, session, session.spread, planned, compiled, shard, start))
        elif (rest := start()) is not None:
            self.spawn(handle, rest)

    def _ruled(self, planned: Planned, shard: int, form: Form) -> VerdictRef | None:
        """What the policy makes of a form on one shard: it passes as it is, or not at all. Raises Refusal."""
        policy = planned.policy
        part = policy.part(self.worker.shard_of_number(shard).name) if policy is not None else None
        if part is not None and not part.as_it_is:
            raise refusal("POLICY_FORM", "a statement that ids are written into")
        if form.statement is not None:
            return self.worker.verdicts.prepared(part, form.statement)
        return self.worker.verdicts.passes(part) if part is not None else None

    async def _held(
        self, handle: int, session: Session, spread: Spread, planned: Planned, compiled: Compiled, shard: int,
        start: Callable[[], Awaitable[None] | None],
    ) -> None:  # fmt: skip
        """A statement of one shard, in a transaction over several. Raises Refusal, ServerSaid."""
        name = self.worker.shard_of_number(shard).name
        self.worker.spreads.allow(session, None, planned, (name,))
        if compiled.flags & OPAQUE:
            raise refusal("SPREAD_OPAQUE", planned.facts.verb.upper())
        async with spread.holding(name, writes=not planned.facts.replica_ok):
            done = self.when_done(handle)
            self.see_through(handle)    # its server is asked to stop it
            try:
                if (rest := start()) is not None:
                    await rest
            except BaseException:
                self._done.pop(handle, None)
                raise
            await done
        self.relay.release(handle)

    def commit_first(self, handle: int, session: Session, spread: Spread) -> None:
        """Commit the transaction that is on several shards, then look at the parked command again."""
        self.spawn(handle, self._commit_first(handle, spread))

    async def _commit_first(self, handle: int, spread: Spread) -> None:
        self.see_through(handle)
        await spread.commit()
        self.relay.resume(handle)

    async def _end(
        self, handle: int, session: Session, spread: Spread, plan: plans.Transaction, text: bytes
    ) -> None:
        """COMMIT, ROLLBACK and savepoints of a transaction over several shards."""
        self.see_through(handle)
        begun = spread.begun
        if plan.verb == "commit":
            await spread.commit()
        elif plan.verb == "rollback":
            await spread.roll_back()
        else:
            if plan.verb == "savepoint" and len(session.savepoints) >= SAVEPOINTS_MAX:
                raise refusal("MEMORY_LIMIT", "the savepoints of one transaction")
            await spread.savepoint(text)
            session.savepoints = savepoints_after(session.savepoints, plan)
        if CHAIN in plan.options:
            for text in begun.once:
                self.relay.once(handle, frame(text, 0))
            self.relay.chain(handle, begun.variant)
        elif RELEASE in plan.options:
            self._part(handle)
        else:
            self.relay.reply_ok(handle)

    def _part(self, handle: int) -> None:
        """Answer COMMIT RELEASE: OK, and the connection is closed behind it."""
        info, session = self.relay.info(handle), self.worker.sessions.get(handle)
        if info is not None and session is not None:
            status = Status(info["status"]) & ~(Status.IN_TRANS | Status.IN_TRANS_READONLY)
            packet = OkPacket(status=status).build(session.capabilities)
            self.relay.reply(handle, frame(packet, FIRST_SEQUENCE), affected=0, close=True)

    async def _set_at_home(
        self, handle: int, session: Session, spread: Spread, plan: plans.SetSession, sql: Text, found: Any,
        params: Params,
    ) -> None:  # fmt: skip
        """What a connection is pinned for stays on the shard where the transaction began."""
        async with spread.holding(spread.home, writes=False):
            pass
        self.worker.variables.set(handle, session, plan, sql, found, params)

    def _by_row(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, shards: tuple[str, ...],
        execution: Execution | None, toll: Toll, info: dict[str, Any],
    ) -> None:  # fmt: skip
        """One shard's answer, whose rows have to be counted: as those of several. Raises Refusal."""
        if info["trx"] or info["pins"] or not info["autocommit"]:
            raise toll.bound_to_its_connection()
        reduced = replace(self._reduced(session, sql, found, planned, shards, execution), toll=toll)
        self.count(handle, session, found, shards)
        self.worker.executor.begin(handle, session, sql, found, planned, planned.plan, shards, execution, reduced)

    def _verdict(
        self, session: Session, sql: Text, found: Any, planned: Planned, shard: int, execution: Execution | None
    ) -> VerdictRef | None:
        """What the policy makes of the statement on one shard. Raises Refusal."""
        policy = planned.policy
        if policy is None:
            return None
        name = self.worker.shard_of_number(shard).name
        if execution is None:
            return self.worker.verdicts.of_text(policy, name, sql, found, session.mode)
        return self.worker.statements.verdict(session, execution.number, name)

    def _merged(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, recipe: Recipe,
        bounds: Bounds, shards: tuple[str, ...], params: Params, execution: Execution | None, toll: Toll | None,
    ) -> None:  # fmt: skip
        """A read whose rows the engine merges: shards get it with helper columns. Raises Refusal."""
        statement = Statement(sql, found, planned, params, execution)
        asked, reduced = self._asked(session, statement, recipe, bounds, shards)
        self.worker.executor.merge(handle, session, found, planned, recipe, asked, replace(reduced, toll=toll))

    def _asked(
        self, session: Session, statement: Statement, recipe: Recipe, bounds: Bounds, shards: tuple[str, ...]
    ) -> tuple[Asked, Reduced]:
        """What shards are asked for a merged read. Raises Refusal."""
        sql, found, execution = statement.text, statement.found, statement.execution
        limit = bounds.of_shard(whole=recipe.whole)
        outgoing = assemble(recipe, sql, found, session.mode, limit, prepared=execution is not None)
        texts, reduced = self._forms_of(session, outgoing.text, statement.planned, shards)
        if execution is None:
            payloads = {name: b"\x03" + text for name, text in texts.items()}
            return Asked(shards, b"", bounds, Original(sql, found, session.mode)), replace(reduced, payloads=payloads)
        statements, count = self.worker.statements, len(statement.params)
        refs = statements.forms(session, execution.number, texts, len(outgoing.params))
        payload = rearranged(execution.payload, count, outgoing.params, bigint(limit))
        prepare = partial(statements.form, session, execution.number)
        command = Original(sql, found, session.mode, execution.payload, count, prepare)
        return Asked(shards, payload, bounds, command), replace(reduced, statements=refs)

    def planned(self, session: Session, sql: Text, found: LexedStatement, *, timed: bool = False) -> Planned:
        """The plan of a text of ours, as of one that the client had sent. `timed`: one time is set where it runs."""
        if timed:
            return self.worker.plan_in_force(found, sql, replace(self.worker.context_of(session), timed=True))
        return self._remembered(session, found) or self.plan(session, sql, found)

    async def collect(
        self, handle: int, session: Session, statement: Statement, answer: ResultSet, scope: Scope | None = None
    ) -> None:
        """Carry out a read whose answer is not the client's, in a transaction if one is given. Raises Refusal, and what
        `answer` raises."""
        sql, found, planned, params = statement.text, statement.found, statement.planned, statement.params
        shards = route(planned, found, sql, params, mode=session.mode, charset=session.charset)
        if isinstance(shards, plans.Refuse):
            raise refusal_of(shards, planned.facts)
        if self.worker.exposures.toll(session, planned, found, sql, params, shards) is not None:
            raise refusal("POLICY_FORM", "a subquery whose rows are counted")
        plan, execution = planned.plan, statement.execution
        if isinstance(plan, plans.ByLookup) or (isinstance(plan, plans.ByKey) and len(shards) > 1):
            plan = plan.otherwise
        if len(shards) > 1 and isinstance(plan, plans.Scatter) and plan.merge is not None:
            bounds = bounds_of(plan.merge, sql, found, session.mode, params)
            asked, reduced = self._asked(session, statement, plan.merge, bounds, shards)
            read = Read(shards, b"", execution, reduced, plan.merge, asked, scope)
        else:
            shards = shards if isinstance(plan, plans.Scatter) else shards[:1]
            reduced = self._reduced(session, sql, found, planned, shards, execution)
            payload = execution.payload if execution is not None else b"\x03" + bytes(sql)
            read = Read(shards, payload, execution, reduced, scope=scope)
        await self.worker.executor.collect(handle, session, found, planned, read, answer)

    def _forms_of(
        self, session: Session, text: bytes, planned: Planned, shards: tuple[str, ...]
    ) -> tuple[dict[str, bytes], Reduced]:
        """What the policy makes of a text of ours on each shard, as of one that a client had sent there; and what else
        it says of them. Raises Refusal."""
        if planned.policy is None:
            return dict.fromkeys(shards, text), NOT_REDUCED
        lexed = lex(text, session.mode)
        context = replace(self.worker.context_of(session), bound=True)
        sent = self.worker.plan_in_force(lexed, text, context)
        if isinstance(sent.plan, plans.Refuse):
            raise refusal_of(sent.plan, planned.facts)
        policy = sent.policy
        if policy is None:
            raise refusal("POLICY_PROOF", "nothing was decided about what merging asks for")
        texts = {name: policy.text(name, text, lexed, session.mode) or text for name in shards}
        return texts, self._watched(policy, shards, unlike=not policy.alike)

    def _watched(self, policy: Enforcement, shards: tuple[str, ...], *, unlike: bool) -> Reduced:
        """How the answers of several shards are looked at. Raises Refusal."""
        verdicts = {name: self.worker.verdicts.passes(policy.part(name)) for name in shards}
        return Reduced(verdicts=verdicts, flags=GUARDED if policy.guarded else 0, unlike=unlike)

    def _reduced(
        self, session: Session, sql: Text, found: Any, planned: Planned, shards: tuple[str, ...],
        execution: Execution | None,
    ) -> Reduced:  # fmt: skip
        """What the policy makes of the statement on each of several shards. Raises Refusal."""
        policy = planned.policy
        elsewhere = self._decided_elsewhere(session, shards)
        if policy is None:
            return Reduced(unlike=True) if elsewhere else NOT_REDUCED
        texts = {name: policy.text(name, sql, found, session.mode) for name in shards}
        if planned.facts.writes and len(shards) > 1 and any(texts.values()):
            raise refusal("POLICY_FORM", "a write to several shards")
        reduced = self._watched(policy, shards, unlike=elsewhere or not policy.alike)
        if execution is None:
            payloads = {name: b"\x03" + text for name, text in texts.items() if text is not None}
            return replace(reduced, payloads=payloads)
        return replace(reduced, statements=self.worker.statements.forms(session, execution.number, texts))

    def _decided_elsewhere(self, session: Session, shards: tuple[str, ...]) -> bool:
        """May another region's Fairlead mask what is shown in clear here? It decides by its own version of the policy,
        which for a moment is another one."""
        topology = self.worker.generation.topology
        found = [topology.shard(name) for name in shards if len(shards) > 1]
        policy = self.worker.generation_of(session).policy
        return policy is not None and not all(one is None or one.is_local for one in found)

    def _one_of(self, shards: tuple[str, ...], planned: Planned, info: dict[str, Any]) -> int:
        """The shard of an execution that may go to any of `shards`: the one that the session holds, or the nearest."""
        held = info["shard"] if info["shard"] >= 0 and not info["linger"] else None
        if isinstance(planned.plan, plans.AnyShard) and held is not None and len(shards) > 1:
            shards = (self.worker.shard_of_number(held).name,) if self._may(planned.plan, held) else shards
        return self.worker.compiler.nearest(shards)

    def _may(self, plan: plans.AnyShard, shard: int) -> bool:
        return self.worker.shard_of_number(shard).name in plan.shards

    def _on_one_shard(
        self, handle: int, session: Session, found: Any, planned: Planned, compiled: Compiled,
        shard: int, info: dict[str, Any], verdict: VerdictRef | None, toll: Toll | None, payload: bytes = b"",
        form: Form | None = None,
    ) -> Awaitable[None] | None:  # fmt: skip
        """Send it, or say what has to be waited for. Raises Refusal."""
        facts = planned.facts
        extra = b""
        if facts.needs_connection and (info["shard"] < 0 or info["linger"]):
            raise refusal("CONNECTION_FUNCTION", facts.needs_connection[0].upper())
        flags = compiled.flags | one_row(found)
        if facts.needs_last_insert_id:
            if self.asks_for_id(handle, info):
                return None
            extra, flags = set_id(info), flags | PRESET
        if form is not None and form.tells:
            flags |= FRESH_ID
        if facts.loads:
            flags |= self._loading(session, info)
        if facts.ddl:
            self.worker.ensure_way(session, shard, session.capabilities)
            self.spawn(handle, self._behind_ddl(handle, shard, self.when_done(handle)))
        digest, generation = self.worker.claim_digest(session, found)
        consistency, max_lag = self._level(session, planned)
        send = partial(
            self.relay.run_on,
            handle,
            shard,
            digest=digest,
            digest_generation=generation,
            flags=flags,
            pins=compiled.pins,
            extra=extra,
            hold=facts.ddl or session.spread is not None,
            verdict=verdict,
            payload=payload,
            own_id=form.insert_id if form is not None else 0,
            consistency=consistency,
            max_lag_ms=max_lag,
        )
        want = self.worker.auditor.want(session, planned, (self.worker.shard_of_number(shard).name,))
        if toll is not None:
            return self._behind_toll(toll, want, found.fingerprint, send)
        if want is not None and self.worker.auditor.waits(want):
            return self._behind_record(want, found.fingerprint, send)
        self._send(want, send)
        return None

    def asks_for_id(self, handle: int, info: dict[str, Any]) -> bool:
        """Is LAST_INSERT_ID() asked for first? Then the command comes again. Raises Refusal."""
        if info["id_state"] == ID_LOST:
            raise refusal("LAST_INSERT_ID_LOST")
        return info["id_state"] == ID_HERE and bool(self.relay.ask_id(handle))

    def _send(self, want: Want | None, send: Callable[..., bool]) -> None:
        if want is None:
            send()
        else:
            send(record=self.worker.auditor.number(want))

    async def _behind_toll(self, toll: Toll, want: Want | None, fingerprint: int, send: Callable[..., bool]) -> None:
        await toll.pay()
        if want is not None and self.worker.auditor.waits(want):
            await self._behind_record(want, fingerprint, send)
        else:
            self._send(want, send)

    def _loading(self, session: Session, info: dict[str, Any]) -> int:
        """The relay's flag for LOAD DATA LOCAL. Raises Refusal."""
        if not session.capabilities & Capability.LOCAL_FILES:
            raise refusal("LOCAL_INFILE", "the client does not offer its files")
        if info["script"]:
            raise refusal("LOCAL_INFILE", "among several statements")
        return LOAD

    async def _behind_record(self, want: Want, fingerprint: int, send: Callable[..., bool]) -> None:
        number = await self.worker.auditor.kept(want, fingerprint)
        if not send(record=number):
            self.worker.auditor.abandon(number)

    async def _behind_ddl(self, handle: int, shard: int, done: asyncio.Future[None]) -> None:
        """A statement that may have changed the schema is sent. Its session's next one waits until plans are made by
        the schema as it is now; others notice as soon as that has been read."""
        try:
            await done
        finally:
            self.worker.schema_changed()
            if self.worker.plans_by_schema(shard):
                await self.worker.schemas.read_now(SCHEMA_WAIT)
            self.relay.release(handle)

    def _level(self, session: Session, planned: Planned) -> tuple[int, int]:
        """consistency= and max_lag= (ms) of a hint, which hold for this statement only; -1 is the session's own."""
        hints = planned.facts.hints
        if hints.consistency is None and hints.max_lag is None:
            return -1, -1
        level, lag = self.worker.level_of(session)
        wanted = {"primary": 0, "session": 1, "eventual": 2}.get(hints.consistency or "", 2)
        if wanted == 1 and level != 1:
            wanted = 0  # what this session wrote was not noted, so only the primary surely has it
        return wanted, hints.max_lag if hints.max_lag is not None else lag

    def _transaction(self, handle: int, session: Session, plan: plans.Transaction, sql: Text) -> None:
        """SAVEPOINT and its kin; BEGIN, COMMIT and ROLLBACK when they did not fit the relay's tables."""
        info = self.relay.info(handle)
        if info is None:
            return
        if CHAIN in plan.options:
            self._chain(handle, session, info)
            return
        if RELEASE in plan.options:
            self._release(handle, session, plan, info)
            return
        if plan.verb in ("begin", "commit", "rollback"):
            raise refusal("TRANSACTION_OPTION", " ".join((plan.verb.upper(), *sorted(plan.options))).upper())
        if info["trx"] == PENDING or (info["trx"] == 0 and not info["autocommit"] and not info["pins"]):
            self._defer(handle, session, plan, sql, info)
            return
        if info["trx"]:
            # Should the transaction need further shards, they get the same.
            known = session.savepoints if info["deferred"] or info["marked"] else ()
            with suppress(Refusal):
                known = savepoints_after(known, plan)
            if len(known) > SAVEPOINTS_MAX:
                raise refusal("MEMORY_LIMIT", "the savepoints of one transaction")
            session.savepoints = known
            self.relay.mark(handle)
        shard = info["shard"] if info["shard"] >= 0 else self.worker.any_shard(session)
        self.relay.run_on(handle, shard, flags=OPAQUE | WRITES)

    def _chain(self, handle: int, session: Session, info: dict[str, Any]) -> None:
        """COMMIT AND CHAIN: to the relay a statement within a transaction, since there is one behind it, too; without a
        backend a BEGIN."""
        session.savepoints = ()
        if info["trx"] == ACTIVE or info["pins"]:
            self.relay.run_on(handle, info["shard"], flags=OPAQUE | WRITES)
        else:
            self.relay.chain(handle)

    def _release(self, handle: int, session: Session, plan: plans.Transaction, info: dict[str, Any]) -> None:
        """COMMIT RELEASE: the backend, which others go on using, is not told of the RELEASE."""
        session.savepoints = ()
        if info["trx"] == ACTIVE:
            command = b"\x03" + plan.verb.upper().encode()
            self.relay.run_on(handle, info["shard"], flags=OPAQUE | WRITES, payload=command, close=True)
        else:
            self.relay.drop_pending(handle)
            self._part(handle)

    def _defer(self, handle: int, session: Session, plan: plans.Transaction, sql: Text, info: dict[str, Any]) -> None:
        """A transaction without a shard: its savepoints are kept, and sent behind its BEGIN."""
        known = session.savepoints if info["deferred"] else ()
        after = savepoints_after(known, plan)
        if not self.relay.defer(handle, frame(b"\x03" + bytes(sql), 0)):
            raise refusal("MEMORY_LIMIT", "the savepoints of one transaction")
        session.savepoints = after
        self.relay.reply_ok(handle)

    # --- prepared statements --------------------------------------------------------------------------------------

    def on_prepare(self, handle: int, session: Session) -> None:
        self.worker.statements.prepare(handle, session)

    def on_execute(self, handle: int, session: Session) -> None:
        self.worker.statements.execute(handle, session)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def is_begin(plan: plans.Plan) -> bool:
    return isinstance(plan, plans.Transaction) and plan.verb == "begin"


def savepoints_after(names: tuple[str, ...], plan: plans.Transaction) -> tuple[str, ...]:
    """The names of a transaction's savepoints, oldest first, after one more such statement. Raises Refusal."""
    name = (plan.savepoint or "").lower()
    if plan.verb == "savepoint":
        return (*(one for one in names if one != name), name)
    if name not in names:
        raise refusal("SAVEPOINT_UNKNOWN", plan.savepoint or "")
    at = names.index(name)
    return names[: at + 1] if plan.verb == "rollback to" else names[:at]


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
