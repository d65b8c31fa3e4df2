"""The compressed protocol: the codec by itself, in any cut and against whatever lies."""

from __future__ import annotations

import random
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from _speedups.packet import split_packets
from proxy.mysql.compression import (
    HEADER,
    LONGEST,
    NUMBER_AT,
    BrokenCompression,
    CompressedCodec,
    Compressor,
    Zlib,
    Zstd,
    compressor_of,
)
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.shuttle import CHUNK
from proxy.mysql.wire import frame

KINDS = pytest.mark.parametrize("kind", ["zlib", "zstd"])
MIB = 1 << 20


def compressor(kind: str) -> Compressor:
    return Zlib() if kind == "zlib" else Zstd(3)


def packet(kind: str, data: bytes, number: int, *, holds: int | None = None, plain: bool = False) -> bytes:
    """As a client makes it, with the library's plain functions."""
    pack = zlib.compress if kind == "zlib" else zstandard.compress
    body = data if plain else pack(data)
    said = (0 if plain else len(data)) if holds is None else holds
    return len(body).to_bytes(3, "little") + bytes((number,)) + said.to_bytes(3, "little") + body


def unpacked(kind: str, wire: bytes) -> list[tuple[int, bytes]]:
    """(number, contents) of each packet that we sent."""
    found = []
    while wire:
        unpack = zlib.decompress if kind == "zlib" else zstandard.ZstdDecompressor().decompressobj().decompress
        size, holds = int.from_bytes(wire[:3], "little"), int.from_bytes(wire[4:7], "little")
        body, number = wire[HEADER : HEADER + size], wire[3]
        found.append((number, unpack(body) if holds else body))
        assert not holds or holds == len(found[-1][1])
        wire = wire[HEADER + size :]
    return found


def all_of(codec: CompressedCodec) -> bytes:
    pieces = []
    while piece := codec.read():
        assert len(piece) <= CHUNK
        pieces.append(piece)
    return b"".join(pieces)


@KINDS
@given(
    contents=st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.integers(1, 400), st.booleans()), max_size=6),
    cuts=st.lists(st.integers(1, 500), min_size=1, max_size=8),
)
def test_whatever_the_cuts_the_contents_come_out(
    kind: str, contents: list[tuple[bytes, int, bool]], cuts: list[int]
) -> None:
    pieces = [(seed * times, plain) for seed, times, plain in contents]
    wire = b"".join(packet(kind, data, at, plain=plain) for at, (data, plain) in enumerate(pieces))
    codec, got, at, turn = CompressedCodec(compressor(kind)), b"", 0, 0
    while at < len(wire):
        codec.receive(wire[at : at + cuts[turn % len(cuts)]])
        got += all_of(codec)
        at, turn = at + cuts[turn % len(cuts)], turn + 1
    expected = bytearray().join(data for data, _ in pieces)
    if pieces and len(pieces[0][0]) > NUMBER_AT:
        expected[NUMBER_AT] = 0
    assert got == expected


@KINDS
def test_what_is_sent_is_numbered_behind_what_came(kind: str) -> None:
    codec = CompressedCodec(compressor(kind))
    small, large = frame(b"small", 1), frame(b"z" * 60_000, 2)
    for _ in range(2):  # numbers begin anew with each command
        # ... whatever number the first packet inside has, at which servers do not look
        codec.receive(packet(kind, b"xxx\x05" * 25, 0) + packet(kind, b"y", 1, plain=True))
        assert all_of(codec) == b"xxx\0" + b"xxx\x05" * 24 + b"y"
        codec.write(small)
        codec.write(large)
        sent = codec.outgoing()
        assert unpacked(kind, sent) == [(2, small), (3, large)]
        assert codec.pending == 0
        assert len(sent) < 1000


@KINDS
def test_another_codec_goes_on_between_two_packets(kind: str) -> None:
    """With the number of the last one; half a packet in either direction keeps the first."""
    before = CompressedCodec(compressor(kind))
    asked = packet(kind, frame(b"\x03SELECT 1", 0), 0)
    before.receive(asked[:9])
    assert before.read() == b"" and not before.at_rest
    before.receive(asked[9:])
    assert all_of(before) == frame(b"\x03SELECT 1", 0)
    answer = frame(b"x" * 100, 1)
    before.write(answer[:50])
    assert not before.at_rest
    before.write(answer[50:])
    before.outgoing()
    assert before.at_rest
    behind = CompressedCodec(compressor(kind), before.number, receiving=before.receiving)
    behind.write(frame(b"y" * 100, 2))
    assert unpacked(kind, behind.outgoing()) == [(2, frame(b"y" * 100, 2))]


