"""Reads the live schema of the sharded keyspaces from the servers of the own region.

For each keyspace and each of its shards here: what information_schema says of the keyspace's database, in
seven queries of bounded size, between two fingerprints of the same: when they differ, a DDL came between
and it is read again. As long as the fingerprint is the one of the last reading, nothing else is asked. The
shards' schemas are compared with each other and the declaration (`router.schema`), and merged into one
snapshot, whose epoch grows when its content changes.

Shards of other regions are their Fairlead's to read. A shard that does not answer keeps what was last read
of it, and is reported. An unsharded keyspace passes statements verbatim and needs no schema.

The account sees only what it has a privilege on, and triggers only with TRIGGER: what it cannot see is
missing here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType
from typing import Any, TypeAlias

from config.settings import Settings
from config.words import Flavour
from proxy.pool.server_health import endpoint_of
from proxy.pool.service_connection import (
    Endpoint,
    FailureKind,
    Row,
    ServerUnavailable,
    ServiceConnection,
    connect,
)
from router.entries import owner_of
from router.errors import Refusal
from router.schema import (
    Check,
    Finding,
    ForeignKey,
    Index,
    LiveColumn,
    LiveTable,
    SchemaSnapshot,
    ShardSchema,
    UniqueKey,
    compare,
    merge,
)
from router.topology import Keyspace, Server, Shard, Topology

DEADLINE = 8.0
"""Seconds for all of one database, whichever of its servers answers."""
READERS = 16
"""How many shards are read at a time."""
TORN_READINGS = 3
"""How often a schema that changes while it is read is read again before giving up."""

PrimaryOf: TypeAlias = Callable[[Shard], Server | None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that is read of one database. More is reported as a finding, and the keyspace has no
    snapshot.
    """

    tables: int = 8192
    rows: int = 131072
    """Columns, and parts of keys."""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What else matters of a keyspace's database on one shard. Names and modes as the server prints them.

    `time_zone` is the effective one: SYSTEM is replaced by the system's.
    """

    version: str
    sql_mode: str
    time_zone: str
    lower_case_table_names: int
    character_set_server: str
    collation_server: str
    character_set: str = ""
    collation: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one `load` found.

    `snapshots`: keyspace -> its schema; one that is as before is the same object. A keyspace that was never
    read is missing. `databases`: (keyspace, shard) -> facts.
    """

    snapshots: Mapping[str, SchemaSnapshot]
    findings: tuple[Finding, ...]
    databases: Mapping[tuple[str, str], DatabaseFacts]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A database as it was read, and the fingerprint that says whether it still is so."""

    fingerprint: Row
    facts: DatabaseFacts
    schema: ShardSchema
    exists: bool


def _lookup_findings(keyspace: Keyspace, present: Sequence[ShardSchema]) -> list[Finding]:
    """Lookups that cannot be kept in step: reads do without them, writes are refused."""
    found: list[Finding] = []
    for table in keyspace.tables.values():
        for lookup in table.lookups:
            missing = [one.shard for one in present if lookup.store not in one.tables]
            if missing:
                text = f"lookup {lookup}: table {lookup.store} does not exist on {', '.join(missing)}"
                found.append(Finding("error", "lookup", keyspace.name, table.name, text))
        if table.lookups and not found and present:
            try:
                owner_of(table, merge(present, keyspace, 0))
            except Refusal as reason:
                text = f"lookup {reason.filling[0]}: {reason.filling[2]}"
                found.append(Finding("error", "lookup", keyspace.name, table.name, text))
    return found


def _declared_primary(shard: Shard) -> Server | None:
    return shard.servers[0] if shard.servers else None


class SchemaLoader:
    """Reads on demand and remembers what it read. For one task at a time.

    `primary_of`: the server of a shard to ask first; the others are asked when it does not answer.
    """

    def __init__(
        self,
        topology: Topology,
        settings: Settings,
        primary_of: PrimaryOf = _declared_primary,
        bounds: Bounds | None = None,
    ) -> None:
        self._topology = topology
        self._settings = settings
        self._primary_of = primary_of
        self._bounds = bounds or Bounds()
        self._known: dict[tuple[str, str], _Reading] = {}
        # A policy follows statements of unsharded keyspaces, too, and looks at what would tell of the columns in it:
        # the order of indexes that are not unique, checks that fail, partitions.
        self._policy = settings.policy is not None
        self._readers = asyncio.Semaphore(READERS)
        # A server that hangs must leave time for the next one.
        self._connect_timeout = min(settings.limits.connect, DEADLINE / 4)

    async def load(self, previous: Mapping[str, SchemaSnapshot] | None = None) -> Loaded:
        """The schemas now; `previous`: the last snapshots. Never raises for a server's fault: that is a
        finding.
        """
        keyspaces = [one for one in self._topology.keyspaces if not one.unsharded or self._policy]
        pairs = [(one, shard) for one in keyspaces for shard in one.shards if shard.is_local]
        failures = await asyncio.gather(*(self._read(*pair) for pair in pairs))
        findings = [failure for failure in failures if failure is not None]
        snapshots: dict[str, SchemaSnapshot] = {}
        for keyspace in keyspaces:
            before = (previous or {}).get(keyspace.name)
            readings = self._readings(keyspace)
            if any(one.code == "too-large" and one.keyspace == keyspace.name for one in findings):
                continue
            if readings:
                before = _snapshot(keyspace, readings, before)
                findings += self._findings(keyspace, readings)
            if before is not None:
                snapshots[keyspace.name] = before
        facts = {key: reading.facts for key, reading in self._known.items()}
        return Loaded(MappingProxyType(snapshots), tuple(sorted(set(findings))), MappingProxyType(facts))

    def _readings(self, keyspace: Keyspace) -> dict[str, _Reading]:
        keys = [(keyspace.name, shard.name) for shard in keyspace.shards]
        return {shard: self._known[name, shard] for name, shard in keys if (name, shard) in self._known}

    def _findings(self, keyspace: Keyspace, readings: Mapping[str, _Reading]) -> list[Finding]:
        missing = [shard for shard, reading in readings.items() if not reading.exists]
        present = [reading.schema for reading in readings.values() if reading.exists]
        found = compare(present, keyspace) if present else []
        for shard in missing:
            text = f"the database does not exist on {shard}, or the account may not see it"
            found.append(Finding("error", "database-missing", keyspace.name, "", text))
        found += _lookup_findings(keyspace, present)
        facts = {shard: reading.facts for shard, reading in readings.items() if reading.exists}
        return found + list(disagreements(keyspace.name, facts))

    async def _read(self, keyspace: Keyspace, shard: Shard) -> Finding | None:
        """Brings what is known of a database up to date; the finding when that failed."""
        async with self._readers:
            try:
                async with asyncio.timeout(DEADLINE):
                    await self._read_from_any(keyspace, shard)
            except _TooLarge as error:
                self._known.pop((keyspace.name, shard.name), None)
                return Finding("error", "too-large", keyspace.name, "", f"on {shard}: {error}")
            except (ServerUnavailable, TimeoutError) as error:
                why = error if isinstance(error, ServerUnavailable) else "no answer in time"
                return Finding("warning", "unread", keyspace.name, "", f"shard {shard} could not be read: {why}")
            return None

    async def _read_from_any(self, keyspace: Keyspace, shard: Shard) -> None:
        """From the primary, else from whichever server answers. Raises what the first one did."""
        first: ServerUnavailable | None = None
        for endpoint in self._endpoints(shard):
            try:
                await self._read_from(endpoint, keyspace.name, shard.name)
                return
            except ServerUnavailable as error:
                first = first or error
        raise first or ServerUnavailable(FailureKind.UNREACHABLE, "the shard has no server")

    def _endpoints(self, shard: Shard) -> list[Endpoint]:
        first = self._primary_of(shard)
        servers = sorted(shard.servers, key=lambda server: server != first)
        minimum = self._settings.tls.minimum
        return [endpoint_of(shard, server, minimum) for server in servers]

    async def _read_from(self, endpoint: Endpoint, database: str, shard: str) -> None:
        async with await connect(endpoint, self._connect_timeout) as connection:
            reader = _Reader(connection, database, self._bounds, policy=self._policy)
            await reader.prepare()
            for _ in range(TORN_READINGS):
                before = await reader.fingerprint()
                known = self._known.get((database, shard))
                if known is not None and known.fingerprint == before:
                    return
                facts, tables = reader.facts, await reader.tables()
                if await reader.fingerprint() == before:
                    schema = ShardSchema.of(shard, tables)
                    self._known[database, shard] = _Reading(before, facts, schema, reader.exists)
                    return
        raise ServerUnavailable(FailureKind.REFUSED, "the schema changes faster than it can be read")


def _snapshot(keyspace: Keyspace, readings: Mapping[str, _Reading], before: SchemaSnapshot | None) -> SchemaSnapshot:
    merged = merge((reading.schema for reading in readings.values()), keyspace, before.epoch if before else 1)
    if before is None:
        return merged
    return before if merged == before else replace(merged, epoch=before.epoch + 1)


def disagreements(keyspace: str, facts: Mapping[str, DatabaseFacts]) -> Iterable[Finding]:
    """What shards should have in common, because a statement must mean the same on each of them."""
    wanted: dict[str, Callable[[DatabaseFacts], object]] = {
        "sql_mode": lambda one: frozenset(one.sql_mode.split(",")),
        "time_zone": lambda one: one.time_zone,
        "lower_case_table_names": lambda one: one.lower_case_table_names,
        "collation": lambda one: one.collation,
    }
    for name, value in wanted.items():
        groups: dict[object, list[str]] = {}
        for shard, one in facts.items():
            groups.setdefault(value(one), []).append(shard)
        if len(groups) > 1:
            sides = " and ".join(", ".join(shards) for shards in groups.values())
            what = "the database's default collation" if name == "collation" else f"global {name}"
            code = f"{name.replace('_', '-')}-differs"
            yield Finding("warning", code, keyspace, "", f"{what} is not the same on {sides}")
    folded = [shard for shard, one in facts.items() if one.lower_case_table_names]
    if folded:
        text = f"table names are not told apart by case on {', '.join(folded)}; write them as they are declared"
        yield Finding("warning", "lower-case-table-names", keyspace, "", text)


# --- one database -------------------------------------------------------------------------------------------


class _TooLarge(Exception):
    """More than the bounds allow."""


FACTS = (
    "SELECT @@version, @@global.sql_mode, @@global.time_zone, @@system_time_zone, @@lower_case_table_names, "
    "@@global.character_set_server, @@global.collation_server"
)
DATABASE = (
    "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE {SCHEMA_NAME}"
)
TABLES = (
    "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE {TABLE_SCHEMA} "
    "AND TABLE_TYPE <> 'SEQUENCE' ORDER BY TABLE_NAME"
)
COLUMNS = (
    "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, "
    "GENERATION_EXPRESSION, CHARACTER_SET_NAME, COLLATION_NAME "
    "FROM information_schema.COLUMNS WHERE {TABLE_SCHEMA} ORDER BY TABLE_NAME, ORDINAL_POSITION"
)
UNIQUE_KEYS = (
    "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS "
    "WHERE {TABLE_SCHEMA} AND NON_UNIQUE = 0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
)
INDEXES = (
    "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS "
    "WHERE {TABLE_SCHEMA} AND NON_UNIQUE <> 0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
)
FOREIGN_KEYS = (
    "SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, IF(REFERENCED_TABLE_SCHEMA = TABLE_SCHEMA, "
    "REFERENCED_TABLE_NAME, CONCAT(REFERENCED_TABLE_SCHEMA, '.', REFERENCED_TABLE_NAME)), "
    "REFERENCED_COLUMN_NAME "
    "FROM information_schema.KEY_COLUMN_USAGE WHERE {TABLE_SCHEMA} AND REFERENCED_TABLE_NAME IS NOT NULL "
    "ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION"
)
RULES = (
    "SELECT TABLE_NAME, CONSTRAINT_NAME, UPDATE_RULE, DELETE_RULE "
    "FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE {CONSTRAINT_SCHEMA}"
)
CHECKS = {
    Flavour.MARIADB: (
        "SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
        "WHERE {CONSTRAINT_SCHEMA}"
    ),
    Flavour.MYSQL: (
        "SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
        "JOIN information_schema.TABLE_CONSTRAINTS USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME) "
        "WHERE {CONSTRAINT_SCHEMA} AND CONSTRAINT_TYPE = 'CHECK'"
    ),
}
PARTITIONS = (
    "SELECT DISTINCT TABLE_NAME, PARTITION_EXPRESSION, SUBPARTITION_EXPRESSION "
    "FROM information_schema.PARTITIONS WHERE {TABLE_SCHEMA} AND PARTITION_NAME IS NOT NULL"
)
TRIGGERS = (
    "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS WHERE {TRIGGER_SCHEMA} "
    "ORDER BY EVENT_OBJECT_TABLE, TRIGGER_NAME"
)


def _fingerprint_of(source: str, schema: str, *values: str) -> str:
    """Counts the rows, and joins 64 bits of each row's hash by exclusive or, which is independent of order.

    No two rows are equal, because each begins with its names: none can cancel another. SHA2, because MySQL
    9.6 made MD5 and SHA1 a component that need not be there.
    """
    digest = f"CONV(LEFT(SHA2(CONCAT_WS(CHAR(1), {', '.join(values)}), 256), 16), 16, 10)"
    return (
        f"SELECT '{source}', COUNT(*), BIT_XOR(CAST({digest} AS UNSIGNED)) "
        f"FROM information_schema.{source} WHERE {{{schema}}}"
    )


FINGERPRINT = " UNION ALL ".join(
    (
        _fingerprint_of("TABLES", "TABLE_SCHEMA", "TABLE_NAME", "TABLE_TYPE"),
        _fingerprint_of(
            "COLUMNS",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "COLUMN_NAME",
            "ORDINAL_POSITION",
            "COLUMN_TYPE",
            "IS_NULLABLE",
            "COLUMN_DEFAULT IS NULL",
            "COALESCE(COLUMN_DEFAULT, '')",
            "EXTRA",
            "COALESCE(GENERATION_EXPRESSION, '')",
            "COALESCE(COLLATION_NAME, '')",
        ),
        _fingerprint_of(
            "STATISTICS",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "INDEX_NAME",
            "SEQ_IN_INDEX",
            "NON_UNIQUE",
            "COALESCE(COLUMN_NAME, '')",
            "COALESCE(SUB_PART, '')",
        ),
        _fingerprint_of(
            "KEY_COLUMN_USAGE",
            "TABLE_SCHEMA",
            "TABLE_NAME",
            "CONSTRAINT_NAME",
            "ORDINAL_POSITION",
            "COLUMN_NAME",
            "COALESCE(REFERENCED_TABLE_SCHEMA, '')",
            "COALESCE(REFERENCED_TABLE_NAME, '')",
            "COALESCE(REFERENCED_COLUMN_NAME, '')",
        ),
        _fingerprint_of(
            "REFERENTIAL_CONSTRAINTS",
            "CONSTRAINT_SCHEMA",
            "TABLE_NAME",
            "CONSTRAINT_NAME",
            "UPDATE_RULE",
            "DELETE_RULE",
        ),
        _fingerprint_of("TRIGGERS", "TRIGGER_SCHEMA", "EVENT_OBJECT_TABLE", "TRIGGER_NAME"),
    )
)

POLICY_FINGERPRINT = {
    flavour: " UNION ALL ".join(
        (
            FINGERPRINT,
            _fingerprint_of("CHECK_CONSTRAINTS", "CONSTRAINT_SCHEMA", *names, "CONSTRAINT_NAME", "CHECK_CLAUSE"),
            # Partitions themselves are costly to list; a table that has got some is another one by its options.
            _fingerprint_of("TABLES", "TABLE_SCHEMA", "TABLE_NAME", "COALESCE(CREATE_OPTIONS, '')"),
        )
    )
    for flavour, names in ((Flavour.MARIADB, ("TABLE_NAME",)), (Flavour.MYSQL, ()))
}


class _Reader:
    """The questions about one database, on one connection."""

    def __init__(
        self, connection: ServiceConnection, database: str, bounds: Bounds, *, policy: bool = False
    ) -> None:  # fmt: skip
        self._connection = connection
        self._database = database
        self._bounds = bounds
        self._policy = policy
        self.facts = DatabaseFacts("", "", "", 0, "", "")
        self.exists = False

    async def prepare(self) -> None:
        """The facts, which decide how names are compared."""
        # So that the literals below are read as they are written.
        await self._connection.query("SET @@SESSION.sql_mode=''", DEADLINE)
        (row,) = await self._connection.query(FACTS, DEADLINE, max_rows=1)
        version, sql_mode, zone, system_zone, folding, charset, collation = row
        self.facts = DatabaseFacts(
            version=str(version),
            sql_mode=str(sql_mode),
            time_zone=str(system_zone if str(zone).upper() == "SYSTEM" else zone),
            lower_case_table_names=int(folding),
            character_set_server=str(charset),
            collation_server=str(collation),
        )
        found = await self._rows(DATABASE, 1)
        self.exists = bool(found)
        if found:
            self.facts = replace(self.facts, character_set=str(found[0][0]), collation=str(found[0][1]))

    async def fingerprint(self) -> Row:
        """Equal as long as nothing changes that is read. Raises _TooLarge, ServerUnavailable."""
        query = POLICY_FINGERPRINT[self._connection.flavour] if self._policy else FINGERPRINT
        rows = await self._rows(query, query.count("UNION ALL") + 1)
        for source, count, _ in rows:
            most = self._bounds.tables if source == "TABLES" else self._bounds.rows
            if count > most:
                raise _TooLarge(f"{count} rows in information_schema.{source}, at most {most} are read")
        return (self.facts, self.exists, *sorted(rows))

    async def tables(self) -> list[LiveTable]:
        """Raises _TooLarge, ServerUnavailable."""
        queries = (TABLES, COLUMNS, UNIQUE_KEYS, FOREIGN_KEYS, RULES, TRIGGERS)
        tables, columns, keys, foreign, rules, triggers = [
            await self._rows(query, self._bounds.rows) for query in queries
        ]  # fmt: skip
        read = tables_of(self._connection.flavour, tables, columns, keys, foreign, rules, triggers)
        if not self._policy:
            return read
        more = (INDEXES, CHECKS[self._connection.flavour], PARTITIONS)
        return with_order(read, *[await self._rows(query, self._bounds.rows) for query in more])

    async def _rows(self, query: str, most: int) -> list[Row]:
        columns = ("SCHEMA_NAME", "TABLE_SCHEMA", "CONSTRAINT_SCHEMA", "TRIGGER_SCHEMA")
        query = query.format(**{column: self._is(column) for column in columns})
        rows = await self._connection.query(f"{query} LIMIT {most + 1}", DEADLINE, max_rows=most + 1)
        if len(rows) > most:
            raise _TooLarge(f"more than {most} rows of one kind")
        return rows

    def _is(self, column: str) -> str:
        """The first comparison lets the server open this database only; it may pass over case, the second
        not.
        """
        folding = self.facts.lower_case_table_names != 0
        name = self._database.lower() if folding else self._database
        literal = "'" + name.replace("\\", "\\\\").replace("'", "''") + "'"
        exact = "" if folding else f" AND CAST({column} AS BINARY) = CAST({literal} AS BINARY)"
        return f"{column} = {literal}{exact}"


# --- rows -> values -----------------------------------------------------------------------------------------


def tables_of(
    flavour: Flavour,
    tables: Sequence[Row],
    columns: Sequence[Row],
    keys: Sequence[Row],
    foreign: Sequence[Row],
    rules: Sequence[Row],
    triggers: Sequence[Row],
) -> list[LiveTable]:
    """From the rows of the queries above; each of them is ordered by table."""
    columns_of = _by_table(columns)
    keys_of = _by_table(keys)
    foreign_of = _by_table(foreign)
    rules_of = {(str(table), str(name)): (str(update), str(delete)) for table, name, update, delete in rules}
    triggers_of = _by_table(triggers)
    return [
        LiveTable(
            name=str(name),
            kind="view" if "VIEW" in str(kind).upper() else "table",
            versioned="VERSIONED" in str(kind).upper(),
            columns=tuple(_column(flavour, row) for row in columns_of.get(name, ())),
            unique_keys=tuple(_unique_keys(keys_of.get(name, ()))),
            foreign_keys=tuple(_foreign_keys(foreign_of.get(name, ()), rules_of)),
            triggers=tuple(str(trigger) for _, trigger in triggers_of.get(name, ())),
            checks=tuple(_computed(columns_of.get(name, ()))),
        )
        for name, kind in tables
    ]


def with_order(
    tables: Sequence[LiveTable], indexes: Sequence[Row], checks: Sequence[Row], partitions: Sequence[Row]
) -> list[LiveTable]:
    """The tables with what a policy has to know besides; every table is in each of the lists or has none of it."""
    indexes_of, checks_of, partitions_of = _by_table(indexes), _by_table(checks), _by_table(partitions)
    return [
        replace(
            table,
            indexes=tuple(_indexes(indexes_of.get(table.name, ()))),
            checks=(*table.checks, *_checks(checks_of.get(table.name, ()))),
            partitioned_by=_words(*(by for _, *parts in partitions_of.get(table.name, ()) for by in parts)),
        )
        for table in tables
    ]


def _checks(rows: Iterable[Row]) -> Iterator[Check]:
    return (Check(str(name), _words(clause)) for _, name, clause in rows)


def _computed(columns: Iterable[Row]) -> Iterator[Check]:
    """Generated columns: a value that does not fit into one is refused like one that fails a check."""
    return (Check(str(row[1]), _words(row[7])) for row in columns if row[7])


def _words(*expressions: object) -> frozenset[str]:
    found = (match for one in expressions if one is not None for match in _WORD.finditer(str(one)))
    return frozenset((match[1] or match[2]).replace("``", "`").lower() for match in found)


_WORD = re.compile(r"`((?:[^`]|``)+)`|([\w$]+)")


def _by_table(rows: Sequence[Row]) -> dict[Any, list[Row]]:
    """Rows by their first value. Names that differ in case only may come interleaved."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


