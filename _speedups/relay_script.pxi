# Several statements in one COM_QUERY: a script. Each is a command of its own; their answers are numbered through
# and say that more results follow, as one server's would. Included by relay.pyx.
#
# The text is divided one statement at a time, since what a statement does (SET sql_mode) decides how the next is
# read: the command at the head of `inb` becomes two.

cdef bint split_command(Core* c, Session* s, size_t rest) noexcept nogil:
    """Cut the parked COM_QUERY before the semicolon that precedes offset `rest` of its text. False: it cannot be."""
    cdef size_t size, behind
    cdef uint8_t* p
    cdef Script* r = s.script
    if s.command != COM_QUERY or s.big or rest < 1 or rest >= s.cmd_len:
        return False
    if r == NULL:
        r = <Script*>calloc(1, sizeof(Script))
        if r == NULL:
            return False
        r.seq = 1
        s.script = r
        answer_begins(s)
    if not buf_reserve(&s.inb, 4):
        return False
    # A new head and command byte take the place of the semicolon and of four bytes more.
    p = buf_head(&s.inb)
    size = 4 + rest
    behind = s.cmd_len - rest
    memmove(p + size + 5, p + size + 1, s.inb.len - size - 1)
    s.inb.len += 4
    c.stats.bytes_buffered += 4
    put24(p, rest)
    put24(p + size, behind)
    p[size + 3] = 0
    p[size + 4] = COM_QUERY
    r.rest = 4 + behind
    s.cmd = p + 4
    s.cmd_len = rest
    s.cmd_total = size
    return True


cdef inline void put24(uint8_t* p, size_t value) noexcept nogil:
    p[0] = value & 0xff
    p[1] = (value >> 8) & 0xff
    p[2] = (value >> 16) & 0xff


cdef void answer_begins(Session* s) noexcept nogil:
    scan_begin(&s.script.scan, EXPECT_QUERY, s.capclass & 1, s.session_track != TOLD_NOTHING)


cdef void script_next(Core* c, Session* s) noexcept nogil:
    """A statement's answer is complete. The next one is at the head of `inb`; an error ends the script."""
    cdef Script* r = s.script
    if r.rest and r.scan.outcome != OUTCOME_ERR:
        r.rest = 0
        answer_begins(s)
        return
    c.stats.bytes_buffered -= r.rest
    buf_consume(&s.inb, r.rest)
    script_end(c, s)


cdef void script_end(Core* c, Session* s) noexcept nogil:
    c.stats.bytes_buffered -= s.script.held.len
    buf_free(&s.script.held)
    free(s.script)
    s.script = NULL


cdef void script_send(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """Bytes of a statement's answer, on their way to the client."""
    cdef Script* r = s.script
    cdef size_t passed = 0
    cdef int result
    if not buf_append(&r.held, p, n):
        s.broken = 1
        return
    c.stats.bytes_buffered += n
    result = scan(&r.scan, buf_head(&r.held), r.held.len, &passed)
    if result == SCAN_MALFORMED:
        s.broken = 1
        return
    if result == SCAN_COMPLETE and r.rest and r.scan.outcome != OUTCOME_ERR:
        add_status(buf_head(&r.held) + r.scan.final_offset, r.scan.final_length, r.scan.deprecate_eof,
                   SERVER_MORE_RESULTS_EXISTS)
    number_through(r, buf_head(&r.held), passed)
    send_plain(c, s, buf_head(&r.held), passed)
    c.stats.bytes_buffered -= passed
    buf_consume(&r.held, passed)


cdef void add_status(uint8_t* packet, size_t n, bint deprecate_eof, uint16_t bits) noexcept nogil:
    """Set status flags in a framed OK or EOF packet."""
    cdef size_t at = 5
    cdef uint64_t number = 0
    if packet[4] == 0xfe and not deprecate_eof:
        at = 7
    elif not lenenc(packet, n, &at, &number) or not lenenc(packet, n, &at, &number) or at + 2 > n:
        return
    packet[at] |= bits & 0xff
    packet[at + 1] |= bits >> 8


cdef void number_through(Script* r, uint8_t* p, size_t n) noexcept nogil:
    """Sequence numbers of what is sent: `n` bytes that end anywhere but inside of a packet's head."""
    cdef size_t at = 0
    while True:
        if r.skip > n - at:
            r.skip -= <uint32_t>(n - at)
            return
        at += r.skip
        r.skip = 0
        if at == n:
            return
        r.skip = get24(p + at)
        p[at + 3] = r.seq
        r.seq += 1
        at += 4
