# cython: language_level=3
"""The Redis relay's part of the shared statistics page (stats.pxd has its rules): counters, hot keys, slow commands.

A worker's relay writes its lane and the shards' blocks, always under the relay's mutex; its event loop has a lane of
its own. A key's text is kept only where the configuration permits it; else a hash of it under a secret seed.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from _speedups.stats cimport (
    Histogram, StatsPage, fl_add64, fl_fence, fl_monotonic_ns, fl_store64, redis_lane_at, redis_shard_at,
)

cdef enum:
    FAMILIES_N = 16
    HOT_KEYS = 32
    SLOW_KEPT = 64              # of each shard and worker; a power of two
    KEY_TEXT = 64
    COMMAND_TEXT = 24
    PATTERN_TEXT = 32           # of a pattern's name; what is longer is cut
    FAMILY_UNKNOWN = 13

cdef enum:                      # names in redis_stats.PARK_REASONS
    RPARK_LOGIN = 0
    RPARK_INLINE = 1
    RPARK_COLLECT = 2           # in MULTI, or subscribed
    RPARK_UNKNOWN = 3
    RPARK_COMMAND = 4           # one that the relay does not carry out
    RPARK_KEY = 5               # only Python can place or judge its keys
    RPARK_WAY = 6               # a way into another region is to be made
    RPARK_LARGE = 7             # a connection for a large request is wanted

cdef enum:                      # names in redis_stats.ERROR_CLASSES
    RERR_PROTOCOL = 0
    RERR_AUTH = 1
    RERR_DENIED = 2             # by the user's level
    RERR_POLICY = 3
    RERR_UNKNOWN = 4
    RERR_ARITY = 5
    RERR_REFUSED = 6
    RERR_CROSS = 7
    RERR_UNAVAILABLE = 8        # nothing was sent
    RERR_LOST = 9
    RERR_LIMIT = 10
    RERR_OTHER = 11

cdef struct RedisStats:
    uint64_t requests
    uint64_t bytes_client_in
    uint64_t bytes_client_out
    uint64_t receives
    uint64_t sends
    uint64_t rounds
    uint64_t parked
    uint64_t splits
    uint64_t throttled          # clients with redis.pipeline requests under way
    uint64_t overflows          # clients closed because they took too little
    uint64_t connections        # ever accepted
    uint64_t slow
    uint64_t samples
    # gauges
    uint64_t clients
    uint64_t held_bytes
    uint64_t streams            # connections of large requests
    uint64_t by_family[16]
    uint64_t parks_by_reason[16]
    uint64_t errors_by_class[16]

cdef struct HotKey:
    uint64_t hash               # written last; 0: free
    uint64_t count              # samples
    uint64_t over               # of these, at most so many may be another key's
    uint64_t length             # of the whole key; 0: the text is not kept
    char pattern[32]            # the name of the key's pattern, or nothing
    char text[64]

cdef struct RedisSlow:
    uint64_t seq                # written last
    uint64_t ts_ns
    uint64_t us
    uint64_t hash               # of the first key, 0: without keys
    uint64_t client
    uint64_t length
    uint32_t words
    uint32_t failed
    char command[24]
    char pattern[32]
    char text[64]
    uint64_t spare[2]

cdef struct RedisShardStats:
    uint64_t requests
    uint64_t errors             # replies that are errors
    uint64_t lost
    uint64_t unsent             # requests refused because no connection led there
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t stalls             # times that the connection waited for a client to read
    uint64_t waits              # times that a client waited for the connection to take more
    uint64_t redirects          # answers of a cluster's node that another has the slot, or that it cannot be used now
    # gauges
    uint64_t connections
    uint64_t inflight
    uint64_t queue_bytes
    uint64_t nodes              # servers that writes may go to, with a connection
    uint64_t ways               # into another region
    uint64_t replica_lag_us     # since the replica that is furthest behind was proven to have every write
    uint64_t slow_head
    Histogram time              # from the request's being taken until its reply is complete
    HotKey hot[32]
    RedisSlow slow[64]


cdef inline void hot_add(HotKey *table, uint64_t hash, const char *pattern, const uint8_t *text,
                         size_t n) noexcept nogil:
    """Count a sampled key: Space-Saving (Metwally et al. 2005); the rarest key makes room, and its count is `over`."""
    cdef int i, least = 0
    for i in range(HOT_KEYS):
        if table[i].hash == hash:
            fl_store64(&table[i].count, table[i].count + 1)
            return
        if table[i].count < table[least].count:
            least = i
    fl_store64(&table[least].hash, 0)
    fl_fence()
    table[least].over = table[least].count
    table[least].count += 1
    memcpy(table[least].pattern, pattern, PATTERN_TEXT)
    table[least].length = n if text != NULL else 0
    if text != NULL:
        memcpy(table[least].text, text, n if n < KEY_TEXT else KEY_TEXT)
    fl_fence()
    fl_store64(&table[least].hash, hash)


cdef inline void hot_decay(HotKey *table) noexcept nogil:
    """Halve all counts, so that what was hot an hour ago is not for ever."""
    cdef int i
    for i in range(HOT_KEYS):
        table[i].over >>= 1
        fl_store64(&table[i].count, table[i].count >> 1)
        if table[i].count == 0:
            fl_store64(&table[i].hash, 0)


cdef inline void slow_put(RedisShardStats *shard, uint64_t *sequence, RedisSlow *entry) noexcept nogil:
    """Append a copy of the entry over the oldest; its number and time are given here."""
    cdef RedisSlow *slot = &shard.slow[shard.slow_head & (SLOW_KEPT - 1)]
    entry.seq = 0
    entry.ts_ns = fl_monotonic_ns()
    fl_store64(&slot.seq, 0)
    fl_fence()
    memcpy(slot, entry, sizeof(RedisSlow))
    fl_fence()
    fl_store64(&slot.seq, fl_add64(sequence, 1))
    shard.slow_head += 1


cdef inline RedisStats *redis_stats_at(StatsPage page, uint32_t worker, uint32_t lane) noexcept nogil:
    return <RedisStats *>redis_lane_at(page, worker, lane)


cdef inline RedisShardStats *redis_shards_at(StatsPage page, uint32_t worker) noexcept nogil:
    return <RedisShardStats *>redis_shard_at(page, worker, 0)
