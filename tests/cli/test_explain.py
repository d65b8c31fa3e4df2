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


# --- Redis commands -----------------------------------------------------------------------------------------

REDIS = FILE.replace("{env: NOT_SET}}}\n  us-0", "{env: NOT_SET}}, redis: {cluster: [r1, r2]}}\n  us-0", 1)
REDIS = REDIS.replace("demo: {", "demo: {redis: read, ") + "  redis: {port: 7379}\n"
PATTERNS = """\
redis:
  patterns:
    customer: {prefix: "customer:", fields: [1], table: shop.customers, columns: {mail: email, pass: passport}}
    odd: {prefix: "odd:", shard: eu-0, action: refuse}
    plain: {prefix: "p:", shard: eu-0}
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "fairlead.yaml").write_text(REDIS + PATTERNS)

    def ask(text: str, *arguments: str, policy: bool = False):
        if policy:
            (tmp_path / "fairlead.yaml").write_text(REDIS + PATTERNS + POLICY.replace("[mysql]", "[redis]"))
        path = str(tmp_path / "fairlead.yaml")
        result = CliRunner().invoke(fairlead, ["explain", "-c", path, "--format", "json", *arguments, "--redis", text])
        assert result.exit_code != 1, result.output
        return result.exit_code, data(result)

    return ask


def test_where_a_key_lives(command):
    code, found = command(f"GET customer:{EU}:profile")
    assert (code, found["error"], found["command"]) == (0, None, "GET")
    node = found["keys"][0].pop("node")
    assert node.startswith("who has slot ") and node.endswith("of the cluster at r1:6379, r2:6379")
    assert found["keys"] == [
        {
            "key": f"customer:{EU}:profile", "pattern": "customer", "entity": f"shop.customers, {EU}",
            "shard": "eu-0", "region": "eu",
        }
    ]  # fmt: skip
    away = command(f"MGET customer:{US} customer:{EU}")[1]["keys"]
    assert [(one["shard"], one["region"]) for one in away] == [("us-0", "us"), ("eu-0", "eu")]
    assert away[0]["node"] == "by the Fairlead of region us"
    assert command("DBSIZE")[1]["goes_to"] == "all servers of the region"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("GET", "ERR wrong number of arguments"),
        ("NOSUCH a", "ERR unknown command 'NOSUCH'"),
        ("DEBUG SLEEP 1", "ERR 'debug' is refused by Fairlead"),
        ("GET other", "ERR no pattern knows this key"),
        ("GET odd:1", "ERR keys of pattern odd are refused"),
        (f"RENAME customer:{EU} customer:{US}", "CROSSSLOT"),
        ("RENAME p:1 p:2", "CROSSSLOT"),
        ("EVAL 'return 1' x", "ERR syntax error"),
    ],
)
def test_commands_that_are_refused(command, text, error):
    code, found = command(text)
    assert code == 3 and found["error"].startswith(error)


def test_a_users_level_and_verdicts(command):
    assert command("SET p:1 x")[0] == 0
    code, found = command("SET p:1 x", "--user", "demo")
    assert code == 3 and found["error"].startswith("NOPERM this user") and found["keys"][0]["pattern"] == "plain"
    known = ("--user", "demo", "--listener", "redis")
    assert command(f"HGETALL customer:{EU}", *known, policy=True)[1]["keys"][0]["verdict"] == (
        "of its fields mail (masked: email)"
    )
    assert command(f"HGET customer:{EU} pass", *known, policy=True)[1]["error"].startswith("NOPERM FL2101")
    assert command(f"GET customer:{EU}", *known, policy=True)[0] == 3
    assert command(f"GET customer:{US}", *known, policy=True)[1]["keys"][0]["verdict"] == "open"
    assert command("COPY p:{1} p:{1}b", policy=True)[0] == 3  # nobody's subject
