"""The compressed protocol at the edge (MySQL "Compressed Packet" page): zlib or zstd as a shuttle's codec.

After the final OK of the handshake both sides send compressed packets only:

    length of the body (3) | number (1) | length of what it holds, 0 when the body is not compressed (3) | body

What they hold is the ordinary stream of packets, cut anywhere. Numbers count up over both directions and begin
anew with each command.

Cut anywhere, but servers put a packet of up to 16 MiB whole into one compressed packet, and MySQL Connector/Python
reads nothing else (it allows for one cut). So do we, compressing as the bytes come.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from io import BytesIO
from typing import Final, Protocol

import zstandard

from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.shuttle import CHUNK, Codec
from proxy.mysql.wire import HEADER_SIZE

HEADER: Final = 7
NUMBER_AT: Final = 3  # of the number in a packet's head
SMALLEST: Final = 50
"""Bytes from which on compressing is tried, as in MySQL."""
ZLIB_LEVEL: Final = 1
"""Of what is sent. A proxy's cycles are dearer than the last tenth of the bytes."""
SMALLEST_WINDOW: Final = 9
"""zlib's, as a power of two."""
ZSTD_LEVELS: Final = range(1, 8)
"""Levels that a client may ask for; higher ones get the highest of these."""
ZSTD_LEVEL: Final = 3
LONGEST: Final = (1 << 24) - CHUNK
"""Bytes in one compressed packet: even what does not compress stays within the length field."""
_WINDOW: Final = 1 << 25  # more than a compressed packet can hold: what a client can make us allocate


class BrokenCompression(OSError):
    """The other side's compressed packets are not what they say."""


class Packing(Protocol):
    """One body in the making."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Compressor(ABC):
    """One algorithm, for one connection. `level`: as the client's handshake says it."""

    level = 0

    @abstractmethod
    def packing(self) -> Packing:
        """A new body."""

    @abstractmethod
    def whole(self, data: bytes) -> bytes:
        """The body of a packet that is all there, at most 64 KiB: with tables of its size, whose clearing is most of
        what a short answer costs."""

    @abstractmethod
    def unpack(self, body: bytes) -> Iterator[bytes]:
        """What the body holds, in pieces of at most 64 KiB. Raises BrokenCompression."""


class Zlib(Compressor):
    """Capability CLIENT_COMPRESS."""

    def packing(self) -> Packing:
        return zlib.compressobj(ZLIB_LEVEL)

    def whole(self, data: bytes) -> bytes:
        window = min(max(len(data).bit_length(), SMALLEST_WINDOW), zlib.MAX_WBITS)
        stream = zlib.compressobj(ZLIB_LEVEL, zlib.DEFLATED, window, window - 7)
        return stream.compress(data) + stream.flush()

    def unpack(self, body: bytes) -> Iterator[bytes]:
        stream = zlib.decompressobj()
        try:
            for at in range(0, len(body), CHUNK):
                piece = body[at : at + CHUNK]
                while piece:
                    yield stream.decompress(piece, CHUNK)
                    piece = stream.unconsumed_tail
            yield stream.flush()
        except zlib.error as error:
            raise BrokenCompression(str(error)) from error
        if not stream.eof:
            raise BrokenCompression("the body ends too early")


