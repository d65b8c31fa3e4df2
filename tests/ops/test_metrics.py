"""Prometheus's text: parses, adds up, stays within its bounds, and is documented."""

import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from _speedups.stats import ERROR_CLASSES, PARK_REASONS, PIN_REASONS, StatsPage
from ops import metrics
from ops.exposure import Exposure, Flow, Level, Threshold
from ops.families import FAMILIES, dotted
from ops.ledger import Reading
from tests.ops.conftest import RELAY

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


METER = Reading(Flow("personal", "eu", "us"), Threshold(flow=Flow("*", "*", "*", "*"), refuse=8), Exposure(3, 4, 5),
                Level.UNDER)  # fmt: skip


def scrape(page: StatsPage) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(metrics.render(page, meters=[METER]).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def value(found: dict[str, list[Sample]], name: str, **labels: str) -> float:
    (sample,) = [s for s in found[name] if labels.items() <= s.labels.items()]
    return float(sample.value)


def test_every_family_appears_with_its_labels(page: StatsPage) -> None:
    found = scrape(page)
    for family in FAMILIES:
        for name in family.series:
            assert name in found, name
            for sample in found[name]:
                assert set(sample.labels) - {"le"} == set(family.labels), name


def test_counters_are_sums_over_workers_and_lanes(page: StatsPage) -> None:
    for worker, lane in ((0, 0), (0, 1), (1, 0)):
        block = page.worker(worker, lane)
        block.add("queries", 10)
        block.add("queries_prepared", 4)
        block.add("bytes_client_in", 100)
        block.add("pool_wait_us", 500_000)
        block.error("queue_timeout")
        block.park("plan_miss")
        block.pin("user_variable")
    found = scrape(page)
    assert value(found, "fairlead_queries_total") == 30
    assert value(found, "fairlead_worker_queries_total", worker="0") == 20
    assert value(found, "fairlead_protocol_queries_total", protocol="prepared") == 12
    assert value(found, "fairlead_client_bytes_total", direction="in") == 300
    assert value(found, "fairlead_pool_wait_seconds_total") == pytest.approx(1.5)
    assert value(found, "fairlead_errors_total", **{"class": "queue_timeout"}) == 3
    assert value(found, "fairlead_parks_total", reason="plan_miss") == 3
    assert value(found, "fairlead_pinned_sessions", reason="user_variable") == 3
    assert len(found["fairlead_errors_total"]) == len(ERROR_CLASSES)
    assert len(found["fairlead_parks_total"]) == len(PARK_REASONS)
    assert len(found["fairlead_pins_total"]) == len(PIN_REASONS)


def test_histograms_are_cumulative_and_in_seconds(page: StatsPage) -> None:
    block = page.worker(0, RELAY)
    for us in (3, 4, 100, 2_000_000, 500_000_000):
        block.shard_time(0, us, 10 * us)
    found = scrape(page)
    buckets = {s.labels["le"]: s.value for s in found["fairlead_proxy_seconds_bucket"]
               if s.labels["shard"] == "eu-0"}
    assert (buckets["0.000004"], buckets["0.000008"], buckets["0.000128"]) == (1, 2, 3)
    assert (buckets["1.048576"], buckets["+Inf"]) == (3, 5)
    assert list(buckets.values()) == sorted(buckets.values())
    assert value(found, "fairlead_proxy_seconds_count", shard="eu-0") == 5
    assert value(found, "fairlead_proxy_seconds_sum", shard="eu-0") == pytest.approx(502.000107)
    assert value(found, "fairlead_backend_seconds_sum", shard="eu-0") == pytest.approx(5020.00107)
    assert value(found, "fairlead_backend_seconds_count", shard="us-0") == 0


def test_backends_show_their_health_and_use(page: StatsPage) -> None:
    page.limit_take(0, 0, 64)
    page.limit_take(0, 1, 64)
    page.limit_want(1, 1, 5)
    found = scrape(page)
    primary = {"shard": "eu-0", "backend": "127.0.0.1:7400"}
    replica = {"shard": "eu-0", "backend": "127.0.0.1:7401"}
    assert value(found, "fairlead_backend_state", **primary, state="up") == 1
    assert value(found, "fairlead_backend_state", **primary, state="down") == 0
    assert value(found, "fairlead_backend_role", **replica, role="replica") == 1
    assert value(found, "fairlead_backend_lag_seconds", **replica) == 1.5
    assert not [s for s in found["fairlead_backend_lag_seconds"] if s.labels == primary]
    assert value(found, "fairlead_backend_connections", **primary) == 2
    assert value(found, "fairlead_backend_connection_limit", **primary) == 64
    assert value(found, "fairlead_backend_waiting_sessions", **replica) == 5
    assert value(found, "fairlead_backend_info", **primary, flavour="mariadb", version="10.11.19") == 1


def test_workers_show_their_life(page: StatsPage) -> None:
    page.worker_exited(1, 9)
    page.worker_started(1, os.getpid())
    found = scrape(page)
    assert value(found, "fairlead_worker_up", worker="0") == 1
    assert value(found, "fairlead_worker_up", worker="1") == 0
    assert value(found, "fairlead_worker_restarts_total", worker="1") == 1
    assert value(found, "fairlead_worker_heartbeat_age_seconds", worker="0", thread="relay") < 5
    assert value(found, "fairlead_worker_config_epoch", worker="0") == 3
    assert value(found, "fairlead_worker_resident_bytes", worker="0") > 1 << 20
    assert value(found, "fairlead_config_epoch") == 3
    assert value(found, "fairlead_ready") == 1


def test_counters_do_not_go_back_over_a_restart(page: StatsPage) -> None:
    block = page.worker(0, RELAY)
    block.add("queries", 7)
    block.shard_add(1, "queries", 7)
    before = scrape(page)
    page.worker_exited(0, 9)
    page.worker_started(0, os.getpid())
    after = scrape(page)
    process = {"fairlead_worker_cpu_seconds_total"}
    for name in {name for name in before if name.endswith(("_total", "_bucket", "_count", "_sum"))} - process:
        old = {tuple(sorted(s.labels.items())): s.value for s in before[name]}
        assert all(s.value >= old[tuple(sorted(s.labels.items()))] for s in after[name]), name


def test_a_retired_shard_leaves_the_series(page: StatsPage) -> None:
    page.declare("shard", [("eu-0", 0, True), ("eu-1", 0, True)])
    assert {s.labels["shard"] for s in scrape(page)["fairlead_shard_queries_total"]} == {"eu-0", "eu-1"}


def test_no_label_holds_a_statement_or_a_user(page: StatsPage) -> None:
    block = page.worker(0)
    block.digest_add(*block.claim(1, b"select secret_column from t", user=1), 10)
    block.slow_add(1, 10, 10, 0, user=1)
    text = metrics.render(page).decode()
    assert "secret_column" not in text and '"report"' not in text and '"demo"' not in text
    found = scrape(page)
    assert value(found, "fairlead_digests") == 1
    assert value(found, "fairlead_slow_queries_total") == 1


def test_a_large_topology_stays_within_8000_series() -> None:
    page = StatsPage.create(workers=8, shards=64, backends=192)
    page.declare("region", [("eu", 0, True)])
    page.declare("shard", [(f"eu-{i}", 0, True) for i in range(64)])
    page.declare("backend", [(f"10.0.0.{i}:3306", i // 3, True) for i in range(192)])
    assert sum(len(samples) for samples in scrape(page).values()) <= 8_000


def test_labels_are_escaped(bare: StatsPage) -> None:
    bare.declare("shard", [('a"b\\c\nd', 0, True)])
    assert value(scrape(bare), "fairlead_shard_queries_total", shard='a"b\\c\nd') == 0


def test_names_and_units_follow_the_conventions() -> None:
    for family in FAMILIES:
        assert family.name.startswith("fairlead_") and family.help.endswith(".")
        assert not family.name.endswith(("_total", "_ms", "_us", "_millis"))
        assert "us" not in family.name.split("_")


@pytest.mark.parametrize("number, text", [(101119, "10.11.19"), (90700, "9.7.0"), (0, "")])
def test_versions(number: int, text: str) -> None:
    assert dotted(number) == text


def test_the_documentation_is_current() -> None:
    assert DOCS.read_text() == metrics.documentation(), "run: python -m ops.metrics > docs/metrics.md"
