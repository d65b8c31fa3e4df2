"""Masked statements answer as the original would on a masked copy (C8), use its indexes and lock its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pymysql
import pytest

from loadtest.world.sqlserver import SERVICE_USER, SqlServer
from router.policy.masks import Salt, expression
from router.schema import LiveColumn
from tests.noninterference.estate import PERSONS, POLICY
from tests.noninterference.grammar import Generator
from tests.noninterference.twins import Twins
from tests.proxy.clients import ask
from tests.servers import DEFAULT, ONLY

STATEMENTS, LOADED, INDEXED, LOCKING = 100, 40, 50, 20
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]
COPY = "masked_copy"
AT_HOME = "/* fairlead: shard=eu-0 */ "
FULL_SCANS = ("ALL", "index")

# make test looks at one kind of server, make noninterference at both.
OTHER = [] if ONLY else [pytest.param("mysql", marks=[pytest.mark.mysql97, pytest.mark.slow])]
pytestmark = pytest.mark.parametrize("flavour", [DEFAULT, *OTHER])


def _statements(seed: int, symbol: str, count: int) -> list[str]:
    generator = Generator(seed, "cells")
    found: dict[str, None] = {}
    while len(found) < count:
        found.update(
            (one.sql.decode(), None) for one in generator.statements(symbol, prepared=0) if b"/*" not in one.sql
        )
    return list(found)[:count]


@pytest.fixture
def server(twins: Twins) -> SqlServer:
    """Of the eu on side a, with the rows as loaded."""
    twins.reset()
    return twins.worlds["a"].shards["eu-0"].primary


@pytest.fixture
def analyst(twins: Twins) -> Iterator[Any]:
    with closing(twins.members["eu"]["a"].connect("analyst", "x", database="cells")) as connection:
        yield connection


# --- answers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(server: SqlServer) -> str:
    """A database whose cells hold what the masks make of them. Without keys that masked cells would violate."""
    server.run(
        f"DROP DATABASE IF EXISTS {COPY}",
        f"CREATE DATABASE {COPY}",
        f"CREATE TABLE {COPY}.customers LIKE cells.customers",
        f"ALTER TABLE {COPY}.customers DROP INDEX city_pin",
        f"CREATE TABLE {COPY}.orders LIKE cells.orders",
        f"INSERT INTO {COPY}.orders SELECT * FROM cells.orders",
    )
    masked = _masked_columns(server)
    names = ", ".join(masked)
    server.run(f"INSERT INTO {COPY}.customers ({names}) SELECT {', '.join(masked.values())} FROM cells.customers")
    return COPY


def _masked_columns(server: SqlServer) -> dict[str, str]:
    """Column -> what the policy gives of it; those that are refused are left out."""
    labels = POLICY["labels"]["cells"]["tables"]["customers"]["columns"]
    salt = Salt.of(POLICY["domains"]["eea"]["token_key"]["value"], "eea")
    live = server.query(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = 'cells' AND TABLE_NAME = 'customers'"
    )
    found: dict[str, str] = {}
    for name, kind, column_type in live:
        label = labels.get(name, "public")
        mask = label["mask"] if isinstance(label, dict) else {"coded": "token", "public": ""}.get(label)
        if mask is not None:
            column = LiveColumn(name, _text(kind), _text(column_type))
            found[name] = (expression(mask, name, column, server.flavour, salt) or "?") if mask else name
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_those_of_a_masked_copy(server: SqlServer, copy: str, analyst: Any, seed: int) -> None:
    asked = 0
    with closing(server.connect(database=copy, charset="utf8mb4")) as plain:
        for sql in _statements(seed, "copied", STATEMENTS):
            mine, theirs = _answer(analyst, AT_HOME + sql), _answer(plain, sql)
            if isinstance(mine, str):
                assert isinstance(theirs, str) or mine.startswith("FL"), f"{sql}\n{mine}\n{theirs}"
                continue
            asked += 1
            assert mine == theirs, f"{sql}\n{mine}\n{theirs}"
    assert asked >= 0.9 * STATEMENTS


def _answer(connection: Any, sql: str) -> Any:
    try:
        return ask(connection, sql)
    except pymysql.err.Error as error:
        return str(error.args[1])


@pytest.fixture
def both(twins: Twins, server: SqlServer, copy: str) -> str:
    """The masked copy with the rows of the us behind, which an analyst there sees as they are."""
    others = twins.worlds["a"].shards["us-0"].primary
    for table, names in (("customers", list(_masked_columns(server))), ("orders", ["*"])):
        rows = others.query(f"SELECT {', '.join(names)} FROM {table}", "cells")
        columns = f" ({', '.join(names)})" if names != ["*"] else ""
        server.insert(f"INSERT INTO {table}{columns} VALUES ({', '.join(['%s'] * len(rows[0]))})", rows, copy)
    return copy


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("region", ["eu", "us"])
def test_a_scratch_server_answers_as_one_with_the_masked_rows(
    twins: Twins, server: SqlServer, both: str, region: str, seed: int
) -> None:
    asked = 0
    with (
        closing(server.connect(database=both, charset="utf8mb4")) as plain,
        closing(twins.members[region]["a"].connect("analyst", "x", database="cells")) as analyst,
    ):
        for sql in _statements(seed, "loaded", LOADED):
            mine, theirs = _answer(analyst, sql), _answer(plain, sql)
            if isinstance(mine, str):
                assert isinstance(theirs, str), f"{sql}\n{mine}\n{theirs}"
                continue
            asked += 1
            assert mine == theirs, f"{sql}\n{mine}\n{theirs}"
    assert asked >= 0.9 * LOADED


# --- indexes ----------------------------------------------------------------------------------------------------


@contextmanager
def _log(server: SqlServer) -> Iterator[None]:
    """The server's own record of what it is sent."""
    server.run("SET GLOBAL log_output = 'TABLE'", "TRUNCATE TABLE mysql.general_log", "SET GLOBAL general_log = 1")
    try:
        yield
    finally:
        server.run("SET GLOBAL general_log = 0", "TRUNCATE TABLE mysql.general_log")


