"""What every planner works on: the statement as lexed, its words and context; the draft of its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from _speedups.lexer import LexedStatement
from config.words import Verb
from router import functions
from router.context import Context
from router.errors import Refusal, refusal
from router.functions import Call
from router.gate import Gate
from router.hints import NO_HINTS, Hints
from router.plan import Access, AnyShard, Facts, FoundRows, Pin, Plan, Planned, Refuse, TableUse
from router.privileges import Need
from router.text import Text
from router.tokens import Token
from router.topology import Keyspace

CHANGES = frozenset({"insert", "replace", "update", "delete", "begin", "commit", "rollback", "savepoint", "release"})
READS = frozenset({"SELECT", "TABLE", "RETURNING"})
COUNTED_OTHERWISE = frozenset(
    {"UNION", "INTERSECT", "EXCEPT", "MINUS", "OFFSET", "INTO", "PROCEDURE", "SQL_CALC_FOUND_ROWS", "VALUES", "TABLE"}
)
"""Words behind which FOUND_ROWS() need not be the number of rows that were sent."""


@dataclass(frozen=True, slots=True)
class Request:
    """A statement to be planned. `sql` is the text that `lexed` was made from, `norm` its template."""

    sql: Text
    lexed: LexedStatement
    norm: str
    tokens: tuple[Token, ...]
    gate: Gate
    context: Context
    hints: Hints = NO_HINTS

    def keyspace(self, name: str | None = None) -> Keyspace:
        """The named keyspace, else the session's. Raises Refusal."""
        if name is None:
            name = self.context.database
        if name is None:
            raise refusal("NO_DATABASE")
        found = self.context.topology.keyspace(name)
        if found is None:
            raise refusal("UNKNOWN_DATABASE", name)
        return found

    def hinted_shard(self, keyspace: Keyspace) -> str | None:
        """The shard that a hint names. Raises Refusal when the keyspace has no such shard."""
        shard = self.hints.shard
        names = [one.name for one in keyspace.shards]
        if shard is not None and shard not in names:
            raise refusal("HINT_SHARD", shard, keyspace.name, ", ".join(names))
        return shard


