# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Rows of several servers put together: sliced where they lie, compared by keys of bytes, and never decoded.

A *key* is a byte string whose order is the server's order of the columns that it is made of: NULL first, numbers by
value, weight strings with PAD SPACE as SQL:2016 8.2 compares them. Equal keys mean equal values. So sorting,
grouping and DISTINCT compare and hash bytes.

Text rows: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_row.html
Binary rows: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html
"""
from os import urandom

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from _speedups.hashing cimport xxh64
from _speedups.packet cimport PACKET_MAX, u24, u32, u64
from _speedups.scanner cimport lenenc

cdef extern from "Python.h":
    double PyOS_string_to_double(const char* s, char** end, object overflow) except? -1.0

cdef enum Wire:
    """How a value lies in a binary row: so many bytes, or a length before it."""
    WIRE_TEXT = 0           # length-encoded; every value of a text row
    WIRE_TEMPORAL = 16      # one byte of length before it

KINDS = ("int", "uint", "float", "double", "decimal", "bytes", "padded", "temporal", "time")
"""How a column's values are ordered; the names that `Key` takes."""

cdef enum Kind:
    KIND_INT = 0
    KIND_UINT = 1
    KIND_FLOAT = 2
    KIND_DOUBLE = 3
    KIND_DECIMAL = 4
    KIND_BYTES = 5
    KIND_PADDED = 6
    KIND_TEMPORAL = 7
    KIND_TIME = 8

cdef dict _FIXED = {1: 1, 2: 2, 13: 2, 3: 4, 9: 4, 4: 4, 8: 8, 5: 8}
cdef set _TEMPORAL = {7, 10, 11, 12, 14}


class RowTooLong(ValueError):
    """A row of 16 MB or more, which comes in several packets."""


# --- a growing buffer ---------------------------------------------------------------------------------------

cdef struct Buffer:
    uint8_t* data
    size_t used
    size_t room


cdef int grow(Buffer* b, size_t more) except -1:
    cdef size_t wanted = b.used + more, room
    cdef uint8_t* data
    if wanted > b.room:
        room = wanted + wanted // 2 + 64
        data = <uint8_t*>realloc(b.data, room)
        if data == NULL:
            raise MemoryError
        b.data = data
        b.room = room
    return 0


cdef inline int put(Buffer* b, const uint8_t* p, size_t n) except -1:
    grow(b, n)
    memcpy(b.data + b.used, p, n)
    b.used += n
    return 0


cdef inline int put_byte(Buffer* b, uint8_t value) except -1:
    grow(b, 1)
    b.data[b.used] = value
    b.used += 1
    return 0


cdef inline int put_big(Buffer* b, uint64_t value) except -1:
    cdef int i
    grow(b, 8)
    for i in range(8):
        b.data[b.used + i] = <uint8_t>(value >> (56 - 8 * i))
    b.used += 8
    return 0


# --- slicing ------------------------------------------------------------------------------------------------

cdef struct Cell:
    const uint8_t* at       # the value, without its length
    uint32_t size
    bint null
    uint32_t begin          # where it begins in the row, its length before it included
    uint32_t end


