"""COM_CHANGE_USER: another user on the same connection, as if it had just come, by real drivers on both servers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import mysql.connector
import MySQLdb
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import threads_of, until
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

GUEST, SECRET = "guest", "g'st"
CHANGES: dict[str, Any] = {
    "users": {GUEST: {"password": {"value": SECRET}, "grants": [{"on": "plain.*", "verbs": ["select"]}]}}
}


@pytest.fixture
def member(world: World) -> Fairlead:
    return world.kept({**CHANGES, "listeners": {"mysql": {"compression": True}}})


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def connection(member: Fairlead, request: pytest.FixtureRequest) -> Iterator[Any]:
    options = {"host": "127.0.0.1", "port": member.port, "user": "demo", "passwd": "demo", "db": "plain"}
    with contextlib.closing(MySQLdb.connect(compress=request.param, **options)) as one:
        yield one


def rows(connection: Any, sql: str) -> list[tuple[Any, ...]]:
    cursor = connection.cursor()
    cursor.execute(sql)
    return list(cursor.fetchall())


def test_it_is_the_other_user_in_the_other_database(connection: Any) -> None:
    before = rows(connection, "SELECT CONNECTION_ID()")
    connection.change_user(GUEST, SECRET, "plain")
    assert rows(connection, "SELECT CURRENT_USER(), DATABASE()") == [(f"{GUEST}@127.0.0.1", "plain")]
    assert rows(connection, "SELECT CONNECTION_ID()") == before
    with pytest.raises(MySQLdb.Error) as error:
        rows(connection, "CREATE TABLE mine (id INT)")
    assert error.value.args[0] == 1227, "the rights are the first user's still"
    connection.change_user("demo", "demo", "shop")
    assert rows(connection, "SELECT DATABASE()") == [("shop",)]


def test_nothing_of_the_session_is_left(connection: Any, world: World) -> None:
    """Variables, transaction, temporary tables and locks go, as with a new connection."""
    shard = world.shards["eu-0"].primary
    rows(connection, "CREATE TABLE IF NOT EXISTS kept (id INT PRIMARY KEY)")
    rows(connection, "SET sql_mode = 'ANSI_QUOTES', @mine = 5, autocommit = 0")
    rows(connection, "CREATE TEMPORARY TABLE passing (id INT)")
    rows(connection, "INSERT INTO kept VALUES (1)")
    assert threads_of(shard, "plain")
    connection.change_user("demo", "demo", "plain")
    assert rows(connection, "SELECT @@autocommit, @mine") == [(1, None)]
    assert '"' in str(rows(connection, "SELECT '\"'"))
    with pytest.raises(MySQLdb.ProgrammingError) as error:
        rows(connection, "SELECT * FROM passing")
    assert error.value.args[0] == 1146
    until(lambda: rows(connection, "SELECT COUNT(*) FROM kept") == [(0,)], "the transaction is still open")


def test_a_wrong_password_disconnects(connection: Any) -> None:
    with pytest.raises(MySQLdb.OperationalError) as error:
        connection.change_user(GUEST, "no", "plain")
    assert error.value.args[0] == 1045
    with pytest.raises(MySQLdb.Error):
        rows(connection, "SELECT 1")


def test_a_database_that_the_user_may_not_see(connection: Any) -> None:
    with pytest.raises(MySQLdb.OperationalError) as error:
        connection.change_user(GUEST, SECRET, "shop")
    assert error.value.args[0] == 1044


GUARDED = {**CHANGES["users"][GUEST], "require_tls": True}


@pytest.fixture(scope="module")
def secure_ports(worlds: Any) -> dict[str, int]:
    """By flavour: the worlds stand side by side."""
    from loadtest.world import ports

    return dict(zip(("mariadb", "mysql"), ports.reserve(2), strict=True))


@pytest.fixture
def secure_port(secure_ports: dict[str, int], flavour: str) -> int:
    return secure_ports[flavour]


@pytest.fixture
def secure(world: World, secure_port: int) -> Fairlead:
    files = world.authority.issue("change-user")
    tls = {"cert": str(files.certificate), "key": str(files.key)}
    return world.kept({
        "users": {**CHANGES["users"], "guarded": GUARDED},
        "listeners": {"secure": {"kind": "mysql", "port": secure_port, "tls": tls}},
    })  # fmt: skip


@pytest.mark.parametrize("plugin", ["mysql_native_password", "caching_sha2_password"])
def test_under_tls(secure: Fairlead, secure_port: int, world: World, plugin: str) -> None:
    """The connection's way stays what it is: an account that demands TLS finds it."""
    options: dict[str, Any] = {"use_pure": True, "ssl_ca": str(world.authority.ca), "auth_plugin": plugin}
    with contextlib.closing(
        mysql.connector.connect(host="127.0.0.1", port=secure_port, user="demo", password="demo", **options)
    ) as connection:
        for user in (GUEST, "guarded"):
            connection.cmd_change_user(user, SECRET, "plain")
            with connection.cursor() as cursor:
                cursor.execute("SELECT CURRENT_USER()")
                assert cursor.fetchall() == [(f"{user}@127.0.0.1",)]
        with pytest.raises(mysql.connector.Error) as error:
            connection.cmd_change_user("demo", "wrong", "plain")
        assert error.value.errno == 1045


def test_without_tls_an_account_that_demands_it_is_refused(secure: Fairlead, secure_port: int) -> None:
    options: dict[str, Any] = {"use_pure": True, "ssl_disabled": True}
    with contextlib.closing(
        mysql.connector.connect(host="127.0.0.1", port=secure_port, user="demo", password="demo", **options)
    ) as connection:
        with pytest.raises(mysql.connector.Error) as error:
            connection.cmd_change_user("guarded", SECRET, "plain")
        assert error.value.errno == 1045


@pytest.mark.parametrize("plugin", ["mysql_native_password", "caching_sha2_password"])
def test_connector_python(member: Fairlead, plugin: str) -> None:
    """Written without the C library; the password goes encrypted by our key where the digest is not known yet."""
    options: dict[str, Any] = {"use_pure": True, "ssl_disabled": True, "auth_plugin": plugin}
    with contextlib.closing(
        mysql.connector.connect(host="127.0.0.1", port=member.port, user="demo", password="demo", **options)
    ) as connection:
        for user, password in ((GUEST, SECRET), ("demo", "demo"), (GUEST, SECRET)):
            connection.cmd_change_user(user, password, "plain")
            with connection.cursor() as cursor:
                cursor.execute("SELECT CURRENT_USER()")
                assert cursor.fetchall() == [(f"{user}@127.0.0.1",)]
