"""The connections of monitor and schema loader against servers that ask too much, say too little, or talk nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from config.settings import ServerTls
from config.words import Flavour, TlsMode
from proxy.pool import probe_connection, service_connection
from proxy.pool.service_connection import Endpoint, FailureKind, ServerUnavailable, connect
from tests.proxy.pool.shards import account
from tests.servers import BOTH_SERVERS

if TYPE_CHECKING:
    from loadtest.world.world import World

Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

Connect: TypeAlias = Callable[[Endpoint, float], Awaitable[object]]

CONNECTIONS: dict[str, Connect] = {"monitor": probe_connection.connect, "schema": service_connection.connect}


BY_BOTH = pytest.mark.parametrize("connect_by", list(CONNECTIONS.values()), ids=list(CONNECTIONS))

CLIENT_SSL = 0x800
CAPABILITIES = 0x81FFF7FF  # everything that matters but CLIENT_SSL


def greeting(version: bytes = b"5.5.5-10.11.19-MariaDB", plugin: bytes = b"mysql_native_password") -> bytes:
    """Protocol::HandshakeV10."""
    low, high = CAPABILITIES & 0xFFFF, CAPABILITIES >> 16
    return packet(
        0,
        b"\x0a" + version + b"\0" + (7).to_bytes(4, "little") + b"saltsalt\0"
        + low.to_bytes(2, "little") + b"\x2d\2\0" + high.to_bytes(2, "little")
        + b"\x15" + bytes(10) + b"saltsaltsalt\0" + plugin + b"\0",
    )  # fmt: skip


def packet(sequence: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return await reader.readexactly(int.from_bytes(head[:3], "little"))


def against(
    script: Script, connect_by: Connect, tls: ServerTls | None = None, timeout: float = 2.0
) -> ServerUnavailable:
    """Connects to a server that follows the script; returns how that failed."""

    async def body() -> ServerUnavailable:
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await script(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()
                done.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            endpoint = Endpoint(
                "127.0.0.1",
                server.sockets[0].getsockname()[1],
                Flavour.MARIADB,
                account(),
                tls or ServerTls(mode=TlsMode.DISABLED),
            )
            with pytest.raises(ServerUnavailable) as failed:
                await connect_by(endpoint, timeout)
            if failed.value.kind is not FailureKind.INSECURE or "gone.pem" not in failed.value.text:
                await done.wait()
            return failed.value

    return asyncio.run(body())


@pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"mysql_old_password", b"dialog", b"\xff\xfe"])
@BY_BOTH
def test_a_plugin_that_takes_the_password_away_is_refused(plugin: bytes, connect_by: Connect) -> None:
    heard: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting(plugin=plugin))
        heard.append(await read_packet(reader))
        writer.write(packet(2, b"\xfe" + plugin + b"\0salt"))
        heard.append(await reader.read())

    failure = against(script, connect_by)
    assert failure.kind is FailureKind.INSECURE
    assert not any(b"secret" in said for said in heard)


@pytest.mark.parametrize("mode", [TlsMode.REQUIRED, TlsMode.VERIFY])
@BY_BOTH
def test_nothing_is_sent_to_a_server_without_the_tls_that_is_required(mode: TlsMode, connect_by: Connect) -> None:
    heard: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting())
        heard.append(await reader.read())

    assert against(script, connect_by, ServerTls(mode=mode)).kind is FailureKind.INSECURE
    assert b"".join(heard) == b""


@BY_BOTH
def test_preferred_tls_goes_without_it_when_the_server_has_none(connect_by: Connect) -> None:
    flags: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting())
        response = await read_packet(reader)
        flags.append(int.from_bytes(response[:4], "little"))
        writer.write(packet(2, b"\xff\x15\x04#28000Access denied"))

    assert against(script, connect_by, ServerTls(mode=TlsMode.PREFERRED)).kind is FailureKind.DENIED
    assert not flags[0] & CLIENT_SSL


@BY_BOTH
def test_the_other_flavour_is_the_wrong_server(connect_by: Connect) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting(version=b"9.7.4"))
        while await reader.readexactly(4):
            writer.write(packet(2, b"\0\0\0\2\0\0\0"))
            await reader.read(65536)

    assert against(script, connect_by, timeout=0.5).kind in (FailureKind.WRONG_SERVER, FailureKind.TIMEOUT)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", FailureKind.UNREACHABLE),
        (b"SSH-2.0-OpenSSH_9.2\r\n", FailureKind.PROTOCOL),
        (packet(0, b""), FailureKind.PROTOCOL),
        (packet(0, b"\x0a"), FailureKind.PROTOCOL),
        (packet(5, b"\x0a"), FailureKind.PROTOCOL),
        (packet(0, b"\xff\x10\x04Too many connections"), FailureKind.BUSY),
        (packet(0, b"\xff\x6a\x04Host is not allowed"), FailureKind.DENIED),
    ],
)
@BY_BOTH
def test_what_is_no_greeting_is_a_failure_of_its_kind(said: bytes, kind: FailureKind, connect_by: Connect) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    assert against(script, connect_by).kind is kind


@BY_BOTH
def test_silence_is_a_timeout(connect_by: Connect) -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    assert against(script, connect_by, timeout=0.2).kind is FailureKind.TIMEOUT


@BY_BOTH
def test_a_missing_certificate_file_is_reported_by_name(tmp_path: Path, connect_by: Connect) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting())

    failure = against(script, connect_by, ServerTls(mode=TlsMode.VERIFY, ca=tmp_path / "gone.pem"))
    assert failure.kind is FailureKind.INSECURE and "gone.pem" in failure.text


@BOTH_SERVERS
@pytest.mark.world(shards=1, replicas=0)
def test_queries_are_bounded_and_failures_close(world: World, flavour: str) -> None:
    server = next(iter(world.shards.values())).primary
    ca = world.authority.ca
    endpoint = Endpoint(
        "127.0.0.1",
        server.port,
        Flavour(flavour),
        account("fairlead", "fairlead-secret"),
        ServerTls(mode=TlsMode.VERIFY, ca=ca),
    )

    async def body() -> None:
        async with await connect(endpoint, 5) as connection:
            assert await connection.query("SELECT 1, 'x'", 5) == [(1, "x")]
            assert await connection.query_named("SELECT 1 AS a", 5) == [{"a": 1}]
            assert await connection.query("DO 1", 5) == []
            (encrypted,) = await connection.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'", 5)
            assert encrypted[1]
            with pytest.raises(ServerUnavailable) as refused:
                await connection.query("SELECT nothing", 5)
            assert refused.value.kind is FailureKind.REFUSED and not connection.closed
            with pytest.raises(ServerUnavailable) as many:
                await connection.query("SELECT 1 UNION SELECT 2 UNION SELECT 3", 5, max_rows=2)
            assert many.value.kind is FailureKind.PROTOCOL and connection.closed
        async with await connect(endpoint, 5) as connection:
            await connection.ping(5)
            with pytest.raises(ServerUnavailable) as late:
                await connection.query("SELECT SLEEP(2)", 0.1)
            assert late.value.kind is FailureKind.TIMEOUT and connection.closed
            with pytest.raises(ServerUnavailable):
                await connection.ping(1)
        with pytest.raises(ServerUnavailable) as wrong:
            await connect(replace(endpoint, account=account("fairlead", "wörong")), 5)
        assert wrong.value.kind is FailureKind.DENIED

    asyncio.run(body())


@BOTH_SERVERS
@pytest.mark.world(shards=1, replicas=0)
def test_passwords_beyond_latin1_are_sent_as_utf8(world: World, flavour: str) -> None:
    server = next(iter(world.shards.values())).primary
    server.run(
        "CREATE OR REPLACE USER kyrill@'127.0.0.1' IDENTIFIED BY 'пароль€'"
    ) if flavour == "mariadb" else (
        server.run("CREATE USER IF NOT EXISTS kyrill@'127.0.0.1' IDENTIFIED BY 'пароль€'")
    )

    async def body() -> None:
        endpoint = Endpoint(
            "127.0.0.1",
            server.port,
            Flavour(flavour),
            account("kyrill", "пароль€"),
            ServerTls(mode=TlsMode.PREFERRED),
        )
        async with await connect(endpoint, 5) as connection:
            await connection.ping(5)

    try:
        asyncio.run(body())
    finally:
        server.run("DROP USER kyrill@'127.0.0.1'")
