# Partial groups of several shards put together: one row for each group, of the same columns as the shards' rows.

OPERATIONS = (
    "count", "sum", "min", "max", "and", "or", "xor", "average", "deviation", "distinct_count", "distinct_sum",
    "distinct_average", "collect",
)
"""What becomes of a column when groups are put together; a column with none of them is the first row's."""

cdef list _TEN = [int("1" + "0" * power) for power in range(100)]     # 10 ** int is a double here

cdef enum Operation:
    OP_COUNT = 0
    OP_SUM = 1
    OP_MIN = 2
    OP_MAX = 3
    OP_AND = 4
    OP_OR = 5
    OP_XOR = 6
    OP_AVERAGE = 7
    OP_DEVIATION = 8
    OP_DISTINCT_COUNT = 9
    OP_DISTINCT_SUM = 10
    OP_DISTINCT_AVERAGE = 11
    OP_COLLECT = 12

GROUP_COST = 400
"""What a group costs besides its row and its key, roughly."""


cdef class Combine:
    """How one column is combined. `column`: which; `sources`: the columns that it is computed from (itself where none
    are given); `key`: by what MIN and MAX compare and DISTINCT tells values apart; `real`: the sources are DOUBLE,
    else DECIMAL of `scale` digits; `decimals`: of the column itself (31: as many as it takes).

    'average': (sum, count). 'deviation': (count, mean, population variance), of a `sample`, and its `root`.
    'collect': each part's cells of the columns `taken` go to a collector of the group (`router.engine.collecting`),
    with its keys by `order` and by `key`.
    """

    cdef int operation, column, first, second, third, scale, decimals
    cdef bint real, sample, root
    cdef Encoder key, order
    cdef list taken
    cdef object collector

    def __cinit__(
        self, str operation, int column, tuple sources=(), Encoder key=None, bint real=False, int scale=0,
        int decimals=0, bint sample=False, bint root=False, Encoder order=None, list taken=None,
        object collector=None,
    ):
        self.operation = OPERATIONS.index(operation)
        self.column = column
        sources = sources or (column,)
        self.first = sources[0]
        self.second = sources[1] if len(sources) > 1 else -1
        self.third = sources[2] if len(sources) > 2 else -1
        self.key = key
        self.real = real
        self.scale = scale
        self.decimals = decimals
        self.sample = sample
        self.root = root
        self.order = order
        self.taken = taken
        self.collector = collector


cdef class Group:
    cdef bytes row
    cdef list values


