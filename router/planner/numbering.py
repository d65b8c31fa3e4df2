"""INSERT into a table whose AUTO_INCREMENT column Fairlead fills: where in the statement the ids are to be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from _speedups import lexer
from router.errors import refusal
from router.plan import Numbered, Plan, RowTokens
from router.planner.placement import Placement
from router.planner.request import Draft
from router.template import NotUnderstood
from router.tokens import Token, closings

if TYPE_CHECKING:
    from router.planner.insert import Row

_AFTER_ROWS = frozenset({"ON", "AS", "RETURNING"})


def plan(row: Row, placement: Placement, draft: Draft) -> Plan:
    """Raises Refusal where no ids can be given, NotUnderstood for other forms than VALUES and SET."""
    table, ids, request = row.table, row.table.ids, row.request
    assert ids is not None
    region = request.context.topology.region.name
    if region not in ids.sequences:
        raise refusal("AUTO_INCREMENT_ELSEWHERE", table.name, region, ", ".join(ids.sequences))
    if row.parsed.query is not None:
        raise refusal("AUTO_INCREMENT_SELECT", row.verb, table.name)
    if not isinstance(row.tree.expression, exp.Values):
        raise NotUnderstood(f"{row.verb} without VALUES")
    draft.because(f"the ids of {table.name}.{ids.column} come from a sequence on {ids.sequences[region].shard}")
    return _numbered(row, placement, ids.column.lower())


def _numbered(row: Row, placement: Placement, column: str) -> Numbered:
    tokens, names = row.request.tokens, row.names()
    begin = next(_begins(tokens), len(tokens))
    assigns = begin < len(tokens) and tokens[begin].upper == "SET"
    position = names.index(column) if column in names else None
    head = None
    if position is None and not assigns:
        if not isinstance(row.tree.this, exp.Schema):
            raise NotUnderstood("INSERT without a list of columns into a table that hides its id")
        head = begin - 1
    slot = None if assigns else _rows_slot(row, tokens[begin + 1 : begin + 2])
    rows: tuple[RowTokens, ...] = ()
    if assigns:
        rows = (_assigned(tokens, begin, names, position),)
    elif slot is None:
        rows = tuple(_rows(tokens, begin + 1, position))
    return Numbered(
        placement.keyspace.name, row.table.name, placement.shards, slot, position, rows, head, not names, assigns,
        row.upserts, tokens,
    )  # fmt: skip


def _begins(tokens: Sequence[Token]) -> Iterator[int]:
    """Where the rows or assignments begin."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.upper in ("VALUES", "VALUE", "SET"):
            yield index


def _rows_slot(row: Row, first: Sequence[Token]) -> int | None:
    slots = enumerate(row.request.lexed.slots)
    return next((at for at, one in slots if one.kind == lexer.ROWS and first and one.at == first[0].at), None)


def _rows(tokens: Sequence[Token], at: int, position: int | None) -> Iterator[RowTokens]:
    closed = closings(tokens)
    while at < len(tokens) and tokens[at].upper not in _AFTER_ROWS and tokens[at].text != ";":
        if tokens[at].text == "(":
            end = closed[at]
            first, last = _item(tokens, at + 1, end, position) if position is not None else (-1, -1)
            yield RowTokens(first, last, end)
            at = end
        at += 1


def _item(tokens: Sequence[Token], begin: int, end: int, position: int) -> tuple[int, int]:
    """The first and the last token of a row's value. Raises Refusal when there are too few."""
    depth, first = 0, begin
    for index in range(begin, end + 1):
        text = tokens[index].text
        depth += (text == "(") - (text == ")" and index < end)
        if depth == 0 and (text == "," or index == end):
            if position == 0:
                return first, index - 1
            position, first = position - 1, index + 1
    raise NotUnderstood("rows of different lengths")


def _assigned(tokens: Sequence[Token], begin: int, names: Sequence[str], position: int | None) -> RowTokens:
    """Of INSERT … SET a = 1, b = 2."""
    if position is None:
        return RowTokens(-1, -1, begin)
    end = next((at for at, token in enumerate(tokens) if at > begin and token.upper in _AFTER_ROWS), len(tokens))
    while tokens[end - 1].text == ";":
        end -= 1
    first, last = _item((*tokens[:end], Token("op", ")", ")", -1)), begin + 1, end, position)
    while first < last and tokens[first].text != "=":
        first += 1
    if first >= last or len(names) <= position:
        raise NotUnderstood("an assignment of this form")
    return RowTokens(first + 1, last, begin)
