"""Values as they go from one server into a table of another: asked for as text, written as literals, the same bit by
bit whatever the session's character sets, time zone and sql_mode.

The literals are for a session with SET NAMES binary, sql_mode NO_BACKSLASH_ESCAPES and time zone +00:00.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from router.schema import LiveColumn
from router.tokens import quoted

Form = Literal["plain", "text", "real", "string", "number", "instant", "latin"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A column that is loaded, and by which form its values travel. `required`: it is NOT NULL."""

    name: str
    form: Form
    required: bool = False

    @property
    def asked(self) -> str:
        """What stands for it in a shard's select list; always a binary string or a number."""
        return _ASKED[self.form].format(quoted(self.name))


_LATIN = "CAST(CAST({} AS CHAR CHARACTER SET latin1) AS BINARY)"
_ASKED: dict[Form, str] = {
    "plain": "{}",
    "string": "CAST({} AS BINARY)",
    "text": _LATIN,
    "latin": _LATIN,
    # FLOAT prints six digits, and DOUBLE(M, D) D of them; a sum prints as many as it takes.
    "real": _LATIN.format("{} + 0e0"),
    # As numbers: the text of an ENUM may be none of its members, and BIT is no text.
    "number": _LATIN.format("CAST({} AS UNSIGNED)"),
    # An hour comes twice when summer time ends.
    "instant": _LATIN.format("UNIX_TIMESTAMP({})"),
}

_FORMS: dict[str, Form] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "decimal"), "text"),
    **dict.fromkeys(("year", "date", "datetime", "time"), "text"),
    **dict.fromkeys(("float", "double"), "real"),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), "string"),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), "plain"),
    **dict.fromkeys(("enum", "set", "bit"), "number"),
    "timestamp": "instant",
    **dict.fromkeys(("uuid", "inet4", "inet6"), "latin"),
    **dict.fromkeys(("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring"), "plain"),
    **dict.fromkeys(("multipolygon", "geometrycollection", "geomcollection"), "plain"),
}
SPATIAL = frozenset(name for name, form in _FORMS.items() if form == "plain") - {
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob",
}  # fmt: skip


def form_of(column: LiveColumn) -> Form | None:
    """None: values of this type cannot be told to arrive as they were."""
    return _FORMS.get(column.data_type.lower())


Write = Callable[[bytes], bytes]


def _quoted(cell: bytes) -> bytes:
    return b"'" + cell.replace(b"'", b"''") + b"'"


def _instant(cell: bytes) -> bytes:
    return b"FROM_UNIXTIME(" + cell + b")" if cell.strip(b"0.") else b"'0000-00-00'"


def _bare(cell: bytes) -> bytes:
    return cell


def _latin(cell: bytes) -> bytes:
    # Sixteen bytes without a character set would be an address, not its text.
    return b"_latin1" + _quoted(cell)


_WRITES: dict[Form, Write] = {"number": _bare, "instant": _instant, "latin": _latin}


def writers(columns: Sequence[Loaded]) -> list[Write]:
    """For each column, what makes a literal of a value that is not NULL."""
    return [_WRITES.get(column.form, _quoted) for column in columns]


def row(cells: Sequence[bytes | None], write: Sequence[Write]) -> bytes:
    """One row of VALUES."""
    values = (b"NULL" if cell is None else one(cell) for cell, one in zip(cells, write, strict=True))
    return b"(" + b",".join(values) + b")"
