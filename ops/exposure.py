"""Exposure meters: how many distinct persons one legal domain was shown, per budget, class, origin and counterparty.

Laws count people, not queries: so many within twelve months, or since the first of January. A meter keeps one sketch
(`ops/sketch.py`) per flow and month. Sketches hold no person: keys enter by a keyed hash, of which at most 20 bits
survive.

Thresholds are compared with the upper end of the estimate, 4 standard errors above it (3.25 %): one count in about
30,000 is taken too low. Rolling windows take in the whole month at their begin: too much rather than too little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import reduce
from hashlib import blake2b
from typing import NamedTuple

from config.policy import BudgetSettings
from ops.sketch import STANDARD_ERROR, Sketch, largest_step

SIGMAS = 4.0
KEPT_MONTHS = 25
"""Months that a meter remembers: two whole windows."""
MAX_FLOWS = 512
"""With all months of all flows dense, 200 MiB."""


Month = int
"""Year * 12 + month, month from 0."""


class Flow(NamedTuple):
    """Rows of a data class, from a legal domain to another, for a counterparty ('-': none), under a budget."""

    data_class: str
    origin: str
    to: str
    counterparty: str = "-"
    budget: str = ""


class Window(NamedTuple):
    """Over which time subjects are counted: this month (UTC) and so many before it; 0: since 1 January."""

    months: int

    @classmethod
    def of(cls, seconds: float) -> Window:
        """The shortest window that takes in so many seconds. Raises ValueError beyond what meters remember."""
        months = math.ceil(seconds / _SHORTEST_YEAR * 12)
        if not 0 < months < KEPT_MONTHS:
            raise ValueError(f"exposure is counted over {KEPT_MONTHS - 1} months at most")
        return cls(months)

    def begin(self, month: Month) -> Month:
        return month - self.months if self.months else month - month % 12


_SHORTEST_YEAR = 365 * 86_400.0
TWELVE_MONTHS, CALENDAR_YEAR = Window(12), Window(0)


class Exposure(NamedTuple):
    """The estimate, and the bounds 4 standard errors below and above it."""

    low: int
    estimate: int
    high: int


class Level(StrEnum):
    """What a threshold says."""

    UNDER = "under"
    WARN = "warn"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """`warn` and `refuse`: counts of subjects, None for never. `*` in a flow: each of them, counted apart."""

    flow: Flow
    window: Window = TWELVE_MONTHS
    warn: int | None = None
    refuse: int | None = None

    def covers(self, flow: Flow) -> bool:
        return all(wanted in ("*", given) for wanted, given in zip(self.flow, flow, strict=True))


Step = Sequence[tuple[Flow, bytes]]
"""What is shown together, or not at all: persons, each in a flow."""


class Charged(NamedTuple):
    """So many of the steps were counted and may be shown; the flow that stops the next one; those to be warned of."""

    counted: int
    stopped: Flow | None = None
    warned: tuple[Flow, ...] = ()


class MeterFull(Exception):
    """More flows than a meter keeps apart: what cannot be counted must not be shown."""


def month_of(seconds: float) -> Month:
    """The month (UTC) of a Unix time."""
    when = datetime.fromtimestamp(seconds, UTC)
    return when.year * 12 + when.month - 1


class Meters:
    """All meters of one legal domain.

    `key` is the domain's secret for hashing persons: counts under another one cannot be compared. Not thread-safe.
    """

    def __init__(self, key: bytes, thresholds: Iterable[Threshold] = (), flows: int = MAX_FLOWS) -> None:
        self._key = key
        self._flows = flows
        self._sketches: dict[Flow, dict[Month, Sketch]] = {}
        self._windows: dict[Flow, dict[Window, tuple[Month, Sketch]]] = {}
        self.thresholds = tuple(thresholds)

    def expose(self, flow: Flow, subjects: Iterable[bytes], seconds: float) -> None:
        """These subjects' rows were shown at this Unix time. Raises MeterFull."""
        month = month_of(seconds)
        sketches = [self._sketch(flow, month), *self._open_windows(flow, month)]
        for subject in subjects:
            hashed = int.from_bytes(blake2b(subject, digest_size=8, key=self._key).digest(), "little")
            for sketch in sketches:
                sketch.add(hashed)

    def charge(self, steps: Sequence[Step], seconds: float) -> Charged:
        """Counts the steps, in their order, up to the first with which a threshold would be passed.

        At its limit a sketch cannot tell who is new: it would let all pass who resemble somebody. So from where one
        more person might be too much nothing is shown at all.
        Raises MeterFull.
        """
        flows = sorted({flow for step in steps for flow, _ in step})
        full = next((flow for flow in flows if self._is_full(flow, seconds)), None)
        if full is not None:
            return Charged(0, full, self._warned(flows, seconds))
        fits, fails, stopped = 0, len(steps) + 1, None
        trying = len(steps)
        while fits + 1 < fails:
            before = self._copied(flows)
            over = self._try(steps[:trying], flows, seconds)
            if over is None:
                fits = trying
            else:
                fails, stopped = trying, over
            if over is not None or fits + 1 < fails:
                self._take_back(flows, before)
            trying = (fits + fails) // 2
        if stopped is not None:
            self._try(steps[:fits], flows, seconds)
        return Charged(fits, stopped, self._warned(flows, seconds))

    def _warned(self, flows: Iterable[Flow], seconds: float) -> tuple[Flow, ...]:
        return tuple(flow for flow in flows if self.level(flow, seconds)[0] is not Level.UNDER)

    def _try(self, steps: Sequence[Step], flows: Iterable[Flow], seconds: float) -> Flow | None:
        """Counts them; the flow in which that is too much."""
        persons: dict[Flow, list[bytes]] = {}
        for step in steps:
            for flow, person in step:
                persons.setdefault(flow, []).append(person)
        for flow, found in persons.items():
            self.expose(flow, found, seconds)
        return next((flow for flow in flows if self._over(flow, seconds)), None)

    def _over(self, flow: Flow, seconds: float) -> bool:
        return any(high >= refuse for high, refuse in self._limits(flow, seconds))

    def _is_full(self, flow: Flow, seconds: float) -> bool:
        return any(_is_spent(high, refuse) for high, refuse in self._limits(flow, seconds))

    def _limits(self, flow: Flow, seconds: float) -> Iterator[tuple[int, int]]:
        """(the upper end of the count, from what on it is refused) of every threshold for the flow."""
        for threshold in self.thresholds:
            if threshold.refuse is not None and threshold.covers(flow):
                yield self.count(flow, threshold.window, seconds).high, threshold.refuse

    def _copied(self, flows: Iterable[Flow]) -> dict[Flow, dict[Month, Sketch] | None]:
        return {
            flow: {month: sketch.copy() for month, sketch in months.items()} if months is not None else None
            for flow in flows
            for months in [self._sketches.get(flow)]
        }

    def _take_back(self, flows: Iterable[Flow], before: Mapping[Flow, dict[Month, Sketch] | None]) -> None:
        for flow in flows:
            self._windows.pop(flow, None)
            months = before[flow]
            if months is None:
                self._sketches.pop(flow, None)
            else:
                self._sketches[flow] = months

    def _open_windows(self, flow: Flow, month: Month) -> list[Sketch]:
        """The windows that are kept and end with this month; others are made anew when they are asked for."""
        kept = self._windows.get(flow, {})
        for window in [window for window, (end, _) in kept.items() if end != month]:
            del kept[window]
        return [sketch for _, sketch in kept.values()]

    def _sketch(self, flow: Flow, month: Month) -> Sketch:
        months = self._sketches.get(flow)
        if months is None:
            if len(self._sketches) >= self._flows:
                raise MeterFull(f"more than {self._flows} flows are metered")
            months = self._sketches[flow] = {}
        if month not in months:
            months[month] = Sketch()
            self._forget(flow, months)
        return months[month]

    def _forget(self, flow: Flow, months: dict[Month, Sketch]) -> None:
        for old in [one for one in months if one <= max(months) - KEPT_MONTHS]:
            del months[old]
        self._windows.pop(flow, None)

    def count(self, flow: Flow, window: Window, seconds: float) -> Exposure:
        """Distinct subjects in the window that ends with the month of `seconds`."""
        if flow not in self._sketches:
            return _bounds(0.0)
        month = month_of(seconds)
        windows = self._windows.setdefault(flow, {})
        kept = windows.get(window)
        if kept is None or kept[0] != month:
            begin = window.begin(month)
            parts = (sketch for at, sketch in self._sketches[flow].items() if begin <= at <= month)
            kept = windows[window] = month, reduce(Sketch.merge, parts, Sketch())
        return _bounds(kept[1].count())

    def level(self, flow: Flow, seconds: float) -> tuple[Level, Threshold | None]:
        """The strictest level that the flow has reached, and the threshold that says so."""
        found: tuple[Level, Threshold | None] = (Level.UNDER, None)
        for threshold in self.thresholds:
            if threshold.covers(flow):
                high = self.count(flow, threshold.window, seconds).high
                if threshold.refuse is not None and _is_spent(high, threshold.refuse):
                    return Level.REFUSE, threshold
                if threshold.warn is not None and high >= threshold.warn and found[1] is None:
                    found = Level.WARN, threshold
        return found

    def sketch(self, flow: Flow, month: Month) -> Sketch | None:
        """What was counted in one month."""
        return self._sketches.get(flow, {}).get(month)

    def put(self, flow: Flow, month: Month, sketch: Sketch) -> None:
        """In place of what was known of the month. Raises MeterFull."""
        self._sketch(flow, month)
        self._sketches[flow][month] = sketch
        self._windows.pop(flow, None)

    def flows(self) -> Mapping[Flow, tuple[Month, ...]]:
        """What is metered, and the months of which something is known."""
        return {flow: tuple(sorted(months)) for flow, months in self._sketches.items()}


def thresholds_of(budgets: Mapping[str, BudgetSettings]) -> tuple[Threshold, ...]:
    """Of `policy.budgets`: each holds for every class, origin, reader's domain and counterparty by itself.

    Raises ValueError for a window that is longer than meters remember.
    """
    return tuple(
        Threshold(
            flow=Flow("*", "*", "*", "*", name),
            window=CALENDAR_YEAR if one.calendar_year else Window.of(one.window),
            warn=one.warn,
            refuse=one.persons + 1,
        )
        for name, one in budgets.items()
    )


def _is_spent(high: int, refuse: int) -> bool:
    """Might one more be too much?"""
    return high + _bounds(largest_step(high)).high >= refuse


def _bounds(estimate: float) -> Exposure:
    """Small sets are counted as exactly as whole numbers allow."""
    spread = SIGMAS * STANDARD_ERROR
    return Exposure(math.floor(estimate / (1 + spread)), round(estimate), math.ceil(estimate * (1 + spread)))
