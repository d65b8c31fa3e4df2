"""SHOW, DESCRIBE, SET, USE and their kin: each becomes a query over the console's tables, or is answered with OK."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from proxy.console.statements import Token, identifier, literal, words
from proxy.console.tables import ALL, TABLES
from proxy.console.tables.schema import DATABASE, SCHEMA, type_of
from router.errors import refusal

ACCEPTED = frozenset(
    {"SET", "BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "LOCK", "UNLOCK", "DO", "FLUSH"}
)
"""Statements that clients send by themselves and that mean nothing here. ROLLBACK TO a number is a verb."""

QUERIES = frozenset({"SELECT", "WITH", "VALUES", "("})

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "SESSION": "sessions", "PROCESSLIST": "sessions", "POOL": "pools", "PLAN": "plans", "DIGEST": "digests",
        "REASONS": "route_reasons", "ROUTES": "route_reasons", "FINDING": "findings", "SERVER": "servers",
        "HEALTH": "servers", "VERSION": "versions", "HISTORY": "versions", "USER": "users", "ERROR": "errors",
        "METRIC": "metrics", "SHARD": "shards", "WORKER": "workers", "DECISION": "decisions",
    }
)  # fmt: skip
"""Other words for tables in SHOW FAIRLEAD …"""


@dataclass(frozen=True, slots=True)
class Select:
    """A query, as SQLite's text. `parameters` are none: it was made here."""

    sql: str


@dataclass(frozen=True, slots=True)
class Use:
    """Another database."""

    name: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """Answered with OK."""


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """SHOW WARNINGS; `count`: SHOW COUNT(*) WARNINGS."""

    count: bool = False


Meant = Select | Use | Accepted | Diagnostics


def meant(tokens: Sequence[Token], database: str | None) -> Meant:
    """What a statement that is no query and no verb means. Raises Refusal."""
    head = tokens[0].upper
    if head == "SHOW":
        return _show(tokens[1:], database)
    if head in ("DESCRIBE", "DESC", "EXPLAIN"):
        return _describe(tokens[1:], database)
    if head == "USE" and len(tokens) == 2:
        return Use(known_database(tokens[1].name))
    if head in ACCEPTED:
        return Accepted()
    if head in ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER", "TRUNCATE", "ATTACH", "PRAGMA",
                "VACUUM", "REINDEX", "ANALYZE", "DETACH", "GRANT", "REVOKE", "CALL", "LOAD"):  # fmt: skip
        raise refusal("CONSOLE_READ_ONLY", f"{head} is not answered")
    raise refusal("CONSOLE_SYNTAX", f"it begins with {tokens[0].text[:40]}")


def known_database(name: str) -> str:
    if name.lower() not in (DATABASE, SCHEMA):
        raise refusal("UNKNOWN_DATABASE", name)
    return name.lower()


# --- tables -------------------------------------------------------------------------------------------------


def _describe(tokens: Sequence[Token], database: str | None) -> Meant:
    (schema, table), rest = _name(tokens, database)
    if rest and rest[0].kind in ("word", "quoted", "string"):
        return Select(f"SELECT * FROM ({_fields(schema, table)}) WHERE Field LIKE {literal(rest[0].name)}")
    return Select(_fields(schema, table))


def _name(tokens: Sequence[Token], database: str | None) -> tuple[tuple[str, str], Sequence[Token]]:
    """`[db.]table [FROM db]` of a table that there is, and what follows. Raises Refusal."""
    if not tokens:
        raise refusal("CONSOLE_SYNTAX", "a table's name is missing")
    schema, name, rest = database or DATABASE, tokens[0].name, tokens[1:]
    if len(rest) >= 2 and rest[0].text == ".":
        schema, name, rest = name, rest[1].name, rest[2:]
    if len(rest) >= 2 and rest[0].upper in ("FROM", "IN"):
        schema, rest = rest[1].name, rest[2:]
    found = (known_database(schema), name.lower())
    if found not in ALL:
        raise refusal("CONSOLE_NO_TABLE", name)
    return found, rest


def _fields(schema: str, table: str, full: bool = False) -> str:
    rows = []
    for column in ALL[schema, table].columns:
        collation = literal("utf8mb4_general_ci") if column.type == "TEXT" else "NULL"
        head = [
            literal(column.name),
            literal(type_of(column)),
            *([collation] if full else []),
            "'YES'",
            "''",
            "NULL",
        ]
        tail = ["'select'", literal(column.meaning)] if full else []
        rows.append(f"({', '.join([*head, chr(39) * 2, *tail])})")
    names = ["Field", "Type", *(["Collation"] if full else []), "Null", "Key", "Default", "Extra"]
    names += ["Privileges", "Comment"] if full else []
    shown = ", ".join(f"column{index} AS {identifier(name)}" for index, name in enumerate(names, 1))
    return f"SELECT {shown} FROM (VALUES {', '.join(rows)})"


