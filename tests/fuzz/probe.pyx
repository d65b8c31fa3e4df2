# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Calls the C functions of _speedups with every buffer in an allocation of exactly its size.

AddressSanitizer then sees a read or write of one byte too many. What must hold of results is asserted here.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from _speedups.hashing cimport bucket_of, canonical_literal, canonical_param, xxh64
from _speedups.lexer cimport (
    LEX_HAS_HINT, LEX_OK, NORM_SLACK, Lexed, LiteralIter, Slot,
    iter_begin, lex_into, list_next, row_next,
)
from _speedups.literals cimport (
    KEY_CI_NOPAD, KEY_INT_SIGNED, KEY_PUNT, LIT_LIST, LIT_NULL, LIT_PARAM, LIT_ROWS,
)
from _speedups.packet cimport eof_status, lenenc_int, ok_status, response_kind, row_kind

SLACK = NORM_SLACK


cdef uint8_t* copy_of(bytes data) except NULL:
    cdef uint8_t* p = <uint8_t*>malloc(len(data))
    if p == NULL:
        raise MemoryError
    memcpy(p, <const uint8_t*>data, len(data))
    return p


cdef int check(bint holds, str what) except -1:
    if not holds:
        raise AssertionError(what)
    return 0


cdef int key_of(const uint8_t* sql, const Slot* slot, uint32_t mode, uint32_t cap) except -2:
    """Every key type of one literal, into a buffer of exactly `cap` bytes."""
    cdef uint8_t* out = <uint8_t*>malloc(cap)
    cdef int key_type, n = KEY_PUNT
    try:
        for key_type in range(0, KEY_CI_NOPAD + 2):
            n = canonical_literal(sql + slot.off, slot.len, slot.kind, slot.flags, mode, key_type, out, cap)
            check(n == KEY_PUNT or 0 <= n <= <int>cap, "key beyond its buffer")
    finally:
        free(out)
    return n


cdef int walk(const uint8_t* sql, uint32_t n, uint32_t mode, const Slot* slot, uint32_t cap,
              bint whole) except -1:
    """All items under the slot. `whole`: the lexer made it, so its count must come out."""
    cdef LiteralIter it
    cdef Slot item
    cdef uint32_t k, steps
    cdef int more
    for k in range(3):
        iter_begin(&it, sql, mode, slot)
        steps = 0
        while True:
            more = list_next(&it, &item) if slot.kind == LIT_LIST else row_next(&it, k, &item)
            if more <= 0:
                break
            steps += 1
            check(steps <= n, "iterator does not end")
            check(item.off + item.len <= slot.off + slot.len, "item beyond its slot")
            check(it.item_off + it.item_len <= slot.off + slot.len, "span beyond its slot")
            key_of(sql, &item, mode, cap)
        if whole and slot.kind == LIT_LIST:
            check(more == 0 and steps == slot.count, "a list lost elements")
        if whole and slot.kind == LIT_ROWS and more == 0:
            check(steps == slot.count, "rows were lost")
    return 0


cdef int check_slot(const Lexed* out, uint32_t k, uint32_t n) except -1:
    cdef const Slot* slot = out.slots + k
    check(slot.off + slot.len <= n, "slot beyond the text")
    check(slot.at < out.norm_len, "slot beyond norm")
    check(out.norm[slot.at] == (c'(' if slot.kind == LIT_ROWS else c'?'), "slot has no mark in norm")
    check(k == 0 or slot.at > slot[-1].at or slot[-1].kind == LIT_ROWS, "slots are out of order")
    check(slot.param <= out.n_params and slot.kind <= LIT_NULL and slot.count > 0, "slot is odd")
    return 0


