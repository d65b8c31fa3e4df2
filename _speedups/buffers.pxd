# cython: language_level=3
"""A growable byte buffer with a start offset: what waits to be parsed or sent.

Empty buffers own no memory, so that an idle connection costs none.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove


cdef struct Buf:
    uint8_t* mem      # the allocation, NULL when empty
    size_t start      # first live byte
    size_t len        # live bytes
    size_t cap


cdef inline uint8_t* buf_head(Buf* b) noexcept nogil:
    return b.mem + b.start


cdef inline void buf_free(Buf* b) noexcept nogil:
    if b.mem != NULL:
        free(b.mem)
    b.mem = NULL
    b.start = b.len = b.cap = 0


cdef inline bint buf_reserve(Buf* b, size_t more) noexcept nogil:
    """Room for `more` bytes behind the live ones; False when memory is refused."""
    cdef size_t want, cap
    cdef uint8_t* mem
    if b.cap - b.start - b.len >= more and b.mem != NULL:
        return True
    if b.start and b.cap - b.len >= more:
        memmove(b.mem, b.mem + b.start, b.len)
        b.start = 0
        return True
    want = b.start + b.len + more
    cap = b.cap if b.cap else 512
    while cap < want:
        cap += cap
    mem = <uint8_t*>realloc(b.mem, cap)
    if mem == NULL:
        return False
    b.mem = mem
    b.cap = cap
    return True


cdef inline bint buf_append(Buf* b, const uint8_t* p, size_t n) noexcept nogil:
    if n == 0:
        return True
    if not buf_reserve(b, n):
        return False
    memcpy(b.mem + b.start + b.len, p, n)
    b.len += n
    return True


cdef inline void buf_consume(Buf* b, size_t n) noexcept nogil:
    """Drop `n` bytes from the front; an emptied buffer gives its memory back."""
    if n >= b.len:
        buf_free(b)
    else:
        b.start += n
        b.len -= n


cdef inline void copy_few(uint8_t* out, const uint8_t* p, size_t n) noexcept nogil:
    """memcpy, for what is nearly always short: up to 16 bytes need no call."""
    cdef uint64_t head, tail
    cdef uint32_t head32, tail32
    if n > 16:
        memcpy(out, p, n)
    elif n >= 8:
        memcpy(&head, p, 8)
        memcpy(&tail, p + n - 8, 8)
        memcpy(out, &head, 8)
        memcpy(out + n - 8, &tail, 8)
    elif n >= 4:
        memcpy(&head32, p, 4)
        memcpy(&tail32, p + n - 4, 4)
        memcpy(out, &head32, 4)
        memcpy(out + n - 4, &tail32, 4)
    elif n:
        out[0] = p[0]
        out[n >> 1] = p[n >> 1]
        out[n - 1] = p[n - 1]
