# Pools, the steps before a command, and a response's way back. Included by relay.pyx.

cdef enum:
    ER_PARSE_ERROR = 1064
    ER_UNKNOWN_SYSTEM_VARIABLE = 1193
    ER_OPTION_PREVENTS_STATEMENT = 1290     # --read-only
    ER_READ_ONLY_MODE = 1836

# ---------------------------------------------------------------- lists of a pool
cdef inline void list_push(Backend** head, Backend* b) noexcept nogil:
    b.prev = NULL
    b.next = head[0]
    if head[0] != NULL:
        head[0].prev = b
    head[0] = b


cdef inline void list_remove(Backend** head, Backend* b) noexcept nogil:
    if b.prev != NULL:
        b.prev.next = b.next
    else:
        head[0] = b.next
    if b.next != NULL:
        b.next.prev = b.prev
    b.prev = b.next = NULL


cdef inline void to_idle(Core* c, Backend* b) noexcept nogil:
    """The last one used is the first one taken, so that the surplus goes cold and can be closed."""
    b.in_list = 1
    b.t_idle = c.now
    b.pool.nidle += 1
    list_push(&b.pool.idle, b)
    b.pool.stats.idle += 1


cdef inline void from_list(Core* c, Backend* b) noexcept nogil:
    if b.in_list == 1:
        b.pool.nidle -= 1
        list_remove(&b.pool.idle, b)
        b.pool.stats.idle -= 1
    elif b.in_list == 2:
        b.pool.nlinger -= 1
        list_remove(&b.pool.linger, b)
        b.pool.stats.in_use += 1
        c.stats.pins_by_reason[PIN_WARNINGS] -= 1
    b.in_list = 0


# ---------------------------------------------------------------- backends
cdef Backend* backend_new(Core* c, int fd, Pool* pool, uint32_t state) noexcept nogil:
    cdef Backend* b
    cdef uint32_t index
    if c.backend_free == 0:
        return NULL
    b = <Backend*>calloc(1, sizeof(Backend))
    if b == NULL:
        return NULL
    c.backend_free -= 1
    index = c.backend_stack[c.backend_free]
    b.index = index
    b.gen = c.backend_gens[index]
    b.fd = fd
    b.pool = pool
    b.state = state
    b.step = STEP_NONE
    b.status = SERVER_STATUS_AUTOCOMMIT
    b.t_created = c.now
    c.backends[index] = b
    pool.total += 1
    return b


cdef void backend_close(Core* c, Backend* b) noexcept nogil:
    """Close and forget; the struct lives until the end of the round, for callers further up."""
    if b.dead:
        return
    b.dead = 1
    if b.busy and b.thread_id and c.nlost < 64 and not b.pool.remote:
        # A statement runs on for nobody: the uvloop side may kill it.
        c.lost_threads[c.nlost] = b.thread_id
        c.lost_servers[c.nlost] = b.pool.server
        c.nlost += 1
        c.notify = True
    from_list(c, b)
    if b.owner != NULL:
        ids_lost(b.owner, b)
        b.owner.backend = NULL
        b.owner.linger = 0
        b.owner = NULL
        b.pool.stats.in_use -= 1
    close(b.fd)
    b.pool.total -= 1
    c.stats.backend_closes += 1
    c.backends[b.index] = NULL
    c.backend_gens[b.index] += 1
    b.next = c.doomed
    c.doomed = b
    push_pool_event(c, b.pool)


cdef void bury(Core* c) noexcept nogil:
    """End of a round: nobody holds a pointer to a closed backend any more."""
    cdef Backend* b
    cdef Backend* later = NULL
    while c.doomed != NULL:
        b = c.doomed
        c.doomed = b.next
        if b.queued:            # the ready list still names it
            b.next = later
            later = b
            continue
        c.backend_stack[c.backend_free] = b.index
        c.backend_free += 1
        buf_free(&b.out)
        buf_free(&b.carry)
        free(b.stmts)
        free(b)
    c.doomed = later


cdef inline void attach(Core* c, Session* s, Backend* b) noexcept nogil:
    from_list(c, b)
    b.owner = s
    s.backend = b
    b.pool.stats.in_use += 1


cdef inline void detach(Core* c, Session* s) noexcept nogil:
    """The session lets go of its backend: back to its pool, where it may only be when it is proven idle.

    Whoever waits is served at the end of the round.
    """
    cdef Backend* b = s.backend
    s.backend = NULL
    s.linger = 0
    b.owner = NULL
    b.pool.stats.in_use -= 1
    if b.busy or b.suspect or b.status & SERVER_STATUS_IN_TRANS \
            or (b.pool.age_ns and c.now - b.t_created > b.pool.age_ns):
        ids_lost(s, b)
        backend_close(c, b)
        return
    to_idle(c, b)
    if b.pool.nwait:
        ready_backend(c, b)


cdef void keep_lingering(Core* c, Session* s) noexcept nogil:
    """Keep the backend for SHOW WARNINGS, but let anybody take it who needs it more."""
    cdef Backend* b = s.backend
    if b.pool.nwait or b.suspect & ~<uint8_t>SUSPECT_ID:
        s.diagnostics = DIAG_GONE
        detach(c, s)
        return
    s.linger = 1
    b.pool.stats.in_use -= 1
    b.in_list = 2
    b.t_idle = c.now
    b.pool.nlinger += 1
    list_push(&b.pool.linger, b)
    c.stats.pins_by_reason[PIN_WARNINGS] += 1
    c.stats.pins_total_by_reason[PIN_WARNINGS] += 1


cdef void unlinger(Core* c, Session* s) noexcept nogil:
    from_list(c, s.backend)
    s.linger = 0


cdef void release_linger(Core* c, Session* s) noexcept nogil:
    unlinger(c, s)
    detach(c, s)


cdef void close_or_release(Core* c, Session* s) noexcept nogil:
    """The session ends: only a backend that is proven idle and unpinned survives it."""
    cdef Backend* b = s.backend
    if b == NULL:
        return
    if s.linger:
        release_linger(c, s)
    elif b.busy or s.trx == TRX_ACTIVE or s.pins or b.suspect:
        backend_close(c, b)
    else:
        detach(c, s)


# ---------------------------------------------------------------- borrowing and waiting
cdef inline Backend* pick_idle(Pool* pool, uint32_t state, uint64_t stmt) noexcept nogil:
    """Of the warmest few: one in the session's state (and with its statement), else the warmest."""
    cdef Backend* b = pool.idle
    cdef Backend* match = NULL
    cdef int tries = 8
    while b != NULL and tries:
        if b.state == state:
            if stmt == 0 or stmt_known(b, stmt):
                return b
            if match == NULL:
                match = b
        b = b.next
        tries -= 1
    return match if match != NULL else pool.idle


