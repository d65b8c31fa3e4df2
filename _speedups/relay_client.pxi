# From a client's bytes to a command, and from a command to a shard. Included by relay.pyx.

cdef enum:
    COM_QUIT = 0x01
    COM_INIT_DB = 0x02
    COM_QUERY = 0x03
    COM_PING = 0x0e
    COM_STMT_PREPARE = 0x16
    COM_STMT_EXECUTE = 0x17
    COM_STMT_SEND_LONG_DATA = 0x18
    COM_STMT_CLOSE = 0x19
    COM_STMT_RESET = 0x1a
    COM_STMT_FETCH = 0x1c
    COM_RESET_CONNECTION = 0x1f
    PACKET_MAX = 0xffffff
    READ_BUDGET = 8             # receives of one descriptor before others have their turn


cdef inline uint32_t get32(const uint8_t* p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)


cdef inline uint32_t get24(const uint8_t* p) noexcept nogil:
    """The length in a packet head, of which all four bytes are there: one load."""
    return get32(p) & 0xffffff


cdef size_t command_size(const uint8_t* p, size_t n, size_t* need) noexcept nogil:
    """Framed size of the command at `p` (several packets when it is 16 MiB or more), 0 while incomplete.

    `need` receives how many bytes it takes at least.
    """
    cdef size_t at = 0
    cdef uint32_t length
    while True:
        if n - at < 4:
            need[0] = at + 4
            return 0
        length = get24(p + at)
        at += 4 + length
        if n < at:
            need[0] = at if length < PACKET_MAX else at + 4
            return 0
        if length < PACKET_MAX:
            return at


cdef size_t compact(uint8_t* p, size_t total) noexcept nogil:
    """Make the payload of a command of several packets contiguous behind its first head; its length."""
    cdef size_t at = 4 + PACKET_MAX, end = 4 + PACKET_MAX
    cdef uint32_t length
    while at < total:
        length = get24(p + at)
        memmove(p + end, p + at + 4, length)
        end += length
        at += 4 + length
    return end - 4


cdef void expand(uint8_t* p, size_t length) noexcept nogil:
    """The reverse: put the heads back, last packet first. There is room, since they were there before."""
    cdef size_t packets = length // PACKET_MAX + 1
    cdef size_t i = packets - 1, size
    while True:
        size = length - i * PACKET_MAX if i == packets - 1 else PACKET_MAX
        if i:
            memmove(p + i * (PACKET_MAX + 4) + 4, p + 4 + i * PACKET_MAX, size)
        p[i * (PACKET_MAX + 4)] = size & 0xff
        p[i * (PACKET_MAX + 4) + 1] = (size >> 8) & 0xff
        p[i * (PACKET_MAX + 4) + 2] = (size >> 16) & 0xff
        p[i * (PACKET_MAX + 4) + 3] = i & 0xff
        if i == 0:
            return
        i -= 1


cdef inline ssize_t client_receive(Core* c, Session* s, uint8_t* p, size_t room) noexcept nogil:
    """One receive; 0 when there is nothing to do with it (no bytes, or the client is gone: `broken`)."""
    cdef ssize_t n = recv(s.fd, p, room, 0)
    c.stats.receives += 1
    if n > 0:
        c.now = clock_ns()
        s.readable = n == <ssize_t>room or s.ended
        c.stats.bytes_client_in += n
        return n
    s.readable = 0
    if n == 0 or (errno != EAGAIN and errno != EINTR):
        s.broken = 1
    return 0


