"""Bad configurations: each file of tests/cases/config/bad beside the whole message it must give."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import ConfigError
from config.load import load

FOLDER = Path(__file__).parents[1] / "cases" / "config" / "bad"
CASES = sorted(FOLDER.glob("*.yaml"))


def comparable(text: str) -> list[str]:
    """The YAML parser's own words are its own; that and where it stumbled is what counts."""
    return [
        line.partition("not valid YAML")[0] + "not valid YAML" if "not valid YAML" in line else line
        for line in text.splitlines()
    ]


def test_there_are_enough_cases():
    assert len(CASES) >= 40
    assert {case.stem for case in CASES} == {text.stem for text in FOLDER.glob("*.txt")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_message(case):
    with pytest.raises(ConfigError) as refused:
        load(case, environment={})
    text = str(refused.value).replace(f"{FOLDER}/", "")
    assert comparable(text) == comparable(case.with_suffix(".txt").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_every_mistake_names_file_and_line(case):
    with pytest.raises(ConfigError) as refused:
        load(case, environment={})
    for mistake in refused.value.mistakes:
        assert mistake.file == case and mistake.line is not None and mistake.message


def test_the_error_carries_its_first_mistake():
    with pytest.raises(ConfigError) as refused:
        load(FOLDER / "unknown_key_near.yaml", environment={})
    error = refused.value
    assert (error.file, error.line, error.key) == (FOLDER / "unknown_key_near.yaml", 4, "shards.eu-0.flavor")
    assert (error.message, error.hint) == ("unknown key", "Did you mean flavour?")