@dataclass(slots=True)
class Draft:
    """The facts and reasons of a plan in the making; `done` checks the grants and closes it."""

    request: Request
    verb: str
    tables: set[TableUse] = field(default_factory=set)
    needs: set[Need] = field(default_factory=set)
    pins: list[Pin] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    connection: list[str] = field(default_factory=list)
    reads: bool = False
    writes: bool = False
    locks: bool = False
    local: bool = False
    last_insert_id: bool = False
    database: bool = False
    fresh_id: bool = False
    one_row: bool = False
    ddl: bool = False
    implicit_commit: bool = False
    warnings: bool = False
    cacheable: bool = True

    def because(self, reason: str) -> None:
        self.reasons.append(reason)

    def pin(self, reason: Pin) -> None:
        if reason not in self.pins:
            self.pins.append(reason)

    def use(self, keyspace: str, table: str, access: Access, *verbs: Verb) -> None:
        self.tables.add(TableUse(keyspace, table, access))
        self.needs.update(Need(verb, keyspace, table) for verb in verbs)
        if access == "read":
            self.reads = True
        else:
            self.writes = True

    def need(self, keyspace: str, *verbs: Verb) -> None:
        self.needs.update(Need(verb, keyspace) for verb in verbs)

    def call(self, calls: Iterable[Call]) -> None:
        """What the functions of the statement mean for the session, whatever the route."""
        for call in calls:
            name = call.upper
            if call.schema is not None or not call.built_in:
                self.local = True
            elif name == "LAST_INSERT_ID":
                self.last_insert_id = True
                self.local = True
            elif name in functions.CONNECTION:
                self.connection.append(name.lower())
                self.local = True
            elif name in ("DATABASE", "SCHEMA"):
                self.database = True
            elif name in functions.LOCKS:
                self.local = True
                if name == "GET_LOCK":
                    self.pin("get_lock")
            elif name in functions.SEQUENCES:
                self.writes = True
            elif name in functions.WAITS:
                self.local = True

    def facts(self) -> Facts:
        return Facts(
            verb=self.verb,
            tables=tuple(sorted(self.tables)),
            reads=self.reads,
            writes=self.writes,
            locks=self.locks,
            pins=tuple(self.pins),
            replica_ok=self.reads and not (self.writes or self.locks or self.local or self.pins or self.ddl),
            needs_last_insert_id=self.last_insert_id or self._runs_others,
            asks_id=self._asks_id(),
            fresh_id=self.fresh_id,
            one_row=self.one_row,
            found_rows=self._found_rows(),
            needs_connection=tuple(dict.fromkeys(self.connection)),
            ddl=self.ddl,
            implicit_commit=self.implicit_commit,
            uses_warnings=self.warnings,
            cacheable=self.cacheable,
            hints=self.request.hints,
        )

    @property
    def _runs_others(self) -> bool:
        """Does it run statements that are not in its text?"""
        return self.verb in ("call", "execute") or "opaque" in self.pins

    def _asks_id(self) -> bool:
        """May LAST_INSERT_ID() change without the answer's saying so, as by LAST_INSERT_ID(NULL) and LOAD DATA?"""
        if self.last_insert_id and sets_last_insert_id(self.request.tokens):
            return True
        if self.verb == "create":
            return any(token.upper == "SELECT" for token in self.request.tokens)
        return self._runs_others or self.verb == "load"

    def _found_rows(self) -> FoundRows:
        """With OFFSET, INTO and the like servers count in ways of their own."""
        words = {token.upper for token in self.request.tokens}
        if self.verb == "select" and not words & COUNTED_OTHERWISE and not _skips(self.request.tokens):
            return "counted"
        if self.verb in CHANGES and not words & READS:
            return "kept"
        return "unknown"

    def _is_database_there(self, plan: Plan) -> bool:
        """Do the servers that DATABASE() is sent to have the session's database as their current one?"""
        home = self.request.context.keyspace
        if home is None:
            return not self.tables and not isinstance(plan, AnyShard)
        shards = {shard.name for shard in home.shards}
        used = (shard.name for one in self.tables for shard in self.request.keyspace(one.keyspace).shards)
        return all(name in shards for name in used)

    def done(self, plan: Plan) -> Planned:
        """The plan, unless the user's grants do not allow the statement. Raises Refusal."""
        denied = self.request.context.grants.check(self.needs)
        if denied is not None:
            raise denied
        if self.database and not self._is_database_there(plan):
            raise refusal("LOCAL_FUNCTION", "DATABASE")
        return Planned(plan, self.facts(), tuple(self.reasons), self.request.context.topology)


def _skips(tokens: Sequence[Token]) -> bool:
    """LIMIT 1, 2, anywhere."""
    return any(one.upper == "LIMIT" and other.text == "," for one, other in zip(tokens, tokens[2:], strict=False))


def sets_last_insert_id(tokens: Sequence[Token]) -> bool:
    """LAST_INSERT_ID(value), with something in the parentheses."""
    words = [token.text.upper() for token in tokens]
    return any(
        words[index : index + 2] == ["LAST_INSERT_ID", "("] and words[index + 2 : index + 3] != [")"]
        for index in range(len(words))
    )


def refused(
    reason: Refusal,
    verb: str,
    context: Context,
    hints: Hints = NO_HINTS,
    *,
    cacheable: bool = False,
    tables: tuple[TableUse, ...] = (),
) -> Planned:
    """The plan of a refused statement. `cacheable`: no literal had a part in it; `tables`: what it was about."""
    plan = Refuse(reason.entry.name, reason.filling)
    facts = Facts(verb, tables=tables, hints=hints, cacheable=cacheable)
    return Planned(plan, facts, (str(reason),), context.topology)
