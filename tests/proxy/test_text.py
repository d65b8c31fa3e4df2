"""A parked text reads like bytes, and says when it is gone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from proxy.text import ParkedText, SessionGone

TEXT = b"SELECT 1 FROM t"


class FakeRelay:
    """One parked COM_QUERY; remembers which pieces were copied."""

    def __init__(self, text: bytes | None) -> None:
        self.text = text
        self.copied = 0

    def command(self, handle: int, start: int, stop: int) -> bytes | None:
        if self.text is None:
            return None
        self.copied += stop - start
        return (b"\x03" + self.text)[start:stop]


def parked(text: bytes | None = TEXT) -> tuple[FakeRelay, ParkedText]:
    relay = FakeRelay(text)
    return relay, ParkedText(cast(Any, relay), 7, len(TEXT))


@pytest.mark.parametrize("part", [slice(0, 6), slice(7, 8), slice(-1, None), slice(9, 400), slice(8, 3), slice(None)])
def test_a_piece_is_what_bytes_would_give(part: slice) -> None:
    relay, text = parked()
    assert text[part] == TEXT[part]
    assert relay.copied <= len(TEXT)


def test_the_whole_is_copied_when_it_is_asked_for() -> None:
    relay, text = parked()
    assert len(text) == len(TEXT) and relay.copied == 0
    assert bytes(text) == TEXT


def test_of_a_client_that_left_there_is_nothing() -> None:
    _, text = parked(None)
    with pytest.raises(SessionGone):
        bytes(text)
    with pytest.raises(SessionGone):
        text[0:1]
