"""TLS at the edge: a shuttle between an encrypted socket and a plain one.

    remote socket <- ciphertext -> Shuttle (OpenSSL over memory BIOs) <- plaintext -> inner | outer

`inner` and `outer` are a socketpair; `outer` is given to whoever speaks MySQL, who need not know about TLS.

Why not the event loop's own TLS transport: on a TCP FIN uvloop's drops what it has received but not yet
delivered to a reader that is paused, and it allocates 256 KiB of buffer for each connection.

Theory of operation. Two directions, each with at most one chunk in hand and no queue:
- inbound: recv(remote) -> decrypt all of it -> send(inner). What `inner` does not take is kept, and `remote`
  is not read until it is gone.
- outbound: recv(inner) -> encrypt -> send(remote). What `remote` does not take is kept, and `inner` is not
  read until it is gone.
So a reader that stops reading stops the writer at the other end, and a shuttle holds at most about 64 KiB of
each direction besides the kernel's socket buffers. In the steady state there is no task and no timer.

Ends of life:
- remote EOF or close_notify: `inner` is shut for writing once everything is delivered, so `outer` reads EOF;
  the other direction lives until `outer` is closed.
- `outer` closed: what is in hand is sent, then close_notify and FIN; what still arrives is thrown away until
  the remote closes too (closing with unread data would send a reset that can destroy our last bytes on their
  way). Both waits have a limit.
- an error on either side: both are closed at once.
"""

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.mysql.errors import TlsRefused
from proxy.mysql.poller import Poller

CHUNK: Final = 64 * 1024
# After `outer` is closed: how long the rest may take to leave, then how long the remote may take to close.
FLUSH_SECONDS: Final = 30.0
LINGER_SECONDS: Final = 2.0

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_GONE: Final = select.EPOLLHUP | select.EPOLLERR
_UNWATCHED: Final = -1


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
    inner, outer = socket.socketpair()
    inner.setblocking(False)
    outer.setblocking(False)
    Shuttle(loop, sock, inner, tls, incoming, outgoing).start()
    return outer, info


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


