"""Fixtures shared by all tests: real servers on loopback.

    def test_something(world): ...                     one region, two shards, no replicas
    @pytest.mark.world(regions=2, replicas=1)          another shape
    @pytest.mark.world("full")                         two regions of two shards with replicas, as in the demo

They are MariaDB; a test that must see both kinds is parametrised over the fixture `flavour` (`BOTH_SERVERS` in
tests/servers.py, which also tells how to choose). Servers start once per test process and shape; each test begins
with the data as loaded. A missing server skips its tests, loudly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import DEFAULT, MISSING, absent

if TYPE_CHECKING:
    from loadtest.world.layout import Shape
    from loadtest.world.world import World

MAX_WORLDS = 3
"""Shapes kept running side by side; the one unused for longest is stopped first."""
MARKER = "world(name=None, *, regions=1, shards=2, replicas=0, durable=False, redis=False): the shape of the world"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    missing = sorted({reason.partition(MISSING)[2].rstrip("')") for reason in skipped if MISSING in reason})
    if missing:
        count = sum(MISSING in reason for reason in skipped)
        terminalreporter.section(f"{count} tests did not run for want of a server", yellow=True, bold=True)
        for reason in missing:
            terminalreporter.line(reason.replace("\\n", "\n"))


class Worlds:
    """The running worlds by shape."""

    def __init__(self) -> None:
        self._running: dict[Shape, World] = {}

    def get(self, shape: Shape) -> World:
        """A world of this shape in its initial state. Raises ServerMissing."""
        world = self._running.pop(shape, None)
        if world is not None and not self._reset(world):
            world = None
        self._running[shape] = world or self._start(shape)
        return self._running[shape]

    def stop(self) -> None:
        while self._running:
            self._running.popitem()[1].stop()

    def _start(self, shape: Shape) -> World:
        from loadtest.world.world import World

        while len(self._running) >= MAX_WORLDS:
            self._running.pop(next(iter(self._running))).stop()
        world = World(shape)
        try:
            world.start()
        except BaseException:
            world.stop()
            raise
        return world

    def _reset(self, world: World) -> bool:
        from loadtest.world.process import ServerFailed

        try:
            world.reset()
        except (ServerFailed, OSError, RuntimeError):
            # A test may leave servers beyond repair; a new world costs a second or two.
            world.stop()
            return False
        return True


@pytest.fixture(scope="session")
def worlds() -> Iterator[Worlds]:
    pool = Worlds()
    yield pool
    pool.stop()


@pytest.fixture
def flavour() -> str:
    """`mariadb` or `mysql`."""
    return DEFAULT


@pytest.fixture
def world(request: pytest.FixtureRequest, worlds: Worlds, flavour: str) -> Iterator[World]:
    """Real servers with the shop's tables and an empty unsharded keyspace `plain` (loadtest/world/)."""
    from loadtest.world.sqlserver import ServerMissing

    try:
        running = worlds.get(_shape(request.node.get_closest_marker("world"), flavour))
    except ServerMissing as missing:
        absent(flavour, missing)
    yield running
    running.stop_custom_fleets()


def _shape(marker: pytest.Mark | None, flavour: str) -> Shape:
    from loadtest.world.layout import FULL, SMALL, Shape
    from loadtest.world.sqlserver import Tuning

    names = {"small": SMALL, "full": FULL}
    given = dict(marker.kwargs) if marker else {}
    base = names[marker.args[0]] if marker and marker.args else SMALL
    return Shape(
        regions=FULL.regions[: given["regions"]] if "regions" in given else base.regions,
        shards=given.get("shards", base.shards),
        replicas=given.get("replicas", base.replicas),
        flavour=given.get("flavour", flavour),
        tuning=Tuning(durable=given.get("durable", False)),
        redis=given.get("redis", False),
    )
