"""Subqueries that do not depend on the rows around them: run first, their values then stand in the statement.

Only where a value means the same as the subquery: beside a comparison, in IN, in EXISTS, within WHERE and HAVING; text
only where both sides are columns of one collation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from router.errors import Refusal
from router.pinning import connected
from router.plan import NO_TOKENS, Pulled, PullOut
from router.planner.clauses import clauses_of, clauses_of_write
from router.planner.items import live_of
from router.planner.parsed import Parsed
from router.planner.placement import Placement, has_pipes
from router.planner.request import Request
from router.relations import Query, Relation, resolve
from router.template import places
from router.tokens import closings

_COMPARED = frozenset({"=", "<", ">", "<=", ">=", "<>", "!=", "<=>"})
WRITABLE = frozenset(
    {"tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year", "decimal", "numeric", "double", "real"}
    | {"date", "datetime", "time", "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
)
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})


def pull_out(request: Request, parsed: Parsed, placement: Placement, problem: Refusal) -> PullOut | None:
    """The statement's subqueries about other shards' rows; None when there are none, or one of them cannot go first."""
    query = parsed.query
    if query is None or query.arms or request.context.bound:
        return None
    if has_pipes(request.tokens) or not isinstance(query.tree, exp.Select | exp.Update | exp.Delete):
        return None
    targets = {(one.keyspace, one.table) for one in parsed.targets}
    found: list[Pulled] = []
    for inner in _apart(query, placement):
        pull = _Reader(request, query, inner).pull()
        if pull is None or any((one.keyspace, one.table) in targets for one in inner.tables()):
            # What is changed may not be read beside it (ER_UPDATE_TABLE_USED, MySQL), or is read as it was.
            return None
        found.append(pull)
    if not found:
        return None
    return PullOut(placement.keyspace.name, tuple(sorted(found)), problem.entry.name, problem.filling)


def _apart(query: Query, placement: Placement) -> Iterator[Query]:
    """Subqueries about sharded tables that are not tied to the shard of the rest."""
    inside = set(query.tables())
    sharded = [one for one in placement.sharded if one in inside]
    groups = [group for group in connected(sharded) if _one_vindex(group)]
    tied = {one for group in groups for one in group if any(other.query is query for other in group)}
    for inner in query.subqueries:
        tables = [one for one in inner.tables() if one in sharded]
        if tables and not all(one in tied for one in tables):
            yield inner


def _one_vindex(group: Sequence[Relation]) -> bool:
    return len({id(one.declared.vindex) for one in group if one.declared is not None}) == 1


@dataclass(slots=True)
class _Reader:
    request: Request
    outer: Query
    inner: Query

    def pull(self) -> Pulled | None:
        tokens = self.request.tokens
        within = self._parentheses()
        if within is None or not self._stands_alone():
            return None
        first, last = within
        if not any(begin <= first < end for begin, end in self._conditions()):
            return None
        before = tokens[first - 1].upper
        if before == "EXISTS":
            return Pulled(first - 1, last, "exists", limited=self.inner.has_limit)
        behind = tokens[last + 1].upper if last + 1 < len(tokens) else ""
        if len(self.inner.tree.expressions) != 1 or self.inner.tree.expressions[0].is_star or self.inner.arms:
            return None
        if not self._can_be_written() and not self._same_collation():
            return None
        if before == "IN":
            return Pulled(first, last, "in", text=self._same_collation())
        if before in _COMPARED or behind in _COMPARED:
            return Pulled(first, last, "scalar", text=self._same_collation(), item=self._digits(first, last))
        return None

    def _conditions(self) -> list[tuple[int, int]]:
        """Where WHERE and HAVING are."""
        if not isinstance(self.outer.tree, exp.Select):
            found = clauses_of_write(self.request.tokens)
        else:
            clauses = clauses_of(self.request.tokens)
            found = clauses.clauses if clauses is not None else {}
        return [found[name] for name in ("WHERE", "HAVING") if name in found]

    def _parentheses(self) -> tuple[int, int] | None:
        """The subquery's own, found by the name of one of its tables."""
        where = places(self.request.lexed, self.request.tokens)
        named = next((one for one in self.inner.relations if one.node is not None), None)
        start = named.node.this.meta.get("start", -1) if named is not None and named.node is not None else -1
        at = where.get(start)
        if at is None:
            return None
        tokens = self.request.tokens
        around = [
            (first, last)
            for first, last in closings(tokens).items()
            if first < at < last and tokens[first + 1].upper == "SELECT"
        ]
        return max(around, default=None)

    def _stands_alone(self) -> bool:
        """Does no name in it mean a column of the statement around it?"""
        queries = {id(one.tree): one for one in self.inner.all()}
        for column in self.inner.tree.find_all(exp.Column):
            query = queries.get(id(column.parent_select))
            known = resolve(query, column) if query is not None else None
            if known is None or known[0].query not in queries.values():
                return False
        return True

    def _other_side(self) -> exp.Expr | None:
        node: exp.Expr | None = self.inner.tree.parent
        while isinstance(node, exp.Subquery | exp.Paren):
            node = node.parent
        other: exp.Expr | None = None
        if isinstance(node, exp.In):
            other = node.this
        elif isinstance(node, exp.Binary):
            ours = any(one is self.inner.tree for one in node.this.walk())
            other = node.expression if ours else node.this
        return other

    def _item(self) -> exp.Expr:
        item: exp.Expr = self.inner.tree.expressions[0].unalias()
        return item.this if isinstance(item, exp.Max | exp.Min) else item

    def _can_be_written(self) -> bool:
        """Not when it is a column that is known to have values of which no literal means the same everywhere."""
        live = live_of(resolve(self.inner, self._item()))
        return live is None or live.data_type.lower() in WRITABLE

    def _same_collation(self) -> bool:
        ours = self._collation(self.outer, self._other_side())
        return ours is not None and ours == self._collation(self.inner, self._item())

    def _collation(self, query: Query, node: exp.Expr | None) -> str | None:
        known = resolve(query, node) if node is not None else None
        live = live_of(known)
        return live.collation if live is not None and live.data_type.lower() in _TEXTS else None

    def _digits(self, first: int, last: int) -> tuple[int, int]:
        """The tokens [first, behind the last) of its column, when its DECIMAL may have more digits than it shows."""
        item = self.inner.tree.expressions[0]
        inside = clauses_of(self.request.tokens[first + 1 : last])
        if item.find(exp.Avg, exp.Div) is None or inside is None:
            return NO_TOKENS
        begin, end = inside.items[0]
        if isinstance(item, exp.Alias):
            end -= 2 if self.request.tokens[first + end - 1].upper == "AS" else 1
        return begin + first + 1, end + first + 1
