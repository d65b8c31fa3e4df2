"""LOAD DATA LOCAL into a sharded table: the client's file, parted by row, is every shard's LOAD DATA LOCAL.

All shards begin the statement before the client is asked, so that what they refuse is refused while nothing has been
sent. Then its bytes go through the splitter (`_speedups/splitter.pyx`) to their shards as they come: a server that does
not take its part stops the client, and what is held is bounded for each shard. It is one write: a transaction of its
own by two-phase commit, or part of the session's. Whatever ends it early, nothing of it stays, and the client is
answered behind its file, which is read to its end as a server would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from _speedups.splitter import Splitter, Unsplittable
from proxy.audit.recorder import Outcome
from proxy.compile import LOAD, vindex_arguments
from proxy.mysql.constants.status import Status
from proxy.scatter.clock import only_value, set_one_time, set_own_times
from proxy.scatter.executor import WRITES, Write, first_error
from proxy.scatter.leases import Lease, is_error, is_file_request
from proxy.sessions.session import Session
from proxy.xa import faults
from proxy.xa.transaction import PINNED, Part, ServerSaid
from router.errors import Refusal, refusal
from router.files import CHARSETS, utf8_bytes
from router.plan import Planned, SplitLoad
from router.text import Text

if TYPE_CHECKING:
    from proxy.worker import Worker

PATIENCE = 365 * 24 * 3600
"""net_read_timeout (seconds) of the shards: one whose rows come late in the file must not give up before. How long a
client may be silent is for Fairlead's own limit to say."""
ENDING = 5.0
"""Seconds for the shards to end what is to be undone."""
ASK_CHARSET = b"\x03SELECT @@character_set_database"


class Loading:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, plan: SplitLoad
    ) -> None:
        """Carry out a parked LOAD DATA. Raises Refusal."""
        info = self._worker.executor.enter(handle, session, planned, plan.shards, None)
        if info is None:
            return
        outcome = Outcome()
        work = partial(self._carry, handle, session, plan, _text(plan, sql, found), info, outcome)
        self._worker.executor.spawn(
            handle, session, planned, found.fingerprint, plan.shards, outcome, work, None
        )

    async def _carry(
        self, handle: int, session: Session, plan: SplitLoad, text: bytes, info: dict[str, Any], outcome: Outcome
    ) -> None:
        """Raises Refusal, ServerSaid, when the client is ready for the answer."""
        load = Load(self._worker, handle, session, plan, text)
        try:
            answers = await (self._alone(load) if session.spread is None else self._within(load))
        except ServerSaid as error:
            outcome.error = error.errno
            await load.drain()
            raise
        except Refusal:
            await load.drain()
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not self._worker.dispatcher.is_interrupted(handle):
                raise
            task.uncancel()
            await load.drain()
            raise refusal("INTERRUPTED") from None
        self._worker.executor.answer(handle, session, answers, Write({}), Status(info["status"]))

    async def _alone(self, load: Load) -> dict[str, bytes]:
        """As a transaction of its own."""
        async with await self._worker.atomics.begin(load.session, load.plan.shards) as transaction:
            for part in transaction.parts.values():
                part.wrote = False
            load.wait_long(transaction.parts)
            await transaction.start_all()
            try:
                answers = await load.run(transaction.parts)
            except (Refusal, ServerSaid):
                await load.end_early()
                await transaction.roll_back()
                raise
            faults.reach("executed")
            self._worker.dispatcher.see_through(load.handle)
            await transaction.commit()
            return answers

    async def _within(self, load: Load) -> dict[str, bytes]:
        """As part of the session's transaction; undone on all shards when it fails."""
        spread = load.session.spread
        assert spread is not None
        async with spread.using(load.plan.shards, writes=True) as parts:
            load.wait_long(parts)
            try:
                return await load.run(parts)
            except BaseException:
                await load.end_early()
                raise


