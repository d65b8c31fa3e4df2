"""The checker accepts what was decided, and nothing that differs from it in any part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from _speedups import lexer
from router.errors import Refusal
from router.policy.checker import Scene, check
from router.policy.enforce import Part
from router.policy.model import Action, FlowKind
from router.policy.proof import Finding, Proof, digest_of
from router.template import spliced_text
from router.tokens import decode, tokenize
from tests.router.policy.stand_in import EEA, US, StandIn
from tests.router.policy.test_decisions import CASES, POLICY, context, decided
from tests.router.policy.test_noninterference import Grammar

STATEMENTS = [
    "SELECT email, id FROM customers WHERE id = 1",
    "SELECT c.email, o.id FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = 4 AND o.customer_id = 4",
    "SELECT country, AVG(balance) a FROM customers WHERE id = 3 GROUP BY country HAVING COUNT(*) > 1",
    "SELECT id, country FROM customers WHERE id = 5",
    "UPDATE customers SET country = 'x' WHERE id = 1",
    "INSERT INTO notes (customer_id, seq, body) SELECT id, 1, email FROM customers WHERE id = 1",
    "SELECT email FROM customers WHERE id = 1 FOR UPDATE",
]  # fmt: skip


def prepared(sql: str) -> tuple[str, str, Proof, Scene]:
    """The outgoing template, the same for the parser, the proof, and the scene: of shard eu-0, for the us."""
    where = context("us")
    planned, lexed = decided(sql.encode(), where)
    assert planned.policy is not None
    part: Part = planned.policy.parts["eu-0"]
    assert part.proof is not None and part.refusal is None
    tokens = tokenize(decode(lexed.norm))
    put: dict[int, list[tuple[str, str]]] = {}
    for one in part.splices:
        put.setdefault(one.token, []).append((one.side, one.text))
    shard = where.topology.shard("eu-0")
    assert shard is not None
    scene = Scene(POLICY, US, shard, where.topology, where.schemas, where.database)
    return part.template, spliced_text(lexed, tokens, put), part.proof, scene


@pytest.mark.parametrize("sql", STATEMENTS)
def test_what_was_decided_is_accepted(sql: str) -> None:
    check(*prepared(sql))


@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_proof_that_differs_in_any_field_is_refused(sql: str) -> None:
    assert accepted_mutants(sql) == []


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_so_are_those_of_generated_statements(seed: int) -> None:
    tried = 0
    for one in range(seed * GENERATED, (seed + 1) * GENERATED):
        sql = Grammar(one).query()
        if answered(sql):
            tried += 1
            assert accepted_mutants(sql) == [], sql
    assert tried >= GENERATED / 15


GENERATED = 60


def answered(sql: str) -> bool:
    planned, _ = decided(sql.encode(), context("us"))
    part = planned.policy.parts.get("eu-0") if planned.policy is not None else None
    return part is not None and part.proof is not None


def accepted_mutants(sql: str) -> list[str]:
    template, parsed, proof, scene = prepared(sql)
    check(template, parsed, proof, scene)
    accepted = []
    for what, changed in mutants(proof):
        try:
            check(template, parsed, changed, scene)
        except Refusal:
            continue
        accepted.append(what)
    return accepted


def mutants(proof: Proof) -> Iterator[tuple[str, Proof]]:
    """Every proof that differs from this one in one field, or in one field of one finding."""
    for name, values in _OTHERS.items():
        for value in values:
            if value != getattr(proof, name):
                yield name, replace(proof, **{name: value})
    assert {one.name for one in fields(Proof)} == set(_OTHERS) | {"findings", "outputs", "influence", "written"}
    for at, finding in enumerate(proof.findings):
        for what, other in _other_findings(finding):
            changed = (*proof.findings[:at], other, *proof.findings[at + 1 :])
            yield f"findings[{at}].{what}", replace(proof, findings=changed)
        yield f"findings[{at}] left out", replace(proof, findings=proof.findings[:at] + proof.findings[at + 1 :])
        yield f"findings[{at}] twice", replace(proof, findings=(*proof.findings, finding))
    for part in ("outputs", "influence", "written"):
        listed: tuple[Any, ...] = getattr(proof, part)
        for at in range(len(listed)):
            yield f"{part}[{at}] left out", replace(proof, **{part: listed[:at] + listed[at + 1 :]})
    for at, (mention, name) in enumerate(proof.influence):
        elsewhere = (*proof.influence[:at], (mention + 1, name), *proof.influence[at + 1 :])
        if set(elsewhere) != set(proof.influence):
            yield f"influence[{at}] of another mention", replace(proof, influence=elsewhere)
    secret = (0, ("shop", "customers", "name"))
    yield "influence more", replace(proof, influence=(*proof.influence, secret))
    for at, (label, uses) in enumerate(proof.outputs):
        more = (label, (*uses, (secret, FlowKind.IDENTITY)))
        yield f"outputs[{at}] more", replace(proof, outputs=(*proof.outputs[:at], more, *proof.outputs[at + 1 :]))
        other = (label + "x", uses)
        yield f"outputs[{at}] label", replace(proof, outputs=(*proof.outputs[:at], other, *proof.outputs[at + 1 :]))
        for use in range(len(uses)):
            fewer = (label, uses[:use] + uses[use + 1 :])
            changed_outputs = (*proof.outputs[:at], fewer, *proof.outputs[at + 1 :])
            if len({one for _, all_uses in changed_outputs for one in all_uses}) < len(_uses(proof)):
                yield f"outputs[{at}] fewer", replace(proof, outputs=changed_outputs)


def _uses(proof: Proof) -> set[Any]:
    return {one for _, uses in proof.outputs for one in uses}


_OTHERS: dict[str, list[Any]] = {
    "epoch": [6, 8],
    "subject": [0, 2],
    "domain": ["eea", ""],
    "purpose": [None, "sales"],
    "counterparty": [None, "other"],
    "here": ["us", ""],
    "flavour": ["mysql"],
    "digest": ["0" * 64, ""],
}


def _other_findings(one: Finding) -> Iterator[tuple[str, Finding]]:
    changes: dict[str, list[Any]] = {
        "mention": [one.mention + 7],
        "name": [("shop", "customers", "name"), ("shop", "orders", "id"), ("best", *one.name[1:])],
        "homes": [("us",), ("eea", "us"), ()],
        "flow": list(FlowKind),
        "operation": ["read", "write"],
        "cls": [one.cls + 1],
        "action": list(Action),
        "mask": [None, "null", "stars"],
        "k": [one.k + 1, one.k - 1],
        "rules": [(), ("other",)],
        "obligations": [("log",)],
    }
    assert set(changes) == {field.name for field in fields(Finding)}
    for name, values in changes.items():
        for value in values:
            if value != getattr(one, name):
                yield f"{name}={value!r}", replace(one, **{name: value})


@pytest.mark.parametrize("text", json.loads((CASES / "checker" / "leaks.json").read_text()))
def test_a_text_that_gives_more_than_its_proof_is_refused(text: str) -> None:
    _, _, proof, scene = prepared(STATEMENTS[0])
    with pytest.raises(Refusal):
        check(text, text, replace(proof, digest=digest_of(text)), scene)


def test_a_least_count_that_is_too_small_is_refused() -> None:
    template, parsed, proof, scene = prepared(STATEMENTS[2])
    fewer, shorter = template.replace(">= 3", ">= 2"), parsed.replace(">= 3", ">= 2")
    assert fewer != template
    with pytest.raises(Refusal):
        check(fewer, shorter, replace(proof, digest=digest_of(fewer)), scene)


def test_another_subject_or_policy_is_refused() -> None:
    template, parsed, proof, scene = prepared(STATEMENTS[0])
    for other in (replace(scene, subject=EEA), replace(scene, policy=StandIn(epoch=8))):
        with pytest.raises(Refusal):
            check(template, parsed, proof, other)


def test_the_text_must_lex_to_what_was_checked() -> None:
    where = context("us")
    sql = b"SELECT email FROM customers WHERE id = 1"
    planned, _ = decided(sql, where)
    assert planned.policy is not None
    other = b"SELECT email FROM customers2 WHERE id = 1"
    with pytest.raises(Refusal):
        planned.policy.text("eu-0", other, lexer.lex(other, where.mode), where.mode)
