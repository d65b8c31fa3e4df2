"""Literals of a statement as Python values, as a session of this sql_mode and character set reads them.

What cannot be read for certain raises `Unpinnable`: the caller widens a read and refuses a write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from _speedups import lexer
from _speedups.lexer import LiteralSlot
from router.keys import Unpinnable, Value
from router.text import Text

Params = Sequence[Value]
"""The parameters of one execution of a prepared statement, decoded: int, float, Decimal, str, bytes, None."""

_CODECS = {"utf8mb4": "utf-8", "utf8mb3": "utf-8", "utf8": "utf-8", "ascii": "ascii", "latin1": "cp1252"}
_PIECE = re.compile(rb"'((?:[^']|'')*)'|\"((?:[^\"]|\"\")*)\"", re.DOTALL)
_PIECE_ESCAPED = re.compile(rb"'((?:[^'\\]|\\.|'')*)'|\"((?:[^\"\\]|\\.|\"\")*)\"", re.DOTALL)
_ESCAPES = {ord("0"): 0, ord("b"): 8, ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("Z"): 26}


def value(
    sql: Text,
    slot: LiteralSlot,
    mode: int,
    params: Params = (),
    charset: str = "utf8mb4",
    negate: bool = False,
) -> Value:
    """The value of one slot: int, Decimal, float, str, bytes or None. `negate`: a minus stands before it."""
    negate = negate or bool(slot.flags & lexer.NEG)
    found = _value(sql, slot, mode, params, charset)
    if not negate:
        return found
    if isinstance(found, bool) or not isinstance(found, int | float | Decimal):
        raise Unpinnable("a minus before text makes it a floating-point number")
    return -found


def _value(sql: Text, slot: LiteralSlot, mode: int, params: Params, charset: str) -> Value:
    text = sql[slot.offset : slot.offset + slot.length]
    if slot.kind == lexer.PARAM:
        if slot.param >= len(params):
            raise Unpinnable("the parameter is not known yet")
        return params[slot.param]
    if slot.kind == lexer.NULL_WORD:
        return None
    if slot.kind == lexer.INT:
        return int(text)
    if slot.kind == lexer.DECIMAL:
        return Decimal(text.decode("ascii"))
    if slot.kind == lexer.FLOAT:
        return float(text)
    if slot.kind == lexer.STRING:
        return _string(text, slot, mode, charset)
    if slot.kind == lexer.HEX:
        return _hex(text)
    if slot.kind == lexer.BIT:
        return _bits(text)
    raise Unpinnable("not a plain literal")


def _string(text: bytes, slot: LiteralSlot, mode: int, charset: str) -> str:
    if slot.flags & lexer.INTRODUCER:
        raise Unpinnable("a character set introducer stands before the text")
    if slot.flags & lexer.NATIONAL:
        text, charset = text[1:].lstrip(), "utf8mb4"
    data = _unquoted(text, mode)
    codec = _CODECS.get(charset)
    if codec is None and not data.isascii():
        raise Unpinnable(f"text in character set {charset}")
    try:
        return data.decode(codec or "ascii")
    except UnicodeDecodeError:
        raise Unpinnable("the text is not valid in the session's character set") from None


def _unquoted(text: bytes, mode: int) -> bytes:
    """The bytes between the quotes; adjacent pieces are joined, escapes and doubled quotes undone."""
    backslashes = not mode & lexer.NO_BACKSLASH_ESCAPES
    out = bytearray()
    for piece in (_PIECE_ESCAPED if backslashes else _PIECE).finditer(_without_comments(text, backslashes)):
        quote, inside = piece[0][:1], piece[1] if piece[1] is not None else piece[2]
        inside = inside.replace(quote * 2, quote) if not backslashes else _unescaped(inside, quote)
        out += inside
    return bytes(out)


def _without_comments(text: bytes, backslashes: bool) -> bytes:
    """Comments may stand between the pieces of 'a' /* … */ 'b', and may hold quotes."""
    if not re.search(rb"/\*|--|#", text):
        return text
    pattern = _PIECE_ESCAPED.pattern if backslashes else _PIECE.pattern
    token = re.compile(rb"(?P<piece>" + pattern + rb")|/\*.*?\*/|--[^\n]*|#[^\n]*|.", re.DOTALL)
    return b" ".join(match["piece"] for match in token.finditer(text) if match["piece"] is not None)


def _unescaped(inside: bytes, quote: bytes) -> bytes:
    if b"\\" not in inside and quote not in inside:
        return inside
    out = bytearray()
    index = 0
    while index < len(inside):
        byte = inside[index]
        if byte == 0x5C and index + 1 < len(inside):
            following = inside[index + 1]
            # \% and \_ keep their backslash outside of LIKE (MySQL manual 11.1.1).
            kept = following in b"%_"
            out += bytes((byte, following) if kept else (_ESCAPES.get(following, following),))
            index += 2
        elif byte == quote[0]:
            out.append(byte)
            index += 2
        else:
            out.append(byte)
            index += 1
    return bytes(out)


def _hex(text: bytes) -> bytes:
    digits = text[2:-1] if text[:1] in b"xX" else text[2:]
    if len(digits) % 2:
        digits = b"0" + digits
    return bytes.fromhex(digits.decode("ascii"))


def _bits(text: bytes) -> bytes:
    digits = text[2:-1] if text[:1] in b"bB" else text[2:]
    number = int(digits or b"0", 2)
    return number.to_bytes(max(1, (len(digits) + 7) // 8), "big")
