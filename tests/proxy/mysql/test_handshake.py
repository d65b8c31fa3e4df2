"""Our server's and our client's connection phase joined back to back over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from proxy.mysql.auth.accounts import Account, Accounts, Verifier
from proxy.mysql.auth.client import BackendAccount
from proxy.mysql.auth.rsa import RsaKeyPair
from proxy.mysql.auth.scramble import CACHING_SHA2, NATIVE, native_scramble, sha256_scramble
from proxy.mysql.certificates import TlsMode
from proxy.mysql.client_handshake import NO_TLS, BackendConnection, BackendTls, connect_backend
from proxy.mysql.constants.capabilities import (
    BACKEND_CAPABILITIES,
    PEER_SERVER_CAPABILITIES,
    SERVER_CAPABILITIES,
    Capability,
)
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import (
    AuthenticationFailed,
    ConnectionClosed,
    HandshakeRefused,
    MalformedPacket,
    ProtocolViolation,
    ServerError,
    TlsRefused,
)
from proxy.mysql.packets import (
    AuthSwitchRequest,
    ErrPacket,
    HandshakeResponse41,
    HandshakeV10,
    OkPacket,
    SSLRequest,
)
from proxy.mysql.server_handshake import ClientIdentity, ServerHandshakeConfig, serve_handshake
from proxy.mysql.stream import PacketStream
from proxy.mysql.tls import shuttle_client
from proxy.mysql.wire import frame
from tests.proxy.mysql.helpers import Certificates, both, run, tcp_pair

PASSWORD = b"s3cret \xc3\xa9"
STORED = {
    "password": Verifier.of_password(PASSWORD),
    "sha256": Verifier.of_sha256(Verifier.of_password(PASSWORD).sha256.hex()),  # type: ignore[union-attr]
    "native": Verifier.of_native("*" + Verifier.of_password(PASSWORD).native.hex()),  # type: ignore[union-attr]
}


@dataclass
class Outcome:
    server: ClientIdentity | BaseException
    client: BackendConnection | BaseException

    def close(self) -> None:
        for end in (self.server, self.client):
            if not isinstance(end, BaseException):
                end.sock.close()

    @property
    def identity(self) -> ClientIdentity:
        assert isinstance(self.server, ClientIdentity), repr(self.server)
        return self.server

    @property
    def backend(self) -> BackendConnection:
        assert isinstance(self.client, BackendConnection), repr(self.client)
        return self.client


async def meet(
    config: ServerHandshakeConfig, account: BackendAccount, tls: BackendTls = NO_TLS, **options: object
) -> Outcome:
    """One client against one server, both ours."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        async def serve() -> ClientIdentity:
            sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            return await serve_handshake(sock, config, connection_id=77)

        client = connect_backend(
            listener.getsockname(),
            account,
            tls,
            deadline=loop.time() + 10,
            **options,  # type: ignore[arg-type]
        )
        return Outcome(*await both(serve(), client))


def accounts(stored: str = "password", plugins: tuple[str, ...] = (CACHING_SHA2, NATIVE)) -> Accounts:
    return Accounts([Account("ann", STORED[stored], plugins)])


ANN = BackendAccount("ann", PASSWORD)
MATRIX = [
    (stored, plugins, default, tls)
    for stored, plugins, default, tls in itertools.product(
        STORED,
        [(CACHING_SHA2,), (NATIVE,), (CACHING_SHA2, NATIVE), (NATIVE, CACHING_SHA2)],
        [CACHING_SHA2, NATIVE],
        [False, True],
    )
    if not (stored == "sha256" and plugins == (NATIVE,))  # refused by Account itself
]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize(("stored", "plugins", "default", "tls"), MATRIX)
def test_every_way_in_accepts_the_right_password_and_no_other(
    stored: str,
    plugins: tuple[str, ...],
    default: str,
    tls: bool,
    loop: str,
    certificates: Certificates,
) -> None:
    async def main() -> None:
        config = ServerHandshakeConfig(
            accounts(stored, plugins),
            default_plugin=default,
            tls=certificates.server if tls else None,
        )
        way = certificates.client() if tls else NO_TLS
        wrong = replace(ANN, password=b"guess")
        for _ in range(2):  # the second time a full exchange has left its trace
            for account in (wrong, ANN, replace(ANN, password=b""), replace(ANN, user="bob")):
                outcome = await meet(config, account, way)
                if account is ANN:
                    assert outcome.identity.user == "ann"
                    assert outcome.identity.plugin in plugins
                    assert outcome.backend.thread_id == 77
                    assert (outcome.identity.tls is not None) is tls
                else:
                    assert isinstance(outcome.server, AuthenticationFailed)
                    assert isinstance(outcome.client, ServerError)
                    assert (outcome.client.errno, outcome.client.sqlstate) == (1045, "28000")
                outcome.close()

    run(main(), loop)


