"""Where values go: one pass over the queries of a statement.

Three sets over base-table columns: what reaches each output column (as it is, computed, aggregated), what decides
which rows there are and in what order (influence), and what is written where. Names are resolved as the planner
does; what cannot be resolved for certain raises NotUnderstood, and the statement is refused where it matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlglot import exp

from router.planner.parsed import Parsed
from router.policy.model import FlowKind
from router.relations import SYSTEM, Query, Relation, resolve
from router.template import NotUnderstood

IDENTITY, DERIVED, AGGREGATE, INFLUENCE = FlowKind.IDENTITY, FlowKind.DERIVED, FlowKind.AGGREGATE, FlowKind.INFLUENCE

AGGREGATES = (
    exp.Count, exp.Sum, exp.Avg, exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop,
)  # fmt: skip
"""Aggregates whose value is about all rows of a group; MIN, MAX, GROUP_CONCAT … give one row's value away."""

MAX_SOURCES = 20_000
"""Sources over all outputs: derived tables over stars could multiply them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A column of one mention of a base table, and how it is used."""

    relation: Relation
    column: str
    flow: FlowKind


@dataclass(frozen=True, slots=True)
class Output:
    """A column of a result: its label in lower case, and what its values are made of."""

    label: str
    sources: frozenset[Source]


@dataclass(frozen=True, slots=True)
class Write:
    """A written column, and the columns that its new values are made of."""

    relation: Relation
    column: str
    sources: frozenset[Source] = frozenset()


@dataclass(slots=True)
class Lineage:
    """`mentions`: every mention of a base table, targets included. `outputs`: of the statement's own result.
    `counted`: mentions in queries whose every output is an aggregate or a constant. `starred`: mentions that a
    star takes whole. `rewrites`: the statement may change rows that are there (UPDATE, DELETE, REPLACE …); `inserts`:
    it makes new ones."""

    mentions: tuple[Relation, ...] = ()
    targets: tuple[Relation, ...] = ()
    outputs: tuple[Output, ...] = ()
    influence: frozenset[Source] = frozenset()
    writes: tuple[Write, ...] = ()
    counted: frozenset[Relation] = frozenset()
    starred: frozenset[Relation] = frozenset()
    rewrites: bool = False
    inserts: bool = False

    def sources(self) -> Iterator[Source]:
        """Every use of every column."""
        for output in self.outputs:
            yield from output.sources
        for write in self.writes:
            yield from write.sources
        yield from self.influence

    def flows(self) -> dict[Relation, dict[str, set[FlowKind]]]:
        """The uses of each mention's columns, by name: which column a refusal names must not vary by process."""
        found: dict[Relation, dict[str, set[FlowKind]]] = {one: {} for one in self.mentions}
        for source in sorted(self.sources(), key=lambda one: one.column):
            found.setdefault(source.relation, {}).setdefault(source.column, set()).add(source.flow)
        return found


def lineage(parsed: Parsed) -> Lineage:
    """Raises NotUnderstood."""
    reader = _Reader(parsed)
    reader.read()
    found = reader.found
    found.mentions = tuple(one for one in parsed.tables() if one.keyspace != SYSTEM)
    found.targets = tuple(parsed.targets)
    found.influence = frozenset(reader.influence)
    found.starred = frozenset(reader.starred)
    found.counted = frozenset(reader.counted)
    return found


