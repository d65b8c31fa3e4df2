"""Router plans as the relay's tables hold them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _speedups import lexer
from _speedups.relay import Relay
from _speedups.stats import PARK_REASONS, PIN_REASONS, StatsPage
from proxy import compile as compiled
from proxy.compile import Compiler
from router.keys import Value, canonical_stored
from router.plan import ByKey, Planned, Refuse
from router.route import route
from tests.router import planning

SHARD_IDS = [5, 3, 8, 1]
"""The relay's numbers are the page's: in no order of the topology's."""


@pytest.fixture(scope="module")
def relay() -> Relay:
    page = StatsPage.create(workers=1, shards=10, backends=4, digests=8, slow=8, users=4)
    return Relay(page.worker(0, 0), max_sessions=4, max_backends=4, max_packet=1 << 20, queue_wait=1.0, slow_query=1.0)


@pytest.fixture(scope="module")
def compiler(relay: Relay) -> Compiler:
    return Compiler(relay, {}, planning.topology(), SHARD_IDS)


def plan_of(sql: str, user: str = "demo", database: str | None = "shop") -> Planned:
    return planning.planned(sql, planning.context(database, user))


OPCODES = [
    ("SELECT * FROM app.t", "shop", compiled.OP_SHARD, 5),
    ("SELECT * FROM settings", "shop", compiled.OP_SHARD, 5),
    ("SELECT * FROM far.t", "shop", compiled.OP_SHARD, 8),
    ("SELECT * FROM countries", "shop", compiled.OP_ANY, 5),
    ("SELECT * FROM customers WHERE id = 1", "shop", compiled.OP_KEY, -1),
    ("INSERT INTO customers (id) VALUES (1), (2)", "shop", compiled.OP_KEY, -1),
    ("SELECT name FROM customers", "shop", compiled.OP_PARK, -1),
    ("BEGIN", "shop", compiled.OP_BEGIN, -1),
    ("COMMIT", "shop", compiled.OP_COMMIT, -1),
    ("ROLLBACK", "shop", compiled.OP_ROLLBACK, -1),
    ("SAVEPOINT a", "shop", compiled.OP_PARK, -1),
    ("SET time_zone = '+00:00'", "shop", compiled.OP_PARK, -1),
    ("USE app", "shop", compiled.OP_PARK, -1),
    ("SELECT DATABASE()", "shop", compiled.OP_PARK, -1),
    ("SHOW DATABASES", "shop", compiled.OP_PARK, -1),
    ("EXPLAIN ROUTE SELECT 1", "shop", compiled.OP_PARK, -1),
    ("CREATE TABLE t (a INT)", "app", compiled.OP_PARK, -1),
]


@pytest.mark.parametrize(("sql", "database", "opcode", "shard"), OPCODES)
def test_what_the_relay_does_of_each_kind_of_plan(
    compiler: Compiler, sql: str, database: str, opcode: int, shard: int
) -> None:
    found = compiler.compile(plan_of(sql, database=database))
    assert (found.opcode, found.shard) == (opcode, shard)


def test_refusals_are_answered_by_the_relay(compiler: Compiler) -> None:
    plan = Planned(Refuse("UNKNOWN_TABLE", ("shop", "nowhere")), plan_of("SELECT * FROM app.t").facts)
    found = compiler.compile(plan)
    assert found.opcode == compiled.OP_REPLY and found.flags == compiled.REFUSAL
    assert found.reply[0] == 0xFF and b"nowhere" in found.reply


@pytest.mark.parametrize("options", compiled.BEGINS)
def test_every_form_of_begin_has_its_number(compiler: Compiler, options: frozenset[str]) -> None:
    text = "START TRANSACTION " + ", ".join(sorted(options, reverse=True))
    found = compiler.compile(plan_of(text))
    assert found.opcode == compiled.OP_BEGIN and compiled.BEGINS[found.begin] == options
    assert compiled.begin_text(found.begin).decode() == text.strip().upper()


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT name FROM customers", "multi_shard"),
        ("INSERT INTO settings (k) VALUES (LAST_INSERT_ID())", "session"),
        ("SELECT * FROM /* fairlead: consistency=eventual */ countries", "hint"),
        ("SAVEPOINT a", "transaction"),
    ],
)
def test_why_it_parks(compiler: Compiler, sql: str, reason: str) -> None:
    found = compiler.compile(plan_of(sql))
    assert (found.opcode, PARK_REASONS[found.park_reason]) == (compiled.OP_PARK, reason)