cdef inline void acquire(Core* c, Session* s, Pool* pool) noexcept nogil:
    cdef Backend* b = NULL
    cdef Session* other
    if pool.nwait == 0:
        b = pick_idle(pool, s.state, s.exec.id if s.exec != NULL else 0)
    while b == NULL and pool.linger != NULL:
        b = pool.linger
        while b.next != NULL:
            b = b.next
        other = b.owner
        other.diagnostics = DIAG_GONE
        release_linger(c, other)
        if b.dead:              # too old to be lent again
            b = NULL
    if b == NULL:
        wait_for(c, s, pool)
        return
    attach(c, s, b)
    advance_now(c, s)


cdef void wait_for(Core* c, Session* s, Pool* pool) noexcept nogil:
    """Queue behind the others; the uvloop side opens a connection when limits allow."""
    if pool.nwait >= pool.queue_max:
        c.stats.pool_timeouts += 1
        s.phase = PHASE_BUSY
        reply_err(c, s, ERR_LIMIT, ERROR_QUEUE_FULL)
        return
    if not retain_command(c, s):
        s.broken = 1
        session_close(c, s)
        return
    s.phase = PHASE_WAITING
    s.pool = pool
    s.t_wait = c.now
    s.deadline = c.now + c.queue_wait_ns
    s.wait_next = NULL
    s.wait_prev = pool.wait_tail
    if pool.wait_tail != NULL:
        pool.wait_tail.wait_next = s
    else:
        pool.wait_head = s
    pool.wait_tail = s
    pool.nwait += 1
    c.stats.pool_waits += 1
    pool.stats.waits += 1
    pool.stats.want += 1
    push_pool_event(c, pool)


cdef void stop_waiting(Core* c, Session* s) noexcept nogil:
    cdef Pool* pool = s.pool
    cdef uint64_t waited = (c.now - s.t_wait) // 1000
    if s.wait_prev != NULL:
        s.wait_prev.wait_next = s.wait_next
    else:
        pool.wait_head = s.wait_next
    if s.wait_next != NULL:
        s.wait_next.wait_prev = s.wait_prev
    else:
        pool.wait_tail = s.wait_prev
    s.wait_prev = s.wait_next = NULL
    pool.nwait -= 1
    s.pool = NULL
    c.stats.pool_wait_us += waited
    pool.stats.wait_us += waited
    pool.stats.want -= 1


cdef void serve_waiters(Core* c, Pool* pool) noexcept nogil:
    """Hand idle backends to those who wait, first come first served."""
    cdef Session* s
    cdef Backend* b
    while pool.wait_head != NULL and pool.idle != NULL:
        s = pool.wait_head
        stop_waiting(c, s)
        s.phase = PHASE_BUSY
        b = pick_idle(pool, s.state, s.exec.id if s.exec != NULL else 0)
        attach(c, s, b)
        advance(c, s)


cdef void expire_waiters(Core* c, Pool* pool) noexcept nogil:
    cdef Session* s
    cdef bint away = pool.unreachable and not pool.remote and c.failover_wait_ns > c.queue_wait_ns
    while pool.wait_head != NULL and pool.wait_head.deadline <= c.now:
        s = pool.wait_head
        if away and s.t_wait + c.failover_wait_ns > c.now and s.kind == KIND_CLIENT:
            return              # those behind it have come later
        stop_waiting(c, s)
        c.stats.pool_timeouts += 1
        pool.stats.timeouts += 1
        reply_err(c, s, ERR_QUEUE_TIMEOUT, ERROR_QUEUE_TIMEOUT)


# ---------------------------------------------------------------- steps
cdef inline uint32_t diff_home(Core* c, uint32_t base, uint32_t from_state, uint32_t to_state) noexcept nogil:
    return (from_state * <uint32_t>2654435761 ^ to_state * <uint32_t>40503 ^ base * <uint32_t>97) & (c.diff_cap - 1)


cdef Diff* diff_find(Core* c, uint32_t base, uint32_t from_state, uint32_t to_state) noexcept nogil:
    cdef uint32_t i = diff_home(c, base, from_state, to_state)
    cdef uint32_t tries = 16
    while tries:
        if not c.diffs[i].used:
            return NULL
        if c.diffs[i].from_state == from_state and c.diffs[i].to_state == to_state and c.diffs[i].base == base:
            return &c.diffs[i]
        i = (i + 1) & (c.diff_cap - 1)
        tries -= 1
    return NULL


cdef inline uint8_t next_step(Core* c, Session* s, Backend* b) noexcept nogil:
    if b.state != s.state and state_differs(c, s, b):
        return STEP_STATE
    # Without autocommit MySQL begins one for information_schema, too, and savepoints belong before it.
    if s.trx == TRX_PENDING and (not s.flags & PLAN_OUTSIDE or (s.autocommit_off and s.ndeferred)):
        return STEP_BEGIN
    if s.nextra:
        return STEP_EXTRA
    if s.exec != NULL and s.command == COM_STMT_EXECUTE:
        if s.cmd[5]:
            look_at_flags(c, s)
        if not stmt_known(b, s.exec.id):
            return STEP_PREPARE
    return STEP_COMMAND


cdef inline void advance_now(Core* c, Session* s) noexcept nogil:
    """`advance`, inline for a backend that has just been borrowed."""
    cdef Backend* b = s.backend
    cdef uint8_t step = next_step(c, s, b)
    if step != STEP_COMMAND:
        start_step(c, s, step)
        return
    s.phase = PHASE_BUSY
    b.step = STEP_COMMAND
    if not send_command(c, s, b):
        backend_gone(c, b)


cdef void advance(Core* c, Session* s) noexcept nogil:
    """The attached backend is free: do what must come before the command, or send the command."""
    advance_now(c, s)


cdef bint state_differs(Core* c, Session* s, Backend* b) noexcept nogil:
    """Two states between which no packet is needed are one: the backend simply takes the other's number."""
    cdef Diff* d = diff_find(c, b.pool.base, b.state, s.state)
    if d == NULL or d.count:
        return True
    b.state = s.state
    return False


