"""EXPLAIN and DESCRIBE: of a route, of a table, of a statement."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from router.engine.assemble import norm_of
from router.engine.recipe import Explained, Piece, Recipe, Span
from router.errors import refusal
from router.plan import AnyShard, ByKey, ByLookup, Keep, MultiWrite, OneShard, Plan, Planned, Refuse, Scatter, ShowRoute
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
    """The statement's own route; each of several shards explains what it would be asked."""
    inner = statement(_inside(request, rest))
    facts = replace(inner.facts, verb="explain")
    found = _ANSWERED_BY.get(type(inner.plan), _itself)(inner.plan)
    executes = any(token.upper == "ANALYZE" for token in request.tokens[: len(request.tokens) - len(rest)])
    if executes and isinstance(inner.plan, Keep):
        raise refusal("EXPLAIN_SCATTER", "ANALYZE would carry it out")
    if isinstance(found, ByKey):
        otherwise = _at_several(request, rest, found.otherwise, executes=executes)
        return replace(inner, plan=replace(found, otherwise=otherwise), facts=facts)
    if isinstance(found, OneShard | AnyShard | Refuse):
        return replace(inner, plan=found, facts=facts)
    if isinstance(found, Scatter) and len(found.shards) == 1:
        return replace(inner, plan=OneShard(found.shards[0]), facts=facts)
    several = _at_several(request, rest, found, executes=executes)
    if isinstance(several, Refuse):
        raise refusal(several.entry, *several.args)
    facts = replace(facts, writes=False, reads=True, replica_ok=False)
    return replace(inner, plan=several, facts=facts, reasons=(*inner.reasons, "each shard has a plan of its own"))


def _itself(plan: Plan) -> Plan:
    return plan


_ANSWERED_BY: dict[type, Callable[[Any], Plan]] = {
    Keep: lambda plan: plan.write,
    ByLookup: lambda plan: plan.otherwise,
}
"""What is explained of plans that do more than the statement."""


def _at_several(request: Request, rest: Sequence[Token], plan: Plan, *, executes: bool) -> Scatter | Refuse:
    """The plans of what each of several shards would be asked, one shard's behind the other's."""
    if isinstance(plan, Refuse):
        return plan
    if not isinstance(plan, Scatter | MultiWrite):
        return Refuse("EXPLAIN_SCATTER", ("it is not carried out by one statement on each of them",))
    if executes and isinstance(plan, MultiWrite):
        return Refuse("EXPLAIN_SCATTER", ("ANALYZE would carry it out",))
    head = len(request.tokens) - len(rest)
    merge = plan.merge if isinstance(plan, Scatter) else None
    asked = merge.pieces if merge is not None else (Span(0, len(rest) - 1),)
    pieces = (Span(0, head - 1), *(_moved(piece, head) for piece in asked))
    norm = norm_of(pieces, request.norm, request.tokens, request.context.mode)
    limit = merge.limit if merge is not None else None
    explained = Explained(executes)
    recipe = Recipe(pieces, limit=limit, norm=norm, tokens=request.tokens, explained=explained)
    return Scatter(plan.keyspace, plan.shards, plan.vindex, plan.keys, recipe)


def _moved(piece: Piece, by: int) -> Piece:
    return Span(piece.first + by, piece.last + by) if isinstance(piece, Span) else piece


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
