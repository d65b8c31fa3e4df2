"""The page's numbers of what a configuration names; they outlive reloads, so that statistics do.

The supervisor declares the names before its workers put a configuration in force; workers only look them up.
"""

from __future__ import annotations

from collections.abc import Sequence

from _speedups.stats import StatsPage
from proxy.generation import Generation

Entry = tuple[str, int, bool]


class Numbers:
    """`shards`, `servers`: by topology index; `peers`: region -> row in the backend table; `users`, `keyspaces`."""

    def __init__(self, page: StatsPage, generation: Generation, *, declare: bool = False) -> None:
        self._page = page
        self._declare = declare
        topology = generation.topology
        self.regions = self._numbers("region", [(one.name, 0, one.is_local) for one in topology.regions])
        self.shards = self._numbers(
            "shard", [(one.name, self.regions[one.region.index], one.is_local) for one in topology.shards]
        )
        servers: list[Entry] = [
            (f"{topology.shards[one.shard].name}/{one}", self.shards[one.shard], True) for one in topology.servers
        ]
        peers: list[Entry] = [(f"peer/{region.name}", 0, False) for region in topology.peers]
        rows = self._numbers("backend", servers + peers)
        self.servers = rows[: len(servers)]
        self.peers = {region.name: row for region, row in zip(topology.peers, rows[len(servers) :], strict=True)}
        self.users = self._by_name("user", list(generation.settings.users))
        self.keyspaces = self._by_name("keyspace", [one.name for one in topology.keyspaces])

    def _by_name(self, kind: str, names: list[str]) -> dict[str, int]:
        return dict(zip(names, self._numbers(kind, [(name, 0, True) for name in names]), strict=True))

    def _numbers(self, kind: str, entries: Sequence[Entry]) -> list[int]:
        if self._declare:
            return self._page.declare(kind, entries)
        return [self._page.index_of(kind, text) for text, _, _ in entries]
