"""What a change of configuration means for rows that are already stored.

A sharding function says where rows are; changing it does not move them. So whoever applies a change is told
which tables would be looked for elsewhere.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

from router.topology import Keyspace, Table, TableKind, Topology
from router.vindexes.range import Range
from router.vindexes.vindex import Vindex


def placement_changes(old: Topology, new: Topology) -> list[str]:
    """One sentence per table of both whose rows would be looked for in other places; usually none."""
    return [
        sentence
        for keyspace in new.keyspaces
        if (before := old.keyspace(keyspace.name)) is not None
        for sentence in _keyspace_changes(before, keyspace, old, new)
    ]


def _keyspace_changes(before: Keyspace, after: Keyspace, old: Topology, new: Topology) -> Iterator[str]:
    if before.unsharded and after.unsharded and _names(before, old) != _names(after, new):
        yield f"all tables of {after}: their rows stay on {_names(before, old)}, not on {_names(after, new)}"
    for name, table in after.tables.items():
        one = before.table(name)
        if one is not None and (reason := _table_change(one, table, old, new)):
            yield f"{table}: {reason}"


def _names(keyspace: Keyspace, topology: Topology) -> str:
    return ", ".join(str(shard) for shard in keyspace.shards)


def _table_change(before: Table, after: Table, old: Topology, new: Topology) -> str | None:
    if before.kind is not after.kind:
        return f"it was {before.kind} and becomes {after.kind}; its rows stay where they are"
    if after.kind is TableKind.SHARDED:
        if tuple(map(str.lower, before.columns)) != tuple(map(str.lower, after.columns)):
            return f"it is sharded by {', '.join(after.columns)}, its rows lie by {', '.join(before.columns)}"
        assert before.vindex is not None and after.vindex is not None
        return _vindex_change(before.vindex, after.vindex, old, new)
    was, becomes = _shard_names(before, old), _shard_names(after, new)
    if after.kind is TableKind.PINNED and was != becomes:
        return f"its rows stay on {', '.join(was)}, not on {', '.join(becomes)}"
    if added := sorted(set(becomes) - set(was)):
        return f"its rows must be copied to {', '.join(added)} first"
    return None


def _shard_names(table: Table, topology: Topology) -> list[str]:
    return [topology.shards[shard].name for shard in table.shards]


def _vindex_change(before: Vindex, after: Vindex, old: Topology, new: Topology) -> str | None:
    """Only keys that had a place count: what was refused before has no rows."""
    if type(before) is not type(after):
        return f"it was sharded by {before.function}, its rows do not lie by {after.function}"
    if isinstance(before, Range) and isinstance(after, Range) and _ranges_differ(before, after, old, new):
        return "the rows of some ranges must be moved first"
    was, becomes = _named(before.rules(), old), _named(after.rules(), new)
    if any(becomes.get(key) != meaning for key, meaning in was.items()):
        return f"the values of {after.function} mean other places; rows lie by the old ones"
    return _bucket_change(before, after, old, new)


def _bucket_change(before: Vindex, after: Vindex, old: Topology, new: Topology) -> str | None:
    moved = total = 0
    for region, buckets in before.bucket_maps().items():
        others = after.bucket_maps().get(region, ())
        total += len(buckets)
        moved += sum(
            old.shards[was].name != new.shards[becomes].name
            for was, becomes in zip(buckets, others, strict=False)
        )
    return f"{moved} of {total} buckets must be moved first" if moved else None


def _ranges_differ(before: Range, after: Range, old: Topology, new: Topology) -> bool:
    """Looks at one number of every piece that the bounds of both cut."""
    bounds = sorted({*before.bounds, *after.bounds})
    for number in [bounds[0] - 1, *bounds] if bounds else [0]:
        was = {old.shards[shard].name for shard in before.shards_of_range(number, number)}
        becomes = {new.shards[shard].name for shard in after.shards_of_range(number, number)}
        if was and was != becomes:
            return True
    return False


def _named(rules: Mapping[Hashable, int | str], topology: Topology) -> dict[Hashable, str]:
    """Shards by name: indexes may differ between two configurations."""
    return {
        key: topology.shards[meaning].name if isinstance(meaning, int) else meaning
        for key, meaning in rules.items()
    }
