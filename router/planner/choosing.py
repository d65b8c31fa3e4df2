"""UPDATE and DELETE with LIMIT over several shards: which of a shard's rows are among the first of all.

Each shard changes the first of its own rows, in the client's order; only how many has to be known. That is asked by a
SELECT of the same rows in the same order, which locks them; without ORDER BY any rows will do, and the shards change
theirs one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.words import MultiShardWrites
from router.engine.assemble import norm_of
from router.engine.recipe import Piece, Script, ShardLimit, Span
from router.errors import refusal
from router.plan import Chosen, Key
from router.planner.clauses import Range, clauses_of_write, split_range
from router.planner.limits import limit_of
from router.planner.merging import Edit, edited
from router.planner.parsed import Parsed
from router.planner.placement import Placement
from router.planner.request import Draft, Request
from router.tokens import Token


def plan(
    request: Request, parsed: Parsed, placement: Placement, draft: Draft, keys: tuple[Key, ...] | None, *, clock: bool
) -> Chosen:
    """Raises Refusal."""
    tokens, verb = _without_end(request.tokens), draft.verb.upper()
    if why := _problem(request, parsed, placement, tokens):
        raise refusal("WRITE_LIMIT", verb, why)
    clauses = clauses_of_write(tokens)
    limit = limit_of(tokens, request.lexed, clauses.get("LIMIT"))
    if limit is None or limit.offset is not None:
        raise refusal("WRITE_LIMIT", verb, "LIMIT")
    begin = clauses["LIMIT"][0] - 1
    pieces = edited(tokens, [Edit((begin, len(tokens)), ("LIMIT", ShardLimit()))])
    text = Script(pieces, norm_of(pieces, request.norm, request.tokens, request.context.mode), request.tokens)
    read = tuple(_read(tokens, clauses)) if "ORDER" in clauses else ()
    draft.because(
        "the shards' rows are locked in the client's order, and each changes those that are among the first of all"
        if read
        else "without ORDER BY any rows will do, so one shard after the other changes its own"
    )
    vindex = placement.vindex.name if keys is not None else None
    name = placement.keyspace.name
    return Chosen(name, placement.shards, vindex, keys, draft.verb == "update", limit.count, text, read, clock)


def _problem(request: Request, parsed: Parsed, placement: Placement, tokens: Sequence[Token]) -> str:
    if placement.keyspace.multi_shard_writes is not MultiShardWrites.ATOMIC or request.context.bound:
        return "LIMIT"
    if len(parsed.tables()) > 1 or any(query.subqueries for query in parsed.queries()):
        return "LIMIT, and looks at several tables,"
    if parsed.template.modifiers & {"IGNORE"}:
        return "LIMIT and IGNORE"
    if tokens[0].upper not in ("UPDATE", "DELETE"):
        return "LIMIT behind WITH"
    return ""


def _without_end(tokens: Sequence[Token]) -> tuple[Token, ...]:
    end = len(tokens)
    while end and tokens[end - 1].text == ";":
        end -= 1
    return tuple(tokens[:end])


def _read(tokens: Sequence[Token], clauses: dict[str, Range]) -> list[Piece]:
    """The same rows in the same order, locked. Raises Refusal where ORDER BY means something else in a SELECT."""
    for first, end in split_range(tokens, clauses["ORDER"]):
        if tokens[first].kind in ("literal", "number") and end - first <= 2:
            raise refusal("WRITE_LIMIT", tokens[0].upper, "LIMIT and ORDER BY a constant")
    table, order, limit = clauses[""], clauses["ORDER"], clauses["LIMIT"]
    begin = clauses["WHERE"][0] - 1 if "WHERE" in clauses else order[0] - 2
    return [Span(table[0], table[1] - 1), Span(begin, limit[1] - 1)]


