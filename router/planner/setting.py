"""SET: session variables, names, transaction characteristics; USE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from _speedups import lexer
from router import literals
from router.errors import refusal
from router.functions import calls
from router.plan import (
    Assignment,
    Planned,
    ServerValue,
    SetSession,
    SlotValue,
    UseDatabase,
    Value,
    WordValue,
)
from router.planner import opaque
from router.planner.request import Draft, Request
from router.template import NotUnderstood, literal_slots
from router.tokens import Token, split, starts, unquoted, words
from router.variables import Handling, check, restricted, variable

_ISOLATION = {
    ("READ", "UNCOMMITTED"): "READ-UNCOMMITTED",
    ("READ", "COMMITTED"): "READ-COMMITTED",
    ("REPEATABLE", "READ"): "REPEATABLE-READ",
    ("SERIALIZABLE",): "SERIALIZABLE",
}
_GLOBAL = frozenset({"GLOBAL", "PERSIST", "PERSIST_ONLY"})
_LOCAL = frozenset({"SESSION", "LOCAL"})
_KEYWORDS = frozenset({"DEFAULT", "NULL", "ON", "OFF", "TRUE", "FALSE", "BINARY"})


@dataclass(frozen=True, slots=True)
class Target:
    """What one item of SET assigns to. `user`: a user variable. `scope` None: the session, by default."""

    name: str
    user: bool = False
    scope: str | None = None


def plan(request: Request) -> Planned:
    rest = request.tokens[1:]
    draft = Draft(request, "set")
    if starts(rest, "STATEMENT"):
        raise NotUnderstood("SET STATEMENT … FOR")
    if "TRANSACTION" in words(rest, 2):
        return draft.done(SetSession(tuple(_transaction(rest))))
    assignments: list[Assignment] = []
    for item in split(rest):
        assignments += _item(request, draft, item)
    if any(token.upper in ("SELECT", "TABLE") for token in rest):
        return _with_query(request, assignments)
    verbatim = bool(draft.pins)
    if verbatim:
        draft.call(calls(request.tokens))
    about_id = draft.last_insert_id or any(_names_id(token) for token in rest)
    return draft.done(SetSession(tuple(assignments), _shards(request) if verbatim else (), verbatim, about_id))


def _names_id(token: Token) -> bool:
    """LAST_INSERT_ID() or its variable, read or written."""
    return token.text.upper().rpartition(".")[2].strip("@`") in ("LAST_INSERT_ID", "IDENTITY")


def _with_query(request: Request, assignments: Sequence[Assignment]) -> Planned:
    """SET @x = (SELECT …): the query's tables count, and nothing may be left to be tracked."""
    if assignments:
        raise NotUnderstood("SET of a session variable from a query")
    return opaque.plan(request, "SET from a query", "user_variable")


def _shards(request: Request) -> tuple[str, ...]:
    """Where a statement goes that only the session's own backend can answer."""
    keyspace = request.context.keyspace
    shards = keyspace.shards if keyspace else request.context.topology.shards
    return tuple(shard.name for shard in shards)


def _item(request: Request, draft: Draft, item: Sequence[Token]) -> Iterator[Assignment]:
    if starts(item, "NAMES"):
        yield from _names(request, draft, "names", item[1:])
        return
    if starts(item, "CHARSET"):
        yield from _names(request, draft, "character_set", item[1:])
        return
    if starts(item, "CHARACTER", "SET") or starts(item, "CHAR", "SET"):
        yield from _names(request, draft, "character_set", item[2:])
        return
    target, value = _assignment(item)
    if target.user:
        draft.pin("user_variable")
        return
    if target.scope in _GLOBAL:
        raise refusal("GLOBAL_VARIABLE", f"{target.scope} {target.name}")
    known = variable(target.name)
    if known.handling is Handling.REFUSED:
        raise refusal("VARIABLE_REFUSED", known.name, known.why)
    if known.handling is Handling.PIN:
        draft.pin("session_variable")
        draft.because(f"{known.name} is kept on one backend")
        return
    found = _value(request, value)
    if isinstance(found, ServerValue) and known.name in READ_BY:
        found = ServerValue(_expression(request, value))
        draft.cacheable = False
    elif isinstance(found, ServerValue) and known.handling is Handling.TOLD:
        raise refusal("VARIABLE_VALUE", known.name, "only a server could compute it")
    elif isinstance(found, ServerValue):
        draft.pin("session_variable")
        draft.because(f"only a server can compute the value of {known.name}")
    if isinstance(found, WordValue) and found.word.upper() == "RELEASE":
        raise NotUnderstood("SET to a reserved word")
    _check(request, draft, known.name, found)
    yield Assignment(known.name, found, _scope(target, known.name))


def _expression(request: Request, tokens: Sequence[Token]) -> str:
    """A value of the session's own variables and of literals, as text. Raises Refusal for what may be anything else."""
    places, parts = literal_slots(request.lexed), []
    for token in tokens:
        text = token.text
        if token.kind == "literal":
            slot = request.lexed.slots[places[token.literal]]
            if slot.kind != lexer.STRING:
                raise refusal("VARIABLE_VALUE", "sql_mode", "it has to be computed from strings")
            text = bytes(request.sql[slot.offset : slot.offset + slot.length]).decode("utf-8", "surrogateescape")
        elif token.kind == "system_variable":
            if _system(text).name.lower() not in READ_BY:
                raise refusal("VARIABLE_VALUE", "sql_mode", f"it depends on {text}")
        elif text not in _BETWEEN and token.upper not in _TEXT_FUNCTIONS:
            raise refusal("VARIABLE_VALUE", "sql_mode", "only a server could compute it")
        parts.append(text)
    return " ".join(parts)


