"""What a scratch server may be given under a policy, and what it is asked at last."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

import pytest

from _speedups import lexer
from router import plan as plans
from router.context import Context
from router.errors import CATALOGUE, Refusal
from router.explain import explain
from router.policy.enforce import plan
from router.policy.model import Action, Duty, Obligation, Verdict
from router.policy.scratched import judged, readable
from router.topology import Topology
from tests.router import planning
from tests.router.policy.stand_in import EEA, LABELS, PERSONAL, PUBLIC, US, StandIn
from tests.router.policy.test_decisions import context, decided

JOIN = b"SELECT a.email, b.country FROM customers a JOIN customers b ON b.email = a.email WHERE a.id > 5"


@cache
def with_scratch(region: str = "eu") -> Topology:
    """The planner's world, seen from a region, with a scratch server there."""
    given = planning.topology()
    shop = given.keyspace("shop")
    assert shop is not None
    scratch = given.shard(f"{region}-0")
    keyspaces = {one.name: one for one in given.keyspaces} | {"shop": replace(shop, scratch=scratch)}
    return replace(given, keyspaces=tuple(keyspaces.values()), _keyspaces=MappingProxyType(keyspaces))


def scratched(subject: str, region: str = "eu") -> Context:
    return replace(context(subject), topology=with_scratch(region))


def entry(sql: bytes, where: Context) -> str:
    planned, _ = decided(sql, where)
    return CATALOGUE[planned.plan.entry].name if isinstance(planned.plan, plans.Refuse) else type(planned.plan).__name__


@pytest.mark.parametrize(
    ("sql", "subject", "region", "becomes"),
    [
        (JOIN, "us", "us", "Residual"),
        # Rows of the us in clear, and those of the eea, would be with the eu.
        (JOIN, "us", "eu", "POLICY_SCRATCH"),
        (JOIN.replace(b"email", b"country"), "us", "eu", "Residual"),
        (JOIN.replace(b"email", b"name"), "us", "us", "POLICY_REFUSED"),
        (JOIN.replace(b"email", b"balance"), "us", "us", "POLICY_REFUSED"),
        # To computing on one shard, and to values in the text for others, a scratch server is the alternative.
        (b"SELECT COUNT(email) / COUNT(*) FROM customers", "us", "us", "Residual"),
        (b"SELECT id FROM orders WHERE total > (SELECT MAX(id) FROM customers)", "us", "us", "Residual"),
        (b"SELECT a.id, (SELECT COUNT(*) FROM customers) FROM customers a", "us", "us", "SCRATCH_POLICY"),
        (b"SELECT a.id, (SELECT COUNT(*) FROM customers) AS n FROM customers a", "us", "us", "Residual"),
        (b"SELECT a.id, (SELECT COUNT(*) FROM orders) FROM orders a", "us", "us", "Residual"),
        (JOIN.replace(b"customers b", b"customers b USE INDEX (email)"), "us", "us", "SCRATCH_POLICY"),
        (b"SELECT COUNT(*) FROM tickets a JOIN orders b ON b.id = a.id", "us", "us", "Residual"),
        (b"SELECT COUNT(*) FROM tickets a JOIN orders b ON b.id = a.id", "us", "eu", "POLICY_SCRATCH"),
    ],
)
def test_what_may_be_there(sql: bytes, subject: str, region: str, becomes: str) -> None:
    assert entry(sql, scratched(subject, region)) == becomes


def residual(sql: bytes, where: Context) -> plans.Residual:
    planned, _ = decided(sql, where)
    assert isinstance(planned.plan, plans.Residual)
    return planned.plan


def test_each_shard_gives_what_the_user_may_see() -> None:
    where = scratched("us", "us")
    one, _ = residual(JOIN, where).pulls
    assert one.planned is not None and one.planned.policy is not None
    text = one.planned.policy.part("eu-0").template
    assert "CONCAT(LEFT(`email`, 1), '***') AS `email`" in text
    assert not one.planned.policy.part("us-0").splices


def test_rows_that_do_not_exist_for_the_user_are_not_asked_for() -> None:
    found = residual(b"SELECT COUNT(*) FROM tickets a JOIN orders b ON b.id = a.id", scratched("us", "us"))
    pull = next(one for one in found.pulls if one.table == "tickets")
    assert pull.planned is not None and pull.planned.policy is not None
    assert readable(pull, pull.planned.policy, ("eu-0", "us-0", "us-1")) == ("us-0", "us-1")
    with pytest.raises(Refusal):
        readable(pull, pull.planned.policy, ("eu-0",))


