"""What an operator does about a lookup: make its table, fill it, compare it with the rows. By connections of its own.

Filling goes in batches of rows, in the order of their primary key, each under shared locks until its entries are there:
a write waits for the batch that holds its row, or the batch for the write. Both then leave the entry of the row as it
is. Where it got to is a row of `PROGRESS`, written with the batch, so that it goes on where it was stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from config.settings import Settings
from proxy.pool.schema_loader import SchemaLoader
from proxy.pool.server_health import endpoint_of
from proxy.pool.service_connection import Row, ServerUnavailable, ServiceConnection, connect
from router.entries import Cells, Column, Entries, Owner, names_of, owner_with, tuple_of
from router.errors import Refusal
from router.keys import Key, KeyRefused, canonical
from router.lookups import Lookup
from router.schema import SchemaSnapshot
from router.tokens import quoted
from router.topology import Shard, Table, Topology

PROGRESS = "fairlead_lookups"
"""In the keyspace's database of every shard that has rows."""
RETRY = frozenset({1205, 1213})
ATTEMPTS = 60
"""Of one batch that transactions keep out."""
EXAMPLES = 20
"""Differences that are named."""
SETTINGS = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION innodb_lock_wait_timeout = 3, SESSION sql_mode = '', SESSION sql_notes = 0",
)


class TaskFailed(Exception):
    """Why it cannot be done. The text names no values."""


@dataclass(slots=True)
class Report:
    """What was done or found. `problems`: rows by their keys, the first ones, with what is wrong."""

    lookup: str
    rows: int = 0
    entries: int = 0
    missing: int = 0
    stale: int = 0
    conflicts: int = 0
    repaired: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        return not (self.missing + self.stale - self.repaired or self.conflicts)

    def problem(self, text: str) -> None:
        if len(self.problems) < EXAMPLES:
            self.problems.append(text)


@dataclass(frozen=True, slots=True)
class Pace:
    """Rows in a batch, seconds between two batches, seconds for one statement."""

    batch: int = 500
    pause: float = 0.0
    timeout: float = 60.0


Told = Callable[[str, int], None]
"""Called behind every batch: the shard, and how many rows of it have been looked at."""


