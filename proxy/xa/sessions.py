"""A session's transaction when it needs a second shard: it *spreads*.

Until then the relay has it alone. From then on the session has a plan context of its own, under which the relay knows
no plan, so that every command is parked and nothing here costs the others anything. Each shard's part has a lease; the
session itself holds the backend of the shard that its last statement went to, so that statements of one shard are
relayed as ever (`hold`), and statements of several run on the leases (`using`). COMMIT gathers all backends on their
leases and commits by two phases.

A part that its server has rolled back (deadlock), or whose connection is lost, takes all others with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from _speedups.packet import split_packets
from _speedups.stats import PIN_REASONS
from config.words import MultiShardWrites
from proxy.compile import BEGINS, begin_text
from proxy.scatter.clock import set_own_times
from proxy.scatter.leases import is_error
from proxy.sessions.session import Session
from proxy.xa import faults
from proxy.xa.transaction import PINNED, AtomicTransaction, Part, ServerSaid, Stage
from router.errors import Refusal, refusal
from router.plan import Planned

if TYPE_CHECKING:
    from proxy.worker import Worker

ACTIVE = 2
"""The relay's Trx: a server has a transaction open."""
NOTHING = 7
"""The relay's BeginVariant: no START TRANSACTION yet."""
NOT_READ_ONLY = (None, "0", "OFF", "'OFF'", "DEFAULT")
IN_TRANS_READONLY = 0x2000
"""Of the status flags."""
SNAPSHOTS = frozenset(number for number, options in enumerate(BEGINS) if "with consistent snapshot" in options)
PORTABLE = ("transaction", "user_variable", "get_lock", "found_rows", "prepared_in_sql", "warnings", "long_data")
"""Pins beside which a transaction may spread; what they stand for stays on the home shard."""
STATEMENT = b"`fairlead statement`"
"""A savepoint before a write to several shards."""
DRAINING = 30.0
"""Seconds for the rest of an answer that nobody wants."""