def test_the_text_names_no_protected_table() -> None:
    """Whatever becomes of the temporary tables, no other can be meant."""
    found = residual(JOIN, scratched("us", "us"))
    assert b"customers" not in found.text.norm
    assert not any(pull.shadows for pull in found.pulls)


def test_a_text_that_reads_what_was_not_loaded_is_refused() -> None:
    where = scratched("us", "us")
    planned, _ = decided(JOIN, where)
    assert isinstance(planned.plan, plans.Residual) and where.policy is not None
    for text in (
        b"SELECT * FROM shop.customers",
        b"SELECT * FROM shop.`__fairlead_9`",
        b"SELECT 1 FROM orders WHERE EXISTS (SELECT 1 FROM customers)",
    ):
        norm = bytes(lexer.lex(text, 0).norm)
        wrong = replace(planned.plan, text=replace(planned.plan.text, norm=norm))
        with pytest.raises(Refusal, match="FL2107"):
            judged(replace(planned, plan=wrong), where, where.policy, plan)


def test_who_is_not_known_gets_nothing() -> None:
    where = replace(scratched("us", "us"), subject=None)
    assert entry(JOIN, where) == "SCRATCH_POLICY"


def test_several_keys_are_refused_only_when_they_are_on_several_shards() -> None:
    sql = JOIN.replace(b"a.id > 5", b"a.id IN (1, 2) AND b.id IN (1, 2)")
    planned, _ = decided(sql, scratched("us", "eu"))
    assert isinstance(planned.plan, plans.ByKey)
    assert isinstance(planned.plan.otherwise, plans.Refuse) and planned.plan.otherwise.entry == "POLICY_SCRATCH"


def test_the_route_tells_what_is_loaded_and_masked() -> None:
    told = explain(JOIN, scratched("us", "us")).as_rows()
    assert ("because", "the policy lets these rows be in us (us)") in told
    assert ("  └ policy", "eu-0 gives email masked") in told
    assert ("  └ policy", "us-0 gives it as it is") in told
    assert ("└ costs", "2 temporary table(s), 8 read(s) of a shard, every row of them loaded") in told


REFERENCE = b"SELECT k.title, COUNT(c.id) FROM countries k LEFT JOIN orders c ON c.id = k.code GROUP BY k.title"


def test_a_protected_reference_table_is_loaded_too() -> None:
    """The scratch server has a copy of its own, which nobody may read as it is."""
    labels = LABELS | {"countries": {"code": PUBLIC, "title": PERSONAL}}
    where = replace(scratched("us", "us"), policy=StandIn(labels=labels))
    pull = next(one for one in residual(REFERENCE, where).pulls if one.table == "countries")
    assert pull.route == plans.OneShard("us-0") and pull.planned is not None and pull.planned.policy is not None
    assert "'***'" in pull.planned.policy.part("us-0").template
    at_home = replace(scratched("us", "eu"), policy=StandIn(labels=labels))
    assert entry(REFERENCE, at_home) == "POLICY_SCRATCH"


class Budgeted(StandIn):
    """What is masked is counted besides."""

    def decide(self, *what: Any) -> Verdict:
        verdict = super().decide(*what)
        duties = frozenset({Obligation(Duty.BUDGET, "some")}) if verdict.action is Action.MASK else frozenset()
        return replace(verdict, obligations=duties)


def test_persons_who_are_counted_are_not_loaded() -> None:
    assert entry(JOIN, replace(scratched("us", "us"), policy=Budgeted())) == "SCRATCH_POLICY"


def test_what_is_open_to_the_user_is_read_as_without_a_policy() -> None:
    found = residual(b"SELECT a.id FROM orders a JOIN orders b ON b.total = a.total", scratched("us", "us"))
    parts = [part for pull in found.pulls if pull.planned for part in pull.planned.policy.parts.values()]
    assert all(part.as_it_is and part.proof is None for part in parts)
    assert [pull.shadows for pull in found.pulls] == [True, False]


@pytest.mark.parametrize("subject", [US, EEA])
def test_what_is_masked_need_not_be_unique(subject: object) -> None:
    tables = dict(planning.schemas()["shop"].tables)
    keyed = planning.live_table(
        "customers",
        {
            "columns": {"id": "bigint!", "email": "varchar(99)", "name": "varchar(50)", "country": "char(2)"},
            "keys": {"PRIMARY": ["id"], "email": ["email"], "country": ["country", "id"]},
        },
    )
    snapshot = replace(planning.schemas()["shop"], tables=tables | {"customers": keyed})
    where = replace(scratched("us", "us"), schemas={"shop": snapshot})
    for pull in residual(JOIN, where).pulls:
        assert pull.dropped == ("email",)
        assert {column.name for column in pull.columns} == {"id", "email", "country"}
