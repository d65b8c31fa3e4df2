# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Shard hashes and canonical keys.

A key is made canonical (the same bytes for every way to write the same value), hashed by XXH64 with seed 0,
and the top 12 bits of the hash are its bucket. What cannot be made canonical with certainty is refused
(KEY_PUNT, None), so that a row is never looked for in the wrong place: the caller then parks or refuses the
statement.

    integers        8 bytes, little endian, two's complement
    BYTES           the bytes as they are
    BYTES_PAD       without trailing spaces (PAD SPACE collations compare so)
    CI_PAD          ASCII lower case, without trailing spaces; only bytes 0x20-0x7e
    CI_NOPAD        ASCII lower case; only bytes 0x20-0x7e

XXH64: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""
import sys

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from _speedups.literals cimport (
    KEY_BYTES, KEY_BYTES_PAD, KEY_CI_NOPAD, KEY_CI_PAD, KEY_INT_SIGNED, KEY_INT_UNSIGNED, KEY_MAX, KEY_PUNT,
    LIT_BIT, LIT_HEX, LIT_INT, LIT_STRING,
    MODE_ASCII_KEYS, MODE_BINARY_COLUMN, MODE_NO_BACKSLASH_ESCAPES, MODE_UNSAFE_CHARSET,
    SLOT_CONCAT, SLOT_ESCAPED, SLOT_INTRODUCER, SLOT_NATIONAL, SLOT_NEG,
    TYPE_DATE, TYPE_DATETIME, TYPE_DECIMAL, TYPE_DOUBLE, TYPE_ENUM, TYPE_FLOAT, TYPE_GEOMETRY, TYPE_JSON,
    TYPE_NEWDECIMAL, TYPE_STRING, TYPE_TIME, TYPE_TIMESTAMP, TYPE_VARCHAR,
)
from _speedups.packet cimport lenenc_int

if sys.byteorder != "little":
    raise ImportError("Fairlead's shard hash reads words little endian; this machine is big endian")

INT_SIGNED = KEY_INT_SIGNED
INT_UNSIGNED = KEY_INT_UNSIGNED
BYTES = KEY_BYTES
BYTES_PAD = KEY_BYTES_PAD
CI_PAD = KEY_CI_PAD
CI_NOPAD = KEY_CI_NOPAD
MAX_KEY = KEY_MAX
ASCII_KEYS = MODE_ASCII_KEYS
BINARY_COLUMN = MODE_BINARY_COLUMN

cdef enum:
    # A quoted number is compared as a double in some positions (IN lists, expressions): digits that a
    # double holds
    # exactly mean the same either way.
    QUOTED_DIGITS_MAX = 15


# ---------------------------------------------------------------- XXH64

cdef inline uint64_t load64(const uint8_t* p) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, p, 8)
    return word


cdef inline uint32_t load32(const uint8_t* p) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, p, 4)
    return word


cdef inline uint64_t merge(uint64_t acc, uint64_t lane) noexcept nogil:
    return (acc ^ one_lane(0, lane)) * P1 + P4


cdef inline uint64_t stripes(const uint8_t* p, size_t n, uint64_t seed) noexcept nogil:
    """The accumulator after all whole 32-byte stripes of n >= 32 bytes."""
    cdef uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1
    cdef size_t left = n >> 5
    while left:
        a = one_lane(a, load64(p))
        b = one_lane(b, load64(p + 8))
        c = one_lane(c, load64(p + 16))
        d = one_lane(d, load64(p + 24))
        p += 32
        left -= 1
    cdef uint64_t acc = rotl(a, 1) + rotl(b, 7) + rotl(c, 12) + rotl(d, 18)
    return merge(merge(merge(merge(acc, a), b), c), d)


cdef uint64_t xxh64(const uint8_t* p, size_t n, uint64_t seed) noexcept nogil:
    cdef uint64_t acc
    cdef size_t i = 0
    if n >= 32:
        acc = stripes(p, n, seed)
        i = n & ~<size_t>31
    else:
        acc = seed + P5
    acc += n
    while i + 8 <= n:
        acc = add_word(acc, load64(p + i))
        i += 8
    if i + 4 <= n:
        acc = rotl(acc ^ (load32(p + i) * P1), 23) * P2 + P3
        i += 4
    while i < n:
        acc = rotl(acc ^ (p[i] * P5), 11) * P1
        i += 1
    return avalanche(acc)


# ---------------------------------------------------------------- integers

cdef inline int put_int(uint64_t value, uint8_t* out, size_t cap) noexcept nogil:
    if cap < 8:
        return KEY_PUNT
    memcpy(out, &value, 8)
    return 8


cdef inline int int_key(const uint8_t* p, size_t n, bint neg, int key_type, uint8_t* out,
                        size_t cap) noexcept nogil:
    cdef uint64_t value
    if canonical_int_from_text(p, n, neg, key_type, &value) == KEY_PUNT:
        return KEY_PUNT
    return put_int(value, out, cap)


