"""The policy over Redis keys: the rows' verdicts, and nothing told of what is not open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.layout import region_id
from loadtest.world.placement import shard_of_id
from loadtest.world.world import World
from router.redis.resp import Error, Simple, request
from tests.proxy.redis.raw import Raw

pytestmark = pytest.mark.world(regions=2, redis=True)

ROWS = {"eu": region_id("eu", 3), "us": region_id("us", 3)}
FIELDS = ("id", "name", "email", "country", "balance", "created_at")
SUBJECTS = ("clerk", "analyst", "auditor", "courier", "stranger")
USERS = {
    name: {
        "password": {"value": name},
        "grants": [{"on": "*.*", "verbs": ["all"]}],
        "default_database": "shop",
        "redis": "admin",
    }
    for name in SUBJECTS
}
POLICY = {
    "domains": {
        "eea": {"regions": ["eu"], "token_key": {"value": "k" * 32}},
        "usa": {"regions": ["us"], "token_key": {"value": "u" * 32}},
    },
    "labels": {
        "plain": "public",
        "shop": {
            "classes": "public",
            "tables": {
                "customers": {
                    "classes": "public",
                    "columns": {
                        "name": "sensitive",
                        "email": {"classes": "personal", "mask": "email"},
                        "balance": "pseudonymous",
                        "created_at": {"classes": "internal", "mask": "year"},
                    },
                    "person": "id",
                },
            },
        },
    },
    "subjects": {
        "clerks": {"users": ["clerk"], "domain": "eea"},
        "analysts": {"users": ["analyst"], "domain": "usa"},
        "auditors": {"users": ["auditor"], "domain": "usa", "roles": ["audit"]},
        "couriers": {"users": ["courier"], "domain": "eea", "purpose": "delivery"},
    },
    "rules": {
        "masked-abroad": {"classes": ["personal", "internal"], "homes": "eea", "domains": "usa", "then": "mask"},
        "counted-abroad": {"classes": "pseudonymous", "homes": "eea", "domains": "usa", "then": "aggregate(3)"},
        "audit": {"homes": "eea", "domains": "usa", "roles": "audit", "then": "allow"},
        "audit-names": {
            "classes": "sensitive", "homes": "eea", "domains": "usa", "roles": "audit", "then": "tokenise",
        },
        "couriers": {
            "classes": "personal", "homes": "usa", "domains": "eea", "purposes": "delivery", "then": "send_home",
            "operations": ["read", "write"],
        },
    },
}  # fmt: skip
PATTERNS = {
    "customer": {"columns": {one: one for one in FIELDS}, "classes": "sensitive"},
    "cart": {"classes": "personal"},
    "note": {"prefix": "note:", "fields": [1], "table": "shop.customers", "classes": "public"},
}
CHANGES = {"users": USERS, "policy": POLICY, "redis": {"patterns": PATTERNS, "unmatched_classes": "public"}}


@pytest.fixture
def fairleads(world: World) -> dict[str, Fairlead]:
    return {region: world.kept(CHANGES, region=region) for region in ROWS}


@contextmanager
def as_user(member: Fairlead, user: str, protocol: int = 2) -> Iterator[Raw]:
    connection = Raw(member.redis_port, login=False)
    greeting = connection.ask("HELLO", protocol, "AUTH", user, user)
    assert not isinstance(greeting, Error), greeting
    yield connection
    connection.close()


def key_of(home: str) -> str:
    return f"customer:{ROWS[home]}"


@pytest.fixture(autouse=True)
def rows(world: World) -> dict[str, dict[str, str]]:
    """The rows, and the same as hashes on the servers beside them."""
    found = {}
    for home, number in ROWS.items():
        shard = shard_of_id(world.shape, number)
        query = f"SELECT {', '.join(FIELDS)} FROM shop.customers WHERE id = {number}"
        (row,) = world.shards[shard].primary.query(query)
        found[home] = dict(zip(FIELDS, map(str, row), strict=True))
        words = [word for pair in found[home].items() for word in pair]
        server = Raw(world.redis[shard].port, login=False)
        assert server.ask("HSET", key_of(home), *words, "extra", "more") == len(FIELDS) + 1
        server.ask("SET", f"note:{number}", "public")
        server.close()
    return found


def refusal(reply: Any) -> str:
    assert isinstance(reply, Error), reply
    return reply.text


# --- a hash of which a part is open -------------------------------------------------------------------------


@pytest.fixture
def analyst(fairleads: dict[str, Fairlead]) -> Iterator[Raw]:
    """Of eu's customers id and country are open to it, email and created_at masked; the rest is not."""
    with as_user(fairleads["eu"], "analyst") as one:
        yield one


@pytest.fixture
def clerk(fairleads: dict[str, Fairlead]) -> Iterator[Raw]:
    with as_user(fairleads["eu"], "clerk") as one:
        yield one


