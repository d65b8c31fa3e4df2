"""Canonical keys from literals and binary parameters, in plain Python. None means refused."""

from __future__ import annotations

import re

from _speedups import hashing as H
from _speedups import lexer as L

ESCAPES = {b"0": b"\0", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"r": b"\r", b"Z": b"\x1a"}
INT_RANGE = {H.INT_SIGNED: (-(2**63), 2**63 - 1), H.INT_UNSIGNED: (0, 2**64 - 1)}
QUOTED_DIGITS_MAX = 15
INT_PARAMS = {1: 1, 2: 2, 3: 4, 8: 8}  # enum_field_types: bytes
STRING_PARAMS = {15, *range(247, 255)}


def of_int(value: int, key_type: int) -> bytes | None:
    if key_type not in INT_RANGE:
        return None
    low, high = INT_RANGE[key_type]
    return value.to_bytes(8, "little", signed=value < 0) if low <= value <= high else None


def of_value(value: bytes, key_type: int, mode: int = 0) -> bytes | None:
    if key_type in INT_RANGE:
        plain = re.fullmatch(rb"0|[1-9][0-9]*", value) and len(value) <= QUOTED_DIGITS_MAX
        return of_int(int(value), key_type) if plain else None
    if mode & L.UNSAFE_CHARSET or len(value) > H.MAX_KEY or not H.BYTES <= key_type <= H.CI_NOPAD:
        return None
    if key_type in (H.CI_PAD, H.CI_NOPAD):
        if not re.fullmatch(rb"[ -~]*", value):
            return None
        value = value.lower()
    elif mode & H.ASCII_KEYS and not value.isascii():
        return None
    return value.rstrip(b" ") if key_type in (H.CI_PAD, H.BYTES_PAD) else value


def unquoted(literal: bytes, mode: int) -> bytes:
    quote, inside = literal[:1], literal[1:-1]
    if mode & L.NO_BACKSLASH_ESCAPES:
        return inside.replace(quote * 2, quote)

    def one(found: re.Match[bytes]) -> bytes:
        if found[0] == quote * 2:
            return quote
        escaped = found[0][1:]
        return found[0] if escaped in (b"%", b"_") else ESCAPES.get(escaped, escaped)

    return re.sub(rb"\\.|" + quote * 2, one, inside, flags=re.DOTALL)


def of_digits(literal: bytes, kind: int) -> bytes:
    digits = literal[2:-1] if literal.endswith(b"'") else literal[2:]
    per_byte = 2 if kind == L.HEX else 8
    length = -(-len(digits) // per_byte)
    return int(digits or b"0", 16 if kind == L.HEX else 2).to_bytes(length, "big")


def of_literal(literal: bytes, kind: int, flags: int, mode: int, key_type: int) -> bytes | None:
    if kind == L.INT:
        return of_int(-int(literal) if flags & L.NEG else int(literal), key_type)
    if kind == L.STRING and not flags & ~L.ESCAPED and not mode & L.UNSAFE_CHARSET:
        if flags & L.ESCAPED and key_type in INT_RANGE:
            return None
        return of_value(unquoted(literal, mode) if flags else literal[1:-1], key_type, mode)
    if kind in (L.HEX, L.BIT) and key_type == H.BYTES and mode & H.BINARY_COLUMN:
        found = of_digits(literal, kind)
        return found if not flags & (L.INTRODUCER | L.NEG) and len(found) <= H.MAX_KEY else None
    return None


def of_parameter(data: bytes, field_type: int, is_unsigned: bool, mode: int, key_type: int) -> bytes | None:
    """`data` is exactly one value."""
    if field_type in INT_PARAMS:
        return of_int(int.from_bytes(data, "little", signed=not is_unsigned), key_type)
    if field_type in STRING_PARAMS:
        head = {0xFC: 3, 0xFD: 4, 0xFE: 9}.get(data[0], 1)
        return of_value(data[head:], key_type, mode)
    return None
