"""Which shard keys a statement can touch: for every sharded table in it, from conditions that hold for sure.

A relation is *pinned* when its rows that matter have one of finitely many shard keys, each written as
literals or parameters. Conditions are read from WHERE, from ON, from the queries around a correlated
subquery and from derived tables; columns that are equal share what is known of them. Everything errs towards
"not pinned".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from _speedups import lexer
from router.keys import KeyColumn, UnsupportedKey, compatible, key_column_of
from router.plan import Key, KeyRef
from router.relations import ColumnId, Query, Relation, resolve
from router.template import slot_of

MAX_KEYS = 1024
"""Alternatives beyond this are not enumerated: the relation then counts as not pinned."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A value: a slot, or what `item` says of it (router.plan.KeyRef)."""

    slot: int
    item: str | int | None = None
    negate: bool = False


Partial = dict[int, Ref]
"""Values for some of a vindex's columns, by position."""

Alternatives = list[Partial] | None
"""The relation's rows match one of these; None: any row may matter; empty: none does."""


class Classes:
    """Columns that are equal in every row that matters (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[ColumnId, ColumnId] = {}

    def find(self, column: ColumnId) -> ColumnId:
        root = column
        while (above := self._parent.get(root, root)) != root:
            root = above
        while column != root:
            self._parent[column], column = root, self._parent.get(column, column)
        return root

    def union(self, one: ColumnId, other: ColumnId) -> None:
        if _comparable(one, other):
            self.join(one, other)

    def join(self, one: ColumnId, other: ColumnId) -> None:
        """Two names of one column."""
        first, second = self.find(one), self.find(other)
        if first != second:
            self._parent[first] = second

    def same(self, one: ColumnId, other: ColumnId) -> bool:
        return self.find(one) == self.find(other)


def _comparable(one: ColumnId, other: ColumnId) -> bool:
    """May a value of one stand for a value of the other? Not when servers convert between them."""
    types = [_key_column(column) for column in (one, other)]
    if None in types:
        return types == [None, None] and _unknown(one) and _unknown(other)
    first, second = types
    return first is not None and second is not None and compatible(first.type, second.type)


def _unknown(column: ColumnId) -> bool:
    """There is no live type to look at: a derived column, or no schema at all."""
    return column[0].live is None


def _key_column(column: ColumnId) -> KeyColumn | None:
    source = source_of(column)
    live = source[0].live.column(source[1]) if source and source[0].live else None
    if live is None:
        return None
    try:
        return key_column_of(live.column_type, live.collation)
    except UnsupportedKey:
        return None


def source_of(column: ColumnId) -> ColumnId | None:
    """The base table's column behind a derived table's, when it is a plain column."""
    seen: ColumnId | None = column
    while seen is not None and seen[0].body is not None:
        seen = output(seen[0].body, seen[0], seen[1])
    return seen


def output(query: Query, derived: Relation, name: str) -> ColumnId | None:
    """What a derived table's column `name` is inside of `query`, its body or one arm of it."""
    if not isinstance(query.tree, exp.Select):
        return None
    items = query.tree.expressions
    if derived.columns:
        if name not in derived.columns or any(item.is_star for item in items):
            return None
        items = [items[derived.columns.index(name)]]
    named = [item for item in items if derived.columns or item.alias_or_name.lower() == name]
    named = [item for item in named if not item.is_star]
    if len(named) == 1:
        return resolve(query, named[0].unalias())
    if not named and any(item.is_star for item in items):
        owners = [one for one in query.relations if one.has(name) is not False]
        return (owners[0], name) if len(owners) == 1 else None
    return None


