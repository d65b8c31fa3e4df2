"""The metric families: names, units and meanings by Prometheus's conventions, and where samples come from.

No label holds a statement, table, key, user or client, so the topology bounds the number of series.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from _speedups.redis_stats import ERROR_CLASSES as REDIS_ERRORS
from _speedups.redis_stats import FAMILIES as REDIS_FAMILIES
from _speedups.redis_stats import PARK_REASONS as REDIS_PARKS
from _speedups.stats import ARRAYS, BACKEND_ROLES, BACKEND_STATES
from ops import clock
from ops.ledger import Reading
from ops.readiness import ready
from ops.snapshot import Backend, Snapshot

PREFIX = "fairlead_"
PROXY_EDGES_US = tuple(2**n for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20))
REDIS_EDGES_US = tuple(2**n for n in (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 22))
BACKEND_EDGES_US = tuple(2**n for n in (6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24))

Samples = Iterable[tuple[tuple[str, ...], Any]]
Source = Callable[[Snapshot], Samples]


@dataclass(frozen=True, slots=True)
class Family:
    """One family. `kind` is counter, gauge or histogram, whose samples are Timings to be cut at edges_us."""

    kind: str
    name: str
    help: str
    source: Source
    labels: tuple[str, ...] = ()
    edges_us: tuple[int, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which its samples appear."""
        suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
        return tuple(self.name + suffix for suffix in suffixes[self.kind])


def counter(name: str, meaning: str, source: Source, *labels: str) -> Family:
    return Family("counter", PREFIX + name, meaning, source, labels)


def gauge(name: str, meaning: str, source: Source, *labels: str) -> Family:
    return Family("gauge", PREFIX + name, meaning, source, labels)


# ---------------------------------------------------------------- sources
def one(value: Callable[[Snapshot], float | None]) -> Source:
    """A single sample, absent where it is None."""
    def samples(s: Snapshot) -> Samples:
        found = value(s)
        return [] if found is None else [((), found)]
    return samples


def total(name: str, scale: float = 1.0) -> Source:
    """One field over all workers."""
    return lambda s: [((), s.total[name] * scale)]


def totals(**fields: str) -> Source:
    """Several fields as one family: label value = field (a trailing underscore is dropped)."""
    return lambda s: [((label.rstrip("_"),), s.total[name]) for label, name in fields.items()]


def by_reason(name: str) -> Source:
    """A by-reason array, the reason as label."""
    return lambda s: [((reason,), n) for reason, n in zip(ARRAYS[name], s.total[name], strict=True)]


def some_of(name: str, *reasons: str) -> Source:
    """Some of a by-reason array; one alone needs no label."""
    places = [(reason, ARRAYS[name].index(reason)) for reason in reasons]
    return lambda s: [((reason,) if len(places) > 1 else (), s.total[name][at]) for reason, at in places]


EXPOSED = ("budget", "class", "origin", "to", "counterparty")


def exposed(what: Callable[[Reading], int]) -> Source:
    """Of each flow that a budget counts."""
    return lambda s: [
        ((one.flow.budget, one.flow.data_class, one.flow.origin, one.flow.to, one.flow.counterparty), what(one))
        for one in s.meters
    ]


def state(name: str) -> Source:
    """A field of the supervisor."""
    return lambda s: [((), s.state[name])]


def shard(name: str, scale: float = 1.0) -> Source:
    """One field or Timing of every shard."""
    return lambda s: [((x.name,), x.read[name] if scale == 1.0 else x.read[name] * scale) for x in s.shards]


def shard_by(**fields: str) -> Source:
    """Several fields of every shard, as `totals`."""
    return lambda s: [((x.name, label.rstrip("_")), x.read[name])
                      for x in s.shards for label, name in fields.items()]


def backend(value: Callable[[Backend], float | None]) -> Source:
    """One value of every backend, absent where it is None."""
    def samples(s: Snapshot) -> Iterator[tuple[tuple[str, ...], float]]:
        for b in s.backends:
            found = value(b)
            if found is not None:
                yield (b.shard, b.name), found
    return samples


