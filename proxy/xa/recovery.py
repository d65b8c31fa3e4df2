"""Clearing up behind a crash: prepared parts that nobody ends, and decisions that nobody needs any more.

One worker of every Fairlead does it for the shards of its region, again and again; several at once do no harm, since
what they do is what the row of the decision says. A part that has been seen prepared for `transactions.in_doubt` is
ended: committed where there is the row, else rolled back, behind an `abort` in the row's place. Nothing is guessed:
while the deciding server does not answer, or its transaction is still open, the part stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.pool.service_connection import ServerUnavailable, ServiceConnection, connect
from proxy.xa.decisions import ALREADY_DONE, BATCH, COMMIT, NO_SCHEMA, NO_TABLE, decision, listed, settle
from router.xid import Gtrid, Prepared, label

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Transactions that are cleared up side by side."""
QUIET, IDLE = 10, 5
"""After so many looks that found nothing, so many times fewer."""
CLEANING = 5
"""Every so many looks, decisions are cleared up, too."""
BATCHES = 20
"""Most batches of them from one shard at a time."""
AGE = 60.0
"""Seconds since a transaction was begun before its decision is looked at for that."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A transaction with prepared parts. `decision`: commit, abort, none yet, or unknown while nobody can be asked."""

    gtrid: Gtrid
    decision: str
    shards: tuple[str, ...]

    def row(self) -> list[str | int]:
        """gtrid, the deciding shard, the shards with prepared parts, decision, seconds since it was begun"""
        age = max(0, int(time.time() - self.gtrid.made))
        return [str(self.gtrid), self.gtrid.decider, ", ".join(self.shards), self.decision, age]


