"""Reads audit logs as a stranger would: what in them is not as it was written, and what is missing.

The hash chain names the first bad entry of a file. What a chain cannot show (an end that was cut off, a log written
anew) the anchors show, up to the last of them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops.audit import anchor as anchors
from ops.audit import segment
from ops.audit.anchor import Anchor, AnchorError
from ops.audit.merkle import Tree
from ops.audit.segment import Damage, Entry

MOST_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: the file, the number of the entry and the offset of its line (None: the file as a whole)."""

    file: Path
    entry: int | None
    offset: int | None
    what: str

    def __str__(self) -> str:
        where = str(self.file) if self.entry is None else f"{self.file}: entry {self.entry}"
        at = "" if self.offset is None else f" (byte {self.offset})"
        return f"{where}{at}: {self.what}"


@dataclass(slots=True)
class Verified:
    """What was read and found. `notes` are no findings: crashes that the log itself tells of, keys not compared."""

    streams: int = 0
    segments: int = 0
    entries: int = 0
    anchors: int = 0
    unanchored: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def bad(self, file: Path, entry: int | None, offset: int | None, what: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(file, entry, offset, what))


@dataclass(slots=True)
class _Segment:
    """What later ones and the anchors are compared with."""

    path: Path
    count: int = 0
    end: int = 0
    hashes: list[bytes] = field(default_factory=list)
    """Of all entries, until the next segment's head was compared with them."""
    anchored: dict[int, tuple[bytes, bytes, int]] = field(default_factory=dict)
    """Count -> hash and offset of its last entry, and the root, where an anchor asks for it."""
    sealed: bool = False
    intact: bool = True
    before: Mapping[str, object] = field(default_factory=dict)
    gaps: list[int] = field(default_factory=list)


def verify(
    path: Path, keys: Iterable[str] = (), elsewhere: Iterable[Path] = (), published: Iterable[bytes] = ()
) -> Verified:
    """All logs under a directory. Raises OSError.

    `keys`: public keys (hex) that may sign anchors; without any, a signature is only checked against the key that the
    anchor itself names. `elsewhere`: files of anchors kept in other places; `published`: lines of such.
    """
    result = Verified()
    trusted = frozenset(keys)
    foreign = [anchor for file in elsewhere for anchor in _anchors(file, anchors.lines(file), trusted, result)]
    # One by one: they are no chain, and a bad one says nothing about the others.
    for number, line in enumerate(published):
        foreign += _anchors(Path(f"published anchor {number}"), [(0, line)], trusted, result)
    seen: set[tuple[str, str]] = set()
    for directory in sorted({file.parent for suffix in _SUFFIXES for file in path.rglob(f"*{suffix}")}):
        for stream in _streams(directory):
            seen.add((directory.name, stream))
            _verify_stream(directory, stream, trusted, foreign, result)
    for missing in sorted({(one.domain, one.stream) for one in foreign} - seen):
        result.bad(path, None, None, f"the log {'/'.join(missing)} is missing, which has anchors elsewhere")
    if result.anchors and not trusted:
        result.notes.append("signatures were checked with the keys that the anchors name: give trusted ones by --key")
    return result


_SUFFIXES = (segment.SUFFIX, anchors.SUFFIX)


def _streams(directory: Path) -> list[str]:
    files = (file for suffix in _SUFFIXES for file in directory.glob(f"*.*{suffix}"))
    return sorted({file.stem.rpartition(".")[0] for file in files} - {""})


def _verify_stream(
    directory: Path, stream: str, trusted: frozenset[str], foreign: list[Anchor], result: Verified
) -> None:
    result.streams += 1
    found = segment.segments_in(directory).get(stream, {})
    known = _anchors_of(directory, stream, trusted, result)
    known += [one for one in foreign if (one.domain, one.stream) == (directory.name, stream)]
    counts: dict[int, set[int]] = {}
    for anchor in known:
        counts.setdefault(anchor.segment, set()).add(anchor.count)
    live = _is_written(directory, stream)
    expired: set[int] = set()
    read: dict[int, _Segment] = {}
    for number, path in found.items():
        newest = number == max(found)
        read[number] = _read(path, counts.get(number, set()), expired, result, forgive_torn=live and newest)
        _check_head(read[number], number, directory.name, stream, result)
        if number - 1 in read:
            _check_link(read[number - 1], number - 1, read[number], result)
            read[number - 1].hashes.clear()
    _check_holes(directory, stream, read, expired, result)
    if found and not known:
        result.bad(directory, None, None, f"the log {stream} has no anchors: they were removed, or never made")
    _check_anchors(directory, known, read, expired, result)


# --- one segment --------------------------------------------------------------------------------------------


def _read(path: Path, counts: set[int], expired: set[int], result: Verified, *, forgive_torn: bool) -> _Segment:
    found, tree = _Segment(path), Tree()
    result.segments += 1
    with path.open("rb") as file:
        try:
            for entry in segment.entries(file):
                _take(found, entry, tree, expired, result)
                if tree.count in counts:
                    found.anchored[tree.count] = (entry.hash, tree.root(), entry.offset)
        except Damage as damage:
            found.intact = False
            if not (damage.torn and forgive_torn):
                what = f"{damage.what} (torn: a crash, or a cut)" if damage.torn else damage.what
                result.bad(path, damage.number, damage.offset, what)
    return found