cdef inline int int_key_from_bytes(const uint8_t* p, size_t n, int key_type, uint8_t* out,
                                   size_t cap) noexcept nogil:
    """A string compared with an integer column: only the one spelling that the server itself would print."""
    if n == 0 or n > QUOTED_DIGITS_MAX or (n > 1 and p[0] == c'0'):
        return KEY_PUNT
    return int_key(p, n, False, key_type, out, cap)


# ---------------------------------------------------------------- strings

cdef inline int seal(uint8_t* out, size_t n, int mode, int key_type) noexcept nogil:
    """Make the n bytes already in `out` canonical in place; the new length or KEY_PUNT."""
    cdef size_t i
    cdef uint8_t c
    if key_type == KEY_CI_PAD or key_type == KEY_CI_NOPAD:
        for i in range(n):
            c = out[i]
            if c < 0x20 or c > 0x7e:
                return KEY_PUNT
            if c'A' <= c <= c'Z':
                out[i] = c | 0x20
    elif key_type != KEY_BYTES and key_type != KEY_BYTES_PAD:
        return KEY_PUNT
    elif mode & MODE_ASCII_KEYS:
        for i in range(n):
            if out[i] >= 0x80:
                return KEY_PUNT
    if key_type == KEY_CI_PAD or key_type == KEY_BYTES_PAD:
        while n > 0 and out[n - 1] == c' ':
            n -= 1
    return <int>n


cdef inline size_t key_room(size_t cap) noexcept nogil:
    return cap if cap < KEY_MAX else KEY_MAX


cdef int canonical_bytes(const uint8_t* p, size_t n, int mode, int key_type, uint8_t* out,
                         size_t cap) noexcept nogil:
    if is_int_key(key_type):
        return int_key_from_bytes(p, n, key_type, out, cap)
    if mode & MODE_UNSAFE_CHARSET or n > key_room(cap):
        return KEY_PUNT
    if n:
        memcpy(out, p, n)
    return seal(out, n, mode, key_type)


cdef inline uint8_t unescaped(uint8_t c) noexcept nogil:
    """The byte that backslash and c stand for; \\% and \\_ are the caller's."""
    if c == c'0':
        return 0
    if c == c'b':
        return 8
    if c == c't':
        return 9
    if c == c'n':
        return 10
    if c == c'r':
        return 13
    if c == c'Z':
        return 26
    return c


cdef inline int unquote(const uint8_t* p, size_t n, uint8_t quote, bint backslash,
                        uint8_t* out, size_t room) noexcept nogil:
    """The value of the inside of a quoted literal; KEY_PUNT when longer than room."""
    cdef uint8_t c
    cdef size_t i = 0, o = 0
    while i < n:
        c = p[i]
        i += 1
        if c == c'\\' and backslash:
            if i >= n:
                return KEY_PUNT
            c = unescaped(p[i])
            if c == c'%' or c == c'_':      # kept with its backslash: LIKE wants to see it
                if o >= room:
                    return KEY_PUNT
                out[o] = c'\\'
                o += 1
            i += 1
        elif c == quote:
            if i >= n or p[i] != quote:
                return KEY_PUNT
            i += 1
        if o >= room:
            return KEY_PUNT
        out[o] = c
        o += 1
    return <int>o


cdef int canonical_string(const uint8_t* p, size_t n, int flags, int mode, int key_type,
                          uint8_t* out, size_t cap) noexcept nogil:
    cdef int length
    if flags & (SLOT_CONCAT | SLOT_INTRODUCER | SLOT_NATIONAL | SLOT_NEG) or mode & MODE_UNSAFE_CHARSET:
        return KEY_PUNT
    if n < 2 or (p[0] != c"'" and p[0] != c'"') or p[n - 1] != p[0]:
        return KEY_PUNT
    if not flags & SLOT_ESCAPED or is_int_key(key_type):
        return canonical_bytes(p + 1, n - 2, mode, key_type, out, cap)
    length = unquote(p + 1, n - 2, p[0], not mode & MODE_NO_BACKSLASH_ESCAPES, out, key_room(cap))
    if length == KEY_PUNT:
        return KEY_PUNT
    return seal(out, length, mode, key_type)


# ---------------------------------------------------------------- hex and bit literals

cdef inline int hex_digit(uint8_t c) noexcept nogil:
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 0x20
    if c'a' <= c <= c'f':
        return c - c'a' + 10
    return -1


