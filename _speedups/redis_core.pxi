# The structs of the Redis relay, its slots and its lists. Included by redis_relay.pyx.

cdef enum:
    SCRATCH = 65536
    MAX_EVENTS = 256
    READ_BUDGET = 8             # receives of one descriptor in one round
    SWEEP_NS = 100000000
    YIELDS = 64
    BACKEND_HIGH = 8388608      # unsent bytes of a connection above which its clients wait
    STALL_NS = 500000000        # so long others wait behind a client that does not take its reply
    QUIET = 1048576             # unsent bytes of a reply above which it is not read on, while nobody waits behind it
    LARGE = 65536               # an argument longer than this is passed on as it comes
    LONE_HIGH = 262144          # as BACKEND_HIGH, of the connection that takes it
    NAME_ROOM = 24
    COMMAND_SLOTS = 1024        # power of two, kept less than half full
    MAX_SPECS = 2
    MAX_PATTERNS = 256
    MAX_FIELDS = 2
    WAKE_INDEX = 0xffffffff
    BACKEND_BIT = 0x80000000
    FREE_REQS = 65536           # so many unused Reqs are kept
    WAY_BASE = 0x8000           # places from here on are ways into other regions and replicas, below it shards
    MAX_WAYS = 4096
    MAX_REPLICAS = 8
    EVENTUAL = 2                # proxy.generation.LEVELS
    NO_WAY = 0x7fffffff
    ADDRESS_ROOM = 80           # of a cluster's node: host and port

    NO_COMMAND = 0xffffffff
    KEY_ROOM_KEPT = 40
    DECAY_NS = 60000000000

cdef enum Phase:
    PHASE_OPEN = 0
    PHASE_DRAINING = 1          # its request is to be parked when the earlier replies are out
    PHASE_PARKED = 2            # the uvloop side has it
    PHASE_CLOSED = 3            # the slot waits for the uvloop side to take note
    PHASE_STREAM = 4            # its large request goes in parts to `stream`, or nowhere

cdef enum ReqKind:
    REQ_ONE = 0
    REQ_SPLIT = 1               # the whole of a split request; stands in the client's queue only
    REQ_PART = 2                # stands in a connection's queue only
    REQ_CALL = 3                # the uvloop side's

cdef enum Merge:
    MERGE_SUM = 1
    MERGE_OK = 2
    MERGE_ARRAY = 3

cdef enum CommandKind:
    RUN_PARK = 0
    RUN_KEYS = 1                # all keys on one shard
    RUN_SPLIT = 2
    RUN_PING = 3

cdef enum Event:
    EVENT_PARKED = 1
    EVENT_CLOSED = 2
    EVENT_ENDED = 4             # the peer has shut its side while the uvloop side works for it
    EVENT_LARGE = 8             # a connection is wanted for a large request
    EVENT_LENT = 16             # that connection is done with
    EVENT_SPOILED = 32          # ... and of no use to others

cdef enum:                      # error lines, whole, filled by the uvloop side
    TEXT_CROSS = 0              # the keys are on several shards
    TEXT_TOO_LARGE = 1
    TEXT_LOST_READ = 2          # of a connection that broke
    TEXT_LOST_WRITE = 3
    TEXT_MERGE = 4              # a part's reply is not what it should be
    TEXT_REGIONS = 14           # the keys are of several regions
    TEXT_PROTOCOL = 5           # 5 - RespResult is the line of each of its errors
    TEXTS = 16

cdef struct Client
cdef struct Backend
cdef struct Req

cdef struct Kept:               # a request to a cluster, to be sent once more should its slot be another node's
    Buf frame
    int32_t shard
    uint32_t slot
    uint8_t tries
    uint64_t due                # while it waits

cdef struct Cluster:            # a shard that is a whole Redis Cluster
    int32_t shard
    uint8_t stale               # a node has said that the map is old
    uint16_t nodes[16384]       # by slot the place of its node; 0: nobody's
    uint32_t shares[16384]      # scratch of a split: number of the slot's share and 1

