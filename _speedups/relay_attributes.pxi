# Query attributes: values by name that a client sends with a statement. Included by relay.pyx.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query.html
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html
#
# Where they were negotiated, a COM_QUERY has a head before its text, and a COM_STMT_EXECUTE counts and names its
# parameters. Both are taken off when the command arrives, so that nothing else in the relay knows of them, and put on
# again on the way to a backend that has negotiated them, too.

cdef enum:
    MOST_ATTRIBUTES = 0xffff    # servers take no more
    PARAMETER_COUNT_AVAILABLE = 0x08
    BARE_HEAD = 2               # before the text of a COM_QUERY without attributes: their count, and that of their sets
    EXECUTE_HEAD = 10           # command, statement, flags, iterations
    TYPE_BOOL = 244             # which servers refuse


cdef inline bint take_attributes(Core* c, Session* s) noexcept nogil:
    """Make the command one of a client that knows of none. False when it is answered, for it is malformed."""
    if s.command == COM_QUERY and s.cmd_len >= 3 and s.cmd[1] == 0 and s.cmd[2] == 1 and not s.big:
        begin_later(c, s, 2)
        return True
    return take_more(c, s)


cdef bint take_more(Core* c, Session* s) noexcept nogil:
    cdef bint good = True
    cdef size_t packets = s.cmd_len // PACKET_MAX
    if s.command == COM_QUERY:
        good = take_query(c, s)
    elif s.command == COM_STMT_EXECUTE and s.cmd_len >= EXECUTE_HEAD:
        good = take_execute(c, s)
    if good and s.cmd_len // PACKET_MAX == packets:
        return True
    # Answers are numbered behind the packets of their commands, so there have to be as many of them.
    reply_err(c, s, ERR_CLIENT_PROTOCOL, ERROR_PACKET_TOO_LARGE if good else ERROR_ATTRIBUTES)
    return False


cdef inline void begin_later(Core* c, Session* s, size_t n) noexcept nogil:
    """The command begins `n` bytes later."""
    s.cmd += n
    s.cmd_len -= n
    s.cmd[0] = s.command
    put24(s.cmd - 4, s.cmd_len)
    (s.cmd - 1)[0] = 0
    if s.cmd_total:
        buf_consume(&s.inb, n)
        s.cmd_total -= n
        c.stats.bytes_buffered -= n


cdef bint begin_earlier(Core* c, Session* s, size_t n) noexcept nogil:
    """The reverse, of a command in `inb`: nobody needs what is before it. False where there is too little, or it would
    need another packet."""
    if s.cmd_total == 0 or s.inb.start < n or (s.cmd_len + n) // PACKET_MAX != s.cmd_len // PACKET_MAX:
        return False
    s.cmd -= n
    s.cmd_len += n
    s.inb.start -= n
    s.inb.len += n
    s.cmd_total += n
    c.stats.bytes_buffered += n
    return True


# ---------------------------------------------------------------- reading
cdef uint8_t* read_number(uint8_t* p, const uint8_t* end, uint64_t* value) noexcept nogil:
    """Behind a length-encoded integer; NULL when there is none, or nothing was there before."""
    cdef int used = lenenc_int(p, end - p, value) if p != NULL else 0
    return p + used if used > 0 else NULL


cdef uint8_t* behind_name(uint8_t* p, const uint8_t* end) noexcept nogil:
    """Behind the type and the name of a parameter; NULL when they are cut off."""
    cdef uint64_t length = 0
    if p == NULL or end - p < 3:
        return NULL
    p = read_number(p + 2, end, &length)
    return p + length if p != NULL and length <= <uint64_t>(end - p) else NULL


cdef uint8_t* behind_value(uint8_t* p, const uint8_t* end, uint8_t kind) noexcept nogil:
    """Behind a value of this type, as servers take them; NULL when it is cut off, or none."""
    cdef uint64_t length = 0
    if kind == TYPE_TINY:
        length = 1
    elif kind == TYPE_SHORT:
        length = 2
    elif kind == TYPE_LONG or kind == TYPE_FLOAT:
        length = 4
    elif kind == TYPE_LONGLONG or kind == TYPE_DOUBLE:
        length = 8
    elif kind == TYPE_BOOL:
        return NULL
    else:
        p = read_number(p, end, &length)
        if p == NULL or not fits_moment(kind, length):
            return NULL
    return p + length if length <= <uint64_t>(end - p) else NULL


cdef bint fits_moment(uint8_t kind, uint64_t n) noexcept nogil:
    """May a value of this type be so long? Dates and times may not be just any."""
    if kind == TYPE_DATE:
        return n == 0 or n == 4
    if kind == TYPE_TIME:
        return n == 0 or n == 8 or n == 12
    if kind == TYPE_DATETIME or kind == TYPE_TIMESTAMP:
        return n == 0 or n == 4 or n == 7 or n == 11 or n == 13
    return True


