"""Clients that ask for compressed packets: the same answers, fewer bytes."""

from __future__ import annotations

import contextlib
from typing import Any

import mysql.connector
import pytest

from loadtest.world.faulty_wire import FaultyWire
from tests.clients.conftest import Way
from tests.clients.drivers import CommandLine, Target
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

MIB = 1 << 20
SCRIPT = f"""
DROP TABLE IF EXISTS packed;
CREATE TABLE packed (id INT PRIMARY KEY, body LONGTEXT);
INSERT INTO packed VALUES (1, '{"a" * MIB}');
SELECT LENGTH(body) FROM packed;
{"".join(f"SELECT {n};" for n in range(100))}
SELECT body FROM packed;
"""
WAYS = {
    "mariadb": [["--compress"]],
    "mysql": [
        ["--compression-algorithms=zlib"],
        ["--compression-algorithms=zstd", "--zstd-compression-level=19"],
    ],
}


def test_the_command_line_clients(command_line: CommandLine, way: Way) -> None:
    """Large values both ways and many small commands."""
    for options in WAYS[command_line.name]:
        with FaultyWire(way.target.port) as wire:
            printed = command_line.run(Target(wire.port), SCRIPT, *options).splitlines()
        assert printed == [str(MIB), *map(str, range(100)), "a" * MIB]
        assert wire.carried < MIB // 4, f"{command_line.name} {options} does not compress"


def test_an_error_and_what_follows_it(command_line: CommandLine, way: Way) -> None:
    for options in WAYS[command_line.name]:
        printed = command_line.run(way.target, "SELECT * FROM absent; SELECT 2;", "--force", *options)
        assert printed == "2\n"


def test_connector_python(way: Way) -> None:
    with FaultyWire(way.target.port) as wire:
        options: dict[str, Any] = {"compress": True, "use_pure": True, "ssl_disabled": True, "database": "plain"}
        connection = mysql.connector.connect(
            host="127.0.0.1", port=wire.port, user=way.target.user, password=way.target.password, **options
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT REPEAT('b', 3000000), 1")
            assert cursor.fetchall() == [("b" * 3_000_000, 1)]
            cursor.execute("SELECT LENGTH(%s)", ("c" * 500_000,))
            assert cursor.fetchall() == [(500_000,)]
            with pytest.raises(mysql.connector.Error):
                cursor.execute("SELECT * FROM absent")
            for n in range(300):
                cursor.execute(f"SELECT {n}")
                assert cursor.fetchall() == [(n,)]
        assert wire.carried < MIB // 2
