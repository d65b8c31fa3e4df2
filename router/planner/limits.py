"""LIMIT as slots of its literals."""

from __future__ import annotations

from collections.abc import Sequence

from _speedups.lexer import LexedStatement
from router.engine.recipe import Limit
from router.errors import refusal
from router.planner.clauses import Range
from router.template import literal_slots
from router.tokens import Token


def limit_of(tokens: Sequence[Token], lexed: LexedStatement, within: Range | None) -> Limit | None:
    """What is written behind LIMIT. Raises Refusal when that is not of literals and parameters."""
    if within is None:
        return None
    part = tokens[within[0] : within[1]]
    words = ["?" if token.kind == "literal" else token.upper for token in part]
    slots = literal_slots(lexed)
    values = [slots[token.literal] for token in part if token.kind == "literal"]
    if words == ["?"]:
        return Limit(values[0])
    if words == ["?", ",", "?"]:
        return Limit(values[1], values[0])
    if words == ["?", "OFFSET", "?"]:
        return Limit(*values)
    raise refusal("MERGE_FORM", "LIMIT in an unusual form")
