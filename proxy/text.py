"""The text of a parked statement, where it lies: in the relay."""

from __future__ import annotations

from _speedups.relay import Relay


class SessionGone(Exception):
    """The client left while its statement was being answered; nobody waits for the answer."""


class ParkedText:
    """Bytes of the statement that a session has parked, copied when they are asked for, and no more of them.

    To plan a statement takes its words, hardly ever its literals: one of 64 MB need not lie in memory twice.
    Raises SessionGone.
    """

    def __init__(self, relay: Relay, handle: int, length: int) -> None:
        self._relay = relay
        self._handle = handle
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._length)
        return self._copy(start, stop)

    def __bytes__(self) -> bytes:
        return self._copy(0, self._length)

    def _copy(self, start: int, stop: int) -> bytes:
        # The command byte stands before the text.
        found = self._relay.command(self._handle, start + 1, stop + 1)
        if found is None:
            raise SessionGone
        return found
