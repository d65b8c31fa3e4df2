"""Many clients over few backend connections: limits, waiting in line, and nobody's row in another's hands."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import (
    ask,
    client,
    fails,
    ids_on,
    metric,
    raw,
    threads_of,
    together,
    until,
    value,
)
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

CLIENTS, ROUNDS, CONNECTIONS = 50, 12, 4
QUEUE_TIMEOUT = 1205
SHARDS = ("eu-0", "eu-1")


def limited(
    world: World, connections: int, *, workers: int = 1, queue_wait: str = "20s", queue: int = 4096
) -> Fairlead:
    """A Fairlead that may open only so many connections to each server."""
    shards = {name: {"limits": {"connections": connections, "queue": queue}} for name in SHARDS}
    return world.kept({"shards": shards, "limits": {"queue_wait": queue_wait}}, workers=workers)


class Watch:
    """The most connections that a server got besides those it had before, which are other Fairleads'."""

    def __init__(self, world: World) -> None:
        self._servers = [world.shards[name].primary for name in SHARDS]
        self._before = [set(threads_of(server, "shop")) for server in self._servers]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.most = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.05):
            for server, before in zip(self._servers, self._before, strict=True):
                self.most = max(self.most, len(set(threads_of(server, "shop")) - before))


def busy_client(member: Fairlead, world: World, number: int) -> Callable[[], None]:
    """Transactions and single statements that all carry the client's own mark and check it."""
    keys = [ids_on(world, shard, CLIENTS)[number % 40] for shard in SHARDS]

    def work() -> None:
        with client(member) as connection:
            for turn in range(ROUNDS):
                for key in keys:
                    mark = f"{number}/{turn}"
                    found = ask(connection, f"SELECT id, '{mark}' FROM customers WHERE id = {key}")
                    assert found == [(key, mark)]
                if turn % 4 == 0:
                    connection.begin()
                    ask(connection, f"SELECT id FROM customers WHERE id = {keys[0]} FOR UPDATE")
                    assert value(connection, f"SELECT '{mark}' FROM customers WHERE id = {keys[0]}") == mark
                    connection.commit()

    return work


@pytest.mark.parametrize("workers", [1, 2])
def test_many_clients_over_four_connections(world: World, workers: int) -> None:
    member = limited(world, CONNECTIONS, workers=workers)
    with Watch(world) as watch:
        together([busy_client(member, world, number) for number in range(CLIENTS)])
    assert 1 <= watch.most <= CONNECTIONS
    assert metric(member, "fairlead_pool_timeouts_total") == 0
    # Two workers hand connections that both want to each other: one closes, the other opens.
    most = 2 * CONNECTIONS + 2 if workers == 1 else CLIENTS
    assert metric(member, "fairlead_backend_connects_total") <= most
    until(lambda: metric(member, "fairlead_shard_connections", state="in_use") == 0, "an idle pool", member)


def test_waiting_ends_with_a_named_error(world: World) -> None:
    member = limited(world, 1, queue_wait="500ms")
    before = metric(member, "fairlead_pool_timeouts_total")
    (key,) = ids_on(world, "eu-0")
    (elsewhere,) = ids_on(world, "eu-1")
    with client(member) as holder, client(member) as waiting:
        holder.begin()
        ask(holder, f"SELECT id FROM customers WHERE id = {key}")
        started = time.monotonic()
        text = fails(waiting, f"SELECT id FROM customers WHERE id = {key}", QUEUE_TIMEOUT)
        assert text.startswith("FL4002: ") and "eu-0" in text and "0.5s" in text
        assert 0.4 < time.monotonic() - started < 5
        # The session is whole, and other shards do not care.
        assert value(waiting, f"SELECT id FROM customers WHERE id = {elsewhere}") == elsewhere
        holder.commit()
        assert value(waiting, f"SELECT id FROM customers WHERE id = {key}") == key
    assert metric(member, "fairlead_pool_timeouts_total") == before + 1


def test_those_who_wait_are_served_in_order(world: World) -> None:
    member = limited(world, 1)
    (key,) = ids_on(world, "eu-0")
    order: list[int] = []
    with client(member) as holder:
        holder.begin()
        ask(holder, f"SELECT id FROM customers WHERE id = {key}")
        threads = []

        def wait(number: int) -> None:
            with client(member) as connection:
                connection.begin()
                ask(connection, f"SELECT id FROM customers WHERE id = {key}")
                order.append(number)
                connection.commit()

        for number in range(5):
            threads.append(threading.Thread(target=wait, args=(number,), daemon=True))
            threads[-1].start()
            until(
                lambda wanted=number + 1: metric(member, "fairlead_shard_waiting_sessions", shard="eu-0") == wanted,
                "one more in line",
                member,
            )
        holder.commit()
        for thread in threads:
            thread.join(20)
    assert order == [0, 1, 2, 3, 4]


