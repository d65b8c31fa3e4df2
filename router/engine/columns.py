"""From what servers say of their columns to how their values are compared.

Types: MYSQL_TYPE_* of field_types.h, as column definitions carry them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from router.engine.collations import NO_PAD, UnknownCollation, space_weight
from router.engine.recipe import Key
from router.errors import refusal

BINARY_CHARSET = 63
TINY, SHORT, LONG, FLOAT, DOUBLE, NULL, TIMESTAMP, LONGLONG, INT24, DATE, TIME, DATETIME, YEAR = range(1, 14)
BIT, JSON, DECIMAL, ENUM, SET, GEOMETRY, VECTOR = 16, 245, 246, 247, 248, 255, 242
STRINGS = frozenset({15, 249, 250, 251, 252, 253, 254})
INTEGERS = frozenset({TINY, SHORT, LONG, LONGLONG, INT24, YEAR})
_ENUM_FLAG, _SET_FLAG = 256, 2048

Part = tuple[int, str, bool, bytes]
"""(column, kind, descending, weight of a space): what `_speedups.rows.Encoder` takes."""


class Column(NamedTuple):
    """What a column definition says of the values. `flags`: UNSIGNED and its kin are in it; `length`: in bytes of the
    answer's character set."""

    name: str
    type: int
    charset: int
    flags: int
    decimals: int
    length: int = 0

    @property
    def unsigned(self) -> bool:
        return bool(self.flags & 32)

    @property
    def is_whole(self) -> bool:
        """A whole number."""
        return self.type in INTEGERS

    @property
    def is_number(self) -> bool:
        return self.is_whole or self.type in (DOUBLE, DECIMAL)

    @property
    def is_text(self) -> bool:
        """A character string, whose comparison is a collation's."""
        return self.type in STRINGS and self.charset != BINARY_CHARSET


def kind_of(column: Column, *, binary: bool) -> str | None:
    """How values of this type are ordered without helpers; None: not by themselves."""
    if column.flags & (_ENUM_FLAG | _SET_FLAG):
        return None
    if column.type in INTEGERS:
        return "uint" if column.unsigned or column.type == YEAR else "int"
    if column.type == FLOAT:
        return "float" if binary else None  # its text is rounded
    if column.type == TIMESTAMP:
        return None  # its text is of a time zone, in which an hour may come twice
    return _KINDS.get(column.type) or ("bytes" if column.type in STRINGS and not column.is_text else None)


_KINDS = {
    DOUBLE: "double", DECIMAL: "decimal", DATE: "temporal", DATETIME: "temporal", TIME: "time", BIT: "bytes",
    NULL: "bytes",
}  # fmt: skip


def parts_of(
    keys: Sequence[Key], columns: Sequence[Column], first: int, collations: Sequence[str | None], *, binary: bool
) -> list[Part]:
    """The keys' parts. `first`: where helpers begin; `collations`: of 'auto' keys, in their order, as rows say.

    Raises Refusal for values that cannot be compared outside of a server.
    """
    found: list[Part] = []
    told = iter(collations)
    for key in keys:
        collation = next(told) if key.form == "auto" else key.collation
        found.append(_part(key, columns, first + key.helper, collation, binary=binary))
    return found


def _part(key: Key, columns: Sequence[Column], at: int, collation: str | None, *, binary: bool) -> Part:
    if key.form == "weights" or (key.form == "auto" and columns[at].is_text):
        pad = _space(collation)
        return (at if key.form == "weights" else at + 1, "padded" if pad else "bytes", key.descending, pad)
    kind = kind_of(columns[at], binary=binary)
    if kind is None:
        raise refusal("MERGE_TYPE", columns[at].name)
    return (at, kind, key.descending, NO_PAD)


def _space(collation: str | None) -> bytes:
    try:
        return space_weight(collation or "binary")
    except UnknownCollation:
        raise refusal("MERGE_COLLATION", collation or "") from None
