"""Keys of rows against plain Python: their order is the values' order, and equal keys mean equal values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import reduce
from itertools import pairwise
from operator import and_, xor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from _speedups.packet import frame, lenenc, slice_row, split_packets
from _speedups.rows import (
    Combine,
    Concatenation,
    Encoder,
    Funnel,
    Groups,
    Merge,
    RowTooLong,
    Shape,
    decimal_text,
    divided,
    double_text,
    keys_of,
    sorted_rows,
)

LONGLONG, DOUBLE, DECIMAL, TEXT = 8, 5, 246, 253
Cell = bytes | None


def text_row(cells: Sequence[Cell]) -> bytes:
    return frame(b"".join(b"\xfb" if cell is None else lenenc(cell) for cell in cells))


def binary_row(cells: Sequence[Cell], types: Sequence[int]) -> bytes:
    nulls = bytearray((len(cells) + 9) // 8)
    body = b""
    for at, (cell, kind) in enumerate(zip(cells, types, strict=True)):
        if cell is None:
            nulls[(at + 2) // 8] |= 1 << (at + 2) % 8
        else:
            body += cell if kind in (LONGLONG, DOUBLE) else lenenc(cell)
    return frame(b"\0" + bytes(nulls) + body)


def key(kind: str, cell: Cell, *, pad: bytes = b"", descending: bool = False) -> bytes:
    shape = Shape([TEXT], False, 1)
    (found,) = keys_of(shape, Encoder([(0, kind, descending, pad)], False), text_row([cell]))
    return found


def sign(number: Any) -> int:
    return (number > 0) - (number < 0)


def ordered_alike(kind: str, one: Any, other: Any, text: Callable[[Any], bytes], **how: Any) -> None:
    ours, theirs = key(kind, text(one), **how), key(kind, text(other), **how)
    assert sign((ours > theirs) - (ours < theirs)) == sign((one > other) - (one < other))


def digits(value: object) -> bytes:
    return str(value).encode()


@given(some.integers(-(2**63), 2**63 - 1), some.integers(-(2**63), 2**63 - 1))
def test_whole_numbers(one: int, other: int) -> None:
    ordered_alike("int", one, other, digits)


@given(some.integers(0, 2**64 - 1), some.integers(0, 2**64 - 1))
def test_unsigned_numbers(one: int, other: int) -> None:
    ordered_alike("uint", one, other, digits)


FLOATS = some.floats(allow_nan=False, allow_infinity=False)
DECIMALS = some.decimals(-(10**30), 10**30, allow_nan=False, places=4)


@given(FLOATS, FLOATS)
def test_doubles(one: float, other: float) -> None:
    ordered_alike("double", one, other, lambda value: double_text(value, 31))


@given(DECIMALS, DECIMALS)
def test_decimals(one: Decimal, other: Decimal) -> None:
    ordered_alike("decimal", one, other, lambda value: f"{value:f}".encode())


def test_decimals_of_different_scale_are_equal() -> None:
    assert len({key("decimal", text) for text in (b"1.50", b"1.5", b"01.500", b"1.5000")}) == 1
    assert len({key("decimal", text) for text in (b"0", b"-0.00", b"0.000")}) == 1


@given(some.binary(max_size=6), some.binary(max_size=6))
def test_bytes(one: bytes, other: bytes) -> None:
    ordered_alike("bytes", one, other, bytes)


WEIGHTS = some.lists(some.sampled_from([b"\x00\x01", b"\x00\x1f", b"\x00\x20", b"\x00\x21", b"\x41\x00"]), max_size=6)


@given(WEIGHTS, WEIGHTS)
def test_weights_pad_with_spaces_without_end(one: list[bytes], other: list[bytes]) -> None:
    pad = b"\x00\x20"
    longest = max(len(one), len(other))
    ours, theirs = (b"".join(units + [pad] * (longest - len(units))) for units in (one, other))
    found = [key("padded", b"".join(units), pad=pad) for units in (one, other)]
    assert sign((found[0] > found[1]) - (found[0] < found[1])) == sign((ours > theirs) - (ours < theirs))


def test_times_and_nulls() -> None:
    times = [None, b"-838:59:59.000000", b"-00:00:01", b"00:00:00", b"00:00:00.000001", b"09:10:11", b"100:00:00"]
    keys = [key("time", one) for one in times]
    assert keys == sorted(keys)
    turned = [key("time", one, descending=True) for one in times]
    assert turned == sorted(turned, reverse=True)


@given(some.lists(some.tuples(some.integers(-9, 9), some.one_of(some.none(), some.binary(max_size=3))), max_size=30))
def test_binary_rows_order_like_text_rows(rows: list[tuple[int, bytes | None]]) -> None:
    types = [LONGLONG, TEXT]
    parts = [(0, "int", True, b""), (1, "bytes", False, b"")]
    text = b"".join(text_row([digits(number), cell]) for number, cell in rows)
    binary = b"".join(binary_row([struct.pack("<q", number), cell], types) for number, cell in rows)
    assert keys_of(Shape(types, False, 2), Encoder(parts, False), text) == keys_of(
        Shape(types, True, 2), Encoder(parts, True), binary
    )


# --- runs ---------------------------------------------------------------------------------------------------

NUMBERS = some.lists(some.lists(some.integers(-50, 50), max_size=12), min_size=1, max_size=5)


def merged(runs: list[list[int]], *, skip: int = 0, left: int = -1, size: int = 3) -> list[int]:
    shape = Shape([TEXT, LONGLONG], False, 1)
    funnel = Funnel(shape, None, skip, left)
    merge = Merge(funnel, Encoder([(1, "int", False, b"")], False), len(runs))
    waiting = [sorted(run) for run in runs]
    while not merge.done:
        merge.advance()
        if merge.wanting >= 0 and not funnel.full:
            run = waiting[merge.wanting]
            piece, waiting[merge.wanting] = run[:size], run[size:]
            if piece:
                merge.feed(merge.wanting, b"".join(text_row([b"v%d" % one, digits(one)]) for one in piece))
            else:
                merge.finish(merge.wanting)
    rows = (slice_row(payload, 1) for _, payload in split_packets(bytes(funnel.take())))
    return [int((row[0] or b"")[1:]) for row in rows]


@given(NUMBERS, some.integers(0, 9), some.integers(-1, 9))
def test_runs_are_merged_and_cut(runs: list[list[int]], skip: int, left: int) -> None:
    everything = sorted(one for run in runs for one in run)
    assert merged(runs, skip=skip, left=left) == everything[skip : None if left < 0 else skip + left]


@given(some.lists(some.one_of(some.none(), some.integers(-3, 3)), max_size=40))
def test_distinct_keeps_the_first_of_equal_rows(values: list[int | None]) -> None:
    shape = Shape([LONGLONG], False, 1)
    funnel = Funnel(shape, Encoder([(0, "int", False, b"")], False))
    Concatenation(funnel).feed(b"".join(text_row([None if one is None else digits(one)]) for one in values))
    rows = [slice_row(payload, 1)[0] for _, payload in split_packets(bytes(funnel.take()))]
    assert rows == [None if one is None else digits(one) for one in dict.fromkeys(values)]


@given(some.lists(some.integers(-99, 99), max_size=40))
def test_sorted_rows(values: list[int]) -> None:
    shape = Shape([LONGLONG], False, 1)
    packets = b"".join(text_row([digits(one)]) for one in values)
    rows = sorted_rows(shape, Encoder([(0, "int", False, b"")], False), packets)
    assert [slice_row(payload, 1)[0] for _, payload in split_packets(bytes(rows))] == [*map(digits, sorted(values))]


@pytest.mark.parametrize("columns", range(1, 20))
def test_helper_columns_are_cut_off_a_binary_row(columns: int) -> None:
    types = [LONGLONG, TEXT] * 12
    cells: list[Cell] = [None if at % 3 == 0 else b"12345678" for at in range(len(types))]
    funnel = Funnel(Shape(types, True, columns))
    Concatenation(funnel).feed(binary_row(cells, types))
    assert bytes(funnel.take()) == binary_row(cells[:columns], types[:columns])


# --- groups -------------------------------------------------------------------------------------------------

PARTS = some.lists(some.tuples(some.integers(0, 3), some.one_of(some.none(), some.integers(-999, 999))), max_size=30)


@given(PARTS)
def test_groups_against_plain_python(parts: list[tuple[int, int | None]]) -> None:
    shape = Shape([LONGLONG, LONGLONG, DECIMAL, DECIMAL, LONGLONG], False, 5)
    smallest = Encoder([(4, "int", False, b"")], False)
    groups = Groups(
        shape, Encoder([(0, "int", False, b"")], False),
        [Combine("count", 1), Combine("sum", 2, scale=2, decimals=2),
         Combine("average", 3, (2, 1), scale=2, decimals=6), Combine("min", 4, key=smallest)],
    )  # fmt: skip
    for group, value in parts:
        amount, number = (None, None) if value is None else (decimal_text(value, 2), digits(value))
        groups.feed(text_row([digits(group), digits(int(value is not None)), amount, b"0.000000", number]))
    expected = []
    for group in dict.fromkeys(group for group, _ in parts):
        values = [value for one, value in parts if one == group and value is not None]
        mean = decimal_text(divided(sum(values), len(values), 4), 6) if values else None
        total, least = (decimal_text(sum(values), 2), digits(min(values))) if values else (None, None)
        expected.append([digits(group), digits(len(values)), total, mean, least])
    assert [slice_row(payload, 5) for _, payload in split_packets(bytes(groups.rows()))] == expected


LONG = some.tuples(
    some.integers(-(10**30), 10**30) | some.integers(-(10**18), 10**18) | some.integers(-9, 9),
    some.binary(max_size=40),
    some.integers(0, 2**64 - 1),
)


@given(some.lists(LONG, min_size=1, max_size=12))
def test_what_does_not_fit_into_a_slot_is_put_together_as_well(parts: list[tuple[int, bytes, int]]) -> None:
    shape = Shape([DECIMAL, DECIMAL, TEXT, TEXT, LONGLONG, LONGLONG, LONGLONG], False, 7)
    words = [Encoder([(at, "bytes", False, b"")], False) for at in (2, 3)]
    groups = Groups(
        shape, None,
        [Combine("sum", 0, scale=3, decimals=3), Combine("average", 1, (1, 6), scale=3, decimals=7),
         Combine("min", 2, key=words[0]), Combine("max", 3, key=words[1]), Combine("xor", 4), Combine("and", 5)],
    )  # fmt: skip
    for number, word, bits in parts:
        amount, mask = decimal_text(number, 3), digits(bits)
        groups.feed(text_row([amount, amount, word, word, mask, mask, b"1"]))
    total, words_given, masks = sum(one for one, _, _ in parts), [word for _, word, _ in parts], [m for *_, m in parts]
    (row,) = (slice_row(payload, 7) for _, payload in split_packets(bytes(groups.rows())))
    assert row[:2] == [decimal_text(total, 3), decimal_text(divided(total, len(parts), 4), 7)]
    assert row[2:4] == [min(words_given), max(words_given)]
    assert [int(cell or b"") for cell in row[4:6]] == [reduce(xor, masks), reduce(and_, masks)]


def test_no_rows_are_one_group_of_nothing() -> None:
    groups = Groups(Shape([LONGLONG, DECIMAL], False, 2), None, [Combine("count", 0), Combine("sum", 1)])
    assert bytes(groups.rows()) == text_row([b"0", None])


def test_means_are_rounded_half_away_from_zero() -> None:
    assert [divided(total, 2, 0) for total in (5, -5, 3, -3, 4)] == [3, -3, 2, -2, 2]
    assert decimal_text(divided(-10, 3, 4), 4) == b"-3.3333"


@given(some.floats(allow_nan=False, allow_infinity=False))
def test_doubles_are_written_so_that_they_are_read_back(value: float) -> None:
    assert float(double_text(value, 31)) == value


def test_rows_that_are_none_are_errors() -> None:
    shape = Shape([LONGLONG], False, 1)
    for row in (frame(b"\x05ab"), frame(lenenc(b"1") + b"x"), frame(lenenc(b"1"))[:-1]):
        with pytest.raises(ValueError):
            Concatenation(Funnel(shape)).feed(row)
    with pytest.raises(RowTooLong):
        Concatenation(Funnel(shape)).feed(b"\xff\xff\xff\x00" + b"x" * 10)


def test_doubles_as_servers_write_them() -> None:
    texts = ["1e15", "100000000000000", "0.000000000000001", "1.5e-16", "1.2345678901234568e17", "123456.789", "-2.5"]
    assert [double_text(float(text), 31).decode() for text in texts] == texts
    assert all(one != other for one, other in pairwise(texts))
