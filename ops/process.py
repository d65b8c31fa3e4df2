"""What the kernel says about a process: memory, processor time, descriptors (proc(5))."""

import os
from dataclasses import dataclass

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """Resident bytes, user plus system seconds, open descriptors (None where that may not be read)."""

    resident_bytes: int
    cpu_seconds: float
    descriptors: int | None


def usage(pid: int) -> Usage | None:
    """Use of a process by pid; None when it is gone (or 0)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    user, system, pages = int(fields[11]), int(fields[12]), int(fields[21])
    return Usage(pages * PAGE, (user + system) / TICK, open_descriptors(pid))


def open_descriptors(pid: int) -> int | None:
    """Open descriptors; on Linux 6.2 and later the directory's size says it without a listing."""
    directory = f"/proc/{pid}/fd"
    try:
        return os.stat(directory).st_size or len(os.listdir(directory))
    except OSError:
        return None