def backend_is(field: str, values: tuple[str, ...]) -> Source:
    """1 for the value that holds, 0 for the others."""
    return lambda s: [((b.shard, b.name, value), float(getattr(b.health, field) == value))
                      for b in s.backends for value in values]


def worker(value: Callable[[Snapshot, int], float | None]) -> Source:
    """One value of every worker, absent where it is None."""
    def samples(s: Snapshot) -> Iterator[tuple[tuple[str, ...], float]]:
        for index in range(s.page.shape.workers):
            found = value(s, index)
            if found is not None:
                yield (str(index),), found
    return samples


def redis(name: str) -> Source:
    """One field of the Redis side over all workers."""
    return lambda s: [((), s.redis[name])]


def redis_array(name: str, labels: tuple[str, ...]) -> Source:
    return lambda s: [((label,), n) for label, n in zip(labels, s.redis[name], strict=True)]


def redis_shard(name: str) -> Source:
    """One field or Timing of every shard's Redis."""
    return lambda s: [((x.name,), x.redis[name]) for x in s.shards]


def worker_field(name: str) -> Source:
    return worker(lambda s, w: s.workers[w][name])


def worker_usage(attribute: str) -> Source:
    return worker(lambda s, w: getattr(s.usage[w], attribute, None))


def heartbeat_ages(s: Snapshot) -> Samples:
    for index, read in enumerate(s.workers):
        for thread in ("relay", "loop"):
            if beat := read[f"heartbeat_{thread}_ns"]:
                yield (str(index), thread), clock.age_seconds(beat, s.now)


def instant(monotonic_ns: int) -> float | None:
    """Unix time, None for one never set."""
    return round(clock.wall_seconds(monotonic_ns), 3) if monotonic_ns else None


def lag(b: Backend) -> float | None:
    return None if b.health.lag_ms is None else b.health.lag_ms / 1e3


def dotted(version: int) -> str:
    """101119 -> 10.11.19; 0 -> empty."""
    return f"{version // 10_000}.{version // 100 % 100}.{version % 100}" if version else ""


def installed_version() -> str:
    try:
        return metadata.version("fairlead")
    except metadata.PackageNotFoundError:
        return "unknown"


# ---------------------------------------------------------------- the families
STATEMENTS = (
    counter("queries", "Statements taken from clients.", total("queries")),
    counter("protocol_queries", "Statements by protocol.",
            totals(text="queries_text", prepared="queries_prepared"), "protocol"),
    counter("errors", "Errors sent to clients, by class.", by_reason("errors_by_class"), "class"),
    counter("refusals", "Statements that Fairlead itself refused.", total("refusals")),
    counter(
        "shadow_plans", "Plans compared with what a version in shadow would make, by what becomes of them.",
        by_reason("shadows_by_change"), "change",
    ),
    counter("plan_cache_lookups", "Plan look-ups: hit, miss, or stale (planned under an older epoch).",
            totals(hit="plan_hits", miss="plan_misses", stale="plan_stale"), "result"),
    counter("plan_cache_evictions", "Plans dropped for room.", total("plan_evictions")),
    gauge("plan_cache_entries", "Plans held by all workers.", total("plan_cache_entries")),
    gauge("plan_cache_bytes", "Memory of the plans held.", total("plan_cache_bytes")),
    counter("parks", "Statements that the relay handed to the event loop, by reason.",
            by_reason("parks_by_reason"), "reason"),
    gauge("parked", "Statements with the event loop now.", total("parked")),
    gauge("prepared_statements", "Prepared statements held for clients.", total("statements")),
    counter("statement_prepares", "Statements prepared for clients.", total("stmt_prepares")),
    counter("statement_reprepares", "Statements prepared once more, on another backend connection.",
            total("stmt_reprepares")),
    counter("peer_queries", "Statements sent to another region's Fairlead.", total("peer_queries")),
    counter("slow_queries", "Entries ever written to the slow log.", state("slow_seq")),
    counter("ids_given", "AUTO_INCREMENT values that Fairlead gave.", total("ids_given")),
    counter("id_blocks", "Blocks of AUTO_INCREMENT values that were reserved on a shard.", total("id_blocks")),
    counter("kills", "Statements and connections killed on a client's demand.", total("kills")),
    gauge("digests", "Statement shapes with a slot of their own, all workers.",
          one(lambda s: s.digest_use[0])),
    counter("digest_other_executions", "Executions counted under `other`, for want of a slot.",
            one(lambda s: s.digest_use[1])),
)

