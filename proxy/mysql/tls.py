"""TLS at the edge: OpenSSL over memory BIOs as a shuttle's codec.

Why not the event loop's own TLS transport: on a TCP FIN uvloop's drops what it has received but not yet
delivered to a reader that is paused, and it allocates 256 KiB of buffer for each connection.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.mysql.errors import TlsRefused
from proxy.mysql.shuttle import CHUNK, Codec, attach


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """What was negotiated. The names are empty unless the other side's certificate was verified."""

    version: str
    cipher: str
    resumed: bool
    common_name: str | None
    alternative_names: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """Common name and alternative names together."""
        common = () if self.common_name is None else (self.common_name,)
        return frozenset((*common, *self.alternative_names))


async def shuttle_server(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, context: ssl.SSLContext
) -> tuple[socket.socket, TLSInfo]:
    """Accept TLS on a non-blocking socket; gives the plain, non-blocking end and what was negotiated.

    On success the shuttle owns `sock`. On failure (TlsRefused, OSError, cancellation) the caller still does.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    return await _shuttle(loop, sock, tls, incoming, outgoing)


async def shuttle_client(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, context: ssl.SSLContext, server_name: str | None
) -> tuple[socket.socket, TLSInfo]:
    """The same from the connecting side; `server_name` goes into SNI and is checked if `context` says so."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=False, server_hostname=server_name)
    return await _shuttle(loop, sock, tls, incoming, outgoing)


async def _shuttle(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    tls: ssl.SSLObject,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
) -> tuple[socket.socket, TLSInfo]:
    await _handshake(loop, sock, tls, incoming, outgoing)
    info = _describe(tls)
    plain, _ = attach(loop, sock, TlsCodec(tls, incoming, outgoing))
    return plain, info


async def _handshake(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    tls: ssl.SSLObject,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
) -> None:
    done = False
    while not done:
        refusal: ssl.SSLError | None = None
        try:
            tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            refusal = error
        if refusal is not None:
            with contextlib.suppress(OSError):  # the alert tells the other side why
                await loop.sock_sendall(sock, outgoing.read())
            raise TlsRefused(f"TLS handshake failed: {refusal}") from refusal
        if outgoing.pending:
            await loop.sock_sendall(sock, outgoing.read())
        if not done:
            data = await loop.sock_recv(sock, CHUNK)
            if not data:
                raise TlsRefused("the connection was closed during the TLS handshake")
            incoming.write(data)


def _describe(tls: ssl.SSLObject) -> TLSInfo:
    certificate: Mapping[str, Any] = tls.getpeercert() or {}
    subject = {key: value for part in certificate.get("subject", ()) for key, value in part}
    cipher = tls.cipher()
    return TLSInfo(
        version=tls.version() or "",
        cipher=cipher[0] if cipher else "",
        resumed=bool(tls.session_reused),
        common_name=subject.get("commonName"),
        alternative_names=tuple(str(name) for _, name in certificate.get("subjectAltName", ())),
    )


class TlsCodec(Codec):
    """An established TLS connection; what arrived together with the end of its handshake is in `incoming`."""

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing

    def receive(self, data: bytes) -> None:
        self._incoming.write(data)

    def read(self) -> bytes:
        """All plaintext that can be had of what was received; notes a close_notify."""
        pieces = []
        try:
            # pending() is asked first because an exception costs more than the question.
            while self._incoming.pending or self._tls.pending():
                piece = self._tls.read(CHUNK)
                if not piece:
                    self.ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: bytes) -> None:
        written = self._tls.write(data)
        while written < len(data):  # one record of 16 KiB at a time
            data = data[written:]
            written = self._tls.write(data)

    @property
    def pending(self) -> int:
        return self._outgoing.pending

    def outgoing(self) -> bytes:
        return self._outgoing.read()

    def farewell(self) -> None:
        # Makes close_notify, then asks for the other side's, which need not be waited for.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
