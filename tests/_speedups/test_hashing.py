from __future__ import annotations

import json
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups import hashing as H
from _speedups import lexer as L
from _speedups import packet
from tests.oracle import key_oracle

CASES = Path(__file__).parent.parent / "cases"
KEY_TYPES = (H.INT_SIGNED, H.INT_UNSIGNED, H.BYTES, H.BYTES_PAD, H.CI_PAD, H.CI_NOPAD)
MODES = (0, L.NO_BACKSLASH_ESCAPES, H.ASCII_KEYS, H.BINARY_COLUMN, L.UNSAFE_CHARSET)

key_types = st.sampled_from(KEY_TYPES)
modes = st.sampled_from(MODES)
texts = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"a", b"B", b" ", b"\\", b"'", b'"', b"%", b"_", b"0", b"7", b"\xc3\xa9"])).map(b"".join),
    st.integers(0, 10**20).map(lambda number: b"%d" % number),
)
literals = st.one_of(
    st.integers(0, 2**65).map(lambda number: b"%d" % number),
    st.tuples(st.sampled_from([b"'", b'"']), texts).map(lambda pair: pair[0] + pair[1] + pair[0]),
    st.binary(max_size=20).map(lambda data: b"x'" + data.hex().encode() + b"'"),
    st.integers(0, 2**40).map(lambda number: b"0x%x" % number),
    st.text("01", max_size=30).map(lambda digits: b"b'" + digits.encode() + b"'"),
    st.sampled_from([b"1.5", b"1e5", b"'a' 'b'", b"N'a'", b"007", b"'05'", b"' 5'", b"''", b"'x", b"NULL"]),
)


def test_the_compiled_module_is_loaded() -> None:
    assert H.__file__.endswith(".so")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.integers(0, 2**64 - 1))
def test_xxh64_is_that_of_the_library(data: bytes, seed: int) -> None:
    assert H.xxh64(data, seed) == xxhash.xxh64_intdigest(data, seed)


@pytest.mark.parametrize("length", range(100))
def test_xxh64_of_every_length(length: int) -> None:
    data = bytes(range(length))
    assert H.xxh64(data) == xxhash.xxh64_intdigest(data)


def test_published_vectors() -> None:
    for vector in json.loads((CASES / "vindex_vectors.json").read_text()):
        key = bytes.fromhex(vector["canonical"])
        assert H.xxh64(key) == int(vector["xxh64"], 16), vector
        assert H.bucket(key) == vector["bucket"], vector


def test_published_vectors_from_values() -> None:
    for vector in json.loads((CASES / "vindex_vectors.json").read_text()):
        key_type, value = getattr(H, vector["type"]), vector["value"]
        if isinstance(value, int):
            key = H.canonical_key(key_type, b"%d" % abs(value), L.INT, L.NEG if value < 0 else 0)
        else:
            data = bytes.fromhex(value["hex"]) if isinstance(value, dict) else value.encode()
            key = H.canonical_value(key_type, data)
            if key is None and key_type <= H.INT_UNSIGNED:
                continue  # '05' is a number to the planner; here only what the server would print is
        assert key == bytes.fromhex(vector["canonical"]), vector


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(literals, key_types, modes)
def test_literals_as_the_oracle_has_them(literal: bytes, key_type: int, mode: int) -> None:
    lexed = L.lex(b"SELECT " + literal, mode & 255)
    if lexed.error or lexed.norm != b"SELECT ?" or lexed.slots[0].length != len(literal):
        return
    slot = lexed.slots[0]
    expected = key_oracle.of_literal(literal, slot.kind, slot.flags, mode, key_type)
    assert H.canonical_key(key_type, literal, slot.kind, slot.flags, mode) == expected


