"""Databases named by statements that nobody parses."""

from __future__ import annotations

import pytest

from _speedups import lexer
from router.planner.opaque import databases
from router.tokens import decode, tokenize


def named(sql: str) -> set[str]:
    return databases(tokenize(decode(lexer.lex(sql.encode(), 0).norm)))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a.b FROM t a PROCEDURE ANALYSE()", set()),
        ("SELECT a.b, c.d FROM t a, u c WHERE a.x = c.y AND c.z > 1 ORDER BY a.b", set()),
        ("SELECT * FROM x.t", {"x"}),
        ("SELECT * FROM t, x.u", {"x"}),
        ("SELECT * FROM (t, x.u)", {"x"}),
        ("SELECT * FROM t JOIN x.u ON t.a = u.a", {"x"}),
        ("SELECT * FROM t JOIN u ON t.a = u.a JOIN y.v ON v.a = u.a", {"y"}),
        ("SELECT * FROM t WHERE a IN (SELECT b.c FROM x.b)", {"x"}),
        ("SELECT (SELECT c FROM x.b) FROM t", {"x"}),
        ("SELECT x.f(a) FROM t", {"x"}),
        ("SELECT * FROM `x`.`t`", {"x"}),
        ("SELECT x.t.a FROM x.t", {"x"}),
        ("INSERT INTO x.t VALUES (1)", {"x"}),
        ("INSERT INTO t (a, b) SELECT a.b, a.c FROM x.a", {"x"}),
        ("UPDATE x.t SET t.a = t.b", {"x"}),
        ("DELETE FROM x.t WHERE t.a = 1", {"x"}),
        ("CALL x.p(1)", {"x"}),
        ("CREATE TABLE t LIKE x.u", {"x"}),
        ("CREATE TABLE IF NOT EXISTS x.t (a INT)", {"x"}),
        ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES x.u (a))", {"x"}),
        ("CREATE INDEX i ON x.t (a)", {"x"}),
        ("CREATE TRIGGER g BEFORE INSERT ON x.t FOR EACH ROW SET NEW.a = NEW.b", {"x"}),
        ("CREATE TRIGGER g AFTER UPDATE ON t FOR EACH ROW INSERT INTO x.u VALUES (OLD.a)", {"x"}),
        ("CREATE PROCEDURE x.p() SELECT 1", {"x"}),
        ("CREATE PROCEDURE p() BEGIN SELECT a.b FROM t a; DELETE FROM x.u; END", {"x"}),
        ("CREATE VIEW v AS SELECT a.b FROM x.a", {"x"}),
        ("CREATE VIEW v AS SELECT a.b AS c, a.d AS e FROM a", set()),
        ("CREATE TABLE t AS SELECT a.b AS c, a.d FROM a JOIN x.b AS f ON a.b = f.b AND f.c > a.c", {"x"}),
        ("CREATE VIEW v AS SELECT * FROM t JOIN u ON t.a = u.a, x.w", {"x"}),
        ("CREATE VIEW v AS SELECT * FROM t JOIN u ON t.a IN (u.b, u.c) AND NOT t.b, x.w WHERE t.a > u.c", {"x"}),
        ("CREATE VIEW v AS SELECT * FROM t JOIN u ON t.a = u.a WHERE t.c > 1 ORDER BY t.b, u.c", set()),
        ("CREATE VIEW v AS SELECT * FROM t JOIN u ON t.a LIKE u.a AND f(t.a, u.b) = 1", set()),
        ("RENAME TABLE t TO x.t, y.u TO v", {"x", "y"}),
        ("ALTER TABLE t RENAME x.u", {"x"}),
        ("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE x.u", {"x"}),
        ("DROP TABLE IF EXISTS t, x.u", {"x"}),
        ("LOCK TABLES t READ, x.u WRITE", {"x"}),
        ("TRUNCATE x.t", {"x"}),
        ("CREATE TABLE t (a INT) ENGINE=MERGE UNION=(x.u, y.v)", {"x", "y"}),
        ("SELECT logs.a FROM t AS logs, logs.u", {"logs"}),
        ("SELECT a FROM t WHERE b LIKE c.d", set()),
        ("SELECT COUNT(a.b), IF(a.c = 1, a.d, a.e) FROM t a", set()),
    ],
)
def test_databases(sql: str, expected: set[str]) -> None:
    assert named(sql) == expected