def plain_config(**changes: object) -> ServerHandshakeConfig:
    return replace(ServerHandshakeConfig(accounts()), **changes)  # type: ignore[arg-type]


def test_the_identity_tells_what_the_client_said() -> None:
    async def main() -> None:
        outcome = await meet(
            plain_config(),
            ANN,
            capabilities=BACKEND_CAPABILITIES | Capability.FOUND_ROWS | Capability.DEPRECATE_EOF,
            database="shöp",
            collation=28,  # gbk_chinese_ci: what is sent as UTF-8 is decoded as the client's set says
            attributes={"_client_name": "tests", "program_name": "x" * 300},
        )
        identity = outcome.identity
        assert identity.database is not None
        assert identity.database.encode("gbk", "surrogateescape") == "shöp".encode()
        assert identity.collation.name == "gbk_chinese_ci"
        assert identity.attributes == {"_client_name": "tests", "program_name": "x" * 300}
        assert identity.capabilities & Capability.FOUND_ROWS
        assert identity.max_packet == 1 << 30
        assert identity.peer == "127.0.0.1"
        outcome.close()

    run(main())


def test_capabilities_are_those_both_sides_named() -> None:
    async def main() -> None:
        everything = Capability(0xFFFFFFFF) & ~(Capability.SSL | Capability.COMPRESS)
        outcome = await meet(plain_config(), ANN, capabilities=everything, database="shop")
        assert outcome.identity.capabilities == SERVER_CAPABILITIES
        assert outcome.backend.capabilities == SERVER_CAPABILITIES
        outcome.close()

    run(main())


def test_the_ok_packet_carries_the_flags_that_admission_returned() -> None:
    async def main() -> None:
        flags = Status.AUTOCOMMIT | Status.NO_BACKSLASH_ESCAPES
        outcome = await meet(plain_config(admit=lambda _: flags), ANN)
        assert outcome.backend.status == flags
        outcome.close()

    run(main())


def test_a_refusal_by_admission_reaches_the_client_in_full() -> None:
    def admit(identity: ClientIdentity) -> Status:
        raise HandshakeRefused(1044, f"Access denied for user '{identity.user}' to database 'x'")

    async def main() -> None:
        outcome = await meet(plain_config(admit=admit), ANN, database="x")
        assert isinstance(outcome.server, HandshakeRefused)
        assert isinstance(outcome.client, ServerError)
        assert (outcome.client.errno, outcome.client.sqlstate) == (1044, "42000")
        assert outcome.client.message == "Access denied for user 'ann' to database 'x'"

    run(main())


def test_tls_required_refuses_a_client_without(certificates: Certificates) -> None:
    async def main() -> None:
        config = plain_config(tls=certificates.server, tls_required=True)
        outcome = await meet(config, ANN)
        assert isinstance(outcome.client, ServerError)
        assert outcome.client.errno == 3159
        outcome = await meet(config, ANN, certificates.client())
        assert outcome.identity.tls is not None
        outcome.close()

    run(main())


