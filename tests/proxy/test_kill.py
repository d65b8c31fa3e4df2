"""KILL and KILL QUERY by the connection ids of Fairlead's clients, of all its workers, on both servers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.sqlserver import SqlServer
from loadtest.world.world import World
from tests.proxy.clients import ask, client, fails, ids_on, until, value
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

NO_SUCH_THREAD, NOT_OWNER, INTERRUPTED = 1094, 1095, 1317
CHANGES = {
    "users": {"guest": {"password": {"value": "guest"}, "grants": [{"on": "*.*", "verbs": ["select"]}]}},
    "keyspaces": {"shop": {"multi_shard_writes": "best_effort"}},
}


@pytest.fixture
def member(world: World) -> Fairlead:
    return world.kept(CHANGES, workers=2)


class Blocked:
    """A client whose statement waits for a row that another one holds."""

    def __init__(self, member: Fairlead, key: int, holder: Any) -> None:
        ask(holder, "BEGIN")
        ask(holder, f"SELECT * FROM customers WHERE id = {key} FOR UPDATE")
        self.connection = member.connect()
        self.id = int(value(self.connection, "SELECT CONNECTION_ID()"))
        self.error: tuple[Any, ...] = ()
        self._thread = threading.Thread(
            target=self._wait, args=(f"SELECT * FROM customers WHERE id = {key} FOR UPDATE",), daemon=True
        )
        self._thread.start()

    def _wait(self, sql: str) -> None:
        try:
            ask(self.connection, sql)
        except (pymysql.err.Error, OSError) as error:
            self.error = error.args

    def ended(self) -> tuple[Any, ...]:
        self._thread.join(20)
        assert not self._thread.is_alive(), "its statement still runs"
        return self.error


def is_waiting(server: SqlServer) -> bool:
    found = server.query("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%customers%FOR UPDATE'")
    return int(found[0][0]) > 0


@pytest.fixture
def blocked(member: Fairlead, world: World) -> Iterator[Blocked]:
    key = ids_on(world, "eu-0")[0]
    with client(member) as holder:
        one = Blocked(member, key, holder)
        until(lambda: is_waiting(world.shards["eu-0"].primary), "the statement waits", member)
        yield one
        with contextlib.suppress(pymysql.err.Error):
            one.connection.close()


@contextlib.contextmanager
def on_the_other_worker(member: Fairlead, of: int) -> Iterator[Any]:
    """A client of another worker than the session's."""
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            one = stack.enter_context(client(member))
            if int(value(one, "SELECT CONNECTION_ID()")) >> 24 != of >> 24:
                yield one
                return
        pytest.fail("all clients came to one worker")


def test_kill_query_stops_the_statement_and_the_session_goes_on(
    member: Fairlead, blocked: Blocked, world: World
) -> None:
    with client(member) as killer:
        ask(killer, f"KILL QUERY {blocked.id}")
    assert blocked.ended()[0] == INTERRUPTED
    assert value(blocked.connection, "SELECT CONNECTION_ID()") == blocked.id
    other = ids_on(world, "eu-0", 2)[1]
    assert ask(blocked.connection, f"SELECT id FROM customers WHERE id = {other} FOR UPDATE") == [(other,)]


def test_another_workers_session(member: Fairlead, blocked: Blocked) -> None:
    with on_the_other_worker(member, blocked.id) as killer:
        ask(killer, f"KILL QUERY {blocked.id}")
        assert blocked.ended()[0] == INTERRUPTED
        fails(killer, f"KILL {blocked.id + 1000}", NO_SUCH_THREAD)
        ask(killer, f"KILL CONNECTION {blocked.id}")
        until(lambda: not is_open(blocked.connection), "the session is closed")


def is_open(connection: Any) -> bool:
    try:
        connection.ping(reconnect=False)
    except (pymysql.err.Error, OSError):
        return False
    return True


def test_kill_ends_the_session_and_its_statement(member: Fairlead, blocked: Blocked, world: World) -> None:
    with client(member) as killer:
        killer.kill(blocked.id)  # COM_PROCESS_KILL
    assert blocked.ended()
    until(lambda: not is_waiting(world.shards["eu-0"].primary), "the server stops the statement", member)


def test_what_is_not_there_and_what_is_anothers(member: Fairlead, blocked: Blocked) -> None:
    with client(member) as killer:
        fails(killer, "KILL 4000000000", NO_SUCH_THREAD)
        fails(killer, "KILL QUERY 1", NO_SUCH_THREAD)
        fails(killer, "KILL 'x'", 1235, 1064, 1231)
    with client(member, user="guest", password="guest") as guest:
        fails(guest, f"KILL QUERY {blocked.id}", NOT_OWNER)
    with on_the_other_worker(member, blocked.id) as other, client(member, user="guest", password="guest"):
        ask(other, f"KILL QUERY {blocked.id}")
    assert blocked.ended()[0] == INTERRUPTED


def test_its_own_session(member: Fairlead) -> None:
    with client(member) as connection:
        fails(connection, "KILL QUERY CONNECTION_ID()", INTERRUPTED)
        assert value(connection, "SELECT 1") == 1
        fails(connection, "KILL CONNECTION_ID()", INTERRUPTED, 2013)
        assert not is_open(connection)


def test_a_statement_of_several_shards(member: Fairlead, blocked: Blocked, world: World) -> None:
    """It is answered from here; what it has begun elsewhere is rolled back."""
    with client(member) as connection, client(member) as killer:
        number = int(value(connection, "SELECT CONNECTION_ID()"))
        failure: list[Any] = []

        def run() -> None:
            failure.append(fails(connection, "UPDATE customers SET name = 'killed'", INTERRUPTED))

        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: updates(world.shards["eu-0"].primary), "it waits for the row", member)
        ask(killer, f"KILL QUERY {number}")
        thread.join(10)
        assert failure
        until(lambda: not updates(world.shards["eu-0"].primary), "its server stops it", member)
        assert value(connection, "SELECT COUNT(*) FROM customers WHERE name = 'killed'") == 0
        ask(killer, f"KILL QUERY {blocked.id}")


def updates(server: SqlServer) -> bool:
    found = server.query("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'UPDATE customers%'")
    return int(found[0][0]) > 0


def test_one_that_waits_for_a_connection(world: World) -> None:
    member = world.kept({"shards": {"eu-0": {"limits": {"connections": 1}}}})
    key = ids_on(world, "eu-0")[0]
    with client(member) as holder, client(member) as waiter, client(member) as killer:
        ask(holder, "BEGIN")
        ask(holder, f"SELECT * FROM customers WHERE id = {key} FOR UPDATE")
        number = int(value(waiter, "SELECT CONNECTION_ID()"))
        waits = threading.Thread(
            target=lambda: fails(waiter, f"SELECT name FROM customers WHERE id = {key}", INTERRUPTED)
        )
        waits.start()
        for _ in range(200):
            ask(killer, f"KILL QUERY {number}")
            waits.join(0.05)
            if not waits.is_alive():
                break
        assert not waits.is_alive()


@pytest.mark.world(regions=2)
def test_a_statement_in_another_region(world: World) -> None:
    member = world.fairlead()
    world.fairlead("us")
    key = ids_on(world, "us-0")[0]
    with client(member) as holder, client(member) as killer:
        one = Blocked(member, key, holder)
        until(lambda: is_waiting(world.shards["us-0"].primary), "the statement waits", member)
        ask(killer, f"KILL QUERY {one.id}")
        assert one.ended()[0] == INTERRUPTED
        assert value(one.connection, "SELECT CONNECTION_ID()") == one.id
        one.connection.close()
