"""Masks and tokens: a column's value replaced by an expression of its own kind, for MariaDB and MySQL.

The expression stands in the column's place everywhere (leaf substitution), so it must behave like the column: same
character set and collation (it is joined with the column itself by `IF(c IS NULL, c, …)`, which takes the column's),
not longer than the column, numbers of the same signedness, dates dates. Only widths may differ: a masked TINYINT may be
an INT, a CHAR a VARCHAR, a TIMESTAMP a DATETIME. NULL stays NULL. What a mask cannot be applied to is refused.

A token is HMAC-SHA256 over the value (text as UTF-8, numbers in decimal) with a key derived from the domain's
`token_key`: equal values of a domain have equal tokens, in every column and table, and no other domain's tokens match.
The configured key never appears in SQL. The derived one does, as HMAC's two padded blocks, in text that only servers
of the data's own domain get; whoever reads their logs sees the values themselves anyway. `Salt.redact` takes it out
of everything that is shown.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from config.words import Mask
from router.schema import LiveColumn

TOKEN = "token"

REVEALS: Mapping[str, str] = MappingProxyType(
    {
        Mask.NULL: "nothing, not even whether there is a value",
        Mask.CONSTANT: "whether there is a value",
        Mask.ZERO: "whether there is a value",
        Mask.EMAIL: "the first character (of a name of two or more) and all that follows the last @",
        Mask.FIRST1: "the first character, of texts of two or more",
        Mask.LAST4: "the last four characters, and that there are eight or more",
        Mask.YEAR: "the year (of a TIMESTAMP: in UTC)",
        Mask.MONTH: "the year and the month (of a TIMESTAMP: in UTC)",
        TOKEN: "which values of the domain are equal, byte for byte",
    }
)
"""What each mask lets through; whether a value is NULL goes without saying for all but `null`."""

_CHARACTERS = frozenset({"char", "varchar"})
_TEXTS = frozenset({"tinytext", "text", "mediumtext", "longtext"})
_WHOLE = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
_FLOATS = frozenset({"float", "double"})
_BLOBS = frozenset({"tinyblob", "blob", "mediumblob", "longblob"})
_LENGTH = re.compile(r"\((\d+)(?:,(\d+))?\)")
DIGEST = 32
LEAST_TOKEN = 16
"""Hex digits: with 64 bits, a million values have two equal tokens once in 37 million tables."""


@dataclass(frozen=True, slots=True)
class Salt:
    """HMAC's two blocks as hex; empty where the key was not read (checking a file elsewhere): tokens are NULL then."""

    inner: str = field(default="", repr=False)
    outer: str = field(default="", repr=False)

    @classmethod
    def of(cls, key: str, domain: str) -> Salt:
        derived = hmac.digest(key.encode(), b"fairlead token\0" + domain.encode(), hashlib.sha256).ljust(64, b"\0")
        return cls(bytes(one ^ 0x36 for one in derived).hex(), bytes(one ^ 0x5C for one in derived).hex())

    def redact(self, sql: str) -> str:
        return sql.replace(self.inner, "…").replace(self.outer, "…") if self.inner else sql

    def digest(self, data: str) -> str:
        """64 hex digits of a byte string, as SQL that takes on a neighbour's character set and collation.

        SHA2's own text is in the connection's character set, which may be one of two bytes a character.
        """
        inner = f"UNHEX(CONVERT(SHA2(CONCAT(0x{self.inner},{data}),256) USING ascii))"
        return f"CONVERT(SHA2(CONCAT(0x{self.outer},{inner}),256) USING ascii)"


@dataclass(frozen=True, slots=True)
class Column:
    """A live column as masks see it. `length`: characters, bytes or digits, 0 where the type names none."""

    sql: str
    kind: str
    length: int
    scale: int
    unsigned: bool

    @classmethod
    def of(cls, sql: str, column: LiveColumn) -> Column:
        found = _LENGTH.search(column.column_type)
        length, scale = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
        unsigned = "unsigned" in column.column_type.lower()
        return cls(sql, column.data_type.lower(), length, scale, unsigned)

    @property
    def is_text(self) -> bool:
        return self.kind in _CHARACTERS or self.is_long

    @property
    def is_long(self) -> bool:
        """A text without a length of its own."""
        return self.kind in _TEXTS

    @property
    def is_whole(self) -> bool:
        return self.kind in _WHOLE

    @property
    def is_float(self) -> bool:
        return self.kind in _FLOATS

    @property
    def trimmed(self) -> str:
        """Without the spaces that PAD_CHAR_TO_FULL_LENGTH puts behind a CHAR, as the value would seem longer."""
        return f"TRIM(TRAILING ' ' FROM {self.sql})" if self.kind == "char" else self.sql

    def unless_null(self, replacement: str) -> str:
        return f"IF({self.sql} IS NULL,{self.sql},{replacement})"

    def fitted(self, text: str) -> str:
        """Cut to the column's length, where it has one."""
        return self.unless_null(f"LEFT({text},{self.length})" if self.kind in _CHARACTERS else text)


