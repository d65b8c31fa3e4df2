# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The lexer: one pass over a statement, as the server would read it.

It writes the *norm* (comments dropped, literals as `?`, lists and VALUES rows collapsed), the *slots* (where the
literals stand in the text and in the norm), flags, and the fingerprint of the norm. Two statements of one norm differ
in nothing but the slots' texts and in white space and comments.

The token rules are those of sql/sql_lex.cc of MySQL (lex_one_token) and MariaDB. Where servers or versions disagree
about a text, or where it can only be a syntax error, the statement is MALFORMED rather than read one way: a literal
that we see where the server sees code would be a hole.

Spacing in norm: one space between two words (a literal counts as a word) and after `)` before a word; none around
operators and commas. Kept from the text, because the server tells them apart: white space between a word and `(`, and
between two operators. `- -` always gets its space: glued, it would read as a comment.

Layout of the code: character classes; lookahead scanners (pure: position in, position out, 0 = it is not that);
the Scan and its token handlers (each consumes one token from position i, writes norm, returns the next position);
lex_into; the iterators; the Python wrappers. Handlers never check room for up to NORM_SLACK bytes: the main loop
does, once per token.
"""
from typing import NamedTuple

from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy
from _speedups.hashing cimport xxh64
from _speedups.literals cimport (
    LIT_BIT, LIT_DECIMAL, LIT_FLOAT, LIT_HEX, LIT_INT, LIT_LIST, LIT_NONE, LIT_NULL, LIT_PARAM, LIT_ROWS, LIT_STRING,
    MODE_ANSI_QUOTES, MODE_LEXER_BITS, MODE_MARIADB, MODE_NO_BACKSLASH_ESCAPES, MODE_UNSAFE_CHARSET,
    SLOT_CONCAT, SLOT_ESCAPED, SLOT_INTRODUCER, SLOT_NATIONAL, SLOT_NEG,
)


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
    C_MASK = 31
    IS_HIGH = 32        # >= 0x80
    IS_DIGIT = 64
    IS_IDENT = 128      # may stand inside an identifier

cdef uint8_t CLASS[256]

cdef fill_classes():
    for c in range(256):
        CLASS[c] = C_WORD | IS_IDENT | IS_HIGH if c >= 0x80 else C_BAD
    for chars, kind in (
        (b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", C_WORD | IS_IDENT),
        (b"bnxBNX", C_LITERAL_WORD | IS_IDENT), (b"0123456789", C_DIGIT | IS_IDENT | IS_DIGIT),
        (b"$", C_DOLLAR | IS_IDENT), (b" \t\n\v\f\r", C_SPACE), (b"'", C_QUOTE), (b'"', C_DOUBLE_QUOTE),
        (b"`", C_BACKTICK), (b"!%&:<=>[]^{|}~", C_SYMBOL), (b"-", C_MINUS), (b"+", C_PLUS), (b"*", C_STAR),
        (b"/", C_SLASH), (b"#", C_HASH), (b".", C_DOT), (b"@", C_AT), (b"?", C_PARAM), (b"(", C_OPEN),
        (b")", C_CLOSE), (b",", C_COMMA), (b";", C_SEMICOLON), (b"\\", C_BACKSLASH),
    ):
        for c in chars:
            CLASS[c] = kind

fill_classes()


cdef inline bint is_ident(uint8_t c) noexcept nogil:
    return CLASS[c] & IS_IDENT


cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return CLASS[c] & IS_DIGIT


cdef inline bint is_hex(uint8_t c) noexcept nogil:
    return is_digit(c) or c'a' <= (c | 0x20) <= c'f'


cdef inline bint ends_dashes(uint8_t c) noexcept nogil:
    """May stand after -- for it to be a comment: my_isspace or my_iscntrl."""
    return c <= 0x20 or c == 0x7f


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
    """Is the comment whose inside is p[i:end] ours? Then `inside` is where the text after `fairlead:` begins."""
    cdef const char* name = "fairlead"
    cdef uint32_t k
    while i < end and CLASS[p[i]] == C_SPACE:
        i += 1
    if end - i < 9:
        return False
    for k in range(8):
        if (p[i + k] | 0x20) != <uint8_t>name[k]:
            return False
    i += 8
    while i < end and CLASS[p[i]] == C_SPACE:
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


cdef inline uint32_t skip_blank(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    """The position of the next token at or after i, or n: white space and plain comments are passed."""
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


# ---------------------------------------------------------------- lookahead: literals

cdef enum:
    NOT_ONE = 0             # of a scanner: what stands here is something else
    BROKEN = 0x7fffffff     # it begins like one and cannot be finished (no text is that long)


cdef uint32_t scan_quoted(const uint8_t* p, uint32_t i, uint32_t n, bint backslash, uint8_t* flags) noexcept nogil:
    """The position after the closing quote of what p[i] opens; BROKEN when it never closes."""
    cdef uint8_t quote = p[i]
    cdef uint8_t c
    i += 1
    while i < n:
        c = p[i]
        i += 1
        if c == quote:
            if i == n or p[i] != quote:
                return i
            flags[0] |= SLOT_ESCAPED
            i += 1
        elif c == c'\\' and backslash:
            flags[0] |= SLOT_ESCAPED
            i += 1
    return BROKEN


cdef inline bint opens_string(uint8_t c, uint32_t mode) noexcept nogil:
    return c == c"'" or (c == c'"' and not mode & MODE_ANSI_QUOTES)


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


cdef uint32_t scan_literal(const uint8_t* p, uint32_t i, uint32_t n, uint32_t mode, Slot* item) noexcept nogil:
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
    count[0] = 0
    while True:
        i = skip_blank(p, i, n)
        if i == n:
            return NOT_ONE
        i = scan_item(p, i, n, mode, &item)
        if i == NOT_ONE or item.kind == LIT_NULL or (plain and item.flags & SLOT_NEG):
            return NOT_ONE
        count[0] += 1
        params[0] += item.kind == LIT_PARAM
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
    WORD_INTRODUCER = 2

cdef enum RowStyle:
    # How VALUES rows are collapsed. A statement whose rows do not fit the style is lexed anew with the next one.
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
    uint8_t prev            # Previous; these four lie together to be reset by one store
    uint8_t word            # Word: of the token just before, when it was an unquoted word
    uint8_t gap             # white space or a comment since the last token
    uint8_t by_number       # an integer here would be a position in ORDER BY or GROUP BY
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
    if s.o > s.limit or end - i > s.limit - s.o:
        fail(s, LEX_TOO_LONG)
        return False
    memcpy(s.norm + s.o, s.p + i, end - i)
    s.o += end - i
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

cdef inline uint32_t ident_end(const uint8_t* p, uint32_t i, uint32_t n) noexcept nogil:
    while i < n and is_ident(p[i]):
        i += 1
    return i


cdef inline uint64_t first_bytes(const uint8_t* p, uint32_t i, uint32_t n, uint32_t length) noexcept nogil:
    """p[i:i+length], at most 8 bytes, as one number, the first byte lowest."""
    cdef uint64_t word = 0
    cdef uint32_t spare = 64 - 8 * length
    if n - i >= 8:
        memcpy(&word, p + i, 8)
        return word << spare >> spare
    while length:
        length -= 1
        word = word << 8 | p[i + length]
    return word


cdef inline bint has_high(const uint8_t* p, uint32_t i, uint32_t end) noexcept nogil:
    cdef uint8_t seen = 0
    while i < end:
        seen |= p[i]
        i += 1
    return seen >= 0x80


cdef inline uint32_t put_ident(Scan* s, uint32_t i) noexcept nogil:
    """Copy the identifier characters from i on; the position after them."""
    cdef uint32_t end = ident_end(s.p, i, s.n)
    if has_high(s.p, i, end):
        s.flags |= LEX_HIGH_BYTE
    return end if put_bytes(s, i, end) else s.n


cdef inline bint has_member(Scan* s, uint32_t i) noexcept nogil:
    """A point and an identifier directly after the word that ends at i: what follows is never a keyword or number."""
    return i + 1 < s.n and s.p[i] == c'.' and is_ident(s.p[i + 1])


cdef uint32_t members(Scan* s, uint32_t i) noexcept nogil:
    while has_member(s, i):
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
    """Are we in a list of ORDER BY or GROUP BY? Deeper than we track the answer is yes: the number is then kept."""
    return s.depth >= DEPTH_TRACKED or (s.by_depths >> s.depth) & 1


cdef inline void enter_by(Scan* s) noexcept nogil:
    if s.depth < DEPTH_TRACKED:
        s.by_depths |= <uint64_t>1 << s.depth
    s.by_number = True


cdef inline uint32_t keyword(Scan* s, uint32_t i, uint32_t length, uint64_t word) noexcept nogil:
    """Act on the few words that mean something to us; `word` is in lower case, the first letter lowest."""
    if length == 2:
        if word == 0x6e69u:                 # in
            return after_in(s, i)
        if word == 0x7962u and s.word == WORD_ORDER_GROUP:      # by
            s.word = WORD_OTHER
            enter_by(s)
            return i
    elif length == 3:
        if word == 0x726f66u:               # for
            s.flags |= LEX_FOR
    elif length == 4:
        if word == 0x6f746e69u:             # into
            s.flags |= LEX_INTO
        elif word == 0x6b636f6cu:           # lock
            s.flags |= LEX_LOCK
    elif length == 5:
        if word == 0x726564726fu or word == 0x70756f7267u:      # order, group
            token_done(s, PREV_BARE)
            s.word = WORD_ORDER_GROUP
            return i
        if word == 0x74696d696cu:           # limit
            leave_by(s)
        elif word == 0x65756c6176u:         # value
            return after_values(s, i)
    elif length == 6:
        if word == 0x7463656c6573u:         # select
            leave_by(s)
        elif word == 0x7365756c6176u:       # values
            return after_values(s, i)
        elif word == 0x657461647075u:       # update
            s.after_update = True
    token_done(s, PREV_BARE)
    return i


cdef inline bint is_calc_found_rows(const uint8_t* word) noexcept nogil:
    cdef const char* name = "sql_calc_found_rows"
    cdef uint32_t k
    for k in range(19):
        if word[k] != <uint8_t>name[k] and (word[k] | 0x20) != <uint8_t>name[k]:
            return False
    return True


cdef uint32_t put_long_word(Scan* s, uint32_t i, uint32_t end) noexcept nogil:
    """An unquoted word of more than 8 characters."""
    if put_ident(s, i) == s.n and s.error != LEX_OK:
        return s.n
    if has_member(s, end):
        return members(s, end)
    if end - i == 19 and is_calc_found_rows(s.p + i):
        s.flags |= LEX_CALC_FOUND_ROWS
    token_done(s, PREV_BARE)
    if s.p[i] == c'_':
        s.word = WORD_INTRODUCER
    return end


cdef inline uint32_t put_word(Scan* s, uint32_t i) noexcept nogil:
    cdef uint32_t end = ident_end(s.p, i, s.n)
    cdef uint32_t length = end - i
    cdef uint64_t word
    space_before_word(s)
    if length > 8:
        return put_long_word(s, i, end)
    word = first_bytes(s.p, i, s.n, length)
    memcpy(s.norm + s.o, &word, 8)      # what is too much is overwritten or scratch
    s.o += length
    if word & 0x8080808080808080u:
        s.flags |= LEX_HIGH_BYTE
    if has_member(s, end):
        return members(s, end)
    if word & 0xff == c'_':
        token_done(s, PREV_BARE)
        s.word = WORD_INTRODUCER
        return end
    # Setting 0x20 lowers letters; what else it changes does not become a letter.
    s.prev = PREV_BARE
    s.gap = False
    return keyword(s, end, length, word | (0x2020202020202020u >> (64 - 8 * length)))


# ---------------------------------------------------------------- literals

cdef inline uint32_t put_literal(Scan* s, Slot* item, uint32_t end) noexcept nogil:
    space_before_word(s)
    if s.by_number and item.kind == LIT_INT:
        if not put_bytes(s, item.off, end):
            return s.n
    else:
        if s.word == WORD_INTRODUCER and LIT_STRING <= item.kind <= LIT_BIT:
            item.flags |= SLOT_INTRODUCER
        if put_slot(s, item) == NULL:
            return s.n
        if item.kind == LIT_PARAM:
            s.n_params += 1
            s.flags |= LEX_PARAMS
    token_done(s, PREV_WORD)
    return end


cdef uint32_t literal_or_word(Scan* s, uint32_t i) noexcept nogil:
    """At a character that may begin a literal."""
    cdef Slot item
    cdef uint32_t end = scan_literal(s.p, i, s.n, s.mode, &item)
    if end == BROKEN:
        return unterminated(s) if item.kind == LIT_STRING else fail(s, LEX_MALFORMED)
    if end != NOT_ONE:
        return put_literal(s, &item, end)
    if is_ident(s.p[i]):
        return put_word(s, i)
    return fail(s, LEX_MALFORMED)       # ?name


cdef inline uint32_t put_number(Scan* s, uint32_t i) noexcept nogil:
    cdef Slot item
    cdef uint32_t end = skip_digits(s.p, i, s.n)
    if end < s.n and (is_ident(s.p[end]) or s.p[end] == c'.'):
        return literal_or_word(s, i)
    item.kind = LIT_INT
    item.flags = 0
    item.off = i
    item.len = end - i
    item.count = 1
    return put_literal(s, &item, end)


# ---------------------------------------------------------------- quoted identifiers, variables

cdef uint32_t put_quoted(Scan* s, uint32_t i, bint backslash) noexcept nogil:
    """Copy a quoted name with its quotes."""
    cdef uint8_t ignored = 0
    cdef uint32_t end = scan_quoted(s.p, i, s.n, backslash, &ignored)
    if end == BROKEN:
        return unterminated(s)
    if has_nul(s.p, i, end):
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
            return put_quoted(s, i, opens_string(c, s.mode) and not s.mode & MODE_NO_BACKSLASH_ESCAPES)
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

cdef uint32_t version_comment(Scan* s, uint32_t i, uint32_t code) noexcept nogil:
    """/*! … */ or /*M! … */ at i, its version digits at `code`: the mark is kept, the inside is lexed.

    A server of another version skips it. So both readings must end at the same `*/`: nothing may be open or nested
    there (the main loop fails when it does not pass version_end).
    """
    cdef uint32_t end = find_comment_end(s.p, code, s.n)
    cdef uint32_t digits = skip_digits(s.p, code, s.n) - code
    cdef uint32_t k
    if end == s.n:
        return unterminated(s)
    if s.version_end or (digits != 0 and digits != 5 and digits != 6):
        return fail(s, LEX_MALFORMED)
    for k in range(code, end):
        if s.p[k] == c'/' and s.p[k + 1] == c'*':
            return fail(s, LEX_MALFORMED)
    if s.in_row:
        return try_next_style(s)
    s.flags |= LEX_VERSION_COMMENT
    s.version_end = end
    if s.o > 0:
        put(s, c' ')
    code += digits
    if not put_bytes(s, i, code):
        return s.n
    token_done(s, PREV_MARK)
    return code


cdef uint32_t kept_hint(Scan* s, uint32_t i, uint32_t inside, uint32_t end) noexcept nogil:
    """/* fairlead: … */ from i to the `*/` at `end`."""
    if s.flags & LEX_HAS_HINT:
        return fail(s, LEX_MALFORMED)
    s.flags |= LEX_HAS_HINT
    if s.o > 0:
        put(s, c' ')
    if not put_bytes(s, i, end + 2):
        return s.n
    while inside < end and CLASS[s.p[inside]] == C_SPACE:
        inside += 1
    while end > inside and CLASS[s.p[end - 1]] == C_SPACE:
        end -= 1
    s.hint_off = inside
    s.hint_len = end - inside
    token_done(s, PREV_MARK)
    return skip_to_comment_end(s, end)


cdef inline uint32_t skip_to_comment_end(Scan* s, uint32_t i) noexcept nogil:
    return find_comment_end(s.p, i, s.n) + 2


cdef uint32_t optimizer_hint(Scan* s, uint32_t i, uint32_t end) noexcept nogil:
    """/*+ … */ whose `*/` is at `end`. Its own grammar may quote a `*/`, so no quote may be open at `end`."""
    cdef uint8_t ignored = 0
    cdef uint8_t c
    i += 3
    while i < end:
        c = s.p[i]
        if c == c"'" or c == c'"' or c == c'`':
            i = scan_quoted(s.p, i, end, False, &ignored)
            if i == BROKEN:
                return fail(s, LEX_MALFORMED)
        else:
            i += 1
    s.flags |= LEX_OPTIMIZER_HINT
    s.gap = True
    return end + 2


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
        return kept_hint(s, i, inside, end)
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
    return put_symbol(s, i)


# ---------------------------------------------------------------- operators and punctuation

cdef inline uint32_t put_symbol(Scan* s, uint32_t i) noexcept nogil:
    cdef uint8_t c = s.p[i]
    if s.prev == PREV_MARK or ((s.prev == PREV_SYMBOL or s.prev == PREV_STAR)
                               and (s.gap or (c == c'-' and s.norm[s.o - 1] == c'-'))):
        put(s, c' ')
    put(s, c)
    token_done(s, PREV_SYMBOL)
    return i + 1


cdef inline uint32_t plus(Scan* s, uint32_t i) noexcept nogil:
    cdef bint by_number = s.by_number       # ORDER BY +1 is still a position
    i = put_symbol(s, i)
    s.by_number = by_number
    return i


cdef uint32_t star(Scan* s, uint32_t i) noexcept nogil:
    if i + 1 < s.n and s.p[i + 1] == c'/' and (i + 2 == s.n or s.p[i + 2] != c'*'):
        if i != s.version_end or i == 0:
            return fail(s, LEX_MALFORMED)
        s.version_end = 0
        put(s, c' ')
        put(s, c'*')
        put(s, c'/')
        token_done(s, PREV_MARK)
        return i + 2
    if s.prev >= PREV_CLOSE or (s.prev != PREV_NONE and s.gap):
        put(s, c' ')
    put(s, c'*')
    token_done(s, PREV_STAR)
    return i + 1


cdef uint32_t dot(Scan* s, uint32_t i) noexcept nogil:
    if i + 1 < s.n and is_digit(s.p[i + 1]):
        return literal_or_word(s, i)
    put_symbol(s, i)
    if i + 1 < s.n and is_ident(s.p[i + 1]):
        i = put_ident(s, i + 1)
        return members(s, i)
    return i + 1


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
    i += 1
    if skip_blank(s.p, i, s.n) == s.n:
        return s.n
    if not s.flags & LEX_MULTI:
        s.rest = i
    s.flags |= LEX_MULTI
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
    """At the start of an expression of a row: take a literal, a signed number or NULL as one slot, else nothing."""
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
    """After the `)` of a row: drop it from norm when it equals the first; go on with the next row, if there is one."""
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


# ---------------------------------------------------------------- the pass

cdef inline uint32_t token(Scan* s, uint32_t i, uint8_t kind) noexcept nogil:
    if kind == C_WORD:
        return put_word(s, i)
    elif kind == C_DIGIT:
        return put_number(s, i)
    elif kind == C_SYMBOL:
        return put_symbol(s, i)
    elif kind == C_LITERAL_WORD or kind == C_QUOTE or kind == C_PARAM:
        return literal_or_word(s, i)
    elif kind == C_COMMA:
        return comma(s, i)
    elif kind == C_OPEN:
        return open_parenthesis(s, i)
    elif kind == C_CLOSE:
        return close_parenthesis(s, i)
    elif kind == C_DOT:
        return dot(s, i)
    elif kind == C_BACKTICK:
        return quoted_identifier(s, i)
    elif kind == C_DOUBLE_QUOTE:
        return quoted_identifier(s, i) if s.mode & MODE_ANSI_QUOTES else literal_or_word(s, i)
    elif kind == C_STAR:
        return star(s, i)
    elif kind == C_MINUS or kind == C_SLASH or kind == C_HASH:
        return comment_or_symbol(s, i)
    elif kind == C_PLUS:
        return plus(s, i)
    elif kind == C_AT:
        return variable(s, i)
    elif kind == C_SEMICOLON:
        return semicolon(s, i)
    elif kind == C_BACKSLASH:
        return backslash(s, i)
    elif kind == C_DOLLAR and s.mode & MODE_MARIADB:
        return put_word(s, i)       # MySQL 9 opens a $$ quoted text $$ here
    if s.p[i] == 0:
        s.flags |= LEX_NUL_BYTE
    return fail(s, LEX_MALFORMED)


cdef inline void scan(Scan* s) noexcept nogil:
    cdef uint32_t i = 0
    cdef uint8_t kind
    while i < s.n:
        kind = CLASS[s.p[i]] & C_MASK
        if kind == C_SPACE:
            s.gap = True
            i += 1
            continue
        if s.o > s.limit:
            fail(s, LEX_TOO_LONG)
            return
        i = token(s, i, kind)
    if s.o > s.limit:
        fail(s, LEX_TOO_LONG)
    if (s.version_end or s.in_row) and not s.rows_differ:
        fail(s, LEX_MALFORMED)


cdef inline void scan_begin(Scan* s, const uint8_t* sql, uint32_t n, uint32_t mode, Lexed* out, int style) noexcept nogil:
    s.p = sql
    s.n = n
    s.mode = mode
    s.norm = out.norm
    s.o = 0
    s.limit = out.norm_cap - NORM_SLACK
    s.slots = out.slots
    s.n_slots = 0
    s.slots_cap = out.slots_cap
    s.n_params = 0
    s.flags = LEX_MIXED_ROWS if style == ROWS_MIXED else 0
    s.error = LEX_OK
    s.depth = 0
    s.by_depths = 0
    s.version_end = 0
    s.after_update = False
    s.hint_off = 0
    s.hint_len = 0
    s.rest = 0
    s.row_style = style
    s.rows_differ = False
    s.in_row = False
    token_done(s, PREV_NONE)


cdef int lex_into(const uint8_t* sql, size_t n, uint32_t mode, Lexed* out) noexcept nogil:
    cdef Scan s
    cdef int style = ROWS_EQUAL
    if n >= BROKEN:
        out.flags = 0
        out.error = LEX_TOO_LONG
        return LEX_TOO_LONG
    while True:
        scan_begin(&s, sql, <uint32_t>n, mode, out, style)
        scan(&s)
        if not s.rows_differ or s.error != LEX_OK:
            break
        style += 1
    out.norm_len = s.o
    out.n_slots = s.n_slots
    out.n_params = s.n_params
    out.flags = s.flags
    out.hint_off = s.hint_off
    out.hint_len = s.hint_len
    out.rest = s.rest
    out.error = s.error
    out.fingerprint = xxh64(out.norm, s.o, mode & MODE_LEXER_BITS)
    return s.error


# ---------------------------------------------------------------- iterators

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
    """Read the element at i that must be followed by `,` `)` or the end; False when it is no plain literal."""
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
        end = scan_quoted(it.sql, i, it.end, opens_string(c, it.mode) and not it.mode & MODE_NO_BACKSLASH_ESCAPES,
                          &ignored)
        return it.end if end == BROKEN else end
    if c == c'/' and i + 1 < it.end and it.sql[i + 1] == c'*':      # a hint: plain comments are skipped as blanks
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
    while end > start and CLASS[it.sql[end - 1]] == C_SPACE:
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


# ---------------------------------------------------------------- for Python

NONE, INT, DECIMAL, FLOAT, STRING, HEX, BIT, PARAM, LIST, ROWS, NULL_WORD = range(11)
ESCAPED = SLOT_ESCAPED
CONCAT = SLOT_CONCAT
INTRODUCER = SLOT_INTRODUCER
NATIONAL = SLOT_NATIONAL
NEG = SLOT_NEG

USER_VAR = LEX_USER_VAR
SYS_VAR = LEX_SYS_VAR
MULTI = LEX_MULTI
VERSION_COMMENT = LEX_VERSION_COMMENT
PARAMS = LEX_PARAMS
HAS_HINT = LEX_HAS_HINT
NUL_BYTE = LEX_NUL_BYTE
UNTERMINATED = LEX_UNTERMINATED
INTO = LEX_INTO
FOR = LEX_FOR
LOCK = LEX_LOCK
CALC_FOUND_ROWS = LEX_CALC_FOUND_ROWS
HIGH_BYTE = LEX_HIGH_BYTE
OPTIMIZER_HINT = LEX_OPTIMIZER_HINT
MIXED_ROWS = LEX_MIXED_ROWS

OK = LEX_OK
TOO_LONG = LEX_TOO_LONG
TOO_MANY = LEX_TOO_MANY
MALFORMED = LEX_MALFORMED

ANSI_QUOTES = MODE_ANSI_QUOTES
NO_BACKSLASH_ESCAPES = MODE_NO_BACKSLASH_ESCAPES
UNSAFE_CHARSET = MODE_UNSAFE_CHARSET
MARIADB = MODE_MARIADB


class LiteralSlot(NamedTuple):
    """A literal's place: `offset` and `length` in the text, `at` in norm; see Slot in lexer.pxd."""

    kind: int
    offset: int
    length: int
    count: int = 1
    flags: int = 0
    param: int = 0
    at: int = 0


