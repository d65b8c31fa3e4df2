"""SIGUSR2: the program is started anew and takes over, and no client notices."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pymysql
import pytest

from loadtest.world.world import World
from tests.proxy.clients import ask, client, fails, metric, together, until, value
from tests.proxy.dynasty import Dynasty, dynasty_of

CLIENTS, RESTARTS = 50, 3


@pytest.fixture
def dynasty(world: World, request: pytest.FixtureRequest) -> Iterator[Dynasty]:
    with dynasty_of(world, getattr(request, "param", {})) as found:
        yield found


def test_nobody_is_refused(dynasty: Dynasty) -> None:
    """Clients that come and go without pause, while the process is replaced three times."""
    done = threading.Event()
    counts = [0] * CLIENTS

    def come_and_go(number: int) -> None:
        while not done.is_set():
            with contextlib.closing(dynasty.member.connect()) as connection:
                assert value(connection, "SELECT COUNT(*) FROM customers WHERE id = 1") in (0, 1)
            counts[number] += 1

    def restart() -> None:
        try:
            for _ in range(RESTARTS):
                before = sum(counts)
                dynasty.succeed()
                until(lambda before=before: sum(counts) > before + CLIENTS, "clients come on", dynasty.member)
        finally:
            done.set()

    together([restart, *(lambda number=number: come_and_go(number) for number in range(CLIENTS))], 120.0)
    assert metric(dynasty.member, "fairlead_clients_rejected_total") == 0
    before = dynasty.pids[:-1]
    until(lambda: not any(dynasty.alive(pid) for pid in before), "who is needed no more leaves", dynasty.member)


def test_a_process_that_cannot_serve_changes_nothing(dynasty: Dynasty) -> None:
    text = dynasty.member.file.read_text()
    dynasty.member.file.write_text("region: nowhere\n")
    os.kill(dynasty.pids[0], signal.SIGUSR2)
    until(lambda: "has not taken over; serving on" in dynasty.log(), "it is told", dynasty.member)
    with client(dynasty.member) as connection:
        assert value(connection, "SELECT 1") == 1
    dynasty.member.file.write_text(text)
    dynasty.succeed()
    with client(dynasty.member) as connection:
        assert value(connection, "SELECT 1") == 1


def test_transactions_go_on(dynasty: Dynasty, world: World) -> None:
    """Clients that stay connected and run transactions without pause: each goes on in the next process, its connection
    and all that it has written with it."""
    primary = world.shards["eu-0"].primary
    primary.run("CREATE TABLE ledger (client INT, n INT, PRIMARY KEY (client, n))", database="plain")
    done = threading.Event()
    counts = [0] * CLIENTS

    def work(number: int) -> None:
        with contextlib.closing(dynasty.member.connect(database="plain", autocommit=number % 2 == 0)) as connection:
            me = value(connection, "SELECT CONNECTION_ID()")
            while not done.is_set():
                ask(connection, "BEGIN")
                ask(connection, "INSERT INTO ledger VALUES (%s, %s)", (number, counts[number]))
                counts[number] += 1
                assert value(connection, "SELECT COUNT(*) FROM ledger WHERE client = %s", (number,)) == counts[number]
                ask(connection, "COMMIT")
            assert value(connection, "SELECT CONNECTION_ID()") == me

    def restart() -> None:
        try:
            for _ in range(RESTARTS):
                dynasty.succeed()
                old = dynasty.pids[-2]
                until(lambda old=old: not dynasty.alive(old), "all have left the one before", dynasty.member)
        finally:
            done.set()

    together([restart, *(lambda number=number: work(number) for number in range(CLIENTS))], 120.0)
    written = primary.query("SELECT client, COUNT(*) FROM plain.ledger GROUP BY client")
    assert dict(written) == dict(enumerate(counts)) and min(counts) > 0
    dynasty.has_taken(CLIENTS)


def test_the_session_is_the_same(dynasty: Dynasty) -> None:
    """Whatever it can be asked for."""
    questions = (
        "SELECT LAST_INSERT_ID()", "SELECT CONNECTION_ID()", "SELECT USER(), DATABASE()",
        "SELECT @@sql_mode, @@time_zone, @@lock_wait_timeout, @@autocommit",
        "SELECT @@character_set_client, @@collation_connection",
    )  # fmt: skip
    with client(dynasty.member, database="plain", autocommit=None, charset="latin1") as connection:
        ask(connection, "CREATE TABLE IF NOT EXISTS numbered (id INT PRIMARY KEY AUTO_INCREMENT, body VARCHAR(20))")
        for setting in ("sql_mode = 'ANSI_QUOTES'", "time_zone = '+03:00'", "lock_wait_timeout = 7", "autocommit = 0"):
            ask(connection, f"SET {setting}")
        ask(connection, "INSERT INTO numbered (body) VALUES ('é')")
        ask(connection, "COMMIT")
        before = [ask(connection, one) for one in questions]
        ask(connection, "COMMIT")
        dynasty.succeed()
        until(lambda: not dynasty.alive(dynasty.pids[0]), "it has moved", dynasty.member)
        assert [ask(connection, one) for one in questions] == before
        assert ask(connection, """SELECT body FROM "numbered" """) == [("é",)]
        with client(dynasty.member) as other:
            ask(other, f"KILL {before[1][0][0]}")
        with pytest.raises(pymysql.err.OperationalError):
            ask(connection, "SELECT 1")


def test_an_own_error_can_still_be_asked_for(dynasty: Dynasty) -> None:
    with client(dynasty.member) as connection:
        text = fails(connection, "SELECT * FROM absent", 1146)
        dynasty.succeed()
        until(lambda: not dynasty.alive(dynasty.pids[0]), "it has moved", dynasty.member)
        assert [row[2] for row in ask(connection, "SHOW WARNINGS")] == [text]
        assert value(connection, "SELECT @@warning_count") == 1


def test_who_is_no_longer_known_is_told(dynasty: Dynasty) -> None:
    member = dynasty.member
    user = {"password": {"value": "x"}, "grants": [{"on": "*.*", "verbs": ["all"]}]}
    member.write({**member.configuration, "users": {**member.configuration["users"], "brief": user}})
    member.reload()
    until(lambda: "configuration 2 is in force" in dynasty.log(), "the user", member)
    with client(member, user="brief", password="x") as connection, client(member) as other:
        users = {name: one for name, one in member.configuration["users"].items() if name != "brief"}
        member.write({**member.configuration, "users": users})
        dynasty.succeed()
        with pytest.raises(pymysql.err.OperationalError):
            ask(connection, "SELECT 1")
        until(lambda: "a client of the process before cannot go on here" in dynasty.log(), "it is told", member)
        assert value(other, "SELECT 1") == 1


def test_whoever_holds_something_stays_until_it_lets_go(dynasty: Dynasty) -> None:
    with client(dynasty.member, database="plain") as connection:
        ask(connection, "CREATE TEMPORARY TABLE mine (id INT)")
        dynasty.succeed()
        ask(connection, "INSERT INTO mine VALUES (1)")
        with client(dynasty.member, database="plain") as other:
            assert value(other, "SELECT 1") == 1
        assert value(connection, "SELECT COUNT(*) FROM mine") == 1
        assert dynasty.alive(dynasty.pids[0])
    until(lambda: not dynasty.alive(dynasty.pids[0]), "the first one leaves", dynasty.member)
