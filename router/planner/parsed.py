"""A parsed statement with its tables resolved: what SELECT, INSERT, UPDATE and DELETE planners share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sqlglot import exp

from config.words import Verb
from router import functions
from router.errors import refusal
from router.functions import Call, calls
from router.planner.request import Draft, Request
from router.relations import SYSTEM, Builder, Query, Relation, resolve
from router.template import NotUnderstood, Template, parse
from router.tokens import Token
from router.topology import Keyspace
from router.variables import Handling, variable


@dataclass(slots=True)
class Parsed:
    """`query`: the SELECT, the joined tables of an UPDATE or DELETE, or an INSERT's source if it is a query.

    `targets`: the relations that are written. `extra`: queries inside of an INSERT's values and assignments.
    """

    template: Template
    builder: Builder
    query: Query | None = None
    targets: list[Relation] = field(default_factory=list)
    extra: Query | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def tree(self) -> exp.Expr:
        return self.template.tree

    def queries(self) -> Iterator[Query]:
        for query in (self.query, self.extra):
            if query is not None:
                yield from query.all()

    def tables(self) -> list[Relation]:
        """Every mention of a base table, targets included."""
        found = [one for query in self.queries() for one in query.relations if one.table is not None]
        return found + [one for one in self.targets if one not in found]

    @property
    def sources(self) -> list[Relation]:
        return [one for one in self.tables() if one not in self.targets]


def read(request: Request) -> Parsed:
    """Raises NotUnderstood, and Refusal for unknown databases."""
    template = parse(request.lexed, request.tokens)
    parsed = Parsed(template, Builder(request.context), calls=calls(request.tokens))
    tree = template.tree
    if isinstance(tree, exp.Insert):
        _read_insert(parsed, tree)
    elif isinstance(tree, exp.Update):
        _read_update(parsed, tree)
    elif isinstance(tree, exp.Delete):
        _read_delete(parsed, tree)
    elif isinstance(tree, exp.Select | exp.SetOperation | exp.Values | exp.Subquery):
        parsed.query = parsed.builder.query(tree, None, {})
    else:
        raise NotUnderstood(f"a statement of the form {tree.key}")
    parsed.builder.check(tree)
    return parsed


def _read_insert(parsed: Parsed, tree: exp.Insert) -> None:
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if not isinstance(target, exp.Table):
        raise NotUnderstood("INSERT into something that is not a table")
    home = Query(tree)
    relation = parsed.builder.base(home, target)
    relation.target = True
    home.relations.append(relation)
    parsed.targets.append(relation)
    parsed.extra = home
    source = tree.expression
    ctes = parsed.builder.visible(tree)
    if isinstance(source, exp.Values):
        parsed.builder.expressions(home, source.expressions, ctes)
    elif isinstance(source, exp.Expr):
        parsed.query = parsed.builder.query(source, None, ctes)
    parsed.builder.expressions(home, [tree.args.get("conflict"), tree.args.get("returning")], ctes)


def _read_update(parsed: Parsed, tree: exp.Update) -> None:
    if tree.args.get("from_") is not None:
        raise NotUnderstood("UPDATE … FROM")
    ctes = parsed.builder.visible(tree)
    query = parsed.builder.tables_of(tree, [tree.this], ctes)
    parsed.query = query
    order, limit, where = (tree.args.get(name) for name in ("order", "limit", "where"))
    parsed.builder.expressions(query, [*tree.expressions, order, limit, where, tree.args.get("returning")], ctes)
    for assignment in tree.expressions:
        relation = assigned(query, assignment)
        if relation is not None and relation not in parsed.targets:
            relation.target = True
            parsed.targets.append(relation)


def assigned(query: Query, assignment: exp.Expr) -> Relation | None:
    """The table that `column = value` changes. Raises NotUnderstood when that is not certain."""
    if not isinstance(assignment, exp.EQ):
        raise NotUnderstood("an assignment of this form")
    if len(query.relations) == 1 and isinstance(assignment.this, exp.Column):
        return query.relations[0]
    column = resolve(query, assignment.this)
    if column is None:
        raise NotUnderstood("an assignment to a column whose table is not certain")
    return column[0]


def _read_delete(parsed: Parsed, tree: exp.Delete) -> None:
    ctes = parsed.builder.visible(tree)
    using = tree.args.get("using") or []
    named = [tree.this] if using else tree.args.get("tables") or []
    query = parsed.builder.tables_of(tree, using or [tree.this], ctes)
    parsed.query = query
    parts = ("where", "order", "limit", "returning")
    parsed.builder.expressions(query, (tree.args.get(part) for part in parts), ctes)
    for name in named:
        parsed.builder.seen.add(id(name))
        parsed.targets.append(_named(query, name))
    if not named:
        if len(query.relations) != 1:
            raise NotUnderstood("DELETE of several tables that does not say from which")
        parsed.targets.append(query.relations[0])
    for relation in parsed.targets:
        relation.target = True


def _named(query: Query, name: exp.Expr) -> Relation:
    found = [one for one in query.relations if isinstance(name, exp.Table) and one.alias == name.name]
    if len(found) != 1 or found[0].table is None:
        raise NotUnderstood("DELETE from a table that is not in its FROM clause")
    return found[0]


def home(request: Request, parsed: Parsed) -> Keyspace | None:
    """The keyspace that all tables are in; None when there are none. Raises Refusal when there are several
    that do not live on one shard."""
    names = {one.keyspace for one in parsed.tables() if one.keyspace is not None}
    if not names:
        return None
    if SYSTEM in names:
        raise refusal("SYSTEM_SCHEMA", SYSTEM, "it is joined with tables of a keyspace")
    found = [request.keyspace(name) for name in sorted(names)]
    if len(found) > 1 and (not all(one.unsharded for one in found) or len({one.shards for one in found}) > 1):
        raise refusal("TWO_KEYSPACES", " and ".join(one.name for one in found))
    return found[0]


def describe(request: Request, parsed: Parsed, draft: Draft) -> None:
    """The facts that hold whatever the route. Raises Refusal for functions that only the client's own
    connection could answer."""
    for call in parsed.calls:
        if call.schema is None and call.upper in functions.IDENTITY:
            raise refusal("LOCAL_FUNCTION", call.upper)
        if not call.built_in:
            draft.need(request.keyspace(call.schema).name, Verb.EXECUTE)
    draft.call(parsed.calls)
    for token in request.tokens:
        if token.kind == "user_variable":
            draft.pin("user_variable")
        elif token.kind == "system_variable":
            _system_variable(draft, token.text[2:].rpartition(".")[2].strip("`").lower())
    if "SQL_CALC_FOUND_ROWS" in parsed.template.modifiers:
        draft.pin("found_rows")
    draft.locks = _locks(request.tokens)


def _locks(tokens: Sequence[Token]) -> bool:
    """FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE, anywhere."""
    pairs = {(one.upper, two.upper) for one, two in pairwise(tokens)}
    return not pairs.isdisjoint({("FOR", "UPDATE"), ("FOR", "SHARE"), ("LOCK", "IN")})


def _system_variable(draft: Draft, name: str) -> None:
    if name in ("last_insert_id", "identity"):
        draft.last_insert_id = draft.local = True
    elif name in ("warning_count", "error_count"):
        draft.connection.append(name)
        draft.local = True
    elif name == "pseudo_thread_id":
        raise refusal("LOCAL_FUNCTION", "@@pseudo_thread_id")
    elif variable(name).handling is not Handling.TRACKED:
        draft.local = True


def reads(draft: Draft, relations: list[Relation]) -> None:
    for relation in relations:
        if relation.keyspace is not None and relation.table is not None:
            draft.use(relation.keyspace, relation.table, "read", Verb.SELECT)