class LexedStatement(NamedTuple):
    """What lex() found. With `error` set, only `error` and `flags` mean anything."""

    fingerprint: int
    norm: bytes
    slots: list
    flags: int
    hint: tuple | None      # (offset, length) of the inside of /* fairlead: … */
    error: int
    params: int
    rest: int               # with MULTI: where the second statement's text begins


cdef uint8_t NORM[NORM_CAP]         # the GIL is held while these are used
cdef Slot SLOTS[SLOTS_CAP]


cdef object python_slot(const Slot* slot):
    return LiteralSlot(slot.kind, slot.off, slot.len, slot.count, slot.flags, slot.param, slot.at)


def lex(bytes sql not None, uint32_t mode=0):
    """Lex one statement's text as a session of this `mode` does."""
    cdef Lexed out
    cdef uint32_t i
    out.norm = NORM
    out.norm_cap = NORM_CAP
    out.slots = SLOTS
    out.slots_cap = SLOTS_CAP
    if lex_into(<const uint8_t*>sql, len(sql), mode, &out) != LEX_OK:
        return LexedStatement(0, b"", [], out.flags, None, out.error, 0, 0)
    slots = [python_slot(&SLOTS[i]) for i in range(out.n_slots)]
    hint = (out.hint_off, out.hint_len) if out.flags & LEX_HAS_HINT else None
    return LexedStatement(out.fingerprint, <bytes>NORM[:out.norm_len], slots, out.flags, hint, LEX_OK,
                          out.n_params, out.rest)


