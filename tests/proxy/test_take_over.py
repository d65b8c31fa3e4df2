"""SIGUSR2: the program is started anew and takes over, and no client notices."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import ask, client, metric, together, until, value

CLIENTS, RESTARTS = 50, 3


class Dynasty:
    """A Fairlead and those that it hands over to. `pids`: all that there were."""

    def __init__(self, member: Fairlead) -> None:
        self.member = member
        self.pids = [member.pid]
        self._before = member.log.read_text().rpartition("\nFairlead ")[0]

    def log(self) -> str:
        """What was said since the first one's start."""
        return self.member.log.read_text().removeprefix(self._before)

    def succeed(self) -> None:
        """One more."""
        before = self.log().count("handing over to process")
        os.kill(self.pids[-1], signal.SIGUSR2)
        told = r"handing over to process (\d+)"
        found = until(lambda: re.findall(told, self.log())[before:], "a new process", self.member)
        self.pids.append(int(found[0]))
        until(lambda: f"process {self.pids[-1]} has taken over" in self.log(), "it takes over", self.member)

    def alive(self, pid: int) -> bool:
        """A process that has ended may not have been waited for yet."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return False

    def end(self) -> None:
        for pid in self.pids:
            if self.alive(pid):
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGTERM)
        until(lambda: not any(self.alive(pid) for pid in self.pids), "the end of all", self.member)


@pytest.fixture
def dynasty(world: World, request: pytest.FixtureRequest) -> Iterator[Dynasty]:
    changes = {"limits": {"take_over": "30s", "drain": "1s"}, **getattr(request, "param", {})}
    fleet = world.fleet(changes)
    fleet.launch("eu", workers=2)
    found = Dynasty(fleet["eu"])
    yield found
    found.end()


def test_nobody_is_refused(dynasty: Dynasty) -> None:
    """Clients that come and go without pause, while the process is replaced three times."""
    done = threading.Event()
    counts = [0] * CLIENTS

    def come_and_go(number: int) -> None:
        while not done.is_set():
            with contextlib.closing(dynasty.member.connect()) as connection:
                assert value(connection, "SELECT COUNT(*) FROM customers WHERE id = 1") in (0, 1)
            counts[number] += 1

    def restart() -> None:
        try:
            for _ in range(RESTARTS):
                before = sum(counts)
                dynasty.succeed()
                until(lambda before=before: sum(counts) > before + CLIENTS, "clients come on", dynasty.member)
        finally:
            done.set()

    together([restart, *(lambda number=number: come_and_go(number) for number in range(CLIENTS))], 120.0)
    assert metric(dynasty.member, "fairlead_clients_rejected_total") == 0
    before = dynasty.pids[:-1]
    until(lambda: not any(dynasty.alive(pid) for pid in before), "who is needed no more leaves", dynasty.member)


def test_a_process_that_cannot_serve_changes_nothing(dynasty: Dynasty) -> None:
    text = dynasty.member.file.read_text()
    dynasty.member.file.write_text("region: nowhere\n")
    os.kill(dynasty.pids[0], signal.SIGUSR2)
    until(lambda: "has not taken over; serving on" in dynasty.log(), "it is told", dynasty.member)
    with client(dynasty.member) as connection:
        assert value(connection, "SELECT 1") == 1
    dynasty.member.file.write_text(text)
    dynasty.succeed()
    with client(dynasty.member) as connection:
        assert value(connection, "SELECT 1") == 1


def test_whoever_holds_something_stays_until_it_lets_go(dynasty: Dynasty) -> None:
    with client(dynasty.member, database="plain") as connection:
        ask(connection, "CREATE TEMPORARY TABLE mine (id INT)")
        dynasty.succeed()
        ask(connection, "INSERT INTO mine VALUES (1)")
        with client(dynasty.member, database="plain") as other:
            assert value(other, "SELECT 1") == 1
        assert value(connection, "SELECT COUNT(*) FROM mine") == 1
        assert dynasty.alive(dynasty.pids[0])
    until(lambda: not dynasty.alive(dynasty.pids[0]), "the first one leaves", dynasty.member)
