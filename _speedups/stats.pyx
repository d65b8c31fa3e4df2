# cython: language_level=3, boundscheck=False, wraparound=False
# cython: initializedcheck=False, cdivision=True
"""The shared statistics page: creation, writing for Python callers, reading (layout in stats.pxd)."""
import mmap
from os import urandom
from typing import NamedTuple

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memcpy, memset

cdef uint64_t MAGIC = 0x3154535046524C46        # "FLRFPST1" read as little-endian bytes
cdef enum:
    LINE = 64
    READ_TRIES = 16
    MAX_TEXT = 0xFFFFFFFF

PARK_REASONS = (
    "plan_miss", "plan_stale", "multi_shard", "prepare", "session", "audit", "transaction", "hint",
    "too_long", "multi_statement", "charset", "key", "connect", "peer", "command", "other",
)
ERROR_CLASSES = (
    "client_protocol", "auth", "refused", "policy", "unsupported", "syntax", "backend_error", "backend_lost",
    "unavailable", "queue_timeout", "query_timeout", "limit", "unknown_outcome", "peer", "internal", "other",
)
PIN_REASONS = (
    "transaction", "user_variable", "temporary_table", "lock_tables", "get_lock", "found_rows",
    "prepared_in_sql", "unknown_state", "warnings", "cursor", "hint", "other",
)
BACKEND_STATES = ("unknown", "up", "down", "read_only")
BACKEND_ROLES = ("unknown", "primary", "replica", "peer")
FLAVOURS = ("unknown", "mariadb", "mysql", "fairlead")
NAME_KINDS = ("shard", "backend", "user", "keyspace", "region")
SLOW_FLAGS = {"prepared": SLOW_PREPARED, "replica": SLOW_REPLICA, "scatter": SLOW_SCATTER,
              "transaction": SLOW_TRANSACTION}
NO_LAG = 0xFFFFFFFF
NONE = NO_ID
ACTIVE = NAME_ACTIVE
LOCAL = NAME_LOCAL
BUCKETS = HIST_BUCKETS
DIGEST_HIST = DIGEST_BUCKETS
TEXT_KEPT = DIGEST_TEXT

_HOT = (
    "queries", "queries_text", "queries_prepared", "plan_hits", "bytes_client_in", "bytes_client_out",
    "bytes_backend_in", "bytes_backend_out", "receives", "sends", "polls", "wakeups", "heartbeat_ns",
    "transactions", "rollbacks", "state_switches",
)
_COLD = (
    "plan_misses", "plan_stale", "plan_evictions", "parks", "refusals", "clients_total", "clients_rejected",
    "handshake_failures", "auth_failures", "logins_paused", "backend_connects", "backend_connect_failures",
    "backend_closes",
    "backend_lost", "pool_waits", "pool_wait_us", "pool_timeouts", "stmt_prepares", "stmt_reprepares",
    "peer_queries", "kills", "audit_records", "audit_bytes", "audit_refusals", "audit_failures", "audit_unrecorded",
    "audit_waits", "failover_waits", "failover_wait_us", "failover_refusals", "sessions_given", "sessions_taken",
    "ids_given", "id_blocks",
)
CHANGES = ("same", "refused", "allowed", "changed")
EXPOSURES = ("shown", "refused", "failed")
ATOMICS = ("committed", "rolled_back", "unknown", "recovered_commit", "recovered_abort", "in_doubt")
SCRATCH = ("answered", "refused", "failed", "rows", "bytes")
SHADOW_MARKS = (None, *CHANGES)
COUNTERS = tuple(name for name in _HOT + _COLD if name != "heartbeat_ns")
GAUGES = (
    "clients_connected", "transactions_open", "bytes_buffered", "plan_cache_bytes", "plan_cache_entries",
    "statements", "parked", "audit_waiting", "audit_unpublished", "failover_waiting", "failover_waiting_bytes",
)
STATES = ("started_ns", "pid", "config_epoch", "draining", "ready")
SPARE = 6
"""Fields of a worker's block that are not used yet."""
ARRAYS = {
    "parks_by_reason": PARK_REASONS, "errors_by_class": ERROR_CLASSES,
    "pins_by_reason": PIN_REASONS, "pins_total_by_reason": PIN_REASONS, "shadows_by_change": CHANGES,
    "exposures_by_outcome": EXPOSURES, "atomics_by_outcome": ATOMICS, "scratch": SCRATCH,
}
SHARD_COUNTERS = (
    "queries", "bytes_in", "bytes_out", "reads_replica", "errors", "lost", "waits", "wait_us", "timeouts",
)
SHARD_GAUGES = ("in_use", "idle", "want", "connecting")

_WORKER_INDEX = {name: i for i, name in enumerate(_HOT + _COLD + GAUGES + STATES)}
_ARRAY_INDEX = {name: len(_WORKER_INDEX) + SPARE + REASONS * i for i, name in enumerate(ARRAYS)}
_SHARD_INDEX = {name: i for i, name in enumerate(SHARD_COUNTERS + SHARD_GAUGES)}


class LayoutError(ValueError):
    """The buffer is not a statistics page of this layout, or sizes are out of bounds."""


class Name(NamedTuple):
    """One entry of a name table; `attr` is the shard's region or the backend's shard."""
    text: str
    attr: int
    active: bool
    local: bool
    limit: int


class Timing(NamedTuple):
    """A histogram of microseconds: `buckets[i]` counts durations in [bucket_bounds(i)[0], [1])."""
    samples: int
    sum_us: int
    max_us: int
    buckets: list


class Digest(NamedTuple):
    """One statement shape, merged over workers. `text` has no literals; id 0 with text '' is `other`."""
    fingerprint: int
    user: int
    keyspace: int
    text: str
    truncated: bool
    first_seen_ns: int
    last_seen_ns: int
    errors: int
    warnings: int
    bytes_out: int
    shard_mask: int
    time: Timing
    mark: str | None


class Slow(NamedTuple):
    """One entry of the slow log; the text is found by (fingerprint, user, keyspace) among the digests."""
    seq: int
    worker: int
    ts_ns: int
    fingerprint: int
    user: int
    keyspace: int
    shard: int
    total_us: int
    backend_us: int
    wait_us: int
    bytes_out: int
    session: int
    error: int
    flags: int


