"""Child processes that never outlive this one.

Every child is started with PR_SET_PDEATHSIG (by util-linux's `setpriv`, so that no Python runs between fork
and exec). GOTCHA: the kernel sends that signal when the *thread* that forked ends, not the process; so all
children are started by one thread that lives as long as the process does.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

READY_TIMEOUT = 60.0
"""Seconds a server may take to answer: a cold, busy two-core machine needs a few."""
STOP_TIMEOUT = 30.0
POLL_INTERVAL = 0.02
LOG_TAIL_LINES = 30


class ServerFailed(RuntimeError):
    """A server ended or did not become ready; the message carries the end of its log."""


class _Spawner:
    """The long-lived thread that forks."""

    def __init__(self) -> None:
        self._executor = self._fresh()
        os.register_at_fork(after_in_child=self._renew)

    @staticmethod
    def _fresh() -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

    def _renew(self) -> None:
        self._executor = self._fresh()

    def spawn(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        future: Future[subprocess.Popen[bytes]] = self._executor.submit(start)
        return future.result()


_spawner = _Spawner()
Spawned = subprocess.Popen[bytes]


def spawn(argv: list[str], death_signal: str = "KILL", **options: Any) -> Spawned:
    """`subprocess.Popen` for a child that gets `death_signal` when this process dies.

    It leads a session of its own, so that Ctrl-C reaches only us; errors go where its output goes.
    """
    guarded = ["setpriv", "--pdeathsig", death_signal, "--", *argv]
    return _spawner.spawn(
        lambda: subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    )


class Server:
    """One server process: how to start it, when it is ready, how to end it.

    Subclasses give `command()` and `is_ready()`; `prepare()` makes files just before the first start.
    """

    death_signal = "KILL"
    """What the child gets when this process dies. KILL: its data are thrown away with the run directory."""
    stop_signal = signal.SIGTERM

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    def command(self) -> list[str]:
        """The argument vector."""
        raise RuntimeError(f"{type(self).__name__} does not say how it is started")

    def environment(self) -> Mapping[str, str]:
        """What is added to this process's environment."""
        return {}

    def is_ready(self) -> bool:
        """Whether the server answers. Called every few milliseconds; must not raise for "not yet"."""
        raise RuntimeError(f"{type(self).__name__} does not say when it is ready")

    def prepare(self) -> None:
        """Makes what the server needs on disk. Called once."""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed(f"{self.name} was never started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Forks and returns at once; `wait_ready` is the other half: many servers start side by side."""
        if self.alive:
            return
        if not self._prepared:
            self.prepare()
            self._prepared = True
        environment = {**os.environ, **self.environment()}
        with self.log.open("ab") as log:
            self._process = spawn(
                self.command(), self.death_signal, stdout=log, cwd=self.directory, env=environment
            )

    def wait_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Blocks until `is_ready()`.

        Raises ServerFailed when the process ends or `timeout` seconds pass first.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.alive:
                raise ServerFailed(
                    f"{self.name} ended with {self._exit_text()} before it was ready\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} was not ready after {timeout:.0f} s\n{self.log_tail()}")
            time.sleep(POLL_INTERVAL)

    def start(self, timeout: float = READY_TIMEOUT) -> None:
        self.launch()
        self.wait_ready(timeout)

    def stop(self, timeout: float = STOP_TIMEOUT) -> int | None:
        """Asks, then insists. Returns the exit code (negative: the signal), None when it never ran."""
        self.signal(self.stop_signal)
        return self.finish(timeout)

    def finish(self, timeout: float = STOP_TIMEOUT) -> int | None:
        """Waits for the end that was asked for by a signal, and insists when it does not come."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill_group()

    def kill(self) -> int | None:
        """`kill -9`, and waits for the process to be gone."""
        if self._process is None:
            return None
        self.signal(signal.SIGKILL)
        return self._process.wait(STOP_TIMEOUT)

    def kill_group(self) -> int | None:
        """`kill -9` for the process and all its children; the server is the leader of its own group."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait(STOP_TIMEOUT)

    def restart(self, timeout: float = READY_TIMEOUT) -> None:
        self.stop()
        self.start(timeout)

    def signal(self, number: int) -> None:
        """Sends a signal; a process that has already ended is no error."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP: the server is there but answers nothing, as when its disk hangs."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def wait_exit(self, timeout: float = STOP_TIMEOUT) -> int:
        """The exit code once the process has ended by itself. Raises subprocess.TimeoutExpired."""
        if self._process is None:
            raise ServerFailed(f"{self.name} was never started")
        return self._process.wait(timeout)

    def rss(self) -> int:
        """Resident bytes of the process and all its descendants (VmRSS of /proc/PID/status)."""
        return sum(_rss_of(pid) for pid in process_tree(self.pid))

    def cpu_seconds(self) -> float:
        """User and system seconds of the process and its living descendants."""
        return sum(_cpu_of(pid) for pid in process_tree(self.pid))

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _exit_text(self) -> str:
        code = None if self._process is None else self._process.poll()
        if code is not None and code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}"


def process_tree(root: int) -> list[int]:
    """`root` and its living descendants, parents first."""
    found = [root]
    for pid in found:
        for task in _listdir(f"/proc/{pid}/task"):
            children = _read(f"/proc/{pid}/task/{task}/children")
            found.extend(int(child) for child in children.split())
    return found


def _rss_of(pid: int) -> int:
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_of(pid: int) -> float:
    # proc(5): the second field may hold spaces and parentheses, so fields are counted from the last ")".
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 13:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
