"""The connection phase towards a server: from a TCP connection to a backend that is ready for commands."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.mysql.auth.client import BackendAccount, ClientAuthentication
from proxy.mysql.certificates import TlsMode
from proxy.mysql.constants.capabilities import BACKEND_CAPABILITIES, Capability
from proxy.mysql.constants.collations import UTF8MB4_GENERAL_CI, Flavour
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import ProtocolViolation, ServerError, TlsRefused
from proxy.mysql.packets.handshake import (
    MAX_HANDSHAKE_COLLATION,
    HandshakeResponse41,
    HandshakeV10,
    SSLRequest,
)
from proxy.mysql.packets.replies import ERR_HEAD, ErrPacket, OkPacket
from proxy.mysql.proxy_protocol import header
from proxy.mysql.sockets import tune
from proxy.mysql.stream import PacketStream
from proxy.mysql.tls import TLSInfo

Address = tuple[str, int] | str  # host and port, or the path of a Unix socket

# Without these the response cannot be laid out or the login cannot be proved.
_NEEDED: Final = Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION | Capability.PLUGIN_AUTH

# Servers cut a statement by their own max_allowed_packet; this is only what we say we accept.
_MAX_PACKET: Final = 1 << 30

# MariaDB announces itself to old replication clients as 5.5.5.
_MARIADB_PREFIX: Final = "5.5.5-"


@dataclass(frozen=True, slots=True)
class BackendTls:
    """How a server's TLS is used. `server_name`: what its certificate names, if not the address's host."""

    mode: TlsMode = TlsMode.DISABLED
    context: ssl.SSLContext | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.mode is TlsMode.DISABLED) != (self.context is None):
            raise ValueError("a context is needed exactly when TLS is not disabled")


NO_TLS: Final = BackendTls()


@dataclass(frozen=True, slots=True)
class BackendConnection:
    """A server connection after its OK; `sock` is non-blocking and plain, and the caller's from now on."""

    sock: socket.socket
    thread_id: int
    server_version: str
    flavour: Flavour
    capabilities: Capability
    status: Status
    collation: int
    tls: TLSInfo | None


async def connect_backend(
    address: Address,
    account: BackendAccount,
    tls: BackendTls = NO_TLS,
    *,
    capabilities: Capability = BACKEND_CAPABILITIES,
    database: str | None = None,
    collation: int = UTF8MB4_GENERAL_CI,
    attributes: Mapping[str, str] | None = None,
    proxied: str | None = None,
    deadline: float,
    loop: asyncio.AbstractEventLoop | None = None,
) -> BackendConnection:
    """Connect and log in. `deadline` is a time of the event loop's clock; `collation` an id up to 255. `proxied`: what
    a PROXY protocol header is to say, `local` or an address; None sends none.

    `capabilities` is what we can handle; the connection's are those of them that the server has too.
    Raises TimeoutError, OSError (cannot connect), ServerError (refused by the server), AuthenticationFailed
    (refused by us), TlsRefused, MalformedPacket, ProtocolViolation, ConnectionClosed. Nothing stays open.
    """
    if collation > MAX_HANDSHAKE_COLLATION:
        raise ValueError(f"collation id {collation} does not fit the handshake")
    loop = loop or asyncio.get_running_loop()
    async with asyncio.timeout_at(deadline):
        stream = PacketStream(await _connect(loop, address), loop)
        try:
            if proxied is not None:
                await loop.sock_sendall(stream.sock, header(proxied, stream.sock))
            login = _Login(stream, address, account, tls, attributes or {}, collation, database)
            return await login.run(capabilities)
        except BaseException:
            stream.close()
            raise


class _Login:
    """One connection's way from the greeting to OK."""

    def __init__(
        self,
        stream: PacketStream,
        address: Address,
        account: BackendAccount,
        tls: BackendTls,
        attributes: Mapping[str, str],
        collation: int,
        database: str | None,
    ) -> None:
        self._stream = stream
        self._address = address
        self._account = account
        self._tls = tls
        self._attributes = attributes
        self._collation = collation
        self._database = database

    async def run(self, wanted: Capability) -> BackendConnection:
        greeting = await self._read_greeting()
        capabilities = self._negotiate(wanted, greeting.capabilities)
        if capabilities & Capability.SSL:
            await self._start_tls(capabilities)
        ok = await self._authenticate(greeting, capabilities)
        version = greeting.server_version.removeprefix(_MARIADB_PREFIX)
        return BackendConnection(
            sock=self._stream.sock,
            thread_id=greeting.thread_id,
            server_version=version,
            flavour="mariadb" if "mariadb" in version.lower() else "mysql",
            capabilities=capabilities,
            status=ok.status,
            collation=self._collation,
            tls=self._stream.tls,
        )

    async def _read_greeting(self) -> HandshakeV10:
        payload = await self._stream.read()
        if payload[:1] == bytes((ERR_HEAD,)):  # too many connections, host blocked
            error = ErrPacket.parse(payload)
            raise ServerError(error.errno, error.sqlstate, error.message)
        return HandshakeV10.parse(payload)

    def _negotiate(self, wanted: Capability, offered: Capability) -> Capability:
        missing = _NEEDED & ~offered
        if missing:
            raise ProtocolViolation(f"the server lacks {missing.name}")
        wanted |= _NEEDED
        wanted &= ~(Capability.SSL | Capability.CONNECT_WITH_DB)
        if self._database is not None:
            wanted |= Capability.CONNECT_WITH_DB
        if self._tls.mode is not TlsMode.DISABLED:
            if offered & Capability.SSL:
                wanted |= Capability.SSL
            elif self._tls.mode is not TlsMode.PREFERRED:
                raise TlsRefused("TLS is required and the server does not offer it")
        return wanted & offered

    async def _start_tls(self, capabilities: Capability) -> None:
        context = self._tls.context
        assert context is not None  # the constructor of BackendTls has checked
        await self._stream.write(SSLRequest(capabilities, _MAX_PACKET, self._collation).build())
        host = self._address[0] if isinstance(self._address, tuple) else None
        await self._stream.start_tls(context, self._tls.server_name or host)

    async def _authenticate(self, greeting: HandshakeV10, capabilities: Capability) -> OkPacket:
        stream = self._stream
        exchange = ClientAuthentication(self._account, secure=stream.secure, tls=stream.tls is not None)
        plugin, proof = exchange.first_proof(greeting.plugin, greeting.nonce)
        response = HandshakeResponse41(
            capabilities=capabilities,
            max_packet=_MAX_PACKET,
            collation=self._collation,
            user=self._account.user.encode(),
            auth=proof,
            database=None if self._database is None else self._database.encode(),
            plugin=plugin,
            attributes=self._attributes,
        )
        await stream.write(response.build())
        while True:
            answer = exchange.receive(await stream.read(), capabilities)
            if isinstance(answer, OkPacket):
                return answer
            if answer is not None:
                await stream.write(answer)


async def _connect(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    """A connected, non-blocking socket; of a host with several addresses the first that answers."""
    if isinstance(address, str):
        return await _open(loop, socket.AF_UNIX, address)
    host, port = address
    failure: OSError | None = None
    for family, _, _, _, target in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return await _open(loop, family, target)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{host} has no address")


async def _open(loop: asyncio.AbstractEventLoop, family: int, target: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        tune(sock)
        await loop.sock_connect(sock, target)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock
