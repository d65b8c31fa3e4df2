from typing import Final, NamedTuple, Protocol

# Slot kinds
NONE: Final[int]
INT: Final[int]
DECIMAL: Final[int]
FLOAT: Final[int]
STRING: Final[int]
HEX: Final[int]
BIT: Final[int]
PARAM: Final[int]
LIST: Final[int]
ROWS: Final[int]
NULL_WORD: Final[int]

# Slot flags
ESCAPED: Final[int]
CONCAT: Final[int]
INTRODUCER: Final[int]
NATIONAL: Final[int]
NEG: Final[int]

# Statement flags
USER_VAR: Final[int]
SYS_VAR: Final[int]
MULTI: Final[int]
VERSION_COMMENT: Final[int]
PARAMS: Final[int]
HAS_HINT: Final[int]
NUL_BYTE: Final[int]
UNTERMINATED: Final[int]
INTO: Final[int]
FOR: Final[int]
LOCK: Final[int]
CALC_FOUND_ROWS: Final[int]
HIGH_BYTE: Final[int]
OPTIMIZER_HINT: Final[int]
MIXED_ROWS: Final[int]

# Errors
OK: Final[int]
TOO_LONG: Final[int]
TOO_MANY: Final[int]
MALFORMED: Final[int]

# Mode bits
ANSI_QUOTES: Final[int]
NO_BACKSLASH_ESCAPES: Final[int]
UNSAFE_CHARSET: Final[int]
FIRST_STATEMENT: Final[int]
MARIADB: Final[int]

class LiteralSlot(NamedTuple):
    kind: int
    offset: int
    length: int
    count: int = 1  # type: ignore[assignment]
    flags: int = 0
    param: int = 0
    at: int = 0

class LexedStatement(NamedTuple):
    fingerprint: int
    norm: bytes
    slots: list[LiteralSlot]
    flags: int
    hint: tuple[int, int] | None
    error: int
    params: int
    rest: int

class _Slot(Protocol):
    @property
    def kind(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def param(self) -> int: ...

def lex(sql: bytes, mode: int = 0) -> LexedStatement: ...
def list_items(sql: bytes, mode: int, slot: _Slot) -> list[LiteralSlot]: ...
def list_spans(sql: bytes, mode: int, slot: _Slot) -> list[tuple[int, int]]: ...
def row_items(sql: bytes, mode: int, slot: _Slot, k: int) -> list[LiteralSlot]: ...
def row_spans(sql: bytes, mode: int, slot: _Slot) -> list[tuple[int, int]]: ...
def repeat(sql: bytes, mode: int, rounds: int) -> int: ...
