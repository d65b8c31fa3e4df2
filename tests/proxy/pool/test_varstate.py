"""Session states: pure, and against servers that are led from one to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymysql.connections import Connection
from pymysql.constants import COMMAND

from config.words import Flavour
from proxy.pool.varstate import (
    DEFAULT,
    FRESH,
    Base,
    SessionState,
    StatesExhausted,
    StateTable,
    StateUnreachable,
    Value,
    VariableRefused,
    base_query,
    is_tracked,
)
from router.variables import VARIABLES, Handling
from tests.servers import BOTH_SERVERS

if TYPE_CHECKING:
    from loadtest.world.sqlserver import SqlServer
    from loadtest.world.world import World

Change: TypeAlias = tuple[str, Value]

MARIADB = Base.of(
    Flavour.MARIADB,
    [
        ("character_set_client", "utf8mb4"),
        ("character_set_results", "utf8mb4"),
        ("collation_connection", "utf8mb4_general_ci"),
        ("sql_mode", "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"),
        ("tx_isolation", "REPEATABLE-READ"),
        ("tx_read_only", "OFF"),
        ("time_zone", "SYSTEM"),
        ("long_query_time", "10.000000"),
        ("optimizer_switch", "mrr=off,index_merge=on"),
    ],
)
MYSQL = Base.of(
    Flavour.MYSQL, [("transaction_isolation", "REPEATABLE-READ"), ("transaction_read_only", "ON")]
)


def packets(start: SessionState, end: SessionState, base: Base = MARIADB, **options: Any) -> list[bytes]:
    table = StateTable()
    return table.packets(table.intern(start), table.intern(end), base, **options)


def changed(*changes: Change, database: str | None = None) -> SessionState:
    state = SessionState().use(database)
    for name, value in changes:
        state = state.set(name, value)
    return state


# --- pure ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "query"),
    [
        ([("sql_mode", "ansi_quotes")], "SET @@SESSION.sql_mode='ANSI_QUOTES'"),
        ([("transaction_isolation", "serializable")], "SET @@SESSION.tx_isolation='SERIALIZABLE'"),
        ([("transaction_read_only", "ON")], "SET @@SESSION.tx_read_only=1"),
        ([("long_query_time", Decimal("0.5"))], "SET @@SESSION.long_query_time=0.500000"),
        ([("character_set_results", None)], "SET @@SESSION.character_set_results=NULL"),
        (
            [("names", "LATIN1")],
            "SET @@SESSION.character_set_client='latin1',@@SESSION.character_set_results='latin1',"
            "@@SESSION.character_set_connection='latin1'",
        ),
        (
            [
                ("collation_connection", "utf8mb4_bin"),
                ("names", "latin1"),
                ("collation_connection", "latin1_bin"),
            ],
            "SET @@SESSION.character_set_client='latin1',@@SESSION.character_set_results='latin1',"
            "@@SESSION.collation_connection='latin1_bin'",
        ),
        (
            [("optimizer_switch", "mrr=on"), ("optimizer_switch", "index_merge=off")],
            "SET @@SESSION.optimizer_switch='mrr=on,index_merge=off'",
        ),
        ([("time_zone", "+01:00"), ("time_zone", DEFAULT)], None),
        (
            [("names", DEFAULT)],
            "SET @@SESSION.character_set_client=DEFAULT,@@SESSION.character_set_results=DEFAULT,"
            "@@SESSION.collation_connection=DEFAULT",
        ),
    ],
)
def test_what_is_sent_for_a_change(changes: list[Change], query: str | None) -> None:
    expected = [] if query is None else [b"\x03" + query.encode()]
    assert packets(SessionState(), changed(*changes)) == expected


def test_what_only_the_old_state_set_is_put_back_to_the_base() -> None:
    start = changed(
        ("sql_mode", ""), ("transaction_isolation", "SERIALIZABLE"), ("optimizer_switch", "mrr=on")
    )
    end = changed(("transaction_isolation", "SERIALIZABLE"))
    assert packets(start, end) == [
        b"\x03SET @@SESSION.sql_mode='STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION',"
        b"@@SESSION.optimizer_switch='mrr=off,index_merge=on'"
    ]


def test_mysql_uses_the_new_names() -> None:
    assert packets(SessionState(), changed(("transaction_read_only", 0)), MYSQL) == [
        b"\x03SET @@SESSION.transaction_read_only=0"
    ]


def test_a_database_is_selected_by_its_own_command() -> None:
    assert packets(SessionState(), changed(database="shop")) == [b"\x02shop"]
    assert packets(changed(database="shop"), changed(("sql_mode", ""), database="other")) == [
        b"\x03SET @@SESSION.sql_mode=''",
        b"\x02other",
    ]


def test_a_database_cannot_be_unselected() -> None:
    shop = changed(database="shop")
    with pytest.raises(StateUnreachable):
        packets(shop, SessionState())
    assert packets(shop, SessionState(), database_matters=False) == []


def test_a_name_beyond_ascii_is_sent_while_the_connection_speaks_utf8() -> None:
    utf8, latin1 = (
        changed(("names", "utf8mb4"), database="städte"),
        changed(("names", "latin1"), database="städte"),
    )
    init_db = b"\x02" + "städte".encode()
    assert packets(changed(("names", "latin1")), utf8)[-1] == init_db
    assert packets(changed(("names", "utf8mb4")), latin1)[0] == init_db
    assert packets(SessionState(), latin1)[0] == init_db, "the base speaks utf8mb4"
    with pytest.raises(StateUnreachable):
        packets(changed(("names", "latin1")), latin1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sql_mode", "ANSI' OR '1"),
        ("sql_mode", "ANSI\\"),
        ("sql_mode", 4),
        ("time_zone", "'"),
        ("time_zone", "Europe/Vienna; DROP"),
        ("names", None),
        ("names", "utf8mb4 collate x"),
        ("names", "größe"),
        ("character_set_results", 5),
        ("group_concat_max_len", "5"),
        ("group_concat_max_len", True),
        ("group_concat_max_len", 2**64),
        ("long_query_time", "1"),
        ("long_query_time", float("nan")),
        ("long_query_time", float("inf")),
        ("autocommit", "maybe"),
        ("autocommit", 2),
        ("autocommit", None),
        ("transaction_isolation", "SNAPSHOT"),
        ("optimizer_switch", "mrr=default"),
        ("optimizer_switch", "default"),
        ("optimizer_switch", 5),
        ("optimizer_switch", ",".join(f"f{n}=on" for n in range(500))),
        ("sql_mode", "A" * 2000),
        ("default_storage_engine", "Inno DB"),
        ("timestamp", 5),
        ("sql_log_bin", 0),
        ("character_set", "utf8mb4"),
    ],
)
def test_what_cannot_be_carried_is_refused(name: str, value: Value) -> None:
    with pytest.raises(VariableRefused) as refused:
        SessionState().set(name, value)
    assert refused.value.name == name


@pytest.mark.parametrize("database", ["", "a\0b", "ü" * 200])
def test_what_is_no_database_name_is_refused(database: str) -> None:
    with pytest.raises(VariableRefused):
        SessionState().use(database)


def test_set_character_set_takes_the_collation_of_the_database() -> None:
    state = SessionState().set("character_set", "latin1", database_collation="utf8mb4_unicode_ci")
    assert state.literal("character_set_client") == state.literal("character_set_results") == "'latin1'"
    assert state.literal("collation_connection") == "'utf8mb4_unicode_ci'"


def test_a_variable_that_the_server_lacks_makes_the_state_unreachable() -> None:
    with pytest.raises(StateUnreachable):
        packets(SessionState(), changed(("max_execution_time", 100)))
    with pytest.raises(StateUnreachable):
        packets(SessionState(), changed(("optimizer_switch", "hypergraph_optimizer=on")))


def test_every_tracked_variable_of_the_router_can_be_carried() -> None:
    tracked = {name for name, one in VARIABLES.items() if one.handling is Handling.TRACKED}
    unknown = {name for name in tracked if not is_tracked(name)}
    assert unknown <= {"strict_password_validation"}, "GLOBAL only"


# --- the table ----------------------------------------------------------------------------------------------


def test_equal_states_have_one_number_whatever_the_way_to_them() -> None:
    table = StateTable()
    one = changed(("time_zone", "UTC"), ("sql_mode", ""), ("time_zone", "+00:00"), database="shop")
    other = changed(("sql_mode", ""), ("time_zone", "+00:00"), ("autocommit", 0), ("autocommit", DEFAULT))
    assert table.intern(one) == table.intern(other.use("shop")) != FRESH
    assert table.intern(SessionState()) == FRESH
    assert table.state(table.intern(one)) == one


def test_a_full_table_refuses_until_it_is_swept() -> None:
    table = StateTable(capacity=3)
    numbers = [table.intern(changed(("group_concat_max_len", size))) for size in (10, 20)]
    with pytest.raises(StatesExhausted):
        table.intern(changed(("group_concat_max_len", 30)))
    assert table.sweep([numbers[1]]) == 1
    assert table.intern(changed(("group_concat_max_len", 30))) == numbers[0]
    assert table.state(FRESH) == SessionState()
    assert len(table) == 3


def test_packets_of_a_reused_number_are_those_of_its_new_state() -> None:
    table = StateTable(capacity=2)
    base = Base.of(Flavour.MARIADB, [("group_concat_max_len", "1048576")])
    old = table.intern(changed(("group_concat_max_len", 10)))
    assert table.packets(FRESH, old, base) == [b"\x03SET @@SESSION.group_concat_max_len=10"]
    table.sweep([])
    new = table.intern(changed(("group_concat_max_len", 20)))
    assert new == old
    assert table.packets(FRESH, new, base) == [b"\x03SET @@SESSION.group_concat_max_len=20"]


def test_remembered_packets_are_bounded() -> None:
    table = StateTable(remembered=8)
    base = Base.of(Flavour.MARIADB, [("group_concat_max_len", "1048576")])
    for size in range(4, 100):
        table.packets(FRESH, table.intern(changed(("group_concat_max_len", size))), base)
    assert len(table._packets) == 8


# --- against servers ----------------------------------------------------------------------------------------

ANY_SERVER: dict[str, Sequence[Value]] = {
    "names": ["utf8mb4", "latin1", "ascii", DEFAULT],
    "collation_connection": ["utf8mb4_bin", "latin1_swedish_ci", "utf8mb4_unicode_ci"],
    "character_set_connection": ["utf8mb4", "latin1"],
    "character_set_client": ["utf8mb4", "latin1"],
    "character_set_results": ["utf8mb4", "latin1", None],
    "collation_server": ["utf8mb4_bin"],
    "character_set_server": ["latin1"],
    "sql_mode": ["", "ANSI_QUOTES", "no_backslash_escapes,STRICT_ALL_TABLES", "TRADITIONAL", DEFAULT],
    "time_zone": ["+00:00", "-05:30", "SYSTEM", DEFAULT],
    "autocommit": [0, 1, "ON", "OFF"],
    "transaction_isolation": ["READ-COMMITTED", "serializable", DEFAULT],
    "transaction_read_only": [0, 1],
    "sql_safe_updates": [0, 1],
    "foreign_key_checks": [0, 1, DEFAULT],
    "unique_checks": ["OFF"],
    "updatable_views_with_limit": [0, 1],
    "explicit_defaults_for_timestamp": [1],
    "group_concat_max_len": [100, 2**40, DEFAULT],
    "div_precision_increment": [0, 30],
    "lock_wait_timeout": [5],
    "net_write_timeout": [100],
    "long_query_time": [Decimal("0.25"), 3],
    "lc_time_names": ["de_DE", "en_US"],
    "max_join_size": [2**64 - 1, 1000],
    "sql_select_limit": [7],
    "default_storage_engine": ["MyISAM", "InnoDB"],
    "default_tmp_storage_engine": ["MyISAM"],
    "optimizer_switch": ["mrr=on", "mrr=off,index_merge=off"],
    "sort_buffer_size": [1048576],
}
ONLY_MARIADB: dict[str, Sequence[Value]] = {
    "max_statement_time": [Decimal("1.5"), 0],
    "innodb_strict_mode": [0],
    "old_mode": ["", "UTF8_IS_UTF8MB3,ZERO_DATE_TIME_CAST"],
    "note_verbosity": ["basic"],
    "use_stat_tables": ["NEVER"],
    "alter_algorithm": ["INSTANT", "DEFAULT"],
    "sql_if_exists": [1],
    "character_set_filesystem": ["utf8mb4"],
}
ONLY_MYSQL: dict[str, Sequence[Value]] = {
    "max_execution_time": [1000, 0],
    "information_schema_stats_expiry": [0],
    "windowing_use_high_precision": [0],
    "block_encryption_mode": ["aes-256-cbc"],
    "cte_max_recursion_depth": [7],
}


def histories(flavour: str) -> st.SearchStrategy[list[Change]]:
    choices = {**ANY_SERVER, **(ONLY_MARIADB if flavour == "mariadb" else ONLY_MYSQL)}
    change = st.sampled_from([(name, value) for name, values in choices.items() for value in values])
    return st.lists(change, max_size=8)


@contextmanager
def fresh(server: SqlServer) -> Iterator[Connection[Any]]:
    connection = server.connect_tcp()
    try:
        yield connection
    finally:
        connection.close()


def send(connection: Any, payloads: list[bytes]) -> None:
    """As raw packets, by PyMySQL's internals."""
    for payload in payloads:
        if payload[0] == COMMAND.COM_INIT_DB:
            connection._execute_command(COMMAND.COM_INIT_DB, payload[1:])
            connection._read_ok_packet()
        else:
            connection._execute_command(COMMAND.COM_QUERY, payload[1:])
            connection._read_query_result()


