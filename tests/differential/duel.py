"""The same data twice: on one plain server, and sharded behind Fairlead. What one answers, the other must."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from loadtest.world.fairlead import Fairlead
from loadtest.world.sqlserver import SERVICE_USER, Passwords, SqlServer
from loadtest.world.world import SERVERS, World
from tests.differential import bazaar, depot
from tests.differential.placement import misplaced
from tests.differential.wire import (
    CLIENT_DEPRECATE_EOF,
    CLIENT_FOUND_ROWS,
    COMPARED_STATUS,
    TYPE_VAR_STRING,
    Answer,
    Cell,
    Column,
    Raw,
    Typed,
    encoded_length,
)
from tests.proxy.clients import metric

SAVED = "bazaar_saved"
UTF8MB4 = 45
UTF8MB4_COLLATIONS = frozenset({45, 46, *range(224, 248), *range(255, 324)})


@dataclass(frozen=True)
class Way:
    """How a pair of clients connects and what it sets first."""

    deprecate_eof: bool = False
    found_rows: bool = False
    charset: str = "utf8mb4"
    sql_mode: str = ""
    region: str = "eu"
    database: str = bazaar.KEYSPACE

    @property
    def codec(self) -> str:
        return {"latin1": "cp1252"}.get(self.charset, "utf-8")


class Pair:
    """A client of Fairlead and one of the plain server, alike in everything else."""

    def __init__(self, duel: Duel, way: Way) -> None:
        self.way = way
        flags = (CLIENT_DEPRECATE_EOF if way.deprecate_eof else 0) | (CLIENT_FOUND_ROWS if way.found_rows else 0)
        options: dict[str, Any] = {"charset": way.charset, "client_flag": flags, "database": way.database}
        member = duel.members[way.region]
        self.mine = Raw(member.connect(**options), deprecate_eof=way.deprecate_eof)
        plain = duel.plain.connect(
            unix_socket=None, host="127.0.0.1", port=duel.plain.port, user=SERVICE_USER,
            password=Passwords().service, **options,
        )  # fmt: skip
        self.theirs = Raw(plain, deprecate_eof=way.deprecate_eof)
        if way.sql_mode:
            for side in (self.mine, self.theirs):
                assert side.query(f"SET sql_mode = '{way.sql_mode}'").kind == "ok"

    def close(self) -> None:
        self.mine.close()
        self.theirs.close()


class Duel:
    """`world`: two regions of two shards. Ends with `close`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._stack = ExitStack()
        self.plain = self._start_plain()
        fleet = world.fleet(
            {
                "keyspaces": {bazaar.KEYSPACE: bazaar.CONFIG, depot.KEYSPACE: depot.CONFIG},
                "users": {"demo": {"grants": [{"on": "*.*", "verbs": ["all"]}]}},
                "health": {"schema": "1s"},
            }
        )
        world.add_keyspace(bazaar.KEYSPACE, bazaar.SCHEMA, bazaar.SHARDS)
        world.add_keyspace(depot.KEYSPACE, depot.SCHEMA, depot.SHARDS)
        self.members: Mapping[str, Fairlead] = {region: fleet.start()[region] for region in world.regions}
        self._load()
        self._pairs: dict[Way, Pair] = {}

    def _start_plain(self) -> SqlServer:
        (port,) = self.world.reserve_ports(1)
        make = SERVERS[self.world.shape.flavour]
        server = make("plain", self.world.directory, port=port, server_id=999, tuning=self.world.shape.tuning)
        self._stack.callback(server.wipe)
        server.start()
        server.create_keyspace(bazaar.KEYSPACE)
        server.run(*bazaar.SCHEMA, database=bazaar.KEYSPACE)
        server.create_keyspace(depot.KEYSPACE)
        server.run(*depot.SCHEMA, database=depot.KEYSPACE)
        return server

    def _load(self) -> None:
        """Fairlead places the rows; the plain server gets the same ones."""
        with self.members["eu"].connect(database=bazaar.KEYSPACE) as connection, connection.cursor() as cursor:
            for table, rows in bazaar.rows():
                statement = f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(rows[0]))})"
                cursor.executemany(statement, rows)
                self.plain.insert(statement, rows, bazaar.KEYSPACE)
        for server in self._servers():
            server.run(f"CREATE DATABASE {SAVED}")
            for table in bazaar.TABLES:
                server.run(f"CREATE TABLE {SAVED}.{table} AS SELECT * FROM {bazaar.KEYSPACE}.{table}")

    def _servers(self) -> list[SqlServer]:
        return [*(shard.primary for shard in self.world.shards.values()), self.plain]

    def reset(self) -> None:
        """All rows as they were loaded."""
        for server in self._servers():
            server.run(
                *(f"DELETE FROM {table}" for table in bazaar.TABLES),
                *(f"INSERT INTO {table} SELECT * FROM {SAVED}.{table}" for table in bazaar.TABLES),
                database=bazaar.KEYSPACE,
            )

    def placement(self) -> dict[int, str]:
        """Every buyer's id and the shard that holds it."""
        return {
            key: name
            for name, shard in self.world.shards.items()
            for (key,) in shard.primary.query("SELECT id FROM buyers ORDER BY id", bazaar.KEYSPACE)
        }

    def pair(self, way: Way) -> Pair:
        """The clients of this kind, connected when first asked for."""
        if way not in self._pairs or self._pairs[way].mine.lost or self._pairs[way].theirs.lost:
            self._pairs[way] = Pair(self, way)
        return self._pairs[way]

    def close(self) -> None:
        for pair in self._pairs.values():
            pair.close()
        self._stack.close()

    def state_differences(self) -> list[str]:
        """Tables that do not hold the same rows on both sides, or not where they belong."""
        found: list[str] = []
        for table in bazaar.TABLES:
            shards = {name: self._rows(shard.primary, table) for name, shard in self.world.shards.items()}
            found += table_differences(table, shards, self._rows(self.plain, table))
        return found

    def _rows(self, server: SqlServer, table: str) -> Rows:
        return [tuple(row) for row in server.query(f"SELECT * FROM {table}", bazaar.KEYSPACE)]