cdef struct Named:              # parameters with names, in a command
    uint64_t count
    uint8_t* nulls              # the bitmap; behind it whether types and names follow
    bint named
    uint8_t* names              # the first one's type, behind it its name
    uint8_t* values
    const uint8_t* end          # of the command


cdef bint read_names(Named* found, uint8_t* p) noexcept nogil:
    """What follows the count, at `p`, up to the values. False when it is malformed."""
    cdef uint64_t i, size = (found.count + 7) // 8
    if found.count > MOST_ATTRIBUTES or <uint64_t>(found.end - p) <= size:
        return False
    found.nulls = p
    found.named = p[size] == 1
    found.names = p = p + size + 1
    if found.named:
        for i in range(found.count):
            p = behind_name(p, found.end)
    found.values = p
    return p != NULL


cdef uint8_t* behind_values(Named* found, uint8_t** name, uint8_t* p, uint64_t start, uint64_t stop,
                            const uint8_t* omitted) noexcept nogil:
    """Behind the values from `start` to `stop`, the first of which is at `p`; `name` goes along. NULL when they are
    cut off. `omitted`: as of a ParamCursor."""
    cdef uint64_t i
    for i in range(start, stop):
        if not is_null_param(found.nulls, <int32_t>i) and (omitted == NULL or not omitted[i]):
            p = behind_value(p, found.end, name[0][0])
            if p == NULL:
                return NULL
        name[0] = behind_name(name[0], found.end)
    return p


cdef bint take_query(Core* c, Session* s) noexcept nogil:
    """COM_QUERY: the head goes, what it holds is kept."""
    cdef Named found
    cdef uint64_t sets = 0
    cdef uint8_t* p
    found.end = s.cmd + s.cmd_len
    p = read_number(read_number(s.cmd + 1, found.end, &found.count), found.end, &sets)
    if p == NULL or sets != 1:
        return False
    if found.count:
        if not read_names(&found, p) or not found.named:
            return False
        p = keep_values(c, s, &found, 0, found.names, found.values)
        if p == NULL:
            return False
    begin_later(c, s, p - s.cmd - 1)
    return True


cdef bint take_execute(Core* c, Session* s) noexcept nogil:
    """COM_STMT_EXECUTE: parameters lose their count and their names, what is beyond the statement's is kept."""
    cdef ClientStatement* cs = client_statement(s)
    cdef Named found
    cdef uint8_t flags = s.cmd[5]
    cdef uint8_t* p
    s.cmd[5] = flags & ~<uint8_t>PARAMETER_COUNT_AVAILABLE
    if cs == NULL or (cs.st.nparams == 0 and not flags & PARAMETER_COUNT_AVAILABLE):
        return True
    found.end = s.cmd + s.cmd_len
    p = read_number(s.cmd + EXECUTE_HEAD, found.end, &found.count)
    if p == NULL or found.count < cs.st.nparams:
        return False
    if found.count:
        if not read_names(&found, p) or (found.count > cs.st.nparams and not keep_beyond(c, s, cs, &found)):
            return False
    if cs.st.nparams:
        close_up(c, s, &found, cs.st.nparams)
    else:
        cut_off(s, EXECUTE_HEAD)
    return True


cdef bint keep_beyond(Core* c, Session* s, ClientStatement* cs, Named* found) noexcept nogil:
    """Keep the values behind those of the statement's parameters, and cut them off."""
    cdef uint8_t* name = found.names
    cdef uint8_t* p = NULL
    if found.named:
        p = behind_values(found, &name, found.values, 0, cs.st.nparams, cs.omitted)
    if p == NULL or keep_values(c, s, found, cs.st.nparams, name, p) == NULL:
        return False
    cut_off(s, p - s.cmd)
    return True


