"""The newest slow statements: when, where, how long, which digest. No literals, bounded by the rings."""

from dataclasses import asdict, dataclass
from typing import Any

from _speedups.stats import SLOW_FLAGS, Slow, StatsPage
from ops import clock, names, table
from ops.parameters import within

MOST = 1_000

Texts = dict[tuple[int, int, int], str]


@dataclass(frozen=True, slots=True)
class Row:
    """One slow statement; durations in microseconds. `statement` is None when it has no digest (any more)."""

    seq: int
    when: str | None
    worker: int
    session: int
    user: str | None
    keyspace: str | None
    shard: str | None
    total_us: int
    backend_us: int
    wait_us: int
    bytes_out: int
    error: int
    flags: list[str]
    digest: str
    statement: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """Rows oldest first; ask with `after` = `next_after` for what comes later."""

    rows: list[Row]
    next_after: int


def newest(page: StatsPage, after: int = 0, limit: int = 50) -> Report:
    """The `limit` (1 to MOST) newest entries with seq > after. BadParameter for other numbers."""
    entries = page.slow(within("after", after, 0, 2**63), within("limit", limit, 1, MOST))
    texts = texts_of(page) if entries else {}
    known = names.read(page)
    rows = [row_of(entry, texts, known) for entry in entries]
    return Report(rows, rows[-1].seq if rows else after)


def texts_of(page: StatsPage) -> Texts:
    """Statement texts by what identifies a digest."""
    return {(d.fingerprint, d.user, d.keyspace): d.text for d in page.digests()[1:]}


def row_of(entry: Slow, texts: Texts, known: names.Names) -> Row:
    """Name one entry."""
    return Row(
        seq=entry.seq,
        when=clock.iso(entry.ts_ns),
        worker=entry.worker,
        session=entry.session,
        user=names.name_of(known["user"], entry.user),
        keyspace=names.name_of(known["keyspace"], entry.keyspace),
        shard=names.name_of(known["shard"], entry.shard),
        total_us=entry.total_us,
        backend_us=entry.backend_us,
        wait_us=entry.wait_us,
        bytes_out=entry.bytes_out,
        error=entry.error,
        flags=[name for name, bit in SLOW_FLAGS.items() if entry.flags & bit],
        digest=f"{entry.fingerprint:016x}",
        statement=texts.get((entry.fingerprint, entry.user, entry.keyspace)),
    )


def as_json(report: Report) -> dict[str, Any]:
    """Plain values for a JSON encoder."""
    return asdict(report)


def as_table(report: Report) -> str:
    """The rows as text."""
    return table.render(
        ["seq", "when", "total", "backend", "wait", "error", "shard", "user", "digest", "statement"],
        [[r.seq, r.when or "-", table.duration(r.total_us), table.duration(r.backend_us),
          table.duration(r.wait_us), r.error or "-", r.shard or "-", r.user or "-", r.digest,
          r.statement if r.statement is not None else "(no digest)"] for r in report.rows],
        left=frozenset({"when", "shard", "user", "digest", "statement"}),
    )
