"""Statements that belong to one server: DDL, maintenance, procedures, locks, prepared statements in SQL.

On an unsharded keyspace they pass as they are; on a sharded one each needs a shard named by a hint, or is
refused, but for changes of one table (`rollout.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from _speedups import lexer
from config.words import Verb
from router import literals
from router.errors import refusal
from router.functions import calls
from router.gate import Family, created, gate
from router.plan import OneShard, Pin, Planned
from router.planner import loading, opaque, rollout
from router.planner.request import Draft, Request
from router.template import NotUnderstood, literal_slots
from router.tokens import decode, tokenize
from router.topology import Keyspace

_VERBS: dict[tuple[str, str], Verb] = {
    ("CREATE", "TABLE"): Verb.CREATE,
    ("CREATE", "SEQUENCE"): Verb.CREATE,
    ("CREATE", "DATABASE"): Verb.CREATE,
    ("CREATE", "VIEW"): Verb.CREATE_VIEW,
    ("CREATE", "INDEX"): Verb.INDEX,
    ("CREATE", "PROCEDURE"): Verb.CREATE_ROUTINE,
    ("CREATE", "FUNCTION"): Verb.CREATE_ROUTINE,
    ("CREATE", "PACKAGE"): Verb.CREATE_ROUTINE,
    ("CREATE", "TRIGGER"): Verb.TRIGGER,
    ("CREATE", "EVENT"): Verb.EVENT,
    ("ALTER", "TABLE"): Verb.ALTER,
    ("ALTER", "SEQUENCE"): Verb.ALTER,
    ("ALTER", "DATABASE"): Verb.ALTER,
    ("ALTER", "VIEW"): Verb.CREATE_VIEW,
    ("ALTER", "PROCEDURE"): Verb.ALTER_ROUTINE,
    ("ALTER", "FUNCTION"): Verb.ALTER_ROUTINE,
    ("ALTER", "PACKAGE"): Verb.ALTER_ROUTINE,
    ("ALTER", "EVENT"): Verb.EVENT,
    ("DROP", "TABLE"): Verb.DROP,
    ("DROP", "SEQUENCE"): Verb.DROP,
    ("DROP", "DATABASE"): Verb.DROP,
    ("DROP", "VIEW"): Verb.DROP,
    ("DROP", "INDEX"): Verb.INDEX,
    ("DROP", "PROCEDURE"): Verb.ALTER_ROUTINE,
    ("DROP", "FUNCTION"): Verb.ALTER_ROUTINE,
    ("DROP", "PACKAGE"): Verb.ALTER_ROUTINE,
    ("DROP", "TRIGGER"): Verb.TRIGGER,
    ("DROP", "EVENT"): Verb.EVENT,
    ("RENAME", "TABLE"): Verb.ALTER,
    ("TRUNCATE", "TABLE"): Verb.DROP,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """How a family is treated. `verbs`: needed on every keyspace that it names."""

    verbs: tuple[Verb, ...]
    error: str
    pin: Pin | None = None
    ddl: bool = False
    commits: bool = True


def plan(request: Request) -> Planned:
    """DDL, and stored programs that are created or altered."""
    head, what = request.tokens[0].upper, created(request.tokens)
    if what == "DATABASE":
        return _database(request, Verb(_VERBS[(head, what)]))
    verb = _VERBS.get((head, what))
    if verb is None:
        raise NotUnderstood(f"{head} {what}".strip())
    upper = [token.upper for token in request.tokens[:4]]
    if "TEMPORARY" in upper and head == "CREATE":
        kind = Kind((Verb.CREATE_TEMPORARY_TABLES,), "TEMPORARY_TABLE", "temporary_table", commits=False)
    elif "TEMPORARY" in upper:
        kind = Kind((Verb.CREATE_TEMPORARY_TABLES,), "TEMPORARY_TABLE", commits=False)
    else:
        verbs = _all_verbs(request, verb)
        rolled_out = rollout.plan(request, verbs) if what in ("TABLE", "INDEX") else None
        if rolled_out is not None:
            return rolled_out
        kind = Kind(verbs, "DDL", ddl=True)
    return _one_server(request, kind)


def _all_verbs(request: Request, verb: Verb) -> tuple[Verb, ...]:
    """What the statement does beside its own verb: CREATE … SELECT reads, RENAME creates and drops."""
    upper = {token.upper for token in request.tokens}
    verbs = {verb}
    if "SELECT" in upper or "LIKE" in upper:
        verbs.add(Verb.SELECT)
    if "SELECT" in upper and verb is Verb.CREATE:
        verbs.add(Verb.INSERT)
    if "RENAME" in upper and verb is Verb.ALTER:
        verbs |= {Verb.CREATE, Verb.DROP, Verb.INSERT}
    if "REFERENCES" in upper:
        verbs.add(Verb.REFERENCES)
    if "REPLACE" in upper and verb in (Verb.CREATE, Verb.CREATE_VIEW):
        verbs.add(Verb.DROP)
    if request.gate.family is Family.PROGRAM:
        # What runs inside runs with the rights of Fairlead's account, not the user's.
        verbs.add(Verb.ALL)
    return tuple(sorted(verbs))


def _database(request: Request, verb: Verb) -> Planned:
    names = [token for token in request.tokens[1:] if token.is_name and token.upper not in _DATABASE_WORDS]
    if not names and request.tokens[0].upper == "ALTER":
        keyspace = request.keyspace()
    elif names:
        keyspace = request.keyspace(names[0].name)
    else:
        raise NotUnderstood("a database without a name")
    shard = _shard(request, keyspace, "DDL")
    draft = Draft(request, request.gate.verb.lower(), ddl=True, writes=True, implicit_commit=True)
    draft.need(keyspace.name, verb)
    return draft.done(OneShard(shard))


_DATABASE_WORDS = frozenset({"DATABASE", "SCHEMA", "IF", "NOT", "EXISTS", "OR", "REPLACE"})


def _check_lookups(request: Request, homes: Sequence[Keyspace]) -> None:
    """Raises Refusal for what would change a table with lookups, or a lookup's own, on one shard by itself."""
    names = {token.name for token in request.tokens if token.is_name}
    for home in homes:
        for lookup in home.lookups.values():
            if lookup.store in names:
                raise refusal("LOOKUP_TABLE", f"{home.name}.{lookup.store}")
            if lookup.table in names and request.gate.family in (Family.DDL, Family.LOAD):
                raise refusal("LOOKUP_FORM", request.gate.verb, lookup.table, "entries would be left behind")