class Load:
    """One statement."""

    def __init__(self, worker: Worker, handle: int, session: Session, plan: SplitLoad, text: bytes) -> None:
        self._worker = worker
        self.handle, self.session, self.plan = handle, session, plan
        self._payload = b"\x03" + text
        self._parts: Mapping[str, Part] = {}
        self._asked = False
        """The client was, for its file."""
        self._timed = False
        self._open: dict[str, Lease] = {}
        """Whose servers take their part of the file."""

    def wait_long(self, parts: Mapping[str, Part]) -> None:
        """Have the shards wait as long as it takes for their rows. The next statement finds its own state again."""
        state = self._worker.variables.number(self.session.state.set("net_read_timeout", PATIENCE))
        for part in parts.values():
            self._worker.relay.set_session(part.lease.handle, state=state)

    # --- its way --------------------------------------------------------------------------------------------

    async def run(self, parts: Mapping[str, Part]) -> dict[str, bytes]:
        """Every shard's OK. A transaction is open on all of them. Raises Refusal, ServerSaid, SessionGone; then
        `end_early` has to follow."""
        self._parts = parts
        charset = self.plan.format.charset or await self._database_charset()
        splitter = self._splitter(charset)
        self._timed = True
        if (failed := await set_one_time(self._numbers, self._leases)) is not None:
            raise ServerSaid(next(iter(failed.values())))
        request = await self._begin()
        await self._worker.dispatcher.ask_file(self.handle, request)
        self._asked = True
        try:
            await self._pass_on(splitter)
        except Unsplittable as row:
            raise refusal("LOAD_DATA_ROW", f"{self.plan.keyspace}.{self.plan.table}", str(row)) from None
        answers = await self._collect()
        if (error := first_error(answers)) is not None:
            raise ServerSaid(error)
        await self._own_times()
        return answers

    @property
    def _numbers(self) -> dict[str, int]:
        return {name: part.number for name, part in self._parts.items()}

    @property
    def _leases(self) -> dict[str, Lease]:
        return {name: part.lease for name, part in self._parts.items()}

    async def _database_charset(self) -> str:
        """By which servers read a file whose statement does not say. Raises Refusal when it is not one to split by."""
        asked = [part.lease.command(part.number, ASK_CHARSET) for part in self._parts.values()]
        found = set()
        for answer in await asyncio.gather(*asked):
            if is_error(answer):
                raise ServerSaid(answer)
            found.add((only_value(answer) or b"").decode("ascii", "replace"))
        table, name = f"{self.plan.keyspace}.{self.plan.table}", " and ".join(sorted(found))
        if len(found) > 1 or name not in CHARSETS:
            raise refusal("LOAD_DATA_FORM", table, f"its file is in the database's character set, {name}")
        return name

    def _splitter(self, charset: str) -> Splitter:
        plan, form = self.plan, self.plan.format
        topology = self._worker.generation.topology
        keyspace = topology.keyspace(plan.keyspace)
        if keyspace is None or plan.vindex not in keyspace.vindexes:
            raise refusal("INTERNAL", "a plan of a keyspace that is gone")
        tables = keyspace.vindexes[plan.vindex].tables(plan.columns)
        outputs = [plan.shards.index(one.name) if one.name in plan.shards else -1 for one in topology.shards]
        return Splitter(
            vindex_arguments(tables, range(len(topology.shards))), outputs, plan.fields, plan.keys,
            field_term=form.field_term, line_term=form.line_term, line_start=form.line_start, enclosed=form.enclosed,
            escaped=form.escaped, raw=plan.raw, id_field=plan.id_field, utf8=utf8_bytes(charset), skip=form.ignored,
            most=self._worker.generation.settings.limits.max_packet,
        )  # fmt: skip

    async def _begin(self) -> bytes:
        """The statement on all shards; the request for the file that the first one makes. Raises ServerSaid."""
        for part in self._parts.values():
            part.lease.submit(part.number, self._payload, WRITES | LOAD, pins=PINNED)
        requests = await asyncio.gather(*(part.lease.asked() for part in self._parts.values()))
        found = dict(zip(self._parts, requests, strict=True))
        self._open = {name: self._parts[name].lease for name, packet in found.items() if is_file_request(packet)}
        if len(self._open) < len(found):
            raise ServerSaid(next(packet for packet in found.values() if not is_file_request(packet)))
        return next(iter(found.values()))

    async def _pass_on(self, splitter: Splitter) -> None:
        """Raises Unsplittable, ServerSaid, SessionGone."""
        async for data in self._worker.dispatcher.file(self.handle):
            splitter.feed(data)
            await self._send(splitter)
        splitter.finish()
        await self._send(splitter)

    async def _send(self, splitter: Splitter) -> None:
        sent = []
        for output, name in enumerate(self.plan.shards):
            if data := splitter.take(output):
                part = self._parts[name]
                part.wrote = True
                if not part.lease.upload(data):
                    raise ServerSaid(await self._early(name))
                sent.append(part.lease)
        for lease in sent:
            await lease.takes()

    async def _early(self, name: str) -> bytes:
        """The answer of a server that does not wait for the end: an error."""
        answer = await self._open.pop(name).collect()
        if is_error(answer):
            return answer
        raise refusal("SHARD_FAILED", name, "it answered before the file's end")

    async def _collect(self) -> dict[str, bytes]:
        leases, self._open = self._open, {}
        for lease in leases.values():
            lease.upload(b"", end=True)
        answers = await asyncio.gather(*(lease.collect() for lease in leases.values()))
        return dict(zip(leases, answers, strict=True))

    # --- its end --------------------------------------------------------------------------------------------

    async def end_early(self) -> None:
        """It is to be undone: what is under way on the shards ends, as far as that can be waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDING):
                await self._collect()
        await self._own_times()

    async def _own_times(self) -> None:
        if self._timed:
            self._timed = False
            done = {name: lease for name, lease in self._leases.items() if lease.is_done}
            await set_own_times(self._numbers, done)

    async def drain(self) -> None:
        """Read the client's file to its end, for nobody: it looks for the answer only behind it."""
        if self._asked:
            async for _ in self._worker.dispatcher.file(self.handle):
                pass


def _text(plan: SplitLoad, sql: Text, found: Any) -> bytes:
    """What the shards get: the lines to be ignored are left out here, once."""
    text = bytes(sql)
    if plan.ignored_slot < 0:
        return text
    slot = found.slots[plan.ignored_slot]
    return text[: slot.offset] + b"0" + text[slot.offset + slot.length :]
