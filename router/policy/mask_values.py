"""Masks and tokens of values in hand, for Redis hashes whose fields are columns: what `masks.expression` would give.

A value is the text that a server would send of the column. What a mask cannot read as such is left out (None), as is
SQL's NULL, for which a Redis hash has no value. Held together with the SQL by tests on real servers.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from config.words import Mask
from router.policy.masks import DIGEST, LEAST_TOKEN, TOKEN, Column, Salt, takes_bytes
from router.schema import LiveColumn

_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?: (\d\d:\d\d:\d\d)(\.\d{1,6})?)?")


def masked(mask: str, value: bytes, column: LiveColumn, salt: Salt | None) -> bytes | None:
    """None for nothing. What a mask does not apply to is nothing, too."""
    seen = Column.of("", column)
    if mask == TOKEN:
        return _token(seen, value, salt)
    make = _MASKS.get(mask)
    if make is None:
        return None
    try:
        found = make(seen, value.decode())
    except UnicodeDecodeError:
        return None
    return None if found is None else found.encode()


def _fitted(column: Column, text: str) -> str:
    return text if column.is_long else text[: column.length]


def _constant(column: Column, text: str) -> str | None:
    return _fitted(column, "***") if column.is_text else None


def _zero(column: Column, text: str) -> str | None:
    if column.is_whole or column.is_float:
        return "0"
    if column.kind == "decimal":
        return f"0.{'0' * column.scale}" if column.scale else "0"
    return None


def _email(column: Column, text: str) -> str | None:
    if not column.is_text:
        return None
    name, _, _ = text.partition("@")
    _, at, domain = text.rpartition("@")
    first = name[:1] if len(name) > 1 else ""
    return _fitted(column, f"{first}***@{domain}" if at else "***")


def _first1(column: Column, text: str) -> str | None:
    return _fitted(column, f"{text[:1]}***" if len(text) > 1 else "***") if column.is_text else None


def _last4(column: Column, text: str) -> str | None:
    return _fitted(column, f"****{text[-4:]}" if len(text) >= 8 else "****") if column.is_text else None


def _year(column: Column, text: str) -> str | None:
    return _date(column, text, keep_month=False)


def _month(column: Column, text: str) -> str | None:
    return _date(column, text, keep_month=True)


def _date(column: Column, text: str, *, keep_month: bool) -> str | None:
    found = _DATE.fullmatch(text)
    if found is None or column.kind not in ("date", "datetime", "timestamp"):
        return None
    day = f"{found[1]}-{found[2] if keep_month else '01'}-01"
    if column.kind == "date":
        return day
    return f"{day} 00:00:00" + (f".{'0' * column.length}" if column.length else "")


_MASKS: Mapping[str, Callable[[Column, str], str | None]] = MappingProxyType(
    {
        Mask.CONSTANT: _constant,
        Mask.ZERO: _zero,
        Mask.EMAIL: _email,
        Mask.FIRST1: _first1,
        Mask.LAST4: _last4,
        Mask.YEAR: _year,
        Mask.MONTH: _month,
    }
)
"""`null` is not among them: it leaves nothing."""


def _token(column: Column, value: bytes, salt: Salt | None) -> bytes | None:
    if salt is None or not salt.inner:
        return None
    inner = hashlib.sha256(bytes.fromhex(salt.inner) + value).digest()
    digest = hashlib.sha256(bytes.fromhex(salt.outer) + inner).hexdigest()
    if column.is_text:
        length = DIGEST if column.is_long else min(column.length, DIGEST)
        return digest[:length].encode() if length >= LEAST_TOKEN else None
    if column.kind == "bigint":
        number = zlib.crc32(digest[:8].encode()) << 28 ^ zlib.crc32(digest[-8:].encode())
        return b"%d" % number
    return bytes.fromhex(digest[:DIGEST]) if takes_bytes(column) else None
