"""What is seen from outside while the clients work: memory, connections, the pool."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import pymysql

from loadtest.bench import metrics, procfs
from loadtest.bench.metrics import Metrics
from loadtest.soak.stage import Stage

INTERVAL = 0.5
IDLE_TIMEOUT = 10.0


@dataclass(frozen=True)
class Look:
    """One moment. `connects` are the backend connections ever made, None where the proxy does not say."""

    at: float
    rss_kib: int
    connects: int | None


@dataclass
class Watch:
    """Looks twice a second; `most` is the highest number of the proxy's connections seen per server."""

    stage: Stage
    looks: list[Look] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            # A page that comes late under full load is no finding; the last look, after it, must succeed.
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self.look)
            await asyncio.sleep(INTERVAL)

    def look(self) -> Look:
        rss = sum(procfs.rss_kib(pid) for pid in procfs.tree(self.stage.proxy.pid))
        page = self.page()
        connects = None if page is None else int(page.sum(metrics.CONNECTS))
        look = Look(time.monotonic(), rss, connects)
        self.looks.append(look)
        for shard in self.stage.servers:
            # One of the servers is killed amid all this.
            with contextlib.suppress(pymysql.MySQLError):
                self.most[shard] = max(self.most.get(shard, 0), self.stage.proxy_connections(shard))
        return look

    def page(self) -> Metrics | None:
        """/metrics, None when the proxy is not Fairlead. OSError when it does not answer."""
        fairlead = self.stage.fairlead
        return None if fairlead is None else Metrics.parse(fairlead.http("/metrics"))

    def wait_idle(self) -> "Idle":
        """Looks until nothing is in use any more, at most ten seconds."""
        deadline = time.monotonic() + IDLE_TIMEOUT
        while True:
            idle = self._idle()
            if idle.reached or time.monotonic() > deadline:
                return idle
            time.sleep(0.1)

    def _idle(self) -> "Idle":
        page = self.page()
        transactions = self.stage.open_transactions()
        if page is None:
            return Idle(transactions, 0, 0, 0, 0)
        return Idle(
            transactions,
            in_use=int(page.sum(metrics.SHARD_CONNECTIONS, state="in_use")),
            waiting=int(page.sum(metrics.SHARD_WAITING)),
            sessions=int(page.sum(metrics.CLIENTS)),
            parked=int(page.sum(metrics.PARKED)),
        )


@dataclass(frozen=True)
class Idle:
    """What is still held after all clients have left."""

    transactions: int
    in_use: int
    waiting: int
    sessions: int
    parked: int

    @property
    def reached(self) -> bool:
        return not any((self.transactions, self.in_use, self.waiting, self.sessions, self.parked))
