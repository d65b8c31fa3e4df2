"""Every leak that is planted in our own enforcement is found, by the same statements that must find none without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from tests.noninterference import planted
from tests.noninterference.estate import CHANGES
from tests.noninterference.test_masked_copy import lock_differences
from tests.noninterference.trial import WAYS, trial
from tests.noninterference.twins import Members, Twins
from tests.servers import DEFAULT, ONLY

SEEDS, STATEMENTS = range(len(WAYS) * 10), 100
LEAST = 20
ROOT = Path(__file__).parents[2]
LEAKS = planted.names()
CHEAP = [name for name, leak in LEAKS.items() if leak.get("cheap")]
OTHERS = [name for name, leak in LEAKS.items() if name not in CHEAP and "found_by" not in leak]
ONE_SERVER = {name: LEAKS[name].get("server", DEFAULT) for name in OTHERS}
"""Some leaks are one kind of server's."""

on_one_server = pytest.mark.parametrize("flavour", [DEFAULT])


@contextmanager
def leaking(twins: Twins, name: str) -> Iterator[Members]:
    """Fairleads with this leak in front of the same servers."""

    class Leaking(Fairlead):
        def command(self) -> list[str]:
            fairlead = super().command()
            python = str(Path(fairlead[0]).parent / "python")
            return [python, planted.__file__, name, *fairlead[1:]]

    def made(*args: Any, **options: Any) -> Fairlead:
        return Leaking(*args, **options)

    fleets = {side: world.fleet(CHANGES, made) for side, world in twins.worlds.items()}
    for fleet in fleets.values():
        for region in twins.shape.regions:
            fleet.launch(region)
    try:
        yield {region: {side: fleet[region] for side, fleet in fleets.items()} for region in twins.shape.regions}
    finally:
        for world in twins.worlds.values():
            world.stop_custom_fleets()


def _seeds(way: dict[str, str]) -> list[int]:
    return [seed for seed in SEEDS if all(getattr(WAYS[seed % len(WAYS)], part) == is_ for part, is_ in way.items())]


def _is_found(twins: Twins, name: str) -> None:
    asked = 0
    with leaking(twins, name) as members:
        for seed in _seeds(LEAKS[name].get("way", {})):
            outcome = trial(twins, seed, STATEMENTS, members, stop=True)
            asked += outcome.total
            if outcome.findings:
                print(f"{name}: found after {asked} statements\n{outcome.findings[0]}")
                return
    pytest.fail(f"{LEAKS[name]['about']}: not found by {asked} statements")


@on_one_server
@pytest.mark.parametrize("name", CHEAP)
def test_a_planted_leak_is_found(twins: Twins, name: str) -> None:
    _is_found(twins, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flavour"),
    [
        pytest.param(name, flavour, marks=[pytest.mark.mysql97] if flavour == "mysql" else [])
        for name, flavour in ONE_SERVER.items()
        if ONLY in (None, flavour)
    ],
)
def test_the_other_planted_leaks_are_found(twins: Twins, name: str) -> None:
    _is_found(twins, name)


@pytest.mark.slow
@on_one_server
def test_a_lock_that_is_not_repeated_is_found(twins: Twins) -> None:
    server = twins.worlds["a"].shards["eu-0"].primary
    with (
        leaking(twins, "lost-lock") as members,
        closing(members["eu"]["a"].connect("analyst", "x", database="cells")) as analyst,
    ):
        assert lock_differences(server, analyst, seed=0)


def test_there_are_enough() -> None:
    assert len(LEAKS) >= LEAST


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_fits_the_source(name: str) -> None:
    """Whoever changes what a leak is planted in plants it anew."""
    sources: dict[str, str] = {}
    for edit in planted.edits_of(name):
        path = ROOT / f"{edit.module.replace('.', '/')}.py"
        sources[edit.module] = edit.of(sources.get(edit.module) or path.read_text())
        compile(sources[edit.module], str(path), "exec")
