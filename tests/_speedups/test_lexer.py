from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups import lexer as L
from _speedups.lexer import LexedStatement, LiteralSlot
from tests._speedups import sql_strategies as sql
from tests.oracle import lexer_oracle

CASES = Path(__file__).parent.parent / "cases" / "lexer.jsonl"
KINDS = {
    "int": L.INT, "decimal": L.DECIMAL, "float": L.FLOAT, "string": L.STRING, "hex": L.HEX, "bit": L.BIT,
    "param": L.PARAM, "list": L.LIST, "rows": L.ROWS, "null": L.NULL_WORD,
}  # fmt: skip
SLOT_FLAGS = ("escaped", "concat", "introducer", "national", "neg")

thorough = settings(max_examples=1500, deadline=None, derandomize=True)
brief = settings(max_examples=200, deadline=None, derandomize=True)


def test_the_compiled_module_is_loaded() -> None:
    assert L.__file__.endswith(".so")


# ---------------------------------------------------------------- cases as data


def cases() -> list[dict[str, object]]:
    """Texts are bytes written as latin-1. A slot is [kind, text, (count or parameter), flags …]."""
    return [json.loads(line) for line in CASES.read_text().splitlines()]


def described(text: bytes, slot: LiteralSlot) -> list[object]:
    kind = next(name for name, number in KINDS.items() if number == slot.kind)
    out: list[object] = [kind, text[slot.offset : slot.offset + slot.length].decode("latin-1")]
    if kind in ("list", "rows"):
        out.append(slot.count)
    if kind == "param":
        out.append(slot.param)
    return out + [name for name in SLOT_FLAGS if slot.flags & getattr(L, name.upper())]


@pytest.mark.parametrize("case", cases(), ids=lambda case: repr(case["sql"])[:60])
def test_case(case: dict[str, object]) -> None:
    text = str(case["sql"]).encode("latin-1")
    mode = sum(getattr(L, name) for name in case.get("mode", []))  # type: ignore[attr-defined]
    flags = sum(getattr(L, name) for name in case.get("flags", []))  # type: ignore[attr-defined]
    found = L.lex(text, mode)
    assert found.error == getattr(L, str(case.get("error", "OK")))
    if found.error:
        assert found.flags & (L.UNTERMINATED | L.NUL_BYTE) == flags
        return
    assert found.norm.decode("latin-1") == case["norm"]
    assert [described(text, slot) for slot in found.slots] == case.get("slots", [])
    assert found.flags == flags
    hint = text[found.hint[0] : sum(found.hint)].decode("latin-1") if found.hint else None
    assert hint == case.get("hint")
    assert text[found.rest :].decode("latin-1") == case.get("rest") or not found.flags & L.MULTI


# ---------------------------------------------------------------- against the oracle


@thorough
@given(sql.statements, sql.modes)
def test_as_the_oracle_lexes(text: bytes, mode: int) -> None:
    found, expected = L.lex(text, mode), lexer_oracle.lex(text, mode)
    assert found.error == expected.error
    if not found.error:
        for name in ("norm", "slots", "flags", "hint", "params", "rest", "fingerprint"):
            assert getattr(found, name) == getattr(expected, name), name


def under(text: bytes, mode: int, kind: int) -> list[LiteralSlot]:
    found = L.lex(text, mode)
    return [] if found.error else [slot for slot in found.slots if slot.kind == kind]


def plain(slot: LiteralSlot) -> tuple[int, int, int, int]:
    return slot.kind, slot.offset, slot.length, slot.flags


@brief
@given(sql.in_lists, sql.modes)
def test_list_items(text: bytes, mode: int) -> None:
    for slot in under(text, mode, L.LIST):
        items, spans = L.list_items(text, mode, slot), L.list_spans(text, mode, slot)
        assert len(items) == len(spans) == slot.count
        assert list(map(plain, items)) == lexer_oracle.list_items(text, mode, slot)
        for item, (start, length) in zip(items, spans, strict=True):
            assert start + length == item.offset + item.length
            assert (text[start : start + 1] == b"-") == bool(item.flags & L.NEG)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(sql.inserts() | sql.in_lists, sql.modes)
def test_row_items(text: bytes, mode: int) -> None:
    for slot in under(text, mode, L.ROWS):
        rows = lexer_oracle.rows_of(text, mode, slot)
        spans = L.row_spans(text, mode, slot)
        assert len(rows) == len(spans) == slot.count
        assert spans[0][0] == slot.offset
        assert sum(spans[-1]) == slot.offset + slot.length
        for k in range(len(rows[0]) if rows[0] != [[]] else 0):
            for item, row in zip(L.row_items(text, mode, slot, k), rows, strict=True):
                expected = lexer_oracle.row_item(row[k])
                found = (item.kind, item.offset - slot.offset, item.length, item.flags)
                assert found == expected or (expected is None and item.kind == L.NONE)


