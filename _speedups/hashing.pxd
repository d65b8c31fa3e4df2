# Shard hashes and canonical keys. Every function is nogil, allocates nothing and writes only to `out`.
from libc.stdint cimport INT64_MAX, UINT64_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from _speedups.literals cimport (
    KEY_INT_SIGNED, KEY_INT_UNSIGNED, KEY_PUNT, TYPE_LONG, TYPE_LONGLONG, TYPE_SHORT, TYPE_TINY,
)

# What nearly every statement's key needs stands here, to be inlined: integers and their hash.

cdef extern from *:
    """
    /* Macros, since the compiler does not fold what another module could change. */
    #define FL_XXH_P1 0x9E3779B185EBCA87u
    #define FL_XXH_P2 0xC2B2AE3D27D4EB4Fu
    #define FL_XXH_P3 0x165667B19E3779F9u
    #define FL_XXH_P4 0x85EBCA77C2B2AE63u
    #define FL_XXH_P5 0x27D4EB2F165667C5u
    """
    const uint64_t P1 "FL_XXH_P1"
    const uint64_t P2 "FL_XXH_P2"
    const uint64_t P3 "FL_XXH_P3"
    const uint64_t P4 "FL_XXH_P4"
    const uint64_t P5 "FL_XXH_P5"

cdef uint64_t xxh64(const uint8_t* p, size_t n, uint64_t seed) noexcept nogil


cdef inline uint64_t rotl(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))


cdef inline uint64_t one_lane(uint64_t acc, uint64_t lane) noexcept nogil:
    return rotl(acc + lane * P2, 31) * P1


cdef inline uint64_t add_word(uint64_t acc, uint64_t word) noexcept nogil:
    return rotl(acc ^ one_lane(0, word), 27) * P1 + P4


cdef inline uint64_t avalanche(uint64_t acc) noexcept nogil:
    acc = (acc ^ (acc >> 33)) * P2
    acc = (acc ^ (acc >> 29)) * P3
    return acc ^ (acc >> 32)


cdef inline uint64_t xxh64_of_int(uint64_t key) noexcept nogil:
    """`xxh64` with seed 0 of an integer's 8 canonical bytes."""
    return avalanche(add_word(P5 + 8, key))


cdef inline uint32_t bucket_of(uint64_t h) noexcept nogil:
    """The bucket 0..4095 of a key's hash: its top 12 bits."""
    return <uint32_t>(h >> 52)


cdef inline bint is_int_key(int key_type) noexcept nogil:
    return key_type == KEY_INT_SIGNED or key_type == KEY_INT_UNSIGNED


cdef inline bint parse_digits(const uint8_t* p, size_t n, uint64_t* value) noexcept nogil:
    """False unless n >= 1 bytes are all decimal digits and their value fits 64 bits."""
    cdef uint64_t v = 0
    cdef uint32_t digit
    cdef size_t i
    if n == 0:
        return False
    for i in range(n):
        digit = <uint32_t>p[i] - c'0'
        if digit > 9:
            return False
        if i >= 19 and v > (UINT64_MAX - digit) // 10:      # 19 digits always fit
            return False
        v = v * 10 + digit
    value[0] = v
    return True


# Decimal digits only, no sign: `neg` says that a minus stands before. `value` receives two's complement.
# Returns 0 or KEY_PUNT.
cdef inline int canonical_int_from_text(const uint8_t* p, size_t n, bint neg, int key_type,
                                        uint64_t* value) noexcept nogil:
    cdef uint64_t magnitude
    cdef uint64_t top = INT64_MAX
    if not is_int_key(key_type) or not parse_digits(p, n, &magnitude):
        return KEY_PUNT
    if neg:
        if magnitude != 0 and (key_type == KEY_INT_UNSIGNED or magnitude > top + 1):
            return KEY_PUNT
        value[0] = 0 - magnitude
        return 0
    if key_type == KEY_INT_SIGNED and magnitude > top:
        return KEY_PUNT
    value[0] = magnitude
    return 0


cdef inline size_t int_param_width(int type_) noexcept nogil:
    """Bytes of an integer of the binary protocol; 0 when the type is none."""
    if type_ == TYPE_LONGLONG:
        return 8
    if type_ == TYPE_LONG:
        return 4
    if type_ == TYPE_SHORT:
        return 2
    return 1 if type_ == TYPE_TINY else 0


cdef inline uint64_t int_param(const uint8_t* p, size_t width, bint is_unsigned) noexcept nogil:
    """The little-endian integer at p, sign-extended to 64 bits unless it is unsigned."""
    cdef uint64_t value = 0
    if width == 8:
        memcpy(&value, p, 8)
        return value
    memcpy(&value, p, width)
    if is_unsigned:
        return value
    if width == 1:
        return <uint64_t><int64_t><int8_t>value
    if width == 2:
        return <uint64_t><int64_t><int16_t>value
    return <uint64_t><int64_t><int32_t>value


cdef inline int int_param_key(const uint8_t* p, size_t n, int type_, bint is_unsigned, int key_type,
                              uint64_t* value) noexcept nogil:
    """Canonical key of an integer parameter; 0 or KEY_PUNT."""
    cdef size_t width = int_param_width(type_)
    if width == 0 or width > n or not is_int_key(key_type):
        return KEY_PUNT
    value[0] = int_param(p, width, is_unsigned)
    # The top bit means different numbers to a signed and an unsigned reader: only the matching one has the key.
    if value[0] > INT64_MAX and (is_unsigned != 0) != (key_type == KEY_INT_UNSIGNED):
        return KEY_PUNT
    return 0


# The canonical_* functions return the number of canonical bytes written, or KEY_PUNT.
# `key_type` is a KeyType, `mode` SqlMode bits, `flags` SlotFlag bits. `out` needs room for `cap` bytes;
# a key that does not fit `cap`, or is longer than KEY_MAX, is KEY_PUNT. Integer keys write 8 bytes.

# A quoted SQL literal with its quotes.
cdef int canonical_string(const uint8_t* p, size_t n, int flags, int mode, int key_type,
                          uint8_t* out, size_t cap) noexcept nogil
# The text of a slot of any kind, as the lexer gives it.
cdef int canonical_literal(const uint8_t* p, size_t n, int kind, int flags, int mode, int key_type,
                           uint8_t* out, size_t cap) noexcept nogil
# The bytes of a value with no quotes around: a string parameter, a column of a row.
cdef int canonical_bytes(const uint8_t* p, size_t n, int mode, int key_type, uint8_t* out,
                         size_t cap) noexcept nogil
# One non-NULL value of COM_STMT_EXECUTE at p (n bytes to the end of the packet). `type_` is the
# enum_field_types code, `is_unsigned` bit 0x80 of its second byte. `used` receives the value's length in the
# packet, also when the key is refused; 0 when the value does not lie inside n bytes or the type is unknown.
cdef int canonical_param(const uint8_t* p, size_t n, int type_, bint is_unsigned, int mode, int key_type,
                         uint8_t* out, size_t cap, size_t* used) noexcept nogil
# Length in the packet of one non-NULL binary-protocol value, 0 when it does not lie inside n bytes.
cdef size_t param_length(const uint8_t* p, size_t n, int type_) noexcept nogil
