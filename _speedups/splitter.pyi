from collections.abc import Sequence
from typing import Any

PROBLEMS: tuple[str, ...]

class Unsplittable(ValueError):
    row: int
    why: str
    def __init__(self, row: int, why: str) -> None: ...

class Splitter:
    rows: int
    def __init__(
        self,
        tables: dict[str, Any],
        outputs: Sequence[int],
        fields: int,
        keys: Sequence[int],
        *,
        field_term: bytes,
        line_term: bytes,
        line_start: bytes = b"",
        enclosed: bytes = b"",
        escaped: bytes = b"",
        raw: Sequence[int] = (0, 0),
        id_field: int = -1,
        utf8: int = 0,
        skip: int = 0,
        most: int = ...,
    ) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def take(self, output: int) -> bytes: ...
