"""Answers that need no backend: what the session knows of itself, names, EXPLAIN ROUTE, SHOW WARNINGS of nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ops.ledger import LedgerError, left_for
from proxy.inquiries import LEVELS, pinned_by
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import ErrPacket
from proxy.mysql.packets.resultset import ColumnDefinition41, binary_resultset, text_resultset
from proxy.sessions.local_columns import (
    NUMBERS,
    database_column,
    fact_column,
    number_column,
    text_column,
    warning_columns,
)
from proxy.sessions.session import Session
from proxy.versions import version_number
from router import plan as plans
from router.errors import refusal
from router.explain import explain
from router.policy.counting import Counting
from router.policy.model import Subject
from router.text import Text

if TYPE_CHECKING:
    from proxy.worker import Worker

COMMENT = "Fairlead"
NO_ROWS = 2**64 - 1
"""The relay's affected rows after a statement that returned rows; ROW_COUNT() is then -1."""
HERE, UNSURE = 0, 2
ID_HERE, ID_LOST = 1, 2
"""The relay's Diagnostics: SHOW WARNINGS can be asked of the attached backend; nobody can say without asking. And its
IdState: LAST_INSERT_ID() can be asked of it; it went with a connection that was not asked in time."""

FOUND_ROWS_DEPRECATED = ErrPacket(
    1287, "HY000",
    "FOUND_ROWS() is deprecated and will be removed in a future release. Consider using COUNT(*) instead.",
).build()  # fmt: skip
DEPRECATED_SINCE = 80017

UNRESOLVED = plans.ShowFairlead("unresolved")

Local: TypeAlias = plans.SessionValue | plans.Names | plans.ShowRoute | plans.ShowFairlead
LOCAL = (plans.SessionValue, plans.Names, plans.ShowRoute, plans.ShowFairlead, plans.Nothing)

Answer = tuple[Sequence[ColumnDefinition41], list[list[Any]]]


