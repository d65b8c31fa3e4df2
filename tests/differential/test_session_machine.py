"""Random sequences over several sessions: SET, transactions, prepared statements, cursors, temporary tables, locks,
errors, resets, kills and reconnects. Through Fairlead, over fewer connections than sessions and beside a client that
leaves every connection in another state, each step has to answer as a connection of its own to one server does.

Fixed in `make test`; `make fuzz` takes sequences that nobody has tried.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from loadtest.world.sqlserver import SERVICE_USER, Passwords, SqlServer
from loadtest.world.world import World
from tests.differential.duel import differences
from tests.differential.wire import (
    CLIENT_DEPRECATE_EOF,
    CURSOR_READ_ONLY,
    STATUS_AUTOCOMMIT,
    STATUS_IN_TRANSACTION,
    Answer,
    Prepared,
    Raw,
)
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

SESSIONS = 4
CONNECTIONS = 3
"""To the one server: sessions that are bound to nothing share them."""
COM_RESET_CONNECTION, COM_INIT_DB, COM_PING = 0x1F, 0x02, 0x0E
MORE_RESULTS = 0x8
COUNTED_BEFORE = "SELECT FOUND_ROWS()"
"""It may be refused, as may LAST_INSERT_ID() and what may use it: only the server knows (docs/protocol.md)."""
TABLES = [f"kept{number}" for number in range(SESSIONS)]
"""One each, so that nobody waits for another's row."""

STATEMENTS = [
    "SELECT id, body FROM {table} ORDER BY id",
    "SELECT COUNT(*), SUM(id) FROM {table}",
    "INSERT INTO {table} (body) VALUES ('a'), ('b')",
    "INSERT INTO {table} (code) VALUES (3)",
    "INSERT IGNORE INTO {table} (code) VALUES (3)",
    "UPDATE {table} SET body = CONCAT(body, 'x') WHERE id < 4",
    "DELETE FROM {table} WHERE id > 5",
    "REPLACE INTO {table} (code) VALUES (3)",
    "SELECT LAST_INSERT_ID()",
    "SELECT LAST_INSERT_ID() AS last, ROW_COUNT() AS changed",
    "SELECT ROW_COUNT()",
    "SELECT @@warning_count, @@error_count",
    "SELECT DATABASE(), @@autocommit, @@sql_mode, @@time_zone, @@character_set_client",
    'SELECT "id" FROM {table} ORDER BY 1 LIMIT 2',
    "SELECT 'a' || 'b', 5 / 0",
    "SELECT FROM_UNIXTIME(86400), 'ä'",
    "SELECT * FROM absent",
    "SELEC 1",
    "INSERT INTO {table} (code, body) VALUES ('no number', 1)",
    "INSERT INTO {table} (body) VALUES (REPEAT('long', 100))",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "COMMIT AND NO CHAIN NO RELEASE",
    "SET completion_type = 1",
    "SET completion_type = 'NO_CHAIN'",
    "SET completion_type = DEFAULT",
    "SELECT @@completion_type, @@in_transaction",
    "SAVEPOINT here",
    "ROLLBACK TO SAVEPOINT here",
    "RELEASE SAVEPOINT here",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SELECT @@SESSION.transaction_isolation",
    "SET sql_mode = 'ANSI_QUOTES'",
    "SET sql_mode = ''",
    "SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')",
    "SET sql_mode = DEFAULT",
    "SET time_zone = '+05:30', lock_wait_timeout = 7",
    "SET NAMES latin1",
    "SET NAMES utf8mb4",
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION TRANSACTION READ WRITE, ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION sql_select_limit = 2",
    "SET sql_select_limit = DEFAULT",
    "SET @@local.time_zone := 'SYSTEM', @other := 5",
    "SET time_zone = 'nowhere', @other = 6",
    "SET @mine = {number} + 1",
    "SELECT @mine",
    "CREATE TEMPORARY TABLE IF NOT EXISTS passing (id INT)",
    "INSERT INTO passing VALUES ({number})",
    "SELECT COUNT(*) FROM passing",
    "DROP TEMPORARY TABLE IF EXISTS passing",
    "SELECT GET_LOCK('lock{number}', 0)",
    "SELECT IS_USED_LOCK('lock{number}') IS NOT NULL",
    "SELECT RELEASE_LOCK('lock{number}')",
    "LOCK TABLES {table} WRITE",
    "LOCK TABLES {table} READ, {table} AS again READ",
    "UNLOCK TABLES",
    "PREPARE said FROM 'SELECT body, ? FROM {table} WHERE id < 4 ORDER BY id'",
    "PREPARE said FROM 'INSERT INTO {table} (code) VALUES (?)'",
    "EXECUTE said USING @mine",
    "DEALLOCATE PREPARE said",
    "SELECT body INTO @other FROM {table} WHERE id = 1",
    "SELECT @other, @mine",
    "SELECT SQL_CALC_FOUND_ROWS id FROM {table} ORDER BY id LIMIT 1",
    COUNTED_BEFORE,
    "DO 1 / 0",
    "CALL told(3)",
    "USE plain",
    "CREATE TABLE IF NOT EXISTS made{number} (id INT)",
    "DROP TABLE IF EXISTS made{number}",
]
PREPARED = [
    "SELECT id, body FROM {table} WHERE id > ? ORDER BY id",
    "INSERT INTO {table} (body) VALUES (CONCAT('p', ?))",
    "UPDATE {table} SET body = 'up' WHERE id = ?",
    "SELECT ? + 1, @@sql_mode",
    "SELECT COUNT(*), ? FROM passing",
    "INSERT INTO passing VALUES (?)",
]
DISTURBING = [
    "SET sql_mode = 'PIPES_AS_CONCAT', time_zone = '-03:00'",
    "SET NAMES latin1, autocommit = 0",
    "SELECT COUNT(*) FROM disturbed",
    "ROLLBACK",
    "INSERT INTO disturbed (body) VALUES ('d')",
]
"""Of a client that nobody looks at."""