@KINDS
def test_numbers_come_around_after_256(kind: str) -> None:
    codec = CompressedCodec(compressor(kind))
    codec.receive(packet(kind, b"q", 0, plain=True))
    assert codec.read() == b"q"
    for _ in range(300):
        codec.write(frame(b"row", 1))
    assert [number for number, _ in unpacked(kind, codec.outgoing())] == [n % 256 for n in range(1, 301)]


@KINDS
@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 300), min_size=1, max_size=8),
)
def test_compressed_packets_end_where_packets_end(kind: str, sizes: list[int], cuts: list[int]) -> None:
    wire = b"".join(frame(bytes((at,)) * size, at) for at, size in enumerate(sizes))
    codec, at, turn = CompressedCodec(compressor(kind)), 0, 0
    while at < len(wire):
        codec.write(wire[at : at + cuts[turn % len(cuts)]])
        at, turn = at + cuts[turn % len(cuts)], turn + 1
    sent = [contents for _, contents in unpacked(kind, codec.outgoing())]
    assert b"".join(sent) == wire
    for contents in sent:
        split_packets(contents)


@KINDS
@pytest.mark.parametrize("size", [1 << 20, (1 << 24) - 2, (1 << 24) + 10])
def test_a_large_packet_is_cut_at_most_once(kind: str, size: int) -> None:
    data = random.Random(size).randbytes(1 << 16) * (size // (1 << 16) + 1)
    wire = frame(data[:size], 1)
    codec = CompressedCodec(compressor(kind))
    for at in range(0, len(wire), CHUNK):
        codec.write(wire[at : at + CHUNK])
    sent = [contents for _, contents in unpacked(kind, codec.outgoing())]
    assert b"".join(sent) == wire
    assert len(sent) <= 1 + size // (LONGEST - CHUNK)


@KINDS
def test_a_packet_that_will_not_be_complete_goes_out_at_the_end(kind: str) -> None:
    codec = CompressedCodec(compressor(kind))
    codec.write(frame(b"x" * 5000, 1)[:3000])
    assert codec.pending == 0
    codec.farewell()
    assert unpacked(kind, codec.outgoing()) == [(0, frame(b"x" * 5000, 1)[:3000])]


@KINDS
def test_sixteen_mebibytes_come_in_pieces(kind: str) -> None:
    data = b"\0" * (16 * MIB - 1)
    codec = CompressedCodec(compressor(kind))
    codec.receive(packet(kind, data, 0))
    assert all_of(codec) == data


def broken(kind: str, wire: bytes) -> str:
    codec = CompressedCodec(compressor(kind))
    codec.receive(wire)
    with pytest.raises(BrokenCompression) as error:
        all_of(codec)
    return str(error.value)


@KINDS
def test_a_packet_that_holds_more_than_it_says_is_refused_in_mid_air(kind: str) -> None:
    assert "more than the 100 bytes" in broken(kind, packet(kind, b"\0" * (16 * MIB - 1), 0, holds=100))


@KINDS
def test_a_packet_that_holds_less_than_it_says_is_refused(kind: str) -> None:
    assert "less than the 200" in broken(kind, packet(kind, b"a" * 60, 0, holds=200))


@KINDS
def test_garbage_and_cut_bodies_are_refused(kind: str) -> None:
    whole = packet(kind, bytes(range(256)) * 40, 0)
    body = whole[HEADER:-9]
    broken(kind, len(body).to_bytes(3, "little") + whole[3:HEADER] + body)
    broken(kind, b"\x09\0\0\0\x64\0\0" + b"not a body")


@KINDS
def test_a_packet_out_of_order_is_refused(kind: str) -> None:
    assert "number 2, 1 is due" in broken(
        kind, packet(kind, b"a", 0, plain=True) + packet(kind, b"b", 2, plain=True)
    )


@KINDS
@given(noise=st.binary(max_size=600))
def test_noise_ends_in_an_error_or_in_bytes(kind: str, noise: bytes) -> None:
    codec = CompressedCodec(compressor(kind))
    codec.receive(noise)
    try:
        all_of(codec)
    except BrokenCompression:
        return


def test_zlib_wins_when_a_client_asks_for_both() -> None:
    both = Capability.COMPRESS | Capability.ZSTD_COMPRESSION
    assert isinstance(compressor_of(both, 3), Zlib)
    assert isinstance(compressor_of(Capability.ZSTD_COMPRESSION, 22), Zstd)
    assert compressor_of(Capability.PROTOCOL_41, 0) is None
