"""The proof that comes with every statement over restricted data: what was decided, as plain values.

It names no literal and no node of a tree, so it can be stored, printed and checked again by `checker.py`, which
shares no code with the decision and trusts no field of this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from router.policy.decide import Decision, Ruling
from router.policy.lineage import Lineage, Source, Write
from router.policy.model import Action, FlowKind, Operation, Policy, Subject
from router.relations import Relation
from router.topology import Shard

Name = tuple[str, str, str]
"""(database, table, column); column '' is the fact that a row is there."""
Place = tuple[int, Name]
"""A column of one mention of its table; mentions are counted."""
Use = tuple[Place, FlowKind]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One column of one mention in one use. `homes`: of its rows on the shard."""

    mention: int
    name: Name
    homes: tuple[str, ...]
    flow: FlowKind
    operation: Operation
    cls: int
    action: Action
    mask: str | None
    k: int
    rules: tuple[str, ...]
    obligations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """`digest`: SHA-256 of the outgoing template. `outputs`: per column of the result, which restricted columns
    are in it and how. `influence`: those that decide about rows. `written`: columns that are written, and from what."""

    epoch: int
    subject: int
    domain: str
    purpose: str | None
    counterparty: str | None
    here: str
    flavour: str
    digest: str
    findings: tuple[Finding, ...]
    outputs: tuple[tuple[str, tuple[Use, ...]], ...]
    influence: tuple[Place, ...]
    written: tuple[tuple[Place, tuple[Use, ...]], ...]

    @property
    def obligations(self) -> tuple[str, ...]:
        """What the statement's execution must do besides."""
        return tuple(sorted({one for finding in self.findings for one in finding.obligations}))


def masked_in(proof: Proof) -> set[str]:
    """The columns, in lower case, that come in no other form."""
    found: dict[str, set[Action]] = {}
    for one in proof.findings:
        found.setdefault(one.name[2].lower(), set()).add(one.action)
    return {name for name, actions in found.items() if name and actions <= {Action.MASK, Action.TOKENISE}}


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def prove(policy: Policy, subject: Subject, shard: Shard, lineage: Lineage, decision: Decision, text: str) -> Proof:
    """The proof of what one shard is sent; `text` is the outgoing template."""
    numbers = {relation: number for number, relation in enumerate(lineage.mentions)}
    ruled = {one.relation: numbers[one.relation] for one in decision.rulings}
    findings = (finding for one in decision.rulings for finding in _findings(policy, numbers, one))
    return Proof(
        epoch=policy.epoch,
        subject=subject.id,
        domain=subject.domain,
        purpose=subject.purpose,
        counterparty=subject.counterparty,
        here=policy.domain_of_region(shard.region.name),
        flavour=shard.flavour.value,
        digest=digest_of(text),
        findings=tuple(sorted(findings, key=_order)),
        outputs=tuple((output.label, _uses(output.sources, ruled)) for output in lineage.outputs),
        influence=tuple(sorted({_place(one, ruled) for one in lineage.influence if one.relation in ruled})),
        written=tuple((_place(one, numbers), _uses(one.sources, ruled)) for one in lineage.writes),
    )


def _order(one: Finding) -> tuple[int, Name, FlowKind, str]:
    return (one.mention, one.name, one.flow, one.operation)


def _findings(policy: Policy, numbers: dict[Relation, int], one: Ruling) -> Iterable[Finding]:
    database, table = one.relation.keyspace or "", one.relation.table or ""
    of_row = policy.class_of_table(database, table)
    cls = policy.class_of(database, table, one.column) if one.column else of_row
    for flow in sorted(one.flows):
        yield Finding(
            mention=numbers[one.relation],
            name=(database, table, one.column),
            homes=one.homes,
            flow=flow,
            operation=one.operation,
            cls=cls,
            action=one.verdict.action,
            mask=one.verdict.mask,
            k=one.verdict.k,
            rules=one.verdict.rules,
            obligations=tuple(sorted(str(duty) for duty in one.verdict.obligations)),
        )


def _uses(sources: Iterable[Source], ruled: dict[Relation, int]) -> tuple[Use, ...]:
    return tuple(sorted({(_place(one, ruled), one.flow) for one in sources if one.relation in ruled}))


def _place(one: Source | Write, numbers: dict[Relation, int]) -> Place:
    return numbers[one.relation], (one.relation.keyspace or "", one.relation.table or "", one.column)
