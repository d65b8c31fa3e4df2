"""SET: which state a session wants its backends in, and how a server is asked whether it takes a value.

Tracked variables are recorded and applied to whichever backend serves the session next. A value is tried on a
real server before the client gets its OK, once per value: what was taken before is taken again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from _speedups.packet import split_packets
from config.words import Flavour
from proxy.compile import ASK_ID, PRESET
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.packets.replies import OkPacket
from proxy.mysql.packets.resultset import parse_text_row
from proxy.mysql.wire import frame
from proxy.pool.varstate import (
    DEFAULT,
    Base,
    SessionState,
    StatesExhausted,
    StateTable,
    Value,
    VariableRefused,
    rendered,
)
from proxy.scatter.leases import is_error
from proxy.sessions.session import Session
from proxy.sessions.tracking import TRACKERS, Tracking
from router import variables as known
from router.errors import Refusal, refusal
from router.literals import Params, value
from router.plan import Assignment, ServerValue, SetSession, SlotValue, WordValue
from router.text import Text

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

TAKEN_MAX = 1024
BASE_COLLATION = "utf8mb4_general_ci"
OUTSIDE, TRACKED = 16, 128
"""The relay's flags: does not open a deferred transaction; its new state is told before the session is released."""
ACTIVE = 2
"""The relay's Trx: a server has a transaction open."""
ISOLATION = frozenset({"READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"})
TRUE = frozenset({"1", "'1'"})
CLIENT_CHARSET = frozenset({"names", "character_set", "character_set_client"})
KNOWN_HERE = CLIENT_CHARSET | {"sql_mode", "completion_type"}
"""Their values have to be known here: a text read otherwise than by the server could hide statements from the plan,
and so could what a COMMIT does."""


Given: TypeAlias = tuple[tuple[str, Value], ...]
"""Variables as `router.variables` names them, with the values that SET gives them, in its order."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a SET makes of its session. `said`: its text; None when that cannot be sent to a server as it is."""

    given: Given
    state: SessionState
    tracking: Tracking
    said: bytes | None

    @property
    def of_backends(self) -> list[str]:
        return self._handled(known.Handling.TRACKED)

    @property
    def of_clients(self) -> list[str]:
        """Session tracking's, which backends that others use are not told of."""
        return self._handled(known.Handling.TOLD)

    @property
    def is_quiet(self) -> bool:
        """Are there some that no server is told of?"""
        return bool(self._handled(known.Handling.NOOP))

    def _handled(self, handling: known.Handling) -> list[str]:
        return [name for name, _ in self.given if known.variable(name).handling is handling]

    def key(self, session: Session) -> tuple[SessionState, Tracking, Given]:
        """All that a server's answer depends on."""
        return session.state.use(None), session.tracking, self.given

    def text(self, session: Session) -> bytes:
        """SET for a server, without what is not a server's business."""
        if self.said is not None:
            return self.said
        flavour = Flavour.MARIADB if session.mariadb else Flavour.MYSQL
        to_backends, told = self.of_backends, self.tracking.literals()
        parts = rendered(flavour, [one for one in self.given if one[0] in to_backends])
        parts += [f"@@SESSION.{name}={told[name]}" for name in self.of_clients]
        return f"SET {','.join(parts)}".encode("ascii")


