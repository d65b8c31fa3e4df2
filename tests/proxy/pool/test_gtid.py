"""Positions against an oracle of plain sets: a position is the set of (source, number) it includes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.words import Flavour
from proxy.pool import gtid
from proxy.pool.gtid import GtidError, SourceTable, pack, parse, parse_mariadb, parse_mysql, unpack

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
B = "4f11fa47-71ca-11e1-9e33-c80aa9429562"

Executed = dict[str, set[int]]

numbers = st.sets(st.integers(1, 24), min_size=1, max_size=12)
executed_sets = st.dictionaries(st.sampled_from([A, B, f"{A}:backup", f"{A}:_x9"]), numbers, max_size=4)


def text_of(executed: Executed) -> str:
    """Every number on its own: the longest way to write a set."""
    return ",\n".join(f"{source}:" + ":".join(map(str, seqs)) for source, seqs in executed.items())


def numbers_of(position: gtid.MysqlPosition) -> Executed:
    return {
        source: {n for low, high in intervals for n in range(low, high + 1)}
        for source, intervals in position.executed.items()
    }


@given(executed_sets)
def test_mysql_sets_are_read_as_the_numbers_they_name(executed: Executed) -> None:
    assert numbers_of(parse_mysql(text_of(executed))) == executed


@given(executed_sets)
def test_mysql_sets_print_as_they_are_read(executed: Executed) -> None:
    position = parse_mysql(text_of(executed))
    assert parse_mysql(str(position)) == position


@given(executed_sets, executed_sets)
def test_mysql_containment_is_that_of_sets(have: Executed, wanted: Executed) -> None:
    expected = all(seqs <= have.get(source, set()) for source, seqs in wanted.items())
    assert parse_mysql(text_of(have)).contains(parse_mysql(text_of(wanted))) == expected


@given(executed_sets)
def test_mysql_bounds_promise_nothing_that_is_missing(executed: Executed) -> None:
    bounds = parse_mysql(text_of(executed)).bounds()
    for source, seqs in executed.items():
        bound = bounds.get(source, 0)
        assert set(range(1, bound + 1)) <= seqs
        assert bound + 1 not in seqs


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        (f"{A}:1-100:200", f"{A}:1-100:200"),
        (f"{A.upper()}:1-5:4-9 ,\n {B}:7", f"{A}:1-9,{B}:7"),
        (f"{A}:1-3:Tag_1:1-5:9:other:2", f"{A}:1-3,{A}:other:2,{A}:tag_1:1-5:9"),
        (f"{A}:1,{A}:2-3", f"{A}:1-3"),
    ],
)
def test_mysql_texts(text: str, printed: str) -> None:
    assert str(parse_mysql(text)) == printed


@pytest.mark.parametrize(
    "text",
    [
        "0-1-5",
        A,
        f"{A}:",
        f"{A}:0-4",
        f"{A}:5-3",
        f"{A}:tag",
        f"{A}:tag:other:1",
        f"{A}:1:tag",
        f"{A}:9tag:1",
        f"{A[:-1]}:1",
        f"{A}:1-9223372036854775808",
        f"{A}:1--2",
        "x" * (gtid.MAX_TEXT + 1),
    ],
)
def test_what_is_not_a_mysql_set_is_refused(text: str) -> None:
    with pytest.raises(GtidError):
        parse_mysql(text)


@pytest.mark.parametrize(
    "text",
    [
        "1-2",
        "1-2-3-4",
        "a-1-2",
        "4294967296-1-1",
        "1-4294967296-1",
        "1-1-18446744073709551616",
        "0-1-5,0-2-6",
        A,
    ],
)
def test_what_is_not_a_mariadb_position_is_refused(text: str) -> None:
    with pytest.raises(GtidError):
        parse_mariadb(text)


def test_mariadb_positions_print_as_they_are_read() -> None:
    assert str(parse_mariadb(" 7-2-5, 0-1-100,\n")) == "0-1-100,7-2-5"


@pytest.mark.parametrize(
    ("have", "logged", "wanted", "expected"),
    [
        ("0-1-100", "", "0-1-100", True),
        ("0-1-100", "", "0-1-101", False),
        ("0-1-100,1-2-5", "", "1-2-5", True),
        ("0-1-100", "", "1-2-5", False),
        ("0-1-100", "", "", True),
        ("", "", "0-1-1", False),
        # After a failover: the new primary's numbers go on, so the old one's are found in the binary log
        # only.
        ("0-2-107", "0-1-105,0-2-107", "0-1-105", True),
        ("0-2-107", "0-1-104,0-2-107", "0-1-105", False),
        ("0-2-107", "", "0-1-105", False),
        # The binary log runs ahead of the commit.
        ("0-2-104", "0-1-105,0-2-104", "0-1-105", False),
        # The same number by another server is another transaction.
        ("0-2-105", "0-2-105", "0-1-105", False),
    ],
)
def test_mariadb_containment(have: str, logged: str, wanted: str, expected: bool) -> None:
    assert parse_mariadb(have, logged).contains(parse_mariadb(wanted)) is expected


@pytest.mark.parametrize(
    ("have", "other", "expected"),
    [
        (("0-2-107", "0-1-105,0-2-107"), ("0-1-105", "0-1-105"), True),
        (("0-2-107", "0-1-105,0-2-107"), ("0-1-106", "0-1-106"), False),
        (("0-2-105", "0-2-105"), ("0-2-105", "0-2-105,0-1-106"), False),
        (("0-2-105", "0-2-105"), ("0-2-105", "0-2-105,0-9-80"), True),
        (("0-1-105", ""), ("0-1-105", ""), True),
    ],
)
def test_mariadb_coverage_finds_what_was_written_alone(
    have: tuple[str, str], other: tuple[str, str], expected: bool
) -> None:
    """The other server's id is 1: only its own writes count beside its position."""
    assert parse_mariadb(*have).covers(parse_mariadb(*other), 1) is expected


