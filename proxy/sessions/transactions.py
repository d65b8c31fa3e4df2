"""BEGIN, COMMIT, ROLLBACK and savepoints, where the relay does not answer them by itself."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from proxy.compile import OPAQUE, PLAIN_END, WRITES
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import OkPacket
from proxy.mysql.wire import frame
from proxy.result_set import FIRST_SEQUENCE
from proxy.sessions.session import Session
from proxy.xa.sessions import Spread
from router import plan as plans
from router.errors import Refusal, refusal
from router.literals import Params
from router.plan import CHAIN, RELEASE
from router.text import Text

if TYPE_CHECKING:
    from proxy.worker import Worker

PENDING, ACTIVE = 1, 2
"""The relay's Trx: a server has a transaction open."""
SAVEPOINTS_MAX = 1024
"""Of one transaction, at a time."""


class Transactions:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def at_one(self, handle: int, session: Session, plan: plans.Transaction, sql: Text) -> None:
        """SAVEPOINT and its kin; BEGIN, COMMIT and ROLLBACK when they did not fit the relay's tables."""
        info = self._worker.relay.info(handle)
        if info is None:
            return
        if CHAIN in plan.options:
            self._chain(handle, session, plan, info)
            return
        if RELEASE in plan.options:
            self._release(handle, session, plan, info)
            return
        if plan.verb in ("begin", "commit", "rollback"):
            raise refusal("TRANSACTION_OPTION", " ".join((plan.verb.upper(), *sorted(plan.options))).upper())
        if info["trx"] == PENDING or (info["trx"] == 0 and not info["autocommit"] and not info["pins"]):
            self._defer(handle, session, plan, sql, info)
            return
        if info["trx"]:
            # Should the transaction need further shards, they get the same.
            known = session.savepoints if info["deferred"] or info["marked"] else ()
            with suppress(Refusal):
                known = savepoints_after(known, plan)
            if len(known) > SAVEPOINTS_MAX:
                raise refusal("MEMORY_LIMIT", "the savepoints of one transaction")
            session.savepoints = known
            self._worker.relay.mark(handle)
        shard = info["shard"] if info["shard"] >= 0 else self._worker.any_shard(session)
        self._worker.relay.run_on(handle, shard, flags=OPAQUE | WRITES)

    def _chain(self, handle: int, session: Session, plan: plans.Transaction, info: dict[str, Any]) -> None:
        """COMMIT AND CHAIN: to the relay a statement within a transaction, since there is one behind it, too; without a
        backend a BEGIN."""
        session.savepoints = ()
        if info["trx"] == ACTIVE or info["pins"]:
            command = b"\x03" + plan.verb.upper().encode() + b" AND CHAIN NO RELEASE"
            self._worker.relay.run_on(handle, info["shard"], flags=OPAQUE | WRITES, payload=command)
        else:
            self._worker.relay.chain(handle)

    def _release(self, handle: int, session: Session, plan: plans.Transaction, info: dict[str, Any]) -> None:
        """COMMIT RELEASE: the backend, which others go on using, is not told of the RELEASE."""
        session.savepoints = ()
        if info["trx"] == ACTIVE:
            command = b"\x03" + plan.verb.upper().encode() + PLAIN_END
            self._worker.relay.run_on(handle, info["shard"], flags=OPAQUE | WRITES, payload=command, close=True)
        else:
            self._worker.relay.drop_pending(handle)
            self._part(handle)

    def _defer(self, handle: int, session: Session, plan: plans.Transaction, sql: Text, info: dict[str, Any]) -> None:
        """A transaction without a shard: its savepoints are kept, and sent behind its BEGIN."""
        known = session.savepoints if info["deferred"] else ()
        after = savepoints_after(known, plan)
        if not self._worker.relay.defer(handle, frame(b"\x03" + bytes(sql), 0)):
            raise refusal("MEMORY_LIMIT", "the savepoints of one transaction")
        session.savepoints = after
        self._worker.relay.reply_ok(handle)

    def commit_first(self, handle: int, session: Session, spread: Spread) -> None:
        """Commit the transaction that is on several shards, then look at the parked command again."""
        self._worker.dispatcher.spawn(handle, self._commit_first(handle, spread))

    async def _commit_first(self, handle: int, spread: Spread) -> None:
        self._worker.dispatcher.see_through(handle)
        await spread.commit()
        self._worker.relay.resume(handle)

    async def end(
        self, handle: int, session: Session, spread: Spread, plan: plans.Transaction, text: bytes
    ) -> None:
        """COMMIT, ROLLBACK and savepoints of a transaction over several shards."""
        self._worker.dispatcher.see_through(handle)
        begun = spread.begun
        if plan.verb == "commit":
            await spread.commit()
        elif plan.verb == "rollback":
            await spread.roll_back()
        else:
            if plan.verb == "savepoint" and len(session.savepoints) >= SAVEPOINTS_MAX:
                raise refusal("MEMORY_LIMIT", "the savepoints of one transaction")
            await spread.savepoint(text)
            session.savepoints = savepoints_after(session.savepoints, plan)
        if CHAIN in plan.options:
            for text in begun.once:
                self._worker.relay.once(handle, frame(text, 0))
            self._worker.relay.chain(handle, begun.variant)
        elif RELEASE in plan.options:
            self._part(handle)
        else:
            self._worker.relay.reply_ok(handle)

    def _part(self, handle: int) -> None:
        """Answer COMMIT RELEASE: OK, and the connection is closed behind it."""
        info, session = self._worker.relay.info(handle), self._worker.sessions.get(handle)
        if info is not None and session is not None:
            status = Status(info["status"]) & ~(Status.IN_TRANS | Status.IN_TRANS_READONLY)
            packet = OkPacket(status=status).build(session.capabilities)
            self._worker.relay.reply(handle, frame(packet, FIRST_SEQUENCE), affected=0, close=True)

    async def set_at_home(
        self, handle: int, session: Session, spread: Spread, plan: plans.SetSession, sql: Text, found: Any,
        params: Params,
    ) -> None:  # fmt: skip
        """What a connection is pinned for stays on the shard where the transaction began."""
        async with spread.holding(spread.home, writes=False):
            pass
        self._worker.variables.set(handle, session, plan, sql, found, params)


def is_begin(plan: plans.Plan) -> bool:
    return isinstance(plan, plans.Transaction) and plan.verb == "begin"


def savepoints_after(names: tuple[str, ...], plan: plans.Transaction) -> tuple[str, ...]:
    """The names of a transaction's savepoints, oldest first, after one more such statement. Raises Refusal."""
    name = (plan.savepoint or "").lower()
    if plan.verb == "savepoint":
        return (*(one for one in names if one != name), name)
    if name not in names:
        raise refusal("SAVEPOINT_UNKNOWN", plan.savepoint or "")
    at = names.index(name)
    return names[: at + 1] if plan.verb == "rollback to" else names[:at]
