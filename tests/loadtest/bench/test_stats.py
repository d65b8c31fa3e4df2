"""Medians, order-statistic intervals, ratios, quantiles."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench import stats

CASES = Path(__file__).parents[2] / "cases" / "bench"


@pytest.mark.parametrize("case", json.loads((CASES / "medians.json").read_text()), ids=lambda case: case["comment"])
def test_median_and_interval(case: dict[str, Any]) -> None:
    found = stats.median_interval(case["values"], case.get("confidence", 0.95))
    assert (found.median, found.low, found.high) == (case["median"], case["low"], case["high"])
    assert found.coverage == pytest.approx(case["coverage"])
    assert found.n == len(case["values"])


def test_interval_covers_as_often_as_it_says() -> None:
    """The promise itself: how often the interval of 9 draws holds the true median, over many tries."""
    draw, tries, held = random.Random(7), 4000, 0
    for _ in range(tries):
        interval = stats.median_interval([draw.expovariate(1.0) for _ in range(9)])
        held += interval.low <= 0.6931471805599453 <= interval.high
    assert held / tries == pytest.approx(0.961, abs=0.012)


def test_no_values_are_no_median() -> None:
    with pytest.raises(ValueError, match="no values"):
        stats.median_interval([])


def test_ratios_are_of_the_same_round() -> None:
    assert stats.paired_ratios([2.0, 9.0, 6.0], [4.0, 3.0, 6.0]) == [0.5, 3.0, 1.0]


def test_a_round_that_lacks_a_side_is_left_out() -> None:
    assert stats.paired_ratios([2.0, None, 6.0, 1.0], [4.0, 3.0, None, 0.0]) == [0.5]


def test_rounds_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError):
        stats.paired_ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([10.0] * 7, 0.0), ([9.0, 10.0, 11.0], 0.1), ([1.0, 9.8, 10.0, 10.2, 99.0], 0.02), ([0.0, 0.0], 0.0)],
)
def test_spread_is_half_the_inner_range_over_the_median(values: list[float], expected: float) -> None:
    assert stats.spread(values) == pytest.approx(expected)


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_quantile_is_nearest_rank(fraction: float, expected: int) -> None:
    assert stats.quantile(range(1, 101), fraction) == expected


def test_quantile_of_one_value() -> None:
    assert stats.quantile([4.0], 0.99) == 4.0
    with pytest.raises(ValueError):
        stats.quantile([], 0.5)


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 1.0), (0.51, 2.0), (0.99, 2.0), (0.995, 8.0), (0.0, 1.0)])
def test_histogram_quantile(fraction: float, expected: float) -> None:
    bins = [(8.0, 1), (1.0, 50), (2.0, 49)]
    assert stats.histogram_quantile(bins, fraction) == expected


def test_histogram_quantile_agrees_with_the_values_behind_it() -> None:
    draw = random.Random(3)
    values = sorted(draw.randint(1, 30) for _ in range(997))
    bins = [(float(value), values.count(value)) for value in set(values)]
    for fraction in (0.01, 0.5, 0.9, 0.99, 1.0):
        assert stats.histogram_quantile(bins, fraction) == stats.quantile(values, fraction)


def test_an_empty_histogram_has_no_quantile() -> None:
    with pytest.raises(ValueError):
        stats.histogram_quantile([(1.0, 0)], 0.5)
