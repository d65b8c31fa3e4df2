"""Reads over several shards, feature by feature: what is answered is what one server answers.

FAIRLEAD_DIFFERENTIAL_READS is how many statements of each feature run (default 50).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.differential import bazaar, scratched
from tests.differential.duel import Duel, Pair, Way, ask, by_scratch, differences
from tests.differential.features import FEATURES, Reads
from tests.differential.reads import Read
from tests.differential.wire import Answer

STATEMENTS = int(os.environ.get("FAIRLEAD_DIFFERENTIAL_READS", "50"))
SEED = int(os.environ.get("FAIRLEAD_DIFFERENTIAL_SEED", "0"))
ANSWERED, BY_SCRATCH, FINISHED = 0.9, 0.2, 0.98
"""The least share that is answered, the most of it by a scratch server where the engine should, and the least of what
only a scratch server answers."""
WAYS = (Way(), Way(deprecate_eof=True))
MERGED = (
    "order_by", "order_by_alias_and_place", "limit", "distinct", "aggregates", "distinct_aggregates", "group_by",
    "having",
)  # fmt: skip
ALLOWED = ("warnings",)
"""Shards compute helper columns as well, and warn of them."""
BY_PLAN = 0x2 | 0x8 | 0x4000


Tell = Callable[[str, float], None]


@pytest.mark.parametrize("feature", FEATURES)
def test_feature(duel: Duel, feature: str, record_property: Tell) -> None:
    reads = Reads(hash_of(feature) + SEED)
    before = by_scratch(duel)
    share = compare(duel, [FEATURES[feature](reads) for _ in range(STATEMENTS)], ANSWERED)
    finished = (by_scratch(duel) - before) / STATEMENTS
    _tell(record_property, feature, share, finished)
    assert finished <= BY_SCRATCH, "a scratch server did the engine's work"


@pytest.mark.parametrize("form", scratched.FORMS)
def test_finished_by_a_scratch_server(duel: Duel, form: str, record_property: Tell) -> None:
    reads = scratched.Reads(hash_of(form) + SEED)
    before = by_scratch(duel)
    share = compare(duel, [scratched.FORMS[form](reads) for _ in range(STATEMENTS)], FINISHED)
    _tell(record_property, form, share, (by_scratch(duel) - before) / STATEMENTS)


def _tell(record_property: Tell, what: str, answered: float, finished: float) -> None:
    """With -s, and in the report: `answered` of what is no error on a server, `finished` of all by a scratch server."""
    print(f"{what}: {answered:.0%} answered, {finished:.0%} with a scratch server")
    record_property("answered", answered)
    record_property("by_scratch", finished)


def compare(duel: Duel, reads: list[Read], answered: float) -> float:
    """None is answered wrongly, and this share of those that are no errors is answered at all. Returns the share."""
    outcomes: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    wrong: list[str] = []
    duel.reset()
    for number, read in enumerate(reads):
        outcome, what = judge(duel.pair(WAYS[number % len(WAYS)]), read)
        outcomes[outcome] += 1
        if outcome == "refused":
            refused[what] += 1
        elif outcome == "wrong":
            wrong.append(what)
    assert not wrong, f"{len(wrong)} of {len(reads)}\n" + "\n".join(wrong[:5])
    share = outcomes["same"] / max(1, outcomes["same"] + outcomes["refused"])
    assert share >= answered, f"{share:.0%} answered; refused: {refused.most_common(5)}"
    assert outcomes["same"] > len(reads) / 2, f"too few say something: {outcomes}"
    return share


def test_a_concatenating_engine_would_be_caught(duel: Duel) -> None:
    """Planted in place of the engine: every shard is asked the same, and the rows are put one behind the other."""
    duel.reset()
    caught = count = 0
    for feature in MERGED:
        reads = Reads(hash_of(feature) + SEED)
        for read in [FEATURES[feature](reads) for _ in range(30)]:
            if read.params or duel.pair(Way()).theirs.query(read.sql).kind == "error":
                continue
            shards = [duel.world.shards[name].primary for name in bazaar.SHARDS]
            naive = [row for shard in shards for row in shard.query(read.sql, bazaar.KEYSPACE)]
            theirs = [*duel.plain.query(read.sql, bazaar.KEYSPACE)]
            count += 1
            caught += naive != theirs if read.ordered else Counter(naive) != Counter(theirs)
    assert count > 50
    assert caught > count / 2, f"only {caught} of {count}"


def hash_of(feature: str) -> int:
    """A seed of its own for each feature, the same in every run."""
    return sum(ord(letter) * 31**at for at, letter in enumerate(feature)) % 10**6 * 1000


def _same_plan(answer: Answer) -> Answer:
    """MySQL tells by PRI_KEY, MULTIPLE_KEY and PART_KEY which table its optimizer read first or put aside."""
    return replace(answer, columns=tuple(replace(one, flags=one.flags & ~BY_PLAN) for one in answer.columns))


def _unordered(answer: Answer) -> Answer:
    """With the bytes of each cell in order."""
    rows = tuple(tuple(None if cell is None else bytes(sorted(cell)) for cell in row) for row in answer.rows)
    return replace(answer, rows=rows)


def judge(pair: Pair, read: Read) -> tuple[str, str]:
    """(same, refused, error or wrong; what)"""
    sql = read.sql.encode()
    mine, prepared = ask(pair.mine, sql, read.params)
    theirs, their_prepared = ask(pair.theirs, sql, read.params)
    if mine.refused:
        return ("error", "") if theirs.kind == "error" else ("refused", f"{mine.message[:90]} | {read.sql}")
    if read.mixed:
        mine, theirs = _unordered(mine), _unordered(theirs)
    found = differences(_same_plan(mine), _same_plan(theirs), ordered=read.ordered, allowed=ALLOWED)
    if prepared is not None and their_prepared is not None and theirs.kind != "error":
        found += [f"PREPARE: {one}" for one in differences(prepared, their_prepared)]
    return ("wrong", f"{read.sql} {read.params}\n    {found}") if found else ("same", "")
