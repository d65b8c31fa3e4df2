"""The same data in a row and in a hash, under the same policies: the same verdicts, for every subject and every kind
of verdict. `make test-mysql` runs it on MySQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pymysql
import pytest

from config.load import load
from loadtest.demo import borders
from loadtest.world import configuration
from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from proxy.generation import Generation
from router.policy.model import Action, FlowKind
from router.redis.resp import Error
from tests.proxy.clients import ask, client
from tests.proxy.redis import test_policy as mine
from tests.proxy.redis.raw import Raw
from tests.proxy.redis.test_policy import FIELDS, ROWS, USERS, as_user, key_of, rows

pytestmark = pytest.mark.world(regions=2, redis=True)
__all__ = ["rows"]

DOMAINS = {"eu": "eea", "us": "usa"}


def demo(*more: dict[str, Any]) -> dict[str, Any]:
    """The demo's policy and users. The test's customers have no passport; their names are its."""
    with TemporaryDirectory() as folder:  # its key goes there, which is not used here
        found = borders.changes(Path(folder), "eu")
    columns = found["policy"]["labels"]["shop"]["tables"]["customers"]["columns"]
    columns["name"] = columns.pop("passport")
    everybody = {user: {**USERS["clerk"], "password": {"value": user}} for user in ("demo", borders.ANALYST)}
    redis = {"patterns": {"customer": {"columns": {one: one for one in FIELDS}}}}
    built = {"users": everybody, "policy": found["policy"], "redis": redis}
    for changes in more:
        built = configuration.merge(built, changes)
    return built


NEW_RULE = {"policy": {"rules": {"passports": borders.PASSPORT_RULE}}}
"""The tour's, without its budget: what has to be counted is refused for keys."""
WORLDS = {"mine": mine.CHANGES, "demo": demo(), "demo with its new rule": demo(NEW_RULE)}
SUBJECTS = [("mine", one) for one in mine.SUBJECTS]
SUBJECTS += [(world, user) for world in ("demo", "demo with its new rule") for user in ("demo", borders.ANALYST)]
KINDS = {
    ("mine", "clerk"): {"allow", "refuse"},
    ("mine", "analyst"): {"allow", "aggregate", "mask", "refuse"},
    ("mine", "auditor"): {"allow", "aggregate", "mask", "tokenise", "refuse"},
    ("mine", "courier"): {"allow", "send_home", "refuse"},
    ("mine", "stranger"): {"allow", "refuse"},
    ("demo", "demo"): {"allow"},
    ("demo", "analyst"): {"allow", "aggregate", "mask", "refuse"},
    ("demo with its new rule", "demo"): {"allow"},
    ("demo with its new rule", "analyst"): {"allow", "aggregate", "mask", "refuse"},
}
"""What is decided about columns of both homes that a subject reads, as they are or in an average: so that every kind is
compared."""


def members(world: World, policy: str) -> dict[str, Fairlead]:
    return {region: world.kept(WORLDS[policy], region=region) for region in ROWS}


def sql_verdict(connection: Any, statement: str) -> str:
    """What comes back, as text; REFUSED for what the policy refuses."""
    try:
        found = ask(connection, statement)
    except pymysql.err.Error as error:
        assert "FL21" in str(error), error
        return "REFUSED"
    return str(found[0][0]) if found else "done"


def redis_verdict(connection: Raw, *command: Any) -> str:
    reply = connection.ask(*command)
    if isinstance(reply, Error):
        assert "FL21" in reply.text, reply
        return "REFUSED"
    return reply.decode() if isinstance(reply, bytes) else "done"


@contextlib.contextmanager
def both(member: Fairlead, user: str) -> Iterator[tuple[Any, Raw]]:
    with client(member, user=user, password=user) as sql, as_user(member, user) as redis:
        yield sql, redis


@pytest.mark.parametrize("region", ROWS)
@pytest.mark.parametrize("home", ROWS)
@pytest.mark.parametrize(("policy", "subject"), SUBJECTS)
def test_a_row_and_a_hash_have_the_same_verdicts(world: World, policy: str, subject: str, home: str, region: str):
    """At home, and asked of the other region's Fairlead."""
    number, key, member = ROWS[home], key_of(home), members(world, policy)[region]
    with both(member, subject) as (sql, redis):
        for column in reversed(FIELDS):  # what is masked comes before what opens a way into the other region
            read = sql_verdict(sql, f"SELECT {column} FROM customers WHERE id = {number}")
            assert redis_verdict(redis, "HGET", key, column) == read, column
        for column in FIELDS[1:]:  # of a row that is not there, so that nothing changes
            written = sql_verdict(sql, f"UPDATE customers SET {column} = '1' WHERE id = {number + 900}")
            assert redis_verdict(redis, "HSET", f"customer:{number + 900}", column, "1") == written, column
        removed = sql_verdict(sql, f"DELETE FROM customers WHERE id = {number + 900}")
        assert redis_verdict(redis, "DEL", f"customer:{number + 900}") == removed
        there = sql_verdict(sql, f"SELECT COUNT(*) FROM customers WHERE id = {number}")
        seen = redis.ask("EXISTS", key)
        assert ("REFUSED" if isinstance(seen, Error) else str(seen)) == there


@cache
def generation(file: Path) -> Generation:
    return Generation.build(1, load(file, environment={configuration.PASSWORD_VARIABLE: "x"}))


@pytest.mark.parametrize(("policy", "subject"), SUBJECTS)
def test_every_kind_of_verdict_is_among_them(world: World, policy: str, subject: str):
    found = generation(members(world, policy)["eu"].file).policy
    assert found is not None
    who = found.subject_of(subject, "mysql", None)
    kinds = {
        found.decide_column("shop", "customers", column, home, who, "read", flow).action
        for column in FIELDS
        for home in DOMAINS.values()
        for flow in (FlowKind.IDENTITY, FlowKind.AGGREGATE)
    }
    assert {one.name.lower() for one in kinds} == KINDS[policy, subject]


def test_no_kind_is_missing():
    assert {kind for kinds in KINDS.values() for kind in kinds} == {one.name.lower() for one in Action}
