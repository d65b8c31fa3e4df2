"""The Merkle tree hash of RFC 6962, section 2.1, grown leaf by leaf in memory of its height."""

from __future__ import annotations

from hashlib import sha256

EMPTY = sha256().digest()


def leaf(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """`add` leaves, ask for the `root` at any time."""

    def __init__(self) -> None:
        self.count = 0
        self._peaks: list[bytes] = []

    def add(self, data: bytes) -> None:
        """A carry for every full subtree, as in counting by ones."""
        whole, carry = leaf(data), self.count
        while carry & 1:
            whole = node(self._peaks.pop(), whole)
            carry >>= 1
        self._peaks.append(whole)
        self.count += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY
        *rest, whole = self._peaks
        for peak in reversed(rest):
            whole = node(peak, whole)
        return whole
