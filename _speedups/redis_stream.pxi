# A request with a large argument, sent on in parts. Included by redis_relay.pyx.
#
# Its connection is *lone*: lent by the uvloop side for this request alone, as a client that sends slowly would hold up
# everybody on a shared one. It is asked for when the keys are known and all earlier replies of the client are out, so
# the order of the client's requests stays; what the client sends behind it is read when its reply is there.

cdef inline bint is_coming(Client* cl) noexcept nogil:
    """Is the client's large request still to be sent, by the client?"""
    return cl.more != 0 or cl.args_left != 0


cdef bint keys_are_there(Command* command, const uint8_t* frame, Request* scan) noexcept nogil:
    """Of a frame whose end is not there: are all its keys, among the arguments whose places are kept?"""
    cdef uint32_t first, last, seen = scan.seen if scan.seen < RESP_ARGS else RESP_ARGS
    cdef uint8_t k
    for k in range(command.nspecs):
        if command.specs[k].place >= seen:
            return False
        if not spec_range(&command.specs[k], frame, scan, &first, &last) or last >= seen:
            return False
    return True


cdef int large(Core* c, Client* cl, const uint8_t* p) noexcept nogil:
    """A large argument is coming. STOP: its frame is passed on in parts from here on; TAKEN: it has to be had whole."""
    cdef Command* command = NULL
    cdef ShardPlace* place
    cdef int shard
    cl.scan.whole = 1
    if cl.level and not cl.collect and cl.scan.seen and cl.inflight < c.pipeline:
        command = command_find(c, p + cl.scan.off[0], cl.scan.len[0])
    if command == NULL or command.kind != RUN_KEYS or command.level > cl.level \
            or not right_arity(command, cl.scan.argc) or not keys_are_there(command, p, &cl.scan):
        return TAKEN
    c.key = NULL
    shard = keys_shard(c, cl, command, p, &cl.scan)
    if shard >= 0 and c.shards[shard].cluster != NULL:
        return TAKEN            # it may have to be sent once more, to another node
    if shard >= 0 and c.shards[shard].foreign and cl.who != NO_WAY:
        shard = way_to(c, cl, shard)
    if shard < 0:
        return TAKEN
    place = place_at(c, shard)
    if place.conns[cl.protocol] == NULL:
        return TAKEN
    c.st.requests += 1
    c.st.by_family[command.family] += 1
    command.calls += 1
    place.requests += 1
    place.stats.requests += 1
    cl.stream_place = shard
    cl.stream_command = <uint32_t>(command - c.commands)
    cl.more = cl.scan.at + cl.scan.bulk + 2
    cl.args_left = cl.scan.argc - cl.scan.seen - 1
    park_as(c, cl, 0, RPARK_LARGE, EVENT_LARGE)
    return STOP


cdef void stream_begin(Core* c, Client* cl, Backend* b, Req* r) noexcept nogil:
    """The request goes to `b` as it comes."""
    b.owner = cl
    cl.stream = b
    cl.phase = PHASE_STREAM
    r.command = cl.stream_command
    r.writes = c.commands[r.command].level > 1
    r.words = cl.scan.argc
    if r.writes:
        cl.writing += 1
    if place_at(c, b.shard).remote:
        r.remote = 1
        cl.remote += 1
    backend_enqueue(c, b, r)
    client_enqueue(cl, r)
    make_ready(c, cl)


cdef void stream_swallow(Core* c, Client* cl, const uint8_t* p, size_t n) noexcept nogil:
    """No connection can be had: this is the reply, and the request goes nowhere."""
    cl.phase = PHASE_STREAM
    say(c, cl, p, n)
    make_ready(c, cl)


cdef bint pass_on(Core* c, Client* cl, const uint8_t* p, size_t n) noexcept nogil:
    if cl.stream == NULL:
        return True
    cl.stream.t_progress = c.now
    return backend_write(c, cl.stream, p, n)


cdef int stream_parts(Core* c, Client* cl, const uint8_t* p, size_t n, size_t* used) noexcept nogil:
    """What belongs to the request of n bytes. `used`: how many are done with. GONE: it was no request."""
    cdef Request head
    cdef size_t some
    cdef int result
    used[0] = 0
    while is_coming(cl):
        if cl.more == 0:                # the next argument's length
            memset(&head, 0, sizeof(Request))
            result = scan_length(&head, p + used[0], n - used[0])
            if result == RESP_MORE:
                return TAKEN
            if result != RESP_DONE:
                say(c, cl, buf_head(&c.texts[TEXT_PROTOCOL - result]), c.texts[TEXT_PROTOCOL - result].len)
                client_flush(c, cl)
                client_close(c, cl)
                return GONE
            cl.more = head.at + head.bulk + 2
            cl.args_left -= 1
        some = n - used[0] if n - used[0] < cl.more else cl.more
        if some == 0:
            return TAKEN
        if not pass_on(c, cl, p + used[0], some):
            client_close(c, cl)
            return GONE
        cl.more -= some
        used[0] += some
    return TAKEN


