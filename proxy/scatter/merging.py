"""A merged read: cursors over the shards' answers, the engine's primitives between them and the client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from _speedups.rows import Funnel, Groups, RowTooLong, Shape
from proxy.result_set import Head, ResultSet, alike
from proxy.scatter.computing import Ask, Computer, Original
from proxy.scatter.cursors import LeaseCursor, ShardError
from proxy.scatter.labelling import label
from router.engine import stream
from router.engine.budget import Budget
from router.engine.columns import Column
from router.engine.having import Having, Number
from router.engine.measuring import Measures, measure
from router.engine.recipe import COMPUTED, Condition, Grouping, Recipe
from router.engine.typed import Typed, keys_of
from router.errors import Refusal, refusal
from router.keys import Unpinnable
from router.literals import Params, value
from router.text import Text

DRAIN_BYTES = 1 << 20
"""What is left of an answer that nobody needs is read to its end up to this; beyond, the connection is closed."""
DRAIN_SECONDS = 1.0
OUT_OF_RANGE = 1690
"""ER_DATA_OUT_OF_RANGE"""
MOST_ROWS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """LIMIT of one execution: rows that are left out, rows that come (None: all); and the numbers of HAVING."""

    offset: int = 0
    count: int | None = None
    having: tuple[Number, ...] = ()

    def of_shard(self, *, whole: bool) -> int:
        """The LIMIT of each shard."""
        return MOST_ROWS if whole or self.count is None else min(self.offset + self.count, MOST_ROWS)


def bounds_of(recipe: Recipe, sql: Text, found: Any, mode: int, params: Params) -> Bounds:
    """Raises Refusal for what is no number."""
    conditions = recipe.group.having if recipe.group is not None else ()
    having = tuple(_compared(one, sql, found, mode, params) for one in conditions)
    limit = recipe.limit
    if limit is None:
        return Bounds(having=having)
    slots = [limit.count] if limit.offset is None else [limit.count, limit.offset]
    count, offset = ([rows_of(sql, found, slot, mode, params) for slot in slots] + [0])[:2]
    return Bounds(offset, count, having)


def _compared(one: Condition, sql: Text, found: Any, mode: int, params: Params) -> Number:
    return 1 if one.slot == COMPUTED else _number(sql, found.slots[one.slot], mode, params, negate=one.negate)


def _number(sql: Text, slot: Any, mode: int, params: Params, *, negate: bool) -> Number:
    try:
        given = value(sql, slot, mode, params, negate=negate)
    except Unpinnable:
        given = ""
    if given is not None and (isinstance(given, bool) or not isinstance(given, int | float | Decimal)):
        raise refusal("AGGREGATE_EXPRESSION", "HAVING compares with what is no number")
    return given


def rows_of(sql: Text, found: Any, slot: int, mode: int, params: Params) -> int:
    """What is written at a slot of LIMIT. Raises Refusal for what is no number of rows."""
    return _rows(value(sql, found.slots[slot], mode, params))


def _rows(given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise refusal("MERGE_LIMIT")
    return min(given, MOST_ROWS)


async def merge_rows(
    answer: ResultSet, cursors: Sequence[LeaseCursor], recipe: Recipe, bounds: Bounds, budget: Budget,
    command: Original, ask: Ask, *, unlike: bool,
) -> None:  # fmt: skip
    """The whole answer: one result set, or the error of whichever shard failed first. `ask`: a shard that computes."""
    try:
        if not await _merge(answer, cursors, recipe, bounds, budget, command, ask, unlike=unlike):
            return
    except ShardError as error:
        if _computes(recipe) and int.from_bytes(error.payload[1:3], "little") == OUT_OF_RANGE:
            answer.fail(refusal("AGGREGATE_EXPRESSION", "it is out of range for one shard's part of a group"))
        else:
            answer.ended(error.payload)
        return
    except RowTooLong:
        answer.fail(refusal("MERGE_ROW"))
        return
    except Refusal as reason:
        answer.fail(reason)
        return
    for cursor in cursors:
        if cursor.end is not None:
            answer.ended(cursor.end)
    answer.finish()
    await _drain(cursors)


async def _merge(
    answer: ResultSet, cursors: Sequence[LeaseCursor], recipe: Recipe, bounds: Bounds, budget: Budget,
    command: Original, ask: Ask, *, unlike: bool,
) -> bool:  # fmt: skip
    """False when the client is gone. Raises Refusal and ShardError."""
    binary = command.payload is not None
    heads = [await cursor.head() for cursor in cursors]
    if not alike(heads, unlike=unlike or recipe.explained is not None):
        raise refusal("SHARDS_DISAGREE", " and ".join(cursor.name for cursor in cursors))
    if recipe.explained is not None:
        return await label(answer, cursors, heads[0])
    columns = heads[0].columns()
    visible = len(columns) - recipe.helpers
    shape = Shape([column.type for column in columns], binary, visible)
    typed = Typed(columns, visible, await _collations(cursors, recipe, columns, visible, binary=binary), binary)
    if recipe.measured is not None:
        measures = Measures(recipe.measured, columns, shape, binary)
        rows = await measure(cursors, [cursor.name for cursor in cursors], measures, budget)
        return await answer.send(_visible(heads[0], recipe, visible)) and await answer.send(rows)
    distinct = typed.encoder(recipe.distinct) if recipe.distinct is not None else None
    order = typed.encoder(recipe.order) if recipe.order else None
    funnel = Funnel(shape, distinct, bounds.offset, -1 if bounds.count is None else bounds.count)
    groups = _groups(recipe.group, shape, typed) if recipe.group is not None else None
    compute = Computer(command, recipe, typed, shape, ask) if _computes(recipe) else None
    if not await answer.send(_visible(heads[0], recipe, visible)):
        return False
    if groups is not None:
        assert recipe.group is not None
        keep = Having(recipe.group.having, bounds.having, columns, visible, shape) if bounds.having else None
        wanted = await stream.group(cursors, groups, compute, keep, order, funnel, answer.send, budget)
        answer.warned(groups.cut)
        return wanted
    if order is None:
        return await stream.concatenate(cursors, funnel, answer.send, budget)
    return await stream.merge(cursors, order, funnel, answer.send, budget)


def _computes(recipe: Recipe) -> bool:
    return recipe.group is not None and bool(recipe.group.computed)


def _groups(group: Grouping, shape: Shape, typed: Typed) -> Groups:
    key = typed.encoder(group.keys) if group.keys is not None else None
    return Groups(shape, key, [typed.combine(one) for one in group.combinations])


def _visible(head: Head, recipe: Recipe, visible: int) -> bytearray:
    return head.of_first(visible, nameless=recipe.nameless) if recipe.helpers else bytearray(head.packets)


async def _collations(
    cursors: Sequence[LeaseCursor], recipe: Recipe, columns: Sequence[Column], visible: int, *, binary: bool
) -> dict[int, str]:
    """The collations of 'auto' keys, as the first row of each shard says. Raises Refusal when shards differ."""
    unknown = {key.helper for key in keys_of(recipe) if key.form == "auto"}
    wanted = [helper for helper in sorted(unknown) if columns[visible + helper].is_text]
    if not wanted:
        return {}
    found: dict[int, str] = {}
    for cursor in cursors:
        row = await cursor.peek()
        if not row:
            continue
        for helper in wanted:
            name = _text_at(row, visible + helper + 2, columns, binary=binary)
            if found.setdefault(helper, name) != name:
                raise refusal("SHARDS_DISAGREE", f"{cursor.name} and others, whose collations differ")
    return found


def _text_at(rows: bytearray, at: int, columns: Sequence[Column], *, binary: bool) -> str:
    """A text column of the first of these rows."""
    size = int.from_bytes(rows[:3], "little")
    shape = Shape([column.type for column in columns], binary, len(columns))
    return (shape.cells(bytes(rows[4 : 4 + size]))[at] or b"").decode("ascii", "replace")


async def _drain(cursors: Sequence[LeaseCursor]) -> None:
    """Shards that the client's rows did not need to the end: their connections are kept if that is soon over."""
    left = [cursor for cursor in cursors if cursor.end is None]
    if not left:
        return
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await asyncio.gather(*(cursor.drain(DRAIN_BYTES) for cursor in left))
    except TimeoutError:
        return
