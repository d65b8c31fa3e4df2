"""`fairlead explain`: routes, refusals and their exit codes, users, schemas and parameters."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from cli.explain import parameter
from cli.main import fairlead

FILE = """\
region: eu
regions: {eu: , us: {peer: {host: us, port: 7326}}}
peer_tls: {ca: ca.pem, cert: c.pem, key: k.pem}
shards:
  eu-0: {region: eu, flavour: mariadb, primary: db1, account: {user: f, password: {env: NOT_SET}}}
  us-0: {region: us, flavour: mariadb}
keyspaces:
  shop:
    shards: [eu-0, us-0]
    vindexes: {by_id: {function: region_bits, shift: 40, bits: 8, regions: {eu: 1, us: 2}}}
    tables:
      customers: {kind: sharded, vindex: by_id, columns: [id]}
      countries: {kind: reference}
users:
  demo: {password: {env: NOT_SET}, default_database: shop, grants: [{on: shop.*, verbs: [select]}], hints: []}
listeners:
  mysql: {port: 7306}
"""
POLICY = """\
policy:
  domains: {eea: {regions: [eu]}, usa: {regions: [us]}}
  labels:
    shop:
      classes: sensitive
      tables:
        countries: public
        customers: {classes: public, columns: {email: {classes: personal, mask: email}, passport: sensitive}}
  subjects:
    analysts: {users: [demo], listeners: [mysql], domain: usa}
  rules:
    masked-abroad: {classes: personal, homes: eea, domains: usa, then: mask}
"""
TABLE = "CREATE TABLE customers (id BIGINT NOT NULL PRIMARY KEY, email VARCHAR(100), passport VARCHAR(20));"
EU, US = 1 << 40, 2 << 40


@pytest.fixture
def explain(tmp_path):
    (tmp_path / "fairlead.yaml").write_text(FILE)

    def explain(*arguments: str, **options):
        return CliRunner().invoke(
            fairlead, ["explain", "-c", str(tmp_path / "fairlead.yaml"), *map(str, arguments)], **options
        )

    return explain


def data(result):
    return json.loads(result.output)


@pytest.mark.parametrize(("key", "shard", "region"), [(EU + 5, "eu-0", "eu"), (US + 5, "us-0", "us")])
def test_one_shard(explain, key, shard, region):
    result = explain("--format", "json", f"SELECT * FROM customers WHERE id = {key}")
    assert result.exit_code == 0
    found = data(result)
    assert (found["shards"], found["regions"], found["error"]) == ([shard], [region], None)
    assert found["tables"] == [{"table": "shop.customers", "access": "read"}]


def test_for_people(explain):
    result = explain(f"SELECT * FROM customers WHERE id = {EU}")
    assert result.exit_code == 0
    assert "shard" in result.output and "eu-0" in result.output and "because" in result.output


def test_literals_and_parameters_give_the_same_route(explain):
    result = explain("--format", "json", "--param", US + 1, "SELECT * FROM customers WHERE id = ?")
    assert data(result)["shards"] == ["us-0"]


def test_a_refused_statement(explain):
    result = explain("DELETE FROM customers")
    assert result.exit_code == 3 and "FL" in result.output
    assert data(explain("--format", "json", "DELETE FROM customers"))["error"].startswith("FL")


def test_a_users_grants(explain):
    select, delete = "SELECT * FROM countries", f"DELETE FROM customers WHERE id = {EU}"
    assert explain("--user", "demo", select).exit_code == 0
    assert explain("--user", "demo", delete).exit_code == 3
    assert explain(delete).exit_code == 0


def test_a_users_hints(explain):
    hinted = "SELECT /* fairlead: shard=us-0 */ * FROM countries"
    assert explain("--user", "demo", hinted).exit_code == 3
    assert data(explain("--format", "json", hinted))["shards"] == ["us-0"]


def test_the_statement_from_standard_input(explain):
    result = explain("--format", "json", "-", input=f"SELECT * FROM customers WHERE id = {US}")
    assert data(result)["shards"] == ["us-0"]


def test_a_schema(explain, tmp_path):
    schema = tmp_path / "schema.sql"
    schema.write_text("CREATE TABLE customers (name varchar(9), id bigint unsigned NOT NULL PRIMARY KEY);")
    insert = f"INSERT INTO customers VALUES ('x', {US})"
    result = explain("--format", "json", "--schema", schema, insert)
    assert data(result)["shards"] == ["us-0"], "the columns of INSERT without a list are the table's"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--database", "shopp", "SELECT 1"], "Did you mean shop?"),
        (["--user", "deno", "SELECT 1"], "Did you mean demo?"),
        (["--sql-mode", "STRICT_ALL_TABLES", "SELECT 1"], "does not change how a statement is read"),
        (["--schema", "/no/such/file", "SELECT 1"], "does not exist"),
        ([], "Missing argument"),
    ],
)
def test_usage(explain, arguments, message):
    result = explain(*arguments)
    assert result.exit_code == 2 and message in result.output


def test_a_schema_that_is_none(explain, tmp_path):
    (tmp_path / "s.sql").write_text("SELECT 1")
    result = explain("--schema", tmp_path / "s.sql", "SELECT 1")
    assert result.exit_code == 2 and "holds no table" in result.output


def test_sql_mode(explain):
    quoted = f'SELECT * FROM "customers" WHERE id = {EU}'
    assert explain(quoted).exit_code == 3
    assert explain("--sql-mode", "ansi_quotes", quoted).exit_code == 0


def test_a_bad_configuration(tmp_path):
    (tmp_path / "bad.yaml").write_text(FILE.replace("by_id, columns", "by_idd, columns"))
    result = CliRunner().invoke(fairlead, ["explain", "-c", str(tmp_path / "bad.yaml"), "SELECT 1"])
    assert result.exit_code == 1 and "Did you mean by_id?" in result.output


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("NULL", None),
        ("null", None),
        ("'7'", "7"),
        ("a", "a"),
        ("'a''b'", "a'b"),
        ("7.5", "7.5"),
    ],
)
def test_parameters(text, value):
    assert parameter(text) == value


@pytest.fixture
def guarded(tmp_path, explain):
    """`explain` under a policy, as its analyst."""
    (tmp_path / "fairlead.yaml").write_text(FILE + POLICY)
    (tmp_path / "shop.sql").write_text(TABLE)
    return lambda *more: explain("--user", "demo", "--schema", tmp_path / "shop.sql", *more)


def test_the_policy_is_explained_by_column_with_the_text_that_is_sent(guarded):
    found = data(guarded("--listener", "mysql", "--format", "json", f"SELECT email FROM customers WHERE id = {EU}"))
    assert found["error"] is None
    assert "FROM customers" in found["sql"]["eu-0"] and "SELECT email FROM customers" not in found["sql"]["eu-0"]
    told = [row["detail"] for row in found["policy"]]
    (column,) = [detail for detail in told if "customers.email" in detail and "eea" in detail]
    assert "(personal)" in column and "mask" in column and "masked-abroad" in column


def test_a_statement_that_the_policy_refuses_shows_every_verdict(guarded):
    result = guarded("--listener", "mysql", f"SELECT email, passport FROM customers WHERE id = {EU}")
    assert result.exit_code == 3 and "FL2101" in result.output
    assert "masked-abroad" in result.output and "customers.passport (sensitive) of eea" in result.output


def test_by_another_listener_the_user_is_nobodys_subject(guarded):
    assert guarded(f"SELECT email FROM customers WHERE id = {EU}").exit_code == 3
