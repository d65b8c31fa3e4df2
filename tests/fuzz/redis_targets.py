"""The Redis side under the fuzzer: the scans of requests and replies, and the relay between clients and servers.

What must hold besides the sanitizers' silence: the scans agree with themselves however the bytes are cut, and what is
kept for anybody is bounded by what was sent and by the limits, never by what was announced.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import select
import socket
from collections.abc import Callable, Iterable

from _speedups.redis_relay import CLOSED, LARGE_COMES, LENT, PARKED, RedisRelay
from _speedups.resp import ProtocolError, ReplyScanner, RequestScanner, request_of, words_of

Record = Callable[[object], None]

CLIENT_BUFFER = 1 << 16
MOST_GROWTH_KIB = 400 * 1024
"""Of resident memory over a whole run; the sanitizer's own quarantine is most of it."""
TURNS, MOST_TURNS = 4, 100

REQUESTS = [
    b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$5\r\nhello\r\n", b"*1\r\n$4\r\nPING\r\n",
    b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", b"*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n", b"PING\r\n", b"GET a\r\n", b"\r\n", b"*0\r\n",
    b"*-1\r\n", b"*3\r\n$4\r\nEVAL\r\n$1\r\nx\r\n$1\r\n1\r\n", b"*2\r\n$4\r\nPING\r\n$3\r\nabc\r\n",
    b"*2\r\n$3\r\nGET\r\n$70\r\n" + b"k" * 70 + b"\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$70000\r\n" + b"v" * 70000 + b"\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$1\r\n1\r\n", b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nc\r\n",
]  # fmt: skip
REPLIES = [
    b"+OK\r\n", b"-ERR no\r\n", b":1\r\n", b"$-1\r\n", b"$5\r\nhello\r\n", b"*2\r\n$1\r\na\r\n$-1\r\n", b"*0\r\n",
    b"*-1\r\n", b"%1\r\n+a\r\n:1\r\n", b"~1\r\n#t\r\n", b"_\r\n", b",1.5\r\n", b"(12345678901234567890\r\n",
    b"=5\r\ntxt:x\r\n", b"|1\r\n+a\r\n:1\r\n+OK\r\n", b"*1\r\n*1\r\n*1\r\n:1\r\n",
    b"$70000\r\n" + b"v" * 70000 + b"\r\n",
]  # fmt: skip
NODES = [b"a:1", b"b:2"]
"""Addresses of the cluster's nodes."""
REDIRECTS = [
    b"-MOVED 15495 a:1\r\n", b"-MOVED 15495 b:2\r\n", b"-MOVED 7365 b:2\r\n", b"-ASK 7365 a:1\r\n",
    b"-ASK 15495 b:2\r\n", b"-MOVED 15495 c:3\r\n", b"-MOVED 99999 a:1\r\n", b"-ASK \r\n",
    b"-TRYAGAIN x\r\n", b"-CLUSTERDOWN x\r\n",
    b"-MOVED" + b" 1" * 40000 + b"\r\n",
]  # fmt: skip
ANNOUNCED = [
    b"*1000000000\r\n", b"$99999999999\r\n", b"*1\r\n$99999999999\r\n", b"*1048577\r\n", b"*1048576\r\n",
    b"*2\r\n$536870912\r\n", b"*2\r\n$536870913\r\n", b"*1\r\n" * 40, b"%4294967296\r\n", b"*4294967297\r\n",
    b"$536870912\r\n", b">3\r\n+message\r\n+a\r\n+b\r\n", b"*18446744073709551615\r\n", b"$-2\r\n", b"*" + b"1" * 40,
    b"$" + b"9" * 70000, b"|1048576\r\n", b"\xff\0\r\n", b"'unbalanced \"", b"*1\r\n:1\r\n",
]  # fmt: skip
COMMANDS = [  # (name, family, kind, level, merge, arity, specs, denied, arity text, policy)
    (b"get", 0, 1, 1, 0, 2, [(0, 1, 0, 0, 1)], b"-NOPERM\r\n", b"-ERR arity\r\n", (2, 0, 0, 0, 0)),
    (b"set", 1, 1, 2, 0, -3, [(0, 1, 0, 0, 1)], b"-NOPERM\r\n", b"-ERR arity\r\n", (4, 0, 0, 0, 0)),
    (b"mget", 2, 2, 1, 3, -2, [(0, 1, -1, 0, 1)], b"-NOPERM\r\n", b"-ERR arity\r\n", (2, 0, 0, 0, 0)),
    (b"del", 3, 2, 2, 1, -2, [(0, 1, -1, 0, 1)], b"-NOPERM\r\n", b"-ERR arity\r\n", (4, 0, 0, 0, 0)),
    (b"mset", 3, 2, 2, 2, -3, [(0, 1, -1, 0, 2)], b"-NOPERM\r\n", b"-ERR arity\r\n", (4, 0, 0, 0, 0)),
    (b"eval", 4, 1, 2, 0, -3, [(1, 2, 0, 1, 1)], b"-NOPERM\r\n", b"-ERR arity\r\n", (64, 0, 0, 0, 0)),
    (b"ping", 11, 3, 1, 0, -1, [], b"-NOPERM\r\n", b"-ERR arity\r\n", (0, 0, 0, 0, 0)),
]
SLOTS = b"".join((slot % 2).to_bytes(2, "little") for slot in range(16384))
"""a and c are the cluster's, b the server's."""


