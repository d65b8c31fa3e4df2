"""Connections to Redis servers: opening one and logging in, and one that a single client has to itself."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from _speedups.resp import ProtocolError, ReplyScanner
from config.settings import RedisServer
from proxy.mysql.tls import shuttle_client
from router.redis.resp import Error, decode, request

CHUNK = 65536


class ServerRefused(OSError):
    """The server answered the login with an error, or is not what it should be."""


def tls_context(settings: RedisServer) -> ssl.SSLContext | None:
    """Raises OSError, ssl.SSLError for files that cannot be used."""
    if not settings.tls:
        return None
    return ssl.create_default_context(cafile=str(settings.ca) if settings.ca is not None else None)


async def connect(settings: RedisServer, protocol: int, timeout: float, *, leads: bool = False) -> socket.socket:
    """A plain, non-blocking socket to `settings.primary`, logged in. `leads`: it has to say that it takes writes.
    Raises OSError, TimeoutError."""
    async with asyncio.timeout(timeout):
        sock = await _open(settings)
        try:
            await _log_in(sock, settings, protocol, leads)
        except BaseException:
            sock.close()
            raise
    return sock


async def _open(settings: RedisServer) -> socket.socket:
    loop = asyncio.get_running_loop()
    assert settings.primary is not None
    host, port = settings.primary.host, settings.primary.port
    family, kind, number, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
    sock = socket.socket(family, kind, number)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await loop.sock_connect(sock, address)
        context = tls_context(settings)
        if context is not None:
            return (await shuttle_client(loop, sock, context, host))[0]
    except BaseException:
        sock.close()
        raise
    return sock


async def _log_in(sock: socket.socket, settings: RedisServer, protocol: int, leads: bool) -> None:
    """AUTH, HELLO where RESP3 is spoken, a name that the server's CLIENT LIST shows, and ROLE."""
    account = settings.account
    requests = [] if account is None else [request("AUTH", account.user, account.password.reveal())]
    if protocol == 3:
        requests.append(request("HELLO", "3"))
    requests.append(request("CLIENT", "SETNAME", "fairlead"))
    if leads:
        requests.append(request("ROLE"))
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"".join(requests))
    scanner = ReplyScanner()
    replies: list[bytes] = []
    while len(replies) < len(requests):
        data = await loop.sock_recv(sock, CHUNK)
        if not data:
            raise ServerRefused("the server closed the connection during the login")
        replies += scanner.feed(data)
    for reply in replies:
        value = decode(reply)
        if isinstance(value, Error):
            raise ServerRefused(value.text)
    if leads and decode(replies[-1])[0] != b"master":
        raise ServerRefused("it is no primary")


class Private(asyncio.Protocol):
    """A connection of one client's own. `on_push`: replies that nobody asked for; `on_lost`: its end, once."""

    def __init__(self) -> None:
        self.on_push: Callable[[bytes], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.alive = True
        self._scanner = ReplyScanner()
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, settings: RedisServer, protocol: int, timeout: float, *, leads: bool = False) -> Private:
        """Raises OSError, TimeoutError."""
        return await cls.adopt(await connect(settings, protocol, timeout, leads=leads))

    @classmethod
    async def adopt(cls, sock: socket.socket) -> Private:
        loop = asyncio.get_running_loop()
        _, wire = await loop.connect_accepted_socket(cls, sock)
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def connection_lost(self, reason: Exception | None) -> None:
        self.alive = False
        for one in self._waiting:
            if not one.done():
                one.set_exception(ConnectionError("the connection to the shard's Redis was lost"))
        self._waiting.clear()
        if self.on_lost is not None:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._scanner.feed(data)
        except ProtocolError:
            self.close()
            return
        for reply in replies:
            self._on_reply(reply)

    def _on_reply(self, reply: bytes) -> None:
        if self.on_push is not None:
            self.on_push(reply)
        elif self._waiting:
            one = self._waiting.popleft()
            if not one.done():
                one.set_result(reply)
        else:
            self.close()

    def send(self, data: bytes) -> None:
        if self._transport is not None and self.alive:
            self._transport.write(data)

    async def ask(self, data: bytes, replies: int = 1) -> list[bytes]:
        """Requests, and their replies as they came. Raises ConnectionError; cancelled, the connection is of no use."""
        if not self.alive:
            raise ConnectionError("the connection to the shard's Redis is lost")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(replies)]
        self._waiting.extend(futures)
        self.send(data)
        try:
            return [await one for one in futures]
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        self.alive = False
        if self._transport is not None:
            with contextlib.suppress(RuntimeError):
                self._transport.abort()
