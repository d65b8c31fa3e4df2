# The witness: may this column leave? Asked of the server's own words. Included by scanner.pyx.
#
# A column definition says from which column of which table a value comes, as long as it comes as it is: schema,
# org_table (MariaDB: the alias of a derived table) and org_name. What is computed, and so every mask, has no schema.
# ("Column Definition Packet" of the protocol manual; tried on MariaDB 10.11 and MySQL 9.7.)

cdef enum:
    WITNESS_NAMES = 4096        # entries of one witness at most
    WITNESS_HEAD = 8192         # a longer head of a result set is looked at each time
    DEFINITION_MAX = 4096       # catalog, schema and four names of at most 256 bytes each


cdef void witness_free(Witness* w) noexcept nogil:
    if w != NULL:
        free(w.items)
        free(w.names)
        free(w.known)
        free(w)


cdef Witness* witness_new(const uint8_t* names, size_t n, uint32_t count) noexcept nogil:
    """`names`: `count` times schema, table and column in lower case, each ended by NUL. NULL without memory."""
    cdef Witness* w = <Witness*>calloc(1, sizeof(Witness))
    cdef uint32_t i, place, parts
    cdef size_t at = 0, start
    if w == NULL:
        return NULL
    w.cap = 4
    while w.cap < 2 * count + 2:
        w.cap *= 2
    w.items = <WitnessItem*>calloc(w.cap, sizeof(WitnessItem))
    w.names = <uint8_t*>malloc(n + 1)
    if w.items == NULL or w.names == NULL:
        witness_free(w)
        return NULL
    memcpy(w.names, names, n)
    for i in range(count):
        start = at
        parts = 0
        while at < n and parts < 3:
            parts += w.names[at] == 0
            at += 1
        place = witness_place(w, w.names + start, at - start)
        w.items[place].at = <uint32_t>start
        w.items[place].length = <uint32_t>(at - start)
    return w


cdef uint32_t witness_place(Witness* w, const uint8_t* key, size_t n) noexcept nogil:
    """Where the key is, or would be: at least half of the places are free."""
    cdef uint32_t i = <uint32_t>xxh64(key, n, 0) & (w.cap - 1)
    while w.items[i].length and (w.items[i].length != n or memcmp(w.names + w.items[i].at, key, n) != 0):
        i = (i + 1) & (w.cap - 1)
    return i


cdef bint testify(Witness* w, const uint8_t* p, size_t n) noexcept nogil:
    """May a column of this definition (a whole payload) leave? Not what is cut short, or longer than any is."""
    cdef uint8_t key[DEFINITION_MAX + 3]
    cdef const uint8_t* part[6]
    cdef uint64_t size[6]
    cdef size_t at = 0, length = 0, k
    cdef int i
    if n > DEFINITION_MAX:
        return False
    for i in range(6):          # catalog, schema, table, org_table, name, org_name
        if not lenenc(p, n, &at, &size[i]) or n - at < size[i]:
            return False
        part[i] = p + at
        at += size[i]
    if size[1] == 0 or size[5] == 0:
        return True             # computed, or kept in a table of the server's own meanwhile
    if size[1] == 18 and lower_equal(part[1], <const uint8_t*>b"information_schema", 18):
        return True             # which knows no rows
    for i in range(1, 6, 2):    # schema, org_table, org_name
        for k in range(size[i]):
            key[length] = part[i][k] | 0x20 if c'A' <= part[i][k] <= c'Z' else part[i][k]
            length += 1
        key[length] = 0
        length += 1
    return w.items[witness_place(w, key, length)].length != 0


cdef bint lower_equal(const uint8_t* p, const uint8_t* lower, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        if (p[i] | 0x20) != lower[i] and p[i] != lower[i]:
            return False
    return True


cdef inline size_t known_head(Scan* s, const uint8_t* p, size_t pos, size_t n) noexcept nogil:
    """Behind the head of a result set that is to the byte the one that the witness has agreed to before; else `pos`."""
    cdef Witness* w = s.witness
    if w.known_len == 0 or n - pos < w.known_len or memcmp(p + pos, w.known, w.known_len) != 0:
        return pos
    s.outcome = OUTCOME_ROWS
    s.seq = w.known_seq
    s.left = 0
    next_phase(s)
    return pos + w.known_len


cdef void remember_head(Scan* s, const uint8_t* head, size_t n) noexcept nogil:
    """The witness has agreed to this head: the count and all definitions, framed."""
    cdef Witness* w = s.witness
    if n > WITNESS_HEAD:
        return
    if n > w.known_room:
        free(w.known)
        w.known_len = w.known_room = 0
        w.known = <uint8_t*>malloc(n)
        if w.known == NULL:
            return
        w.known_room = <uint32_t>n
    memcpy(w.known, head, n)
    w.known_len = <uint32_t>n
    w.known_seq = s.seq


cdef int watched_definition(Scan* s, const uint8_t* p, size_t pos, size_t n, uint32_t length) noexcept nogil:
    """One packet among the definitions: SCAN_MORE while it is cut short, SCAN_FORBIDDEN, or SCAN_COMPLETE: go on."""
    if length != 0xffffff and n - pos - 4 < length:
        return SCAN_MORE
    if length == 0xffffff or not testify(s.witness, p + pos + 4, length):
        s.forbidden = 1
        s.forbidden_at = <uint32_t>pos
        return SCAN_FORBIDDEN
    s.seq = p[pos + 3]
    s.left -= 1
    if s.left == 0:
        next_phase(s)
        if s.head_here:
            remember_head(s, p + s.head_at, pos + 4 + length - s.head_at)
    return SCAN_COMPLETE
