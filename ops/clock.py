"""The page keeps CLOCK_MONOTONIC; people read wall-clock time."""

import time
from datetime import UTC, datetime

from _speedups.stats import now_ns


def wall_seconds(monotonic_ns: int) -> float:
    """Unix time of a monotonic instant, by the clocks' distance now."""
    return time.time() - (now_ns() - monotonic_ns) / 1e9


def iso(monotonic_ns: int) -> str | None:
    """UTC as ISO 8601 with milliseconds; None for an instant never set."""
    if not monotonic_ns:
        return None
    return datetime.fromtimestamp(wall_seconds(monotonic_ns), UTC).isoformat(timespec="milliseconds")


def age_seconds(monotonic_ns: int, now: int | None = None) -> float:
    """Seconds since a monotonic instant, never negative."""
    return max(0, (now_ns() if now is None else now) - monotonic_ns) / 1e9
