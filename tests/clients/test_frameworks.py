"""Applications' frameworks and drivers do through Fairlead what they do on one server: connect, inspect, migrate,
transact, insert in bulk, stream, cancel. Each program prints what it saw, which has to be the same both ways.

What is known to differ, and why, stands in docs/protocol.md; nothing here needs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest.world.world import World
from tests.clients.programs import c_program, go_program, java_program, node_program
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS
PYTHON = Path(__file__).parent / "frameworks"


def python_program(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(PYTHON / name), "PORT", *arguments]


PROGRAMS: dict[str, Any] = {
    "sqlalchemy-pymysql": lambda: python_program("sqlalchemy_tour.py", "pymysql"),
    "sqlalchemy-mysqlclient": lambda: python_program("sqlalchemy_tour.py", "mysqldb"),
    "django": lambda: python_program("django_tour.py"),
    "mysql2": lambda: ["node", str(node_program("mysql.mjs")), "PORT"],
    "connector-c": lambda: [*c_program(), "PORT"],
    "go-sql-driver": lambda: [*go_program(), "PORT"],
    "connector-j": lambda: [*java_program(), "PORT"],
}


def run(command: list[str], port: int) -> Any:
    argv = [str(port) if word == "PORT" else word for word in command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_sees_what_one_server_shows(world: World, name: str) -> None:
    other = world.shards["eu-1"].primary  # which has no part in the keyspace
    other.run(
        "CREATE DATABASE IF NOT EXISTS plain",
        "CREATE USER IF NOT EXISTS demo@'127.0.0.1' IDENTIFIED BY 'demo'",
        "GRANT ALL ON plain.* TO demo@'127.0.0.1'",
    )
    command = PROGRAMS[name]()
    ours, theirs = run(command, world.fairlead().port), run(command, other.port)
    different = {step: (ours.get(step), seen) for step, seen in theirs.items() if ours.get(step) != seen}
    assert not different
    assert ours.keys() == theirs.keys()