@settings(max_examples=500, deadline=None, derandomize=True)
@given(texts, key_types, modes)
def test_values_as_the_oracle_has_them(value: bytes, key_type: int, mode: int) -> None:
    assert H.canonical_value(key_type, value, mode) == key_oracle.of_value(value, key_type, mode)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.integers(-(2**63), 2**64 - 1), st.sampled_from([1, 2, 3, 8]), st.booleans(), key_types)
def test_integer_parameters(value: int, field_type: int, is_unsigned: bool, key_type: int) -> None:
    width = key_oracle.INT_PARAMS[field_type]
    data = (value % 2 ** (8 * width)).to_bytes(width, "little")
    expected = key_oracle.of_parameter(data, field_type, is_unsigned, 0, key_type)
    assert H.canonical_parameter(key_type, data + b"rest", field_type, is_unsigned) == (expected, width)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts, st.sampled_from(sorted(key_oracle.STRING_PARAMS)), key_types, modes)
def test_string_parameters(value: bytes, field_type: int, key_type: int, mode: int) -> None:
    data = packet.lenenc(value)
    expected = key_oracle.of_parameter(data, field_type, False, mode, key_type)
    assert H.canonical_parameter(key_type, data + b"rest", field_type, False, mode) == (expected, len(data))


@pytest.mark.parametrize(
    ("field_type", "data", "used"),
    [
        (4, b"\0" * 4, 4),  # FLOAT
        (5, b"\0" * 8, 8),  # DOUBLE
        (7, b"\x07" + b"\0" * 7, 8),  # TIMESTAMP
        (10, b"\x04" + b"\0" * 4, 5),  # DATE
        (11, b"\x0c" + b"\0" * 12, 13),  # TIME
        (12, b"\0", 1),  # DATETIME of zero
        (246, b"\x031.5", 4),  # NEWDECIMAL
        (245, b"\x02{}", 3),  # JSON
        (3, b"\0\0\0", 0),  # LONG, cut
        (12, b"\x0b\0", 0),  # DATETIME, cut
        (253, b"\x05abc", 0),  # VAR_STRING, cut
        (253, b"\xfb", 0),  # NULL is no value
        (253, b"\xfe" + b"\xff" * 8, 0),
        (6, b"", 0),  # NULL
        (99, b"\0" * 20, 0),  # no such type
    ],
)
def test_parameters_that_give_no_key_are_measured(field_type: int, data: bytes, used: int) -> None:
    for key_type in KEY_TYPES:
        assert H.canonical_parameter(key_type, data, field_type) == (None, used)


