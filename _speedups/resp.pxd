# cython: language_level=3
"""Frames of the Redis protocol: where a request's arguments lie, and where a reply ends.

https://redis.io/docs/latest/develop/reference/protocol-spec/ (RESP2 and RESP3). Both scans stop anywhere and go on
with the next bytes; neither keeps bytes, recurses or allocates, so nesting and announced lengths cost nothing.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    RESP_ARGS = 8               # leading arguments whose places are remembered
    RESP_MAX_ARGS = 1048576
    RESP_MAX_BULK = 536870912   # as Redis's proto-max-bulk-len
    RESP_MAX_LINE = 65536       # an inline request, or a line that announces a length
    RESP_MAX_ELEMENTS = 4294967296

cdef enum RespResult:
    RESP_MORE = 0
    RESP_DONE = 1
    RESP_INLINE = 2             # a line of words: request.at is its length with the line end
    RESP_EMPTY = 3              # nothing is to be answered: *0, *-1, a line without words
    RESP_BAD_COUNT = -1
    RESP_BAD_LENGTH = -2
    RESP_NO_BULK = -3           # request.bad is the byte that stands where '$' should
    RESP_LONG_LINE = -4
    RESP_LONG_COUNT = -5
    RESP_LONG_LENGTH = -6
    RESP_NO_END = -7            # a bulk string without CRLF behind it
    RESP_MALFORMED = -8         # of replies

cdef struct Request:            # zeroed before each frame
    size_t at                   # bytes passed from the frame's start; its length when done
    uint32_t argc               # announced; 0 before the first line is complete
    uint32_t seen               # arguments that are complete
    uint8_t bad
    size_t bulk                 # length of the argument that is coming, valid while in_bulk
    uint8_t in_bulk
    uint8_t whole               # the caller's: it is not to be passed on in parts
    size_t off[8]
    size_t len[8]

cdef struct ReplyScan:          # zeroed at first; at a boundary `left` and `state` are 0
    uint64_t left               # elements of the current reply that are to come
    uint64_t skip               # bytes of a bulk string and its CRLF that are to come
    uint64_t number
    uint8_t state
    uint8_t kind
    uint8_t negative
    uint8_t digits
    uint8_t first               # the type byte of the current reply, behind attributes

cdef int scan_length(Request* r, const uint8_t* p, size_t n) noexcept nogil
cdef int request_scan(Request* r, const uint8_t* p, size_t n) noexcept nogil
cdef size_t argument_next(const uint8_t* p, size_t at, size_t* off, size_t* length) noexcept nogil
cdef size_t first_argument(const uint8_t* p) noexcept nogil
cdef int reply_scan(ReplyScan* s, const uint8_t* p, size_t n, size_t* used) noexcept nogil
