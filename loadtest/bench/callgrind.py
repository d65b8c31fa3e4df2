"""Callgrind output files and its control tool (Valgrind manual, 6 "Callgrind", and "Callgrind Format")."""

import re
from pathlib import Path


class CallgrindError(Exception):
    """A file has no totals, or valgrind could not be asked."""


def parse_totals(text: str) -> dict[str, int]:
    """{event: cost} of a callgrind.out file, for example {"Ir": 123}.

    The order of the costs is that of the `events:` line; the `totals:` line at the end counts what the file
    holds. A file with several parts (`part:`) has one of each per part, and they are added up.
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


def newest_dump(folder: Path, pid: int) -> Path | None:
    """The numbered dump (callgrind.out.PID.N) of a process that was written last, None before the first."""
    numbered = [
        (int(match.group(1)), path)
        for path in folder.glob(f"callgrind.out.{pid}.*")
        if (match := re.fullmatch(rf"callgrind\.out\.{pid}\.(\d+)", path.name))
    ]
    return max(numbered)[1] if numbered else None
