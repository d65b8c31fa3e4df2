"""The token gate: what family a statement belongs to, and whether it is server administration.

Decided from the words alone, so it holds for what no parser understands. When in doubt it says
administration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from router.functions import calls
from router.tokens import Token, starts
from router.variables import Handling, variable


class Family(StrEnum):
    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRANSACTION = "transaction"
    SET = "set"
    USE = "use"
    SHOW = "show"
    EXPLAIN = "explain"
    DDL = "ddl"
    MAINTENANCE = "maintenance"
    LOCK_TABLES = "lock tables"
    CALL = "call"
    DO = "do"
    PREPARED = "prepared"
    HANDLER = "handler"
    LOAD = "load"
    PROGRAM = "program"  # stored programs and compound statements: code whose tables are not followed
    XA = "xa"
    KILL = "kill"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Gate:
    """`verb`: the statement's first words, as error texts name it. `administration`: what is, or None."""

    family: Family
    verb: str
    administration: str | None = None


_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("SELECT", "WITH", "TABLE", "VALUES", "("), Family.SELECT),
    **dict.fromkeys(("INSERT", "REPLACE"), Family.INSERT),
    "UPDATE": Family.UPDATE,
    "DELETE": Family.DELETE,
    **dict.fromkeys(("BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"), Family.TRANSACTION),
    "SET": Family.SET,
    "USE": Family.USE,
    "SHOW": Family.SHOW,
    **dict.fromkeys(("EXPLAIN", "DESCRIBE", "DESC"), Family.EXPLAIN),
    **dict.fromkeys(("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"), Family.DDL),
    **dict.fromkeys(("OPTIMIZE", "REPAIR", "CHECK", "CHECKSUM", "ANALYZE"), Family.MAINTENANCE),
    **dict.fromkeys(("LOCK", "UNLOCK"), Family.LOCK_TABLES),
    "CALL": Family.CALL,
    "DO": Family.DO,
    **dict.fromkeys(("PREPARE", "EXECUTE", "DEALLOCATE"), Family.PREPARED),
    "HANDLER": Family.HANDLER,
    "LOAD": Family.LOAD,
    "XA": Family.XA,
    "KILL": Family.KILL,
    **dict.fromkeys(("IF", "CASE", "LOOP", "REPEAT", "WHILE", "FOR", "DECLARE"), Family.PROGRAM),
}

_ADMINISTRATION: tuple[tuple[str, ...], ...] = (
    ("SHUTDOWN",), ("RESTART",), ("GRANT",), ("REVOKE",), ("FLUSH",), ("RESET",), ("PURGE",),
    ("BINLOG",), ("CLONE",), ("BACKUP",), ("INSTALL",), ("UNINSTALL",), ("HANDLER",), ("CACHE", "INDEX"),
    ("LOAD", "INDEX"), ("CHANGE", "MASTER"), ("CHANGE", "REPLICATION"), ("IMPORT", "TABLE"), ("LOCK",
    "INSTANCE"), ("UNLOCK", "INSTANCE"), ("RENAME", "USER"), ("SET", "PASSWORD"), ("SET", "ROLE"), ("SET",
    "DEFAULT", "ROLE"), ("SET", "RESOURCE", "GROUP"), ("SET", "GLOBAL"), ("SET", "PERSIST"), ("SET",
    "PERSIST_ONLY"), *((verb, what) for verb in ("START", "STOP") for what in ("SLAVE", "REPLICA",
    "GROUP_REPLICATION", "ALL")),
)  # fmt: skip

_ADMINISTERED = frozenset(
    {"USER", "ROLE", "SERVER", "TABLESPACE", "UNDO", "LOGFILE", "RESOURCE", "INSTANCE", "LIBRARY"}
)
"""Objects of CREATE, ALTER and DROP that belong to the server."""

_PROGRAMS = frozenset({"PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"})
_OBJECTS = (
    _ADMINISTERED
    | _PROGRAMS
    | {
        "TABLE",
        "TABLES",
        "VIEW",
        "INDEX",
        "DATABASE",
        "SCHEMA",
        "SEQUENCE",
        "SPATIAL",
        "PREPARE",
        "TEMPORARY",
    }
)

