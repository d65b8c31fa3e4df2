"""LOAD DATA LOCAL INFILE: the server asks, and only the client that sent the statement is asked for its file."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.clients.drivers import Target, mariadb_command_line
from tests.proxy.clients import ask, client, fails, until, value
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

DISABLED, NO_TABLE, TRUNCATED, DUPLICATE, NOT_SUPPORTED = 3948, 1146, 1265, 1062, 1235
TABLE = "CREATE TABLE cargo (id INT PRIMARY KEY, body VARCHAR(200))"
ROWS = 300_000


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.tsv"
    path.write_text("1\tone\n2\t\\N\n3\tdrei\\tvier\n")
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """More than sockets and buffers hold."""
    path = tmp_path / "large.tsv"
    with path.open("w") as file:
        file.writelines(f"{number}\t{'x' * 100}\n" for number in range(ROWS))
    return path


def load(path: Path, more: str = "") -> str:
    return f"LOAD DATA LOCAL INFILE '{path}' {more} INTO TABLE cargo"


def outcome(connection: Any, sql: str) -> tuple[Any, ...]:
    """What one server would say: rows, warnings, info, or the error."""
    try:
        with connection.cursor() as cursor:
            affected = cursor.execute(sql)
    except pymysql.err.Error as error:
        return error.args[:1]
    result = connection._result
    return affected, result.warning_count, result.message, ask(connection, "SELECT * FROM cargo ORDER BY id")


@pytest.mark.parametrize("more", ["", "IGNORE", "REPLACE"])
@pytest.mark.parametrize("text", ["1\tone\n2\t\\N\n", "1\tone\n1\ttwo\n", "7\n8\tx\ty\n", "", "x\ty\n"])
def test_as_one_server(world: World, tmp_path: Path, more: str, text: str) -> None:
    """Also duplicates, rows that are too short or too long, and values that do not fit."""
    path = tmp_path / "rows.tsv"
    path.write_text(text)
    other = world.shards["eu-1"].primary
    other.run("CREATE DATABASE IF NOT EXISTS plain")
    found = []
    for connect in (world.fairlead().connect, other.connect):
        with contextlib.closing(connect(database="plain", local_infile=True, autocommit=True)) as connection:
            ask(connection, "DROP TABLE IF EXISTS cargo")
            ask(connection, TABLE)
            found.append(outcome(connection, load(path, more)))
            assert value(connection, "SELECT 5") == 5
    assert found[0] == found[1]


def test_a_large_file_by_the_command_line_client(world: World, large: Path) -> None:
    """Nothing of it stays in memory on its way."""
    member = world.fairlead()
    with client(member, database="plain") as connection:
        ask(connection, TABLE)
        before = peak(member)
        target = Target(member.port)
        printed = mariadb_command_line().run(target, load(large) + "; SELECT COUNT(*) FROM cargo;", "--local-infile=1")
        assert printed.split()[-1] == str(ROWS)
        assert peak(member) - before < 8 << 20, "the file was held in memory"


def peak(member: Fairlead) -> int:
    """The most memory (bytes) that the member's processes ever had."""
    pids = subprocess.run(
        ["pgrep", "-P", str(member.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    return max(_peak_of(pid) for pid in pids)


def _peak_of(pid: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


def test_in_a_transaction(world: World, small: Path) -> None:
    with client(world.fairlead(), database="plain", local_infile=True) as connection:
        ask(connection, TABLE)
        connection.begin()
        ask(connection, load(small))
        assert value(connection, "SELECT COUNT(*) FROM cargo") == 3
        connection.rollback()
        assert value(connection, "SELECT COUNT(*) FROM cargo") == 0


@pytest.mark.world(regions=2, shards=1)
def test_into_a_shard_of_another_region(world: World, small: Path, large: Path) -> None:
    """The request for the file comes by the other region's Fairlead, and so does the file's way back."""
    world.fairlead("eu")
    member, server = world.fairlead("us"), world.shards["eu-0"].primary
    with client(member, database="plain", local_infile=True) as connection:
        ask(connection, TABLE)
        with connection.cursor() as cursor:
            assert cursor.execute(load(small)) == 3
        assert ask(connection, "SELECT * FROM cargo ORDER BY id") == [(1, "one"), (2, None), (3, "drei\tvier")]
        with connection.cursor() as cursor:
            assert cursor.execute(load(small)) == 0, "LOCAL passes over duplicates"
            assert connection._result.warning_count == 3
        ask(connection, "DELETE FROM cargo")
        with connection.cursor() as cursor:
            assert cursor.execute(load(large)) == ROWS
        assert server.value("SELECT COUNT(*) FROM plain.cargo") == ROWS
        connection.begin()
        fails(connection, load(small).replace("cargo", "absent"), NO_TABLE)
        assert value(connection, "SELECT 5") == 5
    with client(member, database="plain") as connection:
        assert "client does not offer" in fails(connection, load(small), DISABLED)


def test_what_is_refused(world: World, small: Path) -> None:
    member = world.fairlead()
    with client(member, database="plain") as connection:
        ask(connection, TABLE)
        assert "client does not offer" in fails(connection, load(small), DISABLED)
    with client(member, database="plain", local_infile=True) as connection:
        fails(connection, load(small).replace("cargo", "absent"), NO_TABLE)
        assert value(connection, "SELECT COUNT(*) FROM cargo") == 0
        fails(connection, load(small).replace("LOCAL", ""), 1227)
    with client(member, local_infile=True) as connection:
        fails(connection, load(small).replace("cargo", "countries"), NOT_SUPPORTED)


def test_a_client_that_goes_away_in_the_middle(world: World, tmp_path: Path) -> None:
    """Its statement ends, nothing is stored, and the connection is lent to nobody."""
    member = world.fairlead()
    server = world.shards["eu-0"].primary
    path = tmp_path / "endless"
    os.mkfifo(path)
    with client(member, database="plain", local_infile=True) as connection:
        ask(connection, TABLE)
        process = subprocess.Popen(
            [
                *("mariadb", "-h127.0.0.1", f"-P{member.port}", "-udemo", "-pdemo", "plain", "--local-infile=1"),
                *("-e", load(path)),
            ]
        )
        with path.open("w") as file:
            file.write("".join(f"{number}\tx\n" for number in range(20_000)))
            file.flush()
            until(lambda: running(server), "the server reads the file", member)
            process.kill()
            process.wait()
        until(lambda: not running(server), "the statement ends", member)
        assert value(connection, "SELECT COUNT(*) FROM cargo") == 0


def running(server: Any) -> bool:
    rows = server.query("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'LOAD DATA%'")
    return int(rows[0][0]) > 0
