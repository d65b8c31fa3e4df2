"""Who asks: identities -> subjects, interned so that users with equal attributes share plans.

An entry of `policy.subjects` matches an identity when all its conditions do. Of several that match, a condition on the
certificate goes before any other, one on the user before one on the listener, and more conditions before fewer; the
configuration check refuses two entries that this does not tell apart. No entry: the subject of no domain, id 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from config.policy import HERE, PolicySettings, SubjectSettings
from router.policy.model import UNKNOWN_DOMAIN, Subject

UNKNOWN = Subject(0, UNKNOWN_DOMAIN)
"""An identity that no entry describes."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """`entries` with the ones that go first in front; `ids` numbers every subject that can be."""

    entries: tuple[SubjectSettings, ...]
    domains: Mapping[str, str]
    ids: Mapping[Subject, int]

    @classmethod
    def of(cls, policy: PolicySettings, domains: Mapping[str, str]) -> Subjects:
        """`domains`: region -> its legal domain."""
        entries = tuple(sorted(policy.subjects.values(), key=_precedence, reverse=True))
        found = {UNKNOWN: 0}
        for entry in entries:
            for domain in sorted(set(domains.values())) if entry.domain == HERE else [entry.domain]:
                found.setdefault(_subject(entry, domain), len(found))
        return cls(entries, domains, MappingProxyType(found))

    def of_identity(self, user: str, listener: str, certificate: str | None, region: str) -> Subject:
        """`region`: where the Fairlead stands that authenticated it."""
        for entry in self.entries:
            if _matches(entry, user, listener, certificate):
                domain = self.domains.get(region, UNKNOWN_DOMAIN) if entry.domain == HERE else entry.domain
                bare = _subject(entry, domain)
                return replace(bare, id=self.ids[bare]) if bare in self.ids else UNKNOWN
        return UNKNOWN

    def all(self) -> tuple[Subject, ...]:
        """Every subject, by id."""
        return tuple(replace(bare, id=number) for bare, number in self.ids.items())


def _subject(entry: SubjectSettings, domain: str) -> Subject:
    return Subject(0, domain, frozenset(entry.roles), entry.purpose, entry.counterparty)


def _precedence(entry: SubjectSettings) -> tuple[bool, bool, bool]:
    return bool(entry.certificates), bool(entry.users), bool(entry.listeners)


def _matches(entry: SubjectSettings, user: str, listener: str, certificate: str | None) -> bool:
    return (
        (not entry.users or user in entry.users)
        and (not entry.listeners or listener in entry.listeners)
        and (not entry.certificates or certificate in entry.certificates)
    )