@dataclass(slots=True)
class Environment:
    """What holds for a relation's rows that matter: conditions, each with its query, and equal columns."""

    conditions: list[tuple[Query, exp.Expr]] = field(default_factory=list)
    classes: Classes = field(default_factory=Classes)
    _visited: set[int] = field(default_factory=set)
    _queries: list[Query] = field(default_factory=list)
    _asked: set[Relation] = field(default_factory=set)

    def add_query(self, query: Query) -> None:
        """A query's filters, those of the queries around it, and those of the derived tables in it."""
        if id(query) in self._visited:
            return
        self._visited.add(id(query))
        self._queries.append(query)
        self.add(query, query.filters, query.equal)
        if query.parent is not None:
            self.add_query(query.parent)
        if query.derives is not None and _pushable(query, query.derives):
            self._push(query, query.derives)
        for relation in query.relations:
            if relation.body is not None and not relation.body.arms:
                self.add_query_inside(relation.body)
                self._link(relation.body, relation)

    def _push(self, body: Query, derived: Relation) -> None:
        """What the outer query asks of a derived table's rows, it asks of the rows that they are made of."""
        self.add_query(derived.query)
        if derived.nullable:
            self.add(derived.query, derived.conditions, derived.equal)
        self._link(body, derived)

    def add_query_inside(self, body: Query) -> None:
        """A derived table's own filters: every row that it gives meets them."""
        if id(body) not in self._visited:
            self._visited.add(id(body))
            self.add(body, body.filters, body.equal)

    def add(
        self,
        query: Query,
        conditions: Iterable[exp.Expr],
        equal: Iterable[tuple[ColumnId, ColumnId]],
    ) -> None:
        for one, other in equal:
            self.classes.union(one, other)
        for condition in conditions:
            self.conditions.append((query, condition))
            note = _noted(query, condition)
            self._asked.update(note.asks_for)
            for one, other in note.equal:
                self.classes.union(one, other)

    def _link(self, body: Query, derived: Relation) -> None:
        """A derived table's column equals the column that it shows."""
        for name in _names(body, derived):
            inner = output(body, derived, name)
            if inner is not None:
                self.classes.join((derived, name), inner)

    def settle(self) -> None:
        """A condition that no row without a match can meet makes an outer join an inner one: what its ON asks
        then holds as well."""
        waiting = [one for query in self._queries for one in query.relations if one.nullable]
        while met := [one for one in waiting if one in self._asked]:
            waiting = [one for one in waiting if one not in self._asked]
            for relation in met:
                self.add(relation.query, relation.conditions, relation.equal)


def _pushable(query: Query, derived: Relation) -> bool:
    return query.simple and derived.body is not None and not derived.body.has_limit


def _names(body: Query, derived: Relation) -> Iterator[str]:
    if derived.columns:
        yield from derived.columns
        return
    items = body.tree.expressions if isinstance(body.tree, exp.Select) else []
    yield from (item.alias_or_name.lower() for item in items if not item.is_star)
    if any(item.is_star for item in items):
        for relation in body.relations:
            live = relation.live
            yield from (column.name.lower() for column in (live.columns if live else ()))
            if live is None and relation.declared is not None:
                yield from (column.lower() for column in relation.declared.columns)


_REJECTS_NULL = exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE


@dataclass(frozen=True, slots=True)
class _Note:
    """What one condition says by itself: columns that it makes equal, relations that must not be all NULL."""

    equal: tuple[tuple[ColumnId, ColumnId], ...]
    asks_for: tuple[Relation, ...]


def _noted(query: Query, condition: exp.Expr) -> _Note:
    """Read once per condition; many relations look at the same one."""
    note = query.notes.get(id(condition))
    if not isinstance(note, _Note):
        note = _Note(tuple(_equal_columns(query, condition)), tuple(_asks_for(query, condition)))
        query.notes[id(condition)] = note
    return note


def _asks_for(query: Query, condition: exp.Expr) -> Iterator[Relation]:
    """The relations without whose columns it is false or NULL."""
    if isinstance(condition, _REJECTS_NULL):
        sides = [condition.this, condition.expression]
    elif isinstance(condition, exp.In | exp.Between):
        sides = [condition.this]
    else:
        return
    for side in sides:
        column = resolve(query, _bare(side))
        if column is not None:
            yield column[0]


def environment(relation: Relation) -> Environment:
    """What is known of a relation; computed once, as queries do not change after they are built."""
    if not isinstance(relation.known, Environment):
        found = Environment()
        found.add_query(relation.query)
        if relation.nullable:
            found.add(relation.query, relation.conditions, relation.equal)
        found.settle()
        relation.known = found
    return relation.known


def _equal_columns(query: Query, condition: exp.Expr) -> Iterator[tuple[ColumnId, ColumnId]]:
    if isinstance(condition, exp.In | exp.Not):
        yield from _equal_by_membership(query, condition)
    if not isinstance(condition, exp.EQ):
        return
    one, other = _bare(condition.this), _bare(condition.expression)
    if isinstance(one, exp.Tuple) and isinstance(other, exp.Tuple):
        pairs = list(zip(one.expressions, other.expressions, strict=False))
    else:
        pairs = [(one, other)]
    for left, right in pairs:
        ours, theirs = resolve(query, left), resolve(query, right)
        if ours is not None and theirs is not None:
            yield (ours, theirs)


