"""The connection phase towards a client, from the greeting to the final OK.

    [PROXY header ->] greeting -> [SSLRequest -> TLS] -> HandshakeResponse41 -> authentication -> admission -> OK

COM_CHANGE_USER goes through the second half again, on a connection that was in use: `change_user`.

A phase that fails raises; the client has then been told by an ERR packet (unless it is gone, broke the
protocol before speaking it, or ran out of time) and the connection is closed. Success is a `ClientIdentity`
whose socket has not one byte read too far and no callback left on the event loop.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from proxy.mysql import proxy_protocol
from proxy.mysql.auth.accounts import Account, Accounts
from proxy.mysql.auth.backoff import Backoff
from proxy.mysql.auth.rsa import RsaKeyPair
from proxy.mysql.auth.scramble import CACHING_SHA2, NATIVE, make_nonce
from proxy.mysql.auth.server import (
    Ask,
    FirstProof,
    NeedDecryption,
    NeedPublicKey,
    Proof,
    Send,
    Step,
    Steps,
    authenticate,
    without_plugins,
)
from proxy.mysql.compression import compressor_of
from proxy.mysql.constants import collations
from proxy.mysql.constants.capabilities import SERVER_CAPABILITIES, Capability
from proxy.mysql.constants.collations import UTF8MB4_GENERAL_CI, Collation, Flavour, Lexing
from proxy.mysql.constants.error_codes import ErrorCode
from proxy.mysql.constants.status import SessionTrack, Status
from proxy.mysql.errors import (
    AuthenticationFailed,
    ConnectionClosed,
    HandshakeRefused,
    MalformedPacket,
    ProtocolViolation,
    TlsRefused,
    WireError,
)
from proxy.mysql.packets.handshake import (
    MAX_HANDSHAKE_COLLATION,
    ChangeUser,
    HandshakeResponse41,
    HandshakeV10,
    SSLRequest,
)
from proxy.mysql.packets.replies import ErrPacket, OkPacket, StateChange
from proxy.mysql.shuttle import Shuttle
from proxy.mysql.sockets import tune
from proxy.mysql.stream import PacketStream
from proxy.mysql.tls import TLSInfo

_ERR_SECONDS: Final = 1.0  # how long a refused client may take to accept its ERR packet
_SHOWN_NAME: Final = 96  # characters of a refused user's name that are logged and sent back


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """Who connected and how it wants to be spoken to; `sock` is non-blocking and the caller's from now on.

    `capabilities` holds nothing that was not announced. `collation` is a known one of the listener's flavour.
    `max_packet` is what the client said, in bytes (0: it said nothing). `local`: it came by a socket of this machine.
    `nonce`: by which the client has proved itself last. `shuttle`: which compresses, between `sock` and the client.
    """

    sock: socket.socket
    user: str
    account: Account
    database: str | None
    capabilities: Capability
    collation: Collation
    attributes: Mapping[str, str]
    max_packet: int
    plugin: str
    peer: str
    tls: TLSInfo | None
    local: bool = False
    nonce: bytes = field(default=b"", repr=False)
    shuttle: Shuttle | None = None


Admit = Callable[[ClientIdentity], Status]


def _admit_everyone(_: ClientIdentity) -> Status:
    return Status.AUTOCOMMIT


@dataclass(frozen=True, slots=True)
class ServerHandshakeConfig:
    """What a listener announces and demands; made anew on reload, in use by running handshakes meanwhile.

    `admit` is asked after authentication and before OK: it returns the status flags of the OK packet or
    raises HandshakeRefused (no right on the database, too many connections).
    `backoff`: makes those wait whose logins fail.
    `proxied_from`: where balancers stand, which begin with a PROXY header.
    `flavour` says which collation ids exist. `default_collation` is a full id; it also stands in for an id
    that the flavour does not know, as in MySQL.
    """

    accounts: Accounts
    server_version: str = "8.0.34-fairlead"
    flavour: Flavour = "mysql"
    default_collation: int = UTF8MB4_GENERAL_CI
    default_plugin: str = CACHING_SHA2
    capabilities: Capability = SERVER_CAPABILITIES
    tls: ssl.SSLContext | None = None
    tls_required: bool = False
    timeout: float = 10.0
    rsa: RsaKeyPair = field(default_factory=RsaKeyPair)
    admit: Admit = _admit_everyone
    backoff: Backoff = field(default_factory=lambda: Backoff(longest=0))
    proxied_from: Sequence[proxy_protocol.Network] = ()

    def __post_init__(self) -> None:
        if self.tls_required and self.tls is None:
            raise ValueError("TLS is required but there is no certificate")
        if self.default_plugin not in (CACHING_SHA2, NATIVE):
            raise ValueError(f"unknown default plugin {self.default_plugin}")
        if collations.by_id(self.default_collation, self.flavour) is None:
            raise ValueError(f"unknown collation id {self.default_collation}")

    @property
    def announced(self) -> Capability:
        """The capability flags of the greeting."""
        return self.capabilities | Capability.SSL if self.tls else self.capabilities & ~Capability.SSL


async def serve_handshake(
    sock: socket.socket,
    config: ServerHandshakeConfig,
    *,
    connection_id: int,
    loop: asyncio.AbstractEventLoop | None = None,
) -> ClientIdentity:
    """Bring an accepted, non-blocking socket through the connection phase. Owns `sock` until it returns.

    `connection_id` (32 bits) is what the client will take as its thread id. Raises:
    ConnectionClosed (left), ProtocolViolation or MalformedPacket (broke the protocol), TlsRefused,
    AuthenticationFailed (told 1045), HandshakeRefused (told what it says), TimeoutError, OSError.
    """
    stream = PacketStream(sock, loop or asyncio.get_running_loop())
    async with _told_why(stream), asyncio.timeout(config.timeout):
        tune(sock)
        peer = await _client_behind(sock, config)
        return await _connection_phase(stream, config, connection_id, peer)


def _welcome(identity: ClientIdentity, status: Status) -> bytes:
    """The login's OK, which tells of the database as USE does."""
    name = identity.database
    changes = (StateChange(SessionTrack.SCHEMA, (name.encode(),)),) if name is not None else ()
    return OkPacket(status=status, changes=changes).build(identity.capabilities)


