"""A MySQL client that shows everything an answer holds, byte by byte, for comparing two servers.

PyMySQL logs in; from then on the packets are read here. Shares nothing with the proxy's own codec, so that an
error there cannot hide here. Pages: "Client/Server Protocol" of the MySQL internals documentation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymysql.connections import Connection

CLIENT_FOUND_ROWS = 1 << 1
CLIENT_SESSION_TRACK = 1 << 23
CLIENT_DEPRECATE_EOF = 1 << 24

COM_QUIT, COM_INIT_DB, COM_QUERY, COM_FIELD_LIST, COM_STATISTICS, COM_PING = 0x01, 0x02, 0x03, 0x04, 0x09, 0x0E
COM_STMT_PREPARE, COM_STMT_EXECUTE, COM_STMT_SEND_LONG_DATA, COM_STMT_CLOSE, COM_STMT_RESET = range(0x16, 0x1B)
COM_SET_OPTION, COM_STMT_FETCH, COM_RESET_CONNECTION = 0x1B, 0x1C, 0x1F
CURSOR_READ_ONLY = 1

STATUS_IN_TRANSACTION, STATUS_AUTOCOMMIT, STATUS_NO_BACKSLASHES = 1, 2, 512
STATUS_MORE_RESULTS, STATUS_STATE_CHANGED = 8, 0x4000
STATUS_READ_ONLY_TRANSACTION = 8192
STATUS_CURSOR, STATUS_LAST_ROW = 64, 128
COMPARED_STATUS = (
    STATUS_IN_TRANSACTION | STATUS_AUTOCOMMIT | STATUS_NO_BACKSLASHES | STATUS_READ_ONLY_TRANSACTION
    | STATUS_CURSOR | STATUS_LAST_ROW
)  # fmt: skip
"""The rest says which indexes a server chose, which depends on its statistics."""

MAX_PAYLOAD = 0xFFFFFF
TYPE_TINY, TYPE_SHORT, TYPE_LONG, TYPE_FLOAT, TYPE_DOUBLE, TYPE_NULL = 1, 2, 3, 4, 5, 6
TYPE_TIMESTAMP, TYPE_LONGLONG, TYPE_INT24, TYPE_DATE, TYPE_TIME, TYPE_DATETIME, TYPE_YEAR = range(7, 14)
TYPE_NEWDECIMAL, TYPE_BLOB, TYPE_VAR_STRING = 246, 252, 253
UNSIGNED = 0x8000
_FIXED = {
    TYPE_TINY: 1, TYPE_SHORT: 2, TYPE_YEAR: 2, TYPE_LONG: 4, TYPE_INT24: 4, TYPE_LONGLONG: 8, TYPE_FLOAT: 4,
    TYPE_DOUBLE: 8,
}  # fmt: skip
_TEMPORAL = frozenset({TYPE_DATE, TYPE_DATETIME, TYPE_TIMESTAMP, TYPE_TIME})

Cell = bytes | None


@dataclass(frozen=True, slots=True)
class Column:
    """ColumnDefinition41, whole."""

    schema: bytes
    table: bytes
    org_table: bytes
    name: bytes
    org_name: bytes
    charset: int
    length: int
    type: int
    flags: int
    decimals: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command was answered. `kind`: rows, ok, error, or lost (the connection ended)."""

    kind: str
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    affected: int = 0
    insert_id: int = 0
    warnings: int = 0
    status: int = 0
    info: bytes = b""
    errno: int = 0
    sqlstate: str = ""
    message: str = ""

    @property
    def refused(self) -> bool:
        """Did Fairlead itself say no?"""
        return self.kind == "error" and self.message.startswith("FL") and self.message[2:6].isdigit()

    @property
    def value(self) -> Any:
        """The only cell."""
        ((cell,),) = self.rows
        return cell


@dataclass(slots=True)
class Prepared:
    """A server-side statement. `answer`: what PREPARE said, its columns with it."""

    answer: Answer
    id: int = 0
    parameters: tuple[Column, ...] = ()
    types_sent: bytes = b""
    columns: tuple[Column, ...] = ()
    """Of the last execution's answer."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A parameter of a chosen wire type, already encoded."""

    type: int
    data: bytes = field(default=b"")


