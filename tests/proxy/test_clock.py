"""Writes to several shards that ask for the time, or for random values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from loadtest.world.world import World
from tests.proxy.clients import Connection, ask, client, fails, refused, value
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

KEYSPACE = "timed"
DUPLICATE = 1062
SCHEMA = [
    """CREATE TABLE events (
        id INT NOT NULL PRIMARY KEY, n INT NOT NULL DEFAULT 0, word VARCHAR(40) NULL, at DATETIME(6) NULL,
        made TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6))""",
    "CREATE TABLE stamps (id INT NOT NULL PRIMARY KEY, made TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))",
]
ROWS = ", ".join(f"({key})" for key in range(1, 21))


@pytest.fixture(params=["atomic", "best_effort"])
def connection(world: World, request: pytest.FixtureRequest) -> Iterator[Connection]:
    world.add_keyspace(KEYSPACE, SCHEMA)
    changes: dict[str, Any] = {
        "keyspaces": {
            KEYSPACE: {
                "shards": list(world.shards),
                "multi_shard_writes": request.param,
                "vindexes": {"by_id": {"function": "hash"}},
                "tables": {
                    "events": {"kind": "sharded", "vindex": "by_id", "columns": ["id"]},
                    "stamps": {"kind": "reference"},
                },
            }
        },
        "users": {"demo": {"grants": [{"on": "*.*", "verbs": ["all"]}]}},
        "health": {"schema": "1s"},
    }
    with client(world.fleet(changes).start()["eu"], database=KEYSPACE) as connected:
        yield connected


def times(world: World, column: str, table: str = "events") -> set[Any]:
    """All different values, from servers themselves; every shard has rows."""
    found = [shard.primary.query(f"SELECT {column} FROM {table}", KEYSPACE) for shard in world.shards.values()]
    assert all(found)
    return {one for rows in found for (one,) in rows}


def test_one_time_for_all_rows(world: World, connection: Connection) -> None:
    ask(connection, f"INSERT INTO events (id) VALUES {ROWS}")
    assert len(times(world, "made")) == len(times(world, "changed")) == 1
    assert times(world, "made") == times(world, "changed")
    before = times(world, "changed")
    ask(connection, "UPDATE events SET at = NOW(6), n = n + 1")
    assert len(times(world, "at")) == 1
    assert times(world, "at") == times(world, "changed") != before
    # A row that is as it was keeps its time.
    ask(connection, "UPDATE events SET n = 1")
    assert times(world, "at") == times(world, "changed")
    assert not ask(connection, "SELECT id FROM events WHERE changed > NOW(6) - INTERVAL 0 SECOND AND id = 1")
    ask(connection, "DELETE FROM events WHERE made <= NOW(6)")
    assert value(connection, "SELECT COUNT(*) FROM events") == 0


def test_of_upserts_and_prepared(world: World, connection: Connection) -> None:
    ask(connection, f"INSERT INTO events (id) VALUES {ROWS}")
    upsert = ", ".join(f"({key}, 5, NOW(6))" for key in range(11, 31))
    insert = f"INSERT INTO events (id, n, at) VALUES {upsert}"
    ask(connection, f"{insert} ON DUPLICATE KEY UPDATE n = VALUES(n), at = NOW(6)")
    assert len(ask(connection, "SELECT DISTINCT at FROM events WHERE id > 10")) == 1
    changed = ask(connection, "SELECT DISTINCT at, changed FROM events WHERE id > 10")
    assert len(changed) == 1 and changed[0][0] == changed[0][1]


def test_copies_of_a_row_are_alike(world: World, connection: Connection) -> None:
    ask(connection, "INSERT INTO stamps (id) VALUES (1)")
    assert len(times(world, "made", "stamps")) == 1
    ask(connection, "UPDATE stamps SET made = NOW(6) - INTERVAL 1 DAY")
    assert len(times(world, "made", "stamps")) == 1
    refused(connection, "INSERT INTO stamps (id) VALUES (RAND() * 1000)", "FL1208")


def test_connections_have_their_own_time_again(world: World, connection: Connection) -> None:
    ask(connection, f"INSERT INTO events (id) VALUES {ROWS}")
    fails(connection, f"INSERT INTO events (id) VALUES {ROWS}", DUPLICATE)
    ask(connection, "UPDATE events SET at = NOW(6)")
    with pytest.raises(pymysql.err.Error):
        ask(connection, "UPDATE events SET n = 'no number' + NOW() * 1e300 * 1e300")
    for key in range(1, 21):
        now = "ABS(TIMESTAMPDIFF(SECOND, NOW(), SYSDATE())) < 2 AND NOW(6) > at"
        assert value(connection, f"SELECT {now} FROM events WHERE id = {key}")


def test_random_values_are_every_rows_own(world: World, connection: Connection) -> None:
    ask(connection, f"INSERT INTO events (id) VALUES {ROWS}")
    ask(connection, "UPDATE events SET word = UUID(), n = 1000000 * RAND()")
    assert len(times(world, "word")) == 20
    values = ", ".join(f"({key}, UUID())" for key in range(100, 120))
    ask(connection, f"INSERT INTO events (id, word) VALUES {values}")
    assert len(times(world, "word")) == 40
    for text in ("UUID_SHORT()", "RAND(5)", "SYSDATE()"):
        refused(connection, f"UPDATE events SET word = {text}", "FL1208")
