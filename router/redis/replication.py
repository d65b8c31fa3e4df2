"""What Redis servers say of replication: who is the primary, and how far replicas are.

INFO replication: https://redis.io/docs/latest/commands/info/
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

KEPT = 1000
"""Looks at a primary that are remembered."""


@dataclass(frozen=True, slots=True)
class Role:
    """One server's word. `history`: the id of the data's history; `offset`: bytes of it that are applied. `linked`:
    its connection to the primary stands. `promoted`: it was a replica once."""

    primary: bool
    history: str
    offset: int
    linked: bool = False
    promoted: bool = False

    @classmethod
    def of(cls, info: str) -> Role:
        """From the text of INFO replication. Raises KeyError, ValueError for something else."""
        lines = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        primary = lines["role"] == "master"
        return cls(
            primary=primary,
            history=lines["master_replid"],
            offset=int(lines["master_repl_offset"] if primary else lines["slave_repl_offset"]),
            linked=lines.get("master_link_status") == "up" and lines.get("master_sync_in_progress") == "0",
            promoted=int(lines.get("second_repl_offset", -1)) >= 0,
        )


@dataclass(slots=True)
class Positions:
    """How far a primary was, and when: (time before it was asked, its offset), both rising, of one history."""

    history: str = ""
    times: list[float] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def add(self, time: float, primary: Role) -> None:
        if primary.history != self.history:
            self.history, self.times, self.offsets = primary.history, [], []
        if self.offsets and self.offsets[-1] == primary.offset:
            self.times[-1] = time
            return
        self.times.append(time)
        self.offsets.append(primary.offset)
        if len(self.times) > KEPT:
            del self.times[: KEPT // 2], self.offsets[: KEPT // 2]

    def fresh(self, replica: Role) -> float:
        """The replica has everything that was answered before this time; 0 when nothing proves that."""
        if replica.primary or not replica.linked or replica.history != self.history:
            return 0.0
        place = bisect_right(self.offsets, replica.offset)
        return self.times[place - 1] if place else 0.0


def primary_of(current: str, roles: Mapping[str, Role | None], order: Sequence[str]) -> str:
    """The primary by everybody's word (None: did not answer): the current one while it says so itself; else the only
    other that takes writes and was a replica before; else the current one still, as nobody is certain to be it."""
    own = roles.get(current)
    if own is not None and own.primary:
        return current
    found = [name for name in order if (role := roles.get(name)) is not None and role.primary and role.promoted]
    return found[0] if len(found) == 1 else current
