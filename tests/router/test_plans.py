"""The planner against its cases: tests/cases/plans/*.json, one statement each with its plan or its error.

A case: `comment`, `database` and `user` of the session, `sql`, and either `error` (the catalogue's entry, with
`args`) or `plan` (as `router.explain.describe` prints it), `shards` or `refused` (where this very text goes), and
`facts` (those that are not as they are by default).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from _speedups import lexer
from router.errors import CATALOGUE
from router.explain import describe, explain_planned
from router.plan import Facts, Planned, Refuse
from router.route import route
from tests.router.planning import CASES, context, planned

FILES = sorted(path for path in CASES.glob("*.json") if path.name != "schema.json")
LOADED = [(path.stem, case) for path in FILES for case in json.loads(path.read_text())]
MUST_ANSWER = 0.5
"""Share of the cases that are planned rather than refused, so that refusing everything cannot pass."""


def test_there_are_enough_cases_and_most_are_answered() -> None:
    answered = [case for _, case in LOADED if "plan" in case]
    assert len(LOADED) >= 350
    assert len(answered) >= MUST_ANSWER * len(LOADED)


@pytest.mark.parametrize(("file", "case"), LOADED, ids=[f"{file}:{case['comment']}" for file, case in LOADED])
def test_plan(file: str, case: dict[str, Any]) -> None:
    where = context(case["database"], case.get("user", "demo"))
    found = planned(case["sql"], where)
    if "error" in case:
        assert found.plan == Refuse(case["error"], tuple(case["args"]))
        assert str(CATALOGUE[case["error"]].errno)
        return
    assert describe(found.plan) == case["plan"]
    assert facts_of(found) == case["facts"]
    text = case["sql"].encode()
    went = route(found, lexer.lex(text, where.mode), text)
    if isinstance(went, Refuse):
        assert case.get("refused") == went.entry
    else:
        assert list(went) == case.get("shards", [])


def facts_of(found: Planned) -> dict[str, Any]:
    """The facts that differ from the defaults, without the verb, the tables, the hints and what every SELECT has."""
    plain = Facts("")
    names = [name for name in Facts.__slots__ if name not in ("verb", "tables", "hints", "found_rows")]
    values = {name: getattr(found.facts, name) for name in names}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value != getattr(plain, name)
    }


@pytest.mark.parametrize(("file", "case"), LOADED, ids=[f"{file}:{case['comment']}" for file, case in LOADED])
def test_every_plan_can_be_explained_and_filled(file: str, case: dict[str, Any]) -> None:
    where = context(case["database"], case.get("user", "demo"))
    text = case["sql"].encode()
    lexed = lexer.lex(text, where.mode)
    found = planned(case["sql"], where)
    explained = explain_planned(found, lexed, text, where)
    assert json.dumps(explained.as_dict())
    assert explained.as_rows()[0][0] == "route"
    if "error" in case:
        assert explained.error is not None
        assert explained.error.startswith(CATALOGUE[case["error"]].id)


def test_the_same_statement_gives_the_same_plan_for_literals_and_parameters() -> None:
    for _, case in LOADED:
        if case["database"] != "shop" or "plan" not in case or "?" in case["sql"]:
            continue
        text = case["sql"].encode()
        slots = lexer.lex(text, 0).slots
        if any(slot.kind in (lexer.LIST, lexer.ROWS) or slot.flags & lexer.INTRODUCER for slot in slots):
            continue
        prepared = text
        for slot in reversed(slots):
            prepared = prepared[: slot.offset] + b"?" + prepared[slot.offset + slot.length :]
        if lexer.lex(prepared, 0).norm == lexer.lex(text, 0).norm:
            before, after = planned(case["sql"], context()), planned(prepared.decode(), context())
            if before.facts.cacheable:
                assert describe(before.plan) == describe(after.plan), case["sql"]