# --- SHOW ---------------------------------------------------------------------------------------------------

_NAMES = f"SELECT table_name AS Tables_in_{DATABASE} FROM information_schema.tables"
_STATUS = (
    "SELECT table_name AS Name, engine AS Engine, version AS Version, row_format AS Row_format, table_rows AS Rows, "
    "table_collation AS Collation, table_comment AS Comment FROM information_schema.tables"
)
_PROCESSES = (
    'SELECT id AS Id, user AS User, client AS Host, database AS db, command AS Command, time_us / 1000000 AS "Time", '
    "state AS State, statement AS Info FROM fairlead.sessions"
)
_BASES: Mapping[str, str] = MappingProxyType(
    {
        "DATABASES": 'SELECT schema_name AS "Database" FROM information_schema.schemata',
        "SCHEMAS": 'SELECT schema_name AS "Database" FROM information_schema.schemata',
        "TABLES": _NAMES,
        "VARIABLES": "SELECT name AS Variable_name, value AS Value FROM fairlead.variables",
        "STATUS": "SELECT name AS Variable_name, value AS Value FROM fairlead.status",
        "PROCESSLIST": _PROCESSES,
        "ENGINES": "SELECT engine AS Engine, support AS Support, comment AS Comment FROM information_schema.engines",
        "COLLATION": "SELECT collation_name AS Collation, character_set_name AS Charset, id AS Id, "
        'is_default AS "Default", is_compiled AS Compiled, sortlen AS Sortlen FROM information_schema.collations',
        "CHARSET": "SELECT character_set_name AS Charset, description AS Description, "
        'default_collate_name AS "Default collation", maxlen AS Maxlen FROM information_schema.character_sets',
        "PLUGINS": "SELECT plugin_name AS Name FROM information_schema.plugins",
        "EVENTS": "SELECT event_schema AS Db, event_name AS Name FROM information_schema.events",
        "TRIGGERS": 'SELECT trigger_name AS "Trigger" FROM information_schema.triggers',
        "PRIVILEGES": "SELECT privilege_type AS Privilege FROM information_schema.user_privileges",
        "GRANTS": "SELECT 'GRANT SELECT ON *.* TO ' || grantee AS Grants FROM information_schema.user_privileges",
    }
)
_ROUTINES = "SELECT routine_schema AS Db, routine_name AS Name FROM information_schema.routines"
_INDEX = (
    'SELECT table_name AS "Table", non_unique AS Non_unique, index_name AS Key_name, seq_in_index AS Seq_in_index, '
    "column_name AS Column_name FROM information_schema.statistics WHERE 0"
)


def _show(tokens: Sequence[Token], database: str | None) -> Meant:
    full = any(token.upper == "FULL" for token in tokens[:2])
    rest = [token for index, token in enumerate(tokens) if not (index < 2 and token.upper in _MODIFIERS)]
    head = rest[0].upper if rest else ""
    reader = _READERS.get(head)
    if reader is not None:
        return reader(rest[1:], database, full)
    if head in _BASES:
        return _filtered(_BASES[head], rest[1:], database)
    raise refusal("CONSOLE_SYNTAX", f"SHOW {head or '…'}")


_MODIFIERS = frozenset({"FULL", "GLOBAL", "SESSION", "LOCAL", "EXTENDED", "STORAGE"})


def _filtered(base: str, rest: Sequence[Token], database: str | None) -> Select:
    """`[FROM db] [LIKE 'x' | WHERE …]`, LIKE on the first column."""
    if len(rest) >= 2 and rest[0].upper in ("FROM", "IN"):
        known_database(rest[1].name)
        rest = rest[2:]
    if not rest:
        return Select(base)
    if rest[0].upper == "LIKE" and len(rest) == 2:
        return Select(f"SELECT * FROM ({base}) WHERE {_first(base)} LIKE {literal(rest[1].name)} ESCAPE '\\'")
    if rest[0].upper == "WHERE" and len(rest) > 1:
        condition = " ".join(literal(one.name) if one.kind == "string" else one.text for one in rest[1:])
        return Select(f"SELECT * FROM ({base}) WHERE {condition}")
    raise refusal("CONSOLE_SYNTAX", f"{rest[0].text[:40]} behind SHOW")


