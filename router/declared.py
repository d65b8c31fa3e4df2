"""Do the declared column types suit the sharding functions? What can be known without asking a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from config.errors import ConfigError, Mistake, Place
from config.findings import dotted
from router.keys import KeyColumn, UnsupportedKey, compatible, key_column_of
from router.vindexes.vindex import VindexMismatch

if TYPE_CHECKING:
    from router.topology import Keyspace, Table


def check_declared(keyspaces: Iterable[Keyspace], places: Mapping[tuple[str, ...], Place]) -> None:
    """Raises ConfigError with every mistake. `places` are the settings', for the lines."""
    mistakes = [
        _mistake(table, message, places)
        for keyspace in keyspaces
        for table, message in _keyspace_mistakes(keyspace)
    ]
    if mistakes:
        raise ConfigError(mistakes)


def _keyspace_mistakes(keyspace: Keyspace) -> Iterator[tuple[Table, str]]:
    first: dict[str, tuple[Table, list[KeyColumn]]] = {}
    for table in keyspace.tables.values():
        try:
            columns = _declared_columns(table)
            if columns is None or table.vindex is None:
                continue
            table.vindex.check(columns)
        except (UnsupportedKey, VindexMismatch) as reason:
            yield table, str(reason)
            continue
        other, others = first.setdefault(table.vindex.name, (table, columns))
        if not all(compatible(one.type, two.type) for one, two in zip(columns, others, strict=True)):
            yield (
                table,
                f"its columns and those of {other.name} do not compare alike, though both are sharded by "
                f"{table.vindex.name}",
            )


def _declared_columns(table: Table) -> list[KeyColumn] | None:
    """None unless the type of every column is declared."""
    types = [kind for kind in table.types if kind is not None]
    if len(types) < len(table.types) or not types:
        return None
    return [key_column_of(kind.column_type, kind.collation) for kind in types]


def _mistake(table: Table, message: str, places: Mapping[tuple[str, ...], Place]) -> Mistake:
    path: tuple[str, ...] = ("keyspaces", table.keyspace, "tables", table.name, "columns")
    place = places.get(path)
    return Mistake(place.file if place else None, place.line if place else None, dotted(path), message)
