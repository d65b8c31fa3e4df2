"""What a primitive sees of a shard's answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

Sink = Callable[[bytearray], Awaitable[bool]]
"""Takes whole row packets for the client; False when nobody wants more."""


class Cursor(Protocol):
    """The rows of one shard, as they come."""

    async def rows(self) -> bytearray | None:
        """More whole row packets; None behind the last. Raises when the answer ends by an error."""
