"""Several statements in one COM_QUERY: what one server answers, packet by packet, and each on its own shard."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from loadtest.world.world import World
from tests.differential.wire import COMPARED_STATUS, Answer, Raw
from tests.proxy.clients import ask, client, ids_on, metric, until
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

MORE_RESULTS = 8
COM_SET_OPTION, COM_STATISTICS = 0x1B, 0x09
ROWS = "SELECT seq FROM notes ORDER BY seq"
SETUP = "CREATE TABLE notes (seq INT PRIMARY KEY, body VARCHAR(200)); INSERT INTO notes VALUES (1, 'one'), (2, 'two')"


def answers(connection: Raw, sql: str) -> list[Answer]:
    """All of them, as far as they can be compared; the reader checks the packets' numbers."""
    found = [connection.query(sql)]
    while found[-1].status & MORE_RESULTS and found[-1].kind != "error":
        found.append(connection.read_answer())
    return [comparable(one) for one in found]


def comparable(answer: Answer) -> Answer:
    status = answer.status & (COMPARED_STATUS | MORE_RESULTS)
    if answer.kind == "rows":  # the OK packet behind a procedure's rows still has MySQL's statement_id
        return replace(answer, status=status, info=b"")
    return replace(answer, status=status, message="") if answer.kind == "error" else replace(answer, status=status)


class Both:
    """The same connection twice: through Fairlead, and to a server of its own."""

    def __init__(self, near: Raw, far: Raw) -> None:
        self.near, self.far = near, far

    def same(self, sql: str) -> list[Answer]:
        ours, theirs = answers(self.near, sql), answers(self.far, sql)
        assert ours == theirs, sql
        return ours


@pytest.fixture(params=[False, True], ids=["eof", "deprecate-eof"])
def both(world: World, request: pytest.FixtureRequest) -> Iterator[Both]:
    other = world.shards["eu-1"].primary  # which has no part in the keyspace
    other.run("CREATE DATABASE IF NOT EXISTS plain")
    flags = CLIENT.MULTI_STATEMENTS | (1 << 24 if request.param else 0)
    with contextlib.ExitStack() as stack:
        near = world.fairlead().connect(database="plain", client_flag=flags)
        far = other.connect(database="plain", client_flag=flags)
        pair = [Raw(one, deprecate_eof=request.param) for one in (near, far)]
        for one in pair:
            stack.callback(one.close)
        yield Both(*pair)


SCRIPTS = [
    "SELECT 1; SELECT 2; SELECT 'drei;vier'",
    "SELECT 1;",
    "SELECT 1; # x; y\nSELECT 2",
    "SELECT 1;SELECT 2;SELECT 3;SELECT 4;SELECT 5",
    f"{ROWS}; {ROWS}; SELECT COUNT(*) FROM notes",
    f"INSERT INTO notes VALUES (3, 'a;b'), (4, NULL); {ROWS}; UPDATE notes SET body = 'x'; DELETE FROM notes",
    "SELECT 1; SELECT * FROM absent; SELECT 3",
    "SELECT 1; SELEC 2; SELECT 3",
    "BEGIN; INSERT INTO notes VALUES (9, 'nine'); SELECT COUNT(*) FROM notes; ROLLBACK; SELECT COUNT(*) FROM notes",
    "SET @a = 5; SELECT @a + 1; SET @a = NULL",
    "SET sql_mode = 'ANSI_QUOTES'; SELECT \"seq\" FROM notes; SET sql_mode = ''; SELECT \"seq\"",
    "SELECT 'a' `x;y`; SELECT /* ; */ 2",
    "USE plain; SELECT DATABASE(); DO 1; SELECT ROW_COUNT()",
    "SELECT REPEAT('x', 70000); SELECT REPEAT('y', 300000); SELECT 3",
]


@pytest.mark.parametrize("sql", SCRIPTS)
def test_as_one_server(both: Both, sql: str) -> None:
    both.same(f"DROP TABLE IF EXISTS notes; {SETUP}")
    found = both.same(sql)
    assert len(found) > 1 or sql.count(";") == 1
    assert both.near.query("SELECT 7").value == b"7"


def test_a_comment_at_the_end_is_no_statement(both: Both) -> None:
    """A server takes it for one, and has an OK packet for it; nobody misses that."""
    assert [one.kind for one in answers(both.far, "SELECT 1; -- the end\n")] == ["rows", "ok"]
    assert [one.kind for one in answers(both.near, "SELECT 1; -- the end\n")] == ["rows"]


@pytest.mark.parametrize("sql", ["--", "# a\n", " /* a */ ", "/*! */", "/* a */;", "SELECT 1;;", "SELECT 1; ; \n"])
def test_comments_alone_are_answered_and_semicolons_at_the_end_are_nothing(both: Both, sql: str) -> None:
    assert len(both.same(sql)) == 1