cdef class Shape:
    """How rows lie: `types` (MYSQL_TYPE_*) of their columns, in which protocol, and how many are the client's."""

    cdef readonly int columns, visible
    cdef readonly bint binary
    cdef int* wire

    def __cinit__(self, list types not None, bint binary, int visible):
        self.columns = len(types)
        self.visible = visible
        self.binary = binary
        if not 0 <= visible <= self.columns:
            raise ValueError("more visible columns than there are")
        self.wire = <int*>malloc(max(1, self.columns) * sizeof(int))
        if self.wire == NULL:
            raise MemoryError
        for index, kind in enumerate(types):
            self.wire[index] = WIRE_TEXT
            if binary:
                self.wire[index] = WIRE_TEMPORAL if kind in _TEMPORAL else _FIXED.get(kind, WIRE_TEXT)

    def __dealloc__(self):
        free(self.wire)

    cdef int slice(self, const uint8_t* p, size_t n, Cell* cells) except -1:
        """Where the columns of one row are. Raises ValueError for what is no such row."""
        cdef size_t at = 0
        cdef uint64_t size = 0
        cdef int index
        cdef const uint8_t* nulls = p + 1
        if self.binary:
            at = 1 + (self.columns + 9) // 8
            if n < at or p[0] != 0:
                raise ValueError("not a binary row")
        for index in range(self.columns):
            cells[index].begin = <uint32_t>at
            if self.binary:
                cells[index].null = nulls[(index + 2) // 8] >> ((index + 2) % 8) & 1
            else:
                cells[index].null = at < n and p[at] == 0xfb
                at += cells[index].null
            if cells[index].null:
                size = 0
            elif self.wire[index] == WIRE_TEXT:
                if not lenenc(p, n, &at, &size):
                    raise ValueError("a cut row")
            elif self.wire[index] == WIRE_TEMPORAL:
                if at >= n:
                    raise ValueError("a cut row")
                size = p[at]
                at += 1
            else:
                size = self.wire[index]
            if size > n - at:
                raise ValueError("a cut row")
            cells[index].at = p + at
            cells[index].size = <uint32_t>size
            at += size
            cells[index].end = <uint32_t>at
        if at != n:
            raise ValueError("bytes behind the last column of a row")
        return 0

    def cells(self, bytes row not None) -> list:
        """The values of one row as they lie, None for NULL."""
        cdef Cell* cells = <Cell*>malloc(max(1, self.columns) * sizeof(Cell))
        cdef int index
        if cells == NULL:
            raise MemoryError
        try:
            self.slice(row, len(row), cells)
            return [None if cells[index].null else cells[index].at[:cells[index].size] for index in range(self.columns)]
        finally:
            free(cells)

    cdef int emit(self, Buffer* out, const uint8_t* p, Cell* cells) except -1:
        """A row packet of the client's columns: those at the end are cut off. Its number is 0."""
        cdef size_t head = out.used, begin, end
        cdef int used = (self.visible + 9) // 8, had = (self.columns + 9) // 8
        grow(out, 4)
        out.used += 4
        begin = 1 + had if self.binary else 0
        end = cells[self.visible - 1].end if self.visible else begin
        if self.binary:
            put_byte(out, 0)
            put(out, p + 1, used)
            if (self.visible + 2) % 8:
                out.data[out.used - 1] &= (1 << ((self.visible + 2) % 8)) - 1
        put(out, p + begin, end - begin)
        set_head(out, head)
        return 0


cdef inline void set_head(Buffer* out, size_t head) noexcept:
    cdef size_t size = out.used - head - 4
    out.data[head] = size & 0xff
    out.data[head + 1] = (size >> 8) & 0xff
    out.data[head + 2] = (size >> 16) & 0xff
    out.data[head + 3] = 0


# --- keys ---------------------------------------------------------------------------------------------------

cdef struct Part:
    int column
    int kind
    bint descending
    int unit                # bytes of one weight
    uint8_t pad[4]          # the weight of a space


cdef class Encoder:
    """Makes keys of rows. `parts`: (column, kind of KINDS, descending, weight of a space) each."""

    cdef Part* parts
    cdef int count
    cdef bint binary

    def __cinit__(self, list parts not None, bint binary):
        cdef int index
        cdef bytes pad
        self.count = len(parts)
        self.binary = binary
        self.parts = <Part*>malloc(max(1, self.count) * sizeof(Part))
        if self.parts == NULL:
            raise MemoryError
        for index, (column, kind, descending, pad) in enumerate(parts):
            self.parts[index].column = column
            self.parts[index].kind = KINDS.index(kind)
            self.parts[index].descending = descending
            self.parts[index].unit = len(pad)
            if len(pad) > 4 or (kind == "padded" and not pad):
                raise ValueError("the weight of a space")
            memcpy(self.parts[index].pad, <const uint8_t*>pad, len(pad))

    def __dealloc__(self):
        free(self.parts)

    @property
    def columns(self):
        return [self.parts[index].column for index in range(self.count)]

    cdef int encode(self, Buffer* key, Cell* cells) except -1:
        """Appends the key of a row."""
        cdef int index
        for index in range(self.count):
            self.encode_part(key, &self.parts[index], &cells[self.parts[index].column])
        return 0

    cdef int encode_part(self, Buffer* key, Part* part, Cell* cell) except -1:
        cdef size_t begin = key.used, at
        if cell.null:
            put_byte(key, 0)
        else:
            put_byte(key, 1)
            self.encode_value(key, part, cell)
        if part.descending:
            for at in range(begin, key.used):
                key.data[at] = ~key.data[at]
        return 0

    cdef int encode_value(self, Buffer* key, Part* part, Cell* cell) except -1:
        cdef uint64_t bits = 0
        cdef double number
        if part.kind == KIND_INT:
            put_big(key, <uint64_t>integer(cell, self.binary, True) ^ (<uint64_t>1 << 63))
        elif part.kind == KIND_UINT:
            put_big(key, <uint64_t>integer(cell, self.binary, False))
        elif part.kind == KIND_FLOAT or part.kind == KIND_DOUBLE:
            number = floating(cell, self.binary, part.kind) + 0.0
            if number == 0:
                number = 0.0
            memcpy(&bits, &number, 8)
            put_big(key, ~bits if bits >> 63 else bits | (<uint64_t>1 << 63))
        elif part.kind == KIND_DECIMAL:
            encode_decimal(key, cell.at, cell.size)
        elif part.kind == KIND_PADDED:
            encode_padded(key, part, cell.at, cell.size)
        elif part.kind == KIND_TIME:
            put_big(key, <uint64_t>duration(cell, self.binary) ^ (<uint64_t>1 << 63))
        elif part.kind == KIND_TEMPORAL and self.binary:
            encode_moment(key, cell.at, cell.size)
        else:
            encode_bytes(key, cell.at, cell.size)
        return 0


cdef int64_t integer(Cell* cell, bint binary, bint signed) except? -1:
    """The value, a signed one extended to 64 bits; unsigned ones as their bits."""
    cdef uint64_t value = 0
    cdef uint32_t i = 0
    cdef bint negative = False
    if binary:
        if cell.size == 8:
            return <int64_t>u64(cell.at)
        if cell.size > 8:
            raise ValueError("not a whole number")
        for i in range(cell.size):
            value |= <uint64_t>cell.at[i] << (8 * i)
        if signed and cell.size and cell.at[cell.size - 1] >> 7:
            value |= ~<uint64_t>0 << (8 * cell.size)
        return <int64_t>value
    if cell.size and cell.at[0] == c"-":
        negative = True
        i = 1
    while i < cell.size:
        if not c"0" <= cell.at[i] <= c"9":
            raise ValueError("not a whole number")
        value = value * 10 + (cell.at[i] - c"0")
        i += 1
    return -<int64_t>value if negative else <int64_t>value


cdef double floating(Cell* cell, bint binary, int kind) except? -1:
    cdef double number = 0
    cdef float small = 0
    cdef bytes text
    if not binary:
        text = cell.at[:cell.size]
        return PyOS_string_to_double(text, NULL, ValueError)
    if cell.size != (4 if kind == KIND_FLOAT else 8):
        raise ValueError("not a number of this length")
    if kind == KIND_FLOAT:
        memcpy(&small, cell.at, 4)
        return small
    memcpy(&number, cell.at, 8)
    return number


cdef int64_t duration(Cell* cell, bint binary) except? -1:
    """Microseconds of a TIME: [-]hhh:mm:ss[.ffffff], or sign, days, h, m, s, µs."""
    cdef const uint8_t* p = cell.at
    cdef int64_t total = 0, part = 0
    cdef uint32_t i = 0, _
    cdef bint negative = False
    if binary:
        if cell.size == 0:
            return 0
        if cell.size < 8:
            raise ValueError("a cut TIME")
        total = (((<int64_t>u32(p + 1) * 24 + p[5]) * 60 + p[6]) * 60 + p[7]) * 1000000
        if cell.size >= 12:
            total += u32(p + 8)
        return -total if p[0] else total
    if cell.size and p[0] == c"-":
        negative = True
        i = 1
    while i < cell.size and p[i] != c".":
        if p[i] == c":":
            total = (total + part) * 60
            part = 0
        else:
            part = part * 10 + (p[i] - c"0")
        i += 1
    total += part
    part = 0
    i += 1
    for _ in range(6):
        part = part * 10 + (p[i] - c"0" if i < cell.size else 0)
        i += 1
    total = total * 1000000 + part
    return -total if negative else total


cdef int encode_moment(Buffer* key, const uint8_t* p, uint32_t n) except -1:
    """A DATE or DATETIME of the binary protocol, whose zero parts at the end are left out."""
    cdef uint8_t moment[11]
    cdef int i
    for i in range(11):
        moment[i] = 0
    if n >= 4:
        moment[0], moment[1], moment[2], moment[3] = p[1], p[0], p[2], p[3]
    if n >= 7:
        moment[4], moment[5], moment[6] = p[4], p[5], p[6]
    if n >= 11:
        moment[7], moment[8], moment[9], moment[10] = p[10], p[9], p[8], p[7]
    return put(key, moment, 11)


cdef int encode_bytes(Buffer* key, const uint8_t* p, size_t n) except -1:
    """0x00 becomes 0x00 0xff, and 0x00 0x00 ends it: a prefix sorts before what it begins."""
    cdef size_t i
    for i in range(n):
        put_byte(key, p[i])
        if p[i] == 0:
            put_byte(key, 0xff)
    put_byte(key, 0)
    return put_byte(key, 0)


cdef enum Rank:
    RANK_LOWER = 1          # a weight below the space's
    RANK_PAD_LOWER = 2      # a space, and behind the run of spaces a lower weight
    RANK_END = 3            # only spaces from here on, without end
    RANK_PAD_HIGHER = 4
    RANK_HIGHER = 5


cdef int encode_padded(Buffer* key, Part* part, const uint8_t* p, size_t n) except -1:
    """Weights of a PAD SPACE collation: the shorter one is as if spaces followed it without end."""
    cdef size_t at = 0, run, unit = part.unit
    cdef int order
    if n % unit:
        raise ValueError("weights of another length than the space's")
    while n >= unit and memcmp(p + n - unit, part.pad, unit) == 0:
        n -= unit
    while at < n:
        order = memcmp(p + at, part.pad, unit)
        if order:
            put_byte(key, RANK_HIGHER if order > 0 else RANK_LOWER)
            put(key, p + at, unit)
            at += unit
            continue
        run = at
        while memcmp(p + run, part.pad, unit) == 0:
            run += unit
        order = memcmp(p + run, part.pad, unit)
        while at < run:
            put_byte(key, RANK_PAD_HIGHER if order > 0 else RANK_PAD_LOWER)
            at += unit
    return put_byte(key, RANK_END)


cdef int encode_decimal(Buffer* key, const uint8_t* p, size_t n) except -1:
    """Sign, number of whole digits, digits; of a negative number all bits turned."""
    cdef bint negative = n > 0 and p[0] == c"-"
    cdef size_t i = 1 if negative else 0, point, end = n, begin
    while i < n and p[i] == c"0":
        i += 1
    point = i
    while point < n and p[point] != c".":
        if not c"0" <= p[point] <= c"9":
            raise ValueError("not a decimal number")
        point += 1
    while end > point and (p[end - 1] == c"0" or p[end - 1] == c"."):
        end -= 1
    if i == point and end <= point:
        return put_byte(key, 2)
    put_byte(key, 1 if negative else 3)
    begin = key.used
    put_byte(key, <uint8_t>(point - i))
    put(key, p + i, point - i)
    if end > point:
        put(key, p + point + 1, end - point - 1)
    put_byte(key, 0)
    if negative:
        for i in range(begin, key.used):
            key.data[i] = ~key.data[i]
    return 0


# --- reading packets ----------------------------------------------------------------------------------------

cdef class Reader:
    """Steps through whole row packets: `next` puts the next row's cells at hand."""

    cdef Shape shape
    cdef Cell* cells
    cdef object data
    cdef const uint8_t* bytes
    cdef size_t size, at
    cdef const uint8_t* row
    cdef size_t length

    def __cinit__(self, Shape shape not None):
        self.shape = shape
        self.cells = <Cell*>malloc(max(1, shape.columns) * sizeof(Cell))
        if self.cells == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.cells)

    cdef give(self, object data):
        self.data = data if isinstance(data, bytes) else bytes(data)
        self.size = len(self.data)
        self.bytes = <const uint8_t*><bytes>self.data
        self.at = 0

    cdef bint next(self) except -1:
        """False when nothing is left."""
        cdef uint32_t size
        if self.at + 4 > self.size:
            return False
        size = u24(self.bytes + self.at)
        if size >= PACKET_MAX:
            raise RowTooLong("a row of 16 MB or more")
        if self.at + 4 + size > self.size:
            raise ValueError("a cut packet")
        self.row = self.bytes + self.at + 4
        self.length = size
        self.shape.slice(self.row, size, self.cells)
        self.at += 4 + size
        return True


