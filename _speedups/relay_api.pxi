# The uvloop side's door: one call, one lock, no Python object touched while it is held. Included by relay.pyx.

cdef enum:
    INFO_BATCH = 64


class RelayFull(Exception):
    """All session or backend slots are taken."""


@cython.no_gc_clear
cdef class StatementRef:
    """Keeps a prepared statement of the shared store alive; sessions that use it hold references of their own."""

    cdef Relay relay
    cdef Statement* st
    cdef readonly uint64_t id
    cdef readonly object note       # whatever the uvloop side wants to keep with it

    def __dealloc__(self):
        if self.st != NULL:
            self.relay.lock()
            statement_release(&self.relay.core, self.st)
            self.relay.unlock()


@cython.no_gc_clear
cdef class VerdictRef:
    """Keeps a verdict alive; plans, statements and running commands hold references of their own."""

    cdef Relay relay
    cdef Verdict* verdict
    cdef readonly size_t size

    def __dealloc__(self):
        if self.verdict != NULL:
            self.relay.lock()
            verdict_release(&self.relay.core, self.verdict)
            self.relay.unlock()


cdef class Relay:
    """One worker's relay. Sizes in bytes, times in seconds; handles are ints that never come back.

    `block`: the worker's statistics block; `max_sessions` bounds clients and leases together.
    """

    cdef Core core
    cdef pthread_mutex_t mutex
    cdef uint32_t waiting           # calls of the uvloop side that want the mutex
    cdef pthread_mutex_t turn       # held by the call that waits for the mutex
    cdef uint32_t passed            # rounds that found a call waiting
    cdef readonly WorkerBlock block

    def __cinit__(self, WorkerBlock block not None, *, uint32_t max_sessions, uint32_t max_backends,
                  size_t max_packet, double queue_wait, double slow_query, double idle_timeout=0.0,
                  double idle_transaction=0.0, double linger=5.0, size_t plan_cache=32 << 20, uint32_t records=4096):
        cdef Core* c = &self.core
        cdef uint32_t i
        cdef epoll_event e
        memset(c, 0, sizeof(Core))
        pthread_mutex_init(&self.mutex, NULL)
        pthread_mutex_init(&self.turn, NULL)
        self.block = block
        c.stats = block.ptr
        c.shard_stats = block.shards
        c.digests = block.digests
        c.slow = block.slow
        c.header = block.page.header
        c.max_packet = max_packet
        c.plan_bytes_max = plan_cache
        # Every session may have one command under way when the limit is reached, and park or end it once more.
        c.record_limit = records
        c.record_cap = records + 2 * max_sessions
        c.sample = 1
        c.chance = clock_ns() | 1
        self.set_times(queue_wait, slow_query, idle_timeout, idle_transaction, linger)
        c.session_cap = c.session_free = max_sessions
        c.backend_cap = c.backend_free = max_backends
        c.sessions = <Session**>calloc(max_sessions, sizeof(void*))
        c.session_gens = <uint32_t*>calloc(max_sessions, 4)
        c.session_stack = <uint32_t*>calloc(max_sessions, 4)
        c.backends = <Backend**>calloc(max_backends, sizeof(void*))
        c.backend_gens = <uint32_t*>calloc(max_backends, 4)
        c.backend_stack = <uint32_t*>calloc(max_backends, 4)
        c.plan_cap = 64         # kept half empty, or no search would end
        while c.plan_cap < 2 * plan_cache // 512 and c.plan_cap < 1 << 20:
            c.plan_cap *= 2
        c.plans = <Plan**>calloc(c.plan_cap, sizeof(void*))
        c.diff_cap = 4096
        c.diffs = <Diff*>calloc(c.diff_cap, sizeof(Diff))
        c.scratch = <uint8_t*>malloc(SCRATCH)
        c.out = <uint8_t*>malloc(SCRATCH + 1024)
        c.norm = <uint8_t*>malloc(NORM_CAP)
        c.slots = <Slot*>malloc(SLOTS_CAP * sizeof(Slot))
        c.records = <Record*>calloc(c.record_cap, sizeof(Record))
        if NULL in (c.sessions, c.session_gens, c.session_stack, c.backends, c.backend_gens, c.backend_stack):
            raise MemoryError
        if c.plans == NULL or c.diffs == NULL or c.scratch == NULL or c.out == NULL or c.norm == NULL \
                or c.slots == NULL or c.records == NULL:
            raise MemoryError
        c.lexed.norm = c.norm
        c.lexed.norm_cap = NORM_CAP
        c.lexed.slots = c.slots
        c.lexed.slots_cap = SLOTS_CAP
        for i in range(max_sessions):
            c.session_stack[i] = max_sessions - 1 - i
        for i in range(max_backends):
            c.backend_stack[i] = max_backends - 1 - i
        c.epfd = epoll_create1(EPOLL_CLOEXEC)
        c.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        c.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if c.epfd < 0 or c.wake_fd < 0 or c.event_fd < 0:
            raise OSError(errno, "epoll or eventfd")
        e.events = EPOLLIN
        e.data.u64 = event_key(WAKE_INDEX, 0)
        epoll_ctl(c.epfd, EPOLL_CTL_ADD, c.wake_fd, &e)
        c.now = clock_ns()

    def __dealloc__(self):
        cdef Core* c = &self.core
        cdef Backend* b
        cdef uint32_t i
        if c.sessions != NULL:
            for i in range(c.session_cap):
                if c.sessions[i] != NULL:
                    session_close(c, c.sessions[i])
            for i in range(c.session_cap):      # only then, since they are in lists of each other
                if c.sessions[i] != NULL:
                    session_free(c, c.sessions[i])
        if c.backends != NULL:
            for i in range(c.backend_cap):
                if c.backends[i] != NULL:
                    backend_close(c, c.backends[i])
            c.ready_backends = NULL
            b = c.doomed
            while b != NULL:
                b.queued = 0
                b = b.next
            bury(c)
        if c.plans != NULL:
            for i in range(c.plan_cap):
                if c.plans[i] != NULL:
                    plan_free(c, c.plans[i])
        for i in range(c.npools):
            free(c.pools[i])
        if c.diffs != NULL:
            for i in range(c.diff_cap):
                diff_clear(&c.diffs[i])
        for i in range(c.nvindexes):
            vindex_free(c.vindexes[i])
        for i in range(8):
            buf_free(&c.begins[i])
        for i in range(ERROR_KINDS):
            buf_free(&c.errors[i])
        routes_free(c.routes, c.nroutes)
        free(c.sessions)
        free(c.session_gens)
        free(c.session_stack)
        free(c.backends)
        free(c.backend_gens)
        free(c.backend_stack)
        free(c.pools)
        free(c.peer_pools)
        free(c.user_positions)
        free(c.health)
        free(c.vindexes)
        free(c.plans)
        free(c.diffs)
        free(c.scratch)
        free(c.out)
        free(c.norm)
        free(c.slots)
        free(c.records)
        for fd in (c.epfd, c.wake_fd, c.event_fd):
            if fd > 0:
                close(fd)
        pthread_mutex_destroy(&self.mutex)
        pthread_mutex_destroy(&self.turn)

    cdef void lock(self) noexcept nogil:
        pthread_mutex_lock(&self.turn)
        fl_add32(&self.waiting, 1)
        pthread_mutex_lock(&self.mutex)
        fl_add32(&self.waiting, <uint32_t>-1)
        pthread_mutex_unlock(&self.turn)
        self.core.now = clock_ns()

    cdef void unlock(self) noexcept nogil:
        cdef Core* c = &self.core
        cdef bint notify = c.notify, ready
        bury(c)
        ready = anything_ready(c)
        c.notify = False
        pthread_mutex_unlock(&self.mutex)
        # Only now: who is woken up may get this very CPU, and must find the mutex free.
        if notify:
            wake(c.event_fd)
        if ready:
            wake(c.wake_fd)

    # ------------------------------------------------------------ running
    def run(self):
        """The relay thread's body; returns after `stop`. Runs without the GIL."""
        with nogil:
            while not self.core.stopping:
                self.one_round(100)

    def round(self, int timeout_ms=0):
        """One round, for tests that want to be in charge of the time."""
        with nogil:
            self.one_round(timeout_ms)

    cdef void one_round(self, int timeout_ms) noexcept nogil:
        cdef Core* c = &self.core
        cdef epoll_event events[256]
        cdef int n, i
        cdef bint notify
        n = epoll_wait(c.epfd, events, MAX_EVENTS, 0 if anything_ready(c) else timeout_ms)
        pthread_mutex_lock(&self.mutex)
        c.stats.polls += 1
        if n <= 0:
            c.now = clock_ns()
        run_ready(c)
        for i in range(n):
            on_event(c, events[i].data.u64, events[i].events)
        if c.now - c.stats.heartbeat_ns > SWEEP_NS:
            sweep(c)
        bury(c)
        notify = c.notify
        c.notify = False
        pthread_mutex_unlock(&self.mutex)
        if notify:
            wake(c.event_fd)
        if fl_seen32(&self.waiting):
            self.give_way()

    cdef void give_way(self) noexcept nogil:
        """The mutex is not fair: at every PATIENCE-th round that finds a call waiting, wait until that has the mutex.

        Not by sched_yield, which costs a whole slice of the scheduler each time.
        """
        self.passed += 1
        if self.passed % PATIENCE == 0:
            pthread_mutex_lock(&self.turn)
            pthread_mutex_unlock(&self.turn)

    def stop(self):
        """Make `run` return."""
        self.core.stopping = True
        wake(self.core.wake_fd)

    def drain(self):
        """Close sessions as they come out of their transactions; see `busy`."""
        cdef uint32_t i
        with nogil:
            self.lock()
            self.core.draining = True
            for i in range(self.core.session_cap):
                if self.core.sessions[i] != NULL:
                    self.core.sessions[i].draining = DRAIN_CLOSE
            self.unlock()

    def farewell(self):
        """Behind `drain`: tell all clients who are still here, as far as they can be told, and close them."""
        cdef uint32_t i
        with nogil:
            self.lock()
            for i in range(self.core.session_cap):
                if self.core.sessions[i] != NULL and self.core.sessions[i].kind == KIND_CLIENT:
                    say_farewell(&self.core, self.core.sessions[i])
            self.unlock()

    def leave(self, uint64_t handle):
        """The client is to move to another process: EVENT_LEAVES when it can. -> False when it is gone."""
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(&self.core, handle)
            if s != NULL and not s.draining:
                s.draining = DRAIN_MOVE
                self.core.moving = True
                if s.backend == NULL and s.trx == TRX_NONE:
                    leave_now(&self.core, s)
            self.unlock()
        return s != NULL

    def part(self, uint64_t handle):
        """Let go of a client behind its EVENT_LEAVES, as if it had left: -> (its descriptor, which is the caller's,
        the outcome of its last statement, its positions by shard, its prepared statements); None when it is gone."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef Session copy
        cdef Buf kept
        cdef uint8_t own[ERROR_ROOM]
        cdef size_t n = 0
        cdef int fd = -1
        cdef uint64_t[::1] positions = array("Q", bytes(8 * self.core.nroutes))
        cdef uint32_t i
        memset(&kept, 0, sizeof(Buf))
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL and s.phase == PHASE_PARKED and s.cmd == NULL and s.draining == DRAIN_MOVE:
                memcpy(&copy, s, sizeof(Session))
                n = s.own_error.len
                memcpy(own, buf_head(&s.own_error), n)
                for i in range(<uint32_t>positions.shape[0]):
                    if s.user < c.nusers and c.user_positions[s.user] != NULL:
                        positions[i] = fl_load64(&c.user_positions[s.user][i])
                    elif s.positions != NULL:
                        positions[i] = s.positions[i]
                if not s.broken and tell_statements(s, &kept):
                    fd = s.fd
                    unwatch(c, fd)
                    s.fd = -1
                session_close(c, s)
            self.unlock()
        statements = PyBytes_FromStringAndSize(<char*>buf_head(&kept), kept.len)
        buf_free(&kept)
        if fd < 0:
            return None
        return fd, (copy.autocommit_off, copy.affected, copy.insert_id, copy.warnings, copy.last_error,
                    (DIAG_GONE if copy.diagnostics == DIAG_HERE else copy.diagnostics)
                    | (OUTCOME_ID_LOST if copy.id_state else 0),
                    PyBytes_FromStringAndSize(<char*>own, n)), list(positions), statements

    def stay(self, uint64_t handle):
        """Go on reading a client behind its EVENT_LEAVES, and ask again soon."""
        cdef Core* c = &self.core
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL and s.phase == PHASE_PARKED and s.cmd == NULL and s.draining == DRAIN_MOVE:
                c.stats.parked -= 1
                s.phase = PHASE_IDLE
                ready_session(c, s)
            self.unlock()

    @property
    def clients(self):
        """Connected clients."""
        return self.core.stats.clients_connected

    def fileno(self):
        """Readable when `events` has something."""
        return self.core.event_fd

    def set_times(self, double queue_wait, double slow_query, double idle_timeout, double idle_transaction,
                  double linger, double failover_wait=0):
        """Seconds; they hold from now on."""
        cdef Core* c = &self.core
        c.failover_wait_ns = <uint64_t>(failover_wait * 1e9)
        c.queue_wait_ns = <uint64_t>(queue_wait * 1e9)
        c.slow_us = <uint64_t>(slow_query * 1e6)
        c.idle_timeout_ns = <uint64_t>(idle_timeout * 1e9)
        c.linger_ns = <uint64_t>(linger * 1e9)
        c.idle_trx_ns = <uint64_t>(idle_transaction * 1e9)

    # ------------------------------------------------------------ events
    def events(self):
        """-> (sessions, pools, lost): what happened since the last call.

        sessions: (handle, event bits, park reason, command byte, plan id, is lease); a handle whose event holds
        EVENT_CLOSED is dead after this call. pools: (pool id, waiting, idle, total, refused a write as read-only).
        lost: (server, thread id) of statements that run on for nobody.
        """
        cdef Core* c = &self.core
        cdef Session* s
        cdef Pool* p
        cdef uint64_t count
        cdef uint32_t i
        cdef list sessions = [], pools = [], lost = []
        cdef uint64_t seen[64][6]
        cdef uint64_t seen_pools[64][5]
        cdef uint32_t seen_lost[64][2]
        cdef int n, m, k
        read(c.event_fd, &count, 8)
        while True:
            n = m = k = 0
            with nogil:
                self.lock()
                while c.events_head != NULL and n < 64:
                    s = c.events_head
                    c.events_head = s.event_next
                    if c.events_head == NULL:
                        c.events_tail = NULL
                    seen[n][0] = event_key(s.index, s.gen)
                    seen[n][1] = s.events
                    seen[n][2] = s.park_reason
                    seen[n][3] = s.command
                    seen[n][4] = s.plan_id
                    seen[n][5] = s.kind
                    n += 1
                    s.in_events = 0
                    s.events = 0
                    if s.phase == PHASE_CLOSED:
                        if s.queued:
                            s.reap = 1
                        else:
                            session_free(c, s)
                while c.pool_events != NULL and m < 64:
                    p = c.pool_events
                    c.pool_events = p.event_next
                    p.in_events = 0
                    seen_pools[m][0] = p.id
                    seen_pools[m][1] = p.nwait
                    seen_pools[m][2] = p.nidle
                    seen_pools[m][3] = p.total
                    seen_pools[m][4] = p.read_only
                    p.read_only = 0
                    m += 1
                for i in range(c.nlost):
                    seen_lost[i][0] = c.lost_servers[i]
                    seen_lost[i][1] = c.lost_threads[i]
                k = c.nlost
                c.nlost = 0
                self.unlock()
            for i in range(n):
                sessions.append((seen[i][0], seen[i][1], seen[i][2], seen[i][3], seen[i][4], seen[i][5]))
            for i in range(m):
                pools.append((seen_pools[i][0], seen_pools[i][1], seen_pools[i][2], seen_pools[i][3],
                              bool(seen_pools[i][4])))
            for i in range(k):
                lost.append((seen_lost[i][0], seen_lost[i][1]))
            if n < 64 and m < 64:
                return sessions, pools, lost

    def records(self, uint32_t most=1024):
        """-> how commands ended that are to be recorded, the oldest first, each told once:
        (plan or record number, shard, errno, fingerprint, rows, bytes, microseconds)."""
        cdef Core* c = &self.core
        cdef Record* taken = <Record*>malloc(max(most, 1) * sizeof(Record))
        cdef uint32_t n = 0
        if taken == NULL:
            raise MemoryError
        with nogil:
            self.lock()
            while n < most and c.nrecords:
                taken[n] = c.records[c.record_at]
                c.record_at = (c.record_at + 1) % c.record_cap
                c.nrecords -= 1
                n += 1
            self.unlock()
        try:
            return [(taken[i].id, taken[i].shard, taken[i].error, taken[i].fingerprint, taken[i].rows, taken[i].bytes,
                     taken[i].us) for i in range(n)]
        finally:
            free(taken)

    def records_under_way(self):
        """The numbers under which commands that are running now will be told of."""
        cdef Core* c = &self.core
        cdef uint32_t i, n = 0
        cdef uint32_t* found = <uint32_t*>malloc(c.session_cap * sizeof(uint32_t))
        if found == NULL:
            raise MemoryError
        with nogil:
            self.lock()
            for i in range(c.session_cap):
                if c.sessions[i] != NULL and c.sessions[i].behind & BEHIND_RECORD:
                    found[n] = c.sessions[i].plan_id
                    n += 1
            self.unlock()
        try:
            return {found[i] for i in range(n)}
        finally:
            free(found)

    def set_records(self, *, closed=None, sample=None):
        """`closed`: statements that leave a record park instead; `sample`: one in so many of PLAN_SAMPLED plans."""
        self.lock()
        if closed is not None:
            self.core.records_closed = closed
        if sample is not None:
            self.core.sample = max(1, sample)
        self.unlock()

    # ------------------------------------------------------------ clients
    def adopt(self, int fd, *, uint32_t caps, uint32_t ctx, uint32_t state, uint32_t lexmode, uint32_t user,
              int consistency=0, uint32_t max_lag_ms=0, bint hop=False, tuple outcome=None,
              uint64_t[::1] positions=None, bytes statements=b"", uint32_t changes=0, bytes changing=b""):
        """Own a client's authenticated descriptor (non-blocking) from now on. -> handle. Raises RelayFull.

        `outcome`, `positions`, `statements`: of a session that comes from another process, as `part` told them there,
        the positions by this relay's shards. `changes`, `changing`: what it is told in OK packets, as of `tell`; a peer
        is told all.
        """
        cdef Core* c = &self.core
        cdef Session* s
        cdef uint64_t handle = 0
        cdef Outcome left
        cdef const uint64_t* at = NULL
        cdef uint32_t n = 0
        cdef bytes own = b""
        memset(&left, 0, sizeof(Outcome))
        if outcome is not None:
            (left.autocommit_off, left.affected, left.insert_id, left.warnings, left.last_error, left.diagnostics,
             own) = outcome
        if positions is not None and positions.shape[0]:
            at, n = &positions[0], <uint32_t>positions.shape[0]
        cdef const uint8_t* told = <const uint8_t*>PyBytes_AS_STRING(own)
        cdef size_t told_size = PyBytes_GET_SIZE(own)
        cdef const uint8_t* prepared = <const uint8_t*>PyBytes_AS_STRING(statements)
        cdef size_t prepared_size = PyBytes_GET_SIZE(statements)
        cdef const uint8_t* names = <const uint8_t*>PyBytes_AS_STRING(changing)
        cdef size_t names_size = PyBytes_GET_SIZE(changing)
        with nogil:
            self.lock()
            s = session_new(c, fd, KIND_CLIENT)
            if s != NULL:
                s.caps = caps
                s.capclass = class_of(caps)
                s.session_track = TOLD_NOTHING
                if caps & CAP_SESSION_TRACK:
                    s.session_track = TOLD_ALL if hop else TOLD_SOME
                s.changes = changes
                if not buf_append(&s.changing, names, names_size):
                    s.broken = 1
                s.ctx = ctx
                s.state = state
                s.lexmode = lexmode | (MODE_FIRST_STATEMENT if caps & CAP_MULTI_STATEMENTS else 0)
                s.user = user
                s.consistency = <uint8_t>consistency
                s.max_lag_ms = max_lag_ms
                s.hop = hop
                s.draining = DRAIN_CLOSE if c.draining else 0
                s.readable = 1
                if not take_outcome(c, s, &left, at, n, told, told_size) \
                        or not take_statements(c, s, prepared, prepared_size):
                    s.broken = 1
                handle = event_key(s.index, s.gen)
                c.stats.clients_connected += 1
                c.stats.clients_total += 1
                if not watch(c, fd, s.index, s.gen):
                    s.broken = 1
                ready_session(c, s)
            self.unlock()
        if s == NULL:
            raise RelayFull("no session slot left")
        return handle

    def give_back(self, uint64_t handle):
        """Let go of a parked client, as if it had left: -> its descriptor, which is the caller's, behind the command.

        -1 when it is gone, or was closed because more has come from it which only an answer could make it send.
        """
        cdef Core* c = &self.core
        cdef Session* s
        cdef int fd = -1
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                if s.inb.len == s.cmd_total and s.out.len == 0 and s.script == NULL and not s.broken:
                    fd = s.fd
                    unwatch(c, fd)
                    s.fd = -1
                session_close(c, s)
            self.unlock()
        return fd

    cdef Session* parked(self, uint64_t handle) noexcept nogil:
        """The session, if its command is still parked: a late answer to a dead one is dropped."""
        cdef Session* s = session_at(&self.core, handle)
        if s == NULL or s.phase != PHASE_PARKED or s.cmd == NULL or s.resumed:
            return NULL
        return s

    def statement(self, uint64_t handle):
        """What the lexer found in the parked COM_QUERY, and how long its text is; None when the session is gone."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef Lexed* found = NULL
        cdef size_t length = 0
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                length = s.cmd_len - 1
                if s.kept == NULL:
                    lex_into(s.cmd + 1, length, s.lexmode, &c.lexed)
                    c.lexed_for = NULL
                found = lexed_copy(&c.lexed if s.kept == NULL else s.kept)
            self.unlock()
        if s == NULL:
            return None
        if found == NULL:
            raise MemoryError
        try:
            return python_statement(found), length
        finally:
            free(found)

    def command(self, uint64_t handle, size_t start=0, size_t stop=<size_t>-1):
        """Bytes `start` to `stop` of the parked command's payload, whose first is the command byte; None when the
        session is gone."""
        cdef Session* s
        cdef size_t n = 0
        cdef bint copied = False
        cdef bytes result
        cdef char* at
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                start = min(start, s.cmd_len)
                stop = min(stop, s.cmd_len)
                n = stop - start if start < stop else 0
            self.unlock()
        if s == NULL:
            return None
        result = PyBytes_FromStringAndSize(NULL, n)
        at = PyBytes_AS_STRING(result)
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL and start + n <= s.cmd_len:
                memcpy(at, s.cmd + start, n)
                copied = True
            self.unlock()
        return result if copied else None

    def resume(self, uint64_t handle):
        """Look at the parked command again: its plan, pool or way between states is there now."""
        cdef Core* c = &self.core
        cdef Session* s
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                s.resumed = 1
                ready_session(c, s)
            self.unlock()
        return s != NULL

    def run_on(self, uint64_t handle, int32_t shard, *, uint32_t flags=0, uint32_t pins=0, bytes extra=b"",
               bint notify=False, bint hold=False, VerdictRef verdict=None, int consistency=-1, int64_t max_lag_ms=-1,
               uint32_t digest=0, uint32_t digest_generation=0, uint32_t record=0, bytes payload=b"",
               uint64_t own_id=0, bint close=False):
        """Send the parked command to `shard`.

        `extra`: framed packets to be sent first, each answered by one OK. `verdict`: what the policy makes of it.
        `payload`: what is sent in place of the client's command, its command byte in front.
        `notify`: EVENT_DONE when it is complete; `hold`: and the next command waits for `release`.
        `consistency`, `max_lag_ms`: by which the backend is chosen, for this command only. `record`: how it ends is
        told by `records` under this number; 0: it is not. `own_id`: the id that was written into the payload.
        `close`: the client is disconnected behind the answer.
        -> False when the session is gone.
        """
        cdef Core* c = &self.core
        cdef Session* s
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(extra)
        cdef size_t n = PyBytes_GET_SIZE(extra)
        cdef const uint8_t* command = <const uint8_t*>PyBytes_AS_STRING(payload)
        cdef size_t length = PyBytes_GET_SIZE(payload)
        cdef Verdict* ruled = verdict.verdict if verdict is not None else NULL
        cdef uint8_t level
        cdef uint32_t lag
        cdef bint held
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                unpark(c, s)
                s.phase = PHASE_BUSY
                held = length == 0 or replace_command(c, s, command, length)
                s.flags = flags
                s.own_id = own_id
                s.hangup |= close
                s.cmd_pins = pins
                s.behind = (BEHIND_NOTIFY if notify else 0) | (BEHIND_HOLD if hold else 0)
                if length:
                    s.behind |= BEHIND_REPLACED
                    c.lexed_for = NULL
                if record:
                    s.behind |= BEHIND_RECORD
                    s.flags |= PLAN_AUDIT
                    s.plan_id = record
                    s.record_rows = s.record_error = 0
                s.shard = -1
                s.digest = digest
                s.digest_generation = digest_generation
                s.digest_shards = 0
                if s.command == COM_STMT_EXECUTE and client_statement(s) != NULL:
                    s.exec = client_statement(s).st
                drop_verdict(c, s)
                if ruled != NULL:
                    take_verdict(s, ruled)
                    if ruled.kind == VERDICT_PREPARED:
                        s.exec = ruled.statement
                if not held or not put_extra(s, p, n):
                    s.hangup = 1
                    reply_err(c, s, ERR_INTERNAL, ERROR_INTERNAL)
                elif s.exec != NULL and s.cmd_len < execute_size(s.exec):
                    reply_err(c, s, ERR_CLIENT_PROTOCOL, ERROR_MALFORMED)
                elif flags & PLAN_WARNINGS and (s.backend == NULL or s.diagnostics != DIAG_HERE):
                    # Taken meanwhile: another backend would show another session's warnings.
                    park(c, s, PARK_SESSION)
                else:
                    c.stats.queries += 1
                    level, lag = s.consistency, s.max_lag_ms
                    if consistency >= 0:
                        s.consistency = <uint8_t>consistency
                    if max_lag_ms >= 0:
                        s.max_lag_ms = <uint32_t>max_lag_ms
                    go_to_shard(c, s, shard)
                    s.consistency, s.max_lag_ms = level, lag
            self.unlock()
        return s != NULL

    def chain(self, uint64_t handle, int begin=BEGIN_NOTHING):
        """Answer COMMIT AND CHAIN of a session without a backend: a transaction begins, with the characteristics of the
        one before, or as variant `begin`, which tells of the access mode alone."""
        cdef Core* c = &self.core
        cdef Session* s
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                unpark(c, s)
                buf_free(&s.deferred)
                s.ndeferred = 0
                if begin != BEGIN_NOTHING or s.trx != TRX_PENDING or s.begin == BEGIN_NOTHING:
                    s.begin = 0 if begin == BEGIN_NOTHING else <uint8_t>begin
                s.begin = as_set(s, s.begin % BEGIN_ACCESS)
                set_trx(c, s, TRX_PENDING)
                reply_ok(c, s)
            self.unlock()
        return s != NULL

    def ask_id(self, uint64_t handle):
        """The attached backend is asked for LAST_INSERT_ID(); then the parked command is looked at again."""
        cdef Core* c = &self.core
        cdef Session* s
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                if s.backend == NULL or s.id_state != ID_HERE:
                    s.id_state = ID_LOST if s.id_state == ID_HERE else s.id_state
                    s.resumed = 1
                    ready_session(c, s)
                else:
                    if s.linger:
                        unlinger(c, s)
                        s.diagnostics = DIAG_GONE
                    unpark(c, s)
                    start_step(c, s, STEP_ASK)
            self.unlock()
        return s != NULL

    def release(self, uint64_t handle):
        """Let a session that was held behind its command go on."""
        cdef Core* c = &self.core
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL and s.phase == PHASE_PARKED and s.cmd == NULL:
                unpark(c, s)
                s.phase = PHASE_IDLE
                if s.backend != NULL and not s.linger and s.trx != TRX_ACTIVE:
                    if s.backend.suspect & SUSPECT_STATE:
                        add_pins(c, s, 1 << PIN_UNKNOWN_STATE)
                    elif s.pins == 0 and lets_go(s):
                        detach(c, s)
                    elif s.pins == 0:
                        keep_lingering(c, s)
                after_command(c, s)
            self.unlock()

    def split(self, uint64_t handle, size_t rest):
        """The parked COM_QUERY holds several statements, the second from offset `rest` of its text: carry out the
        first, then look at the others. -> False when it cannot be divided (or the session is gone)."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef bint done = False
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL and split_command(c, s, rest):
                done = True
                free(s.kept)        # it told of the whole text
                s.kept = NULL
                s.resumed = 1
                ready_session(c, s)
            self.unlock()
        return done

    def take_several(self, uint64_t handle, bint allowed):
        """COM_SET_OPTION: may one COM_QUERY hold several statements?"""
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(&self.core, handle)
            if s != NULL:
                s.lexmode = (s.lexmode & ~<uint32_t>MODE_FIRST_STATEMENT) | (MODE_FIRST_STATEMENT if allowed else 0)
            self.unlock()
        return s != NULL

    def count_as(self, uint64_t handle, uint32_t digest, uint32_t digest_generation, uint64_t shards):
        """The parked command is this digest's, and concerns these shards (a mask): `reply` counts it."""
        cdef Session* s
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                s.digest = digest
                s.digest_generation = digest_generation
                s.digest_shards = shards
            self.unlock()
        return s != NULL

    def reply(self, uint64_t handle, bytes packets, *, bint close=False, bint error=False, affected=None,
              uint64_t insert_id=0, uint16_t warnings=0, bint keep_diagnostics=False, bytes note=None, found_rows=None):
        """Answer the parked command with framed packets. -> False when the session is gone.

        `affected`: rows, None after an answer that holds rows or an error; `insert_id`: 0 leaves the last one;
        `keep_diagnostics`: SHOW WARNINGS still speaks of the statement before. `note`: an ERR packet's payload, one of
        the `warnings` and of Fairlead's own. `found_rows`: what FOUND_ROWS() is from now on; None: as the plan has it.
        """
        cdef Core* c = &self.core
        cdef Session* s
        cdef uint64_t changed = <uint64_t>-1 if affected is None else affected
        cdef uint64_t found = FOUND_UNKNOWN if found_rows is None else found_rows
        cdef const uint8_t* told = <const uint8_t*>PyBytes_AS_STRING(note) if note is not None else NULL
        cdef size_t told_size = PyBytes_GET_SIZE(note) if note is not None else 0
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(packets)
        cdef size_t n = PyBytes_GET_SIZE(packets)
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                unpark(c, s)
                s.hangup |= close
                if found != FOUND_UNKNOWN or not s.flags & PLAN_UNCOUNTED:
                    s.found_rows = found
                if error:
                    keep_own_error(s, p + 4, n - 4)
                elif s.command != COM_STMT_PREPARE:
                    s.affected = changed
                    if not keep_diagnostics:
                        s.last_error = NO_ERROR
                        s.warnings = warnings
                        s.diagnostics = DIAG_GONE
                    if told != NULL:
                        s.last_error = OWN_NOTE
                        keep_own(s, told, told_size)
                if insert_id:
                    s.insert_id = insert_id
                    s.id_state = ID_KNOWN
                send_numbered(c, s, p, n)
                if s.up_kept:
                    end_file(c, s)
                count_reply(c, s, error)
                end_command(c, s)
            self.unlock()
        return s != NULL

    def reply_ok(self, uint64_t handle, bytes told=b""):
        """Answer the parked command with an OK packet that carries the session's status.

        `told`: entries of session changes, at most CHANGES_MAX bytes, of which the client gets those that it is told.
        """
        cdef Session* s
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(told)
        cdef size_t n = PyBytes_GET_SIZE(told)
        if n > CHANGES_MAX:
            raise ValueError("too many changes for one packet")
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                unpark(&self.core, s)
                if n and s.session_track:
                    reply_told(&self.core, s, p, n, s.changes)
                else:
                    reply_ok(&self.core, s)
            self.unlock()
        return s != NULL

    def tell(self, uint64_t handle, uint32_t changes, bytes changing):
        """What a client with CLIENT_SESSION_TRACK is told from now on: `changes` of enum Change, and `changing` of the
        variables, the size of each name in a byte before it. -> False when the session is gone."""
        cdef Session* s
        cdef const uint8_t* names = <const uint8_t*>PyBytes_AS_STRING(changing)
        cdef size_t n = PyBytes_GET_SIZE(changing)
        with nogil:
            self.lock()
            s = session_at(&self.core, handle)
            if s != NULL:
                s.changes = changes
                buf_free(&s.changing)
                if not buf_append(&s.changing, names, n):
                    s.broken = 1
            self.unlock()
        return s != NULL

    def write(self, uint64_t handle, bytes packets):
        """Part of an answer; the session stays parked. -> bytes that wait for the client (then EVENT_DRAINED follows),
        -1 when the session is gone."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(packets)
        cdef size_t n = PyBytes_GET_SIZE(packets)
        cdef ssize_t waiting = -1
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                s.response_started = 1
                send_numbered(c, s, p, n)
                if s.broken:
                    session_close(c, s)
                else:
                    waiting = s.out.len
            self.unlock()
        return waiting

    def ask_file(self, uint64_t handle, bytes packets):
        """Ask the parked session's client for its file by this framed request; EVENT_DATA follows, and `take_file`
        gives what has come. An answer before its end disconnects the client. -> False when the session is gone."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(packets)
        cdef size_t n = PyBytes_GET_SIZE(packets)
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                send_numbered(c, s, p, n)
                begin_file(s)
                s.up_kept = s.up_asked = 1
                s.up_seq = p[3]
                s.t_last = c.now
                if s.broken:
                    session_close(c, s)
                    s = NULL
                else:
                    ready_session(c, s)
            self.unlock()
        return s != NULL

    def take_file(self, uint64_t handle):
        """-> (bytes of the file, whether more is to come); None when the session is gone. The client is read on."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef Buf taken
        cdef bint more = False
        memset(&taken, 0, sizeof(Buf))
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                taken = s.file
                memset(&s.file, 0, sizeof(Buf))
                c.stats.bytes_buffered -= taken.len
                more = s.uploading
                s.t_last = c.now
                if more and s.readable:
                    ready_session(c, s)
            self.unlock()
        if s == NULL:
            return None
        try:
            return (PyBytes_FromStringAndSize(<char*>buf_head(&taken), taken.len) if taken.len else b""), more
        finally:
            buf_free(&taken)

    def close(self, uint64_t handle):
        """Disconnect a client, or give a lease back (its backend survives only when it is proven idle)."""
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(&self.core, handle)
            if s != NULL:
                session_close(&self.core, s)
            self.unlock()
        return s != NULL

    def interrupt(self, uint64_t handle):
        """Stop the session's statement, as KILL QUERY does, as far as the relay can: one that waits for a connection.

        -> (phase, server, thread, shard) of what runs: `thread` 0 when none does; `server` -1 when the shard is another
        region's, where `thread` is a connection id. Its connection is not lent again. None when the session is gone.
        """
        cdef Core* c = &self.core
        cdef Session* s
        cdef Backend* b
        cdef int phase = PHASE_CLOSED, server = -1
        cdef uint32_t thread = 0
        cdef int32_t shard = -1
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL:
                phase = s.phase
                b = s.backend
                if phase == PHASE_WAITING:
                    stop_waiting(c, s)
                    s.phase = PHASE_BUSY
                    reply_err(c, s, ERR_OTHER, ERROR_INTERRUPTED)
                elif b != NULL and b.busy and b.thread_id and not s.linger:
                    b.suspect |= SUSPECT_KILL
                    thread, shard = b.thread_id, b.pool.shard
                    server = -1 if b.pool.remote else <int>b.pool.server
            self.unlock()
        return None if s == NULL else (phase, server, thread, shard)

    def info(self, uint64_t handle):
        """What the session knows, as a dict; None when it is gone."""
        cdef Session* s
        cdef Session copy
        cdef uint8_t error[ERROR_ROOM]
        cdef size_t n = 0
        cdef int32_t shard = -1
        self.lock()
        s = session_at(&self.core, handle)
        if s != NULL:
            memcpy(&copy, s, sizeof(Session))
            if s.last_error in (OWN_ERROR, OWN_NOTE):
                n = s.own_error.len
                memcpy(error, buf_head(&s.own_error), n)
            if s.backend != NULL:
                shard = s.backend.pool.shard
                if s.trx == TRX_ACTIVE:
                    copy.status = s.backend.status      # also behind an error, which says nothing of it
        self.unlock()
        if s == NULL:
            return None
        found = info_of(&copy, shard)
        found["own_error"] = PyBytes_FromStringAndSize(<char*>error, n) if n else None
        return found

    def infos(self, list handles not None):
        """`info` of up to INFO_BATCH sessions under one lock: (handle, dict) pairs, without those that are gone."""
        cdef Session copies[INFO_BATCH]
        cdef uint64_t wanted[INFO_BATCH]
        cdef int32_t shards[INFO_BATCH]
        cdef Session* s
        cdef int i, n = 0, count = len(handles)
        if count > INFO_BATCH:
            raise ValueError(f"more than {INFO_BATCH} sessions")
        for i in range(count):
            wanted[i] = handles[i]
        with nogil:
            self.lock()
            for i in range(count):
                s = session_at(&self.core, wanted[i])
                if s != NULL:
                    memcpy(&copies[n], s, sizeof(Session))
                    shards[n] = s.backend.pool.shard if s.backend != NULL else -1
                    wanted[n] = wanted[i]
                    n += 1
            self.unlock()
        return [(wanted[i], info_of(&copies[i], shards[i])) for i in range(n)]

    def set_session(self, uint64_t handle, *, ctx=None, state=None, lexmode=None, autocommit=None, consistency=None,
                    max_lag_ms=None):
        """Change what a session is; None leaves a field as it is. -> False when it is gone."""
        cdef Session* s
        cdef int64_t new_ctx = -1 if ctx is None else ctx
        cdef int64_t new_state = -1 if state is None else state
        cdef int64_t new_mode = -1 if lexmode is None else lexmode
        cdef int new_auto = -1 if autocommit is None else bool(autocommit)
        cdef int new_level = -1 if consistency is None else consistency
        cdef int64_t new_lag = -1 if max_lag_ms is None else max_lag_ms
        with nogil:
            self.lock()
            s = session_at(&self.core, handle)
            if s != NULL:
                if new_ctx >= 0:
                    s.ctx = <uint32_t>new_ctx
                if new_state >= 0:
                    s.state = <uint32_t>new_state
                if new_mode >= 0:
                    s.lexmode = <uint32_t>new_mode | (s.lexmode & MODE_FIRST_STATEMENT)
                if new_auto >= 0:
                    s.autocommit_off = not new_auto
                if new_level >= 0:
                    s.consistency = <uint8_t>new_level
                if new_lag >= 0:
                    s.max_lag_ms = <uint32_t>new_lag
            self.unlock()
        return s != NULL

    def state_applied(self, uint64_t handle, uint32_t state):
        """The session's attached backend was brought into `state` by a command that the client sent itself."""
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(&self.core, handle)
            if s != NULL:
                s.state = state
                if s.backend != NULL:
                    s.backend.state = state
                    s.backend.suspect &= ~SUSPECT_STATE
            self.unlock()
        return s != NULL

    def forget_outcome(self, uint64_t handle):
        """No previous statement: its insert id, its errors and warnings are forgotten."""
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(&self.core, handle)
            if s != NULL:
                s.insert_id = 0
                s.id_state = ID_KNOWN
                s.found_rows = FOUND_UNKNOWN
                s.warnings = 0
                s.last_error = NO_ERROR
                s.diagnostics = DIAG_GONE
                s.transaction_told = TOLD_NO_TRANSACTION
            self.unlock()
        return s != NULL

    def unpin(self, uint64_t handle):
        """Let go of the attached backend (closed unless proven idle), the transaction and all pins."""
        cdef Core* c = &self.core
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL and (s.phase == PHASE_PARKED or s.phase == PHASE_IDLE):
                close_or_release(c, s)
                set_trx(c, s, TRX_NONE)
                unmark(s)
                drop_pins(c, s)
            self.unlock()
        return s != NULL

    def forget_statements(self, uint64_t handle):
        """Drop all prepared statements of the parked session (COM_RESET_CONNECTION)."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef uint32_t i
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                for i in range(s.stmt_cap):
                    if s.stmts[i].st != NULL:
                        forget_statement(c, s, &s.stmts[i])
            self.unlock()

    # ------------------------------------------------------------ leases
    def lease_open(self, *, uint32_t caps, uint32_t ctx, uint32_t state, uint32_t user, bint hop, size_t credit=262144,
                   uint64_t client=<uint64_t>NOBODY):
        """A session for the executor's own commands, which servers get with the attributes of what `client` does
        meanwhile. -> handle. Raises RelayFull."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef uint64_t handle = 0
        with nogil:
            self.lock()
            s = session_new(c, -1, KIND_LEASE)
            if s != NULL:
                s.caps = caps
                s.capclass = class_of(caps)
                s.session_track = TOLD_ALL if caps & CAP_SESSION_TRACK else TOLD_NOTHING
                s.ctx = ctx
                s.state = state
                s.user = user
                s.hop = hop
                s.credit = credit
                s.client = client
                handle = event_key(s.index, s.gen)
            self.unlock()
        if s == NULL:
            raise RelayFull("no session slot left")
        return handle

    def lease_submit(self, uint64_t handle, int32_t shard, bytes payload, *, uint32_t flags=0, uint32_t pins=0,
                     StatementRef statement=None, VerdictRef verdict=None):
        """Send one command (payload with its command byte) to `shard`; EVENT_DATA and EVENT_DONE follow.

        `statement`: what a COM_STMT_EXECUTE (with types) executes; the caller keeps it alive until EVENT_DONE.

        `verdict`: one that lets the payload pass as it is. `pins`: why its backend stays with the lease from then on,
        in a transaction or not, until `lease_unpin`.
        -> False when the lease is gone or busy.
        """
        cdef Core* c = &self.core
        cdef Session* s
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(payload)
        cdef size_t n = PyBytes_GET_SIZE(payload)
        cdef bint taken = False
        cdef Verdict* ruled = verdict.verdict if verdict is not None else NULL
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL and s.kind == KIND_LEASE and s.phase == PHASE_IDLE and replace_command(c, s, p, n):
                share_attributes(c, s, session_at(c, s.client))
                s.t_received = c.now
                s.t_wait = s.t_sent = 0
                s.bytes_out = 0
                s.flags = flags
                s.cmd_pins = pins
                s.phase = PHASE_BUSY
                if statement is not None:
                    s.exec = statement.st
                if ruled != NULL:
                    take_verdict(s, ruled)
                taken = True
                s.shard = shard
                if s.hangup:
                    # Its backend went away between two commands, and a transaction with it.
                    reply_err(c, s, ERR_BACKEND_LOST, ERROR_LOST_IDLE)
                elif s.exec != NULL and (n < execute_size(s.exec) or (s.exec.nparams and not has_types(s))):
                    reply_err(c, s, ERR_INTERNAL, ERROR_MALFORMED)
                elif s.backend == NULL and primary_pool(c, s, shard) == NULL:
                    reply_err(c, s, ERR_UNAVAILABLE, ERROR_NO_PRIMARY)
                else:
                    go_to_shard(c, s, shard)
            self.unlock()
        return taken

    def lease_take(self, uint64_t handle):
        """The bytes collected so far (framed packets of the response, cut anywhere); its backend is read on."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef Buf out
        memset(&out, 0, sizeof(Buf))
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL and s.kind == KIND_LEASE:
                out = s.out
                memset(&s.out, 0, sizeof(Buf))
                c.stats.bytes_buffered -= out.len
                if s.backend != NULL and s.backend.readable:
                    ready_backend(c, s.backend)
            self.unlock()
        if out.mem == NULL:
            return b""
        try:
            return PyBytes_FromStringAndSize(<char*>buf_head(&out), out.len)
        finally:
            buf_free(&out)

    def lease_upload(self, uint64_t handle, bytes data, bint end=False):
        """More of the file that the lease's server has asked for; `end`: all of it.

        -> bytes that wait for the server (EVENT_DRAINED when it has taken them), -1 when it takes no more: its answer
        is there, or it is gone.
        """
        cdef Core* c = &self.core
        cdef Session* s
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t n = PyBytes_GET_SIZE(data)
        cdef ssize_t waiting = -1
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL and s.kind == KIND_LEASE and s.uploading and s.backend != NULL:
                if send_file(c, s, p, n) and (not end or send_file_end(c, s)):
                    waiting = s.backend.out.len
                else:
                    backend_gone(c, s.backend)
            self.unlock()
        return waiting

    def lease_unpin(self, uint64_t handle):
        """Whatever kept the idle lease's backend is over: it goes back, proven idle or closed."""
        cdef Core* c = &self.core
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL and s.kind == KIND_LEASE and s.phase == PHASE_IDLE:
                drop_pins(c, s)
                if s.backend != NULL and s.trx != TRX_ACTIVE:
                    detach(c, s)
            self.unlock()

    # ------------------------------------------------------------ transactions of several shards
    def move_backend(self, uint64_t giver, uint64_t taker, *, bint lent=False):
        """The backend that one session or lease holds is the other's from now on, with the transaction that is open
        there. Pins stay where they are; a client's session goes on saying that it is in a transaction.
        `lent`: for nothing that changes LAST_INSERT_ID() there, and it comes back before the session goes on.

        -> False when the giver has none, or either is gone or busy.
        """
        cdef Core* c = &self.core
        cdef Session* a
        cdef Session* b
        cdef bint moved = False
        with nogil:
            self.lock()
            a, b = session_at(c, giver), session_at(c, taker)
            if a != NULL and b != NULL and at_rest(a) and at_rest(b) and a.backend != NULL and b.backend == NULL \
                    and not a.linger and not a.backend.busy:
                if not lent:
                    ids_lost(a, a.backend)
                move_backend(c, a, b)
                moved = True
            self.unlock()
        return moved

    def set_pins(self, uint64_t handle, *, uint32_t add=0, uint32_t drop=0):
        """Bind a session to its backend for these reasons, or not for those any more."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef uint32_t left
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL:
                left = (s.pins & ~drop) | add
                if left != s.pins:
                    clear_pins(c, s)
                    add_pins(c, s, left)
            self.unlock()

    def end_transaction(self, uint64_t handle):
        """The parked or held session's transaction, whose parts leases have ended, is over."""
        cdef Core* c = &self.core
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(c, handle)
            if s != NULL:
                drop_pending(c, s)
                set_trx(c, s, TRX_NONE)
                unmark(s)
            self.unlock()

    def mark(self, uint64_t handle):
        """The open transaction has savepoints that the caller keeps; `info` says so until its end."""
        cdef Session* s
        with nogil:
            self.lock()
            s = session_at(&self.core, handle)
            if s != NULL and s.trx != TRX_NONE:
                s.marked = 1
            self.unlock()

    def transaction(self, uint64_t handle):
        """How the session's transaction was begun: (variant of START TRANSACTION, framed SET TRANSACTIONs before it);
        None when the session is gone."""
        cdef Session* s
        cdef uint8_t text[1024]
        cdef size_t n = 0
        cdef uint8_t begin = 0
        self.lock()
        s = session_at(&self.core, handle)
        if s != NULL:
            if s.begin == BEGIN_SAVEPOINT:
                s.begin = 0         # it begins now, as the flags say from now on
            begin = s.begin
            if s.once_used.len + s.once.len <= 1024:
                memcpy(text, buf_head(&s.once_used), s.once_used.len)
                memcpy(text + s.once_used.len, buf_head(&s.once), s.once.len)
                n = s.once_used.len + s.once.len
        self.unlock()
        return None if s == NULL else (begin, PyBytes_FromStringAndSize(<char*>text, n))

    # ------------------------------------------------------------ pools and routes
    def pool_new(self, int32_t shard, int capclass, *, uint32_t server, bint remote=False):
        """-> pool id. `server`: its index in the health table."""
        cdef Core* c = &self.core
        cdef Pool* p = <Pool*>calloc(1, sizeof(Pool))
        cdef Pool** more
        if p == NULL:
            raise MemoryError
        p.shard = shard
        p.stats = &c.shard_stats[shard]
        p.capclass = <uint8_t>capclass
        p.server = server
        p.remote = remote
        p.up = 1
        p.keep_idle = 1
        p.queue_max = <uint32_t>-1
        p.idle_ns = <uint64_t>300 * 1000000000
        self.lock()
        more = <Pool**>realloc(c.pools, (c.npools + 1) * sizeof(void*))
        if more != NULL:
            c.pools = more
            p.id = c.npools
            c.pools[c.npools] = p
            c.npools += 1
        self.unlock()
        if more == NULL:
            free(p)
            raise MemoryError
        return p.id

    def pool_up(self, uint32_t pool, bint up):
        """A pool that is down lends nothing new to replicas' readers and closes its idle connections."""
        cdef Core* c = &self.core
        with nogil:
            self.lock()
            if pool < c.npools:
                c.pools[pool].up = up
                if not up:
                    while c.pools[pool].idle != NULL:
                        backend_close(c, c.pools[pool].idle)
            self.unlock()

    def pool_lose(self, uint32_t pool):
        """Its server does not answer any more: all who hold a connection of it get their error. -> how many."""
        cdef Core* c = &self.core
        cdef uint32_t i
        cdef Backend* b
        cdef int lost = 0
        with nogil:
            self.lock()
            for i in range(c.backend_cap):
                b = c.backends[i]
                if b != NULL and b.pool.id == pool and b.owner != NULL:
                    backend_lost(c, b)
                    lost += 1
            self.unlock()
        return lost

    def pool_reach(self, uint32_t pool, bint reached):
        """Did the last attempt to connect succeed?"""
        if pool < self.core.npools:
            self.core.pools[pool].unreachable = not reached

    def pool_reroute(self, uint32_t pool):
        """Its server is no longer the primary: who waits for it as such looks for the new one. A lease that would find
        none waits on."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef Session* next
        with nogil:
            self.lock()
            s = c.pools[pool].wait_head if pool < c.npools else NULL
            while s != NULL:
                next = s.wait_next
                if s.role == 0 and (s.kind == KIND_CLIENT or primary_pool(c, s, s.shard) != NULL) \
                        and primary_pool(c, s, s.shard) != s.pool:
                    stop_waiting(c, s)
                    s.phase = PHASE_BUSY
                    go_to_shard(c, s, s.shard)
                s = next
            self.unlock()

    def pool_fail(self, uint32_t pool, bytes packet):
        """Answer all who wait for the pool with a framed ERR packet (sequence 1)."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(packet)
        cdef size_t n = PyBytes_GET_SIZE(packet)
        cdef int failed = 0
        with nogil:
            self.lock()
            while pool < c.npools and c.pools[pool].wait_head != NULL:
                s = c.pools[pool].wait_head
                stop_waiting(c, s)
                c.stats.errors_by_class[ERR_UNAVAILABLE] += 1
                keep_own_error(s, p + 4, n - 4)
                send_numbered(c, s, p, n)
                if s.kind == KIND_LEASE:
                    push_event(c, s, EVENT_LOST)
                end_command(c, s)
                failed += 1
            self.unlock()
        return failed

    def pool_limits(self, uint32_t pool, *, uint32_t keep_idle, double idle_time, double age, uint32_t queue):
        """Connections that stay open idle, seconds after which others go, greatest age (0: any), longest queue."""
        cdef Pool* p
        self.lock()
        if pool < self.core.npools:
            p = self.core.pools[pool]
            p.keep_idle = keep_idle
            p.idle_ns = <uint64_t>(idle_time * 1e9)
            p.age_ns = <uint64_t>(age * 1e9)
            p.queue_max = queue
        self.unlock()

    def pool_base(self, uint32_t pool, uint32_t base):
        """Which base (see diff_put) the pool's fresh connections have."""
        self.lock()
        if pool < self.core.npools:
            self.core.pools[pool].base = base
        self.unlock()

    def states_in_use(self):
        """The state numbers that sessions and backends carry or are on their way to; others can be given out anew."""
        cdef Core* c = &self.core
        cdef uint32_t i, n = 0
        cdef uint32_t* found = <uint32_t*>malloc((c.session_cap + 2 * <size_t>c.backend_cap) * sizeof(uint32_t))
        if found == NULL:
            raise MemoryError
        with nogil:
            self.lock()
            for i in range(c.session_cap):
                if c.sessions[i] != NULL:
                    found[n] = c.sessions[i].state
                    n += 1
            for i in range(c.backend_cap):
                if c.backends[i] != NULL:
                    found[n] = c.backends[i].state
                    found[n + 1] = c.backends[i].want_state
                    n += 2
            self.unlock()
        try:
            return {found[i] for i in range(n)}
        finally:
            free(found)

    def diffs_clear(self):
        """Forget all ways between states: state numbers were given out anew."""
        cdef uint32_t i
        self.lock()
        for i in range(self.core.diff_cap):
            diff_clear(&self.core.diffs[i])
        self.unlock()

    def pool_state(self, uint32_t pool):
        """-> (waiting, idle, lingering, total)"""
        cdef Core* c = &self.core
        if pool >= c.npools:
            raise IndexError(pool)
        cdef Pool* p = c.pools[pool]
        return p.nwait, p.nidle, p.nlinger, p.total

    def backend_add(self, uint32_t pool, int fd, *, uint32_t state, uint32_t thread_id, bint attributes=False):
        """Own an authenticated, idle backend descriptor (non-blocking). The longest waiting session gets it.

        `attributes`: it has negotiated query attributes.
        """
        cdef Core* c = &self.core
        cdef Backend* b
        with nogil:
            self.lock()
            b = backend_new(c, fd, c.pools[pool], state)
            if b != NULL:
                b.thread_id = thread_id
                b.attributes = attributes
                c.stats.backend_connects += 1
                if watch(c, fd, b.index | <uint32_t>BACKEND_BIT, b.gen):
                    to_idle(c, b)
                    serve_waiters(c, c.pools[pool])
                else:
                    backend_close(c, b)
            self.unlock()
        if b == NULL:
            raise RelayFull("no backend slot left")

    def close_one_idle(self, uint32_t pool):
        """Close the coldest idle (else lingering) connection, so that another pool of the server may open one."""
        cdef Core* c = &self.core
        cdef Backend* b = NULL
        with nogil:
            self.lock()
            if pool < c.npools:
                b = c.pools[pool].idle
                if b == NULL and c.pools[pool].linger != NULL:
                    b = c.pools[pool].linger
                    b.owner.diagnostics = DIAG_GONE
                if b != NULL:
                    while b.next != NULL and b.in_list == 1:
                        b = b.next
                    backend_close(c, b)
            self.unlock()
        return b != NULL

    def configure(self, *, uint32_t shards, uint32_t users, list health):
        """Sizes of the route tables, which never shrink, at every configuration. `health`: server -> index in the page.

        Shards keep their routes until they are given others, so that no statement meets a gap; peers do not.
        """
        cdef Core* c = &self.core
        cdef uint32_t i, k
        if shards < c.nroutes or users < c.nusers:
            raise ValueError("fewer shards or users than before")
        cdef size_t npeers = <size_t>users * shards * CLASSES
        cdef Route* routes = <Route*>calloc(shards, sizeof(Route))
        cdef int32_t* peers = <int32_t*>malloc(npeers * 4 + 4)
        cdef uint64_t** positions = <uint64_t**>calloc(users + 1, sizeof(void*))
        cdef BackendHealth** table = <BackendHealth**>calloc(len(health) + 1, sizeof(void*))
        if routes == NULL or peers == NULL or positions == NULL or table == NULL:
            raise MemoryError
        for i in range(shards):
            for k in range(CLASSES):
                routes[i].primary[k] = -1
            for k in range(CLASSES * MAX_REPLICAS):
                (&routes[i].replicas[0][0])[k] = -1
        memset(peers, 0xff, npeers * 4)
        for i, index in enumerate(health):
            table[i] = self.block.page.health_ptr(index)
        self.lock()
        if not widen_positions(c, shards):
            self.unlock()
            routes_free(routes, 0)
            free(peers)
            free(positions)
            free(table)
            raise MemoryError
        for i in range(c.nroutes):
            routes[i] = c.routes[i]
        for i in range(c.nusers):
            positions[i] = c.user_positions[i]
        free(c.routes)
        free(c.peer_pools)
        free(c.user_positions)
        free(c.health)
        c.routes = routes
        c.nroutes = shards
        c.peer_pools = peers
        c.nusers = users
        c.user_positions = positions
        c.health = table
        c.nhealth = len(health)
        self.unlock()

    def share_positions(self, uint32_t user):
        """Session consistency across all connections of this user: positions live in the shared page."""
        self.core.user_positions[user] = self.block.page.position_ptr(user, 0)

    def route(self, uint32_t shard, int capclass, int32_t primary, list replicas, *, bint remote=False):
        """Pools of a shard for a capability class; primary -1: there is none now."""
        cdef Core* c = &self.core
        cdef Route* r
        cdef int32_t ids[8]
        cdef int i, k, n = min(len(replicas), MAX_REPLICAS)
        if shard >= c.nroutes or not 0 <= capclass < CLASSES:
            raise IndexError("shard or capability class")
        for i in range(MAX_REPLICAS):
            ids[i] = replicas[i] if i < n else -1
        self.lock()
        r = &c.routes[shard]
        r.primary[capclass] = primary
        r.remote = remote
        for i in range(MAX_REPLICAS):
            r.replicas[capclass][i] = ids[i]
        r.nreplicas = 0
        for k in range(CLASSES):
            for i in range(MAX_REPLICAS):
                if r.replicas[k][i] >= 0 and r.nreplicas <= <uint32_t>i:
                    r.nreplicas = i + 1
        self.unlock()

    def peer_route(self, uint32_t user, uint32_t shard, int capclass, int32_t pool):
        """The pool through which `user` reaches a shard of another region."""
        if user >= self.core.nusers or shard >= self.core.nroutes or not 0 <= capclass < CLASSES:
            raise IndexError("user, shard or capability class")
        self.lock()
        self.core.peer_pools[(user * self.core.nroutes + shard) * CLASSES + capclass] = pool
        self.unlock()

    # ------------------------------------------------------------ plans
    @property
    def epoch(self):
        return self.core.epoch

    @epoch.setter
    def epoch(self, uint32_t value):
        """Plans of another epoch are stale: they park and are made anew."""
        self.core.epoch = value

    def plan_put(self, *, uint64_t fingerprint, bytes norm, uint32_t ctx, uint32_t epoch, int opcode, uint32_t id=0,
                 int32_t shard=-1, uint32_t flags=0, uint32_t pins=0, int park_reason=0, uint32_t vindex=0,
                 object keys=(),
                 int begin=0, bytes reply=b"", uint32_t digest=0, uint32_t digest_generation=0, list verdicts=None):
        """Cache a plan. `keys`: up to MAX_KEYS tuples of (slot, kind, item, negate), one per vindex column.

        `verdicts`: the policy's by shard (VerdictRef, or None for what it has not decided); None without a policy.
        """
        cdef Plan* plan = <Plan*>calloc(1, sizeof(Plan))
        cdef uint32_t nverdicts = 0 if verdicts is None else <uint32_t>len(verdicts)
        if plan == NULL:
            raise MemoryError
        try:
            fill_plan(plan, opcode, id, shard, flags, pins, park_reason, vindex, keys, begin, reply)
            self.check_plan(plan, [len(key) for key in keys])
            mark_rows(plan)
            mark_audited(plan)
            plan.fingerprint = fingerprint
            plan.ctx = ctx
            plan.epoch = epoch
            plan.digest = digest
            plan.digest_generation = digest_generation
            plan.referenced = 1
            plan.norm = copy_bytes(norm)
            plan.norm_len = <uint32_t>len(norm)
            put_verdicts(plan, verdicts)
        except BaseException:
            plan_free(&self.core, plan)
            raise
        with nogil:
            self.lock()
            hold_verdicts(plan, nverdicts)
            plan_put(&self.core, plan)
            self.unlock()

    def verdict(self, int kind, *, bytes payload=b"", object cuts=(), StatementRef statement=None, object allowed=None):
        """What a shard may have. `payload`: of the ERR packet of VERDICT_REFUSED; `statement`: of VERDICT_PREPARED.

        `cuts` of VERDICT_SPLICED, in the order of the text: (gap, start, end, bytes that the gap begins with, put).
        `allowed`: (schema, table, column) of what may be in the answer as it is; None lets everything be.
        """
        cdef VerdictRef ref = VerdictRef()
        cdef bytes names
        cdef Verdict* v = <Verdict*>calloc(1, sizeof(Verdict))
        if v == NULL:
            raise MemoryError
        v.refs = 1
        ref.relay = self
        ref.verdict = v
        v.kind = <uint8_t>kind
        if (kind == VERDICT_PREPARED) != (statement is not None) or len(payload) > 4096:
            raise ValueError("a verdict of another kind")
        if statement is not None:
            self.lock()
            statement.st.refs += 1
            v.statement = statement.st
            self.unlock()
        put_cuts(v, cuts, payload)
        ref.size = sizeof(Verdict) + v.ncuts * sizeof(Cut) + v.size
        if allowed is not None:
            names = witness_names(allowed)
            v.witness = witness_new(names, len(names), <uint32_t>len(allowed))
            if v.witness == NULL:
                raise MemoryError
            ref.size += sizeof(Witness) + v.witness.cap * sizeof(WitnessItem) + len(names) + 512
        return ref

    cdef int check_plan(self, Plan* plan, list widths) except -1:
        """The relay trusts these numbers at every hit."""
        if plan.opcode == OP_KEY and plan.vindex >= self.core.nvindexes:
            raise ValueError("no such vindex")
        if plan.opcode == OP_KEY and any(width != self.core.vindexes[plan.vindex].arity for width in widths):
            raise ValueError("keys of another number of columns than the vindex has")
        if plan.begin >= 8:
            raise ValueError("no such variant of START TRANSACTION")
        return 0

    def spliced(self, VerdictRef ref not None, bytes text, uint32_t mode=0):
        """What the verdict makes of a text; None where its places are not known. To test what the relay does."""
        cdef Core* c = &self.core
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(text)
        cdef size_t n = PyBytes_GET_SIZE(text), length = 0
        cdef bytes out = PyBytes_FromStringAndSize(NULL, n + ref.verdict.grows)
        self.lock()
        c.lexed_for = NULL
        if lex_into(p, n, mode, &c.lexed) == LEX_OK:
            length = splice(ref.verdict, p, n, &c.lexed, <uint8_t*>PyBytes_AS_STRING(out))
        self.unlock()
        return out[:length] if length else None

    def statement_new(self, *, bytes text, uint32_t ctx, uint32_t epoch, int nparams, int ncolumns,
                      uint64_t fingerprint, int opcode, uint32_t id=0, int32_t shard=-1, uint32_t flags=0,
                      uint32_t pins=0, int park_reason=0, uint32_t vindex=0, object sources=(), bytes constants=b"",
                      int nkeys=0, int begin=0, bytes reply=b"", uint32_t digest=0, uint32_t digest_generation=0,
                      list verdicts=None, object note=None):
        """A prepared statement of the shared store. `sources`: (param or -1, offset, length) per key and column;
        `verdicts` as of plan_put."""
        cdef StatementRef ref = StatementRef()
        cdef Statement* st
        cdef Core* c = &self.core
        cdef Py_ssize_t i
        check_sources(sources, constants, nkeys, nparams)
        st = <Statement*>calloc(1, sizeof(Statement))
        if st == NULL:
            raise MemoryError
        ref.relay = self
        ref.st = st
        st.refs = 1
        self.lock()
        c.stats.statements += 1
        c.statement_ids += 1
        st.id = ref.id = c.statement_ids
        self.unlock()
        fill_plan(&st.plan, opcode, id, shard, flags, pins, park_reason, vindex, (), begin, b"")
        self.check_plan(&st.plan, [])
        if opcode == OP_KEY and len(sources) != nkeys * self.core.vindexes[vindex].arity:
            raise ValueError("sources for another number of columns than the vindex has")
        mark_audited(&st.plan)
        st.plan.fingerprint = fingerprint
        st.plan.epoch = epoch
        st.plan.digest = digest
        st.plan.digest_generation = digest_generation
        st.ctx = ctx
        st.nparams = <uint16_t>nparams
        st.types_at = <uint16_t>(10 + (nparams + 7) // 8)
        st.ncolumns = <uint16_t>ncolumns
        st.nkeys = nkeys
        if len(sources):
            st.sources = <KeySource*>calloc(len(sources), sizeof(KeySource))
            if st.sources == NULL:
                raise MemoryError
        for i, (param, offset, length) in enumerate(sources):
            st.sources[i].param = param
            st.sources[i].offset = offset
            st.sources[i].length = length
        st.constants = copy_bytes(constants)
        st.text = copy_bytes(text)
        st.text_len = len(text)
        put_verdicts(&st.plan, verdicts)
        self.lock()
        hold_verdicts(&st.plan, 0 if verdicts is None else len(verdicts))
        self.unlock()
        ref.note = note
        return ref

    def client_prepare(self, uint64_t handle, StatementRef ref not None, uint32_t limit):
        """Give the session a statement. -> the id its client uses, 0 when the session is gone, -1 beyond `limit`."""
        cdef Core* c = &self.core
        cdef Session* s
        cdef int64_t id = 0
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL:
                id = statement_slot(s, limit)
                if id > 0:
                    s.stmts[id - 1].st = ref.st
                    ref.st.refs += 1
            self.unlock()
        return id

    def has_long_data(self, uint64_t handle, uint32_t id):
        """Did COM_STMT_SEND_LONG_DATA bring parameters that the next EXECUTE therefore leaves out?"""
        cdef Session* s
        cdef bint found = False
        self.lock()
        s = session_at(&self.core, handle)
        if s != NULL and 0 < id <= s.stmt_cap and s.stmts[id - 1].st != NULL:
            found = s.stmts[id - 1].omitted != NULL
        self.unlock()
        return found

    def client_replace(self, uint64_t handle, uint32_t id, StatementRef ref not None):
        """The session's statement was planned anew (configuration, schema or database changed)."""
        cdef Core* c = &self.core
        cdef Session* s
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL and 0 < id <= s.stmt_cap and s.stmts[id - 1].st != NULL:
                ref.st.refs += 1
                statement_release(c, s.stmts[id - 1].st)
                s.stmts[id - 1].st = ref.st
                s.exec = NULL
            self.unlock()

    def carried(self, uint64_t handle, uint32_t id):
        """A statement of the parked session that has come with it: (its framed COM_STMT_PREPARE, its parameters, its
        columns); None when there is none of this id."""
        cdef Session* s
        cdef Statement* st = NULL
        cdef Buf text
        cdef uint16_t nparams = 0, ncolumns = 0
        cdef bint told = False
        memset(&text, 0, sizeof(Buf))
        with nogil:
            self.lock()
            s = self.parked(handle)
            if s != NULL and 0 < id <= s.stmt_cap and s.stmts[id - 1].st != NULL:
                st = s.stmts[id - 1].st
                nparams, ncolumns = st.nparams, st.ncolumns
                told = buf_append(&text, st.text, st.text_len)
            self.unlock()
        found = PyBytes_FromStringAndSize(<char*>buf_head(&text), text.len)
        buf_free(&text)
        return (found, nparams, ncolumns) if told else None

    def statement_context(self, StatementRef ref not None):
        """The context number that the statement was planned for."""
        return ref.st.ctx

    def statement_types(self, uint64_t handle, uint32_t id):
        """The parameter types (2 bytes each) as the parked session's client last sent them; b"" when it never did."""
        cdef Session* s
        cdef uint8_t copy[65536 * 2]
        cdef size_t n = 0
        self.lock()
        s = self.parked(handle)
        if s != NULL and 0 < id <= s.stmt_cap and s.stmts[id - 1].st != NULL and s.stmts[id - 1].types != NULL:
            n = 2 * <size_t>s.stmts[id - 1].st.nparams
            memcpy(copy, s.stmts[id - 1].types, n)
        self.unlock()
        return PyBytes_FromStringAndSize(<char*>copy, n)

    def diff_put(self, uint32_t base, uint32_t from_state, uint32_t to_state, list packets):
        """Framed packets (at most MAX_STEPS) that bring a backend of this base from one state to the other."""
        cdef Core* c = &self.core
        cdef Diff fresh
        cdef Diff* slot
        cdef uint32_t i, tries = 16
        if len(packets) > MAX_STEPS:
            raise ValueError("too many packets")
        memset(&fresh, 0, sizeof(Diff))
        fresh.base = base
        fresh.from_state = from_state
        fresh.to_state = to_state
        fresh.used = 1
        fresh.count = <uint8_t>len(packets)
        for i, packet in enumerate(packets):
            fresh.packets[i] = copy_bytes(packet)
            fresh.length[i] = <uint32_t>len(packet)
        self.lock()
        i = diff_home(c, base, from_state, to_state)
        slot = &c.diffs[i]
        while slot.used and tries > 1 and not (slot.from_state == from_state and slot.to_state == to_state
                                               and slot.base == base):
            i = (i + 1) & (c.diff_cap - 1)
            slot = &c.diffs[i]
            tries -= 1
        diff_clear(slot)
        slot[0] = fresh
        self.unlock()

    def wanted_states(self, uint64_t handle):
        """Of a session parked for a state change: (base, backend's state, session's state); None without a backend."""
        cdef Session* s
        cdef uint32_t a = 0, b = 0, base = 0
        cdef bint found = False
        self.lock()
        s = session_at(&self.core, handle)
        if s != NULL and s.awaiting_way and s.backend != NULL:
            a, b, base, found = s.backend.state, s.state, s.backend.pool.base, True
        self.unlock()
        return (base, a, b) if found else None

    def error_put(self, int kind, bytes payload, int32_t shard=-1):
        """The ERR packet (payload) of one ErrorKind, for all shards or for one."""
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(payload)
        cdef Buf* buf
        if not 0 <= kind < ERROR_KINDS or len(payload) > ERROR_ROOM:
            raise ValueError("error kind or length")
        self.lock()
        buf = &self.core.routes[shard].errors[kind] if shard >= 0 else &self.core.errors[kind]
        buf_free(buf)
        buf_append(buf, p, len(payload))
        self.unlock()

    def once(self, uint64_t handle, bytes packet):
        """Keep a framed SET TRANSACTION for the session's next transaction. False inside of one, or beyond 1 KiB."""
        cdef Session* s
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(packet)
        cdef bint kept = False
        self.lock()
        s = self.parked(handle)
        if s != NULL and (s.trx == TRX_NONE or (s.trx == TRX_PENDING and s.begin >= BEGIN_SAVEPOINT)) \
                and s.once.len + len(packet) <= 1024 and buf_append(&s.once, p, len(packet)):
            if s.trx == TRX_NONE:
                s.begin = BEGIN_NOTHING
            set_trx(&self.core, s, TRX_PENDING)
            kept = True
        self.unlock()
        return kept

    def defer(self, uint64_t handle, bytes packet):
        """Keep a framed SAVEPOINT (or its kin) of a transaction that has no shard yet. False beyond 64 KiB.

        Without autocommit a savepoint begins one, as on a server, whose flags tell of the first statement only.
        """
        cdef Session* s
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(packet)
        cdef bint kept = False
        self.lock()
        s = self.parked(handle)
        if s != NULL and s.autocommit_off and (s.trx == TRX_NONE or s.begin == BEGIN_NOTHING):
            s.begin = BEGIN_SAVEPOINT
            set_trx(&self.core, s, TRX_PENDING)
        if s != NULL and s.trx == TRX_PENDING and s.deferred.len + len(packet) <= 65536:
            kept = buf_append(&s.deferred, p, len(packet))
            s.ndeferred += kept
        self.unlock()
        return kept

    def drop_pending(self, uint64_t handle):
        """End a transaction that reached no shard (an implicit commit)."""
        cdef Session* s
        self.lock()
        s = session_at(&self.core, handle)
        if s != NULL and s.phase == PHASE_PARKED:
            drop_pending(&self.core, s)
        self.unlock()

    def begin_put(self, int variant, bytes packet):
        """Framed COM_QUERY of a START TRANSACTION variant (0..7)."""
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(packet)
        if not 0 <= variant < 8:
            raise IndexError(variant)
        self.lock()
        buf_free(&self.core.begins[variant])
        buf_append(&self.core.begins[variant], p, len(packet))
        self.unlock()

    def vindex_add(self, *, int kind, list key_types, int region_kind=0, int shift=0, uint64_t mask=0,
                   object regions=(), object maps=(), object bounds=(), object bound_shards=(), object items=(),
                   object limits=()):
        """Tables of a sharding function (see router.vindexes). -> its index."""
        cdef Core* c = &self.core
        cdef Vindex* v = vindex_build(kind, key_types, region_kind, shift, mask, regions, maps, bounds, bound_shards,
                                      items)
        cdef int column
        for column in range(v.arity):
            v.high[column] = <uint64_t>-1 if v.key_types[column] == KEY_INT_UNSIGNED else (<uint64_t>1 << 63) - 1
            v.low[column] = 0 if v.key_types[column] == KEY_INT_UNSIGNED else <int64_t>(<uint64_t>1 << 63)
        for column, (low, high, ascii_only) in enumerate(limits):
            v.low[column] = low
            v.high[column] = high
            v.ascii_only[column] = ascii_only
        cdef Vindex** more
        self.lock()
        more = <Vindex**>realloc(c.vindexes, (c.nvindexes + 1) * sizeof(void*))
        if more != NULL:
            c.vindexes = more
            c.vindexes[c.nvindexes] = v
            c.nvindexes += 1
        self.unlock()
        if more == NULL:
            vindex_free(v)
            raise MemoryError
        return c.nvindexes - 1

    def shard_of(self, uint32_t vindex, list keys):
        """The shard of canonical keys (bytes, one per column): the C side's answer, for tests. -1: none."""
        cdef KeyValue values[2]
        cdef Vindex* v = self.core.vindexes[vindex]
        cdef bytes key
        cdef int i
        for i, key in enumerate(keys):
            if len(key) > KEY_ROOM or i >= v.arity:
                raise ValueError("key")
            memcpy(values[i].bytes, <const char*>key, len(key))
            values[i].length = <uint32_t>len(key)
            number_of(&values[i], v.key_types[i])
        return vindex_shard(v, values)


def source_number(bytes text not None):
    """The 16 bits by which positions name a replication source (MariaDB `domain-server`, MySQL `uuid[:tag]`)."""
    return position_source(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


# ---------------------------------------------------------------- helpers of the door
cdef dict info_of(Session* copy, int32_t shard):
    """A session's fields, from a copy that nobody else has; times are monotonic nanoseconds."""
    return {
        "phase": copy.phase, "ctx": copy.ctx, "state": copy.state, "lexmode": copy.lexmode, "caps": copy.caps,
        "capclass": copy.capclass, "user": copy.user, "command": copy.command,
        "trx": copy.trx, "pins": copy.pins, "linger": bool(copy.linger), "shard": shard,
        "diagnostics": copy.diagnostics, "warnings": copy.warnings,
        "last_error": copy.last_error not in (NO_ERROR, OWN_NOTE),
        "last_insert_id": copy.insert_id, "id_state": copy.id_state,
        "found_rows": None if copy.found_rows == FOUND_UNKNOWN else copy.found_rows,
        "affected": copy.affected, "status": session_status(copy),
        "autocommit": not copy.autocommit_off, "consistency": copy.consistency, "hop": bool(copy.hop),
        "command_shard": copy.shard, "park_reason": copy.park_reason, "plan_id": copy.plan_id,
        "fingerprint": copy.fingerprint, "bytes_out": copy.bytes_out,
        "script": copy.script != NULL, "received": copy.t_received, "last": copy.t_last, "deferred": copy.ndeferred,
        "marked": bool(copy.marked), "command_size": copy.cmd_len,
    }


cdef extern from "stdlib.h" nogil:
    void* realloc(void* p, size_t n)


cdef bint widen_positions(Core* c, uint32_t shards) noexcept nogil:
    """Sessions' positions for more shards than before."""
    cdef uint32_t i
    cdef uint64_t* more
    for i in range(c.session_cap):
        if shards > c.nroutes and c.sessions[i] != NULL and c.sessions[i].positions != NULL:
            more = <uint64_t*>realloc(c.sessions[i].positions, shards * sizeof(uint64_t))
            if more == NULL:
                return False
            memset(more + c.nroutes, 0, (shards - c.nroutes) * sizeof(uint64_t))
            c.sessions[i].positions = more
    return True


cdef void routes_free(Route* routes, uint32_t n) noexcept nogil:
    cdef uint32_t i, k
    for i in range(n):
        for k in range(ERROR_SHARD_KINDS):
            buf_free(&routes[i].errors[k])
    free(routes)


cdef int check_sources(object sources, bytes constants, int nkeys, int nparams) except -1:
    """The relay trusts these numbers at every execution, so they are looked at once."""
    if nkeys < 0 or len(sources) not in (nkeys, nkeys * MAX_ARITY) or not 0 <= nparams <= 0xffff:
        raise ValueError("number of sources or parameters")
    for param, offset, length in sources:
        if param >= nparams or param < -1 or not 0 <= offset <= offset + length <= len(constants) or length > KEY_ROOM:
            raise ValueError("a source out of range")
    return 0


cdef void mark_audited(Plan* plan) noexcept nogil:
    """By the opcode, so that plans without a record are not asked about one."""
    if plan.flags & PLAN_AUDIT:
        plan.opcode |= OP_AUDITED


cdef void mark_rows(Plan* plan) noexcept nogil:
    """The same, for texts of which one plan stands for any number of rows."""
    if plan.flags & PLAN_INSERTS and not plan.flags & PLAN_ONE_ROW and plan.opcode in (OP_SHARD, OP_KEY):
        plan.opcode |= OP_ROWS


cdef int fill_plan(Plan* plan, int opcode, uint32_t id, int32_t shard, uint32_t flags, uint32_t pins, int park_reason,
                   uint32_t vindex, object keys, int begin, bytes reply) except -1:
    cdef int i, column
    if len(keys) > MAX_KEYS:
        raise ValueError("more keys than a plan holds")
    plan.opcode = <uint8_t>opcode
    plan.id = id
    plan.shard = shard
    plan.flags = flags
    plan.pins = pins
    plan.park_reason = <uint8_t>park_reason
    plan.vindex = <uint16_t>vindex
    plan.begin = <uint8_t>begin
    plan.nkeys = <uint8_t>len(keys)
    for i, key in enumerate(keys):
        if len(key) > MAX_ARITY:
            raise ValueError("more columns than a key holds")
        for column, (slot, kind, item, negate) in enumerate(key):
            plan.keys[i][column].slot = slot
            plan.keys[i][column].kind = kind
            plan.keys[i][column].item = item
            plan.keys[i][column].negate = negate
    if len(reply) > 4096:
        raise ValueError("reply too long")
    plan.reply = copy_bytes(reply)
    plan.reply_len = <uint32_t>len(reply)
    return 0


cdef int put_verdicts(Plan* plan, list verdicts) except -1:
    """Name a plan's verdicts; they are not held yet, nor are they looked at."""
    cdef Py_ssize_t i
    cdef VerdictRef ref
    if not verdicts:
        return 0
    plan.verdicts = <Verdict**>calloc(len(verdicts), sizeof(void*))
    if plan.verdicts == NULL:
        raise MemoryError
    for i, ref in enumerate(verdicts):
        if ref is not None:
            plan.verdicts[i] = ref.verdict
            plan.verdict_bytes += ref.size
    plan.verdict_bytes += len(verdicts) * sizeof(void*)
    return 0


cdef void hold_verdicts(Plan* plan, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if plan.verdicts[i] != NULL:
            plan.verdicts[i].refs += 1
    plan.nverdicts = n


cdef int put_cuts(Verdict* v, object cuts, bytes payload) except -1:
    cdef Py_ssize_t i
    cdef bytearray kept = bytearray(payload)
    v.cuts = <Cut*>calloc(len(cuts) + 1, sizeof(Cut))
    if v.cuts == NULL:
        raise MemoryError
    for i, (gap, start, end, seen, put) in enumerate(cuts):
        if not 0 <= start <= end:
            raise ValueError("a cut that ends before it begins")
        v.cuts[i].gap, v.cuts[i].start, v.cuts[i].end = gap, start, end
        v.cuts[i].seen, v.cuts[i].seen_at = len(seen), len(kept)
        kept += seen
        v.cuts[i].put, v.cuts[i].put_at = len(put), len(kept)
        kept += put
        v.grows += len(put)
    v.ncuts = <uint32_t>len(cuts)
    v.size = <uint32_t>len(kept)
    v.bytes = copy_bytes(bytes(kept))
    return 0


cdef inline uint8_t class_of(uint32_t caps) noexcept nogil:
    """As proxy/pool/pools.py has it."""
    return (1 if caps & CAP_DEPRECATE_EOF else 0) | (2 if caps & CAP_FOUND_ROWS else 0) \
        | (4 if caps & CAP_QUERY_ATTRIBUTES else 0)


cdef inline bint at_rest(Session* s) noexcept nogil:
    return s.phase == PHASE_IDLE or s.phase == PHASE_PARKED


cdef void move_backend(Core* c, Session* a, Session* b) noexcept nogil:
    cdef bint active = a.backend.status & SERVER_STATUS_IN_TRANS != 0
    b.backend = a.backend
    b.backend.owner = b
    a.backend = NULL
    a.diagnostics = b.diagnostics = DIAG_GONE
    if a.kind == KIND_LEASE:
        count_open(c, a, TRX_NONE)
    else:
        b.state = b.backend.state   # what the lease does there is done as it is
    count_open(c, b, TRX_ACTIVE if active or b.kind == KIND_CLIENT else TRX_NONE)


cdef void count_open(Core* c, Session* s, uint8_t trx) noexcept nogil:
    """`set_trx` of a transaction that was counted when it began."""
    c.stats.transactions_open += (trx != TRX_NONE) - (s.trx != TRX_NONE)
    s.trx = trx


cdef bint put_extra(Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """Framed packets, each at most 16 MiB, to be sent before the command. False when memory is refused."""
    cdef size_t at = 0
    buf_free(&s.extra)
    s.nextra = 0
    if not buf_append(&s.extra, p, n):
        return False
    while at + 4 <= n:
        at += 4 + get24(p + at)
        s.nextra += 1
    return True


cdef bint replace_command(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """Make `p` the session's current command, framed as one command at the head of `inb`."""
    cdef size_t frames = n // PACKET_MAX + 1
    cdef Buf fresh
    memset(&fresh, 0, sizeof(Buf))
    if n == 0 or not buf_reserve(&fresh, n + 4 * frames):
        return False
    fresh.len = n + 4 * frames
    memcpy(fresh.mem + 4, p, n)
    fresh.mem[0] = n & 0xff
    fresh.mem[1] = (n >> 8) & 0xff
    fresh.mem[2] = (n >> 16) & 0xff
    fresh.mem[3] = 0
    if s.inb.len > s.cmd_total and not buf_append(&fresh, buf_head(&s.inb) + s.cmd_total, s.inb.len - s.cmd_total):
        buf_free(&fresh)
        return False
    buf_free(&s.inb)
    c.stats.bytes_buffered += n + 4 * frames - s.cmd_total
    s.inb = fresh
    s.cmd = s.inb.mem + 4
    s.cmd_len = n
    s.cmd_total = n + 4 * frames
    s.big = frames > 1
    s.command = p[0]
    s.exec = NULL
    return True


cdef inline bint has_types(Session* s) noexcept nogil:
    """Does this COM_STMT_EXECUTE with parameters bring their types?"""
    return s.cmd[s.exec.types_at] == 1


cdef void resume_command(Core* c, Session* s) noexcept nogil:
    """Decide anew about the retained command, or go on with the steps of its backend."""
    cdef bint awaited = s.awaiting_way
    cdef bint is_lexed = recall_lexed(c, s)
    unpark(c, s)
    s.phase = PHASE_BUSY
    s.awaiting_way = 0
    if awaited and s.backend != NULL and not s.linger and not s.backend.busy:
        advance(c, s)
        return
    if s.behind & BEHIND_REPLACED:
        # Not the client's own words: what they mean was decided when they were put in its place.
        reply_err(c, s, ERR_UNAVAILABLE, ERROR_NO_PRIMARY)
        return
    drop_verdict(c, s)          # it is decided anew
    if is_lexed:
        lexed_query(c, s)
    elif s.command == COM_QUERY:
        command_query(c, s)
    elif s.command == COM_STMT_EXECUTE:
        command_execute(c, s)
    else:
        command_other(c, s)


cdef int64_t statement_slot(Session* s, uint32_t limit) noexcept nogil:
    """A free place among the session's statements: its id from 1, -1 beyond `limit`."""
    cdef uint32_t i, cap
    cdef ClientStatement* more
    for i in range(s.stmt_cap):
        if s.stmts[i].st == NULL:
            return i + 1
    if s.stmt_cap >= limit:
        return -1
    cap = s.stmt_cap * 2 if s.stmt_cap else 8
    if cap > limit:
        cap = limit
    more = <ClientStatement*>realloc(s.stmts, cap * sizeof(ClientStatement))
    if more == NULL:
        return -1
    memset(&more[s.stmt_cap], 0, (cap - s.stmt_cap) * sizeof(ClientStatement))
    s.stmts = more
    i = s.stmt_cap
    s.stmt_cap = cap
    return i + 1


cdef void diff_clear(Diff* d) noexcept nogil:
    cdef int i
    for i in range(MAX_STEPS):
        free(d.packets[i])
    memset(d, 0, sizeof(Diff))
