"""Plans of a worker's uvloop side: those of templates that were seen before, and cold ones, one per loop turn.

A burst of new shapes so delays nobody's handshake or answer by more than one plan; the relay runs in its own thread
meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from _speedups.lexer import LexedStatement
from proxy.sessions.session import Session
from proxy.text import SessionGone
from router.errors import Refusal, refusal
from router.plan import Planned
from router.text import Text

if TYPE_CHECKING:
    from proxy.answers import Dispatcher
    from proxy.worker import Worker

log = logging.getLogger(__name__)

PLANNED_MAX = 8192
"""Plans kept on this side, so that what fell out of the relay's cache need not be parsed again."""
LONG_TEXT = 16 << 10
"""Templates longer than this are planned in a thread."""
RETRIES = 3
"""How often one is planned beside changes of what it is planned by."""


class Planning:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._planned: OrderedDict[tuple[int, int, bytes], tuple[int, Planned]] = OrderedDict()
        self._cold: deque[tuple[int, Session, int]] = deque()
        self._thawing = False

    @property
    def _dispatcher(self) -> Dispatcher:
        return self._worker.dispatcher

    def later(self, handle: int, session: Session, reason: int) -> None:
        """Plan a parked command when its turn comes, and follow the plan."""
        self._cold.append((handle, session, reason))
        self._thaw()

    def known(self, session: Session, found: Any) -> Planned | None:
        """The plan of a template that was seen before, under the same circumstances."""
        if found.error:
            return None
        key = (self._worker.contexts.number(session.context()), found.fingerprint, found.norm)
        entry = self._planned.get(key)
        if entry is None or entry[0] != self._worker.epoch:
            return None
        self._planned.move_to_end(key)
        return entry[1]

    def _thaw(self) -> None:
        if not self._thawing and self._cold:
            self._thawing = True
            asyncio.get_running_loop().call_soon(self._thaw_one)

    def _thaw_one(self) -> None:
        """Plan one cold statement; the next one has to wait for the loop's next turn."""
        self._thawing = False
        handle, session, reason = self._cold.popleft()
        if handle in self._worker.sessions:
            try:
                sql, found = self._dispatcher.statement(handle)
                planned = self.known(session, found)
                if planned is None and len(found.norm) > LONG_TEXT and not found.error:
                    self._dispatcher.spawn(handle, self._plan_aside(handle, session, sql, found, reason))
                else:
                    planned = planned or self.plan(session, sql, found)
                    self._dispatcher.follow(handle, session, sql, found, planned, reason)
            except Refusal as error:
                self._dispatcher.refuse(handle, error)
            except SessionGone:
                pass
            except Exception:
                log.exception("planning a statement")
                self._worker.loop_block.error("internal")
                self._dispatcher.refuse(handle, refusal("INTERNAL", "the statement could not be planned"))
        self._thaw()

    async def _plan_aside(self, handle: int, session: Session, sql: Text, found: Any, reason: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(RETRIES):
            epoch, context = self._worker.epoch, self._worker.context_of(session)
            make = self._worker.make_plan
            planned = await loop.run_in_executor(self._worker.threads, make, session, found, sql, context)
            if epoch == self._worker.epoch:
                break
        else:
            # Another configuration or schema every time: planned where nothing can come between.
            planned = self._worker.make_plan(session, found, sql, self._worker.context_of(session))
        self._remember(session, found, planned)
        self._dispatcher.follow(handle, session, sql, found, planned, reason)

    def plan(self, session: Session, sql: Text, found: Any) -> Planned:
        """The router's plan, remembered when it holds for every statement of this template."""
        planned = self._worker.make_plan(session, found, sql, self._worker.context_of(session))
        self._remember(session, found, planned)
        return planned

    def _remember(self, session: Session, found: Any, planned: Planned) -> None:
        if not planned.facts.cacheable or found.error:
            return
        key = (self._worker.contexts.number(session.context()), found.fingerprint, found.norm)
        self._planned[key] = (self._worker.epoch, planned)
        if len(self._planned) > PLANNED_MAX:
            self._planned.popitem(last=False)

    def remembered(self) -> Iterator[tuple[int, int, bytes, int, Planned]]:
        """(context, fingerprint, norm, epoch, plan) of all that are remembered, the one used last at the end."""
        for (context, fingerprint, norm), (epoch, planned) in self._planned.items():
            yield context, fingerprint, norm, epoch, planned

    def of_ours(self, session: Session, sql: Text, found: LexedStatement, *, timed: bool = False) -> Planned:
        """The plan of a text of ours, as of one that the client had sent. `timed`: one time is set where it runs."""
        if timed:
            return self._worker.plan_in_force(found, sql, replace(self._worker.context_of(session), timed=True))
        return self.known(session, found) or self.plan(session, sql, found)
