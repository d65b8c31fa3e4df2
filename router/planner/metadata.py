"""Reads of information_schema: what is the same on every shard, from any one of them; else keyspace by keyspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from _speedups import lexer
from router import functions, literals
from router.errors import refusal
from router.plan import AnyShard, OneShard, Plan, Planned, Survey
from router.planner.parsed import Parsed, describe
from router.planner.request import Draft, Request
from router.planner.show import listing_needs, lists
from router.planner.views import Limit, hides, measures, survey, whole_view
from router.relations import SYSTEM, Query, Relation, resolve
from router.template import slot_of
from router.topology import Keyspace

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


@dataclass(frozen=True, slots=True)
class Named:
    """The schemas that a condition lets through: `names`, and those that slots of the statement hold, which have to be
    looked at whenever it is executed."""

    names: frozenset[str] = frozenset()
    slots: tuple[int, ...] = ()


def plan(request: Request, parsed: Parsed, draft: Draft) -> Planned:
    describe(request, parsed, draft)
    for call in parsed.calls:
        if not call.built_in or call.upper in functions.LOCKS:
            raise refusal("SYSTEM_SCHEMA", SYSTEM, f"it calls {call.name}")
    limits: dict[Relation, Named | None] = {}
    administered = False
    for relation in parsed.tables():
        table = relation.table or ""
        # Among the variables is what the connection's last client inserted.
        draft.last_insert_id |= table in ("session_variables", "system_variables")
        if table in _SCHEMA_COLUMNS:
            limits[relation] = _named(request, draft, relation, _SCHEMA_COLUMNS[table])
        elif table not in _SERVER_WIDE:
            _administration(request, table)
            administered = True
    draft.because("schema metadata is the same on every shard of the keyspace")
    found = _anywhere(request) if not limits else _by_keyspace(request, parsed, draft, limits)
    if isinstance(found, Survey) and administered:
        raise refusal("SYSTEM_SCHEMA", SYSTEM, "it is about keyspaces and about a server")
    return draft.done(found)


def _administration(request: Request, table: str) -> None:
    if not request.context.grants.administers:
        raise refusal("ADMINISTRATION", f"access to {SYSTEM}.{table}")


def _anywhere(request: Request) -> Plan:
    keyspace = request.context.keyspace
    if keyspace is not None and keyspace.unsharded:
        return OneShard(keyspace.shards[0].name)
    shards = keyspace.shards if keyspace is not None else request.context.topology.shards
    return AnyShard(keyspace.name if keyspace else "", tuple(shard.name for shard in shards))


def _by_keyspace(request: Request, parsed: Parsed, draft: Draft, limits: Mapping[Relation, Named | None]) -> Plan:
    """Raises Refusal."""
    home = request.context.keyspace
    if None in limits.values() and request.context.grants.everywhere and home is not None and home.unsharded:
        # Such a user is shown what the server has.
        limits = {one: named or Named(frozenset({home.name})) for one, named in limits.items()}
    names = {name for named in limits.values() if named is not None for name in named.names}
    if len(names) == 1 and all(named is not None and not named.slots for named in limits.values()):
        (name,) = names
        keyspace = request.context.topology.keyspace(name)
        if name == SYSTEM:
            return _anywhere(request)
        if keyspace is not None and (found := _of_one(request, parsed, draft, keyspace)) is not None:
            return found
    return _of_several(request, parsed, draft, limits)


def _of_one(request: Request, parsed: Parsed, draft: Draft, keyspace: Keyspace) -> Plan | None:
    """None where its shards tell different things. Raises Refusal."""
    listing_needs(request, draft, keyspace)
    hinted = keyspace.shards[0].name if keyspace.unsharded else request.hinted_shard(keyspace)
    if hinted is not None:
        return OneShard(hinted)
    if measures(parsed) or hides(request, parsed, keyspace):
        return whole_view(request, parsed, keyspace)
    return AnyShard(keyspace.name, tuple(shard.name for shard in keyspace.shards))


def _of_several(request: Request, parsed: Parsed, draft: Draft, limits: Mapping[Relation, Named | None]) -> Plan:
    """Raises Refusal."""
    if request.hints.shard is not None:
        raise refusal("SYSTEM_SCHEMA", SYSTEM, "it is not limited to one keyspace")
    if draft.pins or draft.connection or draft.last_insert_id or draft.locks:
        raise refusal("SYSTEM_SCHEMA", SYSTEM, "it is about the session's connection, and about several shards")
    draft.because("each keyspace is asked, and one server is asked about what they say")
    return survey(request, parsed, [_limit(request, draft, *one) for one in limits.items()])


def _limit(request: Request, draft: Draft, relation: Relation, named: Named | None) -> Limit:
    keyspaces, column = request.context.topology.keyspaces, _SCHEMA_COLUMNS[relation.table or ""]
    if named is not None and named.slots:
        found = [one.name for one in keyspaces if lists(request, one)]
        return relation, column, (*found, SYSTEM), named.slots
    if named is None:
        shown = [one for one in keyspaces if request.context.grants.sees(one.name)]
    else:
        shown = [one for one in keyspaces if one.name in named.names]
    for keyspace in shown:
        listing_needs(request, draft, keyspace)
    of_servers = (SYSTEM,) if named is None or SYSTEM in named.names else ()
    return relation, column, (*(one.name for one in shown), *of_servers), None


def _named(request: Request, draft: Draft, relation: Relation, column: str) -> Named | None:
    """The schemas whose rows the conditions let through; None: no condition says so."""
    return _limited_to(request, draft, relation, column) or _linked(request, draft, relation, column)


def _limited_to(request: Request, draft: Draft, relation: Relation, column: str) -> Named | None:
    """What `column = 'name'` or `column IN ('name')` lets through; None when nothing limits it."""
    for query, condition in _conditions(relation):
        if isinstance(condition, exp.In) and _is(query, condition.this, relation, column):
            found = [_names(request, draft, element) for element in condition.expressions]
            given = [one for one in found if one is not None]
            names = frozenset(name for one in given for name in one.names)
            slots = tuple(slot for one in given for slot in one.slots)
            if given and len(given) == len(found) and not (names and slots):
                return Named(names, slots)
        for one, other in _sides(condition):
            if _is(query, one, relation, column) and (named := _names(request, draft, other)):
                return named
    return None


def _linked(request: Request, draft: Draft, relation: Relation, column: str) -> Named | None:
    """table_schema = other.table_schema: what limits the other table limits this one."""
    for query, condition in _conditions(relation):
        for one, other in _sides(condition):
            linked = resolve(query, other) if _is(query, one, relation, column) else None
            if linked is not None and linked[0] is not relation and linked[0].keyspace == SYSTEM:
                return _limited_to(request, draft, *linked)
    return None


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


def _names(request: Request, draft: Draft, node: exp.Expr) -> Named | None:
    """DATABASE(), or literals: their values are part of the plan, which is then good for this text only."""
    if isinstance(node, exp.CurrentSchema) or node.sql().upper() in _CURRENT:
        return Named(frozenset({request.context.database}) if request.context.database is not None else frozenset())
    slot = slot_of(node)
    if slot is None:
        return None
    draft.cacheable = False
    literal = request.lexed.slots[slot]
    items = [literal]
    if literal.kind == lexer.LIST:
        items = lexer.list_items(bytes(request.sql), request.context.mode, literal)
    if any(item.kind == lexer.PARAM for item in items):
        return Named(slots=(slot,))
    values = [literals.value(request.sql, item, request.context.mode) for item in items]
    names = frozenset(value for value in values if isinstance(value, str))
    return Named(names) if len(names) == len(set(values)) else None


_CURRENT = frozenset(
    {"DATABASE()", "SCHEMA()", "(SELECT DATABASE())", "(SELECT SCHEMA())", "(SELECT CURRENT_SCHEMA)"}
    | {"(SELECT CURRENT_SCHEMA())", "CURRENT_SCHEMA()", "CURRENT_SCHEMA"}
)
