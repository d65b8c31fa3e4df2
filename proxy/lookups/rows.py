"""Rows and entries of tables with lookups: answers of servers taken apart, and what differs between two looks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from _speedups.packet import split_packets
from config.words import Flavour
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.packets.replies import ERR_HEAD
from proxy.mysql.packets.resultset import parse_text_row
from proxy.mysql.wire import HEADER_SIZE, Reader, frame
from proxy.scatter.leases import Lease
from proxy.xa.transaction import ServerSaid
from router.entries import Cells, Entries, Owner
from router.errors import refusal

DUPLICATE = 1062
SQLSTATE_END = 9
"""Where the text of an ERR packet begins."""
_KEY = re.compile(rb"(.* for key ')[^']*('.*)", re.DOTALL)
CHUNK = 1000
"""Rows in one statement."""

Rows = dict[Cells, Cells]
"""Rows by their keys."""


def rows_of(answer: bytes, lease: Lease, *, binary: bool = False) -> list[Cells]:
    """The rows of an answer whose columns are all text. Raises ServerSaid."""
    packets = [payload for _, payload in split_packets(answer)]
    if packets[-1][:1] == bytes((ERR_HEAD,)):
        raise ServerSaid(frame(packets[-1], 1))
    columns = packets[0][0]
    first = 1 + columns + (0 if lease.capabilities & Capability.DEPRECATE_EOF else 1)
    read = _binary if binary else _text
    return [read(payload, columns) for payload in packets[first:-1]]


def _text(payload: bytes, columns: int) -> Cells:
    return tuple(parse_text_row(payload))


def _binary(payload: bytes, columns: int) -> Cells:
    nulls = payload[1:]
    reader = Reader(payload)
    reader.skip(1 + (columns + 9) // 8)
    return tuple(
        None if nulls[(at + 2) // 8] >> (at + 2) % 8 & 1 else reader.lenenc_bytes() for at in range(columns)
    )


@dataclass(slots=True)
class Change:
    """What becomes of one lookup's entries on one shard, by the shard's index."""

    entries: Entries
    shard: int
    gone: list[Cells] = field(default_factory=list)
    new: list[Cells] = field(default_factory=list)

    def texts(self) -> Iterator[str]:
        for rows in chunks(self.gone):
            yield self.entries.deleted(rows)
        for rows in chunks(self.new):
            yield self.entries.inserted(rows)


def changes(owner: Owner, before: Rows, after: Rows) -> list[Change]:
    """In the order of lookups, and of shards, so that two statements ask for locks in the same order. Raises
    Refusal."""
    return [change for entries in owner.entries for change in _of_one(owner, entries, before, after)]


def _of_one(owner: Owner, entries: Entries, before: Rows, after: Rows) -> list[Change]:
    found: dict[int, Change] = {}
    old, new = ({owner.entry_of(entries, row) for row in rows.values()} - {None} for rows in (before, after))
    for cells in sorted(old ^ new, key=repr):
        assert cells is not None and cells[0] is not None
        shard = entries.shard(cells[0])
        change = found.setdefault(shard, Change(entries, shard))
        (change.gone if cells in old else change.new).append(cells)
    if entries.lookup.unique:
        _check_handed_on(entries, found.values())
    return [found[shard] for shard in sorted(found)]


def _check_handed_on(entries: Entries, found: Iterable[Change]) -> None:
    """Whether one server would find a value that goes from one row to another twice hangs on the order in which it
    changes them. Raises Refusal."""
    gone = {entries.key_of(cells): cells[1:] for change in found for cells in change.gone}
    for change in found:
        for cells in change.new:
            if gone.get(entries.key_of(cells), cells[1:]) != cells[1:]:
                table, column = entries.lookup.table, entries.lookup.column
                raise refusal("LOOKUP_FORM", "UPDATE", table, f"a value of {column} goes from one row to another")


def chunks(rows: Sequence[Cells]) -> Iterator[Sequence[Cells]]:
    for at in range(0, len(rows), CHUNK):
        yield rows[at : at + CHUNK]


def renamed(packet: bytes, entries: Entries, flavour: Flavour) -> bytes:
    """The error of a duplicate entry, as the owner's unique key would have said it."""
    payload = packet[HEADER_SIZE:]
    name = entries.key_name
    if flavour is Flavour.MYSQL:
        name = f"{entries.lookup.table}.{name}"
    found = _KEY.fullmatch(payload[SQLSTATE_END:])
    if found is None:
        return packet
    return frame(payload[:SQLSTATE_END] + found[1] + name.encode() + found[2], 1)
