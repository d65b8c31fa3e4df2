"""What the client tests share: where they connect, and how much memory the proxy takes meanwhile.

`FAIRLEAD_DIRECT=1` sends them straight to a server instead: the control that shows a test itself to be right.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.clients.drivers import (
    DRIVERS,
    CommandLine,
    Driver,
    Target,
    mariadb_command_line,
    mysql_command_line,
)
from tests.servers import absent

if TYPE_CHECKING:
    from loadtest.world.fairlead import Fairlead
    from loadtest.world.world import World

DIRECT = os.environ.get("FAIRLEAD_DIRECT") == "1"
SAMPLE_INTERVAL = 0.02


class Memory:
    """Watches a proxy's resident memory while something runs."""

    def __init__(self, fairlead: Fairlead | None) -> None:
        self._fairlead = fairlead
        self._done = threading.Event()
        self._start = self._peak = 0
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._start = self._peak = self._now()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        self._peak = max(self._peak, self._now())

    @property
    def growth(self) -> int:
        """Bytes from the start to the peak."""
        return self._peak - self._start

    def _now(self) -> int:
        return self._fairlead.rss() if self._fairlead else 0

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_INTERVAL):
            self._peak = max(self._peak, self._now())


class Way:
    """The way from a client to the servers: through Fairlead, or straight to eu-0 as the control."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fairlead = None if DIRECT else world.fairlead("eu")
        self.target = Target(self._direct_port() if self.fairlead is None else self.fairlead.port)

    def memory(self) -> Memory:
        return Memory(self.fairlead)

    def _direct_port(self) -> int:
        primary = self.world.shards["eu-0"].primary
        primary.run(
            "CREATE USER IF NOT EXISTS demo@'127.0.0.1' IDENTIFIED BY 'demo'",
            "GRANT ALL ON plain.* TO demo@'127.0.0.1'",
            "GRANT ALL ON shop.* TO demo@'127.0.0.1'",
        )
        return primary.port


@pytest.fixture
def way(world: World) -> Way:
    return Way(world)


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.name)
def driver(request: pytest.FixtureRequest) -> Driver:
    chosen: Driver = request.param
    return chosen


@pytest.fixture(params=["mariadb", "mysql"])
def command_line(request: pytest.FixtureRequest, flavour: str) -> Iterator[CommandLine]:
    from loadtest.world.sqlserver import ServerMissing

    if DIRECT and (request.param, flavour) == ("mysql", "mariadb"):
        pytest.skip("MySQL 9's client no longer knows MariaDB's mysql_native_password")
    try:
        found = mariadb_command_line() if request.param == "mariadb" else mysql_command_line()
    except ServerMissing as missing:
        absent("mysql", missing)
    if found is None:
        absent("mariadb", "mariadb is not on this machine; wanted: mariadb-client")
    yield found
