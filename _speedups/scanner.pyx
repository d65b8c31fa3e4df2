# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Where does a MySQL response end, and what did it say? By packet heads alone.

Rows and column definitions pass unread. Terminal packets (OK, EOF, ERR) are looked at whole, so a chunk that
ends inside one is passed only up to its start; the caller keeps the rest and comes again with more.

Pages: "Text Resultset", "OK_Packet", "ERR_Packet", "EOF_Packet", "COM_STMT_PREPARE Response" of the
MySQL client/server protocol manual.
"""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove

from _speedups.hashing cimport xxh64

# Kept apart from `scan`, which every response goes through, by name: see relay.pyx.
cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    struct __pyx_t_9_speedups_7scanner_Scan;
    static __attribute__((noinline)) int __pyx_f_9_speedups_7scanner_watched_definition(
        struct __pyx_t_9_speedups_7scanner_Scan *, uint8_t const *, size_t, size_t, uint32_t);
    static __attribute__((noinline)) size_t __pyx_f_9_speedups_7scanner_watched_head(
        struct __pyx_t_9_speedups_7scanner_Scan *, uint8_t const *, size_t, size_t);
    """


cdef inline uint16_t u16(const uint8_t* p) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, p, 2)
    return value


cdef inline uint32_t u24(const uint8_t* p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16)


cdef inline uint32_t u32(const uint8_t* p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)


cdef inline bint short_lenenc(const uint8_t* p, size_t n, size_t* pos, uint64_t* value) noexcept nogil:
    """`lenenc`, the one-byte form inline: nearly all there are."""
    if pos[0] < n and p[pos[0]] < 0xfb:
        value[0] = p[pos[0]]
        pos[0] += 1
        return True
    return lenenc(p, n, pos, value)


cdef bint lenenc(const uint8_t* p, size_t n, size_t* pos, uint64_t* value) noexcept nogil:
    """Read a length-encoded integer at *pos; False when it is cut short or not one."""
    cdef size_t i = pos[0]
    cdef size_t width, k
    cdef uint64_t v = 0
    if i >= n:
        return False
    if p[i] < 0xfb:
        value[0] = p[i]
        pos[0] = i + 1
        return True
    if p[i] == 0xfc:
        width = 2
    elif p[i] == 0xfd:
        width = 3
    elif p[i] == 0xfe:
        width = 8
    else:
        return False
    if n - i - 1 < width:
        return False
    for k in range(width):
        v |= <uint64_t>p[i + 1 + k] << (8 * k)
    value[0] = v
    pos[0] = i + 1 + width
    return True


cdef bint read_ok(Scan* s, const uint8_t* p, uint32_t n, uint32_t base) noexcept nogil:
    """OK packet (header 0x00, or 0xFE under DEPRECATE_EOF). `base`: the payload's offset in the chunk."""
    cdef size_t i = 1
    cdef uint64_t affected = 0, insert_id = 0, length = 0
    if not short_lenenc(p, n, &i, &affected) or not short_lenenc(p, n, &i, &insert_id) or n - i < 4:
        return False
    s.affected = affected
    if insert_id:
        s.insert_id = insert_id
    s.status = u16(p + i)
    s.warnings = u16(p + i + 2)
    s.track_length = 0
    i += 4
    if s.session_track and s.status & SERVER_SESSION_STATE_CHANGED:
        s.told = s.session_track == TRACK_STOP and s.status & SERVER_MORE_RESULTS_EXISTS != 0
        if not lenenc(p, n, &i, &length) or n - i < length:
            return False
        i += length
        if not lenenc(p, n, &i, &length) or n - i < length:
            return False
        s.track_offset = base + <uint32_t>i
        s.track_length = <uint32_t>length
    return True


cdef inline bint read_eof(Scan* s, const uint8_t* p, uint32_t n) noexcept nogil:
    if n < 5:
        return False
    s.warnings = u16(p + 1)
    s.status = u16(p + 3)
    return True


cdef inline void end_of_result(Scan* s) noexcept nogil:
    """More results of a procedure follow, or the response is complete."""
    if s.status & SERVER_MORE_RESULTS_EXISTS:
        s.phase = SCAN_FIRST
    else:
        s.phase = SCAN_DONE


