"""Statements that wait for a shard's new primary: new ones, outside of transactions, bounded in time and bytes.

Until the old primary is judged down they wait in its pool's queue (`relay_backend.pxi: expire_waiters`), from then on
here; the time counts from when the statement was received. A statement that was under way when the primary went is told
so: what became of it is not known.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from router.errors import refusal

if TYPE_CHECKING:
    from proxy.worker import Worker
    from router.topology import Shard


class Failover:
    """One worker's waiting statements."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._bytes = 0

    async def hold(self, handle: int, shard: Shard, info: dict[str, Any]) -> None:
        """The parked command is looked at again when there is a primary. Raises Refusal when there is none in time, or
        no room."""
        limits, block = self._worker.generation.settings.limits, self._worker.loop_block
        left = limits.failover_wait - (time.monotonic_ns() - info["received"]) / 1e9
        size = info["command_size"]
        if self._worker.backends.has_primary(info["command_shard"]):
            self._worker.relay.resume(handle)   # it came in between
            return
        if left <= 0 or self._bytes + size > limits.failover_memory:
            block.add("failover_refusals")
            raise refusal("NO_PRIMARY", shard.name)
        started = time.monotonic()
        block.add("failover_waits")
        try:
            await self._wait(shard.name, size, left)
        except TimeoutError:
            block.add("failover_refusals")
            raise refusal("NO_PRIMARY", shard.name) from None
        finally:
            block.add("failover_wait_us", int((time.monotonic() - started) * 1e6))
        self._worker.relay.resume(handle)

    async def _wait(self, shard: str, size: int, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(shard, set())
        waiting.add(future)
        self._count(size)
        try:
            async with asyncio.timeout(seconds):
                await future
        finally:
            waiting.discard(future)
            self._count(-size)

    def _count(self, size: int) -> None:
        self._bytes += size
        block = self._worker.loop_block
        block.set("failover_waiting", sum(len(one) for one in self._waiting.values()))
        block.set("failover_waiting_bytes", self._bytes)

    def on_primary(self, shard: str) -> None:
        """There is one."""
        for future in self._waiting.get(shard, ()):
            if not future.done():
                future.set_result(None)
