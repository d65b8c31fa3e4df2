"""The planner: a lexed statement and its context in, a plan with its facts and reasons out.

`plan` never raises for what a client may send: what is refused is a plan too. One file per statement family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from _speedups import lexer
from _speedups.lexer import LexedStatement
from router.context import Context
from router.errors import Refusal, refusal
from router.gate import Family, Gate, gate
from router.hints import NO_HINTS, Hints, parse_hints
from router.longtext import words_of
from router.plan import Facts, Nothing, OneShard, Planned
from router.planner import change, ddl, explaining, insert, kill, opaque, select, setting, show, telling, transaction
from router.planner.request import Draft, Request, refused
from router.template import NotUnderstood
from router.text import Text
from router.tokens import decode, tokenize


def plan(lexed: LexedStatement, sql: Text, context: Context) -> Planned:
    """The plan of one statement. `sql` is the text that `lexed` was made from with `context.mode`."""
    verb, hints = "", NO_HINTS
    try:
        _check_lexed(lexed, context)
        if lexed.error:
            return _plan_long(lexed, sql, context)
        norm = decode(lexed.norm)
        tokens = tokenize(norm)
        if not tokens:
            return _comment(sql, context)
        gated = gate(tokens)
        verb = gated.verb.lower()
        if lexed.flags & lexer.MULTI and gated.family is not Family.PROGRAM:
            raise refusal("MULTI_STATEMENT")
        hints = _hints(lexed, sql, context)
        return _plan(Request(sql, lexed, norm, tokens, gated, context, hints))
    except Refusal as reason:
        return refused(reason, verb, context, hints, cacheable=_cacheable(lexed, verb))


def _cacheable(lexed: LexedStatement, verb: str) -> bool:
    """Literals decide about SET, SHOW … LIKE, PREPARE FROM and conditions on a schema's name."""
    return verb in _DECIDED_BY_WORDS and b"information_schema" not in lexed.norm.lower()


_DECIDED_BY_WORDS = frozenset({"select", "insert", "replace", "update", "delete", "with", "call", "do"})


def plan_use(name: str, context: Context) -> Planned:
    """COM_INIT_DB: the same as USE."""
    request = Request(b"", lexer.lex(b"USE", context.mode), "", (), Gate(Family.USE, "USE"), context)
    try:
        return setting.use(request, name)
    except Refusal as reason:
        return refused(reason, "use", context)


def _check_lexed(lexed: LexedStatement, context: Context) -> None:
    """Raises Refusal for a text that cannot be read as one statement."""
    if context.mode & lexer.UNSAFE_CHARSET:
        raise refusal("UNSAFE_CHARSET", "of this session")
    if lexed.flags & lexer.UNTERMINATED:
        raise refusal("UNTERMINATED")
    if lexed.flags & lexer.NUL_BYTE:
        raise refusal("NUL_BYTE")
    if lexed.error == lexer.MALFORMED:
        raise refusal("MALFORMED")


def _comment(sql: Text, context: Context) -> Planned:
    """A text without a word: servers answer OK to comments, and an error to nothing. Raises Refusal."""
    first = sql[:BLANKS_MAX].lstrip(BLANKS)[:1]
    if first in (b"", b";"):
        raise refusal("EMPTY_STATEMENT")
    return Planned(Nothing(), Facts("", cacheable=False), ("it holds comments only",), context.topology)


BLANKS = b" \t\n\v\f\r"
BLANKS_MAX = 65536
"""Where no comment has begun by then, none is looked for."""


def _plan_long(lexed: LexedStatement, sql: Text, context: Context) -> Planned:
    """A statement beyond the lexer's bounds: by its words, on an unsharded keyspace. Raises Refusal."""
    what = "its text without literals" if lexed.error == lexer.TOO_LONG else "its literals"
    if context.keyspace is not None and not context.keyspace.unsharded:
        raise refusal("TOO_LARGE_TO_PLAN", what)
    tokens = words_of(sql, context.mode)
    while tokens and tokens[-1].text == ";":
        tokens = tokens[:-1]
    if not tokens:
        raise refusal("TOO_LARGE_TO_PLAN", what)
    gated = gate(tokens)
    if gated.family is not Family.PROGRAM and any(token.text == ";" for token in tokens):
        raise refusal("MULTI_STATEMENT")
    request = Request(sql, lexed, "", tokens, gated, context)
    if gated.administration is not None and not context.grants.administers:
        raise refusal("ADMINISTRATION", gated.administration)
    if gated.family in (Family.DDL, Family.PROGRAM, Family.CALL):
        planned = _PLANNERS[gated.family](request)
        return replace(planned, facts=replace(planned.facts, cacheable=False))
    if gated.family in (Family.SELECT, Family.INSERT, Family.UPDATE, Family.DELETE):
        return opaque.plan(request, f"it is too large to be parsed ({what})")
    raise refusal("TOO_LARGE_TO_PLAN", what)


