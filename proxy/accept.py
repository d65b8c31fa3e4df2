"""Listeners: accept, connection phase, and the descriptor's handing over to the relay.

A connection costs one task while it logs in and none afterwards. How many may log in at once is bounded; beyond,
nothing is accepted and the kernel's backlog pushes back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from _speedups.stats import WorkerBlock
from config.settings import MysqlListener, PeerListener
from proxy.mysql.auth.backoff import LoginsPaused
from proxy.mysql.errors import AuthenticationFailed, WireError
from proxy.mysql.server_handshake import ClientIdentity, ServerHandshakeConfig, change_user, serve_handshake

log = logging.getLogger(__name__)

LOGGING_IN = 256
"""Connections that may be in the connection phase at once, per listener and worker."""
ACCEPT_BATCH = 64
CONNECTION_BITS = 24
"""Connection ids are worker << 24 | n, so that no two workers give the same one at the same time."""

Adopt = Callable[[ClientIdentity, int, str], None]
"""(identity, connection id, listener) -> the relay owns the socket. Raises HandshakeRefused or RelayFull."""


@dataclass(slots=True)
class ConnectionIds:
    """Ids of one worker; they come around after 16 million connections."""

    worker: int
    _counter: itertools.count[int]

    @classmethod
    def of(cls, worker: int) -> ConnectionIds:
        return cls(worker, itertools.count(1))

    def next(self) -> int:
        return (self.worker + 1) << CONNECTION_BITS | next(self._counter) & (1 << CONNECTION_BITS) - 1


class Listener:
    """One listening socket of one worker. Others listen on the same address by SO_REUSEPORT."""

    def __init__(
        self,
        name: str,
        settings: MysqlListener | PeerListener,
        handshake: Callable[[], ServerHandshakeConfig],
        adopt: Adopt,
        ids: ConnectionIds,
        block: WorkerBlock,
    ) -> None:
        self.name = name
        self.settings = settings
        self._handshake = handshake
        self._adopt = adopt
        self._ids = ids
        self._block = block
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused = False
        self._socket = listening_socket(settings.address, settings.port, settings.backlog)

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._accept)

    def stop(self) -> None:
        """Accept no more; connections that are logging in are cut."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(ACCEPT_BATCH):
            if len(self._tasks) >= LOGGING_IN:
                loop.remove_reader(self._socket.fileno())
                self._paused = True
                return
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors left: the next turn tries again
                log.error("cannot accept on %s: %s", self.name, error)
                return
            self._keep(loop.create_task(self._log_in(sock)))

    def change_user(self, sock: socket.socket, number: int, login: ClientIdentity, command: bytes) -> None:
        """Bring a connection that was in use through COM_CHANGE_USER, whose bytes are `command`, and back to the
        relay."""
        phase = change_user(sock, self._handshake(), login, command)
        self._keep(asyncio.get_running_loop().create_task(self._admitted(phase, number)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._paused and self._socket.fileno() >= 0:
            self._paused = False
            self.start()

    async def _log_in(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        number = self._ids.next()
        await self._admitted(serve_handshake(sock, self._handshake(), connection_id=number), number)

    async def _admitted(self, phase: Coroutine[None, None, ClientIdentity], number: int) -> None:
        """Hand over whom the phase lets in."""
        try:
            identity = await phase
        except AuthenticationFailed as error:
            self._block.add("auth_failures")
            log.info("%s: login refused: %s", self.name, error)
        except LoginsPaused:
            self._block.add("logins_paused")
        except (WireError, OSError, TimeoutError) as error:
            self._block.add("handshake_failures")
            log.debug("%s: connection phase failed: %r", self.name, error)
        else:
            self._hand_over(identity, number)

    def _hand_over(self, identity: ClientIdentity, number: int) -> None:
        try:
            self._adopt(identity, number, self.name)
        except Exception as error:
            identity.sock.close()
            self._block.add("clients_rejected")
            log.warning("%s: connection refused: %s", self.name, error)


def listening_socket(address: str, port: int, backlog: int) -> socket.socket:
    """Non-blocking, shared by workers. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
        sock.bind((address, port))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock
