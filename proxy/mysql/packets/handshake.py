"""Packets of the connection phase (MySQL "Connection Phase Packets").

Each is a frozen value with `build() -> payload` and `parse(payload)`; `parse` raises `MalformedPacket`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from proxy.mysql.constants.capabilities import Capability
from proxy.mysql.constants.status import Status
from proxy.mysql.errors import MalformedPacket
from proxy.mysql.wire import Reader, lenenc_bytes, nul_bytes

NONCE_SIZE: Final = 20
SSL_REQUEST_SIZE: Final = 32
MAX_HANDSHAKE_COLLATION: Final = 255  # one byte; higher ids need a SET NAMES afterwards
# Drivers send about ten; the packet limit alone would allow 32,000 empty ones.
MAX_ATTRIBUTES: Final = 1024

_PROTOCOL_10: Final = 0x0A
_AUTH_SWITCH: Final = b"\xfe"
_AUTH_MORE: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class HandshakeV10:
    """The server's greeting. `nonce` is 20 bytes without NUL, `collation` an id up to 255."""

    server_version: str
    thread_id: int
    nonce: bytes
    capabilities: Capability
    collation: int
    status: Status
    plugin: str

    def build(self) -> bytes:
        """The greeting as a server of 4.1 and later sends it, with a plugin name."""
        flags = int(self.capabilities)
        return b"".join(
            (
                b"\x0a",
                nul_bytes(self.server_version.encode("ascii")),
                self.thread_id.to_bytes(4, "little"),
                self.nonce[:8],
                b"\0",
                (flags & 0xFFFF).to_bytes(2, "little"),
                self.collation.to_bytes(1, "little"),
                int(self.status).to_bytes(2, "little"),
                (flags >> 16).to_bytes(2, "little"),
                (NONCE_SIZE + 1).to_bytes(1, "little"),
                bytes(10),
                nul_bytes(self.nonce[8:]),
                nul_bytes(self.plugin.encode("ascii")),
            )
        )

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """A greeting with capability flags of 4.1; anything older is refused."""
        reader = Reader(payload)
        version = reader.uint(1)
        if version != _PROTOCOL_10:
            raise MalformedPacket(f"protocol version {version}, only 10 is spoken")
        server_version = reader.nul_bytes().decode("utf-8", "replace")
        thread_id = reader.uint(4)
        first = reader.take(8)
        reader.skip(1)
        flags = reader.uint(2)
        collation = reader.uint(1)
        status = reader.uint(2)
        flags |= reader.uint(2) << 16
        auth_size = reader.uint(1)
        reader.skip(10)  # MariaDB keeps its extended capabilities here; they stay unused
        second = reader.take(max(13, auth_size - 8)) if flags & Capability.SECURE_CONNECTION else b""
        # MySQL before 5.5.10 left the name's NUL out.
        plugin = reader.nul_bytes_or_rest() if flags & Capability.PLUGIN_AUTH else b""
        return cls(
            server_version=server_version,
            thread_id=thread_id,
            nonce=(first + second).removesuffix(b"\0"),
            capabilities=Capability(flags),
            collation=collation,
            status=Status(status),
            plugin=plugin.decode("ascii", "replace"),
        )


def _client_head(capabilities: Capability, max_packet: int, collation: int) -> bytes:
    """The 32 bytes that SSLRequest and HandshakeResponse41 share."""
    return (
        int(capabilities).to_bytes(4, "little")
        + max_packet.to_bytes(4, "little")
        + collation.to_bytes(1, "little")
        + bytes(23)
    )


@dataclass(frozen=True, slots=True)
class SSLRequest:
    """The client's wish to start TLS now; the full response follows inside TLS."""

    capabilities: Capability
    max_packet: int
    collation: int

    def build(self) -> bytes:
        """32 bytes, CLIENT_SSL set."""
        return _client_head(self.capabilities | Capability.SSL, self.max_packet, self.collation)

    @classmethod
    def parse(cls, payload: bytes) -> Self | None:
        """The request, or None when the packet is something else (a full response)."""
        if len(payload) != SSL_REQUEST_SIZE:
            return None
        reader = Reader(payload)
        flags = Capability(reader.uint(4))
        if not flags & Capability.SSL or not flags & Capability.PROTOCOL_41:
            return None
        return cls(flags, reader.uint(4), reader.uint(1))


