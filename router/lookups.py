"""Lookups: from a value of a column to the shard keys of its rows, kept by Fairlead in tables of its own.

An *entry* is a row of the lookup's table `store`: the value, the shard key and the primary key of the row that has it.
It lies on the shard that `vindex` finds for the value. A row whose value is NULL has none.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import LookupSettings
from config.words import LookupState
from router.vindexes.vindex import Vindex

PREFIX = "fairlead_lookup_"


@dataclass(frozen=True, slots=True)
class Lookup:
    """`keys`: the table's shard key. `ready`: reads may use it; writes keep it in step in any case."""

    name: str
    keyspace: str
    table: str
    column: str
    keys: tuple[str, ...]
    unique: bool
    ready: bool
    vindex: Vindex

    @property
    def store(self) -> str:
        """Its table's name."""
        return PREFIX + self.name

    def __str__(self) -> str:
        return self.name


def lookup_of(name: str, keyspace: str, given: LookupSettings, keys: tuple[str, ...], vindex: Vindex) -> Lookup:
    """Of settings that were checked."""
    ready = given.state is LookupState.READY
    return Lookup(name, keyspace, given.table, given.column, keys, given.unique, ready, vindex)
