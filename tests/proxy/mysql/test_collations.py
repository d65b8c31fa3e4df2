"""What a character set means to a lexer, against Python's own codecs. (Ids and names: test_servers.py.)"""

import pytest

from proxy.mysql.constants import collations
from proxy.mysql.constants.collations import CHARSETS, Lexing, lexing_of

MARKS = b"'\"\\`|#/*-; \n"
"""Bytes that mean something to the lexer: none of them may be half of a character."""


def codec_of(charset: str) -> str:
    number = collations.default_of(charset)
    assert number is not None
    found = collations.by_id(number, "mysql")
    assert found is not None
    return found.codec


def hides(charset: str, mark: int) -> bool:
    """Whether some lead byte and this byte together are one character."""
    for lead in range(0x80, 0x100):
        try:
            text = bytes((lead, mark)).decode(codec_of(charset))
        except UnicodeDecodeError:
            continue
        if len(text) == 1:
            return True
    return False


@pytest.mark.parametrize("charset", sorted(CHARSETS))
def test_safe_means_that_no_mark_is_half_of_a_character(charset: str) -> None:
    if lexing_of(charset) is Lexing.SAFE:
        assert not [mark for mark in MARKS if hides(charset, mark)]


@pytest.mark.parametrize("charset", ["big5", "cp932", "sjis", "gbk", "gb18030"])
def test_unsafe_means_that_a_backslash_may_be(charset: str) -> None:
    assert lexing_of(charset) is Lexing.UNSAFE
    assert hides(charset, ord("\\"))


@pytest.mark.parametrize("charset", sorted(CHARSETS))
def test_ascii_is_one_byte_except_where_forbidden(charset: str) -> None:
    forbidden = {"ucs2", "utf16", "utf16le", "utf32"}
    assert (lexing_of(charset) is Lexing.FORBIDDEN) is (charset in forbidden)
    if charset not in forbidden:
        assert "select 1".encode(codec_of(charset)) == b"select 1"


def test_unknown_sets_are_unsafe() -> None:
    assert lexing_of("klingon") is Lexing.UNSAFE
    assert lexing_of("swe7") is Lexing.UNSAFE


def test_names_are_found_in_any_case_and_by_the_old_name() -> None:
    found = collations.by_name("UTF8_General_CI", "mysql")
    assert found is not None
    assert (found.id, found.name) == (33, "utf8mb3_general_ci")
    assert collations.by_name("utf8mb4_0900_ai_ci", "mariadb") is None
    assert collations.by_name("utf8mb4_uca1400_spanish_nopad_as_ci", "mysql") is None


def test_one_id_may_have_two_names() -> None:
    names = set()
    flavours: list[collations.Flavour] = ["mysql", "mariadb"]
    for flavour in flavours:
        found = collations.by_id(245, flavour)
        assert found is not None
        names.add(found.name)
    assert names == {"utf8mb4_croatian_ci", "utf8mb4_croatian_mysql561_ci"}
