"""Where reads go: primary, a replica that has the session's writes, a replica that is not too far behind.

Which server answered is told by a row of the reference table that each server has with another content
(statements with @@server_id are never sent to a replica).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.sqlserver import SqlServer
from loadtest.world.world import World
from tests.proxy.clients import ask, client, ids_on, metric, raw, refused, until, value
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS, pytest.mark.world(regions=1, shards=1, replicas=1)]

MARK = "##"
WHERE = "SELECT c.name FROM customers b JOIN countries c ON c.code = '##' WHERE b.id = {key}"
GRANTS = [{"on": "*.*", "verbs": ["all"]}]


def _user(**settings: object) -> dict[str, object]:
    return {"password": {"value": "x"}, "grants": GRANTS, "default_database": "shop", **settings}


CHANGES = {
    "users": {
        "own": _user(consistency="session"),
        "shared": _user(consistency="session", session_scope="user"),
        "lazy": _user(consistency="eventual", max_lag="2s"),
        "strict": _user(consistency="primary", hints=["shard"]),
    },
    "health": {"interval": "200ms"},
}


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.kept(CHANGES)


@pytest.fixture
def primary(world: World) -> Iterator[SqlServer]:
    servers = world.shards["eu-0"].servers
    world.wait_replicas()
    for server in servers:
        row = f"('{MARK}', '{server.server_id}', 'XXX')"
        server.run("SET sql_log_bin = 0", f"REPLACE INTO countries VALUES {row}", database="shop")
    yield world.shards["eu-0"].primary
    for server in servers:
        server.run("SET sql_log_bin = 0", f"DELETE FROM countries WHERE code = '{MARK}'", database="shop")


@pytest.fixture
def replica(world: World, primary: SqlServer) -> Iterator[SqlServer]:
    (server,) = world.shards["eu-0"].replicas
    yield server
    start_sql(server)
    world.wait_replicas()


@pytest.fixture
def key(world: World) -> int:
    return ids_on(world, "eu-0")[0]


def stop_sql(server: SqlServer) -> None:
    """What the source writes from now on is fetched, but not applied."""
    server.run("STOP SLAVE SQL_THREAD" if server.flavour == "mariadb" else "STOP REPLICA SQL_THREAD")


def start_sql(server: SqlServer) -> None:
    server.run("START SLAVE" if server.flavour == "mariadb" else "START REPLICA")


def where(connection: object, key: int) -> int:
    """The server_id that answers a read of this row."""
    return int(value(connection, WHERE.format(key=key)))


def write(connection: object, key: int, amount: int) -> None:
    ask(connection, f"UPDATE customers SET balance = {amount} WHERE id = {key}")


def read(connection: object, key: int) -> tuple[int, int]:
    """(server_id, balance)"""
    ((server, amount),) = ask(connection, WHERE.format(key=key).replace("c.name", "c.name, b.balance"))
    return int(server), int(amount)


def seen_from(connection: object, key: int, server: SqlServer, member: Fairlead) -> None:
    until(lambda: where(connection, key) == server.server_id, f"a read from {server.name}", member)


def test_by_default_reads_go_to_the_primary(
    fairlead: Fairlead, primary: SqlServer, replica: SqlServer, key: int
) -> None:
    with client(fairlead) as connection:
        for _ in range(5):
            assert where(connection, key) == primary.server_id


def test_a_session_reads_its_own_writes(fairlead: Fairlead, primary: SqlServer, replica: SqlServer, key: int) -> None:
    with client(fairlead, user="own", password="x") as connection:
        seen_from(connection, key, replica, fairlead)
        stop_sql(replica)
        write(connection, key, 111)
        for _ in range(5):
            assert read(connection, key) == (primary.server_id, 111)
        with client(fairlead, user="own", password="x") as other:
            # Another connection has no claim on that write.
            assert read(other, key)[0] == replica.server_id
        start_sql(replica)
        seen_from(connection, key, replica, fairlead)
        assert read(connection, key) == (replica.server_id, 111)


def test_writes_are_read_back_over_many_rounds(fairlead: Fairlead, replica: SqlServer, key: int) -> None:
    with client(fairlead, user="own", password="x") as connection:
        seen_from(connection, key, replica, fairlead)
        for amount in range(1000, 1100):
            write(connection, key, amount)
            assert read(connection, key)[1] == amount
        connection.begin()
        write(connection, key, 5)
        connection.commit()
        assert read(connection, key)[1] == 5


def test_prepared_reads_follow_the_same_rule(
    fairlead: Fairlead, primary: SqlServer, replica: SqlServer, key: int
) -> None:
    with raw(fairlead, user="own", password="x") as side:
        query = side.prepare(WHERE.format(key="?"))
        update = side.prepare("UPDATE customers SET balance = ? WHERE id = ?")
        theirs, mine = str(replica.server_id).encode(), str(primary.server_id).encode()
        until(lambda: side.execute(query, [key]).value == theirs, "a read from the replica", fairlead)
        stop_sql(replica)
        assert side.execute(update, ["7.00", key]).affected == 1
        assert side.execute(query, [key]).value == mine
        start_sql(replica)
        until(lambda: side.execute(query, [key]).value == theirs, "a read from the replica", fairlead)


def test_a_user_reads_its_writes_over_all_its_connections(
    fairlead: Fairlead, primary: SqlServer, replica: SqlServer, key: int
) -> None:
    with (
        client(fairlead, user="shared", password="x") as one,
        client(fairlead, user="shared", password="x") as two,
        client(fairlead, user="own", password="x") as stranger,
    ):
        seen_from(two, key, replica, fairlead)
        stop_sql(replica)
        write(one, key, 222)
        for _ in range(3):
            assert read(two, key) == (primary.server_id, 222)
            assert read(one, key) == (primary.server_id, 222)
            assert read(stranger, key)[0] == replica.server_id
        with client(fairlead, user="shared", password="x") as later:
            assert read(later, key) == (primary.server_id, 222)
        start_sql(replica)
        seen_from(two, key, replica, fairlead)
        assert read(two, key) == (replica.server_id, 222)


def test_eventual_reads_stay_within_their_lag(
    fairlead: Fairlead, primary: SqlServer, replica: SqlServer, key: int
) -> None:
    with client(fairlead, user="lazy", password="x") as connection, client(fairlead) as writer:
        seen_from(connection, key, replica, fairlead)
        stop_sql(replica)
        write(writer, key, 333)
        # Within two seconds the replica is too far behind, and the primary serves.
        seen_from(connection, key, primary, fairlead)
        assert read(connection, key) == (primary.server_id, 333)
        start_sql(replica)
        seen_from(connection, key, replica, fairlead)
        assert read(connection, key) == (replica.server_id, 333)


def test_a_dead_replica_is_not_missed(
    fairlead: Fairlead, world: World, primary: SqlServer, replica: SqlServer, key: int
) -> None:
    with client(fairlead, user="lazy", password="x") as connection:
        seen_from(connection, key, replica, fairlead)
        replica.kill()
        seen = []

        def from_primary() -> bool:
            try:
                seen.append(where(connection, key))
            except Exception as error:
                # At most the statement that was under way may notice.
                seen.append(str(error))
            return seen[-1] == primary.server_id

        until(from_primary, "a read from the primary", fairlead)
        assert len([one for one in seen if isinstance(one, str)]) <= 1, seen
        replica.start()
        seen_from(connection, key, replica, fairlead)


def test_transactions_writes_and_locks_stay_on_the_primary(
    fairlead: Fairlead, primary: SqlServer, replica: SqlServer, key: int
) -> None:
    with client(fairlead, user="lazy", password="x") as connection:
        seen_from(connection, key, replica, fairlead)
        connection.begin()
        assert where(connection, key) == primary.server_id
        connection.commit()
        assert where(connection, key) == replica.server_id
        ask(connection, "START TRANSACTION READ ONLY")
        assert where(connection, key) == primary.server_id
        connection.commit()
        for tail in (" FOR UPDATE", " LOCK IN SHARE MODE"):
            assert value(connection, WHERE.format(key=key) + tail) == str(primary.server_id)
        connection.autocommit(False)
        assert where(connection, key) == primary.server_id
        connection.rollback()
        connection.autocommit(True)
        assert where(connection, key) == replica.server_id


def test_hints_choose_for_one_statement(fairlead: Fairlead, primary: SqlServer, replica: SqlServer, key: int) -> None:
    query = WHERE.format(key=key)
    theirs, mine = str(replica.server_id), str(primary.server_id)
    with client(fairlead) as connection:
        lazy = f"/* fairlead: consistency=eventual, max_lag=10s */ {query}"
        until(lambda: value(connection, lazy) == theirs, "a read from the replica", fairlead)
        assert value(connection, query) == mine
        # What this session wrote was not followed: only the primary is sure to have it.
        assert value(connection, f"/* fairlead: consistency=session */ {query}") == mine
    with client(fairlead, user="lazy", password="x") as connection:
        seen_from(connection, key, replica, fairlead)
        assert value(connection, f"/* fairlead: consistency=primary */ {query}") == mine
        assert value(connection, query) == theirs
    with client(fairlead, user="strict", password="x") as connection:
        refused(connection, lazy, "FL1014")


def test_unsharded_keyspaces_read_from_replicas_too(
    fairlead: Fairlead, world: World, primary: SqlServer, replica: SqlServer
) -> None:
    with client(fairlead, user="own", password="x", database="plain") as connection:
        ask(connection, "CREATE TABLE t (id INT PRIMARY KEY, n INT)")
        ask(connection, "INSERT INTO t VALUES (1, 1)")
        world.wait_replicas()
        for server in (primary, replica):
            change = f"UPDATE t SET n = {server.server_id}"
            server.run("SET sql_log_bin = 0", change, database="plain")
        query = "SELECT n FROM t WHERE id = 1"
        until(lambda: value(connection, query) == replica.server_id, "a read from the replica", fairlead)
        stop_sql(replica)
        ask(connection, "ALTER TABLE t ADD COLUMN more INT DEFAULT 5")
        assert ask(connection, "SELECT n, more FROM t") == [(primary.server_id, 5)]
        start_sql(replica)
        until(lambda: value(connection, query) == replica.server_id, "a read from the replica", fairlead)


def test_replica_reads_are_counted(fairlead: Fairlead, replica: SqlServer, key: int) -> None:
    with client(fairlead, user="lazy", password="x") as connection:
        seen_from(connection, key, replica, fairlead)
        before = metric(fairlead, "fairlead_shard_replica_reads_total", shard="eu-0")
        for _ in range(7):
            assert where(connection, key) == replica.server_id
        assert metric(fairlead, "fairlead_shard_replica_reads_total", shard="eu-0") == before + 7
