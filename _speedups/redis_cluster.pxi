# A shard that is a whole Redis Cluster: which node has a slot, and requests that have to go to another node. Included
# by redis_relay.pyx. https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
#
# A node's word that a slot is elsewhere counts at once; the uvloop side asks for the whole map then. What a client
# sends after a change waits until all that it sent before is answered, so that nothing overtakes what is redirected.

cdef enum:
    MOST_TRIES = 16             # a request is sent so often
    RETRY_NS = 100000000

cdef enum Redirection:
    STAYS = 0
    MOVED = 1
    ASKS = 2                    # only this once
    NOT_NOW = 3


cdef inline int32_t node_of(Cluster* cluster, uint32_t slot) noexcept nogil:
    """A node's place, or where it has none the shard's, which no connection leads to."""
    return cluster.nodes[slot] if cluster.nodes[slot] else cluster.shard


cdef inline bint node_full(Backend* b) noexcept nogil:
    return b.kept > BACKEND_HIGH


cdef inline bint awaits_map(Core* c, Client* cl) noexcept nogil:
    if cl.map_epoch == c.map_epoch:
        return False
    if cl.head == NULL:
        cl.map_epoch = c.map_epoch
        return False
    cl.throttled = 1
    return True


cdef int forward_slot(Core* c, Client* cl, Command* command, Cluster* cluster, uint32_t slot, uint8_t writes,
                      const uint8_t* p, size_t n) noexcept nogil:
    """The frame to the slot's node, as it was sent, and a copy for the case that it has to be sent to another."""
    cdef ShardPlace* place = place_at(c, node_of(cluster, slot))
    cdef Backend* b = place.conns[cl.protocol]
    cdef Req* r
    cdef Buf frame
    if awaits_map(c, cl):
        return AGAIN
    place.requests += 1
    if b == NULL:
        cluster.stale = 1
        c.notify = True
        away(c, cl, place)
        return TAKEN
    if too_full(b) or node_full(b):
        place.stats.waits += 1
        wait_for(b, cl)
        return AGAIN
    place.stats.requests += 1
    memset(&frame, 0, sizeof(Buf))
    r = request_new(c, cl, command, writes)
    if r == NULL or not buf_append(&frame, p, n) or not keep(c, r, cluster, slot, &frame):
        buf_free(&frame)
        client_close(c, cl)
        return GONE
    client_enqueue(cl, r)
    node_send(c, b, r)
    return TAKEN


# ---------------------------------------------------------------- what may be sent again
cdef bint keep(Core* c, Req* r, Cluster* cluster, uint32_t slot, Buf* frame) noexcept nogil:
    """The frame's bytes are the request's own from here on."""
    cdef Kept* kept = <Kept*>calloc(1, sizeof(Kept))
    if kept == NULL:
        return False
    kept.frame = frame[0]
    memset(frame, 0, sizeof(Buf))
    kept.shard = cluster.shard
    kept.slot = slot
    r.kept = kept
    return True


cdef void kept_free(Req* r) noexcept nogil:
    buf_free(&r.kept.frame)
    free(r.kept)
    r.kept = NULL


cdef void node_send(Core* c, Backend* b, Req* r) noexcept nogil:
    """Takes its place behind what is under way at the node."""
    if b.fd < 0:
        lost(c, place_at(c, b.shard), r, True)
        return
    r.bnext = NULL              # it may have stood in another node's queue
    backend_enqueue(c, b, r)
    b.kept += r.kept.frame.len
    if not backend_write(c, b, buf_head(&r.kept.frame), r.kept.frame.len):
        backend_lost(c, b)


cdef inline Client* owner(Req* r) noexcept nogil:
    return r.parent.client if r.kind == REQ_PART else r.client


# ---------------------------------------------------------------- answers of nodes
cdef bint sent_elsewhere(Core* c, Backend* b, Req* r) noexcept nogil:
    """A node has answered. True: the request goes on; else its reply is complete."""
    cdef Cluster* cluster = place_at(c, b.shard).home
    cdef Client* cl
    cdef bint goes_on = False
    if r.kept == NULL:
        return False
    b.kept -= r.kept.frame.len
    while b.waiters != NULL and not node_full(b):
        cl = b.waiters
        b.waiters = cl.wait_next
        cl.awaits = NULL
        make_ready(c, cl)
    if b.line.len:
        goes_on = cluster != NULL and owner(r) != NULL and redirect(c, b, r, cluster)
        if not goes_on:
            take_reply(c, r, buf_head(&b.line), b.line.len)
        buf_free(&b.line)
    if not goes_on:
        kept_free(r)
    return goes_on


cdef int redirection(Buf* line, uint32_t* slot, size_t* host) noexcept nogil:
    """What an error line says. `host`: where the address begins in it."""
    cdef const uint8_t* p = buf_head(line)
    cdef size_t at
    cdef int kind
    if line.len > 9 and memcmp(p, <const char*>b"-TRYAGAIN", 9) == 0:
        return NOT_NOW
    if line.len > 12 and memcmp(p, <const char*>b"-CLUSTERDOWN", 12) == 0:
        return NOT_NOW
    if line.len > 7 and memcmp(p, <const char*>b"-MOVED ", 7) == 0:
        kind, at = MOVED, 7
    elif line.len > 5 and memcmp(p, <const char*>b"-ASK ", 5) == 0:
        kind, at = ASKS, 5
    else:
        return STAYS
    slot[0] = 0
    while at < line.len and c'0' <= p[at] <= c'9' and slot[0] < SLOT_COUNT:
        slot[0] = 10 * slot[0] + (p[at] - c'0')
        at += 1
    host[0] = at + 1
    return kind if slot[0] < SLOT_COUNT and at < line.len and p[at] == c' ' else STAYS


