"""A client that logs in with just the capability flags that it is told to, and keeps every packet that it gets.

Pages: "Protocol::HandshakeV10" and "Protocol::HandshakeResponse41" of MySQL's protocol documentation; MariaDB's
"Connection" for its flags beyond 32 bits, which stand in reserved bytes where CLIENT_MYSQL is not set.
"""

from __future__ import annotations

import hashlib
import io
import socket
from dataclasses import dataclass
from typing import Any, cast

from tests.differential.wire import CLIENT_DEPRECATE_EOF, Raw, encoded_length

CLIENT_MYSQL, CLIENT_CONNECT_WITH_DB, CLIENT_PROTOCOL_41 = 1, 1 << 3, 1 << 9
CLIENT_SECURE_CONNECTION, CLIENT_PLUGIN_AUTH, CLIENT_CONNECT_ATTRS = 1 << 15, 1 << 19, 1 << 20
CLIENT_QUERY_ATTRIBUTES = 1 << 27
LEAST = CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH
UTF8MB4 = 45
NATIVE = b"mysql_native_password"
STATUS_MORE_RESULTS = 8
FILE_HEAD = b"\xfb"

Address = tuple[str, int] | str


@dataclass(frozen=True)
class Greeting:
    """`capabilities`: MariaDB's beyond 32 bits with them."""

    capabilities: int
    nonce: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Greeting:
        at = payload.index(0, 1) + 5
        low, status_at = int.from_bytes(payload[at + 9 : at + 11], "little"), at + 12
        high = int.from_bytes(payload[status_at + 2 : status_at + 4], "little")
        flags = low | high << 16
        more = payload[status_at + 11 : status_at + 15]
        if not flags & CLIENT_MYSQL:
            flags |= int.from_bytes(more, "little") << 32
        return cls(flags, payload[at : at + 8] + payload[status_at + 15 : status_at + 27])


class Wire:
    """What Raw needs of a connection."""

    def __init__(self, address: Address) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        self._sock.settimeout(30)
        self._sock.connect(address)
        self._rfile = cast(io.BufferedReader, self._sock.makefile("rb"))

    def _force_close(self) -> None:
        self._rfile.close()
        self._sock.close()


class Capable(Raw):
    """One connection; `seen`: (number, payload) of every packet since the login."""

    def __init__(self, address: Address, user: str, password: str, database: str, flags: int) -> None:
        wire = Wire(address)
        super().__init__(cast(Any, wire), deprecate_eof=bool(flags & CLIENT_DEPRECATE_EOF))
        self.seen: list[tuple[int, bytes]] = []
        self.greeting = Greeting.parse(self._packet())
        self.flags = flags
        self._log_in(user.encode(), password.encode(), database.encode())
        self.plain(0x02, database.encode())
        self.seen.clear()

    def _log_in(self, user: bytes, password: bytes, database: bytes) -> None:
        flags = self.flags
        proof = native_proof(password, self.greeting.nonce) if password else b""
        more = bytes(19) + (flags >> 32).to_bytes(4, "little")
        login = (flags & 0xFFFFFFFF).to_bytes(4, "little") + (1 << 30).to_bytes(4, "little") + bytes([UTF8MB4]) + more
        login += user + b"\0" + bytes([len(proof)]) + proof
        login += database + b"\0" if flags & CLIENT_CONNECT_WITH_DB else b""
        login += NATIVE + b"\0"
        login += encoded_length(8) + b"\3key\3one" if flags & CLIENT_CONNECT_ATTRS else b""
        self._send(login)
        answer = self._packet()
        while answer[0] != 0:
            assert answer[0] == 0xFE, answer
            plugin, _, nonce = answer[1:].partition(b"\0")
            self._send(native_proof(password, nonce[:20]) if password and plugin == NATIVE else b"")
            answer = self._packet()

    def _send(self, payload: bytes) -> None:
        self._connection._sock.sendall(len(payload).to_bytes(3, "little") + bytes([self._sequence & 0xFF]) + payload)
        self._sequence += 1

    def _packet(self) -> bytes:
        number = self._sequence
        payload = super()._packet()
        self.seen.append((number, payload))
        if number != 1 or payload[:1] != FILE_HEAD:
            return payload
        self._send(b"")  # an empty file
        return self._packet()

    def answers(self, sql: str) -> list[tuple[int, bytes]]:
        """Every packet of every answer to a COM_QUERY."""
        self.seen = []
        head = "\0\1" if self.flags & self.greeting.capabilities & CLIENT_QUERY_ATTRIBUTES else ""
        self.send(b"\3" + (head + sql).encode())
        answer = self.read_answer()
        while answer.status & STATUS_MORE_RESULTS:
            answer = self.read_answer()
        return self.seen


def native_proof(password: bytes, nonce: bytes) -> bytes:
    """mysql_native_password: SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))."""
    once = hashlib.sha1(password).digest()
    mixed = hashlib.sha1(nonce + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, mixed, strict=True))