cdef void client_pump(Core* c, Session* s) noexcept nogil:
    """Take commands until one has to be waited for, the socket is dry, or the budget is spent."""
    cdef int budget = READ_BUDGET
    cdef size_t total, need = 0, room
    cdef ssize_t n
    while s.phase == PHASE_IDLE:
        if s.out.len and not s.broken:
            return              # who does not take its answers gives no commands
        if s.hangup:
            session_close(c, s)
            return
        if s.inb.len:
            total = command_size(buf_head(&s.inb), s.inb.len, &need)
            if total:
                s.cmd_total = total
                begin_command(c, s, buf_head(&s.inb), total)
                continue
            if need > c.max_packet + 4:
                packet_too_large(c, s)
                return
        if s.broken:
            session_close(c, s)
            return
        if not s.readable:
            return
        if budget == 0:
            ready_session(c, s)
            return
        budget -= 1
        if s.inb.len == 0:
            n = client_receive(c, s, c.scratch, SCRATCH)
            if n > 4 and get24(c.scratch) + 4 == <uint32_t>n:
                begin_command(c, s, c.scratch, n)
            elif n and buf_append(&s.inb, c.scratch, n):
                c.stats.bytes_buffered += n
            elif n:
                s.broken = 1
        else:
            room = need - s.inb.len
            if room < 4096:
                room = 4096
            if room > 1 << 20:
                room = 1 << 20
            if not buf_reserve(&s.inb, room):
                s.broken = 1
                continue
            n = client_receive(c, s, buf_head(&s.inb) + s.inb.len, room)
            s.inb.len += n
            c.stats.bytes_buffered += n


cdef void packet_too_large(Core* c, Session* s) noexcept nogil:
    """As the server does: error 1153, then the connection is closed, since the rest is not read."""
    cdef uint8_t packet[1028]
    cdef size_t n = put_err(c, packet, 1, ERROR_PACKET_TOO_LARGE, -1)
    c.stats.errors_by_class[ERR_CLIENT_PROTOCOL] += 1
    client_send(c, s, packet, n)
    session_close(c, s)


cdef inline void begin_command(Core* c, Session* s, uint8_t* framed, size_t total) noexcept nogil:
    """`framed` is one whole command, in the scratch buffer or at the head of `inb` (then `cmd_total` is set)."""
    s.t_received = s.t_last = c.now
    s.t_wait = s.t_sent = 0
    s.bytes_out = 0
    s.cmd = framed + 4
    s.cmd_len = total - 4
    s.flags = 0
    s.cmd_pins = 0
    s.digest = 0
    s.digest_generation = 0
    s.fingerprint = 0
    s.role = 0
    if total >= PACKET_MAX + 4:
        s.cmd_len = compact(framed, total)
        s.big = 1
    if s.cmd_len > c.max_packet:
        packet_too_large(c, s)
        return
    if s.cmd_len == 0 or framed[3] != 0:
        s.hangup = 1
        reply_err(c, s, ERR_CLIENT_PROTOCOL, ERROR_OUT_OF_ORDER)
        return
    s.command = s.cmd[0]
    if s.caps & CAP_QUERY_ATTRIBUTES and s.script == NULL and not take_attributes(c, s):
        return
    if s.command == COM_QUERY:
        command_query(c, s)
    elif s.command == COM_STMT_EXECUTE:
        command_execute(c, s)
    else:
        command_other(c, s)


cdef void command_other(Core* c, Session* s) noexcept nogil:
    """Everything that is not a statement's execution."""
    cdef ClientStatement* cs
    if s.command == COM_PING:
        answer_ping(c, s)
    elif s.command == COM_QUIT:
        session_close(c, s)
    elif s.command == COM_STMT_CLOSE:
        cs = client_statement(s)
        if cs != NULL:
            forget_statement(c, s, cs)
        end_command(c, s)
    elif s.command == COM_STMT_RESET:
        cs = client_statement(s)
        if cs == NULL:
            unknown_statement(c, s)
        else:
            if cs.cursor:
                give_up_cursor(c, s, cs)
            forget_long_data(c, s, cs)
            reply_ok(c, s)
    elif s.command == COM_STMT_SEND_LONG_DATA:
        cs = client_statement(s)
        if cs != NULL:
            keep_long_data(c, s, cs)
        end_command(c, s)
    elif s.command == COM_STMT_FETCH:
        command_fetch(c, s)
    elif s.command == COM_STMT_PREPARE:
        park(c, s, PARK_PREPARE)
    elif s.command == COM_INIT_DB or s.command == COM_RESET_CONNECTION:
        park(c, s, PARK_SESSION)
    else:
        park(c, s, PARK_COMMAND)


