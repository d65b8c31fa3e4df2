"""The load client's TLS and compressed packets, against the other side of each."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.bench import packets
from loadtest.bench.layers import HEADER, Layer, Tls, Zlib, Zstd
from loadtest.bench.packets import WireError
from loadtest.bench.wire import Connection
from loadtest.world.certs import Authority
from proxy.mysql import compression
from proxy.mysql.compression import CompressedCodec
from proxy.mysql.packets.handshake import HandshakeResponse41, SSLRequest
from tests.loadtest.bench import fake_mysql
from tests.loadtest.bench.fake_mysql import FakeMysql

SHORT, LONG = packets.packet(b"\x03SELECT 1"), packets.packet(b"\x03" + b"x" * 5000)
KINDS = pytest.mark.parametrize(
    ("layer", "compressor"), [(Zlib, compression.Zlib), (Zstd, lambda: compression.Zstd(packets.ZSTD_LEVEL))]
)


@KINDS
@pytest.mark.parametrize("cut", [1, 5, 10_000])
def test_compressed_commands_and_answers(
    layer: Callable[[], Layer], compressor: Callable[[], compression.Compressor], cut: int
) -> None:
    ours, theirs = layer(), CompressedCodec(compressor())
    for command in (SHORT, LONG, SHORT):
        theirs.receive(ours.seal(command))
        assert b"".join(iter(theirs.read, b"")) == command
        answer = packets.packet(b"y" * 3000, 1) + packets.packet(b"z", 2)
        theirs.write(answer)
        sent = theirs.outgoing()
        assert len(sent) < 200
        pieces = [ours.open(sent[at : at + cut]) for at in range(0, len(sent), cut)]
        assert b"".join(plain for plain, _ in pieces) == answer
        assert not any(reply for _, reply in pieces)


@KINDS
def test_long_commands_are_compressed_and_short_ones_are_not(
    layer: Callable[[], Layer], compressor: Callable[[], compression.Compressor]
) -> None:
    assert layer().seal(SHORT)[HEADER:] == SHORT
    assert len(layer().seal(LONG)) < 100


@pytest.mark.parametrize("layer", [Zlib, Zstd])
def test_what_is_not_compressed_as_it_says(layer: Callable[[], Layer]) -> None:
    body = layer().seal(LONG)[HEADER:]
    for broken, holds in ((body, len(LONG) + 1), (b"no" * 20, 100)):
        with pytest.raises(WireError):
            layer().open(len(broken).to_bytes(3, "little") + b"\x01" + holds.to_bytes(3, "little") + broken)


class Server:
    """The other side of TLS, which says everything back."""

    def __init__(self, directory: Path) -> None:
        files = Authority(directory).issue("fairlead")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self.ca = files.ca

    def answer(self, data: bytes) -> bytes:
        self._in.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self._tls.write(self._tls.read(1 << 16))
        return self._out.read()


def test_tls_sends_what_waits_for_its_handshake(tmp_path: Path) -> None:
    server = Server(tmp_path)
    layer = Tls(ssl.create_default_context(cafile=str(server.ca)), "127.0.0.1")
    sent, plain = layer.seal(LONG), b""
    while sent:
        more, sent = layer.open(server.answer(sent))
        plain += more
    assert plain == LONG
    assert layer.open(server.answer(layer.seal(SHORT))) == (SHORT, b"")


def test_tls_wants_the_certificate_of_whom_it_asked_for(tmp_path: Path) -> None:
    server = Server(tmp_path)
    layer = Tls(ssl.create_default_context(cafile=str(server.ca)), "elsewhere.example")
    with pytest.raises(WireError, match="certificate"):
        layer.open(server.answer(layer.seal(b"")))


def test_the_login_asks_for_the_layer() -> None:
    greeting = packets.parse_greeting(fake_mysql.greeting(b"mysql_native_password"))
    for layer, sequence in ((Tls, 2), (Zlib, 1), (Zstd, 1)):
        login = packets.login_packet("u", "p", "d", greeting, layer.capability)
        asked = HandshakeResponse41.parse(login[4:])
        assert asked.capabilities & layer.capability and login[3] == sequence
        assert (asked.user, asked.database, asked.zstd_level) == (b"u", b"d", 3 if layer is Zstd else 0)
    assert SSLRequest.parse(packets.tls_request()[4:]) is not None


@pytest.mark.parametrize("layer", [Tls, Zstd])
def test_a_layer_that_is_not_offered(layer: type[Layer]) -> None:
    async def use(port: int) -> None:
        made = Zstd() if layer is Zstd else Tls(ssl.create_default_context(), "127.0.0.1")
        with pytest.raises(WireError, match="does not offer"):
            await Connection.open("127.0.0.1", port, "u", fake_mysql.PASSWORD, "d", 5, made)

    asyncio.run(asyncio.wait_for(FakeMysql(lambda _: None).serve(use), 10))
