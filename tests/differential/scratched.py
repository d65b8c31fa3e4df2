"""Seeded random reads that only one server can answer, by form: a scratch server finishes them.

Whatever is ordered is ordered to the last row; what depends on an order that is not written is not asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.differential.reads import Read, protocol

ALIASES = {"buyers": "b", "purchases": "p", "items": "i", "years": "y", "visits": "v", "codes": "k", "countries": "c"}
COLUMNS = {
    "b": ("id", "name", "email", "country", "score", "credit", "born", "seen", "kind", "tags", "mask", "note", "raw",
          "small"),
    "p": ("buyer_id", "n", "item", "amount", "qty"),
    "i": ("sku", "title", "price"),
    "y": ("y", "label"),
    "v": ("country", "user_id", "hits"),
    "k": ("code", "used"),
    "c": ("code", "name", "currency"),
}  # fmt: skip
KEYS = {
    "b": ("id",), "p": ("buyer_id", "n"), "i": ("sku",), "y": ("y",), "v": ("country", "user_id"), "k": ("code",),
    "c": ("code",),
}  # fmt: skip
EXPRESSIONS = {
    "b": ("UPPER({0}.name)", "{0}.credit * 2", "{0}.kind + 0", "HEX({0}.raw)", "COALESCE({0}.note, 'none')",
          "{0}.score + 0.5", "DATE({0}.seen)", "IF({0}.small > 3, 'up', 'down')", "{0}.id % 7", "{0}.mask + 0"),
    "p": ("{0}.amount * {0}.qty", "CONCAT({0}.item, '!')", "-{0}.n", "{0}.qty / 3"),
    "i": ("COALESCE({0}.price, 0)", "LENGTH({0}.title)", "{0}.sku COLLATE utf8mb4_general_ci"),
    "y": ("{0}.y + 1", "LEFT({0}.label, 4)"),
    "v": ("{0}.hits * 1.5", "LOWER({0}.country)"),
    "k": ("{0}.used - 1", "UPPER({0}.code)"),
    "c": ("CONCAT({0}.code, {0}.currency)",),
}  # fmt: skip
FILTERS = {
    "b": ("{0}.name LIKE '%a%'", "{0}.credit > 1", "{0}.kind IN ('new', 'vip')", "NOT ({0}.kind = 'old')",
          "{0}.score IS NULL", "({0}.small = 5 OR {0}.note IS NULL)", "{0}.born BETWEEN '1960-01-01' AND '2010-01-01'",
          "{0}.id % 3 = 1", "{0}.country <> 'XX'", "{0}.raw IS NOT NULL", "FIND_IN_SET('a', {0}.tags)",
          "CASE {0}.kind WHEN 'vip' THEN 1 ELSE {0}.small END > 0", "{0}.seen < '2020-01-01'"),
    "p": ("{0}.qty > 1", "{0}.item LIKE 'sku%'", "{0}.amount BETWEEN 100 AND 800", "{0}.n <> 2",
          "{0}.qty IN (1, 2, 3)"),
    "i": ("{0}.price IS NOT NULL", "{0}.price > 1 AND {0}.sku <> 'sku-1'", "{0}.title LIKE '%1%'"),
    "y": ("{0}.y > 1000", "{0}.y BETWEEN 0 AND 2005", "{0}.label <> ''"),
    "v": ("{0}.hits > 3", "{0}.user_id < 5", "{0}.country IN ('DE', 'US')"),
    "k": ("{0}.used > 1", "{0}.code LIKE 'c%'"),
    "c": ("{0}.currency = 'EUR'", "{0}.name LIKE '%e%'"),
}  # fmt: skip
MEETINGS = {
    "bi": ("{0}.name = {1}.title", "{1}.price = {0}.credit", "{1}.price < {0}.credit", "{0}.small = LENGTH({1}.sku)"),
    "pi": ("{1}.sku = {0}.item", "{1}.sku = {0}.item AND {1}.price > {0}.amount / 100", "{0}.n = LENGTH({1}.title)"),
    "bb": ("{0}.name = {1}.name", "{0}.kind = {1}.kind AND {0}.id < {1}.id", "{0}.small = {1}.small",
           "{0}.id + 1 = {1}.id", "{0}.born <=> {1}.born AND {0}.country = {1}.country"),
    "bv": ("{0}.country = {1}.country", "{0}.small = {1}.user_id", "{0}.country = {1}.country AND {1}.hits > 2"),
    "by": ("YEAR({0}.born) = {1}.y", "{1}.y > {0}.small AND {1}.y < 1067"),
    "pp": ("{0}.item = {1}.item AND {0}.buyer_id < {1}.buyer_id", "{0}.amount = {1}.amount", "{0}.qty = {1}.n"),
    "yv": ("{0}.y = {1}.hits", "{0}.y > 2000 + {1}.hits"),
    "vk": ("{0}.hits = {1}.used",),
    "ki": ("{1}.title LIKE CONCAT('%', {0}.used)", "{0}.used < {1}.price"),
    "bp": ("{0}.small = {1}.n", "{1}.item = {0}.name", "{1}.qty = {0}.id % 5"),
}  # fmt: skip
TABLES = {alias: table for table, alias in ALIASES.items()}
AGGREGATES = (
    "COUNT(*)", "SUM({0}.{1})", "MIN({0}.{1})", "MAX({0}.{1})", "COUNT(DISTINCT {0}.{1})", "SUM({0}.{1}) / COUNT(*)",
    "AVG({0}.{1}) + 1",
)  # fmt: skip
PARTS = {"b": ("kind", "country"), "p": ("item", "qty"), "v": ("hits",)}
NUMBERS = {"b": "credit", "p": "amount", "i": "price", "y": "y", "v": "hits", "k": "used"}


class Reads:
    """Reads of one seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def one(self, choices: Any) -> Any:
        return self.dice.choice(list(choices))

    def read(self, sql: str, params: tuple[Any, ...] = (), *, ordered: bool = False) -> Read:
        return protocol(self.dice, sql, params, ordered=ordered)

    # --- pieces ---------------------------------------------------------------------------------------------

    def pair(self) -> tuple[str, str, str, str, str]:
        """(kind of the first, its alias, kind of the second, its alias, how they meet)"""
        kinds = self.one(MEETINGS)
        one, other = kinds if kinds[0] != kinds[1] else (kinds[0], kinds[0])
        first, second = (one, other) if one != other else (one + "1", one + "2")
        return one, first, other, second, self.one(MEETINGS[kinds]).format(first, second)

    def column(self, kind: str, alias: str) -> str:
        if self.dice.random() < 0.3:
            return str(self.one(EXPRESSIONS[kind]).format(alias))
        return f"{alias}.{self.one(COLUMNS[kind])}"

    def columns(self, *named: tuple[str, str]) -> str:
        if self.dice.random() < 0.15:
            return "*"
        found = [self.column(kind, alias) for kind, alias in named for _ in range(self.dice.randint(1, 2))]
        if self.dice.random() < 0.3:
            found.append(f"{named[0][1]}.*")
        self.dice.shuffle(found)
        return ", ".join(found)

    def filter(self, kind: str, alias: str) -> str:
        return str(self.one(FILTERS[kind]).format(alias))

    def where(self, *named: tuple[str, str]) -> str:
        found = [self.filter(kind, alias) for kind, alias in named if self.dice.random() < 0.5]
        return f" WHERE {' AND '.join(found)}" if found else ""

    def order(self, *named: tuple[str, str]) -> str:
        keys = [f"{alias}.{key}" for kind, alias in named for key in KEYS[kind]]
        self.dice.shuffle(keys)
        order = ", ".join(key + self.one(["", " DESC"]) for key in keys)
        return f" ORDER BY {order}{self.one(['', '', ' LIMIT 5', ' LIMIT 3, 7'])}"

    def tail(self, *named: tuple[str, str]) -> str:
        return self.order(*named) if self.dice.random() < 0.5 else ""

    # --- joins ----------------------------------------------------------------------------------------------

    def inner(self) -> Read:
        one, first, other, second, meet = self.pair()
        named = (one, first), (other, second)
        source = self.one([
            f"{TABLES[one]} {first} JOIN {TABLES[other]} {second} ON {meet}",
            f"{TABLES[one]} AS {first} INNER JOIN {TABLES[other]} AS {second} ON ({meet})",
            f"{TABLES[one]} {first} STRAIGHT_JOIN {TABLES[other]} {second} ON {meet}",
        ])  # fmt: skip
        tail = self.tail(*named)
        where, params = self.where(*named), ()
        if self.dice.random() < 0.2:
            where += f"{' AND' if where else ' WHERE'} {first}.{NUMBERS[one]} > ?"
            params = (self.one([0, 1, 2.5, "1"]),)
        if self.dice.random() < 0.2:
            return self.read(f"SELECT COUNT(*), MAX({self.column(other, second)}) FROM {source}{where}", params)
        return self.read(f"SELECT {self.columns(*named)} FROM {source}{where}{tail}", params, ordered=bool(tail))

    def three(self) -> Read:
        forms = [
            "SELECT b.name, p.qty, i.title FROM buyers b JOIN purchases p ON p.buyer_id = b.id JOIN items i "
            "ON i.sku = p.item{where}{tail}",
            "SELECT b.id, c.name, i.price FROM buyers b JOIN countries c ON c.code = b.country JOIN items i "
            "ON i.price < b.credit{where}{tail}",
            "SELECT * FROM buyers b, purchases p, items i WHERE p.buyer_id = b.id AND i.sku = p.item",
            "SELECT p.n, i.* FROM purchases p NATURAL JOIN buyers b JOIN items i ON i.sku = p.item",
            "SELECT bazaar.b.name, i.title FROM bazaar.buyers b JOIN bazaar.items i ON i.title <> b.name{where}{tail}",
            "SELECT buyers.name, items.title FROM buyers JOIN items ON items.title <> buyers.name WHERE price > 1",
        ]
        form = self.one(forms)
        named = (("b", "b"), ("i", "i"))
        where, tail = self.where(*named), ""
        if "{tail}" in form and "purchases" not in form:
            tail = self.tail(*named)
        return self.read(form.format(where=where, tail=tail), ordered=bool(tail))

    def outer(self) -> Read:
        one, first, other, second, meet = self.pair()
        named = (one, first), (other, second)
        side = self.one(["LEFT", "RIGHT", "LEFT OUTER"])
        on = [meet, *(self.filter(*each) for each in named if self.dice.random() < 0.4)]
        where = self.where(named[0]) if self.dice.random() < 0.5 else self.where(named[1])
        if self.dice.random() < 0.3:
            where = f" WHERE {second}.{KEYS[other][0]} IS NULL"
        source = f"{TABLES[one]} {first} {side} JOIN {TABLES[other]} {second} ON {' AND '.join(on)}"
        tail = self.tail(*named)
        listed = self.one([self.columns(*named), f"COUNT(*), COUNT({second}.{KEYS[other][0]})"])
        tail = "" if listed.startswith("COUNT(*), COUNT") else tail
        return self.read(f"SELECT {listed} FROM {source}{where}{tail}", ordered=bool(tail))

    def reference(self) -> Read:
        """A reference table on the side that is kept."""
        meet = self.one(["c.code = b.country", "c.code = b.country AND b.credit > 1", "c.name = b.name"])
        other = self.one(["c.code = v.country", "c.code = v.country AND v.hits > 4"])
        forms = [
            f"SELECT c.name, b.id, b.seen FROM countries c LEFT JOIN buyers b ON {meet}{self.where(('c', 'c'))}",
            f"SELECT c.*, COUNT(b.id) FROM countries c LEFT JOIN buyers b ON {meet} GROUP BY c.code",
            f"SELECT c.code, v.hits FROM visits v RIGHT JOIN countries c ON {other}",
            f"SELECT c.code FROM countries c LEFT JOIN buyers b ON {meet} WHERE b.id IS NULL",
            f"SELECT c.code, b.name, hits FROM countries c LEFT JOIN buyers b ON {meet} LEFT JOIN visits v ON {other}",
        ]
        return self.read(self.one(forms))

    def self_join(self) -> Read:
        kind = self.one(["b", "p"])
        meet = self.one(MEETINGS[kind * 2]).format("x", "z")
        join = self.one(["JOIN", "JOIN", "LEFT JOIN"])
        named = (kind, "x"), (kind, "z")
        tail = self.tail(*named)
        source = f"{TABLES[kind]} x {join} {TABLES[kind]} z ON {meet}"
        return self.read(f"SELECT {self.columns(*named)} FROM {source}{self.where(named[0])}{tail}", ordered=bool(tail))

    def semi(self) -> Read:
        one, first, other, second, meet = self.pair()
        column = self.one(COLUMNS[other])
        inner = f"SELECT 1 FROM {TABLES[other]} {second} WHERE {meet}"
        conditions = [
            f"EXISTS ({inner})", f"NOT EXISTS ({inner})", f"EXISTS ({inner} AND {self.filter(other, second)})",
            f"{first}.{KEYS[one][-1]} IN (SELECT {second}.{KEYS[other][-1]} FROM {TABLES[other]} {second})",
            f"{first}.{NUMBERS[one]} >= ALL (SELECT {NUMBERS[other]} FROM {TABLES[other]} WHERE {NUMBERS[other]} < 9)",
            f"{first}.{NUMBERS[one]} < ANY (SELECT {NUMBERS[other]} FROM {TABLES[other]})",
            f"{first}.{KEYS[one][-1]} NOT IN (SELECT {second}.{column} FROM {TABLES[other]} {second} "
            f"WHERE {second}.{column} IS NOT NULL)",
        ]  # fmt: skip
        named = (one, first)
        also = f" AND {self.filter(*named)}" if self.dice.random() < 0.4 else ""
        tail = self.tail(named)
        sql = f"SELECT {self.columns(named)} FROM {TABLES[one]} {first} WHERE {self.one(conditions)}{also}{tail}"
        return self.read(sql, ordered=bool(tail))

    # --- one table ------------------------------------------------------------------------------------------

    def correlated(self) -> Read:
        one, first, other, second, meet = self.pair()
        number = NUMBERS[other]
        what = self.one(["COUNT(*)", f"MAX({second}.{number})", f"SUM({second}.{number})", f"AVG({second}.{number})"])
        inner = f"(SELECT {what} FROM {TABLES[other]} {second} WHERE {meet})"
        named = (one, first)
        tail = self.tail(named)
        forms = [
            f"SELECT {self.columns(named)}, {inner} AS x FROM {TABLES[one]} {first}{self.where(named)}{tail}",
            f"SELECT {first}.{KEYS[one][0]}, {inner} + 1 FROM {TABLES[one]} {first}{tail}",
            f"SELECT {self.columns(named)} FROM {TABLES[one]} {first} WHERE {first}.{NUMBERS[one]} < {inner}{tail}",
            f"SELECT {self.columns(named)} FROM {TABLES[one]} {first} WHERE {inner} > 1 AND "
            f"{self.filter(*named)}{tail}",
            f"SELECT {first}.{KEYS[one][0]} AS a FROM {TABLES[one]} {first} ORDER BY {inner}, "
            f"{', '.join(f'{first}.{key}' for key in KEYS[one])}",
        ]
        sql = self.one(forms)
        return self.read(sql, ordered="ORDER BY" in sql)

    def rollup(self) -> Read:
        groups = self.one(["kind", "country", "kind, country", "country, kind", "YEAR(born)", "small", "tags, kind"])
        chosen = [self.one(AGGREGATES).format("buyers", self.one(["credit", "small", "id"])) for _ in range(2)]
        having = self.one(["", "", " HAVING COUNT(*) > 2", f" HAVING {groups.split(', ')[0]} IS NULL"])
        where = self.where(("b", "buyers"))
        tail = f"{where} GROUP BY {groups} WITH ROLLUP{having}"
        return self.read(f"SELECT {groups}, {', '.join(chosen)} FROM buyers{tail}")

    def window(self) -> Read:
        kind = self.one(["b", "p", "v"])
        table, keys = TABLES[kind], ", ".join(KEYS[kind])
        call = self.one([
            "ROW_NUMBER()", "RANK()", "DENSE_RANK()", f"SUM({NUMBERS[kind]})", "COUNT(*)", f"MAX({NUMBERS[kind]})",
            f"LAG({NUMBERS[kind]})", f"LEAD({NUMBERS[kind]}, 2, 0)", "NTILE(3)", "PERCENT_RANK()", "CUME_DIST()",
            f"FIRST_VALUE({NUMBERS[kind]})",
        ])  # fmt: skip
        parted = self.one(["", "", f"PARTITION BY {self.one(PARTS[kind])} "])
        first = self.one(["", f"{NUMBERS[kind]} DESC, ", f"{NUMBERS[kind]}, "])
        framed = call.startswith(("SUM", "MAX"))
        frame = self.one(["", "", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW"]) if framed else ""
        over = f"OVER ({parted}ORDER BY {first}{keys}{frame})"
        alias = self.one(["", " AS w", " w"])
        tail = f" ORDER BY {keys}" if self.dice.random() < 0.6 else ""
        where = self.where((kind, table))
        sql = f"SELECT {keys}, {call} {over}{alias} FROM {table}{where}{tail}"
        if self.dice.random() < 0.15:
            sql = f"SELECT {keys}, {call} OVER w FROM {table}{where} WINDOW w AS ({parted}ORDER BY {first}{keys}){tail}"
        return self.read(sql, ordered=bool(tail))

    def aggregate(self) -> Read:
        key = self.one(["kind", "country", "small"])
        chosen = self.one([
            "GROUP_CONCAT(name ORDER BY id)", "GROUP_CONCAT(DISTINCT kind ORDER BY kind SEPARATOR '; ')",
            "GROUP_CONCAT(name, '/', kind ORDER BY id DESC)", "SUM(credit) / SUM(small)", "MAX(id) - MIN(id)",
            "ROUND(AVG(credit), 1)", "COUNT(*) * 100 / COUNT(DISTINCT name)", "IF(SUM(small) > 10, 'many', 'few')",
            "COALESCE(SUM(score IS NULL), 0) + COUNT(*)", "CONCAT(MIN(name), '-', MAX(name))",
        ])  # fmt: skip
        where = self.where(("b", "buyers"))
        tails = [
            "", f" GROUP BY {key}", f" GROUP BY {key} HAVING SUM(credit) > AVG(small)",
            f" GROUP BY {key} HAVING MAX(id) - MIN(id) > 3 OR COUNT(*) = 2",
            f" GROUP BY {key} ORDER BY {chosen}, {key}",
        ]  # fmt: skip
        tail = self.one(tails)
        listed = f"{key}, {chosen}" if tail else chosen
        return self.read(f"SELECT {listed} FROM buyers{where}{tail}", ordered="ORDER BY" in tail)

    # --- whole queries --------------------------------------------------------------------------------------

    def union(self) -> Read:
        arms = [
            "SELECT name FROM buyers{b}", "SELECT title FROM items{i}", "SELECT item FROM purchases{p}",
            "SELECT label FROM years{y}", "SELECT country FROM visits{v}", "SELECT country FROM buyers{b}",
            "SELECT name FROM countries", "SELECT code FROM codes{k}", "SELECT code FROM countries", "SELECT 'Ada'",
        ]  # fmt: skip
        filled = [arm.format(**{kind: self.where((kind, TABLES[kind])) for kind in "bipyvk"}) for arm in arms]
        chosen = self.dice.sample(filled, self.dice.randint(2, 3))
        glue = [self.one(["UNION", "UNION", "UNION ALL", "INTERSECT", "EXCEPT", "UNION DISTINCT"]) for _ in chosen]
        sql = chosen[0] + "".join(f" {word} {arm}" for word, arm in zip(glue, chosen[1:], strict=False))
        form = self.one(["{}", "{}", "SELECT COUNT(*) FROM ({}) u", "{} ORDER BY 1"])
        return self.read(form.format(sql), ordered=False)

    def common(self) -> Read:
        forms = [
            "WITH w AS (SELECT kind, COUNT(*) n FROM buyers{b} GROUP BY kind) SELECT b.id, w.n FROM buyers b JOIN w "
            "ON w.kind = b.kind",
            "WITH w AS (SELECT * FROM items{i}), x AS (SELECT item, SUM(qty) q FROM purchases GROUP BY item) "
            "SELECT w.title, x.q FROM w LEFT JOIN x ON x.item = w.sku",
            "WITH w AS (SELECT AVG(credit) a FROM buyers{b}) SELECT id FROM buyers, w WHERE credit > a ORDER BY id",
            "WITH w (a, b) AS (SELECT name, small FROM buyers{b} UNION SELECT title, 1 FROM items) SELECT * FROM w",
            "WITH w AS (SELECT country FROM visits{v}), x AS (SELECT country FROM buyers UNION SELECT country FROM w) "
            "SELECT COUNT(*) FROM x",
            "SELECT d.kind, d.m, i.title FROM (WITH w AS (SELECT kind, MAX(small) m FROM buyers GROUP BY kind) "
            "SELECT * FROM w) d JOIN items i ON i.price > d.m",
        ]
        form = self.one(forms)
        return self.read(form.format(**{kind: self.where((kind, TABLES[kind])) for kind in "biv"}))

    def recursive(self) -> Read:
        depth = self.dice.randint(2, 5)
        forms = [
            "WITH RECURSIVE t AS (SELECT y, label, 1 AS d FROM years{y} UNION ALL SELECT x.y, x.label, d + 1 FROM t "
            "JOIN years x ON x.y = t.y + 1 WHERE d < {d}) SELECT * FROM t ORDER BY y, d",
            "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {d}) SELECT t.n, COUNT(p.item) "
            "FROM t LEFT JOIN purchases p ON p.qty = t.n GROUP BY t.n",
            "WITH RECURSIVE t AS (SELECT id, name, 0 AS d FROM buyers{b} UNION ALL SELECT b.id, b.name, t.d + 1 FROM "
            "buyers b JOIN t ON b.id = t.id + 1 WHERE t.d < {d}) SELECT d, COUNT(*), MAX(name) FROM t GROUP BY d",
            "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {d}) SELECT n, "
            "(SELECT COUNT(*) FROM buyers b WHERE b.small > n) AS c FROM t",
            "WITH RECURSIVE t AS (SELECT user_id u, hits FROM visits{v} UNION DISTINCT SELECT t.u + 1, t.hits FROM t "
            "WHERE t.u < {d}) SELECT u, COUNT(*) FROM t GROUP BY u",
        ]
        form = self.one(forms)
        given = {kind: self.where((kind, TABLES[kind])) for kind in "ybv"}
        return self.read(form.format(d=depth, **given), ordered="ORDER BY" in form)

    def derived(self) -> Read:
        count = self.dice.randint(1, 9)
        forms = [
            "SELECT t.n, COUNT(*) FROM (SELECT name n FROM buyers{b} ORDER BY id LIMIT {c}) t GROUP BY t.n",
            "SELECT t.kind, t.s FROM (SELECT kind, SUM(credit) s FROM buyers{b} GROUP BY kind) t WHERE t.s > 3",
            "SELECT b.id, t.s FROM buyers b JOIN (SELECT item, SUM(qty) s FROM purchases GROUP BY item) t "
            "ON t.item = b.name OR t.s = b.small",
            "SELECT DISTINCT t.a FROM (SELECT DISTINCT country a, kind FROM buyers{b}) t",
            "SELECT t.* FROM (SELECT sku, price FROM items{i} ORDER BY sku LIMIT {c}) t ORDER BY t.sku DESC",
            "SELECT AVG(t.c), MAX(t.c) FROM (SELECT country, COUNT(*) c FROM buyers{b} GROUP BY country) t",
            "SELECT x.r, COUNT(*) FROM (SELECT RANK() OVER (ORDER BY kind) r FROM buyers) x GROUP BY x.r",
        ]
        form = self.one(forms)
        given = {kind: self.where((kind, TABLES[kind])) for kind in "bi"}
        return self.read(form.format(c=count, **given), ordered="ORDER BY t" in form)

    def moving(self) -> Read:
        """With what is another value on every server."""
        forms = [
            "SELECT id, NOW() > seen FROM buyers ORDER BY id LIMIT 5",
            "SELECT COUNT(*) FROM buyers WHERE born < CURDATE()",
            "SELECT id, LENGTH(UUID()) FROM buyers{b}", "SELECT p.n, RAND() < 2 FROM purchases p",
            "SELECT b.id, CURRENT_DATE > '2000-01-01' AS x FROM buyers b JOIN items i ON i.price < b.credit",
            "SELECT kind, COUNT(*), UNIX_TIMESTAMP() > 5 FROM buyers GROUP BY kind",
        ]
        form = self.one(forms)
        return self.read(form.format(b=self.where(("b", "buyers"))), ordered="ORDER BY" in form)


FORMS: dict[str, Callable[[Reads], Read]] = {
    "inner_join": Reads.inner,
    "three_tables": Reads.three,
    "outer_join": Reads.outer,
    "outer_reference": Reads.reference,
    "self_join": Reads.self_join,
    "semi_join": Reads.semi,
    "correlated": Reads.correlated,
    "rollup": Reads.rollup,
    "any_window": Reads.window,
    "any_aggregate": Reads.aggregate,
    "set_operations": Reads.union,
    "common_tables": Reads.common,
    "recursive": Reads.recursive,
    "derived_tables": Reads.derived,
    "moving_values": Reads.moving,
}
