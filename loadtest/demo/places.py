"""Where the demo listens, and who is in the way when it cannot."""

import contextlib
import os
from pathlib import Path

from loadtest.world import ports
from loadtest.world.layout import RegionPorts

PORTS = {
    "eu": RegionPorts(mysql=7306, peer=7326, http=7380, redis=7379, admin=7390),
    "us": RegionPorts(mysql=8306, peer=8326, http=8380, redis=8379, admin=8390),
}
LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp (include/net/tcp_states.h)."""


class PortTaken(RuntimeError):
    """A port of the demo is in use; the message names the port and, where it can be seen, the holder."""


def claim() -> None:
    """Takes the demo's ports for this process. Raises PortTaken unless every one is free."""
    taken = [port for port in _all_ports() if not ports.claim(port)]
    if taken:
        ports.release([port for port in _all_ports() if port not in taken])
        raise PortTaken("\n".join([*_by_holder(taken), "Stop it and run the demo again."]))


def _by_holder(taken: list[int]) -> list[str]:
    """A line for each process that holds some of these ports."""
    held: dict[str, list[str]] = {}
    for port in taken:
        held.setdefault(holder(port) or "another demo that is just starting, or a hidden process", []).append(str(port))
    return [
        f"port{'s' * (len(some) > 1)} {', '.join(some)} {'are' if len(some) > 1 else 'is'} taken by {who}"
        for who, some in held.items()
    ]


def still_open() -> list[str]:
    """Who listens on the demo's ports now: nobody, before it has started and after it has ended."""
    return [f"{holder(port) or 'a process'} listens on {port}" for port in _all_ports() if not ports.is_free(port)]


def _all_ports() -> list[int]:
    return [port for one in PORTS.values() for port in (one.mysql, one.peer, one.http, one.redis, one.admin) if port]


def holder(port: int) -> str | None:
    """The program listening on a TCP port, `name (pid 12)`; None when nobody does or it cannot be seen."""
    sockets = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        if sockets & _open_sockets(process):
            return f"{_name(process)} (pid {process.name})"
    return None


def _listening_inodes(port: int) -> set[str]:
    """`socket:[inode]` of each listener on the port (proc(5), /proc/net/tcp)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _text(Path(table)).splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _open_sockets(process: Path) -> set[str]:
    found = set()
    # A process may be another user's or end meanwhile, a descriptor may be closed: then it is not the holder.
    with contextlib.suppress(OSError):
        for name in os.listdir(process / "fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(process / "fd" / name))
    return found


def _name(process: Path) -> str:
    return _text(process / "comm").strip() or "?"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
