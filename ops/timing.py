"""Percentiles and edges from the statistics page's histograms."""

from collections.abc import Callable, Sequence

from _speedups.stats import Timing, bucket_bounds, digest_bounds

Bounds = Callable[[int], tuple[int, int | None]]


def quantile(timing: Timing, q: float, bounds: Bounds = bucket_bounds) -> float:
    """The q-quantile (0 to 1) in microseconds, interpolated within its bucket and never above the maximum.

    0.0 when nothing was counted. The error is at most the bucket's width: a quarter of an octave for shards,
    half of one for digests (pass `digest_bounds`).
    """
    wanted = q * timing.samples
    below = 0
    for index, count in enumerate(timing.buckets):
        if count and below + count >= wanted:
            floor, ceiling = bounds(index)
            top = min(timing.max_us, ceiling if ceiling is not None else timing.max_us)
            return floor + (max(top, floor) - floor) * max(0.0, wanted - below) / count
        below += count
    return 0.0


def digest_quantile(timing: Timing, q: float) -> float:
    """`quantile` of a digest's histogram."""
    return quantile(timing, q, digest_bounds)


def mean(timing: Timing) -> float:
    """Mean in microseconds; 0.0 when nothing was counted."""
    return timing.sum_us / timing.samples if timing.samples else 0.0


def cumulative(timing: Timing, edges_us: Sequence[int]) -> list[int]:
    """How many durations lie below each edge. An edge must be the floor of a bucket: then it is exact."""
    counts = []
    below = index = 0
    for edge in edges_us:
        while index < len(timing.buckets) and bucket_bounds(index)[0] < edge:
            below += timing.buckets[index]
            index += 1
        counts.append(below)
    return counts
