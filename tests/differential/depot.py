"""The data of the differential tests of writes over shards: a keyspace within one region, whose commits are atomic.

Every table's rows are on two shards; `placed` says where, computed from docs/sharding.md alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import xxhash

KEYSPACE = "depot"
SHARDS = ("eu-0", "eu-1")
NAMES = ["Ada", "Çağla", 'Eve "E"', "Back\\slash", "it's", "日本", "", "zoë "]

SCHEMA = [
    """CREATE TABLE parcels (
        id BIGINT NOT NULL PRIMARY KEY,
        shelf INT NOT NULL DEFAULT 0,
        label VARCHAR(40) NOT NULL,
        code VARCHAR(10) CHARACTER SET latin1 NULL,
        weight DECIMAL(12,3) NULL,
        price DOUBLE NULL,
        ratio FLOAT NULL,
        packed DATETIME(6) NULL,
        sent TIMESTAMP NULL,
        touched TIMESTAMP(6) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(6),
        kind ENUM('new','old','vip') NOT NULL DEFAULT 'new',
        tags SET('a','b','c') NOT NULL DEFAULT '',
        mask BIT(9) NULL,
        note TEXT NULL,
        raw VARBINARY(40) NULL,
        day DATE NULL,
        at TIME(2) NULL,
        made YEAR NULL,
        twice INT GENERATED ALWAYS AS (shelf * 2) STORED,
        longer INT GENERATED ALWAYS AS (shelf + 1) VIRTUAL,
        KEY (shelf))""",
    """CREATE TABLE wares (
        parcel_id BIGINT NOT NULL,
        n INT NOT NULL,
        item VARCHAR(20) NOT NULL,
        qty INT UNSIGNED NOT NULL DEFAULT 1,
        PRIMARY KEY (parcel_id, n),
        UNIQUE KEY once (parcel_id, item),
        CHECK (qty < 1000))""",
    """CREATE TABLE shelves (
        name VARCHAR(20) COLLATE utf8mb4_general_ci NOT NULL PRIMARY KEY,
        room INT NOT NULL DEFAULT 1)""",
    """CREATE TABLE counted (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        parcel_id BIGINT NOT NULL,
        what VARCHAR(20) NOT NULL)""",
    "CREATE TABLE watched (id BIGINT NOT NULL PRIMARY KEY, n INT NOT NULL)",
    "CREATE TRIGGER watching BEFORE UPDATE ON watched FOR EACH ROW SET NEW.n = NEW.n + 1",
    """CREATE TABLE owners (id BIGINT NOT NULL PRIMARY KEY, n INT NOT NULL)""",
    """CREATE TABLE owned (id BIGINT NOT NULL PRIMARY KEY, n INT NULL, FOREIGN KEY (id) REFERENCES owners (id))""",
    "CREATE TABLE rooms (room INT NOT NULL PRIMARY KEY, title VARCHAR(20) NOT NULL)",
]  # fmt: skip
TABLES = ("parcels", "wares", "shelves", "counted", "watched", "owners", "owned", "rooms")
KEPT = ("parcels", "wares", "shelves", "counted", "watched", "rooms")
"""Those that tests change."""

CONFIG: dict[str, Any] = {
    "shards": list(SHARDS),
    "vindexes": {"by_parcel": {"function": "hash"}, "by_name": {"function": "hash"}},
    "tables": {
        "parcels": {"kind": "sharded", "vindex": "by_parcel", "columns": ["id"]},
        "wares": {"kind": "sharded", "vindex": "by_parcel", "columns": ["parcel_id"]},
        "shelves": {"kind": "sharded", "vindex": "by_name", "columns": ["name"]},
        "counted": {
            "kind": "sharded", "vindex": "by_parcel", "columns": ["parcel_id"],
            "auto_increment": {"kind": "block", "column": "id", "on": "eu-1", "size": 10},
        },
        "watched": {"kind": "sharded", "vindex": "by_parcel", "columns": ["id"]},
        "owners": {"kind": "sharded", "vindex": "by_parcel", "columns": ["id"]},
        "owned": {"kind": "sharded", "vindex": "by_parcel", "columns": ["id"]},
        "rooms": {"kind": "reference"},
    },
}  # fmt: skip

KEYS = {"parcels": 0, "wares": 0, "shelves": 0, "counted": 1, "watched": 0}
"""Where the shard key stands in a row."""
GIVEN = "id, shelf, label, code, weight, price, ratio, packed, sent, kind, tags, mask, note, raw, day, at, made"
"""The columns of `parcels` that rows have values for."""
COLUMNS = {
    "parcels": GIVEN.replace("sent", "UNIX_TIMESTAMP(sent), touched IS NULL") + ", twice, longer",
    "counted": "id, parcel_id, what",
}
"""What of a table has to be alike; the moment of a change is not."""


def home(value: int | str) -> str:
    """The shard of a key."""
    data = value.to_bytes(8, "little", signed=True) if isinstance(value, int) else value.rstrip(" ").lower().encode()
    return SHARDS[(xxhash.xxh64_intdigest(data, 0) >> 52) * len(SHARDS) // 4096]


def ids(count: int, shard: str, first: int = 1) -> list[int]:
    """The first so many keys of a shard, from `first` on."""
    return [key for key in range(first, first + 20 * count) if home(key) == shard][:count]


def names() -> dict[str, int]:
    """What names in cases stand for: keys of either shard, and new ones."""
    a, b = ids(4, "eu-0"), ids(4, "eu-1")
    fresh_a, fresh_b = ids(4, "eu-0", 1000), ids(4, "eu-1", 1000)
    return {
        **{f"a{n}": key for n, key in enumerate(a)}, **{f"b{n}": key for n, key in enumerate(b)},
        **{f"new_a{n}": key for n, key in enumerate(fresh_a)}, **{f"new_b{n}": key for n, key in enumerate(fresh_b)},
    }  # fmt: skip


def rows() -> Iterator[tuple[str, str, list[tuple[Any, ...]]]]:
    """(table, columns, rows), the same at every call."""
    keys = sorted([*ids(8, "eu-0"), *ids(8, "eu-1")])
    yield "parcels", GIVEN, [_parcel(at, key) for at, key in enumerate(keys)]
    wares = [(key, n, f"item {n}", (key * n) % 7) for key in keys for n in range(1, 1 + key % 4)]
    yield "wares", "parcel_id, n, item, qty", wares
    yield "shelves", "name, room", [(f"Shelf {n}", n % 3) for n in range(12)]
    yield "counted", "id, parcel_id, what", [(n, key, f"what {n}") for n, key in enumerate(keys, 1)]
    yield "watched", "id, n", [(key, 0) for key in keys[:4]]
    yield "owners", "id, n", [(key, 0) for key in keys[:4]]
    yield "owned", "id, n", [(key, 0) for key in keys[:4]]
    yield "rooms", "room, title", [(0, "cellar"), (1, "hall"), (2, "attic")]


def _parcel(at: int, key: int) -> tuple[Any, ...]:
    return (key, at % 5, NAMES[at % len(NAMES)], *(one[at % len(one)] for one in VALUES))


VALUES: list[list[Any]] = [
    [None, "Grüße", "x"],
    [None, "1.500", "-0.001", "123456789.125"],
    [None, 0.1, -1e300, 1 / 3],
    [0.1, None, 16777216.0],
    [None, "2026-11-21 01:02:03.456789"],
    [None, "2026-10-25 00:30:00", "2038-01-01 00:00:00"],
    ["new", "old", "vip"],
    ["", "a", "a,c"],
    [None, b"\x01\xff", b"\x00\x05"],
    [None, "", "line\nbreak 🚢", "tab\t'\\"],
    [None, b"", b"\x00\x01\xff'\"\\"],
    [None, "2000-02-29"],
    [None, "-12:30:01.25", "838:59:59"],
    [None, 2026, 1901],
]
"""Of the columns from `code` on."""
