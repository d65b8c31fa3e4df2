"""The database of one query: what the authorizer refuses, what bounds it, the types of its columns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.console.database import Bounds, Column, Database
from proxy.console.statements import Query, query_of, tokens_of
from proxy.console.table import Table, TableColumn
from router.errors import Refusal

THINGS = Table(
    "things",
    "",
    (
        TableColumn("id", "BIGINT"),
        TableColumn("name", "TEXT"),
        TableColumn("share", "DOUBLE"),
        TableColumn("at", "DATETIME"),
    ),
    lambda _: [],
)
ROWS = [(1, "one", 0.5, "2026-01-02 03:04:05.678"), (2, None, None, None)]


@pytest.fixture
def database() -> Iterator[Database]:
    made = Database([THINGS], Bounds(5.0, 100, 10_000), {"concat": lambda *parts: "".join(map(str, parts))})
    made.fill(THINGS, ROWS)
    yield made
    made.close()


def query(sql: str) -> Query:
    return query_of(tokens_of(sql))


def raw(sql: str) -> Query:
    """Past everything that looks at the text first: the authorizer alone stands in the way."""
    return Query(sql, sql, 0, {})


def run(database: Database, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    found = query(sql)
    database.tables_of(found)
    return database.run(found, parameters).rows


REFUSED = [
    "INSERT INTO things VALUES (3, 'x', 1, NULL)",
    "INSERT INTO things SELECT * FROM things",
    "REPLACE INTO things VALUES (3, 'x', 1, NULL)",
    "UPDATE things SET name = 'x'",
    "DELETE FROM things",
    "WITH x AS (SELECT 1) DELETE FROM things",
    "WITH x AS (SELECT 1) UPDATE things SET name = 'x'",
    "DROP TABLE things",
    "ALTER TABLE things RENAME TO others",
    "CREATE TABLE other (a)",
    "CREATE TEMP TABLE other (a)",
    "CREATE TEMP VIEW other AS SELECT 1",
    "CREATE INDEX other ON things (id)",
    "CREATE TEMP TRIGGER t AFTER INSERT ON things BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE other USING fts5(a)",
    "ATTACH '/tmp/fairlead-console-test.db' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH fairlead",
    "PRAGMA writable_schema = 1",
    "PRAGMA hard_heap_limit = 0",
    "PRAGMA table_info(things)",
    "SELECT * FROM pragma_table_info('things')",
    "SELECT * FROM pragma_database_list",
    "VACUUM",
    "VACUUM INTO '/tmp/fairlead-console-test.db'",
    "REINDEX",
    "ANALYZE",
    "BEGIN",
    "SAVEPOINT x",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM fairlead.sqlite_schema",
    "SELECT * FROM temp.sqlite_temp_master",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT randomblob(1000000)",
    "SELECT zeroblob(1000000000)",
    "SELECT sqlite_compileoption_get(0)",
    "SELECT sqlite_version()",
    "SELECT last_insert_rowid()",
    "SELECT fts3_tokenizer('simple')",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_the_authorizer_refuses(database: Database, sql: str) -> None:
    with contextlib.suppress(Refusal):
        database.tables_of(raw(sql))
    with pytest.raises(Refusal) as refused:
        database.run(raw(sql))
    assert refused.value.entry.name in ("CONSOLE_READ_ONLY", "CONSOLE_NO_TABLE")
    assert run(database, "SELECT count(*) FROM things") == [(2,)]


def test_the_tables_that_a_query_reads_are_known(database: Database) -> None:
    sql = "WITH c AS (SELECT id FROM things) SELECT count(*) FROM c, (SELECT 1 FROM fairlead.things)"
    for one in (sql, "SELECT count(*) FROM things", "SELECT 1 FROM things"):
        assert ("fairlead", "things") in database.tables_of(query(one))
    assert database.tables_of(query("SELECT 1")) == set()


def test_columns_have_the_types_of_what_is_in_them(database: Database) -> None:
    found = query(
        "SELECT id, name, share, at, id + 1, share * 2, count(*), NULL, concat('a', id) FROM things LIMIT 1"
    )
    assert [column.type for column in database.run(found).columns] == [
        "BIGINT", "TEXT", "DOUBLE", "DATETIME", "BIGINT", "DOUBLE", "BIGINT", "TEXT", "TEXT",
    ]  # fmt: skip


def test_columns_of_no_rows_have_their_declared_types(database: Database) -> None:
    found = query("SELECT id, share AS s, at, name FROM things WHERE id = ?")
    assert [column.type for column in database.run(found, [99]).columns] == [
        "BIGINT",
        "DOUBLE",
        "DATETIME",
        "TEXT",
    ]
    assert database.columns_of(found) == (
        Column("id", "BIGINT"), Column("s", "DOUBLE"), Column("at", "DATETIME"), Column("name", "TEXT"),
    )  # fmt: skip


def test_a_text_among_numbers_makes_a_text_column(database: Database) -> None:
    found = query("SELECT id FROM things UNION ALL SELECT 'x'")
    assert database.run(found).columns[0].type == "TEXT"


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
        "SELECT count(*) FROM errors a, errors b, errors c, errors d, errors e",
    ],
)
def test_a_query_that_does_not_end_is_ended(sql: str) -> None:
    errors = Table("errors", "", (TableColumn("id", "BIGINT"),), lambda _: [])
    database = Database([errors], Bounds(0.2, 100, 10_000))
    database.fill(errors, [(n,) for n in range(1000)])
    database.start()
    with pytest.raises(Refusal) as refused:
        database.run(query(sql))
    assert refused.value.entry.name == "CONSOLE_TIME"
    database.close()


def test_a_query_can_be_cancelled(database: Database) -> None:
    database.cancel()
    with pytest.raises(Refusal):
        run(
            database, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
        )


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 101) SELECT x FROM c",
        "SELECT hex(hex(hex(hex('0123456789012345678901234567890123456789')))), printf('%9990d', 1)",
        "SELECT concat(printf('%200000d', 1), printf('%200000d', 1))",
    ],
)
def test_a_large_answer_is_refused_whole(database: Database, sql: str) -> None:
    with pytest.raises(Refusal) as refused:
        run(database, sql)
    assert refused.value.entry.name == "CONSOLE_LARGE"


def test_memory_is_bounded(database: Database) -> None:
    """A sort of gigabytes ends at the heap's limit or at the clock, whichever comes first; both say so."""
    with pytest.raises(Refusal) as refused:
        run(
            database,
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100000000) "
            "SELECT max(y) FROM (SELECT printf('%200000d', x) AS y FROM c ORDER BY y DESC LIMIT 1000000)",
        )
    assert refused.value.entry.name in ("CONSOLE_LARGE", "CONSOLE_TIME")


@pytest.mark.parametrize(
    ("sql", "entry"),
    [
        ("SELECT * FROM nowhere", "CONSOLE_NO_TABLE"),
        ("SELECT missing FROM things", "CONSOLE_NO_COLUMN"),
        ("SELECT FROM things WHERE", "CONSOLE_SYNTAX"),
        ("SELECT * FROM things WHERE id = ?", "CONSOLE_SYNTAX"),
    ],
)
def test_mistakes_are_told(database: Database, sql: str, entry: str) -> None:
    with pytest.raises(Refusal) as refused:
        run(database, sql)
    assert refused.value.entry.name == entry
