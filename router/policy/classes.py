"""The lattice of data classes: a chain of levels times the subsets of a few regime tags.

A class is numbered `level << tags | set of tags as bits`, so that joining is a maximum and an OR, and 0 is the
bottom. Being a product of two lattices it is one, whatever levels and tags are configured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from config.policy import DEFAULT_CLASSES, PolicySettings
from router.policy.model import ClassId


@dataclass(frozen=True, slots=True)
class Classes:
    """`levels` in rising order, `tags` in the order of their bits."""

    levels: tuple[str, ...]
    tags: tuple[str, ...] = ()

    @classmethod
    def of(cls, policy: PolicySettings) -> Classes:
        return cls(tuple(policy.classes or DEFAULT_CLASSES), tuple(policy.tags))

    @property
    def bottom(self) -> ClassId:
        return 0

    @property
    def top(self) -> ClassId:
        """The highest level with all tags."""
        return (len(self.levels) << len(self.tags)) - 1

    def __len__(self) -> int:
        return len(self.levels) << len(self.tags)

    def level(self, cls: ClassId) -> int:
        return cls >> len(self.tags)

    def tags_of(self, cls: ClassId) -> tuple[str, ...]:
        return tuple(tag for bit, tag in enumerate(self.tags) if cls >> bit & 1)

    def join(self, one: ClassId, other: ClassId) -> ClassId:
        mask = (1 << len(self.tags)) - 1
        return max(one & ~mask, other & ~mask) | ((one | other) & mask)

    def dominates(self, high: ClassId, low: ClassId) -> bool:
        return self.join(high, low) == high

    def join_all(self, classes: Iterable[ClassId]) -> ClassId:
        """The join of any number; of none, the bottom."""
        result = self.bottom
        for one in classes:
            result = self.join(result, one)
        return result

    def named(self, names: Iterable[str]) -> ClassId:
        """The class of a label, `('personal', 'us_health')`. Raises KeyError for unknown names; tags without a
        level are of the highest."""
        level, tags = None, 0
        for name in names:
            if name in self.tags:
                tags |= 1 << self.tags.index(name)
            elif name in self.levels:
                level = max(level or 0, self.levels.index(name))
            else:
                raise KeyError(name)
        return (len(self.levels) - 1 if level is None else level) << len(self.tags) | tags

    def name(self, cls: ClassId) -> str:
        """'personal+us_health'."""
        return "+".join((self.levels[self.level(cls)], *self.tags_of(cls)))

    def components(self, cls: ClassId) -> tuple[str, ...]:
        """What rules are asked about, each for itself: the level unless it is the lowest, and the tags."""
        level = self.level(cls)
        return ((self.levels[level],) if level else ()) + self.tags_of(cls)

    def __iter__(self) -> Iterator[ClassId]:
        return iter(range(len(self)))
