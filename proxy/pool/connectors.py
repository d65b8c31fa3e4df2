"""Making one backend connection ready for the relay: to a server of the own region, or to a peer as some user.

A fresh connection is in the *base state* (number 0): its account's defaults, utf8mb4, no database, autocommit
on, and the server reporting every change of session state, so that a change behind our back is seen.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Self

from _speedups.packet import split_packets
from _speedups.scanner import ResponseScanner
from config.settings import Account, ServerTls
from config.words import Flavour
from proxy.mysql.auth.client import BackendAccount
from proxy.mysql.certificates import ClientFiles, TlsMode, client_context
from proxy.mysql.client_handshake import NO_TLS, BackendConnection, BackendTls, connect_backend
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.errors import ProtocolViolation, ServerError
from proxy.mysql.packets.replies import ERR_HEAD, ErrPacket
from proxy.mysql.packets.resultset import parse_text_row
from proxy.mysql.wire import HEADER_SIZE, frame
from proxy.pool.pools import Opened, capabilities_of
from proxy.pool.varstate import Base, base_query
from proxy.sessions.attested import Attested
from proxy.sessions.session import (
    CERTIFICATE_ATTRIBUTE,
    LISTENER_ATTRIBUTE,
    PEER_LOGIN,
    SHARD_ATTRIBUTE,
    USER_ATTRIBUTE,
)
from router.topology import Region, Server

_REPORT = b"SET SESSION character_set_results=utf8mb4, session_track_system_variables='*', session_track_schema=ON, "
REPORT = {
    Flavour.MARIADB: _REPORT + b"session_track_state_change=ON",
    Flavour.MYSQL: _REPORT + b"session_track_state_change=ON, session_track_gtids=OWN_GTID",
}
"""What a server of a shard is told first: report all changes of session state. And columns are described by the
collation with which the results' character set was chosen: the handshake's, until it is set, when it is the default
one of that character set. It is set, so that answers do not depend on what a connection was used for before."""

REPLY_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class Ready:
    """A connection for the relay. `thread_id`: what KILL takes at its other end. `attributes`: it has negotiated query
    attributes."""

    fd: int
    thread_id: int
    base: Base | None
    attributes: bool

    @classmethod
    def of(cls, connection: BackendConnection, base: Base | None) -> Self:
        attributes = bool(connection.capabilities & Capability.QUERY_ATTRIBUTES)
        return cls(connection.sock.detach(), connection.thread_id, base, attributes)


def tls_of(settings: ServerTls) -> BackendTls:
    """The TLS of a shard's servers. Raises TlsFilesError."""
    mode = TlsMode(settings.mode.value)
    if mode is TlsMode.DISABLED:
        return NO_TLS
    context = client_context(ClientFiles(mode, settings.ca, settings.cert, settings.key))
    return BackendTls(mode, context, settings.name)


@dataclass(frozen=True, slots=True)
class ServerConnector:
    """Connects to one server with its shard's account. Seconds."""

    server: Server
    flavour: Flavour
    account: Account
    tls: BackendTls
    timeout: float
    proxied: str | None = None

    async def __call__(self, capability_class: int, want_base: bool) -> Opened:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout
        connection = await connect_backend(
            self.server.target,
            BackendAccount(self.account.user, self.account.password.reveal().encode()),
            self.tls,
            capabilities=capabilities_of(capability_class),
            attributes={"program_name": "fairlead"},
            proxied=self.proxied,
            deadline=deadline,
        )
        try:
            async with asyncio.timeout_at(deadline):
                await command(loop, connection.sock, _query(connection.capabilities, REPORT[self.flavour]))
                base = await read_base(loop, connection, self.flavour) if want_base else None
        except BaseException:
            connection.sock.close()
            raise
        return Ready.of(connection, base)


@dataclass(frozen=True, slots=True)
class PeerConnector:
    """Connects to another region's Fairlead over mutual TLS, on behalf of one user."""

    region: Region
    who: Attested
    shard: str
    flavour: Flavour
    context: ssl.SSLContext
    timeout: float

    async def __call__(self, capability_class: int, want_base: bool) -> Opened:
        peer = self.region.peer
        assert peer is not None
        loop = asyncio.get_running_loop()
        connection = await connect_backend(
            (peer.host, peer.port),
            BackendAccount(PEER_LOGIN),
            BackendTls(TlsMode.VERIFY, self.context, self.region.certificate_names[0]),
            capabilities=capabilities_of(capability_class),
            attributes={
                "program_name": "fairlead",
                USER_ATTRIBUTE: self.who.user,
                SHARD_ATTRIBUTE: self.shard,
                LISTENER_ATTRIBUTE: self.who.listener,
                CERTIFICATE_ATTRIBUTE: self.who.certificate,
            },
            deadline=loop.time() + self.timeout,
        )
        try:
            async with asyncio.timeout(self.timeout):
                base = await read_base(loop, connection, self.flavour) if want_base else None
        except BaseException:
            connection.sock.close()
            raise
        return Ready.of(connection, base)


async def command(loop: asyncio.AbstractEventLoop, sock: socket.socket, payload: bytes) -> None:
    """One command that is answered by one OK. Raises ServerError, ProtocolViolation, OSError."""
    await loop.sock_sendall(sock, frame(payload, 0))
    head = await _exactly(loop, sock, HEADER_SIZE)
    size = int.from_bytes(head[:3], "little")
    if not 0 < size <= REPLY_LIMIT:
        raise ProtocolViolation(f"an answer of {size} bytes to a session setting")
    answer = await _exactly(loop, sock, size)
    if answer[0] == ERR_HEAD:
        error = ErrPacket.parse(answer)
        raise ServerError(error.errno, error.sqlstate, error.message)
    if answer[0] != 0:
        raise ProtocolViolation("a session setting was not answered by OK")


async def read_base(loop: asyncio.AbstractEventLoop, connection: BackendConnection, flavour: Flavour) -> Base:
    """The variables of a fresh connection. Raises ServerError, ProtocolViolation, OSError."""
    sock, capabilities = connection.sock, connection.capabilities
    await loop.sock_sendall(sock, frame(_query(capabilities, base_query(flavour).encode()), 0))
    scanner = ResponseScanner(
        0, bool(capabilities & Capability.DEPRECATE_EOF), bool(capabilities & Capability.SESSION_TRACK)
    )
    data, passed, done = b"", 0, False
    while not done:
        piece = await loop.sock_recv(sock, REPLY_LIMIT)
        if not piece or len(data) > 16 * REPLY_LIMIT:
            raise ProtocolViolation("the server's variables could not be read")
        data += piece
        seen, done = scanner.feed(data[passed:])
        passed += seen
    payloads = [payload for _, payload in split_packets(data)]
    if payloads[0][0] == ERR_HEAD:
        error = ErrPacket.parse(payloads[0])
        raise ServerError(error.errno, error.sqlstate, error.message)
    first = 3 if capabilities & Capability.DEPRECATE_EOF else 4
    rows = [parse_text_row(payload) for payload in payloads[first:-1]]
    return Base.of(flavour, [((name or b"").decode(), (text or b"").decode()) for name, text in rows])


def _query(capabilities: Capability, text: bytes) -> bytes:
    """COM_QUERY, with no attributes."""
    return (b"\x03\x00\x01" if capabilities & Capability.QUERY_ATTRIBUTES else b"\x03") + text


async def _exactly(loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise ProtocolViolation("the server closed the connection")
        data += piece
    return data
