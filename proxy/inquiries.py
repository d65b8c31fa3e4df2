"""What the admin process asks a worker, and the worker's answers: bounded, a part at a time, off the data path.

Messages as in `proxy.supervision.control`, over a pair of their own for each worker's place:

    admin -> worker   {"verb": "ask", "id": N, "what": "sessions", "after": 0}
    worker -> admin   {"verb": "answer", "id": N, "rows": [[…], …], "next": 17}     next: null at the end
                      {"verb": "answer", "id": N, "error": "…"}

A list is taken from where the last part ended; it is a moving picture, not a moment. Nothing here holds a literal:
statements are told by their templates.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from _speedups.stats import PARK_REASONS, PIN_REASONS, now_ns
from proxy import logs
from proxy.mysql.constants.commands import Command
from proxy.sessions.session import MARIADB, Identity, Session
from proxy.supervision import control
from router.context import Context
from router.explain import explain
from router.plan import Planned
from router.policy.review import unlabelled

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

PART_BYTES = 40 << 10
"""JSON of one part; a datagram has 64 KiB."""
PART_ROWS = 256
INFO_BATCH = 64
"""Sessions that the relay is asked for at once (its lock is held that long)."""
TEXT = 1000
"""Characters of a statement's template."""

PHASES = ("idle", "parked", "waiting", "busy", "closed")
LEVELS = ("primary", "session", "eventual")
NO_TRANSACTION = 0

Row = list[Any]
Topic = Callable[["Worker", int], Iterator[tuple[int, Row]]]
"""(worker, where the last part ended) -> (the place behind it, row) in rising order."""


class Inquiries:
    """One worker's answers. `on_readable` is the loop's callback on the pair's descriptor."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._socket = worker.start.inquiries
        self._tasks: set[asyncio.Task[None]] = set()

    def fileno(self) -> int:
        return self._socket.fileno()

    def on_readable(self) -> None:
        for message in control.receive(self._socket) or ():
            if message["verb"] == "ask":
                self._on_ask(message)

    def _on_ask(self, message: control.Message) -> None:
        what = message.get("what")
        try:
            if what in TOPICS:
                self._say(message, **part(TOPICS[what](self._worker, int(message["after"]))))
            elif what == "kill":
                self._say(message, rows=[[kill(self._worker, int(message["session"]))]], next=None)
            elif what in ("explain", "transactions"):
                work = self._explain(message) if what == "explain" else self._transactions(message)
                task = asyncio.ensure_future(work)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._say(message, error=f"{what} is nothing that can be asked")
        except Exception as error:
            log.exception("answering the admin process")
            self._say(message, error=logs.told(error))

    def _say(self, message: control.Message, **answer: Any) -> None:
        # Whoever asked may be gone, or may not read: it is no business of this worker's.
        control.send(self._socket, {"verb": "answer", "id": message.get("id"), **answer})

    async def _transactions(self, message: control.Message) -> None:
        """Those of the region's servers that are prepared, told by one worker."""
        try:
            found = await self._worker.recovery.survey() if self._worker.start.index == 0 else []
            self._say(message, rows=[one.row() for one in found][:PART_ROWS], next=None)
        except Exception as error:
            log.exception("looking for prepared transactions")
            self._say(message, error=logs.told(error))

    async def _explain(self, message: control.Message) -> None:
        """EXPLAIN ROUTE as somebody, with the live schema of this worker."""
        worker, loop = self._worker, asyncio.get_running_loop()
        try:
            context = context_of(worker, message)
            found = await loop.run_in_executor(worker.threads, explain, str(message["sql"]), context)
            self._say(
                message, rows=[[str(cell)[:4000] for cell in row] for row in found.as_rows()], next=None
            )
        except Exception as error:
            self._say(message, error=str(error)[:2000])


def part(rows: Iterator[tuple[int, Row]]) -> dict[str, Any]:
    """The next rows that fit into one answer, and where they end."""
    taken: list[Row] = []
    size, place = 0, 0
    for at, row in rows:
        size += len(json.dumps(row))
        if (taken and size > PART_BYTES) or len(taken) >= PART_ROWS:
            return {"rows": taken, "next": place}
        taken.append(row)
        place = at
    return {"rows": taken, "next": None}


def context_of(worker: Worker, message: control.Message) -> Context:
    """As this user would be planned for, coming in by a listener. Raises ValueError for an unknown one."""
    name = str(message["user"])
    user = worker.generation.user(name)
    if user is None:
        raise ValueError(f"there is no user {name}")
    policy = worker.generation.policy
    identity = Identity(str(message.get("listener") or ""))
    return Context(
        topology=worker.generation.topology,
        grants=worker.generation.grants[name],
        database=message.get("database") or user.default_database,
        mode=MARIADB if worker.logins.mariadb else 0,
        schemas=worker.schemas.snapshots,
        hints=frozenset(hint.value for hint in user.hints),
        policy=policy,
        subject=policy.subject_of(name, *identity) if policy is not None else None,
    )


# --- sessions -----------------------------------------------------------------------------------------------


def sessions(worker: Worker, after: int) -> Iterator[tuple[int, Row]]:
    """By handle."""
    handles = sorted(handle for handle in worker.sessions if handle >= after)
    statements = templates(worker)
    for start in range(0, len(handles), INFO_BATCH):
        for handle, info in worker.relay.infos(handles[start : start + INFO_BATCH]):
            session = worker.sessions.get(handle)
            if session is not None:
                yield handle + 1, _session(worker, session, info, statements)


