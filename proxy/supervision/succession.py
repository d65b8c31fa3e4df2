"""From one `fairlead serve` to the next: the listening sockets pass on, so that no client finds the door closed.

On SIGUSR2 a supervisor starts its own command line again, whatever program is there by now, and hands it all listening
sockets over a SOCK_SEQPACKET pair (messages as in `proxy.supervision.control`, descriptors by SCM_RIGHTS, unix(7)):

    old -> new   {"verb": "ports", "binds": [["127.0.0.1", 3306], …]} and the sockets, as often as needed
                 {"verb": "admin", "binds": […]} and the sockets of the admin process
                 {"verb": "all", "succession": N}
    new -> old   {"verb": "taken", "pid": P, "clients": 1}     all its workers accept clients, and are reached by the
                                                               sockets that come along (`proxy.sessions.moves`)

Both accept until the old one hears that, so connections that wait to be accepted are never lost. A new process that
fails leaves the old one as it was.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from proxy.supervision import control
from proxy.supervision.candidate import Bind
from proxy.supervision.ports import Shares, shares_told, told_of

VARIABLE = "FAIRLEAD_TAKE_OVER"
"""The environment variable that names the new process's end of the pair."""
PATIENCE = 10.0
"""Seconds in which the old process says all it has to say."""
CHUNK = 128
"""Sockets of one message."""


class Heir:
    """The process that is to take over, as the one before it sees it."""

    def __init__(self, ports: Shares, admin: dict[Bind, socket.socket], succession: int) -> None:
        """Starts it. Raises OSError."""
        self._socket, theirs = control.pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                pass_fds=[theirs.fileno()],
                env={**os.environ, VARIABLE: str(theirs.fileno())},
            )
        self.pid = self._process.pid
        for verb, shares in (("ports", ports), ("admin", {bind: [sock] for bind, sock in admin.items()})):
            for binds, sockets in _chunks(shares):
                control.send(self._socket, {"verb": verb, "binds": binds}, sockets)
        control.send(self._socket, {"verb": "all", "succession": succession})

    def fileno(self) -> int:
        return self._socket.fileno()

    def heard(self) -> control.Message | None:
        """What it says; None when it has ended."""
        messages = control.receive(self._socket, sockets=True)
        if messages is None:
            return None
        return messages[0] if messages else {"verb": control.MALFORMED}

    def close(self) -> None:
        self._socket.close()


def _chunks(shares: Shares) -> Iterator[tuple[list[Bind], list[socket.socket]]]:
    binds, sockets = told_of(shares)
    for at in range(0, len(sockets), CHUNK):
        yield binds[at : at + CHUNK], sockets[at : at + CHUNK]


@dataclass
class Heritage:
    """What a process is given by the one before it; nothing, when it is the first. `succession`: how many there were
    before."""

    ports: dict[Bind, list[socket.socket]] = field(default_factory=dict)
    admin: dict[Bind, socket.socket] = field(default_factory=dict)
    succession: int = 0
    _before: socket.socket | None = None

    @classmethod
    def take(cls) -> Heritage:
        """Raises OSError, ValueError when the other side does not say what it should."""
        descriptor = os.environ.pop(VARIABLE, None)
        if descriptor is None:
            return cls()
        before = socket.socket(fileno=int(descriptor))
        os.set_inheritable(before.fileno(), False)
        before.settimeout(PATIENCE)
        heritage = cls(_before=before)
        while not heritage._took_all(before):
            pass
        before.setblocking(False)
        return heritage

    def _took_all(self, before: socket.socket) -> bool:
        data, descriptors, _, _ = socket.recv_fds(before, control.MAX_MESSAGE, control.MAX_DESCRIPTORS)
        message = control.decode(data)
        sockets = [socket.socket(fileno=one) for one in descriptors]
        match message["verb"]:
            case "ports":
                for bind, found in shares_told(message["binds"], sockets).items():
                    self.ports.setdefault(bind, []).extend(found)
            case "admin":
                self.admin.update({bind: one for bind, (one,) in shares_told(message["binds"], sockets).items()})
            case "all":
                self.succession = int(message["succession"])
                return True
            case _:
                raise ValueError("the process before has gone, or speaks another language")
        return False

    def close_admin_but(self, kept: dict[Bind, socket.socket]) -> None:
        """Sockets of the admin process that this configuration does not want."""
        for bind, sock in self.admin.items():
            if bind not in kept:
                sock.close()

    def taken(self, ways: list[socket.socket]) -> None:
        """All clients come here from now on; `ways`: to our workers, for those who move."""
        if self._before is not None:
            told = {"verb": "taken", "pid": os.getpid(), "clients": control.CLIENTS}
            control.send(self._before, told, ways[: control.MAX_DESCRIPTORS])
            self.close()

    def close(self) -> None:
        if self._before is not None:
            self._before.close()
            self._before = None
