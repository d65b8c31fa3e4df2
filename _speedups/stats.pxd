# cython: language_level=3
"""The shared statistics page: fixed C structs in one anonymous shared mapping, made before the workers fork.

Rules that every writer keeps:
- one writer per field. A worker has two *lanes* (its relay thread and its event loop), each with a block of
  its own, so neither needs a locked instruction; readers add the lanes. A gauge that one lane raises and the
  other lowers is right too: 64-bit sums wrap.
- what several writers share (backend limits, positions, the slow-log number) is touched by atomics only.
- times are CLOCK_MONOTONIC nanoseconds, durations microseconds, sizes bytes, fields little-endian and 8-byte
  aligned, so that a reader in another process may see a moment's skew between fields but never half a field.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <time.h>
    static inline int fl_octave(uint64_t v) { return 63 - __builtin_clzll(v); }
    static inline uint64_t fl_load64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void fl_store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline uint32_t fl_load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void fl_store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline uint64_t fl_add64(uint64_t *p, uint64_t v)
    { return __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST); }
    static inline uint32_t fl_add32(uint32_t *p, uint32_t v)
    { return __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST); }
    static inline uint32_t fl_seen32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
    static inline int fl_cas64(uint64_t *p, uint64_t *expected, uint64_t v)
    { return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline int fl_cas32(uint32_t *p, uint32_t *expected, uint32_t v)
    { return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }
    static inline void fl_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    static inline uint64_t fl_monotonic_ns(void)
    {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
    }
    """
    int fl_octave(uint64_t v) noexcept
    uint64_t fl_load64(const uint64_t *p) noexcept
    void fl_store64(uint64_t *p, uint64_t v) noexcept
    uint32_t fl_load32(const uint32_t *p) noexcept
    void fl_store32(uint32_t *p, uint32_t v) noexcept
    uint64_t fl_add64(uint64_t *p, uint64_t v) noexcept
    uint32_t fl_add32(uint32_t *p, uint32_t v) noexcept
    uint32_t fl_seen32(const uint32_t *p) noexcept
    int fl_cas64(uint64_t *p, uint64_t *expected, uint64_t v) noexcept
    int fl_cas32(uint32_t *p, uint32_t *expected, uint32_t v) noexcept
    void fl_fence() noexcept
    uint64_t fl_monotonic_ns() noexcept


cdef enum:
    LAYOUT_VERSION = 1
    LANES = 2
    LANE_RELAY = 0
    LANE_LOOP = 1
    REASONS = 16            # places in every by-reason array
    HIST_BUCKETS = 104      # four per octave, 1 us to 134 s; the last one takes all above 117 s
    DIGEST_BUCKETS = 52     # two per octave: bucket_of(us) >> 1
    DIGEST_TEXT = 512
    NAME_TEXT = 112
    DIGEST_OTHER = 0        # the digest slot that takes what has no slot of its own
    NO_ID = 0xFFFF          # no user, keyspace or shard

cdef enum:                  # the Redis part, whose structs are in redis_stats.pxd; bytes
    REDIS_LANE_SIZE = 512
    REDIS_GAUGES = 104
    REDIS_GAUGES_SIZE = 24
    REDIS_SHARD_SIZE = 17408
    REDIS_SHARD_GAUGES = 72
    REDIS_SHARD_GAUGES_SIZE = 48

cdef enum:                  # names in PARK_REASONS, same order
    PARK_PLAN_MISS = 0
    PARK_PLAN_STALE = 1
    PARK_MULTI_SHARD = 2
    PARK_PREPARE = 3
    PARK_SESSION = 4        # SET, USE, COM_INIT_DB, COM_RESET_CONNECTION
    PARK_AUDIT = 5          # its record has to be kept, or room made for it, before it runs
    PARK_TRANSACTION = 6
    PARK_HINT = 7
    PARK_TOO_LONG = 8       # the lexer's bounds
    PARK_MULTI_STATEMENT = 9
    PARK_CHARSET = 10
    PARK_KEY = 11           # a shard key that the relay may not convert
    PARK_CONNECT = 12       # a backend connection is wanted
    PARK_PEER = 13
    PARK_COMMAND = 14       # a command byte that the relay does not know
    PARK_OTHER = 15

