"""What the supervisor and its workers say to each other, and what a worker is given at its fork.

Messages are JSON objects with a `verb`, one per datagram of a SOCK_SEQPACKET pair:

    supervisor -> worker   {"verb": "reload", "number": N, "digest": "…", "config": "…", "base": null, "beside": null,
                            "ports": [["127.0.0.1", 3306], …]} with a listening socket for each of the ports
                           {…, "beside": {"version": V, "kind": "shadow", "share": 0.0, "digest": …, "config": …, …}}
                           {"verb": "drain", "seconds": 30.0}
                           {"verb": "leave", "seconds": 300.0, "drain": 30.0}    another process has the
                            ports, and the workers there the other ends of the sockets that come along
    worker -> supervisor   {"verb": "ready"}   {"verb": "reloaded", "number": N}
                           {"verb": "refused", "number": N, "error": "…"}
    worker -> worker       {"verb": "kill", "to": 1, "ask": K, "session": N, "statement": true, "user": "…"}
                           {"verb": "killed", "to": 0, "ask": K, "outcome": "done"}

The supervisor passes the last two on, with the sender's place as `from`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from _speedups.stats import StatsPage
from config.settings import Settings

if TYPE_CHECKING:
    from proxy.supervision.ports import Shares
    from proxy.supervision.trial import Beside

MAX_MESSAGE = 64 * 1024
MAX_DESCRIPTORS = 253
"""Of one message (unix(7), SCM_RIGHTS)."""
MAX_ERROR = 8 * 1024
"""Characters of a refusal's reason; JSON may need six bytes for one."""

STREAMS, SUCCESSIONS = 1024, 8
"""More than there are workers, and more than there are processes that have not left yet."""

CLIENTS = 2
"""The format of what is told of a client that moves; only a process that reads the same one is given any."""

MALFORMED = "malformed"
BETWEEN_WORKERS = frozenset({"kill", "killed"})

Message = dict[str, Any]


@dataclass(frozen=True)
class WorkerStart:
    """What a forked worker is given. `control`: its non-blocking end of the pair; `inquiries`: by which the
    admin process asks it (`proxy.inquiries`); `ports`: what it listens on;
    `succession`: how many processes have handed over to the next before; `estate`: where clients of the one before come
    from; `secret`: for its Accounts.

    `digest` is that of the files which `settings` were read from; a reload's files must match the message's. A
    reload may name another `config`, and the `base` that its relative paths have (as for `config.load`). `beside`: a
    version on trial.
    """

    index: int
    workers: int
    page: StatsPage
    settings: Settings
    number: int
    config: Path
    region: str | None
    digest: str
    control: socket.socket
    inquiries: socket.socket
    ports: Shares
    succession: int
    estate: socket.socket | None
    secret: bytes = field(repr=False)
    beside: Beside | None = None

    @property
    def stream(self) -> int:
        """The number of its decision records' stream: the process before may still write its own."""
        return self.index + STREAMS * (self.succession % SUCCESSIONS)


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 (hex) over the files' names and bytes, in their order. Raises OSError."""
    whole = hashlib.sha256()
    for file in files:
        data = file.read_bytes()
        for part in (str(file).encode(), data):
            whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()


def pair() -> tuple[socket.socket, socket.socket]:
    """(supervisor's end, worker's end), both non-blocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def encode(message: Mapping[str, Any]) -> bytes:
    """One datagram. An `error` that is too long is cut."""
    whole = dict(message)
    if "error" in whole:
        whole["error"] = str(whole["error"])[:MAX_ERROR]
    return json.dumps(whole).encode()


def decode(data: bytes) -> Message:
    """The message in a datagram; one with the verb MALFORMED for what is none."""
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(data)
        if isinstance(message, dict) and isinstance(message.get("verb"), str):
            return message
    return {"verb": MALFORMED}


def send(
    control: socket.socket, message: Mapping[str, Any], sockets: Iterable[socket.socket] = (), memory: bytes = b""
) -> bool:
    """`sockets` go along, and so does `memory`, which may be more than a message holds. False when the other side has
    gone or takes nothing any more."""
    try:
        with contextlib.ExitStack() as held:
            descriptors = [sock.fileno() for sock in sockets]
            if memory:
                descriptors.append(held.enter_context(_in_memory(memory)).fileno())
                message = {**message, "memory": len(memory)}
            socket.send_fds(control, [encode(message)], descriptors)
    except OSError:
        return False
    return True


def has_ended(control: socket.socket) -> bool:
    """Will the other side never take anything any more?"""
    poll = select.poll()
    poll.register(control, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def _in_memory(data: bytes) -> BinaryIO:
    """A file without a name. Raises OSError."""
    file = os.fdopen(os.memfd_create("fairlead"), "w+b")
    try:
        file.write(data)
        file.flush()
    except OSError:
        file.close()
        raise
    return file


def receive(control: socket.socket, *, sockets: bool = False) -> list[Message] | None:
    """All messages that are there, now; None when the other side has gone. `sockets`: those that came along stand in
    the message under this name, and are the caller's; what came along in memory, under `memory`."""
    messages: list[Message] = []
    while True:
        try:
            data, came, _, _ = socket.recv_fds(control, MAX_MESSAGE, MAX_DESCRIPTORS if sockets else 0)
        except BlockingIOError:
            return messages
        except OSError:
            data, came = b"", []
        if not data:
            return messages or None
        messages.append(decode(data))
        if sockets:
            size = messages[-1].get("memory", 0)
            messages[-1]["memory"] = _from_memory(came.pop(), size) if size and came else b""
            messages[-1]["sockets"] = [socket.socket(fileno=fd) for fd in came]


def _from_memory(descriptor: int, size: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return os.pread(file.fileno(), size, 0)
