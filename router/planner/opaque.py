"""Statements that are not parsed, on an unsharded keyspace: sent as they are, when the user may
do on the whole keyspace whatever such a statement can do.

Only names are read. A name before a dot is a database unless it stands where only a column can; so a
statement reaches no database that its user has no right to, whatever its grammar.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.words import Verb
from router import functions
from router.errors import refusal
from router.functions import calls
from router.gate import Family
from router.plan import OneShard, Pin, Planned
from router.planner.request import Draft, Request
from router.tokens import Token
from router.topology import Keyspace

# After these only an expression can follow, so a dotted name is table.column. ON is one of them after JOIN
# only, and up to a comma: CREATE INDEX and CREATE TRIGGER have a table there. LIKE is none: CREATE TABLE … LIKE has
# a table.
_EXPRESSION = frozenset(
    {"SELECT", "WHERE", "AND", "OR", "XOR", "NOT", "BY", "HAVING", "SET", "CASE", "WHEN", "THEN", "ELSE"}
    | {"BETWEEN", "RLIKE", "REGEXP", "IN", "IS", "DISTINCT", "ALL", "LIMIT", "OFFSET", "RETURN", "IF"}
    | {"DIV", "MOD", "BINARY", "INTERVAL", "VALUES", "VALUE", "DO", "COLLATE", "ESCAPE", "AGAINST", "MATCH"}
)
_CLAUSE = frozenset({"SELECT", "WHERE", "BY", "HAVING", "SET", "LIMIT", "VALUES"})
"""What ends a join's condition."""
_JOIN = frozenset({"JOIN", "STRAIGHT_JOIN"})
_TABLE = _JOIN | {
    *("FROM", "INTO", "UPDATE", "TABLE", "TABLES", "REFERENCES", "USING", "INSERT", "ON", "LIKE"),
    *("REPLACE", "DELETE", "CALL", "VIEW", "TRIGGER", "EVENT", "PROCEDURE", "FUNCTION", "INDEX", "TO"),
    *("SEQUENCE", "LOCK", "EXISTS", "USE", "DESCRIBE", "DESC", "EXPLAIN", "TRUNCATE", "IGNORE", "FOR"),
}
_OPERATORS = frozenset(
    {"=", "<", ">", "<=", ">=", "<>", "!=", "<=>", ":=", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!"}
    | {"||", "&&", "<<", ">>", "->", "->>"}
)


def plan(request: Request, why: str, pin: Pin | None = None) -> Planned:
    """Raises Refusal on a sharded keyspace, and when a right on the keyspace is missing."""
    keyspace = request.keyspace()
    shard = _shard(request, keyspace, why)
    draft = Draft(request, request.gate.verb.lower())
    for name in {keyspace.name, *databases(request.tokens)}:
        _check_database(request, keyspace, name, why)
        draft.need(name, *_verbs(request))
    draft.because(f"not read any further: {why}")
    draft.reads = draft.writes = draft.locks = True
    draft.cacheable = not request.lexed.error
    draft.implicit_commit = request.gate.family not in _INSIDE_TRANSACTION
    # Nothing is planned by the schema of an unsharded keyspace, so only what surely changes it need be told.
    draft.ddl = request.gate.family is Family.DDL or not keyspace.unsharded
    draft.call(calls(request.tokens))
    if pin is not None:
        draft.pin(pin)
    if any(token.kind == "user_variable" for token in request.tokens):
        draft.pin("user_variable")
    if request.gate.family in (Family.UNKNOWN, Family.PROGRAM, Family.CALL):
        draft.pin("opaque")
    return draft.done(OneShard(shard))


def _verbs(request: Request) -> set[Verb]:
    """What the statement may do to any table of the keyspace. Everything, when its family does not say."""
    verbs = set(_VERBS.get(request.gate.family, {Verb.ALL}))
    words = {token.upper for token in request.tokens}
    if request.gate.family is Family.INSERT:
        verbs |= {Verb.DELETE} if request.gate.verb == "REPLACE" else set()
        verbs |= {Verb.UPDATE} if "DUPLICATE" in words else set()
        verbs |= {Verb.SELECT} if words & {"SELECT", "TABLE", "RETURNING"} else set()
    if any(not call.built_in or call.upper in functions.SEQUENCES for call in calls(request.tokens)) or "NEXT" in words:
        verbs |= {Verb.ALL}
    return verbs


_VERBS = {
    Family.SELECT: {Verb.SELECT},
    Family.INSERT: {Verb.INSERT},
    Family.UPDATE: {Verb.UPDATE, Verb.SELECT},
    Family.DELETE: {Verb.DELETE, Verb.SELECT},
    Family.DO: {Verb.SELECT},
    Family.SET: {Verb.SELECT},
}
_INSIDE_TRANSACTION = frozenset(
    {Family.SELECT, Family.INSERT, Family.UPDATE, Family.DELETE, Family.SET, Family.DO, Family.CALL}
    | {Family.EXPLAIN, Family.PREPARED, Family.HANDLER, Family.SHOW}
)


def _shard(request: Request, keyspace: Keyspace, why: str) -> str:
    if keyspace.unsharded:
        return keyspace.shards[0].name
    hinted = request.hinted_shard(keyspace)
    if hinted is None:
        raise refusal("NOT_UNDERSTOOD", keyspace.name, why)
    return hinted


def _check_database(request: Request, home: Keyspace, name: str, why: str) -> None:
    """Another database of the statement must be a keyspace on the same server."""
    if name == home.name:
        return
    if name.lower() == "information_schema":
        raise refusal("UNREADABLE_GRANT", request.context.grants.user, why)
    other = request.keyspace(name)
    if other.shards != home.shards:
        raise refusal("TWO_KEYSPACES", f"{home.name} and {name}")


def databases(tokens: Sequence[Token]) -> set[str]:
    """Every name that may be a database: `x` of `x.y` wherever a table or routine can stand."""
    return set(_databases(tokens))


def _databases(tokens: Sequence[Token]) -> Iterator[str]:
    clauses = ["table"]
    joined = False
    for index, token in enumerate(tokens):
        if token.text == "(":
            clauses.append(_inside(tokens, index, clauses[-1]))
        elif token.text == ")" and len(clauses) > 1:
            clauses.pop()
        elif token.text == ";":
            clauses, joined = ["table"], False
        elif token.upper == "ON" and joined:
            clauses[-1] = "condition"
        elif token.text == "," and clauses[-1] == "condition":
            clauses[-1] = "table"
        elif token.upper in _EXPRESSION:
            clauses[-1] = "condition" if clauses[-1] == "condition" and token.upper not in _CLAUSE else "expression"
        elif token.upper == "LIKE" and clauses[-1] != "table":
            continue
        elif token.upper in _TABLE:
            clauses[-1] = "table"
            joined = joined or token.upper in _JOIN
        elif _heads_a_dotted_name(tokens, index) and (
            clauses[-1] == "table" or _is_call(tokens, index) or not _after_expression(tokens, index)
        ):
            yield token.name


def _inside(tokens: Sequence[Token], index: int, outside: str) -> str:
    """What parentheses hold: arguments of a function are expressions, else what stands around them."""
    before = tokens[index - 1] if index else None
    if before is not None and before.is_name and before.upper in functions.BUILT_IN:
        return "expression"
    return "expression" if outside == "condition" else outside


def _heads_a_dotted_name(tokens: Sequence[Token], index: int) -> bool:
    follows = index + 1 < len(tokens) and tokens[index + 1].text == "."
    return tokens[index].is_name and follows and not (index and tokens[index - 1].text == ".")


def _is_call(tokens: Sequence[Token], index: int) -> bool:
    return index + 3 < len(tokens) and tokens[index + 3].text == "("


def _after_expression(tokens: Sequence[Token], index: int) -> bool:
    """Asked inside of an expression only, so ON and LIKE are those of joins and comparisons."""
    before = tokens[index - 1] if index else None
    return before is not None and (
        before.upper in _EXPRESSION | {"ON", "LIKE"} or before.text in _OPERATORS or before.text in (",", "(")
    )
