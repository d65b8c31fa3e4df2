"""Reads of information_schema: limited to one keyspace, from any one of its shards."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from _speedups import lexer
from router import functions, literals
from router.errors import refusal
from router.plan import AnyShard, OneShard, Plan, Planned
from router.planner.parsed import Parsed, describe
from router.planner.request import Draft, Request
from router.planner.show import listing_needs
from router.relations import SYSTEM, Query, Relation, resolve
from router.template import slot_of

_SCHEMA_COLUMNS = {
    "columns": "table_schema",
    "tables": "table_schema",
    "statistics": "table_schema",
    "views": "table_schema",
    "key_column_usage": "table_schema",
    "table_constraints": "table_schema",
    "referential_constraints": "constraint_schema",
    "check_constraints": "constraint_schema",
    "schemata": "schema_name",
    "partitions": "table_schema",
    "triggers": "trigger_schema",
    "routines": "routine_schema",
    "parameters": "specific_schema",
    "events": "event_schema",
    "st_geometry_columns": "table_schema",
}
"""The column that names the schema of a row, for tables whose rows are the same on every shard."""

_SERVER_WIDE = frozenset(
    {
        "character_sets",
        "collations",
        "collation_character_set_applicability",
        "engines",
        "keywords",
        "plugins",
    }
    | {"sql_functions", "session_variables", "global_variables", "system_variables"}
    | {"st_spatial_reference_systems", "st_units_of_measure"}
)
TOLD = _SCHEMA_COLUMNS.keys() | _SERVER_WIDE
"""What is about names, types and settings; everything else is about the server at work."""
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
"""Columns that count a shard's rows: on a sharded keyspace they would have to be added up."""


def plan(request: Request, parsed: Parsed, draft: Draft) -> Planned:
    describe(request, parsed, draft)
    for call in parsed.calls:
        if not call.built_in or call.upper in functions.LOCKS:
            raise refusal("SYSTEM_SCHEMA", SYSTEM, f"it calls {call.name}")
    names: set[str] = set()
    limited = False
    for relation in parsed.tables():
        table = relation.table or ""
        # Among the variables is what the connection's last client inserted.
        draft.last_insert_id |= table in ("session_variables", "system_variables")
        if table in _SERVER_WIDE:
            continue
        limited = True
        if table not in _SCHEMA_COLUMNS:
            _administration(request, table)
        else:
            names |= _schemas(request, draft, relation, _SCHEMA_COLUMNS[table])
    draft.because("schema metadata is the same on every shard of the keyspace")
    return draft.done(_route(request, parsed, names, limited))


def _administration(request: Request, table: str) -> None:
    if not request.context.grants.administers:
        raise refusal("ADMINISTRATION", f"access to {SYSTEM}.{table}")


def _route(request: Request, parsed: Parsed, names: set[str], limited: bool) -> Plan:
    if not limited or not names:
        keyspace = request.context.keyspace
        if keyspace is not None and keyspace.unsharded:
            return OneShard(keyspace.shards[0].name)
        shards = keyspace.shards if keyspace is not None else request.context.topology.shards
        return AnyShard(keyspace.name if keyspace else "", tuple(shard.name for shard in shards))
    if len(names) > 1:
        raise refusal("SYSTEM_SCHEMA", SYSTEM, "it names several keyspaces")
    keyspace = request.keyspace(names.pop())
    if keyspace.unsharded:
        return OneShard(keyspace.shards[0].name)
    hinted = request.hinted_shard(keyspace)
    if hinted is not None:
        return OneShard(hinted)
    _refuse_measures(request, parsed)
    return AnyShard(keyspace.name, tuple(shard.name for shard in keyspace.shards))


def _refuse_measures(request: Request, parsed: Parsed) -> None:
    measured = set().union(*(MEASURED.get(one.table or "", set()) for one in parsed.tables()))
    if not measured:
        return
    for node in parsed.tree.walk():
        star = isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count)
        if star or (isinstance(node, exp.Column) and node.name.lower() in measured):
            raise refusal("SYSTEM_SCHEMA", SYSTEM, "it asks for sizes, which differ from shard to shard")


def _schemas(request: Request, draft: Draft, relation: Relation, column: str) -> set[str]:
    """The keyspaces whose rows the conditions let through. Raises Refusal when there is no such condition, or
    the user may not see one of them."""
    found = _limited_to(request, draft, relation, column) or _linked(request, draft, relation, column)
    if not found:
        keyspace = request.context.keyspace
        if request.context.grants.everywhere and keyspace is not None and keyspace.unsharded:
            return {keyspace.name}
        raise refusal("SYSTEM_SCHEMA", f"{SYSTEM}.{relation.table}", "it is not limited to one keyspace")
    for name in found:
        listing_needs(request, draft, request.keyspace(name))
    return found


def _limited_to(request: Request, draft: Draft, relation: Relation, column: str) -> set[str]:
    """The names that `column = 'name'` or `column IN ('name')` lets through; empty when nothing limits it."""
    for query, condition in _conditions(relation):
        if isinstance(condition, exp.In) and _is(query, condition.this, relation, column):
            names = [_names(request, draft, element) for element in condition.expressions]
            if names and all(names):
                return set().union(*names)
        for one, other in _sides(condition):
            if _is(query, one, relation, column) and (found := _names(request, draft, other)):
                return found
    return set()


def _linked(request: Request, draft: Draft, relation: Relation, column: str) -> set[str]:
    """table_schema = other.table_schema: what limits the other table limits this one."""
    for query, condition in _conditions(relation):
        for one, other in _sides(condition):
            linked = resolve(query, other) if _is(query, one, relation, column) else None
            if linked is not None and linked[0] is not relation and linked[0].keyspace == SYSTEM:
                return _limited_to(request, draft, *linked)
    return set()


def _sides(condition: exp.Expr) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    if isinstance(condition, exp.EQ):
        yield condition.this, condition.expression
        yield condition.expression, condition.this


def _conditions(relation: Relation) -> Iterator[tuple[Query, exp.Expr]]:
    yield from ((relation.query, one) for one in relation.query.filters)
    yield from ((relation.query, one) for one in relation.conditions)


def _is(query: Query, node: exp.Expr, relation: Relation, column: str) -> bool:
    if not isinstance(node, exp.Column) or node.name.lower() != column:
        return False
    if node.table:
        return resolve(query, node) == (relation, column)
    return len(query.relations) == 1


def _names(request: Request, draft: Draft, node: exp.Expr) -> set[str]:
    """DATABASE(), or literals: their values are part of the plan, which is then good for this text only."""
    if isinstance(node, exp.CurrentSchema) or node.sql().upper() in ("DATABASE()", "SCHEMA()"):
        return {request.keyspace().name}
    slot = slot_of(node)
    if slot is None:
        return set()
    draft.cacheable = False
    literal = request.lexed.slots[slot]
    items = [literal]
    if literal.kind == lexer.LIST:
        items = lexer.list_items(bytes(request.sql), request.context.mode, literal)
    if any(item.kind == lexer.PARAM for item in items):
        raise refusal("NOT_PREPARABLE", "it names its schema by a parameter")
    values = [literals.value(request.sql, item, request.context.mode) for item in items]
    names = {value for value in values if isinstance(value, str)}
    return names if len(names) == len(set(values)) else set()