cdef enum:                  # names in ERROR_CLASSES
    ERR_CLIENT_PROTOCOL = 0
    ERR_AUTH = 1
    ERR_REFUSED = 2         # privileges and server administration
    ERR_POLICY = 3          # an answer kept back: a column that the proof of the policy does not know
    ERR_UNSUPPORTED = 4
    ERR_SYNTAX = 5
    ERR_BACKEND = 6         # an ERR packet of a backend, relayed
    ERR_BACKEND_LOST = 7
    ERR_UNAVAILABLE = 8     # no usable backend
    ERR_QUEUE_TIMEOUT = 9
    ERR_QUERY_TIMEOUT = 10
    ERR_LIMIT = 11          # clients, bytes, statements
    ERR_UNKNOWN_OUTCOME = 12
    ERR_PEER = 13
    ERR_INTERNAL = 14
    ERR_OTHER = 15

cdef enum:                  # names in PIN_REASONS
    PIN_TRANSACTION = 0
    PIN_USER_VARIABLE = 1
    PIN_TEMPORARY_TABLE = 2
    PIN_LOCK_TABLES = 3
    PIN_GET_LOCK = 4
    PIN_FOUND_ROWS = 5
    PIN_PREPARED_IN_SQL = 6
    PIN_UNKNOWN_STATE = 7
    PIN_WARNINGS = 8
    PIN_CURSOR = 9
    PIN_HINT = 10
    PIN_OTHER = 11

cdef enum:                  # names in BACKEND_STATES, BACKEND_ROLES, FLAVOURS
    BACKEND_UNKNOWN = 0
    BACKEND_UP = 1
    BACKEND_DOWN = 2
    BACKEND_READ_ONLY = 3
    ROLE_UNKNOWN = 0
    ROLE_PRIMARY = 1
    ROLE_REPLICA = 2
    ROLE_PEER = 3
    FLAVOUR_UNKNOWN = 0
    FLAVOUR_MARIADB = 1
    FLAVOUR_MYSQL = 2
    FLAVOUR_FAIRLEAD = 3

cdef enum:                  # names in NAME_KINDS
    NAME_SHARD = 0          # attr: region index; flags: SHARD_LOCAL, SHARD_ACTIVE
    NAME_BACKEND = 1        # attr: shard index
    NAME_USER = 2
    NAME_KEYSPACE = 3
    NAME_REGION = 4
    NAME_KINDS_N = 5
    NAME_ACTIVE = 1         # part of the configuration in force
    NAME_LOCAL = 2          # stands in this process's region

cdef enum:                  # SlowEntry.flags
    SLOW_PREPARED = 1
    SLOW_REPLICA = 2
    SLOW_SCATTER = 4
    SLOW_TRANSACTION = 8


cdef struct Header:
    uint64_t magic
    uint32_t version
    uint32_t header_size
    uint64_t total_size
    uint32_t workers
    uint32_t shards
    uint32_t backends
    uint32_t users
    uint32_t keyspaces
    uint32_t regions
    uint32_t digests
    uint32_t slow
    uint32_t size_worker
    uint32_t size_shard
    uint32_t size_digest
    uint32_t size_slow
    uint32_t size_health
    uint32_t size_slot
    uint64_t off_slot
    uint64_t off_worker
    uint64_t off_shard
    uint64_t off_digest
    uint64_t off_slow
    uint64_t off_limit
    uint64_t off_health
    uint64_t off_position
    uint64_t off_name[5]
    # written by the supervisor
    uint64_t started_ns
    uint64_t supervisor_pid
    uint64_t config_epoch
    uint64_t config_loaded_ns
    uint64_t config_reloads
    uint64_t config_reload_failures
    uint64_t draining
    # shared by all writers, atomic
    uint64_t slow_seq
    uint64_t redis_slow_seq
    uint64_t redis_slow_reset   # slow Redis commands up to this number are forgotten
    uint64_t off_redis          # redis_stats.pxd
    uint64_t redis_secret[4]    # under which the names of keys are shown

