"""The PROXY protocol's headers, whole and in pieces, good and bad."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql.errors import ConnectionClosed, ProtocolViolation
from proxy.mysql.proxy_protocol import SIGNATURE, V2_LONGEST, is_from, read_header

INET, INET6, UNIX, UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
REST = b"the client's own bytes"


def version_2(family: int, body: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


def inet(address: str, more: bytes = b"") -> bytes:
    family, kind = (socket.AF_INET6, INET6) if ":" in address else (socket.AF_INET, INET)
    packed = socket.inet_pton(family, address)
    return version_2(kind, packed + packed + bytes(4) + more)


def read(wire: bytes, cut: int = 0, rest: bytes = REST) -> str | None:
    """What the header says; asserts that not one byte behind it is taken."""

    async def main() -> str | None:
        near, far = socket.socketpair()
        near.setblocking(False)
        with near, far:
            far.sendall((wire + rest)[:cut])
            reading = asyncio.create_task(read_header(near))
            await asyncio.sleep(0)
            far.sendall((wire + rest)[cut:])
            far.shutdown(socket.SHUT_WR)
            found = await reading
            assert near.recv(1000) == rest
            return found

    return asyncio.run(main())


HEADERS = {
    b"PROXY TCP4 10.9.8.7 10.0.0.1 5000 3306\r\n": "10.9.8.7",
    b"PROXY TCP6 fd00::7 fd00::1 5000 3306\r\n": "fd00::7",
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": None,
    inet("10.9.8.7"): "10.9.8.7",
    inet("fd00::7"): "fd00::7",
    inet("10.9.8.7", b"\x04\0\x05extra"): "10.9.8.7",
    version_2(UNIX, bytes(216)): None,
    version_2(UNSPECIFIED, b""): None,
    version_2(INET, bytes(12), command=0x20): None,
    version_2(UNSPECIFIED, b"", command=0x20): None,
}


@pytest.mark.parametrize(("wire", "address"), HEADERS.items(), ids=repr)
def test_headers_cut_anywhere(wire: bytes, address: str | None) -> None:
    assert [read(wire, cut) for cut in range(len(wire) + 1)] == [address] * (len(wire) + 1)


@pytest.mark.parametrize(
    "wire",
    [
        b"\x05\x00\x00\x01\x85\xa6\xff\x01\x00\x00\x00\x01\x2d",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 10.9.8.7 10.0.0.1 5000\r\n",
        b"PROXY TCP4 nowhere 10.0.0.1 5000 3306\r\n",
        b"PROXY TCP5 10.9.8.7 10.0.0.1 5000 3306\r\n",
        b"PROXY TCP4 " + b"1" * 200,
        version_2(INET, bytes(11)),
        version_2(INET6, bytes(35)),
        version_2(INET, bytes(12), command=0x11),
        version_2(INET, bytes(V2_LONGEST + 1)),
    ],
    ids=lambda wire: repr(wire[:40]),
)
def test_what_is_no_header(wire: bytes) -> None:
    with pytest.raises((ProtocolViolation, ConnectionClosed)):
        read(wire)


@given(st.binary(max_size=300))
def test_noise_ends_in_an_error_or_an_address(noise: bytes) -> None:
    try:
        read(b"PROXY " + noise, rest=b"")
    except (ProtocolViolation, ConnectionClosed, AssertionError):
        return


def test_who_is_a_balancer() -> None:
    networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    assert is_from(networks, "10.1.2.3")
    assert is_from(networks, "fd00::1%eth0")
    assert not is_from(networks, "127.0.0.1")
    assert not is_from(networks, "localhost")
    assert not is_from([], "10.1.2.3")