cdef struct Req:
    Client* client              # NULL: gone, the reply is dropped
    Req* next                   # of the client
    Req* bnext                  # of the connection
    Req* parent
    Req* parts                  # REQ_SPLIT: its parts, linked by `pnext`
    Req* pnext
    uint8_t kind
    uint8_t done
    uint8_t merge
    uint8_t writes
    uint8_t failed              # a call whose reply is our error, or that outgrew its credit
    uint8_t remote              # to another region
    uint8_t key_kept            # bytes of `key`
    int32_t shard
    uint32_t share              # REQ_PART: its number
    uint32_t command            # its place in Core.commands, NO_COMMAND
    uint32_t pattern
    uint32_t words
    uint64_t key_hash           # of a key longer than `key`
    uint32_t pending            # parts without a reply
    uint32_t count              # keys
    uint32_t* places            # REQ_SPLIT with MERGE_ARRAY: each key's share
    uint64_t t_begin            # when it was queued
    uint64_t begins             # where its bytes begin in all that was ever queued for its connection
    uint64_t token
    Kept* kept                  # to a node of a cluster; NULL: it is never sent twice
    Buf reply
    size_t at                   # merging: how far the reply is read
    uint8_t key[40]             # KEY_ROOM_KEPT: the first bytes of the first key; not cleared

cdef struct Client:
    int fd
    uint32_t index
    uint32_t gen
    uint8_t phase
    uint8_t protocol            # 0 RESP2, 1 RESP3
    uint8_t level               # as router.redis.table.Level; 0: not logged in, everything is parked
    uint8_t collect             # everything is parked (in MULTI, subscribed)
    uint8_t readable
    uint8_t ended
    uint8_t hangup              # close once everything is answered and sent
    uint8_t mid                 # a part of the oldest request's reply is out already
    uint8_t queued              # in the ready list
    uint8_t dirty
    uint8_t throttled
    uint8_t events
    uint8_t in_events
    uint32_t inflight
    uint32_t subject            # who it is to the policy
    uint32_t who                # whose ways into other regions it has; NO_WAY: none
    uint32_t remote             # requests under way there
    uint8_t consistency         # where its reads go: 0 the primary, else as proxy.generation.LEVELS
    uint32_t writing            # writes under way
    uint32_t map_epoch          # of the clusters' maps by which what is under way was sent
    uint32_t delayed            # requests that are sent again in a while
    uint64_t max_lag_ns
    uint64_t t_wrote            # when its last write was answered
    uint8_t parks_as            # the event that tells the uvloop side of it
    size_t parked               # bytes of the frame that is parked, at the head of `inb`
    size_t held                 # bytes of replies that wait for their turn
    Request scan
    Buf inb
    Buf out
    Buf push
    Req* head
    Req* tail
    Backend* awaits             # a connection with too much unsent, which this client waits for
    Backend* stalls             # which waits until this client takes more
    Backend* stream             # where its large request goes
    int32_t stream_place
    uint32_t stream_command
    size_t more                 # bytes of the large request up to the end of the argument that is coming
    uint32_t args_left          # arguments behind that
    Client* ready_next
    Client* dirty_next
    Client* wait_next
    Client* event_next
    uint64_t t_last

cdef struct Backend:
    int fd
    uint32_t index
    uint32_t gen
    int32_t shard
    uint8_t protocol
    uint8_t readable
    uint8_t ended
    uint8_t dirty
    uint8_t queued
    uint8_t paused
    uint8_t lone                # of one large request: redis_stream.pxi
    Client* owner               # whose
    Client* staller             # paused: who does not take its reply
    uint8_t node                # of a cluster
    ReplyScan scan
    Buf out
    Buf line                    # of a node: an error that is coming in
    size_t kept                 # of a node: bytes of requests that may have to be sent again
    uint64_t queued_bytes       # ever
    Req* head
    Req* tail
    uint32_t inflight
    uint64_t answered           # replies ever
    Client* waiters
    Backend* dirty_next
    Backend* ready_next
    uint64_t t_progress
    uint64_t t_paused

cdef struct ShardPlace:         # a shard of the region, one identity's way to one of another, a replica, or a node
    Backend* conns[2]           # by protocol, NULL while there is none
    Buf away                    # the error line when there is none: nothing was sent
    uint64_t deadline_ns
    uint16_t foreign            # of another region, where only ways lead: its number and 1
    uint8_t remote              # a way
    uint8_t read_only           # its server has refused a write as a replica does
    uint8_t nreplicas
    uint16_t replicas[8]        # MAX_REPLICAS: places
    uint64_t t_fresh            # a replica: it has every write that was answered before; 0: it is not read
    uint8_t broken              # bits of the protocols that are not tried for a while: answered with `away` at once
    uint64_t requests
    uint64_t answered           # replies of connections that are gone
    RedisShardStats* stats      # of the page
    uint32_t share              # scratch of a split: number of its share and 1
    Cluster* cluster            # a shard: its nodes by slot, NULL where it is one server
    Cluster* home               # a node: of which cluster, NULL while it is not of use
    uint8_t node
    uint8_t replica
    uint8_t address_length
    char address[80]            # ADDRESS_ROOM: of a node, as the cluster writes it