class Variables:
    """One worker's session states."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.table = StateTable()
        self._taken: OrderedDict[tuple[SessionState, Tracking, Given], bytes] = OrderedDict()
        """What a server has told of its changes, by what the session was and what it was to be."""

    def number(self, state: SessionState) -> int:
        """The number of a state. Raises Refusal when too many are in use."""
        try:
            return self.table.intern(state)
        except StatesExhausted:
            self._sweep()
        try:
            return self.table.intern(state)
        except StatesExhausted as error:
            raise refusal("MEMORY_LIMIT", f"session states ({error})") from None

    def names(self, state: SessionState, number: int) -> bool:
        """Is this still the state's number?"""
        return self.table.known(state) == number

    def _sweep(self) -> None:
        """Give up the numbers that no session and no backend carries, with everything that is kept by them."""
        in_use = self._worker.relay.states_in_use()
        for session in self._worker.sessions.values():
            in_use.add(self.table.known(session.state) or 0)
        if self.table.sweep(in_use):
            self._worker.relay.diffs_clear()
            self._worker.statements.forget()

    def begin(self, session: Session) -> None:
        """The state of a client that has just logged in: the charset and collation of its handshake."""
        if session.collation.name != BASE_COLLATION:
            state = session.state.set("names", session.collation.charset)
            session.state = state.set("collation_connection", session.collation.name)
        session.initial = session.state.use(None)

    # --- SET ------------------------------------------------------------------------------------------------

    def set(self, handle: int, session: Session, plan: SetSession, sql: Text, found: Any, params: Params) -> None:
        """Answer a parked SET."""
        info = self._worker.relay.info(handle)
        if info is None or (plan.about_id and self._worker.dispatcher.asks_for_id(handle, info)):
            return
        if any(assignment.scope == "next" for assignment in plan.assignments):
            self._once(handle, session, plan, info, sql, found, params)
            return
        asked = [one.value.expression for one in plan.assignments if isinstance(one.value, ServerValue)]
        expressions = [one for one in asked if one is not None]
        if expressions:
            self._worker.dispatcher.spawn(handle, self._compute(handle, session, plan, sql, found, params, expressions))
        else:
            self._settle(handle, session, plan, self._wish(session, plan, sql, found, params, {}), info)

    def _once(
        self, handle: int, session: Session, plan: SetSession, info: dict[str, Any], sql: Text, found: Any,
        params: Params,
    ) -> None:  # fmt: skip
        """SET TRANSACTION for the next transaction only: it goes to whichever backend that one gets, before it."""
        if any(assignment.scope != "next" for assignment in plan.assignments):
            raise refusal("TRANSACTION_OPTION", "SET of the next transaction's characteristics among others")
        if info["trx"] != ACTIVE and info["pins"]:
            self._worker.relay.run_on(handle, info["shard"], flags=OUTSIDE)
            return
        for assignment in plan.assignments:
            text = characteristic(assignment.variable, self._value(session, assignment, sql, found, params))
            if not self._worker.relay.once(handle, frame(b"\x03SET TRANSACTION " + text.encode(), 0)):
                raise refusal("TRANSACTION_OPEN", "Transaction characteristics")
        self._worker.relay.reply_ok(handle)

    async def _compute(
        self, handle: int, session: Session, plan: SetSession, sql: Text, found: Any, params: Params,
        expressions: list[str],
    ) -> None:  # fmt: skip
        """Ask some server, in the session's state, what the values are; then SET them as if the client had said so."""
        query = b"\x03SELECT " + ", ".join(expressions).encode("utf-8", "surrogateescape")
        shard = self._worker.any_shard(session)
        async with self._worker.lease(session, shard) as lease:
            answer = await lease.command(shard, query)
        if is_error(answer):
            self._worker.relay.reply(handle, answer, error=True)
            return
        values = dict(zip(expressions, only_row(answer, session.capabilities), strict=True))
        info = self._worker.relay.info(handle)
        if info is not None:
            self._settle(handle, session, plan, self._wish(session, plan, sql, found, params, values), info)

    def _settle(
        self, handle: int, session: Session, plan: SetSession, wish: Wish, info: dict[str, Any]
    ) -> None:
        """Bring the session into the wanted state, and answer."""
        own = info["shard"] >= 0 and (info["trx"] == ACTIVE or info["pins"])
        switches_on = not is_on(session.state.literal("autocommit")) and is_on(wish.state.literal("autocommit"))
        if session.spread is not None and switches_on:
            self._worker.transactions.commit_first(handle, session, session.spread)
        elif plan.verbatim or (own and wish.of_backends):
            if wish.of_clients:
                raise refusal("VARIABLE_REFUSED", wish.of_clients[0], "it is set by a statement of its own here")
            self._worker.dispatcher.spawn(handle, self._on_own_backend(handle, session, plan, wish, info))
        elif not (wish.of_backends or wish.of_clients):
            self._worker.relay.reply_ok(handle)
        elif (told := self._taken.get(wish.key(session))) is not None:
            self._answer(handle, session, wish, told)
        else:
            self._worker.dispatcher.spawn(handle, self._try(handle, session, plan, wish))

    def _wish(
        self, session: Session, plan: SetSession, sql: Text, found: Any, params: Params, computed: Mapping[str, str]
    ) -> Wish:
        """What the SET's tracked assignments make of the session. Raises Refusal for what is not to be set."""
        state, tracking, given = session.state, session.tracking, []
        for assignment in plan.assignments:
            name, asked = assignment.variable, assignment.value
            if isinstance(asked, ServerValue):
                if asked.expression is None:
                    if name in KNOWN_HERE:
                        raise refusal("VARIABLE_VALUE", name, "only a server could compute it")
                    continue
                to: Value = computed[asked.expression]
            else:
                to = self._value(session, assignment, sql, found, params)
            given.append((name, to))
            if name in TRACKERS:
                tracking = tracking.set(name, to)
                if tracking.gtids and len(self._worker.generation.topology.shards) > 1:
                    raise refusal("VARIABLE_REFUSED", name, "a statement on several shards has no server's GTID")
            else:
                state = after(state, name, to)
        quiet = any(known.variable(name).handling is known.Handling.NOOP for name, _ in given)
        return Wish(tuple(given), state, tracking, None if params or quiet else bytes(sql))

    def _value(self, session: Session, assignment: Assignment, sql: Text, found: Any, params: Params) -> Value:
        given = assignment.value
        if isinstance(given, WordValue):
            return {"DEFAULT": DEFAULT, "NULL": None}.get(given.word, given.word)
        assert isinstance(given, SlotValue)
        plain = value(sql, found.slots[given.slot], session.mode, params, session.charset, given.negate)
        if isinstance(plain, bytes):
            raise refusal("VARIABLE_VALUE", assignment.variable, "it is binary")
        return plain

    async def _try(self, handle: int, session: Session, plan: SetSession, wish: Wish) -> None:
        """Let some backend, in the session's state, carry it out; its word is the answer."""
        shard = self._worker.any_shard(session)
        self.number(wish.state)  # while it can still be refused
        async with self._worker.lease(session, shard, told=True) as lease:
            # Unless it has succeeded, and is known to others, the state that it leaves is nobody else's.
            pins = self._worker.pin_bits("other")
            if wish.of_clients:
                await lease.command(shard, b"\x03" + session.tracking.setting(session.mariadb), pins=pins)
            answer = await lease.command(shard, b"\x03" + wish.text(session), pins=pins)
            if is_error(answer):
                self._worker.relay.reply(handle, answer, error=True)
                return
            if not wish.of_clients:
                self._worker.relay.state_applied(lease.handle, self.number(wish.state))
                lease.unpin()
        if handle not in self._worker.sessions:
            return
        warnings, told = self._told(answer)
        if not warnings:
            self._take_note(wish.key(session), told)
            self._answer(handle, session, wish, told)
        elif wish.of_clients:
            raise refusal("VARIABLE_VALUE", wish.of_clients[0], "servers would warn of it")
        elif (info := self._worker.relay.info(handle)) is not None:
            # SHOW WARNINGS shall find them.
            await self._on_own_backend(handle, session, plan, wish, info)

    @staticmethod
    def _told(answer: bytes) -> tuple[int, bytes]:
        """(warnings, entries) of a framed OK packet."""
        (_, payload), *_ = split_packets(answer)
        packet = OkPacket.parse(payload, Capability.PROTOCOL_41 | Capability.SESSION_TRACK)
        return packet.warnings, b"".join(change.build() for change in packet.changes)

    def _take_note(self, key: tuple[SessionState, Tracking, Given], told: bytes) -> None:
        self._taken[key] = told
        if len(self._taken) > TAKEN_MAX:
            self._taken.popitem(last=False)

    def _answer(self, handle: int, session: Session, wish: Wish, told: bytes) -> None:
        """The session is as wished, and its client is told what a server has told."""
        self._take(handle, session, wish.state)
        if wish.tracking != session.tracking:
            session.tracking = wish.tracking
            self._worker.relay.tell(handle, *session.told())
        self._worker.relay.reply_ok(handle, told)

    async def _on_own_backend(
        self, handle: int, session: Session, plan: SetSession, wish: Wish, info: dict[str, Any]
    ) -> None:
        """The session holds a backend, or has to from now on: the statement itself goes there."""
        shard = info["shard"] if info["shard"] >= 0 else self._worker.any_shard(session, plan.shards)
        self._worker.ensure_way(session, shard, session.capabilities)
        self.number(wish.state)  # while it can still be refused
        payload = b"\x03" + wish.text(session) if wish.is_quiet and not plan.verbatim else b""
        done = self._worker.dispatcher.when_done(handle)
        pins = self._worker.pin_bits("user_variable") if plan.verbatim else 0
        # The next command is held: it must be read by what this one sets.
        flags, extra = OUTSIDE | TRACKED, b""
        if plan.about_id:
            flags, extra = flags | PRESET | ASK_ID, set_id(info)
        self._worker.relay.run_on(handle, shard, flags=flags, pins=pins, extra=extra, hold=True, payload=payload)
        try:
            await done
            now = self._worker.relay.info(handle)
            if now is not None and not now["last_error"]:
                self._take(handle, session, wish.state, applied=True)
        except Refusal as error:
            # It is done, and cannot be remembered: the session's next text could be misread.
            log.warning("a session is closed: %s", error.message)
            self._worker.relay.close(handle)
        finally:
            self._worker.relay.release(handle)

    def _take(self, handle: int, session: Session, wanted: SessionState, applied: bool = False) -> None:
        """The state is the session's now."""
        relay = self._worker.relay
        number = self.number(wanted)
        autocommit = wanted.literal("autocommit")
        on = is_on(autocommit)
        if on != is_on(session.state.literal("autocommit")):
            # Switching it on ends the transaction that is open; repeating what holds does not.
            if on:
                relay.drop_pending(handle)
            relay.set_session(handle, autocommit=on)
        session.state = wanted
        if applied:
            relay.state_applied(handle, number)
        self._worker.tell_relay(session)

    def way(self, base: Base, a: int, b: int) -> list[bytes]:
        """Framed packets that bring a backend of this base from state a to state b. Raises StateUnreachable."""
        return [frame(payload, 0) for payload in self.table.packets(a, b, base, database_matters=False)]