cdef struct WorkerSlot:     # written by the supervisor only
    uint64_t pid
    uint64_t started_ns
    uint64_t restarts
    uint64_t last_exit      # wait status of the last death, 0 before
    uint64_t spare[4]

cdef struct WorkerStats:
    # the lines that the relay touches for every query
    uint64_t queries
    uint64_t queries_text
    uint64_t queries_prepared
    uint64_t plan_hits
    uint64_t bytes_client_in
    uint64_t bytes_client_out
    uint64_t bytes_backend_in
    uint64_t bytes_backend_out
    uint64_t receives
    uint64_t sends
    uint64_t polls
    uint64_t wakeups
    uint64_t heartbeat_ns
    uint64_t transactions
    uint64_t rollbacks
    uint64_t state_switches
    # counters
    uint64_t plan_misses
    uint64_t plan_stale
    uint64_t plan_evictions
    uint64_t parks
    uint64_t refusals
    uint64_t clients_total
    uint64_t clients_rejected
    uint64_t handshake_failures
    uint64_t auth_failures
    uint64_t logins_paused
    uint64_t backend_connects
    uint64_t backend_connect_failures
    uint64_t backend_closes
    uint64_t backend_lost
    uint64_t pool_waits
    uint64_t pool_wait_us
    uint64_t pool_timeouts
    uint64_t stmt_prepares
    uint64_t stmt_reprepares
    uint64_t peer_queries
    uint64_t kills
    uint64_t audit_records      # decision records on the disk
    uint64_t audit_bytes
    uint64_t audit_refusals     # statements refused because their record could not be kept
    uint64_t audit_failures     # writes of the audit log that failed
    uint64_t audit_unrecorded   # refusals whose record could not be kept
    uint64_t audit_waits        # statements that waited for their record, or for room for it
    uint64_t failover_waits     # statements that waited for a new primary
    uint64_t failover_wait_us
    uint64_t failover_refusals  # of them, those that found none in time, and those for which there was no room
    uint64_t sessions_given     # to the process that took over
    uint64_t sessions_taken     # from the process before
    uint64_t ids_given          # AUTO_INCREMENT values of Fairlead's
    uint64_t id_blocks          # blocks of them that were reserved
    # gauges: set back when the worker starts anew
    uint64_t clients_connected
    uint64_t transactions_open
    uint64_t bytes_buffered
    uint64_t plan_cache_bytes
    uint64_t plan_cache_entries
    uint64_t statements
    uint64_t parked
    uint64_t audit_waiting      # bytes of records that wait for the disk
    uint64_t audit_unpublished  # anchors that wait to be published
    uint64_t failover_waiting
    uint64_t failover_waiting_bytes
    # state: of the worker, not summed; written by the loop's lane (heartbeat_ns by both)
    uint64_t started_ns
    uint64_t pid
    uint64_t config_epoch
    uint64_t draining
    uint64_t ready
    uint64_t spare[6]           # up to a cache line; for the next counters
    # by reason
    uint64_t parks_by_reason[16]
    uint64_t errors_by_class[16]
    uint64_t pins_by_reason[16]
    uint64_t pins_total_by_reason[16]
    uint64_t shadows_by_change[16]
    uint64_t exposures_by_outcome[16]
    uint64_t atomics_by_outcome[16]
    uint64_t scratch[16]        # statements by outcome, then what was loaded

cdef struct Histogram:      # the count is the sum of the buckets
    uint64_t sum_us
    uint64_t max_us
    uint64_t bucket[104]
    uint64_t spare[6]

cdef struct ShardStats:
    uint64_t queries
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t reads_replica
    uint64_t errors
    uint64_t lost
    uint64_t waits
    uint64_t wait_us
    uint64_t timeouts
    # gauges
    uint64_t in_use
    uint64_t idle
    uint64_t want
    uint64_t connecting
    uint64_t spare[3]
    Histogram proxy         # request received -> sent, plus first response byte read -> last one written
    Histogram backend       # request sent -> last response byte read

