"""Back-off, and how the end of a process is told."""

from __future__ import annotations

import signal

import pytest

from proxy.supervision.children import LONGEST_PAUSE, PROVEN, Backoff, ending


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff()
    pauses = [backoff.pause(0.0) for _ in range(100)]
    assert pauses[:7] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert set(pauses[6:]) == {LONGEST_PAUSE}


def test_a_child_that_ran_for_long_starts_over() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.pause(0.0)
    assert backoff.pause(PROVEN) == pytest.approx(0.1)
    assert backoff.pause(0.0) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with code 0"),
        (3 << 8, "exited with code 3"),
        (signal.SIGKILL, "was killed by SIGKILL"),
        (signal.SIGSEGV | 0x80, "was killed by SIGSEGV"),
        (signal.SIGRTMIN + 3, "was killed by signal 37"),
    ],
)
def test_an_ending_in_words(status: int, text: str) -> None:
    assert ending(status) == text
