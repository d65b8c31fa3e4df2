"""The queries of a statement and the tables in them, from the syntax tree.

A `Query` is one SELECT (or the joined tables of an UPDATE or DELETE), a `Relation` one name in its FROM
clause. What is known of each: what it stands for, on which side of outer joins it is, which conditions every
row of it that matters must meet. Names are resolved against the session's database and the live schema; what
cannot be resolved for certain is left unresolved and then pins nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from router.context import Context
from router.errors import refusal
from router.schema import LiveTable
from router.template import NotUnderstood
from router.topology import Table

MAX_RELATIONS = 128
"""A statement that names more tables is not planned: common table expressions could multiply without end.
Servers join at most 61."""

SYSTEM = "information_schema"


@dataclass(eq=False, slots=True)
class Relation:
    """One name in a FROM clause. Compared by identity.

    A base table has `keyspace` and `table`; a derived table or common table expression has `body`; what has
    neither (JSON_TABLE, VALUES, a recursive reference) is opaque. `nullable`: on the inner side of an outer
    join; `conditions`: the ON conditions of those joins, which hold for every row of it that matters.
    `known`: a note of router.pinning. `node`: a base table's mention in the tree.
    """

    alias: str
    query: Query
    keyspace: str | None = None
    table: str | None = None
    declared: Table | None = None
    live: LiveTable | None = None
    body: Query | None = None
    columns: tuple[str, ...] = ()
    nullable: bool = False
    conditions: list[exp.Expr] = field(default_factory=list)
    equal: list[tuple[ColumnId, ColumnId]] = field(default_factory=list)
    target: bool = False
    known: object = None
    node: exp.Table | None = None

    def has(self, name: str) -> bool | None:
        """Does it have this column? None: not known."""
        if self.columns:
            return name in self.columns
        if self.body is not None:
            return self.body.gives(name)
        if self.live is not None:
            return self.live.column(name) is not None
        if self.declared is not None and name in {column.lower() for column in self.declared.columns}:
            return True
        return None


ColumnId = tuple[Relation, str]
"""A column of a relation; the name in lower case."""


@dataclass(eq=False, slots=True)
class Outer:
    """An outer join: every row of `preserved` comes out, with or without a match in `nullable`."""

    preserved: tuple[Relation, ...]
    nullable: tuple[Relation, ...]


@dataclass(eq=False, slots=True)
class Query:
    """One SELECT, the tables of an UPDATE or DELETE, or a set operation over `arms`.

    `parent`: the query whose columns it may mention (a subquery in an expression, LATERAL). `derives`: the
    relation whose body it is. `filters`: conditions that hold for every row of the result, before grouping.
    `equal`: columns made equal by USING and NATURAL. `merged`: names that USING joined into one column.
    `limited`: parentheses around it carry a LIMIT of their own. `notes`: router.pinning's, by condition.
    """

    tree: exp.Expr
    parent: Query | None = None
    derives: Relation | None = None
    relations: list[Relation] = field(default_factory=list)
    filters: list[exp.Expr] = field(default_factory=list)
    equal: list[tuple[ColumnId, ColumnId]] = field(default_factory=list)
    merged: dict[str, Relation] = field(default_factory=dict)
    outer: list[Outer] = field(default_factory=list)
    arms: list[Query] = field(default_factory=list)
    subqueries: list[Query] = field(default_factory=list)
    limited: bool = False
    notes: dict[int, object] = field(default_factory=dict)

    def all(self) -> Iterator[Query]:
        """This query and every query inside of it."""
        yield self
        for inner in (*self.arms, *self.subqueries, *(one.body for one in self.relations if one.body)):
            yield from inner.all()

    def all_arms(self) -> Iterator[Query]:
        """The queries whose rows this one gives: itself, or the arms of a set operation."""
        if not self.arms:
            yield self
        for arm in self.arms:
            yield from arm.all_arms()

    def tables(self) -> Iterator[Relation]:
        """Every base table anywhere in it, once per mention."""
        for query in self.all():
            yield from (one for one in query.relations if one.table is not None)

    def gives(self, name: str) -> bool | None:
        """Does its result have a column of this name?"""
        if self.arms:
            return self.arms[0].gives(name)
        if not isinstance(self.tree, exp.Select):
            return None
        if name in (item.alias_or_name.lower() for item in self.tree.expressions):
            return True
        if any(item.is_star for item in self.tree.expressions):
            known = [relation.has(name) for relation in self.relations]
            return True if True in known else None if None in known or not known else False
        return False

    @property
    def simple(self) -> bool:
        """A plain filter and projection, through which an outer condition can be pushed."""
        if self.limited or not isinstance(self.tree, exp.Select) or self.has_limit:
            return False
        parts = ("group", "having", "windows", "distinct", "qualify")
        return not any(self.tree.args.get(part) for part in parts) and not any(
            isinstance(node, exp.AggFunc | exp.Window) for node in self.tree.walk()
        )

    @property
    def has_limit(self) -> bool:
        return self.limited or any(self.tree.args.get(part) for part in ("limit", "offset", "fetch"))


def conjuncts(node: exp.Expr | None) -> Iterator[exp.Expr]:
    """The parts of an AND chain, parentheses undone."""
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.And):
        yield from conjuncts(node.this)
        yield from conjuncts(node.expression)
    elif node is not None:
        yield node


def resolve(query: Query, column: exp.Expr) -> ColumnId | None:
    """The relation and column that a reference means, looking outwards; None when it is not certain."""
    if not isinstance(column, exp.Column) or not isinstance(column.this, exp.Identifier):
        return None
    name, qualifier = column.name.lower(), column.table
    scope: Query | None = query
    while scope is not None:
        if qualifier:
            if found := _by_alias(scope, qualifier):
                return (found, name)
        elif owners := _owners(scope, name):
            return (owners[0], name) if _certain(scope, owners, name) else None
        scope = scope.parent
    return None


def _by_alias(query: Query, alias: str) -> Relation | None:
    """Exactly, else without regard to case when that is unique: servers differ in lower_case_table_names."""
    for relation in query.relations:
        if relation.alias == alias:
            return relation
    folded = [one for one in query.relations if one.alias.lower() == alias.lower()]
    return folded[0] if len(folded) == 1 else None


def _owners(query: Query, name: str) -> list[Relation]:
    """The relations of the query that an unqualified column may be of."""
    if name in query.merged:
        return [query.merged[name]]
    return [one for one in query.relations if one.has(name) is not False]


def _certain(query: Query, owners: list[Relation], name: str) -> bool:
    """One owner, known to have the column, or the only place to look."""
    if name in query.merged:
        return True
    return len(owners) == 1 and bool(owners[0].has(name) or query.parent is None)


# --- building ----------------------------------------------------------------------------------------------

Ctes = Mapping[str, "Cte"]


@dataclass(frozen=True, slots=True)
class Cte:
    """A common table expression in sight. `open`: its own body is being read; a mention is the recursion."""

    tree: exp.CTE
    visible: Ctes
    open: bool = False


class Builder:
    """Builds the queries of one statement. Raises Refusal (unknown names) and NotUnderstood."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.count = 0
        self.seen: set[int] = set()

    def statement(self, tree: exp.Expr) -> Query:
        """The query of a SELECT or set operation, every table in it accounted for."""
        query = self.query(tree, None, {})
        self.check(tree)
        return query

    def check(self, tree: exp.Expr) -> None:
        """Every table of the tree was visited; one that was not would go unrouted."""
        for node in tree.find_all(exp.Table):
            if id(node) not in self.seen and not isinstance(node.parent, exp.Lock | exp.Into):
                raise NotUnderstood("it names a table in an unusual place")

    def query(self, tree: exp.Expr, parent: Query | None, ctes: Ctes) -> Query:
        tree, limited, ctes = self._unwrap(tree, ctes)
        query = Query(tree, parent, limited=limited)
        if isinstance(tree, exp.SetOperation):
            query.arms = [self.query(arm, parent, ctes) for arm in (tree.this, tree.expression)]
            self._expressions(query, ctes, skip=("this", "expression", "with_"))
        elif isinstance(tree, exp.Select):
            self._select(query, tree, ctes)
        elif isinstance(tree, exp.Values):
            self._expressions(query, ctes, skip=("alias",))
        else:
            raise NotUnderstood(f"a query of the form {tree.key}")
        return query

    def visible(self, tree: exp.Expr) -> Ctes:
        """The common table expressions of a statement's own WITH clause."""
        return self._with(tree, {})

    def _unwrap(self, tree: exp.Expr, ctes: Ctes) -> tuple[exp.Expr, bool, Ctes]:
        """Parentheses undone, with what they carry: LIMIT and WITH."""
        limited = False
        while True:
            ctes = self._with(tree, ctes)
            if not isinstance(tree, exp.Subquery | exp.Lateral | exp.Paren):
                return tree, limited, ctes
            limited = limited or bool(tree.args.get("limit") or tree.args.get("offset"))
            tree = tree.this

    def tables_of(self, tree: exp.Expr, sources: Iterable[exp.Expr], ctes: Ctes) -> Query:
        """The query of the tables that an UPDATE or DELETE joins."""
        query = Query(tree)
        for source in sources:
            self._close(query, self._source(query, source, ctes))
        query.filters.extend(conjuncts(_where(tree)))
        return query

    def expressions(self, query: Query, nodes: Iterable[exp.Expr | None], ctes: Ctes) -> None:
        """Finds the subqueries in expressions that belong to `query`."""
        for node in nodes:
            if node is not None:
                self._subqueries(query, node, ctes)

    def _with(self, tree: exp.Expr, ctes: Ctes) -> Ctes:
        given = tree.args.get("with_")
        if given is None:
            return ctes
        for cte in given.expressions:
            visible = ctes
            if given.args.get("recursive"):
                visible = {**ctes, cte.alias.lower(): Cte(cte, ctes, open=True)}
            ctes = {**ctes, cte.alias.lower(): Cte(cte, visible)}
        return ctes

    def _select(self, query: Query, tree: exp.Select, ctes: Ctes) -> None:
        source = tree.args.get("from_")
        if source is not None:
            group = self._source(query, source.this, ctes)
            self._close(query, self._joins(query, group, tree.args.get("joins") or [], ctes))
        query.filters.extend(conjuncts(_where(tree)))
        self._expressions(query, ctes, skip=("from_", "joins", "with_", "into", "locks", "laterals"))

    def _close(self, query: Query, group: Group) -> None:
        """The whole FROM clause is read: what holds for its rows holds for the query."""
        query.filters += group.conditions
        query.equal += group.equal

    def _expressions(self, query: Query, ctes: Ctes, skip: tuple[str, ...]) -> None:
        for name, value in query.tree.args.items():
            if name not in skip:
                nodes = value if isinstance(value, list) else [value]
                self.expressions(query, (node for node in nodes if isinstance(node, exp.Expr)), ctes)

    def _subqueries(self, query: Query, node: exp.Expr, ctes: Ctes) -> None:
        if isinstance(node, exp.Select | exp.SetOperation):
            query.subqueries.append(self.query(node, query, ctes))
            return
        if isinstance(node, exp.Table):
            raise NotUnderstood("it names a table in an unusual place")
        for child in node.iter_expressions():
            self._subqueries(query, child, ctes)

    # FROM and JOIN

    def _source(self, query: Query, node: exp.Expr, ctes: Ctes) -> Group:
        if isinstance(node, exp.Table):
            found = self._table(query, node, ctes)
            group = Group([found] if found else [])
        elif isinstance(node, exp.Subquery) and isinstance(_bare(node), exp.Table):
            group = self._source(query, _bare(node), ctes)
        elif isinstance(node, exp.Subquery | exp.Lateral):
            group = Group([self._derived(query, node, ctes)])
        elif isinstance(node, exp.Values):
            group = Group([self._relation(query, Relation(node.alias, query))])
            self.expressions(query, node.expressions, ctes)
        else:
            # sqlglot gives a bare `True` for some broken texts.
            raise NotUnderstood(f"a table of the form {getattr(node, 'key', 'nothing')}")
        return self._joins(query, group, node.args.get("joins") or [], ctes)

    def _relation(self, query: Query, relation: Relation) -> Relation:
        self.count += 1
        if self.count > MAX_RELATIONS:
            raise NotUnderstood(f"it names more than {MAX_RELATIONS} tables")
        query.relations.append(relation)
        return relation

    def _table(self, query: Query, node: exp.Table, ctes: Ctes) -> Relation | None:
        self.seen.add(id(node))
        if not isinstance(node.this, exp.Identifier):
            self.expressions(query, [node.this], ctes)
            return self._relation(query, Relation(node.alias, query))
        cte = None if node.db else ctes.get(node.name.lower())
        if cte is not None:
            if cte.tree.alias != node.name:
                raise NotUnderstood("a common table expression's name in another case, which may be a table's")
            return self._cte(query, node, cte)
        if not node.db and node.name.lower() == "dual":
            return None
        return self._relation(query, self.base(query, node))

    def base(self, query: Query, node: exp.Table) -> Relation:
        """A table of a keyspace. Raises Refusal when the keyspace is not known."""
        self.seen.add(id(node))
        if node.catalog or not isinstance(node.this, exp.Identifier):
            raise NotUnderstood("a table name of three parts")
        keyspace = node.db or self.context.database
        if keyspace is None:
            raise refusal("NO_DATABASE")
        alias = node.alias or node.name
        if keyspace.lower() == SYSTEM:
            return Relation(alias, query, SYSTEM, node.name.lower(), node=node)
        known = self.context.topology.keyspace(keyspace)
        if known is None:
            raise refusal("UNKNOWN_DATABASE", keyspace)
        schema = self.context.schemas.get(keyspace)
        live = schema.table(node.name) if schema else None
        return Relation(alias, query, keyspace, node.name, known.table(node.name), live, node=node)

    def _cte(self, query: Query, node: exp.Table, cte: Cte) -> Relation:
        relation = self._relation(query, Relation(node.alias or node.name, query))
        if not cte.open:
            self._body(relation, cte.tree.this, None, cte.visible, cte.tree.args.get("alias"))
        return relation

    def _derived(self, query: Query, node: exp.Expr, ctes: Ctes) -> Relation:
        if not node.alias:
            raise NotUnderstood("a derived table without a name")
        relation = self._relation(query, Relation(node.alias, query))
        parent = query if isinstance(node, exp.Lateral) else query.parent
        self._body(relation, node.this, parent, ctes, node.args.get("alias"))
        return relation

    def _body(
        self, relation: Relation, tree: exp.Expr, parent: Query | None, ctes: Ctes, alias: exp.Expr | None
    ) -> None:
        relation.body = self.query(tree, parent, ctes)
        for query in relation.body.all():
            if query is relation.body or query in relation.body.arms:
                query.derives = relation
        if isinstance(alias, exp.TableAlias):
            relation.columns = tuple(column.name.lower() for column in alias.columns)

    def _joins(self, query: Query, left: Group, joins: list[exp.Join], ctes: Ctes) -> Group:
        for join in joins:
            right = self._source(query, join.this, ctes)
            left = _joined(query, left, right, join, sole=len(joins) == 1)
            self.expressions(query, [join.args.get("on")], ctes)
        return left


