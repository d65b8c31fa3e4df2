# Part of lexer.pyx: the state of a pass and the token handlers.

# ---------------------------------------------------------------- the scan

cdef enum Previous:
    # What the last token in norm was. From PREV_STAR on, a word that follows needs a space.
    PREV_NONE = 0       # nothing, or ( , ;
    PREV_SYMBOL = 1
    PREV_STAR = 2
    PREV_CLOSE = 3
    PREV_WORD = 4       # a quoted identifier, a literal, a variable
    PREV_BARE = 5       # an unquoted word
    PREV_MARK = 6       # a kept comment mark: whatever follows needs a space

cdef enum Word:
    WORD_OTHER = 0
    WORD_ORDER_GROUP = 1

cdef enum Joins:
    # Kept comments are nothing to the server: 'a' /* … */ 'b' is one literal to it, and two to us.
    JOINS_NOTHING = 0
    JOINS_STRING = 1
    JOINS_LITERAL = 2       # after an introducer

cdef enum RowStyle:
    # How VALUES rows are collapsed. A statement whose rows do not fit the style is lexed anew with the
    # next one.
    ROWS_EQUAL = 0      # every row has the norm of the first
    ROWS_MIXED = 1      # rows may differ in NULL, sign and literal
    ROWS_KEPT = 2       # not at all

cdef enum:
    DEPTH_TRACKED = 63

cdef struct Scan:
    const uint8_t* p
    uint32_t n
    uint32_t mode
    uint8_t* norm
    uint32_t o
    uint32_t limit          # norm_cap - NORM_SLACK
    Slot* slots
    uint32_t n_slots
    uint32_t slots_cap
    uint32_t n_params
    uint32_t flags
    uint32_t error
    uint8_t prev            # Previous
    uint8_t gap             # white space or a comment since the last token
    uint8_t word            # Word: of the token just before, when it was an unquoted word
    uint8_t by_number       # an integer here would be a position in ORDER BY or GROUP BY
    uint8_t joins           # Joins: what stands before the kept comments just written
    uint32_t depth          # of parentheses
    uint64_t by_depths      # bit d: at depth d we are inside of ORDER BY or GROUP BY
    uint32_t version_end    # where the `*/` of the open version comment stands, or 0
    bint after_update       # the word UPDATE was seen: VALUES(c) is a function now
    uint32_t hint_off
    uint32_t hint_len
    uint32_t rest
    int row_style
    bint rows_differ        # row_style does not fit: try the next
    bint in_row
    uint32_t rows_slot      # index of the open ROWS slot
    uint32_t row_depth      # depth outside of the rows
    uint32_t row_start      # in norm: of the row being read
    uint32_t first_end      # in norm: end of the first row, 0 while it is being read
    uint32_t first_slots    # number of slots at the end of the first row


cdef inline uint32_t fail(Scan* s, uint32_t error) noexcept nogil:
    if s.error == LEX_OK:
        s.error = error
    return s.n


cdef inline uint32_t unterminated(Scan* s) noexcept nogil:
    s.flags |= LEX_UNTERMINATED
    return fail(s, LEX_MALFORMED)


cdef inline uint32_t try_next_style(Scan* s) noexcept nogil:
    s.rows_differ = True
    return s.n


cdef inline void put(Scan* s, uint8_t c) noexcept nogil:
    s.norm[s.o] = c
    s.o += 1


cdef inline void space_before_word(Scan* s) noexcept nogil:
    if s.prev >= PREV_STAR:
        put(s, c' ')


cdef inline void token_done(Scan* s, uint8_t prev) noexcept nogil:
    s.prev = prev
    s.word = WORD_OTHER
    s.gap = False
    s.by_number = False


cdef inline bint put_bytes(Scan* s, uint32_t i, uint32_t end) noexcept nogil:
    """Copy p[i:end] to norm; False (and TOO_LONG) when there is no room."""
    cdef uint8_t* out = s.norm + s.o
    cdef const uint8_t* p = s.p
    cdef uint32_t n = s.n
    if s.o > s.limit or end - i > s.limit - s.o:
        fail(s, LEX_TOO_LONG)
        return False
    s.o += end - i
    while i < end and n - i >= 8:       # may write 7 bytes too many: slack
        memcpy(out, p + i, 8)
        out += 8
        i += 8
    while i < end:
        out[0] = p[i]
        out += 1
        i += 1
    return True


