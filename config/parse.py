"""The small notations of the file: durations, sizes, addresses, buckets, column types, grants.

Each function takes the text that was written and returns the value, or raises ValueError with a sentence that
says what was expected.
"""

from __future__ import annotations

import ipaddress
import re

from config.option import GIB, KIB, MIB
from config.policy import RuleVerdict
from config.settings import BUCKETS, Address, Buckets, ColumnType, GrantTarget
from config.words import Mask

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_SIZE_UNITS = {"": 1, "b": 1, "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB}
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*(_[0-9]+)*)")
_TRUE = {"true", "yes", "on"}
_FALSE = {"false", "no", "off"}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,253})?")


def boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"expected true or false, not {text!r}")


def integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"expected a whole number, not {text!r}")
    return int(text.replace("_", ""))


def duration(text: str) -> float:
    """'500ms', '5s', '1m30s' -> seconds."""
    if text == "0":
        return 0.0
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a duration such as 500ms, 5s, 10m, not {text!r}")
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)


def size(text: str) -> int:
    """'64MiB', '64M' -> bytes. Decimal units are refused: too many people mean the binary ones by them."""
    found = _SIZE.fullmatch(text)
    unit = _SIZE_UNITS.get(found[2].lower()) if found else None
    if found and found[2].lower() in ("kb", "mb", "gb"):
        raise ValueError(f"write {found[1]}{found[2][0].upper()}iB; {found[2]} means a power of ten to some")
    if found is None or unit is None:
        raise ValueError(f"expected a size such as 4096, 16KiB, 64MiB, 1GiB, not {text!r}")
    return int(float(found[1]) * unit)


def host(text: str) -> str:
    """A host name or an IP address (IPv6 without brackets)."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if not _HOST.fullmatch(text) or re.fullmatch(r"[0-9.]+", text):
            raise ValueError(f"expected a host name or an address, not {text!r}") from None
        return text


PATH_LONGEST = 107
"""Bytes of a Unix socket's path (unix(7))."""


def server(text: str, default_port: int) -> Address:
    """The same as `address`, or '/run/mysqld/mysqld.sock'."""
    if not text.startswith("/"):
        return address(text, default_port)
    size = len(text.encode())
    if size > PATH_LONGEST:
        raise ValueError(f"the path of a Unix socket has at most {PATH_LONGEST} bytes, this one {size}")
    return Address(text, 0)


def address(text: str, default_port: int | None) -> Address:
    """'10.0.0.1:3306', '[::1]:3306', 'db1' -> Address."""
    if text.startswith("["):
        name, closed, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if closed else "?"
    elif text.count(":") > 1:
        raise ValueError(f"write an IPv6 address in brackets, such as [fd00::1]:3306, not {text!r}")
    else:
        name, _, port = text.partition(":")
    return Address(host(name), _port(port, text, default_port))


def _port(text: str, whole: str, default: int | None) -> int:
    if not text and default is not None and not whole.endswith(":"):
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ValueError(f"expected host:port, not {whole!r}")
    return int(text)


