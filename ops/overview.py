"""The overview page: plain HTML that refreshes itself, with no script and nothing from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape
from string import Template

from ops import digests
from ops.clock import age_seconds
from ops.readiness import Verdict
from ops.snapshot import Backend, Shard, Snapshot
from ops.table import duration, printable
from ops.timing import quantile

REFRESH_SECONDS = 5
SHOWN_SHARDS = 256
SHOWN_DIGESTS = 20

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem; color: #1b2430; background: #fff }
h1 { font-size: 1.25rem; margin: 0 } h2 { font-size: 1rem; margin: 1.4rem 0 .3rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .15rem .7rem .15rem 0; border-bottom: 1px solid #e3e7ec }
td { vertical-align: top } th { font-weight: 600; color: #5b6775 } .t { text-align: left }
code { font-size: .85rem; word-break: break-word }
.good { color: #17693a } .bad { color: #b3261e; font-weight: 600 } p { margin: .3rem 0 } a { color: #1a56b0 }
@media (prefers-color-scheme: dark) { body { background: #14181d; color: #dbe2ea } th { color: #93a1b0 }
 th, td { border-color: #2a323b } .good { color: #6fcf97 } .bad { color: #ff8a80 } a { color: #8ab4f8 } }
"""

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Fairlead</title>
<meta http-equiv="refresh" content="$refresh"><meta name="viewport" content="width=device-width">
<style>$style</style></head><body>
<h1>Fairlead <span class="$tone">$word</span></h1>
<p>$checks</p>
<p>$summary</p>
$sections
<p><a href="/metrics">metrics</a> · <a href="/digests?format=table">digests</a>
 · <a href="/slow?format=table">slow log</a> · <a href="/ready">ready</a></p>
</body></html>
""")


class Html(str):
    """Text that is markup already."""


def cell(value: object) -> str:
    """A value as HTML; whatever is not Html is escaped, unprintable characters by their code."""
    return value if isinstance(value, Html) else escape(printable(str(value)))


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """A titled table whose first `left` columns are text; nothing when there are no rows."""
    def line(tag: str, row: Sequence[object]) -> str:
        return "<tr>" + "".join(
            f'<{tag}{" class=t" if i < left else ""}>{cell(value)}</{tag}>' for i, value in enumerate(row)
        ) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<h2>{cell(title)}</h2><table>{line('th', heads)}{body}</table>" if body else ""


def toned(text: str, good: bool) -> Html:
    return Html(f'<span class="{"good" if good else "bad"}">{cell(text)}</span>')


class Rates:
    """Statements per second since an earlier look, kept in the admin process only."""

    LEAST_NS = 2_000_000_000

    def __init__(self) -> None:
        self._at = self._queries = 0
        self._rate: float | None = None

    def look(self, now_ns: int, queries: int) -> float | None:
        """The rate, None before there are two looks at least two seconds apart."""
        if not self._at:
            self._at, self._queries = now_ns, queries
        elif now_ns - self._at >= self.LEAST_NS:
            self._rate = (queries - self._queries) * 1e9 / (now_ns - self._at)
            self._at, self._queries = now_ns, queries
        return self._rate


def page(snapshot: Snapshot, verdict: Verdict, rates: Rates) -> str:
    """The whole page."""
    sections = [*(region(name, snapshot) for name in region_names(snapshot)), backends(snapshot),
                workers(snapshot), top_digests(snapshot)]
    return PAGE.substitute(
        refresh=REFRESH_SECONDS, style=STYLE, tone="good" if verdict.ok else "bad",
        word="ready" if verdict.ok else "not ready",
        checks=" · ".join(toned(f"{name}: {found}", ok) for name, (ok, found) in verdict.checks.items()),
        summary=cell(summary(snapshot, rates)), sections="\n".join(sections),
    )


def summary(s: Snapshot, rates: Rates) -> str:
    rate = rates.look(s.now, s.total["queries"])
    lookups = s.total["plan_hits"] + s.total["plan_misses"] + s.total["plan_stale"]
    hits = f"{s.total['plan_hits'] / lookups:.2%}" if lookups else "none"
    parts = [
        f"{s.total['queries']} statements", f"{rate:.0f}/s" if rate is not None else "",
        f"{s.total['clients_connected']} clients", f"{sum(s.total['errors_by_class'])} errors",
        f"plan hits {hits}", f"{sum(s.total['pins_by_reason'])} sessions pinned",
    ]
    return " · ".join(part for part in parts if part)


def region_names(s: Snapshot) -> list[str]:
    """Regions of the active shards, the local one first."""
    local = {shard.region for shard in s.shards if shard.local}
    return sorted({shard.region for shard in s.shards}, key=lambda name: (name not in local, name))


def region(name: str, s: Snapshot) -> str:
    """A region's shards with their load, pools and times."""
    shards = [shard for shard in s.shards if shard.region == name][:SHOWN_SHARDS]
    title = f"Region {name or '(none)'}{' (this one)' if any(x.local for x in shards) else ''}"
    heads = ["shard", "statements", "on replicas", "errors", "in use", "idle", "waiting", "timeouts",
             "proxy p50", "proxy p99", "backend p50", "backend p99"]
    return table(title, heads, (shard_row(shard) for shard in shards))


def shard_row(shard: Shard) -> list[object]:
    read = shard.read
    times = [duration(quantile(read[which], q)) for which in ("proxy", "backend") for q in (0.5, 0.99)]
    return [shard.name, read["queries"], read["reads_replica"], read["errors"], read["in_use"], read["idle"],
            read["want"], read["timeouts"], *times]


def backends(s: Snapshot) -> str:
    heads = ["backend", "shard", "state", "role", "lag", "checked", "connections", "waiting"]
    shown = s.backends[: 4 * SHOWN_SHARDS]
    return table("Backends", heads, (backend_row(b, s.now) for b in shown), left=4)


def backend_row(b: Backend, now: int) -> list[object]:
    lag = "-" if b.health.lag_ms is None else duration(b.health.lag_ms * 1_000)
    checked = f"{age_seconds(b.health.checked_ns, now):.0f}s ago" if b.health.checked_ns else "never"
    held = f"{b.held} of {b.limit}" if b.limit else b.held
    return [b.name, b.shard, toned(b.health.state, b.health.state in ("up", "read_only")), b.health.role, lag,
            checked, held, b.wanted]


def workers(s: Snapshot) -> str:
    heads = ["worker", "state", "pid", "restarts", "epoch", "clients", "statements", "memory"]
    rows = [
        [w, toned(state, state in ("alive", "absent")), slot.pid or "-", slot.restarts, read["config_epoch"],
         read["clients_connected"], read["queries"], f"{used.resident_bytes >> 20} MiB" if used else "-"]
        for w, (state, slot, read, used) in enumerate(
            zip(s.worker_states, map(s.page.slot, range(len(s.workers))), s.workers, s.usage, strict=True))
    ]
    return table("Workers", heads, rows, left=2)


def top_digests(s: Snapshot) -> str:
    report = digests.top(s.page, limit=SHOWN_DIGESTS)
    heads = ["statement", "keyspace", "shards", "share", "count", "errors", "mean", "p99", "max"]
    rows = (digest_row(row) for row in report.rows)
    return table(f"Statements by time ({report.digests} shapes)", heads, rows, left=3)


def digest_row(row: digests.Row) -> list[object]:
    statement = Html(f"<code>{cell(digests.statement_of(row))}</code>")
    return [statement, row.keyspace or "-", ", ".join(row.shards) or "-", f"{row.share:.1%}", row.count,
            row.errors, duration(row.mean_us), duration(row.p99_us), duration(row.max_us)]
