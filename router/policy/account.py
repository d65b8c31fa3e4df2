"""What the policy says of a statement, in words: for EXPLAIN ROUTE and `fairlead explain`.

Every use of every column is told from every home that the statement may touch, allowed or not, so a refusal shows
whole. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Iterator

from _speedups.lexer import LexedStatement
from router.context import Context
from router.errors import Refusal
from router.gate import gate
from router.planner import plan as plan_route
from router.planner.parsed import read
from router.planner.request import Request
from router.policy.forms import FOLLOWED
from router.policy.homes import candidates, homes
from router.policy.lineage import Lineage, lineage
from router.policy.model import Action, FlowKind, Operation, Policy, Subject, Verdict
from router.relations import Relation
from router.template import NotUnderstood
from router.text import Text
from router.tokens import decode, tokenize
from router.topology import Shard

_FLOWS = {
    FlowKind.IDENTITY: "as it is",
    FlowKind.DERIVED: "computed from",
    FlowKind.AGGREGATE: "aggregated",
    FlowKind.INFLUENCE: "deciding about rows",
    FlowKind.WRITE: "written",
}

Row = tuple[str, str]


def account(lexed: LexedStatement, sql: Text, context: Context) -> tuple[Row, ...]:
    """Rows of (step, detail); none without a policy. Never raises for what a client may send."""
    policy, subject = context.policy, context.subject
    if policy is None or subject is None:
        return ()
    rows = [("policy", f"epoch {policy.epoch}"), ("subject", _who(subject))]
    try:
        rows += dict.fromkeys(_columns(lexed, sql, context, policy, subject))
    except (Refusal, NotUnderstood, RecursionError):
        rows.append(("policy", "the statement is not followed to its columns"))
    return tuple(rows)


def _who(subject: Subject) -> str:
    parts = [f"of {subject.domain or 'no known domain'}"]
    parts += [f"roles {', '.join(sorted(subject.roles))}"] if subject.roles else []
    parts += [f"purpose {subject.purpose}"] if subject.purpose else []
    parts += [f"counterparty {subject.counterparty}"] if subject.counterparty else []
    return "; ".join(parts)


def _columns(lexed: LexedStatement, sql: Text, context: Context, policy: Policy, subject: Subject) -> Iterator[Row]:
    if lexed.error:
        return
    norm = decode(lexed.norm)
    tokens = tokenize(norm)
    gated = gate(tokens) if tokens else None
    if gated is None or gated.family not in FOLLOWED:
        return
    planned = plan_route(lexed, sql, context)
    found = lineage(read(Request(sql, lexed, norm, tokens, gated, context)))
    shards = candidates(planned.plan, context.topology) or context.topology.shards
    for relation in found.mentions:
        yield from _mention(relation, shards, found, policy, subject)


def _mention(
    relation: Relation, shards: tuple[Shard, ...], found: Lineage, policy: Policy, subject: Subject
) -> Iterator[Row]:
    database, table = relation.keyspace or "", relation.table or ""
    places = dict.fromkeys(homes(policy, relation, shard) for shard in shards)
    uses = [(column, flow, "read") for column, flows in found.flows()[relation].items() for flow in sorted(flows)]
    uses += [(one.column, FlowKind.WRITE, "write") for one in found.writes if one.relation is relation]
    for column, flow, operation in dict.fromkeys(uses):
        cls = policy.class_name(policy.class_of(database, table, column))
        shown = _shown(relation, column, flow, found)
        for home in dict.fromkeys(home for homes_of in places for home in homes_of):
            verdict = _verdict(policy, relation, column, home, subject, operation, flow)
            what = f"{database}.{table}.{column} ({cls}) of {home or 'no known domain'}, {_FLOWS[flow]}{shown}"
            yield ("column", f"{what}: {told(verdict)}")


def _verdict(
    policy: Policy, relation: Relation, column: str, home: str, subject: Subject, operation: str, flow: FlowKind
) -> Verdict:
    what: Operation = "write" if operation == "write" else "read"
    return policy.decide_column(relation.keyspace or "", relation.table or "", column, home, subject, what, flow)


def _shown(relation: Relation, column: str, flow: FlowKind, found: Lineage) -> str:
    """In which columns of the result."""
    labels = [
        output.label or f"column {at}"
        for at, output in enumerate(found.outputs, 1)
        if any((one.relation, one.column, one.flow) == (relation, column, flow) for one in output.sources)
    ]
    return f" in {', '.join(labels)}" if labels else ""


def told(verdict: Verdict) -> str:
    """'mask email by rule personal_abroad; log'"""
    words = verdict.action.name.lower().replace("_", " ")
    if verdict.action in (Action.MASK, Action.TOKENISE) and verdict.mask is not None:
        words = f"{words} ({verdict.mask})"
    if verdict.action is Action.AGGREGATE:
        words = f"{words} over at least {verdict.k} persons"
    duties = "; ".join(sorted(str(duty) for duty in verdict.obligations))
    rules = ", ".join(verdict.rules)
    return words + (f" by rule {rules}" if rules else "") + (f"; {duties}" if duties else "")