def _first(base: str) -> str:
    """The name of the first column."""
    head = base.partition(",")[0].partition(" FROM ")[0]
    return head.rpartition(" AS ")[2]


def _show_tables(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    schema = database or DATABASE
    if len(rest) >= 2 and rest[0].upper in ("FROM", "IN"):
        schema, rest = known_database(rest[1].name), rest[2:]
    also = ", table_type AS Table_type" if full else ""
    base = f"SELECT table_name AS Tables_in_{schema}{also} FROM information_schema.tables"
    base += f" WHERE table_schema = '{schema}'"
    return _filtered(base, rest, database)


def _show_columns(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    if not rest or rest[0].upper not in ("FROM", "IN"):
        raise refusal("CONSOLE_SYNTAX", "SHOW COLUMNS FROM a table")
    (schema, table), rest = _name(rest[1:], database)
    base = _fields(schema, table, full)
    if rest and rest[0].upper == "LIKE" and len(rest) == 2:
        return Select(f"SELECT * FROM ({base}) WHERE Field LIKE {literal(rest[1].name)} ESCAPE '\\'")
    return _filtered(base, rest, database)


def _show_index(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    return Select(_INDEX)


def _show_table_status(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    if words(rest, 1) != ("STATUS",):
        raise refusal("CONSOLE_SYNTAX", "SHOW TABLE")
    return _filtered(_STATUS, rest[1:], database)


def _show_routines(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    return Select(f"{_ROUTINES} WHERE 0")


def _show_character(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    return _filtered(_BASES["CHARSET"], rest[1:], database)


def _show_diagnostics(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    return Diagnostics()


def _show_count(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    return Diagnostics(count=True)


def _show_create(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    if words(rest, 1)[0] in ("DATABASE", "SCHEMA") and len(rest) > 1:
        name = known_database(rest[-1].name)
        text = f"CREATE DATABASE `{name}`"
        return Select(f'SELECT {literal(name)} AS "Database", {literal(text)} AS "Create Database"')
    if words(rest, 1)[0] not in ("TABLE", "VIEW"):
        raise refusal("CONSOLE_SYNTAX", "SHOW CREATE")
    (schema, name), _ = _name(rest[1:], database)
    lines = ",\n".join(f"  `{column.name}` {type_of(column)}" for column in ALL[schema, name].columns)
    text = f"CREATE TABLE `{name}` (\n{lines}\n) ENGINE={DATABASE}"
    return Select(f'SELECT {literal(name)} AS "Table", {literal(text)} AS "Create Table"')


def _show_fairlead(rest: Sequence[Token], database: str | None, full: bool) -> Meant:
    """SHOW FAIRLEAD <table> [LIKE … | WHERE …], SHOW FAIRLEAD HELP."""
    word = rest[0].name.lower() if rest else "help"
    if word == "help":
        lines = ", ".join(f"({literal(name)}, {literal(meaning)})" for name, meaning in _help())
        return Select(f"SELECT column1 AS name, column2 AS meaning FROM (VALUES {lines})")
    table = ALIASES.get(word.upper(), word)
    if (DATABASE, table) not in ALL:
        raise refusal("CONSOLE_NO_TABLE", word)
    first = ALL[DATABASE, table].columns[0].name
    base = f"SELECT * FROM {DATABASE}.{identifier(table)}"
    if words(rest[1:], 1) == ("LIKE",) and len(rest) == 3:
        return Select(f"{base} WHERE {identifier(first)} LIKE {literal(rest[2].name)}")
    return _filtered(base, rest[1:], database)


def _help() -> list[tuple[str, str]]:
    from proxy.console.verbs import VERBS

    shown = [(f"table {table.name}", table.meaning) for table in TABLES]
    return [*shown, *((verb.form, verb.meaning) for verb in VERBS.values())]


Reader = Callable[[Sequence[Token], str | None, bool], Meant]
_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "TABLES": _show_tables, "COLUMNS": _show_columns, "FIELDS": _show_columns, "INDEX": _show_index,
        "INDEXES": _show_index, "KEYS": _show_index, "TABLE": _show_table_status, "PROCEDURE": _show_routines,
        "FUNCTION": _show_routines, "CHARACTER": _show_character, "WARNINGS": _show_diagnostics,
        "ERRORS": _show_diagnostics, "COUNT": _show_count, "CREATE": _show_create, "FAIRLEAD": _show_fairlead,
    }
)  # fmt: skip