cdef bint on_first(Scan* s, const uint8_t* p, uint32_t n, uint32_t base) noexcept nogil:
    """The first packet of a response or of a further result. A whole packet, n >= 1."""
    cdef size_t i = 0
    cdef uint64_t columns = 0
    if p[0] == 0xff:
        return on_err(s, p, n)
    if s.expect == EXPECT_PREPARE:
        return on_prepare_ok(s, p, n)
    if p[0] == 0x00:
        if not read_ok(s, p, n, base):
            return False
        s.outcome = OUTCOME_OK
        end_of_result(s)
        return True
    if s.expect == EXPECT_OK:
        return False
    if p[0] == 0xfb:
        s.file = 1
        return True
    if not lenenc(p, n, &i, &columns) or columns == 0 or columns > 65535:
        return False
    s.outcome = OUTCOME_ROWS
    s.left = columns
    # Definitions that an EOF has to be looked at behind pass one by one.
    s.phase = SCAN_PREPARED if s.expect == EXPECT_CURSOR and not s.deprecate_eof else SCAN_COLUMNS
    s.head_here = 1
    s.head_at = base - 4
    return True


cdef bint on_err(Scan* s, const uint8_t* p, uint32_t n) noexcept nogil:
    if n < 3:
        return False
    s.error_code = u16(p + 1)
    s.outcome = OUTCOME_ERR
    s.phase = SCAN_DONE
    # An error inside a transaction leaves the flag as it was; the session asks the server's next answer.
    return True


cdef bint on_prepare_ok(Scan* s, const uint8_t* p, uint32_t n) noexcept nogil:
    if p[0] != 0x00 or n < 12:
        return False
    s.stmt_id = u32(p + 1)
    s.stmt_columns = u16(p + 5)
    s.stmt_params = u16(p + 7)
    s.warnings = u16(p + 10)
    s.left = <uint64_t>s.stmt_columns + s.stmt_params
    if not s.deprecate_eof:
        s.left += (s.stmt_columns != 0) + (s.stmt_params != 0)
    s.outcome = OUTCOME_PREPARED
    s.phase = SCAN_PREPARED if s.left else SCAN_DONE
    return True


cdef inline bint is_terminal(Scan* s, uint8_t head, uint32_t length) noexcept nogil:
    """Among rows: ERR, or EOF (an OK packet under DEPRECATE_EOF). A row may begin with 0xFE when it is huge."""
    if head == 0xff:
        return True
    if head != 0xfe:
        return False
    return length < 0xffffff if s.deprecate_eof else length < 9


cdef inline uint32_t head24(const uint8_t* p) noexcept nogil:
    """The length in a packet head: one load of its 4 bytes."""
    cdef uint32_t word
    memcpy(&word, p, 4)
    return word & 0xffffff


cdef inline uint32_t whole_packet(const uint8_t* p, size_t room) noexcept nogil:
    """Framed size of the packet at p, 0 unless it lies whole in the `room` > 4 bytes, not empty and not continued."""
    cdef uint32_t length = head24(p)
    return length + 4 if length - 1 < 0xfffffe and length + 4 <= room else 0


# A short result set lies whole in one chunk, and nearly every query's answer is one. These walk over packets that
# are plainly what the phase expects; anything else is left to `scan`.

cdef inline size_t whole_first(Scan* s, const uint8_t* p, size_t pos, size_t n) noexcept nogil:
    """The head of a result set with fewer than 251 columns."""
    if s.expect != EXPECT_QUERY or n - pos < 5 or head24(p + pos) != 1 or p[pos + 4] == 0 or p[pos + 4] >= 0xfb:
        return pos
    s.outcome = OUTCOME_ROWS
    s.left = p[pos + 4]
    s.seq = p[pos + 3]
    s.phase = SCAN_COLUMNS
    return pos + 5


cdef inline size_t whole_definitions(Scan* s, const uint8_t* p, size_t pos, size_t n) noexcept nogil:
    """Column definitions (which begin with the catalog name, 0x03 'def') and the EOF behind them."""
    cdef uint32_t size
    while n - pos > 4 and p[pos + 4] != 0xff:
        size = whole_packet(p + pos, n - pos)
        if size == 0:
            break
        s.seq = p[pos + 3]
        pos += size
        s.left -= 1
        if s.left == 0:
            next_phase(s)
            break
    if s.phase == SCAN_COLUMNS_EOF and is_classic_eof(p + pos, n - pos):
        s.seq = p[pos + 3]
        read_eof(s, p + pos + 4, 5)
        s.phase = SCAN_ROWS
        pos += 9
    return pos


