"""Schema changes of one table on all its shards: CREATE, ALTER, DROP and TRUNCATE TABLE, CREATE and DROP INDEX.

`proxy/scatter/rollout.py` carries them out. Anything else about the schema of a sharded keyspace needs a shard named by
a hint.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.words import Verb
from router.errors import refusal
from router.lookups import PREFIX
from router.plan import OneShard, Planned, SchemaChange
from router.planner.request import Draft, Request
from router.tokens import Token, starts
from router.topology import Keyspace, Table, TableKind

_BEFORE_NAME = frozenset(
    {"CREATE", "ALTER", "DROP", "TRUNCATE", "OR", "REPLACE", "ONLINE", "OFFLINE", "IGNORE", "TABLE", "IF", "NOT"}
    | {"EXISTS"}
)
_ABOUT_OTHERS = frozenset({"EXCHANGE", "REFERENCES", "IMPORT", "DISCARD", "UNION", "SELECT"})
"""What ALTER and CREATE may say of other tables, of files or of old rows."""
_OF_PARTS = frozenset({"COLUMN", "INDEX", "KEY"})


def plan(request: Request, verbs: Sequence[Verb]) -> Planned | None:
    """The plan of a change of one declared table; None for what this is not about. Raises Refusal."""
    found = _table_name(request.tokens)
    if found is None:
        return None
    first, last = found
    database = request.tokens[first].name if last > first else None
    keyspace = request.keyspace(database)
    if keyspace.unsharded or request.hinted_shard(keyspace) is not None:
        return None
    name = request.tokens[last].name
    table = keyspace.table(name)
    if table is None and name.startswith(PREFIX):
        raise refusal("LOOKUP_TABLE", f"{keyspace.name}.{name}")
    if table is None:
        raise refusal("UNKNOWN_TABLE", keyspace.name, name)
    _check_form(request.tokens, last)
    _check_lookups(request, table)
    draft = Draft(request, request.gate.verb.lower(), ddl=True, implicit_commit=True)
    draft.use(keyspace.name, name, "write", *verbs)
    shards = _shards(request, keyspace, table)
    if len(shards) == 1:
        draft.because("the table is on this shard only")
        return draft.done(OneShard(shards[0]))
    draft.because("every shard of the table is changed: tried on an empty copy, then on the first, then on the others")
    keys = tuple(column.lower() for column in table.columns) if table.kind is TableKind.SHARDED else ()
    truncates = request.tokens[0].upper == "TRUNCATE"
    return draft.done(SchemaChange(keyspace.name, name, shards, (first, last), keys, tried=not truncates))


def _shards(request: Request, keyspace: Keyspace, table: Table) -> tuple[str, ...]:
    """Those of this region first: the copy is made where the servers are at hand."""
    held = [shard for shard in keyspace.shards if shard.index in set(table.shards)]
    return tuple(shard.name for shard in sorted(held, key=lambda shard: not shard.is_local))


def _table_name(tokens: Sequence[Token]) -> tuple[int, int] | None:
    """The first and the last token of the one table's name, which `database.` may be before."""
    at = _behind_on(tokens) if any(token.upper == "INDEX" for token in tokens[1:5]) else _behind_table(tokens)
    if at is None or at >= len(tokens) or not tokens[at].is_name:
        return None
    return (at, at + 2) if len(tokens) > at + 2 and tokens[at + 1].text == "." else (at, at)


def _behind_on(tokens: Sequence[Token]) -> int | None:
    """CREATE INDEX i ON t, DROP INDEX i ON t"""
    if tokens[0].upper not in ("CREATE", "DROP"):
        return None
    return next((at + 1 for at, token in enumerate(tokens[:12]) if token.upper == "ON"), None)


def _behind_table(tokens: Sequence[Token]) -> int | None:
    upper = [token.upper for token in tokens[:8]]
    if tokens[0].upper not in ("CREATE", "ALTER", "DROP", "TRUNCATE") or "TEMPORARY" in upper:
        return None
    if tokens[0].upper != "TRUNCATE" and "TABLE" not in upper:
        return None
    return next((at for at, token in enumerate(tokens) if token.upper not in _BEFORE_NAME), None)


def _check_lookups(request: Request, table: Table) -> None:
    """Raises Refusal for what would change the columns that lookups have copies of, or the rows unseen."""
    if not table.lookups:
        return
    schema = request.context.schemas.get(table.keyspace)
    live = schema.table(table.name) if schema is not None else None
    primary = next((key.columns for key in live.unique_keys if key.primary), ()) if live is not None else ()
    watched = {name.lower() for name in (*primary, *(one.column for one in table.lookups))}
    head = request.tokens[0].upper
    for token in request.tokens[2:]:
        if token.upper in ("PRIMARY", "CONVERT", "PARTITION") or (token.is_name and token.name.lower() in watched):
            raise refusal("LOOKUP_FORM", f"{head} TABLE", table.name, f"it names {token.text}")
    if head in ("TRUNCATE", "DROP") and "INDEX" not in {token.upper for token in request.tokens[1:3]}:
        raise refusal("LOOKUP_FORM", f"{head} TABLE", table.name, "the entries would be left without rows")
    uniques = {key.name.lower() for key in live.unique_keys if not key.primary} if live is not None else set()
    if any(token.is_name and token.name.lower() in uniques for token in request.tokens[2:]):
        raise refusal("LOOKUP_FORM", f"{head} TABLE", table.name, "it names a unique key")


def _check_form(tokens: Sequence[Token], last: int) -> None:
    """Raises Refusal for what is about more than this table's columns and indexes."""
    rest = tokens[last + 1 :]
    if any(token.text == "," for token in rest[:1]):
        raise refusal("DDL_FORM", "several tables at once")
    for at, token in enumerate(rest):
        following = rest[at + 1].upper if at + 1 < len(rest) else ""
        if token.upper in _ABOUT_OTHERS or (token.upper == "RENAME" and following not in _OF_PARTS):
            raise refusal("DDL_FORM", token.upper)
        if token.upper in ("DATA", "INDEX") and following == "DIRECTORY":
            raise refusal("DDL_FORM", f"{token.upper} DIRECTORY")
    if starts(tokens, "CREATE") and any(token.upper == "TABLE" for token in rest):
        raise refusal("DDL_FORM", "CREATE TABLE from another table's rows")
