"""Budgets of exposure on real servers: who is shown is counted before, in one ledger for all workers."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pymysql
import pytest

from config.policy import BudgetSettings
from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from ops.exposure import Flow, thresholds_of
from ops.ledger import Ledger, Reading, ledger_of, readings
from tests.proxy.clients import ask, client, ids_on, metric, raw, refused, together, until, value
from tests.proxy.test_audit_world import PEM
from tests.proxy.test_policy_world import POLICY, USERS
from tests.proxy.test_supervisor_world import GONE, kill_worker, launch, worker_of

pytestmark = pytest.mark.world(regions=2)

FLOW = Flow("personal", "eea", "usa", "-", "bulk")
Members = dict[str, Fairlead]


def with_known_key(folder: Path) -> Path:
    """Whom a sketch takes for somebody else depends on the ledger's key: here for nobody of these few."""
    place = ledger_of(folder, "eea")
    if not place.exists():
        Ledger(place).close()
        with contextlib.closing(sqlite3.connect(place)) as db, db:
            db.execute("UPDATE secret SET key = ?", (b"\x01" * 32,))
    return folder


def changes(folder: Path, persons: int = 1000, **budget: Any) -> dict[str, Any]:
    labels = POLICY["labels"]
    shop = labels["shop"]
    orders = {"classes": "public", "columns": {"total": "personal"}, "person": "customer_id"}
    shop = shop | {"tables": shop["tables"] | {"orders": orders}}
    rules = POLICY["rules"] | {"masked-abroad": POLICY["rules"]["masked-abroad"] | {"budget": "bulk"}}
    policy = POLICY | {
        "labels": labels | {"shop": shop}, "rules": rules, "budgets": {"bulk": {"persons": persons, **budget}},
    }  # fmt: skip
    return {"users": USERS, "policy": policy, "audit": {"folder": str(folder), "key": {"value": PEM}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return with_known_key(tmp_path / "audit")


@pytest.fixture
def kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the Fairleads that several tests share."""
    return with_known_key(tmp_path_factory.getbasetemp() / "exposure")


@pytest.fixture
def fleet(world: World, kept_folder: Path) -> Members:
    return {region: world.kept(changes(kept_folder), region=region) for region in ("eu", "us")}


def as_analyst(member: Fairlead, **options: Any) -> Any:
    return client(member, user="analyst", password="x", **options)


def reading(folder: Path, persons: int = 1000) -> Reading | None:
    found = readings(ledger_of(folder, "eea"), thresholds_of({"bulk": BudgetSettings(persons=persons)}))
    assert not ledger_of(folder, "usa").exists()
    assert [one.flow for one in found] in ([], [FLOW])
    return found[0] if found else None


def shown(folder: Path) -> int:
    found = reading(folder)
    return found.exposure.estimate if found is not None else 0


@pytest.mark.parametrize("region", ["eu", "us"])
def test_persons_are_counted_by_the_key(world: World, fleet: Members, kept_folder: Path, region: str) -> None:
    keys = {"eu": ids_on(world, "eu-0", 8), "us": ids_on(world, "eu-1", 8)}[region]
    before = shown(kept_folder)
    with as_analyst(fleet[region]) as connection:
        for key in (keys[0], keys[1], keys[0]):
            assert "*" in value(connection, f"SELECT email FROM customers WHERE id = {key}")
        assert shown(kept_folder) == before + 2
        assert len(ask(connection, f"SELECT id FROM customers WHERE id = {keys[2]}")) == 1
        assert shown(kept_folder) == before + 2
        found = ", ".join(map(str, keys[2:5]))
        assert len(ask(connection, f"SELECT email, country FROM customers WHERE id IN ({found})")) == 3
        assert shown(kept_folder) == before + 5
        assert value(connection, f"SELECT COUNT(DISTINCT email) FROM customers WHERE id = {keys[5]}") == 1
        assert shown(kept_folder) == before + 6
    with as_analyst(fleet[region], autocommit=False) as connection:
        connection.begin()
        assert "*" in value(connection, f"SELECT email FROM customers WHERE id = {keys[6]}")
        connection.rollback()
        assert shown(kept_folder) == before + 7
    with raw(fleet[region], user="analyst", password="x") as wire:
        statement = wire.prepare("SELECT email FROM customers WHERE id = ?")
        for key in (keys[7], keys[0]):
            assert b"*" in (wire.execute(statement, [key]).rows[0][0] or b"")
        assert shown(kept_folder) == before + 8
    with client(fleet["eu"], user="clerk", password="x") as connection:
        assert "*" not in value(connection, f"SELECT email FROM customers WHERE id = {keys[3]}")
        everybody = ", ".join(map(str, ids_on(world, "eu-0", 100)))
        assert len(ask(connection, f"SELECT email FROM customers WHERE id IN ({everybody})")) > 20
        assert shown(kept_folder) == before + 8


@pytest.mark.parametrize("region", ["eu", "us"])
def test_persons_are_counted_by_the_rows(world: World, fleet: Members, kept_folder: Path, region: str) -> None:
    everybody = len(ids_on(world, "eu-0", 100)) + len(ids_on(world, "eu-1", 100))
    with as_analyst(fleet[region]) as connection:
        before = shown(kept_folder)
        assert ask(connection, "SELECT email, id FROM customers WHERE email = 'nobody'") == []
        assert shown(kept_folder) == before
        some = ask(connection, "SELECT email, id FROM customers ORDER BY id LIMIT 7")
        assert shown(kept_folder) <= before + 14
        assert len(ask(connection, "SELECT id, email FROM customers WHERE country <> '--'")) >= everybody
        before = shown(kept_folder)
        assert everybody <= before
        if region == "eu":
            told = dict(ask(connection, "EXPLAIN ROUTE SELECT email, id FROM customers WHERE country <> '--'"))
            assert told["counted"] == "the persons whom the rows show, row by row"
            what = f"personal data of eea shown in usa: about {before} of 1000 persons, "
            assert told["budget bulk"].startswith(what), told
        for _ in range(2):
            assert len(ask(connection, "SELECT country, email, id FROM customers WHERE country <> '--'")) >= everybody
            assert shown(kept_folder) == before
        ask(connection, f"SELECT email FROM customers WHERE id IN ({', '.join(str(one) for _, one in some)})")
        assert shown(kept_folder) == before
        assert len(ask(connection, "SELECT email FROM customers ORDER BY country LIMIT 3")) == 3
        assert before + 2 <= shown(kept_folder) <= before + 7
    with raw(fleet[region], user="analyst", password="x") as wire:
        before = shown(kept_folder)
        statement = wire.prepare("SELECT country, id, email FROM customers WHERE country <> ?")
        assert len(wire.execute(statement, ["--"]).rows) >= everybody
        assert shown(kept_folder) == before


def test_what_does_not_say_whom_it_shows_is_refused(world: World, fleet: Members, kept_folder: Path) -> None:
    keys = [ids_on(world, shard)[0] for shard in ("eu-0", "eu-1")]
    before = shown(kept_folder)
    with as_analyst(fleet["eu"]) as connection:
        for statement in (
            "SELECT DISTINCT email FROM customers",
            "SELECT email, COUNT(*) FROM customers GROUP BY email",
            "SELECT MIN(email) FROM customers",
            "SELECT COUNT(*) FROM customers WHERE email LIKE 'a%'",
            f"SELECT GROUP_CONCAT(email) FROM customers /* fairlead: shard=eu-0 */ WHERE id <> {keys[0]}",
            "SELECT x FROM (SELECT email AS x FROM customers) t",
            "SELECT c.id, (SELECT MAX(email) FROM customers d WHERE d.id = c.id) FROM customers c",
        ):
            assert "budget bulk" in refused(connection, statement, "FL2112")
        connection.begin()
        assert "transaction" in refused(
            connection, "SELECT email FROM customers /* fairlead: shard=eu-0 */ WHERE country = 'x'", "FL2112"
        )
        connection.rollback()
        assert shown(kept_folder) == before
        assert value(connection, "SELECT COUNT(*) FROM customers") >= 100


def test_a_read_stops_at_the_row_that_is_too_much(world: World, folder: Path) -> None:
    members = {name: world.kept(changes(folder, 30, warn=20), region=name) for name in ("eu", "us")}
    (key,) = ids_on(world, "eu-1")
    with as_analyst(members["eu"], cursorclass=pymysql.cursors.SSCursor) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, email FROM customers WHERE country <> '--'")
        rows = []
        with pytest.raises(pymysql.err.DatabaseError, match="FL2109"):
            rows += cursor.fetchone()
            while True:
                rows += [cursor.fetchone()]
    assert 27 <= len(rows) - 1 <= 30
    found = reading(folder, 30)
    assert found is not None and found.exposure.high in (29, 30) and found.left <= 1
    for member in members.values():
        with as_analyst(member) as connection:
            text = refused(connection, f"SELECT email FROM customers WHERE id = {key}", "FL2109")
            assert "budget bulk is spent for personal data of eea shown in usa" in text
            assert value(connection, f"SELECT id FROM customers WHERE id = {key}") == key
    until(lambda: "past its warning" in members["eu"].log_tail(200), "the warning", members["eu"])
    assert metric(members["eu"], "fairlead_exposures_total", outcome="refused") == 3
    assert metric(members["eu"], "fairlead_exposure_persons", budget="bulk", to="usa") in (29, 30)
    assert metric(members["eu"], "fairlead_exposure_persons_left", budget="bulk") <= 1


def test_workers_spend_one_budget_and_a_killed_one_takes_nothing_back(world: World, folder: Path) -> None:
    settings = changes(folder, 60)
    member = launch(world, settings, workers=2)
    everybody = [*ids_on(world, "eu-0", 100), *ids_on(world, "eu-1", 100)]
    seen: set[int] = set()
    workers: set[int] = set()

    def read(part: list[int]) -> None:
        for key in part:
            with contextlib.suppress(*GONE), as_analyst(member) as connection:
                workers.add(worker_of(connection))
                with contextlib.suppress(pymysql.err.DatabaseError):
                    value(connection, f"SELECT email FROM customers WHERE id = {key}")
                    seen.add(key)

    together([partial(read, everybody[:15]), partial(read, everybody[15:30])])
    assert len(seen) == 30 and shown(folder) == 30 and workers == {0, 1}
    killer = threading.Timer(0.1, kill_worker, (member, 0))
    killer.start()
    together([partial(read, everybody[30:48]), partial(read, everybody[48:66])])
    killer.join()
    assert shown(folder) >= len(seen) - 1
    together([partial(read, everybody[start::3]) for start in range(3)])
    assert 52 <= len(seen) <= 60
    with as_analyst(launch(world, settings, workers=2)) as connection:
        refused(connection, f"SELECT email FROM customers WHERE id = {everybody[0]}", "FL2109")


def test_what_cannot_be_counted_is_not_shown(world: World, folder: Path) -> None:
    member = launch(world, changes(folder), workers=1)
    (key,) = ids_on(world, "eu-0")
    place = ledger_of(folder, "eea")
    for file in place.parent.glob("exposure.db*"):
        file.unlink()
    place.mkdir()
    with as_analyst(member) as connection:
        refused(connection, f"SELECT email FROM customers WHERE id = {key}", "FL2113")
        refused(connection, "SELECT email FROM customers WHERE country IS NOT NULL", "FL2113")
        assert metric(member, "fairlead_exposures_total", outcome="failed") == 2
        shutil.rmtree(place)
        assert "*" in value(connection, f"SELECT email FROM customers WHERE id = {key}")
