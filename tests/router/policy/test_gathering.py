"""Values of several shards go to one of them to be computed with only within one legal domain."""

from __future__ import annotations

import pytest

from router import plan as plans
from router.errors import CATALOGUE
from tests.router.policy.test_decisions import context, decided

COMPUTED = b"SELECT SUM(id) / COUNT(*) FROM customers"


@pytest.mark.parametrize("subject", ["us", "eea"])
def test_computing_over_domains_is_refused(subject: str) -> None:
    planned, _ = decided(COMPUTED, context(subject))
    assert isinstance(planned.plan, plans.Refuse)
    assert CATALOGUE[planned.plan.entry].name == "COMPUTE_DOMAINS"


@pytest.mark.parametrize(
    "sql", [b"SELECT SUM(total) / COUNT(*) FROM orders", b"SELECT SUM(id), COUNT(*) FROM customers"]
)
def test_what_is_public_or_not_computed_is_answered(sql: bytes) -> None:
    planned, _ = decided(sql, context("eea"))
    assert isinstance(planned.plan, plans.Scatter)


def test_a_list_of_keys_is_left_when_it_stays_on_one_shard() -> None:
    planned, _ = decided(b"SELECT SUM(id) / COUNT(*) FROM customers WHERE id IN (1, 2)", context("eea"))
    assert isinstance(planned.plan, plans.ByKey)
    assert planned.plan.otherwise == plans.Refuse("COMPUTE_DOMAINS", ("eea, us",))


@pytest.mark.parametrize("subject", ["us", "eea"])
def test_values_of_a_restricted_table_are_not_put_into_a_text_for_other_shards(subject: str) -> None:
    planned, _ = decided(b"SELECT id FROM orders WHERE total > (SELECT MAX(id) FROM customers)", context(subject))
    assert isinstance(planned.plan, plans.Refuse)
    assert CATALOGUE[planned.plan.entry].name == "CROSS_SHARD_SUBQUERY"


def test_those_of_public_tables_are() -> None:
    planned, _ = decided(b"SELECT id FROM orders WHERE total > (SELECT AVG(total) FROM orders)", context("us"))
    assert isinstance(planned.plan, plans.PullOut)
