"""What the policy makes of a statement on the shards that it goes to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from _speedups.lexer import lex
from _speedups.relay import VerdictRef
from proxy.compile import GUARDED
from proxy.numbering import Form
from proxy.scatter.executor import NOT_REDUCED, Execution, Reduced
from proxy.sessions.session import Session
from router import plan as plans
from router.errors import refusal
from router.plan import Planned, refusal_of
from router.policy.enforce import Enforcement
from router.text import Text

if TYPE_CHECKING:
    from proxy.worker import Worker


class Reducing:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def of_form(self, planned: Planned, shard: int, form: Form) -> VerdictRef | None:
        """What the policy makes of a form on one shard: it passes as it is, or not at all. Raises Refusal."""
        policy = planned.policy
        part = policy.part(self._worker.shard_of_number(shard).name) if policy is not None else None
        if part is not None and not part.as_it_is:
            raise refusal("POLICY_FORM", "a statement that ids are written into")
        if form.statement is not None:
            return self._worker.verdicts.prepared(part, form.statement)
        return self._worker.verdicts.passes(part) if part is not None else None

    def of_one(
        self, session: Session, sql: Text, found: Any, planned: Planned, shard: int, execution: Execution | None
    ) -> VerdictRef | None:
        """What the policy makes of the statement on one shard. Raises Refusal."""
        policy = planned.policy
        if policy is None:
            return None
        name = self._worker.shard_of_number(shard).name
        if execution is None:
            return self._worker.verdicts.of_text(policy, name, sql, found, session.mode)
        return self._worker.statements.verdict(session, execution.number, name)

    def of_ours(
        self, session: Session, text: bytes, planned: Planned, shards: tuple[str, ...]
    ) -> tuple[dict[str, bytes], Reduced]:
        """What the policy makes of a text of ours on each shard, as of one that a client had sent there; and what else
        it says of them. Raises Refusal."""
        if planned.policy is None:
            return dict.fromkeys(shards, text), NOT_REDUCED
        lexed = lex(text, session.mode)
        context = replace(self._worker.context_of(session), bound=True)
        sent = self._worker.plan_in_force(lexed, text, context)
        if isinstance(sent.plan, plans.Refuse):
            raise refusal_of(sent.plan, planned.facts)
        policy = sent.policy
        if policy is None:
            raise refusal("POLICY_PROOF", "nothing was decided about what merging asks for")
        texts = {name: policy.text(name, text, lexed, session.mode) or text for name in shards}
        return texts, self._watched(policy, shards, unlike=not policy.alike)

    def _watched(self, policy: Enforcement, shards: tuple[str, ...], *, unlike: bool) -> Reduced:
        """How the answers of several shards are looked at. Raises Refusal."""
        verdicts = {name: self._worker.verdicts.passes(policy.part(name)) for name in shards}
        return Reduced(verdicts=verdicts, flags=GUARDED if policy.guarded else 0, unlike=unlike)

    def of_several(
        self, session: Session, sql: Text, found: Any, planned: Planned, shards: tuple[str, ...],
        execution: Execution | None,
    ) -> Reduced:  # fmt: skip
        """What the policy makes of the statement on each of several shards. Raises Refusal."""
        policy = planned.policy
        elsewhere = self._decided_elsewhere(session, shards)
        if policy is None:
            return Reduced(unlike=True) if elsewhere else NOT_REDUCED
        texts = {name: policy.text(name, sql, found, session.mode) for name in shards}
        if planned.facts.writes and len(shards) > 1 and any(texts.values()):
            raise refusal("POLICY_FORM", "a write to several shards")
        reduced = self._watched(policy, shards, unlike=elsewhere or not policy.alike)
        if execution is None:
            payloads = {name: b"\x03" + text for name, text in texts.items() if text is not None}
            return replace(reduced, payloads=payloads)
        return replace(reduced, statements=self._worker.statements.forms(session, execution.number, texts))

    def _decided_elsewhere(self, session: Session, shards: tuple[str, ...]) -> bool:
        """May another region's Fairlead mask what is shown in clear here? It decides by its own version of the policy,
        which for a moment is another one."""
        topology = self._worker.generation.topology
        found = [topology.shard(name) for name in shards if len(shards) > 1]
        policy = self._worker.generation_of(session).policy
        return policy is not None and not all(one is None or one.is_local for one in found)
