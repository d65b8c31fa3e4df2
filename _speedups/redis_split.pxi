# Commands whose keys lie on several shards: a part for each, and one reply of all. Included by redis_relay.pyx.

cdef bint room_for_places(Core* c, uint32_t count) noexcept nogil:
    cdef uint16_t* more
    cdef uint32_t cap = c.places_cap if c.places_cap else 64
    if count <= c.places_cap:
        return True
    while cap < count:
        cap *= 2
    more = <uint16_t*>realloc(c.places, cap * sizeof(uint16_t))
    if more == NULL:
        return False
    c.places = more
    c.places_cap = cap
    return True


cdef void forget_touched(Core* c) noexcept nogil:
    cdef uint32_t i
    cdef ShardPlace* place
    for i in range(c.ntouched):
        place = place_at(c, c.touched[i])
        place.count = 0
        place.part = NULL
    c.ntouched = 0


cdef int place_keys(Core* c, Client* cl, Command* command, const uint8_t* p) noexcept nogil:
    """The place of every key into c.places, how many each has into the places. How many keys; UNDECIDED, DENIED,
    CROSS (of several regions)."""
    cdef Request* scan = &cl.scan
    cdef uint32_t i = 1, count = 0, step = command.specs[0].step
    cdef int verdict
    cdef int region = -1
    cdef ShardPlace* place
    cdef size_t off, length
    cdef int shard
    cdef Words w
    words_begin(&w, p, scan)
    while i < scan.argc:
        word_at(&w, i, &off, &length)
        shard = key_shard(c, p + off, length)
        if shard < 0:
            return UNDECIDED
        if c.domains != NULL:
            verdict = judge(c, cl, command, scan.argc, shard)
            if verdict != MAY:
                return verdict
        if c.one_region and region >= 0 and region != c.shards[shard].foreign:
            return CROSS
        region = c.shards[shard].foreign
        if region and cl.who != NO_WAY:
            shard = way_to(c, cl, shard)
            if shard < 0:
                return UNDECIDED
        elif cl.consistency and command.anywhere:
            shard = reading_place(c, cl, shard)
        place = place_at(c, shard)
        if place.count == 0:
            c.touched[c.ntouched] = shard
            c.ntouched += 1
        place.count += 1
        c.places[count] = <uint16_t>shard
        count += 1
        i += step
    return <int>count


cdef int run_split(Core* c, Client* cl, Command* command, const uint8_t* p) noexcept nogil:
    cdef uint32_t step = command.specs[0].step, i
    cdef int count, result = TAKEN
    cdef Backend* b
    if (cl.scan.argc - 1) % step:
        refuse(c, cl, &command.arity_text, RERR_ARITY)
        return TAKEN
    if not room_for_places(c, cl.scan.argc):
        client_close(c, cl)
        return GONE
    count = place_keys(c, cl, command, p)
    if count < 0:
        forget_touched(c)
        if count == DENIED:
            refuse(c, cl, &c.patterns[c.which].refused, RERR_POLICY)
            return TAKEN
        if count == CROSS:
            refuse(c, cl, &c.texts[TEXT_REGIONS], RERR_CROSS)
            return TAKEN
        park(c, cl, cl.scan.at, RPARK_KEY)
        return STOP
    if c.ntouched == 1:
        i = c.touched[0]
        forget_touched(c)
        return forward(c, cl, command, i, command.level > 1, p, cl.scan.at)
    for i in range(c.ntouched):
        b = connection(c, c.touched[i], cl.protocol)
        if b == NULL:           # nothing of it was sent anywhere
            away(c, cl, place_at(c, c.touched[i]))
            forget_touched(c)
            return TAKEN
        if place_at(c, c.touched[i]).remote and cl.remote >= c.remote_most:
            cl.throttled = 1
            forget_touched(c)
            return STOP
        if too_full(b):
            place_at(c, c.touched[i]).stats.waits += 1
            wait_for(b, cl)
            forget_touched(c)
            return STOP
    result = send_parts(c, cl, command, p, count, step)
    forget_touched(c)
    return result


cdef int send_parts(Core* c, Client* cl, Command* command, const uint8_t* p, uint32_t count,
                    uint32_t step) noexcept nogil:
    cdef Req* whole = split_new(c, cl, command, count)
    cdef Backend* b
    cdef ShardPlace* place
    cdef Req* part
    cdef uint32_t i, k
    cdef size_t off, length, begin
    cdef Words w
    cdef bint ok = whole != NULL
    for i in range(c.ntouched):
        part = req_new(c) if ok else NULL
        if part == NULL:
            client_close(c, cl)     # what was sent of it comes back to nobody
            return GONE
        b = connection(c, c.touched[i], cl.protocol)
        part.kind = REQ_PART
        part.parent = whole
        part.writes = whole.writes
        part.pnext = whole.parts
        whole.parts = part
        whole.pending += 1
        place = place_at(c, c.touched[i])
        if part.writes:
            cl.writing += 1
        if place.remote:
            part.remote = 1
            cl.remote += 1
        backend_enqueue(c, b, part)
        place.requests += 1
        place.stats.requests += 1
        part.command = <uint32_t>(command - c.commands)
        part.words = place.count * step + 1
        ok = part_head(c, b, place.count * step + 1, p + cl.scan.off[0], cl.scan.len[0])
    words_begin(&w, p, &cl.scan)
    for i in range(count):
        b = connection(c, c.places[i], cl.protocol)
        for k in range(step):
            word_at(&w, 1 + i * step + k, &off, &length)
            begin = off - 3 - digits_of(length)
            ok = ok and backend_write(c, b, p + begin, off + length + 2 - begin)
    if not ok:                      # without memory a frame is not whole: these connections cannot go on
        for i in range(c.ntouched):
            b = connection(c, c.touched[i], cl.protocol)
            if b != NULL:
                backend_lost(c, b)
    c.st.splits += 1
    return TAKEN if cl.phase != PHASE_CLOSED else GONE


