"""From a SELECT over several shards to the recipe by which their answers are merged.

Shards get the statement as it is, with helper columns behind its select list and LIMIT widened. Everything errs
towards a refusal: what is not certain to be one server's answer is not merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from router.engine.assemble import norm_of
from router.engine.recipe import Grouping, Key, Limit, Piece, Place, Recipe, ShardLimit, Span
from router.errors import refusal
from router.planner.aggregates import COLLECTING, Aggregates, Call, calls_in
from router.planner.apart import keeps_apart
from router.planner.clauses import Clauses, Range, clauses_of
from router.planner.expressions import Expressions
from router.planner.having import Conditions
from router.planner.helpers import Helpers
from router.planner.items import Item, items_of, live_of
from router.planner.limits import limit_of
from router.planner.parsed import Parsed
from router.planner.placement import Placement
from router.planner.request import Request
from router.planner.unions import union_recipe
from router.relations import ColumnId, Query, resolve
from router.schema import LiveColumn
from router.template import places
from router.tokens import Token


def recipe_of(request: Request, parsed: Parsed, placement: Placement) -> Recipe | None:
    """How the statement's rows are merged; None: by concatenating them. Raises Refusal."""
    tree = parsed.tree
    if isinstance(tree, exp.SetOperation):
        return union_recipe(request, parsed, placement)
    aggregates = any(not call.window for call in calls_in(request.tokens, (0, len(request.tokens))))
    if not aggregates and not any(tree.args.get(part) for part in ("order", "limit", "offset", "distinct", "group")):
        return None
    clauses = clauses_of(request.tokens) if isinstance(tree, exp.Select) else None
    if clauses is None or parsed.query is None:
        raise refusal("MERGE_FORM", "parentheses around the whole")
    helpers = Helpers(known=request.context.policy is None)
    return _Merging(request, parsed.query, clauses, placement, helpers).recipe(aggregates=aggregates)


