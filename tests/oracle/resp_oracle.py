"""Redis's protocol, read slowly: the whole input at once, recursion, no state."""

from __future__ import annotations

MAX_ARGS = 1048576
MAX_BULK = 512 << 20


class Bad(Exception):
    """No request, no reply."""


class More(Exception):
    """Not complete."""


def requests(data: bytes) -> list[list[bytes]]:
    """The complete requests at the head of `data`. Raises Bad where one is none."""
    found: list[list[bytes]] = []
    at = 0
    try:
        while at < len(data):
            arguments, at = _request(data, at)
            if arguments:
                found.append(arguments)
    except More:
        pass
    return found


def _request(data: bytes, at: int) -> tuple[list[bytes], int]:
    if data[at : at + 1] != b"*":
        raise Bad("inline")
    count, at = _length(data, at + 1)
    if count < -1 or count > MAX_ARGS:
        raise Bad("count")
    arguments = []
    for _ in range(max(0, count)):
        if at >= len(data):
            raise More
        if data[at : at + 1] != b"$":
            raise Bad("type")
        length, at = _length(data, at + 1)
        if not 0 <= length <= MAX_BULK:
            raise Bad("length")
        if at + length + 2 > len(data):
            raise More
        if data[at + length : at + length + 2] != b"\r\n":
            raise Bad("end")
        arguments.append(data[at : at + length])
        at += length + 2
    return arguments, at


def _length(data: bytes, at: int) -> tuple[int, int]:
    end = data.find(b"\r", at)
    if end < 0 or end + 1 >= len(data):
        raise More
    text = data[at:end]
    if data[end + 1 : end + 2] != b"\n" or not text or (text != b"-1" and not text.isdigit()):
        raise Bad("number")
    if len(text) > 1 and text.startswith(b"0"):
        raise Bad("zero")
    return int(text), end + 2


def reply_end(data: bytes, at: int = 0) -> int:
    """Where the reply that begins at `at` ends. Raises More or Bad."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise More
    kind, line = data[at : at + 1], data[at + 1 : end]
    after = end + 2
    if kind in (b"+", b"-", b":", b"_", b",", b"#", b"("):
        return after
    if not line or (line != b"-1" and not line.isdigit()):
        raise Bad("number")
    count = int(line)
    if kind in (b"$", b"!", b"="):
        if count < 0:
            return after
        if after + count + 2 > len(data):
            raise More
        return after + count + 2
    if kind not in (b"*", b"~", b">", b"%", b"|"):
        raise Bad("type")
    for _ in range(count * 2 if kind in (b"%", b"|") else max(0, count)):
        after = reply_end(data, after)
    return reply_end(data, after) if kind == b"|" else after