def test_nothing_and_nothing_before_a_semicolon_are_errors(both: Both) -> None:
    assert [one.errno for one in both.same(" ; ")] == [1065]
    for one in (both.near, both.far):
        assert answers(one, "/* a */; SELECT 1")[0].kind == "error"


def test_a_procedure_is_one_statement_and_its_results_are_told_apart(both: Both) -> None:
    both.same("DROP PROCEDURE IF EXISTS pairs")
    body = "CREATE PROCEDURE pairs() BEGIN SELECT 1 AS a; SELECT 2 AS b; END"
    assert [one.kind for one in both.same(body)] == ["ok"]
    assert [one.kind for one in both.same("CALL pairs(); SELECT 3")] == ["rows", "rows", "ok", "rows"]


def test_hundreds_of_statements_with_rows_of_their_own(both: Both) -> None:
    assert len(both.same("; ".join(f"SELECT {n}, REPEAT('r', {n})" for n in range(300)))) == 300


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_a_client_that_leaves_half_way(world: World, cut: int) -> None:
    """What it has begun is stopped or finished; the connection to the server does not go to others as it is."""
    eu = world.fairlead()
    near = Raw(eu.connect(database="plain", client_flag=CLIENT.MULTI_STATEMENTS))
    near.send(b"\x03BEGIN; CREATE TEMPORARY TABLE left_over (a INT); SELECT SLEEP(0.2); SELECT SLEEP(5)")
    near.socket.recv(cut) if cut else None
    near.socket.shutdown(socket.SHUT_RDWR)
    near.close()
    with client(eu, database="plain") as other:
        for _ in range(20):
            with pytest.raises(pymysql.err.ProgrammingError):
                ask(other, "SELECT * FROM left_over")


def test_each_statement_goes_to_its_own_shard(world: World) -> None:
    (one,), (two,) = ids_on(world, "eu-0"), ids_on(world, "eu-1")
    with client(world.fairlead(), client_flag=CLIENT.MULTI_STATEMENTS) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE customers SET balance = 11 WHERE id = {one}; UPDATE customers SET balance = 22 WHERE id = {two};"
            f"SELECT id, balance FROM customers WHERE id = {one}; SELECT id, balance FROM customers WHERE id = {two}"
        )
        found: list[Any] = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
    assert [[(row[0], int(row[1])) for row in rows] for rows in found] == [[], [], [(one, 11)], [(two, 22)]]


def test_a_refusal_ends_the_rest(world: World) -> None:
    (one,) = ids_on(world, "eu-0")
    sql = f"BEGIN; UPDATE customers SET balance = 1 WHERE id = {one}; CALL nothing()"
    with client(world.fairlead(), client_flag=CLIENT.MULTI_STATEMENTS) as connection:
        with pytest.raises(pymysql.err.Error, match="FL"), connection.cursor() as cursor:
            cursor.execute(sql + "; SELECT 1")
            while cursor.nextset():
                pass
        connection.rollback()
        assert ask(connection, "SELECT 1") == [(1,)]


def test_without_the_capability_it_is_refused_and_can_be_asked_for(world: World) -> None:
    with contextlib.closing(Raw(world.fairlead().connect(database="plain"))) as near:
        assert near.query("SELECT 1; SELECT 2").message.startswith("FL1006")
        assert near.plain(COM_SET_OPTION, b"\0\0").kind == "ok"
        assert [one.value for one in answers(near, "SELECT 1; SELECT 2")] == [b"1", b"2"]
        assert near.plain(COM_SET_OPTION, b"\x01\0").kind == "ok"
        assert near.query("SELECT 1; SELECT 2").message.startswith("FL1006")
        assert near.plain(COM_SET_OPTION, b"\x07\0").kind == "error"
        assert near.query("SELECT 1").value == b"1"


def test_statistics(world: World) -> None:
    with contextlib.closing(Raw(world.fairlead().connect(database="plain"))) as near:
        near.send(bytes((COM_STATISTICS,)))
        assert near._packet().startswith(b"Uptime: ")
        assert near.query("SELECT 1").value == b"1"


def test_nothing_is_left_in_buffers(world: World) -> None:
    eu = world.fairlead()
    with contextlib.closing(Raw(eu.connect(client_flag=CLIENT.MULTI_STATEMENTS))) as near:
        assert [one.kind for one in answers(near, "SELECT * FROM absent; SELECT 2; SELECT 3")] == ["error"]
        until(lambda: metric(eu, "fairlead_buffered_bytes") == 0, "no byte is held", eu)
