"""INSERT … SELECT and REPLACE … SELECT whose rows come from other shards than they go to: read, then written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from config.words import MultiShardWrites
from router.engine.recipe import Span
from router.engine.storing import Stored, stored_as
from router.errors import Refusal, refusal
from router.plan import Transfer
from router.planner.placement import Placement
from router.planner.request import Draft
from router.tokens import Token, quoted

if TYPE_CHECKING:
    from router.planner.insert import Row


def plan(row: Row, placement: Placement, draft: Draft, names: Sequence[str], *, clock: bool) -> Transfer:
    """Raises Refusal."""
    tokens = row.request.tokens
    first, end = _select(tokens)
    why = next(_problems(row, placement, tokens, first), None)
    if why is not None:
        raise _refused(row, why)
    columns = tuple(_columns(row, names))
    verb = f"{row.verb} IGNORE" if row.upserts else row.verb
    table = f"{quoted(row.table.keyspace)}.{quoted(row.table.name)}"
    head = f"{verb} INTO {table} ({', '.join(quoted(column.name) for column in columns)}) VALUES "
    vindex = row.table.vindex
    assert vindex is not None
    held = set(vindex.shards)
    shards = tuple(shard.name for shard in placement.keyspace.shards if shard.index in held)
    keys = tuple(names.index(column.lower()) for column in row.table.columns)
    draft.because("the rows are read, locked, and written to their shards in the same transaction")
    return Transfer(
        placement.keyspace.name, row.table.name, shards, vindex.name, keys, row.columns, columns,
        head, Span(first, end), row.upserts, clock, tokens,
    )  # fmt: skip


def _refused(row: Row, why: str) -> Refusal:
    return refusal("INSERT_SELECT", row.verb, row.table.name, why)


def _select(tokens: Sequence[Token]) -> tuple[int, int]:
    """The first and the last token of the query, outside of all parentheses; (-1, -1) where there is none."""
    depth, end = 0, len(tokens)
    while tokens[end - 1].text == ";":
        end -= 1
    for at, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.upper in ("SELECT", "WITH"):
            return (at, end - 1) if token.upper == "SELECT" and at else (-1, -1)
    return -1, -1


def _problems(row: Row, placement: Placement, tokens: Sequence[Token], first: int) -> Iterator[str]:
    tree, live = row.tree, row.target.live
    if placement.keyspace.multi_shard_writes is not MultiShardWrites.ATOMIC:
        yield "multi_shard_writes of the keyspace is not atomic, so rows cannot be read and written in one"
    if row.request.context.bound or first < 0:
        yield "its query cannot be asked by itself"
    if tree.args.get("conflict") is not None:
        yield "ON DUPLICATE KEY UPDATE would look at the rows that are read"
    if tree.args.get("returning") is not None:
        yield "it has RETURNING"
    schema = row.request.context.schemas.get(placement.keyspace.name)
    if live is None or schema is None or schema.drifting.get(row.table.name):
        yield "its table is not known, or not the same on all shards"
    elif any(column.auto_increment for column in live.columns):
        yield "it has an AUTO_INCREMENT column, of which the last id would have to be told"
    query = row.parsed.query
    items = query.tree.expressions if query is not None and isinstance(query.tree, exp.Select) else ()
    if not items or (query is not None and query.arms):
        yield "it selects from a set operation"
    if any(item.find(exp.Avg, exp.Div) is not None for item in items):
        # A server stores them with more digits than it shows.
        yield "a quotient or mean has more digits than are read"


def _columns(row: Row, names: Sequence[str]) -> Iterator[Stored]:
    """Raises Refusal."""
    live = row.target.live
    assert live is not None
    for name in names:
        column = live.column(name)
        stored = stored_as(column) if column is not None and not column.generated else None
        if stored is None:
            raise _refused(row, f"what is stored in column {name} cannot be told to be the same when it is read first")
        yield stored
