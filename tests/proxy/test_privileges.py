"""A user does what its grants say, by schema, table and verb; administration is refused unless granted."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import ask, client, ids_on, raw, refused, value
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS


def user(*grants: tuple[str, list[str]], **more: Any) -> dict[str, Any]:
    listed = [{"on": on, "verbs": verbs} for on, verbs in grants]
    return {"password": {"value": "x"}, "grants": listed, "default_database": "shop", **more}


CHANGES = {
    "users": {
        "reader": user(("shop.*", ["select"])),
        "clerk": user(("shop.orders", ["select", "insert", "update"]), ("shop.countries", ["select"])),
        "janitor": user(("shop.orders", ["delete"])),
        "owner": user(("plain.*", ["all"]), ("shop.*", ["select"]), default_database="plain"),
        "builder": user(("plain.*", ["create", "drop", "select", "insert"]), default_database="plain"),
        "admin": user(("*.*", ["all", "admin"]), default_database="plain"),
        "nobody": {"password": {"value": "x"}},
    }
}


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.kept(CHANGES)


def allowed(member: Fairlead, name: str, statement: str) -> bool:
    """Was the statement let through to a server? What the server then says of it does not matter."""
    with client(member, user=name, password="x", database=None) as connection:
        try:
            ask(connection, statement)
        except pymysql.err.Error as error:
            return not str(error.args[1]).startswith("FL")
        return True


@pytest.mark.parametrize(
    "name, statement, expected",
    [
        ("reader", "SELECT * FROM shop.customers WHERE id = {key}", True),
        ("reader", "SELECT * FROM shop.settings", True),
        ("reader", "INSERT INTO shop.orders VALUES ({key}, 1, 'x', 1, 'new', NOW())", False),
        ("reader", "UPDATE shop.customers SET balance = 1 WHERE id = {key}", False),
        ("reader", "DELETE FROM shop.customers WHERE id = {key}", False),
        ("reader", "REPLACE INTO shop.settings VALUES ('a', 'b')", False),
        ("reader", "SELECT * FROM plain.anything", False),
        ("reader", "CREATE TABLE shop.t (id INT)", False),
        ("reader", "DROP TABLE shop.settings", False),
        ("reader", "TRUNCATE shop.settings", False),
        ("reader", "ALTER TABLE shop.settings ADD x INT", False),
        ("reader", "INSERT INTO plain.t SELECT * FROM shop.settings", False),
        ("clerk", "SELECT * FROM shop.orders WHERE customer_id = {key}", True),
        ("clerk", "SELECT * FROM shop.orders o JOIN shop.countries c ON 1 WHERE o.customer_id = {key}", True),
        ("clerk", "SELECT * FROM shop.customers WHERE id = {key}", False),
        (
            "clerk",
            "SELECT * FROM shop.orders WHERE customer_id IN (SELECT id FROM shop.customers WHERE id = {key})",
            False,
        ),
        ("clerk", "UPDATE shop.orders SET amount = 1 WHERE customer_id = {key}", True),
        (
            "clerk",
            "UPDATE shop.orders o JOIN shop.customers c ON c.id = o.customer_id SET o.amount = 1 WHERE c.id = {key}",
            False,
        ),
        ("clerk", "DELETE FROM shop.orders WHERE customer_id = {key}", False),
        ("clerk", "REPLACE INTO shop.orders VALUES ({key}, 1, 'x', 1, 'new', NOW())", False),
        ("janitor", "DELETE FROM shop.orders", True),
        ("janitor", "SELECT * FROM shop.orders WHERE customer_id = {key}", False),
        ("owner", "CREATE TABLE plain.t (id INT)", True),
        ("owner", "INSERT INTO plain.t SELECT 1", True),
        ("owner", "CREATE TABLE plain.u AS SELECT 1 AS one", True),
        ("owner", "UPDATE plain.t, shop.settings SET value = 1", False),
        ("owner", "DROP TABLE IF EXISTS plain.t, shop.settings", False),
        ("builder", "CREATE TABLE plain.t (id INT)", True),
        ("builder", "UPDATE plain.t SET id = 1", False),
        ("builder", "DELETE FROM plain.t", False),
        ("builder", "CREATE VIEW plain.v AS SELECT 1", False),
        ("builder", "CREATE PROCEDURE plain.p() SELECT 1", False),
        ("builder", "CREATE TRIGGER plain.g BEFORE INSERT ON plain.t FOR EACH ROW SET @x = 1", False),
        ("builder", "CALL plain.p()", False),
        ("builder", "LOCK TABLES plain.t WRITE", False),
        ("builder", "CREATE TEMPORARY TABLE plain.tt (id INT)", False),
        ("nobody", "SELECT 1", True),
        ("nobody", "SELECT * FROM shop.settings", False),
        ("nobody", "SELECT * FROM plain.t", False),
    ],
)
def test_verbs_by_table(world: World, fairlead: Fairlead, name: str, statement: str, expected: bool) -> None:
    (key,) = ids_on(world, "eu-0")
    assert allowed(fairlead, name, statement.format(key=key)) is expected


ADMINISTRATION = [
    "SET GLOBAL max_connections = 10",
    "SET PERSIST max_connections = 10",
    "CREATE USER evil@'%'",
    "DROP USER fairlead@'127.0.0.1'",
    "GRANT ALL ON *.* TO fairlead@'127.0.0.1'",
    "REVOKE ALL ON *.* FROM fairlead@'127.0.0.1'",
    "SET PASSWORD = PASSWORD('x')",
    "ALTER USER CURRENT_USER() IDENTIFIED BY 'x'",
    "FLUSH PRIVILEGES",
    "RESET MASTER",
    "PURGE BINARY LOGS TO 'binlog.000001'",
    "STOP SLAVE",
    "CHANGE MASTER TO MASTER_HOST = 'x'",
    "SHUTDOWN",
    "KILL 1",
    "SHOW PROCESSLIST",
    "SHOW GRANTS FOR fairlead@'127.0.0.1'",
    "SHOW MASTER STATUS",
    "SHOW BINARY LOGS",
    "SHOW SLAVE STATUS",
    "SHOW ENGINE INNODB STATUS",
    "INSTALL PLUGIN x SONAME 'x.so'",
    "CREATE FUNCTION x RETURNS INTEGER SONAME 'x.so'",
    "SELECT * FROM mysql.user",
    "SELECT * FROM mysql.global_priv",
    "INSERT INTO mysql.user (User) VALUES ('evil')",
    "SELECT * FROM performance_schema.threads",
    "SELECT * FROM information_schema.PROCESSLIST",
    "SELECT LOAD_FILE('/etc/passwd')",
    "SELECT 1 INTO OUTFILE '/tmp/fairlead-never'",
    "SELECT 1 INTO DUMPFILE '/tmp/fairlead-never'",
    "LOAD DATA INFILE '/etc/passwd' INTO TABLE t",
    "CREATE DATABASE other",
    "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'x')",
    "SELECT SLEEP(0) FROM mysql.user",
    "/*!50000 SET GLOBAL max_connections = 10 */",
    "EXECUTE IMMEDIATE 'DROP USER x'",
    "HANDLER mysql.user OPEN",
    "CHECKSUM TABLE mysql.user",
    "SHOW CREATE TABLE mysql.user",
    "DESCRIBE mysql.user",
    "EXPLAIN SELECT * FROM mysql.user",
    "SHOW TABLES FROM mysql",
    "USE mysql",
    "CREATE TABLE t2 LIKE mysql.user",
    "CREATE TABLE t3 AS SELECT * FROM mysql.user",
]


@pytest.mark.parametrize("statement", ADMINISTRATION)
@pytest.mark.parametrize("name", ["owner", "demo"])
def test_administration_is_refused(fairlead: Fairlead, name: str, statement: str) -> None:
    password = "demo" if name == "demo" else "x"
    with raw(fairlead, user=name, password=password, database="plain") as side:
        answer = side.query(statement)
        assert answer.kind == "error" and answer.message.startswith("FL"), answer
        assert side.query("SELECT 1").value == b"1"
        prepared = side.prepare(statement)
        assert prepared.answer.kind == "error" and prepared.answer.message.startswith("FL"), prepared.answer


def test_administration_when_granted(fairlead: Fairlead, world: World) -> None:
    with client(fairlead, user="admin", password="x", database="plain") as connection:
        assert ask(connection, "SHOW PROCESSLIST")
    with client(fairlead, database="plain") as connection:
        refused(connection, "SHOW PROCESSLIST", "FL2003")
    assert world.shards["eu-0"].primary.alive


def test_databases_that_are_not_granted_do_not_show(fairlead: Fairlead) -> None:
    with client(fairlead, user="reader", password="x") as connection:
        assert ask(connection, "SHOW DATABASES") == [("information_schema",), ("shop",)]
        refused(connection, "USE plain", "FL2002")
        assert value(connection, "SELECT DATABASE()") == "shop"
    with pytest.raises(pymysql.err.OperationalError) as error:
        fairlead.connect(user="reader", password="x", database="plain")
    assert error.value.args[0] == 1044
    with client(fairlead, user="nobody", password="x", database=None) as connection:
        assert ask(connection, "SHOW DATABASES") == [("information_schema",)]


def test_prepared_statements_ask_for_the_same_rights(fairlead: Fairlead, world: World) -> None:
    (key,) = ids_on(world, "eu-0")
    with raw(fairlead, user="reader", password="x") as side:
        good = side.prepare("SELECT name FROM customers WHERE id = ?")
        assert len(side.execute(good, [key]).rows) == 1
        bad = side.prepare("UPDATE customers SET balance = ? WHERE id = ?")
        assert bad.answer.message.startswith("FL2001: UPDATE command denied to user 'reader' for table 'customers'")


def test_plans_are_not_shared_between_users(fairlead: Fairlead, world: World) -> None:
    (key,) = ids_on(world, "eu-0")
    statement = f"UPDATE customers SET balance = 5 WHERE id = {key}"
    for _ in range(3):
        with client(fairlead) as strong, client(fairlead, user="reader", password="x") as weak:
            ask(strong, statement)
            refused(weak, statement, "FL2001")


def test_errors_name_no_other_users_secrets(fairlead: Fairlead) -> None:
    with client(fairlead, user="clerk", password="x") as connection:
        text = refused(connection, "SELECT * FROM customers WHERE email = 'secret@example'", "FL2001")
        assert "secret@example" not in text and "customers" in text
