"""One writer's files on the disk: the open segment, its anchors, what recovery and retention do to them.

Not thread-safe, and every call may wait for the disk: `log.AuditLog` calls it from one thread of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops.audit import anchor as anchors
from ops.audit import files, segment
from ops.audit.anchor import Anchor
from ops.audit.hlc import HybridClock
from ops.audit.merkle import Tree
from ops.audit.record import canonical
from ops.audit.segment import Damage, Tail

MIB = 1 << 20


class StreamTaken(OSError):
    """Another process writes this stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Where a worker writes, and how much. `directory` lies in the data's own legal domain."""

    directory: Path
    domain: str
    proxy: str
    worker: int
    segment_bytes: int = 16 * MIB
    segment_age: float | None = None
    segments: int = 1024

    @property
    def name(self) -> str:
        return f"{self.proxy}.{self.worker}"

    @property
    def home(self) -> Path:
        """The domain's own directory."""
        return self.directory / self.domain


@dataclass(slots=True)
class _Open:
    """The segment that is written."""

    number: int
    descriptor: int
    size: int = 0
    count: int = 0
    hash: bytes = segment.START
    tree: Tree = field(default_factory=Tree)


class Stream:
    """`start`, then `append` and `anchor` at will, `close`. After an OSError of these, `reopen`."""

    def __init__(
        self,
        options: StreamOptions,
        key: Ed25519PrivateKey,
        clock: HybridClock,
        on_anchor: Callable[[Anchor], None] = lambda _: None,
    ) -> None:
        self.options = options
        self._key = key
        self._clock = clock
        self._on_anchor = on_anchor
        self._end: dict[str, Any] = {}
        self._open: _Open | None = None
        self._lock = -1
        self._last_anchor: Anchor | None = None
        self._anchored = 0
        self._began = 0.0

    @property
    def _now(self) -> _Open:
        assert self._open is not None, "the stream was not started"
        return self._open

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes the stream and goes on where its files end. Raises OSError, StreamTaken."""
        files.make_directory(self.options.home)
        if self._lock < 0:
            self._take_lock()
        self._last_anchor = anchors.last_in(self._anchor_files())
        found = self._segments()
        if found:
            self._go_on(*max(found.items()))
        elif self._last_anchor is None:
            self._begin(0)
        else:
            self._begin_anew("its segments are gone")
        self.anchor()

    def _take_lock(self) -> None:
        lock = files.open_append(self.options.home / f"{self.options.name}.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StreamTaken(error.errno, f"another process writes {self.options.name}") from error
        self._lock = lock

    def _go_on(self, number: int, path: Path) -> None:
        """Behind the newest file: in a new one after a seal or damage, else in this one, with a gap marker."""
        try:
            tail = segment.read_tail(path)
        except Damage as damage:
            self._go_on_without_head(number, path, damage)
            return
        self._clock.seen(tail.stamp)
        self._end = {"segment": number, "count": tail.count, "hash": tail.hash.hex()}
        if (reason := self._why_not_here(number, tail)) is not None:
            self._begin_anew(reason)
        elif tail.sealed:
            self._begin(number + 1)
        else:
            self._go_on_here(number, path, tail)

    def _go_on_without_head(self, number: int, path: Path, damage: Damage) -> None:
        """A file that was just being made is made again; any other is kept as it was found."""
        if damage.torn and not self._anchor_files(number):
            path.unlink()
            self._end = self._anchored_end(number - 1)
            self._begin(number)
            self._mark_gap("crash", 0)
        else:
            self._end = _nothing_of(number)
            self._begin_anew("damaged")

    def _why_not_here(self, number: int, tail: Tail) -> str | None:
        """Why the newest segment cannot be trusted to be the end of this log; it is left as it was found."""
        if tail.damage is not None and not tail.damage.torn:
            return "damaged"
        last = self._last_anchor
        if last is not None and (last.segment, last.count) > (number, tail.count):
            return "shorter than its anchor"
        return None

    def _go_on_here(self, number: int, path: Path, tail: Tail) -> None:
        cut = path.stat().st_size - tail.size
        descriptor = files.open_append(path)
        os.ftruncate(descriptor, tail.size)
        self._began = time.monotonic()
        self._open = _Open(number, descriptor, tail.size, tail.count, tail.hash, tail.tree)
        self._anchored = 0
        self._mark_gap("crash", cut)

    def reopen(self) -> None:
        """After a failed write: what may be there of it is cut off, since none of it counts, and the file is not
        written any further."""
        cut = 0
        if (failed := self._open) is not None:
            self._open = None
            self._end = {"segment": failed.number, "count": failed.count, "hash": failed.hash.hex()}
            with contextlib.suppress(OSError):
                cut = os.fstat(failed.descriptor).st_size - failed.size
                os.ftruncate(failed.descriptor, failed.size)
                os.fdatasync(failed.descriptor)
            with contextlib.suppress(OSError):
                os.close(failed.descriptor)
        self._begin_anew("write error", cut)

    def close(self) -> None:
        """Seals the segment and gives the stream back. Raises OSError."""
        try:
            if self._open is not None:
                self._seal()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    # --- entries --------------------------------------------------------------------------------------------

    def append(self, records: Sequence[bytes]) -> None:
        """Encoded records, on the disk when this returns. Raises OSError: then none of them counts as written."""
        self._write(records)
        if self._now.size >= self.options.segment_bytes:
            self._roll()

    def roll_if_old(self) -> None:
        """Begins another segment when this one holds something and has reached its age. Raises OSError."""
        age = self.options.segment_age
        if age is not None and self._now.count > 1 and time.monotonic() - self._began >= age:
            self._roll()

    def _write(self, records: Sequence[bytes]) -> None:
        now = self._now
        count, tip, text = now.count, now.hash, bytearray()
        bodies = []
        for plain in records:
            line, tip, body = segment.line_of(tip, count, plain)
            text += line
            bodies.append(body)
            count += 1
        files.write_all(now.descriptor, text)
        os.fdatasync(now.descriptor)
        now.count, now.size, now.hash = count, now.size + len(text), tip
        for body in bodies:
            now.tree.add(body)

    def _control(self, kind: str, **plain: Any) -> None:
        self._write([canonical({"kind": kind, "ts": self._clock.now(), **plain})])

    def _mark_gap(self, reason: str, cut: int) -> None:
        self._control(segment.GAP, reason=reason, cut=cut)

    def _begin(self, number: int) -> None:
        options = self.options
        self._began = time.monotonic()
        self._open = _Open(number, files.open_append(options.home / segment.file_name(options.name, number)))
        self._anchored = 0
        self._control(
            segment.HEAD,
            format=segment.FORMAT,
            domain=options.domain,
            stream=options.name,
            segment=number,
            prev=self._end,
        )

    def _begin_anew(self, reason: str, cut: int = 0) -> None:
        """A segment behind all that there is or was, with a gap marker."""
        known = [*self._segments(), self._last_anchor.segment if self._last_anchor else -1]
        self._begin(max(known) + 1)
        self._mark_gap(reason, cut)

    def _roll(self) -> None:
        """The next segment; the oldest ones beyond the retention go, and the log says so first."""
        number = self._now.number
        self._seal()
        self._begin(number + 1)
        self._expire()
        self.anchor()

    def _seal(self) -> None:
        now = self._now
        self._control(segment.SEAL, count=now.count, root=now.tree.root().hex())
        self.anchor()
        self._open = None
        self._end = {"segment": now.number, "count": now.count, "hash": now.hash.hex()}
        os.close(now.descriptor)

    def _expire(self) -> None:
        found = self._segments()
        for number in sorted(found)[: max(0, len(found) - self.options.segments)]:
            self._control(segment.EXPIRED, **self._anchored_end(number))
            for path in (*self._anchor_files(number), found[number]):
                path.unlink()

    # --- anchors --------------------------------------------------------------------------------------------

    def anchor(self) -> Anchor | None:
        """A new anchor, on the disk; None when nothing was written since the last one. Raises OSError."""
        now = self._now
        if now.count == self._anchored:
            return None
        anchor = anchors.sign(
            self._key,
            domain=self.options.domain,
            stream=self.options.name,
            segment=now.number,
            count=now.count,
            hash=now.hash.hex(),
            root=now.tree.root().hex(),
            ts=self._clock.now(),
            prev=self._last_anchor.id if self._last_anchor else anchors.FIRST,
        )
        path = (self.options.home / segment.file_name(self.options.name, now.number)).with_suffix(anchors.SUFFIX)
        _cut_torn_line(path)
        files.append_durably(path, anchor.line())
        self._last_anchor, self._anchored = anchor, now.count
        self._on_anchor(anchor)
        return anchor

    def _anchored_end(self, number: int) -> dict[str, Any]:
        """Where a sealed segment ends, without reading it through."""
        last = anchors.last_in(self._anchor_files(number))
        if last is None or last.segment != number:
            return _nothing_of(number)
        return {"segment": number, "count": last.count, "hash": last.hash}

    # --- files ----------------------------------------------------------------------------------------------

    def _segments(self) -> dict[int, Path]:
        return segment.segments_in(self.options.home).get(self.options.name, {})

    def _anchor_files(self, number: int | None = None) -> list[Path]:
        which = "*" if number is None else f"{number:08d}"
        return list(self.options.home.glob(f"{self.options.name}.{which}{anchors.SUFFIX}"))


def _nothing_of(number: int) -> dict[str, Any]:
    """The end of a segment of which nothing can be relied on; of the one before the first, nothing at all."""
    return {"segment": number, "count": 0, "hash": segment.START.hex()} if number >= 0 else {}


def _cut_torn_line(path: Path) -> None:
    """An anchor that a crash left unfinished was never published."""
    if not path.exists():
        return
    with path.open("rb+") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - anchors.MAX_LINE))
        tail = stream.read()
        if not tail.endswith(b"\n"):
            stream.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
