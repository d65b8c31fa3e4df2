"""The monitor's connection to one server: a plain socket, one question at a time, as little work as possible.

The login is `proxy.mysql.client_handshake`'s, as for every backend. After it a question costs one send, one
receive and, when the server says the same as the last time, one comparison: a worker that serves nobody
looks at all its servers again and again, and should cost next to nothing.

A deadline shuts the socket, which ends whatever waits for it. A failure of whatever kind ends the connection,
because after it the place in the protocol is unknown; only a statement that the server refused does not.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

from _speedups.packet import MalformedPacket as MalformedRow
from _speedups.packet import frame, read_lenenc, read_lenenc_integer, slice_row, split_packets
from _speedups.scanner import ResponseScanner
from config.words import Flavour
from proxy.mysql.auth.client import BackendAccount
from proxy.mysql.certificates import TlsFilesError, TlsMode
from proxy.mysql.client_handshake import BackendConnection, BackendTls, connect_backend
from proxy.mysql.constants.capabilities import BACKEND_CAPABILITIES, Capability
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import AuthenticationFailed, ConnectionClosed, ProtocolViolation, ServerError, TlsRefused
from proxy.mysql.packets.replies import ErrPacket
from proxy.pool.service_connection import (
    BUSY_ERRNOS,
    DENIED_ERRNOS,
    PROGRAM_NAME,
    Endpoint,
    FailureKind,
    ServerUnavailable,
    checked_flavour,
    tls_context,
)

Row: TypeAlias = tuple[str | None, ...]
T = TypeVar("T")

CAPABILITIES = (BACKEND_CAPABILITIES | Capability.DEPRECATE_EOF) & ~(
    Capability.SESSION_TRACK | Capability.MULTI_RESULTS | Capability.PS_MULTI_RESULTS
)
PIECE = 64 << 10
REPLY_LIMIT = 2 << 20
"""Most bytes of an answer: several positions of the greatest length that `proxy.pool.gtid` reads."""
REMEMBERED = 8
"""Most questions whose last answers are kept."""

# What a server says when it is about to end this very connection (ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED of
# MariaDB, ER_CLIENT_INTERACTION_TIMEOUT of MySQL). It may have said so while nobody was asking.
LOST_ERRNOS = frozenset({1053, 1927, 4031})


class Answer(NamedTuple):
    """A result set. Everything is text, as the server sent it; what is no UTF-8 is replaced."""

    definitions: list[bytes]
    rows: list[Row]

    def named(self) -> list[dict[str, Any]]:
        """The rows by column name, for SHOW, whose columns vary with the version."""
        names = [_column_name(definition) for definition in self.definitions]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


class ProbeConnection:
    """One open connection. Made by `connect`; used by one task at a time."""

    def __init__(self, raw: BackendConnection, flavour: Flavour) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = raw.sock
        self._deprecate_eof = bool(raw.capabilities & Capability.DEPRECATE_EOF)
        self._known: dict[str, tuple[bytes, Any]] = {}
        self._asking = False
        self._pieces: list[bytes | OSError] = []
        self._waiter: asyncio.Future[None] | None = None
        self._late = False
        self.closed = False
        self.flavour = flavour
        self.version = raw.server_version
        self.id = raw.thread_id
        # For good: to register and unregister for every answer costs more system calls than the answer.
        self._loop.add_reader(self._sock, self._on_readable)

    async def ask(self, sql: str, timeout: float, max_rows: int, understand: Callable[[Answer], T]) -> T:
        """What the answer means. When the server says the same as the last time, so does this: the same object.

        Raises ServerUnavailable; then the connection is closed, unless the server merely refused the
        statement (kind REFUSED). `understand` may raise ValueError or TypeError: an answer that makes no sense.
        """
        with _Failing(self):
            known = self._known.get(sql)
            data = await self._exchange(sql, timeout, known[0] if known else None)
            if known is not None and data == known[0]:
                meaning: T = known[1]
                return meaning
            meaning = understand(self._answer(data, max_rows))
            if sql in self._known or len(self._known) < REMEMBERED:
                self._known[sql] = (data, meaning)
            return meaning

    async def query(self, sql: str, timeout: float, max_rows: int = 1000) -> list[Row]:
        """All rows of one statement, none for one without a result set. Raises as `ask`."""
        with _Failing(self):
            return self._answer(await self._exchange(sql, timeout, None), max_rows).rows

    async def _exchange(self, sql: str, timeout: float, known: bytes | None) -> bytes:
        """The bytes of the whole answer. Raises TimeoutError, OSError, ValueError, ProtocolViolation."""
        if self.closed:
            raise ConnectionClosed("the connection is closed")
        timer = self._loop.call_later(timeout, self._shut)
        self._asking = True
        try:
            question = frame(b"\x03" + sql.encode())
            if self._send(question) != len(question):
                raise ProtocolViolation("the server does not read what it is asked")
            return await self._receive(known)
        except (OSError, ConnectionClosed):
            if self._late:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
            self._asking = False
            self._pieces.clear()

    def _send(self, question: bytes) -> int:
        # A question is shorter than any socket's buffer, and the one before it has been answered.
        try:
            return self._sock.send(question)
        except BlockingIOError:
            return 0

    async def _receive(self, known: bytes | None) -> bytes:
        data = await self._piece()
        if data == known:
            return data  # an answer says itself where it ends, so this one is whole, too
        scanner = ResponseScanner(0, self._deprecate_eof, False)
        pieces, size, rest = [data], len(data), data
        while True:
            if not data:
                raise ConnectionClosed("the server closed the connection")
            passed, done = scanner.feed(rest)
            if done:
                if passed != len(rest):
                    raise ProtocolViolation("more than one answer")
                return b"".join(pieces)
            if size > REPLY_LIMIT:
                raise ProtocolViolation(f"an answer of more than {REPLY_LIMIT} bytes")
            data = await self._piece()
            pieces.append(data)
            size += len(data)
            rest = rest[passed:] + data

    async def _piece(self) -> bytes:
        while not self._pieces:
            self._waiter = self._loop.create_future()
            await self._waiter
        piece = self._pieces.pop(0)
        if isinstance(piece, OSError):
            raise piece
        return piece

    def _on_readable(self) -> None:
        try:
            piece: bytes | OSError = self._sock.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            piece = error
        if not self._asking:
            self.close()  # it ended while nobody asked, or speaks out of turn, which servers do before they end
            return
        if not piece or isinstance(piece, OSError):
            self._loop.remove_reader(self._sock)
        self._pieces.append(piece)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _answer(self, data: bytes, max_rows: int) -> Answer:
        payloads = [payload for _, payload in split_packets(data)]
        if payloads[-1][:1] == b"\xff":
            error = ErrPacket.parse(payloads[-1])
            raise ServerError(error.errno, error.sqlstate, error.message)
        if payloads[0][:1] == b"\0":
            return Answer([], [])
        columns, _ = read_lenenc_integer(payloads[0])
        first = columns + (1 if self._deprecate_eof else 2)
        found = payloads[first:-1]
        if len(payloads) <= first or len(found) > max_rows:
            raise ProtocolViolation(f"more than {max_rows} rows, or not a result set")
        return Answer(payloads[1 : columns + 1], [_texts(payload, columns) for payload in found])

    def _shut(self) -> None:
        """The deadline has passed: whoever waits for the socket is told that it ended."""
        self._late = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """At once, without COM_QUIT: a server that hangs must not hold us."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._sock)
            self._sock.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class _Failing:
    """Whatever goes wrong inside becomes ServerUnavailable, and ends the connection as `ProbeConnection.ask` says."""

    __slots__ = ("_connection",)

    def __init__(self, connection: ProbeConnection | None = None) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            return
        failure = _failure(error) if isinstance(error, Exception) else None
        if self._connection is not None and (failure is None or failure.kind is not FailureKind.REFUSED):
            self._connection.close()
        if failure is not None:
            raise failure from None


