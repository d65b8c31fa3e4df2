"""Which rows a plan may touch: the shards it can lead to, and the legal domains of the rows there.

A statement by key can go to any shard of its vindex; which one is known at execution, so each shard is judged when
the plan is made and tested by its number when the plan is used.
"""

from __future__ import annotations

from router import plan as plans
from router.policy.model import UNKNOWN_DOMAIN, Policy
from router.relations import Relation
from router.topology import Shard, TableKind, Topology


def candidates(plan: plans.Plan, topology: Topology) -> tuple[Shard, ...]:
    """The shards that an execution of the plan can go to, in the topology's order."""
    names = set(_names(plan, topology))
    return tuple(shard for shard in topology.shards if shard.name in names)


def _names(plan: plans.Plan, topology: Topology) -> tuple[str, ...]:
    match plan:
        case plans.OneShard(shard):
            return (shard,)
        case plans.AnyShard(shards=shards) | plans.Scatter(shards=shards):
            return shards
        case plans.MultiWrite(shards=shards) | plans.SplitInsert(shards=shards) | plans.SetSession(shards=shards):
            return shards
        case plans.Keep(write=write):
            return _names(write, topology)
        case plans.ByLookup(shards=shards):
            return shards
        case plans.Move(shards=shards) | plans.Chosen(shards=shards) | plans.Transfer(shards=shards):
            return shards
        case plans.SplitLoad(shards=shards):
            return shards
        case plans.ByKey(keyspace=name):
            keyspace = topology.keyspace(name)
            return tuple(shard.name for shard in keyspace.shards) if keyspace is not None else ()
    return ()


def homes(policy: Policy, relation: Relation, shard: Shard) -> tuple[str, ...]:
    """The domains that the table's rows on this shard may belong to.

    A sharded or pinned row is where its key says, so it belongs to its shard's domain if the table has rows of that
    domain at all; a copy of a reference table holds every domain's.
    """
    assert relation.keyspace is not None and relation.table is not None
    if relation.declared is not None and relation.declared.kind is TableKind.REFERENCE:
        return policy.homes_of(relation.keyspace, relation.table) or (UNKNOWN_DOMAIN,)
    return homes_in(policy, relation.keyspace, relation.table, policy.domain_of_region(shard.region.name))


def homes_in(policy: Policy, keyspace: str, table: str, domain: str) -> tuple[str, ...]:
    """Of the rows of a sharded or pinned table that are kept in `domain`."""
    found = policy.homes_of(keyspace, table)
    return (domain,) if domain in found else found or (UNKNOWN_DOMAIN,)
