"""The comparison rules of `router.keys` against real servers.

For each column type, rows are stored and literals compared with them by the server. Whatever it finds equal
must have equal canonical bytes, or the literal must be Unpinnable; what we call NoMatch must match no row.
"""

from __future__ import annotations

from decimal import Decimal

import pymysql
import pytest

from router.keys import NoMatch, Unpinnable, canonical, canonical_stored, key_column_of, key_type_of
from tests.servers import BOTH_SERVERS

pytestmark = [pytest.mark.world(shards=1), BOTH_SERVERS]

NUMBERS = [0, 1, 5, -5, 127, 255, 300, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1]
TEXTS = [
    "",
    " ",
    "a",
    "A",
    "a ",
    " a",
    "aa",
    "Aa",
    "b",
    "ab ",
    "é",
    "É",
    "e",
    "ß",
    "ss",
    "i",
    "I",
    "ı",
    "y",
    "5",
    "05",
    "5.0",
    "Å",
    "å",
    "日本",
    "a\t",
    "a\n",
    "ü",
    "u\u0308",
]
LITERALS = [
    *[(str(number), number) for number in NUMBERS],
    *[(f"'{number}'", str(number)) for number in NUMBERS],
    *[("'" + text.replace("\\", "\\\\") + "'", text) for text in TEXTS],
    ("5.0", Decimal("5.0")),
    ("5.5", Decimal("5.5")),
    ("5e0", 5.0),
    ("5.5e0", 5.5),
    ("9007199254740993e0", 2.0**53),
    ("9007199254740993.0", Decimal("9007199254740993.0")),
    ("' 5'", " 5"),
    ("'5 '", "5 "),
    ("'+5'", "+5"),
    ("'5abc'", "5abc"),
    ("'5e0'", "5e0"),
    ("'5.5'", "5.5"),
    ("TRUE", True),
    ("NULL", None),
    ("x'35'", b"5"),
    ("0x05", b"\x05"),
    ("x'61'", b"a"),
    ("x'6120'", b"a "),
    ("b'101'", b"\x05"),
    ("1e300", 1e300),
    ("-0", 0),
    ("18446744073709551616", 2**64),
    ("'18446744073709551616'", str(2**64)),
    ("1e-300", 1e-300),
]

INTEGER_COLUMNS = ["tinyint", "smallint unsigned", "int", "bigint", "bigint unsigned"]
TEXT_COLUMNS = [
    "varchar(9) collate utf8mb4_bin",
    "varchar(9) collate utf8mb4_general_ci",
    "varchar(9) collate utf8mb4_unicode_ci",
    "varchar(9) collate utf8mb4_unicode_520_ci",
    "char(9) collate utf8mb4_general_ci",
    "char(9) collate utf8mb4_bin",
    "varchar(9) character set latin1 collate latin1_swedish_ci",
    "varchar(9) character set latin1 collate latin1_bin",
    "varbinary(9)",
    "binary(3)",
]
OF_FLAVOUR = {
    "mariadb": [
        "varchar(9) collate utf8mb4_nopad_bin",
        "varchar(9) collate utf8mb4_general_nopad_ci",
        "varchar(9) collate utf8mb4_uca1400_ai_ci",
        "varchar(9) collate utf8mb4_uca1400_nopad_as_cs",
        "char(9) collate utf8mb4_nopad_bin",
    ],
    "mysql": [
        "varchar(9) collate utf8mb4_0900_ai_ci",
        "varchar(9) collate utf8mb4_0900_as_cs",
        "varchar(9) collate utf8mb4_0900_bin",
        "char(9) collate utf8mb4_0900_ai_ci",
    ],
}


@pytest.fixture
def cursor(world):
    world.add_keyspace("keys_live")
    connection = world.servers()[0].connect(database="keys_live", charset="utf8mb4", autocommit=True)
    with connection, connection.cursor() as cursor:
        yield cursor


