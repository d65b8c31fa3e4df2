# Key -> shard: the mechanics of router/vindexes in C. Included by relay.pyx and redis_relay.pyx.

cdef enum:
    NO_SHARD = -1               # no row can have this key (NULL, out of the column's domain, no such range)
    PUNT = -2                   # the uvloop side has to look at it
    MANY = -3                   # the values do not agree on a shard
    KEY_ROOM = 1024

cdef struct KeyValue:
    int64_t number              # integer key types
    uint8_t bytes[1024]         # KEY_ROOM
    uint32_t length             # of the canonical bytes


cdef int bounds_shard(Vindex* v, int64_t number, bint is_unsigned) noexcept nogil:
    """Range vindex: bounds[i] is the first value of part i + 1."""
    cdef uint32_t low = 0, high = v.nbounds, middle
    cdef bint below
    while low < high:
        middle = (low + high) // 2
        if is_unsigned:
            below = <uint64_t>number < <uint64_t>v.bounds[middle]
        else:
            below = number < v.bounds[middle]
        if below:
            high = middle
        else:
            low = middle + 1
    return v.bound_shards[low]


cdef int item_shard(Vindex* v, const uint8_t* p, uint32_t n) noexcept nogil:
    cdef uint64_t h
    cdef uint32_t i
    if v.nitems == 0:
        return NO_SHARD
    h = xxh64(p, n, 0)
    i = <uint32_t>(h & (v.nitems - 1))
    while v.item_shard[i] >= 0:
        if v.item_hash[i] == h and v.item_length[i] == n and memcmp(v.item_bytes + v.item_offset[i], p, n) == 0:
            return v.item_shard[i]
        i = (i + 1) & (v.nitems - 1)
    return NO_SHARD


cdef int region_index(Vindex* v, KeyValue* key) noexcept nogil:
    """Which of the vindex's bucket maps: by bits of the id, or by the region column's value."""
    cdef uint64_t number
    cdef uint32_t i, length
    cdef uint8_t* p
    if v.region_kind == 1:
        number = (<uint64_t>key.number >> v.shift) & v.mask
        for i in range(v.nregions):
            if v.region_value[i] == number:
                return <int>v.region_map[i]
        return NO_SHARD
    for i in range(v.nregions):
        length = <uint32_t>v.region_value[i]
        p = v.region_bytes + (v.region_value[i] >> 32)
        if length == key.length and memcmp(p, key.bytes, length) == 0:
            return <int>v.region_map[i]
    return NO_SHARD


cdef inline int vindex_shard(Vindex* v, KeyValue* keys) noexcept nogil:
    """Shard of one canonical key (arity values); NO_SHARD when the function has no place for it."""
    cdef KeyValue* last = &keys[v.arity - 1]
    cdef int region
    cdef uint64_t bucket
    if v.kind == 2:
        return bounds_shard(v, last.number, v.key_types[v.arity - 1] == KEY_INT_UNSIGNED)
    if v.kind == 3:
        return item_shard(v, last.bytes, last.length)
    region = region_index(v, &keys[0]) if v.region_kind else 0
    if region < 0:
        return NO_SHARD
    if is_int_key(v.key_types[v.arity - 1]):
        bucket = xxh64_of_int(<uint64_t>last.number) >> 52
    else:
        bucket = xxh64(last.bytes, last.length, 0) >> 52
    return v.maps[<uint64_t>region * 4096 + bucket]


cdef inline void number_of(KeyValue* key, uint8_t key_type) noexcept nogil:
    """Integer key types: the canonical bytes are the number, little-endian."""
    if is_int_key(key_type):
        memcpy(&key.number, key.bytes, 8)


cdef inline void put_number(KeyValue* key, uint64_t number) noexcept nogil:
    key.number = <int64_t>number
    memcpy(key.bytes, &number, 8)
    key.length = 8


