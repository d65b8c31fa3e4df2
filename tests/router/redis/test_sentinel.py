"""Whose word counts among sentinels."""

from __future__ import annotations

import pytest

from router.redis.sentinel import Word, believed

MASTER = [b"name", b"mymaster", b"ip", b"10.0.0.1", b"port", b"6379", b"flags", b"master", b"config-epoch", b"7"]


def replica(host: bytes, flags: bytes) -> list[bytes]:
    return [b"ip", host, b"port", b"6380", b"flags", flags]


def test_a_word():
    replicas = [replica(b"10.0.0.3", b"slave"), replica(b"10.0.0.2", b"slave"), replica(b"10.0.0.4", b"s_down,slave")]
    assert Word.of(MASTER, replicas) == Word(7, ("10.0.0.1", 6379), (("10.0.0.2", 6380), ("10.0.0.3", 6380)))


@pytest.mark.parametrize("odd", [MASTER[:-2], [*MASTER[:-1], b"x"], MASTER[:-1], b"nonsense"])
def test_what_is_no_word(odd: object):
    with pytest.raises((KeyError, ValueError)):
        Word.of(odd, [])  # type: ignore[arg-type]


def test_the_newest_counts_and_never_an_older_one_than_before():
    old, new = Word(3, ("a", 1)), Word(4, ("b", 1))
    assert believed([old, None, new], 0) == believed([new, old], 4) == new
    assert believed([old, None], 4) is None
    assert believed([None], 0) is None
