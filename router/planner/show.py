"""SHOW, and what else asks for a schema's description: DESCRIBE, EXPLAIN of a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from _speedups import lexer
from config.words import Verb
from router import literals
from router.errors import refusal
from router.lookups import PREFIX
from router.plan import AnyShard, Names, OneShard, Plan, Planned, Scatter, ShowFairlead
from router.planner import measured
from router.planner.request import Draft, Request
from router.relations import SYSTEM
from router.template import NotUnderstood, literal_slots
from router.tokens import Token, starts, words
from router.topology import Keyspace, TableKind

ADMINISTRATION = frozenset(
    {"AUTHORS", "BINARY", "BINLOG", "CONTRIBUTORS", "ENGINE", "EXPLAIN", "LOCALES", "MASTER", "MUTEX", "OPEN"}
    | {"PARSE_TREE", "PROCESSLIST", "RELAYLOG", "REPLICA", "REPLICAS", "SLAVE", "SLAVES", "USER_STATISTICS"}
    | {
        "CLIENT_STATISTICS",
        "INDEX_STATISTICS",
        "TABLE_STATISTICS",
        "ALL",
        "PROFILE",
        "PROFILES",
        "QUERY_RESPONSE_TIME",
    }
)
"""First words of SHOW that tell of the server, of other clients, or of one connection's history."""

_ANY_SERVER = frozenset(
    {
        "CHARACTER",
        "CHARSET",
        "COLLATION",
        "ENGINES",
        "STORAGE",
        "PLUGINS",
        "PRIVILEGES",
        "VARIABLES",
        "STATUS",
    }
)
_SAME_ON_ALL = frozenset({"COLUMNS", "FIELDS"})


def plan(request: Request) -> Planned:
    rest = _without(request.tokens[1:], "EXTENDED", "FULL")
    if starts(rest, "SESSION") or starts(rest, "LOCAL") or starts(rest, "GLOBAL"):
        rest = rest[1:]
    head = rest[0].upper if rest else ""
    reader = _READERS.get(head)
    if reader is not None:
        return reader(request, rest)
    if head in ADMINISTRATION:
        return _administration(request, f"SHOW {head}")
    if head in _ANY_SERVER:
        return _any_server(request, head)
    raise NotUnderstood(f"SHOW {head}".strip())


def _without(tokens: Sequence[Token], *optional: str) -> Sequence[Token]:
    while tokens and tokens[0].upper in optional:
        tokens = tokens[1:]
    return tokens


def _administration(request: Request, what: str) -> Planned:
    if not request.context.grants.administers:
        raise refusal("ADMINISTRATION", what)
    keyspace = request.keyspace()
    shard = keyspace.shards[0].name if keyspace.unsharded else request.hinted_shard(keyspace)
    if shard is None:
        raise refusal("SHOW_KIND", what.removeprefix("SHOW "), keyspace.name)
    return Draft(request, "show", reads=True, local=True).done(OneShard(shard))


def _any_server(request: Request, head: str) -> Planned:
    _no_query(request)
    # Among the variables is what the connection's last client inserted.
    draft = Draft(request, "show", reads=True, last_insert_id=head == "VARIABLES")
    draft.because("every server of the keyspace answers alike")
    return draft.done(_any(request, request.context.keyspace))


def _any(request: Request, keyspace: Keyspace | None) -> AnyShard:
    if keyspace is None:
        return AnyShard("", tuple(shard.name for shard in request.context.topology.shards))
    hinted = request.hinted_shard(keyspace)
    names = (hinted,) if hinted else tuple(shard.name for shard in keyspace.shards)
    return AnyShard(keyspace.name, names)


def _no_query(request: Request) -> None:
    """WHERE takes any expression, and a subquery in it would read tables that nobody checked."""
    if any(token.upper == "SELECT" for token in request.tokens):
        raise NotUnderstood("SHOW … WHERE with a subquery")


# --- databases and grants, answered here
# ---------------------------------------------------------------------


def _databases(request: Request, rest: Sequence[Token]) -> Planned:
    pattern, label = None, "Database"
    if len(rest) == 3 and rest[1].upper == "LIKE" and rest[2].kind == "literal":
        pattern = _text(request, rest[2])
        label = f"Database ({pattern})"
    elif len(rest) != 1:
        raise NotUnderstood("SHOW DATABASES with a condition")
    context = request.context
    names = [one.name for one in context.topology.keyspaces if context.grants.sees(one.name)]
    shown = sorted([*names, "information_schema"])
    if pattern is not None:
        shown = [name for name in shown if like(pattern, name)]
    draft = Draft(request, "show", cacheable=pattern is None)
    draft.because("databases are the keyspaces that the user may see")
    return draft.done(Names(label, tuple(shown)))


