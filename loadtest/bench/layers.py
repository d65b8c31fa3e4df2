"""What a client connection's bytes may travel in: TLS, or compressed packets of zlib or zstd.

Like `packets` this shares nothing with the proxy's own codec. Pages: "Compressed Packet" and "SSLRequest" of the
MySQL internals documentation.
"""

import contextlib
import ssl
import zlib
from abc import ABC, abstractmethod

import zstandard

from loadtest.bench.packets import CLIENT_COMPRESS, CLIENT_SSL, CLIENT_ZSTD_COMPRESSION, ZSTD_LEVEL, WireError

HEADER = 7
SMALLEST = 50
"""Bytes from which on clients compress what they send, as MySQL's do."""


class Layer(ABC):
    """Of one connection. `capability` is what both sides must want."""

    capability: int

    @abstractmethod
    def seal(self, data: bytes) -> bytes:
        """What to send for these bytes; they may also be kept until `open` was given something."""

    @abstractmethod
    def open(self, data: bytes) -> tuple[bytes, bytes]:
        """(the bytes within what was received, what to send for it). Raises WireError."""


class Tls(Layer):
    """`name` is what the server's certificate must be for."""

    capability = CLIENT_SSL

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._received, self._made = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._made, server_hostname=name)
        self._established = False
        self._waiting = bytearray()

    def seal(self, data: bytes) -> bytes:
        self._waiting += data
        with contextlib.suppress(ssl.SSLWantReadError):
            if not self._established:
                self._tls.do_handshake()
                self._established = True
            if self._waiting:
                self._tls.write(self._waiting)
                self._waiting.clear()
        return self._made.read()

    def open(self, data: bytes) -> tuple[bytes, bytes]:
        self._received.write(data)
        try:
            answer = self.seal(b"")
            return self._plain(), answer
        except ssl.SSLError as error:
            raise WireError(f"TLS: {error}") from error

    def _plain(self) -> bytes:
        pieces = []
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while self._established and (piece := self._tls.read(1 << 16)):
                pieces.append(piece)
        return b"".join(pieces)


class Compressed(Layer):
    """Compressed packets, from the end of the login on. Each `seal` is one command, so it has the number 0."""

    def __init__(self) -> None:
        self._received = bytearray()

    @abstractmethod
    def _pack(self, data: bytes) -> bytes: ...

    @abstractmethod
    def _unpack(self, body: bytes) -> bytes: ...

    def seal(self, data: bytes) -> bytes:
        holds, body = (len(data), self._pack(data)) if len(data) >= SMALLEST else (0, data)
        return len(body).to_bytes(3, "little") + b"\0" + holds.to_bytes(3, "little") + body

    def open(self, data: bytes) -> tuple[bytes, bytes]:
        self._received += data
        pieces = []
        while (piece := self._next()) is not None:
            pieces.append(piece)
        return b"".join(pieces), b""

    def _next(self) -> bytes | None:
        """What the next packet holds, None while it is not whole."""
        received = self._received
        end = HEADER + int.from_bytes(received[:3], "little")
        if len(received) < HEADER or len(received) < end:
            return None
        holds, body = int.from_bytes(received[4:HEADER], "little"), bytes(received[HEADER:end])
        del received[:end]
        if not holds:
            return body
        plain = self._unpack(body)
        if len(plain) != holds:
            raise WireError(f"a compressed packet holds {len(plain)} bytes, and says {holds}")
        return plain


class Zlib(Compressed):
    capability = CLIENT_COMPRESS

    def _pack(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def _unpack(self, body: bytes) -> bytes:
        try:
            return zlib.decompress(body)
        except zlib.error as error:
            raise WireError(f"zlib: {error}") from error


class Zstd(Compressed):
    capability = CLIENT_ZSTD_COMPRESSION

    def __init__(self) -> None:
        super().__init__()
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def _pack(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def _unpack(self, body: bytes) -> bytes:
        try:
            return self._decompressor.decompressobj().decompress(body)
        except zstandard.ZstdError as error:
            raise WireError(f"zstd: {error}") from error
