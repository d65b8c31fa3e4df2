"""A Redis client that sends bytes and counts replies."""

from __future__ import annotations

import socket
from typing import Any

from _speedups.resp import ReplyScanner
from loadtest.world.fairlead import Fairlead
from router.redis.resp import decode, request


class Raw:
    """One connection. `ask` sends one command; `send` and `read` go their own ways."""

    def __init__(self, port: int, *, login: bool = True, timeout: float = 10.0) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self._scanner = ReplyScanner()
        self._ready: list[bytes] = []
        if login:
            assert self.ask("AUTH", "demo", "demo").text == "OK"

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self) -> bytes:
        """The next whole reply. Raises EOFError."""
        while not self._ready:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._ready += self._scanner.feed(data)
        return self._ready.pop(0)

    def ask(self, *words: Any) -> Any:
        self.send(request(*words))
        return decode(self.read())

    def many(self, *commands: tuple[Any, ...]) -> list[Any]:
        """A pipeline, sent in one piece."""
        self.send(b"".join(request(*one) for one in commands))
        return [decode(self.read()) for _ in commands]

    def close(self) -> None:
        self.sock.close()


def raw(fairlead: Fairlead, **options: Any) -> Raw:
    return Raw(fairlead.redis_port, **options)
