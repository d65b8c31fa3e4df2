"""sysbench 1.0: its command line, its report, and one timed run with hooks at its phase boundaries."""

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loadtest.bench.errors import CannotMeasure

SCRIPTS = ("oltp_point_select", "oltp_read_only", "oltp_read_write")
# sysbench prints this once every thread has logged in and prepared its statements.
STARTED = "Threads started!"


class SysbenchError(CannotMeasure):
    """sysbench is missing, failed, or reported errors; the message holds the end of its output."""


@dataclass(frozen=True)
class Endpoint:
    """Where sysbench connects."""

    host: str
    port: int
    user: str
    password: str
    database: str


@dataclass(frozen=True)
class Load:
    """One run. `events` > 0 replaces the time limit; `rate` > 0 is an open loop of so many a second."""

    script: str
    threads: int
    prepared: bool
    seconds: int = 0
    events: int = 0
    rate: int = 0
    seed: int = 0
    tables: int = 1
    table_size: int = 10_000
    histogram: bool = False
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What sysbench printed at the end of a run. Times in milliseconds."""

    queries: int
    transactions: int
    ignored_errors: int
    reconnects: int
    seconds: float
    latency_avg: float
    latency_p95: float
    latency_max: float
    histogram: tuple[tuple[float, int], ...] = field(default=(), repr=False)

    @property
    def qps(self) -> float:
        return self.queries / self.seconds if self.seconds else 0.0


_PATTERNS = {
    "queries": r"^\s+queries:\s+(\d+)\s",
    "transactions": r"^\s+transactions:\s+(\d+)\s",
    "ignored_errors": r"^\s+ignored errors:\s+(\d+)\s",
    "reconnects": r"^\s+reconnects:\s+(\d+)\s",
    "seconds": r"^\s+total time:\s+([\d.]+)s",
    "latency_avg": r"^\s+avg:\s+([\d.]+)",
    "latency_p95": r"^\s+95th percentile:\s+([\d.]+)",
    "latency_max": r"^\s+max:\s+([\d.]+)",
}
_HISTOGRAM_LINE = re.compile(r"^\s*([\d.]+) \|[* ]*\s(\d+)\s*$", re.MULTILINE)


def parse_report(text: str) -> Report:
    """Reads the final report. SysbenchError names the line that is missing."""
    found = {name: re.search(pattern, text, re.MULTILINE) for name, pattern in _PATTERNS.items()}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise SysbenchError(f"sysbench printed no {', '.join(missing)}:\n{text[-2000:]}")
    value = {name: match.group(1) for name, match in found.items() if match is not None}
    return Report(
        queries=int(value["queries"]),
        transactions=int(value["transactions"]),
        ignored_errors=int(value["ignored_errors"]),
        reconnects=int(value["reconnects"]),
        seconds=float(value["seconds"]),
        latency_avg=float(value["latency_avg"]),
        latency_p95=float(value["latency_p95"]),
        latency_max=float(value["latency_max"]),
        histogram=tuple((float(ms), int(count)) for ms, count in _HISTOGRAM_LINE.findall(text)),
    )


def command(load: Load, to: Endpoint, action: str = "run") -> list[str]:
    """The argument vector of `sysbench SCRIPT … ACTION`."""
    return [
        "sysbench",
        load.script,
        "--db-driver=mysql",
        f"--mysql-host={to.host}",
        f"--mysql-port={to.port}",
        f"--mysql-user={to.user}",
        f"--mysql-password={to.password}",
        f"--mysql-db={to.database}",
        f"--db-ps-mode={'auto' if load.prepared else 'disable'}",
        f"--tables={load.tables}",
        f"--table-size={load.table_size}",
        f"--threads={load.threads}",
        f"--time={load.seconds}",
        f"--events={load.events}",
        f"--rate={load.rate}",
        f"--rand-seed={load.seed}",
        "--rand-type=uniform",
        "--auto_inc=off",
        f"--histogram={'on' if load.histogram else 'off'}",
        *load.extra,
        action,
    ]


def require() -> None:
    """Raises SysbenchError with advice when sysbench is not on PATH."""
    if shutil.which("sysbench") is None:
        raise SysbenchError("sysbench is not on PATH: apt-get install sysbench")


def run(
    load: Load,
    to: Endpoint,
    *,
    prefix: Sequence[str] = (),
    on_started: Callable[[int], None] | None = None,
    timeout: float = 600.0,
) -> Report:
    """Runs to the end and returns the report.

    `prefix` goes before the command (`taskset -c 1`). `on_started(pid)` is called at the moment when all
    threads are connected and prepared and the measured part begins; sysbench writes that line unbuffered.
    Raises SysbenchError on a failed exit, on a report that cannot be read, and on reconnects, which would
    mean that some queries failed.
    """
    process = subprocess.Popen(
        [*prefix, *command(load, to)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    watchdog = threading.Timer(timeout, process.kill)
    watchdog.start()
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if on_started is not None and line.startswith(STARTED):
                on_started(process.pid)
        code = process.wait()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    return _checked(code, "".join(lines), load)


def _checked(code: int, text: str, load: Load) -> Report:
    if code != 0:
        raise SysbenchError(f"sysbench {load.script} ended with code {code}:\n{text[-2000:]}")
    report = parse_report(text)
    if report.reconnects or report.queries == 0:
        raise SysbenchError(
            f"sysbench {load.script}: {report.queries} queries, {report.reconnects} reconnects"
        )
    return report
