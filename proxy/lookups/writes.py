"""Tables with lookups: reads ask a lookup for the shards of their rows, writes bring it in step.

A write is a transaction over the rows' shards and those of the entries that change. It looks at the rows, locked,
before and behind the client's statement; what differs is what becomes of the entries. So servers alone say what was
stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from _speedups.lexer import LexedStatement, lex
from proxy.audit.exposure import Toll
from proxy.audit.recorder import Outcome
from proxy.compile import GUARDED, Compiled
from proxy.lookups.rows import CHUNK, DUPLICATE, Change, Rows, changes, renamed, rows_of
from proxy.mysql.constants.status import Status
from proxy.mysql.packets.replies import OkPacket
from proxy.mysql.wire import HEADER_SIZE
from proxy.numbering import Form
from proxy.scatter.executor import Branches, Execution, Write
from proxy.scatter.leases import is_error
from proxy.sessions.params import rearranged
from proxy.sessions.session import Session
from proxy.xa import faults
from proxy.xa.sessions import Spread
from proxy.xa.transaction import Part, ServerSaid, errno_of
from router import plan as plans
from router import route
from router.engine.assemble import spelled
from router.engine.recipe import Piece, Span
from router.entries import Cells, Entries, Owner, owner_of, places_of
from router.errors import CATALOGUE, Refusal, refusal
from router.keys import Key, KeyRefused, canonical
from router.literals import Params
from router.plan import ByLookup, Keep, Planned
from router.text import Text
from router.tokens import decode, quoted, tokenize

if TYPE_CHECKING:
    from proxy.worker import Worker

VALUES_MAX = 1024
"""Values of one read that a lookup is asked for; beyond, every shard is."""
FLAGS = 5
"""Where a COM_STMT_EXECUTE says whether it wants a cursor."""
Tell = Callable[[tuple[str, ...]], None]


@dataclass(frozen=True, slots=True)
class Given:
    """A statement under way, as the client sent it or with ids written into it."""

    session: Session
    sql: Text
    found: LexedStatement
    planned: Planned
    params: Params
    execution: Execution | None
    form: Form | None

    @property
    def values(self) -> route.Execution:
        assert self.planned.topology is not None
        session = self.session
        return route.Execution(
            bytes(self.sql), self.found, self.planned.topology, session.mode, self.params, session.charset
        )


@dataclass(frozen=True, slots=True)
class Scope:
    """The parts of a write's transaction. `also`: one more shard takes part."""

    parts: dict[str, Part]
    also: Callable[[str], Awaitable[Part]]

    async def on(self, shard: str) -> Part:
        return self.parts.get(shard) or await self.also(shard)


