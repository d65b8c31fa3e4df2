"""A plan as a tree, outermost first: what Fairlead does with what the shards give, and what each of them is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from config.words import MultiShardWrites
from router import plan as plans
from router.engine.recipe import Recipe
from router.errors import CATALOGUE
from router.plan import Plan
from router.policy.proof import masked_in
from router.topology import Topology

Branch: TypeAlias = tuple[int, str, str]
"""(depth, step, detail)"""
Routed: TypeAlias = Callable[[Plan], Sequence[str]]
"""The shards of a plan within the plan."""


def tree(plan: Plan, shards: Sequence[str], topology: Topology | None, routed: Routed) -> list[tuple[str, str]]:
    """(step, detail) as EXPLAIN ROUTE shows them; nothing for a plan that is one statement on one shard."""
    return [
        ("  " * (depth - 1) + "└ " + step if depth else step, detail)
        for depth, step, detail in _branches(plan, shards, topology, routed)
    ]


def _branches(plan: Plan, shards: Sequence[str], topology: Topology | None, routed: Routed) -> Iterator[Branch]:
    match plan:
        case plans.Residual():
            yield from _residual(plan, routed)
        case plans.ByLookup():
            yield (0, "route", f"to the shards of the rows: as it is to one, {_BY_SEVERAL[type(plan.otherwise)]}")
            yield (1, "lookup", f"{plan.lookup}, on the shards of the values; not in transactions with snapshots")
        case plans.Keep():
            yield from _kept(plan, shards, topology)
        case plans.PullOut():
            yield from _pulled(plan)
        case plans.Survey():
            yield (0, "survey", f"one of {', '.join(plan.shards)} is asked about the rows that follow")
            for view in plan.views:
                told = "what the statement names" if view.slots is not None else ", ".join(view.keyspaces)
                yield (1, "view", f"information_schema.{view.name} of {told or 'no keyspace'}")
        case plans.Scatter(merge=Recipe() as recipe) if len(shards) > 1:
            yield from _merged(recipe, shards)
        case plans.Scatter() if len(shards) > 1:
            yield (0, "concatenate", "one shard's rows behind the other's")
            yield (1, "read", ", ".join(shards))
        case plans.MultiWrite() | plans.SplitInsert() if len(shards) > 1:
            yield from _written(plan, shards, topology)
        case plans.Move() if len(shards) > 1:
            yield from _moved(plan, shards)
        case plans.Chosen() if len(shards) > 1:
            yield from _chosen(plan, shards)
        case plans.SplitLoad():
            yield (0, "commit", f"two-phase, decided on {shards[0]}")
            yield from ((1, "load", f"its rows of the client's file into {shard}") for shard in shards)
        case plans.Transfer():
            yield (0, "commit", "two-phase, decided on the first shard that is read")
            yield (1, "write", f"its rows to each of {', '.join(plan.shards)} that some belong to")
            yield (2, "read", "what is selected, locked, by a route of its own")
        case plans.SchemaChange():
            yield from _changed(plan)


_BY_SEVERAL = {
    plans.Scatter: "merged from several",
    plans.Residual: "by the scratch server from several",
    plans.Refuse: "refused on several",
}


def _kept(plan: plans.Keep, shards: Sequence[str], topology: Topology | None) -> Iterator[Branch]:
    keyspace = topology.keyspace(plan.keyspace) if topology is not None else None
    table = keyspace.table(plan.table) if keyspace is not None else None
    names = ", ".join(str(one) for one in table.lookups) if table is not None else ""
    yield (0, "commit", f"two-phase, decided on {shards[0] if shards else 'the first shard'}")
    yield (1, "keep", f"lookup {names} in step, on the shards of the values that change")
    write = plan.write.otherwise if isinstance(plan.write, plans.ByKey) else plan.write
    what = "its rows" if isinstance(write, plans.SplitInsert) and len(shards) > 1 else "the statement"
    for shard in shards:
        yield (1, "write", f"{what} to {shard}")


def _pulled(plan: plans.PullOut) -> Iterator[Branch]:
    """The statement with the values in it has a route of its own, which is known when they are."""
    yield (0, "splice", f"the values into the statement, which is planned anew, in place of {CATALOGUE[plan.entry].id}")
    for pull in plan.pulls:
        yield (1, "subquery", f"run first: {_GIVES[pull.kind]}")


_GIVES = {"scalar": "one value", "in": "a list of values", "exists": "whether there is a row"}


def _residual(plan: plans.Residual, routed: Routed) -> Iterator[Branch]:
    yield (0, "scratch", f"{plan.scratch} finishes it, in place of {CATALOGUE[plan.instead].id} {plan.instead}")
    for pull in plan.pulls:
        alias = f" {pull.alias}" if pull.alias != pull.table else ""
        columns = ", ".join(column.name for column in pull.columns)
        where = f" where {' and '.join(pull.conditions)}" if pull.conditions else ""
        if (lookup := pull.lookup) is not None:
            source = plan.pulls[lookup.source]
            where = f" whose {lookup.column} is {source.columns[lookup.field].name} of {source.alias}"
        shards = routed(pull.route)
        yield (1, "loads", f"{pull.table}{alias} ({columns}){where} from {', '.join(shards) or 'no shard'}")
        yield from ((2, "policy", told) for told in _reduced(pull, shards))
    reads = sum(len(routed(pull.route)) for pull in plan.pulls)
    yield (1, "costs", f"{len(plan.pulls)} temporary table(s), {reads} read(s) of a shard, every row of them loaded")


def _reduced(pull: plans.Pull, shards: Sequence[str]) -> Iterator[str]:
    """What the policy makes of the rows, by shard."""
    policy = pull.planned.policy if pull.planned is not None else None
    parts = dict(policy.parts) if policy is not None else {}
    for shard in shards if any(part.proof or part.hidden for part in parts.values()) else ():
        part = parts.get(shard)
        if part is None or part.hidden:
            yield f"{shard} is left out: no row there exists for this user"
            continue
        masked = sorted(masked_in(part.proof)) if part.proof is not None else []
        yield f"{shard} gives {', '.join(masked)} masked" if masked else f"{shard} gives it as it is"


def _merged(recipe: Recipe, shards: Sequence[str]) -> Iterator[Branch]:
    depth = 0
    for depth, (step, detail) in enumerate(recipe.steps()):
        yield (depth, step, detail)
    helpers = f", with {recipe.helpers} helper columns" if recipe.helpers else ""
    limit = ""
    if recipe.limit is not None:
        limit = ", all rows of each" if recipe.whole else ", offset + count rows of each at most"
    yield (depth + 1, "read", f"{', '.join(shards)}{helpers}{limit}")


def _written(
    plan: plans.MultiWrite | plans.SplitInsert, shards: Sequence[str], topology: Topology | None
) -> Iterator[Branch]:
    keyspace = topology.keyspace(plan.keyspace) if topology is not None else None
    if keyspace is not None and keyspace.multi_shard_writes is MultiShardWrites.ATOMIC:
        yield (0, "commit", f"two-phase, decided on {shards[0]}")
    else:
        yield (0, "commit", "one shard after the other, as far as it goes")
    what = "its rows" if isinstance(plan, plans.SplitInsert) else "the statement"
    for shard in shards:
        yield (1, "write", f"{what} to {shard}")


def _moved(plan: plans.Move, shards: Sequence[str]) -> Iterator[Branch]:
    yield (0, "commit", f"two-phase, decided on {shards[0]}")
    yield (1, "move", f"rows of {plan.table} that have another shard's key now: inserted there, deleted here")
    for shard in shards:
        yield (2, "write", f"the statement to {shard}, where it has rows of the old keys")


def _chosen(plan: plans.Chosen, shards: Sequence[str]) -> Iterator[Branch]:
    yield (0, "commit", f"two-phase, decided on {shards[0]}")
    if not plan.read:
        yield (1, "write", f"the statement to {', '.join(shards)}, one after the other, until LIMIT is reached")
        return
    yield (1, "write", "the statement to each shard that has some of the first rows, with their number as its LIMIT")
    yield (2, "choose", "the client's LIMIT, over the sorted rows of all")
    yield (3, "read", f"{', '.join(shards)}, locked, as many rows of each at most")


def _changed(plan: plans.SchemaChange) -> Iterator[Branch]:
    first, *others = plan.shards
    yield (0, "change", f"{', '.join(others)} at once, when the first shard is changed")
    yield (1, "change", first)
    if plan.tried:
        yield (2, "try", f"on an empty copy on {first}")
