"""The engine's small parts: budgets, collations, the numbers of HAVING, and texts put together."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest

from _speedups import lexer
from _speedups.packet import frame, lenenc
from _speedups.rows import Shape
from router.engine.assemble import assemble
from router.engine.budget import Budget, Pool
from router.engine.collations import NO_PAD, UnknownCollation, space_weight
from router.engine.columns import DECIMAL, DOUBLE, LONGLONG, Column
from router.engine.having import Having, number_of
from router.engine.recipe import Condition
from router.errors import Refusal
from router.plan import Scatter
from tests.router.planning import context, planned


def test_a_statements_budget_and_the_workers() -> None:
    pool = Pool(100)
    with Budget(80, pool) as first, Budget(80, pool) as second:
        first.hold(70)
        second.hold(30)
        first.hold(20)
        assert pool.held == 50
        with pytest.raises(Refusal, match=r"FL1229.*one statement"):
            second.hold(81)
        second.hold(0)
        first.hold(80)
        with pytest.raises(Refusal, match=r"FL1229.*all statements"):
            second.hold(21)
    assert pool.held == 0


@pytest.mark.parametrize(
    ("collation", "weight"),
    [
        ("utf8mb4_general_ci", b"\x00\x20"), ("utf8mb4_bin", b"\x00\x00\x20"), ("utf8mb4_unicode_ci", b"\x02\x09"),
        ("utf8mb4_uca1400_ai_ci", b"\x02\x09"), ("utf8mb4_unicode_520_ci", b"\x02\x0a"), ("latin1_swedish_ci", b" "),
        ("utf8mb4_0900_ai_ci", NO_PAD), ("utf8mb4_0900_bin", NO_PAD), ("utf8mb4_nopad_bin", NO_PAD), ("binary", NO_PAD),
    ],
)  # fmt: skip
def test_the_weight_of_a_space(collation: str, weight: bytes) -> None:
    assert space_weight(collation) == weight


@pytest.mark.parametrize(
    "collation", ["utf8mb4_uca1400_as_cs", "utf8mb4_thai_520_w2", "gbk_chinese_ci", "latin2_czech_cs"]
)
def test_collations_of_several_levels_and_unknown_ones(collation: str) -> None:
    with pytest.raises(UnknownCollation):
        space_weight(collation)


def test_having_compares_numbers_as_numbers() -> None:
    columns = [Column("n", LONGLONG, 63, 0, 0), Column("s", DECIMAL, 63, 0, 2)]
    shape = Shape([LONGLONG, DECIMAL], False, 0)
    rows = [(b"10", b"9.50"), (b"9", b"10.00"), (b"11", None)]
    packets = [frame(b"".join(b"\xfb" if cell is None else lenenc(cell) for cell in row)) for row in rows]
    having = Having((Condition(0, ">", 0), Condition(1, "<", 1)), (9, Decimal("9.75")), columns, 0, shape)
    assert having.kept(bytearray(b"".join(packets))) == packets[0]
    nothing = Having((Condition(0, ">", 0),), (None,), columns, 0, shape)
    assert nothing.kept(bytearray(b"".join(packets))) == b""


def test_numbers_of_binary_rows() -> None:
    assert number_of(struct.pack("<q", -5), Column("n", LONGLONG, 63, 0, 0), binary=True) == -5
    assert number_of(struct.pack("<Q", 2**64 - 1), Column("n", LONGLONG, 63, 32, 0), binary=True) == 2**64 - 1
    assert number_of(struct.pack("<d", 0.5), Column("n", DOUBLE, 63, 0, 31), binary=True) == 0.5


def test_the_shards_text_keeps_the_clients_bytes() -> None:
    sql = "SELECT  id , name /* it's */ FROM customers WHERE name <> 'a,b FROM' ORDER BY name , id LIMIT 3, 4"
    plan = planned(sql, context()).plan
    assert isinstance(plan, Scatter) and plan.merge is not None
    found = assemble(plan.merge, sql.encode(), lexer.lex(sql.encode(), 0), 0, 7)
    assert found.text.decode() == (
        "SELECT  id , name , WEIGHT_STRING( name ) , id FROM customers WHERE name <> 'a,b FROM' "
        "ORDER BY name , id LIMIT 7"
    )


def test_parameters_are_counted_anew() -> None:
    sql = "SELECT id, balance * ? AS x FROM customers WHERE id > ? ORDER BY x LIMIT ?, ?"
    plan = planned(sql, context()).plan
    assert isinstance(plan, Scatter) and plan.merge is not None
    found = assemble(plan.merge, sql.encode(), lexer.lex(sql.encode(), 0), 0, 7, prepared=True)
    assert found.params == (0, 0, 0, 0, 1, -1)
