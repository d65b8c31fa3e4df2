"""Explanations: what EXPLAIN ROUTE and `fairlead explain` print."""

from __future__ import annotations

import json

import pytest

from router.explain import explain
from tests.router.planning import context

US = 2 << 40 | 5


def test_one_shard() -> None:
    found = explain("SELECT * FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.id = 7", context())
    assert (found.kind, found.shards, found.regions) == ("ByKey", ("eu-0",), ("eu",))
    assert found.tables == (("shop.customers", "read"), ("shop.orders", "read"))
    assert found.error is None
    rows = found.as_rows()
    assert ("shard", "eu-0") in rows
    assert ("region", "eu") in rows
    assert ("table", "shop.orders (read)") in rows
    assert ("sends", "the statement as it is") in rows
    assert ("reads from", "a replica, when the session allows it") in rows
    assert any(step == "because" and "by_id" in detail for step, detail in rows)


def test_a_foreign_region() -> None:
    found = explain(f"UPDATE orders SET total = 1 WHERE customer_id = {US}", context())
    assert found.regions == ("us",)
    assert ("reads from", "the primary") in found.as_rows()


def test_several_shards() -> None:
    found = explain(f"SELECT * FROM customers WHERE id IN (5, {US})", context())
    assert found.kind == "Scatter"
    assert len(found.shards) == 2
    assert found.regions == ("eu", "us")


def test_a_refusal() -> None:
    found = explain("SELECT country, COUNT(*) FROM customers GROUP BY country WITH ROLLUP", context())
    assert found.kind == "Refuse"
    assert found.shards == ()
    assert found.error is not None and found.error.startswith("FL1227")
    assert found.as_rows()[0] == ("route", found.error)
    assert found.as_dict()["error"] == found.error


def test_a_refusal_by_values() -> None:
    found = explain(f"DELETE FROM customers WHERE id IN (5, {US})", context())
    assert found.kind == "Refuse"
    assert found.error is not None and found.error.startswith("FL1301")
    assert "otherwise=Refuse(MULTI_SHARD_WRITE" in found.plan


def test_a_split_shows_its_texts() -> None:
    found = explain(f"INSERT INTO customers (id, name) VALUES (5, 'a'), ({US}, 'b')", context("best"))
    assert found.kind == "SplitInsert"
    assert set(found.sql) == set(found.shards) and len(found.sql) == 2
    assert ("sends", "a part of the rows to each shard") in found.as_rows()


def test_pins_are_named() -> None:
    assert ("pins", "get lock") in explain("SELECT GET_LOCK('a', 1)", context("app")).as_rows()


def test_without_a_schema_declared_types_stand_in() -> None:
    assert explain("SELECT * FROM customers WHERE id = 7", context(offline=True)).shards == ("eu-0",)
    refused = explain("INSERT INTO customers VALUES (7, 'a')", context(offline=True))
    assert refused.error is not None and refused.error.startswith("FL1308")


@pytest.mark.parametrize("sql", ["", "SELECT", "'", "\x00", "SELECT \udcff", "(" * 5000, ";;", "/*!", "EXPLAIN ROUTE"])
def test_whatever_is_sent_is_explained(sql: str) -> None:
    found = explain(sql, context())
    assert json.dumps(found.as_dict())
    assert found.as_rows()


@pytest.mark.parametrize(
    ("database", "sql", "steps"),
    [
        (
            "shop",
            "SELECT country, SUM(balance) / COUNT(*) AS x FROM customers GROUP BY country HAVING COUNT(*) > 2 "
            "ORDER BY x LIMIT 3",
            ["limit", "└ sort", "  └ having", "    └ compute", "      └ group", "        └ read"],
        ),
        ("shop", "SELECT id FROM customers ORDER BY name LIMIT 2", ["limit", "└ merge", "  └ read"]),
        ("shop", "SELECT DISTINCT country FROM customers", ["distinct", "└ concatenate", "  └ read"]),
        ("shop", "SELECT id FROM customers", ["concatenate", "└ read"]),
        ("best", "UPDATE customers SET name = 'x'", ["commit", *["└ write"] * 4]),
        ("shop", "ALTER TABLE customers ADD COLUMN x INT", ["change", "└ change", "  └ try"]),
        ("shop", "SELECT id FROM customers WHERE id = 5", []),
        ("shop", "SELECT id FROM customers FOR UPDATE", ["concatenate", "└ read"]),
    ],
)
def test_the_steps_of_several_shards_are_a_tree(database: str, sql: str, steps: list[str]) -> None:
    found = explain(sql, context(database))
    assert [step for step, _ in found.tree] == steps
    shown = found.as_rows()
    assert shown[len(shown) - 1 - len(steps) : -1] == list(found.tree)


def test_subqueries_that_go_first_are_steps() -> None:
    found = explain("SELECT id FROM customers WHERE balance > (SELECT AVG(total) FROM orders)", context())
    assert (found.kind, found.shards) == ("PullOut", ())
    assert ("└ subquery", "run first: one value") in found.as_rows()