def mixed(r: random.Random, corpus: list[bytes]) -> bytes:
    """Well-formed frames, announcements of far too much, and damage."""
    data = bytearray(b"".join(r.choice(corpus) for _ in range(r.randrange(1, 8))))
    for _ in range(r.choice((0, 0, 0, 1, 1, 2, 5))):
        at = r.randrange(len(data) + 1)
        match r.randrange(5):
            case 0:
                data[at:at] = r.choice(ANNOUNCED)
            case 1:
                del data[at : at + r.randrange(1, 6)]
            case 2 if at < len(data):
                data[at] = r.randrange(256)
            case 3:
                data[at:at] = data[at : at + r.randrange(1, 40)]
            case 4:
                del data[at:]
    return bytes(data)


def cut(r: random.Random, data: bytes) -> list[bytes]:
    """Byte by byte where it is short, else at random places."""
    if len(data) < 200 and r.random() < 0.3:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(r.randrange(len(data) + 1) for _ in range(r.randrange(5)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def outcome(scanner: RequestScanner | ReplyScanner, pieces: list[bytes]) -> tuple[list[object], str]:
    """What was found, and the error that ended it."""
    found: list[object] = []
    sent = 0
    try:
        for piece in pieces:
            sent += len(piece)
            found += scanner.feed(piece)
            assert scanner.waiting <= sent, "more is kept than was sent"
    except ProtocolError as error:
        return found, str(error)
    return found, ""


def requests(r: random.Random, record: Record) -> None:
    data = mixed(r, REQUESTS)
    pieces = cut(r, data)
    record(pieces)
    whole, pieced = outcome(RequestScanner(), [data]), outcome(RequestScanner(), pieces)
    assert whole[1] == pieced[1], "an error depends on the cuts"
    assert pieced[0][: len(whole[0])] == whole[0] or pieced[1], "requests depend on the cuts"
    with contextlib.suppress(ProtocolError):
        request_of(data)
    with contextlib.suppress(ProtocolError):
        words_of(data[: r.randrange(len(data) + 1)])


def replies(r: random.Random, record: Record) -> None:
    data = mixed(r, REPLIES)
    pieces = cut(r, data)
    record(pieces)
    whole, pieced = outcome(ReplyScanner(), [data]), outcome(ReplyScanner(), pieces)
    assert whole[1] == pieced[1], "an error depends on the cuts"
    if not whole[1]:
        assert whole[0] == pieced[0], "replies depend on the cuts"


class Stage:
    """A relay with two shards, a server and a cluster of two nodes, which are sockets of this process as its clients
    are; it moves by `turn`."""

    def __init__(self) -> None:
        self.relay = RedisRelay(max_clients=4)
        self.relay.limits(client_buffer=CLIENT_BUFFER, pipeline=16, login=1e6, idle=1e6)
        self.relay.observe(sample=2, keys=True, slow=0.0)
        self.relay.texts({number: b"-ERR %d\r\n" % number for number in range(16)})
        self.relay.commands(COMMANDS)
        self.relay.shards([(b"-MASTERDOWN\r\n", 1e6, 0, 0), (b"-MASTERDOWN\r\n", 1e6, 0, 1)])
        self.relay.patterns([], [], SLOTS)
        self.nodes = [self.relay.way_add(b"-MASTERDOWN\r\n", 1e6, False) for _ in NODES]
        self.map([0, 1])
        self.servers: dict[tuple[int, int], socket.socket] = {}
        self.clients: dict[int, socket.socket] = {}
        self.asked = 0
        self.lent: dict[int, socket.socket] = {}
        """Servers' ends of connections for large requests, by the client's handle."""

    def map(self, halves: list[int]) -> None:
        """Which node has the lower slots, and which the upper ones."""
        places = [self.nodes[one].to_bytes(2, "little") for one in halves]
        self.relay.cluster(1, list(zip(self.nodes, NODES, strict=True)), b"".join(one * 8192 for one in places))

    def replace_node(self, number: int) -> None:
        """By another at the same address."""
        gone, self.nodes[number] = self.nodes[number], self.relay.way_add(b"-MASTERDOWN\r\n", 1e6, False)
        self.map([number, number])
        self.relay.way_drop(gone)
        for protocol in (2, 3):
            self.servers.pop((gone, protocol)).close()

    def connect(self) -> None:
        """Whatever is missing."""
        for shard in (0, *self.nodes):
            for protocol in (2, 3):
                if not self.relay.connected(shard, protocol):
                    ours, theirs = pair()
                    self.servers[shard, protocol] = ours
                    self.relay.backend(shard, protocol, theirs.detach())
        while len(self.clients) < 2:
            ours, theirs = pair()
            self.clients[self.relay.adopt(theirs.detach(), 3, protocol=2 + len(self.clients))] = ours

    def turn(self) -> None:
        """A round of the relay, and the uvloop side's answers to what it parks."""
        self.relay.turn()
        for handle, kinds in self.relay.events():
            if kinds & (CLOSED | LENT) and handle in self.lent:
                self.lent.pop(handle).close()
            if kinds & CLOSED:
                self.clients.pop(handle).close()
            elif kinds & LARGE_COMES:
                self.lend(handle)
            elif kinds & PARKED:
                data = self.relay.take(handle)
                if data is not None:
                    self.relay.reply(handle, b"-ERR parked\r\n")
        self.relay.answers()

    def lend(self, handle: int) -> None:
        """To every third there is nothing to lend."""
        self.asked += 1
        if self.asked % 3 == 0:
            self.relay.swallow(handle, b"-MASTERDOWN\r\n")
            return
        ours, theirs = pair()
        fd = theirs.detach()
        if self.relay.lend(handle, fd):
            self.lent[handle] = ours
        else:
            os.close(fd)
            ours.close()


def pair() -> tuple[socket.socket, socket.socket]:
    found = socket.socketpair()
    for one in found:
        one.setblocking(False)
    return found


def send(to: socket.socket, data: bytes) -> None:
    with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
        to.send(data)


def readable(sockets: Iterable[socket.socket]) -> set[socket.socket]:
    """Asked at once: most have nothing, and a receive each would be most of the time."""
    return set(select.select(list(sockets), (), (), 0)[0])


def drain(what: socket.socket) -> int:
    total = 0
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        while data := what.recv(1 << 16):
            total += len(data)
    return total


_stage: list[Stage] = []
_begun: list[int] = []


def relay(r: random.Random, record: Record) -> None:
    """Both sides send what they like, in any pieces; the relay stays within its bounds."""
    if not _stage:
        _stage.append(Stage())
        _begun.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    stage = _stage[0]
    stage.connect()
    asked = {handle: cut(r, mixed(r, REQUESTS)) for handle in stage.clients}
    answered = {place: cut(r, mixed(r, REPLIES + REDIRECTS * (place[0] > 1))) for place in stage.servers}
    record((list(asked.values()), list(answered.values())))
    longest = max(map(len, [*asked.values(), *answered.values()]))
    for _ in range(min(longest, MOST_TURNS) + TURNS):
        for handle, pieces in asked.items():
            if pieces and handle in stage.clients:
                send(stage.clients[handle], pieces.pop(0))
        stage.turn()
        asking = readable((*stage.servers.values(), *stage.lent.values()))
        for place, pieces in answered.items():
            was_asked = stage.servers[place] in asking and drain(stage.servers[place])
            if pieces and (was_asked or r.random() < 0.1):  # a client may wait for what was asked for long ago
                send(stage.servers[place], pieces.pop(0))
        for lent in [one for one in stage.lent.values() if one in asking]:
            if drain(lent) and r.random() < 0.5:
                send(lent, r.choice(REPLIES))
        stage.turn()
        for one in readable(stage.clients.values()):
            drain(one)
    if r.random() < 0.2:
        stage.map([r.randrange(2), r.randrange(2)])
    elif r.random() < 0.05:
        stage.replace_node(r.randrange(2))
    for gone in list(stage.clients.values()):
        if r.random() < 0.2:  # one may be in the middle of half a gigabyte, or wait for what nobody will answer
            gone.shutdown(r.choice((socket.SHUT_WR, socket.SHUT_RDWR)))
    stage.turn()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - _begun[0]
    assert grown < MOST_GROWTH_KIB, f"{grown} KiB more than at first"