cdef bint redirect(Core* c, Backend* b, Req* r, Cluster* cluster) noexcept nogil:
    """True: r is on its way to another node, or will be in a while. A client is never told of nodes."""
    cdef uint32_t slot
    cdef size_t host
    cdef int kind = redirection(&b.line, &slot, &host)
    cdef uint16_t target
    cdef Client* cl = owner(r)
    cdef Backend* other
    if kind == STAYS:
        return False
    place_at(c, b.shard).stats.redirects += 1
    r.kept.tries += 1
    if kind == NOT_NOW:         # what is behind it may not overtake it
        return r.kept.tries < MOST_TRIES and is_last(cl, r) and put_off(c, cl, r)
    target = node_at(c, cluster, buf_head(&b.line) + host, b.line.len - host)
    if kind == MOVED:
        moved(c, cluster, slot, target)
    if r.kept.tries < MOST_TRIES:
        other = place_at(c, target).conns[b.protocol] if target else NULL
        if other == NULL or cl.delayed:
            if put_off(c, cl, r):
                return True
        elif kind == MOVED or ask(c, other):
            node_send(c, other, r)
            return True
    buf_free(&b.line)           # nothing was carried out: the client may try again
    buf_append(&b.line, buf_head(&c.shards[cluster.shard].away), c.shards[cluster.shard].away.len)
    return False


cdef void moved(Core* c, Cluster* cluster, uint32_t slot, uint16_t target) noexcept nogil:
    cluster.stale = 1
    c.notify = True
    if target and cluster.nodes[slot] != target:
        cluster.nodes[slot] = target
        c.map_epoch += 1


cdef uint16_t node_at(Core* c, Cluster* cluster, const uint8_t* p, size_t n) noexcept nogil:
    """The place of the node of this address (and the line's end behind it); 0: none that is known."""
    cdef uint32_t i
    cdef ShardPlace* place
    for i in range(c.nways):
        place = c.ways[i]
        if place != NULL and place.home == cluster and n == place.address_length + 2 \
                and memcmp(place.address, p, place.address_length) == 0:
            return <uint16_t>(WAY_BASE + i)
    return 0


cdef bint ask(Core* c, Backend* b) noexcept nogil:
    """The next request may use a slot that the node is only taking over. The reply to this one is nobody's."""
    cdef Req* r = req_new(c)
    if r == NULL:
        return False
    backend_enqueue(c, b, r)
    if not backend_write(c, b, <const uint8_t*><const char*>b"*1\r\n$6\r\nASKING\r\n", 16):
        backend_lost(c, b)
    return True


# ---------------------------------------------------------------- in a while
cdef inline bint is_last(Client* cl, Req* r) noexcept nogil:
    return cl.tail == (r.parent if r.kind == REQ_PART else r)


cdef bint put_off(Core* c, Client* cl, Req* r) noexcept nogil:
    """It is sent by the map as it is then. False: too much waits already."""
    if c.delayed_bytes + r.kept.frame.len > BACKEND_HIGH:
        return False
    c.delayed_bytes += r.kept.frame.len
    r.kept.due = c.now + RETRY_NS
    r.bnext = NULL
    if c.delayed == NULL:
        c.delayed = r
    else:
        c.delayed_tail.bnext = r
    c.delayed_tail = r
    cl.delayed += 1
    cl.map_epoch = c.map_epoch - 1      # nothing more of the client until it is answered
    return True


cdef void send_delayed(Core* c) noexcept nogil:
    """In the order in which they were put off."""
    cdef Req* r
    while c.delayed != NULL and c.delayed.kept.due <= c.now:
        r = c.delayed
        c.delayed = r.bnext
        c.delayed_bytes -= r.kept.frame.len
        if owner(r) == NULL:
            kept_free(r)
            finish(c, r)
        else:
            owner(r).delayed -= 1
            send_again(c, owner(r), r)


cdef void send_again(Core* c, Client* cl, Req* r) noexcept nogil:
    cdef int32_t shard = r.kept.shard
    cdef Cluster* cluster = c.shards[shard].cluster if <uint32_t>shard < c.nshards else NULL
    cdef ShardPlace* place
    if cluster == NULL:
        lost(c, place_at(c, 0), r, True)
        return
    place = place_at(c, node_of(cluster, r.kept.slot))
    if place.conns[cl.protocol] != NULL:
        node_send(c, place.conns[cl.protocol], r)
        return
    r.kept.tries += 1
    if r.kept.tries >= MOST_TRIES or not put_off(c, cl, r):
        lost(c, place, r, True)


# ---------------------------------------------------------------- the map
cdef void cluster_free(Core* c, Cluster* cluster) noexcept nogil:
    cdef uint32_t i
    if cluster == NULL:
        return
    for i in range(c.nways):
        if c.ways[i] != NULL and c.ways[i].home == cluster:
            c.ways[i].home = NULL
    free(cluster)


cdef void delayed_free(Core* c) noexcept nogil:
    """At the end of all: nobody is answered any more."""
    cdef Req* r
    while c.delayed != NULL:
        r = c.delayed
        c.delayed = r.bnext
        kept_free(r)
        if r.kind == REQ_ONE:
            req_free(c, r)
