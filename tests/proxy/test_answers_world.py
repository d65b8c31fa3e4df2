"""What happens around an answer: plans that became stale, state that changes in mid transaction, clients that leave."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.process import POLL_INTERVAL
from loadtest.world.world import World
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

PATIENCE = 20.0


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


@pytest.fixture
def connection(fairlead: Fairlead) -> Iterator[Any]:
    with contextlib.closing(fairlead.connect()) as connected:
        yield connected


def ask(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(POLL_INTERVAL)


def test_transactions_go_on_when_every_plan_has_become_stale(fairlead: Fairlead, connection: Any) -> None:
    """The session has missed BEGIN and COMMIT before; DDL then makes all plans anew."""
    one = region_id("eu", 1)
    with contextlib.closing(fairlead.connect(database="plain")) as other:
        for round in range(3):
            ask(connection, "BEGIN")
            ask(connection, f"UPDATE customers SET name = 'round {round}' WHERE id = {one}")
            ask(other, f"CREATE TABLE stale_{round} (a INT)")
            ask(connection, "COMMIT")
            ask(connection, "BEGIN")
            ask(other, f"DROP TABLE stale_{round}")
            ask(connection, f"UPDATE customers SET name = 'never' WHERE id = {one}")
            ask(connection, "ROLLBACK")
            assert ask(connection, f"SELECT name FROM customers WHERE id = {one}") == [(f"round {round}",)]


def test_another_database_in_mid_transaction(connection: Any) -> None:
    one = region_id("eu", 1)
    ask(connection, "BEGIN")
    ask(connection, f"UPDATE customers SET name = 'moved' WHERE id = {one}")
    for database in ("plain", "shop", "plain"):
        ask(connection, f"USE {database}")
        assert ask(connection, f"SELECT name FROM shop.customers WHERE id = {one}") == [("moved",)]
        assert ask(connection, "SELECT DATABASE()") == [(database,)]
    ask(connection, "ROLLBACK")
    assert ask(connection, f"SELECT name FROM shop.customers WHERE id = {one}") != [("moved",)]


def test_repeating_autocommit_ends_no_transaction(connection: Any) -> None:
    """As on a server: only switching it on commits, and it is on already."""
    one = region_id("eu", 1)
    before = ask(connection, f"SELECT name FROM customers WHERE id = {one}")
    ask(connection, "BEGIN")
    ask(connection, "SET autocommit = 1")
    ask(connection, f"UPDATE customers SET name = 'undone' WHERE id = {one}")
    ask(connection, "SET autocommit = ON")
    ask(connection, "ROLLBACK")
    assert ask(connection, f"SELECT name FROM customers WHERE id = {one}") == before
    ask(connection, "SET autocommit = 0")
    ask(connection, f"UPDATE customers SET name = 'kept' WHERE id = {one}")
    ask(connection, "SET autocommit = 1")
    ask(connection, "ROLLBACK")
    assert ask(connection, f"SELECT name FROM customers WHERE id = {one}") == [("kept",)]


def test_text_behind_a_set_in_a_transaction_is_read_by_it(connection: Any) -> None:
    """Many times, since the server's answer and the next command race with what Fairlead learns of it."""
    one = region_id("eu", 1)
    ask(connection, "BEGIN")
    ask(connection, f"UPDATE customers SET name = 'x' WHERE id = {one}")
    for _ in range(30):
        ask(connection, "SET sql_mode = 'ANSI_QUOTES'")
        assert ask(connection, f'SELECT "name" FROM "customers" WHERE "id" = {one}') == [("x",)]
        ask(connection, "SET sql_mode = ''")
        assert ask(connection, f'SELECT "name" FROM customers WHERE id = {one}') == [("name",)]
    ask(connection, "ROLLBACK")


@pytest.mark.parametrize(
    "statement",
    ["SET sql_mode = @mine", "SET sql_mode = (SELECT 'x')", "SET character_set_client = DEFAULT", "SET NAMES DEFAULT"],
)
def test_how_text_is_read_has_to_be_known(connection: Any, statement: str) -> None:
    with pytest.raises(pymysql.err.Error, match=r"FL3007|FL1"):
        ask(connection, statement)
    assert ask(connection, "SELECT 1") == [(1,)]


def test_sql_mode_may_be_computed_from_itself(connection: Any) -> None:
    """A server computes it, and texts are read by it at once."""
    ask(connection, "SET sql_mode = 'STRICT_ALL_TABLES'")
    ask(connection, "SET autocommit = 1, sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')")
    assert ask(connection, "SELECT @@sql_mode") == [("ANSI_QUOTES,STRICT_ALL_TABLES",)]
    assert ask(connection, 'SELECT "name" FROM "customers" LIMIT 0') == []
    ask(connection, "SET SESSION sql_mode = REPLACE(@@SESSION.sql_mode, 'ANSI_QUOTES', '')")
    assert ask(connection, 'SELECT "name"') == [("name",)]


def test_a_table_is_known_to_the_statement_behind_its_ddl(fairlead: Fairlead, world: World) -> None:
    """Through the same session, without waiting for the next look at the schema."""
    with contextlib.closing(fairlead.connect(database="plain")) as connection:
        for round in range(5):
            ask(connection, "CREATE TABLE behind (a INT)")
            ask(connection, f"INSERT INTO behind (a) VALUES ({round})")
            assert ask(connection, "SELECT a FROM behind") == [(round,)]
            ask(connection, "DROP TABLE behind")
            with pytest.raises(pymysql.err.Error, match="behind"):
                ask(connection, "SELECT a FROM behind")


def test_a_scatter_that_nobody_waits_for_is_ended(fairlead: Fairlead, world: World) -> None:
    """Its servers would otherwise be busy with it for a minute."""
    copies = ", ".join(f"countries c{n}" for n in range(9))
    hopeless = "SHA2(CONCAT(customers.name, c1.code, c8.code), 256) = 'never'"
    slow = f"SELECT customers.id FROM customers, {copies} WHERE {hopeless}"
    listing = "SELECT INFO FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID()"

    def running() -> int:
        return sum("never" in str(info) for server in world.servers() for (info,) in server.query(listing))

    connection = fairlead.connect()
    connection._execute_command(3, slow)
    until(lambda: running() == 2, "the statement on both shards")
    connection._force_close()
    until(lambda: running() == 0, "its end on both shards")
