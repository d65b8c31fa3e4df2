"""Conditions that one table's rows meet by themselves, as ranges of tokens: what its shards can decide beforehand.

WHERE and ON are parted at their ANDs among the tokens. A part stands for a condition of the tree only if it is read as
that very condition again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlglot import exp

from router import functions
from router.planner.clauses import Range
from router.planner.request import Request
from router.relations import Relation, resolve
from router.template import NotUnderstood, parse_text, part_of, places
from router.tokens import closings

_ENDS = frozenset(
    {"GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "FOR", "LOCK", "INTO", ";", ","}
    | {"JOIN", "INNER", "CROSS", "NATURAL", "STRAIGHT_JOIN", "ON", "USING", "WHERE", "PROCEDURE"}
)
_SIDES = frozenset({"LEFT", "RIGHT"})
_EITHER = frozenset({"OR", "XOR", "||"})
_MOVING = functions.UNSTABLE | functions.CONNECTION | functions.WAITS | functions.SERVER


@dataclass(slots=True)
class Conditions:
    """Those of one statement."""

    request: Request
    _parts: list[Range] | None = None
    _places: dict[int, int] = field(default_factory=dict)
    _closed: dict[int, int] = field(default_factory=dict)

    def of(self, relation: Relation) -> list[Range]:
        """What every row of the relation that matters meets, and what is about nothing but it."""
        if self._parts is None:
            self._closed = closings(self.request.tokens)
            self._places = places(self.request.lexed, self.request.tokens)
            self._parts = [part for region in self._regions() for part in self._split(*region)]
        nodes = relation.conditions if relation.nullable else relation.query.filters
        found = (self._range(node) for node in nodes if _is_about(node, relation))
        return [one for one in found if one is not None and self._is_steady(one)]

    def _range(self, node: exp.Expr) -> Range | None:
        column = node.find(exp.Column)
        at = self._places.get(column.this.meta.get("start", -1)) if column is not None else None
        if at is None:
            return None
        for first, end in self._parts or []:
            if first <= at < end and self._reads_as(first, end, node):
                return first, end
        return None

    def _reads_as(self, first: int, end: int, node: exp.Expr) -> bool:
        try:
            tree = parse_text("SELECT " + part_of(self.request.lexed, self.request.tokens, first, end))
        except NotUnderstood:
            return False
        return isinstance(tree, exp.Select) and len(tree.expressions) == 1 and tree.expressions[0] == node

    def _is_steady(self, within: Range) -> bool:
        """Is its value the same wherever and whenever it is computed?"""
        tokens = self.request.tokens[within[0] : within[1]]
        return not any(
            token.kind in ("user_variable", "system_variable") or token.upper in _MOVING for token in tokens
        )

    def _regions(self) -> Iterator[Range]:
        tokens = self.request.tokens
        for index, token in enumerate(tokens):
            if token.upper in ("WHERE", "ON"):
                yield index + 1, self._end(index + 1)

    def _end(self, index: int) -> int:
        tokens = self.request.tokens
        while index < len(tokens):
            token = tokens[index]
            if token.text == "(":
                index = self._closed.get(index, len(tokens))
            elif token.text == ")" or token.upper in _ENDS or (token.upper in _SIDES and not self._is_call(index)):
                return index
            index += 1
        return index

    def _is_call(self, index: int) -> bool:
        return index + 1 < len(self.request.tokens) and self.request.tokens[index + 1].text == "("

    def _split(self, first: int, end: int) -> Iterator[Range]:
        """The parts of an AND chain, parentheses undone: as `relations.conjuncts` of the tree."""
        tokens = self.request.tokens
        while end - first > 2 and tokens[first].text == "(" and self._closed.get(first) == end - 1:
            first, end = first + 1, end - 1
        cuts = self._cuts(first, end)
        if not cuts:
            yield first, end
            return
        for begin, stop in zip([first, *(cut + 1 for cut in cuts)], [*cuts, end], strict=True):
            yield from self._split(begin, stop)

    def _cuts(self, first: int, end: int) -> list[int]:
        """Where the ANDs are; none in what is an OR of something."""
        tokens = self.request.tokens
        cuts: list[int] = []
        cases = between = 0
        index = first
        while index < end:
            word = tokens[index].upper
            if word == "(":
                index = self._closed.get(index, end)
            cases += (word == "CASE") - (word == "END")
            if not cases and word in _EITHER:
                return []
            if not cases and word == "BETWEEN":
                between += 1
            elif not cases and word in ("AND", "&&"):
                if between:
                    between -= 1
                else:
                    cuts.append(index)
            index += 1
        return cuts


def _is_about(node: exp.Expr, relation: Relation) -> bool:
    """Does it look at nothing but columns of this relation, row by row?"""
    if node.find(exp.Select, exp.SetOperation, exp.AggFunc, exp.Window) is not None:
        return False
    columns = list(node.find_all(exp.Column))
    found = [resolve(relation.query, column) for column in columns]
    return bool(columns) and all(one is not None and one[0] is relation for one in found)
