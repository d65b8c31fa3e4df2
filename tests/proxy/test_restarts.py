"""Restarts that are cut short by a kill, that follow each other closely, and many of them: `make restarts`."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtest.world.world import World
from tests.proxy.clients import client, raw, together, until, value
from tests.proxy.dynasty import Dynasty, dynasty_of
from tests.servers import BOTH_SERVERS

pytestmark = [pytest.mark.slow, BOTH_SERVERS]

CLIENTS = 20
QUICKLY = 3
MANY, SETTLED = 20, 3
"""Restarts, and how many of them until a process has all that it ever opens."""
GROWTH = 1.2


@pytest.fixture
def dynasty(world: World) -> Iterator[Dynasty]:
    world.shards["eu-0"].primary.run("CREATE TABLE work (client INT, n INT, PRIMARY KEY (client, n))", database="plain")
    with dynasty_of(world, {}) as found:
        yield found


class Workers:
    """Clients that write without pause, prepared. `counts`: what each has been told is written."""

    def __init__(self, dynasty: Dynasty) -> None:
        self._dynasty = dynasty
        self.counts = [0] * CLIENTS
        self.lost = [False] * CLIENTS
        self.done = threading.Event()

    def jobs(self, *, may_be_lost: bool = False) -> list[Callable[[], None]]:
        return [lambda number=number: self._work(number, may_be_lost) for number in range(CLIENTS)]  # type: ignore[misc]

    def _work(self, number: int, may_be_lost: bool) -> None:
        with raw(self._dynasty.member, database="plain") as connection:
            write = connection.prepare("INSERT INTO work VALUES (?, ?)")
            while not self.done.is_set():
                answer = connection.execute(write, (number, self.counts[number]), rebind=self.counts[number] == 0)
                if may_be_lost and answer.kind != "ok":
                    self.lost[number] = True
                    return
                assert answer.affected == 1, answer
                self.counts[number] += 1

    def go_on(self) -> None:
        """Waits until all who are there have written something more."""
        before = list(self.counts)

        def all_have() -> bool:
            return all(map(lambda now, then, lost: lost or now > then, self.counts, before, self.lost))

        until(all_have, "all go on", self._dynasty.member)

    def check(self, world: World) -> None:
        """What was acknowledged is there once. What a lost client had under way may be there, too."""
        written = world.shards["eu-0"].primary.query("SELECT client, COUNT(*), MAX(n) FROM plain.work GROUP BY client")
        found = {number: (count, last) for number, count, last in written}
        for number, count in enumerate(self.counts):
            told = (count, count - 1)
            assert found.get(number, (0, -1)) in ((told, (count + 1, count)) if self.lost[number] else (told,)), number


def _ended_soon(dynasty: Dynasty, pid: int) -> None:
    until(lambda: not dynasty.alive(pid), "it ends", dynasty.member)


def test_three_in_a_row(dynasty: Dynasty, world: World) -> None:
    """Each before the clients have left the one before: they go on to the last, and nothing is lost or doubled."""
    work = Workers(dynasty)

    def restart() -> None:
        try:
            work.go_on()
            for _ in range(QUICKLY):
                dynasty.succeed()
            for pid in dynasty.pids[:-1]:
                _ended_soon(dynasty, pid)
            work.go_on()
        finally:
            work.done.set()

    together([restart, *work.jobs()], 120.0)
    work.check(world)


def test_the_new_process_is_killed_before_it_has_taken_over(dynasty: Dynasty, world: World) -> None:
    """Nobody notices."""
    work = Workers(dynasty)

    def kill() -> None:
        try:
            work.go_on()
            os.kill(dynasty.begin(), signal.SIGKILL)
            until(lambda: "has not taken over; serving on" in dynasty.log(), "it is told", dynasty.member)
            work.go_on()
            with client(dynasty.member) as fresh:
                assert value(fresh, "SELECT 1") == 1
            dynasty.succeed()
            _ended_soon(dynasty, dynasty.pids[0])
            work.go_on()
        finally:
            work.done.set()

    together([kill, *work.jobs()], 120.0)
    work.check(world)


@pytest.mark.parametrize("place", [0, 1], ids=["old", "new"])
def test_one_of_both_is_killed_while_clients_move(dynasty: Dynasty, world: World, place: int) -> None:
    """Those who are there at that time are lost, with what they have under way; the others go on."""
    work = Workers(dynasty)

    def kill() -> None:
        try:
            work.go_on()
            dynasty.succeed()
            os.kill(dynasty.pids[place], signal.SIGKILL)
            _ended_soon(dynasty, dynasty.pids[place])
            work.go_on()
            if place == 0:
                with client(dynasty.member) as fresh:
                    assert value(fresh, "SELECT 1") == 1
        finally:
            work.done.set()

    together([kill, *work.jobs(may_be_lost=True)], 120.0)
    until(lambda: not _open_statements(world), "servers have ended what was under way", dynasty.member)
    work.check(world)


def _open_statements(world: World) -> list[tuple[object, ...]]:
    return world.shards["eu-0"].primary.query(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT INTO work%'"
    )


def test_many_restarts_leave_nothing_behind(dynasty: Dynasty) -> None:
    """Descriptors and memory of the twentieth process are those of an early one."""
    with contextlib.ExitStack() as held:
        plain = [held.enter_context(raw(dynasty.member, database="plain")) for _ in range(CLIENTS)]
        prepared = [one.prepare("SELECT ? + 1") for one in plain]
        seen: list[tuple[list[int], int]] = []
        for number in range(MANY):
            dynasty.succeed_and_end()
            for connection, statement in zip(plain, prepared, strict=True):
                assert connection.execute(statement, (number,), rebind=number == 0).kind == "rows"
            seen.append(_size_of(dynasty.pids[-1]))
        (early, early_memory), (late, late_memory) = seen[SETTLED], seen[-1]
        assert len(late) == len(early) and sum(late) <= sum(early) + CLIENTS, (early, late)
        assert late_memory < early_memory * GROWTH, [memory for _, memory in seen]


def _size_of(pid: int) -> tuple[list[int], int]:
    """-> (open descriptors of the process and each of its children, kB of memory of all)"""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    family = [Path(f"/proc/{one}") for one in (str(pid), *children)]
    memory = sum(int(one.joinpath("smaps_rollup").read_text().partition("Pss:")[2].split()[0]) for one in family)
    return sorted(len(list(one.joinpath("fd").iterdir())) for one in family), memory
