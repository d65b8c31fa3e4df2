"""Large values: passed on as they come, in both directions, with bounded memory, nobody held up by a slow client."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.redis import Redis
from loadtest.world.world import World
from router.redis.resp import Simple, decode, request
from tests.proxy.redis.raw import Raw, raw
from tests.proxy.redis.test_behaviour import eventually, keys_on, text
from tests.proxy.redis.test_observation import metric

pytestmark = pytest.mark.world(redis=True)

MIB = 1 << 20
HUGE = 200
"""MiB."""
MOST_GROWTH = 8 * MIB
BLOCK = bytes(range(256)) * (MIB // 256)
BIG = b"x" * (3 * MIB)


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


@pytest.fixture
def client(fairlead: Fairlead) -> Iterator[Raw]:
    one = raw(fairlead, timeout=30)
    yield one
    one.close()


class Highest:
    """How much resident memory a Fairlead has had at most since."""

    def __init__(self, fairlead: Fairlead) -> None:
        self._fairlead, self._before, self._highest = fairlead, fairlead.rss(), 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self._highest = max(self._highest, self._fairlead.rss())

    def growth(self) -> int:
        self._over.set()
        self._thread.join()
        return self._highest - self._before


def streams(fairlead: Fairlead) -> float:
    return metric(fairlead, "redis_streams")["fairlead_redis_streams"]


def begun(key: str, size: int, sent: bytes = b"") -> bytes:
    """The beginning of a SET whose value has so many bytes, of which only some are there."""
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s" % (len(key), key.encode(), size, sent)


def send_huge(client: Raw, key: str) -> None:
    client.send(begun(key, HUGE * MIB))
    for _ in range(HUGE):
        client.send(BLOCK)
    client.send(b"\r\n")


def read_huge(client: Raw) -> str:
    """The digest of a reply of HUGE MiB."""
    head = b"$%d\r\n" % (HUGE * MIB)
    left, digest, room = len(head) + HUGE * MIB + 2, hashlib.sha256(), bytearray(MIB)
    while left:
        n = client.sock.recv_into(room, min(left, MIB))
        assert n
        digest.update(room[:n])
        left -= n
    return digest.hexdigest()


def expected() -> str:
    digest = hashlib.sha256(b"$%d\r\n" % (HUGE * MIB))
    for _ in range(HUGE):
        digest.update(BLOCK)
    digest.update(b"\r\n")
    return digest.hexdigest()


def test_two_hundred_megabytes_pass_in_both_directions_in_little_memory(fairlead: Fairlead, client: Raw):
    client.ask("PING")
    memory = Highest(fairlead)
    send_huge(client, "huge")
    assert decode(client.read()) == Simple("OK")
    client.send(request("GET", "huge"))
    assert read_huge(client) == expected()
    client.send(request("GET", "huge"))
    time.sleep(0.7)  # longer than others would be made to wait; there are none
    assert read_huge(client) == expected()
    assert memory.growth() < MOST_GROWTH
    assert client.ask("DEL", "huge") == 1


def test_whoever_reads_nothing_of_it_holds_up_others_for_a_moment_only(fairlead: Fairlead, client: Raw):
    send_huge(client, "huge")
    assert decode(client.read()) == Simple("OK")
    slow = raw(fairlead)
    memory = Highest(fairlead)
    slow.send(request("GET", "huge"))
    time.sleep(0.2)
    began = time.monotonic()
    assert client.ask("STRLEN", "huge") == HUGE * MIB
    assert time.monotonic() - began < 5
    assert memory.growth() < 64 * MIB * 2 + MOST_GROWTH  # redis.client_buffer, in a buffer that doubles
    client.ask("DEL", "huge")


def test_requests_before_and_behind_it_keep_their_order(client: Raw):
    commands: list[tuple[Any, ...]] = []
    for number in range(4):
        commands += [("SET", "k", number), ("GET", "k"), ("SET", "k", b"%d" % number + BIG), ("STRLEN", "k")]
    commands += [("HSET", "h", "a", BIG, "b", "small", "c", BIG, "d", ""), ("HSTRLEN", "h", "c"), ("HGET", "h", "b")]
    commands += [("EVAL", "return #ARGV[1]", 1, "k", BIG), ("NOSUCH", BIG), ("GET", BIG), ("LPUSH", "k", BIG)]
    replies = client.many(*commands)
    for number in range(4):
        assert replies[4 * number : 4 * number + 4] == [
            Simple("OK"), b"%d" % number, Simple("OK"), len(BIG) + 1,
        ]  # fmt: skip
    assert replies[16:20] == [4, len(BIG), b"small", len(BIG)]
    assert text(replies[20]).startswith("ERR unknown command") and replies[21] is None
    assert text(replies[22]).startswith("WRONGTYPE")


def test_it_is_taken_in_any_pieces(client: Raw):
    frame = request("HSET", "pieces", "a", b"y" * 70_000, "b", b"z" * 66_000, "c", "end") + request("HLEN", "pieces")
    places = [0, 20, 50, 51, 70_040, 70_047, 70_048, 70_050, 70_060, 136_080, 136_090, 136_095, len(frame)]
    for start, end in itertools.pairwise(places):
        client.send(frame[start:end])
        time.sleep(0.002)
    assert [decode(client.read()), decode(client.read())] == [3, 3]


def test_a_slow_sender_holds_up_nobody(fairlead: Fairlead, client: Raw):
    slow = raw(fairlead)
    slow.send(begun("slow", len(BIG), BIG[:MIB]))
    for number in range(20):
        assert client.ask("SET", "slow", number) == Simple("OK")
    assert client.ask("GET", "slow") == b"19"
    assert metric(fairlead, "redis_parks_total")['fairlead_redis_parks_total{reason="large"}'] >= 1
    eventually(lambda: streams(fairlead) == 1)
    slow.send(BIG[MIB:] + b"\r\n")
    assert decode(slow.read()) == Simple("OK")
    assert client.ask("STRLEN", "slow") == len(BIG)
    eventually(lambda: streams(fairlead) == 0)


def test_whoever_goes_in_the_middle_has_changed_nothing(fairlead: Fairlead, client: Raw):
    client.ask("SET", "k", "before")
    gone = raw(fairlead)
    gone.send(begun("k", len(BIG), BIG[:MIB]))
    gone.close()
    assert client.ask("SET", "other", BIG) == Simple("OK")
    assert client.ask("GET", "k") == b"before"


@pytest.fixture
def place(world: World) -> tuple[str, Redis]:
    """A key, and its server."""
    name, key = next(iter(keys_on(world).items()))
    return key, world.redis[name]


def test_a_server_lost_in_the_middle_costs_this_request_only(client: Raw, place: tuple[str, Redis]):
    key, server = place
    client.send(begun(key, len(BIG), BIG[:MIB]))
    time.sleep(0.1)
    server.ask("CLIENT", "KILL", "TYPE", "normal")
    client.send(BIG[MIB:] + b"\r\n" + request("PING"))
    assert "whether the command was carried out is unknown" in text(decode(client.read()))
    assert decode(client.read()) == Simple("PONG")
    assert eventually(lambda: client.ask("SET", key, BIG) == Simple("OK"))


def test_a_server_that_takes_no_such_value_says_so_to_this_client_alone(
    fairlead: Fairlead, client: Raw, place: tuple[str, Redis]
):
    key, server = place
    other = raw(fairlead)
    assert other.ask("SET", key, 1) == Simple("OK")
    server.ask("CONFIG", "SET", "proto-max-bulk-len", str(MIB))
    try:
        client.send(begun(key, len(BIG)))  # more, and its reset might overtake what it says
        assert client.read() == b"-ERR Protocol error: invalid bulk length\r\n"
        with pytest.raises((EOFError, OSError)):
            client.read()
        assert other.ask("GET", key) == b"1"
    finally:
        server.ask("CONFIG", "SET", "proto-max-bulk-len", str(512 * MIB))


def test_half_a_gigabyte_is_the_most_as_for_redis(fairlead: Fairlead, world: World):
    for port, login in ((fairlead.redis_port, True), (world.redis["eu-0"].port, False)):
        one = Raw(port, login=login)
        one.send(begun("k", 512 * MIB + 1))
        assert one.read() == b"-ERR Protocol error: invalid bulk length\r\n"
        with pytest.raises((EOFError, OSError)):
            one.read()


def test_only_so_many_at_a_time(world: World):
    fairlead = world.kept({"limits": {"connect": "500ms"}})
    many = [raw(fairlead) for _ in range(17)]
    for one in many:
        one.send(begun("k", len(BIG), BIG[:MIB]))
    eventually(lambda: streams(fairlead) == 16)
    time.sleep(0.6)
    for one in many:
        one.send(BIG[MIB:] + b"\r\n" + request("PING"))
    replies = [decode(one.read()) for one in many]
    assert sorted(map(str, replies)).count(str(Simple("OK"))) == 16
    (refused,) = [one for one in replies if one != Simple("OK")]
    assert text(refused).startswith("TRYAGAIN")
    assert all(decode(one.read()) == Simple("PONG") for one in many)
