"""Any answered statement equals one server that holds all the data; everything else is refused by a named error.

The fixed cases say which are refused. The generated ones are reproduced by their seed, which is in the test's name:
FAIRLEAD_DIFFERENTIAL_SEED is the first (0), FAIRLEAD_DIFFERENTIAL_SEEDS how many (12). `make fuzz` takes seeds that
nobody has tried, new every day.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tests.differential.cases import FILES, Case, load, named_ids
from tests.differential.duel import Duel, Pair, Way, ask, by_scratch, differences
from tests.differential.generator import LATIN_TEXTS, TEXTS, Generator, Statement
from tests.differential.wire import Answer

STATEMENTS = 150
"""Per seed."""
PINNED_ANSWERED, PINNED_ANSWERED_IN_ALL, ANSWERED_IN_ALL = 0.85, 0.93, 0.89
"""The least shares that must be answered, of the statements that are no errors on a server: of one seed's pinned
ones, of all seeds' pinned ones, of all."""
READS_ANSWERED = 0.97
"""The same of reads of tables, for which a scratch server is named."""
NATIVELY_ANSWERED = 0.9
"""The same without those that the scratch server has finished."""
CASES_ANSWERED = 0.95
"""The same of the fixed cases."""
ENOUGH, ENOUGH_FIXED = 1500, 1000
"""Statements from which on a share says something."""
SEED = int(os.environ.get("FAIRLEAD_DIFFERENTIAL_SEED", "0"))
SEEDS = int(os.environ.get("FAIRLEAD_DIFFERENTIAL_SEEDS", "12"))
FRESH = 1000 * date.today().toordinal() + SEED
FRESH_SEEDS = 100
WAYS = (
    Way(),
    Way(deprecate_eof=True, found_rows=True),
    Way(sql_mode="ANSI_QUOTES"),
    Way(charset="latin1"),
    Way(region="us", found_rows=True),
    Way(sql_mode="NO_BACKSLASH_ESCAPES", deprecate_eof=True),
)


@pytest.fixture(scope="module")
def fixed() -> Counter[str]:
    """same, refused or error -> fixed cases, of all files that have run."""
    return Counter()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_fixed_cases(duel: Duel, fixed: Counter[str], path: Path) -> None:
    duel.reset()
    group = load(path, named_ids(duel), duel.world.shape.flavour)
    pair = Pair(duel, group.way)
    wrong: list[str] = []
    for case in group.cases:
        found = _judge(pair, case)
        wrong += [f"{case.sql} {case.params or ''}\n    {one}" for one in found]
    assert not wrong, "\n".join(wrong)
    assert not duel.state_differences()
    fixed.update("refused" if _is_answered_by_one(pair, case) else "error" for case in group.cases if case.refused)
    fixed["same"] += sum(not case.refused for case in group.cases)
    pair.close()


def _is_answered_by_one(pair: Pair, case: Case) -> bool:
    """Would the plain server do what is refused? Where it cannot be undone it counts as if it would."""
    if not _HARMLESS.match(case.sql) or "OUTFILE" in case.sql:
        return True
    sql = case.sql.encode(pair.way.codec)
    return _would_fail(pair, sql, Statement(case.sql, case.params)).kind != "error"


_HARMLESS = re.compile(
    r"(?i)\W*((SELECT?|WITH|VALUES|INSERT|REPLACE|UPDATE|DELETE|SHOW|DESCRIBE|CALL|USE|SET)\b|$)"
)


def test_enough_of_the_fixed_cases_is_answered(
    fixed: Counter[str], record_property: Callable[..., None]
) -> None:
    """What is no error on a server."""
    if fixed.total() < ENOUGH_FIXED:
        pytest.skip("too few fixed cases have run before")
    share = _share(fixed["same"], fixed["refused"])
    print(f"answered: {share:.1%} of the fixed cases ({fixed.total()})")
    record_property("cases_answered", share)
    assert share >= CASES_ANSWERED


def _judge(pair: Pair, case: Case) -> list[str]:
    sql = case.sql.encode(pair.way.codec)
    mine, prepared = ask(pair.mine, sql, case.params, pair.way.codec)
    if mine.refused:
        return [] if mine.message.startswith(f"{case.refused}:") else [f"refused: {mine.message}"]
    if case.refused:
        return [f"answered, though {case.refused} was expected"]
    theirs, their_prepared = ask(pair.theirs, sql, case.params, pair.way.codec)
    found = differences(mine, theirs, ordered=case.ordered, allowed=case.differs)
    if prepared is not None and their_prepared is not None and theirs.kind != "error":
        found += [f"PREPARE: {one}" for one in differences(prepared, their_prepared)]
    return found


@pytest.fixture(scope="module")
def reads() -> Counter[str]:
    """same, refused, error -> reads of tables, of all seeds that have run; finished: of them by a scratch server."""
    return Counter()