class Spread:
    """One session's transaction over several shards. Used by one task at a time: whoever has `turn`."""

    def __init__(self, worker: Worker, session: Session, transaction: AtomicTransaction, begun: Begun) -> None:
        self._worker = worker
        self._session = session
        self._handle = session.handle
        self.begun = begun
        self.transaction = transaction
        self.current: str | None = None
        """The shard whose backend the session holds."""
        self.turn = asyncio.Lock()
        self._ending = False
        self._over = False
        self.timed: list[Part] = []
        """Whose connections have another time, for the statement under way."""
        self._undo: list[Part] = []
        """Of a write under way, for which they have a savepoint."""

    @property
    def home(self) -> str:
        return self.transaction.home

    @property
    def characteristics(self) -> list[bytes]:
        return self.begun.characteristics

    # --- parts ----------------------------------------------------------------------------------------------

    def adopt(self) -> None:
        """The session holds home's backend, with the transaction open."""
        part = self._add(self.home)
        part.stage, part.wrote = Stage.ACTIVE, True
        self.current = self.home

    def _add(self, shard: str) -> Part:
        number = self._worker.compiler.shard(shard)
        return self.transaction.add(shard, self._worker.lease(self._session, number))

    async def _open(self, shard: str) -> Part:
        """The shard's part, begun as the transaction was, with its savepoints. Raises Refusal, ServerSaid."""
        part = self.transaction.parts.get(shard)
        if part is not None:
            return part
        await self._worker.atomics.ready((self.home, shard))
        part = self._add(shard)
        try:
            failed = await part.begin(self.begun.characteristics, self.begun.start)
            for name in self._session.savepoints if failed is None else ():
                answer = await part.say(b"SAVEPOINT " + quoted(name))
                failed = answer if is_error(answer) else failed
        except BaseException:
            self._discard(part)
            raise
        if failed is not None:
            self._discard(part)
            raise ServerSaid(failed)
        faults.reach("branched")
        return part

    def _discard(self, part: Part) -> None:
        """Its connection goes, and what was begun there."""
        del self.transaction.parts[part.name]
        part.lease.close()

    def _lend(self) -> None:
        """The session's backend goes to its part's lease. Raises Refusal."""
        if self.current is not None:
            part = self.transaction.parts[self.current]
            self.current = None
            if not self._worker.relay.move_backend(self._handle, part.lease.handle):
                raise self._lost(part.name)

    async def hold(self, shard: str, *, writes: bool) -> None:
        """The session holds this shard's backend from now on. Raises Refusal, ServerSaid."""
        part = await self._open(shard)
        part.wrote = part.wrote or writes
        if self.current == shard:
            return
        self._lend()
        if not self._worker.relay.move_backend(part.lease.handle, self._handle):
            raise self._lost(shard)
        self.current = shard
        self._worker.relay.set_pins(self._handle, add=PINNED)

    def _lost(self, shard: str) -> Refusal:
        return refusal("BACKEND_LOST_IDLE", shard)

    # --- statements of several shards -----------------------------------------------------------------------

    @asynccontextmanager
    async def using(self, shards: Iterable[str], *, writes: bool = False) -> AsyncIterator[dict[str, Part]]:
        """The parts of these shards, for a statement on their leases; whatever it leaves behind is put in order, and a
        write that fails is undone. Raises Refusal, ServerSaid."""
        async with self._turn_of():
            parts = {name: await self._open(name) for name in shards}
            self._lend()
            state = self._worker.variables.number(self._session.state)
            for part in parts.values():
                self._worker.relay.set_session(part.lease.handle, state=state)
                part.wrote = part.wrote or writes
            if writes and len(parts) > 1:
                await self._on_all(b"SAVEPOINT " + STATEMENT, parts.values())
                self._undo = list(parts.values())
            yield parts
            self._undo, self.timed = [], []

    async def also(self, shards: Iterable[str], *, writes: bool) -> dict[str, Part]:
        """Further parts for the statement that is under way, within `using`. Raises Refusal, ServerSaid."""
        parts = {name: await self._open(name) for name in shards}
        state = self._worker.variables.number(self._session.state)
        fresh = [part for part in parts.values() if part not in self._undo] if writes else []
        for part in parts.values():
            self._worker.relay.set_session(part.lease.handle, state=state)
            part.wrote = part.wrote or writes
        if fresh:
            await self._on_all(b"SAVEPOINT " + STATEMENT, fresh)
            self._undo += fresh
        return parts

    @asynccontextmanager
    async def _turn_of(self) -> AsyncIterator[None]:
        """A command's turn, behind which everything is in order."""
        async with self.turn:
            self.check()
            try:
                yield
            except BaseException:
                await self.settle(told=True)
                raise
            await self.settle()

    async def _on_all(self, text: bytes, parts: Iterable[Part]) -> None:
        """Raises ServerSaid."""
        answers = await asyncio.gather(*(part.say(text) for part in parts))
        for answer in answers:
            if is_error(answer):
                raise ServerSaid(answer)

    async def settle(self, *, told: bool = False) -> None:
        """No part has an answer to give any more, all are still in their transaction, and the session holds one.

        `told`: the client has, or gets, an error for the command.
        """
        # From here on it is not to be stopped half way.
        self._worker.dispatcher.see_through(self._handle)
        if self._over:
            return
        if not self.transaction.parts:
            self._retreat()
            return
        for part in self.transaction.parts.values():
            if part.name != self.current:
                await self._drain(part)
        await self._undo_statement()
        if self.current is None and self._all_open():
            with suppress(Refusal):
                await self.hold(self.home, writes=False)
        if self.current is None or not self._all_open():
            await self._abandon(told=told)

    async def _drain(self, part: Part) -> None:
        """What a statement that ended early has left of its answer, there or still to come."""
        if not part.lease.is_done:
            self._worker.kills.interrupt_lease(part.lease.handle)
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAINING):
                await part.lease.drain()

    async def _undo_statement(self) -> None:
        undo, self._undo = self._undo, []
        timed, self.timed = {part.name: part for part in (*undo, *self.timed)}, []
        if all(part.lease.is_done for part in undo):  # else one does not come to an end: the transaction does
            with suppress(ServerSaid):
                await self._on_all(b"ROLLBACK TO SAVEPOINT " + STATEMENT, undo)
        # It may have been stopped while they had one time.
        done = {name: part for name, part in timed.items() if part.lease.is_done}
        await set_own_times(
            {name: part.number for name, part in done.items()}, {name: part.lease for name, part in done.items()}
        )

    def _all_open(self) -> bool:
        return all(self._is_open(part) for part in self.transaction.parts.values())

    def _is_open(self, part: Part) -> bool:
        if not part.lease.is_done:
            return False
        info = self._worker.relay.info(self._handle if part.name == self.current else part.lease.handle)
        return info is not None and info["trx"] == ACTIVE and info["shard"] >= 0

    async def _abandon(self, *, told: bool) -> None:
        """The transaction is over on one shard, so it is on all. A client that does not know it must not go on."""
        with suppress(Refusal):
            self._lend()
        await self.transaction.roll_back()
        info = self._worker.relay.info(self._handle)
        if not told and info is not None and not info["last_error"]:
            self._worker.relay.close(self._handle)
        self._leave()

    def check(self) -> None:
        """Raises Refusal when the transaction has ended while a command waited for its turn."""
        if self._over:
            raise refusal("BACKEND_LOST_IDLE", self.home)

    # --- its end --------------------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Raises ServerSaid, Refusal. However it goes, the transaction is over then."""
        async with self.turn:
            self.check()
            self._ending = True
            try:
                try:
                    self._lend()
                except Refusal:
                    await self.transaction.roll_back()
                    raise
                await self.transaction.commit()
            finally:
                self._leave()

    async def roll_back(self) -> None:
        async with self.turn:
            if not self._over:
                self._ending = True
                await self._abandon(told=True)

    async def savepoint(self, text: bytes) -> None:
        """SAVEPOINT and its kin, on all parts. Raises ServerSaid, Refusal."""
        async with self._turn_of():
            self._lend()
            await self._on_all(text, self.transaction.parts.values())

    def _leave(self) -> None:
        """The session is without a transaction again; what pins it gets its backend back."""
        if self._over:
            return
        self._over = True
        relay, home = self._worker.relay, self.transaction.parts.get(self.home)
        info = relay.info(self._handle)
        if info is not None:
            pinned = info["pins"] & ~PINNED
            if pinned and not (
                home is not None and home.stage is Stage.OVER and relay.move_backend(home.lease.handle, self._handle)
            ):
                relay.close(self._handle)  # what it was pinned for has gone
            relay.set_pins(self._handle, drop=PINNED)
            relay.end_transaction(self._handle)
        self.transaction.close()
        self._session.savepoints = ()
        self._retreat()

    def _retreat(self) -> None:
        """The session is one like others again."""
        self._over = True
        if self._session.spread is self:
            self._session.spread = None
            self._worker.tell_relay(self._session)

    def drop(self) -> None:
        """The session is gone, or is reset: what is open ends with its connections."""
        if not self._ending:
            self._over = True
            self.transaction.close()
            self._session.spread = None

    # --- statements of one shard ----------------------------------------------------------------------------

    @asynccontextmanager
    async def holding(self, shard: str, *, writes: bool) -> AsyncIterator[None]:
        """For a command that is sent to this shard, and behind which the session's next one is held until the
        transaction has been looked at. Raises Refusal, ServerSaid."""
        async with self._turn_of():
            await self.hold(shard, writes=writes)
            yield


