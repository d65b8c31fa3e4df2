"""Connections that tear, stall and crumble before and behind Fairlead."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from loadtest.world.faulty_wire import FaultyWire
from loadtest.world.layout import region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.world import World

SHARD = "eu-0"
LOST = {2006, 2013, 1053, 1105, 1158, 1159, 1160, 1161, 3169, 0}
ROWS = "SELECT id, REPEAT(name, 50) FROM customers WHERE id IN ({})"


@pytest.fixture
def wire(world: World) -> Iterator[FaultyWire]:
    """Between Fairlead and the primary of eu-0."""
    with FaultyWire(world.shards[SHARD].primary.port) as between:
        yield between


@pytest.fixture
def ids(world: World) -> list[int]:
    """Customers of eu-0."""
    return [one for one in (region_id("eu", n) for n in range(1, 101)) if shard_of_id(world.shape, one) == SHARD]


def behind(world: World, wire: FaultyWire, **changes: Any) -> Any:
    """A Fairlead that reaches eu-0 through the wire."""
    return world.fleet({"shards": {SHARD: {"primary": wire.address}}, **changes})["eu"]


def test_bytes_one_by_one_change_nothing(world: World, wire: FaultyWire, ids: list[int]) -> None:
    fairlead = behind(world, wire)
    statement = ROWS.format(",".join(map(str, ids)))
    expected = sorted(fairlead.query(statement))
    wire.split()
    with FaultyWire(fairlead.port) as near:
        near.split()
        with (
            contextlib.closing(fairlead.connect(port=near.port)) as connection,
            connection.cursor() as cursor,
        ):
            for _ in range(3):
                cursor.execute(statement)
                assert sorted(cursor.fetchall()) == expected
            cursor.execute("BEGIN")
            cursor.execute(f"UPDATE customers SET balance = 5 WHERE id = {ids[0]}")
            connection.rollback()
    assert len(expected) == len(ids)


@pytest.mark.parametrize("after", [0, 3, 4, 200, 5000])
def test_a_server_lost_in_mid_answer_is_an_error(world: World, wire: FaultyWire, ids: list[int], after: int) -> None:
    fairlead = behind(world, wire)
    statement = ROWS.format(",".join(map(str, ids)))
    good = sorted(fairlead.query(statement))
    wire.cut(after)
    with pytest.raises(pymysql.err.Error) as error:
        fairlead.query(statement)
    assert error.value.args[0] in LOST
    wire.behave()
    # Nothing of the torn answer is left for the next one.
    for _ in range(3):
        assert sorted(fairlead.query(statement)) == good


def test_a_reset_in_a_transaction_loses_it_loudly(world: World, wire: FaultyWire, ids: list[int]) -> None:
    fairlead = behind(world, wire)
    with contextlib.closing(fairlead.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE customers SET balance = 12345 WHERE id = {ids[0]}")
        wire.reset()
        with pytest.raises(pymysql.err.Error):
            cursor.execute(f"UPDATE customers SET balance = 12346 WHERE id = {ids[0]}")
            connection.commit()
    ((balance,),) = fairlead.query(f"SELECT balance FROM customers WHERE id = {ids[0]}")
    assert balance not in (12345, 12346)


def test_a_stalled_server_holds_nobody_else(world: World, wire: FaultyWire, ids: list[int]) -> None:
    fairlead = behind(world, wire)
    fairlead.query(f"SELECT name FROM customers WHERE id = {ids[0]}")
    elsewhere = next(
        one for one in (region_id("eu", n) for n in range(1, 101)) if shard_of_id(world.shape, one) != SHARD
    )
    wire.stall()
    answer: list[Any] = []
    waiting = threading.Thread(
        target=lambda: answer.extend(fairlead.query(f"SELECT name FROM customers WHERE id = {ids[0]}"))
    )
    waiting.start()
    for _ in range(50):
        assert len(fairlead.query(f"SELECT name FROM customers WHERE id = {elsewhere}")) == 1
    assert not answer
    wire.behave()
    waiting.join(30)
    assert len(answer) == 1


def test_a_client_that_vanishes_gives_its_connection_back(world: World, ids: list[int]) -> None:
    fairlead = world.fleet({"shards": {SHARD: {"limits": {"connections": 2, "idle": 1}}}})["eu"]
    with FaultyWire(fairlead.port) as near:
        for _ in range(10):
            connection = fairlead.connect(port=near.port)
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute(f"UPDATE customers SET balance = 999 WHERE id = {ids[0]}")
            near.reset()
            with contextlib.suppress(pymysql.err.Error, OSError):
                connection.close()
    ((balance,),) = fairlead.query(f"SELECT balance FROM customers WHERE id = {ids[0]}")
    assert balance != 999