def _hints(lexed: LexedStatement, sql: Text, context: Context) -> Hints:
    if lexed.hint is None:
        return NO_HINTS
    offset, length = lexed.hint
    hints = parse_hints(sql[offset : offset + length].decode("utf-8", "replace"))
    for name in ("shard", "consistency", "scatter", "max_lag"):
        if getattr(hints, name) is not None and name not in context.hints:
            raise refusal("HINT_DENIED", name, context.grants.user)
    return hints


def _plan(request: Request) -> Planned:
    administration = request.gate.administration
    if administration is not None:
        return _administer(request, administration)
    planner = _PLANNERS.get(request.gate.family, _unknown)
    try:
        return planner(request)
    except Refusal as refused:
        if (found := telling.told(request, refused)) is None:
            raise
        return found
    except (NotUnderstood, RecursionError) as problem:
        reason = problem if isinstance(problem, NotUnderstood) else "it is nested too deeply"
        if request.gate.family in _NEVER_OPAQUE:
            raise refusal("STATEMENT_FORM", request.gate.verb, str(reason)) from None
        return opaque.plan(request, str(reason))


_NEVER_OPAQUE = frozenset({Family.TRANSACTION, Family.SET, Family.USE, Family.SHOW, Family.KILL})
"""What changes or tells of the session would leave it and its backend in different states."""


def _administer(request: Request, what: str) -> Planned:
    """Server administration, for those who may: on the one server, or on the one that a hint names."""
    if not request.context.grants.administers:
        raise refusal("ADMINISTRATION", what)
    keyspace = request.keyspace()
    shard = keyspace.shards[0].name if keyspace.unsharded else request.hinted_shard(keyspace)
    if shard is None:
        raise refusal("STATEMENT_KIND", what, keyspace.name)
    draft = Draft(request, request.gate.verb.lower(), writes=True, local=True, ddl=True, implicit_commit=True)
    draft.pin("opaque")
    draft.because("server administration, which the user is granted")
    return draft.done(OneShard(shard))


def _unknown(request: Request) -> Planned:
    raise NotUnderstood(f"{request.gate.verb} is not a known statement")


def _xa(request: Request) -> Planned:
    raise refusal("XA")


def _explain(request: Request) -> Planned:
    return explaining.plan(request, _statement)


def _statement(request: Request) -> Planned:
    """What EXPLAIN explains."""
    gated = gate(request.tokens)
    inner = Request(request.sql, request.lexed, request.norm, request.tokens, gated, request.context, request.hints)
    return _plan(inner)


_PLANNERS: dict[Family, Callable[[Request], Planned]] = {
    Family.SELECT: select.plan,
    Family.INSERT: insert.plan,
    Family.UPDATE: change.plan,
    Family.DELETE: change.plan,
    Family.TRANSACTION: transaction.plan,
    Family.SET: setting.plan,
    Family.USE: setting.plan_use,
    Family.SHOW: show.plan,
    Family.EXPLAIN: _explain,
    Family.DDL: ddl.plan,
    Family.MAINTENANCE: ddl.plan_maintenance,
    Family.LOCK_TABLES: ddl.plan_lock_tables,
    Family.CALL: ddl.plan_call,
    Family.DO: select.plan_do,
    Family.PREPARED: ddl.plan_prepared,
    Family.HANDLER: ddl.plan_handler,
    Family.LOAD: ddl.plan_load,
    Family.PROGRAM: ddl.plan_program,
    Family.XA: _xa,
    Family.KILL: kill.plan,
}