class LocalAnswers:
    """One worker's local answers."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def answer(
        self, handle: int, session: Session, plan: Local | plans.Nothing,
        binary: bool = False,
    ) -> None:  # fmt: skip
        """Reply to the parked command. `binary`: it was COM_STMT_EXECUTE."""
        if isinstance(plan, plans.Nothing):
            self._worker.relay.reply_ok(handle)
            return
        info = self._worker.relay.info(handle)
        if info is None:
            return
        if plan == UNRESOLVED:
            self._worker.dispatcher.spawn(handle, self._unresolved(handle, session, info))
        elif self._asks_found_rows(plan, info):
            # SQL_CALC_FOUND_ROWS has pinned the session; its backend knows.
            self._worker.relay.run_on(handle, info["shard"])
        else:
            columns, rows = self.rows(session, plan, info)
            self._told(handle, session, plan, columns, rows, info, binary)

    def _told(
        self, handle: int, session: Session, plan: Local, columns: Sequence[ColumnDefinition41], rows: list[list[Any]],
        info: dict[str, Any], binary: bool,
    ) -> None:  # fmt: skip
        deprecated = self._deprecated(session, plan)
        self.send(
            handle, session, columns, rows, info, binary,
            keep_diagnostics=_keeps_diagnostics(session, plan), warnings=deprecated,
            note=FOUND_ROWS_DEPRECATED if deprecated else None,
            found_rows=1 if isinstance(plan, plans.SessionValue) else None,
        )  # fmt: skip

    def _deprecated(self, session: Session, plan: Local) -> int:
        """The warnings of a server of that version."""
        if session.mariadb or not isinstance(plan, plans.SessionValue):
            return 0
        asked = sum(column.fact == "found_rows" for column in plan.columns)
        return asked if version_number(self._version(session)) >= DEPRECATED_SINCE else 0

    async def _unresolved(self, handle: int, session: Session, info: dict[str, Any]) -> None:
        """The servers of the region are asked for their prepared transactions."""
        widths = {"gtrid": 64, "decider": 64, "shards": 4096, "decision": 16, "seconds": 20}
        columns = [text_column(session, name, width) for name, width in widths.items()]
        rows = [[str(cell) for cell in one.row()] for one in await self._worker.recovery.survey()]
        self.send(handle, session, columns, rows, info)

    def _asks_found_rows(self, plan: plans.Plan, info: dict[str, Any]) -> bool:
        return (
            isinstance(plan, plans.SessionValue) and all(column.fact == "found_rows" for column in plan.columns)
            and info["found_rows"] is None and bool(info["pins"] & self._worker.pin_bits("found_rows"))
        )  # fmt: skip

    def send(
        self, handle: int, session: Session, columns: Sequence[ColumnDefinition41], rows: list[list[Any]],
        info: dict[str, Any], binary: bool = False, keep_diagnostics: bool = False,
        warnings: int = 0, note: bytes | None = None, found_rows: int | None = None,
    ) -> None:  # fmt: skip
        build = binary_resultset if binary else text_resultset
        packets = build(columns, rows, session.capabilities, Status(info["status"]), warnings=warnings)
        self._worker.relay.reply(
            handle, packets, keep_diagnostics=keep_diagnostics, warnings=warnings, note=note, found_rows=found_rows
        )

    def rows(
        self, session: Session, plan: Local, info: dict[str, Any]
    ) -> Answer:
        """Columns and rows of a local answer."""
        match plan:
            case plans.SessionValue(columns):
                values = [self.fact(column.fact, session, info) for column in columns]
                return self.columns(session, plan), [values]
            case plans.Names(label, names):
                return [database_column(session, label)], [[name] for name in names]
            case plans.ShowRoute(statement):
                return self._route(session, statement)
            case plans.ShowFairlead(what):
                facts = self._of_session(session, info) if what == "session" else self._of_fairlead()
                heads = [text_column(session, "name", 64), text_column(session, "value", 1024)]
                return heads, [[name, str(value)] for name, value in facts.items() if value is not None]

    def columns(self, session: Session, plan: plans.SessionValue | plans.Names) -> Sequence[ColumnDefinition41]:
        """What a prepared form announces."""
        if isinstance(plan, plans.Names):
            return [database_column(session, plan.label)]
        texts = {"version": self._version(session), "version_comment": COMMENT}
        return [fact_column(session, column, texts.get(column.fact, "")) for column in plan.columns]

    def _version(self, session: Session) -> str:
        return self._worker.logins.version_of(session.listener)

    def _route(self, session: Session, statement: bytes) -> Answer:
        text, context = statement.decode("utf-8", "replace"), self._worker.context_of(session)
        explained = explain(text, context)
        rows = explained.as_rows()
        if explained.counting and context.subject is not None:
            rows += self._left(session, context.subject, explained.counting)
        if self._worker.shadow is not None:
            rows += self._worker.shadow.told(session, text, context)
        columns = [text_column(session, "step", 128), text_column(session, "detail", 4096)]
        return columns, [[str(cell) for cell in row] for row in rows]

    def _left(self, session: Session, subject: Subject, counting: Sequence[Counting]) -> list[tuple[str, str]]:
        try:
            return left_for(self._worker.generation_of(session).settings, subject, counting)
        except LedgerError as error:
            return [("budget", f"the meters cannot be read: {error}")]

    def _of_session(self, session: Session, info: dict[str, Any]) -> dict[str, Any]:
        """What this session is to Fairlead, and why it keeps its connection to a server."""
        shard = self._worker.shard_of_number(info["shard"]).name if info["shard"] >= 0 else None
        return {
            "connection_id": session.connection_id,
            "user": session.user,
            "client": session.peer,
            "listener": session.listener,
            "database": session.database,
            "in_transaction": "yes" if info["trx"] or info["deferred"] else "no",
            "pinned_by": pinned_by(info) or "nothing",
            "shard": shard or "none",
            "consistency": LEVELS[info["consistency"]],
            "autocommit": "on" if info["autocommit"] else "off",
            "legal_domain": session.subject.domain if session.subject is not None else None,
        }

    def _of_fairlead(self) -> dict[str, Any]:
        """What every application may know."""
        generation, start = self._worker.generation, self._worker.start
        return {
            "region": generation.settings.region,
            "configuration": generation.number,
            "worker": start.index,
            "workers": start.workers,
            "policy": f"epoch {generation.policy.epoch}" if generation.policy is not None else "none",
        }

    def fact(self, fact: str, session: Session, info: dict[str, Any]) -> Any:
        match fact:
            case "database":
                return session.database
            case "connection_id":
                return session.connection_id
            case "user" | "current_user":
                return f"{session.user}@{session.peer}"
            case "last_insert_id":
                if info["id_state"] == ID_LOST:
                    raise refusal("LAST_INSERT_ID_LOST")
                return info["last_insert_id"]
            case "row_count":
                return -1 if info["affected"] == NO_ROWS else info["affected"]
            case "found_rows" if info["found_rows"] is not None:
                return info["found_rows"]
            case "version":
                return self._version(session)
            case "version_comment":
                return COMMENT
            case "warning_count" | "error_count":
                if info["diagnostics"] == UNSURE:
                    raise refusal("CONNECTION_FUNCTION", fact.upper())
                return info["warnings"] if fact == "warning_count" else int(info["last_error"])
        raise refusal("CONNECTION_FUNCTION", fact.upper())

    def show_warnings(self, handle: int, session: Session, sql: Text, binary: bool = False) -> None:
        """SHOW WARNINGS when the backend of the previous statement is not held any more."""
        info = self._worker.relay.info(handle)
        if info is None:
            return
        own: bytes | None = info["own_error"]
        if own is None and info["shard"] >= 0 and info["diagnostics"] == HERE:
            self._worker.relay.run_on(handle, info["shard"], flags=8)
            return
        text = bytes(sql).lower()
        words = text.split()
        level = "Error" if info["last_error"] else "Warning"
        rows = [_own_row(level, own)] if own is not None and (level == "Error" or b"errors" not in words) else []
        listed = own is not None and b"limit" not in words
        if info["diagnostics"] == UNSURE or ((info["warnings"] or info["last_error"]) and not listed):
            raise refusal("CONNECTION_FUNCTION", "SHOW WARNINGS")
        if b"count" in text:
            fact = "error_count" if b"errors" in words else "warning_count"
            columns: Sequence[ColumnDefinition41] = [number_column(f"@@session.{fact}", NUMBERS[fact])]
            self.send(handle, session, columns, [[len(rows)]], info, binary, keep_diagnostics=True)
        else:
            self.send(handle, session, warning_columns(session), rows, info, binary, keep_diagnostics=True)


def _own_row(level: str, payload: bytes) -> list[Any]:
    """An ERR packet as SHOW WARNINGS shows it."""
    error = ErrPacket.parse(payload)
    return [level, error.errno, error.message]


def _keeps_diagnostics(session: Session, plan: Local) -> bool:
    """MariaDB still lists an older statement's warnings behind one that reads no table; MySQL does not."""
    return session.mariadb and isinstance(plan, plans.SessionValue)
