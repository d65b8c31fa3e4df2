"""One transaction over several shards: parts on leases, and their common end.

Last resource commit: the *home* shard's part is a plain transaction, the others are XA branches. To commit, the
branches are prepared; then home's transaction takes the decision's row in and commits, which is the decision; then the
branches are committed. What a crash leaves behind, `proxy/xa/recovery.py` clears up by that row.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from proxy.compile import PLAIN_END
from proxy.mysql.wire import HEADER_SIZE
from proxy.scatter.leases import Lease, is_error
from proxy.xa import faults
from proxy.xa.decisions import ALREADY_DONE, COMMIT, DUPLICATE, NO_SCHEMA, NO_TABLE
from router.errors import refusal
from router.xid import Gtrid, label, xid

if TYPE_CHECKING:
    from proxy.worker import Worker

T = TypeVar("T")
PINNED = 1
"""Bit of the relay's pin reason `transaction`."""
FINISHING = 10.0
"""Seconds that a client waits, at most, for the parts to be committed behind the decision."""


class ServerSaid(Exception):
    """A server's error ends it; everything is rolled back. `packet`: framed."""

    def __init__(self, packet: bytes) -> None:
        super().__init__()
        self.packet = packet

    @property
    def errno(self) -> int:
        return errno_of(self.packet)


def errno_of(packet: bytes) -> int:
    return int.from_bytes(packet[HEADER_SIZE + 1 : HEADER_SIZE + 3], "little")


class Stage(Enum):
    NEW = 0
    ACTIVE = 1
    ENDED = 2
    PREPARED = 3
    OVER = 4


@dataclass(slots=True)
class Part:
    """A shard's part. `xid` empty: the home shard's plain transaction."""

    name: str
    number: int
    lease: Lease
    xid: bytes = b""
    stage: Stage = Stage.NEW
    wrote: bool = False
    """Something may have been written there; else it takes no part in the commit."""

    async def say(self, text: bytes, flags: int = 0) -> bytes:
        """The whole answer, framed; an ERR packet when it did not come."""
        self.lease.submit(self.number, b"\x03" + text, flags, pins=PINNED)
        return await self.lease.collect()

    async def step(self, text: bytes, stage: Stage) -> bytes | None:
        """The error's packet, if it is one."""
        answer = await self.say(text)
        if is_error(answer):
            return answer
        self.stage = stage
        return None

    async def begin(self, characteristics: Sequence[bytes], start: bytes) -> bytes | None:
        """The error's packet. `characteristics`: SET TRANSACTION …; `start`: of a plain transaction."""
        for text in characteristics:
            if is_error(answer := await self.say(text)):
                return answer
        return await self.step(b"XA START " + self.xid if self.xid else start, Stage.ACTIVE)

    async def prepare(self) -> bytes | None:
        failed = await self.step(b"XA END " + self.xid, Stage.ENDED)
        return failed or await self.step(b"XA PREPARE " + self.xid, Stage.PREPARED)

    async def commit(self) -> bool:
        """A prepared part's, for which the decision has been made."""
        failed = await self.step(b"XA COMMIT " + self.xid, Stage.OVER)
        return failed is None or errno_of(failed) == ALREADY_DONE

    async def roll_back(self) -> None:
        """As far as it goes: what is not prepared ends with its connection, what is will be cleared up."""
        if not self.lease.is_done:
            return
        if self.xid:
            if self.stage is Stage.ACTIVE:
                await self.say(b"XA END " + self.xid)
            await self.step(b"XA ROLLBACK " + self.xid, Stage.OVER)
        else:
            await self.step(b"ROLLBACK" + PLAIN_END, Stage.OVER)

    def close(self) -> None:
        """The backend goes back to its pool when all is over there, else with its connection."""
        if self.stage is Stage.OVER:
            self.lease.unpin()
        self.lease.close()