def _text(request: Request, token: Token) -> str:
    slot = request.lexed.slots[literal_slots(request.lexed)[token.literal]]
    found = literals.value(request.sql, slot, request.context.mode) if slot.kind != lexer.PARAM else None
    if not isinstance(found, str):
        raise NotUnderstood("LIKE without a plain text")
    return found


def like(pattern: str, name: str) -> bool:
    """MySQL's LIKE on names, with backslash as its escape."""
    out = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            out.append(re.escape(next(characters, "\\")))
        else:
            out.append({"%": ".*", "_": "."}.get(character, re.escape(character)))
    return re.fullmatch("".join(out), name, re.DOTALL | re.IGNORECASE) is not None


def _grants(request: Request, rest: Sequence[Token]) -> Planned:
    """One's own grants, as Fairlead knows them; the servers' are those of its account."""
    if len(rest) > 1 and words(rest, 3)[1:] != ("FOR", "CURRENT_USER"):
        return _administration(request, "SHOW GRANTS FOR")
    grants = request.context.grants
    lines = [f"GRANT USAGE ON *.* TO '{grants.user}'@'%'"]
    for grant in grants.grants:
        verbs = ", ".join(_privilege(verb) for verb in grant.verbs if verb is not Verb.ADMIN)
        if verbs:
            target = _quoted(grant.on.keyspace, grant.on.table)
            lines.append(f"GRANT {verbs} ON {target} TO '{grants.user}'@'%'")
    return Draft(request, "show").done(Names(f"Grants for {grants.user}@%", tuple(lines)))


def _privilege(verb: Verb) -> str:
    return "ALL PRIVILEGES" if verb is Verb.ALL else verb.value.upper().replace("_", " ")


def _quoted(keyspace: str | None, table: str | None) -> str:
    names = ("*" if name is None else "`" + name.replace("`", "``") + "`" for name in (keyspace, table))
    return ".".join(names)


def _fairlead(request: Request, rest: Sequence[Token]) -> Planned:
    """SHOW FAIRLEAD SESSION | STATUS | TRANSACTIONS UNRESOLVED; everything else is the admin console's."""
    if words(rest, 3)[1:] == ("TRANSACTIONS", "UNRESOLVED") and len(rest) == 3:
        return Draft(request, "show", cacheable=False).done(ShowFairlead("unresolved"))
    if len(rest) == 2 and rest[1].upper == "SESSION":
        return Draft(request, "show", cacheable=False).done(ShowFairlead("session"))
    if len(rest) == 2 and rest[1].upper == "STATUS":
        return Draft(request, "show", cacheable=False).done(ShowFairlead("status"))
    raise refusal("SHOW_FAIRLEAD", " ".join(words(rest, 2)).strip())


def _warnings(request: Request, rest: Sequence[Token]) -> Planned:
    draft = Draft(request, "show", reads=True, local=True, warnings=True)
    draft.because("about the session's previous statement")
    return draft.done(_any(request, request.context.keyspace))


def _count(request: Request, rest: Sequence[Token]) -> Planned:
    """SHOW COUNT(*) WARNINGS"""
    if words(rest, 5)[4] not in ("WARNINGS", "ERRORS"):
        raise NotUnderstood("SHOW COUNT")
    return _warnings(request, rest)


# --- one schema's description
# --------------------------------------------------------------------------------


def _schema(request: Request, name: str | None) -> Keyspace:
    keyspace = request.keyspace(name)
    if not request.context.grants.sees(keyspace.name):
        raise refusal("DENIED_DATABASE", request.context.grants.user, keyspace.name)
    return keyspace


def _from(rest: Sequence[Token]) -> str | None:
    """The database of `FROM db` or `IN db`."""
    for index, token in enumerate(rest[:-1]):
        if token.upper in ("FROM", "IN") and rest[index + 1].is_name:
            return rest[index + 1].name
        if token.upper in ("LIKE", "WHERE"):
            return None
    return None


def _is_system(database: str | None) -> bool:
    return database is not None and database.lower() == SYSTEM


def _system(request: Request) -> Planned:
    """A list or description of information_schema's own tables, which holds nothing of anybody's."""
    draft = Draft(request, "show", reads=True)
    draft.because(f"every server of the keyspace describes {SYSTEM} alike")
    return draft.done(_any(request, request.context.keyspace))


