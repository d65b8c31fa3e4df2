"""`fairlead lookup`: what it says when it cannot begin. What it does is in tests/proxy/test_lookups_world.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from cli.main import fairlead
from tests.router.test_looked_up import CONFIG


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("X", "secret")
    path = tmp_path / "fairlead.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "limits": {"connect": "200ms"}}, sort_keys=False))
    return path


def run(config: Path, *words: str) -> Result:
    verb, *rest = words
    return CliRunner().invoke(fairlead, ["lookup", verb, "-c", str(config), *rest])


def test_a_lookup_has_two_names(config: Path) -> None:
    found = run(config, "verify", "by_email")
    assert found.exit_code == 2 and "KEYSPACE.LOOKUP" in found.output


@pytest.mark.parametrize("verb", ["create", "backfill", "verify"])
def test_one_that_is_not_there_is_named(config: Path, verb: str) -> None:
    found = run(config, verb, "shop.by_name", "--format", "json")
    assert found.exit_code == 3
    assert json.loads(found.output) == {"ok": False, "error": "there is no lookup shop.by_name in the configuration"}


def test_servers_that_are_away_are_named(config: Path) -> None:
    found = run(config, "create", "shop.by_email")
    assert found.exit_code == 3 and "shard eu-0" in found.output


def test_every_verb_has_examples() -> None:
    for verb in ("create", "backfill", "verify"):
        text = CliRunner().invoke(fairlead, ["lookup", verb, "--help"]).output
        assert "fairlead lookup backfill -c" in text and "Exit codes" in text
