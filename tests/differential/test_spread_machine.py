"""Random transactions over two shards, beside the same on one server that has all rows: each step answers the same, and
at the end the same is committed. `SEED=7` takes others."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from loadtest.world.sqlserver import SERVICE_USER, Passwords
from loadtest.world.world import World
from tests.differential.duel import differences
from tests.differential.wire import Answer, Prepared, Raw
from tests.proxy.clients import ids_on
from tests.servers import BOTH_SERVERS

pytestmark = BOTH_SERVERS

SEED = int(os.environ.get("SEED", "1"))
ROUNDS, STEPS = 40, 30
DATABASE = "whole"
COM_RESET_CONNECTION = 0x1F

BEGINNINGS = ["BEGIN", "START TRANSACTION", "START TRANSACTION READ ONLY", "SET autocommit = 0", "SAVEPOINT a"]
STATEMENTS = [
    "SELECT id, balance FROM customers WHERE id = {a} ",
    "SELECT id, balance FROM customers WHERE id = {b}",
    "SELECT id, balance FROM customers WHERE id IN ({a}, {b}, {c}) ORDER BY id",
    "SELECT id, name, balance FROM customers WHERE balance < 100 ORDER BY balance, id LIMIT 5",
    "SELECT COUNT(*), SUM(balance) FROM customers",
    "SELECT id FROM orders WHERE customer_id = {a} ORDER BY id",
    "SELECT id, balance FROM customers WHERE id = {a} FOR UPDATE",
    "UPDATE customers SET balance = balance + {n} WHERE id = {a}",
    "UPDATE customers SET balance = balance - {n} WHERE id = {b}",
    "UPDATE customers SET balance = {n} WHERE id IN ({a}, {b}, {c})",
    "UPDATE customers SET balance = balance + 1 WHERE balance < {n}",
    "DELETE FROM orders WHERE customer_id = {a}",
    "DELETE FROM orders WHERE id < {n}",
    "INSERT INTO orders VALUES ({a}, {n}, 'kettle', 1, 'new', '2026-01-01')",
    "INSERT INTO orders VALUES ({a}, {n}, 'lamp', 1, 'new', '2026-01-01'), ({b}, {n}, 'lamp', 2, 'new', '2026-01-01')",
    "INSERT IGNORE INTO orders VALUES ({a}, {n}, 'x', 1, 'n', '2026-01-01'), ({c}, {n}, 'x', 2, 'n', '2026-01-01')",
    "REPLACE INTO orders VALUES ({b}, {n}, 'y', 1, 'n', '2026-01-01'), ({c}, {n}, 'y', 2, 'n', '2026-01-01')",
    "INSERT INTO customers VALUES ({a}, 'twice', 'x', 'DE', 0, '2026-01-01'), (1099511630000, 'n', 'x', 'DE', 0, 0)",
    "UPDATE customers SET balance = 'no number' WHERE id = {b}",
    "UPDATE customers SET balance = 99999999999999 WHERE id IN ({a}, {b})",
    "SELECT * FROM customers WHERE nothing = 1",
    "SELEC 1",
    "SELECT 1",
    "SELECT ROW_COUNT()",
    "SELECT @@autocommit, DATABASE() = 'none'",
    "SAVEPOINT a", "SAVEPOINT b", "SAVEPOINT a",
    "ROLLBACK TO a", "ROLLBACK TO SAVEPOINT b", "RELEASE SAVEPOINT a",
    "BEGIN", "COMMIT", "ROLLBACK", "COMMIT", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN",
    "SET autocommit = 1", "SET autocommit = 0",
    "SET sql_mode = 'STRICT_ALL_TABLES'", "SET sql_mode = ''",
]  # fmt: skip
PREPARED = [
    "SELECT id, balance FROM customers WHERE id = ?",
    "UPDATE customers SET balance = balance + 1 WHERE id = ?",
    "DELETE FROM orders WHERE customer_id = ? AND id < 400",
    "SELECT id FROM customers WHERE id > ? ORDER BY id LIMIT 3",
]
KEPT_BACK = ("FL3024", "FL3025", "FL1")
"""What may be refused that the server answers: by a name of its own."""


@contextmanager
def both(world: World) -> Iterator[tuple[Raw, Raw]]:
    server = world.shards["eu-1"].primary
    theirs = server.connect(
        unix_socket=None, host="127.0.0.1", port=server.port, user=SERVICE_USER, password=Passwords().service,
        database=DATABASE,
    )  # fmt: skip
    with ExitStack() as stack:
        pair = Raw(world.fairlead().connect()), Raw(theirs)
        for side in pair:
            stack.callback(side.close)
        yield pair


def copy(world: World) -> None:
    """All shards' rows into one database beside them."""
    server = world.shards["eu-1"].primary
    server.run(f"DROP DATABASE IF EXISTS {DATABASE}")
    server.create_keyspace(DATABASE)
    for table in ("customers", "orders"):
        server.run(f"CREATE TABLE {DATABASE}.{table} LIKE shop.{table}")
        for shard in world.shards.values():
            rows = shard.primary.query(f"SELECT * FROM shop.{table}")
            places = ", ".join(["%s"] * len(rows[0]))
            server.insert(f"INSERT INTO {table} VALUES ({places})", rows, DATABASE)


