"""What the relay tells of statements that leave a record, and that none runs for whose record there is no room."""

from __future__ import annotations

import socket

from _speedups import lexer
from _speedups.relay import Relay
from _speedups.stats import PARK_REASONS, StatsPage

AUDIT, SAMPLED, OP_REPLY, PARKED = 1024, 2048, 7, 1
OK = bytes.fromhex("00000002000000")
TEXT = b"SELECT email FROM customers WHERE id = 7"
NUMBER = 41


class Client:
    """A client whose one statement has a plan that answers by itself."""

    def __init__(self, flags: int, limit: int = 4) -> None:
        page = StatsPage.create(workers=1, shards=1, backends=1, digests=8, slow=8, users=1)
        self.relay = Relay(
            page.worker(0, 0), max_sessions=2, max_backends=2, max_packet=1 << 20, queue_wait=1.0, slow_query=1.0,
            records=limit,
        )  # fmt: skip
        self.socket, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.handle = self.relay.adopt(theirs.detach(), caps=0, ctx=1, state=0, lexmode=0, user=0)
        self.found = lexer.lex(TEXT, 0)
        self.relay.plan_put(
            fingerprint=self.found.fingerprint, norm=self.found.norm, ctx=1, epoch=self.relay.epoch, opcode=OP_REPLY,
            reply=OK, flags=flags, id=NUMBER,
        )  # fmt: skip

    def ask(self) -> bool:
        """Is it answered?"""
        self.socket.send((len(TEXT) + 1).to_bytes(3, "little") + b"\x00\x03" + TEXT)
        for _ in range(5):
            self.relay.round()
        return self.answered()

    def answered(self) -> bool:
        self.socket.setblocking(False)
        try:
            return self.socket.recv(100) == len(OK).to_bytes(3, "little") + b"\x01" + OK
        except BlockingIOError:
            return False

    def parks(self) -> list[int]:
        return [reason for _, bits, reason, *_ in self.relay.events()[0] if bits & PARKED]


def test_each_execution_is_told_once() -> None:
    client = Client(AUDIT)
    for _ in range(3):
        assert client.ask()
    told = client.relay.records()
    assert [one[:5] for one in told] == [(NUMBER, -1, 0, client.found.fingerprint, 0)] * 3
    assert all(one[5] == len(OK) + 4 for one in told)
    assert client.relay.records() == [] and client.relay.records_under_way() == set()


def test_without_the_flag_nothing_is_told() -> None:
    client = Client(0)
    assert client.ask() and client.relay.records() == []


def test_what_has_no_room_waits_until_there_is_some() -> None:
    client = Client(AUDIT, limit=2)
    assert client.ask() and client.ask()
    assert not client.ask()
    assert client.parks() == [PARK_REASONS.index("audit")]
    assert len(client.relay.records(1)) == 1
    assert client.relay.resume(client.handle)
    client.relay.round()
    assert client.answered() and len(client.relay.records()) == 2


def test_closed_it_runs_nothing_that_would_leave_a_record() -> None:
    client = Client(AUDIT)
    client.relay.set_records(closed=True)
    assert not client.ask() and client.parks() == [PARK_REASONS.index("audit")]
    client.relay.set_records(closed=False)
    client.relay.resume(client.handle)
    client.relay.round()
    assert client.answered()


def test_of_sampled_plans_one_in_so_many_is_told() -> None:
    client = Client(AUDIT | SAMPLED, limit=1000)
    client.relay.set_records(sample=4)
    assert all(client.ask() for _ in range(400))
    assert 50 < len(client.relay.records(1000)) < 160
    client.relay.set_records(closed=True)
    assert all(client.ask() for _ in range(20)) and client.relay.records() == []
