"""Seeded random reads over several shards, by what of the engine they need.

Whatever is ordered is ordered to the last row, by a key behind the expressions at hand: of ties any order is right.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.differential import bazaar
from tests.differential.reads import Read, protocol

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
AGGREGATES = (
    "COUNT(*)", "COUNT(score)", "COUNT(note)", "SUM(credit)", "SUM(small)", "AVG(credit)", "AVG(small)",
    "SUM(IF(score = 0.1, 0.5, score))",
    "AVG(IF(score = 0.1, 0.5, score))",
    "MIN(credit)", "MAX(credit)", "MIN(email)", "MAX(email)", "MIN(born)", "MAX(seen)", "MIN(kind)",
    "MAX(kind)", "MIN(score)", "MAX(small)", "BIT_AND(small)", "BIT_OR(small)", "BIT_XOR(id)", "SUM(id)", "AVG(id % 7)",
    "SUM(credit * 2)", "MAX(LENGTH(name))", "MIN(UPPER(email))", "SUM(small IS NULL)", "MIN(raw)", "MAX(mask)",
    "COUNT(IF(score > 0, 1, NULL))", "SUM(1)", "MIN(tags)", "MAX(id)", "SUM(LENGTH(note))", "AVG(LENGTH(email))",
)  # fmt: skip
DISTINCT_AGGREGATES = (
    "COUNT(DISTINCT kind)", "COUNT(DISTINCT country)", "COUNT(DISTINCT name)", "COUNT(DISTINCT small)",
    "SUM(DISTINCT small)", "AVG(DISTINCT small)", "COUNT(DISTINCT kind, country)", "COUNT(DISTINCT note)",
    "SUM(DISTINCT credit)", "COUNT(DISTINCT YEAR(born))", "AVG(DISTINCT credit)", "COUNT(DISTINCT score)",
    "MAX(DISTINCT small)",
)  # fmt: skip
GROUP_KEYS = ("kind", "country", "small", "born", "tags", "credit", "id % 3", "YEAR(born)", "small IS NULL", "mask")


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
        return protocol(self.dice, sql, params, ordered=ordered)

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

    # --- aggregates -----------------------------------------------------------------------------------------

    def aggregates(self) -> Read:
        chosen = ", ".join(self.some(AGGREGATES, 1, 4))
        return self.protocol(f"SELECT {chosen} FROM buyers{self.dice.choice(FILTERS)}")

    def distinct_aggregates(self) -> Read:
        chosen = ", ".join([*self.some(DISTINCT_AGGREGATES, 1, 2), *self.some(AGGREGATES, 0, 2)])
        group = self.dice.choice(["", " GROUP BY kind", " GROUP BY country ORDER BY country"])
        return self.protocol(f"SELECT {chosen} FROM buyers{self.dice.choice(FILTERS)}{group}")

    def group_by(self) -> Read:
        keys = self.some(GROUP_KEYS, 1, 2)
        chosen = [*self.some(tuple(keys), 0, len(keys)), *self.some(AGGREGATES, 1, 3)]
        self.dice.shuffle(chosen)
        group = ", ".join(keys)
        order = f" ORDER BY {self.directed(keys)}" if self.dice.random() < 0.5 else ""
        limit, params = self.limit() if order else ("", ())
        sql = f"SELECT {', '.join(chosen)} FROM buyers{self.dice.choice(FILTERS)} GROUP BY {group}{order}{limit}"
        return self.protocol(sql, params, ordered=bool(order))

    def group_by_forms(self) -> Read:
        forms = [
            "SELECT kind AS k, COUNT(*) AS n FROM buyers GROUP BY k ORDER BY n DESC, k",
            "SELECT kind, COUNT(*) FROM buyers GROUP BY 1 ORDER BY 2, 1",
            "SELECT YEAR(born) AS y, SUM(credit) FROM buyers GROUP BY y ORDER BY SUM(credit) DESC, y",
            "SELECT country, MIN(name), MAX(email) FROM buyers GROUP BY country ORDER BY MAX(email)",
            "SELECT id, COUNT(*), MAX(name) FROM buyers GROUP BY id HAVING COUNT(*) > 0 ORDER BY id LIMIT 5",
            "SELECT buyer_id, SUM(amount * qty) / COUNT(*) FROM purchases GROUP BY buyer_id ORDER BY 2, 1",
            "SELECT item, SUM(qty), AVG(amount), COUNT(DISTINCT buyer_id) FROM purchases GROUP BY item ORDER BY item",
            "SELECT b.country, COUNT(*), SUM(p.qty) FROM buyers b JOIN purchases p ON p.buyer_id = b.id "
            "GROUP BY b.country ORDER BY COUNT(*), b.country",
            "SELECT c.name, COUNT(b.id) FROM buyers b JOIN countries c ON c.code = b.country GROUP BY c.name "
            "ORDER BY c.name DESC",
            "SELECT COUNT(*) FROM buyers b LEFT JOIN purchases p ON p.buyer_id = b.id",
            "SELECT COUNT(*), COUNT(score), COUNT(1) FROM buyers WHERE id > 0 LIMIT 1",
            "SELECT id + 0 FROM buyers HAVING id + 0 > 5",
            "SELECT SUM(hits), country FROM visits GROUP BY country ORDER BY country",
            "SELECT MAX(y), MIN(label) FROM years",
            "SELECT COUNT(*) AS `how many?` FROM codes",
        ]
        sql = self.dice.choice(forms)
        return self.protocol(sql, ordered="ORDER BY" in sql)

    def having(self) -> Read:
        key = self.dice.choice(("kind", "country", "small", "YEAR(born)"))
        tests: list[tuple[str, tuple[Any, ...]]] = [
            ("COUNT(*) > 3", ()), ("COUNT(*) >= ?", (2,)), ("5 > COUNT(*)", ()), ("SUM(credit) < 100.5", ()),
            ("AVG(small) > 1.5", ()), ("MAX(id) <> -1", ()), ("COUNT(DISTINCT name) = 4", ()), ("n > 2", ()),
            ("MIN(credit) = -5", ()), ("SUM(IF(score = 0.1, 0.5, score)) > ?", (1.5,)), ("COUNT(note) <= 3", ()),
            (f"{key} IS NOT NULL", ()), (f"{key} > 'E'" if key in ("kind", "country") else f"{key} > 3", ()),
        ]  # fmt: skip
        chosen = self.dice.sample(tests, self.dice.randint(1, 2))
        where, params = self.dice.choice(FILTERS), tuple(param for _, given in chosen for param in given)
        having = " AND ".join(test for test, _ in chosen)
        order = self.dice.choice(["", f" ORDER BY {key}", f" ORDER BY n DESC, {key} LIMIT 3"])
        sql = f"SELECT {key}, COUNT(*) AS n FROM buyers{where} GROUP BY {key} HAVING {having}{order}"
        if self.dice.random() < 0.15:
            return self.protocol(f"SELECT COUNT(*), MAX(credit) FROM buyers{where} HAVING COUNT(*) > 20")
        return self.protocol(sql, params, ordered=bool(order))

    def aggregate_expressions(self) -> Read:
        """Select lists and orders that are computed from whole groups."""
        plain = self.some(AGGREGATES, 2, 3)
        one, other = plain[0], plain[1]
        key = self.dice.choice(("kind", "country", "small", "YEAR(born)", "born", "credit"))
        forms = [
            f"{one} / NULLIF({other}, 0)", "SUM(credit) / COUNT(*)", "COUNT(*) * 2", "ROUND(AVG(credit), 2)",
            "IFNULL(SUM(small), 0)", "COALESCE(MAX(note), 'none')", "SUM(credit) * COUNT(*)",
            "CONCAT(MIN(email), '-', COUNT(*))", "IF(COUNT(*) > 3, 'many', 'few')", "SUM(small) * 3 - 1",
            "CASE WHEN SUM(small) > 10 THEN MAX(email) ELSE MIN(email) END", "MAX(born) + INTERVAL 1 DAY", "-SUM(id)",
            "GREATEST(MAX(credit), MIN(credit) + 1)", "UPPER(MIN(name)) = 'ADA'", "SUM(credit) % 7", "SUM(id) DIV 7",
            "TIMESTAMPDIFF(DAY, MIN(seen), MAX(seen))", "COUNT(*) IN (1, 2, 3)", "MAX(small) IS NULL", "HEX(MAX(raw))",
            "SUM(IF(score = 0.1, 0.5, score)) / COUNT(*)", "CAST(AVG(credit) AS CHAR)", "BIT_OR(small) & 3",
            "COUNT(DISTINCT name) / COUNT(*)", "SUM(DISTINCT small) + 1", "SUM(DISTINCT small) * 2",
            "ROUND(STDDEV_POP(small), 4)", "CAST(SUM(credit) AS SIGNED)", "MAX(credit) BETWEEN 1 AND 20",
            "MAX(seen) > MIN(seen)", "1.5 + MAX(credit)", "LENGTH(MAX(name)) + LENGTH(MIN(email))", "NOT COUNT(*) > 3",
            "MAX(name) LIKE 'A%'", "SUM(small) <=> NULL", "IFNULL(AVG(credit), 0)", "CONCAT(AVG(small), '!')",
        ]  # fmt: skip
        chosen = self.some(tuple(forms), 1, 3)
        where = self.dice.choice(FILTERS)
        if self.dice.random() < 0.3:
            # Among groups it is the servers' plan that decides how many digits of AVG there are.
            means = ("AVG(small) * 3", "AVG(credit) * 7 - 1", "SUM(credit) - AVG(credit) * COUNT(*)", "AVG(id) > 2")
            return self.protocol(f"SELECT {', '.join([*chosen, self.dice.choice(means)])} FROM buyers{where}")
        if key != "credit" and self.dice.random() < 0.3:
            chosen.append(f"CONCAT({key}, ':', COUNT(*))")
        order = self.dice.choice(
            ["", f" ORDER BY {key}", f" ORDER BY {self.dice.choice(chosen)} DESC, {key}",
             f" ORDER BY SUM(credit) / COUNT(*), {key}", f" ORDER BY -COUNT(*), {key} LIMIT 3",
             f" ORDER BY CONCAT(MIN(name), COUNT(*)), {key} DESC", f" ORDER BY 1, {key}"]
        )  # fmt: skip
        if self.dice.random() < 0.3:
            limit = f"SELECT {key}, SUM(credit) * ? AS x, MAX(email) = ? FROM buyers{where} GROUP BY {key}"
            value = self.dice.choice([2, 3, 1000, None])
            return self.protocol(f"{limit} ORDER BY x, {key}", (value, "3@eu.example"), ordered=True)
        return self.protocol(
            f"SELECT {', '.join(chosen)} FROM buyers{where} GROUP BY {key}{order}", ordered=bool(order)
        )

    def having_expressions(self) -> Read:
        key = self.dice.choice(("kind", "country", "small", "YEAR(born)"))
        tests: list[tuple[str, tuple[Any, ...]]] = [
            ("COUNT(*) > 3 OR SUM(credit) < 0", ()), ("NOT COUNT(*) > ?", (5,)), ("SUM(credit) / COUNT(*) > 1.5", ()),
            ("COUNT(*) BETWEEN 2 AND 6", ()), ("MAX(name) > 'E'", ()), ("n * 2 > 7", ()), ("n IN (1, 3, 5, 7)", ()),
            ("n > 2 OR a IS NULL", ()), ("MAX(credit) = MIN(credit)", ()), ("AVG(small) > (SUM(small) + ?) / 10", (1,)),
            (f"{key} IS NULL OR COUNT(*) > 4", ()), ("MAX(born) > '1980-01-01'", ()), ("MIN(email) LIKE ?", ("1%",)),
            ("COUNT(*) > 3 XOR MAX(small) > 10", ()), ("COUNT(DISTINCT name) > COUNT(*) / 2", ()), ("NOT (n = 3)", ()),
            ("MAX(name) IS NOT NULL", ()), ("CASE WHEN n > 3 THEN a > 1 ELSE a < 1 END", ()), ("a + n", ()),
        ]  # fmt: skip
        chosen = self.dice.sample(tests, self.dice.randint(1, 2))
        where, params = self.dice.choice(FILTERS), tuple(param for _, given in chosen for param in given)
        having = self.dice.choice([" AND ", " OR "]).join(f"({test})" for test, _ in chosen)
        order = self.dice.choice(["", f" ORDER BY {key}", f" ORDER BY n + ROUND(a, 1) DESC, {key} LIMIT 3"])
        sql = f"SELECT {key}, COUNT(*) AS n, AVG(small) AS a FROM buyers{where} GROUP BY {key} HAVING {having}{order}"
        if self.dice.random() < 0.15:
            return self.protocol(f"SELECT COUNT(*), MAX(credit) FROM buyers{where} HAVING COUNT(*) > 20 OR MIN(id) = 1")
        return self.protocol(sql, params, ordered=bool(order))

    def distinct_groups(self) -> Read:
        """DISTINCT over groups (MariaDB is wrong about expressions over aggregates there)."""
        key = self.dice.choice(("kind", "country", "small", "YEAR(born)"))
        chosen = self.some(("COUNT(*)", "MAX(kind)", "SUM(small)", "MIN(born)", "MAX(small)"), 1, 2)
        order = f" ORDER BY {self.directed(list(chosen))}" if self.dice.random() < 0.6 else ""
        limit, params = self.limit() if order else ("", ())
        where = self.dice.choice(FILTERS)
        sql = f"SELECT DISTINCT {', '.join(chosen)} FROM buyers{where} GROUP BY {key}{order}{limit}"
        return self.protocol(sql, params, ordered=bool(order))

    def collected(self) -> Read:
        """GROUP_CONCAT and the JSON aggregates."""
        key = self.dice.choice(("kind", "country", "small", "YEAR(born)", "credit"))
        where = self.dice.choice(FILTERS)
        exact = (
            "GROUP_CONCAT(id ORDER BY id)", "GROUP_CONCAT(name ORDER BY id DESC SEPARATOR ' | ')",
            "GROUP_CONCAT(DISTINCT country ORDER BY country)", "GROUP_CONCAT(DISTINCT kind ORDER BY kind DESC)",
            "GROUP_CONCAT(name, '=', credit ORDER BY name, id SEPARATOR '')",
            "GROUP_CONCAT(note ORDER BY email)",
            "GROUP_CONCAT(email ORDER BY credit DESC, id)", "GROUP_CONCAT(DISTINCT small ORDER BY small SEPARATOR ';')",
            "GROUP_CONCAT(raw ORDER BY id)", "GROUP_CONCAT(born ORDER BY seen, id)", "LENGTH(GROUP_CONCAT(name, id))",
            "GROUP_CONCAT(id % 3 ORDER BY id % 3)", "UPPER(GROUP_CONCAT(email ORDER BY id))", "COUNT(*)", "SUM(credit)",
            "COUNT(DISTINCT country)", "GROUP_CONCAT(IF(id % 2, 'odd', 'even') ORDER BY id % 2, id)", "AVG(small)",
        )  # fmt: skip
        loose = (
            "GROUP_CONCAT(id)", "GROUP_CONCAT(name SEPARATOR '/')", "JSON_ARRAYAGG(name)", "JSON_ARRAYAGG(small)",
            "JSON_OBJECTAGG(id, name)", "JSON_OBJECTAGG(email, credit)", "JSON_ARRAYAGG(credit)", "GROUP_CONCAT(tags)",
            "JSON_ARRAYAGG(note)", "MAX(credit)", "GROUP_CONCAT(DISTINCT kind)",
        )  # fmt: skip
        mixed = self.dice.random() < 0.3
        chosen = ", ".join(self.some(loose if mixed else exact, 1, 3))
        if self.dice.random() < 0.2:
            return replace(self.protocol(f"SELECT {chosen} FROM buyers{where}"), mixed=mixed)
        order = self.dice.choice(["", f" ORDER BY {key}"])
        sql = f"SELECT {key}, {chosen} FROM buyers{where} GROUP BY {key}{order}"
        return replace(self.protocol(sql, ordered=bool(order)), mixed=mixed)

    # --- what shards compute for themselves -----------------------------------------------------------------

    def unions(self) -> Read:
        where, other = self.dice.choice(FILTERS), self.dice.choice(FILTERS)
        forms = [
            f"SELECT id, name FROM buyers{where} UNION ALL SELECT n, item FROM purchases",
            f"SELECT id FROM buyers{where} UNION ALL SELECT id FROM buyers{other}",
            f"SELECT kind, id FROM buyers{where} UNION ALL SELECT country, small FROM buyers{other} "
            "UNION ALL SELECT item, qty FROM purchases",
            f"(SELECT name, credit FROM buyers{where}) UNION ALL (SELECT item, amount FROM purchases)",
            f"SELECT b.name, p.n FROM buyers b JOIN purchases p ON p.buyer_id = b.id UNION ALL SELECT email, id "
            f"FROM buyers{other}",
        ]
        return self.protocol(self.dice.choice(forms))

    def set_operations(self) -> Read:
        where, other = self.dice.choice(FILTERS), self.dice.choice(FILTERS)
        arms = [
            (f"SELECT id, name FROM buyers{where}", "SELECT n, item FROM purchases"),
            (f"SELECT country AS k, kind FROM buyers{where}", f"SELECT kind, country FROM buyers{other}"),
            (f"SELECT kind, small FROM buyers{where}", f"SELECT country, credit FROM buyers{other}"),
            (f"SELECT name AS n, note FROM buyers{where}", "SELECT name, code FROM countries"),
            ("SELECT code AS c, name FROM countries", f"SELECT country, email FROM buyers{other}"),
            (f"SELECT born AS d, seen FROM buyers{where}", f"SELECT born, seen FROM buyers{other}"),
            (f"SELECT small AS a, raw FROM buyers{where}", "SELECT qty, NULL FROM purchases"),
            (f"SELECT DISTINCT country AS c, 1 AS one FROM buyers{where}", "SELECT 'DE', 1"),
        ]
        first, second = self.dice.choice(arms)
        word = self.dice.choice(("UNION", "UNION", "UNION DISTINCT", "UNION ALL"))
        if "countries" in first + second or "DISTINCT" in first:
            word = "UNION"
        if self.dice.random() < 0.2:
            keys = ["SELECT id FROM buyers" + where, "SELECT buyer_id FROM purchases", "SELECT id FROM buyers" + other]
            self.dice.shuffle(keys)
            word = self.dice.choice(("INTERSECT", "EXCEPT", "UNION"))
            tail = self.dice.choice(["", " ORDER BY 1", " ORDER BY 1 DESC LIMIT 4"])
            return self.protocol(f"{keys[0]} {word} {keys[1]}{tail}", ordered=bool(tail))
        third = f" {word} SELECT name, currency FROM countries" if word == "UNION" and "name AS n" in first else ""
        order = self.dice.choice(["", " ORDER BY 1, 2", " ORDER BY 2 DESC, 1", " ORDER BY 1 DESC, 2"])
        limit, params = self.limit() if order else ("", ())
        parts = (f"({first})", f"({second})") if self.dice.random() < 0.3 else (first, second)
        return self.protocol(f"{parts[0]} {word} {parts[1]}{third}{order}{limit}", params, ordered=bool(order))

    def windows(self) -> Read:
        call = self.dice.choice(
            ("ROW_NUMBER()", "RANK()", "SUM(amount)", "COUNT(*)", "MAX(item)", "LAG(n)", "AVG(qty)", "DENSE_RANK()")
        )
        framed = self.dice.choice(["", " ORDER BY n", " ORDER BY n DESC"])
        order = self.dice.choice(["", " ORDER BY buyer_id, n", " ORDER BY w DESC, buyer_id, n LIMIT 7"])
        if "ROW_NUMBER" in call or "LAG" in call or "RANK" in call:
            framed = framed or " ORDER BY n"
        window = f"{call} OVER (PARTITION BY buyer_id{framed})"
        return self.protocol(f"SELECT buyer_id, n, {window} AS w FROM purchases{order}", ordered=bool(order))

    def subqueries(self) -> Read:
        where = self.dice.choice(FILTERS)
        glue = "AND" if where else "WHERE"
        conditions = [
            "id IN (SELECT buyer_id FROM purchases)", "id NOT IN (SELECT buyer_id FROM purchases)",
            "id IN (SELECT p.buyer_id FROM purchases p WHERE p.qty > 1)",
            "EXISTS (SELECT 1 FROM purchases p WHERE p.buyer_id = id)",
            "country IN (SELECT code FROM countries)", "credit > (SELECT COUNT(*) FROM countries)",
            "NOT EXISTS (SELECT 1 FROM purchases p WHERE p.buyer_id = buyers.id AND p.qty = 2)",
        ]  # fmt: skip
        tails = ["", " ORDER BY id", " ORDER BY name, id LIMIT 5"]
        tail = self.dice.choice(tails)
        listed = self.dice.choice(["id, name", "COUNT(*), MAX(name)", "*"])
        if "COUNT" in listed:
            tail = ""
        sql = f"SELECT {listed} FROM buyers{where} {glue} {self.dice.choice(conditions)}{tail}"
        return self.protocol(sql, ordered=bool(tail))

    def pulled_subqueries(self) -> Read:
        """Subqueries about other shards' rows, which go first."""
        where, other = self.dice.choice(FILTERS), self.dice.choice(FILTERS)
        glue = "AND" if where else "WHERE"
        single = ("AVG(amount)", "MAX(n)", "MIN(amount) + 5", "SUM(qty) / COUNT(*)", "COUNT(*)", "MAX(amount) * 2")
        conditions: list[tuple[str, tuple[Any, ...]]] = [
            (f"credit > (SELECT {self.dice.choice(single)} FROM purchases)", ()),
            (f"credit <= (SELECT AVG(credit) FROM buyers{other})", ()),
            ("(SELECT MAX(qty) FROM purchases) < small", ()),
            (f"small IN (SELECT qty FROM purchases) OR small IN (SELECT small FROM buyers{other})", ()),
            (f"small NOT IN (SELECT small FROM buyers{other})", ()),
            ("credit NOT IN (SELECT amount FROM purchases WHERE qty > 100)", ()),
            (f"country IN (SELECT country FROM buyers{other})", ()),
            (f"name = (SELECT MAX(name) FROM buyers{other})", ()),
            (f"born = (SELECT MIN(born) FROM buyers{other})", ()), ("seen < (SELECT MAX(seen) FROM buyers)", ()),
            ("EXISTS (SELECT 1 FROM purchases WHERE qty > 2)", ()),
            ("NOT EXISTS (SELECT 1 FROM years WHERE y > ?)", (self.dice.choice([2000, 5000]),)),
            ("id IN (SELECT MAX(id) FROM buyers)", ()), ("credit = (SELECT credit FROM buyers WHERE id < 0)", ()),
            ("raw IN (SELECT raw FROM buyers WHERE small > ?)", (3,)), ("score >= (SELECT MAX(score) FROM buyers)", ()),
            ("small > (SELECT COUNT(*) FROM years WHERE y IN (SELECT qty FROM purchases))", ()),
            ("id > (SELECT id FROM buyers WHERE id > 0)", ()),
            ("credit > (SELECT COUNT(*) FROM countries) + 1 AND small < (SELECT COUNT(*) FROM codes)", ()),
        ]  # fmt: skip
        condition, params = self.dice.choice(conditions)
        tails = ["", " ORDER BY id", " ORDER BY name, id LIMIT 5"]
        tail = self.dice.choice(tails)
        listed = self.dice.choice(["id, name", "COUNT(*), MAX(name)", "*"])
        if "COUNT" in listed:
            tail = ""
        sql = f"SELECT {listed} FROM buyers{where} {glue} ({condition}){tail}"
        if self.dice.random() < 0.15:
            having = "COUNT(*) > (SELECT AVG(used) FROM codes)"
            return self.protocol(f"SELECT country, COUNT(*) FROM buyers GROUP BY country HAVING {having}")
        return self.protocol(sql, params, ordered=bool(tail))

    def derived(self) -> Read:
        per_buyer = "SELECT buyer_id, SUM(qty) AS s, COUNT(*) AS c FROM purchases GROUP BY buyer_id"
        forms = [
            f"SELECT t.s, t.buyer_id FROM ({per_buyer}) t ORDER BY t.s DESC, t.buyer_id",
            f"SELECT AVG(t.s), MAX(t.c) FROM ({per_buyer}) t",
            f"SELECT b.name, t.s FROM buyers b JOIN ({per_buyer}) t ON t.buyer_id = b.id ORDER BY b.id",
            f"SELECT b.id, t.c FROM buyers b JOIN ({per_buyer} HAVING COUNT(*) > 1) t ON t.buyer_id = b.id",
            f"WITH t AS ({per_buyer}) SELECT c, COUNT(*) FROM t GROUP BY c ORDER BY c",
            "WITH w AS (SELECT id, kind, name FROM buyers WHERE small > 1) SELECT kind, MIN(name) FROM w GROUP BY kind",
            "SELECT x.k, COUNT(*) FROM (SELECT kind AS k, id FROM buyers) x GROUP BY x.k ORDER BY x.k",
            "SELECT d.* FROM (SELECT id, email FROM buyers WHERE credit > 1) d ORDER BY d.email LIMIT 3",
            "SELECT t.n, t.r FROM (SELECT n, item, RANK() OVER (PARTITION BY buyer_id ORDER BY n) r FROM purchases) t",
        ]
        sql = self.dice.choice(forms)
        return self.protocol(sql, ordered="ORDER BY" in sql.rpartition(")")[2])


FEATURES: dict[str, Callable[[Reads], Read]] = {
    "order_by": Reads.order_by,
    "order_by_alias_and_place": Reads.order_by_alias_and_place,
    "limit": Reads.limits,
    "distinct": Reads.distinct,
    "aggregates": Reads.aggregates,
    "distinct_aggregates": Reads.distinct_aggregates,
    "group_by": Reads.group_by,
    "group_by_forms": Reads.group_by_forms,
    "having": Reads.having,
    "aggregate_expressions": Reads.aggregate_expressions,
    "having_expressions": Reads.having_expressions,
    "distinct_groups": Reads.distinct_groups,
    "collected": Reads.collected,
    "union_all": Reads.unions,
    "set_operations": Reads.set_operations,
    "window": Reads.windows,
    "subquery": Reads.subqueries,
    "pulled_subqueries": Reads.pulled_subqueries,
    "derived": Reads.derived,
}
TABLES = bazaar.TABLES