READ_BY = frozenset({"sql_mode"})
"""Computed variables whose values have to be known here, since texts are read by them."""
_BETWEEN = frozenset("(,)")
_TEXT_FUNCTIONS = frozenset({"CONCAT", "CONCAT_WS", "REPLACE", "TRIM", "UPPER", "LOWER", "IF", "IFNULL", "NULLIF"})


def _check(request: Request, draft: Draft, name: str, found: Value) -> None:
    """Refuses values that may not be recorded. A literal that was looked at is part of the plan; a parameter is
    left to whoever executes (`variables.check`)."""
    if isinstance(found, ServerValue) or not restricted(name):
        return
    if isinstance(found, SlotValue):
        slot = request.lexed.slots[found.slot]
        if slot.kind == lexer.PARAM:
            return
        draft.cacheable = False
        value = literals.value(request.sql, slot, request.context.mode, negate=found.negate)
        reason = check(name, value if isinstance(value, str | int) else None)
    else:
        reason = check(name, None if found.word == "NULL" else found.word)
    if reason is not None:
        raise reason


def _scope(target: Target, name: str) -> Literal["session", "next"]:
    """SET @@transaction_isolation without a scope is for the next transaction only, as in SET TRANSACTION."""
    one_shot = name in ("transaction_isolation", "transaction_read_only") and target.scope == "NEXT"
    return "next" if one_shot else "session"


def _names(request: Request, draft: Draft, name: str, rest: Sequence[Token]) -> Iterator[Assignment]:
    if not rest:
        raise NotUnderstood("SET NAMES without a character set")
    if len(rest) not in (1, 3) or (len(rest) == 3 and rest[1].upper != "COLLATE"):
        raise NotUnderstood("SET NAMES of this form")
    found = _value(request, rest[:1])
    _check(request, draft, name, found)
    yield Assignment(name, found)
    if len(rest) == 3:
        yield Assignment("collation_connection", _value(request, rest[2:]))


def _assignment(item: Sequence[Token]) -> tuple[Target, Sequence[Token]]:
    for index, token in enumerate(item):
        if token.text in ("=", ":="):
            return _target(item[:index]), item[index + 1 :]
    raise NotUnderstood("SET without an assignment")


def _target(tokens: Sequence[Token]) -> Target:
    if len(tokens) == 1 and tokens[0].kind == "user_variable":
        return Target(tokens[0].text, user=True)
    if len(tokens) == 1 and tokens[0].kind == "system_variable":
        return _system(tokens[0].text)
    if len(tokens) == 2 and tokens[0].upper in _GLOBAL | _LOCAL and tokens[1].is_name:
        return Target(tokens[1].name, scope=tokens[0].upper)
    if len(tokens) == 1 and tokens[0].is_name:
        return Target(tokens[0].name)
    raise NotUnderstood("SET of something that is not a variable")


def _system(text: str) -> Target:
    """@@name, @@session.name, @@global.name. Without a scope, isolation and access mode are the next
    transaction's (MySQL manual 15.3.7)."""
    scope, dot, name = text[2:].partition(".")
    if not dot:
        return Target(unquoted(scope), scope="NEXT")
    if scope.upper() in _GLOBAL | _LOCAL:
        return Target(unquoted(name), scope=scope.upper())
    return Target(text[2:])


def _value(request: Request, tokens: Sequence[Token]) -> Value:
    negate = len(tokens) == 2 and tokens[0].text == "-"
    if negate or (len(tokens) == 2 and tokens[0].text == "+"):
        tokens = tokens[1:]
    if len(tokens) != 1:
        return ServerValue()
    token = tokens[0]
    if token.kind == "literal":
        return SlotValue(literal_slots(request.lexed)[token.literal], negate)
    if token.is_name and not negate:
        return WordValue(token.upper if token.upper in _KEYWORDS else token.name)
    return ServerValue()


def _transaction(rest: Sequence[Token]) -> Iterator[Assignment]:
    """[SESSION|LOCAL] TRANSACTION ISOLATION LEVEL …, READ ONLY|WRITE"""
    scope: Literal["session", "next"] = "next"
    if rest[0].upper in _LOCAL:
        scope, rest = "session", rest[1:]
    if rest[0].upper in _GLOBAL:
        raise refusal("GLOBAL_VARIABLE", "GLOBAL TRANSACTION")
    for part in split(rest[1:]):
        text = tuple(token.upper for token in part)
        if text[:2] == ("ISOLATION", "LEVEL") and text[2:] in _ISOLATION:
            yield Assignment("transaction_isolation", WordValue(_ISOLATION[text[2:]]), scope)
        elif text in (("READ", "ONLY"), ("READ", "WRITE")):
            yield Assignment("transaction_read_only", WordValue("ON" if text[1] == "ONLY" else "OFF"), scope)
        else:
            raise NotUnderstood("SET TRANSACTION with these characteristics")


def plan_use(request: Request) -> Planned:
    rest = request.tokens[1:]
    if len(rest) != 1 or not rest[0].is_name:
        raise NotUnderstood("USE without a plain name")
    return use(request, rest[0].name)


def use(request: Request, name: str) -> Planned:
    """Also what COM_INIT_DB asks."""
    keyspace = request.keyspace(name)
    grants = request.context.grants
    if not grants.sees(keyspace.name):
        raise refusal("DENIED_DATABASE", grants.user, keyspace.name)
    return Draft(request, "use").done(UseDatabase(keyspace.name))