class Health(NamedTuple):
    """What the monitor last published about one backend."""
    backend: int
    state: str
    role: str
    flavour: str
    server_version: int
    server_id: int
    lag_ms: int | None
    last_ok_ns: int
    checked_ns: int
    changed_ns: int
    position: int
    failures: int


class Slot(NamedTuple):
    """What the supervisor keeps of a worker across its restarts."""
    pid: int
    started_ns: int
    restarts: int
    last_exit: int


class Shape(NamedTuple):
    """Capacities of a page."""
    workers: int
    shards: int
    backends: int
    users: int
    keyspaces: int
    regions: int
    digests: int
    slow: int


# ---------------------------------------------------------------- pure functions
def bucket(us: int) -> int:
    """Bucket of a duration in whole microseconds (negative counts as 0)."""
    return bucket_of(<uint64_t>us if us > 0 else 0)


def bucket_bounds(index: int) -> tuple:
    """(floor, ceiling) in microseconds of a shard histogram's bucket; the last ceiling is None."""
    if not 0 <= index < HIST_BUCKETS:
        raise IndexError(index)
    return bucket_floor(index), (None if index == HIST_BUCKETS - 1 else bucket_floor(index + 1))


def digest_bounds(index: int) -> tuple:
    """The same for a digest's histogram, whose buckets are pairs of those."""
    if not 0 <= index < DIGEST_BUCKETS:
        raise IndexError(index)
    return bucket_floor(2 * index), (None if index == DIGEST_BUCKETS - 1 else bucket_floor(2 * index + 2))


def now_ns() -> int:
    """CLOCK_MONOTONIC, the clock of every time in the page."""
    return fl_monotonic_ns()


def pack_position(source: int, sequence: int) -> int:
    """source (0..65535) << 48 | sequence (below 2^48); ValueError outside, since a wrapped one would lie."""
    if not (0 <= source < 1 << 16 and 0 <= sequence < 1 << 48):
        raise ValueError(f"position out of range: source {source}, sequence {sequence}")
    return position_pack(source, sequence)


def reached(replica: int, wanted: int) -> bool:
    """True when a replica at `replica` shows what was written at `wanted` (0 = nothing wanted)."""
    return position_reached(replica, wanted)


cdef uint64_t lines(uint64_t size) noexcept nogil:
    return (size + LINE - 1) // LINE * LINE


cdef uint64_t level(uint64_t both) noexcept nogil:
    """A gauge over both lanes: one seen lowered before it was seen raised is 0, not 2**64 - 1."""
    return 0 if both >> 63 else both


cdef list words(const uint64_t *first, Py_ssize_t count):
    return [first[i] for i in range(count)]


cdef object timing(const uint64_t *bucket, Py_ssize_t count, uint64_t sum_us, uint64_t max_us):
    cdef list buckets = words(bucket, count)
    return Timing(sum(buckets), sum_us, max_us, buckets)


cdef void fold(DigestCounts *into, const DigestCounts *part) noexcept nogil:
    """Add what `part` has counted."""
    cdef int i
    into.sum_us += part.sum_us
    into.errors += part.errors
    into.warnings += part.warnings
    into.bytes_out += part.bytes_out
    into.shard_mask |= part.shard_mask
    into.max_us = max(into.max_us, part.max_us)
    into.last_seen_ns = max(into.last_seen_ns, part.last_seen_ns)
    for i in range(DIGEST_BUCKETS):
        into.hist[i] += part.hist[i]


cdef void unfold(DigestCounts *from_, const DigestCounts *base) noexcept nogil:
    """Take away what earlier holders of the slot had counted (maximum, mask and time are not sums)."""
    cdef int i
    from_.sum_us -= base.sum_us
    from_.errors -= base.errors
    from_.warnings -= base.warnings
    from_.bytes_out -= base.bytes_out
    for i in range(DIGEST_BUCKETS):
        from_.hist[i] -= base.hist[i]


cdef void counted(const DigestEntry *entry, DigestCounts *total) noexcept nogil:
    """Both lanes' counts over the whole life of the slot."""
    memset(total, 0, sizeof(DigestCounts))
    fold(total, &entry.lane[LANE_RELAY])
    fold(total, &entry.lane[LANE_LOOP])


cdef uint64_t last_seen(const DigestEntry *entry) noexcept nogil:
    cdef uint64_t either = max(entry.lane[LANE_RELAY].last_seen_ns, entry.lane[LANE_LOOP].last_seen_ns)
    return max(entry.first_seen_ns, either)


cdef bint stable_copy(const DigestEntry *entry, DigestEntry *copy) noexcept nogil:
    """Copy an entry whose head is not being rewritten; False when it never stood still."""
    cdef uint64_t before
    for _ in range(READ_TRIES):
        before = fl_load64(&entry.seq)
        if before & 1:
            continue
        memcpy(copy, entry, sizeof(DigestEntry))
        fl_fence()
        if fl_load64(&entry.seq) == before:
            return True
    return False


