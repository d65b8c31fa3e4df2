"""Which class a column has: labels, and what holds where there is none.

A column without a label has its table's class, a table without one its keyspace's, a keyspace without one the top of
the lattice. Names are looked up without regard to case, because servers may compare them so; labels that differ in
case only are joined.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from config.policy import KeyspaceLabel, PolicySettings, TableLabel
from router.policy.classes import Classes
from router.policy.model import ClassId
from router.schema import SchemaSnapshot


@dataclass(frozen=True, slots=True)
class TableClasses:
    """The classes of one table. `columns` by lower-case name; `own` for every other column."""

    own: ClassId
    top: ClassId
    columns: Mapping[str, ClassId] = field(default_factory=lambda: MappingProxyType({}))
    masks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    home: str | None = None
    person: str | None = None

    def of(self, column: str) -> ClassId:
        return self.columns.get(column.lower(), self.own)


@dataclass(frozen=True, slots=True)
class KeyspaceClasses:
    """The classes of a keyspace: its labelled tables by lower-case name, `other` for every other table."""

    other: TableClasses
    tables: Mapping[str, TableClasses]

    def of(self, table: str) -> TableClasses:
        return self.tables.get(table.lower(), self.other)


@dataclass(frozen=True, slots=True)
class Labels:
    """All labels; `unknown` is the top, for a database that has none."""

    unknown: TableClasses
    keyspaces: Mapping[str, KeyspaceClasses]

    @classmethod
    def of(cls, policy: PolicySettings, classes: Classes) -> Labels:
        unknown = TableClasses(classes.top, classes.top)
        keyspaces: dict[str, KeyspaceClasses] = {}
        for name, label in policy.labels.items():
            folded, made = name.lower(), _keyspace(label, classes)
            keyspaces[folded] = _joined(keyspaces[folded], made, classes) if folded in keyspaces else made
        return cls(unknown, MappingProxyType(keyspaces))

    def table(self, database: str, table: str) -> TableClasses:
        keyspace = self.keyspaces.get(database.lower())
        return self.unknown if keyspace is None else keyspace.of(table)

    def astray(self, schemas: Mapping[str, SchemaSnapshot]) -> Iterator[tuple[str, str, str]]:
        """(keyspace, table, column) of labels for columns that the live tables do not have, in lower case."""
        for name, snapshot in schemas.items():
            keyspace = self.keyspaces.get(name.lower())
            for table in snapshot.tables.values() if keyspace is not None else ():
                live = {column.name.lower() for column in table.columns}
                labelled = self.table(name, table.name).columns
                yield from ((name.lower(), table.name.lower(), column) for column in sorted(labelled.keys() - live))

    def distrusting(self, tables: Collection[tuple[str, str]]) -> Labels:
        """The same with the columns of these tables that have no label in their table's highest class: what was called
        by a name that is not there any more may be called by theirs."""
        keyspaces = dict(self.keyspaces)
        for database, table in tables:
            keyspace, found = keyspaces[database], self.table(database, table)
            fresh = {**keyspace.tables, table: replace(found, own=found.top)}
            keyspaces[database] = KeyspaceClasses(keyspace.other, MappingProxyType(fresh))
        return Labels(self.unknown, MappingProxyType(keyspaces))


def _keyspace(label: KeyspaceLabel, classes: Classes) -> KeyspaceClasses:
    own = classes.named(label.classes) if label.classes else classes.top
    tables: dict[str, TableClasses] = {}
    for name, one in label.tables.items():
        folded, made = name.lower(), _table(one, own, classes)
        tables[folded] = _joined_tables(tables[folded], made, classes) if folded in tables else made
    return KeyspaceClasses(TableClasses(own, own), MappingProxyType(tables))


def _table(label: TableLabel, inherited: ClassId, classes: Classes) -> TableClasses:
    own = classes.named(label.classes) if label.classes else inherited
    columns = {name.lower(): classes.named(one.classes) for name, one in label.columns.items()}
    masks = {name.lower(): str(one.mask) for name, one in label.columns.items() if one.mask is not None}
    top = classes.join_all([own, *columns.values()])
    return TableClasses(own, top, MappingProxyType(columns), MappingProxyType(masks), label.home, label.person)


def _joined(one: KeyspaceClasses, other: KeyspaceClasses, classes: Classes) -> KeyspaceClasses:
    names = one.tables.keys() | other.tables.keys()
    tables = {name: _joined_tables(one.of(name), other.of(name), classes) for name in names}
    return KeyspaceClasses(_joined_tables(one.other, other.other, classes), MappingProxyType(tables))


def _joined_tables(one: TableClasses, other: TableClasses, classes: Classes) -> TableClasses:
    """Masks and homes only where both agree; a home that is not agreed on is whatever the topology says."""
    names = one.columns.keys() | other.columns.keys()
    columns = {name: classes.join(one.of(name), other.of(name)) for name in names}
    masks = {name: mask for name, mask in one.masks.items() if other.masks.get(name) == mask}
    return TableClasses(
        classes.join(one.own, other.own),
        classes.join(one.top, other.top),
        MappingProxyType(columns),
        MappingProxyType(masks),
        one.home if one.home == other.home else None,
        one.person if one.person == other.person else None,
    )