@pytest.fixture
def shown(rows: dict[str, dict[str, str]]) -> dict[bytes, bytes]:
    """What the analyst gets of the hash."""
    row = rows["eu"]
    name, _, domain = row["email"].partition("@")
    masked = {"email": f"{name[:1] if len(name) > 1 else ''}***@{domain}"}
    masked["created_at"] = row["created_at"][:4] + "-01-01 00:00:00"
    return {one.encode(): (masked.get(one) or row[one]).encode() for one in FIELDS if one not in ("name", "balance")}


KEY = key_of("eu")


@pytest.mark.parametrize("protocol", [2, 3])
def test_commands_over_all_fields_give_the_open_ones(
    fairleads: dict[str, Fairlead], shown: dict[bytes, bytes], protocol: int
):
    with as_user(fairleads["eu"], "analyst", protocol) as one:
        found = one.ask("HGETALL", KEY)
        assert (found if protocol == 3 else dict(zip(found[::2], found[1::2], strict=True))) == shown
        assert sorted(one.ask("HKEYS", KEY)) == sorted(shown)
        assert sorted(one.ask("HVALS", KEY)) == sorted(shown.values())
        cursor, items = one.ask("HSCAN", KEY, 0, "COUNT", 1)
        assert cursor == b"0" and dict(zip(items[::2], items[1::2], strict=True)) == shown
        assert one.ask("HSCAN", KEY, 0, "MATCH", "c[a-o]*") == [b"0", [b"country", shown[b"country"]]]
        assert one.ask("HRANDFIELD", KEY) in shown
        assert sorted(one.ask("HRANDFIELD", KEY, 99)) == sorted(shown)
        assert set(one.ask("HRANDFIELD", KEY, -50)) <= set(shown)
        pairs = one.ask("HRANDFIELD", KEY, 99, "WITHVALUES")
        assert dict(pairs if protocol == 3 else zip(pairs[::2], pairs[1::2], strict=True)) == shown
        absent = f"customer:{ROWS['eu'] + 900}"
        assert one.ask("HGETALL", absent) == ({} if protocol == 3 else [])
        assert one.ask("HRANDFIELD", absent) is None and one.ask("HRANDFIELD", absent, 5) == []


def test_named_fields_are_shown_masked_or_refused(analyst: Raw, shown: dict[bytes, bytes]):
    assert analyst.ask("HMGET", KEY, "email", "id", "email") == [shown[b"email"], shown[b"id"], shown[b"email"]]
    assert analyst.ask("HSTRLEN", KEY, "email") == len(shown[b"email"])
    assert analyst.ask("HEXISTS", KEY, "email") == 1
    for command in (
        ("HGET", KEY, "name"), ("HMGET", KEY, "id", "name"), ("HGET", KEY, "extra"), ("HEXISTS", KEY, "name"),
        ("HSTRLEN", KEY, "balance"), ("HSET", KEY, "name", "x"), ("HINCRBYFLOAT", KEY, "balance", 1),
        ("HSET", KEY, "email", "x"), ("HDEL", KEY, "extra"),
    ):  # fmt: skip
        text = refusal(analyst.ask(*command))
        assert text.startswith("NOPERM FL2101 ") and "customer" in text, command
    assert "field 'name'" in refusal(analyst.ask("HGET", KEY, "name"))


def test_what_would_show_the_whole_hash_is_refused(analyst: Raw):
    for command in (
        ("HLEN", KEY), ("DUMP", KEY), ("OBJECT", "ENCODING", KEY), ("MEMORY", "USAGE", KEY), ("COPY", KEY, "page"),
        ("RENAME", KEY, f"{KEY}:x"), ("SORT", KEY), ("WATCH", KEY), ("STRLEN", KEY), ("GETDEL", KEY), ("SET", KEY, 1),
        ("MGET", "page", KEY), ("MSET", "page", 1, KEY, 2), ("BLPOP", KEY, 0),
        ("RESTORE", KEY, 0, "x"),
    ):  # fmt: skip
        assert "FL2101" in refusal(analyst.ask(*command)), command
    assert analyst.ask("EXISTS", KEY) == 1 and analyst.ask("TYPE", KEY) == Simple("hash")
    assert analyst.ask("TTL", KEY) == -1 and analyst.ask("HGET", KEY, "id") == str(ROWS["eu"]).encode()


def test_at_home_all_of_it(clerk: Raw, rows: dict[str, dict[str, str]]):
    found = clerk.ask("HGETALL", KEY)
    assert {k.decode(): v.decode() for k, v in zip(found[::2], found[1::2], strict=True)} == {
        **rows["eu"], "extra": "more",
    }  # fmt: skip
    assert clerk.ask("HLEN", KEY) == len(FIELDS) + 1
    assert clerk.ask("EVAL", "return redis.call('HLEN', KEYS[1])", 1, KEY) == len(FIELDS) + 1