def _texts(payload: bytes, columns: int) -> Row:
    return tuple(None if value is None else value.decode("utf-8", "replace") for value in slice_row(payload, columns))


def _column_name(definition: bytes) -> str:
    """The fifth string of a ColumnDefinition41: after catalog, schema, table, original table."""
    name, offset = b"", 0
    for _ in range(5):
        name, offset = read_lenenc(definition, offset)
    return name.decode("utf-8", "replace")


async def connect(endpoint: Endpoint, timeout: float) -> ProbeConnection:
    """Connects, encrypts as the settings say, logs in, checks the flavour. Raises ServerUnavailable."""
    with _Failing():
        raw = await _logged_in(endpoint, asyncio.get_running_loop().time() + timeout)
        try:
            flavour = checked_flavour(endpoint, raw.server_version)
        except ServerUnavailable:
            raw.sock.close()
            raise
    connection = ProbeConnection(raw, flavour)
    if not raw.status & Status.AUTOCOMMIT:
        try:
            await connection.query("SET autocommit = 1", timeout)
        except BaseException:
            connection.close()
            raise
    return connection


async def _logged_in(endpoint: Endpoint, deadline: float) -> BackendConnection:
    tls = endpoint.tls
    return await connect_backend(
        endpoint.host if endpoint.host.startswith("/") else (endpoint.host, endpoint.port),
        BackendAccount(endpoint.account.user, endpoint.account.password.reveal().encode()),
        BackendTls(TlsMode(tls.mode.value), tls_context(tls, endpoint.tls_minimum), tls.name),
        capabilities=CAPABILITIES,
        attributes={"program_name": PROGRAM_NAME},
        proxied=endpoint.proxied,
        deadline=deadline,
    )


def _failure(error: Exception) -> ServerUnavailable:
    """Whatever the handshake, the socket, ssl or a server's nonsense raised, as one value."""
    match error:
        case ServerUnavailable():
            return error
        case TimeoutError():
            return ServerUnavailable(FailureKind.TIMEOUT, "no answer in time")
        case ServerError():
            return ServerUnavailable(_kind_of(error.errno), error.message, error.errno)
        case TlsFilesError() | TlsRefused() | AuthenticationFailed():
            return ServerUnavailable(FailureKind.INSECURE, str(error))
        case ssl.SSLError():
            return ServerUnavailable(FailureKind.INSECURE, f"TLS: {error}")
        case OSError() | ConnectionClosed():
            return ServerUnavailable(FailureKind.UNREACHABLE, str(error))
        case ProtocolViolation() | MalformedRow():
            return ServerUnavailable(FailureKind.PROTOCOL, str(error))
    return ServerUnavailable(FailureKind.PROTOCOL, f"{type(error).__name__}: not understood")


def _kind_of(errno: int) -> FailureKind:
    if errno in BUSY_ERRNOS:
        return FailureKind.BUSY
    if errno in DENIED_ERRNOS:
        return FailureKind.DENIED
    return FailureKind.UNREACHABLE if errno in LOST_ERRNOS else FailureKind.REFUSED
