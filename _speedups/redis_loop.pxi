# One round: events, those who were put off, then everything is sent. Included by redis_relay.pyx.

cdef void on_client(Core* c, Client* cl, uint32_t events) noexcept nogil:
    if events & EPOLLOUT and cl.out.len:
        mark_dirty(c, cl)
    if events & (EPOLLHUP | EPOLLERR):
        client_close(c, cl)
        return
    if events & EPOLLIN:
        cl.readable = 1
    if events & EPOLLRDHUP:
        cl.readable = cl.ended = 1
        if cl.phase == PHASE_PARKED or cl.collect:
            push_event(c, cl, EVENT_ENDED)
    client_pump(c, cl)


cdef void on_backend(Core* c, Backend* b, uint32_t events) noexcept nogil:
    if events & EPOLLOUT and b.out.len:
        mark_backend(c, b)
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        b.ended = 1
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        b.readable = 1
        backend_pump(c, b)


cdef void on_event(Core* c, uint64_t key, uint32_t events) noexcept nogil:
    """Events for a slot's former owner carry an old generation and are dropped."""
    cdef uint32_t index = <uint32_t>key
    cdef uint32_t gen = <uint32_t>(key >> 32)
    cdef uint64_t count
    if index == WAKE_INDEX:
        read(c.wake_fd, &count, 8)
    elif index & BACKEND_BIT:
        index &= ~<uint32_t>BACKEND_BIT
        if c.backends[index] != NULL and c.backend_gens[index] == gen:
            on_backend(c, c.backends[index], events)
    elif c.clients[index] != NULL and c.client_gens[index] == gen and c.clients[index].phase != PHASE_CLOSED:
        on_client(c, c.clients[index], events)


cdef void run_ready(Core* c) noexcept nogil:
    """Those who were put off, once each."""
    cdef Client* cl = c.ready
    cdef Client* next_client
    cdef Backend* b = c.ready_backends
    cdef Backend* next_backend
    c.ready = c.ready_tail = NULL
    c.ready_backends = NULL
    while b != NULL:
        next_backend = b.ready_next
        b.queued = 0
        if b.fd >= 0:
            backend_pump(c, b)
        b = next_backend
    while cl != NULL:
        next_client = cl.ready_next
        cl.queued = 0
        client_pump(c, cl)
        cl = next_client


cdef void flush_all(Core* c) noexcept nogil:
    """Requests first, so that servers work while replies go out. A lost connection makes more replies."""
    cdef Backend* b
    cdef Backend* next_backend
    cdef Client* cl
    cdef Client* next_client
    while c.dirty_backends != NULL or c.dirty != NULL:
        b = c.dirty_backends
        c.dirty_backends = NULL
        while b != NULL:
            next_backend = b.dirty_next
            b.dirty = 0
            if b.fd >= 0:
                backend_flush(c, b)
            b = next_backend
        cl = c.dirty
        c.dirty = NULL
        while cl != NULL:
            next_client = cl.dirty_next
            cl.dirty = 0
            client_flush(c, cl)
            cl = next_client


cdef void bury(Core* c) noexcept nogil:
    """Lost connections that no list holds any more."""
    cdef uint32_t i
    for i in range(c.backend_cap):
        if c.backends[i] != NULL and c.backends[i].fd < 0 and not c.backends[i].queued and not c.backends[i].dirty:
            backend_free(c, c.backends[i])


cdef inline bint is_late(Core* c, Backend* b) noexcept nogil:
    """Nothing has come for too long. A way's oldest request also counts for itself, as a slow region would hold up
    what its clients ask of others; a reply that is coming in is not cut."""
    cdef ShardPlace* place = place_at(c, b.shard)
    if c.now - b.t_progress > place.deadline_ns:
        return True
    if not place.remote or b.lone or b.scan.left or b.scan.state:
        return False
    return c.now - b.head.t_begin > place.deadline_ns


