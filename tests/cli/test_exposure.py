"""`fairlead exposure`, and what `fairlead explain` says of budgets."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from cli.main import fairlead
from ops.exposure import Flow, Step
from ops.ledger import Charge, Ledger, ledger_of

POLICY = {
    "domains": {"eea": {"regions": ["eu"]}, "usa": {"regions": ["us"]}},
    "labels": {"shop": {"classes": "public", "tables": {"people": {
        "classes": "public", "columns": {"email": {"classes": "personal", "mask": "email"}}, "person": "id"}}}},
    "subjects": {"abroad": {"users": ["reader"], "domain": "usa"}},
    "rules": {"masked": {"classes": "personal", "homes": "eea", "domains": "usa", "then": "mask", "budget": "bulk"}},
    "budgets": {"bulk": {"persons": 100, "warn": 50}},
}  # fmt: skip
PEOPLE = {"kind": "sharded", "vindex": "by_id", "columns": {"id": "bigint"}}
ACCOUNT = {"user": "fairlead", "password": {"env": "X"}}
SCHEMA = "CREATE TABLE people (id BIGINT PRIMARY KEY, email VARCHAR(100));"
FLOW = Flow("personal", "eea", "usa", "-", "bulk")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "fairlead.yaml"
    found = {
        "region": "eu",
        "regions": {"eu": {}, "us": {}},
        "shards": {"eu-0": {"region": "eu", "flavour": "mariadb", "primary": "127.0.0.1:3306", "account": ACCOUNT}},
        "users": {"reader": {"password": {"env": "X"}, "grants": [{"on": "*.*", "verbs": ["select"]}]}},
        "keyspaces": {"shop": {"shards": ["eu-0"], "vindexes": {"by_id": {"function": "hash"}},
                               "tables": {"people": PEOPLE}}},
        "policy": POLICY,
        "audit": {"folder": str(tmp_path / "audit"), "key": {"env": "X"}},
        "listeners": {"mysql": {"port": 7306}},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(found))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(fairlead, list(map(str, arguments)), prog_name="fairlead")


def show(config: Path, count: int) -> None:
    steps: list[Step] = [[(FLOW, b"%d" % number)] for number in range(count)]
    ledger = Ledger(ledger_of(config.parent / "audit", "eea"))
    ledger.charge([Charge(steps, ())], time.time())
    ledger.close()


def test_what_was_counted_and_what_is_left(config: Path) -> None:
    result = run("exposure", "-c", config)
    assert result.exit_code == 0 and len(result.output.splitlines()) == 1, result.output
    show(config, 20)
    (row,) = json.loads(run("exposure", "-c", config, "--format", "json").output)
    assert row.pop("persons") in (19, 20) and row.pop("at_most") + row.pop("left") == 100
    assert row == {
        "budget": "bulk", "class": "personal", "from": "eea", "to": "usa", "counterparty": "-", "window": "12 months",
        "budgeted": 100, "level": "under",
    }  # fmt: skip
    show(config, 60)
    result = run("exposure", "-c", config)
    assert result.exit_code == 1 and "warn" in result.output.splitlines()[1]


def test_explain_tells_what_is_left(config: Path) -> None:
    show(config, 20)
    schema = config.with_name("schema.sql")
    schema.write_text(SCHEMA)
    asked = ("explain", "-c", config, "--user", "reader", "--database", "shop", "--schema", schema)
    result = run(*asked, "SELECT email FROM people WHERE id = 7")
    assert re.search(r"personal data of eea shown in usa: about (19|20) of 100 persons, (79|80) left", result.output)
    assert "the persons whom the key names, before it is sent" in result.output
    found = json.loads(run(*asked, "SELECT id, email FROM people", "--format", "json").output)
    assert found["counted"] == ["the persons whom the rows show, row by row"] and len(found["budgets"]) == 1
    result = run(*asked, "SELECT MAX(email) FROM people")
    assert result.exit_code == 3 and "FL2112" in result.output


def test_a_budget_needs_a_place_to_be_counted(config: Path) -> None:
    found = yaml.safe_load(config.read_text())
    del found["audit"]
    found["policy"]["rules"]["masked"]["then"] = "aggregate(5)"
    config.write_text(yaml.safe_dump(found))
    result = run("check", "-c", config)
    assert "there is nowhere to count it" in result.output and "nobody can be counted" in result.output
