"""Names for the indexes in the statistics page."""

from collections.abc import Sequence

from _speedups.stats import NONE, Name, StatsPage

Names = dict[str, list[Name]]


def read(page: StatsPage) -> Names:
    """All name tables, read once for one answer."""
    return {kind: page.names(kind) for kind in ("shard", "backend", "user", "keyspace", "region")}


def name_of(table: Sequence[Name], index: int) -> str | None:
    """The name, `#index` for one that is not declared, None for no index."""
    if index == NONE:
        return None
    return table[index].text if index < len(table) else f"#{index}"


def shards_in(mask: int, table: Sequence[Name]) -> list[str]:
    """Shards of a digest's mask; its last bit stands for all from 63 on."""
    named = [name_of(table, bit) or "" for bit in range(63) if mask >> bit & 1]
    return [*named, "63…"] if mask >> 63 else named
