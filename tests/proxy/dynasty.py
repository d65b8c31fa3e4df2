"""A Fairlead, and those that it hands over to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import Connection, client, metric, until


class Dynasty:
    """A Fairlead and those that it hands over to. `pids`: all that there were."""

    def __init__(self, member: Fairlead) -> None:
        self.member = member
        self.pids = [member.pid]
        self._before = member.log.read_text().rpartition("\nFairlead ")[0]

    def log(self) -> str:
        """What was said since the first one's start."""
        return self.member.log.read_text().removeprefix(self._before)

    def begin(self) -> int:
        """Starts one more, which is to take over."""
        before = self.log().count("handing over to process")
        os.kill(self.pids[-1], signal.SIGUSR2)
        told = r"handing over to process (\d+)"
        return int(until(lambda: re.findall(told, self.log())[before:], "a new process", self.member)[0])

    def succeed(self) -> None:
        """One more."""
        self.pids.append(self.begin())
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

    def succeed_and_end(self) -> None:
        """One more, to which all clients move."""
        self.succeed()
        self.ended(-2)

    def ended(self, place: int = 0) -> None:
        """Waits until one of the processes has."""
        until(lambda: not self.alive(self.pids[place]), "all have left the process before", self.member)

    @contextlib.contextmanager
    def succeeding(self) -> Iterator[Connection]:
        """The second one, with a client that has moved there, as the only one: with one worker whoever can move, and
        came before it, has done so by then."""
        with client(self.member) as witness:
            self.succeed()
            self.has_taken(1)
            yield witness

    def has_taken(self, clients: int) -> None:
        """Waits until so many have come to the newest one. The one before may answer for its own a last time."""

        def have_moved() -> bool:
            return metric(self.member, "fairlead_clients_moved_total", direction="in") == clients

        until(have_moved, "they move", self.member)


@contextlib.contextmanager
def dynasty_of(world: World, changes: Mapping[str, Any], workers: int = 2) -> Iterator[Dynasty]:
    fleet = world.fleet({"limits": {"take_over": "30s", "drain": "1s"}, **changes})
    fleet.launch("eu", workers=workers)
    found = Dynasty(fleet["eu"])
    try:
        yield found
    finally:
        found.end()
