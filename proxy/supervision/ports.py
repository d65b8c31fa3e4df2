"""The sockets that workers listen on: bound by the supervisor and inherited, so that they outlive any process.

A TCP address has one socket for each worker, which share it by SO_REUSEPORT (socket(7)); a path has one Unix socket
for all of them (unix(7)). Nobody can connect before a worker listens.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from config.settings import ListenerSettings, MysqlListener, Settings
from config.words import SocketAccess
from proxy.supervision.candidate import OF_ADMIN, Bind, address_of, taken

Shares = Mapping[Bind, list[socket.socket]]
"""Sockets by what they are bound to."""

MODES = {SocketAccess.OWNER: 0o600, SocketAccess.GROUP: 0o660, SocketAccess.EVERYONE: 0o666}
PROBE_TIME = 1.0
"""Seconds to see whether somebody answers at a Unix socket that is there already."""


def binds_of(listener: ListenerSettings) -> list[Bind]:
    """Where it listens: (address, port), and (path, 0) for a Unix socket."""
    found = [] if listener.port is None else [address_of(listener)]
    if isinstance(listener, MysqlListener) and listener.socket is not None:
        found.append((str(listener.socket), 0))
    return found


def is_path(bind: Bind) -> bool:
    return bind[0].startswith("/")


@dataclass(frozen=True, slots=True)
class File:
    """A Unix socket's file, so that we take away no other than our own."""

    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> File | None:
        try:
            found = os.lstat(path)
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino)


class Ports:
    """All sockets of one supervisor for `workers` workers. `held`: those that another one has handed over."""

    def __init__(self, workers: int, held: Shares | None = None) -> None:
        self.workers = workers
        self._sockets: dict[Bind, list[socket.socket]] = {bind: list(given) for bind, given in (held or {}).items()}
        self._files: dict[str, File | None] = {bind[0]: File.at(bind[0]) for bind in self._sockets if is_path(bind)}

    def prepare(self, settings: Settings) -> Shares:
        """The sockets of this configuration: those held already, new ones for the rest. Nothing else changes yet.
        Raises ConfigError."""
        found: dict[Bind, list[socket.socket]] = {}
        try:
            for name, listener in settings.listeners.items():
                for bind in [] if isinstance(listener, OF_ADMIN) else binds_of(listener):
                    found[bind] = self._sockets.get(bind) or []
                    try:
                        self._complete(found[bind], bind, listener)
                    except OSError as error:
                        raise ConfigError([taken(settings, name, bind, error)]) from error
        except ConfigError:
            self.discard(found)
            raise
        return found

    def _complete(self, sockets: list[socket.socket], bind: Bind, listener: ListenerSettings) -> None:
        """As many as are needed. Raises OSError."""
        if is_path(bind):
            assert isinstance(listener, MysqlListener)
            if not sockets:
                sockets.append(_unix_socket(bind[0]))
            os.chmod(bind[0], MODES[listener.socket_access])
            return
        if not sockets:
            _check_free(bind, shared=any(port == bind[1] for _, port in self._sockets))
        while len(sockets) < self.workers:
            sockets.append(_tcp_socket(bind))

    def discard(self, prepared: Shares) -> None:
        """What was prepared will not be used."""
        for bind, sockets in prepared.items():
            if bind not in self._sockets:
                _close(sockets)
                if sockets and is_path(bind):
                    Path(bind[0]).unlink(missing_ok=True)

    def move(self, prepared: Shares) -> None:
        """From here on these are the sockets; clients can no longer come to others."""
        gone = [bind for bind in self._sockets if bind not in prepared]
        for bind in gone:
            _close(self._sockets[bind])
            self._unlink(bind)
        self._sockets = dict(prepared)
        for bind in self._sockets:
            if is_path(bind):
                self._files.setdefault(bind[0], File.at(bind[0]))

    def of(self, index: int) -> dict[Bind, list[socket.socket]]:
        """The share of one worker."""
        return {
            bind: sockets if is_path(bind) else sockets[index :: self.workers]
            for bind, sockets in self._sockets.items()
        }

    def all(self) -> Shares:
        return self._sockets

    def close(self, *, keep_files: bool = False) -> None:
        """No more clients. `keep_files`: another supervisor has the sockets."""
        for bind, sockets in self._sockets.items():
            _close(sockets)
            if not keep_files:
                self._unlink(bind)
        self._sockets = {}

    def close_in_child(self, index: int | None = None) -> None:
        """In a child: what is not worker `index`'s share."""
        own = {id(sock) for sockets in self.of(index).values() for sock in sockets} if index is not None else set()
        for sockets in self._sockets.values():
            _close([sock for sock in sockets if id(sock) not in own])

    def _unlink(self, bind: Bind) -> None:
        """The file of a Unix socket goes, unless somebody has put another one there."""
        if is_path(bind):
            ours = self._files.pop(bind[0], None)
            if ours is not None and ours == File.at(bind[0]):
                with contextlib.suppress(OSError):
                    os.unlink(bind[0])


def told_of(shares: Shares) -> tuple[list[Bind], list[socket.socket]]:
    """For a message: (where each socket is bound, the sockets)"""
    pairs = [(bind, sock) for bind, sockets in shares.items() for sock in sockets]
    return [bind for bind, _ in pairs], [sock for _, sock in pairs]


def shares_told(binds: Iterable[Sequence[Any]], sockets: Iterable[socket.socket]) -> dict[Bind, list[socket.socket]]:
    """The way back."""
    shares: dict[Bind, list[socket.socket]] = {}
    for (address, port), sock in zip(binds, sockets, strict=True):
        shares.setdefault((address, port), []).append(sock)
    return shares


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _check_free(bind: Bind, *, shared: bool) -> None:
    """Tried without SO_REUSEPORT, or a second Fairlead would share the first one's clients. `shared`: the port is ours
    on another address. Raises OSError."""
    _tcp_socket(bind, shared=shared).close()


def _tcp_socket(bind: Bind, *, shared: bool = True) -> socket.socket:
    """Bound, non-blocking. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in bind[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        sock.setblocking(False)
        sock.bind(bind)
    except OSError:
        sock.close()
        raise
    return sock


def _unix_socket(path: str) -> socket.socket:
    """Bound, non-blocking, for nobody but us yet; a socket that nobody listens on any more is taken away before.
    Raises OSError."""
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        sock.setblocking(False)
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


def _remove_stale(path: str) -> None:
    """Raises OSError: EADDRINUSE when somebody listens there, EEXIST for another kind of file."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket", path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(PROBE_TIME)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
                return
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
