"""The admin console of a running Fairlead, with the clients that people use."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mysql.connector
import pymysql
import pytest
import yaml

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.process import POLL_INTERVAL
from loadtest.world.world import World
from proxy.console.tables import ALL, TABLES
from proxy.mysql.auth.scramble import native_digest, sha256_digest
from proxy.mysql.constants.field_types import FieldType

PATIENCE = 30.0
PASSWORDS = {"root": "root-Pw-4711", "viewer": "viewer-Pw-0815"}
ROLES = {"root": "admin", "viewer": "viewer"}
LITERAL = "Zaphod-the-literal"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Member:
    """A Fairlead with a console."""

    def __init__(self, fairlead: Fairlead) -> None:
        self.fairlead = fairlead
        self.port = int(fairlead.configuration["listeners"]["admin"]["port"])

    def connect(
        self, user: str = "root", password: str | None = None, **options: Any
    ) -> pymysql.Connection[Any]:
        given = PASSWORDS.get(user, "") if password is None else password
        defaults: dict[str, Any] = {"ssl_disabled": True, "autocommit": True}
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=given, **{**defaults, **options}
        )  # fmt: skip

    def ask(self, sql: str, arguments: Any = None, **options: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(self.connect(**options)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, arguments)
            return list(cursor.fetchall())

    def error(self, sql: str, **options: Any) -> str:
        with pytest.raises(pymysql.err.MySQLError) as refused:
            self.ask(sql, **options)
        return str(refused.value.args[1])

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                pytest.fail(f"not seen: {what}\n{self.fairlead.log_tail(60)}")
            time.sleep(POLL_INTERVAL)


def launch(world: World, changes: Mapping[str, Any] | None = None, *, workers: int = 2) -> Member:
    given = {
        "listeners": {"admin": {"port": free_port()}},
        "admin": {
            "accounts": {
                name: {"password": {"value": password}, "role": ROLES[name]}
                for name, password in PASSWORDS.items()
            }
        },
        "limits": {"drain": "1s"},
        **(changes or {}),
    }
    member = world.fleet(given).launch("eu", workers=workers)
    member.wait_ready()
    return Member(member)


@pytest.fixture
def member(world: World) -> Iterator[Member]:
    yield launch(world)


def test_every_table_answers_and_no_password_is_in_any(member: Member) -> None:
    customer = region_id("eu", 1)
    with contextlib.closing(member.fairlead.connect()) as client, client.cursor() as cursor:
        client.begin()
        cursor.execute(f"SELECT name FROM customers WHERE id = {customer} AND name <> '{LITERAL}'")
        cursor.fetchall()
        with pytest.raises(pymysql.err.MySQLError):
            cursor.execute(f"SELECT nothing FROM customers WHERE id = {customer} AND name = '{LITERAL}'")
        shown = ""
        for schema, name in ALL:
            rows = member.ask(f"SELECT * FROM {schema}.{name}")
            assert all(len(row) == len(ALL[schema, name].columns) for row in rows), name
            shown += f"{name}: {rows}\n"
            assert len(member.ask(f"DESCRIBE {schema}.{name}")) == len(ALL[schema, name].columns)
        assert member.ask("SELECT sum(in_use) FROM pools") == [(1,)]
        assert member.ask("SELECT user FROM sessions") == [("demo",)]
    for secret in (
        *PASSWORDS.values(),
        "'demo', 'demo'",
        LITERAL,
        os.environ.get("FAIRLEAD_DB_PASSWORD") or LITERAL,
    ):
        assert secret not in shown
    for table in ("config", "digests", "errors", "metrics", "plans", "servers", "users", "workers"):
        assert member.ask(f"SELECT count(*) > 0 FROM {table}") == [(1,)], table
    assert {row[0] for row in member.ask("SHOW TABLES")} == {table.name for table in TABLES}
    for viewer_sees in ("SHOW FAIRLEAD SESSIONS", "SHOW FAIRLEAD STATUS", "SHOW FAIRLEAD HELP"):
        member.ask(viewer_sees, user="viewer")


def test_a_session_says_why_it_is_pinned(member: Member) -> None:
    with contextlib.closing(member.fairlead.connect()) as client, client.cursor() as cursor:
        query = f"SELECT state, in_transaction, pinned, shard FROM sessions WHERE id = {client.thread_id()}"  # type: ignore[no-untyped-call]
        assert member.ask(query) == [("idle", 0, None, None)]
        cursor.execute(f"SELECT name INTO @x FROM customers WHERE id = {region_id('eu', 1)}")
        [(state, open_, pinned, shard)] = member.ask(query)
        assert (state, open_, pinned) == ("idle", 0, "user variable") and shard.startswith("eu-")
    with contextlib.closing(member.fairlead.connect()) as client, client.cursor() as cursor:
        client.begin()
        cursor.execute(f"SELECT name FROM customers WHERE id = {region_id('eu', 1)}")
        query = f"SELECT in_transaction, pinned FROM sessions WHERE id = {client.thread_id()}"  # type: ignore[no-untyped-call]
        assert member.ask(query) == [(1, "transaction")]


def test_an_application_may_ask_about_its_own_session(member: Member) -> None:
    with contextlib.closing(member.fairlead.connect()) as client, client.cursor() as cursor:

        def session() -> dict[str, str]:
            cursor.execute("SHOW FAIRLEAD SESSION")
            return dict(cursor.fetchall())

        assert session()["pinned_by"] == "nothing" and session()["shard"] == "none"
        client.begin()
        cursor.execute(f"SELECT name FROM customers WHERE id = {region_id('eu', 1)}")
        assert session()["pinned_by"] == "transaction" and session()["in_transaction"] == "yes"
        client.rollback()
        cursor.execute("SHOW FAIRLEAD STATUS")
        assert dict(cursor.fetchall())["region"] == "eu"
        with pytest.raises(pymysql.err.MySQLError, match="FL6012"):
            cursor.execute("SHOW FAIRLEAD CONFIG")


def test_many_sessions_come_in_parts(world: World) -> None:
    member = launch(world, workers=1)
    with contextlib.ExitStack() as opened:
        for _ in range(300):
            opened.enter_context(contextlib.closing(member.fairlead.connect()))
        assert member.ask("SELECT count(*), count(DISTINCT id), count(note) FROM sessions") == [(300, 300, 0)]


def test_kill_ends_a_session_and_needs_the_role(member: Member) -> None:
    with contextlib.closing(member.fairlead.connect()) as client:
        number = client.thread_id()  # type: ignore[no-untyped-call]
        assert "FL6002" in member.error(f"KILL {number}", user="viewer")
        assert member.ask(f"SELECT count(*) FROM sessions WHERE id = {number}") == [(1,)]
        member.ask(f"KILL {number}")
        with pytest.raises(pymysql.err.MySQLError):
            client.query("SELECT 1")
    assert "FL6011" in member.error(f"KILL {number}")
    assert "FL6011" in member.error("KILL 7")


def test_a_dead_worker_is_shown_as_such(member: Member) -> None:
    pids = dict(member.ask("SELECT worker, pid FROM workers"))
    os.kill(pids[0], signal.SIGSTOP)
    try:
        with contextlib.closing(member.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT worker, note FROM sessions WHERE note IS NOT NULL")
            assert cursor.fetchall() == ((0, "worker 0 does not answer in 3 s"),)
            cursor.execute("SHOW WARNINGS")
            assert "worker 0" in cursor.fetchall()[0][2]
    finally:
        os.kill(pids[0], signal.SIGKILL)
    member.until(lambda: dict(member.ask("SELECT worker, restarts FROM workers"))[0] == 1, "the restart")
    member.until(lambda: member.ask("SELECT count(note) FROM sessions") == [(0,)], "its answers")


def test_clients_outlive_the_admin_process(member: Member) -> None:
    with contextlib.closing(member.fairlead.connect()) as client, client.cursor() as cursor:
        before = member.fairlead.log.read_text().count("admin started, pid")
        pid = member.fairlead.log.read_text().rpartition("admin started, pid ")[2].split()[0]
        os.kill(int(pid), signal.SIGKILL)
        cursor.execute(f"SELECT 1 FROM customers WHERE id = {region_id('eu', 1)}")
        assert cursor.fetchall() == ((1,),)
        member.until(
            lambda: member.fairlead.log.read_text().count("admin started, pid") > before,
            "the admin's restart",
        )

        def sees() -> bool:
            with contextlib.suppress(pymysql.err.MySQLError):
                return member.ask("SELECT count(*) FROM sessions WHERE user = 'demo'") == [(1,)]
            return False

        member.until(sees, "the session through the new console")


def test_writes_and_runaway_queries_are_refused(world: World) -> None:
    member = launch(world, {"admin": {
        "accounts": {"root": {"password": {"value": PASSWORDS["root"]}, "role": "admin"}}, "query_time": "300ms",
        "rows": 1000,
    }}, workers=1)  # fmt: skip
    for sql in (
        "INSERT INTO config VALUES (1, 2, 3, 4, 5)", "DELETE FROM config", "DROP TABLE config",
        "CREATE TABLE x (a INT)",
        "ATTACH '/tmp/x' AS y", "PRAGMA journal_mode", "WITH x AS (SELECT 1) DELETE FROM config",
    ):  # fmt: skip
        assert "FL6001" in member.error(sql), sql
    assert "FL6006" in member.error(
        "SELECT count(*) FROM errors a, errors b, errors c, errors d, errors e, errors f"
    )
    assert "FL6007" in member.error("SELECT 1 FROM errors a, errors b")
    assert member.ask("SELECT 1") == [(1,)]


def test_roles_and_failed_logins(member: Member) -> None:
    for verb in ("RELOAD", "DRAIN", "KILL 1"):
        assert "FL6002" in member.error(verb, user="viewer")
    for _ in range(4):
        with pytest.raises(pymysql.err.OperationalError, match="1045"):
            member.connect(password="wrong")
    with pytest.raises(pymysql.err.OperationalError, match="FL4026"):
        member.connect(password="wrong")
    with pytest.raises(pymysql.err.OperationalError, match="FL4026"):
        member.connect()
    assert member.ask("SELECT 1", user="viewer") == [(1,)]
    with pytest.raises(pymysql.err.OperationalError, match="1045"):
        member.connect("demo", "demo")
    member.until(lambda: not _refused(member), "the end of the pause")


def _refused(member: Member) -> bool:
    try:
        member.connect().close()
    except pymysql.err.OperationalError:
        return True
    return False


def test_sessions_are_bounded_and_end_when_idle(world: World) -> None:
    accounts = {"root": {"password": {"value": PASSWORDS["root"]}, "role": "admin"}}
    member = launch(world, {"admin": {"accounts": accounts, "sessions": 2, "idle_time": "1s"}}, workers=1)
    with contextlib.closing(member.connect()) as one, contextlib.closing(member.connect()):
        with pytest.raises(pymysql.err.OperationalError, match="1040"):
            member.connect()
        member.until(lambda: not _refused(member), "the end of idle sessions")
        with pytest.raises(pymysql.err.MySQLError):
            one.query("SELECT 1")


def test_reload_by_the_console_and_what_it_changes(member: Member) -> None:
    with contextlib.closing(member.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("RELOAD")
        assert cursor.fetchall() == ((1, "nothing changes"),)
        before = dict(member.fairlead.configuration)
        member.fairlead.write({**before, "limits": {"drain": "soon"}})
        with pytest.raises(pymysql.err.MySQLError, match=r"FL6009.*limits\.drain"):
            cursor.execute("RELOAD")
        accounts = {"root": before["admin"]["accounts"]["root"]}
        member.fairlead.write({**before, "admin": {"accounts": accounts}})
        cursor.execute("RELOAD")
        assert cursor.fetchall()[0][0] == 2
        member.until(
            lambda: member.ask("SELECT count(*) FROM users WHERE name = 'viewer'") == [(0,)], "the change"
        )
    with pytest.raises(pymysql.err.OperationalError, match="1045"):
        member.connect("viewer")


def test_explain_route_as_somebody(member: Member) -> None:
    customer = region_id("eu", 1)
    for sql in (
        f"EXPLAIN ROUTE AS demo SELECT name FROM customers WHERE id = {customer}",
        f"EXPLAIN ROUTE SELECT name FROM customers WHERE id = {customer} AS demo",
    ):
        rows = member.ask(sql, user="viewer")
        assert ("as user", "demo") in rows
        assert any(step == "shard" and detail.startswith("eu-") for step, detail in rows)
    assert "there is no user nobody" in member.error("EXPLAIN ROUTE AS nobody SELECT 1")


def test_drain_stops_everything(world: World) -> None:
    member = launch(world, workers=1)
    member.ask("DRAIN")
    assert member.fairlead.wait_exit() == 0


def test_beyond_loopback_clients_must_use_tls(world: World) -> None:
    files = world.fairlead("eu").configuration["peer_tls"]
    tls = {"cert": files["cert"], "key": files["key"]}
    far = launch(
        world, {"listeners": {"admin": {"port": free_port(), "address": "0.0.0.0", "tls": tls}}}, workers=1
    )
    with pytest.raises(pymysql.err.OperationalError, match="insecure transport"):
        far.connect()
    options: dict[str, Any] = {"ssl_disabled": False, "ssl": {"check_hostname": False, "verify_mode": "none"}}
    assert far.ask("SELECT 1", **options) == [(1,)]


def test_versions_by_the_console(world: World, tmp_path: Path) -> None:
    metastore = {"sqlite": str(tmp_path / "meta.db"), "timeout": "1s"}
    hashed = {name: {"password": stored(password), "role": ROLES[name]} for name, password in PASSWORDS.items()}
    member = launch(world, {"metastore": metastore, "admin": {"accounts": hashed}}, workers=1)
    folder = member.fairlead.file.parent

    def file(name: str, **changes: Any) -> str:
        users = {"demo": {**member.fairlead.configuration["users"]["demo"], "password": stored("demo")}}
        content = {**member.fairlead.configuration, "users": users, **changes}
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
        return name

    def answers(sql: str, **options: Any) -> str:
        return "\n".join(str(row[-1]) for row in member.ask(sql, **options))

    first, second = file("first.yaml"), file("second.yaml", limits={"drain": "2s"})
    for verb in (f"APPLY '{first}'", "CONFIRM", "ROLLBACK TO 1", "ROLLBACK TO PREVIOUS"):
        assert "FL6002" in member.error(verb, user="viewer")
    assert "no mistakes" in answers("CHECK", user="viewer")
    assert "no mistakes" in answers(f"CHECK '{first}'", user="viewer")
    assert "folder of the configuration only" in member.error("CHECK '/etc/passwd'")
    assert "folder of the configuration only" in member.error("APPLY '../../etc/passwd'")
    assert answers("DIFF", user="viewer") == "no difference"
    assert "version 1 is published" in answers(f"APPLY '{first}' WHY 'first'")
    member.until(lambda: "first.yaml" in str(member.ask("SELECT file FROM config WHERE key = 'region'")), "version 1")
    assert "limits: drain" in answers(f"APPLY '{second}' DRY RUN") or "drain" in answers(f"APPLY '{second}' DRY RUN")
    assert "shapes change" in answers(f"SIMULATE '{second}'", user="viewer")
    found = answers(f"APPLY '{second}' WITHIN '5m' WHY 'faster'")
    assert "drain" in found and "CONFIRM within 300 s" in found
    member.ask("ROLLBACK")
    drain = "SELECT value FROM config WHERE key = 'limits.drain'"
    member.until(lambda: member.ask(drain) == [("2s",)], "version 2")
    assert "version 2 stays" in answers("CONFIRM")
    assert "drain" in answers("DIFF 1 2", user="viewer")
    assert "version 3 is published" in answers("ROLLBACK TO 1 WHY 'slower'")
    member.until(lambda: member.ask(drain) == [("1s",)], "version 3")
    assert [row[0] for row in member.ask("HISTORY", user="viewer")] == [3, 2, 1]
    for number, (how, told) in enumerate(
        (("SHADOW", "shadow"), ("CANARY WORKERS 1", "canary in 1 workers"), ("CANARY '10 %'", "canary for 10 %")), 4
    ):
        found = answers(f"APPLY '{second}' {how} WITHIN '5m'")
        assert f"version {number * 2 - 4} is published" in found and told in found and "stays in force" in found
        member.ask("ROLLBACK TO PREVIOUS")
    for wrong in ("CANARY", "CANARY '0%'", "CANARY '100%'", "SHADOW AT ONCE", "CANARY WORKERS many"):
        assert member.error(f"APPLY '{second}' {wrong}").startswith("FL600"), wrong
    assert member.ask("SELECT number FROM versions WHERE state = 'in force'") == [(9,)]
    assert member.ask("SELECT why FROM versions WHERE number = 3") == [("slower",)]
    assert "root@127.0.0.1" in str(member.ask("SELECT who FROM versions"))


def stored(password: str) -> dict[str, str]:
    """What a version may hold of a password."""
    data = password.encode()
    return {"sha256": sha256_digest(data).hex(), "native": f"*{native_digest(data).hex().upper()}"}


# --- clients ------------------------------------------------------------------------------------------------


def test_the_command_line_client(member: Member) -> None:
    client = shutil.which("mariadb") or shutil.which("mysql")
    if client is None:
        pytest.skip("no command-line client")
    statements = (
        "SHOW DATABASES; USE fairlead; SHOW FULL TABLES; STATUS; SELECT user, pinned FROM sessions; DESC pools; "
        "SHOW VARIABLES LIKE 'version%'; SHOW CREATE TABLE users; SHOW WARNINGS; SHOW FULL PROCESSLIST"
    )
    found = subprocess.run(
        [client, "--skip-ssl" if "mariadb" in client else "--ssl-mode=DISABLED", "-h127.0.0.1", f"-P{member.port}",
         "-uroot", f"-p{PASSWORDS['root']}", "--table", "--auto-rehash", "fairlead", "-e", statements],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "Fairlead admin console" in found.stdout and "route_reasons" in found.stdout


def test_connector_python_with_prepared_statements(member: Member) -> None:
    connection = mysql.connector.connect(
        host="127.0.0.1",
        port=member.port,
        user="root",
        password=PASSWORDS["root"],
        ssl_disabled=True,
        use_pure=True,
    )
    with contextlib.closing(connection):
        cursor = connection.cursor(prepared=True)
        cursor.execute("SELECT errno, name, 0.5 AS half FROM errors WHERE id = ?", ("FL6001",))
        assert cursor.fetchall() == [(1290, "CONSOLE_READ_ONLY", 0.5)]
        cursor.execute("SELECT errno, name, 0.5 AS half FROM errors WHERE id = ?", ("FL6006",))
        assert cursor.fetchall() == [(3024, "CONSOLE_TIME", 0.5)]
        cursor.execute("SELECT started, worker FROM workers WHERE worker = ?", (0,))
        [(started, worker)] = cursor.fetchall()
        assert worker == 0 and started.year >= 2024
        cursor.execute("SHOW TABLES")
        assert len(cursor.fetchall()) == len(TABLES)


def test_what_drivers_and_tools_ask_when_they_connect(member: Member) -> None:
    """Of JDBC drivers, mysql2, DBeaver and SQLAlchemy."""
    probes = (
        "/* mysql-connector-j-8.3.0 */SELECT  @@session.auto_increment_increment AS auto_increment_increment, "
        "@@character_set_client AS character_set_client, @@character_set_connection AS character_set_connection, "
        "@@character_set_results AS character_set_results, @@character_set_server AS character_set_server, "
        "@@collation_server AS collation_server, @@collation_connection AS collation_connection, @@init_connect AS "
        "init_connect, @@interactive_timeout AS interactive_timeout, @@license AS license, @@lower_case_table_names AS "
        "lower_case_table_names, @@max_allowed_packet AS max_allowed_packet, @@net_write_timeout AS net_write_timeout, "
        "@@performance_schema AS performance_schema, @@sql_mode AS sql_mode, @@system_time_zone AS system_time_zone, "
        "@@time_zone AS time_zone, @@transaction_isolation AS transaction_isolation, @@wait_timeout AS wait_timeout",
        "SET character_set_results = NULL", "SET autocommit=1", "SET NAMES utf8mb4",
        "SET SESSION TRANSACTION READ ONLY",
        "SELECT @@session.transaction_read_only",
        "SELECT @@max_allowed_packet,@@system_time_zone,@@time_zone,@@sql_mode",
        "SHOW VARIABLES WHERE Variable_name = 'sql_mode' OR Variable_name = 'lower_case_table_names'",
        "SHOW GLOBAL VARIABLES LIKE 'character%'", "SELECT DATABASE()", "SELECT CURRENT_USER()", "SELECT USER()",
        "SHOW ENGINES", "SHOW CHARSET", "SHOW CHARACTER SET", "SHOW COLLATION", "SHOW PLUGINS", "SHOW WARNINGS",
        "SHOW COUNT(*) WARNINGS", "SHOW FULL TABLES FROM `fairlead`", "SHOW FULL TABLES FROM fairlead LIKE 'pl%'",
        "SHOW FULL COLUMNS FROM `fairlead`.`plans`", "SHOW COLUMNS FROM plans FROM fairlead LIKE 'v%'",
        "SHOW INDEX FROM `fairlead`.`plans`", "SHOW TABLE STATUS FROM fairlead LIKE 'plans'", "SHOW GRANTS",
        "SHOW PROCEDURE STATUS WHERE Db = 'fairlead'", "SHOW CREATE DATABASE fairlead", "SELECT 1 FROM DUAL",
        "SELECT SCHEMA_NAME FROM INFORMATION_SCHEMA.SCHEMATA", "SELECT CONCAT('a', 1), IF(1, 2, 3), NOW()",
        "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'fairlead' ORDER BY 1",
        "SELECT * FROM information_schema.COLUMNS WHERE TABLE_SCHEMA='fairlead' AND TABLE_NAME='plans'",
        "SELECT * FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = 'fairlead'",
        "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT a", "ROLLBACK TO a", "SELECT VERSION()",
    )  # fmt: skip
    with contextlib.closing(member.connect()) as connection, connection.cursor() as cursor:
        for probe in probes:
            cursor.execute(probe)
            cursor.fetchall()
        with pytest.raises(pymysql.err.MySQLError, match="1193"):
            cursor.execute("SELECT @@no_such_variable")


def test_columns_have_sensible_types(member: Member) -> None:
    with contextlib.closing(member.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT worker, state, started, cpu_s, 1 + 1, pid FROM workers WHERE 0")
        assert [column[1] for column in cursor.description] == [
            FieldType.LONGLONG, FieldType.VAR_STRING, FieldType.DATETIME, FieldType.DOUBLE, FieldType.VAR_STRING,
            FieldType.LONGLONG,
        ]  # fmt: skip
