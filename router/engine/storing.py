"""Values of a query's answer as literals that an INSERT stores as INSERT … SELECT would have stored them.

Only where a column of the answer and the one that it goes to are of the same family, whose conversions are the same
from a literal. The literals mean the same under any sql_mode and character set of the session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from router.engine.columns import DATE, DATETIME, DECIMAL, DOUBLE, NULL, STRINGS, TIME, TIMESTAMP, YEAR, Column
from router.engine.computing import written
from router.schema import LiveColumn

Family = Literal["whole", "decimal", "real", "text", "bytes", "choice", "date", "datetime", "timestamp", "time", "year"]

_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint"), "whole"),
    "decimal": "decimal",
    **dict.fromkeys(("float", "double"), "real"),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), "text"),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), "bytes"),
    **dict.fromkeys(("enum", "set"), "choice"),
    "date": "date", "datetime": "datetime", "timestamp": "timestamp", "time": "time", "year": "year",
}  # fmt: skip
_FROM: dict[str, frozenset[Family]] = {
    "whole": frozenset({"whole", "decimal", "real"}),
    "decimal": frozenset({"decimal"}),
    "real": frozenset({"real"}),
    "text": frozenset({"text", "choice"}),
    "choice": frozenset({"text", "choice"}),
    "bytes": frozenset({"bytes"}),
    "date": frozenset({"date"}),
    "datetime": frozenset({"datetime", "timestamp"}),
    "timestamp": frozenset({"datetime"}),
    "time": frozenset({"time"}),
    "year": frozenset({"year", "whole"}),
}
"""Family of the answer -> those of columns that it may go to."""
_ENUM, _SET = 256, 2048


@dataclass(frozen=True, slots=True)
class Stored:
    """A column that is written."""

    name: str
    family: Family
    nullable: bool


def stored_as(column: LiveColumn) -> Stored | None:
    """None: a type of which too little is certain."""
    family = _FAMILIES.get(column.data_type.lower())
    return Stored(column.name, family, column.nullable) if family is not None else None


def family_of(column: Column) -> str:
    """Of a column of an answer; '' for types that are not carried."""
    if column.flags & (_ENUM | _SET):
        return "choice"
    if column.type == YEAR:
        return "year"
    if column.is_whole:
        return "whole"
    if column.type == DOUBLE and column.decimals < 31:
        return ""
    if column.type in STRINGS:
        return "text" if column.is_text else "bytes"
    names = {DECIMAL: "decimal", DOUBLE: "real", DATE: "date", DATETIME: "datetime", TIMESTAMP: "timestamp"}
    return {**names, TIME: "time", NULL: "null"}.get(column.type, "")


def goes_into(column: Column, stored: Stored) -> bool:
    """May what the answer has in this column be stored there?"""
    family = family_of(column)
    return family == "null" or stored.family in _FROM.get(family, frozenset())


def literal(cell: bytes | None, column: Column, stored: Stored, *, binary: bool) -> bytes | None:
    """None: of this value it is not certain how it is stored."""
    family = family_of(column)
    if cell is None or family == "null":
        return b"NULL" if stored.nullable else None
    if family in ("text", "choice"):
        return None if stored.family == "choice" and not cell else _text(cell)
    if family == "bytes":
        return b"x'" + cell.hex().encode() + b"'"
    shown = written(cell, column).encode() if binary else cell
    if family in ("whole", "decimal", "year"):
        return shown
    if family == "real":
        return shown if b"e" in shown else shown + b"e0"
    # Whether a date that is none may be stored, a server decides differently for a column and for text.
    return None if b"0000-" in shown or b"-00" in shown[:10] else b"'" + shown + b"'"


def _text(cell: bytes) -> bytes:
    return b"_utf8mb4 x'" + cell.hex().encode() + b"'"
