"""Both ends of a connection in one event loop, and a minimal listener for real drivers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from loadtest.world.certs import Authority
from proxy.mysql.certificates import ClientFiles, ServerFiles, TlsMode, client_context, server_context
from proxy.mysql.client_handshake import BackendTls
from proxy.mysql.constants.commands import Command
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import WireError
from proxy.mysql.packets import (
    ColumnDefinition41,
    ErrPacket,
    OkPacket,
    Value,
    binary_resultset,
    prepare_response,
    text_resultset,
)
from proxy.mysql.server_handshake import ClientIdentity, ServerHandshakeConfig, serve_handshake
from proxy.mysql.wire import HEADER_SIZE, frame

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
PATIENCE = 20.0
"""Seconds after which a test that waits for a peer is broken."""


def run(main: Coroutine[Any, Any, T], loop: str = "uvloop") -> T:
    """Run a coroutine in a fresh loop, not for ever."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(asyncio.wait_for(main, PATIENCE))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected, non-blocking TCP sockets: (server's, client's)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for sock in (server, client):
        sock.setblocking(False)
    return server, client


async def both(server: Awaitable[Any], client: Awaitable[Any]) -> list[Any]:
    """Run both ends; each result is a value or the exception it raised."""
    return list(await asyncio.gather(server, client, return_exceptions=True))


@dataclass(frozen=True)
class Certificates:
    """What one test authority issued."""

    authority: Authority
    server: ssl.SSLContext
    mutual: ssl.SSLContext

    @classmethod
    def make(cls, directory: Path) -> Certificates:
        authority = Authority(directory)
        files = authority.issue("proxy.test")
        plain = ServerFiles(files.certificate, files.key)
        mutual = ServerFiles(files.certificate, files.key, files.ca, "required")
        return cls(authority, server_context(plain), server_context(mutual))

    def client(self, mode: TlsMode = TlsMode.REQUIRED, *, name: str | None = None) -> BackendTls:
        """TLS towards a server of this authority; `name`: with a client certificate of this name."""
        own = self.authority.issue(name) if name is not None else None
        ca = self.authority.ca if mode is TlsMode.VERIFY else None
        files = ClientFiles(mode, ca, own.certificate if own else None, own.key if own else None)
        return BackendTls(mode, client_context(files))


@dataclass
class Listener:
    """Our handshake on a real port, then just enough of the command phase for a driver: it knows SELECT 1.

    Runs in a thread of its own, because drivers block. `identities` and `failures` say who came.
    """

    config: ServerHandshakeConfig
    identities: list[ClientIdentity] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    loop_name: str = "uvloop"
    port: int = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[Listener]:
        ready = threading.Event()
        thread = threading.Thread(target=self._main, args=(ready,), daemon=True)
        thread.start()
        assert ready.wait(PATIENCE)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(PATIENCE)

    def _main(self, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=LOOPS[self.loop_name]) as runner:
            runner.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            accepting = asyncio.create_task(self._accept(listener))
            ready.set()
            await self._stop.wait()
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        number = 0
        async with asyncio.TaskGroup() as clients:
            while True:
                sock, _ = await self._loop.sock_accept(listener)
                sock.setblocking(False)
                number += 1
                clients.create_task(self._client(sock, number))

    async def _client(self, sock: socket.socket, number: int) -> None:
        try:
            identity = await serve_handshake(sock, self.config, connection_id=number)
        except (WireError, OSError, TimeoutError) as error:
            self.failures.append(error)
            return
        self.identities.append(identity)
        with contextlib.closing(identity.sock), contextlib.suppress(EOFError, OSError):
            await self._commands(identity)

    async def _commands(self, identity: ClientIdentity) -> None:
        while True:
            header = await receive(self._loop, identity.sock, HEADER_SIZE)
            packet = await receive(self._loop, identity.sock, int.from_bytes(header[:3], "little"))
            if packet[0] == Command.QUIT:
                return
            answer = _answer(packet, identity)
            if answer:
                await self._loop.sock_sendall(identity.sock, answer)


ONE = ColumnDefinition41.integer("1")


def _answer(packet: bytes, identity: ClientIdentity) -> bytes:
    capabilities = identity.capabilities
    status = Status.AUTOCOMMIT
    match packet[0]:
        case Command.PING | Command.INIT_DB:
            return frame(OkPacket(status=status).build(capabilities), 1)
        case Command.STMT_PREPARE:
            return prepare_response(1, [], [ONE], capabilities, status)
        case Command.STMT_EXECUTE:
            return binary_resultset([ONE], [[1]], capabilities, status)
        case Command.STMT_RESET:
            return frame(OkPacket(status=status).build(capabilities), 1)
        case Command.STMT_CLOSE:
            return b""
        case Command.QUERY:
            return _query(packet[1:].decode(), identity)
        case _:
            return frame(ErrPacket(1047, "08S01", "Unknown command").build(capabilities), 1)


def _query(text: str, identity: ClientIdentity) -> bytes:
    words = text.strip().rstrip(";").lower()
    if not words.startswith("select"):  # SET NAMES, SET autocommit, COMMIT, ROLLBACK
        return frame(OkPacket(status=Status.AUTOCOMMIT).build(identity.capabilities), 1)
    row: list[Value]
    if words == "select 1":
        columns, row = [ONE], [1]
    elif words == "select $$":  # the mysql client's way to find out whether dollar-quoting is known
        return frame(ErrPacket(1064, "42000", "No dollar-quoting here").build(identity.capabilities), 1)
    else:  # what drivers ask of their own accord: @@version_comment, @@max_allowed_packet …
        columns, row = [ColumnDefinition41.string(words[7:])], ["1"]
    return text_resultset(columns, [row], identity.capabilities, Status.AUTOCOMMIT)


async def receive(loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes. Raises EOFError."""
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


async def query_one(sock: socket.socket) -> bytes:
    """Send SELECT 1 over a fresh connection, raw, and give the payload of its third packet."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, frame(bytes((Command.QUERY,)) + b"SELECT 1", 0))
    payload = b""
    for _ in range(3):  # column count, column, row or EOF
        payload = await _packet(loop, sock)
    return payload if payload[:1] != b"\xfe" else await _packet(loop, sock)


async def _packet(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    header = await receive(loop, sock, HEADER_SIZE)
    return await receive(loop, sock, int.from_bytes(header[:3], "little"))
