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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """`buffer` bounds the bytes that wait for the disk, `anchor_every` the seconds of log without an anchor."""

    buffer: int = 8 << 20
    anchor_every: float = 10.0


@dataclass(slots=True)
class Counters:
    """For metrics: what was kept, what was not, and how the disk behaves."""

    records: int = 0
    refused: int = 0
    syncs: int = 0
    failures: int = 0
    unpublished: int = 0


class AuditLog:
    """One writer. Raises OSError from the start when the files cannot be had.

    `publish` is given every anchor after it is on the disk, in their order: when it raises, the same one is given
    again later (the last UNPUBLISHED wait; the files hold all). It runs in the log's thread: no longer than an fsync.
    """

    def __init__(
        self,
        stream: StreamOptions,
        key: Ed25519PrivateKey,
        options: LogOptions | None = None,
        publish: Callable[[Anchor], None] | None = None,
        clock: HybridClock | None = None,
    ) -> None:
        self.counters = Counters()
        self._options = options or LogOptions()
        self._clock = clock or HybridClock()
        self._publish = publish
        self._unpublished: deque[Anchor] = deque(maxlen=UNPUBLISHED if publish else 0)
        self._stream = Stream(stream, key, self._clock, self._unpublished.append)
        self._stream.start()
        self._waiting: list[tuple[bytes, Future[None]]] = []
        self._size = 0
        self._broken: str | None = None
        self._pause = FIRST_RETRY
        self._retry_at = 0.0
        self._closing = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def append(self, record: Record) -> Appended:
        """Raises AuditUnavailable when the buffer is full, the disk fails, or the log is closed."""
        with self._change:
            stamp = self._clock.now()
            data = encode(record, stamp)
            self._must_take(len(data))
            durable: Future[None] = Future()
            self._waiting.append((data, durable))
            self._size += len(data)
            self._change.notify()
        return Appended(stamp, durable)

    def _must_take(self, size: int) -> None:
        reason = self._broken
        if self._closing:
            reason = "it is closed"
        elif self._size + size > self._options.buffer:
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
                self._guarded(self._stream.anchor)
                self._publish_all()
                anchor_at = time.monotonic() + self._options.anchor_every
            if self._closing and not self._waiting:
                break
        if not self._broken:
            self._guarded(self._stream.close)
            self._publish_all()

    def _next(self, until: float) -> list[tuple[bytes, Future[None]]]:
        """Waits for records, or for the time that something else is due."""
        with self._change:
            if self._broken:
                until = min(until, self._retry_at)
            while not self._waiting and not self._closing and (left := until - time.monotonic()) > 0:
                self._change.wait(left)
            batch, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
        if self._broken and not batch and not self._closing and time.monotonic() >= self._retry_at:
            self._guarded(self._reopen)
        return batch

    def _write(self, batch: list[tuple[bytes, Future[None]]]) -> None:
        error = self._guarded(lambda: self._stream.append([data for data, _ in batch]))
        with self._change:
            self._size -= sum(len(data) for data, _ in batch)
        if error is None:
            self.counters.records += len(batch)
            self.counters.syncs += 1
        for _, durable in batch:
            _settle(durable, error)

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
        self._broken = f"its last write failed: {error}"
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LAST_RETRY)
        return AuditUnavailable(self._broken)

    def _reopen(self) -> None:
        self._stream.reopen()
        self._broken = None
        self._pause = FIRST_RETRY
        log.info("the audit log is written again")

    def _publish_all(self) -> None:
        while self._unpublished and self._publish is not None:
            try:
                self._publish(self._unpublished[0])
            except Exception as error:
                log.warning("an anchor of the audit log could not be published: %s", error)
                break
            del self._unpublished[0]
        self.counters.unpublished = len(self._unpublished)


def _settle(durable: Future[None], error: AuditUnavailable | None) -> None:
    """A caller may have given up waiting."""
    try:
        if error is None:
            durable.set_result(None)
        else:
            durable.set_exception(error)
    except InvalidStateError:
        pass
