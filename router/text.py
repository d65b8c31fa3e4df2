"""A statement's text as the planner sees it."""

from __future__ import annotations

from typing import Protocol


class Text(Protocol):
    """Bytes, or what gives them piece by piece: a large text is then copied only where all of it is needed."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...

    def __bytes__(self) -> bytes: ...
