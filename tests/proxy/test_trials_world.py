"""Versions on trial over real servers: a shadow decides and enforces nothing, a canary serves a part of the clients,
and both become the version in force by a confirmation, or end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.world.fairlead import Fairlead
from loadtest.world.world import World
from ops.audit.report import Query, report
from tests.proxy.clients import Connection, ask, client, ids_on, metric, refused, until, value
from tests.proxy.reloading import CLEAR, MASKED, Operator, policies_of
from tests.proxy.test_audit_world import PEM

pytestmark = pytest.mark.world(regions=2)

EMAIL = "SELECT email FROM customers WHERE id = {}"
NAME = "SELECT name FROM customers WHERE id = {}"
COUNTRY = "SELECT country FROM customers WHERE id = {}"


class Region:
    """One region's Fairlead with a version in force."""

    def __init__(self, operator: Operator, key: int) -> None:
        self.operator = operator
        self.key = key
        self.member: Fairlead = operator.members["eu"]

    def run(self, verb: str, *arguments: str, which: int = CLEAR, code: int = 0, **sections: Any) -> dict[str, Any]:
        path = self.operator.file("eu", which)
        if sections:
            path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **sections}))
        return self.operator.run(verb, "-c", str(path), *arguments, codes=(code,))

    def apply(self, which: int, *arguments: str, code: int = 0, **sections: Any) -> dict[str, Any]:
        return self.run("apply", *arguments, which=which, code=code, **sections)

    def as_analyst(self) -> contextlib.AbstractContextManager[Connection]:
        return client(self.member, user="analyst", password="x")

    def seen_by(self, connection: Connection) -> int:
        (which,) = policies_of(ask(connection, EMAIL.format(self.key)))
        return which

    def marks(self) -> dict[str, str | None]:
        rows = json.loads(self.member.http("/digests?limit=1000&format=json"))["rows"]
        return {row["statement"]: row["shadow"] for row in rows if row["user"] == "analyst"}


@pytest.fixture
def region(world: World, tmp_path: Path) -> Iterator[Region]:
    (key,) = ids_on(world, "eu-0")
    with Operator(world, tmp_path, only=("eu",)) as operator:
        yield Region(operator, key)


def test_a_shadow_decides_and_enforces_nothing(region: Region) -> None:
    region.apply(MASKED, "--at-once")
    with region.as_analyst() as connection:
        told = region.apply(CLEAR, "--shadow", "--confirm-within", "10m")
        assert told["on_trial"] is True and told["in_force"] is False and told["trial"]["kind"] == "shadow"
        assert told["fairleads"][0]["state"] == "on trial"
        for _ in range(3):
            assert region.seen_by(connection) == MASKED
            refused(connection, NAME.format(region.key), "FL2101")
            ask(connection, COUNTRY.format(region.key))
        marks = region.marks()
        assert marks["SELECT name FROM customers WHERE id=?"] == "allowed"
        assert marks["SELECT email FROM customers WHERE id=?"] == "changed"
        assert marks["SELECT country FROM customers WHERE id=?"] == "same"
        assert metric(region.member, "fairlead_shadow_plans_total", change="allowed") >= 1
        assert "shadow of version 2, user analyst: SELECT name" in region.member.log.read_text()
        steps = ask(connection, f"EXPLAIN ROUTE {NAME.format(region.key)}")
        assert any(step == "version 2 on trial" and "no longer refused" in detail for step, detail in steps), steps
        history = region.run("history")
        assert (history["active"]["number"], history["active"]["trial"]["kind"]) == (2, "shadow")
        assert region.run("confirm")["in_force"] is True
        assert region.seen_by(connection) == CLEAR
        assert value(connection, NAME.format(region.key))
        assert set(region.marks().values()) == {None}