cdef void start_step(Core* c, Session* s, uint8_t step) noexcept nogil:
    """Send what comes before the command, or behind it; never the command itself."""
    cdef Backend* b = s.backend
    cdef bint sent
    if not retain_command(c, s):
        s.broken = 1
        session_close(c, s)
        return
    if step == STEP_BEGIN and s.once.len:
        step = STEP_ONCE
    s.phase = PHASE_BUSY
    b.step = step
    b.step_index = 0
    if step == STEP_STATE:
        if diff_find(c, b.pool.base, b.state, s.state) == NULL:
            park_for_diff(c, s)
            return
        c.stats.state_switches += 1
        b.want_state = s.state
        sent = send_diff(c, b, diff_find(c, b.pool.base, b.state, s.state))
    elif step == STEP_ONCE:
        sent = send_once(c, s, b)
    elif step == STEP_BEGIN:
        sent = send_framed(c, b, EXPECT_QUERY, buf_head(&c.begins[s.begin]), c.begins[s.begin].len)
    elif step == STEP_EXTRA:
        sent = send_extra(c, s, b)
    elif step == STEP_PREPARE:
        c.stats.stmt_prepares += 1
        sent = send_framed(c, b, EXPECT_PREPARE, s.exec.text, s.exec.text_len)
    elif step == STEP_COMMIT:
        # The session's completion_type may be another.
        sent = send_framed(
            c, b, EXPECT_QUERY, <const uint8_t*>b"\x1f\x00\x00\x00\x03COMMIT AND NO CHAIN NO RELEASE", 35
        )
    elif step == STEP_ASK:
        sent = ask_id(c, b)
    else:
        sent = send_framed(c, b, EXPECT_OK, <const uint8_t*>b"\x01\x00\x00\x00\x0e", 5)
    if not sent:
        backend_gone(c, b)


cdef void park_for_diff(Core* c, Session* s) noexcept nogil:
    """The way between two states is not known yet: ask the uvloop side; the backend stays attached."""
    s.awaiting_way = 1
    park(c, s, PARK_SESSION)


cdef inline bint send_framed(Core* c, Backend* b, uint8_t expect, const uint8_t* p, size_t n) noexcept nogil:
    if b.attributes and p[4] == COM_QUERY:
        return send_headed(c, b, expect, <uint8_t*>p, n)
    return send_bytes(c, b, expect, p, n)


cdef inline bint send_bytes(Core* c, Backend* b, uint8_t expect, const uint8_t* p, size_t n) noexcept nogil:
    """These very bytes."""
    scan_begin(&b.scan, expect, b.pool.capclass & 1, TRACK_STOP)
    b.busy = 1
    return backend_send(c, b, p, n)


cdef bint send_diff(Core* c, Backend* b, Diff* d) noexcept nogil:
    return send_framed(c, b, EXPECT_OK, d.packets[b.step_index], d.length[b.step_index])


cdef bint send_once(Core* c, Session* s, Backend* b) noexcept nogil:
    cdef size_t n = get24(buf_head(&s.once)) + 4
    cdef bint sent = send_framed(c, b, EXPECT_OK, buf_head(&s.once), n) \
        and buf_append(&s.once_used, buf_head(&s.once), n)
    s.marked = 1
    buf_consume(&s.once, n)
    return sent


cdef void unmark(Session* s) noexcept nogil:
    """The transaction is over."""
    buf_free(&s.once_used)
    s.marked = 0


cdef bint send_extra(Core* c, Session* s, Backend* b) noexcept nogil:
    cdef size_t n = get24(buf_head(&s.extra)) + 4
    cdef bint sent = send_framed(c, b, EXPECT_OK, buf_head(&s.extra), n)
    buf_consume(&s.extra, n)
    s.nextra -= 1
    return sent


cdef inline bint send_command(Core* c, Session* s, Backend* b) noexcept nogil:
    """The command's own bytes, which are not needed again."""
    cdef uint8_t expect = EXPECT_OK
    cdef bint sent
    c.now = clock_ns()
    s.t_sent = c.now
    b.served += 1
    s.response_started = 0
    b.pool.stats.bytes_in += s.cmd_len
    if s.command == COM_QUERY or s.command == COM_STMT_EXECUTE:
        expect = EXPECT_QUERY
    elif s.command == COM_STMT_PREPARE:
        expect = EXPECT_PREPARE
    elif s.command == COM_STMT_FETCH:
        return send_fetch(c, s, b)
    if s.exec != NULL and s.command == COM_STMT_EXECUTE:
        sent = send_execute(c, s, b)
    elif s.verdict != NULL and s.verdict.kind == VERDICT_SPLICED:
        sent = send_spliced(c, s, b)
    elif s.big:
        sent = send_big(c, s, b, expect)
    else:
        sent = send_framed(c, b, expect, s.cmd - 4, s.cmd_len + 4)
    if s.verdict != NULL:
        b.scan.witness = s.verdict.witness
    s.cmd = NULL
    return sent


cdef bint send_big(Core* c, Session* s, Backend* b, uint8_t expect) noexcept nogil:
    """16 MiB and more, for which a copy is made only where attributes do not fit in before it."""
    if b.attributes and s.command == COM_QUERY:
        if head_size(s, b) != BARE_HEAD or not begin_earlier(c, s, BARE_HEAD):
            return send_headed(c, b, expect, s.cmd - 4, s.cmd_len + 4)
        put_query_head(s, b, s.cmd)
    return send_expanded(c, s, b, expect)


