"""What a client finds again in the process that has taken over, and what keeps it in the one before."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import mysql.connector
import MySQLdb
import pymysql
import pytest

from loadtest.world.sqlserver import ServerMissing
from loadtest.world.world import World
from tests.clients.drivers import Target, mysql_command_line
from tests.differential.wire import COM_RESET_CONNECTION, CURSOR_READ_ONLY, STATUS_CURSOR, TYPE_BLOB, Raw, Typed
from tests.proxy.clients import client, raw, together, until, value
from tests.proxy.dynasty import Dynasty, dynasty_of
from tests.servers import BOTH_SERVERS, absent

pytestmark = pytest.mark.slow  # `make restarts`

CLIENTS, RESTARTS = 20, 1
COMPRESSED = {"listeners": {"mysql": {"compression": True}}}
PACKED_CLIENTS = 6
SIZES = (1, 60, 5_000, 300_000)
UNKNOWN_STATEMENT = 1243
SENT_BEFORE = Typed(TYPE_BLOB)
"""By COM_STMT_SEND_LONG_DATA."""
BRIEF = {"limits": {"take_over": "4s", "drain": "1s"}}
SHUTTING_DOWN = 1053

HELD = "CREATE TABLE IF NOT EXISTS held (id INT PRIMARY KEY)"
HOLDS: dict[str, tuple[list[str], str, bytes, list[str | int]]] = {
    "once": (["SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"], "SELECT COUNT(*) FROM held", b"2", []),
    "transaction": (
        ["BEGIN", "INSERT INTO held VALUES (1)"], "SELECT COUNT(*) FROM held WHERE id = 1", b"1", ["COMMIT"]
    ),
    "autocommit": (
        ["SET autocommit = 0", "INSERT INTO held VALUES (2)"], "SELECT COUNT(*) FROM held WHERE id = 2", b"1",
        ["ROLLBACK"],
    ),
    "begun": (["BEGIN"], "SELECT 3", b"3", ["COMMIT"]),
    "user variable": (["SET @held = 4"], "SELECT @held", b"4", [COM_RESET_CONNECTION]),
    "temporary table": (
        ["CREATE TEMPORARY TABLE mine (id INT)", "INSERT INTO mine VALUES (5)"], "SELECT id FROM mine", b"5",
        [COM_RESET_CONNECTION],
    ),
    "GET_LOCK": (
        ["SELECT GET_LOCK('held', 0)"], "SELECT RELEASE_LOCK('held') + GET_LOCK('held', 0)", b"2",
        [COM_RESET_CONNECTION],
    ),
    "FOUND_ROWS()": (
        ["SELECT SQL_CALC_FOUND_ROWS id FROM numbers LIMIT 1"], "SELECT FOUND_ROWS()", b"3", [COM_RESET_CONNECTION]
    ),
    "LOCK TABLES": (["LOCK TABLES locked WRITE"], "SELECT COUNT(*) FROM locked", b"0", [COM_RESET_CONNECTION]),
    "PREPARE": (["PREPARE named FROM 'SELECT 6'"], "EXECUTE named", b"6", [COM_RESET_CONNECTION]),
}  # fmt: skip
"""What keeps a client, a question that is answered as long as it is so, and what lets it go."""


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


def test_what_was_prepared_in_another_database_keeps_its_client(dynasty: Dynasty) -> None:
    with raw(dynasty.member, database="plain") as connection:
        asking = connection.prepare("SELECT ? AS given")
        connection.query("USE shop")
        with dynasty.succeeding():
            assert connection.execute(asking, ("still here",)).value == b"still here"
            assert dynasty.alive(dynasty.pids[0])
            connection.query("USE plain")
            dynasty.ended()
        assert connection.execute(asking, ("there",)).value == b"there"


def test_names_mean_what_they_meant_before_the_move(dynasty: Dynasty, world: World) -> None:
    primary = world.shards["eu-0"].primary
    primary.run("CREATE TABLE customers (id BIGINT PRIMARY KEY)", database="plain")
    with raw(dynasty.member, database="plain") as connection:
        counting = connection.prepare("SELECT COUNT(*) AS n FROM customers WHERE id < ?")
        dynasty.succeed_and_end()
        connection.query("USE shop")
        assert connection.execute(counting, (1 << 62,)).message.startswith("FL3031")
        connection.query("USE plain")
        assert connection.execute(counting, (1 << 62,)).value == bytes(8)


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
    dynasty.has_taken(CLIENTS)


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
    dynasty.has_taken(PACKED_CLIENTS)


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


@BOTH_SERVERS
def test_whoever_holds_something_stays_until_it_lets_go(dynasty: Dynasty, world: World) -> None:
    primary = world.shards["eu-0"].primary
    primary.run(f"{HELD}; CREATE TABLE locked (id INT)", database="plain")
    primary.run("CREATE TABLE numbers (id INT PRIMARY KEY); INSERT INTO numbers VALUES (1), (2), (3)", database="plain")
    with contextlib.ExitStack() as held, raw(dynasty.member, database="plain") as reading:
        clients = {name: held.enter_context(raw(dynasty.member, database="plain")) for name in HOLDS}
        for name, (holding, _, _, _) in HOLDS.items():
            for statement in holding:
                assert clients[name].query(statement).kind in ("ok", "rows"), (name, statement)
        numbers = reading.prepare("SELECT 1 UNION SELECT 2")
        assert reading.execute(numbers, flags=CURSOR_READ_ONLY).status & STATUS_CURSOR
        with dynasty.succeeding():
            for name, (_, question, expected, _) in HOLDS.items():
                assert clients[name].query(question).value == expected, name
            assert len(reading.fetch(numbers, 5).rows) == 2
            for name, (_, _, _, letting_go) in HOLDS.items():
                for one in letting_go:
                    answer = clients[name].plain(one) if isinstance(one, int) else clients[name].query(one)
                    assert answer.kind == "ok", name
            dynasty.ended()
            dynasty.has_taken(len(clients) + 2)
        assert {name: one.query("SELECT 7").value for name, one in clients.items()} == dict.fromkeys(clients, b"7")
        assert len(reading.execute(numbers).rows) == 2
    assert primary.query("SELECT id FROM plain.held") == [(1,)]


@BOTH_SERVERS
def test_what_is_known_of_the_last_statement_comes_along(dynasty: Dynasty, world: World) -> None:
    """And what SET has said. Each is asked by a client of its own, once."""
    world.shards["eu-0"].primary.run(
        "CREATE TABLE counted (id INT PRIMARY KEY AUTO_INCREMENT, body VARCHAR(2))", database="plain"
    )
    asked = {
        "SELECT ROW_COUNT()": (["INSERT INTO counted (body) VALUES ('a'), ('b')"], b"2"),
        "SELECT LAST_INSERT_ID()": (["INSERT INTO counted (id) VALUES (7)", "INSERT INTO counted VALUES ()"], b"8"),
        "SELECT @@warning_count": (["SET sql_mode = ''", "INSERT INTO counted (body) VALUES ('long')"], b"1"),
        "SELECT @@completion_type": (["SET completion_type = 'RELEASE'"], b"RELEASE"),
        "SELECT @@max_join_size": (["SET max_join_size = 4711"], b"4711"),
        "SELECT @@time_zone": (["SET time_zone = '+05:00'"], b"+05:00"),
        "SELECT DATABASE()": (["USE shop"], b"shop"),
        "SELECT @@autocommit": (["SET autocommit = 0", "SELECT * FROM counted LIMIT 0", "ROLLBACK"], b"0"),
    }  # fmt: skip
    with contextlib.ExitStack() as held:
        clients = {question: held.enter_context(raw(dynasty.member, database="plain")) for question in asked}
        for question, (statements, _) in asked.items():
            for statement in statements:
                assert clients[question].query(statement).kind in ("ok", "rows"), statement
        dynasty.succeed_and_end()
        assert {question: one.query(question).value for question, one in clients.items()} == {
            question: expected for question, (_, expected) in asked.items()
        }


def test_half_a_packet_and_half_a_file_are_not_lost(dynasty: Dynasty, world: World) -> None:
    world.shards["eu-0"].primary.run("CREATE TABLE filled (id INT PRIMARY KEY)", database="plain")
    with client(dynasty.member, database="plain", local_infile=True) as sending, raw(dynasty.member) as asking:
        sending._execute_command(3, "LOAD DATA LOCAL INFILE 'numbers' INTO TABLE filled")
        assert sending._read_packet().is_load_local_packet()
        sending.write_packet(b"1\n2\n")
        statement = b"\x03SELECT 'whole'"
        packet = len(statement).to_bytes(3, "little") + b"\0" + statement
        asking.socket.sendall(packet[:9])
        with dynasty.succeeding():
            asking.socket.sendall(packet[9:])
            sending.write_packet(b"3\n")
            sending.write_packet(b"")
            assert sending._read_packet().is_ok_packet()
            asking.expect(1)
            assert asking.read_answer().value == b"whole"
            dynasty.ended()
        assert value(sending, "SELECT COUNT(*) FROM filled") == 3
        assert asking.query("SELECT 8").value == b"8"


@pytest.mark.parametrize("dynasty", [({"users": {"demo": {"limits": {"connections": 3}}}}, 1)], indirect=True)
def test_limits_count_whoever_has_moved_once(dynasty: Dynasty) -> None:
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(client(dynasty.member)) for _ in range(3)]
        dynasty.succeed_and_end()
        with pytest.raises(pymysql.err.OperationalError, match="FL"):
            dynasty.member.connect()
        clients[0].close()
        held.enter_context(until(lambda: _connected(dynasty), "a place is free", dynasty.member))
        assert [value(one, "SELECT 1") for one in clients[1:]] == [1, 1]


def _connected(dynasty: Dynasty) -> Any:
    with contextlib.suppress(pymysql.err.OperationalError):
        return client(dynasty.member)
    return None


@pytest.mark.parametrize("dynasty", [(BRIEF, 1)], indirect=True)
def test_whoever_stays_is_told_when_the_time_is_up(dynasty: Dynasty, world: World) -> None:
    """Between two transactions, within one, and in the midst of a statement; what they have written is not there."""
    world.shards["eu-0"].primary.run(HELD, database="plain")
    with contextlib.ExitStack() as held:
        idle, open_, running = (held.enter_context(raw(dynasty.member, database="plain")) for _ in range(3))
        assert idle.query("SET @held = 1").kind == "ok"
        for connection, number in ((open_, 11), (running, 12)):
            connection.query("BEGIN")
            assert connection.query(f"INSERT INTO held VALUES ({number})").affected == 1
        running.send(b"\x03SELECT SLEEP(30)")
        dynasty.succeed()
        answer = running.read_answer()
        assert (answer.kind, answer.message[:6]) == ("error", "FL4005"), answer
        for connection in (idle, open_):
            connection.expect(0)
            answer = connection.read_answer()
            assert (answer.errno, answer.message[:6]) == (SHUTTING_DOWN, "FL4012"), answer
            assert connection.query("SELECT 1").kind == "lost"
        dynasty.ended()
    assert "clients have stayed until the time is up" in dynasty.log()
    until(lambda: world.shards["eu-0"].primary.query("SELECT * FROM plain.held") == [], "nothing is left")


def test_tls_stays_until_the_time_is_up(world: World) -> None:
    """What encrypts it cannot be carried over. It goes on as before, and is told at the end."""
    files = world.authority.issue("listener")
    tls = {"cert": str(files.certificate), "key": str(files.key)}
    changes = {**BRIEF, "listeners": {"mysql": {"tls": tls}}}
    with dynasty_of(world, changes, 1) as dynasty, contextlib.ExitStack() as held:
        secure = held.enter_context(raw(dynasty.member, ssl_ca=str(files.ca)))
        with dynasty.succeeding():
            assert secure.query("SELECT 1").value == b"1"
        secure.expect(0)
        answer = secure.read_answer()
        assert (answer.errno, answer.message[:6]) == (SHUTTING_DOWN, "FL4012"), answer
        dynasty.ended()
        assert "clients have stayed until the time is up: 1 by TLS" in dynasty.log()
        again = held.enter_context(raw(dynasty.member, ssl_ca=str(files.ca)))
        assert again.query("SELECT 2").value == b"2"
