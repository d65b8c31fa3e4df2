"""The witness on real servers: planted faults are caught by what the servers say of their columns, and only they."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from ops.audit.report import Query, report
from tests.proxy.clients import ask, client, ids_on, metric, raw, refused, until, value
from tests.proxy.test_audit_world import PEM
from tests.proxy.test_policy_world import CHANGES, as_analyst
from tests.servers import BOTH_SERVERS

pytestmark = [pytest.mark.world(regions=2), BOTH_SERVERS]

FAULTS = {
    "splices that are dropped": """
        from router.policy import enforce
        enforce.splices = lambda *what: []
        enforce.check_again = lambda *what: None
    """,
    "a decision that takes what is masked for allowed": """
        from router.policy import decide, enforce
        decide.Judge._leaf = lambda *what: None
        enforce.check_again = lambda *what: None
    """,
    "a proof that knows of nothing": """
        import dataclasses
        from router.policy import enforce
        prove = enforce.prove
        enforce.splices = lambda *what: []
        enforce.prove = lambda *what: dataclasses.replace(prove(*what), findings=(), outputs=(), influence=())
        enforce.check_again = lambda *what: None
    """,
}
LEAKS = [
    "SELECT email FROM customers WHERE id = {}",
    "SELECT c.id, c.email AS country FROM customers AS c WHERE c.id = {} FOR UPDATE",
    "SELECT country FROM (SELECT id, email AS country FROM customers WHERE id = {}) AS orders",
    "WITH orders AS (SELECT email AS total FROM customers WHERE id = {}) SELECT total FROM orders",
    "SELECT o.id, c.email FROM customers c JOIN customers o ON o.id = c.id WHERE c.id = {} LIMIT 3",
    "SELECT id, email, country FROM customers WHERE id = {} ORDER BY email",
]
FINE = [
    "SELECT id, email, country FROM customers WHERE id = {}",
    "SELECT c.id, UPPER(c.email) u, c.country AS x FROM customers c WHERE c.id = {} ORDER BY c.email",
    "SELECT customers.id AS email, customers.email AS id FROM customers WHERE customers.id = {}",
    "SELECT shown.id, shown.email FROM (SELECT id, email, country FROM customers WHERE id = {}) AS shown",
    "SELECT x.id FROM (SELECT y.id FROM (SELECT id FROM customers WHERE id = {}) AS y) AS x",
    "WITH w AS (SELECT id, email FROM customers WHERE id = {0}) SELECT a.id, b.email FROM w a JOIN w b ON a.id = b.id",
    "SELECT id, email FROM customers WHERE id = {0} UNION SELECT id, country FROM customers WHERE id = {0}",
    "SELECT c.id, c.country, o.id FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.id = {}",
    "SELECT email, COUNT(*) n FROM customers WHERE id = {} GROUP BY email",
    "SELECT country, MAX(id) m FROM customers WHERE id = {} GROUP BY country WITH ROLLUP",
    "SELECT DISTINCT country, id FROM customers WHERE id = {} ORDER BY id LIMIT 2",
    "SELECT id, ROW_NUMBER() OVER (ORDER BY id) r, country FROM customers WHERE id = {}",
    "SELECT (SELECT country FROM customers WHERE id = {0}) c, (SELECT email FROM customers WHERE id = {0}) e",
    "SELECT * FROM (SELECT id, country FROM customers WHERE id = {}) AS customers",
    "SELECT id FROM customers JOIN (SELECT id, email FROM customers) AS d USING (id) WHERE id = {}",
    "SELECT a.id, a.country FROM customers a NATURAL JOIN (SELECT id, email FROM customers) AS d WHERE a.id = {}",
    "SELECT CASE WHEN id > 0 THEN country END k, IFNULL(email, id) f FROM customers WHERE id = {} FOR UPDATE",
    "SELECT COUNT(*) FROM customers WHERE id = {}",
    "SELECT 1 FROM customers WHERE id = {}",
    "SELECT c.country, t.TABLE_NAME FROM customers c, information_schema.TABLES t WHERE c.id = {} AND 1 = 0",
    "UPDATE customers SET country = country WHERE id = {}",
    "SELECT ID, COUNTRY Country FROM customers CuStomers WHERE Id = {}",
]  # fmt: skip


@pytest.fixture(params=FAULTS.values(), ids=FAULTS.keys())
def broken(
    request: pytest.FixtureRequest, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fairlead]:
    """The Fairlead of `eu`, whose policy lets slip what it should mask."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(request.param))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    audit = {"folder": str(tmp_path / "audit"), "key": {"value": PEM}}
    yield world.fleet(CHANGES | {"audit": audit}).start()["eu"]


def kills(member: Fairlead) -> float:
    return metric(member, "fairlead_errors_total", **{"class": "policy"})


