"""Verdicts are a join-semilattice: commutative, associative, idempotent, and joining never loosens."""

from __future__ import annotations

from hypothesis import given, settings

from router.policy.model import Action, Verdict
from router.policy.verdict import ALLOW, at_least, join, join_all
from tests.router.policy.policies import verdicts


@settings(max_examples=500, deadline=None)
@given(verdicts, verdicts)
def test_commutative(one, other):
    assert join(one, other) == join(other, one)


@settings(max_examples=1000, deadline=None)
@given(verdicts, verdicts, verdicts)
def test_associative(one, two, three):
    left, right = join(join(one, two), three), join(one, join(two, three))
    assert (left.action, left.mask, left.k, left.rules, left.obligations) == (
        right.action,
        right.mask,
        right.k,
        right.rules,
        right.obligations,
    )


@settings(max_examples=200, deadline=None)
@given(verdicts)
def test_idempotent_with_the_bottom_neutral(one):
    assert join(one, one) == one
    assert join(one, ALLOW) == one or one.reason == ""
    assert at_least(one, ALLOW)


@settings(max_examples=500, deadline=None)
@given(verdicts, verdicts)
def test_an_upper_bound_of_both(one, other):
    joined = join(one, other)
    assert at_least(joined, one) and at_least(joined, other)


@settings(max_examples=1000, deadline=None)
@given(verdicts, verdicts, verdicts)
def test_monotone(loose, other, more):
    """Making one part stricter never loosens the whole."""
    strict = join(loose, more)
    assert at_least(join(strict, other), join(loose, other))


@settings(max_examples=1000, deadline=None)
@given(verdicts, verdicts, verdicts)
def test_the_least_upper_bound(one, other, bound):
    if at_least(bound, one) and at_least(bound, other):
        assert at_least(bound, join(one, other))


def test_incomparable_reductions():
    masked = join(Verdict(Action.MASK, "email"), Verdict(Action.MASK, "last4"))
    assert (masked.action, masked.mask) == (Action.MASK, "null")
    token = join(Verdict(Action.MASK, "email"), Verdict(Action.TOKENISE, "token"))
    assert (token.action, token.mask) == (Action.TOKENISE, "null")
    assert join(Verdict(Action.MASK, "email"), Verdict(Action.AGGREGATE, k=5)).action is Action.REFUSE
    assert join_all([]) == ALLOW
