# Slots, lists, clocks and the two send functions. Included by relay.pyx.

cdef enum:
    BACKEND_BIT = 0x40000000    # marks an index as a backend's
    WAKE_INDEX = 0x3fffffff


cdef inline uint64_t clock_ns() noexcept nogil:
    return fl_monotonic_ns()


cdef inline uint64_t event_key(uint32_t index, uint32_t gen) noexcept nogil:
    """epoll data: generation over index, so that an event for a descriptor's former owner is recognised."""
    return (<uint64_t>gen << 32) | index


cdef bint watch(Core* c, int fd, uint32_t index, uint32_t gen) noexcept nogil:
    cdef epoll_event e
    e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
    e.data.u64 = event_key(index, gen)
    return epoll_ctl(c.epfd, EPOLL_CTL_ADD, fd, &e) == 0


cdef void unwatch(Core* c, int fd) noexcept nogil:
    epoll_ctl(c.epfd, EPOLL_CTL_DEL, fd, NULL)


# ---------------------------------------------------------------- sessions
cdef Session* session_new(Core* c, int fd, uint8_t kind) noexcept nogil:
    """A free slot with a cleared struct; NULL when all are taken."""
    cdef Session* s
    cdef uint32_t index
    if c.session_free == 0:
        return NULL
    s = <Session*>calloc(1, sizeof(Session))
    if s == NULL:
        return NULL
    c.session_free -= 1
    index = c.session_stack[c.session_free]
    s.index = index
    s.gen = c.session_gens[index]
    s.fd = fd
    s.kind = kind
    s.shard = -1
    s.status = SERVER_STATUS_AUTOCOMMIT
    s.found_rows = FOUND_UNKNOWN
    s.t_last = c.now
    c.sessions[index] = s
    return s


cdef void session_free(Core* c, Session* s) noexcept nogil:
    """Give the slot back. The uvloop side has taken note that the session is closed."""
    cdef uint32_t i
    for i in range(s.stmt_cap):
        if s.stmts[i].st != NULL:
            forget_statement(c, s, &s.stmts[i])
    free(s.stmts)
    buf_free(&s.inb)
    buf_free(&s.out)
    buf_free(&s.extra)
    buf_free(&s.deferred)
    buf_free(&s.once)
    buf_free(&s.once_used)
    buf_free(&s.own_error)
    buf_free(&s.changing)
    free(s.positions)
    drop_attributes(c, s)
    c.sessions[s.index] = NULL
    c.session_gens[s.index] += 1
    c.session_stack[c.session_free] = s.index
    c.session_free += 1
    free(s)


cdef inline Session* session_at(Core* c, uint64_t handle) noexcept nogil:
    cdef uint32_t index = <uint32_t>handle
    if index >= c.session_cap or c.session_gens[index] != <uint32_t>(handle >> 32):
        return NULL
    return c.sessions[index]


cdef void push_event(Core* c, Session* s, uint8_t event) noexcept nogil:
    """Tell the uvloop side. A session is in the list once, so the list is bounded by the sessions."""
    s.events |= event
    c.notify = True
    if s.in_events:
        return
    s.in_events = 1
    s.event_next = NULL
    if c.events_tail == NULL:
        c.events_head = s
    else:
        c.events_tail.event_next = s
    c.events_tail = s


cdef void push_pool_event(Core* c, Pool* p) noexcept nogil:
    c.notify = True
    if p.in_events:
        return
    p.in_events = 1
    p.event_next = c.pool_events
    c.pool_events = p


cdef void ready_session(Core* c, Session* s) noexcept nogil:
    """Look at the session again before the next poll: unread bytes, or the end of a budget."""
    if s.queued:
        return
    s.queued = 1
    s.ready_next = NULL
    if c.ready_sessions_tail == NULL:
        c.ready_sessions = s
    else:
        c.ready_sessions_tail.ready_next = s
    c.ready_sessions_tail = s


cdef void ready_backend(Core* c, Backend* b) noexcept nogil:
    if b.queued:
        return
    b.queued = 1
    b.ready_next = NULL
    if c.ready_backends_tail == NULL:
        c.ready_backends = b
    else:
        c.ready_backends_tail.ready_next = b
    c.ready_backends_tail = b


