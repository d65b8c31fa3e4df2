"""From what the policy decided about a statement to its decision record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from config.policy import DEFAULT_CLASSES, PolicySettings
from config.settings import Settings
from ops.audit.record import Decision, Verdict, Vocabulary
from router.policy.enforce import Enforcement
from router.policy.model import Action, Policy
from router.policy.proof import Finding

CLASS_JOINT = "+"
"""Between the level and the tags of a class's name; records name the parts."""
DEFAULT_RULES = ("default:home", "default:abroad", "default:unknown")


def vocabulary_of(settings: Settings, tables: Iterable[str] = ()) -> Vocabulary:
    """The names of a configuration. `tables`: `keyspace.table` of the live schema, which it does not name itself."""
    return Vocabulary([*_names(settings), *tables])


def _names(settings: Settings) -> Iterator[str]:
    yield from (*settings.regions, *settings.shards, *settings.users, *settings.keyspaces)
    for keyspace, given in settings.keyspaces.items():
        yield from (f"{keyspace}.{table}" for table in given.tables)
    if settings.policy is not None:
        yield from _policy_names(settings.policy)


def _policy_names(policy: PolicySettings) -> Iterator[str]:
    yield from (*policy.domains, *(policy.classes or DEFAULT_CLASSES), *policy.tags, *policy.rules, *DEFAULT_RULES)
    yield "log"
    yield from (f"budget({name})" for name in policy.budgets)
    for subject in policy.subjects.values():
        yield from filter(None, (subject.purpose, subject.counterparty))
    for keyspace, label in policy.labels.items():
        yield from (f"{keyspace}.{table}" for table in label.tables)


def decision_of(
    words: Vocabulary,
    enforcement: Enforcement,
    policy: Policy,
    *,
    proxy: str,
    version: int,
    user: str,
    fingerprint: int,
    rows: int | None = None,
    bytes_out: int | None = None,
    latency_us: int | None = None,
) -> Decision:
    """The record of a plan that the policy had a part in; the last three as `Decision` has them."""
    parts = enforcement.parts
    findings = [one for part in parts.values() if part.proof is not None for one in part.proof.findings]
    subject = enforcement.subject
    return Decision(
        proxy=words.name(proxy),
        version=version,
        epoch=enforcement.epoch,
        subject=words.name(user),
        to=words.name(subject.domain),
        fingerprint=fingerprint,
        verdict=_verdict(enforcement, findings),
        tables=words.names(".".join(one.name[:2]) for one in findings),
        classes=words.names(part for one in findings for part in policy.class_name(one.cls).split(CLASS_JOINT)),
        homes=words.names(home for one in findings for home in one.homes),
        rules=words.names(rule for one in findings for rule in one.rules),
        obligations=words.names(duty for one in findings for duty in one.obligations),
        shards=words.names(enforcement.allowed),
        purpose=words.name(subject.purpose) if subject.purpose else None,
        counterparty=words.name(subject.counterparty) if subject.counterparty else None,
        rows=rows,
        bytes_out=bytes_out,
        latency_us=latency_us,
    )


def _verdict(enforcement: Enforcement, findings: list[Finding]) -> Verdict:
    """The strictest of what was decided; a refusal only when no shard gets anything."""
    if not enforcement.allowed:
        return Verdict.REFUSE
    strictest = max((one.action for one in findings), default=Action.ALLOW)
    return Verdict[strictest.name]
