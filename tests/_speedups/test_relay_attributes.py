"""Commands with query attributes, as backends get them that have negotiated them, and others: against the reference."""

from __future__ import annotations

import random
import socket

import pytest

from _speedups import lexer
from _speedups.packet import frame, lenenc
from _speedups.relay import Relay, StatementRef
from _speedups.stats import StatsPage
from tests.oracle import attributes as reference

OP_ANY = 2
ATTRIBUTES, CLASS_WITH_ATTRIBUTES, ERROR_ATTRIBUTES = 1 << 27, 4, 18
PREPARE, CLOSE = 0x16, 0x19
OK = bytes.fromhex("00000002000000")
EOF = bytes.fromhex("fe00000200")
ERROR = b"\xff\x2b\x07#HY000malformed"
TEXT = b"SELECT 1"
TYPES = (1, 2, 3, 4, 5, 8, 253, 252, 246, 254, 15, 9, 13, 0, 12, 7, 10, 11)
SEED, ROUNDS = 20261130, 1500


class Wire:
    """A client with query attributes, and one backend that has them or not."""

    def __init__(self, attributes: bool) -> None:
        page = StatsPage.create(workers=1, shards=1, backends=1, digests=8, slow=8, users=1)
        self.relay = Relay(
            page.worker(0, 0), max_sessions=4, max_backends=4, max_packet=1 << 24, queue_wait=60.0, slow_query=60.0
        )
        self.relay.configure(shards=1, users=1, health=[])
        self.relay.error_put(ERROR_ATTRIBUTES, ERROR)
        pool = self.relay.pool_new(0, CLASS_WITH_ATTRIBUTES, server=0)
        self.relay.route(0, CLASS_WITH_ATTRIBUTES, pool, [])
        self._statements: list[StatementRef] = []
        self.nparams = 0
        """Of the statement that is executed."""
        self.client, theirs = socket.socketpair()
        self.server, ours = socket.socketpair()
        for one in (theirs, ours):
            one.setblocking(False)
        for one in (self.client, self.server):
            one.settimeout(5)
        self.handle = self.relay.adopt(theirs.detach(), caps=ATTRIBUTES, ctx=1, state=0, lexmode=0, user=0)
        self.relay.backend_add(pool, ours.detach(), state=0, thread_id=1, attributes=attributes)
        found = lexer.lex(TEXT, 0)
        self.relay.plan_put(
            fingerprint=found.fingerprint, norm=found.norm, ctx=1, epoch=self.relay.epoch, opcode=OP_ANY, shard=0
        )

    def prepare(self, nparams: int) -> int:
        """A statement's id at the client."""
        statement = self.relay.statement_new(
            text=frame(b"\x16" + TEXT, 0), ctx=1, epoch=self.relay.epoch, nparams=nparams, ncolumns=0,
            fingerprint=1, opcode=OP_ANY, shard=0,
        )  # fmt: skip
        self._statements.append(statement)
        self.client.send(frame(b"\x16" + TEXT, 0))
        self.relay.round()
        number = self.relay.client_prepare(self.handle, statement, 100)
        self.relay.reply(self.handle, frame(OK, 1))
        assert number > 0 and self.client.recv(100)
        return number

    def ask(self, r: random.Random, payload: bytes) -> bytes | None:
        """What the backend gets of the command; None when the client is told that it is malformed."""
        packet = frame(payload, 0)
        while packet:
            size = r.choice((len(packet), len(packet), 1, 5, 4096))
            self.client.send(packet[:size])
            packet = packet[size:]
            self._turn()
        while True:
            got = self._packet()
            if got is None or got[0] != PREPARE:
                break
            self._answer([b"\0\1\0\0\0\0\0" + self.nparams.to_bytes(2, "little") + b"\0\0\0", *self._definitions()])
        if got is not None:
            self._answer([OK])
        reply = self.client.recv(1 << 16)
        assert (reply[4] == 0xFF) == (got is None), reply
        return got

    def _definitions(self) -> list[bytes]:
        one = b"\x03def\0\0\0\1?\0\x0c\x3f\0" + bytes(4) + b"\xfd" + bytes(5)
        return [one] * self.nparams + [EOF] if self.nparams else []

    def _answer(self, payloads: list[bytes]) -> None:
        self.server.send(b"".join(frame(one, number + 1 & 255) for number, one in enumerate(payloads)))
        self._turn()

    def _turn(self) -> None:
        for _ in range(3):
            self.relay.round()

    def _packet(self) -> bytes | None:
        self.server.setblocking(False)
        try:
            data = self.server.recv(1 << 20)
            while data[4] == CLOSE:
                data = data[9:] or self.server.recv(1 << 20)
            while len(data) < 4 + int.from_bytes(data[:3], "little"):
                self.relay.round()
                data += self.server.recv(1 << 20)
        except BlockingIOError:
            return None
        assert len(data) == 4 + int.from_bytes(data[:3], "little") and data[3] == 0
        return data[4:]


