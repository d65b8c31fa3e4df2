"""CPU time and trees from a made-up /proc, and a few facts from the real one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.bench import procfs


class FakeProc:
    """A directory like /proc: tasks with their nanoseconds and children."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def task(self, pid: int, tid: int, nanoseconds: int, children: str = "") -> None:
        folder = self.root / f"{pid}/task/{tid}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "schedstat").write_text(f"{nanoseconds} 57026 1\n")
        (folder / "children").write_text(children)

    def gone(self, pid: int, tid: int) -> None:
        folder = self.root / f"{pid}/task/{tid}"
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


def test_schedstat_is_three_numbers() -> None:
    assert procfs.parse_schedstat("1234567 89 3\n") == 1234567
    with pytest.raises(ValueError, match="not a schedstat"):
        procfs.parse_schedstat("1234567\n")


def test_every_task_of_every_process_counts(proc: FakeProc) -> None:
    proc.task(10, 10, 1000)
    proc.task(10, 11, 50)
    proc.task(20, 20, 7)
    before = procfs.read_cpu([10, 20], proc.root)
    proc.task(10, 10, 1500)
    proc.task(10, 11, 60)
    proc.task(20, 20, 8)
    assert procfs.cpu_between(before, procfs.read_cpu([10, 20], proc.root)) == procfs.CpuUsed(511, 0)


def test_a_task_born_meanwhile_counts_from_its_start(proc: FakeProc) -> None:
    proc.task(10, 10, 1000)
    before = procfs.read_cpu([10], proc.root)
    proc.task(10, 12, 300)
    assert procfs.cpu_between(before, procfs.read_cpu([10], proc.root)) == procfs.CpuUsed(300, 0)


def test_a_task_that_vanished_is_reported(proc: FakeProc) -> None:
    proc.task(10, 10, 1000)
    proc.task(10, 11, 500)
    before = procfs.read_cpu([10], proc.root)
    proc.gone(10, 11)
    assert procfs.cpu_between(before, procfs.read_cpu([10], proc.root)) == procfs.CpuUsed(0, 1)


def test_a_process_that_is_gone_has_no_tasks(proc: FakeProc) -> None:
    assert procfs.read_cpu([99], proc.root).tasks == {}
    assert procfs.tree(99, proc.root) == [99]


def test_children_of_every_thread_belong_to_the_tree(proc: FakeProc) -> None:
    proc.task(10, 10, 0, "20 ")
    proc.task(10, 11, 0, "30")
    proc.task(20, 20, 0, "40")
    proc.task(30, 30, 0)
    proc.task(40, 40, 0)
    assert procfs.tree(10, proc.root) == [10, 20, 30, 40]


def test_memory_lines() -> None:
    text = "Name:\tx\nVmRSS:\t   1234 kB\nThreads:\t3\n"
    assert procfs.parse_kib(text, "VmRSS") == 1234
    with pytest.raises(KeyError):
        procfs.parse_kib(text, "Pss")


def test_own_cpu_time_rises_with_work() -> None:
    before = procfs.read_cpu([os.getpid()])
    sum(range(2_000_000))
    used = procfs.cpu_between(before, procfs.read_cpu([os.getpid()]))
    assert used.nanoseconds > 1_000_000


def test_pinning_binds_every_thread_of_a_tree() -> None:
    code = "import threading, sys\nthreading.Thread(target=sys.stdin.read).start()\nprint(1, flush=True)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline()
        cpu = min(os.sched_getaffinity(0))
        procfs.pin([child.pid], {cpu})
        assert len(procfs.task_ids(child.pid)) == 2
        assert all(os.sched_getaffinity(tid) == {cpu} for tid in procfs.task_ids(child.pid))
    finally:
        child.kill()
        child.communicate()
