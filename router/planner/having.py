"""HAVING of groups that have rows on several shards: what each shard can decide, and what waits for whole groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from _speedups import lexer
from router import functions
from router.engine.recipe import COMPUTED, Condition, Piece, Span
from router.planner.aggregates import Aggregates, Call, calls_in
from router.planner.clauses import Range
from router.planner.expressions import Expressions
from router.planner.items import Item
from router.template import literal_slots
from router.tokens import Token

_OPERATORS = {"=": "=", "<>": "<>", "!=": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
"""Each comparison and its mirror image."""
_NUMBERS = frozenset({lexer.INT, lexer.DECIMAL, lexer.FLOAT, lexer.PARAM})
_NUMERIC = functions.AGGREGATES - {
    "MIN", "MAX", "AVG", "ANY_VALUE", "GROUP_CONCAT", "JSON_ARRAYAGG", "JSON_OBJECTAGG"
}  # fmt: skip
_JOINS = frozenset({"OR", "XOR", "BETWEEN", "CASE", "||", "&&"})


@dataclass(slots=True)
class Conditions:
    """`asked`: conditions for the shards, which are the same for every part of a group; `waiting`: the others."""

    tokens: Sequence[Token]
    lexed: lexer.LexedStatement
    items: Sequence[Item]
    aggregates: Aggregates
    expressions: Expressions
    asked: list[Piece] = field(default_factory=list)
    waiting: list[Condition] = field(default_factory=list)

    def read(self, within: Range) -> None:
        """Raises Refusal for a condition that can neither be decided by the shards nor computed behind them."""
        for first, end in self._parts(within):
            aliases = [token for token in self.tokens[first:end] if self._aggregate(token) is not None]
            # Shards without a row would leave a group of all rows without rows, which is another one.
            if not self.expressions.alone and not aliases and not list(calls_in(self.tokens, (first, end))):
                self.asked += [*(["AND"] if self.asked else []), "(", Span(first, end - 1), ")"]
            else:
                self.waiting.append(self._comparison(first, end) or self._computed(first, end))

    def _computed(self, first: int, end: int) -> Condition:
        pieces = self.expressions.without_aliases(first, end, self.items)
        return Condition(self.expressions.condition(pieces), "=", COMPUTED)

    def _parts(self, within: Range) -> list[Range]:
        """Between the top-level ANDs."""
        found: list[Range] = []
        depth, first = 0, within[0]
        for at in range(*within):
            token = self.tokens[at]
            depth += (token.text == "(") - (token.text == ")")
            if depth == 0 and token.upper in _JOINS:
                return [within]
            if depth == 0 and token.upper == "AND":
                found.append((first, at))
                first = at + 1
        return [*found, (first, within[1])]

    def _aggregate(self, token: Token) -> Call | None:
        """The aggregate that this name is an alias of."""
        if not token.is_name:
            return None
        named = next((item for item in self.items if item.alias == token.name.lower()), None)
        spans = [piece for piece in named.pieces if isinstance(piece, Span)] if named is not None else []
        return next((call for span in spans for call in calls_in(self.tokens, (span.first, span.last + 1))), None)

    def _comparison(self, first: int, end: int) -> Condition | None:
        """An aggregate with a number, which needs no server."""
        places = [at for at in _bare(self.tokens, (first, end)) if self.tokens[at].text in _OPERATORS]
        if len(places) != 1:
            return None
        at = places[0]
        operator = self.tokens[at].text
        sides = [((first, at), (at + 1, end), operator), ((at + 1, end), (first, at), _OPERATORS[operator])]
        for one, other, sign in sides:
            call, number = self._call(one), self._number(other)
            if call is not None and number is not None and call.name in _NUMERIC:
                helper = self.aggregates.key(call, descending=False)
                return Condition(helper.helper, "<>" if sign == "!=" else sign, *number)
        return None

    def _call(self, within: Range) -> Call | None:
        if within[1] - within[0] == 1:
            token = self.tokens[within[0]]
            call = self._aggregate(token)
            item = next((one for one in self.items if one.alias == token.name.lower()), None) if call else None
            return call if item is not None and call is not None and item.pieces == call.pieces else None
        found = list(calls_in(self.tokens, within))
        return found[0] if len(found) == 1 and (found[0].first, found[0].end) == within else None

    def _number(self, within: Range) -> tuple[int, bool] | None:
        """(slot, is a minus before it) of a number or parameter."""
        tokens = self.tokens[within[0] : within[1]]
        negate = len(tokens) == 2 and tokens[0].text == "-"
        if len(tokens) != 1 + negate or tokens[-1].kind != "literal":
            return None
        slot = literal_slots(self.lexed)[tokens[-1].literal]
        return (slot, negate) if self.lexed.slots[slot].kind in _NUMBERS else None


def _bare(tokens: Sequence[Token], within: Range) -> Iterator[int]:
    """The tokens outside of all parentheses."""
    depth = 0
    for at in range(*within):
        depth += (tokens[at].text == "(") - (tokens[at].text == ")")
        if depth == 0:
            yield at

