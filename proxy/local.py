"""Answers that need no backend: what the session knows of itself, names, EXPLAIN ROUTE, SHOW WARNINGS of nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from proxy.mysql.constants.status import Status
from proxy.mysql.packets.resultset import ColumnDefinition41, binary_resultset, text_resultset
from proxy.session import Session
from router import plan as plans
from router.errors import refusal
from router.explain import explain
from router.plan import Planned

if TYPE_CHECKING:
    from proxy.worker import Worker

NUMBERS = frozenset({"connection_id", "last_insert_id", "row_count", "found_rows", "warning_count", "error_count"})
UNSIGNED = frozenset({"connection_id", "last_insert_id"})
NO_ROWS = 2**64 - 1
"""The relay's affected rows after a statement that returned rows; ROW_COUNT() is then -1."""

WARNING_COLUMNS = (
    ColumnDefinition41.string("Level", 7),
    ColumnDefinition41.integer("Code", unsigned=True),
    ColumnDefinition41.string("Message", 512),
)

Answer = tuple[Sequence[ColumnDefinition41], list[list[Any]]]


class LocalAnswers:
    """One worker's local answers."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def answer(
        self, handle: int, session: Session, plan: plans.SessionValue | plans.Names | plans.ShowRoute | plans.Nothing,
        binary: bool = False,
    ) -> None:  # fmt: skip
        """Reply to the parked command. `binary`: it was COM_STMT_EXECUTE."""
        if isinstance(plan, plans.Nothing):
            self._worker.relay.reply_ok(handle)
            return
        info = self._worker.relay.info(handle)
        if info is not None:
            columns, rows = self.rows(session, plan, info)
            self.send(handle, session, columns, rows, info, binary)

    def send(
        self, handle: int, session: Session, columns: Sequence[ColumnDefinition41], rows: list[list[Any]],
        info: dict[str, Any], binary: bool = False,
    ) -> None:  # fmt: skip
        build = binary_resultset if binary else text_resultset
        packets = build(columns, rows, session.capabilities, Status(info["status"]))
        self._worker.relay.reply(handle, packets)

    def rows(
        self, session: Session, plan: plans.SessionValue | plans.Names | plans.ShowRoute, info: dict[str, Any]
    ) -> Answer:
        """Columns and rows of a local answer."""
        match plan:
            case plans.SessionValue(columns):
                values = [self._fact(column.fact, session, info) for column in columns]
                return [_definition(column) for column in columns], [values]
            case plans.Names(label, names):
                return [ColumnDefinition41.string(label, 64)], [[name] for name in names]
            case plans.ShowRoute(statement):
                return self._route(session, statement)

    def columns(self, plan: plans.SessionValue | plans.Names) -> Sequence[ColumnDefinition41]:
        """What a prepared form announces."""
        if isinstance(plan, plans.Names):
            return [ColumnDefinition41.string(plan.label, 64)]
        return [_definition(column) for column in plan.columns]

    def _route(self, session: Session, statement: bytes) -> Answer:
        found = explain(statement.decode("utf-8", "replace"), self._worker.context_of(session))
        rows = found.as_rows()
        columns = [ColumnDefinition41.string("step", 128), ColumnDefinition41.string("detail", 4096)]
        return columns, [[str(cell) for cell in row] for row in rows]

    def _fact(self, fact: str, session: Session, info: dict[str, Any]) -> Any:
        match fact:
            case "database":
                return session.database
            case "connection_id":
                return session.connection_id
            case "user" | "current_user":
                return f"{session.user}@{session.peer}"
            case "last_insert_id":
                return info["last_insert_id"]
            case "row_count":
                return -1 if info["last_error"] or info["affected"] == NO_ROWS else info["affected"]
            case "version":
                return self._worker.version
            case "version_comment":
                return "Fairlead"
            case "warning_count":
                return info["warnings"]
            case "error_count":
                return int(info["last_error"])
        raise refusal("CONNECTION_FUNCTION", fact.upper())

    def show_warnings(self, handle: int, session: Session, planned: Planned, sql: bytes) -> None:
        """SHOW WARNINGS when the backend of the previous statement is not held any more."""
        info = self._worker.relay.info(handle)
        if info is None:
            return
        if info["shard"] >= 0:
            self._worker.relay.run_on(handle, info["shard"], flags=8)
        elif info["warnings"] or info["last_error"]:
            raise refusal("CONNECTION_FUNCTION", "SHOW WARNINGS")
        elif b"count" in sql.lower():
            label = "@@session.error_count" if b"errors" in sql.lower() else "@@session.warning_count"
            self.send(handle, session, [ColumnDefinition41.integer(label, unsigned=True)], [[0]], info)
        else:
            self.send(handle, session, WARNING_COLUMNS, [], info)


def _definition(column: plans.SessionColumn) -> ColumnDefinition41:
    if column.fact in NUMBERS:
        return ColumnDefinition41.integer(column.label, unsigned=column.fact in UNSIGNED)
    return ColumnDefinition41.string(column.label, 256)
