"""Writes of several steps: their limits, what they leave behind when they fail, and a policy. What they do,
tests/differential/test_writes_over_shards.py compares with one server's."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import Connection, ask, client, fails, ids_on, refused, until, value
from tests.proxy.test_atomic_writes import LOST, QUICK, Fragile, in_doubt
from tests.servers import BOTH_SERVERS

LOCK_TIMEOUT, NOWAIT = 1205, 3572
ALL: list[dict[str, Any]] = [{"on": "*.*", "verbs": ["all"]}]
POLICY = {
    "domains": {"eea": {"regions": ["eu"]}},
    "labels": {"shop": {"classes": "personal", "tables": {"countries": "public", "settings": "public"}}},
    "subjects": {"clerks": {"users": ["clerk"], "domain": "eea"}},
}
USERS = {"clerk": {"password": {"value": "x"}, "grants": ALL, "default_database": "shop"}}


@pytest.fixture
def strict(world: World) -> Fairlead:
    return world.kept({"limits": {"moved_rows": 3}})


def key_of(world: World, shard: str) -> int:
    """A customer with orders."""
    for key in ids_on(world, shard, 20):
        if world.shards[shard].primary.value(f"SELECT COUNT(*) FROM shop.orders WHERE customer_id = {key}"):
            return key
    raise AssertionError("nobody has ordered")


def orders(connection: Connection, key: int) -> int:
    return int(value(connection, f"SELECT COUNT(*) FROM orders WHERE customer_id = {key}"))


def add_orders(connection: Connection, key: int, count: int) -> None:
    rows = ", ".join(f"({key}, {n}, '{'x' * 90}', 1, 'new', '2026-01-01')" for n in range(5000, 5000 + count))
    ask(connection, f"INSERT INTO orders (customer_id, id, item, amount, status, created_at) VALUES {rows}")


def test_rows_are_bounded(world: World, strict: Fairlead) -> None:
    a, b = ids_on(world, "eu-0")[0], ids_on(world, "eu-1")[0]
    with client(strict) as connection:
        ask(connection, f"DELETE FROM orders WHERE customer_id IN ({a}, {b})")
        add_orders(connection, a, 3)
        ask(connection, f"UPDATE orders SET customer_id = {b} WHERE customer_id = {a}")
        add_orders(connection, a, 4)
        for begins in (False, True):
            if begins:
                connection.begin()
                ask(connection, f"UPDATE customers SET balance = 1 WHERE id = {b}")
            text = f"UPDATE orders SET customer_id = {b}, id = id + 1000 WHERE customer_id = {a}"
            refused(connection, text, "FL1345")
            text = f"UPDATE orders SET customer_id = {b}, status = 'gone' WHERE customer_id = {a} AND id > 1"
            assert "3 rows" in refused(connection, text, "FL1346")
            text = "INSERT INTO orders (customer_id, id, item, amount, status, created_at) SELECT customer_id + 1, id, "
            text += f"item, amount, status, created_at FROM orders WHERE customer_id = {a}"
            assert "3 rows" in refused(connection, text, "FL1346")
            assert orders(connection, a) == 4 and orders(connection, b) == 3
        connection.commit()
        assert value(connection, f"SELECT balance FROM customers WHERE id = {b}") == 1
        assert orders(connection, a) == 4 and orders(connection, b) == 3
    assert in_doubt(world) == 0


@BOTH_SERVERS
def test_a_lock_that_is_not_given_undoes_the_move(world: World) -> None:
    member = world.fairlead()
    a, b = key_of(world, "eu-0"), ids_on(world, "eu-1")[0]
    with client(member) as holder, client(member) as connection:
        count = orders(connection, a)
        ask(connection, f"DELETE FROM orders WHERE customer_id = {b}")
        add_orders(holder, b, 2)
        holder.begin()
        ask(holder, f"SELECT * FROM orders WHERE customer_id = {b} FOR UPDATE")
        ask(connection, "SET innodb_lock_wait_timeout = 1")
        fails(connection, f"UPDATE orders SET customer_id = {b} WHERE customer_id = {a}", LOCK_TIMEOUT)
        assert orders(connection, a) == count
        holder.rollback()
        ask(connection, f"UPDATE orders SET customer_id = {b} WHERE customer_id = {a}")
        assert (orders(connection, a), orders(connection, b)) == (0, count + 2)


def test_a_crash_leaves_no_row_twice(world: World) -> None:
    fragile = world.fleet(QUICK, Fragile)["eu"]
    assert isinstance(fragile, Fragile)
    a, b = key_of(world, "eu-0"), ids_on(world, "eu-1")[0]
    with client(fragile) as connection:
        ask(connection, f"DELETE FROM orders WHERE customer_id = {b}")
        count = orders(connection, a)
        fragile.die_at("prepared")
        fails(connection, f"UPDATE orders SET customer_id = {b} WHERE customer_id = {a}", *LOST)
    until(lambda: in_doubt(world) == 0, "recovery", fragile)
    fragile.wait_ready()
    with client(fragile) as connection:
        assert (orders(connection, a), orders(connection, b)) == (count, 0)


def test_what_a_policy_restricts_is_not_moved(world: World) -> None:
    member = world.kept({"policy": POLICY, "users": USERS})
    a, b = key_of(world, "eu-0"), ids_on(world, "eu-1")[0]
    with client(member, user="clerk", password="x") as connection:
        count = orders(connection, a)
        refused(connection, f"UPDATE orders SET customer_id = {b} WHERE customer_id = {a}", "FL2104")
        assert orders(connection, a) == count


@BOTH_SERVERS
def test_a_read_over_shards_locks_what_it_reads(world: World) -> None:
    """On all shards, until the transaction ends; and is told at once of others' locks, or leaves their rows out."""
    member = world.fairlead()
    a, b = ids_on(world, "eu-0")[0], ids_on(world, "eu-1")[0]
    with client(member) as holder, client(member) as connection:
        ask(connection, "SET innodb_lock_wait_timeout = 1")
        for begun_on in ("SELECT 1", f"SELECT * FROM customers WHERE id = {b}"):
            holder.begin()
            ask(holder, begun_on)
            assert len(ask(holder, f"SELECT id FROM customers WHERE id IN ({a}, {b}) FOR UPDATE")) == 2
            for key in (a, b):
                text = f"SELECT id FROM customers WHERE id IN ({a}, {b}) ORDER BY id LIMIT 2 FOR UPDATE"
                fails(connection, f"{text} NOWAIT", LOCK_TIMEOUT, NOWAIT)
                assert ask(connection, f"{text} SKIP LOCKED") == []
                fails(connection, f"UPDATE customers SET balance = 7 WHERE id = {key}", LOCK_TIMEOUT)
            holder.commit()
            ask(connection, f"UPDATE customers SET balance = 7 WHERE id IN ({a}, {b})")
        # Outside of a transaction locks are gone with the statement.
        assert len(ask(holder, "SELECT id FROM customers FOR UPDATE")) == 100
        ask(connection, f"UPDATE customers SET balance = 8 WHERE id IN ({a}, {b})")


@pytest.mark.parametrize("flavour", ["mariadb"])
def test_the_history_of_rows_does_not_move(world: World) -> None:
    member = world.kept({"health": {"schema": "1s"}})
    a, b = key_of(world, "eu-0"), ids_on(world, "eu-1")[0]
    for shard in world.shards.values():
        shard.primary.run("ALTER TABLE shop.orders ADD SYSTEM VERSIONING")
    try:
        with client(member) as connection:
            text = f"UPDATE orders SET customer_id = {b} WHERE customer_id = {a} AND 1 = 0"
            until(lambda: "history" in denied(connection, text), "the schema is read", member)
    finally:
        for shard in world.shards.values():
            shard.primary.run("ALTER TABLE shop.orders DROP SYSTEM VERSIONING")


def denied(connection: Connection, text: str) -> str:
    try:
        ask(connection, text)
    except pymysql.err.Error as error:
        return str(error)
    return ""
