"""The JSON Schema is current, and agrees with the loader on what is well formed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import config
from config.schema import FILE, duration_text, schema, size_text, text
from tests.oracle.json_schema import problems

EXAMPLE = Path(config.__file__).with_name("example.yaml")
BAD = Path(__file__).parents[1] / "cases" / "config" / "bad"

SHAPE = [
    "unknown_top_level_key",
    "unknown_key_near",
    "key_in_the_wrong_place",
    "missing_keys",
    "missing_sections",
    "wrong_flavour",
    "password_in_the_open",
    "password_two_ways",
    "password_unknown_source",
    "unknown_plugin",
    "grant_malformed",
    "unknown_verb",
    "unknown_function",
    "function_missing",
    "unknown_table_kind",
    "duration_without_unit",
    "duration_malformed",
    "size_in_decimal_units",
    "number_expected",
    "number_too_small",
    "choice_misspelt",
    "list_where_a_value_belongs",
    "value_where_keys_belong",
]
"""Bad configurations whose mistake is one of shape, so that an editor can show it."""


class Editor(yaml.SafeLoader):
    """YAML 1.2 as editors read it: only true and false are booleans."""


Editor.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path):
    return yaml.load(path.read_text(), Loader=Editor)


def test_the_file_is_current():
    assert FILE.read_text() == text(), "run: python -m config.schema"


def test_it_is_json():
    assert json.loads(text()) == schema()


def test_the_example_fits():
    assert problems(read(EXAMPLE), schema()) == []


@pytest.mark.parametrize("name", SHAPE)
def test_mistakes_of_shape_show_in_an_editor(name):
    assert problems(read(BAD / f"{name}.yaml"), schema())


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.5, "500ms"), (5, "5s"), (60, "1m"), (5400, "90m"), (0, "0s"), (86400, "1d"), (0.0015, "0.0015s")],
)
def test_durations_are_written_as_people_do(seconds, expected):
    assert duration_text(seconds) == expected


@pytest.mark.parametrize(
    ("size", "expected"), [(1024, "1KiB"), (1 << 30, "1GiB"), (1500, "1500"), (64 << 20, "64MiB")]
)
def test_sizes_are_written_as_people_do(size, expected):
    assert size_text(size) == expected
