# Sessions that leave for the process which has taken over, and those that come from the one before.
# Included by relay.pyx.


cdef bint holds_statements(Session* s) noexcept nogil:
    cdef uint32_t i
    for i in range(s.stmt_cap):
        if s.stmts[i].st != NULL:
            return True
    return False


cdef bint leave_now(Core* c, Session* s) noexcept nogil:
    """Between two commands, without a backend and outside of transactions: stop reading the client and tell the uvloop
    side, unless something is under way or cannot be carried over. What the kernel holds of the client's goes along."""
    if s.phase != PHASE_IDLE or s.broken or s.hangup or s.inb.len or s.out.len or s.script != NULL:
        return False
    if s.pins or s.once.len or s.deferred.len or s.nextra or s.long_bytes or holds_statements(s):
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