class Raw:
    """One logged-in connection, command by command."""

    def __init__(self, connection: Connection[Any], *, deprecate_eof: bool = False) -> None:
        self._connection: Any = connection
        self._deprecate_eof = deprecate_eof
        self._sequence = 0
        self.lost = False

    def close(self) -> None:
        self._connection._force_close()

    @property
    def socket(self) -> Any:
        return self._connection._sock

    # --- commands -------------------------------------------------------------------------------------------

    def query(self, sql: str | bytes) -> Answer:
        return self._asked(bytes((COM_QUERY,)) + _bytes(sql), self._result)

    def plain(self, command: int, payload: bytes = b"") -> Answer:
        """A command that is answered by OK, EOF or ERR."""
        return self._asked(bytes((command,)) + payload, self._result)

    def prepare(self, sql: str | bytes) -> Prepared:
        found = Prepared(Answer("lost"))

        def read() -> Answer:
            found.answer = self._prepared(found)
            return found.answer

        found.answer = self._asked(bytes((COM_STMT_PREPARE,)) + _bytes(sql), read)
        return found

    def execute(
        self, statement: Prepared, values: Sequence[Any] = (), *, rebind: bool = True, flags: int = 0
    ) -> Answer:  # fmt: skip
        """`rebind` False: leaves the types out, as drivers do when they have not changed. `flags`: CURSOR_READ_ONLY
        asks for a cursor; an answer of kind rows with STATUS_CURSOR has opened it."""

        def read() -> Answer:
            answer = self._result(binary=True)
            statement.columns = answer.columns
            return answer

        return self._asked(execute_payload(statement, values, rebind, flags), read)

    def fetch(self, statement: Prepared, count: int) -> Answer:
        payload = struct.pack("<BII", COM_STMT_FETCH, statement.id, count)
        return self._asked(payload, lambda: self._rows(statement.columns, binary=True))

    def long_data(self, statement: Prepared, parameter: int, data: bytes) -> None:
        self.send(struct.pack("<BIH", COM_STMT_SEND_LONG_DATA, statement.id, parameter) + data)

    def close_statement(self, statement: Prepared) -> None:
        self.send(struct.pack("<BI", COM_STMT_CLOSE, statement.id))

    def send(self, payload: bytes) -> None:
        """One command, its answer not read."""
        self._sequence = 0
        at = 0
        while True:
            piece = payload[at : at + MAX_PAYLOAD]
            head = len(piece).to_bytes(3, "little") + bytes((self._sequence & 0xFF,))
            self._connection._sock.sendall(head + piece)
            self._sequence += 1
            at += len(piece)
            if len(piece) < MAX_PAYLOAD:
                return

    def expect(self, number: int) -> None:
        """The next packet has this number, whatever was sent."""
        self._sequence = number

    def results(self, sql: str | bytes) -> list[Answer]:
        """All results of a text that has several."""
        found = [self.query(sql)]
        while found[-1].status & STATUS_MORE_RESULTS:
            found.append(self.read_answer())
        return found

    def read_answer(self) -> Answer:
        """The answer to a COM_QUERY that was sent by `send`."""
        try:
            return self._result()
        except (EOFError, OSError):
            self.lost = True
            return Answer("lost")

    def _asked(self, payload: bytes, read: Callable[[], Answer]) -> Answer:
        try:
            self.send(payload)
            return read()
        except (EOFError, OSError):
            self.lost = True
            return Answer("lost")

    # --- answers --------------------------------------------------------------------------------------------

    def _packet(self) -> bytes:
        payload = b""
        while True:
            head = self._take(4)
            size = int.from_bytes(head[:3], "little")
            if head[3] != self._sequence & 0xFF:
                raise AssertionError(f"packet number {head[3]} instead of {self._sequence & 0xFF}")
            self._sequence += 1
            payload += self._take(size)
            if size < MAX_PAYLOAD:
                return payload

    def _take(self, size: int) -> bytes:
        data = bytes(self._connection._rfile.read(size))
        if len(data) < size:
            raise EOFError
        return data

    def _result(self, binary: bool = False) -> Answer:
        first = self._packet()
        if first[0] == 0xFF:
            return _error(first)
        if first[0] == 0x00 or (first[0] == 0xFE and len(first) < 9):
            return _ok(first) if first[0] == 0x00 or len(first) > 5 else _eof(first)
        count, _ = lenenc(first, 0)
        columns = tuple(_column(self._packet()) for _ in range(count or 0))
        if not self._deprecate_eof:
            end = self._end(self._packet())
            if end.status & STATUS_CURSOR and binary:
                return Answer("rows", columns, warnings=end.warnings, status=end.status)
        return self._rows(columns, binary)

    def _rows(self, columns: tuple[Column, ...], binary: bool) -> Answer:
        rows: list[tuple[Cell, ...]] = []
        while True:
            data = self._packet()
            if data[0] == 0xFF:
                return _error(data)
            if data[0] == 0xFE and len(data) < MAX_PAYLOAD and (self._deprecate_eof or len(data) < 9):
                end = self._end(data)
                return Answer("rows", columns, tuple(rows), warnings=end.warnings, status=end.status, info=end.info)
            rows.append(_binary_row(data, columns) if binary else _text_row(data, len(columns)))

    def _end(self, data: bytes) -> Answer:
        if data[0] != 0xFE:
            raise AssertionError(f"the end of a list expected, not {data[:16]!r}")
        return _ok(data) if self._deprecate_eof else _eof(data)

    def _prepared(self, found: Prepared) -> Answer:
        first = self._packet()
        if first[0] == 0xFF:
            return _error(first)
        if len(first) != 12:
            raise AssertionError(f"not the answer to PREPARE: {first!r}")
        found.id, columns, parameters, warnings = struct.unpack("<xIHHxH", first)
        found.parameters = self._definitions(parameters)
        return Answer("ok", self._definitions(columns), warnings=warnings)

    def _definitions(self, count: int) -> tuple[Column, ...]:
        found = tuple(_column(self._packet()) for _ in range(count))
        if count and not self._deprecate_eof:
            self._end(self._packet())
        return found


