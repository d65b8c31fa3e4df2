# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The relay: what carries a client's bytes to a backend and back, without a Python object on the way.

Theory of operation
- One thread runs `Relay.run()` without the GIL. It owns every plaintext descriptor on one edge-triggered epoll.
- A *session* (a client) takes one command at a time. COM_QUERY is lexed and looked up among the plans; a hit names
  a shard, directly or by the key in the statement. A backend connection of that shard is borrowed, brought into the
  session's state by *steps* (SET, BEGIN, PREPARE; responses swallowed), gets the command's bytes, and its response is
  passed on by looking at packet heads only. When the response is complete and its status flags prove the backend
  idle, it goes back to its pool; in a transaction, or pinned, it stays with the session.
- What the relay cannot decide is *parked*: the session is put on the event list, nothing is read from its client,
  and the uvloop side answers once: resume, run, reply or close.
- A *lease* is a session without a client: the executor's commands take the very same path, and the response is
  collected in memory up to a credit. So there is one session loop and one rule for when a backend is idle.
- Closed sessions keep their slot until the uvloop side has seen EVENT_CLOSED; handles carry a generation, so a late
  answer to a dead session is dropped.

Locking: `run` holds the mutex for one round, never while it polls. Calls from the uvloop side take it too and do
their work in the calling thread, without the GIL. A round is bounded by MAX_EVENTS and READ_BUDGET. Whoever is woken
up by a descriptor may get the CPU of the thread that wrote to it, and a thread that is off its CPU with the mutex in
its hand stops everybody for a scheduler's slice. So event descriptors are written to when the mutex is free, and
a resumed command, of which a burst of new statements makes hundreds in a second, is sent by the relay thread.

The parts are included rather than cimported because they call each other in a circle (a response's end starts the
next session's command) and are to be inlined.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from array import array

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset

from _speedups.buffers cimport Buf, buf_append, buf_consume, buf_free, buf_head, buf_reserve, copy_few
from _speedups.hashing cimport (
    canonical_int_from_text, canonical_literal, canonical_param, int_param_key, int_param_width, is_int_key,
    param_length, xxh64, xxh64_of_int,
)
from _speedups.lexer cimport (
    LEX_HIGH_BYTE, LEX_MULTI, LEX_OK, NORM_CAP, SLOTS_CAP, LiteralIter, Lexed, Slot, iter_begin, lex_into, list_next,
    python_statement, row_next,
)
from _speedups.literals cimport (
    KEY_INT_SIGNED, KEY_INT_UNSIGNED, LIT_INT, LIT_ROWS, MODE_ASCII_KEYS, MODE_FIRST_STATEMENT, MODE_MARIADB,
    MODE_NO_BACKSLASH_ESCAPES, SLOT_NEG, TYPE_DATE, TYPE_DATETIME, TYPE_DOUBLE, TYPE_FLOAT, TYPE_LONG, TYPE_LONGLONG,
    TYPE_NULL, TYPE_SHORT, TYPE_TIME, TYPE_TIMESTAMP, TYPE_TINY,
)
from _speedups.packet cimport lenenc_int
from _speedups.scanner cimport *
from _speedups.scanner import witness_names
from _speedups.stats cimport *
from _speedups.syscalls cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP,
    MSG_NOSIGNAL, epoll_create1, epoll_ctl, epoll_event, epoll_wait, recv, send,
)


cdef extern from "sys/eventfd.h" nogil:
    int eventfd(unsigned int initval, int flags)
    cdef enum:
        EFD_NONBLOCK
        EFD_CLOEXEC

cdef extern from "unistd.h" nogil:
    int close(int fd)
    ssize_t read(int fd, void* buf, size_t n)
    ssize_t write(int fd, const void* buf, size_t n)

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* m, void* attr)
    int pthread_mutex_lock(pthread_mutex_t* m)
    int pthread_mutex_unlock(pthread_mutex_t* m)
    int pthread_mutex_destroy(pthread_mutex_t* m)

# What only statements under a policy need stays out of the functions through which every statement goes: inlined, it
# would cost the others some 40 instructions in saved registers.
cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    struct __pyx_t_9_speedups_5relay_Core;
    struct __pyx_t_9_speedups_5relay_Session;
    struct __pyx_t_9_speedups_5relay_Plan;
    struct __pyx_t_9_speedups_5relay_Backend;
    #define FL_APART static __attribute__((noinline))
    #define FL_CORE struct __pyx_t_9_speedups_5relay_Core *
    #define FL_SESSION struct __pyx_t_9_speedups_5relay_Session *
    #define FL_BACKEND struct __pyx_t_9_speedups_5relay_Backend *
    FL_APART int __pyx_f_9_speedups_5relay_obey(FL_CORE, FL_SESSION, struct __pyx_t_9_speedups_5relay_Plan *, int32_t);
    FL_APART int __pyx_f_9_speedups_5relay_send_ruled(FL_CORE, FL_SESSION, FL_BACKEND, uint8_t);
    FL_APART void __pyx_f_9_speedups_5relay_drop_verdict(FL_CORE, FL_SESSION);
    FL_APART void __pyx_f_9_speedups_5relay_refuse_here(FL_CORE, FL_SESSION, const uint8_t *, uint32_t);
    FL_APART size_t __pyx_f_9_speedups_5relay_reword(FL_SESSION, FL_BACKEND, uint8_t *, size_t);
    FL_APART int __pyx_f_9_speedups_5relay_scan_on(FL_CORE, FL_BACKEND, int, size_t *, size_t *);
    FL_APART void __pyx_f_9_speedups_5relay_deny_result(FL_CORE, FL_BACKEND, size_t);
    FL_APART void __pyx_f_9_speedups_5relay_send_guarded(FL_CORE, FL_SESSION, FL_BACKEND);
    FL_APART void __pyx_f_9_speedups_5relay_send_watched(FL_CORE, FL_SESSION, FL_BACKEND, size_t);
    FL_APART int __pyx_f_9_speedups_5relay_do_what_is_due(FL_CORE, FL_SESSION);
    FL_APART int __pyx_f_9_speedups_5relay_leave_now(FL_CORE, FL_SESSION);
    FL_APART int __pyx_f_9_speedups_5relay_send_for_cursor(FL_CORE, FL_SESSION, FL_BACKEND);
    FL_APART void __pyx_f_9_speedups_5relay_look_at_flags(FL_CORE, FL_SESSION);
    FL_APART int __pyx_f_9_speedups_5relay_take_attributes(FL_CORE, FL_SESSION);
    FL_APART void __pyx_f_9_speedups_5relay_drop_attributes(FL_CORE, FL_SESSION);
    FL_APART int __pyx_f_9_speedups_5relay_send_headed(FL_CORE, FL_BACKEND, uint8_t, uint8_t *, size_t);
    """

cdef enum:
    MAX_EVENTS = 256
    SWEEP_NS = 100000000        # how often waits and idle times are looked at
    CLIENT_SWEEP_NS = 1000000000
    PATIENCE = 8                # rounds that a call waits at most for the mutex


include "vindex.pxi"
include "relay_vindex.pxi"
include "relay_core.pxi"
include "relay_plans.pxi"
include "relay_verdicts.pxi"
include "relay_script.pxi"
include "relay_upload.pxi"
include "relay_client.pxi"
include "relay_cursor.pxi"
include "relay_attributes.pxi"
include "relay_ids.pxi"
include "relay_changes.pxi"
include "relay_backend.pxi"
include "relay_moves.pxi"
include "relay_loop.pxi"
include "relay_api.pxi"
