"""Splices placed in one text and put into others of its norm: by the relay as by the lexer, or not at all."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups import lexer
from _speedups.relay import Relay, VerdictRef
from _speedups.stats import StatsPage
from router.policy.splices import Placed, Splice, ordered, place
from router.tokens import decode, tokenize

SPLICED = 2
STATEMENTS = {
    "a leaf": (
        b"SELECT email FROM customers WHERE id = ?".split(),
        [Splice(3, "before", "(SELECT id, 'x' AS `email` FROM"), Splice(3, "after", ") AS `customers`")],
    ),
    "behind a literal": (
        b"SELECT ? , a FROM t c WHERE b IN ( ? ) GROUP BY a LIMIT ?".split(),
        [
            Splice(5, "before", "(SELECT a, b FROM"),
            Splice(5, "after", ")"),
            Splice(15, "after", "HAVING COUNT(a) >= 3"),
        ],
    ),
    "before a literal and dropped words": (
        b"SELECT a FROM t USE INDEX ( k ) WHERE a = ? OR ?".split(),
        [*(Splice(at, "drop") for at in range(4, 9)), Splice(12, "before", "0 +"), Splice(14, "after", "+ 0")],
    ),
}
LITERALS = [b"7", b"-1", b"0x2a", b"'it''s'", b"'\\' -- '", b"1e3", b"'?'", b"'/*'", b"12345678901234567890"]
SPACES = [b" ", b"\n", b"  \t", b" /* a note */ ", b" -- to the end\n", b" # the same\n", b"/**/"]


@cache
def relay() -> Relay:
    page = StatsPage.create(workers=1, shards=1, backends=1, digests=8, slow=8, users=1)
    return Relay(page.worker(0, 0), max_sessions=1, max_backends=1, max_packet=1 << 20, queue_wait=1.0, slow_query=1.0)


def text_of(words: list[bytes], literals: list[bytes], spaces: list[bytes], tail: bytes = b"") -> bytes:
    """The words with literals for `?`, and one of the spaces between two."""
    given_literals = iter(literals)
    out = []
    for index, word in enumerate(words):
        out += [next(given_literals) if word == b"?" else word, spaces[index % len(spaces)]]
    return b"".join(out[:-1]) + tail


def placed(text: bytes, splices: list[Splice]) -> Placed:
    lexed = lexer.lex(text, 0)
    tokens = tokenize(decode(lexed.norm))
    out = b""
    at = 0
    norm = lexed.norm
    for one in ordered(splices):
        token = tokens[one.token]
        start, end = token.at, token.at + len(token.text)
        start, end = (start, end) if one.side == "drop" else (start, start) if one.side == "before" else (end, end)
        out += norm[at:start] + b" " + one.text.encode() + b" "
        at = end
    wanted = lexer.lex(out + norm[at:], 0).norm
    return place(text, lexed, tokens, splices, 0, wanted)


def verdict(found: Placed) -> VerdictRef:
    assert found.anchors is not None
    return relay().verdict(SPLICED, cuts=[(one.gap, one.start, one.end, one.seen, one.put) for one in found.anchors])


literals = st.lists(st.sampled_from(LITERALS), min_size=3, max_size=3)
spaces = st.lists(st.sampled_from(SPACES), min_size=1, max_size=5)
tails = st.sampled_from([b"", b" ", b" -- trace 17", b" /* traceparent=00-4bf9 */"])


@given(st.sampled_from(sorted(STATEMENTS)), literals, spaces, literals, spaces, tails)
def test_another_text_is_spliced_as_the_lexer_would_or_not_at_all(
    name: str, first: list[bytes], around: list[bytes], then: list[bytes], elsewhere: list[bytes], tail: bytes
) -> None:
    words, splices = STATEMENTS[name]
    one, other = text_of(words, first, around), text_of(words, then, elsewhere, tail)
    known = verdict(placed(one, splices))
    assert relay().spliced(known, one) == placed(one, splices).text
    if lexer.lex(one, 0).norm == lexer.lex(other, 0).norm:
        assert relay().spliced(known, other) in (placed(other, splices).text, None)


@given(st.sampled_from(sorted(STATEMENTS)), literals, literals, spaces, tails)
def test_other_literals_and_what_follows_the_last_place_make_no_difference(
    name: str, first: list[bytes], then: list[bytes], around: list[bytes], tail: bytes
) -> None:
    words, splices = STATEMENTS[name]
    one, other = text_of(words, first, around), text_of(words, then, around, tail)
    if lexer.lex(one, 0).norm == lexer.lex(other, 0).norm:
        assert relay().spliced(verdict(placed(one, splices)), other) == placed(other, splices).text


@pytest.mark.parametrize("count", [1, 3, 500])
def test_a_list_is_one_literal_and_so_are_tuples(count: int) -> None:
    splices = [Splice(1, "after", ", 1"), Splice(4, "before", "AS")]
    for shape in (b"%d", b"(%d, 'x')"):
        one, other = (
            b"SELECT a FROM t u WHERE b IN (" + b", ".join(shape % value for value in range(size)) + b") AND c = 5"
            for size in (2, count)
        )
        assert relay().spliced(verdict(placed(one, splices)), other) == placed(other, splices).text


def test_no_place_within_rows_is_known_elsewhere() -> None:
    text = b"INSERT INTO t (a, b) VALUES (1, f(2)), (3, f(4))"
    lexed = lexer.lex(text, 0)
    tokens = tokenize(decode(lexed.norm))
    inside = next(index for index, token in enumerate(tokens) if token.text == "f")
    splice = [Splice(inside, "before", "0 +")]
    wanted = lexer.lex(text.replace(b", f", b",  0 + f", 1), 0).norm
    assert place(text, lexed, tokens, splice, 0, wanted).anchors is None


def test_a_place_before_another_word_is_not_known() -> None:
    known = verdict(placed(b"SELECT a FROM t WHERE b = 1", [Splice(3, "before", "(SELECT 1 FROM")]))
    assert relay().spliced(known, b"SELECT a FROM  t WHERE b = 1") is None
    assert relay().spliced(known, b"/* who */ SELECT a FROM t WHERE b = 1") is None
    assert relay().spliced(known, b"SELECT a FROM t /* who */ WHERE b = 1") is not None


@pytest.mark.parametrize(
    "cuts", [[(0, 5, 4, b"", b"")], [(-1, 0, 0, b"", b"")], [(0, 3, 4, b"", b""), (0, 1, 2, b"", b"")]]
)
def test_cuts_out_of_order_are_not_made(cuts: list[tuple[int, int, int, bytes, bytes]]) -> None:
    try:
        known = relay().verdict(SPLICED, cuts=cuts)
    except (ValueError, OverflowError):
        return
    assert relay().spliced(known, b"SELECT a FROM t") is None
