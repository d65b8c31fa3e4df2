"""The data of the non-interference tests: three keyspaces, whose protected cells depend on the side.

`cells` (sharded) and `desk` (unsharded, on eu-0) have tables with columns of every verdict: what of a cell of the eu
is not to be seen by an analyst of the us differs between sides "a" and "b". Of tickets, and of all tables of `homes`,
no row of the eu is to be seen: there the rows themselves differ. What rules let through is alike: what a mask reveals,
and the values that are tokenised or counted over few persons, which only the sentinels guard.

Every text of a protected cell holds MARKER, and every counted amount is one of `AMOUNTS`.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from loadtest.world.dataset import Rows
from loadtest.world.layout import REGION_BITS, REGION_CODES, REGION_SHIFT, Shape, region_id

Side = Literal["a", "b"]
MARKER = "qzxjvk"
PERSONS = {"eu": 40, "us": 12}
FEW, ALL = 3, PERSONS["eu"] + 1
"""Least counts: of the class `counted`, and of `rare`, which no group of the eu ever reaches."""
CITIES = ("Berlin", "Lyon", "Malmö", "Porto", "Gdańsk", "Austin")
COUNTRIES = (("DE", "Germany"), ("FR", "France"), ("SE", "Sweden"), ("US", "United States"))
AMOUNTS = dict(
    enumerate((f"{n / 100:.2f}" for n in random.Random(5).sample(range(7_000_011, 9_999_999), PERSONS["eu"])), 1)
)
ELSEWHERE = tuple((f"{one}{other}", f"{one} of {other}") for one in "AXYZ" for other in string.ascii_uppercase)
"""Countries of nobody: of a handful of rows, servers read all whatever indexes there are."""
KEYSPACES = ("cells", "homes", "desk")

CUSTOMERS = (
    "id", "name", "email", "phone", "passport", "born", "pin", "nick", "card", "note", "hint", "balance", "credit",
    "country", "city", "score", "seen",
)  # fmt: skip

SCHEMA = [
    """CREATE TABLE customers (
        id BIGINT NOT NULL PRIMARY KEY,
        name VARCHAR(60) NOT NULL DEFAULT '',
        email VARCHAR(100) NULL,
        phone VARCHAR(40) NULL,
        passport VARCHAR(60) NULL,
        born DATE NULL,
        pin SMALLINT NULL,
        nick VARCHAR(60) NULL,
        card VARCHAR(60) NULL,
        note TEXT NULL,
        hint VARCHAR(60) NULL,
        balance DECIMAL(12,2) NULL,
        credit INT NULL,
        country CHAR(2) NULL,
        city VARCHAR(40) NULL,
        score INT NOT NULL DEFAULT 0,
        seen TIMESTAMP NULL,
        UNIQUE KEY passport (passport),
        UNIQUE KEY city_pin (city, pin),
        KEY email (email),
        KEY pin (pin),
        KEY born (born),
        KEY country (country)) STATS_AUTO_RECALC=0""",
    """CREATE TABLE orders (
        customer_id BIGINT NOT NULL,
        id INT NOT NULL,
        item VARCHAR(120) NOT NULL DEFAULT 'thing',
        amount DECIMAL(10,2) NOT NULL DEFAULT 1,
        status VARCHAR(16) NULL,
        PRIMARY KEY (customer_id, id),
        KEY status (status)) STATS_AUTO_RECALC=0""",
    """CREATE TABLE payments (
        customer_id BIGINT NOT NULL,
        id INT NOT NULL,
        amount INT NULL,
        method VARCHAR(16) NULL,
        PRIMARY KEY (customer_id, id),
        CONSTRAINT small CHECK (method <> 'cheque' OR amount < 500000)) STATS_AUTO_RECALC=0""",
    """CREATE TABLE tickets (
        customer_id BIGINT NOT NULL,
        id INT NOT NULL,
        title VARCHAR(80) NULL,
        PRIMARY KEY (customer_id, id),
        KEY title (title),
        CONSTRAINT whose FOREIGN KEY (customer_id) REFERENCES customers (id)) STATS_AUTO_RECALC=0""",
    """CREATE TABLE visits (
        customer_id BIGINT NOT NULL,
        at INT NOT NULL,
        secret INT NOT NULL) STATS_AUTO_RECALC=0
        PARTITION BY RANGE (secret) (PARTITION p0 VALUES LESS THAN (50), PARTITION p1 VALUES LESS THAN MAXVALUE)""",
    """CREATE TABLE notes (
        customer_id BIGINT NOT NULL,
        n INT NOT NULL,
        body VARCHAR(200) NULL,
        PRIMARY KEY (customer_id, n)) STATS_AUTO_RECALC=0""",
    "CREATE TABLE copies (id BIGINT NOT NULL PRIMARY KEY, what VARCHAR(200) NULL) STATS_AUTO_RECALC=0",
    "CREATE TABLE countries (code CHAR(2) NOT NULL PRIMARY KEY, name VARCHAR(60) NOT NULL) STATS_AUTO_RECALC=0",
    "CREATE VIEW people AS SELECT id, name, email, passport, country FROM customers",
    "CREATE FUNCTION peek(which BIGINT) RETURNS VARCHAR(100) READS SQL DATA "
    "RETURN (SELECT CONCAT(email, passport) FROM customers WHERE id = which)",
    "CREATE PROCEDURE show_people() SELECT id, passport, email FROM customers",
]
TABLES = ("customers", "orders", "payments", "tickets", "visits", "notes", "copies", "countries")
WRITTEN = ("customers", "orders", "payments", "visits", "notes", "countries")
"""Tables that statements of an analyst may change."""

_LABELS: dict[str, Any] = {
    "classes": "sensitive",
    "tables": {
        **dict.fromkeys(("orders", "notes", "countries"), "public"),
        "visits": {"classes": "public", "columns": {"secret": "sensitive"}},
        "payments": {"classes": "public", "columns": {"amount": "rare"}, "person": "customer_id"},
        "customers": {
            "classes": "public",
            "columns": {
                **dict.fromkeys(("name", "passport"), "sensitive"),
                "email": {"classes": "personal", "mask": "email"},
                "nick": {"classes": "personal", "mask": "first1"},
                "card": {"classes": "personal", "mask": "last4"},
                "note": {"classes": "personal", "mask": "constant"},
                "hint": {"classes": "personal", "mask": "null"},
                "pin": {"classes": "personal", "mask": "zero"},
                "born": {"classes": "personal", "mask": "year"},
                "seen": {"classes": "personal", "mask": "month"},
                "phone": "coded",
                "balance": "counted",
                "credit": "rare",
            },
            "person": "id",
        },
    },
}
_ABROAD = {"homes": "eea", "domains": "usa"}
POLICY: dict[str, Any] = {
    "domains": {
        "eea": {"regions": ["eu"], "token_key": {"value": "a key that is only good for a test"}},
        "usa": {"regions": ["us"]},
    },
    "classes": {
        **{name: {} for name in ("public", "counted", "rare", "coded")},
        "personal": {"replicas_in": ["home", "eea"]},  # so that the eu's scratch server may have rows of the us
        "sensitive": {},
    },
    "labels": {
        "cells": _LABELS,
        "desk": _LABELS,
        "homes": {"classes": "sensitive", "tables": {"countries": "public"}},
    },
    "subjects": {"analysts": {"users": ["analyst"], "domain": "usa"}, "clerks": {"users": ["clerk"], "domain": "eea"}},
    "rules": {
        "masked": {"classes": "personal", **_ABROAD, "then": "mask"},
        "coded": {"classes": "coded", **_ABROAD, "then": "tokenise"},
        "counted": {"classes": "counted", **_ABROAD, "then": f"aggregate({FEW})"},
        "rare": {"classes": "rare", **_ABROAD, "then": f"aggregate({ALL})"},
    },
}
_USER = {"password": {"value": "x"}, "grants": [{"on": "*.*", "verbs": ["all"]}], "default_database": "cells"}
CHANGES: dict[str, Any] = {
    "users": dict.fromkeys(("analyst", "clerk", "stranger"), _USER),
    "policy": POLICY,
    "health": {"schema": "1s"},
}


@dataclass(frozen=True)
class Estate:
    """One keyspace on one side."""

    database: str
    side: Side

    def shards(self, shape: Shape) -> list[str]:
        return ["eu-0"] if self.database == "desk" else shape.all_shards()

    def keyspace(self, shape: Shape) -> dict[str, Any]:
        if self.database == "desk":
            return {"shards": self.shards(shape)}
        regions = {region: REGION_CODES[region] for region in shape.regions}
        home = {"function": "region_bits", "shift": REGION_SHIFT, "bits": REGION_BITS, "regions": regions}
        by_id = {"kind": "sharded", "vindex": "by_home", "columns": ["id"]}
        by_person = {"kind": "sharded", "vindex": "by_home", "columns": ["customer_id"]}
        return {
            "shards": self.shards(shape),
            "multi_shard_writes": "best_effort",
            "scratch": self.shards(shape),
            "vindexes": {"by_home": home},
            "tables": {
                **dict.fromkeys(("customers", "copies"), by_id),
                **dict.fromkeys(("orders", "payments", "tickets", "visits", "notes"), by_person),
                "countries": {"kind": "reference"},
            },
        }

    def schema(self) -> list[str]:
        return SCHEMA

    def rows(self, shape: Shape, shard: str) -> Iterable[Rows]:
        region = shard.split("-")[0]
        made = Region(self.database, self.side, region)
        yield Rows("INSERT INTO countries VALUES (%s, %s)", COUNTRIES + ELSEWHERE)
        yield _rows("customers", [made.customer(n) for n in made.persons()])
        for table in ("orders", "payments", "tickets", "visits", "notes", "copies"):
            yield _rows(table, [row for n in made.persons() for row in getattr(made, table)(n)])


def _rows(table: str, rows: list[tuple[Any, ...]]) -> Rows:
    return Rows(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(rows[0]))})" if rows else "", rows)


@dataclass(frozen=True)
class Region:
    """The rows of one region of one keyspace on one side."""

    database: str
    side: Side
    region: str

    @property
    def hides_rows(self) -> bool:
        return self.database == "homes" and self.region == "eu"

    def persons(self) -> list[int]:
        """Numbers; an id is the region's bits and the number."""
        everyone = range(1, PERSONS[self.region] + 1)
        return [n for n in everyone if n % 4 != ord(self.side) % 4] if self.hides_rows else list(everyone)

    def _dice(self, *what: Any, shared: bool) -> random.Random:
        side = "both" if shared or self.region != "eu" else self.side
        return random.Random(repr((self.database, self.region, side, *what)))

    def _shared(self, *what: Any) -> random.Random:
        """What both sides have alike; in `homes` nothing of the eu is."""
        return self._dice(*what, shared=not self.hides_rows)

    def _secret(self, *what: Any) -> random.Random:
        return self._dice(*what, shared=False)

    def text(self, *what: Any, secret: bool = True) -> str:
        """A marker among letters, which only the cell's own side has if it is `secret`."""
        dice = self._secret(*what) if secret else self._shared(*what)
        marker = MARKER if self.region == "eu" else "open"
        letters = dice.choices(string.ascii_lowercase, k=dice.randrange(7, 30))
        return f"{letters[0]}{marker}{''.join(letters[1:])}"

    def customer(self, n: int) -> tuple[Any, ...]:
        shared, secret = self._shared("customer", n), self._secret("customer", n)
        first, last = shared.choice(string.ascii_lowercase), f"{shared.randrange(10000):04}"
        missing = shared.random() < 0.1
        return (
            region_id(self.region, n),
            self.text("name", n),
            None if missing else f"{first}{self.text('email', n)}@{self.region}.example",
            f"+{self.text('phone', n, secret=False)}",
            None if secret.random() < 0.2 else self.text("passport", n),
            f"{shared.randrange(1950, 2000)}-{secret.randrange(1, 13):02}-{secret.randrange(1, 29):02}",
            self.pin(n),
            f"{shared.choice(string.ascii_lowercase)}{self.text('nick', n)}",
            f"{self.text('card', n)}{last}",
            self.text("note", n),
            None if secret.random() < 0.5 else self.text("hint", n),
            AMOUNTS[n] if self.region == "eu" else f"{n}.25",
            secret.randrange(10_000, 1_000_000),
            shared.choice(COUNTRIES)[0],
            self.city(n),
            shared.randrange(100),
            f"2024-0{n % 9 + 1}-01 {secret.randrange(20):02}:30:00",
        )

    def city(self, n: int) -> str:
        return CITIES[n * 7 % 40 % len(CITIES)]

    def pin(self, n: int) -> int:
        """Of few that there are: nobody else has it in the city (its key says so), but somebody in another may."""
        neighbours = [one for one in range(1, n) if self.city(one) == self.city(n)]
        return 4993 + self._secret("pins", self.city(n)).sample(range(14), 14)[len(neighbours)]

    def orders(self, n: int) -> list[tuple[Any, ...]]:
        dice = self._shared("orders", n)
        return [
            (
                region_id(self.region, n), at, dice.choice(("kettle", "lamp", "compass")),
                f"{dice.randrange(1, 300)}.50", dice.choice(("new", "paid", None)),
            )
            for at in range(dice.randrange(1, 4))
        ]  # fmt: skip

    def payments(self, n: int) -> list[tuple[Any, ...]]:
        secret, dice = self._secret("payments", n), self._shared("payments", n)
        return [
            (region_id(self.region, n), at, secret.randrange(10_000, 1_000_000), dice.choice(("card", "cash")))
            for at in range(3)
        ]

    def tickets(self, n: int) -> list[tuple[Any, ...]]:
        secret = self._secret("tickets", n)
        return [(region_id(self.region, n), at, self.text("title", n, at)) for at in range(secret.randrange(4))]

    def visits(self, n: int) -> list[tuple[Any, ...]]:
        return [(region_id(self.region, n), at, self._secret("visit", n, at).randrange(100)) for at in range(2)]

    def notes(self, n: int) -> list[tuple[Any, ...]]:
        return [(region_id(self.region, n), 0, f"note {n}")] if n % 3 == 0 else []

    def copies(self, n: int) -> list[tuple[Any, ...]]:
        """What somebody at home copied, into a table that no label names."""
        return [(region_id(self.region, n), self.text("email", n))]
