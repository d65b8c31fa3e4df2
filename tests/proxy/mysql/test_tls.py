"""The TLS shuttle between Python's own blocking TLS sockets and a plain end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.mysql import shuttle
from proxy.mysql.errors import TlsRefused
from proxy.mysql.tls import TLSInfo, shuttle_client, shuttle_server
from tests.proxy.mysql.helpers import PATIENCE, Certificates, receive, run, tcp_pair

MIB = 1 << 20
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


class Ends:
    """A TLS connection: `plain` is our shuttle's plain end, `remote` a blocking TLS socket."""

    def __init__(self, plain: socket.socket, info: TLSInfo, remote: ssl.SSLSocket) -> None:
        self.plain = plain
        self.info = info
        self.remote = remote

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)

    def drop(self) -> None:
        self.plain.close()
        self.remote.close()


def remote_context(certificates: Certificates, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = certificates.client().context
    assert context is not None
    if version is not None:
        context.maximum_version = version
    return context


@contextlib.asynccontextmanager
async def connected(
    certificates: Certificates,
    version: ssl.TLSVersion | None = None,
    session: ssl.SSLSession | None = None,
    context: ssl.SSLContext | None = None,
    server: ssl.SSLContext | None = None,
) -> AsyncIterator[Ends]:
    """Our side accepts, the other side is Python's."""
    loop = asyncio.get_running_loop()
    near, far = tcp_pair()
    far.setblocking(True)
    context = context or remote_context(certificates, version)
    wrapping = loop.run_in_executor(None, lambda: context.wrap_socket(far, session=session))
    plain, info = await shuttle_server(loop, near, server or certificates.server)
    remote = await wrapping
    remote.settimeout(PATIENCE / 2)  # a thread that hangs would hang the test for ever
    ends = Ends(plain, info, remote)
    try:
        yield ends
    finally:
        ends.drop()
        await settled(near)


async def settled(sock: socket.socket) -> None:
    """Until the shuttle has let go of its socket."""
    while sock.fileno() != -1:
        await asyncio.sleep(0.001)


def read_all(remote: ssl.SSLSocket) -> bytes:
    pieces = []
    while piece := remote.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


async def read_plain(plain: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    pieces = []
    while piece := await loop.sock_recv(plain, 65536):
        pieces.append(piece)
    return b"".join(pieces)


@LOOPS
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_pass_both_ways_in_any_size(version: ssl.TLSVersion, loop: str, certificates: Certificates) -> None:
    random_ = random.Random(3)
    sizes = [1, 4, 16_383, 16_384, 16_385, 65_536, 65_537, 300_000, *random_.choices(range(1, 5000), k=50)]

    async def main() -> None:
        running = asyncio.get_running_loop()
        async with connected(certificates, version) as ends:
            assert ends.info.version == version.name.replace("_", ".")
            for size in sizes:
                data = random_.randbytes(size)
                sending = ends.in_thread(ends.remote.sendall, data)
                back, _ = await asyncio.gather(receive(running, ends.plain, size), sending)
                assert back == data
                receiving = ends.in_thread(receive_exactly, ends.remote, size)
                _, back = await asyncio.gather(running.sock_sendall(ends.plain, data), receiving)
                assert back == data

    run(main(), loop)


def receive_exactly(remote: ssl.SSLSocket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = remote.recv(size - len(data))
        assert piece
        data += piece
    return bytes(data)


@LOOPS
def test_both_ends_may_be_ours(loop: str, certificates: Certificates) -> None:
    data = random.Random(4).randbytes(2 * MIB)

    async def main() -> None:
        running = asyncio.get_running_loop()
        server, client = tcp_pair()
        context = remote_context(certificates)
        (near, _), (far, info) = await asyncio.gather(
            shuttle_server(running, server, certificates.server),
            shuttle_client(running, client, context, "proxy.test"),
        )
        assert info.cipher
        for source, target in ((near, far), (far, near)):
            _, back = await asyncio.gather(running.sock_sendall(source, data), receive(running, target, len(data)))
            assert back == data
        near.close()
        assert await read_plain(far) == b""
        far.close()
        await asyncio.gather(settled(server), settled(client))

    run(main(), loop)


def rss() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


@LOOPS
@pytest.mark.parametrize("outbound", [True, False])
def test_a_reader_that_stops_stops_the_writer(outbound: bool, loop: str, certificates: Certificates) -> None:
    """96 MiB offered to a reader that does not read: little is taken, memory stays flat, nothing is lost."""
    total, chunk = 96 * MIB, os.urandom(MIB)

    async def main() -> None:
        running = asyncio.get_running_loop()
        async with connected(certificates) as ends:
            for sock in (ends.plain, ends.remote):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            sent = 0

            async def write() -> None:
                nonlocal sent
                while sent < total:
                    if outbound:
                        await running.sock_sendall(ends.plain, chunk)
                    else:
                        await ends.in_thread(ends.remote.sendall, chunk)
                    sent += len(chunk)

            before = rss()
            writing = asyncio.create_task(write())
            seen = -1
            while seen != sent:  # until a tenth of a second goes by without progress
                seen = sent
                await asyncio.sleep(0.1)
            assert sent < 32 * MIB  # the kernel's buffers: TCP's grow by themselves
            assert rss() - before < 16 * MIB

            digest, expected = hashlib.blake2b(), hashlib.blake2b()
            got = 0
            while got < total:
                if outbound:
                    piece = await ends.in_thread(ends.remote.recv, 1 << 18)
                else:
                    piece = await running.sock_recv(ends.plain, 1 << 18)
                digest.update(piece)
                got += len(piece)
            await writing
            for _ in range(total // len(chunk)):
                expected.update(chunk)
            assert digest.digest() == expected.digest()
            assert rss() - before < 16 * MIB

    run(main(), loop)


@LOOPS
@pytest.mark.parametrize("polite", [True, False])
def test_what_the_remote_sent_before_it_closed_arrives_however_late(
    polite: bool, loop: str, certificates: Certificates
) -> None:
    """Polite: with close_notify. Otherwise the TCP connection just ends."""
    data = random.Random(5).randbytes(700_000)

    async def main() -> None:
        async with connected(certificates) as ends:

            def send_and_close() -> None:
                ends.remote.sendall(data)
                if polite:
                    ends.remote.settimeout(5)
                    with contextlib.suppress(OSError):
                        ends.remote.unwrap()
                raw = socket.socket(fileno=ends.remote.detach())
                raw.shutdown(socket.SHUT_WR)
                raw.close()

            # A socket closed with bytes unread (here: session tickets) sends a reset instead of an end.
            await asyncio.get_running_loop().sock_sendall(ends.plain, b"x")
            await ends.in_thread(receive_exactly, ends.remote, 1)
            sending = asyncio.ensure_future(ends.in_thread(send_and_close))
            await asyncio.sleep(0.1)  # the end of the connection is there before anybody reads
            assert await read_plain(ends.plain) == data
            ends.plain.close()  # also lets a polite remote finish
            await sending

    run(main(), loop)


@LOOPS
def test_what_was_written_before_the_plain_end_closed_arrives(loop: str, certificates: Certificates) -> None:
    data = random.Random(6).randbytes(3 * MIB)

    async def main() -> None:
        running = asyncio.get_running_loop()
        async with connected(certificates) as ends:
            sending = asyncio.create_task(running.sock_sendall(ends.plain, data))
            received = bytearray(await ends.in_thread(receive_exactly, ends.remote, MIB))
            rest = ends.in_thread(read_all, ends.remote)
            await sending
            ends.plain.close()
            received += await rest
            assert received == data

    run(main(), loop)


@LOOPS
def test_an_answer_survives_a_remote_that_keeps_talking(loop: str, certificates: Certificates) -> None:
    """The plain end answers and closes while more bytes of the remote are under way and never read."""

    async def main() -> None:
        running = asyncio.get_running_loop()
        async with connected(certificates) as ends:
            await ends.in_thread(ends.remote.sendall, b"x" * 100_000)
            await receive(running, ends.plain, 10)
            await running.sock_sendall(ends.plain, b"refused")
            ends.plain.close()
            await ends.in_thread(ends.remote.sendall, b"x" * 100_000)
            assert await ends.in_thread(read_all, ends.remote) == b"refused"

    run(main(), loop)


@LOOPS
def test_a_reset_ends_the_plain_side(loop: str, certificates: Certificates) -> None:
    async def main() -> None:
        async with connected(certificates) as ends:
            raw = socket.socket(fileno=ends.remote.detach())
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
            assert await read_plain(ends.plain) == b""

    run(main(), loop)


@LOOPS
def test_bytes_that_are_no_tls_end_both_sides(loop: str, certificates: Certificates) -> None:
    async def main() -> None:
        async with connected(certificates) as ends:
            raw = socket.socket(fileno=ends.remote.detach())
            raw.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
            assert await read_plain(ends.plain) == b""
            raw.close()

    run(main(), loop)


@LOOPS
def test_a_remote_that_takes_nothing_is_dropped_after_a_while(
    loop: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuttle, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(shuttle, "LINGER_SECONDS", 0.05)

    async def main() -> None:
        running = asyncio.get_running_loop()
        near, far = tcp_pair()
        far.setblocking(True)
        context = remote_context(certificates)
        wrapping = running.run_in_executor(None, context.wrap_socket, far)
        plain, _ = await shuttle_server(running, near, certificates.server)
        remote = await wrapping
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while True:
                    await running.sock_sendall(plain, bytes(MIB))
        plain.close()
        await settled(near)
        remote.close()

        async with connected(certificates) as ends:  # takes everything, never closes
            ends.plain.close()
            assert await ends.in_thread(read_all, ends.remote) == b""

    run(main(), loop)


@LOOPS
def test_a_steady_shuttle_has_no_task_and_no_timer(loop: str, certificates: Certificates) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        async with connected(certificates) as ends:
            await ends.in_thread(ends.remote.sendall, b"x")
            await asyncio.get_running_loop().sock_recv(ends.plain, 1)
            assert asyncio.all_tasks() == before

    run(main(), loop)


@pytest.mark.parametrize("mutual", [False, True])
def test_sessions_are_resumed(mutual: bool, certificates: Certificates) -> None:
    """By tickets: the second connection of a client skips the certificates; its name is still known."""

    async def main() -> None:
        running = asyncio.get_running_loop()
        context = certificates.client(name="us" if mutual else None).context
        assert context is not None
        server = certificates.mutual if mutual else certificates.server
        async with connected(certificates, context=context, server=server) as ends:
            assert not ends.info.resumed
            await running.sock_sendall(ends.plain, b"x")
            await ends.in_thread(ends.remote.recv, 1)  # tickets come before it
            session = ends.remote.session
        async with connected(certificates, context=context, session=session, server=server) as ends:
            assert ends.info.resumed
            assert ends.info.common_name == ("us" if mutual else None)

    run(main())


@LOOPS
@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"])
def test_a_failed_handshake_raises_and_leaves_the_socket_to_the_caller(
    first: bytes, loop: str, certificates: Certificates
) -> None:
    async def main() -> None:
        server, client = tcp_pair()
        if first:
            client.sendall(first)
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(TlsRefused):
            await shuttle_server(asyncio.get_running_loop(), server, certificates.server)
        assert server.fileno() != -1
        server.close()
        client.close()

    run(main(), loop)
