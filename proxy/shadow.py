"""What a version on trial would decide: compared with each plan when it is made, counted, marked, told. Nothing is ever
carried out by it.

A plan's comparison is marked at its digest, so that `/digests` says of each shape what would become of it, with how
often it is asked; the first shapes that change are logged with the details.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from _speedups import lexer
from proxy import logs
from proxy.generation import Generation
from proxy.sessions.session import Session
from router.context import Context
from router.plan import Planned, Shadowed
from router.policy.enforce import plan
from router.simulation import ALLOWED, CHANGED, REFUSED, Change, Outcome, Shape, compare, outcome_of, sharding_of
from router.text import Text

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

LOGGED = 100
"""Shapes that change whose details a worker logs, for one version."""
SAME = "same"
MARKS = {SAME: 1, REFUSED: 2, ALLOWED: 3, CHANGED: 4}
"""As digests keep them."""


class Shadow:
    """One worker's comparison with one version."""

    def __init__(self, worker: Worker, generation: Generation, version: int) -> None:
        self._worker = worker
        self._generation = generation
        self._version = version
        self._told: set[tuple[bytes, str]] = set()
        self._failed = False
        self._loop = asyncio.get_running_loop()

    def compare(
        self, session: Session, found: Any, sql: Text, context: Context, planned: Planned
    ) -> Shadowed | None:  # fmt: skip
        """Beside a plan that was just made, in whatever thread. Never raises: the plan in force is what counts."""
        try:
            change = self.change(session, found, sql, context, planned)
        except Exception as error:
            if not self._failed:
                log.error("shadow of version %d fails for a statement: %s", self._version, logs.told(error))
            self._failed = True
            return None
        self._loop.call_soon_threadsafe(self._note, session, found, change)
        return Shadowed(self._version, change.what if change is not None else SAME)

    def change(
        self, session: Session, found: Any, sql: Text, context: Context, planned: Planned
    ) -> Change | None:  # fmt: skip
        """What the version would change; None when nothing."""
        shape = Shape(found.norm.decode("utf-8", "replace"), session.user, session.database)
        before = _outcome(planned, self._worker.generation_of(session))
        return compare(shape, before, self._decide(session, found, sql, context))

    def told(self, session: Session, text: str, context: Context) -> list[tuple[str, str]]:
        """For EXPLAIN ROUTE."""
        sql = text.encode("utf-8", "surrogateescape")
        found = lexer.lex(sql, context.mode)
        change = self.change(session, found, sql, context, plan(found, sql, context))
        title = f"version {self._version} on trial"
        if change is None:
            return [(title, "would decide alike")]
        return [(title, f"{change.what}: {detail}") for detail in change.details]

    def _decide(self, session: Session, found: Any, sql: Text, context: Context) -> Outcome:
        generation, user = self._generation, self._generation.user(session.user)
        if user is None:
            return Outcome({}, f"there is no user {session.user}")
        policy = generation.policy
        theirs = replace(
            context,
            topology=generation.topology,
            grants=generation.grants[session.user],
            hints=frozenset(hint.value for hint in user.hints),
            policy=policy,
            subject=policy.subject_of(session.user, *session.identity) if policy is not None else None,
        )
        return _outcome(plan(found, sql, theirs), generation)

    def _note(self, session: Session, found: Any, change: Change | None) -> None:
        """In the loop's thread."""
        what = change.what if change is not None else SAME
        self._worker.loop_block.shadow(what)
        digest, generation = self._worker.claim_digest(session, found)
        self._worker.block.digest_mark(digest, generation, MARKS[what])
        if change is None or len(self._told) >= LOGGED or (found.norm, session.user) in self._told:
            return
        self._told.add((found.norm, session.user))
        words = {REFUSED: "would be refused", ALLOWED: "would be allowed", CHANGED: "would be carried out otherwise"}
        log.warning("shadow of version %d, user %s: %s %s: %s", self._version, session.user, change.shape.norm,
                    words[what], "; ".join(change.details))  # fmt: skip


def _outcome(planned: Planned, generation: Generation) -> Outcome:
    return outcome_of(planned, generation.topology, sharding_of(planned.plan, generation.settings))
