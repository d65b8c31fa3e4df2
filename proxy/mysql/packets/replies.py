"""OK, ERR and EOF (MySQL "Generic Response Packets").

With CLIENT_DEPRECATE_EOF a result set ends in an OK packet whose first byte is 0xFE; without it, in an EOF
packet of 5 bytes.
"""

from dataclasses import dataclass
from typing import Final, Self

from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.status import SessionTrack, Status
from proxy.mysql.errors import MalformedPacket
from proxy.mysql.wire import Reader, lenenc_bytes, lenenc_int

OK_HEAD: Final = 0x00
EOF_HEAD: Final = 0xFE
ERR_HEAD: Final = 0xFF
_SQLSTATE_MARK: Final = b"#"


@dataclass(frozen=True, slots=True)
class StateChange:
    """One entry of an OK packet's session state.

    `values` by kind: SYSTEM_VARIABLES (name, value), SCHEMA (name,), STATE_CHANGE (b"0" or b"1",),
    GTIDS (set,), TRANSACTION_CHARACTERISTICS (statements,), TRANSACTION_STATE (8 letters,).
    Of a kind that is not known: (the raw bytes,).
    """

    kind: int
    values: tuple[bytes, ...]

    def build(self) -> bytes:
        """Kind and length-encoded body."""
        body = b"".join(lenenc_bytes(value) for value in self.values)
        if self.kind == SessionTrack.GTIDS:
            body = b"\0" + body  # encoding specification: 0 is the only one
        elif self.kind in _PLAIN_KINDS or self.kind not in _KNOWN_KINDS:
            body = self.values[0]
        return self.kind.to_bytes(1, "little") + lenenc_bytes(body)

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """The next entry of `reader`."""
        kind = reader.uint(1)
        raw = reader.lenenc_bytes()
        if kind in _PLAIN_KINDS or kind not in _KNOWN_KINDS:
            return cls(kind, (raw,))
        body = Reader(raw)
        if kind == SessionTrack.GTIDS:
            body.skip(1)
        values = [body.lenenc_bytes()]
        while body.remaining:
            values.append(body.lenenc_bytes())
        return cls(kind, tuple(values))


_KNOWN_KINDS: Final = frozenset(int(kind) for kind in SessionTrack)
_PLAIN_KINDS: Final = frozenset({int(SessionTrack.STATE_CHANGE)})
"""Whose body is the value itself, whatever the manual says."""


@dataclass(frozen=True, slots=True)
class OkPacket:
    """Success, or (`head` 0xFE) the end of a result set."""

    affected_rows: int = 0
    last_insert_id: int = 0
    status: Status = Status.NONE
    warnings: int = 0
    info: bytes = b""
    changes: tuple[StateChange, ...] = ()
    head: int = OK_HEAD

    def build(self, capabilities: Capability) -> bytes:
        """The payload; state changes go out only under CLIENT_SESSION_TRACK."""
        track = bool(capabilities & Capability.SESSION_TRACK)
        status = self.status & ~Status.SESSION_STATE_CHANGED
        if track and self.changes:
            status |= Status.SESSION_STATE_CHANGED
        payload = (
            self.head.to_bytes(1, "little")
            + lenenc_int(self.affected_rows)
            + lenenc_int(self.last_insert_id)
            + int(status).to_bytes(2, "little")
            + self.warnings.to_bytes(2, "little")
        )
        if status & Status.SESSION_STATE_CHANGED:
            return payload + lenenc_bytes(self.info) + lenenc_bytes(b"".join(change.build() for change in self.changes))
        # Servers send the text length-encoded here too, although the manual says "rest of packet".
        return payload + lenenc_bytes(self.info) if self.info else payload

    @classmethod
    def parse(cls, payload: bytes, capabilities: Capability) -> Self:
        """Laid out by the connection's `capabilities`, which must hold PROTOCOL_41."""
        reader = Reader(payload)
        head = reader.uint(1)
        if head not in (OK_HEAD, EOF_HEAD):
            raise MalformedPacket(f"0x{head:02x} does not start an OK packet")
        affected_rows, last_insert_id = reader.lenenc_int(), reader.lenenc_int()
        status, warnings = Status(reader.uint(2)), reader.uint(2)
        info = b""
        changes: tuple[StateChange, ...] = ()
        if capabilities & Capability.SESSION_TRACK:
            info = reader.lenenc_bytes() if reader.remaining else b""
            if status & Status.SESSION_STATE_CHANGED:
                changes = _parse_changes(reader.lenenc_bytes())
        elif reader.remaining:
            info = _parse_untracked_info(reader.rest())
        return cls(affected_rows, last_insert_id, status, warnings, info, changes, head)


def _parse_changes(data: bytes) -> tuple[StateChange, ...]:
    reader = Reader(data)
    changes = []
    while reader.remaining:
        changes.append(StateChange.parse(reader))
    return tuple(changes)


def _parse_untracked_info(rest: bytes) -> bytes:
    """The text, whether its length stands before it (as servers do) or not (as the manual says)."""
    reader = Reader(rest)
    try:
        info = reader.lenenc_bytes()
    except MalformedPacket:
        return rest
    return rest if reader.remaining else info


@dataclass(frozen=True, slots=True)
class ErrPacket:
    """An error. `sqlstate` is 5 characters; before the handshake is over a server may leave it out."""

    errno: int
    sqlstate: str
    message: str

    def build(self, capabilities: Capability = Capability.PROTOCOL_41) -> bytes:
        """The payload; a client without PROTOCOL_41 gets no SQLSTATE."""
        state = b""
        if capabilities & Capability.PROTOCOL_41:
            state = _SQLSTATE_MARK + self.sqlstate.encode("ascii")[:5].ljust(5, b"0")
        message = self.message.encode("utf-8", "surrogateescape")
        return b"\xff" + self.errno.to_bytes(2, "little") + state + message

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """An ERR packet with or without SQLSTATE (then HY000)."""
        reader = Reader(payload)
        if reader.uint(1) != ERR_HEAD:
            raise MalformedPacket("not an ERR packet")
        errno = reader.uint(2)
        sqlstate = "HY000"
        if reader.peek() == _SQLSTATE_MARK[0]:
            reader.skip(1)
            sqlstate = reader.take(5).decode("ascii", "replace")
        return cls(errno, sqlstate, reader.rest().decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class EofPacket:
    """The classic end-of-columns and end-of-rows mark: 0xFE and 4 bytes."""

    warnings: int = 0
    status: Status = Status.NONE

    def build(self) -> bytes:
        """5 bytes."""
        return b"\xfe" + self.warnings.to_bytes(2, "little") + int(self.status).to_bytes(2, "little")

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Exactly 5 bytes; a longer packet that starts with 0xFE is a row."""
        reader = Reader(payload)
        if len(payload) != 5 or reader.uint(1) != EOF_HEAD:
            raise MalformedPacket("not an EOF packet")
        return cls(reader.uint(2), Status(reader.uint(2)))
