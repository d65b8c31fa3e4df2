"""Writes, and reads that lock, over the shards of one region beside one server with the same rows.

Cases are those of tests/cases/differential/depot/*.json; each file is run as it is, prepared, and within one
transaction that is then committed, or rolled back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.world.sqlserver import SqlServer
from tests.differential import depot
from tests.differential.cases import FOLDER, Case, load
from tests.differential.duel import Duel, Pair, ask, differences

FILES = sorted((FOLDER / "depot").glob("*.json"))
MODES = ("text", "prepared", "committed", "rolled back")


@pytest.fixture(scope="module")
def loaded(duel: Duel) -> Iterator[Duel]:
    for server in servers(duel):
        fill(server, None if server is duel.plain else shard_of(duel, server))
        server.run(f"CREATE DATABASE {SAVED}")
        for table in depot.KEPT:
            server.run(f"CREATE TABLE {SAVED}.{table} AS SELECT * FROM {depot.KEYSPACE}.{table}")
    yield duel


SAVED = "depot_saved"


def servers(duel: Duel) -> list[SqlServer]:
    return [*(duel.world.shards[name].primary for name in depot.SHARDS), duel.plain]


def shard_of(duel: Duel, server: SqlServer) -> str:
    return next(name for name in depot.SHARDS if duel.world.shards[name].primary is server)


def fill(server: SqlServer, shard: str | None) -> None:
    for table, columns, rows in depot.rows():
        at = depot.KEYS.get(table, 0)
        own = [row for row in rows if shard is None or table == "rooms" or depot.home(row[at]) == shard]
        values = ", ".join(["%s"] * len(rows[0]))
        server.insert(f"INSERT INTO {table} ({columns}) VALUES ({values})", own, depot.KEYSPACE)


def reset(duel: Duel) -> None:
    for server in servers(duel):
        for table in depot.KEPT:
            given = {"parcels": depot.GIVEN}.get(table, "*")
            into = f"{table} ({given})" if given != "*" else table
            again = f"INSERT INTO {into} SELECT {given} FROM {SAVED}.{table}"
            server.run(f"DELETE FROM {table}", again, database=depot.KEYSPACE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_cases(loaded: Duel, path: Path, mode: str) -> None:
    reset(loaded)
    group = load(path, depot.names(), loaded.world.shape.flavour)
    pair = Pair(loaded, replace(group.way, database=depot.KEYSPACE))
    cases = [replace(one, params=one.params or ()) for one in group.cases] if mode == "prepared" else group.cases
    both(pair, "SET innodb_lock_wait_timeout = 3")
    wrong: list[str] = []
    if mode in ("committed", "rolled back"):
        begin(pair)
    for case in cases:
        found = judge(pair, case)
        wrong += [f"{case.sql} {case.params or ''}\n    {one}" for one in found]
    if mode in ("committed", "rolled back"):
        both(pair, "COMMIT" if mode == "committed" else "ROLLBACK")
    pair.close()
    assert not wrong, "\n".join(wrong)
    assert not state_differences(loaded)


def begin(pair: Pair) -> None:
    """On one shard, so that it has to spread."""
    both(pair, "BEGIN")
    both(pair, f"UPDATE wares SET qty = qty + 1 WHERE parcel_id = {depot.names()['b1']}")


def both(pair: Pair, text: str) -> None:
    for side in (pair.mine, pair.theirs):
        answer = side.query(text)
        assert answer.kind == "ok", answer.message


def judge(pair: Pair, case: Case) -> list[str]:
    sql = case.sql.encode(pair.way.codec)
    mine, _ = ask(pair.mine, sql, case.params, pair.way.codec)
    if mine.refused:
        return [] if mine.message.startswith(f"{case.refused}:") else [f"refused: {mine.message}"]
    if case.refused:
        return [f"answered, though {case.refused} was expected"]
    theirs, _ = ask(pair.theirs, sql, case.params, pair.way.codec)
    return differences(mine, theirs, ordered=case.ordered, allowed=case.differs)


def state_differences(duel: Duel) -> list[str]:
    found: list[str] = []
    for table, at in depot.KEYS.items():
        text = f"SELECT {depot.COLUMNS.get(table, '*')} FROM {table}"
        theirs = Counter(tuple(row) for row in duel.plain.query(text, depot.KEYSPACE))
        mine: Counter[tuple[Any, ...]] = Counter()
        for name in depot.SHARDS:
            rows = [tuple(row) for row in duel.world.shards[name].primary.query(text, depot.KEYSPACE)]
            mine.update(rows)
            found += [f"{table}: {row} is on {name}" for row in rows if depot.home(row[at]) != name]
        found += [f"{table} lacks {row}" for row in (theirs - mine).elements()]
        found += [f"{table} has besides {row}" for row in (mine - theirs).elements()]
    return found
