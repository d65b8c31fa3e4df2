"""Result sets answered by the proxy itself: column definitions, text rows, binary rows.

Sizes are the caller's to bound: the whole answer is built in memory.
"""

import datetime
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Self

from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.collations import BINARY, UTF8MB4_GENERAL_CI
from proxy.mysql.constants.field_types import ColumnFlag, FieldType
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import EOF_HEAD, EofPacket, OkPacket
from proxy.mysql.wire import Reader, frame_all, lenenc_bytes, lenenc_int

Value = None | bytes | str | int | float | Decimal | datetime.date | datetime.datetime | datetime.timedelta

_NULL: Final = b"\xfb"
_FIXED_FIELDS_SIZE: Final = 0x0C


@dataclass(frozen=True, slots=True)
class ColumnDefinition41:
    """One column's metadata. `length` is in bytes of the column's character set."""

    name: str
    type: FieldType = FieldType.VAR_STRING
    collation: int = UTF8MB4_GENERAL_CI
    length: int = 1024
    flags: ColumnFlag = ColumnFlag.NONE
    decimals: int = 0
    org_name: str = ""
    table: str = ""
    org_table: str = ""
    schema: str = ""

    @classmethod
    def string(cls, name: str, characters: int = 256) -> Self:
        """A utf8mb4 column of up to so many characters."""
        return cls(name, FieldType.VAR_STRING, UTF8MB4_GENERAL_CI, characters * 4, decimals=31)

    @classmethod
    def integer(cls, name: str, *, unsigned: bool = False) -> Self:
        """A BIGINT column."""
        flags = ColumnFlag.NOT_NULL | ColumnFlag.BINARY | ColumnFlag.NUM
        if unsigned:
            flags |= ColumnFlag.UNSIGNED
        return cls(name, FieldType.LONGLONG, BINARY, 20, flags)

    @classmethod
    def double(cls, name: str) -> Self:
        """A DOUBLE column."""
        return cls(name, FieldType.DOUBLE, BINARY, 22, ColumnFlag.BINARY | ColumnFlag.NUM, decimals=31)

    def build(self) -> bytes:
        """The payload."""
        names = ("def", self.schema, self.table, self.org_table, self.name, self.org_name)
        return (
            b"".join(lenenc_bytes(name.encode()) for name in names)
            + lenenc_int(_FIXED_FIELDS_SIZE)
            + self.collation.to_bytes(2, "little")
            + self.length.to_bytes(4, "little")
            + int(self.type).to_bytes(1, "little")
            + int(self.flags).to_bytes(2, "little")
            + self.decimals.to_bytes(1, "little")
            + b"\0\0"
        )

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Names decode as UTF-8 with replacement; an unknown type counts as a string."""
        reader = Reader(payload)
        names = [reader.lenenc_bytes().decode("utf-8", "replace") for _ in range(6)]
        fixed = Reader(reader.lenenc_bytes())
        collation, length, kind = fixed.uint(2), fixed.uint(4), fixed.uint(1)
        flags, decimals = fixed.uint(2), fixed.uint(1)
        return cls(
            name=names[4],
            type=FieldType(kind) if kind in _KNOWN_TYPES else FieldType.VAR_STRING,
            collation=collation,
            length=length,
            flags=ColumnFlag(flags),
            decimals=decimals,
            org_name=names[5],
            table=names[2],
            org_table=names[3],
            schema=names[1],
        )


_KNOWN_TYPES: Final = frozenset(int(kind) for kind in FieldType)


def text_row(row: Sequence[Value]) -> bytes:
    """One row of COM_QUERY's answer."""
    return b"".join(_NULL if value is None else lenenc_bytes(_text(value)) for value in row)


def parse_text_row(payload: bytes) -> list[bytes | None]:
    """The values of one text row, None for NULL."""
    reader = Reader(payload)
    values: list[bytes | None] = []
    while reader.remaining:
        values.append(reader.lenenc_bytes_or_null())
    return values


