"""The live schema of a keyspace as values, and what is wrong with it.

Whoever reads the servers builds one `ShardSchema` per shard (from information_schema), `merge`s them into the
keyspace's `SchemaSnapshot`, and shows the operator what `compare` finds. The planner reads the snapshot only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from router.functions import UNSTABLE
from router.keys import KeyColumn, UnsupportedKey, compatible, key_column_of
from router.topology import UNDECLARED_TYPE, Keyspace, Table, TableKind
from router.vindexes.vindex import VindexMismatch


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A row of information_schema.COLUMNS. `default` is COLUMN_DEFAULT as text; None also means none.

    `auto_increment`, `generated`, `invisible` and `on_update` (ON UPDATE CURRENT_TIMESTAMP) are read from
    EXTRA (and GENERATION_EXPRESSION).
    """

    name: str
    data_type: str
    column_type: str
    nullable: bool = True
    default: str | None = None
    auto_increment: bool = False
    generated: bool = False
    invisible: bool = False
    charset: str | None = None
    collation: str | None = None
    on_update: bool = False

    @property
    def unstable_default(self) -> bool:
        """Is the default computed anew on every server: the time, a random number?"""
        return bool(self.unstable_words)

    @property
    def unstable_words(self) -> frozenset[str]:
        """The functions of the default by which it is."""
        return UNSTABLE.intersection(_WORD.findall(self.default.upper())) if self.default is not None else frozenset()


_WORD = re.compile(r"[A-Z_][A-Z_0-9]*")


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A primary or unique key, its columns in order (information_schema.STATISTICS, NON_UNIQUE = 0).

    `exact` False: a part is a prefix or an expression, so equal keys do not mean equal columns.
    """

    name: str
    columns: tuple[str, ...]
    exact: bool = True

    @property
    def primary(self) -> bool:
        return self.name == "PRIMARY"


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is not unique, with its columns in order ('' for an expression)."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key. `on_change`: the rules other than RESTRICT and NO ACTION ('CASCADE', 'SET NULL')."""

    name: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_change: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A CHECK constraint or generated column. `words`: those of its expression in lower case, columns among them."""

    name: str
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class LiveTable:
    """A base table or view as a server has it. `columns` in ordinal order. `indexes`: those that are not unique; None
    when they were not read, nor `checks` and `partitioned_by`, the words of what rows are partitioned by. `versioned`:
    MariaDB keeps what its rows have been."""

    name: str
    kind: Literal["table", "view"] = "table"
    columns: tuple[LiveColumn, ...] = ()
    unique_keys: tuple[UniqueKey, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    triggers: tuple[str, ...] = ()
    indexes: tuple[Index, ...] | None = None
    checks: tuple[Check, ...] = ()
    partitioned_by: frozenset[str] = frozenset()
    versioned: bool = False

    def column(self, name: str) -> LiveColumn | None:
        """By name without regard to case, as column names are compared."""
        folded = name.lower()
        return next((column for column in self.columns if column.name.lower() == folded), None)

    @property
    def insertable(self) -> tuple[LiveColumn, ...]:
        """The columns that INSERT without a column list means."""
        return tuple(column for column in self.columns if not column.invisible)


@dataclass(frozen=True, slots=True)
class ShardSchema:
    """What one shard's server has in the keyspace's database."""

    shard: str
    tables: Mapping[str, LiveTable]

    @classmethod
    def of(cls, shard: str, tables: Iterable[LiveTable]) -> ShardSchema:
        return cls(shard, MappingProxyType({table.name: table for table in tables}))


@dataclass(frozen=True, slots=True)
class SchemaSnapshot:
    """The keyspace's schema that plans are made against. `epoch` grows with every change.

    `drifting`: table -> the columns (lower case) that are not the same on all shards that hold it, '*' when
    their order or the unique keys differ. What depends on the difference is refused.
    """

    keyspace: str
    epoch: int
    tables: Mapping[str, LiveTable]
    drifting: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    def table(self, name: str) -> LiveTable | None:
        return self.tables.get(name)


def merge(shards: Iterable[ShardSchema], declared: Keyspace, epoch: int) -> SchemaSnapshot:
    """One snapshot of all shards: each table as the first shard that must hold it has it."""
    by_name = {schema.shard: schema for schema in shards}
    tables: dict[str, LiveTable] = {}
    drifting: dict[str, frozenset[str]] = {}
    for name in sorted({name for schema in by_name.values() for name in schema.tables}):
        found = [
            schema.tables[name]
            for shard in _holders(declared, name)
            if (schema := by_name.get(shard)) and name in schema.tables
        ]
        if found:
            tables[name] = found[0]
            if differing := frozenset().union(*(differences(found[0], table) for table in found[1:])):
                drifting[name] = differing
    return SchemaSnapshot(declared.name, epoch, MappingProxyType(tables), MappingProxyType(drifting))


def differences(one: LiveTable, other: LiveTable) -> frozenset[str]:
    """The columns that are not alike; '*' when their order, the kind or the unique keys differ."""
    if shape(one) == shape(other):
        return frozenset()
    ours = {column.name.lower(): shape(_only(column)) for column in one.columns}
    theirs = {column.name.lower(): shape(_only(column)) for column in other.columns}
    names = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    if list(ours) != list(theirs) or shape(one)[2] != shape(other)[2] or one.kind != other.kind:
        names.add("*")
    return frozenset(names)


def _holders(keyspace: Keyspace, table: str) -> list[str]:
    """The shards that a table must be on, by name; all of the keyspace's for one that is not declared."""
    declared = keyspace.table(table)
    wanted = None if declared is None else set(declared.shards)
    return [shard.name for shard in keyspace.shards if wanted is None or shard.index in wanted]


