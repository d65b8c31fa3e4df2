"""Seeded statements of the grammar in tests/cases/noninterference/grammar.txt."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from loadtest.world.layout import region_id
from tests.noninterference.estate import CUSTOMERS, MARKER, PERSONS, Region, Side

GRAMMAR = Path(__file__).parent.parent / "cases" / "noninterference" / "grammar.txt"
PARTS = " ;; "
MAX_DEPTH = 9
PREPARED, BOUND = 0.3, 0.7
"""The share of statements that are prepared, and of their values that are parameters."""
HUGE = 17 << 20
"""More than a packet holds."""
_SYMBOL = re.compile(r"<([a-z][\w.-]*)>")
_HINTS = {"cells": {"eu-0": 9, "": 1, "us-0": 1}, "homes": {"us-0": 16, "": 3, "eu-0": 1}}
_ABROAD = {"cells": 0.85, "homes": 0.1, "desk": 1}
"""The share of ids of the eu."""
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|([nt0]))")


@dataclass(frozen=True, slots=True)
class Statement:
    """`params` None: text protocol. `symbol`: the alternative of <statement> that it is of."""

    sql: bytes
    params: tuple[Any, ...] | None = None
    symbol: str = ""


@cache
def grammar() -> Mapping[str, Sequence[tuple[int, str]]]:
    """Symbol -> (weight, expansion)."""
    found: dict[str, list[tuple[int, str]]] = {}
    for line in GRAMMAR.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            found[line.strip()] = alternatives = []
            continue
        weight, _, expansion = line.lstrip().partition(" ")
        alternatives.append((int(weight), "" if expansion == "~" else expansion))
    return found


class Generator:
    """The statements of one seed for a session in keyspace `database`."""

    def __init__(self, seed: int, database: str) -> None:
        self.dice = random.Random(seed)
        self.database = database
        self._params: list[Any] | None = None

    def statements(self, symbol: str = "statement", prepared: float = PREPARED) -> Iterator[Statement]:
        """One or a few that belong together; the share of them that is `prepared`."""
        top = self._choose(symbol, 0)
        name = top.strip("<>")
        for part in self._whole(top):
            yield self._made(part, name, prepared=self.dice.random() < prepared)

    def _whole(self, text: str) -> Iterator[str]:
        """The parts of a sequence, which may have sequences in them, before their values are chosen."""
        for part in text.split(PARTS):
            match = _SYMBOL.fullmatch(part)
            if match is not None and match[1] in grammar():
                yield from self._whole(self._choose(match[1], 0))
            else:
                yield part

    def _made(self, part: str, name: str, *, prepared: bool) -> Statement:
        self._params = [] if prepared else None
        sql = self._expanded(part, 0).encode()
        params = tuple(self._params) if self._params is not None else None
        self._params = None
        return Statement(_ESCAPE.sub(_unescaped, sql), params, name)

    # --- symbols --------------------------------------------------------------------------------------------

    def _choose(self, symbol: str, depth: int) -> str:
        alternatives = grammar()[symbol]
        if depth > MAX_DEPTH:
            return alternatives[0][1]
        (chosen,) = self.dice.choices([text for _, text in alternatives], [weight for weight, _ in alternatives])
        return chosen

    def _expanded(self, text: str, depth: int) -> str:
        return _SYMBOL.sub(lambda match: self._symbol(match[1], depth), text)

    def _symbol(self, name: str, depth: int) -> str:
        if name in grammar():
            return self._expanded(self._choose(name, depth), depth + 1)
        kind, _, column = name.partition(".")
        return str(getattr(self, f"_{kind}")(*([column] if column else [])))

    # --- values ---------------------------------------------------------------------------------------------

    def _value(self, value: Any) -> str:
        if self._params is not None and self.dice.random() < BOUND:
            self._params.append(value)
            return "?"
        return str(value) if isinstance(value, int) else f"'{value}'"

    def _eu(self) -> str:
        return self._value(region_id("eu", self.dice.randrange(1, PERSONS["eu"] + 2)))

    def _us(self) -> str:
        return self._value(region_id("us", self.dice.randrange(1, PERSONS["us"] + 2)))

    def _key(self) -> str:
        return self._eu() if self.dice.random() < _ABROAD[self.database] else self._us()

    def _n(self) -> str:
        return self._value(self.dice.choice((1, 2, 3, 5, 12, 40)))

    def _word(self) -> str:
        return self._value(self.dice.choice(("a", "m", "q", MARKER[:3], "zz", "kettle", "", "***", "x***@eu.example")))

    def _pattern(self) -> str:
        return self._value(self.dice.choice(("%a%", "q%", f"_{MARKER}%", "%@eu%", "%z", "a%", "%", "+q%")))

    def _guess(self, column: str) -> str:
        """What the cell of some customer of the eu holds on one side, whole or its beginning."""
        sides: tuple[Side, ...] = ("a", "b")
        made = Region(self.database, self.dice.choice(sides), "eu")
        value = made.customer(self.dice.choice(made.persons()))[CUSTOMERS.index(column)]
        if isinstance(value, str) and column != "born" and self.dice.random() < 0.3:
            value = value[: self.dice.randrange(1, len(value))]
        return self._value("" if value is None else value)

    def _hint(self) -> str:
        """Mostly the shard with something to see: what several shards answer is often refused for other reasons."""
        weights = _HINTS.get(self.database, {"": 1})
        (shard,) = self.dice.choices(list(weights), list(weights.values()))
        return f"/* fairlead: shard={shard} */ " if shard else ""

    def _db(self) -> str:
        return self.database

    def _marker(self) -> str:
        return MARKER

    def _megabytes(self) -> str:
        return "x" * HUGE


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes.fromhex(match[1].decode())
    return {b"n": b"\n", b"t": b"\t", b"0": b"\0"}[match[2]]
