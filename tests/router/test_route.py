"""Executing a plan's decision on values: shards, and the texts of a split INSERT."""

from __future__ import annotations

from decimal import Decimal

import pytest

from _speedups import lexer
from router.errors import Refusal
from router.keys import Key, KeyType, Value, canonical
from router.plan import ByKey, Planned, Refuse, SplitInsert
from router.planner import plan
from router.route import route, split
from tests.router.planning import context, topology

EU, US = 5, 2 << 40 | 5


def planned(sql: str, database: str = "shop", mode: int = 0) -> tuple[Planned, lexer.LexedStatement, bytes]:
    text = sql.encode()
    lexed = lexer.lex(text, mode)
    return plan(lexed, text, context(database, mode=mode)), lexed, text


def shards(sql: str, params: tuple[Value, ...] = (), database: str = "shop") -> tuple[str, ...] | str:
    """The shards, or the name of the refusal."""
    found, lexed, text = planned(sql, database)
    went = route(found, lexed, text, params)
    return went.entry if isinstance(went, Refuse) else went


def home(number: int) -> str:
    vindex = topology().keyspace("shop").vindexes["by_id"]  # type: ignore[union-attr]
    key = Key(KeyType.INT_SIGNED, canonical(number, KeyType.INT_SIGNED))
    return topology().shards[vindex.shard_of([key])].name


@pytest.mark.parametrize("number", [0, 1, 5, 6, 7, 2**40 - 1, US, US + 1])
def test_literal_text_list_and_parameter_agree(number: int) -> None:
    expected = (home(number),)
    assert shards(f"SELECT * FROM customers WHERE id = {number}") == expected
    assert shards(f"SELECT * FROM customers WHERE id = '{number}'") == expected
    assert shards(f"SELECT * FROM customers WHERE id IN ({number})") == expected
    assert shards("SELECT * FROM customers WHERE id = ?", (number,)) == expected
    assert shards("SELECT * FROM customers WHERE id = ?", (str(number),)) == expected
    assert shards("SELECT * FROM customers WHERE id = ?", (Decimal(number),)) == expected
    assert shards("SELECT * FROM customers WHERE id IN (?, ?)", (number, number)) == expected
    assert shards(f"INSERT INTO customers (id, name) VALUES ({number}, 'x')") == expected
    assert shards("INSERT INTO customers (id, name) VALUES (?, ?)", (number, "x")) == expected


def test_a_null_parameter_matches_no_row_and_cannot_be_stored() -> None:
    assert shards("SELECT * FROM customers WHERE id = ?", (None,)) == ("eu-0",)
    assert shards("SELECT * FROM customers WHERE id IN (?, ?)", (None, US)) == (home(US),)
    assert shards("INSERT INTO customers (id, name) VALUES (?, ?)", (None, "x")) == "KEY_NULL"


def test_negation_reaches_parameters() -> None:
    assert shards("SELECT * FROM customers WHERE id = -?", (-5,)) == (home(5),)
    assert shards("SELECT * FROM customers WHERE id = -?", ("5",)) == ("eu-0", "eu-1", "us-0", "us-1")


def test_values_that_do_not_decide_widen_reads_and_refuse_writes() -> None:
    everywhere = ("eu-0", "eu-1", "us-0", "us-1")
    assert shards("SELECT * FROM customers WHERE id = ?", ("7e0",)) == everywhere
    assert shards("SELECT * FROM customers WHERE id = ? LIMIT 1", ("7e0",)) == everywhere
    assert shards("SELECT * FROM customers WHERE id = ? FOR UPDATE", ("7e0",)) == everywhere
    assert shards("UPDATE customers SET name = 'x' WHERE id = ?", ("7e0",)) == "KEY_TYPE"
    assert shards("UPDATE customers SET name = 'x' WHERE id = ?", ("7e0",), "best") == everywhere
    assert shards("INSERT INTO customers (id, name) VALUES (?, 'x')", ("7abc",), "best") == "KEY_TYPE"
    assert shards("INSERT INTO items (sku, title) VALUES (?, 'x')", ("ä",), "best") == "KEY_TYPE"


def test_text_behind_a_number_is_left_out_where_it_is_compared_once() -> None:
    everywhere = ("eu-0", "eu-1", "us-0", "us-1")
    for text, number in ((f"{US}abc", US), ("7abc", 7), (" 7 x", 7), ("abc", 0), ("", 0), ("0x7", 0)):
        assert shards("SELECT * FROM customers WHERE id = ?", (text,)) == (home(number),), text
        assert shards("UPDATE customers SET name = 'x' WHERE id = ?", (text,)) == (home(number),), text
        assert shards("SELECT * FROM customers WHERE id IN (?, ?)", (text, number)) == everywhere
        assert shards("SELECT * FROM customers WHERE id = ? OR id = 5", (text,)) == everywhere
        assert shards("INSERT INTO customers (id, name) VALUES (?, 'x')", (text,), "best") == "KEY_TYPE"


