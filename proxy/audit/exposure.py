"""Budgets of exposure, as one worker keeps to them: who is shown is counted, on the disk, before it is shown.

The relay knows nothing of it: what has to be counted parks and is carried out from here. Persons whom the statement
names are counted before it is sent; otherwise the rows are, run by run, before they go to the client, and the answer
ends with an error in place of the row that is too much. A thread writes; charges of the same moment are one
transaction.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _speedups.rows import Shape
from ops.exposure import Charged, Flow, Step, Threshold, month_of, thresholds_of
from ops.ledger import Charge, Ledger, LedgerError, ledger_of
from proxy.mysql.wire import HEADER_SIZE
from proxy.scatter.cursors import LeaseCursor
from proxy.scatter.leases import Lease
from proxy.sessions.session import Session
from router.engine.columns import Column
from router.errors import Refusal, refusal
from router.literals import Params
from router.plan import ByKey, Planned, Refuse, refusal_of
from router.policy.counting import Counting, Mention, person_of_number, persons_by_key
from router.policy.model import Policy, Subject
from router.route import Execution
from router.text import Text

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

UNKNOWN = 16
"""Bytes that stand for a person of whom the answer does not say who it is: as good as new each time."""
FULL_PACKET = 0xFFFFFF
MOST_CHARGES = 256
"""In one transaction."""


class Exposures:
    """One worker's end of the ledger."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="exposure")
        self._ledger: Ledger | None = None
        self._path: Path | None = None
        """Of the open ledger; the thread's own."""
        self._waiting: list[tuple[Path, Charge, asyncio.Future[Charged]]] = []
        self._working: asyncio.Task[None] | None = None
        self._warned: set[tuple[Flow, int]] = set()

    def toll(
        self, session: Session, planned: Planned, found: Any, sql: Text, params: Params, shards: Collection[str]
    ) -> Toll | None:
        """What an execution on these shards has to pay; None when nothing. Raises Refusal."""
        if planned.policy is None or not planned.policy.counts:
            return None
        parts = ((name, planned.policy.parts[name].counting) for name in shards if name in planned.policy.parts)
        counted = {name: counting for name, counting in parts if counting is not None}
        if not counted:
            return None
        generation = self._worker.generation_of(session)
        audit, policy, subject = generation.settings.audit, generation.policy, session.subject
        if audit is None or policy is None or subject is None or generation.settings.policy is None:
            raise refusal("METERS_UNAVAILABLE", "no folder is configured")  # as `config.checks.policy` has seen
        thresholds = thresholds_of(generation.settings.policy.budgets)
        persons = self._persons(session, planned, found, sql, params, counted.values())
        return Toll(self, _file(audit.folder, policy), thresholds, subject, planned, counted, persons)

    def _persons(
        self, session: Session, planned: Planned, found: Any, sql: Text, params: Params, counted: Collection[Counting]
    ) -> list[bytes] | None:
        """Whom the statement names; None when the rows have to say it. Raises Refusal when they do not either."""
        if isinstance(planned.plan, ByKey) and planned.topology is not None and all(one.by_key for one in counted):
            execution = Execution(bytes(sql), found, planned.topology, session.mode, params, session.charset)
            persons = persons_by_key(planned.plan, execution)
            if persons is not None:
                return persons
        for one in counted:
            if one.not_by_row:
                raise uncounted(planned, one, one.not_by_row)
        return None

    async def charge(self, path: Path, charge: Charge) -> Charged:
        """Raises Refusal when it cannot be written down."""
        future: asyncio.Future[Charged] = asyncio.get_running_loop().create_future()
        self._waiting.append((path, charge, future))
        if self._working is None:
            self._working = asyncio.ensure_future(self._work())
        try:
            charged = await future
        except LedgerError as error:
            log.error("the exposure meters cannot be kept: %s", error)
            self._worker.loop_block.exposure("failed")
            raise refusal("METERS_UNAVAILABLE", "the last write failed") from None
        self._worker.loop_block.exposure("shown" if charged.stopped is None else "refused")
        self._warn(charged, charge.thresholds)
        return charged

    def _warn(self, charged: Charged, thresholds: Sequence[Threshold]) -> None:
        month = month_of(time.time())
        for flow in charged.warned:
            if (flow, month) not in self._warned:
                self._warned.add((flow, month))
                log.warning(
                    "exposure: budget %s is past its warning for %s data of %s shown in %s (counterparty %s)",
                    flow.budget, flow.data_class, flow.origin, flow.to, flow.counterparty,
                )  # fmt: skip

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                path = self._waiting[0][0]
                batch = [one for one in self._waiting[:MOST_CHARGES] if one[0] == path]
                self._waiting = [one for one in self._waiting if one not in batch]
                await self._one_batch(loop, path, batch)
        finally:
            self._working = None

    async def _one_batch(self, loop: asyncio.AbstractEventLoop, path: Path, batch: list[Any]) -> None:
        try:
            charges = [charge for _, charge, _ in batch]
            results: list[Any] = await loop.run_in_executor(self._thread, self._write, path, charges)
        except Exception as error:
            results = [error if isinstance(error, LedgerError) else LedgerError(repr(error))] * len(batch)
        for (_, _, future), result in zip(batch, results, strict=True):
            if future.done():
                continue  # its client is gone
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _write(self, path: Path, charges: list[Charge]) -> list[Charged]:
        """In the thread."""
        if path != self._path:
            self._shut()
            self._ledger, self._path = Ledger(path), path
        assert self._ledger is not None
        return self._ledger.charge(charges, time.time())

    def _shut(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
        self._ledger = self._path = None

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)
        self._thread.shutdown()