def network(text: str) -> str:
    """'10.0.0.0/8', '::1' -> the same in its usual form."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"expected a network such as 10.0.0.0/8: {error}") from None


def buckets(texts: list[str]) -> Buckets:
    """['0-1023', '3000'] -> Buckets."""
    return Buckets(tuple(_bucket_range(text) for text in texts))


def _bucket_range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?", text)
    if found is None:
        raise ValueError(f"expected buckets such as 0-2047, not {text!r}")
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise ValueError(f"{text} runs backwards")
    if high >= BUCKETS:
        raise ValueError(f"buckets are 0 to {BUCKETS - 1}, {high} is not one")
    return low, high


def grant_target(text: str) -> GrantTarget:
    """'*.*', 'shop.*', 'shop.orders' -> GrantTarget."""
    parts = text.split(".")
    if len(parts) != 2 or not all(parts) or (parts[0] == "*" and parts[1] != "*"):
        raise ValueError(f"expected *.*, keyspace.* or keyspace.table, not {text!r}")
    keyspace, table = (None if part == "*" else part for part in parts)
    return GrantTarget(keyspace, table)


_VERDICT = re.compile(r"([a-z_]+)(?:\(\s*([^()]*?)\s*\))?")
_VERDICTS = ("allow", "mask", "tokenise", "aggregate", "send_home", "refuse")
_MAX_K = 1_000_000


def rule_verdict(text: str) -> RuleVerdict:
    """'allow', 'mask(email)', 'aggregate(10)' -> RuleVerdict."""
    found = _VERDICT.fullmatch(text)
    if found is None or found[1] not in _VERDICTS:
        raise ValueError(f"expected {', '.join(_VERDICTS)}, not {text!r}")
    word, argument = found[1], found[2]
    if word == "aggregate":
        return RuleVerdict(word, k=_persons(argument))
    if word == "mask" and argument is not None:
        return RuleVerdict(word, mask=_mask(argument))
    if argument is not None:
        raise ValueError(f"{word} takes nothing in parentheses")
    return RuleVerdict(word)


def _persons(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit() or not 2 <= int(text[:8]) <= _MAX_K:
        raise ValueError("say over how many persons at least, 2 to 1000000: aggregate(10)")
    return int(text)


def _mask(text: str) -> str:
    if text not in tuple(Mask):
        raise ValueError(f"{text!r} is no mask; masks: {', '.join(Mask)}")
    return text


_COLUMN = re.compile(
    r"(?P<name>[a-z]+)\s*(?:\(\s*(?P<length>\d{1,5})\s*\))?(?P<sign>(?:\s+(?:unsigned|signed|zerofill))*)"
    r"(?:\s+character\s+set\s+(?P<charset>\w+))?(?:\s+collate\s+(?P<collation>\w+))?",
    re.IGNORECASE,
)
_WHOLE_NUMBERS = {"tinyint", "smallint", "mediumint", "int", "integer", "bigint"}
_CHARACTERS = {"char", "varchar"}
_BYTES = {"binary", "varbinary"}
_ALLOWED = "whole numbers, char, varchar, binary, varbinary"


def column_type(text: str) -> ColumnType:
    """'bigint unsigned', 'varchar(64) collate utf8mb4_bin' -> ColumnType, of the types that can be keys."""
    found = _COLUMN.fullmatch(text)
    word = re.match(r"[a-z]*", text.lower())
    if word and word[0] and word[0] not in _WHOLE_NUMBERS | _CHARACTERS | _BYTES:
        raise ValueError(f"a {word[0]} column cannot be a sharding key; {_ALLOWED} can")
    if found is None:
        raise ValueError(f"expected a column type such as bigint unsigned, varchar(64), not {text!r}")
    name = found["name"].lower()
    sign = " ".join(found["sign"].lower().split())
    if name in _WHOLE_NUMBERS:
        _refuse_clauses(found, text, "charset", "collation")
        name = "int" if name == "integer" else name
        unsigned = " unsigned" if "unsigned" in sign or "zerofill" in sign else ""
        return ColumnType(name, name + unsigned)
    return _string_type(found, name, text)


def _string_type(found: re.Match[str], name: str, text: str) -> ColumnType:
    _refuse_clauses(found, text, "sign")
    if found["length"] is None and name.startswith("var"):
        raise ValueError(f"{name} needs its length, {name}(64)")
    column = f"{name}({int(found['length'] or 1)})"
    if name in _BYTES:
        _refuse_clauses(found, text, "charset", "collation")
        return ColumnType(name, column)
    charset = (found["charset"] or "utf8mb4").lower()
    collation = (found["collation"] or f"{charset}_bin").lower()
    if not collation.startswith(charset.removesuffix("mb3")) and found["charset"]:
        raise ValueError(f"collation {collation} is not one of character set {charset}")
    return ColumnType(name, column, collation)


def _refuse_clauses(found: re.Match[str], text: str, *clauses: str) -> None:
    for clause in clauses:
        if found[clause]:
            raise ValueError(f"{found[clause].strip()!r} has no place in {text!r}")