class Task:
    """One lookup, with a connection to the primary of every shard of its keyspace. In an `async with` block."""

    def __init__(self, settings: Settings, keyspace: str, name: str, pace: Pace, told: Told) -> None:
        self._settings = settings
        self._topology = Topology.build(settings)
        self._pace = pace
        self._told = told
        self._stack = AsyncExitStack()
        self._connections: dict[int, ServiceConnection] = {}
        found = self._topology.keyspace(keyspace)
        lookup = found.lookups.get(name) if found is not None else None
        table = found.table(lookup.table) if found is not None and lookup is not None else None
        if found is None or lookup is None or table is None:
            raise TaskFailed(f"there is no lookup {keyspace}.{name} in the configuration")
        self.lookup: Lookup = lookup
        self._table: Table = table
        self._shards: tuple[Shard, ...] = found.shards
        self.report = Report(f"{keyspace}.{name}")

    async def __aenter__(self) -> Task:
        try:
            for shard in self._shards:
                self._connections[shard.index] = await self._stack.enter_async_context(await self._primary(shard))
                for text in SETTINGS:
                    await self._say(shard.index, text)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *why: object) -> None:
        await self._stack.aclose()

    async def _primary(self, shard: Shard) -> ServiceConnection:
        """The server of the shard that takes writes. Raises TaskFailed."""
        if not shard.is_local:
            raise TaskFailed(f"shard {shard} is in region {shard.region}: do it there")
        for server in shard.servers:
            try:
                endpoint = endpoint_of(shard, server, self._settings.tls.minimum)
                connection = await connect(endpoint, self._settings.limits.connect)
            except ServerUnavailable:
                continue
            if str((await connection.query("SELECT @@global.read_only", self._pace.timeout))[0][0]) == "0":
                return connection
            await connection.quit()
        raise TaskFailed(f"shard {shard} has no server that takes writes")

    async def _say(self, shard: int, text: str, most: int = 1000) -> list[Row]:
        return await self._connections[shard].query(text, self._pace.timeout, most)

    async def _rows(self, shard: int, text: str, most: int) -> list[Cells]:
        """Of columns as `Column.selected` gives them."""
        rows = await self._say(shard, text, most)
        return [tuple(None if cell is None else str(cell).encode() for cell in row) for row in rows]

    async def _owner(self, *, stores: bool) -> tuple[Owner, Entries, SchemaSnapshot]:
        """Raises TaskFailed."""
        loaded = await SchemaLoader(self._topology, self._settings).load()
        schema = loaded.snapshots.get(self.lookup.keyspace)
        try:
            owner = owner_with(self._table, schema, stores=stores)
        except Refusal as reason:
            raise TaskFailed(str(reason)) from None
        assert schema is not None
        return owner, next(one for one in owner.entries if one.lookup == self.lookup), schema

    # --- the table ------------------------------------------------------------------------------------------

    async def create(self) -> Report:
        """Make the lookup's table on every shard, where it is not there. Raises TaskFailed, ServerUnavailable."""
        _, entries, schema = await self._owner(stores=False)
        live = schema.table(self._table.name)
        assert live is not None
        text = entries.definition(live).replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
        for shard in self._shards:
            await self._say(shard.index, text)
        return self.report

    # --- filling --------------------------------------------------------------------------------------------

    async def backfill(self, *, anew: bool = False) -> Report:
        """An entry for every row. Raises TaskFailed, ServerUnavailable."""
        owner, entries, _ = await self._owner(stores=True)
        for shard in self._table.shards:
            await self._say(shard, self._progress_table())
            if anew:
                await self._say(shard, f"DELETE FROM {self._progress} WHERE name = {self._name}")
            await self._fill(shard, owner, entries)
        return self.report

    @property
    def _progress(self) -> str:
        return f"{quoted(self.lookup.keyspace)}.{quoted(PROGRESS)}"

    @property
    def _name(self) -> str:
        return f"X'{self.lookup.name.encode().hex()}'"

    def _progress_table(self) -> str:
        return (
            f"CREATE TABLE IF NOT EXISTS {self._progress} (name VARBINARY(255) NOT NULL PRIMARY KEY, "
            "position TEXT CHARACTER SET ascii NOT NULL) ENGINE=InnoDB"
        )

    async def _fill(self, shard: int, owner: Owner, entries: Entries) -> None:
        text = f"SELECT position FROM {self._progress} WHERE name = {self._name}"
        found = await self._say(shard, text)
        position: Cells | None = tuple(part.encode() for part in str(found[0][0]).split(",")) if found else None
        done = 0
        while True:
            rows = await self._retried(shard, partial(self._fill_batch, shard, owner, entries, position))
            if not rows:
                return
            position = owner.position_of(rows[-1])
            done += len(rows)
            self.report.rows += len(rows)
            self._told(self._topology.shards[shard].name, done)
            await asyncio.sleep(self._pace.pause)

    async def _retried(self, shard: int, work: Callable[[], Awaitable[list[Cells]]]) -> list[Cells]:
        """A batch, once more when a transaction keeps it out."""
        for attempt in range(ATTEMPTS):
            before = replace(self.report, problems=[*self.report.problems])
            try:
                return await work()
            except ServerUnavailable as error:
                if error.errno not in RETRY or attempt == ATTEMPTS - 1:
                    raise
                await self._say(shard, "ROLLBACK")
                self.report = before
                await asyncio.sleep(0.1)
        raise AssertionError

    async def _fill_batch(self, shard: int, owner: Owner, entries: Entries, position: Cells | None) -> list[Cells]:
        await self._say(shard, "START TRANSACTION")
        text = self._batch(owner, position) + " LOCK IN SHARE MODE"
        rows = await self._rows(shard, text, self._pace.batch)
        if rows:
            await self._insert(entries, [cells for row in rows if (cells := owner.entry_of(entries, row)) is not None])
            position_now = b",".join(cell or b"" for cell in owner.position_of(rows[-1])).decode("ascii")
            await self._say(shard, f"REPLACE INTO {self._progress} VALUES ({self._name}, '{position_now}')")
        await self._say(shard, "COMMIT")
        return rows

    def _batch(self, owner: Owner, position: Cells | None) -> str:
        """The next rows behind `position`, in the order of their keys."""
        where = f" WHERE {_behind(owner.primary, position)}" if position is not None else ""
        order = names_of(owner.primary)
        return f"SELECT {owner.selected} FROM {owner.place}{where} ORDER BY {order} LIMIT {self._pace.batch}"

    async def _insert(self, entries: Entries, wanted: Sequence[Cells]) -> None:
        for shard, cells in self._by_shard(entries, wanted).items():
            value = quoted(entries.value.name)
            text = entries.inserted(cells)
            if entries.lookup.unique:
                text += f" ON DUPLICATE KEY UPDATE {value} = {value}"
            await self._say(shard, text)
            self.report.entries += len(cells)
            if entries.lookup.unique:
                await self._look_for_others(shard, entries, cells)

    async def _look_for_others(self, shard: int, entries: Entries, cells: Sequence[Cells]) -> None:
        """A value that a row of another shard has as well."""
        there = set(await self._entries_there(shard, entries, cells))
        keys = {entries.key_of(one): one for one in there}
        for one in cells:
            other = keys.get(entries.key_of(one))
            if other is None or other[1:] != one[1:]:
                self.report.conflicts += 1
                self.report.problem(f"row {_told(one[1:])}: another row has the same value")

    async def _entries_there(self, shard: int, entries: Entries, cells: Sequence[Cells], lock: str = "") -> list[Cells]:
        selected = ", ".join(one.selected for one in entries.columns)
        values = ", ".join(sorted({entries.value.literal(one[0]) for one in cells if one[0] is not None}))
        text = f"SELECT {selected} FROM {entries.place} WHERE {quoted(entries.value.name)} IN ({values})"
        if not entries.lookup.unique:
            keys = ", ".join(tuple_of(entries.columns, one) for one in cells)
            text = f"SELECT {selected} FROM {entries.place} WHERE ({entries.names}) IN ({keys})"
        return await self._rows(shard, text + lock, max(len(cells), 1))

    def _by_shard(self, entries: Entries, wanted: Iterable[Cells]) -> dict[int, list[Cells]]:
        found: dict[int, list[Cells]] = {}
        for cells in wanted:
            assert cells[0] is not None
            try:
                found.setdefault(entries.shard(cells[0]), []).append(cells)
            except Refusal as reason:
                self.report.conflicts += 1
                self.report.problem(f"row {_told(cells[1:])}: {reason.filling[2]}")
        return dict(sorted(found.items()))

    # --- comparing ------------------------------------------------------------------------------------------

    async def verify(self, *, repair: bool = False) -> Report:
        """Compare in both directions. What differs is looked at again under locks, and then mended, if that is wanted.
        Raises TaskFailed, ServerUnavailable."""
        owner, entries, _ = await self._owner(stores=True)
        for shard in self._table.shards:
            async for rows in self._pages(shard, partial(self._batch, owner), owner.position_of):
                self.report.rows += len(rows)
                await self._compare_rows(shard, owner, entries, rows, repair)
        for one in self._shards:
            async for found in self._pages(one.index, partial(self._page, entries), tuple):
                self.report.entries += len(found)
                await self._compare_entries(one.index, owner, entries, found, repair)
        return self.report

    async def _pages(
        self, shard: int, text: Callable[[Cells | None], str], position_of: Callable[[Cells], Cells]
    ) -> AsyncIterator[list[Cells]]:
        position: Cells | None = None
        done = 0
        while rows := await self._rows(shard, text(position), self._pace.batch):
            yield rows
            position = position_of(rows[-1])
            done += len(rows)
            self._told(self._topology.shards[shard].name, done)
            await asyncio.sleep(self._pace.pause)

    def _page(self, entries: Entries, position: Cells | None) -> str:
        where = f" WHERE {_behind(entries.columns, position)}" if position is not None else ""
        selected = ", ".join(one.selected for one in entries.columns)
        return f"SELECT {selected} FROM {entries.place}{where} ORDER BY {entries.names} LIMIT {self._pace.batch}"

    async def _compare_rows(
        self, shard: int, owner: Owner, entries: Entries, rows: Sequence[Cells], repair: bool
    ) -> None:
        wanted = {entry: row for row in rows if (entry := owner.entry_of(entries, row)) is not None}
        for place, cells in self._by_shard(entries, wanted).items():
            there = set(await self._entries_there(place, entries, cells))
            for one in cells:
                if one not in there:
                    key = owner.key_of(wanted[one])
                    await self._retried(shard, partial(self._recheck_row, shard, owner, entries, key, repair))

    async def _recheck_row(self, shard: int, owner: Owner, entries: Entries, key: Cells, repair: bool) -> list[Cells]:
        """Has the row an entry, now that nobody changes it?"""
        await self._say(shard, "START TRANSACTION")
        row = await self._row(shard, owner, key)
        cells = owner.entry_of(entries, row) if row is not None else None
        if cells is not None and cells[0] is not None:
            place = entries.shard(cells[0])
            if cells not in await self._entries_there(place, entries, [cells], " LOCK IN SHARE MODE"):
                self.report.missing += 1
                self.report.problem(f"row {_told(key)} has no entry")
                if repair:
                    await self._insert(entries, [cells])
                    self.report.repaired += 1
        await self._say(shard, "COMMIT")
        return []

    async def _row(self, shard: int, owner: Owner, key: Cells) -> Cells | None:
        keys = tuple_of(owner.keys, key)
        text = f"SELECT {owner.selected} FROM {owner.place} WHERE ({names_of(owner.keys)}) IN ({keys})"
        rows = await self._rows(shard, f"{text} LOCK IN SHARE MODE", 1)
        return rows[0] if rows else None

    async def _compare_entries(
        self, shard: int, owner: Owner, entries: Entries, found: Sequence[Cells], repair: bool
    ) -> None:
        by_home: dict[int | None, list[Cells]] = {}
        for cells in found:
            by_home.setdefault(self._home(owner, entries, cells), []).append(cells)
        for home, ours in by_home.items():
            rows = await self._rows_of(home, owner, entries, ours) if home is not None else set()
            for cells in ours:
                if cells not in rows or entries.shard(cells[0] or b"") != shard:
                    first = shard if home is None else home
                    work = partial(self._recheck_entry, shard, home, owner, entries, cells, repair)
                    await self._retried(first, work)

    def _home(self, owner: Owner, entries: Entries, cells: Cells) -> int | None:
        """The shard of the entry's row; None for a key that has none."""
        by_name = {one.name.lower(): (one, cell) for one, cell in zip(entries.columns, cells, strict=True)}
        vindex = owner.table.vindex
        assert vindex is not None
        try:
            keys = []
            for name in owner.table.columns:
                column, cell = by_name[name.lower()]
                assert cell is not None
                keys.append(Key(column.key.type, canonical(column.value(cell), column.key.type)))
            return vindex.shard_of(keys)
        except KeyRefused:
            return None

    def _key(self, owner: Owner, entries: Entries, cells: Cells) -> Cells:
        at = {one.name: cell for one, cell in zip(entries.columns, cells, strict=True)}
        return tuple(at[one.name] for one in owner.keys)

    async def _rows_of(self, home: int, owner: Owner, entries: Entries, found: Sequence[Cells]) -> set[Cells | None]:
        """The entries that the rows of these entries should have."""
        keys = ", ".join(tuple_of(owner.keys, self._key(owner, entries, cells)) for cells in found)
        text = f"SELECT {owner.selected} FROM {owner.place} WHERE ({names_of(owner.keys)}) IN ({keys})"
        return {owner.entry_of(entries, row) for row in await self._rows(home, text, len(found))}

    async def _recheck_entry(
        self, shard: int, home: int | None, owner: Owner, entries: Entries, cells: Cells, repair: bool
    ) -> list[Cells]:
        first = shard if home is None else home
        await self._say(first, "START TRANSACTION")
        row = await self._row(home, owner, self._key(owner, entries, cells)) if home is not None else None
        belongs = row is not None and owner.entry_of(entries, row) == cells and entries.shard(cells[0] or b"") == shard
        if not belongs and cells in await self._entries_there(shard, entries, [cells], " LOCK IN SHARE MODE"):
            self.report.stale += 1
            self.report.problem(f"an entry of row {_told(cells[1:])} does not belong there")
            if repair:
                await self._say(shard, entries.deleted([cells]))
                self.report.repaired += 1
        await self._say(first, "COMMIT")
        return []


def _behind(columns: Sequence[Column], position: Cells) -> str:
    """(a, b) > (x, y), so that an index serves."""
    found = []
    for at, (column, cell) in enumerate(zip(columns, position, strict=True)):
        assert cell is not None
        before = [
            f"{quoted(one.name)} = {one.literal(had)}"
            for one, had in zip(columns[:at], position[:at], strict=True)
            if had is not None
        ]
        found.append(" AND ".join([*before, f"{quoted(column.name)} > {column.literal(cell)}"]))
    return " OR ".join(f"({one})" for one in found)


def _told(key: Cells) -> str:
    """A row by its key, as messages name it: numbers as they are, text in hexadecimal."""
    return ", ".join((cell or b"").decode("ascii") for cell in key)
