"""The PROXY protocol: what a balancer says of the client before the client's own bytes, versions 1 and 2; and what
Fairlead says of itself to servers, version 2.

Source: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from proxy.mysql.errors import ConnectionClosed, ProtocolViolation

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
V1_LONGEST: Final = 107
"""Bytes of a version 1 line, with its end."""
V2_LONGEST: Final = 2048
"""Bytes behind a version 2 head. Addresses take 36 or 216; the rest is for extensions, which are skipped."""

_LOCAL, _PROXY = 0x20, 0x21
_INET, _INET6 = 1, 2
_STREAM = 1
"""Upper half of the version 2 head's family byte."""
_HEAD = 16

Network = IPv4Network | IPv6Network


def is_from(networks: Sequence[Network], address: str) -> bool:
    """Does the address lie in one of them? What is no address ("localhost") does not."""
    try:
        found = ip_address(address.split("%")[0])
    except ValueError:
        return False
    return any(found in network for network in networks)


async def read_header(sock: socket.socket) -> str | None:
    """Takes exactly the header from a non-blocking socket: the client's address, None for the balancer's own
    connections (health checks) and for clients without one. Raises ProtocolViolation,
    ConnectionClosed, OSError."""
    head = await _exactly(sock, len(SIGNATURE))
    return await _version_2(sock) if head == SIGNATURE else await _version_1(sock, head)


async def _version_2(sock: socket.socket) -> str | None:
    command, family, *size = await _exactly(sock, _HEAD - len(SIGNATURE))
    length = int.from_bytes(bytes(size), "big")
    if command not in (_LOCAL, _PROXY) or length > V2_LONGEST:
        raise ProtocolViolation(f"PROXY header with command {command:#x} and {length} bytes")
    body = await _exactly(sock, length)
    if command == _LOCAL:
        return None
    for kind, size_of_address, number in ((_INET, 4, socket.AF_INET), (_INET6, 16, socket.AF_INET6)):
        if family >> 4 == kind:
            if length < 2 * size_of_address + 4:
                raise ProtocolViolation("PROXY header without its addresses")
            return socket.inet_ntop(number, body[:size_of_address])
    return None


async def _version_1(sock: socket.socket, line: bytes) -> str | None:
    if not line.startswith(b"PROXY "):
        raise ProtocolViolation("the balancer sent no PROXY header")
    while not line.endswith(b"\r\n"):
        if len(line) >= V1_LONGEST:
            raise ProtocolViolation("the PROXY line does not end")
        line += await _exactly(sock, 1)
    words = line[:-2].decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return None
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise ProtocolViolation("a PROXY line of another form")
    try:
        return str(ip_address(words[2]))
    except ValueError as error:
        raise ProtocolViolation("a PROXY line without an address") from error


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise ConnectionClosed("the connection ends within the PROXY header")
        data += piece
    return data


LOCAL: Final = SIGNATURE + bytes((_LOCAL, 0, 0, 0))
"""For a connection of Fairlead's own: its address is the socket's."""


def header(source: str, sock: socket.socket) -> bytes:
    """What comes first on a connection to a server. `source`: `local`, or the address that it is said to come from,
    from the socket's own port. Over a Unix socket there are no ports and no addresses."""
    if source == "local":
        return LOCAL
    found = ip_address(source)
    own, server = (sock.getsockname(), sock.getpeername()) if sock.family != socket.AF_UNIX else (("", 0), ("", 0))
    target = found.packed  # of the same family as the source, whichever the server's is
    with suppress(ValueError):
        peer = ip_address(server[0].split("%")[0])
        target = peer.packed if peer.version == found.version else target
    addresses = found.packed + target + own[1].to_bytes(2, "big") + server[1].to_bytes(2, "big")
    family = (_INET if found.version == 4 else _INET6) << 4 | _STREAM
    return SIGNATURE + bytes((_PROXY, family)) + len(addresses).to_bytes(2, "big") + addresses
