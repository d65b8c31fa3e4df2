"""`list`: listed values -> shard."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from config.settings import ListVindex
from router.keys import Key, KeyColumn, KeyType
from router.vindexes.registry import Place
from router.vindexes.vindex import (
    Unmapped,
    Vindex,
    VindexKind,
    VindexTables,
    limits_of,
    types_of,
)
from router.vindexes.words import canonical_words


class List(Vindex):
    """Takes any key type; the listed words are compared as the column compares."""

    kind = VindexKind.LIST
    function = "list"

    def __init__(self, name: str, words: Mapping[str, int]) -> None:
        """`words`: value as written in the configuration -> shard index."""
        super().__init__(name, list(words.values()))
        self.words = tuple(words.items())

    def shard_of(self, keys: Sequence[Key]) -> int:
        shard = canonical_words(self.words, keys[0].type).get(keys[0].data)
        if shard is None:
            raise Unmapped("the vindex does not list this key")
        return shard

    def tables(self, columns: Sequence[KeyColumn]) -> VindexTables:
        self.check(columns)
        items = canonical_words(self.words, columns[0].type)
        return VindexTables(self.kind, types_of(columns), limits_of(columns), items=tuple(items.items()))

    def rules(self) -> Mapping[Hashable, int | str]:
        return dict(self.words)

    def describe(self, keys: Sequence[Key]) -> str:
        return "listed value"

    def _check_types(self, types: Sequence[KeyType]) -> None:
        canonical_words(self.words, types[0])


def build(name: str, settings: ListVindex, place: Place) -> List:
    return List(
        name,
        {value: place.shards[shard] for shard, values in settings.values.items() for value in values},
    )
