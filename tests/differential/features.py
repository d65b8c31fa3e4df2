"""Seeded random reads over several shards, by what of the engine they need.

Whatever is ordered is ordered to the last row, by a key behind the expressions at hand: of ties any order is right.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.differential import bazaar

COLUMNS = ("id", "name", "email", "country", "score", "credit", "born", "seen", "kind", "tags", "mask", "note", "raw")
COLUMNS += ("small",)
EXPRESSIONS = (
    "UPPER(name)", "credit * 2", "score + 0.5", "CONCAT(country, name)", "COALESCE(note, 'none')", "LENGTH(name)",
    "IF(score > 0, 'up', 'down')", "kind + 0", "HEX(raw)", "id % 7", "-small", "name LIKE 'A%'", "DATE(seen)",
    "name COLLATE utf8mb4_bin", "name COLLATE utf8mb4_unicode_ci", "LEFT(email, 3)", "TIMEDIFF(seen, '2020-01-01')",
    "YEAR(born)", "CAST(credit AS CHAR)", "ABS(credit)", "NULLIF(country, 'XX')", "(SELECT COUNT(*) FROM countries)",
)  # fmt: skip
FILTERS = (
    "", "", "", " WHERE score IS NOT NULL", " WHERE country IN ('DE', 'US')", " WHERE name LIKE '%a%'",
    " WHERE kind <> 'old'", " WHERE small IS NULL OR small > 3", " WHERE credit > 1", " WHERE 1 = 0",
    " WHERE note IS NULL", " WHERE born BETWEEN '1960-01-01' AND '2010-01-01'",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Read:
    """`params` None: text protocol. `ordered`: rows must come in the same order."""

    sql: str
    params: tuple[Any, ...] | None = None
    ordered: bool = False


class Reads:
    """Reads of one seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def some(self, choices: tuple[str, ...], least: int, most: int) -> list[str]:
        return self.dice.sample(choices, self.dice.randint(least, most))

    def directed(self, names: list[str]) -> str:
        return ", ".join(name + self.dice.choice(["", "", " ASC", " DESC"]) for name in names)

    def limit(self) -> tuple[str, tuple[Any, ...]]:
        """(LIMIT, its parameters)"""
        count, offset = self.dice.choice([0, 1, 3, 10, 1000]), self.dice.choice([0, 1, 7, 90])
        forms: list[tuple[str, tuple[Any, ...]]] = [
            (f" LIMIT {count}", ()), (f" LIMIT {offset}, {count}", ()), (f" LIMIT {count} OFFSET {offset}", ()),
            (" LIMIT ?", (count,)), (" LIMIT ?, ?", (offset, count)), (" LIMIT ? OFFSET ?", (count, offset)),
            (f" LIMIT {offset}, ?", (count,)),
        ]  # fmt: skip
        return self.dice.choice(forms)

    def protocol(self, sql: str, params: tuple[Any, ...] = (), *, ordered: bool = False) -> Read:
        if params or self.dice.random() < 0.5:
            return Read(sql, params, ordered)
        return Read(sql, None, ordered)

    # --- features -------------------------------------------------------------------------------------------

    def order_by(self) -> Read:
        selected = self.some(COLUMNS, 1, 4)
        keys = self.some((*COLUMNS, *COLUMNS, *EXPRESSIONS), 1, 3)
        listed = "*" if self.dice.random() < 0.2 else ", ".join(selected)
        where = self.dice.choice(FILTERS)
        order = self.directed([*keys, "id"])
        return self.protocol(f"SELECT {listed} FROM buyers{where} ORDER BY {order}", ordered=True)

    def order_by_alias_and_place(self) -> Read:
        expression = self.dice.choice(EXPRESSIONS)
        forms = [
            f"SELECT {expression} AS x, id FROM buyers ORDER BY x, id",
            f"SELECT id, {expression} FROM buyers ORDER BY 2 DESC, 1",
            f"SELECT {expression} name, id FROM buyers ORDER BY name, id DESC",
            f"SELECT b.name, {expression} AS `a b` FROM buyers b ORDER BY `a b`, b.id",
            "SELECT b.name AS n, c.name, b.id FROM buyers b JOIN countries c ON c.code = b.country ORDER BY n DESC, 3",
            "SELECT b.name, p.item, p.n FROM buyers b JOIN purchases p ON p.buyer_id = b.id ORDER BY p.item, b.id, p.n",
            "SELECT b.*, p.n FROM buyers b LEFT JOIN purchases p ON p.buyer_id = b.id ORDER BY p.n DESC, b.id",
            "SELECT *, id + 1 AS next FROM buyers ORDER BY next DESC",
            "SELECT *, name FROM years, countries WHERE code = 'DE' ORDER BY 1 DESC",
        ]
        return self.protocol(self.dice.choice(forms), ordered=True)

    def limits(self) -> Read:
        limit, params = self.limit()
        keys = [*self.some((*COLUMNS, *EXPRESSIONS), 0, 2), "id"]
        where = self.dice.choice(FILTERS)
        sql = f"SELECT {', '.join(self.some(COLUMNS, 1, 3))} FROM buyers{where} ORDER BY {self.directed(keys)}{limit}"
        return self.protocol(sql, params, ordered=True)

    def distinct(self) -> Read:
        plain = ("country", "kind", "tags", "small", "born", "score", "credit", "mask", "raw", "seen")
        chosen = self.some((*plain, *plain, "YEAR(born)", "id % 3", "small IS NULL", "credit * 2", "HEX(raw)"), 1, 2)
        order = f" ORDER BY {self.directed(chosen)}" if self.dice.random() < 0.6 else ""
        limit, params = self.limit() if order else ("", ())
        sql = f"SELECT DISTINCT {', '.join(chosen)} FROM buyers{self.dice.choice(FILTERS)}{order}{limit}"
        return self.protocol(sql, params, ordered=bool(order))


FEATURES: dict[str, Callable[[Reads], Read]] = {
    "order_by": Reads.order_by,
    "order_by_alias_and_place": Reads.order_by_alias_and_place,
    "limit": Reads.limits,
    "distinct": Reads.distinct,
}
TABLES = bazaar.TABLES
