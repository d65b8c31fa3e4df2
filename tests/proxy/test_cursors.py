"""Server-side cursors: COM_STMT_EXECUTE and COM_STMT_FETCH are answered through Fairlead as they are directly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.sqlserver import SERVICE_USER, Passwords
from loadtest.world.world import World
from tests.differential.duel import differences
from tests.differential.wire import (
    CLIENT_DEPRECATE_EOF,
    COM_RESET_CONNECTION,
    COM_STMT_RESET,
    CURSOR_READ_ONLY,
    STATUS_CURSOR,
    STATUS_LAST_ROW,
    Answer,
    Prepared,
    Raw,
)
from tests.proxy.clients import metric, raw, until
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

ROWS = 2000
FEW = {"shards": {"eu-0": {"limits": {"connections": 2, "idle": 1}}}, "limits": {"queue_wait": "2s"}}

ALL = "SELECT id, body FROM long_list ORDER BY id"
SOME = "SELECT id, body FROM long_list WHERE id <= ? ORDER BY id"

Step = tuple[Any, ...]
"""(prepare, name, sql), (open, name, *values), (execute, name, *values), (fetch, name, rows), (reset, name),
(close, name), (query, sql), (again,): COM_RESET_CONNECTION"""

SCRIPTS: dict[str, Sequence[Step]] = {
    "to its end": [
        ("prepare", "a", ALL), ("open", "a"), ("fetch", "a", 1500), ("fetch", "a", 499), ("fetch", "a", 1),
        ("fetch", "a", 1), ("fetch", "a", 1),
    ],
    "no rows": [("prepare", "a", SOME), ("open", "a", 0), ("fetch", "a", 5), ("fetch", "a", 5)],
    "nothing asked for": [("prepare", "a", SOME), ("open", "a", 3), ("fetch", "a", 0), ("fetch", "a", 9)],
    "once more": [
        ("prepare", "a", SOME), ("open", "a", 9), ("fetch", "a", 2), ("open", "a", 4), ("fetch", "a", 2),
        ("execute", "a", 2), ("fetch", "a", 2), ("open", "a", 2), ("fetch", "a", 3), ("open", "a", 1),
        ("fetch", "a", 3),
    ],
    "two of one text": [
        ("prepare", "a", SOME), ("prepare", "b", SOME), ("open", "a", 9), ("fetch", "a", 2), ("open", "b", 9),
        ("fetch", "a", 2), ("fetch", "b", 4), ("close", "a"), ("fetch", "b", 9), ("execute", "b", 1),
    ],
    "between others": [
        ("prepare", "a", ALL), ("prepare", "b", "SELECT ? + 1"), ("open", "a"), ("fetch", "a", 2),
        ("query", "SELECT COUNT(*) FROM long_list"), ("execute", "b", 5), ("fetch", "a", 2),
        ("query", "INSERT INTO little (body) VALUES ('x')"), ("query", "SELECT LAST_INSERT_ID(), ROW_COUNT()"),
        ("query", "SELECT * FROM absent"), ("fetch", "a", 2), ("query", "SELECT ROW_COUNT()"), ("open", "b", 7),
        ("fetch", "b", 1), ("fetch", "a", 9999), ("fetch", "b", 1),
    ],
    "opened again behind an id that only the server knows": [
        ("prepare", "a", "SELECT ? + 1"), ("prepare", "b", "INSERT INTO little (id, body) VALUES (?, 'x')"),
        ("open", "a", 0), ("execute", "b", 77), ("open", "a", 3), ("fetch", "a", 3),
        ("query", "SELECT LAST_INSERT_ID()"), ("open", "a", 3), ("execute", "b", 78), ("close", "a"),
        ("query", "SELECT LAST_INSERT_ID()"),
    ],
    "closed on the way": [
        ("prepare", "a", ALL), ("open", "a"), ("fetch", "a", 2), ("close", "a"), ("query", "SELECT 1"),
        ("fetch", "a", 2), ("prepare", "b", ALL), ("open", "b"), ("reset", "b"), ("fetch", "b", 1), ("open", "b"),
        ("fetch", "b", 1), ("again",), ("fetch", "b", 1),
    ],
    "over the end of a transaction": [
        ("prepare", "a", ALL), ("query", "BEGIN"), ("open", "a"), ("fetch", "a", 2),
        ("query", "INSERT INTO little (body) VALUES ('x')"), ("query", "COMMIT"), ("fetch", "a", 2),
        ("query", "BEGIN"), ("fetch", "a", 2), ("query", "DELETE FROM little"), ("query", "ROLLBACK"),
        ("fetch", "a", 2), ("query", "SET autocommit = 0"), ("fetch", "a", 2), ("query", "SELECT COUNT(*) FROM little"),
        ("fetch", "a", 2), ("query", "SET autocommit = 1"), ("fetch", "a", 2),
    ],
    "in another state": [
        ("prepare", "a", "SELECT 'ä', body FROM long_list ORDER BY id"), ("open", "a"), ("fetch", "a", 1),
        ("query", "SET NAMES latin1"), ("fetch", "a", 1), ("query", "SET sql_mode = 'ANSI_QUOTES'"), ("fetch", "a", 1),
        ("query", "SELECT \"id\" FROM long_list ORDER BY 1 LIMIT 1"), ("query", "SET NAMES utf8mb4"),
        ("fetch", "a", 9999), ("open", "a"), ("fetch", "a", 1),
    ],
    "its table is dropped": [
        ("query", "CREATE TABLE passing AS SELECT id FROM long_list"), ("prepare", "a", "SELECT id FROM passing"),
        ("open", "a"), ("fetch", "a", 1), ("query", "DROP TABLE passing"), ("fetch", "a", 2), ("open", "a"),
        ("fetch", "a", 1),
    ],
    "where there is none": [
        ("prepare", "a", "INSERT INTO little (body) VALUES (?)"), ("open", "a", "y"), ("fetch", "a", 1),
        ("prepare", "b", "SHOW TABLES"), ("open", "b"), ("fetch", "b", 1), ("prepare", "c", ALL), ("fetch", "c", 1),
        ("execute", "c"), ("fetch", "c", 1),
        ("prepare", "e", "SELECT id FROM long_list WHERE id = (SELECT id FROM long_list)"), ("open", "e"),
        ("fetch", "e", 1),
    ],
    "with warnings": [
        ("prepare", "a", "SELECT 1 / 0 FROM long_list LIMIT 3"), ("open", "a"), ("query", "SELECT @@warning_count"),
        ("open", "a"), ("query", "SHOW WARNINGS"), ("fetch", "a", 1), ("query", "SHOW COUNT(*) WARNINGS"),
        ("fetch", "a", 9), ("query", "SELECT 1"),
    ],
    "many statements": [
        ("prepare", "a", ALL), ("open", "a"), ("fetch", "a", 1),
        *((kind, f"s{n}", *more) for n in range(300) for kind, *more in (("prepare", f"SELECT {n}"), ("execute",))),
        ("fetch", "a", 1),
        *(("open", f"s{n}") for n in range(300)),
        ("fetch", "a", 1),
        *(("fetch", f"s{n}", 2) for n in range(300)),
        ("fetch", "a", 9999),
        *(("execute", f"s{n}") for n in range(5)),
    ],
}  # fmt: skip


@pytest.fixture
def few(world: World) -> Fairlead:
    return world.kept(FEW)


class Arena:
    """The same rows behind Fairlead and on another server."""

    def __init__(self, world: World, member: Fairlead) -> None:
        self.member, self.plain = member, world.shards["eu-1"].primary
        self.plain.create_keyspace("plain")
        rows = [(number, f"ä{number}" * (number % 400)) for number in range(1, ROWS + 1)]
        for server in (world.shards["eu-0"].primary, self.plain):
            server.run(
                "DROP TABLE IF EXISTS long_list, little",
                "CREATE TABLE long_list (id INT PRIMARY KEY, body VARCHAR(2000))",
                "CREATE TABLE little (id INT AUTO_INCREMENT PRIMARY KEY, body VARCHAR(20))",
                database="plain",
            )
            server.insert("INSERT INTO long_list VALUES (%s, %s)", rows, "plain")

    @contextmanager
    def pair(self, deprecate_eof: bool = False) -> Iterator[tuple[Raw, Raw]]:
        """A client of Fairlead, and one of the other server."""
        options: dict[str, Any] = {"database": "plain", "client_flag": CLIENT_DEPRECATE_EOF if deprecate_eof else 0}
        theirs = self.plain.connect(
            unix_socket=None, host="127.0.0.1", port=self.plain.port, user=SERVICE_USER,
            password=Passwords().service, **options,
        )  # fmt: skip
        both = [Raw(one, deprecate_eof=deprecate_eof) for one in (self.member.connect(**options), theirs)]
        try:
            yield both[0], both[1]
        finally:
            for one in both:
                one.close()


@pytest.fixture
def arena(world: World, few: Fairlead) -> Arena:
    return Arena(world, few)


@pytest.fixture
def mine(arena: Arena) -> Iterator[Raw]:
    with arena.pair() as (mine, _):
        yield mine


class Side:
    """One connection's run through a script."""

    def __init__(self, connection: Raw) -> None:
        self.connection = connection
        self.statements: dict[str, Prepared] = {}

    def step(self, kind: str, *rest: Any) -> Answer:
        if kind == "query":
            return self.connection.query(rest[0])
        if kind == "again":
            return self.connection.plain(COM_RESET_CONNECTION)
        if kind == "prepare":
            self.statements[rest[0]] = self.connection.prepare(rest[1])
            return self.statements[rest[0]].answer
        statement, values = self.statements[rest[0]], rest[1:]
        if kind == "fetch":
            return self.connection.fetch(statement, values[0])
        if kind == "reset":
            return self.connection.plain(COM_STMT_RESET, statement.id.to_bytes(4, "little"))
        if kind == "close":
            self.connection.close_statement(statement)
            return Answer("ok")
        return self.connection.execute(statement, values, flags=CURSOR_READ_ONLY if kind == "open" else 0)


