"""Set operations over several shards: what each shard can do for itself, and what is done with their rows.

Shards get the client's own text as a derived table, with helper columns beside it and its ORDER BY and LIMIT behind:

    SELECT fairlead_union.*, helpers FROM (…) AS fairlead_union ORDER BY … LIMIT …
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from router.engine.assemble import norm_of
from router.engine.recipe import Key, Limit, Piece, Recipe, ShardLimit, Span
from router.errors import Refusal, refusal
from router.pinning import environment
from router.planner.clauses import Range, split_range
from router.planner.helpers import Helpers
from router.planner.limits import limit_of
from router.planner.parsed import Parsed
from router.planner.placement import Placement
from router.planner.request import Request
from router.relations import ColumnId, Query, Relation, resolve
from router.tokens import Token, quoted

NAME = "fairlead_union"


def union_problem(query: Query, placement: Placement) -> Refusal | None:
    """Why the arms cannot be done by each shard for itself; their own shapes are looked at elsewhere."""
    if meets_itself(query, placement):
        return None
    if not isinstance(query.tree, exp.Union) or not _alike(query, distinct=bool(query.tree.args.get("distinct"))):
        return refusal("CROSS_SHARD_UNION")
    for arm in query.all_arms():
        if any(one in placement.sharded for one in arm.relations):
            continue
        if not query.tree.args.get("distinct") or any(one in placement.sharded for one in arm.tables()):
            # Rows of reference tables alone would come from every shard.
            return refusal("CROSS_SHARD_UNION")
    return None


def _alike(query: Query, *, distinct: bool) -> bool:
    """Unions of filters, all of them ALL, unless the last one makes everything distinct."""
    for arm in query.arms:
        if arm.limited or arm.has_limit or arm.tree.args.get("order"):
            return False
        if arm.arms:
            if not isinstance(arm.tree, exp.Union) or (not distinct and arm.tree.args.get("distinct")):
                return False
            if not _alike(arm, distinct=distinct):
                return False
        elif not (arm.simple or (distinct and _only_distinct(arm))):
            return False
    return True


def _only_distinct(arm: Query) -> bool:
    parts = ("group", "having", "windows", "qualify")
    plain = not any(isinstance(node, exp.AggFunc | exp.Window) for node in arm.tree.walk())
    return isinstance(arm.tree, exp.Select) and plain and not any(arm.tree.args.get(part) for part in parts)


def meets_itself(query: Query, placement: Placement) -> bool:
    """Do equal rows of all arms have one shard key, and so one shard? Then it may be any set operation."""
    arms = list(query.all_arms())
    if any(arm.limited or arm.has_limit or not isinstance(arm.tree, exp.Select) for arm in arms):
        return False
    if any(one.arms and one is not query and (one.has_limit or one.tree.args.get("order")) for one in query.all()):
        return False
    places = [_key_places(arm, placement.sharded) for arm in arms]
    return all(places) and bool(set.intersection(*places))


def _key_places(arm: Query, sharded: Sequence[Relation]) -> set[tuple[object, ...]]:
    """Where the arm's columns are a shard key: the places of all its columns, and their types."""
    items = arm.tree.expressions
    if any(item.is_star for item in items) or not arm.simple:
        return set()
    columns = [resolve(arm, item.unalias()) for item in items]
    found: set[tuple[object, ...]] = set()
    for relation in sharded:
        if relation.query is arm and not relation.nullable and relation.declared is not None:
            at = [_place_of((relation, name.lower()), columns, relation) for name in relation.declared.columns]
            if None not in at:
                found.add((*at, *(_type_of(relation, name) for name in relation.declared.columns)))
    return found


def _place_of(key: ColumnId, columns: Sequence[ColumnId | None], relation: Relation) -> int | None:
    classes = environment(relation).classes
    return next((at for at, one in enumerate(columns) if one is not None and classes.same(key, one)), None)


def _type_of(relation: Relation, name: str) -> object:
    live = relation.live.column(name) if relation.live is not None else None
    return (live.column_type, live.collation) if live is not None else id(relation)


