# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The lexer: one pass over a statement, as the server would read it.

It writes the *norm* (comments dropped, hints kept, literals as `?`, lists and VALUES rows collapsed), the *slots*
(where the literals stand in the text and in the norm), flags, and the fingerprint of the norm. Two
statements of one norm differ in nothing but the slots' texts and in white space and comments.

The token rules are those of sql/sql_lex.cc of MySQL (lex_one_token) and MariaDB. Where servers or versions
disagree about a text, or where it can only be a syntax error, the statement is MALFORMED rather than read
one way: a literal that we see where the server sees code would be a hole.

Spacing in norm: one space between two words (a literal counts as a word) and after `)` before a word; none
around operators and commas. Kept from the text, because the server tells them apart: white space between a
word and `(`, around a point, and between two operators. `- -` always gets its space: glued, it would read as
a comment.

The code: lexer_chars.pxi (what characters are, blanks), lexer_literals.pxi (scanners: position in, position
out, nothing written), lexer_tokens.pxi (the Scan and a handler for each kind of token, which writes norm and
returns the next position), here the main loop and what Python calls, lexer_iter.pxi (what stands under a LIST or
ROWS slot). Handlers need not check room for NORM_SLACK bytes: the main loop does, once per token.
"""
from typing import NamedTuple

from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy
from _speedups.hashing cimport xxh64
from _speedups.literals cimport (
    LIT_BIT, LIT_DECIMAL, LIT_FLOAT, LIT_HEX, LIT_INT, LIT_LIST, LIT_NONE, LIT_NULL, LIT_PARAM, LIT_ROWS,
    LIT_STRING,
    MODE_ANSI_QUOTES, MODE_FIRST_STATEMENT, MODE_LEXER_BITS, MODE_MARIADB, MODE_NO_BACKSLASH_ESCAPES,
    MODE_UNSAFE_CHARSET,
    SLOT_CONCAT, SLOT_ESCAPED, SLOT_INTRODUCER, SLOT_NATIONAL, SLOT_NEG,
)

include "lexer_chars.pxi"
include "lexer_literals.pxi"
include "lexer_tokens.pxi"
include "lexer_iter.pxi"


# ---------------------------------------------------------------- the pass

cdef inline uint32_t token(Scan* s, uint32_t i, uint8_t kind) noexcept nogil:
    """Consume the token at i, whose first character is of this class. NOT_ONE: it is an unquoted word."""
    if kind == C_QUOTE:
        return string(s, i)
    elif kind == C_LITERAL_WORD or kind == C_DIGIT or kind == C_PARAM:
        return literal(s, i)
    elif kind == C_SYMBOL:
        return put_symbol(s, i)
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
        return quoted_identifier(s, i) if s.mode & MODE_ANSI_QUOTES else string(s, i)
    elif kind == C_STAR:
        return star(s, i)
    elif kind == C_MINUS or kind == C_SLASH or kind == C_HASH:
        return comment_or_symbol(s, i)
    elif kind == C_PLUS:
        return put_sign(s, i)
    elif kind == C_AT:
        return variable(s, i)
    elif kind == C_SEMICOLON:
        return semicolon(s, i)
    elif kind == C_BACKSLASH:
        return backslash(s, i)
    elif kind == C_HIGH:
        space_before_word(s)
        return any_word(s, i, False)
    elif kind == C_DOLLAR and s.mode & MODE_MARIADB:
        return NOT_ONE              # MySQL 9 opens a $$ quoted text $$ here
    if s.p[i] == 0:
        s.flags |= LEX_NUL_BYTE
    return fail(s, LEX_MALFORMED)


cdef uint32_t any_word(Scan* s, uint32_t start, bint member) noexcept nogil:
    """An unquoted word of any length, with the members behind its points, anywhere in the text.

    `member`: a name and a point stand directly before it.
    """
    cdef uint64_t letters = first_letters(s.p, start, s.n)
    cdef uint32_t id, i = put_short(s, start, letters)
    if i == 0:
        i = put_ident(s, start)
    if s.error != LEX_OK:
        return s.n
    if member or has_member(s.p, i, s.n):
        return members(s, i)
    id = keyword_id(letters, i - start if i - start < 8 else 8)
    if id != KW_NONE:
        return keyword(s, id, start, i)
    token_done(s, PREV_BARE)
    return i


# The main loop keeps what changes with every token in a Cursor, so that it lives in registers: norm is
# written by
# bytes, which might alias a Scan. Words, plain integers and single operators never leave it.

cdef struct Cursor:
    const uint8_t* p
    uint8_t* norm
    uint32_t n
    uint32_t i
    uint32_t o
    uint32_t limit
    uint32_t prev
    uint32_t gap


cdef inline void to_scan(Scan* s, const Cursor* c) noexcept nogil:
    s.o = c.o
    s.prev = <uint8_t>c.prev
    s.gap = <uint8_t>c.gap


cdef inline void from_scan(const Scan* s, Cursor* c, uint32_t i) noexcept nogil:
    c.i = i
    c.o = s.o
    c.prev = s.prev
    c.gap = s.gap


cdef inline void cursor_done(Scan* s, Cursor* c, uint32_t prev) noexcept nogil:
    c.prev = prev
    c.gap = False
    s.word = WORD_OTHER
    s.by_number = False


cdef inline void take_words(Scan* s, Cursor* c) noexcept nogil:
    """An unquoted word, and those after it while they are short, divided by a point or a single space."""
    cdef const uint8_t* p = c.p
    cdef uint32_t length, id
    cdef uint64_t letters
    cdef uint8_t after
    cdef bint member = False
    c.norm[c.o] = c' '
    c.o += c.prev >= PREV_STAR
    while c.i + 9 < c.n and c.o <= c.limit:
        memcpy(&letters, p + c.i, 8)
        length = short_length(p + c.i)
        after = p[c.i + length]
        memcpy(c.norm + c.o, &letters, 8)       # what is too much is overwritten, or is slack
        if after != c' ':
            if after == c'.' and is_ascii_ident(p[c.i + length + 1]):
                c.norm[c.o + length] = c'.'
                c.o += length + 1
                c.i += length + 1
                member = True
                continue
            if after == c'.' or is_ident(after):
                break
        c.o += length
        c.i += length
        if not member:
            id = keyword_id(letters, length)
            if id != KW_NONE:
                to_scan(s, c)
                from_scan(s, c, keyword(s, id, c.i - length, c.i))
                return
        cursor_done(s, c, PREV_BARE)
        if after != c' ':
            return
        c.gap = True
        c.i += 1
        if CLASS[p[c.i]] & C_MASK != C_WORD:
            return
        c.norm[c.o] = c' '
        c.o += 1
        member = False
    to_scan(s, c)
    from_scan(s, c, any_word(s, c.i, member))


cdef inline bint take_int(Scan* s, Cursor* c) noexcept nogil:
    """A plain integer as a slot; False when it is anything more."""
    cdef Slot* slot
    cdef uint32_t end = c.i + 1
    while end < c.n and is_digit(c.p[end]):
        end += 1
    if s.by_number or s.n_slots == s.slots_cap or (end < c.n and (is_ident(c.p[end]) or c.p[end] == c'.')):
        return False
    c.norm[c.o] = c' '
    c.o += c.prev >= PREV_STAR
    slot = s.slots + s.n_slots
    s.n_slots += 1
    slot.off = c.i
    slot.len = end - c.i
    slot.count = 1
    slot.param = s.n_params
    slot.at = c.o
    slot.kind = LIT_INT
    slot.flags = 0
    c.norm[c.o] = c'?'
    c.o += 1
    c.i = end
    cursor_done(s, c, PREV_WORD)
    return True


cdef inline bint take_backticks(Scan* s, Cursor* c) noexcept nogil:
    """A name in backticks without a backtick in it.

    False when it is anything more. Nothing is consumed then.
    """
    cdef const uint8_t* p = c.p
    cdef uint32_t i = c.i + 1
    cdef uint32_t o = c.o
    cdef uint64_t word, found
    c.norm[o] = c' '
    o += c.prev >= PREV_STAR
    c.norm[o] = c'`'
    o += 1
    while c.n - i > 8 and o <= c.limit:
        memcpy(&word, p + i, 8)
        memcpy(c.norm + o, &word, 8)
        found = zero_bytes(word ^ eight_of(c'`')) | zero_bytes(word)
        if not found:
            i += 8
            o += 8
            continue
        i += __builtin_ctzll(found) >> 3
        o += __builtin_ctzll(found) >> 3
        if p[i] == 0 or p[i + 1] == c'`':
            return False
        c.norm[o] = c'`'
        c.o = o + 1
        c.i = i + 1
        cursor_done(s, c, PREV_WORD)
        if p[i + 1] == c'.':
            take_point(s, c)
        return True
    return False


cdef inline void take_point(Scan* s, Cursor* c) noexcept nogil:
    """The point directly behind a name in backticks, when another such name follows."""
    if c.i + 1 < c.n and c.p[c.i + 1] == c'`':
        c.norm[c.o] = c'.'
        c.o += 1
        c.i += 1
        c.prev = PREV_SYMBOL


cdef inline bint take_comma(Scan* s, Cursor* c) noexcept nogil:
    """A comma that means nothing but itself; False inside of ORDER BY and in rows that may differ."""
    if s.by_depths or s.depth >= DEPTH_TRACKED or s.row_style == ROWS_MIXED:
        return False
    c.norm[c.o] = c','
    c.o += 1
    c.i += 1
    cursor_done(s, c, PREV_NONE)
    return True


cdef inline void scan(Scan* s) noexcept nogil:
    cdef Cursor c
    cdef uint8_t kind
    cdef uint32_t after
    c.p = s.p
    c.n = s.n
    c.norm = s.norm
    c.limit = s.limit
    from_scan(s, &c, 0)
    while c.i < c.n:
        kind = CLASS[c.p[c.i]] & C_MASK
        if kind == C_SPACE:
            c.gap = True
            c.i += 1
            continue
        if c.o > c.limit:
            fail(s, LEX_TOO_LONG)
            return
        if kind != C_WORD:
            if kind == C_SYMBOL and PREV_STAR < c.prev < PREV_MARK:
                c.norm[c.o] = c.p[c.i]
                c.o += 1
                c.i += 1
                cursor_done(s, &c, PREV_SYMBOL)
                continue
            if kind == C_DIGIT and take_int(s, &c):
                continue
            if kind == C_COMMA and take_comma(s, &c):
                continue
            if kind == C_BACKTICK and take_backticks(s, &c):
                continue
            to_scan(s, &c)
            after = token(s, c.i, kind)
            if after != NOT_ONE:
                from_scan(s, &c, after)
                continue
        take_words(s, &c)
    s.o = c.o
    if s.o > s.limit:
        fail(s, LEX_TOO_LONG)
    if (s.version_end or s.in_row) and not s.rows_differ:
        fail(s, LEX_MALFORMED)


cdef inline void scan_begin(Scan* s, const uint8_t* sql, uint32_t n, uint32_t mode, Lexed* out,
                            int style) noexcept nogil:
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
FIRST_STATEMENT = MODE_FIRST_STATEMENT
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


cdef object python_statement(const Lexed* found):
    cdef uint32_t i
    if found.error != LEX_OK:
        return LexedStatement(0, b"", [], found.flags, None, found.error, 0, 0)
    slots = [python_slot(&found.slots[i]) for i in range(found.n_slots)]
    hint = (found.hint_off, found.hint_len) if found.flags & LEX_HAS_HINT else None
    return LexedStatement(found.fingerprint, <bytes>found.norm[:found.norm_len], slots, found.flags, hint, LEX_OK,
                          found.n_params, found.rest)


def lex(bytes sql not None, uint32_t mode=0):
    """Lex one statement's text as a session of this `mode` does."""
    cdef Lexed out
    out.norm = NORM
    out.norm_cap = NORM_CAP
    out.slots = SLOTS
    out.slots_cap = SLOTS_CAP
    lex_into(<const uint8_t*>sql, len(sql), mode, &out)
    return python_statement(&out)


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
    """Lex the text `rounds` times and return the last fingerprint:

    For measuring without a Python call each.
    """
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