def _one_server(request: Request, kind: Kind) -> Planned:
    homes = _homes(request)
    _check_lookups(request, homes)
    shards = {_shard(request, home, kind.error) for home in homes}
    if len(shards) != 1:
        raise refusal("TWO_KEYSPACES", " and ".join(home.name for home in homes))
    # A procedure may change the schema; on an unsharded keyspace no plan depends on it.
    ddl = kind.ddl and (request.gate.family is not Family.CALL or not homes[0].unsharded)
    draft = Draft(request, request.gate.verb.lower(), ddl=ddl, implicit_commit=kind.commits)
    for home in homes:
        draft.need(home.name, *kind.verbs)
    draft.writes = True
    if kind.pin is not None:
        draft.pin(kind.pin)
    if request.gate.family in _RUNNING:
        draft.call(calls(request.tokens))
    if any(token.kind == "user_variable" for token in request.tokens):
        draft.pin("user_variable")
    draft.because("one server does it")
    return draft.done(OneShard(shards.pop()))


_RUNNING = frozenset({Family.CALL, Family.DO, Family.PREPARED, Family.LOAD})


def _homes(request: Request) -> list[Keyspace]:
    """Every keyspace that the statement may mean: those it names, and the session's for names without one."""
    names = opaque.databases(request.tokens)
    if request.context.database is not None or not names:
        names.add(request.keyspace().name)
    return [request.keyspace(name) for name in sorted(names)]


def _shard(request: Request, keyspace: Keyspace, error: str) -> str:
    if keyspace.unsharded:
        return keyspace.shards[0].name
    hinted = request.hinted_shard(keyspace)
    if hinted is not None:
        return hinted
    if error in _WITH_VERB:
        raise refusal(error, request.gate.verb, keyspace.name)
    raise refusal(error, keyspace.name)


_WITH_VERB = frozenset({"DDL", "PROCEDURE", "LOCK_TABLES", "PREPARED_IN_SQL", "STATEMENT_KIND"})


def plan_maintenance(request: Request) -> Planned:
    """ANALYZE, CHECK, CHECKSUM, OPTIMIZE, REPAIR TABLE."""
    verbs = (Verb.SELECT,) if request.gate.verb in ("CHECK", "CHECKSUM") else (Verb.SELECT, Verb.INSERT)
    return _one_server(request, Kind(verbs, "STATEMENT_KIND"))


