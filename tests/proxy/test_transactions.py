"""Transactions: one shard, its backend alone, and an honest end whatever happens to the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.faulty_wire import FaultyWire
from loadtest.world.world import World
from tests.differential.wire import STATUS_AUTOCOMMIT, STATUS_IN_TRANSACTION, STATUS_READ_ONLY_TRANSACTION
from tests.proxy.clients import (
    Connection,
    ask,
    client,
    fails,
    ids_on,
    metric,
    raw,
    refused,
    threads_of,
    together,
    until,
    value,
)
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

READ_ONLY, DEADLOCK, LOCK_TIMEOUT, NO_SAVEPOINT, DUPLICATE = 1792, 1213, 1205, 1305, 1062
CHARACTERISTICS = 1568
LOST = (1158, 2006, 2013, 0)
MARKED = Decimal("4242.00")


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


@pytest.fixture
def refusing(world: World) -> Iterator[Connection]:
    """Of a Fairlead whose keyspace has no transactions over several shards."""
    with client(world.kept({"keyspaces": {"shop": {"multi_shard_writes": "refuse"}}})) as connected:
        yield connected


@pytest.fixture
def one(world: World) -> int:
    return ids_on(world, "eu-0")[0]


@pytest.fixture
def other(world: World) -> int:
    return ids_on(world, "eu-1")[0]


@pytest.fixture
def connection(fairlead: Fairlead) -> Iterator[Connection]:
    with client(fairlead) as connected:
        yield connected


def mark(connection: Connection, key: int) -> None:
    ask(connection, f"UPDATE customers SET balance = {MARKED} WHERE id = {key}")


def balance(world: World, key: int) -> Decimal:
    """As committed, asked of the servers themselves."""
    found = [
        amount
        for shard in world.shards.values()
        for (amount,) in shard.primary.query(f"SELECT balance FROM shop.customers WHERE id = {key}")
    ]
    assert len(found) == 1
    return Decimal(found[0])


# --- one shard ----------------------------------------------------------------------------------------------


def test_commit_and_rollback(world: World, connection: Connection, one: int) -> None:
    before = balance(world, one)
    connection.begin()
    mark(connection, one)
    assert value(connection, f"SELECT balance FROM customers WHERE id = {one}") == MARKED
    assert balance(world, one) == before
    connection.rollback()
    assert balance(world, one) == before
    connection.begin()
    mark(connection, one)
    connection.commit()
    assert balance(world, one) == MARKED


def test_others_do_not_see_an_open_transaction(fairlead: Fairlead, connection: Connection, one: int) -> None:
    connection.begin()
    mark(connection, one)
    with client(fairlead) as another:
        assert value(another, f"SELECT balance FROM customers WHERE id = {one}") != MARKED
        another.begin()
        assert value(another, f"SELECT balance FROM customers WHERE id = {one}") != MARKED
    connection.rollback()


@pytest.mark.parametrize(
    "statement", ["SELECT name FROM customers WHERE id = {}", "DELETE FROM orders WHERE customer_id = {}"]
)
def test_a_second_shard_is_refused_and_the_transaction_goes_on(
    world: World, refusing: Connection, one: int, other: int, statement: str
) -> None:
    connection = refusing
    connection.begin()
    mark(connection, one)
    text = refused(connection, statement.format(other), "FL3001")
    assert "eu-0" in text and "eu-1" in text
    assert value(connection, f"SELECT balance FROM customers WHERE id = {one}") == MARKED
    connection.commit()
    assert balance(world, one) == MARKED


def test_several_shards_at_once_are_refused(refusing: Connection, one: int) -> None:
    connection = refusing
    connection.begin()
    refused(connection, "SELECT id FROM customers", "FL3002")
    mark(connection, one)
    refused(connection, "SELECT id FROM customers", "FL3002")
    connection.rollback()
    assert len(ask(connection, "SELECT id FROM customers")) == 100


def test_reference_and_pinned_tables_join_in(connection: Connection, one: int, other: int) -> None:
    connection.begin()
    mark(connection, other)
    assert len(ask(connection, "SELECT * FROM countries")) == 10
    assert value(connection, "SELECT 1") == 1
    assert len(ask(connection, "SELECT * FROM settings")) == 3
    connection.rollback()
    connection.begin()
    mark(connection, one)
    assert len(ask(connection, "SELECT * FROM settings")) == 3
    connection.rollback()


def test_a_transaction_that_does_nothing_reaches_no_server(fairlead: Fairlead, connection: Connection) -> None:
    value(connection, "SELECT 1")
    connection.begin()  # it is counted behind its answer, but before the next command is looked at
    connection.rollback()
    before = metric(fairlead, "fairlead_shard_queries_total")
    for _ in range(5):
        connection.begin()
        ask(connection, "SAVEPOINT here")
        connection.commit()
        connection.begin()
        connection.rollback()
    assert metric(fairlead, "fairlead_shard_queries_total") == before


def test_begin_commits_what_is_open(world: World, connection: Connection, one: int) -> None:
    connection.begin()
    mark(connection, one)
    connection.begin()
    assert balance(world, one) == MARKED
    connection.rollback()
    assert balance(world, one) == MARKED


def test_status_flags_tell_of_the_transaction(fairlead: Fairlead, one: int) -> None:
    with raw(fairlead) as side:
        assert side.query("SELECT 1").status & (STATUS_IN_TRANSACTION | STATUS_AUTOCOMMIT) == STATUS_AUTOCOMMIT
        assert side.query("BEGIN").status & STATUS_IN_TRANSACTION
        assert side.query("SELECT DATABASE()").status & STATUS_IN_TRANSACTION
        assert side.query(f"SELECT id FROM customers WHERE id = {one}").status & STATUS_IN_TRANSACTION
        assert not side.query("COMMIT").status & STATUS_IN_TRANSACTION
        assert side.query("START TRANSACTION READ ONLY").status & STATUS_READ_ONLY_TRANSACTION
        assert side.query(f"SELECT id FROM customers WHERE id = {one}").status & STATUS_READ_ONLY_TRANSACTION
        assert side.query("SELECT DATABASE()").status & STATUS_READ_ONLY_TRANSACTION
        assert not side.query("ROLLBACK").status & STATUS_READ_ONLY_TRANSACTION


def test_read_only_transactions(connection: Connection, one: int) -> None:
    ask(connection, "START TRANSACTION READ ONLY")
    fails(connection, f"UPDATE customers SET balance = 1 WHERE id = {one}", READ_ONLY)
    connection.commit()
    mark(connection, one)


def test_a_consistent_snapshot_is_as_old_as_its_first_statement(
    fairlead: Fairlead, connection: Connection, one: int
) -> None:
    # BEGIN is sent with the first statement, so the snapshot is taken there; it then stands still.
    ask(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
    before = value(connection, f"SELECT balance FROM customers WHERE id = {one}")
    with client(fairlead) as another:
        mark(another, one)
    assert value(connection, f"SELECT balance FROM customers WHERE id = {one}") == before
    connection.commit()
    assert value(connection, f"SELECT balance FROM customers WHERE id = {one}") == MARKED


def test_a_statement_error_leaves_the_transaction_open(world: World, connection: Connection, one: int) -> None:
    connection.begin()
    mark(connection, one)
    fails(connection, f"INSERT INTO customers SELECT * FROM customers WHERE id = {one}", DUPLICATE)
    assert value(connection, f"SELECT balance FROM customers WHERE id = {one}") == MARKED
    connection.rollback()
    assert balance(world, one) != MARKED


def test_locks_are_held_until_the_end(fairlead: Fairlead, connection: Connection, one: int) -> None:
    connection.begin()
    ask(connection, f"SELECT id FROM customers WHERE id = {one} FOR UPDATE")
    with client(fairlead) as another:
        ask(another, "SET SESSION innodb_lock_wait_timeout = 1")
        fails(another, f"UPDATE customers SET balance = 1 WHERE id = {one}", LOCK_TIMEOUT)
        connection.commit()
        mark(another, one)


def test_the_victim_of_a_deadlock_is_out_of_its_transaction(world: World, fairlead: Fairlead) -> None:
    first, second = ids_on(world, "eu-0", 2)
    with client(fairlead) as a, client(fairlead) as b:
        errors: list[int] = []

        def cross(connection: Connection, mine: int, theirs: int) -> None:
            try:
                ask(connection, f"UPDATE customers SET balance = balance + 1 WHERE id = {theirs}")
                connection.commit()
            except pymysql.err.OperationalError as error:
                errors.append(error.args[0])

        for connection, mine in ((a, first), (b, second)):
            connection.begin()
            mark(connection, mine)
        together([lambda: cross(a, first, second), lambda: cross(b, second, first)])
        assert errors == [DEADLOCK]
        for connection in (a, b):
            # Both are outside of a transaction now, so another shard may follow.
            mark(connection, ids_on(world, "eu-1")[0])


def test_prepared_statements_take_part(world: World, fairlead: Fairlead, one: int, other: int) -> None:
    with raw(fairlead) as side:
        update = side.prepare("UPDATE customers SET balance = ? WHERE id = ?")
        for end, expected in (("ROLLBACK", False), ("COMMIT", True)):
            assert side.query("BEGIN").kind == "ok"
            assert side.execute(update, ["4242.00", one]).affected == 1
            assert side.execute(update, ["4242.00", other]).affected == 1
            assert side.query(end).kind == "ok"
            assert (balance(world, one) == MARKED) is (balance(world, other) == MARKED) is expected


def test_unsupported_kinds_are_refused_by_name(connection: Connection) -> None:
    refused(connection, "XA START 'a'", "FL3009")
    refused(connection, "SET @@transaction_isolation = 'SERIALIZABLE', autocommit = 1", "FL3008")


def levels(world: World, shard: str) -> list[str]:
    """Isolation levels of the transactions that are open there. Servers look anew when nobody asked for 0.1 s."""
    time.sleep(0.15)
    server = world.shards[shard].primary
    return [row[0] for row in server.query("SELECT trx_isolation_level FROM information_schema.innodb_trx")]


def test_set_transaction_is_for_the_next_one_only(connection: Connection, world: World, one: int, other: int) -> None:
    ask(connection, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    connection.begin()
    for key, shard, level in ((one, "eu-0", "READ COMMITTED"), (other, "eu-1", "REPEATABLE READ")):
        ask(connection, f"SELECT * FROM customers WHERE id = {key} FOR UPDATE")
        assert levels(world, shard) == [level]
        fails(connection, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", CHARACTERISTICS)
        connection.commit()
        connection.begin()
    connection.rollback()


def test_set_transaction_read_only(connection: Connection, one: int) -> None:
    """Also for the transaction of a single statement, and forgotten by COMMIT and by COM_RESET_CONNECTION."""
    ask(connection, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY")
    fails(connection, f"UPDATE customers SET name = name WHERE id = {one}", READ_ONLY)
    ask(connection, f"UPDATE customers SET name = name WHERE id = {one}")
    ask(connection, "SET TRANSACTION READ ONLY")
    connection.commit()
    ask(connection, f"UPDATE customers SET name = name WHERE id = {one}")
    ask(connection, "SET @@transaction_read_only = 1")
    connection.begin()
    fails(connection, f"UPDATE customers SET name = name WHERE id = {one}", READ_ONLY)
    connection.rollback()
    ask(connection, f"UPDATE customers SET name = name WHERE id = {one}")


def test_set_transaction_without_autocommit(connection: Connection, world: World, one: int) -> None:
    ask(connection, "SET autocommit = 0")
    ask(connection, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    ask(connection, f"SELECT * FROM customers WHERE id = {one} FOR UPDATE")
    assert levels(world, "eu-0") == ["READ COMMITTED"]
    connection.rollback()
    ask(connection, f"SELECT * FROM customers WHERE id = {one} FOR UPDATE")
    assert levels(world, "eu-0") == ["REPEATABLE READ"]
    connection.rollback()


def test_ddl_ends_a_transaction_of_an_unsharded_keyspace(fairlead: Fairlead) -> None:
    with client(fairlead, database="plain") as connection:
        ask(connection, "CREATE TABLE kept (id INT PRIMARY KEY)")
        connection.begin()
        ask(connection, "INSERT INTO kept VALUES (1)")
        ask(connection, "CREATE TABLE after (id INT)")
        connection.rollback()
        assert ask(connection, "SELECT id FROM kept") == [(1,)]
        connection.begin()
        ask(connection, "CREATE TABLE pending (id INT)")
        ask(connection, "INSERT INTO kept VALUES (2)")
        connection.rollback()
        assert ask(connection, "SELECT id FROM kept ORDER BY id") == [(1,), (2,)]


# --- autocommit = 0 -----------------------------------------------------------------------------------------


def test_unlock_tables_ends_a_transaction_only_with_locks(fairlead: Fairlead) -> None:
    with client(fairlead, database="plain") as one:
        ask(one, "CREATE TABLE kept (id INT)")
        for text in ("BEGIN", "UNLOCK TABLES", "INSERT INTO kept VALUES (1)", "ROLLBACK"):
            ask(one, text)
        assert value(one, "SELECT COUNT(*) FROM kept") == 0
        ask(one, "SET autocommit = 0")
        for text in ("LOCK TABLES kept WRITE", "INSERT INTO kept VALUES (2)", "UNLOCK TABLES", "ROLLBACK"):
            ask(one, text)
        assert value(one, "SELECT COUNT(*) FROM kept") == 1


def test_without_autocommit_every_statement_begins_one(world: World, fairlead: Fairlead, one: int, other: int) -> None:
    with client(fairlead, autocommit=False) as connection:
        mark(connection, one)
        assert ask(connection, f"SELECT id FROM customers WHERE id = {other}") == [(other,)]
        assert balance(world, one) != MARKED
        connection.rollback()
        assert balance(world, one) != MARKED
        mark(connection, other)
        connection.commit()
        assert balance(world, other) == MARKED
        mark(connection, one)
        connection.autocommit(True)
        assert balance(world, one) == MARKED
        assert len(ask(connection, "SELECT id FROM customers")) == 100


@pytest.mark.parametrize("shard", ["eu-0", "eu-1"])
def test_savepoints_without_autocommit(world: World, fairlead: Fairlead, shard: str) -> None:
    (key,) = ids_on(world, shard)
    with client(fairlead, autocommit=False) as connection:
        ask(connection, "SAVEPOINT start")
        mark(connection, key)
        ask(connection, "ROLLBACK TO start")
        connection.commit()
    assert balance(world, key) != MARKED


def test_savepoints_without_autocommit_stand_before_a_look_at_the_schema(fairlead: Fairlead) -> None:
    with client(fairlead, autocommit=False, database="plain") as connection:
        ask(connection, "SAVEPOINT start")
        ask(connection, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()")
        ask(connection, "SHOW FULL TABLES")
        ask(connection, "ROLLBACK TO start")


def test_variables_set_inside_of_a_transaction_do_not_outlast_it_as_a_pin(
    fairlead: Fairlead, connection: Connection, one: int, other: int
) -> None:
    connection.begin()
    mark(connection, one)
    ask(connection, "SET time_zone = '+04:00'")
    ask(connection, "SET NAMES latin1")
    ask(connection, "SET SESSION sql_mode = 'ANSI_QUOTES'")
    connection.rollback()
    assert metric(fairlead, "fairlead_pinned_sessions") == 0
    assert value(connection, f"SELECT id FROM customers WHERE id = {other}") == other
    assert value(connection, "SELECT @@time_zone") == "+04:00"


# --- savepoints ---------------------------------------------------------------------------------------------


def test_savepoints_before_the_first_statement(world: World, connection: Connection, one: int) -> None:
    connection.begin()
    ask(connection, "SAVEPOINT a")
    ask(connection, "SAVEPOINT b")
    ask(connection, "RELEASE SAVEPOINT b")
    mark(connection, one)
    ask(connection, "SAVEPOINT c")
    ask(connection, f"UPDATE customers SET balance = 1 WHERE id = {one}")
    ask(connection, "ROLLBACK TO SAVEPOINT c")
    assert value(connection, f"SELECT balance FROM customers WHERE id = {one}") == MARKED
    fails(connection, "ROLLBACK TO b", NO_SAVEPOINT)
    ask(connection, "ROLLBACK TO a")
    connection.commit()
    assert balance(world, one) != MARKED


def test_unknown_savepoints_are_errors_at_once(connection: Connection, one: int) -> None:
    connection.begin()
    fails(connection, "ROLLBACK TO nothing", NO_SAVEPOINT)
    fails(connection, "RELEASE SAVEPOINT nothing", NO_SAVEPOINT)
    ask(connection, "SAVEPOINT `Odd name`")
    ask(connection, "ROLLBACK TO SAVEPOINT `odd NAME`")
    ask(connection, "RELEASE SAVEPOINT `odd name`")
    fails(connection, "RELEASE SAVEPOINT `odd name`", NO_SAVEPOINT)
    assert value(connection, f"SELECT COUNT(*) FROM customers WHERE id = {one}") == 1
    connection.commit()
    connection.begin()
    fails(connection, "ROLLBACK TO `odd name`", NO_SAVEPOINT)
    connection.rollback()


# --- servers that go away -----------------------------------------------------------------------------------


def behind(world: World, wire: FaultyWire) -> Fairlead:
    """A Fairlead that reaches eu-0 through the wire."""
    return world.fleet({"shards": {"eu-0": {"primary": wire.address}}})["eu"]


def wire_to(world: World) -> FaultyWire:
    return FaultyWire(world.shards["eu-0"].primary.port)


def test_a_killed_backend_connection_ends_the_transaction_loudly(world: World, fairlead: Fairlead, one: int) -> None:
    server = world.shards["eu-0"].primary
    with client(fairlead) as connection:
        known = set(threads_of(server))
        connection.begin()
        mark(connection, one)
        (thread,) = server.query("SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX")[0]
        assert thread in known or thread in threads_of(server)
        server.run(f"KILL {thread}")
        fails(connection, f"SELECT balance FROM customers WHERE id = {one}", *LOST)
    assert balance(world, one) != MARKED
    assert fairlead.query(f"SELECT id FROM customers WHERE id = {one}") == [(one,)]


def test_a_server_killed_in_mid_transaction(world: World, one: int, other: int) -> None:
    fairlead = world.fleet({"limits": {"queue_wait": "2s"}})["eu"]
    server = world.shards["eu-0"].primary
    with client(fairlead) as connection, client(fairlead) as bystander:
        connection.begin()
        mark(connection, one)
        server.kill()
        fails(connection, f"SELECT balance FROM customers WHERE id = {one}", *LOST)
        # Other shards do not notice; this one says so until it is back.
        assert len(ask(bystander, f"SELECT id FROM customers WHERE id = {other}")) == 1
        with pytest.raises(pymysql.err.Error) as error:
            ask(bystander, f"SELECT id FROM customers WHERE id = {one}")
        assert "FL4" in str(error.value)
        server.start()
        until(lambda: _answers(fairlead, one), "the shard's return", fairlead)
        assert balance(world, one) != MARKED


def _answers(fairlead: Fairlead, key: int) -> bool:
    try:
        return fairlead.query(f"SELECT id FROM customers WHERE id = {key}") == [(key,)]
    except pymysql.err.Error:
        return False


def test_an_answer_lost_to_a_write_is_said_to_be_unknown(world: World, one: int) -> None:
    with wire_to(world) as wire:
        fairlead = behind(world, wire)
        with raw(fairlead) as side:
            assert side.query(f"SELECT id FROM customers WHERE id = {one}").kind == "rows"
            wire.cut(0)
            answer = side.query(f"UPDATE customers SET balance = {MARKED} WHERE id = {one}")
            assert answer.message.startswith("FL4004: "), answer
            wire.behave()
            assert until(lambda: side.query(f"SELECT id FROM customers WHERE id = {one}").rows, "the way back")


def test_an_answer_lost_to_a_commit_is_said_to_be_unknown(world: World, one: int) -> None:
    with wire_to(world) as wire:
        fairlead = behind(world, wire)
        with raw(fairlead) as side:
            assert side.query("BEGIN").kind == "ok"
            assert side.query(f"UPDATE customers SET balance = {MARKED} WHERE id = {one}").affected == 1
            wire.cut(0)
            answer = side.query("COMMIT")
            assert answer.message.startswith("FL4006: "), answer
        # It did arrive; what the client must do is look.
        assert until(lambda: balance(world, one) == MARKED, "the commit")


def test_a_read_lost_inside_of_a_transaction_loses_the_transaction(world: World, one: int) -> None:
    with wire_to(world) as wire:
        fairlead = behind(world, wire)
        with raw(fairlead) as side:
            assert side.query("BEGIN").kind == "ok"
            assert side.query(f"UPDATE customers SET balance = {MARKED} WHERE id = {one}").affected == 1
            wire.cut(0)
            answer = side.query(f"SELECT balance FROM customers WHERE id = {one}")
            assert answer.message.startswith("FL4005: "), answer
            # Going on as if nothing had happened is not possible.
            assert side.query("COMMIT").kind == "lost"
    assert balance(world, one) != MARKED


def test_a_silent_client_does_not_hold_its_locks_for_ever(world: World, one: int) -> None:
    fairlead = world.fleet({"limits": {"idle_transaction": "1s"}})["eu"]
    with client(fairlead) as idle, client(fairlead) as waiting:
        idle.begin()
        mark(idle, one)
        ask(waiting, f"UPDATE customers SET balance = 7 WHERE id = {one}")
        fails(idle, "SELECT 1", *LOST, 1159)
    assert balance(world, one) == 7
