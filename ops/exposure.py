"""Exposure meters: how many distinct subjects one legal domain was shown, per class, origin and counterparty.

Laws count people, not queries: so many within twelve months, or since the first of January. A meter keeps one
HyperLogLog sketch (Flajolet et al. 2007; estimator of Ertl 2017, arXiv 1702.01284, algorithm 6) per flow and month.
Sketches hold no subject: keys enter by a keyed hash, of which at most 20 bits survive. Merging is exact: sketches of
any workers, restarts and orders give the registers that one sketch of everything would have.

The standard error is 0.81 %. Thresholds are compared with the upper end of the estimate, 4 standard errors above it
(3.25 %): one count in about 30,000 is taken too low. Rolling windows take in the whole month at their begin: too
much rather than too little.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import reduce
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from config.policy import BudgetSettings
from ops.audit.files import replace_durably

PRECISION = 14
REGISTERS = 1 << PRECISION
HASH_BITS = 64 - PRECISION
STANDARD_ERROR = 1.04 / math.sqrt(REGISTERS)
SIGMAS = 4.0
SPARSE_MOST = REGISTERS // 8
"""Registers in use from which a sketch is kept as one byte each: about 16 KiB, on the disk 12 KiB."""
KEPT_MONTHS = 25
"""Months that a meter remembers: two whole windows."""
MAX_FLOWS = 512
"""With all months of all flows dense, 200 MiB."""
MAX_FILE = 1 << 30

_ALPHA = 1 / (2 * math.log(2))
_MAGIC = b"FLX1"
_SPARSE = struct.Struct("<H")


class Sketch:
    """A set of subjects, of which only the size can be asked. Few registers are a dictionary, many an array."""

    __slots__ = ("_count", "_dense", "_sparse")

    def __init__(self) -> None:
        self._sparse: dict[int, int] | None = {}
        self._dense = bytearray()
        self._count: float | None = 0.0

    def add(self, hashed: int) -> None:
        """`hashed`: 64 bits that are as good as random."""
        self._raise(hashed >> HASH_BITS, HASH_BITS + 1 - (hashed & ((1 << HASH_BITS) - 1)).bit_length())

    def _raise(self, index: int, rank: int) -> None:
        if self._sparse is None:
            if rank > self._dense[index]:
                self._dense[index] = rank
                self._count = None
        elif rank > self._sparse.get(index, 0):
            self._sparse[index] = rank
            self._count = None
            if len(self._sparse) > SPARSE_MOST:
                self._densify()

    def _densify(self) -> None:
        assert self._sparse is not None
        self._dense = bytearray(REGISTERS)
        for index, rank in self._sparse.items():
            self._dense[index] = rank
        self._sparse = None

    def merge(self, other: Sketch) -> Sketch:
        """Takes in the other's subjects."""
        for index, rank in other._used():
            self._raise(index, rank)
        return self

    def _used(self) -> Iterable[tuple[int, int]]:
        if self._sparse is not None:
            return self._sparse.items()
        return ((index, rank) for index, rank in enumerate(self._dense) if rank)

    def count(self) -> float:
        """The estimate; kept until a register changes, which in a large set few subjects do."""
        if self._count is None:
            self._count = self._estimate()
        return self._count

    def _estimate(self) -> float:
        ranks = Counter(self._dense if self._sparse is None else self._sparse.values())
        if self._sparse is not None:
            ranks[0] = REGISTERS - len(self._sparse)
        if ranks[0] == REGISTERS:
            return 0.0
        whole = REGISTERS * _tau(1 - ranks[HASH_BITS + 1] / REGISTERS)
        for rank in range(HASH_BITS, 0, -1):
            whole = 0.5 * (whole + ranks[rank])
        return _ALPHA * REGISTERS * REGISTERS / (whole + REGISTERS * _sigma(ranks[0] / REGISTERS))

    def encode(self) -> bytes:
        """One text for one set of registers: `s` and pairs of (index, rank), or `d` and 6 bits per register."""
        used = sorted(self._used())
        if len(used) <= SPARSE_MOST:
            return b"s" + b"".join(_SPARSE.pack(index) + bytes((rank,)) for index, rank in used)
        packed = 0
        for index, rank in used:
            packed |= rank << 6 * index
        return b"d" + packed.to_bytes(REGISTERS * 6 // 8, "little")

    @classmethod
    def decode(cls, data: bytes) -> Sketch:
        """Raises ValueError."""
        sketch, kind, body = cls(), data[:1], data[1:]
        if kind == b"s" and len(body) % 3 == 0:
            pairs: Iterable[tuple[int, int]] = (
                (int.from_bytes(body[at : at + 2], "little"), body[at + 2]) for at in range(0, len(body), 3)
            )
        elif kind == b"d" and len(body) == REGISTERS * 6 // 8:
            pairs = _unpacked(body)
        else:
            raise ValueError("it is no sketch")
        for index, rank in pairs:
            if index >= REGISTERS or rank > HASH_BITS + 1:
                raise ValueError("it is no sketch")
            sketch._raise(index, rank)
        return sketch


def _unpacked(body: bytes) -> Iterable[tuple[int, int]]:
    """Four registers in three bytes."""
    for at in range(0, len(body), 3):
        four = int.from_bytes(body[at : at + 3], "little")
        for part in range(4):
            yield at // 3 * 4 + part, four >> 6 * part & 63


def _sigma(x: float) -> float:
    """The share of untouched registers, corrected (Ertl 2017, algorithm 6)."""
    if x == 1.0:
        return math.inf
    y, z = 1.0, x
    while True:
        x *= x
        before = z
        z += x * y
        y += y
        if z == before:
            return z


def _tau(x: float) -> float:
    """The share of registers at their end, corrected (Ertl 2017, algorithm 6)."""
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1 - x
    while True:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
        if z == before:
            return z / 3


# --- meters -------------------------------------------------------------------------------------------------


Month = int
"""Year * 12 + month, month from 0."""


class Flow(NamedTuple):
    """Rows of a data class, from a legal domain to another, for a counterparty ('-': none)."""

    data_class: str
    origin: str
    to: str
    counterparty: str = "-"


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


class MeterFull(Exception):
    """More flows than a meter keeps apart: what cannot be counted must not be shown."""


def month_of(seconds: float) -> Month:
    """The month (UTC) of a Unix time."""
    when = datetime.fromtimestamp(seconds, UTC)
    return when.year * 12 + when.month - 1


class Meters:
    """All meters of one legal domain.

    `key` is the domain's secret for hashing subjects: meters merge only under the same one. Not thread-safe.
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
                if threshold.refuse is not None and high >= threshold.refuse:
                    return Level.REFUSE, threshold
                if threshold.warn is not None and high >= threshold.warn and found[1] is None:
                    found = Level.WARN, threshold
        return found

    def flows(self) -> Mapping[Flow, tuple[Month, ...]]:
        """What is metered, and the months of which something is known."""
        return {flow: tuple(sorted(months)) for flow, months in self._sketches.items()}

    def merge(self, other: Meters) -> None:
        """Takes in what another worker or Fairlead of the same domain has counted. Raises MeterFull, ValueError."""
        if other._tag() != self._tag():
            raise ValueError("meters under different keys cannot be merged")
        for flow, months in other._sketches.items():
            for month, sketch in months.items():
                self._sketch(flow, month).merge(sketch)
            self._windows.pop(flow, None)

    # --- on disk --------------------------------------------------------------------------------------------

    def _tag(self) -> str:
        """Tells keys apart without showing them."""
        return blake2b(b"fairlead exposure", digest_size=8, key=self._key).hexdigest()

    def encode(self) -> bytes:
        """One text for one state: a line of JSON that says what follows, then the sketches."""
        parts = [
            (flow, month, sketch.encode())
            for flow, months in sorted(self._sketches.items())
            for month, sketch in sorted(months.items())
        ]
        index = [[*flow, month, len(data)] for flow, month, data in parts]
        head = json.dumps({"key": self._tag(), "sketches": index}, separators=(",", ":")).encode()
        body = head + b"\n" + b"".join(data for *_, data in parts)
        return _MAGIC + struct.pack("<I", crc32(body)) + body

    def absorb(self, data: bytes) -> None:
        """Merges what `encode` gave. Raises ValueError, MeterFull."""
        body = data[8:]
        if data[:4] != _MAGIC or data[4:8] != struct.pack("<I", crc32(body)):
            raise ValueError("it is no file of exposure meters, or a damaged one")
        head, _, rest = body.partition(b"\n")
        plain = json.loads(head)
        if plain["key"] != self._tag():
            raise ValueError("these meters were kept under another key")
        at = 0
        for *flow, month, size in plain["sketches"]:
            self._sketch(Flow(*flow), month).merge(Sketch.decode(rest[at : at + size]))
            self._windows.pop(Flow(*flow), None)
            at += size

    def save(self, path: Path) -> None:
        """The whole file at once, on the disk when this returns. Raises OSError."""
        replace_durably(path, self.encode())

    def load(self, path: Path) -> None:
        """Merges a saved file. Raises OSError, ValueError."""
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError("it is no file of exposure meters: too large")
        self.absorb(data)


def budget_flow(budget: str, origin: str, to: str, counterparty: str | None) -> Flow:
    """Where what a rule's `budget` obliges to count is counted."""
    return Flow(f"budget {budget}", origin, to, counterparty or "-")


def thresholds_of(budgets: Mapping[str, BudgetSettings]) -> tuple[Threshold, ...]:
    """Of `policy.budgets`: each holds for every origin, reader's domain and counterparty by itself.

    Raises ValueError for a window that is longer than meters remember.
    """
    return tuple(
        Threshold(
            flow=Flow(f"budget {name}", "*", "*", "*"),
            window=CALENDAR_YEAR if one.calendar_year else Window.of(one.window),
            warn=one.warn,
            refuse=one.persons + 1,
        )
        for name, one in budgets.items()
    )


def _bounds(estimate: float) -> Exposure:
    """Small sets are counted as exactly as whole numbers allow."""
    spread = SIGMAS * STANDARD_ERROR
    return Exposure(math.floor(estimate / (1 + spread)), round(estimate), math.ceil(estimate * (1 + spread)))


def threshold_as_dict(threshold: Threshold) -> dict[str, object]:
    """For messages and pages."""
    return {**asdict(threshold), "flow": threshold.flow._asdict()}
