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


cdef class Groups:
    """Groups by key, in the order in which they first came. `alone`: there is one group even of no rows.

    What is known of a group lies in C: its key and its first row in `texts`, and a slot for each of the combines. Only
    what does not fit into a slot is an object, in `objects` by the slot's number.
    """

    cdef Shape shape
    cdef Encoder key
    cdef list combines
    cdef int count
    cdef bint alone
    cdef Reader reader
    cdef Buffer buffer
    cdef Cell* cells
    cdef int* combine_of            # column -> which of the combines makes it, or -1
    cdef Table table
    cdef Slot* slots
    cdef dict objects
    cdef uint64_t more              # bytes that the objects hold
    cdef readonly uint64_t cut
    """Values that group_concat_max_len made shorter."""

    def __cinit__(self, Shape shape not None, Encoder key, list combines not None):
        cdef int column, index
        self.shape = shape
        self.key = key
        self.alone = key is None
        self.combines = combines
        self.count = len(combines)
        self.objects = {}
        self.reader = Reader(shape)
        self.cells = <Cell*>malloc(max(1, shape.columns) * sizeof(Cell))
        self.combine_of = <int*>malloc(max(1, shape.columns) * sizeof(int))
        if self.cells == NULL or self.combine_of == NULL:
            raise MemoryError
        for column in range(shape.columns):
            self.combine_of[column] = -1
        for index in range(self.count):
            self.combine_of[(<Combine>combines[index]).column] = index

    def __dealloc__(self):
        free(self.cells)
        free(self.combine_of)
        free(self.buffer.data)
        free(self.slots)
        table_free(&self.table)

    def __len__(self):
        return self.table.used

    @property
    def held(self):
        """Bytes, all that is kept."""
        return table_size(&self.table) + <size_t>self.table.room * self.count * sizeof(Slot) + self.more

    def feed(self, object packets):
        """Partial groups of one shard. Raises ValueError for values that are not what their column says."""
        cdef Reader reader = self.reader
        cdef size_t at
        cdef int index
        reader.give(packets)
        while reader.next():
            self.buffer.used = 0
            if self.key is not None:
                self.key.encode(&self.buffer, reader.cells)
            at = self.find(reader.row, reader.length) * self.count
            for index in range(self.count):
                self.add(<Combine>self.combines[index], at + index, reader.cells)

    cdef size_t find(self, const uint8_t* row, size_t length) except? 0:
        """The group of the key in `buffer`, whose first row this is if there was none."""
        cdef uint32_t room = self.table.room
        cdef size_t found = table_find(&self.table, self.buffer.data, self.buffer.used)
        cdef Slot* slots
        if found < self.table.used:
            return found
        table_add(&self.table, self.buffer.data, self.buffer.used, row, length)
        if self.table.room != room:
            slots = <Slot*>realloc(self.slots, max(1, <size_t>self.table.room * self.count) * sizeof(Slot))
            if slots == NULL:
                raise MemoryError
            self.slots = slots
        memset(self.slots + found * self.count, 0, self.count * sizeof(Slot))
        return found

    cdef int add(self, Combine one, size_t at, Cell* cells) except -1:
        cdef Cell* cell = &cells[one.first]
        cdef int operation = one.operation
        if operation == OP_COLLECT:
            self.collect(one, at, cells)
        elif operation == OP_DEVIATION:
            self.spread(one, at, cells)
        elif operation >= OP_DISTINCT_COUNT:
            self.tell_apart(one, at, cells)
        elif cell.null:
            return 0
        elif operation == OP_COUNT:
            self.total(one, at, integer(cell, self.shape.binary, True), 0)
        elif operation == OP_SUM:
            self.sum(one, at, cell, 0)
        elif operation == OP_MIN or operation == OP_MAX:
            self.compare(one, at, cells)
        elif operation == OP_AVERAGE:
            self.sum(one, at, cell, integer(&cells[one.second], self.shape.binary, True))
        else:
            combine_bits(&self.slots[at], operation, <uint64_t>integer(cell, self.shape.binary, False))
        return 0

    cdef int sum(self, Combine one, size_t at, Cell* cell, int64_t count) except -1:
        cdef int64_t value
        if one.real:
            self.slots[at].state = SLOT_REAL
            self.slots[at].known.sum.real += floating(cell, self.shape.binary, KIND_DOUBLE)
            self.slots[at].known.sum.count += count
        elif scaled_small(cell.at, cell.size, one.scale, &value):
            self.total(one, at, value, count)
        else:
            self.total_of_any(one, at, scaled(cell.at, cell.size, one.scale), count)
        return 0

    cdef int total(self, Combine one, size_t at, int64_t value, int64_t count) except -1:
        cdef Slot* slot = &self.slots[at]
        cdef int64_t total
        if slot.state == SLOT_OBJECT or add_overflows(slot.known.sum.whole, value, &total):
            return self.total_of_any(one, at, value, count)
        slot.state = SLOT_WHOLE
        slot.known.sum.whole = total
        slot.known.sum.count += count
        return 0

    cdef int compare(self, Combine one, size_t at, Cell* cells) except -1:
        cdef Cell* cell = &cells[one.column]
        cdef Slot* slot = &self.slots[at]
        cdef int order
        self.buffer.used = 0
        one.key.encode(&self.buffer, cells)
        if slot.state != SLOT_EMPTY:
            if slot.state == SLOT_BEST:
                order = compared(&self.buffer, slot.known.best.key, slot.known.best.key_size)
            else:
                order = compared_to(&self.buffer, <bytes>(<tuple>self.objects[at])[0])
            if (order >= 0) if one.operation == OP_MIN else (order <= 0):
                return 0
        if slot.state != SLOT_OBJECT and self.buffer.used <= BEST_KEY and cell.size <= BEST_CELL:
            slot.state = SLOT_BEST
            slot.known.best.key_size = <uint8_t>self.buffer.used
            slot.known.best.cell_size = <uint8_t>cell.size
            memcpy(slot.known.best.key, self.buffer.data, self.buffer.used)
            memcpy(slot.known.best.cell, cell.at, cell.size)
            return 0
        if slot.state != SLOT_OBJECT:
            self.more += self.buffer.used + cell.size + OBJECT_COST
        slot.state = SLOT_OBJECT
        self.objects[at] = (
            PyBytes_FromStringAndSize(<char*>self.buffer.data, self.buffer.used), <bytes>cell.at[:cell.size]
        )
        return 0

    # --- what does not fit into a slot ----------------------------------------------------------------------

    cdef int total_of_any(self, Combine one, size_t at, object value, object count) except -1:
        """A sum, or [sum, count] of a mean, of any length."""
        cdef Slot* slot = &self.slots[at]
        cdef list old
        if slot.state == SLOT_OBJECT:
            old = self.objects[at]
        else:
            old = self.objects[at] = [slot.known.sum.whole, slot.known.sum.count]
            slot.state = SLOT_OBJECT
            self.more += OBJECT_COST
        old[0] += value
        old[1] += count
        return 0

    cdef object object_of(self, size_t at, object made):
        """The slot's object; `made` where there was none."""
        if self.slots[at].state == SLOT_OBJECT:
            return self.objects[at]
        self.slots[at].state = SLOT_OBJECT
        self.more += OBJECT_COST
        self.objects[at] = made
        return made

    cdef int tell_apart(self, Combine one, size_t at, Cell* cells) except -1:
        """One more value of an aggregate over DISTINCT values; rows with a NULL among them do not count."""
        cdef list old = self.object_of(at, [set(), 0])
        cdef bytes key
        cdef int part
        for part in range(one.key.count):
            if cells[one.key.parts[part].column].null:
                return 0
        key = self.key_of(one.key, cells)
        if key not in old[0]:
            old[0].add(key)
            self.more += len(key) + KEY_COST
            if one.operation != OP_DISTINCT_COUNT:
                old[1] += self.number(one, &cells[one.first])
        return 0

    cdef object number(self, Combine one, Cell* cell):
        """A DOUBLE, or a DECIMAL times ten to the scale."""
        if one.real:
            return floating(cell, self.shape.binary, KIND_DOUBLE)
        return scaled(cell.at, cell.size, one.scale)

    cdef int collect(self, Combine one, size_t at, Cell* cells) except -1:
        cdef object collector = self.objects.get(at)
        cdef int column
        cdef list taken = []
        if collector is None:
            collector = self.object_of(at, one.collector())
        for column in one.taken:
            taken.append(None if cells[column].null else <bytes>cells[column].at[:cells[column].size])
        self.more += collector.add(self.key_of(one.order, cells), self.key_of(one.key, cells), taken)
        return 0

    cdef bytes key_of(self, Encoder encoder, Cell* cells):
        self.buffer.used = 0
        encoder.encode(&self.buffer, cells)
        return PyBytes_FromStringAndSize(<char*>self.buffer.data, self.buffer.used)

    cdef int spread(self, Combine one, size_t at, Cell* cells) except -1:
        """Count, mean and sum of squared differences of two parts together (Chan, Golub, LeVeque 1979)."""
        cdef double n = <double>integer(&cells[one.first], self.shape.binary, True), mean, squares, had, delta
        cdef list old
        if n == 0:
            return 0
        mean = floating(&cells[one.second], self.shape.binary, KIND_DOUBLE)
        squares = floating(&cells[one.third], self.shape.binary, KIND_DOUBLE) * n
        if self.slots[at].state == SLOT_OBJECT:
            old = self.objects[at]
            had = old[0]
            delta = mean - <double>old[1]
            squares += <double>old[2] + delta * delta * had * n / (had + n)
            mean = <double>old[1] + delta * n / (had + n)
            n += had
        old = self.object_of(at, [])
        old[:] = [n, mean, squares]
        return 0

    # --- the answer -----------------------------------------------------------------------------------------

    def rows(self):
        """-> every group's row packet (a bytearray), in the order in which the groups came."""
        cdef Buffer out
        cdef bytes row
        cdef uint32_t group
        out.data = NULL
        out.used = out.room = 0
        if self.alone and not self.table.used:
            row = self.nothing()
            self.buffer.used = 0
            self.find(row, len(row))
        try:
            for group in range(self.table.used):
                self.write(&out, group)
            return bytearray(PyBytes_FromStringAndSize(<char*>out.data, out.used))
        finally:
            free(out.data)

    cdef bytes nothing(self):
        """A row of NULLs."""
        if not self.shape.binary:
            return b"\xfb" * self.shape.columns
        return b"\0" + b"\xff" * ((self.shape.columns + 9) // 8)

    cdef int write(self, Buffer* out, uint32_t group) except -1:
        cdef Entry* entry = &self.table.entries[group]
        cdef const uint8_t* row = self.table.texts.data + entry.at + entry.key_size
        cdef size_t head, nulls
        cdef int column, index
        self.shape.slice(row, entry.row_size, self.cells)
        head = begin_row(out, self.shape, &nulls)
        for column in range(self.shape.columns):
            index = self.combine_of[column]
            if index >= 0:
                self.put_combined(
                    out, nulls, column, <Combine>self.combines[index], <size_t>group * self.count + index
                )
            else:
                put_as_it_is(out, self.shape, nulls, column, row, self.cells)
        return end_row(out, head)

    cdef int put_combined(self, Buffer* out, size_t nulls, int column, Combine one, size_t at) except -1:
        cdef Slot* slot = &self.slots[at]
        cdef uint8_t text[DECIMAL_ROOM]
        cdef object value
        if slot.state == SLOT_BEST:
            return put_cell(out, self.shape, column, slot.known.best.cell, slot.known.best.cell_size)
        if slot.state == SLOT_WHOLE and one.operation == OP_SUM and one.decimals == one.scale:
            return put_cell(out, self.shape, column, text, write_decimal(slot.known.sum.whole, one.scale, text))
        if slot.state == SLOT_WHOLE and one.operation == OP_COUNT:
            if self.shape.binary:
                return put_cell(out, self.shape, column, <uint8_t*>&slot.known.sum.whole, 8)
            return put_cell(out, self.shape, column, text, write_decimal(slot.known.sum.whole, 0, text))
        value = self.finish(one, self.value_of(one, at))
        if value is None:
            return put_null(out, self.shape, nulls, column)
        return put_value(out, self.shape, column, <bytes>value)

    cdef object value_of(self, Combine one, size_t at):
        """None where nothing came: a number; [sum, count]; (key, value); what the operation's object is."""
        cdef Slot* slot = &self.slots[at]
        cdef object value
        if slot.state == SLOT_EMPTY:
            return None
        if slot.state == SLOT_OBJECT:
            value = self.objects[at]
            return value[0] if one.operation == OP_SUM or one.operation == OP_COUNT else value
        if slot.state == SLOT_BEST:
            return None, <bytes>slot.known.best.cell[:slot.known.best.cell_size]
        if slot.state == SLOT_BITS:
            return slot.known.bits
        value = slot.known.sum.real if slot.state == SLOT_REAL else slot.known.sum.whole
        return [value, slot.known.sum.count] if one.operation == OP_AVERAGE else value

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

    cdef object deviation(self, Combine one, list value):
        cdef double n = value[0], squares = value[2], result
        if one.sample and n < 2:
            return None
        result = squares / (n - 1 if one.sample else n)
        return self.double(result ** 0.5 if one.root else result, one.decimals)

    cdef bytes double(self, double value, int decimals):
        if self.shape.binary:
            return (<char*>&value)[:8]
        return double_text(value, decimals)


cdef size_t begin_row(Buffer* out, Shape shape, size_t* nulls) except? 0:
    """Room for the packet's head, and of a binary row for its NULLs. -> where it begins."""
    cdef size_t head = out.used
    cdef int _
    grow(out, 8 + (shape.columns + 9) // 8)
    out.used += 4
    nulls[0] = out.used + 1
    if shape.binary:
        put_byte(out, 0)
        for _ in range((shape.columns + 9) // 8):
            put_byte(out, 0)
    return head


cdef int end_row(Buffer* out, size_t head) except -1:
    if out.used - head - 4 >= PACKET_MAX:
        raise RowTooLong("a row of 16 MB or more")
    set_head(out, head)
    return 0


cdef int put_row(Buffer* out, Shape shape, const uint8_t* row, Cell* cells, dict put_in) except -1:
    """A row packet with other values in some of its columns: column -> the value as it lies, None for NULL."""
    cdef size_t nulls
    cdef size_t head = begin_row(out, shape, &nulls)
    cdef int column
    cdef object value
    for column in range(shape.columns):
        if column not in put_in:
            put_as_it_is(out, shape, nulls, column, row, cells)
            continue
        value = put_in[column]
        if value is None:
            put_null(out, shape, nulls, column)
        else:
            put_value(out, shape, column, <bytes>value)
    return end_row(out, head)


cdef int put_as_it_is(Buffer* out, Shape shape, size_t nulls, int column, const uint8_t* row, Cell* cells) except -1:
    if cells[column].null:
        return put_null(out, shape, nulls, column)
    return put(out, row + cells[column].begin, cells[column].end - cells[column].begin)


cdef int put_null(Buffer* out, Shape shape, size_t nulls, int column) except -1:
    if not shape.binary:
        return put_byte(out, 0xfb)
    out.data[nulls + (column + 2) // 8] |= 1 << ((column + 2) % 8)
    return 0


cdef int put_value(Buffer* out, Shape shape, int column, bytes value) except -1:
    return put_cell(out, shape, column, <const uint8_t*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cdef int put_cell(Buffer* out, Shape shape, int column, const uint8_t* value, size_t size) except -1:
    if shape.wire[column] == WIRE_TEXT:
        put_length(out, size)
    elif shape.wire[column] == WIRE_TEMPORAL:
        put_byte(out, <uint8_t>size)
    elif size != <size_t>shape.wire[column]:
        raise ValueError("a value of another size than its column's")
    return put(out, value, size)


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


cdef inline int compared(Buffer* key, const uint8_t* other, size_t size) noexcept:
    """As bytes are ordered: negative where `key` comes first."""
    cdef int order = memcmp(key.data, other, min(key.used, size))
    return order if order else (key.used > size) - (key.used < size)


cdef inline int compared_to(Buffer* key, bytes other) noexcept:
    return compared(key, <const uint8_t*>PyBytes_AS_STRING(other), PyBytes_GET_SIZE(other))


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
    if scaled_small(p, n, scale, &small):
        return small
    text = (<const char*>p)[:n].decode("ascii")
    whole, _, part = text.partition(".")
    if not (whole + part).lstrip("-").isdigit() or len(part) > scale:
        raise ValueError("not a decimal number of its column")
    return int(whole + part) * _TEN[scale - len(part)]


cdef bint scaled_small(const uint8_t* p, size_t n, int scale, int64_t* value) except -1:
    """`scaled` where that has at most 18 digits; else False. Raises ValueError for what is no number."""
    cdef int64_t small = 0
    cdef size_t i = 0, digits = 0
    cdef int behind = 0
    cdef bint negative = False, point = False
    if n and p[0] == c"-":
        negative = True
        i = 1
    if n - i > 18:
        return False
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
    if digits + scale - behind > 18:
        return False
    while behind < scale:
        small *= 10
        behind += 1
    value[0] = -small if negative else small
    return True


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
