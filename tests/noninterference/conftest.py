"""Twins for the whole folder, one pair of worlds for each kind of server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from loadtest.world.sqlserver import ServerMissing
from tests.servers import absent

if TYPE_CHECKING:
    from tests.noninterference.twins import Twins


HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`items` are those of all folders."""
    for item in items:
        if item.path.is_relative_to(HERE) and not {"twins", "outcomes"}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)
            # With --dist loadgroup each kind of server has a test process of its own, which adds up what was answered.
            item.add_marker(pytest.mark.xdist_group(item.callspec.params["flavour"]))


@pytest.fixture(scope="package")
def _standing() -> Iterator[dict[str, Twins]]:
    found: dict[str, Twins] = {}
    yield found
    for twins in found.values():
        twins.close()


@pytest.fixture
def twins(_standing: dict[str, Twins], flavour: str) -> Twins:
    """Started when first asked for."""
    from tests.noninterference.twins import Twins

    if flavour not in _standing:
        try:
            _standing[flavour] = Twins(flavour)
        except ServerMissing as missing:
            absent(flavour, missing)
    return _standing[flavour]
