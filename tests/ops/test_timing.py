"""Percentiles against sorted lists, cumulative counts against counting."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups.stats import StatsPage, bucket, bucket_bounds, digest_bounds
from ops.families import BACKEND_EDGES_US, PROXY_EDGES_US
from ops.timing import cumulative, digest_quantile, mean, quantile

DURATIONS = st.lists(st.integers(0, 100_000_000), min_size=1, max_size=60)


def page_of(durations: list[int]) -> StatsPage:
    page = StatsPage.create(workers=1, shards=1, backends=1, digests=2, slow=1)
    block = page.worker(0)
    pair = block.claim(1, b"x")
    for us in durations:
        block.shard_time(0, us, us)
        block.digest_add(*pair, us)
    return page


@given(DURATIONS, st.floats(0.01, 1.0))
@settings(max_examples=60, deadline=None)
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(durations: list[int], q: float) -> None:
    page = page_of(durations)
    exact = sorted(durations)[math.ceil(q * len(durations)) - 1]
    floor, ceiling = bucket_bounds(bucket(exact))
    assert floor <= quantile(page.histogram(0), q) <= min(ceiling or math.inf, max(durations))
    floor, ceiling = digest_bounds(bucket(exact) // 2)
    assert floor <= digest_quantile(page.digests()[1].time, q) <= min(ceiling or math.inf, max(durations))


@given(DURATIONS)
@settings(max_examples=40, deadline=None)
def test_cumulative_counts_at_the_published_edges_are_exact(durations: list[int]) -> None:
    time = page_of(durations).histogram(0)
    for edges in (PROXY_EDGES_US, BACKEND_EDGES_US):
        assert cumulative(time, edges) == [sum(us < edge for us in durations) for edge in edges]


def test_published_edges_are_floors_of_buckets() -> None:
    for edges in (PROXY_EDGES_US, BACKEND_EDGES_US):
        assert list(edges) == sorted(set(edges))
        assert all(bucket_bounds(bucket(edge))[0] == edge for edge in edges)


def test_nothing_counted_is_zero() -> None:
    time = page_of([]).histogram(0)
    assert (quantile(time, 0.5), mean(time)) == (0.0, 0.0)
    assert mean(page_of([10, 20]).histogram(0)) == 15.0
