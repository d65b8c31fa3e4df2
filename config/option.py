"""What a setting says about itself: meaning, unit, bounds.

Every field of `config.settings` is `Annotated[type, Option(...)]`. The loader, the JSON Schema, the tests of
the example file and the messages of mistakes are all drawn from this one description.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass
from typing import Any

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

DURATION = "duration"
SIZE = "size"
PATH = "path"
NETWORK = "network"

REQUIRED = dataclasses.MISSING


@dataclass(frozen=True, slots=True)
class Option:
    """The description of one setting.

    `unit` picks how the text is read: DURATION ('5s' -> float seconds), SIZE ('64MiB' -> int bytes),
    PATH (relative to the file that names it), NETWORK (an address or CIDR prefix), None (as the type says).
    `low` and `high` are inclusive, in the unit that is stored.
    """

    meaning: str
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One setting of a settings class, as the loader and the schema see it."""

    name: str
    type: Any
    option: Option
    default: Any

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


def fields_of(cls: type) -> tuple[Field, ...]:
    """The fields of a settings class, in order. A field without an `Option` is not part of the file."""
    return _fields_of(cls)


def short_of(cls: type) -> str | None:
    """The field that a value alone stands for: `db1:3306` for `{address: db1:3306}`. None: there is none."""
    short: str | None = getattr(cls, "short", None)
    return short


@functools.cache
def _fields_of(cls: Any) -> tuple[Field, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(
        Field(field.name, bare, option, _default(field))
        for field in dataclasses.fields(cls)
        for bare, option in [_split(hints[field.name])]
        if option is not None
    )


def _split(hint: Any) -> tuple[Any, Option | None]:
    if typing.get_origin(hint) is typing.Annotated:
        bare, *notes = typing.get_args(hint)
        return bare, next((note for note in notes if isinstance(note, Option)), None)
    return hint, None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
