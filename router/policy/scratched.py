"""Reads that a scratch server finishes, under a policy: which rows may be copied there, and in which form.

Each pull is judged as if the user had sent it: what is masked is masked on its shard, what is refused refuses the
whole, shards whose rows do not exist for the user are not asked. Besides, the rows must be allowed to be where the
scratch server is. In clear that is what `replicas_in` says of copies; masked they may be where the user is, to whom a
rule lets them go, or at home. Then the client's text must read nothing but what was loaded and what is open to the
user, which is found out by reading the outgoing text anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from _speedups import lexer
from _speedups.lexer import LexedStatement
from router import plan as plans
from router.context import Context
from router.engine.recipe import Script
from router.errors import CATALOGUE, Refusal, refusal
from router.gate import gate
from router.plan import Planned, Pull, Refuse, Residual, Scatter
from router.planner.parsed import read
from router.planner.request import Request
from router.policy.homes import homes_in
from router.policy.model import Policy, Subject
from router.policy.proof import masked_in
from router.policy.reach import reach
from router.schema import LiveTable
from router.template import NotUnderstood
from router.text import Text
from router.tokens import decode, tokenize
from router.topology import Shard, TableKind

if TYPE_CHECKING:
    from router.policy.enforce import Enforcement, Part

Plan = Callable[[LexedStatement, Text, Context], Planned]
BUDGET = "budget"
"""How the obligation to count persons begins."""


def judged(planned: Planned, context: Context, policy: Policy, plan: Plan) -> Planned:
    """The plan with its pulls judged; `plan` is the planner with the policy in it. Raises Refusal, but for what only
    some executions need: these are refused when they come."""
    found = planned.plan
    if isinstance(found, Residual):
        judge = _of(found, context, policy, plan)
        return replace(planned, plan=judge.done(), reasons=(*planned.reasons, *judge.reasons()))
    if isinstance(found, plans.ByKey) and isinstance(found.otherwise, Residual):
        otherwise: Residual | Refuse
        try:
            otherwise = _of(found.otherwise, context, policy, plan).done()
        except Refusal as reason:
            otherwise = Refuse(reason.entry.name, reason.filling)
        return replace(planned, plan=replace(found, otherwise=otherwise))
    return planned


def _of(residual: Residual, context: Context, policy: Policy, plan: Plan) -> _Judge:
    scratch = context.topology.shard(residual.scratch)
    if scratch is None or context.subject is None:
        raise refusal("SCRATCH_POLICY", "it is not known who asks, or where")
    return _Judge(residual, context, policy, context.subject, plan, scratch)


@dataclass(frozen=True, slots=True)
class _Judge:
    residual: Residual
    context: Context
    policy: Policy
    subject: Subject
    plan: Plan
    scratch: Shard

    def done(self) -> Residual:
        """Raises Refusal."""
        self._check_rest(self.residual.text)
        return replace(self.residual, pulls=tuple(self._pull(one) for one in self.residual.pulls))

    def reasons(self) -> Iterator[str]:
        tables = [(self.residual.keyspace, pull.table) for pull in self.residual.pulls]
        if any(self.policy.restricted(*one) for one in tables):
            yield f"the policy lets these rows be in {self.scratch.region.name} ({self._domain})"

    @property
    def _domain(self) -> str:
        return self.policy.domain_of_region(self.scratch.region.name)

    # --- what is loaded -------------------------------------------------------------------------------------

    def _pull(self, pull: Pull) -> Pull:
        norm = pull.text.norm
        sent = self.plan(lexer.lex(norm, self.context.mode), norm, replace(self.context, bound=True))
        if isinstance(sent.plan, Refuse):
            raise Refusal(CATALOGUE[sent.plan.entry], sent.plan.args)
        live = self.context.schemas[self.residual.keyspace].table(pull.table)
        if live is None:
            raise refusal("POLICY_PROOF", "a table that is loaded is not known")
        parts = sent.policy.parts if sent.policy is not None else {}
        for name in self._shards(pull):
            part = parts.get(name)
            if part is None or not part.hidden:
                self._check_copy(pull, live, name, part)
        return replace(pull, planned=sent if sent.policy is not None else None)

    def _shards(self, pull: Pull) -> tuple[str, ...]:
        return pull.route.shards if isinstance(pull.route, Scatter) else (pull.route.shard,)

    def _check_copy(self, pull: Pull, live: LiveTable, name: str, part: Part | None) -> None:
        """May what this shard gives be where the scratch server is? Raises Refusal."""
        if part is not None and part.refusal is not None:
            raise Refusal(CATALOGUE[part.refusal.entry], part.refusal.args)
        proof = part.proof if part is not None else None
        if proof is not None and any(one.startswith(BUDGET) for one in proof.obligations):
            raise refusal("SCRATCH_POLICY", f"the persons in {pull.table} are counted")
        for home in self._homes(pull.table, name):
            self._check_home(pull, live, home, set() if proof is None else masked_in(proof))

    def _check_home(self, pull: Pull, live: LiveTable, home: str, masked: set[str]) -> None:
        database, policy = self.residual.keyspace, self.policy
        shown = self._domain in (home, self.subject.domain)
        if not shown:
            self._check_class(policy.class_of_table(database, pull.table), home, f"rows of {pull.table}")
        for loaded in pull.columns:
            if not shown or loaded.name.lower() not in masked:
                cls = policy.class_of(database, pull.table, loaded.name)
                self._check_class(cls, home, f"{loaded.name} of {pull.table}")
            column = live.column(loaded.name)
            if loaded.name.lower() in masked and column is not None and column.data_type.lower() == "timestamp":
                # Masked it is no instant any more, but a date of UTC.
                raise refusal("SCRATCH_TYPE", loaded.name, pull.table, "it is a masked TIMESTAMP")

    def _check_class(self, cls: int, home: str, what: str) -> None:
        objections = self.policy.objections_to_copy(cls, home, self.scratch.region.name)
        if objections:
            told = ", ".join(f"policy.{one}" for one in objections)
            where = f"{self.scratch.region.name} ({self._domain})"
            raise refusal("POLICY_SCRATCH", what, self.policy.class_name(cls), home or "no known domain", where, told)

    def _homes(self, table: str, name: str) -> tuple[str, ...]:
        """The domains that the rows of this shard may belong to; of a copy, all."""
        keyspace = self.context.topology.keyspace(self.residual.keyspace)
        declared = keyspace.table(table) if keyspace is not None else None
        shard = self.context.topology.shard(name)
        if declared is None or shard is None or declared.kind is TableKind.REFERENCE:
            return self.policy.homes_of(self.residual.keyspace, table) or ("",)
        domain = self.policy.domain_of_region(shard.region.name)
        return homes_in(self.policy, self.residual.keyspace, table, domain)

    # --- what is asked at last ------------------------------------------------------------------------------

    def _check_rest(self, script: Script) -> None:
        """Raises Refusal unless every table of the text has been loaded or is open, and no other is named."""
        norm = decode(script.norm)
        lexed = lexer.lex(script.norm, self.context.mode)
        tokens = tokenize(norm)
        try:
            parsed = read(Request(script.norm, lexed, norm, tokens, gate(tokens), self.context))
        except (NotUnderstood, RecursionError):
            raise refusal("POLICY_PROOF", "the scratch server's text is not understood") from None
        keyspace, pulls = self.residual.keyspace, self.residual.pulls
        loaded = {(keyspace, pull.temporary) for pull in pulls if not pull.shadows}
        for relation in parsed.tables():
            name = (relation.keyspace or "", relation.table or "")
            if name not in loaded and not self._is_open(*name):
                raise refusal("POLICY_PROOF", "the scratch server's text reads what was not loaded")
        closed = reach(self.policy, self.subject, self.context).closed
        words = [token.name.lower() for token in tokens if token.is_name]
        known = [node.name.lower() for node in parsed.tree.find_all(exp.Identifier)]
        if any(words.count(table) > known.count(table) for _, table in closed):
            raise refusal("POLICY_PROOF", "a table is named in an unusual place")

    def _is_open(self, database: str, table: str) -> bool:
        snapshot = self.context.schemas.get(database)
        live = snapshot.table(table) if snapshot is not None else None
        if live is None or live.kind == "view":
            return False
        return self.policy.open_to(database, table, self.subject)


# --- at execution -----------------------------------------------------------------------------------------------


def readable(pull: Pull, policy: Enforcement, shards: Iterable[str]) -> tuple[str, ...]:
    """The shards that are asked: those whose rows exist for the user, unless keys name them. Raises Refusal."""
    names = tuple(shards)
    keyed = not isinstance(pull.route, Scatter) or pull.route.keys is not None
    hidden = {name for name, part in policy.parts.items() if part.hidden and not keyed}
    kept = tuple(name for name in names if name not in hidden)
    for name in kept or names:
        policy.part(name)
    return kept
