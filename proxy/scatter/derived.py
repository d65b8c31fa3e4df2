"""Statements of ours that are made of pieces of a client's, and answers that are not for the client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from _speedups import lexer
from _speedups.lexer import LexedStatement
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import ERR_HEAD
from proxy.result_set import ResultSet
from proxy.scatter.cursors import ShardError
from proxy.scatter.executor import Execution
from proxy.sessions.params import rearranged
from proxy.sessions.session import Session
from router.engine.assemble import spelled
from router.engine.recipe import Piece
from router.errors import Refusal, refusal
from router.literals import Params
from router.plan import Planned
from router.text import Text
from router.tokens import Token

if TYPE_CHECKING:
    from proxy.worker import Worker


@dataclass(frozen=True, slots=True)
class Statement:
    """A text, as lexed and planned, and how it is executed."""

    text: Text
    found: LexedStatement
    planned: Planned
    params: Params
    execution: Execution | None


def derived(
    worker: Worker, session: Session, given: Statement, pieces: Sequence[Piece], tokens: Sequence[Token], *,
    timed: bool = False,
) -> Statement:  # fmt: skip
    """Another text of pieces of this one, as planned. `timed`: one time is set where it runs. Raises Refusal."""
    text, order = spelled(pieces, tokens, given.text, given.found, session.mode)
    found = lexer.lex(text, session.mode)
    planned = worker.planning.of_ours(session, text, found, timed=timed)
    if (refused := planned.refusal) is not None:
        raise refused
    params = [given.params[at] for at in order]
    execution = given.execution
    if execution is not None:
        payload = rearranged(execution.payload, len(given.params), order)
        ref = worker.statements.form(session, execution.number, text, len(order))
        execution = Execution(ref, payload, execution.number, params)
    return Statement(text, found, planned, params, execution)


class Collected(ResultSet):
    """An answer that is kept: whole packets, up to `most` bytes."""

    def __init__(self, worker: Worker, handle: int, session: Session, most: int) -> None:
        super().__init__(worker, handle, session, Status.AUTOCOMMIT)
        self._most = most
        self.head = b""
        self.rows = bytearray()

    async def send(self, packets: bytearray) -> bool:
        """The head comes first. Raises Refusal beyond the limit."""
        if not self.head:
            self.head = bytes(packets)
        else:
            self.rows += packets
        if len(self.rows) > self._most:
            raise refusal("SUBQUERY_ROWS", f"{self._most} bytes")
        return True

    def ended(self, end: bytes) -> bool:
        """Raises ShardError."""
        if end[0] == ERR_HEAD:
            raise ShardError(end)
        return super().ended(end)

    def fail(self, error: Refusal) -> None:
        raise error

    def finish(self) -> None:
        return