# ---------------------------------------------------------------- the page
cdef class StatsPage:
    """The whole page. Made by `create` (maps it) or `attach` (over an existing writable buffer)."""

    def __cinit__(self):
        self.base = NULL
        self.header = NULL

    def __dealloc__(self):
        if self._view.obj is not None:
            PyBuffer_Release(&self._view)

    @classmethod
    def create(cls, workers, shards, backends, digests=2048, slow=1024, users=256, keyspaces=64, regions=64):
        """Map and lay out a page. `slow` is rounded up to a power of two. LayoutError for absurd sizes."""
        shape = Shape(workers, shards, backends, users, keyspaces, regions, digests,
                      1 << max(0, int(slow) - 1).bit_length())
        check_shape(shape)
        size = layout(shape, NULL)
        return attach_view(cls, mmap.mmap(-1, size), shape)

    @classmethod
    def attach(cls, buffer):
        """Use a page that another process has laid out. LayoutError when it is none."""
        return attach_view(cls, buffer, None)

    @property
    def shape(self):
        """The capacities."""
        cdef Header *h = self.header
        return Shape(h.workers, h.shards, h.backends, h.users, h.keyspaces, h.regions, h.digests, h.slow)

    @property
    def size(self):
        """Bytes mapped."""
        return self.header.total_size

    @property
    def memory(self):
        """The whole page as a memoryview, to hand to `attach` or to keep after a crash."""
        return memoryview(<object>self._view.obj)

    # ---- pointers
    cdef WorkerSlot *slot_ptr(self, uint32_t worker) noexcept nogil:
        return &(<WorkerSlot *>(self.base + self.header.off_slot))[worker]

    cdef WorkerStats *worker_ptr(self, uint32_t worker, int lane) noexcept nogil:
        return &(<WorkerStats *>(self.base + self.header.off_worker))[worker * LANES + <uint32_t>lane]

    cdef ShardStats *shard_ptr(self, uint32_t worker, int lane, uint32_t shard) noexcept nogil:
        cdef uint64_t row = <uint64_t>(worker * LANES + <uint32_t>lane) * self.header.shards
        return &(<ShardStats *>(self.base + self.header.off_shard))[row + shard]

    cdef DigestEntry *digest_ptr(self, uint32_t worker) noexcept nogil:
        return &(<DigestEntry *>(self.base + self.header.off_digest))[<uint64_t>worker * self.header.digests]

    cdef SlowRing *slow_ptr(self, uint32_t worker, int lane) noexcept nogil:
        cdef uint64_t size = ring_size(self.header.slow)
        return <SlowRing *>(self.base + self.header.off_slow + size * (worker * LANES + <uint32_t>lane))

    cdef LimitCell *limit_ptr(self, uint32_t backend) noexcept nogil:
        return &(<LimitCell *>(self.base + self.header.off_limit))[<uint64_t>backend * self.header.workers]

    cdef BackendHealth *health_ptr(self, uint32_t backend) noexcept nogil:
        return &(<BackendHealth *>(self.base + self.header.off_health))[backend]

    cdef uint64_t *position_ptr(self, uint32_t user, uint32_t shard) noexcept nogil:
        cdef uint64_t row = <uint64_t>user * self.header.shards
        return &(<uint64_t *>(self.base + self.header.off_position))[row + shard]

    cdef NameEntry *name_ptr(self, int kind, uint32_t index) noexcept nogil:
        return &(<NameEntry *>(self.base + self.header.off_name[kind]))[index]

    # ---- workers
    def worker(self, index, lane=LANE_LOOP):
        """The block of one worker, for its own process; its Python methods write the given lane."""
        return WorkerBlock(self, index, lane)

    def counters(self, index):
        """One worker's fields, lanes added: {name: int, by-reason name: [int]}; heartbeats per lane."""
        cdef uint32_t w = within(index, self.header.workers, "worker")
        cdef uint64_t *relay = <uint64_t *>self.worker_ptr(w, LANE_RELAY)
        cdef uint64_t *loop = <uint64_t *>self.worker_ptr(w, LANE_LOOP)
        cdef Py_ssize_t i, place
        cdef dict out = {}
        for name in COUNTERS:
            place = _WORKER_INDEX[name]
            out[name] = <uint64_t>(relay[place] + loop[place])
        for name in GAUGES:
            place = _WORKER_INDEX[name]
            out[name] = level(relay[place] + loop[place])
        for name in STATES:
            out[name] = loop[<Py_ssize_t>_WORKER_INDEX[name]]
        for name, reasons in ARRAYS.items():
            place = _ARRAY_INDEX[name]
            out[name] = [level(relay[place + i] + loop[place + i]) for i in range(len(reasons))]
        out["heartbeat_relay_ns"] = relay[<Py_ssize_t>_WORKER_INDEX["heartbeat_ns"]]
        out["heartbeat_loop_ns"] = loop[<Py_ssize_t>_WORKER_INDEX["heartbeat_ns"]]
        return out

    def sum(self):
        """Counters, gauges and by-reason arrays over all workers."""
        cdef dict total = {}
        for w in range(self.header.workers):
            one = self.counters(w)
            for name in COUNTERS + GAUGES:
                total[name] = total.get(name, 0) + one[name]
            for name in ARRAYS:
                total[name] = [a + b for a, b in zip(total.get(name) or [0] * len(one[name]), one[name])]
        return total

    def slot(self, index):
        """The supervisor's record of one worker."""
        cdef WorkerSlot *s = self.slot_ptr(within(index, self.header.workers, "worker"))
        return Slot(s.pid, s.started_ns, s.restarts, s.last_exit)

    def worker_started(self, index, pid):
        """Supervisor, before the worker runs: note its pid; gauges, states and limit column start at 0."""
        cdef WorkerSlot *s = self.slot_ptr(within(index, self.header.workers, "worker"))
        self.clear_worker(index)
        if s.started_ns:
            s.restarts += 1
        s.started_ns = fl_monotonic_ns()
        s.pid = pid

    def worker_exited(self, index, status=0):
        """Supervisor, after the worker's death: note the wait status; counters stay, gauges go to 0."""
        cdef WorkerSlot *s = self.slot_ptr(within(index, self.header.workers, "worker"))
        s.pid = 0
        s.last_exit = status
        self.clear_worker(index)

    def clear_worker(self, index):
        """Set the worker's gauges, states, pins and limit cells to 0. Only while the worker does not run."""
        cdef uint32_t w = within(index, self.header.workers, "worker")
        cdef uint32_t b, s
        cdef int lane
        for lane in range(LANES):
            clear_gauges(self.worker_ptr(w, lane))
            for s in range(self.header.shards):
                memset(&self.shard_ptr(w, lane, s).in_use, 0, 4 * sizeof(uint64_t))
        for lane in range(LANES):
            memset(redis_lane_at(self, w, <uint32_t>lane) + REDIS_GAUGES, 0, REDIS_GAUGES_SIZE)
        for s in range(self.header.shards):
            memset(redis_shard_at(self, w, s) + REDIS_SHARD_GAUGES, 0, REDIS_SHARD_GAUGES_SIZE)
        for b in range(self.header.backends):
            fl_store32(&self.limit_ptr(b)[w].in_use, 0)
            fl_store32(&self.limit_ptr(b)[w].want, 0)

    # ---- shards
    def shard(self, index, shard):
        """One worker's view of one shard, lanes added: counters, gauges, `proxy` and `backend` Timing."""
        cdef uint32_t w = within(index, self.header.workers, "worker")
        cdef uint32_t s = within(shard, self.header.shards, "shard")
        return shard_dict([w], s, self)

    def shard_sum(self, shard):
        """The same over all workers."""
        return shard_dict(range(self.header.workers), within(shard, self.header.shards, "shard"), self)

    def histogram(self, shard, which="proxy"):
        """Timing of a shard over all workers; `which` is "proxy" or "backend"."""
        if which not in ("proxy", "backend"):
            raise ValueError(which)
        return self.shard_sum(shard)[which]

    # ---- digests and slow log
    def digests(self):
        """All digests merged over workers by (fingerprint, user, keyspace); `other` first. Unordered else."""
        cdef dict heads = {}
        cdef DigestEntry copy
        cdef DigestCounts total
        cdef DigestEntry *table
        cdef uint32_t w, i
        cdef bytearray sums
        for w in range(self.header.workers):
            table = self.digest_ptr(w)
            for i in range(self.header.digests):
                if (i != DIGEST_OTHER and not table[i].used) or not stable_copy(&table[i], &copy):
                    continue
                if i != DIGEST_OTHER and not copy.used:
                    continue
                counted(&copy, &total)
                unfold(&total, &copy.base)
                total.last_seen_ns = last_seen(&copy)
                key = (copy.fingerprint, copy.user, copy.keyspace, i == DIGEST_OTHER)
                if key not in heads:
                    text = copy.text[:min(copy.text_len, DIGEST_TEXT)]
                    heads[key] = (copy.first_seen_ns, copy.text_len, text, bytearray(sizeof(DigestCounts)), 0)
                first = min(copy.first_seen_ns, heads[key][0])
                heads[key] = (first, *heads[key][1:4], max(copy.mark, heads[key][4]))
                sums = heads[key][3]
                fold(<DigestCounts *><char *>sums, &total)
        return [digest_tuple(key, head) for key, head in heads.items()]

    def digest_use(self):
        """(slots in use over all workers, executions counted under `other`): cheap, for the metrics."""
        cdef DigestEntry *table
        cdef DigestCounts other
        cdef uint32_t w, i, used = 0
        cdef object executions = 0
        for w in range(self.header.workers):
            table = self.digest_ptr(w)
            for i in range(1, self.header.digests):
                used += table[i].used
            counted(&table[DIGEST_OTHER], &other)
            executions += sum(words(other.hist, DIGEST_BUCKETS))
        return used, executions

    def slow(self, after_seq=0, limit=1024):
        """The `limit` newest slow-log entries with seq > after_seq, oldest first; torn ones are left out."""
        cdef list found = []
        cdef uint32_t w
        cdef int lane
        for w in range(self.header.workers):
            for lane in range(LANES):
                read_ring(self.slow_ptr(w, lane), w, after_seq, found)
        found.sort()
        return found[-limit:] if limit > 0 else []

    # ---- limits
    def limit_cells(self, backend):
        """[(in_use, want)] of one backend, by worker."""
        cdef LimitCell *row = self.limit_ptr(within(backend, self.header.backends, "backend"))
        return [(fl_load32(&row[i].in_use), fl_load32(&row[i].want)) for i in range(self.header.workers)]

    def limit_take(self, backend, worker, limit):
        """Reserve one connection of the backend's limit for the worker; False when it is used up."""
        cdef uint32_t w = within(worker, self.header.workers, "worker")
        return limit_take(self.limit_ptr(within(backend, self.header.backends, "backend")),
                          self.header.workers, w, limit)

    def limit_give(self, backend, worker):
        """Return one reservation."""
        cdef uint32_t w = within(worker, self.header.workers, "worker")
        limit_give(self.limit_ptr(within(backend, self.header.backends, "backend")), w)

    def limit_want(self, backend, worker, want):
        """Publish how many sessions of the worker wait for the backend."""
        cdef uint32_t w = within(worker, self.header.workers, "worker")
        fl_store32(&self.limit_ptr(within(backend, self.header.backends, "backend"))[w].want, want)

    def limit_yields(self, backend, worker, limit):
        """True when the worker should give a connection back because it holds more than its even share."""
        cdef uint32_t w = within(worker, self.header.workers, "worker")
        return limit_yields(self.limit_ptr(within(backend, self.header.backends, "backend")),
                            self.header.workers, w, limit)

    def set_limit(self, backend, limit):
        """Supervisor: publish the configured connection limit of a backend, for the readers."""
        cdef uint32_t b = within(backend, self.header.backends, "backend")
        fl_store32(&self.name_ptr(NAME_BACKEND, b).limit, limit)

    # ---- health and positions
    def health(self, backend):
        """What is published about one backend."""
        cdef BackendHealth *h = self.health_ptr(within(backend, self.header.backends, "backend"))
        lag_ms = None if h.lag_ms == <uint32_t>NO_LAG else h.lag_ms
        return Health(backend, BACKEND_STATES[h.state & 3], BACKEND_ROLES[h.role & 3],
                      FLAVOURS[h.flavour & 3], h.server_version, h.server_id, lag_ms, h.last_ok_ns,
                      h.checked_ns, h.changed_ns, h.position, h.failures)

    def publish_health(self, backend, state, role, flavour="unknown", server_version=0, server_id=0,
                       lag_ms=None, position=0):
        """Monitor: what a check found. Times are taken here; `position` 0: nothing is proven (any more)."""
        cdef BackendHealth *h = self.health_ptr(within(backend, self.header.backends, "backend"))
        cdef uint64_t now = fl_monotonic_ns()
        cdef uint32_t new_state = BACKEND_STATES.index(state)
        cdef uint32_t new_role = BACKEND_ROLES.index(role)
        if h.state != new_state or h.role != new_role:
            fl_store64(&h.changed_ns, now)
        if new_state == BACKEND_DOWN:
            fl_add64(&h.failures, 1)
        elif new_state != BACKEND_UNKNOWN:
            fl_store64(&h.last_ok_ns, now)
            fl_store32(&h.server_version, server_version)
            fl_store32(&h.server_id, server_id)
            fl_store32(&h.flavour, FLAVOURS.index(flavour))
        fl_store32(&h.lag_ms, NO_LAG if lag_ms is None else min(<uint64_t>lag_ms, NO_LAG - 1))
        fl_store32(&h.role, new_role)
        fl_store32(&h.state, new_state)
        fl_store64(&h.checked_ns, now)
        fl_store64(&h.position, position)

    def position(self, user, shard):
        """The packed position up to which the user has written on the shard; 0 = none known."""
        return fl_load64(self.position_ptr(within(user, self.header.users, "user"),
                                           within(shard, self.header.shards, "shard")))

    def raise_position(self, user, shard, value):
        """Note a write of the user at `value` (packed)."""
        position_max(self.position_ptr(within(user, self.header.users, "user"),
                                       within(shard, self.header.shards, "shard")), value)

    # ---- names
    def declare(self, kind, entries):
        """Supervisor: make (text, attr, local) entries the names in force, and return their indices.

        Known names keep their index and new ones are appended. A name that is no longer declared is marked
        inactive, its index never reused, so that no series goes on under another name. LayoutError, and
        nothing changed, when the table has no room or a text is not 1 to 112 bytes long.
        """
        cdef int k = NAME_KINDS.index(kind)
        cdef dict known = {name.text: i for i, name in enumerate(self.names(kind))}
        entries = list(entries)
        for text, _, _ in entries:
            if not 0 < len(text.encode()) <= NAME_TEXT:
                raise LayoutError(f"{kind} name {text!r} is not 1 to {NAME_TEXT} bytes long")
            known.setdefault(text, len(known))
        if len(known) > self.name_capacity(k):
            raise LayoutError(f"{len(known)} {kind} names, room for {self.name_capacity(k)}")
        for text, attr, local in entries:
            self.write_name(k, known[text], text.encode(), attr, NAME_ACTIVE | (NAME_LOCAL if local else 0))
        for text in known.keys() - {entry[0] for entry in entries}:
            fl_store32(&self.name_ptr(k, known[text]).flags, 0)
        return [known[entry[0]] for entry in entries]

    cdef write_name(self, int kind, uint32_t index, bytes text, uint32_t attr, uint32_t flags):
        cdef NameEntry *entry = self.name_ptr(kind, index)
        fl_store32(&entry.attr, attr)
        fl_store32(&entry.flags, flags)
        if not entry.length:
            memcpy(entry.text, <char *>text, len(text))
            fl_store32(&entry.length, len(text))

    def names(self, kind):
        """The used entries of a name table, in index order."""
        cdef int k = NAME_KINDS.index(kind)
        cdef NameEntry *entry
        cdef list out = []
        cdef uint32_t i, length
        for i in range(self.name_capacity(k)):
            entry = self.name_ptr(k, i)
            length = fl_load32(&entry.length)
            if not length:
                break
            out.append(Name(entry.text[:length].decode("utf-8", "replace"), entry.attr,
                            bool(entry.flags & NAME_ACTIVE), bool(entry.flags & NAME_LOCAL),
                            entry.limit))
        return out

    def index_of(self, kind, text):
        """Index of a name; KeyError when it is not in the table."""
        for i, name in enumerate(self.names(kind)):
            if name.text == text:
                return i
        raise KeyError(text)

    cdef uint32_t name_capacity(self, int kind) noexcept nogil:
        cdef Header *h = self.header
        if kind == NAME_SHARD:
            return h.shards
        if kind == NAME_BACKEND:
            return h.backends
        if kind == NAME_USER:
            return h.users
        return h.keyspaces if kind == NAME_KEYSPACE else h.regions

    # ---- the supervisor's own state
    def state(self):
        """The supervisor's fields: pid, start, configuration epoch, reloads, draining."""
        cdef Header *h = self.header
        return {"started_ns": h.started_ns, "supervisor_pid": h.supervisor_pid,
                "config_epoch": h.config_epoch, "config_loaded_ns": h.config_loaded_ns,
                "config_reloads": h.config_reloads, "config_reload_failures": h.config_reload_failures,
                "draining": h.draining, "slow_seq": fl_load64(&h.slow_seq)}

    def started(self, pid):
        """Supervisor: it runs, now."""
        self.header.supervisor_pid = pid
        self.header.started_ns = fl_monotonic_ns()

    def config_loaded(self, epoch):
        """Supervisor: the configuration of this epoch is in force. The first one is no reload."""
        if self.header.config_loaded_ns:
            self.header.config_reloads += 1
        self.header.config_loaded_ns = fl_monotonic_ns()
        self.header.config_epoch = epoch

    def config_refused(self):
        """Supervisor: a reload was invalid and changed nothing."""
        self.header.config_reload_failures += 1

    def drain(self):
        """Supervisor: no new clients; /ready says no from now on."""
        self.header.draining = 1


