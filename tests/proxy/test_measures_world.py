"""SHOW TABLE STATUS and SHOW INDEX of a sharded keyspace, beside what each shard says and what one server would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pymysql.cursors
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from router.engine.columns import DATETIME, INTEGERS, TIMESTAMP
from tests.differential.wire import Answer
from tests.proxy.clients import Connection, ask, client, raw, refused
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS]

Status = Mapping[str, Any]
TABLES = ("customers", "orders", "countries", "settings")
SUMS = ("Rows", "Data_length", "Index_length", "Data_free")
UNKNOWN = {("customers", "email", 1), ("orders", "status", 1)}
"""Columns of indexes whose values may be on several shards, as they are without the shard key."""


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    for shard in world.shards.values():
        shard.primary.query(f"ANALYZE TABLE {', '.join(f'shop.{name}' for name in TABLES)}")
    return world.fairlead()


def _named(connection: Connection, statement: str) -> list[dict[str, Any]]:
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _of_shards(world: World, statement: str) -> dict[str, dict[str, Status]]:
    """By shard and table."""
    found = {}
    for name, shard in world.shards.items():
        with shard.primary.connect(database="shop") as connection:
            found[name] = {row["Name"]: row for row in _named(connection, statement)}
    return found


def test_table_status_is_of_all_shards(world: World, fairlead: Fairlead) -> None:
    shards = _of_shards(world, "SHOW TABLE STATUS")
    assert len(shards) > 1
    with client(fairlead) as connection:
        whole = {row["Name"]: row for row in _named(connection, "SHOW TABLE STATUS")}
        counted = {name: ask(connection, f"SELECT COUNT(*) FROM {name}")[0][0] for name in ("customers", "orders")}
    for name in ("customers", "orders"):
        parts = [shard[name] for shard in shards.values()]
        for column in SUMS:
            assert whole[name][column] == sum(part[column] for part in parts), (name, column)
        assert whole[name]["Rows"] == counted[name] > max(part["Rows"] for part in parts)
        assert whole[name]["Avg_row_length"] == whole[name]["Data_length"] // whole[name]["Rows"]
        assert whole[name]["Create_time"] == min(part["Create_time"] for part in parts)
        times = [part["Update_time"] for part in parts if part["Update_time"] is not None]
        assert whole[name]["Update_time"] == (max(times) if times else None)
        assert whole[name]["Engine"] == "InnoDB"
    first = next(iter(shards.values()))
    assert whole["countries"] == first["countries"], "copies are counted once"
    assert whole["settings"] == shards["eu-0"]["settings"], "a pinned table is where it is"
    assert list(whole) == list(first)


def test_the_forms_of_table_status(world: World, fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        whole = {row["Name"]: row for row in _named(connection, "SHOW TABLE STATUS")}
        for condition, names in (
            ("FROM shop", sorted(whole)),
            ("LIKE 'c%'", ["countries", "customers"]),
            ("IN shop WHERE `Name` = 'orders' AND Engine IS NOT NULL", ["orders"]),
            ("LIKE 'nothing'", []),
        ):
            found = _named(connection, f"SHOW TABLE STATUS {condition}")
            assert {row["Name"]: row for row in found} == {name: whole[name] for name in names}
        refused(connection, "SHOW TABLE STATUS WHERE `Rows` > 5", "FL1111")
        with connection.cursor() as cursor:
            cursor.execute("SHOW TABLE STATUS")
            described = [(one[0], one[1]) for one in cursor.description]
        with world.shards["eu-0"].primary.connect(database="shop") as server, server.cursor() as cursor:
            cursor.execute("SHOW TABLE STATUS")
            assert described == [(one[0], one[1]) for one in cursor.description]


def test_a_table_that_is_not_declared_has_no_numbers(world: World, fairlead: Fairlead) -> None:
    for number, shard in enumerate(world.shards.values()):
        shard.primary.query("CREATE TABLE shop.stray (id INT PRIMARY KEY AUTO_INCREMENT)")
        shard.primary.query(f"INSERT INTO shop.stray VALUES ({7 + 10 * number})")
        shard.primary.query("ANALYZE TABLE shop.stray")
    try:
        with client(fairlead) as connection:
            (row,) = _named(connection, "SHOW TABLE STATUS LIKE 'stray'")
            assert (row["Name"], row["Engine"]) == ("stray", "InnoDB")
            assert [row[column] for column in (*SUMS, "Auto_increment", "Create_time")] == [None] * 6
    finally:
        for shard in world.shards.values():
            shard.primary.query("DROP TABLE shop.stray")


@pytest.fixture
def one_server(world: World) -> Iterator[Connection]:
    """A server's database that has the rows of all shards."""
    with world.shards["eu-0"].primary.connect() as server:
        ask(server, "CREATE DATABASE whole")
        ask(server, "USE whole")
        for table in ("customers", "orders"):
            ask(server, f"CREATE TABLE {table} LIKE shop.{table}")
            for shard in world.shards.values():
                with shard.primary.connect(database="shop") as part, server.cursor() as cursor:
                    rows = ask(part, f"SELECT * FROM {table}")
                    cursor.executemany(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(rows[0]))})", rows)
            ask(server, f"ANALYZE TABLE {table}")
        yield server
        ask(server, "DROP DATABASE whole")


