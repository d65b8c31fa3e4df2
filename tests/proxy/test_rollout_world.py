"""Schema changes over several shards: whole, refused, stopped half-way and gone on with."""

from __future__ import annotations

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import ask, client, fails, ids_on, refused, until, value
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS]

SHARDS = ("eu-0", "eu-1")
CREATE_ORDERS = "CREATE TABLE orders (customer_id BIGINT NOT NULL, n INT NOT NULL, PRIMARY KEY (customer_id, n))"


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


def definitions(world: World, table: str) -> list[str]:
    """Of each shard; empty where there is no such table."""
    found = []
    for name in SHARDS:
        server = world.shards[name].primary
        there = server.query(f"SHOW TABLES LIKE '{table}'", "shop")
        found.append(str(server.query(f"SHOW CREATE TABLE {table}", "shop")[0][1]) if there else "")
    return found


def on_shard(world: World, name: str, statement: str) -> None:
    world.shards[name].primary.run(statement, database="shop")


@pytest.mark.parametrize(
    ("statement", "column"),
    [
        ("ALTER TABLE customers ADD COLUMN age INT NULL, ADD KEY age (age)", "`age`"),
        ("alter table shop.`customers` /* why */ modify name varchar(120) not null", "varchar(120)"),
        ("ALTER TABLE orders ADD CONSTRAINT dear CHECK (amount > -1)", "`dear`"),
        ("ALTER TABLE countries ADD UNIQUE KEY (name)", "UNIQUE KEY `name`"),
        ("ALTER TABLE customers RENAME COLUMN balance TO credit", "`credit`"),
        ("CREATE INDEX at ON orders (created_at)", "KEY `at`"),
        ("CREATE UNIQUE INDEX whole ON orders (customer_id, item(9), id)", "UNIQUE KEY `whole`"),
    ],
)
def test_a_change_reaches_every_shard(world: World, fairlead: Fairlead, statement: str, column: str) -> None:
    table = next(one for one in ("customers", "orders", "countries") if one in statement)
    with client(fairlead) as connection:
        ask(connection, statement)
        one, other = definitions(world, table)
        assert one == other and column in one
        assert len(ask(connection, f"SELECT * FROM {table} LIMIT 5")) == 5
        # Nothing is left of the trial.
        assert not [row for row in ask(connection, "SHOW TABLES") if row[0].startswith("fairlead")]


def test_the_session_sees_its_change_at_once(world: World, fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        ask(connection, "ALTER TABLE customers ADD COLUMN age INT NOT NULL DEFAULT 7")
        assert ask(connection, "SELECT SUM(age), COUNT(*) FROM customers") == [(700, 100)]
        ask(connection, "TRUNCATE TABLE orders")
        assert value(connection, "SELECT COUNT(*) FROM orders") == 0
        ask(connection, "DROP TABLE orders")
        assert definitions(world, "orders") == ["", ""]
        ask(connection, CREATE_ORDERS)
        ask(connection, "CREATE TABLE IF NOT EXISTS orders (nothing INT)")
        assert value(connection, "SELECT COUNT(*) FROM orders") == 0


def test_a_mistake_is_the_servers_and_changes_nothing(world: World, fairlead: Fairlead) -> None:
    before = definitions(world, "customers")
    with client(fairlead) as connection:
        fails(connection, "ALTER TABLE customers ADD COLUMN name INT", 1060)
        fails(connection, "ALTER TABLE customers ADD COLUMN", 1064)
        fails(connection, "CREATE TABLE customers (id BIGINT NOT NULL PRIMARY KEY)", 1050)
        # Rows tell, not the empty copy.
        fails(connection, "ALTER TABLE customers ADD CONSTRAINT rich CHECK (balance > 1000000)", 3819, 4025)
    assert definitions(world, "customers") == before


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("ALTER TABLE customers MODIFY id VARCHAR(20) NOT NULL", "FL1343"),
        ("ALTER TABLE orders DROP PRIMARY KEY, DROP COLUMN customer_id", "FL1343"),
        ("CREATE OR REPLACE TABLE customers (name INT)", "FL1343"),
        ("ALTER TABLE customers ADD UNIQUE KEY (email)", "FL1344"),
        ("ALTER TABLE orders ADD COLUMN code INT UNIQUE", "FL1344"),
        ("ALTER TABLE customers RENAME TO clients", "FL1340"),
        ("ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers (id)", "FL1340"),
        ("DROP TABLE customers, orders", "FL1340"),
        ("CREATE TABLE orders AS SELECT * FROM customers", "FL1340"),
        ("CREATE TABLE elsewhere (id INT)", "FL1103"),
        ("CREATE VIEW seen AS SELECT 1", "FL1318"),
    ],
)
def test_what_would_not_be_one_servers_is_refused(
    world: World, fairlead: Fairlead, statement: str, code: str
) -> None:
    before = [definitions(world, table) for table in ("customers", "orders")]
    with client(fairlead) as connection:
        if "OR REPLACE" in statement and "MariaDB" not in value(connection, "SELECT VERSION()"):
            pytest.skip("MySQL has no CREATE OR REPLACE TABLE")
        refused(connection, statement, code)
        connection.begin()
        ask(connection, "SELECT * FROM customers WHERE id = 5")
        refused(connection, "ALTER TABLE customers ADD COLUMN age INT", "FL3002")
    assert [definitions(world, table) for table in ("customers", "orders")] == before


