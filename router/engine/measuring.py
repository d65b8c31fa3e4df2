"""What shards measure of their parts of a table, as one server would measure the whole: SHOW TABLE STATUS, SHOW INDEX,
and what of information_schema tells the same: TABLES, PARTITIONS, STATISTICS.

What adds up is added, what is computed is computed from the sums, and what no rule tells is NULL, which is how a server
says that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from _speedups.packet import split_packets
from _speedups.rows import Shape, with_cells
from router.engine.budget import Budget
from router.engine.columns import INTEGERS, LONGLONG, SHORT, TINY, YEAR, Column
from router.engine.cursor import Cursor
from router.engine.recipe import Measured, Part
from router.errors import refusal
from router.lookups import PREFIX

Value: TypeAlias = int | bytes | None
Values: TypeAlias = dict[str, Value]
"""By the columns' names as of `_called`; numbers as such, all else as it lies."""
SUMS = ("rows", "data_length", "index_length", "data_free")
LATEST = ("auto_increment", "update_time", "modified")
"""The largest that any shard has: as on the server that has all rows."""
EARLIEST = ("create_time", "created")
SAME = ("max_data_length", "checksum", "originator", "cardinality")
"""Told where all shards tell the same."""
APART = (*LATEST, *EARLIEST, *SAME)
"""What shards may tell differently of what is the same on all of them."""
STATUS = (*SUMS, "avg_row_length", *LATEST, *EARLIEST, "check_time", *SAME)
_KEYS = {
    "status": ("name",),
    "partitions": ("name", "partition_name", "subpartition_name"),
    "index": ("name", "key_name", "seq_in_index"),
}
"""What tells a table's rows apart."""
_CALLED = {
    "table": "name", "table_name": "name", "table_rows": "rows", "index_name": "key_name", "nullable": "null",
}  # fmt: skip
"""Columns that SHOW and information_schema call by different names."""
OURS = PREFIX.encode()
PACKET_HEAD = 4
_SIZES = {TINY: 1, SHORT: 2, YEAR: 2, LONGLONG: 8}


@dataclass(slots=True)
class Row:
    """A row of one shard: its packet, and what is in it."""

    packet: bytes
    values: Values


@dataclass(slots=True)
class Measures:
    """Gathers all shards' rows, then says the whole's."""

    measured: Measured
    columns: Sequence[Column]
    shape: Shape
    binary: bool
    _shards: dict[str, dict[tuple[Value, ...], Row]] = field(default_factory=dict)
    held: int = 0

    def feed(self, shard: str, packets: bytes) -> None:
        if self.measured.form == "names" and self._shards and shard not in self._shards:
            return
        key = _KEYS.get(self.measured.form) or self._alike
        rows = self._shards.setdefault(shard, {})
        for sequence, payload in split_packets(packets):
            values = self._values(self.shape.cells(payload))
            if self._is_ours(values):
                continue
            packet = len(payload).to_bytes(3, "little") + bytes([sequence]) + payload
            rows[tuple(values.get(name) for name in key)] = Row(packet, values)
        self.held += 4 * len(packets)

    def rows(self) -> bytearray:
        """The whole's rows, in the order of the first shard. Raises Refusal for what is not the same on all."""
        wanted = {"index": ("cardinality",), "same": APART, "names": ()}.get(self.measured.form, STATUS)
        numbers = [at for at, column in enumerate(self.columns) if _called(column) in wanted]
        read = {"index": self._indexes, "same": self._same, "names": self._same}.get(self.measured.form, self._tables)
        found = list(read())
        cells = [[self._cell(self.columns[at], values) for at in numbers] for _, values in found]
        return with_cells(self.shape, b"".join(packet for packet, _ in found), numbers, cells)

    def _keys(self) -> list[tuple[Value, ...]]:
        """The first shard's order, unless it lacks some: then by name, as servers list them."""
        first, *others = self._shards.values()
        more = {key for rows in others for key in rows} - first.keys()
        return sorted([*first, *more], key=lambda key: bytes(key[0] or b"").lower()) if more else list(first)

    def _held(self) -> Iterator[tuple[Part | None, tuple[Value, ...], dict[str, Row]]]:
        """Each row's table, as it is declared, its key, and the row by shard."""
        declared = {one.name: one for one in self.measured.tables}
        for key in self._keys():
            found = {shard: rows[key] for shard, rows in self._shards.items() if key in rows}
            name = key[0]
            yield declared.get(name.decode("utf-8", "replace") if isinstance(name, bytes) else ""), key, found

    def _is_ours(self, values: Values) -> bool:
        """Of a table that holds a lookup? SHOW TABLES has the name in its first column."""
        name = values.get("name", values[_called(self.columns[0])])
        return isinstance(name, bytes) and name.startswith(OURS)

    @property
    def _alike(self) -> tuple[str, ...]:
        return tuple(name for name in map(_called, self.columns) if name not in APART)

    def _same(self) -> Iterator[tuple[bytes, Values]]:
        (name, first), *others = self._shards.items()
        for other, rows in others:
            if rows.keys() != first.keys():
                raise refusal("SHARDS_DIFFER", name, other)
        for key, row in first.items():
            yield row.packet, _apart([rows[key].values for rows in self._shards.values()])

    def _tables(self) -> Iterator[tuple[bytes, Values]]:
        for table, _, found in self._held():
            first = next(iter(found.values()))
            if table is None:
                whole = first.values if _equal(found.values()) else dict.fromkeys(first.values)
            elif table.copies:
                first = next((found[shard] for shard in table.shards if shard in found), first)
                whole = first.values
            elif all(shard in found for shard in table.shards):
                first = found[table.shards[0]]
                whole = _status([found[shard].values for shard in table.shards])
            else:
                whole = dict.fromkeys(first.values)
            yield first.packet, whole

    def _indexes(self) -> Iterator[tuple[bytes, Values]]:
        """Distinct values add up where no value is on two shards: with the shard key among them, and of a unique index
        without NULLs."""
        for table, key, found in self._held():
            first = next(iter(found.values()))
            if table is not None and table.copies:
                first = next((found[shard] for shard in table.shards if shard in found), first)
                yield first.packet, first.values
                continue
            shards = table.shards if table is not None else ()
            apart = self.measured.whole and table is not None and self._apart(table, key)
            given = [found[shard].values for shard in shards if shard in found]
            if table is None and _equal(found.values()):
                given, apart = [first.values], True
            whole = apart and len(given) == max(len(shards), 1)
            yield first.packet, {"cardinality": _sum(given, "cardinality") if whole else None}

    def _apart(self, table: Part, key: tuple[Value, ...]) -> bool:
        """Can no value of the index up to this column be on two of the table's shards?"""
        if len(table.shards) == 1:
            return True
        rows = self._shards.get(table.shards[0], {})
        parts = [row.values for other, row in rows.items() if other[:-1] == key[:-1]]
        until = [part for part in parts if _number(part, "seq_in_index") <= _place(key)]
        names = {bytes(part["column_name"] or b"").decode().lower() for part in until if part["sub_part"] is None}
        if table.key and names.issuperset(name.lower() for name in table.key):
            return True
        unique = all(_number(part, "non_unique") == 0 and part["null"] != b"YES" for part in parts)
        return unique and len(until) == len(parts)

    def _values(self, cells: Sequence[bytes | None]) -> Values:
        return {_called(column): self._read(column, cell) for column, cell in zip(self.columns, cells, strict=True)}

    def _read(self, column: Column, cell: bytes | None) -> Value:
        if cell is None or column.type not in INTEGERS:
            return cell
        return int.from_bytes(cell, "little") if self.binary else int(cell)

    def _cell(self, column: Column, values: Values) -> bytes | None:
        value = values.get(_called(column))
        if not isinstance(value, int):
            return value
        return value.to_bytes(_SIZES.get(column.type, 4), "little") if self.binary else b"%d" % value


