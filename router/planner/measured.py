"""SHOW TABLE STATUS and SHOW INDEX of a sharded keyspace, and what of information_schema tells the same: shards'
numbers become one server's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from router.engine.assemble import norm_of
from router.engine.recipe import Measured, Part, Recipe, Span
from router.errors import refusal
from router.plan import Scatter
from router.planner.request import Request
from router.tokens import Token
from router.topology import Keyspace, Table, TableKind

_ALIKE = frozenset({"NAME", "ENGINE", "VERSION", "ROW_FORMAT", "COLLATION", "CREATE_OPTIONS", "COMMENT"})
"""Columns of SHOW TABLE STATUS that a table has the same of on every shard."""
_OF_INDEX = frozenset(
    {"TABLE", "NON_UNIQUE", "KEY_NAME", "INDEX_TYPE", "COMMENT", "INDEX_COMMENT", "VISIBLE", "IGNORED"}
)
"""Columns of SHOW INDEX that are the same for all columns of an index."""
_OF_COLUMN = frozenset({"SEQ_IN_INDEX", "COLUMN_NAME", "COLLATION", "SUB_PART", "PACKED", "NULL", "EXPRESSION"})
_WORDS = frozenset({"AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL", "BETWEEN", "TRUE", "FALSE"})


def table_status(request: Request, keyspace: Keyspace, rest: Sequence[Token]) -> Scatter:
    """Raises Refusal when the rows' condition may differ from shard to shard."""
    if not _names(rest) <= _ALIKE:
        raise refusal("SHOW_KIND", "TABLE STATUS with a WHERE of sizes, times or functions", keyspace.name)
    tables = tuple(_part(keyspace, table) for table in keyspace.tables.values())
    shards = tuple(shard.name for shard in keyspace.shards)
    return _measured(request, keyspace, shards, Measured("status", tables))


_FORMS: dict[str, Literal["status", "partitions", "index"]] = {
    "tables": "status", "partitions": "partitions", "statistics": "index",
}  # fmt: skip


def view(request: Request, keyspace: Keyspace, name: str, *, whole: bool) -> Scatter:
    """Rows of information_schema; `whole`: of all columns of an index, if of any."""
    shards = tuple(shard.name for shard in keyspace.shards)
    tables = tuple(_part(keyspace, table) for table in keyspace.tables.values())
    return _measured(request, keyspace, shards, Measured(_FORMS.get(name, "names"), tables, whole))


def names(request: Request, keyspace: Keyspace) -> Scatter:
    """What one of them tells, without Fairlead's own tables."""
    return _measured(request, keyspace, tuple(shard.name for shard in keyspace.shards), Measured("names"))


def same(request: Request, keyspace: Keyspace) -> Scatter:
    """What all shards have to tell alike."""
    return _measured(request, keyspace, tuple(shard.name for shard in keyspace.shards), Measured("same"))


def index(request: Request, keyspace: Keyspace, table: Table, rest: Sequence[Token]) -> Scatter:
    """Of a sharded table. Raises Refusal as `table_status`."""
    names = _names(rest)
    if not names <= _OF_INDEX | _OF_COLUMN:
        raise refusal("SHOW_KIND", "INDEX with a WHERE of cardinalities or functions", keyspace.name)
    part = _part(keyspace, table)
    return _measured(request, keyspace, part.shards, Measured("index", (part,), whole=names <= _OF_INDEX))


def _measured(request: Request, keyspace: Keyspace, shards: tuple[str, ...], measured: Measured) -> Scatter:
    pieces = (Span(0, len(request.tokens) - 1),)
    norm = norm_of(pieces, request.norm, request.tokens, request.context.mode)
    return Scatter(keyspace.name, shards, merge=Recipe(pieces, norm=norm, tokens=request.tokens, measured=measured))


def _part(keyspace: Keyspace, table: Table) -> Part:
    held = set(table.shards)
    shards = tuple(shard.name for shard in keyspace.shards if shard.index in held)
    return Part(table.name, shards, table.kind is not TableKind.SHARDED, table.columns)


def _names(rest: Sequence[Token]) -> set[str]:
    """What a WHERE clause names: columns, and whatever else is no literal, comparison or word of `_WORDS`."""
    start = next((at for at, token in enumerate(rest) if token.upper == "WHERE"), len(rest))
    found = set()
    for token in rest[start + 1 :]:
        if token.kind in ("user_variable", "system_variable") or (token.is_name and token.upper not in _WORDS):
            found.add(token.name.upper())
    return found
