"""Frames of the Redis protocol: as the oracle reads them, cut anywhere, and bounded whatever is announced."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups.resp import ProtocolError, ReplyScanner, RequestScanner, request_of, words_of
from router.redis.resp import request
from tests.oracle import resp_oracle

ARGUMENTS = st.lists(st.binary(max_size=40), min_size=1, max_size=12)
SCALARS = st.one_of(
    st.just(b"$-1\r\n"),
    st.just(b"*-1\r\n"),
    st.just(b"_\r\n"),
    st.sampled_from([b"#t\r\n", b"#f\r\n", b",1.5\r\n", b",inf\r\n", b"(12345678901234567890\r\n"]),
    st.integers().map(lambda one: b":%d\r\n" % one),
    st.binary(max_size=30).map(lambda one: b"$%d\r\n%b\r\n" % (len(one), one)),
    st.binary(max_size=30).map(lambda one: b"!%d\r\n%b\r\n" % (len(one), one)),
    st.binary(max_size=30).map(lambda one: b"=%d\r\ntxt:%b\r\n" % (len(one) + 4, one)),
    st.text("abc XYZ", max_size=10).map(lambda one: b"+%b\r\n" % one.encode()),
    st.text("abc XYZ", max_size=10).map(lambda one: b"-ERR %b\r\n" % one.encode()),
)


NOISE = [b"*", b"$", b"\r", b"\n", b"\r\n", b"1", b"2", b"0", b"-1", b"3\r\nSET\r\n", b"x"]


def aggregates(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    many = st.lists(inner, max_size=4)
    pairs = st.lists(st.tuples(inner, inner).map(b"".join), max_size=3)
    return st.one_of(
        st.tuples(st.sampled_from([b"*", b"~", b">"]), many).map(lambda one: _head(one[0], one[1])),
        pairs.map(lambda one: _head(b"%", one)),
        st.tuples(pairs, inner).map(lambda one: _head(b"|", one[0]) + one[1]),
    )


def _head(mark: bytes, items: list[bytes]) -> bytes:
    return mark + b"%d\r\n" % len(items) + b"".join(items)


REPLIES = st.recursive(SCALARS, aggregates, max_leaves=12)


def in_pieces(data: bytes, seed: int) -> list[bytes]:
    dice, found, at = random.Random(seed), [], 0
    while at < len(data):
        size = dice.choice((1, 2, 3, 7, 50))
        found.append(data[at : at + size])
        at += size
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(ARGUMENTS, max_size=6), st.integers(0, 1000))
def test_requests_in_any_pieces(commands: list[list[bytes]], seed: int):
    data = b"".join(request(*one) for one in commands)
    assert resp_oracle.requests(data) == commands
    for pieces in (in_pieces(data, seed), [data[at : at + 1] for at in range(len(data))], [data]):
        scanner = RequestScanner()
        assert [one for piece in pieces for one in scanner.feed(piece)] == commands
        assert scanner.waiting == 0


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(REPLIES, max_size=5), st.integers(0, 1000))
def test_replies_in_any_pieces(replies: list[bytes], seed: int):
    data = b"".join(replies)
    for pieces in (in_pieces(data, seed), [data[at : at + 1] for at in range(len(data))], [data]):
        scanner = ReplyScanner()
        assert [one for piece in pieces for one in scanner.feed(piece)] == replies
    at = 0
    for one in replies:
        assert resp_oracle.reply_end(data, at) == at + len(one)
        at += len(one)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(NOISE), max_size=14))
def test_noise_is_read_as_the_oracle_reads_it(parts: list[bytes]):
    data = b"*" + b"".join(parts)
    try:
        expected: list[list[bytes]] | None = resp_oracle.requests(data)
    except resp_oracle.Bad:
        expected = None
    scanner = RequestScanner()
    try:
        found: list[list[bytes]] | None = scanner.feed(data)
    except ProtocolError:
        found = None
    if expected is not None:  # None: no request, or an inline line, which the oracle leaves out
        assert found == expected


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_noise_among_replies_ends_in_an_answer(data: bytes):
    scanner = ReplyScanner()
    try:
        whole = b"".join(scanner.feed(data))
    except ProtocolError:
        return
    assert data.startswith(whole)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"*1000000000\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*-2\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*1\r\n$99999999999\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n*1\r\n", "expected '$', got '*'"),
        (b"*1\r\n$1\r\nab\r\n", "expected CRLF"),
        (b"a" * 65537, "too big inline request"),
        (b"*" + b"1" * 65537, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 65537, "too big bulk count string"),
        (b'SET "a\r\n', "unbalanced quotes"),
    ],
)
def test_refused(data: bytes, text: str):
    with pytest.raises(ProtocolError, match="Protocol error: ") as refused:
        RequestScanner().feed(data)
    assert text in str(refused.value)


@pytest.mark.parametrize("beginning", [b"*", b"*1\r\n$", b"a"])
@pytest.mark.parametrize("digits", range(65530, 65540))
def test_a_line_that_is_too_long_is_so_wherever_it_is_cut(beginning: bytes, digits: int):
    line = beginning + b"1" * digits + b"\r\n"
    pieces = [line[:65530], *(line[at : at + 1] for at in range(65530, len(line)))]
    assert _error_of([line]) == _error_of(pieces)


def _error_of(pieces: list[bytes]) -> str:
    scanner = RequestScanner()
    try:
        for piece in pieces:
            scanner.feed(piece)
    except ProtocolError as error:
        return str(error)
    return ""


def test_announced_lengths_take_no_memory():
    scanner = RequestScanner()
    assert scanner.feed(b"*1048576\r\n$536870912\r\n" + b"x" * 100) == []
    assert scanner.waiting < 200
    replies = ReplyScanner()
    assert replies.feed(b"*4294967296\r\n" * 1) == []
    assert replies.waiting < 50


def test_nesting_costs_nothing_and_ends():
    scanner = ReplyScanner()
    assert scanner.feed(b"*1\r\n" * 100_000) == []
    assert len(scanner.feed(b":1\r\n")) == 1
    with pytest.raises(ProtocolError):
        ReplyScanner().feed(b"*4294967296\r\n" * 3)


@pytest.mark.parametrize("data", [b"?1\r\n", b"*x\r\n", b"$\r\n", b"*-2\r\n", b"%-1\r\n", b"$1x\r\n", b"\r\n"])
def test_no_reply(data: bytes):
    with pytest.raises(ProtocolError):
        ReplyScanner().feed(data)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"PING\r\n", [b"PING"]),
        (b"  set  a\tb \n", [b"set", b"a", b"b"]),
        (b'set k "a b\\n\\x41\\"q"\r\n', [b"set", b"k", b'a b\nA"q']),
        (b"set k 'a\\'b\\n'\r\n", [b"set", b"k", b"a'b\\n"]),
        (b'set k ""\r\n', [b"set", b"k", b""]),
        (b'a"b"\r\n', [b"ab"]),
        (b"\r\n", []),
    ],
)
def test_inline(line: bytes, words: list[bytes]):
    assert words_of(line) == words
    assert request_of(line) == (words, len(line))


def test_empty_requests_are_passed_over():
    assert RequestScanner().feed(b"*0\r\n*-1\r\n\r\nPING\r\n") == [[b"PING"]]
