# The uvloop side's door: one call, one lock. Included by redis_relay.pyx.

class RelayFull(Exception):
    """All places for clients or connections are taken."""


NO_WAYS = NO_WAY
FIRST_WAY = WAY_BASE
PARKED = EVENT_PARKED
CLOSED = EVENT_CLOSED
ENDED = EVENT_ENDED
LARGE_COMES = EVENT_LARGE
LENT = EVENT_LENT
SPOILED = EVENT_SPOILED


cdef class RedisRelay:
    """One worker's Redis relay. Sizes in bytes, times in seconds; handles are ints that never come back."""

    cdef Core* core
    cdef pthread_mutex_t mutex
    cdef uint32_t callers           # calls of the uvloop side that want the mutex
    cdef list vindexes              # capsules of the tables in use
    cdef StatsPage page

    def __cinit__(self, *, uint32_t max_clients, StatsPage page=None, uint32_t worker=0):
        cdef Core* c = <Core*>calloc(1, sizeof(Core))
        cdef uint32_t i
        cdef epoll_event e
        if c == NULL:
            raise MemoryError
        self.core = c
        pthread_mutex_init(&self.mutex, NULL)
        self.page = page
        self.count_into(worker)
        crc16_fill()
        c.client_cap = c.client_free = max_clients
        c.clients = <Client**>calloc(max_clients, sizeof(void*))
        c.client_gens = <uint32_t*>calloc(max_clients, 4)
        c.client_stack = <uint32_t*>calloc(max_clients, 4)
        c.scratch = <uint8_t*>malloc(SCRATCH)
        c.ways = <ShardPlace**>calloc(MAX_WAYS, sizeof(void*))
        c.remote_most = 64
        if c.ways == NULL:
            raise MemoryError
        if c.clients == NULL or c.client_gens == NULL or c.client_stack == NULL or c.scratch == NULL:
            raise MemoryError
        for i in range(max_clients):
            c.client_stack[i] = max_clients - 1 - i
        c.client_buffer = 64 << 20
        c.quiet = QUIET
        c.pipeline = 1024
        c.epfd = epoll_create1(EPOLL_CLOEXEC)
        c.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        c.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if c.epfd < 0 or c.wake_fd < 0 or c.event_fd < 0:
            raise OSError(errno, "epoll or eventfd")
        e.events = EPOLLIN
        e.data.u64 = event_key(WAKE_INDEX, 0)
        epoll_ctl(c.epfd, EPOLL_CTL_ADD, c.wake_fd, &e)
        c.now = clock_ns()

    def __dealloc__(self):
        cdef Core* c = self.core
        cdef uint32_t i
        cdef Req* r
        if c == NULL:
            return
        if c.clients != NULL:
            for i in range(c.client_cap):
                if c.clients[i] != NULL:
                    client_close(c, c.clients[i])
        if c.backends != NULL:
            for i in range(c.backend_cap):
                if c.backends[i] != NULL:
                    backend_lost(c, c.backends[i])
                    buf_free(&c.backends[i].out)
                    free(c.backends[i])
        if c.clients != NULL:           # connections looked at them until now
            for i in range(c.client_cap):
                free(c.clients[i])
        while c.done_calls != NULL:
            r = c.done_calls
            c.done_calls = r.next
            req_free(c, r)
        delayed_free(c)
        while c.free_reqs != NULL:
            r = c.free_reqs
            c.free_reqs = r.next
            free(r)
        for i in range(c.nshards):
            cluster_free(c, c.shards[i].cluster)
        tables_free(c)
        for i in range(TEXTS):
            buf_free(&c.texts[i])
        if c.ways != NULL:
            for i in range(MAX_WAYS):
                if c.ways[i] != NULL:
                    buf_free(&c.ways[i].away)
                    free(c.ways[i])
        forget_ways(c)
        free(c.way_of)
        free(c.ways)
        free(c.clients)
        free(c.client_gens)
        free(c.client_stack)
        free(c.backends)
        free(c.backend_gens)
        free(c.shares)
        free(c.places)
        free(c.scratch)
        for fd in (c.epfd, c.wake_fd, c.event_fd):
            close(fd)
        free(c)
        pthread_mutex_destroy(&self.mutex)

    cdef void count_into(self, uint32_t worker):
        """Into the page; without one nobody sees the figures."""
        cdef Core* c = self.core
        c.st, c.slow_sequence, c.dice = &c.own_st, &c.own_sequence, 1
        if self.page is not None:
            c.st = redis_stats_at(self.page, worker, 0)
            c.slow_sequence = &self.page.header.redis_slow_seq
            c.shard_stats = redis_shards_at(self.page, worker)
            c.page_shards = self.page.header.shards
            c.seed = self.page.header.redis_secret[0]
            c.dice = self.page.header.redis_secret[1] | 1

    cdef void lock(self) noexcept nogil:
        if pthread_mutex_trylock(&self.mutex) != 0:
            add_atomic(&self.callers, 1)
            pthread_mutex_lock(&self.mutex)
            add_atomic(&self.callers, -1)
        self.core.now = clock_ns()

    cdef void unlock(self) noexcept nogil:
        """End of a call: what it made to send is sent here; what became ready is the relay thread's."""
        cdef uint64_t one = 1
        end_round(self.core)
        if self.core.ready != NULL or self.core.ready_backends != NULL:
            write(self.core.wake_fd, &one, 8)
        pthread_mutex_unlock(&self.mutex)

    # ------------------------------------------------------------ life
    def run(self):
        """The relay thread; returns after `stop`."""
        cdef epoll_event events[256]
        cdef int count, tries
        cdef Core* c = self.core
        with nogil:
            while not c.stopping:
                count = 0 if c.ready != NULL or c.ready_backends != NULL else 100
                count = epoll_wait(c.epfd, events, MAX_EVENTS, count)
                pthread_mutex_lock(&self.mutex)
                run_round(c, events, count if count > 0 else 0)
                pthread_mutex_unlock(&self.mutex)
                tries = 0       # the mutex is not fair: step back while a call waits for it
                while add_atomic(&self.callers, 0) and tries < YIELDS:
                    sched_yield()
                    tries += 1

    def turn(self):
        """One round with what is there, for whoever needs no thread of its own: the fuzzer."""
        cdef epoll_event events[256]
        cdef int count = epoll_wait(self.core.epfd, events, MAX_EVENTS, 0)
        pthread_mutex_lock(&self.mutex)
        run_round(self.core, events, count if count > 0 else 0)
        pthread_mutex_unlock(&self.mutex)

    def stop(self):
        cdef uint64_t one = 1
        self.core.stopping = True
        write(self.core.wake_fd, &one, 8)

    def drain(self):
        """Close clients as they fall idle."""
        self.core.draining = True

    def fileno(self):
        """Readable when `events` has something."""
        return self.core.event_fd

    @property
    def clients(self):
        return self.core.nclients

    def stats(self):
        """Counters of this worker, as a dict."""
        cdef Core* c = self.core
        self.lock()
        found = {"clients": c.nclients, "requests": c.st.requests, "parked": c.st.parked, "splits": c.st.splits,
                 "overflows": c.st.overflows, "denied": c.st.errors_by_class[RERR_POLICY], "rounds": c.st.rounds}
        self.unlock()
        return found

    def calls(self):
        """{command: how often it was taken here}, of those that were."""
        cdef uint32_t i
        cdef Command* one
        found = {}
        for i in range(COMMAND_SLOTS):
            one = &self.core.commands[i]
            if one.length and one.calls:
                found[PyBytes_FromStringAndSize(<char*>one.name, one.length).decode()] = one.calls
        return found

    # ------------------------------------------------------------ configuration
    def observe(self, *, uint32_t sample, bint keys, slow):
        """Look at one of `sample` key accesses (0: none); keep keys themselves; `slow`: seconds, None for never."""
        cdef Core* c = self.core
        cdef uint64_t slow_ns = 0 if slow is None else max(1, <uint64_t>(slow * 1e9))
        self.lock()
        c.sample_gap = sample
        c.sample_left = sample
        c.keep_keys = keys
        c.slow_ns = slow_ns
        self.unlock()

    def limits(self, *, size_t client_buffer, uint32_t pipeline, double login, double idle, uint32_t remote=64,
               bint one_region=False):
        """`remote`: requests of one client under way in other regions. `one_region`: a command's keys are of one."""
        self.lock()
        self.core.remote_most = remote
        self.core.one_region = one_region
        self.core.client_buffer = client_buffer
        self.core.quiet = min(client_buffer, <size_t>QUIET)
        self.core.pipeline = pipeline
        self.core.login_ns = <uint64_t>(login * 1e9)
        self.core.idle_ns = <uint64_t>(idle * 1e9)
        self.unlock()

    def texts(self, dict lines):
        """Text number -> whole error line."""
        cdef bytes line
        self.lock()
        for number, line in lines.items():
            put_text(&self.core.texts[<uint8_t>number], line)
        self.unlock()

    def shards(self, list places):
        """For every shard of the topology, in its order: (error line while it is out of reach, deadline, number of the
        other region that it is of and 1, 0 for the own, number in the page). Connections to shards stay; ways have to
        be given anew. Call it before the first `backend`.
        """
        cdef Core* c = self.core
        cdef uint32_t n = <uint32_t>len(places), i, cap = 4 * n + 8
        cdef ShardPlace* fresh = <ShardPlace*>calloc(n + 1, sizeof(ShardPlace))
        cdef uint32_t number
        cdef bytes line
        cdef double deadline
        if fresh == NULL:
            raise MemoryError
        if n >= WAY_BASE:
            raise ValueError("too many shards")
        self.lock()
        forget_ways(c)
        for i in range(min(n, c.nshards)):
            fresh[i] = c.shards[i]
        for i in range(n, c.nshards):
            drop_shard(c, i)
        free(c.shards)
        c.shards = fresh
        c.nshards = n
        for i, (line, deadline, foreign, number) in enumerate(places):
            put_text(&fresh[i].away, line)
            fresh[i].foreign = foreign
            fresh[i].nreplicas = 0
            fresh[i].stats = &c.shard_stats[number] if number < c.page_shards else &c.own_shard
            fresh[i].deadline_ns = <uint64_t>(deadline * 1e9)
        if cap > c.backend_cap:
            grow_backends(c, cap)
        self.unlock()

    def commands(self, list rows):
        """(name, family, kind, level, merge, arity, specs, denied line, arity line, touches).

        touches: (needs, fieldwise, has_options, moves, anywhere).

        specs: (keynum, place, last, first, step).
        """
        cdef Core* c = self.core
        cdef Command* one
        cdef uint32_t at
        cdef uint8_t k
        if len(rows) > COMMAND_SLOTS // 2:
            raise ValueError("too many commands")
        self.lock()
        try:
            commands_free(c)
            for name, family, kind, level, merge, arity, specs, denied, wrong, touches in rows:
                if not 0 < len(name) <= NAME_ROOM or len(specs) > MAX_SPECS:
                    raise ValueError(name)
                at = name_home(<const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
                while c.commands[at].length:
                    at = (at + 1) & (COMMAND_SLOTS - 1)
                one = &c.commands[at]
                memcpy(one.name, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
                one.length = <uint8_t>len(name)
                one.family = family
                one.kind, one.level, one.merge, one.arity = kind, level, merge, arity
                one.nspecs = <uint8_t>len(specs)
                one.needs, one.fieldwise, one.has_options, one.moves, one.anywhere = touches
                for k, (keynum, place, last, first, step) in enumerate(specs):
                    one.specs[k].keynum, one.specs[k].place, one.specs[k].last = keynum, place, last
                    one.specs[k].first, one.specs[k].step = first, step
                put_text(&one.denied, denied)
                put_text(&one.arity_text, wrong)
        finally:
            self.unlock()

    def patterns(self, list rows, list vindexes, bytes slots=None, policy=None, list names=[]):
        """Key patterns in order: (prefix, delimiter, tag, fields, shard, vindex index or -1, punt, always).

        `vindexes`: keyword arguments of a sharding function's tables, as Relay.vindex_add takes them. `slots`: for
        each of the 16,384 hash slots the shard as little-endian u16; None refuses what no pattern knows.
        `policy`: (index of each shard's domain, [(what its keys hold, error line)] of each pattern and of keys that
        none knows); with it every client's command is parked until `abilities` has its subject's.
        """
        cdef Core* c = self.core
        cdef list built = [_build(one) for one in vindexes]
        cdef Pattern* t
        cdef uint32_t i
        if len(rows) > MAX_PATTERNS:
            raise ValueError(f"more than {MAX_PATTERNS} key patterns")
        if slots is not None and len(slots) != 2 * SLOT_COUNT:
            raise ValueError("a slot map has 16,384 entries")
        self.lock()
        try:
            patterns_free(c)
            for i, (prefix, delimiter, tag, fields, shard, vindex, punt, always) in enumerate(rows):
                t = &c.patterns[i]
                t.prefix = copy_bytes(prefix)
                t.prefix_length = <uint32_t>len(prefix)
                t.delimiter, t.tag, t.punt, t.always, t.shard = delimiter, tag, punt, always, shard
                t.nfields = <uint8_t>len(fields)
                for k, field in enumerate(fields[:MAX_FIELDS]):
                    t.fields[<uint8_t>k] = field
                t.vindex = NULL if vindex < 0 else (<VindexHolder>built[vindex]).v
                c.npatterns = i + 1
            c.slots = NULL if slots is None else <uint16_t*>copy_bytes(slots)
            self.vindexes = built
            for i, name in enumerate(names):
                memcpy(c.patterns[i].name, PyBytes_AS_STRING(name), min(len(name), PATTERN_TEXT))
            if policy is not None:
                c.domains = copy_bytes(policy[0])
                c.ndomain_shards = <uint32_t>len(policy[0])
                c.ndomains = max(policy[0], default=0) + 1
                for i, (holds, line) in enumerate(policy[1]):
                    c.patterns[i].holds = holds
                    put_text(&c.patterns[i].refused, line)
        finally:
            self.unlock()

    def abilities(self, uint32_t subject, bytes bits not None):
        """What a subject may do: for each pattern (and for keys that none knows) and domain an Ability."""
        cdef Core* c = self.core
        cdef uint32_t cap
        cdef uint8_t** more
        self.lock()
        try:
            if c.domains == NULL or len(bits) != (c.npatterns + 1) * c.ndomains:
                raise ValueError("abilities of other patterns")
            if subject >= c.nsubjects:
                cap = 2 * subject + 8
                more = <uint8_t**>realloc(c.abilities, cap * sizeof(void*))
                if more == NULL:
                    raise MemoryError
                memset(more + c.nsubjects, 0, (cap - c.nsubjects) * sizeof(void*))
                c.abilities = more
                c.nsubjects = cap
            free(c.abilities[subject])
            c.abilities[subject] = copy_bytes(bits)
        finally:
            self.unlock()

    def shard_of(self, bytes key not None):
        """Where the relay sends a key; -1 when it leaves that to the uvloop side. For tests."""
        return place_of(self.core, <const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))

    # ------------------------------------------------------------ connections to servers
    def backend(self, int32_t shard, int protocol, int fd):
        """The shared connection of a shard (protocol 2 or 3), logged in already; the descriptor is the relay's."""
        cdef Core* c = self.core
        cdef Backend* b
        self.lock()
        try:
            if not is_place(c, shard):
                raise ValueError("no such place")
            if place_at(c, shard).conns[protocol - 2] != NULL:
                backend_lost(c, place_at(c, shard).conns[protocol - 2])
            b = backend_new(c, fd, shard, <uint8_t>(protocol - 2))
            if b == NULL:
                raise MemoryError
            b.node = place_at(c, shard).node
            place_at(c, shard).conns[b.protocol] = b
            place_at(c, shard).broken &= ~<uint8_t>(1 << b.protocol)
        finally:
            self.unlock()

    def connected(self, int32_t shard, int protocol):
        """Is there a connection?"""
        return connection(self.core, shard, <uint8_t>(protocol - 2)) != NULL

    def disconnect(self, int32_t shard, int protocol):
        """Give the connection up; what is under way there is answered with an error."""
        cdef Backend* b
        self.lock()
        b = connection(self.core, shard, <uint8_t>(protocol - 2))
        if b != NULL:
            backend_lost(self.core, b)
        lose_lone(self.core, shard, protocol - 2)
        self.unlock()

    def progress(self, int32_t shard, int protocol):
        """(requests for the place ever, replies ever, requests under way there)."""
        cdef Backend* b
        cdef ShardPlace* place
        cdef uint64_t requests, answered, under_way
        self.lock()
        b = connection(self.core, shard, <uint8_t>(protocol - 2))
        requests = answered = under_way = 0
        if is_place(self.core, shard):
            place = place_at(self.core, shard)
            requests, answered = place.requests, place.answered
        if b != NULL:
            answered, under_way = answered + b.answered, b.inflight
        self.unlock()
        return requests, answered, under_way

    # ------------------------------------------------------------ replicas, and ways into other regions
    def replicas(self, uint32_t shard, list places):
        """The places of its replicas (`way_add`)."""
        cdef Core* c = self.core
        if len(places) > MAX_REPLICAS or shard >= c.nshards:
            raise ValueError("replicas")
        self.lock()
        c.shards[shard].nreplicas = <uint8_t>len(places)
        for i, place in enumerate(places):
            c.shards[shard].replicas[<uint8_t>i] = place
            if is_place(c, place):
                place_at(c, place).stats = c.shards[shard].stats
                place_at(c, place).replica = 1
        self.unlock()

    # ------------------------------------------------------------ Redis Cluster
    def cluster(self, uint32_t shard, list nodes, bytes slots not None):
        """The shard is a whole Redis Cluster: [(place, address)] of its nodes (`way_add`, before any connection) as
        the cluster writes it, and by slot the place of its node as little-endian u16, 0 for nobody's. Without nodes
        it is none (any more)."""
        cdef Core* c = self.core
        cdef Cluster* one
        cdef uint32_t i
        cdef ShardPlace* node
        if len(slots) != (2 * SLOT_COUNT if nodes else 0) or shard >= c.nshards:
            raise ValueError("a cluster's map has 16,384 entries")
        self.lock()
        try:
            one = c.shards[shard].cluster
            if not nodes:
                c.shards[shard].cluster = NULL
                cluster_free(c, one)
                return
            if one == NULL:
                one = <Cluster*>calloc(1, sizeof(Cluster))
                if one == NULL:
                    raise MemoryError
                one.shard = <int32_t>shard
                c.shards[shard].cluster = one
            for i in range(c.nways):
                if c.ways[i] != NULL and c.ways[i].home == one:
                    c.ways[i].home = NULL
            for place, address in nodes:
                if not is_place(c, place) or place < WAY_BASE or len(address) > ADDRESS_ROOM:
                    raise ValueError("no such node")
                node = place_at(c, place)
                node.home, node.node, node.stats = one, 1, c.shards[shard].stats
                node.address_length = <uint8_t>len(address)
                memcpy(node.address, PyBytes_AS_STRING(address), len(address))
            if memcmp(one.nodes, PyBytes_AS_STRING(slots), sizeof(one.nodes)) != 0:
                memcpy(one.nodes, PyBytes_AS_STRING(slots), sizeof(one.nodes))
                c.map_epoch += 1
        finally:
            self.unlock()

    def stale(self, uint32_t shard):
        """Has a node of the cluster said since the last call that the map is old, or was one lost?"""
        cdef Cluster* one
        self.lock()
        one = self.core.shards[shard].cluster if shard < self.core.nshards else NULL
        found = one != NULL and one.stale != 0
        if found:
            one.stale = 0
        self.unlock()
        return found

    def node(self, int32_t place, uint32_t slot):
        """The place that requests for a slot go to: of a cluster the node's, else `place` itself."""
        cdef Core* c = self.core
        self.lock()
        if 0 <= place < <int32_t>c.nshards and c.shards[place].cluster != NULL and slot < SLOT_COUNT:
            place = node_of(c.shards[place].cluster, slot)
        self.unlock()
        return place

    def fresh(self, int32_t place, double since):
        """The replica has every write that was answered before (of the monotonic clock); 0: it is not to be read."""
        self.lock()
        if is_place(self.core, place):
            place_at(self.core, place).t_fresh = <uint64_t>(since * 1e9)
        self.unlock()

    def refused_writes(self, int32_t place):
        """Has its server answered READONLY since the last call?"""
        self.lock()
        found = is_place(self.core, place) and place_at(self.core, place).read_only != 0
        if found:
            place_at(self.core, place).read_only = 0
        self.unlock()
        return found

    def way_add(self, bytes away not None, double deadline, bint remote=True):
        """A place for one identity's connections to a shard of another region, or for a replica's. Raises
        RelayFull."""
        cdef Core* c = self.core
        cdef uint32_t i
        cdef ShardPlace* place = <ShardPlace*>calloc(1, sizeof(ShardPlace))
        if place == NULL:
            raise MemoryError
        self.lock()
        try:
            for i in range(MAX_WAYS):
                if c.ways[i] == NULL:
                    break
            else:
                free(place)
                raise RelayFull("ways")
            place.remote = remote
            place.stats = &c.own_shard
            place.deadline_ns = <uint64_t>(deadline * 1e9)
            put_text(&place.away, away)
            c.ways[i] = place
            c.nways = max(c.nways, i + 1)
            return WAY_BASE + i
        finally:
            self.unlock()

    def way_set(self, uint32_t who, uint32_t shard, int32_t place):
        """Whose requests for the shard go that way; 0: they are parked."""
        cdef Core* c = self.core
        cdef uint16_t** more
        self.lock()
        try:
            if shard >= c.nshards or (place and (place < WAY_BASE or not is_place(c, place))):
                raise ValueError("no such place")
            if who >= c.nwho:
                more = <uint16_t**>realloc(c.way_of, (who + 64) * sizeof(void*))
                if more == NULL:
                    raise MemoryError
                memset(more + c.nwho, 0, (who + 64 - c.nwho) * sizeof(void*))
                c.way_of = more
                c.nwho = who + 64
            if c.way_of[who] == NULL:
                c.way_of[who] = <uint16_t*>calloc(c.nshards, 2)
                if c.way_of[who] == NULL:
                    raise MemoryError
            c.way_of[who][shard] = <uint16_t>place
            if place:
                place_at(c, place).stats = c.shards[shard].stats
        finally:
            self.unlock()

    def way_break(self, int32_t place, int protocol):
        """Until there is a connection again, requests are answered with the error line at once."""
        self.lock()
        if place >= WAY_BASE and is_place(self.core, place):
            place_at(self.core, place).broken |= 1 << (protocol - 2)
        self.unlock()

    def way_drop(self, int32_t place):
        """Connections and the place are given up."""
        cdef Core* c = self.core
        cdef ShardPlace* gone
        cdef uint32_t i, k
        self.lock()
        if place >= WAY_BASE and is_place(c, place):
            gone = place_at(c, place)
            for i in range(2):
                if gone.conns[i] != NULL:
                    backend_lost(c, gone.conns[i])
            lose_lone(c, place, -1)
            for i in range(c.nwho):
                if c.way_of[i] != NULL:
                    for k in range(c.nshards):
                        if c.way_of[i][k] == place:
                            c.way_of[i][k] = 0
            c.ways[place - WAY_BASE] = NULL
            buf_free(&gone.away)
            free(gone)
        self.unlock()

    def call(self, int32_t shard, int protocol, bytes data not None, bint writes=False, int replies=1):
        """Requests of our own on a shared connection -> tokens; `answers` gives their replies. None without one."""
        cdef Core* c = self.core
        cdef Backend* b
        cdef Req* r
        cdef list tokens = []
        cdef int i
        self.lock()
        b = connection(c, shard, <uint8_t>(protocol - 2))
        if b == NULL:
            self.unlock()
            return None
        for i in range(replies):
            r = req_new(c)
            if r == NULL:
                self.unlock()
                raise MemoryError
            r.kind = REQ_CALL
            r.writes = writes
            c.token += 1
            r.token = c.token
            tokens.append(r.token)
            backend_enqueue(c, b, r)
        if not backend_write(c, b, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
            backend_lost(c, b)
        self.unlock()
        return tokens

    def answers(self):
        """[(token, reply, failed)] of calls that are complete. failed: the reply is Fairlead's error line, or empty
        when it outgrew `client_buffer`."""
        cdef Core* c = self.core
        cdef Req* r
        cdef Req* following
        self.lock()
        r = c.done_calls
        c.done_calls = c.done_calls_tail = NULL
        self.unlock()
        found = []
        while r != NULL:
            following = r.next
            found.append((r.token, PyBytes_FromStringAndSize(<char*>buf_head(&r.reply), r.reply.len), bool(r.failed)))
            self.lock()
            req_free(c, r)
            self.unlock()
            r = following
        return found

    # ------------------------------------------------------------ connections for large requests
    def large(self, uint64_t handle):
        """Where a client's large request wants to go: a place; None: the client is gone."""
        cdef Client* cl
        self.lock()
        cl = self.at(handle)
        place = cl.stream_place if wants_lone(cl) else None
        self.unlock()
        return place

    def lend(self, uint64_t handle, int fd):
        """A connection for it, logged in; the descriptor is the relay's. LENT says that it is done with. False: the
        client is gone, or its place; nothing was sent."""
        cdef Core* c = self.core
        cdef Client* cl
        cdef Req* r
        cdef Backend* b = NULL
        self.lock()
        cl = self.at(handle)
        if wants_lone(cl) and is_place(c, cl.stream_place):
            r = req_new(c)
            b = backend_new(c, fd, cl.stream_place, cl.protocol) if r != NULL else NULL
            if b != NULL:
                b.lone = 1
                stream_begin(c, cl, b, r)
            else:
                client_close(c, cl)
                if r != NULL:
                    req_free(c, r)
        self.unlock()
        return b != NULL

    def swallow(self, uint64_t handle, bytes line not None):
        """There is no connection for it: the client gets this line, and its request goes nowhere."""
        cdef Client* cl
        self.lock()
        cl = self.at(handle)
        if wants_lone(cl):
            stream_swallow(self.core, cl, <const uint8_t*>PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))
        self.unlock()

    # ------------------------------------------------------------ clients
    def adopt(self, int fd, int level=0, uint32_t subject=0, uint32_t who=NO_WAY, int protocol=2):
        """A client's non-blocking socket, the relay's from here on -> its handle. Raises RelayFull."""
        cdef Core* c = self.core
        cdef Client* cl = <Client*>calloc(1, sizeof(Client))
        cdef epoll_event e
        if cl == NULL:
            raise MemoryError
        self.lock()
        if c.client_free == 0:
            self.unlock()
            free(cl)
            raise RelayFull("clients")
        c.client_free -= 1
        cl.index = c.client_stack[c.client_free]
        cl.gen = c.client_gens[cl.index]
        cl.fd = fd
        cl.level = <uint8_t>level
        cl.subject = subject
        cl.who = who
        cl.protocol = <uint8_t>(protocol - 2)
        cl.t_last = c.now
        c.clients[cl.index] = cl
        c.nclients += 1
        c.st.connections += 1
        e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
        e.data.u64 = event_key(cl.index, cl.gen)
        epoll_ctl(c.epfd, EPOLL_CTL_ADD, fd, &e)
        self.unlock()
        return event_key(cl.index, cl.gen)

    cdef Client* at(self, uint64_t handle) noexcept nogil:
        cdef uint32_t index = <uint32_t>handle
        if index >= self.core.client_cap or self.core.clients[index] == NULL:
            return NULL
        if self.core.client_gens[index] != <uint32_t>(handle >> 32) or self.core.clients[index].phase == PHASE_CLOSED:
            return NULL
        return self.core.clients[index]

    def events(self):
        """[(handle, PARKED | CLOSED | ENDED | LARGE_COMES | LENT | SPOILED bits)] since the last call; a closed
        client's handle is over."""
        cdef Core* c = self.core
        cdef uint64_t count
        cdef Client* cl
        cdef list found = []
        read(c.event_fd, &count, 8)
        self.lock()
        while c.events != NULL:
            cl = c.events
            c.events = cl.event_next
            cl.in_events = 0
            found.append((event_key(cl.index, cl.gen), cl.events))
            if cl.events & EVENT_CLOSED:
                if cl.queued:           # the relay thread's next round takes it off the ready list
                    push_event(c, cl, EVENT_CLOSED)
                    found.pop()
                    break
                client_free(c, cl)
            else:
                cl.events = 0
        self.unlock()
        return found

    def take(self, uint64_t handle, size_t most=65536):
        """What a parked client sent: the frame that is parked, and what is already there behind it, up to `most`."""
        cdef Client* cl
        cdef bytes data = None
        self.lock()
        cl = self.at(handle)
        if cl != NULL and cl.phase == PHASE_PARKED:
            length = cl.parked if cl.parked > most or not cl.collect else min(cl.inb.len, most)
            data = PyBytes_FromStringAndSize(<char*>buf_head(&cl.inb), length)
        self.unlock()
        return data

    def reply(self, uint64_t handle, bytes data not None, size_t used=0):
        """Answer a parked client: `used` bytes of what was taken are done with (0: the parked frame). False: gone."""
        cdef Client* cl
        cdef bint there
        self.lock()
        cl = self.at(handle)
        there = cl != NULL and cl.phase == PHASE_PARKED
        if there:
            buf_consume(&cl.inb, used if used else cl.parked)
            say(self.core, cl, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            self.resume(cl)
        self.unlock()
        return there

    cdef void resume(self, Client* cl) noexcept nogil:
        if cl.phase == PHASE_PARKED:
            cl.phase = PHASE_OPEN
            cl.parked = 0
            cl.t_last = self.core.now
            make_ready(self.core, cl)

    def forward(self, uint64_t handle, int32_t shard, bint writes, int slot=-1):
        """The parked frame goes to this place as it is; to a cluster, to the slot's node. False: gone."""
        cdef Client* cl
        cdef Command* command
        cdef Cluster* cluster
        cdef bint there
        cdef int result
        self.lock()
        cl = self.at(handle)
        there = cl != NULL and cl.phase == PHASE_PARKED and is_place(self.core, shard)
        if there:
            cl.phase = PHASE_OPEN
            self.core.key = NULL
            command = parked_command(self.core, cl)
            cluster = place_at(self.core, shard).cluster
            if cluster != NULL and 0 <= slot < SLOT_COUNT:
                result = forward_slot(self.core, cl, command, cluster, slot, writes, buf_head(&cl.inb), cl.parked)
            else:
                result = forward(self.core, cl, command, shard, writes, buf_head(&cl.inb), cl.parked)
            if result == TAKEN:
                if cl.phase == PHASE_OPEN:
                    buf_consume(&cl.inb, cl.parked)
                    cl.phase = PHASE_PARKED
                    self.resume(cl)
            elif cl.phase == PHASE_OPEN:
                cl.parked = 0       # the connection is full: the frame is looked at again later
            memset(&cl.scan, 0, sizeof(Request))
        self.unlock()
        return there

    def replace(self, uint64_t handle, bytes frame not None):
        """Take `frame` for the parked one (an inline request as an array)."""
        cdef Client* cl
        cdef Buf fresh
        memset(&fresh, 0, sizeof(Buf))
        self.lock()
        cl = self.at(handle)
        if cl != NULL and cl.phase == PHASE_PARKED:
            if buf_append(&fresh, <const uint8_t*>PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame)) and \
                    buf_append(&fresh, buf_head(&cl.inb) + cl.parked, cl.inb.len - cl.parked):
                buf_free(&cl.inb)
                cl.inb = fresh
                self.resume(cl)
            else:
                buf_free(&fresh)
                client_close(self.core, cl)
        self.unlock()

    def push(self, uint64_t handle, bytes data not None):
        """Out-of-band bytes, between two replies. False: gone, or it takes too little of what it gets."""
        cdef Client* cl
        cdef bint there
        self.lock()
        cl = self.at(handle)
        if cl != NULL and cl.mid:
            if cl.push.len + len(data) > self.core.client_buffer \
                    or not buf_append(&cl.push, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
                client_close(self.core, cl)
        elif cl != NULL and cl.out.len + len(data) > self.core.client_buffer:
            self.core.st.overflows += 1
            client_close(self.core, cl)
        elif cl != NULL:
            say(self.core, cl, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        there = self.at(handle) != NULL
        self.unlock()
        return there

    def set_client(self, uint64_t handle, *, level=None, protocol=None, collect=None, subject=None, who=None,
                   consistency=None, wrote=False):
        """Its rights, its protocol (2 or 3), whether everything it sends is parked, who it is to the policy and to
        other regions, where its reads go (level, most lag in seconds), that it has written just now."""
        cdef Client* cl
        self.lock()
        cl = self.at(handle)
        if cl != NULL:
            if level is not None:
                cl.level = level
            if protocol is not None:
                cl.protocol = protocol - 2
            if collect is not None:
                cl.collect = collect
            if subject is not None:
                cl.subject = subject
            if who is not None:
                cl.who = who
            if consistency is not None:
                cl.consistency = consistency[0]
                cl.max_lag_ns = <uint64_t>(<double>consistency[1] * 1e9)
            if wrote:
                cl.t_wrote = self.core.now
        self.unlock()
        return cl != NULL

    def close(self, uint64_t handle, bytes last=b""):
        """Close behind `last`."""
        cdef Client* cl
        self.lock()
        cl = self.at(handle)
        if cl != NULL:
            say(self.core, cl, <const uint8_t*>PyBytes_AS_STRING(last), PyBytes_GET_SIZE(last))
            cl.hangup = 1
            if cl.phase != PHASE_CLOSED:
                client_flush(self.core, cl)
                client_close(self.core, cl)
        self.unlock()


# ---------------------------------------------------------------- helpers of the door
cdef class VindexHolder:
    """Owns one sharding function's tables."""

    cdef Vindex* v

    def __dealloc__(self):
        if self.v != NULL:
            vindex_free(self.v)


cdef VindexHolder _build(dict tables):
    cdef VindexHolder holder = VindexHolder()
    cdef int column
    cdef Vindex* v
    holder.v = v = vindex_build(
        tables["kind"], list(tables["key_types"]), tables["region_kind"], tables["shift"], tables["mask"],
        tables["regions"], tables["maps"], tables["bounds"], tables["bound_shards"], tables["items"])
    for column, (low, high, ascii_only) in enumerate(tables["limits"]):
        v.low[column], v.high[column], v.ascii_only[column] = low, high, ascii_only
    return holder


cdef inline bint wants_lone(Client* cl) noexcept nogil:
    return cl != NULL and cl.phase == PHASE_PARKED and cl.parks_as == EVENT_LARGE


cdef Backend* backend_new(Core* c, int fd, int32_t shard, uint8_t protocol) noexcept nogil:
    """In a slot of its own; NULL without memory."""
    cdef Backend* b
    cdef uint32_t i
    cdef epoll_event e
    for i in range(c.backend_cap):
        if c.backends[i] == NULL:
            break
    else:
        i = c.backend_cap
        grow_backends(c, 2 * i + 8)
        if i == c.backend_cap:
            return NULL
    b = <Backend*>calloc(1, sizeof(Backend))
    if b == NULL:
        return NULL
    b.fd, b.index, b.gen, b.shard, b.protocol = fd, i, c.backend_gens[i], shard, protocol
    b.readable = 1
    b.t_progress = c.now
    c.backends[i] = b
    e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
    e.data.u64 = event_key(i | BACKEND_BIT, b.gen)
    epoll_ctl(c.epfd, EPOLL_CTL_ADD, fd, &e)
    return b


cdef Command* parked_command(Core* c, Client* cl) noexcept nogil:
    """Of the parked frame; its places go into cl.scan, which is free while it is parked."""
    memset(&cl.scan, 0, sizeof(Request))
    if request_scan(&cl.scan, buf_head(&cl.inb), cl.parked) != RESP_DONE:
        return NULL
    return command_find(c, buf_head(&cl.inb) + cl.scan.off[0], cl.scan.len[0])


cdef int put_text(Buf* text, bytes line) except -1:
    buf_free(text)
    if not buf_append(text, <const uint8_t*>PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line)):
        raise MemoryError
    return 0


cdef void forget_ways(Core* c) noexcept nogil:
    """Where they lead to; they themselves stay."""
    cdef uint32_t i
    for i in range(c.nwho):
        free(c.way_of[i])
        c.way_of[i] = NULL


cdef void drop_shard(Core* c, uint32_t shard) noexcept nogil:
    cdef int protocol
    for protocol in range(2):
        if c.shards[shard].conns[protocol] != NULL:
            backend_lost(c, c.shards[shard].conns[protocol])
    lose_lone(c, shard, -1)
    cluster_free(c, c.shards[shard].cluster)
    buf_free(&c.shards[shard].away)


cdef void grow_backends(Core* c, uint32_t cap) noexcept nogil:
    cdef Backend** more = <Backend**>calloc(cap, sizeof(void*))
    cdef uint32_t* gens = <uint32_t*>calloc(cap, 4)
    if more == NULL or gens == NULL:
        free(more)
        free(gens)
        return
    if c.backend_cap:
        memcpy(more, c.backends, c.backend_cap * sizeof(void*))
        memcpy(gens, c.backend_gens, c.backend_cap * 4)
    free(c.backends)
    free(c.backend_gens)
    c.backends = more
    c.backend_gens = gens
    c.backend_cap = cap


cdef void commands_free(Core* c) noexcept nogil:
    cdef uint32_t i
    for i in range(COMMAND_SLOTS):
        buf_free(&c.commands[i].denied)
        buf_free(&c.commands[i].arity_text)
    memset(c.commands, 0, sizeof(c.commands))


cdef void patterns_free(Core* c) noexcept nogil:
    cdef uint32_t i
    for i in range(MAX_PATTERNS + 1):
        free(c.patterns[i].prefix)
        buf_free(&c.patterns[i].refused)
    for i in range(c.nsubjects):
        free(c.abilities[i])
    free(c.abilities)
    free(c.domains)
    c.abilities = NULL
    c.domains = NULL
    c.nsubjects = c.ndomain_shards = c.ndomains = 0
    memset(c.patterns, 0, sizeof(c.patterns))
    c.npatterns = 0
    free(c.slots)
    c.slots = NULL


cdef void tables_free(Core* c) noexcept nogil:
    cdef uint32_t i
    commands_free(c)
    patterns_free(c)
    for i in range(c.nshards):
        buf_free(&c.shards[i].away)
    free(c.shards)
