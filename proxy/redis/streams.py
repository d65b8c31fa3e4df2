"""Connections that the relay is lent for large requests, one for each (`_speedups/redis_stream.pxi` says why).

Those to servers of the region are kept for the next large request; those into other regions are closed, as they are
one identity's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter
from typing import TYPE_CHECKING

from proxy.redis.client import RedisClient
from router.redis import errors
from router.redis.plan import Refused
from router.redis.resp import Error, encode

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

MOST = 16
"""Of one place and protocol, lent at the same time."""
IDLE = 2
"""Kept of each."""

Place = tuple[int, int]
"""(the relay's number of it, protocol)."""


class Streams:
    """One worker's."""

    def __init__(self, service: RedisService) -> None:
        self._service = service
        self._lent: dict[int, tuple[Place, socket.socket]] = {}
        """By the client's handle."""
        self._count: Counter[Place] = Counter()
        self._idle: dict[Place, list[socket.socket]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()

    def wanted(self, client: RedisClient) -> None:
        """The relay has a large request of the client's."""
        task = asyncio.ensure_future(self._lend(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lend(self, client: RedisClient) -> None:
        relay = self._service.relay
        number = relay.large(client.handle)
        if number is None:
            return
        place = number, client.protocol
        try:
            await self._room(place)
            sock = await self._connection(client, place)
        except Refused as refused:
            relay.swallow(client.handle, encode(Error(refused.text), client.protocol))
            return
        except (OSError, TimeoutError):
            relay.swallow(client.handle, self._service.servers.away(number))
            return
        self._lent[client.handle] = place, sock
        own = os.dup(sock.fileno())
        if not relay.lend(client.handle, own):
            os.close(own)
            self.back(client.handle)

    async def _room(self, place: Place) -> None:
        """Take one of the connections that there may be. Raises Refused."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._service.generation.settings.limits.connect):
                while self._count[place] >= MOST:
                    await self._freed.wait()
        if self._count[place] >= MOST:
            raise Refused(errors.FULL_OF_LARGE)
        self._count[place] += 1

    async def _connection(self, client: RedisClient, place: Place) -> socket.socket:
        """Raises Refused, OSError, TimeoutError."""
        idle = self._idle.get(place, [])
        while idle:
            sock = idle.pop()
            if _is_quiet(sock):
                return sock
            sock.close()
        try:
            return await self._service.servers.connect_to(client, place[0])
        except BaseException:
            self._free(place)
            raise

    def _free(self, place: Place) -> None:
        self._count[place] -= 1
        if not self._count[place]:
            del self._count[place]
        self._freed.set()
        self._freed = asyncio.Event()

    def back(self, handle: int, *, spoiled: bool = False) -> None:
        """The relay is done with a client's, or the client is gone; `spoiled`: it is of no use to others."""
        place, sock = self._lent.pop(handle, (None, None))
        if place is None or sock is None:
            return
        self._free(place)
        idle = self._idle.setdefault(place, []) if self._service.links.leads_to(place[0]) else []
        if spoiled or len(idle) >= IDLE or not self._service.links.leads_to(place[0]):
            sock.close()
        else:
            idle.append(sock)

    def forget(self) -> None:
        """Places may lead elsewhere from here on."""
        for idle in self._idle.values():
            for sock in idle:
                sock.close()
        self._idle.clear()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for handle in list(self._lent):
            self.back(handle, spoiled=True)
        self.forget()


def _is_quiet(sock: socket.socket) -> bool:
    """Neither closed by the server nor with bytes that nobody has asked for."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