SESSIONS = (
    gauge("clients", "Client connections open.", total("clients_connected")),
    counter("client_connections", "Client connections accepted.", total("clients_total")),
    counter("clients_rejected", "Client connections refused for a limit.", total("clients_rejected")),
    counter("handshake_failures", "Client handshakes that did not end well.", total("handshake_failures")),
    counter("auth_failures", "Clients that failed to authenticate.", total("auth_failures")),
    counter("clients_moved", "Clients that came from the process before (in) or moved to the next one (out).",
            totals(in_="sessions_taken", out="sessions_given"), "direction"),
    counter("logins_paused", "Logins refused unseen because too many of that user from that address had failed.",
            total("logins_paused")),
    counter("transactions", "Transactions begun.", total("transactions")),
    counter("rollbacks", "Transactions rolled back.", total("rollbacks")),
    gauge("transactions_open", "Transactions open.", total("transactions_open")),
    counter("state_switches", "Backend connections brought to another session state before use.",
            total("state_switches")),
    gauge("pinned_sessions", "Sessions that hold their backend connection, by reason.",
          by_reason("pins_by_reason"), "reason"),
    counter("pins", "Times that a session became pinned, by reason.",
            by_reason("pins_total_by_reason"), "reason"),
)

TRAFFIC = (
    counter("client_bytes", "Bytes from (in) and to (out) clients.",
            totals(in_="bytes_client_in", out="bytes_client_out"), "direction"),
    counter("backend_bytes", "Bytes from (in) and to (out) backends.",
            totals(in_="bytes_backend_in", out="bytes_backend_out"), "direction"),
    counter("scratch_statements", "Reads that a scratch server was to finish: answered, refused because a limit was "
            "reached, or failed.", some_of("scratch", "answered", "refused", "failed"), "outcome"),
    counter("scratch_rows", "Rows loaded into scratch servers.", some_of("scratch", "rows")),
    counter("scratch_bytes", "Their bytes, as shards gave them.", some_of("scratch", "bytes")),
    counter("relay_calls", "The relay's system calls, and its wake-ups by the event loop.",
            totals(receive="receives", send="sends", poll="polls", wakeup="wakeups"), "call"),
    gauge("buffered_bytes", "Bytes held for slow clients or backends.", total("bytes_buffered")),
)

ATOMICS = (
    counter("atomic_transactions", "Transactions over several shards by what became of them; and parts of such that a "
            "crash left behind, as recovery has ended them (recovered_commit, recovered_abort).",
            lambda s: [row for row in by_reason("atomics_by_outcome")(s) if row[0] != ("in_doubt",)], "outcome"),
    gauge("transactions_in_doubt", "Prepared parts of transactions that wait for recovery on the region's servers.",
          lambda s: [((), n) for (outcome,), n in by_reason("atomics_by_outcome")(s) if outcome == "in_doubt"]),
)

FAILOVER = (
    gauge("failover_waiting", "Statements that wait for a shard's new primary.", total("failover_waiting")),
    gauge("failover_waiting_bytes", "Their bytes.", total("failover_waiting_bytes")),
    counter("failover_waits", "Statements that have waited for a shard's new primary.", total("failover_waits")),
    counter("failover_wait_seconds", "Time that they waited.", total("failover_wait_us", 1e-6)),
    counter("failover_refusals", "Statements for which there was no primary in time, or no room to wait.",
            total("failover_refusals")),
)

