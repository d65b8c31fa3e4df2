# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Reading the Redis part of the statistics page, and the event loop's lane of it (layout in redis_stats.pxd)."""
from hashlib import blake2b
from typing import NamedTuple

from libc.string cimport memset

from _speedups.stats cimport (
    HIST_BUCKETS, LANES, REDIS_GAUGES, REDIS_GAUGES_SIZE, REDIS_LANE_SIZE, REDIS_SHARD_GAUGES, REDIS_SHARD_GAUGES_SIZE,
    REDIS_SHARD_SIZE, fl_load64,
)
from _speedups.stats import Timing

FAMILIES = (
    "read", "write", "multi_read", "multi_write", "script", "blocking", "transaction", "pubsub", "scan",
    "all_servers", "any_server", "connection", "refused", "unknown",
)
PARK_REASONS = ("login", "inline", "collect", "unknown", "command", "key", "way", "large")
ERROR_CLASSES = (
    "protocol", "auth", "denied", "policy", "unknown_command", "arity", "refused", "cross_shard", "unavailable",
    "lost", "limit", "other",
)
COUNTERS = (
    "requests", "bytes_client_in", "bytes_client_out", "receives", "sends", "rounds", "parked", "splits", "throttled",
    "overflows", "connections", "slow", "samples",
)
GAUGES = ("clients", "held_bytes", "streams")
ARRAYS = {"by_family": FAMILIES, "parks_by_reason": PARK_REASONS, "errors_by_class": ERROR_CLASSES}
SHARD_COUNTERS = ("requests", "errors", "lost", "unsent", "bytes_in", "bytes_out", "stalls", "waits", "redirects")
SHARD_GAUGES = ("connections", "inflight", "queue_bytes", "nodes", "ways", "replica_lag_us")
MOST = frozenset({"nodes", "replica_lag_us"})
"""Of these not the sum over the workers counts, but the highest."""
SLOW_MOST = SLOW_KEPT

_INDEX = {name: i for i, name in enumerate(COUNTERS + GAUGES)}
_ARRAY_INDEX = {name: 16 + 16 * i for i, name in enumerate(ARRAYS)}


class Hot(NamedTuple):
    """A key that was sampled often of late; `over`: at most so many of its samples may be another key's."""
    hash: int
    samples: int
    over: int
    pattern: str | None
    text: bytes | None


class SlowCommand(NamedTuple):
    """One slow command. `hash` 0: it has no key, or it is not known; `words` counts its arguments."""
    seq: int
    worker: int
    shard: int
    ts_ns: int
    us: int
    command: str
    words: int
    client: int
    failed: bool
    pattern: str | None
    hash: int
    text: bytes | None


class RedisPage:
    """The Redis part of a StatsPage."""

    def __init__(self, StatsPage page not None):
        self.page = page

    def sum(self):
        """Counters, gauges and arrays over all workers and lanes."""
        cdef StatsPage page = self.page
        cdef uint64_t *fields
        cdef uint64_t total[64]
        cdef uint32_t w, lane
        cdef int i
        memset(total, 0, sizeof(total))
        for w in range(page.header.workers):
            for lane in range(LANES):
                fields = <uint64_t *>redis_stats_at(page, w, lane)
                for i in range(64):
                    total[i] += fields[i]
        found = {name: total[<Py_ssize_t>place] for name, place in _INDEX.items()}
        for name, labels in ARRAYS.items():
            found[name] = [total[<Py_ssize_t>(_ARRAY_INDEX[name] + i)] for i in range(len(labels))]
        return found

    def shard(self, uint32_t shard):
        """One shard over all workers: counters, gauges and `time`, a Timing."""
        cdef StatsPage page = self.page
        cdef RedisShardStats *one
        cdef uint64_t *fields
        cdef uint64_t total[16]
        cdef uint64_t buckets[104]
        cdef uint64_t sum_us = 0, max_us = 0
        cdef uint32_t w
        cdef int i
        if shard >= page.header.shards:
            raise IndexError(shard)
        cdef set highest = {i for i, name in enumerate(SHARD_COUNTERS + SHARD_GAUGES) if name in MOST}
        memset(total, 0, sizeof(total))
        memset(buckets, 0, sizeof(buckets))
        for w in range(page.header.workers):
            one = &redis_shards_at(page, w)[shard]
            fields = <uint64_t *>one
            for i in range(16):
                total[i] = max(total[i], fields[i]) if i in highest else total[i] + fields[i]
            for i in range(HIST_BUCKETS):
                buckets[i] += one.time.bucket[i]
            sum_us += one.time.sum_us
            max_us = max(max_us, one.time.max_us)
        found = {name: total[<Py_ssize_t>i] for i, name in enumerate(SHARD_COUNTERS + SHARD_GAUGES)}
        counts = [buckets[i] for i in range(HIST_BUCKETS)]
        found["time"] = Timing(sum(counts), sum_us, max_us, counts)
        return found

    def hot(self, uint32_t shard, limit=HOT_KEYS):
        """The most sampled keys of a shard over all workers, the hottest first: [Hot]."""
        cdef StatsPage page = self.page
        cdef HotKey copy
        cdef HotKey *one
        cdef uint32_t w
        cdef int i
        cdef dict found = {}
        if shard >= page.header.shards:
            raise IndexError(shard)
        for w in range(page.header.workers):
            for i in range(HOT_KEYS):
                one = &redis_shards_at(page, w)[shard].hot[i]
                copy.hash = fl_load64(&one.hash)
                if copy.hash == 0:
                    continue
                memcpy(&copy, one, sizeof(HotKey))
                fl_fence()
                if copy.hash == 0 or fl_load64(&one.hash) != copy.hash:
                    continue
                text = copy.text[:min(copy.length, KEY_TEXT)] if copy.length else None
                pattern = short_text(copy.pattern, PATTERN_TEXT)
                before = found.get(copy.hash)
                samples, over = (before.samples, before.over) if before is not None else (0, 0)
                found[copy.hash] = Hot(copy.hash, samples + copy.count, over + copy.over, pattern, text)
        return sorted(found.values(), key=lambda one: one.samples, reverse=True)[:limit]

    def slow(self, limit=SLOW_MOST, shard=None):
        """The newest slow commands since the last reset, the newest first: [SlowCommand]. `limit` -1: all kept."""
        cdef StatsPage page = self.page
        cdef uint64_t after = fl_load64(&page.header.redis_slow_reset), seq
        cdef RedisSlow copy
        cdef RedisSlow *one
        cdef uint32_t w, s
        cdef int i
        cdef list found = []
        for w in range(page.header.workers):
            for s in range(page.header.shards) if shard is None else (shard,):
                for i in range(SLOW_KEPT):
                    one = &redis_shards_at(page, w)[s].slow[i]
                    seq = fl_load64(&one.seq)
                    if seq <= after:
                        continue
                    memcpy(&copy, one, sizeof(RedisSlow))
                    fl_fence()
                    if fl_load64(&one.seq) == seq:
                        found.append(slow_tuple(seq, w, s, &copy))
        found.sort(key=lambda one: one.seq, reverse=True)
        return found if limit < 0 else found[:limit]

    def alias(self, uint64_t hash):
        """What a key is called where it may not be shown: the same until Fairlead is started anew.

        Under a secret of the page, so that nobody can try keys until one fits.
        """
        cdef StatsPage page = self.page
        secret = (<char *>page.header.redis_secret)[:sizeof(page.header.redis_secret)]
        return blake2b((<object>hash).to_bytes(8, "little"), digest_size=6, key=secret).hexdigest()

    def reset_slow(self):
        """Forget the slow commands so far, of all workers."""
        cdef StatsPage page = self.page
        fl_store64(&page.header.redis_slow_reset, fl_load64(&page.header.redis_slow_seq))


