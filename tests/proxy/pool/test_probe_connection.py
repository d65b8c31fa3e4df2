"""The monitor's connection: answers whole and bounded, on both event loops and both kinds of server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import uvloop

from config.settings import ServerTls
from config.words import Flavour, TlsMode
from proxy.pool.probe import read_channels, read_load, read_vitals
from proxy.pool.probe_connection import REPLY_LIMIT, ProbeConnection, connect
from proxy.pool.service_connection import Endpoint, FailureKind, ServerUnavailable
from tests.proxy.pool.shards import account
from tests.proxy.pool.test_service_connection import greeting, packet, read_packet
from tests.servers import BOTH_SERVERS

if TYPE_CHECKING:
    from loadtest.world.world import World

T = TypeVar("T")

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
NewLoop = Callable[[], asyncio.AbstractEventLoop]

OK = b"\0\0\0\2\0\0\0"
END = b"\xfe\0\0\2\0\0\0"
DEFINITION = b"\3def\0\0\0\1a\0\x0c\x2d\0\4\0\0\0\xfd\0\0\0\0\0"


def run(body: Coroutine[Any, Any, T], loop: NewLoop) -> T:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(body)


def result_set(*rows: bytes) -> bytes:
    """One column, as it is sent under CLIENT_DEPRECATE_EOF."""
    payloads = [b"\1", DEFINITION, *rows, END]
    return b"".join(packet(number + 1 & 255, payload) for number, payload in enumerate(payloads))


async def against(answer: bytes, work: Callable[[ProbeConnection], Awaitable[T]], *, pieces: int = 1) -> T:
    """Does the work on a connection to a server that answers every command alike, in so many pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting())
        await read_packet(reader)
        writer.write(packet(2, OK))
        try:
            while await read_packet(reader):
                size = -(-len(answer) // pieces)
                for start in range(0, len(answer), size):
                    writer.write(answer[start : start + size])
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        endpoint = Endpoint("127.0.0.1", port, Flavour.MARIADB, account(), ServerTls(mode=TlsMode.DISABLED))
        async with await connect(endpoint, 5) as connection:
            return await work(connection)


async def failure_of(connection: ProbeConnection, timeout: float = 5, max_rows: int = 2) -> tuple[FailureKind, bool]:
    """-> (kind, whether the connection is closed)"""
    with pytest.raises(ServerUnavailable) as failed:
        await connection.query("SELECT a", timeout, max_rows)
    return failed.value.kind, connection.closed


@LOOPS
@pytest.mark.parametrize("pieces", [1, 3, 50])
def test_an_answer_in_pieces_is_put_together(loop: NewLoop, pieces: int) -> None:
    rows = run(against(result_set(b"\1x", b"\xfb"), lambda one: one.query("SELECT a", 5), pieces=pieces), loop)
    assert rows == [("x",), (None,)]


@LOOPS
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (result_set(b"\1x", b"\1y", b"\1z"), FailureKind.PROTOCOL),
        (result_set(b"\2x"), FailureKind.PROTOCOL),
        (result_set(b"\1x\1y"), FailureKind.PROTOCOL),
        (result_set(b"\1x") + packet(1, OK), FailureKind.PROTOCOL),
        (packet(1, b""), FailureKind.PROTOCOL),
        (packet(1, b"\xff\x1d\x04#08S01Server shutdown in progress"), FailureKind.UNREACHABLE),
    ],
)
def test_an_answer_that_is_not_to_be_understood_ends_the_connection(
    loop: NewLoop, answer: bytes, kind: FailureKind
) -> None:
    assert run(against(answer, failure_of), loop) == (kind, True)


@LOOPS
def test_a_refused_statement_leaves_the_connection(loop: NewLoop) -> None:
    answer = packet(1, b"\xff" + (1142).to_bytes(2, "little") + b"#42000no")
    assert run(against(answer, failure_of), loop) == (FailureKind.REFUSED, False)


