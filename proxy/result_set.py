"""One result set for a client, put together from several shards': a head, rows, one end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from _speedups.packet import split_packets
from _speedups.scanner import renumber
from proxy.compile import error_payload
from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.field_types import ColumnFlag
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import EOF_HEAD, ERR_HEAD, EofPacket, OkPacket
from proxy.mysql.packets.resultset import ColumnDefinition41
from proxy.mysql.wire import HEADER_SIZE, Reader, frame, lenenc_bytes, lenenc_int
from proxy.sessions.session import Session
from router.engine.columns import Column
from router.errors import Refusal

if TYPE_CHECKING:
    from proxy.worker import Worker

FIRST_SEQUENCE = 1
DENIED = 0xFFFFFFFE
"""The errno of an answer that the witness kept back, for its decision record; as in relay.pxd: enum RecordError."""
ERR_TEXT = 9
"""Where the text of an ERR packet begins."""
EOF_SIZE = HEADER_SIZE + 5
OF_COLUMN = 1 | 2 | 4 | 8 | 512 | 4096 | 16384
"""Flags that tell of the column, not of its values: NOT NULL, which keys it is in, AUTO_INCREMENT, no default."""


class Head:
    """A result set's head as a shard gave it: framed packets of the count, the definitions and the classic EOF."""

    def __init__(self, packets: bytes, *, deprecate: bool) -> None:
        self.packets = packets
        self._deprecate = deprecate
        _, *payloads = [payload for _, payload in split_packets(packets)]
        self._payloads = payloads if deprecate else payloads[:-1]
        self._eof = b"" if deprecate else payloads[-1]

    def __len__(self) -> int:
        return len(self._payloads)

    def definitions(self, *, unlike: bool) -> object:
        """What must be the same on all shards: what the values are, or no more than what a client reads them by. Other
        flags and the names of tables depend on the plan that a server's optimizer chose."""
        parsed = [ColumnDefinition41.parse(payload) for payload in self._payloads]
        read_by = [(one.name, one.type, one.collation, one.flags & ColumnFlag.UNSIGNED) for one in parsed]
        return read_by if unlike else [read_by, [(one.length, one.decimals) for one in parsed]]

    def columns(self) -> list[Column]:
        parsed = (ColumnDefinition41.parse(payload) for payload in self._payloads)
        return [
            Column(one.name, int(one.type), one.collation, int(one.flags), one.decimals, one.length) for one in parsed
        ]

    def renamed(self, names: Mapping[bytes, bytes]) -> bytearray:
        """The head with other names of the tables that columns come from."""
        payloads = [lenenc_int(len(self)), *(renamed(one, names) for one in self._payloads)]
        return bytearray(b"".join(frame(payload, 0) for payload in [*payloads, *([self._eof] if self._eof else [])]))

    def named_as(self, definitions: Sequence[bytes]) -> bytearray:
        """The head with the names of these definitions; what the values are it says itself."""
        payloads = [_named_as(*pair) for pair in zip(self._payloads, definitions, strict=True)]
        payloads = [lenenc_int(len(self)), *payloads, *([self._eof] if self._eof else [])]
        return bytearray(b"".join(frame(payload, 0) for payload in payloads))

    def behind(self, column: ColumnDefinition41) -> bytearray:
        """The head with another column in front."""
        payloads = [lenenc_int(len(self) + 1), column.build(), *self._payloads, *([self._eof] if self._eof else [])]
        return bytearray(b"".join(frame(payload, 0) for payload in payloads))

    def of_first(self, count: int, *, nameless: bool = False) -> bytearray:
        """The head of the first `count` columns alone; `nameless`: without the names of their tables."""
        payloads = self._payloads[:count]
        if nameless:
            parsed = (ColumnDefinition41.parse(payload) for payload in payloads)
            payloads = [replace(one, table="", org_table="", schema="").build() for one in parsed]
        payloads = [lenenc_int(count), *payloads, *([self._eof] if self._eof else [])]
        return bytearray(b"".join(frame(payload, 0) for payload in payloads))


def _named_as(definition: bytes, named: bytes) -> bytes:
    own, other = ColumnDefinition41.parse(definition), ColumnDefinition41.parse(named)
    flags = (own.flags & ~OF_COLUMN) | (other.flags & OF_COLUMN)
    return replace(
        other, type=own.type, collation=own.collation, length=own.length, decimals=own.decimals, flags=flags
    ).build()


def renamed(definition: bytes, names: Mapping[bytes, bytes]) -> bytes:
    """A column's definition with another org_table, the fourth of its names; the rest stays as it is, to the byte."""
    reader = Reader(definition)
    for _ in range(3):
        reader.lenenc_bytes()
    begin = len(definition) - reader.remaining
    new = names.get(reader.lenenc_bytes())
    if new is None:
        return definition
    return definition[:begin] + lenenc_bytes(new) + definition[len(definition) - reader.remaining :]


class ResultSet:
    """What goes to the client. Every method that sends gives False when the client is gone."""

    def __init__(self, worker: Worker, handle: int, session: Session, status: Status) -> None:
        self._worker = worker
        self._handle = handle
        self._session = session
        self._status = status
        self.deprecate = bool(session.capabilities & Capability.DEPRECATE_EOF)
        self._sequence = FIRST_SEQUENCE
        self._warnings = 0
        self.errno = 0
        """Of the error that the answer ended with."""

    async def send(self, packets: bytearray) -> bool:
        """Whole packets, numbered here."""
        if not packets:
            return True
        self._sequence = renumber(packets, self._sequence)
        return await self._worker.dispatcher.drained(self._handle, bytes(packets))

    def ended(self, end: bytes) -> bool:
        """A shard's last packet. False when it is an error, which then is the client's answer too."""
        if end[0] == ERR_HEAD:
            self.errno = DENIED if end[ERR_TEXT:].startswith(b"FL2110:") else int.from_bytes(end[1:3], "little")
            self._worker.relay.reply(self._handle, frame(end, self._sequence), error=True)
            return False
        if self.deprecate or end[0] != EOF_HEAD:
            self._warnings += OkPacket.parse(end, self._session.capabilities).warnings
        else:
            self._warnings += EofPacket.parse(end).warnings
        return True

    def warned(self, count: int) -> None:
        """Of so many things that no shard warned of."""
        self._warnings += count

    def fail(self, error: Refusal) -> None:
        """An error in place of the end, behind whatever rows were sent."""
        self.errno = error.errno
        self._worker.loop_block.error("unavailable")
        self._worker.relay.reply(self._handle, frame(error_payload(error), self._sequence), error=True)

    def finish(self) -> None:
        note = self._session.note
        warnings = min(self._warnings + (note is not None), 0xFFFF)
        if self.deprecate:
            end = OkPacket(status=self._status, warnings=warnings, head=EOF_HEAD).build(self._session.capabilities)
        else:
            end = EofPacket(warnings, self._status).build()
        self._worker.relay.reply(self._handle, frame(end, self._sequence), warnings=warnings, note=note)


def alike(heads: Sequence[Head], *, unlike: bool) -> bool:
    """Do all shards describe their columns alike?"""
    first, *others = (head.definitions(unlike=unlike) for head in heads)
    return all(one == first for one in others)
