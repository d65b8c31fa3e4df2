"""What is answered without a backend: SELECT of what the session itself knows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from _speedups import lexer
from router import literals
from router.plan import Fact, Planned, SessionColumn, SessionValue
from router.planner.request import Draft, Request
from router.template import literal_slots
from router.tokens import Token, split, starts

_FUNCTIONS: dict[str, Fact] = {
    "DATABASE": "database",
    "SCHEMA": "database",
    "CONNECTION_ID": "connection_id",
    "USER": "user",
    "SESSION_USER": "user",
    "SYSTEM_USER": "user",
    "CURRENT_USER": "current_user",
    "LAST_INSERT_ID": "last_insert_id",
    "ROW_COUNT": "row_count",
    "FOUND_ROWS": "found_rows",
    "VERSION": "version",
}
_VARIABLES: dict[str, Fact] = {
    "version": "version",
    "version_comment": "version_comment",
    "last_insert_id": "last_insert_id",
    "identity": "last_insert_id",
    "warning_count": "warning_count",
    "error_count": "error_count",
    "pseudo_thread_id": "connection_id",
}


def plan(request: Request) -> Planned | None:
    """None when the statement is anything more than a list of such values."""
    tokens = request.tokens
    if not starts(tokens, "SELECT") or request.lexed.flags & lexer.VERSION_COMMENT:
        return None
    body = _without_limit(request, tokens[1:])
    if body is None:
        return None
    facts = [_fact(item) for item in split(body)]
    if None in facts:
        return None
    labels = _labels(bytes(request.sql), len(facts))
    if labels is None:
        return None
    columns = tuple(
        SessionColumn(fact, _alias(item) or label, item[0].kind == "system_variable")
        for fact, item, label in zip(facts, split(body), labels, strict=True)
        if fact is not None
    )
    # The label is the text between the commas, white space and all, which the template does not keep.
    draft = Draft(request, "select", cacheable=False)
    draft.because("the session knows it")
    return draft.done(SessionValue(columns))


def _without_limit(request: Request, tokens: Sequence[Token]) -> Sequence[Token] | None:
    """The select list; LIMIT 1 or more changes nothing. None when there is more to the statement."""
    if len(tokens) > 2 and tokens[-2].upper == "LIMIT" and tokens[-1].kind == "literal":
        slot = request.lexed.slots[literal_slots(request.lexed)[tokens[-1].literal]]
        if slot.kind != lexer.INT or literals.value(request.sql, slot, request.context.mode) == 0:
            return None
        return tokens[:-2]
    return tokens


def _fact(item: Sequence[Token]) -> Fact | None:
    """FUNCTION() or @@variable, with at most an alias."""
    if not item:
        return None
    head, rest = item[0], item[1:]
    if head.kind == "system_variable":
        scope, _, name = head.text[2:].lower().rpartition(".")
        fact = _VARIABLES.get(name) if scope in ("", "session", "local") else None
    elif head.kind == "word" and head.upper in _FUNCTIONS:
        fact = _FUNCTIONS[head.upper]
        if [token.text for token in rest[:2]] == ["(", ")"]:
            rest = rest[2:]
        elif head.upper != "CURRENT_USER":
            return None
    else:
        return None
    return fact if _is_alias(rest) else None


def _is_alias(rest: Sequence[Token]) -> bool:
    rest = rest[1:] if rest and rest[0].upper == "AS" else rest
    return not rest or (len(rest) == 1 and rest[0].is_name and rest[0].upper not in ("FROM", "INTO", "LIMIT"))


def _alias(item: Sequence[Token]) -> str | None:
    return item[-1].name if len(item) > 1 and item[-1].is_name else None


_SELECT = re.compile(rb"(?is)\A(?:\s|/\*(?!!|M!).*?\*/|--[^\n]*\n|#[^\n]*\n)*select\s+(.*?)[\s;]*\Z")
_LIMIT = re.compile(rb"(?is)\s+limit\s+\d+\Z")


def _labels(sql: bytes, count: int) -> list[str] | None:
    """The items' own texts. None when comments or quotes make that more than a split."""
    found = _SELECT.match(sql)
    if found is None:
        return None
    body = _LIMIT.sub(b"", found[1])
    parts = [part.strip().decode("utf-8", "replace") for part in body.split(b",")]
    return parts if len(parts) == count and b"/*" not in body and b"--" not in body else None
