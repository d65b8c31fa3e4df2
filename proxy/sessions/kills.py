"""KILL and COM_PROCESS_KILL: sessions by the connection ids that clients of Fairlead know, whichever worker has them.

The id names its worker (`proxy.accept.ConnectionIds`); another one's is asked through the supervisor
(`proxy.supervision.control`). KILL ends the session. KILL QUERY stops what
it does: the server is asked to, so that its own error is the answer and the session goes on; what waits here, or is
carried out from here, is answered by ours.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING, Any, Literal

from proxy.accept import place_of
from proxy.compile import error_payload
from proxy.mysql.wire import frame
from proxy.sessions.session import Session
from proxy.supervision import control
from router.errors import Refusal, refusal
from router.keys import Unpinnable
from router.literals import value
from router.plan import Kill
from router.text import Text

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

Outcome = Literal["done", "absent", "denied"]
PATIENCE = 2.0
"""Seconds that another worker has for its answer; one that is gone has no sessions."""
ASKED_MAX = 1024
"""KILLs of other workers' sessions that may wait for their answers."""


class Kills:
    """One worker's part."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._asks = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Outcome]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, handle: int, session: Session, number: int, *, statement: bool) -> None:
        """Answer a parked KILL. Raises Refusal."""
        place = place_of(number, self._worker.start.workers)
        if number == session.connection_id:
            self._worker.relay.reply(
                handle, frame(error_payload(refusal("INTERRUPTED")), 1), error=True, close=not statement
            )
        elif place == self._worker.start.index:
            self._answer(handle, number, self._kill(number, self._whose(session), statement))
        elif len(self._asked) >= ASKED_MAX:
            raise refusal("MEMORY_LIMIT", "KILLs that wait for other workers")
        else:
            self._worker.dispatcher.spawn(handle, self._elsewhere(handle, session, place, number, statement))

    def _whose(self, session: Session) -> str | None:
        """Whose sessions the user may end; None: everybody's."""
        context = self._worker.context_of(session)
        return None if context.grants.administers else session.user

    def _answer(self, handle: int, number: int, outcome: Outcome) -> None:
        if outcome == "done":
            self._worker.relay.reply_ok(handle)
        else:
            raise refusal("NO_SUCH_THREAD" if outcome == "absent" else "KILL_DENIED", str(number))

    # --- of other workers -----------------------------------------------------------------------------------

    async def _elsewhere(self, handle: int, session: Session, place: int, number: int, statement: bool) -> None:
        ask, answer = next(self._asks), asyncio.get_running_loop().create_future()
        self._asked[ask] = answer
        try:
            self._say(
                "kill", place, ask, session=number, statement=statement, user=self._whose(session)
            )
            async with asyncio.timeout(PATIENCE):
                outcome: Outcome = await answer
        except TimeoutError:
            outcome = "absent"
        finally:
            del self._asked[ask]
        self._answer(handle, number, outcome)

    def on_asked(self, message: control.Message) -> None:
        """Another worker's client wants one of ours gone."""
        outcome = self._kill(int(message["session"]), message["user"], bool(message["statement"]))
        self._say("killed", int(message["from"]), int(message["ask"]), outcome=outcome)

    def on_answer(self, message: control.Message) -> None:
        answer = self._asked.get(message["ask"])
        if answer is not None and not answer.done():
            answer.set_result(message["outcome"])

    def _say(self, verb: str, to: int, ask: int, **more: Any) -> None:
        control.send(self._worker.start.control, {"verb": verb, "to": to, "ask": ask, **more})

    # --- our own --------------------------------------------------------------------------------------------

    def _kill(self, number: int, user: str | None, statement: bool) -> Outcome:
        found = next((one for one in self._worker.sessions.values() if one.connection_id == number), None)
        if found is None:
            return "absent"
        if user is not None and found.user != user:
            return "denied"
        if statement:
            self._interrupt(found)
        else:
            self._worker.relay.close(found.handle)
        return "done"

    def _interrupt(self, session: Session) -> None:
        """Whatever the session is about; nothing when it is idle."""
        running = self._worker.relay.interrupt(session.handle)
        if running is None or self._worker.dispatcher.interrupt(session.handle):
            return
        _, server, thread, shard = running
        if thread and server >= 0:
            self._worker.backends.kill_soon(server, thread, statement=True)
        elif thread and len(self._tasks) < ASKED_MAX:
            task = asyncio.ensure_future(self._interrupt_peers(session, thread, shard))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def interrupt_lease(self, handle: int) -> None:
        """What a lease does for nobody any more."""
        running = self._worker.relay.interrupt(handle)
        if running is not None and running[2] and running[1] >= 0:
            self._worker.backends.kill_soon(running[1], running[2], statement=True)

    async def _interrupt_peers(self, session: Session, number: int, shard: int) -> None:
        """The statement runs in another region, in a session of that region's Fairlead: the same, there."""
        try:
            async with self._worker.lease(session, shard) as lease:
                await lease.command(shard, b"\x03KILL QUERY %d" % number)
        except Refusal as reason:
            log.debug("cannot stop statement %d in another region: %s", number, reason)


def number_of(plan: Kill, sql: Text, found: Any, mode: int) -> int:
    """The connection id in the text. Raises Refusal."""
    assert plan.slot is not None
    try:
        number = value(sql, found.slots[plan.slot], mode, ())
    except Unpinnable:
        number = None
    if not isinstance(number, int) or isinstance(number, bool):
        raise refusal("STATEMENT_FORM", "KILL", "a connection id is a whole number")
    return number