@dataclass(frozen=True, slots=True)
class Toll:
    """What one execution has to pay. `persons`: whom it names; None when its rows have to be counted."""

    _exposures: Exposures
    _path: Path
    _thresholds: tuple[Threshold, ...]
    _subject: Subject
    _planned: Planned
    _counted: Mapping[str, Counting]
    persons: list[bytes] | None

    async def pay(self) -> None:
        """For whom the statement names, all or nobody. Raises Refusal."""
        if self.persons is None:
            return
        flows = {flow for one in self._counted.values() for mention in one.mentions for flow in self.flows(mention)}
        step = [(flow, person) for flow in sorted(flows) for person in self.persons]
        charged = await self.charge([step])
        if charged.stopped is not None:
            raise self.spent(charged.stopped)

    async def charge(self, steps: Sequence[Step]) -> Charged:
        return await self._exposures.charge(self._path, Charge(steps, self._thresholds))

    def flows(self, mention: Mention) -> list[Flow]:
        to, party = self._subject.domain, self._subject.counterparty or "-"
        return [Flow(meter.data_class, meter.home, to, party, meter.budget) for meter in mention.meters]

    def spent(self, flow: Flow) -> Refusal:
        why = (flow.budget, flow.data_class, flow.origin, flow.to)
        return refusal_of(Refuse("POLICY_BUDGET", why), self._planned.facts)

    def bound_to_its_connection(self) -> Refusal:
        """Rows can be held back only where they come through here."""
        return uncounted(self._planned, next(iter(self._counted.values())), "it is read within a transaction")

    def cursor(self, name: str, lease: Lease, *, deprecate: bool, binary: bool) -> LeaseCursor:
        """Over a shard's answer, whose rows are counted where that has to be."""
        counting = self._counted.get(name)
        if counting is None or self.persons is not None:
            return LeaseCursor(name, lease, deprecate=deprecate)
        return CountedCursor(name, lease, self, counting, deprecate=deprecate, binary=binary)


class CountedCursor(LeaseCursor):
    """Rows that have been counted. Behind the last that the budgets let, a Refusal."""

    def __init__(
        self, name: str, lease: Lease, toll: Toll, counting: Counting, *, deprecate: bool, binary: bool
    ) -> None:
        super().__init__(name, lease, deprecate=deprecate)
        self._toll = toll
        self._counting = counting
        self._binary = binary
        self._persons: list[tuple[list[Flow], Callable[[list[bytes | None]], bytes]]] = []
        self._shape: Shape | None = None
        self._cut = bytearray()
        """The begin of a row that is not whole yet."""
        self._passed = 0
        self._stopped: Refusal | None = None

    @property
    def count(self) -> int:
        return self._passed

    async def _more(self) -> bytearray | None:
        if self._stopped is not None:
            raise self._stopped
        rows = await super()._more()
        return await self._counted(rows) if rows else rows

    async def _counted(self, rows: bytearray) -> bytearray:
        rows = self._cut + rows
        found = list(whole_rows(rows))
        end = found[-1][0] if found else 0
        self._cut = rows[end:]
        if not found:
            return bytearray()
        charged = await self._toll.charge([self._step(payload) for _, payload in found])
        self._passed += charged.counted
        if charged.stopped is None:
            return rows[:end]
        self._stopped = self._toll.spent(charged.stopped)
        return rows[: found[charged.counted - 1][0]] if charged.counted else bytearray()

    def _step(self, payload: bytes) -> Step:
        if self._shape is None:
            self._look_at_columns()
        assert self._shape is not None
        cells = self._shape.cells(payload)
        return [(flow, who(cells)) for flows, who in self._persons for flow in flows]

    def _look_at_columns(self) -> None:
        columns = self.described.columns()
        self._shape = Shape([column.type for column in columns], self._binary, len(columns))
        self._persons = [
            (self._toll.flows(mention), _teller(mention.column, columns, binary=self._binary))
            for mention in self._counting.mentions
        ]


def _teller(at: int | None, columns: Sequence[Column], *, binary: bool) -> Callable[[list[bytes | None]], bytes]:
    """How the cells of a row say who the person is."""
    if at is None or at >= len(columns) or not columns[at].is_whole:
        return lambda _: secrets.token_bytes(UNKNOWN)
    signed = not columns[at].unsigned

    def told(cells: list[bytes | None]) -> bytes:
        cell = cells[at]
        if cell is None:
            return secrets.token_bytes(UNKNOWN)
        return person_of_number(int.from_bytes(cell, "little", signed=signed) if binary else int(cell))

    return told


def whole_rows(packets: bytearray) -> Iterator[tuple[int, bytes]]:
    """(where it ends, its payload) of each row that is there to its end; one of 16 MiB and more has several packets."""
    at, payload = 0, b""
    while at < len(packets):
        size = int.from_bytes(packets[at : at + 3], "little")
        payload += packets[at + HEADER_SIZE : at + HEADER_SIZE + size]
        at += HEADER_SIZE + size
        if size < FULL_PACKET:
            yield at, payload
            payload = b""


def uncounted(planned: Planned, counting: Counting, why: str) -> Refusal:
    return refusal_of(Refuse("POLICY_UNCOUNTED", (", ".join(counting.budgets), why)), planned.facts)


def _file(folder: Path, policy: Policy) -> Path:
    return ledger_of(folder, policy.domain)
