# A client's side: its frames, and what becomes of each. Included by redis_relay.pyx.

cdef enum Taken:
    TAKEN = 0
    STOP = 1                    # the frame stays where it is; parked
    AGAIN = 3                   # it stays, and is taken once more
    GONE = 2                    # the client is closed


cdef void client_close(Core* c, Client* cl) noexcept nogil:
    """The descriptor is closed at once; replies on their way are dropped as they come."""
    cdef Req* r = cl.head
    cdef Req* following
    if cl.phase == PHASE_CLOSED:
        return
    close(cl.fd)
    cl.fd = -1
    cl.phase = PHASE_CLOSED
    c.nclients -= 1
    if cl.stalls != NULL:
        unstall(c, cl)
    if cl.awaits != NULL:
        stop_waiting(cl)
    stream_leave(cl)
    while r != NULL:
        following = r.next
        if r.done and r.kind == REQ_SPLIT:
            split_free(c, r)
        elif r.done:
            req_free(c, r)
        else:
            r.client = NULL
        r = following
    cl.head = cl.tail = NULL
    buf_free(&cl.inb)
    buf_free(&cl.out)
    buf_free(&cl.push)
    push_event(c, cl, EVENT_CLOSED)


cdef void client_free(Core* c, Client* cl) noexcept nogil:
    c.clients[cl.index] = NULL
    c.client_gens[cl.index] += 1
    c.client_stack[c.client_free] = cl.index
    c.client_free += 1
    free(cl)


cdef void client_flush(Core* c, Client* cl) noexcept nogil:
    cdef ssize_t sent
    if cl.phase == PHASE_CLOSED:
        return
    while cl.out.len:
        sent = send(cl.fd, buf_head(&cl.out), cl.out.len, MSG_NOSIGNAL)
        if sent < 0 and errno == EINTR:
            continue
        if sent < 0 and errno == EAGAIN:
            break
        if sent < 0:
            client_close(c, cl)
            return
        c.st.bytes_client_out += sent
        c.st.sends += 1
        buf_consume(&cl.out, sent)
    if cl.stalls != NULL and cl.out.len <= room_for(c, cl.stalls) // 2:
        unstall(c, cl)
    if cl.hangup and cl.out.len == 0 and cl.head == NULL and cl.phase == PHASE_OPEN:
        client_close(c, cl)
    elif cl.out.len > 2 * c.client_buffer + SCRATCH:
        c.st.overflows += 1
        client_close(c, cl)


cdef inline void refuse(Core* c, Client* cl, Buf* text, int error) noexcept nogil:
    """An error of our own, counted."""
    c.st.errors_by_class[error] += 1
    answer_text(c, cl, text)


cdef inline void park(Core* c, Client* cl, size_t length, int reason) noexcept nogil:
    """The frame at the head of what is read is the uvloop side's, once all earlier replies are out."""
    park_as(c, cl, length, reason, EVENT_PARKED)


cdef inline void park_as(Core* c, Client* cl, size_t length, int reason, uint8_t event) noexcept nogil:
    c.st.parked += 1
    c.st.parks_by_reason[reason] += 1
    cl.parked = length
    cl.parks_as = event
    if cl.head == NULL:
        cl.phase = PHASE_PARKED
        push_event(c, cl, event)
    else:
        cl.phase = PHASE_DRAINING


cdef inline void wait_for(Backend* b, Client* cl) noexcept nogil:
    cl.awaits = b
    cl.wait_next = b.waiters
    b.waiters = cl


cdef void stop_waiting(Client* cl) noexcept nogil:
    cdef Client** at = &cl.awaits.waiters
    while at[0] != cl:
        at = &at[0].wait_next
    at[0] = cl.wait_next
    cl.awaits = NULL


cdef inline void away(Core* c, Client* cl, ShardPlace* place) noexcept nogil:
    place.stats.unsent += 1
    refuse(c, cl, &place.away, RERR_UNAVAILABLE)


cdef inline void keep_key(Core* c, Req* r) noexcept nogil:
    """What the slow log may show of the request, should it be slow."""
    r.pattern = c.which
    if c.key == NULL:
        return
    if c.key_length > KEY_ROOM_KEPT:
        r.key_hash = xxh64(c.key, c.key_length, c.seed)
    r.key_kept = <uint8_t>(c.key_length if c.key_length < KEY_ROOM_KEPT else KEY_ROOM_KEPT)
    memcpy(r.key, c.key, r.key_kept)


cdef inline Req* request_new(Core* c, Client* cl, Command* command, uint8_t writes) noexcept nogil:
    """Of the client's frame at hand; NULL without memory. `command` may be NULL: one that the table does not know."""
    cdef Req* r = req_new(c)
    if r == NULL:
        return NULL
    r.writes = writes
    if writes:
        cl.writing += 1
    r.words = cl.scan.argc
    if command != NULL:
        r.command = <uint32_t>(command - c.commands)
    keep_key(c, r)
    return r


