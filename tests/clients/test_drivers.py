"""Stock drivers, as an application uses them, on both kinds of server."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from loadtest.world.layout import region_id
from loadtest.world.shop import Shop
from tests.clients.conftest import DIRECT, Way
from tests.clients.drivers import Driver, Failure, Session, Target
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

ER_DUP_ENTRY, ER_PARSE_ERROR, ER_NO_SUCH_TABLE = 1062, 1064, 1146
ER_DBACCESS_DENIED, ER_ACCESS_DENIED, ER_BAD_DB, ER_UNKNOWN_STMT_HANDLER = 1044, 1045, 1049, 1243

TYPES = """CREATE TABLE types (
    id INT PRIMARY KEY, big BIGINT, huge BIGINT UNSIGNED, exact DECIMAL(30,10), ratio DOUBLE,
    words VARCHAR(200) CHARACTER SET utf8mb4, raw VARBINARY(300), day DATE, moment DATETIME(6), span TIME(3),
    nothing INT)"""
ROW = (
    7,
    -(2**63),
    2**64 - 1,
    Decimal("-12345678901234567890.0123456789"),
    1.5e-300,
    "Grüße, 世界 🚢 \\ ' \" \x1a %s ?",
    bytes(range(256)),
    datetime.date(2026, 2, 28),
    datetime.datetime(2026, 11, 21, 23, 59, 59, 123456),
    -datetime.timedelta(hours=100, milliseconds=250),
    None,
)
RAW = 6


@pytest.fixture
def session(driver: Driver, way: Way) -> Iterator[Session]:
    with contextlib.closing(driver.connect(way.target)) as connected:
        yield connected


def normal(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Drivers differ in bytes or bytearray, nothing else is forgiven."""
    return tuple(bytes(value) if isinstance(value, bytearray) else value for value in row)


def test_text_statements_round_trip_every_type(driver: Driver, session: Session) -> None:
    holes, row = ["%s"] * len(ROW), list(ROW)
    if not driver.sends_bytes:
        holes[RAW], row[RAW] = "UNHEX(%s)", bytes(range(256)).hex()
    session.query(TYPES)
    session.query(f"INSERT INTO types VALUES ({', '.join(holes)})", row)
    session.commit()
    assert [normal(row) for row in session.query("SELECT * FROM types WHERE id = %s", (7,))] == [ROW]


def test_prepared_statements_round_trip_every_type(driver: Driver, session: Session) -> None:
    if not driver.prepares:
        pytest.skip(f"{driver.name} has no prepared statements")
    session.query(TYPES)
    session.prepared(f"INSERT INTO types VALUES ({', '.join('?' * len(ROW))})", ROW)
    session.commit()
    for _ in range(3):
        assert [normal(row) for row in session.prepared("SELECT * FROM types WHERE id = ?", (7,))] == [ROW]


def test_statements_prepared_in_sql(session: Session) -> None:
    """Every driver can do this, those without COM_STMT_PREPARE too."""
    session.query("CREATE TABLE pairs (id INT PRIMARY KEY, word VARCHAR(20))")
    session.query("PREPARE enter FROM 'INSERT INTO pairs VALUES (?, ?)'")
    session.query("SET @id = 3, @word = 'drei'")
    session.query("EXECUTE enter USING @id, @word")
    session.commit()
    session.query("PREPARE find FROM 'SELECT word FROM pairs WHERE id = ?'")
    assert session.query("EXECUTE find USING @id") == [("drei",)]
    session.query("DEALLOCATE PREPARE find")
    with pytest.raises(Failure) as failure:
        session.query("EXECUTE find USING @id")
    assert failure.value.errno == ER_UNKNOWN_STMT_HANDLER


def test_transactions_commit_and_roll_back(driver: Driver, session: Session, way: Way) -> None:
    session.query("CREATE TABLE ledger (id INT PRIMARY KEY)")
    session.query("INSERT INTO ledger VALUES (1)")
    session.rollback()
    session.query("INSERT INTO ledger VALUES (2)")
    session.query("SAVEPOINT here")
    session.query("INSERT INTO ledger VALUES (3)")
    session.query("ROLLBACK TO SAVEPOINT here")
    with contextlib.closing(driver.connect(way.target)) as other:
        assert other.query("SELECT id FROM ledger") == []
    session.commit()
    with contextlib.closing(driver.connect(way.target)) as other:
        assert other.query("SELECT id FROM ledger") == [(2,)]