@dataclass(eq=False, slots=True)
class Group:
    """A part of a FROM clause: its relations, and what holds for every row of their join."""

    relations: list[Relation]
    conditions: list[exp.Expr] = field(default_factory=list)
    equal: list[tuple[ColumnId, ColumnId]] = field(default_factory=list)


def _joined(query: Query, left: Group, right: Group, join: exp.Join, *, sole: bool) -> Group:
    side = join.side
    if side not in ("", "LEFT", "RIGHT") or join.kind in ("SEMI", "ANTI", "ASOF"):
        raise NotUnderstood(f"a {side} {join.kind} join".replace("  ", " "))
    conditions = list(conjuncts(join.args.get("on")))
    equal = _using(query, left.relations, right.relations, join, from_right=side == "RIGHT")
    both = left.relations + right.relations
    if not side:
        return Group(both, left.conditions + right.conditions + conditions, left.equal + right.equal + equal)
    preserved, nullable = (left, right) if side == "LEFT" else (right, left)
    query.outer.append(Outer(tuple(preserved.relations), tuple(nullable.relations)))
    # After other joins a RIGHT JOIN's condition may bind to less than all that stands left of it.
    usable = side == "LEFT" or sole
    for relation in nullable.relations:
        relation.nullable = True
        relation.conditions += nullable.conditions + (conditions if usable else [])
        relation.equal += nullable.equal + (equal if usable else [])
    return Group(both, preserved.conditions, preserved.equal)


