"""Masks and tokens on real servers: values, kinds, character sets, and that they are the column's own kind."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import zlib
from decimal import Decimal
from itertools import product

import pytest

from router.policy import mask_values, masks
from router.policy.masks import Salt
from router.schema import LiveColumn
from tests.servers import BOTH_SERVERS

pytestmark = [pytest.mark.world(shards=1), BOTH_SERVERS]

KEY = "k" * 32
SALT = Salt.of(KEY, "eea")

COLUMNS = {
    "tiny": "tinyint",
    "small": "smallint unsigned",
    "whole": "int not null",
    "big": "bigint",
    "ubig": "bigint unsigned",
    "number": "decimal(12,2)",
    "single": "float",
    "approximate": "double",
    "mail": "varchar(100) collate utf8mb4_unicode_ci",
    "short": "varchar(10) collate utf8mb4_general_ci",
    "latin": "varchar(40) character set latin1 collate latin1_german2_ci",
    "wide": "varchar(40) character set utf16 collate utf16_bin",
    "fixed": "char(20) collate utf8mb4_bin",
    "long_text": "text collate utf8mb4_bin",
    "bytes": "varbinary(40)",
    "raw": "binary(16)",
    "stuff": "blob",
    "day": "date",
    "moment": "datetime(3)",
    "stamp": "timestamp null",
    "hour": "time",
    "season": "year",
    "choice": "enum('a','bbb')",
    "some": "set('a','b')",
    "tree": "json",
    "flags": "bit(8)",
}
SAMPLES = {
    "tiny": -5,
    "small": 65535,
    "whole": 7,
    "big": -(2**63),
    "ubig": 2**64 - 1,
    "number": Decimal("9999999999.99"),
    "single": 1.5,
    "approximate": -2.5,
    "mail": "anna@example.com",
    "short": "ab@cd.ef",
    "latin": "émile@exemple.fr",
    "wide": "日本語の文字列です",
    "fixed": "hello world",
    "long_text": "a long text, longer than any token would be, to be sure",
    "bytes": b"\x00\xff\x80abc",
    "raw": b"0123456789abcdef",
    "stuff": b"\xff\xfe",
    "day": datetime.date(2024, 5, 6),
    "moment": datetime.datetime(2024, 5, 6, 7, 8, 9, 123000),
    "stamp": datetime.datetime(2024, 5, 6, 7, 8, 9),
    "hour": datetime.timedelta(hours=10),
    "season": 2024,
    "choice": "bbb",
    "some": "a,b",
    "tree": '{"a": 1}',
    "flags": b"\x05",
}
TEXTS = ("mail", "short", "latin", "wide", "fixed", "long_text")
NUMBERS = ("tiny", "small", "whole", "big", "ubig", "number", "single", "approximate")
DATES = ("day", "moment", "stamp")
APPLIES = {
    "null": tuple(COLUMNS),
    "constant": TEXTS,
    "zero": NUMBERS,
    "email": TEXTS,
    "first1": TEXTS,
    "last4": TEXTS,
    "year": DATES,
    "month": DATES,
    "token": ("big", "ubig", "mail", "latin", "wide", "fixed", "long_text", "bytes", "raw", "stuff"),
}
WHOLE_TYPES = {1, 2, 3, 8, 9}
TEXT_TYPES = {249, 250, 251, 252, 253, 254}
ALIKE = [WHOLE_TYPES, TEXT_TYPES, {4, 5}, {7, 12}, {246}]
"""Wire types (protocol: Column Type) that masks may widen into each other."""

UNSIGNED = 32


@pytest.fixture
def cursor(world, flavour):
    world.add_keyspace("masks_live")
    with (
        world.servers()[0].connect(database="masks_live", charset="utf8mb4", autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("DROP TABLE IF EXISTS t")
        cursor.execute(
            "CREATE TABLE t (id INT PRIMARY KEY, " + ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items()) + ")"
        )
        names = ", ".join(SAMPLES)
        marks = ", ".join(["%s"] * len(SAMPLES))
        cursor.execute(f"INSERT INTO t (id, {names}) VALUES (1, {marks})", list(SAMPLES.values()))
        cursor.execute("INSERT INTO t (id, whole) VALUES (2, 3)")
        yield cursor


@pytest.fixture
def live(cursor):
    cursor.execute(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS"
        " WHERE TABLE_SCHEMA = 'masks_live' AND TABLE_NAME = 't'"
    )
    return {row[0]: LiveColumn(row[0], row[1], row[2], charset=row[3], collation=row[4]) for row in cursor.fetchall()}


def masked(cursor, live, flavour, mask, name, *, row=1):
    sql = masks.expression(mask, f"t.`{name}`", live[name], flavour, SALT)
    assert sql is not None
    cursor.execute(f"SELECT {sql} AS x FROM t WHERE id = {row}")
    return cursor.fetchone()[0]


def kind_of(cursor, sql):
    cursor.execute(f"SELECT {sql} AS x FROM t WHERE id = 1")
    field = cursor._result.fields[0]
    return field.type_code, bool(field.flags & UNSIGNED)


def test_a_mask_applies_to_what_it_says_and_keeps_the_kind(cursor, live, flavour):
    for mask, name in product(APPLIES, COLUMNS):
        sql = masks.expression(mask, f"t.`{name}`", live[name], flavour, SALT)
        if flavour == "mariadb" and name == "tree" and mask in ("constant", "email", "first1", "last4", "token"):
            continue  # JSON is an alias of LONGTEXT there
        assert (sql is not None) == (name in APPLIES[mask]), name
        if sql is None:
            continue
        (before, unsigned), (after, still) = kind_of(cursor, f"t.`{name}`"), kind_of(cursor, sql)
        assert after == before or any({before, after} <= alike for alike in ALIKE) or name in ("choice", "some"), name
        if name in NUMBERS:
            assert unsigned == still, name


def test_character_set_and_collation_stay(cursor, live, flavour):
    for mask, name in product(APPLIES, TEXTS):
        if name not in APPLIES[mask]:
            continue
        sql = masks.expression(mask, f"t.`{name}`", live[name], flavour, SALT)
        cursor.execute(f"SELECT CHARSET({sql}), COLLATION({sql}) FROM t WHERE id = 1")
        assert cursor.fetchone() == (live[name].charset, live[name].collation)


def test_null_stays_null(cursor, live, flavour):
    for mask, names in APPLIES.items():
        for name in set(names) - {"whole"}:
            assert masked(cursor, live, flavour, mask, name, row=2) is None


def test_never_longer_than_the_column(cursor, live, flavour):
    for mask, name in product(APPLIES, ("mail", "short", "latin", "wide", "fixed")):
        if name not in APPLIES[mask]:
            continue
        value = masked(cursor, live, flavour, mask, name)
        assert value is None or len(value) <= int(live[name].column_type.partition("(")[2].partition(")")[0])


def text_of(value):
    """As a server sends it in the text protocol."""
    if isinstance(value, datetime.datetime):
        return str(value).encode()
    return value if isinstance(value, bytes) else str(value).encode()


def test_a_value_in_hand_is_masked_as_a_column_is(cursor, live, flavour):
    """Redis hashes whose fields are columns: the mask is applied to the value that the server would send."""
    texts = {"mail": [*dict(EMAILS), "x" * 100, "日本語@例え.jp"], "short": ["ab@cd.ef", "", "1234567890"]}
    for name in COLUMNS.keys() - {"tree", "flags", "hour", "season", "choice", "some"}:
        for sample in texts.get(name, [SAMPLES[name]]):
            cursor.execute(f"UPDATE t SET `{name}` = %s WHERE id = 1", (sample,))
            cursor.execute(f"SELECT `{name}` FROM t WHERE id = 1")
            with_fraction = f"CAST(`{name}` AS CHAR)" if name in ("moment", "stamp", "day") else f"`{name}`"
            cursor.execute(f"SELECT {with_fraction} FROM t WHERE id = 1")
            value = text_of(cursor.fetchone()[0])
            for mask in APPLIES:
                found = mask_values.masked(mask, value, live[name], SALT)
                if name not in APPLIES[mask]:
                    assert found is None, (mask, name)
                    continue
                sql = masks.expression(mask, f"t.`{name}`", live[name], flavour, SALT)
                shown = f"CAST({sql} AS CHAR)" if name in ("moment", "stamp", "day") else sql
                cursor.execute(f"SELECT {shown} AS x FROM t WHERE id = 1")
                (expected,) = cursor.fetchone()
                expected = b"0" if name in ("single", "approximate") and expected == 0 else expected
                assert found == (None if expected is None else text_of(expected)), (mask, name, sample)


def test_a_value_that_is_none_of_its_column_leaves_nothing(live):
    for name, mask, value in (
        ("mail", "email", b"\xff@x"), ("day", "year", b"2024-05-06T00:00:00"), ("day", "month", b"yesterday"),
        ("moment", "year", b""), ("mail", "nosuch", b"x"), ("mail", "token", b"x"),
    ):  # fmt: skip
        assert mask_values.masked(mask, value, live[name], Salt()) is None


EMAILS = [
    ("anna@example.com", "a***@example.com"),
    ("a@example.com", "***@example.com"),
    ("no address at all", "***"),
    ("full＠width.example", "***"),
    ("@example.com", "***@example.com"),
    ("two@at@example.com", "t***@example.com"),
    ("anna@", "a***@"),
    ("", "***"),
    ("éa@ü.example", "é***@ü.example"),
]


def test_email(cursor, live, flavour):
    for value, expected in EMAILS:
        cursor.execute("UPDATE t SET mail = %s WHERE id = 1", (value,))
        assert masked(cursor, live, flavour, "email", "mail") == expected


def test_texts(cursor, live, flavour):
    for mask, value, expected in (
        ("first1", "anna", "a***"),
        ("first1", "a", "***"),
        ("first1", "", "***"),
        ("last4", "DE89370400440532013000", "****3000"),
        ("last4", "1234567", "****"),
        ("last4", "12345678", "****5678"),
        ("constant", "anything", "***"),
        ("null", "anything", None),
    ):
        cursor.execute("UPDATE t SET mail = %s WHERE id = 1", (value,))
        assert masked(cursor, live, flavour, mask, "mail") == expected


def test_numbers_and_dates(cursor, live, flavour):
    for name in NUMBERS:
        assert masked(cursor, live, flavour, "zero", name) == 0
    assert masked(cursor, live, flavour, "year", "day") == datetime.date(2024, 1, 1)
    assert masked(cursor, live, flavour, "month", "day") == datetime.date(2024, 5, 1)
    assert masked(cursor, live, flavour, "month", "moment") == datetime.datetime(2024, 5, 1)
    assert masked(cursor, live, flavour, "year", "stamp") == datetime.datetime(2024, 1, 1)


def token(data: bytes) -> str:
    """HMAC-SHA256 as the standard library computes it."""
    derived = hmac.digest(KEY.encode(), b"fairlead token\0eea", "sha256")
    return hmac.new(derived, data, hashlib.sha256).hexdigest()


def number(value: int) -> int:
    digits = token(str(value).encode()).encode()
    return zlib.crc32(digits[:8]) << 28 ^ zlib.crc32(digits[-8:])


def test_no_session_makes_a_text_longer_than_it_is(cursor, live, flavour):
    cursor.execute("UPDATE t SET mail = 'é@x.example', fixed = 'a' WHERE id = 1")
    modes = ["SET NAMES binary"] + ["SET sql_mode = 'PAD_CHAR_TO_FULL_LENGTH'"] * (flavour == "mariadb")
    for mode in modes:
        cursor.execute(mode)
        shown = {masked(cursor, live, flavour, mask, "fixed") for mask in ("first1", "last4", "email")}
        assert {one.encode() if isinstance(one, str) else one for one in shown} == {b"***", b"****"}, mode
        mail = masked(cursor, live, flavour, "email", "mail")
        assert mail in ("***@x.example", b"***@x.example"), mode


def test_a_timestamp_is_masked_alike_in_every_time_zone(cursor, live, flavour):
    cursor.execute("UPDATE t SET stamp = FROM_UNIXTIME(1704067200 - 3600) WHERE id = 1")  # an hour before 2024
    seen = set()
    for zone in ("+00:00", "+05:30", "-11:00", "+12:00"):
        cursor.execute("SET time_zone = %s", (zone,))
        seen |= {(masked(cursor, live, flavour, "month", "stamp"), masked(cursor, live, flavour, "year", "stamp"))}
    assert seen == {(datetime.datetime(2023, 12, 1), datetime.datetime(2023, 1, 1))}


def test_tokens_are_hmac(cursor, live, flavour):
    assert masked(cursor, live, flavour, "token", "mail") == token(b"anna@example.com")[:32]
    assert masked(cursor, live, flavour, "token", "latin") == token("émile@exemple.fr".encode())[:32]
    assert masked(cursor, live, flavour, "token", "wide") == token("日本語の文字列です".encode())[:32]
    assert masked(cursor, live, flavour, "token", "fixed") == token(b"hello world")[:20]
    assert masked(cursor, live, flavour, "token", "big") == number(-(2**63))
    assert masked(cursor, live, flavour, "token", "ubig") == number(2**64 - 1)
    assert masked(cursor, live, flavour, "token", "bytes") == bytes.fromhex(token(b"\x00\xff\x80abc")[:32])
    assert masked(cursor, live, flavour, "token", "raw") == bytes.fromhex(token(b"0123456789abcdef")[:32])


def test_tokens_do_not_hang_on_the_connection(cursor, live, flavour):
    cursor.execute("SET collation_connection = utf16_bin, sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'")
    for name, data in (("mail", b"anna@example.com"), ("wide", "日本語の文字列です".encode())):
        assert masked(cursor, live, flavour, "token", name) == token(data)[:32]
    assert masked(cursor, live, flavour, "token", "big") == number(-(2**63))
    assert masked(cursor, live, flavour, "email", "mail") == "a***@example.com"


def test_a_masked_leaf_keeps_the_index(cursor, live, flavour):
    """The derived table is merged: a point read stays one."""
    leaf = ", ".join(
        f"{masks.expression(mask, f'b.`{name}`', live[name], flavour, SALT)} AS {name}"
        for mask, name in (("email", "mail"), ("token", "latin"), ("zero", "whole"), ("null", "stuff"))
    )
    cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL SELECT * FROM (SELECT b.id, {leaf} FROM t AS b) AS b WHERE b.id = 1")
    columns = [one[0] for one in cursor.description]
    rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    assert [row["type"] for row in rows] == ["const"]