cdef void park(Core* c, Session* s, uint8_t reason) noexcept nogil:
    """Hand the command to the uvloop side. The client is not read meanwhile: that is the back-pressure."""
    if not retain_command(c, s):
        s.broken = 1
        session_close(c, s)
        return
    if s.behind & BEHIND_RECORD and not s.awaiting_way:
        push_record(c, s, RECORD_PARKED)
    s.phase = PHASE_PARKED
    s.park_reason = reason
    c.stats.parks += 1
    c.stats.parked += 1
    c.stats.parks_by_reason[reason] += 1
    push_event(c, s, EVENT_PARKED)


cdef inline void unpark(Core* c, Session* s) noexcept nogil:
    c.stats.parked -= 1
    s.resumed = 0
    free(s.kept)
    s.kept = NULL


cdef Lexed* lexed_copy(const Lexed* found) noexcept nogil:
    """A copy that holds its slots and norm in the same piece of memory; NULL when there is none."""
    cdef bint good = found.error == LEX_OK
    cdef size_t slots = found.n_slots * sizeof(Slot) if good else 0
    cdef size_t norm = found.norm_len if good else 0
    cdef Lexed* copy = <Lexed*>malloc(sizeof(Lexed) + slots + norm)
    if copy == NULL:
        return NULL
    copy[0] = found[0]
    copy.slots = <Slot*>&copy[1]
    copy.norm = <uint8_t*>copy.slots + slots
    memcpy(copy.slots, found.slots, slots)
    memcpy(copy.norm, found.norm, norm)
    return copy


cdef bint recall_lexed(Core* c, Session* s) noexcept nogil:
    """Put what was kept of the parked command's text back into `c.lexed`. False when nothing was, or it is an error."""
    cdef uint8_t* norm = c.lexed.norm
    cdef Slot* slots = c.lexed.slots
    if s.kept == NULL or s.kept.error != LEX_OK:
        return False
    c.lexed = s.kept[0]
    c.lexed.norm = norm
    c.lexed.slots = slots
    c.lexed_for = s
    memcpy(norm, s.kept.norm, s.kept.norm_len)
    memcpy(slots, s.kept.slots, s.kept.n_slots * sizeof(Slot))
    return True


cdef bint retain_command(Core* c, Session* s) noexcept nogil:
    """Move the current command out of the scratch buffer, which the next receive will overwrite."""
    cdef uint8_t* framed
    if s.cmd_total or s.cmd == NULL:
        return True
    framed = s.cmd - 4
    s.cmd_total = s.cmd_len + 4
    # Nothing else is in `inb`: a command is taken from the scratch buffer only when that was so.
    if not buf_append(&s.inb, framed, s.cmd_total):
        s.cmd_total = 0
        return False
    s.cmd = buf_head(&s.inb) + 4
    c.stats.bytes_buffered += s.cmd_total
    return True


cdef inline void end_now(Core* c, Session* s) noexcept nogil:
    """`end_command`, inline for the end of every response."""
    if s.cmd_total:
        c.stats.bytes_buffered -= s.cmd_total
        buf_consume(&s.inb, s.cmd_total)
    s.cmd = NULL
    s.cmd_len = s.cmd_total = 0
    s.exec = NULL
    if s.verdict != NULL:
        drop_verdict(c, s)
    s.big = 0
    s.nextra = 0
    s.committing = 0
    if s.extra.mem != NULL:
        buf_free(&s.extra)
    s.response_started = s.partial = 0
    s.t_last = c.now
    s.phase = PHASE_IDLE
    if s.exec_stmt:
        # Whatever became of it: the client sends these parameters in the packet next time.
        if s.stmts[s.exec_stmt - 1].omitted != NULL or s.stmts[s.exec_stmt - 1].unusual:
            forget_long_data(c, s, &s.stmts[s.exec_stmt - 1])
        s.exec_stmt = 0
    if s.script != NULL:
        script_next(c, s)
    if s.attributes != NULL and s.script == NULL:
        drop_attributes(c, s)
    if s.awaiting_way:
        s.awaiting_way = 0
        if s.trx != TRX_ACTIVE and s.pins == 0:
            close_or_release(c, s)  # answered without the backend that it held for its way
    if s.kind == KIND_LEASE:
        push_event(c, s, EVENT_DONE | EVENT_LOST if s.broken else EVENT_DONE)
        return
    if s.behind and do_what_is_due(c, s):
        return
    after_command(c, s)


