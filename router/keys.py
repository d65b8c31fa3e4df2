"""Sharding keys: from a value in a statement to the canonical bytes that are hashed.

Two values that MySQL finds equal in a column must give the same bytes; two that differ may. So every rule
errs towards coarser classes (case is folded even for `_cs` collations), and what cannot be decided raises:
`NoMatch` when equality can hold for no row, `Unpinnable` when the value alone does not say which rows it
equals. A caller may widen an `Unpinnable` read to every shard; it must refuse such a write.

Comparison rules: MySQL Reference Manual 14.3 "Type Conversion in Expression Evaluation"; PAD attributes:
10.10.1 "Collation Naming" and INFORMATION_SCHEMA.COLLATIONS.PAD_ATTRIBUTE. The compiled twin of the byte
rules is `_speedups.hashing`; tests hold the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import NamedTuple

INT64_LOW, INT64_HIGH = -(2**63), 2**63 - 1
UINT64_HIGH = 2**64 - 1
EXACT_DOUBLE = 2**53
"""Below it every whole double is one whole number; above, equality as double joins neighbours."""

TINY_FRACTION = 1e-6
"""Nearer than this to a whole number, a server's rounding may find a number equal to it."""

Value = None | bool | int | float | Decimal | str | bytes
"""A value of a statement: text literals as str, x'..', 0x.. and b'..' literals as bytes."""


class KeyType(IntEnum):
    """How the values of a key column are made canonical. The numbers are shared with `_speedups.hashing`."""

    INT_SIGNED = 1
    INT_UNSIGNED = 2
    BYTES = 3
    BYTES_PAD = 4
    CI_PAD = 5
    CI_NOPAD = 6


class KeyRefused(ValueError):
    """Why a value gives no key. The text says it without repeating the value."""


class Unpinnable(KeyRefused):
    """The value does not determine which rows it equals; reads may ask every shard, writes are refused."""


class NoMatch(KeyRefused):
    """No row can equal the value (NULL, 5.5 in a whole-number column, beyond the column's range)."""


class UnsupportedKey(KeyRefused):
    """The column's type or collation cannot be a sharding key."""


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """What a key column can store, so that what is inserted is exactly what was hashed.

    `low` and `high` bound the number, or the length in characters; a server in non-strict mode, or under
    IGNORE, would silently clamp or cut anything beyond. `ascii_only`: characters beyond ASCII might be
    replaced on storing, because the column's character set does not hold all of Unicode.
    """

    type: KeyType
    low: int
    high: int
    ascii_only: bool = False


class Key(NamedTuple):
    """A canonical key: 8 bytes little endian for numbers, folded text for strings."""

    type: KeyType
    data: bytes

    @property
    def number(self) -> int:
        """The whole number behind an integer key."""
        return int.from_bytes(self.data, "little", signed=self.type is KeyType.INT_SIGNED)


def is_integer(key_type: KeyType) -> bool:
    return key_type <= KeyType.INT_UNSIGNED


def compatible(one: KeyType, other: KeyType) -> bool:
    """May columns of these types be joined as co-located: do equal values always have equal bytes?"""
    if is_integer(one) or is_integer(other):
        return is_integer(one) and is_integer(other)
    return one == other


# --- values -------------------------------------------------------------------------------------------------


def canonical(value: Value, key_type: KeyType) -> bytes:
    """The bytes of `column = value`, for a column of this type. Raises NoMatch or Unpinnable."""
    if value is None:
        raise NoMatch("NULL equals no row")
    if is_integer(key_type):
        return _integer_bytes(_whole_number(value), key_type)
    return _text_bytes(value, key_type)


def canonical_stored(value: Value, column: KeyColumn) -> bytes:
    """The bytes of the value that `INSERT … VALUES (value)` leaves in the column.

    Stricter than `canonical`: whatever a server might round, clamp, cut or replace is Unpinnable.
    """
    try:
        data = canonical(value, column.type)
    except NoMatch as reason:
        raise Unpinnable(f"the key would not be stored as written: {reason}") from None
    stored = (
        int.from_bytes(data, "little", signed=column.type is KeyType.INT_SIGNED)
        if is_integer(column.type)
        else _length(value)
    )
    if not column.low <= stored <= column.high:
        raise Unpinnable("the key does not fit the column and would not be stored as written")
    if column.ascii_only and not data.isascii() and not is_integer(column.type):
        raise Unpinnable("the key holds characters that the column's character set may not")
    return data