cdef inline int packed_digits(const uint8_t* p, size_t n, int bits, uint8_t* out, size_t room) noexcept nogil:
    """Digits of `bits` bits each (1 or 4) as bytes, zero bits added on the left."""
    cdef size_t per_byte = 8 // bits
    cdef size_t length = (n + per_byte - 1) // per_byte
    cdef size_t i, place = length * per_byte - n
    cdef int digit
    if length > room:
        return KEY_PUNT
    for i in range(length):
        out[i] = 0
    for i in range(n):
        digit = hex_digit(p[i])
        if digit < 0 or digit >> bits:
            return KEY_PUNT
        out[place // per_byte] = <uint8_t>((out[place // per_byte] << bits) | digit)
        place += 1
    return <int>length


cdef inline int binary_literal(const uint8_t* p, size_t n, int kind, uint8_t* out, size_t cap) noexcept nogil:
    cdef int bits = 4 if kind == LIT_HEX else 1
    if n >= 3 and p[1] == c"'" and p[n - 1] == c"'":
        return packed_digits(p + 2, n - 3, bits, out, key_room(cap))
    if n >= 3 and p[0] == c'0':
        return packed_digits(p + 2, n - 2, bits, out, key_room(cap))
    return KEY_PUNT


cdef int canonical_literal(const uint8_t* p, size_t n, int kind, int flags, int mode, int key_type,
                           uint8_t* out, size_t cap) noexcept nogil:
    if kind == LIT_INT:
        return int_key(p, n, flags & SLOT_NEG, key_type, out, cap)
    if kind == LIT_STRING:
        return canonical_string(p, n, flags, mode, key_type, out, cap)
    if kind == LIT_HEX or kind == LIT_BIT:
        # A text column's charset would decide what these bytes mean; in a binary column they are themselves.
        if key_type == KEY_BYTES and mode & MODE_BINARY_COLUMN and not flags & (SLOT_INTRODUCER | SLOT_NEG):
            return binary_literal(p, n, kind, out, cap)
    return KEY_PUNT


# ---------------------------------------------------------------- parameters of COM_STMT_EXECUTE

cdef inline size_t lenenc_length(const uint8_t* p, size_t n) noexcept nogil:
    cdef uint64_t length
    cdef int head = lenenc_int(p, n, &length)
    if head <= 0 or length > n - head:
        return 0
    return head + <size_t>length


cdef inline size_t within(size_t length, size_t n) noexcept nogil:
    return length if length <= n else 0


cdef inline bint is_string_type(int type_) noexcept nogil:
    return type_ == TYPE_VARCHAR or (TYPE_ENUM <= type_ <= TYPE_STRING)


cdef size_t param_length(const uint8_t* p, size_t n, int type_) noexcept nogil:
    if int_param_width(type_):
        return within(int_param_width(type_), n)
    if type_ == TYPE_FLOAT:
        return within(4, n)
    if type_ == TYPE_DOUBLE:
        return within(8, n)
    if type_ == TYPE_DATE or type_ == TYPE_TIME or type_ == TYPE_DATETIME or type_ == TYPE_TIMESTAMP:
        return within(1 + <size_t>p[0], n) if n else 0
    if is_string_type(type_) or type_ in (TYPE_DECIMAL, TYPE_NEWDECIMAL, TYPE_JSON, TYPE_GEOMETRY):
        return lenenc_length(p, n)
    return 0


cdef int canonical_param(const uint8_t* p, size_t n, int type_, bint is_unsigned, int mode, int key_type,
                         uint8_t* out, size_t cap, size_t* used) noexcept nogil:
    cdef size_t length = param_length(p, n, type_)
    cdef uint64_t value
    cdef int head
    used[0] = length
    if length == 0:
        return KEY_PUNT
    if int_param_width(type_):
        if int_param_key(p, n, type_, is_unsigned, key_type, &value) == KEY_PUNT:
            return KEY_PUNT
        return put_int(value, out, cap)
    if is_string_type(type_):
        head = lenenc_int(p, n, &value)
        return canonical_bytes(p + head, length - head, mode, key_type, out, cap)
    return KEY_PUNT


# ---------------------------------------------------------------- for Python

def bucket(bytes key not None) -> int:
    """The bucket 0..4095 of a canonical key."""
    return bucket_of(xxh64(<const uint8_t*>key, len(key), 0))


def canonical_key(int key_type, bytes literal not None, int kind=LIT_STRING, int flags=0, int mode=0):
    """Canonical key bytes of a literal's text (as a lexer slot spans it), or None when it must be refused."""
    cdef uint8_t out[KEY_MAX]
    cdef int n = canonical_literal(<const uint8_t*>literal, len(literal), kind, flags, mode, key_type,
                                   out, KEY_MAX)
    return None if n == KEY_PUNT else <bytes>out[:n]


def canonical_value(int key_type, bytes value not None, int mode=0):
    """Canonical key bytes of a string value without quotes, or None."""
    cdef uint8_t out[KEY_MAX]
    cdef int n = canonical_bytes(<const uint8_t*>value, len(value), mode, key_type, out, KEY_MAX)
    return None if n == KEY_PUNT else <bytes>out[:n]


def canonical_parameter(int key_type, bytes data not None, int field_type, bint is_unsigned=False,
                        int mode=0):
    """(canonical key or None, bytes of `data` used) for the binary-protocol value at the start of `data`.

    0 bytes used says that the value does not lie inside `data` or that its type is none a client may send.
    """
    cdef uint8_t out[KEY_MAX]
    cdef size_t used = 0
    cdef int n = canonical_param(<const uint8_t*>data, len(data), field_type, is_unsigned, mode, key_type,
                                 out, KEY_MAX, &used)
    return (None if n == KEY_PUNT else <bytes>out[:n]), used


def _xxh64(bytes data not None, uint64_t seed=0) -> int:
    """XXH64 of `data`."""
    return xxh64(<const uint8_t*>data, len(data), seed)


globals()["xxh64"] = _xxh64     # the C function of this name is no Python object