def test_a_row_without_that_expression_is_refused() -> None:
    text = b"INSERT INTO t VALUES (1,2),(3,4)"
    with pytest.raises(ValueError, match="expression 2"):
        L.row_items(text, 0, L.lex(text).slots[0], 2)


@pytest.mark.parametrize("offset, length", [(0, 5), (22, 40), (2**31, 2**31)])
def test_slots_of_another_text_are_refused(offset: int, length: int) -> None:
    text = b"INSERT INTO t VALUES (1,2)"
    for walk in (L.row_spans, L.list_items):
        for kind in (L.ROWS, L.LIST):
            with pytest.raises(ValueError):
                walk(text, 0, LiteralSlot(kind, offset, length))


def test_the_parameters_of_lists_and_rows_are_counted() -> None:
    text = b"INSERT INTO t VALUES (?,f(?,'?'),?),(?,f(?,'?'),?)"
    rows = L.lex(text).slots[0]
    assert [item.param for item in L.row_items(text, 0, rows, 0)] == [0, 3]
    assert [item.param for item in L.row_items(text, 0, rows, 1)] == [1, 4]
    assert [item.param for item in L.row_items(text, 0, rows, 2)] == [2, 5]
    text = b"SELECT ? FROM t WHERE a IN (?,1,?) AND b=?"
    found = L.lex(text)
    assert [item.param for item in L.list_items(text, 0, found.slots[1])] == [1, 2, 2]
    assert found.slots[2].param == 3
    assert found.params == 4


# ---------------------------------------------------------------- what one plan means


def rendered(text: bytes, found: LexedStatement) -> bytes:
    """norm with the literals put back where their slots say."""
    out, done, k = bytearray(), 0, 0
    while k < len(found.slots):
        slot = found.slots[k]
        assert found.norm[slot.at : slot.at + 1] == (b"(" if slot.kind == L.ROWS else b"?")
        out += found.norm[done : slot.at] + text[slot.offset : slot.offset + slot.length]
        done, k = slot.at + 1, k + 1
        if slot.kind == L.ROWS:
            done = end_of_row(found.norm, slot.at)
            while k < len(found.slots) and found.slots[k].at < done:
                k += 1
    return bytes(out + found.norm[done:])


def end_of_row(norm: bytes, start: int) -> int:
    depth, i = 0, start
    while True:
        if norm[i : i + 1] in (b"'", b'"', b"`"):
            i = lexer_oracle.quoted(norm, i, True)[0]
            continue
        depth += (norm[i : i + 1] == b"(") - (norm[i : i + 1] == b")")
        i += 1
        if depth == 0:
            return i


@settings(max_examples=500, deadline=None, derandomize=True)
@given(sql.plausible | sql.inserts(), sql.modes)
def test_norm_with_its_literals_is_the_statement(text: bytes, mode: int) -> None:
    """Lexing it again gives the same norm and the same literals."""
    found = L.lex(text, mode)
    if found.error or found.flags & (L.VERSION_COMMENT | L.HAS_HINT | L.MIXED_ROWS | L.MULTI):
        return
    again = rendered(text, found)
    second = L.lex(again, mode)
    assert second.norm == found.norm
    assert second.fingerprint == found.fingerprint
    assert [described(again, slot) for slot in second.slots] == [described(text, slot) for slot in found.slots]


@brief
@given(st.lists(st.sampled_from(sql.LITERALS), min_size=6, max_size=6), st.sampled_from(sql.GAPS))
def test_literals_do_not_change_norm(values: list[bytes], gap: bytes) -> None:
    pattern = b"SELECT a%sFROM t WHERE b=%s AND c>%s OR f(%s , %s)<=>%s LIMIT %s"
    first = L.lex(pattern % (b" ", b"1", b"2", b"3", b"4", b"5", b"6"))
    second = L.lex(pattern % ((gap or b" "), *values))
    assert (first.norm, first.fingerprint) == (second.norm, second.fingerprint)
    assert len(second.slots) == 6


