"""Function calls read from the words of a statement."""

from __future__ import annotations

import pytest

from router import functions
from router.functions import Call, calls
from router.tokens import tokenize


def names(norm: str) -> list[str]:
    return [f"{call.schema}.{call.name}" if call.schema else call.name for call in calls(tokenize(norm))]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("SELECT NOW(), f(x), db.g(?)", ["NOW", "f", "db.g"]),
        ("SELECT CURRENT_TIMESTAMP, CURRENT_USER", ["CURRENT_TIMESTAMP", "CURRENT_USER"]),
        ("SELECT t.current_user, `now`", []),
        ("SELECT `now`()", ["now"]),
        ("SELECT a FROM t WHERE id IN (?) AND (b) OR NOT (c)", []),
        ("INSERT INTO t (a,b) VALUES (f(?),?)", ["f"]),
        ("INSERT t (a) VALUES (?)", []),
        ("INSERT INTO db.t (a) VALUES (?)", []),
        ("REPLACE t (a) VALUES (?)", []),
        ("INSERT HIGH_PRIORITY t (a) VALUES (?)", []),
        ("SELECT HIGH_PRIORITY f(?)", ["f"]),
        ("SELECT db.list(?),list(?)", ["db.list"]),
        ("REPLACE INTO t (a) SELECT REPLACE(a,?,?) FROM u", ["REPLACE"]),
        ("WITH x (a) AS (SELECT ?),y (b) AS (SELECT ?) SELECT f(a) FROM x,y", ["f"]),
        ("SELECT * FROM (SELECT a FROM t) d (b)", []),
        ("SELECT CAST(a AS DECIMAL(10,2)),CONVERT(a,CHAR(3)) FROM t", ["CAST", "CONVERT", "CHAR"]),
        ("SELECT * FROM a JOIN b USING (x) USE INDEX (i) FORCE INDEX FOR ORDER BY (j)", []),
        ("SELECT SUM(a) OVER (PARTITION BY b) FROM t WINDOW w AS (ORDER BY c)", ["SUM"]),
        ("SELECT * FROM a JOIN b ON f(a.x)=b.x", ["f"]),
        ("SELECT a FROM t WHERE EXISTS (SELECT ?) AND b = ANY (SELECT ?)", []),
    ],
)
def test_calls(norm: str, expected: list[str]) -> None:
    assert names(norm) == expected


def test_what_is_built_in() -> None:
    assert Call("now").built_in
    assert Call("ST_Contains").built_in
    assert not Call("now", "db").built_in
    assert not Call("my_function").built_in


def test_what_is_administration() -> None:
    assert Call("load_file").administration
    assert Call("group_replication_set_as_primary").administration
    assert not Call("now").administration


def test_the_classes_do_not_overlap() -> None:
    classes = [
        functions.AGGREGATES,
        functions.WINDOW,
        functions.CLOCK,
        functions.RANDOM,
        functions.CONNECTION,
        functions.IDENTITY,
        functions.LOCKS,
        functions.WAITS,
        functions.SEQUENCES,
        functions.SERVER,
        functions.PURE,
        functions.ADMINISTRATION,
    ]
    assert sum(map(len, classes)) == len(frozenset().union(*classes))
