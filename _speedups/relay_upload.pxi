# LOAD DATA LOCAL INFILE: the server asks for a file in the middle of its answer (0xFB and the name), and the client's
# packets go to it up to the empty one. Included by relay.pyx.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_local_infile_request.html
#
# Only a client that sent such a statement is ever asked: a server that asks for a file of its own accord is not
# understood, so no server can read clients' files.
#
# A file whose rows belong to several shards is parted by the uvloop side (proxy/scatter/loading.py): it asks the client
# (`Relay.ask_file`) and takes what comes (`take_file`), and gives each shard's part to a lease (`lease_upload`).

cdef enum:
    UPLOAD_HELD = 256 << 10     # bytes for a server that does not take them; then the client is not read


cdef void begin_upload(Core* c, Backend* b, size_t passed, size_t have) noexcept nogil:
    cdef Session* s = b.owner
    if b.step != STEP_COMMAND or not s.flags & PLAN_LOAD or passed != have or s.uploading or s.script != NULL:
        backend_lost(c, b)
        return
    begin_file(s)
    s.up_seq = c.scratch[3] + 1
    client_send(c, s, c.scratch, passed)
    if s.kind == KIND_LEASE:
        push_event(c, s, EVENT_DATA)
    else:
        upload(c, s)


cdef inline void begin_file(Session* s) noexcept nogil:
    s.uploading = 1
    s.up_left = 0
    s.up_head = 0
    s.up_continued = 0
    s.response_started = 1


cdef void upload(Core* c, Session* s) noexcept nogil:
    """Pass on what the client has sent of its file, as long as the server takes it."""
    cdef Backend* b = s.backend
    cdef int budget = READ_BUDGET
    cdef size_t n, taken
    if s.kind == KIND_LEASE:
        push_event(c, s, EVENT_DRAINED)
        return
    while s.uploading and not s.broken and not upload_blocked(s):
        if not s.readable:
            break
        if budget == 0:
            ready_session(c, s)
            break
        budget -= 1
        n = client_receive(c, s, c.scratch, SCRATCH)
        s.t_last = c.now
        taken = take_file(c, s, c.scratch, n)
        if taken < n:
            keep_behind(c, s, c.scratch + taken, n - taken)
        if not s.up_kept:
            b.pool.stats.bytes_in += taken
            if not backend_send(c, b, c.scratch, taken):
                backend_gone(c, b)
                return
    if s.broken:
        session_close(c, s)
    elif s.up_kept and (s.file.len or not s.uploading):
        push_event(c, s, EVENT_DATA)


cdef inline bint upload_blocked(Session* s) noexcept nogil:
    """Does whoever takes the file hold it up? Then the client is not read."""
    return (s.file.len if s.up_kept else s.backend.out.len) >= UPLOAD_HELD


cdef void keep_behind(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """What comes behind the file is the next command's."""
    if not buf_append(&s.inb, p, n):
        s.broken = 1
        return
    c.stats.bytes_buffered += n
    if s.cmd_total:
        s.cmd = buf_head(&s.inb) + 4        # the parked one's


cdef inline void give_up_upload(Session* s) noexcept nogil:
    """The answer is there. A client that still sends its file cannot be understood behind it, nor can a server that
    answers before it has all."""
    s.hangup |= s.uploading
    s.uploading = 0


cdef void end_file(Core* c, Session* s) noexcept nogil:
    """What the uvloop side asked the client for is answered."""
    give_up_upload(s)
    s.up_kept = s.up_asked = 0
    c.stats.bytes_buffered -= s.file.len
    buf_free(&s.file)


cdef size_t take_file(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """How many of these bytes are the file's: up to its empty packet, which ends it. An empty one behind a packet of
    0xffffff bytes ends that packet only."""
    cdef size_t at = 0
    cdef uint32_t length
    while at < n:
        if s.up_left:
            length = s.up_left if s.up_left < n - at else <uint32_t>(n - at)
            if s.up_kept:
                if not buf_append(&s.file, p + at, length):
                    s.broken = 1
                    return n
                c.stats.bytes_buffered += length
            s.up_left -= length
            at += length
            continue
        s.up_bytes[s.up_head] = p[at]
        s.up_head += 1
        at += 1
        if s.up_head == 4:
            s.up_head = 0
            s.up_seq = s.up_bytes[3]
            s.up_left = get24(s.up_bytes)
            if s.up_left == 0 and not s.up_continued:
                s.uploading = 0
                break
            s.up_continued = s.up_left == PACKET_MAX
    return at


cdef bint send_file(Core* c, Session* s, const uint8_t* p, size_t n) noexcept nogil:
    """A lease's part of a file, in packets below 0xffffff bytes. False when the connection is gone."""
    cdef uint8_t head[4]
    cdef size_t length
    cdef Backend* b = s.backend
    while n:
        length = n if n < PACKET_MAX else PACKET_MAX - 1
        put_head(head, length, s.up_seq)
        s.up_seq += 1
        b.pool.stats.bytes_in += 4 + length
        if not backend_send(c, b, head, 4) or not backend_send(c, b, p, length):
            return False
        p += length
        n -= length
    return True


cdef inline void put_head(uint8_t* head, size_t length, uint8_t seq) noexcept nogil:
    head[0] = <uint8_t>length
    head[1] = <uint8_t>(length >> 8)
    head[2] = <uint8_t>(length >> 16)
    head[3] = seq


cdef bint send_file_end(Core* c, Session* s) noexcept nogil:
    cdef uint8_t head[4]
    put_head(head, 0, s.up_seq)
    s.uploading = 0
    return backend_send(c, s.backend, head, 4)
