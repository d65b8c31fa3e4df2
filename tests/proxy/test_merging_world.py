"""Reads that the engine merges, on real servers: errors of single shards, early ends, clients that go away."""

from __future__ import annotations

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import ask, client, fails, ids_on, raw, until, value
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS]

BROKEN = "SELECT id, IF(id = {}, (SELECT 1 UNION ALL SELECT 2), 1) FROM customers ORDER BY id"
"""It fails on the shard that has this id, with "Subquery returns more than 1 row"."""


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


def test_one_shards_error_is_the_statements(world: World, fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        for shard in ("eu-0", "eu-1"):
            (key,) = ids_on(world, shard)
            fails(connection, BROKEN.format(key), 1242)
            fails(connection, f"SELECT SUM(IF(id = {key}, (SELECT 1 UNION ALL SELECT 2), 1)) FROM customers", 1242)
            assert value(connection, "SELECT COUNT(*) FROM customers") > 0


def test_a_limit_ends_early_and_the_connections_serve_on(world: World, fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        everything = ask(connection, "SELECT id FROM customers ORDER BY id")
        for count in (1, 2, 5):
            assert ask(connection, f"SELECT id FROM customers ORDER BY id LIMIT {count}") == everything[:count]
            assert ask(connection, f"SELECT DISTINCT id FROM customers ORDER BY id DESC LIMIT {count}") == everything[
                : -count - 1 : -1
            ]
        assert value(connection, "SELECT COUNT(*) FROM customers") == len(everything)


def test_a_keyspace_can_warn_of_reads_of_several_shards(world: World) -> None:
    warning = world.kept({"keyspaces": {"shop": {"scatter": "warn"}}})
    with client(warning) as connection:
        for statement in ("SELECT id FROM customers", "SELECT COUNT(*) FROM customers"):
            ask(connection, statement)
            assert connection.show_warnings() == (
                ("Warning", 1235, "FL1230: this read went to 2 shards. Fix the shard key with = or IN, or say "
                 "/* fairlead: scatter=ok */ if it is meant."),
            )  # fmt: skip
            assert value(connection, "SHOW COUNT(*) WARNINGS") == 1 and ask(connection, "SHOW ERRORS") == []
        for statement in (
            "SELECT /* fairlead: scatter=ok */ id FROM customers",
            "SELECT id FROM customers WHERE id = 5",
            "SELECT id FROM customers WHERE id IN (5)",
        ):
            ask(connection, statement)
            assert ask(connection, "SHOW WARNINGS") == []
        fails(connection, "SELECT id, (SELECT 1 UNION ALL SELECT 2) FROM customers", 1242)
        assert [row[0] for row in ask(connection, "SHOW WARNINGS")] == ["Error"]


def test_a_client_that_goes_away_while_rows_are_merged(world: World, fairlead: Fairlead) -> None:
    large = "SELECT a.id, REPEAT('x', 20000) FROM customers a, countries b, countries c ORDER BY a.id"
    with raw(fairlead) as connection:
        connection.send(b"\x03" + large.encode())
    with client(fairlead) as connection:
        until(lambda: value(connection, "SELECT COUNT(*) FROM customers"), "the pool serves on", fairlead)


def test_group_concat_is_cut_as_the_session_says(world: World, fairlead: Fairlead) -> None:
    with client(fairlead) as connection:
        everyone = ",".join(str(key) for (key,) in ask(connection, "SELECT id FROM customers ORDER BY id"))
        ask(connection, "SET group_concat_max_len = 20")
        assert value(connection, "SELECT GROUP_CONCAT(id ORDER BY id) FROM customers") == everyone[:20]
        assert value(connection, "SELECT GROUP_CONCAT(id SEPARATOR 'é') FROM customers")[-1:] != "\ufffd"
        computed = value(connection, "SELECT HEX(GROUP_CONCAT(id ORDER BY id)) FROM customers")
        assert bytes.fromhex(computed).decode() == everyone[:20]
