"""What makes a Fairlead ready and live, one fault at a time."""

import os
import time
from collections.abc import Callable

import pytest

from _speedups.stats import StatsPage
from ops.readiness import Patience, live, ready

NONE_LEFT = Patience(heartbeat=0, start=0, health=0, wedged=0)


def stop(page: StatsPage) -> None:
    for worker in (0, 1):
        page.worker_exited(worker)


def lose_primary(page: StatsPage) -> None:
    page.publish_health(2, "down", "primary")


def demote_primary(page: StatsPage) -> None:
    page.publish_health(0, "read_only", "primary")


FAULTS: dict[str, tuple[Callable[[StatsPage], None], str]] = {
    "draining": (lambda page: page.drain(), "draining"),
    "no worker": (stop, "workers"),
    "primary down": (lose_primary, "primaries"),
    "primary read only": (demote_primary, "primaries"),
    "primary became replica": (lambda page: page.publish_health(0, "up", "replica"), "primaries"),
}


def failed(page: StatsPage, patience: Patience | None = None) -> list[str]:
    verdict = ready(page, patience or Patience())
    assert verdict.ok == all(ok for ok, _ in verdict.checks.values())
    return [name for name, (ok, _) in verdict.checks.items() if not ok]


def test_a_healthy_fairlead_is_ready_and_live(page: StatsPage) -> None:
    assert failed(page) == []
    assert live(page).ok


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_makes_it_not_ready(page: StatsPage, name: str) -> None:
    break_it, check = FAULTS[name]
    break_it(page)
    assert failed(page) == [check]


def test_an_empty_page_is_not_ready(bare: StatsPage) -> None:
    assert failed(bare) == ["config", "workers"]


def test_signs_of_life_grow_old(page: StatsPage) -> None:
    time.sleep(0.001)
    assert failed(page, NONE_LEFT) == ["workers", "primaries"]
    assert not live(page, NONE_LEFT).ok


def test_a_silent_thread_is_seen_though_the_other_beats(page: StatsPage) -> None:
    page.worker_started(1, os.getpid())
    page.worker(1).heartbeat()
    patient = Patience(heartbeat=10)
    assert failed(page, patient) == [], "its relay may still be starting"
    assert failed(page, Patience(heartbeat=10, start=0)) == ["workers"]
    assert ready(page, Patience(heartbeat=10, start=0)).checks["workers"] == (
        False, "no heartbeat from worker 1")


def test_one_dead_worker_of_two_does_not_stop_the_other(page: StatsPage) -> None:
    page.worker_exited(1, 9)
    assert failed(page) == []


def test_another_regions_primary_does_not_matter(page: StatsPage) -> None:
    page.declare("shard", [("eu-0", 0, True), ("eu-1", 0, False), ("us-0", 1, False)])
    lose_primary(page)
    assert failed(page) == []


def test_a_promoted_replica_makes_it_ready_again(page: StatsPage) -> None:
    lose_primary(page)
    page.publish_health(3, "up", "primary")
    assert failed(page) == []


def test_a_retired_backend_does_not_count(page: StatsPage) -> None:
    page.declare("backend", [("127.0.0.1:7402", 1, True)])
    assert failed(page) == ["primaries"]
    assert ready(page).checks["primaries"][1] == "no usable primary for eu-0"


def test_it_is_not_live_without_its_supervisor(page: StatsPage) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    page.started(pid)
    assert not live(page).ok
