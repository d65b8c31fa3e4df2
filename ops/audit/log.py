"""The audit log as the data path uses it: `append` returns at once, a thread makes it durable in groups.

    log = AuditLog(options, key)                    # in the worker, after its fork
    stamp, durable = log.append(decision)           # refused when the buffer is full: the caller refuses the statement
    await asyncio.wrap_future(durable)              # audit: strict - now the answer may cross the border
    log.append(Result(of=stamp, …))
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops.audit.anchor import Anchor
from ops.audit.hlc import HybridClock
from ops.audit.record import Record, encode
from ops.audit.stream import Stream, StreamOptions

log = logging.getLogger(__name__)

FIRST_RETRY, LAST_RETRY = 0.5, 30.0
"""Seconds until a log that could not be written is tried again; doubled with each failure in a row."""
UNPUBLISHED = 10_000
"""Anchors kept for a place that does not take them: more than a day of one every ten seconds."""
GROUP = 4096
"""Records of one write."""


class AuditUnavailable(Exception):
    """A record cannot be kept: what it is about must not happen."""


class Appended(NamedTuple):
    """`stamp` names the record in a later `Result`; `durable` is done when it is on the disk."""

    stamp: int
    durable: Future[None]


_Waiting = tuple[bytes, "Future[None] | None"]
"""An encoded record, and the promise that somebody waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """`buffer` bounds the bytes that wait for the disk, `anchor_every` the seconds of log without an anchor."""

    buffer: int = 8 << 20
    anchor_every: float = 10.0


@dataclass(slots=True)
class Counters:
    """For metrics: what was kept, what was not, and how the disk behaves."""

    records: int = 0
    bytes: int = 0
    refused: int = 0
    syncs: int = 0
    failures: int = 0
    unpublished: int = 0


