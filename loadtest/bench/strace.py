"""System calls per query, counted by `strace -c`."""

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtest.bench.errors import CannotMeasure

ATTACH_TIMEOUT = 10.0
FAMILIES: Mapping[str, frozenset[str]] = {
    "receives": frozenset({"read", "readv", "recv", "recvfrom", "recvmsg", "recvmmsg"}),
    "sends": frozenset({"write", "writev", "send", "sendto", "sendmsg", "sendmmsg"}),
    "polls": frozenset({"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6"}),
}


class StraceError(CannotMeasure):
    """strace is missing, may not attach, or wrote no table."""


def parse_summary(text: str) -> dict[str, int]:
    """{system call: count} of the table that `strace -c` prints. {} when nothing was called.

    The column `errors` is blank where there were none, so a line has five or six fields.
    """
    calls: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) in (5, 6) and fields[0].replace(".", "").isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
    return calls


def per_query(short: Mapping[str, int], long: Mapping[str, int], queries: int) -> dict[str, float]:
    """Calls per query from two runs whose lengths differ by `queries`; what happens once cancels out."""
    names = sorted(long.keys() | short.keys())
    return {name: (long.get(name, 0) - short.get(name, 0)) / queries for name in names}


def by_family(calls: Mapping[str, float]) -> dict[str, float]:
    """Receives, sends, polls, and all others together."""
    families = {name: sum(calls.get(call, 0.0) for call in members) for name, members in FAMILIES.items()}
    known = frozenset().union(*FAMILIES.values())
    return {**families, "others": sum(count for call, count in calls.items() if call not in known)}


class Counting:
    """`with Counting(pid, file) as counting: …; counting.calls` counts every thread's calls in the block."""

    def __init__(self, pid: int, file: Path) -> None:
        self._pid, self._file = pid, file
        self._process: subprocess.Popen[str] | None = None
        self.calls: dict[str, int] = {}

    def __enter__(self) -> Self:
        argv = ["strace", "-f", "-c", "-o", str(self._file), "-p", str(self._pid)]
        self._file.unlink(missing_ok=True)
        try:
            self._process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        except OSError as error:
            raise StraceError(f"strace cannot be run (apt-get install strace): {error}") from error
        self._wait_attached()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=ATTACH_TIMEOUT)
        if error is not None:
            return
        if not self._file.exists():
            raise StraceError(f"strace wrote nothing: {said}")
        self.calls = parse_summary(self._file.read_text())

    def _wait_attached(self) -> None:
        """Until every thread is traced (TracerPid of /proc/PID/task/TID/status)."""
        assert self._process is not None
        deadline = time.monotonic() + ATTACH_TIMEOUT
        while not _all_traced(self._pid):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise StraceError(f"strace may not attach to {self._pid}: {self._process.communicate()[1]}")
            time.sleep(0.01)


def _all_traced(pid: int) -> bool:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return bool(tasks) and all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)
