"""The live schema of every keyspace, as the planner uses it: read at the start, at DDL, and from time to time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

from proxy.generation import Generation
from proxy.pool.schema_loader import SchemaLoader
from router.schema import Finding, SchemaSnapshot

log = logging.getLogger(__name__)

FIRST_DEADLINE = 10.0
"""Seconds that a start waits for the schema; keyspaces without one are refused until it has been read."""


class Schemas:
    """One worker's schemas; `on_change` is called when a snapshot is another one than before."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._loader: SchemaLoader | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._interval = 30.0
        self._said: set[Finding] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self.snapshots: Mapping[str, SchemaSnapshot] = MappingProxyType({})

    @property
    def findings(self) -> frozenset[Finding]:
        """What was wrong at the last reading."""
        return frozenset(self._said)

    def configure(self, generation: Generation) -> None:
        """Which keyspaces and servers; what was read before stays until it is read again."""
        self._interval = generation.settings.health.schema
        self._loader = SchemaLoader(generation.topology, generation.settings)
        self._wanted.set()

    async def first(self) -> None:
        """Reads once, within the deadline, and goes on reading in the background."""
        try:
            async with asyncio.timeout(FIRST_DEADLINE):
                await self._read()
        except TimeoutError:
            log.warning("the live schema could not be read in %g s", FIRST_DEADLINE)
        self._task = asyncio.ensure_future(self._go_on())

    def read_soon(self) -> None:
        self._wanted.set()

    async def read_now(self, seconds: float) -> None:
        """Returns when the schema has been read by a look that began after this call, or after this time."""
        read: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(read)
        self._wanted.set()
        await asyncio.wait((read,), timeout=seconds)

    async def _go_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            await self._read()
            for one in waiting:
                if not one.done():
                    one.set_result(None)

    async def _read(self) -> None:
        assert self._loader is not None
        try:
            result = await self._loader.load(self.snapshots)
        except Exception:
            log.exception("reading the live schema")
            return
        for finding in set(result.findings) - self._said:
            log.warning("schema: %s", finding)
        self._said = set(result.findings)
        if dict(result.snapshots) != dict(self.snapshots):
            self.snapshots = MappingProxyType(dict(result.snapshots))
            self._on_change()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
