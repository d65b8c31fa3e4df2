"""What the relay does with a statement that it cannot decide: it keeps what it has lexed, and answers once."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from _speedups import lexer
from _speedups.relay import Relay
from _speedups.stats import PARK_REASONS, StatsPage

PARKED, CLOSED = 1, 2
OP_KEY, OP_REPLY = 3, 7
LIST, BYTES, IN_ROWS = 3, 3, 2
OK = bytes.fromhex("00000002000000")
TEXTS = {
    "a literal": b"SELECT name FROM customers WHERE id = 7",
    "a hint and a list": b"SELECT /* fairlead: shard=eu-0 */ a FROM t WHERE b IN (1, 2, 3) AND c = 'it''s'",
    "no text at all": b"",
    "malformed": b"SELECT 'never ends",
    "two statements": b"SELECT 1; SELECT 2",
    "longer than one receive": b"INSERT INTO t VALUES ('" + b"x" * 300_000 + b"')",
}


class Client:
    """One client on a relay that takes a step only when it is told to."""

    def __init__(self) -> None:
        page = StatsPage.create(workers=1, shards=1, backends=1, digests=8, slow=8, users=1)
        self.relay = Relay(
            page.worker(0, 0), max_sessions=4, max_backends=4, max_packet=1 << 20, queue_wait=1.0, slow_query=1.0
        )
        self.socket, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.handle = self.relay.adopt(theirs.detach(), caps=0, ctx=1, state=0, lexmode=0, user=0)

    def send(self, text: bytes) -> tuple[int, int]:
        """(event bits, park reason) after a COM_QUERY."""
        packet = (len(text) + 1).to_bytes(3, "little") + b"\x00\x03" + text
        self.socket.setblocking(False)
        while packet:
            try:
                packet = packet[self.socket.send(packet) :]
            except BlockingIOError:
                self.relay.round()
        return self.event()

    def event(self) -> tuple[int, int]:
        for _ in range(20):
            self.relay.round()
            sessions, _, _ = self.relay.events()
            for handle, bits, reason, *_ in sessions:
                assert handle == self.handle
                return bits, reason
        raise AssertionError("no event")

    def plan(self, text: bytes) -> None:
        found = lexer.lex(text, 0)
        self.relay.plan_put(
            fingerprint=found.fingerprint, norm=found.norm, ctx=1, epoch=self.relay.epoch, opcode=OP_REPLY, reply=OK
        )


@pytest.fixture
def client() -> Iterator[Client]:
    one = Client()
    yield one
    one.socket.close()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_it_is_given_as_the_lexer_found_it(client: Client, text: bytes) -> None:
    bits, _ = client.send(text)
    assert bits == PARKED
    for _ in range(2):
        assert client.relay.statement(client.handle) == (lexer.lex(text, 0), len(text))


def test_its_text_is_given_by_pieces(client: Client) -> None:
    text = TEXTS["longer than one receive"]
    client.send(text)
    assert client.relay.command(client.handle) == b"\x03" + text
    assert client.relay.command(client.handle, 1, 7) == b"INSERT"
    assert client.relay.command(client.handle, 300_000) == text[299_999:]
    assert client.relay.command(client.handle, 5, 5) == client.relay.command(client.handle, 1 << 30) == b""


def test_it_goes_on_when_it_has_a_plan(client: Client) -> None:
    text = TEXTS["a hint and a list"]
    assert client.send(text) == (PARKED, PARK_REASONS.index("plan_miss"))
    client.plan(text)
    assert client.relay.resume(client.handle)
    # From here on it is the relay's again.
    assert not client.relay.resume(client.handle) and client.relay.statement(client.handle) is None
    client.relay.round()
    assert client.socket.recv(100) == len(OK).to_bytes(3, "little") + b"\x01" + OK


def test_it_parks_again_when_there_is_no_plan_after_all(client: Client) -> None:
    text = TEXTS["a literal"]
    client.send(text)
    client.relay.resume(client.handle)
    assert client.event() == (PARKED, PARK_REASONS.index("plan_miss"))
    assert client.relay.statement(client.handle) == (lexer.lex(text, 0), len(text))


def test_the_next_statement_is_lexed_for_itself(client: Client) -> None:
    first, second = TEXTS["a literal"], TEXTS["a hint and a list"]
    client.send(first)
    client.relay.reply(client.handle, b"\x07\x00\x00\x01" + OK)
    client.send(second)
    assert client.relay.statement(client.handle) == (lexer.lex(second, 0), len(second))


@pytest.mark.parametrize(("value", "reason"), [(b"abcd", None), (b"abc", "key"), (b"abcde", "key")])
def test_a_key_that_would_not_be_stored_as_written_is_left_to_the_planner(
    client: Client, value: bytes, reason: str | None
) -> None:
    """BINARY(4) fills up what is shorter, and a server that is not strict cuts what is longer."""
    text = b"INSERT INTO t (k) VALUES ('%s')" % value
    items = [(one, 0) for one in (b"abcd", b"abc", b"abcde")]
    client.relay.configure(shards=1, users=1, health=[0])
    vindex = client.relay.vindex_add(kind=LIST, key_types=[BYTES], items=items, limits=[(4, 4, False)])
    found = lexer.lex(text, 0)
    client.relay.plan_put(
        fingerprint=found.fingerprint, norm=found.norm, ctx=1, epoch=client.relay.epoch, opcode=OP_KEY,
        vindex=vindex, keys=[[(0, IN_ROWS, 0, 0)]],
    )  # fmt: skip
    _, parked = client.send(text)
    assert (PARK_REASONS[parked] == "key") == (reason == "key")


@pytest.mark.parametrize("resumed", [False, True])
def test_a_client_that_leaves_takes_it_along(client: Client, resumed: bool) -> None:
    client.send(TEXTS["a literal"])
    if resumed:
        client.relay.resume(client.handle)
    client.socket.close()
    bits, _ = client.event()
    while not bits & CLOSED:
        bits, _ = client.event()
    assert client.relay.statement(client.handle) is None and client.relay.command(client.handle) is None
    assert not client.relay.resume(client.handle)