cdef uint8_t* keep_values(Core* c, Session* s, Named* found, uint32_t first, uint8_t* names,
                          uint8_t* values) noexcept nogil:
    """Keep the values from `first` on, as COM_QUERY has them. -> behind them; NULL when they are cut off, or memory is
    refused."""
    cdef uint8_t* name = names
    cdef uint8_t* end = behind_values(found, &name, values, first, found.count, NULL)
    cdef uint8_t* p
    cdef Attributes* kept = <Attributes*>calloc(1, sizeof(Attributes)) if end != NULL else NULL
    if kept == NULL:
        return NULL
    kept.refs = 1
    kept.count = <uint32_t>found.count - first
    s.attributes = kept
    if not buf_reserve(&kept.block, 5 + (kept.count + 7) // 8 + (end - names)):
        drop_attributes(c, s)
        return NULL
    p = put_count(kept.block.mem, kept.count)
    p[0] = 1
    p = put_nulls(p + 1, found.nulls, first, kept.count, 0)
    p[0] = 1
    kept.names = p + 1 - kept.block.mem
    kept.values = kept.names + (found.values - names)
    kept.block.len = kept.values + (end - values)
    memcpy(p + 1, names, found.values - names)
    memcpy(kept.block.mem + kept.values, values, end - values)
    c.stats.bytes_buffered += kept.block.len
    return end


cdef void close_up(Core* c, Session* s, Named* found, uint32_t nparams) noexcept nogil:
    """Move what stands before the parameters' values up to them, over names and count."""
    cdef uint8_t* at = found.values
    cdef uint8_t* name = found.names
    cdef uint8_t* following
    cdef size_t nulls = (nparams + 7) // 8
    cdef uint32_t i
    if found.named:
        for i in range(nparams):
            following = behind_name(name, found.end)
            memmove(found.names + 2 * <size_t>i, name, 2)
            name = following
        at -= 2 * <size_t>nparams
        memmove(at, found.names, 2 * <size_t>nparams)
    at -= 1
    at[0] = found.named
    at -= nulls
    memmove(at, found.nulls, nulls)
    at[nulls - 1] &= 0xff >> (8 * nulls - nparams)      # the others' bits, and what is nobody's
    at -= EXECUTE_HEAD
    memmove(at, s.cmd, EXECUTE_HEAD)
    begin_later(c, s, at - s.cmd)


cdef inline void cut_off(Session* s, size_t n) noexcept nogil:
    s.cmd_len = n
    put24(s.cmd - 4, n)


cdef inline uint8_t* put_count(uint8_t* p, uint32_t count) noexcept nogil:
    """A length-encoded integer of at most 16 bits. -> behind it"""
    if count < 0xfb:
        p[0] = <uint8_t>count
        return p + 1
    p[0] = 0xfc
    p[1] = count & 0xff
    p[2] = <uint8_t>(count >> 8)
    return p + 3


cdef uint8_t* put_nulls(uint8_t* p, const uint8_t* nulls, uint32_t first, uint32_t count, uint32_t at) noexcept nogil:
    """The bits of the null bitmap from `first` on, as those from `at` on of the bitmap at `p`. -> behind that"""
    cdef uint32_t i
    for i in range(count):
        if (at + i) % 8 == 0:
            p[(at + i) // 8] = 0
        p[(at + i) // 8] |= <uint8_t>is_null_param(nulls, <int32_t>(first + i)) << (at + i) % 8
    return p + (at + count + 7) // 8


# ---------------------------------------------------------------- keeping
cdef void drop_attributes(Core* c, Session* s) noexcept nogil:
    cdef Attributes* a = s.attributes
    s.attributes = NULL
    if a == NULL:
        return
    a.refs -= 1
    if a.refs == 0:
        c.stats.bytes_buffered -= a.block.len
        buf_free(&a.block)
        free(a)


cdef void share_attributes(Core* c, Session* lease, Session* client) noexcept nogil:
    """What the executor does for a client's statement, servers do with its attributes."""
    drop_attributes(c, lease)
    if client != NULL and client.attributes != NULL:
        client.attributes.refs += 1
        lease.attributes = client.attributes


# ---------------------------------------------------------------- sending
cdef inline size_t head_size(Session* s, Backend* b) noexcept nogil:
    """Of what stands between a COM_QUERY's command byte and its text."""
    if not b.attributes:
        return 0
    if s.attributes != NULL and b.step == STEP_COMMAND:
        return s.attributes.block.len
    return 2


cdef void put_query_head(Session* s, Backend* b, uint8_t* out) noexcept nogil:
    """A COM_QUERY up to its text."""
    out[0] = COM_QUERY
    if not b.attributes:
        return
    if s.attributes != NULL and b.step == STEP_COMMAND:
        memcpy(out + 1, buf_head(&s.attributes.block), s.attributes.block.len)
    else:
        out[1] = 0
        out[2] = 1


cdef inline uint8_t* room_for(Core* c, Buf* wide, size_t length) noexcept nogil:
    """Where a command of this length can be put together, its head's four bytes before it; NULL for want of memory."""
    memset(wide, 0, sizeof(Buf))
    if length + 4 <= SCRATCH:
        return c.out
    return wide.mem if buf_reserve(wide, length + 4 * (length // PACKET_MAX + 1)) else NULL


cdef bint send_made(Core* c, Backend* b, uint8_t expect, uint8_t* out, size_t length, Buf* wide) noexcept nogil:
    """Send the command that was put together there."""
    if out == c.out:
        put24(out, length)
        out[3] = 0
        return send_bytes(c, b, expect, out, length + 4)
    wide.len = length + 4 * (length // PACKET_MAX + 1)
    expand(wide.mem, length)
    return hand_over(c, b, expect, wide)


cdef inline bint has_room_before(Session* s) noexcept nogil:
    """Are the two bytes before the command's packet nobody's? In the scratch buffer a head stood there."""
    return not s.big and (s.cmd_total == 0 or s.inb.start >= 2)


cdef bint send_headed(Core* c, Backend* b, uint8_t expect, uint8_t* p, size_t n) noexcept nogil:
    """A COM_QUERY of `n` framed bytes, with the head that the backend wants before its text."""
    cdef Session* s = b.owner
    cdef size_t head = head_size(s, b)
    cdef size_t length = n - 4 + head
    cdef Buf wide
    cdef uint8_t* out
    if head == 2 and b.step == STEP_COMMAND and p == s.cmd - 4 and has_room_before(s) and length < PACKET_MAX:
        p -= 2
        put24(p, length)
        p[3] = 0
        put_query_head(s, b, p + 4)
        return send_bytes(c, b, expect, p, length + 4)
    out = room_for(c, &wide, length)
    if out == NULL:
        return False
    put_query_head(s, b, out + 4)
    memcpy(out + 5 + head, p + 5, n - 5)
    return send_made(c, b, expect, out, length, &wide)


cdef bint send_named(Core* c, Session* s, Backend* b, const uint8_t* types, size_t head) noexcept nogil:
    """COM_STMT_EXECUTE for a backend that has negotiated names: the parameters have empty ones. `head`: where the
    command says whether types follow."""
    cdef Attributes* a = s.attributes
    cdef uint32_t nparams = s.exec.nparams, more = a.count if a != NULL else 0
    cdef size_t values = s.cmd_len, length
    cdef Buf wide
    cdef uint8_t* out
    cdef uint8_t* p
    if nparams:
        values = head + 1 + (2 * <size_t>nparams if s.cmd[head] == 1 else 0)
    length = EXECUTE_HEAD + (1 if nparams + more < 0xfb else 3) + (nparams + more + 7) // 8 + 1 \
        + 3 * <size_t>nparams + s.cmd_len - values + (a.block.len - a.names if a != NULL else 0)
    if s.big and a == NULL and length >= s.cmd_len and length - (s.cmd_len - values) <= SCRATCH:
        p = put_named_head(s, types, c.out)
        if begin_earlier(c, s, length - s.cmd_len):
            memcpy(s.cmd, c.out, p - c.out)
            return send_expanded(c, s, b, EXPECT_QUERY)
    out = room_for(c, &wide, length) if nparams + more <= MOST_ATTRIBUTES else NULL
    if out == NULL:
        return False
    p = put_named_head(s, types, out + 4)
    if a != NULL:
        p = put_bytes(p, buf_head(&a.block) + a.names, a.values - a.names)
    p = put_bytes(p, s.cmd + values, s.cmd_len - values)
    if a != NULL:
        put_bytes(p, buf_head(&a.block) + a.values, a.block.len - a.values)
    return send_made(c, b, EXPECT_QUERY, out, length, &wide)


cdef uint8_t* put_named_head(Session* s, const uint8_t* types, uint8_t* out) noexcept nogil:
    """A COM_STMT_EXECUTE up to the types and names of its attributes. -> behind it"""
    cdef Attributes* a = s.attributes
    cdef uint32_t nparams = s.exec.nparams, more = a.count if a != NULL else 0, i
    cdef uint8_t* p
    memcpy(out, s.cmd, EXECUTE_HEAD)
    out[5] |= PARAMETER_COUNT_AVAILABLE
    p = put_count(out + EXECUTE_HEAD, nparams + more)
    put_nulls(p, s.cmd + EXECUTE_HEAD, 0, nparams, 0)
    if a != NULL:
        put_nulls(p, attribute_nulls(a), 0, more, nparams)
    p += (nparams + more + 7) // 8
    p[0] = 1
    p += 1
    for i in range(nparams):
        p[0] = types[2 * i]
        p[1] = types[2 * i + 1]
        p[2] = 0
        p += 3
    return p


cdef inline const uint8_t* attribute_nulls(Attributes* a) noexcept nogil:
    return buf_head(&a.block) + a.names - 1 - (a.count + 7) // 8


cdef inline uint8_t* put_bytes(uint8_t* p, const uint8_t* bytes, size_t n) noexcept nogil:
    memcpy(p, bytes, n)
    return p + n
