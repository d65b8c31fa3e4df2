"""Schema changes over several shards: tried on an empty copy, made on the first shard, then on all others at once.

There is no record of what is under way but the tables themselves. A statement that stopped half-way is sent again by
whoever sent it: the trial tells which shards it would bring to what the others have, and only those get it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.mysql.packets.replies import ErrPacket
from proxy.mysql.wire import HEADER_SIZE, frame
from proxy.pool.varstate import SessionState
from proxy.result_set import FIRST_SEQUENCE
from proxy.scatter.leases import Lease, is_error
from proxy.sessions.session import Session
from proxy.sessions.variables import only_row
from router.definition import column_lines, comparable, copy_of, unique_without
from router.errors import Refusal, refusal
from router.plan import SchemaChange
from router.policy.splices import token_places
from router.text import Text
from router.tokens import decode, quoted, tokenize

if TYPE_CHECKING:
    from proxy.worker import Worker

log = logging.getLogger(__name__)

WRITES = 2
"""The relay's plan flag: a lost answer means an unknown outcome."""
NO_SUCH_TABLE = 1146
TRIAL = "fairlead_trial_"
"""Databases that exist for a moment. One that a crash left behind may be dropped."""
SCHEMA_WAIT = 2.0
"""Seconds that the answer waits at most for the schema to be read."""

Definition = str | None
"""As `router.definition.comparable` has it; None: there is no such table."""


class TrialFailed(Exception):
    """The statement failed on the copy."""


@dataclass(frozen=True, slots=True)
class Todo:
    """The shards that get the statement, those that have what it leads to, and what that is (if it was tried)."""

    shards: tuple[str, ...]
    done: tuple[str, ...] = ()
    wanted: Definition = None
    tried: bool = False