def _sent(server: SqlServer) -> list[str]:
    rows = server.query(
        "SELECT argument FROM mysql.general_log WHERE command_type IN ('Query', 'Execute') "
        f"AND user_host LIKE '{SERVICE_USER}%' AND argument LIKE '%customers%'"
    )
    return [_text(argument) for (argument,) in rows]


@pytest.mark.parametrize("seed", SEEDS)
def test_indexes_are_used_as_without_masks(twins: Twins, server: SqlServer, analyst: Any, seed: int) -> None:
    twins.settle()
    statements = _statements(seed, "indexed", INDEXED)
    with _log(server):
        for sql in statements:
            ask(analyst, AT_HOME + sql)
        sent = _sent(server)
    assert len(sent) == len(statements)
    assert sum("(SELECT" in text for text in sent) > 0.8 * len(sent)
    for sql, text in zip(statements, sent, strict=True):
        assert _scans(server, text) <= _scans(server, sql), f"{sql}\n{text}"


def _scans(server: SqlServer, sql: str) -> int:
    """Tables that are read whole, row by row or through an index."""
    form = "FORMAT=TRADITIONAL " if server.flavour == "mysql" else ""
    with closing(server.connect(database="cells", cursorclass=pymysql.cursors.DictCursor)) as connection:
        rows: list[Any] = ask(connection, f"EXPLAIN {form}{sql}")
    return sum(row["type"] in FULL_SCANS for row in rows)


# --- locks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_locked_as_without_masks(server: SqlServer, analyst: Any, seed: int) -> None:
    assert lock_differences(server, analyst, seed) == []


def lock_differences(server: SqlServer, analyst: Any, seed: int) -> list[str]:
    found, locked = [], 0
    with closing(server.connect(database="cells", autocommit=True)) as plain:
        for sql in _statements(seed, "locking", LOCKING):
            theirs, mine = _locks(server, plain, sql), _locks(server, analyst, AT_HOME + sql)
            if mine != theirs:
                found.append(f"{sql}\n{mine}\n{theirs}")
            locked += bool(theirs)
    assert locked > LOCKING / 2
    return found


def _locks(server: SqlServer, connection: Any, sql: str) -> dict[Any, Any]:
    """Which rows somebody else can no longer lock, in share mode or at all, while the statement's transaction lasts;
    on MySQL also the locks by index, row and mode as the server tells them."""
    ask(connection, "BEGIN")
    try:
        ask(connection, sql)
        found: dict[Any, Any] = {}
        for table, key in (("customers", "id"), ("orders", "customer_id")):
            for mode in ("FOR UPDATE", "LOCK IN SHARE MODE" if server.flavour == "mariadb" else "FOR SHARE"):
                free = _free(server, table, key, mode)
                found |= {(table, one, mode): "locked" for one in _keys() if one not in free}
        if server.flavour == "mysql":
            found |= dict.fromkeys(server.query(DATA_LOCKS))
        return found
    finally:
        ask(connection, "ROLLBACK")


DATA_LOCKS = (
    "SELECT OBJECT_NAME, INDEX_NAME, LOCK_TYPE, LOCK_MODE, LOCK_DATA FROM performance_schema.data_locks "
    "WHERE OBJECT_SCHEMA = 'cells' AND LOCK_TYPE = 'RECORD'"
)


def _keys() -> range:
    return range((1 << 40) + 1, (1 << 40) + PERSONS["eu"] + 1)


def _free(server: SqlServer, table: str, key: str, mode: str) -> set[int]:
    return {row[0] for row in server.query(f"SELECT {key} FROM {table} {mode} SKIP LOCKED", database="cells")}
