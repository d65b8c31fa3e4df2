"""What an execution of a plan is recorded as: its decision, made once for all executions of the plan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ops.audit.decided import Asker, allowance_of, decision_of, denial_of, vocabulary_of
from ops.audit.record import Decision, Vocabulary, Would
from proxy.generation import Generation
from proxy.sessions.session import Session
from router.errors import Refusal
from router.plan import Planned, Shadowed
from router.policy.enforce import Enforcement, Part
from router.policy.model import Action, Policy

if TYPE_CHECKING:
    from proxy.worker import Worker

MAX_WORDS = 8


@dataclass(frozen=True, slots=True)
class Template:
    """The decision that executions of a plan are recorded as, but for what differs between them. `crosses`: something
    leaves its domain; `sampled`: one in so many executions is recorded."""

    decision: Decision
    crosses: bool = False
    sampled: bool = False


class Templates:
    """Makes them from what the policy has decided."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._words: dict[tuple[int, ...], tuple[object, Vocabulary]] = {}
        """By the identity of what they were made of, which is kept with them."""

    def of(
        self, session: Session, planned: Planned, shards: Collection[str] | None, *, sample: bool
    ) -> Template | None:
        """What an execution on these shards (None: on any) is recorded as; None when it is not. `sample`: some of what
        is simply allowed at home is, too."""
        policy = self._worker.generation_of(session).policy
        if policy is None or session.subject is None:
            return None
        here = _parts_here(planned.policy, shards) if planned.policy is not None else {}
        if planned.policy is None or not any(_is_kept(part) for part in here.values()):
            return self._sampled(session, policy, planned, shards) if sample else None
        served = self._on_trial(self._served(session, policy, planned.policy, here), session, planned.shadowed)
        return Template(served, _crosses(session, here))

    def _on_trial(self, decision: Decision, session: Session, shadowed: Shadowed | None) -> Decision:
        """Marked when a version on trial has decided, or says what it would have."""
        canary = self._worker.canary
        if session.canary and canary is not None:
            return replace(decision, trial=canary.version)
        if shadowed is None:
            return decision
        return replace(decision, trial=shadowed.version, shadow=Would(shadowed.what))

    def _sampled(
        self, session: Session, policy: Policy, planned: Planned, shards: Collection[str] | None
    ) -> Template | None:
        """Of what is simply allowed, across domains nothing is."""
        tables = {(use.keyspace, use.table) for use in planned.facts.tables}
        restricted = sorted(one for one in tables if policy.restricted(*one))
        if not restricted:
            return None
        if shards is not None and not any(map(self._worker.is_local, shards)):
            return None
        words = self.vocabulary(self._worker.generation_of(session))
        served = allowance_of(words, policy, self._asker(session), restricted)
        return Template(self._on_trial(served, session, planned.shadowed), sampled=True)

    def _served(
        self, session: Session, policy: Policy, enforcement: Enforcement, here: dict[str, Part]
    ) -> Decision:
        generation = self._worker.generation_of(session)
        return decision_of(
            self.vocabulary(generation),
            replace(enforcement, parts=here),
            policy,
            proxy=generation.settings.region,
            version=generation.number,
            user=session.user,
            fingerprint=0,
        )

    def denied(self, session: Session, error: Refusal) -> Decision | None:
        """The record of what the policy refused."""
        policy = self._worker.generation_of(session).policy
        if policy is None or not error.is_verdict or session.subject is None:
            return None
        words = self.vocabulary(self._worker.generation_of(session))
        return self._on_trial(denial_of(words, policy, self._asker(session), error), session, error.shadowed)

    def _asker(self, session: Session) -> Asker:
        generation, subject = self._worker.generation_of(session), session.subject
        assert subject is not None  # where there is a policy
        return Asker(generation.settings.region, generation.number, session.user, subject)

    def vocabulary(self, generation: Generation) -> Vocabulary:
        """The names of the configuration and of the live schema."""
        snapshots = self._worker.schemas.snapshots
        made_of = (generation, *snapshots.values())
        key = tuple(map(id, made_of))
        if key not in self._words:
            if len(self._words) >= MAX_WORDS:
                self._words.clear()
            tables = (f"{name}.{table}" for name, snapshot in snapshots.items() for table in snapshot.tables)
            self._words[key] = made_of, vocabulary_of(generation.settings, tables)
        return self._words[key][1]


def _parts_here(policy: Enforcement, shards: Collection[str] | None) -> dict[str, Part]:
    """Of these shards (None: all) the ones of this region that get something restricted."""
    return {
        name: part
        for name, part in policy.parts.items()
        if (shards is None or name in shards) and part.proof is not None and not part.remote
    }


def _is_kept(part: Part) -> bool:
    """Is every execution recorded, not just some of many?"""
    findings = part.proof.findings if part.proof is not None else ()
    return any(one.action is not Action.ALLOW or one.obligations for one in findings)


def _crosses(session: Session, parts: dict[str, Part]) -> bool:
    """Does anything leave its domain?"""
    own = session.subject.domain if session.subject is not None else ""
    proofs = (part.proof for part in parts.values() if part.proof is not None)
    return any(home != own for proof in proofs for finding in proof.findings for home in finding.homes)
