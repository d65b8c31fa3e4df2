"""Ids that Fairlead gives: never the same twice, whichever worker, region or crash; and who keeps them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import Connection, ask, client, metric, refused, value
from tests.servers import BOTH_SERVERS

KEYSPACE = "counted"
SCHEMA = [
    """CREATE TABLE bills (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, owner BIGINT NOT NULL, note VARCHAR(40),
        KEY (owner))""",
    "CREATE TABLE tickets (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, title VARCHAR(40))",
    "CREATE TABLE visits (owner BIGINT NOT NULL, id INT NOT NULL AUTO_INCREMENT, PRIMARY KEY (owner, id), KEY (id))",
]
SHIFT = 40
HOMES = {"eu": 1, "us": 2}


def keyspace(shards: list[str], regions: list[str], **bills: Any) -> dict[str, Any]:
    on = {region: f"{region}-0" for region in regions}
    block = {"kind": "block", "column": "id", "on": "eu-1", "size": 10, **bills}
    tickets = {"kind": "region", "column": "id", "vindex": "by_home", "on": on, "size": 5}
    homes = {region: HOMES[region] for region in regions}
    return {
        "shards": shards,
        "multi_shard_writes": "best_effort",
        "vindexes": {
            "by_home": {"function": "region_bits", "shift": SHIFT, "bits": 8, "regions": homes},
            "by_owner": {"function": "hash"},
        },
        "tables": {
            "bills": {"kind": "sharded", "vindex": "by_owner", "columns": ["owner"], "auto_increment": block},
            "tickets": {"kind": "sharded", "vindex": "by_home", "columns": ["id"], "auto_increment": tickets},
            "visits": {"kind": "sharded", "vindex": "by_owner", "columns": ["owner"]},
        },
    }


def changes(world: World, **bills: Any) -> dict[str, Any]:
    given = keyspace(list(world.shards), list(world.regions), **bills)
    return {
        "keyspaces": {KEYSPACE: given},
        "users": {"demo": {"grants": [{"on": "*.*", "verbs": ["all"]}]}},
        "health": {"schema": "1s"},
    }


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    world.add_keyspace(KEYSPACE, SCHEMA)
    return world.fleet(changes(world)).start()["eu"]


@pytest.fixture
def connection(fairlead: Fairlead) -> Iterator[Connection]:
    with client(fairlead, database=KEYSPACE) as connected:
        yield connected


def ids(world: World, table: str) -> list[int]:
    """Of all shards' rows."""
    return sorted(
        key for shard in world.shards.values() for (key,) in shard.primary.query(f"SELECT id FROM {table}", KEYSPACE)
    )


@BOTH_SERVERS
def test_the_shard_key_itself_is_made_before_the_route(world: World, connection: Connection) -> None:
    for _ in range(4):
        ask(connection, "INSERT INTO tickets (title) VALUES ('x')")
        made = value(connection, "SELECT LAST_INSERT_ID()")
        assert ask(connection, f"SELECT id FROM tickets WHERE id = {made}") == [(made,)]
    ask(connection, "INSERT INTO tickets VALUES (NULL, 'a'), (NULL, 'b'), (0, 'c')")
    first = value(connection, "SELECT LAST_INSERT_ID()")
    assert ask(connection, "SELECT id, title FROM tickets ORDER BY id DESC LIMIT 3") == [
        (first + 2, "c"), (first + 1, "b"), (first, "a")
    ]  # fmt: skip
    found = ids(world, "tickets")
    assert found == [(HOMES["eu"] << SHIFT) + number for number in range(1, 8)]
    spread = [len(shard.primary.query("SELECT id FROM tickets", KEYSPACE)) for shard in world.shards.values()]
    assert all(spread)


def test_it_begins_behind_what_is_there(world: World, connection: Connection) -> None:
    next(iter(world.shards.values())).primary.run("INSERT INTO bills VALUES (4711, 1, 'old')", database=KEYSPACE)
    ask(connection, "INSERT INTO bills (owner) VALUES (7)")
    assert value(connection, "SELECT LAST_INSERT_ID()") == 4712


