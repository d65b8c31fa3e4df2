"""The table of exposure meters, from the ledger in the audit folder."""

from __future__ import annotations

from collections.abc import Iterator

from ops.ledger import LedgerError, Reading, readings_of
from proxy.console.sources import Sources
from proxy.console.table import Row, Table, columns


def meters(sources: Sources) -> list[Reading]:
    """What cannot be read is a warning."""
    try:
        return readings_of(sources.settings)
    except LedgerError as error:
        sources.warnings.append(str(error))
        return []


def _exposure(sources: Sources) -> Iterator[Row]:
    for one in meters(sources):
        flow, counted = one.flow, one.exposure
        yield (
            flow.budget, flow.data_class, flow.origin, flow.to, flow.counterparty, one.window, counted.low,
            counted.estimate, counted.high, one.threshold.warn, one.persons, one.left, one.level.value,
        )  # fmt: skip


TABLES = (
    Table(
        "exposure", "Distinct persons shown across legal domains, and what is left of the budgets (docs/audit.md).",
        columns(
            "budget TEXT of policy.budgets", "class TEXT of the data", "from_domain TEXT legal domain of the rows",
            "to_domain TEXT legal domain of who asks", "counterparty TEXT for whom, - for none",
            "counted_over TEXT months, or the calendar year", "low BIGINT lower end of the estimate",
            "persons BIGINT the estimate", "high BIGINT upper end, which the budget is compared with",
            "warn BIGINT from how many on", "budgeted BIGINT the most persons", "left_over BIGINT of them",
            "level TEXT under, warn or refuse",
        ), _exposure,
    ),
)  # fmt: skip
