# Which command, which keys, which shard: router/redis in C. Included by redis_relay.pyx.

cdef enum:
    UNDECIDED = -1              # the uvloop side decides, and finds the words if it has to refuse
    SLOT_COUNT = 16384
    VALUE_ROOM = 256

cdef uint16_t CRC16[256]


cdef void crc16_fill() noexcept nogil:
    """CRC-16/XMODEM, as Redis Cluster hashes keys.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
    """
    cdef uint32_t i, k, value
    for i in range(256):
        value = i << 8
        for k in range(8):
            value = (value << 1) ^ 0x1021 if value & 0x8000 else value << 1
        CRC16[i] = <uint16_t>(value & 0xffff)


cdef uint32_t slot_of(const uint8_t* p, size_t n) noexcept nogil:
    cdef size_t off = 0, length = n, i
    cdef uint32_t crc = 0
    if not hash_tag(p, n, &off, &length):
        off = 0
        length = n
    for i in range(length):
        crc = ((crc << 8) & 0xffff) ^ CRC16[((crc >> 8) ^ p[off + i]) & 0xff]
    return crc & (SLOT_COUNT - 1)


cdef bint hash_tag(const uint8_t* p, size_t n, size_t* off, size_t* length) noexcept nogil:
    """Between the first { and the next }, unless nothing stands there."""
    cdef const uint8_t* begin = <const uint8_t*>memchr(p, c'{', n)
    cdef const uint8_t* end
    if begin == NULL:
        return False
    end = <const uint8_t*>memchr(begin + 1, c'}', p + n - begin - 1)
    if end == NULL or end == begin + 1:
        return False
    off[0] = begin + 1 - p
    length[0] = end - begin - 1
    return True


# ---------------------------------------------------------------- commands
cdef inline uint32_t name_home(const uint8_t* p, size_t n) noexcept nogil:
    cdef uint32_t h = 2166136261
    cdef size_t i
    for i in range(n):
        h = (h ^ (p[i] | 0x20)) * 16777619
    return (h ^ (h >> 15)) & (COMMAND_SLOTS - 1)


cdef inline bint same_name(const uint8_t* name, const uint8_t* p, size_t n) noexcept nogil:
    cdef size_t i
    cdef uint8_t ch
    for i in range(n):
        ch = p[i]
        if c'A' <= ch <= c'Z':
            ch |= 0x20
        if ch != name[i]:
            return False
    return True


cdef Command* command_find(Core* c, const uint8_t* p, size_t n) noexcept nogil:
    cdef uint32_t i
    if n == 0 or n > NAME_ROOM:
        return NULL
    i = name_home(p, n)
    while c.commands[i].length:
        if c.commands[i].length == n and same_name(c.commands[i].name, p, n):
            return &c.commands[i]
        i = (i + 1) & (COMMAND_SLOTS - 1)
    return NULL


# ---------------------------------------------------------------- keys
cdef bint whole_number(const uint8_t* p, size_t n, uint8_t key_type, uint64_t* value) noexcept nogil:
    """Only the one spelling that a server prints."""
    cdef bint negative = n > 0 and p[0] == c'-'
    cdef size_t skip = 1 if negative else 0
    if n - skip == 0 or (p[skip] == c'0' and n > 1):
        return False
    return canonical_int_from_text(p + skip, n - skip, negative, key_type, value) == 0


cdef bint canonical_value(Vindex* v, uint8_t column, const uint8_t* p, size_t n, KeyValue* out) noexcept nogil:
    cdef uint64_t number
    cdef int length
    cdef uint8_t key_type = v.key_types[column]
    if is_int_key(key_type):
        if not whole_number(p, n, key_type, &number):
            return False
        put_number(out, number)
        return fits(v, column, out)
    if n > VALUE_ROOM or n > v.high[column] or (v.ascii_only[column] and not is_ascii(p, <uint32_t>n)):
        return False
    length = canonical_bytes(p, n, 0, key_type, out.bytes, KEY_ROOM)
    if length < 0:
        return False
    out.length = <uint32_t>length
    return True


