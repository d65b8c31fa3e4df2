"""Reloads that alternate between two policies, under load: nobody is dropped, nobody is answered under a version older
than the one acknowledged, nothing that was counted is lost. `make reloads` runs the long form."""

from __future__ import annotations

import json
from pathlib import Path

import pymysql
import pytest

from _speedups import lexer
from loadtest.world.fairlead import Fairlead
from loadtest.world.shop import SCHEMA
from loadtest.world.world import World
from tests.proxy.clients import ids_on
from tests.proxy.reloading import CLEAR, TEXT, Client, Operator, crew, run

pytestmark = pytest.mark.world(regions=2)


def counters(member: Fairlead) -> dict[str, float]:
    """Every series that must not go back."""
    lines = [line.rpartition(" ") for line in member.http("/metrics").splitlines() if not line.startswith("#")]
    return {name: float(figure) for name, _, figure in lines if "_total" in name or "_count" in name}


def executions(member: Fairlead, statement: str, user: str) -> int:
    rows = json.loads(member.http("/digests?limit=1000&format=json"))["rows"]
    return sum(row["count"] for row in rows if (row["statement"], row["user"]) == (statement, user))


def check(operator: Operator, clients: list[Client], before: dict[str, dict[str, float]]) -> None:
    assert [wrong for client in clients for wrong in client.wrong[:3]] == []
    for region, member in operator.members.items():
        after = counters(member)
        assert {name for name, figure in before[region].items() if after.get(name, -1.0) < figure} == set()
        asked = sum(client.answers for client in clients if client.kind == TEXT and client.member is member)
        counted = executions(member, "SELECT email FROM customers WHERE id=?", "analyst")
        assert counted >= asked, "executions that were counted before a reload are missing after it"


def test_versions_by_the_metastore(world: World, tmp_path: Path) -> None:
    with Operator(world, tmp_path) as operator:
        before = {region: counters(member) for region, member in operator.members.items()}
        clients = crew(operator, world, 16)
        run(operator, clients, 14, lambda version: operator.apply() if version in (1, 8) else operator.publish())
        check(operator, clients, before)


def test_files_and_sighup(world: World, tmp_path: Path) -> None:
    with Operator(world, tmp_path) as operator:
        before = {region: counters(member) for region, member in operator.members.items()}
        clients = crew(operator, world, 16)
        run(operator, clients, 8, lambda version: operator.hang_up())
        check(operator, clients, before)


@pytest.mark.slow
def test_two_hundred_reloads_under_64_threads(world: World, tmp_path: Path) -> None:
    with Operator(world, tmp_path) as operator:
        before = {region: counters(member) for region, member in operator.members.items()}
        clients = crew(operator, world, 64)
        run(operator, clients, 200, lambda version: operator.publish() if version % 10 else operator.apply())
        check(operator, clients, before)


STATEMENTS = (
    "SELECT id, country FROM customers WHERE id = {key}",
    "SELECT email FROM customers WHERE id = {key}",
    "SELECT id FROM customers WHERE id = {key} AND email LIKE '%.%@%'",
    "SELECT name FROM customers WHERE id = {key}",
    "SELECT id FROM customers WHERE id = {key} AND name LIKE '%'",
    "SELECT COUNT(*) FROM customers WHERE country = 'DE' AND name > ''",
    "SELECT id, email FROM customers WHERE country = 'DE' ORDER BY id LIMIT 3",
    "SELECT email FROM customers WHERE country IN ('DE', 'PL')",
    "SELECT UPPER(email) AS e FROM customers WHERE id = {key}",
    "SELECT c.email, o.item FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = {key} ORDER BY o.id",
    "SELECT COUNT(*) FROM orders WHERE customer_id = {key}",
    "SELECT MAX(name) FROM customers WHERE id = {key}",
    "UPDATE customers SET country = country WHERE id = {key}",
    "UPDATE customers SET name = name WHERE id = {key}",
    "SELECT * FROM countries WHERE code = 'DE'",
)


def outcome(member: Fairlead, statement: str) -> object:
    """What the analyst gets: rows, or the number of the refusal."""
    try:
        return member.query(statement, user="analyst", password="x")
    except pymysql.err.Error as error:
        return str(error.args[1])[:6]


@pytest.mark.parametrize("region", ["eu", "us"])
def test_the_forecast_is_what_then_happens(world: World, tmp_path: Path, region: str) -> None:
    """A policy to the other and back: exactly the shapes that the simulation names are answered otherwise, those that
    it says become refused are, and what it says newly leaves is what is newly seen."""
    (key,) = ids_on(world, "eu-0")
    schema = tmp_path / "shop.sql"
    schema.write_text(";\n".join(SCHEMA) + ";\n")
    with Operator(world, tmp_path) as operator:
        member = operator.members[region]
        operator.publish()  # MASKED
        for _ in range(2):
            before = {text: outcome(member, text.format(key=key)) for text in STATEMENTS}
            following = operator.file(region, (operator.board.begun + 1) % 2)
            corpus = ("--corpus", f"http://127.0.0.1:{member.http_port}", "--schema", f"shop={schema}")
            told = operator.run("apply", "-c", str(following), "--dry-run", *corpus)["simulation"]
            operator.publish()
            after = {text: outcome(member, text.format(key=key)) for text in STATEMENTS}
            forecast = {one["statement"]: one for one in told["changes"] if one["user"] == "analyst"}
            happened = {norm_of(text) for text in STATEMENTS if before[text] != after[text]}
            assert set(forecast) == happened
            refused = {norm_of(text) for text in STATEMENTS if is_refused(after[text]) and not is_refused(before[text])}
            assert {norm for norm, one in forecast.items() if one["what"] == "refused"} == refused
            leaving = {one["what"] for one in told["newly_leaving"]}
            names = any("shop.customers.name" in what for what in leaving)
            assert names == (operator.board.begun % 2 == CLEAR), "the name leaves eu under CLEAR only"
            assert any("shop.customers.email" in what for what in leaving)


def is_refused(outcome: object) -> bool:
    return isinstance(outcome, str)


def norm_of(text: str) -> str:
    return lexer.lex(text.format(key=1).encode()).norm.decode()
