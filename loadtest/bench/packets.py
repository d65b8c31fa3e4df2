"""Packets of the MySQL client protocol as a load generator needs them: bytes in, values out, no socket.

Shares nothing with the proxy's own codec, so that an error there cannot hide here. Pages: "Client/Server
Protocol" of the MySQL internals documentation. CLIENT_DEPRECATE_EOF is not asked for, so a result set ends
with an EOF packet.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

CLIENT_LONG_PASSWORD = 1 << 0
CLIENT_LONG_FLAG = 1 << 2
CLIENT_CONNECT_WITH_DB = 1 << 3
CLIENT_COMPRESS = 1 << 5
CLIENT_PROTOCOL_41 = 1 << 9
CLIENT_SSL = 1 << 11
CLIENT_TRANSACTIONS = 1 << 13
CLIENT_SECURE_CONNECTION = 1 << 15
CLIENT_PLUGIN_AUTH = 1 << 19
CLIENT_ZSTD_COMPRESSION = 1 << 26
CAPABILITIES = (
    CLIENT_LONG_PASSWORD
    | CLIENT_LONG_FLAG
    | CLIENT_CONNECT_WITH_DB
    | CLIENT_PROTOCOL_41
    | CLIENT_TRANSACTIONS
    | CLIENT_SECURE_CONNECTION
    | CLIENT_PLUGIN_AUTH
)
UTF8MB4_GENERAL_CI = 45
ZSTD_LEVEL = 3
SERVER_STATUS_IN_TRANS = 1

COM_QUIT, COM_QUERY, COM_STMT_PREPARE, COM_STMT_EXECUTE, COM_STMT_CLOSE = 0x01, 0x03, 0x16, 0x17, 0x19
TYPE_LONGLONG, TYPE_STRING, TYPE_NULL = 8, 253, 6
_INTEGERS = {1: "<b", 2: "<h", 3: "<i", 8: "<q", 9: "<i", 13: "<H"}
_STRINGS = frozenset({0, 15, 16, 245, 246, 247, 248, 249, 250, 251, 252, 253, 254, 255})
MAX_PAYLOAD = 0xFFFFFF

Cell = bytes | int | float | None


class WireError(Exception):
    """The other side broke the protocol, or asked for what this client does not speak."""


class ConnectionLost(Exception):
    """The connection ended before the answer was complete: the outcome of the statement is unknown."""


class ServerError(Exception):
    """An ERR packet."""

    def __init__(self, errno: int, sqlstate: str, message: str) -> None:
        super().__init__(f"{errno} ({sqlstate}): {message}")
        self.errno, self.sqlstate, self.message = errno, sqlstate, message


@dataclass(frozen=True, slots=True)
class Result:
    """An answer. Text rows hold bytes or None; binary rows hold int, float, bytes or None."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    affected: int
    insert_id: int
    status: int

    @property
    def in_transaction(self) -> bool:
        return bool(self.status & SERVER_STATUS_IN_TRANS)


@dataclass(frozen=True, slots=True)
class Statement:
    """A prepared statement of one connection."""

    id: int
    parameters: int
    columns: int


def packet(payload: bytes, sequence: int = 0) -> bytes:
    """One packet with its 4-byte head. ValueError from 16 MiB - 1 on: loads do not send such."""
    if len(payload) >= MAX_PAYLOAD:
        raise ValueError("a load's packet must be shorter than 16 MiB - 1")
    return len(payload).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + payload


def length_encoded_int(data: bytes, at: int) -> tuple[int | None, int]:
    """(value, next offset) of a length-encoded integer; None stands for 0xfb, SQL NULL."""
    head = data[at]
    if head < 0xFB:
        return head, at + 1
    if head == 0xFB:
        return None, at + 1
    if head == 0xFF:
        raise WireError("0xff does not start a length-encoded integer")
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[head]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def length_encoded_bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    """(bytes or None for NULL, next offset) of a length-encoded string."""
    size, start = length_encoded_int(data, at)
    if size is None:
        return None, start
    return data[start : start + size], start + size


