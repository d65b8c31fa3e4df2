"""What a command with query attributes says, and how it is laid out for one who knows of none: a plain reference.

Pages: "COM_QUERY" and "COM_STMT_EXECUTE" of MySQL's protocol documentation; what servers take beyond them was tried on
MySQL 9.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

EXECUTE_HEAD = 10
COUNTED = 8
FIXED = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 8: 8}
MOMENTS = {7: (0, 4, 7, 11, 13), 10: (0, 4), 11: (0, 8, 12), 12: (0, 4, 7, 11, 13)}
BOOL = 244


class Malformed(Exception):
    """The packet cannot be read."""


class Parameter(NamedTuple):
    """`value`: as in the packet, with its length; None for NULL."""

    type: bytes
    name: bytes
    value: bytes | None


@dataclass
class Reader:
    data: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise Malformed
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self) -> int:
        head = self.take(1)[0]
        if head in (0xFB, 0xFF):
            raise Malformed
        return head if head < 0xFB else int.from_bytes(self.take({0xFC: 2, 0xFD: 3, 0xFE: 8}[head]), "little")

    def value(self, kind: int) -> bytes:
        start = self.at
        if kind == BOOL:
            raise Malformed
        size = FIXED[kind] if kind in FIXED else self.number()
        if size not in MOMENTS.get(kind, (size,)):
            raise Malformed
        self.take(size)
        return self.data[start : self.at]

    @property
    def rest(self) -> bytes:
        return self.data[self.at :]


def number(value: int) -> bytes:
    return bytes([value]) if value < 0xFB else b"\xfc" + value.to_bytes(2, "little")


def named(reader: Reader, count: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The null bitmap, and types with names, of so many parameters."""
    if count > 0xFFFF:
        raise Malformed
    nulls = reader.take((count + 7) // 8)
    if reader.take(1) != b"\1":
        raise Malformed
    return nulls, [(reader.take(2), reader.take(reader.number())) for _ in range(count)]


def parameters(reader: Reader, count: int) -> list[Parameter]:
    """The parameters behind their count, all of them with names."""
    nulls, heads = named(reader, count)
    absent = [nulls[index // 8] >> index % 8 & 1 for index in range(count)]
    values = [None if absent[index] else reader.value(kind[0]) for index, (kind, _) in enumerate(heads)]
    return [Parameter(*head, value) for head, value in zip(heads, values, strict=True)]


def laid_out(parameters: list[Parameter], names: bool) -> bytes:
    """Null bitmap, types and values."""
    if not parameters:
        return b""
    nulls = bytearray((len(parameters) + 7) // 8)
    for index, one in enumerate(parameters):
        nulls[index // 8] |= (one.value is None) << index % 8
    types = b"".join(one.type + (number(len(one.name)) + one.name if names else b"") for one in parameters)
    return bytes(nulls) + b"\1" + types + b"".join(one.value or b"" for one in parameters)


def query(payload: bytes) -> tuple[bytes, bytes]:
    """A COM_QUERY's payload -> as it is for a server without query attributes, and for one with. Raises Malformed."""
    reader = Reader(payload, 1)
    count, sets = reader.number(), reader.number()
    if sets != 1:
        raise Malformed
    given = parameters(reader, count) if count else []
    return b"\3" + reader.rest, b"\3" + number(count) + b"\1" + laid_out(given, names=True) + reader.rest


def execute(payload: bytes, nparams: int) -> tuple[bytes, bytes]:
    """The same of a COM_STMT_EXECUTE that has the types. Names of the statement's own parameters are not passed on."""
    reader = Reader(payload, EXECUTE_HEAD)
    head, counted = payload[:EXECUTE_HEAD], payload[5] & COUNTED
    bare = head[:5] + bytes([head[5] & ~COUNTED]) + head[6:]
    if not nparams and not counted:
        return bare, bare
    count = reader.number()
    if count < nparams:
        raise Malformed
    if count == nparams:
        return _own(reader, bare, count)
    given = parameters(reader, count)
    own = [one._replace(name=b"") for one in given[:nparams]]
    marked = head[:5] + bytes([head[5] | COUNTED]) + head[6:]
    return bare + laid_out(own, names=False), marked + number(count) + laid_out(own + given[nparams:], names=True)


def _own(reader: Reader, bare: bytes, count: int) -> tuple[bytes, bytes]:
    """Without attributes: values are the server's to judge."""
    if not count:
        return bare, bare
    nulls, heads = named(reader, count)
    nulls = nulls[:-1] + bytes([nulls[-1] & 0xFF >> -count % 8])
    marked = bare[:5] + bytes([bare[5] | COUNTED]) + bare[6:]
    types, names = (b"".join(kind + end for kind, _ in heads) for end in (b"", b"\0"))
    return bare + nulls + b"\1" + types + reader.rest, marked + number(count) + nulls + b"\1" + names + reader.rest
