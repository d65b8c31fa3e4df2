"""The data of the differential tests: tables of every kind over four shards of two regions, and typed columns.

Ids are home << 40 | n: eu is 1, us is 2.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

KEYSPACE = "bazaar"
SHARDS = ("eu-0", "eu-1", "us-0", "us-1")
EU, US = 1 << 40, 2 << 40
BUYERS = 24
"""Per region."""
COUNTRIES = [("DE", "Germany", "EUR"), ("SE", "Sweden", "SEK"), ("US", "United States", "USD"), ("JP", "日本", "JPY")]
SETTINGS = [("currency", "EUR"), ("motto", "it's 5 o'clock"), ("percent", "100 %")]
NAMES = ["Ada", "Bruno", "Çağla", "D'Arcy", 'Eve "E"', "Back\\slash", "Grüße", "ada", "Zoë ", "", "日本", "%_"]
KINDS = ["new", "old", "vip"]

SCHEMA = [
    """CREATE TABLE buyers (
        id BIGINT NOT NULL PRIMARY KEY,
        name VARCHAR(60) NOT NULL,
        email VARCHAR(100) NOT NULL DEFAULT 'none',
        country CHAR(2) NOT NULL,
        score DOUBLE NULL,
        credit DECIMAL(12,2) NOT NULL DEFAULT 0,
        born DATE NULL,
        seen DATETIME(6) NULL,
        kind ENUM('new','old','vip') NOT NULL DEFAULT 'new',
        tags SET('a','b','c') NOT NULL DEFAULT '',
        mask BIT(8) NULL,
        note TEXT NULL,
        raw VARBINARY(40) NULL,
        small TINYINT UNSIGNED NULL,
        KEY name (name))""",
    """CREATE TABLE purchases (
        buyer_id BIGINT NOT NULL,
        n INT NOT NULL,
        item VARCHAR(40) NOT NULL,
        amount DECIMAL(10,2) NOT NULL DEFAULT 1.5,
        qty INT UNSIGNED NOT NULL DEFAULT 1,
        PRIMARY KEY (buyer_id, n),
        UNIQUE KEY item_once (buyer_id, item))""",
    """CREATE TABLE items (
        sku VARCHAR(20) COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
        title VARCHAR(60) NOT NULL,
        price DECIMAL(8,2) NULL)""",
    """CREATE TABLE codes (
        code VARCHAR(12) COLLATE utf8mb4_general_ci NOT NULL PRIMARY KEY,
        used INT NOT NULL DEFAULT 0)""",
    """CREATE TABLE years (
        y INT NOT NULL PRIMARY KEY,
        label VARCHAR(20) NOT NULL)""",
    """CREATE TABLE visits (
        country CHAR(2) COLLATE utf8mb4_bin NOT NULL,
        user_id INT UNSIGNED NOT NULL,
        hits INT NOT NULL DEFAULT 0,
        PRIMARY KEY (country, user_id))""",
    """CREATE TABLE countries (
        code CHAR(2) NOT NULL PRIMARY KEY,
        name VARCHAR(80) NOT NULL,
        currency CHAR(3) NOT NULL)""",
    """CREATE TABLE settings (
        name VARCHAR(64) NOT NULL PRIMARY KEY,
        value VARCHAR(255) NOT NULL)""",
    """CREATE TABLE bills (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        buyer_id BIGINT NOT NULL,
        note VARCHAR(40) NOT NULL DEFAULT 'none',
        amount INT NULL,
        UNIQUE KEY note_once (buyer_id, note))""",
]
TABLES = ("buyers", "purchases", "items", "codes", "years", "visits", "countries", "settings", "bills")
REFERENCE, PINNED = ("countries",), ("settings",)

CONFIG: dict[str, Any] = {
    "shards": list(SHARDS),
    "multi_shard_writes": "best_effort",
    "scratch": ["eu-0", "us-0"],
    "vindexes": {
        "by_home": {"function": "region_bits", "shift": 40, "bits": 8, "regions": {"eu": 1, "us": 2}},
        "by_text": {"function": "hash"},
        "by_code": {"function": "hash"},
        "by_year": {
            "function": "range",
            "ranges": [
                {"shard": "eu-0", "below": 0},
                {"shard": "eu-1", "below": 2000},
                {"shard": "us-0", "below": 2010},
                {"shard": "us-1"},
            ],
        },
        "by_place": {"function": "region_hash", "regions": {"eu": ["DE", "SE"], "us": ["US"]}},
    },
    "tables": {
        "buyers": {"kind": "sharded", "vindex": "by_home", "columns": ["id"]},
        "purchases": {"kind": "sharded", "vindex": "by_home", "columns": ["buyer_id"]},
        "items": {"kind": "sharded", "vindex": "by_text", "columns": ["sku"]},
        "codes": {"kind": "sharded", "vindex": "by_code", "columns": ["code"]},
        "years": {"kind": "sharded", "vindex": "by_year", "columns": ["y"]},
        "visits": {"kind": "sharded", "vindex": "by_place", "columns": ["country", "user_id"]},
        "countries": {"kind": "reference"},
        "settings": {"kind": "pinned", "shard": "eu-0"},
        "bills": {
            "kind": "sharded", "vindex": "by_home", "columns": ["buyer_id"],
            "auto_increment": {"kind": "block", "column": "id", "on": "eu-1", "size": 10},
        },
    },
}

Rows = list[tuple[Any, ...]]


def buyer_ids() -> list[int]:
    return [home + number for home in (EU, US) for number in range(1, BUYERS + 1)]


def skus() -> list[str]:
    return [f"sku-{number}" for number in range(20)] + ["SKU-1", "sku-1 x", "größe", "q'uote", "back\\slash"]


def codes() -> list[str]:
    return [f"Code{number}" for number in range(12)] + ["UPPER", "lower", "5", "05"]


def years() -> list[int]:
    return [-50, -1, 0, 1, 1066, 1999, 2000, 2005, 2009, 2010, 2026]


def visits() -> list[tuple[str, int]]:
    return [(country, user) for country in ("DE", "SE", "US") for user in (0, 1, 2, 3, 4, 5, 2**32 - 1)]


def rows() -> Iterator[tuple[str, Rows]]:
    """(table, all its rows), the same at every call."""
    dice = random.Random(20261121)
    yield "buyers", [_buyer(dice, key) for key in buyer_ids()]
    yield "purchases", [purchase for key in buyer_ids() for purchase in _purchases(dice, key)]
    yield "items", [(sku, f"Title {sku}", dice.choice([None, "9.99", "0.00", "-1.50"])) for sku in skus()]
    yield "codes", [(code, dice.randrange(5)) for code in codes()]
    yield "years", [(year, f"year {year}") for year in years()]
    yield "visits", [(country, user, dice.randrange(9)) for country, user in visits()]
    yield "countries", [*COUNTRIES]
    yield "settings", [*SETTINGS]


def _buyer(dice: random.Random, key: int) -> tuple[Any, ...]:
    name = dice.choice(NAMES)
    return (
        key,
        name,
        f"{key & 0xFF}@{'eu' if key < US else 'us'}.example",
        dice.choice(["DE", "SE", "US", "JP", "XX"]),
        dice.choice([None, 0.0, -1.5, 1e10, 0.1]),
        dice.choice(["0.00", "12.30", "-5.00", "9999999999.99"]),
        dice.choice([None, "1970-01-01", "2000-02-29"]),
        dice.choice([None, "2026-11-21 01:02:03.456789", "1999-12-31 23:59:59"]),
        dice.choice(KINDS),
        dice.choice(["", "a", "a,b", "c"]),
        dice.choice([None, b"\x00", b"\x05", b"\xff"]),
        dice.choice([None, "", "line\nbreak", "tab\t", "ünïcödé 🚢"]),
        dice.choice([None, b"", b"\x00\x01\xff'\"\\"]),
        dice.choice([None, 0, 5, 255]),
    )


def _purchases(dice: random.Random, key: int) -> Rows:
    chosen = dice.sample(skus(), dice.randrange(0, 4))
    return [
        (key, number, sku, f"{dice.randrange(1, 900)}.50", dice.randrange(4)) for number, sku in enumerate(chosen, 1)
    ]