def _equal_by_membership(query: Query, condition: exp.Expr) -> Iterator[tuple[ColumnId, ColumnId]]:
    """`column IN (SELECT column FROM …)`: of the subquery, only rows with the same value matter. So it is with NOT IN,
    unless a NULL may be among them."""
    negated = isinstance(condition, exp.Not)
    membership = _bare(condition.this) if negated else condition
    given = membership.args.get("query") if isinstance(membership, exp.In) else None
    if not isinstance(given, exp.Expr):
        return
    inner = next((one for one in query.subqueries if one.tree is given.unnest()), None)
    if inner is None or not inner.simple or len(inner.tree.expressions) != 1:
        return
    ours, theirs = resolve(query, _bare(membership.this)), resolve(inner, inner.tree.expressions[0].unalias())
    if ours is None or theirs is None or theirs[0].query is not inner:
        return
    live = theirs[0].live.column(theirs[1]) if theirs[0].live is not None else None
    if not negated or (live is not None and not live.nullable and not theirs[0].nullable):
        yield (ours, theirs)


def _bare(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


class Finder:
    """Finds the shard keys of relations. `slots`: the statement's lexer slots. `alternatives`: what is read as OR
    surely is one."""

    def __init__(self, slots: Sequence[lexer.LiteralSlot], *, alternatives: bool = True) -> None:
        self.slots = slots
        self.alternatives = alternatives

    def keys(self, relation: Relation, columns: Sequence[KeyColumn]) -> tuple[Key, ...] | None:
        """The keys that its rows may have; None when it is not pinned. `columns`: of its vindex, in order."""
        if relation.declared is None:
            return None
        names = [(relation, name.lower()) for name in relation.declared.columns]
        found = self.values(environment(relation), names)
        if found is None or any(len(partial) < len(names) for partial in found):
            return None
        return as_keys(found, columns)

    def values(self, known: Environment, columns: Sequence[ColumnId]) -> Alternatives:
        """What the columns can be, given what is known. Positions as in `columns`."""
        reader = _Reader(self, known.classes, columns)
        found: Alternatives = None
        for query, condition in known.conditions:
            found = reader.both(found, reader.read(query, condition))
        return found

    def value_of(self, query: Query, node: exp.Expr) -> Alternatives:
        """What an expression of `query` can be: a literal, or a column that is pinned. Position 0."""
        node = _bare(node.unalias())
        ref = self.ref(node)
        if ref is not None:
            return [{0: ref}]
        column = resolve(query, node)
        return self.values(environment(column[0]), [column]) if column is not None else None

    def ref(self, node: exp.Expr) -> Ref | None:
        return _Reader(self, Classes(), ()).ref(node)


def as_keys(found: Iterable[Partial], columns: Sequence[KeyColumn]) -> tuple[Key, ...]:
    keys = [tuple(key_ref(partial[index], column) for index, column in enumerate(columns)) for partial in found]
    return tuple(dict.fromkeys(keys))


def key_ref(ref: Ref, column: KeyColumn) -> KeyRef:
    return KeyRef(ref.slot, column, ref.item, ref.negate)  # type: ignore[arg-type]


class _Reader:
    """Reads conditions into alternatives for the columns at hand."""

    def __init__(self, finder: Finder, classes: Classes, columns: Sequence[ColumnId]) -> None:
        self.finder = finder
        self.classes = classes
        self.columns = [classes.find(column) for column in columns]

    def read(self, query: Query, node: exp.Expr) -> Alternatives:
        node = _bare(node)
        if isinstance(node, exp.And):
            return self.both(self.read(query, node.this), self.read(query, node.expression))
        if isinstance(node, exp.Or):
            if not self.finder.alternatives:
                return None
            return self.either(self.read(query, node.this), self.read(query, node.expression))
        if isinstance(node, exp.EQ):
            return self._equality(query, _bare(node.this), _bare(node.expression))
        if isinstance(node, exp.In):
            return self._in(query, node)
        return None

    def both(self, one: Alternatives, other: Alternatives) -> Alternatives:
        """AND: rows match both, so either limits them; what they say of different columns adds up."""
        if one is None or other is None:
            return other if one is None else one
        if not one or not other:
            return []
        ours, theirs = _positions(one), _positions(other)
        if ours == theirs:
            return min(one, other, key=_breadth)
        if ours > theirs or theirs > ours:
            return one if ours > theirs else other
        if len(one) * len(other) > MAX_KEYS:
            return one
        return [{**second, **first} for first in one for second in other]

    def either(self, one: Alternatives, other: Alternatives) -> Alternatives:
        if one is None or other is None or len(one) + len(other) > MAX_KEYS:
            return None
        return one + other

    def _equality(self, query: Query, one: exp.Expr, other: exp.Expr) -> Alternatives:
        if (row := _row(one)) is not None and (values := _row(other)) is not None:
            found: Alternatives = None
            for left, right in zip(row, values, strict=False):
                found = self.both(found, self._equality(query, _bare(left), _bare(right)))
            return found
        for column, value in ((one, other), (other, one)):
            positions = self._places(query, column)
            if positions and isinstance(value, exp.Null):
                return []
            ref = self.ref(value) if positions else None
            if ref is not None:
                return [dict.fromkeys(positions, ref)]
        return None

    def _in(self, query: Query, node: exp.In) -> Alternatives:
        if node.args.get("query") is not None or not node.expressions or node.args.get("field") is not None:
            return None
        row = _row(_bare(node.this))
        if row is not None:
            return self._in_rows(query, row, node.expressions)
        positions = self._places(query, _bare(node.this))
        if not positions:
            return None
        found: list[Partial] = []
        for element in node.expressions:
            if isinstance(element, exp.Null):
                continue
            ref = self.ref(_bare(element))
            if ref is None:
                return None
            found.append(dict.fromkeys(positions, ref))
        return found if len(found) <= MAX_KEYS else None

    def _in_rows(self, query: Query, row: Sequence[exp.Expr], elements: Sequence[exp.Expr]) -> Alternatives:
        found: list[Partial] = []
        for element in elements:
            values = _row(_bare(element))
            if values is None or len(values) != len(row):
                return None
            rows = self._rows_slot(element)
            partial: Partial = {}
            for index, (column, value) in enumerate(zip(row, values, strict=True)):
                ref = self.ref(_bare(value))
                if ref is not None:
                    ref = ref if rows is None else Ref(rows, index)
                    partial |= dict.fromkeys(self._places(query, _bare(column)), ref)
            found.append(partial)
        if len(found) > MAX_KEYS or not all(found):
            return None
        return found

    def _rows_slot(self, element: exp.Expr) -> int | None:
        """The ROWS slot that this row constructor stands for, when many collapsed into it."""
        inside = [slot for node in element.walk() if (slot := slot_of(node)) is not None]
        if not inside:
            return None
        first = self.finder.slots[min(inside)]
        for index in range(min(inside) - 1, -1, -1):
            rows = self.finder.slots[index]
            if rows.kind == lexer.ROWS:
                covers = rows.offset <= first.offset < rows.offset + rows.length
                return index if covers else None
        return None

    def _places(self, query: Query, node: exp.Expr) -> list[int]:
        """Which of the columns at hand this expression is."""
        column = resolve(query, node)
        if column is None:
            return []
        root = self.classes.find(column)
        return [index for index, wanted in enumerate(self.columns) if wanted == root]

    def ref(self, node: exp.Expr) -> Ref | None:
        """A literal, a parameter or a list, with at most one minus."""
        negate = isinstance(node, exp.Neg)
        slot = slot_of(_bare(node.this) if negate else node)
        if slot is None:
            return None
        kind = self.finder.slots[slot].kind
        if kind == lexer.LIST:
            return None if negate else Ref(slot, "list")
        return Ref(slot, None, negate)


def _breadth(found: list[Partial]) -> int:
    """How many values there may be at execution, roughly: a list counts as many."""
    return sum(1 if ref.item is None else MAX_KEYS for partial in found for ref in partial.values())


def _row(node: exp.Expr) -> list[exp.Expr] | None:
    """(a, b) or ROW(a, b)."""
    if isinstance(node, exp.Tuple):
        return list(node.expressions)
    if isinstance(node, exp.Anonymous) and node.name.upper() == "ROW":
        return list(node.expressions)
    return None


def _positions(found: list[Partial]) -> set[int]:
    """The positions that every alternative gives a value for."""
    return set.intersection(*(set(partial) for partial in found)) if found else set()


def connected(relations: Sequence[Relation]) -> list[list[Relation]]:
    """Groups of sharded relations that are joined on all their shard-key columns, each group co-located."""
    groups: list[list[Relation]] = []
    for relation in relations:
        near = [group for group in groups if any(_co_located(relation, other) for other in group)]
        merged = [relation, *(one for group in near for one in group)]
        groups = [group for group in groups if group not in near] + [merged]
    return groups


def _co_located(one: Relation, other: Relation) -> bool:
    if one.declared is None or other.declared is None or one.declared.vindex != other.declared.vindex:
        return False
    pairs = [
        ((one, ours.lower()), (other, theirs.lower()))
        for ours, theirs in zip(one.declared.columns, other.declared.columns, strict=True)
    ]
    return any(
        all(known.classes.same(ours, theirs) for ours, theirs in pairs)
        for known in (*_environments(one), *_environments(other))
    )


def _environments(relation: Relation) -> Iterator[Environment]:
    """What holds for its rows, and for the rows of the derived tables that are made of them, which may be joined."""
    while True:
        yield environment(relation)
        if relation.query.derives is None:
            return
        relation = relation.query.derives
