"""Who may come in: the console's accounts and their roles, and a pause that grows with failed logins.

Failures are counted for a user and an address together, so that a stranger's guesses lock nobody else out. While the
pause lasts no password is looked at: a right one and a wrong one get the same answer.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from config.admin import AdminAccount
from config.words import AdminRole
from proxy.generation import verifier_of
from proxy.mysql.auth.accounts import Account, Accounts, ProvenPasswords
from proxy.mysql.auth.scramble import CACHING_SHA2, NATIVE
from proxy.mysql.errors import HandshakeRefused
from router.errors import refusal

FREE = 3
"""Failures in a row that cost nothing."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds; doubled with each further failure."""
FORGET = 900.0
"""Seconds after which failures are forgotten."""
REMEMBERED = 4096
"""Pairs of user and address; those that failed longest ago go first."""

Key = tuple[str, str]


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


@dataclass(slots=True)
class Backoff:
    """Failed logins by user and address."""

    now: Callable[[], float] = time.monotonic
    _failures: OrderedDict[Key, _Failures] = field(default_factory=OrderedDict)

    def pause(self, user: str, address: str) -> float:
        """Seconds until a password is looked at again; 0 when it is now."""
        found = self._failures.get((user, address))
        return max(0.0, found.until - self.now()) if found is not None else 0.0

    def failed(self, user: str, address: str) -> None:
        now, key = self.now(), (user, address)
        found = self._failures.pop(key, None)
        if found is None or now - found.last > FORGET:
            found = _Failures()
        found.count, found.last = found.count + 1, now
        if found.count > FREE:
            found.until = now + min(FIRST_PAUSE * 2 ** min(found.count - FREE - 1, 16), LONGEST_PAUSE)
        self._failures[key] = found
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        self._failures.pop((user, address), None)


class GuardedAccounts(Accounts):
    """The accounts as one address sees them; `tried` is the name that it gave."""

    def __init__(self, accounts: Accounts, backoff: Backoff, address: str) -> None:
        super().__init__(accounts.all(), secret=accounts.secret, proven=accounts.proven)
        self._backoff = backoff
        self._address = address
        self.tried: str | None = None

    def find(self, user: str) -> Account:
        """Raises HandshakeRefused while this user has to wait."""
        pause = self._backoff.pause(user, self._address)
        if pause:
            shown = user.encode("utf-8", "replace").decode()[:80]
            error = refusal("CONSOLE_LOGINS", shown, self._address, str(math.ceil(pause)))
            raise HandshakeRefused(error.errno, error.message, error.sqlstate)
        self.tried = user
        return super().find(user)


def accounts_of(accounts: Mapping[str, AdminAccount], secret: bytes) -> Accounts:
    found = [_account(name, given) for name, given in accounts.items()]
    return Accounts(found, secret=secret, proven=ProvenPasswords())


def _account(name: str, given: AdminAccount) -> Account:
    verifier = verifier_of(given.password)
    plugins = tuple(plugin for plugin in (CACHING_SHA2, NATIVE) if verifier.supports(plugin))
    return Account(name, verifier, plugins=plugins)


def is_admin(accounts: Mapping[str, AdminAccount], user: str) -> bool:
    """By the configuration in force: a role that is taken away is gone from sessions, too."""
    account = accounts.get(user)
    return account is not None and account.role is AdminRole.ADMIN