SYSTEM_SCHEMAS = frozenset({"mysql", "performance_schema", "sys"})


def gate(tokens: Sequence[Token]) -> Gate:
    """`tokens` of a statement that is not empty."""
    head = [token.upper for token in tokens]
    family = _family(tokens)
    verb = head[0] if head[0] != "(" else "SELECT"
    if head[0] in ("CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"):
        verb = f"{head[0]} {created(tokens)}".strip()
    return Gate(family, verb, _administration(tokens, family))


def _family(tokens: Sequence[Token]) -> Family:
    opened = next((index for index, token in enumerate(tokens) if token.text != "("), len(tokens))
    if opened:
        return _family(tokens[opened:]) if opened < len(tokens) else Family.UNKNOWN
    first, second = tokens[0].upper, tokens[1].upper if len(tokens) > 1 else ""
    family = _FAMILIES.get(first, Family.UNKNOWN)
    if first == "BEGIN" and second == "NOT":
        return Family.PROGRAM
    if first == "ANALYZE" and second not in ("TABLE", "TABLES", "LOCAL", "NO_WRITE_TO_BINLOG"):
        return Family.EXPLAIN
    if first == "DROP" and second == "PREPARE":
        return Family.PREPARED
    if first == "EXECUTE" and second == "IMMEDIATE":
        return Family.PREPARED
    if first == "WITH":
        return _after_with(tokens)
    if family is Family.DDL and first in ("CREATE", "ALTER") and created(tokens) in _PROGRAMS:
        return Family.PROGRAM
    return family


def _after_with(tokens: Sequence[Token]) -> Family:
    """WITH … UPDATE and WITH … DELETE (MySQL): the first verb outside of parentheses."""
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.upper in ("SELECT", "UPDATE", "DELETE", "INSERT", "REPLACE"):
            return _FAMILIES[token.upper]
    return Family.SELECT


def created(tokens: Sequence[Token]) -> str:
    """What CREATE, ALTER, DROP … is about: 'TABLE', 'PROCEDURE'; '' when it is not found."""
    if tokens[0].upper == "TRUNCATE":
        return "TABLE"
    for token in tokens[1:24]:
        if token.upper in _OBJECTS and token.upper not in ("TEMPORARY", "SPATIAL"):
            return {"SCHEMA": "DATABASE", "TABLES": "TABLE"}.get(token.upper, token.upper)
    return ""


def _administration(tokens: Sequence[Token], family: Family) -> str | None:
    return (
        _administration_head(tokens)
        or _administered_object(tokens, family)
        or _administration_anywhere(tokens)
        or (_explained_elsewhere(tokens) if family is Family.EXPLAIN else None)
        or (_hidden_administration(tokens) if family is Family.PROGRAM else None)
    )


_BY_FIRST_WORD = {
    first: [head for head in _ADMINISTRATION if head[0] == first] for first in {head[0] for head in _ADMINISTRATION}
}


def _administration_head(tokens: Sequence[Token]) -> str | None:
    for head in _BY_FIRST_WORD.get(tokens[0].upper, ()):
        if starts(tokens, *head):
            return " ".join(head)
    if starts(tokens, "LOAD") and "LOCAL" not in {token.upper for token in tokens[:5]}:
        return "LOAD DATA from a file of the server"
    return None


def _administered_object(tokens: Sequence[Token], family: Family) -> str | None:
    if family not in (Family.DDL, Family.PROGRAM):
        return None
    kind = created(tokens)
    if kind in _ADMINISTERED:
        return f"{tokens[0].upper} {kind}"
    upper = [token.upper for token in tokens[:24]]
    if "SONAME" in {token.upper for token in tokens}:
        return "CREATE FUNCTION … SONAME"
    if "REFERENCE" in upper and "SPATIAL" in upper:
        return "CREATE SPATIAL REFERENCE SYSTEM"
    definers = [index for index, word in enumerate(upper) if word == "DEFINER"]
    if not all(_own_definer(tokens, index) for index in definers):
        return "DEFINER of another account"
    return _storage(tokens)


