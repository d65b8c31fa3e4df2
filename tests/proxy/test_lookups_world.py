"""Lookups answer, and keep, what one server with all rows would; through crashes, and while they are built."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
import yaml

from config.load import load
from loadtest.world.configuration import PASSWORD_VARIABLE
from loadtest.world.fairlead import Fairlead
from loadtest.world.sqlserver import SERVICE_USER, Passwords, SqlServer
from loadtest.world.world import SERVERS, World
from proxy.lookups.tasks import Pace, Report, Task
from tests.differential.duel import differences
from tests.differential.wire import Answer, Raw
from tests.proxy import looked
from tests.proxy.clients import ask, client, fails, until, value
from tests.proxy.looked import KEYSPACE, LOOKUPS
from tests.proxy.test_atomic_writes import LOST, QUICK, Fragile, in_doubt
from tests.servers import BOTH_SERVERS

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "lookups.yaml").read_text())
ROWS = (
    "INSERT INTO people VALUES (1, 'a@x', 'Ann'), (2, 'b@x', 'Bob'), (3, NULL, 'Nil'), (4, 'd@x', 'Dan'), "
    "(5, 'e@x', 'Eve')",
    "INSERT INTO notes VALUES (1, 1, 'Red', 7), (2, 1, 'red', 7), (1, 2, 'blue', 7), (1, 3, 'red', 8), (2, 3, NULL, 7)",
)


def task(member: Fairlead, name: str, pace: Pace) -> Task:
    settings = load(member.file, environment={PASSWORD_VARIABLE: Passwords().service})
    return Task(settings, KEYSPACE, name, pace, lambda shard, rows: None)


def does(member: Fairlead, verb: str, name: str, pace: Pace | None = None, **options: Any) -> Report:
    """`fairlead lookup VERB` without its process."""

    async def whole() -> Report:
        async with task(member, name, pace or Pace(batch=3)) as work:
            return await getattr(work, verb)(**options)

    return asyncio.run(whole())


def in_step(member: Fairlead) -> list[Report]:
    """Reports of lookups that differ from their tables."""
    return [report for name in LOOKUPS if not (report := does(member, "verify", name)).well]


def make_lookups(world: World, changes: dict[str, Any], kind: type[Fairlead] = Fairlead) -> Fairlead:
    """The keyspace with its lookups, and a Fairlead that has seen them."""
    if not next(iter(world.shards.values())).primary.query(f"SHOW DATABASES LIKE '{KEYSPACE}'"):
        world.add_keyspace(KEYSPACE, looked.SCHEMA)
    member = world.fleet(changes, kind)["eu"]
    for name in LOOKUPS:
        does(member, "create", name)
    until(lambda: _kept(member), "the lookups' tables are seen", member)
    return member


def _kept(member: Fairlead) -> bool:
    with client(member, database=KEYSPACE) as connection:
        texts = (f"EXPLAIN ROUTE DELETE FROM {table}" for table in ("people", "notes", "visits"))
        return all(("route", "Keep") in ask(connection, text) for text in texts)


@pytest.fixture
def fairlead(world: World) -> Fairlead:
    return make_lookups(world, looked.changes(world))


@pytest.fixture
def plain(world: World) -> Iterator[SqlServer]:
    (port,) = world.reserve_ports(1)
    server = SERVERS[world.shape.flavour](
        "plain", world.directory, port=port, server_id=999, tuning=world.shape.tuning
    )
    try:
        server.start()
        server.create_keyspace(KEYSPACE)
        server.run(*looked.SCHEMA, database=KEYSPACE)
        yield server
    finally:
        server.wipe()


# --- what is answered ---------------------------------------------------------------------------------------


@BOTH_SERVERS
def test_as_one_server(fairlead: Fairlead, plain: SqlServer) -> None:
    wrong: list[str] = []
    for case in CASES:
        mine = Raw(fairlead.connect(database=KEYSPACE))
        theirs = Raw(plain.connect_tcp(SERVICE_USER, database=KEYSPACE))
        try:
            for text in ("DELETE FROM people", "DELETE FROM notes", *ROWS):
                assert mine.query(text).kind == theirs.query(text).kind == "ok"
            for step in case["steps"]:
                wrong += [f"{case['name']}: {step}: {one}" for one in _step(mine, theirs, step)]
        finally:
            mine.close()
            theirs.close()
        wrong += [f"{case['name']}: {report}" for report in in_step(fairlead)]
    assert not wrong, "\n".join(wrong)


def _step(mine: Raw, theirs: Raw, step: Any) -> list[str]:
    given = {"sql": step} if isinstance(step, str) else step
    if "refused" in given:
        found = mine.query(given["sql"])
        return [] if found.message.startswith(f"{given['refused']}: ") else [f"{found.kind} {found.message!r}"]
    found, wanted = (_asked(side, given) for side in (mine, theirs))
    return differences(found, wanted)


def _asked(side: Raw, given: dict[str, Any]) -> Answer:
    if "params" not in given:
        return side.query(given["sql"])
    statement = side.prepare(given["sql"])
    if statement.answer.kind == "error":
        return statement.answer
    answer = side.execute(statement, given["params"])
    side.close_statement(statement)
    return answer


def _ids(server: SqlServer, key: int) -> list[Any]:
    return server.query(f"SELECT id FROM people WHERE id = {key}", KEYSPACE)


# --- crashes ------------------------------------------------------------------------------------------------


def test_their_tables_are_listed_nowhere(fairlead: Fairlead) -> None:
    listed = [("notes",), ("people",), ("visits",)]
    of = f"FROM information_schema.tables WHERE table_schema = '{KEYSPACE}'"
    with client(fairlead, database=KEYSPACE) as connection:
        assert sorted(ask(connection, "SHOW TABLES")) == listed
        assert sorted(ask(connection, "SHOW FULL TABLES")) == [(name, "BASE TABLE") for (name,) in listed]
        assert ask(connection, "SHOW TABLES LIKE 'fairlead%'") == []
        assert sorted((row[0],) for row in ask(connection, "SHOW TABLE STATUS")) == listed
        assert sorted(ask(connection, f"SELECT table_name {of}")) == listed
        assert value(connection, f"SELECT COUNT(*) {of}") == value(connection, f"SELECT COUNT(table_rows) {of}") == 3
        assert sorted({(row[2],) for row in ask(connection, f"SELECT * {of}")}) == listed
        columns = "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = DATABASE()"
        assert sorted(ask(connection, columns)) == listed
        assert ask(connection, "SELECT 1 FROM information_schema.statistics WHERE table_name LIKE 'fairlead%'") == []


def test_crashes_between_rows_and_entries(world: World) -> None:
    member = make_lookups(world, {**looked.changes(world), **QUICK}, Fragile)
    assert isinstance(member, Fragile)
    for point in ("executed", "prepared", "decided"):
        with client(member, database=KEYSPACE) as connection:
            for text in ("DELETE FROM people", ROWS[0]):
                ask(connection, text)
            member.die_at(point)
            fails(connection, "UPDATE people SET email = CONCAT('new', id) WHERE id > 0", *LOST)
        until(lambda: in_doubt(world) == 0, "recovery", member)
        member.wait_ready()
        assert does(member, "verify", "people_by_email").well, point
        with client(member, database=KEYSPACE) as connection:
            moved = value(connection, "SELECT COUNT(*) FROM people WHERE email LIKE 'new%'")
            assert moved == (5 if point == "decided" else 0), "the row without a value has one now"
            assert ask(connection, "SELECT id FROM people WHERE email = 'a@x'") == ([] if moved else [(1,)])


# --- building -----------------------------------------------------------------------------------------------


def building(world: World) -> Fairlead:
    """A table with rows, and a lookup that begins to be built."""
    lookups = {name: {**one, "state": "building"} for name, one in LOOKUPS.items()}
    world.add_keyspace(KEYSPACE, looked.SCHEMA)
    member = world.fleet(looked.changes(world, {}))["eu"]
    with client(member, database=KEYSPACE) as connection:
        for text in ROWS:
            ask(connection, text)
        rows = ", ".join(f"({n}, 'p{n}@x', 'Someone')" for n in range(100, 180))
        ask(connection, f"INSERT INTO people VALUES {rows}")
    return make_lookups(world, looked.changes(world, lookups))


@BOTH_SERVERS
def test_it_is_built_while_writes_go_on(world: World) -> None:
    member = building(world)
    stop, wrong = threading.Event(), []

    def write(first: int) -> None:
        with client(member, database=KEYSPACE) as connection:
            turn = 0
            while not stop.is_set():
                turn += 1
                for text in (
                    f"UPDATE people SET email = 'w{first}.{turn}@x' WHERE id = {first}",
                    f"INSERT INTO people VALUES ({1000 + first}, 'n{first}@x', 'new')",
                    f"DELETE FROM people WHERE id IN ({first + 10}, {1000 + first})",
                    f"INSERT INTO people VALUES ({first + 10}, 'again{first}.{turn}@x', 'back')",
                ):
                    try:
                        ask(connection, text)
                    except pymysql.err.MySQLError as error:
                        # A batch and a transaction may get into each other's way; the row is then there still.
                        if error.args[0] not in (1205, 1213) and "PRIMARY" not in str(error):
                            wrong.append(f"{text}: {error}")

    threads = [threading.Thread(target=write, args=(first,)) for first in (105, 145)]
    for thread in threads:
        thread.start()
    try:
        report = does(member, "backfill", "people_by_email", Pace(batch=20))
        while_writing = does(member, "verify", "people_by_email", Pace(batch=20))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[:3]
    assert report.well and while_writing.well, (report, while_writing)
    assert report.rows >= 80
    assert does(member, "verify", "people_by_email").well
    # It goes on where it was; with `anew` it begins again, which changes nothing.
    assert does(member, "backfill", "people_by_email").rows < 50
    assert does(member, "backfill", "people_by_email", anew=True).rows >= 80
    with client(member, database=KEYSPACE) as connection:
        steps = ask(connection, "EXPLAIN ROUTE SELECT * FROM people WHERE email = 'p120@x'")
        assert ("route", "Scatter") in steps, "it is not ready"


def test_past_fairlead(world: World, fairlead: Fairlead) -> None:
    """What is written to the shards unseen."""
    with client(fairlead, database=KEYSPACE) as connection:
        for text in ROWS:
            ask(connection, text)
        other, home = sorted((shard.primary for shard in world.shards.values()), key=lambda one: len(_ids(one, 1)))
        # The other shard is not asked: a row without an entry is not found there.
        other.run("INSERT INTO people VALUES (99, 'a@x', 'unseen')", database=KEYSPACE)
        assert ask(connection, "SELECT id FROM people WHERE email = 'a@x'") == [(1,)]
        # An entry that has gone stale gives no wrong row.
        home.run("UPDATE people SET email = 'moved@x' WHERE id = 1", database=KEYSPACE)
        assert ask(connection, "SELECT id FROM people WHERE email = 'a@x'") == []
        other.run("DELETE FROM people WHERE id = 99", database=KEYSPACE)
        report = does(fairlead, "verify", "people_by_email")
        assert (report.missing, report.stale, report.well) == (1, 1, False)
        assert len(report.problems) == 2 and not any("@" in one for one in report.problems)
        assert does(fairlead, "verify", "people_by_email", repair=True).well
        assert does(fairlead, "verify", "people_by_email").well
        assert ask(connection, "SELECT id FROM people WHERE email = 'moved@x'") == [(1,)]
        # Two rows with one value: neither is taken away.
        other.run("INSERT INTO people VALUES (99, 'moved@x', 'twice')", database=KEYSPACE)
        report = does(fairlead, "backfill", "people_by_email", anew=True)
        assert (report.conflicts, report.well) == (1, False)
        # A table that cannot be followed any more: nothing is written to it, and all shards are asked.
        for server in (home, other):
            server.run(
                "DELETE FROM people WHERE id = 99",
                "CREATE TRIGGER sly BEFORE UPDATE ON people FOR EACH ROW SET NEW.email = 'sly'",
                database=KEYSPACE,
            )
        until(lambda: _refused_now(connection, "UPDATE people SET email = 'x' WHERE id = 5"), "it is seen", fairlead)
        assert ask(connection, "SELECT id FROM people WHERE email = 'b@x'") == [(2,)]


def _refused_now(connection: Any, text: str) -> bool:
    try:
        ask(connection, text)
    except pymysql.err.Error as error:
        return str(error.args[1]).startswith("FL1350: ")
    return False
