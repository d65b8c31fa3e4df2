"""What one worker keeps for its transactions over several shards: which servers can take part, and how to ask them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from proxy.pool.server_health import Target
from proxy.pool.service_connection import ServerUnavailable, connect
from proxy.sessions.session import Session
from proxy.xa.decisions import Table, Unfit, check, settle
from proxy.xa.transaction import AtomicTransaction
from router.errors import refusal
from router.xid import Gtrid

if TYPE_CHECKING:
    from proxy.worker import Worker

PAUSE = 0.1
"""Seconds between two questions about one outcome."""


class Atomics:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._fit: set[tuple[str, str]] = set()
        """(shard, server) that have been looked at and can take part."""
        self.table = Table("fairlead")

    def configure(self) -> None:
        """Another configuration is in force."""
        self.table = Table(self._worker.generation.settings.transactions.decisions)
        self._fit.clear()

    def primary(self, shard: str) -> Target | None:
        """Of a shard of the own region."""
        roles = self._worker.backends.roles.get(self._worker.compiler.shard(shard))
        return roles.primary if roles is not None else None

    @property
    def timeout(self) -> float:
        """Seconds for one question to a server."""
        return max(self._worker.generation.settings.health.timeout, 2.0)

    # --- who can take part ----------------------------------------------------------------------------------

    async def ready(self, shards: Iterable[str]) -> None:
        """Can they all take part? Raises Refusal."""
        await asyncio.gather(*(self._ready(shard) for shard in shards))

    async def _ready(self, shard: str) -> None:
        if not self._worker.is_local(shard):
            raise refusal("ATOMIC_REGIONS", shard)
        target = self.primary(shard)
        if target is None:
            raise refusal("NO_PRIMARY", shard)
        if (shard, target.name) in self._fit:
            return
        try:
            async with await connect(target.endpoint, self.timeout) as connection:
                await check(connection, self.table, self.timeout)
        except (Unfit, ServerUnavailable) as error:
            raise refusal("ATOMIC_UNAVAILABLE", shard, str(error)) from None
        self._fit.add((shard, target.name))

    def forget(self, shard: str) -> None:
        """Its table of decisions has gone: look again before the next use."""
        self._fit = {one for one in self._fit if one[0] != shard}

    # --- transactions ---------------------------------------------------------------------------------------

    async def begin(self, session: Session, shards: Iterable[str]) -> AtomicTransaction:
        """A transaction of its own over these shards, the first one home, begun on none. Raises Refusal."""
        names = tuple(shards)
        await self.ready(names)
        transaction = AtomicTransaction(self._worker, names[0])
        for name in names:
            lease = self._worker.lease(session, self._worker.compiler.shard(name))
            transaction.add(name, lease).wrote = True
        return transaction

    async def outcome(self, shard: str, gtrid: Gtrid) -> str | None:
        """The decision, asked for anew as long as the settings say; None: it cannot be learnt in that time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._worker.generation.settings.transactions.ask
        while True:
            found = await self._ask(shard, gtrid)
            if found is not None or loop.time() >= deadline:
                return found
            await asyncio.sleep(PAUSE)

    async def _ask(self, shard: str, gtrid: Gtrid) -> str | None:
        target = self.primary(shard)
        if target is None:
            return None
        try:
            async with await connect(target.endpoint, self.timeout) as connection:
                return await settle(connection, self.table, gtrid, self.timeout)
        except ServerUnavailable:
            return None