def lex(bytes sql not None, uint32_t mode, uint32_t norm_cap, uint32_t slots_cap, uint32_t key_cap) -> int:
    """Lex, walk every list and row, make every key. Returns the lexer's error."""
    cdef uint8_t* text = copy_of(sql)
    cdef uint32_t n = len(sql), k
    cdef Lexed out
    out.norm_cap = norm_cap
    out.norm = <uint8_t*>malloc(norm_cap)
    out.slots_cap = slots_cap
    out.slots = <Slot*>malloc(slots_cap * sizeof(Slot))
    try:
        if lex_into(text, n, mode, &out) != LEX_OK:
            return out.error
        check(out.norm_len <= norm_cap and out.n_slots <= slots_cap, "beyond its capacity")
        check(not out.flags & LEX_HAS_HINT or out.hint_off + out.hint_len <= n, "hint beyond the text")
        check(out.rest <= n, "rest beyond the text")
        for k in range(out.n_slots):
            check_slot(&out, k, n)
            if out.slots[k].kind == LIT_LIST or out.slots[k].kind == LIT_ROWS:
                walk(text, n, mode, out.slots + k, key_cap, True)
            elif out.slots[k].kind != LIT_PARAM:
                key_of(text, out.slots + k, mode, key_cap)
        return LEX_OK
    finally:
        free(text)
        free(out.norm)
        free(out.slots)


def iterate(bytes sql not None, uint32_t mode, int kind, uint32_t start, uint32_t length,
            uint32_t key_cap) -> None:
    """The iterators on any span of any text: they must end and stay inside."""
    cdef uint8_t* text = copy_of(sql[start:start + length])
    cdef Slot slot
    memset(&slot, 0, sizeof(Slot))
    slot.kind = kind
    slot.len = len(sql[start:start + length])
    try:
        walk(text, slot.len, mode, &slot, key_cap, False)
    finally:
        free(text)


def key(bytes literal not None, int kind, int flags, uint32_t mode, uint32_t key_cap) -> None:
    """canonical_literal of any bytes, whatever they claim to be."""
    cdef uint8_t* text = copy_of(literal)
    cdef Slot slot
    memset(&slot, 0, sizeof(Slot))
    slot.len = len(literal)
    slot.kind = kind
    slot.flags = flags
    try:
        key_of(text, &slot, mode, key_cap)
    finally:
        free(text)


def parameter(bytes data not None, int field_type, bint is_unsigned, uint32_t mode, uint32_t key_cap) -> None:
    cdef uint8_t* value = copy_of(data)
    cdef uint8_t* out = <uint8_t*>malloc(key_cap)
    cdef size_t used
    cdef int key_type, n
    try:
        for key_type in range(KEY_INT_SIGNED, KEY_CI_NOPAD + 1):
            n = canonical_param(value, len(data), field_type, is_unsigned, mode, key_type,
                                out, key_cap, &used)
            check(used <= <size_t>len(data), "more used than there is")
            check(n == KEY_PUNT or 0 <= n <= <int>key_cap, "key beyond its buffer")
    finally:
        free(value)
        free(out)


def digest(bytes data not None, uint64_t seed) -> int:
    cdef uint8_t* text = copy_of(data)
    try:
        check(bucket_of(xxh64(text, len(data), 0)) < 4096, "no such bucket")
        return xxh64(text, len(data), seed)
    finally:
        free(text)


def heads(bytes data not None) -> None:
    """The inline readers of packet.pxd."""
    cdef uint8_t* p = copy_of(data)
    cdef size_t n = len(data)
    cdef uint64_t value
    cdef uint16_t status, warnings
    cdef int used
    try:
        used = lenenc_int(p, n, &value)
        check(used == -1 or 0 <= used <= <int>n, "more used than there is")
        used = ok_status(p, n, &status, &warnings)
        check(used == -1 or 0 <= used <= <int>n, "more used than there is")
        check(n >= 5 or not eof_status(p, n, &status, &warnings), "EOF of fewer than 5 bytes")
        if n > 0:
            response_kind(p[0])
            row_kind(p[0], <uint32_t>n, False)
            row_kind(p[0], <uint32_t>n, True)
    finally:
        free(p)
