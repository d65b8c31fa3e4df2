"""`fairlead check` and `fairlead diff`: output and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import fairlead

ROOT = Path(__file__).parents[2]
BAD = ROOT / "tests" / "cases" / "config" / "bad"
GOOD = """\
region: eu
regions: {eu: , us: {peer: {host: us, port: 7326}}}
peer_tls: {ca: ca.pem, cert: c.pem, key: k.pem}
shards:
  eu-0: {region: eu, flavour: mariadb, primary: 127.0.0.1:1, account: {user: f, password: {env: NOT_SET}}}
  us-0: {region: us, flavour: mariadb, primary: 127.0.0.1:2, account: {user: f, password: {env: NOT_SET}}}
keyspaces:
  shop:
    shards: [eu-0, us-0]
    vindexes: {v: {function: hash}}
    tables:
      orders: {kind: sharded, vindex: v, columns: [id]}
      countries: {kind: reference}
  wiki: {shards: [eu-0]}
users:
  demo: {password: {env: NOT_SET}, grants: [{on: shop.*, verbs: [select]}]}
listeners:
  mysql: {port: 7306}
"""


def run(*arguments: str):
    return CliRunner().invoke(
        fairlead, [str(one) for one in arguments], prog_name="fairlead", env={"NOT_SET": None}
    )


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "fairlead.yaml"
    path.write_text(GOOD)
    return path


def test_a_good_file(good):
    result = run("check", "-c", good, "--without-secrets")
    assert result.exit_code == 0
    assert "no mistakes" in result.output
    assert "shop: 1 sharded, 1 reference tables on eu-0, us-0" in result.output
    assert "wiki: unsharded, on eu-0" in result.output


def test_secrets_and_certificates_are_looked_at(good):
    result = run("check", "-c", good)
    assert result.exit_code == 1
    assert "the environment variable NOT_SET is not set" in result.output
    assert "No such file or directory" in result.output


def test_json(good):
    data = json.loads(run("check", "-c", good, "--without-secrets", "--format", "json").output)
    assert data["ok"] and data["findings"] == []
    assert data["keyspaces"]["shop"]["tables"] == {"orders": "sharded", "countries": "reference"}
    assert data["shards"]["us-0"] == {"region": "us", "local": False}
    assert data["listeners"]["mysql"] == {"kind": "mysql", "address": "127.0.0.1", "port": 7306, "socket": None}


def test_mistakes_are_findings():
    result = run("check", "-c", BAD / "many_mistakes.yaml")
    assert result.exit_code == 1 and "Did you mean flavour?" in result.output


def test_mistakes_as_json():
    result = run("check", "-c", BAD / "unknown_key_near.yaml", "--format", "json")
    data = json.loads(result.output)
    assert result.exit_code == 1 and not data["ok"]
    assert data["findings"] == [
        {
            "file": str(BAD / "unknown_key_near.yaml"),
            "line": 4,
            "key": "shards.eu-0.flavor",
            "message": "unknown key",
            "hint": "Did you mean flavour?",
        }
    ]


@pytest.mark.parametrize(
    "arguments", [[], ["-c", "/no/such/file"], ["-c", ".", "--format", "xml"], ["-c", ".", "--bogus"]]
)
def test_usage(arguments):
    assert run("check", *arguments).exit_code == 2


def test_the_file_may_come_from_the_environment(good):
    result = CliRunner().invoke(fairlead, ["check", "--without-secrets"], env={"FAIRLEAD_CONFIG": str(good)})
    assert result.exit_code == 0


def test_another_region(good):
    result = run("check", "-c", good, "--region", "us", "--without-secrets")
    assert result.exit_code == 1 and "regions.eu: peer is missing" in result.output
    result = run("check", "-c", good, "--every-region")
    assert result.exit_code == 1 and "regions.eu: peer is missing" in result.output


def test_declared_types_are_checked(good):
    good.write_text(GOOD.replace("columns: [id]", "columns: {id: varchar(9) collate utf8mb4_roman_ci}"))
    result = run("check", "-c", good, "--without-secrets")
    assert result.exit_code == 1 and "cannot be a sharding key" in result.output


def test_remarks(good):
    good.write_text(
        GOOD.replace("{env: NOT_SET}, grants", "{value: x}, grants").replace("127.0.0.1:1", "db:1")
    )
    plain = run("check", "-c", good, "--without-secrets")
    assert plain.exit_code == 0
    assert "users.demo.password: the password stands in the file" in plain.output
    assert "rows may cross the network in clear" in plain.output
    assert run("check", "-c", good, "--without-secrets", "--strict").exit_code == 1


def test_a_passwords_value_is_never_printed(good):
    good.write_text(GOOD.replace("{env: NOT_SET}", "{value: hunter2}"))
    for style in ("table", "json"):
        assert "hunter2" not in run("check", "-c", good, "--format", style).output


# --- diff ---


def test_no_difference(good):
    result = run("diff", good, good)
    assert (result.exit_code, result.output) == (0, "no difference\n")


def test_differences(good, tmp_path):
    new = tmp_path / "new.yaml"
    new.write_text(GOOD.replace("wiki: {shards: [eu-0]}", "wiki: {shards: [us-0]}").replace("7306", "7307"))
    result = run("diff", good, new)
    assert result.exit_code == 1
    assert "listener mysql: port changes from 7306 to 7307" in result.output
    assert "all tables of wiki: their rows stay on eu-0, not on us-0" in result.output
    data = json.loads(run("diff", good, new, "--format", "json").output)
    assert not data["same"] and len(data["changes"]) == 2 and len(data["stored_rows"]) == 1


def test_differences_of_a_bad_file(good):
    result = run("diff", good, BAD / "wrong_flavour.yaml")
    assert result.exit_code == 1 and "'postgres' is not one of" in result.output
    assert run("diff", good).exit_code == 2


POLICY = """\
policy:
  domains: {eea: {regions: [eu]}, usa: {regions: [us]}}
  labels: {wiki: public, shop: {classes: personal, tables: {countries: public}}}
  subjects: {everybody: {domain: here}}
