"""What the relay is told: commands, key patterns and error lines as plain rows."""

from __future__ import annotations

import re
from array import array
from typing import Any

from _speedups.redis_stats import FAMILIES
from router.redis import errors
from router.redis.table import SCRIPTS, Class, Command, Level, Spec, Table
from router.redis.verdicts import Verdicts
from router.redis.where import SLOTS, Pattern, Places

RUN_PARK, RUN_KEYS, RUN_SPLIT, RUN_PING = range(4)
MERGES = {"": 0, "sum": 1, "ok": 2, "array": 3}
LOOKED_AT = frozenset({"copy", "sort", "sort_ro"})
"""Their keys alone do not decide; Python looks closer."""
TEXTS = {
    0: errors.CROSS, 1: errors.TOO_LARGE, 2: errors.LOST_READ, 3: errors.LOST_WRITE, 4: errors.BAD_PART,
    14: errors.REGIONS,
    6: "ERR Protocol error: invalid multibulk length", 7: "ERR Protocol error: invalid bulk length",
    8: "ERR Protocol error: expected '$', got something else", 9: "ERR Protocol error: too big inline request",
    10: "ERR Protocol error: too big mbulk count string", 11: "ERR Protocol error: too big bulk count string",
    12: "ERR Protocol error: expected CRLF behind a bulk string",
}  # fmt: skip
"""The relay's texts by number; from 6 on, what a malformed request is."""

PECULIAR = 1 << 31
"""Above every number of a class."""

TABLES = (
    "kind", "key_types", "limits", "region_kind", "shift", "mask", "regions", "maps", "bounds", "bound_shards", "items"
)  # fmt: skip


def line(text: str) -> bytes:
    return b"-" + text.encode() + b"\r\n"


def command_rows(table: Table) -> list[Any]:
    """Every name that stands alone; the relay parks those whose subcommand or rare shape decides."""
    return [_row(one) for name, one in table.commands.items() if "|" not in name]


def _row(command: Command) -> tuple[Any, ...]:
    kind = _kind(command)
    specs = [_spec(spec) for spec in command.keys] if kind in (RUN_KEYS, RUN_SPLIT) else []
    return (
        command.name.encode(), FAMILIES.index(command.family),
        kind, max(command.level, Level.READ), MERGES.get(command.merge, 0), command.arity, specs,
        line(errors.denied(command.name)), line(errors.arity(command.name)),
        (command.needs, command.fieldwise, command.name == "set", command.moves,
         command.level is Level.READ and command.name not in SCRIPTS),
    )  # fmt: skip


def _kind(command: Command) -> int:
    if command.name == "ping":
        return RUN_PING
    if command.group is Class.SPLIT:
        return RUN_SPLIT
    simple = command.group in (Class.ONE, Class.SAME) and command.name not in LOOKED_AT
    if simple and len(command.keys) <= 2 and all(_is_simple(spec) for spec in command.keys):
        return RUN_KEYS
    return RUN_PARK


def _is_simple(spec: Spec) -> bool:
    """At a fixed place: a range, or a number of keys and then the keys."""
    find = spec["find"]
    if spec["begin"]["type"] != "index":
        return False
    return bool(find["type"] == "keynum" or (find["type"] == "range" and find["limit"] <= 1))


def _spec(spec: Spec) -> tuple[int, int, int, int, int]:
    """(keynum, place, last, first, step)."""
    place, find = spec["begin"]["index"], spec["find"]
    if find["type"] == "keynum":
        return (1, place + find["keynumidx"], 0, find["firstkey"] - find["keynumidx"], find["keystep"])
    return (0, place, find["lastkey"], 0, find["keystep"])


def policy_rows(verdicts: Verdicts) -> tuple[bytes, list[tuple[int, bytes]]]:
    """-> (index of each shard's domain, (what keys hold, error line) by pattern). Patterns that hold the same have the
    same number; one with a declared hash has its own."""
    holdings = verdicts.holdings
    numbers = [PECULIAR + place if one.columns else one.whole for place, one in enumerate(holdings)]
    names = [*verdicts.names, None]
    return bytes(verdicts.of_shard), list(zip(numbers, [line(errors.policy(name)) for name in names], strict=True))


def pattern_rows(places: Places) -> tuple[list[Any], list[dict[str, Any]], bytes | None]:
    """-> (patterns, the vindexes they name by index, the slot map)."""
    vindexes: list[dict[str, Any]] = []
    rows = []
    for pattern in places.patterns:
        vindex = -1
        if pattern.vindex is not None:
            vindex = len(vindexes)
            vindexes.append(_tables(pattern))
        rows.append(_pattern(pattern, vindex))
    return rows, vindexes, _slots(places.slots)


def _pattern(pattern: Pattern, vindex: int) -> tuple[Any, ...]:
    shard = -1 if pattern.shard is None else pattern.shard
    regex = pattern.regex is not None
    prefix = literal_head(pattern.regex.pattern) if pattern.regex is not None else pattern.prefix
    return (
        prefix, pattern.delimiter[0], pattern.tag, pattern.fields, shard, vindex, pattern.refused or regex,
        regex,
    )  # fmt: skip


def literal_head(expression: bytes) -> bytes:
    """What every key that the expression fits begins with, as far as that is plain to see."""
    found = re.match(rb"[A-Za-z0-9:_/,;@#=~ -]*", expression)
    assert found is not None
    head, rest = found[0], expression[found.end() :]
    if b"|" in expression:
        return b""
    return head[:-1] if rest[:1] in (b"*", b"?", b"{") else head


def _tables(pattern: Pattern) -> dict[str, Any]:
    assert pattern.vindex is not None
    tables = pattern.vindex.tables(pattern.columns)
    return {name: getattr(tables, name) for name in TABLES}


def _slots(shards: tuple[int, ...]) -> bytes | None:
    if not shards:
        return None
    return array("H", [shards[slot * len(shards) // SLOTS] for slot in range(SLOTS)]).tobytes()
