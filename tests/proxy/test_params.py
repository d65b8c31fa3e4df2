"""Parameters of COM_STMT_EXECUTE against packets packed by hand."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.mysql.constants.field_types import FieldType as F
from proxy.mysql.errors import MalformedPacket
from proxy.sessions.params import decode_params, with_types
from router.keys import Value

UNSIGNED = 0x80


def lenenc(data: bytes) -> bytes:
    size = len(data)
    if size < 251:
        return bytes((size,)) + data
    return (b"\xfc" + struct.pack("<H", size) if size < 1 << 16 else b"\xfd" + struct.pack("<I", size)[:3]) + data


Packed = tuple[int, int, bytes, Value]
"""(type, flags, bytes, value)"""


def packed(kind: F, flags: int, form: str) -> Callable[[int], Packed]:
    return lambda number: (kind, flags, struct.pack(form, number), number)


INTEGERS = [
    st.integers(-(2**63), 2**63 - 1).map(packed(F.LONGLONG, 0, "<q")),
    st.integers(0, 2**64 - 1).map(packed(F.LONGLONG, UNSIGNED, "<Q")),
    st.integers(-(2**31), 2**31 - 1).map(packed(F.LONG, 0, "<i")),
    st.integers(0, 2**32 - 1).map(packed(F.LONG, UNSIGNED, "<I")),
    st.integers(-(2**15), 2**15 - 1).map(packed(F.SHORT, 0, "<h")),
    st.integers(-128, 127).map(packed(F.TINY, 0, "<b")),
    st.integers(0, 255).map(packed(F.TINY, UNSIGNED, "<B")),
]
VALUES: list[st.SearchStrategy[Packed]] = [
    *INTEGERS,
    st.floats(allow_nan=False).map(lambda one: (F.DOUBLE, 0, struct.pack("<d", one), one)),
    st.floats(allow_nan=False, width=32).map(lambda one: (F.FLOAT, 0, struct.pack("<f", one), one)),
    st.text(max_size=400).map(lambda one: (F.VAR_STRING, 0, lenenc(one.encode()), one)),
    st.binary(max_size=400).map(lambda one: (F.BLOB, 0, lenenc(one), one)),
    st.just((F.DATE, 0, b"\x04\xe7\x07\x01\x02", "e7070102")),
    st.just((F.NULL, 0, b"", None)),
]


def execute(parameters: list[Packed], nulls: list[bool], types: bool = True) -> bytes:
    bitmap = bytearray((len(parameters) + 7) // 8)
    for index, null in enumerate(nulls):
        bitmap[index // 8] |= null << index % 8
    body = b"".join(one[2] for one, null in zip(parameters, nulls, strict=True) if not null)
    kinds = b"".join(bytes(one[:2]) for one in parameters) if types else b""
    return b"\x17" + struct.pack("<IBI", 7, 0, 1) + bytes(bitmap) + bytes((types,)) + kinds + body


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.one_of(VALUES), st.booleans()), min_size=1, max_size=20), st.booleans())
def test_values_come_as_they_were_packed(given_: list[tuple[Packed, bool]], types: bool) -> None:
    parameters, nulls = [one for one, _ in given_], [null for _, null in given_]
    kinds = b"".join(bytes(one[:2]) for one in parameters)
    command = execute(parameters, nulls, types)
    expected = [None if null else one[3] for one, null in given_]
    assert decode_params(command, len(parameters), kinds, "utf8mb4") == expected
    whole = with_types(command, len(parameters), kinds)
    assert whole == execute(parameters, nulls, True)
    assert decode_params(whole, len(parameters), b"", "utf8mb4") == expected


def test_no_parameters() -> None:
    command = b"\x17" + struct.pack("<IBI", 1, 0, 1)
    assert decode_params(command, 0, b"", "utf8mb4") == []
    assert with_types(command, 0, b"") == command


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.one_of(VALUES), st.data())
def test_what_is_cut_is_malformed(parameter: Packed, data: st.DataObject) -> None:
    whole = execute([parameter], [False])
    cut = whole[: data.draw(st.integers(10, len(whole) - 1))]
    if len(cut) == len(whole):
        return
    with pytest.raises(MalformedPacket):
        decode_params(cut, 1, b"", "utf8mb4")


def test_types_that_were_never_sent_and_types_that_do_not_exist() -> None:
    with pytest.raises(MalformedPacket):
        decode_params(execute([(F.TINY, 0, b"\x01", 1)], [False], types=False), 1, b"", "utf8mb4")
    with pytest.raises(MalformedPacket):
        decode_params(execute([(99, 0, b"\x01", 1)], [False]), 1, b"", "utf8mb4")


def test_text_is_read_in_the_clients_character_set() -> None:
    command = execute([(F.VAR_STRING, 0, b"\x01\xe9", None)], [False])
    assert decode_params(command, 1, b"", "latin1") == ["é"]
    assert decode_params(command, 1, b"", "utf8mb4") == ["\udce9"], "kept apart, and no key of a text column"
