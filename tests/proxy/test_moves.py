"""What a client finds again in the process that has taken over, and what keeps it in the one before."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import mysql.connector
import MySQLdb
import pytest

from loadtest.world.sqlserver import ServerMissing
from loadtest.world.world import World
from tests.clients.drivers import Target, mysql_command_line
from tests.differential.wire import TYPE_BLOB, Raw, Typed
from tests.proxy.clients import raw, together, until
from tests.proxy.dynasty import Dynasty, dynasty_of
from tests.servers import BOTH_SERVERS, absent

CLIENTS, RESTARTS = 20, 2
COMPRESSED = {"listeners": {"mysql": {"compression": True}}}
PACKED_CLIENTS = 6
SIZES = (1, 60, 5_000, 300_000)
UNKNOWN_STATEMENT = 1243
SENT_BEFORE = Typed(TYPE_BLOB)
"""By COM_STMT_SEND_LONG_DATA."""


@pytest.fixture
def dynasty(world: World, request: pytest.FixtureRequest) -> Iterator[Dynasty]:
    """Of one worker, unless told otherwise: who comes last, moves last."""
    changes, workers = getattr(request, "param", ({}, 1))
    with dynasty_of(world, changes, workers) as found:
        yield found


@BOTH_SERVERS
def test_prepared_statements_come_along(dynasty: Dynasty, world: World) -> None:
    """Under their ids, with the types of their parameters, whatever their context was and wherever their rows are."""
    texts = {
        "gone": "SELECT 'gone'",
        "sum": "SELECT ? + 1 AS one_more",
        "quoted": 'SELECT "id" AS quoted, ? AS given',
        "shard": "SELECT id FROM customers WHERE id = ?",
        "shards": "SELECT COUNT(*) FROM customers WHERE id > ?",
        "write": "INSERT INTO plain.taken (id, body) VALUES (?, ?)",
        "session": "SELECT DATABASE()",
        "never": "SELECT ? AS never_executed",
    }
    values = {"sum": (41,), "quoted": ("é",), "shard": (1,), "shards": (0,), "session": ()}
    world.shards["eu-0"].primary.run("CREATE TABLE taken (id INT PRIMARY KEY, body TEXT)", database="plain")
    with raw(dynasty.member) as connection:
        prepared = {name: connection.prepare(text) for name, text in texts.items()}
        connection.close_statement(prepared["gone"])
        before = {name: connection.execute(prepared[name], given) for name, given in values.items()}
        assert connection.execute(prepared["write"], (1, "é")).affected == 1
        dynasty.succeed_and_end()
        after = {name: connection.execute(prepared[name], given, rebind=False) for name, given in values.items()}
        assert after == before
        assert {name: one.kind for name, one in before.items()} == dict.fromkeys(values, "rows"), before
        connection.long_data(prepared["write"], 1, b"in ")
        connection.long_data(prepared["write"], 1, b"parts")
        assert connection.execute(prepared["write"], (2, SENT_BEFORE)).affected == 1
        assert connection.execute(prepared["never"], ("seven",)).value == b"seven"
        assert connection.execute(prepared["gone"]).errno == UNKNOWN_STATEMENT
        again = connection.prepare("SELECT 'again'")
        assert again.id == prepared["gone"].id
        assert connection.execute(again).value == b"again"
        dynasty.succeed_and_end()
        assert {name: connection.execute(prepared[name], given) for name, given in values.items()} == before
        for one in prepared.values():
            connection.close_statement(one)
        assert connection.execute(prepared["sum"], (1,)).errno == UNKNOWN_STATEMENT
    assert world.shards["eu-0"].primary.query("SELECT * FROM plain.taken ORDER BY id") == [(1, "é"), (2, "in parts")]


def test_long_data_that_waits_keeps_its_client(dynasty: Dynasty) -> None:
    with raw(dynasty.member, database="plain") as connection:
        statement = connection.prepare("SELECT ? AS sent")
        connection.long_data(statement, 0, b"before")
        connection.query("SELECT 1")
        with dynasty.succeeding():
            assert dynasty.alive(dynasty.pids[0])
            assert connection.execute(statement, (SENT_BEFORE,)).value == b"before"
        dynasty.ended()
        assert connection.execute(statement, ("behind",)).value == b"behind"


def test_more_statements_than_may_be_carried_keep_their_client(dynasty: Dynasty) -> None:
    """It moves when it has closed some."""
    with raw(dynasty.member, database="plain") as connection:
        large = [connection.prepare(f"SELECT '{n}' AS n, '{'x' * 300_000}' AS x") for n in range(4)]
        with dynasty.succeeding():
            assert dynasty.alive(dynasty.pids[0])
            assert connection.execute(large[3]).rows[0][0] == b"3"
            connection.close_statement(large[0])
            dynasty.ended()
        assert [connection.execute(one).rows[0][0] for one in large[1:]] == [b"1", b"2", b"3"]


@BOTH_SERVERS
@pytest.mark.parametrize("dynasty", [({}, 2)], indirect=True)
def test_prepared_work_goes_on(dynasty: Dynasty, world: World) -> None:
    """Clients that execute what they have prepared without pause, types sent once: nothing is lost or doubled."""
    primary = world.shards["eu-0"].primary
    primary.run("CREATE TABLE work (client INT, n INT, PRIMARY KEY (client, n))", database="plain")
    done = threading.Event()
    counts = [0] * CLIENTS

    def execute(connection: Raw, number: int) -> None:
        write = connection.prepare("INSERT INTO work VALUES (?, ?)")
        read = connection.prepare("SELECT COUNT(*) FROM work WHERE client = ?")
        while not done.is_set():
            first = counts[number] == 0
            assert connection.execute(write, (number, counts[number]), rebind=first).affected == 1
            counts[number] += 1
            assert connection.execute(read, (number,), rebind=first).kind == "rows"

    def work(number: int) -> None:
        with raw(dynasty.member, database="plain") as connection:
            execute(connection, number)

    def restart() -> None:
        try:
            for _ in range(RESTARTS):
                before = list(counts)
                dynasty.succeed_and_end()
                until(lambda before=before: all(map(int.__gt__, counts, before)), "all go on", dynasty.member)
        finally:
            done.set()

    together([restart, *(lambda number=number: work(number) for number in range(CLIENTS))], 120.0)
    written = primary.query("SELECT client, COUNT(*) FROM plain.work GROUP BY client")
    assert dict(written) == dict(enumerate(counts))
    assert dynasty.moved() == CLIENTS


@pytest.mark.parametrize("dynasty", [(COMPRESSED, 2)], indirect=True)
def test_compressed_clients_come_along(dynasty: Dynasty) -> None:
    """Without a pause, with packets of all sizes in both directions, text and prepared."""
    done = threading.Event()
    counts = [0] * PACKED_CLIENTS
    address = {"host": "127.0.0.1", "port": dynasty.member.port}
    options: dict[str, Any] = {**address, "user": "demo", "password": "demo", "database": "plain"}

    def ask_prepared(number: int) -> None:
        connection = mysql.connector.connect(**options, compress=True, ssl_disabled=True, use_pure=True)
        with contextlib.closing(connection), connection.cursor(prepared=True) as cursor:
            while not done.is_set():
                text = "é" * SIZES[counts[number] % len(SIZES)]
                cursor.execute("SELECT %s", (text,))
                assert cursor.fetchall() == [(text,)]
                counts[number] += 1

    def ask_in_text(number: int) -> None:
        with contextlib.closing(MySQLdb.connect(**options, compress=True, charset="utf8mb4")) as connection:
            cursor = connection.cursor()
            while not done.is_set():
                size = SIZES[counts[number] % len(SIZES)]
                cursor.execute(f"SELECT {number}, '{'a' * size}', REPEAT('b', {size})")
                assert cursor.fetchall() == ((number, "a" * size, "b" * size),)
                counts[number] += 1

    def restart() -> None:
        try:
            for _ in range(RESTARTS):
                before = list(counts)
                until(lambda before=before: all(map(int.__gt__, counts, before)), "all go on", dynasty.member)
                dynasty.succeed_and_end()
        finally:
            done.set()

    works = [lambda number=n: (ask_prepared, ask_in_text)[number % 2](number) for n in range(PACKED_CLIENTS)]
    together([restart, *works], 120.0)
    assert dynasty.moved() == PACKED_CLIENTS


@pytest.mark.mysql97
@pytest.mark.parametrize("dynasty", [(COMPRESSED, 1)], indirect=True)
def test_zstd_comes_along(dynasty: Dynasty) -> None:
    """MySQL's own client, as it is the one that speaks it."""
    try:
        program = mysql_command_line()
    except ServerMissing as missing:
        absent("mysql", missing)
    options = ("--compression-algorithms=zstd", "--zstd-compression-level=5", "--ssl-mode=DISABLED", "--skip-reconnect")
    printing = ("--unbuffered", "--batch", "--skip-column-names")
    argv = [*program.connecting(Target(dynasty.member.port)), *options, *printing]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for number in range(RESTARTS):
            for text in ("a", "b" * 10_000):
                process.stdin.write(f"SELECT {number}, '{text}';\n")
                process.stdin.flush()
                assert process.stdout.readline().split() == [str(number), text]
            dynasty.succeed_and_end()
        process.stdin.close()
        assert process.stdout.read() == ""