@LOOPS
def test_an_answer_without_end_is_bounded(loop: NewLoop) -> None:
    answer = result_set(*[b"\xfd" + (60000).to_bytes(3, "little") + bytes(60000)] * (REPLY_LIMIT // 60000 + 9))
    assert run(against(answer, lambda one: failure_of(one, max_rows=1000)), loop) == (FailureKind.PROTOCOL, True)


@LOOPS
def test_the_deadline_ends_a_wait_that_has_begun(loop: NewLoop) -> None:
    half = result_set(b"\1x")[:-7]
    late = run(against(half, lambda one: failure_of(one, timeout=0.1)), loop)
    assert late == (FailureKind.TIMEOUT, True)


@LOOPS
def test_cancelling_closes(loop: NewLoop) -> None:
    async def work(connection: ProbeConnection) -> bool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.query("SELECT a", 5)
        return connection.closed

    assert run(against(result_set(b"\1x")[:-7], work), loop)


@LOOPS
def test_the_same_answer_means_the_same_object(loop: NewLoop) -> None:
    async def work(connection: ProbeConnection) -> None:
        first = await connection.ask("SELECT a", 5, 1, lambda answer: answer.named())
        assert first == [{"a": "x"}]
        assert await connection.ask("SELECT a", 5, 1, lambda answer: answer.named()) is first

    run(against(result_set(b"\1x"), work, pieces=1), loop)


@LOOPS
@BOTH_SERVERS
@pytest.mark.world(shards=1, replicas=0)
@pytest.mark.parametrize("mode", [TlsMode.DISABLED, TlsMode.VERIFY])
def test_a_real_server_is_asked(world: World, flavour: str, loop: NewLoop, mode: TlsMode) -> None:
    server = next(iter(world.shards.values())).primary
    tls = ServerTls(mode=mode, ca=world.authority.ca if mode is TlsMode.VERIFY else None)
    endpoint = Endpoint("127.0.0.1", server.port, Flavour(flavour), account("fairlead", "fairlead-secret"), tls)

    async def body() -> None:
        async with await connect(endpoint, 5) as connection:
            vitals = await read_vitals(connection, 5)
            assert vitals.server_id == server.server_id and vitals.problems == ()
            assert await read_vitals(connection, 5) is vitals
            assert await read_channels(connection, 5) == ()
            assert (await read_load(connection, 5)).connections >= 1
            (encrypted,) = await connection.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'", 5)
            assert bool(encrypted[1]) is (mode is TlsMode.VERIFY)
            assert await connection.query("DO 1", 5) == []
            assert await failure_of(connection) == (FailureKind.REFUSED, False)
            assert await connection.query("SELECT REPEAT('ä', 100000)", 5) == [("ä" * 100000,)]
            with pytest.raises(ServerUnavailable) as late:
                await connection.query("SELECT SLEEP(2)", 0.1)
            assert late.value.kind is FailureKind.TIMEOUT and connection.closed
            assert (await failure_of(connection))[0] is FailureKind.UNREACHABLE
        with pytest.raises(ServerUnavailable) as wrong:
            await connect(replace(endpoint, account=account("fairlead", "wörong")), 5)
        assert wrong.value.kind is FailureKind.DENIED

    run(body(), loop)


@BOTH_SERVERS
@pytest.mark.world(shards=1, replicas=0)
def test_a_killed_connection_is_lost_and_not_refused(world: World, flavour: str) -> None:
    server = next(iter(world.shards.values())).primary
    tls = ServerTls(mode=TlsMode.DISABLED)
    endpoint = Endpoint("127.0.0.1", server.port, Flavour(flavour), account("fairlead", "fairlead-secret"), tls)

    async def body() -> None:
        async with await connect(endpoint, 5) as connection:
            await asyncio.to_thread(server.run, f"KILL {connection.id}")
            assert await failure_of(connection) == (FailureKind.UNREACHABLE, True)

    asyncio.run(body())
