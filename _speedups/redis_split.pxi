# Commands whose keys lie on several shards: a part for each, and one reply of all. Included by redis_relay.pyx.

cdef enum:
    NO_MEMORY = -5


cdef bint room_for_places(Core* c, uint32_t count) noexcept nogil:
    cdef uint32_t* more
    cdef uint32_t cap = c.places_cap if c.places_cap else 64
    if count <= c.places_cap:
        return True
    while cap < count:
        cap *= 2
    more = <uint32_t*>realloc(c.places, cap * sizeof(uint32_t))
    if more == NULL:
        return False
    c.places = more
    c.places_cap = cap
    return True


cdef bint room_for_share(Core* c) noexcept nogil:
    cdef Share* more
    cdef uint32_t cap = 2 * c.shares_cap + 16
    if c.nshares < c.shares_cap:
        return True
    more = <Share*>realloc(c.shares, cap * sizeof(Share))
    if more == NULL:
        return False
    c.shares = more
    c.shares_cap = cap
    return True


cdef void forget_shares(Core* c) noexcept nogil:
    cdef uint32_t i
    cdef Share* share
    for i in range(c.nshares):
        share = &c.shares[i]
        if share.cluster != NULL:
            share.cluster.shares[share.slot] = 0
            buf_free(&share.frame)
        else:
            place_at(c, share.place).share = 0
    c.nshares = 0


cdef inline int share_of(Core* c, int32_t place, uint32_t* number, Cluster* cluster, uint32_t slot) noexcept nogil:
    """One more key goes to the place. `number`: the share's of the command at hand, and 1; 0 while there is none."""
    cdef Share* share
    if number[0] == 0:
        if not room_for_share(c):
            return NO_MEMORY
        share = &c.shares[c.nshares]
        memset(share, 0, sizeof(Share))
        share.place, share.cluster, share.slot = place, cluster, slot
        c.nshares += 1
        number[0] = c.nshares
    c.shares[number[0] - 1].keys += 1
    return <int>number[0] - 1


cdef int place_keys(Core* c, Client* cl, Command* command, const uint8_t* p) noexcept nogil:
    """The share of every key into c.places. How many keys; UNDECIDED, DENIED, NO_MEMORY, CROSS (of several regions)."""
    cdef Request* scan = &cl.scan
    cdef uint32_t i = 1, count = 0, step = command.specs[0].step, slot
    cdef int verdict, share
    cdef int region = -1
    cdef Cluster* cluster
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
        cluster = c.shards[shard].cluster
        if cluster != NULL:
            slot = slot_of(p + off, length)
            share = share_of(c, node_of(cluster, slot), &cluster.shares[slot], cluster, slot)
        else:
            if region and cl.who != NO_WAY:
                shard = way_to(c, cl, shard)
                if shard < 0:
                    return UNDECIDED
            elif cl.consistency and command.anywhere:
                shard = reading_place(c, cl, shard)
            share = share_of(c, shard, &place_at(c, shard).share, NULL, 0)
        if share < 0:
            return NO_MEMORY
        c.places[count] = <uint32_t>share
        count += 1
        i += step
    return <int>count


cdef int run_split(Core* c, Client* cl, Command* command, const uint8_t* p) noexcept nogil:
    cdef uint32_t step = command.specs[0].step
    cdef int count, result
    if (cl.scan.argc - 1) % step:
        refuse(c, cl, &command.arity_text, RERR_ARITY)
        return TAKEN
    if not room_for_places(c, cl.scan.argc):
        client_close(c, cl)
        return GONE
    count = place_keys(c, cl, command, p)
    if count < 0:
        forget_shares(c)
        return not_placed(c, cl, count)
    if c.nshares == 1:
        return forward_share(c, cl, command, p)
    result = split_ready(c, cl)
    if result == TAKEN:
        result = send_parts(c, cl, command, p, count, step)
    elif result == STOP:            # nothing of it was sent anywhere, and that was said
        result = TAKEN
    forget_shares(c)
    return result


cdef int not_placed(Core* c, Client* cl, int why) noexcept nogil:
    if why == NO_MEMORY:
        client_close(c, cl)
        return GONE
    if why == DENIED:
        refuse(c, cl, &c.patterns[c.which].refused, RERR_POLICY)
        return TAKEN
    if why == CROSS:
        refuse(c, cl, &c.texts[TEXT_REGIONS], RERR_CROSS)
        return TAKEN
    park(c, cl, cl.scan.at, RPARK_KEY)
    return STOP


cdef int forward_share(Core* c, Client* cl, Command* command, const uint8_t* p) noexcept nogil:
    """All keys go to one place: the frame as it is."""
    cdef Share one = c.shares[0]
    forget_shares(c)
    if one.cluster != NULL:
        return forward_slot(c, cl, command, one.cluster, one.slot, command.level > 1, p, cl.scan.at)
    return forward(c, cl, command, one.place, command.level > 1, p, cl.scan.at)


