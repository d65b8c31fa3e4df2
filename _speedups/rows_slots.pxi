# What groups are kept in: a hash table of keys, and for each group a slot for what is known of one combined column.

cdef extern from *:
    """
    #define fl_add_overflows(a, b, sum) __builtin_add_overflow(a, b, sum)
    """
    bint add_overflows "fl_add_overflows"(int64_t a, int64_t b, int64_t* sum) nogil

cdef enum SlotState:
    SLOT_EMPTY = 0          # no value came that is not NULL
    SLOT_WHOLE = 1          # `sum.whole`, and `sum.count` of a mean
    SLOT_REAL = 2           # `sum.real` likewise
    SLOT_BITS = 3
    SLOT_BEST = 4           # of MIN and MAX: the best value so far
    SLOT_OBJECT = 5         # kept elsewhere

cdef enum:
    BEST_KEY = 16
    BEST_CELL = 22
    DECIMAL_ROOM = 64       # 20 digits, or 30 behind the point, with sign and point
    LARGEST_PLACES = 1 << 30

OBJECT_COST = 200
"""What an object of a slot costs besides its values, roughly."""

cdef struct Sum:
    int64_t whole
    double real
    int64_t count


cdef struct Best:
    uint8_t key_size
    uint8_t cell_size
    uint8_t key[BEST_KEY]
    uint8_t cell[BEST_CELL]


cdef union Known:
    Sum sum
    Best best
    uint64_t bits


cdef struct Slot:
    uint8_t state
    Known known             # as the state says


cdef inline void combine_bits(Slot* slot, int operation, uint64_t value) noexcept nogil:
    if slot.state == SLOT_EMPTY:
        slot.state = SLOT_BITS
        slot.known.bits = value
    elif operation == OP_AND:
        slot.known.bits &= value
    elif operation == OP_OR:
        slot.known.bits |= value
    else:
        slot.known.bits ^= value


cdef size_t write_decimal(int64_t value, int scale, uint8_t* out) noexcept nogil:
    """A whole number divided by ten to the scale (at most 38), as servers write DECIMAL. -> bytes written."""
    cdef uint8_t digits[DECIMAL_ROOM]
    cdef uint64_t rest = 0 - <uint64_t>value if value < 0 else <uint64_t>value
    cdef int count = 0
    cdef size_t n = 0
    while rest or count <= scale:
        digits[count] = <uint8_t>(c"0" + rest % 10)
        rest //= 10
        count += 1
    if value < 0:
        out[0] = c"-"
        n = 1
    while count:
        count -= 1
        out[n] = digits[count]
        n += 1
        if count == scale and scale:
            out[n] = c"."
            n += 1
    return n


# --- groups by key ------------------------------------------------------------------------------------------

cdef struct Entry:
    uint64_t hash
    size_t at               # in `texts`: the key, then the group's first row
    uint32_t key_size
    uint32_t row_size


cdef struct Table:
    Entry* entries
    uint32_t used
    uint32_t room
    uint32_t* places        # by hash, linear probing: an entry's number + 1, or 0
    uint32_t cap            # of places, a power of two of which at most half is used
    Buffer texts


cdef uint64_t TABLE_SEED = int.from_bytes(urandom(8), "little")
"""Another in every process, so that nobody can choose keys of one place."""


cdef void table_free(Table* t) noexcept:
    free(t.entries)
    free(t.places)
    free(t.texts.data)


cdef size_t table_size(Table* t) noexcept:
    return t.room * sizeof(Entry) + t.cap * sizeof(uint32_t) + t.texts.room


cdef inline bint same_bytes(const uint8_t* one, const uint8_t* other, size_t n) noexcept:
    return n == 0 or memcmp(one, other, n) == 0     # of no bytes there may be no address


cdef uint32_t table_find(Table* t, const uint8_t* key, size_t n) noexcept:
    """The entry's number; that of the next one to come when there is none."""
    cdef uint64_t found = xxh64(key, n, TABLE_SEED)
    cdef uint32_t place = <uint32_t>found & (t.cap - 1)
    cdef Entry* entry
    if t.cap == 0:
        return 0
    while t.places[place]:
        entry = &t.entries[t.places[place] - 1]
        if entry.hash == found and entry.key_size == n and same_bytes(t.texts.data + entry.at, key, n):
            return t.places[place] - 1
        place = (place + 1) & (t.cap - 1)
    return t.used


cdef int table_add(Table* t, const uint8_t* key, size_t n, const uint8_t* row, size_t length) except -1:
    """An entry for a key that has none."""
    cdef Entry* entry
    if t.used == t.room:
        table_grow(t)
    entry = &t.entries[t.used]
    entry.hash = xxh64(key, n, TABLE_SEED)
    entry.at = t.texts.used
    entry.key_size = <uint32_t>n
    entry.row_size = <uint32_t>length
    if n:
        put(&t.texts, key, n)
    put(&t.texts, row, length)
    t.used += 1
    table_place(t, t.used - 1)
    return 0


cdef int table_grow(Table* t) except -1:
    """Twice the room."""
    cdef uint32_t room = max(8, 2 * t.room), number
    cdef Entry* entries
    cdef uint32_t* places
    if room > LARGEST_PLACES // 2:
        raise MemoryError
    entries = <Entry*>realloc(t.entries, room * sizeof(Entry))
    if entries == NULL:
        raise MemoryError
    t.entries = entries
    places = <uint32_t*>calloc(2 * room, sizeof(uint32_t))
    if places == NULL:
        raise MemoryError
    free(t.places)
    t.places = places
    t.cap = 2 * room
    t.room = room
    for number in range(t.used):
        table_place(t, number)
    return 0


cdef void table_place(Table* t, uint32_t number) noexcept:
    cdef uint32_t place = <uint32_t>t.entries[number].hash & (t.cap - 1)
    while t.places[place]:
        place = (place + 1) & (t.cap - 1)
    t.places[place] = number + 1