cdef bint do_what_is_due(Core* c, Session* s) noexcept nogil:
    """What was asked for behind the command. True when the next one has to wait."""
    cdef uint8_t due = s.behind
    if due & BEHIND_RECORD:
        push_record(c, s, own_errno(c, s) if s.last_error == OWN_ERROR else s.record_error)
    s.behind = 0
    if due & (BEHIND_NOTIFY | BEHIND_HOLD):
        push_event(c, s, EVENT_DONE)
    if due & BEHIND_HOLD and not s.broken and not s.hangup:
        # The uvloop side has to learn from this answer before the next command is looked at.
        s.phase = PHASE_PARKED
        c.stats.parked += 1
        return True
    return False


cdef uint32_t own_errno(Core* c, Session* s) noexcept nogil:
    cdef uint8_t* p = buf_head(&s.own_error)
    cdef Buf* denied = &c.errors[<int>ERROR_WITNESS]
    if s.own_error.len and s.own_error.len == denied.len and memcmp(p, buf_head(denied), denied.len) == 0:
        return RECORD_DENIED
    return p[1] | (<uint32_t>p[2] << 8) if s.own_error.len > 3 else RECORD_UNKNOWN


cdef void push_record(Core* c, Session* s, uint32_t error) noexcept nogil:
    """Tell the uvloop side how the command ended. Of shards of other regions the Fairlead there keeps the record."""
    cdef Record* record
    s.behind &= ~BEHIND_RECORD
    if 0 <= s.shard < <int32_t>c.nroutes and c.routes[s.shard].remote:
        return
    if c.nrecords == c.record_cap:      # never: see Relay.__cinit__
        s.broken = 1
        return
    record = &c.records[(c.record_at + c.nrecords) % c.record_cap]
    record.id = s.plan_id
    record.shard = s.shard
    record.error = error
    record.fingerprint = s.fingerprint
    record.rows = s.record_rows
    record.bytes = s.bytes_out
    record.us = (c.now - s.t_received) // 1000
    if c.nrecords == 0:
        c.notify = True
    c.nrecords += 1


cdef void end_command(Core* c, Session* s) noexcept nogil:
    """The command is answered: forget it and make ready for the next."""
    end_now(c, s)


cdef inline void after_command(Core* c, Session* s) noexcept nogil:
    """Between two commands: go, look for the next, or close once the client has taken its last answer."""
    if s.draining and s.backend == NULL and s.trx == TRX_NONE and s.script == NULL:
        if s.draining == DRAIN_CLOSE:
            s.hangup = 1
        elif leave_now(c, s):
            return
    if s.broken or (s.hangup and s.out.len == 0):
        session_close(c, s)
    elif s.readable or s.inb.len:
        ready_session(c, s)


