"""Listeners: accept, connection phase, and the descriptor's handing over to the relay.

A connection costs one task while it logs in and none afterwards. How many may log in at once is bounded; beyond,
nothing is accepted and the kernel's backlog pushes back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field

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

SUCCESSION_SHIFT = 20

Adopt = Callable[[ClientIdentity, int, str], None]
"""(identity, connection id, listener) -> the relay owns the socket. Raises HandshakeRefused or RelayFull."""


@dataclass(slots=True)
class ConnectionIds:
    """Ids of one worker; they come around after 16 million connections. After a restart they begin elsewhere, since the
    process before still has some."""

    worker: int
    _counter: itertools.count[int]
    taken: set[int] = field(default_factory=set)
    """Those of clients that came from the process before."""

    @classmethod
    def of(cls, worker: int, succession: int = 0) -> ConnectionIds:
        return cls(worker, itertools.count(1 + (succession << SUCCESSION_SHIFT)))

    def next(self) -> int:
        while (number := self._next()) in self.taken:
            pass
        return number

    def _next(self) -> int:
        return (self.worker + 1) << CONNECTION_BITS | next(self._counter) & (1 << CONNECTION_BITS) - 1


def place_of(number: int, workers: int) -> int:
    """Which worker's a connection id is. One that came from a process with more workers is somebody's, too."""
    return ((number >> CONNECTION_BITS) - 1) % workers


class Listener:
    """One listener of one worker; others share its addresses."""

    def __init__(
        self,
        name: str,
        settings: MysqlListener | PeerListener,
        handshake: Callable[[], ServerHandshakeConfig],
        adopt: Adopt,
        ids: ConnectionIds,
        block: WorkerBlock,
        sockets: list[socket.socket],
    ) -> None:
        self.name = name
        self.settings = settings
        self._handshake = handshake
        self._adopt = adopt
        self._ids = ids
        self._block = block
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused = False
        self.door = Door(sockets, settings.backlog, self._accept)

    def start(self) -> None:
        """Raises OSError."""
        self.door.open()

    def stop(self) -> None:
        """Accept no more; connections that are logging in are cut."""
        self.door.close()
        for task in self._tasks:
            task.cancel()

    def leave(self) -> None:
        """Accept no more here; who is logging in comes in."""
        self.door.close()

    @property
    def logging_in(self) -> int:
        return len(self._tasks)

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(batch_of(listening)):
            if len(self._tasks) >= LOGGING_IN:
                self.door.pause()
                self._paused = True
                return
            try:
                sock, _ = listening.accept()
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
        if self._paused and not self.door.closed:
            self._paused = False
            self.door.resume()

    async def _log_in(self, sock: socket.socket) -> None:
        sock.setblocking(False)
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


class Door:
    """The sockets that a listener accepts on, by `accept(socket)`."""

    def __init__(
        self, sockets: list[socket.socket], backlog: int, accept: Callable[[socket.socket], None]
    ) -> None:
        self._sockets = sockets
        self._backlog = backlog
        self._accept = accept
        self.closed = False

    @property
    def inodes(self) -> frozenset[int]:
        """Tell sockets apart, over processes."""
        return inodes_of(self._sockets)

    def open(self) -> None:
        """Raises OSError."""
        self.listen(self._backlog)
        self.resume()

    def listen(self, backlog: int) -> None:
        """With another backlog. Raises OSError."""
        for sock in self._sockets:
            sock.listen(backlog)

    def pause(self) -> None:
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())

    def resume(self) -> None:
        for sock in self._sockets:
            asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)

    def close(self) -> None:
        if self.closed:
            return
        self.pause()
        self.closed = True
        for sock in self._sockets:
            sock.close()


def inodes_of(sockets: Iterable[socket.socket]) -> frozenset[int]:
    return frozenset(os.fstat(sock.fileno()).st_ino for sock in sockets)


def batch_of(listening: socket.socket) -> int:
    """How many clients to take at once: one by one where all workers share a socket."""
    return 1 if listening.family == socket.AF_UNIX else ACCEPT_BATCH