def _tables(request: Request, rest: Sequence[Token]) -> Planned:
    """On a sharded keyspace every shard has the same tables; a difference is a finding of the check."""
    _no_query(request)
    database = _from(rest[1:])
    if _is_system(database):
        return _system(request)
    keyspace = _schema(request, database)
    draft = Draft(request, "show", reads=True)
    draft.because("the tables' names are the same on every shard")
    listing_needs(request, draft, keyspace)
    if keyspace.lookups and not keyspace.unsharded and request.hinted_shard(keyspace) is None:
        draft.because("Fairlead's own tables are left out")
        return draft.done(measured.names(request, keyspace))
    return draft.done(_description(request, keyspace, None))


def listing_needs(request: Request, draft: Draft, keyspace: Keyspace) -> None:
    """The list would name tables that the user has no grant on, so it takes a grant on the whole keyspace."""
    if not lists(request, keyspace):
        draft.need(keyspace.name, Verb.SELECT)


def lists(request: Request, keyspace: Keyspace) -> bool:
    """Has the user a grant on the whole keyspace?"""
    whole = (one.on for one in request.context.grants.grants if one.on.table is None)
    return any(target.keyspace in (None, keyspace.name) for target in whole)


def _beside_tables(request: Request, rest: Sequence[Token]) -> Planned:
    """SHOW TRIGGERS, SHOW EVENTS: what the servers hold beside the tables."""
    _no_query(request)
    keyspace = _schema(request, _from(rest[1:]))
    draft = Draft(request, "show", reads=True)
    listing_needs(request, draft, keyspace)
    return draft.done(_told_alike(request, draft, keyspace))


def _told_alike(request: Request, draft: Draft, keyspace: Keyspace) -> OneShard | Scatter:
    """By the one shard, or by all of them if they agree."""
    shard = keyspace.shards[0].name if keyspace.unsharded else request.hinted_shard(keyspace)
    if shard is not None:
        return OneShard(shard)
    draft.because("all shards have to tell the same")
    return measured.same(request, keyspace)


def _routines(request: Request, rest: Sequence[Token]) -> Planned:
    """SHOW PROCEDURE STATUS lists every database of the server, unless its condition names one."""
    if words(rest, 2)[1] not in ("STATUS", "CODE"):
        raise NotUnderstood("SHOW of a routine")
    named = len(rest) > 5 and rest[2].upper == "WHERE" and rest[3].is_name and rest[3].name.upper() == "DB"
    if named and rest[4].text == "=" and rest[5].kind == "literal":
        return _routines_of(request, _text(request, rest[5]), rest[6:])
    if not request.context.grants.everywhere:
        raise refusal("SYSTEM_SCHEMA", f"SHOW {rest[0].upper} STATUS", "it lists every database of a server")
    return _any_server(request, rest[0].upper)


def _routines_of(request: Request, name: str, rest: Sequence[Token]) -> Planned:
    """With a condition on the database, and others. Raises Refusal."""
    _no_query(request)
    if rest and rest[0].upper != "AND":
        raise NotUnderstood("SHOW of routines with this condition")
    if any(token.upper in ("OR", "XOR") or token.text == "||" for token in rest):
        raise NotUnderstood("SHOW of routines with alternatives")
    keyspace = _schema(request, name)
    draft = Draft(request, "show", reads=True, cacheable=False)
    listing_needs(request, draft, keyspace)
    return draft.done(_told_alike(request, draft, keyspace))


def _table_status(request: Request, rest: Sequence[Token]) -> Planned:
    """SHOW TABLE STATUS, SHOW TABLE TYPES (an old name of ENGINES)."""
    if words(rest, 2)[1] != "STATUS":
        raise NotUnderstood("SHOW TABLE")
    keyspace = _schema(request, _from(rest[1:]))
    if keyspace.unsharded or request.hinted_shard(keyspace) is not None:
        return _beside_tables(request, rest)
    _no_query(request)
    draft = Draft(request, "show", reads=True)
    listing_needs(request, draft, keyspace)
    draft.because("sizes and counts of all shards become one server's")
    return draft.done(measured.table_status(request, keyspace, rest))


def _columns(request: Request, rest: Sequence[Token]) -> Planned:
    """SHOW COLUMNS FROM [db.]t [FROM db]"""
    _no_query(request)
    if words(rest, 2)[1] not in ("FROM", "IN"):
        raise NotUnderstood(f"SHOW {rest[0].upper} without a table")
    name, rest = _table_name(rest[2:])
    database, table = name
    if words(rest, 1)[0] in ("FROM", "IN") and len(rest) > 1:
        database = rest[1].name
    return describe(request, database, table)


