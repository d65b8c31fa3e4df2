"""Questions to the audit logs: how often, between which domains, by whom, with which verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ops import table
from ops.audit import segment
from ops.audit.hlc import iso
from ops.audit.segment import Damage

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "subject": "subject",
        "class": "classes",
        "from": "homes",
        "to": "to",
        "verdict": "verdict",
        "rule": "rules",
        "table": "tables",
        "counterparty": "counterparty",
        "purpose": "purpose",
        "version": "version",
        "trial": "trial",
        "shadow": "shadow",
        "finding": "finding",
        "error": "error",
    }
)
"""What can be grouped and filtered by -> the field of a decision."""
DEFAULT = ("subject", "class", "from", "to", "verdict")
MOST_GROUPS = 100_000
NONE = "-"

Group = tuple[str, ...]


class TooManyGroups(ValueError):
    """More than MOST_GROUPS rows: ask for fewer columns, or a shorter time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """`by`: columns, in their order. `where`: column -> the values wanted. `since`, `until`: stamps, [since, until)."""

    by: tuple[str, ...] = DEFAULT
    where: Mapping[str, frozenset[str]] = field(default_factory=dict)
    since: int = 0
    until: int = 2**64


@dataclass(slots=True)
class Row:
    """One group. A decision about several classes or homes counts once in each of their groups."""

    group: dict[str, str]
    decisions: int = 0
    rows: int = 0
    bytes_out: int = 0
    first: str = ""
    last: str = ""


@dataclass(slots=True)
class Report:
    """The groups, most decisions first. `decisions` counts each once; `damaged` are files read up to a bad entry."""

    by: tuple[str, ...]
    decisions: int
    first: str | None
    last: str | None
    rows: list[Row]
    damaged: list[str]
    findings: int = 0
    """Answers that the witness kept back."""


def report(path: Path, query: Query) -> Report:
    """Over all logs under a directory. Raises OSError, TooManyGroups."""
    counting = _Counting(query)
    damaged = []
    for directory in sorted({file.parent for file in path.rglob(f"*{segment.SUFFIX}")}):
        for files in segment.segments_in(directory).values():
            damaged += [str(file) for file in files.values() if not _read(file, counting)]
    rows = sorted(counting.groups.values(), key=lambda row: (-row.decisions, tuple(row.group.values())))
    first, last = counting.range
    range_ = first and iso(first), last and iso(last)
    return Report(query.by, counting.decisions, *range_, rows, damaged, counting.findings)


def _read(path: Path, counting: _Counting) -> bool:
    """False when it could not be read to its end."""
    with path.open("rb") as file:
        try:
            for entry in segment.entries(file):
                counting.take(entry.plain)
        except Damage:
            return False
    return True


class _Counting:
    """The groups so far, and the decisions whose results may still come."""

    OPEN = 100_000

    def __init__(self, query: Query) -> None:
        self.groups: dict[Group, Row] = {}
        self.decisions = self.findings = 0
        self.range: tuple[Any, Any] = (None, None)
        self._query = query
        self._open: dict[int, list[Row]] = {}

    def take(self, plain: dict[str, Any]) -> None:
        if plain["kind"] == segment.RESULT:
            self._add(self._open.pop(plain["of"], []), plain)
        elif plain["kind"] == segment.DECISION and self._wanted(plain):
            rows = [self._row(group) for group in _groups(plain, self._query.by)]
            self._count(plain["ts"], rows)
            self._add(rows, plain)
            if "rows" not in plain:
                self._wait_for_result(plain["ts"], rows)

    def _wanted(self, plain: dict[str, Any]) -> bool:
        query = self._query
        return query.since <= plain["ts"] < query.until and all(
            wanted & set(_values(plain, column)) for column, wanted in query.where.items()
        )

    def _row(self, group: Group) -> Row:
        if group not in self.groups:
            if len(self.groups) >= MOST_GROUPS:
                raise TooManyGroups(f"more than {MOST_GROUPS} groups: ask for fewer columns or a shorter time")
            self.groups[group] = Row(dict(zip(self._query.by, group, strict=True)))
        return self.groups[group]

    def _count(self, stamp: int, rows: list[Row]) -> None:
        self.decisions += 1
        first, last = self.range
        self.range = (stamp if first is None else min(first, stamp), stamp if last is None else max(last, stamp))
        when = iso(stamp)
        for row in rows:
            row.decisions += 1
            row.first = min(row.first or when, when)
            row.last = max(row.last, when)

    def _add(self, rows: list[Row], plain: dict[str, Any]) -> None:
        self.findings += bool(rows and "finding" in plain)
        for row in rows:
            row.rows += plain.get("rows", 0)
            row.bytes_out += plain.get("bytes_out", 0)

    def _wait_for_result(self, stamp: int, rows: list[Row]) -> None:
        if len(self._open) >= self.OPEN:
            del self._open[next(iter(self._open))]
        self._open[stamp] = rows


def _groups(plain: dict[str, Any], by: tuple[str, ...]) -> Iterator[Group]:
    return product(*(_values(plain, column) for column in by))


def _values(plain: dict[str, Any], column: str) -> list[str]:
    value = plain.get(COLUMNS[column])
    if isinstance(value, list):
        return [str(one) for one in value] or [NONE]
    return [NONE if value is None else str(value)]


def as_json(found: Report) -> dict[str, Any]:
    """Plain values for a JSON encoder."""
    return asdict(found)


def as_table(found: Report) -> str:
    """The rows as text."""
    head = [*found.by, "decisions", "rows", "bytes", "first", "last"]
    cells = [[*row.group.values(), row.decisions, row.rows, row.bytes_out, row.first, row.last] for row in found.rows]
    return table.render(head, cells, left=frozenset({*found.by, "first", "last"}))
