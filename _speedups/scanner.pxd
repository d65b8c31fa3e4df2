# cython: language_level=3
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

cdef enum Expect:
    EXPECT_QUERY = 0        # COM_QUERY, COM_STMT_EXECUTE: OK, ERR or result sets
    EXPECT_PREPARE = 1      # COM_STMT_PREPARE
    EXPECT_OK = 2           # one OK or ERR: COM_PING, COM_INIT_DB, COM_RESET_CONNECTION, COM_STMT_RESET
    EXPECT_CURSOR = 3       # COM_STMT_EXECUTE that asks for one: behind the definitions the rows may be missing
    EXPECT_ROWS = 4         # COM_STMT_FETCH: rows and their end

cdef enum ScanPhase:
    SCAN_FIRST = 0
    SCAN_COLUMNS = 1
    SCAN_COLUMNS_EOF = 2
    SCAN_ROWS = 3
    SCAN_PREPARED = 4       # definitions behind COM_STMT_PREPARE_OK, packet by packet
    SCAN_DONE = 5
    SCAN_CURSOR_EOF = 6     # the EOF behind the columns, which says whether a cursor was opened in place of rows

cdef enum ScanOutcome:
    OUTCOME_NONE = 0
    OUTCOME_OK = 1
    OUTCOME_ROWS = 2
    OUTCOME_ERR = 3
    OUTCOME_PREPARED = 4

cdef enum ScanResult:
    SCAN_MORE = 0           # everything up to `passed` may be forwarded; more bytes are needed
    SCAN_COMPLETE = 1       # the response ends at `passed`
    SCAN_MALFORMED = -1
    SCAN_FILE = -3          # LOCAL INFILE: the answer goes on behind the file that the client sends; `passed` as usual
    SCAN_FORBIDDEN = -2     # the witness does not let a column leave; nothing from `passed` on may be forwarded
    SCAN_TOLD = -4          # TRACK_STOP: the last of the packets before `passed` says what has changed; more follow

# Server status flags: https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html
cdef enum:
    SERVER_STATUS_IN_TRANS = 0x0001
    SERVER_STATUS_AUTOCOMMIT = 0x0002
    SERVER_MORE_RESULTS_EXISTS = 0x0008
    SERVER_STATUS_CURSOR_EXISTS = 0x0040
    SERVER_STATUS_NO_BACKSLASH_ESCAPES = 0x0200
    SERVER_STATUS_IN_TRANS_READONLY = 0x2000
    SERVER_SESSION_STATE_CHANGED = 0x4000

cdef enum Track:             # CLIENT_SESSION_TRACK, of the connection that is scanned
    TRACK_NONE = 0
    TRACK_READ = 1          # negotiated
    TRACK_STOP = 2          # the same; and the scan stops behind each packet with such a tail, but for the last

cdef enum Change:            # kinds of entries in an OK packet's tail (enum_session_state_type), as bits
    CHANGE_VARIABLE = 1
    CHANGE_SCHEMA = 2
    CHANGE_STATE = 4
    CHANGE_GTIDS = 8
    CHANGE_TRANSACTION = 32
    CHANGE_ANY_VARIABLE = 64    # whatever its name

cdef struct WitnessItem:
    uint32_t at
    uint32_t length         # 0: free

cdef struct Witness:        # the columns that may leave as they are
    uint32_t cap            # power of two
    WitnessItem* items
    uint8_t* names          # of each: schema, table and column in lower case, each ended by NUL
    uint8_t* known          # a head of a result set that it has agreed to: the next is most often the same
    uint32_t known_len
    uint32_t known_room
    uint8_t known_seq

cdef struct Scan:
    uint8_t expect
    uint8_t phase
    uint8_t deprecate_eof       # capability of the connection that is scanned
    uint8_t session_track       # enum Track: how the OK packet's tail is read
    uint8_t continued           # the previous packet was 0xffffff long: the next one continues it
    uint8_t outcome
    uint8_t seq                 # of the last packet head seen
    uint8_t started             # some byte of the response was passed
    uint8_t forbidden           # SCAN_FORBIDDEN was returned
    uint8_t file                # the first packet asks for a file
    uint8_t told                # the packet that was just read stops the scan
    uint8_t head_here           # of the result set that is being scanned, with a witness: it begins in this chunk …
    uint32_t head_at            # … here
    uint32_t forbidden_at       # where in the chunk the scan goes on if the rest is to be swallowed
    Witness* witness            # looks at column definitions, which then pass whole; NULL for none
    uint16_t status
    uint16_t warnings
    uint16_t error_code
    uint32_t skip               # payload bytes of the current packet still to come
    uint64_t left               # column definitions or prepared packets still to come
    uint64_t affected
    uint64_t insert_id
    uint32_t stmt_id
    uint16_t stmt_columns
    uint16_t stmt_params
    uint64_t rows
    # The OK packet's session-track block within the chunk last scanned (offset, length), 0 length when none.
    uint32_t track_offset
    uint32_t track_length
    # Where the terminal OK packet lies in that chunk, so that the relay can re-word it.
    uint32_t final_offset
    uint32_t final_length

cdef bint lenenc(const uint8_t* p, size_t n, size_t* pos, uint64_t* value) noexcept nogil
cdef int scan(Scan* s, const uint8_t* p, size_t n, size_t* passed) noexcept nogil
cdef Witness* witness_new(const uint8_t* names, size_t n, uint32_t count) noexcept nogil
cdef void witness_free(Witness* w) noexcept nogil
cdef size_t strip_session_track(uint8_t* packet, size_t n) noexcept nogil
cdef size_t keep_changes(uint8_t* packet, size_t n, uint32_t kinds, const uint8_t* names, size_t length) noexcept nogil
cdef size_t pick_changes(uint8_t* to, const uint8_t* p, size_t n, uint32_t kinds, const uint8_t* names,
                         size_t length) noexcept nogil
cdef size_t put_lenenc(uint8_t* p, size_t value) noexcept nogil


cdef inline void scan_begin(Scan* s, uint8_t expect, bint deprecate_eof, uint8_t session_track) noexcept nogil:
    memset(s, 0, sizeof(Scan))
    s.expect = expect
    s.deprecate_eof = deprecate_eof
    s.session_track = session_track


cdef inline void expect_cursor(Scan* s) noexcept nogil:
    """Of a scan that has begun with EXPECT_QUERY."""
    s.expect = EXPECT_CURSOR


cdef inline void expect_rows(Scan* s) noexcept nogil:
    """The same."""
    s.expect = EXPECT_ROWS
    s.phase = SCAN_ROWS
    s.outcome = OUTCOME_ROWS