def binary_row(columns: Sequence[ColumnDefinition41], row: Sequence[Value]) -> bytes:
    """One row of COM_STMT_EXECUTE's answer; values follow the columns' types."""
    nulls = bytearray((len(columns) + 9) // 8)
    values = []
    for index, (column, value) in enumerate(zip(columns, row, strict=True)):
        if value is None:
            nulls[(index + 2) // 8] |= 1 << (index + 2) % 8
        else:
            values.append(_binary(column, value))
    return b"\0" + bytes(nulls) + b"".join(values)


def text_resultset(
    columns: Sequence[ColumnDefinition41],
    rows: Iterable[Sequence[Value]],
    capabilities: Capability,
    status: Status,
    *,
    warnings: int = 0,
    sequence: int = 1,
) -> bytes:
    """The whole framed answer to a COM_QUERY; `sequence` is that of the answer's first packet."""
    body = (text_row(row) for row in rows)
    return _resultset(columns, body, capabilities, status, warnings, sequence)


def binary_resultset(
    columns: Sequence[ColumnDefinition41],
    rows: Iterable[Sequence[Value]],
    capabilities: Capability,
    status: Status,
    *,
    warnings: int = 0,
    sequence: int = 1,
) -> bytes:
    """The whole framed answer to a COM_STMT_EXECUTE without a cursor."""
    body = (binary_row(columns, row) for row in rows)
    return _resultset(columns, body, capabilities, status, warnings, sequence)


def _resultset(
    columns: Sequence[ColumnDefinition41],
    rows: Iterable[bytes],
    capabilities: Capability,
    status: Status,
    warnings: int,
    sequence: int,
) -> bytes:
    payloads = [lenenc_int(len(columns)), *(column.build() for column in columns)]
    if capabilities & Capability.DEPRECATE_EOF:
        end = OkPacket(status=status, warnings=warnings, head=EOF_HEAD).build(capabilities)
    else:
        end = EofPacket(warnings, status).build()
        payloads.append(end)
    payloads.extend(rows)
    payloads.append(end)
    return frame_all(payloads, sequence)


def _text(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, float):
        return repr(value).replace("e+", "e").removesuffix(".0").encode("ascii")
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ").encode("ascii")
    if isinstance(value, datetime.timedelta):
        return _time_text(value).encode("ascii")
    return str(value).encode()


def _time_text(value: datetime.timedelta) -> str:
    sign = "-" if value < datetime.timedelta(0) else ""
    value = abs(value)
    hours, seconds = divmod(value.days * 86400 + value.seconds, 3600)
    fraction = f".{value.microseconds:06d}" if value.microseconds else ""
    return f"{sign}{hours:02d}:{seconds // 60:02d}:{seconds % 60:02d}{fraction}"


def _binary(column: ColumnDefinition41, value: Value) -> bytes:
    encode = _BINARY_ENCODERS.get(column.type)
    return lenenc_bytes(_text(value)) if encode is None else encode(value)


def _integer_encoder(size: int) -> Callable[[Value], bytes]:
    mask = (1 << 8 * size) - 1

    def encode(value: Value) -> bytes:
        if not isinstance(value, int):
            raise TypeError(f"{value!r} in an integer column")
        if not -(1 << 8 * size - 1) <= value <= mask:
            raise OverflowError(f"{value} does not fit {size} bytes")
        return (value & mask).to_bytes(size, "little")

    return encode


def _float_encoder(layout: str) -> Callable[[Value], bytes]:
    def encode(value: Value) -> bytes:
        if not isinstance(value, (int, float)):
            raise TypeError(f"{value!r} in a floating-point column")
        return struct.pack(layout, value)

    return encode


def _date_encoder(value: Value) -> bytes:
    """0, 4, 7 or 11 bytes after the length (MySQL "Binary Protocol Value", DATETIME)."""
    if not isinstance(value, datetime.date):
        raise TypeError(f"{value!r} in a date column")
    head = struct.pack("<HBB", value.year, value.month, value.day)
    if not isinstance(value, datetime.datetime):
        return b"\x04" + head
    clock = bytes((value.hour, value.minute, value.second))
    if value.microsecond:
        return b"\x0b" + head + clock + value.microsecond.to_bytes(4, "little")
    return (b"\x07" + head + clock) if any(clock) else b"\x04" + head


def _time_encoder(value: Value) -> bytes:
    """0, 8 or 12 bytes after the length (MySQL "Binary Protocol Value", TIME)."""
    if not isinstance(value, datetime.timedelta):
        raise TypeError(f"{value!r} in a time column")
    if not value:
        return b"\0"
    size = abs(value)
    hours, seconds = divmod(size.seconds, 3600)
    body = struct.pack("<BIBBB", value < datetime.timedelta(0), size.days, hours, seconds // 60, seconds % 60)
    if size.microseconds:
        return b"\x0c" + body + size.microseconds.to_bytes(4, "little")
    return b"\x08" + body


_BINARY_ENCODERS: Final[dict[FieldType, Callable[[Value], bytes]]] = {
    FieldType.TINY: _integer_encoder(1),
    FieldType.SHORT: _integer_encoder(2),
    FieldType.YEAR: _integer_encoder(2),
    FieldType.LONG: _integer_encoder(4),
    FieldType.INT24: _integer_encoder(4),
    FieldType.LONGLONG: _integer_encoder(8),
    FieldType.FLOAT: _float_encoder("<f"),
    FieldType.DOUBLE: _float_encoder("<d"),
    FieldType.DATE: _date_encoder,
    FieldType.DATETIME: _date_encoder,
    FieldType.TIMESTAMP: _date_encoder,
    FieldType.TIME: _time_encoder,
}
