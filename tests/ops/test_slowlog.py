"""The slow log as shown: named, joined with its digests, bounded, to be followed by sequence number."""

import json

import pytest

from _speedups.stats import SLOW_FLAGS, StatsPage
from ops import slowlog
from ops.parameters import BadParameter


def fill(page: StatsPage) -> None:
    block = page.worker(1)
    block.claim(7, b"select * from orders where id = ?", user=1, keyspace=0)
    block.slow_add(7, 900_000, 880_000, 1_000, shard=2, user=1, keyspace=0, error=1205, session=12,
                   flags=SLOW_FLAGS["prepared"] | SLOW_FLAGS["replica"], bytes_out=40)
    block.slow_add(8, 600_000, 0, 600_000)


def test_rows_are_named_and_joined(page: StatsPage) -> None:
    fill(page)
    first, second = slowlog.newest(page).rows
    assert (first.user, first.keyspace, first.shard, first.worker) == ("report", "shop", "us-0", 1)
    assert first.statement == "select * from orders where id = ?"
    assert (first.total_us, first.backend_us, first.wait_us, first.error) == (900_000, 880_000, 1_000, 1205)
    assert first.flags == ["prepared", "replica"]
    assert (second.user, second.shard, second.statement) == (None, None, None)


def test_it_can_be_followed(page: StatsPage) -> None:
    fill(page)
    report = slowlog.newest(page)
    assert slowlog.newest(page, after=report.next_after).rows == []
    page.worker(0).slow_add(9, 1, 1, 0)
    again = slowlog.newest(page, after=report.next_after)
    assert [row.digest for row in again.rows] == ["0000000000000009"]
    assert again.next_after == report.next_after + 1


def test_it_is_bounded(page: StatsPage) -> None:
    for i in range(100):
        page.worker(0).slow_add(i, 1, 1, 0)
    assert len(slowlog.newest(page, limit=1000).rows) == 16
    assert [row.digest[-2:] for row in slowlog.newest(page, limit=2).rows] == ["62", "63"]
    for limit, after in ((0, 0), (slowlog.MOST + 1, 0), (5, -1)):
        with pytest.raises(BadParameter):
            slowlog.newest(page, after, limit)


def test_json_and_table(page: StatsPage) -> None:
    fill(page)
    report = slowlog.newest(page)
    assert json.loads(json.dumps(slowlog.as_json(report)))["rows"][0]["session"] == 12
    lines = slowlog.as_table(report).splitlines()
    assert lines[1].endswith("select * from orders where id = ?") and "900ms" in lines[1]
    assert lines[2].endswith("(no digest)")
