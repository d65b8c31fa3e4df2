"""What the tables of one query are made from; each part is read once, when it is first asked for, in a thread."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from _speedups.stats import StatsPage
from config.settings import MetastoreSettings, Settings
from ops import clock
from ops.snapshot import Snapshot
from proxy.console.workers import Reply


@dataclass(frozen=True)
class Session:
    """Who asks."""

    id: int
    user: str
    peer: str
    admin: bool


@dataclass
class Sources:
    """`replies`: what the workers said, by question. `warnings` grows with what could not be learned."""

    page: StatsPage
    settings: Settings
    number: int
    config: Path
    metastore: MetastoreSettings | None
    session: Session
    replies: Mapping[str, list[Reply]] = field(default_factory=dict)
    console: Iterable[tuple[Session, float]] = ()
    warnings: list[str] = field(default_factory=list)
    now: float = field(default_factory=time.time)

    @cached_property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.page)


def wall(seconds: float | None) -> str | None:
    """Unix time as a DATETIME in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def wall_of_ns(monotonic_ns: int) -> str | None:
    return wall(clock.wall_seconds(monotonic_ns)) if monotonic_ns else None


def wall_of_iso(text: str | None) -> str | None:
    return text[:23].replace("T", " ") if text else None
