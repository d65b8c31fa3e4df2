"""Hypothesis strategies of SQL: plausible texts, broken ones, and soups of the characters that matter."""

from __future__ import annotations

from hypothesis import strategies as st

from _speedups import lexer as L

LITERALS = [
    b"1", b"25", b"007", b"1.5", b".5", b"5.", b"1e5", b"1.5E-3", b"'x'", b"''", b"'it''s'", b"'a\\'b'",
    b"'\\\\'", b'"q"', b'"a""b"', b"N'x'", b"n'y'", b"x'0F'", b"X''", b"b'01'", b"0x1F", b"0b01", b"?",
    b"'a' 'b'", b"'a' /* ' */ \"b\"", b"'),('", b"'/*'", b"'-- '",
]  # fmt: skip
ITEMS = [*LITERALS, b"NULL", b"null", b"-3", b"- 4", b"-1.5"]
EXPRESSIONS = [
    *ITEMS, b"NOW()", b"DEFAULT", b"(1)", b"a", b"a+1", b"a IN (1,2)", b"_utf8'x'", b"--5", b"-'x'",
    b"+1", b"-?", b"'x' COLLATE utf8mb4_bin", b"(SELECT 1)", b"/* fairlead: x */ 1",
]  # fmt: skip
WORDS = [
    b"SELECT", b"FROM", b"WHERE", b"a", b"id", b"c", b"t.c", b"t.1b", b"1abc", b"0x", b"0b2", b"1e",
    b"a$b", b"_utf8", b"_a.b", b"a._b", b"customer_identifier", b"customer_id.x", b"db.t.c", b"IN",
    b"in", b"VALUES", b"value", b"ORDER BY", b"ORDER", b"GROUP", b"BY", b"LIMIT", b"UNION",
    b"intersect", b"intersecx", b"except", b"UPDATE", b"FOR", b"INTO", b"LOCK", b"SQL_CALC_FOUND_ROWS",
    b"sql_calc_found_rowz", b"NULL", b"\\N", b"`n`", b"`n``m`", b"`long name of a column`", b"@a",
    b"@a.b", b"@'x y'", b"@`z`", b"@@global.x", b"@@`a`", b"{d", b"}", b"\xc3\xa9t\xc3\xa9",
    b"caf\xc3\xa9.b", b"x", b"b", b"N",
]  # fmt: skip
MARKS = [
    b"(", b"(", b")", b")", b",", b",", b",", b".", b"-", b"+", b"*", b"/", b"=", b"<", b">", b"<=",
    b"<>", b"!", b":=", b"->>", b"||", b"--5", b";",
]  # fmt: skip
COMMENTS = [
    b"/* c */", b"/*'*/", b"/**/", b"-- c'\n", b"--\n", b"# c\"\n", b"/* fairlead: shard=a */",
    b"/*! 1 */", b"/*!50000 'y' */", b"/*M!100100 z */", b"/*!50000", b"*/", b"/*+ h */", b"/*+ `h` */",
]  # fmt: skip
BROKEN = [
    b"'", b'"', b"`", b"/*", b"--", b"#", b"@", b"@@", b"\0", b"\x01", b"\\", b"$x", b"1.5e", b"x'0'",
    b"b'2'", b"?a", b"/*+ 'h */", b"\x80",
]  # fmt: skip
SOUP = b"'\"`\\-*/#!@?.,;()xXbBnN0159eE+_$ \n\0\x80aIN"
AFTER_ROWS = [b"", b";", b",", b" ON DUPLICATE KEY UPDATE a=VALUES(a)", b" /* fairlead: a */", b")"]
GAPS = [b"", b" ", b" ", b" ", b"  ", b"\n\t", b"/**/"]

modes = st.sampled_from(
    [
        0,
        L.ANSI_QUOTES,
        L.NO_BACKSLASH_ESCAPES,
        L.ANSI_QUOTES | L.NO_BACKSLASH_ESCAPES,
        L.MARIADB,
        L.MARIADB | L.ANSI_QUOTES,
    ]
)
_gaps = st.sampled_from(GAPS)


def _joined(pieces: st.SearchStrategy[bytes], most: int) -> st.SearchStrategy[bytes]:
    pairs = st.tuples(pieces, _gaps).map(b"".join)
    return st.lists(pairs, min_size=1, max_size=most).map(b"".join)


def _sequence(pieces: list[bytes], least: int = 1) -> st.SearchStrategy[bytes]:
    commas = st.sampled_from([b",", b", ", b" ,\n", b", /* c */ "])
    return st.tuples(st.lists(st.sampled_from(pieces), min_size=least, max_size=5), commas).map(
        lambda drawn: drawn[1].join(drawn[0])
    )


lists = _sequence(ITEMS).map(lambda inside: b"(" + inside + b")")
tuples = st.lists(_sequence(LITERALS), min_size=1, max_size=3).map(
    lambda rows: b"(" + b",".join(b"(" + row + b")" for row in rows) + b")"
)
in_lists = st.tuples(st.sampled_from([b"a IN ", b"b in", b"c NOT IN"]), lists | tuples).map(b"".join)


@st.composite
def inserts(draw: st.DrawFn) -> bytes:
    """INSERT with rows of mostly one shape."""
    width = draw(st.integers(0, 3))
    base = draw(st.lists(st.sampled_from(EXPRESSIONS), min_size=width, max_size=width))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        row = [draw(st.sampled_from(ITEMS)) if draw(st.integers(0, 3)) == 0 else e for e in base]
        rows.append(b"(" + draw(st.sampled_from([b",", b" , "])).join(row) + b")")
    return (
        draw(st.sampled_from([b"INSERT INTO t VALUES ", b"insert t(a)values", b"REPLACE t VALUE/**/"]))
        + draw(st.sampled_from([b",", b" ,\n", b"/* c */, "])).join(rows)
        + draw(st.sampled_from([b"", b";", b",", b" ON DUPLICATE KEY UPDATE a=VALUES(a)", b" /* fairlead: a */", b")"]))
    )


plausible = _joined(st.one_of(*(st.sampled_from(s) for s in (LITERALS, WORDS, WORDS, MARKS, COMMENTS)), in_lists), 16)
broken = _joined(st.one_of(*(st.sampled_from(s) for s in (LITERALS, WORDS, MARKS, COMMENTS, BROKEN))), 10)
soup = st.lists(st.sampled_from([bytes((c,)) for c in SOUP]), max_size=30).map(b"".join)
statements = st.one_of(plausible, plausible, inserts(), inserts(), broken, soup)