cdef bint field_at(Pattern* t, const uint8_t* p, size_t n, uint16_t place, size_t* off, size_t* length) noexcept nogil:
    """The place-th field of the key; False when it has fewer."""
    cdef size_t at = 0
    cdef const uint8_t* found
    while place:
        found = <const uint8_t*>memchr(p + at, t.delimiter, n - at)
        if found == NULL:
            return False
        at = found - p + 1
        place -= 1
    found = <const uint8_t*>memchr(p + at, t.delimiter, n - at)
    off[0] = at
    length[0] = (n if found == NULL else <size_t>(found - p)) - at
    return True


cdef int pattern_shard(Pattern* t, const uint8_t* p, size_t n, bint* found) noexcept nogil:
    cdef size_t off[2]
    cdef size_t length[2]
    cdef KeyValue values[2]
    cdef uint8_t i, count = t.nfields
    found[0] = False
    if n < t.prefix_length or memcmp(p, t.prefix, t.prefix_length) != 0:
        return UNDECIDED
    if t.tag:
        count = 1
        if not hash_tag(p, n, &off[0], &length[0]):
            return UNDECIDED
    else:
        for i in range(count):
            if not field_at(t, p, n, t.fields[i], &off[i], &length[i]):
                return UNDECIDED
    found[0] = True
    if t.punt:
        return UNDECIDED
    if t.vindex == NULL:
        return t.shard
    for i in range(count):
        if not canonical_value(t.vindex, i, p + off[i], length[i], &values[i]):
            return UNDECIDED
    return at_least(vindex_shard(t.vindex, values))


cdef inline int at_least(int shard) noexcept nogil:
    return shard if shard >= 0 else UNDECIDED


cdef inline int key_shard(Core* c, const uint8_t* p, size_t n) noexcept nogil:
    """The shard of a key, or UNDECIDED. While a configuration changes, patterns may know shards that are gone."""
    cdef int shard = place_of(c, p, n)
    if shard >= <int>c.nshards:
        return UNDECIDED
    if shard >= 0 and c.sample_left and not c.shards[shard].foreign:
        c.sample_left -= 1
        if c.sample_left == 0:
            sample_key(c, shard, p, n)
    return shard


cdef void sample_key(Core* c, int shard, const uint8_t* p, size_t n) noexcept nogil:
    """One of about sample_gap key accesses; at random, since pipelines repeat themselves."""
    c.dice ^= c.dice << 13
    c.dice ^= c.dice >> 7
    c.dice ^= c.dice << 17
    c.sample_left = 1 + <uint32_t>(c.dice % (2 * c.sample_gap - 1))
    c.st.samples += 1
    hot_add(c.shards[shard].stats.hot, key_hash(c, p, n), c.patterns[c.which].name, p if c.keep_keys and n else NULL, n)


cdef inline uint64_t key_hash(Core* c, const uint8_t* p, size_t n) noexcept nogil:
    """Never 0."""
    cdef uint64_t found = xxh64(p, n, c.seed)
    return found if found else 1


cdef int place_of(Core* c, const uint8_t* p, size_t n) noexcept nogil:
    """The key's shard; c.which is its pattern."""
    cdef uint32_t i
    cdef bint found
    cdef int shard
    for i in range(c.npatterns):
        if c.patterns[i].always:
            if n >= c.patterns[i].prefix_length \
                    and memcmp(p, c.patterns[i].prefix, c.patterns[i].prefix_length) == 0:
                return UNDECIDED
            continue
        shard = pattern_shard(&c.patterns[i], p, n, &found)
        if found:
            c.which = i
            return shard
    c.which = c.npatterns
    if c.slots == NULL:
        return UNDECIDED
    return c.slots[slot_of(p, n)]


# ---------------------------------------------------------------- the policy
cdef enum:
    CROSS = -2
    DENIED = -3                 # by the policy; c.which is the pattern
    PARTLY = -4                 # some fields of the hash are open
    MAY = 0
    READS = 2                   # router.redis.table.Ability
    PARTS = 32
    ASKED = 128


