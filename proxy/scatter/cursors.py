"""A shard's answer as the engine reads it: a lease's response taken apart, at the shard's own pace."""

from __future__ import annotations

from collections.abc import AsyncIterator

from _speedups.scanner import RowStream
from proxy.mysql.packets.replies import ERR_HEAD
from proxy.result_set import Head, ResultSet
from proxy.scatter.leases import Lease
from router.errors import refusal


class ShardError(Exception):
    """A shard answered with an error; `payload` is its ERR packet."""

    def __init__(self, payload: bytes) -> None:
        super().__init__("a shard's error")
        self.payload = payload


class LeaseCursor:
    """Rows of the command that runs on a lease. Not reading stops the server, at the lease's credit."""

    def __init__(self, name: str, lease: Lease, *, deprecate: bool) -> None:
        self.name = name
        self._stream = RowStream(deprecate)
        self._pieces: AsyncIterator[bytes] = lease.stream()
        self._deprecate = deprecate
        self._kept = bytearray()
        self.bytes = 0
        """Of rows, so far."""

    @property
    def described(self) -> Head:
        """The head, which has come."""
        assert self._stream.head is not None
        return Head(self._stream.head, deprecate=self._deprecate)

    @property
    def end(self) -> bytes | None:
        """The last packet's payload, once it has come."""
        return self._stream.end

    @property
    def count(self) -> int:
        """Rows, so far."""
        return self._stream.rows

    async def head(self) -> Head:
        """Raises ShardError, and Refusal when the answer breaks off."""
        while self._stream.head is None:
            rows = await self._more()
            if rows is None:
                raise refusal("SHARD_FAILED", self.name, "its answer broke off")
            self._kept += rows
        return self.described

    async def peek(self) -> bytearray:
        """Rows that stay to be read: some, or none when there are none."""
        while not self._kept and (rows := await self._more()) is not None:
            self._kept += rows
        return self._kept

    async def rows(self) -> bytearray | None:
        """The engine's `Cursor.rows`. Raises ShardError, and Refusal when the answer breaks off."""
        if self._kept:
            rows, self._kept = self._kept, bytearray()
            return rows
        return await self._more()

    async def drain(self, limit: int) -> bool:
        """Read what is left and throw it away. False when it is more than `limit` bytes."""
        async for piece in self._pieces:
            limit -= len(piece)
            if limit < 0:
                return False
        return True

    async def _more(self) -> bytearray | None:
        if self._stream.end is None:
            async for piece in self._pieces:
                rows = self._stream.feed(piece)
                self.bytes += len(rows)
                if rows or self._stream.end is not None or self._stream.head is not None:
                    break
            else:
                raise refusal("SHARD_FAILED", self.name, "its answer broke off")
            self._check()
            return rows
        self._check()
        return None

    def _check(self) -> None:
        end = self._stream.end
        if end is not None and end[0] == ERR_HEAD:
            raise ShardError(end)


async def pass_on(cursor: LeaseCursor, answer: ResultSet) -> None:
    """The rows behind the head, and the end, to the client, as long as it is there. Raises Refusal."""
    while (rows := await cursor.rows()) is not None:
        if not await answer.send(rows):
            return
    assert cursor.end is not None
    answer.ended(cursor.end)
    answer.finish()
