# The shard of a plan or a prepared statement, by the keys in it. Included by relay.pyx.


cdef struct ParamCursor:
    const uint8_t* nulls        # the null bitmap
    const uint8_t* types        # 2 bytes a parameter
    const uint8_t* omitted      # 1 byte a parameter: its value is not in the packet (long data); NULL: none
    const uint8_t* values
    const uint8_t* end
    const uint8_t* p            # the value of parameter `at`
    int32_t at


cdef inline int agree(int so_far, int shard) noexcept nogil:
    """Fold one more key into the statement's shard. A key without a shard leaves the decision to Python."""
    if shard < 0:
        return PUNT
    if so_far == NO_SHARD or so_far == shard:
        return shard
    return MANY


cdef inline int literal_key(Vindex* v, uint8_t column, KeyValue* out, const uint8_t* sql, Slot* slot, bint negate,
                            uint32_t mode) noexcept nogil:
    """Canonical key of a literal in the statement's text; 0 or PUNT."""
    cdef int n
    cdef uint64_t number
    cdef uint8_t key_type = v.key_types[column]
    cdef uint8_t flags = slot.flags
    if negate:
        flags ^= SLOT_NEG
    if slot.kind == LIT_INT and is_int_key(key_type):
        if canonical_int_from_text(sql + slot.off, slot.len, flags & SLOT_NEG, key_type, &number) != 0:
            return PUNT
        put_number(out, number)
    else:
        n = canonical_literal(sql + slot.off, slot.len, slot.kind, flags, <int>mode, key_type, out.bytes, KEY_ROOM)
        if n < 0:
            return PUNT
        out.length = <uint32_t>n
        number_of(out, key_type)
    return 0 if fits(v, column, out) else PUNT


cdef inline int plan_shard(Core* c, Plan* plan, const uint8_t* sql, size_t n, Lexed* lexed,
                           uint32_t mode) noexcept nogil:
    """The shard that a text statement goes to: >= 0, NO_SHARD, PUNT or MANY."""
    cdef Vindex* v = c.vindexes[plan.vindex]
    cdef KeyValue keys[2]
    cdef int shard = NO_SHARD
    cdef uint8_t k
    for k in range(plan.nkeys):
        shard = fold_key(c, v, plan.keys[k], sql, n, lexed, mode, keys, shard)
        if shard == PUNT or shard == MANY:
            return shard
    return shard


cdef inline int fold_key(Core* c, Vindex* v, KeyRef* refs, const uint8_t* sql, size_t n, Lexed* lexed, uint32_t mode,
                         KeyValue* keys, int shard) noexcept nogil:
    """One key of the plan: a plain value per column, or one LIST / the rows of one ROWS slot."""
    cdef uint8_t column, listed = 0, rows = 0
    cdef KeyRef* ref
    for column in range(v.arity):
        ref = &refs[column]
        if ref.slot >= lexed.n_slots:
            return PUNT
        if ref.kind == 0:
            if literal_key(v, column, &keys[column], sql, &lexed.slots[ref.slot], ref.negate, mode) != 0:
                return PUNT
        elif ref.kind == 1:
            listed += 1
        else:
            rows += 1
    if listed + rows == 0:
        return agree(shard, vindex_shard(v, keys))
    if listed > 1 or (listed and rows):
        return PUNT
    if listed:
        return fold_list(v, refs, sql, lexed, mode, keys, shard)
    return fold_rows(v, refs, sql, lexed, mode, keys, shard)


cdef int fold_list(Vindex* v, KeyRef* refs, const uint8_t* sql, Lexed* lexed, uint32_t mode, KeyValue* keys,
                   int shard) noexcept nogil:
    cdef uint8_t column = 0
    cdef int more
    cdef LiteralIter it
    cdef Slot item
    while refs[column].kind != 1:
        column += 1
    iter_begin(&it, sql, mode, &lexed.slots[refs[column].slot])
    while True:
        more = list_next(&it, &item)
        if more == 0:
            return shard
        if more < 0 or literal_key(v, column, &keys[column], sql, &item, refs[column].negate, mode) != 0:
            return PUNT
        shard = agree(shard, vindex_shard(v, keys))
        if shard < 0:
            return shard


