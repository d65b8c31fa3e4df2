"""Where the tables of a statement on a sharded keyspace are, and which shard keys it touches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from router import functions
from router.errors import refusal
from router.keys import KeyColumn, UnsupportedKey
from router.lookups import PREFIX
from router.pinning import Finder
from router.plan import ByKey, Key, OneShard, Otherwise, Plan
from router.planner.parsed import Parsed
from router.planner.request import Draft, Request
from router.relations import Relation
from router.schema import key_columns
from router.tokens import Token, version_comments
from router.topology import Keyspace, Table, TableKind
from router.vindexes.vindex import Vindex


@dataclass(slots=True)
class Placement:
    """The base tables of a statement by kind; `keys`: of each sharded mention, None when it is not pinned."""

    keyspace: Keyspace
    finder: Finder
    sharded: list[Relation] = field(default_factory=list)
    reference: list[Relation] = field(default_factory=list)
    pinned: list[Relation] = field(default_factory=list)
    keys: dict[Relation, tuple[Key, ...] | None] = field(default_factory=dict)

    @property
    def shards(self) -> tuple[str, ...]:
        """Where the rows can be: the vindex's shards, or every shard for reference tables."""
        if not self.sharded:
            return tuple(shard.name for shard in self.keyspace.shards)
        held = set(self.vindex.shards)
        return tuple(shard.name for shard in self.keyspace.shards if shard.index in held)

    @property
    def home(self) -> str:
        """The shard that answers when no row can match: one of the own region, when there is one."""
        local = {shard.name for shard in self.keyspace.shards if shard.is_local}
        return next((name for name in self.shards if name in local), self.shards[0])

    @property
    def vindex(self) -> Vindex:
        """The one that all sharded tables share (`check_vindexes`)."""
        vindex = self.sharded[0].declared.vindex if self.sharded[0].declared else None
        assert vindex is not None
        return vindex

    @property
    def unpinned(self) -> list[Relation]:
        return [one for one in self.sharded if self.keys[one] is None]

    def all_keys(self) -> tuple[Key, ...]:
        """Every key that the statement can touch; call it when nothing is unpinned."""
        return tuple(dict.fromkeys(key for one in self.sharded for key in self.keys[one] or ()))


def place(request: Request, keyspace: Keyspace, parsed: Parsed) -> Placement:
    """Raises Refusal for tables that are not declared, not there, views, or of unsupported types."""
    placement = Placement(keyspace, Finder(request.lexed.slots, alternatives=not has_pipes(request.tokens)))
    for relation in parsed.tables():
        _check(request, keyspace, relation)
        assert relation.declared is not None
        kinds = {TableKind.SHARDED: placement.sharded, TableKind.REFERENCE: placement.reference}
        kinds.get(relation.declared.kind, placement.pinned).append(relation)
    for relation in placement.sharded:
        columns = columns_of(request, relation)
        is_source = relation.query.filters or relation.nullable or not _is_insert_target(parsed, relation)
        placement.keys[relation] = placement.finder.keys(relation, columns) if is_source else None
    return placement


def _is_insert_target(parsed: Parsed, relation: Relation) -> bool:
    return relation.target and parsed.extra is not None and relation in parsed.extra.relations


def _check(request: Request, keyspace: Keyspace, relation: Relation) -> None:
    name = relation.table or ""
    schema = request.context.schemas.get(keyspace.name)
    if relation.declared is None:
        if name.startswith(PREFIX):
            raise refusal("LOOKUP_TABLE", f"{keyspace.name}.{name}")
        if relation.live is not None and relation.live.kind == "view":
            raise refusal("VIEW", keyspace.name, name)
        raise refusal("UNKNOWN_TABLE", keyspace.name, name)
    if schema is None:
        if not request.context.offline:
            raise refusal("SCHEMA_UNKNOWN", keyspace.name)
        return
    if relation.live is None:
        if _is_abroad(request, relation.declared):
            return
        raise refusal("MISSING_TABLE", keyspace.name, name)
    if relation.live.kind == "view":
        raise refusal("VIEW", keyspace.name, name)
    drifting = schema.drifting.get(name, frozenset()) & {one.lower() for one in relation.declared.columns}
    if drifting:
        raise refusal("SCHEMA_DRIFT", keyspace.name, name, f"shard key {', '.join(sorted(drifting))}")


