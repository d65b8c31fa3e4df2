"""CPU time, memory and CPU affinity of process trees, from /proc (proc(5), the kernel's sched-stats page)."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class CpuReading:
    """Nanoseconds on a CPU so far of every task of some processes: {(pid, tid): ns}."""

    tasks: dict[tuple[int, int], int]

    def pids(self) -> set[int]:
        return {pid for pid, _ in self.tasks}


@dataclass(frozen=True)
class CpuUsed:
    """What happened between two readings. `vanished` tasks took their last nanoseconds with them."""

    nanoseconds: int
    vanished: int


def parse_schedstat(text: str) -> int:
    """Nanoseconds on the CPU: the first of the three numbers of /proc/PID/task/TID/schedstat."""
    fields = text.split()
    if len(fields) != 3:
        raise ValueError(f"not a schedstat line: {text!r}")
    return int(fields[0])


def read_cpu(pids: Iterable[int], proc: Path = PROC) -> CpuReading:
    """Reads every task of every process. A process or task that is gone by now is not in the reading."""
    tasks: dict[tuple[int, int], int] = {}
    for pid in pids:
        for tid in task_ids(pid, proc):
            try:
                tasks[pid, tid] = parse_schedstat((proc / f"{pid}/task/{tid}/schedstat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue
    return CpuReading(tasks)


def cpu_between(before: CpuReading, after: CpuReading) -> CpuUsed:
    """CPU time between two readings; tasks born in between count from their first nanosecond."""
    used = sum(ns - before.tasks.get(task, 0) for task, ns in after.tasks.items())
    return CpuUsed(used, len(before.tasks.keys() - after.tasks.keys()))


def task_ids(pid: int, proc: Path = PROC) -> list[int]:
    """Thread ids of a process in rising order, [] when it is gone."""
    try:
        return sorted(int(name) for name in os.listdir(proc / f"{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return []


def tree(root: int, proc: Path = PROC) -> list[int]:
    """A process and all its descendants, parents first."""
    found = [root]
    for pid in found:
        found.extend(children(pid, proc))
    return found


def children(pid: int, proc: Path = PROC) -> list[int]:
    """Direct children of every thread of a process (/proc/PID/task/TID/children)."""
    kids: list[int] = []
    for tid in task_ids(pid, proc):
        try:
            kids.extend(int(kid) for kid in (proc / f"{pid}/task/{tid}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return kids


def parse_kib(text: str, key: str) -> int:
    """The kB figure of a `Key:   123 kB` line in /proc/PID/status or smaps_rollup. KeyError when absent."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0])
    raise KeyError(key)


def rss_kib(pid: int, proc: Path = PROC) -> int:
    """Resident memory in KiB (VmRSS). FileNotFoundError when the process is gone."""
    return parse_kib((proc / f"{pid}/status").read_text(), "VmRSS")


def pin(pids: Iterable[int], cpus: Iterable[int]) -> None:
    """Binds every task of every process to `cpus`; tasks they create later inherit it.

    Looks again until a pass finds no new task, because a thread may start while its siblings are bound.
    """
    wanted, processes = set(cpus), list(pids)
    done: set[int] = set()
    while True:
        fresh = {tid for pid in processes for tid in task_ids(pid)} - done
        if not fresh:
            return
        for tid in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(tid, wanted)
        done |= fresh
