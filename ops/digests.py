"""The statement shapes that cost most: ranked, named, without literals, bounded."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from _speedups.stats import Digest, StatsPage
from ops import clock, names, table
from ops.parameters import one_of, within
from ops.timing import digest_quantile, mean

MOST = 1_000
ORDERS: dict[str, Callable[[Digest], float]] = {
    "total_time": lambda d: d.time.sum_us,
    "count": lambda d: d.time.samples,
    "mean": lambda d: mean(d.time),
    "p99": lambda d: digest_quantile(d.time, 0.99),
    "max": lambda d: d.time.max_us,
    "errors": lambda d: d.errors,
    "warnings": lambda d: d.warnings,
    "bytes": lambda d: d.bytes_out,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One digest as shown. Times in microseconds; `share` is its part of the time of all digests, 0 to 1."""

    digest: str
    statement: str
    truncated: bool
    user: str | None
    keyspace: str | None
    shards: list[str]
    count: int
    errors: int
    warnings: int
    bytes_out: int
    total_us: int
    share: float
    mean_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: int
    first_seen: str | None
    last_seen: str | None
    shadow: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The ranked rows, and `other`: what was executed without a slot of its own, so that totals add up."""

    by: str
    digests: int
    executions: int
    total_us: int
    rows: list[Row]
    other: Row


def top(page: StatsPage, by: str = "total_time", limit: int = 20) -> Report:
    """The `limit` (1 to MOST) first digests in the order `by`, a key of ORDERS. BadParameter otherwise."""
    order = ORDERS[one_of("by", by, ORDERS)]
    within("limit", limit, 1, MOST)
    other, *named = page.digests()
    named = [d for d in named if d.time.samples]
    total = sum(d.time.sum_us for d in named) + other.time.sum_us
    known = names.read(page)
    ranked = sorted(named, key=order, reverse=True)[:limit]
    return Report(
        by=by,
        digests=len(named),
        executions=sum(d.time.samples for d in named) + other.time.samples,
        total_us=total,
        rows=[row_of(d, total, known) for d in ranked],
        other=row_of(other, total, known),
    )


def row_of(digest: Digest, total_us: int, known: names.Names) -> Row:
    """Name and summarise one digest."""
    time = digest.time
    return Row(
        digest=f"{digest.fingerprint:016x}",
        statement=digest.text,
        truncated=digest.truncated,
        user=names.name_of(known["user"], digest.user),
        keyspace=names.name_of(known["keyspace"], digest.keyspace),
        shards=names.shards_in(digest.shard_mask, known["shard"]),
        count=time.samples,
        errors=digest.errors,
        warnings=digest.warnings,
        bytes_out=digest.bytes_out,
        total_us=time.sum_us,
        share=round(time.sum_us / total_us, 4) if total_us else 0.0,
        mean_us=round(mean(time), 1),
        p50_us=round(digest_quantile(time, 0.50), 1),
        p95_us=round(digest_quantile(time, 0.95), 1),
        p99_us=round(digest_quantile(time, 0.99), 1),
        max_us=time.max_us,
        first_seen=clock.iso(digest.first_seen_ns),
        last_seen=clock.iso(digest.last_seen_ns),
        shadow=digest.mark,
    )


def as_json(report: Report) -> dict[str, Any]:
    """Plain values for a JSON encoder."""
    return asdict(report)


def as_table(report: Report) -> str:
    """The rows as text, `other` last when it holds anything."""
    rows = [*report.rows, report.other] if report.other.count else report.rows
    return table.render(
        ["share", "total", "count", "err", "mean", "p99", "max", "keyspace", "shards", "digest", "statement"],
        [[f"{r.share:.1%}", table.duration(r.total_us), r.count, r.errors, table.duration(r.mean_us),
          table.duration(r.p99_us), table.duration(r.max_us), r.keyspace or "-", ",".join(r.shards) or "-",
          r.digest, statement_of(r)] for r in rows],
        left=frozenset({"keyspace", "shards", "digest", "statement"}),
    )


def statement_of(row: Row) -> str:
    """The text as one line, with a mark when it was cut."""
    if not row.statement:
        return "(other)"
    return row.statement + "…" if row.truncated else row.statement
