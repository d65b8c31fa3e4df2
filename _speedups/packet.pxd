# Heads of MySQL packets: lengths, length-encoded integers, what a response packet is.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    PACKET_HEAD = 4
    PACKET_MAX = 0xffffff       # a payload of exactly this length continues in the next packet

cdef enum HeadByte:
    HEAD_OK = 0x00
    HEAD_LOCAL_INFILE = 0xfb
    HEAD_NULL = 0xfb            # the same byte in a text row
    HEAD_EOF = 0xfe
    HEAD_ERR = 0xff

cdef enum PacketKind:
    PKT_OK = 1
    PKT_ERR = 2
    PKT_LOCAL_INFILE = 3
    PKT_COLUMNS = 4             # a column count: a result set follows
    PKT_EOF = 5                 # the classic 5-byte EOF
    PKT_ROW = 6

cdef enum StatusFlag:
    SERVER_STATUS_IN_TRANS = 0x0001
    SERVER_STATUS_AUTOCOMMIT = 0x0002
    SERVER_MORE_RESULTS_EXISTS = 0x0008
    SERVER_STATUS_NO_GOOD_INDEX_USED = 0x0010
    SERVER_STATUS_NO_INDEX_USED = 0x0020
    SERVER_STATUS_CURSOR_EXISTS = 0x0040
    SERVER_STATUS_LAST_ROW_SENT = 0x0080
    SERVER_STATUS_DB_DROPPED = 0x0100
    SERVER_STATUS_NO_BACKSLASH_ESCAPES = 0x0200
    SERVER_STATUS_METADATA_CHANGED = 0x0400
    SERVER_QUERY_WAS_SLOW = 0x0800
    SERVER_PS_OUT_PARAMS = 0x1000
    SERVER_STATUS_IN_TRANS_READONLY = 0x2000
    SERVER_SESSION_STATE_CHANGED = 0x4000


cdef inline uint32_t u16(const uint8_t* p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8)


cdef inline uint32_t u24(const uint8_t* p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16)


cdef inline uint32_t u32(const uint8_t* p) noexcept nogil:
    return p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)


cdef inline uint64_t u64(const uint8_t* p) noexcept nogil:
    return u32(p) | (<uint64_t>u32(p + 4) << 32)


cdef inline int lenenc_int(const uint8_t* p, size_t n, uint64_t* value) noexcept nogil:
    """Bytes used (1, 3, 4, 9).

    0 when n is too short to tell; -1 for 0xfb (NULL) and 0xff, which are no integers.
    """
    if n == 0:
        return 0
    cdef uint8_t head = p[0]
    if head < 0xfb:
        value[0] = head
        return 1
    if head == 0xfc:
        if n < 3:
            return 0
        value[0] = u16(p + 1)
        return 3
    if head == 0xfd:
        if n < 4:
            return 0
        value[0] = u24(p + 1)
        return 4
    if head == 0xfe:
        if n < 9:
            return 0
        value[0] = u64(p + 1)
        return 9
    return -1


cdef inline int response_kind(uint8_t head) noexcept nogil:
    """What the first packet of an answer to COM_QUERY or COM_STMT_EXECUTE is."""
    if head == HEAD_OK:
        return PKT_OK
    if head == HEAD_ERR:
        return PKT_ERR
    if head == HEAD_LOCAL_INFILE:
        return PKT_LOCAL_INFILE
    return PKT_COLUMNS


cdef inline int row_kind(uint8_t head, uint32_t length, bint deprecate_eof) noexcept nogil:
    """What a packet in the row phase is, from its first byte and the payload length in its own head.

    With CLIENT_DEPRECATE_EOF rows end by an OK packet that wears the byte 0xfe; a row may start with 0xfe
    only when its first column is 16 MB or longer. Continuation packets of a long row must not be asked about.
    """
    if head == HEAD_ERR:
        return PKT_ERR
    if head == HEAD_EOF:
        if deprecate_eof:
            if length < PACKET_MAX:
                return PKT_OK
        elif length < 9:
            return PKT_EOF
    return PKT_ROW


cdef inline int ok_status(const uint8_t* p, size_t n, uint16_t* status, uint16_t* warnings) noexcept nogil:
    """Status flags and warning count of an OK payload (head 0x00 or 0xfe), protocol 4.1.

    Returns the offset of what follows them (info, session track), 0 when n bytes are too few, -1 when
    malformed.
    """
    cdef uint64_t skipped
    cdef size_t i = 1
    cdef int used, _
    if n < 1:
        return 0
    for _ in range(2):      # affected rows, last insert id
        used = lenenc_int(p + i, n - i, &skipped)
        if used <= 0:
            return used
        i += used
    if n - i < 4:
        return 0
    status[0] = <uint16_t>u16(p + i)
    warnings[0] = <uint16_t>u16(p + i + 2)
    return <int>(i + 4)


cdef inline bint eof_status(const uint8_t* p, size_t n, uint16_t* status, uint16_t* warnings) noexcept nogil:
    """The same of a classic EOF payload; False when it is too short."""
    if n < 5:
        return False
    warnings[0] = <uint16_t>u16(p + 1)
    status[0] = <uint16_t>u16(p + 3)
    return True
