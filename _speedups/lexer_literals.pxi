# Part of lexer.pyx: scanners of literals and of lists of literals. Position in, position out.

cdef enum:
    NOT_ONE = 0             # of a scanner: what stands here is something else
    BROKEN = 0x7fffffff     # it begins like one and cannot be finished (no text is that long)


cdef uint32_t scan_quoted(const uint8_t* p, uint32_t i, uint32_t n, bint backslash,
                          uint8_t* flags) noexcept nogil:
    """The position after the closing quote of what p[i] opens; BROKEN when it never closes."""
    cdef uint8_t quote = p[i]
    cdef uint8_t other = c'\\' if backslash else quote
    i = find_either(p, i + 1, n, quote, other)
    while i < n:
        if p[i] == quote:
            i += 1
            if i == n or p[i] != quote:
                return i
        elif i + 1 == n:
            return BROKEN
        else:
            i += 1
        flags[0] |= SLOT_ESCAPED
        i = find_either(p, i + 1, n, quote, other)
    return BROKEN


cdef inline bint opens_string(uint8_t c, uint32_t mode) noexcept nogil:
    return c == c"'" or (c == c'"' and not mode & MODE_ANSI_QUOTES)


cdef inline bint has_escapes(uint8_t quote, uint32_t mode) noexcept nogil:
    """Does a backslash escape inside of this quote?"""
    return opens_string(quote, mode) and not mode & MODE_NO_BACKSLASH_ESCAPES


cdef uint32_t scan_string(const uint8_t* p, uint32_t i, uint32_t n, uint32_t mode, Slot* item) noexcept nogil:
    """A string and those that follow it: 'a' 'b' is one literal to the server."""
    cdef bint backslash = not mode & MODE_NO_BACKSLASH_ESCAPES
    cdef uint32_t end = scan_quoted(p, i, n, backslash, &item.flags)
    cdef uint32_t after
    item.kind = LIT_STRING
    while end != BROKEN:
        after = skip_blank(p, end, n)
        if after == n or not opens_string(p[after], mode):
            break
        item.flags |= SLOT_CONCAT
        end = scan_quoted(p, after, n, backslash, &item.flags)
    return end


cdef uint32_t scan_quoted_digits(const uint8_t* p, uint32_t i, uint32_t n, Slot* item) noexcept nogil:
    """x'..' or b'..' whose letter is p[i]. The server takes no odd number of hex digits here."""
    cdef bint hexadecimal = (p[i] | 0x20) == c'x'
    cdef uint32_t start = i + 2
    i = start
    while i < n and (is_hex(p[i]) if hexadecimal else p[i] | 1 == c'1'):
        i += 1
    if i == n or p[i] != c"'" or (hexadecimal and (i - start) & 1):
        return BROKEN
    item.kind = LIT_HEX if hexadecimal else LIT_BIT
    return i + 1