@dataclass(slots=True)
class _Merging:
    request: Request
    query: Query
    clauses: Clauses
    placement: Placement
    helpers: Helpers

    @property
    def tokens(self) -> tuple[Token, ...]:
        return self.request.tokens

    def recipe(self, *, aggregates: bool) -> Recipe:
        limit = limit_of(self.tokens, self.request.lexed, self.clauses.clauses.get("LIMIT"))
        distinct = bool(self.query.tree.args.get("distinct"))
        orders = Orders(self.request, self.query, self.clauses, self.helpers)
        grouped = self._grouping(orders) if self._groups_over_shards(orders, aggregates=aggregates) else None
        distinct = distinct and not (grouped is not None and grouped.keys is None)
        order = tuple(orders.keys(distinct=distinct))
        same = tuple(self._every_column(orders)) if distinct else None
        whole = grouped is not None or not _limits_apart(same)
        edits = self._edits(limit, whole=whole)
        if grouped is not None:
            edits += self._group_edits(grouped)
        pieces = edited(self.tokens, edits)
        norm = norm_of(pieces, self.request.norm, self.tokens, self.request.context.mode)
        group = grouped.done() if grouped is not None else None
        return Recipe(pieces, len(self.helpers.columns), order, same, limit, group, norm, self.tokens)

    # --- groups ---------------------------------------------------------------------------------------------

    def _groups_over_shards(self, orders: Orders, *, aggregates: bool) -> bool:
        """Are there groups that have rows on several shards? Raises Refusal for what cannot be grouped over them."""
        group = self.query.tree.args.get("group")
        if group is None and not aggregates:
            return False
        if group is not None and keeps_apart(self.query, self.placement.sharded, [one for _, one in orders.groups()]):
            return False
        if group is not None and ("ROLLUP" in {token.upper for token in self.tokens}):
            raise refusal("ROLLUP_SCATTER")
        return True

    def _grouping(self, orders: Orders) -> Grouped:
        keys = None
        if self.query.tree.args.get("group"):
            keys = tuple(self.helpers.key(pieces, live_of(one), wrap="MIN") for pieces, one in orders.groups())
        aggregates = Aggregates(self.tokens, self.helpers, self._argument)
        flavours = frozenset(shard.flavour for shard in self.placement.keyspace.shards)
        expressions = Expressions(self.request, self.query, aggregates, keys is None, flavours)
        for number, item in enumerate(orders.items()):
            found = [call for piece in item.pieces if isinstance(piece, Span) for call in self._calls(piece)]
            if found and item.pieces != found[0].pieces:
                expressions.compute(Place(number), item.pieces)
                continue
            if keys is None:
                _check_same(item, found)
            for call in found:
                aggregates.combine(call, Place(number))
        orders.expressions = expressions
        return Grouped(keys, expressions, self._having(orders, expressions))

    def _having(self, orders: Orders, expressions: Expressions) -> Conditions:
        found = Conditions(self.tokens, self.request.lexed, orders.items(), expressions.aggregates, expressions)
        within = self.clauses.clauses.get("HAVING")
        if within is not None:
            found.read(within)
        return found

    def _calls(self, span: Span) -> list[Call]:
        return list(calls_in(self.tokens, (span.first, span.last + 1)))

    def _argument(self, within: Range) -> LiveColumn | None:
        """The column that an aggregate's argument is, when it is written as one."""
        words = [token.name for token in self.tokens[within[0] : within[1]] if token.is_name]
        if within[1] - within[0] not in (1, 3) or len(words) != (within[1] - within[0] + 1) // 2:
            return None
        column = exp.column(words[-1], table=words[0] if len(words) == 2 else None, quoted=True)
        return live_of(resolve(self.query, column))

    def _group_edits(self, grouped: Grouped) -> list[Edit]:
        """Shards leave out what they cannot decide of HAVING, and group by DISTINCT values besides."""
        asked = tuple(grouped.having.asked)
        finer = self._finer(grouped.expressions.aggregates)
        if "HAVING" not in self.clauses.begins:
            return finer
        return [*finer, Edit(self._of("HAVING"), ("HAVING", *asked) if asked else ())]

    def _finer(self, aggregates: Aggregates) -> list[Edit]:
        if not aggregates.finer:
            return []
        listed = [piece for pieces in aggregates.finer for piece in (",", *pieces)]
        if "GROUP" in self.clauses.clauses:
            at = self.clauses.clauses["GROUP"][1]
            return [Edit((at, at), tuple(listed))]
        names = ("HAVING", "WINDOW", "ORDER", "LIMIT")
        later = [self.clauses.begins[name] for name in names if name in self.clauses.begins]
        at = min(later, default=self.clauses.end)
        return [Edit((at, at), ("GROUP BY", *listed[1:]))]

    def _every_column(self, orders: Orders) -> list[Key]:
        if orders.expressions is not None:
            return [orders.of_groups(item.pieces, item.live) for item in orders.items()]
        return [self.helpers.key(item.pieces, item.live) for item in orders.items()]

    def _edits(self, limit: Limit | None, *, whole: bool) -> list[Edit]:
        edits: list[Edit] = []
        if self.helpers.columns:
            listed = tuple(piece for column in self.helpers.columns for piece in (",", *column))
            at = self.clauses.begins["FROM"]
            edits.append(Edit((at, at), listed))
        if limit is not None:
            edits.append(Edit(self._of("LIMIT"), ("LIMIT", ShardLimit(whole))))
        return edits

    def _of(self, clause: str) -> Range:
        return self.clauses.begins[clause], self.clauses.clauses[clause][1]


def _check_same(item: Item, calls: Sequence[Call]) -> None:
    """A shard without rows has no value for a column that stands beside aggregates of all rows. Raises Refusal."""
    if any(call.name == "ANY_VALUE" for call in calls):
        raise refusal("AGGREGATE_SCATTER", "ANY_VALUE")
    if not calls and (item.node is None or item.node.find(exp.Column) is not None):
        raise refusal("MERGE_FORM", "a column beside aggregates of all rows")


def _limits_apart(same: tuple[Key, ...] | None) -> bool:
    """May each shard stop at offset + count rows? Not when rows that it takes for different are equal for us."""
    return same is None or all(key.form == "value" for key in same)


@dataclass(frozen=True, slots=True)
class Grouped:
    """A grouping in the making: ORDER BY may still add to its aggregates."""

    keys: tuple[Key, ...] | None
    expressions: Expressions
    having: Conditions

    def done(self) -> Grouping:
        combinations = tuple(self.expressions.aggregates.combinations)
        return Grouping(self.keys, combinations, tuple(self.having.waiting), tuple(self.expressions.computed))


@dataclass(frozen=True, slots=True)
class Edit:
    """Tokens [first, end) are replaced; an empty range: the pieces go before `first`."""

    at: Range
    pieces: tuple[Piece, ...]