cdef class WorkerBlock:
    """One worker's block: the relay's pointers, and counting for Python on one lane (default: the loop)."""

    def __init__(self, StatsPage page not None, index, lane=LANE_LOOP):
        self.page = page
        self.index = within(index, page.header.workers, "worker")
        self.lane = within(lane, LANES, "lane")
        self.ptr = page.worker_ptr(self.index, LANE_RELAY)
        self.shards = page.shard_ptr(self.index, LANE_RELAY, 0)
        self.slow = page.slow_ptr(self.index, LANE_RELAY)
        self.digests = page.digest_ptr(self.index)
        self.own = page.worker_ptr(self.index, self.lane)
        self.own_shards = page.shard_ptr(self.index, self.lane, 0)
        self.own_slow = page.slow_ptr(self.index, self.lane)
        self._claimed = {}
        self._next_free = 1
        self.recover()

    # ---- counters
    def add(self, name, n=1):
        """Add n (may be negative for gauges) to a counter or gauge. KeyError for an unknown name."""
        (<uint64_t *>self.own)[<Py_ssize_t>_WORKER_INDEX[name]] += <uint64_t><int64_t>n

    def set(self, name, value):
        """Set a gauge or state that only this lane writes."""
        fl_store64(&(<uint64_t *>self.own)[<Py_ssize_t>_WORKER_INDEX[name]], value)

    def park(self, reason):
        """Count a park that the loop itself decided."""
        self.own.parks += 1
        self.own.parks_by_reason[<Py_ssize_t>PARK_REASONS.index(reason)] += 1

    def error(self, name):
        """Count an error sent to a client, by class."""
        self.own.errors_by_class[<Py_ssize_t>ERROR_CLASSES.index(name)] += 1

    def shadow(self, change):
        """Count a plan that was compared with what a version on trial would make, by what becomes of it."""
        self.own.shadows_by_change[<Py_ssize_t>CHANGES.index(change)] += 1

    def exposure(self, outcome):
        """Count persons' being counted against budgets, by what came of it."""
        self.own.exposures_by_outcome[<Py_ssize_t>EXPOSURES.index(outcome)] += 1

    def atomic(self, outcome):
        """Count a transaction over several shards, or a part of one that was cleared up, by what became of it."""
        self.own.atomics_by_outcome[<Py_ssize_t>ATOMICS.index(outcome)] += 1

    def in_doubt(self, parts):
        """So many prepared parts wait for recovery now."""
        self.own.atomics_by_outcome[<Py_ssize_t>ATOMICS.index("in_doubt")] = parts

    def scratch(self, outcome, rows, size):
        """Count a read that a scratch server finished, or did not, and what was loaded for it."""
        self.own.scratch[<Py_ssize_t>SCRATCH.index(outcome)] += 1
        self.own.scratch[<Py_ssize_t>SCRATCH.index("rows")] += <uint64_t>rows
        self.own.scratch[<Py_ssize_t>SCRATCH.index("bytes")] += <uint64_t>size

    def pin(self, reason, n=1):
        """Count sessions that became pinned (n > 0) or free again (n < 0)."""
        cdef Py_ssize_t place = PIN_REASONS.index(reason)
        self.own.pins_by_reason[place] += <uint64_t><int64_t>n
        if n > 0:
            self.own.pins_total_by_reason[place] += n

    def heartbeat(self):
        """The event loop is alive."""
        fl_store64(&self.own.heartbeat_ns, fl_monotonic_ns())

    def started(self, pid, epoch):
        """The worker runs with the configuration of this epoch."""
        self.own.started_ns = fl_monotonic_ns()
        self.own.pid = pid
        self.own.config_epoch = epoch
        self.heartbeat()

    # ---- shards
    def shard_add(self, shard, name, n=1):
        """Add n to a shard's counter or gauge."""
        cdef uint32_t s = within(shard, self.page.header.shards, "shard")
        (<uint64_t *>&self.own_shards[s])[<Py_ssize_t>_SHARD_INDEX[name]] += <uint64_t><int64_t>n

    def shard_time(self, shard, proxy_us, backend_us):
        """Count the two durations of one statement run by the executor."""
        cdef uint32_t s = within(shard, self.page.header.shards, "shard")
        histogram_add(&self.own_shards[s].proxy, proxy_us)
        histogram_add(&self.own_shards[s].backend, backend_us)

    # ---- digests
    def digest_mark(self, index, generation, mark):
        """Note what a version on trial would make of the digest: an index of SHADOW_MARKS."""
        cdef DigestEntry *entry = digest_at(self.digests, within(index, self.page.header.digests, "digest"), generation)
        if entry != &self.digests[DIGEST_OTHER]:
            entry.mark = mark

    def digests_unmark(self):
        """No version is on trial, or another one."""
        cdef uint32_t i
        for i in range(self.page.header.digests):
            self.digests[i].mark = 0

    def claim(self, fingerprint, text, user=NO_ID, keyspace=NO_ID, idle_ns=60_000_000_000):
        """Slot of a digest as (index, generation), made when new; (0, 0), `other`, when there is no room.

        A full table gives up its least recently used digest, if that was not used for idle_ns; its counts go
        to `other`, so totals stay. `text` is the normalised statement (bytes, no literals).
        """
        key = (fingerprint, user, keyspace)
        cdef object known = self._claimed.get(key)
        cdef uint32_t index
        if known is not None:
            return known, self.digests[<uint32_t>known].generation
        index = self.free_slot(idle_ns)
        if index == DIGEST_OTHER:
            return DIGEST_OTHER, self.digests[DIGEST_OTHER].generation
        self.occupy(index, fingerprint, text, user, keyspace)
        self._claimed[key] = index
        return index, self.digests[index].generation

    def digest_add(self, index, generation, us, error=False, shard=0, bytes_out=0, warnings=0):
        """Count one execution."""
        cdef uint32_t i = within(index, self.page.header.digests, "digest")
        cdef DigestEntry *entry = digest_at(self.digests, i, generation)
        digest_add(entry, self.lane, fl_monotonic_ns(), us, error, shard, bytes_out)
        digest_warn(entry, self.lane, warnings)

    def slow_add(self, fingerprint, total_us, backend_us, wait_us, index=0, generation=0, shard=NO_ID,
                 user=NO_ID, keyspace=NO_ID, error=0, flags=0, bytes_out=0, session=0):
        """Append to the slow log of this lane."""
        cdef SlowEntry entry
        entry.ts_ns = fl_monotonic_ns()
        entry.fingerprint = fingerprint
        entry.total_us, entry.backend_us, entry.wait_us = total_us, backend_us, wait_us
        entry.bytes_out, entry.session = bytes_out, session
        entry.digest, entry.generation = index, generation
        entry.shard, entry.user, entry.keyspace, entry.error = shard, user, keyspace, error
        entry.flags = flags
        slow_add(self.page.header, self.own_slow, &entry)

    cdef uint32_t free_slot(self, uint64_t idle_ns):
        cdef uint32_t victim
        if self._next_free < self.page.header.digests:
            self._next_free += 1
            return self._next_free - 1
        victim = self.oldest()
        if victim == DIGEST_OTHER or last_seen(&self.digests[victim]) + idle_ns > fl_monotonic_ns():
            return DIGEST_OTHER
        self.evict(victim)
        return victim

    cdef uint32_t oldest(self) noexcept nogil:
        cdef uint32_t i, found = DIGEST_OTHER
        cdef uint64_t seen, least = <uint64_t>-1
        for i in range(1, self.page.header.digests):
            seen = last_seen(&self.digests[i])
            if seen < least:
                least = seen
                found = i
        return found

    cdef evict(self, uint32_t index):
        """Give the slot's counts to `other`. An add of the relay under way now counts for the next holder."""
        cdef DigestEntry *entry = &self.digests[index]
        cdef DigestCounts total, gone
        self._claimed.pop((entry.fingerprint, entry.user, entry.keyspace), None)
        fl_store64(&entry.seq, entry.seq + 1)
        fl_fence()
        entry.used = 0
        fl_store32(&entry.generation, entry.generation + 1)
        counted(entry, &total)
        gone = total
        unfold(&gone, &entry.base)
        entry.base = total
        for lane in range(LANES):
            entry.lane[<int>lane].max_us = 0
            entry.lane[<int>lane].shard_mask = 0
        fold(&self.digests[DIGEST_OTHER].lane[LANE_LOOP], &gone)
        fl_store64(&entry.seq, entry.seq + 1)

    cdef occupy(self, uint32_t index, uint64_t fingerprint, bytes text, uint16_t user, uint16_t keyspace):
        cdef DigestEntry *entry = &self.digests[index]
        cdef Py_ssize_t kept = min(len(text), DIGEST_TEXT)
        fl_store64(&entry.seq, entry.seq + 1)
        fl_fence()
        entry.fingerprint = fingerprint
        entry.user = user
        entry.keyspace = keyspace
        entry.text_len = min(len(text), <Py_ssize_t>MAX_TEXT)
        memcpy(entry.text, <char *>text, kept)
        entry.first_seen_ns = fl_monotonic_ns()
        entry.mark = 0
        entry.used = 1
        fl_store32(&entry.generation, entry.generation + 1)
        fl_store64(&entry.seq, entry.seq + 1)

    cdef recover(self):
        """Take over what a predecessor left: whole entries are kept, a half-written one is freed."""
        cdef DigestEntry *entry
        cdef uint32_t i
        for i in range(1, self.page.header.digests):
            entry = &self.digests[i]
            if entry.seq & 1:
                entry.used = 1
                entry.fingerprint = 0
                fl_store64(&entry.seq, entry.seq + 1)
                self.evict(i)
            if entry.used:
                self._claimed[(entry.fingerprint, entry.user, entry.keyspace)] = i
            if entry.seq:
                self._next_free = i + 1


