"""Writes with functions whose value the session knows: the values are written into the text, which is carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.numbering import Form
from proxy.scatter.derived import Statement, derived
from proxy.sessions.session import Session
from router import plan as plans
from router.errors import refusal
from router.planner.merging import Edit, edited
from router.tokens import decode, tokenize

if TYPE_CHECKING:
    from proxy.worker import Worker


class Telling:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(self, handle: int, session: Session, given: Statement, plan: plans.Told) -> None:
        """Carry out a parked statement. Raises Refusal."""
        info = self._worker.relay.info(handle)
        if info is None:
            return
        tokens = tokenize(decode(given.found.norm))
        edits = [Edit((one.first, one.last + 1), (self._literal(session, one, plan, info),)) for one in plan.calls]
        whole = derived(self._worker, session, given, edited(tokens, edits), tokens)
        found = whole.planned.plan
        if isinstance(found, plans.PullOut):
            self._worker.stepping.begin(handle, session, whole, found)
        elif isinstance(found, plans.Numbered):
            self._worker.numbering.begin(
                handle, session, whole.text, whole.found, whole.planned, whole.params, whole.execution
            )
        else:
            payload = b"\x03" + bytes(whole.text) if whole.execution is None else whole.execution.payload
            form = Form(given.found, payload, whole.execution.statement if whole.execution is not None else None)
            compiled = self._worker.compile(session, whole.planned)
            self._worker.placing.begin(
                handle, session, whole.text, whole.found, whole.planned, compiled, whole.params, whole.execution, form
            )

    def _literal(self, session: Session, call: plans.Tell, plan: plans.Told, info: dict[str, Any]) -> str:
        """Raises Refusal for a name that is not plain."""
        value = self._worker.local.fact(call.fact, session, info)
        if value is None:
            return "NULL"
        if isinstance(value, int):
            return str(value)
        if not str(value).isascii() or set("'\\\"\0") & set(str(value)):
            raise refusal(plan.entry, *plan.args)
        return f"'{value}'"