def key(value: Value, key_type: KeyType) -> Key:
    """`canonical` with its type beside it, as vindexes take it."""
    return Key(key_type, canonical(value, key_type))


_WHOLE = re.compile(r" *([+-]?[0-9]{1,40}) *")


def _whole_number(value: Value) -> int:
    match value:
        case bool() | int():
            return int(value)
        case str():
            return _number_in_text(value)
        case float():
            return _number_in_double(value)
        case Decimal():
            return _number_in_decimal(value)
    raise Unpinnable("a binary literal is a number to some servers and text to others")


def _number_in_text(text: str) -> int:
    """'5', '05', ' 5': as servers convert a constant to the column's type. The rest is left open."""
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise Unpinnable("text that is not a plain whole number is compared with numbers as a double")
    number = int(found[1])
    if not INT64_LOW <= number <= UINT64_HIGH:
        raise Unpinnable("text beyond the column's range is compared with numbers as a double")
    return number


_LEADING = re.compile(r"(?: *([+-]?[0-9]{1,15})(?![0-9.eE])| *(?![-+.0-9 ])).*", re.DOTALL | re.ASCII)


def leading_number(text: str) -> int | None:
    """The whole number that text means in a comparison with numbers: 5 for '5abc', 0 for 'abc' and ''.

    None where that is not plain: fractions, exponents, more digits than a double holds, other white space. As a
    comparison by double has it, so an id that is equal is this number itself.
    """
    found = _LEADING.fullmatch(text)
    if found is None or (found[1] is None and text.strip(" ") and not text.isprintable()):
        return None
    return int(found[1] or 0)


def _number_in_double(value: float) -> int:
    if not abs(value) < EXACT_DOUBLE:
        raise Unpinnable("a floating-point number of this size equals several whole numbers")
    return _without_fraction(value, round(value))


def _number_in_decimal(value: Decimal) -> int:
    if not value.is_finite():
        raise Unpinnable("not a number")
    if value and value.adjusted() > 20:
        raise NoMatch("the number is beyond the range of whole-number columns")
    return _without_fraction(value, int(value.to_integral_value()))


def _without_fraction(value: float | Decimal, nearest: int) -> int:
    """GOTCHA: servers find 1e-300 equal to 0, so a tiny fraction decides nothing."""
    if value == nearest:
        return nearest
    if abs(Decimal(value) - nearest) < TINY_FRACTION:
        raise Unpinnable("a number with so small a fraction equals a whole number to some servers")
    raise NoMatch("a number with a fraction equals no whole number")


def _integer_bytes(number: int, key_type: KeyType) -> bytes:
    signed = key_type is KeyType.INT_SIGNED
    low, high = (INT64_LOW, INT64_HIGH) if signed else (0, UINT64_HIGH)
    if not low <= number <= high:
        raise NoMatch("the number is beyond the range of the column")
    return number.to_bytes(8, "little", signed=signed)


def _text_bytes(value: Value, key_type: KeyType) -> bytes:
    match value:
        case str():
            data = _utf8(value)
        case bytes():
            data = value
        case _:
            raise Unpinnable("text is compared with a number as a double, so several texts may equal it")
    if key_type in (KeyType.BYTES_PAD, KeyType.CI_PAD):
        data = data.rstrip(b" ")
    if key_type in (KeyType.CI_PAD, KeyType.CI_NOPAD):
        return _folded(data)
    return data


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unpinnable("the text is not valid Unicode") from None


def _folded(data: bytes) -> bytes:
    """ASCII in lower case. Beyond printable ASCII, collations find equal what bytes do not show."""
    if any(byte < 0x20 or byte > 0x7E for byte in data):
        raise Unpinnable("only printable ASCII can be a key under this collation")
    return data.lower()