async def change_user(
    sock: socket.socket, config: ServerHandshakeConfig, login: ClientIdentity, command: bytes
) -> ClientIdentity:
    """Answer a COM_CHANGE_USER, whose bytes behind the command byte are `command`, on the socket of `login`.

    As in MySQL the client proves itself anew, by the nonce it knows, and one that fails is told and disconnected. Owns
    `sock` until it returns; raises as `serve_handshake` does.
    """
    stream = PacketStream.behind_command(sock, asyncio.get_running_loop(), login.tls, local=login.local)
    async with _told_why(stream), asyncio.timeout(config.timeout):
        asked = ChangeUser.parse(command, login.capabilities)
        if asked.plugin is None:
            raise without_plugins()
        collation = login.collation
        if asked.collation is not None:
            collation = _client_collation(asked.collation, config)
        first = FirstProof(asked.plugin, asked.auth, None, login.nonce)
        wanted = replace(
            login, sock=sock, user=_name(asked.user, collation), database=_name_or_none(asked.database, collation),
            collation=collation, attributes=asked.attributes or login.attributes,
        )  # fmt: skip
        identity = await _authenticated(stream, config, wanted, first)
        status = config.admit(identity)
        await stream.write(_welcome(identity, status))
        return identity


@contextlib.asynccontextmanager
async def _told_why(stream: PacketStream) -> AsyncIterator[None]:
    """Whoever fails is told, as far as the protocol allows, and disconnected."""
    try:
        yield
    except (AuthenticationFailed, HandshakeRefused, MalformedPacket, ProtocolViolation) as error:
        await _tell(stream, error)
        stream.close()
        raise
    except BaseException:
        stream.close()
        raise


async def _client_behind(sock: socket.socket, config: ServerHandshakeConfig) -> str:
    """The client's address: a balancer says it, else the socket."""
    peer = _peer_name(sock)
    if not proxy_protocol.is_from(config.proxied_from, peer):
        return peer
    return await proxy_protocol.read_header(sock) or peer


async def _connection_phase(
    stream: PacketStream, config: ServerHandshakeConfig, connection_id: int, peer: str
) -> ClientIdentity:
    nonce = make_nonce()
    await stream.write(_greeting(config, connection_id, nonce).build())
    response = await _read_response(stream, config)
    collation = _client_collation(response.collation, config)
    user = _name(response.user, collation)
    wanted = ClientIdentity(
        sock=stream.sock,
        user=user,
        account=config.accounts.find(user),
        database=_name_or_none(response.database, collation),
        capabilities=response.capabilities & config.announced,
        collation=collation,
        attributes=response.attributes,
        max_packet=response.max_packet,
        plugin="",
        peer=peer,
        tls=stream.tls,
        local=stream.local,
    )
    first = FirstProof(response.plugin, response.auth, config.default_plugin, nonce)
    identity = await _authenticated(stream, config, wanted, first)
    status = config.admit(identity)
    await stream.write(_welcome(identity, status))
    compressor = compressor_of(identity.capabilities, response.zstd_level)
    if compressor is None:
        return identity
    shuttle = stream.compress(compressor)
    return replace(identity, sock=stream.sock, shuttle=shuttle)


async def _authenticated(
    stream: PacketStream, config: ServerHandshakeConfig, wanted: ClientIdentity, first: FirstProof
) -> ClientIdentity:
    """`wanted`, once it is proved. Raises AuthenticationFailed, HandshakeRefused."""
    config.backoff.check(wanted.user, wanted.peer)
    account = config.accounts.find(wanted.user)
    steps = authenticate(account, first, secure=stream.secure, proven=config.accounts.proven)
    try:
        proof = await _drive(steps, stream, config.rsa)
        _check_channel(account, stream)
    except AuthenticationFailed as error:
        config.backoff.failed(wanted.user, wanted.peer)
        raise _Denied(wanted.user, wanted.peer, first.response, error) from error
    config.backoff.succeeded(wanted.user, wanted.peer)
    return replace(wanted, account=account, plugin=proof.plugin, nonce=proof.nonce)


