# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The scans of resp.pxd, and their Python doors.

A request is an array of bulk strings, or a line of words. A reply is any value; its elements are counted, not
nested: `left` is how many values are still to come, and an array of n adds n to it.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr, memset

cdef enum:
    AT_TYPE = 0
    IN_NUMBER = 1
    AT_LF = 2               # behind the CR of a number's line
    IN_LINE = 3
    IN_BULK = 4
    MAX_DIGITS = 19


# ---------------------------------------------------------------- requests

cdef inline int64_t line_end(const uint8_t* p, size_t at, size_t n) noexcept nogil:
    """Offset of the CR of the line that begins at `at`; -1 when it is not there yet."""
    cdef const uint8_t* found = <const uint8_t*>memchr(p + at, c'\r', n - at)
    if found == NULL or found + 1 >= p + n:
        return -1
    return found - p


cdef inline int64_t number_at(const uint8_t* p, size_t n) noexcept nogil:
    """A whole number as Redis reads it (no sign but '-', no leading zero); -2 when it is none, or far too long."""
    cdef int64_t value = 0
    cdef size_t i = 0
    if n == 0 or n > 11:
        return -2
    if n == 2 and p[0] == c'-' and p[1] == c'1':
        return -1
    if n > 1 and p[0] == c'0':
        return -2
    for i in range(n):
        if p[i] < c'0' or p[i] > c'9':
            return -2
        value = value * 10 + (p[i] - c'0')
    return value


cdef int scan_inline(Request* r, const uint8_t* p, size_t n) noexcept nogil:
    cdef const uint8_t* found = <const uint8_t*>memchr(p, c'\n', n)
    cdef size_t i
    if found == NULL:
        return RESP_LONG_LINE if n > RESP_MAX_LINE else RESP_MORE
    r.at = found - p + 1
    if r.at > RESP_MAX_LINE:
        return RESP_LONG_LINE
    for i in range(r.at):
        if p[i] > c' ':
            return RESP_INLINE
    return RESP_EMPTY


cdef int scan_count(Request* r, const uint8_t* p, size_t n) noexcept nogil:
    cdef int64_t end = line_end(p, 1, n), count
    if end < 0:
        return RESP_LONG_COUNT if n > RESP_MAX_LINE else RESP_MORE
    if end >= RESP_MAX_LINE:    # as it would be told before its end is there
        return RESP_LONG_COUNT
    count = -3 if end == 1 else number_at(p + 1, end - 1)
    if p[end + 1] != c'\n' or count < -1 or count > RESP_MAX_ARGS:
        return RESP_BAD_COUNT
    r.at = end + 2
    if count <= 0:
        return RESP_EMPTY
    r.argc = <uint32_t>count
    return RESP_DONE


cdef int scan_length(Request* r, const uint8_t* p, size_t n) noexcept nogil:
    cdef int64_t end, length
    if r.at >= n:
        return RESP_MORE
    if p[r.at] != c'$':
        r.bad = p[r.at]
        return RESP_NO_BULK
    end = line_end(p, r.at + 1, n)
    if end < 0:
        return RESP_LONG_LENGTH if n - r.at > RESP_MAX_LINE else RESP_MORE
    if end - <int64_t>r.at >= RESP_MAX_LINE:
        return RESP_LONG_LENGTH
    length = number_at(p + r.at + 1, end - r.at - 1)
    if p[end + 1] != c'\n' or length < 0 or length > RESP_MAX_BULK:
        return RESP_BAD_LENGTH
    r.at = end + 2
    r.bulk = <size_t>length
    r.in_bulk = 1
    return RESP_DONE


cdef int request_scan(Request* r, const uint8_t* p, size_t n) noexcept nogil:
    """Goes on with the frame at `p`, of which n bytes are there. A RespResult; RESP_MORE may be called again."""
    cdef int result
    if n == 0:
        return RESP_MORE
    if r.argc == 0:
        if p[0] != c'*':
            return scan_inline(r, p, n)
        result = scan_count(r, p, n)
        if result != RESP_DONE:
            return result
    while r.seen < r.argc:
        if not r.in_bulk:
            result = scan_length(r, p, n)
            if result != RESP_DONE:
                return result
        if n - r.at < r.bulk + 2:
            return RESP_MORE
        if p[r.at + r.bulk] != c'\r' or p[r.at + r.bulk + 1] != c'\n':
            return RESP_NO_END
        if r.seen < RESP_ARGS:
            r.off[r.seen] = r.at
            r.len[r.seen] = r.bulk
        r.at += r.bulk + 2
        r.in_bulk = 0
        r.seen += 1
    return RESP_DONE


cdef size_t first_argument(const uint8_t* p) noexcept nogil:
    """Of a complete frame: where its first argument's `$` stands."""
    cdef size_t at = 1
    while p[at] != c'\n':
        at += 1
    return at + 1


