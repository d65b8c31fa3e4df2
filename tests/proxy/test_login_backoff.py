"""Failed logins: whose password was wrong too often waits, and nobody else does."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import MySQLdb
import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from tests.proxy.clients import client, metric, until, value

DENIED, BLOCKED = 1045, 1129
USER = {"password": {"value": "right"}, "grants": [{"on": "*.*", "verbs": ["all"]}]}


@pytest.fixture
def member(world: World) -> Fairlead:
    (port,) = world.reserve_ports(1)
    listener = {"kind": "mysql", "port": port, "proxied_from": ["127.0.0.0/8"]}
    changes = {
        "users": {"victim": USER, "other": USER}, "listeners": {"proxied": listener}, "limits": {"login_pause": "2s"},
    }  # fmt: skip
    return world.fleet(changes)["eu"]


def refusal_of(member: Fairlead, user: str = "victim", password: str = "wrong") -> Any:
    """The error of a login that fails."""
    with pytest.raises(pymysql.err.OperationalError) as error:
        member.connect(user=user, password=password)
    return error.value.args


def test_the_pause(member: Fairlead) -> None:
    assert [refusal_of(member)[0] for _ in range(4)] == [DENIED] * 4
    number, text = refusal_of(member, password="right")
    assert number == BLOCKED and "FL4026: too many failed logins of 'victim' from 127.0.0.1" in text
    assert "wrong" not in text and "right" not in text
    for user in ("demo", "other"):
        password = "demo" if user == "demo" else "right"
        with client(member, user=user, password=password) as connection:
            assert value(connection, "SELECT 1") == 1
    come_from(member, "10.1.2.3")
    assert "'victim' from 127.0.0.1: 4 failed logins in a row" in member.log_tail(40)
    assert metric(member, "fairlead_logins_paused_total") == 1
    until(lambda: comes_in(member), "the end of the pause")
    assert [refusal_of(member)[0] for _ in range(3)] == [DENIED] * 3, "a success forgives"


def come_from(member: Fairlead, address: str) -> None:
    """As the victim, through a balancer."""
    port = int(member.configuration["listeners"]["proxied"]["port"])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"PROXY TCP4 {address} 10.0.0.1 5000 3306\r\n".encode())
        connection = pymysql.connect(user="victim", password="right", defer_connect=True, ssl_disabled=True)
        connection.connect(sock)
        connection.close()


def comes_in(member: Fairlead) -> bool:
    with contextlib.suppress(pymysql.err.OperationalError):
        member.connect(user="victim", password="right").close()
        return True
    return False


def test_a_change_of_user_counts_as_well(member: Fairlead) -> None:
    numbers = []
    for _ in range(5):
        connection = MySQLdb.connect(host="127.0.0.1", port=member.port, user="demo", passwd="demo", db="plain")
        with contextlib.closing(connection), pytest.raises(MySQLdb.Error) as error:
            connection.change_user("other", "wrong", "plain")
        numbers.append(error.value.args[0])
    assert numbers == [DENIED] * 4 + [BLOCKED]