def test_many_workers_and_crashes_never_give_one_twice(world: World) -> None:
    world.add_keyspace(KEYSPACE, SCHEMA)
    fleet = world.fleet(changes(world))
    member = fleet.launch("eu", workers=2)
    member.wait_ready()
    _insert_from_many(member)
    member.kill()
    member = fleet.launch("eu", workers=2)
    member.wait_ready()
    _insert_from_many(member)
    found = ids(world, "bills")
    assert len(found) == len(set(found)) == 2 * 6 * 20 * 3
    assert metric(member, "fairlead_ids_given_total") == 6 * 20 * 3
    assert 0 < metric(member, "fairlead_id_blocks_total") <= 2 + 6 * 20 * 3 // 8


def _insert_from_many(member: Fairlead) -> None:
    wrong: list[str] = []

    def insert(owner: int) -> None:
        with client(member, database=KEYSPACE) as connection:
            for _ in range(20):
                ask(connection, f"INSERT INTO bills (owner) VALUES ({owner}), ({owner + 1}), ({owner})")
                first = value(connection, "SELECT LAST_INSERT_ID()")
                mine = ask(connection, f"SELECT COUNT(*) FROM bills WHERE id BETWEEN {first} AND {first + 2}")
                wrong.extend([f"{first}: {mine}"] if mine != [(3,)] else [])

    threads = [threading.Thread(target=insert, args=(owner,)) for owner in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.world(regions=2, shards=1)
def test_each_region_counts_for_itself(world: World) -> None:
    world.add_keyspace(KEYSPACE, SCHEMA)
    given = changes(world)
    given["keyspaces"][KEYSPACE]["tables"]["bills"]["auto_increment"]["on"] = "eu-0"
    fleet = world.fleet(given).start()
    with client(fleet["eu"], database=KEYSPACE) as eu, client(fleet["us"], database=KEYSPACE) as us:
        for connection, home in ((eu, 1), (us, 2), (eu, 1), (us, 2)):
            ask(connection, "INSERT INTO tickets (title) VALUES ('x')")
            assert value(connection, "SELECT LAST_INSERT_ID()") >> SHIFT == home
        # The rows are where their owner says, also by way of the other region's Fairlead.
        for owner in range(8):
            ask(eu, f"INSERT INTO bills (owner, note) VALUES ({owner}, 'x') ON DUPLICATE KEY UPDATE note = 'y'")
        assert len(ids(world, "bills")) == 8
        assert all(len(shard.primary.query("SELECT id FROM bills", KEYSPACE)) for shard in world.shards.values())
        refused(us, "INSERT INTO bills (owner) VALUES (1)", "FL1334")


def test_values_of_the_application(world: World) -> None:
    world.add_keyspace(KEYSPACE, SCHEMA)
    member = world.fleet(changes(world, explicit="allow")).start()["eu"]
    with client(member, database=KEYSPACE) as connection:
        ask(connection, "INSERT INTO bills (id, owner) VALUES (5000, 1), (NULL, 1), (5001, 1)")
        first = value(connection, "SELECT LAST_INSERT_ID()")
        assert ids(world, "bills") == [first, 5000, 5001]
        # With values of its own a row may be on another shard already.
        refused(connection, "INSERT IGNORE INTO bills (id, owner) VALUES (5000, 2)", "FL1311")
        ask(connection, "INSERT IGNORE INTO bills (id, owner) VALUES (NULL, 2)")


def test_an_exhausted_sequence(world: World, connection: Connection) -> None:
    ask(connection, "INSERT INTO tickets (title) VALUES ('x')")
    world.shards["eu-0"].primary.run(f"UPDATE fairlead_sequences SET next_id = {2**SHIFT - 5}", database=KEYSPACE)
    for _ in range(4 + 5):
        ask(connection, "INSERT INTO tickets (title) VALUES ('x')")
    refused(connection, "INSERT INTO tickets (title) VALUES ('x')", "FL4032")


def test_what_explain_route_tells(connection: Connection) -> None:
    rows = ask(connection, "EXPLAIN ROUTE INSERT INTO tickets (title) VALUES ('x')")
    assert ("because", "the ids of tickets.id come from a sequence on eu-0") in rows
    assert [step for step, _ in rows].count("shard") == 1
    assert ask(connection, "SELECT COUNT(*) FROM tickets") == [(0,)]
    refused(connection, "INSERT INTO visits (owner, id) SELECT owner, NULL FROM bills", "FL1310")
