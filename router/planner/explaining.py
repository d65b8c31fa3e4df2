"""EXPLAIN and DESCRIBE: of a route, of a table, of a statement."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from router.errors import refusal
from router.plan import AnyShard, ByKey, OneShard, Planned, Refuse, Scatter, ShowRoute
from router.planner import show
from router.planner.request import Draft, Request
from router.template import NotUnderstood
from router.tokens import Token, words

_BLANK = rb"(?:\s|/\*(?!!|M!).*?\*/|--[^\n]*\n|#[^\n]*\n)"
_ROUTE = re.compile(rb"(?is)\A" + _BLANK + rb"*explain" + _BLANK + rb"+route" + _BLANK + rb"+")
_STATEMENTS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "TABLE", "VALUES", "("})


def plan(request: Request, statement: Callable[[Request], Planned]) -> Planned:
    """`statement` plans a request as a statement of its own."""
    rest = request.tokens[1:]
    if words(rest, 1) == ("ROUTE",) and len(rest) > 1:
        return _route(request)
    position = _statement(rest)
    if position is not None:
        return _explained(request, rest[position:], statement)
    return _table(request, rest)


def _route(request: Request) -> Planned:
    found = _ROUTE.match(bytes(request.sql))
    if found is None:
        raise NotUnderstood("EXPLAIN ROUTE inside of a conditional comment")
    draft = Draft(request, "explain", cacheable=False)
    return draft.done(ShowRoute(request.sql[found.end() :]))


def _statement(rest: Sequence[Token]) -> int | None:
    """Where the explained statement begins: after FORMAT = …, ANALYZE, EXTENDED, PARTITIONS."""
    index = 0
    while index < len(rest):
        token = rest[index]
        if token.upper in _STATEMENTS:
            return index
        if token.upper in ("FORMAT", "ANALYZE", "EXTENDED", "PARTITIONS"):
            index += 3 if token.upper == "FORMAT" and words(rest[index + 1 :], 1) == ("=",) else 1
        else:
            return None
    return None


def _explained(request: Request, rest: Sequence[Token], statement: Callable[[Request], Planned]) -> Planned:
    """The statement's own route, when that is one shard; each shard would explain itself otherwise."""
    inner = statement(_inside(request, rest))
    facts = replace(inner.facts, verb="explain")
    if isinstance(inner.plan, ByKey):
        keyed = replace(inner.plan, otherwise=Refuse("EXPLAIN_SCATTER"))
        return replace(inner, plan=keyed, facts=facts)
    if isinstance(inner.plan, OneShard | AnyShard | Refuse):
        return replace(inner, facts=facts)
    if isinstance(inner.plan, Scatter) and len(inner.plan.shards) == 1:
        return replace(inner, plan=OneShard(inner.plan.shards[0]), facts=facts)
    raise refusal("EXPLAIN_SCATTER")


def _inside(request: Request, rest: Sequence[Token]) -> Request:
    """The request without its head. Slots keep their numbers, since positions in norm do not move."""
    return replace(request, tokens=tuple(rest))


def _table(request: Request, rest: Sequence[Token]) -> Planned:
    """DESCRIBE [db.]t [column | 'pattern']"""
    if len(rest) >= 3 and rest[1].text == "." and rest[0].is_name and rest[2].is_name:
        return show.describe(request, rest[0].name, rest[2].name)
    if rest and rest[0].is_name and len(rest) <= 2:
        return show.describe(request, None, rest[0].name)
    raise NotUnderstood("EXPLAIN of this")
