# Shard hashes and canonical keys. Every function is nogil, allocates nothing and writes only to `out`.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef uint64_t xxh64(const uint8_t* p, size_t n, uint64_t seed) noexcept nogil


cdef inline uint32_t bucket_of(uint64_t h) noexcept nogil:
    """The bucket 0..4095 of a key's hash: its top 12 bits."""
    return <uint32_t>(h >> 52)


# The canonical_* functions return the number of canonical bytes written, or KEY_PUNT.
# `key_type` is a KeyType, `mode` SqlMode bits, `flags` SlotFlag bits. `out` needs room for `cap` bytes;
# a key that does not fit `cap`, or is longer than KEY_MAX, is KEY_PUNT. Integer keys write 8 bytes.

# Decimal digits only, no sign: `neg` says that a minus stands before. `value` receives two's complement.
# Returns 0 or KEY_PUNT.
cdef int canonical_int_from_text(const uint8_t* p, size_t n, bint neg, int key_type,
                                 uint64_t* value) noexcept nogil
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