cdef object short_text(const char *text, Py_ssize_t room):
    """Up to the first NUL; None for nothing."""
    return text[:room].partition(b"\0")[0].decode("utf-8", "replace") or None


cdef object slow_tuple(uint64_t seq, uint32_t worker, uint32_t shard, RedisSlow *one):
    text = one.text[:min(one.length, KEY_TEXT)] if one.length else None
    pattern = short_text(one.pattern, PATTERN_TEXT)
    command = short_text(one.command, COMMAND_TEXT) or ""
    return SlowCommand(seq, worker, shard, one.ts_ns, one.us, command, one.words, one.client, bool(one.failed), pattern,
                       one.hash, text)


cdef class RedisBlock:
    """The event loop's lane of one worker."""

    cdef StatsPage page
    cdef RedisStats *own

    def __init__(self, StatsPage page not None, uint32_t worker):
        if worker >= page.header.workers:
            raise IndexError(worker)
        self.page = page
        self.own = redis_stats_at(page, worker, 1)

    def family(self, name):
        """Count a request that the relay did not see by itself."""
        self.own.by_family[<Py_ssize_t>FAMILIES.index(name)] += 1
        self.own.requests += 1

    def error(self, name):
        """Count an error sent to a client."""
        self.own.errors_by_class[<Py_ssize_t>ERROR_CLASSES.index(name)] += 1


cdef check_layout():
    cdef RedisStats w
    cdef RedisShardStats s
    right = (
        sizeof(RedisStats) == REDIS_LANE_SIZE and sizeof(HotKey) % 64 == 0 and sizeof(RedisSlow) % 64 == 0
        and sizeof(RedisShardStats) == REDIS_SHARD_SIZE
        and <char *>&w.clients - <char *>&w == REDIS_GAUGES and REDIS_GAUGES_SIZE == 8 * len(GAUGES)
        and <char *>&s.connections - <char *>&s == REDIS_SHARD_GAUGES
        and REDIS_SHARD_GAUGES_SIZE == 8 * len(SHARD_GAUGES)
        and <char *>&w.held_bytes - <char *>&w == 8 * _INDEX["held_bytes"]
        and <char *>&w.by_family[0] - <char *>&w == 8 * _ARRAY_INDEX["by_family"]
        and <char *>&s.replica_lag_us - <char *>&s == 8 * (len(SHARD_COUNTERS) + len(SHARD_GAUGES) - 1)
        and len(PARK_REASONS) == RPARK_LARGE + 1 and len(ERROR_CLASSES) == RERR_OTHER + 1
        and len(FAMILIES) <= FAMILIES_N and FAMILIES[FAMILY_UNKNOWN] == "unknown"
    )
    if not right:
        raise ValueError("the name lists of _speedups.redis_stats do not describe its structs")


check_layout()