def test_a_full_line_is_refused_at_once(world: World) -> None:
    member = limited(world, 1, queue=1)
    (key,) = ids_on(world, "eu-0")
    query = f"SELECT id FROM customers WHERE id = {key}"
    with client(member) as holder, client(member) as first, client(member) as second:
        holder.begin()
        ask(holder, query)
        waiting = threading.Thread(target=ask, args=(first, query), daemon=True)
        waiting.start()
        until(lambda: metric(member, "fairlead_shard_waiting_sessions", shard="eu-0") == 1, "one in line", member)
        assert fails(second, query, 1041).startswith("FL4003: ")
        holder.commit()
        waiting.join(20)
        assert not waiting.is_alive()


def test_the_limit_holds_over_two_workers(world: World) -> None:
    member = limited(world, 2, workers=2, queue_wait="500ms")
    (key,) = ids_on(world, "eu-0")
    query = f"SELECT id FROM customers WHERE id = {key}"
    opened = [member.connect() for _ in range(8)]
    try:
        served = 0
        for connection in opened:
            connection.begin()
            try:
                ask(connection, query)
                served += 1
            except pymysql.err.OperationalError as error:
                assert error.args[0] == QUEUE_TIMEOUT and "FL4002" in error.args[1]
        assert served == 2
    finally:
        for connection in opened:
            connection.close()


def test_connections_pass_between_workers_and_classes(world: World) -> None:
    """What one worker or capability class has idle, another that waits for it gets."""
    member = limited(world, 1, workers=2, queue_wait="20s")
    (key,) = ids_on(world, "eu-0")
    for number, flag in zip(range(12), itertools.cycle((0, 2)), strict=False):
        with client(member, client_flag=flag) as connection:
            assert value(connection, f"SELECT id + {number} FROM customers WHERE id = {key}") == key + number


def test_clients_that_leave_in_mid_statement_leave_nothing(world: World) -> None:
    member = limited(world, 2, queue_wait="20s")
    (key,) = ids_on(world, "eu-0")
    for turn in range(10):
        with raw(member) as side:
            side.send(b"\x03" + f"SELECT id, SLEEP(0.02), '{'x' * 2000}' FROM customers WHERE id = {key}".encode())
            if turn % 2:
                assert side.read_answer().rows[0][0] == str(key).encode()
    for _ in range(10):
        assert member.query(f"SELECT id, 'mine' FROM customers WHERE id = {key}") == [(key, "mine")]
    until(lambda: metric(member, "fairlead_shard_connections", state="in_use") == 0, "an idle pool", member)


def test_commands_sent_ahead_are_answered_one_by_one(world: World) -> None:
    """A client may write several commands before it reads; the answers keep their order."""
    keys = [ids_on(world, shard)[0] for shard in SHARDS]
    with raw(world.fairlead()) as side:
        statements = [f"SELECT id, {number} FROM customers WHERE id = {keys[number % 2]}" for number in range(40)]
        for statement in statements:
            side.send(b"\x03" + statement.encode())
        for number in range(40):
            side._sequence = 1
            answer = side.read_answer()
            assert answer.rows == ((str(keys[number % 2]).encode(), str(number).encode()),)


def test_limits_of_users_and_of_all_clients(world: World) -> None:
    user = {"password": {"value": "x"}, "grants": [{"on": "shop.*", "verbs": ["select"]}], "default_database": "shop"}
    users = {"two": {**user, "limits": {"connections": 2}}}
    member = world.fleet({"users": users})["eu"]
    opened = [member.connect(user="two", password="x") for _ in range(2)]
    try:
        with pytest.raises(pymysql.err.Error) as error:
            member.connect(user="two", password="x")
        assert error.value.args[0] == 1226 and "FL4010" in error.value.args[1]
        assert member.query("SELECT 1") == [(1,)]
    finally:
        for connection in opened:
            connection.close()
    until(lambda: metric(member, "fairlead_clients") == 0, "no clients", member)
    member.connect(user="two", password="x").close()