cdef void answer_ping(Core* c, Session* s) noexcept nogil:
    """COM_PING leaves the diagnostics of the statement before; MySQL counts them."""
    cdef uint8_t packet[16]
    cdef size_t n = put_ok(packet, first_seq(s), session_status(s))
    s.affected = 0
    if not s.lexmode & MODE_MARIADB:
        packet[9] = s.warnings & 0xff
        packet[10] = s.warnings >> 8
    client_send(c, s, packet, n)
    end_command(c, s)


# ---------------------------------------------------------------- COM_QUERY
cdef inline void command_query(Core* c, Session* s) noexcept nogil:
    lex_into(s.cmd + 1, s.cmd_len - 1, s.lexmode, &c.lexed)
    c.lexed_for = s
    lexed_query(c, s)


cdef inline void lexed_query(Core* c, Session* s) noexcept nogil:
    """`c.lexed` is what the lexer found in the command; it is kept with a parked one."""
    look_up_query(c, s)
    if s.phase == PHASE_PARKED:
        s.kept = lexed_copy(&c.lexed)


cdef inline void look_up_query(Core* c, Session* s) noexcept nogil:
    cdef Plan* plan
    if c.lexed.error != LEX_OK:
        park(c, s, PARK_TOO_LONG)
        return
    if c.lexed.flags & LEX_MULTI:
        park(c, s, PARK_MULTI_STATEMENT)
        return
    if c.lexed.flags & LEX_HIGH_BYTE and s.lexmode & MODE_ASCII_KEYS:
        park(c, s, PARK_CHARSET)
        return
    s.fingerprint = c.lexed.fingerprint
    plan = plan_find(c, c.lexed.fingerprint, s.ctx, c.lexed.norm, c.lexed.norm_len)
    if plan == NULL:
        c.stats.plan_misses += 1
        park(c, s, PARK_PLAN_MISS)
        return
    if plan.epoch != c.epoch:
        c.stats.plan_stale += 1
        park(c, s, PARK_PLAN_STALE)
        return
    c.stats.plan_hits += 1
    c.stats.queries_text += 1
    execute(c, s, plan, NULL)


# ---------------------------------------------------------------- COM_STMT_EXECUTE
cdef inline ClientStatement* client_statement(Session* s) noexcept nogil:
    """The statement that the command's bytes 1..4 name, NULL when there is none."""
    cdef uint32_t id
    if s.cmd_len < 5:
        return NULL
    id = get32(s.cmd + 1)
    if id == 0 or id > s.stmt_cap or s.stmts[id - 1].st == NULL:
        return NULL
    return &s.stmts[id - 1]


cdef void forget_statement(Core* c, Session* s, ClientStatement* cs) noexcept nogil:
    if cs.cursor:
        give_up_cursor(c, s, cs)
    statement_release(c, cs.st)
    forget_long_data(c, s, cs)
    free(cs.types)
    memset(cs, 0, sizeof(ClientStatement))


cdef void forget_long_data(Core* c, Session* s, ClientStatement* cs) noexcept nogil:
    c.stats.bytes_buffered -= cs.long_data.len
    s.long_bytes -= cs.long_data.len
    buf_free(&cs.long_data)
    free(cs.omitted)
    cs.omitted = NULL
    cs.unusual &= ~UNUSUAL_OVERFLOW


