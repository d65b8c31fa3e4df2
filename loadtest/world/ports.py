"""Free TCP ports that stay ours, whoever else is testing on this machine.

Binding port 0 and closing the socket leaves a window in which a neighbour takes the same port, and a port
of the ephemeral range can be taken by any outgoing connection. So ports are drawn from below that range, and
each one is held by a lock on a file until this process ends: the kernel drops locks even after `kill -9`.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from threading import Lock

FIRST, LAST = 10_500, 32_000
"""The range drawn from: above well-known services, below Linux's default ephemeral range (32768-60999)."""

_held: dict[int, int] = {}
_guard = Lock()


class NoFreePort(RuntimeError):
    """The whole range is taken, or cannot be locked."""


def reserve(count: int = 1) -> list[int]:
    """`count` ports on which nothing listens and which no other caller of this function is given."""
    with _guard:
        return [_reserve_one() for _ in range(count)]


def claim(port: int) -> bool:
    """Holds one given port as `reserve` does. False when another process holds it, or listens there."""
    with _guard:
        descriptor = _lock(_lock_directory() / str(port))
        if descriptor is None:
            return False
        if not is_free(port):
            os.close(descriptor)
            return False
        _held[port] = descriptor
        return True


def release(ports: list[int]) -> None:
    """Gives ports back before the process ends. Unknown ports are ignored."""
    with _guard:
        for port in ports:
            descriptor = _held.pop(port, None)
            if descriptor is not None:
                os.close(descriptor)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could bind this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _reserve_one() -> int:
    directory = _lock_directory()
    start = random.SystemRandom().randrange(LAST - FIRST)
    for step in range(LAST - FIRST):
        port = FIRST + (start + step) % (LAST - FIRST)
        if port in _held:
            continue
        descriptor = _lock(directory / str(port))
        if descriptor is None:
            continue
        if is_free(port):
            _held[port] = descriptor
            return port
        os.close(descriptor)
    raise NoFreePort(f"no free port between {FIRST} and {LAST}")


def _lock_directory() -> Path:
    path = Path(tempfile.gettempdir()) / f"fl-ports-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