def shape(table: LiveTable) -> tuple[object, ...]:
    """What must agree between shards. Defaults, triggers and the order of keys change no route."""
    columns = tuple(_column_shape(column) for column in table.columns)
    keys = frozenset((tuple(name.lower() for name in key.columns), key.primary) for key in table.unique_keys)
    return (table.kind, columns, keys)


def _column_shape(column: LiveColumn) -> tuple[object, ...]:
    name, kind = column.name.lower(), _type(column)
    return (name, kind, column.nullable, column.auto_increment, column.generated)


def _type(column: LiveColumn) -> tuple[str, str | None]:
    """Display widths differ between server versions and mean nothing: int(11) is int."""
    base, _, rest = column.column_type.lower().partition("(")
    if base in _WITH_DISPLAY_WIDTH:
        rest = rest.partition(")")[2]
        return (f"{base}{rest}", column.collation)
    return (column.column_type.lower(), column.collation)


_WITH_DISPLAY_WIDTH = {"tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year"}

# --- findings ---------------------------------------------------------------------------------------------

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that the operator should know. `code` is stable; `text` names no values.

    error: statements over the table are refused; warning: they run, with the weakness described.
    """

    severity: Severity
    code: str
    keyspace: str
    table: str
    text: str


def compare(shards: Iterable[ShardSchema], declared: Keyspace) -> list[Finding]:
    """Everything that is wrong between the shards, and between them and the declaration; sorted."""
    if declared.unsharded:
        return []
    by_name = {schema.shard: schema for schema in shards}
    findings: list[Finding] = []
    for table in declared.tables.values():
        findings += _table_findings(by_name, declared, table)
    findings += _definition_findings(by_name, declared)
    return sorted(findings)


def _table_findings(by_name: Mapping[str, ShardSchema], keyspace: Keyspace, declared: Table) -> Iterable[Finding]:
    def finding(severity: Severity, code: str, text: str) -> Finding:
        return Finding(severity, code, keyspace.name, declared.name, text)

    known = [shard for shard in _holders(keyspace, declared.name) if shard in by_name]
    missing = [shard for shard in known if declared.name not in by_name[shard].tables]
    if missing:
        yield finding("error", "table-missing", f"does not exist on {', '.join(missing)}")
    found = {shard: by_name[shard].tables[declared.name] for shard in known if shard not in missing}
    if not found:
        return
    first_shard, first = next(iter(found.items()))
    if first.kind == "view":
        yield finding("error", "view", "is a view; declare its base tables")
        return
    for shard, table in found.items():
        for text in _differences(first, table):
            yield finding("error", "drift", f"{text} on {first_shard} and {shard}")
    if declared.ids is not None:
        column = first.column(declared.ids.column)
        if column is None or not column.auto_increment:
            yield finding("error", "auto-increment", f"has no AUTO_INCREMENT column {declared.ids.column}")
    if declared.kind is TableKind.SHARDED:
        for severity, code, text in _key_findings(declared, first):
            yield finding(severity, code, text)
    for severity, code, text in _weaknesses(keyspace, declared, first):
        yield finding(severity, code, text)


def _differences(one: LiveTable, other: LiveTable) -> Iterable[str]:
    if one is other or shape(one) == shape(other):
        return
    ours = {column.name.lower(): column for column in one.columns}
    theirs = {column.name.lower(): column for column in other.columns}
    for name in ours.keys() ^ theirs.keys():
        yield f"column {name} is not on both of"
    for name in ours.keys() & theirs.keys():
        if _type(ours[name]) != _type(theirs[name]):
            yield f"column {name} has different types or collations"
        elif shape(_only(ours[name])) != shape(_only(theirs[name])):
            yield f"column {name} differs in NULL, AUTO_INCREMENT or generation"
    if ours.keys() == theirs.keys() and list(ours) != list(theirs):
        yield "the order of columns differs"
    if shape(one)[2] != shape(other)[2]:
        yield "unique keys differ"


def _only(column: LiveColumn) -> LiveTable:
    return LiveTable(column.name, columns=(column,))


def _key_findings(declared: Table, live: LiveTable) -> Iterable[tuple[Severity, str, str]]:
    columns: list[KeyColumn] = []
    for name, wanted in zip(declared.columns, declared.types, strict=True):
        column = live.column(name)
        if column is None:
            yield ("error", "key-column-missing", f"has no column {name}, its shard key")
            continue
        if column.generated:
            yield ("error", "key-column-generated", f"shard key {name} is a generated column")
        if column.nullable:
            yield ("warning", "key-column-nullable", f"shard key {name} may be NULL; such rows are refused")
        if column.auto_increment and (declared.ids is None or declared.ids.column.lower() != name.lower()):
            yield ("warning", "key-auto-increment", f"shard key {name} is AUTO_INCREMENT; ids must be given")
        try:
            key = key_column_of(column.column_type, column.collation)
        except UnsupportedKey as reason:
            yield ("error", "key-column-type", f"shard key {name}: {reason}")
            continue
        columns.append(key)
        if wanted is not None and key_column_of(wanted.column_type, wanted.collation) != key:
            yield ("error", "key-column-declared", f"shard key {name} is {column.column_type}, not {wanted}")
    if declared.vindex is not None and len(columns) == len(declared.columns):
        try:
            declared.vindex.check(columns)
        except VindexMismatch as reason:
            yield ("error", "key-column-type", f"vindex {declared.vindex.name}: {reason}")


def _weaknesses(keyspace: Keyspace, declared: Table, live: LiveTable) -> Iterable[tuple[Severity, str, str]]:
    """What one server would enforce and several cannot."""
    if declared.kind is TableKind.SHARDED:
        for key in live.unique_keys:
            if not holds_key(key, declared) and not _looked_up(key, declared):
                yield ("warning", "unique-per-shard", f"unique key {key.name} is unique per shard only")
    for foreign in live.foreign_keys:
        parent = keyspace.table(foreign.parent)
        if not _together(declared, parent, foreign):
            yield ("warning", "foreign-key", f"foreign key {foreign.name} is checked per shard only")
    if live.triggers:
        yield ("warning", "triggers", "has triggers, whose statements are not routed")


def _looked_up(key: UniqueKey, declared: Table) -> bool:
    """Does a lookup see to it on all shards?"""
    unique = {one.column.lower() for one in declared.lookups if one.unique}
    return key.exact and len(key.columns) == 1 and key.columns[0].lower() in unique


def holds_key(key: UniqueKey, declared: Table) -> bool:
    """Does the key hold every shard-key column, so that a conflict is always on the row's own shard?"""
    held = {name.lower() for name in key.columns}
    return key.exact and all(column.lower() in held for column in declared.columns)