def encode_length(size: int) -> bytes:
    if size < 0xFB:
        return bytes((size,))
    if size < 1 << 16:
        return b"\xfc" + size.to_bytes(2, "little")
    return b"\xfd" + size.to_bytes(3, "little")


def native_scramble(password: bytes, challenge: bytes) -> bytes:
    """mysql_native_password: SHA1(p) xor SHA1(challenge + SHA1(SHA1(p)))."""
    if not password:
        return b""
    stage1 = hashlib.sha1(password).digest()
    stage2 = hashlib.sha1(challenge + hashlib.sha1(stage1).digest()).digest()
    return bytes(a ^ b for a, b in zip(stage1, stage2, strict=True))


def sha2_scramble(password: bytes, challenge: bytes) -> bytes:
    """caching_sha2_password: SHA256(p) xor SHA256(SHA256(SHA256(p)) + challenge)."""
    if not password:
        return b""
    stage1 = hashlib.sha256(password).digest()
    stage2 = hashlib.sha256(hashlib.sha256(stage1).digest() + challenge).digest()
    return bytes(a ^ b for a, b in zip(stage1, stage2, strict=True))


_SCRAMBLES = {"mysql_native_password": native_scramble, "caching_sha2_password": sha2_scramble}


def scramble(plugin: str, password: bytes, challenge: bytes) -> bytes:
    if plugin not in _SCRAMBLES:
        raise WireError(f"the server wants authentication by {plugin}, which this load client does not speak")
    return _SCRAMBLES[plugin](password, challenge)


@dataclass(frozen=True, slots=True)
class Greeting:
    """HandshakeV10."""

    version: str
    connection_id: int
    challenge: bytes
    plugin: str
    capabilities: int


def parse_greeting(payload: bytes) -> Greeting:
    """Reads HandshakeV10. ServerError when the server refused the connection with an ERR packet."""
    if payload[0] == 0xFF:
        raise parse_error(payload)
    if payload[0] != 10:
        raise WireError(f"handshake version {payload[0]} instead of 10")
    end = payload.index(0, 1)
    connection_id = int.from_bytes(payload[end + 1 : end + 5], "little")
    first = payload[end + 5 : end + 13]
    # filler 1, capabilities 2, charset 1, status 2, capabilities 2, length of the challenge 1, reserved 10
    rest = end + 13 + 1 + 2 + 1 + 2 + 2
    size = max(13, payload[rest] - 8)
    second = payload[rest + 11 : rest + 11 + size].rstrip(b"\0")
    plugin = payload[rest + 11 + size :].split(b"\0")[0].decode() or "mysql_native_password"
    capabilities = int.from_bytes(payload[end + 14 : end + 16] + payload[rest - 2 : rest], "little")
    return Greeting(payload[1:end].decode(), connection_id, first + second, plugin, capabilities)


def tls_request() -> bytes:
    """SSLRequest, sequence 1; what follows it travels in TLS."""
    return packet(_login_head(CLIENT_SSL), 1)


def login_packet(user: str, password: str, database: str, greeting: Greeting, more: int = 0) -> bytes:
    """HandshakeResponse41. An unknown plugin is answered empty, so that the server switches.

    `more` are capabilities besides the usual ones; behind an SSLRequest the sequence is 2.
    """
    known = greeting.plugin in _SCRAMBLES
    plugin = greeting.plugin if known else "mysql_native_password"
    answer = scramble(plugin, password.encode(), greeting.challenge) if known else b""
    body = user.encode() + b"\0" + bytes((len(answer),)) + answer + database.encode() + b"\0"
    level = bytes((ZSTD_LEVEL,)) if more & CLIENT_ZSTD_COMPRESSION else b""
    return packet(_login_head(more) + body + plugin.encode() + b"\0" + level, 2 if more & CLIENT_SSL else 1)


def _login_head(more: int) -> bytes:
    return struct.pack("<IIB23x", CAPABILITIES | more, MAX_PAYLOAD, UTF8MB4_GENERAL_CI)


