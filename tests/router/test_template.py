"""What the parser is given: markers for literals, nothing that grows with lists, nothing of the user's text."""

from __future__ import annotations

import pytest
from sqlglot import exp

from _speedups import lexer
from router import template
from router.planner import plan
from router.template import NotUnderstood, literal_slots, parse, render, slot_of
from router.tokens import decode, tokenize
from tests.router.planning import context


def rendered(sql: str, mode: int = 0) -> str:
    lexed = lexer.lex(sql.encode(), mode)
    norm = decode(lexed.norm)
    return render(norm, tokenize(norm), literal_slots(lexed))[0]


def slots_in(sql: str) -> list[int]:
    tree = parse(lexer.lex(sql.encode(), 0)).tree
    return sorted(slot for node in tree.walk() if (slot := slot_of(node)) is not None)


def test_a_list_of_ten_thousand_is_parsed_as_one_of_two() -> None:
    short = "SELECT * FROM customers WHERE id IN (1, 2) AND name = 'x'"
    numbers = ", ".join(str(number) for number in range(10_000))
    long = f"SELECT * FROM customers WHERE id IN ({numbers}) AND name = 'x'"
    assert rendered(short) == rendered(long)


def test_a_thousand_rows_are_parsed_as_one() -> None:
    rows = ", ".join(f"({number}, 'x')" for number in range(1000))
    one = "INSERT INTO customers (id, name) VALUES (1, 'x')"
    assert rendered(one) == rendered(f"INSERT INTO customers (id, name) VALUES {rows}")


def test_the_parser_sees_no_literal(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = template.parse_text

    def spy(text: str) -> exp.Expr:
        seen.append(text)
        return real(text)

    monkeypatch.setattr(template, "parse_text", spy)
    for sql in (
        "SELECT 'secret' FROM customers WHERE id = 424242 AND name IN ('secret', 'b')",
        "INSERT INTO customers (id, name) VALUES (424242, 'secret'), (5, 'x')",
        "UPDATE customers SET name = 'secret' WHERE id = 424242",
        "SELECT x'736563726574', 0x736563726574, N'secret', 'sec' 'ret' FROM customers WHERE id = 424242",
    ):
        text = sql.encode()
        plan(lexer.lex(text, 0), text, context())
    assert seen
    assert not any("secret" in text or "424242" in text or "7365" in text for text in seen)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FROM t WHERE a = 5", [0, 1]),
        ("SELECT a FROM t WHERE a IN (1, 2) AND b = 3 LIMIT 4, 5", [0, 1, 2, 3]),
        ("INSERT INTO t (a, b) VALUES (1, 2), (3, 4)", [1, 2]),
        ("SELECT a FROM t WHERE (a, b) IN ((1, 2), (3, 4))", [1, 2]),
        ("SELECT a FROM t WHERE a LIKE 'x' ESCAPE '|' ORDER BY 1", [0, 1]),
    ],
)
def test_the_tree_says_which_slot_stands_where(sql: str, expected: list[int]) -> None:
    assert slots_in(sql) == expected


def test_a_user_cannot_write_a_marker() -> None:
    tree = parse(lexer.lex(b"SELECT a FROM t WHERE a = '$.q7'", 0)).tree
    assert [slot_of(node) for node in tree.find_all(exp.Literal)] == [0]


def test_double_quotes_are_names_under_ansi_quotes() -> None:
    assert rendered('SELECT "a""b" FROM t', lexer.ANSI_QUOTES) == 'SELECT `a"b` FROM t'
    lexed = lexer.lex(b'SELECT "a""b" FROM t', lexer.ANSI_QUOTES)
    assert parse(lexed).tree.find(exp.Column).name == 'a"b'  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("sql", "modifiers"),
    [
        ("SELECT SQL_NO_CACHE STRAIGHT_JOIN DISTINCT a FROM t", {"SQL_NO_CACHE", "STRAIGHT_JOIN"}),
        ("SELECT DISTINCT SQL_CALC_FOUND_ROWS a FROM t", {"SQL_CALC_FOUND_ROWS"}),
        ("SELECT ALL a FROM t", {"ALL"}),
        ("INSERT HIGH_PRIORITY IGNORE INTO t (a) VALUES (1)", {"HIGH_PRIORITY", "IGNORE"}),
        ("DELETE LOW_PRIORITY QUICK IGNORE FROM t WHERE a = 1", {"LOW_PRIORITY", "QUICK", "IGNORE"}),
        ("UPDATE IGNORE t SET a = 1", {"IGNORE"}),
        ("SELECT (SELECT SQL_NO_CACHE a FROM u) FROM t", {"SQL_NO_CACHE"}),
    ],
)
def test_modifiers_are_taken_out_and_kept_beside(sql: str, modifiers: set[str]) -> None:
    found = parse(lexer.lex(sql.encode(), 0))
    assert found.modifiers == modifiers


def test_replace_and_into_are_remembered() -> None:
    assert parse(lexer.lex(b"REPLACE INTO t (a) VALUES (1)", 0)).replace
    found = parse(lexer.lex(b"SELECT a FROM t LIMIT 1 INTO @x, @y", 0))
    assert found.into
    assert found.tree.args.get("into") is None


@pytest.mark.parametrize("sql", ["SELECT FROM WHERE", "FROBNICATE x y", "SELECT 1 FROM t WHERE ((", "CALL p()"])
def test_what_is_not_understood_is_said_without_its_text(sql: str) -> None:
    with pytest.raises(NotUnderstood) as raised:
        parse(lexer.lex(sql.encode(), 0))
    assert "FROBNICATE" not in str(raised.value)


def test_deep_nesting_is_refused_before_the_parser() -> None:
    deep = "SELECT " + "(" * 5000 + "1" + ")" * 5000
    with pytest.raises(NotUnderstood, match="nested"):
        parse(lexer.lex(deep.encode(), 0))


def test_nesting_in_other_words_does_not_break_the_planner() -> None:
    for sql in ("SELECT " + "NOT " * 3000 + "1", "SELECT " + "- " * 3000 + "1", "SELECT 1" + " + 1" * 3000):
        text = sql.encode()
        assert plan(lexer.lex(text, 0), text, context()).plan is not None
