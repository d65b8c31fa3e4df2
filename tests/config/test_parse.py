"""The small notations, both ways: what is read and what is refused."""

from __future__ import annotations

import pytest

from config import parse
from config.settings import Address, Buckets, ColumnType, GrantTarget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("2d", 172800),
        ("100us", 1e-4),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_durations(text, seconds):
    assert parse.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "s", "-5s", "5 s", "5S", "1m 30s", "", "5sec", "١s5"])
def test_bad_durations(text):
    with pytest.raises(ValueError, match="duration"):
        parse.duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("16KiB", 16384), ("64MiB", 1 << 26), ("1.5G", 3 << 29), ("8 k", 8192), ("10b", 10)],
)
def test_sizes(text, size):
    assert parse.size(text) == size


@pytest.mark.parametrize("text", ["64MB", "x", "", "-1", "1TiB", "1e3"])
def test_bad_sizes(text):
    with pytest.raises(ValueError):
        parse.size(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7401", Address("127.0.0.1", 7401)),
        ("db-1.eu.example", Address("db-1.eu.example", 3306)),
        ("[::1]:7401", Address("::1", 7401)),
        ("[fd00:0:0::1]", Address("fd00::1", 3306)),
    ],
)
def test_addresses(text, address):
    assert parse.address(text, 3306) == address
    assert parse.address(str(address), None) == address


@pytest.mark.parametrize(
    "text",
    ["", ":3306", "db:", "db:0", "db:65536", "db:x", "::1", "[::1", "[::1]x", "1.2.3", "a b:1", "db:٣"],
)
def test_bad_addresses(text):
    with pytest.raises(ValueError):
        parse.address(text, 3306)


def test_an_address_may_need_its_port():
    with pytest.raises(ValueError):
        parse.address("db", None)


@pytest.mark.parametrize(
    ("text", "target"), [("*.*", (None, None)), ("a.*", ("a", None)), ("a.b", ("a", "b"))]
)
def test_grant_targets(text, target):
    assert parse.grant_target(text) == GrantTarget(*target)
    assert str(GrantTarget(*target)) == text


@pytest.mark.parametrize("text", ["", "a", "*.b", ".b", "a.", "a.b.c", "*"])
def test_bad_grant_targets(text):
    with pytest.raises(ValueError):
        parse.grant_target(text)


def test_buckets():
    assert parse.buckets(["0-1023", "3000", "3072 - 4095"]) == Buckets(
        ((0, 1023), (3000, 3000), (3072, 4095))
    )
    assert str(Buckets(((0, 1023), (3000, 3000)))) == "0-1023, 3000"


@pytest.mark.parametrize("text", ["5-4", "4096", "-1", "a", "0-", "1-2-3", ""])
def test_bad_buckets(text):
    with pytest.raises(ValueError):
        parse.buckets([text])


@pytest.mark.parametrize(
    "text",
    [
        "varchar",
        "varchar(x)",
        "bigint character set utf8mb4",
        "char(2) unsigned",
        "text",
        "enum('a')",
        "binary(4) collate binary",
        "varchar(5) character set latin1 collate utf8mb4_bin",
        "",
    ],
)
def test_bad_column_types(text):
    with pytest.raises(ValueError):
        parse.column_type(text)


def test_column_types_read_back():
    for text in ("bigint unsigned", "varchar(64) collate utf8mb4_general_ci", "binary(16)"):
        assert str(parse.column_type(text)) == text
    assert parse.column_type("INT(11) ZEROFILL") == ColumnType("int", "int unsigned")


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("-5", -5), ("1_000_000", 10**6), ("+7", 7)])
def test_integers(text, number):
    assert parse.integer(text) == number


@pytest.mark.parametrize("text", ["010", "0x10", "1.0", "1e3", "_1", "", "٣"])
def test_bad_integers(text):
    with pytest.raises(ValueError):
        parse.integer(text)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("Yes", True), ("on", True), ("OFF", False)])
def test_booleans(text, value):
    assert parse.boolean(text) is value
