"""What changes from one configuration to another, in sentences.

Secrets are compared and never shown. What a change of sharding means for rows is `router.placement`'s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from config.option import DURATION, SIZE, Field, Option, fields_of
from config.schema import duration_text, size_text
from config.secrets import Password, Secret
from config.settings import Settings

_NOUNS = {
    "regions": "region",
    "shards": "shard",
    "keyspaces": "keyspace",
    "users": "user",
    "listeners": "listener",
    "tables": "table",
    "vindexes": "vindex",
    "lookups": "lookup",
    "domains": "domain",
    "classes": "class",
    "tags": "tag",
    "labels": "labels of",
    "columns": "column",
    "subjects": "subject",
    "rules": "rule",
    "budgets": "budget",
    "stores": "store",
    "patterns": "pattern",
    "accounts": "account",
}
"""Sections whose entries are things with names."""


def diff(old: Settings, new: Settings) -> list[str]:
    """'shard eu-2 is added', 'user demo: max_lag changes from 2s to 5s'; empty when nothing changes.

    The order of named things means nothing and is no change.
    """
    return _object_changes("", old, new)


def _object_changes(subject: str, old: Any, new: Any) -> list[str]:
    changes: list[str] = []
    for field in fields_of(type(old)):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after:
            changes += _field_changes(subject, field, before, after)
    return changes


def _field_changes(subject: str, field: Field, before: Any, after: Any) -> list[str]:
    if field.name == "policy" and (before is None or after is None):
        return ["policy is added" if before is None else "policy is removed"]
    if field.name in _NOUNS and _holds_things(before) and _holds_things(after):
        return _thing_changes(subject, _NOUNS[field.name], before, after)
    name = _joined(subject, field.name)
    if _same_class(before, after) and fields_of(type(before)):
        return _object_changes(name, before, after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return _entry_changes(name, field.option, before, after)
    return [_sentence(name, field.option, before, after)]


def _thing_changes(subject: str, noun: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    changes = [f"{_joined(subject, f'{noun} {name}')} is removed" for name in before if name not in after]
    for name, thing in after.items():
        title = _joined(subject, f"{noun} {name}")
        if name not in before:
            changes.append(f"{title} is added")
        elif not _same_class(before[name], thing):
            changes.append(f"{title} changes from {_kind(before[name])} to {_kind(thing)}")
        elif before[name] != thing:
            changes += _object_changes(title, before[name], thing)
    return changes


def _entry_changes(
    name: str, option: Option, before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[str]:
    changes = [
        _sentence(f"{name} {key}", option, value, after[key])
        for key, value in before.items()
        if key in after and value != after[key]
    ]
    changes += [f"{name}, gone: {_entry(key, before[key], option)}" for key in before if key not in after]
    changes += [f"{name}, new: {_entry(key, after[key], option)}" for key in after if key not in before]
    return changes


def _entry(key: str, value: Any, option: Option) -> str:
    return key if value is None else f"{key}: {shown(value, option)}"


def _sentence(name: str, option: Option, before: Any, after: Any) -> str:
    if option.secret:
        return f"{name} changes"
    if before is None:
        return f"{name} is set to {shown(after, option)}"
    if after is None:
        return f"{name} is no longer set, it was {shown(before, option)}"
    if isinstance(before, tuple) and isinstance(after, tuple) and set(before) != set(after):
        return f"{name} {_list_change(before, after, option)}"
    return f"{name} changes from {shown(before, option)} to {shown(after, option)}"


def _list_change(before: tuple[Any, ...], after: tuple[Any, ...], option: Option) -> str:
    lost = tuple(one for one in before if one not in after)
    gained = tuple(one for one in after if one not in before)
    parts = [f"gone: {shown(lost, option)}"] if lost else []
    return "changes, " + "; ".join([*parts, *([f"new: {shown(gained, option)}"] if gained else [])])


def shown(value: Any, option: Option) -> str:
    """A value in words, a secret as no more than that."""
    if isinstance(value, Secret | Password):
        return "a secret"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(shown(one, option) for one in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(one, option)}" for key, one in value.items()) + "}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and fields_of(type(value)):
        return _shown_object(value)
    if isinstance(value, float) and option.unit == DURATION:
        return duration_text(value)
    if isinstance(value, int) and option.unit == SIZE:
        return size_text(value)
    return "nothing" if value is None else str(value)


def _shown_object(value: Any) -> str:
    """Only what differs from the defaults."""
    parts = [
        f"{field.name}: {shown(getattr(value, field.name), field.option)}"
        for field in fields_of(type(value))
        if field.required or getattr(value, field.name) != field.default
    ]
    return "{" + ", ".join(parts) + "}"


def _holds_things(value: Any) -> bool:
    """Is it a mapping of names to objects with settings of their own?"""
    return isinstance(value, Mapping) and all(
        dataclasses.is_dataclass(one) and not isinstance(one, type) and fields_of(type(one))
        for one in value.values()
    )


def _same_class(before: Any, after: Any) -> bool:
    return type(before) is type(after) and dataclasses.is_dataclass(before)


def _kind(value: Any) -> str:
    return str(getattr(value, "function", None) or getattr(value, "kind", None) or type(value).__name__)


def _joined(subject: str, name: str) -> str:
    """'user demo: limits.connections'. What is in the policy is known by its own name."""
    if subject in ("", "policy"):
        return name
    last = subject.rpartition(": ")[2]
    return f"{subject}.{name}" if " " not in last else f"{subject}: {name}"
