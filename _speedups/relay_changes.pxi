# What OK packets say of the session's changes: read of backends, told to clients. Included by relay.pyx.
#
# Backends report every change of session state (proxy/pool/connectors.py). A client with CLIENT_SESSION_TRACK is told
# what one server would tell it: of the kinds and variables that it has chosen, and never of what brings a backend into
# the session's state. MySQL tells of explicit transactions whatever session_track_transaction_info says; what becomes
# of one that has not reached a server yet is known here.

cdef enum:
    ENTRY_ROOM = 16             # for what is added to an OK packet


cdef inline size_t learn_changes(Core* c, Session* s, Backend* b, size_t n) noexcept nogil:
    """Read what an OK packet, the last of the `n` bytes, says of the session's changes, and leave in it what the client
    is told; how many bytes that makes."""
    if b.scan.track_length:
        read_session_track(c, s, b, c.scratch + b.scan.track_offset, b.scan.track_length)
    if s.session_track != TOLD_ALL and b.scan.final_length != 11:
        return reword(s, b, c.scratch, n)
    return n


cdef size_t reword(Session* s, Backend* b, uint8_t* p, size_t n) noexcept nogil:
    cdef size_t offset = b.scan.final_offset, length = b.scan.final_length, final
    if s.session_track:
        final = keep_changes(p + offset, length, s.changes, buf_head(&s.changing), s.changing.len)
        if s.transaction_told and final and offset + final + ENTRY_ROOM <= SCRATCH and has_ended(s, b):
            s.transaction_told = TOLD_NO_TRANSACTION
            final = add_transaction(p + offset, final)
    else:
        final = strip_session_track(p + offset, length)
    return offset + final if final else n


cdef bint has_ended(Session* s, Backend* b) noexcept nogil:
    """A transaction of which the client was told is over, and the server has not said so: an error has ended it, or it
    had not reached a server."""
    if not s.changes & CHANGE_TRANSACTION or b.scan.status & SERVER_STATUS_IN_TRANS:
        return False
    return s.trx != TRX_PENDING or has_ended_pending(s, b)


cdef size_t add_transaction(uint8_t* packet, size_t n) noexcept nogil:
    """Add to an OK packet (head and payload, n bytes) that there is no transaction; its new length."""
    cdef uint8_t* p = packet + 4
    cdef size_t size = n - 4, i = 1, at
    cdef uint64_t length = 0
    cdef uint8_t head[3]
    cdef bint changed
    if not lenenc(p, size, &i, &length) or not lenenc(p, size, &i, &length) or size - i < 4:
        return n
    changed = p[i + 1] & (SERVER_SESSION_STATE_CHANGED >> 8)
    p[i + 1] |= SERVER_SESSION_STATE_CHANGED >> 8
    i += 4
    if i == size:
        p[i] = 0
        size += 1
    if not lenenc(p, size, &i, &length):
        return n
    i += length
    at = i
    length = 0
    if changed and not lenenc(p, size, &at, &length):
        return n
    memmove(p + i + put_lenenc(head, length + 11), p + at, length)
    i += put_lenenc(p + i, length + 11) + length
    i += put_transaction(p + i, TOLD_NO_TRANSACTION)
    put24(packet, i)
    return i + 4


cdef void read_session_track(Core* c, Session* s, Backend* b, const uint8_t* p, size_t n) noexcept nogil:
    """Entries of SERVER_SESSION_STATE_CHANGED: the GTID of a write, and changes that were not asked for.

    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html
    """
    cdef size_t at = 0, inner
    cdef uint64_t length = 0, name = 0, value = 0
    cdef uint8_t kind
    while at < n:
        kind = p[at]
        at += 1
        if not lenenc(p, n, &at, &length) or n - at < length:
            return
        inner = at
        if kind == 0:
            if lenenc(p, at + length, &inner, &name) and at + length - inner >= name:
                if name == 9 and memcmp(p + inner, <const char*>b"last_gtid", 9) == 0:
                    inner += name
                    if lenenc(p, at + length, &inner, &value) and at + length - inner >= value:
                        note_position(c, s, b, p + inner, value)
                elif name == 12 and memcmp(p + inner, <const char*>b"statement_id", 12) == 0:
                    pass        # MySQL counts statements there; no state of the session
                elif not bound_for_good(s.cmd_pins | s.pins):
                    b.suspect |= SUSPECT_STATE
        elif kind == 3:
            inner += 1
            if lenenc(p, at + length, &inner, &value) and at + length - inner >= value:
                note_position(c, s, b, p + inner, value)
        elif kind == 5:
            s.transaction_told = read_transaction(p + at, length)
        elif kind == 1 and not bound_for_good(s.pins) and s.command != COM_INIT_DB:
            b.suspect |= SUSPECT_STATE
        at += length


cdef uint8_t read_transaction(const uint8_t* p, size_t n) noexcept nogil:
    """Eight letters, the first of which says how the transaction was begun and the third whether it has read."""
    if n < 4 or p[1] != c"T":
        return TOLD_NO_TRANSACTION
    return TOLD_SNAPSHOT if p[3] == c"R" else TOLD_TRANSACTION


cdef inline uint8_t transaction_now(Session* s) noexcept nogil:
    """What the client is to know of its transaction; a server tells of the one that it has."""
    if s.trx == TRX_NONE or (s.trx == TRX_PENDING and s.begin == BEGIN_NOTHING):
        return TOLD_NO_TRANSACTION
    if s.trx == TRX_ACTIVE:
        return s.transaction_told
    return TOLD_SNAPSHOT if s.begin >= BEGIN_ACCESS else TOLD_TRANSACTION


cdef size_t put_transaction(uint8_t* p, uint8_t told) noexcept nogil:
    memcpy(p, <const char*>b"\x05\x09\x08________", 11)
    if told:
        p[3] = c"T"
    if told == TOLD_SNAPSHOT:
        p[5] = c"R"
    return 11


cdef void reply_told(Core* c, Session* s, const uint8_t* told, size_t n, uint32_t kinds) noexcept nogil:
    """`reply_ok` to a client with CLIENT_SESSION_TRACK, with as much of `told` (entries as servers write them) as it is
    told."""
    cdef uint8_t* p = c.out
    cdef uint8_t now = transaction_now(s)
    cdef bint ends = now != s.transaction_told and s.changes & CHANGE_TRANSACTION
    cdef size_t size = put_ok(p, first_seq(s), session_status(s))
    cdef size_t length = pick_changes(NULL, told, n, kinds, buf_head(&s.changing), s.changing.len) + 11 * ends
    s.transaction_told = now
    if length:
        p[8] |= SERVER_SESSION_STATE_CHANGED >> 8
        p[size] = 0
        size += 1 + put_lenenc(p + size + 1, length)
        size += pick_changes(p + size, told, n, kinds, buf_head(&s.changing), s.changing.len)
        if ends:
            size += put_transaction(p + size, now)
        put24(p, size - 4)
    answered_ok(s)
    client_send(c, s, p, size)
    end_command(c, s)
