"""A hybrid logical clock (Kulkarni et al. 2014): wall time that never goes back and never repeats."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

COUNTER_BITS = 16


class HybridClock:
    """Stamps of 64 bits: milliseconds of Unix time in the upper 48, a counter in the lower 16."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._last = 0
        self._lock = threading.Lock()

    def now(self) -> int:
        """Greater than every stamp given or seen before, also when the wall clock is set back."""
        with self._lock:
            self._last = max(int(self._wall() * 1000) << COUNTER_BITS, self._last + 1)
            return self._last

    def seen(self, stamp: int) -> None:
        """A stamp from elsewhere (an older file, another Fairlead): later ones of this clock are greater."""
        with self._lock:
            self._last = max(self._last, stamp)


def seconds_of(stamp: int) -> float:
    """Unix time of a stamp."""
    return (stamp >> COUNTER_BITS) / 1000


def stamp_of(seconds: float) -> int:
    """The first stamp of an instant."""
    return int(seconds * 1000) << COUNTER_BITS


def iso(stamp: int) -> str:
    """UTC as ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(seconds_of(stamp), UTC).isoformat(timespec="milliseconds")