@dataclass(slots=True)
class _Reader:
    parsed: Parsed
    found: Lineage = field(default_factory=Lineage)
    influence: set[Source] = field(default_factory=set)
    starred: set[Relation] = field(default_factory=set)
    counted: set[Relation] = field(default_factory=set)
    queries: dict[int, Query] = field(default_factory=dict)
    memo: dict[int, tuple[Output, ...]] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    size: int = 0

    def read(self) -> None:
        self.queries = {id(query.tree): query for query in self.parsed.queries()}
        tree = self.parsed.tree
        for query in self.queries.values():
            self._influence(query)
            if isinstance(query.tree, exp.Select):
                self._count(query, query.tree)
        if isinstance(tree, exp.Insert):
            self._insert(tree)
        elif isinstance(tree, exp.Update):
            self._update(tree)
        elif isinstance(tree, exp.Delete):
            self.found.rewrites = True
            self._returning(self._home(), tree)
        else:
            self.found.outputs = self.outputs(self._home())

    def _home(self) -> Query:
        if self.parsed.query is None:
            raise NotUnderstood("a statement without a query")
        return self.parsed.query

    # --- outputs --------------------------------------------------------------------------------------------

    def outputs(self, query: Query) -> tuple[Output, ...]:
        known = self.memo.get(id(query))
        if known is None:
            if id(query) in self.open:
                raise NotUnderstood("a column that stands for itself")
            self.open.add(id(query))
            known = tuple(self._outputs(query))
            self.memo[id(query)] = known
            self.size += sum(len(output.sources) for output in known)
            if self.size > MAX_SOURCES:
                raise NotUnderstood("its columns have too many sources")
        return known

    def _outputs(self, query: Query) -> Iterator[Output]:
        if query.arms:
            yield from self._united([self.outputs(arm) for arm in query.arms])
        elif isinstance(query.tree, exp.Select):
            for item in query.tree.expressions:
                yield from self._items(query, item)
        elif isinstance(query.tree, exp.Values):
            yield from self._rows(query, query.tree)
        else:
            raise NotUnderstood(f"a query of the form {query.tree.key}")

    def _united(self, arms: list[tuple[Output, ...]]) -> Iterator[Output]:
        first, *others = arms
        if any(len(other) != len(first) for other in others):
            raise NotUnderstood("a set operation over results of different width")
        for column in zip(*arms, strict=True):
            yield Output(column[0].label, frozenset().union(*(one.sources for one in column)))

    def _rows(self, query: Query, tree: exp.Values) -> Iterator[Output]:
        sources: frozenset[Source] = frozenset().union(*(self.uses(query, row, DERIVED) for row in tree.expressions))
        width = len(tree.expressions[0].expressions) if tree.expressions else 0
        yield from (Output(f"column_{at}", sources) for at in range(width))

    def _items(self, query: Query, item: exp.Expr) -> Iterator[Output]:
        if isinstance(item, exp.Star):
            for relation in query.relations:
                yield from self._all_of(relation)
        elif isinstance(item, exp.Column) and isinstance(item.this, exp.Star):
            yield from self._all_of(self._named(query, item.table))
        else:
            label = item.alias_or_name.lower()
            yield Output(label, frozenset(self.uses(query, item, IDENTITY)))

    def _named(self, query: Query, alias: str) -> Relation:
        found = [one for one in query.relations if one.alias.lower() == alias.lower()]
        if len(found) != 1:
            raise NotUnderstood("a star of a table that is not certain")
        return found[0]

    def _all_of(self, relation: Relation) -> Iterator[Output]:
        self.starred.add(relation)
        if relation.live is not None:
            for column in relation.live.insertable:
                name = column.name.lower()
                yield Output(name, frozenset({Source(relation, name, IDENTITY)}))
        elif relation.body is not None:
            yield from self._renamed(relation)
        else:
            raise NotUnderstood("a star of a table whose columns are not known")

    def _renamed(self, relation: Relation) -> Iterator[Output]:
        """What a derived table gives, under the names of its column list."""
        assert relation.body is not None
        outputs = self.outputs(relation.body)
        names = relation.columns or tuple(output.label for output in outputs)
        if len(names) != len(outputs):
            raise NotUnderstood("a column list of another width than its query")
        yield from (Output(name, output.sources) for name, output in zip(names, outputs, strict=True))

    def _count(self, query: Query, tree: exp.Select) -> None:
        """Only aggregates and constants leave: then no single row of its tables shows."""
        for item in tree.expressions:
            bare = [node for node in _own(item) if isinstance(node, exp.Column | exp.Star) and not _aggregated(node)]
            if bare or not any(isinstance(node, exp.AggFunc) for node in _own(item)):
                return
        self.counted.update(query.relations)

    # --- expressions ----------------------------------------------------------------------------------------

    def uses(self, query: Query, node: exp.Expr, flow: FlowKind) -> Iterator[Source]:
        """The columns in an expression; `flow` is how its own value is used."""
        if isinstance(node, exp.Select | exp.SetOperation):
            inner = DERIVED if flow is IDENTITY else flow
            for output in self.outputs(self._query(node)):
                yield from (_through(source, inner) for source in output.sources)
        elif isinstance(node, exp.Column):
            yield from self.column(query, node, flow)
        elif isinstance(node, exp.Paren | exp.Alias | exp.Subquery):
            yield from self.uses(query, node.this, flow)
        elif isinstance(node, AGGREGATES) and flow is not INFLUENCE and (column := _argument(node)) is not None:
            yield from self._aggregate(query, column)
        else:
            inner = DERIVED if flow is IDENTITY else flow
            for child in node.iter_expressions():
                yield from self.uses(query, child, inner)

    def _aggregate(self, query: Query, column: exp.Column) -> Iterator[Source]:
        for source in self.column(query, column, DERIVED):
            inner = source.relation.query is query and source.flow is DERIVED
            yield Source(source.relation, source.column, AGGREGATE) if inner else source

    def _query(self, node: exp.Expr) -> Query:
        found = self.queries.get(id(node))
        if found is None:
            raise NotUnderstood("a query in an unusual place")
        return found

    def column(self, query: Query, node: exp.Column, flow: FlowKind) -> Iterator[Source]:
        if not isinstance(node.this, exp.Identifier):
            raise NotUnderstood("a star in an expression")
        found = resolve(query, node)
        if found is not None:
            yield from self._of(*found, flow)
        elif (outputs := self._labelled(query, node)) is not None:
            for output in outputs:
                yield from (_through(source, flow) for source in output.sources)
        else:
            raise NotUnderstood("a column whose table is not certain")

    def _of(self, relation: Relation, name: str, flow: FlowKind) -> Iterator[Source]:
        if relation.table is not None:
            yield Source(relation, _known(relation, name), flow)
        elif relation.body is None:
            raise NotUnderstood("a column of a table that is not followed")
        else:
            matching = [output for output in self._renamed(relation) if output.label == name]
            if not matching:
                raise NotUnderstood("a column that its derived table does not give")
            for output in matching:
                yield from (_through(source, flow) for source in output.sources)

    def _labelled(self, query: Query, node: exp.Column) -> list[Output] | None:
        """Outputs of this label: ORDER BY, GROUP BY and HAVING may name them."""
        if node.table or not isinstance(query.tree, exp.Select | exp.SetOperation):
            return None
        found = [output for output in self.outputs(query) if output.label == node.name.lower()]
        return found or None

    # --- influence ------------------------------------------------------------------------------------------

    def _influence(self, query: Query) -> None:
        tree = query.tree
        for name, value in tree.args.items():
            if name in _INFLUENCING:
                for node in value if isinstance(value, list) else [value]:
                    if isinstance(node, exp.Expr):
                        self._influenced(query, node, name)
        for source in (*tree.find_all(exp.Join),) if isinstance(tree, exp.Select | exp.Update | exp.Delete) else ():
            if source.parent_select is tree or source.find_ancestor(exp.Select) is None:
                self._join(query, source)
        self._equated(query)

    def _influenced(self, query: Query, node: exp.Expr, clause: str) -> None:
        if clause == "order":
            for part in node.expressions:
                self._ordered(query, part)
        elif clause == "group":
            for part in (*node.expressions, *_rollups(node)):
                self._grouped(query, part)
        else:
            self.influence.update(self.uses(query, node, INFLUENCE))

    def _ordered(self, query: Query, part: exp.Expr) -> None:
        """An output's own label or number orders by what is given away anyhow."""
        inner = part.this if isinstance(part, exp.Ordered) else part
        if isinstance(inner, exp.Literal) and not inner.is_string:
            return
        named = isinstance(inner, exp.Column) and not inner.table and self._alias(query, inner.name.lower())
        if not named:
            self.influence.update(self.uses(query, inner, INFLUENCE))

    def _alias(self, query: Query, name: str) -> bool:
        """A label that no column of the query has."""
        if query.arms:
            return any(output.label == name for output in self.outputs(query))
        labels = {item.alias.lower() for item in query.tree.expressions if isinstance(item, exp.Alias)}
        return name in labels and all(relation.has(name) is False for relation in query.relations)

    def _grouped(self, query: Query, part: exp.Expr) -> None:
        if isinstance(part, exp.Literal) and not part.is_string:
            outputs = self.outputs(query)
            at = int(part.name) if part.name.isdigit() else 0
            if not 1 <= at <= len(outputs):
                raise NotUnderstood("GROUP BY a number that is no column")
            self.influence.update(_through(source, INFLUENCE) for source in outputs[at - 1].sources)
        else:
            self.influence.update(self.uses(query, part, INFLUENCE))

    def _join(self, query: Query, join: exp.Join) -> None:
        on = join.args.get("on")
        if on is not None:
            self.influence.update(self.uses(query, on, INFLUENCE))
        if not {node.name.lower() for node in join.args.get("using") or []} <= query.merged.keys():
            raise NotUnderstood("USING with a column that is not certain")
        if join.method == "NATURAL":
            for relation in query.relations:
                self.influence.update(_through(one, INFLUENCE) for out in self._all_of(relation) for one in out.sources)

    def _equated(self, query: Query) -> None:
        """USING and NATURAL compare the columns of both sides."""
        pairs = [*query.equal, *(pair for relation in query.relations for pair in relation.equal)]
        for relation, name in (one for pair in pairs for one in pair):
            self.influence.update(self._of(relation, name, INFLUENCE))

    # --- writes ---------------------------------------------------------------------------------------------

    def _insert(self, tree: exp.Insert) -> None:
        target = self.parsed.targets[0]
        home = target.query
        self.found.inserts = True
        columns = self._columns(tree, target)
        if isinstance(tree.expression, exp.Values):
            sources = frozenset(one for row in tree.expression.expressions for one in self.uses(home, row, DERIVED))
            self.found.writes = tuple(Write(target, column, sources) for column in columns)
        elif self.parsed.query is not None:
            outputs = self.outputs(self.parsed.query)
            if len(outputs) != len(columns):
                raise NotUnderstood("INSERT of another number of columns than its query gives")
            self.found.writes = tuple(
                Write(target, column, output.sources) for column, output in zip(columns, outputs, strict=True)
            )
        conflict = tree.args.get("conflict")
        if conflict is not None:
            self.found.rewrites = True
            self._assign(self.parsed.query or home, home, conflict.expressions)
        self.found.rewrites |= self.parsed.template.replace
        self._returning(home, tree)

    def _columns(self, tree: exp.Insert, target: Relation) -> list[str]:
        if isinstance(tree.this, exp.Schema):
            return [_known(target, column.name.lower()) for column in tree.this.expressions]
        if target.live is None:
            raise NotUnderstood("INSERT without a column list into a table that is not known")
        return [column.name.lower() for column in target.live.insertable]

    def _update(self, tree: exp.Update) -> None:
        self.found.rewrites = True
        self._assign(self._home(), self._home(), tree.expressions)
        self._returning(self._home(), tree)

    def _assign(self, query: Query, targets: Query, assignments: Iterable[exp.Expr]) -> None:
        for one in assignments:
            if not isinstance(one, exp.EQ) or not isinstance(one.this, exp.Column):
                raise NotUnderstood("an assignment of this form")
            written = resolve(targets, one.this)
            if written is None or written[0].table is None:
                raise NotUnderstood("an assignment to a column whose table is not certain")
            sources = frozenset(self._assigned(query, targets, one.expression))
            self.found.writes += (Write(written[0], _known(*written), sources),)

    def _assigned(self, query: Query, targets: Query, value: exp.Expr) -> set[Source]:
        try:
            return set(self.uses(targets, value, IDENTITY))
        except NotUnderstood:
            return set(self.uses(query, value, IDENTITY))

    def _returning(self, query: Query, tree: exp.Expr) -> None:
        returning = tree.args.get("returning")
        if returning is not None:
            self.found.outputs = tuple(one for item in returning.expressions for one in self._items(query, item))