def _name(raw: bytes, collation: Collation) -> str:
    return raw.decode(collation.codec, "surrogateescape")


def _name_or_none(raw: bytes | None, collation: Collation) -> str | None:
    return None if raw is None else _name(raw, collation)


def _greeting(config: ServerHandshakeConfig, connection_id: int, nonce: bytes) -> HandshakeV10:
    return HandshakeV10(
        server_version=config.server_version,
        thread_id=connection_id & 0xFFFFFFFF,
        nonce=nonce,
        capabilities=config.announced,
        collation=_announced_collation(config),
        status=Status.AUTOCOMMIT,
        plugin=config.default_plugin,
    )


def _announced_collation(config: ServerHandshakeConfig) -> int:
    """The default collation if its id fits the greeting's byte, else its character set's first one."""
    number = config.default_collation
    if number <= MAX_HANDSHAKE_COLLATION:
        return number
    collation = collations.by_id(number, config.flavour)
    fallback = None if collation is None else collations.default_of(collation.charset)
    return fallback or UTF8MB4_GENERAL_CI


async def _read_response(stream: PacketStream, config: ServerHandshakeConfig) -> HandshakeResponse41:
    payload = await stream.read()
    if SSLRequest.parse(payload) is not None:
        if config.tls is None:
            raise ProtocolViolation("the client starts TLS, which was not offered")
        await stream.accept_tls(config.tls)
        payload = await stream.read()
    response = HandshakeResponse41.parse(payload)
    if config.tls_required and not stream.secure:
        raise HandshakeRefused(
            ErrorCode.SECURE_TRANSPORT_REQUIRED,
            "Connections using insecure transport are prohibited; connect with TLS",
        )
    return response


def _client_collation(number: int, config: ServerHandshakeConfig) -> Collation:
    collation = collations.by_id(number, config.flavour)
    if collation is None:
        collation = collations.by_id(config.default_collation, config.flavour)
        assert collation is not None  # the configuration's constructor has looked it up
    if collation.lexing is Lexing.FORBIDDEN:
        raise HandshakeRefused(
            ErrorCode.WRONG_VALUE_FOR_VAR,
            f"Variable 'character_set_client' can't be set to the value of '{collation.charset}'",
        )
    return collation


async def _drive(steps: Steps, stream: PacketStream, rsa: RsaKeyPair) -> Proof:
    """Carry out the steps of an authentication."""
    try:
        step = next(steps)
        while True:
            step = steps.send(await _carry_out(step, stream, rsa))
    except StopIteration as finished:
        assert isinstance(finished.value, Proof)
        return finished.value


async def _carry_out(step: Step, stream: PacketStream, rsa: RsaKeyPair) -> bytes:
    match step:
        case Send(payload):
            await stream.write(payload)
            return b""
        case Ask(payload):
            await stream.write(payload)
            return await stream.read()
        case NeedPublicKey():
            return await rsa.public_pem()
        case NeedDecryption(ciphertext):
            return await rsa.decrypt(ciphertext)


def _check_channel(account: Account, stream: PacketStream) -> None:
    """What an account demands of the connection besides the password."""
    if account.require_tls and stream.tls is None:
        raise AuthenticationFailed("the account requires TLS")
    if account.certificate_names is not None:
        names = stream.tls.names if stream.tls is not None else frozenset()
        if not names & account.certificate_names:
            raise AuthenticationFailed("the client's certificate carries none of the account's names")


class _Denied(AuthenticationFailed):
    """The reason for the log, and the text for the client, which says less."""

    def __init__(self, user: str, peer: str, response: bytes, reason: AuthenticationFailed) -> None:
        shown = user.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:_SHOWN_NAME]
        super().__init__(f"user {shown!r} from {peer}: {reason}")
        used = "YES" if response else "NO"
        self.wire = f"Access denied for user '{shown}'@'{peer}' (using password: {used})"


async def _tell(stream: PacketStream, error: WireError) -> None:
    """Send the ERR packet that goes with the failure, if the client still takes it."""
    match error:
        case _Denied():
            refusal = HandshakeRefused(ErrorCode.ACCESS_DENIED_ERROR, error.wire)
        case HandshakeRefused():
            refusal = error
        case _:
            refusal = HandshakeRefused(ErrorCode.HANDSHAKE_ERROR, "Bad handshake")
    packet = ErrPacket(refusal.errno, refusal.sqlstate, refusal.message).build()
    with contextlib.suppress(OSError, TimeoutError, ConnectionClosed, TlsRefused):
        async with asyncio.timeout(_ERR_SECONDS):
            await stream.write(packet)


def _peer_name(sock: socket.socket) -> str:
    """The client's address for messages: an IP address, or "localhost" for a local socket."""
    if sock.family == socket.AF_UNIX:
        return "localhost"
    try:
        return str(sock.getpeername()[0]).removeprefix("::ffff:")
    except OSError:
        return "unknown"
