from typing import Final

# Key types
INT_SIGNED: Final[int]
INT_UNSIGNED: Final[int]
BYTES: Final[int]
BYTES_PAD: Final[int]
CI_PAD: Final[int]
CI_NOPAD: Final[int]

MAX_KEY: Final[int]

# Mode bits beside the lexer's
ASCII_KEYS: Final[int]
BINARY_COLUMN: Final[int]

def xxh64(data: bytes, seed: int = 0) -> int: ...
def bucket(key: bytes) -> int: ...
def canonical_key(
    key_type: int, literal: bytes, kind: int = 4, flags: int = 0, mode: int = 0
) -> bytes | None: ...
def canonical_value(key_type: int, value: bytes, mode: int = 0) -> bytes | None: ...
def canonical_parameter(
    key_type: int, data: bytes, field_type: int, is_unsigned: bool = False, mode: int = 0
) -> tuple[bytes | None, int]: ...
