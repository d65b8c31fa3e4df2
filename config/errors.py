"""What is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SHOWN = 100
"""How many mistakes one message lists; a file can hold any number of them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a configuration file, counted from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: where (file and line, None when no line can be named), at which key
    ('shards.eu-0.flavour'), what (`message`), and what to do about it (`hint`)."""

    file: Path | None
    line: int | None
    key: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        where = (
            ""
            if self.file is None
            else f"{self.file}: "
            if self.line is None
            else f"{self.file}:{self.line}: "
        )
        key = f"{self.key}: " if self.key else ""
        return f"{where}{key}{self.message}" + (f". {self.hint}" if self.hint else "")


class ConfigError(Exception):
    """A configuration that cannot be used, with all its mistakes in the order of the file.

    `file`, `line`, `key`, `message` and `hint` are those of the first one.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes: Sequence[Mistake] = tuple(mistakes)
        if not self.mistakes:
            raise ValueError("a ConfigError needs a mistake")
        super().__init__(self._text())

    @property
    def file(self) -> Path | None:
        return self.mistakes[0].file

    @property
    def line(self) -> int | None:
        return self.mistakes[0].line

    @property
    def key(self) -> str:
        return self.mistakes[0].key

    @property
    def message(self) -> str:
        return self.mistakes[0].message

    @property
    def hint(self) -> str | None:
        return self.mistakes[0].hint

    def _text(self) -> str:
        lines = [str(mistake) for mistake in self.mistakes[:SHOWN]]
        if len(self.mistakes) > SHOWN:
            lines.append(f"and {len(self.mistakes) - SHOWN} more")
        return "\n".join(lines)