def _bare(node: exp.Expr) -> exp.Expr:
    """Parentheses around a query undone."""
    while isinstance(node, exp.Subquery | exp.Lateral | exp.Paren) and isinstance(node.this, exp.Expr):
        node = node.this
    return node


def _where(tree: exp.Expr) -> exp.Expr | None:
    where = tree.args.get("where")
    return where.this if where is not None else None


def _using(
    query: Query, left: list[Relation], right: list[Relation], join: exp.Join, *, from_right: bool
) -> list[tuple[ColumnId, ColumnId]]:
    names = [node.name.lower() for node in join.args.get("using") or []]
    if join.method == "NATURAL":
        names = _common(left, right)
    equal: list[tuple[ColumnId, ColumnId]] = []
    for name in names:
        ours = query.merged.get(name) or _only(left, name)
        theirs = _only(right, name)
        if ours is None or theirs is None:
            continue
        equal.append(((ours, name), (theirs, name)))
        query.merged[name] = theirs if from_right else ours
    return equal


def _only(relations: list[Relation], name: str) -> Relation | None:
    found = [one for one in relations if one.has(name) is not False]
    return found[0] if len(found) == 1 else None


def _common(left: list[Relation], right: list[Relation]) -> list[str]:
    """The names that a NATURAL join equates; only what is certain on both sides."""
    tables = [one.live for one in (*left, *right)]
    if any(table is None for table in tables):
        raise NotUnderstood("NATURAL JOIN of tables whose columns are not known")
    names = [column.name.lower() for one in left if one.live for column in one.live.columns]
    return [name for name in dict.fromkeys(names) if any(one.has(name) for one in right)]
