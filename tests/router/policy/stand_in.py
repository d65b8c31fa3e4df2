"""A policy of a few lines, as the decision's tests need it: classes by column, verdicts by class."""

from __future__ import annotations

from dataclasses import dataclass, field

from router.policy.model import Action, FlowKind, Operation, Subject, Verdict
from router.schema import LiveColumn

PUBLIC, INTERNAL, PERSONAL, SENSITIVE, COUNTED, HOMEBOUND = range(6)
NAMES = ("public", "internal", "personal", "sensitive", "counted", "homebound")
US = Subject(1, "us", purpose="analytics", counterparty="acme")
EEA = Subject(2, "eea")
REGIONS = {"eu": "eea", "us": "us"}

LABELS: dict[str, dict[str, int]] = {
    "customers": {"id": PUBLIC, "email": PERSONAL, "name": SENSITIVE, "country": PUBLIC, "balance": COUNTED},
    "orders": {"id": PUBLIC, "customer_id": PUBLIC, "total": PUBLIC, "placed": PUBLIC, "state": PUBLIC},
    "notes": {"customer_id": PUBLIC, "seq": PUBLIC, "body": HOMEBOUND},
    "tickets": {"id": SENSITIVE, "title": SENSITIVE},
    "named": {"id": SENSITIVE},
}
ROWS = {"tickets": SENSITIVE, "named": SENSITIVE}


@dataclass(frozen=True)
class StandIn:
    """Abroad: personal is masked, sensitive refused, counted leaves in aggregates over three persons, homebound is
    written at home only. In the data's own domain everything is allowed."""

    epoch: int = 7
    labels: dict[str, dict[str, int]] = field(default_factory=lambda: LABELS)
    k: int = 3
    domain: str = "eea"
    domains: tuple[str, ...] = ("eea", "us")

    def __hash__(self) -> int:
        return id(self)

    def restricted(self, database: str, table: str) -> bool:
        return self.top_of(database, table) != PUBLIC

    def class_of(self, database: str, table: str, column: str) -> int:
        return self.labels.get(table.lower(), {}).get(column.lower(), self.class_of_table(database, table))

    def class_of_table(self, database: str, table: str) -> int:
        return ROWS.get(table.lower(), PUBLIC)

    def top_of(self, database: str, table: str) -> int:
        return max((*self.labels.get(table.lower(), {}).values(), self.class_of_table(database, table)))

    def class_name(self, cls: int) -> str:
        return NAMES[cls]

    def class_named(self, names: tuple[str, ...]) -> int:
        return max((NAMES.index(name) for name in names), default=len(NAMES) - 1)

    def join(self, one: int, other: int) -> int:
        return max(one, other)

    def dominates(self, high: int, low: int) -> bool:
        return high >= low

    def homes_of(self, database: str, table: str) -> tuple[str, ...]:
        return ("eea", "us")

    def domain_of_region(self, region: str) -> str:
        return REGIONS.get(region, "")

    def person_of(self, database: str, table: str) -> str | None:
        return None

    def subject_of(self, user: str, listener: str, certificate: str | None, region: str | None = None) -> Subject:
        return US if user == "analyst" else EEA

    def decide(self, cls: int, home: str, subject: Subject, operation: Operation, flow: FlowKind) -> Verdict:
        if cls == PUBLIC or home == subject.domain:
            return Verdict(Action.ALLOW)
        rule = (f"{NAMES[cls]}-abroad",)
        if cls == PERSONAL and operation == "read":
            return Verdict(Action.MASK, "stars", rules=rule, reason="it is masked abroad")
        if cls == COUNTED and operation == "read":
            return Verdict(Action.AGGREGATE, k=self.k, rules=rule, reason="it only leaves in aggregates")
        if cls == HOMEBOUND:
            return Verdict(Action.SEND_HOME, rules=rule, reason="it stays at home")
        return Verdict(Action.REFUSE, rules=rule, reason="it stays")

    def decide_column(
        self, database: str, table: str, column: str, home: str, subject: Subject, operation: Operation, flow: FlowKind
    ) -> Verdict:
        return self.decide(self.class_of(database, table, column), home, subject, operation, flow)

    def open_to(self, database: str, table: str, subject: Subject) -> bool:
        return not self.restricted(database, table) or {subject.domain} == set(self.domains)

    def objections_to_copy(self, cls: int, home: str, region: str) -> tuple[str, ...]:
        """Copies of what is not public stay at home."""
        return () if cls == PUBLIC or REGIONS.get(region) == home else (f"classes.{NAMES[cls]}.replicas_in",)

    def mask_sql(self, mask: str, column_sql: str, column: LiveColumn, flavour: str) -> str | None:
        if column.data_type not in ("varchar", "char", "text"):
            return None
        return f"CONCAT(LEFT({column_sql}, 1), '***')" if mask == "stars" else "NULL"

    def mask_value(self, mask: str, value: bytes, column: LiveColumn) -> bytes | None:
        return None

    def redact(self, sql: str) -> str:
        return sql

    def explain(self, cls: int, home: str, subject: Subject, operation: Operation, flow: FlowKind) -> list[str]:
        return [self.decide(cls, home, subject, operation, flow).reason]
