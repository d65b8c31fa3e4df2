"""A recipe once the shards have described their columns: encoders and combinations of `_speedups.rows`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from _speedups.rows import Combine, Encoder
from router.engine.collecting import Collector, JsonArray, JsonObject, Texts
from router.engine.columns import DECIMAL, DOUBLE, JSON, LONGLONG, Column, parts_of
from router.engine.recipe import Combination, Key, Operand, Place, Recipe
from router.errors import refusal

COLLECTED = frozenset({"texts", "array", "object"})
_WHOLE = frozenset({"count", "and", "or", "xor", "distinct_count"})


def keys_of(recipe: Recipe) -> Iterator[Key]:
    """Every key of it."""
    yield from recipe.order
    yield from recipe.distinct or ()
    if recipe.group is not None:
        yield from recipe.group.keys or ()
        for one in recipe.group.combinations:
            yield from one.keys
            yield from one.order
        for source in recipe.group.sources:
            if isinstance(source, Operand) and source.key is not None:
                yield source.key


@dataclass(frozen=True, slots=True)
class Typed:
    """`columns`: all that shards give, the first `visible` ones are the client's. `collations`: of 'auto' keys, by
    their first helper."""

    columns: Sequence[Column]
    visible: int
    collations: Mapping[int, str]
    binary: bool

    def encoder(self, keys: Sequence[Key]) -> Encoder:
        """Raises Refusal for values that cannot be compared here."""
        told = [self.collations.get(key.helper) for key in keys if key.form == "auto"]
        return Encoder(parts_of(keys, self.columns, self.visible, told, binary=self.binary), self.binary)

    def combine(self, one: Combination) -> Combine:
        """Raises Refusal for values that cannot be put together here."""
        at = self.place(one.at)
        if one.how in COLLECTED:
            return self._collect(one, at)
        sources = tuple(self.visible + helper for helper in one.sources)
        column = self.columns[at]
        summed = self.columns[sources[0]] if one.how in ("average", "distinct_average") else column
        wanted = {LONGLONG} if one.how in _WHOLE else {DOUBLE} if one.how == "deviation" else {DECIMAL, DOUBLE}
        if not one.how.startswith("m") and not {column.type, summed.type} <= wanted:
            raise refusal("MERGE_TYPE", column.name)
        if "average" in one.how and column.type != summed.type:
            raise refusal("MERGE_TYPE", column.name)
        return Combine(
            one.how, at, sources, self.encoder(one.keys) if one.keys else None, real=summed.type == DOUBLE,
            scale=summed.decimals, decimals=column.decimals, sample=one.sample, root=one.root,
        )  # fmt: skip

    def _collect(self, one: Combination, at: int) -> Combine:
        json = self.columns[at].type == JSON
        make: dict[str, Callable[[], Collector]] = {
            "texts": partial(Texts, binary=self.binary, distinct=one.distinct),
            "array": partial(JsonArray, binary=self.binary, limited=not json),
            "object": partial(JsonObject, listed=not json),
        }
        own = () if one.how == "texts" else (at,)
        sources = (*own, *(self.visible + helper for helper in one.sources))
        return Combine(
            "collect", at, (sources[0],), self.encoder(one.keys), order=self.encoder(one.order), taken=list(sources),
            collector=make[one.how],
        )  # fmt: skip

    def place(self, place: Place) -> int:
        """The column's number."""
        return self.visible + place.number if place.helper else place.number
