"""The ledger of exposure: several processes count in one file, and nothing that was counted is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.exposure import Charged, Flow, Level, Threshold
from ops.ledger import Charge, Ledger, LedgerError, readings

MAIL = Flow("personal", "eea", "us", "acme", "bulk")
NOW = datetime(2026, 5, 15, tzinfo=UTC).timestamp()
SMALL = (Threshold(flow=Flow("*", "*", "*", "*", "bulk"), warn=150, refuse=201),)


def charge(ledger: Ledger, first: int, count: int, now: float = NOW) -> Charged:
    steps = [[(MAIL, b"%d" % one)] for one in range(first, first + count)]
    (charged,) = ledger.charge([Charge(steps, SMALL)], now)
    return charged


def test_what_one_counts_the_other_knows(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path / "exposure.db"), Ledger(tmp_path / "exposure.db")
    assert charge(one, 0, 100).counted == 100
    assert charge(other, 50, 100).warned == (MAIL,)
    assert charge(one, 0, 150).counted == 150
    counted = charge(one, 150, 100).counted
    assert 40 <= counted <= 50
    assert charge(other, 0, 1).stopped == MAIL and charge(one, 0, 1).stopped == MAIL
    one.close()
    again = Ledger(tmp_path / "exposure.db")
    assert charge(again, 0, 1).stopped == MAIL
    (reading,) = readings(tmp_path / "exposure.db", SMALL, NOW)
    assert reading.flow == MAIL and reading.exposure.estimate == pytest.approx(150 + counted, abs=2)
    assert reading.persons == 200 and reading.left <= 1 and reading.level is Level.REFUSE


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    Ledger(tmp_path / "eea" / "exposure.db")
    assert stat.S_IMODE((tmp_path / "eea" / "exposure.db").stat().st_mode) == 0o600


def test_months_that_no_window_asks_for_go(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "exposure.db")
    for year in (2020, 2024, 2026):
        charge(ledger, year, 10, datetime(year, 5, 1, tzinfo=UTC).timestamp())
    with sqlite3.connect(tmp_path / "exposure.db") as db:
        assert len(db.execute("SELECT month FROM sketch").fetchall()) == 2


_COUNTING = """
import sys
from pathlib import Path
from tests.ops.test_ledger import Ledger, charge
ledger = Ledger(Path(sys.argv[1]))
for number in range(100_000):
    charge(ledger, number, 1)
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [0, 7, 60])
def test_a_kill_loses_nothing_that_was_told(tmp_path: Path, after: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _COUNTING, str(tmp_path / "exposure.db")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(after + 1)]
        os.kill(process.pid, signal.SIGKILL)
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    (reading,) = readings(tmp_path / "exposure.db", SMALL, NOW)
    assert len(told) - 1 <= reading.exposure.estimate <= len(told) + 1


def test_what_cannot_be_written_is_not_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "exposure.db")
    charge(ledger, 0, 10)
    with sqlite3.connect(tmp_path / "exposure.db") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON sketch BEGIN SELECT RAISE(ABORT, 'full'); END")
        other.commit()
        with pytest.raises(LedgerError, match="full"):
            charge(ledger, 10, 10)
        other.execute("DROP TRIGGER full")
    assert charge(ledger, 0, 10).counted == 10
    (reading,) = readings(tmp_path / "exposure.db", SMALL, NOW)
    assert 9 <= reading.exposure.estimate <= 10


def test_damaged_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "exposure.db").write_bytes(b"no database " * 1000)
    with pytest.raises(LedgerError):
        Ledger(tmp_path / "exposure.db")
    with pytest.raises(LedgerError):
        readings(tmp_path / "exposure.db", SMALL, NOW)
    assert readings(tmp_path / "none.db", SMALL, NOW) == []
