"""What the two kinds of server do differently on the wire, seen through Fairlead: every server in its own way."""

from __future__ import annotations

from typing import Any

import pytest
from pymysql.constants import CLIENT

from loadtest.world.fairlead import Fairlead
from loadtest.world.sqlserver import SERVICE_USER, SqlServer
from loadtest.world.world import World
from tests.differential.wire import CLIENT_DEPRECATE_EOF, CLIENT_FOUND_ROWS, Answer, Raw
from tests.proxy.clients import ask, client, ids_on, metric, until, value
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

CLIENT_OPTIONAL_METADATA = 1 << 25
CLASSES = {
    "classic": 0,
    "found_rows": CLIENT_FOUND_ROWS,
    "deprecate_eof": CLIENT_DEPRECATE_EOF,
    "both": CLIENT_DEPRECATE_EOF | CLIENT_FOUND_ROWS,
}
TABLE = """CREATE TABLE mixed (id INT PRIMARY KEY AUTO_INCREMENT, word VARCHAR(20) CHARACTER SET utf8mb4 NOT NULL,
    exact DECIMAL(10,3), moment DATETIME(3), document JSON, raw BLOB, choice ENUM('a','b'))"""
ROWS = """INSERT INTO mixed (word, exact, moment, choice)
    VALUES ('eins', 1.5, '2026-11-21 10:00:00.25', 'a'), ('zwei', NULL, NULL, 'b')"""


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


@pytest.fixture
def primary(world: World) -> SqlServer:
    server = world.shards["eu-0"].primary
    server.run(TABLE, ROWS, database="plain")
    return server


def told(answer: Answer) -> tuple[Any, ...]:
    """An answer without what belongs to one connection."""
    return (answer.kind, answer.columns, answer.rows, answer.affected, answer.warnings, answer.info, answer.errno)


def conversation(side: Raw) -> list[tuple[Any, ...]]:
    """Statements of all kinds, text and prepared, with all that is said of them."""
    heard = [told(side.query("SELECT * FROM mixed ORDER BY id")), told(side.query("SELECT * FROM mixed WHERE id = 99"))]
    for sql, values in (
        ("SELECT word, exact, moment, ? FROM mixed WHERE id = ?", [7, 1]),
        ("SELECT * FROM mixed WHERE word = ?", ["zwei"]),
        ("UPDATE mixed SET word = ? WHERE id = ?", ["zwei", 2]),
        ("DELETE FROM mixed WHERE id = 99", []),
        ("SELECT nothing FROM mixed", []),
    ):
        statement = side.prepare(sql)
        heard += [told(statement.answer), statement.parameters]
        if statement.answer.kind != "error":
            heard += [told(side.execute(statement, values)), told(side.execute(statement, values, rebind=False))]
            side.close_statement(statement)
    heard += [told(side.query("UPDATE mixed SET word = 'eins' WHERE id = 1")), told(side.query("SELECT 1/0, 'a' + 1"))]
    heard += [told(side.query("SHOW WARNINGS")), told(side.query("SELEKT"))]
    return heard


@pytest.mark.parametrize("flags", CLASSES.values(), ids=CLASSES)
def test_answers_are_the_servers_in_every_class_of_capabilities(
    fairlead: Fairlead, primary: SqlServer, flags: int
) -> None:
    classic = {"database": "plain", "client_flag": flags, "charset": "utf8mb4"}
    direct = Raw(primary.connect(**classic), deprecate_eof=bool(flags & CLIENT_DEPRECATE_EOF))
    through = Raw(fairlead.connect(**classic), deprecate_eof=bool(flags & CLIENT_DEPRECATE_EOF))
    try:
        assert direct.query("BEGIN").kind == through.query("BEGIN").kind == "ok"
        wanted = conversation(direct)
        direct.close()
        assert conversation(through) == wanted
    finally:
        direct.close()
        through.close()


def test_capabilities_that_only_one_kind_has_are_not_offered(fairlead: Fairlead, primary: SqlServer) -> None:
    """A client that wants them all the same is spoken to as one that does not."""
    with client(fairlead, database="plain", client_flag=CLIENT.MULTI_RESULTS | CLIENT_OPTIONAL_METADATA) as connection:
        assert not connection.server_capabilities & CLIENT_OPTIONAL_METADATA
        assert ask(connection, "SELECT id, word FROM mixed ORDER BY id") == [(1, "eins"), (2, "zwei")]


def test_commits_leave_nothing_held(fairlead: Fairlead, world: World) -> None:
    """MySQL's session tracking numbers every statement: that is nothing that a session has set."""
    (key,) = ids_on(world, "eu-0")
    with client(fairlead) as connection:
        ask(connection, f"SELECT name FROM customers WHERE id = {key}")
        before = metric(fairlead, "fairlead_backend_connects_total")
        for amount in range(30):
            connection.begin()
            ask(connection, f"UPDATE customers SET balance = {amount} WHERE id = {key}")
            connection.commit()
            ask(connection, f"UPDATE customers SET balance = balance + 1 WHERE id = {key}")
        assert metric(fairlead, "fairlead_pinned_sessions") == 0
        until(lambda: metric(fairlead, "fairlead_shard_connections", state="in_use") == 0, "an idle pool", fairlead)
        assert metric(fairlead, "fairlead_backend_connects_total") == before


KINDS = f"SELECT THREAD_ID, CONNECTION_TYPE FROM performance_schema.threads WHERE PROCESSLIST_USER = '{SERVICE_USER}'"


def kinds_of_connections(server: SqlServer) -> dict[int, str]:
    """Of the service account's threads: TCP/IP or SSL/TLS. MariaDB does not tell."""
    return dict(server.query(KINDS)) if server.flavour == "mysql" else {}


@pytest.mark.parametrize("mode", ["disabled", "required"])
def test_servers_are_logged_in_to_in_full(world: World, mode: str) -> None:
    """caching_sha2_password without its cache: by RSA on a plain connection, in the clear within TLS."""
    server = world.shards["eu-0"].primary
    others = kinds_of_connections(server)
    server.run("FLUSH PRIVILEGES")
    shards = {name: {"tls": {"mode": mode}} for name in ("eu-0", "eu-1")}
    fairlead = world.fleet({"shards": shards})["eu"]
    query = f"SELECT COUNT(*) FROM customers WHERE id = {ids_on(world, 'eu-0')[0]}"
    with client(fairlead) as first, client(fairlead) as second, client(fairlead) as third:
        for connection in (first, second, third):
            server.run("FLUSH PRIVILEGES")
            # Each transaction keeps its connection, so that the next one needs another.
            connection.begin()
            assert value(connection, query) == 1
        kinds = {kind for thread, kind in kinds_of_connections(server).items() if thread not in others}
    assert kinds <= {"SSL/TLS" if mode == "required" else "TCP/IP"}
    assert kinds or server.flavour == "mariadb"