@pytest.mark.parametrize(
    ("mode", "offered", "expected"),
    [
        (TlsMode.PREFERRED, False, False),
        (TlsMode.PREFERRED, True, True),
        (TlsMode.REQUIRED, False, None),
        (TlsMode.REQUIRED, True, True),
        (TlsMode.VERIFY, False, None),
        (TlsMode.VERIFY, True, True),
    ],
)
def test_a_backend_is_reached_as_its_tls_mode_says(
    mode: TlsMode, offered: bool, expected: bool | None, certificates: Certificates
) -> None:
    async def main() -> None:
        config = plain_config(tls=certificates.server if offered else None)
        outcome = await meet(config, ANN, certificates.client(mode))
        if expected is None:
            assert isinstance(outcome.client, TlsRefused)
            assert isinstance(outcome.server, ConnectionClosed)
        else:
            assert (outcome.backend.tls is not None) is expected
        outcome.close()

    run(main())


def test_verify_refuses_another_name_and_another_authority(certificates: Certificates, tmp_path: Path) -> None:
    async def main() -> None:
        config = plain_config(tls=certificates.server)
        named = replace(certificates.client(TlsMode.VERIFY), server_name="other.test")
        stranger = Certificates.make(tmp_path).client(TlsMode.VERIFY)
        for tls in (named, stranger):
            outcome = await meet(config, ANN, tls)
            assert isinstance(outcome.client, TlsRefused)
            assert isinstance(outcome.server, TlsRefused)

    run(main())


def test_a_client_certificate_is_an_identity(certificates: Certificates) -> None:
    empty = Verifier.of_password(b"")
    peers = Accounts([Account("peer", empty, certificate_names=frozenset({"us"}))])

    async def main() -> None:
        config = replace(plain_config(tls=certificates.mutual, tls_required=True), accounts=peers)
        peer = BackendAccount("peer")
        outcome = await meet(config, peer, certificates.client(name="us"), attributes={"fairlead_user": "ann"})
        assert outcome.identity.tls is not None
        assert outcome.identity.tls.common_name == "us"
        assert "us" in outcome.identity.tls.alternative_names
        assert outcome.identity.attributes["fairlead_user"] == "ann"
        outcome.close()
        outcome = await meet(config, peer, certificates.client(name="cn"))
        assert isinstance(outcome.client, ServerError)
        assert outcome.client.errno == 1045
        outcome = await meet(config, peer, certificates.client())  # none at all
        assert isinstance(outcome.server, TlsRefused)

    run(main())