cdef void keep_long_data(Core* c, Session* s, ClientStatement* cs) noexcept nogil:
    """COM_STMT_SEND_LONG_DATA has no answer; which backend gets it is known at EXECUTE.

    All that a session keeps so is bounded by the packet limit.
    """
    cdef uint32_t param
    cdef size_t total = s.cmd_total if s.big else s.cmd_len + 4
    if s.cmd_len < 7:
        cs.unusual |= UNUSUAL_OVERFLOW
        return
    param = s.cmd[5] | (<uint32_t>s.cmd[6] << 8)
    if param >= cs.st.nparams or s.long_bytes + s.cmd_len > c.max_packet:
        cs.unusual |= UNUSUAL_OVERFLOW
        return
    if cs.omitted == NULL:
        cs.omitted = <uint8_t*>calloc(1, cs.st.nparams)
    if s.big:
        expand(s.cmd - 4, s.cmd_len)
    if cs.omitted == NULL or not buf_append(&cs.long_data, s.cmd - 4, total):
        cs.unusual |= UNUSUAL_OVERFLOW
        return
    cs.omitted[param] = 1
    s.long_bytes += total
    c.stats.bytes_buffered += total


cdef void unknown_statement(Core* c, Session* s) noexcept nogil:
    reply_err(c, s, ERR_CLIENT_PROTOCOL, ERROR_UNKNOWN_STATEMENT)


cdef inline bint read_params(Session* s, ClientStatement* cs, ParamCursor* cursor) noexcept nogil:
    """Find null bitmap, types and values; keep the types for executions that do not send them.

    The command has its `execute_size`.
    """
    cdef size_t ntypes = 2 * <size_t>cs.st.nparams
    cdef uint8_t* p = s.cmd + cs.st.types_at
    cdef uint8_t* end = s.cmd + s.cmd_len
    if ntypes == 0:
        memset(cursor, 0, sizeof(ParamCursor))
        return True
    cursor.nulls = s.cmd + 10
    if p[0] == 1:
        p += 1
        if <size_t>(end - p) < ntypes:
            return False
        if cs.types == NULL:
            cs.types = <uint8_t*>malloc(ntypes)
            if cs.types == NULL:
                return False
        copy_few(cs.types, p, ntypes)
        p += ntypes
    elif cs.types == NULL:
        return False
    else:
        p += 1
    cursor.types = cs.types
    cursor.omitted = cs.omitted
    cursor.values = cursor.p = p
    cursor.end = end
    cursor.at = 0
    return True


cdef inline size_t execute_size(Statement* st) noexcept nogil:
    """Least length of a COM_STMT_EXECUTE: the head; with parameters, the null bitmap and whether types follow."""
    return st.types_at + <size_t>(st.nparams != 0)


cdef bint answers_unusual(Core* c, Session* s, ClientStatement* cs) noexcept nogil:
    """A statement with something behind it that an EXECUTE minds. True when that is the answer."""
    if cs.cursor:
        give_up_cursor(c, s, cs)
    if cs.unusual & UNUSUAL_OVERFLOW:
        reply_err(c, s, ERR_LIMIT, ERROR_PACKET_TOO_LARGE)
        return True
    return False


cdef inline void command_execute(Core* c, Session* s) noexcept nogil:
    cdef ClientStatement* cs = client_statement(s)
    cdef Statement* st
    cdef ParamCursor cursor
    if cs == NULL:
        unknown_statement(c, s)
        return
    st = cs.st
    s.exec = st
    s.exec_stmt = get32(s.cmd + 1)
    s.fingerprint = st.plan.fingerprint
    if s.cmd_len < execute_size(st):
        reply_err(c, s, ERR_CLIENT_PROTOCOL, ERROR_MALFORMED)
        return
    if st.plan.epoch != c.epoch or st.ctx != s.ctx:
        c.stats.plan_stale += 1
        park(c, s, PARK_PLAN_STALE)
        return
    if cs.unusual and answers_unusual(c, s, cs):
        return
    if not read_params(s, cs, &cursor):
        reply_err(c, s, ERR_CLIENT_PROTOCOL, ERROR_MALFORMED)
        return
    c.stats.queries_prepared += 1
    execute(c, s, &st.plan, &cursor)


# ---------------------------------------------------------------- what a plan says
cdef inline void execute(Core* c, Session* s, Plan* plan, ParamCursor* cursor) noexcept nogil:
    """Follow the plan as far as the relay can; `cursor` is NULL for a text statement."""
    c.stats.queries += 1
    s.flags = plan.flags
    s.cmd_pins = plan.pins
    s.digest = plan.digest
    s.digest_generation = plan.digest_generation
    s.plan_id = plan.id
    follow_plan(c, s, plan, plan.opcode, cursor)


