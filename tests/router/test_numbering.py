"""Ids in an INSERT: which rows get one, and the text they are in, literal or parameter."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from _speedups import lexer
from router.errors import Refusal
from router.explain import explain
from router.ids import Ids, Sequence
from router.numbering import survey, written
from router.plan import Numbered, Refuse
from router.planner import plan
from router.route import Execution
from router.topology import Keyspace, Table, Topology
from tests.router.planning import context, topology

IDS = Ids("id", MappingProxyType({"eu": Sequence("eu-0"), "us": Sequence("us-0", 2 << 40, 1 << 40)}), 10, False)


def with_ids(ids: Ids = IDS, *tables: str) -> Topology:
    """The cases' world with ids of Fairlead's for `orders` and `tickets`."""

    def table(given: Table) -> Table:
        return replace(given, ids=ids) if given.name in (tables or ("orders", "tickets")) else given

    def keyspace(given: Keyspace) -> Keyspace:
        return replace(given, tables=MappingProxyType({name: table(one) for name, one in given.tables.items()}))

    keyspaces = MappingProxyType({one.name: keyspace(one) for one in topology().keyspaces})
    return replace(topology(), keyspaces=tuple(keyspaces.values()), _keyspaces=keyspaces)


def numbered(sql: str, params: Any = (), ids: Ids = IDS, first: int = 100, **how: Any) -> tuple[str, tuple[int, ...]]:
    where = replace(context("best"), topology=with_ids(ids))
    text = sql.encode()
    lexed = lexer.lex(text, 0)
    found = plan(lexed, text, where).plan
    assert isinstance(found, Numbered), found
    given = Execution(text, lexed, where.topology, 0, params)
    rows = survey(found, given, zero_is_kept=how.pop("zero_is_kept", False))
    out = written(given, rows, first, prepared=bool(params), **how)
    return out.text.decode(), out.params


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("INSERT INTO orders (customer_id) VALUES (7)", "INSERT INTO orders (customer_id,`id`) VALUES (7,100)"),
        ("INSERT INTO orders (customer_id) VALUES (7), (8)",
         "INSERT INTO orders (customer_id,`id`) VALUES (7,100), (8,101)"),
        ("INSERT INTO orders (id, customer_id) VALUES (NULL, 7), ( 0 , 8)",
         "INSERT INTO orders (id, customer_id) VALUES (100, 7), ( 101 , 8)"),
        ("INSERT INTO orders (customer_id, id) VALUES (7, DEFAULT), (8, default)",
         "INSERT INTO orders (customer_id, id) VALUES (7, 100), (8, 101)"),
        ("INSERT INTO orders (id, customer_id) VALUES (DEFAULT, 7), (NULL, 8), ('0', 9)",
         "INSERT INTO orders (id, customer_id) VALUES (100, 7), (101, 8), (102, 9)"),
        ("INSERT INTO orders (id, customer_id, total) VALUES (NULL, 7, 1), (NULL, 8, ABS(-(1)))",
         "INSERT INTO orders (id, customer_id, total) VALUES (100, 7, 1), (101, 8, ABS(-(1)))"),
        ("INSERT INTO orders (customer_id, total) VALUES (7, (1 + 2)), (8, ABS(-(1)))",
         "INSERT INTO orders (customer_id, total,`id`) VALUES (7, (1 + 2),100), (8, ABS(-(1)),101)"),
        ("INSERT orders VALUES (NULL, 7, 1, NULL, 'x')", "INSERT orders VALUES (100, 7, 1, NULL, 'x')"),
        ("INSERT orders SET customer_id = 7, state = 'id ='",
         "INSERT orders SET `id`=100, customer_id = 7, state = 'id ='"),
        ("INSERT orders SET customer_id = 7, id = NULL, total = (1)",
         "INSERT orders SET customer_id = 7, id = 100, total = (1)"),
        ("REPLACE orders SET customer_id = 7, id = 0", "REPLACE orders SET customer_id = 7, id = 100"),
        ("INSERT INTO tickets () VALUES ()", "INSERT INTO tickets (`id`) VALUES (100)"),
        ("INSERT INTO orders (customer_id) VALUES ROW(7), ROW(8)",
         "INSERT INTO orders (customer_id,`id`) VALUES ROW(7,100), ROW(8,101)"),
        ("INSERT INTO orders (customer_id /* ) */) VALUES (7 /* ) */) ON DUPLICATE KEY UPDATE total = VALUES(total)",
         "INSERT INTO orders (customer_id /* ) */,`id`) VALUES (7 /* ) */,100) "
         "ON DUPLICATE KEY UPDATE total = VALUES(total)"),
    ],
)  # fmt: skip
def test_texts(sql: str, expected: str) -> None:
    assert numbered(sql) == (expected, ())


def test_parameters() -> None:
    assert numbered("INSERT INTO orders (customer_id, total) VALUES (?, ?), (?, 5)", (7, 1, 8)) == (
        "INSERT INTO orders (customer_id, total,`id`) VALUES (?, ?,?), (?, 5,?)", (0, 1, -1, 2, -2)
    )  # fmt: skip
    assert numbered("INSERT INTO orders (id, customer_id) VALUES (?, ?)", (None, 7)) == (
        "INSERT INTO orders (id, customer_id) VALUES (?, ?)", (-1, 1)
    )  # fmt: skip
    assert numbered("INSERT orders SET state = ?, customer_id = ?", ("x", 7)) == (
        "INSERT orders SET `id`=?, state = ?, customer_id = ?", (-1, 0, 1)
    )  # fmt: skip


def test_the_server_is_made_to_tell_the_first() -> None:
    allowing = replace(IDS, explicit=True)
    text = "INSERT INTO orders (id, customer_id) VALUES (5, 7), (NULL, 7), (NULL, 7)"
    text, _ = numbered(text, ids=allowing, tells=True)
    assert text == "INSERT INTO orders (id, customer_id) VALUES (5, 7), (LAST_INSERT_ID(100), 7), (101, 7)"


@pytest.mark.parametrize(
    ("sql", "entry"),
    [
        ("INSERT INTO orders (id, customer_id) VALUES (5, 7)", "AUTO_INCREMENT_EXPLICIT"),
        ("INSERT INTO orders (id, customer_id) VALUES (-5, 7)", "AUTO_INCREMENT_EXPLICIT"),
        ("INSERT INTO orders (id, customer_id) VALUES ('5', 7)", "AUTO_INCREMENT_EXPLICIT"),
        ("INSERT INTO orders (id, customer_id) VALUES (1 + 1, 7)", "AUTO_INCREMENT_VALUE"),
        ("INSERT INTO orders (id, customer_id) VALUES (DEFAULT, 7), (-(5), 7)", "AUTO_INCREMENT_VALUE"),
        ("INSERT INTO orders (id, customer_id) VALUES ('', 7)", "AUTO_INCREMENT_VALUE"),
        ("INSERT INTO orders (id, customer_id) VALUES (x'00', 7)", "AUTO_INCREMENT_VALUE"),
        ("INSERT IGNORE INTO orders (customer_id) VALUES (7), (8)", "AUTO_INCREMENT_UPSERT"),
    ],
)
def test_refused(sql: str, entry: str) -> None:
    with pytest.raises(Refusal) as error:
        numbered(sql)
    assert error.value.entry.name == entry


def test_zero_may_be_a_value() -> None:
    with pytest.raises(Refusal):
        numbered("INSERT INTO orders (id, customer_id) VALUES (0, 7)", zero_is_kept=True)


def test_queries_and_other_regions_are_refused() -> None:
    where = replace(context("best"), topology=with_ids())
    text = b"INSERT INTO orders (customer_id) SELECT id FROM customers WHERE id = 7"
    assert plan(lexer.lex(text, 0), text, where).plan == Refuse("AUTO_INCREMENT_SELECT", ("INSERT", "orders"))
    elsewhere = replace(IDS, sequences=MappingProxyType({"us": Sequence("us-0")}))
    text = b"INSERT INTO orders (customer_id) VALUES (7)"
    found = plan(lexer.lex(text, 0), text, replace(where, topology=with_ids(elsewhere)))
    assert found.plan == Refuse("AUTO_INCREMENT_ELSEWHERE", ("orders", "eu", "us"))


def test_fresh_ids_conflict_with_nothing() -> None:
    where = replace(context("best"), topology=with_ids())
    text = b"INSERT IGNORE INTO orders (id, customer_id) VALUES (5, 7)"
    assert not isinstance(plan(lexer.lex(text, 0), text, replace(where, numbered="fresh")).plan, Refuse)
    given = plan(lexer.lex(text, 0), text, replace(where, numbered="given")).plan
    assert given == Refuse("UNIQUE_WITHOUT_KEY", ("INSERT IGNORE", "orders", "PRIMARY"))


def test_explained() -> None:
    where = replace(context("best"), topology=with_ids())
    found = explain("INSERT INTO orders (customer_id) VALUES (7), (2199023255557)", where)
    assert (found.kind, len(found.shards)) == ("SplitInsert", 2)
    assert found.plan.startswith("Numbered(best.orders, rows=0, value=None): ByKey(")
    assert "the ids of orders.id come from a sequence on eu-0" in found.reasons
    refused = explain("INSERT INTO orders (id, customer_id) VALUES (5, 7)", where)
    assert refused.error is not None and refused.error.startswith("FL1330")
