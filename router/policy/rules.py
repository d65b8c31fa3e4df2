"""The rules, compiled: (class, home, subject, operation, flow) -> verdict, and why.

A class is judged component by component, its level and each of its tags, and the verdicts are joined: a tag can only
make a verdict stricter. For one component, of the rules that match those count that no other matching rule narrows
(matches only a part of what it matches, in no dimension more); when several are left the stricter counts, by joining
them. No rule: allowed at home, refused across domains. A subject of no domain is refused whatever the rules say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from config.policy import ANY, HOME, PolicySettings, RuleSettings
from router.policy.classes import Classes
from router.policy.masks import TOKEN
from router.policy.model import (
    OWN_MASK,
    UNKNOWN_DOMAIN,
    Action,
    ClassId,
    Duty,
    FlowKind,
    Obligation,
    Operation,
    Subject,
    Verdict,
)
from router.policy.verdict import ALLOW, join_all

LOG = Obligation(Duty.LOG)
_READ = frozenset({"read"})
_BOTH = frozenset({"read", "write"})

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as sets of what it matches; None is everything. `pairs` are (home, subject's domain)."""

    name: str
    components: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    operations: frozenset[str]
    roles: frozenset[str] | None
    purposes: frozenset[str] | None
    counterparties: frozenset[str] | None
    settings: RuleSettings

    def matches(self, home: str, subject: Subject, operation: str) -> bool:
        """For a component that it is about."""
        return (
            (home, subject.domain) in self.pairs
            and operation in self.operations
            and (self.roles is None or not self.roles.isdisjoint(subject.roles))
            and (self.purposes is None or subject.purpose in self.purposes)
            and (self.counterparties is None or subject.counterparty in self.counterparties)
        )

    def narrows(self, other: Rule) -> bool:
        """Does it match a part of what the other does, and not all of it?"""
        mine, theirs = self._dimensions(), other._dimensions()
        return mine != theirs and all(_within(a, b) for a, b in zip(mine, theirs, strict=True))

    def _dimensions(self) -> tuple[frozenset[object] | None, ...]:
        return (
            frozenset[object](self.components),
            frozenset[object](self.pairs),
            frozenset[object](self.operations),
            self.roles and frozenset[object](self.roles),
            self.purposes and frozenset[object](self.purposes),
            self.counterparties and frozenset[object](self.counterparties),
        )

    def verdict(self, component: str, home: str, subject: Subject, flow: FlowKind) -> Verdict:
        then = self.settings.then
        action, mask, k = _ACTIONS[then.word], None, then.k
        what = str(then)
        if action is Action.MASK:
            mask = then.mask or OWN_MASK
        elif action is Action.TOKENISE:
            mask = TOKEN
        elif action is Action.AGGREGATE and flow is not FlowKind.AGGREGATE:
            action, k, what = Action.REFUSE, 0, f"only inside an aggregate over at least {k} persons"
        reason = f"rule {self.name} on {component} data of {home} for a subject in {subject.domain}: {what}"
        return Verdict(action, mask, k, (self.name,), self._obligations(action, home, subject), reason)

    def _obligations(self, action: Action, home: str, subject: Subject) -> frozenset[Obligation]:
        kept = self.settings.log or home != subject.domain or action is not Action.ALLOW
        found = {LOG} if kept else set()
        if self.settings.budget is not None and action is not Action.REFUSE:
            found.add(Obligation(Duty.BUDGET, self.settings.budget))
        return frozenset(found)


_ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        "allow": Action.ALLOW,
        "aggregate": Action.AGGREGATE,
        "mask": Action.MASK,
        "tokenise": Action.TOKENISE,
        "send_home": Action.SEND_HOME,
        "refuse": Action.REFUSE,
    }
)