def _length(value: Value) -> int:
    return len(value) if isinstance(value, str | bytes) else 0


# --- columns ------------------------------------------------------------------------------------------------

_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "integer": 32, "bigint": 64}
_TEXT = ("char", "varchar")
_BINARY = ("binary", "varbinary")
_COLUMN = re.compile(r"([a-z]+)\s*(?:\(\s*(\d+)\s*\))?((?:\s+(?:unsigned|signed|zerofill))*)")

_CHARSETS = {"utf8mb4", "utf8mb3", "utf8", "ascii", "latin1"}
_BIN_PAD = {"bin"}
_BIN_NOPAD = {"nopad_bin", "0900_bin"}
_CI_NOPAD = re.compile(
    r"0900_(ai|as)_c[is]|(general|unicode|unicode_520|swedish)_nopad_ci|uca1400_nopad_(ai|as)_c[is]"
)
_CI_PAD = re.compile(
    r"(general|general_mysql500|general1400|general1400_as|unicode|unicode_520|swedish|german1|german2)_ci"
    r"|general_cs|uca1400_(ai|as)_c[is]"
)

ALLOWED_KEYS = "whole numbers, char, varchar, binary and varbinary"


def key_type_of(column_type: str, collation: str | None) -> KeyType:
    """The key type of a live or declared column.

    `column_type` and `collation` are information_schema.COLUMNS.COLUMN_TYPE ('bigint(20) unsigned',
    'varchar(64)') and COLLATION_NAME (None for numbers and binary strings). Raises UnsupportedKey.
    """
    return key_column_of(column_type, collation).type


def key_column_of(column_type: str, collation: str | None) -> KeyColumn:
    """`key_type_of` with what the column can store."""
    found = _COLUMN.fullmatch(column_type.strip().lower())
    name = found[1] if found else column_type
    if found and name in _BITS:
        return _integer_column(_BITS[name], unsigned="unsigned" in found[3] or "zerofill" in found[3])
    length = int(found[2] or 1) if found else 0
    if found and name in _BINARY:
        return KeyColumn(KeyType.BYTES, length if name == "binary" else 0, length)
    if found and name in _TEXT:
        return _text_column(name, length, collation or "utf8mb4_bin")
    raise UnsupportedKey(f"a {column_type} column cannot be a sharding key; {ALLOWED_KEYS} can")


def _integer_column(bits: int, *, unsigned: bool) -> KeyColumn:
    if unsigned:
        return KeyColumn(KeyType.INT_UNSIGNED, 0, 2**bits - 1)
    return KeyColumn(KeyType.INT_SIGNED, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _text_column(name: str, length: int, collation: str) -> KeyColumn:
    key_type = _type_of_collation(collation.lower())
    if name == "char":
        # CHAR drops trailing spaces when it stores, whatever its collation then compares.
        key_type = {KeyType.BYTES: KeyType.BYTES_PAD, KeyType.CI_NOPAD: KeyType.CI_PAD}.get(
            key_type, key_type
        )
    return KeyColumn(key_type, 0, length, ascii_only=not collation.lower().startswith("utf8mb4_"))


def _type_of_collation(collation: str) -> KeyType:
    """MySQL and MariaDB names. Language collations are left out: some find different ASCII letters equal
    (i and y in lithuanian and latvian, i and j, u and v in roman)."""
    if collation == "binary":
        return KeyType.BYTES
    charset, _, rest = collation.partition("_")
    if charset in _CHARSETS:
        if rest in _BIN_PAD:
            return KeyType.BYTES_PAD
        if rest in _BIN_NOPAD:
            return KeyType.BYTES
        if _CI_NOPAD.fullmatch(rest):
            return KeyType.CI_NOPAD
        if _CI_PAD.fullmatch(rest):
            return KeyType.CI_PAD
    raise UnsupportedKey(
        f"a column with collation {collation} cannot be a sharding key; use utf8mb4_bin, or one of the "
        "general, unicode, 0900 and uca1400 collations of utf8mb4"
    )