cdef int judge(Core* c, Client* cl, Command* command, uint32_t argc, int shard) noexcept nogil:
    """May the client do this with the key that was placed last? MAY, DENIED, PARTLY, or UNDECIDED."""
    cdef uint8_t* row
    cdef uint8_t has
    if cl.subject >= c.nsubjects or <uint32_t>shard >= c.ndomain_shards:
        return UNDECIDED
    row = c.abilities[cl.subject]
    if row == NULL:
        return UNDECIDED
    has = row[c.which * c.ndomains + c.domains[shard]]
    if has & ASKED:
        return UNDECIDED
    if command.needs & ~has == 0:
        return UNDECIDED if command.has_options and argc > 3 and ~has & READS else MAY
    if not (command.fieldwise and has & PARTS):
        return DENIED
    return MAY if c.shards[shard].foreign else PARTLY       # its own region looks at the fields


# ---------------------------------------------------------------- all keys of a command on one shard
cdef struct Words:              # a walk over the arguments of a complete frame
    const uint8_t* frame
    Request* scan
    size_t at                   # where the next argument's `$` stands
    uint32_t next


cdef void words_begin(Words* w, const uint8_t* frame, Request* scan) noexcept nogil:
    w.frame = frame
    w.scan = scan
    w.at = 0
    w.next = 0


cdef void word_at(Words* w, uint32_t i, size_t* off, size_t* length) noexcept nogil:
    """The i-th argument; i never falls from one call to the next."""
    if i < RESP_ARGS:
        off[0] = w.scan.off[i]
        length[0] = w.scan.len[i]
        return
    if w.next == 0:
        w.at = w.scan.off[RESP_ARGS - 1] + w.scan.len[RESP_ARGS - 1] + 2
        w.next = RESP_ARGS
    while w.next <= i:
        w.at = argument_next(w.frame, w.at, off, length)
        w.next += 1


cdef bint spec_range(KeySpec* spec, const uint8_t* frame, Request* scan, uint32_t* first,
                     uint32_t* last) noexcept nogil:
    """Which arguments are keys: first, first + step … last. False when the words are not as they should be."""
    cdef Words w
    cdef size_t off, length, i
    cdef uint32_t count = 0
    if spec.place >= scan.argc:
        return False
    if not spec.keynum:
        first[0] = spec.place
        last[0] = spec.place + spec.last if spec.last >= 0 else scan.argc + spec.last
        return last[0] < scan.argc and last[0] >= first[0]
    words_begin(&w, frame, scan)
    word_at(&w, spec.place, &off, &length)
    if length == 0 or length > 6:
        return False
    for i in range(length):
        if frame[off + i] < c'0' or frame[off + i] > c'9':
            return False
        count = count * 10 + (frame[off + i] - c'0')
    first[0] = spec.place + spec.first
    last[0] = first[0] + (count - 1) * spec.step
    return count > 0 and frame[off] != c'0' and last[0] < scan.argc


cdef int keys_shard(Core* c, Client* cl, Command* command, const uint8_t* frame, Request* scan) noexcept nogil:
    """The one shard of all keys; UNDECIDED, CROSS, or DENIED. What is partly open is the uvloop side's."""
    cdef int shard = UNDECIDED, one, verdict
    cdef uint32_t i, first, last, holds = 0
    cdef uint8_t k
    cdef size_t off, length
    cdef Words w
    for k in range(command.nspecs):
        if not spec_range(&command.specs[k], frame, scan, &first, &last):
            return UNDECIDED
        words_begin(&w, frame, scan)
        i = first
        while i <= last:
            word_at(&w, i, &off, &length)
            if c.key == NULL:
                c.key = frame + off
                c.key_length = length
            one = key_shard(c, frame + off, length)
            if one < 0:
                return UNDECIDED
            if c.domains != NULL:
                verdict = judge(c, cl, command, scan.argc, one)
                if verdict != MAY:
                    return verdict
                if shard >= 0 and command.moves and c.patterns[c.which].holds != holds:
                    return UNDECIDED
                holds = c.patterns[c.which].holds
            if shard >= 0 and one != shard:
                return CROSS
            shard = one
            i += command.specs[k].step
    return shard