class Recovery:
    """One worker's. `run` is the task of the elected one; `survey` answers anybody."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._connections: dict[str, ServiceConnection] = {}
        self._turn = asyncio.Lock()
        self._seen: dict[tuple[str, Prepared], float] = {}

    async def run(self) -> None:
        looks = quiet = 0
        while True:
            # Behind a start there may be something; where nothing was for a while, a look now and then will do.
            pause = self._worker.generation.settings.transactions.recovery
            await asyncio.sleep(pause if quiet < QUIET else pause * IDLE)
            looks += 1
            try:
                async with self._turn:
                    quiet = 0 if await self._look() else quiet + 1
                    if looks % CLEANING == 0:
                        await self._clean()
            except Exception:
                log.exception("looking for transactions in doubt")

    async def survey(self) -> list[Unresolved]:
        """All that are prepared on the region's servers now, whether in doubt or just under way."""
        async with self._turn:
            found = await self._prepared()
            grouped = _grouped(found)
            return [
                Unresolved(gtrid, await self._decision(gtrid), tuple(shards)) for gtrid, shards in sorted(
                    grouped.items(), key=lambda item: str(item[0])
                )
            ]  # fmt: skip

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    # --- looking --------------------------------------------------------------------------------------------

    async def _prepared(self) -> dict[str, list[Prepared]]:
        """Shard -> its prepared parts; shards that do not answer are left out."""
        shards = [shard.name for shard in self._worker.generation.topology.local_shards]
        answers = await asyncio.gather(*(self._prepared_on(shard) for shard in shards))
        return {shard: parts for shard, parts in zip(shards, answers, strict=True) if parts is not None}

    async def _prepared_on(self, shard: str) -> list[Prepared] | None:
        try:
            connection = await self._connection(shard)
            return await listed(connection, self._worker.atomics.timeout) if connection is not None else None
        except ServerUnavailable as error:
            log.debug("cannot list prepared transactions on %s: %s", shard, error)
            return None

    async def _connection(self, shard: str) -> ServiceConnection | None:
        """To its primary; None: it has none. Raises ServerUnavailable."""
        target = self._worker.atomics.primary(shard)
        if target is None:
            return None
        found = self._connections.get(target.name)
        if found is None or found.closed:
            found = self._connections[target.name] = await connect(target.endpoint, self._worker.atomics.timeout)
        return found

    async def _decision(self, gtrid: Gtrid) -> str:
        shard = self._shard(gtrid.decider)
        try:
            connection = await self._connection(shard) if shard is not None else None
            if connection is None:
                return "unknown"
            atomics = self._worker.atomics
            return await decision(connection, atomics.table, gtrid, atomics.timeout) or "none"
        except ServerUnavailable:
            return "unknown"

    def _shard(self, wanted: str) -> str | None:
        """The shard of the region with this label."""
        shards = self._worker.generation.topology.local_shards
        return next((shard.name for shard in shards if label(shard.name) == wanted), None)

    async def _look(self) -> bool:
        """Is anything prepared?"""
        found = await self._prepared()
        now = time.monotonic()
        present = {(shard, part) for shard, parts in found.items() for part in parts}
        # What a shard that does not answer had is remembered.
        self._seen = {key: since for key, since in self._seen.items() if key in present or key[0] not in found}
        for key in present:
            self._seen.setdefault(key, now)
        limit = self._worker.generation.settings.transactions.in_doubt
        due: dict[Gtrid, list[tuple[str, Prepared]]] = {}
        for shard, part in present:
            if now - self._seen[shard, part] >= limit:
                due.setdefault(part.gtrid, []).append((shard, part))
        self._worker.loop_block.in_doubt(sum(len(parts) for parts in due.values()))
        for gtrid, parts in due.items():
            await self._resolve(gtrid, parts)
        return bool(present)

    async def _resolve(self, gtrid: Gtrid, parts: Iterable[tuple[str, Prepared]]) -> None:
        """End the parts as the decision says; leave them when there is none to be had now."""
        home = self._shard(gtrid.decider)
        if home is None:
            log.warning("transaction %s: its deciding shard %s is none of this region's", gtrid, gtrid.decider)
            return
        atomics = self._worker.atomics
        try:
            connection = await self._connection(home)
            if connection is None:
                return
            outcome = await settle(connection, atomics.table, gtrid, atomics.timeout)
        except ServerUnavailable as error:
            log.warning("transaction %s: shard %s cannot be asked: %s", gtrid, home, error)
            return
        for shard, part in parts if outcome is not None else ():
            await self._end(shard, part, commit=outcome == COMMIT)

    async def _end(self, shard: str, part: Prepared, *, commit: bool) -> None:
        verb = "COMMIT" if commit else "ROLLBACK"
        try:
            connection = await self._connection(shard)
            if connection is None:
                return
            await connection.query(f"XA {verb} {part.xid}", self._worker.atomics.timeout)
        except ServerUnavailable as error:
            if error.errno != ALREADY_DONE:
                log.warning("transaction %s: XA %s on %s: %s", part.gtrid, verb, shard, error)
            return
        self._worker.loop_block.atomic("recovered_commit" if commit else "recovered_abort")
        log.warning("transaction %s: its part on %s was in doubt; XA %s", part.gtrid, shard, verb)

    # --- decisions that are not needed any more -------------------------------------------------------------

    async def _clean(self) -> None:
        for shard in self._worker.generation.topology.local_shards:
            for _ in range(BATCHES):
                if not await self._clean_some(shard.name):
                    break

    async def _clean_some(self, shard: str) -> bool:
        """A batch of one shard's; True: there may be more. A commit goes when none of its parts is prepared any more:
        they all were before it was made, so they are committed."""
        atomics = self._worker.atomics
        try:
            connection = await self._connection(shard)
            if connection is None:
                return False
            rows = await connection.query(atomics.table.old(time.time() - AGE), atomics.timeout)
            prepared = await self._prepared() if rows else {}
            done = [gtrid for gtrid, parts in map(_old, rows) if self._is_over(gtrid, parts, prepared)]
            if not done:
                return False
            await connection.query(atomics.table.delete(done), atomics.timeout)
        except ServerUnavailable as error:
            if error.errno not in (NO_SCHEMA, NO_TABLE):
                log.debug("cannot clear up decisions on %s: %s", shard, error)
            return False
        return len(done) == len(rows) == BATCH

    def _is_over(self, gtrid: str, parts: Iterable[str], prepared: Mapping[str, list[Prepared]]) -> bool:
        shards = [self._shard(one) for one in parts]
        return all(shard in prepared for shard in shards) and not any(
            str(part.gtrid) == gtrid for listing in prepared.values() for part in listing
        )


def _old(row: tuple[object, ...]) -> tuple[str, list[str]]:
    """A row of `Table.old` -> its gtrid and the labels of its parts' shards."""
    gtrid = row[0].decode() if isinstance(row[0], bytes) else str(row[0])
    return gtrid, [one for one in str(row[2]).split(",") if one]


def _grouped(found: Mapping[str, list[Prepared]]) -> dict[Gtrid, list[str]]:
    grouped: dict[Gtrid, list[str]] = {}
    for shard, parts in found.items():
        for part in parts:
            grouped.setdefault(part.gtrid, []).append(shard)
    return grouped