class Lookups:
    """One worker's."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    # --- reads ----------------------------------------------------------------------------------------------

    def find(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, compiled: Compiled,
        params: Params, execution: Execution | None, form: Form | None,
    ) -> None:  # fmt: skip
        """Have a parked read carried out on the shards that its lookup names. Raises Refusal."""
        plan = planned.plan
        assert isinstance(plan, ByLookup)
        given = Given(session, sql, found, planned, params, execution, form)
        on_shards = self._worker.placing.begin

        def tell(shards: tuple[str, ...]) -> None:
            if (refused := route.too_many(planned, found, sql, len(shards))) is not None:
                raise Refusal(CATALOGUE[refused.entry], refused.args)
            on_shards(handle, session, sql, found, planned, compiled, params, execution, form, told=shards)

        asked = self._asked(given, plan) if self._sees_the_latest(handle, session) else None
        if asked is None:
            tell(plan.shards)
        elif not asked[2]:
            tell((plan.when_empty,))
        else:
            self._worker.dispatcher.spawn(handle, self._find(handle, given, plan, *asked, tell))

    def _sees_the_latest(self, handle: int, session: Session) -> bool:
        """Not so a transaction that reads by snapshots: the lookup's would be later than that of the rows, and an entry
        may have gone of which the transaction still sees the row."""
        info = self._worker.relay.info(handle)
        if info is None or not (info["trx"] or not info["autocommit"]):
            return True
        level = (session.state.literal("transaction_isolation") or "").upper().replace("-", " ").strip("'")
        for text in self._worker.spreads.characteristics(handle, session):
            found = text.decode("latin-1").upper().partition("ISOLATION LEVEL ")[2]
            level = found or level
        return level in ("READ COMMITTED", "READ UNCOMMITTED")

    def _asked(self, given: Given, plan: ByLookup) -> tuple[Owner, Entries, dict[str, str]] | None:
        """Shard -> what its part of the lookup is asked. None: it cannot be asked."""
        try:
            owner, entries = self._entries(given.planned, plan)
            values = [one[0] for one in route.values_of(plan.keys, given.values)]
        except (Refusal, route.Undecided):
            return None
        places = places_of(entries, values) if len(values) <= VALUES_MAX else None
        if places is None:
            return None
        keys = ", ".join(one.selected for one in self._keys(owner, entries))
        most = self._worker.generation.settings.limits.lookup_rows + 1
        shards = self._worker.generation.topology.shards
        value = quoted(entries.value.name)
        return owner, entries, {
            shards[at].name: f"SELECT DISTINCT {keys} FROM {entries.place} WHERE {value} IN ({', '.join(texts)}) "
            f"LIMIT {most}"
            for at, texts in places.items()
        }  # fmt: skip

    def _entries(self, planned: Planned, plan: ByLookup) -> tuple[Owner, Entries]:
        """Raises Refusal."""
        keyspace = planned.topology.keyspace(plan.keyspace) if planned.topology is not None else None
        lookup = keyspace.lookups.get(plan.lookup) if keyspace is not None else None
        if lookup is None:
            raise refusal("INTERNAL", "a lookup that is gone")
        owner = self._owner(planned, plan.keyspace, lookup.table)
        return owner, next(one for one in owner.entries if one.lookup.name == plan.lookup)

    def _keys(self, owner: Owner, entries: Entries) -> list[Any]:
        """The columns of an entry that are the shard key."""
        by_name = {one.name.lower(): one for one in entries.columns}
        return [by_name[name.lower()] for name in owner.table.columns]

    async def _find(
        self, handle: int, given: Given, plan: ByLookup, owner: Owner, entries: Entries, texts: dict[str, str],
        tell: Tell,
    ) -> None:  # fmt: skip
        rows = await self._ask(handle, given, texts)
        if len(rows) > self._worker.generation.settings.limits.lookup_rows:
            tell(plan.shards)
            return
        shards = self._shards(owner, entries, rows)
        if shards is None:
            tell(plan.shards)
        else:
            tell(shards or (plan.when_empty,))

    def _shards(self, owner: Owner, entries: Entries, rows: Sequence[Cells]) -> tuple[str, ...] | None:
        """Of these shard keys, in the topology's order; None when that cannot be said."""
        columns, vindex = self._keys(owner, entries), owner.table.vindex
        assert vindex is not None
        found: set[int] = set()
        try:
            for row in rows:
                values = (column.value(cell) for column, cell in zip(columns, row, strict=True) if cell is not None)
                keys = [
                    Key(column.key.type, canonical(value, column.key.type))
                    for column, value in zip(columns, values, strict=True)
                ]
                found.add(vindex.shard_of(keys))
        except KeyRefused:
            return None
        return tuple(self._worker.generation.topology.shards[at].name for at in sorted(found))

    async def _ask(self, handle: int, given: Given, texts: dict[str, str]) -> list[Cells]:
        """As part of the session's transaction, if there is one. Raises Refusal, ServerSaid."""
        session, info = given.session, self._worker.relay.info(handle)
        async with AsyncExitStack() as stack:
            if info is not None and (info["trx"] or not info["autocommit"]):
                self._worker.executor.enter(handle, session, given.planned, tuple(texts), None)
                assert session.spread is not None
                parts = await stack.enter_async_context(session.spread.using(texts))
                leases = {name: part.lease for name, part in parts.items()}
            else:
                leases = {
                    name: await stack.enter_async_context(
                        self._worker.lease(session, self._worker.compiler.shard(name))
                    )
                    for name in texts
                }
            for name, lease in leases.items():
                lease.submit(self._worker.compiler.shard(name), b"\x03" + texts[name].encode())
            answers = await asyncio.gather(*(lease.collect() for lease in leases.values()))
            return [
                row
                for lease, answer in zip(leases.values(), answers, strict=True)
                for row in rows_of(answer, lease)
            ]

    # --- writes ---------------------------------------------------------------------------------------------

    def write(
        self, handle: int, session: Session, sql: Text, found: Any, planned: Planned, plan: Keep,
        shards: Sequence[str], params: Params, execution: Execution | None, form: Form | None, toll: Toll | None,
    ) -> None:  # fmt: skip
        """Carry out a parked write to a table with lookups. Raises Refusal."""
        if toll is not None or planned.policy is not None:
            raise refusal("POLICY_FORM", "a write that lookups are kept in step with")
        info = self._worker.executor.enter(handle, session, planned, shards, None)
        if info is None:
            return
        given = Given(session, sql, found, planned, params, execution, form)
        keeping = Keeping(self._worker, given, plan, self._owner(planned, plan.keyspace, plan.table), tuple(shards))
        keeping.check()
        self._worker.dispatcher.count(handle, session, found if form is None else form.client, shards)
        outcome = Outcome()
        work = partial(self._write, handle, keeping, info, outcome)
        self._worker.executor.spawn(handle, session, planned, found.fingerprint, tuple(shards), outcome, work, None)

    def _owner(self, planned: Planned, keyspace: str, name: str) -> Owner:
        """As the plan's configuration has it. Raises Refusal."""
        found = planned.topology.keyspace(keyspace) if planned.topology is not None else None
        table = found.table(name) if found is not None else None
        if table is None:
            raise refusal("INTERNAL", "a table that is gone")
        return owner_of(table, self._worker.schemas.snapshots.get(keyspace))

    async def _write(self, handle: int, keeping: Keeping, info: dict[str, Any], outcome: Outcome) -> None:
        session = keeping.given.session
        try:
            if session.spread is not None:
                answers = await self._within(session.spread, keeping)
            else:
                answers = await self._alone(handle, keeping)
        except ServerSaid as error:
            outcome.error = error.errno
            self._worker.relay.reply(handle, error.packet, error=True)
            return
        self._worker.executor.answer(handle, session, answers, keeping.write, Status(info["status"]))

    async def _within(self, spread: Spread, keeping: Keeping) -> dict[str, bytes]:
        """As part of the session's transaction; undone on all shards when one says no. Raises Refusal, ServerSaid."""

        async def also(shard: str) -> Part:
            return (await spread.also((shard,), writes=True))[shard]

        async with spread.using(()):
            return await keeping.run(Scope(await spread.also(keeping.shards, writes=True), also))

    async def _alone(self, handle: int, keeping: Keeping) -> dict[str, bytes]:
        """As a transaction of its own. Raises Refusal, ServerSaid."""
        session = keeping.given.session
        async with await self._worker.atomics.begin(session, keeping.shards) as transaction:

            async def also(shard: str) -> Part:
                return await transaction.also(shard, self._worker.lease(session, self._worker.compiler.shard(shard)))

            await transaction.start_all()
            try:
                answers = await keeping.run(Scope(transaction.parts, also))
            except (Refusal, ServerSaid):
                await transaction.roll_back()
                raise
            faults.reach("executed")
            self._worker.dispatcher.see_through(handle)
            await transaction.commit()
        return answers