def test_what_slips_through_is_kept_back(world: World, broken: Fairlead) -> None:
    (key,), (other,) = ids_on(world, "eu-0"), ids_on(world, "eu-1")
    texts = [text.format(key) for text in LEAKS]
    texts += [f"SELECT id, email FROM customers WHERE id IN ({key}, {other})"]
    texts += ["SELECT email FROM customers ORDER BY email LIMIT 3", "SELECT id, email FROM customers"]
    emails = [row[0] for name in ("eu-0", "eu-1") for row in world.shards[name].primary.query(
        "SELECT email FROM shop.customers")]  # fmt: skip
    caught = kills(broken)
    with raw(broken, user="analyst", password="x") as connection:
        for text in texts * 2:
            answer = connection.query(text)
            assert answer.message.startswith("FL2110"), (text, answer)
            assert not answer.rows and not any(email in repr(answer) for email in emails), text
        for text in LEAKS:
            statement = connection.prepare(text.format("?"))
            for _ in range(2):
                answer = connection.execute(statement, [key])
                assert answer.message.startswith("FL2110"), (text, answer)
                assert not answer.rows
        assert connection.query(f"SELECT id FROM customers WHERE id = {key}").rows == ((str(key).encode(),),)
    assert kills(broken) >= caught + 2 * len(texts) + 2 * len(LEAKS)


def test_it_is_a_finding_in_the_records(world: World, broken: Fairlead, tmp_path: Path) -> None:
    (key,) = ids_on(world, "eu-0")
    with as_analyst(broken) as connection:
        refused(connection, f"SELECT email FROM customers WHERE id = {key}", "FL2110")
        refused(connection, "SELECT id, email FROM customers", "FL2110")
        ask(connection, f"SELECT country FROM customers WHERE id = {key}")
    folder = tmp_path / "audit"
    if "findings=()" in (tmp_path / "sitecustomize.py").read_text():
        return  # nothing was decided then, so nothing is recorded
    until(lambda: report(folder, Query()).findings == 2, "the findings")
    found = report(folder, Query(by=("finding", "error")))
    assert [row.group["error"] for row in found.rows if row.group["finding"] == "witness"] == ["1227"]


def test_transaction_and_connection_outlive_it(world: World, broken: Fairlead) -> None:
    (key,) = ids_on(world, "eu-0")
    with as_analyst(broken) as connection, client(broken, user="clerk", password="x") as clerk:
        country = value(clerk, f"SELECT country FROM customers WHERE id = {key}")
        ask(connection, "BEGIN")
        ask(connection, f"UPDATE customers SET country = 'XX' WHERE id = {key}")
        for _ in range(3):
            refused(connection, f"SELECT email FROM customers WHERE id = {key}", "FL2110")
            assert value(connection, f"SELECT country FROM customers WHERE id = {key}") == "XX"
        refused(connection, "/* fairlead: shard=eu-0 */ SELECT a.email FROM customers a, customers b", "FL2110")
        assert value(connection, f"SELECT country FROM customers WHERE id = {key}") == "XX"
        ask(connection, "ROLLBACK")
        assert value(clerk, f"SELECT country FROM customers WHERE id = {key}") == country


def test_nothing_that_is_masked_is_taken_for_a_leak(world: World) -> None:
    member, _ = (world.kept(CHANGES, region=region) for region in ("eu", "us"))
    (key,), (other,) = ids_on(world, "eu-0"), ids_on(world, "eu-1")
    texts = [text.format(key) for text in FINE] + [
        f"SELECT id, email FROM customers WHERE id IN ({key}, {other})", "SELECT id FROM customers ORDER BY id LIMIT 5",
        "SELECT id, email, country FROM customers", "SELECT country, COUNT(*) FROM customers GROUP BY country",
    ]  # fmt: skip
    caught, answered = kills(member), 0
    with raw(member, user="analyst", password="x") as connection:
        for text in texts:
            for _ in range(2):
                answer = connection.query(text)
                assert not answer.message.startswith("FL2110"), (text, answer)
            answered += not answer.refused
            statement = connection.prepare(text)
            if not statement.answer.refused:
                assert not connection.execute(statement, []).message.startswith("FL2110"), text
    assert kills(member) == caught
    assert answered >= len(texts) - 7    # the others cannot be followed or reduced
    with as_analyst(member) as connection, connection.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute("SELECT id, email FROM customers LIMIT 3")
        assert len(cursor.fetchall()) == 3


def test_names_in_other_character_sets_are_told(world: World) -> None:
    member = world.kept(CHANGES, region="eu")
    (key,) = ids_on(world, "eu-0")
    with as_analyst(member) as connection:
        ask(connection, "SET NAMES latin1")
        assert "*" in value(connection, f"SELECT email FROM customers WHERE id = {key}")
        assert value(connection, f"SELECT id FROM customers WHERE id = {key}") == key