def test_a_transaction_over_a_part(analyst: Raw, shown: dict[bytes, bytes]):
    assert analyst.ask("MULTI") == Simple("OK")
    assert analyst.ask("HGET", KEY, "country") == Simple("QUEUED")
    assert analyst.ask("EXEC") == [shown[b"country"]]
    for command in (("HGET", KEY, "email"), ("HGETALL", KEY), ("HGET", KEY, "name"), ("GET", KEY)):
        analyst.ask("MULTI")
        assert refusal(analyst.ask(*command))
        assert refusal(analyst.ask("EXEC")).startswith("EXECABORT")


# --- what tells of keys without naming them -----------------------------------------------------------------


def test_keys_that_may_not_be_known_are_not_listed(analyst: Raw, clerk: Raw):
    note, cart = f"note:{ROWS['eu']}", f"cart:{{{ROWS['eu']}}}"
    assert clerk.ask("SET", cart, "full") == Simple("OK")
    assert clerk.ask("SET", "page", 1) == Simple("OK")
    everything = {KEY.encode(), note.encode(), cart.encode(), b"page"}
    assert set(clerk.ask("KEYS", "*")) == everything
    assert set(analyst.ask("KEYS", "*")) == everything - {cart.encode()}
    found, cursor = set(), b"0"
    while True:
        cursor, keys = analyst.ask("SCAN", cursor)
        found |= set(keys)
        if cursor == b"0":
            break
    assert found == everything - {cart.encode()}
    assert clerk.ask("DBSIZE") == 4
    for command in (("DBSIZE",), ("RANDOMKEY",), ("EVAL", "return 1", 1, "page"), ("FLUSHALL",), ("SLOWLOG", "GET")):
        assert "FL2101" in refusal(analyst.ask(*command)), command
    assert refusal(analyst.ask("EXISTS", cart)) == refusal(analyst.ask("EXISTS", f"cart:{{{ROWS['eu'] + 1}}}"))


def test_channels_are_what_keys_of_their_names_would_be(analyst: Raw, clerk: Raw):
    assert analyst.ask("SUBSCRIBE", "news")[0] == b"subscribe"
    assert analyst.ask("UNSUBSCRIBE")[0] == b"unsubscribe"
    cart = f"cart:{{{ROWS['eu']}}}"
    for command in (
        ("SUBSCRIBE", cart), ("SSUBSCRIBE", cart), ("PSUBSCRIBE", "c*"), ("PUBLISH", cart, "x"),
        ("SPUBLISH", cart, "x"), ("SUBSCRIBE", "__keyevent@0__:set"), ("PUBSUB", "NUMSUB", cart), ("PUBSUB", "NUMPAT"),
    ):  # fmt: skip
        assert "FL2101" in refusal(analyst.ask(*command)), command
    assert clerk.ask("SUBSCRIBE", cart)[0] == b"subscribe"
    assert analyst.ask("PUBSUB", "CHANNELS") == []
    assert clerk.ask("UNSUBSCRIBE")[0] == b"unsubscribe"


def test_values_do_not_sink_into_lower_classes(clerk: Raw):
    number = ROWS["eu"]
    cart, note = f"cart:{{{number}}}", f"note:{number}"
    clerk.ask("SET", cart, "full")
    for command in (("COPY", cart, note), ("RENAME", cart, note), ("BITOP", "OR", note, cart)):
        assert "FL2106" in refusal(clerk.ask(*command)), command
    assert clerk.ask("COPY", note, f"{note}:x") == 1
    assert clerk.ask("COPY", note, f"{cart}:x") == 1
    assert clerk.ask("COPY", cart, f"{cart}:y") == 1


COMMANDS = [
    ("GET", 1), ("SET", 1, "x"), ("SET", 1, "x", "NX"), ("SET", 1, "x", "EX", 9), ("APPEND", 1, "x"), ("DEL", 1),
    ("EXISTS", 1), ("TTL", 1), ("EXPIRE", 1, 9), ("STRLEN", 1), ("MGET", 1, 1), ("MSET", 1, "x"), ("HGET", 1, "id"),
    ("HGET", 1, "name"), ("HSET", 1, "name", "x"), ("HSET", 1, "id", "x"), ("HLEN", 1), ("LPUSH", 1, "x"),
    ("SMEMBERS", 1), ("ZADD", 1, 1, "x"), ("RENAME", 1, 1), ("OBJECT", "ENCODING", 1), ("XADD", 1, "*", "a", "b"),
]  # fmt: skip


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_relay_decides_as_python_does(fairleads: dict[str, Fairlead], subject: str):
    """What is queued in MULTI is decided in Python, what is not, by the relay's bits."""
    number = ROWS["eu"] + 901
    with as_user(fairleads["eu"], subject) as one:
        for key in (f"customer:{number}", f"cart:{{{number}}}", f"note:{number}", "page", f"order-{number}-x"):
            for command in COMMANDS:
                words = [key if word == 1 else word for word in command]
                one.send(request("MULTI") + request(*words) + request("DISCARD") + request(*words))
                _, queued, _, direct = (one.read() for _ in range(4))
                said = b"FL21" in direct
                assert said == (b"FL21" in queued), (words, queued, direct)
