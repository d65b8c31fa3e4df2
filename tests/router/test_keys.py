"""Canonical keys: the comparison rules of MySQL, and agreement with the compiled hashing module."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.keys import (
    Key,
    KeyColumn,
    KeyType,
    NoMatch,
    Unpinnable,
    UnsupportedKey,
    canonical,
    canonical_stored,
    compatible,
    key,
    key_column_of,
    key_type_of,
    leading_number,
)

S, U = KeyType.INT_SIGNED, KeyType.INT_UNSIGNED
B, BP, CP, CN = KeyType.BYTES, KeyType.BYTES_PAD, KeyType.CI_PAD, KeyType.CI_NOPAD
FIVE = struct.pack("<q", 5)


@pytest.mark.parametrize(
    ("value", "key_type", "expected"),
    [
        (5, S, FIVE),
        ("5", S, FIVE),
        ("05", S, FIVE),
        (" 5", S, FIVE),
        ("5 ", S, FIVE),
        ("+5", S, FIVE),
        (5.0, S, FIVE),
        (Decimal("5.00"), S, FIVE),
        (Decimal("5E0"), S, FIVE),
        (True, S, struct.pack("<q", 1)),
        (-1, S, b"\xff" * 8),
        ("-0", S, bytes(8)),
        (-0.0, S, bytes(8)),
        (2**63 - 1, S, b"\xff" * 7 + b"\x7f"),
        (-(2**63), S, bytes(7) + b"\x80"),
        (2**64 - 1, U, b"\xff" * 8),
        ("18446744073709551615", U, b"\xff" * 8),
        (2**63, U, bytes(7) + b"\x80"),
        (5, U, FIVE),
        ("Eu ", B, b"Eu "),
        ("Eu ", BP, b"Eu"),
        ("Eu ", CP, b"eu"),
        ("Eu ", CN, b"eu "),
        ("Straße", B, "Straße".encode()),
        (b"\xff\x00", B, b"\xff\x00"),
        ("   ", BP, b""),
        ("", CN, b""),
        ("a\t", BP, b"a\t"),
        ("~ !", CP, b"~ !"),
        (b"EU", CP, b"eu"),
    ],
)
def test_canonical(value, key_type, expected):
    assert canonical(value, key_type) == expected


@pytest.mark.parametrize(
    ("value", "key_type"),
    [
        (None, S),
        (None, CP),
        (5.5, S),
        (Decimal("5.5"), S),
        (2**63, S),
        (-(2**63) - 1, S),
        (-1, U),
        ("-1", U),
        (2**64, U),
        (Decimal("1e400"), S),
        (Decimal("1e30000000"), S),
        (-0.5, U),
        ("9223372036854775808", S),
    ],
)
def test_equals_no_row(value, key_type):
    with pytest.raises(NoMatch):
        canonical(value, key_type)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0), ("   ", 0), ("abc", 0), ("5abc", 5), ("  5 abc", 5), ("-5x", -5), ("+05", 5), ("5\t", 5), ("0x5", 0),
        ("日本", 0), ("9" * 15 + "x", 10**15 - 1), ("5:30", 5), ("1_000", 1),
        ("5.5", None), ("5.x", None), ("5e3", None), ("5E", None), (".5", None), ("-", None), ("- 5", None),
        ("+x", None), ("\t5", None), ("\x005", None), ("\xa05", None), ("9" * 16, None), ("9" * 16 + "x", None),
    ],
)  # fmt: skip
def test_leading_number(text, number):
    assert leading_number(text) == number


@pytest.mark.parametrize(
    ("value", "key_type"),
    [
        ("5abc", S),
        ("", S),
        ("abc", S),
        ("5.0", S),
        ("5e0", S),
        ("0x5", S),
        ("٥", S),
        ("1_000", S),
        ("99999999999999999999", U),
        ("9" * 50, S),
        ("\t5", S),
        (1e-300, S),
        (Decimal("5.0000001"), U),
        (1e300, S),
        (float(2**53), S),
        (float("nan"), S),
        (float("inf"), U),
        (Decimal("NaN"), S),
        (b"5", S),
        (b"\x05", U),
        (5, B),
        (5.5, CP),
        (Decimal(5), BP),
        (False, CN),
        ("é", CP),
        ("a\n", CP),
        ("\x7f", CN),
        ("日", CN),
        (b"\xff", CP),
        ("\ud800", B),
    ],
)
def test_not_certain_which_rows_it_equals(value, key_type):
    with pytest.raises(Unpinnable):
        canonical(value, key_type)


def test_a_refusal_never_repeats_the_value():
    with pytest.raises(Unpinnable) as refused:
        canonical("secret-value-é", CP)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("column_type", "collation", "expected"),
    [
        ("bigint(20)", None, KeyColumn(S, -(2**63), 2**63 - 1)),
        ("bigint unsigned", None, KeyColumn(U, 0, 2**64 - 1)),
        ("BIGINT(20) UNSIGNED ZEROFILL", None, KeyColumn(U, 0, 2**64 - 1)),
        ("int(10) zerofill", None, KeyColumn(U, 0, 2**32 - 1)),
        ("tinyint(1)", None, KeyColumn(S, -128, 127)),
        ("smallint", None, KeyColumn(S, -32768, 32767)),
        ("mediumint unsigned", None, KeyColumn(U, 0, 2**24 - 1)),
        ("varchar(64)", "utf8mb4_bin", KeyColumn(BP, 0, 64)),
        ("varchar(64)", "utf8mb4_nopad_bin", KeyColumn(B, 0, 64)),
        ("varchar(64)", "utf8mb4_0900_bin", KeyColumn(B, 0, 64)),
        ("varchar(64)", "utf8mb4_general_ci", KeyColumn(CP, 0, 64)),
        ("varchar(64)", "utf8mb4_unicode_520_ci", KeyColumn(CP, 0, 64)),
        ("varchar(64)", "utf8mb4_0900_ai_ci", KeyColumn(CN, 0, 64)),
        ("varchar(64)", "utf8mb4_0900_as_cs", KeyColumn(CN, 0, 64)),
        ("varchar(64)", "utf8mb4_unicode_520_nopad_ci", KeyColumn(CN, 0, 64)),
        ("varchar(64)", "utf8mb4_uca1400_ai_ci", KeyColumn(CP, 0, 64)),
        ("varchar(64)", "utf8mb4_uca1400_nopad_as_cs", KeyColumn(CN, 0, 64)),
        ("varchar(64)", "utf8mb3_general_ci", KeyColumn(CP, 0, 64, ascii_only=True)),
        ("varchar(64)", "latin1_swedish_ci", KeyColumn(CP, 0, 64, ascii_only=True)),
        ("char(36)", "ascii_bin", KeyColumn(BP, 0, 36, ascii_only=True)),
        ("char(36)", "utf8mb4_0900_ai_ci", KeyColumn(CP, 0, 36)),
        ("char(36)", "utf8mb4_0900_bin", KeyColumn(BP, 0, 36)),
        ("char", "utf8mb4_bin", KeyColumn(BP, 0, 1)),
        ("varchar(9)", None, KeyColumn(BP, 0, 9)),
        ("varbinary(16)", None, KeyColumn(B, 0, 16)),
        ("binary(16)", None, KeyColumn(B, 16, 16)),
    ],
)
def test_columns(column_type, collation, expected):
    assert key_column_of(column_type, collation) == expected
    assert key_type_of(column_type, collation) is expected.type


@pytest.mark.parametrize(
    ("column_type", "collation"),
    [
        ("decimal(10,2)", None),
        ("double", None),
        ("datetime", None),
        ("enum('a','b')", "utf8mb4_bin"),
        ("text", "utf8mb4_bin"),
        ("longblob", None),
        ("bit(8)", None),
        ("year(4)", None),
        ("json", None),
        ("uuid", None),
        ("set('x')", "utf8mb4_bin"),
        ("varchar(64)", "utf8mb4_lithuanian_ci"),
        ("varchar(64)", "utf8mb4_roman_ci"),
        ("varchar(64)", "utf8mb4_la_0900_ai_ci"),
        ("varchar(64)", "gbk_chinese_ci"),
        ("varchar(64)", "utf16_general_ci"),
        ("varchar(64)", "utf8mb4_tr_0900_ai_ci"),
    ],
)
def test_columns_that_cannot_be_keys(column_type, collation):
    with pytest.raises(UnsupportedKey):
        key_type_of(column_type, collation)


@pytest.mark.parametrize(
    ("value", "column_type", "collation"),
    [
        (300, "tinyint", None),
        (-1, "int unsigned", None),
        (5.5, "bigint", None),
        (None, "bigint", None),
        ("too long", "varchar(3)", "utf8mb4_bin"),
        ("ab", "binary(3)", None),
        ("é", "varchar(9)", "latin1_bin"),
        ("é", "varchar(9)", "utf8mb3_bin"),
    ],
)
def test_values_that_would_not_be_stored_as_written(value, column_type, collation):
    with pytest.raises(Unpinnable):
        canonical_stored(value, key_column_of(column_type, collation))


@pytest.mark.parametrize(
    ("value", "column_type", "collation", "expected"),
    [
        (127, "tinyint", None, struct.pack("<q", 127)),
        ("éé", "varchar(2)", "utf8mb4_bin", "éé".encode()),
        (b"abc", "binary(3)", None, b"abc"),
        ("EU", "char(2)", "utf8mb4_0900_ai_ci", b"eu"),
        ("05", "int", None, FIVE),
    ],
)
def test_values_that_are_stored_as_written(value, column_type, collation, expected):
    assert canonical_stored(value, key_column_of(column_type, collation)) == expected


def test_numbers_behind_keys():
    assert key(-7, S).number == -7
    assert key(2**64 - 1, U).number == 2**64 - 1
    assert Key(S, FIVE).number == 5


def test_which_columns_may_be_joined_as_co_located():
    assert compatible(S, U) and compatible(B, B)
    assert not compatible(S, B) and not compatible(B, BP) and not compatible(CP, CN)


@settings(max_examples=300, derandomize=True)
@given(st.text(), st.sampled_from([BP, CP, CN, B]))
def test_canonical_is_idempotent(text, key_type):
    try:
        once = canonical(text, key_type)
    except Unpinnable:
        return
    assert canonical(once, key_type) == once


TEXTS = st.text(alphabet=st.sampled_from("0159 aZ\t-+.é"), max_size=20) | st.text(max_size=24)
NUMBERS = st.integers(-(2**66), 2**66) | st.integers(-300, 300) | st.sampled_from([2**63, 2**64, -(2**63)])
INT_LITERAL, NEGATED, LONGLONG, VAR_STRING = 1, 16, 8, 253


def ours(value, key_type):
    try:
        return canonical(value, key_type)
    except (NoMatch, Unpinnable):
        return None


@settings(max_examples=600, derandomize=True)
@given(TEXTS, st.sampled_from(list(KeyType)))
def test_compiled_text_keys_are_the_same_or_left_to_us(text, key_type):
    """`_speedups.hashing` may refuse more (such statements are handed over), but must never differ."""
    hashing = pytest.importorskip("_speedups.hashing")
    data = text.encode()
    compiled = hashing.canonical_value(key_type, data)
    parameter, _ = hashing.canonical_parameter(key_type, bytes([len(data)]) + data, VAR_STRING)
    assert compiled in (None, ours(text, key_type))
    assert parameter in (None, ours(text, key_type))


@settings(max_examples=600, derandomize=True)
@given(NUMBERS, st.sampled_from(list(KeyType)))
def test_compiled_number_keys_are_the_same_or_left_to_us(number, key_type):
    hashing = pytest.importorskip("_speedups.hashing")
    flags = NEGATED if number < 0 else 0
    compiled = hashing.canonical_key(key_type, str(abs(number)).encode(), INT_LITERAL, flags)
    assert compiled in (None, ours(number, key_type))
    if compiled is None and key_type in (S, U):
        assert ours(number, key_type) is None, "every whole number in range is routed without Python"


@settings(max_examples=300, derandomize=True)
@given(st.integers(-(2**63), 2**64 - 1), st.sampled_from([S, U]))
def test_compiled_binary_parameters_are_the_same_or_left_to_us(number, key_type):
    hashing = pytest.importorskip("_speedups.hashing")
    unsigned = number >= 2**63
    data = struct.pack("<Q" if unsigned else "<q", number)
    compiled, used = hashing.canonical_parameter(key_type, data, LONGLONG, unsigned)
    assert used == 8
    assert compiled in (None, ours(number, key_type))
