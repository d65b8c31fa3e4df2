"""Words of a normalised statement."""

from __future__ import annotations

import pytest

from _speedups import lexer
from router.tokens import closings, decode, depth_of, split, starts, tokenize, unquoted, version_comments, words


def texts(norm: str) -> list[str]:
    return [token.text for token in tokenize(norm)]


def test_kinds() -> None:
    found = tokenize("SELECT a.b, `x``y`, @@session.sql_mode, @v := ? FROM t WHERE n >= 1.5e3 AND c ->> ?")
    kinds = [(token.kind, token.text) for token in found]
    assert ("word", "SELECT") in kinds
    assert ("quoted", "`x``y`") in kinds
    assert ("system_variable", "@@session.sql_mode") in kinds
    assert ("user_variable", "@v") in kinds
    assert ("number", "1.5e3") in kinds
    assert [token.literal for token in found if token.kind == "literal"] == [0, 1]
    assert {token.text for token in found if token.kind == "op"} == {".", ",", ":=", ">=", "->>"}


def test_a_word_after_a_dot_is_no_keyword() -> None:
    found = tokenize("SELECT t.select, t.1 FROM db.update")
    assert [token.upper for token in found if token.text in ("select", "update", "1")] == ["", "", ""]


def test_a_quoted_word_is_no_keyword() -> None:
    assert [token.upper for token in tokenize("`select`")] == [""]
    assert tokenize("`se``lect`")[0].name == "se`lect"


def test_letters_of_mysql_are_not_those_of_python() -> None:
    # MySQL takes every byte from 0x80 on as a letter: neither space nor digit of another script ends a name.
    for text in ("a\u00a0b", "\u3000", "x€", "\u0663"):
        assert texts(f"SELECT {text} FROM t") == ["SELECT", text, "FROM", "t"]


def test_bytes_that_are_not_utf8_stay_apart_from_names() -> None:
    assert len(tokenize(decode(b"SELECT \xff FROM t"))) == 4


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("SELECT /*!40101 a */ b", ["SELECT", "a", "b"]),
        ("SELECT /*M!100100 a */ b", ["SELECT", "a", "b"]),
        ("SELECT /* fairlead: shard=x */ b", ["SELECT", "b"]),
        ("INSERT INTO t VALUES /*mixed*/ (?)", ["INSERT", "INTO", "t", "VALUES", "(", "?", ")"]),
    ],
)
def test_what_executable_comments_hold_is_code(norm: str, expected: list[str]) -> None:
    assert texts(norm) == expected


def test_positions_are_those_of_norm() -> None:
    norm = decode(lexer.lex(b"INSERT INTO t (a) VALUES (1), (2)", 0).norm)
    for token in tokenize(norm):
        assert norm.startswith(token.text, token.at)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("/*! a */", []),
        ("/*!40101 a */", []),
        ("/*!50699 a */", []),
        ("/*!50700 a */", ["/*!50700"]),
        ("/*!80000 a */ /*M! b */", ["/*!80000", "/*M!"]),
        ("/*!100100 a */", ["/*!100100"]),
    ],
)
def test_comments_that_not_every_server_runs(norm: str, expected: list[str]) -> None:
    assert version_comments(norm) == expected


def test_small_helpers() -> None:
    tokens = tokenize("f(a, (b, c), d), e")
    assert closings(tokens) == {1: len(tokens) - 3, 4: 8}
    assert closings(tokenize("((")) == {}
    assert depth_of(tokens) == 2
    assert [len(part) for part in split(tokens)] == [12, 1]
    assert words(tokens, 3) == ("F", "(", "A")
    assert words((), 2) == ("", "")
    assert starts(tokens, "F", "(")
    assert not starts((), "F")
    assert unquoted('"a""b"') == 'a"b'
    assert unquoted("plain") == "plain"
