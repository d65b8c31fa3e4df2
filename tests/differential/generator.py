"""Seeded random statements over the bazaar: what applications send, in odd and even forms.

A statement is *pinned* when one shard key fixes its shard in a way that a user would expect to work; how
many of these, and of all, must be answered test_differential.py says. None may be answered wrongly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.differential import bazaar

COLUMNS = ("id", "name", "email", "country", "score", "credit", "born", "seen", "kind", "tags", "mask", "note")
COLUMNS += ("raw", "small")
EXPRESSIONS = (
    "UPPER(name)", "credit * 2", "credit / 3", "score + 0.1", "CONCAT(name, '-', country)", "COALESCE(note, 'none')",
    "IF(score > 0, 'up', 'down')", "CASE kind WHEN 'vip' THEN 1 ELSE NULL END", "kind + 0", "tags + 0", "HEX(raw)",
    "DATE_FORMAT(born, '%Y/%m')", "LENGTH(note)", "id % 7", "small - 1", "name LIKE 'A%'", "NULL", "-1", "'it''s'",
    "1 = 1", "mask + 0", "CAST(credit AS CHAR)", "seen", "born + INTERVAL 1 DAY", "x'41'", "0x41", "1e3", ".5",
    "name COLLATE utf8mb4_bin", "(SELECT COUNT(*) FROM countries)", "(SELECT 'a')", "TRUE", "DATE '2026-01-02'",
)  # fmt: skip
AGGREGATES = ("COUNT(*)", "MIN(credit)", "MAX(name)", "SUM(credit)", "AVG(credit)", "COUNT(DISTINCT kind)")
FILTERS = (
    "name LIKE '%a%'", "score IS NULL", "credit > 1", "kind IN ('new', 'vip')", "NOT (kind = 'old')", "1",
    "country <> 'XX'", "born BETWEEN '1960-01-01' AND '2010-01-01'", "small = 5", "name = 'Ada'", "raw = ''",
    "EXISTS (SELECT 1 FROM countries c WHERE c.code = country)", "note IS NOT NULL", "FIND_IN_SET('a', tags)",
    "(score > 0 OR score IS NULL)", "country IN (SELECT code FROM countries)", "email LIKE '%@%'",
)  # fmt: skip
LATIN_TEXTS = ("plain", "it''s", "größe", "", "-- no", "?")
TEXTS = (*LATIN_TEXTS, 'say "hi"', "back\\\\slash", "日本", "%_", "/* no */", "#no", "a;b")


@dataclass(frozen=True, slots=True)
class Statement:
    """`params` None: text protocol. `ordered`: rows must come in the same order."""

    sql: str
    params: tuple[Any, ...] | None = None
    pinned: bool = True
    ordered: bool = False
    write: bool = False

    @property
    def reads_tables(self) -> bool:
        return not self.write and " FROM " in self.sql and not self.sql.startswith("SHOW")


class Generator:
    """`siblings`: buyer id -> all ids of its shard. `texts`: what string literals are made of."""

    def __init__(self, seed: int, siblings: Mapping[int, Sequence[int]], *, texts: Sequence[str] = TEXTS) -> None:
        self._dice = random.Random(seed)
        self._siblings = siblings
        self._texts = texts
        self._fresh = 1000
        self._kinds: list[tuple[int, Callable[[], Statement]]] = [
            (5, self._select), (2, self._ordered), (2, self._aggregate), (3, self._join), (2, self._subquery),
            (1, self._union), (2, self._lookup), (3, self._scatter), (1, self._reference), (1, self._pinned_table),
            (2, self._insert), (1, self._insert_many), (1, self._replace), (1, self._upsert), (3, self._update),
            (2, self._delete), (1, self._write_all), (1, self._session), (2, self._mistake), (1, self._derived),
        ]  # fmt: skip

    def statement(self) -> Statement:
        """The next one. One in three of those that can be is a prepared statement with parameters."""
        weights = [weight for weight, _ in self._kinds]
        made = self._dice.choices(self._kinds, weights)[0][1]()
        if made.params is None and self._dice.random() < 0.25 and "@" not in made.sql:
            return Statement(made.sql, (), made.pinned, made.ordered, made.write)
        return made

    # --- pieces ---------------------------------------------------------------------------------------------

    def _id(self) -> int:
        known = self._dice.choice(bazaar.buyer_ids())
        return known if self._dice.random() < 0.85 else known + 5000

    def _key(self, key: int) -> str:
        """A shard key as somebody might write it."""
        forms = [str(key)] * 8
        forms += [f"'{key}'", f"{key}.0", hex(key), f"({key})", f"+{key}", f"0{key}", f"'{key}.0'", f" {key} "]
        return self._dice.choice(forms)

    def _pin(self, column: str, key: int) -> tuple[str, tuple[Any, ...] | None]:
        """(condition, parameters or None) that fixes one shard."""
        other = self._dice.choice(self._siblings.get(key, [key]))
        if self._dice.random() < 0.3:
            params = self._dice.choice([key, key, key, str(key), float(key)])
            forms = [(f"{column} = ?", (params,)), (f"? = {column}", (key,)), (f"{column} IN (?, ?)", (key, other))]
            return self._dice.choice(forms)
        text = self._key(key)
        texts = [f"{column} = {text}"] * 4
        texts += [f"{text} = {column}", f"{column} IN ({text})", f"{column} IN ({key}, {other})", f"{column} <=> {key}"]
        texts += [f"({column} = {text})", f"{column} = {key} OR {column} = {other}", f"{column}={text}"]
        texts += [f"{column} = {key} AND {column} > 0", f"{column} = {key} AND {column} = {key}"]
        return self._dice.choice(texts), None

    def _where(self, column: str, key: int, prefix: str = "") -> tuple[str, tuple[Any, ...] | None]:
        condition, params = self._pin(column, key)
        extra = self._dice.choice(FILTERS)
        if prefix or self._dice.random() < 0.5:
            return f"({condition})" if " OR " in condition else condition, params
        return self._dice.choice([f"({condition}) AND {extra}", f"{extra} AND ({condition})"]), params

    def _list(self) -> str:
        chosen = self._dice.sample(COLUMNS, self._dice.randrange(1, 4))
        chosen += self._dice.sample(EXPRESSIONS, self._dice.randrange(0, 3))
        self._dice.shuffle(chosen)
        if self._dice.random() < 0.2:
            chosen[0] += self._dice.choice([" AS x", " y", " AS `odd name`", " AS 'text'"])
        return "*" if self._dice.random() < 0.15 else ", ".join(chosen)

    def _text(self) -> str:
        return f"'{self._dice.choice(self._texts)}'"

    # --- reads ----------------------------------------------------------------------------------------------

    def _select(self) -> Statement:
        where, params = self._where("id", self._id())
        comment = self._dice.choice(["", "", "", "/* it's */ ", "-- x\n", "# y\n"])
        end = self._dice.choice(["", "", "", ";", " LIMIT 100", " FOR UPDATE", " LOCK IN SHARE MODE"])
        return Statement(f"{comment}SELECT {self._list()} FROM buyers WHERE {where}{end}", params)

    def _ordered(self) -> Statement:
        key = self._id()
        where, params = self._where("buyer_id", key, "plain")
        order = self._dice.choice(["n", "n DESC", "buyer_id, n", "buyer_id DESC, n DESC", "2, 1"])
        limit = self._dice.choice(["", " LIMIT 2", " LIMIT 1, 2", " LIMIT 1 OFFSET 1"])
        sql = f"SELECT buyer_id, n, item, amount * qty FROM purchases WHERE {where} ORDER BY {order}{limit}"
        return Statement(sql, params, ordered=order != "n" and order != "n DESC")

    def _aggregate(self) -> Statement:
        where, params = self._where("id", self._id())
        chosen = ", ".join(self._dice.sample(AGGREGATES, 2))
        tails = ["", " GROUP BY kind", " GROUP BY kind HAVING COUNT(*) > 0", " GROUP BY country, kind"]
        tail = self._dice.choice(tails)
        return Statement(f"SELECT {chosen} FROM buyers WHERE {where}{tail}", params)

    def _join(self) -> Statement:
        key = self._id()
        pin, params = self._where(self._dice.choice(["b.id", "p.buyer_id"]), key, "plain")
        join = self._dice.choice(
            [
                "buyers b JOIN purchases p ON p.buyer_id = b.id",
                "buyers b INNER JOIN purchases AS p ON b.id = p.buyer_id",
                "buyers AS b LEFT JOIN purchases p ON p.buyer_id = b.id",
                "buyers b, purchases p",
                "purchases p RIGHT JOIN buyers b ON b.id = p.buyer_id",
                "buyers b JOIN purchases p ON p.buyer_id = b.id JOIN countries c ON c.code = b.country",
                "countries c JOIN buyers b ON b.country = c.code JOIN purchases p ON p.buyer_id = b.id",
                "buyers b STRAIGHT_JOIN purchases p ON p.buyer_id = b.id",
            ]
        )
        where = f"{pin} AND p.buyer_id = b.id" if "," in join else pin
        chosen = self._dice.choice(["b.*, p.*", "b.name, p.item, p.amount", "p.n, b.id, b.kind", "COUNT(*)", "*"])
        pinned = "p.buyer_id" not in pin or " LEFT " not in join
        return Statement(f"SELECT {chosen} FROM {join} WHERE {where}", params, pinned and "RIGHT" not in join)

    def _subquery(self) -> Statement:
        key = self._id()
        forms = [
            f"SELECT id, (SELECT COUNT(*) FROM purchases p WHERE p.buyer_id = b.id) FROM buyers b WHERE id = {key}",
            f"SELECT id FROM buyers WHERE id = {key} AND id IN (SELECT buyer_id FROM purchases WHERE buyer_id = {key})",
            f"SELECT * FROM buyers b WHERE b.id = {key} AND EXISTS (SELECT 1 FROM purchases p WHERE p.buyer_id = b.id)",
            f"SELECT id FROM buyers WHERE id = {key} AND country NOT IN (SELECT code FROM countries)",
            f"SELECT (SELECT name FROM buyers WHERE id = {key}) AS n",
            f"SELECT MAX(n) FROM purchases WHERE buyer_id = {key} AND amount > "
            f"(SELECT AVG(amount) FROM purchases WHERE buyer_id = {key})",
        ]
        return Statement(self._dice.choice(forms))

    def _derived(self) -> Statement:
        key = self._id()
        forms = [
            f"SELECT t.n, t.c FROM (SELECT name n, COUNT(*) c FROM buyers WHERE id = {key} GROUP BY name) t",
            f"WITH w AS (SELECT * FROM purchases WHERE buyer_id = {key}) SELECT item, qty FROM w",
            f"SELECT t.* FROM (SELECT 1 AS one, 'x' AS x) t JOIN buyers b ON b.id = {key}",
            f"SELECT b.id, t.s FROM buyers b JOIN (SELECT buyer_id, SUM(qty) s FROM purchases WHERE buyer_id = {key} "
            f"GROUP BY buyer_id) t ON t.buyer_id = b.id WHERE b.id = {key}",
        ]
        return Statement(self._dice.choice(forms))

    def _union(self) -> Statement:
        key = self._id()
        verb = self._dice.choice(["UNION", "UNION ALL"])
        one = f"SELECT id, name FROM buyers WHERE id = {key}"
        forms = [
            f"{one} {verb} SELECT n, item FROM purchases WHERE buyer_id = {key}",
            f"{one} {verb} SELECT code, name FROM countries",
            f"({one}) {verb} ({one})",
        ]
        return Statement(self._dice.choice(forms))

    def _lookup(self) -> Statement:
        """Keys of other types than whole numbers."""
        sku = self._dice.choice(bazaar.skus()).replace("\\", "\\\\").replace("'", "''")
        code, year = self._dice.choice(bazaar.codes()), self._dice.choice(bazaar.years())
        country, user = self._dice.choice(bazaar.visits())
        forms: list[tuple[str, tuple[Any, ...] | None]] = [
            (f"SELECT * FROM codes WHERE code = '{code}'", None),
            (f"SELECT * FROM codes WHERE code = '{code.upper()}'", None),
            (f"SELECT * FROM codes WHERE code = '{code}  '", None),
            (f"SELECT label FROM years WHERE y = {year}", None),
            (f"SELECT label FROM years WHERE y = '{year}'", None),
            (f"SELECT * FROM years WHERE y IN ({year})", None),
            ("SELECT * FROM years WHERE y = ?", (year,)),
            ("SELECT * FROM codes WHERE code = ?", (code,)),
            (f"SELECT * FROM visits WHERE country = '{country}' AND user_id = {user}", None),
            (f"SELECT hits FROM visits WHERE user_id = {user} AND '{country}' = country", None),
            ("SELECT * FROM visits WHERE country = ? AND user_id = ?", (country, user)),
        ]
        if sku.isascii() and "\\" not in sku:
            forms += [(f"SELECT * FROM items WHERE sku = '{sku}{pad}'", None) for pad in ("", "  ")]
            forms += [("SELECT * FROM items WHERE sku = ?", (sku.replace("''", "'"),))]
        sql, params = self._dice.choice(forms)
        return Statement(sql, params)

    def _scatter(self) -> Statement:
        where = self._dice.choice(["", f" WHERE {self._dice.choice(FILTERS)}"])
        some = ", ".join(str(self._id()) for _ in range(4))
        forms = [
            f"SELECT {self._list()} FROM buyers{where}",
            f"SELECT {self._list()} FROM buyers WHERE id IN ({some})",
            "SELECT b.name, p.item FROM buyers b JOIN purchases p ON p.buyer_id = b.id",
            "SELECT b.name, c.name FROM buyers b JOIN countries c ON c.code = b.country",
            "SELECT b.name, c.name FROM buyers b LEFT JOIN countries c ON c.code = b.country",
            "SELECT c.name, b.id FROM countries c LEFT JOIN buyers b ON c.code = b.country",
            f"SELECT COUNT(*) FROM buyers{where}",
            "SELECT kind, COUNT(*) FROM buyers GROUP BY kind",
            "SELECT id FROM buyers ORDER BY id LIMIT 5",
            "SELECT DISTINCT kind FROM buyers",
            "SELECT id, name FROM buyers UNION ALL SELECT n, item FROM purchases",
            "SELECT * FROM years WHERE y BETWEEN 1 AND 2005",
            "SELECT * FROM codes WHERE used > 1",
            f"SELECT id FROM buyers WHERE id > {bazaar.US}",
            f"SELECT id FROM buyers WHERE id = {bazaar.EU + 1} OR name = 'Ada'",
            f"SELECT id FROM buyers WHERE NOT id = {bazaar.EU + 1}",
            f"SELECT id FROM buyers WHERE id + 0 = {bazaar.EU + 1}",
            "SELECT id FROM buyers WHERE id IN (SELECT buyer_id FROM purchases)",
            "SELECT b.id FROM buyers b WHERE NOT EXISTS (SELECT 1 FROM purchases p WHERE p.buyer_id = b.id)",
        ]
        return Statement(self._dice.choice(forms), pinned=False)

    def _reference(self) -> Statement:
        forms = [
            "SELECT * FROM countries ORDER BY code",
            "SELECT COUNT(*), MAX(name) FROM countries",
            "SELECT c.code, d.code FROM countries c JOIN countries d ON c.currency = d.currency ORDER BY 1, 2",
            "SELECT name FROM countries WHERE code = 'DE'",
            "SELECT currency, COUNT(*) FROM countries GROUP BY currency ORDER BY currency",
        ]
        return Statement(self._dice.choice(forms), ordered=True)

    def _pinned_table(self) -> Statement:
        forms = [
            "SELECT * FROM settings ORDER BY name",
            "SELECT s.value, c.name FROM settings s JOIN countries c ON c.currency = s.value",
            "SELECT COUNT(*) FROM settings WHERE value LIKE '%5%'",
        ]
        return Statement(self._dice.choice(forms))

    # --- writes ---------------------------------------------------------------------------------------------

    def _new(self) -> int:
        self._fresh += 1
        return self._dice.choice([bazaar.EU, bazaar.US]) + self._fresh

    def _insert(self) -> Statement:
        key, text = self._new(), self._text()
        forms: list[tuple[str, tuple[Any, ...] | None]] = [
            (f"INSERT INTO buyers (id, name, country) VALUES ({self._key(key)}, {text}, 'DE')", None),
            (f"INSERT INTO buyers (name, country, id) VALUES ({text}, 'DE', {key})", None),
            (f"INSERT buyers SET id = {key}, name = {text}, country = 'SE', small = 3", None),
            ("INSERT INTO buyers (id, name, country, score, note) VALUES (?, ?, 'US', ?, ?)", (key, "né", 0.5, None)),
            (f"INSERT INTO purchases VALUES ({key}, 1, {text}, 1.25, DEFAULT)", None),
            (f"INSERT INTO purchases (buyer_id, n, item) VALUES ({key}, 1, {text}), ({key}, 2, 'two')", None),
            ("INSERT INTO purchases (buyer_id, n, item) VALUES (?, 1, ?), (?, 2, ?)", (key, "a", key, "b")),
            (f"INSERT IGNORE INTO buyers (id, name, country) VALUES ({self._id()}, 'x', 'DE')", None),
            (f"INSERT INTO purchases (buyer_id, n, item) SELECT id, 9, name FROM buyers WHERE id = {self._id()}", None),
            (f"INSERT INTO codes VALUES ('n{key}', 1)", None),
        ]
        sql, params = self._dice.choice(forms)
        return Statement(sql, params, write=True, pinned="SELECT" not in sql)

    def _insert_many(self) -> Statement:
        rows = ", ".join(f"({self._new()}, 'row {index}', 'DE')" for index in range(self._dice.randrange(2, 6)))
        verb = self._dice.choice(["INSERT", "INSERT IGNORE"])
        return Statement(f"{verb} INTO buyers (id, name, country) VALUES {rows}", pinned=False, write=True)

    def _replace(self) -> Statement:
        code, used = self._dice.choice(bazaar.codes()), self._dice.randrange(9)
        return Statement(f"REPLACE INTO codes (code, used) VALUES ('{code}', {used})", write=True)

    def _upsert(self) -> Statement:
        key = self._id()
        change = self._dice.choice(["qty = qty + 1", "amount = VALUES(amount)", "item = 'again', qty = 0", "qty = qty"])
        sql = f"INSERT INTO purchases (buyer_id, n, item) VALUES ({key}, 1, 'up') ON DUPLICATE KEY UPDATE {change}"
        return Statement(sql, write=True)

    def _update(self) -> Statement:
        where, params = self._where("id", self._id())
        change = self._dice.choice(
            [
                f"name = {self._text()}", "credit = credit + 1", "score = NULL", "kind = 'vip', tags = 'a,c'",
                "note = CONCAT(name, kind)", "small = 255", "born = '2020-02-30'", "small = 'x'", "credit = credit",
                "name = (SELECT name FROM countries WHERE code = 'JP')",
            ]
        )  # fmt: skip
        end = self._dice.choice(["", "", " LIMIT 1", " ORDER BY id LIMIT 3"])
        if "EXISTS" in where and end:
            end = ""
        return Statement(f"UPDATE buyers SET {change} WHERE {where}{end}", params, write=True)

    def _delete(self) -> Statement:
        key = self._id()
        where, params = self._where("buyer_id", key, "plain")
        forms: list[tuple[str, tuple[Any, ...] | None]] = [
            (f"DELETE FROM purchases WHERE {where}", params),
            (f"DELETE FROM purchases WHERE {where} AND n = 1", params),
            (f"DELETE FROM purchases WHERE buyer_id = {key} ORDER BY n DESC LIMIT 1", None),
            (f"DELETE p FROM purchases p JOIN buyers b ON b.id = p.buyer_id WHERE b.id = {key}", None),
            (f"UPDATE purchases p JOIN buyers b ON b.id = p.buyer_id SET p.qty = 7 WHERE b.id = {key}", None),
        ]
        sql, found = self._dice.choice(forms)
        return Statement(sql, found, write=True)

    def _write_all(self) -> Statement:
        ids = f"{self._id()}, {self._id()}, {self._id()}"
        forms = [
            "UPDATE buyers SET credit = credit + 1",
            f"UPDATE buyers SET kind = 'old' WHERE id IN ({ids})",
            f"DELETE FROM purchases WHERE buyer_id IN ({ids})",
            "UPDATE purchases SET qty = qty + 1 WHERE amount > 500",
            "UPDATE countries SET name = UPPER(name) WHERE code = 'SE'",
            "INSERT INTO countries VALUES ('QQ', 'Q', 'QQQ') ON DUPLICATE KEY UPDATE name = 'again'",
            "UPDATE settings SET value = CONCAT(value, '.') WHERE name = 'motto'",
            "UPDATE buyers SET score = 1 LIMIT 3",
        ]
        return Statement(self._dice.choice(forms), pinned=False, write=True)

    # --- the rest -------------------------------------------------------------------------------------------

    def _session(self) -> Statement:
        forms = [
            "SELECT 1", "SELECT 'a' AS b, 2.50, NULL", "SELECT DATABASE()", "SELECT ROW_COUNT()", "SELECT @@sql_mode",
            "SELECT @@autocommit, @@session.time_zone", "SELECT LAST_INSERT_ID()", "SELECT VERSION()", "DO 1",
            "SHOW TABLES", "SHOW TABLES LIKE 'b%'", "SHOW COLUMNS FROM buyers", "SELECT 1 FROM DUAL", "DESCRIBE codes",
            "SHOW VARIABLES LIKE 'character_set_client'", "SELECT 1 + 1, 5 DIV 2, -7 % 3", "SELECT USER() IS NULL",
        ]  # fmt: skip
        return Statement(self._dice.choice(forms), pinned=False)

    def _mistake(self) -> Statement:
        key, known = self._new(), self._dice.choice(bazaar.buyer_ids())
        forms = [
            f"SELECT nowhere FROM buyers WHERE id = {key}",
            f"SELECT b.name FROM buyers WHERE id = {key}",
            f"SELECT id FROM buyers WHERE id = {key} GROUP BY",
            f"INSERT INTO buyers (id, name, country) VALUES ({known}, 'twice', 'DE')",
            f"INSERT INTO buyers (id, name, country) VALUES ({key}, NULL, 'DE')",
            f"INSERT INTO buyers (id, name, country) VALUES ({key}, 'x', 'too long')",
            f"INSERT INTO buyers (id, name) VALUES ({key}, 'no country')",
            f"INSERT INTO buyers (id, name, country) VALUES ({key}, 'x')",
            f"UPDATE buyers SET small = 256 WHERE id = {known}",
            f"UPDATE buyers SET kind = 'unknown' WHERE id = {known}",
            f"SELECT (SELECT code FROM countries) FROM buyers WHERE id = {known}",
            f"SELECT ABS() FROM buyers WHERE id = {known}",
            f"SELECT 1 FROM missing WHERE id = {known}",
            f"SELECT name, COUNT(*) FROM buyers WHERE id = {known} HAVING nothing > 1",
            f"SELECT id FROM buyers b JOIN purchases b ON 1 WHERE b.id = {known}",
            "SELECT id, FROM buyers",
            f"SELECT buyer_id FROM buyers JOIN purchases ON id = buyer_id WHERE id = {known} ORDER BY gone",
        ]
        return Statement(self._dice.choice(forms), pinned=False, write=True)
