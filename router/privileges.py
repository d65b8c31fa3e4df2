"""What a user may do: grants by keyspace, table and verb, from the configuration.

`all` is every verb but `admin`, which counts only in a grant on `*.*`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from config.settings import Grant
from config.words import Verb
from router.errors import Refusal, refusal


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """A verb that a statement needs on a table, or on a whole keyspace (`table` None)."""

    verb: Verb
    keyspace: str
    table: str | None = None


@dataclass(frozen=True, slots=True)
class Grants:
    """The grants of one user."""

    user: str
    grants: tuple[Grant, ...] = ()

    @property
    def administers(self) -> bool:
        return any(
            Verb.ADMIN in grant.verbs and grant.on.keyspace is None and grant.on.table is None for grant in self.grants
        )

    @property
    def everywhere(self) -> bool:
        """Every verb on every keyspace: such a user is told about whatever the servers hold."""
        return any(
            Verb.ALL in grant.verbs and grant.on.keyspace is None and grant.on.table is None for grant in self.grants
        )

    def allows(self, need: Need) -> bool:
        return any(_covers(grant, need) for grant in self.grants)

    def sees(self, keyspace: str) -> bool:
        """Is there any grant on the keyspace or on a table in it?"""
        return any(grant.on.keyspace in (None, keyspace) and grant.verbs for grant in self.grants)

    def all_on(self, keyspace: str) -> bool:
        """Every verb on the whole keyspace."""
        return any(
            Verb.ALL in grant.verbs and grant.on.keyspace in (None, keyspace) and grant.on.table is None
            for grant in self.grants
        )

    def check(self, needs: Iterable[Need]) -> Refusal | None:
        """The first need that is not granted, as MySQL words it; None when all are."""
        for need in sorted(needs, key=lambda need: (need.keyspace, need.table or "", need.verb)):
            if not self.allows(need):
                return self._denied(need)
        return None

    def _denied(self, need: Need) -> Refusal:
        if not self.sees(need.keyspace):
            return refusal("DENIED_DATABASE", self.user, need.keyspace)
        verb = need.verb.value.upper().replace("_", " ")
        if need.table is None:
            return refusal("DENIED_VERB", verb, self.user, need.keyspace)
        return refusal("DENIED_TABLE", verb, self.user, need.table)


def _covers(grant: Grant, need: Need) -> bool:
    if grant.on.keyspace not in (None, need.keyspace) or grant.on.table not in (None, need.table):
        return False
    if need.verb is Verb.ADMIN:
        return Verb.ADMIN in grant.verbs and grant.on.keyspace is None
    return need.verb in grant.verbs or Verb.ALL in grant.verbs
