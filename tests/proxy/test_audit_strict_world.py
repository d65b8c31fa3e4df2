"""Strict decision records where it is not so simple: reads from a replica, and a disk that takes no more."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.process import process_tree
from loadtest.world.world import World
from ops.audit.verify import verify
from tests.proxy.clients import ask, ids_on, metric, refused, until, value
from tests.proxy.test_audit_world import KEYS, PEM, as_analyst, entries
from tests.proxy.test_policy_world import POLICY, USERS
from tests.servers import BOTH_SERVERS

pytestmark = pytest.mark.world(regions=1, shards=1, replicas=1)

UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def member(world: World, folder: Path) -> Fairlead:
    reader = {**USERS["analyst"], "consistency": "eventual", "max_lag": "1h"}
    audit = {"folder": str(folder), "key": {"value": PEM}, "mode": "strict", "wait": "1s"}
    policy = {**POLICY, "domains": {"eea": {"regions": ["eu"]}, "usa": {"regions": []}}}
    fleet = world.fleet({"users": {**USERS, "analyst": reader}, "policy": policy, "audit": audit})
    return fleet.start()["eu"]


def from_replicas(member: Fairlead) -> float:
    return metric(member, "fairlead_shard_replica_reads_total")


@BOTH_SERVERS
def test_a_read_from_a_replica_waits_for_its_record(world: World, member: Fairlead, folder: Path) -> None:
    (key,) = ids_on(world, "eu-0")
    with as_analyst(member) as connection:
        until(lambda: ask(connection, "SELECT 1 FROM countries LIMIT 1") and from_replicas(member), "a replica", member)
        before, known = from_replicas(member), len(entries(folder, "eea"))
        for number in range(1, 11):
            assert "*" in value(connection, f"SELECT email FROM customers WHERE id = {key}")
            assert len(entries(folder, "eea")) == known + number
        assert from_replicas(member) == before + 10
    until(lambda: len(entries(folder, "eea", "result")) >= 10, "the results")


@contextlib.contextmanager
def files_end_at(member: Fairlead, size: int) -> Iterator[None]:
    """No process of the Fairlead can make a file larger: what a full disk, or a quota, does to it."""
    processes = process_tree(member.pid)
    for process in processes:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (size, UNLIMITED))
    try:
        yield
    finally:
        for process in processes:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))


def test_a_full_disk_shows_nothing_and_is_recovered_from(world: World, member: Fairlead, folder: Path) -> None:
    (key,) = ids_on(world, "eu-0")
    statement = f"SELECT email FROM customers WHERE id = {key}"
    answers = 0

    def asked(connection: Any) -> bool:
        try:
            return bool(value(connection, statement))
        except pymysql.err.DatabaseError as error:
            assert "FL2111" in str(error)
            return False

    with as_analyst(member) as connection:
        answers += asked(connection)
        newest = max((folder / "eea").glob("*.audit"))
        with files_end_at(member, newest.stat().st_size + 150):  # within a record
            for _ in range(5):
                answers += asked(connection)
        with files_end_at(member, 0):
            until(lambda: not asked(connection), "a refusal", member)
            for _ in range(2):
                refused(connection, statement, "FL2111")
            refused(connection, f"SELECT name FROM customers WHERE id = {key}", "FL2101")
        until(lambda: asked(connection), "the first answer again", member)
        answers += 2
        assert asked(connection)
    until(lambda: any(one["verdict"] == "refuse" for one in entries(folder, "eea")), "the refusal that waited", member)
    member.stop()
    found = verify(folder, KEYS)
    assert found.findings == [] and any("write error" in note for note in found.notes), found
    assert sum(one["verdict"] == "mask" for one in entries(folder, "eea")) >= answers