class Both:
    """A session through Fairlead and its twin on one server."""

    def __init__(self, arena: Arena, number: int, flags: int = 0) -> None:
        self._arena, self.number = arena, number
        self.statements: list[tuple[Prepared, Prepared]] = []
        self.for_cursors: set[int] = set()
        """Of `mine`, by id: executed for a cursor once, and then always, since MySQL (9.7) breaks off without one."""
        self.mine, self.theirs = arena.mine(flags), arena.theirs(flags)
        self._savepoint = False

    def fill(self, sql: str) -> str:
        return sql.format(table=TABLES[self.number], number=self.number)

    def same(self, what: str, mine: Answer, theirs: Answer, allowed: Collection[str] = ()) -> None:
        if mine.refused and mine.message[:6] == ("FL3010" if what == COUNTED_BEFORE else "FL3030"):
            return
        if mine.refused:  # only what the server refuses, too, by its own words
            assert (mine.errno, mine.sqlstate) == (theirs.errno, theirs.sqlstate), f"{what}: {mine.message}"
            return
        if self._marked(what, theirs) and mine.status ^ theirs.status == STATUS_IN_TRANSACTION:
            allowed = {*allowed, "status"}  # docs/protocol.md, 2
        found = differences(mine, theirs, ordered=True, allowed=allowed)
        assert not found, f"{what}: {found}"

    def _marked(self, what: str, theirs: Answer) -> bool:
        """Without autocommit, has a savepoint been set that no transaction has come to?"""
        if theirs.status & (STATUS_AUTOCOMMIT | STATUS_IN_TRANSACTION) or what in ("COMMIT", "ROLLBACK"):
            self._savepoint = False
        elif theirs.kind == "ok" and what == "SAVEPOINT here":
            self._savepoint = True
        return self._savepoint

    def close(self) -> None:
        self.mine.close()
        self.theirs.close()


class Arena:
    """One server behind Fairlead, and one alone."""

    def __init__(self, world: World) -> None:
        self.member = world.kept({"shards": {"eu-0": {"limits": {"connections": CONNECTIONS + SESSIONS}}}})
        self.server, self.plain = world.shards["eu-0"].primary, world.shards["eu-1"].primary
        self.plain.create_keyspace("plain")

    def mine(self, flags: int = 0) -> Raw:
        return Raw(self.member.connect(database="plain", client_flag=flags), deprecate_eof=_deprecates(flags))

    def theirs(self, flags: int = 0) -> Raw:
        return Raw(
            self.plain.connect(
                unix_socket=None, host="127.0.0.1", port=self.plain.port, user=SERVICE_USER,
                password=Passwords().service, database="plain", client_flag=flags,
            ),
            deprecate_eof=_deprecates(flags),
        )  # fmt: skip

    def reset(self) -> None:
        for server in (self.server, self.plain):
            _tables(server)


def _deprecates(flags: int) -> bool:
    return bool(flags & CLIENT_DEPRECATE_EOF)


def _tables(server: SqlServer) -> None:
    server.run(
        *(f"DROP TABLE IF EXISTS {name}" for name in (*TABLES, "disturbed")),
        *(f"DROP TABLE IF EXISTS made{number}" for number in range(SESSIONS)),
        *(
            f"CREATE TABLE {name} (id INT AUTO_INCREMENT PRIMARY KEY, body VARCHAR(40), code INT UNIQUE)"
            for name in (*TABLES, "disturbed")
        ),
        "DROP PROCEDURE IF EXISTS told",
        "CREATE PROCEDURE told(n INT) SELECT n, @mine",
        database="plain",
    )


ANY = st.integers(0, SESSIONS - 1)


