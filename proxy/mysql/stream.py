"""Whole packets over a non-blocking socket, during the handshake.

Reads exactly the bytes of each packet: what comes after it belongs to OpenSSL or to the relay, which get the
socket next.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

from proxy.mysql.compression import CompressedCodec, Compressor
from proxy.mysql.errors import ConnectionClosed, ProtocolViolation
from proxy.mysql.shuttle import Shuttle, attach
from proxy.mysql.tls import TLSInfo, shuttle_client, shuttle_server
from proxy.mysql.wire import HEADER_SIZE, frame

# MySQL's own client lets connection attributes grow to 64 KiB; nothing else in a handshake comes near.
HANDSHAKE_PACKET_LIMIT: Final = 64 * 1024


class PacketStream:
    """One connection before the relay has it. `sock` changes when TLS begins (to the shuttle's plain end)."""

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, *, limit: int = HANDSHAKE_PACKET_LIMIT
    ) -> None:
        self.sock = sock
        self.tls: TLSInfo | None = None
        self.local = sock.family == socket.AF_UNIX
        self._loop = loop
        self._limit = limit
        self._sequence = 0

    @classmethod
    def behind_command(
        cls, sock: socket.socket, loop: asyncio.AbstractEventLoop, tls: TLSInfo | None, *, local: bool
    ) -> PacketStream:
        """Go on behind a command that was read elsewhere; what is known of the way cannot be seen at a plain end."""
        stream = cls(sock, loop)
        stream.tls, stream.local, stream._sequence = tls, local, 1
        return stream

    @property
    def secure(self) -> bool:
        """Whether nobody on the way can read: TLS, or a socket of this machine's file system."""
        return self.tls is not None or self.local

    async def read(self) -> bytes:
        """The next packet's payload. Raises ConnectionClosed, ProtocolViolation, OSError."""
        header = await self._exactly(HEADER_SIZE)
        size = int.from_bytes(header[:3], "little")
        if header[3] != self._sequence:
            raise ProtocolViolation(f"packet number {header[3]}, {self._sequence} is due")
        if size > self._limit:
            raise ProtocolViolation(f"packet of {size} bytes during the handshake")
        self._sequence = (self._sequence + 1) & 0xFF
        return await self._exactly(size)

    async def write(self, payload: bytes) -> None:
        """Send one packet."""
        wire = frame(payload, self._sequence)
        self._sequence = (self._sequence + 1) & 0xFF
        await self._loop.sock_sendall(self.sock, wire)

    async def accept_tls(self, context: ssl.SSLContext) -> TLSInfo:
        """Go on inside TLS, as the server. Raises TlsRefused, OSError."""
        self.sock, self.tls = await shuttle_server(self._loop, self.sock, context)
        return self.tls

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None) -> TLSInfo:
        """Go on inside TLS, as the client. Raises TlsRefused, OSError."""
        self.sock, self.tls = await shuttle_client(self._loop, self.sock, context, server_name)
        return self.tls

    def compress(self, compressor: Compressor) -> Shuttle:
        """Go on in compressed packets, as the server, on the plain end of this shuttle."""
        self.sock, shuttle = attach(self._loop, self.sock, CompressedCodec(compressor))
        return shuttle

    def close(self) -> None:
        """Close the connection; what was sent still goes out."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.sock.close()

    async def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = await self._some(size)
            if not piece:
                raise ConnectionClosed("the other side closed the connection during the handshake")
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _some(self, size: int) -> bytes:
        try:
            return self.sock.recv(size)  # usually it is there: a header brings its payload along
        except (BlockingIOError, InterruptedError):
            return await self._loop.sock_recv(self.sock, size)
