# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""MySQL packets as Python values: splitting, framing, length-encoded integers and strings, text rows.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_row.html
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

MAX_PAYLOAD = PACKET_MAX


class MalformedPacket(ValueError):
    """The bytes are not what the protocol allows at this place."""


cdef inline int check_bounds(Py_ssize_t offset, Py_ssize_t n) except -1:
    if offset < 0 or offset > n:
        raise MalformedPacket(f"offset {offset} is outside of a payload of {n} bytes")
    return 0


def split_packets(bytes data not None) -> list:
    """[(sequence id of the last part, payload)] of a byte string that ends at the end of a payload.

    The parts of payloads of 0xffffff bytes and more are joined. Raises MalformedPacket on a cut packet, on a
    missing continuation, and on a continuation whose sequence id does not follow.
    """
    cdef const uint8_t* p = data
    cdef Py_ssize_t i = 0, n = len(data), start
    cdef uint32_t length
    cdef int seq
    cdef list out = [], parts = []
    while i < n:
        if n - i < PACKET_HEAD:
            raise MalformedPacket(f"{n - i} bytes are left where a packet head needs 4")
        length = u24(p + i)
        seq = p[i + 3]
        start = i + PACKET_HEAD
        if n - start < length:
            raise MalformedPacket(f"a packet of {length} bytes is cut after {n - start}")
        i = start + length
        if parts and seq != (last + 1) & 255:
            raise MalformedPacket(f"continuation has sequence id {seq}, expected {(last + 1) & 255}")
        last = seq
        if length == PACKET_MAX:
            parts.append(data[start:i])
        elif parts:
            parts.append(data[start:i])
            out.append((seq, b"".join(parts)))
            parts = []
        else:
            out.append((seq, data[start:i]))
    if parts:
        raise MalformedPacket("the continuation of a 16 MB packet is missing")
    return out


def frame(bytes payload not None, int seq=0) -> bytes:
    """The payload as packets from sequence id `seq` on; payloads of 0xffffff bytes and more are split."""
    cdef Py_ssize_t i = 0, n = len(payload), size
    if n < PACKET_MAX:
        return bytes((n & 255, (n >> 8) & 255, n >> 16, seq & 255)) + payload
    cdef list parts = []
    while True:
        size = min(n - i, PACKET_MAX)
        parts.append(bytes((size & 255, (size >> 8) & 255, size >> 16, seq & 255)))
        parts.append(payload[i:i + size])
        seq += 1
        i += size
        if size < PACKET_MAX:
            return b"".join(parts)


def lenenc(bytes value not None) -> bytes:
    """The bytes as a length-encoded string."""
    return lenenc_integer(len(value)) + value


def lenenc_integer(uint64_t value) -> bytes:
    """The number as a length-encoded integer."""
    if value < 0xfb:
        return bytes((value,))
    if value < 1 << 16:
        return b"\xfc" + value.to_bytes(2, "little")
    if value < 1 << 24:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


cdef uint64_t take_integer(const uint8_t* p, Py_ssize_t n, Py_ssize_t* offset) except? 0xffffffffffffffff:
    cdef uint64_t value = 0
    cdef int used = lenenc_int(p + offset[0], n - offset[0], &value)
    if used <= 0:
        raise MalformedPacket(f"no length-encoded integer at offset {offset[0]} of {n} bytes")
    offset[0] += used
    return value


cdef bytes take_string(bytes payload, Py_ssize_t* offset):
    cdef Py_ssize_t n = len(payload)
    cdef uint64_t length = take_integer(<const uint8_t*>payload, n, offset)
    cdef Py_ssize_t start = offset[0]
    if length > <uint64_t>(n - start):
        raise MalformedPacket(f"a string of {length} bytes does not fit the {n - start} bytes left")
    offset[0] = start + <Py_ssize_t>length
    return payload[start:offset[0]]


def read_lenenc_integer(bytes payload not None, Py_ssize_t offset=0) -> tuple:
    """(number, offset after it)."""
    check_bounds(offset, len(payload))
    value = take_integer(<const uint8_t*>payload, len(payload), &offset)
    return value, offset


def read_lenenc(bytes payload not None, Py_ssize_t offset=0) -> tuple:
    """(bytes of a length-encoded string, offset after it)."""
    check_bounds(offset, len(payload))
    value = take_string(payload, &offset)
    return value, offset


def read_nul_string(bytes payload not None, Py_ssize_t offset=0) -> tuple:
    """(bytes before the next NUL, offset after the NUL)."""
    check_bounds(offset, len(payload))
    cdef Py_ssize_t end = payload.find(b"\0", offset)
    if end < 0:
        raise MalformedPacket(f"no NUL ends the string at offset {offset}")
    return payload[offset:end], end + 1


def slice_row(bytes payload not None, Py_ssize_t ncols) -> list:
    """The columns of a text-protocol row as bytes, None for NULL.

    The row must hold exactly `ncols` columns.
    """
    cdef const uint8_t* p = payload
    cdef Py_ssize_t n = len(payload), i = 0, _
    cdef list row = []
    for _ in range(ncols):
        if i < n and p[i] == HEAD_NULL:
            row.append(None)
            i += 1
        else:
            row.append(take_string(payload, &i))
    if i != n:
        raise MalformedPacket(f"{n - i} bytes are left after the {ncols} columns of a row")
    return row


def row_offsets(bytes payload not None, Py_ssize_t ncols) -> list:
    """[(offset, length)] of the columns of a text-protocol row, length -1 for NULL: nothing is copied."""
    cdef const uint8_t* p = payload
    cdef Py_ssize_t n = len(payload), i = 0, _
    cdef uint64_t length
    cdef list spans = []
    for _ in range(ncols):
        if i < n and p[i] == HEAD_NULL:
            spans.append((i, -1))
            i += 1
            continue
        length = take_integer(p, n, &i)
        if length > <uint64_t>(n - i):
            raise MalformedPacket(f"a column of {length} bytes does not fit the {n - i} bytes left")
        spans.append((i, length))
        i += <Py_ssize_t>length
    if i != n:
        raise MalformedPacket(f"{n - i} bytes are left after the {ncols} columns of a row")
    return spans
