"""Small steps that the end-to-end tests of the proxy share: ask, fail, wait, read metrics, find rows by shard."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.process import POLL_INTERVAL
from loadtest.world.sqlserver import SERVICE_USER, SqlServer
from loadtest.world.world import World
from tests.differential.wire import Raw

PATIENCE = 20.0
Connection = Any
"""pymysql.Connection, whose stubs want a cursor class."""


def ask(connection: Connection, statement: str, arguments: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return list(cursor.fetchall())


def value(connection: Connection, statement: str, arguments: Any = None) -> Any:
    ((found,),) = ask(connection, statement, arguments)
    return found


def refused(connection: Connection, statement: str, number: str) -> str:
    """Asserts that Fairlead refuses the statement with this error, and returns its text."""
    with pytest.raises(pymysql.err.Error) as error:
        ask(connection, statement)
    text = str(error.value.args[1]) if len(error.value.args) > 1 else str(error.value)
    assert text.startswith(f"{number}: "), text
    return text


def fails(connection: Connection, statement: str, *errnos: int) -> str:
    """Asserts that the statement fails with one of these errors, and returns its text."""
    with pytest.raises(pymysql.err.Error) as error:
        ask(connection, statement)
    assert error.value.args[0] in errnos, error.value
    return str(error.value.args[1])


@contextlib.contextmanager
def client(member: Fairlead, **options: Any) -> Iterator[Connection]:
    connection = member.connect(**options)
    try:
        yield connection
    finally:
        with contextlib.suppress(pymysql.err.Error, OSError):
            connection.close()


@contextlib.contextmanager
def raw(member: Fairlead, **options: Any) -> Iterator[Raw]:
    """A client that sees every byte."""
    connection = Raw(member.connect(**options))
    try:
        yield connection
    finally:
        connection.close()


def until(holds: Callable[[], Any], what: str, member: Fairlead | None = None, patience: float = PATIENCE) -> Any:
    """Returns the first true answer of `holds`. Fails the test after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not (found := holds()):
        if time.monotonic() > deadline:
            pytest.fail(f"not seen: {what}\n{member.log_tail(40) if member else ''}")
        time.sleep(POLL_INTERVAL)
    return found


def metric(member: Fairlead, name: str, **labels: str) -> float:
    """The sum of a metric's series that have these labels."""
    total = 0.0
    for line in member.http("/metrics").splitlines():
        match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if match is not None:
            found = dict(re.findall(r'(\w+)="([^"]*)"', match[1] or ""))
            if labels.items() <= found.items():
                total += float(match[2])
    return total


def ids_on(world: World, shard: str, count: int = 1) -> list[int]:
    """Customers that live on a shard."""
    region = shard.split("-")[0]
    found = [one for one in (region_id(region, n) for n in range(1, 101)) if shard_of_id(world.shape, one) == shard]
    return found[:count]


def threads_of(server: SqlServer, database: str | None = None) -> list[int]:
    """The connections of the service account that have this database selected."""
    rows = server.query(f"SELECT ID, DB FROM information_schema.PROCESSLIST WHERE USER = '{SERVICE_USER}'")
    return [int(thread) for thread, selected in rows if database is None or selected == database]


def together(jobs: list[Callable[[], None]], timeout: float = 60.0) -> None:
    """Runs them at once, each in a thread of its own; the first failure is raised."""
    failures: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        assert not thread.is_alive(), "a client hangs"
    if failures:
        raise failures[0]
