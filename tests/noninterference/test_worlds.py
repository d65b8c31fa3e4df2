"""What a foreign subject is answered does not depend on what it may not see (C1), and shows none of it (C3).

`make test` runs a thousand statements, `make noninterference` twenty thousand on each kind of server; SEED=… takes
others than the fixed ones. A finding prints the way, the statement and both answers; its seed is in the test's name.
"""

from __future__ import annotations

import os

import pytest

from tests.noninterference.trial import WAYS, Outcome, trial
from tests.noninterference.twins import Twins
from tests.servers import BOTH_SERVERS

SEED = int(os.environ.get("SEED") or "0")
SHORT_SEEDS, SHORT = range(SEED, SEED + len(WAYS)), 40
LONG_SEEDS, LONG = range(SEED + 1000, SEED + 1000 + 8 * len(WAYS)), 193
ANSWERED = 0.6
"""The least share of all statements that gets rows or an OK."""

pytestmark = BOTH_SERVERS


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {}


def _check(twins: Twins, outcomes: dict[str, Outcome], seed: int, count: int) -> None:
    outcome = trial(twins, seed, count)
    outcomes.setdefault(twins.flavour, Outcome()).add(outcome)
    assert not outcome.findings, "\n\n".join(outcome.findings[:5])


@pytest.mark.parametrize("seed", SHORT_SEEDS)
def test_a_few_statements(twins: Twins, outcomes: dict[str, Outcome], seed: int) -> None:
    _check(twins, outcomes, seed, SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_many_statements(twins: Twins, outcomes: dict[str, Outcome], seed: int) -> None:
    _check(twins, outcomes, seed, LONG)


def test_most_statements_are_answered(flavour: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes.get(flavour, Outcome())
    if outcome.total < SHORT * len(SHORT_SEEDS):
        pytest.skip("too few statements have run before")
    print(f"asked again: {outcome.asked_again}")
    print(f"answered: {outcome.answered:.1%} of {outcome.total}; refusals: {dict(outcome.reasons.most_common())}")
    assert outcome.answered >= ANSWERED
