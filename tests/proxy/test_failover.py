"""A primary that changes elsewhere is followed within seconds, and nothing is written to two."""

from __future__ import annotations

import contextlib
import threading
import time

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import ask, client, ids_on, metric, together, until, value
from tests.servers import BOTH_SERVERS

pytestmark = [BOTH_SERVERS, pytest.mark.world(regions=1, shards=2, replicas=1)]

FAST = {
    "health": {"interval": "200ms", "timeout": "500ms", "failures": 2},
    "limits": {"queue_wait": "1s", "failover_wait": "1s"},
}
FOLLOWED = 8.0
"""Seconds within which a new primary must serve, on a busy machine."""


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fleet(FAST)["eu"]


def write(member: Fairlead, key: int, amount: int) -> bool:
    try:
        member.query(f"UPDATE customers SET balance = {amount} WHERE id = {key}")
    except pymysql.err.Error:
        return False
    return True


def test_a_promotion_with_the_old_primary_alive(world: World, fairlead: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    (elsewhere,) = ids_on(world, "eu-1")
    shard = world.shards["eu-0"]
    with client(fairlead) as connection, client(fairlead) as bystander:
        old = shard.primary
        assert value(connection, f"SELECT @@server_id FROM customers WHERE id = {key}") == old.server_id
        new = shard.promote()
        started = time.monotonic()
        until(lambda: write(fairlead, key, 4), "a write on the new primary", fairlead, FOLLOWED)
        assert value(bystander, f"SELECT id FROM customers WHERE id = {elsewhere}") == elsewhere
        assert new.value(f"SELECT balance FROM shop.customers WHERE id = {key}") == 4
        # The session's own connection goes on; its backend is another one now.
        until(
            lambda: value(connection, f"SELECT @@server_id FROM customers WHERE id = {key}") == new.server_id,
            "a read from the new primary",
            fairlead,
        )
        assert time.monotonic() - started < 2 * FOLLOWED
        for amount in range(10, 20):
            ask(connection, f"UPDATE customers SET balance = {amount} WHERE id = {key}")
        assert new.value(f"SELECT balance FROM shop.customers WHERE id = {key}") == 19


def test_a_promotion_after_the_primary_died(world: World, fairlead: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    shard = world.shards["eu-0"]
    assert write(fairlead, key, 1)
    world.wait_replicas()
    old = shard.primary
    old.kill()
    assert not write(fairlead, key, 2)
    new = shard.promote()
    until(lambda: write(fairlead, key, 3), "a write on the new primary", fairlead, FOLLOWED)
    assert new.value(f"SELECT balance FROM shop.customers WHERE id = {key}") == 3
    # The old one comes back writable, as a crashed server does: it must not be written to.
    old.start()
    for amount in range(10, 30):
        write(fairlead, key, amount)
        time.sleep(0.05)
    assert old.value(f"SELECT balance FROM shop.customers WHERE id = {key}") in (1, 2)


@pytest.fixture
def patient(world: World) -> Fairlead:
    limits = {"queue_wait": "1s", "failover_wait": "30s", "failover_memory": "64KiB"}
    return world.fleet({**FAST, "limits": limits})["eu"]


def test_new_statements_wait_for_the_new_primary(world: World, patient: Fairlead) -> None:
    """Clients whose statements were not under way when the primary was killed see no error, however long it takes."""
    (key,) = ids_on(world, "eu-0")
    shard = world.shards["eu-0"]
    killed, done = threading.Event(), threading.Event()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(patient)) for _ in range(8)]
        for connection in clients:
            ask(connection, f"UPDATE customers SET balance = 0 WHERE id = {key}")
        world.wait_replicas()

        def work(number: int) -> None:
            killed.wait()
            while not done.is_set():
                if number % 2:
                    ask(clients[number], f"UPDATE customers SET balance = balance + 1 WHERE id = {key}")
                else:
                    assert value(clients[number], f"SELECT id FROM customers WHERE id = {key}") == key

        def fail_over() -> None:
            try:
                shard.primary.kill()
                killed.set()
                # Both kinds of waiting: while the old one is not judged yet, and when there is none.
                until(lambda: metric(patient, "fairlead_failover_waiting") == 8, "all wait for a primary", patient)
                assert metric(patient, "fairlead_failover_waiting_bytes") > 0
                with client(patient) as large, pytest.raises(pymysql.err.Error) as error:
                    ask(large, f"UPDATE customers SET name = '{'x' * 70_000}' WHERE id = {key}")
                assert "FL4017: " in error.value.args[1], "there is no room for it"
                new = shard.promote()
                balance = f"SELECT balance FROM shop.customers WHERE id = {key}"
                until(lambda: new.value(balance) > 4, "they go on", patient)
            finally:
                killed.set()
                done.set()

        together([fail_over, *(lambda number=number: work(number) for number in range(8))], 60.0)
    assert metric(patient, "fairlead_failover_waits_total") >= 8
    assert metric(patient, "fairlead_failover_waiting") == metric(patient, "fairlead_failover_waiting_bytes") == 0


