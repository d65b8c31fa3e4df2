"""What listeners announce: the version and the collation that clients choose theirs by."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.load import load
from proxy.generation import Generation
from proxy.mysql.constants.capabilities import Capability
from proxy.sessions.logins import Logins

MARIADB, OLD_MARIADB, NEW_MARIADB = "10.11.19-MariaDB-deb12", "10.6.5-MariaDB-log", "11.4.2-MariaDB"
MYSQL = "9.7.4-2"
UTF8MB4_GENERAL_CI, UTF8MB4_0900_AI_CI, UTF8MB4_UNICODE_CI = 45, 255, 224
FILE = """
region: eu
regions: {{eu: {{}}}}
shards:
  one: {{region: eu, flavour: {one}, primary: a, account: {{user: f, password: {{value: x}}}}}}
  two: {{region: eu, flavour: {two}, primary: b, account: {{user: f, password: {{value: x}}}}}}
keyspaces: {{first: {{shards: [one]}}, second: {{shards: [two]}}}}
users: {{demo: {{password: {{value: x}}}}}}
listeners:
  mysql: {{port: 7306{more}}}
"""


class Stand:
    """Logins of a worker that only knows its configuration."""

    def __init__(self, path: Path) -> None:
        self._path = path / "fairlead.yaml"
        self._worker: Any = SimpleNamespace(start=SimpleNamespace(secret=bytes(32)))
        self.logins = Logins(self._worker)

    def configure(self, one: str, two: str, more: str = "") -> None:
        self._path.write_text(FILE.format(one=one, two=two, more=more))
        self._worker.generation = Generation.build(1, load(self._path, secrets=False))
        self.logins.configure(self._worker.generation)

    def greeting(self) -> tuple[str, str, int]:
        config = self.logins.handshake("mysql")
        return config.flavour, config.server_version, config.default_collation


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


@pytest.mark.parametrize(
    ("one", "two", "flavour", "version"),
    [
        ("mariadb", "mariadb", "mariadb", "5.5.5-10.11.0-MariaDB-fairlead"),
        ("mysql", "mysql", "mysql", "8.4.0-fairlead"),
        ("mysql", "mariadb", "mariadb", "5.5.5-10.11.0-MariaDB-fairlead"),
    ],
)
def test_before_any_server_was_seen(stand: Stand, one: str, two: str, flavour: str, version: str) -> None:
    stand.configure(one, two)
    assert stand.greeting() == (flavour, version, UTF8MB4_GENERAL_CI)


@pytest.mark.parametrize(
    ("one", "two", "seen", "version"),
    [
        ("mariadb", "mariadb", [MARIADB, OLD_MARIADB], f"5.5.5-{OLD_MARIADB}"),
        ("mariadb", "mariadb", [NEW_MARIADB], NEW_MARIADB),
        ("mysql", "mysql", [MYSQL, "8.4.6"], "8.4.6"),
        # 9.7 is less than 10.11, and a MySQL all the same.
        ("mysql", "mariadb", [MYSQL, MARIADB], f"5.5.5-{MARIADB}"),
        ("mysql", "mariadb", [MYSQL], "5.5.5-10.11.0-MariaDB-fairlead"),
    ],
)
def test_the_lowest_version_of_the_announced_flavour(
    stand: Stand, one: str, two: str, seen: list[str], version: str
) -> None:
    stand.configure(one, two)
    stand.logins.announce(seen)
    assert stand.greeting()[1] == version
    assert stand.logins.version_of("mysql") == version.removeprefix("5.5.5-")


def test_another_flavour_after_a_reload(stand: Stand) -> None:
    stand.configure("mariadb", "mysql")
    stand.logins.announce([MARIADB, MYSQL])
    stand.configure("mysql", "mysql")
    assert stand.greeting() == ("mysql", MYSQL, UTF8MB4_GENERAL_CI)
    stand.configure("mysql", "mariadb")
    assert stand.greeting() == ("mariadb", f"5.5.5-{MARIADB}", UTF8MB4_GENERAL_CI)


def test_what_the_configuration_names(stand: Stand) -> None:
    stand.configure("mariadb", "mariadb", ", version: 10.5.1-MariaDB, collation: utf8mb4_unicode_ci")
    stand.logins.announce([MARIADB])
    assert stand.greeting() == ("mariadb", "5.5.5-10.5.1-MariaDB", UTF8MB4_UNICODE_CI)
    stand.configure("mysql", "mysql", ", version: 8.0.36, collation: utf8mb4_0900_ai_ci")
    assert stand.greeting() == ("mysql", "8.0.36", UTF8MB4_0900_AI_CI)


@pytest.mark.parametrize(
    ("one", "two", "seen", "offered"),
    [
        ("mysql", "mysql", [MYSQL, "8.0.23"], True),
        ("mysql", "mysql", [MYSQL, "8.0.22-debug"], False),
        ("mysql", "mariadb", [MYSQL, MARIADB], False),
        ("mysql", "mariadb", [MYSQL], False),
    ],
)
def test_query_attributes_are_offered_when_all_servers_know_them(
    stand: Stand, one: str, two: str, seen: list[str], offered: bool
) -> None:
    stand.configure(one, two, ", version: 8.0.11")
    stand.logins.announce(seen)
    assert bool(stand.logins.handshake("mysql").capabilities & Capability.QUERY_ATTRIBUTES) is offered
