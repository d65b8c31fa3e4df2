"""The reference of all settings, docs/configuration.md, drawn from `config.settings`.

`python -m config.manual` writes it; a test keeps it current. The commented example shows how settings are
used, this lists what there is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from config.option import DURATION, SIZE, Field, fields_of
from config.schema import duration_text, size_text
from config.settings import Settings

FILE = Path(__file__).parents[1] / "docs" / "configuration.md"

_INTRODUCTION = """\
# Settings

Every setting, its meaning and its default. `fairlead example` prints a commented configuration that uses
them all; `fairlead example --schema` prints a JSON Schema for editors.

One YAML file, or a folder of them that is read as one. Durations are written `500ms`, `5s`, `1h30m`;
sizes `16KiB`, `64MiB`; secrets by reference, `{env: NAME}`, `{file: PATH}` or `{value: TEXT}`; paths
relative to the file that names them. Unknown keys are mistakes. `fairlead check -c FILE` names every
mistake with its line.

`NAME` stands for a name of your own. *needed* settings have no default; what has the default *not set*
says in its meaning what then happens.
"""


def text() -> str:
    """The whole page."""
    return _INTRODUCTION + "".join(_section(title, cls) for title, cls in _sections("", Settings))


def _sections(title: str, cls: type) -> Iterator[tuple[str, type]]:
    yield title, cls
    for field in fields_of(cls):
        for suffix, inner in _classes(field.type):
            yield from _sections(f"{title}.{field.name}{suffix}".lstrip("."), inner)


def _classes(kind: Any, suffix: str = "") -> Iterator[tuple[str, type]]:
    """The settings classes inside a type, and how a key of them is written."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if fields_of(kind):
            yield suffix, kind
        return
    arguments = [one for one in get_args(kind) if one is not type(None) and one is not Ellipsis]
    if get_origin(kind) is Mapping:
        yield from _classes(arguments[1], f"{suffix}.NAME")
    elif get_origin(kind) is tuple:
        yield from _classes(arguments[0], f"{suffix}[]")
    elif get_origin(kind) in (Union, UnionType):
        for one in arguments:
            yield from _classes(one, suffix if len(arguments) == 1 else f"{suffix} ({_tag(one)})")


def _tag(cls: type) -> str:
    """`kind: sharded`: what tells classes of one place apart."""
    for field in fields_of(cls):
        if get_origin(field.type) is Literal:
            return f"{field.name}: {get_args(field.type)[0]}"
    return cls.__name__


def _section(title: str, cls: type) -> str:
    heading = f"\n## {title}\n" if title else "\n## The whole file\n"
    about = " ".join((cls.__doc__ or "").split())
    lines = [heading, "" if about.startswith(cls.__name__ + "(") else about, ""]
    lines += ["| setting | meaning | default |", "|---|---|---|"]
    lines += [_row(field) for field in fields_of(cls) if get_origin(field.type) is not Literal]
    return "\n".join(lines) + "\n"


def _row(field: Field) -> str:
    meaning = field.option.meaning.replace("|", "\\|")
    return f"| `{field.name}` | {meaning}{_limits(field)} | {_default(field)} |"


def _limits(field: Field) -> str:
    words = _words(field.type)
    if words:
        return f" Choices: {', '.join(f'`{word}`' for word in words)}."
    low, high = (_shown(bound, field) for bound in (field.option.low, field.option.high))
    if low and high:
        return f" {low} to {high}."
    return f" At least {low}." if low else ""


def _words(kind: Any) -> list[str]:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return [word.value for word in kind]
    return [word for one in get_args(kind) for word in _words(one)]


def _default(field: Field) -> str:
    if field.required:
        return "*needed*"
    default = field.default
    if dataclasses.is_dataclass(default):
        return "see below"
    if default is None or (isinstance(default, Mapping | tuple) and not default):
        return "*not set*" if default is None else "none"
    if isinstance(default, tuple):
        return ", ".join(f"`{one}`" for one in default)
    return f"`{_shown(default, field)}`"


def _shown(value: Any, field: Field) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if field.option.unit == DURATION:
        return duration_text(value)
    if field.option.unit == SIZE:
        return size_text(value)
    return str(value)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
