"""What one client knows of its own rows: which writes were acknowledged, which refused, which are in doubt.

The judge of the soak. A write is *acknowledged* when the OK of its COMMIT (in autocommit, its own) was read;
*refused* when no COMMIT was ever sent for it; *in doubt* when the connection or the server was lost
between the two: then it may be there or not, but whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

# Rows a client reads back at a time.
WINDOW = 40


class Kind(Enum):
    """A deposit also raises the balance in the same transaction; a note is written in autocommit."""

    NOTE = 0
    DEPOSIT = 1


@dataclass(frozen=True)
class Entry:
    """One row of the ledger."""

    number: int
    kind: Kind
    marker: str


@dataclass(frozen=True)
class StoredRow:
    """A row as a server returned it."""

    owner: int
    number: int
    kind: int
    marker: str


@dataclass
class Faults:
    """What may never happen, each as readable lines."""

    foreign: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)

    def extend(self, other: "Faults") -> None:
        for mine, theirs in zip(self.lists(), other.lists(), strict=True):
            mine.extend(theirs)

    def lists(self) -> tuple[list[str], ...]:
        return self.foreign, self.lost, self.phantom, self.torn

    def __bool__(self) -> bool:
        return any(self.lists())


@dataclass
class Book:
    """The rows of one owner. Numbers are never used twice."""

    owner: int
    acknowledged: dict[int, Entry] = field(default_factory=dict)
    doubtful: dict[int, Entry] = field(default_factory=dict)
    refused: dict[int, Entry] = field(default_factory=dict)
    _next: int = 1

    def entry(self, kind: Kind, secret: str) -> Entry:
        """A row to be written; until it is judged it counts as refused."""
        number, self._next = self._next, self._next + 1
        entry = Entry(number, kind, f"row-{self.owner}-{number}-{secret}")
        self.refused[number] = entry
        return entry

    def acknowledge(self, entry: Entry) -> None:
        del self.refused[entry.number]
        self.acknowledged[entry.number] = entry

    def doubt(self, entry: Entry) -> None:
        del self.refused[entry.number]
        self.doubtful[entry.number] = entry

    def window_start(self) -> int:
        """The first number that a read-back asks for."""
        return max(1, self._next - WINDOW)

    def check(self, rows: Iterable[StoredRow], since: int = 1, pending: Iterable[Entry] = ()) -> Faults:
        """Compares what was read with what is known of the numbers from `since` on.

        `pending` are rows of the transaction that is reading: it must see them.
        """
        faults = Faults()
        own = {entry.number: entry for entry in pending}
        seen: set[int] = set()
        for row in rows:
            if row.owner != self.owner:
                faults.foreign.append(f"owner {self.owner} was shown {row}")
                continue
            seen.add(row.number)
            self._check_row(row, own, faults)
        expected = [*self.acknowledged.values(), *own.values()]
        faults.lost += [
            f"owner {self.owner}: {entry} is gone"
            for entry in expected
            if entry.number >= since and entry.number not in seen
        ]
        return faults

    def check_balance(self, balance: int, rows: Iterable[StoredRow]) -> Faults:
        """Every deposit that is there has raised the balance once, and nothing else has."""
        faults = Faults()
        deposits = sum(row.kind == Kind.DEPOSIT.value for row in rows if row.owner == self.owner)
        if deposits != balance:
            faults.torn.append(f"owner {self.owner}: balance {balance}, but {deposits} deposits")
        return faults

    def _check_row(self, row: StoredRow, own: dict[int, Entry], faults: Faults) -> None:
        n = row.number
        entry = own.get(n) or self.acknowledged.get(n) or self.doubtful.get(n)
        if entry is None:
            faults.phantom.append(f"owner {self.owner}: {row} is there, but was never committed")
        elif (entry.marker, entry.kind.value) != (row.marker, row.kind):
            faults.foreign.append(f"owner {self.owner}: {row} instead of {entry}")
