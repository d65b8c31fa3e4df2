# One pass over a statement: normalised template, literal slots, flags, fingerprint. See lexer.pyx.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef enum LexFlag:
    LEX_USER_VAR = 1
    LEX_SYS_VAR = 2
    LEX_MULTI = 4               # a second statement follows; its text begins at `rest`
    LEX_VERSION_COMMENT = 8     # /*! … */ or /*M! … */
    LEX_PARAMS = 16
    LEX_HAS_HINT = 32
    LEX_NUL_BYTE = 64           # a NUL outside of string literals (error MALFORMED as well)
    LEX_UNTERMINATED = 128      # a quote or a comment never ends (error MALFORMED as well)
    LEX_INTO = 256
    LEX_FOR = 512
    LEX_LOCK = 1024
    LEX_CALC_FOUND_ROWS = 2048
    LEX_HIGH_BYTE = 4096        # a byte >= 0x80 outside of quotes and comments, read as UTF-8 sessions do
    LEX_OPTIMIZER_HINT = 8192   # /*+ … */, kept in norm: SET_VAR can change what a statement answers
    LEX_MIXED_ROWS = 16384      # rows of VALUES differ in NULL or sign only; norm says VALUES /*mixed*/ (…)

cdef enum LexError:
    LEX_OK = 0
    LEX_TOO_LONG = 1        # norm does not fit
    LEX_TOO_MANY = 2        # slots do not fit
    LEX_MALFORMED = 3       # no server, or not every server, reads this text as one clear token sequence

cdef enum:
    NORM_CAP = 65536        # the contract's bound of norm; NORM_SLACK bytes of it are scratch
    NORM_SLACK = 32
    SLOTS_CAP = 1024

cdef struct Slot:
    uint32_t off        # in the statement's text
    uint32_t len        # of the literal, quotes included
    uint32_t count      # LIST: elements, ROWS: rows, else 1
    uint32_t param      # how many ? stand before this slot: the ordinal of a PARAM
    uint32_t at         # in norm: the slot's `?`; of ROWS the first row's `(`
    uint8_t kind        # LiteralKind
    uint8_t flags       # SlotFlag

cdef struct Lexed:
    # given by the caller
    uint8_t* norm
    uint32_t norm_cap       # > NORM_SLACK
    uint32_t slots_cap
    Slot* slots
    # results
    uint64_t fingerprint    # xxh64(norm, seed = mode & MODE_LEXER_BITS)
    uint32_t norm_len
    uint32_t n_slots
    uint32_t n_params
    uint32_t flags
    uint32_t hint_off       # inside of /* fairlead: … */, trimmed; meaningful with LEX_HAS_HINT
    uint32_t hint_len
    uint32_t rest           # LEX_MULTI: where the second statement's text begins
    int32_t error           # LexError; on error only `error` and `flags` mean anything

cdef struct LiteralIter:
    const uint8_t* sql
    uint32_t pos
    uint32_t end
    uint32_t mode
    uint32_t param
    uint32_t item_off       # the element that was just read, its minus sign included: what a splice replaces
    uint32_t item_len
    uint32_t row_off        # row_next: the row that was just read, parentheses included
    uint32_t row_len

# What lexer.lex returns, of `found`.
cdef object python_statement(const Lexed* found)

# Returns out.error. A statement longer than 2**31 bytes is LEX_TOO_LONG.
cdef int lex_into(const uint8_t* sql, size_t n, uint32_t mode, Lexed* out) noexcept nogil

# For a LIST or a ROWS slot of this statement (sql must be the same text, mode the same bits).
cdef void iter_begin(LiteralIter* it, const uint8_t* sql, uint32_t mode, const Slot* slot) noexcept nogil
# 1: `item` is the next element of a LIST; 0: no more; -1: the text is not a list of literals.
cdef int list_next(LiteralIter* it, Slot* item) noexcept nogil
# 1: `item` is the k-th (from 0) expression of the next row, kind LIT_NONE when it is no plain literal (off
# and
# len then span the expression) and row_off/row_len span the row; 0: no more rows; -1: the row has no k-th
# expression or the text is not rows.
cdef int row_next(LiteralIter* it, uint32_t k, Slot* item) noexcept nogil
