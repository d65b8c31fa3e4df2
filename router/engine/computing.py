"""Columns of whole groups that a server computes: one statement about the groups' values, without any table.

    SELECT expression, … FROM JSON_TABLE(CONVERT(… USING utf8mb4), '$[*]' COLUMNS (…)) AS groups

The values come as texts in JSON and are cast to their columns' types, so that the expressions mean what they mean
inside of a server that has all rows. JSON_TABLE: MySQL Reference Manual 14.17.6, MariaDB from 10.6.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from _speedups.rows import decimal_text, divided, double_text
from router.engine.columns import (
    DATE,
    DATETIME,
    DECIMAL,
    DOUBLE,
    INTEGERS,
    NULL,
    STRINGS,
    TIME,
    TIMESTAMP,
    YEAR,
    Column,
)  # fmt: skip
from router.engine.recipe import Mean, Operand, Piece, Source, Term
from router.engine.typed import Typed
from router.errors import refusal

Cell = bytes | None
NAME = "fairlead_{}"
"""Of an operand's column; statements that are planned may use such names, those over JSON_TABLE hold no other names."""
_ENUM, _SET, _ZEROFILL = 256, 2048, 64
_UTF8 = range(224, 248)
_UTF8MB4 = frozenset({45, 46, *_UTF8, *range(255, 324), *range(2304, 3072)})
_ASCII = frozenset({11, 65})
DEFAULT_COLLATION = "utf8mb4_bin"
LONGEST = 4000
"""Characters of a VARCHAR here; longer ones are LONGTEXT."""


class Value(Protocol):
    """How a source is sent and read: `declared` in JSON_TABLE, `reference` in the expressions."""

    @property
    def declared(self) -> str: ...
    @property
    def reference(self) -> str: ...
    def text(self, cells: Sequence[Cell], *, binary: bool) -> str | None:
        """A row's value as JSON holds it. Raises ValueError for what its column cannot hold."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """The value of the column at `at`."""

    at: int
    column: Column
    declared: str
    reference: str

    def text(self, cells: Sequence[Cell], *, binary: bool) -> str | None:
        cell = cells[self.at]
        if cell is None:
            return None
        if self.column.type in STRINGS:
            return cell.decode("utf-8") if self.column.is_text else cell.hex()
        return written(cell, self.column) if binary else cell.decode("ascii")


@dataclass(frozen=True, slots=True)
class Quotient:
    """A sum by a count, cut behind as many digits as MySQL has of it: whole groups of nine (decimal.cc: do_div_mod).
    `increment`: div_precision_increment of the session."""

    total: Plain
    count: Plain
    name: str
    increment: int

    @property
    def _digits(self) -> int:
        scale = self.total.column.decimals
        held = -(-scale // 9) * 9
        return held + -(-max(0, self.increment - (held - scale)) // 9) * 9

    @property
    def declared(self) -> str:
        return _declared(self.name, 100, DEFAULT_COLLATION)

    @property
    def reference(self) -> str:
        real = self.total.column.type == DOUBLE
        return f"CAST({self.name} AS {'DOUBLE' if real else f'DECIMAL(65, {self._digits})'})"

    def text(self, cells: Sequence[Cell], *, binary: bool) -> str | None:
        total, count = (one.text(cells, binary=binary) for one in (self.total, self.count))
        if total is None or count in (None, "0"):
            return None
        if self.total.column.type == DOUBLE:
            return repr(float(total) / float(count or 0))
        digits = self._digits
        whole = int(total.replace(".", "")) * 10 ** (digits - self.total.column.decimals)
        cut = abs(whole) // int(count or 0)
        return decimal_text(-cut if whole < 0 else cut, digits).decode()


def value_of(source: Source, number: int, typed: Typed) -> Value:
    """Raises Refusal for values that cannot be sent as they are."""
    name = NAME.format(number)
    if isinstance(source, Operand):
        return _plain(source, name, typed)
    total, count = _plain(source.total, name, typed), _plain(source.count, name, typed)
    increment = typed.columns[typed.visible + source.shown].decimals - total.column.decimals
    return Quotient(total, count, name, increment)


def _plain(operand: Operand, name: str, typed: Typed) -> Plain:
    at = typed.visible + operand.helper
    column = typed.columns[at]
    if column.flags & (_ENUM | _SET | _ZEROFILL):
        raise refusal("MERGE_TYPE", column.name)
    if column.type in STRINGS and column.is_text:
        if column.charset not in _UTF8MB4 | _ASCII:
            raise refusal("MERGE_COLLATION", "that is not sent as utf8mb4")
        key = operand.key
        known = typed.collations.get(key.helper) if key is not None and key.form == "auto" else key and key.collation
        return Plain(at, column, _text(name, column, known or DEFAULT_COLLATION), name)
    longest = column.length if column.type in STRINGS else 50
    return Plain(at, column, _declared(name, 2 * longest, DEFAULT_COLLATION), _cast(name, column))


def _text(name: str, column: Column, collation: str) -> str:
    if not collation.startswith("utf8mb4_"):
        raise refusal("MERGE_COLLATION", collation)
    return _declared(name, column.length // (4 if column.charset in _UTF8MB4 else 1), collation)


def _declared(name: str, characters: int, collation: str) -> str:
    kind = f"VARCHAR({max(characters, 1)})" if characters <= LONGEST else "LONGTEXT"
    return f"{name} {kind} CHARACTER SET utf8mb4 COLLATE {collation}"


def _cast(name: str, column: Column) -> str:
    if column.type in INTEGERS and column.type != YEAR:
        return f"CAST({name} AS {'UNSIGNED' if column.unsigned else 'SIGNED'})"
    if column.type == DECIMAL:
        digits = column.length - (column.decimals > 0) - (not column.unsigned)
        return f"CAST({name} AS DECIMAL({min(65, max(digits, column.decimals, 1))}, {column.decimals}))"
    if column.type == DOUBLE and column.decimals >= 31:
        return f"CAST({name} AS DOUBLE)"
    if column.type in STRINGS:
        return f"UNHEX({name})"
    if column.type == DATE:
        return f"CAST({name} AS DATE)"
    if column.type in (TIME, DATETIME):
        return f"CAST({name} AS {'TIME' if column.type == TIME else 'DATETIME'}({min(column.decimals, 6)}))"
    if column.type == NULL:
        return "NULL"
    raise refusal("MERGE_TYPE", column.name)


def written(cell: bytes, column: Column) -> str:
    """A value of the binary protocol as the text protocol has it."""
    if column.type in INTEGERS:
        return str(int.from_bytes(cell, "little", signed=not column.unsigned))
    if column.type == DOUBLE:
        return double_text(struct.unpack("<d", cell)[0], column.decimals).decode()
    if column.type in (DATE, DATETIME, TIMESTAMP):
        return _moment(cell, column)
    if column.type == TIME:
        return _duration(cell)
    return cell.decode("ascii")


def _moment(cell: bytes, column: Column) -> str:
    whole = cell.ljust(11, b"\0")
    year, month, day, hour, minute, second, micro = struct.unpack("<HBBBBBI", whole)
    date = f"{year:04}-{month:02}-{day:02}"
    return date if column.type == DATE else f"{date} {hour:02}:{minute:02}:{second:02}.{micro:06}"


def _duration(cell: bytes) -> str:
    negative, days, hour, minute, second, micro = struct.unpack("<BIBBBI", cell.ljust(12, b"\0"))
    return f"{'-' if negative else ''}{days * 24 + hour:02}:{minute:02}:{second:02}.{micro:06}"


def rendered(terms: Sequence[Term], values: Mapping[Source, Value]) -> Iterator[Piece]:
    """The expression with its sources' references in it."""
    for term in terms:
        yield values[term].reference if isinstance(term, Operand | Mean) else term