class Begun:
    """How the transaction was begun, so that its parts begin alike. `read_only`: a server, or BEGIN, says so;
    `by_default`: the session's variable does."""

    def __init__(self, variant: int, packets: bytes, *, read_only: bool, by_default: bool) -> None:
        self.variant, self.once = variant, [payload for _, payload in split_packets(packets)]
        self.characteristics = [payload[1:] for payload in self.once]
        named = [text for text in self.characteristics if text.endswith((b"READ ONLY", b"READ WRITE"))]
        explicit = variant != NOTHING and BEGINS[variant] & {"read only", "read write"}
        self.start = begin_text(0 if variant == NOTHING else variant)
        self.read_only = read_only or (by_default and not named and not explicit)
        self.read_only = self.read_only or bool(named and named[-1].endswith(b"READ ONLY") and not explicit)
        if explicit:
            # XA START takes no characteristics; SET TRANSACTION before it does.
            self.characteristics.append(b"SET TRANSACTION READ " + (b"ONLY" if self.read_only else b"WRITE"))


class Spreads:
    """One worker's sessions whose transactions spread."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def enter(self, handle: int, session: Session, info: dict[str, Any], shards: Iterable[str] = ()) -> Spread:
        """The parked session's transaction may go to further shards from now on; its first is the one that it is on, or
        the first of `shards`. Raises Refusal, when it may not."""
        if session.spread is not None:
            return session.spread
        home = self._home(session, info, tuple(shards))
        begun = self._begun(handle, session, info)
        transaction = AtomicTransaction(self._worker, home)
        transaction.read_only = begun.read_only
        spread = Spread(self._worker, session, transaction, begun)
        if not (info["marked"] or info["deferred"]):
            session.savepoints = ()
        session.spread = spread
        if info["trx"] == ACTIVE:
            spread.adopt()
            self._worker.relay.set_pins(handle, add=PINNED)
        elif info["linger"]:
            self._worker.relay.unpin(handle)
        self._worker.tell_relay(session)
        return spread

    def _home(self, session: Session, info: dict[str, Any], shards: tuple[str, ...]) -> str:
        keyspaces = self._worker.generation.topology.keyspaces
        if session.hop or all(one.multi_shard_writes is not MultiShardWrites.ATOMIC for one in keyspaces):
            raise refusal("MULTI_SHARD_IN_TRANSACTION")
        for bit, name in enumerate(PIN_REASONS):
            if info["pins"] >> bit & 1 and (name not in PORTABLE or info["trx"] != ACTIVE):
                bound = self._worker.shard_of_number(info["shard"]).name
                raise refusal("PINNED_SESSION", bound, name.replace("_", " "), "several shards")
        home = self._worker.shard_of_number(info["shard"]).name if info["trx"] == ACTIVE else shards[0]
        if not self._worker.is_local(home):
            raise refusal("ATOMIC_REGIONS", home)
        return home

    def _begun(self, handle: int, session: Session, info: dict[str, Any]) -> Begun:
        found = self._worker.relay.transaction(handle)
        variant, packets = found if found is not None else (0, b"")
        if not info["trx"]:
            variant = NOTHING
        if variant in SNAPSHOTS:
            raise refusal("SNAPSHOT_SHARDS")
        by_default = session.state.literal("transaction_read_only") not in NOT_READ_ONLY
        return Begun(variant, packets, read_only=bool(info["status"] & IN_TRANS_READONLY), by_default=by_default)

    def characteristics(self, handle: int, session: Session) -> list[bytes]:
        """The SET TRANSACTION statements that the session's transaction was, or will be, begun by."""
        if session.spread is not None:
            return session.spread.characteristics
        found = self._worker.relay.transaction(handle)
        return [payload[1:] for _, payload in split_packets(found[1])] if found is not None else []

    def allow(self, session: Session, info: dict[str, Any] | None, planned: Planned, shards: Iterable[str]) -> None:
        """May a statement of the session's transaction go to these shards? `info`: of a session that has not spread
        yet. Raises Refusal."""
        facts, names, spread = planned.facts, tuple(shards), session.spread
        on = list(spread.transaction.parts) if spread is not None else []
        if info is not None and info["trx"] == ACTIVE and spread is None:
            on = [self._worker.shard_of_number(info["shard"]).name]
        if len({*on, *names}) > 1 and not set(names) <= set(on) and not self._are_atomic(planned):
            if len(names) > 1:
                raise refusal("MULTI_SHARD_IN_TRANSACTION")
            raise refusal("SECOND_SHARD", on[0], names[0])
        if facts.needs_connection and (spread is not None or len(names) > 1):
            raise refusal("CONNECTION_FUNCTION", facts.needs_connection[0].upper())
        if facts.pins and len({*on[:1], *names}) > 1:
            raise refusal("PINNED_SESSION", (on or names)[0], "its state", ", ".join(names))

    def _are_atomic(self, planned: Planned) -> bool:
        """The keyspaces that the statement names."""
        topology = self._worker.generation.topology
        found = [topology.keyspace(use.keyspace) for use in planned.facts.tables]
        return all(one is None or one.multi_shard_writes is MultiShardWrites.ATOMIC for one in found)


def quoted(name: str) -> bytes:
    return b"`" + name.replace("`", "``").encode("utf-8", "surrogateescape") + b"`"