cdef int forward(Core* c, Client* cl, Command* command, int shard, uint8_t writes, const uint8_t* p,
                 size_t n) noexcept nogil:
    """The frame to its shard, as it was sent."""
    cdef ShardPlace* place = place_at(c, shard)
    cdef Backend* b = place.conns[cl.protocol]
    cdef Req* r
    place.requests += 1
    if b == NULL:
        away(c, cl, place)
        return TAKEN
    if place.remote and cl.remote >= c.remote_most:
        cl.throttled = 1
        return AGAIN
    if too_full(b):
        place.stats.waits += 1
        wait_for(b, cl)
        return AGAIN
    place.stats.requests += 1
    r = request_new(c, cl, command, writes)
    if r == NULL:
        client_close(c, cl)
        return GONE
    if place.remote:
        r.remote = 1
        cl.remote += 1
    backend_enqueue(c, b, r)
    client_enqueue(cl, r)
    if not backend_write(c, b, p, n):
        backend_lost(c, b)
    return TAKEN


cdef int run_ping(Core* c, Client* cl, const uint8_t* p) noexcept nogil:
    cdef uint8_t head[24]
    cdef size_t from_dollar
    if cl.scan.argc == 1:
        answer(c, cl, <const uint8_t*><const char*>b"+PONG\r\n", 7)
    else:                       # the argument with its `$`, as it came, is the reply
        from_dollar = cl.scan.off[0] + cl.scan.len[0] + 2
        answer(c, cl, p + from_dollar, cl.scan.at - from_dollar)
    return TAKEN


cdef inline int park_reason(Client* cl, Command* command) noexcept nogil:
    if cl.level == 0:
        return RPARK_LOGIN
    if cl.collect:
        return RPARK_COLLECT
    return RPARK_UNKNOWN if command == NULL else RPARK_COMMAND


cdef inline bint right_arity(Command* command, uint32_t argc) noexcept nogil:
    if command.arity > 0:
        return <int32_t>argc == command.arity
    return <int64_t>argc >= -<int64_t>command.arity


cdef int take_frame(Core* c, Client* cl, const uint8_t* p) noexcept nogil:
    """One complete frame; cl.scan holds its arguments' places."""
    cdef Command* command
    cdef int result
    if cl.inflight >= c.pipeline:
        c.st.throttled += 1
        cl.throttled = 1
        return STOP
    command = command_find(c, p + cl.scan.off[0], cl.scan.len[0])
    c.key = NULL
    result = carry_out(c, cl, command, p)
    if result == AGAIN:
        return STOP
    c.st.requests += 1
    if command == NULL:
        c.st.by_family[FAMILY_UNKNOWN] += 1
    else:
        c.st.by_family[command.family] += 1
        command.calls += 1
    return result


cdef int carry_out(Core* c, Client* cl, Command* command, const uint8_t* p) noexcept nogil:
    cdef int shard
    cdef uint32_t argc = cl.scan.argc
    if command == NULL or command.kind == RUN_PARK or cl.collect or cl.level == 0:
        park(c, cl, cl.scan.at, park_reason(cl, command))
        return STOP
    if not right_arity(command, argc) or (command.kind == RUN_PING and argc > 2):
        refuse(c, cl, &command.arity_text, RERR_ARITY)
        return TAKEN
    if command.level > cl.level:
        refuse(c, cl, &command.denied, RERR_DENIED)
        return TAKEN
    if command.kind == RUN_PING:
        return run_ping(c, cl, p)
    if command.kind == RUN_SPLIT:
        return run_split(c, cl, command, p)
    shard = keys_shard(c, cl, command, p, &cl.scan)
    if shard == CROSS:
        refuse(c, cl, &c.texts[TEXT_CROSS], RERR_CROSS)
        return TAKEN
    if shard == DENIED:
        refuse(c, cl, &c.patterns[c.which].refused, RERR_POLICY)
        return TAKEN
    if shard < 0:
        park(c, cl, cl.scan.at, RPARK_KEY)
        return STOP
    if c.shards[shard].cluster != NULL:
        return forward_slot(c, cl, command, c.shards[shard].cluster, slot_of(c.key, c.key_length), command.level > 1,
                            p, cl.scan.at)
    if c.shards[shard].foreign and cl.who != NO_WAY:
        shard = way_to(c, cl, shard)
        if shard < 0:           # the uvloop side makes one
            park(c, cl, cl.scan.at, RPARK_WAY)
            return STOP
    elif cl.consistency and command.anywhere:
        shard = reading_place(c, cl, shard)
    return forward(c, cl, command, shard, command.level > 1, p, cl.scan.at)


cdef int reading_place(Core* c, Client* cl, int shard) noexcept nogil:
    """A replica of the shard that is as fresh as the client asks, else the shard. Each client has a favourite."""
    cdef ShardPlace* place = &c.shards[shard]
    cdef ShardPlace* replica
    cdef uint8_t i
    cdef uint16_t at
    if cl.consistency != EVENTUAL and cl.writing:
        return shard
    for i in range(place.nreplicas):
        at = place.replicas[(cl.index + i) % place.nreplicas]
        replica = c.ways[at - WAY_BASE]
        if replica == NULL or replica.conns[cl.protocol] == NULL or replica.t_fresh == 0:
            continue
        if cl.consistency == EVENTUAL:
            if replica.t_fresh + cl.max_lag_ns >= c.now:
                return at
        elif cl.t_wrote < replica.t_fresh:
            return at
    return shard


