"""Ids written into the text of an INSERT: literals, or parameters of a prepared statement.

`survey` finds the rows of one execution that want an id, as a server would: those whose AUTO_INCREMENT column is left
out, NULL, DEFAULT or, unless sql_mode says otherwise, 0. `written` puts them there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from _speedups import lexer
from _speedups.lexer import LiteralSlot
from router.engine.assemble import Outgoing, parameters
from router.errors import Refusal, refusal
from router.ids import Ids
from router.keys import Unpinnable
from router.literals import value
from router.plan import Numbered, RowTokens
from router.policy.splices import token_places
from router.route import Execution
from router.template import literal_slots
from router.tokens import quoted
from router.topology import Table


@dataclass(frozen=True, slots=True)
class Spot:
    """A row's place for an id: it takes the place of [start, end), with `before` in front of it and `after` behind."""

    start: int
    end: int
    before: bytes = b""
    after: bytes = b""


@dataclass(frozen=True, slots=True)
class Survey:
    """`spots`: of the rows that want an id, in order; `rows`: how many there are in all. `head`: where the column is
    put into the list of columns, and as what."""

    spots: tuple[Spot, ...]
    rows: int
    head: tuple[int, bytes] | None


def table_of(plan: Numbered, execution: Execution) -> tuple[Table, Ids]:
    keyspace = execution.topology.keyspace(plan.keyspace)
    table = keyspace.table(plan.table) if keyspace is not None else None
    if table is None or table.ids is None:
        raise refusal("INTERNAL", "ids for a table that has none")
    return table, table.ids


def survey(plan: Numbered, execution: Execution, *, zero_is_kept: bool) -> Survey:
    """Raises Refusal for values that Fairlead may not or cannot look after."""
    places = _places(plan, execution)
    column = quoted(table_of(plan, execution)[1].column).encode()
    head = None
    if plan.head is not None:
        head = places[plan.head][0], (b"" if plan.alone else b",") + column
    if plan.rows_slot is not None:
        found = list(_of_slot(plan, execution, plan.rows_slot, zero_is_kept))
    else:
        found = [_of_tokens(plan, execution, one, places, column, zero_is_kept) for one in plan.rows]
    spots = tuple(one for one in found if one is not None)
    if plan.one_row and spots and len(found) > 1:
        raise refusal("AUTO_INCREMENT_UPSERT", plan.table)
    return Survey(spots, len(found), head)


def _places(plan: Numbered, execution: Execution) -> dict[int, tuple[int, int]]:
    wanted = {at for row in plan.rows for at in (row.first, row.last, row.end) if at >= 0}
    if plan.head is not None:
        wanted.add(plan.head)
    return token_places(execution.sql, execution.lexed, plan.tokens, wanted, execution.mode)


def _of_slot(plan: Numbered, execution: Execution, number: int, zero_is_kept: bool) -> Iterator[Spot | None]:
    sql, mode, slot = execution.sql, execution.mode, execution.lexed.slots[number]
    if plan.position is None:
        comma = b"" if plan.alone else b","
        for start, length in lexer.row_spans(sql, mode, slot):
            yield Spot(start + length - 1, start + length - 1, comma)
        return
    for item in lexer.row_items(sql, mode, slot, plan.position):
        fresh = _is_fresh(plan, execution, item, zero_is_kept)
        yield Spot(item.offset, item.offset + item.length) if fresh else None


def _of_tokens(
    plan: Numbered, execution: Execution, row: RowTokens, places: dict[int, tuple[int, int]], column: bytes,
    zero_is_kept: bool,
) -> Spot | None:  # fmt: skip
    if row.first < 0:
        if plan.assigns:
            return Spot(places[row.end][1], places[row.end][1], b" " + column + b"=", b",")
        return Spot(places[row.end][0], places[row.end][0], b"" if plan.alone else b",")
    start, end = places[row.first][0], places[row.last][1]
    token = plan.tokens[row.first]
    if row.first == row.last and token.kind == "literal":
        item = execution.lexed.slots[literal_slots(execution.lexed)[token.literal]]
    else:
        kind = lexer.NULL_WORD if token.upper == "NULL" and row.first == row.last else lexer.NONE
        item = LiteralSlot(kind, start, end - start)
    return Spot(start, end) if _is_fresh(plan, execution, item, zero_is_kept) else None


def _is_fresh(plan: Numbered, execution: Execution, item: LiteralSlot, zero_is_kept: bool) -> bool:
    """Does the server, and so Fairlead, make a value in place of this one? Raises Refusal."""
    table, ids = table_of(plan, execution)
    if item.kind == lexer.NONE:
        if execution.sql[item.offset : item.offset + item.length].upper() == b"DEFAULT":
            return True
        raise _unclear(table, ids, "an expression")
    try:
        given = value(execution.sql, item, execution.mode, execution.params, execution.charset)
    except Unpinnable as reason:
        raise _unclear(table, ids, str(reason)) from None
    if given is None:
        return True
    if isinstance(given, str) and given.isascii() and given.isdigit():
        given = int(given)
    if not isinstance(given, int | float | Decimal):
        raise _unclear(table, ids, "something that is not a number")
    if given == 0 and not zero_is_kept:
        return True
    if not ids.explicit:
        raise refusal("AUTO_INCREMENT_EXPLICIT", ids.column, table.name)
    return False


def _unclear(table: Table, ids: Ids, what: str) -> Refusal:
    return refusal("AUTO_INCREMENT_VALUE", ids.column, table.name, what)


# --- writing ---------------------------------------------------------------------------------------------


def written(execution: Execution, found: Survey, first: int, *, prepared: bool, tells: bool = False) -> Outgoing:
    """The text with the ids from `first` on in it. Of a prepared statement they are parameters, -1 the first of them.

    `tells`: the server is made to tell the first one as its insert id.
    """
    sql = execution.sql
    pieces: list[bytes] = []
    params: list[int] = []
    marks = parameters(sql, execution.mode) if execution.lexed.params else []
    at = 0
    for start, end, put, number in _cuts(found, first, prepared, tells):
        pieces += (sql[at:start], put)
        params += _between(marks, at, start)
        params += [number] if number is not None else []
        at = end
    params += _between(marks, at, len(sql))
    return Outgoing(b"".join((*pieces, sql[at:])), tuple(params))


def _cuts(found: Survey, first: int, prepared: bool, tells: bool) -> Iterator[tuple[int, int, bytes, int | None]]:
    if found.head is not None:
        yield found.head[0], found.head[0], found.head[1], None
    for index, spot in enumerate(found.spots):
        number = b"?" if prepared else b"%d" % (first + index)
        if tells and index == 0:
            number = b"LAST_INSERT_ID(" + number + b")"
        yield spot.start, spot.end, spot.before + number + spot.after, -1 - index if prepared else None


def _between(marks: Sequence[int], start: int, end: int) -> range:
    """The numbers of the parameters that stand there."""
    return range(bisect_left(marks, start), bisect_left(marks, end))