AUDIT = (
    counter("audit_records", "Decision records on the disk.", total("audit_records")),
    counter("audit_bytes", "Their bytes.", total("audit_bytes")),
    gauge("audit_waiting_bytes", "Records that wait for the disk.", total("audit_waiting")),
    counter("audit_waits", "Statements that waited for their record, or for room for it.", total("audit_waits")),
    counter("audit_refusals", "Statements refused because no record of them could be kept.", total("audit_refusals")),
    counter("audit_unrecorded", "Refusals that are in no record, because too many waited for a disk that failed.",
            total("audit_unrecorded")),
    counter("audit_write_failures", "Writes of decision records that failed.", total("audit_failures")),
    counter("exposures", "Runs of rows, or persons named, that were counted against budgets: shown, refused because a "
            "budget was spent, or failed because the count could not be written down.",
            by_reason("exposures_by_outcome"), "outcome"),
    gauge("exposure_persons", "Distinct persons shown within a budget's window, the upper end of the estimate.",
          exposed(lambda one: one.exposure.high), *EXPOSED),
    gauge("exposure_persons_left", "What is left of the budget.", exposed(lambda one: one.left), *EXPOSED),
    gauge("audit_unpublished_anchors", "Anchors that the metastore has not taken yet.", total("audit_unpublished")),
)

POOLS = (
    counter("backend_connects", "Backend connections made.", total("backend_connects")),
    counter("backend_connect_failures", "Backend connections that could not be made.",
            total("backend_connect_failures")),
    counter("backend_closes", "Backend connections closed by Fairlead.", total("backend_closes")),
    counter("backend_lost", "Backend connections lost while in use.", total("backend_lost")),
    counter("pool_waits", "Sessions that waited for a backend connection.", total("pool_waits")),
    counter("pool_wait_seconds", "Time that sessions waited for a backend connection.",
            total("pool_wait_us", 1e-6)),
    counter("pool_timeouts", "Waits that ended with an error.", total("pool_timeouts")),
)

SHARDS = (
    gauge("shard_info", "Always 1: the shards of the configuration in force.",
          lambda s: [((x.name, x.region, str(x.local).lower()), 1.0) for x in s.shards],
          "shard", "region", "local"),
    counter("shard_queries", "Statements sent to the shard.", shard("queries"), "shard"),
    counter("shard_replica_reads", "Of these, reads sent to a replica.", shard("reads_replica"), "shard"),
    counter("shard_errors", "Errors that the shard answered.", shard("errors"), "shard"),
    counter("shard_lost", "Connections to the shard lost while in use.", shard("lost"), "shard"),
    counter("shard_waits", "Sessions that waited for a connection.", shard("waits"), "shard"),
    counter("shard_wait_seconds", "Time that they waited.", shard("wait_us", 1e-6), "shard"),
    counter("shard_timeouts", "Waits that ended with an error.", shard("timeouts"), "shard"),
    counter("shard_bytes", "Bytes from (in) and to (out) the shard.",
            shard_by(in_="bytes_in", out="bytes_out"), "shard", "direction"),
    gauge("shard_connections", "Connections to the shard, by what they do.",
          shard_by(in_use="in_use", idle="idle", connecting="connecting"), "shard", "state"),
    gauge("shard_waiting_sessions", "Sessions waiting for a connection now.", shard("want"), "shard"),
    Family("histogram", PREFIX + "proxy_seconds", "Time that Fairlead adds: request received until sent, and "
           "response read until written; not the wait for a connection.",
           shard("proxy"), ("shard",), PROXY_EDGES_US),
    Family("histogram", PREFIX + "backend_seconds", "Time that the shard takes: request sent until the "
           "last byte of its response.", shard("backend"), ("shard",), BACKEND_EDGES_US),
)