cdef struct DigestCounts:   # monotonic for the life of the slot, whichever digest holds it
    uint64_t last_seen_ns
    uint64_t sum_us
    uint64_t max_us
    uint64_t errors
    uint64_t warnings
    uint64_t bytes_out
    uint64_t shard_mask     # bit min(shard, 63)
    uint64_t spare[5]
    uint64_t hist[52]

cdef struct DigestEntry:
    uint64_t seq            # odd while the head is rewritten
    uint64_t fingerprint
    uint32_t generation     # a plan's (index, generation) pair is stale when it differs
    uint32_t text_len       # of the whole text; min(text_len, DIGEST_TEXT) bytes are kept
    uint16_t user
    uint16_t keyspace
    uint32_t used
    uint64_t first_seen_ns
    uint64_t mark           # what a version on trial would make of it: an index of SHADOW_MARKS
    uint64_t spare[2]
    char text[512]
    DigestCounts base       # what earlier holders of this slot had counted (already added to `other`)
    DigestCounts lane[2]

cdef struct SlowEntry:
    uint64_t seq            # written last; 0 while the entry is rewritten
    uint64_t ts_ns
    uint64_t fingerprint
    uint64_t total_us
    uint64_t backend_us
    uint64_t wait_us
    uint64_t bytes_out
    uint64_t session
    uint32_t digest
    uint32_t generation
    uint16_t shard
    uint16_t user
    uint16_t keyspace
    uint16_t error          # MySQL errno, 0 for none
    uint32_t flags
    uint32_t spare

cdef struct SlowRing:
    uint64_t head           # entries ever written by this lane
    uint64_t mask           # capacity - 1, a power of two
    uint64_t spare[6]

cdef struct LimitCell:
    uint32_t in_use         # connections that this worker holds to the backend, open or being opened
    uint32_t want           # sessions of this worker that wait for one

cdef struct BackendHealth:
    uint32_t state
    uint32_t role
    uint32_t flavour
    uint32_t server_version  # 101119 for 10.11.19
    uint32_t lag_ms          # UINT32_MAX: unknown
    uint32_t server_id
    uint64_t last_ok_ns
    uint64_t checked_ns
    uint64_t changed_ns      # of state or role
    uint64_t position        # packed, see position_pack
    uint64_t failures        # checks that failed, ever

cdef struct NameEntry:
    uint32_t length          # written last; 0 = free
    uint32_t attr
    uint32_t flags
    uint32_t limit          # of a backend: connections over all workers; 0 = not published
    char text[112]


# ---------------------------------------------------------------- histograms
cdef inline int bucket_of(uint64_t us) noexcept nogil:
    """Bucket of a duration: 0..3 us are buckets 0..3, then four linear steps per octave (error <= 12.5 %)."""
    cdef int octave
    if us < 4:
        return <int>us
    octave = fl_octave(us)
    if octave > 26:
        return HIST_BUCKETS - 1
    return 4 * (octave - 1) + <int>((us >> (octave - 2)) & 3)


cdef inline uint64_t bucket_floor(int bucket) noexcept nogil:
    """Least duration in microseconds that falls into the bucket; the ceiling is the next one's floor."""
    if bucket < 4:
        return <uint64_t>bucket
    return (<uint64_t>(4 + (bucket & 3))) << ((bucket >> 2) - 1)


cdef inline void histogram_add(Histogram *h, uint64_t us) noexcept nogil:
    h.bucket[bucket_of(us)] += 1
    h.sum_us += us
    if us > h.max_us:
        h.max_us = us


# ---------------------------------------------------------------- digests
cdef inline DigestEntry *digest_at(DigestEntry *table, uint32_t index, uint32_t generation) noexcept nogil:
    """The slot a plan holds, or `other` when the slot has gone to another digest since."""
    if table[index].generation == generation:
        return &table[index]
    return &table[DIGEST_OTHER]


