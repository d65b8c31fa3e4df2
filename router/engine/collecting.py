"""Aggregates that collect the values of a group: GROUP_CONCAT, JSON_ARRAYAGG and JSON_OBJECTAGG.

Whoever asks for no order gets the values in that of the shards; one server's is arbitrary too. What a collector is fed
are cells of a shard's partial group, as they lie.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import itemgetter

from router.errors import refusal

Cells = Sequence[bytes | None]
VALUE_COST = 100
"""What a value that is kept costs besides its bytes, roughly."""


class Collector(ABC):
    """Of one group. `order` and `same`: keys of bytes by which values are ordered and told apart."""

    cut = False
    """Is the value shorter than its parts, as group_concat_max_len says?"""

    @abstractmethod
    def add(self, order: bytes, same: bytes, cells: Cells) -> int:
        """One part. Returns the bytes that are kept for it. Raises Refusal."""

    @abstractmethod
    def value(self) -> bytes | None:
        """The whole. Raises Refusal."""


class Texts(Collector):
    """GROUP_CONCAT. Cells: the value, how many rows have it, group_concat_max_len, the separator, the collation."""

    def __init__(self, *, binary: bool, distinct: bool) -> None:
        self._binary, self._distinct = binary, distinct
        self._found: list[tuple[bytes, bytes, int]] = []
        self._seen: set[bytes] = set()
        self._limit, self._separator, self._collation = 0, b",", b""

    def add(self, order: bytes, same: bytes, cells: Cells) -> int:
        value, count, limit, separator, collation = cells
        if value is None:
            return 0
        self._limit, self._separator = number(limit, binary=self._binary), separator or b""
        self._collation = collation or b""
        if self._distinct and same in self._seen:
            return 0
        self._seen.add(same)
        repeated = 1 if self._distinct else number(count, binary=self._binary)
        self._found.append((order, value, repeated))
        return len(order) + len(same) + len(value) + VALUE_COST

    def value(self) -> bytes | None:
        if not self._found:
            return None
        self._found.sort(key=itemgetter(0))
        out = bytearray()
        for _, value, repeated in self._found:
            for _ in range(repeated):
                out += value + self._separator
                if len(out) > self._limit + len(self._separator):
                    return self._shortened(bytes(out))
        del out[len(out) - len(self._separator) :]
        return bytes(out)

    def _shortened(self, whole: bytes) -> bytes:
        """Cut where the server cuts: behind a whole character. Raises Refusal when its bytes are not those of ours."""
        self.cut = True
        charset = self._collation.partition(b"_")[0]
        if charset == b"binary":
            return whole[: self._limit]
        if charset not in (b"utf8mb4", b"utf8mb3", b"utf8", b"ascii") and not whole.isascii():
            raise refusal("AGGREGATE_SCATTER", "GROUP_CONCAT (of text that is cut)")
        return whole[: self._limit].decode("utf-8", "ignore").encode()


class JsonArray(Collector):
    """JSON_ARRAYAGG. Cells: a shard's array, group_concat_max_len, which MariaDB cuts it by (`limited`)."""

    def __init__(self, *, binary: bool, limited: bool) -> None:
        self._binary, self._limited = binary, limited
        self._parts: list[bytes] = []
        self._limit = 0

    def add(self, order: bytes, same: bytes, cells: Cells) -> int:
        array, limit = cells
        if array is None:
            return 0
        self._limit = number(limit, binary=self._binary)
        if self._limited and len(array) >= self._limit - LONGEST_CHARACTER:
            raise refusal("AGGREGATE_SCATTER", "JSON_ARRAYAGG (cut by group_concat_max_len)")
        self._parts.append(array[1:-1])
        return len(array) + VALUE_COST

    def value(self) -> bytes | None:
        if not self._parts:
            return None
        whole = b"[" + (b"," if self._limited else b", ").join(self._parts) + b"]"
        if self._limited and len(whole) >= self._limit - LONGEST_CHARACTER:
            raise refusal("AGGREGATE_SCATTER", "JSON_ARRAYAGG (cut by group_concat_max_len)")
        return whole


LONGEST_CHARACTER = 6
"""Bytes by which what is cut may be shorter than the limit."""


class JsonObject(Collector):
    """JSON_OBJECTAGG. Cells: a shard's object. MySQL keeps one value of a key, its keys by length and then by bytes;
    MariaDB keeps them all, as they come (`listed`)."""

    def __init__(self, *, listed: bool) -> None:
        self._listed = listed
        self._parts: list[str] = []

    def add(self, order: bytes, same: bytes, cells: Cells) -> int:
        (found,) = cells
        if found is None:
            return 0
        self._parts.append(found.decode("utf-8"))
        return len(found) + VALUE_COST

    def value(self) -> bytes | None:
        if not self._parts:
            return None
        if self._listed:
            return ("{" + ", ".join(part[1:-1] for part in self._parts if part != "{}") + "}").encode()
        members = {key: text for part in self._parts for key, text in members_of(part)}
        ordered = sorted(members, key=lambda key: (len(key.encode()), key.encode()))
        return ("{" + ", ".join(members[key] for key in ordered) + "}").encode()


def members_of(text: str) -> list[tuple[str, str]]:
    """(key, the member as it is written) of a JSON object as MySQL writes it."""
    decoder = json.JSONDecoder()
    found: list[tuple[str, str]] = []
    at = 1
    while text[at : at + 1] == '"':
        key, behind = decoder.raw_decode(text, at)
        _, end = decoder.raw_decode(text, behind + len(": "))
        found.append((key, text[at:end]))
        at = end + len(", ")
    return found


def number(cell: bytes | None, *, binary: bool) -> int:
    """Of a BIGINT."""
    if cell is None:
        return 0
    return int.from_bytes(cell, "little") if binary else int(cell)
