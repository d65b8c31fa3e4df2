"""The shop: customers and their orders at home in a region, reference countries, settings on one shard."""

import functools
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from loadtest.world.dataset import Rows
from loadtest.world.layout import REGION_BITS, REGION_CODES, REGION_SHIFT, Shape, region_id
from loadtest.world.placement import shard_of_id

COUNTRIES = {
    "eu": [
        ("DE", "Germany", "EUR"),
        ("FR", "France", "EUR"),
        ("SE", "Sweden", "SEK"),
        ("PL", "Poland", "PLN"),
    ],
    "us": [("US", "United States", "USD"), ("CA", "Canada", "CAD"), ("MX", "Mexico", "MXN")],
    "ap": [("JP", "Japan", "JPY"), ("AU", "Australia", "AUD"), ("SG", "Singapore", "SGD")],
}
SETTINGS = [("currency", "EUR"), ("free_shipping_from", "49.00"), ("motto", "Every row at home")]
FIRST_NAMES = ("Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hana", "Ivo", "Jana", "Kofi")
LAST_NAMES = ("Almeida", "Berg", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Horvat", "Ito", "Jensen")
ITEMS = ("kettle", "lamp", "rucksack", "notebook", "headphones", "teapot", "blanket", "compass", "umbrella")
STATUSES = ("new", "paid", "shipped", "returned")
EPOCH = datetime(2026, 1, 1)
ALL_COUNTRIES = [country for listed in COUNTRIES.values() for country in listed]

Row = tuple[Any, ...]

SCHEMA = [
    """CREATE TABLE countries (
        code CHAR(2) NOT NULL PRIMARY KEY,
        name VARCHAR(80) NOT NULL,
        currency CHAR(3) NOT NULL)""",
    """CREATE TABLE settings (
        name VARCHAR(64) NOT NULL PRIMARY KEY,
        value VARCHAR(255) NOT NULL)""",
    """CREATE TABLE customers (
        id BIGINT NOT NULL PRIMARY KEY,
        name VARCHAR(100) NOT NULL,
        email VARCHAR(190) NOT NULL,
        country CHAR(2) NOT NULL,
        balance DECIMAL(12,2) NOT NULL DEFAULT 0,
        created_at DATETIME NOT NULL,
        KEY email (email))""",
    """CREATE TABLE orders (
        customer_id BIGINT NOT NULL,
        id BIGINT NOT NULL,
        item VARCHAR(100) NOT NULL,
        amount DECIMAL(10,2) NOT NULL,
        status VARCHAR(16) NOT NULL,
        created_at DATETIME NOT NULL,
        PRIMARY KEY (customer_id, id),
        KEY status (status))""",
]
INSERT_COUNTRY = "INSERT INTO countries (code, name, currency) VALUES (%s, %s, %s)"
INSERT_SETTING = "INSERT INTO settings (name, value) VALUES (%s, %s)"
INSERT_CUSTOMER = (
    "INSERT INTO customers (id, name, email, country, balance, created_at) VALUES (%s, %s, %s, %s, %s, %s)"
)
INSERT_ORDER = (
    "INSERT INTO orders (customer_id, id, item, amount, status, created_at) VALUES (%s, %s, %s, %s, %s, %s)"
)


@dataclass(frozen=True)
class Shop:
    """`customers` per region, with one to three orders each. The same seed gives the same rows."""

    customers: int = 100
    database: str = "shop"
    seed: int = 20261121

    def shards(self, shape: Shape) -> list[str]:
        return shape.all_shards()

    def keyspace(self, shape: Shape) -> dict[str, Any]:
        home = {
            "function": "region_bits",
            "shift": REGION_SHIFT,
            "bits": REGION_BITS,
            "regions": {region: REGION_CODES[region] for region in shape.regions},
        }
        return {
            "shards": self.shards(shape),
            "vindexes": {"by_home": home},
            "tables": {
                "customers": {"kind": "sharded", "vindex": "by_home", "columns": ["id"]},
                "orders": {"kind": "sharded", "vindex": "by_home", "columns": ["customer_id"]},
                "countries": {"kind": "reference"},
                "settings": {"kind": "pinned", "shard": self.pinned_to(shape)},
            },
        }

    def pinned_to(self, shape: Shape) -> str:
        """The shard of `settings`."""
        return shape.all_shards()[0]

    def schema(self) -> list[str]:
        return SCHEMA

    def rows(self, shape: Shape, shard: str) -> Iterable[Rows]:
        yield Rows(INSERT_COUNTRY, ALL_COUNTRIES)
        if shard == self.pinned_to(shape):
            yield Rows(INSERT_SETTING, SETTINGS)
        customers = [row for row in self.all_customers(shape) if shard_of_id(shape, row[0]) == shard]
        yield Rows(INSERT_CUSTOMER, customers)
        yield Rows(
            INSERT_ORDER, [row for row in self.all_orders(shape) if shard_of_id(shape, row[0]) == shard]
        )

    def all_customers(self, shape: Shape) -> list[Row]:
        """Every region's, as `INSERT_CUSTOMER` orders the columns."""
        return _generate(self, shape)[0]

    def all_orders(self, shape: Shape) -> list[Row]:
        """Every region's, as `INSERT_ORDER` orders the columns."""
        return _generate(self, shape)[1]


@functools.lru_cache(maxsize=4)
def _generate(shop: Shop, shape: Shape) -> tuple[list[Row], list[Row]]:
    """All customers and all orders of all regions."""
    dice = random.Random(shop.seed)
    customers: list[Row] = []
    orders: list[Row] = []
    for region in shape.regions:
        for number in range(1, shop.customers + 1):
            customer = _customer(dice, region, number)
            customers.append(customer)
            orders.extend(_order(dice, customer, number * 10 + index) for index in range(dice.randint(1, 3)))
    return customers, orders


def _customer(dice: random.Random, region: str, number: int) -> Row:
    first, last = dice.choice(FIRST_NAMES), dice.choice(LAST_NAMES)
    created = EPOCH + timedelta(minutes=dice.randrange(300 * 24 * 60))
    country = dice.choice(COUNTRIES[region])[0]
    email = f"{first}.{last}.{number}@{region}.example".lower()
    balance = f"{dice.randrange(0, 50_000) / 100:.2f}"
    return (region_id(region, number), f"{first} {last}", email, country, balance, created)


def _order(dice: random.Random, customer: Row, number: int) -> Row:
    created = customer[5] + timedelta(hours=dice.randrange(1, 1000))
    amount = f"{dice.randrange(100, 30_000) / 100:.2f}"
    return (customer[0], number, dice.choice(ITEMS), amount, dice.choice(STATUSES), created)