cdef inline uint32_t skip_digits(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    while i < n and is_digit(p[i]):
        i += 1
    return i


cdef inline uint32_t scan_exponent(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    """The end of the exponent whose e is p[i], NOT_ONE when no digit follows."""
    i += 1
    if i < n and (p[i] == c'+' or p[i] == c'-'):
        i += 1
    if i == n or not is_digit(p[i]):
        return NOT_ONE
    return skip_digits(p, i, n)


cdef inline uint32_t scan_fraction(const uint8_t* p, uint32_t i, uint32_t n, Slot* item) noexcept nogil:
    """What follows the point of a number. `1.5e` without digits is a token that servers read in odd ways."""
    cdef uint32_t end
    i = skip_digits(p, i, n)
    if i < n and (p[i] | 0x20) == c'e':
        end = scan_exponent(p, i, n)
        item.kind = LIT_FLOAT
        return BROKEN if end == NOT_ONE else end
    item.kind = LIT_DECIMAL
    return i


cdef inline uint32_t scan_prefixed(const uint8_t* p, uint32_t i, uint32_t n, Slot* item) noexcept nogil:
    """0x1F or 0b01 at i (lower-case letter only), NOT_ONE when it is an identifier."""
    cdef bint hexadecimal = p[i + 1] == c'x'
    cdef uint32_t start = i + 2
    i = start
    while i < n and (is_hex(p[i]) if hexadecimal else p[i] | 1 == c'1'):
        i += 1
    if i == start or (i < n and is_ident(p[i])):
        return NOT_ONE
    item.kind = LIT_HEX if hexadecimal else LIT_BIT
    return i


cdef uint32_t scan_number(const uint8_t* p, uint32_t i, uint32_t n, Slot* item) noexcept nogil:
    """A number whose first digit is p[i]; NOT_ONE when it is an identifier that starts with a digit."""
    cdef uint32_t end
    if p[i] == c'0' and i + 1 < n and (p[i + 1] == c'x' or p[i + 1] == c'b'):
        return scan_prefixed(p, i, n, item)
    i = skip_digits(p, i, n)
    if i < n and p[i] == c'.':
        return scan_fraction(p, i + 1, n, item)
    if i < n and is_ident(p[i]):
        if (p[i] | 0x20) != c'e':
            return NOT_ONE
        item.kind = LIT_FLOAT
        return scan_exponent(p, i, n)
    item.kind = LIT_INT
    return i


cdef uint32_t scan_literal(const uint8_t* p, uint32_t i, uint32_t n, uint32_t mode,
                           Slot* item) noexcept nogil:
    """The literal at i < n: its end; fills kind, off, len, count and flags of `item`."""
    cdef uint8_t kind = CLASS[p[i]] & C_MASK
    cdef uint32_t end = NOT_ONE
    item.kind = LIT_NONE
    item.flags = 0
    item.off = i
    item.count = 1
    if kind == C_DIGIT:
        end = scan_number(p, i, n, item)
    elif kind == C_QUOTE or kind == C_DOUBLE_QUOTE:
        if opens_string(p[i], mode):
            end = scan_string(p, i, n, mode, item)
    elif kind == C_LITERAL_WORD:
        if i + 1 < n and p[i + 1] == c"'":
            if (p[i] | 0x20) == c'n':
                item.flags = SLOT_NATIONAL
                end = scan_string(p, i + 1, n, mode, item)
            else:
                end = scan_quoted_digits(p, i, n, item)
    elif kind == C_DOT:
        if i + 1 < n and is_digit(p[i + 1]):
            end = scan_fraction(p, i + 1, n, item)
    elif kind == C_PARAM:
        if i + 1 == n or not is_ident(p[i + 1]):
            item.kind = LIT_PARAM
            end = i + 1
    item.len = end - i
    return end


cdef inline bint is_null_word(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    return (n - i >= 4 and (p[i] | 0x20) == c'n' and (p[i + 1] | 0x20) == c'u' and (p[i + 2] | 0x20) == c'l'
            and (p[i + 3] | 0x20) == c'l' and (n - i == 4 or not is_ident(p[i + 4])))


cdef uint32_t scan_item(const uint8_t* p, uint32_t i, uint32_t n, uint32_t mode, Slot* item) noexcept nogil:
    """An element of a list at i < n: a literal, a number with a minus (SLOT_NEG), or NULL; NOT_ONE otherwise.

    What follows the element is for the caller to check. `off` and `len` leave the minus out.
    """
    cdef uint32_t end, start
    if p[i] == c'-':
        start = skip_blank(p, i + 1, n)
        if start == n or not (is_digit(p[start]) or p[start] == c'.'):
            return NOT_ONE
        end = scan_literal(p, start, n, mode, item)
        if not LIT_INT <= item.kind <= LIT_FLOAT:
            return NOT_ONE
        item.flags |= SLOT_NEG
    elif is_null_word(p, i, n):
        item.kind = LIT_NULL
        item.flags = 0
        item.off = i
        item.len = 4
        item.count = 1
        return i + 4
    else:
        end = scan_literal(p, i, n, mode, item)
    return NOT_ONE if end == BROKEN else end


cdef uint32_t scan_list(const uint8_t* p, uint32_t i, uint32_t n, uint32_t mode, bint plain,
                        uint32_t* count, uint32_t* params) noexcept nogil:
    """The position of the `)` that ends a list of literals whose `(` is p[i-1]; NOT_ONE when it is none.

    `plain`: no minus either. NULL is never taken: `NOT IN (…, NULL)` is another statement than `NOT IN (…)`.
    """
    cdef Slot item
    cdef uint32_t end
    count[0] = 0
    while True:
        i = skip_blank(p, i, n)
        if i == n:
            return NOT_ONE
        end = skip_digits(p, i, n)
        if end == i or end == n or is_ident(p[end]) or p[end] == c'.':      # not a plain integer
            end = scan_item(p, i, n, mode, &item)
            if end == NOT_ONE or item.kind == LIT_NULL or (plain and item.flags & SLOT_NEG):
                return NOT_ONE
            params[0] += item.kind == LIT_PARAM
        i = end
        count[0] += 1
        i = skip_blank(p, i, n)
        if i == n:
            return NOT_ONE
        if p[i] == c')':
            return i
        if p[i] != c',':
            return NOT_ONE
        i += 1


cdef uint32_t scan_tuples(const uint8_t* p, uint32_t i, uint32_t n, uint32_t mode, uint32_t* width,
                          uint32_t* count, uint32_t* params) noexcept nogil:
    """The position after the last `)` of `(…), (…)` that starts at p[i] == `(`: lists of equal length."""
    cdef uint32_t columns, end
    count[0] = 0
    while True:
        i = scan_list(p, i + 1, n, mode, True, &columns, params)
        if i == NOT_ONE or (count[0] > 0 and columns != width[0]):
            return NOT_ONE
        width[0] = columns
        count[0] += 1
        end = i + 1
        i = skip_blank(p, end, n)
        if i == n:
            return NOT_ONE
        if p[i] == c')':
            return end
        if p[i] != c',':
            return NOT_ONE
        i = skip_blank(p, i + 1, n)
        if i == n or p[i] != c'(':
            return NOT_ONE
