"""Computed columns of a merged read: whole groups go to one shard as values, and come back with what it computed.

The statement has no table in it (`router.engine.computing`). It runs on one of the shards that took part, in the
session's state, by the protocol of the client's own command, so its values are put into the rows as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from _speedups import lexer
from _speedups.packet import split_packets
from _speedups.relay import StatementRef
from _speedups.rows import Shape, with_cells
from proxy.scatter.cursors import LeaseCursor, ShardError
from proxy.sessions.params import blob, rearranged
from router.engine import computing
from router.engine.assemble import norm_of, spelled
from router.engine.columns import Column
from router.engine.computing import Cell
from router.engine.recipe import Piece, Recipe
from router.engine.typed import Typed
from router.errors import refusal
from router.text import Text
from router.tokens import decode

AT_ONCE = 1 << 20
"""Bytes of values in one statement, and of the last one a row more."""
MOST = 7 << 20
"""Of one row: twice this has to fit into a packet."""

Ask = Callable[[bytes, StatementRef | None], LeaseCursor]
"""Sends a payload, of a prepared statement if one is named."""
Prepare = Callable[[bytes, int], StatementRef]
"""The prepared statement of a text with so many parameters."""


@dataclass(frozen=True, slots=True)
class Original:
    """The client's statement: its text, as lexed in `mode`. Of COM_STMT_EXECUTE: the payload with its types in it, how
    many parameters it has, and how others are prepared."""

    sql: Text
    found: Any
    mode: int
    payload: bytes | None = None
    params: int = 0
    prepare: Prepare | None = None


class Computer:
    """Puts the computed columns into the rows of whole groups."""

    def __init__(self, command: Original, recipe: Recipe, typed: Typed, shape: Shape, ask: Ask) -> None:
        assert recipe.group is not None
        self._command, self._typed, self._shape, self._ask = command, typed, shape, ask
        self._tokens = recipe.tokens
        self._computed = recipe.group.computed
        sources = recipe.group.sources
        self._values = [computing.value_of(one, number, typed) for number, one in enumerate(sources)]
        self._columns = [typed.place(one.at) for one in self._computed]
        values = dict(zip(sources, self._values, strict=True))
        self._expressions = [list(computing.rendered(one.terms, values)) for one in self._computed]
        for one, column in zip(self._computed, self._columns, strict=True):
            if one.real and not typed.columns[column].is_number:
                raise refusal("AGGREGATE_EXPRESSION", "a mean, deviation or variance as text")

    async def __call__(self, packets: bytearray) -> bytearray:
        """Raises Refusal."""
        found: list[list[Cell]] = []
        try:
            for rows in self._portions(packets):
                found += await self._portion(rows)
        except ShardError:
            raise refusal("AGGREGATE_EXPRESSION", "a server did not compute it from whole groups") from None
        return with_cells(self._shape, packets, self._columns, found)

    def _portions(self, packets: bytearray) -> Iterator[list[list[str | None]]]:
        """The operands' values, so many rows at once as go into one statement."""
        rows: list[list[str | None]] = []
        size = 0
        for _, payload in split_packets(bytes(packets)):
            cells = self._shape.cells(payload)
            row = [value.text(cells, binary=self._shape.binary) for value in self._values]
            held = sum(len(text) for text in row if text is not None)
            if held > MOST:
                raise refusal("MERGE_ROW")
            rows.append(row)
            size += held + 8 * len(row)
            if size >= AT_ONCE:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    async def _portion(self, rows: list[list[str | None]]) -> list[list[Cell]]:
        cursor = self._send(computing.document_of(rows))
        columns = (await cursor.head()).columns()
        if len(columns) != len(self._computed) + 1:
            raise refusal("INTERNAL", "a computed row of another width")
        shape = Shape([column.type for column in columns], self._shape.binary, len(columns))
        found: list[list[Cell]] = []
        while (packets := await cursor.rows()) is not None:
            for _, payload in split_packets(bytes(packets)):
                number, *cells = shape.cells(payload)
                if number is None or self._number(number) != len(found) + 1:
                    raise refusal("INTERNAL", "computed rows in another order")
                found.append([self._converted(at, cell, columns[at + 1]) for at, cell in enumerate(cells)])
        if len(found) != len(rows):
            raise refusal("INTERNAL", "computed rows are missing")
        return found

    def _number(self, cell: bytes) -> int:
        return int.from_bytes(cell, "little") if self._shape.binary else int(cell)

    def _converted(self, at: int, cell: Cell, found: Column) -> Cell:
        wanted = self._typed.columns[self._columns[at]]
        return computing.converted(cell, found, wanted, binary=self._shape.binary)

    def _send(self, document: bytes) -> LeaseCursor:
        command = self._command
        if command.payload is None or command.prepare is None:
            text, _ = self._text("0x" + document.hex())
            return self._ask(b"\x03" + text, None)
        text, params = self._text("?")
        order = (*params, -1)
        payload = rearranged(command.payload, command.params, order, blob(document))
        return self._ask(payload, command.prepare(text, len(order)))

    def _text(self, document: str) -> tuple[bytes, tuple[int, ...]]:
        """The statement, and which of the client's parameters its `?` are. Raises Refusal."""
        command = self._command
        pieces: Sequence[Piece] = computing.statement(self._expressions, self._values, document)
        text, params = spelled(pieces, self._tokens, command.sql, command.found, command.mode)
        planned = norm_of(pieces, decode(command.found.norm), self._tokens, command.mode)
        found = lexer.lex(text, command.mode)
        if found.error or found.norm != planned:
            raise refusal("INTERNAL", "the text to compute by is not the one that was planned")
        return text, params