Rows = Sequence[tuple[Any, ...]]


def table_differences(table: str, shards: Mapping[str, Rows], theirs: Rows) -> list[str]:
    """What of a table the shards have not as the plain server has it, or have on the wrong shard."""
    if table in bazaar.REFERENCE:
        return [f"{table} on {name}" for name, rows in shards.items() if Counter(rows) != Counter(theirs)]
    if table in bazaar.PINNED and any(rows for name, rows in shards.items() if name != bazaar.SHARDS[0]):
        return [f"{table} is not on {bazaar.SHARDS[0]} alone"]
    together = Counter(row for rows in shards.values() for row in rows)
    missing, surplus = Counter(theirs) - together, together - Counter(theirs)
    found = [f"{table}: {what} {list(rows.elements())[:3]}" for what, rows in
             (("lacks", missing), ("has besides", surplus)) if rows]  # fmt: skip
    return found + misplaced(table, shards)[:3]


def by_scratch(duel: Duel) -> float:
    """Statements that scratch servers have finished so far."""
    return sum(metric(member, "fairlead_scratch_statements_total") for member in duel.members.values())


def ask(side: Raw, sql: bytes, params: tuple[Any, ...] | None, codec: str = "utf-8") -> tuple[Answer, Answer | None]:
    """(the answer, that to PREPARE when it was prepared)"""
    if params is None:
        return side.query(sql), None
    statement = side.prepare(sql)
    if statement.answer.kind != "ok":
        return statement.answer, statement.answer
    given = [one.encode(codec) if isinstance(one, str) else one for one in params]
    answer = side.execute(statement, [_text(one) if isinstance(one, bytes) else one for one in given])
    if not side.lost:
        side.close_statement(statement)
    return answer, statement.answer


def _text(data: bytes) -> Typed:
    return Typed(TYPE_VAR_STRING, encoded_length(len(data)) + data)


def differences(
    mine: Answer, theirs: Answer, *, ordered: bool = False, allowed: Collection[str] = ()
) -> list[str]:  # fmt: skip
    """What of two answers is not the same. `allowed`: "warnings", "column X": what need not be."""
    if mine.kind != theirs.kind:
        return [f"kind: {mine.kind} {mine.message!r} instead of {theirs.kind} {theirs.message!r}"]
    if mine.kind == "error":
        return _differing(mine, theirs, ("errno", "sqlstate", "message"))
    found = _differing(mine, theirs, ("affected", "insert_id", "info"))
    if "warnings" not in allowed:
        found += _differing(mine, theirs, ("warnings",))
    if (mine.status ^ theirs.status) & COMPARED_STATUS:
        found.append(f"status: {mine.status:#x} instead of {theirs.status:#x}")
    if [_by_charset(one) for one in mine.columns] != [_by_charset(one) for one in theirs.columns]:
        found.append(f"columns: {mine.columns} instead of {theirs.columns}")
    one, other = (_rows(answer, allowed, ordered) for answer in (mine, theirs))
    if one != other:
        found.append(f"rows: {one[:5]} ({len(one)}) instead of {other[:5]} ({len(other)})")
    return found


def _rows(answer: Answer, allowed: Collection[str], ordered: bool) -> tuple[tuple[Cell, ...], ...]:
    names = [f"column {column.name.decode(errors='replace')}" for column in answer.columns]
    hidden = {at for at, name in enumerate(names) if name in allowed}
    rows = [tuple(None if at in hidden else cell for at, cell in enumerate(row)) for row in answer.rows]
    return tuple(rows if ordered else sorted(rows, key=repr))


def _by_charset(column: Column) -> Column:
    """SET NAMES x COLLATE y makes servers describe strings by y; Fairlead's describe them by x's default."""
    return replace(column, charset=UTF8MB4) if column.charset in UTF8MB4_COLLATIONS else column


def _differing(mine: Answer, theirs: Answer, names: tuple[str, ...]) -> list[str]:
    return [
        f"{name}: {getattr(mine, name)!r} instead of {getattr(theirs, name)!r}"
        for name in names
        if getattr(mine, name) != getattr(theirs, name)
    ]
