"""Values of several shards that one of them gets: not those of another legal domain, whoever may see them."""

from __future__ import annotations

from dataclasses import replace

from router import plan as plans
from router.errors import Refusal, refusal
from router.plan import Planned, Refuse
from router.policy.model import Policy
from router.topology import Topology

CARRIES = plans.Move | plans.Chosen | plans.Transfer
"""Writes for which rows, or what decides about them, go through Fairlead from shard to shard."""


def _carries() -> Refusal:
    return refusal("POLICY_FORM", "a write that carries rows from shard to shard")


def within_domains(planned: Planned, policy: Policy, topology: Topology) -> Planned:
    """The plan, or what is left of it where a shard would compute with what the policy has in other domains. Raises
    Refusal when nothing is."""
    plan = planned.plan
    if not any(policy.restricted(use.keyspace, use.table) for use in planned.facts.tables):
        return planned
    if isinstance(plan, CARRIES):
        raise _carries()
    if isinstance(plan, plans.ByKey) and isinstance(plan.otherwise, CARRIES):
        refused = Refuse(_carries().entry.name, _carries().filling)
        return replace(planned, plan=replace(plan, otherwise=refused))
    if isinstance(plan, plans.ByKey) and isinstance(plan.otherwise, plans.Scatter):
        problem = computing_problem(plan.otherwise, policy, topology)
        if problem is not None:
            otherwise = Refuse(problem.entry.name, problem.filling)
            return replace(planned, plan=replace(plan, otherwise=otherwise))
    elif isinstance(plan, plans.Scatter):
        problem = computing_problem(plan, policy, topology)
        if problem is not None:
            raise problem
    return planned


def computing_problem(plan: plans.Scatter, policy: Policy, topology: Topology) -> Refusal | None:
    """Why no shard may compute what this merges; None when one may."""
    if plan.merge is None or plan.merge.group is None or not plan.merge.group.computed:
        return None
    shards = (topology.shard(name) for name in plan.shards)
    domains = {policy.domain_of_region(shard.region.name) for shard in shards if shard is not None}
    return refusal("COMPUTE_DOMAINS", ", ".join(sorted(domains))) if len(domains) > 1 else None


def unrestricted(planned: Planned, plan: plans.PullOut, policy: Policy) -> Planned:
    """The same plan, whose parts are statements that are judged by themselves. Raises Refusal where values that the
    policy knows of would go from one shard into the text for others."""
    if any(policy.restricted(use.keyspace, use.table) for use in planned.facts.tables):
        raise refusal(plan.entry, *plan.args)
    return planned
