"""MySQL's relay between clients and servers that send what they like, in any pieces."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
from collections.abc import Callable

from _speedups import lexer, packet
from _speedups.relay import Relay, StatementRef
from _speedups.stats import StatsPage
from tests.fuzz.redis_targets import cut, drain, pair, readable, send

Record = Callable[[object], None]

PARKED, CLOSED, DATA, DONE, LEAVES = 1, 2, 8, 16, 64
ANY, KEY, BEGIN, COMMIT, REPLY = 2, 3, 4, 5, 7
WRITES, GUARDED, AUDIT, LOAD = 2, 512, 1024, 4096
LIST, WHOLE = 3, 1
DEPRECATE_EOF, SESSION_TRACK, SEVERAL, ATTRIBUTES = 0x01000000, 0x00800000, 0x00010000, 0x08000000
QUERY, PREPARE, EXECUTE, LONG_DATA, CLOSE, RESET, FETCH, AGAIN = 3, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1C, 0x1F
ERRORS, CLASSES, CLASS_WITH_ATTRIBUTES = 19, 8, 4
MOST_TURNS, TURNS, MOST_GROWTH_KIB = 40, 6, 200_000

OK = bytes.fromhex("00000002000000")
TRACKED = bytes.fromhex("000000024000000000") + b"\x0b\x00\x09\x0aautocommit\x03OFF"
IN_TRANSACTION = bytes.fromhex("00000003000000")
ERROR = b"\xff\x28\x04#42000no"
EOF = bytes.fromhex("fe00000200")
FILE = b"\xfbnames.csv"
TEXTS = [
    b"SELECT name FROM customers WHERE id = 7", b"SELECT name FROM customers WHERE id = 8",
    b"SELECT name FROM customers WHERE id IN (7, 8)", b"SELECT 1", b"UPDATE customers SET name = 'x' WHERE id = 7",
    b"SET autocommit = 0", b"SELECT 1; SELECT 2", b"BEGIN", b"COMMIT", b"", b"SELECT 'never ends",
    b"LOAD DATA LOCAL INFILE 'x' INTO TABLE t", b"INSERT INTO t VALUES ('" + b"x" * 70_000 + b"')",
]  # fmt: skip
NAMED = b"\xfd\0\1n\x0c\0\5other", b"\5value\4\xe8\x07\x01\x02"
HEADS = [
    b"\0\1", b"\0\1", b"\0\0", b"\1\1\0\1\xfd\0\1n\5value", b"\2\1\0\1" + b"".join(NAMED), b"\1\1\1\1\xfd\0\1n",
    b"\1\1\0\1\xfd\0\xfc\xff\xff", b"\1\1\0\1\xfd\0\1n\xfe" + b"\xff" * 8, b"\xfc\xff\xff\1", b"",
    b"\xfe" + b"\xff" * 8 + b"\1", b"\xfc\0\4\1" + bytes(128) + b"\1" + b"\1\0\0" * 1024 + b"\7" * 1024,
]  # fmt: skip
PREPARED = b"SELECT name FROM customers WHERE id = ?"
PLANS: dict[bytes, dict[str, object]] = {
    TEXTS[0]: {"opcode": KEY, "vindex": 0, "keys": [[(0, 0, 0, 0)]], "flags": GUARDED},
    TEXTS[2]: {"opcode": KEY, "vindex": 0, "keys": [[(0, 1, 0, 0)]]},
    TEXTS[3]: {"opcode": ANY, "shard": 0},
    TEXTS[4]: {"opcode": KEY, "vindex": 0, "keys": [[(1, 0, 0, 0)]], "flags": WRITES | AUDIT},
    TEXTS[5]: {"opcode": REPLY, "reply": OK},
    TEXTS[7]: {"opcode": BEGIN},
    TEXTS[8]: {"opcode": COMMIT},
    TEXTS[11]: {"opcode": ANY, "shard": 1, "flags": LOAD | WRITES},
}


def command(number: int, rest: bytes = b"", sequence: int = 0) -> bytes:
    return packet.frame(bytes([number]) + rest, sequence)


def execute(r: random.Random) -> bytes:
    head = r.choice((1, 1, 1, 2, 0)).to_bytes(4, "little") + bytes([r.choice((0, 0, 1))]) + b"\x01\0\0\0"
    types = r.choice((b"\x08\0", b"\x03\x80", b"\xfd\0", b"\x0c\0"))
    value = r.choice(((7).to_bytes(8, "little"), b"\x04\xe8\x07\x01\x02", b"\x0512345", b""))
    if r.random() < 0.3:
        return command(EXECUTE, head[:4] + r.choice((b"\x08", b"\x09", b"\0")) + head[5:] + named(r, types, value))
    return command(EXECUTE, head + r.choice((b"\0\1" + types + value, b"\0\0" + value, b"\1\1" + types, b"")))


def named(r: random.Random, types: bytes, value: bytes) -> bytes:
    """The parameter and query attributes, more or less."""
    names, values = NAMED
    return r.choice((
        b"\1\0\1" + types + b"\0" + value, b"\3\0\1" + types + b"\0" + names + value + values, b"\1\0\0" + value,
        b"\3\7\1" + types + b"\0" + names, b"\3\0\0" + value + values, b"\xfc\xff\xff\0\1" + types, b"\xff", b"",
    ))  # fmt: skip


def asked(r: random.Random) -> bytes:
    """One command, more or less."""
    kind = r.randrange(12)
    if kind < 5:
        return command(QUERY, r.choice((b"", b"", b"", *HEADS)) + r.choice(TEXTS))
    if kind < 7:
        return command(PREPARE, PREPARED) + execute(r) + execute(r)
    one = r.choice((1, 1, 2, 0xFFFF)).to_bytes(4, "little")
    made: list[bytes] = [
        execute(r), command(LONG_DATA, one + b"\0\0" + b"x" * r.choice((0, 9, 5000))), command(CLOSE, one),
        command(RESET, one) + command(FETCH, one + b"\2\0\0\0"), command(r.choice((0, 1, 2, 9, 14, 17, 27, AGAIN, 99))),
    ]  # fmt: skip
    return made[kind - 7]


def definition(name: bytes) -> bytes:
    words = (b"def", b"shop", b"customers", b"customers", name, name)
    return b"".join(map(packet.lenenc, words)) + b"\x0c\x2d\0" + bytes(4) + b"\xfd" + bytes(5)


def rows(r: random.Random) -> list[bytes]:
    columns = r.randrange(1, 3)
    named = [definition(b"name") for _ in range(columns)]
    body = [packet.lenenc(b"x" * r.choice((1, 300))) * columns for _ in range(r.randrange(4))]
    between = [EOF] if r.random() < 0.5 else []
    return [bytes([columns]), *named, *between, *body, r.choice((EOF, b"\xfe" + TRACKED[1:], ERROR))]


def answered(r: random.Random, asking: bytes) -> bytes:
    """Packets of one answer, more or less."""
    prepared = b"\0\5\0\0\0\1\0\1\0\0\0\0"
    described = [
        [prepared, definition(b"?"), definition(b"name")],
        [prepared, definition(b"?"), EOF, definition(b"name"), EOF],
    ]
    usual = [[OK], [TRACKED], [IN_TRANSACTION], [ERROR], [FILE], [FILE, OK], rows(r), rows(r), rows(r)]
    payloads = r.choice(described if asking[4:5] == bytes([PREPARE]) and r.random() < 0.9 else usual + described)
    return b"".join(packet.frame(one, (number + 1) & 255) for number, one in enumerate(payloads))


def damaged(r: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(r.choice((0, 0, 0, 0, 1, 1, 3))):
        at = r.randrange(len(out) + 1)
        match r.randrange(4):
            case 0 if at < len(out):
                out[at] = r.choice((0, 0xFB, 0xFE, 0xFF, r.randrange(256)))
            case 1:
                del out[at : at + r.randrange(1, 6)]
            case 2:
                out[at:at] = out[at : at + r.randrange(1, 40)]
            case 3:
                del out[at:]
    return bytes(out)


class Stage:
    """A relay with two shards, whose servers are sockets of this process as its clients are."""

    def __init__(self) -> None:
        page = StatsPage.create(workers=1, shards=2, backends=2, digests=8, slow=8, users=1)
        self.relay = Relay(
            page.worker(0, 0), max_sessions=8, max_backends=8, max_packet=1 << 16, queue_wait=1e6, slow_query=1e6,
        )  # fmt: skip
        self.relay.configure(shards=2, users=1, health=[0, 1])
        for kind in range(ERRORS):
            self.relay.error_put(kind, ERROR)
        for variant in range(8):
            self.relay.begin_put(variant, command(QUERY, b"BEGIN"))
        keys = [(number.to_bytes(8, "little"), number % 2) for number in (7, 8)]
        self.relay.vindex_add(kind=LIST, key_types=[WHOLE], items=keys)
        self.pools: dict[int, tuple[int, int]] = {}
        for shard in range(2):
            for capabilities in range(CLASSES):
                pool = self.relay.pool_new(shard, capabilities, server=shard)
                self.pools[pool] = (shard, capabilities)
                self.relay.route(shard, capabilities, pool, [])
        for text, plan in PLANS.items():
            found = lexer.lex(text, 0)
            self.relay.plan_put(fingerprint=found.fingerprint, norm=found.norm, ctx=1, epoch=self.relay.epoch, **plan)  # type: ignore[arg-type]
        self.statement = self._statement()
        self.clients: dict[int, socket.socket] = {}
        self.servers: list[socket.socket] = []

    def _statement(self) -> StatementRef:
        found = lexer.lex(PREPARED, 0)
        return self.relay.statement_new(
            text=PREPARED, ctx=1, epoch=self.relay.epoch, nparams=1, ncolumns=1, fingerprint=found.fingerprint,
            opcode=KEY, vindex=0, sources=[(0, 0, 0)], nkeys=1,
        )  # fmt: skip

    def connect(self, r: random.Random) -> None:
        while len(self.clients) < 2:
            ours, theirs = pair()
            caps = r.choice((0, DEPRECATE_EOF, DEPRECATE_EOF | SESSION_TRACK | SEVERAL))
            caps |= r.choice((0, ATTRIBUTES))
            handle = self.relay.adopt(theirs.detach(), caps=caps, ctx=1, state=0, lexmode=0, user=0)
            self.clients[handle] = ours

    def turn(self, r: random.Random) -> None:
        """A round of the relay, and the uvloop side's answers to what it parks and wants."""
        self.relay.round()
        sessions, pools, _ = self.relay.events()
        for handle, bits, _, number, *_ in sessions:
            if bits & CLOSED:
                self.clients.pop(handle).close()
            elif bits & PARKED:
                self._parked(r, handle, number)
            elif bits & DONE:
                self.relay.release(handle)
        for pool, waiting, *_ in pools:
            if waiting and len(self.servers) < 6:
                ours, theirs = pair()
                self.servers.append(ours)
                wanted = bool(self.pools[pool][1] & CLASS_WITH_ATTRIBUTES) and r.random() < 0.8
                self.relay.backend_add(pool, theirs.detach(), state=0, thread_id=1, attributes=wanted)
        self.relay.records()

    def _parked(self, r: random.Random, handle: int, number: int) -> None:
        if number == PREPARE:
            id_ = self.relay.client_prepare(handle, self.statement, 3)
            head = b"\0" + max(id_, 0).to_bytes(4, "little") + b"\1\0\1\0\0\0\0"
            parts = [head, definition(b"?"), EOF, definition(b"name"), EOF] if id_ > 0 else [ERROR]
            self.relay.reply(handle, b"".join(packet.frame(one, at + 1) for at, one in enumerate(parts)))
            return
        statement = self.relay.statement(handle) if number == QUERY else None
        choice = r.randrange(6)
        if choice == 0 and statement is not None and statement[0].rest:
            self.relay.split(handle, statement[0].rest)
        elif choice == 1:
            self.relay.run_on(handle, r.randrange(2), notify=r.random() < 0.3, hold=r.random() < 0.2)
        elif choice == 2:
            self.relay.write(handle, packet.frame(ERROR, 1))
            self.relay.reply(handle, b"")
        elif choice == 3:
            self.relay.reply(handle, packet.frame(OK, 1), close=True)
        else:
            self.relay.command(handle)
            self.relay.reply(handle, packet.frame(ERROR, 1), error=True)

    def lose(self, server: socket.socket) -> None:
        self.servers.remove(server)
        server.close()