cdef inline size_t whole_rows(Scan* s, const uint8_t* p, size_t pos, size_t n) noexcept nogil:
    """Rows, and the classic EOF behind the last."""
    cdef uint32_t size
    while n - pos > 4 and p[pos + 4] < 0xfe:
        size = whole_packet(p + pos, n - pos)
        if size == 0:
            return pos
        s.rows += 1
        s.seq = p[pos + 3]
        pos += size
    if not s.deprecate_eof and is_classic_eof(p + pos, n - pos):
        s.seq = p[pos + 3]
        s.final_offset = <uint32_t>pos
        s.final_length = 9
        read_eof(s, p + pos + 4, 5)
        end_of_result(s)
        pos += 9
    return pos


cdef inline bint is_classic_eof(const uint8_t* p, size_t room) noexcept nogil:
    return room >= 9 and head24(p) == 5 and p[4] == 0xfe


include "scanner_witness.pxi"


cdef int scan(Scan* s, const uint8_t* p, size_t n, size_t* passed) noexcept nogil:
    """Walk `n` bytes of a response; `passed` tells how many of them may be forwarded now."""
    cdef size_t pos = 0
    cdef uint32_t length
    cdef int found
    s.head_here = 0
    while True:
        if s.skip:
            if s.skip > n - pos:
                s.skip -= <uint32_t>(n - pos)
                pos = n
                break
            pos += s.skip
            s.skip = 0
        if s.continued == 0:
            if s.witness != NULL:
                pos = watched_head(s, p, pos, n)
            elif s.phase == SCAN_FIRST:
                pos = whole_first(s, p, pos, n)
            if s.phase == SCAN_COLUMNS and s.witness == NULL:
                pos = whole_definitions(s, p, pos, n)
            if s.phase == SCAN_ROWS:
                pos = whole_rows(s, p, pos, n)
            if s.phase == SCAN_DONE:
                break
        if n - pos < 4:
            break
        length = head24(p + pos)
        if s.continued:
            s.seq = p[pos + 3]
            s.continued = length == 0xffffff
            s.skip = length
            pos += 4
            continue
        if s.phase == SCAN_ROWS:
            if length:
                if n - pos < 5:
                    break
                if not is_terminal(s, p[pos + 4], length):
                    s.seq = p[pos + 3]
                    s.rows += 1
                    s.continued = length == 0xffffff
                    s.skip = length
                    pos += 4
                    continue
        elif length and (s.phase == SCAN_COLUMNS or s.phase == SCAN_PREPARED):
            if n - pos < 5:
                break
            if s.witness != NULL and p[pos + 4] != 0xff:
                found = watched_definition(s, p, pos, n, length)
                if found == SCAN_MORE:
                    break
                if found == SCAN_FORBIDDEN:
                    passed[0] = s.head_at if s.head_here else pos
                    return found
                pos += 4 + length
                continue
            if p[pos + 4] != 0xff:
                s.seq = p[pos + 3]
                s.continued = length == 0xffffff
                s.skip = length
                pos += 4
                s.left -= 1
                if s.left == 0:
                    next_phase(s)
                continue
        if length == 0 or length == 0xffffff:
            return SCAN_MALFORMED
        if n - pos - 4 < length:
            break
        s.seq = p[pos + 3]
        s.final_offset = <uint32_t>pos
        s.final_length = length + 4
        if not on_whole(s, p + pos + 4, length, <uint32_t>pos + 4):
            return SCAN_MALFORMED
        pos += 4 + length
        if s.file:
            s.file = 0
            s.started = 1
            passed[0] = pos
            return SCAN_FILE
        if s.told:
            s.told = 0
            s.started = 1
            passed[0] = pos
            return SCAN_TOLD
    passed[0] = pos
    if pos:
        s.started = 1
    return SCAN_COMPLETE if s.phase == SCAN_DONE and s.skip == 0 and not s.continued else SCAN_MORE


cdef size_t watched_head(Scan* s, const uint8_t* p, size_t pos, size_t n) noexcept nogil:
    """With a witness, a head of a result set that it knows is taken whole; others are looked at packet by packet."""
    return known_head(s, p, pos, n) if s.phase == SCAN_FIRST else pos