@pytest.mark.parametrize(
    ("key_type", "literal", "kind", "flags", "mode", "expected"),
    [
        (H.INT_SIGNED, b"5", L.INT, 0, 0, (5).to_bytes(8, "little")),
        (H.INT_SIGNED, b"5", L.INT, L.NEG, 0, (-5).to_bytes(8, "little", signed=True)),
        (H.INT_SIGNED, b"007", L.INT, 0, 0, (7).to_bytes(8, "little")),
        (H.INT_SIGNED, b"9223372036854775807", L.INT, 0, 0, b"\xff" * 7 + b"\x7f"),
        (H.INT_SIGNED, b"9223372036854775808", L.INT, 0, 0, None),
        (H.INT_SIGNED, b"9223372036854775808", L.INT, L.NEG, 0, b"\0" * 7 + b"\x80"),
        (H.INT_SIGNED, b"9223372036854775809", L.INT, L.NEG, 0, None),
        (H.INT_UNSIGNED, b"18446744073709551615", L.INT, 0, 0, b"\xff" * 8),
        (H.INT_UNSIGNED, b"18446744073709551616", L.INT, 0, 0, None),
        (H.INT_UNSIGNED, b"1", L.INT, L.NEG, 0, None),
        (H.INT_UNSIGNED, b"0", L.INT, L.NEG, 0, bytes(8)),
        (H.INT_SIGNED, b"'5'", L.STRING, 0, 0, (5).to_bytes(8, "little")),
        (H.INT_SIGNED, b"'05'", L.STRING, 0, 0, None),
        (H.INT_SIGNED, b"' 5'", L.STRING, 0, 0, None),
        (H.INT_SIGNED, b"'-5'", L.STRING, 0, 0, None),
        (H.INT_SIGNED, b"''", L.STRING, 0, 0, None),
        (H.INT_SIGNED, b"'0'", L.STRING, 0, 0, bytes(8)),
        (H.INT_SIGNED, b"'9007199254740993'", L.STRING, 0, 0, None),  # a double does not hold it
        (H.INT_SIGNED, b"1.5", L.DECIMAL, 0, 0, None),
        (H.INT_SIGNED, b"1e2", L.FLOAT, 0, 0, None),
        (H.BYTES, b"5", L.INT, 0, 0, None),
        (H.BYTES, b"'a '", L.STRING, 0, 0, b"a "),
        (H.BYTES_PAD, b"'A  '", L.STRING, 0, 0, b"A"),
        (H.CI_PAD, b"'A b '", L.STRING, 0, 0, b"a b"),
        (H.CI_NOPAD, b"'A '", L.STRING, 0, 0, b"a "),
        (H.CI_PAD, "'é'".encode(), L.STRING, 0, 0, None),
        (H.CI_PAD, b"'a\tb'", L.STRING, 0, 0, None),
        (H.CI_NOPAD, b"'a\x7f'", L.STRING, 0, 0, None),
        (H.BYTES, "'é'".encode(), L.STRING, 0, 0, "é".encode()),
        (H.BYTES, "'é'".encode(), L.STRING, 0, H.ASCII_KEYS, None),
        (H.BYTES, b"'a'", L.STRING, 0, L.UNSAFE_CHARSET, None),
        (H.BYTES, b"'it''s'", L.STRING, L.ESCAPED, 0, b"it's"),
        (H.BYTES, b"'a\\'b'", L.STRING, L.ESCAPED, 0, b"a'b"),
        (H.BYTES, b"'a\\%b'", L.STRING, L.ESCAPED, 0, b"a\\%b"),
        (H.BYTES, b"'a\\nb'", L.STRING, L.ESCAPED, 0, b"a\nb"),
        (H.BYTES, b"'a\\nb''c'", L.STRING, L.ESCAPED, L.NO_BACKSLASH_ESCAPES, b"a\\nb'c"),
        (H.BYTES, b"'a' 'b'", L.STRING, L.CONCAT, 0, None),
        (H.BYTES, b"'a'", L.STRING, L.INTRODUCER, 0, None),
        (H.BYTES, b"N'a'", L.STRING, L.NATIONAL, 0, None),
        (H.BYTES, b"x'41'", L.HEX, 0, 0, None),
        (H.BYTES, b"x'41'", L.HEX, 0, H.BINARY_COLUMN, b"A"),
        (H.BYTES, b"0x141", L.HEX, 0, H.BINARY_COLUMN, b"\x01A"),
        (H.BYTES, b"b'101000001'", L.BIT, 0, H.BINARY_COLUMN, b"\x01A"),
        (H.BYTES, b"x''", L.HEX, 0, H.BINARY_COLUMN, b""),
        (H.BYTES_PAD, b"x'41'", L.HEX, 0, H.BINARY_COLUMN, None),
        (H.BYTES, b"'" + b"a" * 1024 + b"'", L.STRING, 0, 0, b"a" * 1024),
        (H.BYTES, b"'" + b"a" * 1025 + b"'", L.STRING, 0, 0, None),
        (H.BYTES, b"'" + b"''" * 1025 + b"'", L.STRING, L.ESCAPED, 0, None),
        (7, b"'a'", L.STRING, 0, 0, None),  # no such key type
        (0, b"5", L.INT, 0, 0, None),
    ],
)
def test_rules(key_type: int, literal: bytes, kind: int, flags: int, mode: int, expected: bytes | None) -> None:
    assert H.canonical_key(key_type, literal, kind, flags, mode) == expected