class Machine(RuleBasedStateMachine):
    arena: Arena

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self.sessions: list[Both] = []

    @initialize()
    def begin(self) -> None:
        self.arena.reset()
        self.sessions = [Both(self.arena, number) for number in range(SESSIONS)]
        self.disturber = self.arena.mine()

    def teardown(self) -> None:
        for one in self.sessions:
            one.close()
        if self.sessions:
            self.disturber.close()

    @rule(at=ANY, sql=st.sampled_from(STATEMENTS))
    def query(self, at: int, sql: str) -> None:
        one = self.sessions[at]
        text = one.fill(sql)
        mine, theirs = one.mine.query(text), one.theirs.query(text)
        one.same(text, mine, theirs)
        while theirs.status & MORE_RESULTS:
            mine, theirs = one.mine.read_answer(), one.theirs.read_answer()
            one.same(f"next answer of {text}", mine, theirs)

    @rule(at=ANY, sql=st.sampled_from(PREPARED))
    def prepare(self, at: int, sql: str) -> None:
        one = self.sessions[at]
        text = one.fill(sql)
        mine, theirs = one.mine.prepare(text), one.theirs.prepare(text)
        one.same(f"PREPARE {text}", mine.answer, theirs.answer)
        if theirs.answer.kind == "ok" and len(one.statements) < 8:
            one.statements.append((mine, theirs))

    @rule(at=ANY, which=st.integers(0, 7), value=st.integers(-5, 9))
    def execute(self, at: int, which: int, value: int) -> None:
        one = self.sessions[at]
        if one.statements:
            mine, theirs = one.statements[which % len(one.statements)]
            flags = CURSOR_READ_ONLY if mine.id in one.for_cursors else 0
            mine_said, theirs_said = (
                side.execute(statement, [value], flags=flags)
                for side, statement in ((one.mine, mine), (one.theirs, theirs))
            )
            one.same(f"EXECUTE with flags {flags}", mine_said, theirs_said)

    @rule(at=ANY, which=st.integers(0, 7), value=st.integers(-5, 3))
    def open_cursor(self, at: int, which: int, value: int) -> None:
        one = self.sessions[at]
        if one.statements:
            one.for_cursors.add(one.statements[which % len(one.statements)][0].id)
            self.execute(at, which, value)

    @rule(at=ANY, which=st.integers(0, 7), count=st.integers(0, 3))
    def fetch(self, at: int, which: int, count: int) -> None:
        one = self.sessions[at]
        if one.statements:
            mine, theirs = one.statements[which % len(one.statements)]
            if theirs.columns:
                one.same("FETCH", one.mine.fetch(mine, count), one.theirs.fetch(theirs, count))

    @rule(at=ANY)
    def close_statement(self, at: int) -> None:
        one = self.sessions[at]
        if one.statements:
            mine, theirs = one.statements.pop(0)
            one.for_cursors.discard(mine.id)
            one.mine.close_statement(mine)
            one.theirs.close_statement(theirs)

    @rule(at=ANY, command=st.sampled_from([COM_RESET_CONNECTION, COM_PING]))
    def command(self, at: int, command: int) -> None:
        one = self.sessions[at]
        # MySQL counts the statement's before in the answer to COM_PING.
        one.same(f"command {command}", one.mine.plain(command), one.theirs.plain(command), {"warnings"})
        if command == COM_RESET_CONNECTION:
            one.statements.clear()
            one.for_cursors.clear()

    @rule(at=ANY)
    def reconnect(self, at: int) -> None:
        self.sessions[at].close()
        self.sessions[at] = Both(self.arena, at)

    @rule(at=ANY)
    def kill(self, at: int) -> None:
        """By another session; then it comes anew."""
        for side in ("mine", "theirs"):
            victim, killer = getattr(self.sessions[at], side), getattr(self.arena, side)()
            (identity,) = victim.query("SELECT CONNECTION_ID()").rows[0]
            assert killer.query(b"KILL " + identity).kind == "ok"
            killer.close()
        self.reconnect(at)

    @rule(sql=st.sampled_from(DISTURBING))
    def disturb(self, sql: str) -> None:
        self.disturber.query(sql)


def run(world: World, examples: int, steps: int, *, fresh: bool) -> None:
    arena = Arena(world)
    machine = type("Sessions", (Machine,), {"arena": arena})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=not fresh, database=None,
            suppress_health_check=list(HealthCheck), print_blob=False, phases=(Phase.explicit, Phase.generate),
        ),
    )  # fmt: skip


def test_sessions_answer_as_connections_of_their_own(world: World) -> None:
    run(world, examples=25, steps=60, fresh=False)


@pytest.mark.slow
def test_fresh_sequences(world: World) -> None:
    run(world, examples=int(os.environ.get("FAIRLEAD_SESSIONS", "300")), steps=100, fresh=True)
