"""Child processes of the supervisor: forked from it, gone with it, started again when they die."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from proxy import logs

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
"""What the supervisor handles, and its children do not inherit."""
LEFT_TO_SUPERVISOR = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
"""A terminal sends these to the whole group; children wait for the supervisor's word."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a dead child is started again; doubled with each death in a row."""
PROVEN = 10.0
"""A child that ran for so many seconds starts over with the shortest pause."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Wakeup:
    """Signals as readable bytes, from the moment this is made."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def take(self) -> list[signal.Signals]:
        """The signals that have come, in their order."""
        try:
            return [signal.Signals(number) for number in self._reader.recv(4096)]
        except BlockingIOError:
            return []

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start."""

    deaths: int = 0

    def pause(self, ran: float) -> float:
        """Seconds to wait after a death that came `ran` seconds after the start."""
        self.deaths = 1 if ran >= PROVEN else self.deaths + 1
        return float(min(FIRST_PAUSE * 2 ** min(self.deaths - 1, 16), LONGEST_PAUSE))


@dataclass(slots=True)
class Child:
    """One place for a child process: the process in it, if any, and when the next one starts."""

    name: str
    pid: int = 0
    started: float = 0.0
    restart_at: float | None = None
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def alive(self) -> bool:
        return self.pid != 0

    def start(self, main: Callable[[], None]) -> int:
        """Forks; the child runs `main`."""
        self.restart_at = None
        self.started = time.monotonic()
        self.pid = fork(self.name, main)
        return self.pid

    def reap(self) -> int | None:
        """The wait status when the process has ended; None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        self.pid = 0
        return status

    def start_later(self) -> float:
        """Sets when to start again; the seconds until then."""
        now = time.monotonic()
        pause = self.backoff.pause(now - self.started)
        self.restart_at = now + pause
        return pause

    def signal(self, number: int) -> None:
        # Not reaped yet, so the pid cannot be another's.
        if self.pid:
            os.kill(self.pid, number)

    def wait(self) -> None:
        """Blocks until the process has ended."""
        if self.pid:
            os.waitpid(self.pid, 0)
            self.pid = 0


def fork(name: str, main: Callable[[], None]) -> int:
    """The pid of a child that runs `main` and exits: 0, or 1 after an exception, which is logged."""
    supervisor = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    with _signals_held():
        pid = os.fork()
        if pid:
            return pid
        _become_child(supervisor)
    code = 1
    try:
        main()
        code = 0
    except BaseException as error:
        log.critical("%s ends: %s", name, logs.told(error))
    finally:
        os._exit(code)


@contextmanager
def _signals_held() -> Iterator[None]:
    """No signal between fork and the child's own handlers: they share the wakeup pair."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become_child(supervisor: int) -> None:
    """Dies with the supervisor (prctl(2), PR_SET_PDEATHSIG), and handles signals on its own account."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN if number in LEFT_TO_SUPERVISOR else signal.SIG_DFL)


def ending(status: int) -> str:
    """'was killed by SIGKILL' or 'exited with code 1', from a wait status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        known = {one.value: one.name for one in signal.Signals}
        return f"was killed by {known.get(number, f'signal {number}')}"
    return f"exited with code {os.waitstatus_to_exitcode(status)}"