# ---------------------------------------------------------------- laying out and checking
cdef uint64_t ring_size(uint64_t capacity) noexcept nogil:
    return lines(sizeof(SlowRing) + capacity * sizeof(SlowEntry))


cdef uint32_t within(object index, uint32_t count, str what) except? 0xFFFFFFFF:
    if not 0 <= index < count:
        raise IndexError(f"{what} {index} of {count}")
    return index


cdef check_shape(shape):
    for name, value in shape._asdict().items():
        if not 1 <= value <= 65_536:
            raise LayoutError(f"{name}: {value} is not between 1 and 65536")
    if shape.workers > 1_024 or shape.digests < 2:
        raise LayoutError("at most 1024 workers and at least 2 digests")


cdef uint64_t layout(shape, Header *h) except 0:
    """Total size; fills sizes and offsets of the header when one is given."""
    cdef Header scratch
    cdef Header *out = h if h != NULL else &scratch
    cdef uint64_t at = lines(sizeof(Header))
    cdef int kind
    memset(out, 0, sizeof(Header))
    (out.workers, out.shards, out.backends, out.users, out.keyspaces, out.regions, out.digests,
     out.slow) = shape
    out.magic, out.version, out.header_size = MAGIC, LAYOUT_VERSION, sizeof(Header)
    out.size_worker, out.size_shard = sizeof(WorkerStats), sizeof(ShardStats)
    out.size_digest, out.size_slow = sizeof(DigestEntry), sizeof(SlowEntry)
    out.size_health, out.size_slot = sizeof(BackendHealth), sizeof(WorkerSlot)
    lanes = LANES * shape.workers
    out.off_slot = take(&at, sizeof(WorkerSlot) * shape.workers)
    out.off_worker = take(&at, sizeof(WorkerStats) * lanes)
    out.off_shard = take(&at, sizeof(ShardStats) * lanes * shape.shards)
    out.off_digest = take(&at, sizeof(DigestEntry) * shape.workers * shape.digests)
    out.off_slow = take(&at, ring_size(shape.slow) * lanes)
    out.off_limit = take(&at, sizeof(LimitCell) * shape.workers * shape.backends)
    out.off_health = take(&at, sizeof(BackendHealth) * shape.backends)
    out.off_position = take(&at, sizeof(uint64_t) * shape.users * shape.shards)
    tables = (shape.shards, shape.backends, shape.users, shape.keyspaces, shape.regions)
    for kind in range(NAME_KINDS_N):
        out.off_name[kind] = take(&at, sizeof(NameEntry) * tables[kind])
    out.off_redis = take(&at, shape.workers * redis_part_size(shape.shards))
    out.total_size = at
    return at