def statement(expressions: Sequence[Sequence[Piece]], values: Sequence[Value], document: str) -> list[Piece]:
    """The whole statement: the rows' numbers, then the expressions; `document` is where the values stand."""
    found: list[Piece] = ["SELECT fairlead_row"]
    for expression in expressions:
        found += [",", *expression]
    paths = (f"{one.declared} PATH '$[{number}]' ERROR ON ERROR" for number, one in enumerate(values))
    columns = ", ".join(["fairlead_row FOR ORDINALITY", *paths])
    found.append(f"FROM JSON_TABLE(CONVERT({document} USING utf8mb4), '$[*]' COLUMNS ({columns})) AS fairlead_groups")
    return found


def document_of(rows: Sequence[Sequence[str | None]]) -> bytes:
    """What goes where `document` stands."""
    return json.dumps(rows, separators=(",", ":")).encode("ascii")


def converted(cell: Cell, found: Column, wanted: Column, *, binary: bool) -> Cell:
    """A computed cell as its column's type has it. Raises Refusal when it is of another type."""
    if cell is None or found.type == NULL:
        return None
    if found.is_whole and wanted.is_whole:
        if not binary or found.type == wanted.type:
            return cell
        number = int.from_bytes(cell, "little", signed=not found.unsigned)
        return _whole(number, wanted)
    if found.type == DOUBLE and wanted.type == DOUBLE:
        return cell if binary or wanted.decimals >= 31 else double_text(float(cell), wanted.decimals)
    if found.type == DECIMAL and wanted.type == DECIMAL and found.decimals > wanted.decimals:
        return decimal_text(_rounded(cell, found.decimals - wanted.decimals), wanted.decimals)
    same_text = found.type in STRINGS and wanted.type in STRINGS and found.charset == wanted.charset
    if same_text or (found.type == wanted.type and found.decimals == wanted.decimals):
        return cell
    raise refusal("AGGREGATE_EXPRESSION", f"{wanted.name} is of another type when it is computed from whole groups")


def _rounded(cell: bytes, digits: int) -> int:
    """A DECIMAL without its point, with so many digits fewer, as servers round what they send."""
    return int(divided(int(cell.replace(b".", b"")), 10**digits, 0))


_SIZES = {1: 1, 2: 2, 13: 2, 3: 4, 9: 4, 8: 8}


def _whole(number: int, wanted: Column) -> bytes:
    size = _SIZES[wanted.type]
    try:
        return number.to_bytes(size, "little", signed=number < 0)
    except OverflowError:
        raise refusal("AGGREGATE_EXPRESSION", f"{wanted.name} is out of its range") from None
