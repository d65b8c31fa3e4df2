"""Transactions that need a second shard: one transaction to the client, whatever its servers do."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.faulty_wire import FaultyWire
from loadtest.world.world import World
from tests.differential.wire import STATUS_IN_TRANSACTION, STATUS_READ_ONLY_TRANSACTION
from tests.proxy.clients import Connection, ask, client, fails, ids_on, raw, refused, together, until, value
from tests.proxy.test_atomic_writes import LOST, QUICK, Fragile, in_doubt
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

READ_ONLY, DEADLOCK, LOCK_TIMEOUT, NO_SAVEPOINT, DUPLICATE, INTERRUPTED = 1792, 1213, 1205, 1305, 1062, 1317
MARKED = Decimal("4242.00")


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


@pytest.fixture
def keys(world: World) -> list[int]:
    """A customer of each shard, the first transaction's home first; then a second one of each."""
    first, second = ids_on(world, "eu-0", 2), ids_on(world, "eu-1", 2)
    return [first[0], second[0], first[1], second[1]]


@pytest.fixture
def connection(fairlead: Fairlead) -> Iterator[Connection]:
    with client(fairlead) as connected:
        yield connected


def mark(connection: Connection, *keys: int) -> None:
    for key in keys:
        ask(connection, f"UPDATE customers SET balance = {MARKED} WHERE id = {key}")


def marked(world: World, *keys: int) -> list[bool]:
    """As committed, asked of the servers themselves."""
    text = "SELECT COUNT(*) FROM shop.customers WHERE id = {} AND balance = {}"
    return [
        any(shard.primary.value(text.format(key, MARKED)) for shard in world.shards.values()) for key in keys
    ]


def is_idle(world: World) -> bool:
    """No transaction is open on any server. They look anew when nobody asked for 0.1 s."""
    time.sleep(0.15)
    text = "SELECT COUNT(*) FROM information_schema.innodb_trx"
    return not any(shard.primary.value(text) for shard in world.shards.values())


def test_commit_and_rollback(world: World, fairlead: Fairlead, connection: Connection, keys: list[int]) -> None:
    for end, expected in ((connection.rollback, False), (connection.commit, True)):
        connection.begin()
        mark(connection, *keys)
        assert value(connection, f"SELECT COUNT(*) FROM customers WHERE balance = {MARKED}") == 4
        with client(fairlead) as another:
            assert value(another, f"SELECT COUNT(*) FROM customers WHERE balance = {MARKED}") == 0
        assert marked(world, *keys) == [False] * 4
        end()
        assert marked(world, *keys) == [expected] * 4
    assert is_idle(world) and in_doubt(world) == 0


@pytest.mark.parametrize("autocommit", [True, False])
def test_it_may_begin_on_several(world: World, fairlead: Fairlead, keys: list[int], autocommit: bool) -> None:
    with client(fairlead, autocommit=autocommit) as connection:
        if autocommit:
            connection.begin()
        ask(connection, "SAVEPOINT nothing")
        assert connection.server_status & STATUS_IN_TRANSACTION == (STATUS_IN_TRANSACTION if autocommit else 0)
        assert len(ask(connection, "SELECT id FROM customers")) == 100
        ask(connection, f"UPDATE customers SET balance = {MARKED}")
        assert connection.server_status & STATUS_IN_TRANSACTION
        ask(connection, "ROLLBACK TO nothing")
        mark(connection, *keys)
        connection.commit()
        assert not connection.server_status & STATUS_IN_TRANSACTION
        assert value(connection, f"SELECT COUNT(*) FROM customers WHERE balance = {MARKED}") == 4
        if not autocommit:
            mark(connection, keys[1])
            ask(connection, f"UPDATE customers SET balance = 1 WHERE id = {keys[0]}")
            connection.autocommit(True)
            assert marked(world, *keys[:2]) == [False, True]


def test_savepoints_are_on_all_shards(world: World, connection: Connection, keys: list[int]) -> None:
    connection.begin()
    ask(connection, "SAVEPOINT a")
    mark(connection, keys[0])
    ask(connection, "SAVEPOINT b")
    ask(connection, "RELEASE SAVEPOINT b")
    ask(connection, "SAVEPOINT c")
    mark(connection, keys[1])
    ask(connection, "ROLLBACK TO SAVEPOINT c")
    fails(connection, "ROLLBACK TO b", NO_SAVEPOINT)
    assert ask(connection, f"SELECT COUNT(*) FROM customers WHERE balance = {MARKED}") == [(1,)]
    mark(connection, keys[1])
    ask(connection, "SAVEPOINT d")
    mark(connection, keys[2], keys[3])
    ask(connection, "ROLLBACK TO d")
    connection.commit()
    assert marked(world, *keys) == [True, True, False, False]
    connection.begin()
    mark(connection, keys[2])
    fails(connection, "ROLLBACK TO d", NO_SAVEPOINT)
    mark(connection, keys[3])
    connection.rollback()
    assert marked(world, *keys) == [True, True, False, False]


