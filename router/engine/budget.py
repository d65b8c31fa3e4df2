"""Memory that merging may keep: so much for one statement, so much for all of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from router.errors import refusal


@dataclass(slots=True)
class Pool:
    """What all statements of a worker keep together, in bytes. `limit` 0: no statement is merged in memory."""

    limit: int
    held: int = 0


class Budget:
    """One statement's part of the pool; given back at the end of the `with` block, however it ends."""

    def __init__(self, limit: int, pool: Pool, entry: str = "MERGE_MEMORY") -> None:
        self._limit = limit
        self._pool = pool
        self._entry = entry
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.held -= self._held
        self._held = 0

    def hold(self, total: int) -> None:
        """The statement keeps so many bytes now. Raises Refusal beyond either limit."""
        self._pool.held += total - self._held
        self._held = total
        if total > self._limit:
            raise refusal(self._entry, f"{self._limit} bytes", "one statement")
        if self._pool.held > self._pool.limit:
            raise refusal(self._entry, f"{self._pool.limit} bytes", "all statements of a worker")