cdef inline uint32_t digits_of(size_t n) noexcept nogil:
    cdef uint32_t count = 1
    while n >= 10:
        n //= 10
        count += 1
    return count


cdef inline uint32_t put_decimal(uint8_t* out, uint64_t n) noexcept nogil:
    cdef uint32_t count = digits_of(n), i = count
    while i:
        i -= 1
        out[i] = c'0' + n % 10
        n //= 10
    return count


cdef bint part_head(Core* c, Backend* b, uint32_t argc, const uint8_t* name, size_t n) noexcept nogil:
    """`*argc` and the command's name."""
    cdef uint8_t line[64]
    cdef uint32_t at
    line[0] = c'*'
    at = 1 + put_decimal(line + 1, argc)
    memcpy(line + at, <const char*>b"\r\n$", 3)
    at += 3
    at += put_decimal(line + at, n)
    memcpy(line + at, <const char*>b"\r\n", 2)
    memcpy(line + at + 2, name, n)
    at += 2 + <uint32_t>n
    memcpy(line + at, <const char*>b"\r\n", 2)
    return backend_write(c, b, line, at + 2)


cdef Req* split_new(Core* c, Client* cl, Command* command, uint32_t count) noexcept nogil:
    cdef Req* r = req_new(c)
    if r == NULL:
        return NULL
    r.kind = REQ_SPLIT
    r.merge = command.merge
    r.writes = command.level > 1
    r.count = count
    if r.merge == MERGE_ARRAY:
        r.places = <uint16_t*>malloc(count * sizeof(uint16_t))
        if r.places == NULL:
            req_free(c, r)
            return NULL
        memcpy(r.places, c.places, count * sizeof(uint16_t))
    client_enqueue(cl, r)
    return r


cdef void split_free(Core* c, Req* r) noexcept nogil:
    cdef Req* part = r.parts
    cdef Req* following
    while part != NULL:
        following = part.pnext
        req_free(c, part)
        part = following
    req_free(c, r)


# ---------------------------------------------------------------- merging
cdef void merge(Core* c, Req* r) noexcept nogil:
    """All parts have their replies; r.reply becomes the one that the client gets. An error of any part is it."""
    cdef Req* part = r.parts
    cdef size_t held = 0
    cdef bint ok
    cdef Buf* text = NULL
    while part != NULL:
        held += part.reply.len
        if part.reply.len == 0 or buf_head(&part.reply)[0] == c'-':
            text = &part.reply if part.reply.len else &c.texts[TEXT_MERGE]
        part = part.pnext
    if text != NULL:
        ok = buf_append(&r.reply, buf_head(text), text.len)
    elif r.merge == MERGE_ARRAY:
        ok = merge_array(c, r)
    elif r.merge == MERGE_OK:
        ok = buf_append(&r.reply, <const uint8_t*><const char*>b"+OK\r\n", 5)
    else:
        ok = merge_sum(r)
    if not ok:
        buf_free(&r.reply)
        buf_append(&r.reply, buf_head(&c.texts[TEXT_MERGE]), c.texts[TEXT_MERGE].len)
    r.client.held += r.reply.len
    r.client.held -= held
    part = r.parts
    while part != NULL:
        buf_free(&part.reply)
        part = part.pnext


cdef bint merge_sum(Req* r) noexcept nogil:
    cdef Req* part = r.parts
    cdef uint64_t total = 0, one
    cdef uint8_t line[32]
    cdef uint8_t* p
    cdef uint32_t at
    cdef size_t i
    while part != NULL:
        p = buf_head(&part.reply)
        one = 0
        if p[0] != c':':
            return False
        for i in range(1, part.reply.len - 2):
            if p[i] < c'0' or p[i] > c'9':
                return False
            one = one * 10 + (p[i] - c'0')
        total += one
        part = part.pnext
    line[0] = c':'
    at = 1 + put_decimal(line + 1, total)
    memcpy(line + at, <const char*>b"\r\n", 2)
    return buf_append(&r.reply, line, at + 2)


cdef bint merge_array(Core* c, Req* r) noexcept nogil:
    """Each key's value out of its shard's array, in the order of the keys."""
    cdef Req* part = r.parts
    cdef uint8_t line[32]
    cdef uint32_t at, i
    cdef ReplyScan scan
    cdef size_t used = 0
    cdef const uint8_t* found
    while part != NULL:
        found = <const uint8_t*>memchr(buf_head(&part.reply), c'\n', part.reply.len)
        if buf_head(&part.reply)[0] != c'*' or found == NULL:
            return False
        part.at = found - buf_head(&part.reply) + 1
        if not is_place(c, part.shard):
            return False
        place_at(c, part.shard).part = part
        part = part.pnext
    line[0] = c'*'
    at = 1 + put_decimal(line + 1, r.count)
    memcpy(line + at, <const char*>b"\r\n", 2)
    if not buf_append(&r.reply, line, at + 2):
        return False
    for i in range(r.count):
        part = place_at(c, r.places[i]).part
        memset(&scan, 0, sizeof(ReplyScan))
        if part == NULL or part.at >= part.reply.len:
            return False
        if reply_scan(&scan, buf_head(&part.reply) + part.at, part.reply.len - part.at, &used) != RESP_DONE:
            return False
        if not buf_append(&r.reply, buf_head(&part.reply) + part.at, used):
            return False
        part.at += used
    part = r.parts
    while part != NULL:
        place_at(c, part.shard).part = NULL
        part = part.pnext
    return True