def _together(child: Table, parent: Table | None, foreign: ForeignKey) -> bool:
    """Is the parent of every row on the row's shard?"""
    if parent is None or parent.kind is TableKind.PINNED or child.kind is not TableKind.SHARDED:
        return parent is not None and (parent.shards == child.shards and parent.kind is child.kind)
    if parent.kind is TableKind.REFERENCE:
        return True
    pairs = {(own.lower(), other.lower()) for own, other in zip(foreign.columns, foreign.parent_columns, strict=True)}
    wanted = {(own.lower(), other.lower()) for own, other in zip(child.columns, parent.columns, strict=False)}
    return child.vindex == parent.vindex and wanted <= pairs


def _definition_findings(by_name: Mapping[str, ShardSchema], keyspace: Keyspace) -> Iterable[Finding]:
    """Tables that share a vindex must have keys that compare alike."""
    snapshot = merge(by_name.values(), keyspace, 0)
    first: dict[str, tuple[Table, tuple[KeyColumn, ...]]] = {}
    for table in keyspace.tables.values():
        if table.vindex is None or not (columns := _columns_or_none(table, snapshot)):
            continue
        other, others = first.setdefault(table.vindex.name, (table, columns))
        if not all(compatible(a.type, b.type) for a, b in zip(columns, others, strict=True)):
            text = f"its shard key and that of {other.name} do not compare alike, though they share a vindex"
            yield Finding("error", "key-columns-disagree", keyspace.name, table.name, text)


def _columns_or_none(table: Table, snapshot: SchemaSnapshot) -> tuple[KeyColumn, ...] | None:
    try:
        return key_columns(table, snapshot)
    except (UnsupportedKey, KeyError):
        return None


def key_columns(table: Table, snapshot: SchemaSnapshot | None) -> tuple[KeyColumn, ...]:
    """How the values of a sharded table's key columns are compared: as live, else as declared, else bigint.

    Raises UnsupportedKey for a type that cannot be a key, KeyError when the live table lacks the column.
    """
    live = snapshot.table(table.name) if snapshot else None
    columns = []
    for name, declared in zip(table.columns, table.types, strict=True):
        if live is not None:
            column = live.column(name)
            if column is None:
                raise KeyError(name)
            columns.append(key_column_of(column.column_type, column.collation))
        else:
            kind = declared or UNDECLARED_TYPE
            columns.append(key_column_of(kind.column_type, kind.collation))
    return tuple(columns)
