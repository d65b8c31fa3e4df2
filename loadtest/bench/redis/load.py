"""redis-benchmark as the load: its command line and its report."""

import csv
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.bench.errors import CannotMeasure
from loadtest.bench.redis.cells import CLIENTS, MGET_KEYS, RedisCell

KEYS = 100_000
VALUE_SIZE = 64
KEY = "key:__rand_int__"
COLUMNS = ("rps", "avg_latency_ms", "p95_latency_ms")


class RedisBenchmarkError(CannotMeasure):
    """redis-benchmark is missing, failed, or reported errors."""


@dataclass(frozen=True)
class Report:
    """What redis-benchmark printed. Times in milliseconds."""

    rps: float
    latency_avg: float
    latency_p95: float


def require() -> None:
    if shutil.which("redis-benchmark") is None:
        raise RedisBenchmarkError("redis-benchmark is not on PATH: apt-get install redis-tools")


def command(cell: RedisCell, port: int, requests: int) -> list[str]:
    """Random keys among KEYS; values are VALUE_SIZE bytes."""
    options = {"-p": port, "-c": CLIENTS, "-n": requests, "-P": cell.pipeline, "-r": KEYS, "-d": VALUE_SIZE}
    words = [word for name, value in options.items() for word in (name, str(value))]
    return ["redis-benchmark", *words, "--csv", *_test(cell)]


def _test(cell: RedisCell) -> list[str]:
    if cell.command == "MGET":
        return ["MGET", *[KEY] * MGET_KEYS]
    return ["-t", cell.command.lower()]


def run(cell: RedisCell, port: int, requests: int, *, prefix: Sequence[str] = ()) -> Report:
    """Raises RedisBenchmarkError on a failed exit, an error reply or a report that cannot be read."""
    done = subprocess.run(
        [*prefix, *command(cell, port, requests)], capture_output=True, text=True, timeout=600
    )
    if done.returncode or "Error" in done.stdout + done.stderr:
        raise RedisBenchmarkError(f"redis-benchmark {cell.name}: {(done.stdout + done.stderr)[-2000:]}")
    return parse_report(done.stdout)


def parse_report(text: str) -> Report:
    """The CSV that redis-benchmark prints for one test."""
    rows = list(csv.DictReader(text[text.find('"test"') :].splitlines()))
    if len(rows) != 1 or not set(COLUMNS) <= rows[0].keys():
        raise RedisBenchmarkError(f"redis-benchmark printed no report:\n{text[-2000:]}")
    return Report(*(float(rows[0][name]) for name in COLUMNS))
