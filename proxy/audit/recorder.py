"""One worker's decision records: which executions leave one, and that none runs whose record cannot be kept.

The relay tells of each execution of a plan with the audit bit by a number; here the number stands for the decision,
made once per plan. With `audit: strict` a statement across domains parks, its decision is written and awaited, and
its number stands for a ticket: the `result` entry that follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from config.audit import AuditSettings
from config.words import AuditMode
from ops.audit.log import AuditLog, AuditUnavailable
from ops.audit.record import Decision, Flaw, Record, Result, Vocabulary
from proxy.audit.files import files_of, open_log
from proxy.audit.templates import Template, Templates
from proxy.compile import AUDIT, OP_PARK, SAMPLED, Compiled
from proxy.generation import Generation
from proxy.result_set import DENIED
from proxy.sessions.session import Session
from router.errors import CATALOGUE, Refusal, refusal
from router.plan import Planned

if TYPE_CHECKING:
    from proxy.result_set import ResultSet
    from proxy.scatter.cursors import LeaseCursor
    from proxy.worker import Worker

log = logging.getLogger(__name__)

UNKNOWN_ERROR, INTERRUPTED, PARKED_AGAIN = 1105, 1317, 0xFFFFFFFF
"""As in relay.pxd: enum RecordError."""
Work = Callable[[], Awaitable[None]]

MAX_TEMPLATES = 65_536
MAX_REFUSALS = 10_000
"""Records of refusals that wait while the log takes none; those beyond are counted."""
DRAINED_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Want:
    """A record that an execution has to leave. `first`: its decision must be on the disk before it runs."""

    template: Template
    first: bool


@dataclass(slots=True)
class Outcome:
    """What left this region by a statement that is carried out from here."""

    error: int = 0
    _answer: ResultSet | None = None
    _cursors: list[LeaseCursor] = field(default_factory=list)

    def of(self, answer: ResultSet, cursors: Collection[LeaseCursor]) -> None:
        """`cursors`: over what shards of this region give."""
        self._answer = answer
        self._cursors += cursors

    @property
    def rows(self) -> int:
        return sum(cursor.count for cursor in self._cursors)

    @property
    def bytes_out(self) -> int:
        return sum(cursor.bytes for cursor in self._cursors)

    @property
    def errno(self) -> int:
        return self.error or (self._answer.errno if self._answer is not None else 0)


class Auditor:
    """Decides, keeps and waits. Without `audit` in the settings it wants nothing."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._log: AuditLog | None = None
        self._settings: AuditSettings | None = None
        self._files: tuple[Any, ...] | None = None
        self._made = Templates(worker)
        self._numbers: dict[Template, int] = {}
        self._templates: dict[int, Template] = {}
        self._tickets: dict[int, int] = {}
        """Number -> stamp of the decision that waits for its result."""
        self._last = 0
        self._told: deque[tuple[int, int, int, int, int, int, int]] = deque()
        self._refusals: deque[Decision] = deque()
        self._stalled = False
        self._parked: dict[int, asyncio.TimerHandle] = {}
        self._room = asyncio.Event()
        self._counted = [0, 0, 0]

    # --- life -----------------------------------------------------------------------------------------------

    def prepare(self, generation: Generation) -> None:
        """From here on plans are made by these settings; while there is no file to write, nothing runs by them."""
        audit = generation.settings.audit
        self._settings = audit if audit is not None and audit.is_on and generation.policy is not None else None
        self._worker.verdicts.refuses = self._settings is None
        if self._settings is not None:
            self._worker.relay.set_records(sample=max(1, self._settings.sample))
            if self._log is None:
                self._set_stalled(True)

    async def configure(self, generation: Generation) -> None:
        """The files are taken anew only when something about them is another than before."""
        files = files_of(generation) if self._settings is not None else None
        if files != self._files:
            await self.close()
            self._files = files
            if files is not None:
                self._open(generation)

    def _open(self, generation: Generation) -> None:
        loop = asyncio.get_running_loop()
        self._set_stalled(True)  # until its thread has opened it
        self._counted = [0, 0, 0]
        self._log = open_log(generation, self._worker.start.stream, lambda: _call(loop, self._changed))

    async def close(self) -> None:
        """Writes what is known, and seals."""
        old = self._log
        if old is not None:
            self.drain()
            await asyncio.get_running_loop().run_in_executor(None, old.close)
            self._changed()
            self._log = None
            self._set_stalled(False)

    def next_epoch(self) -> None:
        """All plans are stale: numbers that no running command carries are free."""
        if not self._templates:
            return
        busy = self._worker.relay.records_under_way()
        self.drain()
        if not self._told:
            self._templates = {number: one for number, one in self._templates.items() if number in busy}
            self._numbers = {one: number for number, one in self._templates.items()}

    # --- which executions leave a record --------------------------------------------------------------------

    def mark(self, session: Session, planned: Planned, compiled: Compiled) -> None:
        """Put the audit bit into a plan for the relay, or have its executions come here first."""
        if self._settings is None:
            return
        if (refused := planned.refusal) is not None and refused.is_verdict:
            compiled.opcode = OP_PARK  # `refused` is told of each
            return
        template = self._template(session, planned, None)
        if template is None:
            return
        if self._first(template):
            compiled.opcode = OP_PARK
        elif compiled.opcode != OP_PARK:
            compiled.flags |= AUDIT | (SAMPLED if template.sampled else 0)
            compiled.id = self._number(template)

    def want(self, session: Session, planned: Planned, shards: Collection[str]) -> Want | None:
        """What an execution on these shards that is carried out from here has to leave."""
        template = self._template(session, planned, shards)
        if template is None:
            return None
        if template.sampled and (self._stalled or (self._settings and random.randrange(self._settings.sample))):
            return None
        return Want(template, self._first(template))

    def waits(self, want: Want) -> bool:
        """Does the execution have to wait for `kept`?"""
        return want.first or self._stalled

    def _first(self, template: Template) -> bool:
        strict = self._settings is not None and self._settings.mode is AuditMode.STRICT
        return strict and template.crosses

    def _template(self, session: Session, planned: Planned, shards: Collection[str] | None) -> Template | None:
        settings = self._settings
        return self._made.of(session, planned, shards, sample=settings.sample > 0) if settings is not None else None

    def _number(self, template: Template) -> int:
        number = self._numbers.get(template)
        if number is None:
            if len(self._templates) >= MAX_TEMPLATES:
                self._worker.next_epoch()
            number = self._numbers[template] = self._next()
            self._templates[number] = template
        return number

    def _next(self) -> int:
        self._last = self._last % 0xFFFF_FFFE + 1
        return self._last

    # --- executions that are carried out from here ----------------------------------------------------------

    async def kept(self, want: Want, fingerprint: int) -> int:
        """The number for `Relay.run_on(record=…)`, when the execution may begin. Raises Refusal."""
        assert self._settings is not None
        self._worker.loop_block.add("audit_waits")
        try:
            async with asyncio.timeout(self._settings.wait):
                await self._has_room()
                return await self._write_first(want, fingerprint) if want.first else self._number(want.template)
        except TimeoutError:
            raise self._unavailable(f"it was not written within {self._settings.wait:g}s") from None
        except AuditUnavailable as reason:
            raise self._unavailable(str(reason)) from None

    def number(self, want: Want) -> int:
        """The same for an execution that need not wait."""
        return self._number(want.template)

    async def _has_room(self) -> None:
        while self._stalled:
            if self._log is not None and self._log.failing:
                raise AuditUnavailable("the last write failed")
            self._room.clear()
            await self._room.wait()

    async def _write_first(self, want: Want, fingerprint: int) -> int:
        if self._log is None:
            raise AuditUnavailable("nothing is written now")
        stamp, durable = self._log.append(replace(want.template.decision, fingerprint=fingerprint))
        number = self._next()
        self._tickets[number] = stamp
        try:
            await asyncio.wrap_future(durable)
        except BaseException:
            self.abandon(number)
            raise
        return number

    def abandon(self, number: int) -> None:
        """What has a ticket was not carried out after all."""
        if number in self._tickets:
            self._told.append((number, -1, INTERRUPTED, 0, 0, 0, 0))
            self.drain()

    async def around(
        self, want: Want, fingerprint: int, shards: tuple[str, ...], outcome: Outcome, work: Work
    ) -> None:
        """Carries out a statement of several shards, with its record."""
        number = await self.kept(want, fingerprint) if self.waits(want) else self._number(want.template)
        began = asyncio.get_running_loop().time()
        try:
            await work()
        except BaseException as error:
            outcome.error = error.errno if isinstance(error, Refusal) else INTERRUPTED
            raise
        finally:
            us = int((asyncio.get_running_loop().time() - began) * 1e6)
            self._finish(number, want, fingerprint, shards, outcome, us)

    def _finish(
        self, number: int, want: Want, fingerprint: int, shards: tuple[str, ...], outcome: Outcome, us: int
    ) -> None:
        topology = self._worker.generation.topology
        found = (topology.shard(name) for name in shards)
        numbers = [self._worker.compiler.shard(one.name) for one in found if one is not None and one.is_local]
        shard = numbers[0] if len(numbers) == 1 else -2
        self._told.append((number, shard, outcome.errno, fingerprint, outcome.rows, outcome.bytes_out, us))
        self.drain()

    # --- refusals -------------------------------------------------------------------------------------------

    def refused(self, session: Session, error: Refusal, fingerprint: int) -> None:
        """A verdict was answered from here."""
        decision = self._made.denied(session, error) if self._settings is not None else None
        if decision is None:
            return
        self.keep_refusal(replace(decision, fingerprint=fingerprint))

    def keep_refusal(self, decision: Decision) -> None:
        """The policy refused something; it is never held up."""
        if len(self._refusals) >= MAX_REFUSALS:
            self._worker.loop_block.add("audit_unrecorded")
            return
        self._refusals.append(decision)
        self.drain()

    # --- decisions about Redis keys -------------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        return self._settings is not None

    def words(self) -> Vocabulary:
        return self._made.vocabulary(self._worker.generation)

    async def written(self, decision: Decision, *, crosses: bool) -> None:
        """A decision of which no result follows: in the log's hands, and in strict mode, if something crosses a border
        by it, on the disk. Raises Refusal."""
        if self._settings is None:
            return
        try:
            async with asyncio.timeout(self._settings.wait):
                await self._has_room()
                if self._log is None:
                    raise AuditUnavailable("nothing is written now")
                if crosses and self._settings.mode is AuditMode.STRICT:
                    await asyncio.wrap_future(self._log.append(decision)[1])
                else:
                    self._log.post(decision)
        except TimeoutError:
            raise self._unavailable(f"it was not written within {self._settings.wait:g}s") from None
        except AuditUnavailable as reason:
            raise self._unavailable(str(reason)) from None

    def _unavailable(self, why: str) -> Refusal:
        self._worker.loop_block.add("audit_refusals")
        return refusal("AUDIT_UNAVAILABLE", why)

    # --- what the relay tells -------------------------------------------------------------------------------

    def drain(self) -> None:
        """Give to the log what is known, as long as it takes it; what it does not take stays and stalls."""
        if self._log is None:
            if self._settings is None:
                self._told.clear()
            return
        try:
            while self._refusals:
                self._log.post(self._refusals[0])
                self._refusals.popleft()
            while self._told or self._take():
                if (record := self._record(self._told[0])) is not None:
                    self._log.post(record)
                self._tickets.pop(self._told.popleft()[0], None)
        except AuditUnavailable:
            self._set_stalled(True)

    def _take(self) -> bool:
        self._told.extend(self._worker.relay.records(DRAINED_AT_ONCE))
        return bool(self._told)

    def _record(self, told: tuple[int, int, int, int, int, int, int]) -> Record | None:
        number, shard, error, fingerprint, rows, size, us = told
        stamp = self._tickets.get(number)
        names = self._shard_names(shard)
        finding = Flaw.WITNESS if error == DENIED else None
        error = CATALOGUE["POLICY_WITNESS"].errno if error == DENIED else error
        if stamp is not None:
            error = UNKNOWN_ERROR if error == PARKED_AGAIN else error
            return Result(
                of=stamp, rows=rows, bytes_out=size, latency_us=us, error=error, shards=names, finding=finding
            )  # fmt: skip
        template = self._templates.get(number)
        if template is None or shard == -1 or error == PARKED_AGAIN:
            return None
        decision = template.decision
        sample = self._settings.sample if template.sampled and self._settings is not None else None
        return replace(
            decision, fingerprint=fingerprint, rows=rows, bytes_out=size, latency_us=us, error=error or None,
            shards=names or decision.shards, sample=sample if sample != 1 else None, finding=finding,
        )  # fmt: skip

    def _shard_names(self, shard: int) -> Any:
        if shard < 0 or shard not in self._worker.numbers.shards:
            return ()
        return self._made.vocabulary(self._worker.generation).names((self._worker.shard_of_number(shard).name,))

    # --- waiting --------------------------------------------------------------------------------------------

    def wait(self, handle: int) -> None:
        """The relay parked a statement because there is no room for its record. Raises Refusal."""
        self._worker.loop_block.add("audit_waits")
        self.drain()
        if not self._stalled:
            self._worker.relay.resume(handle)
        elif self._settings is None or (self._log is not None and self._log.failing):
            raise self._unavailable("the last write failed")
        else:
            loop = asyncio.get_running_loop()
            self._parked[handle] = loop.call_later(self._settings.wait, self._expired, handle)

    def _expired(self, handle: int) -> None:
        if self._parked.pop(handle, None) is not None:
            wait = self._settings.wait if self._settings is not None else 0.0
            self._worker.dispatcher.refuse(handle, self._unavailable(f"there was no room for {wait:g}s"))

    def forget(self, handle: int) -> None:
        """The session is gone."""
        if (timer := self._parked.pop(handle, None)) is not None:
            timer.cancel()

    def _changed(self) -> None:
        """The log has written something, or begun or ceased to take records."""
        if self._log is None:
            return
        self._count(self._log)
        if self._log.failing:
            self._set_stalled(True)
            parked, self._parked = self._parked, {}
            for handle, timer in parked.items():
                timer.cancel()
                self._worker.dispatcher.refuse(handle, self._unavailable("the last write failed"))
            return
        self._stalled = False
        self.drain()
        self._set_stalled(self._stalled)

    def _set_stalled(self, stalled: bool) -> None:
        self._stalled = stalled
        self._worker.relay.set_records(closed=stalled)
        if not stalled or (self._log is not None and self._log.failing):
            self._room.set()
        if not stalled:
            parked, self._parked = self._parked, {}
            for handle, timer in parked.items():
                timer.cancel()
                self._worker.relay.resume(handle)

    def _count(self, found: AuditLog) -> None:
        block, counters = self._worker.loop_block, found.counters
        now = [counters.records, counters.bytes, counters.failures]
        for name, new, old in zip(("audit_records", "audit_bytes", "audit_failures"), now, self._counted, strict=True):
            block.add(name, new - old)
        self._counted = now
        block.set("audit_waiting", found.waiting)
        block.set("audit_unpublished", counters.unpublished)


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """From the log's thread."""
    with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
        loop.call_soon_threadsafe(what)