def expression(mask: str, column_sql: str, column: LiveColumn, flavour: str, salt: Salt | None) -> str | None:
    """The masked value, or None when the mask does not apply to the type. `flavour` is 'mariadb' or 'mysql'; the
    expressions are written so that both read them alike."""
    if flavour not in ("mariadb", "mysql"):
        return None
    seen = Column.of(column_sql, column)
    if mask == TOKEN:
        return None if salt is None else _token(seen, salt)
    make = _MASKS.get(mask)
    return None if make is None else make(seen)


def _null(column: Column) -> str | None:
    return f"NULLIF({column.sql},{column.sql})"


def _constant(column: Column) -> str | None:
    return column.fitted("'***'") if column.is_text else None


def _zero(column: Column) -> str | None:
    if column.is_whole:
        return column.unless_null(f"CAST(0 AS {'UNSIGNED' if column.unsigned else 'SIGNED'})")
    if column.kind == "decimal":
        return column.unless_null(f"CAST(0 AS DECIMAL({column.length},{column.scale}))")
    return column.unless_null("0e0") if column.is_float else None


def _email(column: Column) -> str | None:
    """By lengths and not by looking for '@': functions that compare by collation find a full-width '＠' too, where
    SUBSTRING_INDEX, which compares bytes, would then give the whole value."""
    if not column.is_text:
        return None
    c = column.trimmed
    has_domain = f"CHAR_LENGTH(SUBSTRING_INDEX({c},'@',-1)) < CHAR_LENGTH({c})"
    first = f"IF(CHAR_LENGTH(SUBSTRING_INDEX({c},'@',1)) > 1,LEFT({c},1),'')"
    return column.fitted(f"IF({has_domain},CONCAT({first},'***@',SUBSTRING_INDEX({c},'@',-1)),'***')")


def _first1(column: Column) -> str | None:
    if not column.is_text:
        return None
    c = column.trimmed
    return column.fitted(f"IF(CHAR_LENGTH({c}) > 1,CONCAT(LEFT({c},1),'***'),'***')")


def _last4(column: Column) -> str | None:
    if not column.is_text:
        return None
    c = column.trimmed
    return column.fitted(f"IF(CHAR_LENGTH({c}) >= 8,CONCAT('****',RIGHT({c},4)),'****')")


def _year(column: Column) -> str | None:
    return _date(column, "%Y-01-01")


def _month(column: Column) -> str | None:
    return _date(column, "%Y-%m-01")


def _date(column: Column, form: str) -> str | None:
    kind = {"date": "DATE", "datetime": "DATETIME", "timestamp": "DATETIME"}.get(column.kind)
    if kind is None:
        return None
    fraction = f"({column.length})" if column.length and kind == "DATETIME" else ""
    return column.unless_null(f"CAST(DATE_FORMAT({_in_utc(column)},'{form}') AS {kind}{fraction})")


def _in_utc(column: Column) -> str:
    """A session's time zone moves a TIMESTAMP over the end of its month or year, which would tell of the hour."""
    if column.kind != "timestamp":
        return column.sql
    return f"TIMESTAMPADD(SECOND,FLOOR(UNIX_TIMESTAMP({column.sql})),TIMESTAMP'1970-01-01 00:00:00')"


def _token(column: Column, salt: Salt) -> str | None:
    digest = _digest(column, salt)
    if column.is_text:
        length = DIGEST if column.is_long else min(column.length, DIGEST)
        made = f"LEFT({digest},{length})" if length >= LEAST_TOKEN else None
    elif column.kind == "bigint":
        # 60 bits. CONV would be shorter, and wrong under a connection character set of two bytes.
        number = f"(CRC32(LEFT({digest},8)) << 28) ^ CRC32(RIGHT({digest},8))"
        made = f"CAST({number} AS {'UNSIGNED' if column.unsigned else 'SIGNED'})"
    elif takes_bytes(column):
        made = f"UNHEX(LEFT({digest},{DIGEST}))"
    else:
        return None
    if made is None:
        return None
    return column.unless_null(made) if salt.inner else _null(column)


def takes_bytes(column: Column) -> bool:
    """Room for 16 bytes; a BINARY is padded to its length, so only one of exactly 16."""
    size = DIGEST // 2
    return (
        column.kind in _BLOBS
        or (column.kind == "varbinary" and column.length >= size)
        or (column.kind == "binary" and column.length == size)
    )


def _digest(column: Column, salt: Salt) -> str:
    as_text = column.is_text or column.kind == "bigint"
    return salt.digest(f"CAST(CONVERT({column.sql} USING utf8mb4) AS BINARY)" if as_text else column.sql)


_MASKS: Mapping[str, Callable[[Column], str | None]] = MappingProxyType(
    {
        Mask.NULL: _null,
        Mask.CONSTANT: _constant,
        Mask.ZERO: _zero,
        Mask.EMAIL: _email,
        Mask.FIRST1: _first1,
        Mask.LAST4: _last4,
        Mask.YEAR: _year,
        Mask.MONTH: _month,
    }
)
