"""Changes whose refusal by the server would tell of what is kept back, and tables whose rows lie in its order."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from router.context import Context
from router.schema import Check, ForeignKey, LiveTable, UniqueKey
from tests.router.policy.test_decisions import context, outcome

BETRAYS, FORM = "FL2105", "FL2104"
DELETE, REPLACE = "DELETE FROM customers WHERE id = 1", "REPLACE INTO customers (id, country) VALUES (1, 'x')"
UPDATE, INSERT = (
    "UPDATE customers SET country = 'x' WHERE id = 1",
    "INSERT INTO customers (id, country) VALUES (1, 'x')",
)
READ = "SELECT email FROM customers WHERE country = 'x'"


def with_tables(**changes: dict[str, Any]) -> Context:
    """The context of an analyst in the us; `changes`: fields of live tables."""
    where = context("us")
    shop = where.schemas["shop"]
    changed = {name: replace(shop.tables[name], **fields) for name, fields in changes.items()}
    tables: dict[str, LiveTable] = {**shop.tables, **changed}
    return replace(where, schemas=MappingProxyType({**where.schemas, "shop": replace(shop, tables=tables)}))


def on(sql: str, **changes: dict[str, Any]) -> str:
    return outcome(sql.encode(), with_tables(**changes), "eu-0")


def foreign(columns: str, parent: str) -> dict[str, Any]:
    return {"foreign_keys": (ForeignKey("f", (columns,), parent, ("id",)),)}


@pytest.mark.parametrize("parent", ["customers", "shop.customers"])
@pytest.mark.parametrize("sql", [DELETE, REPLACE])
def test_a_row_that_hidden_rows_refer_to_is_not_taken_away(sql: str, parent: str) -> None:
    assert on(sql) == "as it is"
    assert on(sql, tickets=foreign("id", parent)) == BETRAYS
    assert on(sql, orders=foreign("customer_id", parent)) == "as it is"


def test_a_key_that_hidden_rows_refer_to_is_not_changed() -> None:
    refers = {"foreign_keys": (ForeignKey("f", ("title",), "customers", ("country",)),)}
    assert on(UPDATE, tickets=refers) == BETRAYS
    assert on(UPDATE, tickets=foreign("id", "customers")) == "as it is"


def test_a_parent_that_may_not_be_seen_is_not_asked_for() -> None:
    assert on("INSERT INTO orders (customer_id, id) VALUES (1, 2)", orders=foreign("customer_id", "tickets")) == BETRAYS


@pytest.mark.parametrize(
    ("words", "becomes"), [("country name", BETRAYS), ("country id", "as it is"), ("name", "as it is")]
)
def test_a_check_over_what_is_kept_back_would_tell_of_it(words: str, becomes: str) -> None:
    checked = {"checks": (Check("fair", frozenset(words.split())),)}
    assert on(UPDATE, customers=checked) == becomes
    assert on(INSERT, customers=checked) == "as it is", "what it is about comes from the client"


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM customers PARTITION (p0) WHERE id = 1",
        "UPDATE customers PARTITION (p0) SET country = 'x' WHERE id = 1",
        "SELECT country FROM customers PARTITION (p0) WHERE id = 1",
    ],
)
def test_a_partition_tells_of_what_it_is_by(sql: str) -> None:
    without_keys: dict[str, Any] = {"unique_keys": ()}
    assert on(sql, customers={**without_keys, "partitioned_by": frozenset({"name"})}) in (BETRAYS, FORM)
    assert on(sql, customers={**without_keys, "partitioned_by": frozenset({"id"})}) not in (BETRAYS, FORM)


def test_a_unique_key_over_an_expression_may_be_about_any_column() -> None:
    keys = (UniqueKey("PRIMARY", ("id",)), UniqueKey("folded", (), exact=False))
    assert on(INSERT) == "as it is"
    assert on(INSERT, customers={"unique_keys": keys}) == BETRAYS
    assert "IGNORE INDEX (`folded`)" in on(READ, customers={"unique_keys": keys})


@pytest.mark.parametrize(
    ("table", "refused"),
    [
        ({"unique_keys": (), "partitioned_by": frozenset({"name"})}, True),
        ({"unique_keys": (), "partitioned_by": frozenset({"id"})}, False),
        ({"unique_keys": (UniqueKey("u", ("email",)),)}, True),  # NOT NULL: rows are stored by it
        ({"unique_keys": (UniqueKey("u", ("name",)),)}, False),
        ({"unique_keys": (UniqueKey("PRIMARY", ("id",)), UniqueKey("u", ("email",)))}, False),
    ],
)
def test_rows_that_lie_in_the_order_of_a_protected_column(table: dict[str, Any], refused: bool) -> None:
    assert (on(READ, customers=table) == FORM) == refused
