"""How the file of a LOAD DATA is read, as far as its rows are parted by it."""

from __future__ import annotations

from dataclasses import dataclass

_UTF8 = {"utf8": 3, "utf8mb3": 3, "utf8mb4": 4}
"""Bytes of a character, at most."""
_SINGLE = frozenset(
    {"armscii8", "ascii", "binary", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "dec8"}
    | {"geostd8", "greek", "hebrew", "keybcs2", "koi8r", "koi8u", "latin1", "latin2", "latin5", "latin7", "macce"}
    | {"macroman", "tis620"}
)
CHARSETS = _SINGLE | _UTF8.keys()
"""Those in which an ASCII byte is that character wherever it stands, for MySQL and MariaDB."""


def utf8_bytes(charset: str) -> int:
    """Bytes that a character has at most in a file of this character set; 0 when it is none of Unicode's."""
    return _UTF8.get(charset, 0)


@dataclass(frozen=True, slots=True)
class FileFormat:
    """FIELDS and LINES, `ignored` lines at its head, and its character set; None: the database's."""

    field_term: bytes = b"\t"
    line_term: bytes = b"\n"
    line_start: bytes = b""
    enclosed: bytes = b""
    escaped: bytes = b"\\"
    ignored: int = 0
    charset: str | None = None
