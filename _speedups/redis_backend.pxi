# A connection to a Redis server: requests out, replies in, and its end. Included by redis_relay.pyx.

cdef inline Backend* connection(Core* c, int32_t shard, uint8_t protocol) noexcept nogil:
    return place_at(c, shard).conns[protocol] if is_place(c, shard) else NULL


cdef inline bint too_full(Backend* b) noexcept nogil:
    return b.out.len > (LONE_HIGH if b.lone else BACKEND_HIGH)


cdef bint backend_write(Core* c, Backend* b, const uint8_t* p, size_t n) noexcept nogil:
    if not buf_append(&b.out, p, n):
        return False
    b.queued_bytes += n
    mark_backend(c, b)
    return True


cdef void backend_flush(Core* c, Backend* b) noexcept nogil:
    cdef ssize_t sent
    cdef Client* cl
    while b.out.len:
        sent = send(b.fd, buf_head(&b.out), b.out.len, MSG_NOSIGNAL)
        if sent < 0 and errno == EINTR:
            continue
        if sent < 0 and errno == EAGAIN:
            break
        if sent < 0:
            backend_lost(c, b)
            return
        place_at(c, b.shard).stats.bytes_out += sent
        c.st.sends += 1
        buf_consume(&b.out, sent)
    while b.waiters != NULL and not too_full(b):
        cl = b.waiters
        b.waiters = cl.wait_next
        cl.awaits = NULL
        make_ready(c, cl)


# ---------------------------------------------------------------- replies
cdef inline void take_reply(Core* c, Req* r, const uint8_t* p, size_t n) noexcept nogil:
    """Bytes of the reply to `r`."""
    cdef Client* cl = r.client
    if r.kind == REQ_ONE:
        if cl == NULL:
            return
        if cl.head == r:
            cl.mid = 1
            say(c, cl, p, n)
            return
    elif r.kind == REQ_PART:
        cl = r.parent.client
        if cl == NULL:
            return
    if r.failed:
        return
    if r.reply.len + n > c.client_buffer or (cl != NULL and cl.held + n > c.client_buffer):
        too_much(c, r, cl)
    elif not buf_append(&r.reply, p, n):
        too_much(c, r, cl)
    elif cl != NULL:
        cl.held += n


cdef void too_much(Core* c, Req* r, Client* cl) noexcept nogil:
    """A reply that must wait is larger than what may wait."""
    r.failed = 1
    buf_free(&r.reply)
    if cl != NULL:
        c.st.overflows += 1
        client_close(c, cl)


