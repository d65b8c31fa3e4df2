"""Reads that a scratch server finishes, on real servers: limits, failures, and that nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import ask, client, ids_on, metric, raw, refused, together, until, value
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS]

SCRATCH = {"keyspaces": {"shop": {"scratch": ["eu-0"]}}}
JOIN = "SELECT COUNT(*) FROM customers a JOIN customers b ON b.email = a.email"
LARGE = "SELECT a.id, REPEAT('x', 20000) FROM customers a JOIN customers b ON b.id > a.id"


def scratch(world: World, **limits: Any) -> Fairlead:
    return world.fleet({**SCRATCH, "limits": limits}).start()["eu"]


def held(member: Fairlead) -> float:
    """Connections that hold temporary tables."""
    return metric(member, "fairlead_pinned_sessions", reason="temporary_table")


@pytest.fixture
def fairlead(world: World) -> Iterator[Fairlead]:
    yield scratch(world)


def test_it_is_off_unless_a_server_is_named(world: World) -> None:
    with client(world.fairlead()) as connection:
        refused(connection, JOIN, "FL1203")


def test_what_it_finishes_is_counted(fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        assert value(connection, JOIN) == 100
        until(lambda: metric(fairlead, "fairlead_scratch_statements_total", outcome="answered") == 1, "one is counted")
        assert metric(fairlead, "fairlead_scratch_rows_total") == 200
        assert metric(fairlead, "fairlead_scratch_bytes_total") > 200 * 8


def test_the_route_tells_what_is_loaded(world: World, fairlead: Fairlead) -> None:
    (key,) = ids_on(world, "eu-1")
    with client(fairlead) as connection:
        where = f"a.balance > 5 AND o.customer_id = {key}"
        sql = f"SELECT * FROM customers a JOIN orders o ON o.item = a.name WHERE {where}"
        told = dict(ask(connection, f"EXPLAIN ROUTE {sql}"))
        steps = [detail for step, detail in ask(connection, f"EXPLAIN ROUTE {sql}") if step == "└ loads"]
    assert told["route"] == "Residual"
    assert told["scratch"] == "eu-0 finishes it, in place of FL1203 CROSS_SHARD_JOIN"
    assert steps[0].startswith("customers a (id, name, email")
    assert steps[0].endswith("where a.balance>? from eu-0, eu-1")
    assert steps[1].endswith("where o.customer_id=? from eu-1")


def test_limits_of_rows_and_bytes(world: World) -> None:
    with client(scratch(world, scratch_rows=150)) as connection:
        refused(connection, JOIN, "FL1252")
        assert value(connection, JOIN + " WHERE a.balance < 250 AND b.balance < 250") > 0
    few = scratch(world, scratch_bytes="2KiB")
    with client(few) as connection:
        refused(connection, JOIN, "FL1252")
        until(lambda: metric(few, "fairlead_scratch_statements_total", outcome="refused") == 1, "it is counted")


def test_only_so_many_at_once(world: World) -> None:
    """The others wait for their turn; who waits too long is told."""
    narrow = scratch(world, scratch_statements=1, queue_wait="300ms")
    with raw(narrow) as slow, client(narrow) as other:
        slow.send(b"\x03" + LARGE.encode())
        until(lambda: held(narrow) == 1, "it has its connection")
        refused(other, JOIN, "FL1256")
    with client(narrow) as connection:
        until(lambda: _answers(connection), "the turn is free when the client has gone", narrow)
        # Those that do not wait long come one after the other.
        together([lambda: _ask_once(narrow) for _ in range(4)])


def _answers(connection: Any) -> bool:
    try:
        return bool(value(connection, JOIN) == 100)
    except pymysql.err.Error:
        return False


def _ask_once(member: Fairlead) -> None:
    with client(member) as connection:
        until(lambda: _answers(connection), "it is answered", member)


def test_no_table_outlives_its_statement(world: World, fairlead: Fairlead) -> None:
    """A temporary table that shadows `customers` would hide rows of whoever gets the connection next."""
    (key,) = ids_on(world, "eu-0")
    one = f"SELECT COUNT(*) FROM customers WHERE id = {key}"

    def mixed() -> None:
        with client(fairlead) as connection:
            for number in range(10):
                assert value(connection, f"{JOIN} WHERE a.id <> {key} AND b.id <> {key} AND a.balance > {number}") < 100
                assert value(connection, one) == 1
                with pytest.raises(pymysql.err.Error):
                    ask(connection, "SELECT (SELECT name FROM customers) FROM orders")
                assert value(connection, one) == 1

    together([mixed] * 4)
    with raw(fairlead) as leaving:
        leaving.send(b"\x03" + LARGE.encode())
        until(lambda: held(fairlead) == 1, "it has its connection")
    until(lambda: held(fairlead) == 0, "nothing is held any more", fairlead)
    with client(fairlead) as connection:
        assert [value(connection, one) for _ in range(20)] == [1] * 20


def test_not_in_a_transaction_or_beside_a_pin(fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        ask(connection, "BEGIN")
        refused(connection, JOIN, "FL3002")
        ask(connection, "ROLLBACK")
        assert value(connection, JOIN) == 100


def test_the_sessions_variables_hold(fairlead: Fairlead) -> None:
    joined = "FROM customers a JOIN customers b ON a.email = b.email"
    with client(fairlead) as connection:
        refused(connection, f"SELECT a.id, @@sql_mode {joined}", "FL1203")
        assert {row[0] for row in ask(connection, f"SELECT a.id || 'x' {joined}")} == {1}
        ask(connection, "SET sql_mode = 'PIPES_AS_CONCAT'")
        assert all(str(row[0]).endswith("x") for row in ask(connection, f"SELECT a.id || 'x' {joined}"))
        ask(connection, "SET sql_mode = 'ANSI_QUOTES', time_zone = '+05:00'")
        found = ask(connection, 'SELECT DISTINCT a."name", NOW() > UTC_TIMESTAMP() + INTERVAL 4 HOUR FROM customers a '
                    'JOIN customers b ON a.email = b.email')  # fmt: skip
        assert {row[1] for row in found} == {1}
        assert all(isinstance(row[0], str) and row[0] != "name" for row in found)


def test_a_scratch_server_that_dies(world: World, fairlead: Fairlead) -> None:
    with raw(fairlead) as connection:
        connection.send(b"\x03" + LARGE.encode())
        until(lambda: held(fairlead) == 1, "it has its connection")
        server = world.shards["eu-0"].primary
        server.kill()
        answer = connection.read_answer()
        assert answer.kind == "error"
        assert answer.message.startswith(("FL40", "FL12")), answer.message
        server.start()
    with client(fairlead) as again:
        until(lambda: _answers(again), "it serves again", fairlead)


def test_rows_of_another_table_are_looked_up_by_what_was_loaded_before(world: World, fairlead: Fairlead) -> None:
    """A few orders of one customer: of all customers only those whom they name are asked for, where they are."""
    (key,) = ids_on(world, "eu-1")
    (other,) = ids_on(world, "eu-0")
    with client(fairlead) as connection:
        ask(connection, f"INSERT INTO orders (customer_id, id, item, amount, status, created_at) "
                        f"VALUES ({key}, {other}, 'looked up', 1, 'new', NOW())")  # fmt: skip
        sql = (
            "SELECT c.id, o.item FROM orders o JOIN customers c ON c.id = o.id "
            f"WHERE o.customer_id = {key} AND o.status = 'new'"
        )
        before = metric(fairlead, "fairlead_scratch_rows_total")
        assert (other, "looked up") in ask(connection, sql)
        loads = [detail for step, detail in ask(connection, f"EXPLAIN ROUTE {sql}") if step == "└ loads"]
        until(lambda: metric(fairlead, "fairlead_scratch_rows_total") > before, "it is counted")
        assert metric(fairlead, "fairlead_scratch_rows_total") - before < 10
    assert loads[0].startswith("orders o ") and " whose id is id of o from " in loads[1]
