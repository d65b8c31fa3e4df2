# Sessions that leave for the process which has taken over, and those that come from the one before.
# Included by relay.pyx.


cdef enum:
    MOST_CARRIED = 1 << 20      # bytes of one session's prepared statements; with more it stays

cdef packed struct Carried:     # a prepared statement on its way; its text and its parameters' types follow
    uint32_t id
    uint32_t text_len           # of the framed COM_STMT_PREPARE
    uint16_t nparams
    uint16_t ncolumns
    uint8_t has_types           # its client has sent them, and may leave them out from now on


cdef bint carries_statements(Session* s) noexcept nogil:
    """Are the session's statements few enough to be carried over, and none half-way to its execution?"""
    cdef uint32_t i
    cdef size_t total = 0
    for i in range(s.stmt_cap):
        if s.stmts[i].st != NULL:
            if s.stmts[i].unusual or s.stmts[i].omitted != NULL:
                return False
            total += sizeof(Carried) + s.stmts[i].st.text_len + 2 * <size_t>s.stmts[i].st.nparams
    return total <= MOST_CARRIED


cdef bint tell_statements(Session* s, Buf* told) noexcept nogil:
    """All of them, one behind the other. False for want of memory."""
    cdef uint32_t i
    cdef Statement* st
    cdef Carried head
    for i in range(s.stmt_cap):
        st = s.stmts[i].st
        if st == NULL:
            continue
        head.id = i + 1
        head.text_len = <uint32_t>st.text_len
        head.nparams = st.nparams
        head.ncolumns = st.ncolumns
        head.has_types = s.stmts[i].types != NULL
        if not buf_append(told, <uint8_t*>&head, sizeof(head)) or not buf_append(told, st.text, st.text_len):
            return False
        if head.has_types and not buf_append(told, s.stmts[i].types, 2 * <size_t>st.nparams):
            return False
    return True


cdef bint take_statements(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """Under the ids that the client knows. They have no plan yet, so the first execution of each parks.

    False when they are not what `tell_statements` tells, or for want of memory.
    """
    cdef Carried head
    cdef size_t at = 0, types
    while at < n:
        if n - at < sizeof(head):
            return False
        memcpy(&head, p + at, sizeof(head))
        at += sizeof(head)
        types = 2 * <size_t>head.nparams if head.has_types else 0
        if n - at < head.text_len + types or not take_statement(c, s, &head, p + at, types):
            return False
        at += head.text_len + types
    return True


cdef bint take_statement(Core* c, Session* s, const Carried* head, const uint8_t* p, size_t types) noexcept nogil:
    cdef ClientStatement* cs = statement_place(s, head.id)
    cdef Statement* st = <Statement*>calloc(1, sizeof(Statement)) if cs != NULL else NULL
    if st == NULL:
        return False
    c.stats.statements += 1
    c.statement_ids += 1
    st.id = c.statement_ids
    st.refs = 1
    st.nparams = head.nparams
    st.ncolumns = head.ncolumns
    st.types_at = <uint16_t>(10 + (head.nparams + 7) // 8)
    cs.st = st
    st.text = <uint8_t*>malloc(head.text_len)
    if types:
        cs.types = <uint8_t*>malloc(types)
    if st.text == NULL or (types and cs.types == NULL):
        return False
    st.text_len = head.text_len
    memcpy(st.text, p, head.text_len)
    memcpy(cs.types, p + head.text_len, types)
    return True


cdef ClientStatement* statement_place(Session* s, uint32_t id) noexcept nogil:
    """The free place of this id among the session's statements; ids come in their order. NULL for want of memory."""
    cdef ClientStatement* more
    cdef uint32_t cap = max(8, 2 * s.stmt_cap)
    if id == 0 or id > 2 * MOST_CARRIED:
        return NULL
    if id > s.stmt_cap:
        cap = max(cap, id)
        more = <ClientStatement*>realloc(s.stmts, cap * sizeof(ClientStatement))
        if more == NULL:
            return NULL
        memset(&more[s.stmt_cap], 0, (cap - s.stmt_cap) * sizeof(ClientStatement))
        s.stmts = more
        s.stmt_cap = cap
    return &s.stmts[id - 1] if s.stmts[id - 1].st == NULL else NULL


cdef bint leave_now(Core* c, Session* s) noexcept nogil:
    """Between two commands, without a backend and outside of transactions: stop reading the client and tell the uvloop
    side, unless something is under way or cannot be carried over. What the kernel holds of the client's goes along."""
    if s.phase != PHASE_IDLE or s.broken or s.hangup or s.inb.len or s.out.len or s.script != NULL:
        return False
    if s.pins or s.once.len or s.deferred.len or s.nextra or s.long_bytes or not carries_statements(s):
        return False
    s.phase = PHASE_PARKED
    c.stats.parked += 1
    push_event(c, s, EVENT_LEAVES)
    return True


cdef bint take_outcome(Core* c, Session* s, const Outcome* o, const uint64_t* positions, uint32_t n,
                       const uint8_t* own, size_t own_size) noexcept nogil:
    """What the session's last statement left, in the process before. False for want of memory."""
    cdef uint32_t i
    s.autocommit_off = o.autocommit_off
    s.affected = o.affected
    s.insert_id = o.insert_id
    s.warnings = o.warnings
    s.last_error = o.last_error
    s.diagnostics = o.diagnostics & ~<uint8_t>OUTCOME_ID_LOST
    s.id_state = ID_LOST if o.diagnostics & OUTCOME_ID_LOST else ID_KNOWN
    if own_size:
        keep_own(s, own, own_size)
    for i in range(min(n, c.nroutes)):
        if positions[i] == 0:
            continue
        if s.user < c.nusers and c.user_positions[s.user] != NULL:
            position_max(&c.user_positions[s.user][i], positions[i])
            continue
        if s.positions == NULL:
            s.positions = <uint64_t*>calloc(c.nroutes, sizeof(uint64_t))
        if s.positions == NULL:
            return False
        s.positions[i] = positions[i]
    return True
