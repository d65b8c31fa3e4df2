"""The protocol's basic types: length-encoded integers and strings, and framing (MySQL "Basic Data Types").

`Reader` never reads outside its packet: every short read is `MalformedPacket`.
"""

from collections.abc import Iterable
from typing import Final

from proxy.mysql.errors import MalformedPacket

MAX_FRAME: Final = 0xFFFFFF  # a payload of this many bytes is continued in the next frame
HEADER_SIZE: Final = 4


class Reader:
    """A cursor over one packet's payload."""

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0
        self._end = len(data)

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return self._end - self._pos

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        start = self._pos
        if size > self._end - start:
            raise MalformedPacket(f"{size} bytes wanted at offset {start}, packet has {self._end}")
        self._pos = start + size
        return self._data[start : self._pos]

    def uint(self, size: int) -> int:
        """A little-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def peek(self) -> int | None:
        """The next byte without reading it, or None at the end."""
        return self._data[self._pos] if self._pos < self._end else None

    def lenenc_int(self) -> int:
        """A length-encoded integer. 0xFB (NULL) and 0xFF (ERR) are not integers."""
        first = self.uint(1)
        if first < 0xFB:
            return first
        if first == 0xFC:
            return self.uint(2)
        if first == 0xFD:
            return self.uint(3)
        if first == 0xFE:
            return self.uint(8)
        raise MalformedPacket(f"0x{first:02x} does not start a length-encoded integer")

    def lenenc_bytes(self) -> bytes:
        """A length-encoded string."""
        return self.take(self.lenenc_int())

    def lenenc_bytes_or_null(self) -> bytes | None:
        """A value of a text row: a length-encoded string, or None for NULL (0xFB)."""
        if self.peek() == 0xFB:
            self._pos += 1
            return None
        return self.lenenc_bytes()

    def nul_bytes(self) -> bytes:
        """A string up to its NUL, which is consumed."""
        end = self._data.find(b"\0", self._pos)
        if end < 0:
            raise MalformedPacket(f"no NUL after offset {self._pos}")
        start, self._pos = self._pos, end + 1
        return self._data[start:end]

    def nul_bytes_or_rest(self) -> bytes:
        """A string up to its NUL, or up to the packet's end where a peer leaves the last NUL out."""
        if self._data.find(b"\0", self._pos) < 0:
            return self.rest()
        return self.nul_bytes()

    def rest(self) -> bytes:
        """Everything up to the packet's end."""
        return self.take(self.remaining)

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        self.take(size)


def lenenc_int(value: int) -> bytes:
    """Encode 0 … 2^64-1 as a length-encoded integer."""
    if value < 0xFB:
        return value.to_bytes(1, "little")
    if value < 1 << 16:
        return b"\xfc" + value.to_bytes(2, "little")
    if value < 1 << 24:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


def lenenc_bytes(value: bytes) -> bytes:
    """Encode a length-encoded string."""
    return lenenc_int(len(value)) + value


def nul_bytes(value: bytes) -> bytes:
    """Encode a NUL-terminated string; a NUL inside would end it early and is refused."""
    if b"\0" in value:
        raise ValueError("a NUL-terminated string cannot hold a NUL")
    return value + b"\0"


def frame(payload: bytes, sequence: int) -> bytes:
    """One packet as wire bytes, split every 16 MiB - 1; an exact multiple ends with an empty frame."""
    if len(payload) < MAX_FRAME:
        return len(payload).to_bytes(3, "little") + (sequence & 0xFF).to_bytes(1, "little") + payload
    frames = bytearray()
    for start in range(0, len(payload) + 1, MAX_FRAME):
        piece = payload[start : start + MAX_FRAME]
        frames += len(piece).to_bytes(3, "little") + (sequence & 0xFF).to_bytes(1, "little") + piece
        sequence += 1
    return bytes(frames)


def frame_all(payloads: Iterable[bytes], sequence: int) -> bytes:
    """Several packets as wire bytes, sequence numbers running on (modulo 256) from `sequence`."""
    wire = bytearray()
    for payload in payloads:
        wire += frame(payload, sequence)
        sequence += len(payload) // MAX_FRAME + 1
    return bytes(wire)