def edited(tokens: Sequence[Token], edits: Sequence[Edit]) -> tuple[Piece, ...]:
    """The whole text with its edits."""
    found: list[Piece] = []
    at = 0
    for edit in sorted(edits, key=lambda one: one.at):
        first, end = edit.at
        if first > at:
            found.append(Span(at, first - 1))
        found += edit.pieces
        at = end
    if at < len(tokens):
        found.append(Span(at, len(tokens) - 1))
    return tuple(found)


@dataclass(slots=True)
class Orders:
    """ORDER BY as keys."""

    request: Request
    query: Query
    clauses: Clauses
    helpers: Helpers
    expressions: Expressions | None = None
    _items: list[Item] | None = None

    def groups(self) -> list[tuple[tuple[Piece, ...], ColumnId | None]]:
        """GROUP BY: the text of each part, and the column that it is. Raises Refusal."""
        group = self.query.tree.args["group"]
        ranges = self.clauses.parts(self.request.tokens, "GROUP")
        nodes = group.expressions
        if len(nodes) != len(ranges):
            if "ROLLUP" in {token.upper for token in self.request.tokens}:
                raise refusal("ROLLUP_SCATTER")
            raise refusal("MERGE_FORM", "GROUP BY in an unusual form")
        return [self._group(node, within) for node, within in zip(nodes, ranges, strict=True)]

    def _group(self, node: exp.Expr, within: Range) -> tuple[tuple[Piece, ...], ColumnId | None]:
        tokens = self.request.tokens[within[0] : within[1]]
        if len(tokens) == 1 and tokens[0].kind == "number":
            item = self._at(tokens[0].text)
            return item.pieces, item.column
        if len(tokens) == 1 and tokens[0].is_name and isinstance(node, exp.Column):
            has = [one.has(node.name.lower()) for one in self.query.relations]
            if True not in has:
                named = self._named(node.name.lower())
                if None in has or named is None:
                    raise refusal("MERGE_FORM", "GROUP BY a name that may be a column's or an alias")
                return named.pieces, named.column
        return (Span(within[0], within[1] - 1),), resolve(self.query, node)

    def keys(self, *, distinct: bool = False) -> list[Key]:
        """Raises Refusal for an order that cannot be followed outside of a server."""
        order = self.query.tree.args.get("order")
        nodes = order.expressions if order is not None else []
        ranges = self.clauses.parts(self.request.tokens, "ORDER")
        if len(nodes) != len(ranges):
            raise refusal("MERGE_FORM", "ORDER BY in an unusual form")
        keys = [self._key(node, within, distinct=distinct) for node, within in zip(nodes, ranges, strict=True)]
        return [key for key in keys if key is not None]

    def _key(self, node: exp.Expr, within: Range, *, distinct: bool) -> Key | None:
        """None: a constant, which orders nothing."""
        tokens = self.request.tokens
        first, end = within
        descending = tokens[end - 1].upper == "DESC"
        if tokens[end - 1].upper in ("ASC", "DESC"):
            end -= 1
        node = node.this if isinstance(node, exp.Ordered) else node
        if end - first == 1 and (tokens[first].kind == "literal" or tokens[first].upper == "NULL"):
            return None
        item = self._item(node, tokens[first:end])
        if self.expressions is not None:
            item = item or next((one for one in self.items() if one.node == node), None)
            if item is None and distinct:
                raise refusal("DISTINCT_ORDER")
            pieces = item.pieces if item is not None else self._expression(node, first, end)
            live = item.live if item is not None else live_of(resolve(self.query, node))
            return self.of_groups(pieces, live, descending=descending)
        if item is None and distinct and not self._is_selected(node):
            raise refusal("DISTINCT_ORDER")
        if item is not None:
            return self.helpers.key(item.pieces, item.live, descending=descending)
        pieces = self._expression(node, first, end)
        return self.helpers.key(pieces, live_of(resolve(self.query, node)), descending=descending)

    def of_groups(self, pieces: tuple[Piece, ...], live: LiveColumn | None, *, descending: bool = False) -> Key:
        """A key of groups: an aggregate, an expression over some, or what is the same in all rows of a group. Raises
        Refusal."""
        assert self.expressions is not None
        spans = [piece for piece in pieces if isinstance(piece, Span)]
        calls = [call for span in spans for call in calls_in(self.request.tokens, (span.first, span.last + 1))]
        if not calls:
            return self.helpers.key(pieces, live, descending=descending, wrap="MIN")
        if pieces == calls[0].pieces and calls[0].name not in COLLECTING:
            return self.expressions.aggregates.key(calls[0], descending=descending)
        key = self.helpers.key(pieces, None, descending=descending)
        self.expressions.key_columns(pieces, key.helper)
        return key

    def items(self) -> list[Item]:
        if self._items is None:
            self._items = items_of(self.query, self.request.tokens, self.clauses.items)
        return self._items

    def _item(self, node: exp.Expr, tokens: Sequence[Token]) -> Item | None:
        """The column of the select list that an order names by its place, its alias or its name."""
        if len(tokens) == 1 and tokens[0].kind == "number":
            return self._at(tokens[0].text)
        if len(tokens) != 1 or not tokens[0].is_name or not isinstance(node, exp.Column):
            return None
        return self._named(tokens[0].name.lower())

    def _at(self, number: str) -> Item:
        place = int(number) if number.isdigit() else 0
        if not 1 <= place <= len(self.items()):
            raise refusal("MERGE_FORM", "ORDER BY a column that is not there")
        return self.items()[place - 1]

    def _named(self, name: str) -> Item | None:
        """Raises Refusal when several columns are called so."""
        if all(one.is_star for one in self.query.tree.expressions):
            return None
        listed = self._listed()
        found = [one for one in listed if one.alias == name] or [
            one for one in listed if one.alias is None and one.name == name
        ]
        if len({one.pieces for one in found}) > 1 and len({one.column for one in found}) > 1:
            raise refusal("MERGE_FORM", "ORDER BY a name that several columns have")
        return found[0] if found else None

    def _listed(self) -> list[Item]:
        """The columns that are written one by one."""
        if not any(one.is_star for one in self.query.tree.expressions):
            return self.items()
        pairs = zip(self.query.tree.expressions, self.clauses.items, strict=False)
        written = [(node, within) for node, within in pairs if not node.is_star]
        tree = replace_expressions(self.query.tree, [node for node, _ in written])
        return items_of(replace(self.query, tree=tree), self.request.tokens, [within for _, within in written])

    def _is_selected(self, node: exp.Expr) -> bool:
        """Is this very expression in the select list?"""
        column = resolve(self.query, node)
        if column is not None:
            return any(item.column == column for item in self.items())
        return any(item.node == node for item in self.items())

    def _expression(self, node: exp.Expr, first: int, end: int) -> tuple[Piece, ...]:
        """Its text, with the select list's in place of aliases that no table has a column of. Raises Refusal."""
        where: dict[int, tuple[Piece, ...]] = {}
        for column in node.find_all(exp.Column):
            if column.table or not isinstance(column.this, exp.Identifier):
                continue
            item = self._alias_of(column)
            if item is not None:
                where[self._token_of(column.this)] = ("(", *item.pieces, ")")
        return within_edits(first, end, where)

    def _token_of(self, name: exp.Expr) -> int:
        found = places(self.request.lexed, self.request.tokens).get(name.meta.get("start", -1))
        if found is None:
            raise refusal("MERGE_FORM", "a name whose place in the text is not known")
        return found

    def _alias_of(self, column: exp.Column) -> Item | None:
        name = column.name.lower()
        found = [one for one in self._listed() if one.alias == name]
        if not found or any(one.has(name) is True for one in self.query.relations):
            return None
        if any(one.has(name) is None for one in self.query.relations):
            raise refusal("MERGE_FORM", "ORDER BY an expression of a name that may be a column's or an alias")
        return found[0]


def replace_expressions(tree: exp.Expr, expressions: list[exp.Expr]) -> exp.Expr:
    """A shallow stand-in of a SELECT with another list."""
    stand_in = exp.Select()
    stand_in.args["expressions"] = expressions
    return stand_in


def within_edits(first: int, end: int, where: dict[int, tuple[Piece, ...]]) -> tuple[Piece, ...]:
    """Tokens [first, end) with some of them replaced."""
    found: list[Piece] = []
    at = first
    for token in sorted(where):
        if token > at:
            found.append(Span(at, token - 1))
        found += where[token]
        at = token + 1
    if at < end:
        found.append(Span(at, end - 1))
    return tuple(found)