# --- what goes on to the client -----------------------------------------------------------------------------

cdef class Funnel:
    """Takes rows in their final order and keeps what the client gets: the first of equal ones (`distinct`), none of
    the first `skip`, `left` at most (-1: all), without helper columns. `held`: bytes kept for DISTINCT."""

    cdef readonly Shape shape
    cdef Encoder distinct
    cdef set seen
    cdef readonly int64_t skip, left
    cdef readonly uint64_t held, rows
    cdef Buffer out
    cdef Buffer key

    def __cinit__(self, Shape shape not None, Encoder distinct=None, int64_t skip=0, int64_t left=-1):
        self.shape = shape
        self.distinct = distinct
        self.seen = set()
        self.skip = skip
        self.left = left

    def __dealloc__(self):
        free(self.out.data)
        free(self.key.data)

    @property
    def full(self):
        """Nothing more is wanted."""
        return self.left == 0

    @property
    def waiting(self):
        """Bytes that `take` would give."""
        return self.out.used

    def take(self):
        """-> whole row packets as a bytearray."""
        cdef bytearray packets = bytearray(PyBytes_FromStringAndSize(<char*>self.out.data, self.out.used))
        self.out.used = 0
        return packets

    cdef int pour(self, const uint8_t* row, Cell* cells) except -1:
        cdef bytes key
        if self.left == 0:
            return 0
        if self.distinct is not None:
            self.key.used = 0
            self.distinct.encode(&self.key, cells)
            key = PyBytes_FromStringAndSize(<char*>self.key.data, self.key.used)
            if key in self.seen:
                return 0
            self.seen.add(key)
            self.held += self.key.used + KEY_COST
        if self.skip > 0:
            self.skip -= 1
            return 0
        if self.left > 0:
            self.left -= 1
        self.rows += 1
        return self.shape.emit(&self.out, row, cells)