def test_cardinalities_are_one_servers_or_not_known(fairlead: Fairlead, one_server: Connection) -> None:
    with client(fairlead) as connection:
        for table in ("customers", "orders"):
            whole = _named(one_server, f"SHOW INDEX FROM {table}")
            for row in whole:
                if (table, row["Key_name"], row["Seq_in_index"]) in UNKNOWN:
                    row["Cardinality"] = None
            assert _named(connection, f"SHOW INDEX FROM {table}") == whole
            (status,) = _named(connection, f"SHOW TABLE STATUS LIKE '{table}'")
            assert status["Rows"] == _named(one_server, f"SHOW TABLE STATUS LIKE '{table}'")[0]["Rows"]


def test_conditions_on_indexes(fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        (row,) = _named(connection, "SHOW KEYS FROM customers WHERE Key_name = 'PRIMARY'")
        assert row["Cardinality"] == ask(connection, "SELECT COUNT(*) FROM customers")[0][0]
        (row,) = _named(connection, "SHOW INDEX FROM orders WHERE Column_name = 'id'")
        assert (row["Key_name"], row["Cardinality"]) == ("PRIMARY", None)
        (row,) = _named(connection, "SHOW INDEX FROM countries")
        assert row["Cardinality"] == ask(connection, "SELECT COUNT(*) FROM countries")[0][0]
        refused(connection, "SHOW INDEX FROM orders WHERE Cardinality > 3", "FL1111")


def test_prepared_statements_and_transactions_get_the_same(fairlead: Fairlead) -> None:
    for statement in (
        "SHOW TABLE STATUS",
        "SHOW INDEX FROM orders",
        "SHOW INDEX FROM customers WHERE Key_name = 'email'",
    ):
        with raw(fairlead, database="shop") as connection:
            text = connection.query(statement)
            prepared = connection.prepare(statement)
            assert prepared.answer.kind == "ok" and text.rows
            assert _cells(connection.execute(prepared), binary=True) == _cells(text, binary=False)
            connection.query("BEGIN")
            assert connection.query(statement).rows == text.rows
            connection.query("SELECT * FROM settings")
            assert connection.query(statement).rows == text.rows


def _cells(answer: Answer, *, binary: bool) -> list[list[object]]:
    types = [column.type for column in answer.columns]
    read = _of_binary if binary else _of_text
    return [[read(kind, cell) for kind, cell in zip(types, row, strict=True)] for row in answer.rows]


def _of_text(_: int, cell: Any) -> object:
    return cell if cell is None else bytes(cell).decode()


def _of_binary(kind: int, cell: Any) -> object:
    if cell is not None and kind in INTEGERS:
        return str(int.from_bytes(cell, "little"))
    if cell is not None and kind in (TIMESTAMP, DATETIME):
        year, (month, day, *clock) = int.from_bytes(cell[:2], "little"), cell[2:]
        return f"{year}-{month:02}-{day:02} {':'.join(f'{part:02}' for part in clock)}"
    return _of_text(kind, cell)


def test_a_pinned_session_is_told_beside_its_pin(fairlead: Fairlead) -> None:
    summed = "SELECT SUM(table_rows) FROM information_schema.tables"
    statements = ("SHOW TABLE STATUS", "SHOW INDEX FROM orders", summed)
    with client(fairlead) as connection, client(fairlead, database="plain") as plain:
        whole = [ask(connection, statement) for statement in statements]
        ask(connection, "SET @kept = 7")
        ask(connection, "SELECT /* fairlead: shard=eu-0 */ GET_LOCK('told', 1)")
        assert [ask(connection, statement) for statement in statements] == whole
        assert ask(connection, "SELECT @kept") == [(7,)]
        ask(plain, "CREATE TEMPORARY TABLE orders (id INT)")
        for statement in ("SHOW TABLE STATUS FROM shop", summed):
            refused(plain, statement, "FL3003")


def test_sizes_of_one_view(world: World, fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        for status in _named(connection, "SHOW TABLE STATUS"):
            row, *_ = ask(
                connection,
                "SELECT table_rows, avg_row_length, data_length, index_length, auto_increment, create_time, "
                "update_time FROM information_schema.tables WHERE table_schema = 'shop' AND table_name = %s",
                status["Name"],
            )
            columns = ("Rows", "Avg_row_length", "Data_length", "Index_length", "Auto_increment", "Create_time")
            assert list(row) == [status[column] for column in (*columns, "Update_time")]
        indexes = _named(connection, "SHOW INDEX FROM customers")
        told = "SELECT index_name, cardinality FROM information_schema.statistics WHERE table_schema = DATABASE() "
        assert sorted(ask(connection, told + "AND table_name = 'customers'")) == sorted(
            (row["Key_name"], row["Cardinality"]) for row in indexes
        )
        sizes = dict(ask(connection, "SELECT table_schema, COUNT(*) FROM information_schema.tables GROUP BY 1"))
        assert sizes["shop"] == len(TABLES) and set(sizes) == {"shop", "information_schema"}
        seen = {name for (name,) in ask(connection, "SELECT schema_name FROM information_schema.schemata")}
        assert seen == {"shop", "plain", "information_schema"}, "and none of the servers' own"
        connection.begin()
        assert ask(connection, "SELECT table_rows FROM information_schema.tables WHERE table_name = 'orders'")
        ask(connection, "UPDATE settings SET value = value")
        connection.commit()
