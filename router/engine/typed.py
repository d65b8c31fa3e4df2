"""A recipe once the shards have described their columns: encoders and combinations of `_speedups.rows`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from _speedups.rows import Combine, Encoder
from router.engine.columns import DECIMAL, DOUBLE, LONGLONG, Column, parts_of
from router.engine.recipe import Combination, Key, Operand, Place, Recipe
from router.errors import refusal

_WHOLE = frozenset({"count", "and", "or", "xor", "distinct_count"})


def keys_of(recipe: Recipe) -> Iterator[Key]:
    """Every key of it."""
    yield from recipe.order
    yield from recipe.distinct or ()
    if recipe.group is not None:
        yield from recipe.group.keys or ()
        for one in recipe.group.combinations:
            yield from one.keys
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

    def place(self, place: Place) -> int:
        """The column's number."""
        return self.visible + place.number if place.helper else place.number