def union_recipe(request: Request, parsed: Parsed, placement: Placement) -> Recipe | None:
    """How the arms' rows of several shards are put together; None: one behind the other. Raises Refusal."""
    assert parsed.query is not None
    distinct = bool(parsed.tree.args.get("distinct")) and not meets_itself(parsed.query, placement)
    written = _written(request.tokens)
    if not distinct and written.order is None and written.limit is None:
        return None
    limit = limit_of(request.tokens, request.lexed, written.limit)
    helpers = Helpers(known=False)
    wrapped = _Wrapped(request, helpers, _names(parsed.query))
    order = tuple(wrapped.order(written.order))
    same = tuple(wrapped.key(at) for at in range(len(wrapped.names))) if distinct else None
    pieces = wrapped.pieces(written, limit, whole=same is not None)
    norm = norm_of(pieces, request.norm, request.tokens, request.context.mode)
    return Recipe(
        pieces, len(helpers.columns), order, same, limit, None, norm, request.tokens, nameless=bool(helpers.columns)
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """Tokens of the arms; of ORDER BY and LIMIT, without their words."""

    body: Range
    order: Range | None
    limit: Range | None


def _written(tokens: Sequence[Token]) -> _Written:
    """Raises Refusal for other clauses behind the arms."""
    depth, marks, end = 0, list[int](), len(tokens)
    for at, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.upper in ("UNION", "EXCEPT", "INTERSECT"):
            marks = []
        if depth == 0 and (token.upper == "LIMIT" or (token.upper == "ORDER" and tokens[at + 1].upper == "BY")):
            marks.append(at)
        if depth == 0 and token.upper in ("FOR", "LOCK", "INTO", "PROCEDURE"):
            raise refusal("MERGE_FORM", f"{token.upper} behind a set operation")
    words = [tokens[at].upper for at in marks]
    if words not in ([], ["ORDER"], ["LIMIT"], ["ORDER", "LIMIT"]):
        raise refusal("MERGE_FORM", "a set operation's clauses in an unusual form")
    ranges = {word: (at, behind) for word, at, behind in zip(words, marks, [*marks, end][1:], strict=True)}
    order = (ranges["ORDER"][0] + 2, ranges["ORDER"][1]) if "ORDER" in ranges else None
    limit = (ranges["LIMIT"][0] + 1, ranges["LIMIT"][1]) if "LIMIT" in ranges else None
    return _Written((0, marks[0] if marks else end), order, limit)


def _names(query: Query) -> list[str | None]:
    """The columns' names, which are the first arm's; None: only a server can tell. Raises Refusal."""
    first = next(query.all_arms())
    found: list[str | None] = []
    for item in first.tree.expressions:
        if item.is_star:
            found += _of_star(first, item)
        elif isinstance(item, exp.Alias | exp.Column):
            found.append(item.alias_or_name)
        else:
            found.append(None)
    return found


def _of_star(query: Query, item: exp.Expr) -> Iterator[str]:
    qualifier = item.table if isinstance(item, exp.Column) else ""
    relations = [one for one in query.relations if not qualifier or one.alias.lower() == qualifier.lower()]
    if not relations or query.merged or any(one.live is None for one in relations):
        raise refusal("MERGE_FORM", "a star over columns that are not known")
    for relation in relations:
        assert relation.live is not None
        yield from (column.name for column in relation.live.insertable)


@dataclass(slots=True)
class _Wrapped:
    request: Request
    helpers: Helpers
    names: list[str | None]

    def pieces(self, written: _Written, limit: Limit | None, *, whole: bool) -> tuple[Piece, ...]:
        body = Span(written.body[0], written.body[1] - 1)
        found: list[Piece] = [body]
        if self.helpers.columns:
            listed = [piece for column in self.helpers.columns for piece in (",", *column)]
            found = [f"SELECT {NAME}.*", *listed, "FROM (", body, f") AS {NAME}"]
        if written.order is not None:
            found += ["ORDER BY", Span(written.order[0], written.order[1] - 1)]
        if limit is not None:
            found += ["LIMIT", ShardLimit(whole)]
        return tuple(found)

    def key(self, at: int, *, descending: bool = False) -> Key:
        """Raises Refusal for a column whose name is not known, or not its own."""
        name = self.names[at]
        if name is None or [one is not None and one.lower() for one in self.names].count(name.lower()) > 1:
            raise refusal("MERGE_FORM", "a union whose columns do not all have a name of their own")
        return self.helpers.key((f"{NAME}.{quoted(name)}",), None, descending=descending)

    def order(self, within: Range | None) -> Iterator[Key]:
        """Raises Refusal for what is neither a name nor a place."""
        tokens = self.request.tokens
        for first, end in split_range(tokens, within) if within is not None else ():
            descending = tokens[end - 1].upper == "DESC"
            end -= tokens[end - 1].upper in ("ASC", "DESC")
            yield self.key(self._at(tokens[first:end]), descending=descending)

    def _at(self, tokens: Sequence[Token]) -> int:
        if len(tokens) == 1 and tokens[0].kind == "number" and tokens[0].text.isdigit():
            if 1 <= int(tokens[0].text) <= len(self.names):
                return int(tokens[0].text) - 1
        elif len(tokens) == 1 and tokens[0].is_name:
            name = tokens[0].name.lower()
            found = [at for at, one in enumerate(self.names) if one is not None and one.lower() == name]
            if len(found) == 1:
                return found[0]
        raise refusal("MERGE_FORM", "ORDER BY of a set operation by more than names and places")