cdef inline void follow_plan(Core* c, Session* s, Plan* plan, uint8_t opcode, ParamCursor* cursor) noexcept nogil:
    cdef int shard
    if opcode == OP_KEY:
        if cursor == NULL:
            shard = plan_shard(c, plan, s.cmd + 1, s.cmd_len - 1, &c.lexed, s.lexmode)
        else:
            shard = statement_shard(c, s.exec, cursor, s.lexmode)
        if shard < 0:
            park(c, s, PARK_MULTI_SHARD if shard == MANY else PARK_KEY)
            return
    elif opcode == OP_SHARD:
        shard = plan.shard
    elif opcode == OP_ANY:
        shard = any_shard(c, s, plan)
        if shard == PUNT:
            return
    elif opcode & (OP_AUDITED | OP_ROWS):
        execute_marked(c, s, plan, opcode, cursor)
        return
    else:
        execute_here(c, s, plan, opcode)
        return
    if plan.verdicts != NULL and not obey(c, s, plan, shard):
        return
    go_to_shard(c, s, shard)


cdef void execute_marked(Core* c, Session* s, Plan* plan, uint8_t opcode, ParamCursor* cursor) noexcept nogil:
    """What stands in the opcode as a bit, so that other plans are not asked about it."""
    if opcode & OP_ROWS:
        count_rows(c, s)
    if opcode & OP_AUDITED:
        execute_audited(c, s, plan, cursor)
    else:
        follow_plan(c, s, plan, opcode & ~OP_ROWS, cursor)


cdef void execute_audited(Core* c, Session* s, Plan* plan, ParamCursor* cursor) noexcept nogil:
    """Whoever leaves a record waits until there is room for it: none is lost, and what cannot be kept does not run.

    A sample is taken only where there is room.
    """
    cdef bint room = not c.records_closed and c.nrecords < c.record_limit
    s.shard = -1
    if not room and not plan.flags & PLAN_SAMPLED:
        park(c, s, PARK_AUDIT)
        return
    if room and (not plan.flags & PLAN_SAMPLED or is_sampled(c)):
        s.behind |= BEHIND_RECORD
        s.record_rows = s.record_error = 0
    follow_plan(c, s, plan, plan.opcode & ~(OP_AUDITED | OP_ROWS), cursor)


cdef void count_rows(Core* c, Session* s) noexcept nogil:
    """Are these the VALUES of one row?"""
    cdef uint32_t i
    for i in range(c.lexed.n_slots):
        if c.lexed.slots[i].kind == LIT_ROWS and c.lexed.slots[i].count == 1:
            s.flags |= PLAN_ONE_ROW


cdef bint is_sampled(Core* c) noexcept nogil:
    """One in `sample`, by xorshift64 (Marsaglia 2003), so that no rhythm of a client escapes."""
    c.chance ^= c.chance << 13
    c.chance ^= c.chance >> 7
    c.chance ^= c.chance << 17
    return (c.chance >> 32) % c.sample == 0


cdef int any_shard(Core* c, Session* s, Plan* plan) noexcept nogil:
    """OP_ANY: the shard, or PUNT when the command was parked."""
    if plan.flags & PLAN_WARNINGS and (s.backend == NULL or s.diagnostics != DIAG_HERE):
        park(c, s, PARK_SESSION)
        return PUNT
    if s.backend == NULL or (s.linger and not plan.flags & PLAN_WARNINGS) or s.backend.pool.shard == plan.shard:
        return plan.shard
    if plan.flags & (PLAN_EVERYWHERE | PLAN_WARNINGS):
        return s.backend.pool.shard
    park(c, s, PARK_MULTI_SHARD)    # is the session's shard among those that can answer?
    return PUNT


