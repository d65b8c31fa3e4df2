"""The transaction in which a write of several steps reads and writes: one of its own, or the session's.

What is read is locked, and what is written is committed or undone with the rest, on all shards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.pool.varstate import SessionState
from proxy.scatter.clock import set_one_time, set_own_times
from proxy.scatter.cursors import ShardError
from proxy.scatter.leases import is_error
from proxy.sessions.session import Session
from proxy.xa import faults
from proxy.xa.sessions import Spread
from proxy.xa.transaction import AtomicTransaction, Part, ServerSaid
from router.errors import Refusal

if TYPE_CHECKING:
    from proxy.worker import Worker

Parts = dict[str, Part]
CUTS = frozenset({"sql_select_limit", "max_execution_time", "max_statement_time"})
"""Variables that end a SELECT early which is a part of a write on one server."""


WITHOUT_LOCKS = ("'READ-COMMITTED'", "'READ-UNCOMMITTED'")
"""Isolation levels in which what a write reads of other tables is not locked."""


def locks_of(session: Session) -> tuple[str, ...]:
    """What stands behind a SELECT that is a part of a write, so that it does to its rows what the write would do."""
    isolation = session.state.literal("transaction_isolation")
    return () if isolation in WITHOUT_LOCKS else ("LOCK IN SHARE MODE",)


class Scope(ABC):
    """Raises Refusal and ServerSaid; then everything is undone."""

    def __init__(self, worker: Worker, session: Session) -> None:
        self._worker = worker
        self._session = session

    @abstractmethod
    async def on(self, shards: Iterable[str], *, writes: bool) -> Parts:
        """The shards' parts, for reading, or for writing as well from now on."""

    @asynccontextmanager
    async def one_time(self, shards: Iterable[str]) -> AsyncIterator[None]:
        """Everything there is done at one time. Raises Refusal, ServerSaid."""
        names = tuple(shards)
        parts = await self.on(names, writes=False) if names else {}
        numbers, leases = ({name: part.number for name, part in parts.items()},
                           {name: part.lease for name, part in parts.items()})  # fmt: skip
        self._has_own_time(parts)
        if parts and (failed := await set_one_time(numbers, leases)) is not None:
            raise ServerSaid(next(answer for answer in failed.values() if is_error(answer)))
        yield
        await set_own_times(numbers, leases)

    @abstractmethod
    def _has_own_time(self, parts: Parts) -> None:
        """These connections have another time than their server's, until it is taken back."""

    async def to_write(self, shards: Iterable[str]) -> Parts:
        """The shards' parts, for the write itself; what reading has left is over."""
        parts = await self.on(shards, writes=True)
        for part in parts.values():
            await part.lease.drain()
        self.dress(parts)
        return parts

    async def to_read(self, shards: Iterable[str]) -> Parts:
        """The shards' parts, for a SELECT that is a part of the statement; what an earlier one has left is over."""
        parts = await self.on(shards, writes=False)
        for part in parts.values():
            await part.lease.drain()
        self.dress(parts, self.reading())
        return parts

    def dress(self, parts: Parts, state: SessionState | None = None) -> None:
        """Their next commands run in this state; None: the session's."""
        number = self._worker.variables.number(state or self._session.state)
        for part in parts.values():
            self._worker.relay.set_session(part.lease.handle, state=number)

    def reading(self) -> SessionState:
        """The session's state, without what ends a SELECT early."""
        state = self._session.state
        return replace(state, settings=tuple(one for one in state.settings if one[0] not in CUTS))


class Own(Scope):
    """A transaction of the statement's own, which begins on a shard when that is needed."""

    def __init__(self, worker: Worker, session: Session) -> None:
        super().__init__(worker, session)
        self.transaction: AtomicTransaction | None = None
        self._timed: Parts = {}

    async def on(self, shards: Iterable[str], *, writes: bool) -> Parts:
        names = tuple(shards)
        await self._worker.atomics.ready(names)
        if self.transaction is None:
            self.transaction = AtomicTransaction(self._worker, names[0])
        parts = {name: await self._part(self.transaction, name) for name in names}
        for part in parts.values():
            part.wrote = part.wrote or writes
        return parts

    async def _part(self, transaction: AtomicTransaction, name: str) -> Part:
        part = transaction.parts.get(name)
        if part is None:
            lease = self._worker.lease(self._session, self._worker.compiler.shard(name))
            part = transaction.add(name, lease)
            if (failed := await part.begin((), b"START TRANSACTION")) is not None:
                raise ServerSaid(failed)
            faults.reach("begun")
        return part

    def _has_own_time(self, parts: Parts) -> None:
        self._timed = parts

    async def commit(self) -> None:
        if self.transaction is not None:
            self.dress(self.transaction.parts)
            await self.transaction.commit()

    async def undo(self) -> None:
        if self.transaction is not None:
            timed = {name: part for name, part in self._timed.items() if part.lease.is_done}
            await set_own_times(
                {name: part.number for name, part in timed.items()}, {name: part.lease for name, part in timed.items()}
            )
            self.dress(self.transaction.parts)
            await self.transaction.roll_back()

    def close(self) -> None:
        if self.transaction is not None:
            self.transaction.close()


class Joined(Scope):
    """The session's transaction, which is on several shards. `stack`: of the statement's turn in it."""

    def __init__(self, worker: Worker, session: Session, spread: Spread, stack: AsyncExitStack) -> None:
        super().__init__(worker, session)
        self._spread = spread
        self._stack = stack
        self._begun = False

    async def on(self, shards: Iterable[str], *, writes: bool) -> Parts:
        if not self._begun:
            self._begun = True
            names = tuple(shards)
            parts = await self._stack.enter_async_context(self._spread.using(names))
            if not writes:
                return parts
            shards = names
        return await self._spread.also(shards, writes=writes)

    def _has_own_time(self, parts: Parts) -> None:
        self._spread.timed = list(parts.values())


@asynccontextmanager
async def own_scope(worker: Worker, session: Session) -> AsyncIterator[Own]:
    """Committed by whoever has it; undone when it raises."""
    scope = Own(worker, session)
    try:
        yield scope
    except (ServerSaid, ShardError, Refusal):
        await scope.undo()
        raise
    finally:
        scope.close()


@asynccontextmanager
async def joined_scope(worker: Worker, session: Session, spread: Spread) -> AsyncIterator[Joined]:
    """Undone when it raises; the transaction goes on."""
    async with AsyncExitStack() as stack:
        yield Joined(worker, session, spread, stack)