class Zstd(Compressor):
    """Capability CLIENT_ZSTD_COMPRESSION_ALGORITHM."""

    def __init__(self, level: int) -> None:
        self.level = level
        wanted = min(level, ZSTD_LEVELS[-1]) or ZSTD_LEVEL
        self._compressor = zstandard.ZstdCompressor(level=wanted)
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)

    def packing(self) -> Packing:
        return self._compressor.compressobj()

    def whole(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def unpack(self, body: bytes) -> Iterator[bytes]:
        reader = self._decompressor.stream_reader(BytesIO(body), read_across_frames=True)
        try:
            while piece := reader.read(CHUNK):
                yield piece
        except zstandard.ZstdError as error:
            raise BrokenCompression(str(error)) from error


def compressor_of(capabilities: Capability, zstd_level: int) -> Compressor | None:
    """What both sides agreed on; zlib when both, as MySQL does. None: nothing."""
    if capabilities & Capability.COMPRESS:
        return Zlib()
    return Zstd(zstd_level) if capabilities & Capability.ZSTD_COMPRESSION else None


class CompressedCodec(Codec):
    """The server's side of a compressed connection.

    Inbound a compressed packet is unpacked when it is whole, so at most 16 MiB are held, and piece by piece as they
    are taken. Outbound what is held is the compressed beginning of one packet.
    """

    def __init__(self, compressor: Compressor, number: int = 0xFF, *, receiving: bool = False) -> None:
        self.compressor = compressor
        self.number = number  # of the last packet in either direction
        self.receiving = receiving  # ... which was inbound
        self._received = bytearray()
        self._pieces: Iterator[bytes] = iter(())
        self._made = bytearray()
        self._body = bytearray()
        self._packing: Packing | None = None
        self._holds = 0  # bytes that went into `_body`
        self._boundary = Boundary()

    @property
    def at_rest(self) -> bool:
        return not (self._received or self._made or self._packing) and self._boundary.at_one

    def receive(self, data: bytes) -> None:
        self._received += data

    def read(self) -> bytes:
        while True:
            for piece in self._pieces:
                if piece:
                    return piece
            body = self._next_packet()
            if body is None:
                return b""
            self._pieces = body

    def _next_packet(self) -> Iterator[bytes] | None:
        """The contents of the next whole packet, None while there is none."""
        received = self._received
        if len(received) < HEADER:
            return None
        size = int.from_bytes(received[:3], "little")
        if len(received) < HEADER + size:
            return None
        number, holds = received[3], int.from_bytes(received[4:HEADER], "little")
        due = self.number + 1 & 0xFF
        if number not in (0, due):
            raise BrokenCompression(f"compressed packet number {number}, {due} is due")
        begins = number == 0 and (due != 0 or not self.receiving)
        self.number, self.receiving = number, True
        body = bytes(received[HEADER : HEADER + size])
        del received[: HEADER + size]
        pieces = _of_length(self.compressor.unpack(body), holds) if holds else iter((body,))
        return _renumbered(pieces) if begins else pieces

    def write(self, data: bytes) -> None:
        end = self._boundary.last(data)
        if self._packing is None and 0 < end < SMALLEST:
            self._emit(data[:end], 0)
        elif self._packing is None and 0 < end <= CHUNK:
            self._emit(self.compressor.whole(data[:end]), end)
        elif end:
            self._pack(data[:end])
            self._finish()
        if end < len(data):
            self._pack(data[end:])

    def _pack(self, data: bytes) -> None:
        if self._packing is None:
            self._packing = self.compressor.packing()
        self._body += self._packing.compress(data)
        self._holds += len(data)
        if self._holds > LONGEST - CHUNK:
            self._finish()

    def _finish(self) -> None:
        if self._packing is not None:
            self._body += self._packing.flush()
            self._emit(self._body, self._holds)
            self._body, self._packing, self._holds = bytearray(), None, 0

    def _emit(self, body: bytes | bytearray, holds: int) -> None:
        self.number, self.receiving = self.number + 1 & 0xFF, False
        self._made += len(body).to_bytes(3, "little") + bytes((self.number,)) + holds.to_bytes(3, "little")
        self._made += body

    @property
    def pending(self) -> int:
        return len(self._made)

    def outgoing(self) -> bytes:
        made, self._made = bytes(self._made), bytearray()
        return made

    def farewell(self) -> None:
        """The protocol has none; a packet that will not be complete goes out as far as it has come."""
        self._finish()


class Boundary:
    """Where packets end in a stream that comes in pieces."""

    def __init__(self) -> None:
        self._head = b""  # of a packet whose head is not complete
        self._left = 0  # bytes that the packet still has

    @property
    def at_one(self) -> bool:
        """Has every packet that began ended?"""
        return not self._head and not self._left

    def last(self, data: bytes) -> int:
        """The offset behind the last packet that ends in this piece; 0 when none does."""
        at, end = self._left, 0
        while True:
            if at > len(data):
                self._left = at - len(data)
                return end
            if not self._head:
                end = at
            head = self._head + data[at : at + HEADER_SIZE - len(self._head)]
            if len(head) < HEADER_SIZE:
                self._head, self._left = head, 0
                return end
            at += HEADER_SIZE - len(self._head) + int.from_bytes(head[:3], "little")
            self._head = b""


def _renumbered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A command's first bytes, with the packet number 0. Only the compressed packets' numbers count: servers do not
    look at those inside, and some drivers count on from one command to the next there."""
    at = 0
    for piece in pieces:
        if at <= NUMBER_AT < at + len(piece):
            piece = piece[: NUMBER_AT - at] + b"\0" + piece[NUMBER_AT + 1 - at :]
        at += len(piece)
        yield piece


def _of_length(pieces: Iterator[bytes], holds: int) -> Iterator[bytes]:
    """The same pieces; BrokenCompression as soon as they are not `holds` bytes together."""
    left = holds
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise BrokenCompression(f"a compressed packet holds more than the {holds} bytes it says")
        yield piece
    if left:
        raise BrokenCompression(f"a compressed packet holds {left} bytes less than the {holds} it says")
