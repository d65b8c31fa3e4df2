"""How the rows of a table and the entries of its lookups are read and written by Fairlead: which columns, in which SQL.

Values travel as text that means the same in every session: whole numbers in digits, all else as the bytes that the
server keeps, in hexadecimal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from router.errors import Refusal, refusal
from router.keys import (
    Key,
    KeyColumn,
    KeyRefused,
    NoMatch,
    Unpinnable,
    UnsupportedKey,
    Value,
    canonical,
    canonical_stored,
    is_integer,
    key_column_of,
)
from router.lookups import Lookup
from router.schema import LiveColumn, LiveTable, SchemaSnapshot
from router.tokens import quoted
from router.topology import Table

_CODECS = {"utf8mb4": "utf-8", "utf8mb3": "utf-8", "utf8": "utf-8", "ascii": "ascii", "latin1": "cp1252"}

Cells = tuple[bytes | None, ...]
"""A row's columns as `Column.selected` gives them."""


@dataclass(frozen=True, slots=True)
class Column:
    """`charset` None: a number, or bytes without one."""

    name: str
    key: KeyColumn
    charset: str | None

    @property
    def selected(self) -> str:
        return f"CONCAT({quoted(self.name)})" if is_integer(self.key.type) else f"HEX({quoted(self.name)})"

    def literal(self, cell: bytes) -> str:
        """What `selected` gave, as a value."""
        text = cell.decode("ascii")
        if is_integer(self.key.type):
            return str(int(text))
        return f"_{self.charset} X'{text}'" if self.charset is not None else f"X'{text}'"

    def value(self, cell: bytes) -> Value:
        """Raises Unpinnable for what is no text of its character set."""
        if is_integer(self.key.type):
            return int(cell)
        data = bytes.fromhex(cell.decode("ascii"))
        if self.charset is None:
            return data
        try:
            return data.decode(_CODECS[self.charset])
        except UnicodeDecodeError:
            raise Unpinnable("text that its character set does not have") from None

    def hashed(self, value: Value) -> Key:
        """Raises KeyRefused."""
        return Key(self.key.type, canonical(value, self.key.type))

    def sought(self, value: Value) -> str:
        """A client's value, to be compared with the column as the server would compare it. Raises KeyRefused."""
        data = canonical(value, self.key.type)
        if is_integer(self.key.type):
            return str(Key(self.key.type, data).number)
        return self._text(value)

    def stored(self, value: Value) -> str:
        """The same for a value that the server keeps exactly as it is written. Raises KeyRefused."""
        data = canonical_stored(value, self.key)
        if is_integer(self.key.type):
            return str(Key(self.key.type, data).number)
        return self._text(value)

    def _text(self, value: Value) -> str:
        data = value.encode() if isinstance(value, str) else value
        if not isinstance(data, bytes):
            raise Unpinnable("text is compared with a number as a double")
        if self.charset != "utf8mb4" and not data.isascii() and isinstance(value, str):
            raise Unpinnable("characters that the column's character set may not have")
        if isinstance(value, bytes):
            return f"X'{data.hex()}'"
        return f"_utf8mb4 X'{data.hex()}'"


@dataclass(frozen=True, slots=True)
class Entries:
    """One lookup as its table is. `value`: the column; `rest`: the other columns of an entry. `key_name`: the owner's
    unique key, which an error names."""

    lookup: Lookup
    value: Column
    rest: tuple[Column, ...]
    key_name: str = ""

    @property
    def columns(self) -> tuple[Column, ...]:
        return (self.value, *self.rest)

    @property
    def place(self) -> str:
        return f"{quoted(self.lookup.keyspace)}.{quoted(self.lookup.store)}"

    @property
    def names(self) -> str:
        return names_of(self.columns)

    def shard(self, cell: bytes) -> int:
        """Where the entry of this value is. Raises Refusal."""
        try:
            return self.lookup.vindex.shard_of([self.value.hashed(self.value.value(cell))])
        except KeyRefused as reason:
            raise refusal("LOOKUP_VALUE", self.lookup.column, self.lookup.table, str(reason)) from None

    def key_of(self, cells: Cells) -> bytes:
        """What entries of equal values have in common."""
        assert cells[0] is not None
        return self.value.hashed(self.value.value(cells[0])).data

    def definition(self, live: LiveTable) -> str:
        """CREATE TABLE of its table; `live`: the owner."""
        lines = [_definition(live, one) for one in self.columns]
        own = (self.value,) if self.lookup.unique else self.columns
        return f"CREATE TABLE {self.place} ({', '.join(lines)}, PRIMARY KEY ({names_of(own)})) ENGINE=InnoDB"

    def inserted(self, rows: Iterable[Cells]) -> str:
        """INSERT of entries; of one that may be shared or there already, without an error."""
        text = f"INSERT INTO {self.place} ({self.names}) VALUES {tuples(self.columns, rows)}"
        if self.lookup.unique:
            return text
        same = quoted(self.value.name)
        return f"{text} ON DUPLICATE KEY UPDATE {same} = VALUES({same})"

    def deleted(self, rows: Iterable[Cells]) -> str:
        return f"DELETE FROM {self.place} WHERE ({self.names}) IN ({tuples(self.columns, rows)})"


