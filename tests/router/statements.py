"""Random statements over the world of tests/cases/plans, in SQL that SQLite also reads."""

from __future__ import annotations

import random
from dataclasses import dataclass

EU = [4, 5, 6, 7, 8, 10]
US = [2 << 40 | number for number in (3, 4, 5, 6)]
KEYS = EU + US
COUNTRIES = ["de", "fr", "us"]
STATES = ["a", "b", "c"]

COLUMNS = {
    "customers": ["id", "name", "country", "balance"],
    "orders": ["id", "customer_id", "total", "state"],
    "notes": ["customer_id", "seq", "body"],
    "events": ["country", "user_id", "at", "kind"],
    "countries": ["code", "title", "tax"],
    "settings": ["k", "v"],
}
KEY = {
    "customers": ["id"],
    "orders": ["customer_id"],
    "notes": ["customer_id"],
    "events": ["country", "user_id"],
}
TEXT = {"name", "country", "state", "body", "kind", "code", "title", "k", "v"}


@dataclass(frozen=True)
class Source:
    """A name in FROM and the columns it gives. `table` None: a derived table."""

    alias: str
    columns: list[str]
    table: str | None = None

    @property
    def key(self) -> list[str]:
        return [f"{self.alias}.{column}" for column in KEY.get(self.table or "", [])]


