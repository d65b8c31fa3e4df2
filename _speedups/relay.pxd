# cython: language_level=3
"""The relay's structs: what a session, a backend connection, a pool, a plan and a statement are.

Ownership: everything here is touched only under `Core.lock`, which the relay thread holds for one round and the
uvloop side for one call. Nothing here is a Python object.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from _speedups.buffers cimport Buf
from _speedups.lexer cimport Lexed, Slot
from _speedups.scanner cimport Scan, Witness
from _speedups.stats cimport (
    BackendHealth, DigestEntry, Header, LimitCell, ShardStats, SlowRing, WorkerStats,
)

cdef enum:
    SCRATCH = 65536             # one receive; also the most that waits unsent for a slow client of a result
    MAX_KEYS = 4                # alternatives of a plan that the relay routes itself
    MAX_ARITY = 2
    MAX_STEPS = 3               # packets that bring a backend from one state to another
    STATEMENT_SETS = 64         # prepared statements of one backend: 64 sets of 4
    STATEMENT_WAYS = 4
    CLASSES = 8                 # backend capability classes: DEPRECATE_EOF x FOUND_ROWS x QUERY_ATTRIBUTES
    MAX_REPLICAS = 8
    MAX_SOURCES = 64
    CHANGES_MAX = 32768         # bytes of entries in an OK packet that the uvloop side has written
    CAP_FOUND_ROWS = 0x00000002
    CAP_MULTI_STATEMENTS = 0x00010000
    CAP_SESSION_TRACK = 0x00800000
    CAP_DEPRECATE_EOF = 0x01000000
    CAP_QUERY_ATTRIBUTES = 0x08000000

cdef enum SessionKind:
    KIND_CLIENT = 0
    KIND_LEASE = 1              # the executor's: commands come by call, responses go to memory

cdef enum SessionPhase:
    PHASE_IDLE = 0              # ready for the next command
    PHASE_PARKED = 1            # the uvloop side has to answer
    PHASE_WAITING = 2           # in a pool's queue
    PHASE_BUSY = 3              # a backend works for it (steps or the command itself)
    PHASE_CLOSED = 4            # descriptor closed; the struct waits for the uvloop side to take note

cdef enum Trx:
    TRX_NONE = 0
    TRX_PENDING = 1             # BEGIN answered, not yet sent: the first statement decides the shard
    TRX_ACTIVE = 2              # the attached backend has one open

cdef enum Told:
    TOLD_NOTHING = 0
    TOLD_SOME = 1               # what one server would tell
    TOLD_ALL = 2                # a peer: whatever servers say

cdef enum TransactionTold:      # of transactions that were begun by a statement of their own
    TOLD_NO_TRANSACTION = 0
    TOLD_TRANSACTION = 1
    TOLD_SNAPSHOT = 2

cdef enum BeginVariant:         # those variants of START TRANSACTION that show in the status flags
    BEGIN_READ_ONLY = 1
    BEGIN_ACCESS = 3            # so many variants tell of the access mode alone, and as many of a snapshot, too
    BEGIN_SNAPSHOT_READ_ONLY = 4
    BEGIN_SAVEPOINT = 6         # a savepoint without autocommit: begins as variant 0, and no flag tells before that
    BEGIN_NOTHING = 7           # none: `once` is for the next statement, or for a BEGIN that comes before it

cdef enum Opcode:
    OP_PARK = 0                 # the uvloop side decides, every time
    OP_SHARD = 1                # a fixed shard
    OP_ANY = 2                  # any: the attached backend's, else the plan's shard
    OP_KEY = 3                  # by shard key
    OP_BEGIN = 4
    OP_COMMIT = 5
    OP_ROLLBACK = 6
    OP_REPLY = 7                # a canned packet
    OP_AUDITED = 8              # a bit: executions leave a record, for which there must be room first
    OP_ROWS = 16                # a bit: PLAN_ONE_ROW follows from the text

cdef enum PlanFlag:
    PLAN_REPLICA_OK = 1
    PLAN_WRITES = 2
    PLAN_OPAQUE = 4             # not understood (verbatim): its error may leave any state behind
    PLAN_WARNINGS = 8           # SHOW WARNINGS: wants the backend of the previous statement
    PLAN_OUTSIDE = 16           # no table: does not open a deferred transaction
    PLAN_NOTIFY = 32            # tell the uvloop side when it succeeded (DDL)
    PLAN_REFUSAL = 64           # the canned packet is an ERR
    PLAN_TRACKED = 128          # SET of what the uvloop side keeps: the backend's new state is told before `release`
    PLAN_EVERYWHERE = 256       # OP_ANY: every shard of the configuration can answer
    PLAN_GUARDED = 512          # over data that is restricted for the client: texts of servers' errors are kept back
    PLAN_AUDIT = 1024           # executions leave a record under the plan's `id`
    PLAN_SAMPLED = 2048         # ... one in `Core.sample` of them
    PLAN_LOAD = 4096            # LOAD DATA LOCAL: the server may ask the client for its file
    PLAN_CURSOR = 8192          # of a command that may open a cursor, or reads from one; never a plan's
    PLAN_INSERTS = 16384        # an error may come behind rows that have got ids …
    PLAN_ONE_ROW = 32768        # … but for this one: nothing came before it
    PLAN_FRESH_ID = 65536       # the OK packet's insert id, if any, is LAST_INSERT_ID()
    PLAN_PRESET = 131072        # LAST_INSERT_ID() was set on the backend first
    PLAN_ASK_ID = 262144        # it may change without the answer's saying so
    PLAN_COUNTED = 524288       # FOUND_ROWS() is the number of the answer's rows
    PLAN_UNCOUNTED = 1048576    # it stays what it was; without either flag nobody but the server knows

cdef enum Unusual:              # what an EXECUTE looks at before anything else
    UNUSUAL_OVERFLOW = 1        # its long data exceed the packet limit: it answers with the error
    UNUSUAL_CURSOR = 2          # a cursor is open, which it closes

cdef enum Behind:               # what is due when the session's command ends
    BEHIND_NOTIFY = 1           # EVENT_DONE
    BEHIND_HOLD = 2             # no further command is taken until `release`
    BEHIND_RECORD = 4           # a Record for the audit log
    BEHIND_REPLACED = 8         # nothing: the command is not the client's own any more

cdef enum RecordError:          # besides servers' and the catalogue's numbers
    RECORD_UNKNOWN = 1105       # ER_UNKNOWN_ERROR
    RECORD_CUT = 1317           # ER_QUERY_INTERRUPTED: the client went away
    RECORD_DENIED = 0xfffffffe  # the witness kept the answer back
    RECORD_PARKED = 0xffffffff  # it was not carried out: the uvloop side decides anew

cdef enum VerdictKind:          # what the policy lets one shard have of a statement
    VERDICT_PASSES = 0          # the client's own bytes
    VERDICT_REFUSED = 1         # nothing: `bytes` is the payload of the ERR packet that answers
    VERDICT_SPLICED = 2         # the client's bytes with `cuts`
    VERDICT_PREPARED = 3        # another prepared statement

cdef enum:
    FOUND_UNKNOWN = 0xffffffffffffffff

cdef enum Diagnostics:          # of the session's last statement: its errors and warnings
    DIAG_HERE = 0               # on the attached backend
    DIAG_GONE = 1               # on none: counted, but not to be listed
    DIAG_UNSURE = 2             # MariaDB keeps an older statement's if this one read no table: not even counted

cdef enum Step:                 # what the backend works on
    STEP_COMMAND = 0            # the client's own command: its response is relayed
    STEP_STATE = 1
    STEP_BEGIN = 2
    STEP_EXTRA = 3              # packets that the uvloop side wanted first
    STEP_PREPARE = 4
    STEP_COMMIT = 5             # BEGIN inside a transaction commits it first
    STEP_PROBE = 6              # COM_PING after an error: is a transaction open?
    STEP_NONE = 7
    STEP_ONCE = 9               # SET TRANSACTION, before its BEGIN
    STEP_DENIED = 8             # what is left of an answer that the witness keeps back
    STEP_ASK = 10               # which LAST_INSERT_ID() is the backend's?

cdef enum Suspect:
    SUSPECT_STATE = 1           # a response said that session state changed behind our back
    SUSPECT_KILL = 2            # a KILL QUERY is on its way, and may come when its statement is over
    SUSPECT_ONCE = 4            # a SET TRANSACTION may still wait there for a transaction
    SUSPECT_ID = 8              # it alone knows the session's LAST_INSERT_ID()

cdef enum IdState:              # of a session's LAST_INSERT_ID()
    ID_KNOWN = 0
    ID_HERE = 1                 # the attached backend has it: relay_ids.pxi
    ID_LOST = 2                 # and it was lost with it

cdef enum Draining:             # what becomes of a session between two transactions
    DRAIN_CLOSE = 1             # it ends
    DRAIN_MOVE = 2              # it moves to the process that has taken over, when it holds nothing here

cdef enum:
    OUTCOME_ID_LOST = 0x80
    NOBODY = -1                 # no session's handle, of which 0 is one

cdef enum LastError:
    NO_ERROR = 0
    SERVER_ERROR = 1
    OWN_ERROR = 2               # no server has heard of it
    OWN_NOTE = 3                # none: Fairlead itself warns of something

cdef enum ErrorKind:            # payloads of ERR packets, filled from the catalogue by the uvloop side
    ERROR_LOST_WRITE = 0        # per shard: a write's outcome is unknown
    ERROR_LOST_READ = 1         # per shard: nothing was changed
    ERROR_LOST_COMMIT = 2       # per shard: whether it was committed is unknown
    ERROR_LOST_IDLE = 3         # per shard: the transaction went with it
    ERROR_QUEUE_TIMEOUT = 4     # per shard
    ERROR_SHARD_KINDS = 5
    ERROR_PACKET_TOO_LARGE = 5
    ERROR_OUT_OF_ORDER = 6
    ERROR_MALFORMED = 7
    ERROR_UNKNOWN_STATEMENT = 8
    ERROR_DRAINING = 9
    ERROR_IDLE = 10
    ERROR_INTERNAL = 11
    ERROR_NO_PRIMARY = 12
    ERROR_QUEUE_FULL = 13
    ERROR_GUARDED = 14
    ERROR_WITNESS = 15
    ERROR_INTERRUPTED = 16
    ERROR_NO_CURSOR = 17
    ERROR_ATTRIBUTES = 18
    ERROR_KINDS = 19
    ERROR_ROOM = 1024           # longest payload

cdef enum Event:
    EVENT_PARKED = 1
    EVENT_CLOSED = 2
    EVENT_DRAINED = 4           # the client has taken what was written; a lease's server what was uploaded
    EVENT_DATA = 8              # a lease's buffer has bytes up to its credit, or its server's request for a file; or
    #                             there is some of the file that a client was asked for, or it is over
    EVENT_DONE = 16             # a lease's (or a notified) command is complete
    EVENT_LEAVES = 64           # nothing is under way and no command is taken: `part` or `release` it
    EVENT_LOST = 32             # it failed without a server's answer: the buffer holds our ERR packet and nothing else

cdef struct Outcome:            # of a session's last statement, as it goes from process to process
    uint8_t autocommit_off
    uint8_t last_error
    uint8_t diagnostics         # with OUTCOME_ID_LOST, a bit
    uint16_t warnings
    uint64_t affected
    uint64_t insert_id

cdef struct Session
cdef struct Backend
cdef struct Pool
cdef struct Statement

cdef struct KeyRef:
    uint16_t slot
    uint8_t kind                # 0 the slot itself, 1 every element of the LIST, 2 the item-th of every row
    uint8_t negate
    uint16_t item

cdef struct Cut:                # a splice, placed in the texts that have the same words around it
    uint16_t gap                # of the spaces between literals the one that it is in: 0 is before the first literal
    uint32_t start              # what is replaced, from the gap's beginning
    uint32_t end
    uint32_t seen               # so many bytes of the gap must read as when the place was found; they are `bytes` …
    uint32_t seen_at            # … from here
    uint32_t put                # what is put in its place: the length, and where in `bytes`
    uint32_t put_at

cdef struct Verdict:            # shared by plans, statements and running commands
    uint32_t refs
    uint8_t kind
    uint32_t ncuts              # VERDICT_SPLICED, in the order of the text
    Cut* cuts
    size_t grows                # all that is put
    uint8_t* bytes
    uint32_t size
    Statement* statement        # VERDICT_PREPARED
    Witness* witness            # of the answer's columns; NULL where nothing restricted is touched

cdef struct Plan:
    uint64_t fingerprint
    uint32_t ctx
    uint32_t epoch
    uint32_t id                 # the uvloop side's
    uint32_t digest
    uint32_t digest_generation
    int32_t shard
    uint32_t pins               # bit i = PIN reason i
    uint16_t vindex
    uint32_t flags
    uint8_t opcode
    uint8_t park_reason
    uint8_t referenced          # the clock's second chance
    uint8_t nkeys
    uint8_t arity
    uint8_t begin               # variant of START TRANSACTION: index into Core.begins
    KeyRef keys[4][2]
    uint8_t* norm               # the text that the fingerprint stands for, compared on every hit
    uint32_t norm_len
    uint32_t reply_len
    uint8_t* reply              # OP_REPLY: payload of the packet
    Verdict** verdicts          # by shard, NULL without a policy; what is not decided about a shard parks
    uint32_t nverdicts
    size_t verdict_bytes

cdef struct KeySource:          # one shard-key column of one row of a prepared statement
    int32_t param               # ordinal of the parameter; -1: the constant
    uint32_t offset             # of the constant's canonical bytes in Statement.constants
    uint32_t length

cdef struct Statement:
    uint64_t id                 # unique in this worker's life
    uint32_t refs
    uint32_t ctx
    uint16_t nparams
    uint16_t ncolumns
    uint16_t types_at           # where COM_STMT_EXECUTE says whether types follow, behind the null bitmap
    uint32_t nkeys              # rows or alternatives; sources holds nkeys * arity entries
    Plan plan                   # norm unused
    KeySource* sources
    uint8_t* constants
    uint8_t* text               # framed COM_STMT_PREPARE
    size_t text_len
    Statement* twin             # what is executed for cursors, NULL before; everything but the id is this one's

cdef struct ClientStatement:
    Statement* st
    uint8_t* types              # 2 * nparams bytes as last sent, NULL before
    uint8_t* omitted            # nparams bytes: 1 = the value came by COM_STMT_SEND_LONG_DATA; NULL when none did
    Buf long_data               # those commands, framed, sent again before the next EXECUTE
    uint8_t unusual             # enum Unusual
    uint32_t cursor             # the server's id of the statement whose cursor is open; 0: none is
    uint32_t cursor_state       # in which that was prepared

cdef struct BackendStatement:
    uint64_t id                 # Statement.id, 0 = free
    uint64_t used
    uint32_t server_id
    uint32_t state              # in which it was prepared: sql_mode and charset of then are part of its meaning

cdef struct Script:             # several statements in one COM_QUERY: relay_script.pxi
    size_t rest                 # framed bytes of `inb` behind the current statement that are still of it
    uint32_t skip               # of the packet that is being sent
    uint8_t seq                 # of the next packet to the client
    Scan scan                   # of the current statement's answer, as the client gets it
    Buf held                    # what the scan wants to see whole

cdef struct Attributes:         # what a client sends with a statement by name; shared by its leases
    uint32_t refs
    uint32_t count
    size_t names                # where the first one's type is in `block`, behind the null bitmap
    size_t values
    Buf block                   # as a COM_QUERY has them before its text

cdef struct Session:
    int fd
    uint32_t index
    uint32_t gen
    uint8_t kind
    uint8_t phase
    uint8_t readable            # edge-triggered: the kernel may hold more
    uint8_t ended               # the peer has shut its side, which is told once: read on until the end of file
    uint8_t broken              # the peer is gone; close at the next safe point
    uint8_t hangup              # close behind the answer that is on its way
    uint8_t trx
    uint8_t linger              # the attached backend is kept for its warnings only and may be taken
    uint8_t diagnostics         # where what SHOW WARNINGS lists is: enum Diagnostics
    uint8_t autocommit_off
    uint8_t capclass
    uint8_t session_track       # the client negotiated CLIENT_SESSION_TRACK: enum Told
    uint8_t transaction_told    # … and what it was last told of its transaction: enum TransactionTold
    uint32_t changes            # TOLD_SOME, of which kinds: enum Change
    Buf changing                # … and of which variables, as `keep_changes` takes them
    uint8_t draining            # enum Draining
    uint8_t role                # of the current command: 0 primary, 1 replica
    uint8_t park_reason
    uint8_t begin
    uint8_t response_started    # some byte of the current response went to the client
    uint8_t partial             # ... and the last send ended inside of a packet
    uint8_t consistency         # 0 primary, 1 session, 2 eventual
    uint8_t hop                 # a peer's session: never forwarded again
    uint8_t queued              # in the ready list
    uint8_t reap                # free it when it leaves the ready list
    uint8_t behind              # enum Behind
    uint8_t events
    uint8_t in_events
    uint8_t committing          # the current command is COMMIT
    uint8_t uploading           # the client sends a file to its backend; a lease's backend takes one
    uint8_t up_head             # ... bytes of the next packet's head, in `up_bytes`
    uint8_t up_continued        # ... the last packet was 0xffffff long
    uint8_t up_bytes[4]
    uint32_t up_left            # ... payload bytes of the current packet still to come
    uint8_t awaiting_way        # parked because the way between two states is not known; the backend is attached
    uint32_t caps
    uint32_t ctx
    uint32_t state
    uint32_t lexmode
    uint32_t user
    uint32_t pins
    uint32_t max_lag_ms
    uint16_t status             # as a server last said it
    uint16_t warnings           # of the last statement
    int32_t shard               # of the current command
    uint32_t flags              # PlanFlag of the current command
    uint32_t cmd_pins
    uint32_t digest
    uint32_t digest_generation
    uint64_t digest_shards      # a mask, of a command that the event loop answers
    uint64_t fingerprint
    uint64_t affected
    uint64_t found_rows         # FOUND_ROWS(), FOUND_UNKNOWN when it has to be asked for
    uint64_t insert_id          # LAST_INSERT_ID() as last known
    uint64_t own_id             # of the current command: the id that the uvloop side wrote into it, 0 for none
    uint8_t id_state            # enum IdState
    uint8_t last_error          # LastError: how the last statement ended
    Buf own_error               # payload of the last ERR packet that no server sent, for SHOW WARNINGS
    uint32_t plan_id            # of the current plan, or of the record that `run_on` asked for
    uint32_t record_error       # of the current command, for its record
    uint64_t record_rows
    Backend* backend
    uint8_t* cmd                # payload of the current command
    size_t cmd_len
    size_t cmd_total            # framed bytes of it at the head of `inb` (0: in the scratch buffer)
    uint8_t big                 # its payload was compacted from several packets
    uint8_t command             # its first byte
    uint8_t resumed             # in the ready list: look at the command again
    Lexed* kept                 # what the lexer found in a parked COM_QUERY; owns its norm and slots
    Script* script              # NULL: the command is one statement
    Buf inb
    Buf out
    Buf extra                   # framed packets to be sent first, one response each
    uint16_t nextra
    Buf deferred                # framed SAVEPOINT … of a transaction that has no shard yet
    uint16_t ndeferred
    Buf once                    # framed SET TRANSACTION … of the next transaction
    Buf once_used               # … of the one that is open: its parts on other shards begin alike
    uint8_t marked              # the open transaction has such, or savepoints that the uvloop side knows
    Statement* exec             # COM_STMT_EXECUTE: what is executed
    Verdict* verdict            # the policy's, of the current command; NULL for none
    Attributes* attributes      # of the current command, or of the script that it is a part of; NULL for none
    uint64_t client             # a lease's: the session for which it works, or NOBODY
    ClientStatement* stmts
    uint32_t stmt_cap
    uint32_t exec_stmt          # the client's id of `exec`: its long data end with the command
    uint32_t cursor_stmt        # PLAN_CURSOR: the client's id of the statement
    uint32_t ncursors           # that are open, all on the attached backend
    size_t long_bytes           # of all long data that wait for their EXECUTE
    uint64_t t_received
    uint64_t t_last             # last activity, for idle timeouts
    uint64_t t_wait
    uint64_t t_sent
    uint64_t bytes_out          # of the current response
    uint64_t deadline           # of waiting
    size_t credit               # lease: most bytes held in `out`
    Pool* pool                  # waiting for
    Session* wait_prev
    Session* wait_next
    Session* event_next
    Session* ready_next
    uint64_t* positions         # per shard, packed; NULL until a write under session consistency
    uint8_t up_kept             # the file that the client sends goes to the uvloop side, by `file`
    uint8_t up_asked            # ... and the answer's number is behind that of its last packet
    uint8_t up_seq              # a client's: of the packet that came last; a lease's: of the next one
    Buf file                    # its bytes, without the packets' heads

cdef struct Backend:
    int fd
    uint32_t index
    uint32_t gen
    uint8_t busy                # a command was sent and its response is not complete
    uint8_t step
    uint8_t step_index
    uint8_t readable
    uint8_t ended               # as of a session
    uint8_t queued
    uint8_t dead
    uint8_t suspect             # enum Suspect: why it is not lent again
    uint8_t attributes          # it wants COM_QUERY with a head and COM_STMT_EXECUTE with names: relay_attributes.pxi
    uint8_t id_odd              # SUSPECT_ID: the answer may not tell whether LAST_INSERT_ID() has changed
    uint64_t last_id            # LAST_INSERT_ID() there, before what has made it suspect
    uint32_t state
    uint32_t want_state
    uint16_t status
    uint32_t thread_id
    Pool* pool
    Session* owner
    Backend* prev               # idle or linger list of the pool
    Backend* next
    Backend* ready_next
    uint8_t in_list             # 0 none, 1 idle, 2 linger
    Scan scan
    Buf out
    Buf carry
    BackendStatement* stmts
    BackendStatement* last_stmt    # the one last looked for, NULL before
    uint64_t t_idle
    uint64_t t_created
    uint64_t served

cdef struct Pool:
    uint32_t id
    int32_t shard
    ShardStats* stats           # of its shard
    uint8_t capclass
    uint8_t remote              # a peer
    uint8_t up
    uint8_t unreachable         # the last attempt to connect has failed: who waits, waits for a failover
    uint8_t read_only           # the server refused a write as read-only: the monitor should look at it
    uint8_t in_events
    uint32_t base               # which variables a fresh connection has: part of a Diff's key
    uint32_t server             # index of the server in the health table, ~0 for none
    uint32_t total
    uint32_t nidle
    uint32_t nlinger
    uint32_t nwait
    uint32_t keep_idle          # so many idle connections stay, however cold
    uint32_t queue_max          # so many sessions may wait
    uint64_t idle_ns            # others are closed after this
    uint64_t age_ns             # a connection older than this is closed when it falls idle
    Backend* idle
    Backend* linger
    Session* wait_head
    Session* wait_tail
    Pool* event_next

cdef struct Route:              # one shard
    int32_t primary[8]          # pool per capability class (CLASSES), -1 none
    int32_t replicas[8][8]
    uint32_t nreplicas
    uint32_t turn
    uint8_t remote
    Buf errors[5]               # ERROR_SHARD_KINDS

cdef struct Vindex:
    uint8_t kind                # 1 hash, 2 range, 3 list
    uint8_t region_kind         # 0 none, 1 bits, 2 list
    uint8_t arity
    uint8_t shift
    uint8_t key_types[2]
    uint8_t ascii_only[2]
    int64_t low[2]              # what the column can store: its numbers, or its length in characters
    uint64_t high[2]
    uint64_t mask
    uint32_t nregions
    uint64_t* region_value      # bits: the number; list: offset << 32 | length of the canonical value
    uint32_t* region_map
    uint8_t* region_bytes
    uint32_t nmaps
    uint16_t* maps              # nmaps * 4096
    uint32_t nbounds
    int64_t* bounds
    int32_t* bound_shards       # nbounds + 1
    uint32_t nitems             # power of two
    uint64_t* item_hash
    int32_t* item_shard         # -1 free
    uint32_t* item_offset       # of the canonical bytes, compared on a hit
    uint32_t* item_length
    uint8_t* item_bytes

cdef struct Diff:
    uint32_t base
    uint32_t from_state
    uint32_t to_state
    uint8_t used
    uint8_t count
    uint8_t expect_init_db      # bit i: packet i is COM_INIT_DB
    uint32_t length[3]
    uint8_t* packets[3]

cdef struct Record:             # how a command ended that is to be recorded
    uint32_t id                 # the plan's, or the one given to `run_on`
    int32_t shard               # -1: it reached none
    uint32_t error              # 0, an errno, or RecordError
    uint64_t fingerprint
    uint64_t rows
    uint64_t bytes
    uint64_t us                 # since the command was received

cdef struct Core:
    int epfd
    int wake_fd                 # uvloop side -> relay
    int event_fd                # relay -> uvloop side
    bint stopping
    bint draining
    bint moving                 # some sessions are DRAIN_MOVE
    uint32_t epoch
    uint64_t now                # ns, refreshed by every receive
    uint64_t slow_us
    uint64_t queue_wait_ns
    uint64_t failover_wait_ns
    uint64_t idle_timeout_ns    # of clients; 0 never
    uint64_t linger_ns
    uint64_t swept_clients
    uint64_t idle_trx_ns        # of clients that hold a backend; 0 never
    size_t max_packet
    # statistics (lane of the relay)
    Header* header
    WorkerStats* stats
    ShardStats* shard_stats
    DigestEntry* digests
    SlowRing* slow
    # tables
    Session** sessions
    uint32_t* session_gens
    uint32_t session_cap
    uint32_t session_free       # stack of free indexes
    uint32_t* session_stack
    Backend** backends
    uint32_t* backend_gens
    uint32_t backend_cap
    uint32_t backend_free
    uint32_t* backend_stack
    Pool** pools
    uint32_t npools
    Route* routes
    uint32_t nroutes
    int32_t* peer_pools         # users * shards' regions * CLASSES, -1 none
    uint32_t* shard_region
    uint32_t nregions
    uint32_t nusers
    uint64_t** user_positions   # shared page rows, NULL when the user's sessions do not share
    BackendHealth** health
    uint32_t nhealth
    Vindex** vindexes
    uint32_t nvindexes
    Plan** plans                # open addressing, power of two
    uint32_t plan_cap
    uint32_t plan_count
    uint32_t plan_hand
    size_t plan_bytes
    size_t plan_bytes_max
    Diff* diffs
    uint32_t diff_cap
    Buf errors[19]              # ERROR_KINDS; the first five are fallbacks for shards without their own
    Buf begins[8]               # framed START TRANSACTION variants
    uint64_t statement_clock    # of uses
    uint64_t statement_ids
    # queues
    Session* events_head
    Session* events_tail
    Pool* pool_events
    Session* ready_sessions
    Session* ready_sessions_tail
    Backend* ready_backends
    Backend* ready_backends_tail
    Backend* doomed             # closed backends, freed at the end of the round
    uint32_t nevents
    bint notify
    uint32_t lost_threads[64]   # (server, thread) pairs to be killed: a client left a running statement behind
    uint32_t lost_servers[64]
    uint32_t nlost
    Record* records             # ring, first to be taken at record_at
    uint32_t record_cap         # record_limit and two for each session, which have passed the limit already
    uint32_t record_limit       # beyond, statements that leave a record park
    uint32_t record_at
    uint32_t nrecords
    uint32_t sample             # one in so many executions of PLAN_SAMPLED plans
    uint64_t chance             # state of the generator that picks them
    bint records_closed         # no statement that leaves a record may run
    # scratch
    uint8_t* scratch
    uint8_t* out
    uint8_t* norm
    Slot* slots
    Lexed lexed
    Session* lexed_for          # whose COM_QUERY `lexed` is about