"""


def test_a_policy(good):
    good.write_text(GOOD + POLICY)
    result = run("check", "-c", good, "--without-secrets", "--strict")
    assert result.exit_code == 0, result.output
    assert "policy     domains eea, usa; 1 labelled tables, 1 subjects, 0 rules" in result.output
    data = json.loads(run("check", "-c", good, "--without-secrets", "--format", "json").output)
    assert data["policy"]["domains"] == {"eea": ["eu"], "usa": ["us"]}


def test_an_illegal_placement(good):
    good.write_text(GOOD + POLICY.replace("countries: public", "countries: internal"))
    result = run("check", "-c", good, "--without-secrets", "--format", "json")
    assert result.exit_code == 1
    findings = json.loads(result.output)["findings"]
    assert [one["key"] for one in findings] == ["keyspaces.shop.tables.countries"] * 2
    assert findings[0]["line"] == 13
    assert "shop.countries → shard us-0 in us as a reference copy" in findings[0]["message"]


def test_no_policy_is_said_as_such(good):
    data = json.loads(run("check", "-c", good, "--without-secrets", "--format", "json").output)
    assert data["policy"] is None


def test_labels_of_what_a_schema_does_not_have(good, tmp_path):
    tables = "{countries: public, orders: {columns: {e_mail: personal, name: public}, person: key}}"
    good.write_text(GOOD + POLICY.replace("{countries: public}", tables))
    schema = tmp_path / "shop.sql"
    schema.write_text("CREATE TABLE orders (id BIGINT PRIMARY KEY, email VARCHAR(9), NAME VARCHAR(9));")
    asked = ("check", "-c", good, "--without-secrets", "--schema", f"shop={schema}")
    assert run(*asked[:-2]).exit_code == 0
    result = run(*asked, "--format", "json")
    assert result.exit_code == 1
    findings = json.loads(result.output)["findings"]
    found = {one["key"].removeprefix("policy.labels.shop.tables."): one for one in findings}
    assert set(found) == {"countries", "orders.columns.e_mail", "orders.person"}
    assert all(one["line"] for one in found.values())
    assert "email" in found["orders.columns.e_mail"]["hint"]
    schema.write_text(schema.read_text() + "CREATE TABLE countries (code CHAR(2) PRIMARY KEY);")
    good.write_text(GOOD + POLICY.replace("{countries", "{orders: {columns: {email: personal}}, countries"))
    assert run(*asked).exit_code == 0