def plan_lock_tables(request: Request) -> Planned:
    if request.gate.verb == "UNLOCK":  # it commits where there are locks, as the server knows
        return _one_server(request, Kind((), "LOCK_TABLES", commits=False))
    return _one_server(request, Kind((Verb.LOCK_TABLES, Verb.SELECT), "LOCK_TABLES", "lock_tables"))


def plan_call(request: Request) -> Planned:
    """What it does is not followed: the session keeps its backend, and the schema may have changed."""
    return _one_server(request, Kind((Verb.EXECUTE,), "PROCEDURE", "procedure", ddl=True, commits=False))


def plan_program(request: Request) -> Planned:
    if request.tokens[0].upper in ("CREATE", "ALTER"):
        return plan(request)
    return opaque.plan(request, "a compound statement")


def plan_load(request: Request) -> Planned:
    """LOAD DATA LOCAL: on one server, or parted over a sharded table's shards. (Files of the server are
    administration.)"""
    verbs = {Verb.INSERT}
    words = {token.upper for token in request.tokens}
    verbs |= {Verb.DELETE} if "REPLACE" in words else set()
    verbs |= {Verb.SELECT} if words & {"SELECT", "TABLE"} and "SET" in words else set()
    homes = _homes(request)
    if len(homes) == 1 and not homes[0].unsharded and request.hints.shard is None and request.tokens[1].upper == "DATA":
        return loading.plan(request, homes[0], sorted(verbs))
    planned = _one_server(request, Kind(tuple(sorted(verbs)), "LOAD_DATA", commits=False))
    return replace(planned, facts=replace(planned.facts, loads=True, cacheable=False))


def plan_handler(request: Request) -> Planned:
    return _one_server(request, Kind((Verb.SELECT,), "HANDLER", "handler", commits=False))


def plan_prepared(request: Request) -> Planned:
    """PREPARE, EXECUTE, DEALLOCATE: what is prepared is gated as if it were sent itself."""
    if request.gate.verb in ("PREPARE", "EXECUTE"):
        _gate_inside(request)
    keyspace = request.keyspace()
    if not keyspace.unsharded:
        raise refusal("PREPARED_IN_SQL", request.gate.verb, keyspace.name)
    draft = Draft(request, request.gate.verb.lower(), cacheable=False)
    draft.need(keyspace.name, Verb.ALL)
    draft.reads = draft.writes = draft.locks = True
    draft.pin("prepared_in_sql")
    return draft.done(OneShard(keyspace.shards[0].name))


_PREPARABLE = (Family.SELECT, Family.INSERT, Family.UPDATE, Family.DELETE, Family.DDL, Family.DO)


def _gate_inside(request: Request) -> None:
    """Raises Refusal for administration inside of PREPARE … FROM '…' and for what is not a literal."""
    tokens = request.tokens
    if tokens[0].upper == "EXECUTE" and (len(tokens) < 2 or tokens[1].upper != "IMMEDIATE"):
        return
    source = [token for token in tokens[2:] if token.upper != "FROM"]
    if tokens[0].upper == "PREPARE":
        source = list(tokens[3:])
    if request.context.grants.administers:
        return
    if not source or source[0].kind != "literal" or (len(source) > 1 and source[1].upper != "USING"):
        raise refusal("ADMINISTRATION", "a statement prepared from a variable")
    slot = request.lexed.slots[literal_slots(request.lexed)[source[0].literal]]
    inner = literals.value(request.sql, slot, request.context.mode)
    if not isinstance(inner, str):
        raise NotUnderstood("PREPARE from something that is not text")
    text = inner.encode("utf-8", "surrogateescape")
    lexed = lexer.lex(text, request.context.mode)
    words = tokenize(decode(lexed.norm))
    if lexed.error or lexed.flags & (lexer.MULTI | lexer.UNTERMINATED | lexer.NUL_BYTE) or not words:
        raise refusal("NOT_UNDERSTOOD", request.keyspace().name, "the prepared text")
    found = gate(words)
    if found.administration is not None:
        raise refusal("ADMINISTRATION", found.administration)
    for name in opaque.databases(words):
        if name != request.context.database and not request.context.grants.everywhere:
            raise refusal("DENIED_DATABASE", request.context.grants.user, name)
    if found.family not in _PREPARABLE:
        raise refusal("PREPARED_IN_SQL", f"PREPARE of {found.verb}", request.keyspace().name)
