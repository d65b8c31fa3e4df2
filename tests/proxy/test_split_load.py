"""LOAD DATA LOCAL into sharded tables: parted by row, the outcome is one server's."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import Connection, ask, client, until, value
from tests.proxy.test_load_data import peak
from tests.proxy.uploading import Answer, sent, upload
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

KEYSPACE, SINGLE = "harbour", "harbour_one"
SCHEMA = [
    "CREATE TABLE cargo (id BIGINT NOT NULL PRIMARY KEY, body VARCHAR(200), amount INT)",
    """CREATE TABLE parcels (note VARCHAR(40), code VARCHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        n INT NOT NULL, seen TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (code, n))""",
    "CREATE TABLE tickets (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, title VARCHAR(40))",
    """CREATE TABLE oddities (id BIGINT NOT NULL PRIMARY KEY, twice BIGINT AS (id * 2) STORED, tag VARCHAR(40),
        UNIQUE KEY tag (tag))""",
    """CREATE TABLE soup (code VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
        a VARCHAR(30) CHARACTER SET utf8mb4, b VARCHAR(30) CHARACTER SET utf8mb4)""",
]
TABLES = ("cargo", "parcels", "tickets", "oddities", "soup")
NOT_NOW, NO_TABLE, NO_COLUMN, WRONG_VALUE, INTERRUPTED, LOST = 1235, 1146, 1054, 1366, 1317, 2013


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    world.add_keyspace(KEYSPACE, SCHEMA)
    world.shards["eu-1"].primary.run(f"CREATE DATABASE {SINGLE}")
    with contextlib.closing(world.shards["eu-1"].primary.connect(database=SINGLE)) as connection:
        for statement in SCHEMA:
            ask(connection, statement)
    keyed = {"cargo": ("by_id", "id"), "parcels": ("by_code", "code"), "tickets": ("by_id", "id")}
    keyed |= {"oddities": ("by_id", "id"), "soup": ("by_code", "code")}
    keyspace = {
        "shards": list(world.shards),
        "vindexes": {"by_id": {"function": "hash"}, "by_code": {"function": "hash"}},
        "tables": {
            name: {"kind": "sharded", "vindex": vindex, "columns": [column]} for name, (vindex, column) in keyed.items()
        },
    }
    grants = {"demo": {"grants": [{"on": "*.*", "verbs": ["all"]}]}}
    member = world.kept({"keyspaces": {KEYSPACE: keyspace}, "users": grants, "health": {"schema": "1s"}})
    until(lambda: _sees(member), "the tables are known", member)
    return member


def _sees(member: Fairlead) -> bool:
    with client(member, database=KEYSPACE) as connection, contextlib.suppress(pymysql.err.Error):
        return all(ask(connection, f"SELECT COUNT(*) FROM {table}") == [(0,)] for table in TABLES)
    return False


@pytest.fixture
def connection(fairlead: Fairlead) -> Iterator[Connection]:
    with client(fairlead, database=KEYSPACE, local_infile=True, autocommit=True) as connected:
        yield connected


@pytest.fixture
def one(world: World, fairlead: Fairlead) -> Iterator[Connection]:
    """One server with all the data."""
    connect = world.shards["eu-1"].primary.connect
    with contextlib.closing(connect(database=SINGLE, local_infile=True, autocommit=True)) as connected:
        yield connected


def load(more: str = "", *, table: str = "cargo", how: str = "", columns: str = "") -> str:
    return f"LOAD DATA LOCAL INFILE 'rows' {how} INTO TABLE {table} {more} {columns}"


def rows(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    return sorted(ask(connection, f"SELECT * FROM {table}"), key=repr)


def per_shard(world: World, table: str) -> list[int]:
    return [int(one.primary.value(f"SELECT COUNT(*) FROM {KEYSPACE}.{table}")) for one in world.shards.values()]


CASES: list[tuple[str, bytes]] = [
    (load(), b"".join(b"%d\tbody %d\t%d\n" % (n, n, n) for n in range(1, 101))),
    (load(), b"1\tone\t1\n2\t\\N\t\\N\n3\tdrei\\tvier\t3"),
    (load(), b""),
    (load(), b"1\tone\n2\n3\ttoo\t7\tmany\\\n of them\t\n4\tx\tnot a number\n5\t\t\n"),
    (load(), b"1\ta\t1\n1\tb\t2\n2\ta\t1\n2\tb\t2\n2\tc\t3\n"),
    (load(how="REPLACE"), b"1\ta\t1\n1\tb\t2\n2\ta\t1\n2\tb\t2\n2\tc\t3\n"),
    (load(how="IGNORE"), b"1\ta\t1\n1\tb\t2\n2\ta\t1\n2\tb\t2\n2\tc\t3\n"),
    (load("IGNORE 2 LINES"), b"id\tbody\n---\n1\ta\t1\n2\tb\t2\n3\tc\t3\n"),
    (load("IGNORE 5 ROWS"), b"id\tbody\n---\n"),
    (load("FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' LINES TERMINATED BY '\\r\\n'"),
     b'"1","a, b",1\r\n2,"say ""hi""\r\n there",2\r\n"3",NULL,NULL\r\n4,"x"y,4\r\n5,"open,5\r\n'),
    (load("FIELDS TERMINATED BY 0x7C ESCAPED BY '' LINES STARTING BY '>>' TERMINATED BY ';'"),
     b"junk>>1|a\\|1; more >>2|b|2;>>3|>>c|3;nothing;>>4|d|4"),
    (load("FIELDS TERMINATED BY '||' ENCLOSED BY '\\'' LINES TERMINATED BY '|\\n'"),
     b"'1'||'a|b'||'1'|\n'2'||''''||'2'|\n3||x|y||3|\n"),
    (load(columns="(amount, id) SET body = CONCAT('n', amount, REPEAT('x', 3))"), b"10\t1\n20\t2\n\\N\t3\n30\n"[:-3]),
    (load("CHARACTER SET latin1", columns="(id, body)"), b"1\t\xe9t\xe9\n2\t\xfc\n3\t\xdf\n"),
    (load("CHARACTER SET utf8mb4", columns="(id, body)"), "1\tété\n2\tü\n3\t漢字\n4\t🙂\n".encode()),
    (load(table="parcels", columns="(note, code, n)"),
     "".join(f"note {n}\tcode {n % 7}\t{n}\n" for n in range(50)).encode()),
    (load("CHARACTER SET utf8mb4", table="parcels", columns="(code, n)"),
     "é\t1\nÉ\t2\n漢\t3\nx  \t4\nx\t5\n\t6\n".encode()),
    (load(table="tickets"), b"7\tseven\n08\teight\n9\tnine\n"),
]  # fmt: skip


def test_as_one_server(world: World, connection: Connection, one: Connection) -> None:
    for sql, data in CASES:
        check(connection, one, sql, data)


def check(connection: Connection, one: Connection, sql: str, data: bytes) -> None:
    found: list[Answer] = []
    table = sql.partition("INTO TABLE ")[2].split()[0]
    for connected in (connection, one):
        ask(connected, f"DELETE FROM {table}")
    for connected in (connection, one):
        found.append(upload(connected, sql, data))
        assert value(connected, "SELECT 5") == 5, "the connection is in step"
    assert found[0] == found[1], (sql, data)
    same_rows(connection, one, table)


def same_rows(connection: Connection, one: Connection, table: str) -> None:
    ours, theirs = rows(connection, table), rows(one, table)
    if table == "parcels":  # the moment of loading
        assert len({row[3] for row in ours}) <= 1
        ours, theirs = ([row[:3] for row in part] for part in (ours, theirs))
    assert ours == theirs


# --- what a file may hold --------------------------------------------------------------------------------

FORMATS = [
    ("", b"\t", b"\n", b"", b"\\"),
    ("FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"'", b",", b"\n", b'"', b"\\"),
    ("FIELDS TERMINATED BY ',' ENCLOSED BY '\"' ESCAPED BY '\"' LINES TERMINATED BY '\\r\\n'",
     b",", b"\r\n", b'"', b'"'),
    ("FIELDS TERMINATED BY ';;' ENCLOSED BY '\\'' ESCAPED BY '' LINES TERMINATED BY ';\\n'",
     b";;", b";\n", b"'", b""),
    ("FIELDS TERMINATED BY 'ab' ESCAPED BY 'a' LINES STARTING BY 'xy' TERMINATED BY 'aa'", b"ab", b"aa", b"", b"a"),
    ("LINES STARTING BY '>>>' TERMINATED BY '\\n'", b"\t", b"\n", b"", b"\\"),
]  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A statement and its file: rows as somebody would write them, with anything in between."""
    options, field, line, quote, escape = draw(st.sampled_from(FORMATS))
    charset = draw(st.sampled_from(["CHARACTER SET utf8mb4", "CHARACTER SET latin1"]))
    columns = draw(st.sampled_from(["(code, a, b)", "(a, b, code)", "(a, code)", ""]))
    ignored = draw(st.sampled_from(["", "", "IGNORE 1 LINES"]))
    parts = [quote * 2, b"\xc3", b"xy", b"x", b">>>", b">>"]
    plain = st.sampled_from([b"a", b"b", b"N", b"NULL", b"7", b" ", b"long word", b"", b"\xc3\xa9", "漢🙂".encode()])
    special = st.sampled_from([field, line, quote, escape, field[:1], line[:1], escape + b"N", *parts])
    pieces = draw(st.lists(st.one_of(plain, plain, special, st.just(field), st.just(line)), max_size=60))
    return f"LOAD DATA LOCAL INFILE 'x' INTO TABLE soup {charset} {options} {ignored} {columns}", b"".join(pieces)


