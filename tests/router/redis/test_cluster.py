"""What a Redis Cluster says, and whose word counts."""

from __future__ import annotations

from array import array

import pytest

from router.redis.cluster import Map, Turn, believed, turn_of

INFO = "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_current_epoch:6\r\n"
SLOTS = [
    [5461, 16383, [b"10.0.0.2", 6379, b"bbb", []], [b"10.0.0.3", 6379, b"ccc", []]],
    [0, 100, [b"", 6380, b"aaa", []]],
    [101, 5460, [b"10.0.0.2", 6379, b"bbb", []]],
]


def test_a_map():
    found = Map.of(INFO, SLOTS, ("10.0.0.1", 1))
    assert found.nodes == (("10.0.0.1", 6380), ("10.0.0.2", 6379))
    assert found.ranges == ((0, 100, 0), (101, 5460, 1), (5461, 16383, 1))
    assert (found.epoch, found.whole) == (6, True)
    table = array("H", found.table({("10.0.0.1", 6380): 7, ("10.0.0.2", 6379): 8}))
    assert (table[100], table[101], table[16383], len(table)) == (7, 8, 8, 16384)
    assert Map.of(INFO, SLOTS[:1], ("x", 1)).table({("10.0.0.2", 6379): 8})[:2] == b"\0\0"  # nobody's


@pytest.mark.parametrize("slots", [[[0, 16384, [b"a", 1, b"a"]]], [[5, 4, [b"a", 1, b"a"]]], [[0]], b"x"])
def test_what_is_no_map(slots: object):
    with pytest.raises((KeyError, ValueError, TypeError, IndexError)):
        Map.of(INFO, slots, ("x", 1))  # type: ignore[arg-type]


def test_the_newest_usable_word_counts():
    one = (("a", 1),)
    old, new = Map(3, True, one, (), 0), Map(4, True, one, (), 0)
    apart = Map(9, False, one, (), 0)
    assert believed([old, None, new, apart], old) == new
    assert believed([old, apart], new) is None
    assert believed([apart], None) == apart
    assert believed([None, Map(1, True, (), (), 0)], None) is None


def test_what_errors_ask_for():
    assert turn_of(b"-MOVED 3999 127.0.0.1:6381\r\n") == (Turn.MOVED, ("127.0.0.1", 6381))
    assert turn_of(b"-ASK 3999 ::1:6381\r\n") == (Turn.ASK, ("::1", 6381))
    assert turn_of(b"-MOVED 3999 :x\r\n") == (Turn.MOVED, None)
    assert turn_of(b"-TRYAGAIN Multiple keys\r\n") == turn_of(b"-CLUSTERDOWN x\r\n") == (Turn.LATER, None)
    for other in (b"-MOVED\r\n", b"-ERR x y\r\n", b"+OK\r\n", b"$-1\r\n", b""):
        assert turn_of(other) is None