@dataclass(frozen=True, slots=True)
class Owner:
    """A table with its lookups. `keys`: the columns that tell its rows apart on all shards: shard key and primary key;
    `columns`: those and the values; `primary`: in the order in which rows are kept."""

    table: Table
    primary: tuple[Column, ...]
    keys: tuple[Column, ...]
    columns: tuple[Column, ...]
    entries: tuple[Entries, ...]

    @property
    def place(self) -> str:
        return f"{quoted(self.table.keyspace)}.{quoted(self.table.name)}"

    @property
    def selected(self) -> str:
        return ", ".join(one.selected for one in self.columns)

    def key_of(self, row: Cells) -> Cells:
        return row[: len(self.keys)]

    def position_of(self, row: Cells) -> Cells:
        at = {one.name: cell for one, cell in zip(self.columns, row, strict=True)}
        return tuple(at[one.name] for one in self.primary)

    def entry_of(self, entries: Entries, row: Cells) -> Cells | None:
        """The entry of a row, None for NULL."""
        at = {one.name: cell for one, cell in zip(self.columns, row, strict=True)}
        return tuple(at[one.name] for one in entries.columns) if at[entries.value.name] is not None else None

    def reading(self, keys: Sequence[str], most: int) -> str:
        """The rows with these keys, written as tuples, and locked: as they are now."""
        return (
            f"SELECT {self.selected} FROM {self.place} WHERE ({names_of(self.keys)}) IN ({', '.join(keys)}) "
            f"LIMIT {most} FOR UPDATE"
        )


def names_of(columns: Iterable[Column]) -> str:
    return ", ".join(quoted(one.name) for one in columns)


def tuples(columns: Sequence[Column], rows: Iterable[Cells]) -> str:
    return ", ".join(tuple_of(columns, row) for row in rows)


def tuple_of(columns: Sequence[Column], row: Cells) -> str:
    cells = (one.literal(cell) for one, cell in zip(columns, row, strict=True) if cell is not None)
    return f"({', '.join(cells)})"


# --- from the live schema -----------------------------------------------------------------------------------


def owner_of(table: Table, schema: SchemaSnapshot | None) -> Owner:
    """A table that has lookups. Raises Refusal when one of them cannot be kept in step or read."""
    return owner_with(table, schema, stores=True)


def owner_with(table: Table, schema: SchemaSnapshot | None, *, stores: bool) -> Owner:
    """`stores`: the lookups' own tables have to be there. Raises Refusal."""
    try:
        return _owner(table, schema, stores=stores)
    except _Unfit as reason:
        raise _refused(table, str(reason)) from None
    except UnsupportedKey as reason:
        raise _refused(table, str(reason).replace("a sharding key", "looked up")) from None


def _refused(table: Table, why: str) -> Refusal:
    return refusal("LOOKUP_UNFIT", ", ".join(one.name for one in table.lookups), table.name, why)


class _Unfit(Exception):
    """Why a table's lookups cannot be used."""


def _owner(table: Table, schema: SchemaSnapshot | None, *, stores: bool) -> Owner:
    live = schema.table(table.name) if schema is not None else None
    if schema is None or live is None:
        raise _Unfit("the live schema is not known")
    for problem in _problems(table, live, schema):
        raise _Unfit(problem)
    values = [_column(live, one.column) for one in table.lookups]
    primary = next(key for key in live.unique_keys if key.primary)
    order = tuple(_column(live, name) for name in primary.columns)
    keys = _once((*(_column(live, name) for name in table.columns), *order))
    if any(not one.key.high for one in keys):
        raise _Unfit("a key column holds no characters")
    entries = tuple(
        _entries(one, value, keys, live, schema, stores) for one, value in zip(table.lookups, values, strict=True)
    )
    return Owner(table, order, keys, _once((*keys, *values)), entries)


