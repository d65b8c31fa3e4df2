"""Where a MySQL response ends and what it said, packet by packet in plain Python.

Written from the protocol manual ("Text Resultset", "OK_Packet", "EOF_Packet", "ERR_Packet", "COM_STMT_PREPARE
Response"), for comparison with `_speedups.scanner`. It looks at a prefix of the response as a whole and keeps no
state between calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

QUERY, PREPARE, PLAIN_OK, CURSOR, ROWS = range(5)
FULL = 0xFFFFFF
MORE_RESULTS, CURSOR_EXISTS, STATE_CHANGED = 0x0008, 0x0040, 0x4000


class Malformed(Exception):
    """No server says this."""


@dataclass
class Answer:
    """What is known after some bytes. `passed`: bytes that may be forwarded."""

    passed: int = 0
    complete: bool = False
    facts: dict[str, int | str] = field(
        default_factory=lambda: {
            "outcome": "none", "status": 0, "warnings": 0, "errno": 0, "affected": 0, "insert_id": 0, "rows": 0,
            "seq": 0, "stmt_id": 0, "stmt_columns": 0, "stmt_params": 0,
        }
    )  # fmt: skip


class _Cut(Exception):
    """The prefix ends here."""


class _Reader:
    """The packets of a prefix, one after the other."""

    def __init__(self, data: bytes, answer: Answer) -> None:
        self.data = data
        self.at = 0
        self.answer = answer

    def whole(self) -> bytes:
        """A packet that decides something: passed only when it is all there."""
        length = self._length(4)
        if length in (0, FULL):
            raise Malformed("the length of a packet that decides")
        if len(self.data) - self.at < 4 + length:
            raise _Cut
        payload = self.data[self.at + 4 : self.at + 4 + length]
        self._pass(4 + length)
        return payload

    def peek(self) -> tuple[int, int]:
        """Length and first byte of the next packet."""
        length = self._length(4)
        if length == 0:
            raise Malformed("an empty packet")
        self._length(5)
        return length, self.data[self.at + 4]

    def skip(self) -> None:
        """A packet that only passes by, however little of it is there, with those that continue it."""
        while True:
            length = self._length(4)
            here = min(4 + length, len(self.data) - self.at)
            self._pass(here)
            if here < 4 + length:
                raise _Cut
            if length < FULL:
                return

    def _length(self, needed: int) -> int:
        if len(self.data) - self.at < needed:
            raise _Cut
        return int.from_bytes(self.data[self.at : self.at + 3], "little")

    def _pass(self, size: int) -> None:
        self.answer.facts["seq"] = self.data[self.at + 3]
        self.at += size
        self.answer.passed = self.at


def lenenc(data: bytes, at: int) -> tuple[int, int]:
    """-> (value, position behind it)"""
    if at >= len(data):
        raise Malformed("a number is cut")
    if data[at] < 0xFB:
        return data[at], at + 1
    width = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(data[at], 0)
    if width == 0 or len(data) - at - 1 < width:
        raise Malformed("not a number")
    return int.from_bytes(data[at + 1 : at + 1 + width], "little"), at + 1 + width


def look(data: bytes, expect: int = QUERY, deprecate_eof: bool = True, session_track: bool = False) -> Answer:
    """What `data`, the beginning of a response, says. Raises Malformed."""
    answer = Answer()
    try:
        for _ in _results(_Reader(data, answer), expect, deprecate_eof, session_track):
            pass
        answer.complete = True
    except _Cut:
        pass
    return answer


def _results(reader: _Reader, expect: int, deprecate_eof: bool, track: bool) -> Iterator[None]:
    facts = reader.answer.facts
    if expect == ROWS:
        facts["outcome"] = "rows"
        if not _until_end(reader, deprecate_eof, track) or not int(facts["status"]) & MORE_RESULTS:
            return None
        yield
    while True:
        first = reader.whole()
        if first[0] == 0xFF:
            return _err(facts, first)
        if expect == PREPARE:
            return _prepared(reader, first, deprecate_eof)
        if first[0] == 0x00:
            _ok(facts, first, track)
            facts["outcome"] = "ok"
        elif expect == PLAIN_OK or first[0] == 0xFB:
            raise Malformed("neither OK nor ERR")
        else:
            columns, _ = lenenc(first, 0)
            if not 0 < columns <= 0xFFFF:
                raise Malformed("number of columns")
            facts["outcome"] = "rows"
            if not _rows(reader, columns, deprecate_eof, track, expect == CURSOR):
                return None
        if not int(facts["status"]) & MORE_RESULTS:
            return None
        yield


def _rows(reader: _Reader, columns: int, deprecate_eof: bool, track: bool, cursor: bool) -> bool:
    """A result set behind its column count. False when it ended in an error."""
    facts = reader.answer.facts
    for _ in range(columns):
        if reader.peek()[1] == 0xFF:
            _err(facts, reader.whole())
            return False
        reader.skip()
    if not deprecate_eof:
        end = reader.whole()
        if end[0] == 0xFF:
            _err(facts, end)
            return False
        if end[0] != 0xFE:
            raise Malformed("no EOF behind the columns")
        _eof(facts, end)
        if cursor and int(facts["status"]) & CURSOR_EXISTS:
            return True
    return _until_end(reader, deprecate_eof, track)


def _until_end(reader: _Reader, deprecate_eof: bool, track: bool) -> bool:
    facts = reader.answer.facts
    while True:
        length, mark = reader.peek()
        if mark == 0xFF:
            _err(facts, reader.whole())
            return False
        if mark == 0xFE and length < (FULL if deprecate_eof else 9):
            end = reader.whole()
            if deprecate_eof:
                _ok(facts, end, track)
            else:
                _eof(facts, end)
            return True
        facts["rows"] = int(facts["rows"]) + 1
        reader.skip()


def _prepared(reader: _Reader, first: bytes, deprecate_eof: bool) -> None:
    facts = reader.answer.facts
    if first[0] != 0x00 or len(first) < 12:
        raise Malformed("not an answer to PREPARE")
    facts["outcome"] = "prepared"
    facts["stmt_id"] = int.from_bytes(first[1:5], "little")
    facts["stmt_columns"] = int.from_bytes(first[5:7], "little")
    facts["stmt_params"] = int.from_bytes(first[7:9], "little")
    facts["warnings"] = int.from_bytes(first[10:12], "little")
    for name in ("stmt_params", "stmt_columns"):
        count = int(facts[name])
        for _ in range(count + (count > 0 and not deprecate_eof)):
            if reader.peek()[1] == 0xFF:
                return _err(facts, reader.whole())
            reader.skip()
    return None


def _ok(facts: dict[str, int | str], payload: bytes, track: bool) -> None:
    facts["affected"], at = lenenc(payload, 1)
    insert_id, at = lenenc(payload, at)
    if len(payload) - at < 4:
        raise Malformed("a short OK packet")
    if insert_id:
        facts["insert_id"] = insert_id
    status = facts["status"] = int.from_bytes(payload[at : at + 2], "little")
    facts["warnings"] = int.from_bytes(payload[at + 2 : at + 4], "little")
    if track and status & STATE_CHANGED:
        at += 4
        for _ in ("info", "state"):
            length, at = lenenc(payload, at)
            if len(payload) - at < length:
                raise Malformed("a string is cut")
            at += length


def _eof(facts: dict[str, int | str], payload: bytes) -> None:
    if len(payload) < 5:
        raise Malformed("a short EOF packet")
    facts["warnings"] = int.from_bytes(payload[1:3], "little")
    facts["status"] = int.from_bytes(payload[3:5], "little")


def _err(facts: dict[str, int | str], payload: bytes) -> None:
    if len(payload) < 3:
        raise Malformed("a short ERR packet")
    facts["errno"] = int.from_bytes(payload[1:3], "little")
    facts["outcome"] = "err"