cdef struct Share:              # of a split: what goes to a server in one piece
    int32_t place
    uint32_t keys
    Cluster* cluster            # keys of one slot there
    uint32_t slot
    Req* part
    Req* merging                # scratch of a merge
    Backend* b
    Buf frame                   # to a cluster: gathered first, as one connection may get several

cdef struct KeySpec:
    uint8_t keynum              # the number of keys stands at `place`, the first key behind it at `first`
    uint16_t place
    int32_t last                # range: relative to `place`, or from the end where negative
    uint16_t first
    uint16_t step

cdef struct Command:
    uint8_t name[24]            # NAME_ROOM, lower case
    uint8_t length
    uint8_t family              # redis_stats.FAMILIES
    uint8_t kind
    uint8_t level
    uint8_t merge
    uint8_t nspecs
    uint8_t needs               # of each key, under a policy: router.redis.table.Ability
    uint8_t fieldwise           # a hash of which a part is open is the uvloop side's to look at
    uint8_t has_options         # more than three words may need more
    uint8_t moves               # values of one key may get into another
    uint8_t anywhere            # a replica may answer it
    int32_t arity
    KeySpec specs[2]
    Buf denied                  # the error line for users of a lower level
    Buf arity_text
    uint64_t calls

cdef struct Pattern:
    uint8_t* prefix
    uint32_t prefix_length
    uint8_t delimiter
    uint8_t tag
    uint8_t punt                # a regular expression, or refused: the uvloop side decides
    uint8_t always              # ... for every key with the prefix
    uint8_t nfields
    uint16_t fields[2]
    int32_t shard               # of all its keys; -1: the vindex's
    char name[32]               # PATTERN_TEXT
    uint32_t holds              # under a policy: between keys of equal numbers values may move
    Buf refused                 # the error line
    Vindex* vindex

cdef struct Core:
    int epfd
    int wake_fd
    int event_fd
    bint stopping
    bint notify
    bint draining               # clients are closed as they fall idle
    uint64_t now
    uint64_t swept
    Client** clients
    uint32_t* client_gens
    uint32_t* client_stack
    uint32_t client_cap
    uint32_t client_free
    uint32_t nclients
    Backend** backends
    uint32_t* backend_gens
    uint32_t backend_cap
    ShardPlace* shards
    uint32_t nshards
    ShardPlace** ways           # MAX_WAYS, NULL where unused
    uint32_t nways              # none was ever used from here on
    uint16_t** way_of           # by identity: shard -> place, 0 for none; NULL: it has none
    uint32_t nwho
    uint32_t remote_most        # requests of one client under way in other regions
    uint8_t one_region          # a command's keys are all of one region
    Command commands[1024]      # COMMAND_SLOTS
    Pattern patterns[257]       # MAX_PATTERNS, and one that stands for keys that none knows
    uint32_t npatterns
    uint32_t which              # the pattern of the key that was placed last
    uint8_t* domains            # under a policy: shard -> index of its legal domain
    uint32_t ndomain_shards
    uint32_t ndomains
    uint8_t** abilities         # by subject: pattern * ndomains + domain -> Ability; NULL: not told yet
    uint32_t nsubjects
    uint16_t* slots             # 16384 -> shard, NULL: unmatched keys are refused
    Buf texts[16]
    Req* free_reqs
    uint32_t nfree
    Client* ready
    Client* ready_tail
    Client* dirty
    Backend* dirty_backends
    Backend* ready_backends
    Client* events
    Req* done_calls
    Req* done_calls_tail
    uint64_t token
    uint8_t* scratch
    uint32_t* places            # share of each key of the command at hand
    uint32_t places_cap
    Share* shares               # of the command at hand
    uint32_t nshares
    uint32_t shares_cap
    uint32_t map_epoch          # rises whenever a slot of any cluster becomes another node's
    Req* delayed                # by `bnext`, the one that is due first
    Req* delayed_tail
    size_t delayed_bytes
    size_t client_buffer
    size_t quiet                # QUIET, or less
    uint32_t pipeline
    uint64_t login_ns
    uint64_t idle_ns
    RedisStats* st
    RedisShardStats* shard_stats    # of the page, by its numbers
    uint32_t page_shards
    uint64_t* slow_sequence
    RedisStats own_st           # where there is no page
    RedisShardStats own_shard
    uint64_t own_sequence
    uint32_t sample_left        # key accesses until one is looked at; 0: never
    uint32_t sample_gap
    uint64_t dice
    uint64_t seed               # of key hashes
    bint keep_keys
    uint64_t slow_ns            # 0: nothing is slow
    uint64_t decayed
    const uint8_t* key          # the first key of the command at hand, NULL: it has none
    size_t key_length


