"""Another domain's Fairlead as a witness: it keeps the anchors it is shown, and signs only what continues them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ops.audit import anchor as anchors
from ops.audit.anchor import Anchor, AnchorError
from ops.audit.files import append_durably

_PREFIX = b"fairlead audit witness "
"""So that a witness's signature can never pass for an anchor's."""


@dataclass(frozen=True, slots=True)
class Countersignature:
    """`by` (public key, hex) has seen the anchor with this id as the continuation of all that it saw before."""

    anchor: str
    by: str
    signature: bytes

    def check(self) -> None:
        """Raises AnchorError."""
        anchors.check_signature(self.by, self.signature, _PREFIX + self.anchor.encode())


class Witness:
    """`trusted`: public keys (hex) whose anchors are taken. One file of anchors per stream in `directory`."""

    def __init__(self, directory: Path, key: Ed25519PrivateKey, trusted: Iterable[str]) -> None:
        self._directory = directory
        self._key = key
        self._trusted = frozenset(trusted)
        self._last: dict[tuple[str, str], Anchor | None] = {}

    def countersign(self, anchor: Anchor) -> Countersignature:
        """Keeps the anchor durably and signs its id. The last one again is signed again.

        Raises AnchorError for a key that is not trusted, a wrong signature, and an anchor that does not follow the
        last one of its stream: the log was cut, or forked. Raises OSError when it cannot be kept.
        """
        if anchor.key not in self._trusted:
            raise AnchorError("its key is not among the trusted ones")
        anchor.check()
        last = self._last_of(anchor)
        if last is None or anchor.id != last.id:
            _must_follow(anchor, last)
            append_durably(self._file(anchor), anchor.line())
            self._last[anchor.domain, anchor.stream] = anchor
        signature = self._key.sign(_PREFIX + anchor.id.encode())
        return Countersignature(anchor.id, anchors.key_id(self._key), signature)

    def _file(self, anchor: Anchor) -> Path:
        name = f"{anchor.domain}.{anchor.stream}"
        if os.sep in name or name.startswith("."):
            raise AnchorError("its stream has no name for a file")
        return self._directory / f"{name}{anchors.SUFFIX}"

    def _last_of(self, anchor: Anchor) -> Anchor | None:
        key = anchor.domain, anchor.stream
        if key not in self._last:
            path = self._file(anchor)
            self._last[key] = anchors.last_in([path]) if path.exists() else None
        return self._last[key]


def _must_follow(anchor: Anchor, last: Anchor | None) -> None:
    """A witness that comes in late takes the first anchor it is shown."""
    if last is None:
        return
    if anchor.prev != last.id:
        raise AnchorError("it does not follow the last anchor seen of its stream")
    if (anchor.segment, anchor.count) < (last.segment, last.count) or anchor.ts <= last.ts:
        raise AnchorError("its log has become shorter than it was")
