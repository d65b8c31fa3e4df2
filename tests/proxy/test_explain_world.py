"""EXPLAIN over several shards: each one's plan with its name, and nothing carried out that writes."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import Connection, ask, client, ids_on, raw, refused
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS]

MERGED = "SELECT status, COUNT(*) FROM orders GROUP BY status ORDER BY 2 DESC LIMIT 1"
CHANGE = "UPDATE orders SET status = 'explained'"


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


def _described(connection: Connection, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [one[0] for one in cursor.description], list(cursor.fetchall())


def test_each_shard_tells_its_plan(world: World, fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        for statement in ("SELECT * FROM orders", MERGED, "SELECT * FROM orders LIMIT 5, 5", CHANGE):
            for form in ("EXPLAIN", "EXPLAIN FORMAT=JSON", "DESC"):
                columns, rows = _described(connection, f"{form} {statement}")
                assert columns[0] == "shard" and sorted({row[0] for row in rows}) == sorted(world.shards)
        for name, shard in world.shards.items():
            with shard.primary.connect(database="shop") as server:
                statement = "EXPLAIN FORMAT=JSON SELECT id FROM orders WHERE status = 'new'"
                columns, rows = _described(server, statement)
                found, plans = _described(connection, statement)
                assert found == ["shard", *columns] and [row[1:] for row in plans if row[0] == name] == rows
        assert ask(connection, "SELECT COUNT(*) FROM orders WHERE status = 'explained'") == [(0,)]


def test_one_shard_tells_its_plan_as_it_is(world: World, fairlead: Fairlead) -> None:
    one, other = ids_on(world, "eu-0")[0], ids_on(world, "eu-1")[0]
    with client(fairlead) as connection:
        assert _described(connection, f"EXPLAIN SELECT * FROM orders WHERE customer_id = {one}")[0][0] != "shard"
        columns, rows = _described(connection, f"EXPLAIN SELECT * FROM orders WHERE customer_id IN ({one}, {other})")
        assert columns[0] == "shard" and {row[0] for row in rows} == {"eu-0", "eu-1"}


def test_nothing_is_carried_out_that_writes(fairlead: Fairlead, flavour: str) -> None:
    analyze = "ANALYZE" if flavour == "mariadb" else "EXPLAIN ANALYZE"
    with client(fairlead) as connection:
        refused(connection, f"{analyze} {CHANGE}", "FL1214")
        refused(connection, f"{analyze} DELETE FROM orders", "FL1214")
        assert ask(connection, "SELECT COUNT(*) FROM orders WHERE status = 'explained'") == [(0,)]
        columns, rows = _described(connection, f"{analyze} SELECT COUNT(*) FROM orders")
        assert columns[0] == "shard" and {row[0] for row in rows} == {"eu-0", "eu-1"}
        reason = "it is not carried out by one statement on each of them"
        assert reason in refused(connection, "EXPLAIN INSERT INTO orders SELECT * FROM orders LIMIT 1", "FL1214")


def test_in_transactions_beside_pins_and_prepared(fairlead: Fairlead) -> None:
    with raw(fairlead, database="shop") as connection:
        plan = connection.query("EXPLAIN SELECT * FROM orders").rows
        connection.query("BEGIN")
        connection.query("SELECT * FROM settings")
        assert connection.query("EXPLAIN SELECT * FROM orders").rows == plan
        connection.query("COMMIT")
        connection.query("SET @kept = 1")
        assert connection.query("EXPLAIN SELECT * FROM orders").rows == plan
        assert connection.prepare("EXPLAIN SELECT * FROM orders").answer.message.startswith("FL3016: ")