_INFLUENCING = frozenset(
    {"where", "group", "having", "order", "windows", "qualify", "limit", "offset", "fetch", "distinct"}
)


def _known(relation: Relation, name: str) -> str:
    """`name`. Raises NotUnderstood for one by which the server may mean another column: _rowid is the primary key, and
    servers take İ for i."""
    if relation.live is not None and relation.live.column(name) is None:
        raise NotUnderstood("a column that its table does not have")
    return name


def _through(source: Source, flow: FlowKind) -> Source:
    """A use of something that is made of `source`."""
    if flow is IDENTITY or source.flow is flow or (flow is DERIVED and source.flow is AGGREGATE):
        return source
    return Source(source.relation, source.column, flow)


def _argument(node: exp.Expr) -> exp.Column | None:
    """The column that an aggregate takes bare: SUM(x), COUNT(DISTINCT x)."""
    inner = node.this
    if isinstance(inner, exp.Distinct) and len(inner.expressions) == 1 and isinstance(node, exp.Count):
        inner = inner.expressions[0]
    bare = isinstance(inner, exp.Column) and isinstance(inner.this, exp.Identifier)
    return inner if bare and not node.expressions and not isinstance(node.parent, exp.Window) else None


def _own(node: exp.Expr) -> Iterator[exp.Expr]:
    """The nodes of an expression without its subqueries'."""
    yield node
    for child in node.iter_expressions():
        if isinstance(child, exp.Select | exp.SetOperation):
            yield exp.Star()
        else:
            yield from _own(child)


def _aggregated(node: exp.Expr) -> bool:
    around = node.find_ancestor(exp.AggFunc, exp.Select)
    return isinstance(around, AGGREGATES) and not isinstance(around.parent, exp.Window)


def _rollups(group: exp.Expr) -> Iterator[exp.Expr]:
    for name in ("rollup", "cube", "grouping_sets"):
        for part in group.args.get(name) or []:
            if isinstance(part, exp.Expr):
                yield from part.expressions
