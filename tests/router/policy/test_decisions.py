"""Statements, subjects and what becomes of them on a shard: the cases of tests/cases/policy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from _speedups import lexer
from router.context import Context
from router.errors import CATALOGUE, Refusal
from router.plan import Planned, Refuse
from router.policy.enforce import plan
from router.privileges import Grants
from tests.router import planning
from tests.router.policy.stand_in import EEA, US, StandIn

CASES = Path(__file__).parents[2] / "cases" / "policy"
SUBJECTS = {"us": US, "eea": EEA}
POLICY = StandIn()


def cases() -> list[Any]:
    found = []
    for path in sorted(CASES.glob("*.json")):
        for number, case in enumerate(json.loads(path.read_text())):
            found.append(pytest.param(case, id=f"{path.stem}-{number}"))
    return found


def context(subject: str, database: str = "shop", mode: int = 0) -> Context:
    return replace(planning.context(database, mode=mode), policy=POLICY, subject=SUBJECTS[subject])


def decided(sql: bytes, where: Context) -> tuple[Planned, Any]:
    lexed = lexer.lex(sql, where.mode)
    return plan(lexed, sql, where), lexed


def outcome(sql: bytes, where: Context, shard: str) -> str:
    """What the shard is sent, 'as it is', or the id of the refusal."""
    planned, lexed = decided(sql, where)
    if isinstance(planned.plan, Refuse):
        return CATALOGUE[planned.plan.entry].id
    if planned.policy is None:
        return "as it is"
    try:
        text = planned.policy.text(shard, sql, lexed, where.mode)
    except Refusal as error:
        return error.id
    return "as it is" if text is None else " ".join(text.decode().split())


@pytest.mark.parametrize("case", cases())
def test_a_shard_gets_what_the_policy_allows(case: dict[str, Any]) -> None:
    where = context(case.get("subject", "us"), case.get("database", "shop"), case.get("mode", 0))
    assert outcome(case["sql"].encode(), where, case.get("shard", "eu-0")) == case["becomes"]


@pytest.mark.parametrize("table", ["processlist", "OPTIMIZER_TRACE", "innodb_buffer_page", "`global_status`"])
def test_whoever_administers_is_told_nothing_of_servers_at_work_abroad(table: str) -> None:
    where = replace(context("us", "app"), grants=Grants("root", planning.settings().users["root"].grants))
    assert outcome(f"SELECT * FROM information_schema.{table}".encode(), where, "eu-0") == "FL2105"
    at_home = replace(where, policy=None, subject=None)
    assert outcome(f"SELECT * FROM information_schema.{table}".encode(), at_home, "eu-0") == "as it is"
