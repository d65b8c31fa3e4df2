"""Statements beyond the lexer's bounds: read as the lexer reads, passed to unsharded keyspaces only."""

from __future__ import annotations

import json

import pytest

from _speedups import lexer
from router.explain import describe
from router.longtext import MAX_BYTES, words_of
from router.plan import OneShard, Refuse
from router.tokens import decode, tokenize
from tests.router.planning import CASES, context, planned

MANY = ", ".join(["(1, NOW())", "(2, 'x')"] * 800)
LONG = " AND ".join(["a = b"] * 16_000)
STATEMENTS = [
    case["sql"]
    for path in sorted(CASES.glob("*.json"))
    if path.name != "schema.json"
    for case in json.loads(path.read_text())
]


def names(tokens: tuple[object, ...]) -> list[tuple[str, str]]:
    """Words and variables, which collapsing leaves alone; NULL in rows may be folded."""
    return [
        (token.kind, token.text)  # type: ignore[attr-defined]
        for token in tokens
        if token.kind in ("word", "quoted", "user_variable", "system_variable") and token.upper != "NULL"  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize("mode", [0, lexer.ANSI_QUOTES, lexer.NO_BACKSLASH_ESCAPES])
def test_it_reads_what_the_lexer_reads(mode: int) -> None:
    compared = 0
    for sql in STATEMENTS:
        lexed = lexer.lex(sql.encode(), mode)
        found = words_of(sql.encode(), mode)
        if lexed.error or found is None:
            continue
        compared += 1
        # Rows of one shape are folded in norm, so words may stand there less often.
        assert set(names(found)) == set(names(tokenize(decode(lexed.norm)))), sql
    assert compared > 600


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a",
        "SELECT `a",
        "SELECT /* a",
        "SELECT /*! a",
        "SELECT 1 */",
        "SELECT /*! a /* b */ c */",
        "a\x00b",
        "'\\'",
    ],
)
def test_what_is_not_clear_is_not_read(sql: str) -> None:
    assert words_of(sql.encode(), 0) is None


def test_a_backslash_is_a_letter_without_escapes() -> None:
    assert words_of(b"SELECT '\\', a", lexer.NO_BACKSLASH_ESCAPES) is not None


def test_rows_of_literals_are_skipped_in_one_step() -> None:
    rows = ", ".join(f"({number}, 'it''s {number}', NULL, -5, x'00', _binary 'x', ?)" for number in range(5000))
    found = words_of(f"INSERT INTO t VALUES {rows} ON DUPLICATE KEY UPDATE a = f(a)".encode(), 0)
    assert found is not None
    assert len(found) < 30
    assert [token.text for token in found[-4:]] == ["f", "(", "a", ")"]


def test_rows_that_call_are_not_skipped() -> None:
    found = words_of(b"INSERT INTO t VALUES (1, 'a'), (2, LOAD_FILE('x')), (3, 'b')", 0)
    assert found is not None
    assert "LOAD_FILE" in [token.text for token in found]


def test_a_text_of_any_size_is_bounded() -> None:
    assert words_of(b"x" * (MAX_BYTES + 1), 0) is None
    assert words_of(b"a," * 200_000, 0) is None


@pytest.mark.parametrize(
    "sql", [f"INSERT INTO t VALUES {MANY}", f"SELECT * FROM t WHERE {LONG}", f"DELETE FROM t WHERE {LONG};"]
)
def test_an_unsharded_keyspace_takes_it(sql: str) -> None:
    found = planned(sql, context("app"))
    assert found.plan == OneShard("eu-0")
    assert not found.facts.cacheable
    assert not found.facts.replica_ok


def test_a_sharded_keyspace_does_not() -> None:
    found = planned(f"SELECT * FROM customers WHERE id = 7 AND {LONG}", context())
    assert isinstance(found.plan, Refuse)
    assert found.plan.entry == "TOO_LARGE_TO_PLAN"


@pytest.mark.parametrize(
    ("sql", "user", "entry"),
    [
        (f"INSERT INTO t VALUES {MANY}; SHUTDOWN", "demo", "MULTI_STATEMENT"),
        (f"INSERT INTO t VALUES {MANY} /*! ; SHUTDOWN */", "demo", "MULTI_STATEMENT"),
        (f"SELECT LOAD_FILE('x') FROM t WHERE {LONG}", "demo", "ADMINISTRATION"),
        (f"SELECT * FROM t WHERE {LONG} INTO OUTFILE 'x'", "demo", "ADMINISTRATION"),
        (f"SELECT * FROM mysql.user WHERE {LONG}", "demo", "ADMINISTRATION"),
        (f"SELECT * FROM logs.t WHERE {LONG}", "owner", "DENIED_DATABASE"),
        (f"SELECT * FROM secret.1 WHERE {LONG}", "owner", "UNKNOWN_DATABASE"),
        (f"INSERT INTO t VALUES {MANY} ON DUPLICATE KEY UPDATE a = 1", "writer", "DENIED_VERB"),
        (f"INSERT INTO t SELECT * FROM u WHERE {LONG}", "writer", "DENIED_VERB"),
        (f"INSERT INTO t SELECT f(a) FROM u WHERE {LONG}", "writer", "DENIED_VERB"),
        (f"SET @x = 1 AND {LONG}", "demo", "TOO_LARGE_TO_PLAN"),
        (f"CREATE PROCEDURE p() BEGIN SHUTDOWN; SELECT {LONG}; END", "demo", "ADMINISTRATION"),
    ],
)
def test_it_opens_no_door(sql: str, user: str, entry: str) -> None:
    found = planned(sql, context("app", user)).plan
    assert isinstance(found, Refuse), describe(found)
    assert found.entry == entry


def test_inserting_takes_the_right_to_insert_only() -> None:
    assert planned(f"INSERT INTO t VALUES {MANY}", context("app", "writer")).plan == OneShard("eu-0")


def test_lists_of_literals_are_skipped_in_one_step() -> None:
    found = words_of(f"SELECT ?{', ?' * 65_534} FROM t WHERE a IN (-1, NULL, 'x') AND b = f(1, c)".encode(), 0)
    assert found is not None
    assert len(found) < 40
    assert [token.text for token in found[-6:]] == ["f", "(", "?", ",", "c", ")"]
