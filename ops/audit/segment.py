"""A segment file: one entry per line, each bound to all before it.

    <hash> <number> <canonical JSON>\\n        hash = SHA-256(hash of the entry before || "<number> <JSON>"), hex

The first entry is the `head` (its "entry before" is 32 zero bytes, and it names the end of the segment before); a
segment that is complete ends with a `seal`. Entries between are decisions, results, and what befell the log itself:
`gap` (the writer had ended without sealing) and `expired` (older segments were removed, as retention says).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from ops.audit.merkle import Tree

FORMAT = 1
MAX_LINE = 1 << 20
START = bytes(32)
HEAD, SEAL, GAP, EXPIRED, DECISION, RESULT = "head", "seal", "gap", "expired", "decision", "result"
KINDS = frozenset({HEAD, SEAL, GAP, EXPIRED, DECISION, RESULT})
SUFFIX = ".audit"


@dataclass(frozen=True, slots=True)
class Entry:
    """`number` counts from 0 in its file, `offset` is where its line begins, `plain` what the JSON says."""

    number: int
    offset: int
    hash: bytes
    body: bytes
    plain: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.plain["kind"])


class Damage(Exception):
    """The first entry of a file that is not as it was written. `torn`: an unfinished line, and nothing behind it."""

    def __init__(self, number: int, offset: int, what: str, *, torn: bool = False) -> None:
        super().__init__(what)
        self.number, self.offset, self.what, self.torn = number, offset, what, torn


def chain(before: bytes, body: bytes) -> bytes:
    return sha256(before + body).digest()


def line_of(before: bytes, number: int, plain: bytes) -> tuple[bytes, bytes, bytes]:
    """(the line as it stands in the file, its hash, its body)"""
    body = b"%d %s" % (number, plain)
    own = chain(before, body)
    return b"%s %s\n" % (own.hex().encode(), body), own, body


def end_of(entry: Entry) -> int:
    """The offset behind its line: hash, a space, the body, a line end."""
    return entry.offset + 64 + 1 + len(entry.body) + 1


def entries(stream: IO[bytes]) -> Iterator[Entry]:
    """All entries of a file in their order. Raises Damage at the first bad one."""
    number, offset, before = 0, 0, START
    while line := stream.readline(MAX_LINE):
        entry = _entry(line, number, offset, before, stream)
        yield entry
        number, offset, before = number + 1, offset + len(line), entry.hash
    if not number:
        raise Damage(0, 0, "the file is empty", torn=True)


def _entry(line: bytes, number: int, offset: int, before: bytes, stream: IO[bytes]) -> Entry:
    if not line.endswith(b"\n"):
        raise Damage(number, offset, "its line has no end", torn=not stream.read(1))
    own, _, body = line[:-1].partition(b" ")
    stated, _, plain = body.partition(b" ")
    if chain(before, body).hex().encode() != own:
        raise Damage(number, offset, _why(stated, number))
    return Entry(number, offset, bytes.fromhex(own.decode()), body, _decoded(stated, plain, number, offset))


def _why(stated: bytes, number: int) -> str:
    """What a wrong hash means, by the number that stands there."""
    if stated.isdigit() and int(stated[:20]) != number:
        return f"entry {int(stated[:20])} stands in its place: removed, or in another order"
    return "its content or the one before it was changed"


def _decoded(stated: bytes, plain: bytes, number: int, offset: int) -> dict[str, Any]:
    """Of an entry whose hash is right: what is wrong here was written wrong."""
    try:
        found = json.loads(plain)
    except (ValueError, RecursionError):
        found = None
    if stated != b"%d" % number or not isinstance(found, dict) or found.get("kind") not in KINDS:
        raise Damage(number, offset, "it is no entry of this format")
    if (number == 0) != (found["kind"] == HEAD):
        raise Damage(number, offset, "a head belongs at the begin of a file, and only there")
    return found


@dataclass(slots=True)
class Tail:
    """Where a segment ends, as far as it is whole."""

    head: dict[str, Any]
    count: int
    size: int
    hash: bytes
    tree: Tree
    stamp: int
    sealed: bool
    damage: Damage | None


def read_tail(path: Path) -> Tail:
    """Reads a segment through. Raises Damage when not even its head is whole."""
    tail = Tail({}, 0, 0, START, Tree(), 0, False, None)
    with path.open("rb") as stream:
        try:
            for entry in entries(stream):
                _take(tail, entry)
        except Damage as damage:
            if not tail.count:
                raise
            tail.damage = damage
    return tail


def _take(tail: Tail, entry: Entry) -> None:
    if not entry.number:
        tail.head = entry.plain
    tail.count += 1
    tail.size = end_of(entry)
    tail.hash = entry.hash
    tail.tree.add(entry.body)
    tail.stamp = max(tail.stamp, int(entry.plain.get("ts", 0)))
    tail.sealed = entry.kind == SEAL


def file_name(stream: str, segment: int) -> str:
    return f"{stream}.{segment:08d}{SUFFIX}"


def segments_in(directory: Path) -> dict[str, dict[int, Path]]:
    """Stream -> segment number -> file, in order."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        stream, _, number = path.name.removesuffix(SUFFIX).rpartition(".")
        if stream and number.isdigit():
            found.setdefault(stream, {})[int(number)] = path
    return found