def test_flags_and_pins(compiler: Compiler) -> None:
    read = compiler.compile(plan_of("SELECT * FROM countries"))
    write = compiler.compile(plan_of("UPDATE settings SET v = 1"))
    warnings = compiler.compile(plan_of("SHOW WARNINGS"))
    pinned = compiler.compile(plan_of("SELECT @a := 1 FROM settings"))
    assert read.flags & compiled.REPLICA_OK and not read.flags & compiled.WRITES
    assert write.flags & compiled.WRITES and not write.flags & compiled.REPLICA_OK
    assert warnings.flags & compiled.WARNINGS and warnings.opcode == compiled.OP_ANY
    assert pinned.pins == 1 << PIN_REASONS.index("user_variable")


def test_equal_tables_are_given_to_the_relay_once(relay: Relay) -> None:
    known: dict[Any, int] = {}
    compiler = Compiler(relay, known, planning.topology(), SHARD_IDS)
    for sql in ("SELECT 1 FROM customers WHERE id = 1", "SELECT 1 FROM orders WHERE customer_id = 2"):
        compiler.compile(plan_of(sql))
    again = Compiler(relay, known, planning.topology(), SHARD_IDS)
    again.compile(plan_of("SELECT 1 FROM customers WHERE id = 3"))
    assert len(known) == 1


# --- prepared statements: the relay's sources against the router's route ---------------------------------------

IDS = st.integers(0, 3).flatmap(lambda region: st.integers(0, 60).map(lambda n: region << 40 | n))
SKUS = st.text("abcXYZ019 -_", min_size=0, max_size=6)
STATEMENTS = [
    ("SELECT * FROM customers WHERE id = ?", IDS),
    ("SELECT * FROM customers WHERE id = {}", IDS),
    ("SELECT * FROM customers WHERE id IN (?, ?, {})", IDS),
    ("SELECT * FROM customers WHERE id = {} OR id = ?", IDS),
    ("SELECT * FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = ? AND o.customer_id = ?", IDS),
    ("INSERT INTO customers (id, name) VALUES (?, 'x'), ({}, ?)", IDS),
    ("UPDATE orders SET state = ? WHERE customer_id = {}", IDS),
    ("DELETE FROM items WHERE sku = ?", SKUS),
    ("INSERT INTO items (sku) VALUES (?), ({}), (?)", SKUS),
    ("SELECT 1 FROM years WHERE y = ?", st.integers(1990, 2120)),
    ("INSERT INTO years (y) VALUES ({}), (?)", st.integers(1990, 2120)),
]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.data())
@pytest.mark.parametrize(("template", "values"), STATEMENTS)
def test_prepared_keys_lead_where_the_router_leads(
    relay: Relay, compiler: Compiler, template: str, values: st.SearchStrategy[Value], data: st.DataObject
) -> None:
    literals = [data.draw(values) for _ in range(template.count("{}"))]
    sql = template.format(*(f"'{one}'" if isinstance(one, str) else one for one in literals)).encode()
    found = lexer.lex(sql, 0)
    params = [data.draw(values) for _ in range(found.params)]
    planned = plan_of(sql.decode())
    assert isinstance(planned.plan, ByKey)
    expected = route(planned, found, sql, params)
    resolved = compiler.sources(planned.plan, sql, found, 0)
    if resolved is None:
        return  # it parks, and the router decides
    rows, constants, count = resolved
    arity = len(planned.plan.keys[0])
    columns = [ref.column for ref in planned.plan.keys[0]]
    shards: set[int] = set()
    for at in range(count):
        key = []
        for column, (param, offset, length) in zip(columns, rows[at * arity : (at + 1) * arity], strict=True):
            stored = constants[offset : offset + length] if param < 0 else canonical_stored(params[param], column)
            key.append(stored)
        shards.add(relay.shard_of(compiler.vindex_id(planned.plan), key))
    names = {planning.topology().shards[SHARD_IDS.index(shard)].name for shard in shards - {-1}}
    if -1 in shards or isinstance(expected, Refuse):
        return  # no shard for some value: the relay parks
    assert names == set(expected)


@pytest.mark.parametrize("literal", ["1.5", "'1.5'", "'12abc'", "99999999999999999999"])
def test_a_literal_that_may_equal_no_integer_is_left_to_the_router(compiler: Compiler, literal: str) -> None:
    """A value that is compared is not converted as one that is stored."""
    sql = f"SELECT * FROM customers WHERE id = {literal} OR id = ?".encode()
    planned = plan_of(sql.decode())
    if isinstance(planned.plan, ByKey):
        assert compiler.sources(planned.plan, sql, lexer.lex(sql, 0), 0) is None


def test_a_long_list_of_keys_parks(compiler: Compiler) -> None:
    text = ", ".join(str(n) for n in range(compiled.MAX_SOURCES + 1))
    sql = f"SELECT * FROM customers WHERE id IN ({text})".encode()
    planned = plan_of(sql.decode())
    assert isinstance(planned.plan, ByKey)
    assert compiler.sources(planned.plan, sql, lexer.lex(sql, 0), 0) is None