def test_a_change_that_stopped_half_way_is_gone_on_with(world: World, fairlead: Fairlead) -> None:
    other = "ALTER TABLE customers ADD UNIQUE KEY named (id, name), ADD COLUMN age INT"
    with client(fairlead) as connection:
        # One shard's rows do not allow it.
        on_shard(world, "eu-1", "UPDATE customers SET balance = -5 ORDER BY id LIMIT 1")
        change = "ALTER TABLE customers ADD CONSTRAINT positive CHECK (balance >= 0)"
        told = refused(connection, change, "FL1342")
        assert "changed on eu-0 and not on eu-1 (" in told
        first, second = definitions(world, "customers")
        assert "positive" in first and "positive" not in second
        refused(connection, other, "FL1341")
        on_shard(world, "eu-1", "UPDATE customers SET balance = 5 WHERE balance = -5")
        ask(connection, change)
        first, second = definitions(world, "customers")
        assert first == second and "positive" in first
        ask(connection, other)
        first, second = definitions(world, "customers")
        assert first == second and "named" in first


def test_a_half_made_table_is_finished(world: World, fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        ask(connection, "DROP TABLE orders")
        on_shard(world, "eu-1", CREATE_ORDERS)
        ask(connection, CREATE_ORDERS)
        one, other = definitions(world, "orders")
        assert one == other != ""
        on_shard(world, "eu-0", "DROP TABLE orders")
        ask(connection, "DROP TABLE orders")
        assert definitions(world, "orders") == ["", ""]
        on_shard(world, "eu-0", CREATE_ORDERS.replace("n INT", "n BIGINT"))
        refused(connection, CREATE_ORDERS, "FL1341")


def test_a_shard_that_is_down_stops_a_change_before_it_begins(world: World, fairlead: Fairlead) -> None:
    before = definitions(world, "customers")
    server = world.shards["eu-1"].primary
    change = "ALTER TABLE customers ADD COLUMN age INT NOT NULL DEFAULT 3"
    (key,) = ids_on(world, "eu-1")
    server.kill()
    with client(fairlead) as connection:
        with pytest.raises(pymysql.err.Error, match="FL"):
            ask(connection, change)
        server.launch()
        server.wait_ready()
        assert definitions(world, "customers") == before
        until(lambda: _writes(fairlead, key), "the shard can be written to", fairlead)
        ask(connection, change)
        first, second = definitions(world, "customers")
        assert first == second and "`age`" in first


def _writes(fairlead: Fairlead, key: int) -> bool:
    try:
        fairlead.query(f"UPDATE customers SET name = name WHERE id = {key}")
    except pymysql.err.Error:
        return False
    return True
