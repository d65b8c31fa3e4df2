"""Hint comments: `/* fairlead: shard=eu-0, consistency=session, scatter=ok, max_lag=2s */`.

A hint may only narrow what the session may do: a reader asks for fewer shards or staler rows, never for more
rights.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from router.errors import refusal

Consistency: TypeAlias = Literal["primary", "session", "eventual"]


@dataclass(frozen=True, slots=True)
class Hints:
    """`max_lag` in milliseconds; `scatter` None: as the keyspace says."""

    shard: str | None = None
    consistency: Consistency | None = None
    scatter: bool | None = None
    max_lag: int | None = None


NO_HINTS = Hints()

_LAG = re.compile(r"(\d{1,9})(ms|s|m)?\Z")
_LAG_UNIT = {"ms": 1, "s": 1000, "m": 60_000, None: 1000}
_NAMES = ("shard", "consistency", "scatter", "max_lag")


def parse_hints(text: str) -> Hints:
    """The inside of a hint comment → Hints. Raises Refusal: an unread hint would widen the statement."""
    hints = NO_HINTS
    seen: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        name = name.lower()
        if name not in _READERS or not equals or not value:
            raise refusal("HINT_UNKNOWN", part, ", ".join(_NAMES))
        if name in seen:
            raise refusal("HINT_VALUE", part, "it is given twice")
        seen.add(name)
        hints = _READERS[name](hints, value, part)
    return hints


def _shard(hints: Hints, value: str, part: str) -> Hints:
    return replace(hints, shard=value)


def _consistency(hints: Hints, value: str, part: str) -> Hints:
    match value.lower():
        case "primary" | "session" | "eventual" as level:
            return replace(hints, consistency=level)
    raise refusal("HINT_VALUE", part, "it is primary, session or eventual")


def _scatter(hints: Hints, value: str, part: str) -> Hints:
    if value.lower() not in ("ok", "refuse"):
        raise refusal("HINT_VALUE", part, "it is ok or refuse")
    return replace(hints, scatter=value.lower() == "ok")


def _max_lag(hints: Hints, value: str, part: str) -> Hints:
    match = _LAG.match(value.lower())
    if match is None:
        raise refusal("HINT_VALUE", part, "it is a duration such as 500ms, 2s or 1m")
    return replace(hints, max_lag=int(match[1]) * _LAG_UNIT[match[2]])


_READERS: dict[str, Callable[[Hints, str, str], Hints]] = {
    "shard": _shard,
    "consistency": _consistency,
    "scatter": _scatter,
    "max_lag": _max_lag,
}
