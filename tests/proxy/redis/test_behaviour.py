"""What a Redis listener promises beyond a single server: places, rights, order, transactions, ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.world import World
from router.redis.resp import Error, Push, Simple, decode, request
from tests.proxy.redis.raw import Raw, raw

pytestmark = pytest.mark.world(redis=True)
PENCE = region_id("eu", 7)


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return world.fairlead()


@pytest.fixture
def client(fairlead: Fairlead) -> Iterator[Raw]:
    one = raw(fairlead)
    yield one
    one.close()


def eventually(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def text(value: Any) -> str:
    assert isinstance(value, Error), value
    return value.text


def keys_on(world: World) -> dict[str, str]:
    """A key of each shard of eu, kept together by a tag."""
    with_shard: dict[str, str] = {}
    port = world.fairlead().redis_port
    probe = Raw(port)
    for number in range(64):
        probe.ask("SET", f"{{{number}}}", "1")
        for name, server in world.redis.items():
            if b"1" in server.ask("EXISTS", f"{{{number}}}"):
                with_shard.setdefault(name, f"{{{number}}}")
    probe.ask("FLUSHALL")
    probe.close()
    return with_shard


# --- places -------------------------------------------------------------------------------------------------


def test_a_key_lives_beside_its_row(world: World, fairlead: Fairlead, client: Raw):
    for number in (1, 2, 3, 4, 5):
        customer = region_id("eu", number)
        client.ask("SET", f"customer:{customer}:name", "Ada")
        row = f"SELECT COUNT(*) FROM customers WHERE id = {customer}"
        for name, server in world.redis.items():
            with_row = bool(world.shards[name].primary.query(row, database="shop")[0][0])
            assert (b":1" in server.ask("EXISTS", f"customer:{customer}:name")) is with_row


def test_what_has_no_place_is_refused(client: Raw):
    assert "its value is none" in text(client.ask("GET", "customer:abc"))
    assert "no shard holds such values" in text(client.ask("GET", f"customer:{9 << 40}"))
    assert "keys of pattern secret are refused" in text(client.ask("GET", "secret:1"))
    assert "keys of pattern secret are refused" in text(client.ask("MGET", "a", "secret:1"))


def test_split_and_merge(world: World, client: Raw):
    pairs = [word for number in range(100) for word in (f"k{number}", number)]
    assert client.ask("MSET", *pairs) == Simple("OK")
    sizes = [int(server.ask("DBSIZE")[1:-2]) for server in world.redis.values()]
    assert sum(sizes) == 100 and min(sizes) > 20
    keys = [f"k{number}" for number in range(99, -1, -1)]
    assert client.ask("MGET", *keys, "none", "k5") == [b"%d" % n for n in range(99, -1, -1)] + [None, b"5"]
    assert client.ask("EXISTS", *keys, "k1", "none") == 101
    assert client.ask("TOUCH", *keys) == 100
    assert client.ask("DEL", *keys[:50], "none") == 50
    assert client.ask("UNLINK", *keys) == 50
    assert "wrong number of arguments" in text(client.ask("MSET", "a", 1, "b"))


def test_regular_expressions_split_too(client: Raw):
    a, b = f"order-{region_id('eu', 1)}-x", f"order-{region_id('eu', 2)}-x"
    others = [f"o{n}" for n in range(8)]
    assert client.ask("MSET", *(word for key in (a, b, *others) for word in (key, key))) == Simple("OK")
    assert client.ask("MGET", *others, b, "none", a) == [
        *(one.encode() for one in others),
        b.encode(),
        None,
        a.encode(),
    ]
    assert client.ask("DEL", a, b, *others) == 10


def test_keys_of_one_command_on_several_shards(world: World, client: Raw):
    one, two = keys_on(world).values()
    for command in (
        ("RENAME", one, two),
        ("SINTER", one, two),
        ("MSETNX", one, 1, two, 2),
        ("EVAL", "return 1", 2, one, two),
    ):
        assert text(client.ask(*command)).startswith("CROSSSLOT")
    assert "without keys" in text(client.ask("EVAL", "return 1", 0))
    assert "patterns" in text(client.ask("SORT", one, "BY", "w_*"))
    assert "DB index" in text(client.ask("COPY", one, one + "b", "DB", 1))


def test_scan_finds_every_key_once(client: Raw):
    client.ask("MSET", *(word for number in range(500) for word in (f"k{number}", 1)))
    found, cursor = [], b"0"
    while True:
        cursor, keys = client.ask("SCAN", cursor, "COUNT", 50)
        found += keys
        if cursor == b"0":
            break
    assert sorted(found) == sorted(b"k%d" % number for number in range(500))
    assert text(client.ask("SCAN", "12345")) == "ERR invalid cursor"
    assert sorted(client.ask("KEYS", "k1*")) == sorted(b"k%d" % n for n in range(500) if str(n).startswith("1"))
    assert client.ask("DBSIZE") == 500


# --- order --------------------------------------------------------------------------------------------------


def test_a_pipeline_s_replies_come_in_order(client: Raw):
    commands: list[tuple[Any, ...]] = []
    expected: list[Any] = []
    for number in range(300):
        commands += [
            ("SET", f"k{number}", number), ("GET", f"k{number}"), ("PING", number), ("NOSUCH",), ("GET",),
            ("MGET", f"k{number}", "none", f"k{number}"), ("ECHO", number), ("GET", "secret:1"), ("DBSIZE",),
        ]  # fmt: skip
        value = b"%d" % number
        expected += [
            Simple("OK"),
            value,
            value,
            "unknown",
            "wrong number",
            [value, None, value],
            value,
            "secret",
            number + 1,
        ]
    for given, wanted in zip(client.many(*commands), expected, strict=True):
        assert wanted in given.text if isinstance(wanted, str) else given == wanted


def test_large_values(client: Raw):
    value = os.urandom(20 << 20)
    found = client.many(("SET", "big", value), ("GET", "big"), ("STRLEN", "big"), ("GET", "small"))
    assert found == [Simple("OK"), value, len(value), None]
    assert client.ask("APPEND", "big", b"x" * 100_000) == len(value) + 100_000


def test_a_request_in_single_bytes(client: Raw):
    for byte in request("SET", "k", "value") + b"PING\r\n" + b'GET "k"\r\n':
        client.send(bytes((byte,)))
    assert [client.read(), client.read(), client.read()] == [b"+OK\r\n", b"+PONG\r\n", b"$5\r\nvalue\r\n"]


@pytest.mark.parametrize(
    "data", [b"*1000000000\r\n", b"*1\r\n$99999999999\r\n", b"*1\r\n:1\r\n", b"x" * 70_000, b'SET "\r\n']
)
def test_what_is_no_request_is_answered_and_ends(client: Raw, data: bytes):
    client.send(request("PING") + data)
    assert client.read() == b"+PONG\r\n"
    assert client.read().startswith(b"-ERR Protocol error: ")
    with pytest.raises(EOFError):
        client.read()


def test_a_client_that_only_shuts_its_side_gets_its_answers(client: Raw):
    client.send(request("SET", "k", 1) + request("GET", "k") + request("DBSIZE") + request("PING"))
    client.sock.shutdown(1)
    assert [client.read() for _ in range(4)] == [b"+OK\r\n", b"$1\r\n1\r\n", b":1\r\n", b"+PONG\r\n"]
    with pytest.raises(EOFError):
        client.read()


# --- rights -------------------------------------------------------------------------------------------------


@pytest.fixture
def strict(world: World) -> Fairlead:
    """With a reader, a user without Redis, and clients that need no login to read."""
    return world.kept(
        {
            "users": {
                "reader": {"password": {"value": "r"}, "redis": "read"},
                "writer": {"password": {"value": "w"}, "redis": "write"},
                "nobody": {"password": {"value": "n"}},
                "default": {"password": {"value": "d"}, "redis": "write"},
                "elsewhere": {"password": {"value": "e"}, "redis": "write", "networks": ["10.0.0.0/8"]},
            },
            "redis": {"client_buffer": "256KiB", "pipeline": 16},
        }
    )


def test_login(strict: Fairlead):
    client = raw(strict, login=False)
    for command in (("GET", "a"), ("PING",), ("NOSUCH",), ("MULTI",), ("DBSIZE",)):
        assert text(client.ask(*command)) == "NOAUTH Authentication required."
    wrong = [("demo", "x"), ("nobody", "n"), ("ghost", "n"), ("elsewhere", "e")]
    for user, password in wrong:
        assert text(client.ask("AUTH", user, password)).startswith("WRONGPASS")
        assert text(client.ask("HELLO", 3, "AUTH", user, password)).startswith("WRONGPASS")
    assert text(client.ask("HELLO", 3)).startswith("NOAUTH HELLO")
    assert text(client.ask("HELLO", 4)).startswith("NOPROTO")
    assert client.ask("AUTH", "d") == Simple("OK")
    assert client.ask("ACL", "WHOAMI") == b"default"
    assert client.ask("HELLO", 3, "AUTH", "reader", "r", "SETNAME", "me")[b"proto"] == 3
    assert client.ask("CLIENT", "GETNAME") == b"me"
    assert client.ask("GET", "none") is None
    assert client.ask("RESET") == Simple("RESET")
    assert text(client.ask("GET", "a")).startswith("NOAUTH")
    assert client.ask("QUIT") == Simple("OK")
    with pytest.raises(EOFError):
        client.read()


def test_levels(strict: Fairlead):
    client = raw(strict, login=False)
    client.ask("AUTH", "reader", "r")
    for command in (
        ("SET", "a", 1),
        ("DEL", "a", "b"),
        ("EVAL", "return 1", 1, "a"),
        ("PUBLISH", "c", "m"),
        ("FLUSHALL",),
    ):
        assert (
            text(client.ask(*command))
            == f"NOPERM this user has no permissions to run the '{command[0].lower()}' command"
        )
    assert [client.ask("MULTI"), text(client.ask("SET", "a", 1))[:6], text(client.ask("EXEC"))[:9]] == [
        Simple("OK"), "NOPERM", "EXECABORT",
    ]  # fmt: skip
    client.ask("AUTH", "writer", "w")
    assert client.ask("SET", "a", 1) == Simple("OK")
    assert text(client.ask("FLUSHALL")).startswith("NOPERM")


def test_a_reply_larger_than_what_may_wait_still_passes(strict: Fairlead, fairlead: Fairlead):
    big = b"x" * (3 << 20)
    with_room = raw(fairlead)
    assert with_room.ask("SET", "big", big) == Simple("OK")
    small = raw(strict)
    assert small.ask("GET", "big") == big
    assert small.ask("SET", "big", big) == Simple("OK")
    small.send(request("MSET", "big", big, "other", big)[: 400 << 10])
    assert b"larger than redis.client_buffer" in small.read()
    slow = raw(strict)
    slow.send(request("GET", "big") * 10)
    assert with_room.ask("GET", "none") is None
    assert eventually(lambda: _is_cut_off(slow))


def _is_cut_off(client: Raw) -> bool:
    """Has a client that reads nothing been disconnected? Its own next bytes tell."""
    time.sleep(0.2)
    try:
        client.send(b"PING\r\n")
    except OSError:
        return True
    return False


def test_refused_commands_have_their_text(client: Raw):
    lines = ["MONITOR", "CONFIG SET a b", "DEBUG SLEEP 0", "SHUTDOWN", "WAIT 0 0", "CLIENT TRACKING ON", "MOVE a 1"]
    for line in [*lines, "ACL SETUSER x", "SWAPDB 0 1"]:
        command = line.split()
        assert "is refused by Fairlead: " in text(client.ask(*command))
    assert text(client.ask("CLUSTER", "SLOTS")) == "ERR This instance has cluster support disabled"
    assert client.ask("PING") == Simple("PONG")


# --- transactions -------------------------------------------------------------------------------------------


def test_transactions(world: World, client: Raw):
    one, two = keys_on(world).values()
    found = client.many(("MULTI",), ("SET", one, 1), ("INCR", one), ("PING",), ("EXEC",), ("GET", one))
    assert found == [Simple("OK"), *[Simple("QUEUED")] * 3, [Simple("OK"), 2, Simple("PONG")], b"2"]
    found = client.many(("MULTI",), ("INCR", one), ("INCR", two), ("EXEC",), ("GET", one))
    assert text(found[2]).startswith("CROSSSLOT") and text(found[3]).startswith("EXECABORT") and found[4] == b"2"
    found = client.many(("MULTI",), ("NOSUCH",), ("GET",), ("MULTI",), ("WATCH", one), ("EXEC",))
    assert [text(one)[:20] for one in found[1:]] == [
        "ERR unknown command ", "ERR wrong number of ", "ERR MULTI calls can ", "ERR WATCH inside MUL",
        "EXECABORT Transactio",
    ]  # fmt: skip
    assert client.many(("MULTI",), ("EXEC",), ("MULTI",), ("DISCARD",)) == [
        Simple("OK"),
        [],
        Simple("OK"),
        Simple("OK"),
    ]
    found = client.many(("MULTI",), ("LPUSH", one, 1), ("INCR", one), ("EXEC",))[-1]
    assert text(found[0]).startswith("WRONGTYPE") and found[1] == 3


def test_watch(fairlead: Fairlead, client: Raw):
    other = raw(fairlead)
    assert client.many(("WATCH", "{k}1", "{k}2"), ("MULTI",), ("SET", "{k}1", 1), ("EXEC",))[-1] == [Simple("OK")]
    client.ask("WATCH", "{k}1")
    other.ask("SET", "{k}1", "changed")
    assert client.many(("MULTI",), ("SET", "{k}1", 2), ("EXEC",), ("GET", "{k}1"))[2:] == [None, b"changed"]
    client.ask("WATCH", "{k}1")
    other.ask("SET", "{k}1", "again")
    assert client.ask("UNWATCH") == Simple("OK")
    assert client.many(("MULTI",), ("SET", "{k}1", 3), ("EXEC",))[-1] == [Simple("OK")]
    client.many(("WATCH", "{k}1"), ("MULTI",), ("DISCARD",))
    assert client.ask("GET", "{k}1") == b"3"


# --- waiting ------------------------------------------------------------------------------------------------


def test_a_client_that_goes_pops_nothing(world: World, fairlead: Fairlead, client: Raw):
    waiting = raw(fairlead)
    waiting.send(request("BLPOP", "{q}", 0))
    blocked = lambda: sum(server.ask("INFO", "clients").count(b"blocked_clients:1") for server in world.redis.values())  # noqa: E731
    eventually(lambda: blocked() == 1)
    waiting.close()
    eventually(lambda: blocked() == 0)
    client.ask("RPUSH", "{q}", "kept")
    assert client.ask("LRANGE", "{q}", 0, -1) == [b"kept"]
    assert client.ask("BLPOP", "{q}", 1) == [b"{q}", b"kept"]
    assert client.ask("BLPOP", "{q}", "0.05") is None


def test_commands_behind_a_blocking_one_wait_for_it(fairlead: Fairlead, client: Raw):
    other = raw(fairlead)
    client.send(request("BLPOP", "{q}", 0) + request("PING"))
    other.ask("RPUSH", "{q}", "x")
    assert [client.read(), client.read()] == [b"*2\r\n$3\r\n{q}\r\n$1\r\nx\r\n", b"+PONG\r\n"]


def test_pushes_come_between_replies(fairlead: Fairlead):
    listener, other = raw(fairlead), raw(fairlead)
    listener.ask("HELLO", 3)
    assert listener.ask("SUBSCRIBE", "news") == Push((b"subscribe", b"news", 1))
    for number in range(50):
        other.send(request("PUBLISH", "news", number) + request("SET", "k", number))
        listener.send(request("GET", "none") + request("MGET", "a", "b"))
    got = [decode(listener.read()) for _ in range(150)]
    pushes = [one.items[2] for one in got if isinstance(one, Push)]
    assert pushes == [b"%d" % number for number in range(50)]
    assert [one for one in got if not isinstance(one, Push)] == [None, [None, None]] * 50
    assert listener.ask("UNSUBSCRIBE") == Push((b"unsubscribe", b"news", 0))
    assert listener.ask("GET", "none") is None


def test_a_subscribed_resp2_client_may_not_do_else(client: Raw):
    client.ask("SUBSCRIBE", "c")
    assert "only (P|S)SUBSCRIBE" in text(client.ask("GET", "a"))
    assert client.ask("PING") == [b"pong", b""]
    assert client.ask("RESET") == Simple("RESET")
    assert text(client.ask("GET", "a")).startswith("NOAUTH")


# --- servers that go ----------------------------------------------------------------------------------------


def test_a_server_that_dies(world: World, fairlead: Fairlead, client: Raw):
    places = keys_on(world)
    gone, stays = places["eu-0"], places["eu-1"]
    server = world.redis["eu-0"]
    server.pause()
    client.send(
        request("SET", gone, 1) + request("GET", gone) + request("SET", stays, 1) + request("MGET", gone, stays)
    )
    time.sleep(0.2)
    server.kill()
    written, read, fine, both = (decode(client.read()) for _ in range(4))
    assert "whether the command was carried out is unknown" in text(written)
    assert "nothing was changed" in text(read) and fine == Simple("OK") and "was lost" in text(both)
    eventually(lambda: text(client.ask("GET", gone)).startswith("MASTERDOWN"))
    assert client.ask("GET", stays) == b"1"
    assert text(client.ask("MGET", gone, stays)).startswith("MASTERDOWN")
    assert "eu-0" in text(client.ask("DBSIZE"))
    server.launch()
    server.wait_ready()
    assert eventually(lambda: client.ask("SET", gone, 1) == Simple("OK"))
    assert client.ask("MGET", gone, stays) == [b"1", b"1"]


def test_a_server_that_hangs_is_given_up(world: World):
    fairlead = world.kept({"shards": {name: {"redis": {"deadline": "300ms"}} for name in world.redis}})
    client = raw(fairlead)
    gone = keys_on(world)["eu-0"]
    world.redis["eu-0"].pause()
    try:
        begun = time.monotonic()
        assert "was lost" in text(client.ask("GET", gone))
        assert time.monotonic() - begun < 5
    finally:
        world.redis["eu-0"].resume()
    assert eventually(lambda: client.ask("GET", gone) is None)
