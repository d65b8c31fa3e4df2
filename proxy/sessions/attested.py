"""Who a session is towards peers: the user, and how it was authenticated where the policy tells that apart.

The relay finds a session's way to another region by a number. Most sessions have their user's own; one that the policy
takes for another subject than the bare user gets a number of its own, so that its statements never travel under the
identity of the user's other sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proxy.sessions.session import Identity
from router.policy.model import Policy, Subject

IDENTITIES = 256
"""Numbers besides the users' own, for identities that the policy tells apart. One beyond them reaches no peer."""
NO_NUMBER = 0xFFFFFFFF


class Known(Protocol):
    """A client of either protocol, as far as peers are told of it."""

    @property
    def user(self) -> str | None: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def hop(self) -> bool: ...
    @property
    def subject(self) -> Subject | None: ...


@dataclass(frozen=True, slots=True)
class Attested:
    """What a peer is told of a session. `number`: the relay's for it."""

    user: str
    number: int
    listener: str = ""
    certificate: str = ""

    @property
    def told(self) -> str:
        """For names of connections."""
        return " ".join(filter(None, (self.user, self.listener, self.certificate)))


class Identities:
    """One worker's numbers. `first`: behind the users' own."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._numbers: dict[tuple[str, Identity], int] = {}

    def of(self, session: Known, own: int, policy: Policy | None) -> Attested:
        """`own`: the user's number."""
        user = session.user
        assert user is not None  # logged in
        if policy is None or session.hop or policy.subject_of(user, "", None) == session.subject:
            return Attested(user, own)
        key = (user, session.identity)
        number = self._numbers.get(key)
        if number is None:
            if len(self._numbers) >= IDENTITIES:
                return Attested(user, NO_NUMBER)
            number = self._numbers[key] = self._first + len(self._numbers)
        return Attested(user, number, session.identity.listener, session.identity.certificate or "")