class Shuttle:
    """One TLS connection's two directions; see the module's theory of operation."""

    __slots__ = (
        "_closed",
        "_discarding",
        "_inbound_over",
        "_incoming",
        "_inner",
        "_inner_mask",
        "_loop",
        "_outgoing",
        "_poller",
        "_remote",
        "_remote_eof",
        "_remote_mask",
        "_timer",
        "_tls",
        "_to_inner",
        "_to_remote",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        remote: socket.socket,
        inner: socket.socket,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
    ) -> None:
        self._loop = loop
        self._poller = Poller.of(loop)
        self._remote = remote
        self._inner = inner
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._to_inner = b""  # plaintext that `inner` did not take; while there is some, `remote` is not read
        self._to_remote = b""  # ciphertext that `remote` did not take; while there is some, `inner` is not read
        self._remote_eof = False  # nothing more comes from the remote
        self._inbound_over = False  # nothing more goes to `inner`
        self._discarding = False  # `outer` was closed: send what is left, read only to throw away
        self._remote_mask = _UNWATCHED
        self._inner_mask = _UNWATCHED
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Begin; what arrived together with the end of the TLS handshake is delivered first."""
        self._deliver()
        self._settle()

    # What is watched follows from what is in hand.

    @property
    def _is_steady(self) -> bool:
        """Nothing in hand, nobody gone, and watched accordingly: the case that has to be cheap."""
        in_hand = self._to_inner or self._to_remote
        ending = self._remote_eof or self._inbound_over or self._discarding
        return not in_hand and not ending and self._remote_mask == self._inner_mask == _IN

    @property
    def _reads_remote(self) -> bool:
        if self._discarding:
            return not self._to_remote and not self._remote_eof
        return not (self._to_inner or self._remote_eof or self._inbound_over)

    @property
    def _reads_inner(self) -> bool:
        return not (self._to_remote or self._discarding)

    def _settle(self) -> None:
        if self._closed or self._is_steady:
            return
        remote = (_IN if self._reads_remote else 0) | (_OUT if self._to_remote else 0)
        if remote != self._remote_mask and (remote or self._remote_mask != _UNWATCHED):
            self._poller.watch(self._remote.fileno(), remote, self._on_remote)
            self._remote_mask = remote
        inner = (_IN if self._reads_inner else 0) | (_OUT if self._to_inner else 0)
        if inner != self._inner_mask and (inner or self._inner_mask != _UNWATCHED):
            self._poller.watch(self._inner.fileno(), inner, self._on_inner)
            self._inner_mask = inner

    def _on_remote(self, events: int) -> None:
        if self._to_remote and events & (_OUT | _GONE):
            self._send_remote()
        if not self._closed and events & (_IN | _GONE):
            if self._reads_remote:
                self._receive_remote()
            elif events & _GONE:
                # A reset. What it left in the receive queue is read when it is its turn.
                self._poller.forget(self._remote.fileno())
                self._remote_mask = _UNWATCHED
        self._settle()

    def _on_inner(self, events: int) -> None:
        if self._to_inner and events & (_OUT | _GONE):
            self._send_inner()
        if not self._closed and events & (_IN | _GONE):
            if self._reads_inner:
                self._receive_inner()
            elif events & _GONE:
                # `outer` was closed while the remote is slow: what is left has only so long to leave.
                self._poller.forget(self._inner.fileno())
                self._inner_mask = _UNWATCHED
                self._limit(FLUSH_SECONDS)
        self._settle()

    # Inbound: remote to inner.

    def _receive_remote(self) -> None:
        try:
            data = self._remote.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._close()
            return
        if self._discarding:
            if not data:
                self._close()
            return
        if data:
            self._incoming.write(data)
        else:
            self._remote_eof = True
        self._deliver()

    def _deliver(self) -> None:
        try:
            self._to_inner = self._decrypt()
            self._flush()  # TLS itself may have something to answer
        except OSError:  # SSLError is one
            self._close()
            return
        if self._to_inner:
            self._send_inner()
        elif self._remote_eof:
            self._end_inbound()

    def _decrypt(self) -> bytes:
        """All plaintext that can be had of what was received; notes a close_notify."""
        pieces = []
        try:
            # pending() is asked first because an exception costs more than the question.
            while self._incoming.pending or self._tls.pending():
                piece = self._tls.read(CHUNK)
                if not piece:
                    self._remote_eof = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _send_inner(self) -> None:
        try:
            sent = self._inner.send(self._to_inner)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # `outer` is closed. What it wrote before that may still be waiting to be read and sent.
            self._to_inner = b""
            self._inbound_over = True
            return
        self._to_inner = self._to_inner[sent:]
        if self._remote_eof and not self._to_inner:
            self._end_inbound()

    def _end_inbound(self) -> None:
        self._inbound_over = True
        with contextlib.suppress(OSError):
            self._inner.shutdown(socket.SHUT_WR)

    # Outbound: inner to remote.

    def _receive_inner(self) -> None:
        try:
            data = self._inner.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # `outer` was closed with bytes unread; what it wrote came before this error
            data = b""
        if not data:
            self._start_closing()
            return
        try:
            self._encrypt(data)
            self._flush()
        except OSError:
            self._close()

    def _encrypt(self, data: bytes) -> None:
        written = self._tls.write(data)
        while written < len(data):  # one record of 16 KiB at a time
            data = data[written:]
            written = self._tls.write(data)

    def _flush(self) -> None:
        """Send what TLS has made, unless something is in hand already. Raises OSError."""
        if self._to_remote:
            if self._outgoing.pending > CHUNK:
                raise OSError("the remote makes TLS answer without reading the answers")
        elif self._outgoing.pending:
            self._to_remote = self._outgoing.read()
            with contextlib.suppress(BlockingIOError, InterruptedError):
                self._to_remote = self._to_remote[self._remote.send(self._to_remote) :]

    def _send_remote(self) -> None:
        try:
            self._to_remote = self._to_remote[self._remote.send(self._to_remote) :]
            self._flush()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._close()
            return
        if self._discarding and not self._to_remote:
            self._finish_sending()

    # The end.

    def _start_closing(self) -> None:
        """`outer` is closed: send what is in hand and close_notify, then wait for the remote's own end."""
        self._discarding = True
        self._to_inner = b""
        self._limit(FLUSH_SECONDS)
        try:
            # Sends close_notify, then asks for the other side's, which need not be waited for.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        except OSError:
            self._close()
            return
        if not self._to_remote:
            self._finish_sending()

    def _finish_sending(self) -> None:
        try:
            self._remote.shutdown(socket.SHUT_WR)
        except OSError:
            self._close()
            return
        if self._remote_eof:
            self._close()
        else:
            self._limit(LINGER_SECONDS)

    def _limit(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._close)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for end in (self._remote, self._inner):
            self._poller.forget(end.fileno())
            end.close()