BACKENDS = (
    gauge("backend_info", "Always 1: what the last successful check found.",
          lambda s: [((b.shard, b.name, b.health.flavour, dotted(b.health.server_version)), 1.0)
                     for b in s.backends], "shard", "backend", "flavour", "version"),
    gauge("backend_state", "1 for the state that the last check found.",
          backend_is("state", BACKEND_STATES), "shard", "backend", "state"),
    gauge("backend_role", "1 for the role that the last check found.",
          backend_is("role", BACKEND_ROLES), "shard", "backend", "role"),
    gauge("backend_lag_seconds", "Replication lag; absent where it is unknown.", backend(lag),
          "shard", "backend"),
    gauge("backend_last_ok_timestamp_seconds", "When a check last succeeded.",
          backend(lambda b: instant(b.health.last_ok_ns)), "shard", "backend"),
    counter("backend_check_failures", "Checks that failed.", backend(lambda b: b.health.failures),
            "shard", "backend"),
    gauge("backend_connections", "Connections held by all workers.", backend(lambda b: b.held),
          "shard", "backend"),
    gauge("backend_connection_limit", "Connections allowed to all workers.",
          backend(lambda b: b.limit or None), "shard", "backend"),
    gauge("backend_waiting_sessions", "Sessions of all workers that wait for a connection.",
          backend(lambda b: b.wanted), "shard", "backend"),
)

WORKERS = (
    gauge("worker_up", "1 when both threads of the worker beat lately.",
          worker(lambda s, w: float(s.worker_states[w] == "alive")), "worker"),
    gauge("worker_heartbeat_age_seconds", "Time since the worker's thread last beat.", heartbeat_ages,
          "worker", "thread"),
    counter("worker_restarts", "Times that the worker was started again.",
            worker(lambda s, w: s.page.slot(w).restarts), "worker"),
    gauge("worker_start_timestamp_seconds", "When the worker was started.",
          worker(lambda s, w: instant(s.page.slot(w).started_ns)), "worker"),
    gauge("worker_config_epoch", "Configuration epoch that the worker follows.", worker_field("config_epoch"),
          "worker"),
    gauge("worker_draining", "1 while the worker takes no new clients.", worker_field("draining"), "worker"),
    counter("worker_queries", "Statements taken by the worker.", worker_field("queries"), "worker"),
    gauge("worker_clients", "Client connections of the worker.", worker_field("clients_connected"), "worker"),
    counter("worker_cpu_seconds", "Processor time of the worker, user and system.",
            worker_usage("cpu_seconds"), "worker"),
    gauge("worker_resident_bytes", "Resident memory of the worker.",
          worker_usage("resident_bytes"), "worker"),
    gauge("worker_open_descriptors", "Open descriptors of the worker.",
          worker_usage("descriptors"), "worker"),
)