def test_positions_of_two_flavours_never_contain_each_other() -> None:
    mine, theirs = parse(Flavour.MARIADB, "0-1-5"), parse(Flavour.MYSQL, f"{A}:1-5")
    assert not gtid.contains(mine, theirs) and not gtid.contains(theirs, mine)
    assert not gtid.contains(None, mine) and not gtid.contains(mine, None)
    assert not gtid.covers(mine, theirs, 1) and not gtid.covers(None, None, 1)


@given(st.integers(1, gtid.MAX_SOURCES), st.integers(0, gtid.MAX_SEQUENCE))
def test_a_packed_word_gives_back_what_went_in(source: int, sequence: int) -> None:
    word = pack(source, sequence)
    assert 0 < word < 2**64
    assert unpack(word) == (source, sequence)


@pytest.mark.parametrize(("source", "sequence"), [(0, 1), (2**16, 1), (1, 2**48), (1, -1)])
def test_what_does_not_fit_a_word_is_refused(source: int, sequence: int) -> None:
    with pytest.raises(GtidError):
        pack(source, sequence)


def test_sources_keep_their_ids_and_are_bounded() -> None:
    table = SourceTable(capacity=2)
    assert [table.id_of("0-1"), table.id_of(A), table.id_of("0-1")] == [1, 2, 1]
    assert table.names() == ["0-1", A]
    with pytest.raises(GtidError):
        table.id_of(B)


def test_a_token_wants_the_highest_number_and_a_position_offers_the_contiguous_one() -> None:
    table = SourceTable()
    assert table.packed_positions(f"{A}:1-5:9,{B}:3-4") == [pack(1, 5)]
    assert table.packed_token(f"{A}:3:9") == [pack(1, 9)]
    assert table.packed_token("0-1-77") == [pack(table.id_of("0-1"), 77)]


def test_a_number_too_large_to_pack_is_promised_less_and_wanted_never() -> None:
    table = SourceTable()
    assert table.packed_positions(f"0-1-{2**60}") == [pack(1, gtid.MAX_SEQUENCE)]
    with pytest.raises(GtidError):
        table.packed_token(f"0-1-{2**60}")


@settings(max_examples=200)
@given(executed_sets, executed_sets)
def test_packed_words_never_prove_what_a_set_does_not_hold(have: Executed, written: Executed) -> None:
    """One-sided: the relay's comparison may miss, it may not lie."""
    table = SourceTable()
    words, token = table.packed_positions(text_of(have)), table.packed_token(text_of(written))
    if gtid.packed_reaches(words, token):
        assert all(seqs <= have.get(source, set()) for source, seqs in written.items())
