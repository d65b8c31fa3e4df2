"""Callgrind: its output files, and asking a running process for its counts (Valgrind manual, "Callgrind")."""

import re
import subprocess
from collections import Counter
from pathlib import Path

from loadtest.bench.errors import CannotMeasure

CONTROL_TIMEOUT = 120.0


class CallgrindError(CannotMeasure):
    """A file has no totals, or valgrind could not be asked."""


def command(folder: Path, program: list[str]) -> list[str]:
    """`program` under callgrind, forked and executed children too; every process writes files of its own."""
    return [
        "valgrind",
        "--tool=callgrind",
        "--trace-children=yes",
        # Threads take turns in order: valgrind serialises them, and a busy one could starve another.
        "--fair-sched=try",
        f"--callgrind-out-file={folder}/callgrind.out.%p",
        "--",
        *program,
    ]


def parse_totals(text: str) -> dict[str, int]:
    """{event: cost} of a callgrind.out file, for example {"Ir": 123}.

    The order of the costs is that of the `events:` line. A file with several parts has a `totals:` line for
    each, and they are added up. CallgrindError when there is none: the file is cut off.
    """
    events: list[str] = []
    sums: dict[str, int] = {}
    for line in text.splitlines():
        if line.startswith("events:"):
            events = line.split()[1:]
        elif line.startswith("totals:"):
            for event, cost in zip(events, line.split()[1:], strict=False):
                sums[event] = sums.get(event, 0) + int(cost)
    if not sums:
        raise CallgrindError("no events: and totals: lines: not a complete callgrind file")
    return sums


def read_instructions(path: Path) -> int:
    """Instructions executed (event Ir) of one callgrind.out file. CallgrindError names the file."""
    try:
        return parse_totals(path.read_text(errors="replace"))["Ir"]
    except (CallgrindError, KeyError) as error:
        raise CallgrindError(f"{path}: {error}") from error


Function = tuple[str, str]
"""(object file without its folder, function) of a program."""

Costs = Counter[Function]
"""Instructions spent in each function itself."""

_POSITION = re.compile(r"(c?)(ob|fn)=(\(\d+\))? ?(.*)")


def self_costs(text: str) -> Costs:
    """{function: instructions spent in itself} of a callgrind.out file with line positions.

    Names are given once and then referred to by number ("Callgrind Format", name compression); the line after
    `calls=` is the cost of the callee and counts there.
    """
    names: dict[tuple[str, str], str] = {}
    costs: Costs = Counter()
    now = {"ob": "", "fn": ""}
    called = False
    for line in text.splitlines():
        if position := _POSITION.fullmatch(line):
            callee, kind, number, name = position.groups()
            known = names.setdefault((kind, number), name) if number else name
            if not callee:
                now[kind] = known
        elif line.startswith("calls="):
            called = True
        elif line[:1] in "0123456789+-*" and len(fields := line.split()) == 2:
            if not called:
                costs[now["ob"].rpartition("/")[2], now["fn"]] += int(fields[1])
            called = False
    return costs


def newest_dump(folder: Path, pid: int) -> tuple[int, Path | None]:
    """(number, path) of the dump callgrind.out.PID.NUMBER written last, (0, None) before the first."""
    pattern = re.compile(rf"callgrind\.out\.{pid}\.(\d+)")
    numbered = [(int(m.group(1)), path) for path in folder.iterdir() if (m := pattern.fullmatch(path.name))]
    return max(numbered, default=(0, None))


def last_costs(folder: Path, pid: int) -> Costs:
    """The costs by function of the newest dump of a process. CallgrindError when there is none."""
    _, path = newest_dump(folder, pid)
    if path is None:
        raise CallgrindError(f"process {pid} wrote no dump")
    return self_costs(path.read_text(errors="replace"))


def instructions_since_last(folder: Path, pid: int) -> int:
    """User instructions of all threads of a process since this was last asked, or since it started.

    Asking for a dump also sets the counters to zero. CallgrindError when the process gives none.
    """
    before, _ = newest_dump(folder, pid)
    try:
        done = subprocess.run(
            ["callgrind_control", "--dump", str(pid)], capture_output=True, text=True, timeout=CONTROL_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CallgrindError(f"callgrind_control, pid {pid}: {error}") from error
    number, path = newest_dump(folder, pid)
    if path is None or number == before:
        raise CallgrindError(f"process {pid} wrote no dump: {done.stdout}{done.stderr}")
    return read_instructions(path)