cdef inline int way_to(Core* c, Client* cl, int shard) noexcept nogil:
    """The client's way to a shard of another region; UNDECIDED without one."""
    cdef uint16_t place
    cdef ShardPlace* way
    if cl.who >= c.nwho or c.way_of[cl.who] == NULL:
        return UNDECIDED
    place = c.way_of[cl.who][shard]
    if place == 0:
        return UNDECIDED
    way = c.ways[place - WAY_BASE]
    if way.conns[cl.protocol] == NULL and not way.broken & (1 << cl.protocol):
        return UNDECIDED
    return place


cdef int take_all(Core* c, Client* cl, const uint8_t* p, size_t n, size_t* used) noexcept nogil:
    """Every complete frame of n bytes. `used`: how many bytes are done with."""
    cdef int result
    used[0] = 0
    while cl.phase == PHASE_OPEN and not cl.hangup:
        result = request_scan(&cl.scan, p + used[0], n - used[0])
        if result == RESP_MORE:
            if cl.scan.in_bulk and cl.scan.bulk > LARGE and not cl.scan.whole:
                return large(c, cl, p + used[0])
            return TAKEN
        if result < 0:
            refuse(c, cl, &c.texts[TEXT_PROTOCOL - result], RERR_PROTOCOL)
            cl.hangup = 1
            mark_dirty(c, cl)
            return TAKEN
        if result == RESP_INLINE:
            park(c, cl, cl.scan.at, RPARK_INLINE)
            result = STOP
        elif result == RESP_DONE:
            result = take_frame(c, cl, p + used[0])
        else:
            result = TAKEN
        if result == TAKEN:
            used[0] += cl.scan.at
        if cl.phase == PHASE_CLOSED:
            return GONE
        memset(&cl.scan, 0, sizeof(Request))
        if result == STOP:
            return STOP
    return STOP


cdef void client_pump(Core* c, Client* cl) noexcept nogil:
    """Take what is kept, then what the kernel has, as long as the client may go on."""
    cdef int budget = READ_BUDGET, result = TAKEN
    cdef size_t used = 0
    if cl.phase == PHASE_STREAM:
        stream_pump(c, cl)
        return
    if cl.phase != PHASE_OPEN or cl.awaits != NULL or cl.hangup:
        return
    if cl.inb.len and cl.scan.at == 0:
        result = take_all(c, cl, buf_head(&cl.inb), cl.inb.len, &used)
        if result == GONE:
            return
        buf_consume(&cl.inb, used)
    while result == TAKEN and cl.readable and not cl.hangup:
        if budget == 0:
            make_ready(c, cl)
            return
        budget -= 1
        result = client_read(c, cl)


cdef int client_read(Core* c, Client* cl) noexcept nogil:
    """One receive, and the frames in it. STOP also when the kernel has no more."""
    cdef ssize_t n
    cdef size_t used = 0, want = SCRATCH
    cdef uint8_t* into = c.scratch
    cdef int result
    if cl.inb.len:
        want = room_wanted(cl)
        if cl.inb.len + want > (c.client_buffer if cl.level else SCRATCH) + SCRATCH:
            refuse(c, cl, &c.texts[TEXT_TOO_LARGE], RERR_LIMIT)
            cl.hangup = 1
            mark_dirty(c, cl)
            return STOP
        if not buf_reserve(&cl.inb, want):
            client_close(c, cl)
            return GONE
        into = buf_head(&cl.inb) + cl.inb.len
    n = recv(cl.fd, into, want, 0)
    if n < 0 and errno == EINTR:
        return TAKEN
    if n < 0 and errno == EAGAIN:
        cl.readable = 0
        return STOP
    if n < 0:
        client_close(c, cl)
        return GONE
    if n == 0:                  # it may still take the answers to what it asked
        cl.readable = 0
        cl.hangup = 1
        mark_dirty(c, cl)
        return STOP
    cl.t_last = c.now
    c.st.receives += 1
    c.st.bytes_client_in += n
    if <size_t>n < want and not cl.ended:
        cl.readable = 0
    if cl.inb.len:
        cl.inb.len += n
        result = take_all(c, cl, buf_head(&cl.inb), cl.inb.len, &used)
        if result != GONE:
            buf_consume(&cl.inb, used)
        return result
    result = take_all(c, cl, c.scratch, n, &used)
    if result != GONE and not buf_append(&cl.inb, c.scratch + used, n - used):
        client_close(c, cl)
        return GONE
    return result


cdef inline size_t room_wanted(Client* cl) noexcept nogil:
    """As much as the argument that is coming still lacks, so that a large value grows its buffer once."""
    cdef size_t have = cl.inb.len - cl.scan.at
    if cl.scan.in_bulk and cl.scan.at <= cl.inb.len and cl.scan.bulk + 2 > have + SCRATCH:
        return cl.scan.bulk + 2 - have
    return SCRATCH