cdef inline Slot* put_slot(Scan* s, const Slot* item) noexcept nogil:
    """Append a slot and its `?`; NULL (and TOO_MANY) when there is no room."""
    cdef Slot* slot
    if s.n_slots == s.slots_cap:
        fail(s, LEX_TOO_MANY)
        return NULL
    slot = s.slots + s.n_slots
    s.n_slots += 1
    slot[0] = item[0]
    slot.param = s.n_params
    slot.at = s.o
    put(s, c'?')
    return slot


# ---------------------------------------------------------------- words

cdef enum KeywordId:
    KW_NONE = 0
    KW_IN = 1
    KW_BY = 2
    KW_FOR = 3
    KW_INTO = 4
    KW_LOCK = 5
    KW_ORDER_GROUP = 6
    KW_ENDS_BY = 7          # ends the list of ORDER BY or GROUP BY; numbers and commas may follow
    KW_VALUES = 8
    KW_UPDATE = 9
    KW_INTERSECT = 10
    KW_CALC_FOUND_ROWS = 11

cdef enum:
    KEYWORD_SHIFT = 58      # the table has 64 places

cdef uint64_t KEYWORDS[64]      # letters, folded, the first lowest; of longer words the first eight
cdef uint8_t KEYWORD_IDS[64]
cdef uint64_t LETTERS[9]    # [k] keeps the first k bytes of a number
cdef uint64_t KEYWORD_SPREAD = 0x612e7696a6cecc1bu      # gives every keyword a place of its own


cdef inline uint64_t folded(uint64_t letters) noexcept nogil:
    """ASCII letters in lower case; what else changes does not become a letter."""
    return letters | 0x2020202020202020u


cdef fill_keywords():
    for k in range(9):
        LETTERS[k] = (1 << 8 * k) - 1
    for name, kind in (
        (b"in", KW_IN), (b"by", KW_BY), (b"for", KW_FOR), (b"into", KW_INTO), (b"lock", KW_LOCK),
        (b"order", KW_ORDER_GROUP), (b"group", KW_ORDER_GROUP),
        (b"limit", KW_ENDS_BY), (b"union", KW_ENDS_BY),
        (b"except", KW_ENDS_BY), (b"intersect", KW_INTERSECT), (b"value", KW_VALUES), (b"values", KW_VALUES),
        (b"update", KW_UPDATE), (b"sql_calc_found_rows", KW_CALC_FOUND_ROWS),
    ):
        letters = int.from_bytes(bytes(c | 0x20 for c in name[:8]), "little")
        place = (letters * KEYWORD_SPREAD & 0xffffffffffffffff) >> KEYWORD_SHIFT
        if KEYWORD_IDS[place]:
            raise ImportError(f"keyword table: no place for {name}")
        KEYWORDS[place] = letters
        KEYWORD_IDS[place] = kind

fill_keywords()


cdef inline uint32_t keyword_id(uint64_t letters, uint32_t known) noexcept nogil:
    """Of a word whose first known <= 8 letters (and what follows them) are given.

    `confirmed` looks at the rest.
    """
    cdef uint64_t place
    letters = folded(letters) & LETTERS[known]
    place = letters * KEYWORD_SPREAD >> KEYWORD_SHIFT
    return KEYWORD_IDS[place] if KEYWORDS[place] == letters else KW_NONE


cdef inline uint32_t short_length(const uint8_t* p) noexcept nogil:
    """How many ASCII identifier characters stand at p, at most 8. The first is known to be one."""
    if not is_ascii_ident(p[1]):
        return 1
    if not is_ascii_ident(p[2]):
        return 2
    if not is_ascii_ident(p[3]):
        return 3
    if not is_ascii_ident(p[4]):
        return 4
    if not is_ascii_ident(p[5]):
        return 5
    if not is_ascii_ident(p[6]):
        return 6
    if not is_ascii_ident(p[7]):
        return 7
    return 8


