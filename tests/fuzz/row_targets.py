"""Answers of servers: the scanner that passes them on, and the rows that are put together."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

from _speedups import packet, rows, scanner

Record = Callable[[object], None]

TYPES = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 246, 253)
SCRAPS = (
    b"", b"0", b"-1", b"1.50", b"-0.25", b"99999999999999999999.99", b"1e300", b"12:34:56.7", b"2024-02-30",
    b"-838:59:59", b"\xff" * 9, b"\0" * 8, b"a" * 40, b"9223372036854775807", b"-9223372036854775808", b".",
)  # fmt: skip
NAMES = [("shop", "users", "email"), ("shop", "users", "id"), ("s" * 64, "t" * 64, "c" * 64)]


def cell(r: random.Random) -> bytes:
    return r.choice(SCRAPS) if r.random() < 0.8 else r.randbytes(r.randrange(30))


def text_row(r: random.Random, columns: int) -> bytes:
    return b"".join(b"\xfb" if r.random() < 0.1 else packet.lenenc(cell(r)) for _ in range(columns))


def binary_row(r: random.Random, columns: int) -> bytes:
    return b"\0" + bytes((columns + 9) // 8) + b"".join(packet.lenenc(cell(r)) for _ in range(columns))


def spoiled(r: random.Random, data: bytes) -> bytes:
    """The bytes, or some others than the protocol has."""
    out = bytearray(data)
    for _ in range(r.choice((0, 0, 0, 1, 3)) if out else 0):
        at = r.randrange(len(out))
        match r.randrange(3):
            case 0:
                out[at] = r.choice((0, 1, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF, r.randrange(256)))
            case 1:
                del out[at : at + r.randrange(1, 9)]
            case 2:
                out[at:at] = r.randbytes(r.randrange(1, 9))
        if not out:
            break
    return bytes(out)


def packets_of_rows(r: random.Random, columns: int, *, binary: bool) -> bytes:
    row = binary_row if binary else text_row
    return spoiled(r, b"".join(packet.frame(row(r, columns), 0) for _ in range(r.randrange(6))))


def encoder(r: random.Random, columns: int, *, binary: bool) -> rows.Encoder:
    pads = {"padded": r.choice((b" ", b"\0 ", b"\1\2\3\4"))}
    kinds = [r.choice(rows.KINDS) for _ in range(r.randrange(1, 3))]
    parts = [(r.randrange(columns), kind, r.random() < 0.3, pads.get(kind, b"")) for kind in kinds]
    return rows.Encoder(parts, binary)


def combine(r: random.Random, columns: int, *, binary: bool) -> rows.Combine:
    scale = r.choice((0, 2, 30))
    return rows.Combine(
        r.choice(rows.OPERATIONS[:-1]), r.randrange(columns), tuple(r.randrange(columns) for _ in range(3)),
        encoder(r, columns, binary=binary), r.random() < 0.3, scale, r.choice((0, 4, scale, 31)),
        r.random() < 0.5, r.random() < 0.5,
    )  # fmt: skip


def put_together(r: random.Random, record: Record) -> None:
    columns, binary, seed = r.randrange(1, 5), r.random() < 0.5, r.getrandbits(64)
    record((columns, binary, seed))
    r = random.Random(seed)
    shape = rows.Shape([r.choice(TYPES) for _ in range(columns)], binary, r.randrange(columns + 1))
    key = encoder(r, columns, binary=binary) if r.random() < 0.9 else None
    groups = rows.Groups(shape, key, [combine(r, columns, binary=binary) for _ in range(r.randrange(4))])
    order = encoder(r, columns, binary=binary)
    funnel = rows.Funnel(shape, order if r.random() < 0.5 else None, r.randrange(3), r.choice((-1, 2)))
    merge = rows.Merge(funnel, order, 2)
    for _ in range(r.randrange(1, 5)):
        given = packets_of_rows(r, columns, binary=binary)
        for step in (
            lambda given=given: groups.feed(given),
            lambda: rows.sorted_rows(shape, order, bytes(groups.rows())),
            lambda given=given: merge.feed(merge.wanting, given) if merge.wanting >= 0 else merge.advance(),
            lambda given=given: rows.keys_of(shape, order, given),
        ):
            with contextlib.suppress(ValueError, OverflowError, ArithmeticError):
                step()


def answer(r: random.Random) -> bytes:
    """Packets of one answer, more or less."""
    columns = r.randrange(4)
    parts = [packet.frame(bytes([columns]), 1)]
    for _ in range(columns):
        names = r.choice(NAMES)
        told = (b"def", names[0].encode(), b"u", names[1].encode(), b"e", names[2].encode())
        parts.append(packet.frame(b"".join(map(packet.lenenc, told)) + b"\x0c" + bytes(12), r.randrange(9)))
    end = packet.frame(r.choice((b"\xfe\0\0\2\0", b"\xfe\0\0\x0a\0", b"\xff\x15\x04#28000no", b"\0\1\0\2\0\0\0")), 4)
    parts += [end, *(packet.frame(text_row(r, columns), 5) for _ in range(r.randrange(4))), end]
    return spoiled(r, b"".join(parts))


def scan(r: random.Random, record: Record) -> None:
    eof, tracked, allowed = r.random() < 0.5, r.random() < 0.5, NAMES if r.random() < 0.5 else None
    data, seed = answer(r) + answer(r), r.getrandbits(64)
    record((eof, tracked, allowed, data, seed))
    r = random.Random(seed)
    found = scanner.ResponseScanner(0, eof, tracked, allowed)
    stream = scanner.RowStream(eof)
    while data:
        chunk = data[: r.choice((1, 3, 17, len(data)))]
        with contextlib.suppress(ValueError):
            stream.feed(chunk)
        used, complete = len(chunk), True
        with contextlib.suppress(ValueError):
            used, complete = found.feed(chunk)
        if complete:
            found.again()
        data = data[max(1, used) :]
