"""A statement's words as MySQL reads them, and what SQLite gets."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.statements import query_of, tokens_of, unquoted
from router.errors import Refusal


@pytest.mark.parametrize(
    ("sql", "sqlite"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("/* App */ SELECT 1 -- end", "SELECT 1"),
        ("SELECT # a comment\n 'it\\'s'", "SELECT 'it''s'"),
        ('SELECT "a""b"', "SELECT 'a\"b'"),
        ("SELECT `a``b` FROM t", "SELECT `a``b` FROM t"),
        ("SELECT COUNT(*)FROM t", "SELECT COUNT(*)FROM t"),
        ("SELECT @@session.autocommit AS a", 'SELECT "@@session.autocommit"() AS a'),
        ("SELECT CURRENT_USER", "SELECT current_user()"),
        ("SELECT '?' , ?", "SELECT '?' , ?"),
    ],
)
def test_translation(sql: str, sqlite: str) -> None:
    assert query_of(tokens_of(sql)).sql == sqlite


def test_parameters_and_variables_are_known() -> None:
    query = query_of(tokens_of("SELECT @@GLOBAL.Version, ? WHERE 1 = ?"))
    assert (query.parameters, query.variables) == (2, {"@@GLOBAL.Version": "version"})
    assert query.shape == 'SELECT "@@GLOBAL.Version"(), NULL WHERE 1 = NULL'


@pytest.mark.parametrize(
    "sql", ["SELECT 'open", 'SELECT "open', "SELECT `open", "SELECT /* open", "SELECT 1; SELECT 2"]
)
def test_what_is_no_statement(sql: str) -> None:
    with pytest.raises(Refusal):
        tokens_of(sql)


def test_user_variables_do_not_exist() -> None:
    with pytest.raises(Refusal):
        query_of(tokens_of("SELECT @x"))


@given(st.text())
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    try:
        tokens = tokens_of(text)
    except Refusal:
        return
    for token in tokens:
        assert text[token.at : token.at + len(token.text)] == token.text


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_string_means_in_sqlite_what_it_means_in_mysql(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    query = query_of(tokens_of(f"SELECT '{escaped}'"))
    assert unquoted(f"'{escaped}'") == value
    assert sqlite3.connect(":memory:").execute(query.sql).fetchone() == (value,)