cdef int stream_read(Core* c, Client* cl) noexcept nogil:
    """One receive behind what is kept. TAKEN, STOP when the kernel has no more, GONE."""
    cdef ssize_t n
    if not buf_reserve(&cl.inb, SCRATCH):
        client_close(c, cl)
        return GONE
    n = recv(cl.fd, buf_head(&cl.inb) + cl.inb.len, SCRATCH, 0)
    if n < 0 and errno == EINTR:
        return TAKEN
    if n < 0 and errno == EAGAIN:
        cl.readable = 0
        if cl.inb.len == 0:
            buf_free(&cl.inb)
        return STOP
    if n <= 0:                          # there is no more to come of the request
        client_close(c, cl)
        return GONE
    cl.inb.len += n
    cl.t_last = c.now
    c.st.receives += 1
    c.st.bytes_client_in += n
    if n < SCRATCH and not cl.ended:
        cl.readable = 0
    return TAKEN


cdef void stream_pump(Core* c, Client* cl) noexcept nogil:
    """Read as much as the connection takes, up to the request's end."""
    cdef int budget = READ_BUDGET
    cdef size_t used = 0
    while is_coming(cl):
        if cl.awaits != NULL:
            return
        if cl.inb.len:
            if stream_parts(c, cl, buf_head(&cl.inb), cl.inb.len, &used) == GONE:
                return
            buf_consume(&cl.inb, used)
            if not is_coming(cl):
                break
        if cl.stream != NULL and too_full(cl.stream):
            place_at(c, cl.stream.shard).stats.waits += 1
            wait_for(cl.stream, cl)
            return
        if not cl.readable:
            return
        if budget == 0:
            make_ready(c, cl)
            return
        budget -= 1
        if stream_read(c, cl) != TAKEN:
            return
    stream_settle(c, cl)


cdef void stream_settle(Core* c, Client* cl) noexcept nogil:
    """Sent and answered: the client goes on."""
    if cl.phase == PHASE_STREAM and cl.stream == NULL and not is_coming(cl):
        memset(&cl.scan, 0, sizeof(Request))
        cl.phase = PHASE_OPEN
        make_ready(c, cl)


cdef void stream_over(Core* c, Backend* b) noexcept nogil:
    """Its reply is complete; the connection goes back."""
    cdef Client* cl = b.owner
    place_at(c, b.shard).answered += b.answered
    backend_leaves(c, b)
    if cl == NULL:
        return
    if cl.awaits != NULL:
        stop_waiting(cl)
    cl.stream = NULL
    b.owner = NULL
    if not is_coming(cl) and b.out.len == 0:
        push_event(c, cl, EVENT_LENT)
        stream_settle(c, cl)
        return
    push_event(c, cl, EVENT_LENT | EVENT_SPOILED)
    cl.phase = PHASE_OPEN       # the server will not take the rest, and says so
    cl.hangup = 1
    mark_dirty(c, cl)


cdef void stream_lost(Core* c, Backend* b) noexcept nogil:
    """Of a lost connection; the request is answered, what is still to come of it goes nowhere."""
    cdef Client* cl = b.owner
    b.owner = NULL
    if cl == NULL or cl.phase == PHASE_CLOSED:
        return
    cl.stream = NULL
    push_event(c, cl, EVENT_LENT | EVENT_SPOILED)
    if is_coming(cl):
        make_ready(c, cl)
    else:
        stream_settle(c, cl)


cdef void stream_leave(Client* cl) noexcept nogil:
    """The client is closed: its connection ends with a part of a request, which the server forgets."""
    if cl.stream != NULL:
        shutdown(cl.stream.fd, SHUT_RDWR)
        cl.stream.owner = NULL
        cl.stream = NULL


cdef inline bint waits_for_client(Backend* b) noexcept nogil:
    """A lone connection whose client does not send."""
    return b.lone and b.owner != NULL and is_coming(b.owner) and b.out.len == 0


cdef void lose_lone(Core* c, int32_t place, int protocol) noexcept nogil:
    """Those to a place that is given up; protocol -1: of both."""
    cdef uint32_t i
    cdef Backend* b
    for i in range(c.backend_cap):
        b = c.backends[i]
        if b != NULL and b.fd >= 0 and b.lone and b.shard == place and (protocol < 0 or b.protocol == protocol):
            backend_lost(c, b)