cdef inline void took(Core* c, Req* r, bint failed) noexcept nogil:
    """A server has answered."""
    cdef ShardPlace* place = place_at(c, r.shard)
    cdef RedisShardStats* stats = place.stats
    cdef uint64_t ns = c.now - r.t_begin
    histogram_add(&stats.time, ns // 1000)
    if failed:
        stats.errors += 1
    if c.slow_ns and ns >= c.slow_ns and not place.remote:    # another region's log is its own
        log_slow(c, r, stats, ns, failed)


cdef void log_slow(Core* c, Req* r, RedisShardStats* stats, uint64_t ns, bint failed) noexcept nogil:
    cdef RedisSlow entry
    cdef Client* cl = r.parent.client if r.kind == REQ_PART else r.client
    memset(&entry, 0, sizeof(entry))
    entry.us = ns // 1000
    entry.words = r.words
    entry.failed = failed
    entry.client = event_key(cl.index, cl.gen) if cl != NULL else 0
    if r.command != NO_COMMAND:
        memcpy(entry.command, c.commands[r.command].name, c.commands[r.command].length)
    if r.key_kept:
        memcpy(entry.pattern, c.patterns[r.pattern].name, PATTERN_TEXT)
        entry.hash = r.key_hash if r.key_hash else key_hash(c, r.key, r.key_kept)
        if c.keep_keys:
            entry.length = r.key_kept
            memcpy(entry.text, r.key, r.key_kept)
    c.st.slow += 1
    slow_put(stats, c.slow_sequence, &entry)


cdef void finish(Core* c, Req* r) noexcept nogil:
    """The reply to `r` is complete; it stands in no connection's queue any more."""
    cdef Req* parent
    if r.kind == REQ_CALL:
        r.next = NULL
        if c.done_calls == NULL:
            c.done_calls = r
        else:
            c.done_calls_tail.next = r
        c.done_calls_tail = r
        c.notify = True
        return
    if r.remote or r.writes:
        ended(c, r)
    if r.kind == REQ_PART:
        parent = r.parent
        parent.pending -= 1
        if parent.pending:
            return
        if parent.client == NULL:
            split_free(c, parent)
            return
        merge(c, parent)
        r = parent
    r.done = 1
    if r.client == NULL:
        req_free(c, r)
    elif r.client.head == r:
        advance(c, r.client)


cdef void ended(Core* c, Req* r) noexcept nogil:
    """Of a client's request: what it counted for."""
    cdef Client* cl = r.client if r.kind == REQ_ONE else r.parent.client
    if cl == NULL:
        return
    if r.remote:
        cl.remote -= 1
    if r.writes:
        cl.writing -= 1
        if cl.t_wrote < c.now:
            cl.t_wrote = c.now


cdef void advance(Core* c, Client* cl) noexcept nogil:
    """Whatever is answered at the head of the client's queue goes out, in order."""
    cdef Req* r
    while cl.head != NULL and cl.head.done:
        r = cl.head
        cl.head = r.next
        if cl.head == NULL:
            cl.tail = NULL
        cl.inflight -= 1
        give(c, cl, r)
        cl.mid = 0
        if r.kind == REQ_SPLIT:
            split_free(c, r)
        else:
            req_free(c, r)
        if cl.phase == PHASE_CLOSED:
            return
    if cl.push.len and not cl.mid:
        say(c, cl, buf_head(&cl.push), cl.push.len)
        buf_free(&cl.push)
    r = cl.head
    if r != NULL and r.reply.len and r.kind == REQ_ONE:
        give(c, cl, r)
        cl.mid = 1
    if cl.phase == PHASE_DRAINING and r == NULL:
        cl.phase = PHASE_PARKED
        push_event(c, cl, cl.parks_as)
    if cl.throttled and cl.inflight <= c.pipeline // 2:
        cl.throttled = 0
        make_ready(c, cl)
    elif cl.hangup and r == NULL:
        mark_dirty(c, cl)


cdef inline void give(Core* c, Client* cl, Req* r) noexcept nogil:
    cl.held -= r.reply.len
    if r.reply.len:
        say(c, cl, buf_head(&r.reply), r.reply.len)
    buf_free(&r.reply)


cdef inline size_t room_for(Core* c, Backend* b) noexcept nogil:
    """How much of a reply may wait for its client: little while the connection is nobody else's."""
    return c.quiet if b.inflight == 1 else c.client_buffer


cdef void press(Core* c, Backend* b, Client* cl) noexcept nogil:
    """Much waits for the reply's client: beyond its budget the connection is not read until it takes some; if others
    wait behind it, for STALL_NS at most."""
    client_flush(c, cl)
    if cl.phase == PHASE_CLOSED or b.paused or cl.out.len <= room_for(c, b):
        return
    place_at(c, b.shard).stats.stalls += 1
    b.paused = 1
    b.t_paused = c.now
    b.staller = cl
    cl.stalls = b


cdef void hurry(Core* c, Backend* b) noexcept nogil:
    """A request joins those of a paused connection."""
    if b.staller.out.len <= room_for(c, b):
        unstall(c, b.staller)
    elif b.inflight == 2:
        b.t_paused = c.now


cdef void unstall(Core* c, Client* cl) noexcept nogil:
    cdef Backend* b = cl.stalls
    cl.stalls = b.staller = NULL
    b.paused = 0
    b.t_progress = c.now
    b.readable = 1
    backend_ready(c, b)


cdef void backend_pump(Core* c, Backend* b) noexcept nogil:
    cdef ssize_t n
    cdef int budget = READ_BUDGET
    while b.readable and not b.paused and b.fd >= 0:
        if budget == 0:
            backend_ready(c, b)
            return
        budget -= 1
        n = recv(b.fd, c.scratch, SCRATCH, 0)
        if n < 0 and errno == EINTR:
            continue
        if n < 0 and errno == EAGAIN:
            b.readable = 0
            return
        if n <= 0:
            backend_lost(c, b)
            return
        if n < SCRATCH and not b.ended:
            b.readable = 0
        b.t_progress = c.now
        c.st.receives += 1
        place_at(c, b.shard).stats.bytes_in += n
        if not replies(c, b, c.scratch, n):
            backend_lost(c, b)
            return


cdef bint replies(Core* c, Backend* b, const uint8_t* p, size_t n) noexcept nogil:
    """False when the bytes are no replies, or nobody has asked for them."""
    cdef size_t at = 0, used = 0
    cdef int result
    cdef Req* r
    cdef Client* cl
    while at < n:
        r = b.head
        result = reply_scan(&b.scan, p + at, n - at, &used)
        if r == NULL or result == RESP_MALFORMED or b.scan.first == c'>':
            return False
        cl = r.client
        if b.node and r.kept != NULL and b.scan.first == c'-':      # it may be sent elsewhere
            if b.line.len > SCRATCH or not buf_append(&b.line, p + at, used):
                return False
        else:
            take_reply(c, r, p + at, used)
        at += used
        if cl != NULL and cl.out.len > c.quiet and cl.stalls == NULL and cl.phase != PHASE_CLOSED:
            press(c, b, cl)
        if result == RESP_DONE:
            if b.scan.first == c'-' and used >= 9 and memcmp(p + at - used, <const char*>b"-READONLY", 9) == 0:
                place_at(c, b.shard).read_only = 1
                c.notify = True
            b.head = r.bnext
            if b.head == NULL:
                b.tail = NULL
            b.inflight -= 1
            b.answered += 1
            if b.node and sent_elsewhere(c, b, r):
                continue
            took(c, r, b.scan.first == c'-')
            finish(c, r)
            if b.lone:
                stream_over(c, b)
                return at == n
    return True


# ---------------------------------------------------------------- its end
cdef void backend_lost(Core* c, Backend* b) noexcept nogil:
    """Exactly what was under way here is answered with an error; who has a part of a reply already is cut off."""
    cdef Req* r
    cdef Req* following
    cdef uint64_t sent = b.queued_bytes - b.out.len
    cdef ShardPlace* place = place_at(c, b.shard)
    cdef Client* cl
    cdef uint32_t i
    if b.fd < 0:
        return
    backend_leaves(c, b)
    if place.conns[b.protocol] == b:
        place.conns[b.protocol] = NULL
    place.stats.lost += 1
    place.answered += b.answered
    for i in range(c.client_cap):
        if c.clients[i] != NULL and c.clients[i].stalls == b:
            c.clients[i].stalls = NULL
    r = b.head
    b.head = b.tail = NULL
    if place.home != NULL:
        place.home.stale = 1
    while r != NULL:
        following = r.bnext
        lost(c, place, r, r.begins >= sent)
        r = following
    while b.waiters != NULL:
        cl = b.waiters
        b.waiters = cl.wait_next
        cl.awaits = NULL
        make_ready(c, cl)
    if b.lone:
        stream_lost(c, b)
    c.notify = True


cdef void backend_leaves(Core* c, Backend* b) noexcept nogil:
    """The descriptor of a lone one is another's, too, so the events of it have to be told apart here."""
    epoll_ctl(c.epfd, EPOLL_CTL_DEL, b.fd, NULL)
    close(b.fd)
    b.fd = -1
    c.backend_gens[b.index] += 1


cdef void lost(Core* c, ShardPlace* place, Req* r, bint unsent) noexcept nogil:
    cdef Buf* text = &c.texts[TEXT_LOST_READ]
    c.st.errors_by_class[RERR_UNAVAILABLE if unsent else RERR_LOST] += 1
    if r.kept != NULL:
        kept_free(r)
    if unsent:
        text = &place.away
    elif r.writes:
        text = &c.texts[TEXT_LOST_WRITE]
    if r.kind == REQ_ONE and r.client != NULL and r.client.head == r and r.client.mid:
        client_close(c, r.client)
    if r.kind == REQ_ONE and r.client == NULL:
        req_free(c, r)
        return
    if r.kind == REQ_ONE or r.kind == REQ_PART:
        doubt(c, place, r)
        replace_reply(r, text)
    else:
        r.failed = 1
        buf_free(&r.reply)
        buf_append(&r.reply, buf_head(text), text.len)
    finish(c, r)


cdef inline void doubt(Core* c, ShardPlace* place, Req* r) noexcept nogil:
    """The server may still carry the write out."""
    cdef Client* cl = r.client if r.kind == REQ_ONE else r.parent.client
    if r.writes and cl != NULL:
        cl.t_wrote = c.now + place.deadline_ns


cdef void replace_reply(Req* r, Buf* text) noexcept nogil:
    cdef Client* cl = r.client if r.kind == REQ_ONE else r.parent.client
    cdef size_t before = r.reply.len
    buf_free(&r.reply)
    buf_append(&r.reply, buf_head(text), text.len)
    if cl != NULL:
        cl.held += r.reply.len
        cl.held -= before


cdef void backend_free(Core* c, Backend* b) noexcept nogil:
    """Of a lost connection that stands in no list any more."""
    buf_free(&b.out)
    buf_free(&b.line)
    c.backends[b.index] = NULL
    free(b)