class Keeping:
    """One write to a table with lookups."""

    def __init__(
        self, worker: Worker, given: Given, plan: Keep, owner: Owner, shards: tuple[str, ...]
    ) -> None:
        self._worker = worker
        self.given = given
        self._plan = plan
        self._owner = owner
        self.shards = shards
        self._most: int = worker.generation.settings.limits.lookup_rows
        self._guard = GUARDED if plan.guarded else 0
        sent = self._sent()
        self.write = replace(sent, flags=sent.flags | self._guard)
        self._keys: list[str] | None = None

    def check(self) -> None:
        """Read the keys of an INSERT's rows. Raises Refusal for those that are not stored as they are written."""
        if self._plan.rows is None:
            return
        keys: dict[str, None] = {}
        try:
            for row in route.values_of(self._plan.rows, self.given.values):
                columns = zip(self._owner.keys, row, strict=True)
                keys[f"({', '.join(column.stored(value) for column, value in columns)})"] = None
        except (KeyRefused, route.Undecided) as reason:
            raise refusal("LOOKUP_FORM", "INSERT", self._owner.table.name, f"a key: {reason}") from None
        if len(keys) > self._most:
            raise refusal("LOOKUP_ROWS", str(self._most))
        self._keys = list(keys)

    def _sent(self) -> Write:
        given, plan, shards = self.given, self._plan.write, self.shards
        execution, form = given.execution, given.form
        if len(shards) > 1:
            carried = plan.otherwise if isinstance(plan, plans.ByKey) else plan
            if not isinstance(carried, plans.MultiWrite | plans.SplitInsert):
                raise refusal("LOOKUP_FORM", "LIMIT", self._owner.table.name, "its rows are chosen over several shards")
            planned = replace(given.planned, plan=carried)
            first = form.insert_id if form is not None else 0
            return self._worker.executor.write_of(
                given.session, given.sql, given.found, planned, carried, shards, execution, insert_id=first
            )
        (shard,) = shards
        payload = b"\x03" + bytes(given.sql) if execution is None else execution.payload
        statement = execution.statement if execution is not None else None
        if form is not None:
            payload, statement = form.payload, form.statement
        executions = {shard: Execution(statement, payload)} if statement is not None else {}
        return Write({shard: payload}, executions, made=form.insert_id if form is not None else 0)

    async def run(self, scope: Scope) -> dict[str, bytes]:
        """The shards' answers to the client's statement. Raises Refusal, ServerSaid."""
        parts = {name: scope.parts[name] for name in self.shards}
        before = await self._before(parts)
        branches = Branches({name: part.number for name, part in parts.items()}, {
            name: part.lease for name, part in parts.items()
        })  # fmt: skip
        answers = await branches.write(self.write)
        failed = next((answer for answer in answers.values() if is_error(answer)), None)
        if failed is not None:
            raise ServerSaid(failed)
        keys = self._keys if self._keys is not None else [self._key(row) for row in before]
        after = await self._reading(parts, keys)
        self._check_counts(parts, answers, before, after)
        for change in changes(self._owner, before, after):
            await self._keep(scope, change)
        return answers

    async def _before(self, parts: dict[str, Part]) -> Rows:
        if self._keys is not None:
            return {} if self._plan.fresh else await self._reading(parts, self._keys)
        found = await asyncio.gather(*(self._matching(part) for part in parts.values()))
        return self._by_key(row for rows in found for row in rows)

    def _key(self, key: Cells) -> str:
        cells = (one.literal(cell) for one, cell in zip(self._owner.keys, key, strict=True) if cell is not None)
        return f"({', '.join(cells)})"

    def _by_key(self, rows: Iterable[Cells]) -> Rows:
        """Raises Refusal."""
        found = {self._owner.key_of(row): row for row in rows}
        if len(found) > self._most:
            raise refusal("LOOKUP_ROWS", str(self._most))
        return found

    async def _reading(self, parts: dict[str, Part], keys: Sequence[str]) -> Rows:
        """The rows with these keys, as they are now, and locked."""
        found: Rows = {}
        for at in range(0, len(keys), CHUNK):
            chunk = keys[at : at + CHUNK]
            text = self._owner.reading(chunk, (len(chunk) + 1)).encode()
            answers = await asyncio.gather(*(part.say(text, self._guard) for part in parts.values()))
            for part, answer in zip(parts.values(), answers, strict=True):
                found |= self._by_key(rows_of(answer, part.lease))
        return found

    # --- the rows of a condition ----------------------------------------------------------------------------

    async def _matching(self, part: Part) -> list[Cells]:
        """What the client's condition is about on one shard."""
        given = self.given
        text, order = self._condition()
        if given.execution is None:
            return rows_of(await part.say(text, self._guard), part.lease)
        execution = given.execution
        payload = bytearray(rearranged(execution.payload, len(given.params), order))
        payload[FLAGS] = 0
        statement = self._worker.statements.form(given.session, execution.number, text, len(order))
        part.lease.submit(part.number, bytes(payload), self._guard, statement)
        return rows_of(await part.lease.collect(), part.lease, binary=True)

    def _condition(self) -> tuple[bytes, tuple[int, ...]]:
        given, owner, plan = self.given, self._owner, self._plan
        alias = f" AS {quoted(plan.alias)}" if plan.alias != owner.table.name else ""
        pieces: list[Piece] = [f"SELECT {owner.selected} FROM {owner.place}{alias}"]
        if plan.condition is not None:
            first, end = plan.condition
            pieces += ["WHERE", Span(first, end - 1)]
        pieces.append(f"LIMIT {self._most + 1} FOR UPDATE")
        tokens = tokenize(decode(given.found.norm))
        text, order = spelled(pieces, tokens, given.sql, given.found, given.session.mode)
        if lex(text, given.session.mode).error:
            raise refusal("TOO_LARGE_TO_PLAN", "its condition")
        return text, order

    # --- the entries ----------------------------------------------------------------------------------------

    def _check_counts(self, parts: dict[str, Part], answers: dict[str, bytes], before: Rows, after: Rows) -> None:
        """Were the rows that were looked at the ones that were changed? Raises Refusal."""
        if self._keys is not None:
            wrong = self._plan.fresh and len(after) != len(self._keys)
        else:
            found = [_matched(answer, parts[name]) for name, answer in answers.items()]
            wrong = self._plan.counts and None not in found and sum(one or 0 for one in found) != len(before)
        if wrong:
            raise refusal("LOOKUP_MOVED", self._owner.table.name)

    async def _keep(self, scope: Scope, change: Change) -> None:
        shard = self._worker.generation.topology.shards[change.shard]
        part = await scope.on(shard.name)
        for text in change.texts():
            answer = await part.say(text.encode(), self._guard)
            if is_error(answer):
                if errno_of(answer) == DUPLICATE and change.entries.lookup.unique:
                    answer = renamed(answer, change.entries, shard.flavour)
                raise ServerSaid(answer)


def _matched(answer: bytes, part: Part) -> int | None:
    """How many rows an UPDATE or DELETE found; None where the server does not say."""
    ok = OkPacket.parse(answer[HEADER_SIZE:], part.lease.capabilities)
    if not ok.info:
        return ok.affected_rows
    _, _, rest = ok.info.partition(b"Rows matched: ")
    digits = rest.split(b" ")[0]
    return int(digits) if digits.isdigit() else None
