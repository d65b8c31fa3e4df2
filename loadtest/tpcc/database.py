"""The tables of TPC-C, sharded by warehouse, and their first rows (clauses 1.3 and 4.3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from loadtest.tpcc.scale import Dice, Scale, last_name
from loadtest.world.dataset import Rows
from loadtest.world.layout import Shape

DATABASE = "tpcc"
LOADED = "2026-01-01 00:00:00"

SCHEMA = [
    """CREATE TABLE warehouse (
        w_id INT NOT NULL PRIMARY KEY, w_name VARCHAR(10), w_street_1 VARCHAR(20), w_street_2 VARCHAR(20),
        w_city VARCHAR(20), w_state CHAR(2), w_zip CHAR(9), w_tax DECIMAL(4,4), w_ytd DECIMAL(12,2))""",
    """CREATE TABLE district (
        d_id INT NOT NULL, d_w_id INT NOT NULL, d_name VARCHAR(10), d_street_1 VARCHAR(20), d_street_2 VARCHAR(20),
        d_city VARCHAR(20), d_state CHAR(2), d_zip CHAR(9), d_tax DECIMAL(4,4), d_ytd DECIMAL(12,2), d_next_o_id INT,
        PRIMARY KEY (d_w_id, d_id))""",
    """CREATE TABLE customer (
        c_id INT NOT NULL, c_d_id INT NOT NULL, c_w_id INT NOT NULL, c_first VARCHAR(16), c_middle CHAR(2),
        c_last VARCHAR(16), c_street_1 VARCHAR(20), c_street_2 VARCHAR(20), c_city VARCHAR(20), c_state CHAR(2),
        c_zip CHAR(9), c_phone CHAR(16), c_since DATETIME, c_credit CHAR(2), c_credit_lim DECIMAL(12,2),
        c_discount DECIMAL(4,4), c_balance DECIMAL(12,2), c_ytd_payment DECIMAL(12,2), c_payment_cnt INT,
        c_delivery_cnt INT, c_data VARCHAR(500),
        PRIMARY KEY (c_w_id, c_d_id, c_id), KEY by_name (c_w_id, c_d_id, c_last, c_first))""",
    """CREATE TABLE history (
        h_c_id INT, h_c_d_id INT, h_c_w_id INT, h_d_id INT, h_w_id INT NOT NULL, h_date DATETIME,
        h_amount DECIMAL(6,2), h_data VARCHAR(24), KEY at (h_w_id, h_d_id))""",
    """CREATE TABLE new_order (
        no_o_id INT NOT NULL, no_d_id INT NOT NULL, no_w_id INT NOT NULL, PRIMARY KEY (no_w_id, no_d_id, no_o_id))""",
    """CREATE TABLE orders (
        o_id INT NOT NULL, o_d_id INT NOT NULL, o_w_id INT NOT NULL, o_c_id INT, o_entry_d DATETIME,
        o_carrier_id INT, o_ol_cnt INT, o_all_local INT,
        PRIMARY KEY (o_w_id, o_d_id, o_id), KEY of_customer (o_w_id, o_d_id, o_c_id, o_id))""",
    """CREATE TABLE order_line (
        ol_o_id INT NOT NULL, ol_d_id INT NOT NULL, ol_w_id INT NOT NULL, ol_number INT NOT NULL, ol_i_id INT,
        ol_supply_w_id INT, ol_delivery_d DATETIME, ol_quantity INT, ol_amount DECIMAL(6,2), ol_dist_info CHAR(24),
        PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number))""",
    """CREATE TABLE item (
        i_id INT NOT NULL PRIMARY KEY, i_im_id INT, i_name VARCHAR(24), i_price DECIMAL(5,2), i_data VARCHAR(50))""",
    """CREATE TABLE stock (
        s_i_id INT NOT NULL, s_w_id INT NOT NULL, s_quantity INT, s_dist CHAR(24), s_ytd INT, s_order_cnt INT,
        s_remote_cnt INT, s_data VARCHAR(50), PRIMARY KEY (s_w_id, s_i_id))""",
]
"""The ten columns s_dist_01 … s_dist_10 hold text that nobody looks at: here they are one."""

KEYS = {
    "warehouse": "w_id",
    "district": "d_w_id",
    "customer": "c_w_id",
    "history": "h_w_id",
    "new_order": "no_w_id",
    "orders": "o_w_id",
    "order_line": "ol_w_id",
    "stock": "s_w_id",
}


@dataclass(frozen=True)
class Tpcc:
    """A keyspace for a world: warehouses dealt out to the shards, items on all."""

    scale: Scale = field(default_factory=Scale)
    database: str = DATABASE
    changes: dict[str, Any] = field(default_factory=dict)

    def shards(self, shape: Shape) -> list[str]:
        return shape.all_shards()

    def warehouses(self, shape: Shape, shard: str) -> list[int]:
        shards = self.shards(shape)
        return [w for w in range(1, self.scale.warehouses + 1) if shards[(w - 1) % len(shards)] == shard]

    def keyspace(self, shape: Shape) -> dict[str, Any]:
        if len(self.shards(shape)) == 1:
            return {"shards": self.shards(shape)}
        values = {shard: self.warehouses(shape, shard) for shard in self.shards(shape)}
        sharded = {
            table: {"kind": "sharded", "vindex": "by_warehouse", "columns": [column]} for table, column in KEYS.items()
        }
        return {
            "shards": self.shards(shape),
            "vindexes": {"by_warehouse": {"function": "list", "values": values}},
            "tables": {**sharded, "item": {"kind": "reference"}},
            **self.changes,
        }

    def schema(self) -> list[str]:
        return SCHEMA

    def rows(self, shape: Shape, shard: str) -> Iterable[Rows]:
        yield _rows("item", _items(self.scale))
        for w in self.warehouses(shape, shard):
            yield from Warehouse(self.scale, w).rows()


def _rows(table: str, values: list[tuple[Any, ...]]) -> Rows:
    return Rows(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(values[0]))})" if values else "", values)


def _items(scale: Scale) -> list[tuple[Any, ...]]:
    dice = Dice("items")
    return [
        (i, dice.randint(1, 10_000), dice.letters(14, 24), dice.randint(100, 10_000) / 100, dice.data())
        for i in range(1, scale.items + 1)
    ]


class Warehouse:
    """The first rows of one warehouse, the same at every call."""

    def __init__(self, scale: Scale, number: int) -> None:
        self._scale, self._w = scale, number
        self._dice = Dice(f"warehouse {number}")

    def rows(self) -> Iterator[Rows]:
        d = self._dice
        amount = f"{30_000 * self._scale.districts}.00"
        yield _rows("warehouse", [(self._w, d.letters(6, 10), *self._address(), d.randint(0, 2000) / 10_000, amount)])
        yield _rows("stock", [self._stock(i) for i in range(1, self._scale.items + 1)])
        for district in range(1, self._scale.districts + 1):
            yield from self._district(district)

    def _address(self) -> tuple[str, ...]:
        d = self._dice
        return d.letters(10, 20), d.letters(10, 20), d.letters(10, 20), d.letters(2, 2), d.zip()

    def _stock(self, item: int) -> tuple[Any, ...]:
        d = self._dice
        return item, self._w, d.randint(10, 100), d.letters(24, 24), 0, 0, 0, d.data()

    def _district(self, district: int) -> Iterator[Rows]:
        d, customers = self._dice, self._scale.customers
        head = (district, self._w, d.letters(6, 10), *self._address(), d.randint(0, 2000) / 10_000)
        paid = 30_000 / customers
        yield _rows("district", [(*head, "30000.00", customers + 1)])
        yield _rows("customer", [self._customer(district, c, paid) for c in range(1, customers + 1)])
        at = (district, self._w)
        yield _rows("history", [(c, *at, *at, LOADED, paid, d.letters(12, 24)) for c in range(1, customers + 1)])
        yield from self._orders(district)

    def _customer(self, district: int, customer: int, paid: float) -> tuple[Any, ...]:
        d = self._dice
        number = customer - 1 if customer <= self._scale.names else d.non_uniform(255, 0, self._scale.names - 1)
        return (
            customer, district, self._w, d.letters(8, 16), "OE", last_name(number), *self._address(), "0" * 16, LOADED,
            "BC" if d.random() < 0.1 else "GC", 50_000, d.randint(0, 5000) / 10_000, -paid, paid, 1, 0,
            d.letters(300, 400),
        )  # fmt: skip

    def _orders(self, district: int) -> Iterator[Rows]:
        d, scale = self._dice, self._scale
        customers = d.sample(range(1, scale.customers + 1), scale.customers)
        orders, lines = [], []
        for number, customer in enumerate(customers, 1):
            delivered, count = number < scale.waiting, d.randint(5, 15)
            carrier = d.randint(1, 10) if delivered else None
            orders.append((number, district, self._w, customer, LOADED, carrier, count, 1))
            lines += [self._line(number, district, line, delivered=delivered) for line in range(1, count + 1)]
        yield _rows("orders", orders)
        yield _rows("order_line", lines)
        yield _rows("new_order", [(n, district, self._w) for n in range(scale.waiting, scale.customers + 1)])

    def _line(self, order: int, district: int, number: int, *, delivered: bool) -> tuple[Any, ...]:
        d = self._dice
        # What was delivered before the first day cost nothing (clause 4.3.3.1).
        at, amount = (LOADED, 0) if delivered else (None, d.randint(1, 999_999) / 100)
        item, info = d.randint(1, self._scale.items), d.letters(24, 24)
        return order, district, self._w, number, item, self._w, at, 5, amount, info
