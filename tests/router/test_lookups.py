"""Which tables of a residual are loaded by what another one has given, and which are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.plan import Lookup, Residual
from router.route import values_by_shard
from tests.router import planning
from tests.router.policy.test_decisions import context
from tests.router.policy.test_scratched import with_scratch


def residual(sql: str) -> Residual:
    where = replace(planning.context("shop"), topology=with_scratch())
    planned = planning.planned(sql, where)
    assert isinstance(planned.plan, Residual), planned.plan
    return planned.plan


def lookups(sql: str) -> dict[str, str]:
    """'b': 'id of a.total' for a pull b whose `id` is looked up by what a gives in `total`."""
    plan = residual(sql)
    found = {}
    for pull in plan.pulls:
        if pull.lookup is not None:
            source = plan.pulls[pull.lookup.source]
            found[pull.alias] = f"{pull.lookup.column} of {source.alias}.{source.columns[pull.lookup.field].name}"
    return found


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT 1 FROM orders o JOIN customers c ON c.id = o.id WHERE o.state = 'x'", {"c": "id of o.id"}),
        ("SELECT 1 FROM customers c JOIN orders o ON o.id = c.id WHERE o.state = 'x'", {"c": "id of o.id"}),
        ("SELECT 1 FROM orders o, customers c WHERE c.id = o.id AND o.state = 'x'", {"c": "id of o.id"}),
        ("SELECT 1 FROM orders o LEFT JOIN customers c ON c.id = o.id WHERE o.state = 'x'", {"c": "id of o.id"}),
        # One by the other, and a third by that one.
        (
            "SELECT 1 FROM orders o JOIN customers c ON c.id = o.id JOIN orders p ON p.id = c.id WHERE o.state = 'x'",
            {"c": "id of o.id", "p": "id of c.id"},
        ),
        # Nothing that would be loaded less.
        ("SELECT 1 FROM orders o JOIN customers c ON c.id = o.id", {}),
        # Rows of customers without a match come out, too.
        ("SELECT 1 FROM customers c LEFT JOIN orders o ON o.id = c.id AND o.state = 'x'", {}),
        # It need not hold for every row.
        ("SELECT 1 FROM orders o JOIN customers c ON c.id = o.id OR c.id = 7 WHERE o.state = 'x'", {}),
        ("SELECT 1 FROM orders o JOIN customers c ON c.id < o.id WHERE o.state = 'x'", {}),
        ("SELECT 1 FROM orders o JOIN customers c ON c.id = o.id + 1 WHERE o.state = 'x'", {}),
        # Texts and DECIMALs are equal in their own ways.
        ("SELECT 1 FROM orders o JOIN customers c ON c.name = o.state WHERE o.id > 5", {}),
        ("SELECT 1 FROM orders o JOIN customers c ON c.id = o.total WHERE o.state = 'x'", {}),
    ],
)
def test_what_is_looked_up(sql: str, found: dict[str, str]) -> None:
    assert lookups(sql) == found


def test_values_go_where_their_rows_are() -> None:
    pull = residual("SELECT 1 FROM orders o JOIN customers c ON c.id = o.id WHERE o.state = 'x'").pulls[1]
    assert pull.lookup is not None and pull.lookup.vindex == "by_id"
    shards = ("eu-0", "eu-1", "us-0", "us-1")
    eu, us, nowhere = 7, (2 << 40) + 7, 9 << 40
    parted = values_by_shard(pull.lookup, "shop", [-5, eu, us, nowhere, 1 << 70], shards, with_scratch())
    assert sorted(value for values in parted.values() for value in values) == [eu, us]
    assert {name.partition("-")[0]: values for name, values in parted.items()} == {"eu": [eu], "us": [us]}


def test_without_a_shard_key_all_are_asked() -> None:
    lookup = Lookup("id", 0, 0)
    assert values_by_shard(lookup, "shop", [1, 2], ("eu-0", "us-0"), with_scratch()) == {"eu-0": [1, 2], "us-0": [1, 2]}
    assert values_by_shard(lookup, "shop", [], ("eu-0", "us-0"), with_scratch()) == {}


def test_values_stay_where_they_are_under_a_policy() -> None:
    where = replace(context("us"), topology=with_scratch("us"))
    planned = planning.planned("SELECT 1 FROM orders o JOIN notes n ON n.seq = o.id WHERE o.state = 'x'", where)
    assert isinstance(planned.plan, Residual)
    assert all(pull.lookup is None for pull in planned.plan.pulls)
