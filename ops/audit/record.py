"""What a decision record holds: numbers, fixed words, and names out of the configuration and the schema.

There is no field for text, so no literal of a statement and no value of a row can get in: a `Name` comes only from a
`Vocabulary`, which hands out the names it was made of and `UNKNOWN` for everything else (a temporary table may be
called after a person).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any

MAX_NAMES = 256
"""Names in one field of a record."""
MAX_NAME = 256
"""Characters of a name."""
MAX_NUMBER = 2**64 - 1


class Verdict(StrEnum):
    """What was decided, the most lenient first: the policy's actions in lower case."""

    ALLOW = "allow"
    AGGREGATE = "aggregate"
    MASK = "mask"
    TOKENISE = "tokenise"
    SEND_HOME = "send_home"
    REFUSE = "refuse"


class Name(str):
    """A word of the configuration or the schema. Only a `Vocabulary` makes one."""

    __slots__ = ()

    def __new__(cls, *_: object) -> Name:
        raise TypeError("a Name comes from a Vocabulary")


def _name(text: str) -> Name:
    return str.__new__(Name, text)


UNKNOWN = _name("?")
"""In place of a name that is in no configuration and no schema."""


class Vocabulary:
    """The names that records may hold."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: Mapping[str, Name] = MappingProxyType({one: _name(one) for one in names if _is_name(one)})

    def name(self, text: str) -> Name:
        """The name, or UNKNOWN."""
        return self._names.get(text, UNKNOWN)

    def names(self, texts: Iterable[str]) -> tuple[Name, ...]:
        """Sorted, each once; of more than a record takes, the first, and UNKNOWN."""
        found = sorted({self.name(text) for text in texts})
        return tuple(found) if len(found) <= MAX_NAMES else (*found[: MAX_NAMES - 1], UNKNOWN)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isprintable()


class Flaw(StrEnum):
    """What an operator has to look into. WITNESS: the server's answer had a column that the proof did not know."""

    WITNESS = "witness"


class Would(StrEnum):
    """What a version in shadow would do with the statement, compared with the one in force."""

    SAME = "same"
    REFUSED = "refused"
    ALLOWED = "allowed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision about one statement. Raises TypeError, ValueError for what is not literal-free or too large.

    `epoch` is the policy's, `version` the configuration's; `homes` are legal domains of the rows, `to` the
    subject's; `fingerprint` the lexer's. `rows`, `bytes_out` and `latency_us` are None when the record is written
    before the answer: a `Result` then follows. `error`: the MySQL errno that the answer ended with, None for none.
    `patterns`, `command`: of Redis, what the keys' patterns are called and what was done with them.
    `sample`: the record stands for so many. `trial`: the version on trial that decided, or, with `shadow`, that would
    have, and how. `finding`: its answer was kept back.
    """

    proxy: Name
    version: int
    epoch: int
    subject: Name
    to: Name
    fingerprint: int
    verdict: Verdict
    tables: tuple[Name, ...] = ()
    classes: tuple[Name, ...] = ()
    homes: tuple[Name, ...] = ()
    rules: tuple[Name, ...] = ()
    obligations: tuple[Name, ...] = ()
    shards: tuple[Name, ...] = ()
    patterns: tuple[Name, ...] = ()
    command: Name | None = None
    purpose: Name | None = None
    counterparty: Name | None = None
    rows: int | None = None
    bytes_out: int | None = None
    latency_us: int | None = None
    error: int | None = None
    sample: int | None = None
    trial: int | None = None
    shadow: Would | None = None
    finding: Flaw | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How it ended. `of` is the stamp of its decision in the same log; `error` the MySQL errno, 0 for none."""

    of: int
    rows: int
    bytes_out: int
    latency_us: int
    error: int = 0
    shards: tuple[Name, ...] = ()
    finding: Flaw | None = None

    def __post_init__(self) -> None:
        _check(self)


Record = Decision | Result

KINDS: Mapping[type[Record], str] = MappingProxyType({Decision: "decision", Result: "result"})


def _check(record: Record) -> None:
    for field in fields(record):
        if not _is_plain(getattr(record, field.name)):
            raise TypeError(f"{field.name} of a decision record holds numbers, fixed words and names only")


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        if len(value) > MAX_NAMES:
            raise ValueError(f"more than {MAX_NAMES} names in one field of a decision record")
        return all(type(one) is Name for one in value)
    if type(value) is int:
        return 0 <= value <= MAX_NUMBER
    return value is None or type(value) in (Name, Verdict, Would, Flaw)


def encode(record: Record, stamp: int) -> bytes:
    """The canonical form: one line of JSON in ASCII, keys sorted, no white space, what is not set left out."""
    plain: dict[str, Any] = {"kind": KINDS[type(record)], "ts": stamp}
    for field in fields(record):
        value = getattr(record, field.name)
        if value is not None and value != ():
            plain[field.name] = f"{value:016x}" if field.name == "fingerprint" else value
    return canonical(plain)


def canonical(plain: Mapping[str, Any]) -> bytes:
    """One text for one value."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
