"""The supervisor over real workers and servers: what clients see at a crash, a reload, the end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.process import POLL_INTERVAL
from loadtest.world.world import World
from proxy.accept import CONNECTION_BITS

PATIENCE = 30.0
ONE_CUSTOMER = f"SELECT 1 FROM customers WHERE id = {region_id('eu', 1)}"
GONE = (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError)


def until(holds: Callable[[], bool], what: str, member: Fairlead) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not seen: {what}\n{member.log_tail(60)}")
        time.sleep(POLL_INTERVAL)


def said(member: Fairlead, pattern: str) -> list[str]:
    """All matches since this Fairlead's start; the log may begin with an earlier one's."""
    return re.findall(pattern, member.log.read_text().rpartition(" configured by ")[2])


def launch(world: World, changes: Mapping[str, Any] | None = None, *, workers: int) -> Fairlead:
    base = {"limits": {"drain": "20s"}}
    member = world.fleet({**base, **(changes or {})}).launch("eu", workers=workers)
    member.wait_ready()
    until(lambda: bool(said(member, "ready: ")), "ready", member)
    return member


def worker_of(connection: pymysql.Connection[Any]) -> int:
    """The index of the worker that a client is connected to."""
    return (int(connection.thread_id()) >> CONNECTION_BITS) - 1  # type: ignore[no-untyped-call]


def ask(connection: pymysql.Connection[Any], statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def kill_worker(member: Fairlead, index: int) -> None:
    """kill -9, and waits until another one serves in its place."""
    starts = said(member, rf"worker {index} started, pid (\d+)")
    os.kill(int(starts[-1]), signal.SIGKILL)
    ready = f"worker {index} is ready"
    until(lambda: len(said(member, ready)) > len(starts), "the worker's new start", member)


def test_clients_of_a_killed_worker_reconnect_and_others_notice_nothing(world: World) -> None:
    member = launch(world, workers=2)
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(contextlib.closing(member.connect())) for _ in range(16)]
        mine = [client for client in clients if worker_of(client) == 0]
        others = [client for client in clients if worker_of(client) == 1]
        assert mine and others
        kill_worker(member, 0)
        for client in others:
            assert ask(client, ONE_CUSTOMER) == (1,)
        for client in mine:
            with pytest.raises(GONE):
                ask(client, "SELECT 1")
            client.connect()
            assert ask(client, ONE_CUSTOMER) == (1,)
    assert 'fairlead_worker_restarts_total{worker="0"} 1' in member.http("/metrics")


def test_a_killed_worker_gives_its_backend_connections_back(world: World) -> None:
    shards = {name: {"limits": {"connections": 2, "idle": 0}} for name in world.shards}
    member = launch(world, {"shards": shards}, workers=1)
    for _ in range(3):
        with contextlib.ExitStack() as opened:
            clients = [opened.enter_context(contextlib.closing(member.connect())) for _ in range(2)]
            for client in clients:
                client.begin()
                ask(client, ONE_CUSTOMER)
            kill_worker(member, 0)


def test_a_broken_file_changes_nothing_and_a_right_one_no_connection(world: World) -> None:
    member = launch(world, workers=2)
    before = dict(member.configuration)
    with contextlib.closing(member.connect()) as client:
        client.begin()
        assert ask(client, "SELECT 1") == (1,)
        member.write({**before, "limits": {"drain": "soon"}})
        member.reload()
        until(lambda: bool(said(member, r"refused: .*yaml:\d+: limits.drain: ")), "the refusal", member)
        assert ask(client, "SELECT 2") == (2,)
        users = {**before["users"], "late": {**before["users"]["demo"], "password": {"value": "late"}}}
        member.write({**before, "users": users})
        member.reload()
        until(lambda: bool(said(member, "configuration 2 is in force in all")), "configuration 2", member)
        assert member.query("SELECT 3", user="late", password="late") == [(3,)]
        assert ask(client, "SELECT 4") == (4,)
        client.commit()


def test_the_end_waits_for_an_open_transaction(world: World) -> None:
    member = launch(world, workers=2)
    with contextlib.closing(member.connect()) as client:
        client.begin()
        ask(client, "UPDATE settings SET value = 'drained' WHERE name = 'currency'")
        member.signal(signal.SIGTERM)
        until(lambda: bool(said(member, "draining for up to")), "the drain", member)
        until(lambda: not accepts(member), "closed ports", member)
        client.commit()
    assert member.wait_exit() == 0
    assert not said(member, "killed")


def accepts(member: Fairlead) -> bool:
    with contextlib.suppress(*GONE):
        member.connect(connect_timeout=2).close()
        return True
    return False


def test_a_transaction_that_never_ends_is_cut_at_the_deadline(world: World) -> None:
    member = launch(world, {"limits": {"drain": "300ms"}}, workers=1)
    with contextlib.closing(member.connect()) as client:
        client.begin()
        ask(client, ONE_CUSTOMER)
        member.signal(signal.SIGTERM)
        assert member.wait_exit() == 0
        with pytest.raises(GONE):
            client.commit()
