"""Ways into other regions: to the relay, one more shared connection each; to the other region's Fairlead, a client.

A way is one identity's, to one shard, so that a slow shard holds up nobody who asks for another, and the other region
knows who asks. It is made at the first request, closed when idle, and not tried for a while when it is of no use:
then its requests are answered at once. The connection comes in at the peer listener, over mutual TLS: the login is
MySQL's, with the protocol among its attributes; what follows is Redis's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from _speedups.resp import ReplyScanner
from proxy import logs
from proxy.mysql.auth.client import BackendAccount
from proxy.mysql.certificates import TlsMode
from proxy.mysql.client_handshake import BackendTls, connect_backend
from proxy.mysql.errors import WireError
from proxy.redis.client import RedisClient
from proxy.redis.wire import Private
from proxy.sessions.attested import NO_NUMBER, Attested
from proxy.sessions.session import (
    CERTIFICATE_ATTRIBUTE,
    LISTENER_ATTRIBUTE,
    PEER_LOGIN,
    REDIS_ATTRIBUTE,
    SHARD_ATTRIBUTE,
    USER_ATTRIBUTE,
)
from router.redis import errors
from router.redis.plan import Refused
from router.redis.resp import request
from router.topology import Region, Shard

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LAST_PAUSE = 30.0
MOST = 2048
"""Ways of a worker, whatever the regions' limits are."""


@dataclass(slots=True)
class Way:
    """`place`: the relay's number. `tasks`: what keeps its connections up, by protocol. `first`: done when the first
    try is, whatever came of it."""

    who: Attested
    shard: str
    region: Region
    place: int
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    first: dict[int, asyncio.Future[None]] = field(default_factory=dict)


