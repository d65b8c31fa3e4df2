"""A page as two regions would fill it."""

import os

import pytest

from _speedups.stats import StatsPage

RELAY = 0
SHARDS = [("eu-0", 0, True), ("eu-1", 0, True), ("us-0", 1, False), ("us-1", 1, False)]


def topology(page: StatsPage) -> None:
    page.declare("region", [("eu", 0, True), ("us", 0, False)])
    page.declare("shard", SHARDS)
    page.declare("backend", [(f"127.0.0.1:74{i:02}", i // 2, True) for i in range(4)])
    page.declare("user", [("demo", 0, True), ("report", 0, True)])
    page.declare("keyspace", [("shop", 0, True)])
    for backend in range(4):
        page.set_limit(backend, 64)


def beat(page: StatsPage, worker: int) -> None:
    page.worker_started(worker, os.getpid())
    page.worker(worker).started(os.getpid(), page.state()["config_epoch"])
    page.worker(worker, RELAY).heartbeat()


def health(page: StatsPage) -> None:
    for backend in range(4):
        if backend % 2:
            page.publish_health(backend, "up", "replica", "mariadb", 101119, 2, lag_ms=1500)
        else:
            page.publish_health(backend, "up", "primary", "mariadb", 101119, 1)


@pytest.fixture
def bare() -> StatsPage:
    """Sizes only: nothing declared, nothing running."""
    return StatsPage.create(workers=2, shards=6, backends=8, digests=64, slow=16, users=8)


@pytest.fixture
def page(bare: StatsPage) -> StatsPage:
    """A healthy Fairlead of two workers in region eu."""
    topology(bare)
    bare.started(os.getpid())
    bare.config_loaded(3)
    for worker in (0, 1):
        beat(bare, worker)
    health(bare)
    return bare
