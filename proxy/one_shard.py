"""A statement of one shard that the relay does not send by itself: what goes before it, and what is behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from _speedups.relay import VerdictRef
from proxy.audit.exposure import Toll
from proxy.audit.recorder import Want
from proxy.compile import FRESH_ID, LOAD, OPAQUE, PRESET, Compiled, one_row
from proxy.mysql.constants.capabilities import Capability
from proxy.numbering import Form
from proxy.sessions.session import Session
from proxy.sessions.variables import set_id
from proxy.xa.sessions import Spread
from router import plan as plans
from router.errors import refusal
from router.plan import Planned

if TYPE_CHECKING:
    from proxy.worker import Worker

SCHEMA_WAIT = 2.0
"""Seconds that a session waits at most, behind its DDL, for the schema to be read."""


class OneShard:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def held(
        self, handle: int, session: Session, spread: Spread, planned: Planned, compiled: Compiled, shard: int,
        start: Callable[[], Awaitable[None] | None],
    ) -> None:  # fmt: skip
        """A statement of one shard, in a transaction over several. Raises Refusal, ServerSaid."""
        name = self._worker.shard_of_number(shard).name
        self._worker.spreads.allow(session, None, planned, (name,))
        if compiled.flags & OPAQUE:
            raise refusal("SPREAD_OPAQUE", planned.facts.verb.upper())
        async with spread.holding(name, writes=not planned.facts.replica_ok):
            done = self._worker.dispatcher.when_done(handle)
            self._worker.dispatcher.see_through(handle)    # its server is asked to stop it
            try:
                if (rest := start()) is not None:
                    await rest
            except BaseException:
                self._worker.dispatcher.never_done(handle)
                raise
            await done
        self._worker.relay.release(handle)

    def one_of(self, shards: tuple[str, ...], planned: Planned, info: dict[str, Any]) -> int:
        """The shard of an execution that may go to any of `shards`: the one that the session holds, or the nearest."""
        held = info["shard"] if info["shard"] >= 0 and not info["linger"] else None
        if isinstance(planned.plan, plans.AnyShard) and held is not None and len(shards) > 1:
            shards = (self._worker.shard_of_number(held).name,) if self._may(planned.plan, held) else shards
        return self._worker.compiler.nearest(shards)

    def _may(self, plan: plans.AnyShard, shard: int) -> bool:
        return self._worker.shard_of_number(shard).name in plan.shards

    def start(
        self, handle: int, session: Session, found: Any, planned: Planned, compiled: Compiled,
        shard: int, info: dict[str, Any], verdict: VerdictRef | None, toll: Toll | None, payload: bytes = b"",
        form: Form | None = None,
    ) -> Awaitable[None] | None:  # fmt: skip
        """Send it, or say what has to be waited for. Raises Refusal."""
        facts = planned.facts
        extra = b""
        if facts.needs_connection and (info["shard"] < 0 or info["linger"]):
            raise refusal("CONNECTION_FUNCTION", facts.needs_connection[0].upper())
        flags = compiled.flags | one_row(found)
        if facts.needs_last_insert_id:
            if self._worker.dispatcher.asks_for_id(handle, info):
                return None
            extra, flags = set_id(info), flags | PRESET
        if form is not None and form.tells:
            flags |= FRESH_ID
        if facts.loads:
            flags |= file_flags(session, info)
        if facts.ddl:
            self._worker.ensure_way(session, shard, session.capabilities)
            done = self._worker.dispatcher.when_done(handle)
            self._worker.dispatcher.spawn(handle, self._behind_ddl(handle, shard, done))
        digest, generation = self._worker.claim_digest(session, found)
        consistency, max_lag = self._level(session, planned)
        send = partial(
            self._worker.relay.run_on,
            handle,
            shard,
            digest=digest,
            digest_generation=generation,
            flags=flags,
            pins=compiled.pins,
            extra=extra,
            hold=facts.ddl or session.spread is not None,
            verdict=verdict,
            payload=payload,
            own_id=form.insert_id if form is not None else 0,
            consistency=consistency,
            max_lag_ms=max_lag,
        )
        want = self._worker.auditor.want(session, planned, (self._worker.shard_of_number(shard).name,))
        if toll is not None:
            return self._behind_toll(toll, want, found.fingerprint, send)
        if want is not None and self._worker.auditor.waits(want):
            return self._behind_record(want, found.fingerprint, send)
        self._send(want, send)
        return None

    def _send(self, want: Want | None, send: Callable[..., bool]) -> None:
        if want is None:
            send()
        else:
            send(record=self._worker.auditor.number(want))

    async def _behind_toll(self, toll: Toll, want: Want | None, fingerprint: int, send: Callable[..., bool]) -> None:
        await toll.pay()
        if want is not None and self._worker.auditor.waits(want):
            await self._behind_record(want, fingerprint, send)
        else:
            self._send(want, send)

    async def _behind_record(self, want: Want, fingerprint: int, send: Callable[..., bool]) -> None:
        number = await self._worker.auditor.kept(want, fingerprint)
        if not send(record=number):
            self._worker.auditor.abandon(number)

    async def _behind_ddl(self, handle: int, shard: int, done: asyncio.Future[None]) -> None:
        """A statement that may have changed the schema is sent. Its session's next one waits until plans are made by
        the schema as it is now; others notice as soon as that has been read."""
        try:
            await done
        finally:
            self._worker.schema_changed()
            if self._worker.plans_by_schema(shard):
                await self._worker.schemas.read_now(SCHEMA_WAIT)
            self._worker.relay.release(handle)

    def _level(self, session: Session, planned: Planned) -> tuple[int, int]:
        """consistency= and max_lag= (ms) of a hint, which hold for this statement only; -1 is the session's own."""
        hints = planned.facts.hints
        if hints.consistency is None and hints.max_lag is None:
            return -1, -1
        level, lag = self._worker.level_of(session)
        wanted = {"primary": 0, "session": 1, "eventual": 2}.get(hints.consistency or "", 2)
        if wanted == 1 and level != 1:
            wanted = 0  # what this session wrote was not noted, so only the primary surely has it
        return wanted, hints.max_lag if hints.max_lag is not None else lag


def file_flags(session: Session, info: dict[str, Any]) -> int:
    """The relay's flag for LOAD DATA LOCAL. Raises Refusal."""
    if not session.capabilities & Capability.LOCAL_FILES:
        raise refusal("LOCAL_INFILE", "the client does not offer its files")
    if info["script"]:
        raise refusal("LOCAL_INFILE", "among several statements")
    return LOAD