def as_a_client_would(flavour: str, name: str, value: Value) -> str:
    """The SET that an application writes, not the one that is spliced."""
    if isinstance(value, str):
        word = f"'{value}'"
    else:
        word = "DEFAULT" if value is DEFAULT else "NULL" if value is None else str(value)
    if name == "names":
        return f"SET NAMES {word}"
    if flavour == "mariadb":
        name = {"transaction_isolation": "tx_isolation", "transaction_read_only": "tx_read_only"}.get(
            name, name
        )
    return f"SET SESSION {name} = {word}"


def observed(connection: Connection[Any], flavour: str) -> dict[str, str]:
    """Every variable of the session, tracked or not, and the database."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION VARIABLES")
        found = {name: value for name, value in cursor.fetchall() if name not in _MOVING}
        cursor.execute("SELECT DATABASE()")
        found["DATABASE()"] = str(cursor.fetchone()[0])
    return found


_MOVING = {"timestamp", "pseudo_thread_id", "rand_seed1", "rand_seed2", "last_gtid", "statement_id"}


def base_of(server: SqlServer, flavour: str) -> Base:
    with fresh(server) as connection, connection.cursor() as cursor:
        cursor.execute(base_query(Flavour(flavour)))
        return Base.of(Flavour(flavour), cursor.fetchall())


@BOTH_SERVERS
@pytest.mark.world(shards=1, replicas=0)
def test_a_backend_led_from_state_to_state_is_as_if_set_directly(world: World, flavour: str) -> None:
    server = next(iter(world.shards.values())).primary
    base = base_of(server, flavour)
    databases = st.sampled_from(["shop", "plain"])

    @settings(
        max_examples=40 if flavour == "mariadb" else 20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(st.tuples(histories(flavour), databases), min_size=2, max_size=3),
    )
    def body(stations: list[tuple[list[Change], str]]) -> None:
        table = StateTable()
        with fresh(server) as led:
            at = FRESH
            for changes, database in stations:
                to = table.intern(changed(*changes, database=database))
                send(led, table.packets(at, to, base))
                at = to
                with fresh(server) as direct:
                    direct.select_db(database)
                    with direct.cursor() as cursor:
                        for name, value in changes:
                            cursor.execute(as_a_client_would(flavour, name, value))
                    expected = observed(direct, flavour)
                assert observed(led, flavour) == expected

    body()


@BOTH_SERVERS
@pytest.mark.world(shards=1, replicas=0)
def test_every_base_value_can_be_put_back(world: World, flavour: str) -> None:
    """Each variable, set to what it has and back: what Base keeps must be accepted, and change nothing."""
    server = next(iter(world.shards.values())).primary
    base = base_of(server, flavour)
    restricted = set() if flavour == "mariadb" else RESTRICTED_ON_MYSQL
    with fresh(server) as connection:
        before = observed(connection, flavour)
        for name in base.literals.keys() - restricted:
            start = SessionState(None, ((name, name, "DEFAULT" if name != "optimizer_switch" else "mrr=on"),))
            send(connection, StateTableOf(start).packets(base))
        assert observed(connection, flavour) == before


RESTRICTED_ON_MYSQL = {
    "character_set_filesystem", "low_priority_updates", "max_error_count", "innodb_strict_mode",
    "bulk_insert_buffer_size", "preload_buffer_size", "sql_generate_invisible_primary_key",
}  # fmt: skip
"""Variables that MySQL lets only privileged accounts set for a session; the service account is none."""


class StateTableOf:
    """The way back from one state to a fresh connection's."""

    def __init__(self, state: SessionState) -> None:
        self._table = StateTable()
        self._number = self._table.intern(state)

    def packets(self, base: Base) -> list[bytes]:
        return self._table.packets(self._number, FRESH, base)