def _is_abroad(request: Request, table: Table) -> bool:
    """Is the table wholly on other regions' shards? Then their Fairlead reads its schema, and plans by it."""
    shards = request.context.topology.shards
    return table.kind is TableKind.PINNED and not any(shards[index].is_local for index in table.shards)


def columns_of(request: Request, relation: Relation) -> tuple[KeyColumn, ...]:
    """The key columns of a sharded relation, as their values are compared. Raises Refusal."""
    table = relation.declared
    assert table is not None
    try:
        return key_columns(table, request.context.schemas.get(table.keyspace))
    except UnsupportedKey as reason:
        raise refusal("KEY_COLUMN_TYPE", ", ".join(table.columns), table.name, str(reason)) from None
    except KeyError as missing:
        raise refusal("KEY_COLUMN_MISSING", str(missing.args[0]), table.name) from None


def guard(request: Request, keyspace: Keyspace, parsed: Parsed) -> None:
    """What no route over shards can carry. Raises Refusal."""
    for call in parsed.calls:
        if not call.built_in or call.upper in functions.SEQUENCES:
            raise refusal("UNKNOWN_FUNCTION_SCATTER", call.name, keyspace.name)
        if call.upper in functions.LOCKS:
            raise refusal("NAMED_LOCK", call.upper, keyspace.name)
    for comment in version_comments(request.norm):
        raise refusal("VERSION_COMMENT", comment)


def has_pipes(tokens: Sequence[Token]) -> bool:
    """Is there a ||, which is OR or CONCAT, as sql_mode says? It is read as OR, which binds loosest: no condition is
    split that the other reading would keep whole."""
    return any(token.text == "||" for token in tokens)


def check_vindexes(placement: Placement) -> None:
    """Raises Refusal when sharded tables of different vindexes meet: their rows are not placed alike."""
    first = placement.sharded[0]
    for other in placement.sharded[1:]:
        ours, theirs = first.declared, other.declared
        if ours is not None and theirs is not None and ours.vindex != theirs.vindex:
            raise refusal("CROSS_SHARD_JOIN", ours.name, theirs.name)


def whole_tables(request: Request, placement: Placement) -> OneShard:
    """Pinned tables, alone or with reference tables: the shard that they are on. Raises Refusal."""
    shards = {one.declared.shards[0]: one for one in placement.pinned if one.declared is not None}
    if len(shards) > 1:
        raise refusal("PINNED_ELSEWHERE", " and ".join(sorted(one.table or "" for one in shards.values())))
    if placement.sharded:
        raise refusal("PINNED_WITH_SHARDED", placement.pinned[0].table or "", placement.sharded[0].table or "")
    return OneShard(request.context.topology.shards[next(iter(shards))].name)


def by_key(
    placement: Placement, draft: Draft, keys: Iterable[Key], otherwise: Otherwise, *, stored: bool = False
) -> Plan:
    """One shard computed from the keys; without any, no row can match and one shard answers."""
    keys = tuple(dict.fromkeys(keys))
    vindex = placement.vindex
    if not keys:
        draft.because("the conditions match no row, so one shard answers")
        return OneShard(placement.home)
    tables = ", ".join(dict.fromkeys(one.table or "" for one in placement.sharded))
    draft.because(f"the shard key of {tables} is fixed: vindex {vindex.name} finds the shard")
    when_empty = None if stored else placement.home
    return ByKey(placement.keyspace.name, vindex.name, keys, otherwise, when_empty, stored)


def many(keys: Iterable[Key]) -> bool:
    """Can the keys lead to more than one shard?"""
    found = list(keys)
    return len(found) > 1 or any(ref.item is not None for key in found for ref in key)
