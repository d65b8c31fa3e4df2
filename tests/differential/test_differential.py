"""Any answered statement equals one server that holds all the data; everything else is refused by a named error.

The fixed cases say which are refused. The generated ones are reproduced by their seed; for a long run:
FAIRLEAD_DIFFERENTIAL_SEEDS=500 .venv/bin/python -m pytest tests/differential
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.differential.cases import FILES, Case, load, named_ids
from tests.differential.duel import Duel, Pair, Way, ask, differences
from tests.differential.generator import LATIN_TEXTS, TEXTS, Generator, Statement
from tests.differential.wire import Answer

STATEMENTS = 150
"""Per seed."""
ANSWERED = 0.9
"""The least share of pinned statements, without those that are errors on a server, that must be answered."""
SEEDS = int(os.environ.get("FAIRLEAD_DIFFERENTIAL_SEEDS", "12"))
WAYS = (
    Way(),
    Way(deprecate_eof=True, found_rows=True),
    Way(sql_mode="ANSI_QUOTES"),
    Way(charset="latin1"),
    Way(region="us", found_rows=True),
    Way(sql_mode="NO_BACKSLASH_ESCAPES", deprecate_eof=True),
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_fixed_cases(duel: Duel, path: Path) -> None:
    duel.reset()
    group = load(path, named_ids(duel), duel.world.shape.flavour)
    pair = Pair(duel, group.way)
    wrong: list[str] = []
    for case in group.cases:
        found = _judge(pair, case)
        wrong += [f"{case.sql} {case.params or ''}\n    {one}" for one in found]
    pair.close()
    assert not wrong, "\n".join(wrong)
    assert not duel.state_differences()


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


@pytest.mark.parametrize("seed", range(SEEDS))
def test_generated_statements(duel: Duel, seed: int) -> None:
    duel.reset()
    way = WAYS[seed % len(WAYS)]
    pair = duel.pair(way)
    shard_of = duel.placement()
    siblings = {key: [one for one, shard in shard_of.items() if shard == shard_of[key]] for key in shard_of}
    texts = LATIN_TEXTS if way.charset == "latin1" else TEXTS
    if "NO_BACKSLASH_ESCAPES" in way.sql_mode:
        texts = tuple(text for text in texts if "\\" not in text)
    generator = Generator(seed, siblings, texts=texts)
    count: Counter[str] = Counter()
    for _ in range(STATEMENTS):
        statement = generator.statement()
        outcome = _compare(pair, statement)
        if statement.pinned:
            count[outcome] += 1
    assert not duel.state_differences()
    answered = count["same"] / (count["same"] + count["refused"])
    assert answered >= ANSWERED, f"only {answered:.0%} of the pinned statements were answered"


def _compare(pair: Pair, statement: Statement) -> str:
    """same, refused, or error (it is one on the plain server too). Fails when the answers differ."""
    sql = statement.sql.encode(pair.way.codec)
    mine, prepared = ask(pair.mine, sql, statement.params, pair.way.codec)
    if mine.refused:
        return "error" if _would_fail(pair, sql, statement).kind == "error" else "refused"
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
