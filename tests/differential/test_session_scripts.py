"""Scripts of statements, each answered as one server answers it, and LAST_INSERT_ID() asked for behind each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from loadtest.world.sqlserver import SERVICE_USER, Passwords, SqlServer
from loadtest.world.world import World
from tests.differential.duel import differences
from tests.differential.test_session_machine import Arena, Both
from tests.differential.wire import COM_RESET_CONNECTION, Answer, Raw
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

CASES = Path(__file__).parents[1] / "cases" / "differential"
IDS = (CASES / "ids.sql").read_text().splitlines()
PINNED = (CASES / "ids_pinned.sql").read_text().splitlines()
CHAINS = (CASES / "chains.sql").read_text().splitlines()
COMPLETION = (CASES / "completion.sql").read_text().splitlines()
SPLIT = (CASES / "ids_shards.sql").read_text().splitlines()
TABLES = (
    "DROP TABLE IF EXISTS t, n, tr",
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(20), u INT UNIQUE)",
    "CREATE TABLE n (a INT)",
    "CREATE TABLE tr (id INT PRIMARY KEY AUTO_INCREMENT, a INT)",
    "CREATE TRIGGER trg AFTER INSERT ON tr FOR EACH ROW INSERT INTO t (v) VALUES ('trig')",
    "CREATE OR REPLACE VIEW vw AS SELECT id, v FROM t",
    "DROP PROCEDURE IF EXISTS adds",
    "DROP PROCEDURE IF EXISTS ends",
    "CREATE PROCEDURE ends() COMMIT",
    "CREATE PROCEDURE adds() BEGIN INSERT INTO n VALUES (LAST_INSERT_ID()); "
    "INSERT INTO t (v) VALUES ('p1'); INSERT INTO t (id, v) VALUES (9000, 'p2'); END",
)
COMMITS_WITHIN = [
    "SET completion_type = CHAIN", "BEGIN", "INSERT INTO n VALUES (1)", "CALL ends()", "INSERT INTO n VALUES (2)",
    "ROLLBACK", "SELECT a FROM n", "ROLLBACK AND NO CHAIN", "INSERT INTO n VALUES (3)", "ROLLBACK", "SELECT a FROM n",
]  # fmt: skip
RELEASE = "SET completion_type = 'RELEASE'"
PREPARABLE = ("COMMIT", "ROLLBACK AND", "INSERT", "SELECT")


@pytest.fixture
def arena(world: World) -> Arena:
    made = Arena(world)
    for server in (made.server, made.plain):
        _tables(server)
    return made


def _tables(server: SqlServer) -> None:
    server.run(*TABLES, database="plain")


@pytest.fixture
def both(arena: Arena) -> Iterator[Both]:
    made = Both(arena, 0)
    yield made
    made.close()


def same(both: Both, sql: str, *, prepared: bool = False) -> None:
    """And not refused."""
    mine, theirs = both.mine.query(sql) if not prepared else _execute(both.mine, sql), None
    theirs = both.theirs.query(sql) if not prepared else _execute(both.theirs, sql)
    assert not mine.refused, f"{sql}: {mine.message}"
    both.same(sql, mine, theirs)


def _execute(side: Raw, sql: str) -> Answer:
    statement = side.prepare(sql)
    if statement.answer.kind != "ok":
        return statement.answer
    answer = side.execute(statement, [])
    side.close_statement(statement)
    return answer


@pytest.mark.parametrize("inside", [False, True], ids=["autocommit", "transaction"])
@pytest.mark.parametrize("prepared", [False, True], ids=["text", "prepared"])
def test_ids_given_made_and_told(both: Both, prepared: bool, inside: bool, arena: Arena) -> None:
    other = arena.mine()
    same(both, "SET sql_mode = ''")
    if inside:
        same(both, "BEGIN")
    for sql in IDS:
        same(both, sql, prepared=prepared)
        if "ROW_COUNT" not in sql:
            same(both, "SELECT LAST_INSERT_ID()")
        other.query("INSERT INTO disturbed (body) VALUES ('d')")
    other.close()


def test_ids_are_asked_for_late(both: Both, arena: Arena) -> None:
    """What stays unasked within a transaction, and behind errors and warnings, which can be asked for, too."""
    for sql in IDS:
        same(both, sql)
    same(both, "SELECT LAST_INSERT_ID()")
    for _ in range(2):
        same(both, "BEGIN")
        for sql in IDS:
            same(both, sql)
            same(both, "SHOW WARNINGS")
        same(both, "COMMIT")
        same(both, "SELECT LAST_INSERT_ID()")


def test_ids_of_pinned_sessions(both: Both) -> None:
    for sql in PINNED:
        same(both, sql)
        same(both, "SELECT LAST_INSERT_ID()")


# --- ids of tables over several shards -------------------------------------------------------------------------

SHARDED = [
    "CREATE TABLE tickets (id INT NOT NULL AUTO_INCREMENT, owner INT NOT NULL, note VARCHAR(20), "
    "PRIMARY KEY (id, owner))",
    "CREATE TABLE colours (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20))",
    "CREATE TABLE alone (id INT PRIMARY KEY AUTO_INCREMENT, owner INT NOT NULL)",
]
KEYSPACE, WHOLE = "desk", "desk_whole"
DESK = {
    "vindexes": {"by_owner": {"function": "hash"}},
    "tables": {
        "tickets": {"kind": "sharded", "vindex": "by_owner", "columns": ["owner"]},
        "alone": {"kind": "sharded", "vindex": "by_owner", "columns": ["owner"]},
        "colours": {"kind": "reference"},
    },
}
UNKNOWN_IDS = [
    ("INSERT INTO tickets VALUES (NULL, 1, 'x'), (NULL, 2, 'y'), (NULL, 3, 'z'), (NULL, 4, 'z')", "FL1208"),
    ("INSERT INTO tickets VALUES (91, 1, 'x'), (0, 2, 'y'), (93, 3, 'z'), (94, 4, 'z')", "FL1208"),
    ("INSERT INTO tickets VALUES (91, 1, 'x'), (95, 2, 'y'), (NULL, 3, 'z'), (94, 4, 'z')", "FL1208"),
    ("INSERT INTO colours VALUES (NULL, 'x')", "FL1313"),
    ("INSERT INTO colours VALUES (0, 'x')", "FL1313"),
    ("INSERT INTO colours VALUES (99, 'x'), (DEFAULT, 'y')", "FL1313"),
    ("INSERT INTO colours VALUES (1 + 1, 'x')", "FL1313"),
    ("INSERT INTO colours (name) VALUES ('x')", "FL1313"),
    ("INSERT INTO colours SELECT id + 100, name FROM colours", "FL1313"),
    ("INSERT INTO alone (owner) VALUES (1)", "FL1326"),
    ("INSERT INTO alone VALUES (NULL, 1)", "FL1326"),
    ("INSERT INTO alone VALUES (DEFAULT, 1)", "FL1326"),
]


@pytest.fixture
def desk(world: World) -> Iterator[tuple[Raw, Raw]]:
    world.add_keyspace(KEYSPACE, SHARDED)
    server = world.shards["eu-1"].primary
    server.create_keyspace(WHOLE)
    server.run(*SHARDED, database=WHOLE)
    grants = {"demo": {"grants": [{"on": "*.*", "verbs": ["all"]}]}}
    config = {KEYSPACE: {"shards": list(world.shards), **DESK}}
    member = world.kept({"keyspaces": config, "users": grants, "health": {"schema": "1s"}})
    theirs = server.connect(
        unix_socket=None, host="127.0.0.1", port=server.port, user=SERVICE_USER, password=Passwords().service,
        database=WHOLE,
    )  # fmt: skip
    pair = Raw(member.connect(database=KEYSPACE)), Raw(theirs)
    yield pair
    for side in pair:
        side.close()
    server.run(f"DROP DATABASE {WHOLE}")


def test_ids_of_several_shards(desk: tuple[Raw, Raw]) -> None:
    """And what servers would make one by one is refused."""
    for prepared, inside in product([False, True], repeat=2):
        for side in desk:
            assert side.query("INSERT INTO tickets (owner, note) VALUES (9, 'first')").kind == "ok"
            assert side.query("BEGIN" if inside else "COMMIT").kind == "ok"
        for sql in SPLIT:
            answers = [_execute(side, sql) if prepared else side.query(sql) for side in desk]
            assert not answers[0].refused, f"{sql}: {answers[0].message}"
            found = differences(answers[0], replace(answers[1], message=answers[1].message.replace(WHOLE, KEYSPACE)))
            assert not found, f"{sql}: {found}"
            mine, theirs = (side.query("SELECT LAST_INSERT_ID()").rows for side in desk)
            assert mine == theirs, sql
        for sql, error in UNKNOWN_IDS:
            said = _execute(desk[0], sql) if prepared else desk[0].query(sql)
            assert said.message.startswith(error), f"{sql}: {said}"
        for table, side in product(("tickets", "colours"), desk):
            assert side.query(f"DELETE FROM {table}").kind == "ok"
        for side in desk:
            side.query("COMMIT")


# --- COMMIT and ROLLBACK that chain or release -----------------------------------------------------------------


def test_chained_transactions(both: Both) -> None:
    for sql in CHAINS:
        same(both, sql)


@pytest.mark.parametrize("prepared", [False, True], ids=["text", "prepared"])
def test_completion_type(both: Both, prepared: bool) -> None:
    for sql in COMPLETION:
        run = _execute if prepared and sql.startswith(PREPARABLE) else Raw.query
        both.same(sql, run(both.mine, sql), run(both.theirs, sql))


def test_completion_type_of_statements_prepared_before(both: Both) -> None:
    sides = both.mine, both.theirs
    mine, theirs = (side.prepare("COMMIT") for side in sides)
    for kind in ("NO_CHAIN", "CHAIN", "NO_CHAIN"):
        for sql in (f"SET completion_type = {kind}", "BEGIN", "INSERT INTO n VALUES (1)"):
            same(both, sql)
        both.same(kind, both.mine.execute(mine, []), both.theirs.execute(theirs, []))
        for sql in ("INSERT INTO n VALUES (2)", "ROLLBACK", "SELECT COUNT(*) FROM n"):
            same(both, sql)


def test_completion_type_is_reset(both: Both) -> None:
    for sql in ("SET completion_type = CHAIN", "COMMIT"):
        same(both, sql)
    for side in (both.mine, both.theirs):
        assert side.plain(COM_RESET_CONNECTION).kind == "ok"
    for sql in ("SELECT @@completion_type", "BEGIN", "COMMIT", "INSERT INTO n VALUES (1)", "ROLLBACK"):
        same(both, sql)
    same(both, "SELECT COUNT(*) FROM n")


def test_commits_that_only_servers_see_chain_too(both: Both) -> None:
    for sql in COMMITS_WITHIN:
        same(both, sql)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "COMMIT AND NO CHAIN", "CALL ends()"])
def test_release_ends_the_connection(arena: Arena, end: str) -> None:
    for beginning in ([], ["BEGIN"], ["BEGIN", "INSERT INTO n VALUES (1)"], ["SET @pinned = 1"]):
        if not end.startswith("CALL"):
            _ends(arena, [*beginning, f"{end} RELEASE"])
        _ends(arena, [*beginning, RELEASE, end])
        _ends(arena, [RELEASE, *beginning, end])


def _ends(arena: Arena, script: list[str]) -> None:
    with closing(Both(arena, 0)) as leaving, closing(Both(arena, 1)) as staying:
        for sql in script:
            same(leaving, sql)
        for side in (leaving.mine, leaving.theirs):
            assert side.query("SELECT 1").kind == "lost"
        same(staying, "SELECT COUNT(*) FROM n")
        for server in (arena.server, arena.plain):
            server.run("DELETE FROM n", database="plain")


# --- what is prepared within a READ ONLY transaction ------------------------------------------------------------

WRITES = [
    "INSERT INTO n VALUES (1)", "UPDATE n SET a = 2", "DELETE FROM n", "REPLACE INTO n VALUES (?)",
    "INSERT INTO n SELECT a FROM n", "SELECT a FROM n", "SELECT a FROM n FOR UPDATE",
]  # fmt: skip
BEGINNINGS = [
    ["START TRANSACTION READ ONLY"],
    ["START TRANSACTION READ ONLY", "SELECT a FROM n"],
    ["SET TRANSACTION READ ONLY", "BEGIN"],
    ["SET SESSION TRANSACTION READ ONLY"],
]


def test_writes_prepared_in_read_only_transactions(arena: Arena) -> None:
    for beginning in BEGINNINGS:
        with closing(Both(arena, 0)) as both:
            for sql in beginning:
                same(both, sql)
            for sql in WRITES:
                mine, theirs = both.mine.prepare(sql), both.theirs.prepare(sql)
                both.same(f"{beginning}: PREPARE {sql}", mine.answer, theirs.answer)
                if theirs.answer.kind == "ok":
                    values = [1] * sql.count("?")
                    said = both.mine.execute(mine, values), both.theirs.execute(theirs, values)
                    both.same(f"{beginning}: EXECUTE {sql}", *said)
            same(both, "ROLLBACK")


def test_the_id_is_still_known_when_a_statement_was_prepared_on_the_sessions_own_connection(both: Both) -> None:
    for sql in ("CALL ends()", "BEGIN", "INSERT INTO t (id, v) VALUES (77, 'given')"):
        same(both, sql)
    same(both, "SELECT LAST_INSERT_ID()", prepared=True)
    same(both, "CALL adds()", prepared=True)
    same(both, "CALL adds()", prepared=True)
    same(both, "SELECT LAST_INSERT_ID()", prepared=True)
    same(both, "ROLLBACK")
