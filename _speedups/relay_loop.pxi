# One round: events, ready lists, sweep. Included by relay.pyx.

cdef inline void on_client_event(Core* c, Session* s, uint32_t events) noexcept nogil:
    if s.out.len and events & EPOLLOUT:
        client_flush(c, s)
    if events & EPOLLIN:
        s.readable = 1
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        s.readable = s.ended = 1
        if s.phase != PHASE_IDLE or (s.out.len and events & (EPOLLHUP | EPOLLERR)):
            # Cancellation: nobody waits for the answer. Idle sessions may still have COM_QUIT to read.
            s.broken = 1
    if s.phase == PHASE_IDLE:
        client_pump(c, s)
    elif s.broken:
        session_close(c, s)
    elif s.uploading:
        upload(c, s)


cdef inline void on_backend_event(Core* c, Backend* b, uint32_t events) noexcept nogil:
    if b.out.len and events & EPOLLOUT:
        if not backend_flush(c, b):
            backend_gone(c, b)
            return
        if b.owner != NULL and b.owner.uploading:
            upload(c, b.owner)
            if b.dead:
                return
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        b.ended = 1
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        b.readable = 1
        backend_pump(c, b)


cdef inline void on_event(Core* c, uint64_t key, uint32_t events) noexcept nogil:
    """Events for a slot's former owner carry an old generation and are dropped: emptying a slot raises it."""
    cdef uint32_t index = <uint32_t>key
    cdef uint32_t gen = <uint32_t>(key >> 32)
    cdef uint64_t count
    if index == WAKE_INDEX:
        read(c.wake_fd, &count, 8)
        c.stats.wakeups += 1
    elif index & BACKEND_BIT:
        index &= ~<uint32_t>BACKEND_BIT
        if c.backend_gens[index] == gen:
            on_backend_event(c, c.backends[index], events)
    elif c.session_gens[index] == gen and c.sessions[index].phase != PHASE_CLOSED:
        on_client_event(c, c.sessions[index], events)


cdef void run_ready(Core* c) noexcept nogil:
    """Those who were put off, once each; who is put off again comes in the next round."""
    cdef Session* s = c.ready_sessions
    cdef Session* next_session
    cdef Backend* b = c.ready_backends
    cdef Backend* next_backend
    c.ready_sessions = c.ready_sessions_tail = NULL
    c.ready_backends = c.ready_backends_tail = NULL
    while b != NULL:
        next_backend = b.ready_next
        b.queued = 0
        if not b.dead:
            if b.readable:
                backend_pump(c, b)
            if not b.dead and b.in_list == 1 and b.pool.nwait:
                serve_waiters(c, b.pool)
        b = next_backend
    while s != NULL:
        next_session = s.ready_next
        s.queued = 0
        if s.reap:
            session_free(c, s)
        elif s.resumed:
            resume_command(c, s)
        elif s.phase == PHASE_IDLE:
            client_pump(c, s)
        elif s.uploading:
            upload(c, s)
        s = next_session


cdef void sweep(Core* c) noexcept nogil:
    """Ten times a second: waits that are over, clients idle for too long, lingering and surplus backends."""
    cdef uint32_t i
    cdef Pool* pool
    cdef Backend* b
    c.stats.heartbeat_ns = c.now
    for i in range(c.npools):
        pool = c.pools[i]
        expire_waiters(c, pool)
        while pool.linger != NULL:
            b = pool.linger
            while b.next != NULL:
                b = b.next
            if c.now - b.t_idle < c.linger_ns:
                break
            b.owner.diagnostics = DIAG_GONE
            release_linger(c, b.owner)
        trim_pool(c, pool)
    if c.now - c.swept_clients > CLIENT_SWEEP_NS or c.draining or c.moving:
        c.swept_clients = c.now
        sweep_clients(c)


cdef void trim_pool(Core* c, Pool* pool) noexcept nogil:
    """Close what has been idle for long (the cold end of the list), down to the number that is kept."""
    cdef Backend* b
    while pool.idle != NULL:
        b = pool.idle
        while b.next != NULL:
            b = b.next
        if pool.up and (pool.nidle <= pool.keep_idle or c.now - b.t_idle < pool.idle_ns):
            return
        backend_close(c, b)


cdef void sweep_clients(Core* c) noexcept nogil:
    cdef uint32_t i
    cdef Session* s
    for i in range(c.session_cap):
        s = c.sessions[i]
        if s == NULL or s.kind != KIND_CLIENT:
            continue
        if s.phase != PHASE_IDLE:
            if s.uploading and s.file.len == 0 and too_long(c.now, s.t_last, c.idle_trx_ns):
                session_close(c, s)     # it holds a server's thread for a file that does not come
            continue
        if s.draining == DRAIN_MOVE and s.backend == NULL and s.trx == TRX_NONE and leave_now(c, s):
            continue
        if c.draining and s.backend == NULL and s.trx == TRX_NONE and s.out.len:
            s.hangup = 1        # once it has taken its answer
        elif c.draining and s.backend == NULL and s.trx == TRX_NONE:
            say_goodbye(c, s, ERROR_DRAINING)
        elif too_long(c.now, s.t_last, c.idle_timeout_ns):
            say_goodbye(c, s, ERROR_IDLE)
        elif s.backend != NULL and not s.linger and too_long(c.now, s.t_last, c.idle_trx_ns):
            say_goodbye(c, s, ERROR_IDLE)


cdef inline bint too_long(uint64_t now, uint64_t since, uint64_t limit) noexcept nogil:
    return limit != 0 and now > since and now - since > limit


cdef void say_goodbye(Core* c, Session* s, uint8_t kind) noexcept nogil:
    cdef uint8_t packet[1028]
    client_send(c, s, packet, put_err(c, packet, 0, kind, -1))
    session_close(c, s)


cdef void say_farewell(Core* c, Session* s) noexcept nogil:
    """The process ends. What runs is given up as if its server were lost: that error says what may have changed."""
    if s.phase == PHASE_BUSY and s.backend != NULL:
        backend_lost(c, s.backend)
    elif s.phase == PHASE_WAITING:
        stop_waiting(c, s)
        reply_err(c, s, ERR_UNAVAILABLE, ERROR_DRAINING)
    if s.phase == PHASE_IDLE and s.out.len == 0 and s.inb.len == 0:
        say_goodbye(c, s, ERROR_DRAINING)
    else:
        session_close(c, s)


cdef inline bint anything_ready(Core* c) noexcept nogil:
    return c.ready_sessions != NULL or c.ready_backends != NULL


cdef inline void wake(int fd) noexcept nogil:
    """Make an eventfd readable."""
    cdef uint64_t one = 1
    write(fd, &one, 8)
