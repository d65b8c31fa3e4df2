"""A shuttle at the edge: between a socket that speaks something encoded (TLS, compressed packets) and a plain one.

    remote socket <- encoded -> Shuttle (a Codec) <- plain -> inner | outer

`inner` and `outer` are a socketpair; `outer` is given to whoever speaks MySQL, who need not know of the codec.

Theory of operation. Two directions, each with at most one chunk in hand and no queue:
- inbound: recv(remote) -> decode -> send(inner). What `inner` does not take is kept, and `remote` is not read
  until it is gone.
- outbound: recv(inner) -> encode -> send(remote). What `remote` does not take is kept, and `inner` is not read
  until it is gone.
So a reader that stops reading stops the writer at the other end, and a shuttle holds at most about 64 KiB of
each direction (and what its codec needs to decode a unit) besides the kernel's socket buffers. In the steady
state there is no task and no timer.

Ends of life:
- remote EOF, or the codec's own end: `inner` is shut for writing once everything is delivered, so `outer` reads
  EOF; the other direction lives until `outer` is closed.
- `outer` closed: what is in hand is sent, then the codec's farewell and FIN; what still arrives is thrown away
  until the remote closes too (closing with unread data would send a reset that can destroy our last bytes on
  their way). Both waits have a limit.
- an error on either side: both are closed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from abc import ABC, abstractmethod
from typing import Final

from proxy.mysql.poller import Poller

CHUNK: Final = 64 * 1024
# After `outer` is closed: how long the rest may take to leave, then how long the remote may take to close.
FLUSH_SECONDS: Final = 30.0
LINGER_SECONDS: Final = 2.0

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_GONE: Final = select.EPOLLHUP | select.EPOLLERR
_UNWATCHED: Final = -1


class Codec(ABC):
    """Both directions of one connection's encoding. Every method may raise OSError: the connection is over."""

    ended = False
    """The remote has said, within the encoding, that nothing more comes."""

    @property
    def at_rest(self) -> bool:
        """Is it between two units in both directions, so that another one may go on from what this one knows?"""
        return False

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Take what the remote sent."""

    @abstractmethod
    def read(self) -> bytes:
        """Plain bytes of what was received; empty when more has to be received first."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Take plain bytes for the remote."""

    @property
    @abstractmethod
    def pending(self) -> int:
        """Encoded bytes that wait to be sent."""

    @abstractmethod
    def outgoing(self) -> bytes:
        """All of them."""

    @abstractmethod
    def farewell(self) -> None:
        """Put what says the end, if the encoding has such a thing, behind what waits."""


def attach(loop: asyncio.AbstractEventLoop, remote: socket.socket, codec: Codec) -> tuple[socket.socket, Shuttle]:
    """Start a shuttle that owns `remote` from now on; gives the plain, non-blocking end, and the shuttle."""
    inner, outer = socket.socketpair()
    inner.setblocking(False)
    outer.setblocking(False)
    shuttle = Shuttle(loop, remote, inner, codec)
    shuttle.start()
    return outer, shuttle


class Shuttle:
    """One connection's two directions; see the module's theory of operation."""

    __slots__ = (
        "_closed",
        "_discarding",
        "_inbound_over",
        "_inner",
        "_inner_mask",
        "_loop",
        "_poller",
        "_remote",
        "_remote_eof",
        "_remote_mask",
        "_timer",
        "_to_inner",
        "_to_remote",
        "codec",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, remote: socket.socket, inner: socket.socket, codec: Codec
    ) -> None:
        self._loop = loop
        self._poller = Poller.of(loop)
        self._remote = remote
        self._inner = inner
        self.codec = codec
        self._to_inner = b""  # plain bytes that `inner` did not take; while there is some, `remote` is not read
        self._to_remote = b""  # encoded bytes that `remote` did not take; while there is some, `inner` is not read
        self._remote_eof = False  # nothing more comes from the remote
        self._inbound_over = False  # nothing more goes to `inner`
        self._discarding = False  # `outer` was closed: send what is left, read only to throw away
        self._remote_mask = _UNWATCHED
        self._inner_mask = _UNWATCHED
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Begin; what the codec has received already is delivered first."""
        self._deliver()
        self._settle()

    # From process to process.

    @property
    def at_rest(self) -> bool:
        """Is nothing in hand? What comes next may then be carried by another shuttle."""
        return not self._closed and self._is_steady and self.codec.at_rest

    def give_away(self) -> tuple[socket.socket, socket.socket]:
        """(remote, inner) of a shuttle at rest, which has no more to do with them; the kernel's buffers go along."""
        self._closed = True
        for end in (self._remote, self._inner):
            self._poller.forget(end.fileno())
        return self._remote, self._inner

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
        if self._to_inner and events & (_OUT | _GONE) and self._send_inner():
            self._deliver()
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
            self.codec.receive(data)
        else:
            self._remote_eof = True
        self._deliver()

    def _deliver(self) -> None:
        """Hand on what is decoded, as long as `inner` takes it."""
        try:
            self._to_inner = self.codec.read()
            self._flush()  # the encoding itself may have something to answer
            while self._to_inner and self._send_inner():
                self._to_inner = self.codec.read()
        except OSError:  # SSLError is one
            self._close()
            return
        self._remote_eof = self._remote_eof or self.codec.ended
        if self._remote_eof and not self._to_inner:
            self._end_inbound()

    def _send_inner(self) -> bool:
        """Whether `inner` took all of it."""
        try:
            self._to_inner = self._to_inner[self._inner.send(self._to_inner) :]
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            # `outer` is closed. What it wrote before that may still be waiting to be read and sent.
            self._to_inner = b""
            self._inbound_over = True
            return False
        return not self._to_inner

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
            self.codec.write(data)
            self._flush()
        except OSError:
            self._close()

    def _flush(self) -> None:
        """Send what the codec has made, unless something is in hand already. Raises OSError."""
        if self._to_remote:
            if self.codec.pending > CHUNK:
                raise OSError("the remote makes the codec answer without reading the answers")
        elif self.codec.pending:
            self._to_remote = self.codec.outgoing()
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
        """`outer` is closed: send what is in hand and the farewell, then wait for the remote's own end."""
        self._discarding = True
        self._to_inner = b""
        self._limit(FLUSH_SECONDS)
        try:
            self.codec.farewell()
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