cdef inline void digest_add(DigestEntry *entry, int lane, uint64_t now_ns, uint64_t us, bint error,
                            uint32_t shard, uint64_t bytes_out) noexcept nogil:
    """Count one execution. Only the lane's own thread may call it with that lane."""
    digest_count(entry, lane, now_ns, us, error, (<uint64_t>1) << (shard if shard < 63 else 63), bytes_out)


cdef inline void digest_count(DigestEntry *entry, int lane, uint64_t now_ns, uint64_t us, bint error,
                              uint64_t shards, uint64_t bytes_out) noexcept nogil:
    """The same for any number of shards, given as a mask."""
    cdef DigestCounts *c = &entry.lane[lane]
    c.hist[bucket_of(us) >> 1] += 1
    c.sum_us += us
    c.last_seen_ns = now_ns
    c.bytes_out += bytes_out
    c.shard_mask |= shards
    if us > c.max_us:
        c.max_us = us
    if error:
        c.errors += 1


cdef inline void digest_warn(DigestEntry *entry, int lane, uint64_t warnings) noexcept nogil:
    """Count the warnings that one execution had."""
    entry.lane[lane].warnings += warnings


# ---------------------------------------------------------------- slow log
cdef inline void slow_add(Header *header, SlowRing *ring, const SlowEntry *entry) noexcept nogil:
    """Append a copy of the entry (its seq is given here) to the lane's ring, over the oldest."""
    cdef SlowEntry *slots = <SlowEntry *>(<char *>ring + sizeof(SlowRing))
    cdef uint64_t head = ring.head
    cdef SlowEntry *slot = &slots[head & ring.mask]
    cdef uint64_t seq = fl_add64(&header.slow_seq, 1)
    fl_store64(&slot.seq, 0)
    fl_fence()
    slot.ts_ns = entry.ts_ns
    slot.fingerprint = entry.fingerprint
    slot.total_us = entry.total_us
    slot.backend_us = entry.backend_us
    slot.wait_us = entry.wait_us
    slot.bytes_out = entry.bytes_out
    slot.session = entry.session
    slot.digest = entry.digest
    slot.generation = entry.generation
    slot.shard = entry.shard
    slot.user = entry.user
    slot.keyspace = entry.keyspace
    slot.error = entry.error
    slot.flags = entry.flags
    fl_store64(&slot.seq, seq)
    fl_store64(&ring.head, head + 1)


# ---------------------------------------------------------------- backend limits, shared by the workers
cdef inline uint32_t limit_total(LimitCell *row, uint32_t workers) noexcept nogil:
    """Connections to one backend over all workers."""
    cdef uint32_t i, total = 0
    for i in range(workers):
        total += fl_seen32(&row[i].in_use)
    return total


cdef inline uint32_t limit_wanted(LimitCell *row, uint32_t workers, uint32_t but) noexcept nogil:
    """Sessions waiting for the backend in other workers."""
    cdef uint32_t i, total = 0
    for i in range(workers):
        if i != but:
            total += fl_seen32(&row[i].want)
    return total


cdef inline bint limit_take(LimitCell *row, uint32_t workers, uint32_t worker, uint32_t limit) noexcept nogil:
    """Reserve one connection. Raise, then look: two workers may both fail at the edge, never both pass it."""
    fl_add32(&row[worker].in_use, 1)
    if limit_total(row, workers) <= limit:
        return True
    limit_give(row, worker)
    return False


cdef inline void limit_give(LimitCell *row, uint32_t worker) noexcept nogil:
    """Return one reservation; a cell that the supervisor has cleared stays at zero."""
    cdef uint32_t seen = fl_seen32(&row[worker].in_use)
    while seen > 0:
        if fl_cas32(&row[worker].in_use, &seen, seen - 1):
            return


cdef inline bint limit_yields(LimitCell *row, uint32_t workers, uint32_t worker,
                              uint32_t limit) noexcept nogil:
    """True when this worker holds more than an even share while another one waits at a full backend."""
    cdef uint32_t i, sharers = 0
    if limit_wanted(row, workers, worker) == 0 or limit_total(row, workers) < limit:
        return False
    for i in range(workers):
        if i == worker or fl_seen32(&row[i].want) > 0 or fl_seen32(&row[i].in_use) > 0:
            sharers += 1
    return fl_seen32(&row[worker].in_use) * sharers > limit