def _problems(table: Table, live: LiveTable, schema: SchemaSnapshot) -> Iterator[str]:
    primary = next((key for key in live.unique_keys if key.primary and key.exact), None)
    if primary is None:
        yield "it has no primary key, by which rows are told apart"
        return
    if live.triggers:
        yield "it has triggers, which could change the column unseen"
    changing = next((one for one in live.foreign_keys if one.on_change), None)
    if changing is not None:
        yield f"foreign key {changing.name} changes its rows unseen ({changing.on_change})"
    names = (table.name, *table.columns, *primary.columns, *(one.column for one in table.lookups))
    if not all(name.isascii() for name in names):
        yield "names beyond ASCII are not the same bytes in every session"
    used = {name.lower() for name in (*table.columns, *primary.columns, *(one.column for one in table.lookups))}
    drifting = schema.drifting.get(table.name, frozenset())
    if drifting & {*used, "*"}:
        yield "its columns or unique keys are not the same on all shards"


def _once(columns: Iterable[Column]) -> tuple[Column, ...]:
    return tuple({one.name.lower(): one for one in columns}.values())


def _column(live: LiveTable, name: str) -> Column:
    column = live.column(name)
    if column is None:
        raise _Unfit(f"it has no column {name}")
    if column.generated:
        raise _Unfit(f"column {name} is generated")
    key = key_column_of(column.column_type, column.collation)
    charset = (column.collation or "").partition("_")[0] or None
    if charset == "binary" or is_integer(key.type):
        charset = None
    return Column(column.name, key, charset)


def _entries(
    lookup: Lookup, value: Column, keys: tuple[Column, ...], live: LiveTable, schema: SchemaSnapshot, stores: bool
) -> Entries:
    rest = tuple(one for one in keys if one.name != value.name)
    name = ""
    if lookup.unique:
        same = [key for key in live.unique_keys if _only(key.columns, value.name) and key.exact]
        if not same:
            raise _Unfit(f"lookup {lookup} is unique, and the table has no unique key over {value.name} alone")
        name = same[0].name
    entries = Entries(lookup, value, rest, name)
    if stores:
        _check_store(entries, live, schema)
    return entries


def _only(columns: Sequence[str], name: str) -> bool:
    return [one.lower() for one in columns] == [name.lower()]


def _check_store(entries: Entries, live: LiveTable, schema: SchemaSnapshot) -> None:
    lookup = entries.lookup
    store = schema.table(lookup.store)
    if store is None:
        raise _Unfit(f"table {lookup.store} does not exist: fairlead lookup create makes it")
    wanted = [_like(live.column(one.name)) for one in entries.columns]
    primary = next((key.columns for key in store.unique_keys if key.primary), ())
    own = (entries.value,) if lookup.unique else entries.columns
    if [_like(one) for one in store.columns] != wanted or primary != tuple(one.name for one in own):
        raise _Unfit(f"table {lookup.store} is not as it has to be: drop it and build the lookup anew")
    if schema.drifting.get(lookup.store):
        raise _Unfit(f"table {lookup.store} is not the same on all shards")


def _like(column: LiveColumn | None) -> tuple[str, str, str | None]:
    assert column is not None
    return column.name, column.column_type.lower(), column.collation


def _definition(live: LiveTable, column: Column) -> str:
    found = live.column(column.name)
    assert found is not None
    collation = f" CHARACTER SET {column.charset} COLLATE {found.collation}" if column.charset is not None else ""
    return f"{quoted(column.name)} {found.column_type}{collation} NOT NULL"


def places_of(entries: Entries, values: Iterable[Value]) -> dict[int, list[str]] | None:
    """Shard -> what is sought there. None: a value does not say what it equals, so every shard has to be asked."""
    found: dict[int, list[str]] = {}
    try:
        for value in values:
            try:
                text = entries.value.sought(value)
            except NoMatch:
                continue
            found.setdefault(entries.lookup.vindex.shard_of([entries.value.hashed(value)]), []).append(text)
    except KeyRefused:
        return None
    return found
