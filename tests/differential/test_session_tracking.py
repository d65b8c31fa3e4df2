"""What OK packets say of the session's changes: as one server says it to the client that asked for it, and nothing to
others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.world.world import World
from tests.differential.test_session_machine import Arena, Both
from tests.differential.wire import (
    CLIENT_DEPRECATE_EOF,
    CLIENT_SESSION_TRACK,
    COM_INIT_DB,
    COM_RESET_CONNECTION,
    COM_SET_OPTION,
    STATUS_STATE_CHANGED,
    Answer,
    Raw,
    changes,
)
from tests.servers import BOTH_SERVERS, ON_MYSQL

CASES = Path(__file__).parents[1] / "cases" / "differential"
SCRIPT = (CASES / "tracking.sql").read_text().splitlines()
TABLES = (
    "DROP TABLE IF EXISTS n",
    "CREATE TABLE n (a INT)",
    "DROP PROCEDURE IF EXISTS zones",
    "CREATE PROCEDURE zones() BEGIN SELECT 1; SET time_zone = '+03:00'; SELECT 2; END",
    "DROP PROCEDURE IF EXISTS begins",
    "CREATE PROCEDURE begins() BEGIN START TRANSACTION; SELECT 1; COMMIT; SET autocommit = 1; SELECT 2; END",
)
TOLD = CLIENT_SESSION_TRACK | CLIENT_DEPRECATE_EOF


@pytest.fixture
def arena(world: World) -> Arena:
    made = Arena(world)
    for server in (made.server, made.plain):
        server.run(*TABLES, database="plain")
    return made


@pytest.fixture(params=[CLIENT_SESSION_TRACK, TOLD], ids=["classic", "deprecate_eof"])
def told(arena: Arena, request: pytest.FixtureRequest) -> Iterator[Both]:
    with closing(Both(arena, 0, request.param)) as both:
        yield both


def same(both: Both, what: str, mine: list[Answer], theirs: list[Answer]) -> None:
    assert len(mine) == len(theirs), what
    for one, other in zip(mine, theirs, strict=True):
        assert not one.refused, f"{what}: {one.message}"
        (text, found), (other_text, wanted) = changes(one), changes(other)
        # MariaDB orders variables by addresses, anew in each process.
        assert sorted(found) == sorted(wanted), f"{what}: {found} instead of {wanted}"
        # MySQL says so, too, when it goes on to tell of nothing.
        assert (one.status ^ other.status) & STATUS_STATE_CHANGED == 0 or not found, what
        both.same(what, replace(one, info=text), replace(other, info=other_text))


@BOTH_SERVERS
def test_who_asks_is_told_what_one_server_tells(told: Both) -> None:
    for sql in SCRIPT:
        same(told, sql, told.mine.results(sql), told.theirs.results(sql))


@BOTH_SERVERS
def test_databases_are_told_by_commands_and_logins_too(arena: Arena, told: Both) -> None:
    for command, payload in ((COM_INIT_DB, b"plain"), (COM_RESET_CONNECTION, b"")):
        same(told, hex(command), [told.mine.plain(command, payload)], [told.theirs.plain(command, payload)])
    same(told, "BEGIN", [told.mine.query("BEGIN")], [told.theirs.query("BEGIN")])
    same(told, "reset", *([side.plain(COM_RESET_CONNECTION)] for side in (told.mine, told.theirs)))
    same(told, "BEGIN", [told.mine.query("BEGIN")], [told.theirs.query("BEGIN")])


@BOTH_SERVERS
def test_prepared_statements_and_several_in_one_text(told: Both) -> None:
    for sql in (
        "SET time_zone = '+01:00', autocommit = 1",
        "SET NAMES latin1",
        "INSERT INTO n VALUES (1)",
        "COMMIT",
    ):
        prepared = [side.prepare(sql) for side in (told.mine, told.theirs)]
        same(told, sql, [told.mine.execute(prepared[0])], [told.theirs.execute(prepared[1])])
    text = "SET time_zone = ?, autocommit = ?"
    prepared = [side.prepare(text) for side in (told.mine, told.theirs)]
    values = ["+05:00", 0]
    same(told, text, [told.mine.execute(prepared[0], values)], [told.theirs.execute(prepared[1], values)])
    for side in (told.mine, told.theirs):
        side.plain(COM_SET_OPTION, b"\0\0")
    text = "SET autocommit = 1; USE plain; SELECT 1; BEGIN; SET NAMES utf8mb4; COMMIT"
    same(told, text, told.mine.results(text), told.theirs.results(text))


@BOTH_SERVERS
@pytest.mark.parametrize("kinds", [0, CLIENT_DEPRECATE_EOF], ids=["classic", "deprecate_eof"])
@pytest.mark.parametrize("procedure", ["zones", "begins"])
def test_who_does_not_ask_is_told_nothing_between_two_results(arena: Arena, procedure: str, kinds: int) -> None:
    with closing(Both(arena, 0, kinds)) as both, closing(arena.mine()) as other:
        mine, theirs = (side.results(f"CALL {procedure}()") for side in (both.mine, both.theirs))
        assert len(mine) == len(theirs)
        for one, two in zip(mine, theirs, strict=True):
            both.same(procedure, one, two)
            assert (one.status ^ two.status) & STATUS_STATE_CHANGED == 0
        # What changed there is the session's, and nobody else's.
        zone = "SELECT @@time_zone, @@autocommit"
        both.same(zone, both.mine.query(zone), both.theirs.query(zone))
        assert other.query("SELECT @@time_zone").value == b"+00:00"


@BOTH_SERVERS
def test_what_is_refused(arena: Arena, flavour: str) -> None:
    with closing(arena.mine(TOLD)) as raw:
        for sql in (
            "SET session_track_transaction_info = STATE",
            "SET session_track_transaction_info = 'CHARACTERISTICS'",
            "SET session_track_gtids = OWN_GTID",  # there is more than one shard
            "SET session_track_gtids = ALL_GTIDS",
            "SET @x = 1, session_track_schema = 0",
        ):
            assert raw.query(sql).message.startswith("FL3005"), sql
        assert raw.query("SET session_track_system_variables = CONCAT('a', 'b')").message.startswith("FL3007")
        unknown = raw.query("SET session_track_system_variables = 'autocommit,nonsense'")
        assert unknown.errno == (1193 if flavour == "mariadb" else 1231)


@BOTH_SERVERS
def test_timeouts_of_a_client_stay_its_own(arena: Arena) -> None:
    with closing(arena.mine()) as one, closing(arena.mine()) as other:
        for sql in ("BEGIN", "SELECT a FROM n", "SET wait_timeout = 3, time_zone = '+02:00'"):
            assert one.query(sql).kind in ("ok", "rows"), sql
        assert one.query("SELECT @@wait_timeout < 4, @@time_zone").rows == ((b"0", b"+02:00"),)
        one.query("COMMIT")
        assert other.query("SELECT @@wait_timeout < 4, @@time_zone").rows == ((b"0", b"+00:00"),)


@pytest.mark.world(shards=1)
@pytest.mark.parametrize("flavour", [ON_MYSQL])
def test_gtids_of_one_shard(world: World) -> None:
    server = world.shards["eu-0"].primary
    server.run("CREATE TABLE n (a INT)", database="plain")
    with closing(Raw(world.kept({}).connect(database="plain", client_flag=TOLD), deprecate_eof=True)) as raw:
        assert changes(raw.query("INSERT INTO n VALUES (0)")) == (b"", [])
        assert raw.query("SET session_track_gtids = OWN_GTID").kind == "ok"
        for before, sql in (
            ([], "INSERT INTO n VALUES (1)"),
            (["BEGIN", "INSERT INTO n VALUES (2)"], "COMMIT"),
            (["BEGIN", "INSERT INTO n VALUES (3)"], "BEGIN"),
            ([], "CREATE TABLE m (a INT)"),
        ):
            for text in before:
                raw.query(text)
            executed = server.query("SELECT @@gtid_executed")[0][0]
            _, found = changes(raw.query(sql))
            gtids = [body[2:] for kind, body in found if kind == 3]
            assert len(gtids) == 1, sql
            missing = f"SELECT GTID_SUBTRACT(@@gtid_executed, '{executed}')"
            assert server.query(missing)[0][0].encode() == gtids[0]
