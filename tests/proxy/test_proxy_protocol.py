"""Clients behind a balancer: their own address is what counts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.haproxy import HAProxy
from loadtest.world.sqlserver import Passwords
from loadtest.world.world import World
from proxy.mysql.proxy_protocol import header, read_header
from tests.proxy.clients import metric, until, value

USERS = {
    "near": {"password": {"value": "x"}, "grants": [{"on": "*.*", "verbs": ["all"]}], "networks": ["10.9.0.0/16"]},
    "any": {"password": {"value": "x"}, "grants": [{"on": "*.*", "verbs": ["all"]}]},
}
ACCESS_DENIED = 1045


@pytest.fixture(scope="module")
def port(worlds: Any) -> int:
    """Of a listener that takes loopback for a balancer's network."""
    from loadtest.world import ports

    return ports.reserve(1)[0]


@pytest.fixture
def proxied(world: World, port: int) -> Fairlead:
    listener = {"kind": "mysql", "port": port, "proxied_from": ["127.0.0.0/8"]}
    return world.kept({"users": USERS, "listeners": {"proxied": listener}})


@contextlib.contextmanager
def connected(port: int, header: bytes, user: str = "any") -> Iterator[Any]:
    """A driver on a connection that begins with `header`."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(header)
        connection = pymysql.connect(user=user, password="x", defer_connect=True, ssl_disabled=True)
        connection.connect(sock)
        with contextlib.closing(connection):
            yield connection


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id"])
def test_through_haproxy(proxied: Fairlead, port: int, tmp_path: Path, world: World, options: str) -> None:
    (front,) = world.reserve_ports(1)
    balancer = HAProxy("balancer", tmp_path, port=front, targets=[f"127.0.0.1:{port}"], options=options)
    balancer.start()
    try:
        connection = pymysql.connect(host="127.0.0.1", port=front, user="any", password="x", ssl_disabled=True)
        with contextlib.closing(connection):
            assert value(connection, "SELECT USER()") == "any@127.0.0.1"
    finally:
        balancer.stop()


def test_networks_mean_the_client(proxied: Fairlead, port: int) -> None:
    with connected(port, b"PROXY TCP4 10.9.8.7 10.0.0.1 5000 3306\r\n", "near") as connection:
        assert value(connection, "SELECT 1") == 1
        assert value(connection, "SELECT USER()") == "near@10.9.8.7"
    with (
        pytest.raises(pymysql.err.OperationalError) as error,
        connected(port, b"PROXY TCP4 10.8.8.7 10.0.0.1 5000 3306\r\n", "near"),
    ):
        pass
    assert error.value.args[0] == ACCESS_DENIED


def test_a_balancer_without_a_header_is_refused(proxied: Fairlead, port: int) -> None:
    failures = "fairlead_handshake_failures_total"
    before = metric(proxied, failures)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"not a header at all\r\n")
        assert b"Bad handshake" in sock.recv(1000)
    until(lambda: metric(proxied, failures) > before, "the failure is counted")


def test_elsewhere_a_header_is_refused(proxied: Fairlead) -> None:
    with socket.create_connection(("127.0.0.1", proxied.port)) as sock:
        sock.sendall(b"PROXY TCP4 10.9.8.7 10.0.0.1 5000 3306\r\n")
        received = b""
        while piece := sock.recv(1000):
            received += piece
    assert b"Bad handshake" in received


@pytest.mark.parametrize("said", ["local", "192.0.2.7"])
def test_to_servers(world: World, said: str) -> None:
    """The account that may log in from there only; and all connections say the same, whoever the client is."""
    servers = [shard.primary for shard in world.shards.values()]
    host = "127.0.0.1" if said == "local" else said
    for server in servers:
        server.run(
            "SET GLOBAL proxy_protocol_networks = '127.0.0.0/8'",
            f"CREATE USER proxied@'{host}' IDENTIFIED BY '{Passwords().service}'",
            f"GRANT ALL ON *.* TO proxied@'{host}'",
        )
    shard = {"proxy_protocol": said, "account": {"user": "proxied"}}
    changes = {"shards": dict.fromkeys(world.shards, shard)}
    try:
        member = world.fleet(changes).start()["eu"]
        with contextlib.closing(member.connect()) as connection:
            assert value(connection, "SELECT COUNT(*) FROM customers") > 0
            for server in servers:
                listed = server.query("SELECT HOST FROM information_schema.PROCESSLIST WHERE USER = 'proxied'")
                assert len(listed) > 1
                assert {str(one).rpartition(":")[0] for (one,) in listed} == {host}
    finally:
        for server in servers:
            server.run(f"DROP USER proxied@'{host}'", "SET GLOBAL proxy_protocol_networks = ''")


@pytest.mark.parametrize("said", ["local", "192.0.2.7", "2001:db8::7"])
def test_what_is_said_is_what_is_read(said: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(header(said, ours) + b"behind")
        theirs.setblocking(False)
        assert asyncio.run(read_header(theirs)) == (None if said == "local" else said)
        assert theirs.recv(100) == b"behind"