class AtomicTransaction:
    """Parts by shard, home the first; in an `async with` block, or closed by whoever keeps it."""

    def __init__(self, worker: Worker, home: str) -> None:
        self._worker = worker
        self.gtrid = Gtrid(time.time(), secrets.randbits(64), label(home))
        self.home = home
        self.parts: dict[str, Part] = {}
        self.read_only = False
        """As it was begun: nothing can have been written."""

    async def __aenter__(self) -> AtomicTransaction:
        return self

    async def __aexit__(self, *why: object) -> None:
        self.close()

    def close(self) -> None:
        for part in self.parts.values():
            part.close()

    @property
    def branches(self) -> list[Part]:
        return [part for part in self.parts.values() if part.xid]

    def add(self, name: str, lease: Lease) -> Part:
        number = self._worker.compiler.shard(name)
        part = Part(name, number, lease, xid(self.gtrid, name) if name != self.home else b"")
        self.parts[name] = part
        return part

    async def start_all(self) -> None:
        """One after the other, so that two transactions that want the last connections of the same shards do not wait
        for each other. Raises ServerSaid; then it is rolled back."""
        for part in self.parts.values():
            if (failed := await part.begin((), b"START TRANSACTION")) is not None:
                await self.roll_back()
                raise ServerSaid(failed)
        faults.reach("begun")

    async def also(self, name: str, lease: Lease) -> Part:
        """One more part, which writes, of a transaction that has begun. Raises ServerSaid, Refusal."""
        await self._worker.atomics.ready((self.home, name))
        part = self.add(name, lease)
        part.wrote = True
        if (failed := await part.begin((), b"START TRANSACTION")) is not None:
            raise ServerSaid(failed)
        return part

    # --- commit ---------------------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Returns when it is decided. Raises ServerSaid, Refusal; then it is rolled back everywhere, unless that is
        what the refusal doubts."""
        writers = [part for part in self.branches if part.wrote and not self.read_only]
        if writers:
            await self._prepare(writers)
            await self._decide(writers)
            await self._finish(writers)
            self._worker.loop_block.atomic("committed")
        else:
            await self._commit_home()
        await _all(part.roll_back() for part in self._open() if part.xid and part.stage is not Stage.PREPARED)

    async def _commit_home(self) -> None:
        home = self.parts[self.home]
        if (failed := await home.step(b"COMMIT" + PLAIN_END, Stage.OVER)) is not None:
            raise refusal("COMMIT_UNKNOWN", home.name) if home.lease.lost else ServerSaid(failed)

    def _open(self) -> list[Part]:
        return [part for part in self.parts.values() if part.stage not in (Stage.NEW, Stage.OVER)]

    async def _prepare(self, writers: Sequence[Part]) -> None:
        failed = [one for one in await _all(part.prepare() for part in writers) if one is not None]
        if failed:
            await self.roll_back()
            raise ServerSaid(failed[0])
        faults.reach("prepared")

    async def _decide(self, writers: Sequence[Part]) -> None:
        home, atomics = self.parts[self.home], self._worker.atomics
        text = atomics.table.insert(self.gtrid, COMMIT, [part.name for part in writers])
        answer = await home.say(text.encode())
        if is_error(answer):
            lost = home.lease.lost
            await self.roll_back()
            raise self._undecided(answer, lost)
        faults.reach("written")
        if await home.step(b"COMMIT" + PLAIN_END, Stage.OVER) is None:
            faults.reach("decided")
            return
        # Whether it took effect is for the row to say.
        outcome = await atomics.outcome(home.name, self.gtrid)
        if outcome is None:
            self._worker.loop_block.atomic("unknown")
            raise refusal("COMMIT_UNKNOWN", home.name)
        if outcome != COMMIT:
            await self.roll_back()
            raise refusal("BACKEND_LOST_IDLE", home.name)

    def _undecided(self, answer: bytes, lost: bool) -> Exception:
        errno = errno_of(answer)
        if lost:
            return refusal("BACKEND_LOST_IDLE", self.home)
        if errno == DUPLICATE:
            return refusal("ATOMIC_ABORTED")
        if errno in (NO_SCHEMA, NO_TABLE):
            self._worker.atomics.forget(self.home)
        return refusal("ATOMIC_UNAVAILABLE", self.home, f"the decision cannot be written (error {errno})")

    async def _finish(self, writers: Sequence[Part]) -> None:
        """What is not done in time, recovery does; locks are held till then."""
        work = asyncio.ensure_future(_all(part.commit() for part in writers))
        done, _ = await asyncio.wait([work], timeout=FINISHING)
        if not done:
            work.cancel()
        faults.reach("finished")

    # --- rollback -------------------------------------------------------------------------------------------

    async def roll_back(self) -> None:
        await _all(part.roll_back() for part in self._open())
        if self.branches:
            self._worker.loop_block.atomic("rolled_back")


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    return list(await asyncio.gather(*work))
