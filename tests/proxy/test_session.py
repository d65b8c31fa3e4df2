"""What the uvloop side keeps of a session: contexts, and how its text is read."""

from __future__ import annotations

import pytest

from proxy.mysql.constants import collations
from proxy.mysql.constants.capabilities import Capability
from proxy.sessions.session import (
    ANSI_QUOTES,
    ASCII_KEYS,
    MARIADB,
    NO_BACKSLASH_ESCAPES,
    UNSAFE_CHARSET,
    ContextTable,
    Session,
    mode_bits,
)


def session() -> Session:
    collation = collations.by_name("utf8mb4_general_ci", "mariadb")
    assert collation is not None
    return Session(1, 1, "demo", "localhost", Capability(0), collation, "mysql")


@pytest.mark.parametrize(
    ("sql_mode", "bits"),
    [
        ("", 0),
        ("STRICT_TRANS_TABLES", 0),
        ("ansi_quotes", ANSI_QUOTES),
        ("ANSI", ANSI_QUOTES),
        ("STRICT_ALL_TABLES, NO_BACKSLASH_ESCAPES", NO_BACKSLASH_ESCAPES),
        ("ORACLE,NO_BACKSLASH_ESCAPES", ANSI_QUOTES | NO_BACKSLASH_ESCAPES),
    ],
)
def test_modes_that_change_how_text_is_read(sql_mode: str, bits: int) -> None:
    assert mode_bits(sql_mode) == bits
    one = session()
    one.state = one.state.set("sql_mode", sql_mode)
    assert one.mode == bits | MARIADB


def test_the_character_set_is_part_of_the_mode() -> None:
    one = session()
    assert (one.charset, one.mode) == ("utf8mb4", MARIADB)
    one.state = one.state.set("names", "latin1")
    assert (one.charset, one.mode) == ("latin1", MARIADB | ASCII_KEYS)
    one.state = one.state.set("character_set_client", "gbk")
    assert one.mode == MARIADB | ASCII_KEYS | UNSAFE_CHARSET
    one.state = one.state.set("names", "utf8mb3")
    assert (one.charset, one.mode) == ("utf8mb3", MARIADB)


def test_a_context_is_numbered_once() -> None:
    table, one, other = ContextTable(), session(), session()
    number = table.number(one.context())
    assert table.number(other.context()) == number and table.key(number) == one.context()
    other.state = other.state.use("shop")
    third = session()
    third.hop = True
    numbers = {number, table.number(other.context()), table.number(third.context())}
    assert len(numbers) == 3
    one.state = one.state.set("time_zone", "+00:00")
    assert table.number(one.context()) == number, "no plan depends on it"