cdef size_t argument_next(const uint8_t* p, size_t at, size_t* off, size_t* length) noexcept nogil:
    """Of a complete frame: the argument whose `$` is at `at`; where the next one's stands."""
    cdef size_t value = 0
    at += 1
    while p[at] != c'\r':
        value = value * 10 + (p[at] - c'0')
        at += 1
    off[0] = at + 2
    length[0] = value
    return at + 2 + value + 2


# ---------------------------------------------------------------- replies

cdef inline bint has_number(uint8_t kind) noexcept nogil:
    return (kind == c'$' or kind == c'*' or kind == c'%' or kind == c'~' or kind == c'>' or kind == c'='
            or kind == c'!' or kind == c'|')


cdef inline bint is_line(uint8_t kind) noexcept nogil:
    return (kind == c'+' or kind == c'-' or kind == c':' or kind == c'_' or kind == c',' or kind == c'#'
            or kind == c'(')


cdef inline bint begin_value(ReplyScan* s, uint8_t kind) noexcept nogil:
    if s.left == 0:
        s.left = 1
        s.first = 0
    if s.first == 0 and kind != c'|':
        s.first = kind
    s.kind = kind
    if is_line(kind):
        s.state = IN_LINE
        return True
    s.number = 0
    s.negative = s.digits = 0
    s.state = IN_NUMBER
    return has_number(kind)


cdef inline bint end_number(ReplyScan* s) noexcept nogil:
    """The length of the value is known. False when no value has such a length."""
    cdef uint64_t number = s.number
    s.state = AT_TYPE
    if s.digits == 0 or s.digits > MAX_DIGITS or (
            s.negative and (number != 1 or not (s.kind == c'$' or s.kind == c'*'))):
        return False
    if s.negative:
        s.left -= 1
        return True
    if s.kind == c'$' or s.kind == c'=' or s.kind == c'!':
        s.skip = number + 2
        s.state = IN_BULK
        return number <= RESP_MAX_ELEMENTS
    if number > RESP_MAX_ELEMENTS or s.left > RESP_MAX_ELEMENTS:
        return False
    if s.kind == c'%' or s.kind == c'|':
        number += number
    if s.kind != c'|':          # attributes come before the value that they are of
        s.left -= 1
    s.left += number
    return True


cdef int reply_scan(ReplyScan* s, const uint8_t* p, size_t n, size_t* used) noexcept nogil:
    """Passes bytes up to the end of the current reply. RESP_DONE at its end, RESP_MORE, or RESP_MALFORMED."""
    cdef size_t i = 0
    cdef const uint8_t* found
    cdef uint8_t c
    while i < n:
        if s.state == IN_BULK:
            if n - i < s.skip:
                s.skip -= n - i
                break
            i += s.skip
            s.skip = 0
            s.left -= 1
            s.state = AT_TYPE
        elif s.state == IN_LINE:
            found = <const uint8_t*>memchr(p + i, c'\n', n - i)
            if found == NULL:
                break
            i = found - p + 1
            s.left -= 1
            s.state = AT_TYPE
        else:
            c = p[i]
            i += 1
            if s.state == AT_TYPE:
                if not begin_value(s, c):
                    return RESP_MALFORMED
                continue
            if s.state == AT_LF:
                if c != c'\n' or not end_number(s):
                    return RESP_MALFORMED
            elif c == c'\r':
                s.state = AT_LF
                continue
            elif c'0' <= c <= c'9' and s.digits < MAX_DIGITS:
                s.number = s.number * 10 + (c - c'0')
                s.digits += 1
                continue
            elif c == c'-' and s.digits == 0 and not s.negative:
                s.negative = 1
                continue
            else:
                return RESP_MALFORMED
        if s.state == AT_TYPE and s.left == 0:
            used[0] = i
            return RESP_DONE
    used[0] = n
    return RESP_MORE


# ---------------------------------------------------------------- Python's doors

class ProtocolError(ValueError):
    """What a client sent is no request; the text is Redis's own."""


cdef dict ERRORS = {
    RESP_BAD_COUNT: "invalid multibulk length",
    RESP_BAD_LENGTH: "invalid bulk length",
    RESP_LONG_LINE: "too big inline request",
    RESP_LONG_COUNT: "too big mbulk count string",
    RESP_LONG_LENGTH: "too big bulk count string",
    RESP_NO_END: "expected CRLF behind a bulk string",
}


cdef object error_of(int result, uint8_t bad):
    if result == RESP_NO_BULK:
        return ProtocolError(f"Protocol error: expected '$', got '{chr(bad)}'")
    return ProtocolError(f"Protocol error: {ERRORS[result]}")


