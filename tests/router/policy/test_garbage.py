"""What cannot be read to its end, or is not followed, is refused where it could touch a restricted table (C5).

Garbage is made of statements that are good: tokens lost, doubled, swapped, put in from elsewhere. What is not refused
then either names no closed table, or tells names and settings only, or was followed and accepted by the checker.
"""

from __future__ import annotations

import json
import random
import re

import pytest

from router.gate import Family, gate
from router.plan import Planned, Refuse, ShowRoute
from router.policy.forms import FOLLOWED
from router.tokens import decode, tokenize
from tests.router.policy.stand_in import LABELS
from tests.router.policy.test_decisions import CASES, context, decided
from tests.router.policy.test_noninterference import Grammar

STATEMENTS = 400
"""Per seed and database."""
CLOSED = {table for table, columns in LABELS.items() if any(columns.values())}
TELLING_NAMES = frozenset({Family.SHOW, Family.EXPLAIN, Family.USE, Family.TRANSACTION})
OPAQUE = (
    "HANDLER customers OPEN",
    "CALL p(customers)",
    "PREPARE s FROM 'SELECT name FROM customers'",
    "EXECUTE IMMEDIATE 'SELECT name FROM customers'",
    "LOCK TABLES customers READ",
    "LOAD DATA LOCAL INFILE 'x' INTO TABLE customers",
    "CREATE TABLE t AS SELECT name FROM customers",
    "CREATE VIEW v AS SELECT * FROM customers",
    "ALTER TABLE customers RENAME TO t",
    "CHECKSUM TABLE customers",
    "ANALYZE TABLE customers",
    "SELECT name FROM customers INTO OUTFILE 'x'",
    "SET STATEMENT x = 1 FOR SELECT name FROM customers",
    "SET @x = (SELECT name FROM customers)",
    "DO (SELECT name FROM customers)",
    "SELECT id /*!50000 , name */ FROM customers",
    "EXPLAIN SELECT name FROM customers",
    "BEGIN NOT ATOMIC SELECT name FROM customers; END",
    "TABLE customers",
    "SHOW INDEX FROM customers",
)
STRAY = (
    "customers",
    "name",
    "(",
    ")",
    ",",
    "SELECT",
    "FROM",
    "UNION",
    "*",
    "AS",
    "WITH",
    "/*!",
    "*/",
    "`",
    "'",
    ";",
    ".",
    "@x",
    ":=",
    "INTO",
    "\0",
)
_WORDS = re.compile(r"'[^']*'|\w+|\s+|.", re.DOTALL)


def _good() -> list[str]:
    cases = [case["sql"] for path in sorted(CASES.glob("*.json")) for case in json.loads(path.read_text())]
    return [*cases, *OPAQUE, *(Grammar(seed).query() for seed in range(60))]


def _garbage(dice: random.Random, texts: list[str]) -> str:
    words = _WORDS.findall(dice.choice(texts))
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(words) or 1)
        what = dice.randrange(5)
        if what == 0 and words:
            del words[at]
        elif what == 1:
            words[at:at] = [" ", dice.choice(STRAY), " "]
        elif what == 2 and words:
            words.insert(at, words[at])
        elif what == 3 and words:
            other = dice.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        else:
            words[at:] = _WORDS.findall(dice.choice(texts))[-dice.randrange(1, 12) :]
    return "".join(words)


@pytest.mark.parametrize("database", ["shop", "app"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_garbage_over_restricted_tables_is_refused(database: str, seed: int) -> None:
    texts, dice = _good(), random.Random(repr((seed, database)))
    refused = 0
    for _ in range(STATEMENTS):
        sql = _garbage(dice, texts)
        planned, lexed = decided(sql.encode(), context("us", database))
        if isinstance(planned.plan, Refuse):
            refused += 1
        else:
            assert _is_harmless(planned, decode(lexed.norm)), sql
    assert refused > STATEMENTS / 4


@pytest.mark.parametrize("database", ["shop", "app"])
@pytest.mark.parametrize("sql", OPAQUE)
def test_what_is_not_followed_is_refused(database: str, sql: str) -> None:
    planned, _ = decided(sql.encode(), context("us", database))
    assert isinstance(planned.plan, Refuse)


def _is_harmless(planned: Planned, norm: str) -> bool:
    tokens = tokenize(norm)
    if not tokens or isinstance(planned.plan, ShowRoute):
        return True
    if not any(token.is_name and token.name.lower() in CLOSED for token in tokens):
        return True
    family = gate(tokens).family
    if family not in FOLLOWED:
        return family in TELLING_NAMES
    parts = planned.policy.parts if planned.policy is not None else {}
    abroad = [part for name, part in parts.items() if name.startswith("eu")]
    return bool(parts) and all(part.refusal is not None or part.proof is not None for part in abroad)
