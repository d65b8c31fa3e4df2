"""The lattice of verdicts: joining two gives the least strict one that keeps to both.

A verdict is a point of action x mask x k x obligations x rules, each a join-semilattice; the masks' is flat, any two
different ones join to the one that reveals nothing. A value that must be masked *and* only be aggregated has no
reduction that keeps to both, so such points are closed upwards to REFUSE. (A closure keeps the laws: join stays
commutative, associative and idempotent.) Only `reason` is not part of the order: the stricter verdict's is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

from router.policy.model import NOTHING_LEFT, Action, Verdict

ALLOW = Verdict(Action.ALLOW)
"""The bottom: nothing is asked of the value."""


def join(one: Verdict, other: Verdict) -> Verdict:
    """The verdict that holds to both."""
    if one == other:
        return one
    stricter = max(one, other, key=_rank)
    return _closed(
        Verdict(
            action=stricter.action,
            mask=_join_masks(one.mask, other.mask),
            k=max(one.k, other.k),
            rules=tuple(sorted({*one.rules, *other.rules})),
            obligations=one.obligations | other.obligations,
            reason=stricter.reason,
        )
    )


def join_all(verdicts: Iterable[Verdict]) -> Verdict:
    """The join of any number; of none, ALLOW."""
    return reduce(join, verdicts, ALLOW)


def at_least(strict: Verdict, loose: Verdict) -> bool:
    """Does `strict` hold to everything that `loose` asks? The order of the lattice, without rules and reason."""
    return (
        strict.action >= loose.action
        and _join_masks(strict.mask, loose.mask) == strict.mask
        and strict.k >= loose.k
        and strict.obligations >= loose.obligations
    )


def _join_masks(one: str | None, other: str | None) -> str | None:
    if one == other or other is None:
        return one
    return other if one is None else NOTHING_LEFT


def _closed(verdict: Verdict) -> Verdict:
    if verdict.k and verdict.mask is not None and verdict.action is not Action.REFUSE:
        reason = "one rule masks it and another lets it only be aggregated: nothing keeps to both"
        return replace(verdict, action=Action.REFUSE, reason=reason)
    return verdict


def _rank(verdict: Verdict) -> tuple[Action, int, str, str]:
    """A total order, so that the reason told does not hang on the order of joining."""
    return (verdict.action, verdict.k, verdict.mask or "", verdict.reason)