# ---------------------------------------------------------------- sending
cdef inline void send_now(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """`client_send`, inline for the end of every response."""
    if n == 0 or s.broken or s.phase == PHASE_CLOSED:
        return
    if s.script != NULL:
        script_send(c, s, p, n)
        return
    send_plain(c, s, p, n)


cdef inline void send_plain(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """These very bytes, of which there are some."""
    cdef ssize_t sent = 0
    s.bytes_out += n
    if s.kind == KIND_CLIENT:
        c.stats.bytes_client_out += n
        if s.out.len == 0:
            sent = send(s.fd, p, n, MSG_NOSIGNAL)
            c.stats.sends += 1
            if sent == <ssize_t>n:
                return
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    s.broken = 1
                    return
                sent = 0
    if not buf_append(&s.out, p + sent, n - sent):
        s.broken = 1
        return
    c.stats.bytes_buffered += n - sent
    if s.kind == KIND_LEASE and s.out.len >= s.credit:
        push_event(c, s, EVENT_DATA)


cdef void client_send(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """To the client: at once, the rest when it can take it. A lease collects in memory."""
    send_now(c, s, p, n)


cdef inline uint8_t first_seq(Session* s) noexcept nogil:
    """The number of the answer's first packet: behind the last of the command's, which has several above 16 MB."""
    return <uint8_t>(1 + s.cmd_len // PACKET_MAX)


cdef void send_numbered(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """`client_send` of whole packets, which may be numbered as if the command were one packet."""
    cdef uint8_t more = first_seq(s) - (1 if s.response_started else p[3])
    cdef size_t at = 0
    cdef uint8_t* copy
    if s.up_asked:
        more = s.up_seq + 1 - p[3]
    if not more:
        client_send(c, s, p, n)
        return
    copy = <uint8_t*>malloc(n)
    if copy == NULL:
        s.broken = 1
        return
    memcpy(copy, p, n)
    while at + 4 <= n:
        copy[at + 3] += more
        at += 4 + get24(copy + at)
    client_send(c, s, copy, n)
    free(copy)


cdef inline bint client_blocked(Session* s) noexcept nogil:
    """Does the receiver of a response hold it up? Then its backend is not read."""
    if s.kind == KIND_LEASE:
        return s.out.len >= s.credit
    return s.out.len != 0


cdef void client_flush(Core* c, Session* s) noexcept nogil:
    """The client's socket takes bytes again."""
    cdef ssize_t sent
    while s.out.len:
        sent = send(s.fd, buf_head(&s.out), s.out.len, MSG_NOSIGNAL)
        c.stats.sends += 1
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                s.broken = 1
            return
        c.stats.bytes_buffered -= sent
        buf_consume(&s.out, sent)
    if s.backend != NULL and s.backend.readable:
        ready_backend(c, s.backend)
    if s.phase == PHASE_PARKED:
        push_event(c, s, EVENT_DRAINED)


cdef inline bint backend_send(Core* c, Backend* b, const uint8_t* p, size_t n) noexcept nogil:
    """To the backend: at once, the rest when it can take it. False when the connection is gone."""
    cdef ssize_t sent = 0
    c.stats.bytes_backend_out += n
    if b.out.len == 0:
        sent = send(b.fd, p, n, MSG_NOSIGNAL)
        c.stats.sends += 1
        if sent == <ssize_t>n:
            return True
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                return False
            sent = 0
    return buf_append(&b.out, p + sent, n - sent)


cdef bint backend_flush(Core* c, Backend* b) noexcept nogil:
    cdef ssize_t sent
    while b.out.len:
        sent = send(b.fd, buf_head(&b.out), b.out.len, MSG_NOSIGNAL)
        c.stats.sends += 1
        if sent < 0:
            return errno == EAGAIN or errno == EINTR
        buf_consume(&b.out, sent)
    return True


# ---------------------------------------------------------------- packets that the relay builds
cdef size_t put_ok(uint8_t* p, uint8_t seq, uint16_t status) noexcept nogil:
    """OK packet without counts; 11 bytes."""
    p[0] = 7
    p[1] = p[2] = 0
    p[3] = seq
    p[4] = p[5] = p[6] = 0
    p[7] = status & 0xff
    p[8] = status >> 8
    p[9] = p[10] = 0
    return 11


cdef size_t put_err(Core* c, uint8_t* p, uint8_t seq, uint8_t kind, int32_t shard) noexcept nogil:
    """The catalogue's ERR packet of this kind; `p` has ERROR_ROOM + 4 bytes."""
    cdef Buf* payload = &c.errors[kind]
    if kind < ERROR_SHARD_KINDS and 0 <= shard < <int32_t>c.nroutes and c.routes[shard].errors[kind].len:
        payload = &c.routes[shard].errors[kind]
    if payload.len == 0:
        memcpy(p + 4, <const char*>b"\xff\x51\x04#HY000Fairlead", 17)
        p[0] = 17
        p[1] = p[2] = 0
        p[3] = seq
        return 21
    p[0] = payload.len & 0xff
    p[1] = (payload.len >> 8) & 0xff
    p[2] = 0
    p[3] = seq
    memcpy(p + 4, buf_head(payload), payload.len)
    return payload.len + 4


cdef inline uint16_t session_status(Session* s) noexcept nogil:
    cdef uint16_t status = 0 if s.autocommit_off else SERVER_STATUS_AUTOCOMMIT
    if s.lexmode & MODE_NO_BACKSLASH_ESCAPES:
        status |= SERVER_STATUS_NO_BACKSLASH_ESCAPES     # clients escape their strings by it
    if s.trx == TRX_NONE or (s.trx == TRX_PENDING and s.begin >= BEGIN_SAVEPOINT):
        return status
    if s.trx == TRX_ACTIVE:
        status |= s.status & SERVER_STATUS_IN_TRANS_READONLY
    elif s.begin == BEGIN_READ_ONLY or s.begin == BEGIN_SNAPSHOT_READ_ONLY:
        status |= SERVER_STATUS_IN_TRANS_READONLY
    return status | SERVER_STATUS_IN_TRANS


cdef inline bint has_diagnostics(Session* s) noexcept nogil:
    return s.warnings != 0 or s.last_error != NO_ERROR or s.diagnostics == DIAG_UNSURE


cdef inline void note_error(Session* s, uint8_t whose, uint8_t diagnostics) noexcept nogil:
    """The session's statement has failed: one error to count, and ROW_COUNT() is -1."""
    s.last_error = whose
    s.warnings = 1
    s.affected = <uint64_t>-1
    s.diagnostics = diagnostics


cdef void keep_own_error(Session* s, const uint8_t* payload, size_t n) noexcept nogil:
    """What SHOW WARNINGS has to show, since no server knows of it."""
    note_error(s, OWN_ERROR, DIAG_GONE)
    keep_own(s, payload, n)


cdef void keep_own(Session* s, const uint8_t* payload, size_t n) noexcept nogil:
    buf_free(&s.own_error)
    if n <= ERROR_ROOM:
        buf_append(&s.own_error, payload, n)


cdef inline void answered_ok(Session* s) noexcept nogil:
    """The session's statement has succeeded, and has read no table."""
    s.affected = 0
    if not s.lexmode & MODE_MARIADB:    # which keeps them behind statements that read no table
        s.warnings = 0
        s.last_error = NO_ERROR
        s.diagnostics = DIAG_GONE


cdef void reply_ok(Core* c, Session* s) noexcept nogil:
    cdef uint8_t packet[16]
    cdef size_t n
    if s.session_track == TOLD_SOME and s.transaction_told != transaction_now(s):
        reply_told(c, s, NULL, 0, 0)
        return
    n = put_ok(packet, first_seq(s), session_status(s))
    answered_ok(s)
    client_send(c, s, packet, n)
    end_command(c, s)


cdef void reply_err(Core* c, Session* s, uint8_t error_class, uint8_t kind) noexcept nogil:
    """Our own ERR as the answer to the current command."""
    c.stats.errors_by_class[error_class] += 1
    send_err(c, s, first_seq(s), kind)
    end_command(c, s)


cdef void send_err(Core* c, Session* s, uint8_t seq, uint8_t kind) noexcept nogil:
    """The command failed without a server's answer: say so, unless a packet was cut, behind which nothing can be put.

    What a lease has collected of the answer goes, so that its error stands alone.
    """
    cdef uint8_t packet[1028]
    cdef size_t n = put_err(c, packet, seq, kind, s.shard)
    keep_own_error(s, packet + 4, n - 4)
    if s.kind == KIND_LEASE:
        c.stats.bytes_buffered -= s.out.len
        buf_free(&s.out)
        push_event(c, s, EVENT_LOST)
        packet[3] = 1
    elif s.partial:
        s.broken = 1
        return
    client_send(c, s, packet, n)