cdef int split_ready(Core* c, Client* cl) noexcept nogil:
    """Can all shares be sent now? TAKEN: yes, AGAIN, or STOP: one of them cannot, which was answered."""
    cdef uint32_t i
    cdef Share* share
    cdef ShardPlace* place
    for i in range(c.nshares):
        share = &c.shares[i]
        place = place_at(c, share.place)
        if share.cluster != NULL and awaits_map(c, cl):
            return AGAIN
        share.b = place.conns[cl.protocol]
        if share.b == NULL:
            if share.cluster != NULL:
                share.cluster.stale = 1
                c.notify = True
            away(c, cl, place)
            return STOP
        if place.remote and cl.remote >= c.remote_most:
            cl.throttled = 1
            return AGAIN
        if too_full(share.b) or (share.cluster != NULL and node_full(share.b)):
            place.stats.waits += 1
            wait_for(share.b, cl)
            return AGAIN
    return TAKEN


cdef int send_parts(Core* c, Client* cl, Command* command, const uint8_t* p, uint32_t count,
                    uint32_t step) noexcept nogil:
    cdef Req* whole = split_new(c, cl, command, count)
    cdef Share* share
    cdef uint32_t i, k
    cdef size_t off, length, begin
    cdef Words w
    cdef bint ok = whole != NULL
    for i in range(c.nshares):
        share = &c.shares[i]
        share.part = req_new(c) if ok else NULL
        if share.part == NULL:
            client_close(c, cl)     # what was sent of it comes back to nobody
            return GONE
        begin_part(c, cl, command, whole, share, i)
        ok = part_head(c, share, share.keys * step + 1, p + cl.scan.off[0], cl.scan.len[0])
    words_begin(&w, p, &cl.scan)
    for i in range(count):
        share = &c.shares[c.places[i]]
        for k in range(step):
            word_at(&w, 1 + i * step + k, &off, &length)
            begin = off - 3 - digits_of(length)
            ok = ok and part_write(c, share, p + begin, off + length + 2 - begin)
    for i in range(c.nshares):
        end_part(c, &c.shares[i], ok)
    c.st.splits += 1
    return TAKEN if cl.phase != PHASE_CLOSED else GONE


cdef void begin_part(Core* c, Client* cl, Command* command, Req* whole, Share* share, uint32_t number) noexcept nogil:
    cdef Req* part = share.part
    cdef ShardPlace* place = place_at(c, share.place)
    part.kind = REQ_PART
    part.parent = whole
    part.writes = whole.writes
    part.share = number
    part.pnext = whole.parts
    whole.parts = part
    whole.pending += 1
    if part.writes:
        cl.writing += 1
    if place.remote:
        part.remote = 1
        cl.remote += 1
    if share.cluster == NULL:
        backend_enqueue(c, share.b, part)
    place.requests += 1
    place.stats.requests += 1
    part.command = <uint32_t>(command - c.commands)


cdef inline bint part_write(Core* c, Share* share, const uint8_t* p, size_t n) noexcept nogil:
    if share.cluster != NULL:
        return buf_append(&share.frame, p, n)
    return backend_write(c, share.b, p, n)


cdef void end_part(Core* c, Share* share, bint ok) noexcept nogil:
    """Without memory a frame is not whole: such a connection cannot go on."""
    if share.cluster == NULL:
        if not ok and share.b.fd >= 0:
            backend_lost(c, share.b)
    elif not ok or not keep(c, share.part, share.cluster, share.slot, &share.frame):
        lost(c, place_at(c, share.place), share.part, True)
    else:
        node_send(c, share.b, share.part)


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


cdef bint part_head(Core* c, Share* share, uint32_t argc, const uint8_t* name, size_t n) noexcept nogil:
    """`*argc` and the command's name."""
    cdef uint8_t line[64]
    share.part.words = argc
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
    return part_write(c, share, line, at + 2)


cdef Req* split_new(Core* c, Client* cl, Command* command, uint32_t count) noexcept nogil:
    cdef Req* r = req_new(c)
    if r == NULL:
        return NULL
    r.kind = REQ_SPLIT
    r.merge = command.merge
    r.writes = command.level > 1
    r.count = count
    if r.merge == MERGE_ARRAY:
        r.places = <uint32_t*>malloc(count * sizeof(uint32_t))
        if r.places == NULL:
            req_free(c, r)
            return NULL
        memcpy(r.places, c.places, count * sizeof(uint32_t))
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
    """Each key's value out of its share's array, in the order of the keys."""
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
        c.shares[part.share].merging = part     # the number was in use, so there is room
        part = part.pnext
    line[0] = c'*'
    at = 1 + put_decimal(line + 1, r.count)
    memcpy(line + at, <const char*>b"\r\n", 2)
    if not buf_append(&r.reply, line, at + 2):
        return False
    for i in range(r.count):
        part = c.shares[r.places[i]].merging
        memset(&scan, 0, sizeof(ReplyScan))
        if part.at >= part.reply.len:
            return False
        if reply_scan(&scan, buf_head(&part.reply) + part.at, part.reply.len - part.at, &used) != RESP_DONE:
            return False
        if not buf_append(&r.reply, buf_head(&part.reply) + part.at, used):
            return False
        part.at += used
    return True
