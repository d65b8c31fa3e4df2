"""What a table of the console is: columns with their meanings, and where its rows come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.console.statements import identifier

if TYPE_CHECKING:
    from proxy.console.sources import Sources

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class TableColumn:
    """`type`: BIGINT, DOUBLE, DATETIME (UTC) or TEXT."""

    name: str
    type: str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` makes the rows, called in a thread. `asks`: the workers' answers that it needs (`proxy.inquiries`)."""

    name: str
    meaning: str
    columns: tuple[TableColumn, ...]
    rows: Callable[[Sources], Iterable[Row]]
    asks: str | None = None
    schema: str = "fairlead"

    def place(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    def ddl(self) -> str:
        columns = ", ".join(f"{identifier(column.name)} {column.type}" for column in self.columns)
        return f"CREATE TABLE {self.place()} ({columns})"


def columns(*lines: str) -> tuple[TableColumn, ...]:
    """From 'name TYPE the meaning' lines."""
    return tuple(TableColumn(*line.split(" ", 2)) for line in lines)
