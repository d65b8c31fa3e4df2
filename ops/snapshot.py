"""The statistics page as one reader sees it: each part is read once, when it is first asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from _speedups.redis_stats import RedisPage
from _speedups.stats import Health, Name, StatsPage, now_ns
from ops import names, process
from ops.ledger import Reading
from ops.readiness import Patience, worker_state


class Shard(NamedTuple):
    """One active shard; `read` is `StatsPage.shard_sum`, `redis` is `RedisPage.shard`."""

    name: str
    region: str
    local: bool
    read: dict[str, Any]
    redis: dict[str, Any]


class Backend(NamedTuple):
    """One active backend, with its limit (0 = not published) and use over all workers."""

    name: str
    shard: str
    health: Health
    limit: int
    held: int
    wanted: int


@dataclass
class Snapshot:
    """What metrics and overview are made from."""

    page: StatsPage
    patience: Patience = field(default_factory=Patience)
    now: int = field(default_factory=now_ns)
    meters: Sequence[Reading] = ()
    """Of the budgets of exposure."""

    @cached_property
    def total(self) -> dict[str, Any]:
        return self.page.sum()

    @cached_property
    def redis_page(self) -> RedisPage:
        return RedisPage(self.page)

    @cached_property
    def redis(self) -> dict[str, Any]:
        return self.redis_page.sum()

    @cached_property
    def state(self) -> dict[str, int]:
        return self.page.state()

    @cached_property
    def names(self) -> names.Names:
        return names.read(self.page)

    @cached_property
    def workers(self) -> list[dict[str, Any]]:
        return [self.page.counters(w) for w in range(self.page.shape.workers)]

    @cached_property
    def worker_states(self) -> list[str]:
        return [worker_state(self.page, w, self.patience, self.now) for w in range(self.page.shape.workers)]

    @cached_property
    def usage(self) -> list[process.Usage | None]:
        return [process.usage(self.page.slot(w).pid) for w in range(self.page.shape.workers)]

    @cached_property
    def shards(self) -> list[Shard]:
        return [
            Shard(name.text, names.name_of(self.names["region"], name.attr) or "", name.local,
                  self.page.shard_sum(index), self.redis_page.shard(index))
            for index, name in enumerate(self.names["shard"]) if name.active
        ]

    @cached_property
    def backends(self) -> list[Backend]:
        return [self._backend(index, name) for index, name in enumerate(self.names["backend"]) if name.active]

    def _backend(self, index: int, name: Name) -> Backend:
        cells = self.page.limit_cells(index)
        shard = names.name_of(self.names["shard"], name.attr) or ""
        return Backend(name.text, shard, self.page.health(index), name.limit,
                       sum(held for held, _ in cells), sum(wanted for _, wanted in cells))

    @cached_property
    def digest_use(self) -> tuple[int, int]:
        return self.page.digest_use()