def test_a_write_to_several_that_fails_is_undone_on_all(world: World, connection: Connection, keys: list[int]) -> None:
    insert = "INSERT INTO orders (customer_id, id, item, amount, status, created_at) VALUES "
    row = "({}, {}, 'kettle', 1, 'new', '2026-01-01')"
    connection.begin()
    mark(connection, keys[0])
    ask(connection, insert + row.format(keys[1], 9991))
    fails(connection, insert + f"{row.format(keys[0], 9990)}, {row.format(keys[1], 9991)}", DUPLICATE)
    assert value(connection, "SELECT COUNT(*) FROM orders WHERE id IN (9990, 9991)") == 1
    connection.commit()
    assert value(connection, "SELECT COUNT(*) FROM orders WHERE id IN (9990, 9991)") == 1
    assert marked(world, keys[0]) == [True]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_deadlock_on_one_shard_rolls_all_back(world: World, fairlead: Fairlead, keys: list[int], victim: int) -> None:
    """On either shard, home or branch: the victim is out of its transaction, and its locks are free everywhere."""
    mine, other = keys[victim], keys[victim + 2]
    errors: list[int] = []
    with client(fairlead) as a, client(fairlead) as b:

        def cross(connection: Connection, key: int) -> None:
            try:
                ask(connection, f"UPDATE customers SET balance = balance + 1 WHERE id = {key}")
                connection.commit()
            except pymysql.err.OperationalError as error:
                errors.append(error.args[0])
                assert value(connection, "SELECT 1") == 1

        a.begin()
        mark(a, keys[0], keys[1])
        b.begin()
        mark(b, keys[2], keys[3])
        together([lambda: cross(a, other), lambda: cross(b, mine)])
        assert errors == [DEADLOCK]
        for connection in (a, b):
            assert "no" in dict(ask(connection, "SHOW FAIRLEAD SESSION"))["in_transaction"]
            mark(connection, *keys)
    assert is_idle(world)


def test_a_lock_timeout_undoes_its_statement_only(world: World, fairlead: Fairlead, keys: list[int]) -> None:
    with client(fairlead) as holder, client(fairlead) as connection:
        holder.begin()
        mark(holder, keys[3])
        ask(connection, "SET innodb_lock_wait_timeout = 1")
        connection.begin()
        mark(connection, keys[0], keys[1])
        fails(connection, f"UPDATE customers SET balance = 1 WHERE id = {keys[3]}", LOCK_TIMEOUT)
        fails(connection, "UPDATE customers SET balance = 1", LOCK_TIMEOUT)
        holder.rollback()
        connection.commit()
    assert marked(world, *keys) == [True, True, False, False]


def test_kill_query_stops_the_statement_and_no_more(world: World, fairlead: Fairlead, keys: list[int]) -> None:
    texts = [f"UPDATE customers SET balance = 1 WHERE id = {keys[3]}", "UPDATE customers SET balance = 1"]
    with client(fairlead) as holder, client(fairlead) as connection, client(fairlead) as killer:
        holder.begin()
        mark(holder, keys[3])
        number = value(connection, "SELECT CONNECTION_ID()")
        connection.begin()
        mark(connection, keys[0], keys[1])
        for text in texts:
            found: list[Any] = []

            def wait(text: str = text, found: list[Any] = found) -> None:
                found.append(fails(connection, text, INTERRUPTED))

            thread = threading.Thread(target=wait)
            thread.start()
            until(lambda: waits(world, "eu-1"), "it waits", fairlead)
            ask(killer, f"KILL QUERY {number}")
            thread.join(20)
            assert found
        holder.rollback()
        connection.commit()
    assert marked(world, *keys) == [True, True, False, False]


def waits(world: World, shard: str) -> bool:
    text = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'UPDATE customers SET balance = 1%'"
    return bool(world.shards[shard].primary.value(text))