def same(what: str, mine: Answer, theirs: Answer) -> bool:
    """Asserts it; False when the step was refused, so that the server has to be put back."""
    if mine.refused and theirs.kind != "error":
        assert mine.message.startswith(KEPT_BACK), f"{what}: {mine.message}"
        return False
    if mine.refused:
        return True
    columns = tuple(replace(one, schema=one.schema and b"shop") for one in theirs.columns)
    theirs = replace(theirs, columns=columns, message=theirs.message.replace(DATABASE, "shop"))
    if "customers" not in what and "orders" not in what:
        # Without autocommit MariaDB begins with the first table, Fairlead with the first savepoint.
        theirs = replace(theirs, status=mine.status)
    found = differences(mine, theirs, ordered="ORDER BY" in what, allowed={"warnings"})
    assert not found, f"{what}: {found}"
    return True


def committed(world: World) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    text = ("SELECT id, balance, 0, '' FROM {0}.customers UNION ALL "
            "SELECT customer_id, amount, id, item FROM {0}.orders")  # fmt: skip
    mine = [row for shard in world.shards.values() for row in shard.primary.query(text.format("shop"))]
    return sorted(mine), sorted(world.shards["eu-1"].primary.query(text.format(DATABASE)))


@contextmanager
def shown(done: list[str]) -> Iterator[None]:
    """A failure tells what was done."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError("\n".join((str(error), *done))) from None


def play(world: World, dice: random.Random, keys: list[int]) -> list[str]:
    """One round of steps on a pair of connections. -> what was done"""
    done: list[str] = []
    with both(world) as (mine, theirs), shown(done):
        statements: list[tuple[Prepared, Prepared]] = []
        read_only = False  # what commits by the way leaves servers' next transaction READ ONLY, too; not Fairlead's
        for text in PREPARED:
            statements.append((mine.prepare(text), theirs.prepare(text)))
        for step in range(STEPS):
            if dice.random() < 0.2:
                number, key = dice.randrange(len(PREPARED)), dice.choice(keys)
                done.append(f"EXECUTE {PREPARED[number]} -- {key}")
                one, other = statements[number]
                good = same(done[-1], mine.execute(one, [key]), theirs.execute(other, [key]))
            else:
                a, b, c = (dice.choice(keys) for _ in range(3))
                text = dice.choice(BEGINNINGS if step % 10 == 0 else STATEMENTS)
                while read_only and text.startswith(("BEGIN", "START", "SET autocommit")):
                    text = dice.choice(STATEMENTS)
                read_only = (read_only or "READ ONLY" in text) and text not in ("COMMIT", "ROLLBACK")
                text = text.format(a=a, b=b, c=c, n=dice.choice([10, 50, 300, 9999]))
                done.append(text)
                good = same(text, mine.query(text), theirs.query(text))
            if not good:
                # They have parted: both begin anew.
                for side in (mine, theirs):
                    side.query("ROLLBACK")
                return done
        for side in (mine, theirs):
            side.query("COMMIT")
    return done


@pytest.mark.parametrize("seed", range(4))
def test_transactions_over_shards_answer_as_one_servers(world: World, seed: int) -> None:
    copy(world)
    keys = ids_on(world, "eu-0", 4) + ids_on(world, "eu-1", 4)
    dice = random.Random(SEED * 100 + seed)
    for _ in range(ROUNDS // 4):
        done = play(world, dice, keys)
        mine, theirs = committed(world)
        assert mine == theirs, "\n".join(done)
