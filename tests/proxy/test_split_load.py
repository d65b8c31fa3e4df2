"""LOAD DATA LOCAL into sharded tables: parted by row, the outcome is one server's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import Connection, ask, client, fails, metric, refused, until, value
from tests.proxy.uploading import Answer, upload
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
]
TABLES = ("cargo", "parcels", "tickets", "oddities")
NOT_NOW, NO_TABLE, NO_COLUMN, WRONG_VALUE, INTERRUPTED, LOST = 1235, 1146, 1054, 1366, 1317, 2013


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    world.add_keyspace(KEYSPACE, SCHEMA)
    world.shards["eu-1"].primary.run(f"CREATE DATABASE {SINGLE}")
    with contextlib.closing(world.shards["eu-1"].primary.connect(database=SINGLE)) as connection:
        for statement in SCHEMA:
            ask(connection, statement)
    keyed = {"cargo": ("by_id", "id"), "parcels": ("by_code", "code"), "tickets": ("by_id", "id")}
    keyed["oddities"] = ("by_id", "id")
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
    (load("CHARACTER SET utf8mb4", table="parcels", columns="(code, n)"), "é\t1\nÉ\t2\n漢\t3\nx  \t4\nx\t5\n\t6\n".encode()),
    (load(table="tickets"), b"7\tseven\n08\teight\n9\tnine\n"),
]  # fmt: skip


def test_as_one_server(world: World, connection: Connection, one: Connection) -> None:
    for sql, data in CASES:
        check(connection, one, sql, data)
        for shard in world.shards.values():
            shard.primary.run(*(f"TRUNCATE TABLE {table}" for table in TABLES), database=KEYSPACE)
        world.shards["eu-1"].primary.run(*(f"TRUNCATE TABLE {table}" for table in TABLES), database=SINGLE)


def check(connection: Connection, one: Connection, sql: str, data: bytes) -> None:
    found: list[Answer] = []
    table = sql.partition("INTO TABLE ")[2].split()[0]
    for connected in (connection, one):
        found.append(upload(connected, sql, data))
        assert value(connected, "SELECT 5") == 5, "the connection is in step"
    assert found[0] == found[1], (sql, data)
    ours, theirs = rows(connection, table), rows(one, table)
    if table == "parcels":  # the moment of loading
        assert len({row[3] for row in ours}) <= 1
        ours, theirs = ([row[:3] for row in part] for part in (ours, theirs))
    assert ours == theirs, (sql, data)
