"""Failed logins: a pause that grows, for a user and an address together."""

from __future__ import annotations

import pytest

from proxy.mysql.auth.backoff import FIRST_PAUSE, FORGET, FREE, LONGEST_PAUSE, REMEMBERED, Backoff, LoginsPaused


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backoff(clock: Clock) -> Backoff:
    return Backoff(now=clock)


def fail(backoff: Backoff, times: int, user: str = "root", address: str = "10.0.0.1") -> None:
    for _ in range(times):
        backoff.failed(user, address)


def test_some_failures_cost_nothing(backoff: Backoff) -> None:
    fail(backoff, FREE)
    assert backoff.attempt("root", "10.0.0.1") == 0


def test_the_pause_doubles_up_to_a_bound(backoff: Backoff) -> None:
    fail(backoff, FREE)
    pauses = []
    for _ in range(10):
        fail(backoff, 1)
        pauses.append(backoff.attempt("root", "10.0.0.1"))
    assert pauses[:4] == [FIRST_PAUSE * 2**n for n in range(4)]
    assert pauses[-1] == LONGEST_PAUSE


def test_nobody_else_waits(backoff: Backoff) -> None:
    fail(backoff, 20)
    assert backoff.attempt("root", "10.0.0.2") == backoff.attempt("other", "10.0.0.1") == 0


def test_a_success_and_time_forgive(backoff: Backoff, clock: Clock) -> None:
    fail(backoff, FREE + 1)
    backoff.succeeded("root", "10.0.0.1")
    fail(backoff, FREE)
    assert backoff.attempt("root", "10.0.0.1") == 0
    clock.now += FORGET + 1
    fail(backoff, FREE)
    assert backoff.attempt("root", "10.0.0.1") == 0


def test_what_is_remembered_is_bounded(backoff: Backoff) -> None:
    for number in range(REMEMBERED + 100):
        backoff.failed("root", str(number))
    assert len(backoff._failures) == REMEMBERED


def test_it_is_told_when_to_come_again(backoff: Backoff) -> None:
    backoff.check("root", "10.0.0.1")
    fail(backoff, FREE + 2)
    with pytest.raises(LoginsPaused, match=r"'root' from 10\.0\.0\.1.*2 s"):
        backoff.check("root", "10.0.0.1")


def test_behind_the_pause_one_attempt_goes_before_the_others(backoff: Backoff, clock: Clock) -> None:
    """Or as many passwords could be tried at once as connections may be logging in."""
    fail(backoff, FREE + 1)
    clock.now += FIRST_PAUSE
    assert backoff.attempt("root", "10.0.0.1") == 0
    assert backoff.attempt("root", "10.0.0.1") == FIRST_PAUSE
    backoff.succeeded("root", "10.0.0.1")
    assert backoff.attempt("root", "10.0.0.1") == 0


def test_it_can_be_left_out(clock: Clock) -> None:
    backoff = Backoff(0, clock)
    fail(backoff, 50)
    assert backoff.attempt("root", "10.0.0.1") == 0


def test_a_long_name_takes_no_more_room(backoff: Backoff) -> None:
    fail(backoff, FREE + 1, user="x" * 100_000)
    assert all(len(user) <= 128 for user, _ in backoff._failures)