def test_isolation_and_read_only_hold_on_all_shards(world: World, connection: Connection, keys: list[int]) -> None:
    ask(connection, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    connection.begin()
    for key in keys[:2]:
        ask(connection, f"SELECT * FROM customers WHERE id = {key} FOR UPDATE")
    assert levels(world) == ["READ COMMITTED", "READ COMMITTED"]
    connection.commit()
    connection.begin()
    for key in keys[:2]:
        ask(connection, f"SELECT * FROM customers WHERE id = {key} FOR UPDATE")
    assert levels(world) == ["REPEATABLE READ", "REPEATABLE READ"]
    connection.rollback()
    for begin in ("START TRANSACTION READ ONLY", "SET TRANSACTION READ ONLY"):
        ask(connection, begin)
        if begin.startswith("SET"):
            connection.begin()
        ask(connection, f"SELECT * FROM customers WHERE id = {keys[0]}")
        fails(connection, f"UPDATE customers SET balance = 1 WHERE id = {keys[1]}", READ_ONLY)
        assert len(ask(connection, "SELECT id FROM customers")) == 100
        assert connection.server_status & STATUS_READ_ONLY_TRANSACTION or begin.startswith("SET")
        connection.commit()
    mark(connection, *keys)


def levels(world: World) -> list[str]:
    time.sleep(0.15)
    text = "SELECT trx_isolation_level FROM information_schema.innodb_trx"
    return [level for shard in world.shards.values() for (level,) in shard.primary.query(text)]


def test_reads_alone_need_no_decision(world: World, connection: Connection, keys: list[int]) -> None:
    from tests.proxy.test_atomic_writes import decisions

    mark(connection, keys[0])
    before = len(decisions(world))
    connection.begin()
    mark(connection, keys[0])
    assert len(ask(connection, "SELECT id FROM customers")) == 100
    assert ask(connection, f"SELECT id FROM customers WHERE id = {keys[1]}") == [(keys[1],)]
    connection.commit()
    assert marked(world, keys[0]) == [True] and len(decisions(world)) == before
    assert is_idle(world)


def test_session_state_goes_along(connection: Connection, keys: list[int]) -> None:
    connection.begin()
    mark(connection, keys[0], keys[1])
    ask(connection, "SET sql_mode = 'ANSI_QUOTES'")
    for key in keys:
        assert ask(connection, f'SELECT "id" FROM customers WHERE id = {key}') == [(key,)]
    assert len(ask(connection, 'SELECT "id" FROM customers')) == 100
    ask(connection, "SET @kept = 7")
    assert value(connection, "SELECT @kept") == 7
    refused(connection, f"SELECT @kept FROM customers WHERE id = {keys[1]}", "FL3003")
    assert value(connection, f"SELECT @kept FROM customers WHERE id = {keys[0]}") == 7
    connection.commit()
    assert value(connection, "SELECT @kept") == 7


def test_what_ends_it_by_the_way(world: World, fairlead: Fairlead, connection: Connection, keys: list[int]) -> None:
    """BEGIN, DDL and SET autocommit = 1 commit; a reset and a client that leaves roll back."""
    connection.begin()
    mark(connection, keys[0], keys[1])
    connection.begin()
    assert marked(world, *keys[:2]) == [True, True]
    mark(connection, keys[2], keys[3])
    connection.select_db("plain")
    ask(connection, "CREATE TABLE made (id INT)")
    connection.select_db("shop")
    assert marked(world, *keys) == [True] * 4
    for end in ("_execute_command", "close"):
        connection.begin()
        ask(connection, "UPDATE customers SET balance = 5")
        ask(connection, f"UPDATE customers SET balance = 6 WHERE id = {keys[1]}")
        if end == "close":
            connection.close()
        else:
            connection._execute_command(0x1F, b"")
            connection._read_ok_packet()
        until(lambda: is_idle(world), "it is rolled back", fairlead)
        assert marked(world, *keys) == [True] * 4


def test_refusals_leave_it_as_it_is(world: World, connection: Connection, keys: list[int]) -> None:
    ask(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
    mark(connection, keys[0])
    refused(connection, f"SELECT * FROM customers WHERE id = {keys[1]}", "FL3024")
    connection.commit()
    connection.begin()
    mark(connection, keys[0], keys[1])
    refused(connection, "SELECT * FROM customers ORDER BY RAND()", "FL1208")
    connection.select_db("plain")
    refused(connection, "CALL nothing()", "FL3025")
    connection.select_db("shop")
    refused(connection, "SELECT * FROM nowhere", "FL1103")
    mark(connection, keys[2])
    connection.commit()
    assert marked(world, *keys) == [True, True, True, False]


def test_a_lost_part_takes_the_others_with_it(world: World, fairlead: Fairlead, keys: list[int]) -> None:
    """Whichever connection goes: the client is told, or disconnected, and nothing stays behind."""
    for lost, touched in ((0, 0), (1, 1), (0, 1), (1, 0)):
        with client(fairlead) as connection:
            connection.begin()
            mark(connection, keys[0], keys[1], keys[touched])
            server = world.shards[f"eu-{lost}"].primary
            time.sleep(0.15)
            ((thread,),) = server.query("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx")
            server.run(f"KILL {thread}")
            fails(connection, f"UPDATE customers SET balance = 1 WHERE id = {keys[lost]}", *LOST)
            with contextlib.suppress(pymysql.err.Error):
                connection.commit()
        until(lambda: is_idle(world), "it is rolled back", fairlead)
        assert marked(world, *keys) == [False] * 4


def test_a_part_lost_before_commit_is_said_so(world: World, fairlead: Fairlead, keys: list[int]) -> None:
    for lost in (0, 1):
        with client(fairlead) as connection:
            connection.begin()
            mark(connection, keys[lost], keys[1 - lost])  # the session holds the other one's
            server = world.shards[f"eu-{lost}"].primary
            time.sleep(0.15)
            ((thread,),) = server.query("SELECT trx_mysql_thread_id FROM information_schema.innodb_trx")
            server.run(f"KILL {thread}")
            with pytest.raises(pymysql.err.Error) as error:
                connection.commit()
            assert error.value.args[0] in LOST, error.value
            assert value(connection, "SELECT 1") == 1
        assert marked(world, *keys) == [False] * 4
    assert is_idle(world) and in_doubt(world) == 0


POINTS = {"branched": False, "prepared": False, "written": False, "decided": True, "finished": True}


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_every_step(world: World, keys: list[int], point: str) -> None:
    member = world.fleet(QUICK, Fragile)["eu"]
    assert isinstance(member, Fragile)
    with client(member) as connection:
        connection.begin()
        mark(connection, keys[0])
        member.die_at(point)
        with pytest.raises(pymysql.err.Error):
            mark(connection, keys[1])
            connection.commit()
    until(lambda: in_doubt(world) == 0 and is_idle(world), "recovery", member)
    assert marked(world, *keys[:2]) == [POINTS[point]] * 2


@pytest.mark.parametrize("cut", ["commit", "for good"])
def test_an_answer_lost_to_the_decision_is_asked_for(world: World, keys: list[int], cut: str) -> None:
    """Home's connections break while it commits: a new one tells whether it did, or nobody can, and recovery does."""
    with FaultyWire(world.shards["eu-0"].primary.port) as wire:
        changes = {**QUICK, "shards": {"eu-0": {"primary": wire.address}}, "health": {"interval": "200ms"}}
        changes["transactions"] = {**QUICK["transactions"], "ask": "1s"}
        member = world.fleet(changes)["eu"]
        with raw(member) as side:
            assert side.query("BEGIN").kind == "ok"
            for key in keys[:2]:
                assert side.query(f"UPDATE customers SET balance = {MARKED} WHERE id = {key}").affected == 1
            wire.cut(60 if cut == "commit" else 0)
            if cut != "commit":
                wire.refuse()
            answer = side.query("COMMIT")
            wire.behave()
        until(lambda: in_doubt(world) == 0 and is_idle(world), "recovery", member)
        found = marked(world, *keys[:2])
        assert found[0] == found[1], "all or none"
        assert answer.kind in ("ok", "lost") or answer.message.startswith("FL"), answer
        if answer.kind == "ok":
            assert found == [True, True]
        elif not answer.message.startswith("FL4006"):
            assert found == [False, False]


def test_a_cursor_is_not_opened_on_a_shard_that_may_be_left(
    world: World, fairlead: Fairlead, keys: list[int]
) -> None:
    with raw(fairlead) as side:
        here = side.prepare("SELECT id FROM customers WHERE id = ?")
        assert side.query("BEGIN").kind == "ok"
        for key in keys[:2]:
            assert side.query(f"UPDATE customers SET balance = {MARKED} WHERE id = {key}").affected == 1
        # The rows come at once, as where a server cannot open one.
        assert side.execute(here, [keys[1]], flags=1).rows
        assert side.query(f"SELECT id FROM customers WHERE id = {keys[0]}").rows
        assert side.fetch(here, 5).kind == "error"
        assert side.query("COMMIT").kind == "ok"
    assert marked(world, *keys[:2]) == [True, True]
