"""information_schema over several keyspaces, or with sizes of sharded ones: each view's rows are asked for keyspace by
keyspace, and the client's statement is asked about them in place of the view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from sqlglot import exp

from router.errors import refusal
from router.plan import Scatter, Survey, View
from router.planner import measured
from router.planner.clauses import Range
from router.planner.conditions import Conditions
from router.planner.parsed import Parsed
from router.planner.request import Request
from router.relations import SYSTEM, Relation
from router.template import places
from router.tokens import Token
from router.topology import Keyspace

MEASURED = {
    "tables": {
        *("table_rows", "avg_row_length", "data_length", "max_data_length", "index_length", "data_free"),
        *("auto_increment", "create_time", "update_time", "check_time", "checksum"),
    },
    "statistics": {"cardinality"},
    "partitions": {
        *("table_rows", "avg_row_length", "data_length", "max_data_length", "index_length", "data_free"),
        *("create_time", "update_time", "check_time", "checksum"),
    },
}
"""Columns that count a shard's rows: of a sharded keyspace they have to be put together."""
_OF_INDEX = frozenset(
    {"table_catalog", "table_schema", "table_name", "index_schema", "index_name", "non_unique", "index_type"}
    | {"comment", "index_comment", "is_visible", "ignored"}
)
"""Columns of STATISTICS that are the same for all columns of an index."""
_WHOLE = frozenset({"expressions", "from", "from_", "where"})
_PARTS = frozenset({"this", "db", "alias", "joins"})


def measures(parsed: Parsed) -> bool:
    """Does it ask for what differs from shard to shard?"""
    columns = set().union(*(MEASURED.get(one.table or "", set()) for one in parsed.tables()))
    return bool(columns) and any(
        _is_star(node) or (isinstance(node, exp.Column) and node.name.lower() in columns) for node in parsed.tree.walk()
    )


def _is_star(node: exp.Expr) -> bool:
    return isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count)


_NAMING = frozenset(
    {"tables", "columns", "statistics", "partitions", "key_column_usage", "table_constraints"}
    | {"referential_constraints"}
)
"""Views that name tables, among them Fairlead's own."""


def hides(request: Request, parsed: Parsed, keyspace: Keyspace) -> bool:
    """Would it tell of Fairlead's own tables?"""
    # A policy lets no star over these views pass, which is how their rows are asked for.
    if not keyspace.lookups or request.context.policy is not None:
        return False
    return any(one.table in _NAMING for one in parsed.tables())


def whole_view(request: Request, parsed: Parsed, keyspace: Keyspace) -> Scatter | None:
    """`SELECT * FROM view WHERE …` by what is the same on all shards: their rows become one server's, without those of
    Fairlead's own tables. None for more than that."""
    tree, tables = parsed.tree, parsed.tables()
    given = {name for name, value in tree.args.items() if value}
    if not isinstance(tree, exp.Select) or not given <= _WHOLE or len(tables) != 1 or tables[0].node is None:
        return None
    stars = [one for one in tree.expressions if isinstance(one, exp.Star)]
    if len(tree.expressions) != 1 or len(stars) != 1 or tables[0].node.args.get("joins"):
        return None
    where = tree.args.get("where")
    names = _names([where] if where is not None else [])
    table = tables[0].table or ""
    if names & MEASURED.get(table, set()) or (where is not None and where.find(exp.Select)):
        return None
    return measured.view(request, keyspace, table, whole=names <= _OF_INDEX)


def _names(nodes: Sequence[exp.Expr]) -> set[str]:
    return {column.name.lower() for node in nodes for column in node.find_all(exp.Column)}


Limit: TypeAlias = tuple[Relation, str, tuple[str, ...], tuple[int, ...] | None]
"""A view, its column of schemas, the keyspaces whose rows it may show, and the slots that choose among them."""


def survey(request: Request, parsed: Parsed, limits: Sequence[Limit]) -> Survey:
    """Raises Refusal."""
    at = places(request.lexed, request.tokens)
    dropped = tuple(_dropped(request.tokens))
    _check_labels(parsed)
    conditions = Conditions(request)
    views: dict[Range, View] = {}
    for relation, column, keyspaces, slots in limits:
        first, end = _mention(relation, at)
        once = (first, end - 1) not in views
        within = _steady(request, relation, conditions.of(relation), dropped) if once else ()
        assert relation.node is not None
        called = "" if relation.node.args.get("alias") else relation.node.name
        name = (relation.table or "").upper()
        views[first, end - 1] = View(first, end - 1, name, relation.alias, column, keyspaces, slots, within, called)
    return Survey(tuple(views[at] for at in sorted(views)), _shards(request, limits), dropped)


def _shards(request: Request, limits: Sequence[Limit]) -> tuple[str, ...]:
    """Those that can be asked the rest: of the keyspaces that it is about."""
    topology = request.context.topology
    for name in (*(name for _, _, keyspaces, _ in limits for name in keyspaces), request.context.database or ""):
        if (found := topology.keyspace(name)) is not None:
            return tuple(shard.name for shard in found.shards)
    return tuple(shard.name for shard in topology.shards)


def _steady(
    request: Request, relation: Relation, ranges: Sequence[Range], dropped: Sequence[Range]
) -> tuple[Range, ...]:
    """The conditions that do not look at what differs from shard to shard."""
    table = relation.table or ""
    found = []
    for first, end in ranges:
        names = {token.name.lower() for token in request.tokens[first:end] if token.is_name}
        moved = any(first <= one < end for one, _ in dropped)
        if not moved and names.isdisjoint(_UNSTEADY.get(table, ())):
            found.append((first, end))
    return tuple(found)


_OF_COLUMN = {"seq_in_index", "column_name", "collation", "sub_part", "packed", "nullable", "expression"}
_UNSTEADY = MEASURED | {"statistics": MEASURED["statistics"] | _OF_COLUMN}
"""An index's cardinality is that of all its columns."""


def _mention(relation: Relation, at: dict[int, int]) -> Range:
    """Where `information_schema.view` stands among the tokens. Raises Refusal for an unusual form of it."""
    node = relation.node
    if node is None or {name for name, value in node.args.items() if value} - _PARTS:
        raise refusal("SYSTEM_SCHEMA", SYSTEM, f"{relation.table} is named in an unusual way")
    end, first = at.get(node.this.meta.get("start", -1)), at.get(node.args["db"].meta.get("start", -1))
    if first is None or end != first + 2:
        raise refusal("SYSTEM_SCHEMA", SYSTEM, f"{relation.table} is not where it is read")
    return first, end + 1


def _dropped(tokens: Sequence[Token]) -> Iterator[Range]:
    """`information_schema.` of `information_schema.view.column`."""
    for at, token in enumerate(tokens[:-4]):
        if token.is_name and token.name.lower() == SYSTEM and tokens[at + 1].text == tokens[at + 3].text == ".":
            yield at, at + 2


def _check_labels(parsed: Parsed) -> None:
    """A column that is called by its words must keep them. Raises Refusal."""
    for query in parsed.queries():
        for item in query.tree.expressions if isinstance(query.tree, exp.Select) else ():
            plain = isinstance(item, exp.Alias | exp.Column)
            if not plain and any(column.args.get("db") for column in item.find_all(exp.Column)):
                raise refusal("SYSTEM_SCHEMA", SYSTEM, "an expression names its columns with their database")
