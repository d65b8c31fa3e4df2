"""Values of servers as literals of SQL, which mean the same beside a comparison."""

from __future__ import annotations

from router.engine.columns import DATE, DATETIME, DECIMAL, DOUBLE, NULL, STRINGS, TIME, Column
from router.engine.computing import written
from router.errors import refusal

NO_ROW = "(SELECT NULL FROM DUAL WHERE FALSE)"
_ENUM, _SET, _ZEROFILL = 256, 2048, 64
_WORDS = {DATE: "DATE", DATETIME: "TIMESTAMP", TIME: "TIME"}


def literal(cell: bytes | None, column: Column, *, binary: bool, text: bool, backslashes: bool) -> str:
    """`text`: a character string may come; `backslashes`: they escape. Raises Refusal for other values."""
    if cell is None or column.type == NULL:
        return "NULL"
    if column.flags & (_ENUM | _SET | _ZEROFILL):
        raise refusal("SUBQUERY_VALUE", "an ENUM or SET")
    if column.type in STRINGS:
        return _quoted(cell, backslashes=backslashes) if column.is_text and text else _bytes(cell, column)
    if column.is_whole or column.type == DECIMAL or (column.type == DOUBLE and column.decimals >= 31):
        found = written(cell, column) if binary else cell.decode("ascii")
        return found + "e0" if column.type == DOUBLE and "e" not in found else found
    if column.type in _WORDS:
        moment = written(cell, column) if binary else cell.decode("ascii")
        return f"{_WORDS[column.type]}'{moment}'"
    raise refusal("SUBQUERY_VALUE", column.name)


def _quoted(cell: bytes, *, backslashes: bool) -> str:
    try:
        found = cell.decode("utf-8")
    except UnicodeDecodeError:
        raise refusal("SUBQUERY_VALUE", "text that is not UTF-8") from None
    if "\0" in found:
        raise refusal("SUBQUERY_VALUE", "text with a zero byte")
    found = found.replace("\\", "\\\\") if backslashes else found
    return "'" + found.replace("'", "''") + "'"


def _bytes(cell: bytes, column: Column) -> str:
    if column.is_text:
        raise refusal("SUBQUERY_VALUE", "text that is not compared with a column of its collation")
    return f"x'{cell.hex()}'"