def _within(part: frozenset[V] | None, whole: frozenset[V] | None) -> bool:
    return whole is None or (part is not None and part <= whole)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a policy, by the component they are about."""

    classes: Classes
    by_component: Mapping[str, tuple[Rule, ...]]

    @classmethod
    def of(cls, policy: PolicySettings, classes: Classes) -> Rules:
        rules = [_rule(name, one, policy, classes) for name, one in policy.rules.items()]
        components = (*classes.levels[1:], *classes.tags)
        return cls(
            classes,
            MappingProxyType({one: tuple(rule for rule in rules if one in rule.components) for one in components}),
        )

    def decide(self, cls: ClassId, home: str, subject: Subject, operation: Operation, flow: FlowKind) -> Verdict:
        components = self.classes.components(cls)
        return join_all(self._component(one, home, subject, operation, flow) for one in components)

    def _component(
        self, component: str, home: str, subject: Subject, operation: Operation, flow: FlowKind
    ) -> Verdict:
        if UNKNOWN_DOMAIN in (subject.domain, home):
            return _unknown(component, home, subject)
        winners = [rule for rule, by in self._ranked(component, home, subject, operation) if by is None]
        if not winners:
            return _default(component, home, subject, operation)
        return join_all(rule.verdict(component, home, subject, flow) for rule in winners)

    def _ranked(
        self, component: str, home: str, subject: Subject, operation: Operation
    ) -> Iterator[tuple[Rule, Rule | None]]:
        """The matching rules, each with one that narrows it, if any."""
        rules = self.by_component.get(component, ())
        matching = [rule for rule in rules if rule.matches(home, subject, operation)]
        for rule in matching:
            yield rule, next((other for other in matching if other.narrows(rule)), None)

    def explain(
        self, cls: ClassId, home: str, subject: Subject, operation: Operation, flow: FlowKind
    ) -> list[str]:
        components = self.classes.components(cls)
        if not components:
            return [f"{self.classes.name(cls)} data is never restricted"]
        lines = [
            line
            for component in components
            for line in self._component_lines(component, home, subject, operation, flow)
        ]
        verdict = self.decide(cls, home, subject, operation, flow)
        return [*lines, f"together: {_words(verdict)}"]

    def _component_lines(
        self, component: str, home: str, subject: Subject, operation: Operation, flow: FlowKind
    ) -> list[str]:
        ranked = list(self._ranked(component, home, subject, operation))
        if not ranked or UNKNOWN_DOMAIN in (subject.domain, home):
            return [self._component(component, home, subject, operation, flow).reason]
        return [
            rule.verdict(component, home, subject, flow).reason
            if by is None
            else f"rule {rule.name} matches too, rule {by.name} narrows it"
            for rule, by in ranked
        ]


def _default(component: str, home: str, subject: Subject, operation: Operation) -> Verdict:
    if home == subject.domain:
        return Verdict(ALLOW.action, rules=("default:home",), reason=f"{component} data is at home in {home}")
    done = "read" if operation == "read" else "written"
    reason = f"no rule lets {component} data of {home} be {done} from {subject.domain}"
    return Verdict(Action.REFUSE, None, 0, ("default:abroad",), frozenset({LOG}), reason)


def _unknown(component: str, home: str, subject: Subject) -> Verdict:
    whose = "the subject's legal domain" if subject.domain == UNKNOWN_DOMAIN else "the data's home"
    reason = f"{whose} is not known, and {component} data is restricted"
    return Verdict(Action.REFUSE, None, 0, ("default:unknown",), frozenset({LOG}), reason)


def _words(verdict: Verdict) -> str:
    parts = [verdict.action.name.lower()]
    parts += [f"by {verdict.mask}"] if verdict.mask else []
    parts += [f"over {verdict.k} persons"] if verdict.k else []
    parts += [f"with {', '.join(map(str, sorted(verdict.obligations)))}"] if verdict.obligations else []
    return " ".join(parts)


def _rule(name: str, given: RuleSettings, policy: PolicySettings, classes: Classes) -> Rule:
    return Rule(
        name,
        frozenset(given.classes or (*classes.levels[1:], *classes.tags)),
        _pairs(given, tuple(policy.domains)),
        _operations(given),
        frozenset(given.roles) or None,
        frozenset(given.purposes) or None,
        frozenset(given.counterparties) or None,
        given,
    )


def _operations(given: RuleSettings) -> frozenset[str]:
    if given.operations:
        return frozenset(one.value for one in given.operations)
    return _BOTH if given.then.word == "refuse" else _READ


def _pairs(given: RuleSettings, domains: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    """Only a rule that says so reaches across domains, unless it refuses."""
    readers = given.domains or ((ANY,) if given.then.word == "refuse" else (HOME,))
    return frozenset(
        (home, reader)
        for home in given.homes or domains
        for reader in domains
        if ANY in readers or reader in readers or (HOME in readers and reader == home)
    )
