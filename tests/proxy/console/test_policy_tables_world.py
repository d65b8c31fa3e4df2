"""The console's tables about the policy, of a Fairlead that has decided something: decisions, exposure, findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.world.world import World
from tests.proxy.clients import ids_on, value
from tests.proxy.console.test_console_world import launch
from tests.proxy.test_exposure_world import as_analyst, changes, with_known_key

pytestmark = pytest.mark.world(regions=2)


def test_what_was_decided_and_counted_is_shown(world: World, tmp_path: Path) -> None:
    member = launch(world, changes(with_known_key(tmp_path / "audit"), 30, warn=2), workers=1)
    assert member.ask("SELECT * FROM decisions") == member.ask("SELECT * FROM exposure") == []
    with as_analyst(member.fairlead) as connection:
        for key in ids_on(world, "eu-0", 3):
            assert "*" in value(connection, f"SELECT email FROM customers WHERE id = {key}")
    decisions = "SELECT subject, verdict, tables, homes, to_domain, row_count FROM decisions"
    member.until(lambda: len(member.ask(decisions)) == 3, "the decisions")
    assert set(member.ask(decisions)) == {("analyst", "mask", "shop.customers", "eea", "usa", 1)}
    assert member.ask("SELECT budget, class, from_domain, to_domain, persons, high, budgeted, level FROM exposure") == [
        ("bulk", "personal", "eea", "usa", 3, 4, 30, "warn")
    ]
    (finding,) = member.ask("SELECT severity, place, text FROM findings WHERE code = 'BUDGET_WARNING'")
    assert finding[:2] == ("warning", "budget bulk") and "about 3 persons of 30" in finding[2]
