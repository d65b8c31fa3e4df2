"""The connections to the servers of the region: the relay's shared ones, kept up, and private ones by the piece."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from _speedups.redis_relay import RedisRelay
from config.settings import RedisServer
from proxy import logs
from proxy.redis.wire import Private, connect

log = logging.getLogger(__name__)

PROTOCOLS = (2, 3)
FIRST_PAUSE = 0.05
LAST_PAUSE = 2.0
IDLE_PRIVATE = 8
"""Private connections of a shard and protocol that are kept for the next client."""

Place = tuple[int, int]
"""(shard's index, protocol)."""


@dataclass(frozen=True, slots=True)
class Backing:
    """A server behind a place of the relay: a shard's primary, or a replica. `name` for logs. `leads`: connections
    are of use only while it says itself that it is a primary, as who named it may be behind."""

    name: str
    server: RedisServer
    leads: bool = False


class Links:
    """One worker's connections. A place that is gone from the configuration loses its own."""

    def __init__(self, relay: RedisRelay) -> None:
        self._relay = relay
        self._servers: dict[int, Backing] = {}
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._idle: dict[Place, list[Private]] = {}
        self._timeout = 5.0
        self._look = asyncio.Event()

    def forget(self, wanted: Mapping[int, Backing]) -> None:
        """Gives up connections to servers that are another's now, or nobody's."""
        for index in [index for index, server in self._servers.items() if wanted.get(index) != server]:
            self._drop(index)

    def configure(self, wanted: Mapping[int, Backing], timeout: float) -> None:
        """Servers that are new or another are connected to; the others keep their connections."""
        self._timeout = timeout
        self._servers = dict(wanted)
        for index in wanted:
            for protocol in PROTOCOLS:
                if (index, protocol) not in self._tasks:
                    self._tasks[index, protocol] = asyncio.ensure_future(self._keep_up(index, protocol))

    def _drop(self, shard: int) -> None:
        for protocol in PROTOCOLS:
            task = self._tasks.pop((shard, protocol), None)
            if task is not None:
                task.cancel()
            self._relay.disconnect(shard, protocol)
            for one in self._idle.pop((shard, protocol), []):
                one.close()

    def connected(self, place: int) -> bool:
        """By every protocol?"""
        return all(self._relay.connected(place, protocol) for protocol in PROTOCOLS)

    def look(self) -> None:
        """A connection may have been lost."""
        self._look.set()
        self._look = asyncio.Event()

    async def _keep_up(self, shard: int, protocol: int) -> None:
        pause, told = FIRST_PAUSE, False
        while True:
            if self._relay.connected(shard, protocol):
                await self._look.wait()
                continue
            try:
                backing = self._servers[shard]
                sock = await connect(backing.server, protocol, self._timeout, leads=backing.leads)
                self._relay.backend(shard, protocol, sock.detach())
                pause, told = FIRST_PAUSE, False
            except (OSError, TimeoutError) as error:
                if not told:
                    log.warning("redis of shard %s cannot be reached: %s", self._servers[shard].name, logs.told(error))
                told = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE)

    # --- private connections ----------------------------------------------------------------------------------

    async def borrow(self, shard: int, protocol: int) -> Private:
        """A connection for one client alone. Raises OSError, TimeoutError."""
        idle = self._idle.get((shard, protocol), [])
        while idle:
            one = idle.pop()
            if one.alive:
                return one
        return await Private.adopt(await self.open(shard, protocol))

    def leads_to(self, place: int) -> bool:
        """Is a server of this region behind it?"""
        return place in self._servers

    async def open(self, place: int, protocol: int) -> socket.socket:
        """A connection that is nobody's yet, logged in. Raises OSError, TimeoutError."""
        backing = self._servers.get(place)
        if backing is None:
            raise ConnectionError("no redis server")
        return await connect(backing.server, protocol, self._timeout, leads=backing.leads)

    def give_back(self, shard: int, protocol: int, one: Private) -> None:
        """Only what is in no transaction, watches nothing and waits for nothing."""
        idle = self._idle.setdefault((shard, protocol), [])
        if one.alive and shard in self._servers and len(idle) < IDLE_PRIVATE:
            one.on_push = one.on_lost = None
            idle.append(one)
        else:
            one.close()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        for idle in self._idle.values():
            for one in idle:
                one.close()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