cdef bint is_ascii(const uint8_t* p, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if p[i] >= 0x80:
            return False
    return True


cdef inline bint fits(Vindex* v, uint8_t column, KeyValue* key) noexcept nogil:
    """Can the column store the key as it is written? What a server might clamp or cut is left to Python."""
    cdef uint8_t key_type = v.key_types[column]
    if key_type == KEY_INT_SIGNED:
        return v.low[column] <= key.number <= <int64_t>v.high[column]
    if key_type == KEY_INT_UNSIGNED:
        return <uint64_t>key.number <= v.high[column]
    if key.length > v.high[column] or <int64_t>key.length < v.low[column]:     # BINARY(n) is filled up
        return False
    return not v.ascii_only[column] or is_ascii(key.bytes, key.length)


cdef uint8_t* copy_bytes(bytes data) except? NULL:
    cdef uint8_t* p
    if len(data) == 0:
        return NULL
    p = <uint8_t*>malloc(len(data))
    if p == NULL:
        raise MemoryError
    memcpy(p, <const char*>data, len(data))
    return p


cdef Vindex* vindex_build(int kind, list key_types, int region_kind, int shift, uint64_t mask, object regions,
                          object maps, object bounds, object bound_shards, object items) except NULL:
    cdef Vindex* v = <Vindex*>calloc(1, sizeof(Vindex))
    cdef bytes pool = b""
    cdef int i
    if v == NULL:
        raise MemoryError
    if len(key_types) not in (1, 2):
        free(v)
        raise ValueError("a vindex has one or two columns")
    v.kind = <uint8_t>kind
    v.arity = <uint8_t>len(key_types)
    v.region_kind = <uint8_t>region_kind
    v.shift = <uint8_t>shift
    v.mask = mask
    for i, key_type in enumerate(key_types):
        v.key_types[i] = key_type
    v.nregions = <uint32_t>len(regions)
    v.region_value = <uint64_t*>calloc(len(regions) + 1, 8)
    v.region_map = <uint32_t*>calloc(len(regions) + 1, 4)
    for i, (value, index) in enumerate(regions):
        v.region_map[i] = index
        if isinstance(value, bytes):
            v.region_value[i] = (<uint64_t>len(pool) << 32) | <uint64_t>len(value)
            pool += value
        else:
            v.region_value[i] = value
    v.region_bytes = copy_bytes(pool)
    v.nmaps = <uint32_t>len(maps)
    v.maps = <uint16_t*>copy_bytes(b"".join(maps))
    v.nbounds = <uint32_t>len(bounds)
    v.bounds = <int64_t*>calloc(len(bounds) + 1, 8)
    v.bound_shards = <int32_t*>calloc(len(bounds) + 1, 4)
    for i, bound in enumerate(bounds):
        v.bounds[i] = <int64_t>(<uint64_t>(int(bound) & ((1 << 64) - 1)))
    for i, shard in enumerate(bound_shards):
        v.bound_shards[i] = shard
    vindex_items(v, items)
    return v


cdef int vindex_items(Vindex* v, object items) except -1:
    """Open addressing at most half full: canonical key -> shard."""
    cdef bytes pool = b"", key
    cdef uint32_t cap = 4, i
    cdef uint64_t h
    if not len(items):
        return 0
    while cap < 2 * len(items):
        cap *= 2
    v.nitems = cap
    v.item_hash = <uint64_t*>calloc(cap, 8)
    v.item_shard = <int32_t*>malloc(cap * 4)
    v.item_offset = <uint32_t*>calloc(cap, 4)
    v.item_length = <uint32_t*>calloc(cap, 4)
    for i in range(cap):
        v.item_shard[i] = -1
    for key, shard in items:
        h = xxh64(<const uint8_t*>(<const char*>key), len(key), 0)
        i = <uint32_t>(h & (cap - 1))
        while v.item_shard[i] >= 0:
            i = (i + 1) & (cap - 1)
        v.item_hash[i] = h
        v.item_shard[i] = shard
        v.item_offset[i] = <uint32_t>len(pool)
        v.item_length[i] = <uint32_t>len(key)
        pool += key
    v.item_bytes = copy_bytes(pool)
    return 0


cdef void vindex_free(Vindex* v) noexcept nogil:
    free(v.region_value)
    free(v.region_map)
    free(v.region_bytes)
    free(v.maps)
    free(v.bounds)
    free(v.bound_shards)
    free(v.item_hash)
    free(v.item_shard)
    free(v.item_offset)
    free(v.item_length)
    free(v.item_bytes)
    free(v)