@pytest.mark.parametrize("deprecate_eof", [False, True], ids=["eof", "deprecate_eof"])
def test_scripts_are_answered_as_directly(arena: Arena, flavour: str, deprecate_eof: bool) -> None:
    for name, steps in SCRIPTS.items():
        with arena.pair(deprecate_eof) as (mine, theirs):
            compare(name, Side(mine), Side(theirs), steps, flavour)


def compare(name: str, mine: Side, theirs: Side, steps: Sequence[Step], flavour: str) -> None:
    """MySQL (9.7) itself breaks off where a statement is executed without a cursor after an execution with one."""
    opened: set[str] = set()
    for at, step in enumerate(steps):
        if step[0] == "open":
            opened.add(step[1])
        if step[0] == "execute" and step[1] in opened and flavour == "mysql":
            continue
        ours, other = mine.step(*step), theirs.step(*step)
        if ours.refused:
            assert (ours.errno, ours.sqlstate) == (other.errno, other.sqlstate), f"{name} {at}: {ours.message}"
            continue
        found = differences(ours, other, ordered=True)
        assert not found, f"{name} {at} {step}: {found}"


def pinned_by(client: Raw) -> bytes | None:
    return next(row[1] for row in client.query("SHOW FAIRLEAD SESSION").rows if row[0] == b"pinned_by")