async def measure(cursors: Sequence[Cursor], names: Sequence[str], measures: Measures, budget: Budget) -> bytearray:
    """All rows of all shards, as the whole's. Raises Refusal beyond the budget."""
    for name, cursor in zip(names, cursors, strict=True):
        measures.feed(name, b"")
        while (rows := await cursor.rows()) is not None:
            measures.feed(name, bytes(rows))
            budget.hold(measures.held)
    return measures.rows()


def _called(column: Column) -> str:
    name = column.name.lower()
    return _CALLED.get(name, name)


def _place(key: tuple[Value, ...]) -> int:
    place = key[-1]
    return place if isinstance(place, int) else 0


def _status(given: Sequence[Values]) -> Values:
    """A table's measures, of those of its parts."""
    whole: Values = {name: _sum(given, name) for name in SUMS}
    rows, size = whole["rows"], whole["data_length"]
    if isinstance(rows, int) and isinstance(size, int):
        whole["avg_row_length"] = size // rows if rows else 0
    checked = all(one.get("check_time") is not None for one in given)
    whole["check_time"] = _extreme(given, "check_time", min) if checked else None
    return whole | _apart(given)


def _apart(given: Sequence[Values]) -> Values:
    """What shards may tell differently."""
    whole = {name: _extreme(given, name, max) for name in LATEST}
    whole |= {name: _extreme(given, name, min) for name in EARLIEST}
    return whole | {name: given[0].get(name) if len({one.get(name) for one in given}) == 1 else None for name in SAME}


def _sum(given: Sequence[Values], name: str) -> Value:
    found = [one.get(name) for one in given]
    numbers = [one for one in found if isinstance(one, int)]
    if len(numbers) < len(found) or not numbers:
        return None
    return sum(numbers)


def _extreme(given: Sequence[Values], name: str, choose: Callable[..., Value]) -> Value:
    """Of those that are there. Times lie as text, or in binary as of `_moment`."""
    found = [one[name] for one in given if one.get(name) is not None]
    return choose(found, key=_moment) if found else None


def _moment(value: int | bytes) -> tuple[int, bytes]:
    """Of a binary time the year comes first, its low byte before the high one."""
    if isinstance(value, int):
        return value, b""
    if value[:4].isdigit():
        return 0, value
    return int.from_bytes(value[:2], "little"), value[2:]


def _number(values: Values, name: str) -> int:
    value = values.get(name)
    if not isinstance(value, int):
        raise refusal("SHARDS_DISAGREE", f"that have no number as {name}")
    return value


def _equal(rows: Iterable[Row]) -> bool:
    return len({row.packet[PACKET_HEAD:] for row in rows}) == 1
