"""EXPLAIN over several shards: each one's plan, with the shard's name as a first column."""

from __future__ import annotations

from collections.abc import Sequence

from _speedups.packet import split_packets
from proxy.mysql.packets.resultset import ColumnDefinition41
from proxy.mysql.wire import MAX_FRAME, frame, lenenc_bytes
from proxy.result_set import Head, ResultSet
from proxy.scatter.cursors import LeaseCursor
from router.errors import refusal

LABEL = "shard"


async def label(answer: ResultSet, cursors: Sequence[LeaseCursor], head: Head) -> bool:
    """False when the client is gone. Raises Refusal and ShardError."""
    if not await answer.send(head.behind(ColumnDefinition41.string(LABEL))):
        return False
    for cursor in cursors:
        name = lenenc_bytes(cursor.name.encode())
        while (rows := await cursor.rows()) is not None:
            if not await answer.send(_labelled(rows, name)):
                return False
    return True


def _labelled(rows: bytearray, name: bytes) -> bytearray:
    """Rows of the text protocol. Raises Refusal for one that does not fit into a packet."""
    found = bytearray()
    for _, payload in split_packets(bytes(rows)):
        if len(payload) + len(name) >= MAX_FRAME:
            raise refusal("MERGE_ROW")
        found += frame(name + payload, 0)
    return found