class Statements:
    """One stream of statements per seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = 0

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, options: list[str]) -> str:
        return self.random.choice(options)

    def alias(self) -> str:
        self.names += 1
        return f"{self.random.choice('abcxyz')}{self.names}"

    # values and conditions

    def key_value(self) -> str:
        number = str(self.random.choice(KEYS))
        return f"'{number}'" if self.chance(0.1) else number

    def value(self, column: str) -> str:
        name = column.rpartition(".")[2]
        if self.chance(0.05):
            return "NULL"
        if name in TEXT:
            return f"'{self.random.choice(COUNTRIES + STATES)}'"
        if name in ("id", "customer_id", "user_id"):
            return self.key_value()
        return str(self.random.randint(-2, 6))

    def values(self, column: str) -> str:
        return ", ".join(self.value(column) for _ in range(self.random.randint(1, 4)))

    def column(self, sources: list[Source]) -> str:
        """Qualified; an unqualified one only where there is one table, as servers differ in what they refuse."""
        source = self.random.choice(sources)
        name = self.random.choice(source.columns)
        if source.key and self.chance(0.4):
            return self.random.choice(source.key)
        return f"{source.alias}.{name}"

    def leaf(self, sources: list[Source]) -> str:
        column = self.column(sources)
        shape = self.random.random()
        if shape < 0.4:
            return f"{column} = {self.value(column)}"
        if shape < 0.6:
            return f"{column} IN ({self.values(column)})"
        if shape < 0.75:
            other = self.column(sources)
            return f"{column} = {other}"
        if shape < 0.85:
            return f"{column} {self.pick(['<', '>', '<>', '>='])} {self.value(column)}"
        if shape < 0.9:
            return f"{column} IS {self.pick(['', 'NOT '])}NULL"
        if shape < 0.95:
            return f"{column} NOT IN ({self.values(column)})"
        return f"{self.value(column)} = {column}"

    def condition(self, sources: list[Source], depth: int = 0, outer: list[Source] | None = None) -> str:
        shape = self.random.random()
        if depth > 2 or shape < 0.5:
            return self.leaf(sources + (outer or []) if self.chance(0.2) else sources)
        if shape < 0.7:
            return f"({self.condition(sources, depth + 1)} AND {self.condition(sources, depth + 1)})"
        if shape < 0.85:
            return f"({self.condition(sources, depth + 1)} OR {self.condition(sources, depth + 1)})"
        if shape < 0.9:
            return f"NOT ({self.condition(sources, depth + 1)})"
        return self.subquery_condition(sources, depth)

    def subquery_condition(self, outer: list[Source], depth: int) -> str:
        table = self.pick(["orders", "notes", "countries", "customers"])
        inner = Source(self.alias(), COLUMNS[table], table)
        where = [self.condition([inner], depth + 1, outer)]
        if inner.key and self.chance(0.7):
            where.append(self.linked(inner, outer))
        where_text = " AND ".join(where)
        if self.chance(0.6):
            negated = "NOT " if self.chance(0.3) else ""
            return f"{negated}EXISTS (SELECT 1 FROM {table} {inner.alias} WHERE {where_text})"
        column = self.column(outer)
        mine = f"{inner.alias}.{self.random.choice(inner.columns)}"
        if self.chance(0.4):
            value = self.pick(["COUNT(*)", f"MAX({mine})", f"MAX({mine})"])
            return f"{column} >= (SELECT {value} FROM {table} {inner.alias} WHERE {where_text})"
        return f"{column} IN (SELECT {mine} FROM {table} {inner.alias} WHERE {where_text})"

    def linked(self, inner: Source, others: list[Source]) -> str:
        """The inner table's key equal to that of another table, or to a value."""
        keyed = [one for one in others if len(one.key) == len(inner.key)]
        if not keyed or self.chance(0.3):
            return " AND ".join(f"{column} = {self.value(column)}" for column in inner.key)
        other = self.random.choice(keyed)
        return " AND ".join(f"{a} = {b}" for a, b in zip(inner.key, other.key, strict=True))

    # queries

    def source(self, others: list[Source]) -> tuple[str, Source]:
        table = self.pick(["customers", "orders", "notes", "customers", "orders", "countries", "events"])
        alias = self.alias()
        if self.chance(0.12):
            inner = Source(self.alias(), COLUMNS[table], table)
            where = self.linked(inner, []) if inner.key and self.chance(0.6) else self.condition([inner], 2)
            columns = ", ".join(f"{inner.alias}.{column}" for column in inner.columns)
            order = ", ".join(str(index + 1) for index in range(len(inner.columns)))
            tail = self.pick(["", "", f" GROUP BY {columns}", f" ORDER BY {order} LIMIT 2"])
            where = f" WHERE {where}" if self.chance(0.7) else ""
            text = f"(SELECT {columns} FROM {table} {inner.alias}{where}{tail}) {alias}"
            return text, Source(alias, inner.columns, table)
        return f"{table} {alias}", Source(alias, COLUMNS[table], table)

    def select(self) -> str:
        text, first = self.source([])
        sources = [first]
        for _ in range(self.random.choice([0, 0, 1, 1, 2])):
            more, source = self.source(sources)
            kind = self.pick(["JOIN", "JOIN", "LEFT JOIN", "CROSS JOIN"])
            on = [] if kind == "CROSS JOIN" else [self.on(source, sources)]
            text += f" {kind} {more}" + (f" ON {' AND '.join(on)}" if on else "")
            sources.append(source)
        where = self.where(sources)
        return self.projected(sources, text, where)

    def on(self, source: Source, others: list[Source]) -> str:
        if source.key and self.chance(0.75):
            found = self.linked(source, others)
            if self.chance(0.15):
                return f"({found} OR {self.leaf([source, *others])})"
            return found + (f" AND {self.leaf([source, *others])}" if self.chance(0.2) else "")
        return self.condition([source, *others], 2)

    def where(self, sources: list[Source]) -> str:
        parts = [self.condition(sources) for _ in range(self.random.choice([0, 1, 1]))]
        for source in sources:
            if source.key and self.chance(0.45):
                parts.append(" AND ".join(f"{column} = {self.value(column)}" for column in source.key))
        self.random.shuffle(parts)
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def projected(self, sources: list[Source], text: str, where: str) -> str:
        columns = [f"{one.alias}.{column}" for one in sources for column in one.columns]
        some = self.random.sample(columns, min(len(columns), self.random.randint(1, 4)))
        if self.chance(0.05):
            # An aggregate over an outer column is the outer query's, wherever it is written.
            some.append(f"(SELECT MAX({some[0]}) FROM countries)")
        listed = ", ".join(some)
        shape = self.random.random()
        if shape < 0.6:
            return f"SELECT {listed} FROM {text}{where}"
        if shape < 0.7:
            return f"SELECT COUNT(*), MAX({some[0]}) FROM {text}{where}"
        if shape < 0.8:
            return f"SELECT {some[0]}, COUNT(*) FROM {text}{where} GROUP BY {some[0]}"
        if shape < 0.9:
            return f"SELECT DISTINCT {listed} FROM {text}{where}"
        order = ", ".join(str(index + 1) for index in range(len(some)))
        return f"SELECT {listed} FROM {text}{where} ORDER BY {order} LIMIT {self.random.randint(1, 5)}"

    def query(self) -> str:
        shape = self.random.random()
        if shape < 0.85:
            return self.select()
        if shape < 0.93:
            kind = self.pick(["UNION", "UNION ALL", "EXCEPT"])
            return f"{self.arm()} {kind} {self.arm()}"
        table = self.pick(["orders", "notes", "customers"])
        inner = Source(self.alias(), COLUMNS[table], table)
        name = self.alias()
        where = self.linked(inner, []) if self.chance(0.7) else self.condition([inner], 2)
        cte = f"WITH {name} AS (SELECT * FROM {table} {inner.alias} WHERE {where}) "
        outer = Source(name, COLUMNS[table], table)
        return cte + f"SELECT * FROM {name}{self.where([outer])}"

    def arm(self) -> str:
        table = self.pick(["orders", "customers", "notes", "countries"])
        source = Source(self.alias(), COLUMNS[table], table)
        column = {"countries": "tax", "notes": "seq"}.get(table, "id")
        return f"SELECT {source.alias}.{column} FROM {table} {source.alias}{self.where([source])}"

    # changes

    def change(self) -> str:
        shape = self.random.random()
        if shape < 0.35:
            return self.update()
        if shape < 0.6:
            return self.delete()
        return self.insert()

    def unaliased(self, table: str) -> Source:
        return Source(table, COLUMNS[table], table)

    def update(self) -> str:
        table = self.pick(["customers", "orders", "notes", "events", "countries"])
        source = self.unaliased(table)
        column = self.random.choice(source.columns)
        value = self.pick([self.value(column), self.value(column), column])
        return f"UPDATE {table} SET {column} = {value}{self.where([source])}"

    def delete(self) -> str:
        table = self.pick(["customers", "orders", "notes", "events", "countries"])
        return f"DELETE FROM {table}{self.where([self.unaliased(table)])}"

    def insert(self) -> str:
        table = self.pick(["customers", "orders", "notes", "events", "countries"])
        columns = COLUMNS[table]
        names = ", ".join(columns)
        if table == "notes" and self.chance(0.4):
            source = Source(self.alias(), COLUMNS["orders"], "orders")
            key = self.pick([f"{source.alias}.customer_id", self.key_value()])
            return (
                f"INSERT INTO notes ({names}) SELECT {key}, {source.alias}.total, {source.alias}.state "
                f"FROM orders {source.alias}{self.where([source])}"
            )
        rows = (", ".join(self.value(column) for column in columns) for _ in range(self.random.randint(1, 4)))
        return f"INSERT INTO {table} ({names}) VALUES " + ", ".join(f"({row})" for row in rows)