def parse_error(payload: bytes) -> ServerError:
    """ERR_Packet; before the login is done it carries no SQLSTATE."""
    errno = int.from_bytes(payload[1:3], "little")
    if payload[3:4] == b"#":
        return ServerError(errno, payload[4:9].decode(), payload[9:].decode(errors="replace"))
    return ServerError(errno, "", payload[3:].decode(errors="replace"))


def parse_ok(payload: bytes) -> Result:
    affected, at = length_encoded_int(payload, 1)
    insert_id, at = length_encoded_int(payload, at)
    return Result((), [], affected or 0, insert_id or 0, int.from_bytes(payload[at : at + 2], "little"))


def parse_column(payload: bytes) -> tuple[str, int, bool]:
    """(name, type, unsigned) of ColumnDefinition41."""
    at = 0
    for _ in range(4):  # catalog, schema, table, org_table
        _, at = length_encoded_bytes(payload, at)
    name, at = length_encoded_bytes(payload, at)
    _, at = length_encoded_bytes(payload, at)  # org_name
    _, at = length_encoded_int(payload, at)  # 0x0c
    flags = int.from_bytes(payload[at + 7 : at + 9], "little")
    return (name or b"").decode(), payload[at + 6], bool(flags & 32)


def parse_text_row(payload: bytes, columns: int) -> tuple[Cell, ...]:
    at, cells = 0, []
    for _ in range(columns):
        cell, at = length_encoded_bytes(payload, at)
        cells.append(cell)
    return tuple(cells)


def parse_binary_row(payload: bytes, types: Sequence[tuple[int, bool]]) -> tuple[Cell, ...]:
    """ProtocolBinary::ResultsetRow; `types` holds (type, unsigned) of each column."""
    at = 1 + (len(types) + 9) // 8
    cells: list[Cell] = []
    for index, (kind, unsigned) in enumerate(types):
        if payload[1 + (index + 2) // 8] >> ((index + 2) % 8) & 1:
            cells.append(None)
            continue
        cell, at = _binary_cell(payload, at, kind, unsigned)
        cells.append(cell)
    return tuple(cells)


def _binary_cell(payload: bytes, at: int, kind: int, unsigned: bool) -> tuple[Cell, int]:
    if kind in _INTEGERS:
        code = _INTEGERS[kind].upper() if unsigned else _INTEGERS[kind]
        return struct.unpack_from(code, payload, at)[0], at + struct.calcsize(code)
    if kind in (4, 5):
        code = "<f" if kind == 4 else "<d"
        return struct.unpack_from(code, payload, at)[0], at + struct.calcsize(code)
    if kind in _STRINGS:
        return length_encoded_bytes(payload, at)
    raise WireError(f"a column of type {kind} in a binary row: this load client does not read it")


def execute_payload(statement: Statement, values: Sequence[int | str | bytes | None], types: bool = True) -> bytes:
    """COM_STMT_EXECUTE. Without `types` the ones sent before hold, as most clients do from the second time on."""
    if len(values) != statement.parameters:
        raise ValueError(f"{len(values)} values for {statement.parameters} parameters")
    head = struct.pack("<BIBI", COM_STMT_EXECUTE, statement.id, 0, 1)
    if not values:
        return head
    nulls = bytearray((len(values) + 7) // 8)
    bound = [_parameter(value) for value in values]
    for index, value in enumerate(values):
        if value is None:
            nulls[index // 8] |= 1 << (index % 8)
    named = b"\x01" + b"".join(bytes((kind, 0)) for kind, _ in bound) if types else b"\x00"
    return head + bytes(nulls) + named + b"".join(data for _, data in bound)


def _parameter(value: int | str | bytes | None) -> tuple[int, bytes]:
    """(type, bytes) of a parameter's value."""
    if value is None:
        return TYPE_NULL, b""
    if isinstance(value, int):
        return TYPE_LONGLONG, struct.pack("<q", value)
    raw = value.encode() if isinstance(value, str) else value
    return TYPE_STRING, encode_length(len(raw)) + raw
