"""Secrets that stand in the configuration itself. A version in the metastore must hold none: it goes to many places."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from config.errors import Mistake
from config.findings import Findings, KeyPath
from config.option import fields_of
from config.secrets import Password, Secret, SecretSource
from config.settings import Settings


def inline_secrets(settings: Settings) -> list[Mistake]:
    """Where they stand. What a server would store of a password (`sha256`, `native`) is no secret."""
    findings = Findings()
    for path, place in settings.places.items():
        findings.saw(path, place)
    for at in _inline(settings, ()):
        findings.add(at, "a version in the metastore holds no secrets", "Refer to it: {env: NAME} or {file: PATH}")
    return list(findings.mistakes)


def _inline(value: Any, at: KeyPath) -> Iterator[KeyPath]:
    if isinstance(value, Password):
        value = value.clear
    if isinstance(value, Secret):
        if value.source is SecretSource.VALUE:
            yield at
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _inline(one, (*at, str(name)))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in fields_of(type(value)):
            yield from _inline(getattr(value, field.name), (*at, field.name))
