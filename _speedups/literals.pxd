# The words that the lexer, the key functions and the relay share: what a literal is, how a session lexes,
# what type a key column has. Only constants, so there is no module behind this file.

cdef enum LiteralKind:
    LIT_NONE = 0        # not a plain literal: a function, DEFAULT, an arithmetic expression
    LIT_INT = 1
    LIT_DECIMAL = 2
    LIT_FLOAT = 3
    LIT_STRING = 4
    LIT_HEX = 5         # x'0F' or 0x0F
    LIT_BIT = 6         # b'01' or 0b01
    LIT_PARAM = 7       # ? of a prepared statement
    LIT_LIST = 8        # the inside of IN (…)
    LIT_ROWS = 9        # (…), (…) after VALUES or inside IN (…)
    LIT_NULL = 10

cdef enum SlotFlag:
    SLOT_ESCAPED = 1        # a backslash escape or a doubled quote is in the text
    SLOT_CONCAT = 2         # 'a' 'b'
    SLOT_INTRODUCER = 4     # a word that starts with _ stands before it
    SLOT_NATIONAL = 8       # N'…'
    SLOT_NEG = 16           # a minus stands before the number (items of lists and rows only)

cdef enum SqlMode:
    MODE_ANSI_QUOTES = 1
    MODE_NO_BACKSLASH_ESCAPES = 2
    MODE_UNSAFE_CHARSET = 4
    MODE_MARIADB = 8
    MODE_LEXER_BITS = 255       # what changes the fingerprint; the bits above are for canonical_* only
    MODE_ASCII_KEYS = 256       # the session's charset is not UTF-8: a key byte >= 0x80 is refused
    MODE_BINARY_COLUMN = 512    # the key column is BINARY or VARBINARY: hex and bit literals are its bytes
    MODE_FIRST_STATEMENT = 1024     # stop behind the first of several statements

cdef enum FieldType:    # enum_field_types, as far as a client may send them
    TYPE_DECIMAL = 0
    TYPE_TINY = 1
    TYPE_SHORT = 2
    TYPE_LONG = 3
    TYPE_FLOAT = 4
    TYPE_DOUBLE = 5
    TYPE_NULL = 6
    TYPE_TIMESTAMP = 7
    TYPE_LONGLONG = 8
    TYPE_DATE = 10
    TYPE_TIME = 11
    TYPE_DATETIME = 12
    TYPE_VARCHAR = 15
    TYPE_JSON = 245
    TYPE_NEWDECIMAL = 246
    TYPE_ENUM = 247
    TYPE_SET = 248
    TYPE_TINY_BLOB = 249
    TYPE_MEDIUM_BLOB = 250
    TYPE_LONG_BLOB = 251
    TYPE_BLOB = 252
    TYPE_VAR_STRING = 253
    TYPE_STRING = 254
    TYPE_GEOMETRY = 255

cdef enum KeyType:
    KEY_INT_SIGNED = 1
    KEY_INT_UNSIGNED = 2
    KEY_BYTES = 3
    KEY_BYTES_PAD = 4
    KEY_CI_PAD = 5
    KEY_CI_NOPAD = 6

cdef enum:
    KEY_PUNT = -1       # no canonical key: whoever asked must park or refuse the statement
    KEY_MAX = 1024      # bytes of the longest canonical key
