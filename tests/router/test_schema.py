"""The live schema: merging the shards' views of it, and what is found wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from router.keys import KeyType, UnsupportedKey
from router.schema import (
    Finding,
    ForeignKey,
    LiveColumn,
    LiveTable,
    ShardSchema,
    UniqueKey,
    compare,
    differences,
    holds_key,
    key_columns,
    merge,
)
from router.topology import Keyspace, Table
from tests.router.planning import live_table, topology

SHARDS = ("eu-0", "eu-1", "us-0", "us-1")


def shop() -> Keyspace:
    found = topology().keyspace("shop")
    assert found is not None
    return found


def declared(name: str) -> Table:
    found = shop().table(name)
    assert found is not None
    return found


def table(name: str, columns: dict[str, str], **keys: list[str]) -> LiveTable:
    return live_table(name, {"columns": columns, "keys": keys})


CUSTOMERS = table("customers", {"id": "bigint(20)!", "name": "varchar(50)"}, PRIMARY=["id"])
ORDERS = table("orders", {"customer_id": "bigint(20)!", "id": "bigint(20)!"}, PRIMARY=["customer_id", "id"])


def everywhere(*tables: LiveTable, **changed: LiveTable) -> list[ShardSchema]:
    """The same tables on every shard; `us_1=table` is another version on that shard."""
    return [
        ShardSchema.of(
            shard, [changed.get(shard.replace("-", "_"), one) if one.name in _names(changed) else one for one in tables]
        )
        for shard in SHARDS
    ]


def _names(changed: dict[str, LiveTable]) -> set[str]:
    return {one.name for one in changed.values()}


def findings(*shards: ShardSchema, about: str) -> list[tuple[str, str]]:
    return [(one.severity, one.code) for one in compare(shards, shop()) if one.table == about]


def column(live: LiveTable, name: str, **changes: Any) -> LiveTable:
    columns = tuple(replace(one, **changes) if one.name == name else one for one in live.columns)
    return replace(live, columns=columns)


def test_equal_shards_have_no_findings() -> None:
    assert findings(*everywhere(CUSTOMERS), about="customers") == []
    snapshot = merge(everywhere(CUSTOMERS), shop(), 7)
    assert (snapshot.epoch, snapshot.keyspace, dict(snapshot.drifting)) == (7, "shop", {})
    assert snapshot.table("customers") == CUSTOMERS
    assert snapshot.table("nothing") is None


@pytest.mark.parametrize(
    ("other", "differing", "code"),
    [
        (column(CUSTOMERS, "name", column_type="varchar(60)"), {"name"}, "drift"),
        (column(CUSTOMERS, "name", collation="utf8mb4_bin"), {"name"}, "drift"),
        (column(CUSTOMERS, "name", nullable=False), {"name"}, "drift"),
        (column(CUSTOMERS, "id", column_type="int(11)"), {"id"}, "drift"),
        (replace(CUSTOMERS, columns=CUSTOMERS.columns[:1]), {"name", "*"}, "drift"),
        (replace(CUSTOMERS, columns=CUSTOMERS.columns[::-1]), {"*"}, "drift"),
        (replace(CUSTOMERS, unique_keys=()), {"*"}, "drift"),
    ],
)
def test_shards_that_differ(other: LiveTable, differing: set[str], code: str) -> None:
    shards = everywhere(CUSTOMERS, us_1=other)
    assert merge(shards, shop(), 1).drifting["customers"] == differing
    assert ("error", code) in findings(*shards, about="customers")


@pytest.mark.parametrize(
    "other",
    [
        column(CUSTOMERS, "id", column_type="bigint"),
        column(CUSTOMERS, "name", default="x"),
        replace(CUSTOMERS, triggers=("t",)),
        replace(CUSTOMERS, unique_keys=(UniqueKey("PRIMARY", ("ID",)),)),
    ],
)
def test_what_is_no_difference(other: LiveTable) -> None:
    """Display widths, defaults, triggers and the case of column names do not change a route or a row."""
    assert differences(CUSTOMERS, other) == frozenset()


def test_a_table_that_is_missing_on_a_shard() -> None:
    shards = [ShardSchema.of(shard, [CUSTOMERS] if shard != "us-0" else []) for shard in SHARDS]
    assert ("error", "table-missing") in findings(*shards, about="customers")
    assert merge(shards, shop(), 1).table("customers") == CUSTOMERS


def test_a_pinned_table_is_looked_for_on_its_shard_only() -> None:
    audit = table("audit", {"id": "bigint(20)!"}, PRIMARY=["id"])
    shards = [ShardSchema.of(shard, [audit] if shard == "us-1" else []) for shard in SHARDS]
    assert findings(*shards, about="audit") == []
    assert merge(shards, shop(), 1).table("audit") == audit


def test_a_shard_that_was_not_read_is_not_judged() -> None:
    assert findings(ShardSchema.of("eu-0", [CUSTOMERS]), about="customers") == []


def test_a_view_where_a_table_is_declared() -> None:
    view = replace(CUSTOMERS, kind="view")
    assert findings(*everywhere(view), about="customers") == [("error", "view")]


@pytest.mark.parametrize(
    ("live", "finding"),
    [
        (table("customers", {"name": "varchar(50)"}), ("error", "key-column-missing")),
        (table("customers", {"id": "double!"}, PRIMARY=["id"]), ("error", "key-column-type")),
        (table("customers", {"id": "varchar(20)!"}, PRIMARY=["id"]), ("error", "key-column-type")),
        (table("customers", {"id": "bigint(20)"}), ("warning", "key-column-nullable")),
        (table("customers", {"id": "bigint(20)!+"}, PRIMARY=["id"]), ("warning", "key-auto-increment")),
        (
            table("customers", {"id": "bigint(20)!", "email": "varchar(50)"}, PRIMARY=["id"], mail=["email"]),
            ("warning", "unique-per-shard"),
        ),
    ],
)
def test_key_columns(live: LiveTable, finding: tuple[str, str]) -> None:
    assert finding in findings(*everywhere(live), about="customers")


def test_a_generated_key_and_triggers() -> None:
    live = replace(column(CUSTOMERS, "id", generated=True), triggers=("log",))
    found = findings(*everywhere(live), about="customers")
    assert ("error", "key-column-generated") in found
    assert ("warning", "triggers") in found


def test_tables_of_one_vindex_must_compare_alike() -> None:
    notes = table("notes", {"customer_id": "varchar(20)!", "seq": "int(11)"})
    found = compare(everywhere(CUSTOMERS, notes), shop())
    assert any(one.code in ("key-columns-disagree", "key-column-type") and one.table == "notes" for one in found)


@pytest.mark.parametrize(
    ("key", "holds"),
    [
        (UniqueKey("PRIMARY", ("customer_id", "id")), True),
        (UniqueKey("u", ("ID", "CUSTOMER_ID")), True),
        (UniqueKey("u", ("id",)), False),
        (UniqueKey("u", ("customer_id",), exact=False), False),
    ],
)
def test_holds_key(key: UniqueKey, holds: bool) -> None:
    assert holds_key(key, declared("orders")) is holds


@pytest.mark.parametrize(
    ("foreign", "weak"),
    [
        (ForeignKey("f", ("customer_id",), "customers", ("id",)), False),
        (ForeignKey("f", ("id",), "customers", ("id",)), True),
        (ForeignKey("f", ("state",), "countries", ("code",)), False),
        (ForeignKey("f", ("id",), "audit", ("id",)), True),
        (ForeignKey("f", ("id",), "elsewhere", ("id",)), True),
    ],
)
def test_foreign_keys_that_cross_shards(foreign: ForeignKey, weak: bool) -> None:
    live = replace(ORDERS, foreign_keys=(foreign,))
    assert (("warning", "foreign-key") in findings(*everywhere(live), about="orders")) is weak


def test_an_unsharded_keyspace_has_no_findings() -> None:
    app = topology().keyspace("app")
    assert app is not None
    assert compare([ShardSchema.of("eu-0", [CUSTOMERS])], app) == []


def test_key_columns_are_live_else_declared_else_bigint() -> None:
    unsigned = table("customers", {"id": "int(10) unsigned!"}, PRIMARY=["id"])
    snapshot = merge(everywhere(unsigned), shop(), 1)
    assert key_columns(declared("customers"), snapshot)[0].type is KeyType.INT_UNSIGNED
    assert key_columns(declared("customers"), None)[0].type is KeyType.INT_SIGNED
    with pytest.raises(UnsupportedKey):
        key_columns(declared("odd"), merge(everywhere(table("odd", {"id": "float!"})), shop(), 1))
    with pytest.raises(KeyError):
        key_columns(declared("customers"), merge(everywhere(table("customers", {"x": "int(11)"})), shop(), 1))


@pytest.mark.parametrize(
    ("default", "unstable"),
    [
        (None, False),
        ("0", False),
        ("new", False),
        ("current_timestamp()", True),
        ("CURRENT_TIMESTAMP(6)", True),
        ("uuid()", True),
        ("(rand() * 5)", True),
        ("knowhow", False),
    ],
)
def test_defaults_that_every_server_computes_anew(default: str | None, unstable: bool) -> None:
    assert LiveColumn("c", "datetime", "datetime", default=default).unstable_default is unstable


def test_findings_are_sorted_with_errors_first() -> None:
    found = compare(everywhere(column(CUSTOMERS, "id", nullable=True), us_0=CUSTOMERS), shop())
    assert found == sorted(found)
    assert isinstance(found[0], Finding)