def _column(flavour: Flavour, row: Row) -> LiveColumn:
    _, name, data_type, column_type, nullable, default, extra, expression, charset, collation = row
    words = str(extra).upper()
    return LiveColumn(
        name=str(name),
        data_type=str(data_type),
        column_type=str(column_type),
        nullable=str(nullable).upper() == "YES",
        default=_default(flavour, default),
        auto_increment="AUTO_INCREMENT" in words,
        # MySQL's DEFAULT_GENERATED is an expression as default, not a generated column.
        generated="VIRTUAL GENERATED" in words or "STORED GENERATED" in words or bool(expression),
        invisible="INVISIBLE" in words,
        charset=None if charset is None else str(charset),
        collation=None if collation is None else str(collation),
    )


def _default(flavour: Flavour, default: object) -> str | None:
    """MariaDB gives defaults as SQL, so that NULL is a text and text is quoted; MySQL gives the value."""
    if default is None:
        return None
    text = str(default)
    if flavour is Flavour.MYSQL:
        return text
    if text == "NULL":
        return None
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text


def _indexes(rows: Sequence[Row]) -> Iterator[Index]:
    for name, parts in groupby(rows, key=lambda row: str(row[1])):
        yield Index(name, tuple("" if column is None else str(column) for _, _, column in parts))


def _unique_keys(rows: Iterable[Row]) -> Iterable[UniqueKey]:
    for name, group in groupby(rows, key=lambda row: row[1]):
        parts = list(group)
        columns = tuple(str(column) for _, _, column, _ in parts if column is not None)
        # An expression has no column (MySQL), a prefix has a length.
        exact = all(column is not None and sub_part is None for _, _, column, sub_part in parts)
        yield UniqueKey(str(name), columns, exact)


def _foreign_keys(rows: Iterable[Row], rules: Mapping[tuple[str, str], tuple[str, str]]) -> Iterable[ForeignKey]:
    for name, group in groupby(rows, key=lambda row: row[1]):
        parts = list(group)
        table, _, _, parent, _ = parts[0]
        changes = [rule for rule in rules.get((str(table), str(name)), ()) if rule not in ("RESTRICT", "NO ACTION")]
        yield ForeignKey(
            name=str(name),
            columns=tuple(str(part[2]) for part in parts),
            parent=str(parent),
            parent_columns=tuple(str(part[4]) for part in parts),
            on_change=", ".join(dict.fromkeys(changes)) or None,
        )