KEY_COST = 100
"""What a key that is kept costs besides its bytes, roughly."""


cdef class Concatenation:
    """Rows one run after the other, as they come, into a funnel."""

    cdef Funnel funnel
    cdef Reader reader

    def __cinit__(self, Funnel funnel not None):
        self.funnel = funnel
        self.reader = Reader(funnel.shape)

    def feed(self, object packets):
        self.reader.give(packets)
        while self.funnel.left != 0 and self.reader.next():
            self.funnel.pour(self.reader.row, self.reader.cells)


cdef class Merge:
    """Sorted runs merged into a funnel, streaming. Rows of equal keys come in the order of their runs.

    While `wanting` names a run, it must be fed or finished; then `advance` goes on.
    """

    cdef Funnel funnel
    cdef Encoder order
    cdef list readers
    cdef int count
    cdef Buffer* keys
    cdef uint8_t* state         # of each run
    cdef readonly int wanting

    def __cinit__(self, Funnel funnel not None, Encoder order not None, int runs):
        cdef int run, _
        self.funnel = funnel
        self.order = order
        self.count = runs
        self.readers = [Reader(funnel.shape) for _ in range(runs)]
        self.keys = <Buffer*>malloc(max(1, runs) * sizeof(Buffer))
        self.state = <uint8_t*>malloc(max(1, runs))
        if self.keys == NULL or self.state == NULL:
            raise MemoryError
        for run in range(runs):
            self.keys[run].data = NULL
            self.keys[run].used = self.keys[run].room = 0
            self.state[run] = RUN_WANTING
        self.wanting = 0 if runs else -1

    def __dealloc__(self):
        cdef int run
        if self.keys != NULL:
            for run in range(self.count):
                free(self.keys[run].data)
        free(self.keys)
        free(self.state)

    def feed(self, int run, object packets):
        """More rows of a run that is wanting."""
        if not 0 <= run < self.count or self.state[run] != RUN_WANTING:
            raise ValueError("rows that nobody waits for")
        (<Reader>self.readers[run]).give(packets)
        self.step(run)
        self.look()

    def finish(self, int run):
        """A run has no more rows."""
        self.state[run] = RUN_FINISHED
        self.look()

    def advance(self, size_t bytes_at_once=1 << 16):
        """Merge until a run is wanting, the funnel is full, nothing is left, or so many bytes wait in the funnel."""
        cdef int best, run
        cdef Reader reader
        while self.wanting < 0 and self.funnel.left != 0 and self.funnel.out.used < bytes_at_once:
            best = -1
            for run in range(self.count):
                if self.state[run] == RUN_READY and (best < 0 or self.before(run, best)):
                    best = run
            if best < 0:
                return
            reader = <Reader>self.readers[best]
            self.funnel.pour(reader.row, reader.cells)
            self.step(best)
            if self.state[best] == RUN_WANTING:
                self.wanting = best

    @property
    def done(self):
        """Every run is finished and merged, or the funnel is full."""
        cdef int run
        if self.funnel.left == 0:
            return True
        for run in range(self.count):
            if self.state[run] != RUN_FINISHED:
                return False
        return True

    cdef int step(self, int run) except -1:
        cdef Reader reader = <Reader>self.readers[run]
        if reader.next():
            self.keys[run].used = 0
            self.order.encode(&self.keys[run], reader.cells)
            self.state[run] = RUN_READY
        else:
            self.state[run] = RUN_WANTING
        return 0

    cdef look(self):
        cdef int run
        self.wanting = -1
        for run in range(self.count):
            if self.state[run] == RUN_WANTING:
                self.wanting = run
                return

    cdef bint before(self, int one, int other) noexcept:
        """Keys are such that none is the beginning of another, unless they are equal."""
        cdef size_t n = min(self.keys[one].used, self.keys[other].used)
        return memcmp(self.keys[one].data, self.keys[other].data, n) < 0

cdef enum RunState:
    RUN_WANTING = 0
    RUN_READY = 1
    RUN_FINISHED = 2


def keys_of(Shape shape not None, Encoder order not None, object packets) -> list:
    """The key of every row, for tests and for what is sorted whole."""
    cdef Reader reader = Reader(shape)
    cdef Buffer key
    cdef list found = []
    key.data = NULL
    key.used = key.room = 0
    reader.give(packets)
    try:
        while reader.next():
            key.used = 0
            order.encode(&key, reader.cells)
            found.append(PyBytes_FromStringAndSize(<char*>key.data, key.used))
    finally:
        free(key.data)
    return found


include "rows_slots.pxi"
include "rows_groups.pxi"