def test_whatever_a_file_holds(connection: Connection, one: Connection) -> None:
    answered = []

    @settings(
        max_examples=int(os.environ.get("EXAMPLES", "40")), deadline=None, database=None, print_blob=True,
        derandomize="EXAMPLES" not in os.environ, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(files(), st.integers(1, 200))
    def compared(given: tuple[str, bytes], size: int) -> None:
        sql, data = given
        for connected in (connection, one):
            ask(connected, "DELETE FROM soup")
        ours, theirs = upload(connection, sql, data, size), upload(one, sql, data, size)
        if ours.errno == WRONG_VALUE and theirs.errno == 0:
            assert ask(connection, "SELECT COUNT(*) FROM soup") == [(0,)]
            answered.append(False)
            return
        answered.append(True)
        assert ours == theirs
        same_rows(connection, one, "soup")

    compared()
    assert sum(answered) > len(answered) * 0.6, "most files are read, not refused"


# --- transactions, refusals, and what goes wrong ------------------------------------------------------------

PLAIN = b"".join(b"%d\tbody\t%d\n" % (n, n) for n in range(1, 201))


def test_in_a_transaction(world: World, connection: Connection) -> None:
    """It is one statement of it: undone with it, or by itself."""
    connection.begin()
    assert upload(connection, load(), PLAIN[: PLAIN.index(b"101\t")]).affected == 100
    assert value(connection, "SELECT COUNT(*) FROM cargo") == 100
    assert per_shard(world, "cargo") == [0, 0]
    bad = b"500\tx\t1\n501\tx\t1\n502\tx\t1\nnowhere\tx\t1\n503\tx\t1\n"
    assert upload(connection, load(), bad).errno == WRONG_VALUE
    assert value(connection, "SELECT COUNT(*) FROM cargo") == 100, "the failed statement is undone by itself"
    ask(connection, "INSERT INTO cargo VALUES (900, 'own', 1)")
    connection.rollback()
    assert value(connection, "SELECT COUNT(*) FROM cargo") == 0
    ask(connection, "SET autocommit = 0")
    assert upload(connection, load(), PLAIN).info == "Records: 200  Deleted: 0  Skipped: 0  Warnings: 0"
    connection.commit()
    assert sum(per_shard(world, "cargo")) == 200 and all(per_shard(world, "cargo"))
    timeouts = ask(connection, "SELECT @@net_read_timeout, @@timestamp - UNIX_TIMESTAMP(SYSDATE()) BETWEEN -5 AND 5")
    assert timeouts == [(30, 1)], "the connection is as it was"


REFUSED = [
    (load(columns="(body, amount)"), "FL1303"),
    (load(columns="(id, @x)"), "FL1361"),
    (load(columns="(@x, body) SET id = @x"), "FL1361"),
    (load(columns="(id, body) SET id = 7"), "FL1361"),
    (load(columns="(id, body) SET amount = (SELECT 1)"), "FL1361"),
    (load(columns="(id, body) SET amount = LAST_INSERT_ID()"), "FL1361"),
    (load(columns="(title)", table="tickets"), "FL"),
    (load(columns="(id, tag)", table="oddities"), "FL"),
    (load("CHARACTER SET utf16"), "FL1361"),
    (load("CHARACTER SET sjis"), "FL1361"),
    (load("FIELDS TERMINATED BY ''"), "FL1361"),
    (load("FIELDS TERMINATED BY '\\n'"), "FL1361"),
    (load("FIELDS TERMINATED BY 'é'"), "FL1361"),
    (load("LINES TERMINATED BY ''"), "FL1361"),
    (load("LINES IDENTIFIED BY 'x'"), "FL1361"),
    (load().replace("DATA", "XML"), "FL1320"),
    (load(table="absent"), "FL"),
]


def test_what_is_refused_before_the_client_is_asked(connection: Connection) -> None:
    for sql, number in REFUSED:
        with pytest.raises(pymysql.err.Error) as error:
            sent(connection, sql, _never())
        assert str(error.value.args[1]).startswith(number), (sql, error.value)
        assert value(connection, "SELECT 5") == 5


def _never() -> Iterator[bytes]:
    raise AssertionError("the client was asked for its file")
    yield b""


UNPLACED = [
    (b"1\tx\n\\N\tx\n", "row 2: its shard key is NULL"),
    (b"1\tx\n2\tx\nthree\tx\n4\tx\n", "row 3: its shard key is not written as a plain"),
    (b"9223372036854775808\tx\n", "row 1: its shard key is not written as a plain"),
    (b"1\tx\t1\n\n", "row 2: its shard key is not written"),
]


def test_rows_that_have_no_place(world: World, connection: Connection) -> None:
    for data, why in UNPLACED:
        with pytest.raises(pymysql.err.Error) as error:
            sent(connection, load(), [data[at : at + 3] for at in range(0, len(data), 3)])
        assert error.value.args[0] == WRONG_VALUE and why in error.value.args[1]
        assert value(connection, "SELECT 5") == 5
    assert per_shard(world, "cargo") == [0, 0]


def test_what_servers_refuse(world: World, connection: Connection) -> None:
    """Errors before the file, and behind it."""
    for sql, errno in ((load(columns="(id, nothing)"), NO_COLUMN), (load("PARTITION (p0)"), 1747)):
        with pytest.raises(pymysql.err.Error) as error:
            sent(connection, sql, _never())
        assert error.value.args[0] == errno
    for shard in world.shards.values():
        shard.primary.run(
            "CREATE TRIGGER halt BEFORE INSERT ON cargo FOR EACH ROW "
            "BEGIN IF NEW.amount = 150 THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 4711; END IF; END",
            database=KEYSPACE,
        )
    assert upload(connection, load(), PLAIN).errno in (0, 4711)
    assert value(connection, "SELECT 5") == 5
    assert upload(connection, load(how="REPLACE"), PLAIN).errno == 4711
    assert value(connection, "SELECT COUNT(*) FROM cargo") in (0, 199)


def test_a_client_that_goes_away(world: World, fairlead: Fairlead) -> None:
    with client(fairlead, database=KEYSPACE, local_infile=True, autocommit=True) as connected:
        connected._execute_command(3, load())
        assert connected._read_packet().is_load_local_packet()
        for _ in range(50):
            connected.write_packet(PLAIN)
        until(lambda: all(map(running, servers(world))), "the shards read", fairlead)
        connected._sock.close()
    until(lambda: not any(map(running, servers(world))), "the statements end", fairlead)
    assert per_shard(world, "cargo") == [0, 0]


def servers(world: World) -> list[Any]:
    return [shard.primary for shard in world.shards.values()]


def running(server: Any) -> bool:
    rows = server.query("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'LOAD DATA%'")
    return int(rows[0][0]) > 0


def test_kill_query_and_a_slow_client(world: World, fairlead: Fairlead, connection: Connection) -> None:
    """The client gets its error behind its file, and goes on."""
    number = value(connection, "SELECT CONNECTION_ID()")

    def pieces() -> Iterator[bytes]:
        yield PLAIN
        until(lambda: all(map(running, servers(world))), "the shards read", fairlead)
        with client(fairlead) as other:
            ask(other, f"KILL QUERY {number}")
        until(lambda: not any(map(running, servers(world))), "the statements end", fairlead)
        yield from [PLAIN] * 3

    with pytest.raises(pymysql.err.Error) as error:
        sent(connection, load(), pieces())
    assert error.value.args[0] == INTERRUPTED
    assert value(connection, "SELECT 5") == 5
    assert per_shard(world, "cargo") == [0, 0]


def test_a_shard_that_loses_the_connection(world: World, fairlead: Fairlead, connection: Connection) -> None:
    """Nothing of it stays on the others, also when it is part of the client's transaction."""
    victim = world.shards["eu-0"].primary

    def pieces() -> Iterator[bytes]:
        yield PLAIN
        until(lambda: all(map(running, servers(world))), "the shards read", fairlead)
        ((thread,),) = victim.query("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'LOAD DATA%'")
        victim.run(f"KILL {thread}")
        until(lambda: not running(victim), "the statement ends", fairlead)
        yield from [PLAIN] * 3

    for begins in (False, True):
        if begins:
            connection.begin()
            ask(connection, "INSERT INTO cargo VALUES (1000, 'own', 1), (1001, 'own', 1), (1002, 'own', 1)")
        with pytest.raises(pymysql.err.Error) as error:
            sent(connection, load(how="REPLACE"), pieces())
        assert error.value.args[0] in (LOST, INTERRUPTED, 1053, 1158, 1160, 1927), error.value
        if begins:
            with contextlib.suppress(pymysql.err.Error, OSError):
                ask(connection, "COMMIT")
        else:
            assert value(connection, "SELECT 5") == 5
        assert per_shard(world, "cargo") == [0, 0]


def test_a_shard_that_does_not_take_its_rows_stops_the_client(world: World, fairlead: Fairlead) -> None:
    """And the file is not held in memory meanwhile."""
    blocked = world.shards["eu-1"].primary
    line = b"%d\t" + b"x" * 150 + b"\t1\n"
    sent_pieces = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent_pieces
        for part in range(250):
            yield b"".join(line % n for n in range(part * 500, part * 500 + 500))
            sent_pieces += 1

    with (
        client(fairlead, database=KEYSPACE, local_infile=True, autocommit=True) as connected,
        contextlib.closing(blocked.connect(database=KEYSPACE)) as holder,
    ):
        holder.begin()
        keys = range(2000)
        ask(holder, f"INSERT INTO cargo VALUES {','.join(f'({n}, NULL, NULL)' for n in keys)}")
        before = peak(fairlead)
        outcome: list[Any] = []
        thread = threading.Thread(target=lambda: outcome.append(sent(connected, load(how="IGNORE"), pieces())))
        thread.start()
        until(lambda: running(blocked) and sent_pieces > 5, "the load waits", fairlead)
        with pytest.raises(pytest.fail.Exception):
            until(lambda: sent_pieces == 250, "the client is stopped", patience=1.0)
        holder.rollback()
        thread.join(60)
    assert outcome and outcome[0].affected == 125_000
    assert peak(fairlead) - before < 12 << 20, "the file was held in memory"
    assert sum(per_shard(world, "cargo")) == 125_000