REDIS = (
    counter("redis_requests", "Redis commands taken from clients, by family.", redis_array("by_family", REDIS_FAMILIES),
            "family"),
    counter("redis_errors", "Errors that Fairlead itself gave Redis clients, by class.",
            redis_array("errors_by_class", REDIS_ERRORS), "class"),
    counter("redis_denied", "Requests that the policy refused (errors of class `policy`).",
            lambda s: [((), s.redis["errors_by_class"][REDIS_ERRORS.index("policy")])]),
    counter("redis_parks", "Commands that the relay handed to the event loop, by reason.",
            redis_array("parks_by_reason", REDIS_PARKS), "reason"),
    counter("redis_splits", "Commands that were parted by shard.", redis("splits")),
    gauge("redis_clients", "Redis client connections open.", redis("clients")),
    counter("redis_client_connections", "Redis client connections accepted.", redis("connections")),
    counter("redis_client_bytes", "Bytes from (in) and to (out) Redis clients.",
            lambda s: [(("in",), s.redis["bytes_client_in"]), (("out",), s.redis["bytes_client_out"])], "direction"),
    gauge("redis_held_bytes", "Bytes of requests and replies held for Redis clients.", redis("held_bytes")),
    gauge("redis_streams", "Connections on which a large request goes in parts.", redis("streams")),
    counter("redis_pipeline_stalls", "Times that a client was not read on, for `redis.pipeline` requests under way.",
            redis("throttled")),
    counter("redis_overflows", "Clients disconnected because they took too little of what they were sent.",
            redis("overflows")),
    counter("redis_relay_calls", "The Redis relay's system calls, and its rounds.",
            lambda s: [((label,), s.redis[name]) for label, name in
                       (("receive", "receives"), ("send", "sends"), ("poll", "rounds"))], "call"),
    counter("redis_slow_commands", "Commands that entered the slow logs.", redis("slow")),
    counter("redis_key_samples", "Uses of keys that were looked at for hot keys (`redis.observe.sample`).",
            redis("samples")),
    counter("redis_shard_requests", "Requests sent to the shard's Redis; a parted command counts at each.",
            redis_shard("requests"), "shard"),
    counter("redis_shard_errors", "Errors that it answered.", redis_shard("errors"), "shard"),
    counter("redis_shard_unsent", "Requests refused because no connection led there.", redis_shard("unsent"), "shard"),
    counter("redis_shard_lost", "Shared connections to it that were lost.", redis_shard("lost"), "shard"),
    counter("redis_shard_bytes", "Bytes from (in) and to (out) the shard's Redis.",
            lambda s: [((x.name, way), x.redis[f"bytes_{way}"]) for x in s.shards for way in ("in", "out")],
            "shard", "direction"),
    gauge("redis_shard_connections", "Shared connections to it.", redis_shard("connections"), "shard"),
    gauge("redis_shard_inflight", "Requests under way there.", redis_shard("inflight"), "shard"),
    gauge("redis_shard_queue_bytes", "Bytes of requests that its connections have not taken yet.",
          redis_shard("queue_bytes"), "shard"),
    gauge("redis_shard_nodes", "Servers of it that take writes and are connected to: one, or a Redis Cluster's nodes.",
          redis_shard("nodes"), "shard"),
    gauge("redis_shard_ways", "Connected ways to a shard of another region: one for each user who asks there.",
          redis_shard("ways"), "shard"),
    gauge("redis_shard_replica_lag_seconds",
          "Time since its replica that is furthest behind was proven to have every write; 0 without one.",
          lambda s: [((x.name,), x.redis["replica_lag_us"] / 1e6) for x in s.shards], "shard"),
    counter("redis_shard_redirects", "Answers of a Redis Cluster's nodes that sent a request elsewhere, or put it off.",
            redis_shard("redirects"), "shard"),
    counter("redis_shard_waits", "Times that a client waited for a connection to take more.",
            redis_shard("waits"), "shard"),
    counter("redis_shard_stalls", "Times that a connection waited for a client to read.",
            redis_shard("stalls"), "shard"),
    Family("histogram", PREFIX + "redis_seconds", "Time from a request's being taken until its reply is complete.",
           redis_shard("time"), ("shard",), REDIS_EDGES_US),
)

PROCESS = (
    gauge("build_info", "Always 1: what runs.",
          lambda s: [((installed_version(), platform.python_version()), 1.0)], "version", "python"),
    gauge("ready", "1 when /ready says yes.", one(lambda s: float(ready(s.page, s.patience).ok))),
    gauge("start_timestamp_seconds", "When the supervisor was started.",
          one(lambda s: instant(s.state["started_ns"]))),
    gauge("config_epoch", "Number of the configuration in force.", state("config_epoch")),
    gauge("config_loaded_timestamp_seconds", "When it came into force.",
          one(lambda s: instant(s.state["config_loaded_ns"]))),
    counter("config_reloads", "Reloads that took effect.", state("config_reloads")),
    counter("config_reload_failures", "Reloads that were invalid and changed nothing.",
            state("config_reload_failures")),
    gauge("draining", "1 while Fairlead takes no new clients.", state("draining")),
)

GROUPS: dict[str, tuple[Family, ...]] = {
    "Statements": STATEMENTS, "Sessions": SESSIONS, "Traffic": TRAFFIC, "Failover": FAILOVER, "Decision records": AUDIT,
    "Transactions over several shards": ATOMICS, "Pools": POOLS,
    "Shards": SHARDS, "Backends": BACKENDS, "Redis": REDIS, "Workers": WORKERS, "The process": PROCESS,
}
FAMILIES = tuple(family for group in GROUPS.values() for family in group)