cdef inline ShardPlace* place_at(Core* c, int32_t place) noexcept nogil:
    """Of a valid place."""
    return c.ways[place - WAY_BASE] if place >= WAY_BASE else &c.shards[place]


cdef inline bint is_place(Core* c, int32_t place) noexcept nogil:
    if place >= WAY_BASE:
        return place < WAY_BASE + MAX_WAYS and c.ways[place - WAY_BASE] != NULL
    return 0 <= place < <int32_t>c.nshards


cdef inline uint64_t event_key(uint32_t index, uint32_t gen) noexcept nogil:
    return (<uint64_t>gen << 32) | index


# ---------------------------------------------------------------- requests
cdef Req* req_new(Core* c) noexcept nogil:
    cdef Req* r = c.free_reqs
    if r == NULL:
        r = <Req*>malloc(sizeof(Req))
        if r == NULL:
            return NULL
    else:
        c.free_reqs = r.next
        c.nfree -= 1
    memset(r, 0, sizeof(Req) - KEY_ROOM_KEPT)     # the kept key stands last
    r.command = NO_COMMAND
    return r


cdef void req_free(Core* c, Req* r) noexcept nogil:
    buf_free(&r.reply)
    free(r.places)
    if c.nfree >= FREE_REQS:
        free(r)
        return
    r.next = c.free_reqs
    c.free_reqs = r
    c.nfree += 1


cdef inline void client_enqueue(Client* cl, Req* r) noexcept nogil:
    r.client = cl
    if cl.tail == NULL:
        cl.head = r
    else:
        cl.tail.next = r
    cl.tail = r
    cl.inflight += 1


cdef inline void backend_enqueue(Core* c, Backend* b, Req* r) noexcept nogil:
    r.begins = b.queued_bytes
    r.t_begin = c.now
    r.shard = b.shard
    if b.tail == NULL:
        b.head = r
        b.t_progress = c.now
    else:
        b.tail.bnext = r
    b.tail = r
    b.inflight += 1
    if b.paused:
        hurry(c, b)


# ---------------------------------------------------------------- lists of what is to be done this round
cdef inline void mark_dirty(Core* c, Client* cl) noexcept nogil:
    if not cl.dirty:
        cl.dirty = 1
        cl.dirty_next = c.dirty
        c.dirty = cl


cdef inline void mark_backend(Core* c, Backend* b) noexcept nogil:
    if not b.dirty:
        b.dirty = 1
        b.dirty_next = c.dirty_backends
        c.dirty_backends = b


cdef inline void make_ready(Core* c, Client* cl) noexcept nogil:
    if cl.queued:
        return
    cl.queued = 1
    cl.ready_next = NULL
    if c.ready == NULL:
        c.ready = cl
    else:
        c.ready_tail.ready_next = cl
    c.ready_tail = cl


cdef inline void backend_ready(Core* c, Backend* b) noexcept nogil:
    if not b.queued:
        b.queued = 1
        b.ready_next = c.ready_backends
        c.ready_backends = b


cdef void push_event(Core* c, Client* cl, uint8_t kind) noexcept nogil:
    cl.events |= kind
    if not cl.in_events:
        cl.in_events = 1
        cl.event_next = c.events
        c.events = cl
    c.notify = True


# ---------------------------------------------------------------- what waits for a client
cdef void say(Core* c, Client* cl, const uint8_t* p, size_t n) noexcept nogil:
    """Append to what the client gets; over its budget, or without memory, it is closed."""
    if cl.phase == PHASE_CLOSED:
        return
    if not buf_append(&cl.out, p, n):
        client_close(c, cl)
        return
    mark_dirty(c, cl)


cdef inline void say_text(Core* c, Client* cl, Buf* text) noexcept nogil:
    say(c, cl, buf_head(text), text.len)


cdef void answer(Core* c, Client* cl, const uint8_t* p, size_t n) noexcept nogil:
    """A reply made here, in its place behind those that are still awaited."""
    cdef Req* r
    if cl.head == NULL:
        say(c, cl, p, n)
        return
    r = req_new(c)
    if r == NULL or not buf_append(&r.reply, p, n):
        client_close(c, cl)
        return
    r.done = 1
    cl.held += n
    client_enqueue(cl, r)


cdef inline void answer_text(Core* c, Client* cl, Buf* text) noexcept nogil:
    answer(c, cl, buf_head(text), text.len)
