"""Medians, ratios of paired rounds and their intervals: plain arithmetic, no I/O."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Interval:
    """A median with the order statistics that enclose it.

    `coverage` is the exact probability (0..1) that [low, high] holds the population's median, whatever the
    distribution: it is what the sample size allows, which for fewer than 6 values is less than asked for.
    """

    median: float
    low: float
    high: float
    coverage: float
    n: int


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The median of `values` and its narrowest symmetric order-statistic interval of at least `confidence`.

    Binomial argument (Conover, Practical Nonparametric Statistics, 3.2): the median lies below the k-th
    smallest value only if fewer than k of n fair coins show heads. No resampling, so the same rounds always
    give the same interval. Raises ValueError when there is no value.
    """
    if not values:
        raise ValueError("no values: a median needs at least one")
    ordered = sorted(values)
    n = len(ordered)
    rank = 0
    while rank + 1 < n - 1 - rank and _coverage(n, rank + 1) >= confidence:
        rank += 1
    return Interval(median(ordered), ordered[rank], ordered[n - 1 - rank], _coverage(n, rank), n)


def _coverage(n: int, rank: int) -> float:
    """Probability that the median lies between the (rank+1)-th smallest and the (rank+1)-th largest of n."""
    tail = sum(math.comb(n, below) for below in range(rank + 1)) / float(2**n)
    return max(0.0, 1.0 - 2.0 * tail)


def paired_ratios(numerators: Sequence[float | None], denominators: Sequence[float | None]) -> list[float]:
    """Round by round numerator / denominator; a round that lacks a side, or has a zero below, is left out.

    Raises ValueError when the sequences are not of one length, because then they are not the same rounds.
    """
    pairs = zip(numerators, denominators, strict=True)
    return [top / bottom for top, bottom in pairs if top is not None and bottom is not None and bottom > 0]


def spread(values: Sequence[float]) -> float:
    """How far the rounds disagree: half the range from the 2nd to the 2nd last value, as part of the median.

    With fewer than 5 values the extremes themselves are taken. 0.02 means the rounds agree within 2 %.
    """
    ordered = sorted(values)
    if len(ordered) >= 5:
        ordered = ordered[1:-1]
    centre = median(ordered)
    return (ordered[-1] - ordered[0]) / 2 / centre if centre else 0.0


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """The nearest-rank quantile of a sorted sequence (fraction 0.99 = p99). ValueError when empty."""
    if not ordered:
        raise ValueError("no values: a quantile needs at least one")
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def histogram_quantile(bins: Sequence[tuple[float, int]], fraction: float) -> float:
    """The upper value of the bin that holds the nearest-rank quantile of a (value, count) histogram."""
    total = sum(count for _, count in bins)
    if total == 0:
        raise ValueError("an empty histogram has no quantile")
    wanted = max(1, math.ceil(fraction * total))
    seen = 0
    for value, count in sorted(bins):
        seen += count
        if seen >= wanted:
            return value
    raise AssertionError("unreachable: the counts add up to the total")