cdef uint64_t take(uint64_t *at, uint64_t size) noexcept:
    cdef uint64_t here = at[0]
    at[0] = lines(here + size)
    return here


cdef StatsPage attach_view(cls, buffer, shape):
    """A page over the buffer; laid out anew when a shape is given, else checked against its own header."""
    cdef StatsPage page = cls.__new__(cls)
    cdef Header expected
    PyObject_GetBuffer(buffer, &page._view, PyBUF_WRITABLE)
    page.base = <char *>page._view.buf
    page.header = <Header *>page.base
    if <uint64_t>page.base % LINE or <size_t>page._view.len < sizeof(Header):
        raise LayoutError("not a cache-line aligned buffer that holds a header")
    if shape is not None:
        layout(shape, page.header)
        set_constants(page)
        return page
    if page.header.magic != MAGIC or page.header.version != LAYOUT_VERSION:
        raise LayoutError("not a statistics page of this version")
    check_shape(page.shape)
    layout(page.shape, &expected)
    if page.header.total_size != expected.total_size or <uint64_t>page._view.len < expected.total_size:
        raise LayoutError("the statistics page was laid out by another build")
    return page


cdef set_constants(StatsPage page):
    """What does not begin as 0."""
    cdef uint32_t w, b
    cdef bytes secret = urandom(sizeof(page.header.redis_secret))
    memcpy(page.header.redis_secret, <char *>secret, sizeof(page.header.redis_secret))
    cdef int lane
    for b in range(page.header.backends):
        page.health_ptr(b).lag_ms = NO_LAG
    for w in range(page.header.workers):
        for lane in range(LANES):
            page.slow_ptr(w, lane).mask = page.header.slow - 1


