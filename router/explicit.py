"""Ids that an INSERT over several shards gives itself: each has to be one, since servers would each make their own."""

from __future__ import annotations

from collections.abc import Iterator

from _speedups import lexer
from _speedups.lexer import LiteralSlot
from router.errors import Refusal, refusal
from router.keys import Unpinnable
from router.literals import value
from router.plan import GivenIds
from router.route import Execution

_WORD = 2**64 - 1


def last_id(ids: GivenIds, execution: Execution, *, zero_is_kept: bool) -> int:
    """The last row's, which is what an OK packet tells of such rows. Raises Refusal where a server would make one, and
    where it is not certain."""
    last = 0
    for item, negate in _items(ids, execution):
        try:
            given = value(execution.sql, item, execution.mode, execution.params, execution.charset, negate)
        except Unpinnable:
            raise _made(ids) from None
        if isinstance(given, str) and given.isascii() and given.isdigit():
            given = int(given)
        if not isinstance(given, int) or (given == 0 and not zero_is_kept):
            raise _made(ids)
        last = given
    return last & _WORD


def _items(ids: GivenIds, execution: Execution) -> Iterator[tuple[LiteralSlot, bool]]:
    for number, position, negate in ids.places:
        slot = execution.lexed.slots[number]
        if position is None:
            yield slot, negate
        else:
            for item in lexer.row_items(execution.sql, execution.mode, slot, position):
                yield item, False


def _made(ids: GivenIds) -> Refusal:
    if ids.copies:
        return refusal("REFERENCE_AUTO_INCREMENT", ids.table, ids.column)
    return refusal("UNSTABLE_FUNCTION", f"AUTO_INCREMENT column {ids.column}")
