"""Whatever the planner answers equals what one server holding all the data answers.

Random statements are planned, and carried out on shards as the plan says; SQLite holds the shards and the one
server. A route that is too narrow, a scatter that needed merging or a row put on the wrong shard shows as a
difference. A share of the statements must be answered at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from _speedups import lexer
from router.keys import Key, canonical, key_column_of
from router.plan import AnyShard, ByKey, MultiWrite, OneShard, Plan, PullOut, Refuse, Scatter, SplitInsert
from router.planner import plan
from router.route import route, split
from tests.oracle.one_database import TABLES, Row, Server, same
from tests.router.planning import context, schemas, topology
from tests.router.statements import COUNTRIES, KEY, KEYS, STATES, Statements

READS, WRITES = 400, 150
"""Statements of each seed."""
ANSWERED_READS, ANSWERED_WRITES = 0.45, 0.65
SHARDS = ["eu-0", "eu-1", "us-0", "us-1"]


@cache
def rows() -> dict[str, list[Row]]:
    """A little of everything: keys on all shards, NULLs, customers without orders and orders without customers."""
    keys = KEYS
    return {
        "customers": [
            (key, STATES[index % 3], COUNTRIES[index % 3], index % 5 - 1)
            for index, key in enumerate(keys)
            if index % 5 != 4
        ],
        "orders": [
            (index, keys[index % len(keys)], index % 7 - 2, None if index % 6 == 0 else STATES[index % 3])
            for index in range(24)
            if keys[index % len(keys)] != 10
        ],
        "notes": [(keys[index % len(keys)], index % 4, STATES[index % 3]) for index in range(14)],
        "events": [
            (country, key, index % 3, STATES[index % 3])
            for index, key in enumerate(keys)
            for country in COUNTRIES
            if (index + len(country)) % 3
        ],
        "countries": [(code, code.upper(), index) for index, code in enumerate([*COUNTRIES, "a"])],
        "settings": [("a", "b"), ("c", None)],
    }


def home(table: str, row: Row) -> str:
    """The shard of a row, straight from the vindex."""
    declared = topology().keyspace("best").table(table)  # type: ignore[union-attr]
    assert declared is not None and declared.vindex is not None
    live = schemas()["best"].tables[table]
    names = [text.split()[0] for text in TABLES[table].split(", ")]
    keys = []
    for column in declared.columns:
        found = live.column(column)
        assert found is not None
        kind = key_column_of(found.column_type, found.collation)
        keys.append(Key(kind.type, canonical(row[names.index(column)], kind.type)))
    return topology().shards[declared.vindex.shard_of(keys)].name


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, dict[str, Server]]]:
    one, shards = Server(), {name: Server() for name in SHARDS}
    for table, given in rows().items():
        one.load(table, given)
        for name, shard in shards.items():
            if table in KEY:
                shard.load(table, [row for row in given if home(table, row) == name])
            elif table == "countries" or name == "eu-0":
                shard.load(table, given)
    yield one, shards
    for server in (one, *shards.values()):
        server.close()


def decided(sql: str, database: str) -> tuple[Plan, tuple[str, ...], dict[str, str]] | None:
    """What is carried out, on which shards, with which texts; None when it is refused."""
    text = sql.encode()
    lexed = lexer.lex(text, 0)
    planned = plan(lexed, text, context(database))
    shards = route(planned, lexed, text)
    if isinstance(shards, Refuse):
        return None
    found = planned.plan
    if isinstance(found, ByKey):
        found = OneShard(shards[0]) if len(shards) == 1 else found.otherwise
    texts = dict.fromkeys(shards, sql)
    if isinstance(found, SplitInsert):
        texts = {shard: part.text.decode() for shard, part in split(planned, lexed, text).items()}
    return found, shards, texts


@pytest.mark.parametrize("seed", range(6))
def test_reads_equal_one_server(seed: int, servers: tuple[Server, dict[str, Server]]) -> None:
    one, shards = servers
    stream = Statements(seed)
    answered = 0
    for _ in range(READS):
        sql = stream.query()
        expected = one.query(sql)
        found = decided(sql, "shop")
        if found is None:
            continue
        answered += 1
        action, chosen, _ = found
        if isinstance(action, PullOut) or (isinstance(action, Scatter) and action.merge is not None):
            continue  # merged, or asked for first, by what only MySQL's servers compute: tests/differential compares it
        if isinstance(action, AnyShard):
            for name in chosen:
                assert same(shards[name].query(sql), expected), sql
        else:
            assert isinstance(action, OneShard | Scatter)
            gathered = [row for name in chosen for row in shards[name].query(sql)]
            assert same(gathered, expected), (sql, action)
    assert answered >= ANSWERED_READS * READS, f"only {answered} of {READS} were answered"


@pytest.mark.parametrize("seed", range(100, 106))
def test_writes_equal_one_server(seed: int, servers: tuple[Server, dict[str, Server]]) -> None:
    one, shards = servers
    stream = Statements(seed)
    answered = 0
    for _ in range(WRITES):
        sql = stream.change()
        found = decided(sql, "best")
        if found is not None:
            answered += 1
            carry_out_and_compare(sql, found, one, shards)
    assert answered >= ANSWERED_WRITES * WRITES, f"only {answered} of {WRITES} were answered"


def carry_out_and_compare(
    sql: str, found: tuple[Plan, tuple[str, ...], dict[str, str]], one: Server, shards: dict[str, Server]
) -> None:
    action, chosen, texts = found
    everyone = [one, *shards.values()]
    for server in everyone:
        server.begin()
    try:
        expected = one.change(sql)
        counts = [shards[name].change(texts[name]) for name in chosen]
        summed = not isinstance(action, MultiWrite) or action.sum_rows
        assert (sum(counts) if summed else counts[0]) == expected, (sql, action)
        assert summed or len(set(counts)) == 1
        compare_contents(sql, one, shards)
    finally:
        for server in everyone:
            server.rollback()


def compare_contents(sql: str, one: Server, shards: dict[str, Server]) -> None:
    for table in KEY:
        parts = {name: shard.contents(table) for name, shard in shards.items()}
        assert sum(parts.values(), Counter()) == one.contents(table), sql
        for name, part in parts.items():
            assert all(home(table, row) == name for row in part), (sql, table)
    for shard in shards.values():
        assert shard.contents("countries") == one.contents("countries"), sql


def test_the_oracle_notices_a_route_that_is_too_narrow(servers: tuple[Server, dict[str, Server]]) -> None:
    """Of the wrong answers that the tests above must catch: one shard asked where all were needed."""
    one, shards = servers
    sql = "SELECT c.id FROM customers c"
    assert not same(shards["eu-0"].query(sql), one.query(sql))