cdef void begin_on(LiteralIter* it, bytes sql, uint32_t mode, object slot, int kind) except *:
    cdef Slot given
    given.off = slot.offset
    given.len = slot.length
    given.param = slot.param
    if slot.kind != kind or <size_t>given.off + given.len > <size_t>len(sql):
        raise ValueError(f"{slot} is not a slot of this kind in a text of {len(sql)} bytes")
    iter_begin(it, <const uint8_t*>sql, mode, &given)


def list_items(bytes sql not None, uint32_t mode, slot) -> list:
    """The elements of a LIST slot."""
    cdef LiteralIter it
    cdef Slot item
    cdef int more
    cdef list out = []
    begin_on(&it, sql, mode, slot, LIT_LIST)
    while True:
        more = list_next(&it, &item)
        if more < 0:
            raise ValueError("the text under the slot is not a list of literals")
        if more == 0:
            return out
        out.append(python_slot(&item))


def list_spans(bytes sql not None, uint32_t mode, slot) -> list:
    """[(offset, length)] of the elements of a LIST slot, signs included."""
    cdef LiteralIter it
    cdef Slot item
    cdef int more
    cdef list out = []
    begin_on(&it, sql, mode, slot, LIT_LIST)
    while True:
        more = list_next(&it, &item)
        if more < 0:
            raise ValueError("the text under the slot is not a list of literals")
        if more == 0:
            return out
        out.append((it.item_off, it.item_len))


