"""Rows of sorted or unsorted runs to the client, without holding more of them than the runs' last pieces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from _speedups.rows import Concatenation, Encoder, Funnel, Groups, Merge, sorted_rows
from router.engine.budget import Budget
from router.engine.cursor import Cursor, Sink
from router.engine.having import Having

AT_ONCE = 64 << 10
"""Bytes that are gathered before they go to the client."""


async def merge(
    cursors: Sequence[Cursor], order: Encoder, funnel: Funnel, sink: Sink, budget: Budget
) -> bool:  # fmt: skip
    """Merge sorted runs; of equal rows the first cursor's come first. False when the sink wants no more. Raises
    Refusal when DISTINCT keeps more than the budget."""
    merging = Merge(funnel, order, len(cursors))
    while not merging.done:
        merging.advance(AT_ONCE)
        budget.hold(funnel.held)
        if funnel.waiting >= AT_ONCE and not await sink(funnel.take()):
            return False
        if merging.wanting >= 0 and not funnel.full:
            await _feed(merging, cursors[merging.wanting])
    return await sink(funnel.take())


async def _feed(merging: Merge, cursor: Cursor) -> None:
    run = merging.wanting
    rows = await cursor.rows()
    if rows is None:
        merging.finish(run)
    elif rows:
        merging.feed(run, rows)


async def concatenate(cursors: Sequence[Cursor], funnel: Funnel, sink: Sink, budget: Budget) -> bool:
    """One run after the other, until the funnel is full. False when the sink wants no more. Raises Refusal when
    DISTINCT keeps more than the budget."""
    joined = Concatenation(funnel)
    for cursor in cursors:
        while not funnel.full and (rows := await cursor.rows()) is not None:
            joined.feed(rows)
            budget.hold(funnel.held)
            if funnel.waiting >= AT_ONCE and not await sink(funnel.take()):
                return False
    return await sink(funnel.take())


Compute = Callable[[bytearray], Awaitable[bytearray]]
"""Rows of whole groups with their computed columns in them."""


async def group(
    cursors: Sequence[Cursor], groups: Groups, compute: Compute | None, having: Having | None, order: Encoder | None,
    funnel: Funnel, sink: Sink, budget: Budget,
) -> bool:  # fmt: skip
    """Put partial groups together, then give them in order. Raises Refusal beyond the budget."""
    for cursor in cursors:
        while (rows := await cursor.rows()) is not None:
            groups.feed(rows)
            budget.hold(groups.held)
    found = groups.rows()
    budget.hold(groups.held + len(found))
    if compute is not None and found:
        found = await compute(found)
        budget.hold(groups.held + 2 * len(found))
    if having is not None:
        found = having.kept(found)
    if order is not None:
        found = sorted_rows(funnel.shape, order, found)
    Concatenation(funnel).feed(found)
    return await sink(funnel.take())
