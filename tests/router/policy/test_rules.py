"""decide() against the naive oracle, and what adding a rule can do."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.policy import RuleSettings, RuleVerdict
from router.policy.model import Action, Duty, FlowKind, Subject
from router.policy.rules import Rules
from router.policy.verdict import at_least
from tests.oracle import policy_oracle as oracle
from tests.router.policy.policies import CLASSES, class_ids, policy_of, rule_sets, rules, subjects

homes = st.sampled_from(oracle.DOMAINS)
flows = st.sampled_from(FlowKind)
operations = st.sampled_from(["read", "write"])
bounded = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def compiled(rule_set):
    return Rules.of(policy_of(rule_set), CLASSES)


def requests(cls, home, subject, operation):
    return [
        (one, home, subject.domain, operation, subject.roles, subject.purpose, subject.counterparty)
        for one in CLASSES.components(cls)
    ]


@bounded
@given(rule_sets, st.lists(st.tuples(class_ids, homes, subjects, operations, flows), min_size=3, max_size=6))
def test_as_the_oracle(rule_set, asked):
    decide = compiled(rule_set).decide
    sets = {name: oracle.matched(rule) for name, rule in rule_set.items()}
    for cls, home, subject, operation, flow in asked:
        verdict = decide(cls, home, subject, operation, flow)
        action, masks, budgets, k, names = oracle.decide(
            rule_set, sets, requests(cls, home, subject, operation), flow is FlowKind.AGGREGATE
        )
        assert verdict.action.name.lower() == action
        assert set(verdict.rules) == names
        assert verdict.k == k
        assert verdict.mask == (None if not masks else next(iter(masks)) if len(masks) == 1 else "null")
        assert {one.name for one in verdict.obligations if one.duty is Duty.BUDGET} == budgets


@bounded
@given(rule_sets, rules(then=st.just(RuleVerdict("refuse"))), class_ids, homes, subjects, operations, flows)
def test_adding_a_refusal_never_loosens(rule_set, more, cls, home, subject, operation, flow):
    before = compiled(rule_set).decide(cls, home, subject, operation, flow)
    after = compiled({**rule_set, "more": more}).decide(cls, home, subject, operation, flow)
    assert after.action >= before.action


@bounded
@given(rule_sets, rules(), st.sampled_from((*oracle.LEVELS[1:], *oracle.TAGS)), homes, subjects, operations, flows)
def test_adding_a_rule_as_strict_as_the_verdict_never_loosens(
    rule_set, more, component, home, subject, operation, flow
):
    """For each component; what it does not match stays as it is."""
    names = (component,) if component in oracle.LEVELS else ("public", component)
    cls = CLASSES.named(names)
    before = compiled(rule_set).decide(cls, home, subject, operation, flow)
    alone = compiled({"more": more}).decide(cls, home, subject, operation, flow)
    after = compiled({**rule_set, "more": more}).decide(cls, home, subject, operation, flow)
    if alone.rules != ("more",):
        assert after == before
    elif at_least(alone, before):
        assert at_least(after, before)


@bounded
@given(rule_sets, class_ids, class_ids, homes, subjects, operations, flows)
def test_a_tag_never_loosens(rule_set, cls, other, home, subject, operation, flow):
    decide = compiled(rule_set).decide
    tagged = CLASSES.join(cls, other & (1 << len(CLASSES.tags)) - 1)
    assert at_least(decide(tagged, home, subject, operation, flow), decide(cls, home, subject, operation, flow))


@bounded
@given(rule_sets, class_ids, homes, operations, flows)
def test_closed_for_whom_nobody_knows(rule_set, cls, home, operation, flow):
    decide = compiled(rule_set).decide
    nobody = Subject(0, "", frozenset(oracle.ROLES), oracle.PURPOSES[0], oracle.PARTIES[0])
    stranger = Subject(1, "eea")
    expected = Action.REFUSE if CLASSES.components(cls) else Action.ALLOW
    assert decide(cls, home, nobody, operation, flow).action is expected
    assert decide(cls, "", stranger, operation, flow).action is expected
    assert decide(cls, "", nobody, operation, flow).action is expected


@given(class_ids, homes, subjects, operations, flows)
def test_closed_without_rules(cls, home, subject, operation, flow):
    verdict = compiled({}).decide(cls, home, subject, operation, flow)
    abroad = home != subject.domain and CLASSES.components(cls)
    assert verdict.action is (Action.REFUSE if abroad else Action.ALLOW)


@bounded
@given(rule_sets, class_ids, homes, subjects, operations, flows)
def test_explanations_name_every_rule_that_decided(rule_set, cls, home, subject, operation, flow):
    compiled_rules = compiled(rule_set)
    verdict = compiled_rules.decide(cls, home, subject, operation, flow)
    text = "\n".join(compiled_rules.explain(cls, home, subject, operation, flow))
    assert all(f"rule {name} on" in text for name in verdict.rules if not name.startswith("default:"))
    if CLASSES.components(cls):
        assert f"together: {verdict.action.name.lower()}" in text


def test_the_default_reach_of_a_rule():
    """Without `domains` a rule opens nothing abroad; without `operations` it opens no writing."""
    opened = compiled({"open": RuleSettings(then=RuleVerdict("allow"))})
    at_home, abroad = Subject(1, "eea"), Subject(2, "usa")
    for operation in ("read", "write"):
        assert opened.decide(CLASSES.top, "eea", abroad, operation, FlowKind.IDENTITY).action is Action.REFUSE
        assert opened.decide(CLASSES.top, "eea", at_home, operation, FlowKind.IDENTITY).action is Action.ALLOW
    anywhere = compiled({"open": RuleSettings(then=RuleVerdict("allow"), domains=("any",))})
    assert anywhere.decide(CLASSES.top, "eea", abroad, "read", FlowKind.IDENTITY).action is Action.ALLOW
    assert anywhere.decide(CLASSES.top, "eea", abroad, "write", FlowKind.WRITE).action is Action.REFUSE
