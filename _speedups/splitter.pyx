# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The rows of a LOAD DATA file, parted by shard: where each begins and ends, and what its shard key is.

Rows go on as the bytes that they came as. A file is read as the servers read it (MySQL Reference Manual 15.2.9, "Field
and Line Handling"), in the order in which they look at what could end a field: the escape first, the line's end before
the field's, neither of them within an enclosure. A row ends where its last field does; what a line has beyond that is
passed over up to the line's end, in which enclosures mean nothing. Separators are ASCII and not empty, and fields and
lines end differently: then bytes from 0x80 on are never part of one in the character sets that the planner lets pass.

Every look-ahead that finds the end of what has come so far stops the scan there, to be taken up with more. What is held
is the part of one row up to its key; from then on its bytes go to their shard as they come.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy

from _speedups.buffers cimport Buf, buf_append, buf_consume, buf_free, buf_head
from _speedups.hashing cimport canonical_bytes, canonical_int_from_text, is_int_key, xxh64, xxh64_of_int
from _speedups.literals cimport KEY_INT_SIGNED, KEY_INT_UNSIGNED
from _speedups.relay cimport Vindex

include "vindex.pxi"

cdef enum State:
    LINES_IGNORED = 0           # IGNORE n LINES
    LINE_START = 1              # what stands before LINES STARTING BY
    FIELD_START = 2
    FIELD = 3
    LINE_REST = 4               # beyond the last field
    FILE_OVER = 5

cdef enum Found:                # what is at a place
    NOT_THERE = 0
    THERE = 1
    UNDECIDED = 2               # more bytes will say

cdef enum Problem:              # with a row; PROBLEMS has their words
    FINE = 0
    KEY_MISSING = 1
    KEY_NULL = 2
    KEY_UNPLAIN = 3
    KEY_CHARSET = 4
    KEY_UNFIT = 5
    KEY_NOWHERE = 6
    KEY_ELSEWHERE = 7
    ID_MADE = 8
    ROW_TOO_LONG = 9
    BAD_UTF8 = 10
    NO_MEMORY = 11

cdef enum:
    WATCHED = 3                 # a key's two columns and the AUTO_INCREMENT column
    WATCHED_ROOM = 1025         # bytes of a field that is looked at: one more than a key may have

PROBLEMS = (
    "", "it has no field for the shard key", "its shard key is NULL",
    "its shard key is not written as a plain whole number, and would be stored as another value",
    "its shard key has characters that the column stores otherwise, or cannot store",
    "its shard key does not fit the column, and would be stored as another value",
    "no shard holds rows of its shard key", "it belongs to a shard of another region",
    "its AUTO_INCREMENT column has no number, and each shard would count for itself",
    "it is longer than a packet may be, before its shard key ends", "it holds bytes that are no UTF-8 beyond its last "
    "field, which servers read in different ways", "there is no memory for it",
)


class Unsplittable(ValueError):
    """A row whose shard cannot be told. `row`: its number, from 1; `why`: in words, without its values."""

    def __init__(self, row: int, why: str) -> None:
        super().__init__(f"row {row}: {why}")
        self.row = row
        self.why = why


cdef struct Watched:            # a field that is looked at
    int32_t position            # among the row's fields
    uint32_t length             # of its value, without enclosure and escapes
    uint8_t null                # it is NULL
    uint8_t value[1025]         # WATCHED_ROOM


cdef class Splitter:
    """One file. `feed` it, then `finish`; `take` what came together for each output.

    `tables`: of the vindex, as `Relay.vindex_add` takes them; `outputs`: vindex's shard -> output, -1 for shards that
    are not to be written to. `fields`: how many fields a row has; `keys`: which of them the shard key is; `raw`: 1 for
    each whose column is binary; `id_field`: the AUTO_INCREMENT column's, -1 for none. `utf8`: bytes that a character of
    the file's UTF-8 has at most; 0: it is in another character set. `skip`: IGNORE n LINES. `most`: bytes that a row
    may have before its key is known.
    """
    cdef Vindex* v
    cdef Buf held
    cdef Buf* outs
    cdef int32_t* output_of
    cdef int32_t nshards, noutputs
    cdef bytes field_term, line_term, line_start
    cdef const uint8_t* ft
    cdef const uint8_t* lt
    cdef const uint8_t* ls
    cdef size_t nft, nlt, nls
    cdef int escape, quote      # -1: none
    cdef uint8_t special[256]   # bytes of a field that have to be looked at
    cdef uint8_t special_quoted[256]
    cdef uint8_t raw[2]
    cdef Watched watched[3]
    cdef Watched* now           # the current field's, NULL for one that is not looked at
    cdef int nkeys, nwatched, utf8
    cdef int id_watched         # which of them must be a number, -1: none
    cdef int32_t fields, field, last_watched, out
    cdef State state
    cdef bint quoted, over
    cdef bint saw_null          # \N was in the field
    cdef size_t start, pos, most
    cdef uint64_t skip
    cdef readonly uint64_t rows

    def __cinit__(self, dict tables not None, outputs, int fields, keys, *, bytes field_term not None,
                  bytes line_term not None, bytes line_start=b"", bytes enclosed=b"", bytes escaped=b"", raw=(0, 0),
                  int id_field=-1, int utf8=0, uint64_t skip=0, size_t most=1 << 24):
        cdef int i
        if not field_term or not line_term or field_term == line_term or len(enclosed) > 1 or len(escaped) > 1:
            raise ValueError("separators that are not supported")
        self.v = vindex_build(tables["kind"], tables["key_types"], tables["region_kind"], tables["shift"],
                              tables["mask"], tables["regions"], tables["maps"], tables["bounds"],
                              tables["bound_shards"], tables["items"])
        for i, (low, high, ascii_only) in enumerate(tables["limits"]):
            self.v.low[i], self.v.high[i], self.v.ascii_only[i] = low, high, ascii_only
        self.nshards = len(outputs)
        self.noutputs = max(list(outputs) + [-1]) + 1
        self.output_of = <int32_t*>malloc((self.nshards + 1) * sizeof(int32_t))
        self.outs = <Buf*>calloc(self.noutputs + 1, sizeof(Buf))
        if self.output_of == NULL or self.outs == NULL:
            raise MemoryError
        for i, output in enumerate(outputs):
            self.output_of[i] = output
        self.field_term, self.line_term, self.line_start = field_term, line_term, line_start
        self.ft, self.nft = <const uint8_t*>PyBytes_AS_STRING(field_term), len(field_term)
        self.lt, self.nlt = <const uint8_t*>PyBytes_AS_STRING(line_term), len(line_term)
        self.ls, self.nls = <const uint8_t*>PyBytes_AS_STRING(line_start), len(line_start)
        self.escape = escaped[0] if escaped else -1
        self.quote = enclosed[0] if enclosed else -1
        self.special[self.ft[0]] = self.special[self.lt[0]] = 1
        if self.escape >= 0:
            self.special[self.escape] = self.special_quoted[self.escape] = 1
        if self.quote >= 0:
            self.special_quoted[self.quote] = 1
        self.nkeys = self.nwatched = len(keys)
        if self.nkeys != self.v.arity or not all(0 <= key < fields for key in keys) or id_field >= fields:
            raise ValueError("fields of the shard key")
        for i, key in enumerate(keys):
            self.watched[i].position = key
            self.raw[i] = raw[i]
        self.id_watched = -1
        if id_field in keys:
            self.id_watched = list(keys).index(id_field)
        elif id_field >= 0:
            self.id_watched = self.nwatched
            self.watched[self.nwatched].position = id_field
            self.nwatched += 1
        self.last_watched = max(list(keys) + [id_field])
        self.fields, self.utf8, self.skip, self.most = fields, utf8, skip, most
        self.out = -1
        self.state = LINES_IGNORED if skip else self.row_state()

    def __dealloc__(self):
        cdef int i
        if self.v != NULL:
            vindex_free(self.v)
        if self.outs != NULL:
            for i in range(self.noutputs):
                buf_free(&self.outs[i])
        buf_free(&self.held)
        free(self.outs)
        free(self.output_of)

    def feed(self, bytes data not None):
        """More of the file. Raises Unsplittable; then it cannot be gone on with."""
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t n = PyBytes_GET_SIZE(data)
        cdef Problem problem
        with nogil:
            problem = self.scan(p, n) if buf_append(&self.held, p, n) else NO_MEMORY
        if problem != FINE:
            raise Unsplittable(self.rows + 1, PROBLEMS[problem])

    def finish(self):
        """The file is over. Raises Unsplittable."""
        self.over = True
        self.feed(b"")

    def take(self, int output):
        """What has come together for an output: whole rows, but for the one that is under way."""
        cdef Buf* out = &self.outs[output]
        if not 0 <= output < self.noutputs:
            raise IndexError(output)
        if out.len == 0:
            return b""
        try:
            return PyBytes_FromStringAndSize(<char*>buf_head(out), out.len)
        finally:
            buf_free(out)

    # ------------------------------------------------------------ scanning
    cdef State row_state(self) noexcept nogil:
        return LINE_START if self.nls else FIELD_START

    cdef Problem scan(self, const uint8_t* fed, size_t n) noexcept nogil:
        """As far as what is held decides; then pass on what has its shard."""
        cdef const uint8_t* p = buf_head(&self.held)
        cdef const uint8_t* end = p + self.held.len
        cdef Problem problem = FINE
        cdef bint more = self.held.len > 0 or self.over
        while more and problem == FINE:
            if self.state == FIELD:
                more = self.in_field(p, end, &problem)
            elif self.state == FIELD_START:
                more = self.at_field(p, end, &problem)
            elif self.state == LINE_START:
                more = self.before_line(p, end)
            elif self.state == FILE_OVER:
                self.start = self.pos = self.held.len
                more = False
            else:
                more = self.past_line(p, end, &problem)
        if problem == FINE and self.out >= 0 and not self.pass_on(p):
            problem = NO_MEMORY
        buf_consume(&self.held, self.start)
        self.pos -= self.start
        self.start = 0
        if problem == FINE and self.held.len > self.most:
            problem = ROW_TOO_LONG
        return problem

    cdef bint pass_on(self, const uint8_t* p) noexcept nogil:
        cdef size_t at = self.start
        self.start = self.pos
        return buf_append(&self.outs[self.out], p + at, self.pos - at)

    cdef Found matches(self, const uint8_t* p, const uint8_t* end, const uint8_t* term, size_t n) noexcept nogil:
        cdef size_t have = end - p
        if have >= n:
            return THERE if memcmp(p, term, n) == 0 else NOT_THERE
        return UNDECIDED if not self.over and memcmp(p, term, have) == 0 else NOT_THERE

    cdef bint before_line(self, const uint8_t* p, const uint8_t* end) noexcept nogil:
        """Up to LINES STARTING BY, which is part of the row; what stands before it belongs to none."""
        cdef const uint8_t* at = p + self.pos
        cdef Found found = NOT_THERE
        while at < end:
            at = <const uint8_t*>memchr(at, self.ls[0], end - at)
            if at == NULL:
                at = end
                break
            found = self.matches(at, end, self.ls, self.nls)
            if found != NOT_THERE:
                break
            at += 1
        self.start = self.pos = at - p
        if found == THERE:
            self.pos += self.nls
            self.state = FIELD_START
            return True
        return False

    cdef bint at_field(self, const uint8_t* p, const uint8_t* end, Problem* problem) noexcept nogil:
        cdef int i
        if p + self.pos == end:
            if not self.over:
                return False
            if self.field:
                return self.end_row(p, problem)     # the fields that are missing
            self.state = FILE_OVER
            return True
        self.now = NULL
        self.quoted = self.saw_null = False
        if self.field <= self.last_watched:
            for i in range(self.nwatched):
                if self.watched[i].position == self.field:
                    self.now = &self.watched[i]
                    self.now.length = 0
                    break
        if self.quote >= 0 and p[self.pos] == self.quote:
            self.quoted = True
            self.pos += 1
        self.state = FIELD
        return True

    cdef inline void put(self, uint8_t c) noexcept nogil:
        if self.now != NULL and self.now.length < WATCHED_ROOM:
            self.now.value[self.now.length] = c
            self.now.length += 1

    cdef bint in_field(self, const uint8_t* p, const uint8_t* end, Problem* problem) noexcept nogil:
        """Up to the field's end. False: more bytes have to come."""
        cdef const uint8_t* at = p + self.pos
        cdef const uint8_t* special = &self.special[0]
        cdef Found found
        cdef uint8_t c
        if self.quoted:
            special = &self.special_quoted[0]
        while True:
            if self.now == NULL:
                while at < end and not special[at[0]]:
                    at += 1
            else:
                while at < end and not special[at[0]]:
                    self.put(at[0])
                    at += 1
            self.pos = at - p
            if at == end:
                return self.over and self.end_file(p, problem)
            c = at[0]
            if c == self.escape:
                if at + 1 == end:
                    if not self.over:
                        return False
                    self.put(c)
                    self.pos += 1
                    return self.end_file(p, problem)
                if self.escape != self.quote or at[1] == c:
                    self.put(self.unescaped(at[1]))
                    at += 2
                    continue
            if self.quoted:
                found = self.closes(at, end, c, p, problem)
                if found == UNDECIDED:
                    return False
                if found == THERE:
                    return problem[0] == FINE
                if at + 1 < end and c == self.quote and at[1] == c:
                    at += 1
            else:
                if c == self.lt[0]:
                    found = self.matches(at, end, self.lt, self.nlt)
                    if found == UNDECIDED:
                        return False
                    if found == THERE:
                        self.pos += self.nlt
                        return self.end_field(problem) and self.end_row(p, problem)
                if c == self.ft[0]:
                    found = self.matches(at, end, self.ft, self.nft)
                    if found == UNDECIDED:
                        return False
                    if found == THERE:
                        self.pos += self.nft
                        return self.end_field(problem)
            self.put(c)
            at += 1

    cdef Found closes(self, const uint8_t* at, const uint8_t* end, uint8_t c, const uint8_t* p,
                      Problem* problem) noexcept nogil:
        """Does an enclosed field end with this character? THERE: it has ended."""
        cdef Found line, field
        if c != self.quote:
            return NOT_THERE
        if at + 1 == end:
            if not self.over:
                return UNDECIDED
            self.pos += 1
            if self.end_field(problem):
                self.end_row(p, problem)
            return THERE
        if at[1] == c:
            return NOT_THERE
        line = self.matches(at + 1, end, self.lt, self.nlt)
        if line == THERE:
            self.pos += 1 + self.nlt
            if self.end_field(problem):
                self.end_row(p, problem)
            return THERE
        if line == UNDECIDED:
            return UNDECIDED
        field = self.matches(at + 1, end, self.ft, self.nft)
        if field == THERE:
            self.pos += 1 + self.nft
            self.end_field(problem)
        return field

    cdef uint8_t unescaped(self, uint8_t c) noexcept nogil:
        if c == c'N':
            self.saw_null = True
            return c
        if c == c'n':
            return 10
        if c == c't':
            return 9
        if c == c'r':
            return 13
        if c == c'b':
            return 8
        if c == c'0':
            return 0
        return 26 if c == c'Z' else c

    cdef bint end_file(self, const uint8_t* p, Problem* problem) noexcept nogil:
        """Within a field; one that was not closed is not enclosed, and its value has the quote in front."""
        cdef uint32_t i
        if self.quoted and self.now != NULL and self.now.length < WATCHED_ROOM:
            for i in range(self.now.length, 0, -1):
                self.now.value[i] = self.now.value[i - 1]
            self.now.value[0] = self.quote
            self.now.length += 1
        self.quoted = False
        return self.end_field(problem) and self.end_row(p, problem)

    cdef bint end_field(self, Problem* problem) noexcept nogil:
        """False when the row's shard cannot be told."""
        cdef Watched* field = self.now
        if field != NULL:
            field.null = (field.length == 1 and self.saw_null) or (
                self.quote >= 0 and not self.quoted and field.length == 4
                and memcmp(field.value, <const uint8_t*>b"NULL", 4) == 0)
        if self.field == self.last_watched:
            problem[0] = self.place()
            if problem[0] != FINE:
                return False
        self.field += 1
        self.state = FIELD_START if self.field < self.fields else LINE_REST
        return True

    cdef bint end_row(self, const uint8_t* p, Problem* problem) noexcept nogil:
        if self.field <= self.last_watched:
            problem[0] = KEY_MISSING
            return False
        if not self.pass_on(p):
            problem[0] = NO_MEMORY
            return False
        self.rows += 1
        self.field = 0
        self.out = -1
        self.state = self.row_state()
        return True

    cdef bint past_line(self, const uint8_t* p, const uint8_t* end, Problem* problem) noexcept nogil:
        """Up to the line's end, of a row or of one that is ignored. False: more bytes have to come."""
        cdef const uint8_t* at = p + self.pos
        cdef Found found
        cdef int length
        while at < end:
            if at[0] == self.escape:
                if at + 1 == end and not self.over:
                    break
                at += 2 if at + 1 < end else 1
                continue
            if at[0] >= 0x80 and self.utf8:
                length = utf8_length(at, end)
                if length == 0 and not self.over:
                    break
                if length < 0 or length > self.utf8:
                    problem[0] = BAD_UTF8
                    return False
                at = end if length == 0 else at + length
                continue
            if at[0] == self.lt[0]:
                found = self.matches(at, end, self.lt, self.nlt)
                if found == UNDECIDED:
                    break
                if found == THERE:
                    self.pos = at + self.nlt - p
                    return self.end_line(p, problem)
            at += 1
        self.pos = at - p
        if self.state == LINES_IGNORED:
            self.start = self.pos
        if not self.over:
            return False
        if self.state == LINES_IGNORED:
            self.state = FILE_OVER
            return True
        return self.end_row(p, problem)

    cdef bint end_line(self, const uint8_t* p, Problem* problem) noexcept nogil:
        if self.state == LINE_REST:
            return self.end_row(p, problem)
        self.start = self.pos
        self.skip -= 1
        if self.skip == 0:
            self.state = self.row_state()
        return True

    # ------------------------------------------------------------ the row's shard
    cdef Problem place(self) noexcept nogil:
        """All that is looked at has been read: where does the row go?"""
        cdef KeyValue keys[2]
        cdef Problem problem
        cdef int i, shard
        if self.id_watched >= 0 and not is_id(&self.watched[self.id_watched]):
            return ID_MADE
        for i in range(self.nkeys):
            problem = self.key_of(&self.watched[i], i, &keys[i])
            if problem != FINE:
                return problem
        shard = vindex_shard(self.v, keys)
        if shard < 0 or shard >= self.nshards:
            return KEY_NOWHERE
        self.out = self.output_of[shard]
        return FINE if self.out >= 0 else KEY_ELSEWHERE

    cdef Problem key_of(self, Watched* field, int column, KeyValue* key) noexcept nogil:
        """What the field leaves in the key's column, made canonical."""
        cdef uint8_t key_type = self.v.key_types[column]
        cdef uint64_t number
        cdef int n
        if field.null:
            return KEY_NULL
        if is_int_key(key_type):
            if not plain_number(field, key_type, &number):
                return KEY_UNPLAIN
            put_number(key, number)
        else:
            if field.length >= WATCHED_ROOM:
                return KEY_UNFIT
            if not self.raw[column] and not is_ascii(field.value, field.length) and (
                    self.v.ascii_only[column] or not is_utf8(field.value, field.length, self.utf8)):
                return KEY_CHARSET
            n = canonical_bytes(field.value, field.length, 0, key_type, key.bytes, KEY_ROOM)
            if n < 0:
                return KEY_CHARSET
            key.length = <uint32_t>n
            if <int64_t>key.length < self.v.low[column]:
                return KEY_UNFIT
        return FINE if fits(self.v, <uint8_t>column, key) else KEY_UNFIT


cdef bint plain_number(Watched* field, int key_type, uint64_t* number) noexcept nogil:
    """A whole number as everybody writes it; leading zeros change nothing."""
    cdef const uint8_t* p = field.value
    cdef uint32_t n = field.length
    cdef bint negative = n > 1 and p[0] == c'-'
    if n >= WATCHED_ROOM:
        return False
    p += negative
    n -= negative
    while n > 1 and p[0] == c'0':
        p += 1
        n -= 1
    return canonical_int_from_text(p, n, negative, key_type, number) == 0


cdef bint is_id(Watched* field) noexcept nogil:
    """A number of the file's own, for which no server makes another?"""
    cdef uint64_t number
    return not field.null and plain_number(field, KEY_INT_UNSIGNED, &number) and number != 0


cdef int utf8_length(const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Bytes of the character at p, which is not ASCII; 0: its end has not come; -1: it is none."""
    cdef int length, i
    if p[0] < 0xc2 or p[0] > 0xf4:
        return -1
    length = 2 if p[0] < 0xe0 else 3 if p[0] < 0xf0 else 4
    for i in range(1, length):
        if p + i == end:
            return 0
        if p[i] & 0xc0 != 0x80:
            return -1
    if (p[0] == 0xe0 and p[1] < 0xa0) or (p[0] == 0xed and p[1] > 0x9f) or (p[0] == 0xf0 and p[1] < 0x90) \
            or (p[0] == 0xf4 and p[1] > 0x8f):
        return -1
    return length


cdef bint is_utf8(const uint8_t* p, uint32_t n, int most) noexcept nogil:
    cdef const uint8_t* end = p + n
    cdef int length
    while p < end:
        length = 1 if p[0] < 0x80 else utf8_length(p, end)
        if length < 1 or length > most:
            return False
        p += length
    return True
