"""Values of the Redis protocol as Python values, both ways; for what is rare and for tests.

https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 32
"""Deeper replies are refused by `decode`; Redis's own stay below ten."""


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple string, `+OK`."""

    text: str


@dataclass(frozen=True, slots=True)
class Error:
    """An error reply, with its first word: `ERR unknown command …`."""

    text: str


@dataclass(frozen=True, slots=True)
class Push:
    """An out-of-band message; an array to RESP2 clients."""

    items: tuple[Any, ...]


OK = Simple("OK")
QUEUED = Simple("QUEUED")


class NotResp(ValueError):
    """Bytes that are no reply."""


def request(*arguments: bytes | str | int) -> bytes:
    """A command as clients send it."""
    parts = [_raw(one) for one in arguments]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in parts)


def _raw(value: bytes | str | int) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(value).encode()


def encode(value: Any, protocol: int) -> bytes:
    """A reply: None, bool, int, float, bytes, str (as bulk), Simple, Error, Push, list, set, Mapping, by protocol."""
    match value:
        case None:
            return b"_\r\n" if protocol == 3 else b"$-1\r\n"
        case bool():
            return (b"#t\r\n" if value else b"#f\r\n") if protocol == 3 else b":%d\r\n" % value
        case int():
            return b":%d\r\n" % value
        case float():
            return b",%b\r\n" % _number(value) if protocol == 3 else encode(_number(value), 2)
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case str():
            return encode(value.encode(), protocol)
        case Simple():
            return b"+%b\r\n" % value.text.encode()
        case Error():
            return b"-%b\r\n" % one_line(value.text).encode()
        case Push():
            return _many(b">" if protocol == 3 else b"*", value.items, protocol)
        case Mapping():
            return _mapping(value, protocol)
        case set() | frozenset():
            return _many(b"~" if protocol == 3 else b"*", value, protocol)
        case list() | tuple():
            return _many(b"*", value, protocol)
    raise TypeError(f"{type(value).__name__} is no reply")


def one_line(text: str) -> str:
    """An error's text is one line; what a client sent may hold more."""
    return text.replace("\r", " ").replace("\n", " ")


def _number(value: float) -> bytes:
    if value in (float("inf"), float("-inf")):
        return b"inf" if value > 0 else b"-inf"
    return b"%.17g" % value


def _many(mark: bytes, items: Iterable[Any], protocol: int) -> bytes:
    parts = [encode(one, protocol) for one in items]
    return mark + b"%d\r\n" % len(parts) + b"".join(parts)


def _mapping(value: Mapping[Any, Any], protocol: int) -> bytes:
    parts = [encode(one, protocol) for pair in value.items() for one in pair]
    mark = b"%%%d\r\n" % len(value) if protocol == 3 else b"*%d\r\n" % len(parts)
    return mark + b"".join(parts)


def decode(data: bytes) -> Any:
    """One whole reply. Maps become dict (list of pairs where a key cannot be one), sets list, attributes are dropped.

    Raises NotResp.
    """
    value, end = _decode(data, 0, 0)
    if end != len(data):
        raise NotResp("bytes behind the reply")
    return value


def elements(data: bytes) -> list[bytes]:
    """The items of an array, set or push reply, each as it was sent. Raises NotResp."""
    if data[:1] not in b"*~>" or not data:
        raise NotResp("not an array")
    count, at = _line_number(data, 1)
    found = []
    for _ in range(max(0, count)):
        _, end = _decode(data, at, 1)
        found.append(data[at:end])
        at = end
    return found


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise NotResp("nested too deeply")
    kind = data[at : at + 1]
    if kind in (b"+", b"-", b":", b",", b"#", b"(", b"_") and kind:
        end = data.index(b"\r\n", at)
        return _simple(kind, data[at + 1 : end]), end + 2
    count, at = _line_number(data, at + 1)
    if kind in (b"$", b"=", b"!") and kind:
        return _bulk(kind, data, at, count)
    if kind in (b"*", b"~", b">", b"%", b"|") and kind:
        return _aggregate(kind, data, at, count, depth)
    raise NotResp(f"no type {kind!r}")


def _line_number(data: bytes, at: int) -> tuple[int, int]:
    try:
        end = data.index(b"\r\n", at)
        return int(data[at:end]), end + 2
    except ValueError:
        raise NotResp("no length") from None


def _simple(kind: bytes, text: bytes) -> Any:
    match kind:
        case b"+":
            return Simple(text.decode("utf-8", "replace"))
        case b"-":
            return Error(text.decode("utf-8", "replace"))
        case b":" | b"(":
            return int(text)
        case b",":
            return float(text)
        case b"#":
            return text == b"t"
    return None


def _bulk(kind: bytes, data: bytes, at: int, count: int) -> tuple[Any, int]:
    if count < 0:
        return None, at
    text = data[at : at + count]
    if kind == b"!":
        return Error(text.decode("utf-8", "replace")), at + count + 2
    return text[4:] if kind == b"=" else text, at + count + 2


def _aggregate(kind: bytes, data: bytes, at: int, count: int, depth: int) -> tuple[Any, int]:
    if count < 0:
        return None, at
    items = []
    for _ in range(count * 2 if kind in b"%|" else count):
        value, at = _decode(data, at, depth + 1)
        items.append(value)
    if kind == b"|":
        return _decode(data, at, depth)
    if kind == b">":
        return Push(tuple(items)), at
    return (_pairs(items) if kind == b"%" else items), at


def _pairs(items: list[Any]) -> Any:
    pairs = list(zip(items[::2], items[1::2], strict=True))
    try:
        return dict(pairs)
    except TypeError:
        return pairs
