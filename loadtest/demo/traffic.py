"""A few seconds of sysbench through one Fairlead, its figures as they come."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtest.world.layout import REGION_CODES
from loadtest.world.process import Spawned, spawn
from loadtest.world.sqlserver import ServerMissing

SCRIPT = Path(__file__).with_name("traffic.lua")
REPORT = re.compile(
    r"\[ (?P<second>\d+)s \] thds: \d+ tps: (?P<tps>[\d.]+) qps: (?P<qps>[\d.]+) .*"
    r"lat \(ms,95%\): (?P<p95>[\d.]+) err/s: (?P<errors>[\d.]+)"
)
TOTAL = re.compile(r"^\s+queries:\s+(?P<queries>\d+)", re.MULTILINE)


class TrafficFailed(RuntimeError):
    """sysbench ended with an error; the message is what it complained of."""


@dataclass(frozen=True)
class Second:
    """One second's figures; `p95` in milliseconds."""

    second: int
    qps: float
    p95: float
    errors: float


def run(port: int, *, customers: int, seconds: int, threads: int, report: Callable[[Second], None]) -> int:
    """Runs the load through the Fairlead at `port`. Returns how many queries were answered.

    Raises TrafficFailed at the first statement that fails, and ServerMissing without sysbench.
    """
    program = shutil.which("sysbench")
    if program is None:
        raise ServerMissing("sysbench is not on this machine; wanted: sysbench (apt-get install sysbench)")
    options = {
        "mysql-host": "127.0.0.1",
        "mysql-port": port,
        "mysql-user": "demo",
        "mysql-password": "demo",
        "mysql-db": "shop",
        "threads": threads,
        "time": seconds,
        "report-interval": 1,
        "customers": customers,
        "own": REGION_CODES["eu"],
        "other": REGION_CODES["us"],
    }
    argv = [program, str(SCRIPT), *(f"--{name}={value}" for name, value in options.items()), "run"]
    return _follow(spawn(argv, stdout=subprocess.PIPE), report)


def _follow(process: Spawned, report: Callable[[Second], None]) -> int:
    printed = []
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            text = line.decode(errors="replace")
            printed.append(text)
            if found := REPORT.match(text):
                report(
                    Second(
                        second=int(found["second"]),
                        qps=float(found["qps"]),
                        p95=float(found["p95"]),
                        errors=float(found["errors"]),
                    )
                )
    whole = "".join(printed)
    total = TOTAL.search(whole)
    if process.returncode != 0 or total is None:
        raise TrafficFailed(f"sysbench ended with {process.returncode}: {_complaints(whole)}")
    return int(total["queries"])


def _complaints(printed: str) -> str:
    """The different FATAL lines, at most three: each thread repeats them."""
    fatal = dict.fromkeys(line for line in printed.splitlines() if line.startswith("FATAL"))
    return "; ".join(list(fatal)[:3]) or printed[-500:]
