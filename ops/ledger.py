"""Exposure meters in a file (SQLite) that all workers of a host share, one for each legal domain.

A charge is one transaction: what the other workers have counted meanwhile is read, what fits is counted, and it is on
the disk before anything is shown. So no count shrinks, whoever dies when, and no two workers spend the same rest.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from config.settings import Settings
from ops.audit.files import make_directory
from ops.exposure import (
    KEPT_MONTHS,
    Charged,
    Exposure,
    Flow,
    Level,
    MeterFull,
    Meters,
    Step,
    Threshold,
    month_of,
    thresholds_of,
)
from ops.sketch import Sketch
from router.policy.counting import Counting
from router.policy.model import Subject

FILE = "exposure.db"


def ledger_of(folder: Path, domain: str) -> Path:
    """The file of a legal domain in the audit folder."""
    return folder / domain / FILE


WAIT = 5.0
"""Seconds to wait for another worker's charge."""

_TABLES = """
CREATE TABLE IF NOT EXISTS secret (key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sketch (
    data_class TEXT NOT NULL, origin TEXT NOT NULL, "to" TEXT NOT NULL, counterparty TEXT NOT NULL,
    budget TEXT NOT NULL, month INTEGER NOT NULL, revision INTEGER NOT NULL, registers BLOB NOT NULL,
    PRIMARY KEY (data_class, origin, "to", counterparty, budget, month)
);
CREATE INDEX IF NOT EXISTS by_revision ON sketch (revision);
"""


class LedgerError(Exception):
    """The meters cannot be read or written; the text says why."""


@dataclass(frozen=True, slots=True)
class Charge:
    """Persons to be counted before they are shown, and the thresholds that hold for them."""

    steps: Sequence[Step]
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A flow as a budget sees it: the count in its window, and what is left of it."""

    flow: Flow
    threshold: Threshold
    exposure: Exposure
    level: Level

    @property
    def persons(self) -> int:
        assert self.threshold.refuse is not None
        return self.threshold.refuse - 1

    @property
    def window(self) -> str:
        months = self.threshold.window.months
        return f"{months} months" if months else "calendar year"

    @property
    def told(self) -> str:
        """What is wrong, if anything is."""
        what = f"{self.flow.data_class} data of {self.flow.origin} shown in {self.flow.to}"
        party = f" for {self.flow.counterparty}" if self.flow.counterparty != "-" else ""
        return f"{what}{party}: about {self.exposure.estimate} persons of {self.persons} in the {self.window}"

    @property
    def left(self) -> int:
        return max(0, self.persons - self.exposure.high)


class Ledger:
    """The open file. For one thread."""

    def __init__(self, path: Path) -> None:
        """Raises LedgerError."""
        try:
            make_directory(path.parent)
            self._db = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_TABLES)
            self._key = self._secret()
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(str(error)) from None
        self._start_over()

    def _secret(self) -> bytes:
        with _Writing(self._db):
            found = self._db.execute("SELECT key FROM secret").fetchone()
            if found is None:
                found = (secrets.token_bytes(32),)
                self._db.execute("INSERT INTO secret VALUES (?)", found)
        return bytes(found[0])

    def _start_over(self) -> None:
        self._meters = Meters(self._key)
        self._revision = 0

    def close(self) -> None:
        self._db.close()

    def charge(self, charges: Sequence[Charge], seconds: float) -> list[Charged]:
        """All of them in one transaction. Raises LedgerError: then none is counted, and nothing may be shown."""
        try:
            with _Writing(self._db):
                self._catch_up()
                charged = [self._one(charge, seconds) for charge in charges]
                self._store({flow for charge in charges for step in charge.steps for flow, _ in step}, seconds)
            return charged
        except (sqlite3.Error, MeterFull, ValueError) as error:
            self._start_over()
            raise LedgerError(str(error)) from None

    def _one(self, charge: Charge, seconds: float) -> Charged:
        self._meters.thresholds = charge.thresholds
        return self._meters.charge(charge.steps, seconds)

    def _catch_up(self) -> None:
        """What others have written since; what is in the file is all that is known."""
        rows = self._db.execute("SELECT * FROM sketch WHERE revision > ?", (self._revision,))
        for *flow, month, revision, registers in rows:
            self._meters.put(Flow(*flow), month, Sketch.decode(registers))
            self._revision = max(self._revision, revision)

    def _store(self, flows: set[Flow], seconds: float) -> None:
        month = month_of(seconds)
        for flow in sorted(flows):
            sketch = self._meters.sketch(flow, month)
            if sketch is None or not sketch.changed:
                continue
            self._revision += 1
            self._db.execute(
                "INSERT OR REPLACE INTO sketch VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*flow, month, self._revision, sketch.encode()),
            )
            self._db.execute("DELETE FROM sketch WHERE month <= ?", (month - KEPT_MONTHS,))
            sketch.changed = False


class _Writing:
    """A transaction that has the file to itself from its begin."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
                return
            except sqlite3.Error:
                self._undo()
                raise
        self._undo()

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def left_for(settings: Settings, subject: Subject, counted: Iterable[Counting]) -> list[tuple[str, str]]:
    """What is left of the budgets that an answer to the subject is counted against, in words. Raises LedgerError."""
    budgets = settings.policy.budgets if settings.policy is not None else {}
    found = {one.flow: one for one in readings_of(settings)}
    rows = []
    for meter in sorted({meter for one in counted for mention in one.mentions for meter in mention.meters}):
        flow = Flow(meter.data_class, meter.home, subject.domain, subject.counterparty or "-", meter.budget)
        spent, whole = found.get(flow), budgets[meter.budget].persons
        left, shown = (spent.left, spent.exposure.estimate) if spent is not None else (whole, 0)
        what = f"{meter.data_class} data of {meter.home} shown in {subject.domain}"
        rows.append((f"budget {meter.budget}", f"{what}: about {shown} of {whole} persons, {left} left"))
    return rows


def readings_of(settings: Settings) -> list[Reading]:
    """What this region's Fairleads have counted against the budgets of a configuration. Raises LedgerError."""
    policy, audit = settings.policy, settings.audit
    if policy is None or audit is None or not policy.budgets:
        return []
    own = next((name for name, one in policy.domains.items() if settings.region in one.regions), "")
    return readings(ledger_of(audit.folder, own), thresholds_of(policy.budgets))


def readings(path: Path, thresholds: Sequence[Threshold], seconds: float | None = None) -> list[Reading]:
    """What the file says of every flow under these budgets; nothing where there is no file. Raises LedgerError."""
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT)) as db:
            meters = Meters(b"")
            for *flow, month, _, registers in db.execute("SELECT * FROM sketch"):
                meters.put(Flow(*flow), month, Sketch.decode(registers))
    except (sqlite3.Error, MeterFull, ValueError) as error:
        raise LedgerError(f"{path}: {error}") from None
    now = time.time() if seconds is None else seconds
    flows = sorted(meters.flows())
    return [_reading(meters, flow, one, now) for flow in flows for one in thresholds if one.covers(flow)]


def _reading(meters: Meters, flow: Flow, threshold: Threshold, now: float) -> Reading:
    meters.thresholds = (threshold,)
    return Reading(flow, threshold, meters.count(flow, threshold.window, now), meters.level(flow, now)[0])
