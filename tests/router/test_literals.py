"""Literals as Python values."""

from __future__ import annotations

from decimal import Decimal

import pymysql.converters
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups import lexer
from router.keys import Unpinnable, Value
from router.literals import value

NBE = lexer.NO_BACKSLASH_ESCAPES


def first(literal: str | bytes, mode: int = 0, charset: str = "utf8mb4", params: tuple[Value, ...] = ()) -> Value:
    text = literal.encode() if isinstance(literal, str) else literal
    sql = b"SELECT " + text
    lexed = lexer.lex(sql, mode)
    assert len(lexed.slots) == 1, lexed
    return value(sql, lexed.slots[0], mode, params, charset)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("7", 7),
        ("007", 7),
        ("7.50", Decimal("7.50")),
        (".5", Decimal("0.5")),
        ("5.", Decimal("5")),
        ("1e3", 1000.0),
        ("'abc'", "abc"),
        ('"abc"', "abc"),
        ("''", ""),
        ("'it''s'", "it's"),
        ("'it\\'s'", "it's"),
        ('"a""b\'c"', "a\"b'c"),
        ("'a\\nb\\tc\\0d\\Ze\\\\f\\qg'", "a\nb\tc\0d\x1ae\\fqg"),
        ("'50\\% of a\\_b'", "50\\% of a\\_b"),
        ("'a' 'b'", "ab"),
        ("'a'\n\"b\"  'c''d'", "abc'd"),
        ("'a' /* 'x' */ 'b'", "ab"),
        ("'a' -- 'x'\n 'b'", "ab"),
        ("'a' # 'x'\n 'b'", "ab"),
        ("'a/*' '*/b'", "a/**/b"),
        ("N'ä'", "ä"),
        ("n'a'", "a"),
        ("x'4D79'", b"My"),
        ("X''", b""),
        ("0x4D79", b"My"),
        ("0xF", b"\x0f"),
        ("b'101'", b"\x05"),
        ("0b100000001", b"\x01\x01"),
        ("'ä€𝄞'", "ä€𝄞"),
    ],
)
def test_values(literal: str, expected: Value) -> None:
    found = first(literal)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [("'a\\nb'", "a\\nb"), ("'a\\'", "a\\"), ("'it''s'", "it's"), ('"\\"', "\\")],
)
def test_values_without_backslash_escapes(literal: str, expected: str) -> None:
    assert first(literal, NBE) == expected


@pytest.mark.parametrize(
    ("literal", "charset", "expected"),
    [
        ("'ä'".encode("latin-1"), "latin1", "ä"),
        ("'€'".encode("cp1252"), "latin1", "€"),
        (b"'abc'", "latin2", "abc"),
    ],
)
def test_the_sessions_character_set(literal: bytes, charset: str, expected: str) -> None:
    assert first(literal, charset=charset) == expected


@pytest.mark.parametrize(
    ("literal", "charset"),
    [(b"'\xe4'", "utf8mb4"), (b"'\xe4'", "ascii"), (b"'\xe4'", "latin2"), (b"_latin1'abc'", "utf8mb4")],
)
def test_what_cannot_be_read_for_certain(literal: bytes, charset: str) -> None:
    with pytest.raises(Unpinnable):
        first(literal, charset=charset)


def test_parameters() -> None:
    assert first("?", params=(5,)) == 5
    assert first("?", params=(None,)) is None
    with pytest.raises(Unpinnable):
        first("?")


def test_items_carry_signs_and_nulls() -> None:
    sql = b"SELECT * FROM t WHERE a IN (1, -2, 'x')"
    slot = lexer.lex(sql, 0).slots[0]
    assert [value(sql, item, 0) for item in lexer.list_items(sql, 0, slot)] == [1, -2, "x"]
    sql = b"INSERT INTO t VALUES (1, 'a'), (-2, NULL)"
    slot = lexer.lex(sql, 0).slots[0]
    assert [value(sql, item, 0) for item in lexer.row_items(sql, 0, slot, 0)] == [1, -2]
    assert [value(sql, item, 0) for item in lexer.row_items(sql, 0, slot, 1)] == ["a", None]


def test_a_minus_before_text_is_not_followed() -> None:
    sql = b"SELECT -'5'"
    with pytest.raises(Unpinnable):
        value(sql, lexer.lex(sql, 0).slots[0], 0, negate=True)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=30))
def test_what_a_driver_escapes_is_read_back(text: str) -> None:
    assert first(f"'{pymysql.converters.escape_string(text)}'") == text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=30))
def test_doubled_quotes_are_read_back_without_escapes(text: str) -> None:
    assert first("'" + text.replace("'", "''") + "'", NBE) == text