# --- packets ------------------------------------------------------------------------------------------------


def _bytes(sql: str | bytes) -> bytes:
    return sql.encode() if isinstance(sql, str) else sql


def lenenc(data: bytes, at: int) -> tuple[int | None, int]:
    """(length-encoded integer or None for 0xfb, next offset)"""
    head = data[at]
    if head < 0xFB:
        return head, at + 1
    if head == 0xFB:
        return None, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[head]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def _text(data: bytes, at: int) -> tuple[Cell, int]:
    size, start = lenenc(data, at)
    return (None, start) if size is None else (data[start : start + size], start + size)


def changes(answer: Answer) -> tuple[bytes, list[tuple[int, bytes]]]:
    """What an OK packet says besides its numbers, to a client with CLIENT_SESSION_TRACK: its text, and what has changed
    in the session, as pairs of kind and body."""
    text, at = _text(answer.info, 0) if answer.info else (b"", 0)
    if not answer.status & STATUS_STATE_CHANGED or answer.info == b"":
        return text or b"", []
    block, _ = _text(answer.info, at)
    found, at = [], 0
    while block and at < len(block):
        body, end = _text(block, at + 1)
        found.append((block[at], body or b""))
        at = end
    return text or b"", found


def encoded_length(size: int) -> bytes:
    if size < 0xFB:
        return bytes((size,))
    if size < 1 << 16:
        return b"\xfc" + size.to_bytes(2, "little")
    if size < 1 << 24:
        return b"\xfd" + size.to_bytes(3, "little")
    return b"\xfe" + size.to_bytes(8, "little")