def test_a_statement_that_waits_can_be_killed(world: World, patient: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    (elsewhere,) = ids_on(world, "eu-1")
    with client(patient) as waiting, client(patient) as other:
        number = value(waiting, "SELECT CONNECTION_ID()")
        world.shards["eu-0"].primary.kill()

        def wait() -> None:
            with pytest.raises(pymysql.err.Error) as error:
                ask(waiting, f"SELECT id FROM customers WHERE id = {key}")
            assert error.value.args[0] == 1317

        def kill() -> None:
            until(lambda: metric(patient, "fairlead_failover_waiting") == 1, "it waits", patient)
            ask(other, f"KILL QUERY {number}")

        together([wait, kill])
        assert value(waiting, f"SELECT id FROM customers WHERE id = {elsewhere}") == elsewhere


def test_a_transaction_on_the_old_primary_fails_loudly(world: World, fairlead: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    shard = world.shards["eu-0"]
    with client(fairlead) as connection:
        connection.begin()
        ask(connection, f"SELECT balance FROM customers WHERE id = {key} FOR UPDATE")
        old = shard.primary
        new = shard.promote()
        with pytest.raises(pymysql.err.Error):
            ask(connection, f"UPDATE customers SET balance = 777 WHERE id = {key}")
            connection.commit()
    until(lambda: write(fairlead, key, 8), "a write on the new primary", fairlead, FOLLOWED)
    assert new.value(f"SELECT balance FROM shop.customers WHERE id = {key}") == 8
    assert old.value(f"SELECT balance FROM shop.customers WHERE id = {key}") != 777


def test_without_a_writable_server_the_error_says_so(world: World, fairlead: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    server = world.shards["eu-0"].primary
    assert write(fairlead, key, 1)
    server.set_read_only(True)

    def refusal() -> str:
        try:
            fairlead.query(f"UPDATE customers SET balance = 2 WHERE id = {key}")
        except pymysql.err.Error as error:
            return str(error.args[1])
        return ""

    until(lambda: refusal().startswith("FL4017: "), "the refusal", fairlead)
    if server.flavour == "mysql":
        server.run("SET GLOBAL super_read_only = 1")
        assert refusal().startswith("FL4017: ")
    server.set_read_only(False)
    until(lambda: write(fairlead, key, 3), "a write", fairlead, FOLLOWED)


def test_a_hanging_primary_holds_only_its_own_shard(world: World, fairlead: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    (elsewhere,) = ids_on(world, "eu-1")
    assert write(fairlead, key, 1)
    server = world.shards["eu-0"].primary
    server.pause()
    try:
        for _ in range(20):
            assert fairlead.query(f"SELECT id FROM customers WHERE id = {elsewhere}") == [(elsewhere,)]
        with client(fairlead, read_timeout=15) as connection:
            # Not an answer for ever: the server is judged down, and then the error is named.
            def named() -> bool:
                try:
                    ask(connection, f"SELECT id FROM customers WHERE id = {key}")
                except pymysql.err.Error as error:
                    return "FL4" in str(error)
                return False

            until(named, "a named error", fairlead)
    finally:
        server.resume()
    until(lambda: write(fairlead, key, 5), "a write", fairlead, FOLLOWED)