def parameters(r: random.Random, count: int) -> list[reference.Parameter]:
    made = []
    for _ in range(count):
        kind = r.choice(TYPES)
        size = reference.FIXED.get(kind)
        if size is not None:
            value = r.randbytes(size)
        else:
            length = r.choice(reference.MOMENTS.get(kind, (0, 1, 5, 250, 251, 300)))
            value = lenenc(r.randbytes(length))
        name = r.randbytes(r.choice((0, 1, 8, 260)))
        made.append(reference.Parameter(bytes([kind, r.choice((0, 0x80))]), name, None if r.random() < 0.2 else value))
    return made


def damaged(r: random.Random, data: bytes, start: int) -> bytes:
    out = bytearray(data)
    for _ in range(r.choice((0, 0, 0, 1, 2))):
        at = r.randrange(start, len(out) + 1)
        match r.randrange(3):
            case 0 if at < len(out):
                out[at] = r.choice((0, 1, 2, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF, r.randrange(256)))
            case 1:
                del out[at : at + r.randrange(1, 4)]
            case 2:
                del out[at:]
    return bytes(out)


@pytest.mark.parametrize("has", [True, False], ids=["with", "without"])
def test_text_statements(has: bool) -> None:
    wire, r = Wire(has), random.Random(SEED)
    refused = 0
    for _ in range(ROUNDS):
        given = parameters(r, r.choice((0, 0, 1, 2, 3, 8, 9, 17, 251, 300)))
        count = reference.number(len(given)) if r.random() < 0.9 else b"\xfe" + len(given).to_bytes(8, "little")
        payload = b"\3" + count + b"\1" + reference.laid_out(given, names=True)
        payload = damaged(r, payload, 1) + TEXT
        try:
            wanted = reference.query(payload)
        except reference.Malformed:
            assert wire.ask(r, payload) is None
            refused += 1
            continue
        if wanted[0] == b"\3" + TEXT:
            assert wire.ask(r, payload) == wanted[has]
    assert 100 < refused < ROUNDS // 2


@pytest.mark.parametrize("has", [True, False], ids=["with", "without"])
def test_prepared_statements(has: bool) -> None:
    """What the server keeps for itself is its own number of the statement."""
    wire, r = Wire(has), random.Random(SEED)
    refused = 0
    ids = {nparams: wire.prepare(nparams) for nparams in (0, 1, 2, 8, 9)}
    for _ in range(ROUNDS):
        wire.nparams = nparams = r.choice(list(ids))
        given = parameters(r, nparams + r.choice((0, 0, 1, 2, 8, 300)))
        flags = reference.COUNTED if len(given) > nparams or r.random() < 0.9 else 0
        payload = b"\x17" + ids[nparams].to_bytes(4, "little") + bytes([flags]) + b"\1\0\0\0"
        if given or flags:
            payload += reference.number(len(given)) + reference.laid_out(given, names=True)
        payload = damaged(r, payload, reference.EXECUTE_HEAD)
        try:
            wanted = reference.execute(payload, nparams)[has]
        except reference.Malformed:
            got = wire.ask(r, payload)
            refused += got is None
            assert got is None or leaves_types_out(payload, nparams)
            continue
        got = wire.ask(r, payload)
        assert got is not None
        assert got[:1] + got[5:] == wanted[:1] + wanted[5:]
    assert 100 < refused < ROUNDS // 2


def leaves_types_out(payload: bytes, nparams: int) -> bool:
    """Has it the statement's own parameters only, with the types that they had before?"""
    reader = reference.Reader(payload, reference.EXECUTE_HEAD)
    return reader.number() == nparams and reader.take((nparams + 7) // 8 + 1)[-1] != 1
