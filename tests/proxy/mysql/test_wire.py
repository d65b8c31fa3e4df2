"""Length-encoded types and framing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql import wire
from proxy.mysql.errors import MalformedPacket
from proxy.mysql.wire import MAX_FRAME, Reader, frame, frame_all


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (250, "fa"),
        (251, "fcfb00"),
        (0xFFFF, "fcffff"),
        (0x10000, "fd000001"),
        (0xFFFFFF, "fdffffff"),
        (0x1000000, "fe0000000100000000"),
        (2**64 - 1, "feffffffffffffffff"),
    ],
)
def test_length_encoded_integers(value: int, encoded: str) -> None:
    assert wire.lenenc_int(value).hex() == encoded
    assert Reader(bytes.fromhex(encoded)).lenenc_int() == value


@pytest.mark.parametrize("data", [b"", b"\xfb", b"\xff", b"\xfc\x01", b"\xfd\x01\x02", b"\xfe" + bytes(7)])
def test_what_is_no_length_encoded_integer(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        Reader(data).lenenc_int()


@given(st.integers(0, 2**64 - 1), st.binary(max_size=300))
def test_length_encoding_round_trip(number: int, text: bytes) -> None:
    reader = Reader(wire.lenenc_int(number) + wire.lenenc_bytes(text) + b"x")
    assert reader.lenenc_int() == number
    assert reader.lenenc_bytes() == text
    assert reader.rest() == b"x"


def test_strings_end_where_they_say() -> None:
    reader = Reader(b"ab\0cd")
    assert reader.nul_bytes() == b"ab"
    assert reader.nul_bytes_or_rest() == b"cd"
    assert reader.remaining == 0
    assert reader.peek() is None
    with pytest.raises(MalformedPacket):
        Reader(b"ab").nul_bytes()
    with pytest.raises(MalformedPacket):
        Reader(b"\x05ab").lenenc_bytes()
    with pytest.raises(ValueError, match="NUL"):
        wire.nul_bytes(b"a\0b")


def split(data: bytes) -> list[tuple[int, bytes]]:
    """(sequence, payload) of each frame."""
    frames = []
    while data:
        size = int.from_bytes(data[:3], "little")
        frames.append((data[3], data[4 : 4 + size]))
        data = data[4 + size :]
    return frames


@pytest.mark.parametrize(
    ("size", "frames"),
    [
        (0, [0]),
        (1, [1]),
        (MAX_FRAME - 1, [MAX_FRAME - 1]),
        (MAX_FRAME, [MAX_FRAME, 0]),
        (MAX_FRAME + 1, [MAX_FRAME, 1]),
        (2 * MAX_FRAME, [MAX_FRAME, MAX_FRAME, 0]),
    ],
)
def test_large_payloads_are_split(size: int, frames: list[int]) -> None:
    found = split(frame(bytes(size), 255))
    assert [len(payload) for _, payload in found] == frames
    assert [sequence for sequence, _ in found] == [(255 + n) % 256 for n in range(len(frames))]


def test_sequence_numbers_run_on_over_split_packets() -> None:
    found = split(frame_all([b"a", bytes(MAX_FRAME), b"b"], 254))
    assert [sequence for sequence, _ in found] == [254, 255, 0, 1]
