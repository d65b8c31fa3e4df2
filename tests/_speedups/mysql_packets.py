"""MySQL packets for tests, written from the protocol manual and from nothing of ours.

"Protocol Basics", "OK_Packet", "EOF_Packet", "ERR_Packet", "Text Resultset", "COM_STMT_PREPARE Response" of
https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

FULL = 0xFFFFFF
"""Payload length that says: the next packet continues this one."""

IN_TRANS, AUTOCOMMIT, MORE_RESULTS, STATE_CHANGED = 0x0001, 0x0002, 0x0008, 0x4000

FOUND_ROWS, SESSION_TRACK, DEPRECATE_EOF = 1 << 1, 1 << 23, 1 << 24

QUIT, INIT_DB, QUERY, PING = 0x01, 0x02, 0x03, 0x0E
PREPARE, EXECUTE, LONG_DATA, CLOSE, RESET = 0x16, 0x17, 0x18, 0x19, 0x1A

Packet = tuple[int, bytes]
"""(sequence number, payload)"""


def head(length: int, seq: int) -> bytes:
    return length.to_bytes(3, "little") + bytes([seq & 0xFF])


def frame(payload: bytes, seq: int = 0) -> bytes:
    """The payload in as many packets as it takes."""
    out = bytearray()
    at = 0
    while True:
        part = payload[at : at + FULL]
        out += head(len(part), seq) + part
        at += FULL
        seq += 1
        if len(part) < FULL:
            return bytes(out)


def frames(payloads: Iterable[bytes], seq: int = 1) -> bytes:
    """Consecutive payloads with running sequence numbers."""
    out = bytearray()
    for payload in payloads:
        data = frame(payload, seq)
        seq += len(payload) // FULL + 1
        out += data
    return bytes(out)


def split(data: bytes) -> tuple[list[Packet], bytes]:
    """The whole packets at the start of `data`, and the rest. A payload of several packets comes as several."""
    found: list[Packet] = []
    at = 0
    while len(data) - at >= 4:
        length = int.from_bytes(data[at : at + 3], "little")
        if len(data) - at - 4 < length:
            break
        found.append((data[at + 3], bytes(data[at + 4 : at + 4 + length])))
        at += 4 + length
    return found, bytes(data[at:])


def lenenc(value: int) -> bytes:
    if value < 0xFB:
        return bytes([value])
    for mark, width in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        if value < 1 << (8 * width):
            return bytes([mark]) + value.to_bytes(width, "little")
    raise ValueError(value)


def text(value: bytes | None) -> bytes:
    return b"\xfb" if value is None else lenenc(len(value)) + value


def track(*entries: tuple[int, bytes]) -> bytes:
    """Session state changes of (type, data)."""
    return b"".join(bytes([kind]) + text(data) for kind, data in entries)


def variable(name: bytes, value: bytes) -> tuple[int, bytes]:
    return 0, text(name) + text(value)


def ok(
    *, affected: int = 0, insert_id: int = 0, status: int = AUTOCOMMIT, warnings: int = 0, info: bytes = b"",
    state: bytes | None = None, mark: int = 0x00, tracking: bool = True,
) -> bytes:  # fmt: skip
    """Payload of an OK packet as a server with CLIENT_SESSION_TRACK (`tracking`) sends it."""
    out = bytes([mark]) + lenenc(affected) + lenenc(insert_id)
    if state is not None:
        status |= STATE_CHANGED
    out += status.to_bytes(2, "little") + warnings.to_bytes(2, "little")
    if state is not None:
        return out + text(info) + text(state)
    return out + (text(info) if info else b"") if tracking else out + info


def eof(*, status: int = AUTOCOMMIT, warnings: int = 0) -> bytes:
    return b"\xfe" + warnings.to_bytes(2, "little") + status.to_bytes(2, "little")


def err(code: int, message: bytes, state: bytes = b"HY000") -> bytes:
    return b"\xff" + code.to_bytes(2, "little") + b"#" + state + message


def column(name: bytes) -> bytes:
    """Column definition of a text column."""
    names = [b"def", b"", b"t", b"t", name, name]
    tail = (45).to_bytes(2, "little") + (255).to_bytes(4, "little") + b"\xfd\x00\x00\x00\x00\x00"
    return b"".join(text(one) for one in names) + b"\x0c" + tail


def row(values: Sequence[bytes | None]) -> bytes:
    return b"".join(text(value) for value in values)


def end_of_rows(
    deprecate_eof: bool, *, status: int = AUTOCOMMIT, warnings: int = 0, state: bytes | None = None
) -> bytes:
    """What follows the last row."""
    if deprecate_eof:
        return ok(status=status, warnings=warnings, state=state, mark=0xFE)
    return eof(status=status, warnings=warnings)


def result_payloads(
    columns: Sequence[bytes], rows: Iterable[Sequence[bytes | None]], deprecate_eof: bool, *,
    status: int = AUTOCOMMIT, warnings: int = 0, state: bytes | None = None,
) -> list[bytes]:  # fmt: skip
    """A text result set, payload by payload."""
    out = [lenenc(len(columns)), *(column(name) for name in columns)]
    if not deprecate_eof:
        out.append(eof(status=status))
    out += [row(values) for values in rows]
    return [*out, end_of_rows(deprecate_eof, status=status, warnings=warnings, state=state)]


def result(
    columns: Sequence[bytes], rows: Iterable[Sequence[bytes | None]], deprecate_eof: bool = True, *,
    status: int = AUTOCOMMIT, warnings: int = 0, state: bytes | None = None, seq: int = 1,
) -> bytes:  # fmt: skip
    """A text result set, framed."""
    payloads = result_payloads(columns, rows, deprecate_eof, status=status, warnings=warnings, state=state)
    return frames(payloads, seq)


def prepare_payloads(statement: int, params: int, columns: int, deprecate_eof: bool, warnings: int = 0) -> list[bytes]:
    """The answer to COM_STMT_PREPARE, payload by payload."""
    first = b"\x00" + statement.to_bytes(4, "little") + columns.to_bytes(2, "little") + params.to_bytes(2, "little")
    out = [first + b"\x00" + warnings.to_bytes(2, "little")]
    for count, name in ((params, b"?"), (columns, b"c")):
        if count:
            out += [column(name)] * count
            if not deprecate_eof:
                out.append(eof())
    return out


def prepared(statement: int, params: int = 0, columns: int = 0, deprecate_eof: bool = True) -> bytes:
    return frames(prepare_payloads(statement, params, columns, deprecate_eof))


def execute(
    statement: int, types: Sequence[tuple[int, int]] | None, values: Sequence[bytes | None], flags: int = 0
) -> bytes:
    """COM_STMT_EXECUTE. `types`: (type, flags) a parameter, None: not sent again. None among the values is NULL."""
    out = bytearray([EXECUTE]) + statement.to_bytes(4, "little") + bytes([flags]) + (1).to_bytes(4, "little")
    if not values:
        return bytes(out)
    nulls = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        if value is None:
            nulls[index >> 3] |= 1 << (index & 7)
    out += nulls
    out += b"\x00" if types is None else b"\x01" + b"".join(bytes(pair) for pair in types)
    return bytes(out + b"".join(value for value in values if value is not None))


def long_data(statement: int, param: int, data: bytes) -> bytes:
    return bytes([LONG_DATA]) + statement.to_bytes(4, "little") + param.to_bytes(2, "little") + data


def statement_close(statement: int) -> bytes:
    return bytes([CLOSE]) + statement.to_bytes(4, "little")