cdef void execute_here(Core* c, Session* s, Plan* plan, uint8_t opcode) noexcept nogil:
    """What needs no shard of its own."""
    if opcode == OP_BEGIN:
        begin_transaction(c, s, plan)
    elif opcode == OP_COMMIT or opcode == OP_ROLLBACK:
        end_transaction(c, s, plan)
    elif opcode == OP_REPLY:
        canned_reply(c, s, plan)
    else:
        park(c, s, plan.park_reason)


cdef void canned_reply(Core* c, Session* s, Plan* plan) noexcept nogil:
    if plan.flags & PLAN_REFUSAL:
        refuse_here(c, s, plan.reply, plan.reply_len)
    else:
        send_payload(c, s, plan.reply, plan.reply_len)
        count_query(c, s, False)
        end_command(c, s)


cdef void refuse_here(Core* c, Session* s, const uint8_t* payload, uint32_t n) noexcept nogil:
    """The command is refused, as its plan says."""
    c.stats.refusals += 1
    c.stats.errors_by_class[ERR_REFUSED] += 1
    keep_own_error(s, payload, n)
    send_payload(c, s, payload, n)
    count_query(c, s, True)
    end_command(c, s)


cdef void send_payload(Core* c, Session* s, const uint8_t* payload, uint32_t n) noexcept nogil:
    """One packet of at most 4 KiB as the answer."""
    c.out[0] = n & 0xff
    c.out[1] = (n >> 8) & 0xff
    c.out[2] = 0
    c.out[3] = first_seq(s)
    memcpy(c.out + 4, payload, n)
    client_send(c, s, c.out, n + 4)


cdef void begin_transaction(Core* c, Session* s, Plan* plan) noexcept nogil:
    """BEGIN waits for the first statement, which decides the shard. Inside a transaction it commits that one."""
    if s.backend != NULL and s.linger:
        release_linger(c, s)
    if s.pins and s.backend != NULL:
        s.shard = s.backend.pool.shard
        advance(c, s)           # the shard is known, and what does not wait for it tells of the transaction
        return
    if s.trx == TRX_ACTIVE and s.backend != NULL:
        s.begin = plan.begin
        start_step(c, s, STEP_COMMIT)
        return
    if s.trx != TRX_PENDING or s.begin != BEGIN_NOTHING:
        drop_pending(c, s)
    s.begin = as_set(s, plan.begin)
    set_trx(c, s, TRX_PENDING)
    reply_ok(c, s)


cdef uint8_t as_set(Session* s, uint8_t begin) noexcept nogil:
    """The variant of a transaction that begins, which says what SET TRANSACTION has said before, too."""
    cdef size_t at = 0, end
    cdef uint8_t* p = buf_head(&s.once)
    cdef bint read_only = False
    if begin % BEGIN_ACCESS:
        return begin
    while at < s.once.len:
        end = at + 4 + get24(p + at)
        if end > at + 9 and memcmp(p + end - 9, <const char*>b"READ ONLY", 9) == 0:
            read_only = True
        elif end > at + 10 and memcmp(p + end - 10, <const char*>b"READ WRITE", 10) == 0:
            read_only = False
        at = end
    return begin + BEGIN_READ_ONLY if read_only else begin


cdef void end_transaction(Core* c, Session* s, Plan* plan) noexcept nogil:
    """COMMIT and ROLLBACK go to the backend that has the transaction; without one there is nothing to end."""
    if plan.opcode == OP_ROLLBACK and s.trx != TRX_NONE:
        c.stats.rollbacks += 1
    if s.backend != NULL and not s.linger:
        s.committing = plan.opcode == OP_COMMIT
        s.shard = s.backend.pool.shard
        advance(c, s)
        return
    drop_pending(c, s)
    reply_ok(c, s)


cdef void drop_pending(Core* c, Session* s) noexcept nogil:
    """A transaction that reached no shard ends without a trace."""
    if s.trx == TRX_PENDING:
        set_trx(c, s, TRX_NONE)
    buf_free(&s.deferred)
    s.ndeferred = 0
    buf_free(&s.once)