cdef inline uint32_t ascii_ident_end(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    cdef uint32_t run
    while n - i >= 8:
        if not is_ascii_ident(p[i]):
            return i
        run = short_length(p + i)
        i += run
        if run < 8:
            return i
    while i < n and is_ascii_ident(p[i]):
        i += 1
    return i


cdef inline uint64_t first_letters(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    """The 8 bytes from i on, the first lowest; zeros stand for what is behind the end of the text."""
    cdef uint64_t letters = 0
    cdef uint32_t k
    if n - i >= 8:
        memcpy(&letters, p + i, 8)
    elif n >= 8 and i < n:
        memcpy(&letters, p + n - 8, 8)
        letters >>= 8 * (8 - (n - i))
    else:
        for k in range(n - i):
            letters |= <uint64_t>p[i + k] << (8 * k)
    return letters


cdef inline uint32_t put_short(Scan* s, uint32_t i, uint64_t letters) noexcept nogil:
    """Copy up to 7 ASCII identifier characters that begin with `letters`; 0 when it is more than that."""
    cdef uint32_t length = 0
    cdef uint64_t left = letters
    while is_ascii_ident(left & 0xff):
        left >>= 8
        length += 1
    if left & 0x80 or length == 8 or s.o > s.limit:
        return 0
    memcpy(s.norm + s.o, &letters, 8)       # what is too much is overwritten, or is slack
    s.o += length
    return i + length


cdef uint32_t put_ident(Scan* s, uint32_t i) noexcept nogil:
    """Copy the identifier characters from i on; the position after them."""
    cdef uint32_t start = i
    i = ascii_ident_end(s.p, i, s.n)
    while i < s.n and s.p[i] >= 0x80:
        s.flags |= LEX_HIGH_BYTE
        i = ascii_ident_end(s.p, i + 1, s.n)
    return i if put_bytes(s, start, i) else s.n


cdef inline bint has_member(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    """A point and an identifier directly after the word that ends at i:

    What follows is no keyword and no number.
    """
    return i + 1 < n and p[i] == c'.' and is_ident(p[i + 1])


cdef uint32_t members(Scan* s, uint32_t i) noexcept nogil:
    """The points and names directly behind a name that ends at i."""
    while has_member(s.p, i, s.n):
        if s.o > s.limit:
            return fail(s, LEX_TOO_LONG)
        put(s, c'.')
        i = put_ident(s, i + 1)
    token_done(s, PREV_BARE)
    return i


cdef uint32_t after_in(Scan* s, uint32_t i) noexcept nogil:
    """Collapse the list after IN, if it is one."""
    cdef uint32_t inside = skip_blank(s.p, i, s.n)
    cdef uint32_t end, params = 0
    cdef Slot item
    if inside == s.n or s.p[inside] != c'(':
        return i
    inside += 1
    end = scan_list(s.p, inside, s.n, s.mode, False, &item.count, &params)
    if end == NOT_ONE:
        return after_in_tuples(s, i, inside)
    item.kind = LIT_LIST
    item.flags = 0
    item.off = inside
    item.len = end - inside
    put(s, c' ')
    put(s, c'(')
    if put_slot(s, &item) == NULL:
        return s.n
    put(s, c')')
    s.n_params += params
    if params:
        s.flags |= LEX_PARAMS
    token_done(s, PREV_CLOSE)
    return end + 1


cdef uint32_t after_in_tuples(Scan* s, uint32_t i, uint32_t inside) noexcept nogil:
    """IN ((1,2), (3,4)): a ROWS slot, the first tuple's slots, and the other tuples skipped."""
    cdef uint32_t start = skip_blank(s.p, inside, s.n)
    cdef uint32_t end, after, k, width = 0, count = 0, params = 0
    cdef Slot item
    if start == s.n or s.p[start] != c'(':
        return i
    end = scan_tuples(s.p, start, s.n, s.mode, &width, &count, &params)
    if end == NOT_ONE:
        return i
    put(s, c' ')
    put(s, c'(')
    item.kind = LIT_ROWS
    item.flags = 0
    item.off = start
    item.len = end - start
    item.count = count
    if put_slot(s, &item) == NULL:
        return s.n
    s.norm[s.o - 1] = c'('      # where the slot put its `?`
    after = s.n_params + params
    start += 1
    for k in range(width):
        start = scan_literal(s.p, skip_blank(s.p, start, s.n), s.n, s.mode, &item)
        if s.o > s.limit:
            return fail(s, LEX_TOO_LONG)
        if k:
            put(s, c',')
        if put_slot(s, &item) == NULL:
            return s.n
        s.n_params += item.kind == LIT_PARAM
        start = skip_blank(s.p, start, s.n) + 1
    put(s, c')')
    put(s, c')')
    s.n_params = after
    if params:
        s.flags |= LEX_PARAMS
    token_done(s, PREV_CLOSE)
    return skip_blank(s.p, end, s.n) + 1


cdef uint32_t after_values(Scan* s, uint32_t i) noexcept nogil:
    """Open a ROWS slot if rows follow VALUES; the row itself is read by the main loop."""
    cdef const char* mark = " /*mixed*/"
    cdef uint32_t start = skip_blank(s.p, i, s.n)
    cdef Slot item
    if start == s.n or s.p[start] != c'(' or s.row_style == ROWS_KEPT:
        return i
    if s.in_row or s.after_update or s.version_end:
        return i
    item.kind = LIT_ROWS
    item.flags = 0
    item.off = start
    item.len = 0
    item.count = 0
    if s.row_style == ROWS_MIXED:
        memcpy(s.norm + s.o, mark, 10)
        s.o += 10
    put(s, c' ')
    s.rows_slot = s.n_slots
    s.row_start = s.o
    if put_slot(s, &item) == NULL:
        return s.n
    s.o -= 1                    # the first row's `(` comes here
    s.in_row = True
    s.row_depth = s.depth
    s.first_end = 0
    token_done(s, PREV_NONE)
    return start


cdef inline void leave_by(Scan* s) noexcept nogil:
    if s.depth < DEPTH_TRACKED:
        s.by_depths &= ~(<uint64_t>1 << s.depth)


cdef inline bint inside_by(Scan* s) noexcept nogil:
    """Are we in a list of ORDER BY or GROUP BY?

    Deeper than we track the answer is yes: the number is then kept.
    """
    return s.depth >= DEPTH_TRACKED or (s.by_depths >> s.depth) & 1


cdef inline void enter_by(Scan* s) noexcept nogil:
    if s.depth < DEPTH_TRACKED:
        s.by_depths |= <uint64_t>1 << s.depth
    s.by_number = True


cdef inline bint goes_on(const uint8_t* word, uint32_t length, const char* name,
                         uint32_t name_length) noexcept nogil:
    """Is the word, whose first eight letters are known to match, that name?"""
    cdef uint32_t k
    if length != name_length:
        return False
    for k in range(8, length):
        if (word[k] | 0x20) != (<uint8_t>name[k] | 0x20):
            return False
    return True


cdef inline bint confirmed(uint32_t id, const uint8_t* word, uint32_t length) noexcept nogil:
    """keyword_id knows the first eight letters only: the rest of those words that are longer."""
    if id == KW_CALC_FOUND_ROWS:
        return goes_on(word, length, "sql_calc_found_rows", 19)
    if id == KW_INTERSECT:
        return goes_on(word, length, "intersect", 9)
    return length <= 8


cdef uint32_t keyword(Scan* s, uint32_t id, uint32_t start, uint32_t i) noexcept nogil:
    """Act on the keyword that was just written and ends at i."""
    cdef bint by = id == KW_BY and s.word == WORD_ORDER_GROUP
    if not confirmed(id, s.p + start, i - start):
        id = KW_NONE
    token_done(s, PREV_BARE)
    if by:
        enter_by(s)
    elif id == KW_IN:
        return after_in(s, i)
    elif id == KW_VALUES:
        return after_values(s, i)
    elif id == KW_ORDER_GROUP:
        s.word = WORD_ORDER_GROUP
    elif id == KW_ENDS_BY or id == KW_INTERSECT:
        leave_by(s)
    elif id == KW_FOR:
        s.flags |= LEX_FOR
    elif id == KW_INTO:
        s.flags |= LEX_INTO
    elif id == KW_LOCK:
        s.flags |= LEX_LOCK
    elif id == KW_UPDATE:
        s.after_update = True
    elif id == KW_CALC_FOUND_ROWS:
        s.flags |= LEX_CALC_FOUND_ROWS
    return i


# ---------------------------------------------------------------- literals

cdef inline bint is_introducer(const Scan* s, uint32_t end) noexcept nogil:
    """Does the unquoted word that ends at norm[end] begin with `_`, and is it no member?"""
    cdef uint32_t k = end
    while k > 0 and is_ident(s.norm[k - 1]):
        k -= 1
    return s.norm[k] == c'_' and (k == 0 or s.norm[k - 1] != c'.')


cdef inline bint splits_literal(const Scan* s, uint8_t kind) noexcept nogil:
    """Is this literal, directly behind a kept comment, part of what stands before the comment?"""
    if s.joins == JOINS_STRING:
        return kind == LIT_STRING
    return s.joins == JOINS_LITERAL and LIT_STRING <= kind <= LIT_BIT


cdef inline uint32_t put_literal(Scan* s, Slot* item, uint32_t end) noexcept nogil:
    space_before_word(s)
    if s.by_number and item.kind == LIT_INT:
        if not put_bytes(s, item.off, end):
            return s.n
    else:
        if s.prev == PREV_BARE and LIT_STRING <= item.kind <= LIT_BIT and is_introducer(s, s.o - 1):
            item.flags |= SLOT_INTRODUCER
        if s.prev == PREV_MARK and splits_literal(s, item.kind):
            return fail(s, LEX_MALFORMED)
        if put_slot(s, item) == NULL:
            return s.n
        if item.kind == LIT_PARAM:
            s.n_params += 1
            s.flags |= LEX_PARAMS
    token_done(s, PREV_WORD)
    return end


cdef uint32_t string(Scan* s, uint32_t i) noexcept nogil:
    """At the quote of a string."""
    cdef Slot item
    cdef uint32_t end
    item.off = i
    item.count = 1
    item.flags = 0
    end = scan_string(s.p, i, s.n, s.mode, &item)
    if end == BROKEN:
        return unterminated(s)
    item.len = end - i
    return put_literal(s, &item, end)


cdef uint32_t literal(Scan* s, uint32_t i) noexcept nogil:
    """At a character that may begin a literal; NOT_ONE when it begins a word."""
    cdef Slot item
    cdef uint32_t end = scan_literal(s.p, i, s.n, s.mode, &item)
    if end == BROKEN:
        return unterminated(s) if item.kind == LIT_STRING else fail(s, LEX_MALFORMED)
    if end != NOT_ONE:
        return put_literal(s, &item, end)
    return NOT_ONE if is_ident(s.p[i]) else fail(s, LEX_MALFORMED)      # ?name


# ---------------------------------------------------------------- quoted identifiers, variables

cdef uint32_t put_quoted(Scan* s, uint32_t i, bint backslash) noexcept nogil:
    """Copy a quoted name with its quotes."""
    cdef uint8_t ignored = 0
    cdef uint32_t end = scan_quoted(s.p, i, s.n, backslash, &ignored)
    if end == BROKEN:
        return unterminated(s)
    if find_either(s.p, i, end, 0, 0) < end:
        s.flags |= LEX_NUL_BYTE
        return fail(s, LEX_MALFORMED)
    if not put_bytes(s, i, end):
        return s.n
    token_done(s, PREV_WORD)
    return end


cdef inline uint32_t quoted_identifier(Scan* s, uint32_t i) noexcept nogil:
    space_before_word(s)
    return put_quoted(s, i, False)


cdef uint32_t system_variable(Scan* s, uint32_t i) noexcept nogil:
    """What follows @@: a name, or a word, a point and a name; the name may stand in backticks."""
    s.flags |= LEX_SYS_VAR
    put(s, c'@')
    put(s, c'@')
    if i < s.n and s.p[i] == c'`':
        return put_quoted(s, i, False)
    if i == s.n or not is_ident(s.p[i]):
        return fail(s, LEX_MALFORMED)
    i = put_ident(s, i)
    return members(s, i)


cdef uint32_t user_variable(Scan* s, uint32_t i) noexcept nogil:
    """What follows a single @: a name of letters, digits, `_`, `$` and points, or something quoted."""
    cdef uint8_t c
    cdef uint32_t start = i
    s.flags |= LEX_USER_VAR
    put(s, c'@')
    if i < s.n:
        c = s.p[i]
        if c == c"'" or c == c'"' or c == c'`':
            return put_quoted(s, i, has_escapes(c, s.mode))
    while i < s.n and (is_ident(s.p[i]) or s.p[i] == c'.'):
        s.flags |= LEX_HIGH_BYTE if s.p[i] >= 0x80 else 0
        i += 1
    if i == start:
        return fail(s, LEX_MALFORMED)
    if not put_bytes(s, start, i):
        return s.n
    token_done(s, PREV_WORD)
    return i


cdef uint32_t variable(Scan* s, uint32_t i) noexcept nogil:
    space_before_word(s)
    if i + 1 < s.n and s.p[i + 1] == c'@':
        return system_variable(s, i + 2)
    return user_variable(s, i + 1)


# ---------------------------------------------------------------- comments

cdef inline uint8_t joins_of(const Scan* s) noexcept nogil:
    """What a literal behind the comment that is about to be written would join."""
    if s.prev == PREV_MARK:
        return s.joins
    if s.prev == PREV_WORD and s.n_slots and s.slots[s.n_slots - 1].at == s.o - 1:
        return JOINS_STRING if s.slots[s.n_slots - 1].kind == LIT_STRING else JOINS_NOTHING
    return JOINS_LITERAL if s.prev == PREV_BARE and is_introducer(s, s.o) else JOINS_NOTHING


cdef uint32_t put_mark(Scan* s, uint32_t i, uint32_t end) noexcept nogil:
    """Keep p[i:end] of a comment in norm. The words and numbers around it do not see it."""
    cdef uint8_t word = s.word
    cdef bint by_number = s.by_number
    s.joins = joins_of(s)
    if s.o > 0:
        put(s, c' ')
    if not put_bytes(s, i, end):
        return s.n
    token_done(s, PREV_MARK)
    s.word = word
    s.by_number = by_number
    return end


cdef uint32_t version_comment(Scan* s, uint32_t i, uint32_t code) noexcept nogil:
    """/*! … */ or /*M! … */ at i, its version digits at `code`: the mark is kept, the inside is lexed.

    A server of another version skips it. So both readings must end at the same `*/`: nothing may be open or
    nested there (the main loop fails when it does not pass version_end).
    """
    cdef uint32_t end = find_comment_end(s.p, code, s.n)
    cdef uint32_t digits = skip_digits(s.p, code, s.n) - code
    cdef uint32_t k
    if end == s.n:
        return unterminated(s)
    if s.version_end or (digits != 0 and digits != 5 and digits != 6):
        return fail(s, LEX_MALFORMED)
    if digits == 6 and not is_space(s.p[code + 6]):     # MySQL would take five and leave the sixth to the code
        return fail(s, LEX_MALFORMED)
    for k in range(code, end):
        if s.p[k] == c'/' and s.p[k + 1] == c'*':
            return fail(s, LEX_MALFORMED)
    if s.in_row:
        return try_next_style(s)
    s.flags |= LEX_VERSION_COMMENT
    s.version_end = end
    return put_mark(s, i, code + digits)


cdef uint32_t fairlead_hint(Scan* s, uint32_t i, uint32_t inside, uint32_t end) noexcept nogil:
    """/* fairlead: … */ from i to the `*/` at `end`."""
    if s.flags & LEX_HAS_HINT:
        return fail(s, LEX_MALFORMED)
    s.flags |= LEX_HAS_HINT
    s.hint_off = inside
    s.hint_len = end - inside
    while s.hint_len and is_space(s.p[s.hint_off]):
        s.hint_off += 1
        s.hint_len -= 1
    while s.hint_len and is_space(s.p[s.hint_off + s.hint_len - 1]):
        s.hint_len -= 1
    return put_mark(s, i, end + 2)


cdef uint32_t optimizer_hint(Scan* s, uint32_t i, uint32_t end) noexcept nogil:
    """/*+ … */ whose `*/` is at `end`. Its own grammar may quote a `*/`, so no quote may be open at `end`."""
    cdef uint8_t ignored = 0
    cdef uint32_t k = i + 3
    while k < end:
        if s.p[k] == c"'" or s.p[k] == c'"' or s.p[k] == c'`':
            k = scan_quoted(s.p, k, end, False, &ignored)
            if k == BROKEN:
                return fail(s, LEX_MALFORMED)
        else:
            k += 1
    s.flags |= LEX_OPTIMIZER_HINT
    return put_mark(s, i, end + 2)


cdef uint32_t block_comment(Scan* s, uint32_t i) noexcept nogil:
    """The comment /* at i that skip_comment left to us."""
    cdef const uint8_t* p = s.p
    cdef uint32_t end = find_comment_end(p, i + 2, s.n)
    cdef uint32_t inside = 0
    if end == s.n:
        return unterminated(s)
    if has_nul(p, i, end):
        s.flags |= LEX_NUL_BYTE
        return fail(s, LEX_MALFORMED)
    if p[i + 2] == c'!':
        return version_comment(s, i, i + 3)
    if p[i + 2] == c'M' and p[i + 3] == c'!':
        return version_comment(s, i, i + 4)
    if p[i + 2] == c'+':
        return optimizer_hint(s, i, end)
    if is_hint(p, i + 2, end, &inside):
        return fairlead_hint(s, i, inside, end)
    return fail(s, LEX_MALFORMED)


cdef uint32_t comment_or_symbol(Scan* s, uint32_t i) noexcept nogil:
    """At # - or /."""
    cdef uint32_t end = skip_comment(s.p, i, s.n)
    if end:
        s.gap = True
        return end
    if s.p[i] == c'/':
        if i + 1 < s.n and s.p[i + 1] == c'*':
            return block_comment(s, i)
    elif starts_line_comment(s.p, i, s.n):
        s.flags |= LEX_NUL_BYTE
        return fail(s, LEX_MALFORMED)
    return put_sign(s, i) if s.p[i] == c'-' else put_symbol(s, i)


# ---------------------------------------------------------------- operators and punctuation

cdef inline uint32_t put_symbol(Scan* s, uint32_t i) noexcept nogil:
    cdef uint8_t c = s.p[i]
    if s.prev == PREV_MARK or ((s.prev == PREV_SYMBOL or s.prev == PREV_STAR)
                               and (s.gap or (c == c'-' and s.norm[s.o - 1] == c'-'))):
        put(s, c' ')
    put(s, c)
    token_done(s, PREV_SYMBOL)
    return i + 1


cdef inline uint32_t put_sign(Scan* s, uint32_t i) noexcept nogil:
    cdef bint by_number = s.by_number       # ORDER BY +1 is still a position, to MariaDB - -1 as well
    i = put_symbol(s, i)
    s.by_number = by_number
    return i


cdef uint32_t star(Scan* s, uint32_t i) noexcept nogil:
    if s.version_end and i == s.version_end:
        s.version_end = 0
        return put_mark(s, i, i + 2)
    if i + 1 < s.n and s.p[i + 1] == c'/' and (i + 2 == s.n or s.p[i + 2] != c'*'):
        return fail(s, LEX_MALFORMED)
    if s.prev >= PREV_CLOSE or (s.prev != PREV_NONE and s.gap):
        put(s, c' ')
    put(s, c'*')
    token_done(s, PREV_STAR)
    return i + 1


cdef uint32_t dot(Scan* s, uint32_t i) noexcept nogil:
    if i + 1 < s.n and is_digit(s.p[i + 1]):
        return literal(s, i)
    if s.gap and PREV_CLOSE <= s.prev < PREV_MARK:
        put(s, c' ')
    put_symbol(s, i)
    i += 1
    if i < s.n and is_ident(s.p[i]):
        return members(s, put_ident(s, i))
    if i < s.n and CLASS[s.p[i]] & IS_BLANK:
        s.prev = PREV_STAR      # a word will follow with a space: `a. from` is no member
    return i


cdef uint32_t backslash(Scan* s, uint32_t i) noexcept nogil:
    """\\N, the old spelling of NULL."""
    if i + 1 == s.n or s.p[i + 1] != c'N':
        return fail(s, LEX_MALFORMED)
    space_before_word(s)
    put(s, c'\\')
    put(s, c'N')
    token_done(s, PREV_WORD)
    return i + 2


cdef uint32_t semicolon(Scan* s, uint32_t i) noexcept nogil:
    cdef uint32_t end = s.n
    while end > i and (s.p[end - 1] == c';' or CLASS[s.p[end - 1]] & C_MASK == C_SPACE):
        end -= 1                # as servers do before they read
    i += 1
    if end < i or skip_blank(s.p, i, s.n) == s.n:
        return s.n
    if not s.flags & LEX_MULTI:
        s.rest = i
    s.flags |= LEX_MULTI
    if s.mode & MODE_FIRST_STATEMENT:
        return s.n
    s.by_depths = 0
    put(s, c';')
    token_done(s, PREV_NONE)
    return i


cdef inline uint32_t open_parenthesis(Scan* s, uint32_t i) noexcept nogil:
    cdef bint by_number = s.by_number       # ORDER BY (1) is still a position
    if s.prev == PREV_MARK or (s.prev >= PREV_WORD and s.gap):
        put(s, c' ')
    put(s, c'(')
    s.depth += 1
    token_done(s, PREV_NONE)
    s.by_number = by_number
    if s.in_row and s.row_style == ROWS_MIXED and s.depth == s.row_depth + 1:
        return mixed_item(s, i + 1)
    return i + 1


cdef inline uint32_t comma(Scan* s, uint32_t i) noexcept nogil:
    put(s, c',')
    token_done(s, PREV_NONE)
    s.by_number = inside_by(s)
    if s.in_row and s.row_style == ROWS_MIXED and s.depth == s.row_depth + 1:
        return mixed_item(s, i + 1)
    return i + 1


cdef inline uint32_t close_parenthesis(Scan* s, uint32_t i) noexcept nogil:
    put(s, c')')
    token_done(s, PREV_CLOSE)
    leave_by(s)
    if s.depth > 0:
        s.depth -= 1
    if s.in_row and s.depth == s.row_depth:
        return end_row(s, i + 1)
    return i + 1


# ---------------------------------------------------------------- VALUES rows

cdef uint32_t mixed_item(Scan* s, uint32_t i) noexcept nogil:
    """At the start of an expression of a row:

    Take a literal, a signed number or NULL as one slot, else nothing.
    """
    cdef uint32_t start = skip_blank(s.p, i, s.n)
    cdef uint32_t end, after
    cdef Slot item
    if start == s.n:
        return i
    end = scan_item(s.p, start, s.n, s.mode, &item)
    if end == NOT_ONE:
        return i
    after = skip_blank(s.p, end, s.n)
    if after == s.n or (s.p[after] != c',' and s.p[after] != c')'):
        return i
    s.by_number = False
    return put_literal(s, &item, end)


cdef uint32_t end_row(Scan* s, uint32_t i) noexcept nogil:
    """After the `)` of a row:

    Drop it from norm when it equals the first; go on with the next row, if there is one.
    """
    cdef Slot* rows = s.slots + s.rows_slot
    cdef uint32_t first = rows.at
    cdef uint32_t length = s.o - s.row_start
    cdef uint32_t next_row
    if s.first_end == 0:
        s.first_end = s.o
        s.first_slots = s.n_slots
    elif length != s.first_end - first or memcmp(s.norm + first, s.norm + s.row_start, length) != 0:
        return try_next_style(s)
    s.o = s.first_end
    s.n_slots = s.first_slots
    rows.count += 1
    rows.len = i - rows.off
    next_row = skip_blank(s.p, i, s.n)
    if next_row < s.n and s.p[next_row] == c',':
        next_row = skip_blank(s.p, next_row + 1, s.n)
        if next_row == s.n or s.p[next_row] != c'(':
            return try_next_style(s)
        s.row_start = s.o
        token_done(s, PREV_NONE)
        return next_row
    if next_row + 1 < s.n and s.p[next_row] == c'/' and s.p[next_row + 1] == c'*':
        return try_next_style(s)        # a comment that is code or ours: rows may go on behind it
    s.in_row = False
    return i
