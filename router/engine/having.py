"""HAVING once the groups are whole: aggregates compared with numbers, as servers compare them."""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from _speedups.packet import frame, split_packets
from _speedups.rows import Shape
from router.engine.columns import DECIMAL, DOUBLE, INTEGERS, Column
from router.engine.recipe import Condition
from router.errors import refusal

Number = int | Decimal | float | None

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<>": operator.ne, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Having:
    """`columns`: all that shards give; helpers begin at `first`. `values`: of the conditions, in their order."""

    conditions: Sequence[Condition]
    values: Sequence[Number]
    columns: Sequence[Column]
    first: int
    shape: Shape

    def kept(self, packets: bytearray) -> bytearray:
        """The rows that meet all conditions. Raises Refusal for values that are no numbers."""
        rows = (payload for _, payload in split_packets(bytes(packets)))
        return bytearray(b"".join(frame(row) for row in rows if self._keeps(self.shape.cells(row))))

    def _keeps(self, cells: Sequence[bytes | None]) -> bool:
        return all(
            self._holds(condition, value, cells) for condition, value in zip(self.conditions, self.values, strict=True)
        )

    def _holds(self, condition: Condition, value: Number, cells: Sequence[bytes | None]) -> bool:
        at = self.first + condition.helper
        cell = cells[at]
        if cell is None or value is None:
            return False
        found = number_of(cell, self.columns[at], binary=self.shape.binary)
        if isinstance(found, float) or isinstance(value, float):
            found, value = float(found), float(value)
        return _COMPARE[condition.operator](found, value)


def number_of(cell: bytes, column: Column, *, binary: bool) -> int | Decimal | float:
    """The value of a number's cell. Raises Refusal for other types."""
    if column.type == DECIMAL:
        return Decimal(cell.decode("ascii"))
    if column.type in INTEGERS:
        return int.from_bytes(cell, "little", signed=not column.unsigned) if binary else int(cell)
    if column.type == DOUBLE:
        return float(struct.unpack("<d", cell)[0]) if binary else float(cell)
    raise refusal("MERGE_TYPE", column.name)
