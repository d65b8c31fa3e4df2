"""Plain references for `_speedups.stats`: buckets by search, positions by cases, digests by dictionary."""

from bisect import bisect_right
from collections import Counter

OCTAVES = range(2, 27)
FLOORS = [0, 1, 2, 3] + [2**octave * (4 + step) // 4 for octave in OCTAVES for step in range(4)]


def bucket(us: int) -> int:
    return bisect_right(FLOORS, max(0, us)) - 1


def position_after(known: int, value: int) -> int:
    same_source = known >> 48 == value >> 48
    return max(known, value) if same_source else value


def position_reached(replica: int, wanted: int) -> bool:
    if wanted == 0:
        return True
    return replica >> 48 == wanted >> 48 and replica & (2**48 - 1) >= wanted & (2**48 - 1)


class Digests:
    """Executions by statement shape, with as many shapes of their own as there are slots."""

    def __init__(self) -> None:
        self.executions: Counter[int] = Counter()
        self.time_us: Counter[int] = Counter()

    def add(self, shape: int, us: int) -> None:
        self.executions[shape] += 1
        self.time_us[shape] += us
