"""The response scanner against its oracle: cut anywhere, both ends of rows, every kind of packet, and nonsense."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from _speedups import scanner
from _speedups.scanner import ResponseScanner, RowStream, renumber, with_changes, without_session_track
from tests._speedups import mysql_packets as my
from tests.oracle import scanner_oracle as oracle

QUERY, PREPARE, PLAIN_OK, CURSOR, ROWS = range(5)

thorough = settings(max_examples=300, deadline=None)


def test_the_compiled_module_is_loaded() -> None:
    assert scanner.__file__ is not None and scanner.__file__.endswith(".so")


# ---------------------------------------------------------------- responses to choose from

statuses = st.sampled_from([0, 2, 3, 0x22, 0x2002, 0x40, 0xC2])
small = st.integers(0, 0xFFFF)
counts = st.one_of(st.integers(0, 300), st.sampled_from([250, 251, 0xFFFF, 0x10000, 0xFFFFFF, 1 << 24, 2**64 - 1]))
cells = st.one_of(st.none(), st.binary(max_size=12), st.sampled_from([b"\xff" * 3, b"\xfe", b"x" * 300]))
states = st.one_of(
    st.none(),
    st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=20)), max_size=3).map(lambda entries: my.track(*entries)),
)


@st.composite
def results(draw: st.DrawFn, deprecate_eof: bool, track: bool, more: bool) -> list[bytes]:
    """The payloads of one result."""
    status = draw(statuses) | (my.MORE_RESULTS if more else 0)
    state = draw(states) if track else None
    warnings = draw(small)
    if draw(st.booleans()):
        return [
            my.ok(
                affected=draw(counts), insert_id=draw(counts), status=status, warnings=warnings,
                info=draw(st.binary(max_size=9)), state=state,
            )
        ]  # fmt: skip
    columns = [b"c"] * draw(st.integers(1, 4))
    binary = draw(st.booleans())
    rows = draw(st.lists(st.lists(cells, min_size=len(columns), max_size=len(columns)), max_size=6))
    payloads = my.result_payloads(columns, rows, deprecate_eof, status=status, warnings=warnings, state=state)
    if binary:
        first = len(payloads) - 1 - len(rows)
        payloads[first:-1] = [b"\x00" + row for row in payloads[first:-1]]
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(1, len(payloads) - 1))
        return [*payloads[:at], my.err(draw(small), b"half way")]
    return payloads


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, int, bool, bool]:
    """(bytes, expect, deprecate_eof, session_track)"""
    deprecate_eof, track = draw(st.booleans()), draw(st.booleans())
    kind = draw(st.sampled_from(["results", "results", "prepare", "ok", "err"]))
    expect = QUERY
    if kind == "err":
        payloads = [my.err(draw(small), draw(st.binary(max_size=30)))]
        expect = draw(st.sampled_from([QUERY, PREPARE, PLAIN_OK]))
    elif kind == "ok":
        payloads, expect = [my.ok(affected=draw(counts), warnings=draw(small))], PLAIN_OK
    elif kind == "prepare":
        numbers = draw(st.integers(0, 4)), draw(st.integers(0, 4))
        payloads, expect = my.prepare_payloads(draw(st.integers(0, 2**32 - 1)), *numbers, deprecate_eof), PREPARE
    else:
        number = draw(st.integers(1, 3))
        payloads = []
        for index in range(number):
            payloads += draw(results(deprecate_eof, track, index < number - 1))
            if payloads[-1][0] == 0xFF:
                break
        if payloads[0][0] not in (0x00, 0xFF):
            payloads, expect = _for_cursor(
                payloads, deprecate_eof, draw(st.sampled_from([QUERY, ROWS] if number > 1 else [QUERY, CURSOR, ROWS]))
            )
    return my.frames(payloads, draw(st.sampled_from([1, 250]))), expect, deprecate_eof, track


def _for_cursor(payloads: list[bytes], deprecate_eof: bool, expect: int) -> tuple[list[bytes], int]:
    """A response that begins with a result set, as the answer to FETCH, or to an EXECUTE that asks for a cursor: then
    the EOF behind the columns may be the last packet."""
    behind = 1 + payloads[0][0]
    if len(payloads) <= behind + (not deprecate_eof):
        return payloads, QUERY  # an error in the place of columns
    if expect == ROWS:
        return payloads[behind + (not deprecate_eof) :], ROWS
    if expect == CURSOR and not deprecate_eof and payloads[behind][0] == 0xFE and payloads[behind][3] & 0x40:
        return payloads[: behind + 1], CURSOR
    return payloads, expect


cuts = st.lists(st.integers(0, 2000), max_size=12)


def pieces(data: bytes, where: Sequence[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in where)})
    return [data[a:b] for a, b in pairwise(marks)]


class Fed:
    """A scanner as the relay feeds it: what did not pass comes again with more."""

    def __init__(self, expect: int, deprecate_eof: bool, track: bool) -> None:
        self.scanner = ResponseScanner(expect, deprecate_eof, track)
        self.carry = b""
        self.passed = 0
        self.complete = False

    def feed(self, data: bytes) -> None:
        chunk = self.carry + data
        passed, self.complete = self.scanner.feed(chunk)
        self.carry = chunk[passed:]
        self.passed += passed


# ---------------------------------------------------------------- against the oracle


@thorough
@given(responses(), cuts)
def test_cut_anywhere_it_says_what_the_oracle_says(made: tuple[bytes, int, bool, bool], where: list[int]) -> None:
    data, *kind = made
    fed = Fed(*kind)
    seen = 0
    for piece in pieces(data, where):
        fed.feed(piece)
        seen += len(piece)
        expected = oracle.look(data[:seen], *kind)
        assert (fed.passed, fed.complete) == (expected.passed, expected.complete)
        assert fed.scanner.facts == expected.facts
    assert fed.complete and fed.passed == len(data)


@settings(max_examples=60, deadline=None)
@given(responses())
def test_byte_by_byte(made: tuple[bytes, int, bool, bool]) -> None:
    data, *kind = made
    fed = Fed(*kind)
    for end in range(1, len(data) + 1):
        fed.feed(data[end - 1 : end])
        expected = oracle.look(data[:end], *kind)
        assert (fed.passed, fed.complete, fed.scanner.facts) == (expected.passed, expected.complete, expected.facts)
    assert fed.complete


@thorough
@given(responses(), st.binary(min_size=1, max_size=30))
def test_bytes_behind_the_end_do_not_pass(made: tuple[bytes, int, bool, bool], more: bytes) -> None:
    data, *kind = made
    assert ResponseScanner(*kind).feed(data + more) == (len(data), True)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, int, bool, bool]:
    data, expect, deprecate_eof, track = draw(responses())
    broken = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        broken[draw(st.integers(0, len(broken) - 1))] = draw(st.sampled_from([0, 1, 5, 9, 0xFB, 0xFC, 0xFE, 0xFF]))
    return bytes(broken), expect, deprecate_eof, track


nonsense = st.tuples(st.binary(max_size=40), st.integers(0, 2), st.booleans(), st.booleans())


@thorough
@given(st.one_of(damaged(), nonsense), cuts)
@example((my.frames([my.ok(status=0x4002)[:-1] + b"\x01"]), QUERY, True, True), [])
@example((b"\x00\x00\x00\x01", QUERY, True, False), [])
def test_nonsense_is_refused_when_the_oracle_refuses_it(made: tuple[bytes, int, bool, bool], where: list[int]) -> None:
    data, *kind = made
    fed = Fed(*kind)
    seen = 0
    for piece in pieces(data, where):
        seen += len(piece)
        try:
            expected = oracle.look(data[:seen], *kind)
        except oracle.Malformed:
            with pytest.raises(ValueError, match="malformed"):
                fed.feed(piece)
            return
        fed.feed(piece)
        assert (fed.passed, fed.complete) == (expected.passed, expected.complete)
        assert fed.scanner.facts == expected.facts
        if fed.complete:
            return


# ---------------------------------------------------------------- packets of 16 MiB


def huge(first: bytes, size: int) -> bytes:
    """A payload of `size` bytes that begins with `first`."""
    return first + bytes(size - len(first))


SIZES = [my.FULL - 1, my.FULL, my.FULL + 9, 2 * my.FULL]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("first", [b"\x00", b"\xfe"], ids=["zero", "fe"])
@pytest.mark.parametrize("deprecate_eof", [False, True])
def test_a_row_of_several_packets(size: int, first: bytes, deprecate_eof: bool) -> None:
    if size < my.FULL and first == b"\xfe" and deprecate_eof:
        pytest.skip("a value of 16 MiB does not fit into this row")
    head = my.result_payloads([b"c"], [], deprecate_eof)
    row = bytearray(huge(first, size))
    row[my.FULL : my.FULL + 1] = b"\xff"[: len(row) - my.FULL]
    data = my.frames([*head[:-1], bytes(row), b"\x01x", head[-1]])
    fed = Fed(QUERY, deprecate_eof, False)
    for at in range(0, len(data), 65531):
        fed.feed(data[at : at + 65531])
    assert fed.complete and fed.passed == len(data)
    assert (fed.scanner.facts["rows"], fed.scanner.facts["outcome"]) == (2, "rows")


@pytest.mark.parametrize("behind", [1, 4, 5])
def test_a_huge_row_cut_at_its_seam(behind: int) -> None:
    head = my.result_payloads([b"c"], [], True)
    data = my.frames([*head[:-1], huge(b"\xfe", my.FULL), head[-1]])
    seam = data.index(b"\x00\x00\x00\x04", my.FULL)
    for at in range(seam - 3, seam + 6):
        fed = Fed(QUERY, True, False)
        for piece in (data[:at], data[at : at + behind], data[at + behind :]):
            fed.feed(piece)
        assert fed.complete and fed.scanner.facts["rows"] == 1


def test_a_huge_column_definition() -> None:
    payloads = [my.lenenc(2), huge(b"\x03", my.FULL), my.column(b"c"), my.row([b"1", b"2"]), my.ok(mark=0xFE)]
    data = my.frames(payloads)
    fed = Fed(QUERY, True, False)
    for at in range(0, len(data), 1 << 20):
        fed.feed(data[at : at + (1 << 20)])
    assert fed.complete and fed.scanner.facts["rows"] == 1


@pytest.mark.parametrize("mark", [0x00, 0x01, 0xFE, 0xFF])
@pytest.mark.parametrize("before", [0, 2, 3])
def test_a_packet_that_decides_is_never_huge(before: int, mark: int) -> None:
    if before == 3 and mark != 0xFF:
        pytest.skip("that is a row")
    sound = my.frames(my.result_payloads([b"c"], [[b"1"]], False)[:before])
    with pytest.raises(ValueError, match="malformed"):
        ResponseScanner(QUERY, False, False).feed(sound + my.head(my.FULL, 9) + bytes([mark]) + bytes(20))


# ---------------------------------------------------------------- rows for the executor


def taken_apart(data: bytes, deprecate_eof: bool, where: Sequence[int]) -> tuple[bytes, RowStream]:
    stream = RowStream(deprecate_eof)
    rows = b""
    for piece in pieces(data, where):
        given_back = bytes(stream.feed(piece))
        assert my.split(given_back)[1] == b"", "whole packets only"
        rows += given_back
    return rows, stream


@thorough
@given(st.data(), st.booleans(), cuts)
def test_rows_are_taken_out_whole(data: st.DataObject, deprecate_eof: bool, where: list[int]) -> None:
    payloads = data.draw(results(deprecate_eof, False, False))
    framed = my.frames(payloads)
    rows, stream = taken_apart(framed, deprecate_eof, where)
    assert stream.end == payloads[-1]
    if payloads[0][0] in (0x00, 0xFF):
        assert (rows, stream.head, stream.rows) == (b"", None, 0)
        return
    columns = payloads[0][0]
    head = 1 + columns + (not deprecate_eof)
    if len(payloads) - 1 < head:
        assert (rows, stream.head) == (b"", None)
        return
    assert stream.head == my.frames(payloads[:head])
    assert rows == my.frames(payloads[head:-1], 1 + head)
    assert stream.rows == len(payloads) - 1 - head


def test_a_row_of_several_packets_counts_once() -> None:
    head = my.result_payloads([b"c"], [], True)
    framed = my.frames([*head[:-1], huge(b"\xfe", my.FULL + 3), b"\x011", head[-1]])
    rows, stream = taken_apart(framed, True, [5, my.FULL + 50])
    assert (stream.rows, stream.end) == (2, head[-1])
    assert rows == framed[len(my.frames(head[:-1])) : -len(my.frame(head[-1]))]


@pytest.mark.parametrize("payloads", [[b"\x00\x00"], [b""], [my.lenenc(0xFFFF)[:1] + b"\x00"], [b"\xfb"]])
def test_no_rows_in_nonsense(payloads: list[bytes]) -> None:
    framed = my.frames([*payloads, my.ok()])
    with pytest.raises(ValueError, match=r"packet|count|behind"):
        RowStream(True).feed(framed)


def test_nothing_may_follow_the_end() -> None:
    with pytest.raises(ValueError, match="behind the end"):
        RowStream(True).feed(my.frame(my.ok(), 1) * 2)


@thorough
@given(st.lists(st.binary(max_size=20), max_size=300), st.integers(0, 255))
def test_renumbering(payloads: list[bytes], seq: int) -> None:
    packets = bytearray(b"".join(my.frame(payload, 77) for payload in payloads))
    assert renumber(packets, seq) == (seq + len(payloads)) & 0xFF
    assert bytes(packets) == b"".join(my.frame(payload, seq + at) for at, payload in enumerate(payloads))


def test_renumbering_stops_at_a_cut_head() -> None:
    packets = bytearray(my.frame(b"a", 9) + b"\x01\x00")
    assert renumber(packets, 3) == 4
    assert packets == my.frame(b"a", 3) + b"\x01\x00"


# ---------------------------------------------------------------- OK packets for clients without session tracking


@thorough
@given(counts, counts, statuses, small, st.binary(max_size=300), states, st.sampled_from([0x00, 0xFE]))
def test_the_state_block_goes_and_the_rest_stays(
    affected: int, insert_id: int, status: int, warnings: int, info: bytes, state: bytes | None, mark: int
) -> None:
    def made(block: bytes | None) -> bytes:
        counted = my.ok(
            affected=affected, insert_id=insert_id, status=status, warnings=warnings, info=info, state=block, mark=mark
        )
        return my.frame(counted, 7)

    assert without_session_track(made(state)) == made(None)


NO_OK_PACKETS = [
    b"",
    b"\x01\x00\x00\x01",
    b"\x01\x00\x00\x01\x00",
    my.frame(b"\x00\xfb\x00\x00\x00\x00\x00"),
    my.frame(b"\x00\x00\x00\x02\x00\x00\x00\x05abc"),
]


@pytest.mark.parametrize("packet", NO_OK_PACKETS)
def test_what_is_no_ok_packet_is_not_reworded(packet: bytes) -> None:
    with pytest.raises(ValueError, match="OK packet"):
        without_session_track(packet)


def entry(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + my.lenenc(len(body)) + body


def variable(name: bytes) -> bytes:
    return entry(0, my.lenenc(len(name)) + name + my.lenenc(100) + b"x" * 100)


VARIABLES = [variable(name) for name in (b"sql_mode", b"time_zone", b"statement_id")]
OTHERS = [entry(kind, b"\x04some") for kind in (1, 2, 3, 5)]
CHOICES = [
    (0, b"", []),
    (1, b"", []),
    (1, b"\x08sql_mode\x09time_zone", VARIABLES[:2]),
    (1, b"\x08sql_mode\x04time", VARIABLES[:1]),
    (1 | 64, b"", VARIABLES[:2]),
    (2, b"\x08sql_mode", OTHERS[:1]),
    (4 | 8, b"", OTHERS[1:3]),
    (32, b"", OTHERS[3:]),
]


@pytest.mark.parametrize("kinds, names, kept", CHOICES)
@pytest.mark.parametrize("info", [b"", b"Rows matched: 1"])
def test_clients_are_told_of_chosen_changes(kinds: int, names: bytes, kept: list[bytes], info: bytes) -> None:
    def made(entries: list[bytes]) -> bytes:
        state = b"".join(entries) if entries else None
        return my.frame(my.ok(affected=1, insert_id=0, status=2, warnings=0, info=info, state=state, mark=0), 1)

    assert with_changes(made(VARIABLES + OTHERS), kinds, names) == made(kept)


@pytest.mark.parametrize("packet", [*NO_OK_PACKETS[:4], my.frame(b"\0\0\0\x02\x40\0\0\0\x05\0")])
def test_changes_are_not_chosen_in_what_is_no_ok_packet(packet: bytes) -> None:
    with pytest.raises(ValueError, match="OK packet"):
        with_changes(packet, 127)


def test_an_ok_packet_without_changes_stays() -> None:
    plain = my.frame(b"\0\0\0\x02\0\0\0")
    assert with_changes(plain, 127) == plain
