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

    def succeed_and_end(self) -> None:
        """One more, to which all clients move."""
        self.succeed()
        self.ended(-2)

    def ended(self, place: int = 0) -> None:
        """Waits until one of the processes has."""
        until(lambda: not self.alive(self.pids[place]), "all have left the process before", self.member)

    @contextlib.contextmanager
    def succeeding(self) -> Iterator[Connection]:
        """One more, with a client that has moved there, as have by then all who can (with one worker) and came before
        it."""
        with client(self.member) as witness:
            before = metric(self.member, "fairlead_clients_moved_total", direction="in") if len(self.pids) > 1 else 0
            self.succeed()
            until(lambda: self.moved() > before, "the last one moves", self.member)
            yield witness

    def moved(self) -> float:
        """How many clients have come to the newest one."""
        return metric(self.member, "fairlead_clients_moved_total", direction="in")


@contextlib.contextmanager
def dynasty_of(world: World, changes: Mapping[str, Any], workers: int = 2) -> Iterator[Dynasty]:
    fleet = world.fleet({"limits": {"take_over": "30s", "drain": "1s"}, **changes})
    fleet.launch("eu", workers=workers)
    found = Dynasty(fleet["eu"])
    yield found
    found.end()
