"""The token gate of the policy: what a statement may be, for a subject to whom not everything is open.

Decided from words and family, so it holds for what no parser understands. SELECT, INSERT, UPDATE and DELETE that
could mean a closed table are followed to the last column; of the rest, a few forms are known to tell nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from _speedups import lexer
from router import plan as plans
from router.errors import refusal
from router.functions import calls
from router.gate import Family, Gate
from router.planner.metadata import TOLD
from router.planner.views import MEASURED
from router.policy.decide import RESERVED
from router.policy.reach import Reach
from router.relations import SYSTEM
from router.tokens import Token, version_comments

FOLLOWED = frozenset({Family.SELECT, Family.INSERT, Family.UPDATE, Family.DELETE})
_QUERIES = frozenset({"SELECT", "TABLE", "WITH", "VALUES"})
_HARMLESS = frozenset({Family.TRANSACTION, Family.USE, Family.XA, Family.KILL})
_OPAQUE = {
    Family.CALL: "a stored procedure",
    Family.PROGRAM: "a stored program",
    Family.PREPARED: "a statement in a text of the server",
    Family.HANDLER: "HANDLER",
    Family.UNKNOWN: "a statement of an unknown kind",
}
_SHOWN = frozenset(
    {"DATABASES", "SCHEMAS", "TABLES", "COLUMNS", "FIELDS", "VARIABLES", "CHARACTER", "CHARSET", "COLLATION", "ENGINES"}
    | {"STORAGE", "GRANTS", "COUNT", "PRIVILEGES", "PLUGINS"}
)
"""SHOW commands that tell names and settings only. (SHOW WARNINGS repeats the error texts that are kept back.)"""


_HINT = re.compile(r"/\*\+(.*?)\*/", re.DOTALL)
_INDEXED = re.compile("INDEX|SKIP_SCAN", re.IGNORECASE)
"""Hints by which a server passes over IGNORE INDEX, in whatever query block they are written."""


def check(gated: Gate, tokens: Sequence[Token], flags: int, norm: str, plan: plans.Plan, within: Reach) -> None:
    """Raises Refusal for a form that could tell of restricted data, whatever tables it is about."""
    if not within.closed:
        return
    if any(token.is_name and token.name.lower().startswith(RESERVED) for token in tokens):
        raise refusal("POLICY_FORM", f"names that begin with {RESERVED} are Fairlead's")
    if gated.administration is not None:
        raise refusal("POLICY_BETRAYS", gated.administration)
    named = within.names_closed(tokens)
    if named and (flags & lexer.VERSION_COMMENT or version_comments(norm)):
        raise refusal("POLICY_OPAQUE", "an executable comment", "some servers run it and others do not")
    if named and flags & lexer.OPTIMIZER_HINT and any(_INDEXED.search(one[1]) for one in _HINT.finditer(norm)):
        raise refusal("POLICY_BETRAYS", "an optimizer hint about indexes")
    _check_calls(_expressions(gated.family, tokens))
    _check_family(gated, tokens, plan, named)
    _check_measures(tokens)


def _check_family(gated: Gate, tokens: Sequence[Token], plan: plans.Plan, named: bool) -> None:
    family = gated.family
    if family in FOLLOWED or family in _HARMLESS or isinstance(plan, plans.ShowRoute | plans.ShowFairlead):
        return
    if family in _OPAQUE:
        raise refusal("POLICY_OPAQUE", gated.verb, f"{_OPAQUE[family]} is not followed")
    if family is Family.SHOW:
        _check_show(tokens)
    elif family is Family.EXPLAIN:
        if named and any(token.upper in _STATEMENTS for token in tokens[1:]):
            raise refusal("POLICY_BETRAYS", "EXPLAIN, whose estimates come from the data,")
    elif family is Family.SET or family is Family.DO:
        if named or any(token.upper in _QUERIES for token in tokens):
            raise refusal("POLICY_OPAQUE", gated.verb, "a query within it is not followed")
    elif named:
        raise refusal("POLICY_OPAQUE", gated.verb, "it names a table that is not open to the user")


_STATEMENTS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "TABLE", "VALUES"})


def _check_show(tokens: Sequence[Token]) -> None:
    rest = [token for token in tokens[1:4] if token.upper not in ("FULL", "EXTENDED", "SESSION", "LOCAL", "GLOBAL")]
    head = rest[0].upper if rest else ""
    if head not in _SHOWN:
        raise refusal("POLICY_BETRAYS", f"SHOW {head}".strip())


def _expressions(family: Family, tokens: Sequence[Token]) -> Sequence[Token]:
    """Where a statement may call a function: a definition only in its query, as its column lists look like calls."""
    if family is Family.CALL:
        return ()  # refused whatever it calls
    if family is not Family.DDL:
        return tokens
    start = next((index for index, token in enumerate(tokens) if token.upper in ("SELECT", "WITH", "VALUES")), None)
    return () if start is None else tokens[start:]


def _check_calls(tokens: Sequence[Token]) -> None:
    for call in calls(tokens):
        if not call.built_in or call.schema is not None:
            raise refusal("POLICY_OPAQUE", f"{call.name}()", "what a stored function reads is not followed")


def _check_measures(tokens: Sequence[Token]) -> None:
    """information_schema: names and types, but no sizes. Raises Refusal."""
    words = [token.name.lower() for token in tokens if token.is_name]
    if SYSTEM not in words:
        return
    for index, token in enumerate(tokens[:-2]):
        if token.is_name and token.name.lower() == SYSTEM and tokens[index + 1].text == ".":
            table = tokens[index + 2].name.lower()
            if table not in TOLD:
                raise refusal("POLICY_BETRAYS", f"{SYSTEM}.{table}")
    measured = set().union(*(columns for table, columns in MEASURED.items() if table in words))
    star = any(token.text == "*" and tokens[index - 1].text != "(" for index, token in enumerate(tokens))
    if measured and (star or not measured.isdisjoint(words)):
        raise refusal("POLICY_BETRAYS", "what information_schema measures")