class AuditLog:
    """One writer. Raises OSError from the start when the files cannot be had; a `patient` one goes on trying.

    `publish` is given every anchor after it is on the disk, in their order: when it raises, the same one is given
    again later (the last UNPUBLISHED wait; the files hold all). It runs in the log's thread: no longer than an fsync.
    `on_change` is called there whenever records were written, or the log has begun or ceased to take them.
    """

    def __init__(
        self,
        stream: StreamOptions,
        key: Ed25519PrivateKey,
        options: LogOptions | None = None,
        publish: Callable[[Anchor], None] | None = None,
        clock: HybridClock | None = None,
        *,
        patient: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.counters = Counters()
        self.failing = False
        self._options = options or LogOptions()
        self._clock = clock or HybridClock()
        self._publish = publish
        self._on_change = on_change
        self._unpublished: deque[Anchor] = deque(maxlen=UNPUBLISHED if publish else 0)
        self._stream = Stream(stream, key, self._clock, self._unpublished.append)
        self._waiting: list[_Waiting] = []
        self._size = 0
        self._broken: str | None = None
        self._started = not patient
        self._pause = FIRST_RETRY
        self._retry_at = 0.0
        self._closing = False
        self._change = threading.Condition()
        if patient:
            self._broken = "it is being opened"
        else:
            self._stream.start()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def append(self, record: Record) -> Appended:
        """Raises AuditUnavailable when the buffer is full, the disk fails, or the log is closed."""
        durable: Future[None] = Future()
        return Appended(self._put(record, durable), durable)

    def post(self, record: Record) -> int:
        """The same without a promise: what is taken is kept, and written again when a write fails. -> its stamp."""
        return self._put(record, None)

    @property
    def waiting(self) -> int:
        """Bytes of records that wait for the disk."""
        return self._size

    def _put(self, record: Record, durable: Future[None] | None) -> int:
        with self._change:
            stamp = self._clock.now()
            data = encode(record, stamp)
            self._must_take(len(data))
            self._waiting.append((data, durable))
            self._size += len(data)
            self._change.notify()
        return stamp

    def _must_take(self, size: int) -> None:
        reason = self._broken
        if self._closing:
            reason = "it is closed"
        elif reason is None and self._size + size > self._options.buffer:
            reason = "more records wait for the disk than its buffer takes"
        if reason is not None:
            self.counters.refused += 1
            raise AuditUnavailable(f"the audit log takes no records: {reason}")

    def close(self) -> None:
        """Writes what waits, seals the segment, and ends."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join()

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        anchor_at = time.monotonic() + self._options.anchor_every
        while True:
            batch = self._next(anchor_at)
            if batch:
                self._write(batch)
            if time.monotonic() >= anchor_at:
                self._guarded(self._stream.roll_if_old)
                self._guarded(self._stream.anchor)
                self._publish_all()
                anchor_at = time.monotonic() + self._options.anchor_every
            if self._closing and (self._broken or not self._waiting):
                break
        if not self._broken:
            self._guarded(self._stream.close)
            self._publish_all()
        elif self._waiting:
            log.error("%d decision records are lost: %s", len(self._waiting), self._broken)

    def _next(self, until: float) -> list[_Waiting]:
        """Waits for records, or for the time that something else is due."""
        with self._change:
            if self._broken:
                until = min(until, self._retry_at)
            while not self._closing and (self._broken or not self._waiting):
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._change.wait(left)
        if self._broken and time.monotonic() >= self._retry_at:
            self._guarded(self._reopen)
        with self._change:
            if self._broken:
                return []
            batch, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
        return batch

    def _write(self, batch: list[_Waiting]) -> None:
        error = self._guarded(lambda: self._stream.append([data for data, _ in batch]))
        kept = [one for one in batch if one[1] is None] if error is not None else []
        with self._change:
            self._waiting = kept + self._waiting
            self._size -= sum(len(data) for data, _ in batch) - sum(len(data) for data, _ in kept)
        if error is None:
            self.counters.records += len(batch)
            self.counters.bytes += sum(len(data) for data, _ in batch)
            self.counters.syncs += 1
        for _, durable in batch:
            _settle(durable, error)
        self._on_change()

    def _guarded(self, action: Callable[[], object]) -> AuditUnavailable | None:
        """Does it; after a failure the log takes nothing until a new segment could be begun."""
        if self._broken and action != self._reopen:
            return AuditUnavailable(self._broken)
        try:
            action()
        except Exception as error:
            return self._fail(error)
        return None

    def _fail(self, error: Exception) -> AuditUnavailable:
        self.counters.failures += 1
        log.error("the audit log cannot be written: %s; next attempt in %g s", error, self._pause)
        unavailable = AuditUnavailable(f"its last write failed: {error}")
        with self._change:
            self._broken, self.failing = str(unavailable), True
            promised = [one for one in self._waiting if one[1] is not None]
            self._waiting = [one for one in self._waiting if one[1] is None]
            self._size -= sum(len(data) for data, _ in promised)
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LAST_RETRY)
        for _, durable in promised:
            _settle(durable, unavailable)
        self._on_change()
        return unavailable

    def _reopen(self) -> None:
        if self._started:
            self._stream.reopen()
        else:
            self._stream.start()
            self._started = True
        if self.failing:
            log.info("the audit log is written again")
        self._broken, self.failing = None, False
        self._pause = FIRST_RETRY
        self._on_change()

    def _publish_all(self) -> None:
        while self._unpublished and self._publish is not None:
            try:
                self._publish(self._unpublished[0])
            except Exception as error:
                log.warning("an anchor of the audit log could not be published: %s", error)
                break
            del self._unpublished[0]
        self.counters.unpublished = len(self._unpublished)


def _settle(durable: Future[None] | None, error: AuditUnavailable | None) -> None:
    """A caller may have given up waiting."""
    if durable is None:
        return
    try:
        if error is None:
            durable.set_result(None)
        else:
            durable.set_exception(error)
    except InvalidStateError:
        pass