cdef inline void next_phase(Scan* s) noexcept nogil:
    """Behind the last definition, whose payload may still be on its way (`skip`)."""
    if s.phase == SCAN_PREPARED:
        s.phase = SCAN_DONE if s.expect == EXPECT_PREPARE else SCAN_CURSOR_EOF
    else:
        s.phase = SCAN_ROWS if s.deprecate_eof else SCAN_COLUMNS_EOF


cdef inline bint on_whole(Scan* s, const uint8_t* p, uint32_t n, uint32_t base) noexcept nogil:
    """A packet that decides: the first one, the EOF behind the columns, or a terminal one among the rows."""
    if s.phase == SCAN_FIRST:
        return on_first(s, p, n, base)
    if p[0] == 0xff:
        return on_err(s, p, n)
    if s.phase == SCAN_COLUMNS_EOF:
        if p[0] != 0xfe or not read_eof(s, p, n):
            return False
        s.phase = SCAN_ROWS
        return True
    if s.deprecate_eof:
        if not read_ok(s, p, n, base):
            return False
    elif p[0] != 0xfe or not read_eof(s, p, n):
        return False
    elif s.phase == SCAN_CURSOR_EOF and not s.status & SERVER_STATUS_CURSOR_EXISTS:
        s.phase = SCAN_ROWS
        return True
    end_of_result(s)
    return True


cdef size_t strip_session_track(uint8_t* packet, size_t n) noexcept nogil:
    """Re-word a whole OK packet (head and payload, n bytes) for a client without CLIENT_SESSION_TRACK, in place.

    The state block behind `info` goes; `info` stays length-encoded, as servers send it with and without the
    capability (the manual's "rest of packet" notwithstanding). Returns the new length, at most n; 0 when the packet
    is not an OK packet.
    """
    cdef uint8_t* p = packet + 4
    cdef size_t size = n - 4
    cdef size_t i = 1, info
    cdef uint64_t value = 0, length = 0
    cdef uint16_t status
    if not lenenc(p, size, &i, &value) or not lenenc(p, size, &i, &value) or size - i < 4:
        return 0
    status = u16(p + i) & ~<uint16_t>SERVER_SESSION_STATE_CHANGED
    p[i] = status & 0xff
    p[i + 1] = status >> 8
    i += 4
    info = i
    if i < size:
        if not lenenc(p, size, &i, &length) or size - i < length:
            return 0
    size = i + length if length else info
    packet[0] = size & 0xff
    packet[1] = (size >> 8) & 0xff
    packet[2] = (size >> 16) & 0xff
    return size + 4


cdef size_t put_lenenc(uint8_t* p, size_t value) noexcept nogil:
    """A length of at most 64 KiB; how many bytes it takes."""
    if value < 0xfb:
        p[0] = value & 0xff
        return 1
    p[0] = 0xfc
    p[1] = value & 0xff
    p[2] = (value >> 8) & 0xff
    return 3


cdef bint is_wanted(const uint8_t* entry, size_t n, uint32_t kinds, const uint8_t* names, size_t length) noexcept nogil:
    """Is an entry (`n` bytes from its kind on) of `kinds`, and when it is a variable's, of one in `names`?"""
    cdef size_t at = 1, end = 0
    cdef uint64_t size = 0, name = 0
    if entry[0] > 5 or not kinds >> entry[0] & 1:
        return False
    if entry[0] != 0:
        return True
    if not lenenc(entry, n, &at, &size) or not lenenc(entry, n, &at, &name) or n - at < name:
        return False
    if kinds & CHANGE_ANY_VARIABLE:
        # MySQL counts statements there, those of other clients with them.
        return name != 12 or memcmp(entry + at, <const char*>b"statement_id", 12) != 0
    while end < length:
        size = names[end]
        if size == name and memcmp(names + end + 1, entry + at, name) == 0:
            return True
        end += 1 + size
    return False


cdef size_t next_entry(const uint8_t* p, size_t n) noexcept nogil:
    """The size of the entry at p, 0 when there is none."""
    cdef size_t at = 1
    cdef uint64_t size = 0
    if n < 2 or not lenenc(p, n, &at, &size) or n - at < size:
        return 0
    return at + size


