# Part of lexer.pyx: what characters are, white space and plain comments.

# ---------------------------------------------------------------- character classes

cdef enum CharClass:
    C_BAD = 0           # control characters: no token starts with one
    C_SPACE = 1
    C_WORD = 2
    C_LITERAL_WORD = 3  # b n x: a word, or the head of b'..' n'..' x'..'
    C_DIGIT = 4
    C_QUOTE = 5
    C_DOUBLE_QUOTE = 6
    C_BACKTICK = 7
    C_SYMBOL = 8
    C_MINUS = 9
    C_PLUS = 10
    C_STAR = 11
    C_SLASH = 12
    C_HASH = 13
    C_DOT = 14
    C_AT = 15
    C_PARAM = 16
    C_OPEN = 17
    C_CLOSE = 18
    C_COMMA = 19
    C_SEMICOLON = 20
    C_BACKSLASH = 21
    C_DOLLAR = 22
    C_HIGH = 23
    C_MASK = 31
    IS_HIGH = 32        # >= 0x80: may stand inside an identifier
    IS_BLANK = 64       # white space, or may begin a comment
    IS_IDENT = 128      # ASCII that may stand inside an identifier

cdef uint8_t CLASS[256]

cdef fill_classes():
    for c in range(256):
        CLASS[c] = C_HIGH | IS_HIGH if c >= 0x80 else C_BAD
    for chars, kind in (
        (b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", C_WORD | IS_IDENT),
        (b"bnxBNX", C_LITERAL_WORD | IS_IDENT), (b"0123456789", C_DIGIT | IS_IDENT),
        (b"$", C_DOLLAR | IS_IDENT), (b" \t\n\v\f\r", C_SPACE | IS_BLANK),
        (b"'", C_QUOTE), (b'"', C_DOUBLE_QUOTE), (b"`", C_BACKTICK), (b"!%&:<=>[]^{|}~", C_SYMBOL),
        (b"-", C_MINUS | IS_BLANK), (b"/", C_SLASH | IS_BLANK), (b"#", C_HASH | IS_BLANK),
        (b"+", C_PLUS), (b"*", C_STAR), (b".", C_DOT), (b"@", C_AT), (b"?", C_PARAM), (b"(", C_OPEN),
        (b")", C_CLOSE), (b",", C_COMMA), (b";", C_SEMICOLON), (b"\\", C_BACKSLASH),
    ):
        for c in chars:
            CLASS[c] = kind

fill_classes()


cdef inline bint is_ident(uint8_t c) noexcept nogil:
    return CLASS[c] & (IS_IDENT | IS_HIGH)


cdef inline bint is_space(uint8_t c) noexcept nogil:
    return CLASS[c] & C_MASK == C_SPACE


cdef inline bint is_ascii_ident(uint8_t c) noexcept nogil:
    return CLASS[c] & IS_IDENT


cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return <uint8_t>(c - c'0') <= 9


cdef inline bint is_hex(uint8_t c) noexcept nogil:
    return is_digit(c) or c'a' <= (c | 0x20) <= c'f'


cdef inline bint ends_dashes(uint8_t c) noexcept nogil:
    """May stand after -- for it to be a comment: my_isspace or my_iscntrl."""
    return c <= 0x20 or c == 0x7f


# ---------------------------------------------------------------- eight bytes at a time

cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept nogil


cdef inline uint64_t eight_of(uint8_t c) noexcept nogil:
    return c * <uint64_t>0x0101010101010101u


cdef inline uint64_t zero_bytes(uint64_t word) noexcept nogil:
    """The top bit of the first (lowest) byte that is zero; bits above it mean nothing."""
    return (word - 0x0101010101010101u) & ~word & 0x8080808080808080u


cdef inline uint32_t find_either(const uint8_t* p, uint32_t i, uint32_t n, uint8_t a,
                                 uint8_t b) noexcept nogil:
    """The position of the first a or b at or after i, or n."""
    cdef uint64_t word, found
    cdef uint64_t all_a = eight_of(a), all_b = eight_of(b)
    while n - i >= 8:
        memcpy(&word, p + i, 8)
        found = zero_bytes(word ^ all_a) | zero_bytes(word ^ all_b)
        if found:
            return i + (__builtin_ctzll(found) >> 3)
        i += 8
    while i < n and p[i] != a and p[i] != b:
        i += 1
    return i


# ---------------------------------------------------------------- lookahead: comments and blanks

cdef inline uint32_t find_comment_end(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    """The position of the `*/` at or after i, or n."""
    cdef const uint8_t* star
    while i + 1 < n:
        star = <const uint8_t*>memchr(p + i, c'*', n - 1 - i)
        if star == NULL:
            return n
        i = <uint32_t>(star - p)
        if p[i + 1] == c'/':
            return i
        i += 1
    return n


cdef inline bint has_nul(const uint8_t* p, uint32_t i, uint32_t end) noexcept nogil:
    return end > i and memchr(p + i, 0, end - i) != NULL


cdef inline bint starts_line_comment(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    """p[i] is # or -."""
    return p[i] == c'#' or (i + 1 < n and p[i + 1] == c'-' and (i + 2 == n or ends_dashes(p[i + 2])))


cdef inline uint32_t line_end(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    cdef const uint8_t* found = <const uint8_t*>memchr(p + i, c'\n', n - i)
    return n if found == NULL else <uint32_t>(found - p)


cdef inline bint is_hint(const uint8_t* p, uint32_t i, uint32_t end, uint32_t* inside) noexcept nogil:
    """Is the comment whose inside is p[i:end] ours?

    Then `inside` is where the text after `fairlead:` begins.
    """
    cdef const char* name = "fairlead"
    cdef uint32_t k
    while i < end and is_space(p[i]):
        i += 1
    if end - i < 9:
        return False
    for k in range(8):
        if (p[i + k] | 0x20) != <uint8_t>name[k]:
            return False
    i += 8
    while i < end and is_space(p[i]):
        i += 1
    if i == end or p[i] != c':':
        return False
    inside[0] = i + 1
    return True


cdef inline uint32_t skip_comment(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    """The end of the plain comment at i; 0 when there is none, or one that needs more than skipping."""
    cdef uint32_t end, inside
    if p[i] == c'/':
        if i + 1 == n or p[i + 1] != c'*':
            return 0
        end = find_comment_end(p, i + 2, n)
        if end == n or has_nul(p, i, end) or p[i + 2] == c'!' or p[i + 2] == c'+':
            return 0
        if (p[i + 2] == c'M' and p[i + 3] == c'!') or is_hint(p, i + 2, end, &inside):
            return 0
        return end + 2
    if not starts_line_comment(p, i, n):
        return 0
    end = line_end(p, i, n)
    return 0 if has_nul(p, i, end) else end


cdef uint32_t skip_blanks(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    cdef uint8_t kind
    cdef uint32_t end
    while i < n:
        kind = CLASS[p[i]] & C_MASK
        if kind == C_SPACE:
            i += 1
        elif kind == C_SLASH or kind == C_MINUS or kind == C_HASH:
            end = skip_comment(p, i, n)
            if end == 0:
                return i
            i = end
        else:
            return i
    return n


cdef inline uint32_t skip_blank(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    """The position of the next token at or after i, or n: white space and plain comments are passed."""
    if i < n and p[i] == c' ':
        i += 1
    return skip_blanks(p, i, n) if i < n and CLASS[p[i]] & IS_BLANK else i
