"""What each shard can compute for itself: groups, windows and unions whose rows never meet another shard's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlglot import exp

from router.pinning import environment
from router.relations import ColumnId, Query, Relation, resolve


def keeps_apart(query: Query, sharded: Iterable[Relation], columns: Sequence[ColumnId | None]) -> bool:
    """Do rows of the query that agree in these columns all have one shard key?"""
    for relation in sharded:
        if relation.query is not query or relation.nullable or relation.declared is None:
            continue
        classes = environment(relation).classes
        wanted = [(relation, name.lower()) for name in relation.declared.columns]
        if all(any(one is not None and classes.same(key, one) for one in columns) for key in wanted):
            return True
    return False


def windows_apart(query: Query, sharded: Sequence[Relation]) -> bool:
    """Is every window over rows of one shard? Its PARTITION BY then holds the shard key."""
    if query.tree.args.get("windows"):
        return False
    windows = [node for node in query.tree.find_all(exp.Window) if node.parent_select is query.tree]
    return all(
        keeps_apart(query, sharded, [resolve(query, one) for one in node.args.get("partition_by") or []])
        for node in windows
    )


def groups_apart(query: Query, sharded: Sequence[Relation]) -> bool:
    """Are the query's groups, written as columns, each of one shard?"""
    group = query.tree.args.get("group")
    if group is None or group.args.get("rollup") or group.args.get("cube") or group.args.get("grouping_sets"):
        return False
    return keeps_apart(query, sharded, [resolve(query, one) for one in group.expressions])


def shard_local(query: Query, sharded: Sequence[Relation]) -> bool:
    """Are a derived table's rows those that its shards give side by side, though it is more than a filter?"""
    if query.has_limit or not isinstance(query.tree, exp.Select) or query.tree.args.get("distinct"):
        return False
    aggregates = any(
        node.parent_select is query.tree and not isinstance(node.parent, exp.Window)
        for node in query.tree.find_all(exp.AggFunc)
    )
    grouped = aggregates or query.tree.args.get("group") or query.tree.args.get("having")
    return windows_apart(query, sharded) and (not grouped or groups_apart(query, sharded))
