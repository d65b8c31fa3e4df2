"""How the weight strings of a collation compare: what WEIGHT_STRING leaves to its reader is trailing spaces.

PAD SPACE collations compare as if the shorter text were followed by spaces without end, so the weight of a space must
be known; NO PAD ones compare byte by byte. MySQL Reference Manual, WEIGHT_STRING(); SQL:2016 8.2.
"""

from __future__ import annotations

import re

NO_PAD = b""

_BYTE = b"\x20"
_TWO = b"\x00\x20"
_CODE_POINT = b"\x00\x00\x20"
_UCA, _UCA_520 = b"\x02\x09", b"\x02\x0a"
_BMP = ("utf8", "utf8mb3", "utf8mb4", "ucs2")
_SINGLE = frozenset({"latin1", "ascii", "latin2", "latin5", "latin7", "cp1250", "cp1251", "cp1256", "cp1257", "greek"})
_CZECH = frozenset({"latin2_czech_cs", "cp1250_czech_cs"})
# Several levels of weights behind each other: no unit that could be padded.
_LEVELS = re.compile(r"_w2$|_uca1400_.*(?:_as_|_cs$)|_uca1400_a._cs$")


class UnknownCollation(ValueError):
    """A collation whose weight strings are not known to compare as the server compares."""


def space_weight(collation: str) -> bytes:
    """The weight of a space, NO_PAD where trailing spaces count. Raises UnknownCollation."""
    name = collation.lower()
    charset = name.partition("_")[0]
    if name == "binary" or "_nopad_" in name or "_0900_" in name:
        return NO_PAD
    if _LEVELS.search(name) or name in _CZECH:
        raise UnknownCollation(collation)
    if charset in _SINGLE:
        return _BYTE
    if charset not in _BMP:
        raise UnknownCollation(collation)
    if name.endswith("_bin"):
        return _CODE_POINT if charset == "utf8mb4" else _TWO
    if "_general_" in name or name.endswith("_tolower_ci"):
        return _TWO
    if "_unicode_520_" in name or "_myanmar_" in name:
        return _UCA_520
    return _UCA
