# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The relay of Redis: requests of many clients over one connection per shard and protocol, replies in order.

Theory of operation
- One thread runs `RedisRelay.run()` without the GIL, beside MySQL's relay and independent of it: MySQL gives a
  session a connection of its own for a while, Redis shares one, so they have little but the buffers in common.
- A client's frame is found, its command looked up, its keys' shard computed, and its own bytes are appended to what
  waits for that shard's connection. A `Req` stands in two queues: the client's (whose order its replies keep) and
  the connection's (whose order the server's replies have). Everything is sent once per round.
- A reply is framed, never decoded. The bytes of the oldest request of a client go straight to what waits for the
  client; a later one's are kept with its `Req` until it is the oldest.
- MGET, MSET, DEL and their kin over several shards become one `Req` with a part per shard, merged when all are there.
- A request with an argument over LARGE bytes is sent on as it comes, on a connection of its own (redis_stream.pxi).
- What is not decided here is *parked*: once all earlier replies of the client are out, the uvloop side is told, and
  nothing more is taken from the client until it has answered. So parked work is in order by construction.
- A shard that is a Redis Cluster has a connection to each node, found by the key's slot; what a node says is elsewhere
  is sent there (redis_cluster.pxi).
- `call` is the uvloop side's own request on a shared connection; its reply is kept in memory.

Locking as in relay.pyx: one mutex, held for a bounded round and never while polling.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from _speedups.buffers cimport Buf, buf_append, buf_consume, buf_free, buf_head, buf_reserve
from _speedups.hashing cimport canonical_bytes, canonical_int_from_text, is_int_key, xxh64, xxh64_of_int
from _speedups.literals cimport KEY_INT_SIGNED, KEY_INT_UNSIGNED
from _speedups.relay cimport Vindex
from _speedups.redis_stats cimport *
from _speedups.resp cimport *
from _speedups.stats cimport StatsPage, histogram_add
from _speedups.syscalls cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP,
    MSG_NOSIGNAL, epoll_create1, epoll_ctl, epoll_event, epoll_wait, recv, send,
)


cdef extern from "sys/eventfd.h" nogil:
    int eventfd(unsigned int initval, int flags)
    cdef enum:
        EFD_NONBLOCK
        EFD_CLOEXEC

cdef extern from *:
    """
    #include <time.h>
    static inline uint64_t fl_now(void)
    { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec; }
    static inline uint32_t fl_more(uint32_t *n, int by)
    { return __atomic_add_fetch(n, by, __ATOMIC_SEQ_CST); }
    """
    uint64_t clock_ns "fl_now" () noexcept nogil
    uint32_t add_atomic "fl_more" (uint32_t* n, int by) noexcept nogil

cdef extern from "unistd.h" nogil:
    int close(int fd)
    ssize_t read(int fd, void* buf, size_t n)
    ssize_t write(int fd, const void* buf, size_t n)

cdef extern from "sys/socket.h" nogil:
    int shutdown(int fd, int how)
    cdef enum:
        SHUT_RDWR

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* m, void* attr)
    int pthread_mutex_lock(pthread_mutex_t* m)
    int pthread_mutex_trylock(pthread_mutex_t* m)
    int pthread_mutex_unlock(pthread_mutex_t* m)
    int pthread_mutex_destroy(pthread_mutex_t* m)

cdef extern from "sched.h" nogil:
    int sched_yield()


include "vindex.pxi"
include "redis_core.pxi"
include "redis_route.pxi"
include "redis_backend.pxi"
include "redis_client.pxi"
include "redis_stream.pxi"
include "redis_split.pxi"
include "redis_cluster.pxi"
include "redis_loop.pxi"
include "redis_api.pxi"