@pytest.fixture(scope="module")
def outcomes() -> Counter[tuple[str, bool]]:
    """(same, refused or error; pinned) -> statements of all seeds that have run."""
    return Counter()


@pytest.mark.parametrize("seed", range(SEED, SEED + SEEDS))
def test_generated_statements(duel: Duel, outcomes: Counter[tuple[str, bool]], reads: Counter[str], seed: int) -> None:
    _run(duel, outcomes, reads, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FRESH, FRESH + FRESH_SEEDS))
def test_fresh_statements(duel: Duel, outcomes: Counter[tuple[str, bool]], reads: Counter[str], seed: int) -> None:
    _run(duel, outcomes, reads, seed)


def test_enough_of_all_is_answered(outcomes: Counter[tuple[str, bool]], record_property: Callable[..., None]) -> None:
    if outcomes.total() < ENOUGH:
        pytest.skip("too few generated statements have run before")
    pinned = _share(outcomes["same", True], outcomes["refused", True])
    everything = _share(*(outcomes[what, True] + outcomes[what, False] for what in ("same", "refused")))
    print(f"answered: {pinned:.1%} of the pinned statements, {everything:.1%} of all ({outcomes.total()})")
    record_property("pinned_answered", pinned)
    record_property("answered", everything)
    assert pinned >= PINNED_ANSWERED_IN_ALL
    assert everything >= ANSWERED_IN_ALL


def test_enough_of_the_reads_is_answered(
    duel: Duel, reads: Counter[str], record_property: Callable[..., None]
) -> None:
    """With a scratch server named, and without what it has finished; what is no error on a server."""
    total = reads.total() - reads["finished"]
    if total < ENOUGH // 2:
        pytest.skip("too few generated reads have run before")
    share = _share(reads["same"], reads["refused"])
    print(f"answered: {share:.1%} of the reads ({total})")
    record_property("reads_answered", share)
    assert share >= READS_ANSWERED
    native = _share(reads["same"] - reads["finished"], reads["refused"] + reads["finished"])
    print(f"answered: {native:.1%} of them without a scratch server")
    record_property("reads_answered_natively", native)
    assert native >= NATIVELY_ANSWERED


def _share(answered: int, refused: int) -> float:
    return answered / (answered + refused)


def _run(duel: Duel, outcomes: Counter[tuple[str, bool]], reads: Counter[str], seed: int) -> None:
    duel.reset()
    way = WAYS[seed % len(WAYS)]
    pair = duel.pair(way)
    shard_of = duel.placement()
    siblings = {key: [one for one, shard in shard_of.items() if shard == shard_of[key]] for key in shard_of}
    texts = LATIN_TEXTS if way.charset == "latin1" else TEXTS
    if "NO_BACKSLASH_ESCAPES" in way.sql_mode:
        texts = tuple(text for text in texts if "\\" not in text)
    generator = Generator(seed, siblings, texts=texts)
    count: Counter[tuple[str, bool]] = Counter()
    before = by_scratch(duel)
    for _ in range(STATEMENTS):
        statement = generator.statement()
        outcome = _compare(pair, statement)
        count[outcome, statement.pinned] += 1
        if statement.reads_tables:
            reads[outcome] += 1
    outcomes.update(count)
    # Of the statements in both protocols, each counts.
    reads["finished"] += round(by_scratch(duel) - before)
    assert not duel.state_differences()
    answered = _share(count["same", True], count["refused", True])
    assert answered >= PINNED_ANSWERED, f"only {answered:.0%} of the pinned statements were answered"


def _compare(pair: Pair, statement: Statement) -> str:
    """same, refused, or error (it is one on the plain server too). Fails when the answers differ."""
    sql = statement.sql.encode(pair.way.codec)
    mine, prepared = ask(pair.mine, sql, statement.params, pair.way.codec)
    if mine.refused:
        outcome = "error" if _would_fail(pair, sql, statement).kind == "error" else "refused"
        assert pair.theirs.query("SELECT 1 FROM refused").kind == "error"  # what its session now knows is an error, too
        return outcome
    theirs, their_prepared = ask(pair.theirs, sql, statement.params, pair.way.codec)
    found = differences(mine, theirs, ordered=statement.ordered)
    if prepared is not None and their_prepared is not None and theirs.kind != "error":
        found += [f"PREPARE: {one}" for one in differences(prepared, their_prepared)]
    assert not found, f"{pair.way}\n{statement.sql}\n{statement.params}\n{found}"
    return "same"


def _would_fail(pair: Pair, sql: bytes, statement: Statement) -> Answer:
    """What the plain server says, without its doing it."""
    assert pair.theirs.query("BEGIN").kind == "ok"
    answer, _ = ask(pair.theirs, sql, statement.params, pair.way.codec)
    assert pair.theirs.query("ROLLBACK").kind == "ok"
    return answer
