"""The table of decision records, read from the audit log's files as far as they are whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.audit import segment
from ops.audit.hlc import seconds_of
from proxy.console.sources import Sources, wall
from proxy.console.table import Row, Table, columns

MOST = 2000
"""The newest records that are shown."""
MOST_BYTES = 32 << 20
"""Of each log's newest segments, that are read for them."""

_LISTS = ("tables", "classes", "homes", "rules", "obligations", "shards")


def _decisions(sources: Sources) -> Iterator[Row]:
    directory = audit_directory(sources)
    if directory is None:
        return
    found: deque[dict[str, Any]] = deque(maxlen=MOST)
    for path in sorted(_newest(directory)):
        found.extend(_of(path, sources))
    for plain in sorted(found, key=lambda one: int(one["ts"]), reverse=True):
        yield (
            wall(seconds_of(plain["ts"])), plain.get("subject"), plain.get("verdict"),
            *(", ".join(plain.get(name, ())) or None for name in _LISTS), plain.get("to"), plain.get("purpose"),
            plain.get("counterparty"), plain.get("fingerprint"), plain.get("epoch"), plain.get("version"),
            plain.get("rows"), plain.get("bytes_out"), plain.get("latency_us"), plain.get("proxy"),
            plain.get("trial"), plain.get("shadow"), plain.get("finding"),
        )  # fmt: skip


def audit_directory(sources: Sources) -> Path | None:
    """Where the settings say that decision records are written; None when they do not."""
    audit = sources.settings.audit
    return audit.folder if audit is not None else None


def _newest(directory: Path) -> Iterator[Path]:
    """Segments from the end back, of each log, within MOST_BYTES."""
    for place in sorted({file.parent for file in directory.rglob(f"*{segment.SUFFIX}")}):
        for files in segment.segments_in(place).values():
            left = MOST_BYTES
            for path in reversed(list(files.values())):
                yield path
                left -= path.stat().st_size
                if left <= 0:
                    break


def _of(path: Path, sources: Sources) -> Iterator[dict[str, Any]]:
    """Decisions with what their results add."""
    decisions: dict[int, dict[str, Any]] = {}
    try:
        with path.open("rb") as stream:
            for entry in segment.entries(stream):
                if entry.kind == segment.DECISION:
                    decisions[entry.plain["ts"]] = entry.plain
                elif entry.kind == segment.RESULT and entry.plain["of"] in decisions:
                    kept = ("rows", "bytes_out", "latency_us", "finding")
                    result = {name: entry.plain[name] for name in kept if name in entry.plain}
                    decisions[entry.plain["of"]] |= result
    except segment.Damage as damage:
        if not damage.torn:
            sources.warnings.append(f"{path}: entry {damage.number}: {damage.what}")
    except OSError as error:
        sources.warnings.append(f"{path}: {error.strerror}")
    yield from decisions.values()


TABLES = (
    Table(
        "decisions", f"The newest {MOST} decision records of the policy (docs/audit.md); no literals, no values.",
        columns(
            "at DATETIME UTC", "subject TEXT user or certificate", "verdict TEXT what was decided",
            "tables TEXT concerned", "classes TEXT of their data", "homes TEXT legal domains of the rows",
            "rules TEXT that decided", "obligations TEXT that came with it", "shards TEXT asked",
            "to_domain TEXT legal domain of who asks", "purpose TEXT stated", "counterparty TEXT for whom",
            "digest TEXT fingerprint", "epoch BIGINT of the policy", "version BIGINT of the configuration",
            "row_count BIGINT answered", "bytes_out BIGINT answered", "latency_us BIGINT taken",
            "proxy TEXT which Fairlead", "trial BIGINT version on trial that decided, or would have",
            "shadow TEXT what that one would do: same, refused, allowed, changed",
            "finding TEXT witness: its answer was kept back (FL2110)",
        ), _decisions,
    ),
)  # fmt: skip