cdef inline void set_trx(Core* c, Session* s, uint8_t trx) noexcept nogil:
    if s.trx != TRX_NONE and trx == TRX_NONE:
        c.stats.transactions_open -= 1
    elif s.trx == TRX_NONE and trx != TRX_NONE:
        c.stats.transactions_open += 1
        c.stats.transactions += 1
    s.trx = trx


cdef inline void go_to_shard(Core* c, Session* s, int32_t shard) noexcept nogil:
    """Send the command to its shard: on the attached backend if it is there, else on a borrowed one."""
    cdef Pool* pool
    s.shard = shard
    if s.backend != NULL:
        if s.linger:
            if s.backend.pool.shard == shard and s.backend.pool == primary_pool(c, s, shard):
                unlinger(c, s)
                advance(c, s)
                return
            if s.flags & PLAN_WARNINGS:
                unlinger(c, s)
                advance(c, s)
                return
            release_linger(c, s)
        elif s.backend.pool.shard != shard:
            # Another shard than the transaction's or the pin's: the uvloop side words the refusal.
            park(c, s, PARK_TRANSACTION)
            return
        else:
            advance(c, s)
            return
    pool = choose_pool(c, s, shard)
    if pool == NULL:
        park(c, s, PARK_CONNECT)
        return
    acquire(c, s, pool)


cdef inline Pool* primary_pool(Core* c, Session* s, int32_t shard) noexcept nogil:
    cdef Route* route
    cdef int32_t id
    if not 0 <= shard < <int32_t>c.nroutes:
        return NULL
    route = &c.routes[shard]
    if route.remote:
        if s.hop or s.user >= c.nusers:
            return NULL
        id = c.peer_pools[(s.user * c.nroutes + shard) * CLASSES + s.capclass]
    else:
        id = route.primary[s.capclass]
    return c.pools[id] if id >= 0 else NULL


cdef inline Pool* choose_pool(Core* c, Session* s, int32_t shard) noexcept nogil:
    """Primary, unless the statement may be read from a replica and one is recent enough for this session.

    Nor a cursor, since the session keeps its connection, and may write by it.
    """
    cdef Pool* pool
    if s.flags & PLAN_REPLICA_OK and s.consistency and s.trx == TRX_NONE and not s.autocommit_off \
            and not s.cmd_pins and not may_open_cursor(s) and 0 <= shard < <int32_t>c.nroutes:
        pool = replica_pool(c, s, shard)
        if pool != NULL:
            s.role = 1
            return pool
    return primary_pool(c, s, shard)


cdef Pool* replica_pool(Core* c, Session* s, int32_t shard) noexcept nogil:
    """The next eligible replica of the shard, NULL when none is (or the shard stands in another region)."""
    cdef Route* route = &c.routes[shard]
    cdef uint32_t i, k
    cdef Pool* pool
    cdef BackendHealth* health
    for i in range(route.nreplicas):
        k = (route.turn + i) % route.nreplicas
        if route.replicas[s.capclass][k] < 0:
            continue
        pool = c.pools[route.replicas[s.capclass][k]]
        if not pool.up or pool.server >= c.nhealth:
            continue
        health = c.health[pool.server]
        if replica_serves(c, s, shard, health):
            route.turn = k + 1
            c.shard_stats[shard].reads_replica += 1
            return pool
    return NULL


cdef bint replica_serves(Core* c, Session* s, int32_t shard, BackendHealth* health) noexcept nogil:
    cdef uint64_t wanted = 0
    if health.state != BACKEND_UP and health.state != BACKEND_READ_ONLY:
        return False
    if s.consistency == 2:
        # What was proven at the last look is older by the time since.
        return health.lag_ms != <uint32_t>-1 and c.now >= health.checked_ns \
            and health.lag_ms + (c.now - health.checked_ns) // 1000000 <= s.max_lag_ms
    if s.user < c.nusers and c.user_positions[s.user] != NULL:
        wanted = fl_load64(&c.user_positions[s.user][shard])
    elif s.positions != NULL:
        wanted = s.positions[shard]
    return position_reached(fl_load64(&health.position), wanted)
