"""Expressions over aggregates of several shards: in which terms a server computes them once groups are whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from config.words import Flavour
from router.engine.recipe import Computation, Operand, Piece, Place, Span, Term
from router.errors import refusal
from router.planner.aggregates import Aggregates, Call, calls_in
from router.planner.items import Item, live_of
from router.planner.request import Request
from router.relations import Query, resolve
from router.template import parse_text, places


@dataclass(slots=True)
class Expressions:
    """Collects what has to be computed. `alone`: all rows are one group, so no column has a value of its own.
    `flavours`: of the shards."""

    request: Request
    query: Query
    aggregates: Aggregates
    alone: bool
    flavours: frozenset[Flavour]
    computed: list[Computation] = field(default_factory=list)
    _columns: dict[int, tuple[int, exp.Column]] | None = None

    def compute(self, at: Place, pieces: Sequence[Piece], around: tuple[str, str] = ("", "")) -> None:
        """The column at this place is this expression of the whole group, with a text `around` it. Raises Refusal."""
        calls = [call for piece in pieces if isinstance(piece, Span) for call in self._calls(piece)]
        unrounded = any(call.name == "AVG" for call in calls) and self._unrounded(pieces)
        real = any(self.aggregates.is_real(call, unrounded=unrounded) for call in calls)
        terms = tuple(term for piece in pieces for term in self._terms(piece, unrounded=unrounded))
        found = Computation(at, (around[0], *terms, around[1]) if around[0] else terms, real and not around[0])
        if found not in self.computed:
            self.computed.append(found)

    def key_columns(self, pieces: tuple[Piece, ...], helper: int) -> None:
        """The expression's own helper and that of its weights, of an 'auto' key."""
        self.compute(Place(helper, helper=True), pieces)
        self.compute(Place(helper + 1, helper=True), pieces, ("WEIGHT_STRING(", ")"))

    def condition(self, pieces: Sequence[Piece]) -> int:
        """The helper that is 1 where this condition of HAVING holds. Raises Refusal."""
        test = ("((", *pieces, ") IS TRUE)")
        helper = self.aggregates.helpers.add(*test)
        self.compute(Place(helper, helper=True), test)
        return helper

    def without_aliases(self, first: int, end: int, items: Sequence[Item]) -> tuple[Piece, ...]:
        """Tokens [first, end) of HAVING with the select list's text in place of its aliases. Raises Refusal."""
        found: list[Piece] = []
        at = first
        for begin, (last, column) in sorted(self._columns_within(first, end).items()):
            item = next((one for one in items if one.alias == column.name.lower()), None)
            if item is None or last != begin or item.column == resolve(self.query, column) is not None:
                continue
            if any(one.has(column.name.lower()) is not False for one in self.query.relations):
                raise refusal("MERGE_FORM", "HAVING a name that may be a column's or an alias")
            found += [*([Span(at, begin - 1)] if begin > at else []), "(", *item.pieces, ")"]
            at = last + 1
        return (*found, *([Span(at, end - 1)] if at < end else []))

    def _unrounded(self, pieces: Sequence[Piece]) -> bool:
        """Does the expression see more digits of its AVG than SUM / COUNT has? MySQL rounds the latter only, MariaDB
        neither. Raises Refusal where that is not certain."""
        if len(self.flavours) > 1:
            raise refusal("AGGREGATE_EXPRESSION", "AVG() on servers of several kinds")
        if Flavour.MYSQL not in self.flavours:
            return False
        found = {digits_seen(node) for node in self._parsed(pieces).find_all(exp.Avg)}
        if len(found) != 1 or None in found:
            raise refusal("AGGREGATE_EXPRESSION", "the digits of AVG() that it takes; use SUM() / COUNT() instead")
        return found == {True}

    def _parsed(self, pieces: Sequence[Piece]) -> exp.Expr:
        texts = [self._written(piece) if isinstance(piece, Span) else str(piece) for piece in pieces]
        return parse_text(f"SELECT {' '.join(texts)}")

    def _written(self, span: Span) -> str:
        tokens = self.request.tokens[span.first : span.last + 1]
        return " ".join("'$'" if token.kind == "literal" else token.text for token in tokens)

    # --- terms ----------------------------------------------------------------------------------------------

    def _calls(self, span: Span) -> list[Call]:
        return list(calls_in(self.request.tokens, (span.first, span.last + 1)))

    def _terms(self, piece: Piece, *, unrounded: bool) -> Iterator[Term]:
        """Raises Refusal for what is neither an aggregate's value nor the same in all rows of a group."""
        if not isinstance(piece, Span):
            assert isinstance(piece, str)
            yield piece
            return
        if any(token.upper in ("SELECT", "WITH") for token in self.request.tokens[piece.first : piece.last + 1]):
            raise refusal("AGGREGATE_EXPRESSION", "a subquery beside aggregates")
        at = piece.first
        for begin, end, terms in self._replaced(piece, unrounded=unrounded):
            if begin > at:
                yield Span(at, begin - 1)
            yield from terms
            at = end
        if at <= piece.last:
            yield Span(at, piece.last)

    def _replaced(self, span: Span, *, unrounded: bool) -> list[tuple[int, int, tuple[Term, ...]]]:
        """Tokens [begin, end) and what stands for them: aggregates, and columns outside of them."""
        calls = self._calls(span)
        found = [(call.first, call.end, self.aggregates.operands(call, unrounded=unrounded)) for call in calls]
        for begin, (last, column) in self._columns_within(span.first, span.last + 1).items():
            if not any(call.first < begin < call.end for call in calls):
                found.append((begin, last + 1, (self._column(begin, last, column),)))
        return sorted(found, key=lambda one: one[0])

    def _column(self, begin: int, last: int, column: exp.Column) -> Operand:
        if self.alone:
            raise refusal("MERGE_FORM", "a column beside aggregates of all rows")
        known = resolve(self.query, column)
        if known is None or known[0].has(known[1]) is not True:
            raise refusal("MERGE_FORM", "a name beside aggregates that may be a column's or something else")
        return self.aggregates.helpers.operand((Span(begin, last),), live_of(known))

    def _columns_within(self, first: int, end: int) -> dict[int, tuple[int, exp.Column]]:
        """The statement's own columns by their first token: (last token, the column)."""
        if self._columns is None:
            self._columns = dict(self._read_columns())
        return {begin: found for begin, found in self._columns.items() if first <= begin < end}

    def _read_columns(self) -> Iterator[tuple[int, tuple[int, exp.Column]]]:
        where = places(self.request.lexed, self.request.tokens)
        for column in self.query.tree.find_all(exp.Column):
            last = where.get(column.this.meta.get("start", -1))
            if last is None or column.parent_select is not self.query.tree:
                continue
            begin = last - 2 * sum(bool(column.args.get(part)) for part in ("table", "db", "catalog"))
            yield begin, (last, column)


_ARITHMETIC = (exp.Paren, exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Abs)
_SETTLED = (exp.Predicate, exp.Round, exp.Ceil, exp.Floor)
"""Their value does not tell how many digits theirs was declared with."""
_PASSING = (exp.Paren, exp.Coalesce, exp.If, exp.Case, exp.Select)
"""They give a value on as it is."""


def digits_seen(average: exp.Expr) -> bool | None:
    """Does what is around an AVG compute with all its digits (True), or show those that it is declared with (False)?"""
    above = list(_above(average))
    passed = [node for node in above if not isinstance(node, exp.Paren)]
    if all(isinstance(node, _PASSING) for node in passed) or _is_text(passed[0]):
        return False
    for node in above:
        if isinstance(node, (*_SETTLED, exp.Select)) or (isinstance(node, exp.Cast) and not _is_text(node)):
            return True
        if not isinstance(node, _ARITHMETIC):
            return None
    return True


def _is_text(node: exp.Expr) -> bool:
    if isinstance(node, exp.Cast):
        return not node.is_type(*exp.DataType.NUMERIC_TYPES)
    return isinstance(node, exp.Concat)


def _above(node: exp.Expr) -> Iterator[exp.Expr]:
    while node.parent is not None:
        node = node.parent
        yield node
