"""What a server's refusal of a change would tell: keys, foreign keys and checks over what the subject may not see.

That a change is carried out tells as much as that it is not, so the statement is refused whatever the rows hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from router.errors import refusal
from router.policy.homes import homes
from router.policy.lineage import Lineage
from router.policy.model import Action, FlowKind, Policy, Subject
from router.relations import Relation
from router.schema import ForeignKey, LiveTable, SchemaSnapshot, UniqueKey
from router.topology import Shard, Topology

READS = (FlowKind.IDENTITY, FlowKind.DERIVED, FlowKind.INFLUENCE)
"""The uses that a column in clear is open to, whoever reads it further out."""


def is_open(policy: Policy, subject: Subject, relation: Relation, column: str, ours: Iterable[str]) -> bool:
    """Is every use of the column allowed, for rows of these homes?"""
    database, table = relation.keyspace or "", relation.table or ""
    return all(
        policy.decide_column(database, table, column, home, subject, "read", flow).action is Action.ALLOW
        for home in ours
        for flow in READS
    )


def key_columns(key: UniqueKey, live: LiveTable) -> tuple[str, ...]:
    """Of a key with an expression (or a prefix) in it: every column that it could be about."""
    return key.columns if key.exact else tuple(column.name for column in live.columns)


@dataclass(frozen=True, slots=True)
class Constraints:
    """Of the tables that one statement writes to. `schemas`: of all keyspaces, by name."""

    policy: Policy
    subject: Subject
    lineage: Lineage
    topology: Topology
    schemas: Mapping[str, SchemaSnapshot]

    def check(self, target: Relation, live: LiveTable, shard: Shard) -> None:
        """Raises Refusal."""
        written = frozenset(one.column for one in self.lineage.writes if one.relation is target)
        for told in self._told(target, live, written, shard):
            raise refusal("POLICY_BETRAYS", told)

    def _told(self, target: Relation, live: LiveTable, written: frozenset[str], shard: Shard) -> Iterator[str]:
        if written:
            yield from self._unique_keys(target, live, written, shard)
            yield from self._parents(target, live, shard)
        if self.lineage.rewrites:
            yield from self._checks(target, live, written, shard)
            yield from self._partitions(target, live, shard)
            yield from self._children(target, written, shard)

    def _hides(self, relation: Relation, columns: Iterable[str], shard: Shard) -> bool:
        ours = homes(self.policy, relation, shard)
        return not all(is_open(self.policy, self.subject, relation, name, ours) for name in columns)

    def _unique_keys(self, target: Relation, live: LiveTable, written: frozenset[str], shard: Shard) -> Iterator[str]:
        for key in live.unique_keys:
            columns = key_columns(key, live)
            touched = self.lineage.inserts or not written.isdisjoint(name.lower() for name in columns)
            if touched and self._hides(target, columns, shard):
                yield f"the unique key {key.name} of {target.table}"

    def _parents(self, target: Relation, live: LiveTable, shard: Shard) -> Iterator[str]:
        for foreign in live.foreign_keys:
            parent = self._named(target.keyspace, foreign.parent, target)
            if self._hides(parent, foreign.parent_columns, shard):
                yield f"the foreign key {foreign.name} of {target.table}"

    def _checks(self, target: Relation, live: LiveTable, written: frozenset[str], shard: Shard) -> Iterator[str]:
        """A check that fails for the new values tells of those that stay."""
        for check in live.checks:
            named = [column.name for column in live.columns if column.name.lower() in check.words]
            if not written.isdisjoint(check.words) and self._hides(target, named, shard):
                yield f"the check {check.name} of {target.table}"

    def _partitions(self, target: Relation, live: LiveTable, shard: Shard) -> Iterator[str]:
        """Whether a row is changed tells in which of the partitions that are named it lies."""
        parts = target.node.args.get("partition") if target.node is not None else None
        by = [column.name for column in live.columns if column.name.lower() in live.partitioned_by]
        if parts and self._hides(target, by, shard):
            yield f"a partition of {target.table}"

    def _children(self, target: Relation, written: frozenset[str], shard: Shard) -> Iterator[str]:
        """A row that others refer to cannot go, or takes them along."""
        for child, foreign in self._referring(target):
            touched = not written or not written.isdisjoint(name.lower() for name in foreign.parent_columns)
            if touched and self._hides(child, foreign.columns, shard):
                yield f"the foreign key {foreign.name} of {child.table}"

    def _referring(self, target: Relation) -> Iterator[tuple[Relation, ForeignKey]]:
        wanted = _folded(target)
        for keyspace, snapshot in self.schemas.items():
            for table in snapshot.tables.values():
                for foreign in table.foreign_keys:
                    if _folded(self._named(keyspace, foreign.parent, target)) == wanted:
                        yield self._named(keyspace, table.name, target), foreign

    def _named(self, keyspace: str | None, name: str, target: Relation) -> Relation:
        """The table that a foreign key names: in the same database unless it says another one."""
        database, _, table = name.rpartition(".")
        database = database or keyspace or ""
        known = self.topology.keyspace(database)
        declared = known.table(table) if known is not None else None
        return replace(target, keyspace=database, table=table, live=None, declared=declared)


def _folded(relation: Relation) -> str:
    return f"{relation.keyspace}.{relation.table}".lower()
