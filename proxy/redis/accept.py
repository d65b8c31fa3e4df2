"""Redis listeners: accept, TLS where it is configured, and the descriptor's handing over to the relay."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import TYPE_CHECKING

from _speedups.redis_relay import RelayFull
from config.settings import RedisListener
from proxy.accept import ACCEPT_BATCH, LOGGING_IN, ConnectionIds, Door
from proxy.mysql.certificates import ServerFiles, TlsFilesError, server_context
from proxy.mysql.errors import WireError
from proxy.mysql.tls import TLSInfo, shuttle_server

if TYPE_CHECKING:
    from proxy.redis.service import RedisService

log = logging.getLogger(__name__)

FULL = b"-ERR max number of clients reached\r\n"


def context_of(settings: RedisListener) -> ssl.SSLContext | None:
    """Raises OSError for files that cannot be used."""
    if settings.tls is None:
        return None
    tls = settings.tls
    try:
        return server_context(ServerFiles(tls.cert, tls.key, tls.ca, "required" if tls.ca else "none"))
    except TlsFilesError as error:
        raise OSError(str(error)) from error


class RedisDoor:
    """One listener of one worker; others share its address."""

    def __init__(
        self,
        name: str,
        settings: RedisListener,
        service: RedisService,
        ids: ConnectionIds,
        sockets: list[socket.socket],
    ) -> None:
        self.name = name
        self.settings = settings
        self._service = service
        self._ids = ids
        self._context = context_of(settings)
        self._tasks: set[asyncio.Task[None]] = set()
        self.door = Door(sockets, settings.backlog, self._accept)

    def start(self) -> None:
        """Raises OSError."""
        self.door.open()

    def stop(self) -> None:
        self.door.close()
        for task in self._tasks:
            task.cancel()

    def leave(self) -> None:
        """Accept no more here; who is beginning TLS comes in."""
        self.door.close()

    @property
    def logging_in(self) -> int:
        return len(self._tasks)

    def reload_certificates(self) -> None:
        """Raises OSError; then the context in use stays."""
        self._context = context_of(self.settings)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_BATCH):
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("cannot accept on %s: %s", self.name, error)
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._context is None:
                self._hand_over(sock, sock.getpeername()[0])
            else:
                self._begin_tls(sock, self._context)

    def _begin_tls(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        if len(self._tasks) >= LOGGING_IN:
            sock.close()
            return
        task = asyncio.ensure_future(self._secure(sock, context))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _secure(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        peer = sock.getpeername()[0]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._service.generation.settings.limits.handshake):
                plain, info = await shuttle_server(loop, sock, context)
        except (WireError, OSError, TimeoutError) as error:
            sock.close()
            log.debug("%s: TLS failed: %r", self.name, error)
            return
        self._hand_over(plain, peer, info)

    def _hand_over(self, sock: socket.socket, peer: str, tls: TLSInfo | None = None) -> None:
        limit = self.settings.limits.connections
        workers = self._service.worker.start.workers
        here = sum(one.listener == self.name for one in self._service.clients.values()) if limit is not None else 0
        try:
            if limit is not None and here >= -(-limit // workers):
                raise RelayFull
            certificate = tls.common_name if tls is not None else None
            self._service.adopt(sock, self._ids.next(), self.name, peer, tls is not None, certificate)
        except (RelayFull, OSError):
            self._service.worker.loop_block.add("clients_rejected")
            sock.send(FULL)
            sock.close()
