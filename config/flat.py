"""A configuration as dotted keys and values in words; secrets by their reference, never by their value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from config.diff import shown
from config.findings import KeyPath, dotted
from config.option import Field, Option, fields_of
from config.secrets import Password, Secret
from config.settings import Settings


class Entry(NamedTuple):
    """`path` is that of `Settings.places`; `is_default`: nobody has to have written it."""

    key: str
    value: str
    is_default: bool
    path: KeyPath


def flat(settings: Settings) -> Iterator[Entry]:
    """Every setting of the configuration, in the order of the settings' classes."""
    yield from _object(settings, ())


def _object(value: Any, path: KeyPath) -> Iterator[Entry]:
    for field in fields_of(type(value)):
        yield from _value(getattr(value, field.name), (*path, field.name), field)


def _value(value: Any, path: KeyPath, field: Field) -> Iterator[Entry]:
    if isinstance(value, Secret | Password):
        yield Entry(dotted(path), reference(value), False, path)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _value(one, (*path, str(name)), field)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type) and fields_of(type(value)):
        yield from _object(value, path)
    elif value is not None:
        is_default = not field.required and value == field.default
        yield Entry(dotted(path), _plain(value, field.option), is_default, path)


def _plain(value: Any, option: Option) -> str:
    return "(a secret)" if option.secret else shown(value, option)


def reference(secret: Secret | Password) -> str:
    """Where it comes from: 'env DB_PASSWORD', 'file /run/…'."""
    if isinstance(secret, Secret):
        return f"({secret})"
    forms = {form: getattr(secret, form) for form in ("clear", "sha256", "native")}
    return ", ".join(f"{form} ({one})" for form, one in forms.items() if one is not None)
