"""Writes router/redis/commands.json from the COMMAND metadata of a running Redis: tools/redis_commands.py PORT.

`derive` is also what the test compares the file with, so a new server version shows what it changed.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

from _speedups.resp import ReplyScanner
from router.redis.resp import Simple, decode, request

FILE = Path(__file__).parent.parent / "router" / "redis" / "commands.json"


def derive(port: int) -> dict[str, Any]:
    """The table: {"version": …, "commands": {name: …}}, subcommands as `config|get`."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        info = ask(connection, "INFO", "server").decode()
        entries = ask(connection, "COMMAND")
    version = next(line.partition(":")[2] for line in info.splitlines() if line.startswith("redis_version:"))
    found: dict[str, Any] = {}
    for entry in entries:
        _add(found, entry)
    return {"version": version, "commands": dict(sorted(found.items()))}


def ask(connection: socket.socket, *words: str) -> Any:
    """One command's reply as Python values."""
    connection.sendall(request(*words))
    scanner = ReplyScanner()
    while True:
        replies = scanner.feed(connection.recv(65536))
        if replies:
            return decode(replies[0])


def _add(found: dict[str, Any], entry: list[Any]) -> None:
    name, arity, flags, _first, _last, _step, categories, tips, specs, subcommands = entry
    one: dict[str, Any] = {"arity": arity, "flags": _words(flags), "acl": _words(categories)}
    if tips:
        one["tips"] = _words(tips)
    if specs:
        one["keys"] = [_spec(spec) for spec in specs]
    if subcommands:
        one["container"] = True
    found[name.decode()] = one
    for sub in subcommands:
        _add(found, sub)


def _spec(spec: list[Any]) -> dict[str, Any]:
    given = _pairs(spec)
    begin, find = _pairs(given["begin_search"]), _pairs(given["find_keys"])
    return {
        "flags": _words(given["flags"]),
        "begin": {"type": begin["type"].decode(), **_plain(begin["spec"])},
        "find": {"type": find["type"].decode(), **_plain(find["spec"])},
    }


def _pairs(items: Any) -> dict[str, Any]:
    return {key.decode(): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _plain(items: Any) -> dict[str, Any]:
    return {key: one.decode() if isinstance(one, bytes) else one for key, one in _pairs(items).items()}


def _words(items: list[Any]) -> list[str]:
    return sorted(one.text if isinstance(one, Simple) else one.decode() for one in items)


def text_of(table: dict[str, Any]) -> str:
    """One command per line, so that a change shows as one line."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in table["commands"].items())
    return f'{{"version": {json.dumps(table["version"])}, "commands": {{\n{lines}\n}}}}\n'


if __name__ == "__main__":
    FILE.write_text(text_of(derive(int(sys.argv[1]))))
