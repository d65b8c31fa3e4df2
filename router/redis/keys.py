"""The keys in a command, by Redis's key specifications; equal to COMMAND GETKEYSANDFLAGS.

https://redis.io/docs/latest/develop/reference/key-specs/
"""

from __future__ import annotations

from collections.abc import Iterator

from router.redis.table import TAKES_IN, Command, Spec


class BadKeys(ValueError):
    """The words do not hold the keys that they announce; Redis would answer with an error."""


def key_places(command: Command, arguments: list[bytes]) -> list[int]:
    """The positions of all keys, in the order of the specifications, none twice. Raises BadKeys."""
    if command.name in ("sort", "sort_ro"):
        return _sort_places(arguments)
    found: dict[int, None] = {}
    for spec in command.keys:
        for place in _places(spec, arguments):
            if not 0 < place < len(arguments):
                raise BadKeys
            found[place] = None
    return list(found)


def flows(command: Command, arguments: list[bytes]) -> tuple[list[int], list[int]]:
    """-> (positions of keys whose values may get elsewhere, positions of keys that they may get into)."""
    if command.name == "sort":
        places = _sort_places(arguments)
        return places[:1], places[1:]
    sources, targets = [], []
    for spec in command.keys:
        places = list(_places(spec, arguments))
        sources += places if "access" in spec["flags"] else []
        targets += places if not TAKES_IN.isdisjoint(spec["flags"]) else []
    return sources, targets


def _places(spec: Spec, arguments: list[bytes]) -> Iterator[int]:
    begin = _begin(spec, arguments)
    if begin is None or begin >= len(arguments):
        return
    find = spec["find"]
    if find["type"] == "keynum":
        first = begin + find["firstkey"]
        count = _number(arguments, begin + find["keynumidx"])
        yield from range(first, first + count * find["keystep"], find["keystep"])
        return
    yield from range(begin, _last(find, begin, len(arguments)) + 1, find["keystep"])


def _begin(spec: Spec, arguments: list[bytes]) -> int | None:
    begin = spec["begin"]
    if begin["type"] == "index":
        return int(begin["index"])
    word, start = begin["keyword"].encode().upper(), begin["startfrom"]
    places = range(start, len(arguments)) if start > 0 else range(len(arguments) + start, 0, -1)
    return next((place + 1 for place in places if arguments[place].upper() == word), None)


def _last(find: Spec, begin: int, count: int) -> int:
    last = int(find["lastkey"])
    if last >= 0:
        return begin + last
    if find["limit"] <= 1:
        return count + last
    return begin + (count - begin) // int(find["limit"]) - 1


def _number(arguments: list[bytes], place: int) -> int:
    """How many keys are announced. Redis reads these numbers as it reads every integer."""
    text = arguments[place] if place < len(arguments) else b""
    if not text.isdigit() or len(text) > 9 or (len(text) > 1 and text.startswith(b"0")):
        raise BadKeys
    return int(text)


def _sort_places(arguments: list[bytes]) -> list[int]:
    """SORT key … [STORE destination]; the last STORE counts (server.c, sortGetKeys)."""
    places, place = [1], 2
    store = None
    while place < len(arguments):
        word = arguments[place].upper()
        if word == b"STORE" and place + 1 < len(arguments):
            store = place + 1
        place += {b"LIMIT": 3, b"GET": 2, b"BY": 2, b"STORE": 2}.get(word, 1)
    return places if store is None else [*places, store]


def reads_elsewhere(command: Command, arguments: list[bytes]) -> bool:
    """SORT with BY or GET patterns reads keys that it does not name."""
    if command.name not in ("sort", "sort_ro"):
        return False
    place = 2
    while place + 1 < len(arguments):
        word, value = arguments[place].upper(), arguments[place + 1]
        if (word == b"BY" and b"*" in value) or (word == b"GET" and value != b"#"):
            return True
        place += {b"LIMIT": 3, b"GET": 2, b"BY": 2, b"STORE": 2}.get(word, 1)
    return False
