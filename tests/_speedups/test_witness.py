"""The witness in the scanner: definitions cut anywhere, several results, heads seen before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups.scanner import ForbiddenColumn, ResponseScanner, witness_names
from tests._speedups import mysql_packets as my

QUERY = 0
ALLOWED = [("shop", "customers", "id"), ("shop", "c", "id"), ("shop", "Orders", "Total")]


def definition(schema: str, org_table: str, org_name: str, table: str = "t", name: str = "n") -> bytes:
    parts = ["def", schema, table, org_table, name, org_name]
    return b"".join(bytes((len(part),)) + part.encode() for part in parts) + bytes.fromhex("0c3f000b000000080000000000")


def response(columns: list[bytes], *, rows: int = 2, deprecate_eof: bool = True, more: bool = False) -> bytes:
    status = my.MORE_RESULTS if more else 0
    row = b"\x01x" * len(columns)
    middle = [] if deprecate_eof else [my.eof(status=status)]
    end = my.ok(status=status, mark=0xFE) if deprecate_eof else my.eof(status=status)
    return my.frames([bytes((len(columns),)), *columns, *middle, *[row] * rows, end])


KNOWN = [
    definition("shop", "customers", "id"), definition("SHOP", "C", "ID"), definition("shop", "orders", "total"),
    definition("", "", ""), definition("", "customers", "email"), definition("shop", "customers", ""),
    definition("information_schema", "TABLES", "TABLE_NAME"),
]  # fmt: skip
FOREIGN = [
    definition("shop", "customers", "email"), definition("shop", "orders", "id"),
    definition("other", "customers", "id"), definition("shop", "customer", "sid"),
    definition("shop", "customers", "id")[:9], b"\x03def",
    definition("shop", "customers", "id") + b"x" * 5000,
]  # fmt: skip
eofs = pytest.mark.parametrize("deprecate_eof", [True, False])


def fed(scanner: ResponseScanner, data: bytes, cuts: list[int]) -> tuple[bytes, bool]:
    """What may be forwarded of a response that comes in pieces, and whether it was complete."""
    passed, kept, complete = b"", b"", False
    edges = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    at = 0
    for edge in edges:
        kept, at = kept + data[at:edge], edge
        try:
            count, complete = scanner.feed(kept)
        except ForbiddenColumn as denied:
            return passed + kept[: denied.args[0]], False
        passed, kept = passed + kept[:count], kept[count:]
    return passed, complete


@eofs
@given(st.lists(st.sampled_from(KNOWN), min_size=1, max_size=6), st.lists(st.integers(0, 400), max_size=6))
def test_what_is_known_passes_whole(deprecate_eof: bool, columns: list[bytes], cuts: list[int]) -> None:
    data = response(columns, deprecate_eof=deprecate_eof)
    scanner = ResponseScanner(QUERY, deprecate_eof, allowed=ALLOWED)
    for pieces in ([], cuts, []):
        assert fed(scanner, data, pieces) == (data, True)
        scanner.again()


@eofs
@given(
    st.lists(st.sampled_from(KNOWN), max_size=4), st.sampled_from(FOREIGN),
    st.lists(st.sampled_from(KNOWN), max_size=2), st.lists(st.integers(0, 400), max_size=6),
)  # fmt: skip
def test_a_column_that_is_not_known_ends_it_before_any_row(
    deprecate_eof: bool, before: list[bytes], foreign: bytes, behind: list[bytes], cuts: list[int]
) -> None:
    good = response(before or KNOWN[:1], deprecate_eof=deprecate_eof)
    bad = response([*before, foreign, *behind], deprecate_eof=deprecate_eof)
    most = 5 + sum(4 + len(column) for column in before)
    for data, offset in ((bad, 0), (response(KNOWN[:1], deprecate_eof=deprecate_eof, more=True) + bad, None)):
        scanner = ResponseScanner(QUERY, deprecate_eof, allowed=ALLOWED)
        assert fed(scanner, good, []) == (good, True)
        scanner.again()
        passed, complete = fed(scanner, data, cuts)
        start = len(data) - len(bad) if offset is None else offset
        assert not complete and data.startswith(passed) and start <= len(passed) <= start + most
        if not cuts:
            assert len(passed) == start


def test_a_head_that_was_agreed_to_is_taken_by_its_bytes_only() -> None:
    scanner = ResponseScanner(QUERY, True, allowed=ALLOWED)
    good = response(KNOWN[:2])
    bad = response([KNOWN[0], definition("shop", "C", "IX")])
    for _ in range(2):
        assert fed(scanner, good, []) == (good, True)
        scanner.again()
        with pytest.raises(ForbiddenColumn):
            scanner.feed(bad)
        scanner.again()


def test_an_empty_list_lets_only_what_is_computed_pass() -> None:
    scanner = ResponseScanner(QUERY, True, allowed=[])
    assert fed(scanner, response([definition("", "", "")]), [])[1]
    scanner.again()
    with pytest.raises(ForbiddenColumn):
        scanner.feed(response(KNOWN[:1]))


def test_names_that_cannot_be_told_apart_are_not_taken() -> None:
    with pytest.raises(ValueError, match="names"):
        witness_names([("shop", "a\0b", "c")])
    with pytest.raises(ValueError, match="names"):
        witness_names([("shop", "t", str(number)) for number in range(5000)])