class Ways:
    """One worker's."""

    def __init__(self, service: RedisService) -> None:
        self._service = service
        self._ways: dict[tuple[Attested, str], Way] = {}
        self._look = asyncio.Event()

    # --- configuration ----------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Ways that lead nowhere any more, or for nobody, are given up; the others go on. Clients' numbers come
        first."""
        topology, users = self._service.generation.topology, self._service.generation.settings.users
        for key, way in list(self._ways.items()):
            shard = topology.shard(way.shard)
            if shard is None or shard.is_local or shard.region.peer != way.region.peer or way.who.user not in users:
                self._drop(key)
            elif way.who.number == self._number_of(way.who):
                self._service.relay.way_set(way.who.number, shard.index, way.place)
            else:
                self._drop(key)

    def _number_of(self, who: Attested) -> int:
        """A user's own number may be another one now."""
        own = not (who.listener or who.certificate)
        return self._service.worker.user_number(who.user) if own else who.number

    def look(self) -> None:
        """A connection may have been lost."""
        self._look.set()
        self._look = asyncio.Event()

    async def close(self) -> None:
        tasks = [task for way in self._ways.values() for task in way.tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def line(self, place: int) -> bytes:
        """What is answered where no connection leads."""
        region = next((one.region.name for one in self._ways.values() if one.place == place), "")
        return f"-{errors.region_away(region)}\r\n".encode()

    # --- what clients need ------------------------------------------------------------------------------------

    async def place(self, client: RedisClient, shard: Shard) -> int:
        """The client's way to the shard, connected if it can be. Raises Refused."""
        way = self._way(client, shard)
        if client.protocol not in way.tasks:
            way.first[client.protocol] = asyncio.get_running_loop().create_future()
            way.tasks[client.protocol] = asyncio.ensure_future(self._keep_up(way, client.protocol))
        await asyncio.wait((way.first[client.protocol],))
        return way.place

    async def private(self, client: RedisClient, shard: Shard) -> Private:
        """A connection of the client's own. Raises Refused, OSError, TimeoutError."""
        return await Private.adopt(await self.open(client, shard))

    async def open(self, client: RedisClient, shard: Shard) -> socket.socket:
        """The same as a socket."""
        return await self._connect(self._attested(client, shard), shard, client.protocol)

    def shard_of(self, place: int) -> Shard | None:
        """To which shard the way at this place leads."""
        name = next((one.shard for one in self._ways.values() if one.place == place), None)
        return self._service.generation.topology.shard(name) if name is not None else None

    def _way(self, client: RedisClient, shard: Shard) -> Way:
        who = self._attested(client, shard)
        key = (who, shard.name)
        way = self._ways.get(key)
        if way is None:
            assert shard.region.peer is not None
            most = -(-shard.region.peer.connections // self._service.worker.start.workers)
            mine = sum(one.region.name == shard.region.name for one in self._ways.values())
            if mine >= most or len(self._ways) >= MOST:
                raise Refused(errors.region_away(shard.region.name))
            line = f"-{errors.region_away(shard.region.name)}\r\n".encode()
            deadline = self._service.generation.settings.redis.remote_deadline
            place = self._service.relay.way_add(line, deadline)
            way = self._ways[key] = Way(who, shard.name, shard.region, place)
            self._service.relay.way_set(who.number, shard.index, place)
        return way

    def _attested(self, client: RedisClient, shard: Shard) -> Attested:
        """Raises Refused: nothing is passed on twice."""
        who = client.attested
        if who is None or who.number == NO_NUMBER or shard.region.peer is None or not self._service.passes_on(client):
            raise Refused(errors.away(shard.name, region=shard.region.name, local=False, server=True))
        return who

    # --- keeping one up ---------------------------------------------------------------------------------------

    def _drop(self, key: tuple[Attested, str]) -> None:
        way = self._ways.pop(key)
        for task in way.tasks.values():
            task.cancel()
        for first in way.first.values():
            if not first.done():
                first.set_result(None)
        self._service.relay.way_drop(way.place)

    async def _keep_up(self, way: Way, protocol: int) -> None:
        """Until it has been idle for long enough; the place goes with its last connection."""
        try:
            await self._serve(way, protocol)
        finally:
            way.tasks.pop(protocol, None)
            first = way.first.pop(protocol)
            if not first.done():
                first.set_result(None)
        if not way.tasks and self._ways.get((way.who, way.shard)) is way:
            self._drop((way.who, way.shard))

    async def _serve(self, way: Way, protocol: int) -> None:
        relay, pause, before = self._service.relay, FIRST_PAUSE, 0
        idle = self._service.generation.settings.redis.remote_idle
        seen, used = -1, asyncio.get_running_loop().time()
        while True:
            requests, answers, under_way = relay.progress(way.place, protocol)
            now = asyncio.get_running_loop().time()
            if requests != seen or under_way:
                seen, used = requests, now
            if now - used > idle:
                relay.disconnect(way.place, protocol)
                return
            if relay.connected(way.place, protocol):
                await self._looked(idle / 4)
                continue
            if answers != before:
                pause, before = FIRST_PAUSE, answers
            elif way.first[protocol].done():  # nothing came of the last connection, or try
                relay.way_break(way.place, protocol)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE)
            await self._try(way, protocol)

    async def _try(self, way: Way, protocol: int) -> None:
        shard = self._service.generation.topology.shard(way.shard)
        try:
            if shard is None:
                raise ConnectionError("the shard is gone")
            sock = await self._connect(way.who, shard, protocol)
            self._service.relay.backend(way.place, protocol, sock.detach())
        except (OSError, TimeoutError) as error:
            log.warning("redis of region %s cannot be reached: %s", way.region.name, logs.told(error))
            self._service.relay.way_break(way.place, protocol)
        if not way.first[protocol].done():
            way.first[protocol].set_result(None)

    async def _looked(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            pass

    async def _connect(self, who: Attested, shard: Shard, protocol: int) -> socket.socket:
        """Logged in, and answering. Raises OSError, TimeoutError."""
        settings = self._service.generation.settings
        async with asyncio.timeout(min(settings.limits.connect, settings.redis.remote_deadline)):
            context = self._service.worker.backends.peer_context
            return await connect(who, shard, protocol, context, settings.limits.connect)


async def connect(
    who: Attested, shard: Shard, protocol: int, context: ssl.SSLContext | None, timeout: float
) -> socket.socket:
    """A plain, non-blocking socket to the Fairlead of the shard's region, for Redis. Raises OSError, TimeoutError."""
    region, loop = shard.region, asyncio.get_running_loop()
    if region.peer is None or context is None:
        raise ConnectionError("no peer is configured")
    try:
        connection = await connect_backend(
            (region.peer.host, region.peer.port),
            BackendAccount(PEER_LOGIN),
            BackendTls(TlsMode.VERIFY, context, region.certificate_names[0]),
            attributes={
                "program_name": "fairlead",
                USER_ATTRIBUTE: who.user,
                SHARD_ATTRIBUTE: shard.name,
                LISTENER_ATTRIBUTE: who.listener,
                CERTIFICATE_ATTRIBUTE: who.certificate,
                REDIS_ATTRIBUTE: str(protocol),
            },
            deadline=loop.time() + timeout,
        )
    except WireError as error:
        raise ConnectionError(str(error)) from error
    try:
        await _hear(connection.sock)
    except BaseException:
        connection.sock.close()
        raise
    return connection.sock


async def _hear(sock: socket.socket) -> None:
    """The other side answers. Raises OSError."""
    loop, scanner = asyncio.get_running_loop(), ReplyScanner()
    await loop.sock_sendall(sock, request("PING"))
    replies: list[bytes] = []
    while not replies:
        data = await loop.sock_recv(sock, 4096)
        if not data:
            raise ConnectionError("the other region's Fairlead does not take Redis clients")
        replies = scanner.feed(data)
    if replies != [b"+PONG\r\n"]:
        raise ConnectionError("the other region's Fairlead does not answer")
