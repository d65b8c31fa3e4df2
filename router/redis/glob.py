"""Redis's glob patterns (util.c, stringmatchlen): `?`, `*`, `[a-z]`, `[^…]`, `\\x`."""

from __future__ import annotations

import functools
import re


def matches(pattern: bytes, text: bytes) -> bool:
    return _compiled(pattern).fullmatch(text) is not None


@functools.lru_cache(256)
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    parts: list[bytes] = []
    at = 0
    while at < len(pattern):
        part, at = _part(pattern, at)
        if part != b".*" or parts[-1:] != [b".*"]:
            parts.append(part)
    return re.compile(b"".join(parts), re.DOTALL)


def _part(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The expression of what begins at `at`, and where the next begins."""
    one = pattern[at : at + 1]
    if one == b"*":
        return b".*", at + 1
    if one == b"?":
        return b".", at + 1
    if one == b"[":
        return _choice(pattern, at + 1)
    if one == b"\\" and at + 1 < len(pattern):
        return re.escape(pattern[at + 1 : at + 2]), at + 2
    return re.escape(one), at + 1


def _choice(pattern: bytes, at: int) -> tuple[bytes, int]:
    """Without a closing bracket it reaches to the end."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    wanted: set[int] = set()
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            wanted.add(pattern[at + 1])
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            wanted.update(range(low, high + 1))
            at += 3
        else:
            wanted.add(pattern[at])
            at += 1
    if negated:
        wanted = set(range(256)) - wanted
    choice = b"".join(b"\\x%02x" % one for one in sorted(wanted))
    return (b"[%b]" % choice if choice else b"(?!)"), at + 1