@dataclass(frozen=True, slots=True)
class HandshakeResponse41:
    """The client's identity and first proof. Names are raw bytes in the client's character set.

    `plugin` is None when the client knows no plugins (it then means mysql_native_password).
    """

    capabilities: Capability
    max_packet: int
    collation: int
    user: bytes
    auth: bytes = field(repr=False)
    database: bytes | None = None
    plugin: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    zstd_level: int = 0

    def build(self) -> bytes:
        """The payload, laid out as `capabilities` says."""
        flags = self.capabilities
        parts = [_client_head(flags, self.max_packet, self.collation), nul_bytes(self.user)]
        if flags & Capability.PLUGIN_AUTH_LENENC:
            parts.append(lenenc_bytes(self.auth))
        elif flags & Capability.SECURE_CONNECTION:
            parts.append(len(self.auth).to_bytes(1, "little") + self.auth)
        else:
            parts.append(nul_bytes(self.auth))
        if flags & Capability.CONNECT_WITH_DB:
            parts.append(nul_bytes(self.database or b""))
        if flags & Capability.PLUGIN_AUTH:
            parts.append(nul_bytes((self.plugin or "").encode("ascii")))
        if flags & Capability.CONNECT_ATTRS:
            parts.append(_build_attributes(self.attributes))
        if flags & Capability.ZSTD_COMPRESSION:
            parts.append(self.zstd_level.to_bytes(1, "little"))
        return b"".join(parts)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """A response of protocol 4.1. Trailing fields that a client announced but left out count as empty."""
        reader = Reader(payload)
        flags = Capability(reader.uint(4))
        if not flags & Capability.PROTOCOL_41:
            raise MalformedPacket("the client does not speak protocol 4.1")
        max_packet = reader.uint(4)
        collation = reader.uint(1)
        reader.skip(23)
        user = reader.nul_bytes()
        auth = _parse_auth(reader, flags)
        database = plugin = None
        if flags & Capability.CONNECT_WITH_DB:
            database = reader.nul_bytes_or_rest() or None
        if flags & Capability.PLUGIN_AUTH:
            plugin = reader.nul_bytes_or_rest().decode("ascii", "replace")
        attributes: dict[str, str] = {}
        if flags & Capability.CONNECT_ATTRS and reader.remaining:
            attributes = _parse_attributes(reader.lenenc_bytes())
        level = reader.uint(1) if flags & Capability.ZSTD_COMPRESSION and reader.remaining else 0
        return cls(flags, max_packet, collation, user, auth, database, plugin, attributes, level)


def _parse_auth(reader: Reader, flags: Capability) -> bytes:
    if flags & Capability.PLUGIN_AUTH_LENENC:
        return reader.lenenc_bytes()
    if flags & Capability.SECURE_CONNECTION:
        return reader.take(reader.uint(1))
    return reader.nul_bytes_or_rest()


def _build_attributes(attributes: Mapping[str, str]) -> bytes:
    return lenenc_bytes(
        b"".join(lenenc_bytes(key.encode()) + lenenc_bytes(value.encode()) for key, value in attributes.items())
    )


def _parse_attributes(data: bytes) -> dict[str, str]:
    reader = Reader(data)
    attributes: dict[str, str] = {}
    for _ in range(MAX_ATTRIBUTES):
        if not reader.remaining:
            return attributes
        key = reader.lenenc_bytes().decode("utf-8", "replace")
        attributes[key] = reader.lenenc_bytes().decode("utf-8", "replace")
    raise MalformedPacket(f"more than {MAX_ATTRIBUTES} connection attributes")


@dataclass(frozen=True, slots=True)
class ChangeUser:
    """COM_CHANGE_USER behind its command byte: who the client wants to be from now on. `collation` None: not said.

    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_change_user.html
    """

    user: bytes
    auth: bytes = field(repr=False)
    database: bytes | None = None
    collation: int | None = None
    plugin: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, payload: bytes, flags: Capability) -> Self:
        """Laid out by what was agreed at login. Clients may end it behind the database."""
        reader = Reader(payload)
        user = reader.nul_bytes()
        auth = reader.take(reader.uint(1)) if flags & Capability.SECURE_CONNECTION else reader.nul_bytes()
        database = reader.nul_bytes_or_rest() or None
        collation = reader.uint(2) if reader.remaining else None
        plugin = None
        if flags & Capability.PLUGIN_AUTH and reader.remaining:
            plugin = reader.nul_bytes_or_rest().decode("ascii", "replace")
        attributes: dict[str, str] = {}
        if flags & Capability.CONNECT_ATTRS and reader.remaining:
            attributes = _parse_attributes(reader.lenenc_bytes())
        return cls(user, auth, database, collation, plugin, attributes)


@dataclass(frozen=True, slots=True)
class AuthSwitchRequest:
    """The server asks for another plugin; `data` is that plugin's nonce without its NUL."""

    plugin: str
    data: bytes

    def build(self) -> bytes:
        """0xFE, plugin name, nonce, each with its NUL."""
        return _AUTH_SWITCH + nul_bytes(self.plugin.encode("ascii")) + self.data + b"\0"

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Without a body it is the switch to mysql_old_password, which is refused."""
        if not payload.startswith(_AUTH_SWITCH):
            raise MalformedPacket("not an AuthSwitchRequest")
        if len(payload) == 1:
            raise MalformedPacket("the server asks for mysql_old_password, which is not spoken")
        reader = Reader(payload[1:])
        plugin = reader.nul_bytes().decode("ascii", "replace")
        return cls(plugin, reader.rest().removesuffix(b"\0"))


@dataclass(frozen=True, slots=True)
class AuthMoreData:
    """A plugin's own data, server to client."""

    data: bytes

    def build(self) -> bytes:
        """0x01 and the data."""
        return _AUTH_MORE + self.data

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """The data after the 0x01."""
        if not payload.startswith(_AUTH_MORE):
            raise MalformedPacket("not an AuthMoreData packet")
        return cls(payload[1:])