cdef void clear_gauges(WorkerStats *w) noexcept nogil:
    w.heartbeat_ns = 0
    memset(&w.clients_connected, 0, <char *>&w.parks_by_reason[0] - <char *>&w.clients_connected)
    memset(w.pins_by_reason, 0, sizeof(w.pins_by_reason))


# ---------------------------------------------------------------- reading
cdef dict shard_dict(workers, uint32_t shard, StatsPage page):
    cdef uint64_t *fields
    cdef ShardStats total
    cdef ShardStats *part
    cdef uint64_t *sums = <uint64_t *>&total
    cdef Py_ssize_t i
    cdef uint64_t proxy_max = 0, backend_max = 0
    memset(&total, 0, sizeof(ShardStats))
    for worker in workers:
        for lane in range(LANES):
            part = page.shard_ptr(worker, lane, shard)
            fields = <uint64_t *>part
            for i in range(<Py_ssize_t>(sizeof(ShardStats) // sizeof(uint64_t))):
                sums[i] += fields[i]
            proxy_max = max(proxy_max, part.proxy.max_us)
            backend_max = max(backend_max, part.backend.max_us)
    out = {name: sums[<Py_ssize_t>_SHARD_INDEX[name]] for name in SHARD_COUNTERS}
    out.update((name, level(sums[<Py_ssize_t>_SHARD_INDEX[name]])) for name in SHARD_GAUGES)
    out["proxy"] = timing(total.proxy.bucket, HIST_BUCKETS, total.proxy.sum_us, proxy_max)
    out["backend"] = timing(total.backend.bucket, HIST_BUCKETS, total.backend.sum_us, backend_max)
    return out


cdef object digest_tuple(tuple key, tuple head):
    cdef bytearray sums = head[3]
    cdef DigestCounts *c = <DigestCounts *><char *>sums
    return Digest(key[0], key[1], key[2], head[2].decode("utf-8", "replace"), head[1] > DIGEST_TEXT,
                  head[0], c.last_seen_ns, c.errors, c.warnings, c.bytes_out, c.shard_mask,
                  timing(c.hist, DIGEST_BUCKETS, c.sum_us, c.max_us), SHADOW_MARKS[head[4]])


cdef read_ring(SlowRing *ring, uint32_t worker, uint64_t after, list found):
    cdef SlowEntry *slots = <SlowEntry *>(<char *>ring + sizeof(SlowRing))
    cdef SlowEntry e
    cdef uint64_t head = fl_load64(&ring.head)
    cdef uint64_t i, seq
    for i in range(head - min(head, ring.mask + 1), head):
        seq = fl_load64(&slots[i & ring.mask].seq)
        if seq <= after:
            continue
        memcpy(&e, &slots[i & ring.mask], sizeof(SlowEntry))
        fl_fence()
        if fl_load64(&slots[i & ring.mask].seq) == seq:
            found.append(Slow(seq, worker, e.ts_ns, e.fingerprint, e.user, e.keyspace, e.shard, e.total_us,
                              e.backend_us, e.wait_us, e.bytes_out, e.session, e.error, e.flags))


cdef check_layout():
    """The name lists describe the structs: refuse to load when somebody changed one without the other."""
    cdef WorkerStats w
    cdef ShardStats s
    cdef char *worker = <char *>&w
    cdef char *shard = <char *>&s
    worker_marks = {
        "heartbeat_ns": <char *>&w.heartbeat_ns - worker, "plan_misses": <char *>&w.plan_misses - worker,
        "kills": <char *>&w.kills - worker, "clients_connected": <char *>&w.clients_connected - worker,
        "parked": <char *>&w.parked - worker, "ready": <char *>&w.ready - worker,
    }
    shard_marks = {"timeouts": <char *>&s.timeouts - shard, "connecting": <char *>&s.connecting - shard}
    array_marks = {"parks_by_reason": <char *>&w.parks_by_reason[0] - worker,
                   "pins_total_by_reason": <char *>&w.pins_total_by_reason[0] - worker,
                   "exposures_by_outcome": <char *>&w.exposures_by_outcome[0] - worker,
                   "atomics_by_outcome": <char *>&w.atomics_by_outcome[0] - worker,
                   "scratch": <char *>&w.scratch[0] - worker}
    padded = (sizeof(WorkerSlot), sizeof(WorkerStats), sizeof(ShardStats), sizeof(DigestEntry),
              sizeof(SlowRing), sizeof(BackendHealth), sizeof(NameEntry))
    right = (
        (len(_WORKER_INDEX) + SPARE + REASONS * len(ARRAYS)) * sizeof(uint64_t) == sizeof(WorkerStats)
        and all(_WORKER_INDEX[name] * sizeof(uint64_t) == place for name, place in worker_marks.items())
        and all(_SHARD_INDEX[name] * sizeof(uint64_t) == place for name, place in shard_marks.items())
        and all(_ARRAY_INDEX[name] * sizeof(uint64_t) == place for name, place in array_marks.items())
        and len(PARK_REASONS) == PARK_OTHER + 1
        and len(ERROR_CLASSES) == ERR_OTHER + 1
        and len(PIN_REASONS) == PIN_OTHER + 1
        and all(size % LINE == 0 for size in padded)
    )
    if not right:
        raise LayoutError("the name lists of _speedups.stats do not describe its structs")


check_layout()
