# Server-side cursors: COM_STMT_EXECUTE that asks for one, and COM_STMT_FETCH. Included by relay.pyx.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_fetch.html
#
# A server's statement belongs to one client's as long as its cursor is open: it is taken out of those that the backend
# is known to hold, so that it is neither given up for another nor executed by anybody else, and comes back behind its
# last row. The session is pinned meanwhile. What was executed for a cursor is never executed without one: MySQL (9.7)
# then sends the columns and no rows. So each statement has a twin for it.

cdef enum:
    CURSOR_TYPE_READ_ONLY = 1   # the only kind that servers open, whatever else is asked for
    FETCH_SIZE = 9              # COM_STMT_FETCH: command, statement, number of rows


cdef bint may_open_cursor(Session* s) noexcept nogil:
    """Is the command an EXECUTE that asks for a cursor, and may have it? What is masked or counted is answered by rows
    at once, as by servers where they cannot open one; so are the executor's own, and those of a transaction over
    several shards, whose session may hold another backend next."""
    return s.command == COM_STMT_EXECUTE and s.exec_stmt != 0 and s.cmd[5] & CURSOR_TYPE_READ_ONLY \
        and s.verdict == NULL and not s.flags & (PLAN_GUARDED | PLAN_AUDIT) and not s.behind & BEHIND_HOLD


cdef void look_at_flags(Core* c, Session* s) noexcept nogil:
    """Of a COM_STMT_EXECUTE that is about to be sent: what is asked for besides a cursor is not passed on."""
    cdef Statement* twin
    if s.flags & PLAN_CURSOR:
        return                  # looked at before
    s.cmd[5] = may_open_cursor(s)
    twin = twin_of(c, s.exec) if s.cmd[5] else NULL
    if twin == NULL:
        s.cmd[5] = 0
        return
    s.exec = twin
    s.flags |= PLAN_CURSOR
    s.cursor_stmt = s.exec_stmt


cdef Statement* twin_of(Core* c, Statement* st) noexcept nogil:
    if st.twin == NULL:
        st.twin = <Statement*>malloc(sizeof(Statement))
        if st.twin != NULL:
            st.twin[0] = st[0]
            st.twin.twin = NULL
            c.statement_ids += 1
            st.twin.id = c.statement_ids
    return st.twin


cdef bint send_for_cursor(Core* c, Session* s, Backend* b) noexcept nogil:
    cdef bint sent = send_execution(c, s, b)
    expect_cursor(&b.scan)
    return sent


cdef void command_fetch(Core* c, Session* s) noexcept nogil:
    cdef ClientStatement* cs = client_statement(s)
    if cs == NULL:
        unknown_statement(c, s)
    elif s.cmd_len < FETCH_SIZE:
        reply_err(c, s, ERR_CLIENT_PROTOCOL, ERROR_MALFORMED)
    elif not cs.cursor or s.backend == NULL:
        reply_err(c, s, ERR_CLIENT_PROTOCOL, ERROR_NO_CURSOR)
    else:
        s.cursor_stmt = get32(s.cmd + 1)
        # MariaDB still lists the warnings of the statement before.
        s.flags = PLAN_OUTSIDE | PLAN_CURSOR | (PLAN_WARNINGS if s.lexmode & MODE_MARIADB else 0)
        s.shard = s.backend.pool.shard
        advance(c, s)


cdef bint send_fetch(Core* c, Session* s, Backend* b) noexcept nogil:
    cdef bint sent
    memcpy(s.cmd + 1, &s.stmts[s.cursor_stmt - 1].cursor, 4)
    sent = send_framed(c, b, EXPECT_QUERY, s.cmd - 4, s.cmd_len + 4)
    expect_rows(&b.scan)
    s.cmd = NULL
    return sent


cdef void cursor_answered(Core* c, Session* s, Backend* b) noexcept nogil:
    """The answer to such a command is complete: is a cursor open behind it?"""
    cdef ClientStatement* cs = &s.stmts[s.cursor_stmt - 1]
    if b.scan.outcome == OUTCOME_ERR:
        if cs.cursor:
            close_cursor(c, s, cs)  # servers do so, too, whenever reading from it fails
    elif b.scan.status & SERVER_STATUS_CURSOR_EXISTS:
        if not cs.cursor:
            cursor_opened(c, s, b, cs)
    elif cs.cursor:
        keep_statement(c, b, cs)
        forget_cursor(c, s, cs)


cdef void cursor_opened(Core* c, Session* s, Backend* b, ClientStatement* cs) noexcept nogil:
    cdef BackendStatement* slot = stmt_slot(b, s.exec.id)
    if slot == NULL:                # never: it has just been executed
        s.broken = 1
        return
    cs.cursor = slot.server_id
    cs.cursor_state = slot.state
    cs.unusual |= UNUSUAL_CURSOR
    slot.id = 0
    s.ncursors += 1
    add_pins(c, s, 1 << PIN_CURSOR)


cdef void keep_statement(Core* c, Backend* b, ClientStatement* cs) noexcept nogil:
    """The server has closed the cursor behind its last row: the statement can be executed again, by anybody."""
    cdef uint32_t state = b.state
    cdef Statement* twin = cs.st.twin
    b.state = cs.cursor_state
    if twin == NULL or stmt_known(b, twin.id) or not stmt_learn(c, b, twin.id, cs.cursor):
        close_statement(c, b, cs.cursor)
    b.state = state


cdef void close_cursor(Core* c, Session* s, ClientStatement* cs) noexcept nogil:
    """With its statement, which the next execution prepares anew."""
    if s.backend != NULL:
        # Whether it could be sent does not matter: a connection that is gone has no cursor.
        close_statement(c, s.backend, cs.cursor)
    forget_cursor(c, s, cs)


cdef void give_up_cursor(Core* c, Session* s, ClientStatement* cs) noexcept nogil:
    """The client's command ends it, before anything else is done: the session may need its backend no longer."""
    close_cursor(c, s, cs)
    if s.backend == NULL or s.pins or s.trx == TRX_ACTIVE:
        return
    if s.backend.suspect & SUSPECT_ID:
        keep_lingering(c, s)    # it is asked when the session lets go of it, which is not now, within a command
    else:
        settle_idle(c, s, s.backend)


cdef bint close_statement(Core* c, Backend* b, uint32_t id) noexcept nogil:
    """COM_STMT_CLOSE, which has no answer."""
    cdef uint8_t packet[9]
    memset(packet, 0, 9)
    packet[0] = 5
    packet[4] = COM_STMT_CLOSE
    memcpy(packet + 5, &id, 4)
    return backend_send(c, b, packet, 9)


cdef void forget_cursor(Core* c, Session* s, ClientStatement* cs) noexcept nogil:
    cs.cursor = 0
    cs.unusual &= ~UNUSUAL_CURSOR
    s.ncursors -= 1
    if s.ncursors == 0 and s.pins >> PIN_CURSOR & 1:
        c.stats.pins_by_reason[<int>PIN_CURSOR] -= 1
        s.pins &= ~(<uint32_t>1 << PIN_CURSOR)


cdef void forget_cursors(Core* c, Session* s) noexcept nogil:
    """Their backend is gone."""
    cdef uint32_t i
    for i in range(s.stmt_cap):
        if s.stmts[i].cursor:
            forget_cursor(c, s, &s.stmts[i])


cdef inline bint bound_for_good(uint32_t pins) noexcept nogil:
    """Is a backend kept until the session ends? Not for transactions and cursors, after which another may get it."""
    return pins & ~(<uint32_t>1 << PIN_TRANSACTION | <uint32_t>1 << PIN_CURSOR) != 0
