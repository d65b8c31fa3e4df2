"""What is fuzzed: a target does one iteration from a seeded random source, inside of the sanitized python."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import probe

from _speedups import hashing, lexer, packet
from tests.fuzz import mysql_targets, redis_targets, row_targets

Record = Callable[[object], None]
Target = Callable[[random.Random, Record], None]

CASES = Path(__file__).parents[1] / "cases" / "lexer.jsonl"
SEEDS = [json.loads(line)["sql"].encode("latin-1") for line in CASES.read_text().splitlines()]
INTERESTING = [
    b"'", b'"', b"`", b"\\", b"''", b"/*", b"*/", b"/*!50000", b"/*M!", b"/*+", b"-- ", b"--", b"#",
    b"\n", b"\0", b"/* fairlead:", b"(", b")", b",", b";", b"?", b"@", b"@@", b".", b"0x", b"x'", b"N'",
    b"1e", b"IN (", b"VALUES (", b"ORDER BY ", b"NULL", b"-", b"\xff", b"_utf8", b" " * 9, b"a" * 70,
    b"SQL_CALC_FOUND_ROWS", b"$$", b"\\N",
]  # fmt: skip
SOUP = b"'\"`\\-*/#!@?.,;()xXbBnN019eE+_$ \n\0\x80aI"
MODES = [0, 1, 2, 3, 8, 9, 256, 512, 4]
NEAR_POWERS = [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 1023, 1024, 1025]


def mutated(r: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(r.choice((0, 1, 1, 2, 3, 8))):
        at = r.randrange(len(out) + 1)
        match r.randrange(6):
            case 0:
                out[at:at] = r.choice(INTERESTING)
            case 1:
                del out[at : at + r.randrange(1, 6)]
            case 2 if at < len(out):
                out[at] = r.randrange(256)
            case 3:
                out[at:at] = out[at : at + r.randrange(1, 40)]
            case 4:
                other = r.choice(SEEDS)
                out[at:] = other[r.randrange(len(other) + 1) :]
            case 5:
                del out[at:]
    return bytes(out)


def sql(r: random.Random) -> bytes:
    match r.randrange(8):
        case 0:
            return bytes(r.choice(SOUP) for _ in range(r.randrange(40)))
        case 1:
            return b"".join(r.choice(INTERESTING) for _ in range(r.randrange(20)))
        case 2:
            return r.choice(SEEDS) * r.randrange(1, 6)
    return mutated(r, r.choice(SEEDS))


def key_room(r: random.Random) -> int:
    return r.choice([*NEAR_POWERS, 1024, 1024])


def lex(r: random.Random, record: Record) -> None:
    text, mode = sql(r), r.choice(MODES)
    norm_cap = probe.SLACK + r.choice((1, 2, len(text), 2 * len(text) + 64, r.randrange(1, 100)))
    arguments = (text, mode, max(norm_cap, probe.SLACK + 1), r.choice((0, 1, 2, 5, 64)), key_room(r))
    record(arguments)
    probe.lex(*arguments)
    lexer.lex(text, mode)


def iterate(r: random.Random, record: Record) -> None:
    text = sql(r)
    start = r.randrange(len(text) + 1)
    arguments = (
        text,
        r.choice(MODES),
        r.choice((8, 9)),
        start,
        r.randrange(len(text) + 1 - start),
        key_room(r),
    )
    record(arguments)
    probe.iterate(*arguments)


def keys(r: random.Random, record: Record) -> None:
    literal = sql(r)
    if r.random() < 0.5:
        quote = r.choice((b"'", b'"', b"x'", b"b'", b"0x", b""))
        literal = quote + r.choice((literal, r.randbytes(r.choice(NEAR_POWERS)))) + quote[-1:]
    arguments = (literal, r.randrange(12), r.randrange(32), r.choice(MODES), key_room(r))
    record(arguments)
    probe.key(*arguments)


def parameters(r: random.Random, record: Record) -> None:
    value = r.choice((r.randbytes(r.randrange(20)), b"%d" % r.getrandbits(r.randrange(1, 66)), sql(r)))
    data = packet.lenenc(value) if r.random() < 0.7 else value
    data = data[: r.randrange(len(data) + 1)] if r.random() < 0.3 else data
    arguments = (
        data,
        r.choice([*range(17), *range(244, 256)]),
        r.random() < 0.5,
        r.choice(MODES),
        key_room(r),
    )
    record(arguments)
    probe.parameter(*arguments)
    hashing.canonical_parameter(r.randrange(1, 7), *arguments[:4])


def digests(r: random.Random, record: Record) -> None:
    data, seed = r.randbytes(r.choice([*NEAR_POWERS, r.randrange(300)])), r.getrandbits(64)
    record((data, seed))
    probe.digest(data, seed)


def packets(r: random.Random, record: Record) -> None:
    data = r.choice(
        (r.randbytes(r.randrange(30)), bytes(r.choice(b"\0\1\3\xfa\xfb\xfc\xfd\xfe\xff") for _ in range(12)))
    )
    if r.random() < 0.5:
        data = packet.frame(data, r.randrange(256)) + packet.lenenc(data)
        data = data[: r.randrange(len(data) + 1)]
    n = r.randrange(-1, 8)
    record((data, n))
    probe.heads(data)
    for read in (
        lambda: packet.split_packets(data),
        lambda: packet.slice_row(data, n),
        lambda: packet.row_offsets(data, n),
        lambda: packet.read_lenenc(data, n),
        lambda: packet.read_lenenc_integer(data, n),
        lambda: packet.read_nul_string(data, n),
    ):
        with contextlib.suppress(packet.MalformedPacket):
            read()


TARGETS: dict[str, Target] = {
    "lex": lex,
    "iterate": iterate,
    "keys": keys,
    "parameters": parameters,
    "digests": digests,
    "packets": packets,
    "rows": row_targets.put_together,
    "answers": row_targets.scan,
    "relay": mysql_targets.relay,
    "redis_requests": redis_targets.requests,
    "redis_replies": redis_targets.replies,
    "redis_relay": redis_targets.relay,
}
