"""The commented example is complete, current and true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import config
from config import parse
from config.load import load
from config.option import DURATION, SIZE, Field, fields_of
from config.settings import Settings
from config.words import (
    AdminRole,
    AuditMode,
    AuthPlugin,
    Consistency,
    Failover,
    Flavour,
    Hint,
    LogFormat,
    LogLevel,
    Mask,
    MultiShardWrites,
    Operation,
    Scatter,
    SessionScope,
    StoreKind,
    TlsMode,
    TlsVersion,
    Verb,
)

EXAMPLE = Path(config.__file__).with_name("example.yaml")
TEXT = EXAMPLE.read_text()


def settings_classes(kind: Any = Settings) -> list[type]:
    """Every settings class that the file's structure reaches."""
    found: list[type] = []
    for field in fields_of(kind):
        for inner in classes_in(field.type):
            found += [inner, *settings_classes(inner)]
    return found


MODULES = ("config.admin", "config.audit", "config.settings", "config.policy")


def classes_in(kind: Any) -> list[type]:
    if isinstance(kind, type) and getattr(kind, "__module__", "") in MODULES:
        return [kind] if fields_of(kind) else []
    return [one for arg in get_args(kind) for one in classes_in(arg)]


ALL_FIELDS = sorted(
    {
        (cls.__name__, field.name): field
        for cls in {Settings, *settings_classes()}
        for field in fields_of(cls)
    }.items()
)


def test_it_loads():
    loaded = load(EXAMPLE, secrets=False)
    assert load(EXAMPLE, secrets=False, region="us").region == "us" or loaded


def test_it_loads_in_the_other_region_too():
    assert load(EXAMPLE, region="us", secrets=False).region == "us"


def test_it_says_which_schema_it_follows():
    assert "$schema=fairlead.schema.json" in TEXT


@pytest.mark.parametrize(
    ("name", "field"), ALL_FIELDS, ids=lambda v: ".".join(v) if isinstance(v, tuple) else ""
)
def test_every_setting_appears(name: tuple[str, str], field: Field):
    assert re.search(rf"(^|[\s{{,#]){field.name}:", TEXT, re.MULTILINE), (
        f"{'.'.join(name)} is not in the example"
    )


@pytest.mark.parametrize(
    ("name", "field"), ALL_FIELDS, ids=lambda v: ".".join(v) if isinstance(v, tuple) else ""
)
def test_every_setting_has_a_meaning(name, field):
    assert field.option.meaning.endswith(".") and len(field.option.meaning) > 8


SHOWN_BUT_UNSET = {"ca", "metastore", "version", "buckets", "store"}
"""Commented examples of options whose default is to be unset; the comment above them says so."""

NAMES = {name for (_, name), _ in ALL_FIELDS} - SHOWN_BUT_UNSET


def commented_defaults() -> list[tuple[str, str]]:
    """`# name: value` lines: they promise to show the default."""
    lines = re.findall(r"^\s*# ([a-z_]+): ([^#\n]+?)\s*$", TEXT, re.MULTILINE)
    return [(name, value) for name, value in lines if name in NAMES]


@pytest.mark.parametrize(("name", "value"), commented_defaults())
def test_commented_lines_show_the_default(name, value):
    fields = [field for (_, one), field in ALL_FIELDS if one == name and not field.required]
    assert any(same(value, field) for field in fields), f"{name}: {value} is not the default"


def same(shown: str, field: Field) -> bool:
    if field.option.unit == DURATION:
        return field.default is not None and parse.duration(shown) == field.default
    if field.option.unit == SIZE:
        return parse.size(shown) == field.default
    value = yaml.safe_load(shown)
    if value is True or value is False:
        value = {True: ("on", True), False: ("off", False)}[value]
        return field.default in value
    return value == (list(field.default) if isinstance(field.default, tuple) else field.default)


def test_there_are_commented_defaults():
    assert len(commented_defaults()) > 30


@pytest.mark.parametrize(
    "words",
    [
        AdminRole,
        AuditMode,
        AuthPlugin,
        Consistency,
        Failover,
        Flavour,
        Hint,
        LogFormat,
        LogLevel,
        Mask,
        MultiShardWrites,
        Operation,
        Scatter,
        SessionScope,
        StoreKind,
        TlsMode,
        TlsVersion,
        Verb,
    ],
    ids=lambda words: words.__name__,
)
def test_every_choice_is_named(words):
    missing = [word.value for word in words if not re.search(rf"\b{re.escape(word.value)}\b", TEXT)]
    assert not missing
