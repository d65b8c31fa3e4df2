"""The witness's list: which columns a server's answer may hold as they are.

A second pair of eyes behind decision, substitution and checker: a server says of each column of an answer from which
column of which table it comes, unless it is computed, as every mask is. `_speedups/scanner_witness.pxi` compares that
with this list, which is made from where the values go (lineage) and from what the policy opens, and from no verdict,
splice or proof: should these be wrong, the answer is kept back.

MariaDB names a derived table by its alias; so does MySQL a common table expression that it puts together first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from router.policy.homes import homes
from router.policy.lineage import Lineage
from router.policy.model import Action, FlowKind, Policy, Subject
from router.relations import Query, Relation
from router.topology import Shard

Name = tuple[str, str, str]
"""(schema, table or alias, column) as a column definition says it."""


def allowed(
    policy: Policy, subject: Subject, shard: Shard, lineage: Lineage, queries: Iterable[Query]
) -> frozenset[Name]:
    """What the answer of one shard may hold as it is."""
    queries = tuple(queries)
    derived = {one.alias for query in queries for one in query.relations if one.table is None}
    found: set[Name] = set()
    for relation, column in _shown(lineage, queries):
        if column and _is_open(policy, subject, shard, relation, column):
            tables = {relation.table or "", relation.alias, *derived}
            found |= {(relation.keyspace or "", table, column) for table in tables}
    return frozenset(found)


def needed(policy: Policy, subject: Subject, shard: Shard, lineage: Lineage) -> bool:
    """Is there anything in the statement's tables on this shard that the subject may not see as it is?"""
    return not all(_is_all_open(policy, subject, shard, relation) for relation in lineage.mentions)


def _is_all_open(policy: Policy, subject: Subject, shard: Shard, relation: Relation) -> bool:
    """Columns that the live schema does not have yet are of the table's own class."""
    cls = policy.class_of_table(relation.keyspace or "", relation.table or "")
    others = (policy.decide(cls, home, subject, "read", FlowKind.IDENTITY) for home in homes(policy, relation, shard))
    return (
        relation.live is not None
        and all(verdict.action is Action.ALLOW for verdict in others)
        and all(_is_open(policy, subject, shard, relation, column.name) for column in relation.live.columns)
    )


def _shown(lineage: Lineage, queries: tuple[Query, ...]) -> Iterator[tuple[Relation, str]]:
    """The columns that come out as they are. Of those that USING makes one, the server picks either."""
    merged = {name for query in queries for name in query.merged}
    for output in lineage.outputs:
        for source in output.sources:
            if source.flow is FlowKind.IDENTITY:
                yield source.relation, _as_named(source.relation, source.column)
    for relation in lineage.mentions:
        yield from ((relation, _as_named(relation, name)) for name in merged)


def _as_named(relation: Relation, column: str) -> str:
    """The name as the server has it; '' for a column that the table has not."""
    live = relation.live.column(column) if relation.live is not None else None
    return live.name if live is not None else ""


def _is_open(policy: Policy, subject: Subject, shard: Shard, relation: Relation, column: str) -> bool:
    database, table = relation.keyspace or "", relation.table or ""
    return all(
        policy.decide_column(database, table, column, home, subject, "read", FlowKind.IDENTITY).action is Action.ALLOW
        for home in homes(policy, relation, shard)
    )
