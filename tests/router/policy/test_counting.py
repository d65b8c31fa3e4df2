"""How answers are counted against budgets: by the key, by the row, or not at all and so refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from _speedups import lexer
from router.plan import ByKey, Refuse
from router.policy.counting import Counting, persons_by_key
from router.policy.enforce import plan
from router.policy.model import Action, Duty, FlowKind, Obligation, Operation, Subject, Verdict
from router.route import Execution
from tests.router import planning
from tests.router.policy.stand_in import INTERNAL, PERSONAL, US, StandIn

KEYED, BY_ROW, REFUSED, FREE = "by key", "by row", "FL2112", "not counted"


@dataclass(frozen=True)
class Budgeted(StandIn):
    """What is personal is masked abroad, within a budget; what is internal is shown within one. An order's person is
    its customer."""

    __hash__ = StandIn.__hash__

    def person_of(self, database: str, table: str) -> str | None:
        return "customer_id" if table == "orders" else None

    def class_of(self, database: str, table: str, column: str) -> int:
        return INTERNAL if (table, column) == ("orders", "total") else super().class_of(database, table, column)

    def decide(self, cls: int, home: str, subject: Subject, operation: Operation, flow: FlowKind) -> Verdict:
        verdict = super().decide(cls, home, subject, operation, flow)
        if home == subject.domain or cls not in (INTERNAL, PERSONAL) or operation == "write":
            return verdict
        allowed = verdict if cls == PERSONAL else Verdict(Action.ALLOW, rules=("internal",))
        return replace(allowed, obligations=frozenset({Obligation(Duty.BUDGET, "bulk")}))


def counting_of(sql: str) -> tuple[str, Counting | None, list[bytes] | None]:
    where = replace(planning.context("shop"), policy=Budgeted(), subject=US)
    text = sql.encode()
    lexed = lexer.lex(text, where.mode)
    planned = plan(lexed, text, where)
    if isinstance(planned.plan, Refuse):
        return planned.plan.entry, None, None
    part = planned.policy.parts.get("eu-0") if planned.policy is not None else None
    if part is not None and part.refusal is not None:
        return part.refusal.entry, None, None
    counting = part.counting if part is not None else None
    persons = None
    if isinstance(planned.plan, ByKey) and planned.topology is not None:
        persons = persons_by_key(planned.plan, Execution(text, lexed, planned.topology))
    return "", counting, persons


def told(sql: str) -> str:
    refused, counting, persons = counting_of(sql)
    if refused:
        return {"POLICY_UNCOUNTED": REFUSED}.get(refused, refused)
    if counting is None:
        return FREE
    return KEYED if counting.by_key and persons is not None else BY_ROW if not counting.not_by_row else REFUSED


@pytest.mark.parametrize(
    ("sql", "how"),
    [
        ("SELECT email FROM customers WHERE id = 5", KEYED),
        ("SELECT email FROM customers WHERE id IN (5, 6)", KEYED),
        ("SELECT COUNT(DISTINCT email) FROM customers WHERE id = 5", KEYED),
        ("SELECT MAX(email) FROM customers WHERE id IN (5, 6) GROUP BY country", KEYED),
        ("SELECT email FROM customers WHERE id = 5 UNION SELECT email FROM customers WHERE id = 6", KEYED),
        ("SELECT c.email, o.total FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = 5", KEYED),
        ("SELECT email FROM customers WHERE id = '5 apples'", BY_ROW),
        ("SELECT email FROM customers WHERE id = 5 OR country = 'SE'", BY_ROW),
        ("SELECT email FROM customers", BY_ROW),
        ("SELECT country FROM customers WHERE email = 'x' ORDER BY country LIMIT 3", BY_ROW),
        ("SELECT c.email, o.total FROM customers c JOIN orders o ON o.customer_id = c.id", BY_ROW),
        ("SELECT total FROM orders WHERE id = 7", BY_ROW),
        ("SELECT DISTINCT email FROM customers", REFUSED),
        ("SELECT MAX(email) FROM customers WHERE id = '5 apples'", REFUSED),
        ("SELECT MAX(email) FROM customers WHERE id = 5 OR country = 'SE'", REFUSED),
        ("SELECT COUNT(*) FROM customers WHERE email = 'x'", REFUSED),
        ("SELECT email FROM customers UNION ALL SELECT email FROM customers", REFUSED),
        ("SELECT id FROM orders WHERE customer_id IN (SELECT id FROM customers WHERE email = 'x')", REFUSED),
        ("SELECT id, country FROM customers", FREE),
        ("SELECT COUNT(*) FROM customers", FREE),
    ],
)
def test_how_persons_are_counted(sql: str, how: str) -> None:
    assert told(sql) == how


def test_the_persons_that_a_key_names() -> None:
    _, _, persons = counting_of("SELECT email FROM customers WHERE id IN (5, 6, 5)")
    assert persons == [number.to_bytes(8, "little") for number in (5, 6)]


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        ("SELECT email, id FROM customers", 1),
        ("SELECT email, id + 0 FROM customers", None),
        ("SELECT id, customer_id, total FROM orders", 1),
    ],
)
def test_where_a_row_tells_the_person(sql: str, column: int | None) -> None:
    _, counting, _ = counting_of(sql)
    assert counting is not None
    (mention,) = counting.mentions
    assert mention.column == column and {meter.budget for meter in mention.meters} == {"bulk"}
