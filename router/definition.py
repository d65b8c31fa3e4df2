"""Table definitions as SHOW CREATE TABLE prints them, one column or key a line: compared, and copied without rows.

What differs without a difference is left out: the next AUTO_INCREMENT value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from router.tokens import quoted

_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")
_FOREIGN = re.compile(r"\s*CONSTRAINT `(?:[^`]|``)*` FOREIGN KEY")
_COLUMN = re.compile(r"\s*`((?:[^`]|``)*)` ")
_UNIQUE = re.compile(r"\s*(?:PRIMARY|UNIQUE) KEY[^(]*\((.*)\)")
_KEY_PART = re.compile(r"`((?:[^`]|``)*)`")


def comparable(created: str) -> str:
    """The same for tables that are alike. Foreign keys are not in it: a copy has none."""
    return "\n".join(_without_foreign_keys(_COUNTER.sub("", created).split("\n")))


def copy_of(definition: str, database: str, table: str) -> str:
    """The statement that makes an empty table of this (comparable) definition in another database."""
    name = quoted(table)
    return definition.replace(name, f"{quoted(database)}.{name}", 1)


def _without_foreign_keys(lines: Sequence[str]) -> list[str]:
    kept = [line for line in lines if not _FOREIGN.match(line)]
    # The last line before the closing parenthesis has no comma.
    closing = next((at for at, line in enumerate(kept) if line.startswith(")")), None)
    if closing is not None and len(kept) < len(lines):
        kept[closing - 1] = kept[closing - 1].removesuffix(",")
    return kept


def column_lines(definition: str, columns: Sequence[str]) -> list[str]:
    """How these columns (lower case) are defined, in the table's order."""
    return [line.rstrip(",") for line in definition.split("\n") if _name(line) in columns]


def _name(line: str) -> str | None:
    match = _COLUMN.match(line)
    return match[1].replace("``", "`").lower() if match else None


def unique_without(definition: str, before: str | None, columns: Sequence[str]) -> bool:
    """Has it a new unique key that lacks one of these columns (lower case)?"""
    known = {line.rstrip(",") for line in (before or "").split("\n")}
    added = (line for line in definition.split("\n") if line.rstrip(",") not in known)
    return any(not set(columns) <= set(parts) for line in added if (parts := _unique_parts(line)) is not None)


def _unique_parts(line: str) -> list[str] | None:
    match = _UNIQUE.match(line)
    return list(_parts(match[1])) if match else None


def _parts(text: str) -> Iterator[str]:
    for match in _KEY_PART.finditer(text):
        yield match[1].replace("``", "`").lower()