def _ok(data: bytes) -> Answer:
    affected, at = lenenc(data, 1)
    insert_id, at = lenenc(data, at)
    status, warnings = struct.unpack_from("<HH", data, at)
    return Answer(
        "ok", affected=affected or 0, insert_id=insert_id or 0, status=status, warnings=warnings, info=data[at + 4 :]
    )


def _eof(data: bytes) -> Answer:
    warnings, status = struct.unpack_from("<HH", data, 1)
    return Answer("ok", status=status, warnings=warnings)


def _error(data: bytes) -> Answer:
    errno = int.from_bytes(data[1:3], "little")
    if data[3:4] == b"#":
        return Answer("error", errno=errno, sqlstate=data[4:9].decode(), message=data[9:].decode(errors="replace"))
    return Answer("error", errno=errno, message=data[3:].decode(errors="replace"))


def _column(data: bytes) -> Column:
    texts: list[bytes] = []
    at = 0
    for _ in range(6):
        text, at = _text(data, at)
        texts.append(text or b"")
    _, at = lenenc(data, at)
    charset, length, kind, flags, decimals = struct.unpack_from("<HIBHB", data, at)
    return Column(texts[1], texts[2], texts[3], texts[4], texts[5], charset, length, kind, flags, decimals)


def _text_row(data: bytes, count: int) -> tuple[Cell, ...]:
    at, cells = 0, []
    for _ in range(count):
        cell, at = _text(data, at)
        cells.append(cell)
    if at != len(data):
        raise AssertionError("a row longer than its columns")
    return tuple(cells)


def _binary_row(data: bytes, columns: Sequence[Column]) -> tuple[Cell, ...]:
    """The cells' bytes as they are on the wire: equal values have equal bytes."""
    at = 1 + (len(columns) + 9) // 8
    cells: list[Cell] = []
    for index, column in enumerate(columns):
        if data[1 + (index + 2) // 8] >> ((index + 2) % 8) & 1:
            cells.append(None)
        elif column.type in _FIXED:
            cells.append(data[at : at + _FIXED[column.type]])
            at += _FIXED[column.type]
        elif column.type in _TEMPORAL:
            cells.append(data[at + 1 : at + 1 + data[at]])
            at += 1 + data[at]
        else:
            cell, at = _text(data, at)
            cells.append(cell)
    if at != len(data):
        raise AssertionError("a row longer than its columns")
    return tuple(cells)


# --- parameters ---------------------------------------------------------------------------------------------


def typed(value: Any) -> Typed:
    """The usual wire form of a Python value."""
    if isinstance(value, Typed):
        return value
    if value is None:
        return Typed(TYPE_NULL)
    if isinstance(value, bool):
        return Typed(TYPE_TINY, bytes((value,)))
    if isinstance(value, int):
        if value > 2**63 - 1:
            return Typed(TYPE_LONGLONG | UNSIGNED, struct.pack("<Q", value))
        return Typed(TYPE_LONGLONG, struct.pack("<q", value))
    if isinstance(value, float):
        return Typed(TYPE_DOUBLE, struct.pack("<d", value))
    raw = value.encode() if isinstance(value, str) else bytes(value)
    kind = TYPE_VAR_STRING if isinstance(value, str) else TYPE_BLOB
    return Typed(kind, encoded_length(len(raw)) + raw)


def execute_payload(statement: Prepared, values: Sequence[Any], rebind: bool = True, flags: int = 0) -> bytes:
    """COM_STMT_EXECUTE."""
    given = [typed(value) for value in values]
    nulls = bytearray((len(given) + 7) // 8)
    for index, one in enumerate(given):
        if one.type == TYPE_NULL:
            nulls[index // 8] |= 1 << index % 8
    payload = struct.pack("<BIBI", COM_STMT_EXECUTE, statement.id, flags, 1)
    if not given:
        return payload
    types = b"".join(struct.pack("<H", one.type) for one in given)
    rebind = rebind or not statement.types_sent
    statement.types_sent = types
    return payload + bytes(nulls) + (b"\x01" + types if rebind else b"\0") + b"".join(one.data for one in given)