cdef int fold_rows(Vindex* v, KeyRef* refs, const uint8_t* sql, Lexed* lexed, uint32_t mode, KeyValue* keys,
                   int shard) noexcept nogil:
    cdef uint8_t column
    cdef int more
    cdef LiteralIter its[2]
    cdef Slot item
    for column in range(v.arity):
        if refs[column].kind == 2:
            iter_begin(&its[column], sql, mode, &lexed.slots[refs[column].slot])
    while True:
        for column in range(v.arity):
            if refs[column].kind != 2:
                continue
            more = row_next(&its[column], refs[column].item, &item)
            if more == 0:
                return shard
            if more < 0 or literal_key(v, column, &keys[column], sql, &item, 0, mode) != 0:
                return PUNT
        shard = agree(shard, vindex_shard(v, keys))
        if shard < 0:
            return shard


# ---------------------------------------------------------------- prepared statements
cdef inline bint is_null_param(const uint8_t* nulls, int32_t i) noexcept nogil:
    return (nulls[i >> 3] >> (i & 7)) & 1


cdef inline bint is_omitted(ParamCursor* cursor, int32_t i) noexcept nogil:
    return cursor.omitted != NULL and cursor.omitted[i]


cdef inline int param_key(Vindex* v, uint8_t column, KeyValue* out, ParamCursor* cursor, int32_t param,
                          uint32_t mode) noexcept nogil:
    """Canonical key of a parameter of COM_STMT_EXECUTE. The cursor walks forward and starts anew when it must."""
    cdef size_t used = 0
    cdef int n
    cdef uint64_t number
    cdef bint is_unsigned
    cdef uint8_t kind, key_type = v.key_types[column]
    if param < cursor.at:
        cursor.at = 0
        cursor.p = cursor.values
    while cursor.at < param:
        if not is_null_param(cursor.nulls, cursor.at) and not is_omitted(cursor, cursor.at):
            used = param_length(cursor.p, cursor.end - cursor.p, cursor.types[2 * cursor.at])
            if used == 0 and cursor.types[2 * cursor.at] != TYPE_NULL:
                return PUNT
            cursor.p += used
        cursor.at += 1
    if is_null_param(cursor.nulls, param) or is_omitted(cursor, param):
        return PUNT
    kind = cursor.types[2 * param]
    is_unsigned = cursor.types[2 * param + 1] & 0x80 != 0
    if int_param_width(kind):
        if int_param_key(cursor.p, cursor.end - cursor.p, kind, is_unsigned, key_type, &number) != 0:
            return PUNT
        put_number(out, number)
    else:
        n = canonical_param(cursor.p, cursor.end - cursor.p, kind, is_unsigned, <int>mode, key_type, out.bytes,
                            KEY_ROOM, &used)
        if n < 0:
            return PUNT
        out.length = <uint32_t>n
        number_of(out, key_type)
    return 0 if fits(v, column, out) else PUNT


cdef inline int statement_shard(Core* c, Statement* st, ParamCursor* cursor, uint32_t mode) noexcept nogil:
    """The shard that a prepared statement's execution goes to: >= 0, NO_SHARD, PUNT or MANY."""
    cdef Vindex* v = c.vindexes[st.plan.vindex]
    cdef KeyValue keys[2]
    cdef KeySource* source = st.sources
    cdef int shard = NO_SHARD
    cdef uint32_t row
    cdef uint8_t column, arity = v.arity
    for row in range(st.nkeys):
        for column in range(arity):
            if source.param >= 0:
                if param_key(v, column, &keys[column], cursor, source.param, mode) != 0:
                    return PUNT
            else:
                memcpy(keys[column].bytes, st.constants + source.offset, source.length)
                keys[column].length = source.length
                number_of(&keys[column], v.key_types[column])
            source += 1
        shard = agree(shard, vindex_shard(v, keys))
        if shard < 0:
            return shard
    return shard
