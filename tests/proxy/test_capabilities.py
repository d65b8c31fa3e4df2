"""Every capability flag: is it offered as the table says, and what does a client get that asks for it alone?

The same packets, byte for byte, as directly from the server, but for what the table (tests/cases/mysql/) names.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.world.world import World
from tests.differential.capable import LEAST, Address, Capable
from tests.servers import BOTH_SERVERS

ROOT = Path(__file__).parents[2]
TABLE: dict[str, Any] = yaml.safe_load((ROOT / "tests/cases/mysql/capabilities.yaml").read_text())
FLAGS: list[dict[str, Any]] = TABLE["flags"]
SERVERS = ["mysql", "mariadb"]
FAIRLEADS = ["fairlead before mysql", "fairlead before mariadb"]

SETUP = (
    "CREATE TABLE mixed (id INT PRIMARY KEY AUTO_INCREMENT, word VARCHAR(20) CHARACTER SET utf8mb4 NOT NULL)",
    "INSERT INTO mixed (word) VALUES ('eins'), ('zwei')",
    "CREATE PROCEDURE two() BEGIN SELECT 1; SELECT id FROM mixed; END",
)
STATEMENTS = {
    "names": "SET NAMES utf8mb4", "rows": "SELECT id, word FROM mixed ORDER BY id",
    "changed": "UPDATE mixed SET word = 'x' WHERE id = 1", "found": "UPDATE mixed SET word = 'x' WHERE id = 1",
    "back": "UPDATE mixed SET word = 'eins' WHERE id = 1", "error": "SELEKT", "warning": "SELECT 1 / 0",
    "warnings": "SHOW WARNINGS", "space": "SELECT COUNT (*) FROM mixed", "schema": "SELECT nodb.mixed.id FROM mixed",
    "several": "SELECT 1; SELECT 2", "procedure": "CALL two()", "begin": "BEGIN",
    "inside": "SELECT id FROM mixed WHERE id = 1", "commit": "COMMIT", "mode": "SELECT @@sql_mode",
    "timeout": "SELECT @@wait_timeout = 1000", "variable": "SET @x = 1",
    "database": "SELECT DATABASE()", "null": "SELECT * FROM mixed WHERE id IS NULL",
    "file": "LOAD DATA LOCAL INFILE 'x' INTO TABLE mixed", "empty": "SELECT 1 FROM mixed WHERE id = 99",
    "use": "USE plain",
}  # fmt: skip
Packets = dict[str, list[tuple[int, bytes]]]


def offered(flag: dict[str, Any]) -> list[str]:
    words = {"all": SERVERS + FAIRLEADS, "servers": SERVERS}
    return flag["offered"] if isinstance(flag["offered"], list) else words[flag["offered"]]


def differing(flag: dict[str, Any], flavour: str) -> set[str]:
    named = flag.get("differs", [])
    return (set(TABLE["usual"]) - set(flag.get("same", []))) | set(named if isinstance(named, list) else named[flavour])


class Sides:
    def __init__(self, world: World) -> None:
        self._server: Address = str(world.shards["eu-0"].primary.socket)
        self._fairlead: Address = ("127.0.0.1", world.fairlead().port)

    def direct(self, flags: int) -> Packets:
        return self._all(self._server, "probe", "", flags)

    def through(self, flags: int) -> Packets:
        return self._all(self._fairlead, "demo", "demo", flags)

    def greetings(self) -> tuple[int, int]:
        found = []
        for address, user, password in ((self._server, "probe", ""), (self._fairlead, "demo", "demo")):
            with contextlib.closing(Capable(address, user, password, "plain", LEAST)) as one:
                found.append(one.greeting.capabilities)
        return found[0], found[1]

    def _all(self, address: Address, user: str, password: str, flags: int) -> Packets:
        with contextlib.closing(Capable(address, user, password, "plain", LEAST | flags)) as one:
            return {name: one.answers(sql) for name, sql in STATEMENTS.items()}


@pytest.fixture
def sides(world: World) -> Iterator[Sides]:
    """`probe` has no password: MySQL 9.7 has no plugin that proves one without TLS in one step."""
    server = world.shards["eu-0"].primary
    kept = server.value("SELECT @@global.interactive_timeout")
    account = ("DROP USER IF EXISTS probe@localhost", "CREATE USER probe@localhost IDENTIFIED BY ''")
    server.run(*account, "GRANT ALL ON *.* TO probe@localhost", "SET GLOBAL interactive_timeout = 1000")
    server.run(*SETUP, database="plain")
    yield Sides(world)
    server.run(f"SET GLOBAL interactive_timeout = {kept}", "DROP USER probe@localhost")


@BOTH_SERVERS
def test_each_alone(sides: Sides, flavour: str) -> None:
    server, fairlead = sides.greetings()
    plain = sides.through(0)
    for flag in FLAGS:
        name, bit = flag["name"], 1 << flag["bit"]
        assert bool(server & bit) == (flavour in offered(flag)), name
        assert bool(fairlead & bit) == (f"fairlead before {flavour}" in offered(flag)), name
        if "elsewhere" in flag or (flavour == "mysql" and bit >> 32):
            continue
        found = sides.through(bit)
        if flag.get("ignored"):
            assert found == plain, name
            continue
        wanted = sides.direct(bit)
        either = set(flag.get("either", []))
        assert {one for one in STATEMENTS if found[one] != wanted[one]} - either == differing(flag, flavour), name


def test_all_are_in_the_table() -> None:
    assert [flag["bit"] for flag in FLAGS] == list(range(38))
    assert all((ROOT / flag["elsewhere"]).exists() for flag in FLAGS if "elsewhere" in flag)


def section() -> str:
    """What docs/protocol.md has of it."""
    plain = [flag["name"] for flag in FLAGS if offered(flag) == SERVERS + FAIRLEADS and "told" not in flag]
    named = textwrap.fill(f"As by servers: {', '.join(plain)}.", 118)
    lines = ["| capability | MySQL 9.7 | MariaDB | Fairlead | |", "|---|---|---|---|---|"]
    for flag in FLAGS:
        if "told" in flag:
            by = offered(flag)
            marks = [one in by for one in SERVERS] + [any(one in by for one in FAIRLEADS)]
            words = " | ".join("yes" if mark else "no" for mark in marks)
            lines.append(f"| {flag['name']} | {words} | {flag['told']} |")
    return "\n".join([named, "", *lines, ""])


def test_the_page_tells_it() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    assert section() in page, f"docs/protocol.md has not:\n{section()}"
