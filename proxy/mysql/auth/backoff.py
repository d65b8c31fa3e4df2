"""A pause that grows with failed logins.

Failures are counted for a user and an address together, so that a stranger's guesses lock nobody else out. While the
pause lasts no password is looked at: a right one and a wrong one get the same answer. When it is over, one login is
let through; the others wait on until that one has proved itself.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.mysql.errors import HandshakeRefused

log = logging.getLogger(__name__)

FREE = 3
"""Failures in a row that cost nothing."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds; doubled with each further failure."""
FORGET = 900.0
"""Seconds after which failures are forgotten."""
REMEMBERED = 4096
"""Pairs of user and address; those that failed longest ago go first."""
LONGEST_NAME = 128
"""Characters of a user's name that are remembered: no server takes longer ones."""

Key = tuple[str, str]
Told = tuple[int, str, str | None]
"""errno, text, SQLSTATE"""
HOST_IS_BLOCKED = 1129


class LoginsPaused(HandshakeRefused):
    """Too many have failed: told what the catalogue says."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


def _told(user: str, address: str, seconds: int) -> Told:
    return HOST_IS_BLOCKED, f"too many failed logins of '{user}' from {address}; try again in {seconds} s", None


@dataclass(slots=True)
class Backoff:
    """Failed logins by user and address. `longest`: the longest pause in seconds; 0: there is none. `told`: what is
    answered while it lasts, by user, address and seconds."""

    longest: float = LONGEST_PAUSE
    told: Callable[[str, str, int], Told] = _told
    now: Callable[[], float] = time.monotonic
    _failures: OrderedDict[Key, _Failures] = field(default_factory=OrderedDict)

    def attempt(self, user: str, address: str) -> float:
        """Seconds until a password is looked at again; 0 when it is now, and then for this attempt only if the last
        ones have failed."""
        found, now = self._failures.get(_key(user, address)), self.now()
        if found is None or found.count <= FREE or not self.longest:
            return 0.0
        if found.until > now:
            return found.until - now
        found.until = now + self._pause(found)
        return 0.0

    def check(self, user: str, address: str) -> None:
        """Raises LoginsPaused while this user has to wait."""
        pause = self.attempt(user, address)
        if pause:
            raise LoginsPaused(*self.told(_shown(user), address, math.ceil(pause)))

    def failed(self, user: str, address: str) -> None:
        now, key = self.now(), _key(user, address)
        found = self._failures.pop(key, None)
        if found is None or now - found.last > FORGET:
            found = _Failures()
        found.count, found.last = found.count + 1, now
        self._failures[key] = found
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        if found.count > FREE and self.longest:
            pause = self._pause(found)
            found.until = now + pause
            log.warning(
                "user %r from %s: %d failed logins in a row, no password is looked at for %g s",
                _shown(user), address, found.count, pause,
            )  # fmt: skip

    def succeeded(self, user: str, address: str) -> None:
        self._failures.pop(_key(user, address), None)

    def _pause(self, found: _Failures) -> float:
        return float(min(FIRST_PAUSE * 2 ** min(found.count - FREE - 1, 16), self.longest))


def _key(user: str, address: str) -> Key:
    return user[:LONGEST_NAME], address


def _shown(user: str) -> str:
    return user.encode("utf-8", "replace").decode()[:80]
