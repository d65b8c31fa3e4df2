"""The servers themselves as the lexer's judges.

A statement and its norm with the literals put back must mean the same to MariaDB and to MySQL: the same rows, or the
same error. And a string literal must have the bytes that the server says it has.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from _speedups import hashing
from _speedups import lexer as L
from tests._speedups.test_lexer import rendered
from tests.servers import BOTH_SERVERS

if TYPE_CHECKING:
    from loadtest.world.world import World

STATEMENTS = 700
STRINGS = 300
SQL_MODES = {0: "", L.ANSI_QUOTES: "ANSI_QUOTES", L.NO_BACKSLASH_ESCAPES: "NO_BACKSLASH_ESCAPES"}

OPERANDS = [
    b"1", b"25", b"-3", b"'x'", b"'it''s'", b"'a\\'b'", b'"q"', b"'\\\\'", b"N'x'", b"x'0F'", b"b'01'", b"0x1F",
    b"0b01", b"0X1F", b"1e5", b"1e5abc", b"1.5", b".5", b"5.", b"NULL", b"a", b"b", b"t.a", b"`t`.`b`", b"c", b"@a",
    b"@`z`", b"@'x y'", b"@@global.sql_mode", b"_utf8mb4'x'", b"_binary 'y'", b"DATE'2020-01-01'", b"{d '2020-01-01'}",
    b"a IN (1, 2)", b"b in(1,-2,'x' 'y')", b"(a,b) IN ((1,2),(3,4))", b"a not in (1)", b"(1)", b"( a )", b"abs(-5)",
    b"concat('a','b')", b"count(*)", b"JSON_EXTRACT('{\"a\":1}','$.a')", b"case when a=1 then 'x' else \"y\" end",
    b"cast('5' as signed)", b"a between 1 and 2", b"c like 'a%' escape '|'", b"'a' 'b'", b"'a'\"b\"", b"t.1", b"1a",
    b"t. a", b"t .a", b"\xc3\xa9",
]  # fmt: skip
OPERATORS = [
    b"+", b"-", b"*", b"/", b"--", b"- -", b",", b",", b",", b"=", b"<=", b"<=>", b"!=", b"<>", b"<<", b"|", b"||",
    b"&&", b" AND ", b" or ", b" DIV ", b" as x,", b" x,", b"^", b"%", b":=",
]  # fmt: skip
GAPS = [b"", b"", b" ", b" ", b"\n", b"/**/", b"/* c ' */", b"-- '\n", b'# "\n', b"--\t\n", b"/*+ x */"]
TABLE = b"FROM (SELECT 1 a, 2 b, 'x' c, 3 `1`, 4 1a, 5 `\xc3\xa9`) t"
TAILS = [
    b"", b"", b" ORDER BY 1", b" ORDER BY 1,2", b" ORDER BY - -1", b" GROUP BY 1 ORDER BY 1 desc LIMIT 1,2",
    b" where a=1 and c='x'", b" limit 1", b" UNION SELECT 1,2 ORDER BY (1)", b" -- x", b"#", b";",
]  # fmt: skip
STRING_PIECES = [
    b"a", b"B", b" ", b"\\", b"\\", b"'", b"''", b'"', b'""', b"%", b"_", b"0", b"n", b"t", b"Z", b"\n", b"\xc3\xa9",
]  # fmt: skip


def statement(r: random.Random) -> bytes:
    out = b"SELECT" + r.choice([b" ", b"/**/", b"\n"])
    for k in range(r.randrange(1, 6)):
        if k:
            out += r.choice(GAPS) + r.choice(OPERATORS) + r.choice(GAPS)
        out += r.choice([b"", b"", b"-", b"+", b"!", b"~"]) + r.choice(GAPS) + r.choice(OPERANDS)
    return out + r.choice([b" ", b"/**/", b"\t"]) + TABLE + r.choice(TAILS)


class Judge:
    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def set_mode(self, mode: int) -> None:
        self.connection.query(f"SET sql_mode='{SQL_MODES[mode]}'")

    def answer(self, text: bytes) -> object:
        """Rows, or the number of the error."""
        try:
            self.connection.query(text)
        except pymysql.err.Error as error:
            return error.args[0]
        return self.connection._result.rows


@pytest.fixture
def judge(world: World) -> Iterator[Judge]:
    connection = world.servers()[0].connect(charset="utf8mb4")
    yield Judge(connection)
    connection.close()


@BOTH_SERVERS
def test_norm_and_literals_mean_what_the_statement_means(judge: Judge, flavour: str) -> None:
    r = random.Random(2)
    answered = 0
    for mode in SQL_MODES:
        judge.set_mode(mode)
        bits = mode | (L.MARIADB if flavour == "mariadb" else 0)
        for _ in range(STATEMENTS // len(SQL_MODES)):
            text = statement(r)
            found = L.lex(text, bits)
            answer = judge.answer(text)
            if found.error:
                assert isinstance(answer, int), f"refused, but the server answers: {text!r}"
                continue
            again = rendered(text, found)
            assert judge.answer(again) == answer, f"{text!r} became {again!r}"
            answered += isinstance(answer, tuple)
    assert answered > STATEMENTS // 3


@BOTH_SERVERS
def test_string_keys_are_what_the_server_reads(judge: Judge) -> None:
    r = random.Random(3)
    for mode in (0, L.NO_BACKSLASH_ESCAPES):
        judge.set_mode(mode)
        for _ in range(STRINGS):
            quote = r.choice([b"'", b'"'])
            text = quote + b"".join(r.choice(STRING_PIECES) for _ in range(r.randrange(7))) + quote
            found = L.lex(b"SELECT " + text, mode)
            if found.error or found.slots[0].length != len(text) or found.norm != b"SELECT ?":
                continue
            key = hashing.canonical_key(hashing.BYTES, text, L.STRING, found.slots[0].flags, mode)
            if not found.slots[0].flags & L.CONCAT:
                assert key is not None
                assert judge.answer(b"SELECT HEX(" + text + b")") == ((key.hex().upper(),),), text