_ENGINES = frozenset(
    {"INNODB", "MYISAM", "ARIA", "MEMORY", "HEAP", "ARCHIVE", "CSV", "BLACKHOLE", "MERGE", "MRG_MYISAM"}
    | {"ROCKSDB", "TOKUDB", "COLUMNSTORE", "NDB", "NDBCLUSTER", "SEQUENCE", "MROONGA"}
)


def _storage(tokens: Sequence[Token]) -> str | None:
    """Engines that read files or other servers, and directories of the server."""
    for index, token in enumerate(tokens):
        after = [one for one in tokens[index + 1 : index + 3] if one.text != "="][:1]
        if token.upper == "ENGINE" and after and after[0].name.upper() not in _ENGINES:
            return f"storage engine {after[0].name if after[0].is_name else 'by a text'}"
        if token.upper in ("DATA", "INDEX") and after and after[0].upper == "DIRECTORY":
            return f"{token.upper} DIRECTORY"
    return None


def _own_definer(tokens: Sequence[Token], index: int) -> bool:
    """DEFINER = CURRENT_USER. `SQL SECURITY DEFINER` names nobody."""
    after = [token.upper for token in tokens[index + 1 : index + 3]]
    return after[:1] != ["="] or after[1:] == ["CURRENT_USER"]


def _administration_anywhere(tokens: Sequence[Token]) -> str | None:
    for index, token in enumerate(tokens):
        after = tokens[index + 1].text if index + 1 < len(tokens) else ""
        if token.upper == "INTO" and after.upper() in ("OUTFILE", "DUMPFILE"):
            return f"INTO {after.upper()}"
        dotted = index > 0 and tokens[index - 1].text == "."
        if after == "." and not dotted and token.is_name and token.name.lower() in SYSTEM_SCHEMAS:
            return f"access to schema {token.name.lower()}"
    for call in calls(tokens):
        if call.administration:
            return f"{call.upper}()"
    return None


def _explained_elsewhere(tokens: Sequence[Token]) -> str | None:
    """EXPLAIN [FORMAT = …] FOR CONNECTION shows another client's statement, FOR SCHEMA is about another database."""
    for one, other in pairwise(tokens):
        if one.upper == "FOR" and other.upper in ("CONNECTION", "SCHEMA", "DATABASE"):
            return f"EXPLAIN FOR {other.upper}"
    return None


def _hidden_administration(tokens: Sequence[Token]) -> str | None:
    """Inside of a stored program or compound statement any position may begin a statement."""
    for index in range(1, len(tokens)):
        rest = tokens[index : index + 4]
        before = tokens[index - 1].upper
        if rest[0].upper == "HANDLER" and before in ("EXIT", "CONTINUE", "UNDO"):
            continue
        if rest[0].upper and (found := _administration_head(rest)):
            return found
        if rest[0].upper in ("PREPARE", "EXECUTE"):
            return "dynamic SQL in a stored program"
        if rest[0].upper in ("SHOW", "XA", "KILL") and rest[1:2] and rest[1].upper not in ("WARNINGS", "ERRORS"):
            return f"{rest[0].upper} in a stored program"
        if rest[0].upper in ("CREATE", "ALTER", "DROP") and created(tokens[index:]) in _ADMINISTERED:
            return f"{rest[0].upper} {created(tokens[index:])}"
        if rest[0].upper in _GLOBAL_SCOPES or _is_global(rest[0]):
            return "SET GLOBAL"
        if rest[1:2] and rest[1].text in ("=", ":=") and (found := _refused_variable(rest[0])):
            return f"SET {found}"
    return None


_GLOBAL_SCOPES = frozenset({"GLOBAL", "PERSIST", "PERSIST_ONLY"})


def _is_global(token: Token) -> bool:
    scope = token.text[2:].partition(".")[0].upper()
    return token.kind == "system_variable" and scope in _GLOBAL_SCOPES


def _refused_variable(token: Token) -> str | None:
    name = token.text[2:].rpartition(".")[2] if token.kind == "system_variable" else token.name
    known = variable(name)
    return known.name if known.handling is Handling.REFUSED else None