def make_table(cursor, column: str) -> tuple[str, str | None]:
    """The table `t`, and its column as information_schema shows it."""
    cursor.execute("DROP TABLE IF EXISTS t")
    cursor.execute(f"CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, c {column}, KEY (c))")
    cursor.execute(
        "SELECT COLUMN_TYPE, COLLATION_NAME FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = 'keys_live' AND TABLE_NAME = 't' AND COLUMN_NAME = 'c'"
    )
    return cursor.fetchone()


def store(cursor, values, live) -> dict[int, bytes]:
    """Inserts what the router would let through, in non-strict mode; row id -> bytes that were hashed."""
    column = key_column_of(*live)
    cursor.execute("SET sql_mode = ''")
    stored: dict[int, bytes] = {}
    for value in values:
        try:
            data = canonical_stored(value, column)
        except Unpinnable:
            continue
        cursor.execute("INSERT INTO t (c) VALUES (%s)", (value,))
        stored[cursor.lastrowid] = data
    return stored


def check_literals(cursor, live, stored) -> int:
    """Compares every literal with every row, as text and as a parameter; the number of rows matched."""
    key_type = key_type_of(*live)
    matched = 0
    for written, value in LITERALS:
        for query in (f"SELECT id FROM t WHERE c = {written}", f"SELECT id FROM t WHERE c IN ({written})"):
            try:
                cursor.execute(query)
            except pymysql.MySQLError:
                # A literal that the column's character set cannot hold is the server's error.
                continue
            rows = [row[0] for row in cursor.fetchall()]
            matched += len(rows)
            try:
                data = canonical(value, key_type)
            except NoMatch:
                assert not rows, f"{query} matches {rows}, we say it matches none"
            except Unpinnable:
                continue
            else:
                wrong = [row for row in rows if stored[row] != data]
                assert not wrong, f"{query} matches rows {wrong} that lie elsewhere"
    return matched


@pytest.mark.parametrize("column", INTEGER_COLUMNS)
def test_whole_numbers(cursor, column):
    live = make_table(cursor, column)
    stored = store(cursor, [*NUMBERS, "05", " 5", Decimal("7")], live)
    assert len(stored) > 5
    assert check_literals(cursor, live, stored) > 10


@pytest.mark.parametrize("column", TEXT_COLUMNS)
def test_texts(cursor, column):
    live = make_table(cursor, column)
    stored = store(cursor, [*TEXTS, b"abc", "aaa"], live)
    assert stored
    assert check_literals(cursor, live, stored) > 0


def test_texts_of_this_flavour(cursor, flavour):
    for column in OF_FLAVOUR[flavour]:
        live = make_table(cursor, column)
        stored = store(cursor, TEXTS, live)
        assert len(stored) > 5
        assert check_literals(cursor, live, stored) > 10


def test_prepared_parameters(cursor):
    live = make_table(cursor, "bigint")
    stored = store(cursor, NUMBERS, live)
    for _, value in LITERALS:
        if isinstance(value, str | int | float | Decimal):
            cursor.execute("SET @p = %s", (value,))
            cursor.execute("PREPARE s FROM 'SELECT id FROM t WHERE c = ?'")
            cursor.execute("EXECUTE s USING @p")
            rows = [row[0] for row in cursor.fetchall()]
            try:
                data = canonical(value, key_type_of(*live))
            except NoMatch:
                assert not rows
            except Unpinnable:
                continue
            else:
                assert all(stored[row] == data for row in rows), value


def test_what_is_stored_is_what_was_hashed(cursor):
    """Joining the stored value with itself through its own literal finds the row again, for every row."""
    for column in (*INTEGER_COLUMNS, *TEXT_COLUMNS):
        live = make_table(cursor, column)
        stored = store(cursor, [*NUMBERS, *TEXTS, "aaa"], live)
        cursor.execute("SELECT id, c FROM t")
        for row, value in cursor.fetchall():
            assert canonical(value, key_type_of(*live)) == stored[row], (column, value)