def _take(found: _Segment, entry: Entry, tree: Tree, expired: set[int], result: Verified) -> None:
    result.entries += 1
    plain = entry.plain
    if found.sealed:
        result.bad(found.path, entry.number, entry.offset, "it stands behind the seal")
    if entry.kind == segment.HEAD:
        found.before = plain
    elif entry.kind == segment.SEAL:
        found.sealed = True
        if plain.get("count") != tree.count or plain.get("root") != tree.root().hex():
            result.bad(found.path, entry.number, entry.offset, "the seal is of other entries")
    elif entry.kind == segment.GAP:
        found.gaps.append(entry.number)
        result.notes.append(
            f"{found.path}: entry {entry.number}: the writer had ended without a seal "
            f"({plain.get('reason')}, {plain.get('cut')} bytes cut)"
        )
    elif entry.kind == segment.EXPIRED:
        # Older ones went before it, and so may the entry that told of them.
        expired.update(range(int(plain["segment"]) + 1))
    tree.add(entry.body)
    found.hashes.append(entry.hash)
    found.count = entry.number + 1
    found.end = segment.end_of(entry)


def _check_head(found: _Segment, number: int, domain: str, stream: str, result: Verified) -> None:
    if not found.count:
        return
    head = found.before
    if (head.get("domain"), head.get("stream"), head.get("segment")) != (domain, stream, number):
        result.bad(found.path, 0, 0, "it was written under another name, or for another domain")


# --- one stream ---------------------------------------------------------------------------------------------


def _check_holes(
    directory: Path, stream: str, read: dict[int, _Segment], expired: set[int], result: Verified
) -> None:
    """Segments follow each other without holes, but for those that the log itself says were removed."""
    for number in range(max(read, default=0)):
        if number not in read and number not in expired:
            result.bad(directory / segment.file_name(stream, number), None, None, "the segment is missing")


def _check_link(before: _Segment, number: int, after: _Segment, result: Verified) -> None:
    """The head of a segment names the end of the one before."""
    if not after.count:
        return
    end = after.before.get("prev")
    count = end.get("count") if isinstance(end, dict) and end.get("segment") == number else None
    if not isinstance(count, int) or not isinstance(end, dict):
        result.bad(after.path, 0, 0, f"it does not follow segment {number}")
    elif not before.intact:
        return
    elif count > before.count:
        what = f"cut off: the next segment follows {count} entries, {before.count} are there"
        result.bad(before.path, before.count, before.end, what)
    elif count and before.hashes[count - 1].hex() != end.get("hash"):
        result.bad(before.path, count - 1, None, "the next segment follows another entry")
    elif not before.sealed and 1 not in after.gaps:
        result.bad(before.path, before.count, before.end, "the seal is missing")


def _check_anchors(
    directory: Path, known: list[Anchor], read: dict[int, _Segment], expired: set[int], result: Verified
) -> None:
    covered: dict[int, int] = {}
    told: set[int] = set()
    for anchor in sorted(known, key=lambda one: (one.segment, one.count)):
        found = read.get(anchor.segment)
        if found is not None:
            covered[anchor.segment] = max(anchor.count, covered.get(anchor.segment, 0))
            if anchor.segment not in told and not _anchor_holds(found, anchor, result):
                told.add(anchor.segment)
        elif anchor.segment not in expired and anchor.segment not in told:
            told.add(anchor.segment)
            path = directory / segment.file_name(anchor.stream, anchor.segment)
            result.bad(path, None, None, "the segment is missing, and has anchors")
    result.unanchored += sum(max(0, one.count - covered.get(number, 0)) for number, one in read.items())


def _anchor_holds(found: _Segment, anchor: Anchor, result: Verified) -> bool:
    if anchor.count > found.count:
        if found.intact:
            what = f"cut off: an anchor of {anchor.count} entries was signed, {found.count} are there"
            result.bad(found.path, found.count, found.end, what)
        return False
    last, root, offset = found.anchored[anchor.count]
    if last.hex() != anchor.hash or root.hex() != anchor.root:
        what = f"written anew: entries up to {anchor.count - 1} are not those that were anchored"
        result.bad(found.path, anchor.count - 1, offset, what)
        return False
    return True


# --- anchors ------------------------------------------------------------------------------------------------


def _anchors_of(directory: Path, stream: str, trusted: frozenset[str], result: Verified) -> list[Anchor]:
    """The anchors kept beside a log, whose own chain must be whole from the oldest file to the newest."""
    known: list[Anchor] = []
    for path in sorted(directory.glob(f"{stream}.*{anchors.SUFFIX}")):
        for anchor in _anchors(path, anchors.lines(path), trusted, result):
            if known and anchor.prev != known[-1].id:
                result.bad(path, None, None, f"an anchor before the one of {anchor.count} entries is missing")
            if (anchor.domain, anchor.stream) != (directory.name, stream):
                result.bad(path, None, None, "it holds an anchor of another log")
            known.append(anchor)
    return known


def _anchors(
    path: Path, lines: Iterable[tuple[int, bytes]], trusted: frozenset[str], result: Verified
) -> list[Anchor]:
    found = []
    for number, (offset, line) in enumerate(lines):
        try:
            anchor = anchors.parse(line)
            anchor.check()
            if trusted and anchor.key not in trusted:
                raise AnchorError("it is signed with a key that is not among the trusted ones")
        except AnchorError as error:
            result.bad(path, number, offset, f"the anchor is bad: {error}")
            break
        result.anchors += 1
        found.append(anchor)
    return found


def _is_written(directory: Path, stream: str) -> bool:
    """Does a running Fairlead hold the log? Then its newest line may be half written."""
    try:
        lock = os.open(directory / f"{stream}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