cdef list walk_rows(bytes sql, uint32_t mode, object slot, uint32_t k, bint spans):
    cdef LiteralIter it
    cdef Slot item
    cdef int more
    cdef list out = []
    begin_on(&it, sql, mode, slot, LIT_ROWS)
    while True:
        more = row_next(&it, k, &item)
        if more == 0:
            return out
        if spans:
            if it.row_len == 0:
                raise ValueError("the text under the slot is not rows")
            out.append((it.row_off, it.row_len))
            it.row_len = 0
        elif more < 0:
            raise ValueError(f"the text under the slot has no expression {k} in every row")
        else:
            out.append(python_slot(&item))


def row_items(bytes sql not None, uint32_t mode, slot, uint32_t k) -> list:
    """The k-th (from 0) expression of every row of a ROWS slot; kind NONE when it is no plain literal."""
    return walk_rows(sql, mode, slot, k, False)


def row_spans(bytes sql not None, uint32_t mode, slot) -> list:
    """[(offset, length)] of the rows of a ROWS slot, parentheses included."""
    return walk_rows(sql, mode, slot, UINT32_MAX, True)


def repeat(bytes sql not None, uint32_t mode, uint32_t rounds) -> int:
    """Lex the text `rounds` times and return the last fingerprint: for measuring without a Python call each."""
    cdef Lexed out
    cdef const uint8_t* text = sql
    cdef size_t n = len(sql)
    cdef uint32_t _
    out.norm = NORM
    out.norm_cap = NORM_CAP
    out.slots = SLOTS
    out.slots_cap = SLOTS_CAP
    for _ in range(rounds):
        lex_into(text, n, mode, &out)
    return out.fingerprint
