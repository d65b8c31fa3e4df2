"""The two sides of the differential tests, started once for the folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from loadtest.world.layout import Shape
from loadtest.world.sqlserver import ServerMissing
from tests.servers import DEFAULT, absent

if TYPE_CHECKING:
    from tests.differential.duel import Duel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "duel" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="package")
def duel() -> Iterator[Duel]:
    """In a world of its own, which no other test's takes the place of."""
    from loadtest.world.world import World
    from tests.differential.duel import Duel

    flavour = DEFAULT
    world = World(Shape(regions=("eu", "us"), shards=2, replicas=0, flavour=flavour))
    try:
        world.start()
        sides = Duel(world)
        yield sides
        sides.close()
    except ServerMissing as missing:
        absent(flavour, missing)
    finally:
        world.stop()