def received(server: socket.socket) -> bytes:
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        return server.recv(1 << 17)
    return b""


_stage: list[Stage] = []
_begun: list[int] = []


def relay(r: random.Random, record: Record) -> None:
    """The relay stays within its bounds, whoever sends what."""
    if not _stage:
        _stage.append(Stage())
        _begun.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    stage = _stage[0]
    stage.connect(r)
    wanted = {one: cut(r, damaged(r, b"".join(asked(r) for _ in range(r.randrange(1, 6))))) for one in stage.clients}
    seed = r.getrandbits(64)
    record((list(wanted.values()), seed))
    r = random.Random(seed)
    waiting: dict[socket.socket, list[bytes]] = {}
    for _ in range(min(MOST_TURNS, max(map(len, wanted.values()))) + TURNS):
        for handle, pieces in wanted.items():
            if pieces and handle in stage.clients:
                send(stage.clients[handle], pieces.pop(0))
        stage.turn(r)
        for server in readable(stage.servers) & set(stage.servers):
            if not (asking := received(server)):
                stage.lose(server)
            elif r.random() < 0.95:
                waiting.setdefault(server, []).extend(cut(r, damaged(r, answered(r, asking))))
        for server in [one for one in stage.servers if waiting.get(one)]:
            send(server, waiting[server].pop(0))
        if stage.servers and r.random() < 0.05:
            stage.lose(r.choice(stage.servers))
        stage.turn(r)
        for client in readable(stage.clients.values()):
            drain(client)
    for gone in list(stage.clients.values()):
        if r.random() < 0.4:
            with contextlib.suppress(OSError):
                gone.shutdown(r.choice((socket.SHUT_WR, socket.SHUT_RDWR)))
    stage.turn(r)
    stage.turn(r)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - _begun[0]
    assert grown < MOST_GROWTH_KIB, f"{grown} KiB more than at first"
