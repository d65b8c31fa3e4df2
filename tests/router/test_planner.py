"""What the cases do not show: hints by user, modes, schemas that are missing or drift, COM_INIT_DB."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from _speedups import lexer
from router.explain import describe
from router.hints import Hints
from router.plan import ByKey, OneShard, Refuse, TableUse, UseDatabase
from router.planner import plan, plan_use
from router.schema import SchemaSnapshot
from tests.router.planning import context, planned, schemas, topology


def refused(sql: str, where: object) -> str:
    found = planned(sql, where).plan  # type: ignore[arg-type]
    assert isinstance(found, Refuse), describe(found)
    return found.entry


def test_the_facts_name_tables_and_verb() -> None:
    found = planned(
        "INSERT INTO notes (customer_id, seq) SELECT customer_id, id FROM orders WHERE customer_id = 7", context()
    )
    assert found.facts.verb == "insert"
    assert found.facts.tables == (TableUse("shop", "notes", "write"), TableUse("shop", "orders", "read"))
    assert found.facts.reads and found.facts.writes and not found.facts.replica_ok


def test_a_plan_can_be_compared_and_printed() -> None:
    one = planned("SELECT * FROM customers WHERE id = 7", context())
    other = planned("SELECT * FROM customers WHERE id = 8", context())
    assert one == other
    assert hash(one) == hash(other)
    assert "Topology" not in repr(one)


def test_hints_are_facts() -> None:
    found = planned("SELECT /* fairlead: consistency=eventual, max_lag=500ms */ 1", context())
    assert found.facts.hints == Hints(consistency="eventual", max_lag=500)


def test_a_hint_that_the_user_may_not_give() -> None:
    where = replace(context(), hints=frozenset({"shard"}))
    assert refused("SELECT /* fairlead: consistency=eventual */ 1", where) == "HINT_DENIED"
    assert isinstance(planned("SELECT /* fairlead: shard=eu-0 */ 1", where).plan, OneShard)


def test_ansi_quotes_make_names_of_double_quotes() -> None:
    sql = 'SELECT * FROM "customers" WHERE "id" = 7'
    assert isinstance(planned(sql, context(mode=lexer.ANSI_QUOTES)).plan, ByKey)
    assert isinstance(planned(sql, context()).plan, Refuse)


def test_an_unsafe_character_set_is_refused_whole() -> None:
    assert refused("SELECT 1", context(mode=lexer.UNSAFE_CHARSET)) == "UNSAFE_CHARSET"


def test_a_sharded_keyspace_waits_for_its_schema() -> None:
    where = replace(context(), schemas=MappingProxyType({}))
    assert refused("SELECT * FROM customers WHERE id = 7", where) == "SCHEMA_UNKNOWN"
    assert isinstance(planned("SELECT * FROM customers WHERE id = 7", replace(where, offline=True)).plan, ByKey)
    assert isinstance(planned("SELECT * FROM t", replace(where, database="app")).plan, OneShard)


def drifting(**tables: frozenset[str]) -> MappingProxyType[str, SchemaSnapshot]:
    shop = schemas()["shop"]
    return MappingProxyType({"shop": replace(shop, drifting=MappingProxyType(tables))})


def test_drift_matters_where_it_decides_the_route() -> None:
    key = replace(context(), schemas=drifting(customers=frozenset({"id"})))
    assert refused("SELECT * FROM customers WHERE id = 7", key) == "SCHEMA_DRIFT"
    other = replace(context(), schemas=drifting(customers=frozenset({"name", "*"})))
    assert isinstance(planned("SELECT * FROM customers WHERE id = 7", other).plan, ByKey)
    assert refused("INSERT INTO customers VALUES (7, 'a', 'b', 'de', 0)", other) == "SCHEMA_DRIFT"
    assert isinstance(planned("INSERT INTO customers (id, email) VALUES (7, 'a')", other).plan, ByKey)


def test_invisible_columns_are_not_given_values() -> None:
    shop = schemas()["shop"]
    table = shop.tables["customers"]
    hidden = replace(
        table, columns=(replace(table.columns[1], invisible=True), *(table.columns[0], *table.columns[2:]))
    )
    snapshot = replace(shop, tables=MappingProxyType({**shop.tables, "customers": hidden}))
    where = replace(context(), schemas=MappingProxyType({"shop": snapshot}))
    found = planned("INSERT INTO customers VALUES (7, 'b', 'de', 0)", where).plan
    assert isinstance(found, ByKey)
    assert found.keys[0][0].item == 0


def test_a_keyspace_that_is_gone_from_the_configuration() -> None:
    assert refused("SELECT * FROM t", replace(context(), database="gone")) == "UNKNOWN_DATABASE"


def test_init_db_is_use() -> None:
    assert plan_use("best", context()).plan == UseDatabase("best")
    assert plan_use("nowhere", context()).plan == Refuse("UNKNOWN_DATABASE", ("nowhere",))
    assert plan_use("best", context(user="reader")).plan == Refuse("DENIED_DATABASE", ("reader", "best"))


def test_a_plan_carries_what_its_names_mean() -> None:
    for sql in (
        "SELECT 1",
        "SELECT * FROM customers WHERE id = 7",
        "SHUTDOWN",
        "EXPLAIN SELECT * FROM customers WHERE id = 7",
    ):
        assert planned(sql, context()).topology is topology()


@pytest.mark.parametrize(
    "sql", ["SHOW DATABASES LIKE 'x'", "PREPARE s FROM 'SHUTDOWN'", "SET NAMES 'gbk'", "EXPLAIN ROUTE SELECT 1"]
)
def test_what_a_literal_decided_is_not_remembered(sql: str) -> None:
    assert not planned(sql, context("app")).facts.cacheable


@pytest.mark.parametrize("sql", ["SELECT COUNT(*) FROM customers", "DELETE FROM customers", "SELECT * FROM nowhere"])
def test_refusals_of_a_shape_are_remembered(sql: str) -> None:
    assert planned(sql, context()).facts.cacheable


def test_the_planner_takes_any_bytes() -> None:
    for data in (
        b"\xff\xfe",
        b"SELECT \xe4",
        b"",
        b"'",
        b"SELECT '\xff'",
        bytes(range(256)),
        b"SELECT `\xff` FROM customers",
    ):
        for mode in range(16):
            found = plan(lexer.lex(data, mode), data, context(mode=mode))
            assert found.plan is not None
