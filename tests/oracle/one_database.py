"""One server holding all the data, and the same data spread over shards: SQLite stands for the servers.

Statements stay within what SQLite and MySQL agree on (whole numbers, NULL, lower-case text, joins, subqueries).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

Row = tuple[Any, ...]

TABLES = {
    "customers": "id INTEGER, name TEXT, country TEXT, balance INTEGER",
    "orders": "id INTEGER, customer_id INTEGER, total INTEGER, state TEXT",
    "notes": "customer_id INTEGER, seq INTEGER, body TEXT",
    "events": "country TEXT, user_id INTEGER, at INTEGER, kind TEXT",
    "countries": "code TEXT, title TEXT, tax INTEGER",
    "settings": "k TEXT, v TEXT",
}


class Server:
    """An empty database with the tables."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        for name, columns in TABLES.items():
            self._connection.execute(f"CREATE TABLE {name} ({columns})")

    def load(self, table: str, rows: Iterable[Row]) -> None:
        rows = list(rows)
        if not rows:
            return
        marks = ",".join("?" for _ in rows[0])
        self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def query(self, sql: str) -> list[Row]:
        return list(self._connection.execute(sql))

    def change(self, sql: str) -> int:
        return self._connection.execute(sql).rowcount

    def begin(self) -> None:
        self._connection.execute("BEGIN")

    def rollback(self) -> None:
        self._connection.execute("ROLLBACK")

    def contents(self, table: str) -> Counter[Row]:
        return Counter(self.query(f"SELECT * FROM {table}"))

    def close(self) -> None:
        self._connection.close()


def same(one: Sequence[Row], other: Sequence[Row]) -> bool:
    """The same rows, each as often, in whatever order."""
    return Counter(one) == Counter(other)
