"""The sharding functions by name. One function, one file, one line in `router.vindexes`.

A builder turns the settings of a vindex into the function, given where it stands (`Place`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from config.settings import VindexSettings
from router.vindexes.vindex import Vindex


@dataclass(frozen=True, slots=True)
class Place:
    """What a function may know of its keyspace.

    `shards`: the keyspace's shards, name -> index in the topology, in the keyspace's order. `homes`: the
    region of each of them, by name.
    """

    shards: Mapping[str, int]
    homes: Mapping[str, str]

    def in_region(self, region: str) -> list[int]:
        return [index for name, index in self.shards.items() if self.homes[name] == region]


Builder = Callable[[str, Any, Place], Vindex]

_builders: dict[str, Builder] = {}


def register(function: str, builder: Builder) -> None:
    """Adds a function. Raises ValueError when the name is taken."""
    if function in _builders:
        raise ValueError(f"the sharding function {function} is already registered")
    _builders[function] = builder


def functions() -> tuple[str, ...]:
    """The names of all functions."""
    return tuple(_builders)


def build(name: str, settings: VindexSettings, place: Place) -> Vindex:
    """The vindex `name` of a keyspace."""
    return _builders[settings.function](name, settings, place)