class Rollout:
    """One statement."""

    def __init__(self, worker: Worker, session: Session, plan: SchemaChange, sql: Text, found: Any) -> None:
        self._worker, self._session, self._plan = worker, session, plan
        self._sql, self._found = bytes(sql), found
        self._numbers = {name: worker.compiler.shard(name) for name in plan.shards}

    async def run(self, handle: int) -> dict[str, bytes]:
        """-> the shards' answers, framed OK packets; or the one error of a change that was made nowhere.

        Raises Refusal.
        """
        todo = await self._todo() if self._plan.tried else Todo(self._plan.shards)
        self._worker.dispatcher.see_through(handle)
        try:
            return await self._on_all(todo)
        finally:
            self._worker.schema_changed()
            await self._worker.schemas.read_now(SCHEMA_WAIT)

    # --- what is to be done ---------------------------------------------------------------------------------

    async def _todo(self) -> Todo:
        found = await asyncio.gather(*(self._definition(name) for name in self._plan.shards))
        groups: dict[Definition, list[str]] = {}
        for name, definition in zip(self._plan.shards, found, strict=True):
            groups.setdefault(definition, []).append(name)
        if len(groups) > 2:
            raise self._differs(groups)
        results = {definition: await self._tried(definition) for definition in groups}
        todo = self._chosen(groups, results)
        if todo.tried and todo.wanted is not None:
            before = found[self._plan.shards.index(todo.shards[0])]
            self._check(before, todo.wanted)
        return todo

    def _chosen(self, groups: Mapping[Definition, list[str]], results: Mapping[Definition, Any]) -> Todo:
        """Raises Refusal when the shards differ, and the statement does not lead from the ones to the others."""
        if len(groups) == 1:
            (before,) = groups
            wanted = results[before]
            tried = not isinstance(wanted, TrialFailed)
            # What failed on the copy fails on the first shard too, with the names that the client knows.
            return Todo(self._plan.shards, wanted=wanted if tried else None, tried=tried)
        one, other = groups
        if (results[one] == other) == (results[other] == one):
            raise self._differs(groups)
        before, after = (one, other) if results[one] == other else (other, one)
        return Todo(tuple(groups[before]), tuple(groups[after]), after, tried=True)

    def _differs(self, groups: Mapping[Definition, list[str]]) -> Refusal:
        table, (first, second, *_) = f"{self._plan.keyspace}.{self._plan.table}", groups.values()
        return refusal("DDL_DIFFERS", table, f"{', '.join(first)} and {', '.join(second)}")

    def _check(self, before: Definition, after: str) -> None:
        keys = self._plan.keys
        lines = column_lines(after, keys)
        if (before is not None and column_lines(before, keys) != lines) or len(lines) < len(keys):
            raise refusal("DDL_KEY", self._plan.table, ", ".join(keys))
        if keys and unique_without(after, before, keys):
            raise refusal("DDL_UNIQUE", self._plan.table, ", ".join(keys))

    async def _definition(self, shard: str, database: str | None = None) -> Definition:
        """Raises Refusal for any error but a missing table."""
        name = f"{quoted(database or self._plan.keyspace)}.{quoted(self._plan.table)}"
        async with self._neutral(shard) as lease:
            answer = await lease.command(self._numbers[shard], b"\x03SHOW CREATE TABLE " + name.encode())
            if not is_error(answer):
                return comparable(only_row(answer, lease.capabilities)[1])
            error = ErrPacket.parse(answer[HEADER_SIZE:])
            if error.errno == NO_SUCH_TABLE:
                return None
            raise refusal("SHARD_FAILED", shard, f"its table {name} could not be looked at: {error.message}")

    def _neutral(self, shard: str) -> Lease:
        """A lease whose sql_mode is the server's: how definitions are printed and read depends on it."""
        state = SessionState(self._plan.keyspace)
        return self._worker.lease(self._session, self._numbers[shard], state=state)

    # --- the trial ------------------------------------------------------------------------------------------

    async def _tried(self, before: Definition) -> Definition | TrialFailed:
        """What a table of this definition becomes: an empty one in a database of its own on the first shard, since some
        names are unique in a database."""
        shard, database = self._plan.shards[0], f"{TRIAL}{self._session.connection_id}"
        if not self._worker.shard_of_number(self._numbers[shard]).is_local:
            raise refusal("DDL_FORM", "no shard of the table in this region")
        async with self._neutral(shard) as neutral, self._worker.lease(self._session, self._numbers[shard]) as lease:
            shown = await self._must(neutral, shard, f"SHOW CREATE DATABASE {quoted(self._plan.keyspace)}")
            like = only_row(shown, neutral.capabilities)[1]
            try:
                await self._must(neutral, shard, like.replace(quoted(self._plan.keyspace), quoted(database), 1))
                if before is not None:
                    await self._must(neutral, shard, copy_of(before, database, self._plan.table))
                answer = await lease.command(self._numbers[shard], b"\x03" + self._on_copy(database))
                return TrialFailed() if is_error(answer) else await self._definition(shard, database)
            finally:
                await self._must(neutral, shard, f"DROP DATABASE IF EXISTS {quoted(database)}")

    async def _must(self, lease: Lease, shard: str, statement: str) -> bytes:
        answer = await lease.command(self._numbers[shard], b"\x03" + statement.encode("utf-8", "surrogateescape"))
        if is_error(answer):
            raise refusal("SHARD_FAILED", shard, f"an empty copy of the table could not be made: {_message(answer)}")
        return answer

    def _on_copy(self, database: str) -> bytes:
        """The client's text about the table of that name there."""
        first, last = self._plan.name
        tokens = tokenize(decode(self._found.norm))
        places = token_places(self._sql, self._found, tokens, {first, last}, self._session.mode)
        name = f"{quoted(database)}.{quoted(self._plan.table)}"
        return self._sql[: places[first][0]] + name.encode() + self._sql[places[last][1] :]

    # --- the change -----------------------------------------------------------------------------------------

    async def _on_all(self, todo: Todo) -> dict[str, bytes]:
        """The answers; of the first shard alone when it failed and nothing was changed. Raises Refusal when some
        shards have the change and others have not."""
        first, *others = todo.shards
        wanted = todo.wanted
        answers = {first: await self._on(first)}
        if is_error(answers[first]):
            if todo.done:
                raise self._partial(todo.done, {first: answers[first], **dict.fromkeys(others, b"")})
            return answers
        if self._plan.tried and not todo.tried:
            wanted = await self._definition(first)
        answers |= zip(others, await asyncio.gather(*(self._on(name) for name in others)), strict=True)
        failed = {name: answer for name, answer in answers.items() if is_error(answer)}
        if self._plan.tried:
            # The answer may have been lost behind a change that was made.
            failed = {name: answer for name, answer in failed.items() if not await self._is(name, wanted)}
        if failed:
            raise self._partial((*todo.done, *(name for name in todo.shards if name not in failed)), failed)
        return {name: answer for name, answer in answers.items() if not is_error(answer)}

    async def _on(self, shard: str) -> bytes:
        try:
            async with self._worker.lease(self._session, self._numbers[shard]) as lease:
                answer = await lease.command(self._numbers[shard], b"\x03" + self._sql, WRITES)
        except Refusal as error:
            answer = frame(ErrPacket(error.errno, error.sqlstate, error.message).build(), FIRST_SEQUENCE)
        outcome = _message(answer) if is_error(answer) else "done"
        log.info("schema change of %s.%s on %s: %s", self._plan.keyspace, self._plan.table, shard, outcome)
        return answer

    async def _is(self, shard: str, wanted: Definition) -> bool:
        try:
            return await self._definition(shard) == wanted
        except Refusal:
            return False

    def _partial(self, done: Sequence[str], failed: Mapping[str, bytes]) -> Refusal:
        told = [f"{name} ({_message(answer)})" if answer else name for name, answer in failed.items()]
        return refusal("DDL_PARTIAL", f"{self._plan.keyspace}.{self._plan.table}", ", ".join(done), ", ".join(told))


def _message(error: bytes) -> str:
    return ErrPacket.parse(error[HEADER_SIZE:]).message