cdef bint send_expanded(Core* c, Session* s, Backend* b, uint8_t expect) noexcept nogil:
    """Put the heads of packets back and hand the very buffer over."""
    cdef size_t total = s.cmd_len + 4 * (s.cmd_len // PACKET_MAX + 1)
    expand(s.cmd - 4, s.cmd_len)
    s.big = 0
    if s.inb.len != total:
        return send_bytes(c, b, expect, s.cmd - 4, total)
    c.stats.bytes_buffered -= s.cmd_total
    s.cmd_total = 0
    return hand_over(c, b, expect, &s.inb)


cdef bint hand_over(Core* c, Backend* b, uint8_t expect, Buf* command) noexcept nogil:
    """Send a framed command whose buffer becomes the backend's, unless that still holds something."""
    cdef bint sent
    if b.out.len:
        sent = send_bytes(c, b, expect, buf_head(command), command.len)
        buf_free(command)
        return sent
    scan_begin(&b.scan, expect, b.pool.capclass & 1, TRACK_STOP)
    b.busy = 1
    c.stats.bytes_backend_out += command.len
    b.out = command[0]
    memset(command, 0, sizeof(Buf))
    return backend_flush(c, b)


cdef inline bint send_execute(Core* c, Session* s, Backend* b) noexcept nogil:
    if s.cmd[5]:
        return send_for_cursor(c, s, b)
    return send_execution(c, s, b)


cdef inline bint send_execution(Core* c, Session* s, Backend* b) noexcept nogil:
    """COM_STMT_EXECUTE with the backend's statement id, and always with types.

    The client sends types once; another client may have bound others to the shared statement since.
    """
    cdef ClientStatement* cs = &s.stmts[s.exec_stmt - 1] if s.exec_stmt else NULL
    cdef uint32_t id = stmt_server_id(c, b, s.exec.id)
    cdef size_t head = s.exec.types_at
    cdef const uint8_t* types = NULL
    if cs != NULL and cs.long_data.len and not send_long_data(c, s, b, cs, id):
        return False
    memcpy(s.cmd + 1, &id, 4)
    if s.exec.nparams and s.cmd[head] != 1:
        types = cs.types if cs != NULL else NULL
        if types == NULL:
            return False
    if b.attributes and (s.exec.nparams or s.attributes != NULL):
        return send_named(c, s, b, types if types != NULL else s.cmd + head + 1, head)
    if types != NULL:
        return send_with_types(c, s, b, types, head)
    if s.big:
        return send_big(c, s, b, EXPECT_QUERY)
    return send_framed(c, b, EXPECT_QUERY, s.cmd - 4, s.cmd_len + 4)


cdef bint send_long_data(Core* c, Session* s, Backend* b, ClientStatement* cs, uint32_t id) noexcept nogil:
    """Send the kept COM_STMT_SEND_LONG_DATA commands with the backend's id; the server forgets them after EXECUTE."""
    cdef uint8_t* p = buf_head(&cs.long_data)
    cdef size_t at = 0
    cdef bint sent
    while at < cs.long_data.len:
        memcpy(p + at + 5, &id, 4)
        while get24(p + at) == PACKET_MAX:
            at += 4 + PACKET_MAX
        at += 4 + get24(p + at)
    sent = backend_send(c, b, p, cs.long_data.len)
    forget_long_data(c, s, cs)
    return sent


cdef bint send_with_types(Core* c, Session* s, Backend* b, const uint8_t* types, size_t head) noexcept nogil:
    """EXECUTE with `types` put behind the null bitmap, whose end is at `head`."""
    cdef size_t ntypes = 2 * s.exec.nparams
    cdef size_t n = s.cmd_len + ntypes, tail = s.cmd_len - head - 1
    cdef uint8_t* out = c.out
    if n + 4 > SCRATCH:
        return send_widened(c, s, b, types, head)
    out[0] = n & 0xff
    out[1] = (n >> 8) & 0xff
    out[2] = (n >> 16) & 0xff
    out[3] = 0
    copy_few(out + 4, s.cmd, head)
    out[4 + head] = 1
    copy_few(out + 5 + head, types, ntypes)
    copy_few(out + 5 + head + ntypes, s.cmd + head + 1, tail)
    return send_framed(c, b, EXPECT_QUERY, out, n + 4)


cdef bint send_widened(Core* c, Session* s, Backend* b, const uint8_t* types, size_t head) noexcept nogil:
    """The same for a long command, in a buffer of its own that is handed over."""
    cdef size_t ntypes = 2 * s.exec.nparams
    cdef size_t n = s.cmd_len + ntypes, total = n + 4 * (n // PACKET_MAX + 1)
    cdef Buf wide
    cdef uint8_t* p
    memset(&wide, 0, sizeof(Buf))
    if not buf_reserve(&wide, total):
        return False
    wide.len = total
    p = wide.mem + 4
    memcpy(p, s.cmd, head)
    p[head] = 1
    memcpy(p + head + 1, types, ntypes)
    memcpy(p + head + 1 + ntypes, s.cmd + head + 1, s.cmd_len - head - 1)
    expand(wide.mem, n)
    return hand_over(c, b, EXPECT_QUERY, &wide)


# ---------------------------------------------------------------- prepared statements of a backend
cdef BackendStatement* stmt_search(Backend* b, uint64_t id) noexcept nogil:
    cdef BackendStatement* way
    cdef int i
    if b.stmts == NULL:
        return NULL
    way = &b.stmts[(id & (STATEMENT_SETS - 1)) * STATEMENT_WAYS]
    for i in range(STATEMENT_WAYS):
        if way[i].id == id and way[i].state == b.state:
            b.last_stmt = &way[i]
            return &way[i]
    return NULL


cdef inline BackendStatement* stmt_slot(Backend* b, uint64_t id) noexcept nogil:
    """The statement as prepared in the state that the backend is in now."""
    cdef BackendStatement* last = b.last_stmt
    if last != NULL and last.id == id and last.state == b.state:
        return last
    return stmt_search(b, id)


cdef inline bint stmt_known(Backend* b, uint64_t id) noexcept nogil:
    return stmt_slot(b, id) != NULL


cdef uint32_t stmt_server_id(Core* c, Backend* b, uint64_t id) noexcept nogil:
    cdef BackendStatement* slot = stmt_slot(b, id)
    if slot == NULL:
        return 0
    c.statement_clock += 1
    slot.used = c.statement_clock
    return slot.server_id


cdef bint stmt_learn(Core* c, Backend* b, uint64_t id, uint32_t server_id) noexcept nogil:
    """Remember that the backend holds the statement; the least used one of its set is closed there."""
    cdef BackendStatement* way
    cdef BackendStatement* victim
    cdef int i
    if b.stmts == NULL:
        b.stmts = <BackendStatement*>calloc(STATEMENT_SETS * STATEMENT_WAYS, sizeof(BackendStatement))
        if b.stmts == NULL:
            return False
    way = &b.stmts[(id & (STATEMENT_SETS - 1)) * STATEMENT_WAYS]
    victim = &way[0]
    for i in range(STATEMENT_WAYS):
        if way[i].id == 0:
            victim = &way[i]
            break
        if way[i].used < victim.used:
            victim = &way[i]
    if victim.id and not close_statement(c, b, victim.server_id):
        return False
    c.statement_clock += 1
    victim.id = id
    victim.server_id = server_id
    victim.state = b.state
    victim.used = c.statement_clock
    return True


# ---------------------------------------------------------------- responses
cdef void backend_pump(Core* c, Backend* b) noexcept nogil:
    """Read a response and pass it on, until it ends, the socket is dry, the client is slow or the budget is spent."""
    cdef int budget = READ_BUDGET
    cdef size_t room, have, passed = 0
    cdef ssize_t n
    cdef int result
    while not b.dead:
        if not b.busy:
            if b.readable:
                backend_unexpected(c, b)
            return
        if b.step == STEP_COMMAND and client_blocked(b.owner):
            return
        if not b.readable:
            return
        if budget == 0:
            ready_backend(c, b)
            return
        budget -= 1
        have = b.carry.len
        if have:
            memcpy(c.scratch, buf_head(&b.carry), have)
        room = SCRATCH - have
        n = recv(b.fd, c.scratch + have, room, 0)
        c.stats.receives += 1
        if n <= 0:
            b.readable = 0
            if n == 0 or (errno != EAGAIN and errno != EINTR):
                backend_gone(c, b)
            return
        c.now = clock_ns()
        b.readable = n == <ssize_t>room or b.ended
        c.stats.bytes_backend_in += n
        if have:
            buf_free(&b.carry)
        have += n
        result = scan(&b.scan, c.scratch, have, &passed)
        if result < SCAN_MALFORMED:
            if result == SCAN_FILE:
                begin_upload(c, b, passed, have)
                continue
            result = scan_on(c, b, result, &have, &passed)
            if b.dead:
                return
        if result == SCAN_COMPLETE:
            if passed < have or b.out.len:
                # More than one answer, or one to a command that it has not read to its end.
                backend_lost(c, b)
                return
        elif b.step == STEP_ASK and result == SCAN_MORE:
            passed = 0          # it is read as a whole
            scan_begin(&b.scan, EXPECT_QUERY, b.pool.capclass & 1, TRACK_STOP)
            if not buf_append(&b.carry, c.scratch, have):
                backend_lost(c, b)
                return
        elif result == SCAN_MALFORMED or (passed == 0 and have == SCRATCH) \
                or not buf_append(&b.carry, c.scratch + passed, have - passed):
            backend_lost(c, b)
            return
        if b.step == STEP_COMMAND:
            relay_response(c, b, passed, result == SCAN_COMPLETE)
        elif result == SCAN_COMPLETE:
            step_done(c, b)


cdef void backend_unexpected(Core* c, Backend* b) noexcept nogil:
    """Bytes or the end of file where nothing was asked: the server closed the connection, or speaks out of turn."""
    cdef uint8_t probe
    cdef ssize_t n = recv(b.fd, &probe, 1, 0)
    b.readable = 0
    if n < 0 and (errno == EAGAIN or errno == EINTR):
        return
    backend_lost(c, b)


cdef inline bint ends_with_ok(Backend* b) noexcept nogil:
    if b.scan.outcome == OUTCOME_ROWS:
        return b.pool.capclass & 1
    return b.scan.outcome == OUTCOME_OK


cdef enum:
    WATCHED = PLAN_GUARDED | PLAN_AUDIT | PLAN_LOAD | PLAN_OUTSIDE | PLAN_CURSOR | PLAN_PRESET | PLAN_ASK_ID
    # What has more at the end of its answer than the answer; with PLAN_GUARDED alone only an error has.


cdef inline void relay_response(Core* c, Backend* b, size_t passed, bint complete) noexcept nogil:
    """Pass on what the scanner let through: the client's own command's answer."""
    cdef Session* s = b.owner
    cdef size_t n = passed
    if complete and ends_with_ok(b) and b.scan.final_length > 4:
        n = learn_changes(c, s, b, n)
    s.response_started = 1
    b.pool.stats.bytes_out += n
    if not complete:
        s.partial = b.scan.skip != 0 or b.scan.continued
        client_send(c, s, c.scratch, n)
        if s.broken:
            session_close(c, s)
        return
    b.busy = 0
    learn_outcome(s, b)
    # The answer goes out before the books are kept; the backend is not shared until then.
    if s.flags & WATCHED and (s.flags & (WATCHED & ~PLAN_GUARDED) or b.scan.outcome == OUTCOME_ERR):
        send_watched(c, s, b, n)
    else:
        send_now(c, s, c.scratch, n)
    command_done(c, s, b)


cdef int scan_on(Core* c, Backend* b, int result, size_t* have, size_t* passed) noexcept nogil:
    """The scan has stopped on its way: do what it has stopped for, and go on behind it."""
    cdef size_t cut
    while result == SCAN_TOLD or result == SCAN_FORBIDDEN:
        if result == SCAN_TOLD:
            cut = passed[0]
            pass_told(c, b, cut)
        else:
            deny_result(c, b, passed[0])
            cut = b.scan.forbidden_at
        if b.dead:
            return SCAN_MORE
        have[0] -= cut
        memmove(c.scratch, c.scratch + cut, have[0])
        result = scan(&b.scan, c.scratch, have[0], passed)
    return result


cdef void pass_told(Core* c, Backend* b, size_t n) noexcept nogil:
    """What came up to the end of one result of several, which says what has changed in the session."""
    cdef Session* s = b.owner
    n = learn_changes(c, s, b, n)
    if b.step != STEP_COMMAND:
        return
    s.response_started = 1
    s.partial = 0
    b.pool.stats.bytes_out += n
    client_send(c, s, c.scratch, n)
    if s.broken:
        session_close(c, s)


cdef void deny_result(Core* c, Backend* b, size_t passed) noexcept nogil:
    """A column of the answer is not among those that the proof knows: the client gets an error in its place.

    The server's answer is read to its end, so that transaction and connection stay.
    """
    cdef Session* s = b.owner
    cdef uint8_t packet[ERROR_ROOM + 4]
    cdef size_t n = put_err(c, packet, c.scratch[passed + 3], ERROR_WITNESS, s.shard)
    b.scan.witness = NULL
    b.step = STEP_DENIED
    c.stats.errors_by_class[ERR_POLICY] += 1
    if passed:
        client_send(c, s, c.scratch, passed)
    s.response_started = 1
    s.partial = 0
    keep_own_error(s, packet + 4, n - 4)
    client_send(c, s, packet, n)


cdef void send_watched(Core* c, Session* s, Backend* b, size_t n) noexcept nogil:
    """The end of an answer whose error text is kept back, of which a record is kept, for which a file was sent, behind
    which a cursor may be open, or that does not know of the session's transaction."""
    if s.trx == TRX_PENDING and b.scan.outcome != OUTCOME_ERR and not has_ended_pending(s, b):
        add_status(c.scratch + b.scan.final_offset, b.scan.final_length, b.pool.capclass & 1,
                   session_status(s) & (SERVER_STATUS_IN_TRANS | SERVER_STATUS_IN_TRANS_READONLY))
    if s.flags & PLAN_GUARDED and b.scan.outcome == OUTCOME_ERR:
        send_guarded(c, s, b)
    else:
        client_send(c, s, c.scratch, n)
    s.record_rows = b.scan.rows
    s.record_error = b.scan.error_code
    give_up_upload(s)
    if s.flags & PLAN_ASK_ID:
        ids_changed(s, b)
    elif s.flags & PLAN_PRESET and not b.scan.insert_id and not b.suspect & SUSPECT_ID:
        b.last_id = s.insert_id
    if s.flags & PLAN_CURSOR:
        cursor_answered(c, s, b)


cdef inline bint has_ended_pending(Session* s, Backend* b) noexcept nogil:
    """SET autocommit = 1 where it was 0 commits what has been begun."""
    return s.flags & PLAN_TRACKED and s.autocommit_off and b.scan.status & SERVER_STATUS_AUTOCOMMIT


cdef inline bint may_keep_diagnostics(Session* s, Backend* b) noexcept nogil:
    """May this statement have read no table? The end of a transaction reads none."""
    return s.flags & (PLAN_OUTSIDE | PLAN_OPAQUE) or (s.trx == TRX_ACTIVE and not b.status & SERVER_STATUS_IN_TRANS)


cdef void send_guarded(Core* c, Session* s, Backend* b) noexcept nogil:
    """The rows that came before it, and the server's error in words of ours."""
    cdef uint8_t packet[ERROR_ROOM + 4]
    cdef size_t n = put_guarded(c, s, b, packet, c.scratch[b.scan.final_offset + 3])
    if b.scan.final_offset:
        client_send(c, s, c.scratch, b.scan.final_offset)
    client_send(c, s, packet, n)


cdef size_t put_guarded(Core* c, Session* s, Backend* b, uint8_t* packet, uint8_t seq) noexcept nogil:
    """The server's error with its number and SQLSTATE, and a text of ours: the server's may hold values."""
    cdef const uint8_t* final = c.scratch + b.scan.final_offset
    cdef size_t n = put_err(c, packet, seq, ERROR_GUARDED, s.shard)
    memcpy(packet + 5, final + 5, 2)
    if b.scan.final_length >= 13 and final[7] == 35:    # '#'
        memcpy(packet + 7, final + 7, 6)
    return n


cdef inline void learn_found_rows(Session* s, Backend* b) noexcept nogil:
    if s.flags & PLAN_COUNTED:
        s.found_rows = b.scan.rows
    elif not s.flags & PLAN_UNCOUNTED:
        s.found_rows = FOUND_UNKNOWN


cdef inline void learn_outcome(Session* s, Backend* b) noexcept nogil:
    """What the session remembers of its last statement."""
    if b.scan.outcome == OUTCOME_ERR:
        note_error(s, SERVER_ERROR, DIAG_HERE)
        s.found_rows = FOUND_UNKNOWN
        if s.flags & (PLAN_INSERTS | PLAN_PRESET | PLAN_ASK_ID):
            ids_changed(s, b)
        return
    if b.scan.outcome != OUTCOME_PREPARED:
        b.status = s.status = b.scan.status
        learn_found_rows(s, b)
    s.affected = b.scan.affected if b.scan.outcome == OUTCOME_OK else <uint64_t>-1
    if not s.flags & PLAN_WARNINGS:     # which shows them, and leaves them as they are
        if b.scan.warnings == 0 and s.lexmode & MODE_MARIADB and has_diagnostics(s) and may_keep_diagnostics(s, b):
            s.diagnostics = DIAG_UNSURE
        else:
            s.diagnostics = DIAG_HERE
        s.last_error = NO_ERROR
        s.warnings = b.scan.warnings
    if b.scan.insert_id:
        ids_changed(s, b)


cdef inline void count_query(Core* c, Session* s, bint error) noexcept nogil:
    """Digest and slow log of the command that ends now."""
    cdef uint64_t us = (c.now - s.t_received) // 1000
    digest_add(digest_at(c.digests, s.digest, s.digest_generation), LANE_RELAY, c.now, us, error,
               <uint32_t>s.shard if s.shard >= 0 else 0, s.bytes_out)
    if us >= c.slow_us:
        log_slow(c, s, us)


cdef void count_reply(Core* c, Session* s, bint error) noexcept nogil:
    """Digest of a command that the event loop has answered, by whose thread this is called."""
    cdef uint64_t now
    if s.digest:
        now = clock_ns()
        digest_count(digest_at(c.digests, s.digest, s.digest_generation), LANE_LOOP, now,
                     (now - s.t_received) // 1000, error, s.digest_shards, s.bytes_out)
    s.digest_shards = 0


cdef void log_slow(Core* c, Session* s, uint64_t us) noexcept nogil:
    cdef SlowEntry entry
    memset(&entry, 0, sizeof(entry))
    entry.ts_ns = c.now
    entry.fingerprint = s.fingerprint
    entry.total_us = us
    entry.backend_us = (c.now - s.t_sent) // 1000 if s.t_sent else 0
    entry.wait_us = (s.t_sent - s.t_wait) // 1000 if s.t_wait and s.t_sent > s.t_wait else 0
    entry.bytes_out = s.bytes_out
    entry.session = s.index
    entry.digest = s.digest
    entry.generation = s.digest_generation
    entry.shard = <uint16_t>s.shard if s.shard >= 0 else 0xffff
    entry.user = <uint16_t>s.user
    entry.flags = (SLOW_PREPARED if s.exec != NULL else 0) | (SLOW_REPLICA if s.role else 0) \
        | (SLOW_TRANSACTION if s.trx else 0)
    slow_add(c.header, c.slow, &entry)


cdef inline void command_done(Core* c, Session* s, Backend* b) noexcept nogil:
    """The response is complete and on its way: count, learn what state the backend is in, give it back or keep it."""
    cdef ShardStats* shard = b.pool.stats
    cdef bint error = b.scan.outcome == OUTCOME_ERR
    cdef uint64_t done = c.now
    shard.queries += 1
    histogram_add(&shard.backend, (done - s.t_sent) // 1000)
    histogram_add(&shard.proxy, ((s.t_wait if s.t_wait else s.t_sent) - s.t_received) // 1000)
    if error:
        if b.scan.error_code == ER_OPTION_PREVENTS_STATEMENT or b.scan.error_code == ER_READ_ONLY_MODE:
            b.pool.read_only = 1
            push_pool_event(c, b.pool)
        shard.errors += 1
        c.stats.errors_by_class[ERR_BACKEND] += 1
    count_query(c, s, error)
    if s.cmd_pins and not (error and nothing_ran(s, b.scan.error_code)):
        add_pins(c, s, s.cmd_pins)      # an error may have left a part of it behind
    if error and (s.trx == TRX_ACTIVE or s.autocommit_off or s.flags & PLAN_OPAQUE):
        start_step(c, s, STEP_PROBE)
        return
    if b.scan.outcome == OUTCOME_PREPARED and not close_prepared(c, b):
        b.step = STEP_PROBE     # the client has its answer
        backend_gone(c, b)
        return
    settle(c, s, b)


cdef inline bint nothing_ran(Session* s, uint16_t code) noexcept nogil:
    """Did the server refuse the text before it executed any of it? A procedure may say the same of its own text."""
    return not s.flags & PLAN_OPAQUE and (code == ER_PARSE_ERROR or code == ER_UNKNOWN_SYSTEM_VARIABLE)


cdef bint close_prepared(Core* c, Backend* b) noexcept nogil:
    """COM_STMT_PREPARE was asked for its metadata only; executions prepare by a step of their own."""
    return close_statement(c, b, b.scan.stmt_id)


cdef void add_pins(Core* c, Session* s, uint32_t pins) noexcept nogil:
    cdef int i
    for i in range(16):
        if pins >> i & 1 and not s.pins >> i & 1:
            c.stats.pins_by_reason[i] += 1
            c.stats.pins_total_by_reason[i] += 1
    s.pins |= pins


cdef void drop_pins(Core* c, Session* s) noexcept nogil:
    """All of them, and the cursors with their backend."""
    clear_pins(c, s)
    if s.ncursors:
        forget_cursors(c, s)


cdef void clear_pins(Core* c, Session* s) noexcept nogil:
    cdef int i
    for i in range(16):
        if s.pins >> i & 1:
            c.stats.pins_by_reason[i] -= 1
    s.pins = 0


cdef inline void settle(Core* c, Session* s, Backend* b) noexcept nogil:
    """The backend's status is known. Keep it for the transaction or the pin, or return it, proven idle."""
    if b.status & SERVER_STATUS_IN_TRANS:
        set_trx(c, s, TRX_ACTIVE)
    else:
        if s.trx == TRX_ACTIVE:
            set_trx(c, s, TRX_NONE)
            if s.marked:
                unmark(s)
        if s.behind & BEHIND_HOLD and s.flags & PLAN_TRACKED:
            # The uvloop side knows in which state this has left the backend, and says so before `release`.
            b.suspect |= SUSPECT_STATE if not s.last_error else 0
        else:
            if not settle_idle(c, s, b):
                return
    end_now(c, s)


cdef inline bint settle_idle(Core* c, Session* s, Backend* b) noexcept nogil:
    """No transaction is open. False when the command goes on, since the backend is asked something."""
    cdef int suspect
    if b.suspect & (SUSPECT_STATE | SUSPECT_ID):
        suspect = settle_suspect(c, s, b)
        if suspect:
            return suspect == SUSPECT_CLOSED
    if s.pins == 0:
        if lets_go(s):
            detach(c, s)
        else:
            keep_lingering(c, s)
    return True


cdef inline bint lets_go(Session* s) noexcept nogil:
    """Is there nothing that SHOW WARNINGS could ask this backend for?"""
    return (s.warnings == 0 and not s.last_error) or s.broken or s.kind == KIND_LEASE or s.draining == DRAIN_CLOSE \
        or s.diagnostics != DIAG_HERE


cdef enum:
    SUSPECT_CLOSED = 1
    SUSPECT_ASKED = 2


cdef int settle_suspect(Core* c, Session* s, Backend* b) noexcept nogil:
    """SUSPECT_CLOSED, SUSPECT_ASKED (for LAST_INSERT_ID()), or 0: it is settled as others are."""
    if b.suspect & SUSPECT_STATE:
        if s.pins == 0 and b.pool != primary_pool(c, s, b.pool.shard):
            backend_close(c, b)     # a session bound to a replica could write there
            return SUSPECT_CLOSED
        add_pins(c, s, 1 << PIN_UNKNOWN_STATE)
    if b.suspect & SUSPECT_ID and s.pins == 0 and lets_go(s):
        start_step(c, s, STEP_ASK)
        return SUSPECT_ASKED
    return 0


cdef void step_done(Core* c, Backend* b) noexcept nogil:
    """A swallowed response is complete."""
    cdef Session* s = b.owner
    cdef Diff* d
    b.busy = 0
    if b.step == STEP_DENIED:
        if b.scan.outcome != OUTCOME_ERR:
            b.status = s.status = b.scan.status
        command_done(c, s, b)
        return
    if b.scan.outcome == OUTCOME_ERR:
        step_failed(c, s, b)
        return
    if b.scan.outcome != OUTCOME_PREPARED:
        b.status = b.scan.status
    if b.step == STEP_STATE:
        d = diff_find(c, b.pool.base, b.state, b.want_state)
        if d == NULL:
            # The way was forgotten half way through: all of it is asked for, and gone, again.
            advance(c, s)
            return
        b.step_index += 1
        if b.step_index < d.count:
            if not send_diff(c, b, d):
                backend_gone(c, b)
            return
        b.state = b.want_state
    elif b.step == STEP_ONCE:
        if s.once.len == 0 and s.begin == BEGIN_NOTHING:
            b.suspect |= SUSPECT_ONCE   # a statement that fails, or reads no table, does not use it up
            drop_pending(c, s)
            if not s.autocommit_off:
                unmark(s)
    elif b.step == STEP_BEGIN:
        set_trx(c, s, TRX_ACTIVE)
        replay_deferred(c, s)
    elif b.step == STEP_PREPARE:
        if not stmt_learn(c, b, s.exec.id, b.scan.stmt_id):
            backend_gone(c, b)
            return
    elif b.step == STEP_COMMIT:
        set_trx(c, s, TRX_NONE)
        unmark(s)
        if b.suspect & SUSPECT_STATE:
            add_pins(c, s, 1 << PIN_UNKNOWN_STATE)
        if s.pins == 0:
            detach(c, s)
        set_trx(c, s, TRX_PENDING)
        # Of what this has ended the client is told of here, but not that it has: another one begins.
        reply_told(c, s, c.scratch + b.scan.track_offset, b.scan.track_length, s.changes & CHANGE_GTIDS)
        return
    elif b.step == STEP_PROBE:
        settle(c, s, b)
        return
    elif b.step == STEP_ASK:
        id_told(s, b, c.scratch, b.scan.final_offset)
        if s.cmd == NULL:
            settle(c, s, b)
        else:
            if s.trx != TRX_ACTIVE and s.pins == 0:
                detach(c, s)
            s.phase = PHASE_PARKED
            c.stats.parked += 1
            s.resumed = 1
            ready_session(c, s)
        return
    advance(c, s)


cdef void replay_deferred(Core* c, Session* s) noexcept nogil:
    """The transaction has its shard now: SAVEPOINTs that came before go there before the statement."""
    if s.ndeferred == 0:
        return
    s.marked = 1
    if buf_append(&s.deferred, buf_head(&s.extra), s.extra.len):
        buf_free(&s.extra)
        s.extra = s.deferred
        s.nextra += s.ndeferred
    else:
        buf_free(&s.deferred)
        s.hangup = 1
    memset(&s.deferred, 0, sizeof(Buf))
    s.ndeferred = 0


cdef void step_failed(Core* c, Session* s, Backend* b) noexcept nogil:
    """The server refused what had to come first: its error is the statement's answer.

    After a failed state change the backend's state is unknown, so it is closed.
    """
    cdef uint8_t step = b.step
    cdef size_t n = b.scan.final_length
    if s.flags & PLAN_GUARDED:
        n = put_guarded(c, s, b, c.out, first_seq(s))
    else:
        memcpy(c.out, c.scratch + b.scan.final_offset, n)
        c.out[3] = first_seq(s)
    c.stats.errors_by_class[ERR_BACKEND] += 1
    note_error(s, SERVER_ERROR, DIAG_GONE)
    s.record_error = b.scan.error_code
    if step == STEP_PROBE or step == STEP_ASK:
        backend_lost(c, b)
        return
    client_send(c, s, c.out, n)
    if step == STEP_STATE or step == STEP_EXTRA:
        s.hangup |= s.trx == TRX_ACTIVE or s.pins != 0
        backend_close(c, b)
        lose_transaction(c, s)
        end_command(c, s)
    else:
        # The client has its error; ask the backend whether a transaction is open before it is shared. A deferred
        # BEGIN that failed stays deferred: nothing may run outside of the transaction that the client began.
        start_step(c, s, STEP_PROBE)


cdef void note_position(Core* c, Session* s, Backend* b, const uint8_t* text, size_t n) noexcept nogil:
    """`domain-server-sequence` (MariaDB) or `uuid[:tag]:interval` (MySQL) -> the session's position on the shard.

    The source is what stands before the sequence: the writing server within its domain, or the uuid (and tag).
    """
    cdef size_t end, sep
    cdef uint64_t sequence = 0, packed
    cdef size_t i
    cdef int32_t shard = b.pool.shard
    if s.consistency != 1 or n == 0 or b.pool.remote:
        return
    sep = n
    while sep > 0 and c'0' <= text[sep - 1] <= c'9':
        sep -= 1
    for i in range(sep, n):
        sequence = sequence * 10 + (text[i] - c'0')
    if sep == 0:
        return
    end = sep - 1
    for i in range(sep - 1, 0, -1):
        if text[i] == c':':     # MySQL: behind the last colon stands an interval, n or m-n
            end = i
            break
    packed = position_pack(position_source(text, end), sequence)
    if s.user < c.nusers and c.user_positions[s.user] != NULL:
        position_max(&c.user_positions[s.user][shard], packed)
        return
    if s.positions == NULL:
        s.positions = <uint64_t*>calloc(c.nroutes, 8)
    if s.positions != NULL:
        s.positions[shard] = packed


cdef inline uint32_t position_source(const uint8_t* text, size_t n) noexcept nogil:
    """16 bits that stand for a source in every worker alike; never 0, which means no position."""
    cdef uint32_t source = <uint32_t>(xxh64(text, n, 0) >> 48)
    return source if source else 1


# ---------------------------------------------------------------- losing a backend, closing a session
cdef void backend_gone(Core* c, Backend* b) noexcept nogil:
    """The server closed it: there is no thread left that a KILL could mean, and its number may be another's."""
    b.thread_id = 0
    backend_lost(c, b)


cdef void backend_lost(Core* c, Backend* b) noexcept nogil:
    """The connection failed. Its session gets an error that says what is known; never another's bytes."""
    cdef Session* s = b.owner
    cdef bint bound
    c.stats.backend_lost += 1
    b.pool.stats.lost += 1
    if s == NULL or s.linger:
        backend_close(c, b)
        return
    bound = s.trx == TRX_ACTIVE or s.pins != 0
    if s.phase == PHASE_BUSY and b.step != STEP_PROBE and not (b.step == STEP_ASK and s.cmd == NULL):
        fail_command(c, s, b, bound)
        return
    backend_close(c, b)
    lose_transaction(c, s)
    if s.phase == PHASE_BUSY:
        s.hangup |= bound       # the client has its answer
        end_command(c, s)
    elif s.phase == PHASE_PARKED and s.cmd != NULL:
        if bound:
            fail_parked(c, s)   # else it goes to another backend
    elif s.kind == KIND_LEASE:
        s.hangup = 1            # its next command is answered with the error
    else:
        # Between two commands: a transaction or a pin went with it, so the client must not go on unaware.
        session_kill(c, s)


cdef void lose_transaction(Core* c, Session* s) noexcept nogil:
    """What the backend held is gone. A transaction that had not reached it is not."""
    if s.trx == TRX_ACTIVE:
        set_trx(c, s, TRX_NONE)
        unmark(s)
    drop_pins(c, s)


cdef void fail_parked(Core* c, Session* s) noexcept nogil:
    """The parked command would run outside of its transaction. The uvloop side's answer will come too late."""
    unpark(c, s)
    s.phase = PHASE_BUSY
    s.hangup = 1
    s.partial |= s.response_started
    reply_err(c, s, ERR_BACKEND_LOST, ERROR_LOST_IDLE)


cdef void fail_command(Core* c, Session* s, Backend* b, bint bound) noexcept nogil:
    """Answer the running command with error 2013. Inside a transaction the connection is closed behind it."""
    cdef uint8_t seq = <uint8_t>(b.scan.seq + 1) if s.response_started else first_seq(s)
    cdef uint8_t kind = lost_kind(s, b, bound)
    s.record_rows = b.scan.rows if b.step == STEP_COMMAND else 0
    c.stats.errors_by_class[ERR_BACKEND_LOST if kind == ERROR_LOST_READ else ERR_UNKNOWN_OUTCOME] += 1
    if not b.scan.forbidden:    # else it has its error
        send_err(c, s, seq, kind)
    backend_close(c, b)
    lose_transaction(c, s)
    count_query(c, s, True)
    s.hangup |= bound
    give_up_upload(s)
    end_command(c, s)


cdef uint8_t lost_kind(Session* s, Backend* b, bint bound) noexcept nogil:
    """What is known about the command that was running. DDL and what is not understood may commit by itself."""
    if b.step == STEP_COMMIT or (b.step == STEP_COMMAND and s.committing):
        return ERROR_LOST_COMMIT
    if b.step == STEP_COMMAND and (s.flags & (PLAN_OPAQUE | PLAN_NOTIFY)
                                   or (s.flags & PLAN_WRITES and s.trx != TRX_ACTIVE)):
        return ERROR_LOST_WRITE
    return ERROR_LOST_IDLE if bound else ERROR_LOST_READ


cdef void session_kill(Core* c, Session* s) noexcept nogil:
    """Tell an idle client why it is disconnected, then do it."""
    cdef uint8_t packet[1028]
    client_send(c, s, packet, put_err(c, packet, 0, ERROR_LOST_IDLE, s.shard))
    session_close(c, s)


cdef void session_close(Core* c, Session* s) noexcept nogil:
    """Close the descriptor and let go of everything but the struct, which waits for the uvloop side."""
    cdef uint8_t phase = s.phase
    if phase == PHASE_CLOSED:
        return
    if s.behind & BEHIND_RECORD:
        if s.backend != NULL and s.backend.step == STEP_COMMAND:
            s.record_rows = s.backend.scan.rows
        push_record(c, s, RECORD_CUT)
    s.cmd_total = 0
    s.exec_stmt = 0
    s.uploading = 0
    if phase == PHASE_WAITING:
        stop_waiting(c, s)
    elif phase == PHASE_PARKED:
        unpark(c, s)
    s.exec = NULL
    close_or_release(c, s)
    set_trx(c, s, TRX_NONE)
    drop_pins(c, s)
    s.phase = PHASE_CLOSED
    if s.script != NULL:
        script_end(c, s)
    c.stats.bytes_buffered -= s.inb.len + s.out.len + s.file.len
    if s.kind == KIND_CLIENT:
        if s.fd >= 0:           # not given back
            close(s.fd)
        s.fd = -1
        c.stats.clients_connected -= 1
    buf_free(&s.inb)
    buf_free(&s.out)
    buf_free(&s.extra)
    buf_free(&s.file)
    drop_verdict(c, s)
    push_event(c, s, EVENT_CLOSED)
