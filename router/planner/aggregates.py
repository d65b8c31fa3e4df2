"""Aggregate functions over several shards: what each shard is asked, and how the parts are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from router import functions
from router.engine.recipe import Combination, Key, Mean, Operand, Piece, Place, Span, Term
from router.errors import refusal
from router.planner.clauses import Range, split_range
from router.planner.helpers import Helpers
from router.schema import LiveColumn
from router.tokens import Token, closings

_CALLS = functions.AGGREGATES | functions.WINDOW


@dataclass(frozen=True, slots=True)
class Call:
    """An aggregate call: tokens [first, end), its arguments without DISTINCT."""

    name: str
    first: int
    end: int
    arguments: tuple[Range, ...]
    distinct: bool
    window: bool

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return (Span(self.first, self.end - 1),)


def calls_in(tokens: Sequence[Token], within: Range) -> Iterator[Call]:
    """The aggregate and window calls among these tokens that no subquery has for its own."""
    closed = closings(tokens)
    at = within[0]
    while at < within[1]:
        token = tokens[at]
        if token.text == "(" and at + 1 < len(tokens) and tokens[at + 1].upper in ("SELECT", "WITH"):
            at = closed.get(at, within[1])
        elif token.upper in _CALLS and at + 1 < len(tokens) and tokens[at + 1].text == "(":
            end = closed.get(at + 1, within[1] - 1) + 1
            yield _call(tokens, at, end)
            at = end - 1
        at += 1


def _call(tokens: Sequence[Token], first: int, end: int) -> Call:
    inside = first + 2
    distinct = tokens[inside].upper in ("DISTINCT", "DISTINCTROW")
    if distinct or tokens[inside].upper == "ALL":
        inside += 1
    arguments = split_range(tokens, (inside, end - 1))
    window = end < len(tokens) and tokens[end].upper in ("OVER", "WITHIN", "FILTER", "IGNORE", "RESPECT")
    return Call(tokens[first].upper, first, end, arguments, distinct, window)


@dataclass(frozen=True, slots=True)
class Concatenated:
    """What is in the parentheses of GROUP_CONCAT. `order`: each with its direction, descending or not; `separator`: the
    token of its text."""

    arguments: tuple[Range, ...]
    order: tuple[tuple[Range, bool], ...]
    separator: int | None


def concatenated(tokens: Sequence[Token], call: Call) -> Concatenated:
    """Raises Refusal for what is written in another way."""
    first, end = call.arguments[0][0], call.end - 1
    separator = None
    if tokens[end - 2].upper == "SEPARATOR" and tokens[end - 1].kind == "literal":
        separator, end = end - 1, end - 2
    words = [at for at in range(first, end) if _depth(tokens, first, at) == 0]
    at = next((at for at in words if tokens[at].upper == "ORDER" and tokens[at + 1].upper == "BY"), end)
    if any(tokens[one].upper in ("SEPARATOR", "LIMIT") for one in words):
        raise refusal("AGGREGATE_SCATTER", "GROUP_CONCAT (with LIMIT)")
    order = [_directed(tokens, one) for one in split_range(tokens, (at + 2, end))] if at < end else []
    if any(begin + 1 >= behind and tokens[begin].kind in ("literal", "number") for (begin, behind), _ in order):
        raise refusal("AGGREGATE_SCATTER", "GROUP_CONCAT (ordered by a place)")
    return Concatenated(split_range(tokens, (first, at)), tuple(order), separator)


def _depth(tokens: Sequence[Token], first: int, at: int) -> int:
    return sum((token.text == "(") - (token.text == ")") for token in tokens[first:at])


def _directed(tokens: Sequence[Token], within: Range) -> tuple[Range, bool]:
    word = tokens[within[1] - 1].upper
    return ((within[0], within[1] - 1) if word in ("ASC", "DESC") else within), word == "DESC"


@dataclass(slots=True)
class Aggregates:
    """Collects how columns are combined. `live_of`: what the schema knows of an argument that is a plain column.

    `finer`: expressions by which shards group besides, so that DISTINCT values come apart.
    """

    tokens: Sequence[Token]
    helpers: Helpers
    live_of: Callable[[Range], LiveColumn | None]
    combinations: list[Combination] = field(default_factory=list)
    finer: list[tuple[Piece, ...]] = field(default_factory=list)

    def combine(self, call: Call, at: Place) -> None:
        """The column at this place is this call's value. Raises Refusal."""
        if call.window:
            raise refusal("WINDOW_SCATTER")
        if call.name == "GROUP_CONCAT":
            self._texts(call, at)
        elif call.name in _JSON:
            self._json(call, at)
        elif call.distinct and call.name not in ("MIN", "MAX"):
            self._distinct(call, at)
        elif call.name in _PLAIN:
            self.combinations.append(Combination(_PLAIN[call.name], at))
        elif call.name in ("MIN", "MAX"):
            self.combinations.append(Combination(call.name.lower(), at, keys=(self._extreme(call),)))
        elif call.name == "AVG":
            total = self._part("SUM", call)
            self.combinations.append(Combination("average", at, (total, self._part("COUNT", call))))
        elif call.name in _DEVIATIONS:
            sample, root = _DEVIATIONS[call.name]
            count, mean = self._part("COUNT", call), self._part("AVG", call, real=True)
            parts = (count, mean, self._part("VAR_POP", call, real=True))
            self.combinations.append(Combination("deviation", at, parts, sample=sample, root=root))
        elif call.name != "ANY_VALUE":
            raise refusal("AGGREGATE_SCATTER", call.name)

    def operands(self, call: Call, *, unrounded: bool) -> tuple[Term, ...]:
        """The call's value once groups are whole, for an expression. `unrounded`: AVG has more digits than a quotient
        has in SQL. Raises Refusal."""
        if call.window:
            raise refusal("WINDOW_SCATTER")
        if call.name == "AVG":
            total, count = (self._of_average(call, name) for name in ("SUM", "COUNT"))
            if unrounded:
                return (Mean(total, count, self.helpers.add(*call.pieces)),)
            return ("(", total, "/", count, ")")
        if call.name in _DEVIATIONS:
            return (self._combined(self.helpers.add("(", *call.pieces, "+ 0e0)"), call),)
        if call.name == "ANY_VALUE":
            return (self.helpers.operand(call.pieces, None),)
        key = self._extreme(call) if call.name in ("MIN", "MAX") else None
        if call.name in COLLECTING:
            key = self.helpers.operand(call.pieces, None).key
        return (self._combined(self.helpers.add(*call.pieces), call, key),)

    def is_real(self, call: Call, *, unrounded: bool) -> bool:
        """Is its operand right as a number only?"""
        return call.name in _DEVIATIONS or (unrounded and call.name == "AVG")

    def _of_average(self, call: Call, name: str) -> Operand:
        if len(call.arguments) != 1:
            raise refusal("AGGREGATE_SCATTER", call.name)
        first, end = call.arguments[0]
        helper = self.helpers.add(f"{name}({'DISTINCT' if call.distinct else ''} ", Span(first, end - 1), ")")
        return self._combined(helper, replace(call, name=name))

    def _combined(self, helper: int, call: Call, key: Key | None = None) -> Operand:
        """A helper that holds the call's value."""
        place = Place(helper, helper=True)
        if all(one.at != place for one in self.combinations):
            self.combine(call, place)
        return Operand(helper, key)

    def key(self, call: Call, *, descending: bool) -> Key:
        """A key to order by the call's value, once it is combined. Raises Refusal."""
        if call.name in ("MIN", "MAX"):
            key = self._extreme(call)
            helpers = [key.helper, key.helper + 1] if key.form == "auto" else [key.helper]
            for helper in helpers:
                self._once(Combination(call.name.lower(), Place(helper, helper=True), keys=(key,)))
            return Key(key.form, key.helper, descending, key.collation)
        helper = self.helpers.add(*call.pieces)
        place = Place(helper, helper=True)
        if all(one.at != place for one in self.combinations):
            self.combine(call, place)
        return Key("value", helper, descending)

    def _once(self, combination: Combination) -> None:
        if combination not in self.combinations:
            self.combinations.append(combination)

    def _part(self, name: str, call: Call, *, real: bool = False) -> int:
        """A helper column: another aggregate of the same argument."""
        if len(call.arguments) != 1:
            raise refusal("AGGREGATE_SCATTER", call.name)
        first, end = call.arguments[0]
        argument = Span(first, end - 1)
        return self.helpers.add(f"{name}((", argument, ") + 0e0)" if real else "))")

    def _extreme(self, call: Call) -> Key:
        """What MIN and MAX are compared by: text and ENUM as text, whatever order ENUM has otherwise."""
        live = self.live_of(call.arguments[0]) if len(call.arguments) == 1 else None
        return self.helpers.key(call.pieces, live, as_text=True)

    def _texts(self, call: Call, at: Place) -> None:
        """Shards group by the values besides, each with the number of rows that have it."""
        parts = concatenated(self.tokens, call)
        listed = [piece for first, end in parts.arguments for piece in (",", Span(first, end - 1))][1:]
        value: tuple[Piece, ...] = ("CONCAT(", *listed, ")")
        separator: Piece = "','" if parts.separator is None else Span(parts.separator, parts.separator)
        sources = (
            self.helpers.add("MIN(", *value, ")"), self.helpers.add("COUNT(", *value, ")"), self._longest(),
            self.helpers.add("CONCAT(", separator, ")"), self.helpers.add("MIN(COLLATION(", *value, "))"),
        )  # fmt: skip
        keys = [self._finer_key(one) for one in parts.arguments] if call.distinct else []
        order = [self._finer_key(one, descending=descending) for one, descending in parts.order]
        if not call.distinct:
            self._make_finer(("HEX(", *value, ")"))
        self.combinations.append(
            Combination("texts", at, sources, tuple(keys), order=tuple(order), distinct=call.distinct)
        )

    def _finer_key(self, within: Range, *, descending: bool = False) -> Key:
        pieces: tuple[Piece, ...] = (Span(within[0], within[1] - 1),)
        self._make_finer(pieces)
        return self.helpers.key(pieces, self.live_of(within), wrap="MIN", descending=descending)

    def _make_finer(self, pieces: tuple[Piece, ...]) -> None:
        if pieces not in self.finer:
            self.finer.append(pieces)

    def _longest(self) -> int:
        return self.helpers.add("@@group_concat_max_len")

    def _json(self, call: Call, at: Place) -> None:
        """Shards' arrays and objects are put one behind the other. MariaDB's own forms with an order are not."""
        inside = [token.upper for token in self.tokens[call.first : call.end]]
        if call.distinct or "ORDER" in inside or "LIMIT" in inside:
            raise refusal("AGGREGATE_SCATTER", f"{call.name} (with DISTINCT, ORDER BY or LIMIT)")
        array = call.name == "JSON_ARRAYAGG"
        self.combinations.append(
            Combination("array" if array else "object", at, (self._longest(),) if array else ())
        )

    def _distinct(self, call: Call, at: Place) -> None:
        if call.name not in _DISTINCT or (call.name != "COUNT" and len(call.arguments) != 1):
            raise refusal("AGGREGATE_SCATTER", f"{call.name}(DISTINCT …)")
        keys = [self._finer_key(one) for one in call.arguments]
        sources: tuple[int, ...] = ()
        if call.name == "AVG":
            first, end = call.arguments[0]
            sources = (self.helpers.add("SUM( DISTINCT", Span(first, end - 1), ")"),)
        self.combinations.append(Combination(_DISTINCT[call.name], at, sources, tuple(keys)))


_JSON = frozenset({"JSON_ARRAYAGG", "JSON_OBJECTAGG"})
COLLECTING = _JSON | {"GROUP_CONCAT"}
_PLAIN = {"COUNT": "count", "SUM": "sum", "BIT_AND": "and", "BIT_OR": "or", "BIT_XOR": "xor"}
_DISTINCT = {"COUNT": "distinct_count", "SUM": "distinct_sum", "AVG": "distinct_average"}
_DEVIATIONS = {
    "STD": (False, True), "STDDEV": (False, True), "STDDEV_POP": (False, True), "STDDEV_SAMP": (True, True),
    "VAR_POP": (False, False), "VARIANCE": (False, False), "VAR_SAMP": (True, False),
}  # fmt: skip
"""(of a sample, its root)"""