# ---------------------------------------------------------------- replication positions
cdef inline uint64_t position_pack(uint32_t source, uint64_t sequence) noexcept nogil:
    """source (16 bits) << 48 | sequence (48 bits); 0 = no position."""
    return (<uint64_t>(source & 0xFFFF)) << 48 | (sequence & ((<uint64_t>1 << 48) - 1))


cdef inline void position_max(uint64_t *cell, uint64_t value) noexcept nogil:
    """Raise the cell to value; a value of another source replaces it (a failover began a new history)."""
    cdef uint64_t seen = fl_load64(cell)
    while (seen >> 48) != (value >> 48) or seen < value:
        if fl_cas64(cell, &seen, value):
            return


cdef inline bint position_reached(uint64_t replica, uint64_t wanted) noexcept nogil:
    """True when a replica at `replica` shows what was written at `wanted`; another source never proves it."""
    return wanted == 0 or ((replica >> 48) == (wanted >> 48) and replica >= wanted)


# ---------------------------------------------------------------- the page
cdef class StatsPage:
    cdef Py_buffer _view
    cdef char *base
    cdef Header *header
    cdef WorkerSlot *slot_ptr(self, uint32_t worker) noexcept nogil
    cdef WorkerStats *worker_ptr(self, uint32_t worker, int lane) noexcept nogil
    cdef ShardStats *shard_ptr(self, uint32_t worker, int lane, uint32_t shard) noexcept nogil
    cdef DigestEntry *digest_ptr(self, uint32_t worker) noexcept nogil
    cdef SlowRing *slow_ptr(self, uint32_t worker, int lane) noexcept nogil
    cdef LimitCell *limit_ptr(self, uint32_t backend) noexcept nogil
    cdef BackendHealth *health_ptr(self, uint32_t backend) noexcept nogil
    cdef uint64_t *position_ptr(self, uint32_t user, uint32_t shard) noexcept nogil
    cdef NameEntry *name_ptr(self, int kind, uint32_t index) noexcept nogil
    cdef uint32_t name_capacity(self, int kind) noexcept nogil
    cdef write_name(self, int kind, uint32_t index, bytes text, uint32_t attr, uint32_t flags)


cdef inline uint64_t redis_part_size(uint64_t shards) noexcept nogil:
    """Of one worker."""
    return LANES * REDIS_LANE_SIZE + shards * REDIS_SHARD_SIZE


cdef inline char *redis_lane_at(StatsPage page, uint32_t worker, uint32_t lane) noexcept nogil:
    cdef char *base = page.base + page.header.off_redis
    return base + worker * redis_part_size(page.header.shards) + lane * REDIS_LANE_SIZE


cdef inline char *redis_shard_at(StatsPage page, uint32_t worker, uint32_t shard) noexcept nogil:
    return redis_lane_at(page, worker, LANES) + <uint64_t>shard * REDIS_SHARD_SIZE


cdef class WorkerBlock:
    cdef readonly StatsPage page
    cdef readonly uint32_t index
    cdef readonly int lane      # whose fields the Python methods write
    cdef WorkerStats *ptr       # the relay's lane
    cdef ShardStats *shards     # the relay's lane, indexed by shard
    cdef SlowRing *slow         # the relay's lane
    cdef DigestEntry *digests   # both lanes', indexed by digest
    cdef WorkerStats *own       # the lane of the Python methods
    cdef ShardStats *own_shards
    cdef SlowRing *own_slow
    cdef dict _claimed          # (fingerprint, user, keyspace) -> digest index; this process only
    cdef uint32_t _next_free
    cdef uint32_t free_slot(self, uint64_t idle_ns)
    cdef uint32_t oldest(self) noexcept nogil
    cdef evict(self, uint32_t index)
    cdef occupy(self, uint32_t index, uint64_t fingerprint, bytes text, uint16_t user, uint16_t keyspace)
    cdef recover(self)