def request_of(bytes data not None):
    """The first request in `data`: (its arguments, bytes it takes), or None when it is not complete.

    A request without words is ([], n). Raises ProtocolError.
    """
    cdef Request r
    cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef size_t at, off, length
    cdef list arguments = []
    memset(&r, 0, sizeof(Request))
    cdef int result = request_scan(&r, p, PyBytes_GET_SIZE(data))
    if result == RESP_MORE:
        return None
    if result < 0:
        raise error_of(result, r.bad)
    if result == RESP_EMPTY:
        return [], r.at
    if result == RESP_INLINE:
        return words_of(data[:r.at]), r.at
    at = first_argument(p)
    while r.seen:
        r.seen -= 1
        at = argument_next(p, at, &off, &length)
        arguments.append(data[off:off + length])
    return arguments, r.at


cdef dict ESCAPES = {0x6e: 10, 0x72: 13, 0x74: 9, 0x62: 8, 0x61: 7}
cdef bytes SPACE = b" \t\r\n\v\f\0"


def words_of(bytes line not None):
    """The words of an inline request, quotes and escapes read as Redis does (sds.c, sdssplitargs)."""
    words = []
    cdef Py_ssize_t i = 0, n = len(line)
    while True:
        while i < n and line[i] in SPACE:
            i += 1
        if i >= n:
            return words
        word, i = one_word(line, i)
        words.append(word)


cdef tuple one_word(bytes line, Py_ssize_t i):
    out = bytearray()
    cdef Py_ssize_t n = len(line)
    cdef int quote = 0, c
    while True:
        if i >= n:
            if quote:
                raise ProtocolError("Protocol error: unbalanced quotes in request")
            return bytes(out), i
        c = line[i]
        if quote == 0 and c in SPACE:
            return bytes(out), i
        if quote == 0 and (c == 0x22 or c == 0x27):
            quote = c
        elif quote and c == quote:
            if i + 1 < n and line[i + 1] not in SPACE:
                raise ProtocolError("Protocol error: unbalanced quotes in request")
            return bytes(out), i + 1
        elif quote == 0x22 and c == 0x5c and i + 1 < n:
            i += escaped(line, i + 1, out)
        elif quote == 0x27 and c == 0x5c and i + 1 < n and line[i + 1] == 0x27:
            out.append(0x27)
            i += 1
        else:
            out.append(c)
        i += 1


cdef int escaped(bytes line, Py_ssize_t i, out):
    """What stands behind a backslash between double quotes; how many bytes it took."""
    digits = line[i + 1:i + 3]
    if line[i] == 0x78 and len(digits) == 2 and all(one in b"0123456789abcdefABCDEF" for one in digits):
        out.append(int(digits, 16))
        return 3
    out.append(ESCAPES.get(line[i], line[i]))
    return 1


cdef class RequestScanner:
    """The relay's request scan over bytes that come in any pieces. `arguments` of each frame as they complete."""
    cdef Request r
    cdef bytes rest

    def __cinit__(self):
        memset(&self.r, 0, sizeof(Request))
        self.rest = b""

    @property
    def waiting(self):
        """Bytes that are kept for an incomplete frame."""
        return len(self.rest)

    def feed(self, bytes data not None):
        """-> the requests (lists of arguments) that are complete now. Raises ProtocolError."""
        cdef const uint8_t* p
        cdef int result
        found = []
        self.rest += data
        while True:
            p = <const uint8_t*>PyBytes_AS_STRING(self.rest)
            result = request_scan(&self.r, p, PyBytes_GET_SIZE(self.rest))
            if result == RESP_MORE:
                return found
            if result < 0:
                raise error_of(result, self.r.bad)
            if result != RESP_EMPTY:
                found.append(request_of(self.rest[:self.r.at])[0])
            self.rest = self.rest[self.r.at:]
            memset(&self.r, 0, sizeof(Request))


cdef class ReplyScanner:
    """Cuts a stream of replies, in any pieces, into whole replies."""
    cdef ReplyScan s
    cdef bytearray rest

    def __cinit__(self):
        memset(&self.s, 0, sizeof(ReplyScan))
        self.rest = bytearray()

    @property
    def waiting(self):
        return len(self.rest)

    def feed(self, bytes data not None):
        """-> the replies (bytes) that are complete now. Raises ProtocolError."""
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t at = 0, used = 0, n = PyBytes_GET_SIZE(data)
        cdef int result
        found = []
        while at < n:
            result = reply_scan(&self.s, p + at, n - at, &used)
            if result == RESP_MALFORMED:
                raise ProtocolError("no RESP reply")
            self.rest += data[at:at + used]
            at += used
            if result == RESP_DONE:
                found.append(bytes(self.rest))
                self.rest.clear()
        return found
