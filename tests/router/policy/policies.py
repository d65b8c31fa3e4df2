"""Hypothesis strategies for policies, over the small universe of the oracle."""

from __future__ import annotations

from itertools import product

from hypothesis import strategies as st

from config.policy import ClassSettings, DomainSettings, PolicySettings, RuleSettings, RuleVerdict
from config.words import Failover, Operation
from router.policy.classes import Classes
from router.policy.model import Action, Duty, Obligation, Subject, Verdict
from tests.oracle.policy_oracle import DOMAINS, LEVELS, NEVER_NAMED, PARTIES, PURPOSES, ROLES, TAGS

CLASSES = Classes(LEVELS, TAGS)


def some(names, most=2):
    return st.lists(st.sampled_from(names), max_size=most, unique=True).map(tuple)


verdict_words = st.one_of(
    st.sampled_from(["allow", "mask", "tokenise", "send_home", "refuse"]).map(RuleVerdict),
    st.sampled_from(["email", "last4"]).map(lambda mask: RuleVerdict("mask", mask)),
    st.sampled_from([5, 10]).map(lambda k: RuleVerdict("aggregate", None, k)),
)


@st.composite
def rules(draw, then=verdict_words):
    verdict = draw(then)
    reading_only = verdict.word in ("mask", "tokenise", "aggregate")
    operations = some([Operation.READ] if reading_only else list(Operation))
    return RuleSettings(
        then=verdict,
        classes=draw(some((*LEVELS[1:], *TAGS), 3)),
        homes=draw(some(DOMAINS)),
        domains=draw(some((*DOMAINS, "home", "any"))),
        roles=draw(some(ROLES)),
        purposes=draw(some(PURPOSES)),
        counterparties=draw(some(PARTIES)),
        operations=draw(operations),
        log=draw(st.booleans()),
        budget=None if verdict.word == "refuse" else draw(st.sampled_from([None, "a", "b"])),
    )


rule_sets = st.lists(rules(), max_size=7).map(lambda found: {f"r{number}": one for number, one in enumerate(found)})

places = some((*DOMAINS, "home", "any"))
class_settings = st.builds(
    ClassSettings,
    replicas_in=places,
    failover=st.sampled_from([None, *Failover]),
    backup_in=places,
    logs_in=places,
)


def policy_of(rule_set, classes=None, tags=None):
    return PolicySettings(
        domains={name: DomainSettings(regions=(f"{name}-1", f"{name}-2")) for name in DOMAINS},
        classes=classes or {name: ClassSettings() for name in LEVELS},
        tags=tags or {name: ClassSettings() for name in TAGS},
        rules=rule_set,
    )


subjects = st.builds(
    Subject,
    id=st.just(1),
    domain=st.sampled_from(DOMAINS),
    roles=st.frozensets(st.sampled_from((*ROLES, NEVER_NAMED))),
    purpose=st.sampled_from((*PURPOSES, NEVER_NAMED)),
    counterparty=st.sampled_from((*PARTIES, NEVER_NAMED)),
)
class_ids = st.integers(0, CLASSES.top)

DUTIES = [
    frozenset(),
    frozenset({Obligation(Duty.LOG)}),
    frozenset({Obligation(Duty.BUDGET, "a")}),
    frozenset({Obligation(Duty.LOG), Obligation(Duty.BUDGET, "b")}),
]
VERDICTS = [
    Verdict(action, mask, k, names, duties, reason)
    for action, mask, k, names, duties, reason in product(
        Action, [None, "email", "last4", "token", "null"], [0, 5, 10], [(), ("x",), ("x", "y")], DUTIES, ["", "because"]
    )
    if action is Action.REFUSE or not (mask and k)
]
verdicts = st.sampled_from(VERDICTS)
"""Closed ones: what must be masked and only aggregated is refused."""