def characteristic(name: str, given: Value) -> str:
    """What SET TRANSACTION calls it. Raises Refusal."""
    word = str(given).strip("'").upper()
    if name == "transaction_isolation" and word in ISOLATION:
        return f"ISOLATION LEVEL {word.replace('-', ' ')}"
    if name == "transaction_read_only" and word in ("ON", "1", "OFF", "0"):
        return "READ ONLY" if word in ("ON", "1") else "READ WRITE"
    raise refusal("VARIABLE_VALUE", name, f"{word} is none of its values")


def only_row(response: bytes, capabilities: Capability) -> list[str]:
    """The values of a whole text response of one row; NULL is the empty string."""
    payloads = [payload for _, payload in split_packets(response)]
    row = payloads[1 + payloads[0][0] + (0 if capabilities & Capability.DEPRECATE_EOF else 1)]
    return [(one or b"").decode("utf-8", "replace") for one in parse_text_row(row)]


def set_id(info: dict[str, Any]) -> bytes:
    """What makes LAST_INSERT_ID() on a backend the session's own."""
    return frame(b"\x03SET LAST_INSERT_ID=%d" % info["last_insert_id"], 0)


def is_on(literal: str | None) -> bool:
    """Of autocommit; None is the connection's default, on."""
    return literal is None or literal in TRUE


def after(state: SessionState, name: str, given: Value) -> SessionState:
    """The state after one assignment. Raises Refusal."""
    entry = known.variable(name)
    plain = "default" if given is DEFAULT else given
    error = known.check(name, plain if isinstance(plain, str | int) or plain is None else str(plain))
    if error is not None:
        raise error
    if given is DEFAULT and entry.name in CLIENT_CHARSET:
        # The server's global value, by which this side would not know how to read the client's text.
        raise refusal("VARIABLE_VALUE", name, "DEFAULT does not say which character set")
    if entry.handling is not known.Handling.TRACKED:
        return state
    try:
        return state.set(entry.name, given)
    except VariableRefused as reason:
        raise refusal("VARIABLE_VALUE", reason.name, reason.why) from None

