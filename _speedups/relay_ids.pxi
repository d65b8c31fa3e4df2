# LAST_INSERT_ID(), which the OK packet's insert id need not be. Included by relay.pyx.
#
# An id that was made is both. One that the statement gave itself is told in the OK packet only, and so is that of a row
# which ON DUPLICATE KEY UPDATE has found; LAST_INSERT_ID(expr), CALL and errors behind the first row change the
# function without a word. Only the server knows then. It is asked when the session lets go of the backend, or wants the
# value; within a transaction that may be many statements later. By the same statement the server's value is set to 0,
# so that an answer of 0 means that nothing has changed it.


cdef void ids_changed(Session* s, Backend* b) noexcept nogil:
    """A statement after which only the backend may know LAST_INSERT_ID(). `b.last_id` was it there before."""
    cdef uint64_t told = b.scan.insert_id if b.scan.outcome == OUTCOME_OK else 0
    if s.flags & PLAN_PRESET and not b.suspect & SUSPECT_ID:
        b.last_id = s.insert_id
    if b.scan.outcome == OUTCOME_ERR and not s.flags & PLAN_ASK_ID \
            and (not s.flags & PLAN_INSERTS or s.flags & PLAN_ONE_ROW or nothing_ran(s, b.scan.error_code)):
        return
    if told and s.flags & PLAN_FRESH_ID:
        ids_known(s, b, told)
        s.insert_id = told
        return
    if told and s.own_id and s.behind & BEHIND_REPLACED:
        if told == s.own_id:
            s.insert_id = told
            s.id_state = ID_KNOWN
            return
        if not s.flags & PLAN_ASK_ID:
            return              # it is that of a row that was there
    if not b.suspect & SUSPECT_ID:
        b.id_odd = 0
    b.id_odd |= b.last_id != s.insert_id and b.last_id != 0 and (told == b.last_id or told == 0)
    b.suspect |= SUSPECT_ID
    s.id_state = ID_HERE


cdef void ids_known(Session* s, Backend* b, uint64_t value) noexcept nogil:
    """LAST_INSERT_ID() on the backend is this."""
    b.suspect &= ~<uint8_t>SUSPECT_ID
    b.last_id = value
    s.id_state = ID_KNOWN


cdef void ids_lost(Session* s, Backend* b) noexcept nogil:
    """The backend goes, unasked."""
    if b.suspect & SUSPECT_ID and s.id_state == ID_HERE:
        s.id_state = ID_LOST


cdef bint ask_id(Core* c, Backend* b) noexcept nogil:
    return send_framed(c, b, EXPECT_QUERY,
                       <const uint8_t*>b"\x2b\x00\x00\x00\x03SELECT LAST_INSERT_ID(), LAST_INSERT_ID(0)", 47)


cdef void id_told(Session* s, Backend* b, const uint8_t* p, size_t n) noexcept nogil:
    """The whole answer: what LAST_INSERT_ID() was on the backend. Now it is 0."""
    cdef uint64_t value = 0
    cdef bint good = read_id(p, n, b.pool.capclass & 1, &value)
    cdef bint odd = b.id_odd
    if good and (value != b.last_id or b.last_id == s.insert_id):
        s.insert_id = value
        odd = False
    ids_known(s, b, 0)
    if odd or not good:
        s.id_state = ID_LOST


cdef bint read_id(const uint8_t* p, size_t n, bint deprecate_eof, uint64_t* value) noexcept nogil:
    """The first column of the one row: behind the column count, two definitions and what ends them."""
    cdef int skipped
    cdef size_t at = 0, i
    for skipped in range(3 if deprecate_eof else 4):
        if n - at < 4 or n - at - 4 < get24(p + at):
            return False
        at += 4 + get24(p + at)
    if n - at < 6 or n - at - 5 < p[at + 4]:
        return False
    for i in range(at + 5, at + 5 + p[at + 4]):
        if not c'0' <= p[i] <= c'9':
            return False
        value[0] = value[0] * 10 + (p[i] - c'0')
    return True