def pins(member: Fairlead) -> float:
    return metric(member, "fairlead_pinned_sessions", reason="cursor")


def test_what_was_executed_for_a_cursor_is_executed_without_one(few: Fairlead, mine: Raw) -> None:
    """By another client, on the connections that cursors were opened on."""
    statement = mine.prepare(SOME)
    assert mine.execute(statement, [3]).rows == mine.execute(statement, [3]).rows
    for _ in range(3):
        assert mine.execute(statement, [3], flags=CURSOR_READ_ONLY).status & STATUS_CURSOR
        with raw(few, database="plain") as second:
            other = second.prepare(SOME)
            assert len(second.execute(other, [4]).rows) == 4
        assert mine.fetch(statement, 9).status & STATUS_LAST_ROW
        assert len(mine.execute(statement, [5]).rows) == 5


def test_the_session_is_bound_as_long_as_a_cursor_is_open(few: Fairlead, mine: Raw) -> None:
    one, other = mine.prepare(ALL), mine.prepare(SOME)
    for end in ("last row", "close", "reset", "execute"):
        mine.execute(one, flags=CURSOR_READ_ONLY)
        mine.execute(other, [3], flags=CURSOR_READ_ONLY)
        assert pinned_by(mine) == b"cursor"
        assert mine.query("SELECT id FROM shop.customers WHERE id = 1 /* elsewhere */").kind in ("rows", "error")
        assert mine.fetch(other, 9).status & STATUS_LAST_ROW
        assert pinned_by(mine) == b"cursor"
        if end == "last row":
            assert len(mine.fetch(one, ROWS + 1).rows) == ROWS
        elif end == "close":
            mine.close_statement(one)
            one = mine.prepare(ALL)
        elif end == "reset":
            assert mine.plain(COM_STMT_RESET, one.id.to_bytes(4, "little")).kind == "ok"
        else:
            assert len(mine.execute(one).rows) == ROWS
        assert pinned_by(mine) == b"nothing", end
        with raw(few, database="plain") as second, raw(few, database="plain") as third:  # of two connections
            assert second.query("BEGIN").kind == third.query("BEGIN").kind == "ok"
            assert second.query("SELECT 1 FROM little").kind == third.query("SELECT 1 FROM little").kind == "rows"


def test_a_client_that_leaves_its_cursor_open_leaves_nothing_behind(few: Fairlead, mine: Raw) -> None:
    for _ in range(5):
        with raw(few, database="plain") as other:
            assert other.execute(other.prepare(ALL), flags=CURSOR_READ_ONLY).kind == "rows"
    until(lambda: not pins(few), "the cursors' clients to be gone", few)
    assert len(mine.execute(mine.prepare(ALL)).rows) == ROWS


def test_a_lost_server_and_a_kill_end_the_session(few: Fairlead, world: World, mine: Raw) -> None:
    server = world.shards["eu-0"].primary
    for victim in ("server connection", "client"):
        with raw(few, database="plain") as other:
            statement = other.prepare(ALL)
            other.execute(statement, flags=CURSOR_READ_ONLY)
            assert len(other.fetch(statement, 2).rows) == 2
            own = other.query("SELECT CONNECTION_ID()").value
            if victim == "client":
                assert mine.query(b"KILL " + own).kind == "ok"
            else:
                busy = "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = 'plain'"
                for (thread,) in server.query(busy):
                    server.run(f"KILL {thread}")
            until(lambda: not pins(few), "the cursor to be gone", few)
            until(lambda: other.socket.recv(4096) == b"", "the connection to end")
