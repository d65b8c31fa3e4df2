"""From what the policy decided about a statement to its decision record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from config.policy import DEFAULT_CLASSES, PolicySettings
from config.settings import Settings
from ops.audit.record import Decision, Verdict, Vocabulary
from router.errors import Refusal
from router.policy.enforce import Enforcement
from router.policy.model import Action, ClassId, Policy, Subject
from router.policy.model import Verdict as Ruling
from router.policy.proof import Finding
from router.redis.table import table

CLASS_JOINT = "+"
"""Between the level and the tags of a class's name; records name the parts."""
DEFAULT_RULES = ("default:home", "default:abroad", "default:unknown")


def vocabulary_of(settings: Settings, tables: Iterable[str] = ()) -> Vocabulary:
    """The names of a configuration. `tables`: `keyspace.table` of the live schema, which it does not name itself."""
    return Vocabulary([*_names(settings), *tables])


def _names(settings: Settings) -> Iterator[str]:
    yield from (*settings.regions, *settings.shards, *settings.users, *settings.keyspaces)
    if settings.redis.patterns:
        yield from (*settings.redis.patterns, *table().commands)
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


@dataclass(frozen=True, slots=True)
class Asker:
    """Who is recorded: the region's Fairlead, its configuration's number, the user, and what the policy knows of it."""

    proxy: str
    version: int
    user: str
    subject: Subject


def denial_of(words: Vocabulary, policy: Policy, asker: Asker, error: Refusal) -> Decision:
    """The record of a statement that the policy refused, of which nothing was sent. Its homes are all that the rows
    of its tables may have."""
    what, rules = (error.filling[0], error.filling[2]) if error.entry.name in _NAMING else ("", "")
    classes = [name for one in error.tables for name in _classes(policy, one, what)]
    homes = [home for one in error.tables for home in policy.homes_of(*one)]
    return _bare(words, policy, asker, Verdict.REFUSE, error.tables, classes, homes, filter(None, rules.split(", ")))


def allowance_of(words: Vocabulary, policy: Policy, asker: Asker, tables: Collection[tuple[str, str]]) -> Decision:
    """The record of a statement over restricted tables about which nothing was to be done, in their own domain."""
    classes = [name for one in tables for name in _classes(policy, one, "")]
    return _bare(words, policy, asker, Verdict.ALLOW, tables, classes, (policy.domain,), ())


@dataclass(frozen=True, slots=True)
class Use:
    """What a Redis command does with what keys hold: their pattern's name (empty for none), the table they belong to
    (empty for none), the class, the rows' homes, the shard's name, and what the policy says."""

    pattern: str
    table: str
    cls: ClassId
    homes: tuple[str, ...]
    shard: str
    verdict: Ruling


def keys_decision(
    words: Vocabulary, policy: Policy, asker: Asker, command: str, action: Action, uses: Collection[Use]
) -> Decision:
    """The record of a Redis command, which is carried out on these shards or refused."""
    bare = _bare(
        words, policy, asker, Verdict[action.name],
        (), [part for one in uses for part in policy.class_name(one.cls).split(CLASS_JOINT)],
        [home for one in uses for home in one.homes], [rule for one in uses for rule in one.verdict.rules],
    )  # fmt: skip
    return replace(
        bare,
        tables=words.names(one.table for one in uses if one.table),
        obligations=words.names(str(duty) for one in uses for duty in one.verdict.obligations),
        shards=words.names(one.shard for one in uses) if action is not Action.REFUSE else (),
        patterns=words.names(one.pattern for one in uses if one.pattern),
        command=words.name(command),
    )


def _bare(
    words: Vocabulary, policy: Policy, asker: Asker, verdict: Verdict, tables: Iterable[tuple[str, str]],
    classes: Iterable[str], homes: Iterable[str], rules: Iterable[str],
) -> Decision:  # fmt: skip
    subject = asker.subject
    return Decision(
        proxy=words.name(asker.proxy),
        version=asker.version,
        epoch=policy.epoch,
        subject=words.name(asker.user),
        to=words.name(subject.domain),
        fingerprint=0,
        verdict=verdict,
        tables=words.names(".".join(one) for one in tables),
        classes=words.names(classes),
        homes=words.names(homes),
        rules=words.names(rules),
        purpose=words.name(subject.purpose) if subject.purpose else None,
        counterparty=words.name(subject.counterparty) if subject.counterparty else None,
    )


_NAMING = frozenset({"POLICY_REFUSED", "POLICY_HOME"})
"""Refusals whose arguments are what is refused, a domain, and the rules' names."""


def _classes(policy: Policy, table: tuple[str, str], what: str) -> list[str]:
    """Of the column that `what` names if it is one of this table, else the highest in the table."""
    named = what.removeprefix(".".join(table) + ".")
    cls = policy.class_of(*table, named) if what and named != what else policy.top_of(*table)
    return policy.class_name(cls).split(CLASS_JOINT)


def _verdict(enforcement: Enforcement, findings: list[Finding]) -> Verdict:
    """The strictest of what was decided; a refusal only when no shard gets anything."""
    if not enforcement.allowed:
        return Verdict.REFUSE
    strictest = max((one.action for one in findings), default=Action.ALLOW)
    return Verdict[strictest.name]