def test_lists_choose_the_shards_that_hold_them() -> None:
    assert shards(f"SELECT * FROM customers WHERE id IN ({EU}, {US})") == tuple(sorted((home(EU), home(US))))
    assert shards(f"DELETE FROM customers WHERE id IN ({EU}, {US})") == "MULTI_SHARD_WRITE"


def test_the_client_character_set_decides_what_bytes_mean() -> None:
    text = b"SELECT * FROM items WHERE sku = '" + "x".encode("latin-1") + b"'"
    lexed = lexer.lex(text, 0)
    found = plan(lexed, text, context())
    assert len(route(found, lexed, text, charset="latin1")) == 1  # type: ignore[arg-type]
    text = b"SELECT * FROM items WHERE sku = '" + "ä".encode("latin-1") + b"'"
    lexed = lexer.lex(text, 0)
    assert len(route(plan(lexed, text, context()), lexed, text, charset="latin1")) == 4  # type: ignore[arg-type]


def test_two_columns_go_together_row_by_row() -> None:
    both = shards("SELECT * FROM events WHERE (country, user_id) IN (('de', 7), ('us', 7))")
    assert both == ("eu-0", "us-0")
    assert shards("SELECT * FROM events WHERE (country, user_id) IN (('de', 7), ('de', 7))") == ("eu-0",)
    assert shards("SELECT * FROM events WHERE country = ? AND user_id = ?", ("DE ", 7)) == ("eu-0",)


def test_a_plan_without_keys_needs_no_values() -> None:
    assert shards("BEGIN") == ()
    assert shards("SELECT DATABASE()") == ()
    assert shards("SHUTDOWN") == "ADMINISTRATION"


def test_variables_set_by_an_optimizer_hint_stay_on_one_shard() -> None:
    hint = "/*+ SET_VAR(sql_select_limit = 1) */"
    assert shards(f"SELECT {hint} * FROM customers") == "UNSTABLE_FUNCTION"
    assert shards(f"SELECT {hint} * FROM customers WHERE id = {EU}") == (home(EU),)
    assert shards(f"SELECT {hint} * FROM countries") == ("eu-0", "eu-1", "us-0", "us-1")
    assert len(shards("SELECT /*+ MAX_EXECUTION_TIME(5) */ * FROM customers")) == 4


# --- split ---------------------------------------------------------------------------------------------------


def parts(sql: str) -> dict[str, str]:
    found, lexed, text = planned(sql, "best")
    return {shard: part.text.decode() for shard, part in split(found, lexed, text).items()}


def test_split_copies_everything_around_the_rows() -> None:
    found = parts(
        f"/* a */ INSERT INTO customers (id, name) VALUES ({EU}, 'x,(y)') , ({US},'it''s') "
        f"/* b */ ,( {EU + 1} , NULL ) ON DUPLICATE KEY UPDATE name = VALUES(name) -- end"
    )
    head, tail = (
        "/* a */ INSERT INTO customers (id, name) VALUES ",
        " ON DUPLICATE KEY UPDATE name = VALUES(name) -- end",
    )
    assert found == {
        home(EU): f"{head}({EU}, 'x,(y)'),( {EU + 1} , NULL ){tail}",
        home(US): f"{head}({US},'it''s'){tail}",
    }


def test_split_keeps_the_order_and_loses_no_row() -> None:
    numbers = [EU, US, EU + 1, US + 1, EU, US + 7, 7]
    rows = ", ".join(f"({number}, {index})" for index, number in enumerate(numbers))
    found = parts(f"INSERT INTO customers (id, balance) VALUES {rows}")
    seen: list[int] = []
    for shard, text in found.items():
        part = text.partition("VALUES ")[2].replace("(", "").replace(")", "").split(",")
        pairs = list(zip(map(int, part[::2]), map(int, part[1::2]), strict=True))
        assert all(home(number) == shard for number, _ in pairs)
        assert [index for _, index in pairs] == sorted(index for _, index in pairs)
        seen += [index for _, index in pairs]
    assert sorted(seen) == list(range(len(numbers)))


def test_each_part_goes_to_its_own_shard() -> None:
    """A part planned by itself is one shard's: the same statement cannot be routed two ways."""
    rows = ", ".join(f"({number}, 'x')" for number in [*range(40), *(2 << 40 | number for number in range(40))])
    for shard, text in parts(f"INSERT INTO customers (id, name) VALUES {rows}").items():
        assert shards(text, database="best") == (shard,)


def test_split_of_something_else_is_our_bug() -> None:
    found, lexed, text = planned("SELECT * FROM customers WHERE id = 5")
    with pytest.raises(Refusal, match="BUG"):
        split(found, lexed, text)


def test_a_row_that_has_no_shard_refuses_the_whole() -> None:
    sql = f"INSERT INTO customers (id, name) VALUES ({EU}, 'x'), ({99 << 40}, 'y')"
    found, lexed, text = planned(sql, "best")
    assert isinstance(found.plan, ByKey)
    assert isinstance(found.plan.otherwise, SplitInsert)
    assert shards(sql, database="best") == "VALUE_OUTSIDE"
    with pytest.raises(Refusal, match="FL1217"):
        split(found, lexed, text)
