from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups import packet
from _speedups.packet import MAX_PAYLOAD, MalformedPacket

payloads = st.binary(max_size=400)
rows = st.lists(st.none() | st.binary(max_size=300), max_size=8)


def head(length: int, seq: int) -> bytes:
    return length.to_bytes(3, "little") + bytes((seq,))


def lenenc_integer(value: int) -> bytes:
    """https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html"""
    if value < 251:
        return bytes((value,))
    for mark, width in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        if value < 256**width:
            return bytes((mark,)) + value.to_bytes(width, "little")
    raise ValueError(value)


def text_row(row: list[bytes | None]) -> bytes:
    return b"".join(b"\xfb" if value is None else lenenc_integer(len(value)) + value for value in row)


def test_the_compiled_module_is_loaded() -> None:
    assert packet.__file__.endswith(".so")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(payloads, max_size=6), st.integers(0, 255))
def test_framed_packets_split_into_themselves(bodies: list[bytes], seq: int) -> None:
    data = b"".join(packet.frame(body, seq + k) for k, body in enumerate(bodies))
    assert packet.split_packets(data) == [((seq + k) & 255, body) for k, body in enumerate(bodies)]


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_payloads_around_16_mb(extra: int) -> None:
    payload = bytes(MAX_PAYLOAD + extra)
    framed = packet.frame(payload, 255)
    if extra < 0:
        assert framed == head(len(payload), 255) + payload
        assert packet.split_packets(framed) == [(255, payload)]
        return
    assert framed[:4] == head(MAX_PAYLOAD, 255)
    assert framed[4 + MAX_PAYLOAD : 8 + MAX_PAYLOAD] == head(extra, 0)
    assert packet.split_packets(framed + packet.frame(b"next", 1)) == [(0, payload), (1, b"next")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x01",
        b"\x01\x00\x00",
        head(2, 0) + b"a",
        head(MAX_PAYLOAD, 0) + bytes(MAX_PAYLOAD),  # its continuation is missing
        head(MAX_PAYLOAD, 0) + bytes(MAX_PAYLOAD) + head(1, 2) + b"a",  # sequence id does not follow
    ],
    ids=["head", "head3", "cut", "no continuation", "sequence"],
)
def test_split_refuses(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        packet.split_packets(data)


def test_split_of_every_cut_refuses_or_ends_at_a_packet() -> None:
    data = packet.frame(b"abc", 0) + packet.frame(b"", 1) + packet.frame(b"d" * 300, 2)
    ends = {0, 7, 11, len(data)}
    for cut in range(len(data) + 1):
        if cut in ends:
            packet.split_packets(data[:cut])
        else:
            with pytest.raises(MalformedPacket):
                packet.split_packets(data[:cut])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**64 - 1) | st.sampled_from([250, 251, 65535, 65536, 2**24 - 1, 2**24, 2**64 - 1]))
def test_lenenc_integers(value: int) -> None:
    data = packet.lenenc_integer(value)
    assert data == lenenc_integer(value)
    assert packet.read_lenenc_integer(b"ab" + data + b"c", 2) == (value, 2 + len(data))
    for cut in range(len(data)):
        with pytest.raises(MalformedPacket):
            packet.read_lenenc_integer(data[:cut])


def test_negative_and_large_integers_are_refused() -> None:
    for value in (-1, 2**64):
        with pytest.raises(OverflowError):
            packet.lenenc_integer(value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=70_000))
def test_lenenc_strings(value: bytes) -> None:
    data = packet.lenenc(value)
    assert data == lenenc_integer(len(value)) + value
    assert packet.read_lenenc(data + b"rest") == (value, len(data))
    with pytest.raises(MalformedPacket):
        packet.read_lenenc(data[:-1])


@pytest.mark.parametrize("read", [packet.read_lenenc, packet.read_lenenc_integer, packet.read_nul_string])
def test_offsets_outside_are_refused(read: object) -> None:
    for offset in (-1, 4, 2**40):
        with pytest.raises(MalformedPacket):
            read(b"\x01a\x00", offset)  # type: ignore[operator]


def test_lenenc_marks_that_are_no_integers() -> None:
    for mark in (b"\xfb", b"\xff"):
        with pytest.raises(MalformedPacket):
            packet.read_lenenc_integer(mark + bytes(8))
    with pytest.raises(MalformedPacket):
        packet.read_lenenc(b"\xfe" + b"\xff" * 8 + b"a")


def test_nul_strings() -> None:
    assert packet.read_nul_string(b"ab\0c\0") == (b"ab", 3)
    assert packet.read_nul_string(b"ab\0c\0", 3) == (b"c", 5)
    with pytest.raises(MalformedPacket):
        packet.read_nul_string(b"ab\0c", 3)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(rows)
def test_rows(row: list[bytes | None]) -> None:
    payload = text_row(row)
    assert packet.slice_row(payload, len(row)) == row
    spans = packet.row_offsets(payload, len(row))
    assert [None if n < 0 else payload[at : at + n] for at, n in spans] == row
    assert all(at <= len(payload) for at, _ in spans)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(rows.filter(bool), st.integers(-2, 2), st.binary(max_size=3))
def test_rows_of_another_width_are_refused(row: list[bytes | None], more: int, junk: bytes) -> None:
    payload, width = text_row(row) + junk, len(row) + more
    if more == 0 and not junk:
        payload = payload[:-1]
    for cut in (packet.slice_row, packet.row_offsets):
        try:
            found = cut(payload, width)
        except MalformedPacket:
            continue
        assert len(found) == max(width, 0)
        assert b"".join(text_row([value]) for value in packet.slice_row(payload, width)) == payload


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes_are_read_or_refused(data: bytes, n: int) -> None:
    for read in (
        lambda: packet.split_packets(data),
        lambda: packet.slice_row(data, n),
        lambda: packet.row_offsets(data, n),
        lambda: packet.read_lenenc(data, n),
        lambda: packet.read_lenenc_integer(data, n),
        lambda: packet.read_nul_string(data, n),
    ):
        with contextlib.suppress(MalformedPacket):
            read()
