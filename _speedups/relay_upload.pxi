# LOAD DATA LOCAL INFILE: the server asks for a file in the middle of its answer (0xFB and the name), and the client's
# packets go to it up to the empty one. Included by relay.pyx.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_local_infile_request.html
#
# Only a client that sent such a statement is ever asked: a server that asks for a file of its own accord is not
# understood, so no server can read clients' files.

cdef enum:
    UPLOAD_HELD = 256 << 10     # bytes for a server that does not take them; then the client is not read


cdef void begin_upload(Core* c, Backend* b, size_t passed, size_t have) noexcept nogil:
    cdef Session* s = b.owner
    if b.step != STEP_COMMAND or not s.flags & PLAN_LOAD or passed != have or s.uploading \
            or s.kind != KIND_CLIENT or s.script != NULL:
        backend_lost(c, b)
        return
    s.uploading = 1
    s.up_left = 0
    s.up_head = 0
    s.up_continued = 0
    s.response_started = 1
    client_send(c, s, c.scratch, passed)
    upload(c, s)


cdef void upload(Core* c, Session* s) noexcept nogil:
    """Pass on what the client has sent of its file, as long as the server takes it."""
    cdef Backend* b = s.backend
    cdef int budget = READ_BUDGET
    cdef size_t n, taken
    while s.uploading and not s.broken and b.out.len < UPLOAD_HELD:
        if not s.readable:
            return
        if budget == 0:
            ready_session(c, s)
            return
        budget -= 1
        n = client_receive(c, s, c.scratch, SCRATCH)
        s.t_last = c.now
        taken = take_file(s, c.scratch, n)
        if taken < n and not buf_append(&s.inb, c.scratch + taken, n - taken):
            s.broken = 1
        c.stats.bytes_buffered += n - taken
        b.pool.stats.bytes_in += taken
        if not backend_send(c, b, c.scratch, taken):
            backend_gone(c, b)
            return
    if s.broken:
        session_close(c, s)


cdef inline void give_up_upload(Session* s) noexcept nogil:
    """The answer is there. A client that still sends its file cannot be understood behind it."""
    s.hangup |= s.uploading
    s.uploading = 0


cdef size_t take_file(Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """How many of these bytes are the file's: up to its empty packet, which ends it. An empty one behind a packet of
    0xffffff bytes ends that packet only."""
    cdef size_t at = 0
    cdef uint32_t length
    while at < n:
        if s.up_left:
            length = s.up_left if s.up_left < n - at else <uint32_t>(n - at)
            s.up_left -= length
            at += length
            continue
        s.up_bytes[s.up_head] = p[at]
        s.up_head += 1
        at += 1
        if s.up_head == 4:
            s.up_head = 0
            s.up_left = get24(s.up_bytes)
            if s.up_left == 0 and not s.up_continued:
                s.uploading = 0
                break
            s.up_continued = s.up_left == PACKET_MAX
    return at
