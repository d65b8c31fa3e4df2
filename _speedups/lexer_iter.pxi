# Part of lexer.pyx: the elements of a LIST slot, the expressions of a ROWS slot.

cdef void iter_begin(LiteralIter* it, const uint8_t* sql, uint32_t mode, const Slot* slot) noexcept nogil:
    it.sql = sql
    it.mode = mode
    it.pos = slot.off
    it.end = slot.off + slot.len
    it.param = slot.param
    it.item_off = slot.off
    it.item_len = 0
    it.row_off = slot.off
    it.row_len = 0


cdef inline bint take_item(LiteralIter* it, uint32_t i, uint32_t end, Slot* item) noexcept nogil:
    """Read the element at i that must be followed by `,` `)` or the end.

    False when it is no plain literal.
    """
    cdef uint32_t after = scan_item(it.sql, i, end, it.mode, item)
    if after == NOT_ONE:
        return False
    it.item_off = i
    it.item_len = after - i
    after = skip_blank(it.sql, after, end)
    if after < end and it.sql[after] != c',' and it.sql[after] != c')':
        return False
    item.param = it.param
    item.at = 0
    it.pos = after
    it.param += item.kind == LIT_PARAM
    return True


cdef int list_next(LiteralIter* it, Slot* item) noexcept nogil:
    cdef uint32_t i = skip_blank(it.sql, it.pos, it.end)
    if i == it.end:
        return 0
    if not take_item(it, i, it.end, item):
        return -1
    if it.pos < it.end:
        if it.sql[it.pos] != c',':
            return -1
        it.pos += 1
    return 1


cdef inline uint32_t skip_token(LiteralIter* it, uint32_t i) noexcept nogil:
    """The position after the token at i, which the lexer has read before; params are counted."""
    cdef uint8_t ignored = 0
    cdef uint8_t c = it.sql[i]
    cdef uint32_t end
    if c == c"'" or c == c'"' or c == c'`':
        end = scan_quoted(it.sql, i, it.end, has_escapes(c, it.mode), &ignored)
        return it.end if end == BROKEN else end
    if c == c'/' and i + 1 < it.end and it.sql[i + 1] == c'*':      # a hint: plain ones are blanks
        end = find_comment_end(it.sql, i + 2, it.end)
        return it.end if end == it.end else end + 2
    it.param += c == c'?'
    return i + 1


cdef inline uint32_t skip_expression(LiteralIter* it, uint32_t i) noexcept nogil:
    """The position of the `,` or `)` that ends the expression at i, or the end of the span."""
    cdef uint32_t depth = 0
    cdef uint8_t c
    while True:
        i = skip_blank(it.sql, i, it.end)
        if i == it.end:
            return i
        c = it.sql[i]
        if c == c'(':
            depth += 1
        elif depth == 0 and (c == c',' or c == c')'):
            return i
        elif c == c')':
            depth -= 1
        i = skip_token(it, i)


cdef inline void span_item(LiteralIter* it, uint32_t start, uint32_t end, Slot* item) noexcept nogil:
    """The expression sql[start:end] as an item that is no literal."""
    while end > start and is_space(it.sql[end - 1]):
        end -= 1
    it.item_off = start
    it.item_len = end - start
    item.kind = LIT_NONE
    item.flags = 0
    item.off = start
    item.len = end - start
    item.count = 1
    item.at = 0


cdef int row_next(LiteralIter* it, uint32_t k, Slot* item) noexcept nogil:
    cdef uint32_t column = 0
    cdef uint32_t i = skip_blank(it.sql, it.pos, it.end)
    cdef uint32_t params
    cdef bint found = False
    if i < it.end and it.sql[i] == c',':
        i = skip_blank(it.sql, i + 1, it.end)
    if i == it.end:
        return 0
    if it.sql[i] != c'(':
        return -1
    it.row_off = i
    while True:
        i = skip_blank(it.sql, i + 1, it.end)
        if i == it.end:
            return -1
        if column == k and it.sql[i] != c')':
            found = True
            if take_item(it, i, it.end, item):
                i = it.pos
            else:
                params = it.param
                it.pos = i
                i = skip_expression(it, i)
                span_item(it, it.pos, i, item)
                item.param = params
        else:
            i = skip_expression(it, i)
        if i == it.end:
            return -1
        if it.sql[i] == c')':
            break
        column += 1
    it.pos = i + 1
    it.row_len = it.pos - it.row_off
    return 1 if found else -1
