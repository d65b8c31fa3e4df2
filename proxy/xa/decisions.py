"""The table of decisions: one row on the deciding shard says that a transaction over several shards is committed.

The row is written by the deciding shard's own transaction, so its commit is the decision. Who finds a prepared part and
no row writes `abort` in its place first: the row's key then keeps a late decision out. An `abort` is kept longer than
any server keeps a silent connection (`wait_timeout`, 8 hours), by which such a late decision could still come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from config.words import Flavour
from proxy.pool.service_connection import FailureKind, Row, ServerUnavailable, ServiceConnection
from router.xid import Gtrid, Prepared, label, prepared

COMMIT, ABORT = "commit", "abort"
DUPLICATE, LOCK_TIMEOUT, DEADLOCK = 1062, 1205, 1213
NO_SCHEMA, NO_TABLE = 1049, 1146
ALREADY_DONE = 1397
"""XAER_NOTA: somebody else has ended this part, or still holds it."""
BATCH = 1000
KEEP_COMMITS = 60
"""Seconds: longer than servers that do not sync every commit may lose one that they have acknowledged."""
KEEP_ABORTS = 24 * 3600
OLDEST = {Flavour.MARIADB: (10, 5), Flavour.MYSQL: (8, 0)}
"""Before these, a prepared part is rolled back with its connection (MDEV-7974), or cannot be listed."""


class Unfit(Exception):
    """Why a server cannot take part."""


class Table:
    """The statements about the table of decisions in one schema."""

    def __init__(self, schema: str) -> None:
        self.schema = "`" + schema.replace("`", "``") + "`"
        self.name = f"{self.schema}.`decision`"

    def create(self) -> tuple[str, str]:
        return (
            f"CREATE DATABASE IF NOT EXISTS {self.schema}",
            f"CREATE TABLE IF NOT EXISTS {self.name} (gtrid VARBINARY(64) NOT NULL PRIMARY KEY, "
            "outcome VARCHAR(8) CHARACTER SET ascii NOT NULL, parts TEXT CHARACTER SET ascii NOT NULL, "
            "made_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB",
        )

    def insert(self, gtrid: Gtrid, outcome: str, shards: Iterable[str]) -> str:
        parts = ",".join(label(name) for name in shards)
        return f"INSERT INTO {self.name} (gtrid, outcome, parts) VALUES ('{gtrid}', '{outcome}', '{parts}')"

    def outcome(self, gtrid: Gtrid) -> str:
        return f"SELECT outcome FROM {self.name} WHERE gtrid = '{gtrid}'"

    def delete(self, gtrids: Sequence[str]) -> str:
        return f"DELETE FROM {self.name} WHERE gtrid IN ({', '.join(repr(one) for one in gtrids)})"

    def old(self, before: float) -> str:
        """Decisions on transactions made before this time (seconds since 1970) that have had theirs. Gtrids begin with
        their time, so this reads no more than it finds."""
        kept = f"IF(outcome = '{COMMIT}', {KEEP_COMMITS}, {KEEP_ABORTS})"
        return (
            f"SELECT gtrid, outcome, parts FROM {self.name} WHERE gtrid < '{int(before * 1000):012x}' "
            f"AND made_at < NOW() - INTERVAL {kept} SECOND ORDER BY gtrid LIMIT {BATCH}"
        )


async def make(connection: ServiceConnection, table: Table, timeout: float) -> None:
    """Raises ServerUnavailable."""
    for statement in table.create():
        await connection.query(statement, timeout)


async def check(connection: ServiceConnection, table: Table, timeout: float) -> None:
    """Can the server take part, and keep decisions? Raises Unfit, ServerUnavailable."""
    found = tuple(int(part) for part in connection.version.split("-")[0].split(".")[:2])
    if found < OLDEST[connection.flavour]:
        raise Unfit(f"{connection.flavour.value} {connection.version} does not keep prepared transactions")
    try:
        await listed(connection, timeout)
    except ServerUnavailable as error:
        if error.kind is FailureKind.REFUSED:
            raise Unfit(f"its account may not list them (GRANT XA_RECOVER_ADMIN): {error.text}") from None
        raise
    try:
        try:
            await connection.query(f"SELECT gtrid FROM {table.name} LIMIT 1", timeout)
        except ServerUnavailable as error:
            if error.errno not in (NO_SCHEMA, NO_TABLE) and error.kind is not FailureKind.REFUSED:
                raise
            await make(connection, table, timeout)
    except ServerUnavailable as error:
        if error.kind is FailureKind.REFUSED:
            raise Unfit(f"its account cannot make {table.name}: {error.text}") from None
        raise


async def listed(connection: ServiceConnection, timeout: float) -> list[Prepared]:
    """Fairlead's prepared parts on the server. Raises ServerUnavailable."""
    rows = await connection.query("XA RECOVER", timeout, max_rows=100_000)
    found = (prepared(int(row[0]), int(row[1]), row[3]) for row in rows)
    return [one for one in found if one is not None]


async def decision(connection: ServiceConnection, table: Table, gtrid: Gtrid, timeout: float) -> str | None:
    """What the row says; None: there is none. Raises ServerUnavailable."""
    try:
        rows: list[Row] = await connection.query(table.outcome(gtrid), timeout)
    except ServerUnavailable as error:
        if error.errno in (NO_SCHEMA, NO_TABLE):
            return None
        raise
    return str(rows[0][0]) if rows else None


async def settle(connection: ServiceConnection, table: Table, gtrid: Gtrid, timeout: float) -> str | None:
    """The decision, for good: where there is none yet, it is to abort. None: its coordinator is just at it.

    Raises ServerUnavailable.
    """
    found = await decision(connection, table, gtrid, timeout)
    if found is not None:
        return found
    try:
        await connection.query("SET SESSION innodb_lock_wait_timeout = 1", timeout)
        await _abort(connection, table, gtrid, timeout)
    except ServerUnavailable as error:
        if error.errno in (LOCK_TIMEOUT, DEADLOCK):
            return None
        if error.errno == DUPLICATE:
            return await decision(connection, table, gtrid, timeout)
        raise
    return ABORT


async def _abort(connection: ServiceConnection, table: Table, gtrid: Gtrid, timeout: float) -> None:
    text = table.insert(gtrid, ABORT, ())
    try:
        await connection.query(text, timeout)
    except ServerUnavailable as error:
        if error.errno not in (NO_SCHEMA, NO_TABLE):
            raise
        await make(connection, table, timeout)
        await connection.query(text, timeout)