cdef size_t pick_changes(uint8_t* to, const uint8_t* p, size_t n, uint32_t kinds, const uint8_t* names,
                         size_t length) noexcept nogil:
    """Copy those entries of `n` bytes that are wanted; NULL: only say how many bytes they are."""
    cdef size_t at = 0, put = 0, size
    while at < n:
        size = next_entry(p + at, n - at)
        if size == 0:
            break
        if is_wanted(p + at, size, kinds, names, length):
            if to != NULL:
                memmove(to + put, p + at, size)
            put += size
        at += size
    return put


cdef size_t keep_changes(uint8_t* packet, size_t n, uint32_t kinds, const uint8_t* names, size_t length) noexcept nogil:
    """Re-word a whole OK packet (head and payload, n bytes) in place for a client that is told of some changes only.

    `kinds`: enum Change; `names`: of variables in lower case, the size of each in a byte before it. Returns the new
    length, at most n; 0 when the packet is not an OK packet.
    """
    cdef uint8_t* p = packet + 4
    cdef size_t size = n - 4, i = 1, put, kept
    cdef uint64_t value = 0
    if not lenenc(p, size, &i, &value) or not lenenc(p, size, &i, &value) or size - i < 4:
        return 0
    if not u16(p + i) & SERVER_SESSION_STATE_CHANGED:
        return n
    i += 4
    if not lenenc(p, size, &i, &value) or size - i < value:
        return 0
    i += value
    put = i
    if not lenenc(p, size, &i, &value) or size - i < value:
        return 0
    kept = pick_changes(NULL, p + i, value, kinds, names, length)
    if kept == 0 or kept > 0xffff:
        return strip_session_track(packet, n)
    put += put_lenenc(p + put, kept)
    put += pick_changes(p + put, p + i, value, kinds, names, length)
    packet[0] = put & 0xff
    packet[1] = (put >> 8) & 0xff
    packet[2] = (put >> 16) & 0xff
    return put + 4


cdef class ResponseScanner:
    """The scanner for tests and for the uvloop side: feed bytes, learn how many may pass and when it is done.

    `allowed`: with a witness that lets these (schema, table, column) leave as they are; ValueError for others.
    """

    cdef Scan state

    def __cinit__(self, int expect=EXPECT_QUERY, bint deprecate_eof=True, bint session_track=False, allowed=None):
        cdef bytes names
        scan_begin(&self.state, expect, deprecate_eof, session_track)
        if expect == EXPECT_ROWS:
            expect_rows(&self.state)
        if allowed is not None:
            names = witness_names(allowed)
            self.state.witness = witness_new(names, len(names), len(allowed))

    def __dealloc__(self):
        witness_free(self.state.witness)

    def again(self):
        """Forget the response, but not the witness's memory."""
        cdef Witness* witness = self.state.witness
        scan_begin(&self.state, self.state.expect, self.state.deprecate_eof, self.state.session_track)
        self.state.witness = witness

    def feed(self, const unsigned char[::1] data):
        """-> (passed: int, complete: bool). Raises ValueError on a malformed response."""
        cdef size_t passed = 0
        cdef int result = SCAN_MORE
        if data.shape[0]:
            result = scan(&self.state, &data[0], data.shape[0], &passed)
        if result == SCAN_MALFORMED or result == SCAN_FILE:
            raise ValueError("malformed response")
        if result == SCAN_FORBIDDEN:
            raise ForbiddenColumn(passed)
        return passed, result == SCAN_COMPLETE

    @property
    def facts(self):
        s = self.state
        return {
            "outcome": ("none", "ok", "rows", "err", "prepared")[s.outcome], "status": s.status,
            "warnings": s.warnings, "errno": s.error_code, "affected": s.affected, "insert_id": s.insert_id,
            "rows": s.rows, "seq": s.seq, "stmt_id": s.stmt_id, "stmt_columns": s.stmt_columns,
            "stmt_params": s.stmt_params,
        }


class ForbiddenColumn(ValueError):
    """A witness does not let a column leave; the argument says how many bytes of the chunk may."""


def witness_names(allowed):
    """(schema, table, column) of each -> what `witness_new` takes. ValueError beyond WITNESS_NAMES, or with a NUL."""
    keys = [part.encode() for key in allowed for part in key]
    if len(keys) > 3 * WITNESS_NAMES or any(b"\0" in key for key in keys):
        raise ValueError("names that a witness cannot know")
    return b"".join(key.lower() + b"\0" for key in keys)