def test_server_errors_arrive_unchanged(session: Session) -> None:
    session.query("CREATE TABLE single (id INT PRIMARY KEY)")
    session.query("INSERT INTO single VALUES (1)")
    for statement, errno in (
        ("INSERT INTO single VALUES (1)", ER_DUP_ENTRY),
        ("SELECT * FROM absent", ER_NO_SUCH_TABLE),
        ("SELEKT 1", ER_PARSE_ERROR),
    ):
        with pytest.raises(Failure) as failure:
            session.query(statement)
        assert failure.value.errno == errno
    assert session.query("SELECT id FROM single") == [(1,)]


def test_ping_and_select_database(session: Session) -> None:
    session.ping()
    session.select_database("shop")
    assert session.query("SELECT DATABASE()") == [("shop",)]
    with pytest.raises(Failure) as failure:
        session.select_database("absent")
    assert failure.value.errno in (ER_DBACCESS_DENIED, ER_BAD_DB)
    assert session.query("SELECT DATABASE()") == [("shop",)]


@pytest.mark.parametrize("user, password", [("demo", "wrong"), ("demo", ""), ("stranger", "demo")])
def test_wrong_credentials_are_refused(driver: Driver, way: Way, user: str, password: str) -> None:
    port = way.target.port if DIRECT else way.world.kept({"limits": {"login_pause": "0s"}}).port
    with pytest.raises(Failure) as failure:
        driver.connect(Target(port, user=user, password=password))
    # Connector/Python gives up by itself where a server, unlike Fairlead, asks for the password over TLS.
    assert failure.value.errno in ((ER_ACCESS_DENIED, -1) if DIRECT else (ER_ACCESS_DENIED,))


def test_session_settings_last_over_statements(session: Session) -> None:
    session.query("SET SESSION sql_mode = 'ANSI_QUOTES'")
    session.query("SET time_zone = '+05:30'")
    for _ in range(3):
        assert session.query('SELECT "a" FROM (SELECT 1 AS a) t') == [(1,)]
        assert session.query("SELECT @@session.time_zone") == [("+05:30",)]
        session.commit()


@pytest.mark.skipif(DIRECT, reason="needs routing")
def test_rows_are_found_on_their_shards(driver: Driver, way: Way) -> None:
    shop = Shop()
    truth = {row[0]: row[1] for row in shop.all_customers(way.world.shape)}
    with contextlib.closing(driver.connect(way.target.with_database("shop"))) as session:
        for number in range(1, 21):
            identifier = region_id("eu", number)
            text = session.query("SELECT name FROM customers WHERE id = %s", (identifier,))
            assert text == [(truth[identifier],)]
            if driver.prepares:
                assert session.prepared("SELECT name FROM customers WHERE id = ?", (identifier,)) == text
            # Drivers switch autocommit off; the next customer may be on another shard.
            session.commit()


@pytest.mark.world("full")
@pytest.mark.skipif(DIRECT, reason="needs routing")
def test_rows_of_the_other_region_come_through_its_fairlead(driver: Driver, way: Way) -> None:
    way.world.fleet().start()
    abroad = region_id("us", 7)
    name = next(row[1] for row in Shop().all_customers(way.world.shape) if row[0] == abroad)
    with contextlib.closing(driver.connect(way.target.with_database("shop"))) as session:
        assert session.query("SELECT name FROM customers WHERE id = %s", (abroad,)) == [(name,)]
        session.commit()
        session.query("UPDATE customers SET balance = 77 WHERE id = %s", (abroad,))
        session.commit()
        if driver.prepares:
            rows = session.prepared("SELECT name, balance FROM customers WHERE id = ?", (abroad,))
            assert rows == [(name, Decimal(77))]
    shards = [shard.primary for shard in way.world.shards_of("us")]
    found = [shard.query(f"SELECT balance FROM shop.customers WHERE id = {abroad}") for shard in shards]
    assert sorted(found) == [[], [(Decimal(77),)]]


@pytest.mark.skipif(DIRECT, reason="the servers' own certificate names another host")
def test_tls_with_a_verified_certificate(driver: Driver, way: Way) -> None:
    tls = way.world.authority.issue("proxy")
    listener = {"cert": str(tls.certificate), "key": str(tls.key), "required": True}
    fairlead = way.world.fleet({"listeners": {"mysql": {"tls": listener}}})["eu"]
    with contextlib.closing(driver.connect(Target(fairlead.port, ca=str(tls.ca)))) as session:
        assert session.query("SELECT 1") == [(1,)]
    with pytest.raises(Failure):
        _without_tls(driver, fairlead.port)


def _without_tls(driver: Driver, port: int) -> None:
    """Connects with TLS off; a driver that upgrades by itself has nothing to refuse."""
    with contextlib.closing(driver.connect(Target(port))) as session:
        ((_, cipher),) = session.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        raise Failure(0, f"connected with {cipher or 'no cipher'}")