cdef class Groups:
    """Groups by key, in the order in which they first came. `alone`: there is one group even of no rows."""

    cdef Shape shape
    cdef Encoder key
    cdef list combines
    cdef int count
    cdef bint alone
    cdef dict groups
    cdef Reader reader
    cdef Buffer buffer
    cdef Cell* cells
    cdef readonly uint64_t held
    cdef readonly uint64_t cut
    """Values that group_concat_max_len made shorter."""

    def __cinit__(self, Shape shape not None, Encoder key, list combines not None):
        self.shape = shape
        self.key = key
        self.alone = key is None
        self.combines = combines
        self.count = len(combines)
        self.groups = {}
        self.reader = Reader(shape)
        self.cells = <Cell*>malloc(max(1, shape.columns) * sizeof(Cell))
        if self.cells == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.cells)
        free(self.buffer.data)

    def __len__(self):
        return len(self.groups)

    def feed(self, object packets):
        """Partial groups of one shard. Raises ValueError for values that are not what their column says."""
        cdef Group group
        cdef bytes key = b""
        cdef object found
        cdef Reader reader = self.reader
        cdef int index
        reader.give(packets)
        while reader.next():
            if self.key is not None:
                self.buffer.used = 0
                self.key.encode(&self.buffer, reader.cells)
                key = PyBytes_FromStringAndSize(<char*>self.buffer.data, self.buffer.used)
            found = self.groups.get(key)
            if found is None:
                group = Group()
                group.row = PyBytes_FromStringAndSize(<const char*>reader.row, reader.length)
                group.values = [None] * self.count
                self.groups[key] = group
                self.held += len(key) + len(group.row) + GROUP_COST
            else:
                group = <Group>found
            for index in range(self.count):
                self.add(<Combine>self.combines[index], group.values, index, reader.cells)

    cdef int add(self, Combine one, list values, int index, Cell* cells) except -1:
        cdef Cell* cell = &cells[one.first]
        cdef object old = values[index]
        cdef int operation = one.operation
        if operation == OP_COLLECT:
            self.collect(one, values, index, cells)
        elif operation == OP_DEVIATION:
            self.spread(one, values, index, cells)
        elif operation >= OP_DISTINCT_COUNT:
            self.tell_apart(one, values, index, cells)
        elif cell.null:
            return 0
        elif operation == OP_COUNT:
            values[index] = integer(cell, self.shape.binary, True) + (0 if old is None else old)
        elif operation == OP_SUM:
            values[index] = self.number(one, cell) + (0 if old is None else old)
        elif operation == OP_MIN or operation == OP_MAX:
            self.compare(one, values, index, cells)
        elif operation == OP_AVERAGE:
            if old is None:
                old = values[index] = [0, 0]
            old[0] += self.number(one, cell)
            old[1] += integer(&cells[one.second], self.shape.binary, True)
        else:
            self.bits(one, values, index, <uint64_t>integer(cell, self.shape.binary, False))
        return 0

    cdef object number(self, Combine one, Cell* cell):
        """A DOUBLE, or a DECIMAL times ten to the scale."""
        if one.real:
            return floating(cell, self.shape.binary, KIND_DOUBLE)
        return scaled(cell.at, cell.size, one.scale)

    cdef int compare(self, Combine one, list values, int index, Cell* cells) except -1:
        cdef Cell* cell = &cells[one.column]
        cdef object old = values[index]
        cdef int order
        self.buffer.used = 0
        one.key.encode(&self.buffer, cells)
        if old is not None:
            order = compared(&self.buffer, <bytes>(<tuple>old)[0])
            if (order >= 0) if one.operation == OP_MIN else (order <= 0):
                return 0
        else:
            self.held += self.buffer.used + cell.size
        values[index] = (
            PyBytes_FromStringAndSize(<char*>self.buffer.data, self.buffer.used), <bytes>cell.at[:cell.size]
        )
        return 0

    cdef int bits(self, Combine one, list values, int index, uint64_t value) except -1:
        cdef object old = values[index]
        if old is None:
            values[index] = value
        elif one.operation == OP_AND:
            values[index] = value & <uint64_t>old
        elif one.operation == OP_OR:
            values[index] = value | <uint64_t>old
        else:
            values[index] = value ^ <uint64_t>old
        return 0

    cdef int tell_apart(self, Combine one, list values, int index, Cell* cells) except -1:
        """One more value of an aggregate over DISTINCT values; rows with a NULL among them do not count."""
        cdef object old = values[index]
        cdef bytes key
        cdef int part
        if old is None:
            old = values[index] = [set(), 0]
        for part in range(one.key.count):
            if cells[one.key.parts[part].column].null:
                return 0
        self.buffer.used = 0
        one.key.encode(&self.buffer, cells)
        key = PyBytes_FromStringAndSize(<char*>self.buffer.data, self.buffer.used)
        if key not in old[0]:
            old[0].add(key)
            self.held += len(key) + KEY_COST
            if one.operation != OP_DISTINCT_COUNT:
                old[1] += self.number(one, &cells[one.first])
        return 0

    cdef int collect(self, Combine one, list values, int index, Cell* cells) except -1:
        cdef int column
        cdef list taken = []
        if values[index] is None:
            values[index] = one.collector()
        for column in one.taken:
            taken.append(None if cells[column].null else <bytes>cells[column].at[:cells[column].size])
        self.held += values[index].add(self.key_of(one.order, cells), self.key_of(one.key, cells), taken)
        return 0

    cdef bytes key_of(self, Encoder encoder, Cell* cells):
        self.buffer.used = 0
        encoder.encode(&self.buffer, cells)
        return PyBytes_FromStringAndSize(<char*>self.buffer.data, self.buffer.used)

    cdef int spread(self, Combine one, list values, int index, Cell* cells) except -1:
        """Count, mean and sum of squared differences of two parts together (Chan, Golub, LeVeque 1979)."""
        cdef object old = values[index]
        cdef double n = <double>integer(&cells[one.first], self.shape.binary, True), mean, squares, had, delta
        if n == 0:
            return 0
        mean = floating(&cells[one.second], self.shape.binary, KIND_DOUBLE)
        squares = floating(&cells[one.third], self.shape.binary, KIND_DOUBLE) * n
        if old is not None:
            had = old[0]
            delta = mean - <double>old[1]
            squares += <double>old[2] + delta * delta * had * n / (had + n)
            mean = <double>old[1] + delta * n / (had + n)
            n += had
        values[index] = (n, mean, squares)
        return 0

    # --- the answer -----------------------------------------------------------------------------------------

    def rows(self):
        """-> every group's row packet (a bytearray), in the order in which the groups came."""
        cdef Buffer out
        cdef Group group
        out.data = NULL
        out.used = out.room = 0
        try:
            if self.alone and not self.groups:
                group = Group()
                group.row = self.nothing()
                group.values = [None] * self.count
                self.write(&out, group)
            for found in self.groups.values():
                self.write(&out, <Group>found)
            return bytearray(PyBytes_FromStringAndSize(<char*>out.data, out.used))
        finally:
            free(out.data)

    cdef bytes nothing(self):
        """A row of NULLs."""
        if not self.shape.binary:
            return b"\xfb" * self.shape.columns
        return b"\0" + b"\xff" * ((self.shape.columns + 9) // 8)

    cdef int write(self, Buffer* out, Group group) except -1:
        cdef int index
        cdef dict put_in = {}
        for index in range(self.count):
            put_in[(<Combine>self.combines[index]).column] = self.finish(
                <Combine>self.combines[index], group.values[index]
            )
        self.shape.slice(<const uint8_t*>group.row, len(group.row), self.cells)
        return put_row(out, self.shape, <const uint8_t*>group.row, self.cells, put_in)

    cdef object finish(self, Combine one, object value):
        """The value as it lies in a row, without its length; None for NULL."""
        cdef int operation = one.operation
        if operation == OP_COUNT:
            return self.whole(0 if value is None else value)
        if operation == OP_DISTINCT_COUNT:
            return self.whole(0 if value is None else len(value[0]))
        if operation == OP_AND or operation == OP_OR or operation == OP_XOR:
            return self.whole(((1 << 64) - 1 if operation == OP_AND else 0) if value is None else value)
        if value is None:
            return None
        if operation == OP_COLLECT:
            found = value.value()
            self.cut += value.cut
            return found
        if operation == OP_MIN or operation == OP_MAX:
            return value[1]
        if operation == OP_SUM:
            return self.exact(value, one, 1)
        if operation == OP_AVERAGE:
            return self.exact(value[0], one, value[1])
        if operation == OP_DEVIATION:
            return self.deviation(one, value)
        if not value[0]:
            return None
        return self.exact(value[1], one, 1 if operation == OP_DISTINCT_SUM else len(value[0]))

    cdef bytes whole(self, object value):
        if self.shape.binary:
            return (value & 0xffffffffffffffff).to_bytes(8, "little")
        return b"%d" % value

    cdef object exact(self, object total, Combine one, object count):
        """A sum or a mean, of DECIMAL rounded half away from zero to the column's digits."""
        if count == 0:
            return None
        if one.real:
            return self.double(<double>total / <double>count, one.decimals)
        if count != 1 or one.decimals != one.scale:
            total = divided(total, count, one.decimals - one.scale)
        return decimal_text(total, one.decimals)

    cdef object deviation(self, Combine one, tuple value):
        cdef double n = value[0], squares = value[2], result
        if one.sample and n < 2:
            return None
        result = squares / (n - 1 if one.sample else n)
        return self.double(result ** 0.5 if one.root else result, one.decimals)

    cdef bytes double(self, double value, int decimals):
        if self.shape.binary:
            return (<char*>&value)[:8]
        return double_text(value, decimals)


cdef int put_row(Buffer* out, Shape shape, const uint8_t* row, Cell* cells, dict put_in) except -1:
    """A row packet with other values in some of its columns: column -> the value as it lies, None for NULL."""
    cdef size_t head = out.used, nulls
    cdef int column, index
    cdef object value
    grow(out, 8 + (shape.columns + 9) // 8)
    out.used += 4
    nulls = out.used + 1
    if shape.binary:
        put_byte(out, 0)
        for index in range((shape.columns + 9) // 8):
            put_byte(out, 0)
    for column in range(shape.columns):
        if column in put_in:
            value = put_in[column]
            if value is None:
                put_null(out, shape, nulls, column)
            else:
                put_value(out, shape, column, <bytes>value)
        elif cells[column].null:
            put_null(out, shape, nulls, column)
        else:
            put(out, row + cells[column].begin, cells[column].end - cells[column].begin)
    if out.used - head - 4 >= PACKET_MAX:
        raise RowTooLong("a row of 16 MB or more")
    set_head(out, head)
    return 0


cdef int put_null(Buffer* out, Shape shape, size_t nulls, int column) except -1:
    if not shape.binary:
        return put_byte(out, 0xfb)
    out.data[nulls + (column + 2) // 8] |= 1 << ((column + 2) % 8)
    return 0


cdef int put_value(Buffer* out, Shape shape, int column, bytes value) except -1:
    if shape.wire[column] == WIRE_TEXT:
        put_length(out, len(value))
    elif shape.wire[column] == WIRE_TEMPORAL:
        put_byte(out, <uint8_t>len(value))
    elif len(value) != shape.wire[column]:
        raise ValueError("a value of another size than its column's")
    return put(out, <const uint8_t*>value, len(value))


def with_cells(Shape shape not None, object packets, list columns not None, list rows not None) -> bytearray:
    """The same row packets with other values in `columns`: of each row of `rows` as they lie, None for NULL."""
    cdef Reader reader = Reader(shape)
    cdef Buffer out
    cdef int at = 0
    out.data = NULL
    out.used = out.room = 0
    reader.give(packets)
    try:
        while reader.next():
            put_row(&out, shape, reader.row, reader.cells, dict(zip(columns, rows[at], strict=True)))
            at += 1
        return bytearray(PyBytes_FromStringAndSize(<char*>out.data, out.used))
    finally:
        free(out.data)


cdef inline int compared(Buffer* key, bytes other) noexcept:
    """As bytes are ordered: negative where `key` comes first."""
    cdef size_t size = PyBytes_GET_SIZE(other)
    cdef int order = memcmp(key.data, PyBytes_AS_STRING(other), min(key.used, size))
    return order if order else (key.used > size) - (key.used < size)


cdef int put_length(Buffer* out, size_t n) except -1:
    cdef int size, i
    if n < 0xfb:
        return put_byte(out, <uint8_t>n)
    size = 2 if n < 1 << 16 else 3 if n < 1 << 24 else 8
    put_byte(out, 0xfc if size == 2 else 0xfd if size == 3 else 0xfe)
    for i in range(size):
        put_byte(out, (n >> (8 * i)) & 0xff)
    return 0


cdef object scaled(const uint8_t* p, size_t n, int scale):
    """A decimal number of at most `scale` digits behind its point, times ten to the scale."""
    cdef int64_t small = 0
    cdef size_t i = 0, digits = 0
    cdef int behind = 0
    cdef bint negative = False, point = False
    if n and p[0] == c"-":
        negative = True
        i = 1
    if n - i > 18:
        text = (<const char*>p)[:n].decode("ascii")
        whole, _, part = text.partition(".")
        return int(whole + part) * _TEN[scale - len(part)]
    while i < n:
        if p[i] == c".":
            point = True
        elif c"0" <= p[i] <= c"9":
            small = small * 10 + (p[i] - c"0")
            behind += point
            digits += 1
        else:
            raise ValueError("not a decimal number")
        i += 1
    if digits == 0 or behind > scale:
        raise ValueError("not a decimal number of its column")
    if negative:
        small = -small
    return small if behind == scale else small * _TEN[scale - behind]


def divided(total, count, int more):
    """total * 10**more / count, rounded half away from zero; `more` may be negative."""
    sign = -1 if total < 0 else 1
    total = abs(total)
    if more >= 0:
        total *= _TEN[more]
    else:
        count *= _TEN[-more]
    return sign * ((2 * total + count) // (2 * count))


def decimal_text(value, int scale) -> bytes:
    """A whole number divided by ten to the scale, as servers write DECIMAL."""
    if scale <= 0:
        return b"%d" % value
    digits = str(abs(value)).zfill(scale + 1)
    return f"{'-' if value < 0 else ''}{digits[:-scale]}.{digits[-scale:]}".encode()


def double_text(double value, int decimals) -> bytes:
    """A DOUBLE as servers write it in text rows (my_gcvt of strings/dtoa.c): the shortest digits that mean it, plain up
    to 15 places before the point and 14 zeros behind it."""
    if decimals < 31:
        return f"{value:.{decimals}f}".encode()
    if value == 0:
        return b"0"
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, part = mantissa.partition(".")
    part = part if part != "0" else ""
    digits = (whole + part).lstrip("0")
    point = (len(whole) if whole != "0" else len(digits) - len(part)) + int(exponent or 0)
    digits = digits.rstrip("0") or "0"
    sign = "-" if value < 0 else ""
    if not -14 <= point <= 15:
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}e{point - 1}".encode()
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}".encode()
    if len(digits) <= point:
        return f"{sign}{digits}{'0' * (point - len(digits))}".encode()
    return f"{sign}{digits[:point]}.{digits[point:]}".encode()


def sorted_rows(Shape shape not None, Encoder order not None, object packets) -> bytearray:
    """All row packets in the order of their keys; equal ones stay in theirs."""
    cdef Reader reader = Reader(shape)
    cdef Buffer key
    cdef list found = []
    cdef size_t begin
    key.data = NULL
    key.used = key.room = 0
    reader.give(packets)
    try:
        begin = 0
        while reader.next():
            key.used = 0
            order.encode(&key, reader.cells)
            found.append((PyBytes_FromStringAndSize(<char*>key.data, key.used), len(found), begin, reader.at))
            begin = reader.at
    finally:
        free(key.data)
    found.sort()
    cdef bytes data = <bytes>reader.data
    return bytearray(b"".join([data[first:last] for _, _, first, last in found]))
