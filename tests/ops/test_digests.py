"""Ranking, naming and bounding of digests."""

import json
from collections.abc import Callable

import pytest

from _speedups.stats import Digest, StatsPage
from ops import digests
from ops.parameters import BadParameter

SHAPES = {"select ?": [5] * 100, "update t set a = ?": [20_000, 30_000], "delete from t": [900] * 30}


def fill(page: StatsPage) -> None:
    block = page.worker(0)
    for fingerprint, (text, times) in enumerate(SHAPES.items(), 1):
        pair = block.claim(fingerprint, text.encode(), user=0, keyspace=0)
        for us in times:
            block.digest_add(*pair, us, error=text.startswith("delete"), shard=fingerprint, bytes_out=us)
    block.digest_add(0, 0, 7)


@pytest.mark.parametrize("by, first", [
    ("total_time", "update"), ("count", "select"), ("mean", "update"), ("p99", "update"), ("max", "update"),
    ("errors", "delete"), ("bytes", "update"),
])
def test_orders(page: StatsPage, by: str, first: str) -> None:
    fill(page)
    assert digests.top(page, by).rows[0].statement.startswith(first)


def test_a_row_names_what_the_page_numbers(page: StatsPage) -> None:
    fill(page)
    row = digests.top(page).rows[0]
    assert (row.user, row.keyspace, row.shards) == ("demo", "shop", ["us-0"])
    assert (row.count, row.total_us, row.max_us, row.mean_us) == (2, 50_000, 30_000, 25_000.0)
    assert row.digest == "0000000000000002" and not row.truncated
    assert row.first_seen is not None and row.first_seen.endswith("+00:00")


def test_totals_and_shares_add_up_with_other(page: StatsPage) -> None:
    fill(page)
    report = digests.top(page, limit=1)
    assert (report.digests, report.executions, len(report.rows)) == (3, 133, 1)
    assert report.other.count == 1 and report.total_us == 500 + 50_000 + 27_000 + 7
    full = digests.top(page)
    assert sum(r.share for r in [*full.rows, full.other]) == pytest.approx(1, abs=1e-3)


def test_a_claimed_digest_that_never_ran_is_not_shown(page: StatsPage) -> None:
    page.worker(0).claim(1, b"select ?")
    report = digests.top(page)
    assert report.rows == [] and digests.as_table(report).count("\n") == 1


@pytest.mark.parametrize("ask", [
    lambda p: digests.top(p, "fastest"), lambda p: digests.top(p, limit=0),
    lambda p: digests.top(p, limit=digests.MOST + 1),
])
def test_other_questions_are_refused(page: StatsPage, ask: Callable[[StatsPage], object]) -> None:
    with pytest.raises(BadParameter):
        ask(page)


def test_json_and_table_tell_the_same(page: StatsPage) -> None:
    fill(page)
    report = digests.top(page, "count")
    decoded = json.loads(json.dumps(digests.as_json(report)))
    assert decoded["rows"][0]["statement"] == "select ?"
    lines = digests.as_table(report).splitlines()
    assert len(lines) == 1 + 3 + 1
    assert lines[1].endswith("select ?") and lines[-1].endswith("(other)")


def test_a_cut_text_says_so_and_control_characters_do_not_reach_the_terminal(page: StatsPage) -> None:
    block = page.worker(0)
    block.digest_add(*block.claim(9, b"select \x1b[2J" + b"x" * 600), 1)
    text = digests.as_table(digests.top(page))
    assert text.rstrip().endswith("x…") and "\x1b" not in text


def test_every_order_reads_every_digest(page: StatsPage) -> None:
    digest: Digest = page.digests()[0]
    assert all(order(digest) == 0 for order in digests.ORDERS.values())