def test_a_shadow_that_is_stricter_refuses_nothing_and_ends_by_a_rollback(region: Region) -> None:
    region.apply(CLEAR, "--at-once")
    region.apply(MASKED, "--shadow")
    with region.as_analyst() as connection:
        assert value(connection, NAME.format(region.key)) and region.seen_by(connection) == CLEAR
        until(lambda: region.marks().get("SELECT name FROM customers WHERE id=?") == "refused", "the mark")
        assert region.run("rollback")["in_force"] is True
        assert region.run("history")["active"]["trial"] is None
        assert value(connection, NAME.format(region.key)) and set(region.marks().values()) == {None}


def test_decisions_beside_a_trial_say_so(region: Region, tmp_path: Path) -> None:
    (tmp_path / "audit.key").write_text(PEM)
    audit = {"folder": str(tmp_path / "audit"), "key": {"file": str(tmp_path / "audit.key")}}
    region.apply(MASKED, "--at-once", audit=audit)
    with region.as_analyst() as connection:
        region.apply(CLEAR, "--shadow", audit=audit)
        assert region.seen_by(connection) == MASKED
        refused(connection, NAME.format(region.key), "FL2101")
        region.run("rollback")
        assert region.seen_by(connection) == MASKED
        region.apply(CLEAR, "--canary", "99%", audit=audit)
        until(lambda: region.seen_by(connection) == CLEAR, "the canary")

    def decided() -> set[tuple[str, ...]]:
        found = report(tmp_path / "audit", Query(by=("verdict", "trial", "shadow")))
        return {tuple(row.group.values()) for row in found.rows}

    expected = {("mask", "2", "changed"), ("refuse", "2", "allowed"), ("mask", "-", "-"), ("allow", "4", "-")}
    until(lambda: expected <= decided(), f"the marks, not {decided()}")


def test_a_canary_in_one_worker_of_two(region: Region) -> None:
    region.apply(CLEAR, "--at-once")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(region.as_analyst()) for _ in range(40)]
        told = region.apply(MASKED, "--canary-workers", "1", "--confirm-within", "10m")
        assert told["on_trial"] is True
        seen = [region.seen_by(one) for one in connections]
        assert set(seen) == {CLEAR, MASKED}
        assert [region.seen_by(one) for one in connections] == seen
        assert region.run("confirm")["in_force"] is True
        assert {region.seen_by(one) for one in connections} == {MASKED}


def test_a_canary_for_half_of_the_sessions(region: Region) -> None:
    region.apply(CLEAR, "--at-once")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(region.as_analyst()) for _ in range(40)]
        assert region.apply(MASKED, "--canary", "50%")["on_trial"] is True
        seen = [region.seen_by(one) for one in connections]
        assert set(seen) == {CLEAR, MASKED} and 5 <= seen.count(MASKED) <= 35
        assert [region.seen_by(one) for one in connections] == seen
        more = {region.seen_by(stack.enter_context(region.as_analyst())) for _ in range(20)}
        assert more == {CLEAR, MASKED}
        assert region.run("rollback")["in_force"] is True
        assert {region.seen_by(one) for one in connections} == {CLEAR}


def test_a_trial_ends_by_itself(region: Region) -> None:
    region.apply(CLEAR, "--at-once")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(region.as_analyst()) for _ in range(20)]
        region.apply(MASKED, "--canary", "99%", "--confirm-within", "3s")
        until(lambda: {region.seen_by(one) for one in connections} == {CLEAR}, "the end of the trial", region.member)


@pytest.mark.parametrize(
    ("options", "sections", "why"),
    [
        (("--canary-workers", "2"), {}, "there are 2 workers"),
        (("--canary", "10%"), {"limits": {"drain": "3s"}}, "more changes than the policy"),
    ],
)
def test_what_cannot_be_tried_so_is_refused(
    region: Region, options: tuple[str, ...], sections: dict[str, Any], why: str
) -> None:
    region.apply(CLEAR, "--at-once")
    told = region.apply(MASKED, *options, code=1, **sections)
    assert told["fairleads"][0]["state"] == "refused" and why in told["fairleads"][0]["error"]
    with region.as_analyst() as connection:
        assert region.seen_by(connection) == CLEAR
        assert region.run("rollback")["in_force"] is True
