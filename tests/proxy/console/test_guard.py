"""Failed logins: a pause that grows, for a user and an address together."""

from __future__ import annotations

import pytest

from proxy.console.guard import FIRST_PAUSE, FORGET, FREE, LONGEST_PAUSE, REMEMBERED, Backoff, GuardedAccounts
from proxy.mysql.auth.accounts import Account, Accounts, Verifier
from proxy.mysql.errors import HandshakeRefused


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backoff(clock: Clock) -> Backoff:
    return Backoff(clock)


def fail(backoff: Backoff, times: int, user: str = "root", address: str = "10.0.0.1") -> None:
    for _ in range(times):
        backoff.failed(user, address)


def test_some_failures_cost_nothing(backoff: Backoff) -> None:
    fail(backoff, FREE)
    assert backoff.pause("root", "10.0.0.1") == 0


def test_the_pause_doubles_up_to_a_bound(backoff: Backoff) -> None:
    fail(backoff, FREE)
    pauses = []
    for _ in range(10):
        fail(backoff, 1)
        pauses.append(backoff.pause("root", "10.0.0.1"))
    assert pauses[:4] == [FIRST_PAUSE * 2**n for n in range(4)]
    assert pauses[-1] == LONGEST_PAUSE


def test_nobody_else_waits(backoff: Backoff) -> None:
    fail(backoff, 20)
    assert backoff.pause("root", "10.0.0.2") == backoff.pause("other", "10.0.0.1") == 0


def test_a_success_and_time_forgive(backoff: Backoff, clock: Clock) -> None:
    fail(backoff, FREE + 1)
    backoff.succeeded("root", "10.0.0.1")
    fail(backoff, FREE)
    assert backoff.pause("root", "10.0.0.1") == 0
    clock.now += FORGET + 1
    fail(backoff, FREE)
    assert backoff.pause("root", "10.0.0.1") == 0


def test_what_is_remembered_is_bounded(backoff: Backoff) -> None:
    for number in range(REMEMBERED + 100):
        backoff.failed("root", str(number))
    assert len(backoff._failures) == REMEMBERED


def test_no_password_is_looked_at_while_one_has_to_wait(backoff: Backoff) -> None:
    accounts = GuardedAccounts(Accounts([Account("root", Verifier.of_password("x"))]), backoff, "10.0.0.1")
    assert accounts.find("root").known and not accounts.find("stranger").known
    fail(backoff, FREE + 1)
    fail(backoff, FREE + 1, user="stranger")
    for user in ("root", "stranger"):
        with pytest.raises(HandshakeRefused, match="FL6008"):
            accounts.find(user)