cdef void publish_place(Core* c, ShardPlace* place) noexcept nogil:
    """What kind of place it is, if there is a connection to it."""
    cdef RedisShardStats* stats
    cdef uint64_t lag
    if place == NULL or (place.conns[0] == NULL and place.conns[1] == NULL):
        return
    stats = place.stats
    if place.remote:
        stats.ways += 1
    elif place.t_fresh:
        lag = (c.now - place.t_fresh) // 1000
        if place.t_fresh < c.now and lag > stats.replica_lag_us:
            stats.replica_lag_us = lag
    elif not place.replica:
        stats.nodes += 1


cdef void publish(Core* c) noexcept nogil:
    """The gauges; and what was hot becomes less so."""
    cdef uint32_t i
    cdef Backend* b
    cdef RedisShardStats* stats
    cdef uint64_t held = c.delayed_bytes, streams = 0
    for i in range(c.nshards):
        stats = c.shards[i].stats
        stats.connections = stats.inflight = stats.queue_bytes = 0
        stats.nodes = stats.ways = stats.replica_lag_us = 0
    for i in range(c.nshards + c.nways):
        publish_place(c, place_at(c, i) if i < c.nshards else c.ways[i - c.nshards])
    for i in range(c.backend_cap):
        b = c.backends[i]
        if b != NULL and b.fd >= 0:
            stats = place_at(c, b.shard).stats
            stats.connections += 1
            stats.inflight += b.inflight
            stats.queue_bytes += b.out.len
            streams += b.lone
            held += b.kept
    for i in range(c.client_cap):
        if c.clients[i] != NULL and c.clients[i].phase != PHASE_CLOSED:
            held += c.clients[i].held + c.clients[i].out.len + c.clients[i].inb.len
    c.st.held_bytes = held
    c.st.clients = c.nclients
    c.st.streams = streams
    if c.now - c.decayed > DECAY_NS:
        c.decayed = c.now
        for i in range(c.nshards):
            hot_decay(c.shards[i].stats.hot)


cdef void sweep(Core* c) noexcept nogil:
    """Ten times a second: connections without progress, clients that are silent or never log in."""
    cdef uint32_t i
    cdef Backend* b
    cdef Client* cl
    for i in range(c.backend_cap):
        b = c.backends[i]
        if b == NULL or b.fd < 0 or b.paused or b.head == NULL or not is_late(c, b):
            continue
        if waits_for_client(b):
            client_close(c, b.owner)
        else:
            backend_lost(c, b)
    send_delayed(c)
    for i in range(c.client_cap):
        cl = c.clients[i]
        if cl == NULL or cl.phase == PHASE_CLOSED:
            continue
        if cl.stalls != NULL and cl.stalls.inflight > 1 and c.now - cl.stalls.t_paused > STALL_NS:
            c.st.overflows += 1
            client_close(c, cl)
        elif cl.level == 0 and c.login_ns and c.now - cl.t_last > c.login_ns:
            client_close(c, cl)
        elif c.draining and cl.phase == PHASE_OPEN and cl.head == NULL and cl.out.len == 0 and cl.inb.len == 0:
            client_close(c, cl)
        elif cl.phase == PHASE_OPEN and cl.head == NULL and not cl.collect and c.idle_ns \
                and c.now - cl.t_last > c.idle_ns:
            client_close(c, cl)


cdef void end_round(Core* c) noexcept nogil:
    cdef uint64_t one = 1
    flush_all(c)
    if c.notify:
        c.notify = False
        write(c.event_fd, &one, 8)


cdef void run_round(Core* c, epoll_event* events, int count) noexcept nogil:
    cdef int i
    c.now = clock_ns()
    c.st.rounds += 1
    for i in range(count):
        on_event(c, events[i].data.u64, events[i].events)
    run_ready(c)
    if c.now - c.swept > SWEEP_NS:
        c.swept = c.now
        sweep(c)
        publish(c)
    end_round(c)
    bury(c)