def test_session_tracking_is_for_listeners_that_say_so() -> None:
    async def main() -> None:
        outcome = await meet(plain_config(capabilities=PEER_SERVER_CAPABILITIES), ANN)
        assert outcome.backend.capabilities & Capability.SESSION_TRACK
        outcome.close()

    run(main())


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("stored", STORED)
def test_an_unknown_user_sees_what_a_wrong_password_sees(
    stored: str, tls: bool, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packets of both directions have the same sizes, whoever asks."""
    sent: list[int] = []
    write = PacketStream.write

    async def spy(self: PacketStream, payload: bytes) -> None:
        sent.append(len(payload))
        await write(self, payload)

    async def main() -> None:
        seen = []
        guess = replace(ANN, password=b"guess")
        for account in (guess, replace(guess, user="bob")):
            config = replace(plain_config(tls=certificates.server if tls else None), accounts=accounts(stored))
            sent.clear()
            outcome = await meet(config, account, certificates.client() if tls else NO_TLS)
            assert isinstance(outcome.client, ServerError)
            seen.append((list(sent), outcome.client.message.replace(account.user, "?")))
        assert seen[0] == seen[1]

    monkeypatch.setattr(PacketStream, "write", spy)
    run(main())


def test_a_full_exchange_is_needed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A native hash serves caching_sha2_password too: one login proves the password, the next are fast."""
    decrypted = []
    decrypt = RsaKeyPair.decrypt

    async def spy(self: RsaKeyPair, ciphertext: bytes) -> bytes:
        decrypted.append(len(ciphertext))
        return await decrypt(self, ciphertext)

    monkeypatch.setattr(RsaKeyPair, "decrypt", spy)

    async def main() -> None:
        config = replace(plain_config(), accounts=accounts("native", (CACHING_SHA2,)))
        for _ in range(3):
            outcome = await meet(config, ANN)
            assert outcome.identity.plugin == CACHING_SHA2
            outcome.close()
        assert decrypted == [256]
        config = replace(config, accounts=Accounts([], proven=config.accounts.proven))
        outcome = await meet(config, ANN)
        assert isinstance(outcome.server, AuthenticationFailed)

    run(main())


def test_the_public_key_is_pinned_or_asked_for_or_the_login_is_refused() -> None:
    async def main() -> None:
        config = replace(plain_config(), accounts=accounts("native", (CACHING_SHA2,)))
        pem = await config.rsa.public_pem()
        refused = replace(ANN, allow_public_key_retrieval=False)
        outcome = await meet(config, refused)
        assert isinstance(outcome.client, AuthenticationFailed)
        foreign = await RsaKeyPair().public_pem()
        outcome = await meet(config, replace(refused, public_key=foreign))
        assert isinstance(outcome.client, ServerError)
        outcome = await meet(config, replace(refused, public_key=pem))
        assert outcome.identity.user == "ann"
        outcome.close()

    run(main())


class Scripted:
    """A client whose every packet the test writes."""

    def __init__(self, config: ServerHandshakeConfig) -> None:
        self.server_sock, client = tcp_pair()
        self.stream = PacketStream(client, asyncio.get_running_loop())
        self.task = asyncio.create_task(serve_handshake(self.server_sock, config, connection_id=1))

    async def greeting(self) -> HandshakeV10:
        return HandshakeV10.parse(await self.stream.read())

    async def error(self) -> ErrPacket:
        return ErrPacket.parse(await self.stream.read())

    async def failure(self) -> BaseException:
        (result,) = await asyncio.gather(self.task, return_exceptions=True)
        assert isinstance(result, BaseException), result
        assert self.server_sock.fileno() == -1  # closed
        self.stream.sock.close()
        return result


def response(greeting: HandshakeV10, **changes: object) -> HandshakeResponse41:
    base = HandshakeResponse41(
        SERVER_CAPABILITIES & ~Capability.CONNECT_WITH_DB,
        1 << 24,
        45,
        b"ann",
        sha256_scramble(PASSWORD, greeting.nonce),
        plugin=CACHING_SHA2,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_client_that_knows_no_plugins_may_use_the_native_one() -> None:
    old = SERVER_CAPABILITIES & ~(
        Capability.PLUGIN_AUTH | Capability.PLUGIN_AUTH_LENENC | Capability.CONNECT_ATTRS | Capability.CONNECT_WITH_DB
    )

    async def main() -> None:
        for plugins, errno in (((CACHING_SHA2, NATIVE), None), ((CACHING_SHA2,), 1251)):
            script = Scripted(replace(plain_config(), accounts=accounts("password", plugins)))
            greeting = await script.greeting()
            proof = native_scramble(PASSWORD, greeting.nonce)
            packet = response(greeting, capabilities=old, auth=proof, plugin=None)
            await script.stream.write(packet.build())
            if errno is None:
                identity = await script.task
                assert identity.plugin == NATIVE
                identity.sock.close()
                script.stream.sock.close()
            else:
                assert (await script.error()).errno == errno
                assert isinstance(await script.failure(), HandshakeRefused)

    run(main())


def test_a_character_set_that_cannot_carry_ascii_is_refused() -> None:
    async def main() -> None:
        script = Scripted(plain_config())
        packet = response(await script.greeting(), collation=35)  # ucs2_general_ci
        await script.stream.write(packet.build())
        error = await script.error()
        assert error.errno == 1231
        assert "'ucs2'" in error.message
        assert isinstance(await script.failure(), HandshakeRefused)

    run(main())


def test_an_unknown_collation_id_means_the_listeners_default() -> None:
    async def main() -> None:
        script = Scripted(plain_config(default_collation=224))
        await script.stream.write(response(await script.greeting(), collation=250 + 2).build())
        identity = await script.task
        assert identity.collation.name == "utf8mb4_unicode_ci"
        identity.sock.close()
        script.stream.sock.close()

    run(main())


def test_a_default_collation_beyond_the_greetings_byte() -> None:
    """MariaDB's UCA 14.0.0 ids need two bytes; the greeting has one, clients without a wish get the real one."""

    async def main() -> None:
        config = plain_config(flavour="mariadb", default_collation=2304)
        script = Scripted(config)
        greeting = await script.greeting()
        assert greeting.collation == 45
        await script.stream.write(response(greeting, collation=0).build())
        identity = await script.task
        assert identity.collation.name == "utf8mb4_uca1400_ai_ci"
        identity.sock.close()
        script.stream.sock.close()
        with pytest.raises(ValueError, match="2304"):
            await connect_backend("/nowhere", ANN, collation=2304, deadline=0)

    run(main())


def test_a_proof_for_another_plugin_than_the_greetings_is_asked_for_again() -> None:
    async def main() -> None:
        script = Scripted(plain_config())
        greeting = await script.greeting()
        await script.stream.write(response(greeting, auth=b"", plugin=NATIVE).build())
        switch = AuthSwitchRequest.parse(await script.stream.read())
        assert switch.plugin == NATIVE
        assert switch.data != greeting.nonce
        await script.stream.write(native_scramble(PASSWORD, switch.data))
        identity = await script.task
        assert identity.plugin == NATIVE
        identity.sock.close()
        script.stream.sock.close()

    run(main())


BAD_RESPONSES = {
    "empty": b"",
    "protocol 3.20": bytes.fromhex("85240000 00000061 6e6e0000"),
    "cut": bytes.fromhex("85a6ff01 00000001 2d") + bytes(23) + b"ann",
    "user without NUL": bytes.fromhex("85a6ff01 00000001 2d") + bytes(23) + b"a" * 40,
    "proof longer than the packet": bytes.fromhex("85a63f00 00000001 2d") + bytes(23) + b"ann\0\xfc\xff\xff",
    "TLS where none was offered": bytes.fromhex("05ae0300 00000001 08") + bytes(23),
}


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_a_malformed_response_is_a_bad_handshake(name: str) -> None:
    async def main() -> None:
        script = Scripted(plain_config())
        await script.greeting()
        await script.stream.write(BAD_RESPONSES[name])
        assert (await script.error()).errno == 1043
        assert isinstance(await script.failure(), (MalformedPacket, ProtocolViolation))

    run(main())


def test_packets_out_of_order_and_packets_too_large_are_refused() -> None:
    async def main() -> None:
        for header in (b"\x01\0\0\x07", b"\x01\x00\x01\x01", b"\xff\xff\xff\x01"):
            script = Scripted(plain_config())
            await script.greeting()
            await asyncio.get_running_loop().sock_sendall(script.stream.sock, header)
            assert isinstance(await script.failure(), ProtocolViolation)

    run(main())


def test_a_client_that_leaves_or_says_nothing_ends_the_handshake() -> None:
    async def main() -> None:
        script = Scripted(plain_config())
        await script.greeting()
        script.stream.sock.close()
        assert isinstance(await script.failure(), ConnectionClosed)
        script = Scripted(plain_config(timeout=0.05))
        assert isinstance(await script.failure(), TimeoutError)

    run(main())


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("tls", [False, True])
def test_a_reset_ends_the_handshake(tls: bool, loop: str, certificates: Certificates) -> None:
    async def main() -> None:
        script = Scripted(plain_config(tls=certificates.server))
        await script.greeting()
        if tls:
            await script.stream.write(SSLRequest(SERVER_CAPABILITIES, 1 << 24, 45).build())
            await asyncio.sleep(0.01)  # into the TLS handshake or not: both must hold
        script.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        script.stream.sock.close()
        assert isinstance(await script.failure(), (OSError, ConnectionClosed, TlsRefused))

    run(main(), loop)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("tls", [False, True])
def test_what_follows_the_response_is_left_in_the_socket(tls: bool, loop: str, certificates: Certificates) -> None:
    """A client may send its first command with its proof; SSLRequest may bring the ClientHello along."""
    command = frame(b"\x03SELECT 1", 0)

    async def main() -> None:
        script = Scripted(plain_config(tls=certificates.server))
        greeting = await script.greeting()
        stream = script.stream
        running = asyncio.get_running_loop()
        if tls:
            # Hold SSLRequest back until the ClientHello is there, so that both arrive in one segment.
            held = stream.sock
            hello_end, tls_end = socket.socketpair()
            for sock in (hello_end, tls_end):
                sock.setblocking(False)
            context = certificates.client().context
            assert context is not None
            starting = asyncio.create_task(shuttle_client(running, tls_end, context, None))
            hello = await running.sock_recv(hello_end, 65536)
            request = frame(SSLRequest(SERVER_CAPABILITIES, 1 << 24, 45).build(), 1)
            await running.sock_sendall(held, request + hello)
            pumps = [asyncio.create_task(pump(held, hello_end)), asyncio.create_task(pump(hello_end, held))]
            stream.sock, _ = await starting
        proof = frame(response(greeting).build(), 2 if tls else 1)
        await running.sock_sendall(stream.sock, proof + command)
        identity = await script.task
        assert identity.tls is not None or not tls
        assert await running.sock_recv(identity.sock, 65536) == command
        identity.sock.close()
        stream.sock.close()
        if tls:
            await asyncio.gather(*pumps)
            held.close()
            hello_end.close()

    run(main(), loop)


async def pump(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(source, 65536):
            await loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("stored", STORED)
def test_any_cut_of_the_bytes_gives_the_same_outcome(stored: str, tls: bool, certificates: Certificates) -> None:
    """One byte at a time, and at random places, in both directions."""
    cuts = [itertools.repeat(1), iter(random.Random(7).choices(range(1, 90), k=20_000))]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        config = replace(plain_config(tls=certificates.server if tls else None), accounts=accounts(stored))
        for sizes in cuts:
            server, near_server = tcp_pair()
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.setblocking(False)
                client = asyncio.create_task(
                    connect_backend(
                        listener.getsockname(),
                        ANN,
                        certificates.client() if tls else NO_TLS,
                        deadline=loop.time() + 15,
                    )
                )
                near_client, _ = await loop.sock_accept(listener)
            near_client.setblocking(False)
            pumps = [
                asyncio.create_task(cutting_pump(near_server, near_client, sizes)),
                asyncio.create_task(cutting_pump(near_client, near_server, sizes)),
            ]
            identity = await serve_handshake(server, config, connection_id=1)
            connection = await client
            assert identity.user == "ann"
            identity.sock.close()
            connection.sock.close()
            await asyncio.gather(*pumps)
            near_server.close()
            near_client.close()

    run(main())


async def cutting_pump(source: socket.socket, target: socket.socket, sizes: Iterator[int]) -> None:
    target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(source, next(sizes)):
            await loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)


def watched_by(loop: asyncio.AbstractEventLoop) -> set[int]:
    """The descriptors registered with the event loop's own epoll."""
    backend = loop._get_backend_id() if hasattr(loop, "_get_backend_id") else loop._selector.fileno()  # type: ignore[attr-defined]
    text = Path(f"/proc/self/fdinfo/{backend}").read_text()
    return {int(line.split()[1]) for line in text.splitlines() if line.startswith("tfd:")}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("tls", [False, True])
def test_the_event_loop_lets_go_of_the_socket(tls: bool, loop: str, certificates: Certificates) -> None:
    """The relay registers the descriptor with its own epoll; nobody else may wake up for it."""

    async def main() -> None:
        config = plain_config(tls=certificates.server if tls else None)
        outcome = await meet(config, ANN, certificates.client() if tls else NO_TLS)
        await asyncio.sleep(0)
        watched = watched_by(asyncio.get_running_loop())
        assert outcome.identity.sock.fileno() not in watched
        assert outcome.backend.sock.fileno() not in watched
        outcome.close()

    run(main(), loop)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_no_descriptor_survives_handshakes_good_bad_and_cancelled(loop: str, certificates: Certificates) -> None:
    async def main() -> None:
        config = plain_config(tls=certificates.server)
        for way in (NO_TLS, certificates.client()):
            (await meet(config, ANN, way)).close()
            (await meet(config, replace(ANN, password=b"x"), way)).close()
        for packets in ((), (SSLRequest(SERVER_CAPABILITIES, 0, 45).build(),)):
            script = Scripted(config)
            await script.greeting()
            for packet in packets:
                await script.stream.write(packet)
            await asyncio.sleep(0)
            script.task.cancel()
            assert isinstance(await script.failure(), asyncio.CancelledError)

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    run(main(), loop)  # imports, thread pools
    before = descriptors()
    run(main(), loop)
    assert descriptors() <= before


def test_a_backend_that_does_not_answer_costs_the_deadline_and_no_more() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            with pytest.raises(TimeoutError):
                await connect_backend(silent.getsockname(), ANN, deadline=loop.time() + 0.05)
            address = silent.getsockname()
        with pytest.raises(ConnectionRefusedError):
            await connect_backend(address, ANN, deadline=loop.time() + 5)

    run(main())


def greeting_of(**changes: object) -> HandshakeV10:
    base = HandshakeV10("8.4.0", 5, b"n" * 20, SERVER_CAPABILITIES, 45, Status.AUTOCOMMIT, CACHING_SHA2)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_cleartext_is_sent_inside_tls_when_the_account_allows_it(certificates: Certificates) -> None:
    clear = AuthSwitchRequest("mysql_clear_password", b"").build()

    async def serve(listener: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        sock, _ = await loop.sock_accept(listener)
        sock.setblocking(False)
        stream = PacketStream(sock, loop)
        try:
            await stream.write(greeting_of(capabilities=SERVER_CAPABILITIES | Capability.SSL).build())
            await stream.read()
            await stream.accept_tls(certificates.server)
            await stream.read()
            await stream.write(clear)
            answer = await stream.read()
            await stream.write(OkPacket().build(SERVER_CAPABILITIES))
            return answer
        finally:
            stream.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for allowed in (True, False):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.setblocking(False)
                account = replace(ANN, allow_cleartext=allowed)
                connecting = connect_backend(
                    listener.getsockname(), account, certificates.client(), deadline=loop.time() + 10
                )
                received, connection = await both(serve(listener), connecting)
            if allowed:
                assert received == PASSWORD + b"\0"
                connection.sock.close()
            else:
                assert isinstance(received, ConnectionClosed)
                assert isinstance(connection, AuthenticationFailed)

    run(main())


async def against(script: list[bytes], account: BackendAccount = ANN) -> BaseException:
    """What our client makes of a server that sends these packets one after the other."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        async def serve() -> None:
            sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            with contextlib.closing(sock):
                stream = PacketStream(sock, loop)
                for packet in script:
                    await stream.write(packet)
                    await stream.read()

        client = connect_backend(listener.getsockname(), account, deadline=loop.time() + 10)
        _, result = await both(serve(), client)
    assert isinstance(result, BaseException), result
    return result


def test_a_server_may_not_lead_us_astray() -> None:
    """Cleartext without TLS, plugins we do not speak, endless switches, steps out of place."""
    hello = greeting_of().build()
    clear = AuthSwitchRequest("mysql_clear_password", b"").build()
    native = AuthSwitchRequest(NATIVE, b"m" * 20).build()
    cases: list[tuple[list[bytes], type[BaseException]]] = [
        ([ErrPacket(1040, "08004", "Too many connections").build()], ServerError),
        ([b"\x09old"], MalformedPacket),
        (
            [greeting_of(capabilities=SERVER_CAPABILITIES & ~Capability.PLUGIN_AUTH).build()],
            ProtocolViolation,
        ),
        ([hello, clear], AuthenticationFailed),
        ([hello, AuthSwitchRequest("client_ed25519", b"x" * 32).build()], AuthenticationFailed),
        ([hello, b"\xfe"], MalformedPacket),
        ([hello, AuthSwitchRequest(NATIVE, b"short").build()], MalformedPacket),
        ([hello, *[native] * 5], ProtocolViolation),
        ([hello, native, b"\x01\x04"], ProtocolViolation),
        ([hello, b"\x01\x09"], ProtocolViolation),
        ([hello, b"\x01\x04", b"\x01no key"], AuthenticationFailed),
        ([hello, b"\x02"], ProtocolViolation),
        ([hello, b""], MalformedPacket),
    ]

    async def main() -> None:
        for script, expected in cases:
            assert type(await against(script)) is expected, script
        allowed = replace(ANN, allow_cleartext=True)  # ... but only inside TLS
        assert type(await against([hello, clear], allowed)) is AuthenticationFailed

    run(main())
