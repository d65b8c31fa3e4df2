"""Hashes of which the policy opens a part: which fields are asked for, and the reply that is made of them.

Commands that name fields get these fields or are refused; commands over all fields get those that are open, and
learn nothing of the others. The values come with HMGET; masked ones are replaced before anything is made of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from router.redis import errors
from router.redis.glob import matches
from router.redis.plan import Refused
from router.redis.resp import encode

Found = Mapping[bytes, bytes]
"""The fields that are there, with the values that may be shown, in the order of the declaration."""

WRITES: Mapping[str, Callable[[list[bytes]], list[bytes]]] = {
    "hset": lambda words: words[2::2],
    "hmset": lambda words: words[2::2],
    "hsetnx": lambda words: words[2:3],
    "hdel": lambda words: words[2:],
    "hincrby": lambda words: words[2:3],
    "hincrbyfloat": lambda words: words[2:3],
}
"""Command -> the fields that it changes."""
SHOWS_VALUE = frozenset({"hincrby", "hincrbyfloat"})
NAMED = frozenset({"hget", "hmget", "hexists", "hstrlen"})
"""Commands that read the fields that they name."""
ALL = frozenset({"hgetall", "hkeys", "hvals", "hscan", "hrandfield"})
"""Commands that read all fields."""


def named(name: str, words: list[bytes]) -> list[bytes]:
    return words[2:] if name == "hmget" else words[2:3]


def answer(name: str, words: list[bytes], found: Found, protocol: int) -> bytes:
    """The reply to a reading command. Raises Refused for words that Redis would not take."""
    return encode(_ANSWERS[name](words, found, protocol), protocol)


def _hget(words: list[bytes], found: Found, protocol: int) -> Any:
    return found.get(words[2])


def _hmget(words: list[bytes], found: Found, protocol: int) -> Any:
    return [found.get(one) for one in words[2:]]


def _hexists(words: list[bytes], found: Found, protocol: int) -> Any:
    return int(words[2] in found)


def _hstrlen(words: list[bytes], found: Found, protocol: int) -> Any:
    return len(found.get(words[2], b""))


def _hgetall(words: list[bytes], found: Found, protocol: int) -> Any:
    return dict(found)


def _hkeys(words: list[bytes], found: Found, protocol: int) -> Any:
    return list(found)


def _hvals(words: list[bytes], found: Found, protocol: int) -> Any:
    return list(found.values())


def _hscan(words: list[bytes], found: Found, protocol: int) -> Any:
    """All in one step, whatever COUNT says."""
    pattern, place = b"*", 3
    if not words[2].isdigit():
        raise Refused(errors.BAD_CURSOR)
    while place < len(words):
        option = words[place].upper()
        if option not in (b"MATCH", b"COUNT") or place + 1 == len(words):
            raise Refused(errors.SYNTAX)
        if option == b"MATCH":
            pattern = words[place + 1]
        place += 2
    seen = {} if int(words[2]) else {one: value for one, value in found.items() if matches(pattern, one)}
    return [b"0", [one for pair in seen.items() for one in pair]]


def _hrandfield(words: list[bytes], found: Found, protocol: int) -> Any:
    if len(words) == 2:
        return random.choice(list(found)) if found else None
    count = _whole(words[2])
    with_values = len(words) == 4 and words[3].upper() == b"WITHVALUES"
    if len(words) > (4 if with_values else 3):
        raise Refused(errors.SYNTAX)
    fields = list(found)
    if count < 0:
        if -count > MOST:
            raise Refused("ERR value is out of range")
        chosen = random.choices(fields, k=-count) if fields else []
    else:
        chosen = random.sample(fields, min(count, len(fields)))
    if not with_values:
        return chosen
    pairs = [[one, found[one]] for one in chosen]
    return pairs if protocol == 3 else [one for pair in pairs for one in pair]


MOST = 100_000
"""Fields that HRANDFIELD may repeat."""


def _whole(word: bytes) -> int:
    try:
        return int(word)
    except ValueError:
        raise Refused("ERR value is not an integer or out of range") from None


_ANSWERS: Mapping[str, Callable[[list[bytes], Found, int], Any]] = {
    "hget": _hget,
    "hmget": _hmget,
    "hexists": _hexists,
    "hstrlen": _hstrlen,
    "hgetall": _hgetall,
    "hkeys": _hkeys,
    "hvals": _hvals,
    "hscan": _hscan,
    "hrandfield": _hrandfield,
}
