"""What happened during the run, counted; and which errors were to be expected when."""

import time
from collections import Counter
from dataclasses import dataclass, field

from loadtest.soak.book import Faults

KEPT_LINES = 20
# After a killed server accepts connections again, a proxy has so many seconds to notice.
RECOVERY_SECONDS = 5.0


@dataclass
class Outage:
    """When a server was away, by time.monotonic(); `until` is None while it still is."""

    shard: str
    since: float
    until: float | None = None

    def covers(self, moment: float) -> bool:
        return self.since <= moment and (self.until is None or moment <= self.until + RECOVERY_SECONDS)


@dataclass
class Journal:
    """Shared by all clients of a run; the loop's single thread writes it."""

    statements: int = 0
    done: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    expected_errors: Counter[str] = field(default_factory=Counter)
    unexpected_errors: int = 0
    thrown_out: int = 0
    dropped_in_outage: int = 0
    timeouts: int = 0
    logins: int = 0
    outages: list[Outage] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    lines: list[str] = field(default_factory=list)

    @property
    def client_kills(self) -> int:
        return sum(self.kills.values())

    def error(self, shard: str | None, text: str, begun: float) -> None:
        """An ERR packet for a statement that began at `begun` and was bound for `shard` (None: any)."""
        if self.excused(shard, begun):
            self.expected_errors[_class_of(text)] += 1
        else:
            self.unexpected_errors += 1
            self.note(f"unexpected error ({shard or 'any shard'}): {text}")

    def lost(self, shard: str | None, text: str, begun: float) -> None:
        """The connection ended and this side had not wanted it to."""
        if self.excused(shard, begun):
            self.dropped_in_outage += 1
        else:
            self.thrown_out += 1
            self.note(f"connection lost ({shard or 'any shard'}): {text}")

    def timed_out(self, text: str) -> None:
        self.timeouts += 1
        self.note(text)

    def excused(self, shard: str | None, begun: float) -> bool:
        """Whether a server that the statement may have needed was away between its beginning and now."""
        now = time.monotonic()
        return any(
            (shard is None or outage.shard == shard)
            and (outage.covers(begun) or outage.covers(now) or begun <= outage.since <= now)
            for outage in self.outages
        )

    def found(self, faults: Faults) -> None:
        for line in (line for lines in faults.lists() for line in lines):
            self.note(line)
        self.faults.extend(faults)

    def note(self, line: str) -> None:
        """Keeps the first few lines; the counts tell the rest."""
        if len(self.lines) < KEPT_LINES:
            self.lines.append(line)


def _class_of(text: str) -> str:
    """`1105 (HY000): FL1203: …` -> `FL1203`, `2013 (HY000): …` -> `2013`."""
    head, _, rest = text.partition(": ")
    name = rest.partition(":")[0]
    return name if name.startswith("FL") and name[2:].isdigit() else head.partition(" ")[0]
