"""A session's own state, whichever backend serves it: variables, database, counts, ids, warnings, pins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.differential.wire import (
    COM_FIELD_LIST,
    COM_INIT_DB,
    COM_PING,
    COM_RESET_CONNECTION,
    COM_STMT_RESET,
    STATUS_IN_TRANSACTION,
)
from tests.proxy.clients import Connection, ask, client, fails, ids_on, metric, raw, refused, until, value
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

FEW_CONNECTIONS = 2
FEW = {
    "shards": {name: {"limits": {"connections": FEW_CONNECTIONS, "idle": 1}} for name in ("eu-0", "eu-1")},
    "limits": {"queue_wait": "2s"},
}
"""So few backend connections that clients cannot each keep one."""
UNKNOWN_COMMAND, UNKNOWN_DATABASE, UNKNOWN_STATEMENT, WRONG_VALUE = 1047, 1049, 1243, 1231
COM_REFRESH, COM_PROCESS_INFO, COM_DEBUG, COM_BINLOG_DUMP, COM_SET_OPTION = 7, 10, 13, 18, 27


@pytest.fixture
def few(world: World) -> Fairlead:
    return world.kept(FEW)


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


@pytest.fixture
def plain(fairlead: Fairlead) -> Iterator[Connection]:
    with client(fairlead, database="plain") as connected:
        yield connected


# --- variables that travel ----------------------------------------------------------------------------------

TRACKED = [
    ("SET time_zone = '+03:30'", "@@time_zone", "+03:30"),
    ("SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES'", "@@sql_mode", "ANSI_QUOTES,STRICT_TRANS_TABLES"),
    ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "@@transaction_isolation", "SERIALIZABLE"),
    ("SET SESSION TRANSACTION READ ONLY", "@@transaction_read_only", 1),
    ("SET NAMES latin1", "@@character_set_results", "latin1"),
    ("SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci", "@@collation_connection", "utf8mb4_unicode_ci"),
    ("SET character_set_results = NULL", "@@character_set_results", None),
    ("SET @@session.group_concat_max_len = 123", "@@group_concat_max_len", 123),
    ("SET lc_time_names = 'sv_SE'", "@@lc_time_names", "sv_SE"),
    ("SET foreign_key_checks = OFF, unique_checks = 0", "@@foreign_key_checks + @@unique_checks", 0),
    ("SET innodb_lock_wait_timeout = 17", "@@innodb_lock_wait_timeout", 17),
    ("SET sql_safe_updates = 1", "@@sql_safe_updates", 1),
    ("SET div_precision_increment = 2", "LENGTH(1 / 3)", 4),
    ("SET autocommit = 0", "@@autocommit", 0),
]
MARIADB_ONLY = {"@@transaction_isolation": "@@tx_isolation", "@@transaction_read_only": "@@tx_read_only"}


@pytest.mark.parametrize("statement, expression, expected", TRACKED, ids=[one for one, _, _ in TRACKED])
def test_a_variable_follows_its_session_and_no_other(
    few: Fairlead, world: World, flavour: str, statement: str, expression: str, expected: object
) -> None:
    if flavour == "mariadb":
        expression = MARIADB_ONLY.get(expression, expression)
    with client(few) as mine, client(few) as other:
        before = value(other, f"SELECT {expression}")
        other.rollback()
        ask(mine, statement)
        for shard in ("eu-0", "eu-1", "eu-0"):
            (key,) = ids_on(world, shard)
            for connection, wanted in ((mine, expected), (other, before)):
                query = f"SELECT {expression} FROM customers WHERE id = {key}"
                assert value(connection, query) == wanted
                connection.rollback()
        assert before != expected
        assert metric(few, "fairlead_pinned_sessions") == 0
    with client(few) as fresh:
        assert value(fresh, f"SELECT {expression}") == before


def test_many_states_over_two_connections(few: Fairlead, world: World) -> None:
    keys = [ids_on(world, shard)[0] for shard in ("eu-0", "eu-1")]
    opened = [few.connect() for _ in range(12)]
    try:
        for hour, connection in enumerate(opened):
            ask(connection, f"SET time_zone = '+{hour:02d}:00'")
        for _ in range(5):
            for hour, connection in enumerate(opened):
                for key in keys:
                    found = value(connection, f"SELECT @@time_zone FROM customers WHERE id = {key}")
                    assert found == f"+{hour:02d}:00"
    finally:
        for connection in opened:
            connection.close()


def test_default_puts_a_variable_back(few: Fairlead) -> None:
    with client(few) as connection:
        before = value(connection, "SELECT @@time_zone")
        ask(connection, "SET time_zone = '+01:00'")
        ask(connection, "SET time_zone = DEFAULT")
        assert value(connection, "SELECT @@time_zone") == before


def test_character_sets_of_the_handshake_are_kept(fairlead: Fairlead) -> None:
    with client(fairlead, charset="latin1", database="plain") as latin, client(fairlead, database="plain") as utf8:
        ask(utf8, "CREATE TABLE words (word VARCHAR(20) CHARACTER SET utf8mb4)")
        ask(latin, "INSERT INTO words VALUES ('größe')")
        assert ask(utf8, "SELECT word, LENGTH(word) FROM words") == [("größe", 7)]
        assert value(latin, "SELECT word FROM words") == "größe"
        assert value(latin, "SELECT COUNT(*) FROM words WHERE word = 'größe'") == 1


def test_wrong_values_are_the_servers_errors_and_change_nothing(few: Fairlead) -> None:
    with client(few) as connection:
        before = ask(connection, "SELECT @@time_zone, @@sql_mode")
        fails(connection, "SET time_zone = 'Nowhere/None'", 1298)
        fails(connection, "SET sql_mode = 'NO_SUCH'", WRONG_VALUE)
        fails(connection, "SET NAMES nosuch", 1115)
        fails(connection, "SET time_zone = '+01:00', sql_mode = 'NO_SUCH'", WRONG_VALUE)
        assert ask(connection, "SELECT @@time_zone, @@sql_mode") == before
        assert metric(few, "fairlead_pinned_sessions") == 0


def test_dangerous_variables_are_refused(fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        refused(connection, "SET GLOBAL max_connections = 1", "FL2003")
        refused(connection, "SET @@global.read_only = 1", "FL3004")
        refused(connection, "SET sql_log_bin = 0", "FL3005")
        refused(connection, "SET completion_type = 1 + 1", "FL3007")
        refused(connection, "SET session_track_transaction_info = 'STATE'", "FL3005")
        refused(connection, "SET NAMES gbk", "FL1007")
        refused(connection, "SET character_set_client = 'sjis'", "FL1007")
        fails(connection, "SET no_such_variable = 1", 1193)
        assert value(connection, "SELECT 1") == 1


def test_statements_prepared_under_another_sql_mode_keep_their_meaning(fairlead: Fairlead) -> None:
    statement = "SELECT 'a' || 'b'"
    with raw(fairlead, database="plain") as pipes, raw(fairlead, database="plain") as plain:
        assert pipes.query("SET sql_mode = 'PIPES_AS_CONCAT'").kind == "ok"
        for _ in range(3):
            one, other = pipes.prepare(statement), plain.prepare(statement)
            assert pipes.execute(one).value == b"ab"
            # An INT here, a BIGINT on MySQL.
            assert int.from_bytes(plain.execute(other).value, "little") == 0


# --- pins ---------------------------------------------------------------------------------------------------

PINS = [
    ("user_variable", "SET @mine = 5", "SELECT @mine", 5),
    ("user_variable", "SELECT 5 INTO @mine", "SELECT @mine", 5),
    ("temporary_table", "CREATE TEMPORARY TABLE own AS SELECT 5 AS n", "SELECT n FROM own", 5),
    ("get_lock", "SELECT GET_LOCK('mine', 1)", "SELECT RELEASE_LOCK('mine') + GET_LOCK('mine', 0)", 2),
    ("prepared_in_sql", "PREPARE five FROM 'SELECT 5'", "EXECUTE five", 5),
]


@pytest.mark.parametrize("reason, statement, query, expected", PINS, ids=[one[1] for one in PINS])
def test_what_cannot_be_shared_pins_the_session(
    few: Fairlead, reason: str, statement: str, query: str, expected: object
) -> None:
    with client(few, database="plain") as pinned, client(few, database="plain") as other:
        ask(pinned, statement)
        until(lambda: metric(few, "fairlead_pinned_sessions", reason=reason) == 1, "the pin", few)
        for _ in range(4):
            assert value(other, "SELECT 1 FROM DUAL") == 1
            assert value(pinned, query) == expected
        with raw(few, database="plain") as stranger:
            answer = stranger.query(query)
            assert answer.kind == "error" or answer.value in (None, b"0")
    until(lambda: metric(few, "fairlead_pinned_sessions") == 0, "the end of the pin", few)
    with client(few, database="plain") as later, raw(few, database="plain") as another:
        assert value(later, "SELECT 1") == 1
        answer = another.query(query)
        assert answer.kind == "error" or answer.value in (None, b"0")


def test_a_pinned_backend_is_not_shared(few: Fairlead) -> None:
    with client(few, database="plain") as pinned:
        ask(pinned, "SET @mine = 5")
        # One of two connections is taken: the others share the second one, and never see the variable.
        opened = [few.connect(database="plain") for _ in range(3)]
        try:
            for _ in range(4):
                for connection in opened:
                    assert value(connection, "SELECT 1 FROM DUAL") == 1
            assert metric(few, "fairlead_shard_connections", shard="eu-0", state="in_use") == 1
            ask(opened[0], "SET @mine = 6")
            with pytest.raises(pymysql.err.OperationalError, match="FL4002"):
                value(opened[1], "SELECT 1 FROM DUAL")
        finally:
            for connection in opened:
                connection.close()
        assert value(pinned, "SELECT @mine") == 5


def test_pins_end_with_what_made_them(fairlead: Fairlead, plain: Connection) -> None:
    ask(plain, "SELECT GET_LOCK('once', 1)")
    until(lambda: metric(fairlead, "fairlead_pinned_sessions", reason="get_lock") == 1, "the pin", fairlead)
    with raw(fairlead, database="plain") as side:
        assert side.query("SET @x = 1").kind == "ok"
        pins = partial(metric, fairlead, "fairlead_pinned_sessions", reason="user_variable")
        until(lambda: pins() == 1, "the pin", fairlead)
        assert side.plain(COM_RESET_CONNECTION).kind == "ok"
        until(lambda: not pins(), "its end", fairlead)
        assert side.query("SELECT @x").value is None


def test_a_pinned_session_on_another_shard_is_refused(fairlead: Fairlead, plain: Connection, world: World) -> None:
    ask(plain, "SET @mine = 5")
    (far,) = ids_on(world, "eu-1")
    text = refused(plain, f"SELECT name FROM shop.customers WHERE id = {far}", "FL3003")
    assert "user variable" in text
    (near,) = ids_on(world, "eu-0")
    assert value(plain, f"SELECT @mine FROM shop.customers WHERE id = {near}") == 5


def test_found_rows_of_the_same_backend(plain: Connection) -> None:
    ask(plain, "CREATE TABLE many (id INT PRIMARY KEY)")
    ask(plain, "INSERT INTO many VALUES (1), (2), (3)")
    assert ask(plain, "SELECT SQL_CALC_FOUND_ROWS id FROM many ORDER BY id LIMIT 1") == [(1,)]
    assert value(plain, "SELECT FOUND_ROWS()") == 3
    assert value(plain, "SELECT CONNECTION_ID()")
    assert value(plain, "SELECT FOUND_ROWS()") == 1


def test_found_rows_are_counted_as_they_pass(few: Fairlead) -> None:
    """Without SQL_CALC_FOUND_ROWS the session is not bound to a connection, and others use it in between."""
    with client(few, database="plain") as one, client(few, database="plain") as two:
        ask(one, "CREATE TABLE many (id INT PRIMARY KEY, n INT)")
        ask(one, "INSERT INTO many VALUES (1, 0), (2, 0), (3, 0)")
        for text, found in (
            ("SELECT id FROM many", 3), ("SELECT id FROM many LIMIT 2", 2), ("SELECT id FROM many WHERE id > 9", 0),
            ("SELECT COUNT(*) FROM many", 1), ("SELECT a.id FROM many a JOIN many b", 9), ("SELECT DATABASE()", 1),
        ):  # fmt: skip
            ask(one, text)
            ask(two, "SELECT 1")
            ask(one, "SET @@sql_mode = ''")
            ask(one, "UPDATE many SET n = n + 1")
            ask(two, "SELECT 1 UNION SELECT 2")
            assert value(one, "SELECT FOUND_ROWS()") == found, text
            assert value(one, "SELECT FOUND_ROWS()") == 1
        ask(one, "SELECT id FROM many LIMIT 1, 1")
        refused(one, "SELECT FOUND_ROWS()", "FL3010")


# --- counts, ids and warnings -------------------------------------------------------------------------------


def test_last_insert_id_is_the_sessions_own(few: Fairlead) -> None:
    with client(few, database="plain") as one, client(few, database="plain") as two:
        ask(one, "CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, note INT)")
        ask(one, "CREATE TABLE copies (id INT)")
        ask(one, "INSERT INTO counted (note) VALUES (1), (1)")
        ask(two, "INSERT INTO counted (note) VALUES (2)")
        assert value(one, "SELECT LAST_INSERT_ID()") == 1
        assert value(two, "SELECT LAST_INSERT_ID()") == 3
        assert value(one, "SELECT @@last_insert_id") == 1
        # Inside of a larger statement it is set on the backend first.
        assert ask(one, "SELECT note FROM counted WHERE id = LAST_INSERT_ID()") == [(1,)]
        ask(two, "INSERT INTO copies VALUES (LAST_INSERT_ID())")
        ask(one, "INSERT INTO copies VALUES (LAST_INSERT_ID())")
        assert ask(one, "SELECT id FROM copies ORDER BY id") == [(1,), (3,)]
        with client(few, database="plain") as three:
            assert value(three, "SELECT LAST_INSERT_ID()") == 0
            assert ask(three, "SHOW VARIABLES LIKE 'identity'") == [("identity", "0")]
            ask(three, "INSERT INTO copies VALUES (LAST_INSERT_ID())")
        assert value(one, "SELECT COUNT(*) FROM copies WHERE id = 0") == 1
        ask(one, "UPDATE counted SET note = LAST_INSERT_ID(note + 40) WHERE id = 1")
        assert value(one, "SELECT LAST_INSERT_ID()") == 41


def test_row_count_after_every_kind(few: Fairlead) -> None:
    with client(few, database="plain") as connection:
        for statement, expected in (
            ("CREATE TABLE t (id INT PRIMARY KEY, n INT)", 0),
            ("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)", 3),
            ("UPDATE t SET n = 9 WHERE id > 1", 2),
            ("UPDATE t SET n = 9", 1),
            ("SELECT * FROM t", -1),
            ("DELETE FROM t WHERE id = 1", 1),
            ("SET time_zone = '+01:00'", 0),
            ("REPLACE INTO t VALUES (2, 2)", 2),
        ):
            ask(connection, statement)
            assert value(connection, "SELECT ROW_COUNT()") == expected, statement
            assert value(connection, "SELECT ROW_COUNT()") == -1
        fails(connection, "INSERT INTO t VALUES (2, 2)", 1062)
        assert value(connection, "SELECT ROW_COUNT()") == -1


def test_warnings_are_shown_to_the_session_that_caused_them(few: Fairlead) -> None:
    with client(few, database="plain") as one, client(few, database="plain") as two:
        ask(one, "SELECT 1 / 0")
        assert [row[1] for row in ask(one, "SHOW WARNINGS")] == [1365]
        assert [row[1] for row in ask(one, "SHOW WARNINGS")] == [1365]
        assert ask(two, "SHOW WARNINGS") == []
        fails(one, "SELECT nothing", 1054)
        assert [row[:2] for row in ask(one, "SHOW WARNINGS")] == [("Error", 1054)]
        assert [row[:2] for row in ask(one, "SHOW ERRORS")] == [("Error", 1054)]
        ask(one, "CREATE TABLE w (id INT)")
        assert ask(one, "SHOW WARNINGS") == []
        assert ask(two, "SHOW COUNT(*) WARNINGS") == [(0,)]


def test_warnings_taken_by_others_are_refused_not_swapped(few: Fairlead) -> None:
    with client(few, database="plain") as one:
        ask(one, "SELECT 1 / 0")
        opened = [few.connect(database="plain") for _ in range(4)]
        for connection in opened:
            connection.begin()
            connection.query("SELECT 1 FROM DUAL")
        for connection in opened[:2]:
            ask(connection, "CREATE TEMPORARY TABLE hold (id INT)")
        refused(one, "SHOW WARNINGS", "FL3010")
        for connection in opened:
            connection.close()


def test_the_text_of_a_refusal_can_be_asked_for(fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        text = refused(connection, "SELECT * FROM customers UNION SELECT * FROM customers FOR UPDATE", "FL1207")
        assert ask(connection, "SHOW WARNINGS") == [("Error", 1235, text)]
        assert ask(connection, "SHOW COUNT(*) ERRORS") == [(1,)]
        assert value(connection, "SELECT 1 FROM DUAL") == 1


# --- commands -----------------------------------------------------------------------------------------------


def test_init_db_and_use(fairlead: Fairlead) -> None:
    with raw(fairlead) as side:
        assert side.query("SELECT DATABASE()").value == b"shop"
        assert side.plain(COM_INIT_DB, b"plain").kind == "ok"
        assert side.query("SELECT DATABASE()").value == b"plain"
        assert (
            side.query("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()").value == b"0"
        )
        assert side.plain(COM_INIT_DB, b"nosuch").errno == UNKNOWN_DATABASE
        assert side.query("SELECT DATABASE()").value == b"plain"
        assert side.query("USE shop").kind == "ok"
        assert len(side.query("SELECT id FROM customers").rows) == 100
        assert side.query("USE `nosuch`").errno == UNKNOWN_DATABASE


def test_a_client_without_a_database(world: World) -> None:
    user = {"password": {"value": "x"}, "grants": [{"on": "*.*", "verbs": ["all"]}]}
    fairlead = world.fleet({"users": {"nobase": user}})["eu"]
    with client(fairlead, user="nobase", password="x", database=None) as connection:
        assert value(connection, "SELECT DATABASE()") is None
        refused(connection, "SELECT * FROM customers", "FL1101")
        assert len(ask(connection, "SELECT id FROM shop.customers")) == 100
        assert value(connection, "SELECT 1 + 1") == 2
        ask(connection, "USE shop")
        assert len(ask(connection, "SELECT id FROM customers")) == 100


def test_reset_connection_forgets_everything_but_the_database(fairlead: Fairlead, world: World) -> None:
    (key,) = ids_on(world, "eu-0")
    with raw(fairlead) as side:
        before = side.query("SELECT @@time_zone, @@sql_mode").rows
        statement = side.prepare("SELECT 1")
        assert side.query("SET time_zone = '+07:00', sql_mode = 'ANSI'").kind == "ok"
        assert side.query("SET autocommit = 0").kind == "ok"
        assert side.query(f"UPDATE customers SET balance = LAST_INSERT_ID(41) WHERE id = {key}").affected == 1
        assert side.query("SELECT LAST_INSERT_ID()").value == b"41"
        assert side.query(f"SELECT nowhere FROM customers WHERE id = {key}").errno == 1054
        assert side.plain(COM_RESET_CONNECTION).kind == "ok"
        assert side.query("SHOW WARNINGS").rows == ()
        assert side.query("SELECT @@warning_count, @@error_count").rows == ((b"0", b"0"),)
        assert side.query("SELECT DATABASE()").value == b"shop"
        assert side.query("SELECT @@time_zone, @@sql_mode").rows == before
        assert side.query("SELECT @@autocommit").value == b"1"
        assert side.query("SELECT LAST_INSERT_ID()").value == b"0"
        assert side.execute(statement).errno == UNKNOWN_STATEMENT
        assert side.query(f"SELECT balance FROM customers WHERE id = {key}").value != b"1.00"


def test_columns_are_described_alike_whatever_a_connection_was_used_for(few: Fairlead) -> None:
    def described() -> set[bytes]:
        with raw(few) as side:
            assert side.plain(COM_RESET_CONNECTION).kind == "ok"
            return {repr(side.query("SELECT name FROM customers WHERE id = 5").columns).encode() for _ in range(9)}

    fresh = described()
    assert len(fresh) == 1
    with ExitStack() as stack:
        # As many at once as there are connections, so that each was used so.
        for _ in range(FEW_CONNECTIONS):
            connection = stack.enter_context(client(few))
            ask(connection, "SET NAMES latin1")
            connection.begin()
            ask(connection, "SELECT name FROM customers WHERE id = 5")
    assert described() == fresh


def test_ping_and_statement_reset(fairlead: Fairlead) -> None:
    with raw(fairlead) as side:
        assert side.plain(COM_PING).kind == "ok"
        statement = side.prepare("SELECT CONCAT(?, 'b')")
        side.long_data(statement, 0, b"lost")
        assert side.plain(COM_STMT_RESET, statement.id.to_bytes(4, "little")).kind == "ok"
        assert side.execute(statement, ["a"]).value == b"ab"
        side.close_statement(statement)
        assert side.execute(statement, ["a"]).errno == UNKNOWN_STATEMENT
        assert side.plain(COM_STMT_RESET, (999).to_bytes(4, "little")).errno == UNKNOWN_STATEMENT


@pytest.mark.parametrize(
    "command",
    [
        COM_FIELD_LIST,
        COM_REFRESH,
        COM_PROCESS_INFO,
        12,
        COM_DEBUG,
        COM_BINLOG_DUMP,
        COM_SET_OPTION,
        0x1C,
        0x20,
        0x7F,
        0xFE,
    ],
)
def test_other_commands_are_refused_and_the_session_lives_on(fairlead: Fairlead, command: int) -> None:
    with raw(fairlead) as side:
        answer = side.plain(command, b"\x00\x00customers\x00")
        assert answer.kind == "error" and answer.message.startswith("FL30"), answer
        assert side.query("SELECT 1").value == b"1"


def test_several_statements_in_one_text_are_refused(fairlead: Fairlead) -> None:
    with client(fairlead, database="plain") as connection:
        ask(connection, "CREATE TABLE safe (id INT)")
        refused(connection, "SELECT 1; DROP TABLE safe", "FL1006")
        assert ask(connection, "SELECT * FROM safe") == []
        assert value(connection, "SELECT 1;") == 1


def test_a_prepared_statement_finds_the_sessions_temporary_table(few: Fairlead, world: World) -> None:
    """Also one that hides a table of the same name, which others go on to see, and inside of transactions."""
    world.shards["eu-0"].primary.run("DROP TABLE IF EXISTS hidden", "CREATE TABLE hidden (id INT)", database="plain")
    with raw(few, database="plain") as mine, raw(few, database="plain") as other:
        assert [one.name for one in mine.prepare("SELECT * FROM hidden").answer.columns] == [b"id"]
        assert mine.query("CREATE TEMPORARY TABLE hidden (a INT, b INT)").kind == "ok"
        for before, behind in ((None, None), ("BEGIN", "COMMIT")):
            assert before is None or mine.query(before).kind == "ok"
            insert, select = mine.prepare("INSERT INTO hidden VALUES (?, 2)"), mine.prepare("SELECT * FROM hidden")
            assert [one.name for one in select.answer.columns] == [b"a", b"b"]
            assert mine.prepare("SELECT * FROM absent").answer.errno == 1146
            assert mine.prepare("SELEC").answer.errno == 1064
            assert mine.execute(insert, [1]).affected == 1
            assert len(mine.execute(select).rows) == 1
            assert mine.plain(COM_PING).status & STATUS_IN_TRANSACTION == (1 if before else 0)
            assert mine.query("DELETE FROM hidden").affected == 1
            assert behind is None or mine.query(behind).kind == "ok"
        assert [one.name for one in other.prepare("SELECT * FROM hidden").answer.columns] == [b"id"]
        assert other.query("SELECT * FROM hidden").kind == "rows"


def test_a_prepared_statement_names_what_it_named_when_it_was_prepared(world: World, fairlead: Fairlead) -> None:
    """In another database it is executed only if it means the same there."""
    world.shards["eu-0"].primary.run("CREATE TABLE customers (id BIGINT PRIMARY KEY)", database="plain")
    with raw(fairlead, database="plain") as side:
        bare = side.prepare("SELECT COUNT(*) FROM customers WHERE id < ?")
        named = side.prepare("SELECT COUNT(*) FROM plain.customers WHERE id < ?")
        asking = side.prepare("SELECT DATABASE()")
        assert side.execute(bare, (1 << 62,)).value == side.execute(named, (1 << 62,)).value == bytes(8)
        side.query("USE shop")
        assert side.execute(bare, (1 << 62,)).message.startswith("FL3031")
        assert side.execute(named, (1 << 62,)).value == bytes(8)
        assert side.execute(asking).value == b"shop"
        side.query("USE plain")
        assert side.execute(bare, (1 << 62,)).value == bytes(8)


@pytest.mark.parametrize(
    ("text", "setting", "answers"),
    [
        ('SELECT "body" FROM t', "sql_mode = 'ANSI_QUOTES'", False),
        (r"SELECT 'a\'b', ?", "sql_mode = 'NO_BACKSLASH_ESCAPES'", False),
        ("SELECT 1 || ?", "sql_mode = 'PIPES_AS_CONCAT'", False),
        ("SELECT HEX('ä'), ?", "NAMES latin1", False),
        ("SELECT 'a' = 'A', ?", "NAMES utf8mb4 COLLATE utf8mb4_bin", False),
        ("SELECT body FROM t WHERE id = ?", "sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'", True),
        ("SELECT body FROM t WHERE id = ?", "NAMES latin1", True),
        ("SELECT 'a', ?", "time_zone = '+02:00'", True),
    ],
)
def test_a_prepared_statement_reads_as_it_did_when_it_was_prepared(
    fairlead: Fairlead, text: str, setting: str, answers: bool
) -> None:
    with raw(fairlead, database="plain") as side:
        side.query("CREATE TABLE t (id INT, body VARCHAR(9))")
        side.query("INSERT INTO t VALUES (1, 'x')")
        statement = side.prepare(text)
        before = side.execute(statement, [1] * text.count("?"))
        assert before.kind == "rows"
        side.query(f"SET {setting}")
        behind = side.execute(statement, [1] * text.count("?"))
        assert behind.rows == before.rows if answers else behind.message.startswith("FL3032")
        side.query("SET sql_mode = DEFAULT")
        side.query("SET NAMES utf8mb4")
        again = side.prepare(text)
        assert side.execute(again, [1] * text.count("?")).rows == before.rows


def test_tables_of_other_keyspaces_from_a_database_that_is_on_one_shard(world: World, fairlead: Fairlead) -> None:
    (near,), (far,) = ids_on(world, "eu-0"), ids_on(world, "eu-1")
    with client(fairlead, database="plain") as one:
        for key in (near, far, near):
            assert value(one, f"SELECT id FROM shop.customers WHERE id = {key}") == key
            assert value(one, "SELECT COUNT(*) FROM shop.customers") == 100
            ask(one, "CREATE TABLE IF NOT EXISTS t (a INT)")
            assert value(one, "SELECT COUNT(*) FROM t") == 0
            assert value(one, "SELECT CONCAT(DATABASE(), '!')") == "plain!"
        refused(one, f"SELECT DATABASE(), id FROM shop.customers WHERE id = {far}", "FL1209")
        ask(one, "USE shop")
        assert ask(one, f"SELECT DATABASE(), id FROM customers WHERE id = {far}") == [("shop", far)]


def test_without_a_database_it_is_not_some_others(world: World) -> None:
    (near,) = ids_on(world, "eu-0")
    few = world.kept({"users": {"demo": {"default_database": None}}})
    with client(few, database="shop") as other, client(few, database=None) as one:
        assert value(other, f"SELECT id FROM customers WHERE id = {near}") == near
        assert value(one, "SELECT DATABASE()") is None
        assert value(one, f"SELECT id FROM shop.customers WHERE id = {near}") == near
        refused(one, f"SELECT DATABASE(), id FROM shop.customers WHERE id = {near}", "FL1209")
        refused(one, "SELECT CONCAT(DATABASE(), '!')", "FL1209")