def with_changes(bytes packet, int kinds, bytes names=b""):
    """Python door to keep_changes: a whole OK packet -> the packet for a client that is told of these changes."""
    cdef bytearray copy = bytearray(packet)
    cdef unsigned char[::1] view = copy
    cdef size_t n = keep_changes(&view[0], len(copy), kinds, <const uint8_t*>PyBytes_AS_STRING(names), len(names)) \
        if len(copy) > 4 else 0
    if n == 0:
        raise ValueError("not an OK packet")
    return bytes(copy[:n])


def without_session_track(bytes packet):
    """Python door to strip_session_track: a whole OK packet -> the packet for a client without the capability."""
    cdef bytearray copy = bytearray(packet)
    cdef unsigned char[::1] view = copy
    cdef size_t n = strip_session_track(&view[0], len(copy)) if len(copy) > 4 else 0
    if n == 0:
        raise ValueError("not an OK packet")
    return bytes(copy[:n])


cdef class RowStream:
    """One server's response taken apart for the executor: the head once, then runs of whole rows, then the end.

    `head`: payloads of the column count, the definitions and (without DEPRECATE_EOF) their EOF, as framed bytes with
    sequence numbers from 1; None until complete. `end`: payload of the OK, EOF or ERR packet; None until it came.
    """

    cdef bytes rest
    cdef bytearray gathered
    cdef bint deprecate_eof
    cdef bint continued
    cdef int phase
    cdef uint64_t left
    cdef readonly bytes head
    cdef readonly bytes end
    cdef readonly uint64_t rows

    def __cinit__(self, bint deprecate_eof):
        self.deprecate_eof = deprecate_eof
        self.rest = b""
        self.gathered = bytearray()
        self.phase = SCAN_FIRST

    def feed(self, bytes data):
        """-> a bytearray of the whole row packets in `data` (sequence numbers as the server gave them).

        Raises ValueError on a malformed response.
        """
        cdef bytes all_bytes = self.rest + data if self.rest else data
        cdef const uint8_t* p = all_bytes
        cdef size_t n = len(all_bytes), pos = 0, start = 0, size
        cdef bytearray out = bytearray()
        while n - pos >= 4 and self.end is None:
            size = 4 + u24(p + pos)
            if n - pos < size:
                break
            if self.phase == SCAN_ROWS and (self.continued or not self.ends(p + pos + 4, size - 4)):
                self.rows += not self.continued
                self.continued = size == 4 + 0xffffff
                pos += size
                continue
            out += all_bytes[start:pos]
            self.whole(all_bytes[pos:pos + size])
            pos += size
            start = pos
        if self.phase == SCAN_ROWS or self.end is not None:
            out += all_bytes[start:pos]
        self.rest = all_bytes[pos:]
        if self.end is not None and self.rest:
            raise ValueError("bytes behind the end of a response")
        return out

    cdef bint ends(self, const uint8_t* p, size_t n) noexcept:
        if n == 0:
            return False
        return p[0] == 0xff or (p[0] == 0xfe and (n < 0xffffff if self.deprecate_eof else n < 9))

    cdef whole(self, bytes packet):
        """A packet that is no row."""
        cdef const uint8_t* p = <const uint8_t*>packet + 4
        cdef size_t n = len(packet) - 4, at = 0
        cdef uint64_t columns = 0
        if n == 0:
            raise ValueError("an empty packet where none may be")
        if self.phase == SCAN_ROWS or p[0] == 0xff or (self.phase == SCAN_FIRST and p[0] == 0):
            self.end = packet[4:]
            return
        self.gathered += packet
        if self.phase == SCAN_FIRST:
            if not lenenc(p, n, &at, &columns) or columns == 0:
                raise ValueError("no column count")
            self.left = columns + (not self.deprecate_eof)
            self.phase = SCAN_COLUMNS
            return
        self.left -= 1
        if self.left == 0:
            self.phase = SCAN_ROWS
            self.head = bytes(self.gathered)


def renumber(bytearray packets, int seq):
    """Give whole framed packets sequence numbers from `seq` (modulo 256), in place. -> the number after the last."""
    cdef uint8_t* p = packets
    cdef size_t n = len(packets), pos = 0
    while n - pos >= 4:
        p[pos + 3] = seq & 0xff
        seq += 1
        pos += 4 + u24(p + pos)
    return seq & 0xff
