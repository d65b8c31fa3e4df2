"""Tables from the shared page: what every worker counts, without asking anybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from _speedups.stats import ARRAYS, Timing
from ops import clock, digests, slowlog
from ops.families import FAMILIES
from ops.readiness import ready
from ops.timing import mean, quantile
from proxy.console.sources import Sources, wall, wall_of_iso, wall_of_ns
from proxy.console.table import Row, Table, columns

REASONS = (
    ("park", "parks_by_reason", "a statement that the relay handed over, by what it lacked"),
    ("error", "errors_by_class", "an error that a client was sent, by its class"),
    ("pin", "pins_total_by_reason", "a session that had to keep its connection, by the cause"),
)


def _digests(sources: Sources) -> Iterator[Row]:
    for row in digests.top(sources.page, limit=digests.MOST).rows:
        yield (
            row.digest, row.statement, int(row.truncated), row.user, row.keyspace, ", ".join(row.shards) or None,
            row.count, row.errors, row.warnings, row.bytes_out, row.total_us, row.share, row.mean_us, row.p50_us,
            row.p95_us, row.p99_us, row.max_us, wall_of_iso(row.first_seen), wall_of_iso(row.last_seen),
        )  # fmt: skip


def _slow(sources: Sources) -> Iterator[Row]:
    for row in slowlog.newest(sources.page, limit=slowlog.MOST).rows:
        yield (
            row.seq, wall_of_iso(row.when), row.worker, row.session, row.user, row.keyspace, row.shard, row.total_us,
            row.backend_us, row.wait_us, row.bytes_out, row.error, ", ".join(row.flags) or None, row.digest,
            row.statement,
        )  # fmt: skip


def _reasons(sources: Sources) -> Iterator[Row]:
    total = sources.snapshot.total
    for kind, counter, meaning in REASONS:
        now = total["pins_by_reason"] if kind == "pin" else [None] * len(total[counter])
        for reason, count, held in zip(ARRAYS[counter], total[counter], now, strict=True):
            if count:
                yield kind, reason.replace("_", " "), count, held, meaning


def _servers(sources: Sources) -> Iterator[Row]:
    settings = sources.settings
    for one in sources.snapshot.backends:
        shard, health = settings.shards.get(one.shard), one.health
        yield (
            one.name, one.shard or None, shard.region if shard is not None else None, health.role, health.state,
            health.flavour, _version(health.server_version), health.server_id, health.lag_ms, health.failures,
            wall_of_ns(health.last_ok_ns), wall_of_ns(health.checked_ns), wall_of_ns(health.changed_ns),
            one.limit, one.held, one.wanted,
        )  # fmt: skip


def _version(number: int) -> str | None:
    """100620 -> '10.6.20'"""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}" if number else None


def _workers(sources: Sources) -> Iterator[Row]:
    s = sources.snapshot
    for index, (state, counters, usage) in enumerate(zip(s.worker_states, s.workers, s.usage, strict=True)):
        slot = s.page.slot(index)
        beat = min(counters["heartbeat_loop_ns"], counters["heartbeat_relay_ns"])
        yield (
            index, slot.pid or None, state, wall_of_ns(slot.started_ns), slot.restarts, counters["config_epoch"],
            clock.age_seconds(beat, s.now) if beat else None, counters["clients_connected"], counters["queries"],
            usage.resident_bytes if usage else None, usage.cpu_seconds if usage else None,
        )  # fmt: skip


def _shards(sources: Sources) -> Iterator[Row]:
    for index, name in enumerate(sources.snapshot.names["shard"]):
        if name.active:
            one = sources.page.shard_sum(index)
            backend = sources.page.histogram(index, "backend")
            yield (
                name.text, sources.settings.shards[name.text].region if name.text in sources.settings.shards else None,
                int(name.local), one["queries"], one["reads_replica"], one["errors"], one["lost"], one["in_use"],
                one["idle"], one["want"], one["connecting"], one["waits"], one["timeouts"], one["bytes_in"],
                one["bytes_out"], mean(backend), quantile(backend, 0.5), quantile(backend, 0.99),
            )  # fmt: skip


def _metrics(sources: Sources) -> Iterator[Row]:
    for family in FAMILIES:
        for labels, value in family.source(sources.snapshot):
            words = ", ".join(f"{name}={label}" for name, label in zip(family.labels, labels, strict=True)) or None
            yield from _samples(family.name, family.kind, family.help, words, value)


def _samples(name: str, kind: str, meaning: str, labels: str | None, value: Any) -> Iterator[Row]:
    if isinstance(value, Timing):
        yield f"{name}_count", kind, labels, float(value.samples), meaning
        yield f"{name}_sum", kind, labels, value.sum_us / 1e6, meaning
    else:
        yield f"{name}_total" if kind == "counter" else name, kind, labels, float(value), meaning


def _status(sources: Sources) -> Iterator[Row]:
    s, settings = sources.snapshot, sources.settings
    verdict = ready(s.page)
    facts: dict[str, Any] = {
        "region": settings.region,
        "ready": "yes" if verdict.ok else "no",
        **{f"ready_{name}": found for name, (_, found) in verdict.checks.items()},
        "configuration": sources.number,
        "configuration_file": str(sources.config),
        "configuration_at": wall_of_ns(s.state["config_loaded_ns"]),
        "configurations_refused": s.state["config_reload_failures"],
        "draining": "yes" if s.state["draining"] else "no",
        "supervisor_pid": s.state["supervisor_pid"],
        "workers": len(s.workers),
        "clients": s.total["clients_connected"],
        "queries": s.total["queries"],
        "plan_hits": s.total["plan_hits"],
        "transactions": s.total["transactions"],
        "now": wall(sources.now),
    }
    for name, value in facts.items():
        if value is not None:
            yield name, str(value)


TABLES = (
    Table(
        "digests", "Statement shapes and what they cost, the costliest first; no literals.",
        columns(
            "digest TEXT fingerprint, as in sessions and plans", "statement TEXT template",
            "truncated BIGINT 1: the template was cut", "user TEXT who ran it", "keyspace TEXT its database",
            "shards TEXT where it went", "count BIGINT executions", "errors BIGINT that failed",
            "warnings BIGINT counted by the servers", "bytes_out BIGINT sent to clients", "total_us BIGINT all time",
            "share DOUBLE of the time of all", "mean_us DOUBLE mean time", "p50_us DOUBLE median",
            "p95_us DOUBLE 95th percentile", "p99_us DOUBLE 99th percentile", "max_us BIGINT longest",
            "first_seen DATETIME UTC", "last_seen DATETIME UTC",
        ), _digests,
    ),
    Table(
        "slow", "The newest slow statements (telemetry.slow_query); no literals.",
        columns(
            "seq BIGINT rising", "at DATETIME UTC", "worker BIGINT which", "session BIGINT relay's number",
            "user TEXT who", "keyspace TEXT its database", "shard TEXT where it went", "total_us BIGINT all in all",
            "backend_us BIGINT at the server", "wait_us BIGINT for a connection", "bytes_out BIGINT to the client",
            "error BIGINT errno, 0 for none", "flags TEXT prepared, replica, scatter, transaction",
            "digest TEXT fingerprint", "statement TEXT template",
        ), _slow,
    ),
    Table(
        "route_reasons", "Why statements are not simply relayed: counters by reason since the start.",
        columns(
            "kind TEXT park, pin or error", "reason TEXT which", "count BIGINT since the start",
            "now BIGINT sessions pinned by it now", "meaning TEXT of the kind",
        ), _reasons,
    ),
    Table(
        "servers", "Servers and peers with their health.",
        columns(
            "name TEXT address, or the peer's region", "shard TEXT whose", "region TEXT of the shard",
            "role TEXT primary, replica or peer", "state TEXT up, down, read_only or unknown",
            "flavour TEXT mariadb, mysql, fairlead", "version TEXT as it says", "server_id BIGINT as it says",
            "lag_ms BIGINT behind its primary", "failures BIGINT failed checks in a row", "last_ok DATETIME good check",
            "checked DATETIME last check", "changed DATETIME last change of state",
            "connection_limit BIGINT all workers",
            "connections BIGINT taken of the limit", "wanted BIGINT more that workers wait for",
        ), _servers,
    ),
    Table(
        "workers", "The worker processes.",
        columns(
            "worker BIGINT place", "pid BIGINT process", "state TEXT alive, starting, stale or absent",
            "started DATETIME UTC", "restarts BIGINT since the start", "configuration BIGINT that it follows",
            "beat_age_s DOUBLE since its last sign of life", "clients BIGINT connected", "queries BIGINT answered",
            "memory BIGINT resident bytes", "cpu_s DOUBLE used",
        ), _workers,
    ),
    Table(
        "shards", "Shards with their traffic, all workers together.",
        columns(
            "name TEXT shard", "region TEXT home", "is_local BIGINT 1: this region's", "queries BIGINT sent there",
            "reads_replica BIGINT to replicas", "errors BIGINT answered", "lost BIGINT connections lost",
            "in_use BIGINT connections lent", "idle BIGINT connections", "want BIGINT sessions waiting",
            "connecting BIGINT being opened", "waits BIGINT that ever waited", "timeouts BIGINT waited too long",
            "bytes_in BIGINT from servers", "bytes_out BIGINT to servers", "mean_us DOUBLE at the server",
            "p50_us DOUBLE median", "p99_us DOUBLE 99th percentile",
        ), _shards,
    ),
    Table(
        "metrics", "What /metrics shows; of histograms count and sum.",
        columns(
            "name TEXT series", "kind TEXT counter, gauge or histogram", "labels TEXT name=value, …",
            "value DOUBLE seconds, bytes or a count", "meaning TEXT what it counts",
        ), _metrics,
    ),
    Table(
        "status", "This Fairlead in a few lines (SHOW FAIRLEAD STATUS).",
        columns("name TEXT of the fact", "value TEXT the fact"), _status,
    ),
)  # fmt: skip
