"""The parameters of COM_STMT_EXECUTE as Python values, for the executions that the relay does not route itself.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html (binary protocol values)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from proxy.mysql.constants.field_types import FieldType
from proxy.mysql.errors import MalformedPacket
from proxy.mysql.wire import Reader, lenenc_int
from router.keys import Value

HEAD = 10
"""Command byte, statement id, flags, iteration count."""

_CODECS = {"utf8mb4": "utf-8", "utf8mb3": "utf-8", "utf8": "utf-8", "ascii": "ascii", "latin1": "cp1252"}
_INTEGERS = {
    FieldType.TINY: 1, FieldType.SHORT: 2, FieldType.YEAR: 2, FieldType.INT24: 4, FieldType.LONG: 4,
    FieldType.LONGLONG: 8,
}  # fmt: skip
_BINARY = frozenset({FieldType.TINY_BLOB, FieldType.BLOB, FieldType.MEDIUM_BLOB, FieldType.LONG_BLOB, FieldType.BIT})


def decode_params(command: bytes, count: int, types: bytes, charset: str) -> list[Value]:
    """The values of a whole COM_STMT_EXECUTE payload. `types`: as last sent, used when the packet has none.

    Raises MalformedPacket.
    """
    if count == 0:
        return []
    reader = Reader(command)
    reader.skip(HEAD)
    nulls = reader.take((count + 7) // 8)
    if reader.uint(1):
        types = reader.take(2 * count)
    if len(types) != 2 * count:
        raise MalformedPacket("parameter types were never sent")
    return [
        None if nulls[index // 8] >> index % 8 & 1 else _value(reader, types[2 * index], types[2 * index + 1], charset)
        for index in range(count)
    ]


def with_types(command: bytes, count: int, types: bytes) -> bytes:
    """The same COM_STMT_EXECUTE with its parameter types in it, for a backend that has never seen them."""
    at = HEAD + (count + 7) // 8
    if count == 0 or command[at] == 1:
        return command
    return command[:at] + b"\x01" + types + command[at + 1 :]


Given = tuple[bytes, bytes | None]
"""A parameter: its type, its bytes; None for NULL."""


def bigint(number: int) -> Given:
    """An unsigned BIGINT."""
    return _BIGINT, number.to_bytes(8, "little")


def blob(data: bytes) -> Given:
    """Bytes without a character set."""
    return _BLOB, lenenc_int(len(data)) + data


def rearranged(payload: bytes, count: int, order: Sequence[int], *others: Given) -> bytes:
    """A COM_STMT_EXECUTE with its types in it, for a statement that has other parameters: `order` says which of the
    `count` ones stands where; -1, -2 … are the first, second … of the `others`."""
    given = _slices(payload, count)
    chosen = [given[at] if at >= 0 else others[-1 - at] for at in order]
    nulls = bytearray((len(order) + 7) // 8)
    for index, (_, data) in enumerate(chosen):
        nulls[index // 8] |= (data is None) << index % 8
    head = payload[:HEAD] + bytes(nulls)
    if not order:
        return head
    return b"".join((head, b"\x01", *(kind for kind, _ in chosen), *(data or b"" for _, data in chosen)))


_BIGINT = bytes((FieldType.LONGLONG, 0x80))
_BLOB = bytes((FieldType.LONG_BLOB, 0))


def _slices(payload: bytes, count: int) -> list[Given]:
    """The type and the bytes of each parameter; None for NULL. Raises MalformedPacket."""
    if count == 0:
        return []
    reader = Reader(payload)
    reader.skip(HEAD)
    nulls = reader.take((count + 7) // 8)
    reader.skip(1)
    kinds = reader.take(2 * count)
    found: list[Given] = []
    for index in range(count):
        kind = kinds[2 * index : 2 * index + 2]
        if nulls[index // 8] >> index % 8 & 1:
            found.append((kind, None))
            continue
        begin = len(payload) - reader.remaining
        _value(reader, kind[0], kind[1], "latin1")
        found.append((kind, payload[begin : len(payload) - reader.remaining]))
    return found


def _value(reader: Reader, kind: int, flags: int, charset: str) -> Value:
    try:
        field = FieldType(kind)
    except ValueError:
        raise MalformedPacket(f"unknown parameter type {kind}") from None
    if field in _INTEGERS:
        return int.from_bytes(reader.take(_INTEGERS[field]), "little", signed=not flags & 0x80)
    if field in _SPECIAL:
        return _SPECIAL[field](reader)
    data = reader.lenenc_bytes()
    return data if field in _BINARY else data.decode(_CODECS.get(charset, "latin-1"), "surrogateescape")


def _float(reader: Reader) -> Value:
    return float(struct.unpack("<f", reader.take(4))[0])


def _double(reader: Reader) -> Value:
    return float(struct.unpack("<d", reader.take(8))[0])


def _temporal(reader: Reader) -> Value:
    """Dates and times are no shard keys: their text is enough to say so."""
    return reader.take(reader.uint(1)).hex()


def _null(reader: Reader) -> Value:
    return None


_SPECIAL: dict[FieldType, Callable[[Reader], Value]] = {
    FieldType.FLOAT: _float,
    FieldType.DOUBLE: _double,
    FieldType.DATE: _temporal,
    FieldType.DATETIME: _temporal,
    FieldType.TIMESTAMP: _temporal,
    FieldType.TIME: _temporal,
    FieldType.NULL: _null,
}
