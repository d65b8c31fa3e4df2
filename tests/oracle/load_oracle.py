"""How a file is read by LOAD DATA, the plain way: the whole of it at once, one field after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from router.files import FileFormat

ESCAPES = {ord("n"): 10, ord("t"): 9, ord("r"): 13, ord("b"): 8, ord("0"): 0, ord("Z"): 26}


@dataclass(frozen=True, slots=True)
class Row:
    """`raw`: its bytes, from LINES STARTING BY to the line's end; `fields`: their values, None for NULL."""

    raw: bytes
    fields: tuple[bytes | None, ...]


def rows(data: bytes, form: FileFormat, fields: int) -> Iterator[Row]:
    at = 0
    for _ in range(form.ignored):
        at = _line_end(data, at, form)
    while True:
        if form.line_start:
            at = data.find(form.line_start, at)
            if at < 0:
                return
        start, at = at, at + len(form.line_start)
        if at >= len(data):
            return
        found: list[bytes | None] = []
        ended = False
        while len(found) < fields and not ended and at < len(data):
            value, at, ended = _field(data, at, form)
            found.append(value)
        if not ended and len(found) == fields:
            at = _line_end(data, at, form)
        yield Row(data[start:at], tuple(found))


def _line_end(data: bytes, at: int, form: FileFormat) -> int:
    while at < len(data):
        if form.escaped and data[at : at + 1] == form.escaped:
            at += 2
        elif data.startswith(form.line_term, at):
            return at + len(form.line_term)
        else:
            at += 1
    return len(data)


def _field(data: bytes, at: int, form: FileFormat) -> tuple[bytes | None, int, bool]:
    """(value, where the next one begins, whether the line ends here)."""
    quoted = bool(form.enclosed) and data[at : at + 1] == form.enclosed
    out, null = bytearray(), False
    at += quoted
    while at < len(data):
        one, two = data[at : at + 1], data[at + 1 : at + 2]
        if one == form.escaped and form.escaped and (form.escaped != form.enclosed or two in (one, b"")):
            if not two:
                return _value(form.enclosed * quoted + bytes(out) + one, form, null, False), len(data), True
            null |= two == b"N"
            out.append(ESCAPES.get(two[0], two[0]))
            at += 2
        elif quoted and one == form.enclosed:
            if not two:
                return _value(bytes(out), form, null, True), len(data), True
            if two == one:
                out += one
                at += 2
                continue
            for term in (form.line_term, form.field_term):
                if data.startswith(term, at + 1):
                    return _value(bytes(out), form, null, True), at + 1 + len(term), term is form.line_term
            out += one
            at += 1
        elif not quoted and data.startswith(form.line_term, at):
            return _value(bytes(out), form, null, False), at + len(form.line_term), True
        elif not quoted and data.startswith(form.field_term, at):
            return _value(bytes(out), form, null, False), at + len(form.field_term), False
        else:
            out += one
            at += 1
    return _value(form.enclosed * quoted + bytes(out), form, null, False), len(data), True


def _value(value: bytes, form: FileFormat, null: bool, enclosed: bool) -> bytes | None:
    if (null and len(value) == 1) or (form.enclosed and not enclosed and value == b"NULL"):
        return None
    return value
