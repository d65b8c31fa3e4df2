"""The anchors of audit logs in the metastore, out of reach of who holds the logs' files.

    audit/anchor/<domain>/<stream>/<segment>     the last anchor of each segment

A later anchor of a segment says all that an earlier one says, so one per segment is enough.
"""

from __future__ import annotations

from metastore.store import Delete, Operation, Put, Store
from ops.audit.anchor import Anchor

ANCHORS = "audit/anchor/"
KEPT = 1_024
"""Segments of one log whose anchors are kept, as many as the log itself keeps."""


class AnchorPublisher:
    """For `AuditLog(publish=…)`. Raises MetastoreError: the log then gives the same anchor again later."""

    def __init__(self, store: Store, kept: int = KEPT) -> None:
        self._store = store
        self._kept = kept

    def __call__(self, anchor: Anchor) -> None:
        prefix = f"{ANCHORS}{anchor.domain}/{anchor.stream}/"
        key = f"{prefix}{anchor.segment:08d}"
        found = [one.key for one in self._store.list(prefix).items]
        old = [one for one in found if one != key][: max(0, len(found) + 1 - self._kept)][:100]
        operations: list[Operation] = [Put(key, anchor.line()), *(Delete(one) for one in old)]
        self._store.txn((), operations)


def anchors_in(store: Store) -> list[bytes]:
    """The anchors' lines, of all logs, for `ops.audit.verify`."""
    lines, after = [], ""
    while True:
        page = store.list(ANCHORS, after=after)
        lines += [one.value for one in page.items]
        if not page.more:
            return lines
        after = page.items[-1].key