def _session(worker: Worker, session: Session, info: dict[str, Any], statements: dict[int, str]) -> Row:
    phase = PHASES[info["phase"]]
    busy = phase in ("parked", "waiting", "busy")
    shard = info["shard"]
    begun = info["received"] if busy else info["last"]
    return [
        session.connection_id,
        session.user,
        session.peer,
        session.listener,
        session.database,
        phase,
        command_name(info["command"]) if busy else "Sleep",
        max(0, now_ns() - begun) // 1000,
        PARK_REASONS[info["park_reason"]] if phase == "parked" else None,
        worker.shard_of_number(shard).name if shard >= 0 else None,
        int(info["trx"] != NO_TRANSACTION or info["deferred"] > 0),
        pinned_by(info),
        LEVELS[info["consistency"]],
        int(info["autocommit"]),
        int(session.hop),
        info["bytes_out"],
        f"{info['fingerprint']:016x}" if info["fingerprint"] else None,
        statements.get(info["fingerprint"]),
    ]


def pinned_by(info: dict[str, Any]) -> str | None:
    """Why the session keeps its connection to a server, in words; None when it does not have to."""
    names = [name.replace("_", " ") for bit, name in enumerate(PIN_REASONS) if info["pins"] >> bit & 1]
    if info["trx"] != NO_TRANSACTION and "transaction" not in names:
        names.insert(0, "transaction")
    return ", ".join(names) or None


def command_name(number: int) -> str:
    try:
        return Command(number).name.replace("_", " ").capitalize()
    except ValueError:
        return str(number)


def templates(worker: Worker) -> dict[int, str]:
    """Fingerprint -> template, of the plans that this side remembers."""
    return {fingerprint: shown(norm) for _, fingerprint, norm, _, _ in worker.planning.remembered()}


def shown(norm: bytes) -> str:
    text = norm[: 4 * TEXT].decode("utf-8", "replace")
    return text if len(text) <= TEXT else text[: TEXT - 1] + "…"


def kill(worker: Worker, number: int) -> bool:
    """Closes the session with this connection id, if it is one of this worker's."""
    for handle, session in worker.sessions.items():
        if session.connection_id == number:
            return worker.relay.close(handle)
    return False


# --- plans --------------------------------------------------------------------------------------------------


def plans(worker: Worker, after: int) -> Iterator[tuple[int, Row]]:
    """By place: from those not used for longest to those used last."""
    remembered = worker.planning.remembered()
    for index, (context, fingerprint, norm, epoch, planned) in enumerate(
        islice(remembered, after, None), after + 1
    ):
        key = worker.contexts.key(context)
        route, shards = route_of(planned)
        yield (
            index,
            [
                f"{fingerprint:016x}",
                shown(norm),
                key.user,
                key.database,
                route,
                shards,
                planned.facts.verb,
                *verdict_of(planned),
                ", ".join(planned.reasons)[:TEXT] or None,
                epoch,
                int(epoch == worker.epoch),
            ],
        )


def route_of(planned: Planned) -> tuple[str, str | None]:
    """The plan's name, and its shards or those it chooses from."""
    plan = planned.plan
    named = getattr(plan, "shards", None) or getattr(plan, "shard", None)
    shards = named if isinstance(named, str) else ", ".join(named) if named else None
    entry = getattr(plan, "entry", None)
    return f"{type(plan).__name__} {entry}" if entry else type(plan).__name__, shards


def verdict_of(planned: Planned) -> tuple[str | None, str | None]:
    """What the policy makes of it, and by which rules; (None, None) when it has nothing to say."""
    if planned.policy is None:
        return None, None
    parts = planned.policy.parts.values()
    refused = sorted({part.refusal.entry for part in parts if part.refusal is not None})
    proofs = [part.proof for part in parts if part.proof is not None]
    rules = sorted({rule for proof in proofs for finding in proof.findings for rule in finding.rules})
    if refused:
        return f"refused: {', '.join(refused)}", ", ".join(rules) or None
    return "as it is" if planned.policy.direct else "rewritten", ", ".join(rules) or None


# --- pools --------------------------------------------------------------------------------------------------


def pools(worker: Worker, after: int) -> Iterator[tuple[int, Row]]:
    """By the relay's number, those that ever held a connection or a queue."""
    for pool in worker.backends.pools.all():
        if pool.id < after:
            continue
        waiting, idle, lingering, total = worker.relay.pool_state(pool.id)
        if not (waiting or total or pool.total or pool.source.failure):
            continue
        yield (
            pool.id + 1,
            [
                pool.source.name.replace(" ", "/", 1),
                pool.capability_class,
                total,
                pool.connecting,
                idle,
                lingering,
                total - idle - lingering,
                waiting,
                pool.source.limit,
                pool.source.failure or None,
            ],
        )


# --- findings -----------------------------------------------------------------------------------------------


def findings(worker: Worker, after: int) -> Iterator[tuple[int, Row]]:
    """What the live schema says: drift between shards, columns that the policy has no label for."""
    found: list[Row] = [
        [one.severity, "schema", one.code, f"{one.keyspace}.{one.table}", one.text]
        for one in sorted(worker.schemas.findings)
    ]
    policy = worker.generation.policy
    if policy is not None:
        found += [
            ["remark", "policy", "UNLABELLED_COLUMN", place, text]
            for place, text in unlabelled(policy, worker.schemas.snapshots)
        ]
    yield from islice(enumerate(found, 1), after, None)


TOPICS: dict[str, Topic] = {"sessions": sessions, "plans": plans, "pools": pools, "findings": findings}