def _indexes(request: Request, rest: Sequence[Token]) -> Planned:
    """SHOW INDEX FROM [db.]t [FROM db] [WHERE …]: cardinalities are about all shards' rows."""
    planned = _columns(request, rest)
    if not isinstance(planned.plan, AnyShard) or request.hints.shard is not None or not planned.facts.tables:
        return planned
    use = planned.facts.tables[0]
    keyspace = request.keyspace(use.keyspace)
    declared = keyspace.table(use.table)
    if declared is None or declared.kind is not TableKind.SHARDED:
        return planned
    reasons = ("cardinalities of all shards become one server's",)
    return replace(planned, plan=measured.index(request, keyspace, declared, rest), reasons=reasons)


def _table_name(tokens: Sequence[Token]) -> tuple[tuple[str | None, str], Sequence[Token]]:
    if len(tokens) >= 3 and tokens[1].text == "." and tokens[0].is_name and tokens[2].is_name:
        return (tokens[0].name, tokens[2].name), tokens[3:]
    if tokens and tokens[0].is_name:
        return (None, tokens[0].name), tokens[1:]
    raise NotUnderstood("a table name of this form")


def describe(request: Request, database: str | None, table: str) -> Planned:
    """DESCRIBE and SHOW COLUMNS / INDEX / CREATE TABLE."""
    if _is_system(database):
        return _system(request)
    keyspace = _schema(request, database)
    draft = Draft(request, "show")
    draft.use(keyspace.name, table, "read", Verb.SELECT)
    draft.because("a table is the same on every shard that holds it")
    return draft.done(_description(request, keyspace, table))


def _description(request: Request, keyspace: Keyspace, table: str | None) -> Plan:
    if keyspace.unsharded:
        return OneShard(keyspace.shards[0].name)
    declared = keyspace.table(table) if table is not None else None
    if declared is not None and declared.kind is TableKind.PINNED:
        return OneShard(request.context.topology.shards[declared.shard].name)
    if table is not None and declared is None and table.startswith(PREFIX):
        raise refusal("UNKNOWN_TABLE", keyspace.name, table)
    if table is not None and declared is None and request.hints.shard is None:
        # A view, or a table that nobody has declared: listed, so it can be looked at.
        return measured.same(request, keyspace)
    found = _any(request, keyspace)
    if declared is None or request.hints.shard is not None:
        return found
    held = set(declared.shards)
    return AnyShard(keyspace.name, tuple(one.name for one in keyspace.shards if one.index in held))


def _create(request: Request, rest: Sequence[Token]) -> Planned:
    rest = rest[1:]
    what = words(rest, 1)[0]
    if what in ("DATABASE", "SCHEMA"):
        rest = _without(rest[1:], "IF", "NOT", "EXISTS")
        keyspace = _schema(request, rest[0].name if rest else None)
        return Draft(request, "show", reads=True).done(_description(request, keyspace, None))
    if what in ("TABLE", "VIEW", "SEQUENCE"):
        (database, table), _ = _table_name(rest[1:])
        return describe(request, database, table)
    if what == "USER":
        return _administration(request, "SHOW CREATE USER")
    (database, _), _ = _table_name(rest[1:])
    keyspace = _schema(request, database)
    draft = Draft(request, "show", reads=True)
    draft.need(keyspace.name, _CREATED.get(what, Verb.EXECUTE))
    return draft.done(_told_alike(request, draft, keyspace))


_CREATED = {"TRIGGER": Verb.TRIGGER, "EVENT": Verb.EVENT}

_READERS: dict[str, Callable[[Request, Sequence[Token]], Planned]] = {
    "DATABASES": _databases,
    "SCHEMAS": _databases,
    "GRANTS": _grants,
    "FAIRLEAD": _fairlead,
    "WARNINGS": _warnings,
    "ERRORS": _warnings,
    "COUNT": _count,
    "TABLES": _tables,
    "TABLE": _table_status,
    "TRIGGERS": _beside_tables,
    "EVENTS": _beside_tables,
    "PROCEDURE": _routines,
    "FUNCTION": _routines,
    "CREATE": _create,
    **dict.fromkeys(_SAME_ON_ALL, _columns),
    **dict.fromkeys(("INDEX", "INDEXES", "KEYS"), _indexes),
}