@brief
@given(st.lists(st.sampled_from([*sql.LITERALS, b"-1"]), min_size=1, max_size=40))
def test_the_length_of_a_list_does_not_change_norm(values: list[bytes]) -> None:
    text = b"SELECT * FROM t WHERE id IN (" + b", ".join(values) + b") AND x=1"
    found = L.lex(text)
    assert found.norm == b"SELECT * FROM t WHERE id IN (?) AND x=?"
    assert [slot.kind for slot in found.slots] == [L.LIST, L.INT]


@brief
@given(st.integers(1, 50), st.lists(st.sampled_from(sql.LITERALS), min_size=2, max_size=2))
def test_the_number_of_rows_does_not_change_norm(count: int, row: list[bytes]) -> None:
    text = b"INSERT INTO t (a,b) VALUES " + b", ".join([b"(%s,%s)" % tuple(row)] * count)
    found = L.lex(text)
    assert found.norm == b"INSERT INTO t (a,b) VALUES (?,?)"
    assert found.slots[0].kind == L.ROWS
    assert found.slots[0].count == count


@brief
@given(sql.plausible, sql.plausible, sql.modes)
def test_modes_have_plans_of_their_own(one: bytes, other: bytes, mode: int) -> None:
    first, second = L.lex(one, mode), L.lex(one, mode ^ L.ANSI_QUOTES)
    if not first.error and not second.error:
        assert first.fingerprint != second.fingerprint


# ---------------------------------------------------------------- bounds


def test_a_norm_beyond_64_kib_is_too_long() -> None:
    assert L.lex(b"SELECT " + b"a" * 65_000).error == L.OK
    assert L.lex(b"SELECT " + b"a" * 66_000).error == L.TOO_LONG
    for piece in (b"a,", b"a ", b"t.abcdefghi ", b"`abc`,", b"@a ", b"a+", b"/*! a */", b"\xff"):
        assert L.lex(b"SELECT " + piece * (70_000 // len(piece))).error == L.TOO_LONG, piece


def test_more_than_1024_slots_are_too_many() -> None:
    assert len(L.lex(b"SELECT " + b"1," * 1023 + b"1").slots) == 1024
    for piece in (b"1,", b"'a',", b"1.5,", b"?,", b"a IN (1),", b"(a) IN ((1)),"):
        assert L.lex(b"SELECT " + piece * 1025).error == L.TOO_MANY, piece


def test_long_lists_and_many_rows_are_within_the_bounds() -> None:
    found = L.lex(b"SELECT a IN (" + b",".join(b"%d" % k for k in range(200_000)) + b")")
    assert (found.error, found.slots[0].count) == (L.OK, 200_000)
    found = L.lex(b"INSERT INTO t VALUES " + b",".join([b"(1,'x')"] * 50_000))
    assert (found.error, found.slots[0].count) == (L.OK, 50_000)
    found = L.lex(b"INSERT INTO t VALUES " + b",".join([b"(1,'x')", b"(-1,NULL)"] * 25_000))
    assert (found.error, found.slots[0].count, found.flags & L.MIXED_ROWS) == (L.OK, 50_000, L.MIXED_ROWS)


def test_large_literals_cost_no_norm() -> None:
    text = b"INSERT INTO t VALUES ('" + b"x\\'" * 400_000 + b"')"
    found = L.lex(text)
    assert found.norm == b"INSERT INTO t VALUES (?)"
    assert found.slots[1].length == 1_200_002


@pytest.mark.parametrize("depth", [62, 63, 64, 500])
def test_positions_in_deep_order_by(depth: int) -> None:
    """Beyond the depth that is tracked a number behind a comma is kept: it might be a position."""
    found = L.lex(b"(" * depth + b"SELECT a ORDER BY 1, 2" + b")" * depth)
    assert found.norm.endswith(b"BY 1,2" + b")" * depth)


@pytest.mark.parametrize(
    ("sql", "norm", "rest"),
    [
        (b"SELECT 1; SELECT 2; SELECT 3", b"SELECT ?", b" SELECT 2; SELECT 3"),
        (b"SELECT ';' `a;b`; SELECT 'x", b"SELECT ? `a;b`", b" SELECT 'x"),
        (b"SELECT 1; ", b"SELECT ?", b""),
        (b";SELECT 1", b"", b"SELECT 1"),
    ],
)
def test_only_the_first_of_several_statements(sql: bytes, norm: bytes, rest: bytes) -> None:
    found = L.lex(sql, L.FIRST_STATEMENT)
    assert found.error == L.OK
    assert found.norm == norm
    assert (sql[found.rest :] if found.flags & L.MULTI else b"") == rest
    assert found.flags & L.UNTERMINATED == 0
    if not rest:
        assert found.fingerprint == L.lex(sql).fingerprint
